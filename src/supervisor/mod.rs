//! The shell around the core: one loop that learns facts and carries out
//! orders.
//!
//! Every wake asks the same questions in the same order: which programs were
//! executed, which signals came, which children ended, does anything hold that the
//! core awaits, and has its deadline passed. Each answer is an event, and what the
//! core orders upon it is carried out before the next event is told, so that no
//! signal goes to a pid that was reaped in between. While serving nothing is
//! awaited, and the loop sleeps.
//!
//! Nothing here is fatal once a service was started: what fails is logged,
//! and the core goes on by its deadlines.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::config::Config;
use crate::config::value::{self, Marker};
use crate::control::server::Server;
use crate::core::event::{
    Action, Condition, Event, Health, Notice, Scope, State, StopRequest, Timestamp,
};
use crate::core::machine::Machine;
use crate::core::plan::{ByService, ServiceId};
use crate::preset::{self, Preset};
use crate::report::exit;
use crate::report::logger::{self, OURSELVES, REPORT};
use crate::report::record::Record;
use crate::report::text::Line;
use crate::report::voice::Happening;
use crate::signal::{Meaning, Signal, Surroundings, meaning};
use crate::sys::proc::{Glance, Process};
use crate::sys::process::{self, ExecPipe, Pid, Reaped, WindowSize};
use crate::sys::stderr::Stderr;
use crate::sys::wakes::{Descriptors, Wakes, Woken};

use act::Told;
use arrivals::Came;
use look::{LOOK_FIRST, Seen};
use marker::DrainMarker;
use members::{MainIds, Table};
use notify::Notifier;
use output::Forwarders;
use refusals::Refusals;

mod act;
mod arrivals;
mod look;
mod marker;
mod members;
mod notify;
mod output;
mod panic;
mod refusals;
mod requests;
mod termination_log;

/// What runs the services. See the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "questions of their own")]
pub struct Supervisor {
    config: Rc<Config>,
    machine: Machine,
    record: Record,
    start: Instant,
    own_pid: Pid,
    wakes: Wakes,
    /// Where `drainit ready` asks; `None` where it can't, or isn't to.
    control: Option<Server>,
    /// Who told us by `NOTIFY_SOCKET` that it is to know how far we are.
    notifier: Option<Notifier>,
    /// It was said that a supervisord runs below us.
    is_supervisord_said: bool,
    marker: DrainMarker,
    mains: ByService<Main>,
    /// What ran below us before we started anything: no service's.
    here_before: Vec<Process>,
    forwarders: Forwarders,
    /// What was done, for each scope whose drain has begun.
    told: Vec<(Scope, Told)>,
    /// What runs below us, since it was last looked at.
    table: Option<Rc<Table>>,
    /// Something was done since.
    is_table_old: bool,
    /// waitpid(2) said that there is no child: nothing at all runs below us.
    childless: bool,
    /// Local TCP ports that a service listened on.
    ports: Vec<u16>,
    /// A service listened on UDP.
    hears_udp: bool,
    /// What had come at the last look; `None` before the lame duck.
    came: Option<Came>,
    /// Local TCP ports that anybody listened on when a service was last looked
    /// into: at the stop request, at the latest.
    everybodys_ports: Vec<u16>,
    refusals: Refusals,
    /// What the kernel still had to send at the last look.
    unsent: u64,
    /// The terminal's size when it was last looked at.
    window: Option<WindowSize>,
    look_after: Duration,
    /// Empty between two events; kept for its memory.
    actions: Vec<Action>,
    /// Whether the only service was a single process, and no preset, when that was
    /// looked at in this wake.
    was_plain: Option<bool>,
    /// What is said, while somebody who asked for something is to hear it.
    overheard: Option<Vec<String>>,
}

/// A service's main process.
#[derive(Debug, Default)]
struct Main {
    ids: MainIds,
    started_at: Timestamp,
    exec: Exec,
    seen: Seen,
    /// It was said that it gets no signals that it doesn't catch.
    is_said_left_out: bool,
    /// Once a signal was passed on to it; never where there are several services.
    glance: Option<Glance>,
}

/// What is known of how a program's exec went.
#[derive(Debug, Default)]
enum Exec {
    /// Nothing was started, or how it went was told.
    #[default]
    Known,
    /// It may go on, or fail.
    Awaited {
        pipe: ExecPipe,
        /// Its outcome wakes us.
        wakes_us: bool,
    },
}

