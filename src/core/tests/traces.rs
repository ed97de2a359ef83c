//! Policy as traces: what happens, and what is said and done about it, text in
//! and text out. The first is the timeline of the README.
//!
//! A script begins with a line that sets the times, then one for each service:
//! its name and what it is: `web`, `fpm`, `app` (listens and is no preset),
//! `worker` (doesn't listen), `wrapper` (a script around an nginx), `deaf` or
//! `unseen` (an nginx that doesn't listen, or of which that can't be seen), or
//! `script` (a shell that runs something), `oneshot`. Behind that may stand when it is
//! started again: `always` or `on-failure`, with another `limit` or code of `success`
//! than by default, and that it is `inessential`; that it is `disabled`; its
//! `stop-timeout`; and what it is `after`, if that was given.
//! Then one line for each thing that happens, with its time in seconds after
//! the start. Between the lines the harness plays the shell: it answers what
//! the core awaits from a small world of processes, and keeps its deadlines.

use std::fmt::Write as _;

use super::explore::plan;
use super::*;
use crate::core::event::{Arrivals, Attendance, Busy, Layer, StopRequest};
use crate::core::plan::{Restart, ServicePlan};
use crate::report::exit;
use crate::report::logger::LogFormat;
use crate::report::record::Record;
use crate::report::text::{self, Line, Whom};
use crate::signal::Signal;
use crate::status::{Failure, Status};

/// What a process is to a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Web,
    /// With its workers.
    Fpm,
    Shell,
    Other,
}

/// A process.
#[derive(Clone, Copy, Debug)]
struct Proc {
    is: Is,
    was_asked: bool,
    had_term: bool,
}

impl Proc {
    fn new(is: Is) -> Self {
        Self {
            is,
            was_asked: false,
            had_term: false,
        }
    }

    fn ask(&mut self, signal: Signal) {
        self.was_asked = true;
        self.had_term |= signal == Signal::TERM;
    }
}

/// A service's processes.
#[derive(Debug)]
struct Tree {
    listens: Listens,
    main: Option<Proc>,
    /// What it is when it is started.
    main_is: Is,
    /// What else belongs to it.
    others: Vec<Proc>,
    workers_are_busy: bool,
    attendance: Attendance,
    /// When its workers were asked, if even idle ones take 150 ms to go.
    slow_since: Option<Timestamp>,
    clients_are_silent: bool,
    /// Who sends to it.
    busy: Option<Busy>,
}

/// What is said of a service, and how its main process is stopped.
struct Said {
    name: String,
    is_preset: bool,
    stop: Signal,
}

pub(super) struct Play {
    pub(super) machine: Machine,
    record: Record,
    services: Vec<Said>,
    now: Timestamp,
    trees: Vec<Tree>,
    /// Below us, but no service's.
    orphans: Vec<Proc>,
    unsent: Option<Unsent>,
    /// How many things have come since that was looked at.
    arrived: usize,
    /// When the next thing comes, and how often one does.
    traffic: Option<(Timestamp, Duration)>,
    /// It can't be seen whether anything comes.
    is_blind: bool,
    /// Whose programs were executed, which is told at once.
    executed: Vec<ServiceId>,
    said: String,
    report: String,
}

impl Play {
    fn say(&mut self, who: &str, what: &str) {
        let zero = self.machine.stopping_since().unwrap_or_default();
        let line = Line::render(self.now.since(zero), who, what);
        let _ = writeln!(self.said, "{}", line.trim_end());
    }

    fn name(&self, scope: Scope) -> String {
        match scope {
            Scope::Service(id) => self.services[id.0].name.clone(),
            Scope::Rest => "orphans".to_owned(),
        }
    }

    /// Returns whether anything was ordered.
    fn tell(&mut self, event: Event) -> bool {
        let line = self.record.event(self.now, &event);
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        if let Some(line) = line {
            self.say(&line.who, &line.what);
        }
        let ordered = !actions.is_empty();
        for action in actions {
            let line = match action {
                Action::Do(order) => self.record.order(self.now, order),
                Action::Note(notice) => self.record.notice(self.now, notice),
            };
            if let Some(line) = line {
                self.say(&line.who, &line.what);
            }
            match action {
                Action::Do(order) => self.perform(order),
                Action::Note(Notice::PresumedReady(id)) => {
                    self.say(&self.name(Scope::Service(id)), "counts as ready");
                }
                Action::Note(_) => {}
            }
        }
        ordered
    }

    /// Whether any was executed.
    fn tell_executed(&mut self) -> bool {
        let executed = std::mem::take(&mut self.executed);
        let any = !executed.is_empty();
        for id in executed {
            self.tell(Event::Executed(id));
        }
        any
    }

    fn perform(&mut self, order: Order) {
        match order {
            Order::Spawn(id) => {
                let tree = &mut self.trees[id.0];
                tree.main = Some(Proc::new(tree.main_is));
                self.say(&self.name(Scope::Service(id)), "started");
                self.executed.push(id);
            }
            Order::Reload(id) => self.say(&self.name(Scope::Service(id)), "reload"),
            Order::Reopen(id) => self.say(&self.name(Scope::Service(id)), "reopen"),
            Order::Forward(id, signal) => {
                self.say(&self.name(Scope::Service(id)), &format!("<- {signal}"));
            }
            Order::Release(scope) => self.say(&self.name(scope), "released"),
            Order::Ask(scope, layer) => self.ask(scope, layer),
            Order::Force(scope, force) => self.force(scope, force),
            // Of a hold the end is what is seen.
            Order::Hold(_) | Order::MakeMarker | Order::Dismiss(_) => {}
            Order::Exit => {
                let report = self.record.report(self.now, LogFormat::Text);
                let zero = self.machine.stopping_since().unwrap_or_default();
                self.report = Line::render(self.now.since(zero), "report", &report);
                self.say("drainit", &format!("exits {}", exit::code(&self.record)));
            }
        }
    }

    fn ask(&mut self, scope: Scope, layer: Layer) {
        let asked = |play: &mut Self, whom: Whom, signal: Signal| {
            play.record.sent(scope, signal);
            play.say(&play.name(scope), &text::asked(whom, signal));
        };
        let is_asked = |is: Is| match layer {
            Layer::Web => is == Is::Web,
            Layer::Masters => is == Is::Fpm,
            Layer::Workers | Layer::Main => false,
        };
        let mut main_signal = None;
        if let (Layer::Main | Layer::Workers, Scope::Service(id)) = (layer, scope) {
            let tree = &mut self.trees[id.0];
            tree.slow_since = tree.slow_since.map(|_| self.now);
            main_signal = tree.main.map(|main| (main.is, self.services[id.0].stop));
        }
        match (layer, main_signal) {
            (Layer::Workers, _) => asked(self, Whom::Layer(layer), Signal::QUIT),
            (Layer::Web | Layer::Masters, _) => {
                for process in self.processes_mut(scope).filter(|it| is_asked(it.is)) {
                    process.ask(Signal::QUIT);
                }
                asked(self, Whom::Layer(layer), Signal::QUIT);
            }
            (Layer::Main, Some((is, signal))) => {
                if let Some(main) = self.processes_mut(scope).next() {
                    main.ask(signal);
                }
                asked(self, Whom::Layer(layer), signal);
                if is == Is::Shell {
                    for below in self.processes_mut(scope).filter(|it| it.is == Is::Other) {
                        below.ask(Signal::TERM);
                    }
                    asked(self, Whom::Below, Signal::TERM);
                }
            }
            (Layer::Main, None) => {
                for process in self.processes_mut(scope).filter(|it| !it.was_asked) {
                    process.ask(Signal::TERM);
                }
                let whom = match scope {
                    Scope::Service(_) => Whom::Leftovers,
                    Scope::Rest => Whom::Layer(layer),
                };
                asked(self, whom, Signal::TERM);
            }
        }
    }

    fn force(&mut self, scope: Scope, force: Force) {
        let mut reached = false;
        for process in self.processes_mut(scope) {
            reached |= force == Force::Kill || !process.had_term;
            process.had_term = true;
        }
        if !reached {
            return;
        }
        let signal = match force {
            Force::Term => Signal::TERM,
            Force::Kill => Signal::KILL,
        };
        self.record.sent(scope, signal);
        self.record.forced(self.now, scope, force, None);
        self.say(&self.name(scope), &text::forced(force, None));
    }

    fn processes(&self, scope: Scope) -> Vec<Proc> {
        match scope {
            Scope::Rest => self.orphans.clone(),
            Scope::Service(id) => {
                let tree = &self.trees[id.0];
                // A lone service is all that runs.
                let orphans = if self.trees.len() == 1 {
                    self.orphans.as_slice()
                } else {
                    &[]
                };
                tree.main
                    .iter()
                    .chain(&tree.others)
                    .chain(orphans)
                    .copied()
                    .collect()
            }
        }
    }

    /// The main process first.
    fn processes_mut(&mut self, scope: Scope) -> impl Iterator<Item = &mut Proc> {
        let is_alone = self.trees.len() == 1;
        let (tree, orphans) = match scope {
            Scope::Rest => (None, Some(&mut self.orphans)),
            Scope::Service(id) => (
                self.trees.get_mut(id.0),
                Some(&mut self.orphans).filter(|_| is_alone),
            ),
        };
        let tree = tree.map(|tree| tree.main.iter_mut().chain(&mut tree.others));
        tree.into_iter()
            .flatten()
            .chain(orphans.into_iter().flatten())
    }

    fn remains(&self, scope: Scope) -> Remains {
        let processes = self.processes(scope);
        let has = |is: Is| processes.iter().any(|it| it.is == is);
        let has_unasked = |is: Is| processes.iter().any(|it| it.is == is && !it.was_asked);
        Remains {
            any: !processes.is_empty(),
            web: has_unasked(Is::Web),
            workers: has(Is::Fpm),
            masters: has_unasked(Is::Fpm),
            other: has_unasked(Is::Other) || has_unasked(Is::Shell),
            attendance: match scope {
                Scope::Service(id) => self.trees[id.0].attendance,
                Scope::Rest => Attendance::Nobody,
            },
        }
    }

