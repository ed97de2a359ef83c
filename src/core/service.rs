//! A service's life: how far it is, and what became of its main process.

use super::drain::Drain;
use super::event::{Listens, Timestamp};

/// A service, its main process, and its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub(super) stage: Stage,
    pub(super) main: Main,
    /// How often its start was refused.
    pub(super) refusals: u8,
    /// A web server runs in it, or is to.
    pub(super) is_web: bool,
    /// `None` until it was looked for, at a stop.
    pub(super) listens: Option<Listens>,
    pub(super) drain: Drain,
}

/// How far a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Not started: those it is after aren't ready.
    Waiting,
    /// Its start was refused and is tried again.
    Respawning { at: Timestamp },
    /// Started and not ready.
    Starting(Starting),
    /// Ready.
    Serving,
    /// Its turn has come.
    Draining,
    /// Its main process and all that it left behind are gone.
    Gone,
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Starting {
    pub(super) since: Timestamp,
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
