//! Random numbers for keys, members and samples: not for secrets.

use std::hash::{BuildHasher as _, RandomState};

/// A generator of random numbers (`SplitMix64`).
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Creates one with a random seed.
    pub fn new() -> Self {
        Random { state: RandomState::new().hash_one(0) }
    }

    /// Returns another generator, seeded by this one.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random { state: self.number() }
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not 0.
    #[expect(clippy::cast_possible_truncation, reason = "it is below `end`")]
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.number()) * end as u128) >> 64) as usize
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
