//! One simulated connection: two ends, and what is between them.
//!
//! Modelled after what Linux does, where that can be seen from a socket: tcp(7), unix(7), and the
//! comparison in `tests.rs`, which runs the same steps against the real one. Nothing here knows the
//! time, a descriptor or a poll: each step answers what it stirred, and `kernel.rs` goes on from
//! there.

use std::collections::VecDeque;

use rustix::io::Errno;

use crate::base::address::Address;
use crate::base::readiness::Readiness;

/// Our end of a link; the peer's is [`THERE`].
pub(crate) const HERE: usize = 0;
pub(crate) const THERE: usize = 1;

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

impl Transport {
    /// What a connection to this address goes by.
    pub(super) fn of(address: &Address) -> Self {
        match address {
            Address::Ip(_) => Transport::Tcp,
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => Transport::Unix,
        }
    }
}

/// Bytes on their way from one end to the other.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(crate) struct Half {
    /// In the sender's kernel.
    pub(crate) sent: VecDeque<u8>,
    /// In the receiver's kernel, unread.
    pub(crate) arrived: VecDeque<u8>,
    /// How many bytes the sender's kernel holds, and how many it may come to hold (TCP).
    room: usize,
    room_max: usize,
    /// How many bytes the receiver's kernel holds.
    window: usize,
    /// Bytes ever written.
    pub(crate) written: u64,
    /// Bytes ever read.
    pub(crate) read: u64,
    /// Offsets at which a read stops, and whether urgent data there is still to be told of.
    cuts: VecDeque<(u64, bool)>,
    /// Unix: where the buffers end that the sender's kernel made of what was written, and up to
    /// where they are freed: whole ones only.
    buffers: VecDeque<u64>,
    freed: u64,
    /// The sender has ended its side: its end follows `sent`.
    pub(crate) fin: bool,
    /// The end has come to the receiver.
    pub(crate) fin_arrived: bool,
    /// The sender met a full buffer since there was last room to tell of (`SOCK_NOSPACE`).
    starved: bool,
    /// A step of the way is on the agenda.
    pub(crate) due: bool,
}

/// One end's socket.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(crate) struct End {
    /// It has a descriptor.
    pub(crate) open: bool,
    /// Reset, or (on a Unix socket) the other end is closed: nothing moves any more.
    pub(crate) dead: bool,
    /// A reset came before the other side's end.
    pub(crate) cut: bool,
    /// What the next call is told, once.
    pub(crate) error: Option<Errno>,
    /// Close by reset (`SO_LINGER` of zero).
    pub(crate) reset_on_close: bool,
    /// Its close waits for the peer (`SO_LINGER` of some seconds): on TCP.
    pub(crate) lingers: bool,
    /// Unread urgent data lies at this offset.
    urgent: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) transport: Transport,
    /// By sender.
    pub(crate) halves: [Half; 2],
    pub(crate) ends: [End; 2],
}

/// What one step of the way came to.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(crate) struct Step {
    /// Bytes that arrived.
    pub(crate) arrived: usize,
    /// The end arrived.
    pub(crate) ended: bool,
    /// The receiver has something new to be told.
    pub(crate) news: bool,
    /// The sender has room again.
    pub(crate) space: bool,
    /// Bytes came to where no socket is: the sender is to be reset.
    pub(crate) refused: bool,
    /// The sender knows that its end has arrived (TCP), which wakes its poll.
    pub(crate) acknowledged: bool,
    /// There is more to carry, and room for it.
    pub(crate) more: bool,
}

/// What closing a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// Our end follows what was written.
    End,
    /// The other side is to be told of a reset, or that a Unix socket is gone.
    Reset,
    /// There is nothing to tell.
    Nothing,
}

impl Half {
    fn new(room: usize, window: usize) -> Self {
        Half {
            sent: VecDeque::new(),
            arrived: VecDeque::new(),
            room,
            room_max: room,
            window,
            written: 0,
            read: 0,
            cuts: VecDeque::new(),
            buffers: VecDeque::new(),
            freed: 0,
            fin: false,
            fin_arrived: false,
            starved: false,
            due: false,
        }
    }

