//! What happened in a run, and what is worth saying of each thing. Pure: it watches
//! the same facts and orders as the core, and the shell writes what it returns.

use std::time::Duration;

use super::logger::OURSELVES;
use super::text::{self, Line, seconds};
use crate::core::event::{
    Arrivals, Busy, Event, Force, Layer, Listens, Notice, Order, Scope, StopRequest, Timestamp,
};
use crate::core::plan::{ByService, ServiceId};
use crate::signal::Signal;
use crate::status::{Failure, Status};

/// What happened, as far as the exit code and the report need it.
#[derive(Debug)]
pub struct Record {
    /// By [`ServiceId`].
    pub services: ByService<ServiceRecord>,
    /// What was forced upon processes that belong to no service.
    pub rest_forced: Option<Force>,
    /// The exit codes of each that are no failure.
    pub(super) success: ByService<Vec<u8>>,
    /// The first service that ended without having been asked to, and how.
    pub first_unasked: Option<(ServiceId, Status)>,
    /// Orphans reaped.
    pub orphans: u64,
    /// What came once a port of ours had closed; `None` where that can't be told.
    pub refused: Option<Refused>,
    /// What asked us to stop, if anybody did.
    pub(super) requested_by: Option<StopRequest>,
    /// A stop request was repeated.
    repeated: bool,
    /// How often somebody at the keyboard pressed.
    pub(super) interrupts: u32,
    /// When stopping began.
    pub(super) since: Option<Timestamp>,
    /// When the first service that listens was asked.
    drained_from: Option<Timestamp>,
    /// It is quiet while at most one thing comes within this time.
    quiet: Duration,
    /// When something came last, after the stop request.
    arrived_at: Option<Timestamp>,
    /// When something came last that wasn't alone.
    pub(super) busy_until: Option<Timestamp>,
    /// When the health check was asked first after the stop request.
    pub(super) told: Option<Timestamp>,
}

/// Connections that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many were refused or cut.
    pub count: u64,
    /// The first service that was asked of those that listen by TCP.
    pub by: ServiceId,
    /// When it was asked: just then they began.
    pub since: Timestamp,
}

/// What happened to a service.
#[derive(Debug)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Whether it is a preset, by its name, its program, or what it became.
    pub is_preset: bool,
    /// How its main process ended, unless it was started again.
    pub status: Option<Status>,
    /// How its main process ended last.
    pub last: Option<Status>,
    /// `Some` if it didn't become ready.
    pub start_failed: Option<Failure>,
    /// What was forced upon it.
    pub forced: Option<Force>,
    /// The signals that we sent its processes to stop them, since it was started last.
    pub sent: Vec<Signal>,
    pub(super) started: bool,
    /// How often it was started again after its end.
    pub restarts: u32,
    /// It had ended while the others went on, and wasn't back when the stop began:
    /// that is no failure of the stop.
    pub(super) is_away: bool,
    /// How often its start was refused.
    refusals: u32,
    /// When it was started last.
    started_at: Timestamp,
    /// What kept it until it was forced.
    pub(super) held_up: Option<HeldUp>,
    /// Since when it waited to be sent nothing.
    waited_from: Option<Timestamp>,
    /// What it waited for last.
    busy: Option<Busy>,
    /// Whether it listened when it was last looked at.
    listens: Listens,
    asked_at: Option<Timestamp>,
    forced_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// What keeps a service that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// So many connections of clients. Nothing was received or sent on any of
    /// them for so long.
    Clients(usize, Duration),
    /// It ignores that signal.
    Ignores(Signal),
}

