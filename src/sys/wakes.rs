//! What wakes us: signals, and the ends of processes that aren't our children.

use std::io;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::signal::Signal;
use crate::sys::process::PidFd;

/// What wakes us. No signal is handled: all stay blocked, and are read.
#[derive(Debug)]
pub struct Wakes {
    signals: SignalFd,
    epoll: Epoll,
    /// The signal mask that we were started with, for the services: they are to
    /// be started as if we weren't there.
    pub inherited_mask: SigSet,
}

impl Wakes {
    /// Blocks all signals. To be called first of all: to PID 1 a signal that is
    /// neither blocked nor handled is lost. A blocked one is kept even if it is
    /// ignored, as SIGINT and SIGQUIT are in what a shell starts in the background.
    pub fn take_over() -> io::Result<Self> {
        let mut blocked = SigSet::all();
        // Ours alone, when our own code is at fault.
        for fault in [Named::SIGSEGV, Named::SIGBUS, Named::SIGILL, Named::SIGFPE] {
            blocked.remove(fault);
        }
        let inherited_mask = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // Where our parent had it ignored, children would reap themselves.
        // SAFETY: the default action installs no code of ours.
        unsafe { signal::signal(Named::SIGCHLD, SigHandler::SigDfl)? };
        let mut taken = blocked;
        // What our own doings may raise, and job control.
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
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&taken, flags)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            signals,
            epoll,
            inherited_mask,
        })
    }

    /// The next of the signals that have come in: each once, however often it
    /// came, but for real-time signals.
    pub fn next_signal(&self) -> Option<Signal> {
        let came = self.signals.read_signal().ok()??;
        Signal::from_number(came.ssi_signo.try_into().ok()?)
    }

    /// Has the end of this process wake us, once, while its descriptor is open.
    pub fn add(&self, process: &PidFd) -> io::Result<()> {
        // Edge-triggered: a pidfd stays readable, and those whose process has gone
        // would keep us awake until the last one has.
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        Ok(self.epoll.add(process, EpollEvent::new(once, 0))?)
    }

    /// Sleeps until something of this comes, or that much time has passed (`None`:
    /// for ever).
    pub fn wait(&self, timeout: Option<Duration>) {
        // Rounded up: to wake too early is to wake twice.
        let milliseconds = timeout.map(|timeout| timeout.as_nanos().div_ceil(1_000_000));
        let timeout = milliseconds.map_or(EpollTimeout::NONE, |milliseconds| {
            milliseconds.try_into().unwrap_or(EpollTimeout::MAX)
        });
        // Whatever it says, the loop looks at everything anyway.
        let _ = self.epoll.wait(&mut [EpollEvent::empty(); 16], timeout);
    }
}
