//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`: commands of a client that are run together, in the one
//! shard that has their keys.
//!
//! Between them no other client's command is run in that shard. There, too, is what is watched: so
//! whether a key has changed is found out where it changes. Read next: `keyspace/watch.rs`.

use wouldblock::ConnId;

use crate::batch::Batch;
use crate::client::{NAMES_MAX, Transaction, name_bytes};
use crate::command::{Fault, Outcome};
use crate::commands::execute;
use crate::parcel::{Ask, Ticket, UNANSWERED};
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::{Entry, ServerCommand, What};
use crate::turn::{Home, Turn};

/// The most bytes that one transaction may queue.
const QUEUED_MAX: usize = 64 << 20;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "multi", arity: 1, in_transaction: false, run: multi },
    ServerCommand { name: "exec", arity: 1, in_transaction: false, run: exec },
    ServerCommand { name: "discard", arity: 1, in_transaction: false, run: discard },
    ServerCommand { name: "watch", arity: -2, in_transaction: false, run: watch },
    ServerCommand { name: "unwatch", arity: 1, in_transaction: true, run: unwatch },
];

fn multi(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    if turn.client().transaction.is_some() {
        return Err(Fault::other("ERR MULTI calls can not be nested"));
    }
    turn.client().transaction = Some(Box::default());
    turn.reply().simple("OK");
    Ok(())
}

fn discard(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    if turn.client().transaction.take().is_none() {
        return Err(Fault::other("ERR DISCARD without MULTI"));
    }
    turn.forget_watched();
    turn.reply().simple("OK");
    Ok(())
}

fn unwatch(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.forget_watched();
    turn.reply().simple("OK");
    Ok(())
}

fn watch(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    if turn.client().transaction.is_some() {
        return Err(Fault::other("ERR WATCH inside MULTI is not allowed"));
    }
    turn.shard.check_cluster(crate::command::Keys::ALL, words)?;
    let id = turn.client().id;
    let more: usize = words[1..].iter().map(|key| name_bytes(key)).sum();
    if turn.client().watched + more > NAMES_MAX {
        return Err(Fault::other("ERR too many watched keys"));
    }
    let there = match (turn.shard.home(crate::command::Keys::ALL, words)?, turn.client().watching) {
        (Home::Shard(there), None) => there,
        (Home::Shard(there), Some(before)) if there == before => there,
        _ => return Err(Fault::other("CROSSSLOT Keys in request don't hash to the same slot")),
    };
    turn.client().watching = Some(there);
    turn.client().watched += more;
    if there == turn.shard.number {
        turn.shard.watch(id, &words[1..]);
        turn.reply().simple("OK");
    } else {
        turn.ask(there, words, |_| Ask::Watch(id));
    }
    Ok(())
}

fn exec(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    let Some(transaction) = turn.client().transaction.take() else {
        return Err(Fault::other("ERR EXEC without MULTI"));
    };
    let there = if transaction.is_broken {
        Err(Fault::other("EXECABORT Transaction discarded because of previous errors."))
    } else {
        turn.destination(&transaction)
    };
    match there {
        Ok(there) if there == turn.shard.number => turn.run_transaction(&transaction),
        Ok(there) => {
            let Transaction { batch, .. } = *transaction;
            let id = turn.client().id;
            turn.client().watching = None;
            turn.client().watched = 0;
            turn.ask(there, &[], |protocol| Ask::Unit(id, protocol, Box::new(batch)));
        }
        Err(fault) => {
            turn.forget_watched();
            return Err(fault);
        }
    }
    Ok(())
}

