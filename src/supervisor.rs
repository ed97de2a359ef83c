//! The shell around the core: one loop that learns facts and carries out
//! orders, and the map from a service to its processes.
//!
//! Every wake asks the same questions in the same order: which signals came,
//! which children ended, does anything hold that the core awaits, and has its
//! deadline passed. Each answer is an event, and what the core orders upon it
//! is carried out before the next question, so that no signal goes to a pid
//! that was reaped in between. While serving nothing is awaited, and the loop
//! sleeps.
//!
//! Nothing here is fatal once a service was started: what fails is logged,
//! and the core goes on by its deadlines.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::config::{Config, Marker, StopAfter};
use crate::exit;
use crate::logger::{self, OURSELVES, REPORT};
use crate::machine::{
    Action, Busy, Condition, Event, Force, Layer, Listens, Machine, Remains, Scope, ServiceId,
    Timestamp, Unsent,
};
use crate::preset::{Kind, Preset};
use crate::report::{self, Line, Record};
use crate::signal::{Meaning, Signal, Surroundings, meaning};
use crate::sys::process::{self, Pid, PidFd, Program, Reaped, SpawnError};
use crate::sys::sockets::{self, Listener, Peer};
use crate::sys::tree::{self, Glance, Process};
use crate::sys::wakes::Wakes;

/// How soon a condition is looked at again that no descriptor tells of. The
/// time doubles while the same conditions hold: a service that starts, or a
/// leftover that ends, does so soon or late.
const LOOK_FIRST: Duration = Duration::from_millis(10);

/// The longest time between two looks.
const LOOK_AT_MOST: Duration = Duration::from_millis(100);

/// How many pidfds are held at a time: descriptors are limited. More processes
/// are looked at in /proc instead.
const PIDFDS_AT_MOST: usize = 256;

/// The main processes, for the panic hook alone.
static MAINS: Mutex<Vec<(Pid, Signal)>> = Mutex::new(Vec::new());

/// What runs the services. See the [module](self).
#[derive(Debug)]
pub struct Supervisor {
    config: Rc<Config>,
    machine: Machine,
    record: Record,
    start: Instant,
    own_pid: Pid,
    wakes: Wakes,
    /// By [`ServiceId`].
    mains: Vec<Main>,
    /// Those whom the last order to ask asked, for each scope that has any.
    asked: Vec<(Scope, Vec<Asked>)>,
    /// waitpid(2) said that there is no child: nothing at all runs below us.
    childless: bool,
    /// Local ports that a service listened on.
    ports: Vec<u16>,
    /// Local ports that anybody listened on when a service was last looked
    /// into: at the stop request, at the latest.
    everybodys_ports: Vec<u16>,
    /// What the kernel still had to send at the last look.
    unsent: u64,
    look_after: Duration,
    /// Empty between two events; kept for its memory.
    actions: Vec<Action>,
}

/// A service's main process.
#[derive(Debug, Default)]
struct Main {
    /// `Some` until it was reaped.
    pid: Option<Pid>,
    /// Its process group: its pid, also once it was reaped.
    group: Option<Pid>,
    /// The listening sockets that were there before it was started.
    listeners_before: Vec<u64>,
    /// Its ports, if TCP is all that it serves: nothing tells of the clients of
    /// a unix socket, or of HTTP/3.
    tcp_ports: Option<Vec<u16>>,
    /// The inodes of what it listens on.
    listeners: Vec<u64>,
    /// Its workers when they were last looked at, with their start and how
    /// often they had slept; `None` before the first look.
    workers: Option<Vec<(Pid, u64, u64)>>,
    /// It was said that it can't be seen whether this service listens.
    is_unseen: bool,
    /// Once a signal was passed on to it; never where there are several services.
    glance: Option<Glance>,
}

/// A process that was asked to end and isn't our child.
#[derive(Debug)]
struct Asked {
    process: Process,
    /// `None` on a kernel without pidfds.
    pidfd: Option<PidFd>,
}

impl Asked {
    fn has_gone(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => pidfd.has_ended(),
            None => !self.process.runs(),
        }
    }
}

impl Supervisor {
    /// A supervisor that has started nothing yet.
    pub fn new(config: Config, wakes: Wakes, start: Instant) -> Self {
        let config = Rc::new(config);
        Self {
            machine: Machine::new(Rc::clone(&config)),
            record: Record::new(&config),
            start,
            own_pid: Pid::own(),
            wakes,
            mains: config.services.iter().map(|_| Main::default()).collect(),
            asked: Vec::new(),
            childless: false,
            ports: Vec::new(),
            everybodys_ports: Vec::new(),
            unsent: u64::MAX,
            look_after: LOOK_FIRST,
            actions: Vec::new(),
            config,
        }
    }

