//! Datagrams between the processes of a container: by unix sockets whose names are
//! abstract, so that there is no file, and a read-only root will do. The kernel says
//! who has sent each. There is no connection: who sends and then goes, or never reads
//! the answer, leaves nothing behind.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrLike as _, UnixAddr, UnixCredentials, recvmsg, sendto,
    setsockopt,
};
use nix::unistd;

use super::process::Pid;

/// The number of our mount namespace. The containers of a pod may share the network
/// and the process ids; this each has for itself.
pub fn mount_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/mnt")?.ino())
}

/// Who has sent a datagram, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// `None` if it is not in our PID namespace.
    pub pid: Option<Pid>,
    /// Its effective user.
    pub user: u32,
}

impl Sender {
    /// Whether it may ask us: it is in our PID namespace, and root or of our own user.
    pub fn may_ask(self) -> bool {
        let own_user = unistd::geteuid().as_raw();
        self.pid.is_some() && (self.user == 0 || self.user == own_user)
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub struct ReturnAddress(UnixAddr);

/// A datagram that came.
#[derive(Debug)]
pub struct Received {
    /// How many bytes it has; more than there was room for if it was cut.
    pub length: usize,
    /// `None` where the kernel doesn't say.
    pub sender: Option<Sender>,
    /// `None` if the sender's socket has no name.
    pub answer_to: Option<ReturnAddress>,
}

/// A socket that has a name.
#[derive(Debug)]
pub struct Named(UnixDatagram);

impl Named {
    /// Takes that name, which nobody may have in our network namespace.
    pub fn bind(name: &str) -> io::Result<Self> {
        let socket = UnixDatagram::bind_addr(&address(name)?)?;
        setsockopt(&socket, PassCred, &true)?;
        Ok(Self(socket))
    }

    /// The next datagram; an error of the kind `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        receive(&self.0, buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// Answers. Who has no room for an answer gets none.
    pub fn answer(&self, to: &ReturnAddress, bytes: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendto(self.0.as_raw_fd(), bytes, &to.0, flags)?;
        Ok(())
    }
}

impl AsFd for Named {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks who has that name; writes the answer into the buffer. An error of the kind
/// `ConnectionRefused` if nobody has it, and `WouldBlock` if no answer came in that
/// time.
pub fn ask(
    name: &str,
    question: &[u8],
    buffer: &mut [u8],
    timeout: Duration,
) -> io::Result<Received> {
    let socket = UnixDatagram::unbound()?;
    // This gives us a name, too, to be answered to.
    setsockopt(&socket, PassCred, &true)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.set_read_timeout(Some(timeout))?;
    // From here on nobody else can send to us.
    socket.connect_addr(&address(name)?)?;
    socket.send(question)?;
    receive(&socket, buffer, MsgFlags::empty())
}

/// Sends to the socket that has this name, a path or, behind an `@`, an abstract one. It
/// never waits: an error of the kind `WouldBlock` where there is no room.
pub fn send_to(name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendto(socket.as_raw_fd(), bytes, &address, flags)?;
    Ok(())
}

/// `sun_family` alone: unix(7).
const ADDRESS_WITHOUT_NAME: libc::socklen_t = 2;

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

fn receive(socket: &UnixDatagram, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Received> {
    // Room for that alone: descriptors that somebody sends us are closed by the kernel.
    let mut control = cmsg_space!(UnixCredentials);
    let mut buffers = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_TRUNC | MsgFlags::MSG_CMSG_CLOEXEC;
    let received =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    let mut messages = received.cmsgs().into_iter().flatten();
    let sender = messages.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(its) => Some(Sender {
            pid: Pid::new(its.pid()),
            user: its.uid(),
        }),
        _ => None,
    });
    // nix panics when it is asked for a name that isn't there.
    let is_named = |address: &UnixAddr| address.len() > ADDRESS_WITHOUT_NAME;
    Ok(Received {
        length: received.bytes,
        sender,
        answer_to: received.address.filter(is_named).map(ReturnAddress),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn name(test: &str) -> String {
        format!("drainit test {test} {}", std::process::id())
    }

    fn received(socket: &Named, room: usize) -> io::Result<(Vec<u8>, Received)> {
        let mut buffer = vec![0; room];
        let received = socket.receive(&mut buffer)?;
        buffer.truncate(received.length);
        Ok((buffer, received))
    }

    #[test]
    fn a_question_is_answered() {
        let name = name("answer");
        let server = Named::bind(&name).unwrap();
        let asker = thread::spawn(move || {
            let mut buffer = [0; 8];
            let answer = ask(&name, b"question", &mut buffer, PATIENCE).unwrap();
            assert!(answer.sender.unwrap().may_ask());
            buffer.get(..answer.length).unwrap().to_vec()
        });
        let (question, from) = loop {
            match received(&server, 100) {
                Ok(received) => break received,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(question, b"question");
        let sender = from.sender.unwrap();
        assert_eq!(sender.pid, Some(Pid::own()));
        assert_eq!(sender.user, unistd::geteuid().as_raw());
        server.answer(&from.answer_to.unwrap(), b"answer").unwrap();
        assert_eq!(asker.join().unwrap(), b"answer");
    }

    #[test]
    fn a_name_is_taken_once_and_nobody_answers_without_it() {
        let name = name("once");
        let ask = || ask(&name, b"x", &mut [0], Duration::from_millis(1));
        let refused = ask().unwrap_err().kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        let server = Named::bind(&name).unwrap();
        let taken = Named::bind(&name).unwrap_err().kind();
        assert_eq!(taken, io::ErrorKind::AddrInUse);
        // It is there, and says nothing.
        assert_eq!(ask().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(server);
    }

    #[test]
    fn a_socket_is_sent_to_by_its_path_or_its_abstract_name_and_never_waited_for() {
        let name = name("send");
        let socket = Named::bind(&name).unwrap();
        let abstract_name = format!("@{name}");
        send_to(abstract_name.as_ref(), b"one").unwrap();
        assert_eq!(received(&socket, 10).unwrap().0, b"one");

        let path = std::env::temp_dir().join(&name);
        let socket = UnixDatagram::bind(&path).unwrap();
        send_to(path.as_os_str(), b"two").unwrap();
        let mut buffer = [0; 3];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"two");
        let full = (0..100_000).find_map(|_| send_to(path.as_os_str(), &[0; 1000]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(socket);
        let refused = send_to(path.as_os_str(), b"x").unwrap_err().kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        fs::remove_file(&path).unwrap();
        assert!(send_to("x".repeat(200).as_ref(), b"x").is_err());
    }

    #[test]
    fn what_is_too_long_is_known_by_its_length() {
        let name = name("long");
        let server = Named::bind(&name).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect_addr(&address(&name).unwrap()).unwrap();
        client.send(b"0123456789").unwrap();
        let mut buffer = [0; 4];
        let received = server.receive(&mut buffer).unwrap();
        assert_eq!((&buffer, received.length), (b"0123", 10));
        assert!(received.sender.is_some() && received.answer_to.is_none());
    }

    #[test]
    fn descriptors_that_are_sent_to_us_are_closed() {
        let name = name("descriptors");
        let server = Named::bind(&name).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect_addr(&address(&name).unwrap()).unwrap();
        let (sent, other_end) = unistd::pipe().unwrap();
        let descriptors = [sent.as_raw_fd()];
        sendmsg::<()>(
            client.as_raw_fd(),
            &[io::IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let received = received(&server, 1).unwrap().1;
        assert_eq!(received.sender, None);
        drop(sent);
        // Nobody has the reading end any more.
        let broken = unistd::write(&other_end, b"x").unwrap_err();
        assert_eq!(broken, nix::errno::Errno::EPIPE);
    }

    #[test]
    fn who_reads_no_answer_gets_no_more_and_holds_up_nobody() {
        let name = name("unread");
        let server = Named::bind(&name).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        setsockopt(&client, PassCred, &true).unwrap();
        client.connect_addr(&address(&name).unwrap()).unwrap();
        client.send(b"x").unwrap();
        let to = received(&server, 1).unwrap().1.answer_to.unwrap();
        let full = (0..100_000).find_map(|_| server.answer(&to, &[0; 1000]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
