//! A forwarder's work: it reads what a service writes, and writes it to our outputs.
//!
//! It waits as long as their readers make it wait, and so does the service then. Its two
//! streams don't wait for each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::unistd;

use crate::sys::process::{self, Outputs, Pid, ReadOnly};
use crate::sys::user::Identity;

/// How much is read at once: half of what a pipe holds. The more, the fewer system calls,
/// and the more memory.
const READ: usize = 32 * 1024;

/// Turns what was read into what is to be written. Appends something if it can, and
/// returns how much of it that was; the rest, or all, is offered again with what
/// follows. The flag says that nothing does.
pub type Cut<'a> = &'a mut dyn FnMut(&[u8], bool, &mut Vec<u8>) -> usize;

/// Starts a forwarder from these outputs to ours. `owner` may open the outputs anew, as
/// who writes to `/dev/stdout` does.
pub fn start(owner: Option<&Identity>, cuts: [Cut; 2]) -> io::Result<(Pid, Outputs)> {
    let (from_stdout, stdout) = pipe(owner)?;
    let (from_stderr, stderr) = pipe(owner)?;
    let given = [from_stdout, from_stderr];
    let forwarder = process::fork_forwarder(given, |[from_stdout, from_stderr]| {
        let [of_stdout, of_stderr] = cuts;
        let (to_stdout, to_stderr) = (io::stdout(), io::stderr());
        forward(&mut [
            Stream::new(from_stdout, to_stdout.as_fd(), of_stdout),
            Stream::new(from_stderr, to_stderr.as_fd(), of_stderr),
        ]);
    })?;
    Ok((forwarder, Outputs { stdout, stderr }))
}

fn pipe(owner: Option<&Identity>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    if let Some(owner) = owner {
        // Without it the writer that it has does all the same.
        let _ = unistd::fchown(&writer, Some(owner.uid), Some(owner.gid));
    }
    Ok((reader, writer))
}

/// After so many milliseconds without anything to do a forwarder gives memory back.
const IDLE: u16 = 1000;

/// Until all was written.
fn forward(streams: &mut [Stream]) {
    let read_only = ReadOnly::of_ours();
    loop {
        let awaited = streams.iter().filter_map(Stream::awaits);
        let mut awaited: Vec<PollFd> = awaited.collect();
        if awaited.is_empty() {
            return;
        }
        let mut polled = poll(&mut awaited, IDLE);
        if polled == Ok(0) {
            // At once, so that little of our code is executed on the way to sleep.
            read_only.forget();
            polled = poll(&mut awaited, PollTimeout::NONE);
        }
        if polled.is_err() {
            continue;
        }
        let came = awaited.iter().map(|it| it.any().unwrap_or(true));
        let came: Vec<bool> = came.collect();
        let waiting = streams.iter_mut().filter(|it| it.awaits().is_some());
        for (stream, _) in waiting.zip(came).filter(|(_, came)| *came) {
            stream.go_on();
        }
    }
}

/// Its reader has gone.
struct Gone;

