//! The container's stop: since when, why, how hurried, and its lame duck.

use std::time::Duration;

use super::event::{Arrivals, Force, Timestamp};
use super::plan::Delay;

/// A health check that was asked so long before the stop request is in use, and will
/// be asked again: Docker asks each 30 s where nothing else is said.
const CHECK_IS_IN_USE: Duration = Duration::from_secs(60);

/// How long after the health check was told others may still act upon it: Traefik
/// applies what it learns every 2 s.
const TOLD_TAKES_EFFECT: Duration = Duration::from_millis(2500);

/// A stop that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stop {
    /// When it began; all escalation is derived from this.
    pub(super) since: Timestamp,
    /// What listens serves on until it is over.
    pub(super) lame_duck: LameDuck,
    /// It is known, and was said, whether anything listens and so has a lame duck: till
    /// then nobody is asked.
    pub(super) is_announced: bool,
    /// The runtime asked for it, and so it stops the others of a pod, too:
    /// nobody is at the keyboard, and nothing has broken.
    pub(super) is_requested: bool,
    /// The last step at the keyboard.
    pub(super) interrupted: Option<Timestamp>,
    /// What further SIGINTs have come to.
    pub(super) hurried: Option<Force>,
}

/// How long to serve on after the stop request, by what has happened since.
///
/// At least the least delay. Then until it was quiet, and until those who go by the
/// health check know; at most the longest delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LameDuck {
    pub(super) since: Timestamp,
    pub(super) delay: Delay,
    /// It is quiet when at most one thing came within this time: a kubelet probes
    /// to the end, one connection at a time.
    pub(super) quiet: Duration,
    /// When the last thing came but one, and the last; or the stop request, for what
    /// came before it.
    pub(super) arrivals: [Timestamp; 2],
    /// It can't be seen whether anything comes: silence proves nothing.
    pub(super) is_blind: bool,
    pub(super) check: Check,
    /// It is never begun again, whatever comes.
    pub(super) is_over: bool,
}

/// Who goes by the health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Check {
    /// Nobody, as far as is known.
    NotInUse,
    /// Somebody, who was told nothing yet.
    InUse,
    /// Somebody who asked then, after the stop request.
    Told(Timestamp),
}

impl LameDuck {
    /// One that begins now. `check_asked` is when the health check was asked last.
    pub(super) fn new(
        now: Timestamp,
        delay: Delay,
        quiet: Duration,
        check_asked: Option<Timestamp>,
    ) -> Self {
        let is_in_use = check_asked.is_some_and(|at| now.since(at) <= CHECK_IS_IN_USE);
        Self {
            since: now,
            delay,
            quiet,
            arrivals: [now, now],
            is_blind: false,
            check: if is_in_use {
                Check::InUse
            } else {
                Check::NotInUse
            },
            is_over: false,
        }
    }

    /// When it ends, if nothing happens before.
    pub(super) fn ends_at(&self) -> Timestamp {
        let least = self.since + self.delay.min;
        let most = self.since + self.delay.max;
        let [last_but_one, _] = self.arrivals;
        let quiet_at = if self.is_blind {
            least
        } else {
            last_but_one + self.quiet
        };
        let known_at = match self.check {
            Check::NotInUse => least,
            Check::InUse => most,
            Check::Told(at) => at + TOLD_TAKES_EFFECT,
        };
        least.max(quiet_at).max(known_at).min(most)
    }

    /// Something has come since that was looked at before.
    pub(super) fn record_arrivals(&mut self, now: Timestamp, arrivals: Arrivals) {
        match arrivals {
            Arrivals::One => {
                let [_, last] = self.arrivals;
                self.arrivals = [last, now];
            }
            Arrivals::Many => self.arrivals = [now, now],
            Arrivals::Unknown => self.is_blind = true,
        }
    }

    /// The health check was asked, and so told.
    pub(super) fn record_asked(&mut self, now: Timestamp) {
        match self.check {
            Check::NotInUse | Check::InUse => self.check = Check::Told(now),
            Check::Told(_) => {}
        }
    }
}