impl Turn<'_, '_> {
    /// Refuses what may not stand in a transaction, and with it the transaction.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn check_no_transaction(&mut self) -> Outcome {
        let Some(transaction) = &mut self.client().transaction else { return Ok(()) };
        transaction.is_broken = true;
        Err(Fault::other("ERR Command not allowed inside a transaction"))
    }

    /// Queues a command of a transaction; false if it is to be run now.
    pub fn enqueue(&mut self, entry: &Entry, words: &[&[u8]]) -> bool {
        if let What::Server(command) = entry.what
            && !command.in_transaction
        {
            return false;
        }
        let fault = self.shard.check_cluster(entry.keys(), words).err();
        let Some(transaction) = &mut self.client().transaction else { return false };
        let is_full = transaction.batch.bytes() >= QUEUED_MAX;
        let fault =
            fault.or_else(|| is_full.then(|| Fault::other("ERR the transaction is too large")));
        match fault {
            None => {
                transaction.batch.push(words);
                self.reply().simple("QUEUED");
            }
            Some(fault) => {
                transaction.is_broken = true;
                self.reply().error(fault);
            }
        }
        true
    }

    /// The shard where a transaction is to run: that of its keys, and of what is watched.
    fn destination(&mut self, transaction: &Transaction) -> Result<usize, Fault> {
        let crossing = "CROSSSLOT Keys in a transaction, and those watched for it, have to be in one shard of the server";
        let mut there = self.client().watching;
        let mut is_on_keys = true;
        let mut words = Vec::new();
        for number in 0..transaction.batch.len() {
            transaction.batch.get(number, &mut words);
            let entry = self.shard.table.find(words[0]).expect("found when it was queued");
            match self.shard.home(entry.keys(), &words)? {
                Home::Anywhere if is_answered_anywhere(entry) => {}
                Home::Anywhere => is_on_keys = false,
                Home::Shard(shard) if there.is_none_or(|it| it == shard) => there = Some(shard),
                Home::Shard(_) | Home::Several => return Err(Fault::other(crossing)),
            }
        }
        match there {
            Some(there) if there != self.shard.number && !is_on_keys => Err(Fault::other(
                "ERR A transaction on keys of another shard than the client's own may have commands on keys, PING and ECHO only",
            )),
            there => Ok(there.unwrap_or(self.shard.number)),
        }
    }

    /// Runs a transaction in the client's own shard.
    fn run_transaction(&mut self, transaction: &Transaction) {
        let id = self.client().id;
        let is_unchanged = self.shard.is_unchanged(id);
        self.forget_watched();
        if !is_unchanged {
            self.reply().null_array();
            return;
        }
        self.reply().array(transaction.batch.len());
        let mut words = Vec::new();
        for number in 0..transaction.batch.len() {
            transaction.batch.get(number, &mut words);
            let entry = self.shard.table.find(words[0]).expect("found when it was queued");
            self.run(entry, &words);
        }
    }

    /// Nothing is watched for the client any more.
    pub fn forget_watched(&mut self) {
        let id = self.client().id;
        if let Some(there) = self.client().watching.take() {
            self.client().watched = 0;
            let number = self.client().answers.next();
            let ticket = Ticket { place: self.place, id, number, part: UNANSWERED };
            self.shard.forget_watched_in(there, id, Some(ticket));
        }
    }
}

/// Whether it is `PING` or `ECHO`: the one command without an argument, and its answer, are known
/// wherever it is run.
fn is_answered_anywhere(entry: &Entry) -> bool {
    matches!(entry.name, "ping" | "echo")
}

impl Shard {
    /// Watches keys of this shard for a client.
    pub fn watch(&mut self, id: ConnId, keys: &[&[u8]]) {
        let watched = self.watched.entry(id).or_default();
        for key in keys {
            if !watched.iter().any(|(it, _)| **it == **key) {
                watched.push(((*key).into(), self.keys.watch(key)));
            }
        }
    }

    /// Whether no key that is watched for a client has changed since.
    pub fn is_unchanged(&mut self, id: ConnId) -> bool {
        let Shard { keys, watched, .. } = self;
        watched
            .get(&id)
            .is_none_or(|it| it.iter().all(|(key, version)| keys.version(key) == *version))
    }

    /// Nothing is watched for a client any more, in that shard. `ticket`: of the client, if it is
    /// still there.
    pub fn forget_watched_in(&mut self, there: usize, id: ConnId, ticket: Option<Ticket>) {
        if there == self.number {
            self.unwatch(id);
        } else {
            self.ways[there].ask(Ask::Unwatch(id), None, ticket);
        }
    }

    /// Nothing is watched for a client any more, in this shard.
    pub fn unwatch(&mut self, id: ConnId) {
        for (key, _) in self.watched.remove(&id).unwrap_or_default() {
            self.keys.unwatch(&key);
        }
    }

    /// Runs a transaction of a client of another shard.
    pub fn run_unit(&mut self, id: ConnId, batch: &Batch, reply: &mut Reply) {
        let is_unchanged = self.is_unchanged(id);
        self.unwatch(id);
        if !is_unchanged {
            reply.null_array();
            return;
        }
        reply.array(batch.len());
        let mut words = Vec::new();
        for number in 0..batch.len() {
            batch.get(number, &mut words);
            let entry = self.table.find(words[0]).expect("found when it was queued");
            self.tally.run(entry.number);
            match (entry.what, &words[1..]) {
                (What::Keys(command), _) => execute(command, &words, &mut self.keys, reply),
                (What::Server(_), []) => reply.simple("PONG"),
                (What::Server(_), [text, ..]) => reply.bulk(text),
            }
        }
    }
}
