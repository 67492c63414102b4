//! Datagram sockets at work: bound, received from, sent to, closed.
//!
//! A socket that has its turn is updated at the end of that, not before; while it is on the run
//! queue, its deadline stays. What waits, and for what, is decided in `net/datagram.rs`; here it is
//! acted on. The handler is not called: `reactor/datagram.rs` hands it what came.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use super::schedule::{Due, Schedule, Ticket};
use super::{Core, Shutdown};
use crate::base::address::Address;
use crate::base::attempt::{Attempt, attempt};
use crate::base::id::{DATAGRAM_BASE, DatagramId, SOCKETS_CEILING, Token};
use crate::base::readiness::Readiness;
use crate::base::refused::Refused;
use crate::base::slots::Slots;
use crate::conn::buffer::ReadBuffer;
use crate::net::bind::{self, Bound, Interface};
use crate::net::datagram::DatagramSocket;
use crate::net::driver::Driver;
use crate::time::deadlines::Stamp;

/// What receiving once came to.
#[derive(Debug)]
pub(crate) enum Received {
    /// A datagram: the bytes of it in the buffer, the bytes that it had, and its sender.
    Datagram { copied: usize, len: usize, from: Address },
    /// None; the next may be fine.
    Skipped,
    /// None, and no use in trying on.
    Stopped,
}

/// A datagram socket in its slot.
#[derive(Debug)]
struct Entry {
    socket: DatagramSocket,
    ticket: Ticket,
    /// What it receives is for this one.
    service: u8,
}

/// All datagram sockets of a reactor.
#[derive(Debug)]
pub(crate) struct Datagrams {
    entries: Slots<Entry>,
    /// The one that has its turn: it is updated at the end of that.
    serving: Option<DatagramId>,
    /// Number of the reactor.
    serial: u32,
}

impl Datagrams {
    pub(super) fn new(serial: u32) -> Self {
        let entries = Slots::new(SOCKETS_CEILING, SOCKETS_CEILING);
        Datagrams { entries, serving: None, serial }
    }

    fn insert(&mut self, socket: DatagramSocket, service: u8) -> DatagramId {
        let entry = Entry { socket, ticket: Ticket::new(), service };
        let (slot, generation) = self.entries.insert(entry);
        DatagramId::new(self.serial, slot, generation)
    }

    /// Moves a socket of this reactor out, if it is still there.
    fn remove(&mut self, id: DatagramId, schedule: &mut Schedule) -> Option<DatagramSocket> {
        let mut entry = self.entries.remove(id.slot, id.generation)?;
        schedule.forget(&mut entry.ticket, id.token());
        Some(entry.socket)
    }

    #[inline]
    pub(super) fn recycle(&mut self) {
        self.entries.recycle();
    }

    /// The socket that an id names, which may be of another reactor.
    fn find(&self, id: DatagramId) -> Option<&DatagramSocket> {
        if self.is_own(id) { self.get(id) } else { None }
    }

    fn is_own(&self, id: DatagramId) -> bool {
        id.reactor() == self.serial
    }

    /// The socket that an id of this reactor names, if it is still there.
    pub(crate) fn get(&self, id: DatagramId) -> Option<&DatagramSocket> {
        self.entries.get(id.slot, id.generation).map(|entry| &entry.socket)
    }

    pub(super) fn get_mut(&mut self, id: DatagramId) -> Option<&mut DatagramSocket> {
        self.entries.get_mut(id.slot, id.generation).map(|entry| &mut entry.socket)
    }

    /// The service that a socket is of.
    pub(crate) fn service(&self, id: DatagramId) -> u8 {
        self.entries.get(id.slot, id.generation).map_or(0, |entry| entry.service)
    }

    /// The name of the socket that a token means, if it is still there.
    fn named(&self, token: Token, slot: u32) -> Option<DatagramId> {
        let generation = self.entries.resolve(token, slot, DATAGRAM_BASE)?;
        Some(DatagramId::new(self.serial, slot, generation))
    }

