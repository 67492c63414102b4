//! One shard: a reactor's handler, with its keys, its clients, and the ways to the other shards.
//!
//! What a client sends is read and run in `on_data`, and answered by one send for all of it. What
//! belongs to another shard leaves when the callback ends, as a parcel. Read next: `turn.rs`, how a
//! command is run; `parcel.rs`, how shards talk.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slab::Slab;
use wouldblock::{
    CloseReason, Closed, Conn, ConnId, Context, Handler, Input, Origin, ServerHandle, Timer,
};

use crate::client::Client;
use crate::command::{Fault, Keys};
use crate::commands::execute;
use crate::facts::Facts;
use crate::keyspace::Keyspace;
use crate::parcel::{ANSWER, Answered, Ask, Parcel, Ticket, UNANSWERED, Way};
use crate::pubsub::PubSub;
use crate::reply::Reply;
use crate::resp::{Garbage, Next};
use crate::server;
use crate::table::{Table, What, table};
use crate::tally::Tally;
use crate::turn::Turn;

/// So much is written before it is sent: a peer that reads has something to do meanwhile.
const SEND: usize = 16 << 10;
/// A longer answer is sent piece by piece, as the peer reads: it never meets a limit of output.
const LONG: usize = 256 << 10;

/// A watched key, and its version when it was.
pub type Watched = (Box<[u8]>, u64);

/// A reactor's handler.
#[derive(Debug)]
pub struct Shard {
    /// Its number, from 0 on.
    pub number: usize,
    /// Its keys.
    pub keys: Keyspace,
    /// Answers of the running callback that are not sent yet.
    pub reply: Reply,
    /// The clients that are connected here, by their places: the sessions of their connections.
    pub clients: Slab<Client>,
    /// Who listens to what.
    pub pubsub: PubSub,
    /// All commands.
    pub table: &'static Table,
    /// How often each was run here.
    pub tally: Tally,
    /// What does not change, and what all shards count together.
    pub facts: Arc<Facts>,
    /// The way to all reactors.
    pub server: ServerHandle<Shard>,
    /// The ways to the other shards, by number; the own is never gone.
    pub ways: Vec<Way>,
    /// What is watched for clients, and the versions at that time: keys of this shard, clients of any.
    pub watched: HashMap<ConnId, Vec<Watched>>,
    /// The longest word of a command.
    pub word_max: usize,
    /// What all shards together may use, in bytes; 0 is no limit.
    pub memory_max: usize,
    /// How many changes the last snapshot has.
    pub saved_changes: u64,
    /// How many the one has that is being written.
    pub saving_changes: u64,
    /// Clients that have said `SAVE`.
    pub waiting_for_snapshot: Vec<Ticket>,
}

/// What timers are for: a snapshot that goes on.
pub const SAVE_TIMER: u64 = 1;
/// And what is done ten times in a second.
const TICK_TIMER: u64 = 0;
const TICK: Duration = Duration::from_millis(100);
/// So many keys with a deadline are looked at each time, and again while many of them have expired.
const EXPIRE: usize = 200;
/// How often in one tick at most.
const EXPIRE_ROUNDS: usize = 50;

impl Shard {
    /// A shard without keys.
    #[must_use]
    pub fn new(number: usize, facts: Arc<Facts>, server: ServerHandle<Shard>) -> Self {
        let mut keys = Keyspace::default();
        keys.set_now(wall());
        Shard {
            number,
            keys,
            reply: Reply::default(),
            clients: Slab::new(),
            pubsub: PubSub::default(),
            table: table(),
            tally: Tally::default(),
            word_max: facts.word_max,
            ways: (0..server.reactors()).map(|_| Way::default()).collect(),
            facts,
            server,
            watched: HashMap::new(),
            memory_max: 0,
            saved_changes: 0,
            saving_changes: 0,
            waiting_for_snapshot: Vec::new(),
        }
    }