impl Record {
    /// Of a run that is about to begin.
    ///
    /// `services` are their names, and whether each is to be a preset; `quiet` is the
    /// time in which at most one thing comes when nobody sends any more; `success` are
    /// the exit codes of each that are no failure.
    pub fn new<'a>(
        services: impl IntoIterator<Item = (&'a str, bool)>,
        quiet: Duration,
        success: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        let services = services.into_iter().map(|(name, is_preset)| ServiceRecord {
            name: name.to_owned(),
            is_preset,
            status: None,
            last: None,
            start_failed: None,
            forced: None,
            sent: Vec::new(),
            started: false,
            restarts: 0,
            is_away: false,
            refusals: 0,
            started_at: Timestamp::default(),
            held_up: None,
            waited_from: None,
            busy: None,
            listens: Listens::No,
            asked_at: None,
            forced_at: None,
            ended_at: None,
        });
        Self {
            services: services.collect(),
            rest_forced: None,
            success: success.into_iter().collect(),
            first_unasked: None,
            orphans: 0,
            refused: None,
            requested_by: None,
            repeated: false,
            interrupts: 0,
            since: None,
            drained_from: None,
            quiet,
            arrived_at: None,
            busy_until: None,
            told: None,
        }
    }

    /// What asked us to stop, if anybody did.
    pub fn requested_by(&self) -> Option<StopRequest> {
        self.requested_by
    }

    pub(super) fn name(&self, id: ServiceId) -> String {
        self.services
            .get(id)
            .map_or_else(String::new, |service| service.name.clone())
    }

    fn line(&self, scope: Scope, what: impl Into<String>) -> Line {
        let who = match scope {
            Scope::Service(id) => self.name(id),
            Scope::Rest => "orphans".to_owned(),
        };
        Line {
            who,
            what: what.into(),
        }
    }

    /// Takes note of a fact before the core is told of it; returns what is
    /// worth saying of it.
    pub fn event(&mut self, now: Timestamp, event: &Event) -> Option<Line> {
        match *event {
            Event::StopRequested(request) => {
                // Who repeats a request without end shall not fill the log.
                let say = self.is_stopping_already(request) && !self.repeated;
                self.repeated |= say;
                say.then(|| Line::new(request.to_string(), "stopping already"))
            }
            Event::Interrupted => {
                self.interrupts = self.interrupts.saturating_add(1);
                let say = self.is_stopping_already(StopRequest::Signal(Signal::INT));
                say.then(|| Line::new(Signal::INT.to_string(), "hurrying"))
            }
            Event::Exited(id, status) => {
                let is_away = self.since.is_none();
                let service = self.services.get_mut(id)?;
                service.status = Some(status);
                service.last = Some(status);
                service.ended_at = Some(now);
                service.is_away = is_away;
                Some(self.line(Scope::Service(id), status.to_string()))
            }
            // A name is a claim: what listens shows what it is.
            Event::Seen(id, sight) => {
                let service = self.services.get_mut(id)?;
                service.listens = sight.listens;
                if sight.runs.is_some() {
                    service.is_preset = true;
                } else if sight.listens == Listens::Yes {
                    service.is_preset = false;
                }
                None
            }
            Event::Remains(Scope::Service(id), remains)
                if remains.web || remains.workers || remains.masters =>
            {
                self.services.get_mut(id)?.is_preset = true;
                None
            }
            Event::Busy(id, busy) => {
                self.services.get_mut(id)?.busy = Some(busy);
                None
            }
            Event::Arrived(arrivals) => {
                self.arrived(now, arrivals);
                None
            }
            Event::HealthAsked => {
                let is_told = self.requested_by.is_some() && self.told.is_none();
                is_told.then(|| {
                    self.told = Some(now);
                    Line::new(OURSELVES.to_owned(), "the health check was told")
                })
            }
            Event::AskRefused(scope) => Some(self.line(
                scope,
                "its workers may not be signalled: only the master is asked, and it may not be \
                 able to end them either",
            )),
            Event::SpawnRefused(id) => {
                let service = self.services.get_mut(id)?;
                service.started = false;
                service.refusals += 1;
                None
            }
            Event::SpawnFailed(id) => {
                let is_away = self.since.is_none();
                let service = self.services.get_mut(id)?;
                service.started = false;
                service.is_away = is_away;
                None
            }
            Event::Executed(id) => {
                self.services.get_mut(id)?.refusals = 0;
                None
            }
            Event::Commanded(id, command) => {
                let what = format!("drainit {}", command.word());
                Some(self.line(Scope::Service(id), what))
            }
            Event::ReloadRequested
            | Event::ReopenRequested
            | Event::Signalled(_)
            | Event::AskedGone(_)
            | Event::AskedFewer(_)
            | Event::Silent(_)
            | Event::Remains(..)
            | Event::Unsent(_)
            | Event::Tick => None,
        }
    }

