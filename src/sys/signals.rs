//! Signals that come in, and what was inherited of them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::signal::Signal;

/// The signal mask and the ignored signals that we were started with, for the
/// services: they are to be started as if we weren't there.
#[derive(Clone, Debug)]
pub struct Inherited {
    pub(super) mask: SigSet,
    pub(super) ignored: Vec<Signal>,
}

/// The signals that have come in.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

/// Handles and unblocks every signal that we act on. To be called first of
/// all: to PID 1 a signal that has no handler is lost, and a shell starts what
/// it puts into the background with SIGINT and SIGQUIT ignored.
pub fn take_over() -> io::Result<(Inherited, Signals)> {
    let mut mask = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask))?;
    let inherited = Inherited {
        mask,
        ignored: ignored(),
    };
    let (read, write) = UnixStream::pair()?;
    let none: [i32; 0] = [];
    let signals = SignalDelivery::with_pipe(read, write, SignalOnly, none)?;
    let handle = signals.handle();
    for signal in Signal::handled() {
        handle.add_signal(signal.number())?;
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok((inherited, Signals(signals)))
}

/// From `proc_pid_status(5)`; without a /proc, none. Rust itself has SIGPIPE
/// ignored by now, and gives children its default action.
fn ignored() -> Vec<Signal> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    Signal::handled()
        .filter(|signal| mask >> (signal.number() - 1) & 1 == 1)
        .collect()
}

impl Signals {
    /// Those that have come in since the last call, each once however often it
    /// came.
    pub fn pending(&mut self) -> Vec<Signal> {
        self.0.pending().filter_map(Signal::from_number).collect()
    }
}

impl AsFd for Signals {
    /// Readable when a signal has come in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
