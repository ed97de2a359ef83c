//! The process table, as /proc shows it: `proc_pid_stat(5)`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Deref;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use crate::signal::Signal;
use crate::sys::process::Pid;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's; `None` where that is outside our namespace.
    pub parent: Option<Pid>,
    /// Its process group's.
    pub group: Option<Pid>,
    /// Its session's.
    pub session: Option<Pid>,
    /// What it has become.
    pub comm: Comm,
    /// When it started, in clock ticks since boot: with the pid it tells a
    /// process from a later one that has the same pid.
    pub started: u64,
    /// The signals that it has a handler for: bit n - 1 is signal n. Only
    /// signals 1 to 31 are here, and gVisor says 0; see [`Process::handling`].
    pub caught: u64,
    /// How far its life is.
    pub state: State,
}

/// How far a process's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, sleeps or is stopped.
    Runs,
    /// Its first thread has ended and others run on. /proc then shows no
    /// descriptors of it.
    FirstThreadEnded,
    /// All of it has ended, and it waits to be reaped.
    Zombie,
}

/// The name of a process's program, 15 characters at most. It may be chosen by
/// anybody: what isn't printable ASCII is a `?`, so that it can be logged.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Comm([u8; 15], usize);

impl Comm {
    fn new(name: &[u8]) -> Self {
        let mut comm = Self([0; 15], name.len().min(15));
        for (to, from) in comm.0.iter_mut().zip(name) {
            let is_printable = matches!(from, b' '..=b'~');
            *to = if is_printable { *from } else { b'?' };
        }
        comm
    }
}

impl Deref for Comm {
    type Target = str;

    fn deref(&self) -> &str {
        let name = self.0.get(..self.1).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Process {
    /// The process that has this pid now; `None` if there is none. An error
    /// says nothing of whether there is one.
    pub fn read(pid: Pid) -> io::Result<Option<Self>> {
        check_namespace(Pid::own())?;
        Self::read_unchecked(pid)
    }

    /// For who knows that /proc is ours.
    fn read_unchecked(pid: Pid) -> io::Result<Option<Self>> {
        // By one read, where `fs::read` makes six.
        let mut stat = [0; 1024];
        let read =
            File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
        match read {
            Ok(length) => match Self::parse(stat.get(..length).unwrap_or_default()) {
                Some(process) => Ok(Some(process)),
                None => Err(io::ErrorKind::InvalidData.into()),
            },
            Err(error) if has_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name may hold anything, also blanks and parentheses.
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = stat
            .get(close + 1..)?
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        // Each `nth` leaves out what is between: the fields are counted from 1,
        // and this is the third.
        let state = fields.next()?;
        let mut id = || Some(Pid::new(number(fields.next()?)?));
        let (parent, group, session) = (id()?, id()?, id()?);
        let threads: u32 = number(fields.nth(13)?)?;
        let started = number(fields.nth(1)?)?;
        let caught = number(fields.nth(11)?)?;
        Some(Self {
            pid: Pid::new(number(stat.get(..open)?.trim_ascii())?)?,
            parent,
            group,
            session,
            comm: Comm::new(stat.get(open + 1..close)?),
            started,
            caught,
            state: match state {
                b"Z" | b"X" if threads > 1 => State::FirstThreadEnded,
                b"Z" | b"X" => State::Zombie,
                _ => State::Runs,
            },
        })
    }

    /// A child of ours that /proc doesn't show; it leads its own group.
    pub fn unseen(pid: Pid, own_pid: Pid) -> Self {
        Self {
            pid,
            parent: Some(own_pid),
            group: Some(pid),
            session: None,
            comm: Comm::default(),
            started: 0,
            caught: 0,
            state: State::Runs,
        }
    }

    /// Whether this process is still there, and no zombie. One that can't be
    /// seen runs.
    pub fn runs(&self) -> bool {
        match Self::read(self.pid) {
            Ok(Some(now)) => now.started == self.started && now.state != State::Zombie,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Whether it is seen to have a handler for a signal below 32, at no cost.
    pub fn catches(&self, signal: Signal) -> bool {
        is_in(signal, self.caught)
    }

    /// What it does with a signal. It costs a read only where no handler was
    /// seen already.
    pub fn handling(&self, signal: Signal) -> Handling {
        if is_in(signal, self.caught) {
            Handling::Caught
        } else {
            handling(self.pid, signal)
        }
    }
}

/// What a process does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It has a handler.
    Caught,
    /// It ignores it.
    Ignored,
    /// The kernel's default action is left.
    Default,
    /// That can't be seen.
    Unknown,
}

impl Handling {
    /// Whether it has a handler, or that can't be seen.
    pub fn may_be_caught(self) -> bool {
        matches!(self, Self::Caught | Self::Unknown)
    }
}

/// What a process does with a signal now: `proc_pid_status(5)`. gVisor doesn't
/// tell.
pub fn handling(pid: Pid, signal: Signal) -> Handling {
    handling_in(&status(pid).unwrap_or_default(), signal)
}

fn handling_in(status: &[u8], signal: Signal) -> Handling {
    let has = |key| {
        let signals = std::str::from_utf8(status_field(status, key)?).ok()?;
        Some(is_in(signal, u64::from_str_radix(signals, 16).ok()?))
    };
    match (has("SigCgt:"), has("SigIgn:")) {
        (Some(true), _) => Handling::Caught,
        (_, Some(true)) => Handling::Ignored,
        (Some(false), Some(false)) => Handling::Default,
        (None, _) | (_, None) => Handling::Unknown,
    }
}

/// Whether a set of signals, as /proc shows it, has this one.
fn is_in(signal: Signal, signals: u64) -> bool {
    signals >> (signal.number() - 1) & 1 == 1
}

/// The arguments of a process, each with a NUL behind it, or the title that it
/// wrote over them: nginx and php-fpm say there which is the master.
pub fn command_line(pid: Pid) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline"))
}

/// The effective user of a process.
pub fn user(pid: Pid) -> Option<u32> {
    let status = status(pid).ok()?;
    let users = status_field(&status, "Uid:")?;
    number(users.split(u8::is_ascii_whitespace).nth(1)?)
}

/// How often a process went to sleep of its own accord: once for each request,
/// at least, if it serves any.
pub fn voluntary_switches(pid: Pid) -> Option<u64> {
    number(status_field(
        &status(pid).ok()?,
        "voluntary_ctxt_switches:",
    )?)
}

fn status(pid: Pid) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/status"))
}

/// What stands behind `key` in a `/proc/PID/status`.
fn status_field<'a>(status: &'a [u8], key: &str) -> Option<&'a [u8]> {
    status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(key.as_bytes()))
        .map(<[u8]>::trim_ascii)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether an error of a file below /proc/PID says that the process has gone.
