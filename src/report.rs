//! What is said of a run: a record of it, the lines of its timeline, and the
//! report when all is over. Pure: it watches the same events and actions as
//! the core, and the shell writes what it returns.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::{Config, LogFormat};
use crate::exit::{self, Failure, Status};
use crate::machine::{Action, Busy, Event, Force, Layer, Listens, Scope, ServiceId, Timestamp};
use crate::signal::Signal;

/// What happened, as far as the exit code and the report need it.
#[derive(Debug)]
pub struct Record {
    /// By [`ServiceId`].
    pub services: Vec<ServiceRecord>,
    /// What was forced upon processes that belong to no service.
    pub rest_forced: Option<Force>,
    /// How the first service ended that had not been asked to.
    pub first_unasked: Option<Status>,
    /// Orphans reaped.
    pub orphans: u64,
    /// What asked us to stop, if anybody did.
    requested_by: Option<Signal>,
    /// A stop request was repeated.
    repeated: bool,
    /// How often somebody at the keyboard pressed.
    interrupts: u32,
    /// When stopping began.
    since: Option<Timestamp>,
    /// When the first service that listens was asked.
    drained_from: Option<Timestamp>,
}

/// What happened to a service.
#[derive(Debug)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Whether it is a preset, by its name, its program, or what it became.
    pub is_preset: bool,
    /// How its main process ended.
    pub status: Option<Status>,
    /// `Some` if it didn't become ready.
    pub start_failed: Option<Failure>,
    /// What was forced upon it.
    pub forced: Option<Force>,
    /// The signals that we sent its processes to stop them.
    pub sent: Vec<Signal>,
    started: bool,
    /// How often its start was refused.
    refusals: u32,
    /// When it was started last.
    started_at: Timestamp,
    /// What kept it until it was forced.
    held_up: Option<HeldUp>,
    /// Since when it waited to be sent nothing.
    waited_from: Option<Timestamp>,
    /// What it waited for last.
    busy: Option<Busy>,
    asked_at: Option<Timestamp>,
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

impl std::fmt::Display for HeldUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clients(1, silent) => {
                write!(f, "1 connection left, silent for {}", seconds(*silent))
            }
            Self::Clients(count, silent) => write!(
                f,
                "{count} connections left, all silent for {}",
                seconds(*silent)
            ),
            Self::Ignores(signal) => write!(f, "it ignores {signal}"),
        }
    }
}

/// One line of the timeline: who it is about, and what happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// A service, a signal, or `drainit`.
    pub who: String,
    /// What happened to it.
    pub what: String,
}

impl Line {
    fn new(who: String, what: &str) -> Self {
        Self {
            who,
            what: what.to_owned(),
        }
    }

    /// As it is printed, so many seconds after the start or the stop request.
    pub fn render(elapsed: Duration, who: &str, what: &str) -> String {
        format!("{:>7}  {who:<9} {what}", seconds(elapsed))
    }
}

impl Record {
    /// Of a run that is about to begin.
    pub fn new(config: &Config) -> Self {
        let services = config.services.iter().map(|service| ServiceRecord {
            name: service.name.clone(),
            is_preset: service.preset.is_some(),
            status: None,
            start_failed: None,
            forced: None,
            sent: Vec::new(),
            started: false,
            refusals: 0,
            started_at: Timestamp::default(),
            held_up: None,
            waited_from: None,
            busy: None,
            asked_at: None,
            ended_at: None,
        });
        Self {
            services: services.collect(),
            rest_forced: None,
            first_unasked: None,
            orphans: 0,
            requested_by: None,
            repeated: false,
            interrupts: 0,
            since: None,
            drained_from: None,
        }
    }

    /// What asked us to stop, if anybody did.
    pub fn requested_by(&self) -> Option<Signal> {
        self.requested_by
    }

