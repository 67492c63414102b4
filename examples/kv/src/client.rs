//! What a shard keeps of each client that is connected to it.
//!
//! It lives in the shard, not in the connection's session, so that answers from other shards and
//! messages of channels reach it between the callbacks of its connection. Read next: `turn.rs`,
//! which serves one.

use std::fmt::Write as _;

use bytes::Bytes;
use indexmap::IndexSet;
use wouldblock::{Address, ConnId};

use crate::answers::Answers;
use crate::batch::Batch;
use crate::parcel::Parked;
use crate::reply::Protocol;
use crate::resp::Requests;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub id: ConnId,
    /// What `CLIENT ID` says: no other client of the server has it, nor had.
    pub number: u64,
    /// Where it is.
    pub address: Address,
    /// Its decoder.
    pub requests: Requests,
    /// What it speaks.
    pub protocol: Protocol,
    /// Answers that wait for other shards.
    pub answers: Answers,
    /// What is to be asked of other shards when it has read what it was answered.
    pub parked: Vec<Parked>,
    /// Whether reading is paused until they are fewer.
    pub is_paused: bool,
    /// Commands between `MULTI` and `EXEC`.
    pub transaction: Option<Box<Transaction>>,
    /// Which shard watches keys for it.
    pub watching: Option<usize>,
    /// About the memory that these keys take there, in bytes.
    pub watched: usize,
    /// What it listens to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Which answers it does not want.
    pub silence: Silence,
    /// It is closed when its answers are sent.
    pub is_leaving: bool,
    /// It was told to go (`CLIENT KILL`), and is not there for others any more.
    pub is_killed: bool,
    /// What `CLIENT SETNAME` said.
    pub name: Vec<u8>,
    /// When it came, in milliseconds since 1970.
    pub since: i64,
    /// When it sent something last.
    pub seen: i64,
    /// The name of its last command.
    pub command: &'static str,
    /// Whether cluster reads of a replica are wanted: remembered, and without consequence.
    pub is_readonly: bool,
}

/// Which answers a client does not want: `CLIENT REPLY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It wants all.
    None,
    /// Not that to the next command.
    Next,
    /// Not that to this command.
    This,
    /// None.
    All,
}

/// The most memory that one client may have names kept in, in bytes: of channels and patterns, and
/// as much of watched keys.
pub const NAMES_MAX: usize = 16 << 20;

/// About the memory that a kept name takes.
#[must_use]
pub fn name_bytes(name: &[u8]) -> usize {
    name.len() + 128
}

/// Commands between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub struct Transaction {
    /// As they came.
    pub batch: Batch,
    /// One of them was refused: so will `EXEC` be.
    pub is_broken: bool,
}

/// What a client listens to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Channels.
    pub channels: IndexSet<Bytes>,
    /// Patterns of channels.
    pub patterns: IndexSet<Bytes>,
    /// About the memory that both take, in bytes.
    pub bytes: usize,
}

impl Subscriptions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Client {
    /// One that has just come.
    #[must_use]
    pub fn new(id: ConnId, number: u64, address: Address, now: i64) -> Self {
        Client {
            id,
            number,
            address,
            requests: Requests::default(),
            protocol: Protocol::default(),
            answers: Answers::default(),
            parked: Vec::new(),
            is_paused: false,
            transaction: None,
            watching: None,
            watched: 0,
            subscriptions: None,
            silence: Silence::None,
            is_leaving: false,
            is_killed: false,
            name: Vec::new(),
            since: now,
            seen: now,
            command: "NULL",
            is_readonly: false,
        }
    }

    /// Whether no more of its commands are to be run for now. Not behind one that is parked: they
    /// would be asked before it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.answers.is_full() || !self.parked.is_empty()
    }

    /// Whether what it asks for the answer of this number is to be parked: many are here that are
    /// not sent, or something that it has asked before is parked. Never what the first one waits
    /// for, since nothing can be sent before that.
    #[must_use]
    pub fn is_held_up(&self, number: u64) -> bool {
        number > self.answers.first() && (self.answers.are_many() || !self.parked.is_empty())
    }

    /// Takes what is parked no longer: all when few answers are here, or what the first one waits
    /// for, and what was asked before.
    pub fn unpark(&mut self) -> impl Iterator<Item = Parked> {
        let first = self.answers.first();
        let is_first = |it: &Parked| it.ticket.number <= first;
        let all = self.parked.len();
        let ready = if self.answers.are_few() {
            all
        } else {
            self.parked.iter().rposition(is_first).map_or(0, |last| last + 1)
        };
        self.parked.drain(..ready)
    }

    /// Whether commands may be run as they come.
    #[inline]
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.transaction.is_none() && self.subscriptions.is_none()
    }

    /// Whether answers may be sent as they are written.
    #[inline]
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.answers.is_empty() && self.silence == Silence::None
    }

    /// Whether the client has a subscription, and speaks the version in which answers and messages
    /// look alike.
    #[must_use]
    pub fn is_listening_only(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions.is_some()
    }

    /// How many subscriptions it has.
    #[must_use]
    pub fn subscribed(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |it| it.len())
    }

    /// Its address as one word: a client chooses the path of its Unix socket, and a space in it
    /// would be the end of a field.
    #[must_use]
    pub fn addr(&self) -> String {
        self.address.to_string().replace(' ', r"\x20")
    }

    /// A line of `CLIENT LIST`. `queued`: what its connection owes it.
    #[must_use]
    pub fn describe(&self, shard: usize, queued: usize, now: i64) -> String {
        let (channels, patterns) =
            self.subscriptions.as_ref().map_or((0, 0), |it| (it.channels.len(), it.patterns.len()));
        let multi = self.transaction.as_ref().map(|it| it.batch.len());
        let mut flags = String::new();
        for (is_set, flag) in [
            (self.transaction.is_some(), 'x'),
            (self.subscriptions.is_some(), 'P'),
            (self.is_leaving, 'c'),
            (self.is_readonly, 'r'),
        ] {
            if is_set {
                flags.push(flag);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let mut line = String::new();
        let _ = write!(
            line,
            "id={} addr={} fd=-1 name={} age={} idle={} flags={flags} db=0 sub={channels} psub={patterns} ssub=0 multi={} \
             obl={queued} omem={queued} events=r cmd={} user=default redir=-1 resp={} shard={shard}",
            self.number,
            self.addr(),
            String::from_utf8_lossy(&self.name),
            (now - self.since) / 1000,
            (now - self.seen) / 1000,
            multi.map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX)),
            self.command,
            if self.protocol == Protocol::Resp3 { 3 } else { 2 },
        );
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_path_adds_no_field_to_its_line() {
        let address = Address::unix("a name=admin\n");
        let client = Client::new(ConnId::from_u64(1), 7, address.clone(), 0);
        let line = client.describe(0, 0, 0);
        assert!(line.starts_with(r"id=7 addr=unix:a\x20name=admin\n fd=-1 name= age=0 "), "{line}");
        assert_eq!(client.addr().parse::<Address>().unwrap(), address);
    }
}