pub(super) fn has_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// Fails unless /proc is our namespace's, and so its pids are ours.
fn check_namespace(own_pid: Pid) -> io::Result<()> {
    if fs::read_link("/proc/self")?.as_os_str() == own_pid.to_string().as_str() {
        Ok(())
    } else {
        Err(io::Error::other("/proc is of another PID namespace"))
    }
}

/// Every process below us, zombies left out. An error where that can't be told.
pub fn below(own_pid: Pid) -> io::Result<Vec<Process>> {
    check_namespace(own_pid)?;
    let mut table = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = number(name.as_encoded_bytes()).and_then(Pid::new) {
            table.extend(Process::read_unchecked(pid)?);
        }
    }
    find_parents(&mut table, own_pid, Process::read_unchecked)?;
    let mut below = descendants(&table, &[own_pid]);
    below.retain(|process| process.state != State::Zombie);
    Ok(below)
}

/// How often it is looked for parents that came or went meanwhile. Each time
/// costs a read for each such process: only a machine that forks faster than
/// we read needs more.
const LOOKS_FOR_PARENTS: u32 = 16;

/// The table is read process by process. Where a parent ends before it is read,
/// and after its child was, the child belongs to somebody else by now, often to
/// us; where a parent begins behind us it isn't in the table. Without this such
/// a child would be nobody's.
fn find_parents(
    table: &mut Vec<Process>,
    own_pid: Pid,
    mut read: impl FnMut(Pid) -> io::Result<Option<Process>>,
) -> io::Result<()> {
    for _ in 0..LOOKS_FOR_PARENTS {
        table.sort_unstable_by_key(|process| process.pid);
        table.dedup_by_key(|process| process.pid);
        let is_known = |pid: &Pid| table.binary_search_by_key(pid, |known| known.pid).is_ok();
        let unknown = |process: &Process| process.parent.filter(|parent| !is_known(parent));
        let is_lost = |process: &&Process| process.pid != own_pid && unknown(process).is_some();
        let lost: Vec<Pid> = table.iter().filter(is_lost).map(|lost| lost.pid).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        for pid in &lost {
            if let Some(process) = read(*pid)? {
                if let Some(parent) = unknown(&process) {
                    found.extend(read(parent)?);
                }
                found.push(process);
            }
        }
        table.retain(|process| lost.binary_search(&process.pid).is_err());
        table.append(&mut found);
    }
    Err(io::Error::other(
        "a process has a parent that /proc doesn't show",
    ))
}

