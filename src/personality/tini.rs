//! tini 0.19.0, and Docker's own init, which is one.

use std::io;

use super::getopt::{Known, Options, leading_number};
use super::{Call, LICENSE, Said, Task, dropped};
use crate::config::stand_in::StandIn;
use crate::report::voice::{Happening, Voice, strerror};
use crate::signal::Signal;
use crate::status::Status;
use crate::sys::process::Pid;

/// dockerd reads this of its init: the two words, and a number.
const VERSION: &str = "tini version 0.19.0";

/// What `-p` knows, by name alone and with SIG.
const PARENT_DEATH_SIGNALS: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE \
     ALRM TERM CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH SYS";

const NO_REAPER: &str = "Tini is not running as PID 1 and isn't registered as a child subreaper.\n\
    Zombie processes will not be re-parented to Tini, so zombie reaping won't work.\n\
    To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to \
    register Tini as a child subreaper, or run Tini as PID 1.";

pub(super) fn read(call: &mut Call) -> Result<Task, Said> {
    let arguments = std::mem::take(&mut call.words);
    if matches!(&*arguments, [only] if only == "--version") {
        return Err(Said::printed(format!("{VERSION}\n")));
    }
    let known = Known {
        short: "p:hvwgle:s",
        long: &[],
        permutes: !call.is_posix(),
    };
    let mut is_subreaper = call.variable("TINI_SUBREAPER").is_some();
    let mut to_group = call.variable("TINI_KILL_PROCESS_GROUP").is_some();
    let mut level = 1_u8;
    let mut warns_of_orphans = false;
    let mut parent_death_signal = None;
    let mut success = Vec::new();
    let mut options = Options::new(&known, arguments);
    for option in options.by_ref() {
        let (letter, value) = option.map_err(|what| {
            let name = &call.name;
            Said::failed(format!("{name}: {what}\n{}", usage(call.base_name())))
        })?;
        let value = value.to_string_lossy();
        let invalid = || {
            let what = format!("Not a valid option for -{letter}: {value}");
            Said::failed(line("FATAL", call.pid, &what))
        };
        match letter {
            'h' => return Err(Said::printed(usage(call.base_name()))),
            'l' => return Err(Said::printed(LICENSE.to_owned())),
            's' => is_subreaper = true,
            'v' => level = level.saturating_add(1),
            'w' => warns_of_orphans = true,
            'g' => to_group = true,
            'p' => parent_death_signal = Some(named_signal(&value).ok_or_else(invalid)?),
            _ => success.push(exit_code(&value).ok_or_else(invalid)?),
        }
    }
    let command = options.operands();
    if command.is_empty() {
        return Err(Said::failed(usage(call.base_name())));
    }
    if let Some(text) = call.variable("TINI_VERBOSITY") {
        let number = leading_number(&text).map_or(0, |(number, _)| number);
        // Below 0 is to it very much.
        level = u8::try_from(number).unwrap_or(u8::MAX);
    }
    let is_reaper = call.pid.is_init() || is_subreaper || call.is_subreaper;
    let warns = !is_reaper && level > 0;
    Ok(Task {
        command: Some(command),
        rewrites: Vec::new(),
        own_rewrites: dropped([Signal::TTIN, Signal::TTOU]),
        to_group,
        parent_death_signal,
        success,
        warning: warns.then(|| line("WARN ", call.pid, NO_REAPER)),
        stand_in: StandIn {
            is_subreaper,
            ..StandIn::plain(Voice {
                pid: call.pid,
                level,
                warns_of_orphans,
                words,
                code: |error: &io::Error| match error.raw_os_error() {
                    Some(libc::ENOENT) => 127,
                    Some(libc::EACCES) => 126,
                    _ => 1,
                },
            })
        },
    })
}

fn named_signal(text: &str) -> Option<Signal> {
    let name = text.strip_prefix("SIG")?;
    let is_known = PARENT_DEATH_SIGNALS.split(' ').any(|known| known == name);
    is_known.then(|| text.parse().ok()).flatten()
}

/// As strtol(3) reads it, to the end.
fn exit_code(text: &str) -> Option<u8> {
    let (number, rest) = leading_number(text)?;
    let code = number.try_into().ok()?;
    rest.is_empty().then_some(code)
}

fn line(level: &str, pid: Pid, what: &str) -> String {
    format!("[{level} tini ({pid})] {what}\n")
}

fn words(voice: &Voice, happening: &Happening) -> Option<String> {
    let (least, level, what) = match happening {
        Happening::NotExecuted(what, child, error) => {
            let what = format!("exec {what} failed: {}", strerror(error));
            return Some(line("FATAL", *child, &what));
        }
        Happening::ReapedOrphan(pid, _) if voice.warns_of_orphans => {
            (1, "WARN ", format!("Reaped zombie process with pid={pid}"))
        }
        // Said of each signal and each orphan: not even put into words in vain.
        _ if voice.level < 2 => return None,
        Happening::Started(what, pid) => (
            2,
            "INFO ",
            format!("Spawned child process '{what}' with pid '{pid}'"),
        ),
        Happening::Ended(_, Status::Exited(code)) => (
            2,
            "INFO ",
            format!("Main child exited normally (with status '{code}')"),
        ),
        Happening::Ended(_, Status::Killed(signal)) => (
            2,
            "INFO ",
            format!("Main child exited with signal (with signal '{signal}')"),
        ),
        Happening::PassedOn(signal) => (3, "DEBUG", format!("Passing signal: '{signal}'")),
        Happening::ReapedOrphan(pid, _) => (3, "DEBUG", format!("Reaped child with pid: '{pid}'")),
        Happening::Came(_) => return None,
    };
    (voice.level >= least).then(|| line(level, voice.pid, &what))
}

fn usage(name: &str) -> String {
    format!(
        "{name} ({VERSION})
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Execute a program under the supervision of a valid init process ({name})

Command line options:

  --version: Show version and exit.
  -h: Show this help message and exit.
  -s: Register as a process subreaper (requires Linux >= 3.4).
  -p SIGNAL: Trigger SIGNAL when parent dies, e.g. \"-p SIGKILL\".
  -v: Generate more verbose output. Repeat up to 3 times.
  -w: Print a warning when processes are getting reaped.
  -g: Send signals to the child's process group.
  -e EXIT_CODE: Remap EXIT_CODE (from 0 to 255) to 0.
  -l: Show license and exit.

Environment variables:

  TINI_SUBREAPER: Register as a process subreaper (requires Linux >= 3.4).
  TINI_VERBOSITY: Set the verbosity level (default: 1).
  TINI_KILL_PROCESS_GROUP: Send signals to the child's process group.

"
    )
}