    /// So much may all shards use: each has its share, since keys are spread evenly.
    pub fn set_memory_max(&mut self, bytes: usize) {
        self.memory_max = bytes;
        self.keys.memory.max = bytes.div_ceil(self.ways.len());
    }

    /// Whether no command is another shard's.
    #[inline]
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.ways.len() == 1 && self.facts.cluster.is_none()
    }

    /// Refuses a command whose keys are not this process's.
    ///
    /// # Errors
    ///
    /// `MOVED` or `CROSSSLOT`, as Redis Cluster has them.
    pub fn check_cluster(&self, keys: Keys, words: &[&[u8]]) -> Result<(), Fault> {
        self.facts.cluster.as_ref().map_or(Ok(()), |it| it.check(keys, words))
    }

    /// Runs a command of another shard's client, or this shard's part of one that all are asked.
    pub fn part(&mut self, cx: &mut Context, words: &[&[u8]], reply: &mut Reply) {
        let entry = self.table.find(words[0]).expect("found where it came from");
        match entry.what {
            What::Keys(command) => execute(command, words, &mut self.keys, reply),
            What::Server(command) => server::part(self, cx, command.name, words, reply),
        }
    }

    /// Runs what another shard asks, and sends it the answers.
    fn serve(&mut self, cx: &mut Context, from: usize, mut parcel: Parcel) {
        self.keys.set_now(wall());
        let (mut reply, mut ends) = (Reply::default(), Vec::with_capacity(parcel.asks.len()));
        let mut words = Vec::new();
        for asked in &parcel.asks {
            if reply.bytes.len() >= ANSWER {
                break;
            }
            if let Some(number) = asked.command {
                parcel.batch.get(number, &mut words);
            }
            match &asked.ask {
                Ask::Run(protocol) => {
                    reply.protocol = *protocol;
                    self.part(cx, &words, &mut reply);
                }
                Ask::Watch(id) => {
                    self.watch(*id, &words[1..]);
                    reply.simple("OK");
                }
                Ask::Unwatch(id) => self.unwatch(*id),
                Ask::Unit(id, protocol, batch) => {
                    reply.protocol = *protocol;
                    self.run_unit(*id, batch, &mut reply);
                }
            }
            ends.push(reply.bytes.len());
        }
        parcel.asks.drain(..ends.len());
        if parcel.asks.is_empty() {
            parcel = Parcel::default();
        }
        let answered = Answered { bytes: reply.bytes, ends, rest: parcel };
        let number = self.number;
        if let Some(there) = self.server.reactor(from) {
            // One that has ended has no clients.
            let _ = there.post(move |shard, cx| shard.on_answered(cx, number, answered));
        }
        self.send_parcels(cx);
    }

    /// Another shard's answers have come.
    fn on_answered(&mut self, cx: &mut Context, from: usize, answered: Answered) {
        let Answered { bytes: all, ends, rest } = answered;
        let mut tickets = self.ways[from].returned();
        let rest_for = tickets.split_off(ends.len());
        let mut start = 0;
        let mut last = None;
        for (ticket, end) in tickets.into_iter().zip(ends) {
            let bytes = &all[start..end];
            start = end;
            let Some(ticket) = ticket.filter(|it| it.part != UNANSWERED) else { continue };
            // The place may be another's by now.
            let client = self.clients.get_mut(ticket.place).filter(|client| client.id == ticket.id);
            let Some(client) = client else { continue };
            client.answers.fill(ticket.number, ticket.part, bytes);
            if last.is_some_and(|last| last != ticket.place) {
                self.deliver_to(cx, last.expect("it is some"));
            }
            last = Some(ticket.place);
        }
        if let Some(last) = last {
            self.deliver_to(cx, last);
        }
        if !rest.asks.is_empty() {
            self.put_back(from, rest, rest_for);
        }
        self.send_parcels(cx);
    }

    /// What another shard has not served yet is asked again: at once, or, for clients that do not
    /// read, when they do.
    fn put_back(&mut self, there: usize, rest: Parcel, rest_for: Vec<Option<Ticket>>) {
        let Shard { ways, clients, .. } = self;
        let held_up = |ticket: &Ticket| {
            let client = clients.get(ticket.place).filter(|client| client.id == ticket.id);
            client.is_some_and(|it| it.is_held_up(ticket.number))
        };
        for parked in ways[there].put_back(there, rest, rest_for, held_up) {
            clients[parked.ticket.place].parked.push(parked);
        }
    }

    /// Sends what waits to be asked, where no parcel is away.
    pub fn send_parcels(&mut self, cx: &mut Context) {
        for there in 0..self.ways.len() {
            let Some(parcel) = self.ways[there].leave() else { continue };
            let number = self.number;
            let way = self.server.reactor(there).expect("there is a way to each reactor");
            if way.post(move |shard, cx| shard.serve(cx, number, parcel)).is_err() {
                self.on_lost(cx, there);
            }
        }
        debug_assert!(self.ways.iter().all(Way::is_on_its_way));
    }

    /// A shard has ended, in a shutdown, before it was asked.
    fn on_lost(&mut self, cx: &mut Context, there: usize) {
        let mut reply = Reply::default();
        reply.error("ERR the server is shutting down");
        let lost = self.ways[there].returned().into_iter().flatten();
        for ticket in lost.filter(|it| it.part != UNANSWERED) {
            self.fill(cx, ticket, &reply.bytes);
        }
        // What waited for that parcel, and what its answers have let go on.
        self.send_parcels(cx);
    }

    /// An answer has come that a client waits for, if it is still there.
    pub fn fill(&mut self, cx: &mut Context, ticket: Ticket, bytes: &[u8]) {
        let client = self.clients.get_mut(ticket.place).filter(|client| client.id == ticket.id);
        if let Some(client) = client {
            client.answers.fill(ticket.number, ticket.part, bytes);
            self.deliver_to(cx, ticket.place);
        }
    }

    fn deliver_to(&mut self, cx: &mut Context, place: usize) {
        let Some(client) = self.clients.get(place) else { return };
        if let Some(mut conn) = cx.conn(client.id) {
            self.deliver(&mut conn, place);
        }
    }

    /// Sends a client the answers that are here, as far as it takes them, and has it go on if it
    /// was to wait.
    fn deliver(&mut self, conn: &mut Conn<'_>, place: usize) {
        let client = &mut self.clients[place];
        let mut bytes = Vec::new();
        loop {
            // Until there is no room: only then is `on_drain` to come, which goes on with the rest.
            // A client that has gone has none, and takes all: it is read on to its end, and its
            // answers are kept for nobody.
            let room = if conn.has_failed() { SEND } else { conn.room() };
            let enough = room.min(SEND);
            while bytes.len() < enough
                && let Some(answer) = client.answers.pop()
            {
                if bytes.is_empty() {
                    bytes = answer;
                } else {
                    bytes.extend_from_slice(&answer);
                }
            }
            if bytes.is_empty() {
                break;
            }
            send(conn, &mut bytes);
        }
        for parked in client.unpark() {
            self.ways[parked.there].ask_again(parked);
        }
        if client.is_paused && client.answers.is_low() {
            client.is_paused = false;
            conn.resume();
        }
        if client.answers.is_empty() {
            conn.hold(false);
            if client.is_leaving {
                conn.close();
            }
        }
    }

    /// After the commands of one read: what is written is sent.
    fn end_turn(&mut self, conn: &mut Conn<'_>, place: usize) {
        send(conn, &mut self.reply.bytes);
        let client = &mut self.clients[place];
        if client.answers.is_empty() {
            if client.is_leaving {
                conn.close();
            }
            return;
        }
        conn.hold(true);
        if client.is_full() || client.is_leaving {
            client.is_paused = true;
            conn.pause();
        }
        self.send_parcels(conn.cx());
    }

    /// Runs all commands that the input holds, or as many as the client has room for the answers to.
    fn commands(
        &mut self,
        conn: &mut Conn<'_>,
        place: usize,
        input: &mut Input<'_>,
    ) -> Result<(), Garbage> {
        let mut words = Vec::with_capacity(8);
        while !input.is_resting() {
            let client = &mut self.clients[place];
            if client.is_leaving || client.is_full() {
                break;
            }
            match client.requests.next(input, &mut words, self.word_max)? {
                Next::Words if words.is_empty() => {}
                Next::Words => Turn::new(self, conn, place).command(&words),
                Next::Quoted(quoted) => {
                    let words: Vec<&[u8]> = quoted.iter().map(Vec::as_slice).collect();
                    if !words.is_empty() {
                        Turn::new(self, conn, place).command(&words);
                    }
                }
                Next::Incomplete => break,
            }
            if self.reply.bytes.len() >= SEND {
                send(conn, &mut self.reply.bytes);
            }
        }
        Ok(())
    }

    fn read(&mut self, conn: &mut Conn<'_>, place: usize, input: &mut Input<'_>) {
        let now = wall();
        self.keys.set_now(now);
        let client = &mut self.clients[place];
        client.seen = now;
        self.reply.protocol = client.protocol;
        let done = self.commands(conn, place, input);
        if let Err(garbage) = done {
            let mut last = Reply::default();
            last.error(format_args!("ERR {garbage}"));
            let client = &mut self.clients[place];
            if client.answers.is_empty() {
                self.reply.bytes.extend_from_slice(&last.bytes);
            } else {
                client.answers.push_ready(&last.bytes);
            }
            client.is_leaving = true;
        }
        self.end_turn(conn, place);
    }
}

