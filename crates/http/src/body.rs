//! The body of a request, where it is chunked (RFC 9112, section 7.1).
//!
//! Nothing is copied before it is whole: the chunks stay in the connection's input, which the
//! reactor bounds and counts, and how far they were looked through is remembered, so that tiny
//! chunks cost linear time. Read next: `server.rs`.

use crate::head::{BARE_BREAK, Framing, Refusal, TOO_LARGE, bad, has_bare_break};

/// The most bytes of a chunk's first line, its extensions included; and of all trailers.
const LINE_MAX: usize = 256;
const TRAILERS_MAX: usize = 8 << 10;

/// How far a chunked body was looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// From the beginning of the body: where the next chunk, or the trailers, begin.
    at: usize,
    /// Bytes of the body without its framing.
    pub(crate) len: usize,
    /// The last chunk has come: trailers follow.
    in_trailers: bool,
}

const LONG_LINE: &str = "a chunk's first line is too long";
const LONG_TRAILERS: &str = "the trailers are too long";
const LONG_CHUNK: Refusal = bad("a chunk is longer than it says");

impl Chunks {
    /// Looks on. `Ok(Some(n))`: the body is whole, and takes the first `n` bytes; `Ok(None)`: it is
    /// not yet. At most `most` bytes without the framing.
    pub(crate) fn look(&mut self, bytes: &[u8], most: usize) -> Result<Option<usize>, Refusal> {
        while !self.in_trailers {
            let rest = &bytes[self.at.min(bytes.len())..];
            let Some(end) = line_end(rest, LINE_MAX, LONG_LINE)? else {
                return Ok(None);
            };
            let size = size(&rest[..end])?;
            if size > most.saturating_sub(self.len) {
                return Err(TOO_LARGE);
            }
            let begin = self.at + end + 2;
            if size == 0 {
                (self.at, self.in_trailers) = (begin, true);
                break;
            }
            let Some(tail) = bytes.get(begin + size..) else { return Ok(None) };
            match tail {
                [b'\r', b'\n', ..] => {}
                [] | [b'\r'] => return Ok(None),
                _ => return Err(LONG_CHUNK),
            }
            self.at = begin + size + 2;
            self.len += size;
        }
        let rest = &bytes[self.at.min(bytes.len())..];
        let mut at = 0;
        loop {
            let Some(end) = line_end(&rest[at..], TRAILERS_MAX, LONG_TRAILERS)? else {
                return Ok(None);
            };
            at += end + 2;
            if end == 0 {
                return Ok(Some(self.at + at));
            }
            if at > TRAILERS_MAX {
                return Err(bad(LONG_TRAILERS));
            }
        }
    }

    /// The body without its framing, of one that is whole.
    pub(crate) fn join(bytes: &[u8], len: usize) -> Vec<u8> {
        let (mut body, mut at) = (Vec::with_capacity(len), 0);
        while body.len() < len {
            let end = bytes[at..].windows(2).position(|two| two == b"\r\n").expect("it is whole");
            let size = size(&bytes[at..at + end]).expect("it was looked through");
            let begin = at + end + 2;
            body.extend_from_slice(&bytes[begin..begin + size]);
            at = begin + size + 2;
        }
        body
    }
}

/// A body that is handed out as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arriving {
    phase: Phase,
    /// How many bytes more it may have, without its framing.
    most: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// So many bytes are to come, and that is all.
    Length(u64),
    /// A chunk's first line.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line break behind them.
    ChunkEnd,
    /// Trailers, of which so many bytes have come.
    Trailers(usize),
}

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    Bytes(&'a [u8]),
    End,
    /// More has to come.
    Nothing,
}

impl Arriving {
    /// Of at most `most` bytes.
    pub(crate) fn new(framing: Framing, most: u64) -> Result<Arriving, Refusal> {
        let phase = match framing {
            Framing::Length(len) if len > most => return Err(TOO_LARGE),
            Framing::Length(len) => Phase::Length(len),
            Framing::Chunked => Phase::Size,
        };
        Ok(Arriving { phase, most })
    }

