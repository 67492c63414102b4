//! What callbacks leave to be done: which connections are to be opened, flushed, closed, freed.
//!
//! Each list carries something from inside a callback, where nothing is called, to the time after
//! it. A connection is in `dirty` while it has `DIRTY`, and at most once; it is put into `ended`
//! once, when it is `Closed`, and has `ENDED` from then on (invariant 4 of `ARCHITECTURE.md`). The
//! other two may name a connection that was closed meanwhile. Read next: `core.rs`, which empties
//! them.

use std::collections::VecDeque;

use crate::base::id::{ConnId, Origin};
use crate::conn::flags::Flags;
use crate::conn::{Connection, Phase};

#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Connections whose `on_open` is due, and the service that one is handed over to before.
    opening: VecDeque<(ConnId, Origin, Option<u8>)>,
    /// Connections that another callback wrote to or changed: to be flushed and updated.
    dirty: Vec<ConnId>,
    /// Connections whose `on_closing` is due.
    retiring: VecDeque<ConnId>,
    /// Connections that are over: to be freed, and the handler told.
    ended: VecDeque<ConnId>,
}

impl Effects {
    pub(super) fn note_opening(&mut self, id: ConnId, origin: Origin, to: Option<u8>) {
        self.opening.push_back((id, origin, to));
    }

    /// One whose `on_open` comes before all others'.
    pub(super) fn note_opening_next(&mut self, id: ConnId, origin: Origin) {
        self.opening.push_front((id, origin, None));
    }

    pub(super) fn next_opening(&mut self) -> Option<(ConnId, Origin, Option<u8>)> {
        self.opening.pop_front()
    }

    #[inline]
    pub(crate) fn opening_len(&self) -> usize {
        self.opening.len()
    }

    #[inline]
    pub(super) fn note_dirty(&mut self, id: ConnId, conn: &mut Connection) {
        if !conn.flags.has(Flags::DIRTY) {
            conn.flags.set(Flags::DIRTY);
            self.dirty.push(id);
        }
    }

    #[inline]
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// All that are dirty now; each loses its `DIRTY` as it is updated.
    pub(super) fn take_dirty(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.dirty)
    }

    /// Gives the memory of [`take_dirty`](Self::take_dirty) back, for the next time.
    pub(super) fn give_back(&mut self, mut dirty: Vec<ConnId>) {
        if self.dirty.is_empty() {
            dirty.clear();
            self.dirty = dirty;
        }
    }

    pub(super) fn note_retiring(&mut self, id: ConnId) {
        self.retiring.push_back(id);
    }

    pub(super) fn next_retiring(&mut self) -> Option<ConnId> {
        self.retiring.pop_front()
    }

    #[inline]
    pub(super) fn has_retiring(&self) -> bool {
        !self.retiring.is_empty()
    }

    /// Notes that a connection is over, if it is.
    pub(super) fn note_ended(&mut self, id: ConnId, conn: &mut Connection) {
        if conn.phase() == Phase::Closed && !conn.flags.has(Flags::ENDED) {
            conn.flags.set(Flags::ENDED);
            self.ended.push_back(id);
        }
    }

    pub(super) fn next_ended(&mut self) -> Option<ConnId> {
        self.ended.pop_front()
    }

    #[inline]
    pub(super) fn ended_len(&self) -> usize {
        self.ended.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dirty.is_empty()
            && self.retiring.is_empty()
            && self.ended.is_empty()
            && self.opening.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::close::CloseReason;
    use crate::time::deadlines::Stamp;

    /// Invariant 4: a connection that is over is told once, however often it is looked at.
    #[test]
    fn a_connection_is_noted_once_in_each_list() {
        let (mut effects, mut conn) = (Effects::default(), Connection::new(Stamp::default()));
        let id = ConnId::new(0, 3, 1);
        effects.note_ended(id, &mut conn);
        assert!(effects.is_empty(), "it is open");
        conn.cut(CloseReason::Aborted);
        for _ in 0..2 {
            effects.note_dirty(id, &mut conn);
            effects.note_ended(id, &mut conn);
        }
        assert_eq!((effects.take_dirty(), effects.ended_len()), (vec![id], 1));
        assert_eq!((effects.next_ended(), effects.next_ended()), (Some(id), None));
    }

    /// Promise 1: a connection that becomes dirty while the dirty ones are updated is not lost.
    #[test]
    fn one_that_becomes_dirty_meanwhile_stays() {
        let (mut effects, mut conn) = (Effects::default(), Connection::new(Stamp::default()));
        let id = ConnId::new(0, 3, 1);
        effects.note_dirty(id, &mut conn);
        let dirty = effects.take_dirty();
        conn.flags.clear(Flags::DIRTY);
        effects.note_dirty(id, &mut conn);
        effects.give_back(dirty);
        assert_eq!(effects.take_dirty(), [id]);
    }
}
