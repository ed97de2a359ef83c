//! Descriptors that stand for processes: `pidfd_open(2)`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::signal::Signal;
use crate::sys::process::{Pid, check};

/// A descriptor that stands for a process, also when that isn't our child and
/// its pid may be another process's at any time. Linux 5.3.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Of the process that has this pid now.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes and keeps no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.raw(), 0) };
        let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
        check(fd)?;
        // SAFETY: the kernel has just made it for us, close-on-exec, and
        // nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends the process a signal.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        let (fd, number) = (self.0.as_raw_fd(), signal.number());
        // SAFETY: a null siginfo_t is allowed, and means the one of kill(2).
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, no_info, 0) };
        check(i32::try_from(result).unwrap_or(-1))
    }

    /// Whether the process has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// Whether it ends within that time.
    pub(super) fn ends_within(&self, timeout: Duration) -> bool {
        let timeout = timeout.try_into().unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, timeout).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for PidFd {
    /// Readable once the process has ended, reaped or not.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
