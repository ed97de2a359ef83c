//! The command line as typed: nothing is looked up or made sense of here.
//!
//! Each option is a row of [`OPTIONS`], each subcommand one of [`SUBCOMMANDS`]; the help
//! is made of them. A library for this would be a third of the binary.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt as _;

use super::value::alike;
use crate::core::event::Command;

/// An option that stands before the command.
#[derive(Debug)]
pub struct Opt {
    /// `delay` is given by `--delay`, and by `DRAINIT_DELAY`.
    pub name: &'static str,
    /// What stands for its value in the help; empty if it takes none.
    value: &'static str,
    /// It may be given several times; its variable holds several entries.
    pub repeats: bool,
    help: &'static str,
}

const fn option(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt {
        name,
        value,
        repeats: false,
        help,
    }
}

const fn repeatable(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt {
        name,
        value,
        repeats: true,
        help,
    }
}

/// In the order of the help. What reads the value of each is in [`super::Config::resolve`].
pub static OPTIONS: [Opt; 18] = [
    option(
        "config",
        "FILE",
        "The file that says what to run and how [default: /etc/drainit.toml, if it is there]",
    ),
    repeatable(
        "service",
        "NAME[=COMMAND]",
        "Run this service; repeatable, started in this order, stopped in reverse. php-fpm and \
         nginx need no COMMAND",
    ),
    option(
        "delay",
        "MIN[..MAX]",
        "How long to serve on after the stop signal, while load balancers learn of it: at least \
         MIN, then until requests end, at most MAX [default: by the platform; 2s..5s on Docker]",
    ),
    option(
        "grace-period",
        "DURATION",
        "The time the runtime gives between its stop signal and SIGKILL [default: by the \
         platform; 10s on Docker]",
    ),
    option(
        "start-timeout",
        "DURATION",
        "How long a service may take to become ready; past it all are stopped [default: no limit]",
    ),
    option(
        "stop-signal",
        "SIGNAL",
        "What makes the service stop [default: by the program; TERM if unknown]",
    ),
    repeatable(
        "rewrite",
        "FROM=TO",
        "Take one signal for another, or for none; repeatable",
    ),
    option(
        "forward-to",
        "main|group",
        "Whether what is passed on, and the stop signal, go to a command's main process alone or \
         to its whole process group [default: main]",
    ),
    option(
        "parent-death-signal",
        "SIGNAL",
        "Have the kernel send us this signal when our parent ends",
    ),
    repeatable(
        "success",
        "CODE",
        "Take this exit code of a service for 0; repeatable",
    ),
    option(
        "quiet",
        "DURATION",
        "For how long nothing may have come to a php-fpm whose nginx is in another container, \
         before it is drained, and at most one thing to us before the delay ends [default: 1s]",
    ),
    option(
        "stop-after",
        "tcp:PORT,…|none",
        "What such a php-fpm also waits for: that nobody listens on these ports, or is connected \
         to them [default: that nobody outside is connected to ports of others]",
    ),
    option(
        "marker",
        "PATH|none",
        "The file that exists while we drain, or none [default: /dev/shm/drainit.draining, where \
         nginx runs]",
    ),
    option(
        "control",
        "none",
        "none: answer no `drainit ready`, `status` or other command",
    ),
    option(
        "termination-log",
        "PATH|none",
        "Where the runtime looks for what a container has to say of its end, or none [default: by \
         the platform; /dev/termination-log on Kubernetes]",
    ),
    option("log-format", "FORMAT", "text or json [default: text]"),
    option(
        "log-prefix",
        "true|false",
        "Whether each line of a service has its name in front [default: false]",
    ),
    option(
        "log-level",
        "LEVEL",
        "off, error, warn, info or debug [default: info]",
    ),
];

/// What to do instead of running services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subcommand {
    /// Ask whether all serve.
    Ready {
        /// Wait for it, at most for so long.
        wait: Option<String>,
    },
    /// Print what holds.
    Config {
        /// The file to read.
        file: Option<String>,
    },
    /// Print how each service is.
    Status {
        /// As JSON.
        json: bool,
    },
    /// Have services of these names do something.
    Command(Command, Vec<String>),
    /// Ask for the whole stop.
    Drain,
    /// Print lines for nginx's configuration.
    NginxSnippet {
        /// The location for load balancers, instead of what closes connections.
        health: bool,
        /// The marker that they look for.
        marker: Option<String>,
    },
}

/// A subcommand, as its words have it.
struct Known {
    name: &'static str,
    options: &'static [Opt],
    /// What stands for its further words in the usage; empty if it takes none.
    operands: &'static str,
    help: &'static str,
    make: fn(Flags, Vec<String>) -> Subcommand,
}

