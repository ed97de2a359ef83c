//! What the core is told, what it asks, and what it orders.

use std::time::Duration;

use super::plan::{Delay, ServiceId};
use crate::preset::Kind;
use crate::signal::Signal;
use crate::status::Status;

/// A point in time: how long after the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub Duration);

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length))
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero if it isn't.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whose processes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of a service: its main process, all below it, its process group,
    /// and orphans that only it can have left.
    Service(ServiceId),
    /// All that runs below us once the services have gone.
    Rest,
}

/// Who is asked in one step of a drain, in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Web servers, each by its preset's signal: they stop accepting and
    /// finish what they have.
    Web,
    /// php-fpm's workers: at `process_control_timeout = 0` its master would
    /// kill them, requests and all.
    Workers,
    /// php-fpm's masters.
    Masters,
    /// The main process by the service's own stop signal, or, once that has
    /// been reaped, whatever is left by SIGTERM.
    Main,
}

/// What makes a process end that didn't when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Force {
    /// SIGTERM: nginx and php-fpm end at once and cut what they have.
    Term,
    /// SIGKILL to all of it.
    Kill,
}

/// Whether a service listens, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listens {
    /// A process of it holds a listening socket.
    Yes,
    /// None does.
    No,
    /// Neither its descriptors nor the socket tables tell. Counts as listening.
    Unknown,
}

/// What a look at a service shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    /// Whether it listens.
    pub listens: Listens,
    /// What preset runs in it, if one does: a web server before php-fpm.
    pub runs: Option<Kind>,
}

/// What is left of a scope, zombies left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "questions of their own")]
pub struct Remains {
    /// Anything at all, asked or not; also where that can't be seen.
    pub any: bool,
    /// A web server that wasn't asked.
    pub web: bool,
    /// A worker of a php-fpm, asked or not.
    pub workers: bool,
    /// A master of a php-fpm that wasn't asked.
    pub masters: bool,
    /// Anything else that wasn't asked.
    pub other: bool,
    /// Who is at php-fpm's sockets.
    pub attendance: Attendance,
}

impl Remains {
    /// Nothing is left.
    pub const NOTHING: Self = Self {
        any: false,
        web: false,
        workers: false,
        masters: false,
        other: false,
        attendance: Attendance::Nobody,
    };
}

/// Who is at the listening sockets of a php-fpm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attendance {
    /// Nobody: no worker has a request, unless it works on after the response.
    Nobody,
    /// Somebody is connected.
    Connected,
    /// Somebody waits to be accepted.
    Queued,
    /// The socket tables don't tell.
    Unknown,
}

/// Why a php-fpm is not yet asked to stop whose web server isn't ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Busy {
    /// Requests wait to be accepted.
    Queue,
    /// Its workers were at work since they were looked at before.
    Workers,
    /// Somebody is connected to this port, which isn't ours.
    Clients(u16),
    /// Somebody still listens on this port.
    Listener(u16),
    /// The socket tables can't be read.
    Unknown,
}

/// What has come to us that is new: a connection, data on one that is open, a
/// datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrivals {
    /// One such thing: a probe, perhaps.
    One,
    /// More than one.
    Many,
    /// That can't be seen.
    Unknown,
}

/// How long the kernel still has to send what the services wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// All has been sent and acknowledged.
    None,
    /// Less than when it was looked at before.
    Shrunk,
}

/// A fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Event {
    /// The runtime asks us to stop, by this signal.
    StopRequested(Signal),
    /// SIGINT: somebody at the keyboard asks us to stop.
    Interrupted,
    /// The services are to read their configuration anew.
    ReloadRequested,
    /// The services are to open their log files anew.
    ReopenRequested,
    /// A signal that only services may know what to do with.
    Signalled(Signal),
    /// A service's program couldn't be started for want of processes or
    /// memory; that may pass.
    SpawnRefused(ServiceId),
    /// A service's program can't be executed.
    SpawnFailed(ServiceId),
    /// A service's program was executed.
    Executed(ServiceId),
    /// A service's main process was reaped.
    Exited(ServiceId, Status),
    /// Whether a service listens, and what it is ([`Condition::Sight`]).
    Seen(ServiceId, Sight),
    /// Those that the last [`Action::Ask`] of that scope asked have gone.
    AskedGone(Scope),
    /// Some of them have gone.
    AskedFewer(Scope),
    /// A scope's web servers have only such clients left as neither sent nor
    /// were sent a byte ([`Condition::Silent`]).
    Silent(Scope),
    /// A service is still sent requests, or may be ([`Condition::Quiet`]).
    Busy(ServiceId, Busy),
    /// What has come since that was looked at before, if anything has
    /// ([`Condition::Arrivals`]).
    Arrived(Arrivals),
    /// A health check asked how the container is, and was told.
    HealthAsked,
    /// None of php-fpm's workers may be signalled: they run as another user.
    AskRefused(Scope),
    /// What is left of a scope ([`Condition::Remains`]).
    Remains(Scope, Remains),
    /// How far the kernel has come ([`Condition::Flushed`]).
    Unsent(Unsent),
    /// Time has passed.
    Tick,
}

