//! Datagrams: sockets, ours and those of peers, and the network between them, which loses,
//! duplicates and reorders.
//!
//! As on Linux: a UDP socket takes what comes as long as its queue has room, and what is more is
//! lost; a sender meets WouldBlock when too much of its own is under way, and an edge follows. A Unix
//! datagram lies in the receiver's queue at once; when that is full the *sender* meets WouldBlock, and
//! no edge tells when there is room again, unless it is connected there. What failed so makes an edge
//! of the sender's own all the same (it had allocated memory, and frees it), which says nothing. A
//! connected UDP socket hears by ICMP that the port is closed: one call fails for it, whichever comes
//! first. The comparison with Linux is in `datagram/tests.rs`.
//!
//! Simplified: queues and buffers count datagrams, not bytes; an address is bound as it is written
//! (`0.0.0.0` is an address like others); there is no broadcast and no multicast.
//! Chances are drawn from a stream of their own, so that connections in the same world do not shift.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustix::io::Errno;

use super::trace::{Answer, PORTS, What};
use super::{Actor, Event, Kind, Rng, State};
use crate::base::address::Address;
use crate::base::readiness::Readiness;

/// What IPv4 carries (udp(7)), and what a Unix socket's buffer holds by default (`SO_SNDBUF`, less 32).
const UDP_MAX: usize = 65_507;
const UNIX_MAX: usize = 212_960;
/// So many datagrams of a Unix socket lie unread at its receivers before it can send no more: as many
/// small ones fit in `SO_SNDBUF`.
const UNIX_SENDING: usize = 277;

/// A datagram, on its way or in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) payload: Arc<[u8]>,
    pub(crate) from: Address,
    pub(crate) to: Address,
    /// The port that sent it.
    sender: u32,
}

/// What a datagram socket of ours did, for an oracle.
#[allow(dead_code, reason = "for the oracle of crates/check")]
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// A receive brought this; so much room there was for it.
    Received(Packet, usize),
    /// The kernel took this to send it.
    Sent(Option<Address>, Arc<[u8]>),
    /// A send said so.
    Denied(Option<Address>, Arc<[u8]>, Errno),
    /// A receive said so.
    Failed(Errno),
}

/// A datagram socket: of the process, or of a peer.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Port {
    pub(crate) address: Address,
    /// It receives from there only.
    pub(crate) connected: Option<Address>,
    pub(crate) open: bool,
    /// The process's.
    pub(super) file: Option<u32>,
    /// The process is told when there is room to send.
    wants_room: bool,
    /// The peer's.
    actor: Option<Box<dyn Actor>>,
    stirred: bool,
    pub(crate) queue: VecDeque<Packet>,
    queue_max: usize,
    /// Datagrams of it that are under way (UDP), or lie unread at receivers (Unix).
    sending: usize,
    sending_max: usize,
    /// A send to where it is connected met a full queue (Unix).
    starved: bool,
    /// Peers that wait for room in this queue (Unix).
    waiters: Vec<u32>,
    /// What ICMP told, for the next call.
    pub(crate) error: Option<Errno>,
    /// When the last one sent in order arrives.
    last_arrival: u64,
    /// The kernel is short of memory until then.
    short_until: u64,
    /// When a send was last told so.
    pub(crate) short_at: u64,
    /// With the moment of each. Kept only if an oracle [watches](Mail::watched).
    pub(crate) deeds: Vec<(u64, Deed)>,
}

/// All datagram sockets of a world, and what is between them.
pub(crate) struct Mail {
    rng: Rng,
    pub(crate) ports: Vec<Port>,
    under_way: BTreeMap<u64, Packet>,
    /// Datagrams ever put on their way.
    count: u64,
    /// Peers to be called.
    stirred: VecDeque<u32>,
    /// What our sockets do is written down.
    pub(crate) watched: bool,
}