static SUBCOMMANDS: [Known; 10] = [
    Known {
        name: "config",
        options: &[option("config", "FILE", "Read this file")],
        operands: "",
        help: "Print what holds, as a file: each value, and where it came from",
        make: |mut flags, _| Subcommand::Config {
            file: flags.take("config"),
        },
    },
    Known {
        name: "ready",
        options: &[option(
            "wait",
            "DURATION",
            "Wait until they do, at most for so long; such a question is no health check",
        )],
        operands: "",
        help: "Ask the drainit of this container whether all its services serve, for a health \
               check: exit code 0 if they do; 1, and one word, while they start, from the stop \
               signal on, and when nobody answers",
        make: |mut flags, _| Subcommand::Ready {
            wait: flags.take("wait"),
        },
    },
    Known {
        name: "status",
        options: &[option("json", "", "For programs")],
        operands: "",
        help: "Print how each service is",
        make: |mut flags, _| Subcommand::Status {
            json: flags.take("json").is_some(),
        },
    },
    Known {
        name: "start",
        options: &[],
        operands: "NAME…",
        help: "Start these services, and wait until they serve",
        make: |_, names| Subcommand::Command(Command::Start, names),
    },
    Known {
        name: "stop",
        options: &[],
        operands: "NAME…",
        help: "Drain these services, and those that are after them and can't do without them; they \
               stay away until they are started",
        make: |_, names| Subcommand::Command(Command::Stop, names),
    },
    Known {
        name: "restart",
        options: &[],
        operands: "NAME…",
        help: "Drain these services, and those that can't do without them, and start them all anew",
        make: |_, names| Subcommand::Command(Command::Restart, names),
    },
    Known {
        name: "reload",
        options: &[],
        operands: "NAME…",
        help: "Have these services read their configuration anew, each in its own way",
        make: |_, names| Subcommand::Command(Command::Reload, names),
    },
    Known {
        name: "reopen",
        options: &[],
        operands: "NAME…",
        help: "Have these services open their log files anew",
        make: |_, names| Subcommand::Command(Command::Reopen, names),
    },
    Known {
        name: "drain",
        options: &[],
        operands: "",
        help: "Stop the container as its runtime would: delay, drain, exit",
        make: |_, _| Subcommand::Drain,
    },
    Known {
        name: "nginx-snippet",
        options: &[
            option(
                "health",
                "",
                "Instead, a location for load balancers that look for themselves: it answers 503 \
                 while we drain, else 200",
            ),
            option(
                "marker",
                "PATH",
                "The marker that they look for [default: /dev/shm/drainit.draining]",
            ),
        ],
        operands: "",
        help: "Print the lines for nginx's configuration that close idle connections while we \
               drain",
        make: |mut flags, _| Subcommand::NginxSnippet {
            health: flags.take("health").is_some(),
            marker: flags.take("marker"),
        },
    },
];

const NOTES: [&str; 4] = [
    "Without a COMMAND or --service: the services of /etc/drainit.toml, if it is there, else \
     php-fpm and nginx, whichever are installed.",
    "Durations: 5s, 500ms, 1m30s, or seconds. Each option can also be set by its variable \
     DRAINIT_DELAY, DRAINIT_GRACE_PERIOD and so on; services by DRAINIT_SERVICES, rewrites by \
     DRAINIT_REWRITE and exit codes by DRAINIT_SUCCESS, one a line or with ';' between them. Most \
     are keys of the file, too. A flag wins over its variable, and this over the file; an empty \
     one is unset.",
    "Signals: TERM, QUIT, PWR and RTMIN+3 stop; INT stops without the delay, and hurries when it \
     comes again; HUP reloads; USR1 reopens log files.",
    "Exit codes: 0 stopped as asked; 1 a service didn't become ready; 2 bad arguments; 126, 127 a \
     command that can't be executed, or isn't there; 137, 143 the grace period was too short, by \
     SIGKILL or SIGTERM; else the status of the service that ended.",
];

/// Options that were given, each with its value as text, so that the same code reads
/// those that come from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// These, each by its name without dashes.
    pub fn of(given: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(given.into_iter().collect())
    }

    /// All values of one.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let its = self.0.iter().filter(move |(known, _)| *known == name);
        its.map(|(_, value)| value.as_str())
    }

    /// These, but one of them, with this value in its place.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
        self
    }

    /// The value of one that can be given once.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }
}

/// The arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cli {
    /// The options before the command.
    pub flags: Flags,
    /// The one command to run, as with tini.
    pub command: Vec<OsString>,
    /// What to do instead of running services.
    pub subcommand: Option<Subcommand>,
}

/// Why there are no arguments to go on with.
#[derive(Debug)]
pub enum Stop {
    /// The help or the version was asked for: this text.
    Print(String),
    /// They are wrong: one line that says what and where.
    Wrong(String),
}

