//! Frames that begin with their length: in 1 to 8 bytes, or as a varint.
//!
//! A length is 64 bits wide here until it has been compared with the maximum, so that it means the
//! same on a machine whose `usize` is smaller, and no sum of it overflows. Read next: `tests.rs`,
//! which sends every decoder what a hostile peer would.

use std::io;

use super::{FrameError, MAX, check_max, payload, refused};
use crate::conn::input::Input;

/// Most bytes of a varint of 64 bits: nine times 7 bits, and 1.
const VARINT_MAX: usize = 10;

/// Frames that begin with their length in 1 to 8 bytes.
///
/// The length is an unsigned number, its most significant byte first, and counts what follows it;
/// [`little_endian`](Self::little_endian) and [`includes_header`](Self::includes_header) change
/// that.
///
/// # Examples
///
/// ```
/// # use std::io;
/// use wouldblock::frame::LengthPrefixed;
/// # use wouldblock::{Conn, Input};
///
/// const FRAMES: LengthPrefixed =
///     LengthPrefixed::new(4).little_endian().includes_header().max(256 << 10);
///
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(message) = FRAMES.next(input)? {
///         FRAMES.encode(message, conn)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthPrefixed {
    /// Bytes of the length: 1 to 8.
    header: usize,
    order: Order,
    /// Whether the length counts its own bytes.
    includes_header: bool,
    /// Most bytes of a payload.
    max: usize,
}

/// Which byte of a length comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl LengthPrefixed {
    /// Frames of at most 64 KiB that begin with a length of `bytes` bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is not 1 to 8. In a `const` it does not compile.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::LengthPrefixed;
    /// let mut out = Vec::new();
    /// LengthPrefixed::new(2).encode(b"abc", &mut out)?;
    /// assert_eq!(out, b"\x00\x03abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        assert!(1 <= bytes && bytes <= 8, "a length has 1 to 8 bytes");
        LengthPrefixed { header: bytes, order: Order::Big, includes_header: false, max: MAX }
    }

    /// The length has its least significant byte first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::LengthPrefixed;
    /// let mut out = Vec::new();
    /// LengthPrefixed::new(2).little_endian().encode(b"abc", &mut out)?;
    /// assert_eq!(out, b"\x03\x00abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub const fn little_endian(mut self) -> Self {
        self.order = Order::Little;
        self
    }

    /// The length counts its own bytes too: that of an empty payload is the length's size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::LengthPrefixed;
    /// let mut out = Vec::new();
    /// LengthPrefixed::new(2).includes_header().encode(b"abc", &mut out)?;
    /// assert_eq!(out, b"\x00\x05abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub const fn includes_header(mut self) -> Self {
        self.includes_header = true;
        self
    }

    /// Sets the most bytes a payload may have, its length not counted. See
    /// [limits](super#limits).
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::LengthPrefixed;
    /// let short = LengthPrefixed::new(4).max(3);
    /// assert!(short.encode(b"four", &mut Vec::new()).is_err());
    /// ```
    #[must_use]
    pub const fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Consumes one frame, and answers its payload; `None` if it is not complete: then the next
    /// call comes when its length is there, or all of it. `None` as well while the connection
    /// [rests](Input::is_resting).
    ///
    /// # Errors
    ///
    /// [`TooLong`](FrameError::TooLong) if the payload is to be longer than the maximum, and
    /// [`TooShort`](FrameError::TooShort) if the length does not even count itself and should: both
    /// as soon as the length is there. Nothing is consumed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Input;
    /// # use wouldblock::frame::{FrameError, LengthPrefixed};
    /// fn count(input: &mut Input<'_>) -> Result<usize, FrameError> {
    ///     let mut frames = 0;
    ///     while LengthPrefixed::new(4).next(input)?.is_some() {
    ///         frames += 1;
    ///     }
    ///     Ok(frames)
    /// }
    /// ```
    pub fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        if input.refuses() {
            return Ok(None);
        }
        let Some(header) = input.bytes().get(..self.header) else {
            return Ok(payload(input, self.header, 0)); // waits
        };
        let told = self.read(header);
        let len = if self.includes_header {
            let header = self.header;
            told.checked_sub(header as u64).ok_or(FrameError::TooShort { len: told, header })?
        } else {
            told
        };
        Ok(payload(input, self.header, within(len, self.max)?))
    }

    /// Writes the length of `payload`, and `payload`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with nothing written, if it is longer than
    /// the maximum, or than so few bytes of length can tell; else as `out` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::LengthPrefixed;
    /// let mut out = Vec::new();
    /// LengthPrefixed::new(1).encode(&[7; 255], &mut out)?;
    /// assert!(LengthPrefixed::new(1).encode(&[7; 256], &mut out).is_err());
    /// assert_eq!(out.len(), 256);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn encode(&self, payload: &[u8], out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        check_max(payload, self.max)?;
        let counted = if self.includes_header { self.header } else { 0 };
        let told = (payload.len() + counted) as u64;
        let most = u64::MAX >> (64 - 8 * self.header);
        if told > most {
            let header = self.header;
            return Err(refused(format!("a length of {told}; {header} bytes tell up to {most}")));
        }
        match self.order {
            Order::Big => out.write_all(&told.to_be_bytes()[8 - self.header..])?,
            Order::Little => out.write_all(&told.to_le_bytes()[..self.header])?,
        }
        out.write_all(payload)
    }

    fn read(&self, header: &[u8]) -> u64 {
        let mut wide = [0; 8];
        match self.order {
            Order::Big => {
                wide[8 - header.len()..].copy_from_slice(header);
                u64::from_be_bytes(wide)
            }
            Order::Little => {
                wide[..header.len()].copy_from_slice(header);
                u64::from_le_bytes(wide)
            }
        }
    }
}