impl Supervisor {
    /// A supervisor that has started nothing yet.
    pub fn new(config: Config, wakes: Wakes, start: Instant) -> Self {
        let config = Rc::new(config);
        let success = config.plan.services.iter().map(|it| it.success.clone());
        let said = config.services.iter();
        let said = said.map(|service| (service.name.as_str(), service.preset.is_some()));
        Self {
            machine: Machine::new(config.plan.clone()),
            record: Record::new(said, config.plan.quiet, success),
            start,
            own_pid: Pid::own(),
            wakes,
            control: None,
            notifier: None,
            is_supervisord_said: false,
            marker: DrainMarker::new(config.marker.path()),
            mains: config.services.iter().map(|_| Main::default()).collect(),
            here_before: Vec::new(),
            forwarders: Forwarders::default(),
            told: Vec::new(),
            table: None,
            is_table_old: false,
            childless: false,
            ports: Vec::new(),
            hears_udp: false,
            came: None,
            everybodys_ports: Vec::new(),
            refusals: Refusals::default(),
            unsent: u64::MAX,
            window: process::window_size(),
            look_after: LOOK_FIRST,
            actions: Vec::new(),
            was_plain: None,
            overheard: None,
            config,
        }
    }

    /// Runs the services until all is over; returns the exit code.
    pub fn run(mut self) -> u8 {
        self.introduce();
        if self.config.services.iter().any(|it| it.names_supervisord) {
            self.warn_of_supervisord();
        }
        if self
            .config
            .stand_in
            .as_ref()
            .is_some_and(|it| it.takes_faults)
        {
            // Without them, too, most signals come.
            let _ = self.wakes.take_faults();
        }
        self.open_control();
        self.marker.clear(self.is_marker_wanted());
        panic::end_in_hook(self.config.plan.last_term_at());
        // Whoever became us by exec may have left some that have ended.
        self.reap();
        if self.config.stand_in.is_none() {
            self.notifier = Notifier::new(std::env::var_os(notify::VARIABLE));
            self.say_what_runs_already();
        }
        self.tell(Event::Tick);
        while !self.machine.is_over() {
            self.notify();
            let Woken { signals, is_asked } = self.wait();
            self.table = None;
            self.was_plain = None;
            // What was executed before a signal came may have asked for it.
            self.look_at_execs();
            let mut child_ended = false;
            for signal in signals {
                match signal {
                    Signal::CHLD => child_ended = true,
                    other => self.take(other),
                }
            }
            if child_ended {
                self.reap();
            }
            if self.is_nothing_awaited() {
                continue;
            }
            self.look();
            if is_asked {
                self.answer_requests();
            }
            if self.machine.deadline().is_some_and(|at| at <= self.now()) {
                self.tell(Event::Tick);
                self.look();
            }
        }
        self.notify();
        // Zombies that came since the last look.
        while let Reaped::Child(..) = process::reap() {
            self.record.orphans += 1;
        }
        if let Some(stand_in) = &self.config.stand_in {
            self.say_last_word(stand_in.last_word);
            return exit::code(&self.record);
        }
        self.marker.remove();
        self.record.refused = self.refused();
        self.say_how_it_went();
        exit::code(&self.record)
    }

    /// Signals those that are left of the command's group.
    fn say_last_word(&self, last_word: Option<Signal>) {
        let group = self.mains.first().and_then(|main| main.ids.group);
        if let (Some(group), Some(signal)) = (group, last_word) {
            // Most often nobody is left.
            let _ = process::kill_group(group, signal);
        }
    }

    /// Says it as the init does that we stand in for.
    fn say(&self, happening: &Happening) {
        let stand_in = self.config.stand_in.as_ref();
        if let Some(line) = stand_in.and_then(|it| it.voice.say(happening)) {
            let _ = Stderr::open().write_all(line.as_bytes());
        }
    }

    /// As while another init's child runs: it costs nothing but its signals.
    fn is_nothing_awaited(&self) -> bool {
        self.config.stand_in.is_some()
            && self.machine.deadline().is_none()
            && !self.machine.is_over()
    }

    fn say_how_it_went(&self) {
        let Config {
            plan,
            platform,
            log_format,
            termination_log,
            ..
        } = &*self.config;
        let (now, grace_period) = (self.now(), plan.grace_period);
        let advice = self.record.advice(now, grace_period, platform.tells_nobody);
        for line in advice {
            warn!(target: OURSELVES, "{line}");
        }
        info!(target: REPORT, "{}", self.record.report(now, *log_format));
        if let Some(path) = termination_log {
            if let Some(message) = self.record.termination_message(now, grace_period) {
                termination_log::write(path, &message);
            }
        }
    }

