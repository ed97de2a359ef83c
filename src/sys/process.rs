//! Processes: starting, signalling and reaping them.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::unistd::{self, AccessFlags};

use crate::config::SearchSbin;
use crate::exit::{Failure, Status};
use crate::signal::Signal;

/// The id of a process: never 0 or negative, which kill(2) takes for groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZero<libc::pid_t>);

impl Pid {
    /// `None` for what can't be one.
    pub fn new(number: libc::pid_t) -> Option<Self> {
        NonZero::new(number).filter(|pid| pid.get() > 0).map(Self)
    }

    /// Our own.
    pub fn own() -> Self {
        let own = unistd::getpid().as_raw();
        Self::new(own).unwrap_or(Self(NonZero::<libc::pid_t>::MAX))
    }

    /// As the kernel takes it.
    fn raw(self) -> libc::pid_t {
        self.0.get()
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends a signal to a child of ours that wasn't reaped.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    // SAFETY: takes and keeps no memory of ours.
    check(unsafe { libc::kill(pid.raw(), signal.number()) })
}

/// Sends a signal to the process group that `leader` leads or led.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<()> {
    // SAFETY: takes and keeps no memory of ours.
    check(unsafe { libc::kill(-leader.raw(), signal.number()) })
}

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
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for PidFd {
    /// Readable once the process has ended, reaped or not.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What there was to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child, which ended so.
    Child(Pid, Status),
    /// Nothing now.
    Nothing,
    /// Nothing now or ever, unless we start something: there is no child, and
    /// so, as orphans become our children, nothing at all below us.
    NoChildren,
}

/// Reaps a child that has ended, ours or an orphan.
pub fn reap() -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the status.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        let Some(child) = Pid::new(pid) else {
            return match (pid, io::Error::last_os_error().raw_os_error()) {
                (-1, Some(libc::EINTR)) => continue,
                (-1, Some(libc::ECHILD)) => Reaped::NoChildren,
                _ => Reaped::Nothing,
            };
        };
        let killed_by = Signal::from_number(libc::WTERMSIG(status));
        let status = match killed_by {
            Some(signal) if libc::WIFSIGNALED(status) => Status::Killed(signal),
            _ => Status::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX)),
        };
        return Reaped::Child(child, status);
    }
}

/// Has orphans below us become our children, as they do anyway below PID 1.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Whether a process that we start may get the terminal: there is one, and it
/// is ours.
pub fn owns_terminal() -> bool {
    io::stdin().is_terminal()
        && unistd::tcgetpgrp(io::stdin()).is_ok_and(|group| group == unistd::getpgrp())
}

/// Whether standard input or output is a terminal.
pub fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal()
}

/// What is to be started, and how.
#[derive(Debug)]
pub struct Program<'a> {
    /// The file.
    pub file: &'a Path,
    /// The command's words.
    pub command: &'a [OsString],
    /// Variables set on top of our own environment.
    pub variables: &'a [(&'static str, &'static str)],
    /// Give it the terminal's foreground.
    pub foreground: bool,
}

/// Why nothing was started.
#[derive(Debug)]
pub enum SpawnError {
    /// No process or memory is to be had; that may pass.
    Refused(io::Error),
    /// It can't be executed.
    Failed(Failure, io::Error),
}

/// Starts a program in a process group of its own, with this signal mask.
pub fn spawn(program: &Program, mask: SigSet) -> Result<Pid, SpawnError> {
    match exec(program, program.file.as_os_str(), &[], mask) {
        // As execvp has it: a script without a shebang is the shell's.
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            let script = [program.file.as_os_str()];
            exec(program, OsStr::new("/bin/sh"), &script, mask)
        }
        result => result,
    }
    .map_err(|error| match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
            SpawnError::Refused(error)
        }
        Some(libc::ENOENT | libc::ENOTDIR) => SpawnError::Failed(Failure::NotFound, error),
        _ => SpawnError::Failed(Failure::NotExecutable, error),
    })
}

fn exec(program: &Program, file: &OsStr, before: &[&OsStr], mask: SigSet) -> io::Result<Pid> {
    let mut command = Command::new(file);
    if let (Some(name), []) = (program.command.first(), before) {
        command.arg0(name);
    }
    command
        .args(before)
        .args(program.command.iter().skip(1))
        .envs(program.variables.iter().copied())
        .process_group(0);
    let foreground = program.foreground;
    let prepare = move || {
        if foreground {
            // A background process that takes the terminal gets SIGTTOU unless
            // it blocks it, as we do.
            // SAFETY: descriptor 0 is the terminal; nobody closes it here.
            let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
            // The terminal may have gone; the program will see for itself.
            let _ = unistd::tcsetpgrp(stdin, unistd::getpid());
        }
        Ok(mask.thread_set_mask()?)
    };
    // SAFETY: runs in the child between fork and exec, of a parent that has
    // one thread. It calls only sigprocmask, getpid and tcsetpgrp, all
    // async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    let pid = child.id().try_into().ok().and_then(Pid::new);
    pid.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The file that a command's first word names, as execvp(3) looks it up.
pub fn find(word: &OsStr, sbin: SearchSbin) -> Result<PathBuf, Failure> {
    let named = Path::new(word);
    let candidates: Vec<PathBuf> = if word.as_encoded_bytes().contains(&b'/') {
        vec![named.to_owned()]
    } else {
        search_path(sbin)
            .into_iter()
            .map(|directory| directory.join(named))
            .collect()
    };
    let mut failure = Failure::NotFound;
    for file in candidates {
        if !file.metadata().is_ok_and(|file| !file.is_dir()) {
            continue;
        }
        if unistd::access(&file, AccessFlags::X_OK).is_ok() {
            return Ok(file);
        }
        failure = Failure::NotExecutable;
    }
    if named.is_dir() && word.as_encoded_bytes().contains(&b'/') {
        failure = Failure::NotExecutable;
    }
    Err(failure)
}

/// Whether files may be made in this directory.
pub fn may_write(directory: &Path) -> io::Result<()> {
    Ok(unistd::access(
        directory,
        AccessFlags::W_OK | AccessFlags::X_OK,
    )?)
}

fn search_path(sbin: SearchSbin) -> Vec<PathBuf> {
    // What a shell searches where there is no PATH.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if sbin == SearchSbin::Yes {
        directories.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    }
    directories
}

/// The names of all files that a preset's search can find and that begin so.
pub fn programs_beginning_with(start: &str) -> Vec<String> {
    search_path(SearchSbin::Yes)
        .into_iter()
        .filter_map(|directory| directory.read_dir().ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(start))
        .collect()
}
