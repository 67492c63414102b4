//! What bytes ride on: the kinds of socket, and what differs between them.
//!
//! A closed enum: a branch instead of a box, and the same reactor over each. What differs between
//! kinds and platforms stands here: what proves a socket drained or full, how a write is kept from
//! raising SIGPIPE, what an address looks like. No state is kept and nothing is retried. Only this
//! file and `driver.rs` name mio. Read next: `listen.rs`, which makes listening sockets.

use std::io::{self, IoSlice, Read, Write};
use std::net;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net as unix;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use crate::base::address::Address;
use crate::kernel;
use crate::net::intake::Intake;

pub(crate) use datagram::{Datagrams, Group, OnV4, only_own_groups};
pub(crate) use handed::{Family, Kind, check, take_in};

mod datagram;
mod handed;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod left;
pub(crate) mod mode;
pub(crate) mod name;

/// No other kernel has `sock_diag(7)`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod left {
    pub(super) fn unacknowledged<S>(_: &S) -> Option<usize> {
        None
    }

    pub(super) fn unread<S>(_: &S) -> Option<usize> {
        None
    }
}

/// Whether short counts may be proofs at all. mio's poll(2) backend re-arms a socket only after its
/// own type met WouldBlock (trap 3), and kqueue's flags were not tried.
const EPOLL: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
));

/// What carries a stream's bytes, real or simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Tcp,
    Unix,
}

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Of a simulated kernel; without value where that is not built.
    Sim(kernel::Stream),
}

impl Socket {
    /// Connects a socket that does not block. `connect.rs` makes it.
    pub(crate) fn connect(socket: socket2::Socket, to: &Address) -> io::Result<Self> {
        let begun = match to {
            Address::Ip(addr) => rustix::net::connect(&socket, addr),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => {
                // As `std` would, but to any name a peer may have.
                rustix::net::connect(&socket, &name::unix(to)?)
            }
        };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(match to {
            Address::Ip(_) => Socket::Tcp(TcpStream::from_std(socket.into())),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => {
                Socket::Unix(UnixStream::from_std(socket.into()))
            }
        })
    }

