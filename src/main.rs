//! drainit's command: arguments, logger, run, exit code. See the library.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use drainit::config::cli::{self, Cli, Stop, Subcommand};
use drainit::config::value::{self, Error};
use drainit::config::{self, Config, Host};
use drainit::control::client;
use drainit::control::protocol::{Answer, Request, health_word};
use drainit::control::status::state_word;
use drainit::core::event::Command;
use drainit::personality::{self, Call, Personality, Said, Stream};
use drainit::preset::{nginx_health, nginx_snippet};
use drainit::report::logger;
use drainit::status::Failure;
use drainit::supervisor::Supervisor;
use drainit::sys::path;
use drainit::sys::process::{self, Pid};
use drainit::sys::stderr::Stderr;
use drainit::sys::user;
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
    let host = Host {
        variable: &|name| std::env::var_os(name),
        find: &path::find,
        php_fpms: &|| path::programs_beginning_with("php-fpm"),
        read: &|path| std::fs::read(path),
        find_user: &user::find,
        user: user::own(),
    };
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    if let Some(personality) = Personality::by_name(&called) {
        let call = Call {
            name: called.to_string_lossy().into_owned(),
            words: words.collect(),
            host: &host,
            pid: Pid::own(),
            is_subreaper: process::is_subreaper(),
        };
        return stand_in(personality, call, wakes, start);
    }
    let cli = match cli::parse(std::iter::once(called).chain(words).collect()) {
        Ok(cli) => cli,
        Err(Stop::Print(text)) => return print(&text),
        Err(Stop::Wrong(line)) => return fail(Failure::Usage, &line),
    };
    match cli.subcommand {
        Some(Subcommand::NginxSnippet { health, marker }) => {
            let snippet = if health { nginx_health } else { nginx_snippet };
            let flags = match marker {
                Some(marker) => cli.flags.with("marker", marker),
                None => cli.flags,
            };
            return match config::marker(&flags, &host) {
                Ok(marker) => print(&marker.path().map_or_else(String::new, snippet)),
                Err(Error { failure, message }) => fail(failure, &message),
            };
        }
        Some(Subcommand::Config { file }) => {
            let flags = match file {
                Some(file) => cli.flags.with("config", file),
                None => cli.flags,
            };
            let cli = Cli {
                flags,
                ..Cli::default()
            };
            return match config::show(cli, &host) {
                Ok(text) => print(&text),
                Err(Error { failure, message }) => fail(failure, &message),
            };
        }
        Some(question) => {
            // Nobody but PID 1 has to be without their default actions.
            let _ = wakes.inherited.restore();
            return ask(question);
        }
        None => {}
    }
    let config = match Config::resolve(cli, &host) {
        Ok(config) => config,
        Err(Error { failure, message }) => return fail(failure, &message),
    };
    run(config, wakes, start)
}

fn run(config: Config, wakes: Wakes, start: Instant) -> ExitCode {
    if config.stand_in.is_none() {
        logger::init(config.log_format, config.log_level, start);
    }
    Supervisor::new(config, wakes, start).run().into()
}

/// Does what another init does.
fn stand_in(personality: Personality, call: Call, wakes: Wakes, start: Instant) -> ExitCode {
    match personality.plan(call) {
        Ok(plan) => {
            if let Some(warning) = plan.warning {
                let _ = Stderr::open().write_all(warning.as_bytes());
            }
            run(plan.config, wakes, start)
        }
        Err(personality::Stop::Say(Said { text, to, code })) => {
            let printed = match to {
                Stream::Output => std::io::stdout().write_all(text.as_bytes()),
                Stream::Error => std::io::stderr().write_all(text.as_bytes()),
            };
            // Nobody is left to tell if that fails.
            let _ = printed;
            code.into()
        }
        Err(personality::Stop::Wrong(Error { failure, message })) => fail(failure, &message),
    }
}

/// Asks the drainit of this container, and prints the answer.
fn ask(question: Subcommand) -> ExitCode {
    let answered = match question {
        Subcommand::Ready { wait } => return ready(wait.as_deref()),
        Subcommand::Status { json } => status(json),
        Subcommand::Command(command, names) => have_done(command, &names),
        Subcommand::Drain => begin(&Request::Drain).map(drop),
        Subcommand::NginxSnippet { .. } | Subcommand::Config { .. } => Ok(()),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "drainit: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all serve.
fn ready(wait: Option<&str>) -> ExitCode {
    let outcome = match wait.map(value::duration) {
        None => client::ask(&Request::Ready),
        Some(Ok(at_most)) => client::wait_until_ready(at_most),
        Some(Err(what)) => return fail(Failure::Usage, &format!("--wait: {what}")),
    };
    let (word, why) = match &outcome {
        Ok(Answer::Health(health)) => (health_word(*health), String::new()),
        Ok(other) => ("refused", client::why_not(other)),
        Err(why) => ("unanswered", why.clone()),
    };
    if !why.is_empty() {
        let _ = writeln!(std::io::stderr(), "drainit: {why}");
    }
    match print(&format!("{word}\n")) {
        printed if client::is_ready(&outcome) => printed,
        _ => ExitCode::FAILURE,
    }
}

/// Says how each service is.
fn status(json: bool) -> Result<(), String> {
    match client::ask(&Request::Status)? {
        Answer::Status(status) => {
            let text = if json { status.json() } else { status.table() };
            print(&text);
            Ok(())
        }
        other => Err(client::why_not(&other)),
    }
}

/// Has services do something, and waits until they have.
fn have_done(command: Command, names: &[String]) -> Result<(), String> {
    let mut begun = Vec::new();
    for name in names {
        begun.extend(begin(&Request::Command(command, name.clone()))?);
    }
    if let Command::Reload | Command::Reopen = command {
        return Ok(());
    }
    for name in begun {
        let state = client::wait_for(command, &name)?;
        print(&format!("{name} {}\n", state_word(state)));
    }
    Ok(())
}

/// Begins it, and prints what is said of it; returns the names of the services.
fn begin(request: &Request) -> Result<Vec<String>, String> {
    match client::ask(request)? {
        Answer::Begun { names, said } => {
            if !said.is_empty() {
                print(&format!("{said}\n"));
            }
            Ok(names)
        }
        other => Err(client::why_not(&other)),
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
