//! drainit: a PID 1 for containers that stops nginx and php-fpm without
//! dropping a request.
//!
//! # Shape
//!
//! ```text
//!  kernel                     shell (supervisor, sys)                     core (machine)
//!  signals  -> signalfd(2) -> which signals?        StopRequested, … ---+
//!  SIGCHLD  -> waitpid(-1) -> which children?       Exited, … ----------+
//!  exec's pipe -------------> was it executed?      Executed, … --------+
//!  /proc, pidfds, ----------> what the core awaits? Seen, AskedGone, ---+--> record the fact, then decide
//!  sock_diag                                        Remains, Busy, …    |            |
//!  deadline reached --------> nothing else?         Tick ---------------+            |
//!  kill(2), spawn, exit <---- perform, then log  <--------------- Vec<Action> <------+
//!  epoll timeout <----------------------------------------------- deadline(), awaits()
//! ```
//!
//! Layers, bottom up; an arrow points down, and `tests/layers.rs` reads every `use`
//! to keep it so:
//!
//! | | |
//! |---|---|
//! | [`mod@signal`], [`status`], `json` | words that everybody says |
//! | [`sys`] | the kernel, and nothing else calls it but for a flag or an errno |
//! | [`preset`] | what is known about each program; the only place that names one |
//! | [`core`] | the rules: facts in, orders out, no input or output. Each rule about stopping has a trace in `core/tests/traces.rs`; all states are searched in `core/tests/explore.rs` |
//! | [`report`] | what happened, our exit code from it, every sentence that is said |
//! | [`control`] | what other processes of the container may ask, and the answers |
//! | [`config`] | what was typed and the environment, as a plan and what to execute |
//! | [`personality`] | tini, dumb-init and catatonit: their arguments as a configuration of ours |
//! | [`mod@import`] | supervisord.conf into a file of ours, for a program of its own, `drainit-import`; text in, text out |
//! | [`supervisor`] | the shell around the core: one thread, one sleep, one deadline. `members` maps services to processes, `look` asks the kernel, `act` signals; none decides anything. `output` has what forwards a service's lines, each a process of its own |
//!
//! # Words
//!
//! - *service*: something to run. Its *main process* is the one that we started; the
//!   *scope* of a service is all of its processes.
//! - *preset*: a program that drainit knows how to run and to stop.
//! - *stop request*: the signal by which the runtime asks us to stop.
//! - *lame duck*: the time in which all serve on after it; the *delay* is its length.
//! - *drain*: finishing what was begun and taking nothing new.
//! - *layer*: those of a scope that are asked at one moment.
//! - *round*: asking php-fpm's workers once.
//! - *ask*: to send the signal that makes a program drain. *Force*: SIGTERM, then
//!   SIGKILL. *Dismiss*: SIGTERM where it cuts nothing.
//! - *grace period*: from the stop request to the runtime's SIGKILL. A *deadline* is a
//!   point in time, a *delay* or *timeout* a length.
//! - *rest*: processes below us that belong to no service. The *sweep* drains them.
//! - *flush*: waiting until the kernel has sent what the services wrote.
//! - *marker*: the file that exists while we drain.
//! - *fact* ([`Event`](core::event::Event)): what the core is told. *Condition*: a
//!   fact that matters now and has to be looked for. *Order*: what the core has the
//!   shell do. *Notice*: what it has decided, to be remembered or said.
//!
//! # Adding something
//!
//! - A fact: a variant of `Event`, what the core makes of it in `Machine::record`, a
//!   line of a trace; if it has to be looked for, a `Condition` and its answer in
//!   `supervisor/look.rs`.
//! - An order: a variant of `Order`, where the core gives it, `Supervisor::perform`,
//!   and a rule for it in `core/tests/explore.rs`.
//! - A program: a row of the table in `preset.rs`.
//!
//! # Phases
//!
//! They only go forward. Within the first, each service has a stage of its own: how
//! far it is. What it is *to be* (up, down) is parted from that: one that has ended and
//! is to be up comes back; at a stop all are to be down.
//!
//! ```text
//!             services                                   sweeping      flushing     over
//!  |--------------------------------------------------|------------|------------|--------->
//!   waiting -> starting -> serving -> draining -> gone  what is      what the     report,
//!     ^           |            |      ^  |              left below   kernel has   exit
//!     |           | refused    +------+  | to be up     us drains    still to
//!     |           v          (leaving)   |                           send
//!     +--- respawning <------------------+
//!
//!   It drains at its turn: the delay is over, and those that are after it have gone. Or
//!   somebody has it stopped while the others serve: it leaves once those have gone that
//!   can't do without it. Or it has ended unasked: what it left behind drains.
//! ```
//!
//! # Deliberately absent
//!
//! Threads; an async runtime; timers (the deadline is a function of the state); a
//! trait for the clock or the kernel (effects are data). Signal handlers, and so
//! signal-hook's: to register sixty of them took more instructions than all the rest
//! of a start, as it copies its registry each time; a signalfd needs none.

pub mod config;
pub mod control;
pub mod core;
pub mod import;
mod json;
pub mod personality;
pub mod preset;
pub mod report;
pub mod signal;
pub mod status;
pub mod supervisor;
pub mod sys;