    /// Whether a connect has come through: that an event came is no proof (trap 44). `WouldBlock`:
    /// it is under way, and an event will come.
    pub(crate) fn finish_connect(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| {
                let peer = connected(stream.take_error()?, name::peer(stream))?;
                // To connect to a port of this machine on which no socket listens, the kernel may lend
                // the socket that very port, and TCP lets it meet itself (RFC 9293, 3.5).
                if name::own(stream)? == peer {
                    return Err(Errno::CONNREFUSED.into());
                }
                Ok(())
            }),
            Socket::Unix(stream) => {
                stream.try_io(|| connected(stream.take_error()?, name::peer(stream)).map(drop))
            }
            Socket::Sim(stream) => stream.finish_connect(),
        }
    }

    /// Whether a read shorter than its buffer shows that the next would block, as long as no doubt
    /// was reported: on TCP under epoll, registered for priority events. Never on a Unix socket,
    /// where a descriptor passed along ends a read early with no event of its own (trap 71).
    #[inline]
    pub(crate) fn short_read_is_proof(&self) -> bool {
        match self.carrier() {
            Carrier::Tcp => self.is_edge_triggered(),
            Carrier::Unix => false,
        }
    }

    /// Whether a write that took less than was offered shows that the next would block. Not tried
    /// on Unix sockets, which are written in pieces with an allocation each.
    #[inline]
    pub(crate) fn short_write_is_proof(&self) -> bool {
        match self.carrier() {
            Carrier::Tcp => self.is_edge_triggered(),
            Carrier::Unix => false,
        }
    }

    #[inline]
    fn carrier(&self) -> Carrier {
        match self {
            Socket::Tcp(_) => Carrier::Tcp,
            Socket::Sim(stream) if stream.is_tcp() => Carrier::Tcp,
            Socket::Unix(_) | Socket::Sim(_) => Carrier::Unix,
        }
    }

    /// Whether the kernel reports each change by an edge with flags that are true, as epoll does.
    #[inline]
    fn is_edge_triggered(&self) -> bool {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => EPOLL,
            Socket::Sim(stream) => stream.is_edge_triggered(),
        }
    }

    /// Sends our FIN (shutdown(2)).
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(net::Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(net::Shutdown::Write),
            Socket::Sim(stream) => stream.shutdown_write(),
        }
    }

    /// Resets the connection, whatever else has a descriptor of it: TCP is dissolved by a connect to
    /// no address (connect(2), `AF_UNSPEC`). Where the kernel has no such thing, or another thread
    /// waits on a duplicate, the last close does it (`SO_LINGER` of zero, socket(7)). A Unix socket
    /// has no reset: its peer sees the end, or `ECONNRESET` if it left us bytes unread.
    pub(crate) fn reset_on_close(&self) {
        match self {
            Socket::Tcp(stream) => {
                if rustix::net::connect_unspec(stream).is_err() {
                    // On failure the peer sees an end instead of a reset: nothing better is left.
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
            }
            Socket::Unix(_) => {}
            Socket::Sim(stream) => stream.reset_on_close(),
        }
    }

    /// Bytes that the kernel took and the peer's has not acknowledged: a reset would destroy them.
    /// `None`: it does not say. Of a Unix socket the peer has all at once.
    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        match self {
            Socket::Tcp(stream) => left::unacknowledged(stream),
            Socket::Unix(_) => Some(0),
            Socket::Sim(stream) => Some(stream.unacknowledged()),
        }
    }

    /// What the kernel still holds of what it took: as it becomes less, the peer takes it. On TCP the
    /// bytes that the peer's kernel has not acknowledged; on a Unix socket the memory of those that the
    /// peer has not read. `None`: it does not say.
    pub(crate) fn undelivered(&self) -> Option<usize> {
        match self {
            Socket::Tcp(_) => self.unacknowledged(),
            Socket::Unix(stream) => left::unread(stream),
            Socket::Sim(stream) => Some(stream.undelivered()),
        }
    }

    /// The error that waits on the socket, if one does; it is told once (`SO_ERROR`, socket(7)).
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
            Socket::Sim(stream) => Ok(stream.take_error()),
        }
    }

    /// Whether a read would bring bytes (`MSG_PEEK`, recv(2)). To be asked of a socket that has failed:
    /// nothing more comes there.
    pub(crate) fn has_unread(&self) -> bool {
        let n = match self {
            Socket::Tcp(stream) => stream.try_io(|| peek(stream)),
            Socket::Unix(stream) => stream.try_io(|| peek(stream)),
            Socket::Sim(stream) => return stream.has_unread(),
        };
        n.is_ok_and(|n| n > 0)
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(stream) => name::own(stream),
            Socket::Unix(stream) => name::own(stream),
            Socket::Sim(stream) => Ok(stream.local_addr()),
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Socket::Tcp(stream) => name::peer(stream),
            Socket::Unix(stream) => name::peer(stream),
            Socket::Sim(stream) => stream.peer_addr(),
        }
    }

    /// `None`: a simulated one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Socket::Tcp(stream) => Some(stream.as_fd()),
            Socket::Unix(stream) => Some(stream.as_fd()),
            Socket::Sim(stream) => {
                stream.lend();
                None
            }
        }
    }

    pub(crate) fn watched(&mut self) -> Watched<'_> {
        match self {
            Socket::Tcp(stream) => Watched::Source(stream),
            Socket::Unix(stream) => Watched::Source(stream),
            Socket::Sim(stream) => Watched::SimStream(stream),
        }
    }
}

/// What a socket's error and its peer say of its connect.
fn connected<A>(failure: Option<io::Error>, peer: io::Result<A>) -> io::Result<A> {
    if let Some(error) = failure {
        return Err(error);
    }
    peer.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTCONN | Errno::INPROGRESS) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

/// By way of rustix, which makes the system call itself: libc's `recv` and `send` are cancellation
/// points, and in a program of more than one thread each call pays for that. Inside `try_io`, so
/// that mio hears of a WouldBlock where it must (trap 4).
impl Read for Socket {
    /// Offers no room for ancillary data, so descriptors that a Unix peer passes along are closed by
    /// the kernel (unix(7)) and cannot pile up here.
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| receive(&*stream, buf)),
            Socket::Unix(stream) => stream.try_io(|| receive(&*stream, buf)),
            Socket::Sim(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| send(&*stream, buf)),
            Socket::Unix(stream) => stream.try_io(|| send(&*stream, buf)),
            Socket::Sim(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_io(|| send_vectored(&*stream, slices)),
            Socket::Unix(stream) => stream.try_io(|| send_vectored(&*stream, slices)),
            Socket::Sim(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps a write to a dead peer from raising SIGPIPE, which Rust programs ignore and others do not
/// (trap 34). Apple has no such flag: there the program must ignore the signal. And does not wait,
/// whatever the descriptor says: a duplicate of it outside may have been made blocking.
const SEND: SendFlags = {
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    flags
};

/// Does not wait either.
const RECEIVE: RecvFlags = RecvFlags::DONTWAIT;

#[inline]
fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    let (n, _) = rustix::net::recv(socket, buf, RECEIVE)?;
    Ok(n)
}

fn peek(socket: impl AsFd) -> io::Result<usize> {
    let (n, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut [0; 1], RecvFlags::PEEK))?;
    Ok(n)
}

