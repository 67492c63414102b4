//! Bytes that were sent and that the kernel has not taken: one connection's queue.
//!
//! Nothing queued allocates nothing, and one shared chunk lies in the queue itself, so a broadcast
//! to a thousand idle peers allocates for none of them. More goes behind it: small pieces are
//! copied together (a queue of one-byte chunks would cost forty times its bytes), large shared
//! ones are kept as they are. Writing moves nothing, an offset advances; only of a chunk that is
//! nearly written the rest is copied, so that its memory goes. [`Output::held`] is what is
//! allocated, not what is queued. Behind what is queued there may be sources, each with what was sent
//! after it; only what is before the first of them is written. No limit is kept here; `core.rs` does
//! that. Read next: `conn.rs`.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

use crate::base::source::Source;

/// A shared chunk up to this size is copied behind what is queued: keeping it costs more.
const COPY_MAX: usize = 512;
/// A piece that grew to this size is closed and another begun: growing copies.
const PIECE: usize = 64 << 10;
/// So many written bytes are kept before the unwritten rest of a chunk, a quarter of it at most, is
/// copied and the chunk given back.
const SPENT: usize = 4 << 10;
/// Places for chunks that are a part of what each connection takes (`config.rs`), and are not given
/// back.
const PLACES: usize = 8;
/// The most slices of one `writev`. Linux takes 1024 (`IOV_MAX`); 64 of them fill a socket buffer.
const SLICES: usize = 64;

/// Queued output, in order: `head`, then `rest`.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What is written next; empty only if nothing is queued, or nothing before a source.
    head: Bytes,
    /// What follows, and what is written of `head`, if there was either since the queue was empty.
    rest: Option<Box<Rest>>,
    /// What the sum over all connections has for the one that this belongs to. It lies here because
    /// here is room for it.
    pub(crate) counted: usize,
}

#[derive(Debug, Default)]
struct Rest {
    chunks: VecDeque<Bytes>,
    /// The last piece, still growing.
    tail: Vec<u8>,
    /// Bytes in `chunks` and `tail`.
    len: usize,
    /// Bytes of `head` that the kernel took: its memory is kept until the last of its bytes goes.
    spent: usize,
    /// The sources that follow all this, in order.
    behind: VecDeque<Behind>,
    /// Bytes sent after sources, and bytes allocated for them.
    behind_len: usize,
    behind_held: usize,
}

/// A source, and what was sent after it and before the next one.
#[derive(Debug)]
struct Behind {
    /// `None` while it is read.
    source: Option<Source>,
    then: Output,
}

