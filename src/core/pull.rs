//! A piece of a source, on its way from the source to the queue.
//!
//! The source is taken out of its connection, read by `reactor/pull.rs`, and put back with what it brought:
//! it is user code, and nothing of ours is borrowed while it runs. Read next: `conn/pull.rs`.

use super::{Core, Entry};
use crate::base::id::ConnId;
use crate::base::one_line::OneLine;
use crate::base::source::{Pulled, Source};
use crate::conn::Phase;

impl Core {
    /// Takes the source that a piece is to be read of now, if there is one, with the most bytes of
    /// it. Then what runs is a callback of its connection, as far as a panic is concerned.
    pub(crate) fn begin_pull(&mut self, id: ConnId) -> Option<(Source, usize)> {
        let limits = &self.limits;
        let Entry { conn, .. } = self.conns.get_mut(id)?;
        if !conn.wants_pull(limits) {
            return None;
        }
        let source = conn.queue_mut().take_source()?;
        let piece = conn.piece(limits);
        self.begin_callback(id);
        Some((source, piece))
    }

    /// Queues what the source brought. It is flushed next.
    pub(crate) fn end_pull(&mut self, id: ConnId, bytes: &[u8], pulled: Pulled) {
        self.end_work(&"a source", Some(id));
        self.callback.end();
        let (now, limits) = (self.now, &self.limits);
        let Some(entry) = self.conns.get_mut(id) else { return };
        if let Pulled::Failed(error) = &pulled
            && entry.conn.phase() != Phase::Open
        {
            // Its reason is another already.
            log::info!("{}: a source failed ({id}): {}", entry.peer, OneLine(error));
        }
        entry.conn.handle_pulled(bytes, pulled, now, limits);
        if entry.conn.is_layered() {
            self.pump(id);
        }
        if self.entry(id).is_some_and(|entry| entry.conn.wants_flush()) {
            self.flush(id);
        }
        if let Some(Entry { conn, .. }) = self.conns.get_mut(id) {
            // With its source it may have come down to low.
            conn.handle_level(usize::MAX, &self.limits);
            self.memory.recount(conn);
        }
        self.check_memory();
        self.arm(id);
    }
}
