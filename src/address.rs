//! Where a peer is, or where we are: one type for every kind of stream.
//!
//! It does not resolve names (that blocks) and does not know sockets. Read next: `socket.rs`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;

/// The address of one end of a connection, or of a listener.
///
/// Prints as one would type it: `127.0.0.1:6666`, `[::1]:6666`, `unix:/run/server.sock`,
/// `unix:@name`; the peer of a Unix socket is mostly `unix:(unnamed)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IPv4 or IPv6 address and port.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(Box<Path>),
    /// A name in Linux's abstract namespace (unix(7)), without the zero byte before it.
    Abstract(Box<[u8]>),
    /// A Unix socket that was bound to no name: a client, or one of a pair.
    Unnamed,
}

impl Address {
    /// The IP address and port, if this is one.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(addr) => Some(*addr),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => None,
        }
    }
}

/// Reads what an [`Address`] prints, without looking anything up.
impl FromStr for Address {
    type Err = io::Error;

    /// # Errors
    ///
    /// `InvalidInput` for what is neither an IP address with a port nor `unix:PATH` or `unix:@NAME`.
    fn from_str(text: &str) -> io::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(match path.strip_prefix('@') {
                Some(name) => Address::Abstract(name.as_bytes().into()),
                None => Address::Unix(Path::new(path).into()),
            });
        }
        let addr = text.parse().map(Address::Ip);
        addr.map_err(|_| {
            let what = format!("{text} is neither IP:PORT nor unix:PATH");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address::Ip(addr)
    }
}

/// So that a client connects to what [`Reactor::local_addr`](crate::Reactor::local_addr) answered.
impl ToSocketAddrs for Address {
    type Iter = std::option::IntoIter<SocketAddr>;

    /// # Errors
    ///
    /// `InvalidInput` for the address of a Unix socket.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let not_ip =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{self} is no IP address"));
        Ok(Some(self.ip().ok_or_else(not_ip)?).into_iter())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("unix:(unnamed)"),
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
        let path = Address::Unix(Path::new("/run/a.sock").into());
        assert_eq!(path.to_string(), "unix:/run/a.sock");
        assert_eq!(Address::Abstract(b"a\0b"[..].into()).to_string(), "unix:@a\\x00b");
        assert_eq!(path.ip(), None);
    }

    #[test]
    fn an_ip_address_can_be_connected_to_and_a_path_says_that_it_is_none() {
        let addr: SocketAddr = "127.0.0.1:6666".parse().unwrap();
        let found: Vec<_> = Address::from(addr).to_socket_addrs().unwrap().collect();
        assert_eq!(found, [addr]);
        let error = Address::Unnamed.to_socket_addrs().unwrap_err();
        assert_eq!(error.to_string(), "unix:(unnamed) is no IP address");
    }

    /// Promise 4: an address of any kind costs a connection no more than the one of IPv6.
    #[test]
    fn an_address_is_small() {
        assert!(size_of::<Address>() <= 32);
    }
}
