//! Looking: what the kernel shows of what the core awaits. What can't be seen
//! counts as there.

use std::io;
use std::mem;
use std::time::Duration;

use log::{info, warn};

use super::Supervisor;
use super::arrivals::Came;
use super::members::Table;
use super::output::Written;
use crate::config::service::ReadyAt;
use crate::core::event::{
    Arrivals, Attendance, Busy, Condition, Event, Listens, Remains, Scope, Sight, Unsent,
};
use crate::core::plan::{ServiceId, StopAfter};
use crate::preset::{Kind, Preset};
use crate::report::record::HeldUp;
use crate::signal::Signal;
use crate::sys::proc::{self, Handling};
use crate::sys::process::{self, Pid};
use crate::sys::snmp::Counters;
use crate::sys::sockets::{self, Endpoint, EphemeralPorts, Listener, Peer, Presence};

/// How soon a condition is looked at again that no descriptor tells of. The
/// time doubles while the same conditions hold: a service that starts, or a
/// leftover that ends, does so soon or late.
pub(super) const LOOK_FIRST: Duration = Duration::from_millis(10);

/// The longest time between two looks.
const LOOK_AT_MOST: Duration = Duration::from_millis(100);

/// For so many times as long as a look took there is no other one, beside
/// thousands of processes.
const LOOK_REST: u32 = 4;

/// What was seen of a service's sockets.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The listening sockets that were there before it was started, where that
    /// was looked at.
    pub(super) before: Option<Vec<u64>>,
    /// The inodes of what it listens on.
    pub(super) listeners: Vec<u64>,
    /// Its ports, if TCP is all that it serves: nothing tells of the clients of
    /// a unix socket, or of UDP.
    tcp_ports: Option<Vec<u16>>,
    /// Its workers when they were last looked at, with their start and how
    /// often they had slept; `None` before the first look.
    workers: Option<Vec<Slept>>,
    /// It was said that it can't be seen whether this service listens.
    is_said_unseen: bool,
}

impl Seen {
    /// Of what is about to be started: nothing was seen of that.
    pub(super) fn of_a_new_start(&self) -> Self {
        Self {
            is_said_unseen: self.is_said_unseen,
            ..Self::default()
        }
    }
}

/// The sockets that processes have open.
pub(super) struct Held {
    pub(super) inodes: Vec<u64>,
    /// Some can't be looked into.
    is_unseen: bool,
    /// The users of those.
    unseen_users: Vec<u32>,
}

/// The sockets that these members of a table have open.
pub(super) fn held_by(table: &Table, members: &[usize]) -> Held {
    let mut held = Held {
        inodes: Vec::new(),
        is_unseen: !table.is_whole,
        unseen_users: Vec::new(),
    };
    // A worker has what its master has, and its connections: thousands.
    let tells_more = |index: &usize| {
        let preset = table.get(*index).and_then(|member| member.preset);
        !table.is_worker(*index) || preset.is_some_and(Preset::has_listening_workers)
    };
    let looked_into = members.iter().filter(|index| tells_more(index));
    for member in looked_into.filter_map(|index| table.get(*index)) {
        if !table.is_whole {
            // Its number may be another process's in that /proc.
            continue;
        }
        match sockets::held_by(member.process.pid) {
            Ok(its) => held.inodes.extend(its),
            // Of who is about to end nothing can be read either.
            Err(_) if member.process.runs() => {
                held.is_unseen = true;
                held.unseen_users.extend(proc::user(member.process.pid));
            }
            Err(_) => {}
        }
    }
    held
}

/// How often a worker has gone to sleep: once for each request, at least.
#[derive(Debug, PartialEq, Eq)]
struct Slept {
    pid: Pid,
    started: u64,
    times: u64,
}

/// Whether anybody listens there.
fn look_who_listens(place: &ReadyAt) -> Listens {
    let is_listened = match place {
        ReadyAt::Tcp(port) => sockets::has_tcp_listener(*port),
        ReadyAt::Unix(path) => sockets::has_unix_listener(path.as_bytes()),
    };
    match is_listened {
        Ok(true) => Listens::Yes,
        Ok(false) => Listens::No,
        Err(_) => Listens::Unknown,
    }
}

