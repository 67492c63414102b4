//! The body of a request, where it is chunked (RFC 9112, section 7.1).
//!
//! Nothing is copied before it is whole: the chunks stay in the connection's input, which the reactor bounds and counts, and
//! how far they were looked through is remembered, so that tiny chunks cost linear time. Read next: `server.rs`.

use http::StatusCode;

use crate::head::{Refusal, has_bare_break};

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

const fn bad(why: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, why }
}

impl Chunks {
    /// Looks on. `Ok(Some(n))`: the body is whole, and takes the first `n` bytes; `Ok(None)`: it is not yet. At most
    /// `most` bytes without the framing.
    pub(crate) fn look(&mut self, bytes: &[u8], most: usize) -> Result<Option<usize>, Refusal> {
        while !self.in_trailers {
            let rest = &bytes[self.at.min(bytes.len())..];
            let Some(end) = line_end(rest, LINE_MAX, "a chunk's first line is too long")? else {
                return Ok(None);
            };
            let size = size(&rest[..end])?;
            if size > most.saturating_sub(self.len) {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Err(Refusal { status, why: "the body is too large" });
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
                _ => return Err(bad("a chunk is longer than it says")),
            }
            self.at = begin + size + 2;
            self.len += size;
        }
        let rest = &bytes[self.at.min(bytes.len())..];
        let mut at = 0;
        loop {
            let Some(end) = line_end(&rest[at..], TRAILERS_MAX, "the trailers are too long")?
            else {
                return Ok(None);
            };
            at += end + 2;
            if end == 0 {
                return Ok(Some(self.at + at));
            }
            if at > TRAILERS_MAX {
                return Err(bad("the trailers are too long"));
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

/// Where a line ends, which is not longer than `most`.
fn line_end(bytes: &[u8], most: usize, why: &'static str) -> Result<Option<usize>, Refusal> {
    let end = bytes.iter().take(most + 2).position(|byte| *byte == b'\n');
    match end {
        Some(end) if has_bare_break(&bytes[..=end]) => Err(bad("a line break that is not CR LF")),
        Some(end) => Ok(Some(end - 1)),
        None if bytes.len() > most => Err(bad(why)),
        None => Ok(None),
    }
}

/// The size of a chunk: hexadecimal digits, and extensions that nobody here knows.
fn size(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // Spaces before the semicolon are bad form that is read (RFC 9112, section 7.1.1); before the digits none are.
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
                return Ok(Some((Chunks::join(&body[..whole], chunks.len), whole)));
            }
        }
        Ok(None)
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
        }
        assert_eq!(read(format!("5;{}\r\n", "x".repeat(300)).as_bytes()), Err(400));
        assert_eq!(read(format!("0\r\n{}\r\n", "x".repeat(9000)).as_bytes()), Err(400));
        assert_eq!(read(b"64\r\n"), Ok(None));
        assert_eq!(read(b"65\r\n"), Err(413));
        assert_eq!(read(b"ffffffffffffffff\r\n"), Err(413));
    }
}