    /// Runs the services until all is over; returns the exit code.
    pub fn run(mut self) -> u8 {
        self.introduce();
        self.clear_marker();
        end_in_panic_hook(self.config.last_term_at());
        // Whoever became us by exec may have left some that have ended.
        self.reap();
        self.tell(Event::Tick);
        while !self.machine.is_over() {
            let mut child_ended = false;
            for signal in self.wait() {
                match signal {
                    Signal::CHLD => child_ended = true,
                    other => self.take(other),
                }
            }
            if child_ended {
                self.reap();
            }
            self.look();
            if self.machine.deadline().is_some_and(|at| at <= self.now()) {
                self.tell(Event::Tick);
                self.look();
            }
        }
        // Zombies that came since the last look.
        while let Reaped::Child(..) = process::reap() {
            self.record.orphans += 1;
        }
        info!(target: REPORT, "{}", self.record.report(self.now(), &self.config));
        exit::code(&self.record)
    }

    fn introduce(&self) {
        let Config {
            platform,
            grace_period,
            delay,
            ..
        } = &*self.config;
        info!(
            target: OURSELVES,
            "{}: grace period {}, delay {} (defaults of {})",
            env!("CARGO_PKG_VERSION"),
            humantime::format_duration(*grace_period),
            humantime::format_duration(*delay),
            platform.name
        );
        if std::process::id() != 1 {
            if let Err(error) = process::become_subreaper() {
                warn!(target: OURSELVES, "orphans go to PID 1, unseen by us: {error}");
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.start.elapsed())
    }

    /// Tells the core a fact, and carries out what it orders; returns whether
    /// it ordered anything.
    fn tell(&mut self, event: Event) -> bool {
        let mut ordered = false;
        let mut events = VecDeque::new();
        let mut next = Some(event);
        while let Some(event) = next {
            let now = self.now();
            let was_stopping = self.machine.stopping_since();
            let mut lines: Vec<Line> = self.record.event(now, &event).into_iter().collect();
            let mut actions = mem::take(&mut self.actions);
            self.machine.handle(now, event, &mut actions);
            ordered |= !actions.is_empty();
            for action in actions.drain(..) {
                lines.extend(self.record.action(now, &action));
                self.perform(action, &mut events, &mut lines);
            }
            self.actions = actions;
            // Only now: writing may take time, acting must not wait for it.
            if let (None, Some(since)) = (was_stopping, self.machine.stopping_since()) {
                logger::count_from(since.0);
            }
            for line in lines {
                info!(target: &line.who, "{}", line.what);
            }
            next = events.pop_front();
        }
        if ordered {
            self.look_after = LOOK_FIRST;
        }
        ordered
    }

    /// Sleeps until something may have happened; returns the signals that came.
    fn wait(&self) -> impl Iterator<Item = Signal> + use<> {
        let nothing_tells = |condition: Condition| match condition {
            Condition::AskedGone(scope) => {
                let asked = self.asked_of(scope);
                asked.iter().any(|asked| asked.pidfd.is_none())
            }
            Condition::Listens(_)
            | Condition::Quiet(_)
            | Condition::Remains(_)
            | Condition::Silent(_)
            | Condition::Flushed => true,
        };
        let deadline = self.machine.deadline();
        let until_deadline = deadline.map(|deadline| deadline.since(self.now()));
        let must_look = self.machine.awaits().into_iter().any(nothing_tells);
        let until_look = must_look.then_some(self.look_after);
        self.wakes
            .wait(until_deadline.into_iter().chain(until_look).min())
    }

    fn take(&mut self, came: Signal) {
        let rewrites = &self.config.rewrites;
        let rewrite = rewrites.iter().find(|rewrite| rewrite.from == came);
        let Some(signal) = rewrite.map_or(Some(came), |rewrite| rewrite.to) else {
            return;
        };
        let event = match meaning(signal, self.surroundings(signal)) {
            Meaning::Stop => Event::StopRequested(signal),
            Meaning::Interrupt => Event::Interrupted,
            Meaning::Reload => Event::ReloadRequested,
            Meaning::Reopen => Event::ReopenRequested,
            Meaning::Forward => Event::Signalled(signal),
        };
        self.tell(event);
    }

    /// Looked up only for the signals whose meaning depends on it.
    fn surroundings(&mut self, signal: Signal) -> Surroundings {
        let own_pid = self.own_pid;
        let presets = |preset: fn(&Preset) -> bool| {
            tree::below(own_pid)
                .iter()
                .any(|process| Preset::by_comm(&process.comm).is_some_and(preset))
        };
        Surroundings {
            interrupt_stops: self.config.platform.interrupt_stops,
            plain_command: signal == Signal::INT
                && matches!(self.record.services.as_slice(), [only] if !only.is_preset)
                && (self.is_plain() || !presets(|_| true)),
            winch_stops: signal == Signal::WINCH
                && presets(Preset::is_apache)
                && !process::has_terminal(),
        }
    }

    fn reap(&mut self) {
        loop {
            match process::reap() {
                Reaped::Child(pid, status) => {
                    let main = self.mains.iter().position(|main| main.pid == Some(pid));
                    match main {
                        Some(index) => {
                            if let Some(main) = self.mains.get_mut(index) {
                                main.pid = None;
                                main.glance = None;
                            }
                            forget_main(pid);
                            self.tell(Event::Exited(ServiceId(index), status));
                        }
                        None => self.record.orphans += 1,
                    }
                }
                Reaped::Nothing => return,
                Reaped::NoChildren => {
                    self.childless = true;
                    return;
                }
            }
        }
    }

    /// Looks for what the core awaits, each condition once, and all of them
    /// anew whenever the core has ordered something.
    fn look(&mut self) {
        let mut looked_at: Vec<Condition> = Vec::new();
        while let Some(condition) = self
            .machine
            .awaits()
            .into_iter()
            .find(|condition| !looked_at.contains(condition))
        {
            looked_at.push(condition);
            let event = match condition {
                Condition::Listens(id) => self.look_whether_it_listens(id),
                Condition::AskedGone(scope) => {
                    let gone = self.asked_of(scope).iter().all(Asked::has_gone);
                    gone.then_some(Event::AskedGone(scope))
                }
                Condition::Silent(scope) => self
                    .are_clients_silent(scope)
                    .then_some(Event::Silent(scope)),
                Condition::Quiet(id) => self.look_why_busy(id).map(|busy| Event::Busy(id, busy)),
                Condition::Remains(scope) => Some(Event::Remains(scope, self.remains(scope))),
                Condition::Flushed => self.look_whether_flushed(),
            };
            if event.is_some_and(|event| self.tell(event)) {
                looked_at.clear();
            }
        }
        self.look_after = (self.look_after * 2).min(LOOK_AT_MOST);
    }

    fn asked_of(&self, scope: Scope) -> &[Asked] {
        self.asked
            .iter()
            .find(|(asked, _)| *asked == scope)
            .map_or(&[], |(_, processes)| processes.as_slice())
    }

    /// The processes of a scope, zombies left out.
    fn members(&self, scope: Scope) -> Vec<Process> {
        if self.childless {
            return Vec::new();
        }
        let mut all = tree::below(self.own_pid);
        // Where there is no /proc, or another namespace's, our children are ours
        // all the same; one that has ended is still in it until we reap it.
        for pid in self.mains.iter().filter_map(|main| main.pid) {
            let seen = Process::read(pid).is_some_and(|p| p.parent == Some(self.own_pid));
            if !seen {
                all.push(Process::unseen(pid, self.own_pid));
            }
        }
        match scope {
            Scope::Service(id) if self.mains.len() > 1 => self.members_of(id, &all),
            // Whatever runs, the only service has started it.
            Scope::Service(_) | Scope::Rest => all,
        }
    }

    fn members_of(&self, id: ServiceId, all: &[Process]) -> Vec<Process> {
        let Some(main) = self.mains.get(id.0) else {
            return Vec::new();
        };
        let preset = self
            .config
            .services
            .get(id.0)
            .and_then(|service| service.preset);
        let is_root = |process: &Process| {
            if main.pid == Some(process.pid) || main.group.is_some() && process.group == main.group
            {
                return true;
            }
            // An orphan that no other service can have left. Only presets are
            // told apart: the rest is swept at the end.
            let is_orphan = process.parent == Some(self.own_pid)
                && !self.mains.iter().any(|other| {
                    other.pid == Some(process.pid)
                        || other.group.is_some() && other.group == process.group
                });
            let heir = self
                .config
                .services
                .iter()
                .position(|service| service.preset == preset);
            is_orphan
                && preset.is_some()
                && Preset::by_comm(&process.comm) == preset
                && heir == Some(id.0)
        };
        let (mut members, others): (Vec<Process>, Vec<Process>) =
            all.iter().cloned().partition(is_root);
        let roots: Vec<Pid> = members.iter().map(|process| process.pid).collect();
        members.extend(tree::descendants(&others, &roots));
        members
    }

    /// What a process of that scope is to the scope's drain.
    fn kind(&self, scope: Scope, process: &Process) -> Option<&'static Preset> {
        if let Scope::Service(id) = scope {
            if self
                .config
                .services
                .get(id.0)
                .is_some_and(|service| service.stop_is_given)
            {
                return None;
            }
        }
        Preset::by_comm(&process.comm)
    }

