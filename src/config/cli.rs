//! The command line as typed: nothing is looked up or made sense of here
//! (that is `config.rs`).

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

/// The arguments. Values are kept as text, so that the same code reads those
/// that come from the environment.
#[derive(Debug, Default, Parser)]
#[command(
    name = "drainit",
    version,
    about = "A tiny PID 1 for containers that stops nginx and php-fpm without dropping a request",
    override_usage = "drainit [OPTIONS] [--] [COMMAND [ARG…]]\n       drainit ready [--wait DURATION]\n       drainit nginx-snippet [--health]",
    disable_help_subcommand = true,
    after_help = "Without a COMMAND or --service: php-fpm and nginx, whichever are installed.\n\
        \n\
        Durations: 5s, 500ms, 1m30s, or seconds. Each option can also be set by its variable \
        DRAINIT_DELAY, DRAINIT_GRACE_PERIOD and so on; services by DRAINIT_SERVICES, rewrites \
        by DRAINIT_REWRITE and exit codes by DRAINIT_SUCCESS, one a line or with ';' between \
        them. A flag wins over its variable; an empty one is unset.\n\
        \n\
        Signals: TERM, QUIT, PWR and RTMIN+3 stop; INT stops without the delay, and hurries when \
        it comes again; HUP reloads; USR1 reopens log files.\n\
        \n\
        Exit codes: 0 stopped as asked; 1 a service didn't become ready; 2 bad arguments; \
        126, 127 a command that can't be executed, or isn't there; 137, 143 the grace period \
        was too short, by SIGKILL or SIGTERM; else the status of the service that ended."
)]
pub struct Cli {
    /// Run this service; repeatable, started in this order, stopped in reverse.
    /// php-fpm and nginx need no COMMAND
    #[arg(long = "service", value_name = "NAME[=COMMAND]")]
    pub services: Vec<String>,

    /// How long to serve on after the stop signal, while load balancers learn
    /// of it: at least MIN, then until requests end, at most MAX
    /// [default: by the platform; 2s..5s on Docker]
    #[arg(long, value_name = "MIN[..MAX]")]
    pub delay: Option<String>,

    /// The time the runtime gives between its stop signal and SIGKILL
    /// [default: by the platform; 10s on Docker]
    #[arg(long, value_name = "DURATION")]
    pub grace_period: Option<String>,

    /// How long a service may take to become ready; past it all are stopped
    /// [default: no limit]
    #[arg(long, value_name = "DURATION")]
    pub start_timeout: Option<String>,

    /// What makes the service stop [default: by the program; TERM if unknown]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// Take one signal for another, or for none; repeatable
    #[arg(long, value_name = "FROM=TO")]
    pub rewrite: Vec<String>,

    /// Whether what is passed on, and the stop signal, go to a command's main
    /// process alone or to its whole process group [default: main]
    #[arg(long, value_name = "main|group")]
    pub forward_to: Option<String>,

    /// Have the kernel send us this signal when our parent ends
    #[arg(long, value_name = "SIGNAL")]
    pub parent_death_signal: Option<String>,

    /// Take this exit code of a service for 0; repeatable
    #[arg(long, value_name = "CODE")]
    pub success: Vec<String>,

    /// For how long nothing may have come to a php-fpm whose nginx is in
    /// another container, before it is drained, and at most one thing to us
    /// before the delay ends [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub quiet: Option<String>,

    /// What such a php-fpm also waits for: that nobody listens on these ports,
    /// or is connected to them [default: that nobody outside is connected to
    /// ports of others]
    #[arg(long, value_name = "tcp:PORT,…|none")]
    pub stop_after: Option<String>,

    /// The file that exists while we drain, or none
    /// [default: /dev/shm/drainit.draining, where nginx runs]
    #[arg(long, value_name = "PATH|none")]
    pub marker: Option<String>,

    /// none: answer no `drainit ready`
    #[arg(long, value_name = "none")]
    pub control: Option<String>,

    /// Where the runtime looks for what a container has to say of its end, or
    /// none [default: by the platform; /dev/termination-log on Kubernetes]
    #[arg(long, value_name = "PATH|none")]
    pub termination_log: Option<String>,

    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Whether each line of a service has its name in front [default: false]
    #[arg(long, value_name = "true|false")]
    pub log_prefix: Option<String>,

    /// off, error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Run this one command, as with tini
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,

    /// What to do instead of running services
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,
}

/// What to do instead of running services.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Subcommand {
    /// Ask the drainit of this container whether all its services serve, for a health
    /// check: exit code 0 if they do; 1, and one word, while they start, from the stop
    /// signal on, and when nobody answers
    Ready {
        /// Wait until they do, at most for so long; such a question is no health check
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
    },

    /// Print the lines for nginx's configuration that close idle connections
    /// while we drain
    NginxSnippet {
        /// Instead, a location for load balancers that look for themselves: it
        /// answers 503 while we drain, else 200
        #[arg(long)]
        health: bool,

        /// The marker that they look for [default: /dev/shm/drainit.draining]
        #[arg(long, value_name = "PATH")]
        marker: Option<String>,
    },
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
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    Ok(Cli::try_parse_from(arguments)?)
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Print(error.to_string()),
            _ => Self::Wrong(one_line(&error.to_string())),
        }
    }
}

/// Clap says what is wrong, then what would be right, then how to call us, in
/// paragraphs. The last is dropped.
fn one_line(error: &str) -> String {
    let lines: Vec<&str> = error
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| {
            line.trim_start_matches("error: ")
                .trim_start_matches("tip: ")
        })
        .collect();
    format!("{} (see drainit --help)", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Cli, Stop> {
        parse(
            std::iter::once("drainit")
                .chain(words.iter().copied())
                .map(OsString::from),
        )
    }

    #[test]
    fn the_command_takes_all_that_follows_it() {
        for words in [
            &["--delay", "1", "--", "nginx", "-g", "daemon off;"][..],
            &["--delay", "1", "nginx", "-g", "daemon off;"],
        ] {
            let cli = parse_words(words).unwrap();
            assert_eq!(cli.command, ["nginx", "-g", "daemon off;"]);
            assert_eq!(cli.delay.as_deref(), Some("1"));
        }
        let cli = parse_words(&["--", "sh", "-c", "x", "--", "--delay"]).unwrap();
        assert_eq!(cli.command, ["sh", "-c", "x", "--", "--delay"]);
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
    fn mistakes_are_one_line_that_names_the_thing() {
        for (words, parts) in [
            (&["--dealy", "5"][..], &["'--dealy'", "'--delay'"][..]),
            (&["--delay"], &["--delay", "value is required"]),
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
}
