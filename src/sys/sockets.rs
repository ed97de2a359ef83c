//! The sockets of our network namespace, and which process holds them. TCP and
//! UDP are asked of the kernel ([`sock_diag`]), or, where there is none (gVisor),
//! read from /proc/net. What can't be seen is an error, never nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::sys::proc::{Process, State, has_gone};
use crate::sys::process::Pid;
use crate::sys::sock_diag::{
    self, CLOSE_WAIT, Detail, ESTABLISHED, LISTEN, Protocol, Socket, UNCONNECTED,
};

/// A socket to which anybody may connect or send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its inode, by which a process's descriptor names it.
    pub inode: u64,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whose it is; `None` for a unix socket, where the table doesn't say.
    pub user: Option<u32>,
    /// Connections that nobody has accepted yet.
    pub queued: u32,
}

/// Where a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// By TCP, at this address.
    Tcp(SocketAddr),
    /// On this UDP port: bound, and not connected to anybody.
    Udp(u16),
    /// On a unix socket, of a file or abstract.
    Unix,
}

impl Endpoint {
    /// Its port, if it is TCP's.
    pub fn tcp_port(self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Udp(_) | Self::Unix => None,
        }
    }
}

/// States of a connection whose other end may wait for an answer. In the second
/// it has said that it sends no more.
const CONNECTED: [u8; 2] = [ESTABLISHED, CLOSE_WAIT];

/// States of a connection that may still have something to send:
/// `ESTABLISHED`, `FIN_WAIT1`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`.
const SENDING: [u8; 5] = [ESTABLISHED, 4, CLOSE_WAIT, 9, 11];

/// States of a connection that is over, or about to be: `FIN_WAIT1`, `FIN_WAIT2`,
/// `TIME_WAIT`, `LAST_ACK`, `CLOSING`. Whose end began it stays for a minute.
const OVER: [u8; 5] = [4, 5, 6, 9, 11];

/// In /proc/net/unix: `__SO_ACCEPTCON` of `include/uapi/linux/net.h`.
const ACCEPTS_CONNECTIONS: &[u8] = b"00010000";

/// All that listen: TCP, UDP and unix.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let tcp = inet(Protocol::Tcp, &[LISTEN], Detail::Usual)?;
    let udp = inet(Protocol::Udp, &[UNCONNECTED], Detail::Usual)?;
    let unix = fs::read("/proc/net/unix")?;
    let tcp = tcp.iter().map(|socket| Listener {
        inode: socket.inode,
        endpoint: Endpoint::Tcp(socket.local.into()),
        user: Some(socket.user),
        queued: socket.unread,
    });
    let udp = udp.iter().map(|socket| Listener {
        inode: socket.inode,
        endpoint: Endpoint::Udp(socket.local.1),
        user: Some(socket.user),
        queued: 0,
    });
    Ok(tcp.chain(udp).chain(unix_listeners(&unix)).collect())
}

