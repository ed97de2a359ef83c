//! What wakes us: signals, and the ends of processes that aren't our children.

use std::io;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd;

use crate::signal::Signal;
use crate::sys::process::PidFd;

/// How many signals are taken at a time: one of each, but for real-time signals.
/// The kernel gives the lowest first: if few were taken, and those came without
/// end, SIGTERM and SIGCHLD never would.
const AT_ONCE: usize = 32;

/// What wakes us. No signal is handled: all stay blocked, and are read.
#[derive(Debug)]
pub struct Wakes {
    /// To read it takes as long as until one comes.
    coming: SignalFd,
    /// To read it takes no time.
    pending: SignalFd,
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
        // But those that the C library keeps for itself, with musl up to 34.
        let mut blocked = SigSet::all();
        // Ours alone, when our own code is at fault.
        for fault in [Named::SIGSEGV, Named::SIGBUS, Named::SIGILL, Named::SIGFPE] {
            blocked.remove(fault);
        }
        let inherited_mask = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // Where our parent had it ignored, children would reap themselves. It is the
        // one disposition that services don't inherit from there.
        // SAFETY: the default action installs no code of ours.
        unsafe { signal::signal(Named::SIGCHLD, SigHandler::SigDfl)? };
        let mut taken = blocked;
        // What our own doings may raise, and job control: they do nothing.
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
        let nonblocking = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let pending = SignalFd::with_flags(&taken, nonblocking)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&pending, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            coming: SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC)?,
            pending,
            epoll,
            inherited_mask,
        })
    }

    /// Has the end of this process wake us, once, as long as its descriptor is open.
    pub fn add(&self, process: &PidFd) -> io::Result<()> {
        // Edge-triggered: a pidfd stays readable, and those whose process has gone
        // would keep us awake until the last one has.
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        Ok(self.epoll.add(process, EpollEvent::new(once, 0))?)
    }

    /// Sleeps until signals come, and takes them, lowest first; with a timeout, no
    /// longer than that, nor than until a process that was added ends.
    pub fn wait(&self, timeout: Option<Duration>) -> impl Iterator<Item = Signal> + use<> {
        let signals = match timeout {
            // In one call, where the other way takes two.
            None => &self.coming,
            Some(timeout) => {
                // Rounded up: to wake too early is to wake twice.
                let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
                let timeout = milliseconds.try_into().unwrap_or(EpollTimeout::MAX);
                // Whatever it says: the loop looks at everything anyway.
                let _ = self.epoll.wait(&mut [EpollEvent::empty(); 16], timeout);
                // What was pending may have gone: SIGCONT does when SIGTSTP comes.
                &self.pending
            }
        };
        let mut records = [[0; size_of::<siginfo>()]; AT_ONCE];
        let _ = unistd::read(signals, records.as_flattened_mut());
        let signals = records.map(|record| {
            // The first field, ssi_signo; 0 where nothing was read.
            let number = u32::from_ne_bytes(*record.first_chunk()?);
            Signal::from_number(number.try_into().ok()?)
        });
        signals.into_iter().flatten()
    }
}
