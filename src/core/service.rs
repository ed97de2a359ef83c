//! A service's life: how far it is, and what became of its main process.

use super::backoff::Backoff;
use super::drain::Drain;
use super::event::{Listens, Timestamp};

/// A service, its main process, and its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    /// What it is to be; how far it is, the stage tells.
    pub(super) wanted: Wanted,
    pub(super) stage: Stage,
    pub(super) main: Main,
    /// What became of the one before, when it was started last.
    pub(super) main_before: Main,
    /// When it was started last.
    pub(super) started_at: Timestamp,
    /// How often it has ended in a row, before the stop.
    pub(super) backoff: Backoff,
    /// How often this start of it was refused.
    pub(super) refusals: u8,
    /// A web server runs in it, or is to.
    pub(super) is_web: bool,
    /// `None` until it was looked for, at a stop.
    pub(super) listens: Option<Listens>,
    pub(super) drain: Drain,
}

impl Service {
    /// A start was refused, or failed.
    pub(super) fn record_no_start(&mut self) {
        self.main = self.main_before;
    }
}

/// What a service is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// It is to serve, and is started again when it has gone.
    Up,
    /// It is to go, or to stay away: it has done all that it was to do, was given up, or
    /// all stops.
    Down,
    /// It is to stay away until somebody has it started: somebody had it stopped.
    Stopped,
}

/// How far a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Not started: those it is after aren't ready.
    Waiting,
    /// It has ended, or its start was refused: it is started again.
    Respawning { at: Timestamp },
    /// Started and not ready.
    Starting(Starting),
    /// Ready.
    Serving,
    /// Somebody has it stopped, or started anew: it serves on until those have gone
    /// that go before it.
    Leaving,
    /// Its turn has come; or it has ended unasked, and what it left behind is drained
    /// before it is started again.
    Draining,
    /// Its main process and all that it left behind are gone.
    Gone,
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Starting {
    /// Its program runs. An exec may take long: its file may be on a file system
    /// that hangs.
    pub(super) is_executed: bool,
    /// It can't be looked into: then it counts as ready, unless a listening
    /// socket of its user shows that before.
    pub(super) presumed_at: Option<Timestamp>,
    /// When it is said again who waits for it.
    pub(super) say_at: Timestamp,
}

/// What became of a service's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Main {
    /// There was none.
    Absent,
    /// It may be signalled.
    Running,
    /// Its pid may be another process's by now.
    Reaped,
}