    /// Answers what the core awaits, until it awaits what isn't so yet.
    fn settle(&mut self) {
        let mut looked_at = Vec::new();
        let mut looks = 0;
        while self.tell_executed() {}
        while let Some(condition) = self
            .machine
            .awaits()
            .into_iter()
            .find(|condition| !looked_at.contains(condition))
        {
            let event = match condition {
                Condition::Sight(id) => {
                    let starting = self.machine.stop.is_none();
                    let tree = &self.trees[id.0];
                    let processes = self.processes(Scope::Service(id));
                    let has = |is: Is| processes.iter().any(|it| it.is == is);
                    let runs = [(Is::Web, Kind::Web), (Is::Fpm, Kind::Fpm)]
                        .into_iter()
                        .find_map(|(is, kind)| has(is).then_some(kind));
                    let listens = tree.listens;
                    let sight = Sight { listens, runs };
                    (!starting || listens != Listens::No).then_some(Event::Seen(id, sight))
                }
                Condition::Remains(scope) => Some(Event::Remains(scope, self.remains(scope))),
                Condition::AskedGone(scope) => {
                    self.asked_gone(scope).then_some(Event::AskedGone(scope))
                }
                Condition::Silent(Scope::Service(id)) => {
                    let silent = self.trees[id.0].clients_are_silent;
                    silent.then_some(Event::Silent(Scope::Service(id)))
                }
                Condition::Silent(Scope::Rest) => None,
                Condition::Quiet(id) => self.trees[id.0].busy.map(|busy| Event::Busy(id, busy)),
                Condition::Arrivals => self.arrivals().map(Event::Arrived),
                Condition::Flushed => {
                    Some(Event::Unsent(Unsent::None)).filter(|_| self.unsent.is_none())
                }
            };
            looks += 1;
            assert!(
                looks < 1000,
                "the core goes round in circles:\n{}",
                self.said
            );
            looked_at.push(condition);
            let before = self.machine.awaits();
            let ordered = event.is_some_and(|event| self.tell(event));
            while self.tell_executed() {}
            if ordered || self.machine.awaits() != before {
                looked_at.clear();
            }
        }
    }

    fn arrivals(&mut self) -> Option<Arrivals> {
        match std::mem::take(&mut self.arrived) {
            _ if self.is_blind => Some(Arrivals::Unknown),
            0 => None,
            1 => Some(Arrivals::One),
            _ => Some(Arrivals::Many),
        }
    }

    fn asked_gone(&self, scope: Scope) -> bool {
        let drain = match scope {
            Scope::Service(id) => self.machine.services[id.0].drain,
            Scope::Rest => self.machine.rest,
        };
        let processes = self.processes(scope);
        let has = |is: Is| processes.iter().any(|it| it.is == is && it.was_asked);
        match drain.step {
            Step::Workers { .. } => match scope {
                Scope::Service(id) => {
                    let tree = &self.trees[id.0];
                    let slow = |since| self.now < since + Duration::from_millis(150);
                    !tree.workers_are_busy && !tree.slow_since.is_some_and(slow)
                }
                Scope::Rest => true,
            },
            Step::Web(_) => !has(Is::Web),
            Step::Masters => !has(Is::Fpm),
            Step::Looking { .. } | Step::Quieting { .. } | Step::Queued | Step::Main => false,
        }
    }

    /// Lets time pass, and the deadlines on the way, and what comes.
    fn advance(&mut self, to: Timestamp) {
        while let Some(deadline) = self.machine.deadline() {
            if let Some((next, period)) = self.traffic.filter(|it| it.0 <= deadline.min(to)) {
                self.traffic = Some((next + period, period));
                self.arrived += 1;
                self.now = next;
                self.settle();
                continue;
            }
            if deadline > to {
                break;
            }
            self.now = deadline;
            // As the shell does: what keeps a service busy is looked for first.
            self.settle();
            self.tell(Event::Tick);
            self.settle();
        }
        self.now = to;
    }

    fn id(&self, name: &str) -> ServiceId {
        let index = self
            .services
            .iter()
            .position(|service| service.name == name);
        ServiceId(index.unwrap_or_else(|| panic!("no service {name}")))
    }

    /// What somebody asks for, as a line of the script says it.
    fn request(&self, words: &[&str]) -> Option<Event> {
        let on = |command, name| Some(Event::Commanded(self.id(name), command));
        match *words {
            ["SIGINT"] => Some(Event::Interrupted),
            ["SIGHUP"] => Some(Event::ReloadRequested),
            ["SIGUSR1"] => Some(Event::ReopenRequested),
            ["SIGUSR2"] => Some(Event::Signalled("USR2".parse().unwrap())),
            ["drain"] => Some(Event::StopRequested(StopRequest::Command)),
            [signal] => {
                let request = StopRequest::Signal(signal.parse().unwrap());
                Some(Event::StopRequested(request))
            }
            ["start", name] => on(Command::Start, name),
            ["stop", name] => on(Command::Stop, name),
            ["restart", name] => on(Command::Restart, name),
            ["reload", name] => on(Command::Reload, name),
            ["reopen", name] => on(Command::Reopen, name),
            ["health", "asked"] => Some(Event::HealthAsked),
            _ => None,
        }
    }

    /// One line of the script, without its time.
    fn happens(&mut self, words: &[&str]) {
        if let Some(event) = self.request(words) {
            self.tell(event);
            return;
        }
        match *words {
            ["nothing", "happens"] => {}
            ["machine", "pauses", "until", end] => {
                self.now = Timestamp(seconds(end));
                self.settle();
                self.tell(Event::Tick);
            }
            ["unsent", "shrinks"] => {
                self.unsent = Some(Unsent::Shrunk);
                self.tell(Event::Unsent(Unsent::Shrunk));
            }
            ["all", "was", "sent"] => self.unsent = None,
            ["request" | "requests", ref what @ ..] => self.requests(what),
            ["orphan", what, verb] => {
                let what = kind(what);
                match verb {
                    "appears" => self.orphans.push(Proc::new(what)),
                    _ => self.orphans.retain(|orphan| orphan.is != what),
                }
            }
            [name, "can't", "be", "executed"] => {
                let id = self.id(name);
                self.trees[id.0].main = None;
                self.record.start_failed(id, Failure::NotExecutable);
                self.tell(Event::SpawnFailed(id));
            }
            [name, "clients", "silent"] => {
                let id = self.id(name);
                self.trees[id.0].clients_are_silent = true;
            }
            [name, "busy", "by", what] => {
                let id = self.id(name);
                self.trees[id.0].busy = match what {
                    "nobody" => None,
                    "workers" => Some(Busy::Workers),
                    "clients" => Some(Busy::Clients(80)),
                    _ => panic!("busy by {what}?"),
                };
            }
            [name, "is", "refused"] => {
                let id = self.id(name);
                self.tell(Event::SpawnRefused(id));
            }
            [name, "listens"] => {
                let id = self.id(name);
                self.trees[id.0].listens = Listens::Yes;
            }
            [name, "has", what] => {
                let id = self.id(name);
                self.trees[id.0].others.push(Proc::new(kind(what)));
            }
            [name, "loses", what] => {
                let id = self.id(name);
                let what = kind(what);
                self.trees[id.0].others.retain(|other| other.is != what);
            }
            [name, "workers", "busy"] => {
                let id = self.id(name);
                self.trees[id.0].workers_are_busy = true;
                self.trees[id.0].attendance = Attendance::Connected;
            }
            // After fastcgi_finish_request() they work on for nobody.
            [name, "workers", "finish"] => {
                let id = self.id(name);
                self.trees[id.0].workers_are_busy = true;
            }
            [name, "workers", "slow"] => {
                let id = self.id(name);
                self.trees[id.0].slow_since = Some(self.now);
                self.trees[id.0].attendance = Attendance::Unknown;
            }
            [name, "workers", "idle"] => {
                let id = self.id(name);
                self.trees[id.0].workers_are_busy = false;
                self.trees[id.0].attendance = Attendance::Nobody;
            }
            [name, "requests", "queued"] => {
                let id = self.id(name);
                self.trees[id.0].attendance = Attendance::Queued;
            }
            [name, "workers", "go"] => {
                let id = self.id(name);
                self.tell(Event::AskedFewer(Scope::Service(id)));
            }
            [name, "workers", "refuse"] => {
                let id = self.id(name);
                self.tell(Event::AskRefused(Scope::Service(id)));
            }
            [name, "exits", code] => self.ends(name, Status::Exited(code.parse().unwrap())),
            [name, "dies", "of", signal] => {
                self.ends(name, Status::Killed(signal.parse().unwrap()));
            }
            _ => panic!("what does {words:?} mean?"),
        }
    }

    fn requests(&mut self, what: &[&str]) {
        match *what {
            ["comes"] => self.arrived += 1,
            ["come"] => self.arrived += 2,
            ["come", "each", period] => self.traffic = Some((self.now, seconds(period))),
            ["end"] => self.traffic = None,
            ["unseen"] => self.is_blind = true,
            _ => panic!("requests {what:?}?"),
        }
    }

    fn ends(&mut self, name: &str, status: Status) {
        let id = self.id(name);
        self.trees[id.0].main = None;
        self.tell(Event::Exited(id, status));
    }
}

fn kind(word: &str) -> Is {
    match word {
        "web" => Is::Web,
        "fpm" => Is::Fpm,
        "shell" => Is::Shell,
        _ => Is::Other,
    }
}

fn seconds(word: &str) -> Duration {
    Duration::from_secs_f64(word.parse().unwrap())
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
}

fn play(script: &str) -> Play {
    let mut play = play_until_the_end_of(script);
    play.advance(Timestamp(Duration::from_secs(3600)));
    play
}

/// What happens when that service ends unasked.
fn with_policy(words: &[&str]) -> ServicePlan {
    let mut plan = ServicePlan::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().parse().unwrap();
        match *word {
            "always" => plan.restart = Restart::Always,
            "on-failure" => plan.restart = Restart::OnFailure,
            "limit" => plan.restart_limit = number(),
            "success" => plan.success.push(u8::try_from(number()).unwrap()),
            "inessential" => plan.essential = false,
            "disabled" => plan.is_enabled = false,
            "stop-timeout" => plan.stop_timeout = Some(seconds(words.next().unwrap())),
            // Those that it names are looked up by the caller.
            "after" => {
                plan.binding = Binding::Always;
                words.next();
            }
            other => panic!("what is {other}?"),
        }
    }
    plan
}

