//! The configuration of a drainit that stands in for another init: nothing is known of
//! the command, nothing is looked at, and every signal is passed on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::Config;
use super::platform::Platform;
use super::service::{ServiceConfig, Setting, base_name};
use super::value::Marker;
use crate::core::plan::{ByService, Delay, Leftovers, Plan, ServicePlan, StopAfter};
use crate::report::logger::LogFormat;
use crate::report::voice::Voice;
use crate::signal::{Rewrite, Signal};
use crate::sys::process::Terminal;

/// What such an init does in its own way.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "questions of their own")]
pub struct StandIn {
    /// How its child stands to the terminal; `None` as a command of ours does.
    pub terminal: Option<Terminal>,
    /// Orphans are to become its children even if it isn't PID 1.
    pub is_subreaper: bool,
    /// It stops itself when it has passed on what stops a program at the terminal.
    pub suspends: bool,
    /// It passes on even what means a fault of its own, such as SIGSEGV.
    pub takes_faults: bool,
    /// What the child's group gets when the child has ended.
    pub last_word: Option<Signal>,
    /// Once the child was started, its own working directory is the root: so nobody
    /// is kept from unmounting the other.
    pub leaves_directory: bool,
    /// How it speaks.
    pub voice: Voice,
}

impl StandIn {
    /// One that passes signals on, and speaks so, and does nothing else of all this.
    pub fn plain(voice: Voice) -> Self {
        Self {
            terminal: None,
            is_subreaper: false,
            suspends: false,
            takes_faults: false,
            last_word: None,
            leaves_directory: false,
            voice,
        }
    }
}

/// What it is to run.
#[derive(Debug)]
pub struct Bare {
    /// The file, and the command's words; `None` where it only reaps.
    pub command: Option<(PathBuf, Vec<OsString>)>,
    /// What takes the place of a signal.
    pub rewrites: Vec<Rewrite>,
    /// Signals go to the child's whole group.
    pub to_group: bool,
    /// What the kernel is to send when our parent ends.
    pub parent_death_signal: Option<Signal>,
    /// Exit codes that are no failure.
    pub success: Vec<u8>,
}

impl Config {
    /// As another init has it.
    pub fn standing_in(bare: Bare, stand_in: StandIn) -> Self {
        let service = bare.command.map(|(program, command)| ServiceConfig {
            instance_of: None,
            name: command
                .first()
                .map(|word| base_name(word))
                .unwrap_or_default(),
            program,
            command,
            preset: None,
            stop: Signal::TERM,
            stop_is_given: false,
            variables: &[],
            names_preset: false,
            names_supervisord: false,
            setting: Setting::default(),
            ready_at: None,
        });
        let services: ByService<ServiceConfig> = service.into_iter().collect();
        let service_plan = ServicePlan {
            success: bare.success,
            ..ServicePlan::default()
        };
        let platform = Platform::find(|_| false);
        Self {
            plan: Plan {
                services: services.iter().map(|_| service_plan.clone()).collect(),
                delay: Delay::ZERO,
                grace_period: platform.grace_period,
                quiet: Duration::ZERO,
                stop_after: StopAfter::None,
                leftovers: Leftovers::Left,
            },
            services,
            platform,
            rewrites: bare.rewrites,
            to_group: bare.to_group,
            parent_death_signal: bare.parent_death_signal,
            marker: Marker::None,
            control: false,
            termination_log: None,
            log_format: LogFormat::Text,
            log_level: LevelFilter::Off,
            notes: Vec::new(),
            stand_in: Some(stand_in),
        }
    }
}
