//! The sockets of our network namespace, as /proc/net shows them, and which
//! process holds them.

use std::fs;
use std::io;

use crate::sys::process::Pid;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its inode, by which a process's descriptor names it.
    pub inode: u64,
    /// Its port; `None` for a unix socket.
    pub port: Option<u16>,
    /// Whose it is; `None` for a unix socket, where the table doesn't say.
    pub user: Option<u32>,
}

/// In /proc/net/tcp: `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTEN: &str = "0A";

/// In /proc/net/unix: `__SO_ACCEPTCON` of `include/uapi/linux/net.h`.
const ACCEPTS_CONNECTIONS: &str = "00010000";

/// All that listen, TCP and unix.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let tcp = tcp()?
        .into_iter()
        .filter(|socket| socket.state == LISTEN)
        .map(|socket| Listener {
            inode: socket.inode,
            port: Some(socket.local.1),
            user: Some(socket.user),
        });
    let table = fs::read_to_string("/proc/net/unix")?;
    let unix = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let flags = fields.next()?;
        let inode = fields.nth(2)?.parse().ok()?;
        (flags == ACCEPTS_CONNECTIONS).then_some(Listener {
            inode,
            port: None,
            user: None,
        })
    });
    Ok(tcp.chain(unix).collect())
}

/// The inodes of the sockets that a process has open.
pub fn held_by(pid: Pid) -> io::Result<Vec<u64>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(descriptors
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect())
}

/// How many bytes the kernel still has to send, or to see acknowledged, on
/// connections to these local ports whose other end is outside.
pub fn unsent(ports: &[u16]) -> u64 {
    tcp()
        .unwrap_or_default()
        .iter()
        .filter(|socket| {
            let inside = socket.local.0 == socket.remote.0 || is_loopback(&socket.remote.0);
            socket.state != LISTEN && ports.contains(&socket.local.1) && !inside
        })
        .map(|socket| socket.unsent)
        .sum()
}

struct Tcp {
    state: String,
    local: (String, u16),
    remote: (String, u16),
    unsent: u64,
    user: u32,
    inode: u64,
}

/// `Documentation/networking/proc_net_tcp.rst`. There may be no IPv6.
fn tcp() -> io::Result<Vec<Tcp>> {
    let mut table = fs::read_to_string("/proc/net/tcp")?;
    table.push_str(&fs::read_to_string("/proc/net/tcp6").unwrap_or_default());
    Ok(table.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Tcp> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = endpoint(fields.next()?)?;
    let remote = endpoint(fields.next()?)?;
    let state = fields.next()?.to_owned();
    let (unsent, _) = fields.next()?.split_once(':')?;
    Some(Tcp {
        state,
        local,
        remote,
        unsent: u64::from_str_radix(unsent, 16).ok()?,
        user: fields.nth(2)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
    })
}

fn endpoint(field: &str) -> Option<(String, u16)> {
    let (address, port) = field.split_once(':')?;
    Some((address.to_owned(), u16::from_str_radix(port, 16).ok()?))
}

/// 127.0.0.0/8, `::1`, or the first in the form of the second. The table has
/// each 32 bits of an address in the machine's byte order.
fn is_loopback(address: &str) -> bool {
    let words: Option<Vec<u32>> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect();
    let first_byte = |word: u32| word.to_ne_bytes()[0];
    match words.as_deref() {
        Some([v4]) => first_byte(*v4) == 127,
        Some([0, 0, 0, last]) => u32::from_be(*last) == 1,
        Some([0, 0, marker, v4]) => u32::from_be(*marker) == 0xffff && first_byte(*v4) == 127,
        _ => false,
    }
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
    fn loopback_is_known_in_each_form() {
        for address in [
            "0100007F",
            "0101007F",
            "00000000000000000000000001000000",
            "0000000000000000FFFF00000100007F",
        ] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["010011AC", "00000000000000000000000000000000", ""] {
            assert!(!is_loopback(address), "{address}");
        }
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
        assert_eq!(
            (socket.state.as_str(), socket.user, socket.inode),
            ("04", 0, 0)
        );
    }
}
