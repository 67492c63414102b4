//! Frames that end with a delimiter.
//!
//! The search itself is `memchr`'s, linear whatever the delimiter. What is done here is to begin it
//! where the last call's ended, and to know when a delimiter can no longer come in time. A
//! delimiter inside a payload has no escape here; the encoder refuses it. [`Lines`] takes two
//! spellings of one. Read next: `length.rs`.

use std::io;

use memchr::{memchr, memmem};

use super::{FrameError, MAX, check_max, refused};
use crate::conn::input::Input;

/// Frames that end with a delimiter: `\n`, `\r\n`, or any bytes.
///
/// The first delimiter ends a frame, which may be empty; it is not part of what is answered.
///
/// # Examples
///
/// ```
/// # use std::io;
/// use wouldblock::frame::Delimited;
/// # use wouldblock::{Conn, Input};
///
/// const COMMANDS: Delimited<'_> = Delimited::new(b"\r\n").max(8192);
///
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(command) = COMMANDS.next(input)? {
///         match command {
///             b"PING" => COMMANDS.encode(b"PONG", conn)?,
///             _ => COMMANDS.encode(b"ERROR", conn)?,
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// Lines from peers that may send `\n` or `\r\n` are [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimited<'d> {
    /// Not empty.
    delimiter: &'d [u8],
    /// What the connection remembers the delimiter by.
    name: u64,
    /// Most bytes before the delimiter.
    max: usize,
}

impl<'d> Delimited<'d> {
    /// Frames of at most 64 KiB that end with `delimiter`.
    ///
    /// # Panics
    ///
    /// If `delimiter` is empty: it would be everywhere. In a `const` it does not compile.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::frame::Delimited;
    ///
    /// const RECORDS: Delimited<'_> = Delimited::new(b"\0");
    /// ```
    #[must_use]
    pub const fn new(delimiter: &'d [u8]) -> Self {
        assert!(!delimiter.is_empty(), "an empty delimiter is everywhere");
        Delimited { delimiter, name: name(delimiter), max: MAX }
    }

    /// Sets the most bytes a frame may have, its delimiter not counted. See
    /// [limits](super#limits).
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Delimited;
    /// let short = Delimited::new(b";").max(3);
    /// assert!(short.encode(b"four", &mut Vec::new()).is_err());
    /// ```
    #[must_use]
    pub const fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Consumes one frame with its delimiter, and answers it without; `None` if it is not complete:
    /// then the next call comes with new bytes. `None` as well while the connection
    /// [rests](Input::is_resting).
    ///
    /// # Errors
    ///
    /// [`NoDelimiter`](FrameError::NoDelimiter) as soon as a frame is certain to be longer than the
    /// maximum. Nothing is consumed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Input;
    /// # use wouldblock::frame::{Delimited, FrameError};
    /// fn count(input: &mut Input<'_>) -> Result<usize, FrameError> {
    ///     let mut frames = 0;
    ///     while Delimited::new(b"\r\n").next(input)?.is_some() {
    ///         frames += 1;
    ///     }
    ///     Ok(frames)
    /// }
    /// ```
    pub fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        if input.refuses() {
            return Ok(None);
        }
        let bytes = input.bytes();
        // A delimiter that ends later than this ends a frame that is too long.
        let last = self.max.saturating_add(self.delimiter.len()).min(bytes.len());
        // The last bytes that were searched may be the first of a delimiter.
        let from = input.searched(self.name).saturating_sub(self.delimiter.len() - 1).min(last);
        if let Some(found) = self.find(&bytes[from..last]) {
            let len = from + found;
            input.consume(len + self.delimiter.len());
            return Ok(Some(&bytes[..len]));
        }
        if !self.may_come(bytes) {
            return Err(FrameError::NoDelimiter { max: self.max });
        }
        input.wait_for_delimiter(self.name);
        Ok(None)
    }

    /// Writes `payload` and the delimiter.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with nothing written, if it is longer than
    /// the maximum, or if its reader would find a delimiter before its end; else as `out` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Delimited;
    /// let lines = Delimited::new(b"\r\n");
    /// let mut out = Vec::new();
    /// lines.encode(b"one", &mut out)?;
    /// lines.encode(b"", &mut out)?;
    /// assert!(lines.encode(b"two\r\nQUIT", &mut out).is_err()); // that would be two
    /// assert_eq!(out, b"one\r\n\r\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn encode(&self, payload: &[u8], out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        check_max(payload, self.max)?;
        if self.ends_early(payload) {
            let delimiter = self.delimiter.escape_ascii();
            return Err(refused(format!("a payload that its delimiter {delimiter} ends early")));
        }
        out.write_all(payload)?;
        out.write_all(self.delimiter)
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self.delimiter {
            [byte] => memchr(*byte, bytes),
            delimiter => memmem::find(bytes, delimiter),
        }
    }

    /// Whether a delimiter may still come in time, behind these bytes that hold none.
    fn may_come(&self, bytes: &[u8]) -> bool {
        if bytes.len() <= self.max {
            return true;
        }
        // Only if it has begun already.
        let first = bytes.len().saturating_sub(self.delimiter.len() - 1);
        (first..=self.max).any(|place| self.delimiter.starts_with(&bytes[place..]))
    }

    /// Whether a reader of `payload` and the delimiter finds a delimiter before the last.
    fn ends_early(&self, payload: &[u8]) -> bool {
        // One may lie across the end: the payload `xa` and the delimiter `aa` read as `x` and `a`.
        let across = |n| {
            let (begin, end) = self.delimiter.split_at(n);
            payload.ends_with(begin) && self.delimiter.starts_with(end)
        };
        self.find(payload).is_some() || (1..self.delimiter.len()).any(across)
    }
}