impl Mail {
    pub(super) fn new(seed: u64) -> Self {
        Mail {
            rng: Rng::new(seed ^ 0x1E77_E12B_0C5E_5EED),
            ports: Vec::new(),
            under_way: BTreeMap::new(),
            count: 0,
            stirred: VecDeque::new(),
            watched: false,
        }
    }

    fn open_at(&self, address: &Address) -> Option<u32> {
        let at = |port: &Port| port.open && port.address == *address;
        self.ports.iter().position(at).and_then(|port| u32::try_from(port).ok())
    }

    fn port(&mut self, number: u32) -> &mut Port {
        &mut self.ports[number as usize]
    }

    /// Where a datagram from one address to another arrives, if anywhere.
    fn receiver(&self, from: &Address, to: &Address) -> Option<u32> {
        let number = self.open_at(to)?;
        let connected = self.ports[number as usize].connected.as_ref();
        connected.is_none_or(|only| only == from).then_some(number)
    }
}

impl Port {
    fn is_unix(&self) -> bool {
        self.address.ip().is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= self.queue_max
    }

    /// Enough of its buffer is free to tell of (`sock_writeable`, `unix_writable`).
    fn has_room(&self) -> bool {
        let times = if self.is_unix() { 4 } else { 2 };
        self.sending * times <= self.sending_max
    }
}

impl State {
    /// Binds a socket; of the process, if `actor` is `None`.
    pub(super) fn bind(
        &mut self,
        mut address: Address,
        connected: Option<Address>,
        actor: Option<Box<dyn Actor>>,
    ) -> Result<u32, Errno> {
        let number = u32::try_from(self.mail.ports.len()).expect("few datagram sockets");
        if let Address::Ip(addr) = &mut address
            && addr.port() == 0
        {
            // A free port.
            addr.set_port(u16::try_from(60_000 + number % 5000).unwrap_or(60_000));
        }
        if address != Address::Unnamed && self.mail.open_at(&address).is_some() {
            return Err(Errno::ADDRINUSE);
        }
        if let Some(to) = connected.as_ref().filter(|to| to.ip().is_none()) {
            self.unix_at(to)?;
        }
        let file = match actor {
            None => Some(self.open_file(Kind::Datagrams(number))?),
            Some(_) => None,
        };
        let (low, high) = (*self.profile.mailbox.start(), *self.profile.mailbox.end());
        let (queue_max, sending) = (self.mail.rng.size(low, high), self.mail.rng.size(low, high));
        let sending_max = if address.ip().is_none() { UNIX_SENDING } else { sending };
        self.mail.ports.push(Port {
            address,
            connected,
            open: true,
            file,
            wants_room: false,
            actor,
            stirred: false,
            queue: VecDeque::new(),
            queue_max,
            sending: 0,
            sending_max,
            starved: false,
            waiters: Vec::new(),
            error: None,
            last_arrival: 0,
            short_until: 0,
            short_at: 0,
            deeds: Vec::new(),
        });
        self.tell_of(number, "bind", 0);
        Ok(number)
    }

    fn tell_of(&mut self, port: u32, what: &'static str, bytes: usize) {
        self.trace.add(self.now, PORTS + port, What::Note(what, bytes as u64), Answer::None);
    }

    /// A call of ours has answered.
    fn answer_of(&mut self, port: u32, what: What, result: Result<usize, Errno>) {
        self.calls += 1;
        let answer = result.map_or_else(Answer::Error, Answer::Count);
        self.trace.add(self.now, PORTS + port, what, answer);
    }

    fn do_deed(&mut self, port: u32, deed: impl FnOnce() -> Deed) {
        if self.mail.watched {
            let now = self.now;
            self.mail.port(port).deeds.push((now, deed()));
        }
    }

    pub(super) fn port_of(&self, file: u32) -> u32 {
        match self.file_of(file).1 {
            Kind::Datagrams(port) => port,
            Kind::Stream(_) | Kind::Listener(_) => unreachable!("it is a datagram socket"),
        }
    }

    // --- Calls of the process -------------------------------------------------------------------

