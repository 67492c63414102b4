//! Networks in CIDR notation, and whether a peer is in one.

use std::io;
use std::net::IpAddr;

use wouldblock::Address;

/// Peers whose word is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// All addresses that have the first `prefix` bits of this one. The rest of it is zero; an IPv4
    /// address is never written as one of IPv6.
    Ip { base: IpAddr, prefix: u8 },
    /// All peers on Unix sockets.
    Unix,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8`, an address alone, or `unix`.
    pub(crate) fn parse(text: &str) -> io::Result<Network> {
        let refuse = |why: &str| {
            let what = format!("{text:?} is no network: {why}");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        };
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip
            .parse()
            .map_err(|_| refuse("expected such as 10.0.0.0/8, fd00::/8, 192.0.2.7 or unix"))?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => {
                prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(|| {
                    refuse(&format!("behind / stands the length of its prefix, 0 to {longest}"))
                })?
            }
        };
        let (base, prefix) = match ip.to_canonical() {
            // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
            IpAddr::V4(v4) if ip.is_ipv6() && prefix >= 96 => (IpAddr::V4(v4), prefix - 96),
            _ => (ip, prefix),
        };
        if mask(base, prefix) != base {
            // Meant was perhaps the address alone, perhaps all of the network.
            return Err(refuse(&format!("{}/{prefix}, or {base}?", mask(base, prefix))));
        }
        Ok(Network::Ip { base, prefix })
    }

    pub(crate) fn contains(&self, peer: &Address) -> bool {
        match (self, peer) {
            (Network::Unix, Address::Unix(_) | Address::Abstract(_) | Address::Unnamed) => true,
            (Network::Ip { base, prefix }, Address::Ip(peer)) => {
                let ip = peer.ip().to_canonical();
                ip.is_ipv4() == base.is_ipv4() && mask(ip, *prefix) == *base
            }
            _ => false,
        }
    }
}

/// Its first `prefix` bits, the others zero.
fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, peer: &str) -> bool {
        Network::parse(network).unwrap().contains(&peer.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2:1", "11.0.0.0:1"),
            ("192.0.2.128/25", "192.0.2.128:1", "192.0.2.127:1"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.6:1"),
            ("fd00::/8", "[fdff::1]:1", "[fc00::1]:1"),
            ("2001:db8::1", "[2001:db8::1]:1", "[2001:db8::2]:1"),
            ("0.0.0.0/0", "255.255.255.255:1", "[::1]:1"),
            ("::/0", "[::1]:1", "10.0.0.1:1"),
            ("unix", "unix:(unnamed)", "127.0.0.1:1"),
            ("unix", "unix:@name", "[::1]:1"),
            ("127.0.0.0/8", "127.0.0.1:1", "unix:/run/x"),
        ] {
            assert!(contains(network, inside), "{network} has {inside}");
            assert!(!contains(network, outside), "{network} has not {outside}");
        }
    }

    /// A listener on `[::]` sees an IPv4 peer as `::ffff:a.b.c.d`: it is the same peer.
    #[test]
    fn an_ipv4_mapped_address_is_that_of_ipv4() {
        assert!(contains("10.0.0.0/8", "[::ffff:10.1.2.3]:1"));
        assert!(!contains("::/0", "[::ffff:10.1.2.3]:1"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3:1"));
        assert!(contains("::ffff:10.1.2.3", "10.1.2.3:1"));
        assert!(!contains("::ffff:10.0.0.0/104", "11.0.0.1:1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_text() {
        for (text, words) in [
            ("", "expected such as"),
            ("localhost", "expected such as"),
            ("10.0.0.0:80", "expected such as"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("10.1.2.3/8", "10.0.0.0/8, or 10.1.2.3?"),
            ("fd00::1/64", "fd00::/64, or fd00::1?"),
        ] {
            let error = Network::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no network: ")), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }
}
