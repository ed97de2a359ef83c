//! How a process ended, and how a start failed.

use std::fmt;
use std::process::ExitCode;

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
    /// As the init that we stand in for has it.
    Theirs(u8),
}

impl Failure {
    /// The exit code, 126 and 127 as a shell has them.
    pub fn code(self) -> u8 {
        match self {
            Self::NotReady => 1,
            Self::Usage => 2,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Theirs(code) => code,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        failure.code().into()
    }
}
