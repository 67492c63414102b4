//! Bytes on their way out: from a callback to the cork, the kernel or the queue.
//!
//! Sends keep their order whichever way they go: the cork holds bytes only while nothing is queued,
//! and nothing is written past either. A callback's small sends leave together when it returns;
//! what others are sent is queued and flushed at the end of the turn, one write for each; a large
//! piece with nothing before it is written at once. What goes above `output_max` ends the
//! connection. Read next: `context.rs`, which offers this to callbacks.

use std::io;

use bytes::Bytes;

use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::conn::Phase;
use crate::core::cork::DIRECT;
use crate::core::poll::read_clock;
use crate::core::{Core, Entry};

mod source;

/// Bytes to send, copied if they must be kept, or shared.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Copy(&'a [u8]),
    Shared(Bytes),
}

impl Piece<'_> {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Piece::Copy(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }
}

impl Core {
    /// Begins a callback of `id`: its sends are corked.
    #[inline]
    pub(crate) fn begin_callback(&mut self, id: ConnId) {
        self.callback.begin(id);
    }

    /// Ends a callback: what it sent goes out, and its error closes the connection.
    ///
    /// The clock is read first: a callback may take long, and deadlines are counted from what it
    /// leaves behind.
    #[inline]
    pub(crate) fn end_callback(
        &mut self,
        id: ConnId,
        what: &'static &'static str,
        window: &[u8],
        result: io::Result<()>,
    ) {
        self.end_work(what, Some(id));
        let range = self.cork.take_range();
        if !range.is_empty() {
            self.write_first(id, &window[range]);
        } else if self.cork.len() > 0 {
            self.uncork(id, window, &Piece::Copy(&[]));
        } else {
            self.flush_queued(id);
        }
        self.callback.end();
        if let Err(error) = result {
            let (now, limits) = (self.now, &self.limits);
            if let Some(entry) = self.conns.get_mut(id) {
                entry.conn.end(CloseReason::Handler(error), now, limits);
            }
        }
    }

    #[inline]
    fn flush_queued(&mut self, id: ConnId) {
        let limits = &self.limits;
        // What is to be read from a source leaves together with what was sent before it.
        let is_due = |entry: &Entry| entry.conn.wants_flush() && !entry.conn.wants_pull(limits);
        if self.conns.get(id).is_some_and(is_due) {
            self.flush(id);
        }
    }

    /// Sends to a connection; `window` is the input that `piece` may lie in. Returns whether it
    /// was accepted: not by one that is gone, closing, finished or failed.
    #[inline]
    pub(crate) fn send(&mut self, id: ConnId, piece: Piece<'_>, window: &[u8]) -> bool {
        let current = self.callback.is_of(id);
        let Some(Entry { conn, .. }) = self.entry_mut(id) else { return false };
        if !conn.takes_sends_in_order() {
            return self.send_behind(id, &piece, window);
        }
        let bytes = piece.bytes();
        if bytes.is_empty() {
            return true;
        }
        let direct = conn.may_write();
        if current && direct {
            if !self.cork.hold(bytes, window, self.limits.rest_at) {
                // The callback may have run for long before it sends.
                self.read_clock();
                self.uncork(id, window, &piece);
            }
            return true;
        }
        if direct && bytes.len() >= DIRECT {
            self.read_clock();
            self.write(id, &[], &piece);
        } else {
            self.queue(id, &piece, 0);
        }
        self.mark_dirty(id);
        true
    }

    /// Writes what the cork holds, and `piece` behind it.
    pub(super) fn uncork(&mut self, id: ConnId, window: &[u8], piece: &Piece<'_>) {
        let mut cork = std::mem::take(&mut self.cork);
        self.write(id, cork.held(window), piece);
        cork.clear();
        // Its memory serves the next callback.
        self.cork = cork;
    }

    /// Makes the cork independent of the window, which the next callback does not know.
    pub(crate) fn copy_corked(&mut self, window: &[u8]) {
        self.cork.copy_range(window);
    }

    /// Writes bytes once, with nothing queued, and queues the rest.
    #[inline]
    fn write_first(&mut self, id: ConnId, bytes: &[u8]) {
        let now = self.now;
        let entry = self.conns.get_mut(id);
        let Some(Entry { socket, conn, .. }) = entry else { return };
        if conn.phase() == Phase::Closed {
            return conn.lose(bytes.len());
        }
        let proof = socket.short_write_is_proof();
        let n = conn.write(socket, bytes, now, proof);
        self.stats.bytes_out += n as u64;
        if let Some(rest @ [_, ..]) = bytes.get(n..) {
            self.queue(id, &Piece::Copy(rest), 0);
        }
    }

