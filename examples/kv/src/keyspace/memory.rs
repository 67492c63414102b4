//! How much memory the keys use, and how much they may.
//!
//! Above the limit, a command that may make something larger first evicts keys, by a [`Policy`], or
//! is refused.
//!
//! The count is our own: the bytes of keys and values, and a fixed sum for what a map and the
//! allocator add to each. It is exact in what it adds and takes away, and an estimate of what the
//! process occupies: the sums were chosen so that both are within a fifth of each other with half a
//! million small elements of each kind (`tests/server/memory.rs`). A map that grows doubles its
//! room, and buffers of clients are not in it: leave the machine a quarter more than the limit.

use super::Keyspace;
use super::key::SHORT;

/// What a key costs beside its bytes and its value: its place in the map, the map's index, the
/// allocator's share.
const ENTRY: usize = 116;
/// What a deadline costs beside the key's bytes.
const EXPIRING: usize = 56;

/// The keys that one command evicts at most: some of them take as long as the command.
const EVICTED_AT_ONCE: usize = 64;

/// Which key goes when memory is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// None: commands that make something larger are refused.
    #[default]
    NoEviction,
    /// One that was not used for long.
    AllKeysLru,
    /// The same, of those that have a deadline.
    VolatileLru,
    /// Any.
    AllKeysRandom,
    /// Any of those that have a deadline.
    VolatileRandom,
    /// One whose deadline is near.
    VolatileTtl,
}

/// How much is used, and how much may be.
#[derive(Debug)]
pub struct Memory {
    used: usize,
    /// The bytes that may be used; 0 is no limit.
    pub max: usize,
    /// What goes when they are.
    pub policy: Policy,
    /// Among how many keys one to go is chosen.
    pub samples: usize,
    /// In tenths of a second.
    clock: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { used: 0, max: 0, policy: Policy::default(), samples: 5, clock: 0 }
    }
}

impl Memory {
    /// Returns the bytes that keys and values use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Returns whether more is used than may be.
    pub fn is_over(&self) -> bool {
        self.max > 0 && self.used > self.max
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.used += bytes;
    }

    pub(super) fn subtract(&mut self, bytes: usize) {
        self.used -= bytes;
    }

    pub(super) fn replace(&mut self, before: usize, after: usize) {
        self.used = self.used + after - before;
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Returns the clock that entries are stamped with.
    pub(super) fn clock(&self) -> u32 {
        self.clock
    }

    /// Returns the milliseconds since the clock was `used`.
    pub(super) fn idle(&self, used: u32) -> u64 {
        // Wraps after 13 years, and a difference does not mind.
        u64::from(self.clock.wrapping_sub(used)) * 100
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a clock that wraps"
    )]
    pub(super) fn set_clock(&mut self, milliseconds: i64) {
        self.clock = (milliseconds / 100) as u32;
    }
}

impl Keyspace {
    /// Evicts keys until no more memory is used than may be, and returns whether that is reached or
    /// gets nearer. A call ends after some keys, so that a limit that was lowered by much is
    /// reached over many commands.
    pub fn make_room(&mut self) -> bool {
        for _ in 0..EVICTED_AT_ONCE {
            if !self.memory.is_over() {
                return true;
            }
            let Some(index) = self.victim() else { return false };
            let (key, _) = self.entries.get_index(index).expect("it was found there");
            self.watched.touch(key);
            self.counts.evicted += 1;
            self.remove_at(index);
        }
        true
    }

    /// Returns the bytes that `key` uses: its own, its value's, and what the count adds to each.
    pub fn usage(&mut self, key: &[u8]) -> Option<usize> {
        let index = self.find(key)?;
        let entry = &self.entries[index];
        let deadline = if entry.deadline.is_some() { expiring_bytes(key) } else { 0 };
        Some(entry_bytes(key) + entry.value.bytes() + deadline)
    }

    /// Returns the place of the key to go: the one that the policy likes best among some at random.
    fn victim(&mut self) -> Option<usize> {
        let policy = self.memory.policy;
        let is_of_all = matches!(policy, Policy::AllKeysLru | Policy::AllKeysRandom);
        let candidates = if is_of_all { self.entries.len() } else { self.expiring.len() };
        if policy == Policy::NoEviction || candidates == 0 {
            return None;
        }
        let looks = match policy {
            Policy::AllKeysRandom | Policy::VolatileRandom => 1,
            _ => self.memory.samples.max(1),
        };
        let sample = |_| {
            let place = self.random.below(candidates);
            if is_of_all {
                return place;
            }
            let key = self.expiring.get_index(place).expect("it is below the length");
            self.entries.get_index_of(key).expect("a key with a deadline exists")
        };
        let sampled: Vec<usize> = (0..looks).map(sample).collect();
        sampled.into_iter().min_by_key(|index| {
            let entry = &self.entries[*index];
            match policy {
                Policy::VolatileTtl => entry.deadline.map_or(i64::MAX, std::num::NonZero::get),
                _ => -i64::try_from(self.memory.idle(entry.used)).unwrap_or(i64::MAX),
            }
        })
    }
}

/// Returns what an entry costs without its value.
pub(super) fn entry_bytes(key: &[u8]) -> usize {
    ENTRY + outside(key)
}

/// Returns what a deadline costs.
pub(super) fn expiring_bytes(key: &[u8]) -> usize {
    EXPIRING + outside(key)
}

/// Returns the bytes of a key that are not within its entry.
fn outside(key: &[u8]) -> usize {
    if key.len() > SHORT { key.len() } else { 0 }
}