    /// What is alone within the time of quiet may be a probe.
    fn arrived(&mut self, now: Timestamp, arrivals: Arrivals) {
        let is_near = |last: Timestamp| now < last + self.quiet;
        let is_busy = match arrivals {
            Arrivals::One => self.arrived_at.is_some_and(is_near),
            Arrivals::Many => true,
            Arrivals::Unknown => return,
        };
        self.arrived_at = Some(now);
        if is_busy {
            self.busy_until = Some(now);
        }
    }

    /// Whether this request is not the first thing that stops us; that one is
    /// spoken of when the stop begins.
    fn is_stopping_already(&mut self, request: StopRequest) -> bool {
        let stopping = self.requested_by.is_some() || self.since.is_some();
        if !stopping {
            self.requested_by = Some(request);
        }
        stopping
    }

    /// Takes note of an order; returns what is worth saying of it.
    pub fn order(&mut self, now: Timestamp, order: Order) -> Option<Line> {
        match order {
            // What a service has left behind that is started again.
            Order::Ask(..) if self.since.is_none() => None,
            Order::Ask(scope, layer) => {
                let mut listens = matches!(layer, Layer::Web | Layer::Workers);
                if let Scope::Service(id) = scope {
                    let service = self.services.get_mut(id)?;
                    service.asked_at.get_or_insert(now);
                    listens |= service.listens != Listens::No;
                }
                if listens {
                    self.drained_from.get_or_insert(now);
                }
                None
            }
            Order::Dismiss(scope) => Some(self.line(
                scope,
                "<- SIGTERM: only clients that never sent a byte are left",
            )),
            Order::Spawn(id) => {
                self.services.get_mut(id)?.record_start(now);
                None
            }
            Order::Hold(_)
            | Order::Release(_)
            | Order::Force(..)
            | Order::Reload(_)
            | Order::Reopen(_)
            | Order::Forward(..)
            | Order::MakeMarker
            | Order::Exit => None,
        }
    }

    /// Takes note of what the core has decided; returns what is worth saying of it.
    pub fn notice(&mut self, now: Timestamp, notice: Notice) -> Option<Line> {
        match notice {
            Notice::AwaitsQuiet(id) => {
                self.drained_from.get_or_insert(now);
                self.services.get_mut(id)?.waited_from = Some(now);
                Some(self.line(Scope::Service(id), "waits until nobody sends to it"))
            }
            Notice::AwaitsQuietNoLonger(id) => {
                let what = match self.services.get(id)?.busy? {
                    Busy::Queue => "requests are in its queue".to_owned(),
                    Busy::Workers => "its workers still get requests".to_owned(),
                    Busy::Clients(port) => format!("clients are still connected to port {port}"),
                    Busy::Listener(port) => format!("somebody still listens on port {port}"),
                    Busy::Unknown => "the socket tables can't be read".to_owned(),
                };
                Some(self.line(
                    Scope::Service(id),
                    format!("{what}: no time is left to wait for the end of that"),
                ))
            }
            Notice::StopBegins => {
                self.since = Some(now);
                None
            }
            Notice::LameDuckBegins(delay) => {
                let what = if delay.is_zero() {
                    "draining, without a delay".to_owned()
                } else {
                    format!(
                        "lame duck: what listens serves on for {}",
                        text::delay(delay)
                    )
                };
                Some(Line {
                    who: self.requested_by?.to_string(),
                    what,
                })
            }
            Notice::StartFailed(id) => self.start_has_failed(now, id),
            Notice::StillStarting(id) => {
                let after = now.since(self.services.get(id)?.started_at);
                let what = format!("not ready after {}: others wait for it", seconds(after));
                Some(self.line(Scope::Service(id), what))
            }
            Notice::EndedUnasked(id) => {
                let is_stopping = self.since.is_some();
                self.since.get_or_insert(now);
                let requested_by = self.requested_by.and_then(StopRequest::signal);
                let service = self.services.get_mut(id)?;
                service.is_away = false;
                // Some runtimes signal all processes of a container at once.
                let by_the_request = requested_by
                    .is_some_and(|signal| service.status.is_some_and(|it| it.is_by(signal)));
                if self.first_unasked.is_none() && !by_the_request {
                    self.first_unasked = service.status.map(|status| (id, status));
                }
                let what = if is_stopping {
                    "ended by itself"
                } else {
                    "ended unasked"
                };
                (is_stopping || self.services.len() > 1)
                    .then(|| self.line(Scope::Service(id), what))
            }
            Notice::StartsAgainIn(id, delay) => Some(self.line(
                Scope::Service(id),
                format!("starts again in {}", seconds(delay)),
            )),
            Notice::GivenUp(id, ends) => {
                let service = self.services.get(id)?;
                let how = match service.status {
                    Some(status) => status.to_string(),
                    None => "not executed".to_owned(),
                };
                let up = seconds(now.since(service.started_at));
                let what = match ends {
                    1 => format!("stays away: {how} after {up}"),
                    _ => format!("given up: ended {ends} times in a row, at last {how} after {up}"),
                };
                Some(self.line(Scope::Service(id), what))
            }
            Notice::PresumedReady(_) => None,
        }
    }