impl Supervisor {
    /// Looks for what the core awaits, and again whenever it has ordered
    /// something, or awaits something else. One look at /proc answers all that is
    /// awaited at a time.
    pub(super) fn look(&mut self) {
        let start = self.now();
        loop {
            let awaited = self.machine.awaits();
            if self.is_table_old {
                self.table = None;
            }
            let events: Vec<Event> = awaited.iter().filter_map(|it| self.answer(*it)).collect();
            let mut ordered = false;
            for event in events {
                ordered |= self.tell(event);
            }
            if !ordered && self.machine.awaits() == awaited {
                break;
            }
        }
        let rest = self.now().since(start) * LOOK_REST;
        self.look_after = (self.look_after * 2).min(LOOK_AT_MOST).max(rest);
    }

    fn answer(&mut self, condition: Condition) -> Option<Event> {
        match condition {
            Condition::Sight(id) => self.look_at(id),
            Condition::AskedGone(scope) => self.look_whether_asked_gone(scope),
            Condition::Silent(scope) => self
                .are_clients_silent(scope)
                .then_some(Event::Silent(scope)),
            Condition::Quiet(id) => self.look_why_busy(id).map(|busy| Event::Busy(id, busy)),
            Condition::Remains(scope) => Some(Event::Remains(scope, self.remains(scope))),
            Condition::Arrivals => self.look_what_comes().map(Event::Arrived),
            Condition::Flushed => self.look_whether_flushed(),
        }
    }

    fn look_what_comes(&mut self) -> Option<Arrivals> {
        // Where only this can't be read, the connections that are new are seen.
        let connections = sockets::heard(&self.ports).unwrap_or_default();
        let Ok(counters) = Counters::read() else {
            return Some(Arrivals::Unknown);
        };
        let now = Came::new(connections, counters);
        let arrivals = self
            .came
            .as_ref()
            .and_then(|before| now.since(before, self.hears_udp));
        self.came = Some(now);
        arrivals
    }

    fn look_whether_asked_gone(&mut self, scope: Scope) -> Option<Event> {
        let told = self.told_mut(scope);
        let before = told.awaited.len();
        told.awaited.retain(|asked| !asked.has_gone());
        match told.awaited.len() {
            0 => Some(Event::AskedGone(scope)),
            fewer if fewer < before => Some(Event::AskedFewer(scope)),
            _ => None,
        }
    }

    fn remains(&mut self, scope: Scope) -> Remains {
        // waitpid(2) alone proves that nothing is left.
        if self.childless {
            return Remains::NOTHING;
        }
        let table = self.table();
        let its = table.of(scope);
        let masters = table.masters(&its, Kind::Fpm);
        let has_workers = !table.workers(&its, Kind::Fpm).is_empty();
        let attendance = if masters.is_empty() && !has_workers {
            Attendance::Nobody
        } else {
            self.attendance(scope)
        };
        let is_there = match scope {
            // All that runs below us is its, and something does.
            Scope::Rest => true,
            Scope::Service(_) if self.mains.len() == 1 => true,
            Scope::Service(id) => {
                let group = self.mains.get(id).and_then(|main| main.ids.group);
                !its.is_empty() || !table.is_whole && group.is_some_and(process::is_group_there)
            }
        };
        Remains {
            any: is_there,
            web: self.has_unasked(scope, &table, &table.masters(&its, Kind::Web)),
            workers: has_workers,
            masters: self.has_unasked(scope, &table, &masters),
            other: self.has_unasked(scope, &table, &table.others(&its)),
            attendance,
        }
    }

    fn has_unasked(&self, scope: Scope, table: &Table, of: &[usize]) -> bool {
        of.iter()
            .filter_map(|index| table.get(*index))
            .any(|member| !self.was_asked(scope, &member.process))
    }

    fn attendance(&self, scope: Scope) -> Attendance {
        let listeners = match scope {
            Scope::Service(id) => self.seen(id).map(|seen| seen.listeners.as_slice()),
            Scope::Rest => None,
        };
        let listeners = listeners.unwrap_or_default();
        if listeners.is_empty() {
            return Attendance::Unknown;
        }
        match sockets::presence(listeners) {
            Ok(Presence::Nobody) => Attendance::Nobody,
            Ok(Presence::Connected) => Attendance::Connected,
            Ok(Presence::Queued) => Attendance::Queued,
            Err(_) => Attendance::Unknown,
        }
    }

    pub(super) fn seen(&self, id: ServiceId) -> Option<&Seen> {
        self.mains.get(id).map(|main| &main.seen)
    }

