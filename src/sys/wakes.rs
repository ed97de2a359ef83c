//! What wakes us: signals, requests that can be read, and descriptors that become
//! readable, as that of a process that isn't our child does when it ends.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd;

use crate::signal::Signal;
use crate::sys::process::FORWARDER_ENDED;

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
    /// What is read. To clear it each time would take longer than all else that a
    /// signal takes.
    records: Vec<u8>,
    own_pid: u32,
    /// For the services: they are to be started as if we weren't there.
    pub inherited: Inherited,
}

/// What we were started with, and changed: the signal mask, and what happens at
/// the signals that we (or Rust's runtime) gave another disposition.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    pub(super) mask: SigSet,
    pub(super) at_sigpipe: SigHandler,
    pub(super) at_sigchld: SigHandler,
}

impl Inherited {
    /// Sets all of it again, by async-signal-safe calls alone: also between fork and
    /// exec.
    pub fn restore(&self) -> nix::Result<()> {
        // SAFETY: neither is a handler; nothing of ours is called.
        unsafe {
            signal::signal(Named::SIGPIPE, self.at_sigpipe)?;
            signal::signal(Named::SIGCHLD, self.at_sigchld)?;
        }
        self.mask.thread_set_mask()
    }
}

/// Whether SIGPIPE was ignored when we were started.
static IGNORED_SIGPIPE: AtomicBool = AtomicBool::new(false);

/// Before `main`, Rust's runtime has SIGPIPE ignored. So that it can be inherited
/// as it was, the C library's start calls this one before.
// SAFETY: the section holds pointers to functions that are called once libc can be
// used; glibc hands them arguments, which C's calling convention lets them overlook.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_SIGPIPE: extern "C" fn() = remember_sigpipe;

extern "C" fn remember_sigpipe() {
    // SAFETY: all-zero is a valid sigaction, and a valid place for the one that is
    // set now; none is set.
    let ignored = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    };
    IGNORED_SIGPIPE.store(ignored, Ordering::Relaxed);
}

/// What besides signals and the time may end a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// One of those that were [added](Wakes::add), or a request.
    Awaited,
    /// Nothing.
    NotAwaited,
}

/// What ended a sleep. Who else has become readable isn't told: the loop looks at
/// all of those anyway.
#[derive(Debug)]
pub struct Woken<Signals> {
    /// The signals that came, lowest first.
    pub signals: Signals,
    /// There is something to [read](Wakes::add_requests).
    pub is_asked: bool,
}

