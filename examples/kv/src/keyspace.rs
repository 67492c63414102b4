//! The keys of one shard, and the few doors through which their values are read and changed.
//!
//! Every command comes through these doors, because each of them keeps all promises at once: a key
//! that has expired is gone, a watched key that changes is noticed, memory is counted, the clock of
//! eviction is set, and a running snapshot gets the old value before it changes. What a command
//! means is not known here.
//!
//! Nothing here reads a clock: [`Keyspace::set_now`] is called once per batch of commands.
//! Read next: `value.rs`, `keyspace/expiry.rs`, `keyspace/memory.rs`, `keyspace/watch.rs`, `snapshot.rs`.

mod expiry;
mod key;
mod memory;
mod saving;
#[cfg(test)]
mod tests;
mod watch;

use std::num::NonZeroI64;

use indexmap::IndexMap;
use indexmap::IndexSet;

pub use expiry::Deadline;
use key::Key;
pub use memory::{Memory, Policy};
pub use saving::Progress;
use saving::Saving;
use watch::Watched;

use crate::command::Fault;
use crate::random::Random;
use crate::value::{Kind, Value};

/// The keys of one shard.
///
/// A map whose entries also have a place: a scan, a random key and an eviction sample cost one look
/// each. The last entry moves into the place of one that is removed.
#[derive(Debug)]
pub struct Keyspace {
    entries: IndexMap<Key, Entry>,
    /// The keys that have a deadline, in no order: what expiry and the `volatile` policies look through.
    expiring: IndexSet<Key>,
    /// Where the search for expired keys goes on, downwards.
    expiry_cursor: usize,
    watched: Watched,
    /// The number of the snapshot that runs, or of the last one.
    snapshot: u32,
    saving: Option<Box<Saving>>,
    /// The wall clock, in milliseconds since 1970.
    now: i64,
    /// How much is used, and how much may be.
    pub memory: Memory,
    /// What is random: keys, members, samples.
    pub random: Random,
    /// The longest string that a command may make, in bytes.
    pub string_max: usize,
    /// The longest answer of one command, in bytes: the longest string, and somewhat more.
    pub answer_max: usize,
    /// What happened so far.
    pub counts: Counts,
}

/// What happened to a keyspace since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes of keys.
    pub changes: u64,
    /// Keys removed since their time was over.
    pub expired: u64,
    /// Keys removed to make room.
    pub evicted: u64,
    /// Look-ups that found a key.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

/// A key's value, and what is known about it.
#[derive(Debug)]
struct Entry {
    value: Value,
    deadline: Deadline,
    /// When it was last used, by [`Memory::clock`].
    used: u32,
    /// The number of the last snapshot that has this entry, or must not have it.
    snapshot: u32,
}

/// What becomes of a key's deadline when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It has none from now on.
    Never,
    /// It stays as it is.
    Keep,
    /// In milliseconds since 1970.
    At(i64),
}

impl From<Deadline> for Expiry {
    fn from(deadline: Deadline) -> Self {
        deadline.map_or(Expiry::Never, |at| Expiry::At(at.get()))
    }
}

/// What an edit did to a value: whether it changed, and what the command wants to know.
pub type Edit<R> = Result<(bool, R), Fault>;

impl Default for Keyspace {
    fn default() -> Self {
        Keyspace {
            entries: IndexMap::default(),
            expiring: IndexSet::default(),
            expiry_cursor: 0,
            watched: Watched::default(),
            snapshot: 0,
            saving: None,
            now: 0,
            memory: Memory::default(),
            random: Random::new(),
            string_max: 512 << 20,
            answer_max: 513 << 20,
            counts: Counts::default(),
        }
    }
}

/// Reading.
impl Keyspace {
    /// Returns the wall clock as it was last told, in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Tells the time. It may go backwards: keys then live longer.
    pub fn set_now(&mut self, milliseconds: i64) {
        self.now = milliseconds;
        self.memory.set_clock(milliseconds);
    }

    /// Returns the number of keys, with those that have expired and are not yet removed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of keys that have a deadline.
    pub fn expiring_len(&self) -> usize {
        self.expiring.len()
    }

    /// Returns the value of `key`, of whatever kind, and notes that it was used.
    pub fn value(&mut self, key: &[u8]) -> Option<&Value> {
        let index = self.look_up(key)?;
        Some(&self.entries[index].value)
    }

