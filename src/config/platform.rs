//! Where we run, as far as that decides the defaults.

use std::time::Duration;

use crate::core::plan::Delay;

/// Where we run, as far as it decides the defaults.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name.
    pub name: &'static str,
    /// The variable that tells it.
    variable: &'static str,
    pub(super) grace_period: Duration,
    delay: Delay,
    /// Where it looks for what a container has to say of its end.
    pub(super) termination_log: Option<&'static str>,
    /// Its stop signal is SIGINT.
    pub interrupt_stops: bool,
    /// Who sends requests learns of a stop by a health check alone.
    pub tells_nobody: bool,
}

/// With the grace period and the delay, at least and at most, in seconds.
const fn platform(
    name: &'static str,
    variable: &'static str,
    grace: u64,
    (min, max): (u64, u64),
) -> Platform {
    Platform {
        name,
        variable,
        grace_period: Duration::from_secs(grace),
        delay: Delay {
            min: Duration::from_secs(min),
            max: Duration::from_secs(max),
        },
        termination_log: None,
        interrupt_stops: false,
        tells_nobody: false,
    }
}

/// In the order of asking: Cloud Run is made of Kubernetes' parts.
static PLATFORMS: [Platform; 5] = [
    platform("Cloud Run", "K_SERVICE", 10, (0, 0)),
    Platform {
        termination_log: Some("/dev/termination-log"),
        ..platform("Kubernetes", "KUBERNETES_SERVICE_HOST", 30, (5, 15))
    },
    platform("ECS", "ECS_CONTAINER_METADATA_URI_V4", 30, (5, 15)),
    platform("Nomad", "NOMAD_ALLOC_ID", 5, (1, 1)),
    Platform {
        interrupt_stops: true,
        ..platform("Fly", "FLY_APP_NAME", 5, (1, 1))
    },
];

/// Docker, Podman, and all else.
static DOCKER: Platform = Platform {
    tells_nobody: true,
    ..platform("Docker", "", 10, (2, 5))
};

impl Platform {
    /// By the variables that are set, and not empty.
    pub(super) fn find(is_set: impl Fn(&str) -> bool) -> &'static Self {
        let found = PLATFORMS.iter().find(|platform| is_set(platform.variable));
        found.unwrap_or(&DOCKER)
    }

    /// The delay, where a shorter grace period is to have room for it and for a drain.
    pub(super) fn delay_within(&self, grace_period: Duration) -> Delay {
        let min = self.delay.min.min(grace_period / 3);
        let max = self.delay.max.min(grace_period / 2).max(min);
        Delay { min, max }
    }
}
