//! Datagram sockets, as callbacks see them.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::Context;
use crate::base::address::Address;
use crate::base::id::DatagramId;
use crate::net::bind::{Bind, Interface};

impl Context {
    /// Binds a datagram socket: UDP or Unix. What comes to it is handed to
    /// [`on_datagram`](crate::Handler::on_datagram). See [`Bind`].
    ///
    /// # Errors
    ///
    /// If the name does not resolve, no address of it can be bound (`AddrInUse`,
    /// `PermissionDenied`), the options contradict the address or each other (`InvalidInput`, with
    /// words), or where it is [refused](crate::Refused): 32,767 datagram sockets are there, or the reactor
    /// is shutting down. A name that has to be resolved blocks.
    pub fn bind_datagram(&mut self, bind: impl Into<Bind>) -> io::Result<DatagramId> {
        self.core.check_running()?;
        let bind = bind.into();
        let bound = match self.core.driver.kernel() {
            None => bind.open()?,
            Some(kernel) => bind.open_simulated(kernel)?,
        };
        self.core.bind_datagram(bound)
    }

    /// Sends one datagram. `Ok`: the kernel has taken it, or it waits in the socket's queue until
    /// the kernel does, behind what was sent before; on a Unix socket behind what was sent before
    /// *to the same receiver*, since one that does not read keeps no other waiting.
    ///
    /// It never waits. There is no promise that a datagram arrives: not by UDP, and not that the
    /// receiver is there.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: [`datagrams_queued`](crate::Config::datagrams_queued) bytes wait already, the most
    /// for this very receiver, and this datagram is dropped and counted
    /// ([`Stats::datagrams_dropped`](crate::Stats::datagrams_dropped)). (If more wait for another
    /// receiver of a Unix socket, the newest of those is dropped instead.) `NotFound`: there is no such
    /// socket. `InvalidInput`: an address of another family. Otherwise what the kernel says of this
    /// datagram (sendto(2)): it is too long (`EMSGSIZE`; by IPv4 65,507 bytes fit), there is no
    /// route, broadcast is not [allowed](Bind::broadcast), no socket is bound to that Unix path
    /// (`ConnectionRefused`, `NotFound`). What it says of a datagram that waited is counted as
    /// dropped, and so is one that has waited for [`datagram_wait`](crate::Config::datagram_wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{Context, Datagram};
    ///
    /// fn on_datagram(cx: &mut Context, datagram: &Datagram<'_>) {
    ///     if let Err(error) = cx.send_to(datagram.socket, &datagram.from, "pong") {
    ///         log::debug!("no answer for {}: {error}", datagram.from);
    ///     }
    /// }
    /// ```
    pub fn send_to(
        &mut self,
        socket: DatagramId,
        to: &Address,
        payload: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.core.send_datagram(socket, Some(to), payload.as_ref())
    }

    /// Sends one datagram to where the socket is [connected](Bind::connect). Otherwise as
    /// [`send_to`](Self::send_to).
    ///
    /// What ICMP tells of an earlier datagram (the port is closed) is counted in
    /// [`Stats::datagram_errors`](crate::Stats::datagram_errors), and this one is sent all the same.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `NotConnected` or `EDESTADDRREQ` if the socket is not
    /// connected.
    pub fn send_datagram(
        &mut self,
        socket: DatagramId,
        payload: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.core.send_datagram(socket, None, payload.as_ref())
    }

    /// Closes a datagram socket. What waits to be sent is tried once more; the rest is dropped, and
    /// counted. Datagrams that were not received are lost. Returns whether there was such a socket.
    pub fn close_datagram(&mut self, socket: DatagramId) -> bool {
        self.core.close_datagram(socket)
    }

    /// The datagram sockets, in no order.
    #[must_use]
    pub fn datagram_sockets(&self) -> Vec<DatagramId> {
        self.core.socket_ids()
    }

    /// Where a datagram socket is bound: which of a name's addresses, and which port was given for
    /// port 0.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is closed.
    pub fn datagram_addr(&self, socket: DatagramId) -> io::Result<Address> {
        let addr = self.core.datagram_addr(socket).cloned();
        addr.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the socket is closed"))
    }

    /// The descriptor of a datagram socket, for socket options. `None` if it is closed, or of a
    /// simulated kernel. Do not receive from it, or send: that belongs to the reactor. A duplicate of
    /// it is not watched after the close.
    #[must_use]
    pub fn datagram_fd(&self, socket: DatagramId) -> Option<BorrowedFd<'_>> {
        self.core.datagram_fd(socket)
    }

    /// Joins a multicast group: as [`Bind::join`].
    ///
    /// # Errors
    ///
    /// `NotFound`: there is no such socket. `InvalidInput`: no multicast group, or one of another
    /// family. Otherwise what the kernel says: there is no such interface, or the socket is in the
    /// group already (`AddrInUse`).
    pub fn join_group(
        &mut self,
        socket: DatagramId,
        group: impl Into<IpAddr>,
        interface: Interface,
    ) -> io::Result<()> {
        self.core.join_group(socket, group.into(), interface)
    }

    /// Leaves a multicast group, named as it was joined.
    ///
    /// # Errors
    ///
    /// As [`join_group`](Self::join_group); `AddrNotAvailable` if the socket is not in the group.
    pub fn leave_group(
        &mut self,
        socket: DatagramId,
        group: impl Into<IpAddr>,
        interface: Interface,
    ) -> io::Result<()> {
        self.core.leave_group(socket, group.into(), interface)
    }
}