    /// Returns the value of `key`, which has to be a `T`.
    ///
    /// # Errors
    ///
    /// It holds another kind.
    pub fn read<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&T>, Fault> {
        match self.look_up(key) {
            Some(index) => T::of(&self.entries[index].value).map(Some).ok_or(Fault::WrongType),
            None => Ok(None),
        }
    }

    /// Returns the values of several keys, which may be the same, and notes that they were used.
    pub fn values(&mut self, keys: &[&[u8]]) -> Vec<Option<&Value>> {
        for key in keys {
            self.look_up(key);
        }
        let values = keys.iter().map(|key| self.entries.get(*key).map(|entry| &entry.value));
        values.collect()
    }

    /// Returns the values of several keys, which have to be `T`s.
    ///
    /// # Errors
    ///
    /// One holds another kind.
    pub fn read_all<T: Kind>(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<&T>>, Fault> {
        let values = self.values(keys).into_iter();
        values
            .map(|value| value.map(|value| T::of(value).ok_or(Fault::WrongType)).transpose())
            .collect()
    }

    /// Returns whether `key` exists, and notes that it was used.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.look_up(key).is_some()
    }

    /// Returns the value of `key` and for how many milliseconds it was not used, and leaves that as it is.
    pub fn peek(&mut self, key: &[u8]) -> Option<(&Value, u64)> {
        let index = self.find(key)?;
        let entry = &self.entries[index];
        Some((&entry.value, self.memory.idle(entry.used)))
    }

    /// Returns a key at random.
    pub fn random_key(&mut self) -> Option<&[u8]> {
        // A few tries: with most of all keys expired, one of those is as good as none.
        for _ in 0..100 {
            if self.entries.is_empty() {
                return None;
            }
            let index = self.random.below(self.entries.len());
            if !self.remove_if_expired(index) {
                return self.entries.get_index(index).map(|(key, _)| &**key);
            }
        }
        None
    }

    /// Shows `see` up to `count` keys below `cursor` (0: from the start), with their values, and
    /// returns the cursor from which to go on; 0 is the end.
    ///
    /// The cursor goes down: what is removed is replaced by the last entry, which was seen before
    /// or is not beyond the cursor. So a key that is there from the first call to the last is seen
    /// at least once.
    pub fn scan(&self, cursor: usize, count: usize, mut see: impl FnMut(&[u8], &Value)) -> usize {
        let len = self.entries.len();
        let from = if cursor == 0 { len } else { cursor.min(len) };
        let to = from.saturating_sub(count);
        for index in (to..from).rev() {
            let (key, entry) = self.entries.get_index(index).expect("it is below the length");
            if !entry.is_expired(self.now) {
                see(key, &entry.value);
            }
        }
        to
    }

