//! drainit's command: arguments, logger, run, exit code. See the library.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use drainit::config::cli::{self, Stop, Subcommand};
use drainit::config::value::{self, Error};
use drainit::config::{self, Config, Host};
use drainit::control::client::{self, Outcome};
use drainit::control::protocol::Answer;
use drainit::preset::{nginx_health, nginx_snippet};
use drainit::report::logger;
use drainit::status::Failure;
use drainit::supervisor::Supervisor;
use drainit::sys::path;
use drainit::sys::wakes::Wakes;

/// musl's own allocator maps and unmaps pages so often that a start took twice
/// as long, mostly in page faults.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let start = Instant::now();
    // First of all: until then PID 1 loses what signals come.
    let wakes = match Wakes::take_over() {
        Ok(wakes) => wakes,
        Err(error) => return fail(Failure::Usage, &format!("can't wait for signals: {error}")),
    };
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Stop::Print(text)) => return print(&text),
        Err(Stop::Wrong(line)) => return fail(Failure::Usage, &line),
    };
    let host = Host {
        variable: &|name| std::env::var_os(name),
        find: &path::find,
        php_fpms: &|| path::programs_beginning_with("php-fpm"),
    };
    match cli.subcommand {
        Some(Subcommand::NginxSnippet { health, marker }) => {
            let snippet = if health { nginx_health } else { nginx_snippet };
            return match config::marker(marker.or(cli.marker), &host) {
                Ok(marker) => print(&marker.path().map_or_else(String::new, snippet)),
                Err(Error { failure, message }) => fail(failure, &message),
            };
        }
        Some(Subcommand::Ready { wait }) => {
            // Nobody but PID 1 has to be without their default actions.
            let _ = wakes.inherited.restore();
            return ready(wait.as_deref());
        }
        None => {}
    }
    let config = match Config::resolve(cli, &host) {
        Ok(config) => config,
        Err(Error { failure, message }) => return fail(failure, &message),
    };
    logger::init(config.log_format, config.log_level, start);
    Supervisor::new(config, wakes, start).run().into()
}

/// Says whether all serve.
fn ready(wait: Option<&str>) -> ExitCode {
    let outcome = match wait.map(value::duration) {
        None => client::is_ready(),
        Some(Ok(at_most)) => client::wait_until_ready(at_most),
        Some(Err(what)) => return fail(Failure::Usage, &format!("--wait: {what}")),
    };
    let (word, why) = match &outcome {
        Outcome::Answered(Answer::NotHeard) => (
            Answer::NotHeard.word(),
            "drainit answers its own user and root",
        ),
        Outcome::Answered(answer) => (answer.word(), ""),
        Outcome::Unanswered(why) => ("unanswered", why.as_str()),
    };
    if !why.is_empty() {
        let _ = writeln!(std::io::stderr(), "drainit: {why}");
    }
    match print(&format!("{word}\n")) {
        printed if outcome.is_ready() => printed,
        _ => ExitCode::FAILURE,
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Before the first spawn every mistake is fatal, with one line.
fn fail(failure: Failure, message: &str) -> ExitCode {
    // One line, whatever was given: a YAML block hands over line ends.
    let message = message.replace(char::is_control, " ");
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "drainit: {message}");
    failure.into()
}
