//! Layers at work: the peer's bytes through them, what is sent through them, their last words.
//!
//! A layer is user code, so nothing of ours is borrowed while it is called, and a panic of it is caught
//! here. What it appends to `wire` is written at once if nothing is queued before, else queued. When it is
//! called, and with how much, is decided in `conn/layer.rs`. Read next: `core.rs`, whose `find_work` comes
//! here for connections with a layer.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Core, Entry, Shutdown, TARGET};
use crate::base::address::Address;
use crate::base::close::CloseReason;
use crate::base::id::{ConnId, Origin};
use crate::base::layer::{Layer, MakeLayer, Received};
use crate::base::one_line::OneLine;
use crate::conn::buffer::{Leftover, ReadBuffer};
use crate::conn::flags::Flags;
use crate::conn::input::Wait;
use crate::conn::layer::{Layered, STEP};
use crate::conn::{News, Phase};
use crate::core::offer::{Offer, Work};
use crate::core::poll::read_clock;
use crate::core::send::Piece;

/// What a layer may append in one go, before others have their turn.
const WIRE_MAX: usize = 64 << 10;
/// The least that is read at once for a layer: a record of TLS.
const READ_MIN: usize = 16 << 10;
/// Memory of what is shared that is kept for the next connection.
const SHARED_MAX: usize = 512 << 10;