impl Handler for Shard {
    type Session = usize; // the client's place

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.set_periodic_timer(TICK, TICK_TIMER);
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<usize> {
        let number = self.facts.next_client();
        let client = Client::new(conn.id(), number, conn.peer_addr()?, wall());
        Ok(self.clients.insert(client))
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        place: &mut usize,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        self.read(conn, *place, input);
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        place: &mut usize,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        // A client that has sent all may still wait for all answers.
        self.clients[*place].is_leaving = true;
        rest.take_all();
        self.end_turn(conn, *place);
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, place: &mut usize) -> io::Result<()> {
        self.deliver(conn, *place);
        self.send_parcels(conn.cx());
        Ok(())
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        place: &mut usize,
        why: &CloseReason,
    ) -> io::Result<()> {
        // An answer to what did not come whole. Otherwise it would be taken for that of another command.
        if matches!(why, CloseReason::InputLimit) && self.clients[*place].answers.is_empty() {
            conn.send("-ERR Protocol error: too big command\r\n");
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.keys.set_now(wall());
        if timer.tag == SAVE_TIMER {
            return self.go_on_saving(cx);
        }
        self.save_if_due(cx);
        let _ = (0..EXPIRE_ROUNDS).take_while(|_| self.keys.expire_some(EXPIRE)).count();
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, place: usize, _closed: Closed) {
        let client = self.clients.remove(place);
        let subscriptions = client.subscriptions.unwrap_or_default();
        for channel in &subscriptions.channels {
            self.pubsub.unsubscribe(false, channel, place);
        }
        for pattern in &subscriptions.patterns {
            self.pubsub.unsubscribe(true, pattern, place);
        }
        for parked in client.parked {
            // What was to end the watching is not asked any more.
            if matches!(parked.ask, Ask::Unwatch(_) | Ask::Unit(..)) {
                self.forget_watched_in(parked.there, client.id, None);
            }
        }
        if let Some(there) = client.watching {
            self.forget_watched_in(there, client.id, None);
        }
        self.send_parcels(cx);
    }
}

/// Sends, and leaves nothing.
pub fn send(conn: &mut Conn<'_>, bytes: &mut Vec<u8>) {
    if bytes.len() >= LONG {
        conn.send_from(io::Cursor::new(std::mem::take(bytes)));
    } else if !bytes.is_empty() {
        conn.send(&*bytes);
        bytes.clear();
    }
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