    /// Bytes that count against the sender: on a Unix socket they lie with the receiver, in buffers
    /// that are freed when all of them is read. (Simplified: Linux counts a buffer's overhead too.)
    fn charged(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => self.sent.len(),
            Transport::Unix => usize::try_from(self.written - self.freed).unwrap_or(usize::MAX),
        }
    }

    /// Forgets cuts that a read has come to. Returns whether one was urgent data.
    fn pass_cuts(&mut self) -> bool {
        let mut passed = false;
        while self.cuts.front().is_some_and(|(at, untold)| *at <= self.read && !untold) {
            self.cuts.pop_front();
            passed = true;
        }
        passed
    }

    /// How much of what was sent is on the wire: what the window has room for.
    fn on_wire(&self) -> usize {
        self.sent.len().min(self.window.saturating_sub(self.arrived.len()))
    }

    /// Drops what has not gone on its way, when a reset is sent.
    fn keep_wire(&mut self) {
        self.sent.truncate(self.on_wire());
        self.fin &= self.fin_arrived;
    }

    fn free(&self, transport: Transport) -> usize {
        self.room.saturating_sub(self.charged(transport))
    }

    /// Whether there is room worth telling of: half as much as is in use (`sk_stream_is_writeable`),
    /// three times as much on a Unix socket (`unix_writable`).
    fn is_writable(&self, transport: Transport) -> bool {
        let charged = self.charged(transport);
        match transport {
            Transport::Tcp => self.free(transport) >= (charged / 2).max(1),
            Transport::Unix => 4 * charged <= self.room,
        }
    }

    /// How many bytes ever came to the receiver.
    fn came(&self) -> u64 {
        self.read + self.arrived.len() as u64
    }

    fn can_carry(&self) -> bool {
        (!self.sent.is_empty() && self.arrived.len() < self.window)
            || (self.sent.is_empty() && self.fin && !self.fin_arrived)
            || self.cuts.iter().any(|(at, urgent)| *urgent && *at <= self.came())
    }
}

impl Link {
    /// `sizes`: of the buffers, the sender's and the receiver's, by direction.
    pub(crate) fn new(transport: Transport, sizes: [(usize, usize); 2]) -> Self {
        let end = End {
            open: true,
            dead: false,
            cut: false,
            error: None,
            reset_on_close: false,
            lingers: false,
            urgent: None,
        };
        Link {
            transport,
            halves: sizes.map(|(room, window)| Half::new(room, window)),
            ends: [end; 2],
        }
    }

    /// From now on the send buffers of TCP grow up to so many bytes.
    pub(crate) fn grow_to(&mut self, room_max: usize) {
        for half in &mut self.halves {
            half.room_max = half.room.max(room_max);
        }
    }

