//! What the loop and the callbacks share: connections, listeners, the run queue, the deadlines.
//!
//! It acts on what `conn.rs` decides: makes the calls, keeps what is runnable on the run queue,
//! collects what has ended. It never calls the handler and does not know its type; that is
//! `reactor.rs`, which asks here what to do next. Bytes on their way out are in `send.rs`.
//!
//! Two lists carry what happens inside a callback to the time after it: `dirty` (others wrote to
//! it or changed it: flush and update) and `ended` (over: free it, tell the handler).

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::close::{CloseReason, Closed};
use crate::base::config::{Config, Limits};
use crate::base::id::{CONNECTIONS_CEILING, ConnId, ListenerId, Token};
use crate::base::stats::Stats;
use crate::conn::buffer::{Leftover, ReadBuffer};
use crate::conn::flags::Flags;
use crate::conn::input::Wait;
use crate::conn::{Look, News, Phase};
use crate::core::cork::Cork;
use crate::core::offer::{Offer, Work, join};
use crate::core::per_address::PerAddress;
use crate::net::detached::{Detached, Taker};
use crate::net::driver::Driver;
use crate::time::deadlines::Stamp;
use crate::time::timers::Timers;
use callback::Callback;
use connect::Connects;
use conns::Conns;
use datagrams::Datagrams;
use effects::Effects;
use ending::Ending;
use horizon::Horizon;
use listeners::Listeners;
use memory::Memory;
use schedule::{Due, Schedule};
use services::Services;

pub(crate) use conns::Entry;
pub(crate) use datagrams::Received;
pub(crate) use ending::Shutdown;

pub(crate) mod accept;
mod callback;
mod connect;
mod conns;
pub(crate) mod cork;
mod datagrams;
mod detach;
mod effects;
pub(crate) mod ending;
mod evict;
pub(crate) mod expire;
mod free;
mod horizon;
pub(crate) mod layer;
mod listeners;
mod memory;
pub(crate) mod offer;
mod panic;
pub(crate) mod per_address;
mod poll;
mod pull;
mod schedule;
pub(crate) mod send;
mod services;
mod upgrade;

/// The name under which the log tells of connections, whichever file says it.
const TARGET: &str = "wouldblock::core";

/// Counts the reactors of the process, for their number in an id.
static REACTORS: AtomicU32 = AtomicU32::new(0);

/// What ended, for the handler to be told.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A connection.
    Connection(Closed),
    /// A connection that goes on elsewhere.
    Detached(Closed, Taker, Detached),
    /// A connect, before there was a connection.
    Connect { tag: u64, error: io::Error, service: u8 },
}

/// Everything but the handler, its sessions and the read buffer: parts that know nothing of each
/// other, and what they share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) driver: Driver,
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    /// The clock as last read: after the poll, after each callback, and within one before a stamp
    /// is made that a deadline is counted from. So none is older than the callback before it.
    pub(crate) now: Stamp,
    /// Work was done since that may have taken long: read it before the turn's length is counted.
    is_behind: bool,

    pub(crate) conns: Conns,
    pub(crate) listeners: Listeners,
    pub(crate) datagrams: Datagrams,
    /// When each of them is looked at again.
    pub(crate) schedule: Schedule,
    /// The timers of the reactor.
    pub(crate) timers: Timers,
    /// Up to when a connection may be called late.
    pub(crate) horizon: Horizon,

    /// The callback that runs, and its sends that are not yet written or queued.
    pub(crate) callback: Callback,
    pub(crate) cork: Cork,
    layers: layer::Layers,
    /// What callbacks leave to be done.
    pub(crate) effects: Effects,

    pub(crate) connects: Connects,
    pub(crate) memory: Memory,
    /// Connections whose places may be given to others.
    /// By service.
    idlers: Vec<evict::Idlers>,
    /// Connections that were accepted, by where they come from; empty where that is not limited.
    pub(crate) per_address: PerAddress,
    pub(crate) ending: Ending,
    pub(crate) services: Services,
}

impl Core {
    pub(crate) fn new(config: &Config, driver: Driver) -> io::Result<Self> {
        config.check(CONNECTIONS_CEILING)?;
        let limits = config.limits(driver.descriptors());
        let serial = match driver.kernel() {
            None => REACTORS.fetch_add(1, Ordering::Relaxed),
            Some(kernel) => kernel.reactor_number(),
        };
        let now = driver.now();
        let mut stats = Stats::default();
        stats.load.begin(now.nanoseconds());
        Ok(Core {
            now,
            is_behind: false,
            driver,
            stats,
            conns: Conns::new(limits.connections, (serial & 0xFF) as u8),
            limits,
            listeners: Listeners::new(serial),
            datagrams: Datagrams::new(serial),
            schedule: Schedule::default(),
            timers: Timers::new(serial),
            horizon: Horizon::default(),
            callback: Callback::default(),
            cork: Cork::default(),
            layers: layer::Layers::default(),
            effects: Effects::default(),
            connects: Connects::default(),
            memory: Memory::default(),
            idlers: Vec::new(),
            per_address: PerAddress::default(),
            ending: Ending::new(),
            services: Services::new(),
        })
    }

