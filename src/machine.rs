//! The core: what to do, given what has happened.
//!
//! It is a state machine without input or output of its own. The shell
//! (`supervisor.rs`) tells it facts as [`Event`]s together with the time, and
//! carries out the [`Action`]s that come back, before it tells the next fact.
//! Between events it asks two things: [`Machine::deadline`], when to come back
//! with [`Event::Tick`] at the latest, and [`Machine::awaits`], which facts
//! matter now and have to be looked for.
//!
//! Services are known by [`ServiceId`] and time as [`Timestamp`]; there is no
//! pid, no descriptor, no clock and no errno here. Nor is there a timer: the
//! deadline is a function of the state, so none can be stale.
//!
//! # A drain
//!
//! What a service runs is a tree of processes: nginx itself, or a script that
//! started it. The tree is drained in [`Layer`]s, and before each one the core
//! has the shell look at what is left ([`Condition::Remains`]): web servers,
//! then php-fpm's workers and its master, then the main process. When that has
//! been reaped, what it left behind is drained in the same way. The *rest*,
//! which belongs to no service (a daemon that a script left behind), is swept
//! in the same way once every service has gone.

use std::rc::Rc;
use std::time::Duration;

use crate::config::{Config, Readiness, StopAfter};
use crate::exit::Status;
use crate::signal::Signal;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod traces;

/// A point in time: how long after the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub Duration);

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length))
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero if it isn't.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A service, as its place in [`Config::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub usize);

/// Whose processes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of a service: its main process, all below it, its process group,
    /// and orphans that only it can have left.
    Service(ServiceId),
    /// All that runs below us once the services have gone.
    Rest,
}

/// Who is asked in one step of a drain, in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Web servers, each by its preset's signal: they stop accepting and
    /// finish what they have.
    Web,
    /// php-fpm's workers: at `process_control_timeout = 0` its master would
    /// kill them, requests and all.
    Workers,
    /// php-fpm's masters.
    Masters,
    /// The main process by the service's own stop signal, or, once that has
    /// been reaped, whatever is left by SIGTERM.
    Main,
}

/// What makes a process end that didn't when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Force {
    /// SIGTERM: nginx and php-fpm end at once and cut what they have.
    Term,
    /// SIGKILL to all of it.
    Kill,
}

/// Whether a service listens, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listens {
    /// A process of it holds a listening socket.
    Yes,
    /// None does.
    No,
    /// Neither its descriptors nor the socket tables tell. Counts as listening.
    Unknown,
}

/// What is left of a scope, zombies left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Remains {
    /// A web server.
    pub web: bool,
    /// A php-fpm.
    pub fpm: bool,
    /// Anything else.
    pub other: bool,
}

/// Why a php-fpm is not yet asked to stop whose web server isn't ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Busy {
    /// Requests wait to be accepted.
    Queue,
    /// Its workers were at work since they were looked at before.
    Workers,
    /// Somebody is connected to this port, which isn't ours.
    Clients(u16),
    /// Somebody still listens on this port.
    Listener(u16),
}

/// How long the kernel still has to send what the services wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// All has been sent and acknowledged.
    None,
    /// Less than when it was looked at before.
    Shrunk,
}

/// A fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Event {
    /// The runtime asks us to stop, by this signal.
    StopRequested(Signal),
    /// SIGINT: somebody at the keyboard asks us to stop.
    Interrupted,
    /// The services are to read their configuration anew.
    ReloadRequested,
    /// The services are to open their log files anew.
    ReopenRequested,
    /// A signal that only services may know what to do with.
    Signalled(Signal),
    /// A service's program couldn't be started for want of processes or
    /// memory; that may pass.
    SpawnRefused(ServiceId),
    /// A service's program can't be executed.
    SpawnFailed(ServiceId),
    /// A service's main process was reaped.
    Exited(ServiceId, Status),
    /// Whether a service listens ([`Condition::Listens`]).
    Listens(ServiceId, Listens),
    /// Those that the last [`Action::Ask`] of that scope asked have gone.
    AskedGone(Scope),
    /// A scope's web servers have only such clients left as never sent a byte
    /// ([`Condition::Silent`]).
    Silent(Scope),
    /// A service is still sent requests, or may be ([`Condition::Quiet`]).
    Busy(ServiceId, Busy),
    /// php-fpm's workers may not be signalled: they run as another user, and we
    /// lack `CAP_KILL`.
    AskRefused(Scope),
    /// What is left of a scope ([`Condition::Remains`]).
    Remains(Scope, Remains),
    /// How far the kernel has come ([`Condition::Flushed`]).
    Unsent(Unsent),
    /// Time has passed.
    Tick,
}

