//! Signals that come in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::signal::Signal;

/// The signals that come in. None is handled: they stay blocked, and are read.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    /// The signal mask that we were started with, for the services: they are to
    /// be started as if we weren't there.
    pub inherited_mask: SigSet,
}

impl Signals {
    /// Blocks all signals. To be called first of all: to PID 1 a signal that is
    /// neither blocked nor handled is lost. A blocked one is never lost, though
    /// it be ignored, as SIGINT and SIGQUIT are in what a shell starts in the
    /// background.
    pub fn take_over() -> io::Result<Self> {
        let mut blocked = SigSet::all();
        // Ours alone, when our own code is at fault.
        for fault in [Named::SIGSEGV, Named::SIGBUS, Named::SIGILL, Named::SIGFPE] {
            blocked.remove(fault);
        }
        let inherited_mask = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let mut taken = blocked;
        // Those that tell of us, too, and those of job control.
        for left in [
            Named::SIGTRAP,
            Named::SIGABRT,
            Named::SIGSYS,
            Named::SIGPIPE,
            Named::SIGTSTP,
            Named::SIGTTIN,
            Named::SIGTTOU,
        ] {
            taken.remove(left);
        }
        // Where our parent ignored it, children would reap themselves.
        // SAFETY: the default action installs no code of ours.
        unsafe { signal::signal(Named::SIGCHLD, SigHandler::SigDfl)? };
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            descriptor: SignalFd::with_flags(&taken, flags)?,
            inherited_mask,
        })
    }

    /// The next of those that have come in: each once, however often it came,
    /// but for real-time signals.
    pub fn next(&self) -> Option<Signal> {
        let came = self.descriptor.read_signal().ok()??;
        Signal::from_number(came.ssi_signo.try_into().ok()?)
    }
}

impl AsFd for Signals {
    /// Readable when one has come in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
