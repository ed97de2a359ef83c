//! dumb-init 1.2.5.

use super::getopt::{Known, Options, leading_number};
use super::{Call, Said, Task};
use crate::config::stand_in::StandIn;
use crate::report::voice::{Happening, Voice, strerror};
use crate::signal::{Rewrite, Signal};
use crate::status::Status;
use crate::sys::process::{Pid, Terminal};

const VERSION: &str = "dumb-init v1.2.5\n";

/// The last signal that it rewrites.
const LAST: i32 = 31;

const KNOWN: Known = Known {
    short: "hvVr:c",
    long: &[
        ("help", 'h'),
        ("single-child", 'c'),
        ("rewrite", 'r'),
        ("verbose", 'v'),
        ("version", 'V'),
    ],
    permutes: false,
};

pub(super) fn read(call: &mut Call) -> Result<Task, Said> {
    let mut has_session = call.variable("DUMB_INIT_SETSID").as_deref() != Some("0");
    let mut is_verbose = call.variable("DUMB_INIT_DEBUG").as_deref() == Some("1");
    let mut rewrites = Vec::new();
    let mut options = Options::new(&KNOWN, std::mem::take(&mut call.words));
    for option in options.by_ref() {
        let (letter, value) =
            option.map_err(|what| Said::failed(format!("{}: {what}\n", call.name)))?;
        match letter {
            'h' => return Err(Said::told(usage(&call.name))),
            'V' => return Err(Said::told(VERSION.to_owned())),
            'v' => is_verbose = true,
            'c' => has_session = false,
            _ => {
                let rewrite: Rewrite =
                    rewrite(&value.to_string_lossy()).ok_or_else(wrong_rewrite)?;
                // The last word counts.
                rewrites.retain(|other: &Rewrite| other.from != rewrite.from);
                rewrites.push(rewrite);
            }
        }
    }
    let command = options.operands();
    if command.is_empty() {
        let name = &call.name;
        return Err(Said::failed(format!(
            "Usage: {name} [option] program [args]\nTry {name} --help for full usage.\n"
        )));
    }
    // A session of its own has no shell that would stop it.
    let own_rewrites = [Signal::TSTP, Signal::TTOU, Signal::TTIN].map(|from| Rewrite {
        from,
        to: Some(Signal::STOP),
    });
    let term = rewrites.iter().find(|it| it.from == Signal::TERM);
    let last_word = term.map_or(Some(Signal::TERM), |rewrite| rewrite.to);
    Ok(Task {
        command: Some(command),
        rewrites,
        own_rewrites: own_rewrites.into_iter().filter(|_| has_session).collect(),
        to_group: has_session,
        parent_death_signal: None,
        success: Vec::new(),
        warning: None,
        stand_in: StandIn {
            terminal: Some(if has_session {
                Terminal::SessionWithTerminal
            } else {
                Terminal::OurGroup
            }),
            is_subreaper: false,
            suspends: true,
            takes_faults: true,
            last_word,
            leaves_directory: true,
            voice: Voice {
                pid: call.pid,
                level: is_verbose.into(),
                warns_of_orphans: false,
                words,
                code: |_| 2,
            },
        },
    })
}

/// As sscanf(3) reads `%d:%d`; 0 drops the signal.
fn rewrite(text: &str) -> Option<Rewrite> {
    let (from, rest) = leading_number(text)?;
    let (to, _) = leading_number(rest.strip_prefix(':')?)?;
    if from > LAST || !(0..=LAST).contains(&to) {
        return None;
    }
    Some(Rewrite {
        from: Signal::from_number(from)?,
        to: Signal::from_number(to),
    })
}

fn wrong_rewrite() -> Said {
    Said::failed(format!(
        "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and {LAST}.\n\
         This option can be specified multiple times.\n\
         Use --help for full usage.\n"
    ))
}

fn words(voice: &Voice, happening: &Happening) -> Option<String> {
    let what = match happening {
        Happening::NotExecuted(what, _, error) => {
            return Some(format!("[dumb-init] {what}: {}\n", strerror(error)));
        }
        _ if voice.level == 0 => return None,
        Happening::Started(_, pid) => format!("Child spawned with PID {pid}."),
        Happening::Came(signal) => format!("Received signal {}.", signal.number()),
        Happening::PassedOn(signal) => {
            format!("Forwarded signal {} to children.", signal.number())
        }
        Happening::ReapedOrphan(pid, status) => ended(*pid, *status),
        Happening::Ended(pid, status) => {
            let code = status.code();
            let ended = ended(*pid, *status);
            format!("{ended}\n[dumb-init] Child exited with status {code}. Goodbye.")
        }
    };
    Some(format!("[dumb-init] {what}\n"))
}

fn ended(pid: Pid, status: Status) -> String {
    match status {
        Status::Exited(code) => {
            format!("A child with PID {pid} exited with exit status {code}.")
        }
        Status::Killed(signal) => format!(
            "A child with PID {pid} was terminated by signal {}.",
            signal.number()
        ),
    }
}

fn usage(name: &str) -> String {
    format!(
        "{VERSION}Usage: {name} [option] command [[arg] ...]

dumb-init is a simple process supervisor that forwards signals to children.
It is designed to run as PID1 in minimal container environments.

Optional arguments:
   -c, --single-child   Run in single-child mode.
                        In this mode, signals are only proxied to the
                        direct child and not any of its descendants.
   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.
                        To ignore (not proxy) a signal, rewrite it to 0.
                        This option can be specified multiple times.
   -v, --verbose        Print debugging information to stderr.
   -h, --help           Print this help message and exit.
   -V, --version        Print the current version and exit.

Full help is available online at https://github.com/Yelp/dumb-init
"
    )
}
