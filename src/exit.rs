//! Exit statuses, and the one place that decides our own exit code.

use std::fmt;
use std::process::ExitCode;

use crate::machine::Force;
use crate::report::{Record, ServiceRecord};
use crate::signal::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(Signal),
}

impl Status {
    /// As a shell has it in `$?`.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            // Signals end at 64.
            Self::Killed(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
        }
    }
}

impl Status {
    /// Whether it ended because of this signal: killed by it, or with the code
    /// that programs which handle it take for that, as a JVM does.
    pub fn is_by(self, signal: Signal) -> bool {
        self.code() == Self::Killed(signal).code()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited {code}"),
            Self::Killed(signal) => write!(f, "killed by {signal}"),
        }
    }
}

/// What we exit with before the first spawn, and when a start fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A service didn't become ready.
    NotReady,
    /// The command line, the environment or the configuration is wrong.
    Usage,
    /// The command was found and can't be executed.
    NotExecutable,
    /// The command was not found.
    NotFound,
}

impl Failure {
    /// The exit code, 126 and 127 as a shell has them.
    pub fn code(self) -> u8 {
        match self {
            Self::NotReady => 1,
            Self::Usage => 2,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        failure.code().into()
    }
}

/// Our own exit code, by the first rule that applies.
pub fn code(record: &Record) -> u8 {
    let services = &record.services;
    if let Some(failure) = services.iter().find_map(|service| service.start_failed) {
        return failure.code();
    }
    let forced = services
        .iter()
        .filter_map(|service| service.forced)
        .chain(record.rest_forced)
        .max();
    match forced {
        Some(Force::Kill) => return 128 + 9,
        Some(Force::Term) => return 128 + 15,
        None => {}
    }
    if let Some(unasked) = record.first_unasked {
        return unasked.code();
    }
    match services.as_slice() {
        // As with tini, its status is ours.
        [only] if !only.is_preset => only.status.map_or(0, Status::code),
        _ => services
            .iter()
            .map(|service| failed_with(service, record.requested_by()))
            .find(|code| *code != 0)
            .unwrap_or(0),
    }
}

/// The code of a service that was asked to stop, 0 if it ended as asked: a
/// preset by itself, another one with 0, and each by a signal of ours, or by the
/// runtime's own, which some send to all processes at once.
fn failed_with(service: &ServiceRecord, requested_by: Option<Signal>) -> u8 {
    let Some(status) = service.status else {
        return 0;
    };
    let is_asked_preset = service.is_preset && !service.sent.is_empty();
    let is_as_asked = match status {
        Status::Exited(_) if service.is_preset => true,
        // Apache ends its whole group by SIGTERM, the script around it too.
        status if is_asked_preset && status.is_by(Signal::TERM) => true,
        status => {
            let mut ours = service.sent.iter().chain(&requested_by);
            ours.any(|signal| status.is_by(*signal))
        }
    };
    if is_as_asked { 0 } else { status.code() }
}