    fn look_at(&mut self, id: ServiceId) -> Option<Event> {
        let mut listens = self.listens(id);
        let starting = self.machine.stopping_since().is_none();
        let service = self.config.services.get(id);
        if let Some(place) = service.and_then(|service| service.ready_at.as_ref()) {
            if starting {
                listens = look_who_listens(place);
            }
        }
        match listens {
            Listens::Yes if starting => info!(target: &self.name(id), "ready"),
            Listens::No if starting => return None,
            Listens::Unknown if !starting => self.warn_unseen(id),
            Listens::Yes | Listens::No | Listens::Unknown => {}
        }
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let runs = [Kind::Web, Kind::Fpm]
            .into_iter()
            .find(|kind| !table.masters(&its, *kind).is_empty());
        Some(Event::Seen(id, Sight { listens, runs }))
    }

    /// Whether a service has been seen to listen, or can't be looked into.
    pub(super) fn is_seen_listening(&mut self, id: ServiceId) -> bool {
        let was_seen = self.seen(id).is_some_and(|seen| !seen.listeners.is_empty());
        was_seen || self.listens(id) != Listens::No
    }

    pub(super) fn warn_unseen(&mut self, id: ServiceId) {
        let who = self.name(id);
        if let Some(main) = self.mains.get_mut(id) {
            if !mem::replace(&mut main.seen.is_said_unseen, true) {
                warn!(target: &who, "neither its descriptors nor the socket tables tell whether it \
                      listens: it counts as listening");
            }
        }
    }

    fn listens(&mut self, id: ServiceId) -> Listens {
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let Held {
            inodes,
            is_unseen,
            unseen_users,
        } = held_by(&table, &its);
        if inodes.is_empty() && !is_unseen {
            return Listens::No;
        }
        let Ok(listeners) = sockets::listeners() else {
            return Listens::Unknown;
        };
        self.refusals.see(&listeners, &inodes);
        let is_preset = self
            .config
            .services
            .get(id)
            .is_some_and(|service| service.preset.is_some());
        let its: Vec<&Listener> = listeners
            .iter()
            .filter(|listener| inodes.contains(&listener.inode))
            .collect();
        // Only where all of it is seen, and TCP.
        let ports = its.iter().map(|listener| listener.endpoint.tcp_port());
        let tcp_ports = ports.collect::<Option<Vec<u16>>>().filter(|_| !is_unseen);
        let mut found = its;
        let mut may_be_others = false;
        if found.is_empty() {
            // Of who can't be looked into, what appeared since its start may be its
            // own. A unix socket doesn't say whose it is.
            let candidates = self.may_be_held_by(id, &listeners);
            let is_its = |listener: &&Listener| match listener.user {
                Some(user) => unseen_users.contains(&user),
                None => is_preset,
            };
            may_be_others = !candidates.is_empty();
            found = candidates.into_iter().filter(is_its).collect();
        }
        self.everybodys_ports = listeners
            .iter()
            .filter_map(|listener| listener.endpoint.tcp_port())
            .collect();
        let found_ports = found.iter().filter_map(|it| it.endpoint.tcp_port());
        self.ports.extend(found_ports);
        self.hears_udp |= found
            .iter()
            .any(|listener| matches!(listener.endpoint, Endpoint::Udp(_)));
        self.ports.sort_unstable();
        self.ports.dedup();
        let is_ready_by_itself = !found.is_empty();
        let listeners = found.iter().map(|listener| listener.inode).collect();
        let Some(main) = self.mains.get_mut(id) else {
            return Listens::Unknown;
        };
        main.seen.tcp_ports = tcp_ports;
        main.seen.listeners = listeners;
        if is_ready_by_itself {
            Listens::Yes
        } else if is_unseen && (may_be_others || is_preset) {
            Listens::Unknown
        } else {
            Listens::No
        }
    }