/// Where the sockets of these inodes listen, such as `tcp:80`, `udp:53` and
/// `unix:/run/php-fpm.sock`.
pub fn places(inodes: &[u64]) -> io::Result<Vec<String>> {
    let tcp = inet(Protocol::Tcp, &[LISTEN], Detail::Usual)?;
    let udp = inet(Protocol::Udp, &[UNCONNECTED], Detail::Usual)?;
    let unix = fs::read("/proc/net/unix")?;
    let mut places = Vec::new();
    for (protocol, sockets) in [("tcp", tcp), ("udp", udp)] {
        let its = sockets.iter().filter(|it| inodes.contains(&it.inode));
        places.extend(its.map(|socket| format!("{protocol}:{}", socket.local.1)));
    }
    let its = unix_sockets(&unix).filter(|it| it.is_listening && inodes.contains(&it.inode));
    places.extend(its.map(|socket| format!("unix:{}", String::from_utf8_lossy(socket.path))));
    // By IPv4 and IPv6, or by several sockets on one port.
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// Whether anybody listens on this TCP port.
pub fn has_tcp_listener(port: u16) -> io::Result<bool> {
    let listeners = inet(Protocol::Tcp, &[LISTEN], Detail::Usual)?;
    Ok(listeners.iter().any(|socket| socket.local.1 == port))
}

/// Whether anybody listens on the unix socket of this path, as it was bound; an abstract
/// name has an `@` in front.
pub fn has_unix_listener(path: &[u8]) -> io::Result<bool> {
    let table = fs::read("/proc/net/unix")?;
    let mut sockets = unix_sockets(&table);
    Ok(sockets.any(|socket| socket.is_listening && socket.path == path))
}

fn unix_listeners(table: &[u8]) -> Vec<Listener> {
    let sockets: Vec<UnixSocket> = unix_sockets(table).collect();
    let (listening, others): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| socket.is_listening);
    let queued = |listener: &UnixSocket| {
        let its = others
            .iter()
            .filter(|other| other.inode == 0 && other.path == listener.path);
        u32::try_from(its.count()).unwrap_or(u32::MAX)
    };
    listening
        .iter()
        .map(|listener| Listener {
            inode: listener.inode,
            endpoint: Endpoint::Unix,
            user: None,
            queued: queued(listener),
        })
        .collect()
}

/// A line of /proc/net/unix. A connection has its listener's path at the
/// server's end, and no inode until it was accepted.
#[derive(Debug, PartialEq, Eq)]
struct UnixSocket<'a> {
    is_listening: bool,
    inode: u64,
    /// Empty where it has none.
    path: &'a [u8],
}

/// `unix_seq_show()` of the kernel's `net/unix/af_unix.c`. A path may hold any
/// byte but NUL: what follows a line end in it is no socket's line.
fn unix_sockets(table: &[u8]) -> impl Iterator<Item = UnixSocket<'_>> {
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let (_, mut rest) = word(line)?;
        let mut words = [&b""[..]; 6];
        for field in &mut words {
            (*field, rest) = word(rest)?;
        }
        let [_, _, flags, _, _, inode] = words;
        Some(UnixSocket {
            is_listening: flags == ACCEPTS_CONNECTIONS,
            inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
            path: rest.strip_prefix(b" ").unwrap_or_default(),
        })
    })
}

/// The first word of a line, and what follows.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let length = line.iter().position(|byte| *byte == b' ');
    let (word, rest) = line.split_at(length.unwrap_or(line.len()));
    (!word.is_empty()).then_some((word, rest))
}

/// Who is at listening sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Nobody.
    Nobody,
    /// Somebody is connected.
    Connected,
    /// Somebody waits to be accepted.
    Queued,
}

/// Who is at those of these sockets that listen, TCP or unix. An error where a
/// unix socket of the same path is somebody else's, and has clients: another
/// container of the pod may have that path in a root of its own.
pub fn presence(inodes: &[u64]) -> io::Result<Presence> {
    let [established, close_wait] = CONNECTED;
    let states = [LISTEN, established, close_wait];
    let tcp = inet(Protocol::Tcp, &states, Detail::Usual)?;
    let unix = fs::read("/proc/net/unix")?;
    presence_in(inodes, &tcp, &unix_sockets(&unix).collect::<Vec<_>>())
}

fn presence_in(inodes: &[u64], tcp: &[Socket], unix: &[UnixSocket]) -> io::Result<Presence> {
    let mut presence = Presence::Nobody;
    let is_one = |inode: u64| inodes.contains(&inode);
    let tcp_listeners = tcp.iter().filter(|socket| socket.state == LISTEN);
    for listener in tcp_listeners.filter(|it| is_one(it.inode)) {
        let (address, port) = listener.local;
        let is_its = |socket: &Socket| {
            socket.state != LISTEN
                && socket.local.1 == port
                && (address.is_unspecified() || socket.local.0 == address)
        };
        if listener.unread > 0 {
            presence = Presence::Queued;
        } else if tcp.iter().any(is_its) {
            presence = presence.max(Presence::Connected);
        }
    }
    let unix_listeners = unix.iter().filter(|socket| socket.is_listening);
    for listener in unix_listeners.filter(|it| is_one(it.inode)) {
        let (same_path, clients): (Vec<_>, Vec<_>) = unix
            .iter()
            .filter(|socket| socket.path == listener.path)
            .partition(|socket| socket.is_listening);
        if clients.is_empty() {
            continue;
        }
        if !same_path.iter().all(|its| is_one(its.inode)) {
            return Err(io::Error::other("two unix sockets have the same path"));
        }
        let is_queued = clients.iter().any(|client| client.inode == 0);
        presence = presence.max(if is_queued {
            Presence::Queued
        } else {
            Presence::Connected
        });
    }
    Ok(presence)
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Those whose other end is outside our network namespace.
    Outside,
    /// All.
    Anywhere,
}