    fn remains(&self, scope: Scope) -> Remains {
        let mut remains = Remains::default();
        for process in self.members(scope) {
            match self.kind(scope, &process).map(|preset| preset.kind) {
                Some(Kind::Web) => remains.web = true,
                Some(Kind::Fpm) => remains.fpm = true,
                None => remains.other = true,
            }
        }
        remains
    }

    /// The masters of that kind: those whose parent is not of the kind itself.
    fn masters(
        &self,
        scope: Scope,
        members: &[Process],
        kind: Kind,
    ) -> Vec<(Process, &'static Preset)> {
        let of_kind = |process: &Process| {
            self.kind(scope, process)
                .filter(|preset| preset.kind == kind)
        };
        let pids: Vec<Pid> = members
            .iter()
            .filter(|process| of_kind(process).is_some())
            .map(|process| process.pid)
            .collect();
        members
            .iter()
            .filter(|process| !process.parent.is_some_and(|parent| pids.contains(&parent)))
            .filter_map(|process| Some((process.clone(), of_kind(process)?)))
            .collect()
    }

    /// php-fpm's workers.
    fn workers(&self, scope: Scope, members: &[Process]) -> Vec<(Process, &'static Preset)> {
        let masters = self.masters(scope, members, Kind::Fpm);
        members
            .iter()
            .filter(|process| {
                masters
                    .iter()
                    .any(|(master, _)| process.parent == Some(master.pid))
            })
            .filter_map(|process| Some((process.clone(), self.kind(scope, process)?)))
            .filter(|(_, preset)| preset.kind == Kind::Fpm)
            .collect()
    }

