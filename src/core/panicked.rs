//! After a panic of the handler: the connection whose callback it was ends, and nobody else.
//!
//! Either the panic was caught where the handler was called (`reactor/panics.rs`), or it went
//! through, and whoever caught it takes another turn. The same follows from both. The handler is not
//! called here. Read next: `send.rs`, whose `end_callback` this takes the place of.

use std::io;

use super::{Core, TARGET, Tenant};
use crate::close::CloseReason;
use crate::id::ConnId;

impl Core {
    /// Ends a callback of `id` that panicked, in the place of `end_callback`.
    #[cold]
    pub(crate) fn end_panicked(&mut self, id: ConnId, panic: io::Error) {
        self.stats.panics += 1;
        if let Some(Tenant { peer, .. }) = self.tenant(id) {
            log::error!(target: TARGET, "{peer}: a callback panicked, the connection ends ({id}): {panic}");
        }
        self.drop_callback(id, panic);
    }

    /// A callback of no connection panicked.
    #[cold]
    pub(crate) fn note_panic(&mut self, callback: &str, panic: &io::Error) {
        self.stats.panics += 1;
        log::error!(target: TARGET, "{callback} panicked: {panic}");
    }

    /// If the last turn ended in a panic of a connection's callback, and the caller goes on: ends
    /// that connection, and forgets what it had not sent yet, which is nobody else's.
    #[inline]
    pub(crate) fn recover(&mut self) {
        if let Some(id) = self.current {
            self.recover_from(id);
        }
        if self.serving.is_some() {
            // A panic in `on_datagram`: there may be more behind that one.
            self.end_socket_turn();
        }
    }

    #[cold]
    fn recover_from(&mut self, id: ConnId) {
        self.end_expire();
        self.drop_callback(id, io::Error::other("caught outside of the reactor"));
        self.settle(id);
        // If it was the turn of a listener that the panic cut short, nobody has queued it again.
        for listener in self.listener_ids() {
            if !self.run.contains(&listener.token()) {
                self.end_listener_turn(listener);
            }
        }
    }

    /// Nothing of the callback goes out that has not gone already: half an answer is worse than a
    /// reset.
    fn drop_callback(&mut self, id: ConnId, panic: io::Error) {
        self.current = None;
        let corked = self.cork.len();
        self.cork.clear();
        if let Some(Tenant { conn, .. }) = self.tenant_mut(id) {
            conn.lose(corked);
            conn.cut(CloseReason::Panic(panic));
        }
    }
}
