//! Every state the core can be in, searched exhaustively: all configurations
//! of one to three services, and for each state every event that the shell
//! may tell it, truthful about the children or not, at every time that could
//! make a difference.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

use log::LevelFilter;

use super::*;
use crate::config::{LogFormat, Marker, Platform, ServiceConfig};

/// What distinguishes services to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Web,
    Fpm,
    /// A service that is no preset and listens.
    App,
    /// A service that is no preset and doesn't listen.
    Worker,
}

const SORTS: [Sort; 4] = [Sort::Web, Sort::Fpm, Sort::App, Sort::Worker];

/// Whether services are after all before them, or after none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Chain,
    Free,
}

pub(super) fn service(name: &str, stop: Signal, ready: Readiness, after: Vec<ServiceId>) -> ServiceConfig {
    ServiceConfig {
        name: name.to_owned(),
        program: PathBuf::new(),
        command: Vec::new(),
        preset: None,
        stop,
        stop_is_given: false,
        after,
        ready,
        start_timeout: Duration::from_secs(30),
        in_foreground_by_variable: false,
    }
}

pub(super) fn config(services: Vec<ServiceConfig>, delay: Duration, grace_period: Duration) -> Rc<Config> {
    Rc::new(Config {
        services,
        delay,
        grace_period,
        platform: Platform::docker(),
        rewrites: Vec::new(),
        marker: Marker::Default,
        log_format: LogFormat::Text,
        log_level: LevelFilter::Off,
    })
}

/// What the explorer remembers of a scope, to judge orders by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// Layers asked while the main process ran, and since it was reaped.
    asked: [Vec<Layer>; 2],
    termed: bool,
}

#[derive(Clone, Debug)]
struct World {
    machine: Machine,
    now: Timestamp,
    /// By service, then the rest.
    seen: Vec<Seen>,
}

impl World {
    fn fingerprint(&self, hashers: &[RandomState; 2]) -> (u64, u64) {
        let machine = &self.machine;
        let key =
            (&machine.phase, &machine.stop, &machine.services, &machine.rest, &self.now, &self.seen);
        (hashers[0].hash_one(key), hashers[1].hash_one(key))
    }

    fn seen(&mut self, scope: Scope) -> &mut Seen {
        let rest = self.seen.len() - 1;
        &mut self.seen[match scope {
            Scope::Service(id) => id.0,
            Scope::Rest => rest,
        }]
    }

    /// The world after that event; panics if the core breaks a rule.
    fn after(&self, now: Timestamp, event: Event, sorts: &[Sort]) -> Self {
        let mut next = self.clone();
        next.now = now;
        let mut actions = Vec::new();
        next.machine.handle(now, event, &mut actions);
        for action in &actions {
            next.judge(self, *action);
        }
        let machine = &next.machine;
        if let Some(stop) = machine.stop {
            let over = machine.phase == Phase::Over;
            assert!(
                over || machine.deadline().is_some_and(|deadline| deadline > now),
                "stopping without a deadline ahead: {event:?} {actions:?} {next:#?} {sorts:?}"
            );
            let exit_at = stop.since + machine.config.exit_at();
            assert!(over || now < exit_at, "not over by exit-at: {next:#?}");
            assert_eq!(
                actions.iter().filter(|action| **action == Action::Exit).count(),
                usize::from(over),
                "the exit is ordered once: {next:#?}"
            );
            if over && now < exit_at && stop.hurried.is_none() {
                for service in &machine.services {
                    assert_ne!(service.main, Main::Running, "left alone: {next:#?}");
                }
            }
        }
        next
    }

    fn judge(&mut self, before: &Self, action: Action) {
        let machine = self.machine.clone();
        let config = &machine.config;
        let stop = machine.stop;
        let main = |id: ServiceId| machine.services[id.0].main;
        match action {
            Action::Spawn(id) => {
                assert_ne!(before.machine.services[id.0].main, Main::Running);
                assert!(before.machine.stop.is_none(), "a start while stopping");
                for before in &config.services[id.0].after {
                    assert_eq!(machine.services[before.0].stage, Stage::Serving, "out of order");
                }
            }
            Action::Reload(id) | Action::Reopen(id) | Action::Forward(id, _) => {
                assert_eq!(main(id), Main::Running, "a signal to a reaped child");
            }
            Action::Ask(scope, layer) => {
                let reaped = match scope {
                    Scope::Service(id) => {
                        assert_ne!(main(id), Main::Absent, "asked before it was started");
                        self.assert_in_order(id);
                        usize::from(main(id) == Main::Reaped)
                    }
                    Scope::Rest => {
                        let gone = |service: &Service| service.stage == Stage::Gone;
                        assert!(machine.services.iter().all(gone), "swept too early");
                        1
                    }
                };
                let asked = &mut self.seen(scope).asked[reaped];
                assert!(
                    layer == Layer::Workers || !asked.contains(&layer),
                    "{layer:?} asked twice: {before:#?}"
                );
                assert!(asked.iter().all(|before| *before <= layer), "backwards: {before:#?}");
                if !asked.contains(&layer) {
                    asked.push(layer);
                }
            }
            Action::Force(scope, Force::Term) => {
                let hurried = stop.is_some_and(|stop| stop.hurried.is_some());
                let seen = self.seen(scope);
                assert!(!seen.termed, "SIGTERM twice");
                seen.termed = true;
                let term_at = match scope {
                    Scope::Service(id) => config.term_at(id),
                    Scope::Rest => config.last_term_at(),
                };
                let since = stop.map(|stop| stop.since).unwrap();
                assert!(hurried || self.now >= since + term_at, "SIGTERM too early: {before:#?}");
            }
            Action::Force(scope, Force::Kill) => {
                let seen = self.seen(scope);
                assert!(
                    seen.termed || seen.asked.iter().any(|asked| !asked.is_empty()),
                    "SIGKILL before any stop signal: {before:#?}"
                );
            }
            Action::WriteMarker | Action::StartFailed(_) | Action::EndedUnasked(_) | Action::Exit => {}
        }
    }

