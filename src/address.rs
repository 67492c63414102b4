//! Where a peer is, or where we are: one type for every kind of stream.
//!
//! It does not resolve names (that blocks) and does not know sockets. Read next: `socket.rs`.

use std::fmt;
use std::net::SocketAddr;

/// The address of one end of a connection, or of a listener.
///
/// Prints as one would type it: `127.0.0.1:6666`, `[::1]:6666`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IPv4 or IPv6 address and port.
    Ip(SocketAddr),
}

impl Address {
    /// The IP address and port, if this is one.
    #[must_use]
    #[allow(clippy::unnecessary_wraps, reason = "other kinds of address follow")]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(addr) => Some(*addr),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address::Ip(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(addr) => addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_is_typed() {
        for text in ["127.0.0.1:6666", "[::1]:80"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(addr).to_string(), text);
            assert_eq!(Address::from(addr).ip(), Some(addr));
        }
    }
}