/// An order to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Start a service.
    Spawn(ServiceId),
    /// Have a service read its configuration anew, in its own way.
    Reload(ServiceId),
    /// Have a service open its log files anew, in its own way.
    Reopen(ServiceId),
    /// Pass a signal on to a service that is no preset.
    Forward(ServiceId, Signal),
    /// Take note: the stop that was asked for begins, with this delay. Where
    /// there is one, make the drain marker.
    BeginStop(Duration),
    /// Take note: this service didn't become ready, and so all stops.
    StartFailed(ServiceId),
    /// Take note: this service counts as ready, though nothing shows it.
    PresumeReady(ServiceId),
    /// Take note: this service ended without having been asked to.
    EndedUnasked(ServiceId),
    /// Take note: from now on this service is watched until nobody sends to it
    /// any more.
    AwaitQuiet(ServiceId),
    /// Take note: there is no more time for that.
    StopAwaitingQuiet(ServiceId),
    /// Ask a layer of a scope to finish what it has and end.
    Ask(Scope, Layer),
    /// End a scope's web servers by SIGTERM: nobody waits for an answer.
    Dismiss(Scope),
    /// Make what is left of a scope end.
    Force(Scope, Force),
    /// Report, and exit.
    Exit,
}

/// A fact to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Whether a service listens. Answered by [`Event::Listens`]: while it
    /// starts, once it does; at a stop, at once.
    Listens(ServiceId),
    /// That those whom the last [`Action::Ask`] of this scope asked have gone.
    /// Answered by [`Event::AskedGone`].
    AskedGone(Scope),
    /// That the clients of a scope's web servers are there, and silent: browsers
    /// that connected in advance, health checks by TCP. Answered by
    /// [`Event::Silent`].
    Silent(Scope),
    /// Whether requests still come to a service, or may come. Answered by
    /// [`Event::Busy`] while they do.
    Quiet(ServiceId),
    /// What is left of a scope. Answered by [`Event::Remains`], at once.
    Remains(Scope),
    /// What the kernel still has to send. Answered by [`Event::Unsent`] when
    /// that has become less.
    Flushed,
}

/// A first round of php-fpm's workers that was over within this time found none
/// of them busy: an idle worker is gone some ten milliseconds after QUIT.
const IDLE_ROUND: Duration = Duration::from_millis(100);

/// How often that time doubles, round by round: where the machine is slow even
/// idle workers take long, and there must be an end of asking.
const IDLE_ROUND_DOUBLINGS: u8 = 5;

/// How long after QUIT silent clients are waited for: who has just connected is
/// about to send.
const SILENCE_HEEDED: Duration = Duration::from_secs(1);

/// The least time that is left to a php-fpm that waited to be sent nothing.
const QUIETED_AT_LEAST: Duration = Duration::from_secs(1);

/// How long what a main process left behind has between SIGTERM and SIGKILL,
/// and then until nobody waits for it any longer.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);

/// A second SIGINT within this time of the last step is the same key press,
/// delivered twice (by the terminal and by the program that runs us).
const INTERRUPT_APART: Duration = Duration::from_millis(300);

/// A service that can't be looked into counts as ready after this time.
const READY_UNSEEN: Duration = Duration::from_secs(1);

/// How long the flush waits while nothing is acknowledged: the client is gone.
const FLUSH_STALLED: Duration = Duration::from_secs(2);

/// How long after the first refusal a service is started again; it doubles.
const RESPAWN_FIRST: Duration = Duration::from_millis(10);

/// Refusals after which a start has failed: the waits between them have then
/// added up to 41 s, more than the default start timeout.
const RESPAWN_ATTEMPTS: u8 = 12;

/// The core. See the [module](self).
#[derive(Clone, Debug)]
pub struct Machine {
    config: Rc<Config>,
    phase: Phase,
    /// `Some` from the moment that stopping began.
    stop: Option<Stop>,
    services: Vec<Service>,
    /// How far the sweep is, once it has begun.
    rest: Drain,
    /// A web server of ours was drained: what php-fpm answered came from it.
    had_web: bool,
}

/// Phases only go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    /// Starting and serving; with `stop`, lame duck and draining: which of
    /// them, each service's own [`Stage`] tells.
    Services,
    /// The services have gone; what else runs below us is drained.
    Sweeping,
    /// All have gone; the kernel still sends what they wrote.
    Flushing {
        /// Then it is given up, unless something was acknowledged before.
        until: Timestamp,
    },
    /// The exit was ordered.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stop {
    /// When it began; all escalation is derived from this.
    since: Timestamp,
    /// When the lame duck ends.
    drain_at: Timestamp,
    /// The runtime asked for it, and so it stops the others of a pod, too:
    /// nobody is at the keyboard, and nothing has broken.
    is_requested: bool,
    /// The last step at the keyboard.
    interrupted: Option<Timestamp>,
    /// What further SIGINTs have come to.
    hurried: Option<Force>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    stage: Stage,
    main: Main,
    /// How often its start was refused.
    refusals: u8,
    /// `None` until it was looked for, at a stop.
    listens: Option<Listens>,
    drain: Drain,
}