    fn look_whether_it_listens(&mut self, id: ServiceId) -> Option<Event> {
        let listens = self.listens(id);
        let starting = self.machine.stopping_since().is_none();
        match listens {
            Listens::Yes if starting => info!(target: &self.name(id), "ready"),
            Listens::No if starting => return None,
            Listens::Unknown if !starting => self.warn_unseen(id),
            Listens::Yes | Listens::No | Listens::Unknown => {}
        }
        Some(Event::Listens(id, listens))
    }

    fn warn_unseen(&mut self, id: ServiceId) {
        let who = self.name(id);
        if let Some(main) = self.mains.get_mut(id.0) {
            if !mem::replace(&mut main.is_unseen, true) {
                warn!(target: &who, "neither its descriptors nor the socket tables tell whether it \
                      listens: it counts as listening");
            }
        }
    }

    fn listens(&mut self, id: ServiceId) -> Listens {
        let mut inodes = Vec::new();
        let mut unseen_users = Vec::new();
        // A worker has what its master has, and its connections: thousands.
        let members = self.members(Scope::Service(id));
        let is_worker = |process: &Process| {
            let preset = Preset::by_comm(&process.comm);
            preset.is_some()
                && members.iter().any(|master| {
                    process.parent == Some(master.pid) && Preset::by_comm(&master.comm) == preset
                })
        };
        for process in members.iter().filter(|process| !is_worker(process)) {
            match sockets::held_by(process.pid) {
                Ok(held) => inodes.extend(held),
                // Of who is about to end nothing can be read either.
                Err(_) if process.runs() => unseen_users.extend(tree::user(process.pid)),
                Err(_) => {}
            }
        }
        if inodes.is_empty() && unseen_users.is_empty() {
            return Listens::No;
        }
        let is_preset = self
            .config
            .services
            .get(id.0)
            .is_some_and(|s| s.preset.is_some());
        let Ok(listeners) = sockets::listeners() else {
            return Listens::Unknown;
        };
        let before = self
            .mains
            .get(id.0)
            .map_or(&[][..], |main| &main.listeners_before);
        let held = |listener: &&Listener| inodes.contains(&listener.inode);
        let mut found: Vec<&Listener> = listeners.iter().filter(held).collect();
        // A unix socket has no port: then there is no list.
        let ports: Option<Vec<u16>> = found.iter().map(|listener| listener.port).collect();
        let serves_udp =
            || sockets::udp().map_or(true, |udp| udp.iter().any(|inode| inodes.contains(inode)));
        let tcp_ports = ports.filter(|_| !serves_udp());
        if found.is_empty() {
            // Of who can't be looked into, what appeared since its start and is
            // its user's may be its own. A unix socket doesn't say whose it is.
            let may_be_unseen = |listener: &&Listener| {
                let may_be_its = match listener.user {
                    Some(user) => unseen_users.contains(&user),
                    None => is_preset && !unseen_users.is_empty(),
                };
                may_be_its && !before.contains(&listener.inode)
            };
            found = listeners.iter().filter(may_be_unseen).collect();
        }
        self.everybodys_ports = listeners.iter().filter_map(|any| any.port).collect();
        self.ports
            .extend(found.iter().filter_map(|listener| listener.port));
        self.ports.sort_unstable();
        self.ports.dedup();
        let listens = match found.as_slice() {
            [] if is_preset && !unseen_users.is_empty() => Listens::Unknown,
            [] => Listens::No,
            _ => Listens::Yes,
        };
        if let Some(main) = self.mains.get_mut(id.0) {
            main.tcp_ports = tcp_ports;
            main.listeners = found.iter().map(|listener| listener.inode).collect();
        }
        listens
    }

