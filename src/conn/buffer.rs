//! Where input lies between two calls.
//!
//! One page-aligned buffer serves all connections ([`ReadBuffer`]); what a handler leaves moves
//! into a buffer of the connection's own ([`Leftover`]). What a callback sees of either is one slice:
//! `input.rs`. Read next: `core/offer.rs`, which joins the two.

use std::fmt;

use bytes::Bytes;

use crate::conn::input::Wait;

/// Leftovers up to this size are put before the next read instead of the read behind them.
const HEADROOM: usize = 4096;
/// The kernel's copy into a buffer that does not begin at a page was measured several times slower.
const PAGE: usize = 4096;

/// The one buffer that all connections are read into.
pub(crate) struct ReadBuffer {
    /// Headroom, up to a page of slack, and the space for reads.
    bytes: Box<[u8]>,
    /// Where reads land: at the beginning of a page, with the headroom before it.
    boundary: usize,
    /// What a layer has made of a read, for the call that follows.
    plain: Vec<u8>,
}

impl ReadBuffer {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = vec![0; HEADROOM + PAGE + size].into_boxed_slice();
        // `align_offset` may decline to answer; then reads land unaligned, slower and no less true.
        let slack = bytes[HEADROOM..].as_ptr().align_offset(PAGE).min(PAGE);
        let boundary = HEADROOM + slack;
        ReadBuffer { bytes, boundary, plain: Vec::new() }
    }

    /// The most one read takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() - HEADROOM - PAGE
    }

    /// Where a read of at most `limit` bytes lands.
    #[inline]
    pub(crate) fn space(&mut self, limit: usize) -> &mut [u8] {
        let end = self.boundary + limit.min(self.size());
        &mut self.bytes[self.boundary..end]
    }

    /// Puts a leftover right before where the next read lands; `None` if it is too large for that.
    pub(crate) fn put_before(&mut self, leftover: &[u8]) -> Option<usize> {
        if leftover.len() > HEADROOM {
            return None;
        }
        let start = self.boundary - leftover.len();
        self.bytes[start..self.boundary].copy_from_slice(leftover);
        Some(start)
    }

    /// The last read's first `n` bytes, and `before` bytes that were put before them.
    #[inline]
    pub(crate) fn filled(&self, before: usize, n: usize) -> &[u8] {
        &self.bytes[self.boundary - before..self.boundary + n]
    }

    /// The same, for a layer that works in place.
    pub(crate) fn filled_mut(&mut self, before: usize, n: usize) -> &mut [u8] {
        &mut self.bytes[self.boundary - before..self.boundary + n]
    }

    /// What a layer has made of a read.
    pub(crate) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// The place for what a layer makes of a read: empty, and to be put back.
    pub(crate) fn take_plain(&mut self) -> Vec<u8> {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.shrink_to(self.size() + HEADROOM);
        plain
    }

    pub(crate) fn put_plain(&mut self, plain: Vec<u8>) {
        self.plain = plain;
    }
}

impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// What one connection left unconsumed, and its last word about it.
#[derive(Debug)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    /// Where in `bytes` the unconsumed ones begin: consuming moves no bytes.
    start: usize,
    /// How many of the unconsumed were shown to a call.
    pub(crate) seen: usize,
    pub(crate) wait: Wait,
}

impl Leftover {
    pub(crate) fn new(unconsumed: &[u8], wait: Wait) -> Self {
        Leftover { bytes: unconsumed.to_vec(), start: 0, seen: unconsumed.len(), wait }
    }

    /// Bytes that no call was shown yet.
    pub(crate) fn unseen(bytes: &[u8]) -> Self {
        Leftover { seen: 0, ..Leftover::new(bytes, Wait::Nothing) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Bytes kept for it.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds what a read brought.
    pub(crate) fn append(&mut self, new: &[u8]) {
        // Move the rest to the front when it is the smaller part: each byte pays for one other.
        if self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(new);
    }

    /// Whether a call that waits has what it waits for.
    pub(crate) fn is_enough(&self, len: usize) -> bool {
        !matches!(self.wait, Wait::Bytes(n) if len < n)
    }

    /// Whether it is offered again without more bytes.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.wait, Wait::Nothing | Wait::NotNow) && self.len() > 0
    }

    /// A call consumed `n` and left the rest with this word.
    pub(crate) fn consume(&mut self, n: usize, wait: Wait) {
        self.start += n;
        self.seen = self.len();
        self.wait = wait;
        // A burst's buffer is not kept for a small rest (trap 68).
        if self.bytes.capacity() > 4 * self.seen.max(HEADROOM) {
            self.bytes = self.bytes[self.start..].to_vec();
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;
    use crate::kernel::rng::Rng;

    #[test]
    fn reads_land_at_a_page_and_a_small_leftover_right_before_them() {
        for size in [1, 10, 4096, 256 << 10] {
            let mut buffer = ReadBuffer::new(size);
            assert_eq!(buffer.space(usize::MAX).len(), size);
            assert_eq!(buffer.space(usize::MAX).as_ptr().align_offset(PAGE), 0);
            buffer.space(usize::MAX)[0] = b'c';
            assert!(buffer.put_before(b"ab").is_some());
            assert_eq!(buffer.filled(2, 1), b"abc");
            assert!(buffer.put_before(&[0; HEADROOM]).is_some());
            assert!(buffer.put_before(&[0; HEADROOM + 1]).is_none());
        }
    }

    #[test]
    fn a_leftover_gives_back_exactly_what_was_not_consumed() {
        let mut leftover = Leftover::new(b"abcdef", Wait::Nothing);
        leftover.consume(2, Wait::Line);
        assert_eq!((leftover.bytes(), leftover.seen), (&b"cdef"[..], 4));
        leftover.append(b"gh");
        leftover.consume(3, Wait::Bytes(9));
        leftover.append(b"ij");
        assert_eq!((leftover.bytes(), leftover.seen), (&b"fghij"[..], 3));
        assert!(!leftover.is_enough(8) && leftover.is_enough(9));
    }

    /// Trap 68: a burst's buffer goes when the burst is consumed.
    #[test]
    fn a_large_buffer_is_not_kept_for_a_small_rest() {
        let mut leftover = Leftover::new(&vec![7; 1 << 20], Wait::Nothing);
        leftover.consume((1 << 20) - 10, Wait::Line);
        assert_eq!(leftover.bytes(), [7; 10]);
        assert!(leftover.bytes.capacity() < HEADROOM);
    }

    /// Promise 4: what is counted is what is allocated, after every step, and a large buffer is not
    /// kept for a rest of a quarter.
    #[test]
    fn what_a_leftover_counts_is_what_is_allocated() {
        for seed in 0..if cfg!(miri) { 3 } else { 300 } {
            let mut rng = Rng::new(seed);
            let most = rng.size(1, 100_000);
            let mut leftover = Leftover::new(&[], Wait::Nothing);
            let mut allocated = 0;
            for _ in 0..200 {
                let n = rng.size(1, most);
                let consumes = rng.size(0, 1) == 0;
                allocated += measure(|| {
                    if consumes {
                        leftover.consume(n.min(leftover.len()), Wait::Nothing);
                    } else {
                        leftover.append(&vec![1; n]);
                    }
                })
                .bytes_current;
                let (held, real) = (leftover.held(), usize::try_from(allocated).unwrap());
                assert_eq!(real, held, "{seed}");
                let len = leftover.len();
                assert!(!consumes || held <= 4 * len.max(HEADROOM), "{seed}: {held} for {len}");
            }
        }
    }
}