    fn name(&self, id: ServiceId) -> String {
        self.services
            .get(id.0)
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
            Event::StopRequested(signal) => {
                // Who repeats a request without end shall not fill the log.
                let say = self.is_stopping_already(signal) && !self.repeated;
                self.repeated |= say;
                say.then(|| Line::new(signal.to_string(), "stopping already"))
            }
            Event::Interrupted => {
                self.interrupts = self.interrupts.saturating_add(1);
                let say = self.is_stopping_already(Signal::INT);
                say.then(|| Line::new(Signal::INT.to_string(), "hurrying"))
            }
            Event::Exited(id, status) => {
                let service = self.services.get_mut(id.0)?;
                service.status = Some(status);
                service.ended_at = Some(now);
                Some(self.line(Scope::Service(id), status.to_string()))
            }
            // A name is a claim: what listens shows what it is.
            Event::Seen(id, sight) => {
                let service = self.services.get_mut(id.0)?;
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
                self.services.get_mut(id.0)?.is_preset = true;
                None
            }
            Event::Busy(id, busy) => {
                self.services.get_mut(id.0)?.busy = Some(busy);
                None
            }
            Event::AskRefused(scope) => Some(self.line(
                scope,
                "its workers may not be signalled: only the master is asked, and it may not be \
                 able to end them either",
            )),
            Event::SpawnRefused(id) => {
                let service = self.services.get_mut(id.0)?;
                service.started = false;
                service.refusals += 1;
                None
            }
            Event::SpawnFailed(id) => {
                self.services.get_mut(id.0)?.started = false;
                None
            }
            Event::ReloadRequested
            | Event::ReopenRequested
            | Event::Signalled(_)
            | Event::Executed(_)
            | Event::AskedGone(_)
            | Event::AskedFewer(_)
            | Event::Silent(_)
            | Event::Remains(..)
            | Event::Unsent(_)
            | Event::Tick => None,
        }
    }

    /// Whether this request is not the first thing that stops us; that one is
    /// spoken of when the stop begins.
    fn is_stopping_already(&mut self, signal: Signal) -> bool {
        let stopping = self.requested_by.is_some() || self.since.is_some();
        if !stopping {
            self.requested_by = Some(signal);
        }
        stopping
    }

    /// Takes note of an order; returns what is worth saying of it.
    pub fn action(&mut self, now: Timestamp, action: &Action) -> Option<Line> {
        match *action {
            Action::Ask(scope, layer) => {
                if let Scope::Service(id) = scope {
                    self.services.get_mut(id.0)?.asked_at.get_or_insert(now);
                }
                if matches!(layer, Layer::Web | Layer::Workers) {
                    self.drained_from.get_or_insert(now);
                }
                None
            }
            Action::AwaitQuiet(id) => {
                self.drained_from.get_or_insert(now);
                self.services.get_mut(id.0)?.waited_from = Some(now);
                Some(self.line(Scope::Service(id), "waits until nobody sends to it"))
            }
            Action::StopAwaitingQuiet(id) => {
                let what = match self.services.get(id.0)?.busy? {
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
            Action::BeginStop(_) => {
                self.since = Some(now);
                None
            }
            Action::BeginLameDuck(delay) => {
                let what = if delay.is_zero() {
                    "draining, without a delay".to_owned()
                } else {
                    format!("lame duck: what listens serves on for {}", seconds(delay))
                };
                Some(Line {
                    who: self.requested_by?.to_string(),
                    what,
                })
            }
            Action::StartFailed(id) => self.start_has_failed(now, id),
            Action::StillStarting(id) => {
                let after = now.since(self.services.get(id.0)?.started_at);
                let what = format!("not ready after {}: others wait for it", seconds(after));
                Some(self.line(Scope::Service(id), what))
            }
            Action::EndedUnasked(id) => {
                let is_stopping = self.since.is_some();
                self.since.get_or_insert(now);
                let requested_by = self.requested_by;
                let service = self.services.get(id.0)?;
                // Some runtimes signal all processes of a container at once.
                let by_the_request = requested_by
                    .is_some_and(|signal| service.status.is_some_and(|it| it.is_by(signal)));
                if self.first_unasked.is_none() && !by_the_request {
                    self.first_unasked = service.status;
                }
                let what = if is_stopping {
                    "ended by itself"
                } else {
                    "ended unasked"
                };
                (is_stopping || self.services.len() > 1)
                    .then(|| self.line(Scope::Service(id), what))
            }
            Action::Dismiss(scope) => Some(self.line(
                scope,
                "<- SIGTERM: only clients that never sent a byte are left",
            )),
            Action::Spawn(id) => {
                let service = self.services.get_mut(id.0)?;
                service.started = true;
                service.started_at = now;
                None
            }
            Action::Hold(_)
            | Action::Release(_)
            | Action::Force(..)
            | Action::Reload(_)
            | Action::Reopen(_)
            | Action::Forward(..)
            | Action::PresumeReady(_)
            | Action::Exit => None,
        }
    }

    fn start_has_failed(&mut self, now: Timestamp, id: ServiceId) -> Option<Line> {
        self.since.get_or_insert(now);
        let service = self.services.get_mut(id.0)?;
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
        if let Some(service) = self.services.get_mut(id.0) {
            service.start_failed = Some(failure);
        }
    }

    /// Takes note of a signal that was sent to stop a service's processes.
    pub fn sent(&mut self, scope: Scope, signal: Signal) {
        if let Scope::Service(id) = scope {
            if let Some(service) = self.services.get_mut(id.0) {
                if !service.sent.contains(&signal) {
                    service.sent.push(signal);
                }
            }
        }
    }

    /// Takes note that a scope was forced: somebody was really signalled.
    pub fn forced(&mut self, scope: Scope, force: Force, held_up: Option<HeldUp>) {
        let is_requested = self.requested_by.is_some();
        let (forced, counts) = match scope {
            Scope::Service(id) => {
                let Some(service) = self.services.get_mut(id.0) else {
                    return;
                };
                service.held_up = service.held_up.or(held_up);
                (&mut service.forced, service.status.is_none())
            }
            Scope::Rest => (&mut self.rest_forced, false),
        };
        // A command that ends by itself has its own status, whatever it left behind.
        if counts || is_requested {
            *forced = Some(force);
        }
    }

    /// The report.
    pub fn report(&self, now: Timestamp, config: &Config) -> String {
        match config.log_format {
            LogFormat::Text => self.text(now, config),
            LogFormat::Json => self.json(now),
        }
    }

    fn delay(&self) -> Option<Duration> {
        Some(self.drained_from?.since(self.since?))
    }

    fn text(&self, now: Timestamp, config: &Config) -> String {
        let mut text = match self.requested_by {
            Some(signal) => format!("{signal}"),
            None if self
                .services
                .iter()
                .any(|service| service.start_failed.is_some()) =>
            {
                "start failed".to_owned()
            }
            None => "ended unasked".to_owned(),
        };
        if let Some(since) = self.since {
            let _ = write!(text, ", took {}", seconds(now.since(since)));
        }
        if let (Some(_), Some(delay)) = (self.requested_by, self.delay()) {
            let _ = write!(text, ", delay {}", seconds(delay));
        }
        for service in &self.services {
            let _ = write!(text, "; {}", service.name);
            if let Some(waited) = service.waited() {
                let _ = write!(text, " waited {}", seconds(waited));
            }
            if let Some(drained) = service.drained() {
                let _ = write!(text, " drained {}", seconds(drained));
            }
            for signal in &service.sent {
                let _ = write!(text, " {signal}");
            }
            match service.status {
                Some(status) => {
                    let _ = write!(text, " {status}");
                }
                None if service.started => text.push_str(" still running"),
                None => text.push_str(" not started"),
            }
        }
        let orphans = self.orphans;
        let _ = write!(
            text,
            "; {orphans} orphans reaped; exit {}",
            exit::code(self)
        );
        let forced: Vec<&ServiceRecord> = self
            .services
            .iter()
            .filter(|service| service.forced.is_some())
            .collect();
        if forced.is_empty() && self.rest_forced.is_none() {
            return text;
        }
        if self.interrupts > 1 {
            text.push_str("; hurried by SIGINT");
            return text;
        }
        text.push_str("; out of time");
        for service in &forced {
            if let Some(held_up) = service.held_up {
                let _ = write!(text, ", {}: {held_up}", service.name);
            }
        }
        let would_time_help =
            |service: &&ServiceRecord| !matches!(service.held_up, Some(HeldUp::Ignores(_)));
        if self.rest_forced.is_some() || forced.iter().any(would_time_help) {
            let _ = write!(
                text,
                "; the grace period is taken to be {}: if requests were cut, raise the runtime's \
                 and DRAINIT_GRACE_PERIOD with it",
                seconds(config.grace_period)
            );
        }
        text
    }

    fn json(&self, now: Timestamp) -> String {
        let number =
            |length: Option<Duration>| length.map_or_else(|| "null".to_owned(), json_seconds);
        let services: Vec<String> = self
            .services
            .iter()
            .map(|service| {
                let sent: Vec<String> = service
                    .sent
                    .iter()
                    .map(|signal| json_string(&signal.to_string()))
                    .collect();
                format!(
                    r#"{{"name":{},"waited_s":{},"drained_s":{},"sent":[{}],"status":{},"exit":{}}}"#,
                    json_string(&service.name),
                    number(service.waited()),
                    number(service.drained()),
                    sent.join(","),
                    service
                        .status
                        .map_or("null".to_owned(), |s| json_string(&s.to_string())),
                    service
                        .status
                        .map_or("null".to_owned(), |s| s.code().to_string()),
                )
            })
            .collect();
        format!(
            r#"{{"requested_by":{},"took_s":{},"delay_s":{},"services":[{}],"orphans":{},"exit":{}}}"#,
            self.requested_by
                .map_or("null".to_owned(), |s| json_string(&s.to_string())),
            number(self.since.map(|since| now.since(since))),
            number(self.requested_by.and(self.delay())),
            services.join(","),
            self.orphans,
            exit::code(self),
        )
    }
}

impl ServiceRecord {
    /// How long it waited to be sent nothing.
    fn waited(&self) -> Option<Duration> {
        Some(self.asked_at?.since(self.waited_from?))
    }

    /// From the moment that it was asked until its main process had gone.
    fn drained(&self) -> Option<Duration> {
        Some(self.ended_at?.since(self.asked_at?))
    }
}

/// Whom a signal went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The processes of that layer.
    Layer(Layer),
    /// What a main process runs that passes nothing on: a shell.
    Below,
    /// What a main process left behind.
    Leftovers,
}

