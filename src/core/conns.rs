//! The connections: each in its slot, found by its name.
//!
//! A name is compared with the slot's present generation before anything is touched (invariant 5 of
//! `ARCHITECTURE.md`); an id that comes from outside is compared with this reactor's number first,
//! by [`Conns::find`]. What a connection does is not known here. Read next: `effects.rs`.

use std::sync::Arc;

use super::schedule::Ticket;
use crate::base::id::{CONNECTIONS_CEILING, ConnId, Token};
use crate::base::packed::Packed;
use crate::base::slots::Slots;
use crate::base::spread::Crowd;
use crate::conn::Connection;
use crate::net::socket::Socket;
use crate::time::deadlines::Stamp;

/// A connection in its slot.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) socket: Socket,
    pub(crate) peer: Packed,
    pub(crate) conn: Connection,
    pub(crate) ticket: Ticket,
}

impl Entry {
    /// Since when no byte has moved, if it has nothing to do, owes nothing and is owed nothing.
    pub(crate) fn idle_since(&self) -> Option<Stamp> {
        if self.ticket.is_queued() { None } else { self.conn.idle_since() }
    }
}

/// All connections of a reactor, whatever their phase.
#[derive(Debug)]
pub(crate) struct Conns {
    entries: Slots<Entry>,
    /// Number of the reactor in a [`ConnId`], which has room for 8 bits of it.
    number: u8,
    /// How many there are, for another reactor that accepts for this one.
    crowd: Arc<Crowd>,
}

impl Conns {
    /// `limit`: the most connections at a time.
    pub(super) fn new(limit: usize, number: u8) -> Self {
        Conns { entries: Slots::new(limit, CONNECTIONS_CEILING), number, crowd: Arc::default() }
    }

    pub(crate) fn crowd(&self) -> Arc<Crowd> {
        Arc::clone(&self.crowd)
    }

    /// The number of the reactor.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn insert(&mut self, entry: Entry) -> ConnId {
        let (slot, generation) = self.entries.insert(entry);
        self.crowd.note_open(self.entries.len());
        ConnId::new(self.number, slot, generation)
    }

    /// Moves a connection out. Its slot is reused after [`recycle`](Self::recycle).
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Entry> {
        let entry = self.entries.remove(id.slot(), id.generation());
        self.crowd.note_open(self.entries.len());
        entry
    }

    /// The end of a turn: the slots vacated in it may be reused.
    #[inline]
    pub(super) fn recycle(&mut self) {
        self.entries.recycle();
    }

    /// The connection that an id of this reactor names, if it is still there.
    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&Entry> {
        self.entries.get(id.slot(), id.generation())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        self.entries.get_mut(id.slot(), id.generation())
    }

    /// The connection that an id names, which may be of another reactor.
    #[inline]
    pub(super) fn find(&self, id: ConnId) -> Option<&Entry> {
        if id.reactor() != self.number {
            return None;
        }
        self.get(id)
    }

    #[inline]
    pub(super) fn find_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        if id.reactor() != self.number {
            return None;
        }
        self.get_mut(id)
    }

    /// The name of the connection that a token means, if it is still there.
    #[inline]
    pub(super) fn named(&self, token: Token, slot: u32) -> Option<ConnId> {
        let generation = self.entries.resolve(token, slot, 0)?;
        Some(ConnId::new(self.number, slot, generation))
    }

    /// The connection that a token means, if it is still there.
    #[inline]
    pub(super) fn watched_mut(&mut self, token: Token, slot: u32) -> Option<&mut Entry> {
        self.entries.find_mut(token, slot)
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        let name = |(slot, generation)| ConnId::new(self.number, slot, generation);
        self.entries.ids().map(name).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the connection limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.entries.is_full()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::base::address::Address;
    use crate::net::socket::Stream;

    fn entry() -> Entry {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let socket = Stream::from(ours).into_socket().unwrap();
        let conn = Connection::new(Stamp::default());
        Entry { socket, peer: Address::Unnamed.into(), conn, ticket: Ticket::new() }
    }

    /// Invariant 5: a name finds its own connection, and never the next one in its slot, nor that of
    /// another reactor.
    #[test]
    fn a_name_finds_its_own_connection_only() {
        let mut conns = Conns::new(1, 7);
        let id = conns.insert(entry());
        assert!(conns.is_full() && conns.find(id).is_some());
        let stranger = ConnId::new(8, id.slot(), id.generation());
        assert!(conns.find(stranger).is_none() && conns.find_mut(stranger).is_none());
        assert_eq!(conns.named(id.token(), id.slot()), Some(id));

        assert!(conns.remove(id).is_some() && conns.remove(id).is_none());
        conns.recycle();
        let next = conns.insert(entry());
        assert_eq!((next.slot(), conns.ids()), (id.slot(), vec![next]));
        assert!(conns.find(id).is_none() && conns.named(id.token(), id.slot()).is_none());
    }
}
