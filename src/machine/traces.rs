//! Policy as traces: what happens, and what is said and done about it, text in
//! and text out. The first is the timeline of the README.
//!
//! A script begins with a line that sets the times, then one for each service:
//! its name and what it is: `web`, `fpm`, `app` (listens and is no preset),
//! `worker` (doesn't listen), `wrapper` (a script around an nginx), `deaf` or
//! `unseen` (an nginx that doesn't listen, or of which that can't be seen).
//! Then one line for each thing that happens, with its time in seconds after
//! the start. Between the lines the harness plays the shell: it answers what
//! the core awaits from a small world of processes, and keeps its deadlines.

use std::fmt::Write as _;

use super::explore::{config, service};
use super::*;
use crate::exit::{self, Failure};
use crate::report::{self, Record};

/// What a process is to a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Web,
    Fpm,
    Other,
}

/// A service's processes.
#[derive(Debug)]
struct Tree {
    listens: Listens,
    main: Is,
    main_runs: bool,
    /// What else belongs to it.
    others: Vec<Is>,
    workers_are_busy: bool,
    /// When its workers were asked, if even idle ones take 150 ms to go.
    slow_since: Option<Timestamp>,
    clients_are_silent: bool,
    /// Who sends to it.
    busy: Option<Busy>,
}

struct Play {
    machine: Machine,
    record: Record,
    config: Rc<Config>,
    now: Timestamp,
    trees: Vec<Tree>,
    /// Below us, but no service's.
    orphans: Vec<Is>,
    unsent: Option<Unsent>,
    said: String,
    report: String,
}

impl Play {
    fn say(&mut self, who: &str, what: &str) {
        let zero = self.machine.stopping_since().unwrap_or_default();
        let line = report::Line::render(self.now.since(zero), who, what);
        let _ = writeln!(self.said, "{}", line.trim_end());
    }