/// One of the two ways.
struct Stream<'a> {
    /// `None` once there is no more to read.
    from: Option<OwnedFd>,
    to: BorrowedFd<'a>,
    cut: Cut<'a>,
    /// Others may write to it in between.
    is_pipe: bool,
    /// What was read.
    input: Vec<u8>,
    /// So much of it was cut.
    taken: usize,
    /// What is to be written next.
    output: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(from: OwnedFd, to: BorrowedFd<'a>, cut: Cut<'a>) -> Self {
        let kind = fstat(to).map(|status| status.st_mode & libc::S_IFMT);
        Self {
            from: Some(from),
            to,
            cut,
            is_pipe: kind == Ok(libc::S_IFIFO),
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
        }
    }

    /// What it waits for; `None` once all was written.
    fn awaits(&self) -> Option<PollFd<'_>> {
        if self.output.is_empty() {
            let from = self.from.as_ref()?;
            Some(PollFd::new(from.as_fd(), PollFlags::POLLIN))
        } else {
            Some(PollFd::new(self.to, PollFlags::POLLOUT))
        }
    }

    /// What it waited for is there.
    fn go_on(&mut self) {
        if self.output.is_empty() {
            self.read();
        } else if let Err(Gone) = self.write() {
            // Who writes is told so, as without us: nobody reads that pipe any more.
            self.from = None;
            self.input.clear();
        }
        self.output.clear();
        let rest = self.input.get(self.taken..).unwrap_or_default();
        self.taken += (self.cut)(rest, self.from.is_none(), &mut self.output);
        if self.output.is_empty() {
            self.input.drain(..self.taken.min(self.input.len()));
            self.taken = 0;
        }
    }

    fn read(&mut self) {
        let Some(from) = &self.from else {
            return;
        };
        let length = self.input.len();
        self.input.resize(length + READ, 0);
        let room = self.input.get_mut(length..).unwrap_or_default();
        let read = unistd::read(from, room);
        self.input.truncate(length + read.unwrap_or(0));
        if !matches!(read, Ok(1..) | Err(Errno::EINTR | Errno::EAGAIN)) {
            self.from = None;
        }
    }

    /// Writes the output, all of it at once if there is room.
    fn write(&self) -> Result<(), Gone> {
        // A pipe takes a long line in parts, if it is full: no other forwarder is to
        // write in between.
        self.lock(libc::F_WRLCK);
        let mut rest = self.output.as_slice();
        let mut result = Ok(());
        while !rest.is_empty() {
            match unistd::write(self.to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                // Somebody else who has it made it non-blocking.
                Err(Errno::EAGAIN) => {
                    let mut awaited = [PollFd::new(self.to, PollFlags::POLLOUT)];
                    let _ = poll(&mut awaited, PollTimeout::NONE);
                }
                Err(Errno::EPIPE) => {
                    result = Err(Gone);
                    break;
                }
                // A full disk, say: these are lost, as they are without us.
                Err(_) => break,
            }
        }
        self.lock(libc::F_UNLCK);
        result
    }

    /// Locks our output's pipe against other forwarders, or unlocks it. Where that
    /// can't be done, long lines may mix.
    fn lock(&self, kind: libc::c_int) {
        if let (true, Ok(kind)) = (self.is_pipe, kind.try_into()) {
            let lock = libc::flock {
                l_type: kind,
                l_whence: 0,
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            let _ = fcntl(self.to, FcntlArg::F_SETLKW(&lock));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::path::Path;

    use nix::sys::signal::{SigHandler, SigSet};
    use nix::sys::wait::waitpid;
    use nix::unistd::{Gid, Uid};

    use super::*;
    use crate::sys::process::{Program, Terminal, spawn};
    use crate::sys::wakes::Inherited;

    /// Needs root.
    #[test]
    fn a_user_may_open_its_outputs_anew() {
        let identity = Identity {
            uid: Uid::from_raw(12345),
            gid: Gid::from_raw(23456),
            groups: Vec::new(),
            name: None,
            home: None,
        };
        let (from_stdout, stdout) = pipe(Some(&identity)).unwrap();
        let (from_stderr, stderr) = pipe(Some(&identity)).unwrap();
        let outputs = Outputs { stdout, stderr };
        let script = "echo out >/dev/stdout; echo err >/dev/stderr";
        let program = Program {
            file: Path::new("/bin/sh"),
            command: &["sh", "-c", script].map(Into::into),
            variables: &[],
            hidden: &[],
            terminal: Terminal::OwnGroup,
            identity: Some(&identity),
            directory: None,
            nofile: None,
            outputs: Some(&outputs),
        };
        let inherited = Inherited {
            mask: SigSet::thread_get_mask().unwrap(),
            at_sigpipe: SigHandler::SigDfl,
            at_sigchld: SigHandler::SigDfl,
        };
        let child = spawn(&program, &inherited).unwrap();
        drop(outputs);
        for (from, expected) in [(from_stdout, "out\n"), (from_stderr, "err\n")] {
            let mut text = String::new();
            File::from(from).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
        waitpid(unistd::Pid::from_raw(child.pid.raw()), None).unwrap();
    }
}