/// What all layers share.
#[derive(Default)]
pub(super) struct Layers {
    /// What a layer has just made, on its way to the kernel; empty between two calls of one.
    wire: Vec<u8>,
    /// What a layer is given of a queue; empty likewise.
    piece: Vec<u8>,
    /// A panic of a layer that is to go on when the end of its connection was told.
    thrown: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Core {
    // --- Begins ---------------------------------------------------------------------------------

    /// Gives a connection that was accepted its layer, and lets that begin.
    pub(crate) fn begin_accepted(&mut self, id: ConnId, layer: Box<dyn Layer>, origin: Origin) {
        if let Some(Entry { conn, .. }) = self.entry_mut(id) {
            conn.set_layer(Layered::new(layer, Some(origin)));
            self.begin_layer(id);
        }
    }

    /// The connection is established: its layer's time begins, and it may speak first. Returns what its
    /// `on_open` is to be told, if that is due already.
    pub(crate) fn begin_layer(&mut self, id: ConnId) -> Option<Origin> {
        let (now, limits) = (self.now, &self.limits);
        let Entry { conn, .. } = self.conns.get_mut(id)?;
        conn.begin_handshake(now, limits);
        let mut plain = Vec::new();
        self.run_layer(id, &mut [], &mut plain, 0);
        self.keep_plain(id, &plain);
        let opens = self.finish_handshake(id);
        self.update(id);
        self.arm(id);
        opens
    }

    /// Calls the layer. `None`: it had failed before, or has now, which is acted on.
    fn call_layer<T>(
        &mut self,
        id: ConnId,
        call: impl FnOnce(&mut dyn Layer) -> io::Result<T>,
    ) -> Option<T> {
        let mut layer = self.entry_mut(id)?.conn.take_layer()?;
        let called = catch_unwind(AssertUnwindSafe(|| call(&mut *layer)));
        let Entry { conn, peer, .. } = self.conns.get_mut(id)?;
        conn.put_layer(layer);
        match called {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => conn.break_layer(CloseReason::Layer(error)),
            Err(panic) => {
                let text = panic_text(&*panic);
                log::error!(target: TARGET, "{peer}: a layer panicked, the connection ends ({id}): {}", OneLine(&text));
                conn.cut(CloseReason::Panic(io::Error::other(text)));
                if self.limits.isolate_panics {
                    self.stats.panics += 1;
                } else {
                    self.layers.thrown.get_or_insert(panic);
                }
            }
        }
        self.mark_dirty(id);
        None
    }

    /// A panic of a layer that is to go on, now that its connection's end was told.
    #[inline]
    pub(crate) fn take_thrown(&mut self) -> Option<Box<dyn Any + Send>> {
        self.layers.thrown.take()
    }

    /// The layer that a listener makes for a connection that it has accepted.
    pub(crate) fn make_layer(
        &mut self,
        make: &MakeLayer,
        peer: &Address,
    ) -> io::Result<Box<dyn Layer>> {
        match catch_unwind(AssertUnwindSafe(|| make.make(peer))) {
            Ok(layer) => layer,
            Err(panic) if self.limits.isolate_panics => {
                let text = panic_text(&*panic);
                self.note_panic("what makes a listener's layers", &io::Error::other(text.clone()));
                Err(io::Error::other(text))
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    // --- Bytes in -------------------------------------------------------------------------------

    /// Lets the layer have bytes of the peer, and keeps what it has not consumed of them. Stops when it has
    /// made `most` plain bytes of them, or more.
    fn run_layer(
        &mut self,
        id: ConnId,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        most: usize,
    ) -> usize {
        let mut wire = std::mem::take(&mut self.layers.wire);
        let mut done = 0;
        let mut again;
        let before = plain.len();
        let is_mute = self.entry(id).is_some_and(|entry| !entry.conn.owes_last_words());
        loop {
            let (was, had) = (plain.len(), wire.len());
            let lent = &mut bytes[done..];
            let len = lent.len();
            let call = |layer: &mut dyn Layer| {
                let received = layer.receive(lent, plain, &mut wire)?;
                if received.bytes() > len || plain.len() < was || wire.len() < had {
                    return Err(io::Error::other("the layer has consumed more than it was lent"));
                }
                Ok((received, layer.is_ready()))
            };
            let Some((received, is_ready)) = self.call_layer(id, call) else {
                done = bytes.len();
                again = false;
                break;
            };
            done += received.bytes();
            let moved = received.bytes() > 0 || plain.len() > was || wire.len() > had;
            again = moved && has_more(received, done < bytes.len());
            let Some(Entry { conn, .. }) = self.entry_mut(id) else { break };
            if is_ready {
                conn.flags.clear(Flags::SHAKING);
            }
            if received.is_ended() {
                conn.handle_layer_end();
                (done, again) = (bytes.len(), false);
            }
            if !again || plain.len() - before >= most.max(1) || wire.len() >= WIRE_MAX {
                break;
            }
        }
        if let Some(Entry { conn, .. }) = self.entry_mut(id) {
            conn.note_again(again);
        }
        if is_mute {
            // Behind its last words nothing may follow: our end may be sent.
            wire.clear();
        }
        self.put_wire(id, &wire, 0);
        self.keep_wire(wire);
        done
    }

    /// The turn of a connection with a layer: a repeat if one is due, else one read through the layer.
    #[cold]
    pub(super) fn take_layered_work(&mut self, id: ConnId, buffer: &mut ReadBuffer) -> Work {
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return Work::None };
        if conn.is_reading() {
            conn.flags.clear(Flags::RENEWED);
            if conn.flags.has(Flags::OFFER) {
                conn.flags.clear(Flags::OFFER);
                if let Some(leftover) = conn.leftover.take() {
                    self.memory.recount(conn);
                    return Work::Data(Offer::Owned(leftover));
                }
            }
        } else if !conn.flags.has(Flags::SHAKING) {
            self.look(id);
            return Work::None;
        }
        if conn.wants_receive() {
            let kept = conn.leftover.as_ref().map_or(0, |leftover| leftover.len());
            if kept >= limits.input_max && conn.is_served() {
                // It waits for a line that cannot come any more.
                conn.retire(CloseReason::InputLimit, now, limits);
                return Work::None;
            }
            let work = self.read_layered(id, buffer, limits.input_max.saturating_sub(kept));
            if !matches!(work, Work::None) {
                return work;
            }
        }
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return Work::None };
        if conn.flags.has(Flags::SHAKING)
            && conn.flags.has(Flags::PEER_ENDED)
            && !conn.receives_again()
            && !conn.is_broken()
        {
            let what = "the peer ended in the handshake";
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, what);
            conn.break_layer(CloseReason::Layer(error));
            return Work::None;
        }
        if conn.wants_eof(limits) {
            if conn.is_truncated() {
                conn.retire(CloseReason::Truncated, now, limits);
                return Work::None;
            }
            conn.flags.set(Flags::EOF_TOLD);
            let nothing = || Box::new(Leftover::new(&[], Wait::Nothing));
            return Work::End(Offer::Owned(conn.leftover.take().unwrap_or_else(nothing)));
        }
        Work::None
    }

    /// Reads once, unless what is kept will do, and lets the layer have it.
    fn read_layered(&mut self, id: ConnId, buffer: &mut ReadBuffer, most: usize) -> Work {
        let Some(n) = self.read_for_layer(id, buffer, most.max(READ_MIN)) else {
            return Work::None;
        };
        let mut plain = buffer.take_plain();
        let shown = self.put_left_before(id, &mut plain);
        let shakes = self.is_shaking(id);
        self.receive_kept(id, buffer, n, &mut plain, most);
        let limits = &self.limits;
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return Work::None };
        if let Some(len) = conn.pending_too_long(limits) {
            let what = format!("no record of the layer ends within {len} bytes");
            conn.break_layer(CloseReason::Layer(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        if shakes
            && conn.count_handshake(n, limits)
            && conn.flags.has(Flags::SHAKING)
            && !conn.is_broken()
        {
            conn.cut(CloseReason::Handshake);
        }
        let work = if shakes && !self.is_shaking(id) {
            self.keep_plain(id, &plain[shown..]);
            match self.finish_handshake(id) {
                Some(origin) => Work::Open(origin),
                // What came with the end of the handshake is offered next.
                None => Work::None,
            }
        } else {
            self.offer_plain(id, &plain, shown)
        };
        buffer.put_plain(plain);
        if let Some(Entry { conn, .. }) = self.conns.get_mut(id) {
            self.memory.recount(conn);
        }
        self.arm(id);
        self.check_memory();
        work
    }

    /// Reads once into the shared buffer. Returns the number of bytes; `None`: nothing is to be made of it.
    fn read_for_layer(
        &mut self,
        id: ConnId,
        buffer: &mut ReadBuffer,
        room: usize,
    ) -> Option<usize> {
        let (now, limits) = (self.now, &self.limits);
        let Entry { socket, conn, .. } = self.conns.get_mut(id)?;
        if conn.receives_again() {
            return Some(0);
        }
        if conn.is_input_over() {
            conn.handle_error(socket.take_error());
            return None;
        }
        // As without a layer: in shutdown a short read proves nothing.
        let short_is_proof = socket.short_read_is_proof() && !self.ending.is_asked();
        let News::Data(n) = conn.read(socket, buffer.space(room), now, short_is_proof) else {
            return None;
        };
        self.stats.bytes_in += n as u64;
        if limits.paces && !conn.flags.has(Flags::SHAKING) && conn.owes_input() {
            conn.pace_input(n, now);
        }
        Some(n)
    }

    /// Lets the layer have what was kept and the `n` bytes that were read, and keeps the rest.
    fn receive_kept(
        &mut self,
        id: ConnId,
        buffer: &mut ReadBuffer,
        n: usize,
        plain: &mut Vec<u8>,
        most: usize,
    ) {
        let Some(Entry { conn, .. }) = self.entry_mut(id) else { return };
        let mut kept = conn.take_pending();
        let was_empty = kept.is_empty();
        let (done, rest) = if let Some(before) = buffer.put_before(&kept).map(|_| kept.len()) {
            let bytes = buffer.filled_mut(before, n);
            let done = self.run_layer(id, bytes, plain, most);
            (done, bytes[done..].to_vec())
        } else {
            kept.extend_from_slice(buffer.filled(0, n));
            let done = self.run_layer(id, &mut kept, plain, most);
            kept.drain(..done);
            kept.shrink_to(2 * kept.len());
            (done, kept)
        };
        // As of what a handler leaves: behind what was consumed, it is of something that comes later.
        let begins = was_empty || done > 0;
        let now = self.now;
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return;
        };
        let is_left = !rest.is_empty();
        conn.keep_pending(rest);
        if is_left && begins && self.limits.paces {
            conn.owe_input(true, now);
        }
    }

    /// A small leftover goes before what the layer makes, so that its handler sees one slice. Returns its
    /// length.
    fn put_left_before(&mut self, id: ConnId, plain: &mut Vec<u8>) -> usize {
        let Some(Entry { conn, .. }) = self.entry_mut(id) else { return 0 };
        let fits = |left: &&Leftover| left.len() <= READ_MIN && left.seen == left.len();
        if let Some(leftover) = conn.leftover.as_deref().filter(fits) {
            plain.extend_from_slice(leftover.bytes());
        }
        plain.len()
    }

    /// What the layer has made, behind `shown` bytes of a leftover, for the handler.
    fn offer_plain(&mut self, id: ConnId, plain: &[u8], shown: usize) -> Work {
        let Some(Entry { conn, .. }) = self.entry_mut(id) else { return Work::None };
        let new = &plain[shown..];
        if new.is_empty() || conn.phase() != Phase::Open {
            return Work::None;
        }
        if !conn.is_reading() {
            self.keep_plain(id, new);
            return Work::None;
        }
        let Some(mut leftover) = conn.leftover.take() else {
            return Work::Data(Offer::Plain { before: 0, waited: Wait::Nothing });
        };
        if leftover.is_enough(leftover.len() + new.len()) && shown > 0 {
            return Work::Data(Offer::Plain { before: shown, waited: leftover.wait });
        }
        leftover.append(new);
        if leftover.is_enough(leftover.len()) {
            return Work::Data(Offer::Owned(leftover));
        }
        conn.leftover = Some(leftover);
        Work::None
    }

    /// Keeps what the layer has made for when its handler is called.
    fn keep_plain(&mut self, id: ConnId, plain: &[u8]) {
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return;
        };
        if plain.is_empty() || conn.phase() != Phase::Open {
            return;
        }
        match &mut conn.leftover {
            Some(leftover) => leftover.append(plain),
            None => conn.leftover = Some(Box::new(Leftover::unseen(plain))),
        }
        conn.flags.set(Flags::OFFER);
        self.memory.recount(conn);
    }

    /// If the handshake is over just now: what is to be told in `on_open`, if that is due.
    fn finish_handshake(&mut self, id: ConnId) -> Option<Origin> {
        let Entry { conn, peer, .. } = self.conns.get_mut(id)?;
        if conn.phase() != Phase::Open || conn.flags.has(Flags::SHAKING) || conn.is_broken() {
            return None;
        }
        let origin = conn.handle_ready();
        if let Some(told) = conn.layer().and_then(Layer::peer) {
            let service = conn.service;
            let before = std::mem::replace(peer, told.clone().into());
            let was_counted = conn.flags.has(Flags::COUNTED);
            conn.flags.clear(Flags::COUNTED);
            if was_counted {
                self.uncount_address(service, &before.address());
            }
            if matches!(origin, Some(Origin::Accepted(_))) {
                let is_full = self.is_full_for(service, &told);
                self.count_address(id);
                if is_full {
                    self.stats.refused_address += 1;
                    self.services.stats_mut(service).refused_address += 1;
                    self.conns.get_mut(id)?.conn.cut(CloseReason::Handshake);
                    return None;
                }
            }
        }
        let limits = &self.limits;
        let Entry { conn, .. } = self.conns.get_mut(id)?;
        conn.retire_layer();
        conn.handle_level(usize::MAX, limits);
        let opens = conn.flags.has(Flags::UNOPENED);
        let service = conn.service;
        conn.flags.clear(Flags::UNOPENED);
        self.mark_dirty(id);
        if !opens {
            return None;
        }
        let tag = self.connects.end(id);
        if tag.is_some() {
            self.stats.connected += 1;
            self.services.stats_mut(service).connected += 1;
        }
        origin.or(tag.map(Origin::Connected))
    }

    pub(crate) fn is_shaking(&self, id: ConnId) -> bool {
        self.entry(id).is_some_and(|entry| entry.conn.flags.has(Flags::SHAKING))
    }

    /// After close: what came, for the peer's end of the layer; what else it is, and what follows
    /// that end, is forgotten.
    #[cold]
    pub(super) fn discard_layered(&mut self, id: ConnId, buffer: &mut ReadBuffer, n: usize) {
        if self.entry(id).is_some_and(|entry| !entry.conn.is_input_over()) {
            let mut plain = buffer.take_plain();
            self.receive_kept(id, buffer, n, &mut plain, usize::MAX);
            buffer.put_plain(plain);
        }
        self.pump(id);
    }

    // --- Bytes out ------------------------------------------------------------------------------

    /// Sends to a connection with a layer: to the cork, through the layer, or to what waits for it.
    #[cold]
    pub(super) fn send_layered(&mut self, id: ConnId, piece: &Piece<'_>, window: &[u8]) -> bool {
        let is_current = self.callback.is_of(id);
        let limits = &self.limits;
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return false;
        };
        if !conn.takes_sends() {
            return false;
        }
        let bytes = piece.bytes();
        if bytes.is_empty() {
            return true;
        }
        if !is_current {
            self.queue(id, piece, 0);
            self.mark_dirty(id);
            return true;
        }
        // What the cork holds comes on top of what is queued.
        let most = limits.rest_at.saturating_sub(conn.queued());
        if conn.may_wrap(limits) && self.cork.hold_apart(bytes, window, most) {
            return true;
        }
        self.read_clock();
        self.uncork(id, window, piece);
        true
    }

