//! Datagram sockets at work: bound, received from, sent to, closed.
//!
//! What waits, and for what, is decided in `net/datagram.rs`; here it is acted on. The handler is not
//! called: `reactor/datagram.rs` hands it what came.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use super::{Core, Shutdown};
use crate::base::address::Address;
use crate::base::attempt::{Attempt, attempt};
use crate::base::id::{DATAGRAM_BASE, DatagramId, SOCKETS_CEILING, Token};
use crate::base::refused::Refused;
use crate::conn::input::ReadBuffer;
use crate::net::bind::{self, Bound, Interface};
use crate::net::datagram::DatagramSocket;
use crate::time::deadlines::Stamp;

/// What receiving once came to.
#[derive(Debug)]
pub(crate) enum Received {
    /// A datagram: so many bytes of it are in the buffer, so many it had, and from whom it is.
    Datagram { copied: usize, len: usize, from: Address },
    /// None; the next may be fine.
    Skipped,
    /// None, and no use in trying on.
    Stopped,
}

impl Core {
    /// Gives a socket a place and has it watched.
    pub(crate) fn bind_datagram(&mut self, bound: Bound) -> io::Result<DatagramId> {
        if self.sockets.is_full() {
            return Err(Refused::TooMany { most: SOCKETS_CEILING, what: "datagram sockets" }.into());
        }
        let address = bound.socket.local_addr()?;
        let (most, wait) = (self.limits.datagrams_queued, self.limits.datagram_wait);
        let socket = DatagramSocket::new(bound, address, most, wait);
        let (slot, generation) = self.sockets.insert(socket);
        let id = DatagramId::new(self.serial, slot, generation);
        let socket = self.sockets.get_mut(slot, generation).expect("just inserted");
        if let Err(error) = self.driver.register_datagrams(&mut socket.bound.socket, id.token()) {
            self.sockets.remove(slot, generation);
            return Err(error);
        }
        log::debug!("bound {}", socket.address);
        Ok(id)
    }

    /// The datagram socket that a token means, if it is still there.
    pub(crate) fn socket(&self, token: Token, slot: u32) -> Option<DatagramId> {
        let generation = self.sockets.resolve(token, slot, DATAGRAM_BASE)?;
        Some(DatagramId::new(self.serial, slot, generation))
    }

    pub(crate) fn datagram_addr(&self, id: DatagramId) -> Option<&Address> {
        self.find_socket(id).map(|socket| &socket.address)
    }