/// Without what becomes of it all.
pub(super) fn play_until_the_end_of(script: &str) -> Play {
    let mut script = lines(script).peekable();
    let range = |delay: &str| {
        let (min, max) = delay.split_once("..").unwrap_or((delay, delay));
        let (min, max) = (seconds(min), seconds(max));
        Delay { min, max }
    };
    let (delay, grace, start) = match script.next().as_deref() {
        Some(["delay", delay, "grace", grace]) => (range(delay), seconds(grace), None),
        Some(["delay", delay, "grace", grace, "start", start]) => {
            (range(delay), seconds(grace), Some(seconds(start)))
        }
        other => panic!("the first line sets delay and grace, not {other:?}"),
    };
    let mut plans = Vec::new();
    let mut services: Vec<Said> = Vec::new();
    let mut trees = Vec::new();
    while let Some(words) = script.next_if(|words| words[0].parse::<f64>().is_err()) {
        let [name, sort, policy @ ..] = words.as_slice() else {
            panic!("what is {words:?}?")
        };
        let (main, listens, stop, ready) = match *sort {
            "web" => (Is::Web, Listens::Yes, Signal::QUIT, Readiness::Listen),
            "fpm" => (Is::Fpm, Listens::Yes, Signal::QUIT, Readiness::Listen),
            "unseen" => (Is::Web, Listens::Unknown, Signal::QUIT, Readiness::Listen),
            "deaf" => (Is::Web, Listens::No, Signal::QUIT, Readiness::Listen),
            "wrapper" => (Is::Other, Listens::Yes, Signal::TERM, Readiness::Listen),
            "app" => (Is::Other, Listens::Yes, Signal::TERM, Readiness::None),
            "worker" => (Is::Other, Listens::No, Signal::TERM, Readiness::None),
            "script" => (Is::Shell, Listens::Yes, Signal::TERM, Readiness::None),
            "oneshot" => (Is::Other, Listens::No, Signal::TERM, Readiness::Success),
            other => panic!("what is a {other}?"),
        };
        let given = policy.iter().position(|word| *word == "after");
        let after = match given.map(|at| policy[at + 1]) {
            Some(names) => {
                let at = |name: &str| services.iter().position(|it| it.name == name);
                names.split(',').filter_map(at).map(ServiceId).collect()
            }
            None => (0..services.len()).map(ServiceId).collect(),
        };
        plans.push(ServicePlan {
            after,
            ready,
            start_timeout: start,
            is_web: ready == Readiness::Listen && main != Is::Fpm,
            ..with_policy(policy)
        });
        services.push(Said {
            name: (*name).to_owned(),
            is_preset: ready == Readiness::Listen,
            stop,
        });
        trees.push(Tree {
            listens,
            main: None,
            main_is: main,
            others: if *sort == "wrapper" {
                vec![Proc::new(Is::Web)]
            } else {
                Vec::new()
            },
            workers_are_busy: false,
            attendance: Attendance::Nobody,
            slow_since: None,
            clients_are_silent: false,
            busy: None,
        });
    }
    let said = services.iter().map(|it| (it.name.as_str(), it.is_preset));
    let machine = Machine::new(plan(plans, delay, grace));
    let mut play = Play {
        record: Record::new(said, machine.rules.plan.quiet, Vec::new()),
        machine,
        services,
        now: Timestamp::default(),
        trees,
        orphans: Vec::new(),
        unsent: None,
        arrived: 0,
        traffic: None,
        is_blind: false,
        executed: Vec::new(),
        said: String::new(),
        report: String::new(),
    };
    play.tell(Event::Tick);
    play.settle();
    for words in script {
        play.advance(Timestamp(seconds(words[0])));
        play.happens(&words[1..]);
        play.settle();
    }
    play
}

/// What the script leads to, line by line.
#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    let said = play(script).said;
    let trim = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let said = trim(&said);
    let expected = trim(expected);
    assert_eq!(said, expected, "\n{}", said.join("\n"));
}

#[test]
fn the_readme_shows_a_stop_as_it_is() {
    let play = play(A_STOP_REQUEST);
    let lines = play
        .said
        .lines()
        .skip_while(|line| !line.contains("SIGTERM"));
    let block: Vec<String> = lines
        .filter(|line| !line.contains("exits"))
        .chain([play.report.as_str()])
        .map(|line| format!("drainit: {line}"))
        .collect();
    let block = block.join("\n");
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&block), "README.md should show:\n{block}");
}

const A_STOP_REQUEST: &str = "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0.0 SIGTERM
    7.2 nginx exits 0
    7.3 php-fpm exits 0
    ";

#[test]
fn a_stop_request() {
    check(
        A_STOP_REQUEST,
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        7.2 s  nginx     exited 0
        7.2 s  php-fpm   workers <- SIGQUIT
        7.2 s  php-fpm   master <- SIGQUIT
        7.3 s  php-fpm   exited 0
        7.3 s  drainit   exits 0
        ",
    );
}

/// Runtimes repeat their stop signal; that is no sign of impatience.
#[test]
fn a_repeated_stop_request_changes_nothing() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 SIGTERM
    2 SIGQUIT
    3 SIGTERM
    7 nginx exits 0
    8 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  SIGQUIT   stopping already
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        7.0 s  php-fpm   exited 0
        7.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn an_interrupt_has_no_delay() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 SIGINT
    1.2 nginx exits 0
    1.3 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGINT    draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        0.2 s  nginx     exited 0
        0.2 s  php-fpm   workers <- SIGQUIT
        0.2 s  php-fpm   master <- SIGQUIT
        0.3 s  php-fpm   exited 0
        0.3 s  drainit   exits 0
        ",
    );
}

#[test]
fn an_interrupt_ends_the_lame_duck() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 SIGTERM
    2 SIGINT
    2.2 nginx exits 0
    2.3 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  SIGINT    hurrying
        1.0 s  nginx     <- SIGQUIT
        1.2 s  nginx     exited 0
        1.2 s  php-fpm   workers <- SIGQUIT
        1.2 s  php-fpm   master <- SIGQUIT
        1.3 s  php-fpm   exited 0
        1.3 s  drainit   exits 0
        ",
    );
}

/// One within 300 ms of the last step is the same key press.
#[test]
fn further_interrupts_go_step_by_step() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 SIGINT
    1.2 SIGINT
    2 SIGINT
    2.1 SIGINT
    2.3 SIGINT
    3.1 nginx dies of KILL
    3.2 php-fpm dies of KILL
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGINT    draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        0.2 s  SIGINT    hurrying
        1.0 s  SIGINT    hurrying
        1.0 s  nginx     <- SIGTERM, forced
        1.1 s  SIGINT    hurrying
        1.3 s  SIGINT    hurrying
        1.3 s  nginx     <- SIGKILL, forced
        2.1 s  nginx     killed by SIGKILL
        2.1 s  php-fpm   workers <- SIGQUIT
        2.1 s  php-fpm   <- SIGTERM, forced
        2.1 s  php-fpm   <- SIGKILL, forced
        2.1 s  php-fpm   master <- SIGQUIT
        2.2 s  php-fpm   killed by SIGKILL
        2.2 s  drainit   exits 137
        ",
    );
}

#[test]
fn a_stuck_nginx_leaves_php_fpm_time_to_drain() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    27.1 nginx exits 0
    27.5 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        27.0 s  nginx     <- SIGTERM, forced
        27.1 s  nginx     exited 0
        27.1 s  php-fpm   workers <- SIGQUIT
        27.1 s  php-fpm   master <- SIGQUIT
        27.5 s  php-fpm   exited 0
        27.5 s  drainit   exits 143
        ",
    );
}

/// And who survives even that is left to the kernel.
#[test]
fn who_ignores_everything_is_killed() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    29.1 nginx dies of KILL
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        27.0 s  nginx     <- SIGTERM, forced
        28.0 s  php-fpm   workers <- SIGQUIT
        28.0 s  php-fpm   master <- SIGQUIT
        28.5 s  php-fpm   <- SIGTERM, forced
        29.0 s  php-fpm   <- SIGKILL, forced
        29.0 s  nginx     <- SIGKILL, forced
        29.1 s  nginx     killed by SIGKILL
        29.5 s  drainit   exits 137
        ",
    );
}

/// The master replaces those that went; it is asked when a round found none busy.
#[test]
fn busy_workers_are_asked_in_rounds() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    5.1 php-fpm workers busy
    6 nginx exits 0
    8 php-fpm workers idle
    8.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        8.0 s  php-fpm   workers <- SIGQUIT
        8.0 s  php-fpm   master <- SIGQUIT
        8.1 s  php-fpm   exited 0
        8.1 s  drainit   exits 0
        ",
    );
}

/// Each round may take twice as long as the one before, or there would be no
/// end of asking.
#[test]
fn workers_of_a_slow_machine_are_believed_to_be_idle_in_time() {
    check(
        "
        delay 5 grace 30
        php-fpm fpm
        nginx web
        0 SIGTERM
        5.1 php-fpm workers slow
        6 nginx exits 0
        6.15 nothing happens
        6.3 nothing happens
        7 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.2 s  php-fpm   workers <- SIGQUIT
        6.3 s  php-fpm   master <- SIGQUIT
        7.0 s  php-fpm   exited 0
        7.0 s  drainit   exits 0
        ",
    );
}

/// What comes after `fastcgi_finish_request()` shows on no socket. Meanwhile the
/// masters empty no pipe: not for long.
#[test]
fn masters_are_held_while_idle_workers_go() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    5.1 php-fpm workers finish
    6 nginx exits 0
    6.8 php-fpm workers go
    9 php-fpm workers idle
    9.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        7.8 s  php-fpm   released
        9.0 s  php-fpm   master <- SIGQUIT
        9.1 s  php-fpm   exited 0
        9.1 s  drainit   exits 0
        ",
    );
}

/// Who waits to be accepted would be answered with 502.
#[test]
fn queued_requests_are_taken_first() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    5.1 php-fpm requests queued
    6 nginx exits 0
    7 php-fpm workers idle
    7.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        7.0 s  php-fpm   workers <- SIGQUIT
        7.0 s  php-fpm   master <- SIGQUIT
        7.1 s  php-fpm   exited 0
        7.1 s  drainit   exits 0
        ",
    );
}

#[test]
fn workers_that_may_not_be_signalled_leave_the_master() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    5.1 php-fpm workers busy
    6 nginx exits 0
    6 php-fpm workers refuse
    6.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   its workers may not be signalled: only the master is asked, and it may not be able to end them either
        6.0 s  php-fpm   master <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  drainit   exits 0
        ",
    );
}

/// A bash that runs nginx without exec ignores QUIT, and would die of TERM at once.
#[test]
fn a_wrapper_is_asked_when_its_nginx_has_gone() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx wrapper
    0 SIGTERM
    6 nginx loses web
    6.1 nginx dies of TERM
    6.2 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     <- SIGTERM
        6.1 s  nginx     killed by SIGTERM
        6.1 s  php-fpm   workers <- SIGQUIT
        6.1 s  php-fpm   master <- SIGQUIT
        6.2 s  php-fpm   exited 0
        6.2 s  drainit   exits 0
        ",
    );
}

