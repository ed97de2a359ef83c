//! Where we run, as far as that decides the defaults.

use std::time::Duration;

/// Where we run, as far as it decides the defaults.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name.
    pub name: &'static str,
    /// The variable that tells it.
    variable: &'static str,
    pub(super) grace_period: Duration,
    pub(super) delay: Duration,
    /// Where it looks for what a container has to say of its end.
    pub(super) termination_log: Option<&'static str>,
    /// Its stop signal is SIGINT.
    pub interrupt_stops: bool,
    /// Who sends requests learns of a stop by a health check alone.
    pub tells_nobody: bool,
}

const fn platform(name: &'static str, variable: &'static str, grace: u64, delay: u64) -> Platform {
    Platform {
        name,
        variable,
        grace_period: Duration::from_secs(grace),
        delay: Duration::from_secs(delay),
        termination_log: None,
        interrupt_stops: false,
        tells_nobody: false,
    }
}

/// In the order of asking: Cloud Run is made of Kubernetes' parts.
static PLATFORMS: [Platform; 5] = [
    platform("Cloud Run", "K_SERVICE", 10, 0),
    Platform {
        termination_log: Some("/dev/termination-log"),
        ..platform("Kubernetes", "KUBERNETES_SERVICE_HOST", 30, 5)
    },
    platform("ECS", "ECS_CONTAINER_METADATA_URI_V4", 30, 5),
    platform("Nomad", "NOMAD_ALLOC_ID", 5, 1),
    Platform {
        interrupt_stops: true,
        ..platform("Fly", "FLY_APP_NAME", 5, 1)
    },
];

/// Docker, Podman, and all else.
static DOCKER: Platform = Platform {
    tells_nobody: true,
    ..platform("Docker", "", 10, 2)
};

impl Platform {
    /// By the variables that are set, and not empty.
    pub(super) fn find(is_set: impl Fn(&str) -> bool) -> &'static Self {
        let found = PLATFORMS.iter().find(|platform| is_set(platform.variable));
        found.unwrap_or(&DOCKER)
    }
}
