//! What the core is to run and to stop: services, their order, and how much time
//! there is. It knows nothing of what a service executes.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::status::Status;

/// A service, as its place in [`Plan::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub usize);

/// Something of each service, in the order of starting. The only place that takes a
/// [`ServiceId`] for an index.
#[derive(Clone, Debug, Default, Hash)]
pub struct ByService<T>(Vec<T>);

impl<T> ByService<T> {
    /// That of one service.
    pub fn get(&self, id: ServiceId) -> Option<&T> {
        self.0.get(id.0)
    }

    /// That of one service.
    pub fn get_mut(&mut self, id: ServiceId) -> Option<&mut T> {
        self.0.get_mut(id.0)
    }

    /// All services.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> + use<T> {
        (0..self.0.len()).map(ServiceId)
    }

    /// Each with its service.
    pub fn each(&self) -> impl Iterator<Item = (ServiceId, &T)> + Clone {
        self.0
            .iter()
            .enumerate()
            .map(|(at, it)| (ServiceId(at), it))
    }

    /// Each with its service.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (ServiceId, &mut T)> {
        let each = self.0.iter_mut().enumerate();
        each.map(|(at, it)| (ServiceId(at), it))
    }

    /// The first service of which this is so.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<ServiceId> {
        self.0.iter().position(is_it).map(ServiceId)
    }
}

impl<T> Deref for ByService<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for ByService<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> FromIterator<T> for ByService<T> {
    fn from_iter<I: IntoIterator<Item = T>>(each: I) -> Self {
        Self(each.into_iter().collect())
    }
}

/// What is to be run, and stopped in time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of starting.
    pub services: ByService<ServicePlan>,
    /// How long to serve on after the stop request.
    pub delay: Delay,
    /// From the stop request to the runtime's SIGKILL.
    pub grace_period: Duration,
    /// For how long nothing may have come to a php-fpm alone, and at most one thing
    /// before the delay ends early.
    pub quiet: Duration,
    /// What else a php-fpm alone waits for.
    pub stop_after: StopAfter,
    /// What becomes of those that are left when a main process has ended.
    pub leftovers: Leftovers,
}

/// What becomes of processes that are left when a main process has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// They are drained, with the service or by the sweep, and what they wrote is
    /// flushed.
    #[default]
    Drained,
    /// They are left alone, as by an init that ends with its child.
    Left,
}

/// How long to wait with something: with the drain after the stop request, or with a
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delay {
    /// At least.
    pub min: Duration,
    /// At most; not less than that.
    pub max: Duration,
}

impl Delay {
    /// Not at all.
    pub const ZERO: Self = Self::fixed(Duration::ZERO);

    /// So long, whatever comes.
    pub const fn fixed(length: Duration) -> Self {
        Self {
            min: length,
            max: length,
        }
    }

    /// Whether it is the same whatever comes.
    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self.max.is_zero()
    }
}

/// A service, as far as it concerns others when it starts, stops, and ends.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Starts when these are ready, and stops before them.
    pub after: Vec<ServiceId>,
    /// Whether it stops before them also if it doesn't listen.
    pub binding: Binding,
    /// When it is ready.
    pub ready: Readiness,
    /// How long that may take, at most; `None` where it may take for ever: a
    /// migration in an entrypoint must not be killed, and the runtime has
    /// probes.
    pub start_timeout: Option<Duration>,
    /// It is a web server, as far as its name and its command tell.
    pub is_web: bool,
    /// Whether it is started again when it ends unasked.
    pub restart: Restart,
    /// How long after its end, and that of what it left behind: at first the least
    /// time, doubled with each end in a row.
    pub restart_delay: Delay,
    /// How often in a row it is started again; zero is no limit.
    pub restart_limit: u32,
    /// The exit codes that are no failure.
    pub success: Vec<u8>,
    /// Once it isn't started again any more all stops; else the others go on.
    pub essential: bool,
    /// It is started; else only when somebody asks for it.
    pub is_enabled: bool,
    /// How long its drain may take, at most; the grace period rules all the same.
    pub stop_timeout: Option<Duration>,
}

impl Default for ServicePlan {
    /// One that is ready as soon as it was started, and whose end stops all.
    fn default() -> Self {
        Self {
            after: Vec::new(),
            binding: Binding::Listening,
            ready: Readiness::None,
            start_timeout: None,
            is_web: false,
            restart: Restart::No,
            restart_delay: Delay {
                min: Duration::from_secs(1),
                max: Duration::from_secs(30),
            },
            restart_limit: 5,
            success: vec![0],
            essential: true,
            is_enabled: true,
            stop_timeout: None,
        }
    }
}

impl ServicePlan {
    /// Whether it is started again when it has ended like this; `None` if it couldn't
    /// be executed.
    pub(super) fn restarts_after(&self, status: Option<Status>) -> bool {
        match self.restart {
            Restart::No => false,
            Restart::Always => true,
            Restart::OnFailure => !status.is_some_and(|status| self.is_success(status)),
        }
    }