    /// Lets what is sent go through the layer; what cannot go now waits.
    pub(super) fn wrap(&mut self, id: ConnId, piece: &Piece<'_>) {
        let mut wire = std::mem::take(&mut self.layers.wire);
        let (mut done, mut added) = (0, 0);
        for chunk in piece.bytes().chunks(STEP) {
            let limits = &self.limits;
            if !self.entry(id).is_some_and(|entry| entry.conn.may_wrap(limits)) {
                break;
            }
            let sent = self.call_layer(id, |layer| layer.send(chunk, &mut wire));
            if sent.is_none() {
                self.put_wire(id, &wire, 0);
                wire.clear();
                break;
            }
            self.put_wire(id, &wire, chunk.len());
            added += wire.len().saturating_sub(chunk.len());
            wire.clear();
            done += chunk.len();
            self.limit_wrapped(id, added);
        }
        self.keep_wire(wire);
        self.queue(id, piece, done);
    }

    /// Ends one that owes too much, as `queue` does where there is no layer. That the layer has
    /// `added` so many bytes to what was sent ends none.
    fn limit_wrapped(&mut self, id: ConnId, added: usize) {
        let most = self.limits.output_max.saturating_add(added);
        let is_beyond = |core: &Core| {
            let conn = core.entry(id).map(|entry| &entry.conn);
            conn.is_some_and(|conn| conn.phase() == Phase::Open && conn.queued() > most)
        };
        // No connection is ended for bytes that the kernel would have taken.
        if is_beyond(self) && self.entry(id).is_some_and(|entry| entry.conn.wants_flush()) {
            self.flush(id);
        }
        if is_beyond(self) && !self.entry(id).is_some_and(|entry| entry.conn.has_failed()) {
            self.pass_limit(id, 0);
        }
    }

