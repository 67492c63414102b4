//! Bytes that were sent and that the kernel has not taken: one connection's queue.
//!
//! Nothing queued allocates nothing, and one shared chunk lies in the queue itself, so a broadcast
//! to a thousand idle peers allocates for none of them. More goes behind it: small pieces are
//! copied together (a queue of one-byte chunks would cost forty times its bytes), large shared
//! ones are kept as they are. Writing cuts nothing and moves nothing: an offset advances. No limit
//! is kept here; `core.rs` does that. Read next: `conn.rs`.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes, BytesMut};

/// A shared chunk up to this size is copied behind what is queued: keeping it costs more.
const COPY_MAX: usize = 512;
/// A piece that grew to this size is closed and another begun: growing copies.
const PIECE: usize = 64 << 10;
/// The most slices of one `writev`. Linux takes 1024 (`IOV_MAX`); 64 of them fill a socket buffer.
const SLICES: usize = 64;

/// Queued output, in order: `head`, then `rest`.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What is written next; empty only if nothing is queued.
    head: Bytes,
    /// What follows, if anything ever did since the queue was last empty.
    rest: Option<Box<Rest>>,
    /// Bytes of `head` that the kernel took: they are kept until the last of its bytes goes. Never
    /// more than 4 GiB.
    spent: u32,
    /// What the sum over all connections has for the one that this belongs to. It lies here because
    /// here is room for it.
    pub(crate) counted: u32,
}

#[derive(Debug, Default)]
struct Rest {
    chunks: VecDeque<Bytes>,
    /// The last piece, still growing.
    tail: BytesMut,
    /// Bytes in `chunks` and `tail`.
    len: usize,
}

impl Output {
    /// Bytes queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |rest| rest.len)
    }

    /// Bytes kept: those queued, and those written of a chunk that is not written to its end.
    pub(crate) fn held(&self) -> usize {
        self.len().saturating_add(self.spent as usize)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Queues a copy.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
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

    /// Queues a shared chunk, without a copy unless it is small and something is queued already.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.head.is_empty() {
            self.head = bytes;
        } else if bytes.len() <= COPY_MAX {
            self.push(&bytes);
        } else {
            let rest = self.rest.get_or_insert_default();
            rest.len += bytes.len();
            rest.close_piece();
            rest.chunks.push_back(bytes);
        }
    }

    /// Writes once. Answers how many bytes were taken and how many were offered.
    pub(crate) fn write(&self, io: &mut impl Write) -> io::Result<(usize, usize)> {
        let Some(rest) = &self.rest else {
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
                // All is written: give the memory back (trap 68).
                return self.clear();
            };
            self.head = next;
            self.spent = 0;
        }
        self.head.advance(n);
        self.spent = self.spent.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    pub(crate) fn clear(&mut self) {
        (self.head, self.rest, self.spent) = (Bytes::new(), None, 0);
    }
}

impl Rest {
    fn close_piece(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            self.close_piece();
        }
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for room in [1, 2, 3, 7, 100, 511, 4096, 200_000] {
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
