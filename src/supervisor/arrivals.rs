//! What comes to us during the lame duck: told from two looks at what the kernel
//! counts.

use crate::core::event::Arrivals;
use crate::sys::snmp::Counters;
use crate::sys::sockets::Heard;

/// What had come when that was looked at.
#[derive(Debug)]
pub(super) struct Came {
    counters: Counters,
    /// In the order of their ends.
    connections: Vec<Heard>,
}

impl Came {
    /// `connections` are those to our ports. They must have been looked at before the
    /// counters: a connection that comes in between is counted now, and is none that
    /// was there before at the next look.
    pub(super) fn new(mut connections: Vec<Heard>, counters: Counters) -> Self {
        connections.sort_unstable_by_key(|it| it.ends);
        Self {
            counters,
            connections,
        }
    }

    /// What has come since an earlier look. Of a connection that was accepted since,
    /// nothing else counts: who connects is about to send.
    pub(super) fn since(&self, before: &Self, hears_udp: bool) -> Option<Arrivals> {
        let new = |count: fn(&Counters) -> u64| {
            count(&self.counters).saturating_sub(count(&before.counters))
        };
        let accepted = new(|counters| counters.accepted);
        let datagrams = if hears_udp {
            new(|counters| counters.datagrams)
        } else {
            0
        };
        let were_there = |it: &&Heard| {
            let same = before
                .connections
                .binary_search_by_key(&it.ends, |it| it.ends);
            let before = same.ok().and_then(|at| before.connections.get(at));
            before.is_some_and(|before| before.bytes < it.bytes)
        };
        // One more than one makes no difference.
        let heard = self.connections.iter().filter(were_there).take(2);
        match accepted + datagrams + heard.map(|_| 1).sum::<u64>() {
            0 => None,
            1 => Some(Arrivals::One),
            _ => Some(Arrivals::Many),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    /// After so many accepted connections and datagrams. Of connections the client's
    /// port and what was received.
    fn came(accepted: u64, datagrams: u64, connections: &[(u16, u64)]) -> Came {
        let heard = connections.iter().map(|(port, bytes)| Heard {
            ends: ((HOST, 80), (HOST, *port)),
            bytes: *bytes,
        });
        let counters = Counters {
            accepted,
            resets: 0,
            datagrams,
        };
        Came::new(heard.collect(), counters)
    }

    #[test]
    fn each_connection_that_was_accepted_or_has_sent_counts_once() {
        let before = || came(10, 5, &[(3, 100), (1, 0), (2, 7)]);
        for (now, expected) in [
            (before(), None),
            (came(11, 5, &[]), Some(Arrivals::One)),
            (came(12, 5, &[]), Some(Arrivals::Many)),
            // The new one has sent, too.
            (came(11, 5, &[(4, 90), (1, 0)]), Some(Arrivals::One)),
            (
                came(10, 5, &[(1, 0), (2, 8), (3, 100)]),
                Some(Arrivals::One),
            ),
            (came(10, 5, &[(1, 900), (2, 7)]), Some(Arrivals::One)),
            (
                came(10, 5, &[(2, 8), (1, 1), (3, 101)]),
                Some(Arrivals::Many),
            ),
            (came(11, 5, &[(2, 8), (4, 90)]), Some(Arrivals::Many)),
            // Seen open first in the look before, and counted then.
            (came(10, 5, &[(4, 90)]), None),
            // Others' datagrams.
            (came(10, 9, &[]), None),
        ] {
            assert_eq!(now.since(&before(), false), expected, "{now:?}");
        }
    }

    #[test]
    fn datagrams_count_where_we_listen_for_them() {
        let before = came(10, 5, &[]);
        for (now, expected) in [
            (came(10, 5, &[]), None),
            (came(10, 6, &[]), Some(Arrivals::One)),
            (came(11, 6, &[]), Some(Arrivals::Many)),
        ] {
            assert_eq!(now.since(&before, true), expected, "{now:?}");
        }
    }
}