    /// A listening service is asked only when the delay is over and those that
    /// are after it have gone, unless time runs out.
    fn assert_in_order(&self, id: ServiceId) {
        let machine = &self.machine;
        let Some(stop) = machine.stop else { panic!("asked while serving") };
        let late = self.now >= stop.since + machine.config.term_at(id);
        if late || !machine.is_listening(id) {
            return;
        }
        assert!(self.now >= stop.drain_at, "asked within the delay: {self:#?}");
        for (other, plan) in machine.config.services.iter().enumerate() {
            let gone = machine.services[other].stage == Stage::Gone;
            let binds = plan.after.contains(&id) && machine.is_listening(ServiceId(other));
            assert!(gone || !binds, "out of order: {self:#?}");
        }
    }

    /// Every event that may come now.
    fn events(&self, sorts: &[Sort]) -> Vec<Event> {
        let machine = &self.machine;
        let mut events = vec![
            Event::StopRequested(Signal::TERM),
            Event::Interrupted,
            Event::ReloadRequested,
        ];
        for (id, service) in machine.each() {
            if service.main == Main::Running {
                events.push(Event::Exited(id, Status::Exited(0)));
                // What an order to spawn leads to at once.
                if matches!(service.stage, Stage::Starting { .. }) && service.refusals < 2 {
                    events.extend([Event::SpawnRefused(id), Event::SpawnFailed(id)]);
                }
            }
        }
        for condition in machine.awaits() {
            match condition {
                Condition::Listens(id) => {
                    let listens = match sorts[id.0] {
                        Sort::Worker => &[Listens::No][..],
                        Sort::App => &[Listens::Yes],
                        Sort::Web | Sort::Fpm => &[Listens::Yes, Listens::Unknown],
                    };
                    events.extend(listens.iter().map(|listens| Event::Listens(id, *listens)));
                }
                Condition::AskedGone(scope) => {
                    events.extend([Event::AskedGone(scope), Event::AskRefused(scope)]);
                }
                Condition::Remains(scope) => {
                    let (web, fpm) = match scope {
                        Scope::Service(id) => (sorts[id.0] == Sort::Web, sorts[id.0] == Sort::Fpm),
                        Scope::Rest => (true, true),
                    };
                    for other in [false, true] {
                        for preset in [false, true] {
                            let remains =
                                Remains { web: web && preset, fpm: fpm && preset, other };
                            events.push(Event::Remains(scope, remains));
                        }
                    }
                }
                Condition::Flushed => {
                    events.extend([Event::Unsent(Unsent::None), Event::Unsent(Unsent::Shrunk)]);
                }
            }
        }
        events
    }
}

/// Returns how many states there are.
fn explore(sorts: &[Sort], order: Order, delay: Duration, limit: usize) -> usize {
    let services = sorts.iter().enumerate().map(|(index, sort)| {
        let (stop, ready) = match sort {
            Sort::Web | Sort::Fpm => (Signal::QUIT, Readiness::Listen),
            Sort::App | Sort::Worker => (Signal::TERM, Readiness::None),
        };
        let after = match order {
            Order::Chain => (0..index).map(ServiceId).collect(),
            Order::Free => Vec::new(),
        };
        service("", stop, ready, after)
    });
    let config = config(services.collect(), delay, Duration::from_secs(10));
    let hashers = [RandomState::new(), RandomState::new()];
    let first = World {
        machine: Machine::new(config),
        now: Timestamp::default(),
        seen: vec![Seen::default(); sorts.len() + 1],
    };
    let first = first.after(Timestamp::default(), Event::Tick, sorts);
    let mut known = HashSet::from([first.fingerprint(&hashers)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let ticks = world.machine.deadline().into_iter().flat_map(|deadline| {
            let just_before = Timestamp(deadline.0.saturating_sub(Duration::from_nanos(1)));
            [just_before, deadline, deadline + Duration::from_secs(100)]
        });
        let ticks = ticks.filter(|at| *at >= world.now).map(|at| (at, Event::Tick));
        let told = world.events(sorts).into_iter().map(|event| (world.now, event));
        for (at, event) in ticks.chain(told) {
            let next = world.after(at, event, sorts);
            if next.machine.phase != Phase::Over && known.insert(next.fingerprint(&hashers)) {
                assert!(known.len() < limit, "more than {limit} states: {sorts:?} {order:?}");
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

#[test]
fn one_and_two_services() {
    let mut states = 0;
    for services in [1, 2] {
        for sorts in configurations(services) {
            for order in [Order::Chain, Order::Free] {
                for delay in [0, 2] {
                    let count = explore(&sorts, order, Duration::from_secs(delay), 2_000_000);
                    println!("{sorts:?} {order:?} {delay}: {count}");
                    states += count;
                }
            }
        }
    }
    println!("{states} states");
    assert!(states > 1000, "the search found next to nothing");
}