    /// Lets a piece of what waits go through the layer, if there is room below.
    pub(crate) fn pump(&mut self, id: ConnId) {
        let limits = &self.limits;
        if self.entry(id).is_some_and(|entry| entry.conn.wants_wrap(limits)) {
            self.wrap_piece(id);
        }
    }

    pub(super) fn wrap_piece(&mut self, id: ConnId) {
        let mut wire = std::mem::take(&mut self.layers.wire);
        let mut piece = std::mem::take(&mut self.layers.piece);
        let mut before = 0;
        if let Some(Entry { conn, .. }) = self.entry(id) {
            conn.queue().copy_front(STEP, &mut piece);
            before = conn.queued();
        }
        let sent = self.call_layer(id, |layer| layer.send(&piece, &mut wire));
        if let Some(Entry { conn, .. }) = self.entry_mut(id)
            && sent.is_some()
            && conn.is_layered()
        {
            conn.queue_mut().advance(piece.len());
        }
        self.put_wire(id, &wire, if sent.is_some() { piece.len() } else { 0 });
        piece.clear();
        self.layers.piece = piece;
        self.keep_wire(wire);
        if let Some(Entry { conn, .. }) = self.conns.get_mut(id) {
            conn.handle_level(before, &self.limits);
            self.memory.recount(conn);
        }
        self.check_memory();
        self.arm(id);
    }