    /// Why a php-fpm alone is not to be asked yet. Fast requests go unseen on
    /// its sockets between two looks, but each has a worker sleep once more.
    fn look_why_busy(&mut self, id: ServiceId) -> Option<Busy> {
        let scope = Scope::Service(id);
        let workers: Vec<(Pid, u64, u64)> = self
            .workers(scope, &self.members(scope))
            .into_iter()
            .filter_map(|(process, _)| {
                let switches = tree::voluntary_switches(process.pid)?;
                Some((process.pid, process.started, switches))
            })
            .collect();
        let main = self.mains.get_mut(id.0)?;
        // Fewer workers are no sign of work: with pm = dynamic an idle one goes
        // each second.
        let is_at_work = main
            .workers
            .as_ref()
            .is_some_and(|before| workers.iter().any(|worker| !before.contains(worker)));
        main.workers = Some(workers);

        let listeners = sockets::listeners().unwrap_or_default();
        let is_queued =
            |listener: &Listener| listener.queued > 0 && main.listeners.contains(&listener.inode);
        let by_others = match &self.config.stop_after {
            StopAfter::None => None,
            StopAfter::Clients => sockets::connected(Peer::Outside, |port| {
                let is_served =
                    self.everybodys_ports.contains(&port) || !sockets::is_ephemeral(port);
                is_served && !self.ports.contains(&port)
            })
            .map(Busy::Clients),
            StopAfter::Ports(ports) => listeners
                .iter()
                .filter_map(|listener| listener.port)
                .find(|port| ports.contains(port))
                .map(Busy::Listener)
                .or_else(|| {
                    sockets::connected(Peer::Anywhere, |port| ports.contains(&port))
                        .map(Busy::Clients)
                }),
        };
        by_others
            .or_else(|| listeners.iter().any(is_queued).then_some(Busy::Queue))
            .or_else(|| is_at_work.then_some(Busy::Workers))
    }

    fn are_clients_silent(&self, scope: Scope) -> bool {
        let Scope::Service(id) = scope else {
            return false;
        };
        let ports = self
            .mains
            .get(id.0)
            .and_then(|main| main.tcp_ports.as_ref());
        ports.is_some_and(|ports| sockets::are_silent(ports))
    }

    fn dismiss(&mut self, scope: Scope) {
        let members = self.members(scope);
        let masters = self.masters(scope, &members, Kind::Web);
        self.signal_all(masters.iter().map(|(process, _)| process), Signal::TERM);
        self.record.sent(scope, Signal::TERM);
    }

    fn look_whether_flushed(&mut self) -> Option<Event> {
        let unsent = if self.ports.is_empty() {
            0
        } else {
            sockets::unsent(&self.ports)
        };
        let before = mem::replace(&mut self.unsent, unsent);
        match unsent {
            0 => Some(Event::Unsent(Unsent::None)),
            less if less < before => Some(Event::Unsent(Unsent::Shrunk)),
            _ => None,
        }
    }

    fn name(&self, id: ServiceId) -> String {
        self.config
            .services
            .get(id.0)
            .map_or_else(String::new, |service| service.name.clone())
    }

    /// Carries out an order. What comes of it at once is put behind `events`,
    /// what is worth saying behind `lines`.
    fn perform(&mut self, action: Action, events: &mut VecDeque<Event>, lines: &mut Vec<Line>) {
        match action {
            Action::Spawn(id) => self.spawn(id, events, lines),
            Action::Reload(id) => self.pass_on(id, Signal::HUP, |preset| preset.reload, lines),
            Action::Reopen(id) => self.pass_on(id, Signal::USR1, |preset| preset.reopen, lines),
            Action::Forward(id, signal) => {
                let is_preset = |process: &Process| Preset::by_comm(&process.comm).is_some();
                if self.is_plain() || !self.members(Scope::Service(id)).iter().any(is_preset) {
                    self.signal_main(id, signal);
                }
            }
            Action::BeginStop(delay) => {
                if !delay.is_zero() {
                    self.write_marker();
                }
            }
            Action::Ask(scope, layer) => self.ask(scope, layer, events, lines),
            Action::Dismiss(scope) => self.dismiss(scope),
            Action::Force(scope, force) => self.force(scope, force, lines),
            Action::PresumeReady(id) => self.warn_unseen(id),
            Action::StartFailed(_)
            | Action::EndedUnasked(_)
            | Action::AwaitQuiet(_)
            | Action::StopAwaitingQuiet(_)
            | Action::Exit => {}
        }
    }

