//! What bytes ride on, and how a listening socket comes to be.
//!
//! The kinds of socket are a closed enum: a branch instead of a box, and the same reactor over
//! each. All that differs between kinds and platforms stands here: what proves a socket drained or
//! full, how a write is kept from raising SIGPIPE, which options a listener hands down. No state is
//! kept and nothing is retried. Only this file and `driver.rs` name mio, only these have `cfg` for a
//! platform. Read next: `driver.rs`.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::Address;

/// How many established connections the kernel keeps until they are accepted (listen(2)). The
/// kernel brings it down to `net.core.somaxconn`, which is 4096 since Linux 5.4.
pub(crate) const BACKLOG: i32 = 4096;

/// Whether short counts may be proofs at all. mio's poll(2) backend re-arms a socket only after its
/// own type met WouldBlock (trap 3), and kqueue's flags were not tried.
const EPOLL: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
));

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
}

impl Socket {
    /// Whether a read shorter than its buffer shows that the next would block, as long as no doubt
    /// was reported: on TCP under epoll, registered for priority events (trap 71).
    #[inline]
    pub(crate) fn short_read_is_proof(&self) -> bool {
        match self {
            Socket::Tcp(_) => EPOLL,
        }
    }

    /// Whether a write that took less than was offered shows that the next would block.
    #[inline]
    pub(crate) fn short_write_is_proof(&self) -> bool {
        match self {
            Socket::Tcp(_) => EPOLL,
        }
    }

    /// Sends our FIN (shutdown(2)).
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(net::Shutdown::Write),
        }
    }

    /// Makes the close to come a reset instead of an end (`SO_LINGER` of zero, socket(7)).
    pub(crate) fn reset_on_close(&self) {
        match self {
            Socket::Tcp(stream) => {
                // On failure the peer sees an end instead of a reset: nothing better is left.
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().map(Address::Ip),
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "a simulated one has none")]
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Socket::Tcp(stream) => Some(stream.as_fd()),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Socket::Tcp(stream) => stream,
        }
    }
}

/// By way of rustix, which makes the system call itself: libc's `recv` and `send` are cancellation
/// points, and in a program of more than one thread each call pays for that.
impl Read for Socket {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| receive(stream, buf)),
        }
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| send(stream, buf)),
        }
    }

    /// `std` would use writev(2), which raises SIGPIPE at a dead peer unless the program ignores
    /// it, as Rust programs do and others do not (trap 34).
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| send_vectored(stream, slices)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[inline]
fn receive(stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    let (n, _) = rustix::net::recv(stream, buf, rustix::net::RecvFlags::empty())?;
    Ok(n)
}

#[inline]
#[cfg(not(target_vendor = "apple"))]
fn send(stream: &TcpStream, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(stream, buf, rustix::net::SendFlags::NOSIGNAL)?)
}

/// No such flag there: `std` sets `SO_NOSIGPIPE` on its own sockets, mio on none it accepts.
#[cfg(target_vendor = "apple")]
fn send(mut stream: &TcpStream, buf: &[u8]) -> io::Result<usize> {
    stream.write(buf)
}

#[cfg(not(target_vendor = "apple"))]
fn send_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut nothing = rustix::net::SendAncillaryBuffer::default();
    let flags = rustix::net::SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(stream, slices, &mut nothing, flags)?)
}

#[cfg(target_vendor = "apple")]
fn send_vectored(mut stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.write_vectored(slices)
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
}

impl Acceptor {
    /// Accepts one connection, non-blocking and closed on exec; its address is the kernel's answer,
    /// so that a peer who has left already cannot make a second call fail (trap 27).
    pub(crate) fn accept(&self) -> io::Result<(Socket, Address)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                if !cfg!(target_os = "linux") {
                    // Linux hands it down from the listener. On failure the stream is only slower.
                    let _ = stream.set_nodelay(true);
                }
                Ok((Socket::Tcp(stream), Address::Ip(peer)))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Acceptor::Tcp(listener) => listener.local_addr().map(Address::Ip),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Acceptor::Tcp(listener) => listener,
        }
    }
}

