//! Where a peer is, or where we are: one type for every kind of socket.
//!
//! It does not resolve names (that blocks) and does not know sockets. Read next: `socket.rs`.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;

/// The address of one end of a connection, of a listener, or of a datagram socket.
///
/// Prints as one would type it: `127.0.0.1:6666`, `[::1]:6666`, `unix:/run/server.sock`,
/// `unix:@name`; the peer of a Unix socket is mostly `unix:(unnamed)`. Bytes of an abstract name that
/// are no printable ASCII, its quotes and its backslashes print as in a byte string of Rust: `\x00`,
/// `\n`, `\\`. What is printed is read as the same address, but for `unix:(unnamed)` and paths that
/// are not UTF-8. There are no host names here: resolving one blocks.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use wouldblock::Address;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tcp = Address::from("127.0.0.1:6666".parse::<SocketAddr>()?);
/// assert_eq!(tcp, "127.0.0.1:6666".parse()?);
/// assert_eq!(Address::unix("/run/server.sock"), "unix:/run/server.sock".parse()?);
/// assert_eq!(Address::abstract_name("server"), "unix:@server".parse()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The Unix socket at this path. Whether it fits in a socket address (107 bytes, unix(7)) shows
    /// when it is used.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Address::Unix(path.as_ref().into())
    }

    /// The Unix socket of this name in Linux's abstract namespace (unix(7)).
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Address::Abstract(name.as_ref().into())
    }

    /// The IP address and port, if this is one.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(addr) => Some(*addr),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address::Ip(addr)
    }
}

/// Reads what an [`Address`] prints, without looking anything up.
impl FromStr for Address {
    type Err = io::Error;

    /// Reads `IP:PORT`, `unix:PATH` or `unix:@NAME`. The file `@x` is `unix:./@x`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for anything else: a host's name, or in a `NAME` a backslash that begins no
    /// escape.
    fn from_str(text: &str) -> io::Result<Self> {
        match text.strip_prefix("unix:") {
            Some("" | "@") | None => {}
            Some(path) => {
                let Some(name) = path.strip_prefix('@') else { return Ok(Address::unix(path)) };
                return unescape(name).map(Address::abstract_name);
            }
        }
        text.parse().map(Address::Ip).map_err(|_| {
            let what = format!("{text}: expected IP:PORT, unix:PATH or unix:@NAME");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })
    }
}

/// The bytes of an abstract name as it prints: those that `escape_ascii` was given.
pub(crate) fn unescape(name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, others @ ..] = rest {
        let (byte, others) = match others {
            _ if *first != b'\\' => (*first, others),
            [b't', others @ ..] => (b'\t', others),
            [b'r', others @ ..] => (b'\r', others),
            [b'n', others @ ..] => (b'\n', others),
            [b'x', high, low, others @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, others),
                _ => return Err(no_escape(name)),
            },
            [same @ (b'\\' | b'\'' | b'"'), others @ ..] => (*same, others),
            _ => return Err(no_escape(name)),
        };
        bytes.push(byte);
        rest = others;
    }
    Ok(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn no_escape(name: &str) -> io::Error {
    let what = format!("@{name}: a backslash is \\\\, and other bytes are like \\x00");
    io::Error::new(io::ErrorKind::InvalidInput, what)
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
            // Behind `unix:` an `@` means the abstract namespace.
            Address::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => {
                write!(f, "unix:./{}", path.display())
            }
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("unix:(unnamed)"),
        }
    }
}

/// Why there is no connection: with the address, and the cause as its source.
#[derive(Debug)]
struct CannotConnect {
    address: Address,
    cause: io::Error,
}

/// The error of a connect, for a person: of the cause's kind, and with it as its source, where its
/// OS code is still to be had (an `io::Error` has no place for a code and words of ours).
pub(crate) fn cannot_connect(address: Address, cause: io::Error) -> io::Error {
    let kind = match cause.kind() {
        // What connect(2) says when there is no room, and no event follows: not "later" to anybody.
        io::ErrorKind::WouldBlock => io::ErrorKind::ResourceBusy,
        kind => kind,
    };
    io::Error::new(kind, CannotConnect { address, cause })
}

impl fmt::Display for CannotConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CannotConnect { address, cause } = self;
        write!(f, "cannot connect to {address}: ")?;
        if cause.kind() == io::ErrorKind::WouldBlock && address.ip().is_none() {
            f.write_str("its backlog is full: ")?;
        }
        cause.fmt(f)
    }
}

impl Error for CannotConnect {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
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
        for text in ["127.0.0.1:6666", "[::1]:80", "unix:/run/a.sock", "unix:a", "unix:@name"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "unix:@", "localhost:80", "127.0.0.1", ":80"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert_eq!(error, format!("{text}: expected IP:PORT, unix:PATH or unix:@NAME"));
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

    /// Promise 7: a person reads where and why, a program finds the code.
    #[test]
    fn the_error_of_a_connect_names_the_address_and_keeps_the_code() {
        let cause = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        let (kind, code) = (cause.kind(), cause.raw_os_error());
        let error = cannot_connect(Address::abstract_name("x"), cause);
        assert_eq!(error.kind(), kind);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot connect to unix:@x: Connection refused (os err"),
            "{text}"
        );
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.unwrap().raw_os_error(), code);
    }

    /// Promise 4: an address of any kind costs a connection no more than the one of IPv6.
    #[test]
    fn an_address_is_small() {
        assert!(size_of::<Address>() <= 32);
    }
}
