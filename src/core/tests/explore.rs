//! Every state the core can be in, searched exhaustively: all configurations
//! of one to three services, and for each state every event that the shell
//! may tell it, truthful about the children or not, at every time that could
//! make a difference.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::*;
use crate::core::drain::{Round, Silence};
use crate::core::event::{Arrivals, Attendance, Busy, Layer, StopRequest};
use crate::core::plan::{Restart, ServicePlan};
use crate::core::stop::Check;
use crate::signal::Signal;
use crate::status::Status;

/// What distinguishes services to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Web,
    Fpm,
    /// A service that is no preset and listens.
    App,
    /// A service that is no preset and doesn't listen.
    Worker,
    /// Such a one that is to end.
    Oneshot,
}

pub(super) const SORTS: [Sort; 4] = [Sort::Web, Sort::Fpm, Sort::App, Sort::Worker];

/// Whether services are after all before them, by default or because that was given,
/// or after none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    Chain,
    GivenChain,
    Free,
}

/// What happens when a service ends unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    restart: Restart,
    limit: u32,
    is_essential: bool,
}

impl Policy {
    const fn new(restart: Restart, is_essential: bool) -> Self {
        Self {
            restart,
            limit: 1,
            is_essential,
        }
    }
}

/// All stops.
pub(super) const NO_RESTART: Policy = Policy::new(Restart::No, true);

pub(super) const POLICIES: [Policy; 6] = [
    NO_RESTART,
    Policy::new(Restart::No, false),
    Policy::new(Restart::OnFailure, true),
    Policy::new(Restart::OnFailure, false),
    Policy::new(Restart::Always, true),
    Policy::new(Restart::Always, false),
];

const RESTART_DELAY: Delay = Delay {
    min: Duration::from_secs(2),
    max: Duration::from_secs(3),
};

/// A service that was up for so long is no crash loop.
const UP_FOR_GOOD: Duration = Duration::from_secs(60);

pub(super) fn plan(services: Vec<ServicePlan>, delay: Delay, grace_period: Duration) -> Plan {
    Plan {
        services: services.into_iter().collect(),
        delay,
        grace_period,
        quiet: Duration::from_secs(1),
        stop_after: StopAfter::Clients,
        leftovers: Leftovers::Drained,
    }
}

/// What the explorer remembers of a scope, to judge orders by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "questions of their own")]
struct Seen {
    /// The layer asked last, of those asked while the main process ran, and
    /// then of those asked since it was reaped.
    last: Option<Layer>,
    /// Whether its main process had been reaped by then.
    reaped: bool,
    /// Whether anything was asked.
    asked: bool,
    termed: bool,
    /// Whether its php-fpm masters are stopped.
    held: bool,
    /// Its main process has ended, and what it left behind is not known to have.
    has_leftovers: bool,
    /// How often it was started again in a row.
    restarts: u32,
    /// Since when nothing of it was left.
    gone_at: Option<Timestamp>,
    /// When it began to drain, or what it left behind, if not all stopped then.
    drained_apart: Option<Timestamp>,
    /// Somebody had it started or stopped since it was started last.
    by_command: bool,
}

