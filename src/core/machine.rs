//! The core: what to do, given what has happened.
//!
//! It is a state machine without input or output of its own. The shell
//! (`supervisor`) tells it facts as [`Event`]s together with the time, and
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
//! then php-fpm's workers and its master, then the main process, with what it
//! runs if it is a shell. When that has been reaped, what it left behind is
//! drained in the same way. Nobody is asked twice, and what is started anew
//! meanwhile is asked anew. The *rest*, which belongs to no service (a daemon that
//! a script left behind), is swept in the same way once every service has gone.
//!
//! What a service leaves behind that ends unasked and is to be started again is
//! drained in the same way, with deadlines of its own, while the others serve.
//!
//! php-fpm's workers go in *rounds*, as their master replaces them. The round is
//! the last one at whose beginning nobody was at php-fpm's sockets: who follows
//! those that were asked then has nothing to do.

use std::rc::Rc;
use std::time::Duration;

use super::backoff::Backoff;
use super::drain::{Drain, Step};
use super::event::{
    Action, Command, Condition, Event, Force, Health, Listens, Notice, Order, Remains, Scope,
    Sight, State, Timestamp, Unsent,
};
use super::plan::{Binding, ByService, Delay, Leftovers, Plan, Readiness, ServiceId, StopAfter};
use super::service::{Main, Service, Stage, Starting, Wanted};
use super::stop::{LameDuck, Stop};
use crate::preset::Kind;
use crate::status::Status;

#[cfg(test)]
#[path = "tests/commands.rs"]
mod commands;
#[cfg(test)]
#[path = "tests/explore.rs"]
mod explore;
#[cfg(test)]
#[path = "tests/properties.rs"]
mod properties;
#[cfg(test)]
#[path = "tests/traces.rs"]
mod traces;

/// How often it is said who waits for a service that isn't ready.
const STILL_STARTING: Duration = Duration::from_secs(30);

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
/// added up to 20 s.
const RESPAWN_ATTEMPTS: u8 = 12;

/// The core. See the [module](self).
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rc<Rules>,
    phase: Phase,
    /// `Some` from the moment that stopping began.
    stop: Option<Stop>,
    services: ByService<Service>,
    /// How far the sweep is, once it has begun.
    rest: Drain,
    /// A web server of ours was drained: what php-fpm answered came from it.
    had_web: bool,
    /// When somebody asked last whether all is well.
    check_asked: Option<Timestamp>,
}