#[inline]
fn send(socket: impl AsFd, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, buf, SEND)?)
}

fn send_vectored(socket: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SEND)?)
}

/// A connected stream outside of a reactor: one that it is to take over, or was
/// [detached](crate::Conn::detach) from it.
///
/// Made of a [`std::net::TcpStream`] or a [`std::os::unix::net::UnixStream`], and made one again by
/// `TryFrom`. Taken over, it is made non-blocking
/// and close-on-exec, and `SO_LINGER` is cleared, which would make its close wait; its other options
/// stay. A duplicate of it ([`try_clone`](std::net::TcpStream::try_clone)) that lives on is not
/// watched after the close, and does not keep the peer from seeing that. What belongs to the reactor
/// meanwhile, and must not be changed by way of a duplicate, is told at [`Conn::fd`](crate::Conn::fd).
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// The address of the peer, where a reactor has served it.
    peer: Option<Address>,
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Stream { socket, peer: None }
    }
}

/// Made by a simulated world.
impl From<kernel::Stream> for Stream {
    fn from(stream: kernel::Stream) -> Self {
        Socket::Sim(stream).into()
    }
}

impl From<net::TcpStream> for Stream {
    fn from(stream: net::TcpStream) -> Self {
        Socket::Tcp(TcpStream::from_std(stream)).into()
    }
}

impl From<unix::UnixStream> for Stream {
    fn from(stream: unix::UnixStream) -> Self {
        Socket::Unix(UnixStream::from_std(stream)).into()
    }
}

/// Gives it back if it is none: a Unix one, or simulated. It stays non-blocking.
impl TryFrom<Stream> for net::TcpStream {
    type Error = Stream;

    fn try_from(stream: Stream) -> Result<Self, Stream> {
        match stream.socket {
            Socket::Tcp(stream) => Ok(stream.into()),
            socket => Err(Stream { socket, ..stream }),
        }
    }
}

/// Gives it back if it is none: a TCP one, or simulated. It stays non-blocking.
impl TryFrom<Stream> for unix::UnixStream {
    type Error = Stream;

    fn try_from(stream: Stream) -> Result<Self, Stream> {
        match stream.socket {
            Socket::Unix(stream) => Ok(stream.into()),
            socket => Err(Stream { socket, ..stream }),
        }
    }
}

/// A listening socket. mio's listeners accept by themselves, and read the peer's name as they like;
/// its streams, of the same descriptor, lend their `try_io` to a call of ours.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp {
        listener: TcpStream,
        nodelay: bool,
        keepalive: bool,
    },
    Unix(UnixStream),
    Sim(kernel::Listener),
    /// Another reactor accepts for this one.
    Intake(Intake),
}