/// A local port, of those wanted, to which somebody is connected.
pub fn connected(peer: Peer, is_wanted: impl Fn(u16) -> bool) -> io::Result<Option<u16>> {
    let connections = inet(Protocol::Tcp, &CONNECTED, Detail::Usual)?;
    Ok(connections
        .iter()
        .filter(|socket| peer == Peer::Anywhere || !socket.is_inside())
        .map(|socket| socket.local.1)
        .find(|port| is_wanted(*port)))
}

/// Whether anybody is connected to one of the local ports wanted, or was a moment ago.
pub fn was_connected(is_wanted: impl Fn(u16) -> bool) -> io::Result<bool> {
    let states = [&CONNECTED[..], &OVER].concat();
    let connections = inet(Protocol::Tcp, &states, Detail::Usual)?;
    Ok(connections.iter().any(|socket| is_wanted(socket.local.1)))
}

/// The ports that the kernel takes for connections that we make, so that nobody
/// listens on them: `ip_local_port_range` of ip(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralPorts(RangeInclusive<u16>);

impl EphemeralPorts {
    /// Those of our network namespace, or else the kernel's defaults.
    pub fn read() -> Self {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        Self::parse(&range.unwrap_or_default()).unwrap_or(Self(32768..=60999))
    }

    fn parse(range: &str) -> Option<Self> {
        let mut ends = range.split_ascii_whitespace().map(str::parse);
        Some(Self(ends.next()?.ok()?..=ends.next()?.ok()?))
    }

    /// Whether this port is one.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

/// Those who are connected by TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// How many.
    pub count: usize,
    /// For how long no data came from or went to any of them; `None` where there
    /// are none, and where the kernel doesn't tell.
    pub silent_for: Option<Duration>,
}

/// The clients on these local TCP ports.
pub fn clients(ports: &[u16]) -> io::Result<Clients> {
    connected_to(ports).map(|clients| summary(&clients))
}

fn summary(clients: &[Socket]) -> Clients {
    let silences = clients
        .iter()
        .map(|client| Some(client.info?.since_received.min(client.info?.since_sent)));
    Clients {
        count: clients.len(),
        // `None`, which can't be told, is less than any.
        silent_for: silences.min().flatten(),
    }
}

/// Whether there are clients on these local TCP ports, and none of them has ever
/// sent a byte or been sent one: where the server speaks first they only listen.
/// Not where that can't be seen.
pub fn are_silent(ports: &[u16]) -> bool {
    connected_to(ports)
        .is_ok_and(|clients| !clients.is_empty() && clients.iter().all(was_always_silent))
}

fn was_always_silent(client: &Socket) -> bool {
    let nothing_went = |info: sock_diag::Info| info.received == 0 && info.acked == 0;
    client.unsent == 0 && client.info.is_some_and(nothing_went)
}

fn connected_to(ports: &[u16]) -> io::Result<Vec<Socket>> {
    let mut clients = inet(Protocol::Tcp, &CONNECTED, Detail::Info)?;
    clients.retain(|socket| ports.contains(&socket.local.1));
    Ok(clients)
}

/// What has come in on a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Our end, and the other one.
    pub ends: ((IpAddr, u16), (IpAddr, u16)),
    /// So many bytes, so far.
    pub bytes: u64,
}