    /// Reads at one end, into `buf`.
    pub(crate) fn read(&mut self, side: usize, buf: &mut [u8]) -> Result<usize, Errno> {
        let half = &mut self.halves[1 - side];
        let end = &mut self.ends[side];
        if half.pass_cuts() && end.urgent.is_some_and(|at| at <= half.read) {
            // The byte at the mark is skipped, whether or not there is one behind it.
            end.urgent = None;
        }
        if half.arrived.is_empty() || buf.is_empty() {
            if let Some(error) = self.take_read_error(side) {
                return Err(error);
            }
            let ended = self.halves[1 - side].fin_arrived || self.ends[side].dead;
            return if ended || buf.is_empty() { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let mut n = buf.len().min(half.arrived.len());
        if let Some((cut, _)) = half.cuts.front() {
            // Short, with more behind it and no edge to come (trap 71).
            n = n.min(usize::try_from(cut - half.read).unwrap_or(n));
        }
        let (one, two) = half.arrived.as_slices();
        let from_one = n.min(one.len());
        buf[..from_one].copy_from_slice(&one[..from_one]);
        buf[from_one..n].copy_from_slice(&two[..n - from_one]);
        half.arrived.drain(..n);
        half.read += n as u64;
        Ok(n)
    }

    /// Writes at one end as much as there is room for, at most `most` bytes.
    pub(crate) fn write<'a>(
        &mut self,
        side: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
        most: usize,
    ) -> Result<usize, Errno> {
        let half = &mut self.halves[side];
        let end = &mut self.ends[side];
        match self.transport {
            // `sk_stream_error`: a pending error goes before EPIPE.
            Transport::Tcp => {
                if let Some(error) = end.error.take() {
                    return Err(error);
                }
            }
            // `unix_stream_sendmsg` leaves it to the next read.
            Transport::Unix => {}
        }
        if end.dead || half.fin {
            return Err(Errno::PIPE);
        }
        let free = half.free(self.transport);
        if free == 0 {
            half.starved = true;
            return Err(Errno::AGAIN);
        }
        let mut taken = 0;
        for piece in pieces {
            let n = piece.len().min(free.min(most) - taken);
            half.sent.extend(&piece[..n]);
            taken += n;
            if n < piece.len() {
                half.starved = true;
                break;
            }
        }
        if taken == 0 {
            return Ok(0);
        }
        let before = half.written;
        half.written += taken as u64;
        if self.transport == Transport::Unix {
            let most = (half.room / 2).max(1);
            let ends = (before..half.written).step_by(most).skip(1);
            half.buffers.extend(ends.chain([half.written]));
        }
        Ok(taken)
    }

    /// Bytes on their way from `side`.
    pub(crate) fn unacknowledged(&self, side: usize) -> usize {
        match self.transport {
            Transport::Tcp => self.halves[side].sent.len(),
            Transport::Unix => 0,
        }
    }

    /// The error that a read with nothing to bring tells, once.
    fn take_read_error(&mut self, side: usize) -> Option<Errno> {
        // `tcp_recvmsg` looks for the end before the error, `unix_stream_read_generic` after.
        let told_end = self.transport == Transport::Tcp && self.halves[1 - side].fin_arrived;
        if told_end { None } else { self.ends[side].error.take() }
    }

    /// Whether a read at `side` would bring bytes. To ask that is to peek, which is told the error, too.
    pub(crate) fn has_unread(&mut self, side: usize) -> bool {
        let has_unread = !self.halves[1 - side].arrived.is_empty();
        if !has_unread {
            self.take_read_error(side);
        }
        has_unread
    }

    /// A cut where the next byte written will lie: urgent data, or a descriptor passed along.
    pub(crate) fn mark(&mut self, side: usize, urgent: bool) {
        let half = &mut self.halves[side];
        half.cuts.push_back((half.written, urgent));
    }

    /// Carries at most `most` bytes of what `side` sent one step of the way.
    pub(crate) fn carry(&mut self, side: usize, most: usize) -> Step {
        let mut step = Step::default();
        if self.ends[1 - side].dead {
            // Nothing reads them.
            self.halves[side].sent.clear();
            return step;
        }
        let receiver_open = self.ends[1 - side].open;
        let half = &mut self.halves[side];
        let n = half.on_wire().min(most);
        // Urgent data is a byte, too.
        let something = n > 0 || half.cuts.iter().any(|(_, untold)| *untold);
        if something && !receiver_open && self.transport == Transport::Tcp {
            step.refused = true;
            return step;
        }
        if n == half.sent.len() && half.arrived.is_empty() {
            std::mem::swap(&mut half.sent, &mut half.arrived);
        } else {
            half.arrived.extend(half.sent.drain(..n));
        }
        step.arrived = n;
        step.news = n > 0;
        let came = half.came();
        for (at, urgent) in &mut half.cuts {
            if *urgent && *at <= came {
                *urgent = false;
                self.ends[1 - side].urgent = Some(*at);
                step.news = true;
            }
        }
        if half.sent.is_empty() && half.fin && !half.fin_arrived {
            half.fin_arrived = true;
            step.ended = true;
            step.news = true;
            step.acknowledged = self.transport == Transport::Tcp;
        }
        if n > 0 && self.transport == Transport::Tcp {
            if half.starved {
                // `tcp_new_space`: first it grows, and then a larger third of it must be free.
                half.room = half.room.max(half.room_max.min(2 * half.room));
            }
            step.space = half.starved && half.is_writable(Transport::Tcp);
        }
        if step.space {
            half.starved = false;
        }
        step.more = half.can_carry();
        step
    }

    /// After a read at `side`: whether the other side has room again, and whether the way is free.
    pub(crate) fn after_read(&mut self, side: usize) -> (bool, bool) {
        let half = &mut self.halves[1 - side];
        let mut freed = false;
        while let Some(end) = half.buffers.front().copied().filter(|end| *end <= half.read) {
            half.buffers.pop_front();
            half.freed = end;
            freed = true;
        }
        // `unix_write_space`, whether or not a write met a full buffer.
        let space = freed && half.is_writable(Transport::Unix);
        (space, half.can_carry())
    }

    /// Ends `side`'s half: shutdown(2) of writing.
    pub(crate) fn shutdown(&mut self, side: usize) -> Result<(), Errno> {
        match self.transport {
            Transport::Tcp if self.ends[side].dead || self.is_over() => Err(Errno::NOTCONN),
            // `unix_shutdown` does not fail.
            Transport::Tcp | Transport::Unix => {
                self.halves[side].fin = true;
                Ok(())
            }
        }
    }

    /// Whether the socket at `side` has forgotten its peer (`inet_getname` of Linux).
    pub(crate) fn has_forgotten_peer(&self, side: usize) -> bool {
        self.transport == Transport::Tcp && (self.ends[side].dead || self.is_over())
    }

    /// Both ends have arrived: TCP's states TIME-WAIT and CLOSED.
    fn is_over(&self) -> bool {
        self.halves.iter().all(|half| half.fin_arrived)
    }

    /// Whether a close of `side` would wait for the other: until all has been acknowledged, its end
    /// too (`__tcp_close`). Not where it resets.
    pub(crate) fn waits_to_close(&self, side: usize) -> bool {
        let (end, incoming, outgoing) =
            (&self.ends[side], &self.halves[1 - side], &self.halves[side]);
        let unread = end.open && (!incoming.arrived.is_empty() || end.urgent.is_some());
        let resets = end.dead || unread || end.reset_on_close;
        end.lingers && self.transport == Transport::Tcp && !resets && !outgoing.fin_arrived
    }

    /// Closes `side`'s descriptor.
    pub(crate) fn close(&mut self, side: usize) -> Goodbye {
        let is_over = self.is_over();
        let incoming = &self.halves[1 - side];
        let end = &mut self.ends[side];
        end.open = false;
        if end.dead {
            return Goodbye::Nothing;
        }
        if self.transport == Transport::Unix {
            return Goodbye::Reset;
        }
        // RFC 1122, 4.2.2.13: a close with data unread resets.
        let unread = !incoming.arrived.is_empty() || end.urgent.is_some();
        // `tcp_disconnect`: not once both have ended (LAST-ACK), unless something is still to go.
        let outgoing = &self.halves[side];
        let last =
            incoming.fin_arrived && outgoing.fin && outgoing.on_wire() == outgoing.sent.len();
        let linger = end.reset_on_close && !last;
        if is_over {
            Goodbye::Nothing
        } else if unread || linger {
            self.abandon(side);
            Goodbye::Reset
        } else {
            self.halves[side].fin = true;
            Goodbye::End
        }
    }

    /// A TCP socket that has sent a reset.
    pub(crate) fn abandon(&mut self, side: usize) {
        self.ends[side].dead = true;
        self.halves[side].keep_wire();
    }

    /// A reset comes to `side`, or the news that a Unix socket is gone. What has arrived there stays
    /// to be read. Returns whether there was a socket to hear of it.
    pub(crate) fn reset(&mut self, side: usize) -> bool {
        let is_over = self.is_over();
        let [own_fin, ended] = [self.halves[side].fin, self.halves[1 - side].fin_arrived];
        let unread = self.halves[side].arrived.len() + self.halves[side].sent.len() > 0
            || self.ends[1 - side].reset_on_close;
        let incoming = &mut self.halves[1 - side];
        let end = &mut self.ends[side];
        if end.dead || (is_over && self.transport == Transport::Tcp) {
            return false;
        }
        end.dead = true;
        match self.transport {
            Transport::Tcp => {
                incoming.sent.clear();
                // `tcp_reset`, in CLOSE-WAIT: a side that has seen the end is told EPIPE instead.
                let error = if ended && !own_fin { Errno::PIPE } else { Errno::CONNRESET };
                end.error = Some(error);
                end.cut = !ended;
            }
            Transport::Unix => {
                // What was written lies with the receiver already.
                incoming.arrived.append(&mut incoming.sent);
                incoming.fin_arrived = true;
                // `unix_release_sock`: bytes that it left unread.
                end.error = unread.then_some(Errno::CONNRESET);
                end.cut = unread;
            }
        }
        self.halves[side].sent.clear();
        end.open
    }

    /// What a poll would say of `side` now.
    pub(crate) fn mask(&self, side: usize) -> Readiness {
        let end = &self.ends[side];
        let incoming = &self.halves[1 - side];
        let mut mask = Readiness::EMPTY;
        let ended = incoming.fin_arrived || end.dead;
        if ended || !incoming.arrived.is_empty() {
            mask = mask | Readiness::READABLE;
        }
        if ended {
            mask = mask | Readiness::READ_CLOSED;
        }
        if end.error.is_some() {
            mask = mask | Readiness::ERROR;
        }
        if end.urgent.is_some() {
            // As mio reads `EPOLLPRI`.
            // mio takes it for readable, too.
            mask = mask | Readiness::URGENT | Readiness::READABLE;
        }
        let dead = end.dead;
        let outgoing = &self.halves[side];
        // A Unix socket has `EPOLLHUP` where both halves are shut, and mio reads that as writable.
        let shut = outgoing.fin && (self.transport == Transport::Tcp || incoming.fin_arrived);
        if dead || shut || outgoing.is_writable(self.transport) {
            mask = mask | Readiness::WRITABLE;
        }
        mask
    }

    /// A poll has asked: if it heard that `side` is not writable, it is told when that changes
    /// (`tcp_poll`).
    pub(crate) fn note_asked(&mut self, side: usize) {
        if !self.mask(side).has(Readiness::WRITABLE) {
            self.halves[side].starved = true;
        }
    }

    /// Bytes that `side` has written and that its kernel still keeps.
    pub(crate) fn undelivered(&self, side: usize) -> usize {
        if self.ends[side].dead { 0 } else { self.halves[side].charged(self.transport) }
    }

    /// How much of a write `side`'s kernel would take now.
    pub(crate) fn room(&self, side: usize) -> usize {
        if self.ends[side].dead { 0 } else { self.halves[side].free(self.transport) }
    }

    /// Whether a read at `side` brings bytes or the end.
    pub(crate) fn has_input(&self, side: usize) -> bool {
        let incoming = &self.halves[1 - side];
        incoming.fin_arrived || self.ends[side].dead || !incoming.arrived.is_empty()
    }

    /// Whether `side`'s kernel has no room worth telling of: a write may wait.
    #[allow(dead_code, reason = "for the oracle of crates/check")]
    pub(crate) fn is_blocked(&self, side: usize) -> bool {
        !self.ends[side].dead && !self.halves[side].is_writable(self.transport)
    }

    /// A write that met no full buffer is to be treated as if it had: an edge must follow.
    pub(crate) fn starve(&mut self, side: usize) {
        self.halves[side].starved = true;
    }

    pub(crate) fn can_carry(&self, side: usize) -> bool {
        self.halves[side].can_carry()
    }
}

#[cfg(test)]
mod tests;
