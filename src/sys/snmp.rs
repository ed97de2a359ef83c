//! What the kernel counts in our network namespace, whosever sockets they are:
//! /proc/net/snmp.

use std::fs;
use std::io;
use std::path::Path;

/// Counts since the network namespace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections that came in and were established: `PassiveOpens`.
    pub accepted: u64,
    /// TCP resets that were sent, one for each connection that is refused, or cut:
    /// `OutRsts`.
    pub resets: u64,
    /// UDP datagrams that somebody here received: `InDatagrams`.
    pub datagrams: u64,
}

impl Counters {
    /// Those of now.
    pub fn read() -> io::Result<Self> {
        let snmp = fs::read_to_string("/proc/net/snmp")?;
        let snmp6 = match fs::read_to_string("/proc/net/snmp6") {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        Self::parse(&snmp, &snmp6).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// TCP's are those of IPv6, too.
    fn parse(snmp: &str, snmp6: &str) -> Option<Self> {
        let datagrams: u64 = count(snmp, "Udp:", "InDatagrams")?;
        let mut lines6 = snmp6.lines().map(str::split_ascii_whitespace);
        let datagrams6 = match lines6.find_map(|mut line| {
            (line.next() == Some("Udp6InDatagrams")).then(|| line.next()?.parse().ok())
        }) {
            Some(datagrams) => datagrams?,
            None => 0,
        };
        Some(Self {
            accepted: count(snmp, "Tcp:", "PassiveOpens")?,
            resets: count(snmp, "Tcp:", "OutRsts")?,
            datagrams: datagrams.wrapping_add(datagrams6),
        })
    }
}

/// Whether our network namespace is the one that the machine has begun with: its host's,
/// where others are at home. The kernel shows `dev_weight` nowhere else (`net_core_table` of
/// its `net/core/sysctl_net_core.c`), and `somaxconn` everywhere.
pub fn is_initial_namespace() -> io::Result<bool> {
    let core = Path::new("/proc/sys/net/core");
    if !core.join("somaxconn").try_exists()? {
        return Err(io::ErrorKind::NotFound.into());
    }
    core.join("dev_weight").try_exists()
}

/// Of each protocol there is a line of names, and one of values below it.
fn count(snmp: &str, protocol: &str, name: &str) -> Option<u64> {
    let lines = snmp.lines().map(str::split_ascii_whitespace);
    let mut its = lines.filter_map(|mut line| (line.next() == Some(protocol)).then_some(line));
    let (names, values) = (its.next()?, its.next()?);
    let (_, value) = names.zip(values).find(|(its, _)| *its == name)?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens OutRsts
Tcp: 1 -1 7 42 9
Udp: InDatagrams NoPorts
Udp: 5 1
UdpLite: InDatagrams NoPorts
UdpLite: 100 1
";

    #[test]
    fn each_count_is_found_by_its_name() {
        let snmp6 = "Ip6InReceives  \t1\nUdp6InDatagrams \t6\n";
        let counters = |datagrams| Counters {
            accepted: 42,
            resets: 9,
            datagrams,
        };
        assert_eq!(Counters::parse(SNMP, snmp6), Some(counters(11)));
        assert_eq!(Counters::parse(SNMP, ""), Some(counters(5)));
    }

    #[test]
    fn what_is_missing_is_not_zero() {
        for wrong in [
            SNMP.replace("OutRsts", "OutCsts"),
            SNMP.replace("Tcp: 1 -1 7 42 9\n", ""),
            SNMP.replace(" 42 9", " 42"),
            SNMP.replace("42", "x"),
            String::new(),
        ] {
            assert_eq!(Counters::parse(&wrong, ""), None, "{wrong}");
        }
        assert_eq!(Counters::parse(SNMP, "Udp6InDatagrams x"), None);
    }

    #[test]
    fn what_comes_and_what_is_refused_is_counted() {
        let before = Counters::read().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = (TcpStream::connect(address), listener.accept());
        drop((listener, client, server));
        while TcpStream::connect(address).is_ok() {}
        let receiver = UdpSocket::bind("[::1]:0").unwrap();
        let sender = UdpSocket::bind("[::1]:0").unwrap();
        sender
            .send_to(b"x", receiver.local_addr().unwrap())
            .unwrap();
        receiver.recv(&mut [0]).unwrap();
        let after = Counters::read().unwrap();
        assert!(after.accepted > before.accepted);
        assert!(after.resets > before.resets);
        assert!(after.datagrams > before.datagrams);
    }

    /// Kernel threads are in the machine's own, where they can be seen.
    #[test]
    fn the_machines_own_namespace_is_told_from_others() {
        const ALONE: &str = "DRAINIT_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            assert!(!is_initial_namespace().unwrap());
            return;
        }
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let is_kthreadd = fs::read_to_string("/proc/2/comm").is_ok_and(|it| it == "kthreadd\n");
        if is_kthreadd {
            let is_initial = of("self") == of("2");
            assert_eq!(is_initial_namespace().unwrap(), is_initial);
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let test = format!("{module}::the_machines_own_namespace_is_told_from_others");
        let mut other = Command::new("unshare");
        other.arg("--net").arg(std::env::current_exe().unwrap());
        let other = other.args(["--exact", &test]).env(ALONE, "1").output();
        let said = String::from_utf8(other.unwrap().stdout).unwrap();
        assert!(said.contains("1 passed"), "{said}");
    }

    proptest! {
        #[test]
        fn no_text_panics(snmp in "((Tcp|Udp): |[ -z\n]{0,9}){0,9}", snmp6 in "(Udp6InDatagrams|[ -z\n]){0,9}") {
            let _ = Counters::parse(&snmp, &snmp6);
        }
    }
}
