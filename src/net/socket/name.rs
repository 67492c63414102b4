//! The names of sockets: between the bytes of a socket address and an [`Address`].
//!
//! A peer chooses the name of its Unix socket, so what reads one is total: any bytes are some address,
//! and none is a panic. It is the only reader, for what is accepted, received, connected, adopted and
//! bound alike; rustix's and mio's trust that a path has a zero byte behind it, and at the longest,
//! of 108 bytes, it has none (unix(7), "BUGS"). The only writer is here too.

use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

use crate::base::address::Address;

/// The most bytes that a socket address has (`sockaddr_storage`).
const RAW_MAX: usize = 128;

/// Whether there is an abstract namespace (unix(7)).
pub(crate) const ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Where a socket address says that it is. [`Unnamed`](Address::Unnamed) if the bytes are too few for
/// their family, or of a family that is not ours. An IPv6 flow label is no part of where a peer is.
pub(crate) fn read(raw: &[u8]) -> Address {
    let Some((family, rest)) = raw.split_first_chunk::<2>() else { return Address::Unnamed };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let family = u16::from_ne_bytes(*family);
    // The BSDs have a byte for the length before one for the family.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let family = u16::from(family[1]);
    match AddressFamily::from_raw(family) {
        AddressFamily::UNIX => read_unix(rest),
        AddressFamily::INET => read_v4(rest).unwrap_or(Address::Unnamed),
        AddressFamily::INET6 => read_v6(rest).unwrap_or(Address::Unnamed),
        _ => Address::Unnamed,
    }
}

/// `name`: what follows the family. On Linux a path may end without a zero byte, and a name in the
/// abstract namespace is all that follows its zero byte, zero bytes included.
fn read_unix(name: &[u8]) -> Address {
    match name {
        [0, name @ ..] if ABSTRACT_NAMES => Address::Abstract(name.into()),
        [] | [0, ..] => Address::Unnamed,
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Address::unix(OsStr::from_bytes(&path[..end]))
        }
    }
}

fn read_v4(rest: &[u8]) -> Option<Address> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let ip = rest.first_chunk::<4>()?;
    Some(Address::Ip(SocketAddr::from((*ip, u16::from_be_bytes(*port)))))
}

fn read_v6(rest: &[u8]) -> Option<Address> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (_flow, rest) = rest.split_first_chunk::<4>()?;
    let (ip, rest) = rest.split_first_chunk::<16>()?;
    let scope = u32::from_ne_bytes(*rest.first_chunk()?);
    let addr = SocketAddrV6::new(Ipv6Addr::from(*ip), u16::from_be_bytes(*port), 0, scope);
    Some(Address::Ip(addr.into()))
}

