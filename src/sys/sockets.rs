//! The sockets of our network namespace, and which process holds them. TCP is
//! asked of the kernel ([`sock_diag`]), or, where there is none (gVisor), read
//! from /proc/net.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::sys::process::Pid;
use crate::sys::sock_diag::{self, CLOSE_WAIT, Detail, ESTABLISHED, LISTEN, Tcp};

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its inode, by which a process's descriptor names it.
    pub inode: u64,
    /// Its port; `None` for a unix socket.
    pub port: Option<u16>,
    /// Whose it is; `None` for a unix socket, where the table doesn't say.
    pub user: Option<u32>,
    /// Connections that nobody has accepted yet.
    pub queued: u32,
}

/// States of a connection that may still have something to send:
/// `ESTABLISHED`, `FIN_WAIT1`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`.
const SENDING: [u8; 5] = [ESTABLISHED, 4, CLOSE_WAIT, 9, 11];

/// In /proc/net/unix: `__SO_ACCEPTCON` of `include/uapi/linux/net.h`.
const ACCEPTS_CONNECTIONS: &str = "00010000";

/// All that listen, TCP and unix.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let tcp = tcp(&[LISTEN])?.into_iter().map(|socket| Listener {
        inode: socket.inode,
        port: Some(socket.local.1),
        user: Some(socket.user),
        queued: socket.unread,
    });
    let table = fs::read_to_string("/proc/net/unix")?;
    let unix = unix_listeners(&table);
    Ok(tcp.chain(unix).collect())
}

/// `unix_seq_show()` of the kernel's `net/unix/af_unix.c`. A connection that
/// nobody has accepted yet has its listener's path and no inode.
fn unix_listeners(table: &str) -> Vec<Listener> {
    let mut listeners = Vec::new();
    let mut paths = Vec::new();
    let mut queued = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (Some(flags), Some(inode)) = (fields.next(), fields.nth(2)) else {
            continue;
        };
        let path = fields.next();
        if flags == ACCEPTS_CONNECTIONS {
            paths.push(path);
            listeners.extend(inode.parse().ok().map(|inode| Listener {
                inode,
                port: None,
                user: None,
                queued: 0,
            }));
        } else if inode == "0" {
            queued.extend(path);
        }
    }
    for (listener, path) in listeners.iter_mut().zip(paths) {
        let its = queued.iter().filter(|queued| Some(**queued) == path);
        listener.queued = u32::try_from(its.count()).unwrap_or(u32::MAX);
    }
    listeners
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
pub fn connected(peer: Peer, is_wanted: impl Fn(u16) -> bool) -> Option<u16> {
    let connections = tcp(&[ESTABLISHED, CLOSE_WAIT]).unwrap_or_default();
    connections
        .iter()
        .filter(|socket| peer == Peer::Anywhere || !socket.is_inside())
        .map(|socket| socket.local.1)
        .find(|port| is_wanted(*port))
}

/// Whether the kernel takes this port for connections that we make, and so
/// nobody listens on it: `ip_local_port_range` of ip(7).
pub fn is_ephemeral(port: u16) -> bool {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_ascii_whitespace().map(str::parse);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => (first..=last).contains(&port),
        _ => port >= 32768,
    }
}

/// The inodes of all UDP sockets.
pub fn udp() -> io::Result<Vec<u64>> {
    let table = table("udp")?;
    let inode = |line: &str| line.split_ascii_whitespace().nth(9)?.parse().ok();
    Ok(table.lines().filter_map(inode).collect())
}

/// Whether there are clients on these local ports, and none of them has ever
/// sent a byte, or waits for one of ours. Not where that can't be seen.
pub fn are_silent(ports: &[u16]) -> bool {
    let sockets = sock_diag::tcp(&[ESTABLISHED, CLOSE_WAIT], Detail::Received).unwrap_or_default();
    let mut clients = sockets
        .iter()
        .filter(|socket| ports.contains(&socket.local.1))
        .peekable();
    clients.peek().is_some()
        && clients.all(|client| client.received == Some(0) && client.unsent == 0)
}