/// Those of `processes` that descend from `ancestors`: parents before children,
/// and children of one parent by pid.
pub fn descendants(processes: &[Process], ancestors: &[Pid]) -> Vec<Process> {
    // Each is taken once: so a circle, which a table that changed while it was
    // read might show, ends.
    let mut by_parent: Vec<(Pid, Option<&Process>)> = processes
        .iter()
        .filter_map(|process| Some((process.parent?, Some(process))))
        .collect();
    by_parent.sort_unstable_by_key(|(parent, child)| (*parent, child.map(|child| child.pid)));
    let mut found = Vec::new();
    let mut take_children = |parent: Pid, found: &mut Vec<Process>| {
        let first = by_parent.partition_point(|(other, _)| *other < parent);
        let children = by_parent.iter_mut().skip(first);
        for (_, child) in children.take_while(|(other, _)| *other == parent) {
            found.extend(child.take());
        }
    };
    for ancestor in ancestors {
        take_children(*ancestor, &mut found);
    }
    let mut next = 0;
    while let Some(process) = found.get(next) {
        take_children(process.pid, &mut found);
        next += 1;
    }
    found
}

/// A look at a child of ours that may be all that runs below us. It takes a
/// tenth of what going through /proc takes, as its files stay open; it is for
/// each signal that is passed on.
#[derive(Debug)]
pub struct Glance {
    /// Our children.
    ours: File,
    /// Those of the child's first thread.
    children: File,
    /// The directory of its threads.
    threads: File,
    /// What it has become.
    comm: File,
    /// What the list of our children says if it is the only one.
    alone: String,
}

impl Glance {
    /// At this child, which wasn't reaped. `None` where the kernel lists no
    /// children (`CONFIG_PROC_CHILDREN`).
    pub fn at(pid: Pid) -> Option<Self> {
        let open = |path: &str| File::open(format!("/proc/{path}")).ok();
        check_namespace(Pid::own()).ok()?;
        Some(Self {
            ours: open("thread-self/children")?,
            children: open(&format!("{pid}/task/{pid}/children"))?,
            threads: open(&format!("{pid}/task"))?,
            comm: open(&format!("{pid}/comm"))?,
            alone: format!("{pid} "),
        })
    }

    /// Whether nothing but the child runs below us, with one thread, and what
    /// it has become will do. Each thread has children of its own.
    pub fn is_lone(&self, will_do: impl FnOnce(&str) -> bool) -> bool {
        let mut buffer = [0; 32];
        read_anew(&self.ours, &mut buffer) == Some(self.alone.as_bytes())
            && read_anew(&self.children, &mut buffer) == Some(b"")
            // A directory has a link more for each directory in it.
            && self.threads.metadata().is_ok_and(|threads| threads.nlink() == 3)
            && read_anew(&self.comm, &mut buffer)
                .and_then(|comm| std::str::from_utf8(comm.strip_suffix(b"\n")?).ok())
                .is_some_and(will_do)
    }
}

