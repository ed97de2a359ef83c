//! The sentences that are said: lines of the timeline, and the report when all is
//! over.

use std::fmt::Write as _;
use std::time::Duration;

use super::exit;
use super::logger::LogFormat;
use super::record::{HeldUp, Record, Refused};
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
    pub fn report(&self, now: Timestamp, format: LogFormat) -> String {
        match format {
            LogFormat::Text => self.text(now),
            LogFormat::Json => self.json(now),
        }
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut text = match self.requested_by {
            Some(request) => request.to_string(),
            None if self.services.iter().any(|it| it.failure().is_some()) => {
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
        if let Some(told) = self.after_request(self.told) {
            let _ = write!(text, "; told {}", seconds(told));
        }
        if let Some(busy) = self.after_request(self.busy_until) {
            let _ = write!(text, "; busy until {}", seconds(busy));
        }
        if let Some(Refused { count, .. }) = self.refused {
            let _ = write!(text, "; {count} refused");
        }
        for service in self.services.iter() {
            let _ = write!(text, "; {}", service.name);
            match service.restarts {
                0 => {}
                1 => text.push_str(" restarted once,"),
                times => {
                    let _ = write!(text, " restarted {times} times,");
                }
            }
            if let Some(waited) = service.waited() {
                let _ = write!(text, " waited {}", seconds(waited));
            }
            if let Some(drained) = service.drained() {
                let _ = write!(text, " drained {}", seconds(drained));
            }
            for signal in service.took() {
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
        if self.is_forced() {
            text.push_str(if self.is_hurried() {
                "; hurried by SIGINT"
            } else {
                "; out of time"
            });
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
                    .took()
                    .iter()
                    .map(|signal| json::string(&signal.to_string()))
                    .collect();
                format!(
                    r#"{{"name":{},"restarts":{},"waited_s":{},"drained_s":{},"sent":[{}],"status":{},"exit":{}}}"#,
                    json::string(&service.name),
                    service.restarts,
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
            r#"{{"requested_by":{},"took_s":{},"delay_s":{},"told_s":{},"busy_until_s":{},"refused":{},"services":[{}],"orphans":{},"exit":{}}}"#,
            self.requested_by
                .map_or("null".to_owned(), |it| json::string(&it.to_string())),
            number(self.since.map(|since| now.since(since))),
            number(self.requested_by.and(self.delay())),
            number(self.after_request(self.told)),
            number(self.after_request(self.busy_until)),
            self.refused
                .map_or("null".to_owned(), |refused| refused.count.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Event, Notice, Order, Scope, StopRequest};
    use crate::core::plan::ServiceId;
    use crate::status::Status;

    const NGINX: ServiceId = ServiceId(0);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(Duration::from_millis(milliseconds))
    }

    /// Of a stop ten seconds after the start.
    fn stopped() -> Record {
        let mut record = Record::new([("nginx", true)], Duration::from_secs(1), Vec::new());
        let _ = record.event(
            at(10_000),
            &Event::StopRequested(StopRequest::Signal(Signal::TERM)),
        );
        let _ = record.notice(at(10_000), Notice::StopBegins);
        let _ = record.order(at(15_000), Order::Ask(Scope::Service(NGINX), Layer::Web));
        record.sent(Scope::Service(NGINX), Signal::QUIT);
        let _ = record.event(at(17_200), &Event::Exited(NGINX, Status::Exited(0)));
        record
    }

    /// What was done before the stop tells nothing of how that went.
    #[test]
    fn the_report_counts_restarts() {
        let (queue, scope) = (ServiceId(0), Scope::Service(ServiceId(0)));
        let mut record = Record::new(
            [("queue", false), ("a", false)],
            Duration::from_secs(1),
            vec![],
        );
        for restart in 0..3 {
            let _ = record.order(at(restart * 1_000), Order::Spawn(queue));
            let _ = record.event(at(restart * 1_000), &Event::Executed(queue));
            let how = Status::Exited(3);
            let _ = record.event(at(restart * 1_000 + 100), &Event::Exited(queue, how));
            let _ = record.order(at(restart * 1_000 + 100), Order::Ask(scope, Layer::Main));
            record.sent(scope, Signal::TERM);
            record.forced(at(restart * 1_000 + 200), scope, Force::Kill, None);
        }
        let _ = record.event(
            at(2_500),
            &Event::StopRequested(StopRequest::Signal(Signal::TERM)),
        );
        let _ = record.notice(at(2_500), Notice::StopBegins);
        assert_eq!(
            record.report(at(2_600), LogFormat::Text),
            "SIGTERM, took 0.1 s; queue restarted 2 times, exited 3; a not started; 0 orphans \
             reaped; exit 0"
        );
        let json = record.report(at(2_600), LogFormat::Json);
        assert!(
            json.contains(r#"{"name":"queue","restarts":2,"waited_s":null,"#),
            "{json}"
        );
        assert!(
            json.contains(r#"{"name":"a","restarts":0,"waited_s":null,"#),
            "{json}"
        );

        let _ = record.order(at(2_600), Order::Spawn(ServiceId(1)));
        let how = Status::Exited(4);
        let _ = record.event(at(2_700), &Event::Exited(ServiceId(1), how));
        assert!(
            record
                .text(at(2_800))
                .ends_with("a exited 4; 0 orphans reaped; exit 4")
        );
    }

    #[test]
    fn the_report_says_what_a_stop_cost_where_that_is_known() {
        let mut record = stopped();
        let json = |cost: &str| {
            format!(
                r#"{{"requested_by":"SIGTERM","took_s":7.300,"delay_s":5.000,{cost},"services":[{{"name":"nginx","restarts":0,"waited_s":null,"drained_s":2.200,"sent":["SIGQUIT"],"status":"exited 0","exit":0}}],"orphans":0,"exit":0}}"#
            )
        };
        let report = |record: &Record, format| record.report(at(17_300), format);
        assert_eq!(
            report(&record, LogFormat::Text),
            "SIGTERM, took 7.3 s, delay 5.0 s; nginx drained 2.2 s SIGQUIT exited 0; 0 orphans \
             reaped; exit 0"
        );
        assert_eq!(
            report(&record, LogFormat::Json),
            json(r#""told_s":null,"busy_until_s":null,"refused":null"#)
        );
        record.told = Some(at(10_800));
        record.busy_until = Some(at(11_100));
        record.refused = Some(Refused {
            count: 0,
            by: NGINX,
            since: at(15_000),
        });
        assert_eq!(
            report(&record, LogFormat::Text),
            "SIGTERM, took 7.3 s, delay 5.0 s; told 0.8 s; busy until 1.1 s; 0 refused; nginx \
             drained 2.2 s SIGQUIT exited 0; 0 orphans reaped; exit 0"
        );
        assert_eq!(
            report(&record, LogFormat::Json),
            json(r#""told_s":0.800,"busy_until_s":1.100,"refused":0"#)
        );
    }
}
