//! The file as people write it: what it means, and what is said of its mistakes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use proptest::prelude::*;

use super::cli::{Cli, Flags};
use super::file::{SERVICE_KEYS, option};
use super::service::{ReadyAt, ServiceConfig};
use super::value::Error;
use super::{Config, Host, cli, show};
use crate::core::plan::{Binding, Delay, Readiness, Restart, ServiceId, ServicePlan};
use crate::signal::Signal;
use crate::status::Failure;
use crate::sys::user::Identity;

/// A machine with files and variables, and with programs of any name but `nosuch`.
struct Machine {
    files: HashMap<PathBuf, Vec<u8>>,
    variables: HashMap<&'static str, &'static str>,
    user: u32,
}

impl Machine {
    fn with_file(text: &str) -> Self {
        Self {
            files: HashMap::from([("/etc/drainit.toml".into(), text.as_bytes().to_owned())]),
            variables: HashMap::new(),
            user: 0,
        }
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.as_bytes().to_owned());
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn ask<T>(&self, ask: impl Fn(&Host) -> T) -> T {
        ask(&Host {
            variable: &|name| self.variables.get(name).map(OsString::from),
            find: &|word, _| match Path::new(word) {
                word if word.ends_with("nosuch") => Err(Failure::NotFound),
                word => Ok(Path::new("/bin").join(word)),
            },
            php_fpms: &|| vec!["php-fpm8.4".to_owned()],
            read: &|path| {
                let file = self.files.get(path);
                file.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
            },
            find_user: &|user, group| match (user, group) {
                ("nobody", _) => Err("there is no user nobody".to_owned()),
                (user, group) => Ok(Identity {
                    uid: Uid::from_raw(user.parse().unwrap_or(33)),
                    gid: Gid::from_raw(if group.is_some() { 44 } else { 33 }),
                    groups: Vec::new(),
                    name: Some(user.to_owned()),
                    home: None,
                }),
            },
            user: Uid::from_raw(self.user),
        })
    }

    fn resolve(&self, cli: Cli) -> Result<Config, Error> {
        let cli = std::cell::RefCell::new(Some(cli));
        self.ask(|host| Config::resolve(cli.take().unwrap(), host))
    }

    #[track_caller]
    fn config(&self) -> Config {
        match self.resolve(Cli::default()) {
            Ok(config) => config,
            Err(error) => panic!("{}", error.message),
        }
    }

    #[track_caller]
    fn mistake(&self) -> Error {
        self.resolve(Cli::default()).unwrap_err()
    }
}