    /// Writes two pieces once, in order and with nothing queued, and queues the rest.
    fn write(&mut self, id: ConnId, first: &[u8], piece: &Piece<'_>) {
        if self.entry(id).is_some_and(|entry| entry.conn.is_layered()) {
            self.wrap(id, &Piece::Copy(first));
            return self.wrap(id, piece);
        }
        let now = self.now;
        let entry = self.conns.get_mut(id);
        let Some(Entry { socket, conn, .. }) = entry else { return };
        let second = piece.bytes();
        if conn.phase() == Phase::Closed {
            return conn.lose(first.len() + second.len());
        }
        let proof = socket.short_write_is_proof();
        let n = match (first.is_empty(), second.is_empty()) {
            (true, _) => conn.write(socket, second, now, proof),
            (_, true) => conn.write(socket, first, now, proof),
            _ => conn.write_both(socket, first, second, now, proof),
        };
        self.stats.bytes_out += n as u64;
        if n < first.len() + second.len() {
            let rest = first.get(n..).unwrap_or_default();
            self.queue(id, &Piece::Copy(rest), 0);
            self.queue(id, piece, n.saturating_sub(first.len()));
        }
    }

    /// Queues `piece` without its first `skip` bytes.
    pub(super) fn queue(&mut self, id: ConnId, piece: &Piece<'_>, skip: usize) {
        let limits = &self.limits;
        let entry = self.conns.get_mut(id);
        let Some(Entry { conn, .. }) = entry else { return };
        let len = piece.bytes().len() - skip;
        if len == 0 {
            return;
        }
        if conn.phase() == Phase::Closed || conn.has_failed() || conn.is_broken() {
            return conn.lose(len);
        }
        let before = conn.queued();
        if before + conn.reserve(limits) + len > limits.output_max {
            // No connection is ended for bytes that the kernel would have taken.
            if conn.wants_flush() {
                self.read_clock();
                if self.flush(id) > 0 || self.has_failed(id) {
                    self.pump(id);
                    return self.queue(id, piece, skip);
                }
            }
            return self.pass_limit(id, len);
        }
        if before == 0 {
            // Within a callback that may have run for long already.
            read_clock(&mut self.now, &self.driver, &mut self.stats.load);
            conn.handle_owed(self.now);
            if limits.paces {
                conn.owe_output(self.now);
            }
        }
        match piece {
            Piece::Copy(bytes) => conn.queue_mut().push(&bytes[skip..]),
            Piece::Shared(bytes) if conn.is_layered() => {
                conn.queue_mut().push_shared(bytes.slice(skip..));
            }
            Piece::Shared(bytes) => {
                debug_assert!(skip == 0 || before == 0, "what is queued goes first");
                conn.output.push_shared(bytes.clone());
                // What the kernel has of it is kept with the rest, and counted.
                conn.output.advance(skip);
            }
        }
        conn.handle_level(before, limits);
        self.callback.note_rest(id, conn);
        self.memory.recount(conn);
        self.check_memory();
    }

    /// Whether the flush just now found the peer gone: no limit ends the connection then, and what the
    /// peer had said before is still to be shown.
    fn has_failed(&self, id: ConnId) -> bool {
        self.entry(id).is_some_and(|entry| entry.conn.has_failed())
    }

    #[cold]
    pub(super) fn pass_limit(&mut self, id: ConnId, lost: usize) {
        if let Some(Entry { conn, .. }) = self.entry_mut(id) {
            conn.lose(lost);
            conn.cut(CloseReason::OutputLimit);
        }
    }

    /// Sends a shared chunk to each of these that is open.
    pub(crate) fn broadcast(&mut self, ids: impl IntoIterator<Item = ConnId>, bytes: &Bytes) {
        for id in ids {
            self.send(id, Piece::Shared(bytes.clone()), &[]);
        }
    }

    /// Bytes sent to a connection that the kernel has not taken.
    pub(crate) fn queued(&self, id: ConnId) -> usize {
        let corked = if self.callback.is_of(id) { self.cork.len() } else { 0 };
        self.entry(id).map_or(0, |entry| entry.conn.queued() + corked)
    }
}
