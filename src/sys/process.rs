//! Processes: starting, signalling and reaping them.

use std::cell::Cell;
use std::ffi::{CString, NulError, OsStr, OsString, c_char};
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;
use std::{ptr, slice};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{self, ForkResult, Uid};

use crate::signal::Signal;
use crate::status::{Failure, Status};
use crate::sys::pidfd::PidFd;
use crate::sys::user::Identity;
use crate::sys::wakes::Inherited;

/// How long a child of ours may take that sends signals and does nothing else:
/// microseconds, unless another one of its user stopped it in that moment.
const SENDER_TAKES_AT_MOST: Duration = Duration::from_secs(1);

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

    /// Whether it is the first of its namespace.
    pub fn is_init(self) -> bool {
        self.0.get() == 1
    }

    /// As the kernel takes it.
    pub(super) fn raw(self) -> libc::pid_t {
        self.0.get()
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
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

/// Whether there is a process in the group that `leader` leads or led, or may be.
pub fn is_group_there(leader: Pid) -> bool {
    // SAFETY: takes and keeps no memory of ours.
    let result = check(unsafe { libc::kill(-leader.raw(), 0) });
    !matches!(result, Err(error) if error.raw_os_error() == Some(libc::ESRCH))
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
        return Reaped::Child(child, status_of(status));
    }
}

/// What waitpid(2) says of a child that has ended.
fn status_of(status: libc::c_int) -> Status {
    match Signal::from_number(libc::WTERMSIG(status)) {
        Some(signal) if libc::WIFSIGNALED(status) => Status::Killed(signal),
        _ => Status::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX)),
    }
}

/// The signal by which the kernel tells us that a forwarder has ended. To waitpid(2) who
/// tells by another signal than SIGCHLD is no child, unless it is asked for such: what
/// [`reap`] says of the services is the same with forwarders and without.
pub(super) const FORWARDER_ENDED: libc::c_int = libc::SIGURG;

/// Forks a process that forwards what others write, until there is no more of it. Of
/// our descriptors it has the first three, and those that it is `given`, which we have
/// no longer. All signals stay blocked that we have blocked.
pub fn fork_forwarder<const N: usize>(
    given: [OwnedFd; N],
    forward: impl FnOnce([OwnedFd; N]),
) -> io::Result<Pid> {
    let none = 0_usize;
    // SAFETY: without a flag, a stack, or a place for a thread's id this is fork(2), but
    // for the signal at the end. Only one thread is there in what we execute, so that no
    // lock can be held in the child that nobody gives back; where tests have several,
    // the child makes system calls alone. It never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, FORWARDER_ENDED, none, none, none, none) };
    match libc::pid_t::try_from(pid).unwrap_or(-1) {
        0 => {
            // Only for who looks at the process.
            let _ = nix::sys::prctl::set_name(c"drainit-log");
            close_all_but(&given);
            forward(given);
            // SAFETY: takes and keeps no memory of ours.
            unsafe { libc::_exit(0) }
        }
        pid => Pid::new(pid).ok_or_else(io::Error::last_os_error),
    }
}

/// How a forwarder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// It runs.
    Runs,
    /// It has ended by itself, and was reaped.
    Ended,
    /// It was killed, and reaped.
    Killed,
}

/// Reaps that forwarder, if it has ended.
pub fn reap_forwarder(forwarder: Pid) -> Forwarder {
    let flags = libc::WNOHANG | libc::__WCLONE;
    let mut status = 0;
    // SAFETY: the status is ours to be written.
    match unsafe { libc::waitpid(forwarder.raw(), &raw mut status, flags) } {
        0 => Forwarder::Runs,
        1.. if libc::WIFSIGNALED(status) => Forwarder::Killed,
        _ => Forwarder::Ended,
    }
}

/// Closes all descriptors but the first three and these. What held them open would keep
/// others waiting for their end.
fn close_all_but<const N: usize>(given: &[OwnedFd; N]) {
    /// Where there is no `close_range(2)`: ours are few, and have low numbers.
    const HIGH: libc::c_int = 1024;
    let mut keep = given.each_ref().map(AsRawFd::as_raw_fd);
    keep.sort_unstable();
    let mut first = libc::STDERR_FILENO + 1;
    for next in keep.into_iter().chain([libc::c_int::MAX]) {
        if first < next {
            // SAFETY: takes numbers; nobody uses those descriptors in this process.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
            if closed != 0 {
                for descriptor in first..next.min(HIGH) {
                    // SAFETY: as above. Most aren't open.
                    unsafe { libc::close(descriptor) };
                }
            }
        }
        first = next.saturating_add(1);
    }
}

/// The addresses of our code and our constants, which nothing writes to.
#[derive(Debug)]
pub struct ReadOnly(Range<usize>);