/// What the core wants of the shell: to be carried out, or said, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Carry this out.
    Do(Order),
    /// Take note of this; nothing is to be done.
    Note(Notice),
}

impl From<Order> for Action {
    fn from(order: Order) -> Self {
        Self::Do(order)
    }
}

impl From<Notice> for Action {
    fn from(notice: Notice) -> Self {
        Self::Note(notice)
    }
}

/// An order to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Order {
    /// Start a service.
    Spawn(ServiceId),
    /// Have a service read its configuration anew, in its own way.
    Reload(ServiceId),
    /// Have a service open its log files anew, in its own way.
    Reopen(ServiceId),
    /// Pass a signal on to a service that is no preset.
    Forward(ServiceId, Signal),
    /// Make the drain marker.
    MakeMarker,
    /// Have the masters of an idle php-fpm start no new workers, where that can
    /// be done without harm.
    Hold(Scope),
    /// Have them go on.
    Release(Scope),
    /// Ask those of a layer of a scope that weren't asked yet to finish what
    /// they have and end. Masters that are held go on.
    Ask(Scope, Layer),
    /// End a scope's web servers by SIGTERM: nobody waits for an answer.
    Dismiss(Scope),
    /// Make all that is left of a scope end. Who had SIGTERM gets no second one:
    /// that often means "at once".
    Force(Scope, Force),
    /// Report, and exit.
    Exit,
}

/// Something that the core has decided, and that is worth remembering or saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Notice {
    /// The stop that was asked for begins.
    StopBegins,
    /// What listens serves on for so long; nothing does if zero.
    LameDuckBegins(Delay),
    /// This service didn't become ready, and so all stops.
    StartFailed(ServiceId),
    /// Others still wait for this service to become ready.
    StillStarting(ServiceId),
    /// This service counts as ready, though nothing shows it.
    PresumedReady(ServiceId),
    /// This service ended without having been asked to, and so all stops, unless
    /// that had begun.
    EndedUnasked(ServiceId),
    /// This service has ended unasked, with all that it left behind, and is started
    /// again after so long.
    StartsAgainIn(ServiceId, Duration),
    /// This service isn't started again any more: it has ended so many times in a
    /// row.
    GivenUp(ServiceId, u32),
    /// From now on this service is watched until nobody sends to it any more.
    AwaitsQuiet(ServiceId),
    /// There is no more time for that.
    AwaitsQuietNoLonger(ServiceId),
}

/// How the container is, for those that send to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not all services are ready, or one is away until it is started again.
    Starting,
    /// All serve.
    Ready,
    /// The runtime has asked us to stop.
    Draining,
    /// It stops for another reason.
    Stopping,
}

/// How far a service is, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Those that it is after aren't ready.
    Waiting,
    /// Started and not ready.
    Starting,
    /// Ready.
    Serving,
    /// It goes.
    Draining,
    /// It has ended, and is started again in a while.
    Restarting,
    /// It was given up, or all stops.
    Ended,
}

/// A fact to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Whether a service listens, and what it is. Answered by [`Event::Seen`]:
    /// while it starts, once it listens; at a stop, at once.
    Sight(ServiceId),
    /// That those whom the last [`Action::Ask`] of this scope asked have gone.
    /// Answered by [`Event::AskedGone`], or [`Event::AskedFewer`].
    AskedGone(Scope),
    /// That the clients of a scope's web servers are there, and silent: browsers
    /// that connected in advance, health checks by TCP. Answered by
    /// [`Event::Silent`].
    Silent(Scope),
    /// Whether requests still come to a service, or may come. Answered by
    /// [`Event::Busy`] while they do.
    Quiet(ServiceId),
    /// What comes during the lame duck. Answered by [`Event::Arrived`] when
    /// something has, and nothing is new at the first look.
    Arrivals,
    /// What is left of a scope. Answered by [`Event::Remains`], at once.
    Remains(Scope),
    /// What the kernel still has to send. Answered by [`Event::Unsent`] when
    /// that has become less.
    Flushed,
}