    fn introduce(&self) {
        let Config { platform, plan, .. } = &*self.config;
        info!(
            target: OURSELVES,
            "{}: grace period {}, delay {} (defaults of {})",
            env!("CARGO_PKG_VERSION"),
            humantime::format_duration(plan.grace_period),
            value::delay_text(plan.delay),
            platform.name
        );
        for note in &self.config.notes {
            warn!(target: OURSELVES, "{note}");
        }
        if let Some(signal) = self.config.parent_death_signal {
            if let Err(error) = process::signal_when_parent_ends(signal) {
                warn!(target: OURSELVES, "no {signal} will come when our parent ends: {error}");
            }
        }
        let is_subreaper = self.config.stand_in.as_ref();
        let is_subreaper = is_subreaper.is_none_or(|stand_in| stand_in.is_subreaper);
        if std::process::id() != 1 && is_subreaper {
            if let Err(error) = process::become_subreaper() {
                warn!(target: OURSELVES, "orphans go to PID 1, unseen by us: {error}");
            }
        }
    }

    /// Where it can't be opened all goes on without.
    fn open_control(&mut self) {
        if !self.config.control {
            return;
        }
        let opened = Server::open().and_then(|server| {
            self.wakes.add_requests(&server)?;
            Ok(server)
        });
        match opened {
            Ok(server) => self.control = Some(server),
            // The one above us, whose container this is.
            Err(error) if error.kind() == ErrorKind::AddrInUse && std::process::id() != 1 => {
                debug!(target: OURSELVES, "another drainit answers `drainit ready`");
            }
            Err(error) => warn!(target: OURSELVES, "`drainit ready` will get no answer: {error}"),
        }
    }

    /// The core awaits no listener of a lone command: `nginx -t` has none. But one
    /// that is to become an nginx serves only when it listens.
    fn health(&mut self) -> Health {
        let health = self.machine.health();
        let id = ServiceId(0);
        if health == Health::Ready && self.is_lone_to_listen() && !self.is_seen_listening(id) {
            Health::Starting
        } else {
            health
        }
    }

    /// Whether there is one service, which is a preset or may become one.
    fn is_lone_to_listen(&self) -> bool {
        matches!(&*self.config.services, [only] if only.preset.is_some() || only.names_preset)
    }

    /// Tells the service manager what has changed, if there is one.
    fn notify(&mut self) {
        let Some(mut notifier) = self.notifier.take() else {
            return;
        };
        let health = if notifier.is_ready_told() {
            self.machine.health()
        } else {
            self.health()
        };
        let services = self.config.services.each();
        let services = services.map(|(id, service)| (&*service.name, self.machine.state(id)));
        let services: Vec<(&str, State)> = services.collect();
        let stop = self.machine.stopping_since();
        let stop = stop.map(|_| match self.record.requested_by() {
            Some(by) => format!("stopping by {by}"),
            None => "stopping".to_owned(),
        });
        notifier.tell(health, notify::status(stop, &services));
        self.notifier = Some(notifier);
    }

    /// One that stays starts again what we have stopped.
    fn warn_of_supervisord(&mut self) {
        if !mem::replace(&mut self.is_supervisord_said, true) && self.config.stand_in.is_none() {
            warn!(target: OURSELVES, "supervisord runs below drainit, and starts again what \
                  drainit stops: run its programs by drainit in its place; drainit-import \
                  turns its file into ours (docs/moving-from-supervisord.md)");
        }
    }