impl ReadOnly {
    /// As the file's own headers say: the segments before the first that is written to.
    pub fn of_ours() -> Self {
        unsafe extern "C" fn find(
            info: *mut libc::dl_phdr_info,
            _: libc::size_t,
            found: *mut libc::c_void,
        ) -> libc::c_int {
            // SAFETY: the caller gives what is there as long as this is executed, with as
            // many headers as it says, and the place that we gave it.
            let (info, found) = unsafe { (&*info, &mut *found.cast::<Range<usize>>()) };
            // SAFETY: as above.
            let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
            let segments = headers.iter().filter(|it| it.p_type == libc::PT_LOAD);
            for segment in segments.take_while(|it| it.p_flags & libc::PF_W == 0) {
                let address = |it| usize::try_from(info.dlpi_addr.wrapping_add(it)).unwrap_or(0);
                if found.end == 0 {
                    found.start = address(segment.p_vaddr);
                }
                found.end = address(segment.p_vaddr.wrapping_add(segment.p_memsz));
            }
            // Only the first are of our file; those of libraries follow.
            1
        }
        let mut found = 0..0;
        // SAFETY: `found` is what `find` takes it for, and is there until all is done.
        unsafe { libc::dl_iterate_phdr(Some(find), (&raw mut found).cast()) };
        Self(found)
    }

    /// Gives back the memory that they are in, until it is executed or read again: the
    /// kernel counts it for each process that has done that, 64 kB at a time.
    pub fn forget(&self) {
        let start = ptr::without_provenance_mut(self.0.start);
        // SAFETY: nothing there was ever written to, so that what is forgotten is what the
        // file has, and comes from there again. It is a hint: nothing else may come of it.
        unsafe { libc::madvise(start, self.0.len(), libc::MADV_DONTNEED) };
    }
}

/// Has orphans below us become our children, as they do anyway below PID 1.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Whether orphans below us become our children, though we aren't PID 1.
pub fn is_subreaper() -> bool {
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// Has the kernel send us this signal when our parent ends.
pub fn signal_when_parent_ends(signal: Signal) -> io::Result<()> {
    // SAFETY: takes and keeps no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.number()) })
}

/// Stops us until somebody continues us; not as PID 1, which the kernel spares.
pub fn stop_ourselves() {
    // SAFETY: takes and keeps no memory of ours.
    let _ = check(unsafe { libc::raise(libc::SIGSTOP) });
}

/// Gives up the terminal, so that the session of a program that we start can have it.
/// If we lead our own session, our group gets SIGHUP and SIGCONT; the kernel names us as
/// their sender, so that they are none to [`Wakes`](super::wakes::Wakes).
fn leave_terminal() {
    // SAFETY: takes and keeps no memory of ours. Fails if there is no terminal.
    let _ = check(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCNOTTY) });
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

/// A terminal's size, to be compared with an earlier one: SIGWINCH tells of a new
/// size, or it is the stop signal of apache's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    rows: u16,
    columns: u16,
    /// In pixels; 0 where the terminal has none.
    width: u16,
    height: u16,
}

/// The size of the terminal at standard input, else at standard output; `None`
/// where neither is one.
pub fn window_size() -> Option<WindowSize> {
    window_size_of(io::stdin().as_fd()).or_else(|| window_size_of(io::stdout().as_fd()))
}

