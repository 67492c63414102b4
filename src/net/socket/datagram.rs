//! Datagram sockets, and what differs between their kinds.
//!
//! UDP, Unix and simulated. One call here is one system call: nothing is kept, and nothing is
//! retried. Read next: `datagram.rs`, which decides what follows from an answer.

use std::io::{self, IoSliceMut};
use std::net::{self, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net as unix;

use mio::net::{UdpSocket, UnixDatagram};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags};
use socket2::{InterfaceIndexOrAddress, SockRef};

use super::{SEND, Watched, name};
use crate::base::address::Address;
use crate::kernel;

/// A datagram socket.
#[derive(Debug)]
pub(crate) enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    /// Of a simulated kernel; without value where that is not built.
    Sim(kernel::Datagrams),
}

/// A multicast group, and the interface on which it is joined; each group has its own kind of name
/// for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    V4(Ipv4Addr, OnV4),
    /// An interface by its index; 0: the kernel chooses.
    V6(net::Ipv6Addr, u32),
}

/// An interface by its index, or by an address of it; 0.0.0.0: the kernel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnV4 {
    Index(u32),
    Address(Ipv4Addr),
}

impl Datagrams {
    /// The socket is non-blocking already.
    pub(crate) fn udp(socket: net::UdpSocket) -> Self {
        Datagrams::Udp(UdpSocket::from_std(socket))
    }

    /// The socket is non-blocking already.
    pub(crate) fn unix(socket: unix::UnixDatagram) -> Self {
        Datagrams::Unix(UnixDatagram::from_std(socket))
    }

    /// Receives one datagram into `buf`: how many bytes of it are there, how long it was (where the
    /// kernel tells; more than `buf` has in any case if something was cut off), and from where.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, usize, Address)> {
        match self {
            Datagrams::Udp(socket) => socket.try_io(|| receive(socket, buf)),
            Datagrams::Unix(socket) => socket.try_io(|| receive(socket, buf)),
            Datagrams::Sim(socket) => socket.recv_from(buf),
        }
    }

    /// Sends one datagram, whole or not at all. `None`: to where the socket is connected.
    pub(crate) fn send_to(&self, payload: &[u8], to: Option<&Address>) -> io::Result<()> {
        match (self, to) {
            (Datagrams::Sim(socket), _) => socket.send_to(payload, to),
            (Datagrams::Udp(socket), Some(Address::Ip(to))) => socket.try_io(|| {
                rustix::net::sendto(socket, payload, SEND, to)?;
                Ok(())
            }),
            (Datagrams::Udp(socket), None) => {
                socket.try_io(|| super::send(socket, payload).map(drop))
            }
            (Datagrams::Unix(socket), None) => {
                socket.try_io(|| super::send(socket, payload).map(drop))
            }
            // Around mio: a WouldBlock is one receiver's, of which no event tells, and the poll would
            // find the socket itself writable, again and again.
            (Datagrams::Unix(socket), Some(to @ (Address::Unix(_) | Address::Abstract(_)))) => {
                rustix::net::sendto(socket, payload, SEND, &name::unix(to)?)?;
                Ok(())
            }
            (Datagrams::Udp(_) | Datagrams::Unix(_), Some(to)) => {
                let what = format!("a datagram cannot be sent to {to} by this socket");
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Datagrams::Udp(socket) => name::own(socket),
            Datagrams::Unix(socket) => name::own(socket),
            Datagrams::Sim(socket) => Ok(socket.local_addr()),
        }
    }

    /// What it is connected to.
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Datagrams::Udp(socket) => name::peer(socket),
            Datagrams::Unix(socket) => name::peer(socket),
            // What it was connected to when it was bound.
            Datagrams::Sim(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// `None`: a simulated one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Datagrams::Udp(socket) => Some(socket.as_fd()),
            Datagrams::Unix(socket) => Some(socket.as_fd()),
            Datagrams::Sim(_) => None,
        }
    }

    pub(crate) fn watched(&mut self) -> Watched<'_> {
        match self {
            Datagrams::Udp(socket) => Watched::Source(socket),
            Datagrams::Unix(socket) => Watched::Source(socket),
            Datagrams::Sim(socket) => Watched::SimDatagrams(socket),
        }
    }
}

/// Asks for the length that a datagram had (`MSG_TRUNC` of recv(2)), which is Linux's.
const REAL_LENGTH: RecvFlags = {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = super::RECEIVE.union(RecvFlags::TRUNC);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = super::RECEIVE;
    flags
};

/// By `recvmsg`, whose flags tell everywhere whether something was cut off; that the real length is
/// told too is Linux's. There is no room for ancillary data: descriptors that a Unix peer passes
/// along are closed by the kernel (unix(7)) and cannot pile up here.
fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, usize, Address)> {
    let space = buf.len();
    let mut nothing = RecvAncillaryBuffer::default();
    let slices = &mut [IoSliceMut::new(buf)];
    let got = rustix::net::recvmsg(socket, slices, &mut nothing, REAL_LENGTH)?;
    let copied = got.bytes.min(space);
    let is_cut = got.flags.contains(ReturnFlags::TRUNC);
    let len = if is_cut { got.bytes.max(copied + 1) } else { copied };
    Ok((copied, len, name::told(got.address)))
}

impl Group {
    pub(crate) fn join(self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            Group::V4(group, on) => socket.join_multicast_v4_n(&group, &on.for_membership()),
            Group::V6(group, index) => socket.join_multicast_v6(&group, index),
        }
    }

    pub(crate) fn leave(self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            Group::V4(group, on) => socket.leave_multicast_v4_n(&group, &on.for_membership()),
            Group::V6(group, index) => socket.leave_multicast_v6(&group, index),
        }
    }
}

impl OnV4 {
    fn for_membership(self) -> InterfaceIndexOrAddress {
        match self {
            OnV4::Index(index) => InterfaceIndexOrAddress::Index(index),
            OnV4::Address(address) => InterfaceIndexOrAddress::Address(address),
        }
    }

    /// The interface that multicast is sent on.
    pub(crate) fn send_on(self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            OnV4::Index(index) => {
                let any = &Ipv4Addr::UNSPECIFIED;
                let socket = &**socket;
                Ok(rustix::net::sockopt::set_ip_multicast_if_with_ifindex(socket, any, any, index)?)
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            OnV4::Index(_) => {
                let what = "here IPv4 wants an interface's address, not its index";
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
            OnV4::Address(address) => socket.set_multicast_if_v4(&address),
        }
    }
}

/// Sees that a socket gets what comes for the groups that it joined, not for those of others on
/// this machine, as Linux has it otherwise (`IP_MULTICAST_ALL`, ip(7)).
pub(crate) fn only_own_groups(socket: &SockRef<'_>, is_v4: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if is_v4 {
        socket.set_multicast_all_v4(false)?;
    } else {
        // Since Linux 4.20; without it the socket gets more than it asked for.
        let _ = socket.set_multicast_all_v6(false);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, is_v4);
    Ok(())
}