/// Reads the arguments; the first is our own name.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, Stop> {
    let mut words = arguments.into_iter().peekable();
    words.next();
    let flags = flags(&mut words, &OPTIONS, help)?;
    let is_subcommand = |word: &OsString| SUBCOMMANDS.iter().find(|known| *word == *known.name);
    let Some(known) = words.peek().and_then(is_subcommand) else {
        words.next_if(|word| word == "--");
        return Ok(Cli {
            flags,
            command: words.collect(),
            subcommand: None,
        });
    };
    words.next();
    let its = self::flags(&mut words, known.options, || known.help())?;
    let operands: Vec<String> = words.map(text).collect::<Result<_, _>>()?;
    match (known.operands, operands.first()) {
        ("", Some(word)) => Err(wrong(&format!(
            "{}: '{word}' is one word too many",
            known.name
        ))),
        ("", None) | (_, Some(_)) => Ok(Cli {
            flags,
            command: Vec::new(),
            subcommand: Some((known.make)(its, operands)),
        }),
        (form, None) => Err(wrong(&format!("{}: {form} is missing", known.name))),
    }
}

fn text(word: OsString) -> Result<String, Stop> {
    let text = word.into_string();
    text.map_err(|word| wrong(&format!("'{}' is not UTF-8", word.to_string_lossy())))
}

/// Takes the options off the front, up to the first word that is none.
fn flags(
    words: &mut Peekable<std::vec::IntoIter<OsString>>,
    known: &'static [Opt],
    help: impl Fn() -> String,
) -> Result<Flags, Stop> {
    let is_option = |word: &OsString| {
        let word = word.as_bytes();
        word.starts_with(b"-") && word != b"-" && word != b"--"
    };
    let mut flags = Flags::default();
    while let Some(word) = words.next_if(is_option) {
        let word = text(word)?;
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        match name {
            "--help" | "-h" => return Err(Stop::Print(help())),
            "--version" | "-V" => {
                let version = concat!("drainit ", env!("CARGO_PKG_VERSION"), "\n");
                return Err(Stop::Print(version.to_owned()));
            }
            _ => {}
        }
        let long = name.strip_prefix("--").unwrap_or_default();
        let Some(option) = known.iter().find(|option| option.name == long) else {
            let meant = alike(long, known.iter().map(|option| option.name));
            let meant = meant.map_or(String::new(), |it| format!("; did you mean '--{it}'?"));
            return Err(wrong(&format!("there is no option '{name}'{meant}")));
        };
        if !option.repeats && flags.all(long).next().is_some() {
            return Err(wrong(&format!("{name} is given twice")));
        }
        let value = match (option.value, value) {
            ("", None) => String::new(),
            ("", Some(_)) => return Err(wrong(&format!("{name} takes no value"))),
            (_, Some(value)) => value,
            (form, None) => {
                let required = || wrong(&format!("{name}: a value is required, {form}"));
                text(words.next().ok_or_else(required)?)?
            }
        };
        flags.0.push((option.name, value));
    }
    Ok(flags)
}

fn wrong(what: &str) -> Stop {
    Stop::Wrong(format!("{what} (see drainit --help)"))
}

fn help() -> String {
    let mut help = String::new();
    add_wrapped(&mut help, "", env!("CARGO_PKG_DESCRIPTION"));
    help.push_str("\nUsage: drainit [OPTIONS] [--] [COMMAND [ARG…]]\n");
    for known in &SUBCOMMANDS {
        let _ = writeln!(help, "       {}", known.usage());
    }
    add_options(&mut help, &OPTIONS);
    for note in NOTES {
        help.push('\n');
        add_wrapped(&mut help, "", note);
    }
    help
}

impl Known {
    fn usage(&self) -> String {
        let mut usage = format!("drainit {}", self.name);
        for option in self.options {
            let _ = write!(usage, " [{}]", option.usage());
        }
        if !self.operands.is_empty() {
            let _ = write!(usage, " {}", self.operands);
        }
        usage
    }

    fn help(&self) -> String {
        let mut help = String::new();
        add_wrapped(&mut help, "", self.help);
        let _ = writeln!(help, "\nUsage: {}", self.usage());
        add_options(&mut help, self.options);
        help
    }
}

impl Opt {
    fn usage(&self) -> String {
        let usage = format!("--{} {}", self.name, self.value);
        usage.trim_end().to_owned()
    }
}

fn add_options(help: &mut String, options: &[Opt]) {
    help.push_str("\nOptions:\n");
    for option in options {
        let _ = writeln!(help, "  {}", option.usage());
        add_wrapped(help, "        ", option.help);
    }
    help.push_str("  -h, --help\n  -V, --version\n");
}