/// Frames that begin with their length as a varint: 7 bits a byte, the least significant first, the
/// high bit set on all but the last (LEB128).
///
/// That is how protobuf's libraries write a stream of messages ("delimited"). Overlong lengths
/// (`80 00` for 0) are refused, though a protobuf parser would take them: what a length says has
/// one spelling.
///
/// # Examples
///
/// ```
/// # use std::io;
/// use wouldblock::frame::Varint;
/// # use wouldblock::{Conn, Input};
///
/// const MESSAGES: Varint = Varint::new().max(256 << 10);
///
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(message) = MESSAGES.next(input)? {
///         MESSAGES.encode(message, conn)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Varint {
    /// Most bytes of a payload.
    max: usize,
}

impl Varint {
    /// Frames of at most 64 KiB that begin with a varint.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Varint;
    /// let mut out = Vec::new();
    /// Varint::new().encode(&[7; 300], &mut out)?;
    /// assert_eq!(out[..3], [0b1010_1100, 0b0000_0010, 7]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Varint { max: MAX }
    }

    /// Sets the most bytes a payload may have, its length not counted. See
    /// [limits](super#limits).
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Varint;
    /// assert!(Varint::new().max(3).encode(b"four", &mut Vec::new()).is_err());
    /// ```
    #[must_use]
    pub const fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Consumes one frame, and answers its payload; `None` if it is not complete: then the next
    /// call comes when it is, or with the next byte of its length. `None` as well while the connection
    /// [rests](Input::is_resting).
    ///
    /// # Errors
    ///
    /// As soon as the length is there, or cannot be one any more:
    /// [`TooLong`](FrameError::TooLong), [`VarintTooLarge`](FrameError::VarintTooLarge),
    /// [`VarintOverlong`](FrameError::VarintOverlong). Nothing is consumed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Input;
    /// # use wouldblock::frame::{FrameError, Varint};
    /// fn count(input: &mut Input<'_>) -> Result<usize, FrameError> {
    ///     let mut frames = 0;
    ///     while Varint::new().next(input)?.is_some() {
    ///         frames += 1;
    ///     }
    ///     Ok(frames)
    /// }
    /// ```
    pub fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        if input.refuses() {
            return Ok(None);
        }
        match read_varint(input.bytes())? {
            Some((len, header)) => Ok(payload(input, header, within(len, self.max)?)),
            None => Ok(payload(input, input.len(), 1)), // waits for one byte more
        }
    }

    /// Writes the length of `payload`, and `payload`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with nothing written, if it is longer than
    /// the maximum; else as `out` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Varint;
    /// let mut out = Vec::new();
    /// Varint::new().encode(b"abc", &mut out)?;
    /// assert_eq!(out, b"\x03abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn encode(&self, payload: &[u8], out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        check_max(payload, self.max)?;
        let mut header = [0; VARINT_MAX];
        let mut used = 0;
        let mut rest = payload.len() as u64;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                header[used] = low;
                break;
            }
            header[used] = low | 0x80;
            used += 1;
        }
        out.write_all(&header[..=used])?;
        out.write_all(payload)
    }
}