    pub(super) fn recv_from(
        &mut self,
        file: u32,
        buf: &mut [u8],
    ) -> Result<(usize, usize, Address), Errno> {
        let port = self.port_of(file);
        let result = self.recv_at(file, port, buf.len());
        let copied = result.as_ref().map(|packet| packet.payload.len().min(buf.len()));
        self.answer_of(port, What::Receive(buf.len()), copied.map_err(|error| *error));
        match result {
            Ok(packet) => {
                let n = packet.payload.len().min(buf.len());
                buf[..n].copy_from_slice(&packet.payload[..n]);
                Ok((n, packet.payload.len(), packet.from))
            }
            Err(error) => {
                if error == Errno::AGAIN {
                    self.arm(file, Readiness::READABLE);
                } else {
                    self.do_deed(port, || Deed::Failed(error));
                }
                Err(error)
            }
        }
    }

    fn recv_at(&mut self, file: u32, port: u32, room: usize) -> Result<Packet, Errno> {
        self.interrupt()?;
        if let Some(error) = self.mail.port(port).error.take() {
            return Err(error);
        }
        let waits = !self.mail.port(port).queue.is_empty();
        if waits && self.mail.rng.chance(self.profile.would_block) {
            self.edge_soon(file);
            return Err(Errno::AGAIN);
        }
        let packet = self.take(port).ok_or(Errno::AGAIN)?;
        self.do_deed(port, || Deed::Received(packet.clone(), room));
        Ok(packet)
    }

    pub(super) fn send_to(
        &mut self,
        file: u32,
        payload: &[u8],
        to: Option<&Address>,
    ) -> Result<(), Errno> {
        let port = self.port_of(file);
        let payload: Arc<[u8]> = payload.into();
        let result = self.send_at(file, port, &payload, to);
        self.answer_of(port, What::SendTo(payload.len()), result.map(|()| payload.len()));
        let is_named = self.mail.port(port).is_unix() && to.is_some();
        if result == Err(Errno::AGAIN) && !is_named {
            // Of a receiver's queue nothing can be told (`socket/datagram.rs`).
            self.arm(file, Readiness::WRITABLE);
        }
        self.do_deed(port, || match result {
            Ok(()) => Deed::Sent(to.cloned(), payload),
            Err(error) => Deed::Denied(to.cloned(), payload, error),
        });
        result
    }

    fn send_at(
        &mut self,
        file: u32,
        number: u32,
        payload: &Arc<[u8]>,
        to: Option<&Address>,
    ) -> Result<(), Errno> {
        self.interrupt()?;
        let now = self.now;
        if let Some(error) = self.mail.port(number).error.take() {
            return Err(error);
        }
        if self.mail.rng.chance(self.profile.shortage) {
            // Mostly over at once.
            let long = self.mail.rng.chance(300);
            let wait = if long { self.mail.rng.within(0, 50_000_000) } else { 0 };
            self.mail.port(number).short_until = now + wait + 1;
        }
        let port = self.mail.port(number);
        if now < port.short_until {
            port.short_at = now;
            return Err(Errno::NOBUFS);
        }
        let is_unix = port.is_unix();
        if port.sending < port.sending_max && self.mail.rng.chance(self.profile.would_block) {
            if !is_unix {
                self.edge_soon(file);
                return Err(Errno::AGAIN);
            }
            // Of a connected one the edge comes.
            if to.is_none() {
                self.edge_soon(file);
            } else {
                self.edge(file);
            }
            return Err(Errno::AGAIN);
        }
        self.put(number, payload, to)
    }

    /// The process asks to be told of room to send, or no longer (`EPOLL_CTL_MOD`, which looks at once).
    pub(super) fn watch_room(&mut self, file: u32, wants: bool) {
        let port = self.port_of(file);
        self.mail.port(port).wants_room = wants;
        if let Some(entry) = &mut self.files[file as usize] {
            let room = Readiness::WRITABLE;
            entry.armed = if wants { entry.armed | room } else { entry.armed.without(room) };
        }
        if wants {
            self.edge_now(file);
        }
    }

