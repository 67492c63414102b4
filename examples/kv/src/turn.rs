//! A client's turn: its next command is found, and run here, asked of another shard, of several, or
//! kept for later.
//!
//! What a command does is with the commands. The answer to each is written to the shard's reply;
//! where an earlier one of the client is still to come, it is put behind that. Read next:
//! `transaction.rs`, `gather.rs`, `server.rs`.

use wouldblock::Conn;

use crate::client::{Client, Silence};
use crate::command::{Command, Fault, Keys};
use crate::commands::execute;
use crate::gather::{Combine, Gather};
use crate::parcel::{Ask, Ticket};
use crate::reply::Reply;
use crate::shard::{Shard, send};
use crate::slots;
use crate::table::{Entry, What};

/// The one client that is served, in its shard.
#[derive(Debug)]
pub struct Turn<'t, 'c> {
    /// Its shard.
    pub shard: &'t mut Shard,
    /// Its connection.
    pub conn: &'t mut Conn<'c>,
    /// Its place.
    pub place: usize,
    /// Where in the shard's reply begins what is not settled.
    mark: usize,
}

/// Where the keys of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// It has none.
    Anywhere,
    /// All of them in this shard.
    Shard(usize),
    /// In several.
    Several,
}

impl<'t, 'c> Turn<'t, 'c> {
    /// A turn of the client at this place.
    #[inline]
    pub fn new(shard: &'t mut Shard, conn: &'t mut Conn<'c>, place: usize) -> Self {
        let mark = shard.reply.bytes.len();
        Turn { shard, conn, place, mark }
    }

    /// Does what the client wants.
    #[inline]
    pub fn command(&mut self, words: &[&[u8]]) {
        match self.shard.table.find(words[0]) {
            Some(entry) if entry.takes(words.len()) => {
                let client = &mut self.shard.clients[self.place];
                client.command = entry.name;
                if client.is_usual() || !self.holds_back(entry, words) {
                    self.run(entry, words);
                }
            }
            found => self.refuse(found, words),
        }
        if !self.client().is_direct() {
            self.settle();
            let silence = &mut self.client().silence;
            *silence = match *silence {
                Silence::Next => Silence::This,
                Silence::This => Silence::None,
                other => other,
            };
        }
        self.mark = self.shard.reply.bytes.len();
    }

    /// The client.
    #[inline]
    pub fn client(&mut self) -> &mut Client {
        &mut self.shard.clients[self.place]
    }

    /// Where the answer goes.
    #[inline]
    pub fn reply(&mut self) -> &mut Reply {
        &mut self.shard.reply
    }

    /// Runs a command, in a transaction or not.
    #[inline]
    pub fn run(&mut self, entry: &Entry, words: &[&[u8]]) {
        self.shard.tally.run(entry.number);
        let before = self.shard.reply.bytes.len();
        let done = match entry.what {
            What::Keys(command) if self.shard.is_alone() => {
                execute(command, words, &mut self.shard.keys, &mut self.shard.reply);
                Ok(())
            }
            What::Keys(command) => self.route(command, words),
            What::Server(command) => {
                (command.run)(self, words).inspect_err(|_| self.shard.reply.bytes.truncate(before))
            }
        };
        if let Err(fault) = done {
            self.shard.reply.error(fault);
        }
        if let Some(error @ [b'-', ..]) = self.shard.reply.bytes.get(before..) {
            self.shard.tally.failed(entry.number, error);
        }
    }

    /// Whether a command is not to be run now: it is queued, or refused.
    #[cold]
    fn holds_back(&mut self, entry: &Entry, words: &[&[u8]]) -> bool {
        if self.client().is_listening_only() {
            const ALLOWED: [&str; 8] = [
                "subscribe",
                "unsubscribe",
                "psubscribe",
                "punsubscribe",
                "ping",
                "quit",
                "reset",
                "hello",
            ];
            if !ALLOWED.contains(&entry.name) {
                self.reply().error(format_args!(
                    "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                     this context",
                    entry.name
                ));
                return true;
            }
        }
        self.client().transaction.is_some() && self.enqueue(entry, words)
    }