    /// Whether it is a oneshot that is done once it has ended like this.
    pub(super) fn is_done_by(&self, status: Status) -> bool {
        self.ready == Readiness::Success && self.is_success(status)
    }

    fn is_success(&self, status: Status) -> bool {
        matches!(status, Status::Exited(code) if self.success.contains(&code))
    }
}

/// When the order of a service binds at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// By default: only if it listens, or one does that is after it.
    Listening,
    /// Always: the order was given.
    Always,
}

/// Whether a service is started again that has ended without having been asked to.
/// The words are Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It isn't.
    No,
    /// Unless it exited with one of its codes of success.
    OnFailure,
    /// It is, however it has ended.
    Always,
}

/// When a service counts as ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as it was started.
    #[default]
    None,
    /// When it listens.
    Listen,
    /// When it has ended with success: a oneshot.
    Success,
}

/// What a php-fpm waits for before it is drained, if its web server is in
/// another container of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// Nothing: nor does it wait for quiet.
    None,
    /// That nobody outside is connected to what others listened on.
    Clients,
    /// That nobody listens on these TCP ports, or is connected to them.
    Ports(Vec<u16>),
}

impl Plan {
    /// What is kept between our last steps and the runtime's SIGKILL.
    pub fn margin(&self) -> Duration {
        Duration::from_secs(1).min(self.grace_period / 10)
    }

    /// When what still runs of each service gets SIGTERM, after the stop request.
    /// Each service that others outlive has its own time before theirs, so that
    /// a stuck nginx leaves php-fpm time to drain.
    pub fn term_at(&self) -> ByService<Duration> {
        let outlived_by = count_outliving(&self.services);
        let step = match outlived_by.iter().max() {
            None | Some(0) => Duration::ZERO,
            Some(steps) => self.margin().min(self.grace_period / 4 / *steps),
        };
        let last = self.last_term_at();
        outlived_by
            .iter()
            .map(|steps| last.saturating_sub(step * *steps))
            .collect()
    }

    /// When the last service gets SIGTERM.
    pub fn last_term_at(&self) -> Duration {
        self.grace_period.saturating_sub(2 * self.margin())
    }

    /// When what still runs gets SIGKILL.
    pub fn kill_at(&self) -> Duration {
        self.grace_period.saturating_sub(self.margin())
    }

    /// When we exit, reaped or not.
    pub fn exit_at(&self) -> Duration {
        self.grace_period.saturating_sub(self.margin() / 2)
    }
}

/// How many services, at most, stop one after the other once this one has, for
/// each of those that are after none but earlier ones. Web servers stop first.
fn count_outliving(services: &ByService<ServicePlan>) -> ByService<u32> {
    let mut counts: ByService<u32> = services.iter().map(|_| 0).collect();
    let mut most = None;
    for is_web in [false, true] {
        let first = most.map_or(0, |most: u32| most + 1);
        for (id, service) in services.each() {
            if service.is_web != is_web {
                continue;
            }
            let is_alike = |id: &&ServiceId| {
                services
                    .get(**id)
                    .is_some_and(|service| service.is_web == is_web)
            };
            let before = service.after.iter().filter(is_alike);
            let after_those = before
                .filter_map(|id| Some(counts.get(*id)? + 1))
                .max()
                .unwrap_or(0);
            if let Some(count) = counts.get_mut(id) {
                *count = first.max(after_those);
                most = most.max(Some(*count));
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of services of which each is after all before it.
    fn plan(are_web: &[bool]) -> Plan {
        let services = are_web
            .iter()
            .enumerate()
            .map(|(index, is_web)| ServicePlan {
                after: (0..index).map(ServiceId).collect(),
                is_web: *is_web,
                ..ServicePlan::default()
            });
        Plan {
            services: services.collect(),
            delay: Delay::ZERO,
            grace_period: Duration::from_secs(30),
            quiet: Duration::from_secs(1),
            stop_after: StopAfter::Clients,
            leftovers: Leftovers::Drained,
        }
    }

    #[test]
    fn deadlines_leave_each_service_time() {
        let seconds =
            |plan: &Plan| -> Vec<u64> { plan.term_at().iter().map(Duration::as_secs).collect() };
        let two = plan(&[false, true]);
        assert_eq!(seconds(&two), [28, 27]);
        assert_eq!(two.kill_at(), Duration::from_secs(29));
        assert_eq!(two.exit_at(), Duration::from_millis(29_500));
        // Web servers go first, wherever they stand.
        assert_eq!(seconds(&plan(&[false, true, false])), [28, 26, 27]);
        assert_eq!(seconds(&plan(&[true, false, true])), [27, 28, 26]);
    }

    #[test]
    fn many_services_share_a_quarter_of_the_grace_period() {
        let many = plan(&[true; 201]);
        assert_eq!(many.term_at()[200], Duration::from_millis(20_500));
        assert_eq!(many.term_at()[0], Duration::from_secs(28));
    }
}
