//! Standard error, written without ever waiting: a log that nobody reads must
//! not stop PID 1.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

/// The most that is written at once: a pipe takes so much whole or not at all.
const PIPE_BUF: usize = 4096;

/// Standard error. What can't be written is dropped and counted.
#[derive(Debug)]
pub struct Stderr {
    way: Way,
    dropped: u64,
}

#[derive(Debug)]
enum Way {
    /// A pipe or a terminal, opened anew: `O_NONBLOCK` belongs to the open file,
    /// which the services share with us otherwise.
    Anew(File),
    /// A regular file never waits.
    File,
    Socket,
    /// It can't be opened anew (a pipe of root's, as another user): written
    /// when poll says that it takes something.
    Polled,
}

impl Stderr {
    /// Standard error as it is now.
    pub fn open() -> Self {
        let path = "/proc/self/fd/2";
        let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
        let way = match kind {
            Ok(kind) if kind.is_socket() => Way::Socket,
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => OpenOptions::new()
                .append(true)
                .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
                .open(path)
                .map_or(Way::Polled, Way::Anew),
            Ok(_) => Way::File,
            Err(_) => Way::Polled,
        };
        Self { way, dropped: 0 }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        match &mut self.way {
            Way::Anew(file) => file.write(bytes),
            Way::File => Ok(nix::unistd::write(stderr.as_fd(), bytes)?),
            Way::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(stderr.as_raw_fd(), bytes, flags)?)
            }
            Way::Polled => {
                let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                let ready = poll(&mut polled, PollTimeout::ZERO)?;
                if ready == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(nix::unistd::write(stderr.as_fd(), bytes)?)
            }
        }
    }

    fn write_line(&mut self, line: &[u8]) -> bool {
        line.chunks(PIPE_BUF)
            .all(|chunk| matches!(self.try_write(chunk), Ok(n) if n == chunk.len()))
    }
}

impl Write for Stderr {
    /// Takes a whole line. Never fails: who logs has nothing to do about it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.dropped > 0 {
            let note = format!(
                "drainit: {} lines could not be written here\n",
                self.dropped
            );
            if self.write_line(note.as_bytes()) {
                self.dropped = 0;
            }
        }
        if !self.write_line(line) {
            self.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
