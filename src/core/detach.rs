//! Connections that leave alive: detached in a callback, handed over when they are freed.
//!
//! What that means for the connection is decided in `conn/leave.rs`. Whom it is handed to is called by
//! `reactor.rs`.

use bytes::Bytes;

use super::{Core, Ended, Entry};
use crate::base::close::Closed;
use crate::base::id::ConnId;
use crate::net::detached::{Detached, Taker};
use crate::net::socket::Stream;

impl Core {
    /// Detaches a connection, if that can be done: what its callback has sent goes along.
    pub(crate) fn detach(&mut self, id: ConnId, window: &[u8], taker: Taker) {
        let Core { conns, cork, callback, memory, .. } = self;
        let Some(Entry { conn, .. }) = conns.find_mut(id).filter(|it| it.conn.may_detach()) else {
            return;
        };
        if callback.is_of(id) {
            conn.output.push(cork.held(window));
            cork.clear();
        }
        conn.detach(taker);
        // No message of what is left is handed out here.
        callback.note_rest(id, conn);
        memory.recount(conn);
        self.mark_dirty(id);
    }

    /// What was freed, to be handed over: its descriptor lives on, and is not to wake us.
    #[cold]
    pub(super) fn hand_over(
        &mut self,
        mut entry: Entry,
        (taker, unread, unsent): (Taker, Bytes, Bytes),
        closed: Closed,
    ) -> Ended {
        self.driver.deregister(entry.socket.watched());
        self.wake_listeners();
        let stream = Stream::of(entry.socket, entry.peer.address());
        let detached = Detached { stream, unread, unsent };
        Ended::Detached(closed, taker, detached)
    }
}
