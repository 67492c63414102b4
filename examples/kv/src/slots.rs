//! Which of the 16,384 slots a key is in, and which reactor has a slot: as Redis Cluster has it.
//!
//! Read next: `shard.rs`, which asks before it runs a command.

use crate::command::{Fault, Keys};

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// The slot of a key: CRC16 of what stands between its first braces, where that is not empty, or of
/// all of it.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

/// XMODEM's: polynomial 0x1021, from 0 on.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// The reactor that has a slot, of so many. They take turns, so that each has its share of any
/// range that a process of a cluster may have.
#[must_use]
pub fn owner(slot: u16, reactors: usize) -> usize {
    usize::from(slot) % reactors
}

/// The places of the keys among the words of a command.
///
/// # Errors
///
/// If the command says how many there are, and that is no number, or more than there are words.
pub fn places(keys: Keys, words: &[&[u8]]) -> Result<KeyPlaces, Fault> {
    let counted = |at: usize| -> Result<(usize, usize), Fault> {
        let count = words.get(at).and_then(|word| str::from_utf8(word).ok()?.parse::<usize>().ok());
        match count {
            Some(count) if count < words.len() - at => Ok((at + 1, at + 1 + count)),
            // The command itself says what is wrong with its number; any shard does.
            _ => Ok((0, 0)),
        }
    };
    let (also, from, to, step) = match keys {
        Keys::None => (None, 0, 0, 1),
        Keys::Range { first, last, step } => {
            let last = match usize::try_from(last) {
                Ok(last) => last + 1,
                Err(_) => words.len().saturating_sub(last.unsigned_abs() - 1),
            };
            (None, first, last.min(words.len()), step)
        }
        Keys::Counted(at) => {
            let (from, to) = counted(at)?;
            (None, from, to, 1)
        }
        Keys::StoredAndCounted(at) => {
            let (from, to) = counted(at)?;
            (Some(1), from, to, 1)
        }
    };
    Ok(KeyPlaces { also, next: from, to, step })
}

/// What [`places`] returns.
#[derive(Debug, Clone)]
pub struct KeyPlaces {
    also: Option<usize>,
    next: usize,
    to: usize,
    step: usize,
}

impl Iterator for KeyPlaces {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let Some(also) = self.also.take() {
            return Some(also);
        }
        let at = self.next;
        (at < self.to).then(|| {
            self.next += self.step;
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("", 0), ("{user1000}.following", 3443)]
        {
            assert_eq!(super::slot(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(super::slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(super::slot(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(super::slot(b"foo{bar}{zap}"), super::slot(b"bar"));
    }

    #[test]
    fn every_reactor_has_its_share_of_the_slots() {
        for reactors in 1..=128 {
            let mut shares = vec![0; reactors];
            (0..SLOTS).for_each(|slot| shares[owner(slot, reactors)] += 1);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{reactors}: {shares:?}");
        }
    }

    #[test]
    fn keys_are_where_the_command_says() {
        let of = |keys, words: &str| {
            let words: Vec<_> = words.split(' ').map(str::as_bytes).collect();
            places(keys, &words).unwrap().collect::<Vec<_>>()
        };
        assert_eq!(of(Keys::ONE, "get a"), [1]);
        assert_eq!(of(Keys::ALL, "del a b c"), [1, 2, 3]);
        assert_eq!(of(Keys::Range { first: 1, last: -1, step: 2 }, "mset a 1 b 2"), [1, 3]);
        assert_eq!(of(Keys::Range { first: 1, last: -2, step: 1 }, "blpop a b 0"), [1, 2]);
        assert_eq!(of(Keys::Counted(1), "sintercard 2 a b limit 1"), [2, 3]);
        assert_eq!(of(Keys::Counted(1), "sintercard 3 a b"), []);
        assert_eq!(of(Keys::Counted(1), "sintercard x a b"), []);
        assert_eq!(of(Keys::StoredAndCounted(2), "zunionstore d 2 a b"), [1, 3, 4]);
    }
}