/// `sh -c "php-fpm -D; nginx -g 'daemon off;'"`: all that runs is the one command's.
#[test]
fn a_script_that_left_php_fpm_behind_loses_nothing() {
    check(
        "
    delay 5 grace 30
    sh app
    0 sh has web
    0 orphan fpm appears
    0 SIGTERM
    6 sh loses web
    6.1 orphan fpm goes
    6.2 sh dies of TERM
    ",
        "
        0.0 s  sh        started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  sh        <- SIGQUIT
        6.0 s  sh        workers <- SIGQUIT
        6.0 s  sh        master <- SIGQUIT
        6.1 s  sh        <- SIGTERM
        6.2 s  sh        killed by SIGTERM
        6.2 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_does_not_listen_ends_at_once_and_holds_nobody_up() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    queue worker
    0 SIGTERM
    0.1 queue dies of TERM
    6 nginx exits 0
    6.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.1 s  queue     killed by SIGTERM
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_worker_that_fails_shows_in_the_exit_code() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    queue worker
    0 SIGTERM
    0.1 queue exits 3
    6 nginx exits 0
    6.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.1 s  queue     exited 3
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  drainit   exits 3
        ",
    );
}

/// Its workers serve on, and hold the port.
#[test]
fn what_a_killed_master_left_is_drained_at_its_turn() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 php-fpm has fpm
    1 php-fpm dies of KILL
    2 nginx exits 0
    2.1 php-fpm loses fpm
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  php-fpm   killed by SIGKILL
        0.0 s  php-fpm   ended unasked
        0.0 s  nginx     <- SIGQUIT
        1.0 s  nginx     exited 0
        1.0 s  php-fpm   workers <- SIGQUIT
        1.0 s  php-fpm   master <- SIGQUIT
        1.1 s  drainit   exits 137
        ",
    );
}

#[test]
fn a_crash_in_the_lame_duck_does_not_end_it() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 SIGTERM
    1 nginx dies of SEGV
    6 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  nginx     killed by SIGSEGV
        1.0 s  nginx     ended by itself
        5.0 s  php-fpm   waits until nobody sends to it
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 139
        ",
    );
}

#[test]
fn who_ends_before_it_is_ready_stops_all() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx deaf
    1 nginx exits 1
    1.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  nginx     exited 1
        0.0 s  nginx     ended after 1.0 s, before it was ready; stopping
        0.0 s  php-fpm   workers <- SIGQUIT
        0.0 s  php-fpm   master <- SIGQUIT
        0.1 s  php-fpm   exited 0
        0.1 s  drainit   exits 1
        ",
    );
}

#[test]
fn who_ends_before_it_is_ready_at_a_stop_has_not_failed_to_start() {
    check(
        "
    delay 5 grace 30
    nginx unseen
    0.5 SIGTERM
    0.6 nginx exits 3
    ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.1 s  nginx     exited 3
        0.1 s  nginx     ended by itself
        0.1 s  drainit   exits 3
        ",
    );
}

/// A migration in an entrypoint must not be killed: the runtime has its probes.
#[test]
fn a_start_has_no_end() {
    check(
        "
    delay 5 grace 30
    php-fpm deaf
    nginx web
    70 php-fpm listens
    71 SIGTERM
    77 nginx exits 0
    77 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        30.0 s  php-fpm   not ready after 30.0 s: others wait for it
        60.0 s  php-fpm   not ready after 60.0 s: others wait for it
        70.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_is_not_ready_in_the_time_given_stops_all() {
    check(
        "
    delay 5 grace 30 start 20
    php-fpm deaf
    nginx web
    21 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  php-fpm   was not ready after 20.0 s; stopping
        0.0 s  php-fpm   <- SIGQUIT
        1.0 s  php-fpm   exited 0
        1.0 s  drainit   exits 1
        ",
    );
}

/// Unless a start timeout is given.
#[test]
fn nobody_waits_for_the_last_service() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx deaf
    40 SIGTERM
    40.1 nginx exits 0
    46 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  nginx     <- SIGQUIT
        0.1 s  nginx     exited 0
        5.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   master <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_can_not_be_looked_into_counts_as_ready_after_a_second() {
    check(
        "
    delay 5 grace 30
    php-fpm unseen
    nginx web
    2 SIGTERM
    8 nginx exits 0
    8.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        1.0 s  php-fpm   counts as ready
        1.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  drainit   exits 0
        ",
    );
}

/// As with gosu: no longer root, and not listening yet.
#[test]
fn who_can_not_be_looked_into_is_ready_as_soon_as_its_user_listens() {
    check(
        "
    delay 5 grace 30
    php-fpm unseen
    nginx web
    0.3 php-fpm listens
    2 SIGTERM
    8 nginx exits 0
    8.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.3 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  drainit   exits 0
        ",
    );
}

/// A signal in its first milliseconds kills php-fpm; that is no failure.
#[test]
fn a_stop_before_all_are_up_has_no_delay() {
    check(
        "
    delay 5 grace 30
    php-fpm deaf
    nginx web
    0.02 SIGTERM
    0.03 php-fpm dies of QUIT
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  php-fpm   <- SIGQUIT
        0.0 s  php-fpm   killed by SIGQUIT
        0.0 s  drainit   exits 0
        ",
    );
}

/// What isn't started yet and doesn't listen is nobody's reason to send nothing.
#[test]
fn a_stop_before_a_queue_worker_is_up_has_its_delay() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx unseen
    queue worker
    0.5 SIGTERM
    6 nginx exits 0
    6.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        5.5 s  nginx     exited 0
        5.5 s  php-fpm   workers <- SIGQUIT
        5.5 s  php-fpm   master <- SIGQUIT
        5.6 s  php-fpm   exited 0
        5.6 s  drainit   exits 0
        ",
    );
}

#[test]
fn what_can_not_be_executed_stops_all() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 nginx can't be executed
    0.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  nginx     can't be started; stopping
        0.0 s  php-fpm   workers <- SIGQUIT
        0.0 s  php-fpm   master <- SIGQUIT
        0.1 s  php-fpm   exited 0
        0.1 s  drainit   exits 126
        ",
    );
}