/// What never changes.
#[derive(Debug)]
struct Rules {
    plan: Plan,
    /// By service: those that are after it.
    followers: ByService<Vec<ServiceId>>,
    /// By service: how long after the stop began it gets SIGTERM.
    term_at: ByService<Duration>,
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

impl Machine {
    /// A machine that starts the services with its first event.
    pub fn new(plan: Plan) -> Self {
        let mut followers: ByService<Vec<ServiceId>> =
            plan.services.iter().map(|_| Vec::new()).collect();
        for (id, service) in plan.services.each() {
            for before in &service.after {
                if let Some(followers) = followers.get_mut(*before) {
                    followers.push(id);
                }
            }
        }
        let services = plan.services.iter().map(|service| Service {
            wanted: if service.is_enabled {
                Wanted::Up
            } else {
                Wanted::Down
            },
            stage: if service.is_enabled {
                Stage::Waiting
            } else {
                Stage::Gone
            },
            main: Main::Absent,
            main_before: Main::Absent,
            started_at: Timestamp::default(),
            backoff: Backoff::default(),
            refusals: 0,
            is_web: service.is_web,
            listens: None,
            drain: Drain::NOT_BEGUN,
        });
        Self {
            services: services.collect(),
            rules: Rc::new(Rules {
                followers,
                term_at: plan.term_at(),
                plan,
            }),
            phase: Phase::Services,
            stop: None,
            rest: Drain::NOT_BEGUN,
            had_web: false,
            check_asked: None,
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

    /// When the exit is ordered, at the latest, if stopping has begun.
    pub fn stops_until(&self) -> Option<Timestamp> {
        self.stop.map(|stop| stop.since + self.rules.plan.exit_at())
    }

    /// How the container is, for those that send to it.
    pub fn health(&self) -> Health {
        let is_on_its_way = |service: &Service| match service.wanted {
            Wanted::Up => service.stage != Stage::Serving,
            // One that was given up and isn't essential is no longer to serve.
            Wanted::Down | Wanted::Stopped => false,
        };
        let is_missed = |(id, service): (ServiceId, &Service)| {
            service.wanted == Wanted::Stopped && self.is_to_listen(id)
        };
        match self.stop {
            Some(stop) if stop.is_requested => Health::Draining,
            Some(_) => Health::Stopping,
            None if self.services.iter().any(is_on_its_way) => Health::Starting,
            None if self.services.each().any(is_missed) => Health::Down,
            None => Health::Ready,
        }
    }

    /// How far a service is.
    pub fn state(&self, id: ServiceId) -> State {
        let Some(service) = self.services.get(id) else {
            return State::Ended;
        };
        let has_run = service.main != Main::Absent;
        match service.stage {
            Stage::Waiting => State::Waiting,
            Stage::Respawning { .. } if has_run => State::Restarting,
            Stage::Starting(_) | Stage::Respawning { .. } => State::Starting,
            Stage::Serving => State::Serving,
            Stage::Leaving | Stage::Draining => State::Draining,
            Stage::Gone if has_run && service.wanted != Wanted::Stopped => State::Ended,
            Stage::Gone => State::Stopped,
        }
    }

    /// Whether the exit was ordered.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether signals for a service go to it: to a shell that is to become
    /// nginx they would mean its end.
    fn takes_signals(&self, id: ServiceId, service: &Service) -> bool {
        service.main == Main::Running
            && match service.stage {
                Stage::Serving | Stage::Leaving | Stage::Draining => true,
                Stage::Starting(_) => self.readiness(id) == Some(Readiness::None),
                Stage::Waiting | Stage::Respawning { .. } | Stage::Gone => false,
            }
    }

    /// The facts that matter now.
    pub fn awaits(&self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (id, service) in self.services.each() {
            let scope = Scope::Service(id);
            let is_sought = match service.stage {
                Stage::Starting(starting) if self.stop.is_none() => {
                    starting.is_executed && self.is_to_listen(id)
                }
                Stage::Starting(_) | Stage::Serving | Stage::Draining => {
                    self.stop.is_some() && service.listens.is_none()
                }
                Stage::Waiting | Stage::Respawning { .. } | Stage::Leaving | Stage::Gone => false,
            };
            if is_sought {
                conditions.push(Condition::Sight(id));
            }
            match service.stage {
                Stage::Draining => conditions.extend(service.drain.awaits(scope, service.main)),
                // It has ended by itself: has what it left behind, too?
                Stage::Starting(_) | Stage::Serving if service.main == Main::Reaped => {
                    conditions.push(Condition::Remains(scope));
                }
                Stage::Waiting
                | Stage::Respawning { .. }
                | Stage::Starting(_)
                | Stage::Serving
                | Stage::Leaving
                | Stage::Gone => {}
            }
        }
        if self.is_lame_duck() {
            conditions.push(Condition::Arrivals);
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
                .services
                .each()
                .filter_map(|(id, service)| match service.stage {
                    Stage::Respawning { at } => Some(at),
                    Stage::Starting(starting) => self.starting_deadline(id, starting),
                    Stage::Draining => service.drain.deadline(),
                    Stage::Waiting | Stage::Serving | Stage::Leaving | Stage::Gone => None,
                })
                .min();
        };
        if self.phase == Phase::Over {
            return None;
        }
        let mut deadline = stop.since + self.rules.plan.exit_at();
        for (id, service) in self.services.each() {
            let next = match service.stage {
                Stage::Gone => None,
                Stage::Draining => service.drain.deadline(),
                _ if stop.is_announced && self.is_listening(id) && !self.is_held(id) => {
                    Some(stop.lame_duck.ends_at().min(self.term_at(id, stop)))
                }
                _ => Some(self.term_at(id, stop)),
            };
            deadline = deadline.min(next.unwrap_or(deadline));
        }
        let next = match self.phase {
            Phase::Sweeping => self.rest.deadline(),
            Phase::Flushing { until } => Some(until),
            Phase::Services | Phase::Over => None,
        };
        Some(deadline.min(next.unwrap_or(deadline)))
    }

    fn readiness(&self, id: ServiceId) -> Option<Readiness> {
        self.rules.plan.services.get(id).map(|plan| plan.ready)
    }

    fn is_to_listen(&self, id: ServiceId) -> bool {
        self.readiness(id) == Some(Readiness::Listen)
    }

    /// Those that are after this service.
    fn followers(&self, id: ServiceId) -> impl Iterator<Item = (ServiceId, &Service)> {
        let followers = self.rules.followers.get(id);
        followers
            .into_iter()
            .flatten()
            .filter_map(|id| Some((*id, self.services.get(*id)?)))
    }

    fn is_listening(&self, id: ServiceId) -> bool {
        self.services
            .get(id)
            .is_some_and(|service| service.listens != Some(Listens::No))
    }

    /// Whether something that listens serves on only because the delay isn't over.
    fn is_lame_duck(&self) -> bool {
        let is_running = |stop: Stop| stop.is_announced && !stop.lame_duck.is_over;
        let serves = |stage: Stage| matches!(stage, Stage::Starting(_) | Stage::Serving);
        self.stop.is_some_and(is_running)
            && self
                .services
                .each()
                .any(|(id, service)| serves(service.stage) && self.is_listening(id))
    }

    /// Whether clients may need this service: it listens, or one that is after it does.
    fn is_needed(&self, id: ServiceId) -> bool {
        self.is_listening(id) || self.followers(id).any(|(id, _)| self.is_listening(id))
    }

    /// Whether the order binds this service. A queue worker at the end of the list
    /// waits for nobody and holds nobody up, unless its order was given; a log daemon
    /// at its head goes last.
    fn is_bound(&self, id: ServiceId) -> bool {
        self.is_needed(id)
            || self.is_always_bound(id)
            || self.followers(id).any(|(id, _)| self.is_always_bound(id))
    }

    fn is_always_bound(&self, id: ServiceId) -> bool {
        let plan = self.rules.plan.services.get(id);
        plan.is_some_and(|plan| plan.binding == Binding::Always)
    }

    /// Whether a service that is to go before this one is still there. Web
    /// servers go first, wherever they stand: what else clients may need may be what
    /// they proxy to. Otherwise those go first that are after this one.
    fn is_held(&self, id: ServiceId) -> bool {
        let is_web = self.services.get(id).is_some_and(|service| service.is_web);
        let goes = |service: &Service| match service.stage {
            Stage::Leaving | Stage::Draining => true,
            Stage::Gone => false,
            Stage::Waiting | Stage::Respawning { .. } | Stage::Starting(_) | Stage::Serving => {
                self.stop.is_some()
            }
        };
        let holds = |web: bool| {
            move |(other, service): (ServiceId, &Service)| {
                goes(service) && service.is_web == web && self.is_bound(other)
            }
        };
        if is_web {
            return self.followers(id).any(holds(true));
        }
        self.is_needed(id) && self.services.each().any(holds(true))
            || self.is_bound(id) && self.followers(id).any(holds(false))
    }

    fn term_at(&self, id: ServiceId, stop: Stop) -> Timestamp {
        stop.since + self.rules.term_at.get(id).copied().unwrap_or_default()
    }

    /// The drain of a scope, and what became of the main process.
    fn drain_mut(&mut self, scope: Scope) -> Option<(&mut Drain, Main)> {
        match scope {
            Scope::Service(id) => {
                let service = self.services.get_mut(id)?;
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
                // Nobody sends to a container that was never up; but a queue worker
                // that isn't started yet is nothing that they would wait for.
                let is_missing = |(id, service): (ServiceId, &Service)| {
                    service.main == Main::Absent && self.is_to_listen(id)
                };
                let up = !self.services.each().any(is_missing);
                let delay = if up {
                    self.rules.plan.delay
                } else {
                    Delay::ZERO
                };
                self.begin_stop(now, delay);
                if let Some(stop) = &mut self.stop {
                    stop.is_requested = true;
                    stop.is_announced = false;
                }
                if !delay.is_zero() {
                    actions.push(Order::MakeMarker.into());
                }
                actions.push(Notice::StopBegins.into());
            }
            Event::StopRequested(_) | Event::Tick => {}
            Event::Interrupted => self.record_interrupt(now, actions),
            Event::ReloadRequested => self.tell(self.services.ids(), Order::Reload, actions),
            Event::ReopenRequested => self.tell(self.services.ids(), Order::Reopen, actions),
            Event::Commanded(id, command) => self.record_command(id, command, actions),
            Event::Signalled(signal) => {
                // Also while it stops: a second signal may have its meaning.
                let ready = self
                    .services
                    .each()
                    .filter(|(id, it)| self.takes_signals(*id, it));
                actions.extend(ready.map(|(id, _)| Action::Do(Order::Forward(id, signal))));
            }
            Event::SpawnRefused(id) => self.record_refusal(now, id, actions),
            Event::SpawnFailed(id) => self.start_failed(now, id, actions),
            Event::Executed(id) => self.record_executed(id),
            Event::Exited(id, status) => self.record_exit(now, id, status, actions),
            Event::Seen(id, sight) => self.record_sight(now, id, sight),
            Event::AskedGone(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    drain.record_asked_gone(now, scope, actions);
                }
            }
            Event::AskedFewer(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    drain.record_asked_fewer(now);
                }
            }
            Event::Silent(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    drain.record_silent(scope, actions);
                }
            }
            Event::Busy(id, _) => {
                let quiet = self.rules.plan.quiet;
                if let Some((drain, _)) = self.drain_mut(Scope::Service(id)) {
                    drain.record_busy(now, quiet);
                }
            }
            Event::Arrived(arrivals) => {
                if let Some(stop) = &mut self.stop {
                    stop.lame_duck.record_arrivals(now, arrivals);
                }
            }
            Event::HealthAsked => {
                self.check_asked = Some(now);
                if let Some(stop) = &mut self.stop {
                    stop.lame_duck.record_asked(now);
                }
            }
            Event::AskRefused(scope) => {
                if let Some((drain, _)) = self.drain_mut(scope) {
                    drain.record_refused(scope, actions);
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
    fn begin_stop(&mut self, now: Timestamp, delay: Delay) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Stop {
            since: now,
            lame_duck: self.lame_duck(now, delay),
            is_announced: true,
            is_requested: false,
            interrupted: None,
            hurried: None,
        });
        for (id, service) in self.services.each_mut() {
            service.wanted = Wanted::Down;
            match service.stage {
                Stage::Waiting | Stage::Respawning { .. } => service.stage = Stage::Gone,
                // What it left behind: it began before, and has to end before.
                Stage::Draining => {
                    let term_at = self.rules.term_at.get(id).copied().unwrap_or_default();
                    service.drain.hasten(now + term_at);
                }
                // It serves still, and now until the delay is over.
                Stage::Leaving => service.stage = Stage::Serving,
                Stage::Starting(_) | Stage::Serving | Stage::Gone => {}
            }
        }
    }

    /// One that would begin now.
    fn lame_duck(&self, now: Timestamp, delay: Delay) -> LameDuck {
        LameDuck::new(now, delay, self.rules.plan.quiet, self.check_asked)
    }

    fn record_interrupt(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stop.is_none() {
            self.begin_stop(now, Delay::ZERO);
            if let Some(stop) = &mut self.stop {
                stop.is_announced = false;
            }
            actions.push(Notice::StopBegins.into());
        }
        let Some(stop) = &mut self.stop else { return };
        match stop.interrupted {
            None => {
                stop.lame_duck.is_over = true;
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

    /// Reload and reopen are for those that are ready and have not been asked to
    /// stop: a reload would start new workers.
    fn tell(
        &self,
        ids: impl IntoIterator<Item = ServiceId>,
        order: fn(ServiceId) -> Order,
        actions: &mut Vec<Action>,
    ) {
        for id in ids {
            let is_told = self.services.get(id).is_some_and(|service| {
                self.takes_signals(id, service) && service.stage != Stage::Draining
            });
            if is_told {
                actions.push(order(id).into());
            }
        }
    }

    fn record_command(&mut self, id: ServiceId, command: Command, actions: &mut Vec<Action>) {
        match command {
            Command::Reload => self.tell([id], Order::Reload, actions),
            Command::Reopen => self.tell([id], Order::Reopen, actions),
            // All are to go.
            _ if self.stop.is_some() => {}
            Command::Start => self.want_up(id),
            Command::Stop => {
                for id in self.with_dependents(id) {
                    self.have_go(id, Some(Wanted::Stopped));
                }
            }
            Command::Restart => {
                for id in self.with_dependents(id) {
                    self.have_go(id, None);
                }
                self.want_up(id);
            }
        }
    }

    /// A service and all that can't do without it, directly or not: those after it that
    /// are to listen, or whose order was given.
    fn with_dependents(&self, id: ServiceId) -> Vec<ServiceId> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(one) = found.get(next).copied() {
            next += 1;
            for (other, _) in self.followers(one) {
                let depends = self.is_to_listen(other) || self.is_always_bound(other);
                if depends && !found.contains(&other) {
                    found.push(other);
                }
            }
        }
        found
    }

    /// A service is to go; `None` leaves as it is what it is to be.
    fn have_go(&mut self, id: ServiceId, wanted: Option<Wanted>) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        service.backoff = Backoff::default();
        service.wanted = wanted.unwrap_or(service.wanted);
        service.stage = match service.stage {
            Stage::Starting(_) | Stage::Serving => Stage::Leaving,
            Stage::Waiting | Stage::Respawning { .. } if service.wanted != Wanted::Up => {
                Stage::Gone
            }
            Stage::Waiting | Stage::Respawning { .. } => Stage::Waiting,
            stage @ (Stage::Leaving | Stage::Draining | Stage::Gone) => stage,
        };
    }

    /// A service is to be started, and started again whenever it has gone.
    fn want_up(&mut self, id: ServiceId) {
        if let Some(service) = self.services.get_mut(id) {
            service.wanted = Wanted::Up;
            if let Stage::Gone | Stage::Respawning { .. } = service.stage {
                service.stage = Stage::Waiting;
                service.backoff = Backoff::default();
            }
        }
    }

    fn record_refusal(&mut self, now: Timestamp, id: ServiceId, actions: &mut Vec<Action>) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        service.record_no_start();
        if self.stop.is_some() {
            service.stage = Stage::Gone;
            return;
        }
        if let Stage::Leaving | Stage::Draining = service.stage {
            return self.drain_apart(now, id);
        }
        service.refusals += 1;
        if service.refusals < RESPAWN_ATTEMPTS {
            let wait = RESPAWN_FIRST * (1 << (service.refusals - 1));
            service.stage = Stage::Respawning { at: now + wait };
        } else {
            self.start_failed(now, id, actions);
        }
    }

    /// A service that has no main process, and will have none by this start.
    fn start_failed(&mut self, now: Timestamp, id: ServiceId, actions: &mut Vec<Action>) {
        let stopping = self.stop.is_some();
        let plan = self.rules.plan.services.get(id);
        let is_essential = plan.is_some_and(|plan| plan.essential);
        if let Some(service) = self.services.get_mut(id) {
            service.record_no_start();
            service.refusals = 0;
            if !stopping {
                match service.stage {
                    Stage::Leaving | Stage::Draining => return self.drain_apart(now, id),
                    _ if service.main == Main::Reaped || !is_essential => {
                        service.main = Main::Reaped;
                        return self.record_end(now, id, None, actions);
                    }
                    _ => {}
                }
            }
            service.stage = Stage::Gone;
            actions.push(Notice::StartFailed(id).into());
            self.begin_stop(now, Delay::ZERO);
        }
    }

    fn record_executed(&mut self, id: ServiceId) {
        let is_ready = self.readiness(id) == Some(Readiness::None);
        if let Some(service) = self.services.get_mut(id) {
            service.refusals = 0;
            if let Stage::Starting(starting) = &mut service.stage {
                starting.is_executed = true;
                if is_ready {
                    service.stage = Stage::Serving;
                }
            }
        }
    }

    fn record_exit(
        &mut self,
        now: Timestamp,
        id: ServiceId,
        status: Status,
        actions: &mut Vec<Action>,
    ) {
        let stopping = self.stop.is_some();
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        service.main = Main::Reaped;
        // What it left behind is drained at its turn, each layer anew.
        service.drain.release(Scope::Service(id), actions);
        service.drain.step = Step::Looking { asked: None };
        match service.stage {
            Stage::Starting(_) | Stage::Serving if !stopping => {
                self.record_end(now, id, Some(status), actions);
            }
            // At a stop all serve on that were leaving.
            Stage::Starting(_) | Stage::Serving => {
                actions.push(Notice::EndedUnasked(id).into());
                // What it left behind may listen, or not.
                service.listens = None;
            }
            Stage::Leaving => self.drain_apart(now, id),
            Stage::Waiting | Stage::Respawning { .. } | Stage::Draining | Stage::Gone => {}
        }
        if self.rules.plan.leftovers == Leftovers::Left {
            if let Some(service) = self.services.get_mut(id) {
                service.stage = Stage::Gone;
            }
        }
    }

    /// What is left of a service is drained while the others serve.
    fn drain_apart(&mut self, now: Timestamp, id: ServiceId) {
        let term_at = now + self.rules.plan.last_term_at();
        let drain = self.new_drain(now, now, term_at, Some(id));
        if let Some(service) = self.services.get_mut(id) {
            service.stage = Stage::Draining;
            service.drain = drain;
        }
    }

    /// A service has ended while nothing stops; with `None` its program couldn't be
    /// executed once more.
    fn record_end(
        &mut self,
        now: Timestamp,
        id: ServiceId,
        status: Option<Status>,
        actions: &mut Vec<Action>,
    ) {
        let is_last = {
            let mut others = self.services.each().filter(|(other, _)| *other != id);
            others.all(|(_, other)| other.wanted != Wanted::Up)
        };
        let rules = Rc::clone(&self.rules);
        let (Some(plan), Some(service)) = (rules.plan.services.get(id), self.services.get_mut(id))
        else {
            return;
        };
        let was_ready = service.stage == Stage::Serving;
        let is_done = status.is_some_and(|status| plan.is_done_by(status));
        if is_done && !is_last {
            service.wanted = Wanted::Down;
            // What it left behind is to stay, and is swept at the end.
            service.stage = Stage::Gone;
            return;
        }
        service.backoff.record_end(if was_ready {
            now.since(service.started_at)
        } else {
            Duration::ZERO
        });
        let ends = service.backoff.ends;
        let restarts = !is_done
            && plan.restarts_after(status)
            && !service.backoff.is_exhausted(plan.restart_limit);
        // Without it nothing would be left to run.
        let stops_all = !restarts && (plan.essential || is_last);
        if !restarts {
            service.wanted = Wanted::Down;
            if ends > 1 || !stops_all {
                actions.push(Notice::GivenUp(id, ends).into());
            }
        }
        if !stops_all {
            return self.drain_apart(now, id);
        }
        // Of a oneshot the status tells.
        if was_ready || status.is_some() && plan.ready == Readiness::Success {
            actions.push(Notice::EndedUnasked(id).into());
        } else {
            actions.push(Notice::StartFailed(id).into());
        }
        self.begin_stop(now, Delay::ZERO);
    }

    fn record_sight(&mut self, now: Timestamp, id: ServiceId, sight: Sight) {
        let stopping = self.stop.is_some();
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        service.is_web |= sight.runs == Some(Kind::Web);
        if stopping {
            service.listens = Some(sight.listens);
        } else if let Stage::Starting(starting) = &mut service.stage {
            match sight.listens {
                Listens::Yes => service.stage = Stage::Serving,
                Listens::Unknown => {
                    starting.presumed_at.get_or_insert(now + READY_UNSEEN);
                }
                Listens::No => {}
            }
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
        let quiet = self.quiets(scope).then_some(self.rules.plan.quiet);
        if !remains.any {
            self.record_nothing_left(now, scope, actions);
        } else if let Some((drain, main)) = self.drain_mut(scope) {
            drain.record_remains(now, scope, main, remains, quiet, actions);
        }
    }

    fn record_nothing_left(&mut self, now: Timestamp, scope: Scope, actions: &mut Vec<Action>) {
        match scope {
            Scope::Service(id) => {
                let rules = Rc::clone(&self.rules);
                let (Some(plan), Some(service)) =
                    (rules.plan.services.get(id), self.services.get_mut(id))
                else {
                    return;
                };
                match service.wanted {
                    // A main process that is a zombie will be reaped before long.
                    _ if service.main == Main::Running => {}
                    Wanted::Down | Wanted::Stopped => service.stage = Stage::Gone,
                    Wanted::Up if service.stage != Stage::Draining => {}
                    Wanted::Up => {
                        let delay = service.backoff.delay(plan.restart_delay);
                        service.stage = Stage::Respawning { at: now + delay };
                        if service.backoff.ends > 0 {
                            actions.push(Notice::StartsAgainIn(id, delay).into());
                        }
                    }
                }
            }
            Scope::Rest if self.phase == Phase::Sweeping => {
                self.phase = Phase::Flushing {
                    until: self.flush_until(now),
                }
            }
            Scope::Rest => {}
        }
    }

    /// Whether a php-fpm of that scope is to wait until it is sent nothing: its
    /// web server is in another container of the pod, and drains meanwhile.
    fn quiets(&self, scope: Scope) -> bool {
        let Scope::Service(id) = scope else {
            return false;
        };
        let is_up = self
            .services
            .get(id)
            .is_some_and(|service| service.main == Main::Running);
        is_up
            && self.is_listening(id)
            && !self.had_web
            && self.stop.is_some_and(|stop| stop.is_requested)
            && self.rules.plan.stop_after != StopAfter::None
    }

    /// When the flush is over if nothing is acknowledged from now on.
    fn flush_until(&self, now: Timestamp) -> Timestamp {
        let since = self.stop.map_or(now, |stop| stop.since);
        (now + FLUSH_STALLED).min(since + self.rules.plan.last_term_at())
    }

    /// Orders what is due, in the order of a container's life.
    fn decide(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stop.is_none() {
            self.start_what_may(now, actions);
        }
        if self.stop.is_none() {
            self.drain_those_that_leave(now);
        }
        self.say_whether_anything_listens(actions);
        let Some(stop) = &mut self.stop else {
            return self.force_what_is_late(now, None, actions);
        };
        stop.lame_duck.is_over |= now >= stop.lame_duck.ends_at();
        let stop = *stop;
        // Whatever goes may let others go, and several deadlines may have
        // passed at once, after a pause of the whole machine.
        while self.drain_whose_turn_it_is(now, stop, actions) {}
        self.force_what_is_late(now, stop.hurried, actions);
        let all_gone = self
            .services
            .iter()
            .all(|service| service.stage == Stage::Gone);
        let none_swept = all_gone && self.rules.plan.leftovers == Leftovers::Left;
        if self.phase == Phase::Services && all_gone {
            self.phase = Phase::Sweeping;
            let term_at = stop.since + self.rules.plan.last_term_at();
            self.rest = self.new_drain(now, stop.since, term_at, None);
        }
        let flushed = match self.phase {
            Phase::Flushing { until } => now >= until || stop.hurried.is_some(),
            Phase::Services | Phase::Sweeping | Phase::Over => false,
        };
        let late = now >= stop.since + self.rules.plan.exit_at();
        if late {
            self.kill_what_is_there(actions);
        }
        if late || flushed || none_swept {
            self.phase = Phase::Over;
            actions.push(Order::Exit.into());
        }
    }

    /// A drain that begins now, of that service or of the rest, and what is left of
    /// which gets SIGTERM then, or once the service's own time is over. `since` is when
    /// the grace period began.
    fn new_drain(
        &self,
        now: Timestamp,
        since: Timestamp,
        term_at: Timestamp,
        of: Option<ServiceId>,
    ) -> Drain {
        let plan = &self.rules.plan;
        // Who is asked this late has little time, but some.
        let late = term_at + plan.margin() / 2;
        let term_at = if now < term_at { term_at } else { late };
        let service = of.and_then(|id| plan.services.get(id));
        let own = service.and_then(|service| service.stop_timeout);
        let own_at = own.map_or(term_at, |timeout| now + timeout);
        let kill_at = since + plan.kill_at();
        Drain {
            term_at: term_at.min(own_at),
            kill_at: own.map_or(kill_at, |_| kill_at.min(own_at + plan.margin())),
            ..Drain::NOT_BEGUN
        }
    }

    /// Those go whose turn it is of those that somebody has stopped.
    fn drain_those_that_leave(&mut self, now: Timestamp) {
        for id in self.services.ids() {
            let service = self.services.get(id);
            let leaves = service.is_some_and(|service| service.stage == Stage::Leaving);
            if leaves && !self.is_held(id) {
                self.drain_apart(now, id);
            }
        }
    }

    /// At the end of our time: after a pause of the whole machine not all of it
    /// may have been signalled.
    fn kill_what_is_there(&mut self, actions: &mut Vec<Action>) {
        for (id, service) in self.services.each_mut() {
            if service.stage != Stage::Gone {
                service.drain.end(Scope::Service(id), actions);
            }
        }
        if self.phase == Phase::Sweeping {
            self.rest.end(Scope::Rest, actions);
        }
    }

    fn start_what_may(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for id in self.services.ids() {
            let Some(service) = self.services.get_mut(id) else {
                return;
            };
            if matches!(service.stage, Stage::Respawning { at } if now >= at) {
                service.stage = Stage::Waiting;
            }
            let spawn = match service.stage {
                Stage::Waiting => self.may_start(id),
                Stage::Starting(starting) => {
                    if self.await_start(now, id, starting, actions) {
                        return;
                    }
                    false
                }
                Stage::Respawning { .. }
                | Stage::Serving
                | Stage::Leaving
                | Stage::Draining
                | Stage::Gone => false,
            };
            if let (true, Some(service)) = (spawn, self.services.get_mut(id)) {
                service.main_before = service.main;
                service.main = Main::Running;
                service.started_at = now;
                service.stage = Stage::Starting(Starting {
                    is_executed: false,
                    presumed_at: None,
                    say_at: now + STILL_STARTING,
                });
                actions.push(Order::Spawn(id).into());
            }
        }
    }

    /// Whether all that it is after are ready, or have gone for good.
    fn may_start(&self, id: ServiceId) -> bool {
        let plan = self.rules.plan.services.get(id);
        let is_settled = |before: &ServiceId| {
            let before = self.services.get(*before);
            before.is_some_and(|it| match it.stage {
                Stage::Serving => true,
                Stage::Gone => it.wanted != Wanted::Up,
                Stage::Waiting
                | Stage::Respawning { .. }
                | Stage::Starting(_)
                | Stage::Leaving
                | Stage::Draining => false,
            })
        };
        plan.is_some_and(|plan| plan.after.iter().all(is_settled))
    }

    fn start_timeout_at(&self, id: ServiceId) -> Option<Timestamp> {
        let timeout = self.rules.plan.services.get(id)?.start_timeout?;
        Some(self.services.get(id)?.started_at + timeout)
    }

    fn starting_deadline(&self, id: ServiceId, starting: Starting) -> Option<Timestamp> {
        let is_awaited = self.followers(id).next().is_some();
        let say_at = is_awaited.then_some(starting.say_at);
        let timeout_at = self.start_timeout_at(id);
        [starting.presumed_at, say_at, timeout_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the start failed, and so all stops.
    fn await_start(
        &mut self,
        now: Timestamp,
        id: ServiceId,
        starting: Starting,
        actions: &mut Vec<Action>,
    ) -> bool {
        if self
            .starting_deadline(id, starting)
            .is_none_or(|at| now < at)
        {
            return false;
        }
        let timeout_at = self.start_timeout_at(id);
        let stage = if starting.presumed_at.is_some_and(|at| now >= at) {
            actions.push(Notice::PresumedReady(id).into());
            Stage::Serving
        } else if timeout_at.is_some_and(|at| now >= at) {
            actions.push(Notice::StartFailed(id).into());
            self.begin_stop(now, Delay::ZERO);
            return true;
        } else {
            actions.push(Notice::StillStarting(id).into());
            Stage::Starting(Starting {
                say_at: now + STILL_STARTING,
                ..starting
            })
        };
        if let Some(service) = self.services.get_mut(id) {
            service.stage = stage;
        }
        false
    }

    /// Once it is known of all services.
    fn say_whether_anything_listens(&mut self, actions: &mut Vec<Action>) {
        let mut there = self
            .services
            .iter()
            .filter(|service| service.stage != Stage::Gone);
        if there.clone().any(|service| service.listens.is_none()) {
            return;
        }
        // What a service left behind that has ended doesn't serve on.
        let listens = there.any(|service| {
            service.stage != Stage::Draining && service.listens != Some(Listens::No)
        });
        if let Some(stop) = self.stop.as_mut().filter(|stop| !stop.is_announced) {
            stop.is_announced = true;
            let delay = if listens {
                stop.lame_duck.delay
            } else {
                Delay::ZERO
            };
            actions.push(Notice::LameDuckBegins(delay).into());
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
        for id in self.services.ids() {
            let Some(service) = self.services.get(id) else {
                continue;
            };
            let term_at = self.term_at(id, stop);
            match (service.stage, service.drain.step) {
                (Stage::Starting(_) | Stage::Serving, _) => {
                    let delay_is_over = stop.lame_duck.is_over || !self.is_listening(id);
                    let is_free = stop.is_announced && delay_is_over && !self.is_held(id);
                    if now >= term_at || is_free {
                        let drain = self.new_drain(now, stop.since, term_at, Some(id));
                        if let Some(service) = self.services.get_mut(id) {
                            service.stage = Stage::Draining;
                            service.drain = drain;
                            changed = true;
                        }
                    }
                }
                (Stage::Draining, Step::Quieting { quiet_at, until }) => {
                    if now < quiet_at && now < until && stop.is_requested {
                        continue;
                    }
                    if now < quiet_at && stop.is_requested {
                        actions.push(Notice::AwaitsQuietNoLonger(id).into());
                    }
                    let late = self.rules.plan.margin() / 2;
                    if let Some(service) = self.services.get_mut(id) {
                        if now >= service.drain.term_at {
                            service.drain.term_at = service.drain.term_at + late;
                        }
                        service.drain.step = Step::Looking { asked: None };
                        changed = true;
                    }
                }
                _ => {}
            }
        }
        changed
    }

    /// `hurried` is what somebody at the keyboard has come to.
    fn force_what_is_late(
        &mut self,
        now: Timestamp,
        hurried: Option<Force>,
        actions: &mut Vec<Action>,
    ) {
        for (id, service) in self.services.each_mut() {
            if service.stage == Stage::Draining {
                let scope = Scope::Service(id);
                service.drain.decide(now, scope, hurried, actions);
            }
        }
        if self.phase == Phase::Sweeping {
            self.rest.decide(now, Scope::Rest, hurried, actions);
        }
    }
}