/// What is said where processes were asked by that signal.
pub fn asked(whom: Whom, signal: Signal) -> String {
    match whom {
        Whom::Layer(Layer::Web | Layer::Main) => format!("<- {signal}"),
        Whom::Layer(Layer::Workers) => format!("workers <- {signal}"),
        Whom::Layer(Layer::Masters) => format!("master <- {signal}"),
        Whom::Below => format!("what it runs <- {signal}"),
        Whom::Leftovers => format!("what it left behind <- {signal}"),
    }
}

/// What is said where a scope was forced, and what kept it until then.
pub fn forced(force: Force, held_up: Option<HeldUp>) -> String {
    let signal = match force {
        Force::Term => Signal::TERM,
        Force::Kill => Signal::KILL,
    };
    match held_up {
        Some(held_up) => format!("<- {signal}, forced: {held_up}"),
        None => format!("<- {signal}, forced"),
    }
}

/// `5s` is written `5.0 s`.
fn seconds(length: Duration) -> String {
    // In integers: floating point numbers would add 20 kB to the binary.
    let tenths = (length.as_millis() + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// `5s` is written `5.000`.
pub fn json_seconds(length: Duration) -> String {
    format!("{}.{:03}", length.as_secs(), length.subsec_millis())
}

/// A string as JSON has it.
pub fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::json_string;

    #[test]
    fn strings_are_escaped_for_json() {
        assert_eq!(
            json_string("a\"b\\c\nd\u{7f}é"),
            r#""a\"b\\c\u000ad\u007fé""#
        );
    }
}