    pub(crate) fn datagram_fd(&self, id: DatagramId) -> Option<BorrowedFd<'_>> {
        self.find_socket(id)?.bound.socket.fd()
    }

    pub(crate) fn socket_ids(&self) -> Vec<DatagramId> {
        let name = |(slot, generation)| DatagramId::new(self.serial, slot, generation);
        self.sockets.ids().map(name).collect()
    }

    fn find_socket(&self, id: DatagramId) -> Option<&DatagramSocket> {
        if id.reactor() != self.serial {
            return None;
        }
        self.sockets.get(id.slot, id.generation)
    }

    /// Begins a socket's turn: sends what waits and is due.
    pub(crate) fn begin_socket_turn(&mut self, id: DatagramId) {
        self.serving = Some(id);
        let (most, now) = (self.limits.datagrams_per_turn, self.now);
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        socket.queued = false;
        if socket.outbox.is_due(now) {
            let kernel = &socket.bound.socket;
            socket
                .outbox
                .flush(most, now, &mut self.stats, |payload, to| kernel.send_to(payload, to));
        }
    }

    /// Receives once.
    pub(crate) fn receive(&mut self, id: DatagramId, buffer: &mut ReadBuffer) -> Received {
        let now = self.now;
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else {
            return Received::Stopped;
        };
        if !socket.may_receive(now) {
            return Received::Stopped;
        }
        let kernel = &socket.bound.socket;
        let space = buffer.space(usize::MAX);
        match attempt(|| kernel.recv_from(space)) {
            Ok(Attempt::Ready((copied, len, from))) => {
                socket.handle_received();
                if self.shutdown == Shutdown::Begun {
                    socket.last = socket.last.saturating_sub(1);
                }
                if socket.is_stray(&from) {
                    self.stats.datagrams_stray += 1;
                    return Received::Skipped;
                }
                self.stats.datagrams_in += 1;
                self.stats.datagrams_truncated += u64::from(len > copied);
                Received::Datagram { copied, len, from }
            }
            Ok(Attempt::WouldBlock) => {
                socket.handle_empty(self.shutdown == Shutdown::Begun);
                Received::Stopped
            }
            // Signals and no end of them: later.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Received::Stopped,
            Err(error) => {
                log::debug!("{}: {error}", socket.address);
                self.stats.datagram_errors += 1;
                socket.handle_error(now);
                Received::Skipped
            }
        }
    }

    /// Ends a socket's turn, and whenever anything happened to it: sees that it is found again.
    pub(crate) fn update_socket(&mut self, id: DatagramId) {
        if self.serving == Some(id) {
            return;
        }
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        let wants = socket.outbox.waits_for_room(self.now);
        if wants != socket.watches_room {
            match self.driver.watch_room(&mut socket.bound.socket, id.token(), wants) {
                Ok(()) => socket.watches_room = wants,
                Err(error) => {
                    log::debug!("{}: its room cannot be watched: {error}", socket.address);
                    socket.outbox.handle_unwatched(self.now);
                }
            }
        }
        if socket.is_runnable(self.now) {
            if !socket.queued {
                socket.queued = true;
                self.run.push_back(id.token());
            }
            return;
        }
        let due = socket.deadline();
        self.deadlines.set(id.token(), socket.armed, due);
        socket.armed = due;
    }

    pub(crate) fn end_socket_turn(&mut self) {
        if let Some(id) = self.serving.take() {
            self.update_socket(id);
        }
    }

    /// Its deadline has come: it is served in the next turn.
    pub(crate) fn expire_socket(&mut self, id: DatagramId) {
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        socket.armed = Stamp::NEVER;
        self.update_socket(id);
    }

    /// Sends a datagram, or queues it. `None`: to where the socket is connected.
    pub(crate) fn send_datagram(
        &mut self,
        id: DatagramId,
        to: Option<&Address>,
        payload: &[u8],
    ) -> io::Result<()> {
        if id.reactor() != self.serial {
            return Err(gone());
        }
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else {
            return Err(gone());
        };
        if let Some(to) = to {
            check_family(&socket.address, to)?;
        }
        let (kernel, driver) = (&socket.bound.socket, &self.driver);
        let clock = || driver.now();
        let sent = socket
            .outbox
            .send(payload, to, clock, &mut self.stats, |payload, to| kernel.send_to(payload, to));
        if !socket.outbox.is_empty() {
            self.update_socket(id);
        }
        sent
    }

    pub(crate) fn join_group(
        &self,
        id: DatagramId,
        group: IpAddr,
        interface: Interface,
    ) -> io::Result<()> {
        let (socket, is_v4) = self.multicast_of(id)?;
        bind::join(&SockRef::from(&socket), is_v4, group, interface)
    }

    pub(crate) fn leave_group(
        &self,
        id: DatagramId,
        group: IpAddr,
        interface: Interface,
    ) -> io::Result<()> {
        let (socket, is_v4) = self.multicast_of(id)?;
        bind::leave(&SockRef::from(&socket), is_v4, group, interface)
    }

    fn multicast_of(&self, id: DatagramId) -> io::Result<(BorrowedFd<'_>, bool)> {
        let socket = self.find_socket(id).ok_or_else(gone)?;
        let address = socket.address.ip();
        let (Some(fd), Some(address)) = (socket.bound.socket.fd(), address) else {
            let what = "neither a Unix socket nor a simulated one has multicast";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        Ok((fd, address.is_ipv4()))
    }

    /// Closes a socket: what waits is tried once more, and what is left then is dropped. Returns
    /// whether there was one.
    pub(crate) fn close_datagram(&mut self, id: DatagramId) -> bool {
        if id.reactor() != self.serial {
            return false;
        }
        let Some(mut socket) = self.sockets.remove(id.slot, id.generation) else { return false };
        self.deadlines.set(id.token(), socket.armed, Stamp::NEVER);
        let kernel = &socket.bound.socket;
        let dropped =
            socket.outbox.end(self.now, &mut self.stats, |payload, to| kernel.send_to(payload, to));
        self.driver.deregister(socket.bound.socket.watched());
        if dropped > 0 {
            let address = &socket.address;
            log::info!("{address}: closed, and {dropped} datagrams that waited are dropped");
        }
        true
    }

    /// In shutdown, when the last connection is gone: closes the sockets that have been read once
    /// more, and owe nothing but what may wait for ever: for a receiver, or for a shortage to end.
    #[cold]
    pub(crate) fn leave_sockets(&mut self) {
        if self.conns.len() > 0 {
            return;
        }
        for id in self.socket_ids() {
            let Some(socket) = self.sockets.get(id.slot, id.generation) else { continue };
            let outbox = &socket.outbox;
            let may_wait = outbox.waits_for_receivers() || outbox.is_stuck();
            if socket.last == 0 && (outbox.is_empty() || may_wait) {
                self.close_datagram(id);
            }
        }
    }

    pub(crate) fn close_all_sockets(&mut self) {
        for id in self.socket_ids() {
            self.close_datagram(id);
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the socket is closed")
}

/// Linux would send to IPv4 from a socket of IPv6, others not; nobody from one kind to another.
fn check_family(own: &Address, to: &Address) -> io::Result<()> {
    let is_v4 = |address: &Address| address.ip().map(|ip| ip.is_ipv4());
    let is_same = is_v4(own) == is_v4(to) && *to != Address::Unnamed;
    if is_same {
        return Ok(());
    }
    let what = format!("a socket bound to {own} cannot send to {to}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}