    fn name(&self, scope: Scope) -> String {
        match scope {
            Scope::Service(id) => self.config.services[id.0].name.clone(),
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
            if let Some(line) = self.record.action(self.now, &action) {
                self.say(&line.who, &line.what);
            }
            self.perform(action);
        }
        ordered
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn(id) => {
                self.trees[id.0].main_runs = true;
                self.say(&self.name(Scope::Service(id)), "started");
            }
            Action::Reload(id) => self.say(&self.name(Scope::Service(id)), "reload"),
            Action::Reopen(id) => self.say(&self.name(Scope::Service(id)), "reopen"),
            Action::Forward(id, signal) => {
                self.say(&self.name(Scope::Service(id)), &format!("<- {signal}"));
            }
            Action::Ask(scope, layer) => {
                let signal = match (layer, scope) {
                    (Layer::Main, Scope::Service(id)) if self.trees[id.0].main_runs => {
                        self.config.services[id.0].stop
                    }
                    (Layer::Main, _) => Signal::TERM,
                    _ => Signal::QUIT,
                };
                self.record.sent(scope, signal);
                if let (Layer::Workers, Scope::Service(id)) = (layer, scope) {
                    let since = &mut self.trees[id.0].slow_since;
                    *since = since.map(|_| self.now);
                }
                self.say(&self.name(scope), &report::asked(layer, signal));
            }
            Action::Force(scope, force) => {
                self.record.sent(
                    scope,
                    if force == Force::Term {
                        Signal::TERM
                    } else {
                        Signal::KILL
                    },
                );
                self.say(&self.name(scope), &report::forced(force));
            }
            Action::BeginStop(_)
            | Action::AwaitQuiet(_)
            | Action::StopAwaitingQuiet(_)
            | Action::Dismiss(_)
            | Action::StartFailed(_)
            | Action::EndedUnasked(_) => {}
            Action::PresumeReady(id) => self.say(&self.name(Scope::Service(id)), "counts as ready"),
            Action::Exit => {
                let report = self.record.report(self.now, &self.config);
                let zero = self.machine.stopping_since().unwrap_or_default();
                self.report = report::Line::render(self.now.since(zero), "report", &report);
                self.say("drainit", &format!("exits {}", exit::code(&self.record)));
            }
        }
    }

    fn processes(&self, scope: Scope) -> Vec<Is> {
        match scope {
            Scope::Rest => self.orphans.clone(),
            Scope::Service(id) => {
                let tree = &self.trees[id.0];
                let main = tree.main_runs.then_some(tree.main);
                // A lone service is all that runs.
                let orphans = if self.trees.len() == 1 {
                    self.orphans.as_slice()
                } else {
                    &[]
                };
                main.into_iter()
                    .chain(tree.others.iter().copied())
                    .chain(orphans.iter().copied())
                    .collect()
            }
        }
    }

    /// Answers what the core awaits, until it awaits what isn't so yet.
    fn settle(&mut self) {
        let mut looked_at = Vec::new();
        let mut looks = 0;
        while let Some(condition) = self
            .machine
            .awaits()
            .into_iter()
            .find(|condition| !looked_at.contains(condition))
        {
            let event = match condition {
                Condition::Listens(id) => {
                    let starting = self.machine.stop.is_none();
                    let listens = self.trees[id.0].listens;
                    (!starting || listens != Listens::No).then_some(Event::Listens(id, listens))
                }
                Condition::Remains(scope) => {
                    let processes = self.processes(scope);
                    Some(Event::Remains(
                        scope,
                        Remains {
                            web: processes.contains(&Is::Web),
                            fpm: processes.contains(&Is::Fpm),
                            other: processes.contains(&Is::Other),
                        },
                    ))
                }
                Condition::AskedGone(scope) => {
                    self.asked_gone(scope).then_some(Event::AskedGone(scope))
                }
                Condition::Silent(Scope::Service(id)) => {
                    let silent = self.trees[id.0].clients_are_silent;
                    silent.then_some(Event::Silent(Scope::Service(id)))
                }
                Condition::Silent(Scope::Rest) => None,
                Condition::Quiet(id) => self.trees[id.0].busy.map(|busy| Event::Busy(id, busy)),
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
            if event.is_some_and(|event| self.tell(event)) {
                looked_at.clear();
            }
        }
    }

    fn asked_gone(&self, scope: Scope) -> bool {
        let drain = match scope {
            Scope::Service(id) => self.machine.services[id.0].drain,
            Scope::Rest => self.machine.rest,
        };
        let processes = self.processes(scope);
        match drain.step {
            Step::Asked {
                layer: Layer::Workers,
                ..
            } => match scope {
                Scope::Service(id) => {
                    let tree = &self.trees[id.0];
                    let slow = |since| self.now < since + Duration::from_millis(150);
                    !tree.workers_are_busy && !tree.slow_since.is_some_and(slow)
                }
                Scope::Rest => true,
            },
            Step::Asked {
                layer: Layer::Web, ..
            }
            | Step::Lingering
            | Step::Dismissed => !processes.contains(&Is::Web),
            Step::Asked { .. } => !processes.contains(&Is::Fpm),
            Step::Looking { .. } | Step::Quieting { .. } => false,
        }
    }

    /// Lets time pass, and the deadlines on the way.
    fn advance(&mut self, to: Timestamp) {
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= to) {
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
            .config
            .services
            .iter()
            .position(|service| service.name == name);
        ServiceId(index.unwrap_or_else(|| panic!("no service {name}")))
    }

    /// One line of the script, without its time.
    fn happens(&mut self, words: &[&str]) {
        match *words {
            ["SIGINT"] => _ = self.tell(Event::Interrupted),
            ["SIGHUP"] => _ = self.tell(Event::ReloadRequested),
            ["SIGUSR1"] => _ = self.tell(Event::ReopenRequested),
            ["SIGUSR2"] => _ = self.tell(Event::Signalled("USR2".parse().unwrap())),
            [signal] => _ = self.tell(Event::StopRequested(signal.parse().unwrap())),
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
            ["orphan", what, verb] => {
                let what = kind(what);
                match verb {
                    "appears" => self.orphans.push(what),
                    _ => self.orphans.retain(|orphan| *orphan != what),
                }
            }
            [name, "can't", "be", "executed"] => {
                let id = self.id(name);
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
                self.trees[id.0].others.push(kind(what));
            }
            [name, "loses", what] => {
                let id = self.id(name);
                self.trees[id.0].others.retain(|other| *other != kind(what));
            }
            [name, "workers", "busy"] => {
                let id = self.id(name);
                self.trees[id.0].workers_are_busy = true;
            }
            [name, "workers", "slow"] => {
                let id = self.id(name);
                self.trees[id.0].slow_since = Some(self.now);
            }
            [name, "workers", "idle"] => {
                let id = self.id(name);
                self.trees[id.0].workers_are_busy = false;
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

    fn ends(&mut self, name: &str, status: Status) {
        let id = self.id(name);
        self.trees[id.0].main_runs = false;
        self.tell(Event::Exited(id, status));
    }
}

fn kind(word: &str) -> Is {
    match word {
        "web" => Is::Web,
        "fpm" => Is::Fpm,
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
    let mut script = lines(script).peekable();
    let (delay, grace) = match script.next().as_deref() {
        Some(["delay", delay, "grace", grace]) => (seconds(delay), seconds(grace)),
        other => panic!("the first line sets delay and grace, not {other:?}"),
    };
    let mut services = Vec::new();
    let mut trees = Vec::new();
    while let Some(words) = script.next_if(|words| words[0].parse::<f64>().is_err()) {
        let [name, sort] = words.as_slice() else {
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
            other => panic!("what is a {other}?"),
        };
        let after = (0..services.len()).map(ServiceId).collect();
        let is_preset = ready == Readiness::Listen;
        let mut plan = service(name, stop, ready, after);
        if is_preset {
            plan.preset =
                crate::preset::Preset::by_name(if main == Is::Fpm { "php-fpm" } else { "nginx" });
        }
        services.push(plan);
        trees.push(Tree {
            listens,
            main,
            main_runs: false,
            others: if *sort == "wrapper" {
                vec![Is::Web]
            } else {
                Vec::new()
            },
            workers_are_busy: false,
            slow_since: None,
            clients_are_silent: false,
            busy: None,
        });
    }
    let config = config(services, delay, grace);
    let mut play = Play {
        machine: Machine::new(Rc::clone(&config)),
        record: Record::new(&config),
        config,
        now: Timestamp::default(),
        trees,
        orphans: Vec::new(),
        unsent: None,
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
    play.advance(Timestamp(Duration::from_secs(3600)));
    play
}

/// What the script leads to, line by line.
#[track_caller]
fn check(script: &str, expected: &str) {
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
    let readme = include_str!("../../README.md");
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
    3 SIGINT
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
        2.0 s  SIGINT    hurrying
        2.0 s  nginx     <- SIGKILL, forced
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
        6.0 s  php-fpm   its workers may not be signalled, for want of CAP_KILL: only the master is asked, and it may not be able to end them either
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
        1.0 s  nginx     ended unasked
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
        0.0 s  nginx     ended before it was ready; stopping
        0.0 s  php-fpm   workers <- SIGQUIT
        0.0 s  php-fpm   master <- SIGQUIT
        0.1 s  php-fpm   exited 0
        0.1 s  drainit   exits 1
        ",
    );
}

#[test]
fn who_is_not_ready_in_time_stops_all() {
    check(
        "
    delay 5 grace 30
    php-fpm deaf
    nginx web
    31 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  php-fpm   was not ready in time; stopping
        0.0 s  php-fpm   <- SIGQUIT
        1.0 s  php-fpm   exited 0
        1.0 s  drainit   exits 1
        ",
    );
}

/// It may take longer than the start timeout.
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

#[test]
fn what_a_command_left_behind_has_a_second() {
    check(
        "
    delay 2 grace 10
    sh worker
    0 sh has other
    1 sh exits 0
    2.5 sh loses other
    ",
        "
        0.0 s  sh        started
        0.0 s  sh        exited 0
        0.0 s  sh        <- SIGTERM
        1.0 s  sh        <- SIGKILL, forced
        1.5 s  drainit   exits 0
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