    /// What a poll is told of a socket.
    pub(super) fn news_of_port(&self, number: u32) -> Readiness {
        let mask = self.mask_of_port(number);
        let is_asked = self.mail.ports[number as usize].wants_room;
        if is_asked { mask } else { mask.without(Readiness::WRITABLE) }
    }

    /// What a socket shows to a poll (`datagram_poll`, `unix_dgram_poll`).
    pub(super) fn mask_of_port(&self, number: u32) -> Readiness {
        let port = &self.mail.ports[number as usize];
        let mut bits = Readiness::EMPTY;
        if !port.queue.is_empty() {
            bits = bits | Readiness::READABLE;
        }
        if port.has_room() && !(port.is_unix() && self.is_kept_waiting(number)) {
            bits = bits | Readiness::WRITABLE;
        }
        if port.error.is_some() {
            bits = bits | Readiness::ERROR;
            if !self.profile.flags {
                bits = bits | Readiness::READABLE | Readiness::WRITABLE;
            }
        }
        bits
    }

    /// Whether the socket that it is connected to has no room (Unix).
    fn is_kept_waiting(&self, number: u32) -> bool {
        let port = &self.mail.ports[number as usize];
        let other = port.connected.as_ref().and_then(|to| self.mail.open_at(to));
        other.is_some_and(|other| {
            let other = &self.mail.ports[other as usize];
            other.is_full() && other.connected.as_ref() != Some(&port.address)
        })
    }

    pub(super) fn close_port(&mut self, number: u32) {
        let port = self.mail.port(number);
        port.open = false;
        port.file = None;
        let (queue, waiters) = (std::mem::take(&mut port.queue), std::mem::take(&mut port.waiters));
        let is_unix = port.is_unix();
        for packet in queue {
            if is_unix {
                self.gave_back(packet.sender);
            }
        }
        for waiter in waiters {
            self.stir_port(waiter);
        }
        self.tell_of(number, "close", 0);
        if is_unix {
            self.wake_connected(number);
        }
    }

    // --- Both sides -----------------------------------------------------------------------------

    /// Puts a datagram on its way.
    fn put(&mut self, number: u32, payload: &Arc<[u8]>, to: Option<&Address>) -> Result<(), Errno> {
        let port = &self.mail.ports[number as usize];
        let is_unix = port.is_unix();
        let is_there = to.is_none();
        let to = to.or(port.connected.as_ref()).cloned();
        let other_family = to.as_ref().is_some_and(|to| to.ip().is_none() != is_unix);
        if other_family || (!is_unix && to.is_none()) {
            return Err(if other_family { Errno::INVAL } else { Errno::DESTADDRREQ });
        }
        if payload.len() > if is_unix { UNIX_MAX } else { UDP_MAX } {
            return Err(Errno::MSGSIZE);
        }
        if port.sending >= port.sending_max {
            self.mail.port(number).starved = true;
            return Err(Errno::AGAIN);
        }
        let from = port.address.clone();
        let packet = |to| Packet { payload: Arc::clone(payload), from, to, sender: number };
        if !is_unix {
            self.set_out(packet(to.expect("looked at above")));
            return Ok(());
        }
        let result = to.ok_or(Errno::NOTCONN).and_then(|to| self.hand_over(packet(to)));
        if is_there && result == Err(Errno::CONNREFUSED) {
            self.disconnect(number);
        }
        let port = self.mail.port(number);
        if let (Err(_), Some(file), true) = (result, port.file, port.has_room()) {
            // What it had allocated is freed, and that wakes it (`sock_wfree`).
            self.edge(file);
        }
        result
    }

