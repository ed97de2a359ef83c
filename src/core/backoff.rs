//! How soon a service is started again that has ended, and how often in a row.

use std::time::Duration;

use super::plan::Delay;

/// A service that was up for so long is no crash loop: its ends count anew.
const COUNTS_ANEW: Duration = Duration::from_secs(60);

/// The ends of a service, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backoff {
    /// How often it has ended. Zero until it ends for the first time, and once somebody
    /// has it started or stopped.
    pub(super) ends: u32,
}

impl Backoff {
    /// It has ended once more, having been ready and up for so long; zero if it
    /// wasn't ready.
    pub(super) fn record_end(&mut self, up: Duration) {
        if up >= COUNTS_ANEW {
            self.ends = 0;
        }
        self.ends = self.ends.saturating_add(1);
    }

    /// Whether it was started again that often in a row; zero is no limit.
    pub(super) fn is_exhausted(self, limit: u32) -> bool {
        limit != 0 && self.ends > limit
    }

    /// How long to wait before it is started again: not at all where it hasn't ended by
    /// itself; else the least time, doubled with each end in a row, and at most the
    /// longest.
    pub(super) fn delay(self, between: Delay) -> Duration {
        if self.ends == 0 {
            return Duration::ZERO;
        }
        let times = 2u32.saturating_pow(self.ends.saturating_sub(1));
        between.min.saturating_mul(times).min(between.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(min: u64, max: u64) -> Delay {
        Delay {
            min: Duration::from_secs(min),
            max: Duration::from_secs(max),
        }
    }

    fn after(ends: u32) -> Backoff {
        Backoff { ends }
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let seconds = |ends| after(ends).delay(between(1, 30)).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(seconds), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(seconds(u32::MAX), 30);
        assert_eq!(seconds(0), 0);
        assert_eq!(after(9).delay(between(0, 0)), Duration::ZERO);
    }

    #[test]
    fn a_limit_is_of_starts_in_a_row_and_zero_is_none() {
        assert!(!after(5).is_exhausted(5));
        assert!(after(6).is_exhausted(5));
        assert!(!after(u32::MAX).is_exhausted(0));
    }

    #[test]
    fn ends_count_anew_once_it_was_up_for_a_minute() {
        let mut backoff = after(3);
        backoff.record_end(Duration::from_millis(59_999));
        assert_eq!(backoff, after(4));
        backoff.record_end(Duration::from_secs(60));
        assert_eq!(backoff, after(1));
    }
}