/// What the poll can watch.
pub(crate) enum Watched<'a> {
    Source(&'a mut dyn mio::event::Source),
    SimStream(&'a kernel::Stream),
    SimListener(&'a kernel::Listener),
    SimDatagrams(&'a kernel::Datagrams),
    /// Nothing: there is no socket.
    Nothing,
}

impl Acceptor {
    /// `nodelay`, `keepalive`: what the listener is set to hand down.
    pub(crate) fn tcp(listener: net::TcpListener, nodelay: bool, keepalive: bool) -> Self {
        let listener = TcpStream::from_std(OwnedFd::from(listener).into());
        Acceptor::Tcp { listener, nodelay, keepalive }
    }

    pub(crate) fn unix(listener: unix::UnixListener) -> Self {
        Acceptor::Unix(UnixStream::from_std(OwnedFd::from(listener).into()))
    }

    /// Accepts one connection, non-blocking and closed on exec; its address is the kernel's answer,
    /// so that a peer that has left already cannot make a second call fail (trap 27).
    pub(crate) fn accept(&self) -> io::Result<(Socket, Address)> {
        match self {
            Acceptor::Tcp { listener, nodelay, keepalive } => {
                let (stream, peer) = listener.try_io(|| accept(listener))?;
                let stream = TcpStream::from_std(stream.into());
                if !cfg!(any(target_os = "linux", target_os = "android")) {
                    // Linux hands them down from the listener, and two calls are saved. On failure
                    // the peer has left already.
                    let socket = SockRef::from(&stream);
                    let _ = socket.set_tcp_nodelay(*nodelay);
                    let _ = socket.set_keepalive(*keepalive);
                }
                Ok((Socket::Tcp(stream), peer))
            }
            Acceptor::Unix(listener) => {
                let (stream, peer) = listener.try_io(|| accept(listener))?;
                Ok((Socket::Unix(UnixStream::from_std(stream.into())), peer))
            }
            Acceptor::Sim(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Sim(stream), name::read(&peer)))
            }
            Acceptor::Intake(intake) => intake.accept(),
        }
    }

    /// Makes it non-blocking, as it was: a duplicate may have been made blocking, and no flag of
    /// accept4(2) says that this call must not wait.
    pub(crate) fn forbid_waiting(&self) -> io::Result<()> {
        match self {
            Acceptor::Tcp { listener, .. } => Ok(rustix::io::ioctl_fionbio(listener, true)?),
            Acceptor::Unix(listener) => Ok(rustix::io::ioctl_fionbio(listener, true)?),
            Acceptor::Sim(_) | Acceptor::Intake(_) => Ok(()),
        }
    }

    /// The same socket by another descriptor, which is closed on exec as well.
    pub(crate) fn duplicate(&self) -> io::Result<Acceptor> {
        Ok(match self {
            Acceptor::Tcp { listener, nodelay, keepalive } => {
                let listener = listener.as_fd().try_clone_to_owned()?;
                Acceptor::tcp(listener.into(), *nodelay, *keepalive)
            }
            Acceptor::Unix(listener) => {
                Acceptor::unix(listener.as_fd().try_clone_to_owned()?.into())
            }
            Acceptor::Sim(listener) => Acceptor::Sim(listener.duplicate()?),
            // It is made for one reactor.
            Acceptor::Intake(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Acceptor::Tcp { listener, .. } => name::own(listener),
            Acceptor::Unix(listener) => name::own(listener),
            Acceptor::Sim(listener) => Ok(listener.local_addr()),
            Acceptor::Intake(intake) => Ok(intake.address().clone()),
        }
    }

    pub(crate) fn watched(&mut self) -> Watched<'_> {
        match self {
            Acceptor::Tcp { listener, .. } => Watched::Source(listener),
            Acceptor::Unix(listener) => Watched::Source(listener),
            Acceptor::Sim(listener) => Watched::SimListener(listener),
            Acceptor::Intake(_) => Watched::Nothing,
        }
    }
}

/// Accepts one connection (accept4(2)).
#[cfg(not(target_vendor = "apple"))]
fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Address)> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((stream, name::told(peer)))
}
#[cfg(target_vendor = "apple")]
fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Address)> {
    let (stream, peer) = rustix::net::acceptfrom(listener)?;
    let socket = SockRef::from(&stream);
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    socket.set_nosigpipe(true)?;
    Ok((stream, name::told(peer)))
}

/// Binds a socket to a network device (`SO_BINDTODEVICE`, socket(7)).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn bind_device(socket: &SockRef<'_>, device: &str) -> io::Result<()> {
    // The kernel takes an empty name for none, and cuts one that is too long (`IFNAMSIZ`).
    if device.is_empty() || device.len() > 15 || device.contains('\0') {
        let what = "no name of a device: it has 1 to 15 bytes other than 0";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    socket.bind_device(Some(device.as_bytes()))
}
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn bind_device(_: &SockRef<'_>, _: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, "to bind to a device is Linux's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 44: connected is not enough, if it is to oneself: no socket listens there.
    #[test]
    fn a_socket_that_has_met_itself_is_refused() {
        let any: net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&any.into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        let stream = net::TcpStream::from(socket);
        assert_eq!(stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        let error = Socket::Tcp(TcpStream::from_std(stream)).finish_connect().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::CONNREFUSED.raw_os_error()));
    }

    /// Trap 44: a socket that has not been told to connect, or not been answered, is under way; one
    /// that was answered is connected.
    #[test]
    fn only_an_answer_makes_it_connected() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        let unconnected =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let unconnected = TcpStream::from_std(net::TcpStream::from(unconnected));
        let error = Socket::Tcp(unconnected).finish_connect().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = Socket::connect(socket, &address).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        // Its kernel has our answer before `accept` returns, or very soon after.
        while let Err(error) = socket.finish_connect() {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            std::thread::yield_now();
        }
    }
}