    /// The listening sockets that a service may hold which can't be looked into:
    /// none that was there before it was started, or is another one's.
    fn may_be_held_by<'a>(&self, id: ServiceId, listeners: &'a [Listener]) -> Vec<&'a Listener> {
        let before = self.seen(id).and_then(|seen| seen.before.as_deref());
        let is_before = |inode: u64| before.is_some_and(|before| before.contains(&inode));
        let is_others = |inode: u64| {
            let others = self.mains.each();
            others
                .filter(|(other, _)| *other != id)
                .any(|(_, other)| other.seen.listeners.contains(&inode))
        };
        listeners
            .iter()
            .filter(|listener| !is_before(listener.inode) && !is_others(listener.inode))
            .collect()
    }

    /// Why a php-fpm alone is not to be asked yet. Fast requests go unseen on
    /// its sockets between two looks, but each has a worker sleep once more.
    fn look_why_busy(&mut self, id: ServiceId) -> Option<Busy> {
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let workers: Vec<Slept> = table
            .workers(&its, Kind::Fpm)
            .into_iter()
            .filter_map(|index| {
                let process = &table.get(index)?.process;
                let times = proc::voluntary_switches(process.pid)?;
                let (pid, started) = (process.pid, process.started);
                Some(Slept {
                    pid,
                    started,
                    times,
                })
            })
            .collect();
        let main = self.mains.get_mut(id)?;
        // Fewer workers are no sign of work: with pm = dynamic an idle one goes
        // each second.
        let is_at_work = main
            .seen
            .workers
            .as_ref()
            .is_some_and(|before| workers.iter().any(|worker| !before.contains(worker)));
        main.seen.workers = Some(workers);

        let Ok(listeners) = sockets::listeners() else {
            return Some(Busy::Unknown);
        };
        let is_queued = |listener: &Listener| {
            listener.queued > 0 && main.seen.listeners.contains(&listener.inode)
        };
        let clients = |port: io::Result<Option<u16>>| match port {
            Ok(port) => port.map(Busy::Clients),
            Err(_) => Some(Busy::Unknown),
        };
        let by_others = match &self.config.plan.stop_after {
            StopAfter::None => None,
            StopAfter::Clients => {
                let ephemeral = EphemeralPorts::read();
                clients(sockets::connected(Peer::Outside, |port| {
                    let is_served =
                        self.everybodys_ports.contains(&port) || !ephemeral.contains(port);
                    is_served && !self.ports.contains(&port)
                }))
            }
            StopAfter::Ports(ports) => listeners
                .iter()
                .filter_map(|listener| listener.endpoint.tcp_port())
                .find(|port| ports.contains(port))
                .map(Busy::Listener)
                .or_else(|| {
                    clients(sockets::connected(Peer::Anywhere, |port| {
                        ports.contains(&port)
                    }))
                }),
        };
        by_others
            .or_else(|| listeners.iter().any(is_queued).then_some(Busy::Queue))
            .or_else(|| is_at_work.then_some(Busy::Workers))
    }

    fn tcp_ports(&self, scope: Scope) -> Option<&[u16]> {
        let Scope::Service(id) = scope else {
            return None;
        };
        self.seen(id)?.tcp_ports.as_deref()
    }

    fn are_clients_silent(&self, scope: Scope) -> bool {
        self.tcp_ports(scope).is_some_and(sockets::are_silent)
    }

    /// What keeps a scope that was asked to end.
    pub(super) fn held_up(&self, scope: Scope) -> Option<HeldUp> {
        if let Some(ports) = self.tcp_ports(scope) {
            let clients = sockets::clients(ports).ok();
            let clients = clients.filter(|clients| clients.count > 0);
            if let Some((clients, silent)) = clients.and_then(|it| Some((it.count, it.silent_for?)))
            {
                return Some(HeldUp::Clients(clients, silent));
            }
        }
        let Scope::Service(id) = scope else {
            return None;
        };
        let pid = self.mains.get(id)?.ids.pid?;
        let stop = self.config.services.get(id)?.main_stop();
        let ignores = |signal: &Signal| proc::handling(pid, *signal) == Handling::Ignored;
        [stop, Signal::TERM]
            .into_iter()
            .find(ignores)
            .map(HeldUp::Ignores)
    }

    /// By the kernel to clients, and by forwarders to who reads our log.
    fn look_whether_flushed(&mut self) -> Option<Event> {
        let written = self.forwarders.look();
        let unsent = if self.ports.is_empty() {
            0
        } else {
            // Where it can't be seen, it is waited for as long as for one who reads
            // nothing.
            sockets::unsent(&self.ports).unwrap_or(u64::MAX)
        };
        let before = mem::replace(&mut self.unsent, unsent);
        match (unsent, written) {
            (0, Written::All) => Some(Event::Unsent(Unsent::None)),
            (_, Written::More) => Some(Event::Unsent(Unsent::Shrunk)),
            (less, _) if less < before => Some(Event::Unsent(Unsent::Shrunk)),
            (_, Written::All | Written::Nothing) => None,
        }
    }
}
