//! What to do about what a stop has cost: a line of its own, and only where there is
//! something to do.

use std::time::Duration;

use super::record::{HeldUp, Record, Refused};
use super::text::seconds;
use crate::core::event::Timestamp;

/// Requests that came so late in the delay may well have gone on after it.
const LATE: Duration = Duration::from_secs(1);

/// What is to be put into the image where the runtime tells nobody of a stop.
const HEALTH_CHECK: &str = "no health check was told of the stop; add HEALTHCHECK --interval=1s --retries=1 CMD \
     [\"drainit\", \"ready\"]";

impl Record {
    /// What to do. `tells_nobody` if the runtime tells nobody of a stop, but for what
    /// a health check says.
    pub fn advice(
        &self,
        now: Timestamp,
        grace_period: Duration,
        tells_nobody: bool,
    ) -> impl Iterator<Item = String> + use<> {
        let out_of_time = self.out_of_time(grace_period);
        out_of_time.into_iter().chain(self.late(now, tells_nobody))
    }

    /// Who had to be ended before the drain was over.
    pub(super) fn out_of_time(&self, grace_period: Duration) -> Option<String> {
        if !self.is_forced() || self.is_hurried() {
            return None;
        }
        let forced = self.services.iter().filter(|it| it.forced.is_some());
        let mut who: Vec<String> = forced
            .clone()
            .map(|service| {
                let had = service.had().map(|time| format!("after {}", seconds(time)));
                let held_up = service.held_up.map(|held_up| format!("({held_up})"));
                let known = [Some(service.name.clone()), had, held_up];
                known.into_iter().flatten().collect::<Vec<_>>().join(" ")
            })
            .collect();
        who.extend(self.rest_forced.map(|_| "orphans".to_owned()));
        let mut would_time_help =
            forced.map(|service| !matches!(service.held_up, Some(HeldUp::Ignores(_))));
        let remedy = if self.rest_forced.is_some() || would_time_help.any(|it| it) {
            format!(
                "; the grace period is taken to be {}: if requests were cut, raise the runtime's \
                 and DRAINIT_GRACE_PERIOD with it",
                seconds(grace_period)
            )
        } else {
            String::new()
        };
        Some(format!("out of time: {}{remedy}", who.join(", ")))
    }

    /// Whether who sends here has learned of the stop too late.
    fn late(&self, now: Timestamp, tells_nobody: bool) -> Option<String> {
        let is_delayed = self.interrupts == 0
            && self.requested_by.is_some()
            && self.first_unasked.is_none()
            && self.services.iter().all(|it| it.start_failed.is_none());
        if !is_delayed {
            return None;
        }
        let is_untold = tells_nobody && self.told.is_none();
        // Where it is known what was refused, it alone says whether the delay was
        // long enough.
        let Some(refused) = self.refused else {
            return self.busy_to_the_end(is_untold);
        };
        let Refused { count, by, since } = refused;
        let closed = now.since(since);
        // Probes go on to the end.
        if count <= closed.as_secs() + 1 {
            return None;
        }
        let delay = self.after_request(Some(since))?;
        let remedy = format!(
            "set DRAINIT_DELAY to {}s or more, and the grace period to match",
            longer_than(delay + closed)
        );
        let why = if is_untold {
            format!("{HEALTH_CHECK}, or ")
        } else {
            format!(
                "who sends here learns of a stop later than {}; ",
                seconds(delay)
            )
        };
        Some(format!(
            "{count} connections were refused after {} had stopped listening: {why}{remedy}",
            self.name(by)
        ))
    }

    fn busy_to_the_end(&self, is_untold: bool) -> Option<String> {
        let delay = self.delay()?;
        let busy_until = self.after_request(self.busy_until)?;
        if delay.saturating_sub(busy_until) >= LATE {
            return None;
        }
        let remedy = if is_untold {
            format!("{HEALTH_CHECK}, or set a longer DRAINIT_DELAY")
        } else {
            "who sends here learns of a stop later; set a longer DRAINIT_DELAY, and the grace \
             period to match"
                .to_owned()
        };
        Some(format!(
            "requests came until the delay of {} was over: {remedy}",
            seconds(delay)
        ))
    }
}