#[test]
fn a_refused_start_is_tried_again() {
    check(
        "
    delay 5 grace 30
    php-fpm deaf
    nginx web
    0 php-fpm is refused
    0.01 php-fpm is refused
    0.1 php-fpm listens
    1 SIGTERM
    7 nginx exits 0
    7 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  php-fpm   started
        0.0 s  php-fpm   started
        0.1 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_command_that_ends_is_over() {
    check(
        "
    delay 2 grace 10
    true worker
    0.1 true exits 7
    ",
        "
        0.0 s  true      started
        0.0 s  true      exited 7
        0.0 s  drainit   exits 7
        ",
    );
}

#[test]
fn a_plain_command_gets_term_after_the_delay() {
    check(
        "
    delay 2 grace 10
    node app
    0 SIGTERM
    3 node dies of TERM
    ",
        "
        0.0 s  node      started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  node      <- SIGTERM
        3.0 s  node      killed by SIGTERM
        3.0 s  drainit   exits 143
        ",
    );
}

/// Of whatever listens.
#[test]
fn the_report_has_the_delay() {
    for (script, said) in [
        (
            "node app\n 0 SIGTERM\n 3 node dies of TERM",
            "delay 2.0 s; node",
        ),
        (
            "queue worker\n node app\n 0 SIGTERM\n 1 queue dies of TERM\n 3 node dies of TERM",
            "delay 2.0 s; queue",
        ),
        (
            "queue worker\n 0 SIGTERM\n 3 queue dies of TERM",
            "took 3.0 s; queue",
        ),
    ] {
        let report = play(&format!("delay 2 grace 10\n {script}")).report;
        assert!(report.contains(said), "{report}");
    }
}

/// A second one often means: at once.
#[test]
fn term_is_not_repeated() {
    check(
        "
    delay 2 grace 10
    node app
    0 SIGTERM
    9.1 node dies of KILL
    ",
        "
        0.0 s  node      started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  node      <- SIGTERM
        9.0 s  node      <- SIGKILL, forced
        9.1 s  node      killed by SIGKILL
        9.1 s  drainit   exits 137
        ",
    );
}

/// It may have been at work, and its time is the service's own.
#[test]
fn what_a_command_left_behind_has_its_time() {
    check(
        "
    delay 2 grace 10
    sh worker
    0 sh has other
    1 SIGTERM
    1.1 sh dies of TERM
    8 sh loses other
    ",
        "
        0.0 s  sh        started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  sh        <- SIGTERM
        0.1 s  sh        killed by SIGTERM
        0.1 s  sh        what it left behind <- SIGTERM
        7.0 s  drainit   exits 143
        ",
    );
}

#[test]
fn what_a_command_left_behind_is_killed_in_the_end_and_that_counts() {
    check(
        "
    delay 2 grace 10
    sh worker
    nginx web
    0 sh has other
    0 SIGTERM
    2.1 nginx exits 0
    2.2 sh dies of TERM
    9.1 sh loses other
    ",
        "
        0.0 s  sh        started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        2.1 s  nginx     exited 0
        2.1 s  sh        <- SIGTERM
        2.2 s  sh        killed by SIGTERM
        2.2 s  sh        what it left behind <- SIGTERM
        9.0 s  sh        <- SIGKILL, forced
        9.1 s  drainit   exits 137
        ",
    );
}

/// A command that ends by itself has its own status, as with tini.
#[test]
fn what_a_command_left_behind_changes_no_status() {
    check(
        "
    delay 2 grace 10
    sh worker
    0 sh has other
    1 sh exits 0
    10.5 sh loses other
    ",
        "
        0.0 s  sh        started
        0.0 s  sh        exited 0
        0.0 s  sh        what it left behind <- SIGTERM
        9.0 s  sh        <- SIGKILL, forced
        9.5 s  drainit   exits 0
        ",
    );
}

#[test]
fn what_is_started_by_what_a_main_process_left_behind_is_asked_too() {
    check(
        "
    delay 2 grace 10
    sh worker
    0 sh has other
    1 sh exits 0
    2 sh has other
    3 sh loses other
    ",
        "
        0.0 s  sh        started
        0.0 s  sh        exited 0
        0.0 s  sh        what it left behind <- SIGTERM
        1.0 s  sh        what it left behind <- SIGTERM
        2.0 s  drainit   exits 0
        ",
    );
}

/// A shell dies of SIGTERM and leaves its child, or waits for it.
#[test]
fn what_a_shell_runs_is_asked_in_the_same_moment() {
    check(
        "
    delay 2 grace 10
    start.sh script
    0 start.sh has other
    0 SIGTERM
    2.1 start.sh dies of TERM
    5 start.sh loses other
    ",
        "
        0.0 s  start.sh  started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  start.sh  <- SIGTERM
        2.0 s  start.sh  what it runs <- SIGTERM
        2.1 s  start.sh  killed by SIGTERM
        5.0 s  drainit   exits 143
        ",
    );
}

/// `set -m; php-fpm & nginx; fg`, or a supervisor with autorestart.
#[test]
fn what_is_started_anew_is_drained_anew() {
    check(
        "
    delay 2 grace 10
    supervisor app
    0 supervisor has web
    0 SIGTERM
    3 supervisor loses web
    3.1 supervisor has web
    3.1 nothing happens
    3.2 supervisor has fpm
    3.3 supervisor loses web
    3.3 supervisor loses fpm
    3.4 supervisor exits 0
    ",
        "
        0.0 s  supervisor started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  supervisor <- SIGQUIT
        3.0 s  supervisor <- SIGTERM
        3.1 s  supervisor <- SIGQUIT
        3.2 s  supervisor master <- SIGQUIT
        3.4 s  supervisor exited 0
        3.4 s  drainit   exits 0
        ",
    );
}

/// Its time is nginx's, too, if it went first: 6 of 40 requests were cut.
#[test]
fn web_servers_drain_first_wherever_they_stand() {
    check(
        "
    delay 2 grace 30
    php-fpm fpm
    nginx web
    websocket app
    0 SIGTERM
    8 nginx exits 0
    20 websocket dies of TERM
    21 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  websocket started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        8.0 s  nginx     exited 0
        8.0 s  websocket <- SIGTERM
        20.0 s  websocket killed by SIGTERM
        20.0 s  php-fpm   workers <- SIGQUIT
        20.0 s  php-fpm   master <- SIGQUIT
        21.0 s  php-fpm   exited 0
        21.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn what_turns_out_to_run_a_web_server_drains_as_one() {
    check(
        "
    delay 2 grace 30
    front app
    websocket app
    0 front has web
    0 SIGTERM
    8 front loses web
    9 front exits 0
    10 websocket exits 0
    ",
        "
        0.0 s  front     started
        0.0 s  websocket started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  front     <- SIGQUIT
        8.0 s  front     <- SIGTERM
        9.0 s  front     exited 0
        9.0 s  websocket <- SIGTERM
        10.0 s  websocket exited 0
        10.0 s  drainit   exits 0
        ",
    );
}

/// A log daemon writes down what the others say of their end.
#[test]
fn who_does_not_listen_goes_at_its_turn_if_others_do_behind_it() {
    check(
        "
    delay 2 grace 30
    rsyslog worker
    php-fpm fpm
    nginx web
    queue worker
    0 SIGTERM
    1 queue dies of TERM
    3 nginx exits 0
    4 php-fpm exits 0
    5 rsyslog dies of TERM
    ",
        "
        0.0 s  rsyslog   started
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        0.0 s  queue     <- SIGTERM
        1.0 s  queue     killed by SIGTERM
        2.0 s  nginx     <- SIGQUIT
        3.0 s  nginx     exited 0
        3.0 s  php-fpm   workers <- SIGQUIT
        3.0 s  php-fpm   master <- SIGQUIT
        4.0 s  php-fpm   exited 0
        4.0 s  rsyslog   <- SIGTERM
        5.0 s  rsyslog   killed by SIGTERM
        5.0 s  drainit   exits 0
        ",
    );
}

/// A JVM that handles SIGTERM exits with 143.
#[test]
fn the_code_for_our_signal_is_no_failure() {
    check(
        "
    delay 2 grace 30
    nginx web
    jvm worker
    0 SIGTERM
    1 jvm exits 143
    3 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        0.0 s  jvm       started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        0.0 s  jvm       <- SIGTERM
        1.0 s  jvm       exited 143
        2.0 s  nginx     <- SIGQUIT
        3.0 s  nginx     exited 0
        3.0 s  drainit   exits 0
        ",
    );
}

/// Kata and `podman --pid=host` signal all processes of the container.
#[test]
fn a_delay_ends_when_nothing_is_left() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    queue worker
    0 SIGTERM
    0.1 queue dies of TERM
    0.2 nginx exits 0
    0.3 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.1 s  queue     killed by SIGTERM
        0.2 s  nginx     exited 0
        0.2 s  nginx     ended by itself
        0.3 s  php-fpm   exited 0
        0.3 s  php-fpm   ended by itself
        0.3 s  drainit   exits 0
        ",
    );
}

/// A shell that was signalled by the runtime left nginx behind.
#[test]
fn what_serves_on_keeps_the_delay() {
    check(
        "
    delay 2 grace 30
    sh script
    0 sh has web
    0 SIGTERM
    0.1 sh dies of TERM
    3 sh loses web
    ",
        "
        0.0 s  sh        started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        0.1 s  sh        killed by SIGTERM
        0.1 s  sh        ended by itself
        2.0 s  sh        <- SIGQUIT
        3.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn the_rest_is_swept() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 orphan other appears
    0 SIGTERM
    6 nginx exits 0
    6.1 php-fpm exits 0
    6.5 orphan other goes
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  orphans   <- SIGTERM
        6.5 s  drainit   exits 0
        ",
    );
}

#[test]
fn the_rest_is_killed_in_the_end_and_that_counts() {
    check(
        "
    delay 2 grace 10
    php-fpm fpm
    nginx web
    0 orphan other appears
    0 SIGTERM
    3 nginx exits 0
    4 php-fpm exits 0
    9.1 orphan other goes
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        3.0 s  nginx     exited 0
        3.0 s  php-fpm   workers <- SIGQUIT
        3.0 s  php-fpm   master <- SIGQUIT
        4.0 s  php-fpm   exited 0
        4.0 s  orphans   <- SIGTERM
        9.0 s  orphans   <- SIGKILL, forced
        9.1 s  drainit   exits 137
        ",
    );
}

/// A daemon that a script left behind drains as what it is.
#[test]
fn the_rest_is_swept_in_order() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    0 orphan fpm appears
    0 orphan web appears
    0 SIGTERM
    6 nginx exits 0
    6.1 php-fpm exits 0
    6.5 orphan web goes
    7 orphan fpm goes
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.1 s  php-fpm   exited 0
        6.1 s  orphans   <- SIGQUIT
        6.5 s  orphans   workers <- SIGQUIT
        6.5 s  orphans   master <- SIGQUIT
        7.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn the_kernel_sends_what_nginx_wrote() {
    check(
        "
    delay 2 grace 10
    nginx web
    0 SIGTERM
    2.5 unsent shrinks
    2.6 nginx exits 0
    3 unsent shrinks
    4 unsent shrinks
    4.5 all was sent
    4.6 nothing happens
    ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        2.6 s  nginx     exited 0
        4.5 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_client_that_reads_nothing_is_not_waited_for() {
    check(
        "
    delay 2 grace 10
    nginx web
    0 SIGTERM
    2.5 unsent shrinks
    2.6 nginx exits 0
    3 unsent shrinks
    ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        2.6 s  nginx     exited 0
        5.0 s  drainit   exits 0
        ",
    );
}

/// The runtime would end us in the middle of it.
#[test]
fn what_the_kernel_sends_is_waited_for_until_the_last_deadline() {
    check(
        "
    delay 2 grace 10
    nginx web
    0 SIGTERM
    6.9 unsent shrinks
    7 nginx exits 0
    7.5 unsent shrinks
    ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        7.0 s  nginx     exited 0
        8.0 s  drainit   exits 0
        ",
    );
}

/// A draining nginx would start new workers.
#[test]
fn a_reload_is_for_who_was_not_asked_to_stop() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    1 SIGHUP
    2 SIGUSR1
    4 SIGTERM
    5 SIGHUP
    9.5 SIGHUP
    10 nginx exits 0
    11 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        1.0 s  php-fpm   reload
        1.0 s  nginx     reload
        2.0 s  php-fpm   reopen
        2.0 s  nginx     reopen
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  php-fpm   reload
        1.0 s  nginx     reload
        5.0 s  nginx     <- SIGQUIT
        5.5 s  php-fpm   reload
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        7.0 s  php-fpm   exited 0
        7.0 s  drainit   exits 0
        ",
    );
}

/// A shell that is to become nginx would die of it.
#[test]
fn a_reload_is_for_who_is_ready() {
    check(
        "
    delay 5 grace 30
    nginx deaf
    1 SIGHUP
    2 nginx listens
    3 SIGHUP
    4 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        3.0 s  nginx     reload
        0.0 s  nginx     exited 0
        0.0 s  drainit   exits 0
        ",
    );
}

/// Browsers connect in advance, and load balancers to see whether somebody
/// listens; nginx would wait a minute for what they never send.
#[test]
fn silent_clients_hold_nobody_up() {
    check(
        "
        delay 5 grace 90
        php-fpm fpm
        nginx web
        0 SIGTERM
        1 nginx clients silent
        6.1 nginx exits 0
        6.2 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     <- SIGTERM: only clients that never sent a byte are left
        6.1 s  nginx     exited 0
        6.1 s  php-fpm   workers <- SIGQUIT
        6.1 s  php-fpm   master <- SIGQUIT
        6.2 s  php-fpm   exited 0
        6.2 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_client_that_falls_silent_late_ends_the_wait_then() {
    check(
        "
        delay 5 grace 90
        nginx web
        0 SIGTERM
        20 nginx clients silent
        20.1 nginx exits 0
        ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        20.0 s  nginx     <- SIGTERM: only clients that never sent a byte are left
        20.1 s  nginx     exited 0
        20.1 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_php_fpm_alone_waits_until_its_nginx_has_gone() {
    let script = "
        delay 5 grace 30
        php-fpm fpm
        0 SIGTERM
        4 php-fpm busy by clients
        6.5 php-fpm busy by workers
        7.2 php-fpm busy by nobody
        8.3 php-fpm exits 0
        ";
    check(
        script,
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  php-fpm   waits until nobody sends to it
        7.5 s  php-fpm   workers <- SIGQUIT
        7.5 s  php-fpm   master <- SIGQUIT
        8.3 s  php-fpm   exited 0
        8.3 s  drainit   exits 0
        ",
    );
    let report = play(script).report;
    let parts = "delay 5.0 s; php-fpm waited 2.5 s drained 0.8 s SIGQUIT exited 0;";
    assert!(report.contains(parts), "{report}");
}

#[test]
fn a_php_fpm_that_is_never_left_alone_has_a_quarter_of_its_time() {
    check(
        "
        delay 4 grace 30
        php-fpm fpm
        0 SIGTERM
        1 php-fpm busy by clients
        23 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   lame duck: what listens serves on for 4.0 s
        4.0 s  php-fpm   waits until nobody sends to it
        22.0 s  php-fpm   clients are still connected to port 80: no time is left to wait for the end of that
        22.0 s  php-fpm   workers <- SIGQUIT
        22.0 s  php-fpm   master <- SIGQUIT
        23.0 s  php-fpm   exited 0
        23.0 s  drainit   exits 0
        ",
    );
}

/// A quarter of a short time would be next to nothing.
#[test]
fn a_php_fpm_that_is_never_left_alone_has_a_second_at_least() {
    check(
        "
        delay 1 grace 5
        php-fpm fpm
        0 SIGTERM
        0.5 php-fpm busy by clients
        3.2 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   lame duck: what listens serves on for 1.0 s
        1.0 s  php-fpm   waits until nobody sends to it
        3.0 s  php-fpm   clients are still connected to port 80: no time is left to wait for the end of that
        3.0 s  php-fpm   workers <- SIGQUIT
        3.0 s  php-fpm   master <- SIGQUIT
        3.2 s  php-fpm   exited 0
        3.2 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_pause_of_the_machine_leaves_a_php_fpm_alone_its_stop_signal() {
    check(
        "
        delay 4 grace 30
        php-fpm fpm
        0 SIGTERM
        1 php-fpm workers busy
        1 php-fpm busy by clients
        5 machine pauses until 28.2
        28.6 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   lame duck: what listens serves on for 4.0 s
        4.0 s  php-fpm   waits until nobody sends to it
        28.2 s  php-fpm   clients are still connected to port 80: no time is left to wait for the end of that
        28.2 s  php-fpm   workers <- SIGQUIT
        28.5 s  php-fpm   <- SIGTERM, forced
        28.6 s  php-fpm   exited 0
        28.6 s  drainit   exits 143
        ",
    );
}

#[test]
fn who_was_not_asked_before_a_pause_of_the_machine_is_killed_after_it() {
    check(
        "
        delay 2 grace 10
        nginx web
        0 SIGTERM
        1 machine pauses until 20
        ",
        "
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        20.0 s  nginx     <- SIGTERM, forced
        20.0 s  nginx     <- SIGKILL, forced
        20.0 s  drainit   exits 137
        ",
    );
}

#[test]
fn nobody_is_waited_for_at_the_keyboard() {
    for (script, expected) in [
        (
            "
            delay 5 grace 30
            php-fpm fpm
            1 SIGINT
            1.1 php-fpm exits 0
            ",
            "
            0.0 s  php-fpm   started
            0.0 s  SIGINT    draining, without a delay
            0.0 s  php-fpm   workers <- SIGQUIT
            0.0 s  php-fpm   master <- SIGQUIT
            0.1 s  php-fpm   exited 0
            0.1 s  drainit   exits 0
            ",
        ),
        (
            "
            delay 5 grace 30
            php-fpm fpm
            0 SIGTERM
            5.5 SIGINT
            5.6 php-fpm exits 0
            ",
            "
            0.0 s  php-fpm   started
            0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
            5.0 s  php-fpm   waits until nobody sends to it
            5.5 s  SIGINT    hurrying
            5.5 s  php-fpm   workers <- SIGQUIT
            5.5 s  php-fpm   master <- SIGQUIT
            5.6 s  php-fpm   exited 0
            5.6 s  drainit   exits 0
            ",
        ),
    ] {
        check(script, expected);
    }
}

#[test]
fn nobody_is_waited_for_when_something_broke() {
    check(
        "
        delay 5 grace 30
        php-fpm fpm
        queue worker
        1 php-fpm busy by clients
        2 queue exits 3
        2.1 php-fpm exits 0
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  queue     started
        0.0 s  queue     exited 3
        0.0 s  queue     ended unasked
        0.0 s  php-fpm   workers <- SIGQUIT
        0.0 s  php-fpm   master <- SIGQUIT
        0.1 s  php-fpm   exited 0
        0.1 s  drainit   exits 3
        ",
    );
}

#[test]
fn a_master_that_dies_while_it_waits_leaves_nothing_to_wait_for() {
    check(
        "
        delay 5 grace 30
        php-fpm fpm
        0 SIGTERM
        5 php-fpm has fpm
        5 php-fpm busy by clients
        5.5 php-fpm dies of SEGV
        5.6 php-fpm loses fpm
        ",
        "
        0.0 s  php-fpm   started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  php-fpm   waits until nobody sends to it
        5.5 s  php-fpm   killed by SIGSEGV
        5.5 s  php-fpm   workers <- SIGQUIT
        5.5 s  php-fpm   master <- SIGQUIT
        5.6 s  drainit   exits 139
        ",
    );
}

/// When the lame duck was over: after the stop request, in the words of the log.
#[track_caller]
fn check_lame_duck(delay: &str, happens: &str, over_at: &str) {
    let script = format!(
        "
        delay {delay} grace 30
        php-fpm fpm
        nginx web
        {happens}
        100 nginx exits 0
        "
    );
    let play = play(&script);
    let is_over = |line: &&str| line.contains("nginx     <- SIGQUIT");
    let line = play.said.lines().find(is_over).unwrap_or_default();
    let over = line.trim().split("  ").next().unwrap_or_default();
    assert_eq!(over, over_at, "{delay}: {happens}\n{}", play.said);
}

#[test]
fn a_delay_of_two_times_is_said_and_ends_once_it_is_quiet() {
    check(
        "
    delay 5..15 grace 30
    php-fpm fpm
    nginx web
    1 requests come each 0.1
    2 SIGTERM
    8.05 requests end
    10 nginx exits 0
    10.1 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s to 15.0 s
        6.9 s  nginx     <- SIGQUIT
        8.0 s  nginx     exited 0
        8.0 s  php-fpm   workers <- SIGQUIT
        8.0 s  php-fpm   master <- SIGQUIT
        8.1 s  php-fpm   exited 0
        8.1 s  drainit   exits 0
        ",
    );
}

/// Silence proves nothing before MIN: who sends seldom has not been told yet.
#[test]
fn the_lame_duck_lasts_until_it_is_quiet_but_at_least_min_and_at_most_max() {
    // Nothing comes at all.
    check_lame_duck("5..15", "0 SIGTERM", "5.0 s");
    check_lame_duck("0..15", "0 SIGTERM", "1.0 s");
    check_lame_duck("0..0.5", "0 SIGTERM", "0.5 s");
    // Traffic that ends, before MIN and after it.
    for (end, over_at) in [("3.05", "5.0 s"), ("4.25", "5.1 s"), ("9.05", "9.9 s")] {
        let happens = format!("0 requests come each 0.1\n 0 SIGTERM\n {end} requests end");
        check_lame_duck("5..15", &happens, over_at);
    }
    // Traffic that never ends.
    let happens = "0 requests come each 0.1\n 0 SIGTERM";
    check_lame_duck("5..15", happens, "15.0 s");
    check_lame_duck("5", happens, "5.0 s");
    // Much at once, and then nothing.
    check_lame_duck("5..15", "0 SIGTERM\n 4.5 requests come", "5.5 s");
    check_lame_duck(
        "5..15",
        "0 SIGTERM\n 4.5 requests come\n 5.4 request comes",
        "5.5 s",
    );
    check_lame_duck(
        "5..15",
        "0 SIGTERM\n 4.5 requests come\n 5.4 requests come",
        "6.4 s",
    );
    // What came before the stop request is no matter.
    check_lame_duck(
        "1..15",
        "0 requests come each 0.1\n 1 SIGTERM\n 1.05 requests end",
        "1.0 s",
    );
}

/// A kubelet probes to the end, one connection each period.
#[test]
fn a_probe_does_not_make_the_lame_duck_longer() {
    for period in ["1", "1.3", "5"] {
        for begin in ["0", "0.4", "0.95"] {
            let happens = format!("0 SIGTERM\n {begin} requests come each {period}");
            check_lame_duck("5..15", &happens, "5.0 s");
        }
    }
}

#[test]
fn who_goes_by_a_health_check_is_waited_for() {
    let in_use = |after: &str| format!("1 health asked\n 10 SIGTERM\n {after}");
    check_lame_duck("2..15", &in_use("10.8 health asked"), "3.3 s");
    check_lame_duck("5..15", &in_use("10.8 health asked"), "5.0 s");
    // Told is told.
    let again = in_use("10.8 health asked\n 11.8 health asked");
    check_lame_duck("2..15", &again, "3.3 s");
    let busy = in_use("10.8 health asked\n 13 requests come");
    check_lame_duck("2..15", &busy, "4.0 s");
    // It never asks again, or late.
    check_lame_duck("2..15", &in_use(""), "15.0 s");
    check_lame_duck("2..15", &in_use("24 health asked"), "15.0 s");
    check_lame_duck("2", &in_use(""), "2.0 s");
    // It wasn't asked within the minute before, or never.
    check_lame_duck("2..15", "1 health asked\n 61 SIGTERM", "15.0 s");
    check_lame_duck("2..15", "1 health asked\n 61.1 SIGTERM", "2.0 s");
    check_lame_duck("2..15", "0 SIGTERM\n 1.5 health asked", "4.0 s");
    check_lame_duck("2..15", "0 SIGTERM\n 3 health asked", "2.0 s");
}

#[test]
fn where_it_cannot_be_seen_what_comes_the_delay_is_min() {
    check_lame_duck("5..15", "0 requests unseen\n 0 SIGTERM", "5.0 s");
    check_lame_duck("0..15", "0 requests unseen\n 0 SIGTERM", "0.0 s");
    let happens = "0 requests come each 0.1\n 0 SIGTERM\n 3 requests unseen";
    check_lame_duck("5..15", happens, "5.0 s");
    check_lame_duck("1..15", happens, "3.0 s");
    // A health check is seen all the same.
    let happens = "0 requests unseen\n 0 health asked\n 0 SIGTERM\n 6 health asked";
    check_lame_duck("5..15", happens, "8.5 s");
}

#[test]
fn an_interrupt_ends_the_lame_duck_whatever_comes() {
    let begin = "0 requests come each 0.1\n 0 health asked\n 0 SIGTERM";
    check_lame_duck("5..15", &format!("{begin}\n 3 SIGINT"), "3.0 s");
    check_lame_duck("5..15", &format!("{begin}\n 7 SIGINT"), "7.0 s");
}

/// Nor is it begun again by what comes later, for those whose turn comes then.
#[test]
fn the_lame_duck_ends_when_all_that_listened_has_gone() {
    check(
        "
    delay 5..15 grace 30
    log worker
    nginx web
    0 requests come each 0.1
    0 SIGTERM
    2 nginx exits 0
    2.1 log dies of TERM
    ",
        "
        0.0 s  log       started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s to 15.0 s
        2.0 s  nginx     exited 0
        2.0 s  nginx     ended by itself
        2.0 s  log       <- SIGTERM
        2.1 s  log       killed by SIGTERM
        2.1 s  drainit   exits 0
        ",
    );
    check(
        "
    delay 1..15 grace 30
    app app
    nginx web
    0 SIGTERM
    1.2 requests come
    3 health asked
    3 nginx exits 0
    3.1 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 1.0 s to 15.0 s
        1.0 s  nginx     <- SIGQUIT
        3.0 s  drainit   the health check was told
        3.0 s  nginx     exited 0
        3.0 s  app       <- SIGTERM
        3.1 s  app       exited 0
        3.1 s  drainit   exits 0
        ",
    );
}

#[test]
fn nobody_looks_for_what_comes_but_during_a_lame_duck() {
    let awaits = |script: &str| {
        let play = play_until_the_end_of(script);
        play.machine.awaits().contains(&Condition::Arrivals)
    };
    let begin = "grace 30\n queue worker\n nginx web\n";
    for (delay, happens, expected) in [
        ("5..15", "1 nothing happens", false),
        ("5..15", "1 SIGTERM\n 3 nothing happens", true),
        ("5", "1 SIGTERM\n 3 nothing happens", true),
        ("0", "1 SIGTERM\n 1 nothing happens", false),
        ("5..15", "1 SIGINT\n 1 nothing happens", false),
        ("5..15", "1 SIGTERM\n 3 SIGINT", false),
        ("5..15", "1 SIGTERM\n 6 nothing happens", false),
        ("5..15", "1 nginx exits 0", false),
        ("5..15", "1 SIGTERM\n 2 nginx exits 0", false),
    ] {
        let script = format!("delay {delay} {begin} {happens}");
        assert_eq!(awaits(&script), expected, "{script}");
    }
    let nobody_listens = "delay 5..15 grace 30\n queue worker\n 1 SIGTERM";
    assert!(!awaits(nobody_listens));
}

#[test]
fn a_health_check_is_told_how_far_the_container_is() {
    for (happens, expected) in [
        ("", Health::Starting),
        ("1 nginx listens", Health::Ready),
        ("1 SIGTERM", Health::Draining),
        ("1 SIGINT", Health::Stopping),
        ("1 php-fpm dies of SEGV", Health::Stopping),
    ] {
        let script = format!(
            "
            delay 5 grace 30
            php-fpm fpm
            nginx deaf
            {happens}
            "
        );
        let machine = play_until_the_end_of(&script).machine;
        assert_eq!(machine.health(), expected, "{happens}");
        assert!(!machine.is_over());
    }
}

#[test]
fn at_a_stop_who_starts_is_looked_at_once() {
    let script = "delay 5 grace 30\n nginx unseen\n 0.5 SIGTERM";
    let awaits = play_until_the_end_of(script).machine.awaits();
    assert_eq!(awaits, [Condition::Arrivals]);
}

/// A web server alone, where the test itself is the shell.
fn machine_without_a_world(delay: Delay) -> Machine {
    let service = ServicePlan {
        ready: Readiness::Listen,
        is_web: true,
        ..ServicePlan::default()
    };
    Machine::new(plan(vec![service], delay, Duration::from_secs(30)))
}

#[test]
fn who_is_not_executed_yet_is_not_looked_at() {
    let mut machine = machine_without_a_world(Delay::ZERO);
    let executed = Event::Executed(ServiceId(0));
    for (event, expected) in [
        (Event::Tick, vec![]),
        (executed, vec![Condition::Sight(ServiceId(0))]),
    ] {
        machine.handle(Timestamp::default(), event, &mut vec![]);
        assert_eq!(machine.awaits(), expected);
    }
}

#[test]
fn the_rest_is_killed_if_a_pause_of_the_machine_left_no_time_to_ask_it() {
    let mut machine = machine_without_a_world(Delay::ZERO);
    let id = ServiceId(0);
    let mut actions = vec![];
    for (at, event) in [
        (0, Event::Tick),
        (1, Event::Exited(id, Status::Exited(0))),
        (60, Event::Remains(Scope::Service(id), Remains::NOTHING)),
    ] {
        actions.clear();
        machine.handle(Timestamp(Duration::from_secs(at)), event, &mut actions);
    }
    let force = |force| Action::Do(Order::Force(Scope::Rest, force));
    let expected = [force(Force::Term), force(Force::Kill), Order::Exit.into()];
    assert_eq!(actions, expected);
}

#[test]
fn the_marker_is_made_only_where_there_is_a_delay() {
    let five = Delay::fixed(Duration::from_secs(5));
    for (delay, expected) in [(five, true), (Delay::ZERO, false)] {
        let mut machine = machine_without_a_world(delay);
        let mut actions = vec![];
        for event in [
            Event::Tick,
            Event::StopRequested(StopRequest::Signal(Signal::TERM)),
        ] {
            machine.handle(Timestamp::default(), event, &mut actions);
        }
        let is_made = actions.contains(&Order::MakeMarker.into());
        assert_eq!(is_made, expected);
    }
}

#[test]
fn each_wait_after_a_refused_start_is_twice_the_last_until_it_has_failed() {
    let mut machine = machine_without_a_world(Delay::ZERO);
    let mut now = Timestamp::default();
    let mut waits = vec![];
    loop {
        machine.handle(now, Event::Tick, &mut vec![]);
        machine.handle(now, Event::SpawnRefused(ServiceId(0)), &mut vec![]);
        if machine.stopping_since().is_some() {
            break;
        }
        let next = machine.deadline().unwrap();
        waits.push(next.since(now).as_millis());
        now = next;
    }
    let doubled: Vec<u128> = (0..11).map(|times| 10 << times).collect();
    assert_eq!(waits, doubled);
}

// When a service ends unasked.

#[test]
fn a_worker_that_ends_is_started_again() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm
    nginx web
    queue worker always
    100 queue exits 1
    200 SIGTERM
    200.1 queue dies of TERM
    206 nginx exits 0
    207 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        100.0 s  queue     exited 1
        100.0 s  queue     starts again in 1.0 s
        101.0 s  queue     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.1 s  queue     killed by SIGTERM
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        7.0 s  php-fpm   exited 0
        7.0 s  drainit   exits 0
        ",
    );
}

/// As long as the ends come in a row; after a minute up they count anew.
#[test]
fn the_delay_doubles_until_a_service_was_up_for_a_minute() {
    check(
        "
    delay 0 grace 10
    app app
    queue worker always limit 0
    1 queue exits 1
    2 queue exits 1
    4 queue exits 1
    8 queue exits 1
    16 queue exits 1
    32 queue exits 1
    62 queue exits 1
    92 queue exits 1
    151.9 queue exits 1
    241.9 queue exits 0
    242.9 nothing happens
    ",
        "
        0.0 s  app       started
        0.0 s  queue     started
        1.0 s  queue     exited 1
        1.0 s  queue     starts again in 1.0 s
        2.0 s  queue     started
        2.0 s  queue     exited 1
        2.0 s  queue     starts again in 2.0 s
        4.0 s  queue     started
        4.0 s  queue     exited 1
        4.0 s  queue     starts again in 4.0 s
        8.0 s  queue     started
        8.0 s  queue     exited 1
        8.0 s  queue     starts again in 8.0 s
        16.0 s  queue     started
        16.0 s  queue     exited 1
        16.0 s  queue     starts again in 16.0 s
        32.0 s  queue     started
        32.0 s  queue     exited 1
        32.0 s  queue     starts again in 30.0 s
        62.0 s  queue     started
        62.0 s  queue     exited 1
        62.0 s  queue     starts again in 30.0 s
        92.0 s  queue     started
        92.0 s  queue     exited 1
        92.0 s  queue     starts again in 30.0 s
        122.0 s  queue     started
        151.9 s  queue     exited 1
        151.9 s  queue     starts again in 30.0 s
        181.9 s  queue     started
        241.9 s  queue     exited 0
        241.9 s  queue     starts again in 1.0 s
        242.9 s  queue     started
        ",
    );
}

/// With its status, and without the delay: nobody was told.
#[test]
fn who_ends_too_often_in_a_row_is_given_up_and_all_stops() {
    check(
        "
    delay 5 grace 30
    nginx web
    queue worker always limit 2
    1 queue exits 3
    3 queue exits 3
    5.5 queue exits 4
    6 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        0.0 s  queue     started
        1.0 s  queue     exited 3
        1.0 s  queue     starts again in 1.0 s
        2.0 s  queue     started
        3.0 s  queue     exited 3
        3.0 s  queue     starts again in 2.0 s
        5.0 s  queue     started
        0.0 s  queue     exited 4
        0.0 s  queue     given up: ended 3 times in a row, at last exited 4 after 0.5 s
        0.0 s  queue     ended unasked
        0.0 s  nginx     <- SIGQUIT
        0.5 s  nginx     exited 0
        0.5 s  drainit   exits 4
        ",
    );
}

#[test]
fn who_is_not_essential_is_given_up_and_the_others_go_on() {
    check(
        "
    delay 0 grace 10
    app app
    queue worker always limit 1 inessential
    cron worker inessential
    1 queue exits 3
    2 queue exits 3
    3 cron dies of KILL
    9 SIGTERM
    9.1 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  queue     started
        0.0 s  cron      started
        1.0 s  queue     exited 3
        1.0 s  queue     starts again in 1.0 s
        2.0 s  queue     started
        2.0 s  queue     exited 3
        2.0 s  queue     given up: ended 2 times in a row, at last exited 3 after 0.0 s
        3.0 s  cron      killed by SIGKILL
        3.0 s  cron      stays away: killed by SIGKILL after 3.0 s
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  app       <- SIGTERM
        0.1 s  app       exited 0
        0.1 s  drainit   exits 0
        ",
    );
}

/// A container that runs nothing ends.
#[test]
fn the_last_that_is_up_is_essential() {
    check(
        "
    delay 0 grace 10
    a worker inessential
    b worker inessential
    1 a exits 3
    2 b exits 4
    ",
        "
        0.0 s  a         started
        0.0 s  b         started
        1.0 s  a         exited 3
        1.0 s  a         stays away: exited 3 after 1.0 s
        0.0 s  b         exited 4
        0.0 s  b         ended unasked
        0.0 s  drainit   exits 4
        ",
    );
}

#[test]
fn who_has_succeeded_is_not_started_again_on_failure() {
    check(
        "
    delay 0 grace 10
    app app
    a worker on-failure success 7 inessential
    b worker on-failure
    1 a exits 1
    2 a dies of SEGV
    5 a exits 7
    6 b exits 0
    6.1 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  a         started
        0.0 s  b         started
        1.0 s  a         exited 1
        1.0 s  a         starts again in 1.0 s
        2.0 s  a         started
        2.0 s  a         killed by SIGSEGV
        2.0 s  a         starts again in 2.0 s
        4.0 s  a         started
        5.0 s  a         exited 7
        5.0 s  a         given up: ended 3 times in a row, at last exited 7 after 1.0 s
        0.0 s  b         exited 0
        0.0 s  b         ended unasked
        0.0 s  app       <- SIGTERM
        0.1 s  app       exited 0
        0.1 s  drainit   exits 0
        ",
    );
}

/// Workers that outlive their master hold its port. Meanwhile the others serve, and a
/// signal reaches them alone.
#[test]
fn what_a_service_left_behind_has_gone_before_it_is_started_again() {
    check(
        "
    delay 0 grace 10
    php-fpm fpm always
    app app
    1 php-fpm has fpm
    1 php-fpm workers busy
    2 php-fpm dies of KILL
    3 SIGHUP
    4 php-fpm loses fpm
    4 php-fpm workers idle
    4.5 SIGHUP
    5.5 SIGHUP
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  app       started
        2.0 s  php-fpm   killed by SIGKILL
        2.0 s  php-fpm   workers <- SIGQUIT
        3.0 s  app       reload
        4.0 s  php-fpm   starts again in 1.0 s
        4.5 s  app       reload
        5.0 s  php-fpm   started
        5.5 s  php-fpm   reload
        5.5 s  app       reload
        ",
    );
}

/// It has as long as at a stop, from its own beginning; that it was forced is no
/// failure of the stop.
#[test]
fn what_a_service_left_behind_is_forced_in_time() {
    check(
        "
    delay 0 grace 10
    app app
    queue worker always
    1 queue has other
    2 queue exits 1
    11 queue loses other
    20 SIGTERM
    20 queue dies of TERM
    20 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  queue     started
        2.0 s  queue     exited 1
        2.0 s  queue     what it left behind <- SIGTERM
        11.0 s  queue     <- SIGKILL, forced
        11.0 s  queue     starts again in 1.0 s
        12.0 s  queue     started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  app       <- SIGTERM
        0.0 s  queue     <- SIGTERM
        0.0 s  queue     killed by SIGTERM
        0.0 s  app       exited 0
        0.0 s  drainit   exits 0
        ",
    );
}

/// What began before goes on, and has no more time than the stop.
#[test]
fn a_stop_while_leftovers_are_drained_goes_on_with_them() {
    check(
        "
    delay 0 grace 10
    queue worker always
    app app
    1 queue has other
    2 queue exits 1
    3 SIGTERM
    3.5 app exits 0
    4 queue loses other
    ",
        "
        0.0 s  queue     started
        0.0 s  app       started
        2.0 s  queue     exited 1
        2.0 s  queue     what it left behind <- SIGTERM
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  app       <- SIGTERM
        0.5 s  app       exited 0
        1.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn leftovers_that_listen_have_no_delay() {
    check(
        "
    delay 5 grace 30
    queue worker
    php-fpm fpm always
    1 php-fpm has fpm
    1 php-fpm workers busy
    2 php-fpm dies of KILL
    3 SIGTERM
    3.1 queue exits 0
    4 php-fpm loses fpm
    4 php-fpm workers idle
    ",
        "
        0.0 s  queue     started
        0.0 s  php-fpm   started
        2.0 s  php-fpm   killed by SIGKILL
        2.0 s  php-fpm   workers <- SIGQUIT
        0.0 s  SIGTERM   draining, without a delay
        0.1 s  queue     exited 0
        0.1 s  queue     ended by itself
        1.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn leftovers_leave_the_others_time_to_drain() {
    check(
        "
    delay 0 grace 30
    php-fpm fpm
    nginx web always
    1 nginx has web
    2 nginx dies of KILL
    2.1 SIGTERM
    29.6 nginx loses web
    29.7 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        2.0 s  nginx     killed by SIGKILL
        2.0 s  nginx     <- SIGQUIT
        0.0 s  SIGTERM   draining, without a delay
        27.0 s  nginx     <- SIGTERM, forced
        27.5 s  php-fpm   workers <- SIGQUIT
        27.5 s  php-fpm   master <- SIGQUIT
        27.6 s  php-fpm   exited 0
        27.6 s  drainit   exits 143
        ",
    );
}

#[test]
fn who_waits_to_be_started_again_has_gone_at_a_stop() {
    check(
        "
    delay 0 grace 10
    app app
    queue worker always
    2 queue exits 1
    2.5 SIGTERM
    2.6 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  queue     started
        2.0 s  queue     exited 1
        2.0 s  queue     starts again in 1.0 s
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  app       <- SIGTERM
        0.1 s  app       exited 0
        0.1 s  drainit   exits 0
        ",
    );
}

/// Others serve, and are sent requests.
#[test]
fn a_stop_while_one_is_started_again_has_its_delay() {
    check(
        "
    delay 5 grace 30
    php-fpm fpm always
    nginx web
    2 php-fpm exits 1
    2.5 SIGTERM
    8 nginx exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        2.0 s  php-fpm   exited 1
        2.0 s  php-fpm   starts again in 1.0 s
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        5.0 s  nginx     <- SIGQUIT
        5.5 s  nginx     exited 0
        5.5 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_ends_in_the_lame_duck_is_not_started_again() {
    check(
        "
    delay 5 grace 30
    back app always
    nginx web
    2 SIGTERM
    3 back exits 3
    8 nginx exits 0
    ",
        "
        0.0 s  back      started
        0.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  back      exited 3
        1.0 s  back      ended by itself
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  drainit   exits 3
        ",
    );
}

/// One that never was ready hasn't started; that is what the exit code says.
#[test]
fn who_ends_before_it_is_ready_is_started_again_too() {
    check(
        "
    delay 0 grace 10
    php-fpm deaf always limit 1
    nginx web
    2 php-fpm exits 78
    4 php-fpm exits 78
    ",
        "
        0.0 s  php-fpm   started
        2.0 s  php-fpm   exited 78
        2.0 s  php-fpm   starts again in 1.0 s
        3.0 s  php-fpm   started
        0.0 s  php-fpm   exited 78
        0.0 s  php-fpm   given up: ended 2 times in a row, at last exited 78 after 1.0 s
        0.0 s  php-fpm   ended after 1.0 s, before it was ready; stopping
        0.0 s  drainit   exits 1
        ",
    );
}

/// Both come back in the order of starting; whoever runs isn't touched.
#[test]
fn who_is_started_again_waits_for_those_that_it_is_after() {
    check(
        "
    delay 0 grace 10
    php-fpm fpm always
    queue worker always
    2 queue exits 1
    2.5 php-fpm exits 1
    4 nothing happens
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  queue     started
        2.0 s  queue     exited 1
        2.0 s  queue     starts again in 1.0 s
        2.5 s  php-fpm   exited 1
        2.5 s  php-fpm   starts again in 1.0 s
        3.5 s  php-fpm   started
        3.5 s  queue     started
        ",
    );
}

/// Those that are after it don't wait for ever.
#[test]
fn who_was_given_up_is_not_waited_for() {
    check(
        "
    delay 0 grace 10
    php-fpm deaf inessential
    nginx web
    2 php-fpm exits 78
    ",
        "
        0.0 s  php-fpm   started
        2.0 s  php-fpm   exited 78
        2.0 s  php-fpm   stays away: exited 78 after 2.0 s
        2.0 s  nginx     started
        ",
    );
}

/// Its file may be replaced just then.
#[test]
fn a_restart_that_can_not_be_executed_counts_as_an_end() {
    check(
        "
    delay 0 grace 10
    app app
    queue deaf always limit 1
    2 queue exits 1
    3 queue can't be executed
    3 app exits 0
    ",
        "
        0.0 s  app       started
        0.0 s  queue     started
        2.0 s  queue     exited 1
        2.0 s  queue     starts again in 1.0 s
        3.0 s  queue     started
        0.0 s  queue     given up: ended 2 times in a row, at last not executed after 0.0 s
        0.0 s  queue     can't be started; stopping
        0.0 s  app       <- SIGTERM
        0.0 s  app       exited 0
        0.0 s  drainit   exits 126
        ",
    );
}

/// Who sends to it learns that it isn't all there.
#[test]
fn a_container_is_not_ready_while_a_service_is_away() {
    let health = |script: &str| play_until_the_end_of(script).machine.health();
    let services = "
    delay 0 grace 10
    app app
    queue worker always limit 1 inessential
    ";
    let with = |story: &str| health(&format!("{services}{story}"));
    assert_eq!(with("1 nothing happens"), Health::Ready);
    assert_eq!(with("1 queue exits 1"), Health::Starting);
    assert_eq!(
        with("1 queue has other\n2 queue exits 1\n2.1 nothing happens"),
        Health::Starting
    );
    assert_eq!(with("1 queue exits 1\n3 nothing happens"), Health::Ready);
    // It isn't to serve any more.
    assert_eq!(with("1 queue exits 1\n3 queue exits 1"), Health::Ready);
}

/// As an init that ends with its child: no sweep, no flush, no deadline.
#[test]
fn where_leftovers_are_left_the_end_of_the_last_service_is_the_end() {
    let services = vec![ServicePlan::default(), ServicePlan::default()];
    let mut machine = Machine::new(Plan {
        leftovers: Leftovers::Left,
        ..plan(services, Delay::ZERO, Duration::from_secs(10))
    });
    let (first, second) = (ServiceId(0), ServiceId(1));
    let mut tell = |event| {
        let mut actions = Vec::new();
        machine.handle(Timestamp::default(), event, &mut actions);
        let exits = actions
            .iter()
            .any(|it| matches!(it, Action::Do(Order::Exit)));
        (exits, machine.is_over())
    };
    for event in [
        Event::Tick,
        Event::Executed(first),
        Event::Executed(second),
        Event::Exited(first, Status::Exited(3)),
    ] {
        assert_eq!(tell(event), (false, false));
    }
    assert_eq!(tell(Event::Exited(second, Status::Exited(0))), (true, true));
}
