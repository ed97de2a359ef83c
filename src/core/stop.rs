//! The container's stop: since when, why, and how hurried.

use std::time::Duration;

use super::event::{Force, Timestamp};

/// A stop that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stop {
    /// When it began; all escalation is derived from this.
    pub(super) since: Timestamp,
    /// When the lame duck ends.
    pub(super) drain_at: Timestamp,
    /// The delay that was asked for, until it is known whether anything listens:
    /// till then nobody is asked.
    pub(super) unsaid: Option<Duration>,
    /// The runtime asked for it, and so it stops the others of a pod, too:
    /// nobody is at the keyboard, and nothing has broken.
    pub(super) is_requested: bool,
    /// The last step at the keyboard.
    pub(super) interrupted: Option<Timestamp>,
    /// What further SIGINTs have come to.
    pub(super) hurried: Option<Force>,
}