/// In whole seconds, with one to spare.
fn longer_than(length: Duration) -> u64 {
    length.as_secs() + u64::from(length.subsec_nanos() > 0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Event, Force, Layer, Notice, Order, Scope, StopRequest};
    use crate::core::plan::ServiceId;
    use crate::signal::Signal;
    use crate::status::{Failure, Status};

    const NGINX: ServiceId = ServiceId(1);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(Duration::from_millis(milliseconds))
    }

    /// Of a stop that was asked for ten seconds after the start, and whose delay was
    /// five.
    fn stopped_by(request: Event) -> Record {
        let mut record = Record::new(
            [("php-fpm", true), ("nginx", true)],
            Duration::from_secs(1),
            Vec::new(),
        );
        let _ = record.event(at(10_000), &request);
        let _ = record.notice(at(10_000), Notice::StopBegins);
        let _ = record.order(at(15_000), Order::Ask(Scope::Service(NGINX), Layer::Web));
        record
    }

    fn stopped() -> Record {
        stopped_by(Event::StopRequested(StopRequest::Signal(Signal::TERM)))
    }

    fn refused(count: u64) -> Refused {
        Refused {
            count,
            by: NGINX,
            since: at(15_000),
        }
    }

    /// When the ports have been closed for one and a half seconds.
    fn advice_on(record: &Record, tells_nobody: bool) -> Vec<String> {
        let grace_period = Duration::from_secs(30);
        record
            .advice(at(16_500), grace_period, tells_nobody)
            .collect()
    }

    #[test]
    fn a_stop_that_costs_nothing_needs_no_advice() {
        let mut record = stopped();
        assert_eq!(advice_on(&record, true), [""; 0]);
        record.refused = Some(refused(0));
        // Here alone it is known that these requests were the last.
        record.busy_until = Some(at(15_000));
        assert_eq!(advice_on(&record, true), [""; 0]);
    }

    #[test]
    fn connections_that_are_refused_say_how_long_the_delay_should_be() {
        let mut record = stopped();
        record.refused = Some(refused(17));
        assert_eq!(
            advice_on(&record, false),
            [
                "17 connections were refused after nginx had stopped listening: who sends here \
                 learns of a stop later than 5.0 s; set DRAINIT_DELAY to 8s or more, and the \
                 grace period to match"
            ]
        );
    }

    #[test]
    fn the_number_to_set_is_above_all_of_the_stop() {
        for (milliseconds, expected) in [(0, 1), (1, 2), (6500, 8), (7000, 8), (7001, 9)] {
            let length = Duration::from_millis(milliseconds);
            assert_eq!(longer_than(length), expected, "{milliseconds}");
        }
    }

    #[test]
    fn a_probe_each_second_is_nobody_who_was_refused() {
        let mut record = stopped();
        record.refused = Some(refused(2));
        assert_eq!(advice_on(&record, false), [""; 0]);
        record.refused = Some(refused(3));
        assert_eq!(advice_on(&record, false).len(), 1);
    }

    #[test]
    fn where_nobody_is_told_a_health_check_is_what_is_missing() {
        let mut record = stopped();
        record.refused = Some(refused(17));
        let untold = "17 connections were refused after nginx had stopped listening: no health \
                      check was told of the stop; add HEALTHCHECK --interval=1s --retries=1 CMD \
                      [\"drainit\", \"ready\"], or set DRAINIT_DELAY to 8s or more, and the grace \
                      period to match";
        assert_eq!(advice_on(&record, true), [untold]);
        record.told = Some(at(10_800));
        assert!(
            advice_on(&record, true)[0].contains("learns of a stop later than 5.0 s"),
            "it was told"
        );
    }

    #[test]
    fn requests_to_the_very_end_of_the_delay_say_that_it_was_too_short() {
        let mut record = stopped();
        record.busy_until = Some(at(14_001));
        assert_eq!(
            advice_on(&record, false),
            [
                "requests came until the delay of 5.0 s was over: who sends here learns of a stop \
                 later; set a longer DRAINIT_DELAY, and the grace period to match"
            ]
        );
        assert_eq!(
            advice_on(&record, true),
            [
                "requests came until the delay of 5.0 s was over: no health check was told of the \
                 stop; add HEALTHCHECK --interval=1s --retries=1 CMD [\"drainit\", \"ready\"], or \
                 set a longer DRAINIT_DELAY"
            ]
        );
        record.busy_until = Some(at(14_000));
        assert_eq!(advice_on(&record, false), [""; 0]);
    }

    #[test]
    fn of_one_who_is_late_there_is_one_line() {
        let mut record = stopped();
        record.refused = Some(refused(17));
        record.busy_until = Some(at(14_900));
        assert_eq!(advice_on(&record, false).len(), 1);
    }

    #[test]
    fn no_delay_helps_where_none_is_made() {
        let mut by_keyboard = stopped_by(Event::Interrupted);
        by_keyboard.refused = Some(refused(17));
        assert_eq!(advice_on(&by_keyboard, false), [""; 0]);

        let mut crashed = stopped();
        crashed.refused = Some(refused(17));
        crashed.first_unasked = Some((NGINX, Status::Killed(Signal::KILL)));
        assert_eq!(advice_on(&crashed, false), [""; 0]);

        let mut not_started = stopped();
        not_started.refused = Some(refused(17));
        not_started.start_failed(NGINX, Failure::NotFound);
        assert_eq!(advice_on(&not_started, false), [""; 0]);

        let mut unasked = Record::new([("nginx", true)], Duration::from_secs(1), Vec::new());
        unasked.refused = Some(refused(17));
        assert_eq!(advice_on(&unasked, false), [""; 0]);
    }

    #[test]
    fn a_drain_that_ran_out_of_time_says_whose_and_what_to_raise() {
        let mut record = stopped();
        let clients = HeldUp::Clients(3, Duration::from_secs(2));
        record.forced(
            at(21_000),
            Scope::Service(NGINX),
            Force::Term,
            Some(clients),
        );
        record.forced(at(21_000), Scope::Service(ServiceId(0)), Force::Kill, None);
        record.forced(at(21_000), Scope::Rest, Force::Kill, None);
        assert_eq!(
            advice_on(&record, false),
            [
                "out of time: php-fpm, nginx after 6.0 s (3 connections left, all silent for \
                 2.0 s), orphans; the grace period is taken to be 30.0 s: if requests were cut, \
                 raise the runtime's and DRAINIT_GRACE_PERIOD with it"
            ]
        );
    }

    #[test]
    fn time_doesnt_help_who_ignores_its_signal() {
        let mut record = stopped();
        let ignores = HeldUp::Ignores(Signal::QUIT);
        record.forced(
            at(21_000),
            Scope::Service(NGINX),
            Force::Kill,
            Some(ignores),
        );
        assert_eq!(
            advice_on(&record, false),
            ["out of time: nginx after 6.0 s (it ignores SIGQUIT)"]
        );
    }

    #[test]
    fn who_was_hurried_by_the_keyboard_needs_no_advice() {
        let mut record = stopped_by(Event::Interrupted);
        let _ = record.event(at(15_500), &Event::Interrupted);
        record.forced(at(21_000), Scope::Service(NGINX), Force::Term, None);
        assert_eq!(advice_on(&record, false), [""; 0]);
    }
}