/// Terminals have 80 columns at least.
fn add_wrapped(help: &mut String, indent: &str, text: &str) {
    let mut column = 80;
    for (index, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if column + width >= 80 {
            if index > 0 {
                help.push('\n');
            }
            help.push_str(indent);
            column = indent.len();
        } else {
            help.push(' ');
            column += 1;
        }
        help.push_str(word);
        column += width;
    }
    help.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Cli, Stop> {
        let words = std::iter::once("drainit").chain(words.iter().copied());
        parse(words.map(OsString::from).collect())
    }

    #[test]
    fn the_command_takes_all_that_follows_it() {
        for words in [
            &["--delay", "1", "--", "nginx", "-g", "daemon off;"][..],
            &["--delay", "1", "nginx", "-g", "daemon off;"],
            &["--delay=1", "nginx", "-g", "daemon off;"],
        ] {
            let cli = parse_words(words).unwrap();
            assert_eq!(cli.command, ["nginx", "-g", "daemon off;"]);
            assert_eq!(cli.flags, Flags::of([("delay", "1".to_owned())]));
        }
        for words in [
            &["--", "sh", "-c", "x", "--", "--delay"][..],
            &["--service=a=b=c", "--service", "d", "-"],
            &["--", "--"],
        ] {
            let cli = parse_words(words).unwrap();
            let from = words.iter().position(|word| *word == "--" || *word == "-");
            let command = &words[from.unwrap()..];
            let command = command.strip_prefix(&["--"]).unwrap_or(command);
            assert_eq!(cli.command, command);
        }
        let cli = parse_words(&["--service=a=b=c", "--service", "d"]).unwrap();
        let services: Vec<&str> = cli.flags.all("service").collect();
        assert_eq!(services, ["a=b=c", "d"]);
    }

    #[test]
    fn a_program_of_a_subcommands_name_runs_after_two_dashes() {
        let cli = parse_words(&["nginx-snippet"]).unwrap();
        assert!(cli.subcommand.is_some() && cli.command.is_empty());
        let cli = parse_words(&["--", "nginx-snippet"]).unwrap();
        assert!(cli.subcommand.is_none());
        assert_eq!(cli.command, ["nginx-snippet"]);
        let cli = parse_words(&["sh", "nginx-snippet"]).unwrap();
        assert!(cli.subcommand.is_none());
    }

    #[test]
    fn a_subcommand_has_options_of_its_own() {
        let of = |words: &[&str]| parse_words(words).unwrap().subcommand.unwrap();
        let wait = |wait: Option<&str>| Subcommand::Ready {
            wait: wait.map(str::to_owned),
        };
        assert_eq!(of(&["ready"]), wait(None));
        assert_eq!(of(&["ready", "--wait", "5s"]), wait(Some("5s")));
        let names = vec!["nginx".to_owned(), "queue".to_owned()];
        let stop = Subcommand::Command(Command::Stop, names);
        assert_eq!(of(&["stop", "nginx", "queue"]), stop);
        let snippet = Subcommand::NginxSnippet {
            health: true,
            marker: Some("/x".to_owned()),
        };
        let words = ["nginx-snippet", "--marker=/x", "--health"];
        assert_eq!(of(&words), snippet);
    }

    #[test]
    fn mistakes_are_one_line_that_names_the_thing() {
        for (words, parts) in [
            (&["--dealy", "5"][..], &["'--dealy'", "'--delay'"][..]),
            (&["-d", "5"], &["'-d'"]),
            (
                &["--delay"],
                &["--delay", "value is required", "MIN[..MAX]"],
            ),
            (&["--delay=1", "--delay=2"], &["--delay is given twice"]),
            (&["ready", "5s"], &["ready", "'5s'"]),
            (&["ready", "--delay", "5s"], &["'--delay'"]),
            (&["nginx-snippet", "--health=x"], &["--health", "no value"]),
        ] {
            let Err(Stop::Wrong(line)) = parse_words(words) else {
                panic!("{words:?} is taken")
            };
            assert!(
                !line.contains('\n') && parts.iter().all(|part| line.contains(part)),
                "{line}"
            );
        }
    }

    #[test]
    fn the_help_fits_a_terminal_and_is_there_for_each_subcommand() {
        let printed = |words: &[&str]| match parse_words(words) {
            Err(Stop::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        for words in [&["--help"][..], &["ready", "-h"], &["--delay=x", "-h"]] {
            let text = printed(words);
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
            assert!(!text.contains(" \n") && text.ends_with('\n'), "{text}");
        }
        let all = printed(&["--help"]);
        for part in [
            "drainit ready [--wait DURATION]\n",
            "  --delay MIN[..MAX]\n",
        ] {
            assert!(all.contains(part), "{all}");
        }
        assert!(printed(&["ready", "--help"]).contains("--wait DURATION\n"));
    }
}