    fn ids(&self) -> Vec<DatagramId> {
        let name = |(slot, generation)| DatagramId::new(self.serial, slot, generation);
        self.entries.ids().map(name).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    #[allow(dead_code, reason = "asked by the oracle of `sim.rs` alone")]
    pub(crate) fn is_queued(&self, id: DatagramId) -> bool {
        self.entries.get(id.slot, id.generation).is_some_and(|entry| entry.ticket.is_queued())
    }

    /// What the kernel says of a socket.
    #[cold]
    pub(super) fn handle_event(
        &mut self,
        token: Token,
        slot: u32,
        news: Readiness,
        now: Stamp,
        driver: &Driver,
        schedule: &mut Schedule,
    ) {
        let Some(id) = self.named(token, slot) else { return };
        let Some(Entry { socket, ticket, .. }) = self.entries.get_mut(id.slot, id.generation)
        else {
            return;
        };
        socket.handle_event(news);
        let room = socket.watches_room;
        if news.is_error()
            && let Err(error) = driver.restore_datagrams(&mut socket.bound.socket, token, room)
        {
            log::error!("{}: cannot watch it any more: {error}", socket.address);
        }
        schedule.update(ticket, token, socket.is_runnable(now), Due::Unchanged);
    }

    /// Begins a socket's turn.
    fn begin_turn(&mut self, id: DatagramId) -> Option<&mut DatagramSocket> {
        self.serving = Some(id);
        let Entry { socket, ticket, .. } = self.entries.get_mut(id.slot, id.generation)?;
        ticket.take_turn();
        Some(socket)
    }

    pub(super) fn end_turn(&mut self) -> Option<DatagramId> {
        self.serving.take()
    }

    fn is_serving(&self, id: DatagramId) -> bool {
        self.serving == Some(id)
    }

    /// Whether the turn of one has begun and not ended.
    #[inline]
    pub(super) fn is_in_turn(&self) -> bool {
        self.serving.is_some()
    }

    /// Its deadline has come.
    fn expire(&mut self, id: DatagramId) {
        if let Some(entry) = self.entries.get_mut(id.slot, id.generation) {
            entry.ticket.take_deadline();
        }
    }

    /// Sees that a socket is found again. While it is on the run queue, its deadline is not looked at.
    fn update(&mut self, id: DatagramId, now: Stamp, schedule: &mut Schedule) {
        if let Some(Entry { socket, ticket, .. }) = self.entries.get_mut(id.slot, id.generation) {
            let runnable = socket.is_runnable(now);
            let due = if runnable { Due::Unchanged } else { Due::At(socket.deadline()) };
            schedule.update(ticket, id.token(), runnable, due);
        }
    }
}

impl Core {
    /// Gives a socket a place and has it watched.
    pub(crate) fn bind_datagram(&mut self, bound: Bound) -> io::Result<DatagramId> {
        if self.datagrams.is_full() {
            return Err(Refused::TooMany { most: SOCKETS_CEILING, what: "datagram sockets" }.into());
        }
        let address = bound.socket.local_addr()?;
        let (most, wait) = (self.limits.datagrams_queued, self.limits.datagram_wait);
        let socket = DatagramSocket::new(bound, address, most, wait);
        let id = self.datagrams.insert(socket, self.callback.service());
        let socket = self.datagrams.get_mut(id).expect("just inserted");
        if let Err(error) = self.driver.register_datagrams(&mut socket.bound.socket, id.token()) {
            self.datagrams.remove(id, &mut self.schedule);
            return Err(error);
        }
        log::debug!("bound {}", socket.address);
        Ok(id)
    }

    /// The datagram socket that a token means, if it is still there.
    pub(crate) fn socket(&self, token: Token, slot: u32) -> Option<DatagramId> {
        self.datagrams.named(token, slot)
    }

    pub(crate) fn datagram_addr(&self, id: DatagramId) -> Option<&Address> {
        self.find_socket(id).map(|socket| &socket.address)
    }

    pub(crate) fn datagram_fd(&self, id: DatagramId) -> Option<BorrowedFd<'_>> {
        self.find_socket(id)?.bound.socket.fd()
    }

    pub(crate) fn socket_ids(&self) -> Vec<DatagramId> {
        self.datagrams.ids()
    }

    fn find_socket(&self, id: DatagramId) -> Option<&DatagramSocket> {
        self.datagrams.find(id)
    }

    /// Begins a socket's turn: sends what waits and is due.
    pub(crate) fn begin_socket_turn(&mut self, id: DatagramId) {
        let (most, now) = (self.limits.datagrams_per_turn, self.now);
        let Some(socket) = self.datagrams.begin_turn(id) else { return };
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
        let Some(socket) = self.datagrams.get_mut(id) else {
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
                if self.ending.level() == Shutdown::Begun {
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
                socket.handle_empty(self.ending.level() == Shutdown::Begun);
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
        if self.datagrams.is_serving(id) {
            return;
        }
        let Some(socket) = self.datagrams.get_mut(id) else { return };
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
        self.datagrams.update(id, self.now, &mut self.schedule);
    }

    pub(crate) fn end_socket_turn(&mut self) {
        if let Some(id) = self.datagrams.end_turn() {
            self.update_socket(id);
        }
    }

    /// Its deadline has come: it is served in the next turn.
    pub(crate) fn expire_socket(&mut self, id: DatagramId) {
        self.datagrams.expire(id);
        self.update_socket(id);
    }

    /// Sends a datagram, or queues it. `None`: to where the socket is connected.
    pub(crate) fn send_datagram(
        &mut self,
        id: DatagramId,
        to: Option<&Address>,
        payload: &[u8],
    ) -> io::Result<()> {
        if !self.datagrams.is_own(id) {
            return Err(gone());
        }
        let Some(socket) = self.datagrams.get_mut(id) else {
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
        if !self.datagrams.is_own(id) {
            return false;
        }
        let removed = self.datagrams.remove(id, &mut self.schedule);
        let Some(mut socket) = removed else { return false };
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
            let Some(socket) = self.datagrams.get(id) else { continue };
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

/// Linux would send to IPv4 from a socket of IPv6, other systems not; none sends from one kind to another.
fn check_family(own: &Address, to: &Address) -> io::Result<()> {
    let is_v4 = |address: &Address| address.ip().map(|ip| ip.is_ipv4());
    let is_same = is_v4(own) == is_v4(to) && *to != Address::Unnamed;
    if is_same {
        return Ok(());
    }
    let what = format!("a socket bound to {own} cannot send to {to}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}
