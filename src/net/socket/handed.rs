//! Sockets that come from outside, or whose descriptor goes there.
//!
//! What is promised of sockets made here is made true of those handed in; and what close(2) does for
//! a descriptor that nothing else shares is done in words where a duplicate may live. Read next:
//! `net/listen.rs` and `net/bind.rs`, which take sockets in, and `core/free.rs`, which lets them go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown};
use std::os::fd::AsFd;

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::SockRef;

use super::{Socket, Stream, name};
use crate::base::address::Address;

/// What a socket that is handed in must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    /// A stream socket that listens.
    Listener,
    /// A stream socket that is to be told so.
    WillListen,
    Datagrams,
}

/// What its type says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ip,
    Unix,
}

/// Looks at what a socket that was handed in is, and leaves it as it is.
///
/// # Errors
///
/// It is not of this kind, whatever the type it was handed in as says.
pub(crate) fn check(socket: impl AsFd, kind: Kind, family: Family) -> io::Result<()> {
    let is_stream = sockopt::socket_type(&socket)? == SocketType::STREAM;
    let found = name::family(&socket)?;
    let is_of_family = match family {
        Family::Ip => matches!(found, AddressFamily::INET | AddressFamily::INET6),
        // Of a virtual machine (vsock(7)), for one: its streams have resets, and no names here.
        Family::Unix => found == AddressFamily::UNIX,
    };
    let refusal = match kind {
        Kind::Stream | Kind::Listener | Kind::WillListen if !is_stream => {
            "it is not a stream socket"
        }
        // TCP alone has resets, and proofs by short counts: each must be known for what it is.
        Kind::Stream | Kind::Listener | Kind::WillListen | Kind::Datagrams if !is_of_family => {
            match family {
                Family::Ip => "it is not an IP socket",
                Family::Unix => "it is not a Unix socket",
            }
        }
        Kind::Listener | Kind::WillListen if rustix::net::getpeername(&socket).is_ok() => {
            "it is connected"
        }
        Kind::Listener if !listens(&socket)? => "it does not listen (a `backlog` would make it)",
        Kind::Datagrams if sockopt::socket_type(&socket)? != SocketType::DGRAM => {
            "it is not a datagram socket"
        }
        Kind::Stream | Kind::Listener | Kind::WillListen | Kind::Datagrams => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, refusal))
}

/// Makes a socket that was handed in non-blocking and closed on exec, as those made here are, and
/// sees that closing it does not wait.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn take_in(socket: impl AsFd, kind: Kind, family: Family) -> io::Result<()> {
    check(&socket, kind, family)?;
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    let socket = SockRef::from(&socket);
    // Whatever the type: `O_NONBLOCK` belongs to the description.
    socket.set_nonblocking(true)?;
    forbid_linger(&socket)
}

/// Whether a stream socket listens.
#[cfg(not(target_vendor = "apple"))]
fn listens(socket: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::socket_acceptconn(socket)?)
}
/// Apple's kernel does not say.
#[cfg(target_vendor = "apple")]
fn listens(_: impl AsFd) -> io::Result<bool> {
    Ok(true)
}

/// Sees that close(2) does not wait for a peer (`SO_LINGER`, socket(7)): it would, on a non-blocking
/// socket too, and all others with it.
fn forbid_linger(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.linger()?.is_some() {
        socket.set_linger(None)?;
    }
    Ok(())
}

impl Stream {
    /// One that a reactor has served, with what it knows of the peer.
    pub(crate) fn of(socket: Socket, peer: Address) -> Self {
        Stream { socket, peer: Some(peer) }
    }

    pub(crate) fn into_socket(self) -> io::Result<Socket> {
        let socket = self.socket;
        let family = if matches!(socket, Socket::Unix(_)) { Family::Unix } else { Family::Ip };
        match socket.fd() {
            Some(fd) => take_in(fd, Kind::Stream, family)?,
            None => socket.forbid_linger()?,
        }
        Ok(socket)
    }

    /// The address of the peer. Of a TCP connection that is over the kernel does not know it any
    /// more (`tcp_done` of Linux), though what the peer had said is still to be read: without a
    /// reactor that knew it, it is then the unspecified address.
    ///
    /// # Errors
    ///
    /// It is not connected, and has nothing to be read.
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        let error = match (self.socket.peer_addr(), &self.peer) {
            (Ok(peer), _) => return Ok(peer),
            (Err(_), Some(peer)) => return Ok(peer.clone()),
            (Err(error), None) => error,
        };
        if !self.socket.has_unread() {
            return Err(error);
        }
        Ok(match self.socket.local_addr()? {
            Address::Ip(own) if own.is_ipv6() => Address::Ip((Ipv6Addr::UNSPECIFIED, 0).into()),
            Address::Ip(_) => Address::Ip((Ipv4Addr::UNSPECIFIED, 0).into()),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => Address::Unnamed,
        })
    }
}

impl Socket {
    /// Sees that its close does not wait for the peer.
    pub(crate) fn forbid_linger(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => forbid_linger(&SockRef::from(stream)),
            Socket::Unix(stream) => forbid_linger(&SockRef::from(stream)),
            Socket::Sim(stream) => {
                stream.forbid_linger();
                Ok(())
            }
        }
    }

    /// Before the close of a socket of which a duplicate may live, so that the peer is told now and
    /// not at the last close: our end, if it was not sent; and a reset in answer to whatever the peer
    /// still sends, as after close(2). `reset`: by [`reset`](Self::reset) already, where there is one.
    pub(crate) fn end_for_all(&self, reset: bool) {
        // On failure the peer knows already.
        if !reset {
            let _ = self.forbid_linger();
        }
        match self {
            Socket::Tcp(_) if reset => {}
            Socket::Tcp(stream) => drop(stream.shutdown(Shutdown::Both)),
            Socket::Unix(stream) => drop(stream.shutdown(Shutdown::Both)),
            Socket::Sim(stream) => stream.end_for_all(),
        }
    }
}