    /// That was all, without a byte more.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Length(0)
    }

    /// The next piece, and how many bytes of the input it and the framing before it take.
    pub(crate) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Next<'a>, usize), Refusal> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match &mut self.phase {
                Phase::Length(0) => return Ok((Next::End, at)),
                Phase::Length(_) | Phase::Chunk(_) if rest.is_empty() => break,
                Phase::Length(left) => {
                    let piece = prefix(rest, *left);
                    *left -= piece.len() as u64;
                    return Ok((Next::Bytes(piece), at + piece.len()));
                }
                Phase::Chunk(left) => {
                    let piece = prefix(rest, *left);
                    *left -= piece.len() as u64;
                    if *left == 0 {
                        self.phase = Phase::ChunkEnd;
                    }
                    return Ok((Next::Bytes(piece), at + piece.len()));
                }
                Phase::Size => {
                    let Some(end) = line_end(rest, LINE_MAX, LONG_LINE)? else { break };
                    let size = size(&rest[..end])? as u64;
                    self.most = self.most.checked_sub(size).ok_or(TOO_LARGE)?;
                    self.phase = if size == 0 { Phase::Trailers(0) } else { Phase::Chunk(size) };
                    at += end + 2;
                }
                Phase::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.phase = Phase::Size;
                        at += 2;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(LONG_CHUNK),
                },
                Phase::Trailers(sum) => {
                    let Some(end) = line_end(rest, TRAILERS_MAX, LONG_TRAILERS)? else { break };
                    at += end + 2;
                    if end == 0 {
                        return Ok((Next::End, at));
                    }
                    *sum += end + 2;
                    if *sum > TRAILERS_MAX {
                        return Err(bad(LONG_TRAILERS));
                    }
                }
            }
        }
        Ok((Next::Nothing, at))
    }
}

/// The first bytes, at most so many.
fn prefix(bytes: &[u8], most: u64) -> &[u8] {
    &bytes[..usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len())]
}

/// Where a line ends, which is not longer than `most`.
fn line_end(bytes: &[u8], most: usize, why: &'static str) -> Result<Option<usize>, Refusal> {
    let end = bytes.iter().take(most + 2).position(|byte| *byte == b'\n');
    match end {
        Some(end) if has_bare_break(&bytes[..=end]) => Err(BARE_BREAK),
        Some(end) => Ok(Some(end - 1)),
        // One more, which may be the first half of its break: a line is as long wherever it is cut.
        None if bytes.len() > most + 1 => Err(bad(why)),
        None => Ok(None),
    }
}

