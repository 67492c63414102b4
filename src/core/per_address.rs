//! How many connections each address has, for the limit on that.
//!
//! A peer that opens as many connections as there are leaves none to others. So those of one place
//! are counted. A place is an IPv4 address, however it is written (`::ffff:192.0.2.1` is `192.0.2.1`,
//! and so is what a NAT64 makes of it, `64:ff9b::192.0.2.1`, RFC 6052: its /64 is all of IPv4). Or it
//! is a /64 of IPv6, since a customer is given a whole one and could use another address of it for
//! each connection. Peers on Unix sockets have no place. An entry is there only while there is a
//! connection from it.
//! Read next: `accept.rs`, which asks.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::address::Address;

/// Where one party may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

/// The prefix behind which a translator puts an IPv4 address (RFC 6052).
const NAT64: &[u8] = &[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

impl Place {
    fn of(peer: &Address) -> Option<Place> {
        Some(match peer.ip()?.to_canonical() {
            IpAddr::V4(ip) => Place::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                if let (NAT64, ip) = octets.split_at(NAT64.len()) {
                    return ip.first_chunk().map(|ip| Place::V4(*ip));
                }
                Place::V6(*octets.first_chunk().expect("sixteen bytes begin with eight"))
            }
        })
    }
}

/// Connections by the place they come from.
#[derive(Debug, Default)]
pub(crate) struct PerAddress {
    /// No entry is zero. Hashed with a key of its own (`RandomState`): a peer that chooses addresses cannot
    /// make them collide.
    counts: HashMap<Place, usize>,
}

impl PerAddress {
    /// Whether the place this peer comes from has `most` already. A Unix socket's has none.
    pub(crate) fn is_full(&self, peer: &Address, most: usize) -> bool {
        Place::of(peer).is_some_and(|place| self.counts.get(&place).is_some_and(|n| *n >= most))
    }

    pub(crate) fn enter(&mut self, peer: &Address) {
        if let Some(place) = Place::of(peer) {
            *self.counts.entry(place).or_default() += 1;
        }
    }

    /// Whether no connection is counted any more.
    #[allow(dead_code, reason = "asked by the oracle of `sim.rs` alone")]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn leave(&mut self, peer: &Address) {
        let Some(place) = Place::of(peer) else { return };
        let count = self.counts.get_mut(&place).expect("who leaves has entered");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    /// Promise 4, Trap 54: one party is one place, however its address is written.
    #[test]
    fn ipv4_mapped_is_ipv4_and_a_64_of_ipv6_is_one_place() {
        let mut counts = PerAddress::default();
        counts.enter(&at("192.0.2.1:1"));
        counts.enter(&at("[2001:db8:1:2::1]:1"));
        for (peer, is_there) in [
            ("192.0.2.1:2", true),
            ("[::ffff:192.0.2.1]:3", true),
            ("192.0.2.2:1", false),
            ("[2001:db8:1:2:ffff:ffff:ffff:ffff]:4", true),
            ("[2001:db8:1:3::1]:1", false),
            // Deprecated "compatible" addresses are no IPv4.
            ("[::192.0.2.1]:1", false),
            // Behind a NAT64 it is the same host; others are others.
            ("[64:ff9b::192.0.2.1]:5", true),
            ("[64:ff9b::192.0.2.2]:5", false),
            ("[64:ff9b::1:192.0.2.1]:5", false),
            ("unix:/run/x", false),
        ] {
            assert_eq!(counts.is_full(&at(peer), 1), is_there, "{peer}");
            assert!(!counts.is_full(&at(peer), 2), "{peer}");
        }
    }

    /// Promise 4: what is kept for a place goes with its last connection.
    #[test]
    fn a_place_that_all_have_left_is_forgotten() {
        let mut counts = PerAddress::default();
        for port in 1..=3 {
            counts.enter(&at(&format!("192.0.2.1:{port}")));
        }
        counts.enter(&at("unix:/run/x"));
        assert!(counts.is_full(&at("192.0.2.1:9"), 3));
        for port in 1..=3 {
            counts.leave(&at(&format!("[::ffff:192.0.2.1]:{port}")));
        }
        counts.leave(&Address::Unnamed);
        assert!(counts.counts.is_empty());
    }
}
