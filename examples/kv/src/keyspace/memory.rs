//! How much memory the keys use, and how much they may.
//!
//! The count is our own: the bytes of keys and values, and a fixed sum for what a map and the allocator add to each.
//! It is exact in what it adds and takes away, and an estimate of what the process occupies.

/// What a key costs beside its bytes and its value: its place in the map, the map's index, the allocator's share.
const ENTRY: usize = 88;
/// What a deadline costs beside the key's bytes.
const EXPIRING: usize = 48;

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
#[derive(Debug, Default)]
pub struct Memory {
    used: usize,
    /// The bytes that may be used; 0 is no limit.
    pub max: usize,
    /// What goes when they are.
    pub policy: Policy,
    /// In tenths of a second.
    clock: u32,
}

impl Memory {
    /// Returns the bytes that keys and values use.
    pub fn used(&self) -> usize {
        self.used
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

/// Returns what an entry costs without its value.
pub(super) fn entry_bytes(key: &[u8]) -> usize {
    key.len() + ENTRY
}

/// Returns what a deadline costs.
pub(super) fn expiring_bytes(key: &[u8]) -> usize {
    key.len() + EXPIRING
}
