//! Other inits that drainit stands in for, by the name that it is called by.
//!
//! Each module turns the arguments and the environment of one into what is to be done,
//! with its messages and exit codes. All of it is pure; what is to be known of the
//! process comes in a [`Call`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::config::cli::{Cli, Flags};
use crate::config::stand_in::{Bare, StandIn};
use crate::config::value::Error;
use crate::config::{Config, Host};
use crate::report::voice::Happening;
use crate::signal::{Rewrite, Signal};
use crate::status::Failure;
use crate::sys::path::SearchSbin;
use crate::sys::process::Pid;

mod catatonit;
mod dumb_init;
mod getopt;
mod tini;

/// What is printed where a license is asked for: our own.
const LICENSE: &str = include_str!("../../LICENSE");

/// How an init was called.
pub struct Call<'a> {
    /// Its own name, as it was called by.
    pub name: String,
    /// What follows it.
    pub words: Vec<OsString>,
    /// The environment, and what can be found.
    pub host: &'a Host<'a>,
    /// Its process.
    pub pid: Pid,
    /// Orphans become its children, though it may not be PID 1.
    pub is_subreaper: bool,
}

impl Call<'_> {
    fn base_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = (self.host.variable)(name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// Whether getopt(3) is to read options up to the first other word alone.
    fn is_posix(&self) -> bool {
        (self.host.variable)("POSIXLY_CORRECT").is_some()
    }
}

/// Which of our streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// What is printed, and nothing else is done.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Whole lines.
    pub text: String,
    /// Where to.
    pub to: Stream,
    /// The exit code.
    pub code: u8,
}

impl Said {
    fn printed(text: String) -> Self {
        Self {
            text,
            to: Stream::Output,
            code: 0,
        }
    }

    /// Help, where it goes the way of all messages.
    fn told(text: String) -> Self {
        Self {
            text,
            to: Stream::Error,
            code: 0,
        }
    }

    fn failed(text: String) -> Self {
        Self {
            text,
            to: Stream::Error,
            code: 1,
        }
    }
}

/// What an init that was called so is to do.
#[derive(Debug)]
struct Task {
    /// `None` where it is to reap orphans and nothing else.
    command: Option<Vec<OsString>>,
    /// What was asked for by an option.
    rewrites: Vec<Rewrite>,
    /// What it never passes on as it came.
    own_rewrites: Vec<Rewrite>,
    to_group: bool,
    parent_death_signal: Option<Signal>,
    success: Vec<u8>,
    warning: Option<String>,
    stand_in: StandIn,
}

/// What is to be done in place of another init.
#[derive(Debug)]
pub struct Plan {
    /// As that init does it, or, if a variable of ours is set, as drainit does.
    pub config: Config,
    /// What it says first, on standard error.
    pub warning: Option<String>,
}

/// Why nothing is to be done.
#[derive(Debug)]
pub enum Stop {
    /// There is only something to be said.
    Say(Said),
    /// What is wrong as drainit has it, which a variable asks for.
    Wrong(Error),
}

/// An init that drainit stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// tini 0.19.
    Tini,
    /// dumb-init 1.2.5.
    DumbInit,
    /// catatonit 0.1.7.
    Catatonit,
}

impl Personality {
    /// By the name that we were called by. Docker calls what it mounts for `--init`
    /// docker-init, podman podman-init.
    pub fn by_name(called: &OsStr) -> Option<Self> {
        match Path::new(called).file_name()?.as_bytes() {
            b"tini" | b"tini-static" | b"docker-init" => Some(Self::Tini),
            b"dumb-init" => Some(Self::DumbInit),
            b"catatonit" | b"podman-init" => Some(Self::Catatonit),
            _ => None,
        }
    }

    /// What is to be done.
    pub fn plan(self, mut call: Call) -> Result<Plan, Stop> {
        let task = match self {
            Self::Tini => tini::read(&mut call),
            Self::DumbInit => dumb_init::read(&mut call),
            Self::Catatonit => catatonit::read(&mut call),
        };
        task.map_err(Stop::Say)?.into_plan(&call)
    }
}

impl Task {
    fn into_plan(mut self, call: &Call) -> Result<Plan, Stop> {
        let command = self.command.take();
        let config = match command {
            Some(command) if call.host.is_drainit_asked_for() => {
                let cli = self.as_options(command);
                Config::resolve(cli, call.host).map_err(Stop::Wrong)?
            }
            command => {
                let command = command.map(|command| self.find(command, call));
                let bare = Bare {
                    command: command.transpose()?,
                    rewrites: [self.rewrites, self.own_rewrites].concat(),
                    to_group: self.to_group,
                    parent_death_signal: self.parent_death_signal,
                    success: self.success,
                };
                Config::standing_in(bare, self.stand_in)
            }
        };
        Ok(Plan {
            warning: self.warning.filter(|_| config.stand_in.is_some()),
            config,
        })
    }

    /// The options of ours that mean the same.
    fn as_options(&self, command: Vec<OsString>) -> Cli {
        let number = |signal: Signal| signal.number().to_string();
        let rewrite = |rewrite: &Rewrite| {
            let to = rewrite.to.map_or_else(|| "none".to_owned(), number);
            format!("{}={to}", number(rewrite.from))
        };
        let rewrites = self.rewrites.iter().map(rewrite);
        let success = self.success.iter().map(ToString::to_string);
        let signal = self.parent_death_signal.map(number);
        let group = self.to_group.then(|| "group".to_owned());
        let given = rewrites.map(|it| ("rewrite", it));
        let given = given.chain(success.map(|it| ("success", it)));
        let given = given.chain(signal.map(|it| ("parent-death-signal", it)));
        Cli {
            flags: Flags::of(given.chain(group.map(|it| ("forward-to", it)))),
            command,
            subcommand: None,
        }
    }

    /// As execvp(3) does. What has a slash is looked for by the exec alone.
    fn find(&self, command: Vec<OsString>, call: &Call) -> Result<(PathBuf, Vec<OsString>), Stop> {
        let first = command.first().cloned().unwrap_or_default();
        let found = if first.as_bytes().contains(&b'/') {
            Ok(PathBuf::from(&first))
        } else {
            (call.host.find)(&first, SearchSbin::No)
        };
        found.map(|file| (file, command)).map_err(|failure| {
            let error = io::Error::from_raw_os_error(match failure {
                Failure::NotExecutable => libc::EACCES,
                _ => libc::ENOENT,
            });
            let voice = self.stand_in.voice;
            let first = first.to_string_lossy();
            let line = voice.say(&Happening::NotExecuted(&first, call.pid, &error));
            Stop::Say(Said {
                text: self.warning.iter().cloned().chain(line).collect(),
                to: Stream::Error,
                code: (voice.code)(&error),
            })
        })
    }
}

/// These signals go nowhere.
fn dropped(signals: impl IntoIterator<Item = Signal>) -> Vec<Rewrite> {
    let drop = |from| Rewrite { from, to: None };
    signals.into_iter().map(drop).collect()
}
