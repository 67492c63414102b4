//! After a panic of the handler: the connection whose callback it was ends, and no other.
//!
//! Either the panic was caught where the handler was called (`reactor/callbacks.rs`), or it went
//! through, and the application that caught it takes another turn. The same follows from both. The
//! handler is not called here. Read next: `send.rs`, whose `end_callback` this takes the place of.

use std::io;

use super::{Core, Entry, TARGET};
use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::base::one_line::OneLine;
use crate::conn::flags::Flags;

impl Core {
    /// Ends a callback of `id` that panicked, in the place of `end_callback`.
    #[cold]
    pub(crate) fn end_panicked(&mut self, id: ConnId, panic: io::Error) {
        self.stats.panics += 1;
        if let Some(Entry { peer, .. }) = self.entry(id) {
            log::error!(target: TARGET, "{peer}: a callback panicked, the connection ends ({id}): {}", OneLine(&panic));
        }
        self.drop_callback(id, panic);
    }

    /// A callback of no connection panicked.
    #[cold]
    pub(crate) fn note_panic(&mut self, callback: &str, panic: &io::Error) {
        self.stats.panics += 1;
        log::error!(target: TARGET, "{callback} panicked: {}", OneLine(panic));
    }

    /// If the last turn ended in a panic of a callback, and the caller goes on: ends the connection
    /// whose callback it was, if it was one's, and forgets what that had not sent yet, which is no
    /// other's. Whatever panicked, the turn that it cut short is ended: there may be more to accept
    /// or to receive, and no edge tells of it again.
    #[inline]
    pub(crate) fn recover(&mut self) {
        if let Some(id) = self.callback.of() {
            self.recover_from(id);
        }
        if self.datagrams.is_in_turn() {
            self.end_socket_turn();
        }
        if self.listeners.is_in_turn() {
            self.drop_claimed();
            self.end_listener_turn();
        }
    }

    #[cold]
    fn recover_from(&mut self, id: ConnId) {
        self.end_expire();
        self.drop_callback(id, io::Error::other("caught outside of the reactor"));
        self.update(id);
    }

    /// After the handler: ends every connection without a callback, with a reset where its peer is
    /// owed something, and cancels the timers.
    pub(crate) fn cut_without_callback(&mut self) {
        self.timers.clear();
        for id in self.connection_ids() {
            let Some(Entry { conn, .. }) = self.conns.get_mut(id) else { continue };
            let is_owed_more = conn.is_owed_more();
            conn.cut(CloseReason::Panic(io::Error::other("the reactor's handler panicked")));
            if !is_owed_more {
                conn.flags.clear(Flags::RESET);
            }
            self.mark_dirty(id);
        }
    }

    /// Nothing of the callback goes out that has not gone already: half an answer is worse than a
    /// reset.
    fn drop_callback(&mut self, id: ConnId, panic: io::Error) {
        self.callback.end();
        self.callback.enter(0);
        let corked = self.cork.len();
        self.cork.clear();
        if let Some(Entry { conn, .. }) = self.entry_mut(id) {
            conn.lose(corked);
            conn.revoke_detach();
            conn.cut(CloseReason::Panic(panic));
        }
    }
}

/// Dropped before its end: by a panic that unwinds, or by an application that stops turning it.
impl Drop for Core {
    /// A peer that waits for the rest of an answer sees a reset: an orderly end would say that this was
    /// all. All are told now, duplicates of their descriptors or not.
    fn drop(&mut self) {
        self.drop_claimed();
        for id in self.connection_ids() {
            let is_cut_short = self.callback.is_of(id);
            let Some(Entry { socket, conn, .. }) = self.entry(id) else { continue };
            let reset = is_cut_short || conn.is_owed_more();
            if reset {
                socket.reset_on_close();
            }
            if conn.is_shared() {
                socket.end_for_all(reset);
            }
        }
    }
}
