//! The sentences that are said: lines of the timeline, and the report when all is
//! over.

use std::fmt::Write as _;
use std::time::Duration;

use super::exit;
use super::logger::LogFormat;
use super::record::{HeldUp, Record, ServiceRecord};
use crate::core::event::{Force, Layer, Timestamp};
use crate::core::plan::Delay;
use crate::json;
use crate::signal::Signal;

/// One line of the timeline: who it is about, and what happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// A service, a signal, or `drainit`.
    pub who: String,
    /// What happened to it.
    pub what: String,
}

impl Line {
    pub(super) fn new(who: String, what: &str) -> Self {
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
    /// The report.
    pub fn report(&self, now: Timestamp, grace_period: Duration, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.text(now, grace_period),
            LogFormat::Json => self.json(now),
        }
    }

    fn text(&self, now: Timestamp, grace_period: Duration) -> String {
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
        for service in self.services.iter() {
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
                seconds(grace_period)
            );
        }
        text
    }

    fn json(&self, now: Timestamp) -> String {
        let number =
            |length: Option<Duration>| length.map_or_else(|| "null".to_owned(), json::seconds);
        let services: Vec<String> = self
            .services
            .iter()
            .map(|service| {
                let sent: Vec<String> = service
                    .sent
                    .iter()
                    .map(|signal| json::string(&signal.to_string()))
                    .collect();
                format!(
                    r#"{{"name":{},"waited_s":{},"drained_s":{},"sent":[{}],"status":{},"exit":{}}}"#,
                    json::string(&service.name),
                    number(service.waited()),
                    number(service.drained()),
                    sent.join(","),
                    service
                        .status
                        .map_or("null".to_owned(), |s| json::string(&s.to_string())),
                    service
                        .status
                        .map_or("null".to_owned(), |s| s.code().to_string()),
                )
            })
            .collect();
        format!(
            r#"{{"requested_by":{},"took_s":{},"delay_s":{},"services":[{}],"orphans":{},"exit":{}}}"#,
            self.requested_by
                .map_or("null".to_owned(), |s| json::string(&s.to_string())),
            number(self.since.map(|since| now.since(since))),
            number(self.requested_by.and(self.delay())),
            services.join(","),
            self.orphans,
            exit::code(self),
        )
    }
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

/// `5s..15s` is written `5.0 s to 15.0 s`.
pub(super) fn delay(delay: Delay) -> String {
    if delay.is_fixed() {
        seconds(delay.min)
    } else {
        format!("{} to {}", seconds(delay.min), seconds(delay.max))
    }
}

/// `5s` is written `5.0 s`.
pub(super) fn seconds(length: Duration) -> String {
    // In integers: floating point numbers would add 20 kB to the binary.
    let tenths = (length.as_millis() + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}
