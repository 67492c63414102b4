//! Commands by name: one look for each command that comes, in whatever case it is written.
//!
//! Two kinds stand here together: those on keys (`commands.rs`), which know nothing of clients, and
//! those that a client takes part in, or that all shards are asked (`server.rs`). Read next:
//! `turn.rs`, which runs both.

use std::sync::LazyLock;

use crate::command::{self, Command, Keys, Outcome};
use crate::commands::ALL;
use crate::server;
use crate::turn::Turn;

/// A command that is about more than the keys of one shard.
#[derive(Debug)]
pub struct ServerCommand {
    /// In lower case.
    pub name: &'static str,
    /// As [`Command::arity`].
    pub arity: i16,
    /// Whether it may stand within a transaction.
    pub in_transaction: bool,
    /// Does it, for the client whose turn it is.
    pub run: fn(&mut Turn<'_, '_>, &[&[u8]]) -> Outcome,
}

/// What is known about a name.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// In lower case.
    pub name: &'static str,
    /// As [`Command::arity`].
    pub arity: i16,
    /// Its place in the table: what it is counted by.
    pub number: usize,
    /// What it does.
    pub what: What,
}

/// What a command is about.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// Keys, in the shard that has them.
    Keys(&'static Command),
    /// The client, or the whole server.
    Server(&'static ServerCommand),
}

impl Entry {
    /// Whether it takes so many words, its name among them.
    #[inline]
    #[must_use]
    pub fn takes(&self, words: usize) -> bool {
        command::takes(self.arity, words)
    }

    /// Which words are keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        match self.what {
            What::Keys(command) => command.keys,
            What::Server(_) => Keys::None,
        }
    }
}

/// All commands.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// Places in `entries` and one, at the hash of the name or behind it; 0 where there is none.
    places: Box<[u16; PLACES]>,
}

/// A power of two, and several times as many as there are commands.
const PLACES: usize = 1024;

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// The table of all commands.
#[must_use]
pub fn table() -> &'static Table {
    &TABLE
}

impl Table {
    fn new() -> Self {
        let on_keys = ALL.iter().copied().flatten().map(|it| (it.name, it.arity, What::Keys(it)));
        let others = server::ALL.iter().copied().flatten();
        let others = others.map(|it| (it.name, it.arity, What::Server(it)));
        let mut table = Table { entries: Vec::new(), places: Box::new([0; PLACES]) };
        for (number, (name, arity, what)) in on_keys.chain(others).enumerate() {
            assert!(table.find(name.as_bytes()).is_none(), "two commands of one name: {name}");
            table.entries.push(Entry { name, arity, number, what });
            let mut place = hash(name.as_bytes());
            while table.places[place] != 0 {
                place = (place + 1) % PLACES;
            }
            table.places[place] = u16::try_from(number + 1).expect("there are few commands");
        }
        assert!(table.entries.len() < PLACES / 2, "the table is to have room");
        table
    }

    /// The command of this name, in upper case or lower.
    #[inline]
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let mut place = hash(name);
        loop {
            let entry = &self.entries[usize::from(self.places[place]).checked_sub(1)?];
            if entry.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(entry);
            }
            place = (place + 1) % PLACES;
        }
    }

    /// All, by their numbers.
    #[must_use]
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }
}

/// Of the length and the first eight bytes, without their case.
#[inline]
fn hash(name: &[u8]) -> usize {
    let mut first = [0; 8];
    let len = name.len().min(8);
    first[..len].copy_from_slice(&name[..len]);
    let first = u64::from_le_bytes(first) | 0x2020_2020_2020_2020;
    let mixed = (first ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 54) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_in_any_case_and_nothing_else_is() {
        for entry in table().all() {
            let upper = entry.name.to_uppercase();
            assert_eq!(table().find(upper.as_bytes()).unwrap().name, entry.name);
            assert_eq!(table().find(entry.name.as_bytes()).unwrap().number, entry.number);
            assert!(table().find(format!("{upper}-").as_bytes()).is_none());
            assert!(
                table().find(&entry.name.as_bytes()[1..]).is_none_or(|it| it.name != entry.name)
            );
        }
        assert!(table().find(b"").is_none());
        assert!(table().find(&[0; 100]).is_none());
    }

    #[test]
    fn the_hash_of_a_name_is_a_place() {
        assert!((0..=255).all(|byte| hash(&[byte; 9]) < PLACES));
    }
}