    fn spawn(&mut self, id: ServiceId, events: &mut VecDeque<Event>, lines: &mut Vec<Line>) {
        let config = Rc::clone(&self.config);
        let (Some(service), Some(main)) = (config.services.get(id.0), self.mains.get_mut(id.0))
        else {
            return;
        };
        let mut variables = vec![("DRAINIT_DELAY", "0")];
        if service.in_foreground_by_variable {
            variables.push(("NGINX", ""));
        }
        if service.preset.is_some() {
            let listeners = sockets::listeners().unwrap_or_default();
            main.listeners_before = listeners.iter().map(|listener| listener.inode).collect();
        }
        let program = Program {
            file: &service.program,
            command: &service.command,
            variables: &variables,
            foreground: service.preset.is_none()
                && config.services.len() == 1
                && process::owns_terminal(),
        };
        match process::spawn(&program, self.wakes.inherited_mask) {
            Ok(pid) => {
                self.childless = false;
                main.pid = Some(pid);
                main.group = Some(pid);
                remember_main(pid, service.stop);
                lines.push(Line {
                    who: service.name.clone(),
                    what: format!("started, pid {pid}"),
                });
            }
            Err(SpawnError::Refused(error)) => {
                warn!(target: &service.name, "can't be started now: {error}");
                events.push_back(Event::SpawnRefused(id));
            }
            Err(SpawnError::Failed(failure, error)) => {
                let file = service.program.display();
                warn!(target: &service.name, "{file} can't be executed: {error}");
                self.record.start_failed(id, failure);
                events.push_back(Event::SpawnFailed(id));
            }
        }
    }

    /// Signals a process whose pid may be another's by now, unless it is our
    /// child: a pid that we haven't reaped stays what it is.
    fn signal(&self, process: &Process, signal: Signal) -> io::Result<Option<PidFd>> {
        let result = if process.parent == Some(self.own_pid) {
            process::kill(process.pid, signal).map(|()| None)
        } else {
            match PidFd::open(process.pid) {
                Ok(pidfd) if process.runs() => pidfd.send(signal).map(|()| Some(pidfd)),
                // A kernel without pidfds, or a filter that denies them; a
                // moment's risk is left.
                Err(_) if process.runs() => process::kill(process.pid, signal).map(|()| None),
                Ok(_) | Err(_) => Ok(None),
            }
        };
        match result {
            // It went before we came: that is what the signal was for.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            result => result,
        }
    }

