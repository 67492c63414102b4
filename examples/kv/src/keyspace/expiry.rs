//! Keys with a deadline: set, told, and removed when it is over.
//!
//! A key is gone at its deadline for whoever looks. Its memory comes back when somebody looks, or
//! by the search of [`Keyspace::expire_some`], which the shard asks for between turns.

use std::num::NonZeroI64;

use super::{Expiry, Keyspace, deadline, memory};

/// When a key expires, in milliseconds since 1970; `None` is never.
pub type Deadline = Option<NonZeroI64>;

impl Keyspace {
    /// Returns the deadline of `key`, if the key exists.
    pub fn deadline(&mut self, key: &[u8]) -> Option<Deadline> {
        let index = self.find(key)?;
        Some(self.entries[index].deadline)
    }

    /// Gives `key` a deadline, or takes it, and returns whether the key exists. One that is over
    /// removes the key.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Expiry) -> bool {
        let Some(index) = self.find(key) else { return false };
        self.changed(key);
        match expiry {
            Expiry::At(at) if at <= self.now => drop(self.remove_at(index)),
            other => {
                self.before_change(index);
                self.set_expiry_at(index, other);
            }
        }
        true
    }

    /// Looks at up to `count` of the keys that have a deadline, each once in a round, and removes
    /// those that have expired. Returns whether it pays to go on at once: many of them had.
    pub fn expire_some(&mut self, count: usize) -> bool {
        let count = count.min(self.expiring.len());
        let mut expired = 0;
        for _ in 0..count {
            // Downwards, as a scan goes: what moves into the place of a removed one was seen before.
            let place = self.expiry_cursor.min(self.expiring.len());
            let place = if place == 0 { self.expiring.len() } else { place } - 1;
            self.expiry_cursor = place;
            let key = self.expiring.get_index(place).expect("it is below the length");
            let index = self.entries.get_index_of(key).expect("a key with a deadline exists");
            expired += usize::from(self.remove_if_expired(index));
            if self.expiring.is_empty() {
                return false;
            }
        }
        expired * 10 > count
    }

    /// Sets what `expiry` says of the entry there.
    pub(super) fn set_expiry_at(&mut self, index: usize, expiry: Expiry) {
        let (key, entry) = self.entries.get_index_mut(index).expect("it was found there");
        let new = match expiry {
            Expiry::Keep => return,
            Expiry::Never => None,
            Expiry::At(at) => deadline(at),
        };
        match (entry.deadline, new) {
            (None, Some(_)) => {
                self.memory.add(memory::expiring_bytes(key));
                self.expiring.insert(key.clone());
            }
            (Some(_), None) => {
                self.memory.subtract(memory::expiring_bytes(key));
                self.expiring.swap_remove(key);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        entry.deadline = new;
    }

    /// Removes the entry there if its time is over, and returns whether it was.
    pub(super) fn remove_if_expired(&mut self, index: usize) -> bool {
        let (key, entry) = self.entries.get_index(index).expect("it was found there");
        if !entry.is_expired(self.now) {
            return false;
        }
        self.watched.touch(key);
        self.counts.expired += 1;
        self.remove_at(index);
        true
    }
}