    /// A script that ran `php-fpm -D` and then became us: ours can't have the port.
    fn say_what_runs_already(&mut self) {
        if self.childless {
            return;
        }
        let table = self.table();
        self.here_before = table.all().iter().map(|member| member.process).collect();
        self.table = None;
        for service in self.config.services.iter() {
            let mut all = table.all().iter();
            let same = all.find(|it| it.preset.is_some() && it.preset == service.preset);
            if let Some(member) = same {
                let process = &member.process;
                warn!(
                    target: &service.name,
                    "{} runs already, pid {}: who started us has started it, and need not",
                    process.comm, process.pid
                );
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.start.elapsed())
    }

    /// What runs below us. It is read once for all that is asked at a time.
    fn table(&mut self) -> Rc<Table> {
        if let Some(table) = &self.table {
            return Rc::clone(table);
        }
        let table = Rc::new(if self.childless {
            Table::default()
        } else {
            let ids: ByService<MainIds> = self.mains.iter().map(|main| main.ids).collect();
            let forwarders = self.forwarders.pids();
            Table::read(
                self.own_pid,
                &ids,
                &self.here_before,
                forwarders,
                &self.config,
            )
        });
        self.table = Some(Rc::clone(&table));
        self.is_table_old = false;
        let mut all = table.all().iter();
        if all.any(|it| preset::is_supervisord(&it.process.comm)) {
            self.warn_of_supervisord();
        }
        table
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
                match action {
                    Action::Do(order) => {
                        lines.extend(self.record.order(now, order));
                        self.perform(order, &mut events, &mut lines);
                    }
                    Action::Note(notice) => {
                        lines.extend(self.record.notice(now, notice));
                        self.add_what_only_we_see(notice);
                    }
                }
            }
            self.actions = actions;
            // Only now: writing may take time, acting must not wait for it.
            if let (None, Some(since)) = (was_stopping, self.machine.stopping_since()) {
                logger::count_from(since.0);
            }
            for line in lines {
                info!(target: &line.who, "{}", line.what);
                if let Some(heard) = &mut self.overheard {
                    heard.push(format!("{} {}", line.who, line.what));
                }
            }
            next = events.pop_front();
        }
        if ordered {
            self.look_after = LOOK_FIRST;
        }
        ordered
    }

    /// Says what belongs to a notice and isn't the core's to know.
    fn add_what_only_we_see(&mut self, notice: Notice) {
        match notice {
            Notice::PresumedReady(id) => self.warn_unseen(id),
            Notice::EndedUnasked(id) if self.config.stand_in.is_none() => {
                self.say_what_was_forgotten(id);
            }
            Notice::EndedUnasked(_)
            | Notice::StopBegins
            | Notice::LameDuckBegins(_)
            | Notice::StartFailed(_)
            | Notice::StillStarting(_)
            | Notice::StartsAgainIn(..)
            | Notice::GivenUp(..)
            | Notice::AwaitsQuiet(_)
            | Notice::AwaitsQuietNoLonger(_) => {}
        }
    }

    /// Sleeps until something may have happened; returns the signals that came.
    fn wait(&mut self) -> Woken<impl Iterator<Item = Signal> + use<>> {
        let nothing_tells = |condition: Condition| match condition {
            Condition::AskedGone(scope) => self
                .told(scope)
                .is_some_and(|told| told.awaited.iter().any(|asked| !asked.has_descriptor())),
            Condition::Sight(_)
            | Condition::Quiet(_)
            | Condition::Remains(_)
            | Condition::Silent(_)
            | Condition::Arrivals
            | Condition::Flushed => true,
        };
        let awaited = self.machine.awaits();
        let mut execs = self.mains.iter().filter_map(|main| match main.exec {
            Exec::Awaited { wakes_us, .. } => Some(wakes_us),
            Exec::Known => None,
        });
        let must_look =
            execs.clone().any(|wakes_us| !wakes_us) || awaited.iter().copied().any(nothing_tells);
        let is_open = self.control.is_some();
        let descriptors = if is_open || execs.next().is_some() || !awaited.is_empty() {
            Descriptors::Awaited
        } else {
            Descriptors::NotAwaited
        };
        let deadline = self.machine.deadline();
        let until_deadline = deadline.map(|deadline| deadline.since(self.now()));
        let until_look = must_look.then_some(self.look_after);
        let until_notified = self.notifier.as_ref().filter(|_| self.is_lone_to_listen());
        let until_notified = until_notified.and_then(|it| it.look_after(self.now()));
        let timeouts = until_deadline.into_iter().chain(until_look);
        let timeout = timeouts.chain(until_notified).min();
        self.wakes.wait(timeout, descriptors)
    }

    fn take(&mut self, came: Signal) {
        let rewrites = &self.config.rewrites;
        let rewrite = rewrites.iter().find(|rewrite| rewrite.from == came);
        let Some(signal) = rewrite.map_or(Some(came), |rewrite| rewrite.to) else {
            return;
        };
        self.say(&Happening::Came(came));
        // Without a child to pass it on to, what ends us is our own affair.
        let has_child = self.mains.first().is_some_and(|it| it.ids.pid.is_some());
        if self.config.stand_in.is_some() && has_child {
            return self.pass_on_unseen(came, signal);
        }
        let event = match meaning(signal, self.surroundings(signal)) {
            Meaning::Stop => Event::StopRequested(StopRequest::Signal(signal)),
            Meaning::Interrupt => Event::Interrupted,
            Meaning::Reload => Event::ReloadRequested,
            Meaning::Reopen => Event::ReopenRequested,
            Meaning::Forward => Event::Signalled(signal),
        };
        self.tell(event);
    }

    /// As another init does: the core has nothing to say to it.
    fn pass_on_unseen(&self, came: Signal, signal: Signal) {
        self.signal_main(ServiceId(0), signal);
        let stops = matches!(came, Signal::TSTP | Signal::TTIN | Signal::TTOU);
        if stops && self.config.stand_in.as_ref().is_some_and(|it| it.suspends) {
            process::stop_ourselves();
        }
    }

    /// Looked up only for the signals whose meaning depends on it.
    fn surroundings(&mut self, signal: Signal) -> Surroundings {
        let is_plain_command = signal == Signal::INT
            && matches!(&*self.record.services, [only] if !only.is_preset)
            && (self.is_plain() || !self.runs_preset(|_| true));
        let image_stops = match signal {
            Signal::WINCH => !self.is_resize() && self.runs_preset(Preset::is_apache),
            Signal::USR1 => !self.is_plain() && self.runs_preset(Preset::is_haproxy),
            _ => false,
        };
        Surroundings {
            interrupt_stops: self.config.platform.interrupt_stops,
            plain_command: is_plain_command,
            image_stops,
        }
    }

    fn runs_preset(&mut self, is_meant: fn(&Preset) -> bool) -> bool {
        let table = self.table();
        table.all().iter().any(|it| it.preset.is_some_and(is_meant))
    }

    /// Whether the terminal, if there is one, has another size than before.
    fn is_resize(&mut self) -> bool {
        let window = process::window_size();
        window.is_some() && mem::replace(&mut self.window, window) != window
    }

    /// Reaps all that have ended, and then tells of those that were main processes:
    /// whether anything is left is known by then.
    fn reap(&mut self) {
        self.forwarders.reap();
        let mut ended = Vec::new();
        loop {
            match process::reap() {
                Reaped::Child(pid, status) => {
                    self.table = None;
                    let id = self.mains.find(|main| main.ids.pid == Some(pid));
                    if let Some((id, main)) = id.and_then(|id| Some((id, self.mains.get_mut(id)?)))
                    {
                        main.glance = None;
                        ended.push((id, pid, status));
                        self.say(&Happening::Ended(pid, status));
                    } else {
                        self.record.orphans += 1;
                        debug!(target: OURSELVES, "pid {pid}, an orphan, {status}");
                        self.say(&Happening::ReapedOrphan(pid, status));
                    }
                }
                Reaped::Nothing => break,
                Reaped::NoChildren => {
                    self.childless = true;
                    break;
                }
            }
        }
        // Whether it was executed at all is older than its end.
        let of_execs: Vec<Event> = ended
            .iter()
            .filter_map(|(id, ..)| self.look_at_exec(*id))
            .collect();
        // From here on these pids are nobody's.
        ended.retain(|(id, pid, _)| {
            let main = self.mains.get_mut(*id);
            main.is_some_and(|main| main.ids.pid.take_if(|its| its == pid).is_some())
        });
        for (_, pid, _) in &ended {
            panic::forget_main(*pid);
        }
        for event in of_execs {
            self.tell(event);
        }
        for (id, _, status) in ended {
            if !self.follow_to_background(id, status) {
                self.tell(Event::Exited(id, status));
            }
        }
    }

    fn look_at_execs(&mut self) {
        for id in self.mains.ids() {
            if let Some(event) = self.look_at_exec(id) {
                self.tell(event);
            }
        }
    }

    fn name(&self, id: ServiceId) -> String {
        self.config
            .services
            .get(id)
            .map_or_else(String::new, |service| service.name.clone())
    }

    /// Whether a marker is to be expected, by what the command line says.
    fn is_marker_wanted(&self) -> bool {
        let mut services = self.config.services.iter();
        matches!(self.config.marker, Marker::At(_))
            || services.any(|service| service.preset.is_some_and(Preset::is_nginx))
    }

    /// Whether there is anybody to read it.
    fn needs_marker(&mut self) -> bool {
        self.config.marker != Marker::Default || self.runs_preset(Preset::is_nginx)
    }
}
