//! What no bytes may bring about: properties, each a function of any bytes, that panics if it fails.
//!
//! A fuzzer calls them (`fuzz/` at the root, for cargo-fuzz), and so does an ordinary test at the
//! foot of this file, with numbers from a seed: every machine runs the same checks, one with a
//! fuzzer runs more of them. There is no door to this module but `cfg(fuzzing)`, which cargo-fuzz
//! sets. Read next: `fuzz/window.rs`, `fuzz/frames.rs`.

use crate::address::Address;

pub(crate) mod frames;
mod window;

pub use self::window::{input, offers};

/// Bytes to draw choices from. When they are used up, all choices are the first.
#[derive(Debug)]
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Source(bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Less than `end`, which is at most 65,536.
    fn below(&mut self, end: usize) -> usize {
        let high = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high + usize::from(self.byte())) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The next bytes, at most `most`.
    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Any decoder of `frame`, over any stream: see `fuzz/frames.rs`.
pub fn frames(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    frames::any(&mut source);
}

/// What is read as an [`Address`] prints as something that is read as the same, and so does any path
/// that is UTF-8, and any name of the abstract namespace. No name prints as a control character.
pub fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.clone(), format!("unix:{text}").into(), format!("unix:@{text}").into()] {
        if let Ok(read) = text.parse::<Address>() {
            let printed = read.to_string();
            assert_eq!(printed.parse::<Address>().ok(), Some(read), "{text:?} prints {printed:?}");
        }
    }
    if !text.is_empty() {
        let printed = Address::unix(&*text).to_string();
        let read = printed.parse::<Address>().ok();
        if text.starts_with('@') {
            assert_eq!(read, Some(Address::unix(format!("./{text}"))), "{printed:?}");
        } else {
            assert_eq!(read, Some(Address::unix(&*text)), "{printed:?}");
        }
        let name = Address::abstract_name(bytes);
        let printed = name.to_string();
        assert!(!printed.contains(|c: char| c.is_control()), "{printed:?}");
        assert_eq!(printed.parse::<Address>().ok(), Some(name), "{printed:?}");
    }
}

/// A schedule of the simulator, whose first draws are these bytes: see `kernel/rng.rs`.
#[cfg(fuzzing)]
pub fn schedule(bytes: &[u8]) {
    let (seed, tape) = bytes.split_at(bytes.len().min(1));
    crate::kernel::rng::tape::lay(tape);
    let seed = seed.first().copied().unwrap_or(0);
    let result = crate::sim::schedule::Schedule::new(u64::from(seed)).run();
    crate::kernel::rng::tape::lay(&[]);
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Rng;

    /// Bytes as a fuzzer would think of them: of an alphabet of a few, or any.
    fn any(rng: &mut Rng, most: usize) -> Vec<u8> {
        let alphabet: &[u8] = match rng.below(3) {
            0 => b"\r\n;aab\0\x01\x02\x03\x80\xff",
            1 => b"unix:@\\x0a/\n[]127.0",
            _ => &[],
        };
        let byte = |rng: &mut Rng| match alphabet {
            [] => u8::try_from(rng.below(256)).unwrap(),
            some => *rng.pick(some),
        };
        (0..rng.size(0, most)).map(|_| byte(rng)).collect()
    }

    fn many(times: usize, most: usize, property: fn(&[u8])) {
        // Under Miri each takes a thousand times as long.
        let times = if cfg!(miri) { times.div_ceil(200) } else { times };
        let mut rng = Rng::new(70);
        for _ in 0..times {
            property(&any(&mut rng, most));
        }
    }

    /// Promises 2 and 3. Trap 70: every byte once and in order, whatever a handler does with its input.
    #[test]
    fn input_gives_each_byte_once_however_it_is_taken() {
        many(20_000, 300, input);
    }

    /// Promises 1, 2 and 3: the same through the whole reactor, in simulated worlds.
    #[test]
    fn the_reactor_offers_each_byte_once_however_it_is_taken() {
        many(1_000, 300, offers);
    }

    /// Trap 70: every codec, split at every byte, compared with one-shot and naive decoding.
    #[test]
    fn any_codec_decodes_any_bytes_the_same_however_they_are_split() {
        many(3_000, 60, frames);
    }

    /// Promise 7: an address in a log can be typed.
    #[test]
    fn an_address_that_is_printed_is_read_as_the_same() {
        many(20_000, 40, address);
    }
}