fn window_size_of(terminal: BorrowedFd) -> Option<WindowSize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` is a valid place for what TIOCGWINSZ writes.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    check(result).ok()?;
    Some(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
        width: size.ws_xpixel,
        height: size.ws_ypixel,
    })
}

/// What is to be started, and how.
#[derive(Debug)]
pub struct Program<'a> {
    /// The file.
    pub file: &'a Path,
    /// The command's words; the first is what the program sees as its own name.
    pub command: &'a [OsString],
    /// Variables set on top of our own environment; the last one of a name holds.
    pub variables: &'a [(&'a OsStr, &'a OsStr)],
    /// Variables of ours that it is not to see.
    pub hidden: &'a [&'static str],
    /// How it stands to the terminal.
    pub terminal: Terminal,
    /// The user that it runs as; ours if `None`.
    pub identity: Option<&'a Identity>,
    /// The directory that it starts in, which a relative `file` is relative to; ours
    /// if `None`.
    pub directory: Option<&'a Path>,
    /// How many descriptors it may have open, and allow itself; as we may if `None`.
    pub nofile: Option<u64>,
    /// What takes the place of our standard output and error.
    pub outputs: Option<&'a Outputs>,
}

/// Where a program writes.
#[derive(Debug)]
pub struct Outputs {
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

/// How a program that we start stands to our terminal. Whichever it is but the last,
/// the program leads a process group of its own, whose id is its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Its group gets the terminal's foreground, and with it Ctrl-C.
    Foreground,
    /// Its group is in the background of our session.
    OwnGroup,
    /// It leads a session of its own, which has no terminal: in the background
    /// of ours, SIGTTOU would stop it for ever when it calls tcsetattr(3).
    OwnSession,
    /// It leads a session of its own, and that gets our terminal from us.
    SessionWithTerminal,
    /// It stays in our own group, and gets Ctrl-C as we do.
    OurGroup,
}

impl Terminal {
    /// Whether the program leads a process group.
    pub fn is_group_led(self) -> bool {
        self != Self::OurGroup
    }
}

/// Why nothing was started.
#[derive(Debug)]
pub enum SpawnError {
    /// No process, descriptor or memory is to be had; that may pass.
    Refused(io::Error),
    /// This can't be done.
    Failed(Step, Failure, io::Error),
}

/// What a child of ours does before it is the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It limits its descriptors.
    Limit,
    /// It becomes the program's user.
    User,
    /// It goes to the program's directory.
    Directory,
    /// It becomes the program.
    Execute,
}

impl Step {
    /// All of them, at the number that the child tells.
    const ALL: [Self; 4] = [Self::Limit, Self::User, Self::Directory, Self::Execute];
}

impl SpawnError {
    /// Of a child that failed so.
    fn of_child(step: Step, errno: i32) -> Self {
        let error = io::Error::from_raw_os_error(errno);
        match errno {
            libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE => Self::Refused(error),
            libc::ENOENT | libc::ENOTDIR if step == Step::Execute => {
                Self::Failed(step, Failure::NotFound, error)
            }
            _ => Self::Failed(step, Failure::NotExecutable, error),
        }
    }
}

impl From<NulError> for SpawnError {
    fn from(error: NulError) -> Self {
        Self::Failed(Step::Execute, Failure::NotExecutable, error.into())
    }
}

/// A child of ours that was started, or is about to be.
#[derive(Debug)]
pub struct Spawned {
    /// To be reaped in any case: also when the exec fails, with status 127.
    pub pid: Pid,
    /// What tells of the exec.
    pub exec: ExecPipe,
}

/// What tells how an exec went. That may take time: the file may lie on a file
/// system that hangs.
#[derive(Debug)]
pub struct ExecPipe {
    pipe: OwnedFd,
    /// At what it failed and why, once that was read.
    failed: Cell<Option<(Step, i32)>>,
}

/// How a child tells that it failed: the number of the step, and the errno.
type Told = [u8; 1 + size_of::<i32>()];

fn tell(step: Step, errno: Errno) -> Told {
    let [a, b, c, d] = (errno as i32).to_ne_bytes();
    [step as u8, a, b, c, d]
}

fn told([step, errno @ ..]: Told) -> (Step, i32) {
    let step = Step::ALL.get(usize::from(step));
    let errno = i32::from_ne_bytes(errno);
    (step.copied().unwrap_or(Step::Execute), errno)
}

impl ExecPipe {
    /// How it went; `None` as long as there was no exec. If the child was killed
    /// before, that is `Ok`: its status tells.
    ///
    /// Once the child has ended the answer is there, also when it was reaped.
    pub fn outcome(&self) -> Option<Result<(), SpawnError>> {
        let mut read = Told::default();
        if self.failed.get().is_none() {
            match unistd::read(&self.pipe, &mut read) {
                // The exec closed the other end, or the child's end did.
                Ok(0) => return Some(Ok(())),
                Ok(_) => self.failed.set(Some(told(read))),
                Err(_) => return None,
            }
        }
        let (step, errno) = self.failed.get()?;
        Some(Err(SpawnError::of_child(step, errno)))
    }
}

impl AsFd for ExecPipe {
    /// Readable once there is an outcome.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Strings as execve(2) takes them.
struct Strings {
    /// Each into one of `owned`, and a null pointer at the end.
    pointers: Vec<*const c_char>,
    /// Never changed: what `pointers` point to.
    _owned: Vec<CString>,
}

impl Strings {
    fn new(strings: impl Iterator<Item = Vec<u8>>) -> Result<Self, NulError> {
        let owned: Vec<CString> = strings.map(CString::new).collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|string| string.as_ptr());
        Ok(Self {
            pointers: pointers.chain([ptr::null()]).collect(),
            _owned: owned,
        })
    }
}

/// All that an exec needs, made before the fork.
struct Image {
    file: CString,
    directory: Option<CString>,
    arguments: Strings,
    /// For the shell that runs a script without a shebang.
    shell_arguments: Strings,
    environment: Strings,
    /// Where in there `LISTEN_PID` is that names us: the sockets that we were handed by
    /// `sd_listen_fds(3)` are the program's.
    listen_pid: Option<usize>,
}

/// Long enough for the name, ten digits and a zero.
type ListenPid = [u8; 24];

/// Writes `LISTEN_PID=`, the number and a zero, without allocating.
fn write_listen_pid(into: &mut ListenPid, pid: u32) {
    let digits = (0..10).rev().map(|power| pid / 10_u32.pow(power) % 10);
    let digits = digits.skip_while(|digit| *digit == 0);
    let digits = digits.filter_map(|digit| u8::try_from(digit).ok());
    let text = b"LISTEN_PID=".iter().copied();
    let text = text.chain(digits.map(|digit| b'0' + digit)).chain([0]);
    for (place, byte) in into.iter_mut().zip(text) {
        *place = byte;
    }
}

impl Image {
    fn new(program: &Program) -> Result<Self, NulError> {
        let bytes = |text: &OsStr| text.as_bytes().to_owned();
        let words = || program.command.iter().map(|word| bytes(word));
        let script = [bytes("/bin/sh".as_ref()), bytes(program.file.as_os_str())];
        let mut variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        variables.retain(|(name, _)| !program.hidden.iter().any(|hidden| *hidden == name));
        for (name, value) in program.variables {
            variables.retain(|(old, _)| old != name);
            variables.push(((*name).into(), (*value).into()));
        }
        let names_us = std::process::id().to_string();
        let mut names = variables.iter();
        Ok(Self {
            listen_pid: names.position(|(name, value)| name == "LISTEN_PID" && *value == *names_us),
            file: CString::new(bytes(program.file.as_os_str()))?,
            directory: program
                .directory
                .map(|directory| CString::new(bytes(directory.as_os_str())))
                .transpose()?,
            arguments: Strings::new(words())?,
            shell_arguments: Strings::new(script.into_iter().chain(words().skip(1)))?,
            environment: Strings::new(variables.into_iter().map(|(mut variable, value)| {
                variable.push("=");
                variable.push(value);
                variable.into_vec()
            }))?,
        })
    }

    /// Turns this process into the program; returns why it couldn't.
    fn execute(&mut self) -> Errno {
        let mut listen_pid = ListenPid::default();
        if let Some(place) = self
            .listen_pid
            .and_then(|at| self.environment.pointers.get_mut(at))
        {
            write_listen_pid(&mut listen_pid, std::process::id());
            *place = listen_pid.as_ptr().cast();
        }
        let execute = |file: *const c_char, arguments: &Strings| {
            let arguments = arguments.pointers.as_ptr();
            // SAFETY: all are valid until the exec; both arrays end with null.
            unsafe { libc::execve(file, arguments, self.environment.pointers.as_ptr()) };
            Errno::last()
        };
        match execute(self.file.as_ptr(), &self.arguments) {
            // As glibc's execvp has it, and musl's hasn't: a script without a
            // shebang is the shell's.
            Errno::ENOEXEC => execute(c"/bin/sh".as_ptr(), &self.shell_arguments),
            errno => errno,
        }
    }
}

/// Starts a program, without waiting for its exec. What can be known at once is
/// an error here, the rest is told by [`Spawned::exec`].
pub fn spawn(program: &Program, inherited: &Inherited) -> Result<Spawned, SpawnError> {
    let refused = |error: Errno| SpawnError::Refused(error.into());
    let mut image = Image::new(program)?;
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let (pipe, told) = unistd::pipe2(flags).map_err(refused)?;
    if program.terminal == Terminal::SessionWithTerminal {
        leave_terminal();
    }
    // SAFETY: the child may be one of a process with several threads (in tests), so
    // until its exec it does only what is async-signal-safe: system calls by nix and
    // libc, no allocation, no lock, nothing that panics or drops. `_exit` ends it
    // without returning.
    let child = match unsafe { unistd::fork() }.map_err(refused)? {
        ForkResult::Child => {
            let (step, errno) = match set_up(program, &image, inherited) {
                Ok(()) => (Step::Execute, image.execute()),
                Err(failed) => failed,
            };
            // If nobody reads it any more, the status has to do.
            let _ = unistd::write(&told, &tell(step, errno));
            // SAFETY: see above.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => child,
    };
    if matches!(program.terminal, Terminal::Foreground | Terminal::OwnGroup) {
        // Both do it, whoever comes first: a signal to the group must reach it from
        // now on. Refused once it was executed, when it has done so itself. With a
        // session of its own it mustn't lead a group before.
        let _ = unistd::setpgid(child, child);
    }
    let pid = Pid::new(child.as_raw()).ok_or_else(|| refused(Errno::ESRCH))?;
    Ok(Spawned {
        pid,
        exec: ExecPipe {
            pipe,
            failed: Cell::new(None),
        },
    })
}

/// What the child does before its exec. See the SAFETY argument of [`spawn`].
fn set_up(program: &Program, image: &Image, inherited: &Inherited) -> Result<(), (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    // As long as it may: only root may raise a limit.
    if let Some(nofile) = program.nofile {
        limit_descriptors(nofile).map_err(at(Step::Limit))?;
    }
    join_terminal(program.terminal).map_err(at(Step::Execute))?;
    if let Some(Outputs { stdout, stderr }) = program.outputs {
        unistd::dup2_stdout(stdout).map_err(at(Step::Execute))?;
        unistd::dup2_stderr(stderr).map_err(at(Step::Execute))?;
    }
    if let Some(identity) = program.identity {
        become_user(identity).map_err(at(Step::User))?;
    }
    // As that user: the directory may be closed to root, on NFS, or to the user.
    if let Some(directory) = &image.directory {
        unistd::chdir(directory.as_c_str()).map_err(at(Step::Directory))?;
    }
    inherited.restore().map_err(at(Step::Execute))
}

fn limit_descriptors(most: u64) -> nix::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: only reads `limit`.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// The user last: who isn't root may not change the others.
fn become_user(identity: &Identity) -> nix::Result<()> {
    let Identity {
        uid, gid, groups, ..
    } = identity;
    unistd::setgroups(groups)?;
    unistd::setresgid(*gid, *gid, *gid)?;
    unistd::setresuid(*uid, *uid, *uid)
}

fn join_terminal(terminal: Terminal) -> nix::Result<()> {
    let ourselves = unistd::Pid::from_raw(0);
    match terminal {
        Terminal::OwnSession => {
            unistd::setsid()?;
        }
        Terminal::SessionWithTerminal => {
            unistd::setsid()?;
            // SAFETY: takes and keeps no memory of ours. Fails if there is no terminal.
            let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
        }
        Terminal::OurGroup => {}
        Terminal::OwnGroup => unistd::setpgid(ourselves, ourselves)?,
        Terminal::Foreground => {
            unistd::setpgid(ourselves, ourselves)?;
            // SAFETY: descriptor 0 is the terminal; nobody closes it here.
            let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
            // A background process that takes the terminal gets SIGTTOU unless it
            // blocks it, as we do. The terminal may have gone; the program will see
            // for itself.
            let _ = unistd::tcsetpgrp(stdin, unistd::getpid());
        }
    }
    Ok(())
}

/// Whom [`signal_as`] signals.
#[derive(Debug)]
pub enum Target<'a> {
    /// The process that has this pid now.
    Pid(Pid),
    /// This process.
    PidFd(&'a PidFd),
}

/// Sends a signal as that user, where we may not send it ourselves: without
/// `CAP_KILL`, which hardened containers lack, root may signal only root's
/// processes, but with `CAP_SETUID` it may become another.
///
/// `Ok` if all were reached or had gone; else why the first one wasn't, though the
/// others may have been.
pub fn signal_as(user: u32, targets: &[Target], signal: Signal) -> io::Result<()> {
    // SAFETY: as in `spawn`, the child does only what is async-signal-safe: it makes
    // system calls (an `io::Error` of an errno allocates nothing) and ends.
    match unsafe { unistd::fork() }? {
        ForkResult::Child => {
            let code = match send_as(Uid::from_raw(user), targets, signal) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            // SAFETY: see above.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            let child = Pid::new(child.as_raw()).ok_or(io::ErrorKind::NotFound)?;
            outcome_of_sender(child, SENDER_TAKES_AT_MOST)
        }
    }
}

fn send_as(user: Uid, targets: &[Target], signal: Signal) -> io::Result<()> {
    unistd::setresuid(user, user, user)?;
    let mut result = Ok(());
    for target in targets {
        let sent = match target {
            Target::Pid(pid) => kill(*pid, signal),
            Target::PidFd(pidfd) => pidfd.send(signal),
        };
        match sent {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                result = result.and(Err(error));
            }
            _ => {}
        }
    }
    result
}

/// Reaps a child that ends with an errno, if it ends within that time. (On a
/// kernel without pidfds it is waited for as long as it takes.)
fn outcome_of_sender(child: Pid, timeout: Duration) -> io::Result<()> {
    if PidFd::open(child).is_ok_and(|pidfd| !pidfd.ends_within(timeout)) {
        // It is reaped when it ends, as any child is.
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the status.
        match check(unsafe { libc::waitpid(child.raw(), &raw mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    match status_of(status) {
        Status::Exited(0) => Ok(()),
        Status::Exited(errno) => Err(io::Error::from_raw_os_error(errno.into())),
        Status::Killed(_) => Err(io::ErrorKind::Interrupted.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Instant;

    use nix::pty::openpty;
    use nix::sys::signal::{SigHandler, SigSet};

    use std::path::PathBuf;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// fcntl(2); the libc crate hasn't got it.
    const F_SETSIG: libc::c_int = 10;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A path of this test alone.
    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("drainit-{}-{name}", std::process::id()))
    }

    fn plain() -> Inherited {
        Inherited {
            mask: SigSet::thread_get_mask().unwrap(),
            at_sigpipe: SigHandler::SigDfl,
            at_sigchld: SigHandler::SigDfl,
        }
    }

    #[track_caller]
    fn start(file: &str, command: &[&str], terminal: Terminal, inherited: &Inherited) -> Spawned {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let program = Program {
            variables: &[
                ("DRAINIT_TEST".as_ref(), "replaced".as_ref()),
                ("PATH".as_ref(), "/bin".as_ref()),
                ("DRAINIT_TEST".as_ref(), "a b".as_ref()),
            ],
            terminal,
            ..program(file, &command)
        };
        spawn(&program, inherited).unwrap()
    }

    fn program<'a>(file: &'a str, command: &'a [OsString]) -> Program<'a> {
        Program {
            file: Path::new(file),
            command,
            variables: &[],
            hidden: &[],
            terminal: Terminal::OwnGroup,
            identity: None,
            directory: None,
            nofile: None,
            outputs: None,
        }
    }

    #[track_caller]
    fn outcome(exec: &ExecPipe) -> Result<(), SpawnError> {
        let mut polled = [PollFd::new(exec.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        exec.outcome().unwrap()
    }

    #[track_caller]
    fn reap(pid: Pid) -> Status {
        assert!(PidFd::open(pid).unwrap().ends_within(PATIENCE));
        let mut status = 0;
        // SAFETY: `status` is a valid place for the status.
        check(unsafe { libc::waitpid(pid.raw(), &raw mut status, 0) }).unwrap();
        status_of(status)
    }

    /// What a program writes into the file that it gets as its last argument.
    #[track_caller]
    fn written(
        file: &str,
        command: &[&str],
        terminal: Terminal,
        inherited: &Inherited,
    ) -> (Pid, String) {
        static FILES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let output = path(&format!("output-{number}"));
        let command = [command, &[output.to_str().unwrap()]].concat();
        let spawned = start(file, &command, terminal, inherited);
        outcome(&spawned.exec).unwrap();
        assert_eq!(reap(spawned.pid), Status::Exited(0));
        let text = fs::read_to_string(&output).unwrap();
        fs::remove_file(output).unwrap();
        (spawned.pid, text)
    }

    /// A program's own id, and those of its group and of its session, which is 0 where
    /// the session's leader is outside of our PID namespace.
    #[track_caller]
    fn group_and_session(terminal: Terminal) -> [i32; 3] {
        let (pid, stat) = written("/bin/cp", &["cp", "/proc/self/stat"], terminal, &plain());
        // From the state on: state, parent, group, session.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        let id = |index: usize| fields[index].parse().unwrap();
        [pid.raw(), id(2), id(3)]
    }

    #[test]
    fn a_failed_exec_says_why_as_often_as_it_is_asked() {
        for (file, expected) in [
            ("/no/such/file", Failure::NotFound),
            ("/etc/passwd/file", Failure::NotFound),
            ("/etc/passwd", Failure::NotExecutable),
            ("/", Failure::NotExecutable),
        ] {
            let spawned = start(file, &["x"], Terminal::OwnGroup, &plain());
            for exec in [&spawned.exec, &spawned.exec] {
                match outcome(exec) {
                    Err(SpawnError::Failed(Step::Execute, failure, _)) => {
                        assert_eq!(failure, expected, "{file}");
                    }
                    other => panic!("{file}: {other:?}"),
                }
            }
            assert_eq!(reap(spawned.pid), Status::Exited(127));
            assert!(outcome(&spawned.exec).is_err());
        }
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE] {
            let refused = SpawnError::of_child(Step::User, errno);
            assert!(matches!(refused, SpawnError::Refused(_)));
        }
    }

    /// What `sh` says that is started so, of its directory, its limit, and who it is.
    #[track_caller]
    fn said(program: &Program) -> Vec<String> {
        let spawned = spawn(program, &plain()).unwrap();
        outcome(&spawned.exec).unwrap();
        assert_eq!(reap(spawned.pid), Status::Exited(0));
        let output = program.command.last().unwrap();
        let text = fs::read_to_string(output).unwrap();
        fs::remove_file(output).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Needs root.
    #[test]
    fn a_program_has_the_user_the_directory_and_the_limit_that_it_is_to_have() {
        let identity = Identity {
            uid: Uid::from_raw(12345),
            gid: 23456.into(),
            groups: vec![23456.into(), 5.into(), 6.into()],
            name: None,
            home: None,
        };
        let output = path("setting");
        let script = "{ pwd; ulimit -Sn; ulimit -Hn; grep -E '^(Uid|Gid|Groups):' \
                      /proc/self/status | tr '\t' ' '; } >\"$1\"";
        let mut command: Vec<OsString> = ["sh", "-c", script, "x"].map(OsString::from).into();
        command.push(output.into());
        let program = Program {
            identity: Some(&identity),
            directory: Some(Path::new("/usr/share")),
            nofile: Some(4321),
            // In the directory's neighbour.
            ..program("../bin/sh", &command)
        };
        assert_eq!(
            said(&program),
            [
                "/usr/share",
                "4321",
                "4321",
                "Uid: 12345 12345 12345 12345",
                "Gid: 23456 23456 23456 23456",
                "Groups: 5 6 23456 ",
            ]
        );
    }

    #[test]
    fn a_forwarder_is_no_child_of_those_that_are_reaped_and_holds_what_it_is_to_hold() {
        let (kept, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let (others, others_writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let (go, go_on) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let forwarder = fork_forwarder([go, writer], |[go, writer]| {
            let _ = unistd::read(go, &mut [0]);
            let _ = unistd::write(writer, b"forwarded");
        })
        .unwrap();
        drop(others_writer);
        // It has closed its copy, so that this ends.
        assert_eq!(unistd::read(&others, &mut [0]), Ok(0));
        let mut status = 0;
        let flags = libc::WNOHANG;
        // SAFETY: `status` is a valid place for the status.
        let waited = check(unsafe { libc::waitpid(forwarder.raw(), &raw mut status, flags) });
        assert_eq!(waited.unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(reap_forwarder(forwarder), Forwarder::Runs);
        let comm = fs::read_to_string(format!("/proc/{forwarder}/comm")).unwrap();
        assert_eq!(comm, "drainit-log\n");

        unistd::write(&go_on, b"x").unwrap();
        let mut text = [0; 16];
        assert_eq!(unistd::read(&kept, &mut text), Ok(9));
        assert!(PidFd::open(forwarder).unwrap().ends_within(PATIENCE));
        assert_eq!(reap_forwarder(forwarder), Forwarder::Ended);
        assert!(!Path::new(&format!("/proc/{forwarder}")).exists());
    }

    #[track_caller]
    fn failed_step(program: &Program) -> (Step, Failure, Option<i32>) {
        let spawned = spawn(program, &plain()).unwrap();
        let failed = outcome(&spawned.exec);
        assert_eq!(reap(spawned.pid), Status::Exited(127));
        match failed {
            Err(SpawnError::Failed(step, failure, error)) => (step, failure, error.raw_os_error()),
            other => panic!("{other:?}"),
        }
    }

    /// Needs root.
    #[test]
    fn what_can_not_be_had_is_told_with_its_step() {
        let root = Identity {
            uid: Uid::from_raw(0),
            gid: 0.into(),
            groups: Vec::new(),
            name: None,
            home: None,
        };
        let command = ["true".into()];
        let program = || program("/bin/true", &command);
        let no_directory = Program {
            directory: Some(Path::new("/no/such")),
            ..program()
        };
        let expected = (Step::Directory, Failure::NotExecutable, Some(libc::ENOENT));
        assert_eq!(failed_step(&no_directory), expected);
        let too_many = Program {
            nofile: Some(u64::MAX - 1),
            ..program()
        };
        let expected = (Step::Limit, Failure::NotExecutable, Some(libc::EPERM));
        assert_eq!(failed_step(&too_many), expected);
        let other_user = Program {
            identity: Some(&root),
            ..program()
        };
        let failed = std::thread::scope(|scope| {
            let by_nobody = || {
                // SAFETY: takes numbers; made by hand it changes this thread alone.
                let result = unsafe { libc::syscall(libc::SYS_setresuid, 12345, 12345, 12345) };
                assert_eq!(result, 0);
                failed_step(&other_user)
            };
            scope.spawn(by_nobody).join().unwrap()
        });
        let expected = (Step::User, Failure::NotExecutable, Some(libc::EPERM));
        assert_eq!(failed, expected);
    }

    #[test]
    fn what_is_forgotten_is_what_nothing_writes() {
        static WRITTEN: AtomicU8 = AtomicU8::new(1);
        let (read, ours) = ("only read", ReadOnly::of_ours());
        let has = |address: usize| ours.0.contains(&address);
        assert!(has(read.as_ptr().addr()), "{ours:x?}");
        assert!(has((ReadOnly::of_ours as *const ()).addr()), "{ours:x?}");
        assert!(!has((&raw const WRITTEN).addr()), "{ours:x?}");
        WRITTEN.store(2, Ordering::Relaxed);
        ours.forget();
        assert_eq!((read, WRITTEN.load(Ordering::Relaxed)), ("only read", 2));
    }

    #[test]
    fn words_that_no_exec_can_take_are_an_error_at_once() {
        let words = ["true".into(), "a\0b".into()];
        assert!(matches!(
            spawn(&program("/bin/true", &words), &plain()),
            Err(SpawnError::Failed(Step::Execute, Failure::NotExecutable, _))
        ));
    }

    #[test]
    fn a_script_without_a_shebang_is_the_shells() {
        let script = path("script");
        // Another process writes it: a copy of the descriptor in another test's
        // child would make it busy.
        let script_maker = r#"echo 'echo "$0 $1" >"$2"' >"$1" && chmod +x "$1""#;
        let made = Command::new("sh")
            .args(["-c", script_maker, "sh"])
            .arg(&script)
            .status();
        assert!(made.unwrap().success());
        let file = script.to_str().unwrap();
        let command = ["a-name", "an argument"];
        let (_, text) = written(file, &command, Terminal::OwnGroup, &plain());
        assert_eq!(text, format!("{file} an argument\n"));
        fs::remove_file(script).unwrap();
    }

    #[test]
    fn a_program_sees_its_name_and_our_environment_and_more() {
        let script = r#"tr '\0' '|' </proc/$$/cmdline >"$1""#;
        let command = ["a-name", "-c", script, "x"];
        let (_, words) = written("/bin/sh", &command, Terminal::OwnGroup, &plain());
        assert!(words.starts_with("a-name|-c|"), "{words}");

        let command = ["cp", "/proc/self/environ"];
        let (_, text) = written("/bin/cp", &command, Terminal::OwnGroup, &plain());
        let mut seen: Vec<&str> = text.split_terminator('\0').collect();
        let ours: Vec<String> = std::env::vars()
            .filter(|(name, _)| name != "PATH")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut expected: Vec<&str> = ours.iter().map(String::as_str).collect();
        expected.extend(["DRAINIT_TEST=a b", "PATH=/bin"]);
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_exec_that_blocks_holds_up_nobody() {
        let file = path("blocked");
        // By another process, as above.
        let copied = Command::new("cp").arg("/bin/true").arg(&file).status();
        assert!(copied.unwrap().success());
        // Whoever opens the file waits until its lease is given up.
        let lease = File::open(&file).unwrap();
        let lease_control = |command, argument: libc::c_int| {
            // SAFETY: these commands take a number.
            let result = unsafe { libc::fcntl(lease.as_raw_fd(), command, argument) };
            check(result).map(|()| result).unwrap()
        };
        // We are told so by a signal that does nothing, where SIGIO would end us.
        lease_control(F_SETSIG, libc::SIGURG);
        lease_control(libc::F_SETLEASE, libc::F_WRLCK);
        let blocked = || start(file.to_str().unwrap(), &["x"], Terminal::OwnGroup, &plain());

        let (killed, executed) = (blocked(), blocked());
        let begin = Instant::now();
        while lease_control(libc::F_GETLEASE, 0) == libc::F_WRLCK {
            assert!(begin.elapsed() < PATIENCE, "nobody executes it");
        }
        assert!(killed.exec.outcome().is_none() && executed.exec.outcome().is_none());
        kill_group(killed.pid, Signal::TERM).unwrap();
        assert_eq!(reap(killed.pid), Status::Killed(Signal::TERM));
        outcome(&killed.exec).unwrap();

        assert!(executed.exec.outcome().is_none());
        lease_control(libc::F_SETLEASE, libc::F_UNLCK);
        outcome(&executed.exec).unwrap();
        assert_eq!(reap(executed.pid), Status::Exited(0));
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn the_mask_and_the_dispositions_are_inherited() {
        let mut usr1 = SigSet::empty();
        usr1.add(nix::sys::signal::SIGUSR1);
        let (ignored, default) = (SigHandler::SigIgn, SigHandler::SigDfl);
        for (mask, at_sigpipe, at_sigchld, expected) in [
            (
                usr1,
                ignored,
                default,
                (1 << (libc::SIGUSR1 - 1), true, false),
            ),
            (SigSet::empty(), default, ignored, (0, false, true)),
        ] {
            let inherited = Inherited {
                mask,
                at_sigpipe,
                at_sigchld,
            };
            let command = ["cp", "/proc/self/status"];
            let (_, status) = written("/bin/cp", &command, Terminal::OwnGroup, &inherited);
            let signals = |name: &str| {
                let mut lines = status.lines();
                let set = lines.find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(set.trim(), 16).unwrap()
            };
            let is_ignored = |signal: i32| signals("SigIgn:") >> (signal - 1) & 1 == 1;
            assert_eq!(
                (
                    signals("SigBlk:"),
                    is_ignored(libc::SIGPIPE),
                    is_ignored(libc::SIGCHLD)
                ),
                expected
            );
        }
    }

    #[test]
    fn a_program_leads_its_group_and_if_it_is_to_its_session() {
        let ours = unistd::getsid(None).unwrap().as_raw();
        let [pid, group, session] = group_and_session(Terminal::OwnGroup);
        assert_eq!((group, session), (pid, ours));
        let [pid, group, session] = group_and_session(Terminal::OwnSession);
        assert_eq!((group, session), (pid, pid));
    }

    #[test]
    fn a_windows_size_is_a_terminals_alone() {
        let size = |rows| {
            let size = libc::winsize {
                ws_row: rows,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let terminal = openpty(Some(&size), None).unwrap();
            window_size_of(terminal.slave.as_fd()).unwrap()
        };
        assert_eq!((size(24).rows, size(24).columns), (24, 80));
        assert_eq!(size(24), size(24));
        assert_ne!(size(24), size(25));
        assert_eq!(
            window_size_of(File::open("/dev/null").unwrap().as_fd()),
            None
        );
    }

    fn sleeper(user: u32) -> (Child, Pid) {
        // Without the tests' output: who reads it would wait for one that is left.
        let child = Command::new("sleep")
            .arg("1000")
            .uid(user)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
        (child, pid)
    }

    /// Needs root.
    #[test]
    fn a_user_signals_its_own_processes() {
        for by_pidfd in [false, true] {
            let (_, pid) = sleeper(12345);
            let pidfd = PidFd::open(pid).unwrap();
            let target = if by_pidfd {
                Target::PidFd(&pidfd)
            } else {
                Target::Pid(pid)
            };
            signal_as(12345, &[target], Signal::TERM).unwrap();
            assert_eq!(reap(pid), Status::Killed(Signal::TERM));
            // Gone is as good as reached.
            signal_as(12345, &[Target::PidFd(&pidfd)], Signal::TERM).unwrap();
        }
    }

    /// Needs root.
    #[test]
    fn who_may_not_be_signalled_is_told_and_the_others_are_signalled() {
        let (mut other, other_pid) = sleeper(12346);
        let (_, own_pid) = sleeper(12345);
        let targets = [Target::Pid(other_pid), Target::Pid(own_pid)];
        let refused = signal_as(12345, &targets, Signal::TERM).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert_eq!(reap(own_pid), Status::Killed(Signal::TERM));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_sender_that_does_not_end_is_not_waited_for() {
        let (mut child, pid) = sleeper(0);
        let result = outcome_of_sender(pid, Duration::from_millis(1));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        child.kill().unwrap();
        let killed = outcome_of_sender(pid, PATIENCE).unwrap_err();
        assert_eq!(killed.kind(), io::ErrorKind::Interrupted);
    }
}