impl Default for Varint {
    fn default() -> Self {
        Varint::new()
    }
}

/// The varint that `bytes` begin with, and how many it takes; `None` if they end within it.
fn read_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(VARINT_MAX) {
        // Of the tenth only one bit is left, and no eleventh follows.
        if i == VARINT_MAX - 1 && *byte > 1 {
            return Err(FrameError::VarintTooLarge);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let header = i + 1;
            if *byte == 0 && i > 0 {
                return Err(FrameError::VarintOverlong { len: value, header });
            }
            return Ok(Some((value, header)));
        }
    }
    Ok(None)
}

/// The length as a `usize`, if the maximum allows it.
fn within(len: u64, max: usize) -> Result<usize, FrameError> {
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        Ok(_) | Err(_) => Err(FrameError::TooLong { len, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::input::{AWAKE, Wait};

    fn input(window: &[u8]) -> Input<'_> {
        Input::new(window, 0, Wait::Nothing, &AWAKE)
    }

    /// A stream of that length and no payload.
    fn told(frames: LengthPrefixed, length: u64) -> Vec<u8> {
        match frames.order {
            Order::Big => length.to_be_bytes()[8 - frames.header..].to_vec(),
            Order::Little => length.to_le_bytes()[..frames.header].to_vec(),
        }
    }

    #[test]
    fn a_length_is_waited_for_and_then_its_payload() {
        let frames = LengthPrefixed::new(4);
        let mut three = input(b"\0\0\0");
        assert_eq!(frames.next(&mut three), Ok(None));
        assert_eq!(three.finish(), (0, Wait::Bytes(4)));
        let mut four = input(b"\0\0\0\x05");
        assert_eq!(frames.next(&mut four), Ok(None));
        assert_eq!(four.finish(), (0, Wait::Bytes(9)));
        let mut two = input(b"\0\0\0\x05hello\0\0\0\0\0");
        assert_eq!(frames.next(&mut two), Ok(Some(&b"hello"[..])));
        assert_eq!(frames.next(&mut two), Ok(Some(&b""[..])));
        assert_eq!(frames.next(&mut two), Ok(None));
        assert_eq!(two.finish(), (13, Wait::Bytes(4)));
    }

    #[test]
    fn between_two_frames_nothing_is_waited_for_by_number() {
        let mut after = input(b"\x01a");
        assert_eq!(LengthPrefixed::new(1).next(&mut after), Ok(Some(&b"a"[..])));
        assert_eq!(LengthPrefixed::new(1).next(&mut after), Ok(None));
        assert_eq!(Varint::new().next(&mut after), Ok(None));
        assert_eq!(after.finish(), (2, Wait::Nothing));
    }

    /// Trap 70: a length is not believed, and is told before a byte of it is waited for.
    #[test]
    fn a_length_above_the_maximum_is_an_error_as_soon_as_it_is_read() {
        for bytes in 1..=8 {
            let big = LengthPrefixed::new(bytes).max(10);
            for frames in [big, big.little_endian()] {
                assert_eq!(frames.next(&mut input(&told(frames, 10))), Ok(None));
                for len in [11, 255, u64::MAX >> (64 - 8 * bytes)] {
                    let error = Err(FrameError::TooLong { len, max: 10 });
                    assert_eq!(frames.next(&mut input(&told(frames, len))), error);
                }
            }
        }
    }

    /// Trap 70: lengths at the edge of what a number holds neither overflow nor come true.
    #[test]
    fn a_length_near_the_end_of_all_numbers_waits_for_what_cannot_come() {
        for length in [u64::MAX, u64::MAX - 1, u64::MAX - 8, 1 << 63, 1 << 32, u64::from(u32::MAX)]
        {
            for frames in [LengthPrefixed::new(8), LengthPrefixed::new(8).includes_header()] {
                let stream = [&told(frames, length)[..], b"payload"].concat();
                let mut limited = input(&stream);
                assert!(matches!(frames.next(&mut limited), Err(FrameError::TooLong { .. })));
                assert_eq!(limited.finish(), (0, Wait::Nothing));
                let mut unlimited = input(&stream);
                let answer = frames.max(usize::MAX).next(&mut unlimited);
                match usize::try_from(length) {
                    Ok(_) => {
                        assert_eq!(answer, Ok(None));
                        let (consumed, wait) = unlimited.finish();
                        assert!(consumed == 0 && matches!(wait, Wait::Bytes(n) if n > 1 << 30));
                    }
                    Err(_) => assert!(matches!(answer, Err(FrameError::TooLong { .. }))),
                }
            }
        }
    }

    /// Trap 70: a length that is to count itself cannot be less than that.
    #[test]
    fn a_length_smaller_than_its_own_bytes_is_an_error() {
        for header in 1..=8 {
            let frames = LengthPrefixed::new(header).includes_header();
            for len in 0..header as u64 {
                let error = Err(FrameError::TooShort { len, header });
                assert_eq!(frames.next(&mut input(&told(frames, len))), error);
            }
            let empty = told(frames, header as u64);
            assert_eq!(frames.next(&mut input(&empty)), Ok(Some(&b""[..])));
        }
    }

    #[test]
    fn a_maximum_counts_the_payload_whether_the_length_counts_itself_or_not() {
        let frames = LengthPrefixed::new(2).includes_header().max(3);
        assert_eq!(frames.next(&mut input(b"\0\x05abc")), Ok(Some(&b"abc"[..])));
        let error = Err(FrameError::TooLong { len: 4, max: 3 });
        assert_eq!(frames.next(&mut input(b"\0\x06abcd")), error);
    }

    #[test]
    fn a_payload_that_its_length_cannot_tell_is_refused() {
        for (frames, most) in [
            (LengthPrefixed::new(1), 255),
            (LengthPrefixed::new(1).includes_header(), 254),
            (LengthPrefixed::new(2).max(usize::MAX), 65_535),
            (LengthPrefixed::new(2).max(100), 100),
            (LengthPrefixed::new(8).max(100), 100),
        ] {
            let mut out = Vec::new();
            frames.encode(&vec![7; most], &mut out).unwrap();
            let (written, error) = (out.len(), frames.encode(&vec![7; most + 1], &mut out));
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(out.len(), written);
        }
    }

    #[test]
    fn varints_are_those_of_the_protobuf_documentation() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (1, &[0x01]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (150, &[0x96, 0x01]),
            (300, &[0xac, 0x02]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(read_varint(bytes), Ok(Some((value, bytes.len()))));
            for end in 0..bytes.len() {
                assert_eq!(read_varint(&bytes[..end]), Ok(None));
            }
        }
    }

    /// Trap 70: no varint is waited for beyond ten bytes, and none has two spellings.
    #[test]
    fn a_varint_that_is_too_large_or_overlong_is_an_error() {
        let mut bytes = [0xff; 11];
        for tenth in 2..=255 {
            bytes[9] = tenth;
            assert_eq!(read_varint(&bytes[..10]), Err(FrameError::VarintTooLarge));
            assert_eq!(read_varint(&bytes), Err(FrameError::VarintTooLarge));
        }
        for (bytes, len) in [
            (&b"\x80\x00"[..], 0),
            (b"\x83\x80\x00", 3),
            (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0),
        ] {
            let error = FrameError::VarintOverlong { len, header: bytes.len() };
            assert_eq!(read_varint(bytes), Err(error));
        }
        let mut part = input(b"\x80\x80");
        assert_eq!(Varint::new().next(&mut part), Ok(None));
        assert_eq!(part.finish(), (0, Wait::Bytes(3)));
    }

    #[test]
    fn a_varint_above_the_maximum_is_an_error() {
        let frames = Varint::new().max(200);
        assert_eq!(frames.next(&mut input(b"\xc8\x01")), Ok(None));
        let error = Err(FrameError::TooLong { len: 201, max: 200 });
        assert_eq!(frames.next(&mut input(b"\xc9\x01")), error);
        let most = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        let error = Err(FrameError::TooLong { len: u64::MAX, max: 200 });
        assert_eq!(frames.next(&mut input(most)), error);
    }

    #[test]
    #[should_panic(expected = "a length has 1 to 8 bytes")]
    fn a_length_of_no_bytes_is_refused() {
        let _ = LengthPrefixed::new(0);
    }

    #[test]
    #[should_panic(expected = "a length has 1 to 8 bytes")]
    fn a_length_of_nine_bytes_is_refused() {
        let _ = LengthPrefixed::new(9);
    }
}