/// Where to listen: `"host:port"`, a [`SocketAddr`], or a [`std::net::TcpListener`].
///
/// A name may resolve to several addresses; the first that binds is taken, as `std` does
/// ([`Reactor::local_addr`](crate::Reactor::local_addr) says which). Resolving blocks. Port 0
/// asks the kernel for a free port.
///
/// Accepted connections have `TCP_NODELAY` and `SO_KEEPALIVE` set. Sockets made here have
/// `SO_REUSEADDR`, so that a restarted server gets its port at once, and a backlog of 4096 or
/// `net.core.somaxconn`, whichever is less. An existing listener keeps its backlog, and is made
/// non-blocking.
pub struct Listen {
    target: Target,
}

enum Target {
    Name(String),
    Addr(SocketAddr),
    Listener(net::TcpListener),
}

impl Listen {
    /// Opens the listening socket.
    pub(crate) fn open(self) -> io::Result<Acceptor> {
        let listener = match self.target {
            Target::Name(name) => {
                let context = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot listen on {name}: {error}"))
                };
                let addrs = name.to_socket_addrs().map_err(context)?;
                bind_first(addrs).map_err(context)?
            }
            Target::Addr(addr) => bind(addr).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"))
            })?,
            Target::Listener(listener) => {
                listener.set_nonblocking(true)?;
                listener
            }
        };
        let socket = SockRef::from(&listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(true)?;
        Ok(Acceptor::Tcp(TcpListener::from_std(listener)))
    }
}

fn bind_first(addrs: impl Iterator<Item = SocketAddr>) -> io::Result<net::TcpListener> {
    let mut last = None;
    for addr in addrs {
        match bind(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

/// As `std` binds, but with a backlog of our own (trap 26) and non-blocking.
fn bind(addr: SocketAddr) -> io::Result<net::TcpListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl From<&str> for Listen {
    fn from(name: &str) -> Self {
        Listen { target: Target::Name(name.to_owned()) }
    }
}

impl From<String> for Listen {
    fn from(name: String) -> Self {
        Listen { target: Target::Name(name) }
    }
}

impl From<&String> for Listen {
    fn from(name: &String) -> Self {
        Listen::from(name.as_str())
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Listen { target: Target::Addr(addr) }
    }
}

impl From<net::TcpListener> for Listen {
    fn from(listener: net::TcpListener) -> Self {
        Listen { target: Target::Listener(listener) }
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Listen");
        match &self.target {
            Target::Name(name) => tuple.field(name),
            Target::Addr(addr) => tuple.field(addr),
            Target::Listener(listener) => tuple.field(listener),
        };
        tuple.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_port_is_a_clear_error() {
        let error = Listen::from("localhost").open().unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on localhost: "), "{error}");
    }

    /// Trap 43: options of the listener reach the accepted socket.
    #[test]
    fn an_accepted_socket_inherits_nodelay_and_keepalive() {
        let acceptor = Listen::from("127.0.0.1:0").open().unwrap();
        let addr = acceptor.local_addr().unwrap().ip().unwrap();
        let _client = net::TcpStream::connect(addr).unwrap();
        let (socket, _) = acceptor.accept().unwrap();
        let fd = socket.fd().unwrap();
        assert!(SockRef::from(&fd).tcp_nodelay().unwrap());
        assert!(SockRef::from(&fd).keepalive().unwrap());
    }

    #[test]
    fn the_first_address_that_binds_is_taken() {
        let taken = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = taken.local_addr().unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let listener = bind_first([busy, free].into_iter()).unwrap();
        assert_ne!(listener.local_addr().unwrap(), busy);
        let error = bind_first([busy].into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(bind_first(std::iter::empty()).is_err());
    }
}
