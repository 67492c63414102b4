//! Where a peer is, or where we are: one type for every kind of socket.
//!
//! It does not resolve names (that blocks) and does not know sockets. Read next: `net/socket.rs`.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use crate::base::one_line::{OneLine, write_char};

/// The address of one end of a connection, of a listener, or of a datagram socket.
///
/// Prints as one would type it: `127.0.0.1:6666`, `[::1]:6666`, `unix:/run/server.sock`,
/// `unix:@name`; the peer of a Unix socket is mostly `unix:(unnamed)`. A peer may choose any bytes for
/// its name, so bytes of it that would not show print as in a byte string of Rust: `\x00`, `\n`, and
/// `\\` for a backslash. In a path these are what is not printable; in an abstract name all that is no
/// printable ASCII, and the quotes. An address is always one line.
///
/// What is printed is read as the same address, here, by [`Listen`](crate::Listen) and by
/// [`Bind`](crate::Bind). (A path that begins with `@`, or is `(unnamed)`, prints with `./` before it:
/// the same file.) There are no host names here: resolving one blocks.
///
/// The scope of an IPv6 address is the number of an interface, `[fe80::1%2]:6666`, not its name:
/// `ip link` lists both, and `if_nametoindex(3)` gives the number of a name (in Rust
/// `rustix::net::netdevice::name_to_index`).
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
/// assert_eq!("[fe80::1%2]:6666".parse::<Address>()?.to_string(), "[fe80::1%2]:6666");
/// assert!("[fe80::1%lo]:6666".parse::<Address>().is_err());
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
    /// The Unix socket at this path, which is taken as it is: no escapes. Whether it fits in a socket
    /// address (unix(7): 107 bytes to bind, 108 to send to) shows when it is used.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Address::Unix(path.as_ref().into())
    }

    /// The Unix socket of this name in Linux's abstract namespace (unix(7)).
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Address::Abstract(name.as_ref().into())
    }

    /// All addresses of a name: `"host:port"`, or what an address is read from. Blocks, for seconds if a
    /// name server is down: for `main`, before the reactor runs. In a callback,
    /// [`Handle::resolve`](crate::Handle::resolve) does it on a thread.
    ///
    /// # Errors
    ///
    /// What the system says of the name, which the error names; `NotFound` if it has no address.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::Address;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// for address in Address::resolve("localhost:80")? {
    ///     println!("{address}"); // such as 127.0.0.1:80
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolve(name: &str) -> io::Result<Vec<Address>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot resolve {}: {error}", OneLine(name)))
        };
        if name.starts_with("unix:") {
            return name.parse().map(|address| vec![address]).map_err(named);
        }
        let found: Vec<_> = name.to_socket_addrs().map_err(named)?.map(Address::from).collect();
        if found.is_empty() {
            return Err(named(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
        }
        Ok(found)
    }

    /// The IP address, without the port. `None` for a Unix socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::Address;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let address: Address = "127.0.0.1:6666".parse()?;
    /// assert!(address.ip().is_some_and(|ip| ip.is_loopback()));
    /// assert_eq!(address.port(), Some(6666));
    /// assert_eq!(Address::unix("/run/server.sock").ip(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        Some(self.socket_addr()?.ip())
    }

    /// The port. `None` for a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        Some(self.socket_addr()?.port())
    }

    /// The IP address and port. `None` for a Unix socket.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
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

    /// Reads `IP:PORT`, `unix:PATH`, `unix:@NAME` or `unix:(unnamed)`. In a `PATH` or a `NAME` a
    /// backslash begins an escape: `\\`, `\t`, `\r`, `\n`, `\'`, `\"` or `\x` and two hexadecimal
    /// digits, a byte. The file `@x` is `unix:./@x`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for anything else: a host's name, or a backslash that begins no escape.
    fn from_str(text: &str) -> io::Result<Self> {
        match text.strip_prefix("unix:") {
            Some("") | None => {}
            Some("(unnamed)") => return Ok(Address::Unnamed),
            Some(path) => {
                return match path.strip_prefix('@') {
                    Some(name) => unescape(name).map(Address::abstract_name),
                    None => unescape(path).map(|path| Address::unix(OsStr::from_bytes(&path))),
                };
            }
        }
        text.parse().map(Address::Ip).map_err(|_| {
            let text = OneLine(text);
            let what = format!("{text}: expected IP:PORT, unix:PATH or unix:@NAME");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })
    }
}