    fn start_has_failed(&mut self, now: Timestamp, id: ServiceId) -> Option<Line> {
        self.since.get_or_insert(now);
        let service = self.services.get_mut(id)?;
        service.is_away = false;
        let after = seconds(now.since(service.started_at));
        let what = match (service.start_failed, service.status) {
            (None, Some(_)) => format!("ended after {after}, before it was ready"),
            (None, None) if service.started => format!("was not ready after {after}"),
            (None, None) => format!(
                "was refused {} times: no process or memory is to be had",
                service.refusals
            ),
            (Some(_), _) => "can't be started".to_owned(),
        };
        service.start_failed.get_or_insert(Failure::NotReady);
        Some(self.line(Scope::Service(id), format!("{what}; stopping")))
    }

    /// Takes note of why a service's program can't be executed.
    pub fn start_failed(&mut self, id: ServiceId, failure: Failure) {
        if let Some(service) = self.services.get_mut(id) {
            service.start_failed = Some(failure);
        }
    }

    /// Takes note of a signal that was sent to stop a service's processes.
    pub fn sent(&mut self, scope: Scope, signal: Signal) {
        if let Scope::Service(id) = scope {
            if let Some(service) = self.services.get_mut(id) {
                if !service.sent.contains(&signal) {
                    service.sent.push(signal);
                }
            }
        }
    }

    /// Takes note that a scope was forced: somebody was really signalled.
    pub fn forced(&mut self, now: Timestamp, scope: Scope, force: Force, held_up: Option<HeldUp>) {
        if self.since.is_none() {
            return;
        }
        let is_requested = self.requested_by.is_some();
        let (forced, counts) = match scope {
            Scope::Service(id) => {
                let Some(service) = self.services.get_mut(id) else {
                    return;
                };
                service.held_up = service.held_up.or(held_up);
                service.forced_at.get_or_insert(now);
                (&mut service.forced, service.status.is_none())
            }
            Scope::Rest => (&mut self.rest_forced, false),
        };
        // A command that ends by itself has its own status, whatever it left behind.
        if counts || is_requested {
            *forced = Some(force);
        }
    }

    /// So long after the stop began.
    pub(super) fn after_request(&self, at: Option<Timestamp>) -> Option<Duration> {
        Some(at?.since(self.since?))
    }

    /// Somebody was ended before the drain was over.
    pub(super) fn is_forced(&self) -> bool {
        self.rest_forced.is_some() || self.services.iter().any(|it| it.forced.is_some())
    }