/// The socket address of a Unix socket, to connect or to send to. A path may have all 108 bytes here,
/// as a peer's may.
///
/// # Errors
///
/// `InvalidInput`: no name that a Unix socket can have, or no Unix socket's.
pub(crate) fn unix(address: &Address) -> io::Result<SocketAddrUnix> {
    match address {
        // An empty path would be written as an empty name of the abstract namespace.
        Address::Unix(path) if path.as_os_str().is_empty() => {
            Err(invalid("path must not be empty"))
        }
        Address::Unix(path) => SocketAddrUnix::new(&**path).map_err(|_| {
            let len = path.as_os_str().len();
            invalid(&format!("path must be of 1 to 108 bytes other than 0: it has {len}"))
        }),
        Address::Abstract(name) => abstract_name(name),
        Address::Ip(_) | Address::Unnamed => {
            Err(invalid("it is of another family than the socket"))
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(name).map_err(|_| {
        let len = name.len();
        invalid(&format!("no name of a socket: {len} bytes, and 107 are the most"))
    })
}
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_: &[u8]) -> io::Result<SocketAddrUnix> {
    Err(invalid("abstract names are Linux's"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Of which family a socket is.
pub(crate) fn family(socket: impl AsFd) -> io::Result<AddressFamily> {
    Ok(rustix::net::getsockname(socket)?.address_family())
}

/// What a socket is called (getsockname(2)).
pub(crate) fn own(socket: impl AsFd) -> io::Result<Address> {
    Ok(told(Some(rustix::net::getsockname(socket)?)))
}

/// What the peer of a socket is called (getpeername(2)).
pub(crate) fn peer(socket: impl AsFd) -> io::Result<Address> {
    Ok(told(rustix::net::getpeername(socket)?))
}

/// What the kernel told as the name of a socket. `None`: it told nothing.
pub(crate) fn told(name: Option<SocketAddrAny>) -> Address {
    let Some(name) = name else { return Address::Unnamed };
    let mut raw = Raw { bytes: [0; RAW_MAX], len: 0 };
    name.hash(&mut raw);
    read(&raw.bytes[..raw.len])
}

/// The bytes of a socket address. rustix lends them to a hasher, and otherwise to `unsafe` code only:
/// so this is a hasher, which keeps what it is given.
struct Raw {
    bytes: [u8; RAW_MAX],
    len: usize,
}

impl Hasher for Raw {
    fn write(&mut self, bytes: &[u8]) {
        for (to, byte) in self.bytes[self.len..].iter_mut().zip(bytes) {
            *to = *byte;
            self.len += 1;
        }
    }

    /// The length, which a slice has written before its bytes.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a socket address, as Linux writes them.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn raw(family: AddressFamily, rest: &[u8]) -> Vec<u8> {
        [&family.as_raw().to_ne_bytes()[..], rest].concat()
    }

    /// Promise 6: whatever bytes a kernel tells, and however many, are some address.
    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_name_of_any_length_is_read() {
        for len in 0..=120 {
            let path = vec![b'a'; len];
            let expected = if len == 0 { Address::Unnamed } else { Address::unix("a".repeat(len)) };
            assert_eq!(read(&raw(AddressFamily::UNIX, &path)), expected, "{len}");
            assert_eq!(
                read(&raw(AddressFamily::UNIX, &[&path[..], &[0]].concat())),
                if len == 0 { Address::abstract_name("") } else { expected },
                "{len}"
            );
            for byte in [0, b'a'] {
                let name = vec![byte; len];
                assert_eq!(
                    read(&raw(AddressFamily::UNIX, &[&[0], &name[..]].concat())),
                    Address::abstract_name(&name)
                );
            }
        }
        for family in [AddressFamily::INET, AddressFamily::INET6, AddressFamily::NETLINK] {
            let least = match family {
                AddressFamily::INET => 6,
                AddressFamily::INET6 => 26,
                _ => usize::MAX,
            };
            for len in 0..=120 {
                let address = read(&raw(family, &vec![1; len]));
                assert_eq!(address.ip().is_some(), len >= least, "{family:?} {len}");
            }
        }
        for len in 0..2 {
            assert_eq!(read(&vec![1; len]), Address::Unnamed);
        }
    }

    /// Of an address that rustix holds every byte is read, and no other.
    #[test]
    fn an_address_is_read_as_it_was_written() {
        let addrs = ["127.0.0.1:6666", "255.254.253.252:65535", "[::1]:80", "[fe80::1%7]:443"];
        for addr in addrs.map(|text| text.parse::<SocketAddr>().unwrap()) {
            assert_eq!(told(Some(SocketAddrAny::from(addr))), Address::Ip(addr));
        }
        let mut names = vec![Address::unix("/run/x"), Address::unix("\n"), Address::unix("@")];
        names.extend((1..=107).map(|len| Address::unix("x".repeat(len))));
        if ABSTRACT_NAMES {
            names.extend((0..=107).map(|len| Address::abstract_name(vec![0; len])));
            names.extend((0..=107).map(|len| Address::abstract_name(vec![b'x'; len])));
            // rustix's own reader panics at it.
            names.push(Address::unix("x".repeat(108)));
        }
        for name in names {
            assert_eq!(told(Some(unix(&name).unwrap().into())), name, "{name}");
        }
        assert_eq!(told(Some(SocketAddrUnix::new_unnamed().into())), Address::Unnamed);
        assert_eq!(told(None), Address::Unnamed);
    }

    #[test]
    fn what_no_socket_can_be_called_is_refused() {
        for name in [
            Address::unix(""),
            Address::unix("\0x"),
            Address::unix("x".repeat(109)),
            Address::abstract_name([b'x'; 108]),
            Address::Unnamed,
            Address::Ip("127.0.0.1:1".parse().unwrap()),
        ] {
            assert_eq!(unix(&name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }
}