/// How far a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Not started: those it is after aren't ready.
    Waiting,
    /// Its start was refused and is tried again.
    Respawning { at: Timestamp },
    /// Started and not ready.
    Starting {
        /// Then it has failed, or, where nobody waits for it, is taken as is.
        until: Timestamp,
        /// It can't be looked into: at `until` it counts as ready, unless a
        /// listening socket of its user shows that before.
        unseen: bool,
    },
    /// Ready.
    Serving,
    /// Its turn has come.
    Draining,
    /// Its main process and all that it left behind are gone.
    Gone,
}

/// What became of a service's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Main {
    /// There was none.
    Absent,
    /// It may be signalled.
    Running,
    /// Its pid may be another process's by now.
    Reaped,
}

/// How far the drain of a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Drain {
    step: Step,
    /// `None` until asking was no longer enough.
    force: Option<Force>,
    /// When it gets SIGTERM.
    term_at: Timestamp,
    /// How many rounds its workers were asked in.
    rounds: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Those asked last, if any, have gone: what is left?
    Looking { asked: Option<Layer> },
    /// A php-fpm alone is waiting until nobody sends to it any more.
    Quieting {
        /// Then it has been quiet for long enough.
        quiet_at: Timestamp,
        /// Then it is asked all the same.
        until: Timestamp,
    },
    /// A layer was asked.
    Asked {
        layer: Layer,
        /// For web servers: when silent clients are no longer waited for. For
        /// workers: a round that is over by then found none busy. For what a
        /// main process left behind: when SIGKILL follows, then when nobody
        /// waits any longer.
        until: Timestamp,
    },
    /// The web servers were asked a while ago: silent clients don't keep them.
    Lingering,
    /// Only silent clients were left, and the web servers got SIGTERM.
    Dismissed,
}

impl Machine {
    /// A machine that starts the services with its first event.
    pub fn new(config: Rc<Config>) -> Self {
        let service = Service {
            stage: Stage::Waiting,
            main: Main::Absent,
            refusals: 0,
            listens: None,
            drain: Drain::NOT_BEGUN,
        };
        Self {
            services: vec![service; config.services.len()],
            config,
            phase: Phase::Services,
            stop: None,
            rest: Drain::NOT_BEGUN,
            had_web: false,
        }
    }

