//! Signals that come in, and what was inherited of them.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Named, pthread_sigmask};
use signal_hook::low_level::register;

use crate::signal::Signal;

/// Those that have come in: signal 1 is the lowest bit.
static PENDING: AtomicU64 = AtomicU64::new(0);

/// The signal mask and the ignored signals that we were started with, for the
/// services: they are to be started as if we weren't there.
#[derive(Clone, Debug)]
pub struct Inherited {
    pub(super) mask: SigSet,
    pub(super) ignored: Vec<Signal>,
}

/// Blocks all signals and handles those that we act on. To be called first of
/// all: to PID 1 a signal that is neither blocked nor handled is lost, and a
/// shell starts what it puts into the background with SIGINT and SIGQUIT ignored.
///
/// They are let in only while we sleep (`process::wait`), so that none comes
/// between the last look and the sleep, and wakes nobody.
pub fn take_over() -> io::Result<Inherited> {
    let mut blocked = SigSet::all();
    // Ours alone, when our own code is at fault.
    for fault in [Named::SIGSEGV, Named::SIGBUS, Named::SIGILL, Named::SIGFPE] {
        blocked.remove(fault);
    }
    let mut mask = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), Some(&mut mask))?;
    let inherited = Inherited {
        mask,
        ignored: ignored(),
    };
    for signal in Signal::handled() {
        let came = move || _ = PENDING.fetch_or(bit(signal), Ordering::Relaxed);
        // SAFETY: the handler's one atomic operation is async-signal-safe.
        unsafe { register(signal.number(), came)? };
    }
    Ok(inherited)
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

/// Those that have come in since the last call, each once however often it came.
pub fn pending() -> impl Iterator<Item = Signal> {
    let pending = PENDING.swap(0, Ordering::Relaxed);
    Signal::handled().filter(move |signal| pending & bit(*signal) != 0)
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