    fn signal_all<'a>(&self, processes: impl IntoIterator<Item = &'a Process>, signal: Signal) {
        for process in processes {
            if let Err(error) = self.signal(process, signal) {
                let Process { pid, comm, .. } = process;
                warn!(target: OURSELVES, "{comm} (pid {pid}) can't be sent {signal}: {error}");
            }
        }
    }

    /// Signals a service's main process, if that wasn't reaped.
    fn signal_main(&self, id: ServiceId, signal: Signal) {
        let Some(pid) = self.mains.get(id.0).and_then(|main| main.pid) else {
            return;
        };
        if let Err(error) = process::kill(pid, signal) {
            let who = self.name(id);
            warn!(target: &who, "can't be sent {signal}: {error}");
        }
    }

    /// Whether the only service is a single process, and no preset: then a signal
    /// is its own, and doesn't have to wait for a look at all of /proc.
    fn is_plain(&mut self) -> bool {
        let [main] = self.mains.as_mut_slice() else {
            return false;
        };
        let Some(pid) = main.pid else {
            return false;
        };
        main.glance = main.glance.take().or_else(|| Glance::at(pid));
        main.glance
            .as_ref()
            .is_some_and(|glance| glance.is_lone(|comm| Preset::by_comm(comm).is_none()))
    }

    /// Reload or reopen, by each preset's own signal, or by the usual one where
    /// there is none.
    fn pass_on(
        &mut self,
        id: ServiceId,
        usual: Signal,
        own: fn(&Preset) -> Option<Signal>,
        lines: &mut Vec<Line>,
    ) {
        let scope = Scope::Service(id);
        let mut presets = Vec::new();
        if !self.is_plain() {
            let members = self.members(scope);
            presets = self.masters(scope, &members, Kind::Web);
            presets.extend(self.masters(scope, &members, Kind::Fpm));
        }
        if presets.is_empty() {
            self.signal_main(id, usual);
        }
        let mut say = |what: String| {
            lines.push(Line {
                who: self.name(id),
                what,
            });
        };
        for (process, preset) in presets {
            match own(preset) {
                Some(signal) => {
                    self.signal_all([&process], signal);
                    say(format!("<- {signal}"));
                }
                None if usual == Signal::HUP && preset.kind == Kind::Fpm => say(
                    "not reloaded: SIGHUP would end it, and SIGUSR2 cut its requests".to_owned(),
                ),
                None => say(format!("has no signal for what {usual} asks")),
            }
        }
    }

    fn ask(
        &mut self,
        scope: Scope,
        layer: Layer,
        events: &mut VecDeque<Event>,
        lines: &mut Vec<Line>,
    ) {
        let members = self.members(scope);
        let targets: Vec<(Process, Signal)> = match layer {
            Layer::Web => with_signal(self.masters(scope, &members, Kind::Web)),
            Layer::Masters => with_signal(self.masters(scope, &members, Kind::Fpm)),
            Layer::Workers => with_signal(self.workers(scope, &members)),
            Layer::Main => self.last_targets(scope, members),
        };
        // Those asked before have gone; their descriptors are needed.
        self.asked.retain(|(other, _)| *other != scope);
        let mut asked: Vec<Asked> = Vec::new();
        let mut refused = 0;
        for (process, signal) in &targets {
            match self.signal(process, *signal) {
                Ok(pidfd) => {
                    self.record.sent(scope, *signal);
                    let is_child = process.parent == Some(self.own_pid);
                    let pidfd = pidfd
                        .or_else(|| PidFd::open(process.pid).ok().filter(|_| is_child))
                        .filter(|_| targets.len() <= PIDFDS_AT_MOST)
                        .filter(|pidfd| self.wakes.add(pidfd).is_ok());
                    asked.push(Asked {
                        process: process.clone(),
                        pidfd,
                    });
                }
                Err(error) => {
                    refused += 1;
                    debug!(target: OURSELVES, "pid {}: {error}", process.pid);
                }
            }
            // A stopped process would see the signal only when somebody
            // continues it.
            let _ = self.signal(process, Signal::CONT);
        }
        // Where not all can have one, none has: /proc needs descriptors too.
        if asked.iter().any(|asked| asked.pidfd.is_none()) {
            for asked in &mut asked {
                asked.pidfd = None;
            }
        }
        let mut signals: Vec<Signal> = targets.iter().map(|(_, signal)| *signal).collect();
        signals.dedup();
        let who = match scope {
            Scope::Service(id) => self.name(id),
            Scope::Rest => targets
                .first()
                .map_or_else(String::new, |(target, _)| target.comm.clone()),
        };
        if layer == Layer::Workers && refused > 0 {
            events.push_back(Event::AskRefused(scope));
        } else {
            for signal in signals {
                lines.push(Line {
                    who: who.clone(),
                    what: report::asked(layer, signal),
                });
            }
            if refused > 0 {
                warn!(target: &who, "{refused} of its processes may not be signalled");
            }
        }
        self.asked.push((scope, asked));
    }

    /// The main process by its own signal; once that was reaped, all that is
    /// left, by SIGTERM.
    fn last_targets(&self, scope: Scope, members: Vec<Process>) -> Vec<(Process, Signal)> {
        let main = match scope {
            Scope::Service(id) => self.mains.get(id.0).and_then(|main| main.pid),
            Scope::Rest => None,
        };
        let signal = match scope {
            Scope::Service(id) if main.is_some() => self
                .config
                .services
                .get(id.0)
                .map_or(Signal::TERM, |service| service.stop),
            Scope::Service(_) | Scope::Rest => Signal::TERM,
        };
        members
            .into_iter()
            .filter(|process| main.is_none_or(|main| process.pid == main))
            .map(|process| (process, signal))
            .collect()
    }

    fn force(&mut self, scope: Scope, force: Force, lines: &mut Vec<Line>) {
        let members = self.members(scope);
        let main = match scope {
            Scope::Service(id) => self.mains.get(id.0),
            Scope::Rest => None,
        };
        match force {
            Force::Kill => {
                // The group first: a process may fork while we go through them.
                let group = main.and_then(|main| main.group);
                if let Some(group) = group
                    .filter(|group| members.iter().any(|process| process.group == Some(*group)))
                {
                    // All of them may have gone by now.
                    let _ = process::kill_group(group, Signal::KILL);
                }
                self.signal_all(&members, Signal::KILL);
                self.record.sent(scope, Signal::KILL);
            }
            Force::Term => {
                let main = main.and_then(|main| main.pid);
                let mut targets: Vec<Process> = [Kind::Web, Kind::Fpm]
                    .into_iter()
                    .flat_map(|kind| with_signal(self.masters(scope, &members, kind)))
                    .map(|(process, _)| process)
                    .collect();
                let mains = members.iter().filter(|process| Some(process.pid) == main);
                targets.extend(mains.cloned());
                targets.sort_by_key(|process| process.pid);
                targets.dedup();
                if targets.is_empty() {
                    targets = members;
                }
                self.signal_all(&targets, Signal::TERM);
                self.signal_all(&targets, Signal::CONT);
                self.record.sent(scope, Signal::TERM);
            }
        }
        let who = match scope {
            Scope::Service(id) => self.name(id),
            Scope::Rest => OURSELVES.to_owned(),
        };
        lines.push(Line {
            who,
            what: report::forced(force),
        });
    }

    /// At the start: what an earlier run left would have every response close
    /// its connection.
    fn clear_marker(&self) {
        let Some(marker) = self.config.marker.path() else {
            return;
        };
        let wanted = matches!(self.config.marker, Marker::At(_))
            || self
                .config
                .services
                .iter()
                .any(|service| service.preset.is_some_and(Preset::is_nginx));
        let removed = match fs::remove_file(marker) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        let directory = marker.parent().unwrap_or(marker);
        if let Err(error) = removed.and_then(|()| process::may_write(directory)) {
            if wanted {
                warn!(target: OURSELVES, "the marker {} can't be made: {error}", marker.display());
            }
        }
    }

    fn write_marker(&self) {
        let Some(marker) = self.config.marker.path() else {
            return;
        };
        let is_nginx =
            |process: &Process| Preset::by_comm(&process.comm).is_some_and(Preset::is_nginx);
        if self.config.marker == Marker::Default && !tree::below(self.own_pid).iter().any(is_nginx)
        {
            return;
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_NOFOLLOW)
            .mode(0o644)
            .open(marker);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                debug!(target: OURSELVES, "no marker {}: {error}", marker.display());
            }
            // There already: another drainit of this pod has made it.
            _ => {}
        }
    }
}