    /// Gives what the layer has made to the kernel, and queues the rest. `plain`: the handler's
    /// bytes in it.
    fn put_wire(&mut self, id: ConnId, wire: &[u8], plain: usize) {
        let now = self.now;
        let entry = self.conns.get_mut(id);
        let Some(Entry { socket, conn, .. }) = entry else { return };
        if conn.phase() == Phase::Closed || conn.has_failed() {
            return conn.lose(plain);
        }
        let mut done = 0;
        if conn.may_write() && !wire.is_empty() {
            let short_is_proof = socket.short_write_is_proof();
            done = conn.write(socket, wire, now, short_is_proof);
            self.stats.bytes_out += done as u64;
            if conn.phase() == Phase::Closed || conn.has_failed() {
                return conn.lose(plain);
            }
        }
        let rest = &wire[done..];
        if rest.is_empty() {
            // What the layer has kept is with the kernel when all before it is.
            if !conn.output.is_empty() {
                conn.push_record(0, plain);
            }
            return;
        }
        let before = conn.queued();
        if plain == 0 && conn.phase() == Phase::Open && before + rest.len() > self.limits.output_max
        {
            // The layer answers a peer that does not read.
            return conn.cut(CloseReason::OutputLimit);
        }
        if conn.output.is_empty() {
            read_clock(&mut self.now, &self.driver, &mut self.stats.load);
            conn.handle_owed(self.now);
            if self.limits.paces {
                conn.owe_output(self.now);
            }
        }
        conn.push_record(rest.len(), plain);
        conn.output.push(rest);
        conn.handle_level(before, &self.limits);
        self.callback.note_rest(id, conn);
        self.memory.recount(conn);
        self.check_memory();
    }

