//! Sends that go behind a source, and the sources themselves.
//!
//! What the callback has sent before a source leaves the cork for the queue: it is to go out together with
//! the first piece. Nothing is read here. Read next: `core/pull.rs`.

use super::Piece;
use crate::base::id::ConnId;
use crate::base::source::Source;
use crate::core::Core;

impl Core {
    /// Sends to a connection that does not take it as ever: through a layer, behind a source, or
    /// not at all.
    #[cold]
    pub(super) fn send_behind(&mut self, id: ConnId, piece: &Piece<'_>, window: &[u8]) -> bool {
        if self.entry(id).is_some_and(|entry| entry.conn.is_layered()) {
            return self.send_layered(id, piece, window);
        }
        let takes = self.entry(id).is_some_and(|entry| entry.conn.takes_sends());
        if takes {
            self.queue(id, piece, 0);
            self.mark_dirty(id);
        }
        takes
    }

    /// Sends what a source brings, behind what was sent before.
    pub(crate) fn send_from(&mut self, id: ConnId, source: Source, window: &[u8]) {
        if self.callback.is_of(id) && self.cork.len() > 0 {
            let mut cork = std::mem::take(&mut self.cork);
            self.queue(id, &Piece::Copy(cork.held(window)), 0);
            cork.clear();
            self.cork = cork;
        }
        let limits = &self.limits;
        let Some(entry) = self.conns.get_mut(id) else { return };
        let conn = &mut entry.conn;
        if !conn.takes_sends() {
            return;
        }
        conn.push_source(source);
        conn.handle_level(usize::MAX, limits);
        self.callback.note_rest(id, conn);
        self.memory.recount(conn);
        self.check_memory();
        self.mark_dirty(id);
    }
}