    /// What is no command of ours, or has too few words or too many.
    #[cold]
    fn refuse(&mut self, found: Option<&Entry>, words: &[&[u8]]) {
        if let Some(transaction) = &mut self.client().transaction {
            transaction.is_broken = true;
        }
        let before = self.shard.reply.bytes.len();
        match found {
            Some(entry) => self.reply().error(Fault::Arity(entry.name)),
            None if is_http(words[0]) => {
                self.client().is_leaving = true;
                self.reply().error("ERR this is no HTTP server: nothing behind it is read");
            }
            None => self.reply().error(unknown(words)),
        }
        let Shard { tally, reply, .. } = &mut *self.shard;
        tally.rejected(found.map(|entry| entry.number), &reply.bytes[before..]);
    }

    /// Runs a command where its keys are.
    fn route(&mut self, command: &'static Command, words: &[&[u8]]) -> Result<(), Fault> {
        self.shard.check_cluster(command.keys, words)?;
        match self.shard.home(command.keys, words)? {
            Home::Anywhere if self.shard.ways.len() > 1 => match command.name {
                "keys" => self.ask_all(words, Combine::Concat),
                "scan" => return self.scan(words),
                "randomkey" => {
                    let any = self.shard.keys.random.below(self.shard.ways.len());
                    self.ask_all(words, Combine::Any(any));
                }
                _ => execute(command, words, &mut self.shard.keys, &mut self.shard.reply),
            },
            Home::Shard(there) if there != self.shard.number => self.ask(there, words, Ask::Run),
            Home::Anywhere | Home::Shard(_) => {
                execute(command, words, &mut self.shard.keys, &mut self.shard.reply);
            }
            Home::Several => return self.split(command, words),
        }
        Ok(())
    }

    /// Has a part of a command run in each shard that has some of its keys.
    fn split(&mut self, command: &'static Command, words: &[&[u8]]) -> Result<(), Fault> {
        let combine: fn(Vec<u8>) -> Combine = match command.name {
            "mget" => Combine::Elements,
            "mset" => |_| Combine::First,
            "del" | "unlink" | "exists" | "touch" => |_| Combine::Sum,
            _ => return Err(Fault::other("CROSSSLOT Keys in request don't hash to the same slot")),
        };
        let Keys::Range { first, step, .. } = command.keys else {
            unreachable!("a command that is split has a range of keys")
        };
        if !(words.len() - first).is_multiple_of(step) {
            return Err(Fault::Arity(command.name));
        }
        // By shard: its words. And in which order the shards are named.
        let mut parts: Vec<(usize, Vec<&[u8]>)> = Vec::new();
        let mut order = Vec::new();
        for group in words[first..].chunks_exact(step) {
            let shard = self.shard.owner(group[0]);
            let part = parts.iter().position(|(it, _)| *it == shard).unwrap_or_else(|| {
                parts.push((shard, vec![words[0]]));
                parts.len() - 1
            });
            parts[part].1.extend_from_slice(group);
            order.push(u8::try_from(part).expect("there are at most 128 shards"));
        }
        self.ask_several(parts, combine(order));
        Ok(())
    }

    /// A cursor says in which shard to go on: each is scanned behind the one before it.
    fn scan(&mut self, words: &[&[u8]]) -> Result<(), Fault> {
        let of = self.shard.ways.len();
        let cursor: Option<u64> = str::from_utf8(words[1]).ok().and_then(|it| it.parse().ok());
        let cursor = cursor.ok_or_else(|| Fault::other("ERR invalid cursor"))?;
        let shard = usize::try_from(cursor % of as u64).expect("less than the number of shards");
        let inner = (cursor / of as u64).to_string();
        let mut part = words.to_vec();
        part[1] = inner.as_bytes();
        self.ask_several(vec![(shard, part)], Combine::Cursor { part: shard, of });
        Ok(())
    }

    /// Asks all shards the same, this one included.
    pub fn ask_all(&mut self, words: &[&[u8]], combine: Combine) {
        let parts = (0..self.shard.ways.len()).map(|shard| (shard, words.to_vec())).collect();
        self.ask_several(parts, combine);
    }

