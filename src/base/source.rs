//! Where an answer comes from that is not in memory: a file, an iterator of chunks.
//!
//! A source is read a piece at a time, when the kernel has room for it, and dropped at its end or with
//! its connection. What is read goes into the shared read buffer and from there into the queue; a source
//! knows neither. When it is read is decided in `conn/pull.rs`, where it waits is `conn/output.rs`.

use std::fmt;
use std::io::{self, Read};
use std::iter::Fuse;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most calls of `read` for one piece: a source that brings little at a time leaves the turn to
/// others.
const READS: usize = 64;

/// A source that has not come to its end.
pub(crate) struct Source(Option<Box<dyn Read + Send>>);

/// What is left of a source after a piece.
#[derive(Debug)]
pub(crate) enum Pulled {
    More(Source),
    End,
    Failed(io::Error),
}

impl Source {
    pub(crate) fn new(source: impl Read + Send + 'static) -> Self {
        Source(Some(Box::new(source)))
    }

    /// Reads until `piece` is full, the source has ended or failed, or it has been asked often enough.
    /// Returns the number of bytes read.
    pub(crate) fn pull(mut self, piece: &mut [u8]) -> (usize, Pulled) {
        debug_assert!(!piece.is_empty(), "a read into nothing says 0, as the end does");
        let mut filled = 0;
        for _ in 0..READS {
            let space = &mut piece[filled..];
            let (Some(reader), room @ 1..) = (&mut self.0, space.len()) else { break };
            match reader.read(space) {
                Ok(0) => return (filled, Pulled::End),
                Ok(n) if n <= room => filled += n,
                Ok(n) => {
                    let what = format!("a source claims {n} bytes of a read of {room}");
                    return (filled, Pulled::Failed(io::Error::other(what)));
                }
                // A storm of signals: the rest of the turn is for others.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let what = "a source has nothing now and said WouldBlock, but nothing tells when to \
                                ask again: send what comes later when it comes";
                    return (filled, Pulled::Failed(io::Error::new(error.kind(), what)));
                }
                Err(error) => return (filled, Pulled::Failed(error)),
            }
        }
        (filled, Pulled::More(self))
    }
}

impl Drop for Source {
    /// A source is dropped wherever its connection fails, between two steps of the loop: a panic there
    /// would leave the loop half way.
    fn drop(&mut self) {
        let reader = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(reader))).is_err() {
            log::error!("a source panicked when it was dropped");
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Makes a source of an iterator of chunks, for [`Conn::send_from`](crate::Conn::send_from): of
/// `Bytes`, `Vec<u8>`, `String` and whatever else is bytes. The iterator is asked for the next chunk
/// when there is room to send it, and may be endless. Empty chunks are passed over.
///
/// A source that can fail, or that has no chunks of its own, implements [`Read`] instead.
///
/// # Examples
///
/// ```
/// use std::io::Read;
///
/// let mut source = wouldblock::chunks((1..=3).map(|n| format!("line {n}\n")));
/// let mut text = String::new();
/// source.read_to_string(&mut text)?;
/// assert_eq!(text, "line 1\nline 2\nline 3\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn chunks<I>(iter: I) -> Chunks<I::IntoIter>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    Chunks { iter: iter.into_iter().fuse(), chunk: None, taken: 0 }
}

/// A reader of an iterator of chunks: see [`chunks`].
pub struct Chunks<I: Iterator> {
    iter: Fuse<I>,
    /// The chunk that is being read, and how many of its bytes are.
    chunk: Option<I::Item>,
    taken: usize,
}

impl<I: Iterator<Item: AsRef<[u8]>>> Read for Chunks<I> {
    /// # Errors
    ///
    /// None.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = &self.chunk
                && let rest @ [_, ..] = &chunk.as_ref()[self.taken..]
            {
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
                self.taken += n;
                return Ok(n);
            }
            self.taken = 0;
            self.chunk = self.iter.next();
            if self.chunk.is_none() {
                return Ok(0);
            }
        }
    }
}