    /// Returns the place of `key`, unless it has expired, and notes that it is used.
    fn look_up(&mut self, key: &[u8]) -> Option<usize> {
        let Some(index) = self.find(key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        self.entries[index].used = self.memory.clock();
        Some(index)
    }

    /// Returns the place of `key`, unless it has expired.
    fn find(&mut self, key: &[u8]) -> Option<usize> {
        let index = self.entries.get_index_of(key)?;
        (!self.remove_if_expired(index)).then_some(index)
    }
}

/// Changing.
impl Keyspace {
    /// Lets `edit` change the value of `key`, which has to be a `T`; `None` if there is none. A
    /// container that is left empty goes away.
    ///
    /// # Errors
    ///
    /// It holds another kind, or `edit` says so; then it changed nothing.
    pub fn edit<T: Kind, R>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut T) -> Edit<R>,
    ) -> Result<Option<R>, Fault> {
        match self.look_up(key) {
            Some(index) => self.edit_at(index, edit).map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Keyspace::edit`], with an empty value where there is none.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn edit_or_create<T: Kind, R>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut T) -> Edit<R>,
    ) -> Result<R, Fault> {
        if let Some(index) = self.look_up(key) {
            return self.edit_at(index, edit);
        }
        let mut value = T::default();
        let (_, answer) = edit(&mut value)?;
        if !value.vanishes() {
            self.put(key, value.into_value(), Expiry::Never);
        }
        Ok(answer)
    }

    /// Makes `value` the value of `key`.
    pub fn put(&mut self, key: &[u8], value: Value, expiry: Expiry) {
        let bytes = value.bytes();
        if let Some(index) = self.find(key) {
            self.before_change(index);
            let entry = &mut self.entries[index];
            self.memory.replace(entry.value.bytes(), bytes);
            entry.value = value;
            entry.used = self.memory.clock();
            self.set_expiry_at(index, expiry);
        } else {
            self.memory.add(memory::entry_bytes(key) + bytes);
            let used = self.memory.clock();
            let entry = Entry { value, deadline: None, used, snapshot: self.snapshot };
            let (index, _) = self.entries.insert_full(key.into(), entry);
            self.set_expiry_at(index, expiry);
        }
        self.changed(key);
    }

    /// Makes `text` the value of `key`: [`Keyspace::put`] of a string, in place where there is room.
    pub fn put_string(&mut self, key: &[u8], text: &[u8], expiry: Expiry) {
        if let Some(index) = self.find(key)
            && let Value::String(old) = &self.entries[index].value
            && (text.len()..=2 * text.len() + 32).contains(&old.capacity())
        {
            self.before_change(index);
            let entry = &mut self.entries[index];
            entry.used = self.memory.clock();
            if let Value::String(old) = &mut entry.value {
                old.clear();
                old.extend_from_slice(text);
            }
            self.set_expiry_at(index, expiry);
            self.changed(key);
        } else {
            self.put(key, Value::String(text.to_vec()), expiry);
        }
    }

    /// Puts a container that was computed; an empty one leaves no key.
    pub fn store<T: Kind>(&mut self, key: &[u8], value: T) {
        if value.vanishes() {
            self.remove(key);
        } else {
            self.put(key, value.into_value(), Expiry::Never);
        }
    }

    /// Removes `key`, and returns whether it existed.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.take(key).is_some()
    }

    /// Removes `key`, and returns its value and its deadline.
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, Deadline)> {
        let index = self.find(key)?;
        self.changed(key);
        let entry = self.remove_at(index);
        Some((entry.value, entry.deadline))
    }

    /// Removes all keys. A snapshot that runs is given up: it would have to write all of them at once.
    pub fn clear(&mut self) {
        self.counts.changes += self.entries.len() as u64;
        self.watched.touch_all(|key| self.entries.contains_key(key));
        self.cancel_snapshot();
        self.entries = IndexMap::default();
        self.expiring = IndexSet::default();
        self.memory.clear();
    }

    fn edit_at<T: Kind, R>(
        &mut self,
        index: usize,
        edit: impl FnOnce(&mut T) -> Edit<R>,
    ) -> Result<R, Fault> {
        if T::of(&self.entries[index].value).is_none() {
            return Err(Fault::WrongType);
        }
        self.before_change(index);
        let (key, entry) = self.entries.get_index_mut(index).expect("it was found there");
        let value = T::of_mut(&mut entry.value).expect("it is a T: seen above");
        let before = value.bytes();
        let result = edit(value);
        let vanishes = value.vanishes();
        self.memory.replace(before, value.bytes());
        let (changed, answer) = result?;
        if changed {
            self.counts.changes += 1;
            self.watched.touch(key);
        }
        if vanishes {
            self.remove_at(index);
        }
        Ok(answer)
    }

    fn remove_at(&mut self, index: usize) -> Entry {
        self.before_change(index);
        let (key, entry) = self.entries.swap_remove_index(index).expect("it was found there");
        self.memory.subtract(memory::entry_bytes(&key) + entry.value.bytes());
        if entry.deadline.is_some() {
            self.expiring.swap_remove(&key);
            self.memory.subtract(memory::expiring_bytes(&key));
        }
        entry
    }

    fn changed(&mut self, key: &[u8]) {
        self.counts.changes += 1;
        self.watched.touch(key);
    }
}

impl Entry {
    fn is_expired(&self, now: i64) -> bool {
        self.deadline.is_some_and(|deadline| deadline.get() <= now)
    }
}

/// Returns the deadline that `at` is.
fn deadline(at: i64) -> Deadline {
    // What is due before 1970 is due at its first millisecond.
    NonZeroI64::new(at.max(1))
}
