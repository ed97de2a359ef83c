//! Forwarders: processes that put a service's name before each line that it writes.
//!
//! One for each start of a service, so that what the service writes never comes to us,
//! and whoever keeps it waiting doesn't keep us. It ends when nobody is left who could
//! write to it. It is forked, and executes nothing: an image FROM scratch has nothing.
//! No process of a service, it is neither counted nor signalled.

use log::warn;

use crate::config::service::ServiceConfig;
use crate::report::lines::Lines;
use crate::report::logger::{LogFormat, OURSELVES};
use crate::sys::forward;
use crate::sys::proc;
use crate::sys::process::{self, Forwarder, Outputs, Pid};

/// How far they have come with what services have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it is written.
    All,
    /// Something was, since the last look.
    More,
    /// Nothing was, as far as can be seen.
    Nothing,
}

/// Those that run.
#[derive(Debug, Default)]
pub(super) struct Forwarders {
    pids: Vec<Pid>,
    /// How often they had gone to sleep at the last look: each time that somebody reads
    /// what they write, they write more and sleep again.
    slept: u64,
    /// It was said that there can't be one.
    is_said_refused: bool,
}

impl Forwarders {
    /// Starts one for a service that is about to be started; `None` where that has no
    /// prefix, or can't have one now.
    pub(super) fn start(&mut self, service: &ServiceConfig, format: LogFormat) -> Option<Outputs> {
        if !service.setting.has_prefix {
            return None;
        }
        let [mut of_stdout, mut of_stderr] =
            ["stdout", "stderr"].map(|stream| Lines::new(&service.name, stream, format));
        let started = forward::start(
            service.setting.identity.as_ref(),
            [
                &mut |input, is_all, output| of_stdout.take(input, is_all, output),
                &mut |input, is_all, output| of_stderr.take(input, is_all, output),
            ],
        );
        match started {
            Ok((pid, outputs)) => {
                self.pids.push(pid);
                Some(outputs)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_said_refused, true) {
                    warn!(target: OURSELVES, "a service's lines come without its name: {error}");
                }
                None
            }
        }
    }

    /// Reaps those that have ended.
    pub(super) fn reap(&mut self) {
        self.pids.retain(|pid| match process::reap_forwarder(*pid) {
            Forwarder::Runs => true,
            Forwarder::Ended => false,
            Forwarder::Killed => {
                warn!(target: OURSELVES, "{pid}, which writes the lines of a service, was \
                      killed: until that is started again they are lost");
                false
            }
        });
    }

    /// Those that run, or weren't reaped.
    pub(super) fn pids(&self) -> &[Pid] {
        &self.pids
    }

    /// To be asked once no service runs any more: before, they wait for more.
    pub(super) fn look(&mut self) -> Written {
        let before = self.pids.len();
        self.reap();
        if self.pids.is_empty() {
            return Written::All;
        }
        let slept = self
            .pids
            .iter()
            .filter_map(|pid| proc::voluntary_switches(*pid));
        let slept = slept.sum();
        let has_slept = std::mem::replace(&mut self.slept, slept) != slept;
        if has_slept || self.pids.len() < before {
            Written::More
        } else {
            Written::Nothing
        }
    }
}
