//! Another layer in mid-stream: when it may take its place, and how it does.
//!
//! What is sent meanwhile waits in `conn/layer.rs`. Read next: `layer.rs`, which calls what is there.

use std::io;

use super::{Core, Entry};
use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::base::layer::{Layer, Then};
use crate::conn::Phase;
use crate::conn::layer::{Layered, Upgrade};
use crate::core::send::Piece;

impl Core {
    /// Another layer takes its place when the running callback has returned. What was sent before
    /// goes out as it would have; where that cannot be, the connection ends, since what is sent
    /// from now on may be meant for the peer alone.
    pub(crate) fn upgrade(&mut self, id: ConnId, layer: Box<dyn Layer>, window: &[u8]) {
        if self.callback.is_of(id) && self.cork.len() > 0 {
            self.read_clock();
            self.uncork(id, window, &Piece::Copy(&[]));
        }
        let Some(Entry { conn, .. }) = self.entry_mut(id) else { return };
        if !conn.takes_sends() {
            return;
        }
        while let Some(Entry { conn, .. }) = self.entry(id)
            && conn.may_drain_plain()
        {
            self.wrap_piece(id);
        }
        let Some(Entry { conn, .. }) = self.conns.find_mut(id) else { return };
        let is_first = conn.phase() == Phase::Connecting && !conn.is_layered();
        if is_first {
            conn.set_layer(Layered::new(layer, None));
            return;
        }
        if conn.has_source() || conn.has_upgrade() || (conn.is_layered() && conn.has_plain()) {
            let what = "a layer cannot take its place before what was sent has left";
            conn.cut(CloseReason::Layer(io::Error::other(what)));
        } else {
            conn.begin_upgrade(layer);
            self.callback.note_rest(id, conn);
        }
        self.mark_dirty(id);
    }

    pub(super) fn install_upgrade(&mut self, id: ConnId) {
        let (now, limits) = (self.now, &self.limits);
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return;
        };
        let Some(Upgrade { layer, below, left }) = conn.take_upgrade() else { return };
        match below {
            None => conn.end_upgrade(layer, left),
            Some(below) => {
                conn.end_upgrade(Box::new(Then::with(below, layer, left)), Vec::new());
            }
        }
        conn.begin_handshake(now, limits);
        self.memory.recount(conn);
    }
}
