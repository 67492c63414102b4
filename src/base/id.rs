//! Names that never come to mean something else.
//!
//! A slot of the slab is used again after its connection is gone; its *generation* counts the
//! entries. A name carries both, so a late event, timer or message for a former entry is told
//! from one for the present. The same pair, packed into a `usize`, is the poll's token.
//! Read next: `slots.rs`, which hands the generations out.

use std::fmt;

/// How many slots a token can name: 24 bits.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
/// From here on up, slots belong to listeners.
pub(crate) const LISTENER_BASE: u32 = 0x00FF_0000;
/// From here on up, slots belong to datagram sockets; the last one is the waker's.
pub(crate) const DATAGRAM_BASE: u32 = 0x00FF_8000;

/// The most connections one reactor can hold: 16,711,680.
pub(crate) const CONNECTIONS_CEILING: usize = LISTENER_BASE as usize;
/// The most listeners one reactor can hold: 32,768.
pub(crate) const LISTENERS_CEILING: usize = (DATAGRAM_BASE - LISTENER_BASE) as usize;
/// The most datagram sockets one reactor can hold: 32,767.
pub(crate) const SOCKETS_CEILING: usize = (SLOT_MASK - DATAGRAM_BASE) as usize;

/// What the poll hands back with an event. Reserved ranges cannot overlap: see the ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) usize);

impl Token {
    pub(crate) const WAKER: Token = Token(SLOT_MASK as usize);

    /// On a machine of 32 bits the low 8 bits of the generation fit, on one of 64 all of them.
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Token((generation as usize) << SLOT_BITS | slot as usize)
    }

    #[allow(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
    fn slot(self) -> u32 {
        self.0 as u32 & SLOT_MASK
    }

    pub(crate) fn target(self) -> Target {
        let slot = self.slot();
        if slot < LISTENER_BASE {
            Target::Connection(slot)
        } else if slot < DATAGRAM_BASE {
            Target::Listener(slot - LISTENER_BASE)
        } else if slot < SLOT_MASK {
            Target::Datagrams(slot - DATAGRAM_BASE)
        } else {
            Target::Waker
        }
    }
}

/// Whom a token means, by slot; the generation is compared by [`crate::base::slots::Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Connection(u32),
    Listener(u32),
    Datagrams(u32),
    Waker,
}

/// The name of one connection, for as long as the program runs.
///
/// Packed into 64 bits: the reactor (8), the slot (24), the generation of the slot (32). A slot is
/// used again, a name is not: after 4,294,967,295 entries a slot retires. The reactor's number is
/// counted up by one for each reactor the process makes, and so repeats after 256.
///
/// Not guaranteed: that names are given in any order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    pub(crate) fn new(reactor: u8, slot: u32, generation: u32) -> Self {
        ConnId(u64::from(reactor) << 56 | u64::from(slot) << 32 | u64::from(generation))
    }

    /// The name as a number, for a log, a wire or the tag of a connect; [`ConnId::from_u64`] turns it
    /// back.
    ///
    /// # Examples
    ///
    /// A connect for a client: the session of each of the two comes to know the other, and no map has to.
    ///
    /// ```
    /// # use std::{io, net::SocketAddr};
    /// # use wouldblock::{Conn, ConnId, Handler, Input, Origin};
    /// struct Proxy {
    ///     server: SocketAddr,
    /// }
    ///
    /// impl Handler for Proxy {
    ///     type Session = ConnId; // the other one of the two
    ///
    ///     fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<ConnId> {
    ///         if let Origin::Connected(client) = origin {
    ///             return Ok(ConnId::from_u64(client));
    ///         }
    ///         let client = conn.id().to_u64();
    ///         conn.cx().connect(self.server, client)
    ///     }
    ///     # fn on_data(&mut self, _: &mut Conn<'_>, _: &mut ConnId, _: &mut Input<'_>) -> io::Result<()> {
    ///     #     Ok(())
    ///     # }
    /// }
    /// ```
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The name that [`ConnId::to_u64`] made a number of.
    ///
    /// Any number is a name; one that no connection has is refused wherever it is used.
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        ConnId(number)
    }

    pub(crate) fn reactor(self) -> u8 {
        (self.0 >> 56) as u8
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
    pub(crate) fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & SLOT_MASK
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
    pub(crate) fn generation(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn token(self) -> Token {
        Token::new(self.slot(), self.generation())
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.reactor(), self.slot(), self.generation())
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

/// The name of one listener of a reactor, for as long as the program runs: neither the listener of
/// another reactor nor a later one has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId {
    reactor: u32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ListenerId {
    pub(crate) fn new(reactor: u32, slot: u32, generation: u32) -> Self {
        ListenerId { reactor, slot, generation }
    }

    pub(crate) fn reactor(self) -> u32 {
        self.reactor
    }

    pub(crate) fn token(self) -> Token {
        Token::new(LISTENER_BASE + self.slot, self.generation)
    }
}

/// The name of one datagram socket of a reactor, for as long as the program runs, as that of a
/// listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatagramId {
    reactor: u32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl DatagramId {
    pub(crate) fn new(reactor: u32, slot: u32, generation: u32) -> Self {
        DatagramId { reactor, slot, generation }
    }

    pub(crate) fn reactor(self) -> u32 {
        self.reactor
    }

    pub(crate) fn token(self) -> Token {
        Token::new(DATAGRAM_BASE + self.slot, self.generation)
    }
}

/// How a connection came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// This listener accepted it.
    Accepted(ListenerId),
    /// We connected, under this tag.
    Connected(u64),
    /// It was adopted under this tag.
    Adopted(u64),
    /// Another service of the reactor has [handed it over](crate::Conn::hand_to) under this tag.
    HandedOver(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_a_number() {
        let id = ConnId::new(0xAB, 0x00FE_FFFF, 0xDEAD_BEEF);
        assert_eq!(ConnId::from_u64(id.to_u64()), id);
        assert_eq!((id.reactor(), id.slot(), id.generation()), (0xAB, 0x00FE_FFFF, 0xDEAD_BEEF));
        assert_eq!(ConnId::new(1, 2, 3).to_string(), "1.2.3");
    }

    /// Trap 20: the ranges of connections, listeners, datagram sockets and the waker do not overlap.
    #[test]
    fn the_reserved_ranges_of_tokens_do_not_overlap() {
        let last = LISTENER_BASE - 1;
        let id = ConnId::new(255, last, u32::MAX);
        assert_eq!(id.token().target(), Target::Connection(last));
        let last = u32::try_from(LISTENERS_CEILING).unwrap() - 1;
        let listener = ListenerId::new(0, last, u32::MAX);
        assert_eq!(listener.token().target(), Target::Listener(last));
        let last = u32::try_from(SOCKETS_CEILING).unwrap() - 1;
        let socket = DatagramId::new(0, last, u32::MAX);
        assert_eq!(socket.token().target(), Target::Datagrams(last));
        let first = DatagramId::new(0, 0, u32::MAX);
        assert_eq!(first.token().target(), Target::Datagrams(0));
        assert_eq!(Token::WAKER.target(), Target::Waker);
        assert_ne!(socket.token(), Token::WAKER);
    }
}