/// Lines: frames that end with `\n` or with `\r\n`, whichever the peer sends.
///
/// The end is not part of what is answered; a line may be empty.
///
/// # Examples
///
/// ```
/// # use std::io;
/// use wouldblock::frame::Lines;
/// # use wouldblock::{Conn, Input};
///
/// const LINES: Lines = Lines::new().max(1000);
///
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(line) = LINES.next(input)? {
///         conn.send(if line == b"PING" { "PONG\n" } else { "ERR\n" });
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines(Delimited<'static>);

impl Lines {
    /// Lines of at most 64 KiB.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no decoder of this module has a default")]
    pub const fn new() -> Self {
        Lines(Delimited::new(b"\n"))
    }

    /// Sets the most bytes a line may have before its `\n`: a `\r` there counts. See
    /// [limits](super#limits).
    #[must_use]
    pub const fn max(self, bytes: usize) -> Self {
        Lines(self.0.max(bytes))
    }

    /// Consumes one line with its end, and returns it without; `None` if it is not complete, or while
    /// the connection [rests](Input::is_resting). See [`Delimited::next`].
    ///
    /// # Errors
    ///
    /// [`NoDelimiter`](FrameError::NoDelimiter) as soon as a line is certain to be longer than the
    /// maximum. Nothing is consumed then.
    pub fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        let line = self.0.next(input)?;
        Ok(line.map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Writes `line` and `\n`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with nothing written, if it is longer than the
    /// maximum, has a `\n` in it, or a `\r` at its end, which its reader would take for a part of the
    /// line's end; else as `out` does.
    pub fn encode(&self, line: &[u8], out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        if line.ends_with(b"\r") {
            return Err(refused("a line with a carriage return at its end".into()));
        }
        self.0.encode(line, out)
    }
}

/// A short name for a delimiter: up to 7 bytes, the delimiter itself. Never 0.
///
/// Longer ones are hashed (FNV-1a). Two of the same name could be mistaken for each other only by a
/// program that looks for one and then, in bytes it left, for the other.
const fn name(delimiter: &[u8]) -> u64 {
    let long = delimiter.len() > 7;
    let mut name = if long { 0xcbf2_9ce4_8422_2325 } else { 0 };
    let mut i = 0;
    while i < delimiter.len() {
        let byte = delimiter[i] as u64;
        name = if long { (name ^ byte).wrapping_mul(0x0100_0000_01b3) } else { name << 8 | byte };
        i += 1;
    }
    let tag = if long { 8 } else { delimiter.len() as u64 };
    name & (u64::MAX >> 8) | tag << 56
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::input::{AWAKE, Wait};

    fn next<'a>(frames: Delimited<'_>, input: &mut Input<'a>) -> Option<&'a [u8]> {
        frames.next(input).unwrap()
    }

    fn input(window: &[u8]) -> Input<'_> {
        Input::new(window, 0, Wait::Nothing, &AWAKE)
    }

    #[test]
    fn a_frame_is_what_lies_before_the_first_delimiter_and_may_be_empty() {
        let frames = Delimited::new(b"\r\n");
        let mut input = input(b"one\r\n\r\ntwo\r\r\nthree\nfour\r");
        assert_eq!(next(frames, &mut input), Some(&b"one"[..]));
        assert_eq!(next(frames, &mut input), Some(&b""[..]));
        assert_eq!(next(frames, &mut input), Some(&b"two\r"[..]));
        assert_eq!(next(frames, &mut input), None);
        assert_eq!(input.bytes(), b"three\nfour\r");
        assert_eq!(input.finish(), (13, Wait::Delimiter(frames.name)));
    }

    #[test]
    fn a_line_ends_either_way_and_its_encoder_refuses_what_would_be_read_as_another() {
        let lines = Lines::new().max(4);
        let mut input = input(b"one\r\n\ntwo\nfive\nfour\r\n");
        for line in [&b"one"[..], b"", b"two", b"five"] {
            assert_eq!(lines.next(&mut input), Ok(Some(line)));
        }
        assert_eq!(lines.next(&mut input), Err(FrameError::NoDelimiter { max: 4 }));
        let mut out = Vec::new();
        for line in [&b"a\r"[..], b"a\nb", b"12345"] {
            assert!(lines.encode(line, &mut out).is_err());
        }
        lines.encode(b"a\rb", &mut out).unwrap();
        assert_eq!(out, b"a\rb\n");
    }

    /// Trap 70: what was searched is not searched again, whatever lies there. The work is counted
    /// by a lie: delimiters are put where the last call found none, and are not found.
    #[test]
    fn bytes_that_were_searched_are_not_searched_again() {
        for delimiter in [&b";"[..], b"\r\n", b"aab", b"\r\r\n", b"--boundary--"] {
            let frames = Delimited::new(delimiter);
            for seen in delimiter.len() - 1..200 {
                let searched = seen - (delimiter.len() - 1);
                let lie: Vec<u8> = delimiter.iter().copied().cycle().take(searched).collect();
                let window = [&lie[..], &vec![b'x'; seen + 1 - searched]].concat();
                let mut input = Input::new(&window, seen, Wait::Delimiter(frames.name), &AWAKE);
                assert_eq!(next(frames, &mut input), None, "{delimiter:?} {seen}");
                assert_eq!(input.finish(), (0, Wait::Delimiter(frames.name)));
            }
        }
    }

    #[test]
    fn what_was_searched_for_another_delimiter_is_searched() {
        let (semicolons, commas) = (Delimited::new(b";"), Delimited::new(b","));
        let mut other = Input::new(b"a,b", 3, Wait::Delimiter(semicolons.name), &AWAKE);
        assert_eq!(next(commas, &mut other), Some(&b"a"[..]));
        let mut line = Input::new(b"a,b", 3, Wait::Line, &AWAKE);
        assert_eq!(next(commas, &mut line), Some(&b"a"[..]));
        let mut same = input(b"a,b");
        assert_eq!(next(semicolons, &mut same), None);
        assert_eq!(next(commas, &mut same), Some(&b"a"[..]));
        let mut back = Input::new(b"a\nb", 3, Wait::Delimiter(Delimited::new(b"\n").name), &AWAKE);
        assert_eq!(back.line(), Some(&b"a"[..]));
    }

    #[test]
    fn names_of_delimiters_differ() {
        let all: [&[u8]; 9] = [
            b"\0",
            b"\0\0",
            b"\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\0",
            b"\n",
            b"\0\n",
            b"\r\n",
            b"--one--one",
            b"--one--two",
        ];
        for (i, one) in all.iter().enumerate() {
            assert_ne!(name(one), 0);
            for other in &all[..i] {
                assert_ne!(name(one), name(other), "{one:?} {other:?}");
            }
        }
    }

    /// Trap 70: the maximum counts the frame, and is told at the first byte that settles it.
    #[test]
    fn too_many_bytes_without_a_delimiter_are_an_error_as_soon_as_none_can_come_in_time() {
        let (frames, error) = (Delimited::new(b"\r\n").max(3), FrameError::NoDelimiter { max: 3 });
        assert_eq!(frames.next(&mut input(b"abc")), Ok(None));
        assert_eq!(frames.next(&mut input(b"abc\r")), Ok(None));
        assert_eq!(frames.next(&mut input(b"abc\r\n")), Ok(Some(&b"abc"[..])));
        assert_eq!(frames.next(&mut input(b"abcd")), Err(error));
        assert_eq!(frames.next(&mut input(b"ab\rc")), Err(error));
        assert_eq!(frames.next(&mut input(b"abc\rd")), Err(error));
        assert_eq!(frames.next(&mut input(b"abcd\r\n")), Err(error));
        let overlapping = Delimited::new(b"aab").max(1);
        assert_eq!(overlapping.next(&mut input(b"aaa")), Ok(None));
        assert_eq!(overlapping.next(&mut input(b"aaab")), Ok(Some(&b"a"[..])));
        let error = Err(FrameError::NoDelimiter { max: 1 });
        assert_eq!(overlapping.next(&mut input(b"aaaa")), error);
    }

    #[test]
    fn an_error_consumes_nothing_and_stays() {
        let frames = Delimited::new(b";").max(2);
        let mut input = input(b"a;abc;d;");
        assert_eq!(next(frames, &mut input), Some(&b"a"[..]));
        for _ in 0..2 {
            assert_eq!(frames.next(&mut input), Err(FrameError::NoDelimiter { max: 2 }));
        }
        assert_eq!(input.bytes(), b"abc;d;");
    }

    #[test]
    fn a_smaller_maximum_holds_for_what_was_searched_under_a_larger() {
        let frames = Delimited::new(b";");
        let mut input = Input::new(b"abcdef", 6, Wait::Delimiter(frames.name), &AWAKE);
        assert_eq!(next(frames, &mut input), None);
        assert_eq!(frames.max(2).next(&mut input), Err(FrameError::NoDelimiter { max: 2 }));
        assert_eq!(frames.max(usize::MAX).next(&mut input), Ok(None));
        assert_eq!(frames.max(6).next(&mut input), Ok(None));
    }

    #[test]
    fn a_maximum_of_none_takes_empty_frames_only() {
        let frames = Delimited::new(b"\r\n").max(0);
        assert_eq!(frames.next(&mut input(b"\r\n")), Ok(Some(&b""[..])));
        assert_eq!(frames.next(&mut input(b"\r")), Ok(None));
        assert_eq!(frames.next(&mut input(b"")), Ok(None));
        assert_eq!(frames.next(&mut input(b"a")), Err(FrameError::NoDelimiter { max: 0 }));
    }

    /// Nothing a sender passes on can end its own frame and begin another.
    #[test]
    fn a_payload_that_would_be_read_as_two_is_refused() {
        let payloads: [(&[u8], &[u8]); 6] = [
            (b"\n", b"a\nb"),
            (b"\r\n", b"a\r\nQUIT"),
            (b"aa", b"xa"),
            (b"aba", b"xab"),
            (b"aa", b"aa"),
            (b"\r\n\r\n", b"a\r\n"),
        ];
        for (delimiter, payload) in payloads {
            let mut out = Vec::new();
            let error = Delimited::new(delimiter).encode(payload, &mut out).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(out.is_empty());
        }
        let long = Delimited::new(b";").max(3).encode(b"four", &mut Vec::new()).unwrap_err();
        assert_eq!(long.to_string(), "a payload of 4 bytes; the maximum is 3");
    }

    #[test]
    #[should_panic(expected = "an empty delimiter is everywhere")]
    fn an_empty_delimiter_is_refused() {
        let _ = Delimited::new(b"");
    }
}
