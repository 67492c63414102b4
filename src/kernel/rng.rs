//! Numbers that look random and come from a seed.
//!
//! A seed that is written down must mean the same for ever: so these few lines (`SplitMix64`, by
//! Steele, Lea and Flood) stand here, and are not those of a crate whose next version may differ.

/// A stream of numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = z ^ (z >> 31);
        #[cfg(fuzzing)]
        let drawn = tape::steer(drawn);
        drawn
    }

    /// A number below `end`; 0 if that is 0.
    #[inline]
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The upper half of the product: no division, and no bias that matters here.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    #[inline]
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A size from `low` to `high`, both included.
    #[inline]
    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.within(low as u64, high as u64)).unwrap_or(high)
    }

    /// True `per_mille` times in a thousand. Draws nothing where the answer is certain.
    #[inline]
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && (per_mille >= 1000 || self.below(1000) < u64::from(per_mille))
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.size(0, of.len() - 1)]
    }
}

/// A fuzzer's bytes in the place of the first draws, two for each: it finds out by itself which of them
/// lead to code that no seed has reached.
#[cfg(fuzzing)]
pub(crate) mod tape {
    use std::cell::RefCell;

    thread_local! {
        /// Of this thread, the next byte last.
        static TAPE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// Lays a tape in.
    pub(crate) fn lay(bytes: &[u8]) {
        TAPE.with_borrow_mut(|tape| {
            tape.clear();
            tape.extend(bytes.iter().rev());
        });
    }

    /// What is drawn: its upper bits, which count most, from the tape while that lasts.
    pub(super) fn steer(drawn: u64) -> u64 {
        let byte = TAPE.with_borrow_mut(|tape| tape.pop().and_then(|one| Some((one, tape.pop()?))));
        match byte {
            Some((high, low)) => {
                u64::from(high) << 56 | u64::from(low) << 48 | drawn & (u64::MAX >> 16)
            }
            None => drawn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed in a file of regressions means the same next year.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut rng = Rng::new(1);
        assert_eq!([rng.next(), rng.next()], [0x910A_2DEC_8902_5CC1, 0xBEEB_8DA1_658E_EC67]);
    }

    #[test]
    fn a_number_stays_within_its_bounds() {
        let mut rng = Rng::new(7);
        let mut met = [false; 5];
        for _ in 0..200 {
            met[rng.size(0, 4)] = true;
            assert!((3..=3).contains(&rng.within(3, 3)));
        }
        assert_eq!(met, [true; 5]);
        assert!(rng.chance(1000) && !rng.chance(0));
    }
}