impl<I: Iterator> fmt::Debug for Chunks<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// Makes a source of exactly `len` bytes of another, for [`Conn::send_from`](crate::Conn::send_from):
/// no more, and if that ends before, a failure (`UnexpectedEof`) instead of an end. For an answer
/// whose length was told first: a file may grow or shrink meanwhile, and a peer that waits for the
/// rest of a shorter one would wait for ever.
///
/// # Examples
///
/// ```
/// use std::io::Read;
///
/// let mut text = String::new();
/// wouldblock::exactly(5, &b"hello, world"[..]).read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
///
/// let error = wouldblock::exactly(20, &b"hello, world"[..]).read_to_string(&mut text).unwrap_err();
/// assert_eq!(error.to_string(), "a source has ended 8 bytes early");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn exactly<R: Read>(len: u64, source: R) -> Exactly<R> {
    Exactly { left: len, source }
}

/// A reader of so many bytes of another: see [`exactly`].
pub struct Exactly<R> {
    left: u64,
    source: R,
}

impl<R: Read> Read for Exactly<R> {
    /// # Errors
    ///
    /// Those of the source; `UnexpectedEof` if it ends early.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        match self.source.read(&mut buf[..most])? {
            0 => {
                let what = format!("a source has ended {} bytes early", self.left);
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
            }
            // If the source claims more than it was asked for, `pull` says so; `io::Take` would panic.
            n => {
                self.left = self.left.saturating_sub(n as u64);
                Ok(n)
            }
        }
    }
}

impl<R> fmt::Debug for Exactly<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exactly").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it is told to, one word a read, and then the end.
    struct Says(Vec<io::Result<usize>>);

    impl Read for Says {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let word = if self.0.is_empty() { Ok(0) } else { self.0.remove(0) };
            let most = buf.len();
            word.inspect(|n| buf[..most.min(*n)].fill(b'x'))
        }
    }

    fn pull(words: Vec<io::Result<usize>>, room: usize) -> (usize, Pulled) {
        Source::new(Says(words)).pull(&mut vec![0; room])
    }

    #[test]
    fn a_piece_is_filled_by_as_many_reads_as_it_takes() {
        let (n, pulled) = pull(vec![Ok(1), Ok(2), Ok(3)], 6);
        assert!(n == 6 && matches!(pulled, Pulled::More(_)));
        let (n, pulled) = pull(vec![Ok(1), Ok(2), Ok(3)], 7);
        assert!(n == 6 && matches!(pulled, Pulled::End));
        let (n, pulled) = Source::new(io::repeat(1).take(1000)).pull(&mut [0; 100]);
        assert!(n == 100 && matches!(pulled, Pulled::More(_)));
    }

    /// Promise 6: neither a source of single bytes nor one that is always interrupted holds up a turn.
    #[test]
    fn a_piece_asks_its_source_a_bounded_number_of_times() {
        let (n, pulled) = pull((0..1000).map(|_| Ok(1)).collect(), 1000);
        assert!(n == READS && matches!(pulled, Pulled::More(_)));
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let (n, pulled) = pull(vec![Ok(3), interrupted(), Ok(4)], 100);
        assert!(n == 3 && matches!(pulled, Pulled::More(_)));
    }

    /// Promise 7: what was read before an error counts, and an error that says nothing is put in words.
    #[test]
    fn an_error_comes_behind_what_was_read_before_it() {
        let (n, pulled) = pull(vec![Ok(3), Err(io::Error::other("bad sector"))], 100);
        assert!(n == 3 && matches!(pulled, Pulled::Failed(e) if e.to_string() == "bad sector"));
        let (n, pulled) = pull(vec![Ok(3), Err(io::ErrorKind::WouldBlock.into())], 100);
        let Pulled::Failed(error) = pulled else { panic!("it is no source") };
        assert!(n == 3 && error.kind() == io::ErrorKind::WouldBlock);
        assert!(error.to_string().contains("nothing tells when to ask again"));
        let (n, pulled) = pull(vec![Ok(3), Ok(98)], 100);
        assert!(
            n == 3 && matches!(pulled, Pulled::Failed(_)),
            "it claims more than there was room"
        );
    }

    #[test]
    fn chunks_are_read_in_order_however_they_are_cut() {
        let words = || ["", "one", "", "two three", ""].into_iter();
        for room in 1..15 {
            let (mut reader, mut buf, mut got) = (chunks(words()), vec![0; room], Vec::new());
            loop {
                let n = reader.read(&mut buf).unwrap();
                got.extend_from_slice(&buf[..n]);
                if n == 0 {
                    break;
                }
            }
            assert_eq!(got, b"onetwo three");
        }
    }

    #[test]
    fn a_panic_in_a_drop_goes_no_further() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Drop for Bad {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("as planned"));
            }
        }
        drop(Source::new(Bad));
    }
}