    /// The memory of `wire` serves the next connection.
    fn keep_wire(&mut self, mut wire: Vec<u8>) {
        wire.clear();
        wire.shrink_to(SHARED_MAX);
        self.layers.wire = wire;
    }

    // --- Ends -----------------------------------------------------------------------------------

    /// What only a connection with a layer does when it is updated.
    #[cold]
    pub(super) fn update_layered(&mut self, id: ConnId) {
        self.install_upgrade(id);
        let (now, limits) = (self.now, &self.limits);
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return;
        };
        if conn.ends_broken(limits) {
            // The reason stands since it broke. Its end is told as that of one that was not opened.
            let unopened = conn.flags.has(Flags::UNOPENED);
            conn.end(CloseReason::Local, now, limits);
            if unopened {
                conn.flags.set(Flags::UNOPENED);
            }
        } else if conn.closes_at_end() {
            conn.close(now, limits);
        } else if self.ending.level() == Shutdown::Begun && conn.may_leave_shaking() {
            conn.end(CloseReason::Shutdown, now, limits);
        } else {
            conn.retire_layer();
        }
        conn.advance(now, limits);
        if conn.wants_last_words() {
            self.say_end(id);
        }
    }

    /// The last words of the layer, before our end.
    pub(super) fn say_end(&mut self, id: ConnId) {
        let mut wire = std::mem::take(&mut self.layers.wire);
        let said = self.call_layer(id, |layer| {
            layer.end(&mut wire);
            Ok(())
        });
        if let Some(Entry { conn, .. }) = self.entry_mut(id) {
            conn.handle_last_words();
        }
        if said.is_some() {
            self.put_wire(id, &wire, 0);
        }
        self.keep_wire(wire);
    }
}

/// Whether the layer is to be called again with what `is_left` of the bytes.
fn has_more(received: Received, is_left: bool) -> bool {
    received.has_more() || (received.bytes() > 0 && is_left)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without words".into())
}