    /// On a Unix socket it lies with the receiver at once, or not at all.
    fn hand_over(&mut self, packet: Packet) -> Result<(), Errno> {
        let sender = packet.sender;
        let number = self.unix_at(&packet.to)?;
        let receiver = self.mail.port(number);
        if receiver.connected.as_ref().is_some_and(|only| *only != packet.from) {
            return Err(Errno::PERM);
        }
        // A receiver that is connected to us has room for us, always (`unix_dgram_sendmsg`).
        if receiver.is_full() && receiver.connected.is_none() {
            let port = self.mail.port(sender);
            port.starved |= port.connected.as_ref() == Some(&packet.to);
            return Err(Errno::AGAIN);
        }
        self.mail.port(sender).sending += 1;
        self.arrive_at(number, packet);
        Ok(())
    }

    /// Whom a Unix socket was connected to is found gone: so is what lay here unread
    /// (`unix_dgram_disconnected`).
    fn disconnect(&mut self, number: u32) {
        let port = self.mail.port(number);
        port.connected = None;
        for packet in std::mem::take(&mut port.queue) {
            self.gave_back(packet.sender);
        }
    }

    fn unix_at(&self, to: &Address) -> Result<u32, Errno> {
        let is_path = matches!(to, Address::Unix(_));
        let was_there = self.mail.ports.iter().any(|port| port.address == *to);
        let error = if is_path && !was_there { Errno::NOENT } else { Errno::CONNREFUSED };
        self.mail.open_at(to).ok_or(error)
    }

    /// On UDP the network has it.
    fn set_out(&mut self, packet: Packet) {
        let number = packet.sender;
        self.mail.port(number).sending += 1;
        let wait = self.latency_of_mail();
        self.at(self.now + wait, Event::Left(number));
        if self.mail.rng.chance(self.profile.lost) {
            self.tell_of(number, "   a datagram is lost, bytes:", packet.payload.len());
            return;
        }
        let twice = self.mail.rng.chance(self.profile.duplicated);
        for packet in std::iter::repeat_n(packet, if twice { 2 } else { 1 }) {
            let wait = self.latency_of_mail();
            let mut at = self.now + wait;
            if self.mail.rng.chance(self.profile.datagrams_reordered) {
                let longest = 1000 * self.profile.latency.end().max(&100);
                at += self.mail.rng.within(1, 10 * longest);
            } else {
                let port = self.mail.port(number);
                port.last_arrival = port.last_arrival.max(at);
                at = port.last_arrival;
            }
            let mail = &mut self.mail;
            mail.count += 1;
            mail.under_way.insert(mail.count, packet);
            let count = mail.count;
            self.at(at, Event::Mail(count));
        }
    }

    fn latency_of_mail(&mut self) -> u64 {
        1000 * self.mail.rng.within(*self.profile.latency.start(), *self.profile.latency.end())
    }

    /// A datagram comes to where it was sent.
    pub(super) fn deliver(&mut self, count: u64) {
        let Some(packet) = self.mail.under_way.remove(&count) else { return };
        let bytes = packet.payload.len();
        let Some(number) = self.mail.receiver(&packet.from, &packet.to) else {
            // The network tells the sender; only a socket that is connected there hears of it (udp(7)).
            let sender = &self.mail.ports[packet.sender as usize];
            if sender.open && sender.connected.as_ref() == Some(&packet.to) {
                let wait = self.latency_of_mail();
                self.at(self.now + wait, Event::Unreachable(packet.sender));
            }
            return self.tell_of(packet.sender, "   a datagram meets nobody, bytes:", bytes);
        };
        if self.mail.port(number).is_full() {
            return self.tell_of(number, "   a datagram finds no room, bytes:", bytes);
        }
        self.arrive_at(number, packet);
    }

    fn arrive_at(&mut self, number: u32, packet: Packet) {
        let port = self.mail.port(number);
        let what = if port.file.is_some() {
            "<- a datagram arrives, bytes:"
        } else {
            "   a datagram arrives there, bytes:"
        };
        let bytes = packet.payload.len();
        port.queue.push_back(packet);
        self.tell_of(number, what, bytes);
        self.tell_port(number);
    }

