//! Masks: each byte that a client sends is XORed with one of four random bytes (RFC 6455, section 5.3).

/// XORs `bytes` with the mask, whose first byte is that of `bytes`.
pub(crate) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Chunks of a known length, so that the compiler takes the widest registers it has.
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let chunk: &mut [u8; 8] = chunk.try_into().expect("a chunk of eight");
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The mask for what follows `n` bytes.
pub(crate) fn rotate(mut mask: [u8; 4], n: usize) -> [u8; 4] {
    mask.rotate_left(n % 4);
    mask
}

/// Masks that no server, nor what it has a client send, can foresee.
#[derive(Debug)]
pub(crate) struct Masks {
    /// Random bytes, drawn from the end; some hundred frames for each call of the system.
    pool: Vec<u8>,
}

impl Masks {
    const POOL: usize = 1024;

    pub(crate) const fn new() -> Self {
        Masks { pool: Vec::new() }
    }

    /// Four bytes that were not given before.
    pub(crate) fn next(&mut self) -> [u8; 4] {
        let [a, b, c, d] = self.draw();
        [a, b, c, d]
    }

    /// Random bytes that were not given before.
    ///
    /// # Panics
    ///
    /// If the system has none to give: a client without them would be open to cache poisoning (RFC 6455,
    /// section 10.3).
    pub(crate) fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= Self::POOL) };
        if self.pool.len() < N {
            self.pool.resize(Self::POOL, 0);
            getrandom::getrandom(&mut self.pool).expect("a source of randomness");
        }
        let at = self.pool.len() - N;
        let drawn = self.pool[at..].try_into().expect("as many as were asked for");
        self.pool.truncate(at);
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_goes_on_where_it_was_broken_off() {
        let plain: Vec<u8> = (0..100).collect();
        let mask = [0x81, 0x42, 0x00, 0xFF];
        let expected: Vec<u8> =
            plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for cut in 0..plain.len() {
            let mut bytes = plain.clone();
            let (first, second) = bytes.split_at_mut(cut);
            apply(first, mask);
            apply(second, rotate(mask, cut));
            assert_eq!(bytes, expected, "cut at {cut}");
        }
    }

    #[test]
    fn no_two_masks_are_the_same_bytes_of_the_pool() {
        let mut masks = Masks::new();
        let drawn: std::collections::BTreeSet<[u8; 16]> =
            (0..1000).map(|_| masks.draw::<16>()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