    /// Asks these shards these words.
    fn ask_several(&mut self, parts: Vec<(usize, Vec<&[u8]>)>, combine: Combine) {
        let protocol = self.client().protocol;
        let mut gather = Gather::new(parts.len(), combine, protocol);
        let here = parts.iter().position(|(shard, _)| *shard == self.shard.number);
        if let Some(part) = here {
            let mut reply = Reply::new(protocol);
            self.shard.part(self.conn.cx(), &parts[part].1, &mut reply);
            gather.fill(part, &reply.bytes);
            if gather.is_whole() {
                gather.write(&mut self.shard.reply);
                return;
            }
        }
        self.settle();
        let bytes = parts.iter().flat_map(|(_, words)| words).map(|word| word.len()).sum();
        let client = &mut self.shard.clients[self.place];
        let silent = client.silence != Silence::None;
        let number = client.answers.push_gathering(gather, silent, bytes);
        for (part, (shard, words)) in
            parts.iter().enumerate().filter(|(part, _)| Some(*part) != here)
        {
            let ticket = Ticket { place: self.place, id: client.id, number, part };
            self.shard.ways[*shard].ask(Ask::Run(protocol), Some(words), Some(ticket));
        }
    }

    /// Asks another shard.
    pub fn ask(
        &mut self,
        there: usize,
        words: &[&[u8]],
        ask: impl FnOnce(crate::reply::Protocol) -> Ask,
    ) {
        self.settle();
        let client = &mut self.shard.clients[self.place];
        let silent = client.silence != Silence::None;
        let bytes = words.iter().map(|word| word.len()).sum();
        let number = client.answers.push_waiting(silent, bytes);
        let ticket = Ticket { place: self.place, id: client.id, number, part: 0 };
        let ask = ask(client.protocol);
        let words = (!words.is_empty()).then_some(words);
        self.shard.ways[there].ask(ask, words, Some(ticket));
    }

    /// What is written so far is sent, if nothing is to come before it.
    pub fn flush(&mut self) {
        self.settle();
        if self.client().answers.is_empty() {
            send(self.conn, &mut self.shard.reply.bytes);
            self.mark = 0;
        }
    }

    /// What is written so far keeps its place before what is asked next; or the client does not want it.
    fn settle(&mut self) {
        let client = &mut self.shard.clients[self.place];
        let bytes = &mut self.shard.reply.bytes;
        if bytes.len() > self.mark {
            if matches!(client.silence, Silence::This | Silence::All) {
                bytes.truncate(self.mark);
            } else if !client.answers.is_empty() {
                client.answers.push_ready(&bytes[self.mark..]);
                bytes.truncate(self.mark);
            }
        }
        self.mark = bytes.len();
    }
}

/// Whether a line is of a request of HTTP. A web page has a browser send one anywhere, this machine
/// included, and what the page has put into its body would be commands. Redis closes at these two
/// words, too.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

/// As Redis words it: with the first words, and not much of them.
fn unknown(words: &[&[u8]]) -> String {
    const SHOWN: usize = 128;
    let shown = |word: &[u8]| String::from_utf8_lossy(&word[..word.len().min(SHOWN)]).into_owned();
    let mut rest = String::new();
    for word in &words[1..] {
        if rest.len() >= SHOWN {
            break;
        }
        rest.extend(["'", &shown(word), "' "]);
    }
    format!("ERR unknown command '{}', with args beginning with: {rest}", shown(words[0]))
}

impl Shard {
    /// The shard that has a key.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> usize {
        slots::owner(slots::slot(key), self.ways.len())
    }

    /// Where the keys of a command are.
    ///
    /// # Errors
    ///
    /// As [`slots::places`].
    pub fn home(&self, keys: Keys, words: &[&[u8]]) -> Result<Home, Fault> {
        let mut home = Home::Anywhere;
        for place in slots::places(keys, words)? {
            let owner = Home::Shard(self.owner(words[place]));
            if home != Home::Anywhere && home != owner {
                return Ok(Home::Several);
            }
            home = owner;
        }
        Ok(home)
    }
}
