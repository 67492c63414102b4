//! An address in 24 bytes, as each connection keeps one: an [`Address`] takes 32.
//!
//! IPv4, IPv6 without a flow label and a scope (all that is routed), and peers without a name lie here
//! themselves. The others, such as `fe80::1%eth0` or a path, are behind a pointer. Read next: `address.rs`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::base::address::Address;

/// An [`Address`], packed.
pub(crate) struct Packed(Form);

enum Form {
    V4(Ipv4Addr, u16),
    V6(Ipv6Addr, u16),
    Unnamed,
    Other(Box<Address>),
}

impl Packed {
    pub(crate) fn address(&self) -> Address {
        match &self.0 {
            Form::V4(ip, port) => Address::Ip(SocketAddrV4::new(*ip, *port).into()),
            Form::V6(ip, port) => Address::Ip(SocketAddrV6::new(*ip, *port, 0, 0).into()),
            Form::Unnamed => Address::Unnamed,
            Form::Other(address) => (**address).clone(),
        }
    }
}

impl From<Address> for Packed {
    fn from(address: Address) -> Self {
        Packed(match address {
            Address::Ip(SocketAddr::V4(addr)) => Form::V4(*addr.ip(), addr.port()),
            Address::Ip(SocketAddr::V6(addr)) if addr.flowinfo() == 0 && addr.scope_id() == 0 => {
                Form::V6(*addr.ip(), addr.port())
            }
            Address::Unnamed => Form::Unnamed,
            Address::Ip(_) | Address::Unix(_) | Address::Abstract(_) => {
                Form::Other(Box::new(address))
            }
        })
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 4: what a connection keeps of its peer's address is small, and the whole of it.
    #[test]
    fn a_packed_address_is_small_and_comes_back_whole() {
        assert_eq!(size_of::<Packed>(), 24);
        let scoped = |flow, scope| SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, flow, scope).into();
        let unpackable =
            [Address::Ip(scoped(1, 0)), Address::Ip(scoped(0, 1)), "unix:/a".parse().unwrap()];
        let packable = ["192.0.2.1:65535", "[2001:db8::1]:1", "unix:@a", "unix:(unnamed)"];
        for address in packable.map(|text| text.parse().unwrap()).into_iter().chain(unpackable) {
            let packed = Packed::from(address.clone());
            assert_eq!(packed.address(), address);
            assert_eq!(packed.to_string(), address.to_string());
        }
    }
}