impl Output {
    /// Bytes queued, those behind sources included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |rest| rest.len + rest.behind_len)
    }

    /// Bytes queued before the first source.
    pub(crate) fn front_len(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |rest| rest.len)
    }

    /// Bytes allocated for it. Not less: shared ones count as if no other queue had them, except for
    /// the rest of a buffer that they are a slice of.
    pub(crate) fn held(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |rest| rest.held())
    }

    /// Whether there is nothing to write now: nothing queued before the first source.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Queues a copy, behind everything.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.at_end(|output| output.append(bytes));
    }

    /// Queues a shared chunk behind everything, without a copy unless it is small and something is queued
    /// already.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        self.at_end(|output| output.append_shared(bytes));
    }

    pub(crate) fn push_source(&mut self, source: Source) {
        let behind = Behind { source: Some(source), then: Output::default() };
        self.rest.get_or_insert_default().behind.push_back(behind);
    }

    pub(crate) fn has_source(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.behind.is_empty())
    }

    /// Takes the first source, to be read.
    pub(crate) fn take_source(&mut self) -> Option<Source> {
        self.rest.as_mut()?.behind.front_mut()?.source.take()
    }

    /// Puts the source that was taken back.
    pub(crate) fn put_source(&mut self, source: Source) {
        let first = self.rest.as_mut().and_then(|rest| rest.behind.front_mut());
        first.expect("a source was taken from there").source = Some(source);
    }

    /// The source that was taken has ended: what was sent after it follows.
    pub(crate) fn end_source(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        let Some(Behind { then, .. }) = rest.behind.pop_front() else { return };
        rest.behind_len -= then.len();
        rest.behind_held -= then.held();
        if rest.behind.is_empty() {
            rest.behind = VecDeque::new();
        }
        self.append_shared(then.head);
        if let Some(mut then) = then.rest {
            while let Some(chunk) = then.pop() {
                self.append_shared(chunk);
            }
        }
        if self.is_empty() {
            self.empty_front();
        }
    }

    /// Drops the sources and what was sent after them. Returns the number of those bytes.
    pub(crate) fn drop_sources(&mut self) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let lost = std::mem::take(&mut rest.behind_len);
        rest.behind_held = 0;
        rest.behind = VecDeque::new();
        if self.is_empty() {
            self.clear();
        }
        lost
    }

    /// Puts something behind the last source, if there is any, else behind what is queued.
    fn at_end(&mut self, put: impl FnOnce(&mut Output)) {
        if let Some(rest) = &mut self.rest
            && let Some(Behind { then, .. }) = rest.behind.back_mut()
        {
            let (len, held) = (then.len(), then.held());
            put(then);
            rest.behind_len += then.len() - len;
            rest.behind_held = rest.behind_held + then.held() - held;
            return;
        }
        put(self);
    }

    /// Queues a copy, before the first source.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.head.is_empty() {
            self.head = Bytes::copy_from_slice(bytes);
            return;
        }
        let rest = self.rest.get_or_insert_default();
        rest.len += bytes.len();
        if rest.tail.len() + bytes.len() > PIECE && !rest.tail.is_empty() {
            rest.close_piece();
        }
        rest.tail.extend_from_slice(bytes);
    }

    fn append_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.head.is_empty() {
            self.head = bytes;
        } else if bytes.len() <= COPY_MAX {
            self.append(&bytes);
        } else {
            let rest = self.rest.get_or_insert_default();
            rest.len += bytes.len();
            rest.close_piece();
            rest.chunks.push_back(bytes);
        }
    }

    /// Writes once. Returns how many bytes were taken and how many were offered.
    pub(crate) fn write(&self, io: &mut impl Write) -> io::Result<(usize, usize)> {
        let Some(rest) = self.rest.as_ref().filter(|rest| rest.len > 0) else {
            return Ok((io.write(&self.head)?, self.head.len()));
        };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = [&self.head].into_iter().chain(&rest.chunks).map(|chunk| &chunk[..]);
        let tail = (!rest.tail.is_empty()).then_some(&rest.tail[..]);
        let mut count = 0;
        let mut offered = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.chain(tail)) {
            *slice = IoSlice::new(piece);
            count += 1;
            offered += piece.len();
        }
        Ok((io.write_vectored(&slices[..count])?, offered))
    }

    /// Forgets the first `n` bytes: the kernel has them.
    pub(crate) fn advance(&mut self, mut n: usize) {
        while n >= self.head.len() {
            n -= self.head.len();
            let Some(next) = self.rest.as_mut().and_then(|rest| rest.pop()) else {
                assert!(n == 0, "no more is taken than was offered");
                return self.empty_front();
            };
            self.head = next;
        }
        if n > 0 {
            self.head.advance(n);
            let rest = self.rest.get_or_insert_default();
            rest.spent += n;
            // Each byte that is copied pays for three that were written. What others share stays.
            if rest.spent >= SPENT.max(3 * self.head.len()) && self.head.is_unique() {
                self.head = Bytes::copy_from_slice(&self.head);
                rest.spent = 0;
            }
        }
    }

    /// Copies the first bytes, at most `most`, none behind a source.
    pub(crate) fn copy_front(&self, most: usize, to: &mut Vec<u8>) {
        let rest = self.rest.as_ref();
        let chunks = rest.into_iter().flat_map(|rest| &rest.chunks).map(|chunk| &chunk[..]);
        let tail = rest.map(|rest| &rest.tail[..]);
        for piece in [&self.head[..]].into_iter().chain(chunks).chain(tail) {
            let room = most - to.len();
            to.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// Takes all that is queued, in one piece: without a copy if it is one.
    pub(crate) fn take(&mut self) -> Bytes {
        let Some(rest) = self.rest.take() else { return std::mem::take(&mut self.head) };
        let len = self.head.len() + rest.len;
        let mut all = Vec::with_capacity(len);
        for chunk in [&self.head].into_iter().chain(&rest.chunks) {
            all.extend_from_slice(chunk);
        }
        all.extend_from_slice(&rest.tail);
        self.head = Bytes::new();
        all.into()
    }

    /// All before the first source is written: gives the memory back (trap 68).
    fn empty_front(&mut self) {
        self.head = Bytes::new();
        match &mut self.rest {
            Some(rest) if !rest.behind.is_empty() => rest.spent = 0,
            _ => self.rest = None,
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.head, self.rest) = (Bytes::new(), None);
    }
}

impl Rest {
    /// Bytes allocated for what follows the head, and for what is written of it. What a source itself
    /// holds is the application's.
    fn held(&self) -> usize {
        let places = self.chunks.capacity().saturating_sub(PLACES) * size_of::<Bytes>();
        let behind = self.behind.capacity() * size_of::<Behind>() + self.behind_held;
        self.spent + self.len - self.tail.len() + self.tail.capacity() + places + behind
    }

    /// Ends the last piece.
    fn close_piece(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.take_piece();
            self.chunks.push_back(piece);
        }
    }

    /// The last piece, in an allocation that is as large as its bytes.
    fn take_piece(&mut self) -> Bytes {
        std::mem::take(&mut self.tail).into_boxed_slice().into()
    }

    /// The next chunk, to become the head.
    fn pop(&mut self) -> Option<Bytes> {
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => self.take_piece(),
        };
        self.len -= chunk.len();
        self.spent = 0;
        // The places of a long queue are not kept for a short one.
        if self.chunks.capacity() > PLACES.max(4 * self.chunks.len()) {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;
    use crate::kernel::rng::Rng;

    /// Takes at most `room` bytes a call.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let before = self.taken.len();
            for slice in slices {
                let n = slice.len().min(self.room - (self.taken.len() - before));
                self.taken.extend_from_slice(&slice[..n]);
            }
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Trap 31: whatever the kernel takes of a write, the rest follows in order.
    #[test]
    fn bytes_come_out_in_order_however_they_went_in_and_are_cut() {
        let rooms = [200_000, 4096, 511, 100, 7, 3, 2, 1];
        for room in rooms.into_iter().filter(|room| *room >= 100 || !cfg!(miri)) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            let mut io = Narrow { room, taken: Vec::new() };
            for round in 0..60_usize {
                let len = (round * 37) % 1500;
                let piece: Vec<u8> =
                    (0..len).map(|i| ((i + round) % 251).try_into().unwrap()).collect();
                expected.extend_from_slice(&piece);
                if round % 3 == 0 {
                    output.push_shared(Bytes::from(piece));
                } else {
                    output.push(&piece);
                }
                if round % 5 == 0 && !output.is_empty() {
                    let (n, _) = output.write(&mut io).unwrap();
                    output.advance(n);
                }
                assert_eq!(output.len(), expected.len() - io.taken.len());
            }
            while !output.is_empty() {
                let (n, offered) = output.write(&mut io).unwrap();
                assert!(n <= offered && offered <= output.len());
                output.advance(n);
            }
            assert_eq!(io.taken, expected);
            assert_eq!(output.len(), 0);
            assert!(output.rest.is_none());
        }
    }

    /// Promise 2: what was sent behind a source follows it whole, in however many chunks it waited.
    #[test]
    fn what_was_sent_behind_a_source_follows_it_whole() {
        let mut output = Output::default();
        output.push(b"head");
        output.push_source(Source::new(io::empty()));
        let mut expected = b"head".to_vec();
        for byte in 0..9 {
            let piece = vec![byte; 3000];
            expected.extend_from_slice(&piece);
            if byte % 3 == 0 {
                output.push(&piece);
            } else {
                output.push_shared(piece.into());
            }
        }
        drop(output.take_source());
        output.end_source();
        assert!(!output.has_source());
        assert_eq!(output.len(), expected.len());
        let mut io = Narrow { room: 1000, taken: Vec::new() };
        while !output.is_empty() {
            let (n, _) = output.write(&mut io).unwrap();
            output.advance(n);
        }
        assert!(io.taken == expected);
    }

    /// Promise 4: small pieces do not cost a multiple of their bytes.
    #[test]
    fn a_flood_of_tiny_chunks_is_copied_together() {
        let mut output = Output::default();
        for _ in 0..100_000 {
            output.push_shared(Bytes::from_static(b"x"));
        }
        let rest = output.rest.as_ref().unwrap();
        assert_eq!(output.len(), 100_000);
        assert!(rest.chunks.len() <= 2);
    }

    /// Promise 4: what is written of a chunk is kept with the rest of it, and counted.
    #[test]
    fn a_chunk_counts_whole_until_it_is_written_whole() {
        let mut output = Output::default();
        output.push(&[1; 100]);
        output.push(&[2; 30]);
        output.advance(99);
        assert_eq!((output.len(), output.held()), (31, 130));
        output.advance(1);
        assert_eq!((output.len(), output.held()), (30, 30));
        output.advance(10);
        assert_eq!((output.len(), output.held()), (20, 30));
        output.clear();
        assert_eq!((output.len(), output.held()), (0, 0));
    }

    /// Promise 4: what is counted is what is allocated, after every step, whatever the order in which
    /// small and large pieces are queued and written.
    #[test]
    fn what_a_queue_counts_is_what_is_allocated() {
        for seed in 0..if cfg!(miri) { 3 } else { 300 } {
            let mut rng = Rng::new(seed);
            let (most, writes) = (rng.size(1, 100_000), rng.size(1, 10));
            let mut output = Output::default();
            let mut allocated = 0;
            for step in 0..400 {
                let draw = rng.size(0, 9);
                let len = rng.size(1, most);
                allocated += measure(|| match draw {
                    draw if draw >= writes => {
                        let queued = output.len();
                        output.advance(queued.min(len * 2));
                    }
                    0 | 1 => output.push_shared(vec![1; len].into()),
                    2 => (0..20).for_each(|_| output.push(&[2; 9])),
                    3 => output.push_shared(vec![3; COPY_MAX + 1].into()),
                    4 if step % 50 == 0 => output.advance(output.len().saturating_sub(1)),
                    5 if step % 97 == 0 => output.clear(),
                    _ => output.push(&vec![4; len]),
                })
                .bytes_current;
                let held = output.held();
                let real = usize::try_from(allocated).unwrap();
                assert!(real <= held + 1024, "{seed}: {real} bytes allocated, {held} counted");
                assert!(held <= real, "{seed}: {held} bytes counted, {real} allocated");
                let owed = output.len();
                assert!(held <= 4 * owed + 3 * PIECE + 3 * most, "{seed}: {held} held for {owed}");
            }
            allocated += measure(|| output.clear()).bytes_current;
            assert_eq!((allocated, output.held()), (0, 0));
        }
    }

    /// Promise 4: the places of sources are counted, too.
    #[test]
    fn sources_that_wait_have_places_that_are_counted() {
        let mut output = Output::default();
        let push = |_| output.push_source(Source::new(io::empty()));
        let allocated = measure(|| (0..100).for_each(push)).bytes_current;
        let (real, held) = (usize::try_from(allocated).unwrap(), output.held());
        assert!(real <= held + 1024, "{real} bytes allocated, {held} counted");
    }

    /// Promise 4: the few bytes that a peer leaves unread do not keep what went before them.
    #[test]
    fn a_small_rest_keeps_no_large_piece() {
        let mut output = Output::default();
        let allocated = measure(|| {
            for _ in 0..2000 {
                output.push(&[1; 500]);
            }
            output.advance(output.len() - 5 * 1024);
        });
        assert!(output.held() <= 4 * 5 * 1024, "{}", output.held());
        assert!(allocated.bytes_current <= 4 * 5 * 1024 + 512, "{allocated:?}");
        let mut many = Output::default();
        let allocated = measure(|| {
            for _ in 0..5000 {
                many.push_shared(vec![1; 600].into());
            }
            many.advance(many.len() - 1000);
        });
        assert!(allocated.bytes_current <= 3000, "{allocated:?}");
        let mut one = Output::default();
        let allocated = measure(|| {
            one.push(&vec![1; 64 << 10]);
            one.advance(one.len() - 100);
        });
        assert!(allocated.bytes_current <= 1000, "{allocated:?}");
    }

    /// Promise 4: more than 4 GiB are counted, and what is written of them is.
    #[test]
    fn more_than_four_gib_are_counted() {
        let chunk = Bytes::from(vec![7; 64 << 20]);
        let mut output = Output::default();
        for _ in 0..100 {
            output.push_shared(chunk.clone());
        }
        // And the places in which they stand.
        assert!((0..5000).contains(&(output.held() - 100 * chunk.len())), "{}", output.held());
        output.advance(99 * chunk.len() + 5000);
        assert_eq!((output.len(), output.held()), (chunk.len() - 5000, chunk.len()));
    }

    #[test]
    fn one_shared_chunk_lies_in_the_queue_itself_uncopied() {
        let chunk = Bytes::from(vec![1; 10]);
        let mut output = Output::default();
        output.push_shared(chunk.clone());
        assert!(output.rest.is_none());
        assert_eq!(output.head.as_ptr(), chunk.as_ptr());
    }

    /// Trap 33: more chunks than one call takes are written by several.
    #[test]
    fn a_vector_limit_cuts_the_offer_not_the_bytes() {
        let mut output = Output::default();
        for _ in 0..200 {
            output.push_shared(Bytes::from(vec![1; 1000]));
        }
        let mut io = Narrow { room: usize::MAX, taken: Vec::new() };
        let (n, offered) = output.write(&mut io).unwrap();
        assert_eq!((n, offered), (64_000, 64_000));
        output.advance(n);
        assert_eq!(output.len(), 136_000);
    }
}