fn with_signal(presets: Vec<(Process, &'static Preset)>) -> Vec<(Process, Signal)> {
    presets
        .into_iter()
        .map(|(process, preset)| (process, preset.stop))
        .collect()
}

fn remember_main(pid: Pid, stop: Signal) {
    if let Ok(mut mains) = MAINS.lock() {
        mains.push((pid, stop));
    }
}

fn forget_main(pid: Pid) {
    if let Ok(mut mains) = MAINS.lock() {
        mains.retain(|(main, _)| *main != pid);
    }
}

/// A panic should be impossible. If one happens all the same, the services are
/// asked to stop, and killed when their time is over.
fn end_in_panic_hook(patience: Duration) {
    std::panic::set_hook(Box::new(move |panic| {
        // The panic may have come while it was held.
        let mains = MAINS
            .try_lock()
            .map(|mains| mains.clone())
            .unwrap_or_default();
        last_resort(&mains, patience, || {
            log::error!(target: OURSELVES, "{panic}; stopping all services");
        });
        std::process::exit(101);
    }));
}

/// `say` says so, which may fail: after what has to be done at once.
fn last_resort(mains: &[(Pid, Signal)], patience: Duration, say: impl FnOnce()) {
    for (pid, stop) in mains {
        // It may have gone.
        let _ = process::kill(*pid, *stop);
    }
    say();
    let start = Instant::now();
    while start.elapsed() < patience {
        match process::reap() {
            Reaped::NoChildren => return,
            Reaped::Child(..) => {}
            Reaped::Nothing => thread::sleep(LOOK_FIRST),
        }
    }
    for (pid, _) in mains {
        let _ = process::kill_group(*pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A child that has set this trap for SIGTERM.
    fn child(trap: &str) -> (Child, Pid) {
        let script = format!("trap '{trap}' TERM; echo ready; while :; do :; done");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
        (child, pid)
    }

    /// One test, as the last resort reaps whatever child there is.
    #[test]
    fn the_last_resort_asks_and_then_kills() {
        let (mut polite, pid) = child("exit 7");
        last_resort(&[(pid, Signal::TERM)], Duration::from_secs(20), || {});
        assert!(polite.wait().is_err(), "it was not reaped");

        let (mut stubborn, pid) = child("");
        last_resort(&[(pid, Signal::TERM)], Duration::ZERO, || {});
        assert_eq!(stubborn.wait().unwrap().signal(), Some(9));
    }
}
