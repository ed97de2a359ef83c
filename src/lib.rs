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
//! - [`machine`] is the core, and pure: facts in, orders out. Every rule about
//!   stopping is there, and specified by a trace in `machine/traces.rs`; all
//!   its states are searched in `machine/explore.rs`.
//! - [`supervisor`] is the shell around it: one thread, one sleep, one
//!   deadline. `members` maps services to processes, `look` asks the kernel, `act`
//!   signals; none decides anything.
//! - [`sys`] alone calls the kernel.
//! - [`config`] turns what was typed ([`cli`]) and the environment into what is
//!   to be done; [`preset`] is what is known about each program; [`mod@signal`]
//!   says what a received signal asks for.
//! - [`report`] watches the same facts and orders as the core, and says what
//!   happened; [`exit`] decides our exit code from its record. [`logger`]
//!   writes it down.
//!
//! # Phases
//!
//! They only go forward. Within the first, each service has a stage of its own.
//!
//! ```text
//!             services                                   sweeping      flushing     over
//!  |--------------------------------------------------|------------|------------|--------->
//!   waiting -> starting -> serving -> draining -> gone  what is      what the     report,
//!                  ^           |         ^              left below   kernel has   exit
//!                  |           +---------+              us drains    still to
//!             respawning     its turn: the delay is                  send
//!                            over, and those that are
//!                            after it have gone
//! ```
//!
//! # Deliberately absent
//!
//! Threads; an async runtime; signal handlers; timers (the deadline is a function
//! of the state); a trait for the clock or the kernel (effects are data).

pub mod cli;
pub mod config;
pub mod exit;
pub mod logger;
pub mod machine;
pub mod preset;
pub mod report;
pub mod signal;
pub mod supervisor;
pub mod sys;
mod words;