/// What has come in on the connections to these local TCP ports; those are left out of
/// which the kernel doesn't tell it.
pub fn heard(ports: &[u16]) -> io::Result<Vec<Heard>> {
    let clients = connected_to(ports)?;
    Ok(clients.iter().filter_map(heard_on).collect())
}

fn heard_on(client: &Socket) -> Option<Heard> {
    let received = client.info?.received;
    // Who sends no more has sent its end, which is nothing new.
    let end = u64::from(client.state == CLOSE_WAIT);
    Some(Heard {
        ends: (client.local, client.remote),
        bytes: received.saturating_sub(end),
    })
}

/// The inodes of the sockets that a process has open. An error where any of its
/// descriptors can't be seen: of another user's process the kernel may list
/// them, and yet not say what they are.
pub fn held_by(pid: Pid) -> io::Result<Vec<u64>> {
    let held = held_in(&format!("/proc/{pid}/fd"))?;
    let first_thread_ended = |process: Process| process.state == State::FirstThreadEnded;
    if !Process::read(pid)?.is_some_and(first_thread_ended) {
        return Ok(held.unwrap_or_default());
    }
    // Its descriptors went with it; the other threads have the same.
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path().join("fd");
        match held_in(&thread.to_string_lossy()) {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => {}
            Err(error) if has_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no thread shows its descriptors"))
}

/// Those in a directory of descriptors; `None` where there is no descriptor.
fn held_in(directory: &str) -> io::Result<Option<Vec<u64>>> {
    let mut held = None;
    for entry in fs::read_dir(directory)? {
        let held = held.get_or_insert_with(Vec::new);
        match fs::read_link(entry?.path()) {
            Ok(target) => held.extend(socket_inode(&target)),
            // It has been closed since.
            Err(error) if has_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

fn socket_inode(target: &Path) -> Option<u64> {
    let inode = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    inode.parse().ok()
}

/// How many bytes the kernel still has to send, or to see acknowledged, on
/// connections to these local ports whose other end is outside.
pub fn unsent(ports: &[u16]) -> io::Result<u64> {
    let sockets = inet(Protocol::Tcp, &SENDING, Detail::Usual)?;
    Ok(unsent_of(&sockets, ports))
}

fn unsent_of(sockets: &[Socket], ports: &[u16]) -> u64 {
    sockets
        .iter()
        .filter(|socket| ports.contains(&socket.local.1) && !socket.is_inside())
        .map(|socket| u64::from(socket.unsent))
        .sum()
}

/// All sockets of a protocol in these states.
fn inet(protocol: Protocol, states: &[u8], detail: Detail) -> io::Result<Vec<Socket>> {
    sock_diag::sockets(protocol, states, detail).or_else(|_| {
        let mut sockets = table(protocol)?;
        sockets.retain(|socket| states.contains(&socket.state));
        Ok(sockets)
    })
}

/// The sockets that /proc/net shows.
fn table(protocol: Protocol) -> io::Result<Vec<Socket>> {
    let file = match protocol {
        Protocol::Tcp => "/proc/net/tcp",
        Protocol::Udp => "/proc/net/udp",
    };
    let v6 = match fs::read_to_string(format!("{file}6")) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        table => table?,
    };
    let v4 = fs::read_to_string(file)?;
    let lines = v4.lines().skip(1).chain(v6.lines().skip(1));
    let sockets: Option<Vec<Socket>> = lines.map(parse).collect();
    sockets.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `Documentation/networking/proc_net_tcp.rst`; a line for UDP is alike.
fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (unsent, unread) = fields.next()?.split_once(':')?;
    Some(Socket {
        state,
        local,
        remote,
        unread: u32::from_str_radix(unread, 16).ok()?,
        unsent: u32::from_str_radix(unsent, 16).ok()?,
        user: fields.nth(2)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
        info: None,
    })
}

/// The table has each 32 bits of an address in the machine's byte order.
fn address(field: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = field.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address = if address.len() == 8 {
        Ipv4Addr::from(word(0)?.to_ne_bytes()).into()
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?].map(u32::from_be);
        let bits = words
            .iter()
            .fold(0, |bits, word| bits << 32 | u128::from(*word));
        Ipv6Addr::from_bits(bits).to_canonical()
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u64 {
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        fs::metadata(path).unwrap().ino()
    }

    fn listener_of(socket: &impl AsRawFd) -> Option<Listener> {
        let inode = inode(socket);
        let mut listeners = listeners().unwrap().into_iter();
        listeners.find(|listener| listener.inode == inode)
    }

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("drainit {name} {}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn somebody_listens_on_a_port_or_at_a_path() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(has_tcp_listener(port).unwrap());
        drop(tcp);
        wait_until(|| !has_tcp_listener(port).unwrap());
        let path = path("ready at");
        let name = path.as_os_str().as_encoded_bytes();
        assert!(!has_unix_listener(name).unwrap());
        let unix = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        assert!(has_unix_listener(name).unwrap());
        drop(unix);
        // A connection has the path, too.
        wait_until(|| !has_unix_listener(name).unwrap());
        drop(client);
        let name = format!("drainit ready {}", std::process::id());
        let address = unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract = UnixListener::bind_addr(&address).unwrap();
        assert!(has_unix_listener(format!("@{name}").as_bytes()).unwrap());
    }

    /// A child that another test starts at the same time has our descriptors
    /// until it executes: what we close isn't closed at once.
    fn wait_until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection to a listener of ours: the client's end, and the server's.
    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The client sends this and then no more, and the server has seen it.
    fn finish(client: &mut TcpStream, server: &mut TcpStream, sent: &[u8]) {
        client.write_all(sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read_to_end(&mut Vec::new()).unwrap(), sent.len());
    }

    fn connection(local: ([u8; 4], u16), remote: ([u8; 4], u16)) -> Socket {
        Socket {
            state: ESTABLISHED,
            local: (local.0.into(), local.1),
            remote: (remote.0.into(), remote.1),
            unread: 0,
            unsent: 0,
            user: 0,
            inode: 1,
            info: Some(sock_diag::Info {
                received: 0,
                acked: 0,
                since_received: Duration::from_secs(7),
                since_sent: Duration::from_secs(8),
            }),
        }
    }

    fn client(change: impl FnOnce(&mut Socket, &mut sock_diag::Info)) -> Socket {
        let mut client = connection(([10, 0, 0, 2], 80), ([10, 0, 0, 1], 50000));
        let mut info = client.info.unwrap();
        change(&mut client, &mut info);
        client.info = client.info.map(|_| info);
        client
    }

    #[test]
    fn the_tables_name_our_own_tcp_listener() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let expected = |queued| Listener {
            inode: inode(&socket),
            endpoint: Endpoint::Tcp(address),
            user: Some(fs::metadata("/proc/self").unwrap().uid()),
            queued,
        };
        assert_eq!(listener_of(&socket), Some(expected(0)));
        assert!(held_by(Pid::own()).unwrap().contains(&inode(&socket)));
        let _client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        assert_eq!(listener_of(&socket), Some(expected(1)));
    }

    #[test]
    fn the_tables_name_our_own_udp_socket_unless_it_is_connected() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(address).unwrap();
            let client = UdpSocket::bind(address).unwrap();
            client.connect(server.local_addr().unwrap()).unwrap();
            client.send(b"query").unwrap();
            let expected = Listener {
                inode: inode(&server),
                endpoint: Endpoint::Udp(server.local_addr().unwrap().port()),
                user: Some(fs::metadata("/proc/self").unwrap().uid()),
                queued: 0,
            };
            assert_eq!(listener_of(&server), Some(expected));
            assert_eq!(listener_of(&client), None);
        }
    }

    #[test]
    fn the_tables_name_our_own_unix_listener_and_who_waits_there() {
        let path = path("queue");
        let socket = UnixListener::bind(&path).unwrap();
        let expected = |queued| Listener {
            inode: inode(&socket),
            endpoint: Endpoint::Unix,
            user: None,
            queued,
        };
        assert_eq!(listener_of(&socket), Some(expected(0)));
        assert!(held_by(Pid::own()).unwrap().contains(&inode(&socket)));
        let clients = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        assert_eq!(listener_of(&socket), Some(expected(2)));
        let _server = socket.accept().unwrap();
        assert_eq!(listener_of(&socket), Some(expected(1)));
        drop(clients);
        fs::remove_file(&path).unwrap();
    }

    fn is_nobody(inode: u64) -> bool {
        presence(&[inode]).unwrap() == Presence::Nobody
    }

    #[test]
    fn who_is_at_a_unix_socket_waits_or_is_connected() {
        let path = path("presence");
        let socket = UnixListener::bind(&path).unwrap();
        let is = |expected| presence(&[inode(&socket)]).unwrap() == expected;
        assert!(is(Presence::Nobody));
        let client = UnixStream::connect(&path).unwrap();
        assert!(is(Presence::Queued));
        let server = socket.accept().unwrap();
        assert!(is(Presence::Connected));
        drop(client);
        assert!(is(Presence::Connected), "the server works on");
        drop(server);
        wait_until(|| is(Presence::Nobody));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn two_unix_sockets_of_one_path_cant_be_told_apart() {
        let path = path("twice");
        let old = UnixListener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let new = UnixListener::bind(&path).unwrap();
        assert!(is_nobody(inode(&new)));
        let _client = UnixStream::connect(&path).unwrap();
        assert!(presence(&[inode(&new)]).is_err());
        assert_eq!(
            presence(&[inode(&old), inode(&new)]).unwrap(),
            Presence::Queued
        );
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_is_at_a_tcp_socket_waits_or_is_connected() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let socket = TcpListener::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            let is = |expected| presence(&[inode(&socket)]).unwrap() == expected;
            assert!(is(Presence::Nobody));
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            wait_until(|| is(Presence::Queued));
            let (mut server, _) = socket.accept().unwrap();
            assert!(is(Presence::Connected));
            finish(&mut client, &mut server, b"GET");
            assert!(is(Presence::Connected), "it waits for the answer");
            drop(server);
            wait_until(|| is(Presence::Nobody));
        }
    }

    #[test]
    fn another_address_of_the_same_port_is_somebody_elses() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = ours.local_addr().unwrap().port();
        let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let _connection = connect(&other);
        assert!(is_nobody(inode(&ours)));
        assert!(presence(&[inode(&ours), inode(&other)]).unwrap() > Presence::Nobody);
    }

    #[test]
    fn nobody_is_at_what_listens_no_more() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode(&socket);
        let _client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        wait_until(|| !is_nobody(inode));
        drop(socket);
        wait_until(|| is_nobody(inode));
        assert_eq!(presence(&[]).unwrap(), Presence::Nobody);
    }

    #[test]
    fn a_queue_counts_where_its_connections_were_not_seen() {
        let mut listener = connection(([0; 4], 80), ([0; 4], 0));
        (listener.state, listener.inode, listener.unread) = (LISTEN, 7, 1);
        let presence =
            |listener: &Socket| presence_in(&[7], std::slice::from_ref(listener), &[]).unwrap();
        assert_eq!(presence(&listener), Presence::Queued);
        listener.unread = 0;
        assert_eq!(presence(&listener), Presence::Nobody);
    }

    #[test]
    fn addresses_are_read_in_each_form() {
        for (field, expected) in [
            ("0101007F:0050", "127.0.1.1"),
            ("00000000000000000000000001000000:0050", "::1"),
            ("0000000000000000FFFF0000020011AC:0050", "172.17.0.2"),
        ] {
            assert_eq!(
                address(field),
                Some((expected.parse().unwrap(), 80)),
                "{field}"
            );
        }
        assert_eq!(address("0101007F"), None);
        assert_eq!(address("01:0050"), None);
    }

    #[test]
    fn both_ways_to_see_tcp_and_udp_tell_the_same() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        for (protocol, state, inode) in [
            (Protocol::Tcp, LISTEN, inode(&tcp)),
            (Protocol::Udp, UNCONNECTED, inode(&udp)),
        ] {
            let its = |sockets: Vec<Socket>| sockets.into_iter().find(|s| s.inode == inode);
            let asked = sock_diag::sockets(protocol, &[state], Detail::Usual).unwrap();
            // Of a listening socket sock_diag gives the limit of its queue there.
            let expected = Socket {
                unsent: 0,
                ..its(asked).unwrap()
            };
            assert_eq!(its(table(protocol).unwrap()), Some(expected));
        }
    }

    #[test]
    fn clients_are_silent_until_one_has_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [listener.local_addr().unwrap().port()];
        assert!(!are_silent(&ports), "nobody is there");
        let _silent = connect(&listener);
        let (mut client, server) = connect(&listener);
        assert!(are_silent(&ports));
        assert!(!are_silent(&[]), "nobody is there");
        client.write_all(b"G").unwrap();
        server.peek(&mut [0]).unwrap();
        assert!(!are_silent(&ports));
    }

    #[test]
    fn what_a_client_has_sent_is_heard_and_that_it_sends_no_more_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let (mut client, mut server) = connect(&listener);
        let peer = client.local_addr().unwrap();
        let ends = ((local.ip(), local.port()), (peer.ip(), peer.port()));
        let heard = || heard(&[local.port()]).unwrap();
        assert_eq!(heard(), [Heard { ends, bytes: 0 }]);
        client.write_all(b"G").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(heard(), [Heard { ends, bytes: 1 }]);
        finish(&mut client, &mut server, b"ET");
        assert_eq!(heard(), [Heard { ends, bytes: 3 }]);
        assert_eq!(super::heard(&[]).unwrap(), []);
    }

    #[test]
    fn clients_that_only_listen_are_not_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [listener.local_addr().unwrap().port()];
        let (mut client, mut server) = connect(&listener);
        assert!(are_silent(&ports));
        server.write_all(b"220 hello\r\n").unwrap();
        client.read_exact(&mut [0; 11]).unwrap();
        assert!(!are_silent(&ports));
    }

    #[test]
    fn a_client_that_sends_no_more_waits_for_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_ours = |wanted| wanted == port;
        assert_eq!(connected(Peer::Anywhere, is_ours).unwrap(), None);
        let (mut client, mut server) = connect(&listener);
        finish(&mut client, &mut server, b"GET");
        assert_eq!(connected(Peer::Anywhere, is_ours).unwrap(), Some(port));
        assert_eq!(connected(Peer::Outside, is_ours).unwrap(), None);
        let _silent = connect(&listener);
        assert!(!are_silent(&[port]));
        let clients = clients(&[port]).unwrap();
        assert_eq!(clients.count, 2);
        assert!(clients.silent_for.is_some());
    }

    #[test]
    fn silent_is_to_whom_nothing_went_either_way() {
        assert!(was_always_silent(&client(|_, _| {})));
        for heard in [
            client(|client, _| client.unsent = 1),
            client(|client, _| client.info = None),
            client(|_, info| info.received = 1),
            client(|_, info| info.acked = 1),
        ] {
            assert!(!was_always_silent(&heard), "{heard:?}");
        }
    }

    #[test]
    fn the_shortest_silence_counts() {
        let first = client(|_, _| {});
        let second = client(|_, info| info.since_sent = Duration::from_secs(3));
        let unknown = client(|client, _| client.info = None);
        let seconds = |clients: &[Socket]| {
            let Clients { count, silent_for } = summary(clients);
            (count, silent_for.map(|silence| silence.as_secs()))
        };
        assert_eq!(seconds(&[]), (0, None));
        assert_eq!(seconds(std::slice::from_ref(&first)), (1, Some(7)));
        assert_eq!(seconds(&[first.clone(), second.clone()]), (2, Some(3)));
        assert_eq!(seconds(&[second, first, unknown]), (3, None));
    }

    #[test]
    fn what_is_unsent_counts_if_it_leaves_the_namespace() {
        let unsent = |local, remote| {
            let mut socket = connection(local, remote);
            socket.unsent = 100;
            unsent_of(&[socket.clone(), socket], &[80])
        };
        let (own, other) = ([10, 0, 0, 2], [10, 0, 0, 1]);
        assert_eq!(unsent((own, 80), (other, 50000)), 200);
        assert_eq!(unsent((own, 81), (other, 50000)), 0);
        assert_eq!(unsent((own, 80), (own, 50000)), 0);
        assert_eq!(unsent((own, 80), ([127, 0, 0, 1], 50000)), 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _connection = connect(&listener);
        let port = listener.local_addr().unwrap().port();
        assert_eq!(super::unsent(&[port]).unwrap(), 0);
    }

    #[test]
    fn a_connection_that_its_server_has_ended_is_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let was = || was_connected(|its| its == port).unwrap();
        assert!(!was());
        let (client, server) = connect(&listener);
        assert!(was());
        drop((server, listener));
        drop(client);
        wait_until(|| {
            connected(Peer::Anywhere, |its| its == port)
                .unwrap()
                .is_none()
        });
        assert!(was());
    }

    #[test]
    fn the_kernel_takes_ephemeral_ports_for_its_own() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = EphemeralPorts::read();
        assert!(ports.contains(client.local_addr().unwrap().port()));
        assert!(!ports.contains(80));
        let parse = |range| EphemeralPorts::parse(range);
        assert_eq!(parse("1024\t2047\n"), Some(EphemeralPorts(1024..=2047)));
        assert_eq!(parse("1024"), None);
    }

    #[test]
    fn descriptors_that_cant_be_seen_are_an_error() {
        assert!(held_by(Pid::new(i32::MAX).unwrap()).is_err());
        // EINVAL: what stands there is no link.
        assert!(held_in("/proc/self/net").is_err());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_holds_its_sockets() {
        let script = format!(
            "import ctypes, os, socket, sys, threading\n\
             server = socket.create_server(('127.0.0.1', 0))\n\
             def wait():\n \
               while open('/proc/self/stat').read().split(') ')[1][0] != 'Z': pass\n \
               print(os.fstat(server.fileno()).st_ino, flush=True)\n \
               sys.stdin.read()\n\
             threading.Thread(target=wait).start()\n\
             ctypes.CDLL(None).syscall({}, 0)",
            libc::SYS_exit
        );
        let mut python = Command::new("python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = python.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let pid = Pid::new(python.id().try_into().unwrap()).unwrap();
        let held = held_by(pid);
        python.kill().unwrap();
        python.wait().unwrap();
        assert_eq!(held.unwrap(), [line.trim().parse::<u64>().unwrap()]);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   1: 020011AC:0050 010011AC:D4C2 04 0000A2F1:00000000 01:00000015 00000000 \
                    0        0 0 4 0000000000000000 21 4 30 10 -1";
        let socket = parse(line).unwrap();
        assert_eq!(
            (socket.local.1, socket.remote.1, socket.unsent),
            (80, 0xd4c2, 0xa2f1)
        );
        assert_eq!((socket.state, socket.user, socket.inode), (4, 0, 0));
    }

    #[test]
    fn a_unix_path_may_hold_anything() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01    71 /a b\xff\n\
            0000000000000000: 00000003 00000000 00000000 0001 03  4711\n\
            0000000000000000: 00000002 00000000 00000000 0001 02     0  c\n\
            d e\n";
        let socket = |is_listening, inode, path| UnixSocket {
            is_listening,
            inode,
            path,
        };
        assert_eq!(
            unix_sockets(table).collect::<Vec<_>>(),
            [
                socket(true, 71, b"/a b\xff"),
                socket(false, 4711, b""),
                socket(false, 0, b" c")
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), bytes in any::<Vec<u8>>(), line in "( |:|[0-9A-F]{1,9})*") {
            for text in [&text, &line] {
                parse(text);
                address(text);
                EphemeralPorts::parse(text);
                socket_inode(Path::new(text));
            }
            unix_listeners(&bytes);
            unix_listeners(format!("\n{line}\n{text}").as_bytes());
        }
    }
}
