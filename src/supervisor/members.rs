//! Who belongs to whom, and what each has become: a pure function of the process
//! table, but for what a process says of itself when it is asked.

use std::io;

use crate::config::Config;
use crate::config::service::ServiceConfig;
use crate::core::event::Scope;
use crate::core::plan::{ByService, ServiceId};
use crate::preset::{Kind, Preset, is_shell};
use crate::signal::Signal;
use crate::sys::proc::{self, Handling, Process, State};
use crate::sys::process::Pid;

/// A service's main process, as far as it tells who belongs to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MainIds {
    /// `Some` until it was reaped.
    pub(super) pid: Option<Pid>,
    /// The process group, and where it has one of its own the session, that it
    /// leads or led.
    pub(super) group: Option<Pid>,
}

/// A process below us.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) process: Process,
    /// Whose it is; `None` if no service's.
    pub(super) service: Option<ServiceId>,
    /// What it has become: it bears the preset's name and catches its stop signal.
    pub(super) preset: Option<&'static Preset>,
    /// Where its parent is in the table, if that is below us, too.
    parent: Option<usize>,
}

/// All that runs below us, at one moment. By default nothing does.
#[derive(Debug)]
pub(super) struct Table {
    members: Vec<Member>,
    /// All of it can be seen; else there may be more than the main processes.
    pub(super) is_whole: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            is_whole: true,
        }
    }
}

/// Which of the processes of a scope are meant.
pub(super) type Indices = Vec<usize>;

impl Table {
    /// As /proc shows it, with our main processes in any case, and without forwarders.
    pub(super) fn read(
        own_pid: Pid,
        mains: &ByService<MainIds>,
        here_before: &[Process],
        forwarders: &[Pid],
        config: &Config,
    ) -> Self {
        let (mut processes, is_whole) = match proc::below(own_pid) {
            Ok(processes) => (processes, true),
            // Another namespace's /proc, or none, or no descriptor to read it by.
            Err(_) => (Vec::new(), false),
        };
        processes.retain(|process| !forwarders.contains(&process.pid));
        processes.sort_unstable_by_key(|process| process.pid);
        let seen = processes.len();
        let mut unseen = Vec::new();
        for (id, pid) in mains.each().filter_map(|(id, it)| Some((id, it.pid?))) {
            let is_in = processes
                .get(..seen)
                .is_some_and(|seen| seen.binary_search_by_key(&pid, |it| it.pid).is_ok());
            // One that has ended is still in /proc until we reap it.
            let is_zombie = || {
                let process = Process::read(pid).ok().flatten();
                is_whole
                    && process.is_some_and(|process| {
                        process.parent == Some(own_pid) && process.state == State::Zombie
                    })
            };
            if !is_in && !is_zombie() {
                unseen.push(id);
                processes.push(Process::unseen(pid, own_pid));
            }
        }
        // A stop signal that was given goes to the main process, whatever runs.
        let is_given = |service: &ServiceConfig| service.stop_is_given;
        let presets = if config.services.iter().any(is_given) {
            vec![None; processes.len()]
        } else {
            recognise(&processes, seen)
        };
        // Nobody has inherited those.
        let may_be_inherited = |process: &Process| {
            let is_it = |it: &Process| (it.pid, it.started) == (process.pid, process.started);
            process.parent == Some(own_pid) && !here_before.iter().any(is_it)
        };
        let heirs: Vec<Option<ServiceId>> = processes
            .iter()
            .zip(&presets)
            .map(|(process, preset)| {
                let preset = preset.filter(|_| may_be_inherited(process))?;
                let is_heir = |service: &ServiceConfig| service.preset == Some(preset);
                config.services.find(is_heir)
            })
            .collect();
        let mut table = Self::new(processes, seen, presets, &heirs, mains);
        // What can't be seen is what the command says.
        for (id, at) in unseen.into_iter().zip(seen..) {
            let service = config.services.get(id);
            if let (Some(member), Some(service)) = (table.members.get_mut(at), service) {
                member.preset = service.own_preset();
            }
        }
        table.is_whole = is_whole;
        table
    }