    /// Who forced was at the keyboard.
    pub(super) fn is_hurried(&self) -> bool {
        self.interrupts > 1
    }

    /// How long the lame duck was.
    pub(super) fn delay(&self) -> Option<Duration> {
        Some(self.drained_from?.since(self.since?))
    }
}

impl ServiceRecord {
    /// It is started: for the first time, or again.
    fn record_start(&mut self, now: Timestamp) {
        let before = (self.status.take(), self.start_failed.take());
        if before != (None, None) {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.started = true;
        self.started_at = now;
        self.sent.clear();
        self.ended_at = None;
        self.is_away = false;
    }

    /// Why it isn't up, if that is a failure of ours.
    pub fn failure(&self) -> Option<Failure> {
        self.start_failed.filter(|_| !self.is_away)
    }

    /// What it took to stop it, if that tells how the stop went.
    pub fn took(&self) -> &[Signal] {
        if self.is_away { &[] } else { &self.sent }
    }

    /// How it ended, if that tells how the stop went.
    pub fn outcome(&self) -> Option<Status> {
        self.status.filter(|_| !self.is_away)
    }

    /// How long it waited to be sent nothing.
    pub(super) fn waited(&self) -> Option<Duration> {
        Some(self.asked_at?.since(self.waited_from?))
    }

    /// From the moment that it was asked until it was forced: what a request that came
    /// last could take.
    pub(super) fn had(&self) -> Option<Duration> {
        Some(self.forced_at?.since(self.asked_at?))
    }

    /// From the moment that it was asked until its main process had gone.
    pub(super) fn drained(&self) -> Option<Duration> {
        Some(self.ended_at?.since(self.asked_at?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(Duration::from_millis(milliseconds))
    }

    /// Of a stop that was requested ten seconds after the start.
    fn stopping() -> Record {
        let mut record = Record::new([("nginx", true)], Duration::from_secs(1), Vec::new());
        record.event(
            at(10_000),
            &Event::StopRequested(StopRequest::Signal(Signal::TERM)),
        );
        record.notice(at(10_000), Notice::StopBegins);
        record
    }

    #[test]
    fn what_comes_alone_within_a_second_is_not_busy() {
        use Arrivals::{Many, One, Unknown};
        let busy_until = |arrivals: &[(u64, Arrivals)]| {
            let mut record = stopping();
            for (milliseconds, arrivals) in arrivals {
                let line = record.event(at(10_000 + milliseconds), &Event::Arrived(*arrivals));
                assert_eq!(line, None);
            }
            record
                .after_request(record.busy_until)
                .map(|it| it.as_millis())
        };
        assert_eq!(busy_until(&[]), None);
        assert_eq!(busy_until(&[(100, One)]), None);
        assert_eq!(busy_until(&[(100, One), (1_100, One), (2_100, One)]), None);
        assert_eq!(busy_until(&[(100, One), (1_099, One)]), Some(1_099));
        assert_eq!(busy_until(&[(100, Many), (2_000, One)]), Some(100));
        assert_eq!(busy_until(&[(100, Many), (900, One)]), Some(900));
        assert_eq!(busy_until(&[(100, Unknown), (200, One)]), None);
    }

    #[test]
    fn the_health_check_is_told_once_and_only_after_the_stop_request() {
        let mut record = Record::new([("nginx", true)], Duration::from_secs(1), Vec::new());
        assert_eq!(record.event(at(9_000), &Event::HealthAsked), None);
        assert_eq!(record.after_request(record.told), None);
        let mut record = stopping();
        let line = record.event(at(10_800), &Event::HealthAsked).unwrap();
        assert_eq!(
            (line.who.as_str(), line.what.as_str()),
            ("drainit", "the health check was told")
        );
        assert_eq!(record.event(at(11_800), &Event::HealthAsked), None);
        assert_eq!(
            record.after_request(record.told),
            Some(Duration::from_millis(800))
        );
    }
}
