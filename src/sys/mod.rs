//! The only place that calls the kernel. Nothing here decides anything.
//!
//! Unsafe code is here alone: for what nix lacks, which is pidfds and real-time
//! signals (its `Signal` has none, so that its `waitpid` would lose a child killed
//! by one); for a signal's disposition; and for the moment between fork and exec.

pub mod datagram;
pub mod forward;
pub mod path;
pub mod pidfd;
pub mod proc;
pub mod process;
pub mod snmp;
pub mod sock_diag;
pub mod sockets;
pub mod stderr;
pub mod user;
pub mod wakes;