    /// The first so many of `processes` are sorted by pid; behind them are main
    /// processes that can't be seen. An orphan belongs to its heir: only presets
    /// are told apart, by the service that is to be one; the others are swept at
    /// the end.
    fn new(
        processes: Vec<Process>,
        sorted: usize,
        presets: Vec<Option<&'static Preset>>,
        heirs: &[Option<ServiceId>],
        mains: &ByService<MainIds>,
    ) -> Self {
        let parents: Vec<Option<usize>> = processes
            .iter()
            .map(|process| {
                let parent = process.parent?;
                let sorted = processes.get(..sorted)?;
                sorted.binary_search_by_key(&parent, |it| it.pid).ok()
            })
            .collect();
        let mut owners: Vec<Option<Option<ServiceId>>> = vec![None; processes.len()];
        for index in 0..processes.len() {
            // Up to one whose owner is known, and down again.
            let mut path = vec![index];
            let mut owner = None;
            while let Some(&at) = path.last() {
                if let Some(known) = owners.get(at).copied().flatten() {
                    owner = known;
                    break;
                }
                let Some(process) = processes.get(at) else {
                    break;
                };
                owner = own_service(process, mains);
                if owner.is_some() {
                    break;
                }
                match parents.get(at).copied().flatten() {
                    // Never further than there are processes.
                    Some(parent) if path.len() <= processes.len() => path.push(parent),
                    _ => {
                        owner = heirs.get(at).copied().flatten();
                        break;
                    }
                }
            }
            for at in path {
                if let Some(place) = owners.get_mut(at) {
                    *place = Some(owner);
                }
            }
        }
        let is_alone = mains.len() == 1;
        let members = processes
            .into_iter()
            .zip(presets)
            .zip(parents)
            .zip(owners)
            .map(|(((process, preset), parent), owner)| Member {
                process,
                // Whatever runs, the only service has started it.
                service: if is_alone {
                    mains.ids().next()
                } else {
                    owner.flatten()
                },
                preset,
                parent,
            })
            .collect();
        Self {
            members,
            is_whole: true,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn get(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }

    /// Those of a scope.
    pub(super) fn of(&self, scope: Scope) -> Indices {
        let is_its = |member: &Member| match scope {
            Scope::Service(id) => member.service == Some(id),
            Scope::Rest => true,
        };
        let members = self.members.iter().enumerate();
        members
            .filter_map(|(index, member)| is_its(member).then_some(index))
            .collect()
    }

    fn parent(&self, index: usize) -> Option<&Member> {
        self.get(self.get(index)?.parent?)
    }

    fn has_kind(&self, index: usize, kind: Kind) -> bool {
        self.get(index)
            .and_then(|member| member.preset)
            .is_some_and(|preset| preset.kind == kind)
    }

    /// Whether its parent is of the same kind: a worker has what its master has.
    pub(super) fn is_worker(&self, index: usize) -> bool {
        let preset = |member: &Member| member.preset.map(|preset| preset.kind);
        let own = self.get(index).and_then(preset);
        own.is_some() && self.parent(index).and_then(preset) == own
    }

    /// The masters of that kind among those of a scope.
    pub(super) fn masters(&self, of: &[usize], kind: Kind) -> Indices {
        let is_master = |index: &usize| self.has_kind(*index, kind) && !self.is_worker(*index);
        of.iter().copied().filter(is_master).collect()
    }

    /// The workers of that kind among those of a scope.
    pub(super) fn workers(&self, of: &[usize], kind: Kind) -> Indices {
        let is_worker = |index: &usize| self.has_kind(*index, kind) && self.is_worker(*index);
        of.iter().copied().filter(is_worker).collect()
    }

    /// Those of a scope that are no preset, nor started by one: that drains, and
    /// what it started with it.
    pub(super) fn others(&self, of: &[usize]) -> Indices {
        let is_other = |index: &usize| {
            let mut at = Some(*index);
            let mut steps = 0;
            while let Some(member) = at.and_then(|at| self.get(at)) {
                steps += 1;
                if member.preset.is_some() || steps > self.members.len() {
                    return false;
                }
                at = member.parent;
            }
            true
        };
        of.iter().copied().filter(is_other).collect()
    }

    /// Where that process is.
    pub(super) fn find(&self, pid: Pid) -> Option<usize> {
        self.members.iter().position(|it| it.process.pid == pid)
    }

    /// What a shell runs: the topmost processes below it that are no shells. It
    /// passes no signal on to them. Empty if it is no shell.
    pub(super) fn run_by_shell(&self, shell: usize) -> Indices {
        let mut found = Vec::new();
        let mut shells = Vec::new();
        if self.get(shell).is_some_and(is_a_shell) {
            shells.push(shell);
        }
        while let Some(shell) = shells.pop() {
            let children = self.members.iter().enumerate();
            for (index, member) in children.filter(|(_, it)| it.parent == Some(shell)) {
                if is_a_shell(member) {
                    shells.push(index);
                } else {
                    found.push(index);
                }
            }
        }
        found
    }

    /// The process that started this one and may hand a signal on to it, as sudo
    /// does: it catches it.
    pub(super) fn wrapper(&self, index: usize, signal: Signal) -> Option<usize> {
        let mut at = self.get(index)?.parent;
        let mut steps = 0;
        while let Some(member) = at.and_then(|at| self.get(at)) {
            steps += 1;
            if steps > self.members.len() {
                return None;
            }
            let catches = member.process.handling(signal) == Handling::Caught;
            if catches && !is_a_shell(member) {
                return at;
            }
            at = member.parent;
        }
        None
    }
}

/// By what the process itself is.
fn own_service(process: &Process, mains: &ByService<MainIds>) -> Option<ServiceId> {
    let is_its = |main: &MainIds| {
        main.pid == Some(process.pid)
            || main.group.is_some()
                && (process.group == main.group || process.session == main.group)
    };
    mains.find(is_its)
}

/// What each has become. A name is a claim, a handler is a fact: nobody gets a
/// graceful signal that it doesn't catch. And a script bears its file's name.
fn recognise(processes: &[Process], sorted: usize) -> Vec<Option<&'static Preset>> {
    let by_pid = |pid: Pid| {
        let sorted = processes.get(..sorted)?;
        let found = sorted.binary_search_by_key(&pid, |it| it.pid).ok()?;
        sorted.get(found)
    };
    processes
        .iter()
        .map(|process| {
            let catches = |preset: &&Preset| {
                let handling = process.handling(preset.stop);
                handling.may_be_caught()
            };
            let Some(preset) = Preset::by_comm(&process.comm) else {
                let may_bear_title = process.catches(Signal::QUIT);
                return may_bear_title
                    .then(|| Preset::by_title(&command_line(process)))
                    .flatten();
            };
            // Of a worker its master's is enough to be looked at.
            let is_worker = process
                .parent
                .and_then(by_pid)
                .is_some_and(|parent| Preset::by_comm(&parent.comm) == Some(preset));
            Some(preset)
                .filter(catches)
                .filter(|_| is_worker || !is_shell("", &command_line(process)))
        })
        .collect()
}

fn command_line(process: &Process) -> Vec<u8> {
    let read: io::Result<Vec<u8>> = proc::command_line(process.pid);
    read.unwrap_or_default()
}

fn is_a_shell(member: &Member) -> bool {
    member.preset.is_none() && is_shell(&member.process.comm, &command_line(&member.process))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{self, SigHandler};

    use super::*;
    use crate::config::Host;
    use crate::config::cli::{Cli, Flags};

    fn pid(number: i32) -> Pid {
        Pid::new(number).unwrap()
    }

    /// One that no process has.
    fn free_pid(number: i32) -> Pid {
        pid(i32::MAX - 10 + number)
    }

    /// A child of ours.
    struct Ours(Child);

    impl Ours {
        /// A shell whose first word is `called`; it has run this, and waits.
        fn shell(called: &str, script: &str) -> Self {
            let mut command = Command::new("sh");
            command
                .arg0(called)
                .args(["-c", &format!("{script}; echo ready; read x")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            // A shell can't trap what was ignored when it was started, as SIGQUIT is in
            // what another shell has started in the background.
            // SAFETY: makes one system call.
            let heed = || unsafe {
                signal::signal(signal::Signal::SIGQUIT, SigHandler::SigDfl)?;
                Ok(())
            };
            // SAFETY: see above.
            unsafe { command.pre_exec(heed) };
            let mut child = command.spawn().unwrap();
            let output = child.stdout.as_mut().unwrap();
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }

        /// To /proc an nginx, or where it is called as a shell is, a script of that name.
        fn named_nginx(called: &str) -> Self {
            Self::shell(called, "printf nginx >/proc/self/comm; trap : QUIT")
        }

        fn zombie() -> Self {
            let zombie = Self(Command::new("true").spawn().unwrap());
            while zombie.process().state != State::Zombie {
                std::thread::yield_now();
            }
            zombie
        }

        fn process(&self) -> Process {
            let pid = pid(self.0.id().try_into().unwrap());
            Process::read(pid).unwrap().unwrap()
        }
    }

    impl Drop for Ours {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// As /proc shows it, for the services app, worker and nginx.
    fn read(own_pid: Pid, mains: [Option<Pid>; 3], here_before: &[Process]) -> Table {
        let services = ["app=node", "worker=php", "nginx"];
        let cli = Cli {
            flags: Flags::of(services.map(|service| ("service", service.to_owned()))),
            ..Cli::default()
        };
        let host = Host {
            variable: &|_| None,
            find: &|word, _| Ok(word.into()),
            ..Host::bare()
        };
        let config = Config::resolve(cli, &host).unwrap();
        let mains = mains.map(|pid| MainIds { pid, group: None });
        Table::read(
            own_pid,
            &mains.into_iter().collect(),
            here_before,
            &[],
            &config,
        )
    }

    /// A process of `parent`, in `group` and a session of that id.
    fn process(number: i32, parent: i32, group: i32) -> Process {
        Process {
            group: Some(pid(group)),
            session: Some(pid(group)),
            ..Process::unseen(pid(number), pid(parent))
        }
    }

    fn main_of(number: i32) -> MainIds {
        MainIds {
            pid: Some(pid(number)),
            group: Some(pid(number)),
        }
    }

    type Line = (Process, Option<&'static str>, Option<usize>);

    /// Each process with its preset's name and its heir.
    fn table(lines: &[Line], mains: impl IntoIterator<Item = MainIds>) -> Table {
        Table::new(
            lines.iter().map(|(process, ..)| *process).collect(),
            lines.len(),
            lines
                .iter()
                .map(|(_, preset, _)| Preset::by_name((*preset)?))
                .collect(),
            &lines
                .iter()
                .map(|(_, _, heir)| heir.map(ServiceId))
                .collect::<Vec<_>>(),
            &mains.into_iter().collect(),
        )
    }

    fn pids(table: &Table, indices: &[usize]) -> Vec<String> {
        indices
            .iter()
            .map(|index| table.members[*index].process.pid.to_string())
            .collect()
    }

    fn of(table: &Table, service: usize) -> Vec<String> {
        pids(table, &table.of(Scope::Service(ServiceId(service))))
    }

    #[test]
    fn a_service_has_its_main_process_its_group_its_session_and_all_below() {
        let moved = |number, parent, group, session| Process {
            session: Some(pid(session)),
            ..process(number, parent, group)
        };
        let table = table(
            &[
                (process(2, 1, 2), None, None),
                (process(3, 1, 3), None, None),
                // Of the group, though its parent has gone.
                (process(4, 1, 2), None, None),
                // Of the session alone.
                (moved(5, 1, 5, 3), None, None),
                // Below, in a session of its own, at any depth and in any order.
                (moved(6, 7, 6, 6), None, None),
                (moved(7, 2, 7, 7), None, None),
                // Nobody's.
                (process(8, 1, 8), None, None),
            ],
            [main_of(2), main_of(3)],
        );
        assert_eq!(of(&table, 0), ["2", "4", "6", "7"]);
        assert_eq!(of(&table, 1), ["3", "5"]);
        assert_eq!(table.of(Scope::Rest).len(), 7);
        assert_eq!(table.all().len(), 7);
        assert_eq!(table.find(pid(5)), Some(3));
        assert_eq!(table.find(pid(9)), None);
    }

    #[test]
    fn an_only_service_has_all() {
        let lines = [
            (process(2, 1, 2), None, None),
            (process(8, 1, 8), None, None),
        ];
        assert_eq!(of(&table(&lines, [main_of(2)]), 0), ["2", "8"]);
    }

    #[test]
    fn an_orphaned_preset_goes_to_the_service_that_is_to_be_one_with_all_below() {
        let lines = [
            (process(2, 1, 2), Some("php-fpm"), None),
            (process(3, 1, 3), Some("nginx"), None),
            (process(8, 1, 8), Some("php-fpm"), Some(0)),
            (process(9, 8, 8), Some("php-fpm"), None),
        ];
        let table = table(&lines, [main_of(2), main_of(3)]);
        assert_eq!(of(&table, 0), ["2", "8", "9"]);
    }

    #[test]
    fn masters_are_told_from_workers_and_from_what_they_run() {
        let lines = [
            (process(2, 1, 2), None, None),
            (process(3, 2, 2), Some("nginx"), None),
            (process(4, 3, 2), Some("nginx"), None),
            (process(5, 2, 2), Some("php-fpm"), None),
            (process(6, 5, 2), Some("php-fpm"), None),
            // A script's own child, and the shell below it.
            (process(7, 6, 2), None, None),
            (process(8, 7, 2), None, None),
            // A worker whose master was killed.
            (process(9, 1, 2), Some("php-fpm"), None),
        ];
        let table = table(&lines, [main_of(2)]);
        let all = table.of(Scope::Rest);
        let named = |indices: Indices| pids(&table, &indices);
        assert_eq!(named(table.masters(&all, Kind::Web)), ["3"]);
        assert_eq!(named(table.masters(&all, Kind::Fpm)), ["5", "9"]);
        assert_eq!(named(table.workers(&all, Kind::Web)), ["4"]);
        assert_eq!(named(table.workers(&all, Kind::Fpm)), ["6"]);
        assert_eq!(named(table.others(&all)), ["2"]);
        assert!(table.is_worker(2) && !table.is_worker(1) && !table.is_worker(7));
    }

    #[test]
    fn what_is_below_others_alone_is_an_other_at_any_depth() {
        let lines = [
            (process(2, 1, 2), None, None),
            (process(3, 2, 2), None, None),
            (process(4, 3, 2), None, None),
        ];
        let table = table(&lines, [main_of(2)]);
        assert_eq!(table.others(&[0, 1, 2]), [0, 1, 2]);
    }

    #[test]
    fn a_signal_is_handed_on_by_who_catches_it_and_by_no_shell() {
        let shell = Ours::shell("sh", "trap : QUIT").process();
        let below = |number, parent, of: Process| Process {
            pid: free_pid(number),
            parent: Some(free_pid(parent)),
            ..of
        };
        let sudo = Process {
            caught: shell.caught,
            ..process(2, 1, 2)
        };
        let lines = [
            (below(1, 0, shell), None, None),
            (below(2, 1, sudo), None, None),
            (below(3, 1, shell), None, None),
            // One that was recognised is none, whatever it is called.
            (below(4, 3, shell), Some("nginx"), None),
            (below(5, 2, process(2, 1, 2)), None, None),
        ];
        let table = table(&lines, []);
        assert_eq!(table.run_by_shell(0), [1, 3]);
        assert_eq!(table.run_by_shell(1), Indices::new());
        assert_eq!(table.wrapper(4, Signal::QUIT), Some(1));
        assert_eq!(table.wrapper(1, Signal::QUIT), None);
        assert_eq!(table.wrapper(4, Signal::WINCH), None);
    }

    #[test]
    fn a_script_that_bears_a_presets_name_is_none_unless_it_is_a_worker() {
        let child = Ours::named_nginx("sh");
        let script = child.process();
        let nginx = Process {
            pid: free_pid(1),
            ..script
        };
        let worker = Process {
            parent: Some(nginx.pid),
            ..script
        };
        let names = |processes: [Process; 2]| {
            let found = recognise(&processes, processes.len());
            let names = found.iter().map(|it| it.is_some_and(Preset::is_nginx));
            names.collect::<Vec<_>>()
        };
        assert_eq!(names([script, nginx]), [false, true]);
        assert_eq!(names([worker, nginx]), [true, true]);
    }

    #[test]
    fn a_main_process_is_there_until_it_is_seen_to_have_ended() {
        let children = [Ours::shell("sh", ":"), Ours::zombie()];
        let [running, ended] = children.each_ref().map(|child| child.process().pid);
        let mains = [running, ended, free_pid(1)].map(Some);
        let alone = |pid: Pid| [pid.to_string()];
        let nginx = |table: &Table| {
            // Beside it there may be what another test runs.
            let member = table.get(table.find(free_pid(1))?)?;
            Some((member.service?.0, member.preset?.is_nginx()))
        };
        let table = read(Pid::own(), mains, &[]);
        assert!(table.is_whole);
        assert_eq!(of(&table, 0), alone(running));
        assert_eq!(of(&table, 1), [""; 0]);
        assert_eq!(nginx(&table), Some((2, true)));
        // Where nothing can be seen, as in another namespace's /proc.
        let table = read(free_pid(0), mains, &[]);
        assert!(!table.is_whole);
        assert_eq!(of(&table, 0), alone(running));
        assert_eq!(of(&table, 1), alone(ended));
        assert_eq!(nginx(&table), Some((2, true)));
    }

    #[test]
    fn an_orphaned_preset_has_an_heir_unless_it_was_here_before() {
        let child = Ours::named_nginx("nginx");
        let orphan = child.process();
        let service = |here_before: &[Process]| {
            let table = read(Pid::own(), [None; 3], here_before);
            table.get(table.find(orphan.pid).unwrap()).unwrap().service
        };
        assert_eq!(service(&[]), Some(ServiceId(2)));
        assert_eq!(service(&[orphan]), None);
    }

    /// /proc is no snapshot: a pid may have come again meanwhile.
    #[test]
    fn a_circle_of_parents_has_an_end() {
        let lines = [
            (process(2, 1, 2), None, None),
            (process(3, 1, 3), None, None),
            (process(7, 8, 7), None, None),
            (process(8, 7, 8), None, None),
        ];
        let table = table(&lines, [main_of(2), main_of(3)]);
        let all = table.of(Scope::Rest);
        assert_eq!(of(&table, 0), ["2"]);
        assert_eq!(pids(&table, &table.others(&all)), ["2", "3"]);
        assert_eq!(table.wrapper(2, Signal::QUIT), None);
    }
}