    // --- The run queue --------------------------------------------------------------------------

    pub(crate) fn run_len(&self) -> usize {
        self.schedule.run_len()
    }

    /// Takes the first of the run queue.
    #[inline]
    pub(crate) fn next_runnable(&mut self) -> Option<Token> {
        self.schedule.next_runnable()
    }

    /// The connection that a token means, if it is still there.
    #[inline]
    pub(crate) fn connection(&self, token: Token, slot: u32) -> Option<ConnId> {
        self.conns.named(token, slot)
    }

    /// The listener that a token means, if it is still there.
    pub(crate) fn listener(&self, token: Token, slot: u32) -> Option<ListenerId> {
        self.listeners.named(token, slot)
    }

    #[inline]
    pub(crate) fn entry(&self, id: ConnId) -> Option<&Entry> {
        self.conns.find(id)
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        self.conns.find_mut(id)
    }

    /// Whether a connection takes what is sent, and its `on_open` was called.
    pub(crate) fn is_opened(&self, id: ConnId) -> bool {
        self.entry(id)
            .is_some_and(|entry| entry.conn.takes_sends() && !entry.conn.flags.has(Flags::UNOPENED))
    }

    /// Notes a connection that others wrote to or changed; it is updated after its own callback anyway.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        if self.callback.is_of(id) {
            return;
        }
        if let Some(entry) = self.conns.find_mut(id) {
            self.effects.note_dirty(id, &mut entry.conn);
        }
    }

    // --- A connection's turn --------------------------------------------------------------------

    /// Begins a connection's turn: finds its work.
    #[inline]
    pub(crate) fn begin_turn(&mut self, id: ConnId, buffer: &mut ReadBuffer) -> Work {
        self.find_work(id, buffer, true)
    }

    /// The work of a turn that has begun, after what concerns its output.
    pub(crate) fn take_work(&mut self, id: ConnId, buffer: &mut ReadBuffer) -> Work {
        self.find_work(id, buffer, false)
    }

    /// Flushes what a connection owes. Returns whether its `on_drain` is to be called now.
    pub(crate) fn owes_drain(&mut self, id: ConnId) -> bool {
        if self.entry(id).is_some_and(|entry| entry.conn.wants_flush()) {
            self.flush(id);
        }
        let limits = &self.limits;
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return false };
        // Too much may be buffered since it was last looked at.
        conn.handle_level(conn.queued(), limits);
        let due = conn.wants_drain(limits);
        if due {
            conn.flags.clear(Flags::DRAINED);
            conn.flags.clear(Flags::WANTS_DRAIN);
        }
        self.arm_paced(id);
        due
    }

    /// Finds the input for a connection's turn: a repeat if one is due, else one read. `begins`: the
    /// turn does. Both in one, since the common path looks the connection up once for both.
    #[inline]
    fn find_work(&mut self, id: ConnId, buffer: &mut ReadBuffer, begins: bool) -> Work {
        let now = self.now;
        let limits = &self.limits;
        let Some(Entry { socket, conn, ticket, .. }) = self.conns.get_mut(id) else {
            return Work::None;
        };
        if begins {
            ticket.take_turn();
            if !conn.is_plain() {
                return Work::Output;
            }
        }
        if conn.phase() != Phase::Open {
            return self.take_other_work(id, buffer);
        }
        if conn.is_layered() {
            let work = self.take_layered_work(id, buffer);
            self.end_work(&"a layer", Some(id));
            return work;
        }
        if !conn.is_reading() {
            self.look(id);
            return Work::None;
        }
        conn.flags.clear(Flags::RENEWED);
        if conn.flags.has(Flags::OFFER) {
            conn.flags.clear(Flags::OFFER);
            if let Some(leftover) = conn.leftover.take() {
                self.memory.recount(conn);
                return Work::Data(Offer::Owned(leftover));
            }
        }
        if conn.wants_read() {
            let kept = conn.leftover.as_ref().map_or(0, |leftover| leftover.len());
            if kept >= limits.input_max {
                // It waits for a line that cannot come any more.
                conn.retire(CloseReason::InputLimit, now, limits);
                return Work::None;
            }
            // In shutdown nothing but WouldBlock will do: a short read shows that our kernel's buffer
            // is empty, and makes room for what the peer's still holds.
            let short_is_proof = socket.short_read_is_proof() && !self.ending.is_asked();
            if conn.flags.has(Flags::PEER_ENDED) {
                conn.handle_error(socket.take_error());
                return Work::None;
            }
            match conn.read(socket, buffer.space(limits.input_max - kept), now, short_is_proof) {
                News::Data(n) => {
                    self.stats.bytes_in += n as u64;
                    if conn.leftover.is_none() {
                        return Work::Read(n);
                    }
                    if limits.paces {
                        conn.pace_input(n, now);
                    }
                    let work = join(conn, buffer, n);
                    self.memory.recount(conn);
                    self.arm(id);
                    self.check_memory();
                    return work;
                }
                News::End | News::Nothing => {}
            }
        }
        if conn.wants_eof(limits) {
            conn.flags.set(Flags::EOF_TOLD);
            let nothing = || Box::new(Leftover::new(&[], Wait::Nothing));
            return Work::End(Offer::Owned(conn.leftover.take().unwrap_or_else(nothing)));
        }
        Work::None
    }

    /// Asks the socket of a connection that is not read from, if it may be dead, how it is.
    #[cold]
    fn look(&mut self, id: ConnId) {
        let now = self.now;
        let Some(Entry { socket, conn, .. }) = self.entry_mut(id) else { return };
        if !conn.wants_look() {
            return;
        }
        let look = if conn.has_failed() {
            Look::Unread(socket.has_unread())
        } else {
            match socket.take_error() {
                Ok(None) => Look::NoError,
                Ok(Some(error)) | Err(error) => Look::Error(error),
            }
        };
        conn.handle_look(look, now);
    }

    /// After close: reads once and forgets what came.
    #[cold]
    fn take_other_work(&mut self, id: ConnId, buffer: &mut ReadBuffer) -> Work {
        let Some(Entry { socket, conn, .. }) = self.entry_mut(id) else { return Work::None };
        if conn.phase() == Phase::Connecting {
            return Work::Connect;
        }
        if conn.phase() == Phase::Closed || !conn.wants_read() {
            return Work::None;
        }
        if conn.flags.has(Flags::PEER_ENDED) {
            conn.handle_error(socket.take_error());
            return Work::None;
        }
        let short_is_proof = socket.short_read_is_proof();
        if let News::Data(n) = conn.read_on(socket, buffer.space(usize::MAX), short_is_proof) {
            let layered = conn.is_layered();
            self.stats.bytes_in += n as u64;
            if layered {
                self.discard_layered(id, buffer, n);
            }
        }
        Work::None
    }

    /// Keeps what `on_data` left of its offer.
    pub(crate) fn keep_left(
        &mut self,
        id: ConnId,
        offer: Offer,
        buffer: &ReadBuffer,
        consumed: usize,
        wait: Wait,
    ) {
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return };
        let begins = consumed > 0
            || matches!(offer, Offer::Shared { before: 0, .. } | Offer::Plain { before: 0, .. });
        conn.leftover = Some(match offer {
            Offer::Shared { .. } | Offer::Plain { .. } => {
                Box::new(Leftover::new(&offer.window(buffer)[consumed..], wait))
            }
            Offer::Owned(mut leftover) => {
                leftover.consume(consumed, wait);
                leftover
            }
        });
        conn.handle_left(consumed, now, limits);
        self.memory.recount(conn);
        if limits.paces {
            conn.owe_input(begins, now);
            self.arm(id);
        }
        self.check_memory();
    }

    /// Writes what is queued, once. Returns how many bytes the kernel took.
    pub(crate) fn flush(&mut self, id: ConnId) -> usize {
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Some(Entry { socket, conn, .. }) = entry else { return 0 };
        let before = conn.queued();
        let short_is_proof = socket.short_write_is_proof();
        let n = conn.flush(socket, now, short_is_proof);
        self.stats.bytes_out += n as u64;
        conn.handle_level(before, limits);
        self.callback.note_rest(id, conn);
        self.memory.recount(conn);
        self.check_memory();
        // It owes less, or nothing: another deadline may come first now.
        self.arm(id);
        n
    }

    /// After anything happened to a connection: takes the next step of its life, and sees that it
    /// is found again: on the run queue, among the deadlines, or among those that ended.
    #[inline]
    pub(crate) fn update(&mut self, id: ConnId) {
        let Some(Entry { conn, ticket, .. }) = self.conns.get_mut(id) else {
            return;
        };
        if !conn.is_plain() || self.ending.is_asked() {
            return self.update_otherwise(id);
        }
        let runnable = conn.readiness.is_readable();
        self.schedule.update(ticket, id.token(), runnable, Due::Unchanged);
    }

    #[cold]
    fn update_otherwise(&mut self, id: ConnId) {
        self.is_behind = true;
        if self.entry(id).is_some_and(|entry| entry.conn.is_layered()) {
            self.update_layered(id);
        }
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Some(Entry { socket, conn, ticket, .. }) = entry else { return };
        conn.handle_wish();
        conn.handle_level(conn.queued(), limits);
        if self.ending.level() == Shutdown::Begun && conn.may_leave(limits) {
            conn.retire(CloseReason::Shutdown, now, limits);
        }
        if conn.flags.has(Flags::RETIRING) {
            self.effects.note_retiring(id);
        }
        conn.advance(now, limits);
        if conn.wants_fin() {
            match socket.shutdown_write() {
                Ok(()) => conn.handle_fin_sent(now),
                Err(error) => conn.fail_write(error, now),
            }
        }
        if conn.asks_what_left(now) {
            conn.handle_unacknowledged(socket.unacknowledged(), now, limits);
        }
        self.memory.recount(conn);
        self.effects.note_ended(id, conn);
        let (runnable, due) = (conn.is_runnable(limits), conn.deadline(limits));
        self.schedule.update(ticket, id.token(), runnable, Due::By(due));
        // A close drops what was held.
        self.check_memory();
    }

    // --- Effects, after the callbacks -----------------------------------------------------------

    #[inline]
    pub(crate) fn has_retiring(&self) -> bool {
        self.effects.has_retiring()
    }

    /// The first of those whose `on_closing` is due, and for what it is closed.
    pub(crate) fn next_retiring(&mut self) -> Option<(ConnId, CloseReason)> {
        loop {
            let id = self.effects.next_retiring()?;
            // Not one that a callback has closed meanwhile.
            let entry = self.conns.get_mut(id);
            let Some(Entry { conn, .. }) = entry else { continue };
            match conn.take_retiring(&self.limits) {
                Some(reason) if conn.takes_sends() => return Some((id, reason)),
                Some(reason) => self.end_retiring(id, reason),
                None => self.update(id),
            }
        }
    }

    /// After `on_closing`, behind which the clock was read.
    pub(crate) fn end_retiring(&mut self, id: ConnId, reason: CloseReason) {
        let (now, limits) = (self.now, &self.limits);
        if let Some(entry) = self.conns.get_mut(id) {
            entry.conn.end(reason, now, limits);
            self.update(id);
        }
    }

    /// Flushes and updates the connections that others wrote to or changed: one write each, however
    /// many sends. Returns whether there was one.
    pub(crate) fn update_dirty(&mut self) -> bool {
        if !self.effects.has_dirty() {
            return false;
        }
        let dirty = self.effects.take_dirty();
        for &id in &dirty {
            if let Some(Entry { conn, .. }) = self.entry_mut(id) {
                conn.flags.clear(Flags::DIRTY);
                if conn.is_layered() {
                    self.pump(id);
                }
                if self.entry(id).is_some_and(|entry| entry.conn.wants_flush()) {
                    self.flush(id);
                }
                self.update(id);
            }
        }
        self.effects.give_back(dirty);
        self.end_work(&"flush", None);
        true
    }

    pub(crate) fn ended_len(&self) -> usize {
        self.effects.ended_len()
    }

    /// The end of a turn: the slots vacated in it may be reused.
    pub(crate) fn recycle(&mut self) {
        self.conns.recycle();
        self.listeners.recycle();
        self.datagrams.recycle();
    }

    /// Begins a listener's turn.
    pub(crate) fn begin_listener_turn(&mut self, id: ListenerId) {
        self.listeners.begin_turn(id);
    }

    /// After a listener's turn: back on the run queue if there is more to accept.
    pub(crate) fn end_listener_turn(&mut self) {
        self.listeners.end_turn(&mut self.schedule);
    }

    /// A connection was freed: a descriptor and a place are.
    fn wake_listeners(&mut self) {
        if self.listeners.resting() > 0 {
            for id in self.listeners.ids() {
                self.listeners.wake(id, &mut self.schedule);
            }
        }
    }

    // --- Questions ------------------------------------------------------------------------------

    /// All present connections, whatever their phase.
    pub(crate) fn connection_ids(&self) -> Vec<ConnId> {
        self.conns.ids()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conns.len() == 0 && self.listeners.len() == 0 && self.datagrams.len() == 0
    }
}