    /// Records a fact, then decides. Appends to `actions`, which are to be
    /// carried out in that order and before the next event.
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        self.record(now, event, actions);
        self.decide(now, actions);
    }

    /// When stopping began.
    pub fn stopping_since(&self) -> Option<Timestamp> {
        self.stop.map(|stop| stop.since)
    }

    /// Whether the exit was ordered.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The facts that matter now.
    pub fn awaits(&self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (id, service) in self.each() {
            let unknown = match service.stage {
                Stage::Starting { .. } if self.stop.is_none() => true,
                Stage::Starting { .. } | Stage::Serving | Stage::Draining => {
                    self.stop.is_some() && service.listens.is_none()
                }
                Stage::Waiting | Stage::Respawning { .. } | Stage::Gone => false,
            };
            if unknown {
                conditions.push(Condition::Listens(id));
            }
            if service.stage == Stage::Draining {
                conditions.extend(service.drain.awaits(Scope::Service(id), service.main));
            }
        }
        match self.phase {
            Phase::Sweeping => conditions.extend(self.rest.awaits(Scope::Rest, Main::Reaped)),
            Phase::Flushing { .. } => conditions.push(Condition::Flushed),
            Phase::Services | Phase::Over => {}
        }
        conditions
    }

    /// When [`Event::Tick`] is due at the latest, if no other event comes.
    pub fn deadline(&self) -> Option<Timestamp> {
        let Some(stop) = self.stop else {
            return self
                .each()
                .filter_map(|(_, service)| service.stage.until())
                .min();
        };
        if self.phase == Phase::Over {
            return None;
        }
        let kill_at = stop.since + self.config.kill_at();
        let mut deadline = stop.since + self.config.exit_at();
        for (id, service) in self.each() {
            let next = match service.stage {
                Stage::Gone => None,
                Stage::Draining => service.drain.deadline(service.main, kill_at),
                _ if self.is_listening(id) && !self.is_held(id) => {
                    Some(stop.drain_at.min(self.term_at(id, stop)))
                }
                _ => Some(self.term_at(id, stop)),
            };
            deadline = deadline.min(next.unwrap_or(deadline));
        }
        let next = match self.phase {
            Phase::Sweeping => self.rest.deadline(Main::Reaped, kill_at),
            Phase::Flushing { until } => Some(until),
            Phase::Services | Phase::Over => None,
        };
        Some(deadline.min(next.unwrap_or(deadline)))
    }

    fn each(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.services
            .iter()
            .enumerate()
            .map(|(index, service)| (ServiceId(index), service))
    }

    fn is_listening(&self, id: ServiceId) -> bool {
        self.services
            .get(id.0)
            .is_some_and(|service| service.listens != Some(Listens::No))
    }

    /// Whether a service that is to go before this one is still there. Only
    /// those that listen wait for each other: a queue worker holds nobody up.
    fn is_held(&self, id: ServiceId) -> bool {
        self.is_listening(id)
            && self
                .config
                .services
                .iter()
                .zip(self.each())
                .any(|(plan, (other, service))| {
                    plan.after.contains(&id)
                        && service.stage != Stage::Gone
                        && self.is_listening(other)
                })
    }

    fn term_at(&self, id: ServiceId, stop: Stop) -> Timestamp {
        stop.since + self.config.term_at(id)
    }

    /// The drain of a scope, and what became of the main process.
    fn drain_mut(&mut self, scope: Scope) -> Option<(&mut Drain, Main)> {
        match scope {
            Scope::Service(id) => {
                let service = self.services.get_mut(id.0)?;
                (service.stage == Stage::Draining).then_some((&mut service.drain, service.main))
            }
            Scope::Rest => {
                (self.phase == Phase::Sweeping).then_some((&mut self.rest, Main::Reaped))
            }
        }
    }

    fn record(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::StopRequested(_) if self.stop.is_none() => {
                // Nobody sends to a container that was never up.
                let up = self
                    .services
                    .iter()
                    .all(|service| service.main != Main::Absent);
                let delay = if up {
                    self.config.delay
                } else {
                    Duration::ZERO
                };
                self.begin_stop(now, delay);
                if let Some(stop) = &mut self.stop {
                    stop.is_requested = true;
                }
                actions.push(Action::BeginStop(delay));
            }
            Event::StopRequested(_) | Event::Tick => {}
            Event::Interrupted => self.record_interrupt(now, actions),
            Event::ReloadRequested => self.tell(actions, Action::Reload),
            Event::ReopenRequested => self.tell(actions, Action::Reopen),
            Event::Signalled(signal) => {
                // Also while it stops: a second signal may have its meaning.
                let running = self
                    .each()
                    .filter(|(_, service)| service.main == Main::Running);
                actions.extend(running.map(|(id, _)| Action::Forward(id, signal)));
            }
            Event::SpawnRefused(id) => self.record_refusal(now, id, actions),
            Event::SpawnFailed(id) => self.start_failed(now, id, actions),
            Event::Exited(id, _) => self.record_exit(now, id, actions),
            Event::Listens(id, listens) => self.record_listens(now, id, listens),
            Event::AskedGone(scope) => self.record_asked_gone(now, scope, actions),
            Event::Silent(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    drain.dismiss(scope, actions);
                }
            }
            Event::Busy(id, _) => {
                let quiet_from = now + self.config.quiet;
                if let Some((drain, _)) = self.drain_mut(Scope::Service(id)) {
                    if let Step::Quieting { quiet_at, .. } = &mut drain.step {
                        *quiet_at = quiet_from;
                    }
                }
            }
            Event::AskRefused(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    if matches!(
                        drain.step,
                        Step::Asked {
                            layer: Layer::Workers,
                            ..
                        }
                    ) {
                        drain.ask(scope, Layer::Masters, now, actions);
                    }
                }
            }
            Event::Remains(scope, remains) => self.record_remains(now, scope, remains, actions),
            Event::Unsent(unsent) => {
                if let Phase::Flushing { .. } = self.phase {
                    self.phase = Phase::Flushing {
                        until: match unsent {
                            Unsent::None => now,
                            Unsent::Shrunk => self.flush_until(now),
                        },
                    };
                }
            }
        }
    }

    /// Only the first call has an effect.
    fn begin_stop(&mut self, now: Timestamp, delay: Duration) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Stop {
            since: now,
            drain_at: now + delay,
            is_requested: false,
            interrupted: None,
            hurried: None,
        });
        for service in &mut self.services {
            if matches!(service.stage, Stage::Waiting | Stage::Respawning { .. }) {
                service.stage = Stage::Gone;
            }
        }
    }

    fn record_interrupt(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stop.is_none() {
            self.begin_stop(now, Duration::ZERO);
            actions.push(Action::BeginStop(Duration::ZERO));
        }
        let Some(stop) = &mut self.stop else { return };
        match stop.interrupted {
            None => {
                stop.drain_at = stop.drain_at.min(now);
                stop.is_requested = false;
            }
            Some(last) if now < last + INTERRUPT_APART => return,
            Some(_) => {
                stop.hurried = Some(match stop.hurried {
                    None => Force::Term,
                    Some(Force::Term | Force::Kill) => Force::Kill,
                });
            }
        }
        stop.interrupted = Some(now);
    }

    /// Reload and reopen are for those that run and have not been
    /// asked to stop: a reload would start new workers.
    fn tell(&self, actions: &mut Vec<Action>, action: impl Fn(ServiceId) -> Action) {
        for (id, service) in self.each() {
            if service.main == Main::Running && service.stage != Stage::Draining {
                actions.push(action(id));
            }
        }
    }

    fn record_refusal(&mut self, now: Timestamp, id: ServiceId, actions: &mut Vec<Action>) {
        let Some(service) = self.services.get_mut(id.0) else {
            return;
        };
        service.main = Main::Absent;
        if self.stop.is_some() {
            service.stage = Stage::Gone;
            return;
        }
        service.refusals += 1;
        if service.refusals < RESPAWN_ATTEMPTS {
            let wait = RESPAWN_FIRST * (1 << (service.refusals - 1));
            service.stage = Stage::Respawning { at: now + wait };
        } else {
            self.start_failed(now, id, actions);
        }
    }

    /// A service that has no main process, and will have none.
    fn start_failed(&mut self, now: Timestamp, id: ServiceId, actions: &mut Vec<Action>) {
        if let Some(service) = self.services.get_mut(id.0) {
            service.main = Main::Absent;
            service.stage = Stage::Gone;
            actions.push(Action::StartFailed(id));
            self.begin_stop(now, Duration::ZERO);
        }
    }

    fn record_exit(&mut self, now: Timestamp, id: ServiceId, actions: &mut Vec<Action>) {
        let stopping = self.stop.is_some();
        let Some(service) = self.services.get_mut(id.0) else {
            return;
        };
        service.main = Main::Reaped;
        // What it left behind is drained at its turn, each layer anew.
        service.drain.step = Step::Looking { asked: None };
        match service.stage {
            Stage::Starting { .. } if !stopping => actions.push(Action::StartFailed(id)),
            Stage::Starting { .. } | Stage::Serving => actions.push(Action::EndedUnasked(id)),
            Stage::Waiting | Stage::Respawning { .. } | Stage::Draining | Stage::Gone => {}
        }
        self.begin_stop(now, Duration::ZERO);
    }

    fn record_listens(&mut self, now: Timestamp, id: ServiceId, listens: Listens) {
        let stopping = self.stop.is_some();
        let Some(service) = self.services.get_mut(id.0) else {
            return;
        };
        if stopping {
            service.listens = Some(listens);
        } else if let Stage::Starting { until, .. } = service.stage {
            match listens {
                Listens::Yes => service.stage = Stage::Serving,
                Listens::Unknown => {
                    let until = until.min(now + READY_UNSEEN);
                    service.stage = Stage::Starting {
                        until,
                        unseen: true,
                    };
                }
                Listens::No => {}
            }
        }
    }

    fn record_asked_gone(&mut self, now: Timestamp, scope: Scope, actions: &mut Vec<Action>) {
        let Some((drain, _)) = self.drain_mut(scope) else {
            return;
        };
        match drain.step {
            Step::Asked {
                layer: Layer::Workers,
                until,
            } => {
                // A master replaces the workers that went; one that was busy
                // may have been followed by another busy one.
                let next = if now <= until {
                    Layer::Masters
                } else {
                    Layer::Workers
                };
                drain.ask(scope, next, now, actions);
            }
            Step::Asked { layer, .. } => drain.step = Step::Looking { asked: Some(layer) },
            Step::Lingering | Step::Dismissed => {
                drain.step = Step::Looking {
                    asked: Some(Layer::Web),
                }
            }
            Step::Looking { .. } | Step::Quieting { .. } => {}
        }
    }

    fn record_remains(
        &mut self,
        now: Timestamp,
        scope: Scope,
        remains: Remains,
        actions: &mut Vec<Action>,
    ) {
        self.had_web |= remains.web;
        let quiet_at = self.quiets(scope).then_some(now + self.config.quiet);
        let Some((drain, main)) = self.drain_mut(scope) else {
            return;
        };
        if remains == Remains::default() {
            // A main process that is a zombie will be reaped before long.
            if main != Main::Running {
                self.gone(scope, now);
            }
            return;
        }
        let Step::Looking { asked } = drain.step else {
            return;
        };
        // Only forward: a script that starts a new nginx whenever one has gone
        // would keep us at it for ever.
        let layer = [
            (Layer::Web, remains.web),
            (Layer::Workers, remains.fpm),
            (Layer::Main, true),
        ]
        .into_iter()
        .find(|(layer, is_there)| *is_there && asked.is_none_or(|asked| asked < *layer));
        let Some((layer, _)) = layer else { return };
        if let (Layer::Workers, Some(quiet_at), Scope::Service(id)) = (layer, quiet_at, scope) {
            let time = drain.term_at.since(now);
            let until = now + time.saturating_sub(QUIETED_AT_LEAST.max(time / 4));
            if now < until {
                drain.step = Step::Quieting { quiet_at, until };
                actions.push(Action::AwaitQuiet(id));
                return;
            }
        }
        drain.ask(scope, layer, now, actions);
    }

    /// Whether a php-fpm of that scope is to wait until it is sent nothing: its
    /// web server is in another container of the pod, and drains meanwhile.
    fn quiets(&self, scope: Scope) -> bool {
        let Scope::Service(id) = scope else {
            return false;
        };
        let is_up = self
            .services
            .get(id.0)
            .is_some_and(|service| service.main == Main::Running);
        is_up
            && self.is_listening(id)
            && !self.had_web
            && self.stop.is_some_and(|stop| stop.is_requested)
            && self.config.stop_after != StopAfter::None
    }

    fn gone(&mut self, scope: Scope, now: Timestamp) {
        match scope {
            Scope::Service(id) => {
                if let Some(service) = self.services.get_mut(id.0) {
                    service.stage = Stage::Gone;
                }
            }
            Scope::Rest => {
                self.phase = Phase::Flushing {
                    until: self.flush_until(now),
                }
            }
        }
    }

    /// When the flush is over if nothing is acknowledged from now on.
    fn flush_until(&self, now: Timestamp) -> Timestamp {
        let since = self.stop.map_or(now, |stop| stop.since);
        (now + FLUSH_STALLED).min(since + self.config.last_term_at())
    }

    /// Orders what is due, in the order of a container's life.
    fn decide(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stop.is_none() {
            self.start_what_may(now, actions);
        }
        let Some(stop) = self.stop else { return };
        // Whatever goes may let others go, and several deadlines may have
        // passed at once, after a pause of the whole machine.
        while self.drain_whose_turn_it_is(now, stop, actions)
            || self.force_what_is_late(now, stop, actions)
        {}
        let all_gone = self
            .services
            .iter()
            .all(|service| service.stage == Stage::Gone);
        if self.phase == Phase::Services && all_gone {
            self.phase = Phase::Sweeping;
            self.rest = self.new_drain(now, stop.since + self.config.last_term_at());
        }
        let flushed = match self.phase {
            Phase::Flushing { until } => now >= until || stop.hurried.is_some(),
            Phase::Services | Phase::Sweeping | Phase::Over => false,
        };
        let late = now >= stop.since + self.config.exit_at();
        if late {
            self.kill_what_is_there(actions);
        }
        if late || flushed {
            self.phase = Phase::Over;
            actions.push(Action::Exit);
        }
    }

    /// A drain that begins now and is to be over by then.
    fn new_drain(&self, now: Timestamp, term_at: Timestamp) -> Drain {
        // Who is asked this late has little time, but some.
        let late = term_at + self.config.margin() / 2;
        Drain {
            term_at: if now < term_at { term_at } else { late },
            ..Drain::NOT_BEGUN
        }
    }

    /// At the end of our time: after a pause of the whole machine not all of it
    /// may have been signalled.
    fn kill_what_is_there(&mut self, actions: &mut Vec<Action>) {
        for (index, service) in self.services.iter_mut().enumerate() {
            if service.stage != Stage::Gone {
                service.drain.end(Scope::Service(ServiceId(index)), actions);
            }
        }
        if self.phase == Phase::Sweeping {
            self.rest.end(Scope::Rest, actions);
        }
    }

    fn start_what_may(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let config = Rc::clone(&self.config);
        for (index, plan) in config.services.iter().enumerate() {
            let id = ServiceId(index);
            let may_start = plan.after.iter().all(|before| {
                self.services
                    .get(before.0)
                    .is_some_and(|before| before.stage == Stage::Serving)
            });
            let Some(service) = self.services.get_mut(index) else {
                continue;
            };
            let spawn = match service.stage {
                Stage::Waiting => may_start,
                Stage::Respawning { at } => now >= at,
                Stage::Starting { until, unseen } if now >= until => {
                    let awaited = config
                        .services
                        .iter()
                        .any(|other| other.after.contains(&id));
                    if awaited && !unseen {
                        actions.push(Action::StartFailed(id));
                        return self.begin_stop(now, Duration::ZERO);
                    }
                    service.stage = Stage::Serving;
                    if unseen {
                        actions.push(Action::PresumeReady(id));
                    }
                    false
                }
                Stage::Starting { .. } | Stage::Serving | Stage::Draining | Stage::Gone => false,
            };
            if spawn {
                service.main = Main::Running;
                service.stage = match plan.ready {
                    Readiness::None => Stage::Serving,
                    Readiness::Listen => Stage::Starting {
                        until: now + plan.start_timeout,
                        unseen: false,
                    },
                };
                actions.push(Action::Spawn(id));
            }
        }
    }

    /// Whether anything changed.
    fn drain_whose_turn_it_is(
        &mut self,
        now: Timestamp,
        stop: Stop,
        actions: &mut Vec<Action>,
    ) -> bool {
        let mut changed = false;
        for index in 0..self.services.len() {
            let id = ServiceId(index);
            let term_at = self.term_at(id, stop);
            let delay_is_over = now >= stop.drain_at || !self.is_listening(id);
            let turn = now >= term_at || delay_is_over && !self.is_held(id);
            let drain = self.new_drain(now, term_at);
            let Some(service) = self.services.get_mut(index) else {
                continue;
            };
            if turn && matches!(service.stage, Stage::Starting { .. } | Stage::Serving) {
                service.stage = Stage::Draining;
                service.drain = drain;
                changed = true;
            }
            if let Step::Quieting { quiet_at, until } = service.drain.step {
                let is_over = now >= quiet_at || now >= until || !stop.is_requested;
                if is_over && service.stage == Stage::Draining {
                    if now < quiet_at && stop.is_requested {
                        actions.push(Action::StopAwaitingQuiet(id));
                    }
                    service.drain.term_at = drain.term_at;
                    service
                        .drain
                        .ask(Scope::Service(id), Layer::Workers, now, actions);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether anything changed.
    fn force_what_is_late(
        &mut self,
        now: Timestamp,
        stop: Stop,
        actions: &mut Vec<Action>,
    ) -> bool {
        let time = Lateness {
            now,
            kill_at: stop.since + self.config.kill_at(),
            hurried: stop.hurried,
        };
        let mut changed = false;
        for (index, (service, plan)) in self
            .services
            .iter_mut()
            .zip(&self.config.services)
            .enumerate()
        {
            if service.stage != Stage::Draining {
                continue;
            }
            let scope = Scope::Service(ServiceId(index));
            let by_term = service.main != Main::Running || plan.stop == Signal::TERM;
            let before = service.drain;
            service
                .drain
                .force(scope, by_term, service.main, time, actions);
            if service.drain.is_given_up(service.main, now) {
                service.stage = Stage::Gone;
            }
            changed |= service.drain != before || service.stage == Stage::Gone;
        }
        if self.phase == Phase::Sweeping {
            self.rest
                .force(Scope::Rest, true, Main::Reaped, time, actions);
            if self.rest.is_given_up(Main::Reaped, now) {
                self.gone(Scope::Rest, now);
            }
        }
        changed
    }
}

impl Stage {
    /// When a start is due to be tried again, or given up.
    fn until(self) -> Option<Timestamp> {
        match self {
            Self::Respawning { at } => Some(at),
            Self::Starting { until, .. } => Some(until),
            Self::Waiting | Self::Serving | Self::Draining | Self::Gone => None,
        }
    }
}

/// How late it is in a stop.
#[derive(Clone, Copy)]
struct Lateness {
    now: Timestamp,
    kill_at: Timestamp,
    hurried: Option<Force>,
}

impl Drain {
    const NOT_BEGUN: Self = Self {
        step: Step::Looking { asked: None },
        force: None,
        term_at: Timestamp(Duration::ZERO),
        rounds: 0,
    };

    fn awaits(&self, scope: Scope, main: Main) -> Vec<Condition> {
        match self.step {
            // It is our child: its exit is an event of its own.
            Step::Asked {
                layer: Layer::Main, ..
            } if main == Main::Running => vec![],
            Step::Asked {
                layer: Layer::Main, ..
            }
            | Step::Looking { .. } => vec![Condition::Remains(scope)],
            Step::Quieting { .. } => match scope {
                Scope::Service(id) => vec![Condition::Quiet(id)],
                Scope::Rest => vec![],
            },
            Step::Lingering => {
                vec![Condition::AskedGone(scope), Condition::Silent(scope)]
            }
            Step::Asked { .. } | Step::Dismissed => vec![Condition::AskedGone(scope)],
        }
    }

    fn ask(&mut self, scope: Scope, layer: Layer, now: Timestamp, actions: &mut Vec<Action>) {
        let until = match layer {
            Layer::Workers => {
                let idle = IDLE_ROUND * (1 << self.rounds);
                self.rounds = IDLE_ROUND_DOUBLINGS.min(self.rounds + 1);
                now + idle
            }
            Layer::Main => now + LEFTOVER_TIMEOUT,
            Layer::Web => now + SILENCE_HEEDED,
            Layer::Masters => now,
        };
        self.step = Step::Asked { layer, until };
        actions.push(Action::Ask(scope, layer));
    }

    fn deadline(&self, main: Main, kill_at: Timestamp) -> Option<Timestamp> {
        let force_at = match self.force {
            // Nobody was asked: first the question that is open.
            _ if self.step == Self::NOT_BEGUN.step => None,
            None => Some(self.term_at.min(kill_at)),
            Some(Force::Term) => Some(kill_at),
            Some(Force::Kill) => None,
        };
        let step_until = match self.step {
            Step::Quieting { quiet_at, until } => Some(quiet_at.min(until)),
            _ => self.leftover_until(main).or(self.heeds_silence_until()),
        };
        force_at.into_iter().chain(step_until).min()
    }

    /// When silent clients are no longer waited for.
    fn heeds_silence_until(&self) -> Option<Timestamp> {
        match self.step {
            Step::Asked {
                layer: Layer::Web,
                until,
            } => Some(until),
            Step::Asked { .. }
            | Step::Looking { .. }
            | Step::Quieting { .. }
            | Step::Lingering
            | Step::Dismissed => None,
        }
    }

    /// SIGTERM where it cuts nothing.
    fn dismiss(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        if self.step == Step::Lingering && self.force.is_none() {
            self.step = Step::Dismissed;
            actions.push(Action::Dismiss(scope));
        }
    }

    /// When what a main process left behind, and was asked to end, has had its
    /// time.
    fn leftover_until(&self, main: Main) -> Option<Timestamp> {
        match self.step {
            Step::Asked {
                layer: Layer::Main,
                until,
            } if main != Main::Running => Some(until),
            Step::Asked { .. }
            | Step::Looking { .. }
            | Step::Quieting { .. }
            | Step::Lingering
            | Step::Dismissed => None,
        }
    }

    /// `by_term`: the last layer is asked by SIGTERM, which isn't repeated: a
    /// second one often means "at once".
    fn force(
        &mut self,
        scope: Scope,
        by_term: bool,
        main: Main,
        time: Lateness,
        actions: &mut Vec<Action>,
    ) {
        if self.step == Self::NOT_BEGUN.step {
            return;
        }
        if self
            .heeds_silence_until()
            .is_some_and(|until| time.now >= until)
        {
            self.step = Step::Lingering;
        }
        let was_asked_by_term = by_term
            && matches!(
                self.step,
                Step::Asked {
                    layer: Layer::Main,
                    ..
                }
            );
        if self.force.is_none() && (time.now >= self.term_at || time.hurried.is_some()) {
            self.force = Some(Force::Term);
            if !was_asked_by_term {
                actions.push(Action::Force(scope, Force::Term));
            }
        }
        let had_its_time = self
            .leftover_until(main)
            .is_some_and(|until| time.now >= until);
        let kill = time.now >= time.kill_at || time.hurried == Some(Force::Kill) || had_its_time;
        if kill && self.force != Some(Force::Kill) {
            self.force = Some(Force::Kill);
            if let Step::Asked { until, .. } = &mut self.step {
                *until = time.now + LEFTOVER_TIMEOUT;
            }
            actions.push(Action::Force(scope, Force::Kill));
        }
    }

    /// SIGKILL, after SIGTERM, unless it was sent.
    fn end(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        for force in [Force::Term, Force::Kill] {
            if self.force < Some(force) {
                self.force = Some(force);
                actions.push(Action::Force(scope, force));
            }
        }
    }

    /// Whether even SIGKILL didn't end what a main process left behind.
    fn is_given_up(&self, main: Main, now: Timestamp) -> bool {
        self.force == Some(Force::Kill)
            && self.leftover_until(main).is_some_and(|until| now >= until)
    }
}