/// The bytes that a path or a name stands for.
fn unescape(name: &str) -> io::Result<Vec<u8>> {
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

/// Writes a path so that it is one line, and [`unescape`] reads the same bytes.
fn escape(path: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in path.utf8_chunks() {
        chunk.valid().chars().try_for_each(|char| write_char(char, f))?;
        write!(f, "{}", chunk.invalid().escape_ascii())?;
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn no_escape(name: &str) -> io::Error {
    let name = OneLine(name);
    let what = format!("{name}: a backslash is \\\\, and other bytes are like \\x00");
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// So that a client connects to what [`Reactor::listener_addr`](crate::Reactor::listener_addr) answered.
impl ToSocketAddrs for Address {
    type Iter = std::option::IntoIter<SocketAddr>;

    /// # Errors
    ///
    /// `InvalidInput` for the address of a Unix socket.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let not_ip =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{self} is no IP address"));
        Ok(Some(self.socket_addr().ok_or_else(not_ip)?).into_iter())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(addr) => addr.fmt(f),
            Address::Unix(path) => {
                let path = path.as_os_str().as_bytes();
                // Behind `unix:` these mean something else.
                let is_taken = path.starts_with(b"@") || path == b"(unnamed)";
                f.write_str(if is_taken { "unix:./" } else { "unix:" })?;
                escape(path, f)
            }
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
        // What connect(2) says when there is no room. No event follows, so it does not mean "later".
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
        OneLine(cause).fmt(f)
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
            let address = Address::from(addr);
            assert_eq!(address.socket_addr(), Some(addr));
            assert_eq!((address.ip(), address.port()), (Some(addr.ip()), Some(addr.port())));
        }
        for text in ["127.0.0.1:6666", "[::1]:80", "unix:/run/a.sock", "unix:a", "unix:@name"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:80", "127.0.0.1", ":80"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert_eq!(error, format!("{text}: expected IP:PORT, unix:PATH or unix:@NAME"));
        }
        let path = Address::Unix(Path::new("/run/a.sock").into());
        assert_eq!(path.to_string(), "unix:/run/a.sock");
        assert_eq!(Address::Abstract(b"a\0b"[..].into()).to_string(), "unix:@a\\x00b");
        assert_eq!((path.ip(), path.port(), path.socket_addr()), (None, None, None));
        // A peer may have it (unix(7)): a zero byte and nothing behind it.
        assert_eq!("unix:@".parse::<Address>().unwrap(), Address::abstract_name(""));
        assert_eq!("unix:(unnamed)".parse::<Address>().unwrap(), Address::Unnamed);
    }

    /// Promise 7: a peer chooses its path; in a log it is one line, and what is printed is read back.
    #[test]
    fn a_path_of_any_bytes_prints_as_one_line_and_is_read_back() {
        for (path, printed) in [
            (&b"/run/a\nERROR forged"[..], r"unix:/run/a\nERROR forged"),
            (b"/\x1b[2J\r\t\x7f", r"unix:/\x1b[2J\r\t\x7f"),
            // A next line, a line separator, and what turns the text around.
            ("/\u{85}\u{2028}\u{202e}".as_bytes(), r"unix:/\xc2\x85\xe2\x80\xa8\xe2\x80\xae"),
            (b"/\xff\xc3", r"unix:/\xff\xc3"),
            (br"/a\b", r"unix:/a\\b"),
            ("/h\u{e9} it's \"so\"".as_bytes(), "unix:/h\u{e9} it's \"so\""),
        ] {
            let path = Address::unix(OsStr::from_bytes(path));
            assert_eq!(path.to_string(), printed);
            assert_eq!(printed.parse::<Address>().unwrap(), path);
        }
        for (path, same) in [("@x", "./@x"), ("(unnamed)", "./(unnamed)")] {
            let printed = Address::unix(path).to_string();
            assert_eq!(printed, format!("unix:{same}"));
            assert_eq!(printed.parse::<Address>().unwrap(), Address::unix(same));
        }
        assert_eq!(
            r"unix:/a\b".parse::<Address>().unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn an_ip_address_can_be_connected_to_and_a_path_says_that_it_is_none() {
        let addr: SocketAddr = "127.0.0.1:6666".parse().unwrap();
        let found: Vec<_> = Address::from(addr).to_socket_addrs().unwrap().collect();
        assert_eq!(found, [addr]);
        let error = Address::Unnamed.to_socket_addrs().unwrap_err();
        assert_eq!(error.to_string(), "unix:(unnamed) is no IP address");
    }

    #[test]
    fn an_address_resolves_to_itself_and_an_error_names_the_name() {
        for text in ["127.0.0.1:80", "unix:/run/x", "unix:@x"] {
            assert_eq!(Address::resolve(text).unwrap(), [text.parse().unwrap()]);
        }
        let error = Address::resolve("no port").unwrap_err().to_string();
        assert!(error.starts_with("cannot resolve no port: "), "{error}");
        // No name of a host, whatever stands behind its last colon.
        let error = Address::resolve(r"unix:/a\b:80").unwrap_err().to_string();
        assert_eq!(
            error,
            r"cannot resolve unix:/a\b:80: /a\b:80: a backslash is \\, and other bytes are like \x00"
        );
    }

    /// Promise 7: a name may be one that a peer asked for; what is said of it is one line.
    #[test]
    fn the_error_of_a_name_is_one_line() {
        let name = "host\nERROR forged";
        let error = name.parse::<Address>().unwrap_err().to_string();
        assert_eq!(error, r"host\nERROR forged: expected IP:PORT, unix:PATH or unix:@NAME");
        let error = Address::resolve(name).unwrap_err().to_string();
        assert!(error.starts_with(r"cannot resolve host\nERROR forged: "), "{error}");
        let error = "unix:a\n\\".parse::<Address>().unwrap_err().to_string();
        assert!(error.starts_with(r"a\n\: a backslash is"), "{error}");
        let error = cannot_connect(Address::Unnamed, io::Error::other("a\nb")).to_string();
        assert_eq!(error, r"cannot connect to unix:(unnamed): a\nb");
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