/// What a short file of /proc says now.
fn read_anew<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = file.read_at(buffer, 0).ok()?;
    buffer.get(..length)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::new(number).unwrap()
    }

    fn process(number: i32, parent: i32) -> Process {
        Process {
            parent: Pid::new(parent),
            ..Process::unseen(pid(number), pid(1))
        }
    }

    fn pids(processes: &[Process]) -> Vec<Pid> {
        processes.iter().map(|process| process.pid).collect()
    }

    /// A child that has said that it is ready, and waits for its standard input.
    struct Ready(Child);

    impl Ready {
        fn run(file: &str, arguments: &[&str]) -> Self {
            let mut child = Command::new(file)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = child.stdout.as_mut().unwrap();
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }

        fn pid(&self) -> Pid {
            pid(self.0.id().try_into().unwrap())
        }
    }

    impl Drop for Ready {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// As the kernel writes it, with all 52 fields; 31 to 34 are the signals.
    fn stat(name: &str, state: char, threads: u32) -> Vec<u8> {
        format!(
            "7 ({name}) {state} 1 5 6 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0 0 \
             18446744073709551615 1 1 0 0 0 1 2 4 16386 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0"
        )
        .into_bytes()
    }

    #[test]
    fn each_field_is_found_behind_a_name_that_may_hold_anything() {
        let process = Process::parse(&stat("a) (b c", 'S', 1)).unwrap();
        assert_eq!(
            process,
            Process {
                pid: pid(7),
                parent: Some(pid(1)),
                group: Some(pid(5)),
                session: Some(pid(6)),
                comm: Comm::new(b"a) (b c"),
                started: 4711,
                caught: 16386,
                state: State::Runs,
            }
        );
        assert_eq!(Process::parse(b"7 (a"), None);
    }

    #[test]
    fn a_process_of_which_a_thread_runs_is_no_zombie() {
        let state = |state, threads| Process::parse(&stat("a", state, threads)).unwrap().state;
        assert_eq!(state('Z', 1), State::Zombie);
        assert_eq!(state('X', 0), State::Zombie);
        assert_eq!(state('Z', 2), State::FirstThreadEnded);
        assert_eq!(state('T', 1), State::Runs);
    }

    #[test]
    fn a_name_can_be_logged() {
        assert_eq!(&*Comm::new(b"php-fpm8.4"), "php-fpm8.4");
        assert_eq!(Comm::new(b"a\n<- SIGKILL").to_string(), "a?<- SIGKILL");
        assert_eq!(Comm::new("\u{e9}\u{7f}".as_bytes()).to_string(), "???");
        assert_eq!(&*Comm::new(b"nginx-prometheus-exporter"), "nginx-prometheu");
    }

    proptest! {
        #[test]
        fn nothing_in_a_stat_panics(stat in any::<Vec<u8>>(), name in any::<String>()) {
            Process::parse(&stat);
            let fields = format!("1 ({name}) {}", String::from_utf8_lossy(&stat));
            Process::parse(fields.as_bytes());
        }

        #[test]
        fn nothing_in_a_status_panics(line in any::<Vec<u8>>()) {
            status_field(&line, "");
            handling_in(&[b"SigCgt:", line.as_slice()].concat(), Signal::TERM);
            status_field(&[b"Uid:", line.as_slice()].concat(), "Uid:");
            let _ = Comm::new(&line).to_string();
        }

        #[test]
        fn every_descendant_is_found_once(parents in prop::collection::vec(0..20, 0..20)) {
            let processes: Vec<Process> = (1..).zip(parents).map(|(n, p)| process(n, p)).collect();
            let found = pids(&descendants(&processes, &[pid(1)]));
            for process in &processes {
                let mut above = *process;
                let parent = |of: &Process| processes.iter().find(|p| Some(p.pid) == of.parent).copied();
                // Whoever hasn't met it in so many steps goes in circles.
                let descends = (0..processes.len()).any(|_| {
                    let is_child = above.parent == Some(pid(1));
                    above = parent(&above).unwrap_or(above);
                    is_child
                });
                let times = found.iter().filter(|found| **found == process.pid).count();
                prop_assert_eq!(times, usize::from(descends));
            }
        }
    }

    #[test]
    fn descendants_are_those_of_any_depth_parents_first() {
        let all = [
            process(1, 0),
            process(9, 3),
            process(3, 12),
            process(12, 1),
            process(4, 1),
        ];
        let found = descendants(&all, &[pid(12)]);
        assert_eq!(pids(&found), [pid(3), pid(9)]);
        assert_eq!(pids(&descendants(&all, &[pid(5), pid(3)])), [pid(9)]);
    }

    #[test]
    fn a_child_whose_parent_went_while_we_looked_is_found() {
        // 8 was read as 5's child, then 5 was reaped; 9's parent began late.
        let mut table = vec![process(1, 0), process(8, 5), process(9, 6), process(7, 77)];
        let read = |number: Pid| {
            Ok(match number.to_string().as_str() {
                "8" => Some(process(8, 1)),
                "9" => Some(process(9, 6)),
                "6" => Some(process(6, 1)),
                _ => None,
            })
        };
        find_parents(&mut table, pid(1), read).unwrap();
        assert_eq!(
            pids(&descendants(&table, &[pid(1)])),
            [pid(6), pid(8), pid(9)]
        );
    }

    #[test]
    fn a_parent_that_stays_hidden_is_an_error_but_not_our_own() {
        let there = [process(2, 1), process(3, 2), process(8, 5)];
        let read = |number: Pid| Ok(there.into_iter().find(|there| there.pid == number));
        let mut table = vec![process(2, 1), process(8, 5)];
        assert!(find_parents(&mut table, pid(2), read).is_err());
        let mut table = vec![process(2, 1), process(3, 2)];
        find_parents(&mut table, pid(2), read).unwrap();
        let refused = |_| Err(io::ErrorKind::PermissionDenied.into());
        assert!(find_parents(&mut vec![process(8, 5)], pid(2), refused).is_err());
    }

    #[test]
    fn our_own_process_is_found_and_what_has_gone_is_not() {
        let own = Process::read(Pid::own()).unwrap().unwrap();
        assert_eq!(own.pid, Pid::own());
        assert!(own.runs());
        assert!(user(Pid::own()).is_some());
        assert!(voluntary_switches(Pid::own()).is_some());
        let earlier = Process {
            started: own.started + 1,
            ..own
        };
        assert!(!earlier.runs());
        assert_eq!(Process::read(pid(i32::MAX)).unwrap(), None);
        let command_line = command_line(Pid::own()).unwrap();
        let file = std::env::args_os().next().unwrap();
        assert!(command_line.starts_with(file.as_encoded_bytes()));
    }

    #[test]
    fn below_us_are_children_and_theirs_without_zombies() {
        let parent = Ready::run("sh", &["-c", "exec 3<&0; cat <&3 & echo ready; wait"]);
        let mut zombie = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        // Its end of the pipe closes before it is a zombie.
        let zombie_pid = pid(zombie.id().try_into().unwrap());
        let is_zombie = |process: Option<Process>| process.unwrap().state == State::Zombie;
        while !is_zombie(Process::read(zombie_pid).unwrap()) {
            std::thread::yield_now();
        }
        let below = below(Pid::own()).unwrap();
        let shell = below.iter().find(|p| p.pid == parent.pid()).unwrap();
        assert_eq!((&*shell.comm, shell.parent), ("sh", Some(Pid::own())));
        assert!(below.iter().any(|p| p.parent == Some(parent.pid())));
        assert!(
            !below
                .iter()
                .any(|p| p.pid == zombie_pid || p.pid == Pid::own())
        );
        let process = Process::read(zombie_pid).unwrap().unwrap();
        assert!(!process.runs());
        zombie.wait().unwrap();
        assert!(!process.runs());
        assert!(
            super::below(pid(i32::MAX)).is_err(),
            "/proc/self is another"
        );
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_runs() {
        let script = format!(
            "import ctypes, sys, threading\n\
             def wait():\n \
               while open('/proc/self/stat').read().split(') ')[1][0] != 'Z': pass\n \
               print('ready', flush=True)\n \
               sys.stdin.read()\n\
             threading.Thread(target=wait).start()\n\
             ctypes.CDLL(None).syscall({}, 0)",
            libc::SYS_exit
        );
        let python = Ready::run("python3", &["-c", &script]);
        let process = Process::read(python.pid()).unwrap().unwrap();
        assert_eq!(process.state, State::FirstThreadEnded);
        assert!(process.runs());
        assert!(below(Pid::own()).unwrap().contains(&process));
    }

    #[test]
    fn what_a_process_does_with_a_signal_is_seen() {
        let script = "trap : TERM; trap '' QUIT; echo ready; read x";
        let shell = Ready::run("bash", &["-c", script]);
        let process = Process::read(shell.pid()).unwrap().unwrap();
        for (signal, expected) in [
            (Signal::TERM, Handling::Caught),
            (Signal::QUIT, Handling::Ignored),
            (Signal::WINCH, Handling::Default),
            (Signal::RTMIN_3, Handling::Default),
        ] {
            assert_eq!(handling(process.pid, signal), expected, "{signal}");
            assert_eq!(process.handling(signal), expected, "{signal}");
        }
        assert_eq!(process.caught >> 14 & 1, 1);
        assert_eq!(handling(pid(i32::MAX), Signal::TERM), Handling::Unknown);
        let without_caught = b"Name:\tsh\nSigIgn:\t0000000000000004\n";
        for (signal, expected) in [
            (Signal::TERM, Handling::Unknown),
            (Signal::QUIT, Handling::Ignored),
        ] {
            assert_eq!(handling_in(without_caught, signal), expected, "{signal}");
        }
    }
}