impl From<bool> for Timestamp {
    fn from(is_so: bool) -> Self {
        Self(Duration::from_nanos(u64::from(is_so)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Timestamp,
    /// By service, then the rest.
    seen: Vec<Seen>,
    /// How often somebody may still ask for something.
    commands_left: u8,
}

impl World {
    /// The world right after the start.
    pub(super) fn new(
        sorts: &[Sort],
        policies: &[Policy],
        order: Arrangement,
        delay: Delay,
        grace_period: Duration,
    ) -> Self {
        let services = sorts.iter().zip(policies).enumerate();
        let services = services.map(|(index, (sort, policy))| ServicePlan {
            after: match order {
                Arrangement::Chain | Arrangement::GivenChain => (0..index).map(ServiceId).collect(),
                Arrangement::Free => Vec::new(),
            },
            binding: match order {
                Arrangement::GivenChain => Binding::Always,
                Arrangement::Chain | Arrangement::Free => Binding::Listening,
            },
            ready: match sort {
                Sort::Web | Sort::Fpm => Readiness::Listen,
                Sort::App | Sort::Worker => Readiness::None,
                Sort::Oneshot => Readiness::Success,
            },
            is_web: *sort == Sort::Web,
            restart: policy.restart,
            restart_delay: RESTART_DELAY,
            restart_limit: policy.limit,
            essential: policy.is_essential,
            ..ServicePlan::default()
        });
        let plan = plan(services.collect(), delay, grace_period);
        let world = Self {
            machine: Machine::new(plan),
            now: Timestamp::default(),
            seen: vec![Seen::default(); sorts.len() + 1],
            commands_left: 0,
        };
        world.after(Timestamp::default(), Event::Tick, sorts)
    }

    /// The state without what makes no difference any more; times count from
    /// the stop request, or, before that, from now on.
    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let machine = &self.machine;
        let since = machine.stop.map_or(self.now, |stop| stop.since);
        let relative = |at: Timestamp| Timestamp(at.since(since));
        let mut stop = machine.stop;
        if let Some(stop) = &mut stop {
            let now = self.now;
            let just_now = |last: Timestamp| now < last + INTERRUPT_APART;
            stop.interrupted = stop.interrupted.map(|last| Timestamp::from(just_now(last)));
            stop.lame_duck = what_matters(stop.lame_duck, since);
            stop.since = Timestamp::default();
        }
        let drain = |mut drain: Drain, main: Main| {
            // What matters to some steps alone.
            drain.had_presets &= main == Main::Running;
            drain.quieted &= matches!(drain.step, Step::Looking { .. } | Step::Quieting { .. });
            // Only how long a round may take depends on it.
            drain.rounds = 0;
            drain.kill_at = match drain.force {
                Some(Force::Kill) => Timestamp::default(),
                None | Some(Force::Term) => relative(drain.kill_at),
            };
            drain.term_at = match drain.force {
                None => relative(drain.term_at),
                Some(_) => Timestamp::default(),
            };
            match &mut drain.step {
                Step::Quieting { quiet_at, until } => {
                    *quiet_at = relative((*quiet_at).min(*until));
                    *until = relative(*until);
                }
                Step::Web(Silence::Heeded { until }) => *until = relative(*until),
                Step::Workers { round, held_until } => {
                    if let Round::Unknown { idle_until } = round {
                        *idle_until = Timestamp::from(self.now <= *idle_until);
                    }
                    *held_until = held_until.map(relative);
                }
                Step::Looking { .. } | Step::Queued | Step::Web(_) | Step::Masters | Step::Main => {
                }
            }
            drain
        };
        let mut seen = self.seen.clone();
        let mut services = machine.services.clone();
        for (service, seen) in services.iter_mut().zip(&mut seen) {
            service.drain = drain(service.drain, service.main);
            seen.drained_apart = seen.drained_apart.map(relative);
            self.forget_restarts(service, seen);
            if service.listens == Some(Listens::Unknown) && stop.is_some() {
                service.listens = Some(Listens::Yes);
            }
            match service.stage {
                Stage::Gone => {
                    *service = Service {
                        wanted: service.wanted,
                        stage: Stage::Gone,
                        main: service.main,
                        main_before: service.main,
                        started_at: Timestamp::default(),
                        backoff: Backoff::default(),
                        refusals: 0,
                        is_web: service.is_web,
                        listens: None,
                        drain: Drain::NOT_BEGUN,
                    };
                    *seen = Seen::default();
                }
                Stage::Respawning { at } => service.stage = Stage::Respawning { at: relative(at) },
                Stage::Starting(starting) => {
                    let presumed_at = starting.presumed_at.filter(|_| stop.is_none());
                    // It is said again and again.
                    service.stage = Stage::Starting(Starting {
                        presumed_at: presumed_at.map(relative),
                        say_at: Timestamp::default(),
                        ..starting
                    });
                }
                _ => {}
            }
        }
        let mut phase = machine.phase;
        if let Phase::Flushing { until } = &mut phase {
            *until = relative(*until);
        }
        let rest = drain(machine.rest, Main::Reaped);
        // Only a stop request makes something of it.
        let check = match stop {
            None => machine.lame_duck(self.now, Delay::ZERO).check,
            Some(_) => Check::NotInUse,
        };
        let commands_left = stop.map_or(self.commands_left, |_| 0);
        let key = (
            (phase, stop, machine.had_web, check, commands_left),
            (services, rest, relative(self.now), seen),
        );
        hasher.hash_one(&key)
    }

    /// Of how often one was started again, what makes no difference any more.
    fn forget_restarts(&self, service: &mut Service, seen: &mut Seen) {
        // The machine's own times tell.
        seen.gone_at = None;
        if self.machine.stop.is_none() {
            let is_up_for_good = self.now >= service.started_at + UP_FOR_GOOD;
            let counts_anew = is_up_for_good && service.backoff.ends > 0;
            service.started_at = Timestamp::from(counts_anew);
        } else {
            service.started_at = Timestamp::default();
            service.backoff.ends = service.backoff.ends.min(1);
            seen.restarts = 0;
            seen.has_leftovers = false;
        }
    }

    fn seen(&mut self, scope: Scope) -> &mut Seen {
        let rest = self.seen.len() - 1;
        &mut self.seen[match scope {
            Scope::Service(id) => id.0,
            Scope::Rest => rest,
        }]
    }

    /// The world after that event; panics if the core breaks a rule.
    pub(super) fn after(&self, now: Timestamp, event: Event, sorts: &[Sort]) -> Self {
        let mut next = self.clone();
        next.now = now;
        let mut actions = Vec::new();
        next.machine.handle(now, event, &mut actions);
        next.witness(self, now, event);
        for action in &actions {
            match action {
                Action::Do(order) => next.judge(self, *order),
                Action::Note(notice) => next.judge_notice(self, *notice),
            }
        }
        next.judge_lives(self, now, event);
        let machine = &next.machine;
        if let Some(stop) = machine.stop {
            let over = machine.phase == Phase::Over;
            assert!(
                over || machine.deadline().is_some_and(|deadline| deadline > now),
                "stopping without a deadline ahead: {event:?} {actions:?} {next:#?} {sorts:?}"
            );
            let duck = stop.lame_duck;
            assert!(
                duck.is_over || now < stop.since + duck.delay.max,
                "a lame duck beyond the longest delay: {next:#?}"
            );
            let exit_at = stop.since + machine.rules.plan.exit_at();
            assert!(over || now < exit_at, "not over by exit-at: {next:#?}");
            assert_eq!(
                actions
                    .iter()
                    .filter(|action| **action == Action::Do(Order::Exit))
                    .count(),
                usize::from(over),
                "the exit is ordered once: {next:#?}"
            );
            if over && now < exit_at && stop.hurried.is_none() {
                for service in machine.services.iter() {
                    assert_ne!(service.main, Main::Running, "left alone: {next:#?}");
                }
            }
        }
        next
    }

    /// What is to be remembered of those that are started again.
    fn witness(&mut self, before: &Self, now: Timestamp, event: Event) {
        match event {
            Event::Exited(id, _) => {
                let was = &before.machine.services[id.0];
                let counts_anew =
                    was.stage == Stage::Serving && now >= was.started_at + UP_FOR_GOOD;
                // What a oneshot leaves behind is to stay.
                let is_done = self.machine.services[id.0].stage == Stage::Gone;
                let seen = self.seen(Scope::Service(id));
                seen.has_leftovers = !is_done;
                if counts_anew {
                    seen.restarts = 0;
                }
            }
            Event::Remains(Scope::Service(id), remains) if !remains.any => {
                let seen = self.seen(Scope::Service(id));
                seen.has_leftovers = false;
                seen.gone_at = Some(now);
            }
            _ => {}
        }
        if let Event::Commanded(..) = event {
            self.commands_left -= 1;
            for (id, service) in self.machine.services.clone().each() {
                let was = &before.machine.services[id.0];
                let told = |it: &Service| (it.wanted, it.stage, it.backoff);
                if told(was) != told(service) {
                    self.seen(Scope::Service(id)).by_command = true;
                }
            }
        }
        if self.machine.stop.is_none() {
            for id in self.machine.services.ids() {
                let stage = |world: &Self| world.machine.services[id.0].stage;
                if stage(self) == Stage::Draining && stage(before) != Stage::Draining {
                    self.seen(Scope::Service(id)).drained_apart = Some(now);
                }
            }
        }
    }

    /// Who is to be up and isn't comes back, or all stops.
    fn judge_lives(&self, before: &Self, now: Timestamp, event: Event) {
        let machine = &self.machine;
        if machine.stop.is_some() {
            let is_down = |service: &Service| service.wanted == Wanted::Down;
            assert!(machine.services.iter().all(is_down), "one is to be up");
            return;
        }
        let mut is_any_up = false;
        for (id, service) in machine.services.each() {
            let plan = &machine.rules.plan.services[id.0];
            let is_away = service.main != Main::Running;
            is_any_up |= service.wanted != Wanted::Down;
            let by_command = self.seen[id.0].by_command;
            match (service.wanted, service.stage) {
                (_, Stage::Draining) => {
                    assert!(
                        is_away || by_command,
                        "drained while all serve: {before:#?}"
                    );
                    if before.machine.services[id.0].stage != Stage::Draining && !is_away {
                        assert!(!machine.is_held(id), "out of order: {before:#?}");
                    }
                    let deadline = machine.deadline();
                    assert!(
                        deadline.is_none_or(|deadline| deadline > now),
                        "a deadline that has passed: {event:?} {before:#?}"
                    );
                }
                (Wanted::Up, Stage::Respawning { at }) => assert!(at > now, "late: {self:#?}"),
                (Wanted::Up, Stage::Waiting) => {
                    assert!(!machine.may_start(id), "not started: {before:#?}");
                }
                (Wanted::Up, Stage::Starting(_) | Stage::Serving) => {
                    assert!(!is_away, "it has ended, and nothing happens: {before:#?}");
                }
                (Wanted::Down, Stage::Gone) => assert!(
                    !plan.essential || plan.ready == Readiness::Success,
                    "given up, and nothing stops: {before:#?}"
                ),
                (Wanted::Up | Wanted::Stopped, Stage::Leaving) => {
                    assert!(by_command && !is_away, "{before:#?}");
                    assert!(machine.is_held(id), "nobody goes before it: {before:#?}");
                }
                (Wanted::Stopped, Stage::Gone) => {}
                (Wanted::Up, Stage::Gone) | (Wanted::Down | Wanted::Stopped, _) => {
                    panic!("{before:#?}")
                }
            }
            // Who hasn't ended isn't touched when another one is started again.
            let was = &before.machine.services[id.0];
            let goes_on = was.main == Main::Running && !is_away && !by_command;
            if goes_on && was.stage == Stage::Serving {
                assert_eq!(service.stage, Stage::Serving, "{event:?} {before:#?}");
            }
        }
        assert!(is_any_up, "nothing runs, and nothing stops: {before:#?}");
    }

    fn judge(&mut self, before: &Self, order: Order) {
        let machine = self.machine.clone();
        let rules = Rc::clone(&machine.rules);
        let stop = machine.stop;
        let main = |id: ServiceId| machine.services[id.0].main;
        match order {
            Order::Spawn(id) => {
                assert_ne!(before.machine.services[id.0].main, Main::Running);
                assert!(before.machine.stop.is_none(), "a start while stopping");
                for before in &rules.plan.services[id.0].after {
                    let before = &machine.services[before.0];
                    let has_gone = before.stage == Stage::Gone && before.wanted != Wanted::Up;
                    let is_settled = before.stage == Stage::Serving || has_gone;
                    assert!(is_settled, "out of order");
                }
                let plan = &rules.plan.services[id.0];
                let now = self.now;
                let seen = self.seen(Scope::Service(id));
                assert!(
                    !seen.has_leftovers,
                    "started beside what it left: {before:#?}"
                );
                if seen.by_command {
                    *seen = Seen::default();
                } else if let Some(gone_at) = seen.gone_at {
                    assert_ne!(plan.restart, Restart::No);
                    assert!(
                        now >= gone_at + plan.restart_delay.min,
                        "too soon: {before:#?}"
                    );
                    assert!(
                        seen.restarts < plan.restart_limit,
                        "started too often: {before:#?}"
                    );
                    *seen = Seen {
                        restarts: seen.restarts + 1,
                        ..Seen::default()
                    };
                }
            }
            Order::Reload(id) | Order::Reopen(id) | Order::Forward(id, _) => {
                assert_eq!(main(id), Main::Running, "a signal to a reaped child");
            }
            Order::Ask(scope, layer) => self.judge_ask(before, scope, layer),
            Order::Hold(scope) => {
                let seen = self.seen(scope);
                assert!(!seen.held, "held twice: {before:#?}");
                assert!(!seen.termed, "held after SIGTERM: {before:#?}");
                seen.held = true;
            }
            Order::Release(scope) => {
                let seen = self.seen(scope);
                assert!(seen.held, "released, and not held: {before:#?}");
                seen.held = false;
            }
            Order::Dismiss(scope) => {
                let seen = self.seen(scope);
                assert_eq!(seen.last, Some(Layer::Web), "dismissed, and not asked");
                assert!(!seen.termed, "forced, and then dismissed");
            }
            Order::Force(scope, Force::Term) => {
                let hurried = stop.is_some_and(|stop| stop.hurried.is_some());
                let seen = self.seen(scope);
                assert!(!seen.termed, "SIGTERM twice");
                seen.termed = true;
                seen.held = false;
                let drained_apart = seen.drained_apart;
                let term_at = match scope {
                    Scope::Service(id) => machine.rules.term_at[id.0],
                    Scope::Rest => rules.plan.last_term_at(),
                };
                let at_stop = stop.map(|stop| stop.since + term_at);
                let apart = drained_apart.map(|since| since + rules.plan.last_term_at());
                let due = at_stop.into_iter().chain(apart).min().unwrap();
                assert!(hurried || self.now >= due, "SIGTERM too early: {before:#?}");
            }
            Order::Force(scope, Force::Kill) => {
                let seen = self.seen(scope);
                seen.held = false;
                assert!(
                    seen.termed || seen.asked,
                    "SIGKILL before any stop signal: {before:#?}"
                );
            }
            Order::MakeMarker | Order::Exit => {}
        }
    }

    fn judge_notice(&mut self, before: &Self, notice: Notice) {
        match notice {
            Notice::AwaitsQuiet(id) => {
                if self.seen(Scope::Service(id)).drained_apart.is_none() {
                    self.assert_in_order(id);
                }
                assert_eq!(
                    self.machine.services[id.0].main,
                    Main::Running,
                    "waits for a reaped child"
                );
                let seen = self.seen(Scope::Service(id));
                assert_eq!(seen.last, None, "waits after it asked");
                assert!(
                    !before.seen.iter().any(|seen| seen.last == Some(Layer::Web)),
                    "waits behind a web server of ours: {before:#?}"
                );
            }
            Notice::AwaitsQuietNoLonger(_)
            | Notice::StopBegins
            | Notice::LameDuckBegins(_)
            | Notice::StillStarting(_)
            | Notice::StartFailed(_)
            | Notice::PresumedReady(_)
            | Notice::StartsAgainIn(..)
            | Notice::GivenUp(..)
            | Notice::EndedUnasked(_) => {}
        }
    }

    fn judge_ask(&mut self, before: &Self, scope: Scope, layer: Layer) {
        let machine = self.machine.clone();
        let main = |id: ServiceId| machine.services[id.0].main;
        let reaped = match scope {
            Scope::Service(id) => {
                assert_ne!(main(id), Main::Absent, "asked before it was started");
                if self.seen(scope).drained_apart.is_none() {
                    self.assert_in_order(id);
                }
                main(id) == Main::Reaped
            }
            Scope::Rest => {
                let gone = |service: &Service| service.stage == Stage::Gone;
                assert!(machine.services.iter().all(gone), "swept too early");
                true
            }
        };
        let at_step = match scope {
            Scope::Service(id) => before.machine.services[id.0].drain.step,
            Scope::Rest => before.machine.rest.step,
        };
        let seen = self.seen(scope);
        if reaped != seen.reaped {
            seen.last = None;
        }
        let is_next_round = layer == Layer::Workers && seen.last == Some(layer);
        // A supervisor may start it anew.
        let is_anew = at_step == Step::Main;
        assert!(
            seen.last.is_none_or(|last| last < layer) || is_next_round || is_anew,
            "{layer:?} asked twice, or too late: {before:#?}"
        );
        assert!(!seen.held || layer == Layer::Workers || layer == Layer::Masters);
        *seen = Seen {
            last: seen.last.max(Some(layer)),
            reaped,
            asked: true,
            held: seen.held && layer == Layer::Workers,
            ..seen.clone()
        };
    }

    /// A listening service is asked only when the delay is over and those that
    /// go before it have gone, unless time runs out.
    fn assert_in_order(&self, id: ServiceId) {
        let machine = &self.machine;
        let Some(stop) = machine.stop else {
            panic!("asked while serving")
        };
        let services = &*machine.services;
        let late = self.now >= stop.since + machine.rules.term_at[id.0];
        let is_given = |id: usize| machine.rules.plan.services[id].binding == Binding::Always;
        let listens = |id: usize| services[id].listens != Some(Listens::No);
        let binds = |id: usize| listens(id) || is_given(id);
        let is_after = |one: usize, other: usize| {
            let after = &machine.rules.plan.services[one].after;
            after.contains(&ServiceId(other))
        };
        let all = 0..services.len();
        let is_bound =
            |id: usize| binds(id) || all.clone().any(|other| is_after(other, id) && binds(other));
        let is_needed = |id: usize| {
            let mut all = all.clone();
            listens(id) || all.any(|other| is_after(other, id) && listens(other))
        };
        if late || !is_bound(id.0) {
            return;
        }
        let least = stop.since + stop.lame_duck.delay.min;
        let is_long_enough = self.now >= least || stop.interrupted.is_some();
        assert!(
            stop.lame_duck.is_over && is_long_enough || !listens(id.0),
            "asked within the delay: {self:#?}"
        );
        for other in all.clone() {
            let binds = match (services[other].is_web, services[id.0].is_web) {
                (true, false) => is_needed(id.0),
                (false, true) => false,
                (true, true) | (false, false) => is_after(other, id.0),
            };
            assert!(
                services[other].stage == Stage::Gone || !binds || !is_bound(other),
                "out of order: {self:#?}"
            );
        }
    }

    /// Every event that may come now.
    pub(super) fn events(&self, sorts: &[Sort], telling: Telling) -> Vec<Event> {
        let machine = &self.machine;
        let anything = telling == Telling::Anything;
        let mut events = vec![Event::StopRequested(StopRequest::Signal(Signal::TERM))];
        if anything {
            events.extend([Event::Interrupted, Event::ReloadRequested]);
        }
        if self.commands_left > 0 && machine.stop.is_none() {
            for id in machine.services.ids() {
                let commands = [Command::Start, Command::Stop, Command::Restart];
                events.extend(commands.map(|command| Event::Commanded(id, command)));
            }
        }
        // Nothing that comes changes a fixed delay.
        let follows_traffic = anything && !machine.rules.plan.delay.is_fixed();
        if follows_traffic {
            events.push(Event::HealthAsked);
        }
        for (id, service) in machine.services.each() {
            if service.main == Main::Running {
                events.push(Event::Exited(id, Status::Exited(0)));
                let plan = &machine.rules.plan.services[id.0];
                let may_fail =
                    plan.restart == Restart::OnFailure || plan.ready == Readiness::Success;
                if may_fail && machine.stop.is_none() {
                    events.push(Event::Exited(id, Status::Exited(1)));
                }
                // What an order to spawn leads to at once, or behind another one
                // that failed and so began the stop.
                if let Stage::Starting(Starting {
                    is_executed: false, ..
                }) = service.stage
                {
                    events.push(Event::Executed(id));
                    if service.refusals < 2 && anything {
                        events.extend([Event::SpawnRefused(id), Event::SpawnFailed(id)]);
                    }
                }
            }
        }
        for condition in machine.awaits() {
            match condition {
                Condition::Sight(id) => {
                    let listens = match sorts[id.0] {
                        Sort::Worker | Sort::Oneshot => &[Listens::No][..],
                        Sort::Web | Sort::Fpm if sorts.len() == 1 => {
                            &[Listens::Yes, Listens::Unknown]
                        }
                        Sort::Web | Sort::Fpm | Sort::App => &[Listens::Yes],
                    };
                    events.extend(listens.iter().map(|listens| {
                        let runs = match sorts[id.0] {
                            Sort::Web => Some(Kind::Web),
                            Sort::Fpm => Some(Kind::Fpm),
                            Sort::App | Sort::Worker | Sort::Oneshot => None,
                        };
                        let listens = *listens;
                        Event::Seen(id, Sight { listens, runs })
                    }));
                }
                Condition::AskedGone(scope) => {
                    events.push(Event::AskedGone(scope));
                    if anything {
                        events.push(Event::AskRefused(scope));
                    }
                    if anything && sorts.len() == 1 {
                        events.push(Event::AskedFewer(scope));
                    }
                }
                Condition::Remains(scope) => {
                    let (web, fpm) = match scope {
                        Scope::Service(id) => (sorts[id.0] == Sort::Web, sorts[id.0] == Sort::Fpm),
                        Scope::Rest => (true, true),
                    };
                    events.push(Event::Remains(scope, Remains::NOTHING));
                    events.extend(
                        remains(web, fpm, sorts.len(), telling)
                            .map(|remains| Event::Remains(scope, remains)),
                    );
                }
                Condition::Silent(scope) if anything => events.push(Event::Silent(scope)),
                Condition::Quiet(id) if anything => events.push(Event::Busy(id, Busy::Workers)),
                Condition::Arrivals if follows_traffic => {
                    let arrivals = [Arrivals::One, Arrivals::Many, Arrivals::Unknown];
                    events.extend(arrivals.map(Event::Arrived));
                }
                Condition::Silent(_) | Condition::Quiet(_) | Condition::Arrivals => {}
                Condition::Flushed => {
                    events.extend([Event::Unsent(Unsent::None), Event::Unsent(Unsent::Shrunk)]);
                }
            }
        }
        events
    }
}

/// A lame duck without what makes no difference any more; times count from its begin.
fn what_matters(mut duck: LameDuck, since: Timestamp) -> LameDuck {
    let relative = |at: Timestamp| Timestamp(at.since(since));
    duck.since = Timestamp::default();
    if duck.is_over {
        duck.delay = Delay::ZERO;
    }
    let changes_nothing = duck.is_over || duck.delay.is_fixed();
    duck.arrivals = if changes_nothing || duck.is_blind {
        [Timestamp::default(); 2]
    } else {
        duck.arrivals.map(relative)
    };
    duck.is_blind &= !changes_nothing;
    duck.check = match duck.check {
        _ if changes_nothing => Check::NotInUse,
        Check::Told(at) => Check::Told(relative(at)),
        check => check,
    };
    duck
}

/// What may be left of a scope that may have such presets.
fn remains(
    web: bool,
    fpm: bool,
    services: usize,
    telling: Telling,
) -> impl Iterator<Item = Remains> {
    const ATTENDANCES: [Attendance; 4] = [
        Attendance::Unknown,
        Attendance::Nobody,
        Attendance::Connected,
        Attendance::Queued,
    ];
    // Who is at a php-fpm's sockets, and that all that is left was asked, concerns
    // no other service.
    let attendances = if services == 1 && fpm { 4 } else { 1 };
    let has_unasked =
        move |remains: &Remains| services == 1 || remains.web || remains.masters || remains.other;
    let others = match telling {
        Telling::Anything => &[false, true][..],
        Telling::Plain | Telling::Commands(_) if web || fpm => &[false],
        Telling::Plain | Telling::Commands(_) => &[true],
    };
    let presets = if web || fpm {
        &[false, true][..]
    } else {
        &[false]
    };
    others
        .iter()
        .flat_map(move |other| presets.iter().map(move |preset| (*other, *preset)))
        .flat_map(move |(other, preset)| {
            let attendances = ATTENDANCES.into_iter().take(attendances);
            attendances.map(move |attendance| Remains {
                any: true,
                web: web && preset,
                workers: fpm && preset,
                masters: fpm && preset,
                other,
                attendance,
            })
        })
        .filter(has_unasked)
}

/// How much of what may come is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// All of it.
    Anything,
    /// A runtime's stop request, and what healthy services do, at the deadlines:
    /// three of them have too many states for more.
    Plain,
    /// The same, and what somebody may ask for, so often.
    Commands(u8),
}

/// Returns how many states there are.
fn explore(
    sorts: &[Sort],
    policies: &[Policy],
    order: Arrangement,
    delay: Delay,
    telling: Telling,
) -> usize {
    const LIMIT: usize = 2_000_000;
    // Of two million states two have the same in one of ten million runs, and it is
    // another one in each.
    let hasher = RandomState::new();
    let mut first = World::new(sorts, policies, order, delay, Duration::from_secs(10));
    if let Telling::Commands(times) = telling {
        first.commands_left = times;
    }
    let mut known = HashSet::from([first.fingerprint(&hasher)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        // At the deadline, after a pause of the whole machine, and in between:
        // within the delay, and within the drain.
        let deadline = world.machine.deadline();
        let between = world.machine.stop.and_then(|stop| {
            let times = [1, 5].map(|seconds| stop.since + Duration::from_secs(seconds));
            times.into_iter().find(|at| *at > world.now)
        });
        let between = between.filter(|at| {
            telling == Telling::Anything && deadline.is_some_and(|deadline| *at < deadline)
        });
        let far = deadline.map(|deadline| deadline + Duration::from_secs(100));
        let far = far.filter(|_| !matches!(telling, Telling::Commands(_)));
        let is_back =
            |service: &Service| service.stage == Stage::Serving && service.backoff.ends > 0;
        let counts_anew = world.machine.services.iter().any(is_back) && deadline.is_none();
        let later = counts_anew.then_some(world.now + UP_FOR_GOOD);
        let ticks = [between, deadline, far, later]
            .into_iter()
            .flatten()
            .map(|at| (at, Event::Tick));
        let told = world
            .events(sorts, telling)
            .into_iter()
            .map(|event| (world.now, event));
        for (at, event) in ticks.chain(told) {
            let next = world.after(at, event, sorts);
            if next.machine.phase != Phase::Over && known.insert(next.fingerprint(&hasher)) {
                assert!(
                    known.len() < LIMIT,
                    "more than {LIMIT} states: {sorts:?} {policies:?} {order:?}"
                );
                open.push(next);
            }
        }
    }
    known.len()
}

/// All ways to have that many services of those sorts.
fn configurations(services: usize) -> Vec<Vec<Sort>> {
    (0..services).fold(vec![Vec::new()], |all, _| {
        all.iter()
            .flat_map(|sorts| SORTS.map(|sort| [sorts.as_slice(), &[sort]].concat()))
            .collect()
    })
}

/// All that there is to search for that many services.
fn search(services: usize, delays: &[u64], telling: Telling) {
    let mut states = 0;
    for sorts in configurations(services) {
        for order in [Arrangement::Chain, Arrangement::Free] {
            states += delays
                .iter()
                .map(|delay| Delay::fixed(Duration::from_secs(*delay)))
                .map(|delay| explore(&sorts, &vec![NO_RESTART; services], order, delay, telling))
                .sum::<usize>();
        }
    }
    println!("{services} services: {states} states");
    assert!(states > 1000, "the search found next to nothing");
}

#[test]
fn one_service() {
    search(1, &[0, 2], Telling::Anything);
}

#[test]
fn two_services() {
    search(2, &[2], Telling::Anything);
}

#[test]
fn three_services() {
    search(3, &[2], Telling::Plain);
}

/// Whoever ends is started again, or given up, with or without those beside it.
#[test]
fn one_service_that_is_started_again() {
    let mut states = 0;
    for sort in SORTS {
        for policy in POLICIES {
            let delay = Delay::fixed(Duration::from_secs(2));
            let (order, telling) = (Arrangement::Chain, Telling::Anything);
            states += explore(&[sort], &[policy], order, delay, telling);
        }
    }
    println!("{states} states");
    assert!(states > 1000, "the search found next to nothing");
}

/// One beside another that isn't, and both.
#[test]
fn two_services_that_are_started_again() {
    let mut states = 0;
    let always = Policy::new(Restart::Always, true);
    let inessential = Policy::new(Restart::Always, false);
    for sorts in configurations(2) {
        for policies in [
            [always, NO_RESTART],
            [NO_RESTART, inessential],
            [inessential, always],
        ] {
            let delay = Delay::fixed(Duration::from_secs(2));
            let (order, telling) = (Arrangement::Chain, Telling::Plain);
            states += explore(&sorts, &policies, order, delay, telling);
        }
    }
    println!("{states} states");
    assert!(states > 1000, "the search found next to nothing");
}

/// Somebody stops and starts services, at any moment: a second time changes what the
/// first one began.
#[test]
fn services_that_somebody_stops_and_starts() {
    use Sort::{App, Fpm, Oneshot, Web, Worker};
    let mut states = 0;
    let delay = Delay::fixed(Duration::from_secs(2));
    let policies = [NO_RESTART, Policy::new(Restart::Always, true)];
    for (sorts, times) in [
        (&[Fpm][..], 2),
        (&[App, Worker], 2),
        (&[Worker, App], 2),
        (&[App, Web], 1),
        (&[Web, App], 1),
        (&[Oneshot, App], 2),
        (&[Oneshot, Oneshot], 2),
    ] {
        for order in [Arrangement::Chain, Arrangement::GivenChain] {
            let policies = &policies[..sorts.len()];
            states += explore(sorts, policies, order, delay, Telling::Commands(times));
        }
    }
    println!("{states} states");
    assert!(states > 1000, "the search found next to nothing");
}

/// Alone, and before another service.
#[test]
fn a_oneshot() {
    use Sort::{App, Oneshot};
    let mut states = 0;
    let delay = Delay::fixed(Duration::from_secs(2));
    for policy in [
        NO_RESTART,
        Policy::new(Restart::No, false),
        Policy::new(Restart::OnFailure, true),
    ] {
        let order = Arrangement::Chain;
        states += explore(&[Oneshot], &[policy], order, delay, Telling::Anything);
        let policies = [policy, NO_RESTART];
        states += explore(&[Oneshot, App], &policies, order, delay, Telling::Anything);
    }
    println!("{states} states");
    assert!(states > 1000, "the search found next to nothing");
}

/// How long the lame duck is concerns what listens alone, whatever it is.
#[test]
fn a_delay_that_follows_the_traffic() {
    let delay = |min, max| Delay {
        min: Duration::from_secs(min),
        max: Duration::from_secs(max),
    };
    let search = |sorts: &[Sort], delay| {
        let policies = vec![NO_RESTART; sorts.len()];
        let states = explore(
            sorts,
            &policies,
            Arrangement::Chain,
            delay,
            Telling::Anything,
        );
        println!("{sorts:?}, {delay:?}: {states} states");
        assert!(states > 1000, "the search found next to nothing");
    };
    for range in [delay(2, 5), delay(0, 4)] {
        search(&[Sort::App], range);
        search(&[Sort::Worker, Sort::App], range);
    }
}