fn flags<const N: usize>(given: [(&'static str, &str); N]) -> Cli {
    Cli {
        flags: Flags::of(given.map(|(name, text)| (name, text.to_owned()))),
        ..Cli::default()
    }
}

fn names(config: &Config) -> Vec<&str> {
    let services = config.services.iter();
    services.map(|service| service.name.as_str()).collect()
}

fn named<'a>(config: &'a Config, name: &str) -> (&'a ServiceConfig, &'a ServicePlan) {
    let id = config
        .services
        .find(|service| service.name == name)
        .unwrap();
    let plan = config.plan.services.get(id).unwrap();
    (config.services.get(id).unwrap(), plan)
}

/// Those that each is after, by their names.
fn after(config: &Config) -> Vec<(&str, Vec<&str>)> {
    let name = |id: &ServiceId| config.services.get(*id).unwrap().name.as_str();
    let plans = config.plan.services.each();
    plans
        .map(|(id, plan)| (name(&id), plan.after.iter().map(name).collect()))
        .collect()
}

/// That of `DESIGN`, which has each key.
const WHOLE: &str = r#"
delay = "5s..15s"
grace-period = "30s"
log-prefix = false

[[service]]
name = "migrate"
command = "php artisan migrate --force"
oneshot = true

[[service]]
name = "php-fpm"

[[service]]
name = "nginx"

[[service]]
name = "queue"
command = ["php", "artisan", "queue:work"]
after = []
enabled = "${WITH_QUEUE:-true}"
instances = 2
user = "www-data"
group = "www-data"
directory = "/app"
environment = { APP_ENV = "production" }
env-file = ".env"
nofile = 65536
log-prefix = true
stop-signal = "TERM"
stop-timeout = "60s"
restart = "always"
restart-delay = "1s..30s"
restart-limit = 5
success = [0]
essential = true
ready = "tcp:9000"
start-timeout = "5m"
"#;

/// As it is found by who starts there.
#[test]
fn a_relative_command_is_looked_up_in_the_services_directory() {
    for (command, program) in [
        ("./x y", "/app/./x"),
        ("bin/x", "/app/bin/x"),
        ("/srv/x", "/srv/x"),
        ("x", "/bin/x"),
    ] {
        let text = format!("[[service]]\nname = \"a\"\ncommand = \"{command}\"\n");
        let config = Machine::with_file(&(text + "directory = \"/app\"\n")).config();
        assert_eq!(named(&config, "a").0.program, Path::new(program));
    }
}

#[test]
fn each_key_says_what_it_says() {
    let machine = Machine::with_file(WHOLE).file("/etc/.env", "A=1\nAPP_ENV=x");
    let config = machine.config();
    let seconds = |delay: Delay| (delay.min.as_secs(), delay.max.as_secs());
    assert_eq!(seconds(config.plan.delay), (5, 15));
    assert_eq!(config.plan.grace_period.as_secs(), 30);
    let order = ["migrate", "php-fpm", "nginx", "queue-1", "queue-2"];
    assert_eq!(names(&config), order);
    assert_eq!(
        after(&config),
        [
            ("migrate", vec![]),
            ("php-fpm", vec!["migrate"]),
            ("nginx", vec!["migrate", "php-fpm"]),
            ("queue-1", vec![]),
            ("queue-2", vec![]),
        ]
    );
    let (migrate, plan) = named(&config, "migrate");
    assert_eq!(migrate.command, ["php", "artisan", "migrate", "--force"]);
    assert_eq!(
        (plan.ready, plan.restart),
        (Readiness::Success, Restart::No)
    );
    let (php_fpm, plan) = named(&config, "php-fpm");
    assert_eq!(php_fpm.command, ["php-fpm8.4", "-F"]);
    assert_eq!((plan.ready, plan.restart), (Readiness::Listen, Restart::No));
    assert!(plan.start_timeout.is_none() && plan.stop_timeout.is_none());
    assert!(!php_fpm.setting.has_prefix && php_fpm.setting.identity.is_none());

    let (queue, plan) = named(&config, "queue-2");
    assert_eq!(queue.command, ["php", "artisan", "queue:work"]);
    let setting = &queue.setting;
    let identity = setting.identity.as_ref().unwrap();
    assert_eq!((identity.uid.as_raw(), identity.gid.as_raw()), (33, 44));
    assert_eq!(setting.directory.as_deref(), Some(Path::new("/app")));
    let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    // The last one holds.
    let expected = [
        pair("A", "1"),
        pair("APP_ENV", "x"),
        pair("APP_ENV", "production"),
    ];
    assert_eq!(setting.environment, expected);
    assert_eq!((setting.nofile, setting.has_prefix), (Some(65536), true));
    assert_eq!((queue.stop, queue.stop_is_given), (Signal::TERM, true));
    assert_eq!(queue.ready_at, Some(ReadyAt::Tcp(9000)));
    assert_eq!(plan.ready, Readiness::Listen);
    assert_eq!(plan.stop_timeout.unwrap().as_secs(), 60);
    assert_eq!(plan.start_timeout.unwrap().as_secs(), 300);
    assert_eq!(plan.restart, Restart::Always);
    assert_eq!(seconds(plan.restart_delay), (1, 30));
    assert_eq!(plan.binding, Binding::Always);
    assert_eq!(named(&config, "nginx").1.binding, Binding::Listening);
    assert_eq!((plan.restart_limit, plan.success.as_slice()), (5, &[0][..]));
    assert!(plan.essential && plan.is_enabled);
    let [note, other] = &*config.notes else {
        panic!("{:?}", config.notes)
    };
    assert!(note.starts_with("queue-1: its stop-timeout") && other.starts_with("queue-2"));
}

#[test]
fn the_test_of_each_key_has_each_key() {
    for (key, _) in &SERVICE_KEYS {
        assert!(WHOLE.contains(&format!("\n{key} = ")), "{key}");
    }
}

#[test]
fn what_is_given_before_the_file_goes_before_it() {
    let text = "delay = \"3s\"\nlog-level = \"debug\"\nsuccess = [7]\nrewrite = [\"HUP=none\"]\n\
                [[service]]\nname = \"nginx\"";
    let machine = Machine::with_file(text);
    let delay = |machine: &Machine, cli| machine.resolve(cli).unwrap().plan.delay.min.as_secs();
    assert_eq!(delay(&machine, Cli::default()), 3);
    assert_eq!(delay(&machine, flags([("delay", "4s")])), 4);
    let machine = machine.variable("DRAINIT_DELAY", "5s");
    assert_eq!(delay(&machine, Cli::default()), 5);
    assert_eq!(delay(&machine, flags([("delay", "4s")])), 4);
    let config = machine.config();
    assert_eq!(config.rewrites.len(), 1);
    assert_eq!(named(&config, "nginx").1.success, [0, 7]);
    assert_eq!(config.log_level, log::LevelFilter::Debug);
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn a_command_or_services_that_are_typed_leave_the_files_services_out() {
    let text = "delay = \"3s\"\n[[service]]\nname = \"x\"\ncommand = \"${UNSET}\"";
    let machine = Machine::with_file(text);
    let command = |words: &[&str]| Cli {
        command: words.iter().map(OsString::from).collect(),
        ..Cli::default()
    };
    for (cli, by) in [
        (command(&["php", "-v"]), "the command php"),
        (flags([("service", "php=php")]), "--service"),
    ] {
        let config = machine.resolve(cli).unwrap();
        assert_eq!(names(&config), ["php"]);
        assert_eq!(config.plan.delay.min.as_secs(), 3);
        let note = format!("the services of /etc/drainit.toml don't run: {by} goes before them");
        assert_eq!(config.notes, [note]);
    }
    let machine = machine.variable("DRAINIT_SERVICES", "php=php");
    assert_eq!(names(&machine.config()), ["php"]);
    // A file without services says nothing of them.
    let machine = Machine::with_file("delay = \"3s\"");
    assert_eq!(names(&machine.config()), ["php-fpm", "nginx"]);
    assert_eq!(machine.resolve(command(&["php"])).unwrap().notes, [""; 0]);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let machine = Machine::with_file("").file("/x.toml", "[[service]]\nname = \"nginx\"");
    let cli = || flags([("config", "/x.toml")]);
    assert_eq!(names(&machine.resolve(cli()).unwrap()), ["nginx"]);
    let machine = machine.variable("DRAINIT_CONFIG", "/none.toml");
    let message = machine.mistake().message;
    assert!(
        message.starts_with("DRAINIT_CONFIG: /none.toml can't be read: "),
        "{message}"
    );
    assert_eq!(names(&machine.resolve(cli()).unwrap()), ["nginx"]);
}

#[test]
fn variables_are_read_in_each_string_and_in_nothing_else() {
    let text = r#"
        delay = "${DELAY}s"
        [[service]]
        name = "${NAME}"
        command = ["${NAME}", "$$HOME", "${NONE:-a b}"]
        environment = { "${NAME}" = "${NAME}" }
        enabled = "${ENABLED:-no}"
        [[service]]
        name = "b"
        command = "${LINE}""#;
    let machine = Machine::with_file(text)
        .variable("DELAY", "3")
        .variable("NAME", "a")
        .variable("LINE", "php 'x y'");
    let config = machine.config();
    assert_eq!(config.plan.delay.min.as_secs(), 3);
    let (a, plan) = named(&config, "a");
    assert_eq!(a.command, ["a", "$HOME", "a b"]);
    assert!(!plan.is_enabled);
    let environment = [(OsString::from("${NAME}"), OsString::from("a"))];
    assert_eq!(a.setting.environment, environment);
    assert_eq!(named(&config, "b").0.command, ["php", "x y"]);
    let config = machine.variable("ENABLED", "1").config();
    assert!(named(&config, "a").1.is_enabled);
}

#[test]
fn what_is_not_enabled_need_not_be_installed() {
    let text = "[[service]]\nname = \"a\"\ncommand = \"nosuch x\"\nenabled = false\n\
                [[service]]\nname = \"b\"\ncommand = \"php\"";
    let config = Machine::with_file(text).config();
    assert_eq!(named(&config, "a").0.command, ["nosuch", "x"]);
    assert!(!named(&config, "a").1.is_enabled && named(&config, "b").1.is_enabled);
}

fn services(lines: &[&str]) -> Machine {
    let mut text = String::new();
    for line in lines {
        let (name, keys) = line.split_once(':').unwrap();
        let keys = keys.trim().replace("; ", "\n");
        let _ = writeln!(text, "[[service]]\nname = \"{name}\"\n{keys}");
        if !keys.contains("command") {
            text += "command = \"php\"\n";
        }
    }
    Machine::with_file(&text)
}

#[test]
fn services_stand_behind_those_that_they_are_after() {
    let config = services(&["a: after = [\"c\"]", "b:", "c: after = []; instances = 2"]).config();
    assert_eq!(
        after(&config),
        [
            ("c-1", vec![]),
            ("c-2", vec![]),
            ("a", vec!["c-1", "c-2"]),
            ("b", vec!["a"]),
        ]
    );
}

#[test]
fn an_end_means_what_it_means_for_such_a_service() {
    let restarts = |machine: Machine| -> Vec<Restart> {
        let plans = machine.config().plan.services;
        plans.iter().map(|plan| plan.restart).collect()
    };
    let (no, always) = (Restart::No, Restart::Always);
    assert_eq!(restarts(services(&["a:"])), [no]);
    let several = [
        "a: oneshot = true",
        "b:",
        "nginx: command = \"nginx\"",
        "c: restart = \"no\"",
    ];
    assert_eq!(restarts(services(&several)), [no, always, no, no]);
    assert_eq!(restarts(services(&["a: instances = 2"])), [always; 2]);
    let one = services(&["a: restart = \"on-failure\"; oneshot = true"]);
    assert_eq!(restarts(one), [Restart::OnFailure]);
}

#[test]
fn what_is_ready_can_be_said() {
    let ready = |keys: &str| {
        let config = services(&[&format!("a: {keys}")]).config();
        (
            config.plan.services[0].ready,
            config.services[0].ready_at.clone(),
        )
    };
    let (none, listen) = (Readiness::None, Readiness::Listen);
    let unix = |path: &str| (listen, Some(ReadyAt::Unix(path.to_owned())));
    for (keys, expected) in [
        ("", (none, None)),
        ("ready = \"none\"", (none, None)),
        ("ready = \"listen\"", (listen, None)),
        ("ready = \"tcp:80\"", (listen, Some(ReadyAt::Tcp(80)))),
        ("ready = \"unix:/run/a\"", unix("/run/a")),
        ("ready = \"unix:@a\"", unix("@a")),
        ("command = \"nginx\"", (listen, None)),
        ("command = \"nginx\"; ready = \"none\"", (none, None)),
        (
            "command = \"nginx -t\"; oneshot = true",
            (Readiness::Success, None),
        ),
    ] {
        assert_eq!(ready(keys), expected, "{keys}");
    }
}

#[test]
fn who_is_not_root_runs_all_as_itself_and_says_so_once() {
    let file = [
        "a: user = \"33\"",
        "b: user = \"1000\"",
        "c: group = \"web\"",
        "d:",
    ];
    let root = services(&file).config();
    let user = |name| {
        let identity = named(&root, name).0.setting.identity.as_ref();
        identity.map(|it| (it.uid.as_raw(), it.gid.as_raw()))
    };
    let expected = [Some((33, 33)), Some((1000, 33)), Some((0, 44)), None];
    assert_eq!(["a", "b", "c", "d"].map(user), expected);
    assert_eq!(root.notes, [""; 0]);
    let config = Machine {
        user: 1000,
        ..services(&file)
    }
    .config();
    let mut identities = config.services.iter().map(|it| &it.setting.identity);
    assert!(identities.all(Option::is_none));
    let [note] = &*config.notes else {
        panic!("{:?}", config.notes)
    };
    assert!(note.contains("a, c will run as we do"), "{note}");
}

#[test]
fn mistakes_say_where_and_what_would_be_right() {
    for (text, place, parts) in [
        ("delay", "1:6", &["key with no value"][..]),
        ("\n\u{fc} = 1", "2:1", &["invalid unquoted key"]),
        ("a = \"\u{fc}\" x", "1:9", &[]),
        ("delay = 5x", "1:9", &[]),
        ("delay = \"5x\"", "1:9", &["delay: '5x' is no duration (5s"]),
        ("dealy = 5", "1:1", &["'dealy'", "did you mean 'delay'?"]),
        ("delay = [5]", "1:9", &["delay: takes no list"]),
        (
            "delay = { a = 5 }",
            "1:9",
            &["delay: ", "a string is right"],
        ),
        ("delay = 0x5", "1:9", &["decimal"]),
        ("delay = 1979-05-27", "1:9", &["no date"]),
        ("delay = 5\ndelay = 6", "2:1", &["duplicate"]),
        ("delay = \"$X\"", "1:9", &["'$X'", "${X}"]),
        ("delay = \"${X}\"", "1:9", &["X is not set"]),
        (
            "delay = \"30s\"",
            "1:9",
            &["30s leaves no time", "DRAINIT_GRACE_PERIOD"],
        ),
        ("service = 5", "1:11", &["[[service]]"]),
        ("[service]\nname = \"a\"", "1:1", &["[[service]]"]),
        ("config = \"x\"", "1:1", &["no key 'config'"]),
        (
            "user = \"x\"",
            "1:1",
            &["'user'", "it stands in a [[service]]"],
        ),
        (
            "[[service]]\nname = \"nginx\"\ndelay = 5",
            "3:1",
            &["before the first [[service]]"],
        ),
        (
            "[[service]]\nname = \"nginx\"\nstop_timeout = 5",
            "3:1",
            &["'stop-timeout'?"],
        ),
        ("[[service]]\ncommand = \"a\"", "1:1", &["has no name"]),
        ("[[service]]\nname = \"\"", "1:1", &["has no name"]),
        (
            "[[service]]\nname = \"a\"",
            "1:1",
            &["a has no command; php-fpm and nginx"],
        ),
        (
            "[[service]]\nname = \"apache2\"",
            "1:1",
            &["apache2 has no command"],
        ),
        ("[[service]]\nname = \"a\"\ncommand = []", "1:1", &["empty"]),
        (
            "[[service]]\nname = \"a\"\ncommand = \"\"",
            "3:11",
            &["empty"],
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = \"a\\u0000\"",
            "3:11",
            &["NUL"],
        ),
    ] {
        let error = Machine::with_file(text).mistake();
        let begin = format!("/etc/drainit.toml:{place}: ");
        let is_right = error.message.starts_with(&begin)
            && parts.iter().all(|part| error.message.contains(part));
        assert!(is_right, "{text}: {}", error.message);
        assert_eq!(
            (error.message.lines().count(), error.failure),
            (1, Failure::Usage)
        );
    }
}

/// Services, the place of the mistake, and what is said of it.
type Mistake = (
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const MISTAKES: &[Mistake] = &[
    (
        &["a: command = \"a | b\""],
        "3:11",
        &["command: '|'", "sh -c"],
    ),
    (
        &["a: command = \"nosuch\""],
        "3:11",
        &["nosuch: command not found"],
    ),
    (&["a:", "a:"], "6:1", &["two services of the name a"]),
    (
        &["a: instances = 2", "a-2:"],
        "6:1",
        &["two services of the name a-2"],
    ),
    (
        &["a-2:", "a: instances = 2"],
        "6:1",
        &["two services of the name a-2"],
    ),
    (&["a: instances = 0"], "3:13", &["1 to 100"]),
    (&["a: instances = 101"], "3:13", &["1 to 100"]),
    (
        &["aa: after = [\"ab\"]"],
        "3:10",
        &["no service 'ab'", "'aa'?"],
    ),
    (&["a: after = [\"a\"]"], "3:1", &["a \u{2192} a"]),
    (
        &["a: after = [\"b\"]", "b: after = [\"a\"]"],
        "3:1",
        &["a \u{2192} b \u{2192} a"],
    ),
    (
        &[
            "x:",
            "a: after = [\"c\"]",
            "b: after = [\"a\"]",
            "c: after = [\"b\"]",
        ],
        "7:1",
        &["other: a \u{2192} c \u{2192} b \u{2192} a"],
    ),
    (
        &["a: after = [\"b\"]", "b:"],
        "3:1",
        &["b is after all before it unless"],
    ),
    (&["a: ready = \"tcp:0\""], "3:9", &["tcp:PORT"]),
    (&["a: ready = \"unix:a\""], "3:9", &["unix:/PATH"]),
    (
        &["a: ready = \"none\"; oneshot = true"],
        "3:9",
        &["a oneshot is ready"],
    ),
    (
        &["a: restart = \"always\"; oneshot = true"],
        "3:11",
        &["a oneshot ends"],
    ),
    (
        &["a: restart = \"never\""],
        "3:11",
        &["no, on-failure and always"],
    ),
    (&["a: restart-delay = \"2s..1s\""], "3:17", &["1s..2s"]),
    (&["a: restart-limit = -1"], "3:17", &["0 is no limit"]),
    (
        &["a: success = [0, 256]"],
        "3:15",
        &["'256' is no exit code"],
    ),
    (
        &["a: enabled = \"perhaps\""],
        "3:11",
        &["neither true nor false"],
    ),
    (&["a: essential = 2"], "3:13", &["neither true nor false"]),
    (&["a: nofile = 0"], "3:10", &["from 1 on"]),
    (&["a: stop-signal = \"TREM\""], "3:15", &["TREM"]),
    (&["a: stop-timeout = 0"], "3:16", &["no time"]),
    (&["a: start-timeout = \"x\""], "3:17", &["no duration"]),
    (
        &["a: user = \"nobody\""],
        "3:8",
        &["user: there is no user nobody"],
    ),
    (&["a: directory = \"app\""], "3:13", &["no absolute path"]),
    (
        &["a: environment = \"A=1\""],
        "3:15",
        &["{ NAME = \"value\" }"],
    ),
    (&["a: environment = { \"A=\" = 1 }"], "3:24", &["'A='"]),
    (
        &["a: env-file = \"none\""],
        "3:12",
        &["env-file: /etc/none: "],
    ),
    (&["a: log-prefix = 5"], "3:14", &["neither true nor false"]),
];

#[test]
fn mistakes_of_a_service_say_where_and_what_would_be_right() {
    for (lines, place, parts) in MISTAKES {
        let error = services(lines).mistake();
        let message = error.message.as_str();
        let begin = format!("/etc/drainit.toml:{place}: ");
        let is_right =
            message.starts_with(&begin) && parts.iter().all(|part| message.contains(part));
        assert!(is_right, "{lines:?}: {message}");
        assert_eq!(message.lines().count(), 1);
        let is_missing = message.contains("command not found");
        assert_eq!(error.failure == Failure::NotFound, is_missing, "{message}");
    }
    let machine = services(&["a: env-file = \"x\""]).file("/etc/x", "A=1\n B");
    assert_eq!(machine.config().services[0].setting.environment.len(), 1);
    let message = machine.file("/etc/x", "A=1\n =2").mistake().message;
    assert!(message.starts_with("/etc/x:2:2: the name"), "{message}");
}

#[test]
fn a_stop_signal_at_the_top_is_for_one_service_alone() {
    let text = "stop-signal = \"INT\"\n[[service]]\nname = \"nginx\"\n";
    let config = Machine::with_file(text).config();
    assert_eq!(config.services[0].stop, Signal::INT);
    let text = format!("{text}[[service]]\nname = \"php-fpm\"");
    let message = Machine::with_file(&text).mistake().message;
    assert!(
        message.starts_with("/etc/drainit.toml:1:15: stop-signal: "),
        "{message}"
    );
}

/// What is printed, without where it came from.
fn shown(machine: &Machine, cli: Cli) -> String {
    let cli = std::cell::RefCell::new(Some(cli));
    let text = machine.ask(|host| show(cli.take().unwrap(), host));
    text.unwrap_or_else(|error| panic!("{}", error.message))
}

fn without_origins(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.rsplit_once(" # ").map_or(line, |it| it.0));
    lines.map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_holds_is_printed_with_where_it_came_from() {
    let machine = Machine::with_file(WHOLE)
        .file("/etc/.env", "A=1")
        .variable("DRAINIT_QUIET", "2s");
    let text = shown(&machine, flags([("log-level", "warn")]));
    let line = |begin: &str| {
        let mut lines = text.lines();
        let line = lines
            .find(|line| line.starts_with(begin))
            .unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for line_expected in [
        r#"delay = "5s..15s" # /etc/drainit.toml:2"#,
        r#"quiet = "2s" # DRAINIT_QUIET"#,
        r#"log-level = "warn" # --log-level"#,
        r#"termination-log = "none" # default of Docker"#,
        r#"stop-after = "clients" # default"#,
    ] {
        let (begin, _) = line_expected.split_once(" = ").unwrap();
        assert_eq!(line(begin), line_expected);
    }
    assert!(
        text.contains(r#"command = ["/bin/php-fpm8.4", "-F"]"#),
        "{text}"
    );
    assert!(text.contains("instances = 2"), "{text}");
}

#[test]
fn what_is_printed_means_the_same_when_it_is_read() {
    let files = [
        WHOLE,
        "",
        "[[service]]\nname = \"a\"\ncommand = [\"php\", \"$$x \\\"\\\\ \\u0007 \u{fc}\", \"007\", \"\"]",
        "[[service]]\nname = \"b\"\ncommand = \"a\"\nenvironment = { \"a b\" = \"$${X}\", C = true }\n\
         [[service]]\nname = \"a\"\ncommand = \"php\"\nafter = []\nsuccess = []",
    ];
    for text in files {
        let machine = Machine::with_file(text).file("/etc/.env", "A=1");
        for cli in [
            flags([]),
            flags([("service", "x=php 'a b' '$'"), ("rewrite", "HUP=none")]),
        ] {
            let config = format!("{:?}", machine.resolve(clone(&cli)).unwrap());
            let printed = shown(&machine, cli);
            let again = Machine::with_file(&printed).file("/etc/.env", "A=1");
            assert_eq!(
                without_origins(&shown(&again, Cli::default())),
                without_origins(&printed)
            );
            let read = format!("{:?}", again.config());
            // The first word of a command becomes the program's whole path.
            let plain = |text: &str| text.replace("/bin/", "");
            let config = plain(&config);
            let (config, _) = config.split_once("notes: ").unwrap();
            assert!(
                plain(&read).starts_with(config),
                "{printed}\n{read}\n{config}"
            );
        }
    }
}

fn clone(cli: &Cli) -> Cli {
    Cli {
        flags: cli.flags.clone(),
        ..Cli::default()
    }
}

#[test]
fn the_page_has_each_key_and_no_other_and_its_examples_are_right() {
    let page = include_str!("../../../docs/configuration.md");
    let of_all = cli::OPTIONS.iter().filter_map(|it| option(it.name));
    let keys: Vec<&str> = of_all.chain(SERVICE_KEYS).map(|(key, _)| key).collect();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<&str> = rows
        .filter_map(|row| row.split_once('`'))
        .map(|it| it.0)
        .collect();
    for key in &keys {
        let count = keys.iter().filter(|it| it == &key).count();
        let rows = rows.iter().filter(|row| row == &key).count();
        assert_eq!(rows, count, "rows of {key}");
    }
    assert_eq!(rows.len(), keys.len());
    let mut blocks = page.split("\n```toml\n").skip(1).peekable();
    assert!(blocks.peek().is_some());
    for block in blocks {
        let (example, _) = block.split_once("\n```").unwrap();
        let machine = Machine::with_file(example)
            .file("/etc/.env", "A=1")
            .variable("APP_KEY", "x")
            // A shell runs us: there is nothing to say of an entrypoint.
            .variable("PWD", "/");
        match machine.resolve(Cli::default()) {
            Ok(config) => assert_eq!(config.notes, [""; 0], "{example}"),
            Err(error) => panic!("{example}\n{}", error.message),
        }
    }
}

fn is_one_line(machine: &Machine) -> Result<(), TestCaseError> {
    if let Err(error) = machine.resolve(Cli::default()) {
        let lines = error.message.lines().count();
        prop_assert_eq!(lines, 1, "{}", error.message);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_in_one_line(bytes: Vec<u8>) {
        let mut machine = Machine::with_file("");
        machine.files.insert("/etc/drainit.toml".into(), bytes);
        is_one_line(&machine)?;
    }

    #[test]
    fn a_file_with_mistakes_is_refused_in_one_line(
        at in 0..WHOLE.len(),
        length in 0..20_usize,
        with in "[ -~\n\u{fc}]{0,10}|\\$\\{|\"|\\[\\[service\\]\\]\n|= \\{|\r|\u{0}",
    ) {
        let mut bytes = WHOLE.as_bytes().to_owned();
        bytes.splice(at..(at + length).min(WHOLE.len()), with.bytes());
        let mut machine = Machine::with_file("").file("/etc/.env", "A=1");
        machine.files.insert("/etc/drainit.toml".into(), bytes);
        is_one_line(&machine)?;
    }

    #[test]
    fn any_env_file_is_read_or_refused_in_one_line(text in "([a-zA-Z_ =#\"'\\\\\n\r${}:-]|\u{fc}){0,60}") {
        let machine = services(&["a: env-file = \"x\""]).file("/etc/x", &text);
        is_one_line(&machine)?;
    }
}