/// The size of a chunk: hexadecimal digits. Extensions behind them are ignored.
fn size(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // Spaces before the semicolon are bad form that is read (RFC 9112, section 7.1.1); before the
    // digits none are.
    let digits = if digits.len() < line.len() { digits.trim_ascii_end() } else { digits };
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = str::from_utf8(digits).ok().filter(|_| is_number);
    let size = text.and_then(|text| usize::from_str_radix(text, 16).ok());
    size.ok_or(bad("the size of a chunk is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a body that comes a byte at a time.
    fn read(body: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let mut chunks = Chunks::default();
        for n in 0..=body.len() {
            let looked = chunks.look(&body[..n], 100).map_err(|refusal| refusal.status.as_u16())?;
            if let Some(whole) = looked {
                assert_eq!(Chunks::default().look(body, 100).unwrap(), Some(whole), "at once");
                let joined = Chunks::join(&body[..whole], chunks.len);
                assert_eq!(arrive(body, 100), Ok(Some((joined.clone(), whole))), "in pieces");
                return Ok(Some((joined, whole)));
            }
        }
        Ok(None)
    }

    /// The same in pieces, however the input is cut.
    fn arrive(body: &[u8], most: u64) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let mut outcomes = (1..=body.len().max(1)).map(|step| {
            let mut arriving = Arriving::new(Framing::Chunked, most).unwrap();
            let (mut got, mut at, mut end) = (Vec::new(), 0, 0);
            loop {
                let next = arriving.next(&body[at..end]);
                let (next, n) = next.map_err(|refusal| refusal.status.as_u16())?;
                at += n;
                match next {
                    Next::Bytes(bytes) => got.extend_from_slice(bytes),
                    Next::End => return Ok(Some((got, at))),
                    Next::Nothing if end == body.len() => return Ok(None),
                    Next::Nothing => end = (end + step).min(body.len()),
                }
            }
        });
        let first = outcomes.next().unwrap();
        assert!(outcomes.all(|outcome| outcome == first), "{body:?}");
        first
    }

    /// Promise 2: chunks are joined however they are cut, and what is no chunk is refused.
    #[test]
    fn chunks_are_joined_and_what_is_none_is_refused() {
        let whole = |body: &[u8], rest: usize| {
            let (read, n) = read(body).unwrap().unwrap();
            assert_eq!(n, body.len() - rest, "{:?}", String::from_utf8_lossy(body));
            read
        };
        assert_eq!(whole(b"0\r\n\r\n", 0), b"");
        assert_eq!(whole(b"5\r\nhello\r\n06;a=b\r\n world\r\n0\r\n\r\nGET", 3), b"hello world");
        assert_eq!(whole(b"5 ;x\r\nhello\r\n000\r\nTrailer: x\r\nOther: y\r\n\r\n", 0), b"hello");
        for none in ["", "5", "5\r\nhell", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "0\r\nA: b\r\n"]
        {
            assert_eq!(read(none.as_bytes()), Ok(None), "{none:?}");
            assert_eq!(arrive(none.as_bytes(), 100), Ok(None), "{none:?}");
        }
        for bad in [
            "\r\n",
            "x\r\n",
            "-5\r\n",
            "+5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n",
            "10000000000000000\r\n",
            "0\r\nA: b\n\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(400), "{bad:?}");
            assert_eq!(arrive(bad.as_bytes(), 100), Err(400), "{bad:?}");
        }
        assert_eq!(read(format!("5;{}\r\n", "x".repeat(300)).as_bytes()), Err(400));
        assert_eq!(read(format!("0\r\n{}\r\n", "x".repeat(9000)).as_bytes()), Err(400));
        assert_eq!(arrive(format!("5;{}\r\n", "x".repeat(300)).as_bytes(), 9), Err(400));
        assert_eq!(arrive(b"a\r\n0123456789\r\n1\r\n", 10), Err(413));
        assert_eq!(Arriving::new(Framing::Length(11), 10).unwrap_err().status.as_u16(), 413);
        let mut arriving = Arriving::new(Framing::Length(3), 10).unwrap();
        assert_eq!(arriving.next(b"ab").unwrap(), (Next::Bytes(b"ab"), 2));
        assert_eq!(arriving.next(b"").unwrap(), (Next::Nothing, 0));
        assert_eq!(arriving.next(b"cd").unwrap(), (Next::Bytes(b"c"), 1));
        assert_eq!(arriving.next(b"d").unwrap(), (Next::End, 0));
        assert_eq!(read(b"64\r\n"), Ok(None));
        assert_eq!(read(b"65\r\n"), Err(413));
        assert_eq!(read(b"ffffffffffffffff\r\n"), Err(413));
    }

    /// Promise 2: extensions are read over, quoted ones too, and what they may be does not depend
    /// on where they are cut.
    #[test]
    fn extensions_are_read_over_wherever_they_are_cut() {
        let refused = |refusal: Refusal| refusal.status.as_u16();
        let long = |n| {
            let extension = "x".repeat(n - 2);
            format!("5;{extension}\r\nhello\r\n0;{extension}\r\n\r\n")
        };
        for (body, outcome) in [
            ("5;a;b=c;d=\"e;f \\\"5\"\r\nhello\r\n0;g=\"\"\r\n\r\n".to_owned(), Ok(())),
            (long(LINE_MAX), Ok(())),
            (long(LINE_MAX + 1), Err(400)),
            ("5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned(), Err(400)),
            ("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n".to_owned(), Err(400)),
        ] {
            let bytes = body.as_bytes();
            for cut in 0..bytes.len() {
                let mut chunks = Chunks::default();
                let whole = chunks.look(&bytes[..cut], 100).and_then(|_| chunks.look(bytes, 100));
                let whole = whole.map_err(refused);
                assert_eq!(whole, outcome.map(|()| Some(bytes.len())), "{body:?} at {cut}");
            }
            let read = outcome.map(|()| Some((b"hello".to_vec(), bytes.len())));
            assert_eq!(arrive(bytes, 100), read, "{body:?}");
        }
    }
}
