//! How many connections come too late: to ports of ours that are closed. The kernel
//! counts the resets that a whole network namespace sends, so this is told only where
//! nobody else listens there.

use std::net::{IpAddr, Ipv4Addr};

use super::Supervisor;
use crate::core::event::{Scope, Timestamp};
use crate::core::plan::ServiceId;
use crate::report::record::Refused;
use crate::sys::snmp::{self, Counters};
use crate::sys::sockets::{self, Endpoint, EphemeralPorts, Listener};

/// Where Docker itself listens, for names, in each namespace of a network that a user
/// has made. Somebody else on another loopback address is a neighbour in the pod: of
/// what its end refuses to our own processes we would say that clients came too late.
const DOCKERS_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Who listens in our network namespace, and what it has sent.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Those of the sockets below that processes of services were seen to hold.
    ours: Vec<u64>,
    /// All sockets that were seen to listen by TCP, whosever they are and whether they
    /// still do: a neighbour may be stopped in the same moment.
    everybodys: Vec<u64>,
    count: Count,
}

/// How the count goes.
#[derive(Debug, Default)]
enum Count {
    /// All ports of ours are open, as far as is known.
    #[default]
    NotBegun,
    /// It can't be told.
    Unknown,
    /// A service that listens was asked.
    Begun {
        by: ServiceId,
        since: Timestamp,
        resets: u64,
    },
}

impl Refusals {
    /// Takes note of all that listen, and of the sockets that processes of a service
    /// hold.
    pub(super) fn see(&mut self, listeners: &[Listener], held: &[u64]) {
        for listener in listeners {
            let Endpoint::Tcp(address) = listener.endpoint else {
                continue;
            };
            if address.ip() == DOCKERS_RESOLVER {
                continue;
            }
            let inode = listener.inode;
            if !self.everybodys.contains(&inode) {
                self.everybodys.push(inode);
            }
            if held.contains(&inode) && !self.ours.contains(&inode) {
                self.ours.push(inode);
            }
        }
    }

    fn are_all_ours(&self) -> bool {
        self.everybodys.iter().all(|it| self.ours.contains(it))
    }
}

impl Supervisor {
    /// To be called before a scope is asked: the count begins with the first that
    /// listens by TCP.
    pub(super) fn count_refused_from(&mut self, scope: Scope) {
        let Scope::Service(by) = scope else { return };
        if matches!(self.refusals.count, Count::NotBegun) && self.listens_by_tcp(by) {
            let resets = self.resets_if_alone();
            self.refusals.count = resets.map_or(Count::Unknown, |resets| Count::Begun {
                by,
                since: self.now(),
                resets,
            });
        }
    }

    fn listens_by_tcp(&self, id: ServiceId) -> bool {
        let listeners = self.seen(id).map(|seen| seen.listeners.as_slice());
        let mut listeners = listeners.unwrap_or_default().iter();
        listeners.any(|inode| self.refusals.everybodys.contains(inode))
    }

    /// How many resets were sent so far, if all of those to come are ours.
    fn resets_if_alone(&mut self) -> Option<u64> {
        // Its ports have been closed since.
        let has_ended = |id: ServiceId| self.record.services.get(id)?.status;
        let mut ids = self.mains.ids();
        if ids.any(|id| has_ended(id).is_some() && self.listens_by_tcp(id)) {
            return None;
        }
        self.refusals.see(&sockets::listeners().ok()?, &[]);
        if !self.refusals.are_all_ours() || snmp::is_initial_namespace().ok()? {
            return None;
        }
        // What is left of a neighbour that was stopped before we looked.
        let ephemeral = EphemeralPorts::read();
        let is_others = |port| !self.ports.contains(&port) && !ephemeral.contains(port);
        if sockets::was_connected(is_others).ok()? {
            return None;
        }
        Some(Counters::read().ok()?.resets)
    }

    /// How many came too late until now, where that can be told.
    pub(super) fn refused(&self) -> Option<Refused> {
        let Count::Begun { by, since, resets } = self.refusals.count else {
            return None;
        };
        let count = Counters::read().ok()?.resets.checked_sub(resets)?;
        Some(Refused { count, by, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(inode: u64, endpoint: Endpoint) -> Listener {
        Listener {
            inode,
            endpoint,
            user: None,
            queued: 0,
        }
    }

    fn tcp(inode: u64, address: &str) -> Listener {
        listener(inode, Endpoint::Tcp(address.parse().unwrap()))
    }

    #[test]
    fn we_are_alone_while_every_tcp_listener_is_a_services() {
        let mut refusals = Refusals::default();
        assert!(refusals.are_all_ours());
        let ours = [tcp(1, "0.0.0.0:80"), tcp(2, "[::]:80")];
        refusals.see(&ours, &[2, 1, 7]);
        let others = [
            tcp(3, "127.0.0.11:40000"),
            listener(4, Endpoint::Udp(53)),
            listener(5, Endpoint::Unix),
        ];
        refusals.see(&others, &[]);
        assert!(refusals.are_all_ours());
        for address in ["10.0.0.2:80", "[::1]:80", "127.0.0.1:9000", "127.0.0.12:53"] {
            let mut refusals = Refusals::default();
            refusals.see(&ours, &[1, 2]);
            refusals.see(&[tcp(3, address)], &[1, 2]);
            assert!(!refusals.are_all_ours(), "{address}");
        }
    }

    #[test]
    fn a_neighbour_that_has_gone_is_remembered() {
        let mut refusals = Refusals::default();
        refusals.see(&[tcp(1, "0.0.0.0:80"), tcp(2, "0.0.0.0:81")], &[1]);
        refusals.see(&[tcp(1, "0.0.0.0:80")], &[1]);
        assert!(!refusals.are_all_ours());
    }

    #[test]
    fn a_socket_that_was_seen_before_its_holder_is_ours_all_the_same() {
        let mut refusals = Refusals::default();
        refusals.see(&[tcp(1, "0.0.0.0:80")], &[]);
        refusals.see(&[tcp(1, "0.0.0.0:80")], &[1]);
        assert!(refusals.are_all_ours());
    }
}