    /// Something new to be told: to us by an edge, to the peer by a call.
    fn tell_port(&mut self, number: u32) {
        match self.mail.port(number).file {
            Some(file) => self.edge(file),
            None => self.stir_port(number),
        }
    }

    /// One less of its datagrams is under way.
    pub(super) fn gave_back(&mut self, number: u32) {
        let port = self.mail.port(number);
        port.sending = port.sending.saturating_sub(1);
        if port.has_room() {
            port.starved = false;
            self.tell_port(number);
        }
    }

    /// ICMP: the port is closed.
    pub(super) fn unreachable_told(&mut self, number: u32) {
        let port = self.mail.port(number);
        if port.open {
            port.error = Some(Errno::CONNREFUSED);
            self.tell_of(number, "<- ICMP: nobody is there", 0);
            self.tell_port(number);
        }
    }

    /// Takes the first datagram from a queue.
    fn take(&mut self, number: u32) -> Option<Packet> {
        let port = self.mail.port(number);
        let packet = port.queue.pop_front()?;
        if port.is_unix() {
            let waiters = std::mem::take(&mut port.waiters);
            for waiter in waiters {
                self.stir_port(waiter);
            }
            self.gave_back(packet.sender);
            self.wake_connected(number);
        }
        Some(packet)
    }

    /// Senders that are connected to a Unix socket, and met no room there, hear that there is some.
    fn wake_connected(&mut self, number: u32) {
        let address = self.mail.port(number).address.clone();
        for other in 0..self.mail.ports.len() {
            let port = &mut self.mail.ports[other];
            if port.open && port.starved && port.connected.as_ref() == Some(&address) {
                port.starved = false;
                self.tell_port(u32::try_from(other).unwrap_or(0));
            }
        }
    }

    // --- Calls of peers -------------------------------------------------------------------------

    /// A socket of a peer.
    pub(crate) fn peer_binds(
        &mut self,
        address: Address,
        connected: Option<Address>,
        actor: Box<dyn Actor>,
    ) -> Result<u32, Errno> {
        let number = self.bind(address, connected, Some(actor))?;
        self.stir_port(number);
        Ok(number)
    }

    /// After `AGAIN` the peer is called when there is room.
    pub(crate) fn peer_sends_to(
        &mut self,
        number: u32,
        payload: &[u8],
        to: &Address,
    ) -> Result<(), Errno> {
        let result = self.put(number, &payload.into(), Some(to));
        match result {
            Ok(()) => self.tell_of(number, "   peer sends, bytes:", payload.len()),
            Err(Errno::AGAIN) => {
                if let Some(receiver) = self.mail.open_at(to).filter(|_| to.ip().is_none()) {
                    self.mail.port(receiver).waiters.push(number);
                }
            }
            Err(_) => {}
        }
        result
    }

    pub(crate) fn peer_receives(&mut self, number: u32) -> Option<Packet> {
        let packet = self.take(number)?;
        self.tell_of(number, "   peer receives, bytes:", packet.payload.len());
        Some(packet)
    }

    pub(crate) fn peer_unbinds(&mut self, number: u32) {
        if self.mail.port(number).open {
            self.close_port(number);
        }
    }

    pub(crate) fn act_port_after(&mut self, number: u32, wait: u64) {
        self.at(self.now.saturating_add(wait), Event::ActPort(number));
    }

    pub(crate) fn stir_port(&mut self, number: u32) {
        let port = self.mail.port(number);
        if port.file.is_none() && !port.stirred {
            port.stirred = true;
            self.mail.stirred.push_back(number);
        }
    }

    /// Calls the peers that something happened to. Returns whether there were any.
    pub(super) fn call_correspondents(&mut self) -> bool {
        let mut any = false;
        while let Some(number) = self.mail.stirred.pop_front() {
            any = true;
            let port = self.mail.port(number);
            let Some(mut actor) = port.actor.take() else { continue };
            port.stirred = false;
            actor.act(self, number);
            self.mail.port(number).actor = Some(actor);
        }
        any
    }
}

#[cfg(test)]
mod tests;