/// The inodes of the sockets that a process has open. Of another user's the
/// kernel may list the descriptors, and yet not say what they are.
pub fn held_by(pid: Pid) -> io::Result<Vec<u64>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        match fs::read_link(entry?.path()) {
            Ok(target) => held.extend(socket_inode(&target)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // It has been closed since.
            Err(_) => {}
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
pub fn unsent(ports: &[u16]) -> u64 {
    tcp(&SENDING)
        .unwrap_or_default()
        .iter()
        .filter(|socket| ports.contains(&socket.local.1) && !socket.is_inside())
        .map(|socket| u64::from(socket.unsent))
        .sum()
}

/// All TCP sockets in these states.
fn tcp(states: &[u8]) -> io::Result<Vec<Tcp>> {
    sock_diag::tcp(states, Detail::Usual).or_else(|_| {
        let sockets = table("tcp")?.lines().filter_map(parse).collect::<Vec<_>>();
        Ok(sockets
            .into_iter()
            .filter(|socket| states.contains(&socket.state))
            .collect())
    })
}

/// A table of /proc/net with its IPv6 half, which there may not be.
fn table(protocol: &str) -> io::Result<String> {
    let mut table = fs::read_to_string(format!("/proc/net/{protocol}"))?;
    let v6 = fs::read_to_string(format!("/proc/net/{protocol}6"));
    table.push_str(&v6.unwrap_or_default());
    Ok(table)
}

/// `Documentation/networking/proc_net_tcp.rst`.
fn parse(line: &str) -> Option<Tcp> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = endpoint(fields.next()?)?;
    let remote = endpoint(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (unsent, unread) = fields.next()?.split_once(':')?;
    Some(Tcp {
        state,
        local,
        remote,
        unread: u32::from_str_radix(unread, 16).ok()?,
        unsent: u32::from_str_radix(unsent, 16).ok()?,
        user: fields.nth(2)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
        received: None,
    })
}

/// The table has each 32 bits of an address in the machine's byte order.
fn endpoint(field: &str) -> Option<(IpAddr, u16)> {
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
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_tables_name_our_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = held_by(Pid::own()).unwrap();
        let found = listeners()
            .unwrap()
            .into_iter()
            .find(|l| l.port == Some(port))
            .unwrap();
        assert!(held.contains(&found.inode));
        assert_eq!(
            found.user,
            Some(std::fs::metadata("/proc/self").unwrap().uid())
        );
    }

    #[test]
    fn the_tables_name_our_own_unix_listener() {
        let path = std::env::temp_dir().join(format!("drainit-test-{}.sock", std::process::id()));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let held = held_by(Pid::own()).unwrap();
        let listeners = listeners().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            listeners
                .iter()
                .any(|l| l.port.is_none() && held.contains(&l.inode))
        );
    }

    #[test]
    fn addresses_are_read_in_each_form() {
        for (field, address) in [
            ("0101007F:0050", "127.0.1.1"),
            ("00000000000000000000000001000000:0050", "::1"),
            ("0000000000000000FFFF0000020011AC:0050", "172.17.0.2"),
        ] {
            assert_eq!(
                endpoint(field),
                Some((address.parse().unwrap(), 80)),
                "{field}"
            );
        }
        assert_eq!(endpoint("0101007F"), None);
        assert_eq!(endpoint("01:0050"), None);
    }

    #[test]
    fn both_ways_to_see_tcp_tell_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = sock_diag::tcp(&[LISTEN], Detail::Usual).unwrap();
        let asked = asked
            .into_iter()
            .find(|socket| socket.local.1 == port)
            .unwrap();
        let read = table("tcp")
            .unwrap()
            .lines()
            .filter_map(parse)
            .find(|s| s.local.1 == port);
        // Of a listening socket sock_diag gives the limit of its queue there.
        let expected = Tcp {
            received: None,
            unsent: 0,
            ..asked
        };
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn clients_are_silent_until_one_has_sent() {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!are_silent(&[address.port()]), "nobody is there");
        let mut clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
        assert!(are_silent(&[address.port()]));
        clients[0].write_all(b"G").unwrap();
        let (server, _) = listener.accept().unwrap();
        server.peek(&mut [0]).unwrap();
        assert!(!are_silent(&[address.port()]));
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
}