/// By these epoll tells requests from all else.
const REQUESTS: u64 = 1;
const ALL_ELSE: u64 = 0;

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
        let mask = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // Where our parent had it ignored, children would reap themselves.
        // SAFETY: the default action installs no code of ours.
        let at_sigchld = unsafe { signal::signal(Named::SIGCHLD, SigHandler::SigDfl)? };
        let at_sigpipe = if IGNORED_SIGPIPE.load(Ordering::Relaxed) {
            SigHandler::SigIgn
        } else {
            SigHandler::SigDfl
        };
        let mut taken = blocked;
        // As with tini, these stay where they are: a fault of ours, or a tracer's.
        for left in [Named::SIGTRAP, Named::SIGABRT, Named::SIGSYS] {
            taken.remove(left);
        }
        let nonblocking = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let pending = SignalFd::with_flags(&taken, nonblocking)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&pending, EpollEvent::new(EpollFlags::EPOLLIN, ALL_ELSE))?;
        Ok(Self {
            coming: SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC)?,
            pending,
            epoll,
            records: vec![0; size_of::<siginfo>() * AT_ONCE],
            own_pid: process::id(),
            inherited: Inherited {
                mask,
                at_sigpipe,
                at_sigchld,
            },
        })
    }

    /// Also takes the signals that mean a fault of whom they are sent to. A real fault of
    /// ours kills us all the same.
    pub fn take_faults(&mut self) -> io::Result<()> {
        let all = SigSet::all();
        all.thread_block()?;
        self.coming.set_mask(&all)?;
        Ok(self.pending.set_mask(&all)?)
    }

    /// Has a descriptor wake us when it becomes readable, once, as long as it is
    /// open: an end of a process, the outcome of an exec.
    pub fn add(&self, source: &impl AsFd) -> io::Result<()> {
        // Edge-triggered: both stay readable, and would keep us awake. Even when they
        // are closed, as long as a child holds a copy whose exec hangs.
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        Ok(self.epoll.add(source, EpollEvent::new(once, ALL_ELSE))?)
    }

    /// Has a socket wake us as long as anything is left to read from it.
    pub fn add_requests(&self, source: &impl AsFd) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, REQUESTS);
        Ok(self.epoll.add(source, event)?)
    }

    /// Sleeps until signals come, a descriptor that is awaited becomes readable, or
    /// the time is over; takes the signals. What we raised ourselves isn't among
    /// them: SIGPIPE and SIGXFSZ when we write.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        descriptors: Descriptors,
    ) -> Woken<impl Iterator<Item = Signal> + use<>> {
        let mut is_asked = false;
        let signals = if timeout.is_none() && descriptors == Descriptors::NotAwaited {
            // In one call, where the other way takes two.
            &self.coming
        } else {
            // Rounded up: to wake too early is to wake twice.
            let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
                let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
                milliseconds.try_into().unwrap_or(EpollTimeout::MAX)
            });
            let mut events = [EpollEvent::empty(); 16];
            // Whatever else it says: the loop looks at everything anyway.
            let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            let events = events.iter().take(count);
            is_asked = events.map(EpollEvent::data).any(|data| data == REQUESTS);
            // What was pending may have gone: SIGCONT does when SIGTSTP comes.
            &self.pending
        };
        let read = unistd::read(signals, &mut self.records).unwrap_or(0);
        let own_pid = self.own_pid;
        let number_of = |record: &[u8]| {
            let field = |at| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
            // The kernel fills it also for what a system call of ours raises.
            let sender = field(offset_of!(siginfo, ssi_pid))?;
            let number = field(offset_of!(siginfo, ssi_signo)).filter(|_| sender != own_pid)?;
            let number = i32::try_from(number).ok()?;
            let code = i32::try_from(field(offset_of!(siginfo, ssi_code))?);
            // A code above 0 is the kernel's alone.
            let is_end = matches!(code, Ok(libc::CLD_EXITED..=libc::CLD_DUMPED));
            Some(match number {
                FORWARDER_ENDED if is_end => libc::SIGCHLD,
                number => number,
            })
        };
        // 0 is no signal.
        let mut numbers = [0; AT_ONCE];
        let count = read / size_of::<siginfo>();
        let records = self.records.chunks_exact(size_of::<siginfo>()).take(count);
        for (record, number) in records.zip(&mut numbers) {
            *number = number_of(record).unwrap_or(0);
        }
        let numbers = numbers.into_iter().take(count);
        Woken {
            signals: numbers.filter_map(Signal::from_number),
            is_asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::channel;
    use std::thread;

    use nix::fcntl::OFlag;
    use nix::unistd::ForkResult;

    use super::*;

    /// Runs it with all signals of a thread taken over, which is none of the other
    /// tests'; within a time that is a failure.
    fn with_wakes<T: Send + 'static>(test: impl FnOnce(Wakes) -> T + Send + 'static) -> T {
        let (result, results) = channel();
        thread::spawn(move || result.send(test(Wakes::take_over().unwrap())));
        results.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// Sends them to this thread.
    fn send(signals: &[i32]) {
        let (process, thread) = (process::id(), unistd::gettid().as_raw());
        for signal in signals {
            // SAFETY: takes and keeps no memory of ours.
            let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, *signal) };
            assert_eq!(result, 0);
        }
    }

    /// Has another process send them to this thread.
    fn have_sent(signals: &[i32]) {
        let (process, thread) = (process::id(), unistd::gettid().as_raw());
        // SAFETY: the child makes system calls and ends.
        match unsafe { unistd::fork() }.unwrap() {
            ForkResult::Child => {
                for signal in signals {
                    // SAFETY: as in `send`.
                    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, *signal) };
                }
                // SAFETY: see above.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                // SAFETY: no status is written.
                let reaped = unsafe { libc::waitpid(child.into(), std::ptr::null_mut(), 0) };
                assert_eq!(reaped, child.as_raw());
            }
        }
    }

    /// The signals that came, but for what the children of other tests cause.
    fn taken(
        wakes: &mut Wakes,
        timeout: Option<Duration>,
        descriptors: Descriptors,
    ) -> Vec<String> {
        let signals = wakes.wait(timeout, descriptors).signals;
        let others = signals.filter(|signal| *signal != Signal::CHLD);
        others.map(|signal| signal.to_string()).collect()
    }

    /// One end of a pipe, whose other end has been closed.
    fn pipe_end(keep: impl FnOnce(OwnedFd, OwnedFd) -> OwnedFd) -> OwnedFd {
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        keep(reader, writer)
    }

    #[test]
    fn signals_of_others_come_and_our_own_do_not() {
        let (own, others) = with_wakes(|mut wakes| {
            let writer = pipe_end(|_, writer| writer);
            assert!(unistd::write(writer, b"x").is_err());
            send(&[libc::SIGUSR1, libc::SIGXFSZ]);
            let own = taken(&mut wakes, Some(Duration::ZERO), Descriptors::NotAwaited);
            have_sent(&[
                libc::SIGTTOU,
                libc::SIGTTIN,
                libc::SIGTSTP,
                libc::SIGTERM,
                libc::SIGPIPE,
                libc::SIGHUP,
            ]);
            (own, taken(&mut wakes, None, Descriptors::NotAwaited))
        });
        assert!(own.is_empty(), "{own:?}");
        let expected = ["HUP", "PIPE", "TERM", "TSTP", "TTIN", "TTOU"];
        assert_eq!(others, expected.map(|name| format!("SIG{name}")));
    }

    /// As the kernel tells of a child that has ended, to this thread: who it is, in
    /// siginfo's words of 4 bytes.
    fn have_ended(signal: i32, pid: i32) {
        let mut info = [0; 32];
        [info[0], info[2], info[4]] = [signal, libc::CLD_EXITED, pid];
        let (process, thread) = (process::id(), unistd::gettid().as_raw());
        let call = libc::SYS_rt_tgsigqueueinfo;
        // SAFETY: `info` is as long as a siginfo, and only read.
        let result = unsafe { libc::syscall(call, process, thread, signal, info.as_ptr()) };
        assert_eq!(result, 0);
    }

    #[test]
    fn the_end_of_a_forwarder_is_a_childs_end_and_its_signal_by_others_is_not() {
        let (sent, ended) = with_wakes(|mut wakes| {
            have_sent(&[libc::SIGURG]);
            let sent = taken(&mut wakes, None, Descriptors::NotAwaited);
            have_ended(libc::SIGURG, 1);
            let ended = wakes.wait(None, Descriptors::NotAwaited).signals;
            (sent, ended.collect::<Vec<Signal>>())
        });
        assert_eq!(sent, ["SIGURG"]);
        assert_eq!(ended, [Signal::CHLD]);
    }

    #[test]
    fn a_descriptor_and_a_signal_end_a_sleep_without_a_timeout() {
        let signals = with_wakes(|mut wakes| {
            let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
            wakes.add(&reader).unwrap();
            // Anew as long as it may have been the child of another test.
            while {
                unistd::write(&writer, b"x").unwrap();
                wakes.wait(None, Descriptors::Awaited).signals.count() > 0
            } {}
            have_sent(&[libc::SIGTERM]);
            taken(&mut wakes, None, Descriptors::Awaited)
        });
        assert_eq!(signals, ["SIGTERM"]);
    }

    #[test]
    fn a_request_is_told_apart_until_it_has_been_read() {
        with_wakes(|mut wakes| {
            let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
            wakes.add_requests(&reader).unwrap();
            let mut is_asked = || {
                wakes
                    .wait(Some(Duration::ZERO), Descriptors::Awaited)
                    .is_asked
            };
            assert!(!is_asked());
            unistd::write(&writer, b"x").unwrap();
            assert!(is_asked() && is_asked());
            unistd::read(&reader, &mut [0]).unwrap();
            assert!(!is_asked());
        });
    }

    #[test]
    fn a_descriptor_wakes_us_once() {
        with_wakes(|wakes| {
            let reader = pipe_end(|reader, _| reader);
            wakes.add(&reader).unwrap();
            let ready = || {
                wakes
                    .epoll
                    .wait(&mut [EpollEvent::empty(); 2], 0u8)
                    .unwrap()
            };
            assert!(ready() > 0);
            // The children of other tests may wake us, too, but not for ever.
            while ready() > 0 {}
        });
    }
}
