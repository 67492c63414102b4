//! Ranges of bytes (RFC 9110, section 14): which are asked for, and a reader that brings them.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use http::HeaderValue;

/// The most ranges of one answer: more are a sign of a broken client or an attack (section 17.15),
/// and get the whole file.
const RANGES_MAX: usize = 16;

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// All of it: no range, or what is none.
    Whole,
    One(Range<u64>),
    Several(Vec<Range<u64>>),
    /// Ranges, of which the file has nothing.
    None,
}

/// What a `Range` asks of a file of `len` bytes.
pub(super) fn parse(value: &[u8], len: u64) -> Ranges {
    let text = str::from_utf8(value).ok().and_then(|text| text.split_once('='));
    let Some((unit, list)) = text else { return Ranges::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    let (mut ranges, mut asked) = (Vec::new(), 0);
    for spec in list.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        if spec.is_empty() {
            continue;
        }
        asked += 1;
        let Some(range) = parse_one(spec, len) else { return Ranges::Whole };
        if asked > RANGES_MAX {
            return Ranges::Whole;
        }
        if range.start < range.end {
            ranges.push(range);
        }
    }
    let sum = ranges.iter().try_fold(0_u64, |sum, it| sum.checked_add(it.end - it.start));
    match ranges.len() {
        _ if asked == 0 => Ranges::Whole,
        0 => Ranges::None,
        1 => Ranges::One(ranges.remove(0)),
        // They overlap: all of it is less.
        _ if sum.is_none_or(|sum| sum > len) => Ranges::Whole,
        _ => Ranges::Several(ranges),
    }
}

/// One range, empty if the file has nothing of it; `None`: it is none.
fn parse_one(spec: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Too large for us is as good as the largest.
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let suffix: u64 = number(last)?;
        return Some(len.saturating_sub(suffix)..len);
    }
    let first: u64 = number(first)?;
    let end = if last.is_empty() {
        len
    } else {
        let last = number(last)?;
        if last < first {
            return None;
        }
        last.saturating_add(1).min(len)
    };
    Some(first..end.max(first))
}

/// A reader of pieces of a file, and what stands between them.
pub(super) struct Pieces {
    file: File,
    pieces: VecDeque<Piece>,
}

enum Piece {
    Text(Vec<u8>),
    File(Range<u64>),
}

impl Pieces {
    pub(super) fn one(file: File, range: Range<u64>) -> Pieces {
        Pieces { file, pieces: VecDeque::from([Piece::File(range)]) }
    }

    /// The parts of a `multipart/byteranges`, whose type it returns, with the length of all.
    pub(super) fn several(
        file: File,
        ranges: Vec<Range<u64>>,
        len: u64,
        content_type: &HeaderValue,
    ) -> (HeaderValue, u64, Pieces) {
        // What no file can be made to contain, since it is another each time.
        let random = RandomState::new();
        let boundary = format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1));
        let (mut pieces, mut sum) = (VecDeque::new(), 0);
        let mut before = "";
        for range in ranges {
            let mut text = format!("{before}--{boundary}\r\ncontent-type: ").into_bytes();
            text.extend_from_slice(content_type.as_bytes());
            let (first, last) = (range.start, range.end - 1);
            let tail = format!("\r\ncontent-range: bytes {first}-{last}/{len}\r\n\r\n");
            text.extend_from_slice(tail.as_bytes());
            sum += text.len() as u64 + (range.end - range.start);
            pieces.extend([Piece::Text(text), Piece::File(range)]);
            before = "\r\n";
        }
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        sum += end.len() as u64;
        pieces.push_back(Piece::Text(end));
        let multipart = format!("multipart/byteranges; boundary={boundary}");
        let multipart = HeaderValue::try_from(multipart).expect("digits make a value");
        (multipart, sum, Pieces { file, pieces })
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.front_mut() {
            match piece {
                Piece::Text(text) if !text.is_empty() => {
                    let n = text.len().min(buffer.len());
                    buffer[..n].copy_from_slice(&text[..n]);
                    text.drain(..n);
                    return Ok(n);
                }
                Piece::File(range) if !range.is_empty() => {
                    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                    let most = left.min(buffer.len());
                    let n = self.file.read_at(&mut buffer[..most], range.start)?;
                    if n == 0 && most > 0 {
                        let what = format!("the file has become shorter: {left} bytes are missing");
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                    }
                    range.start += n as u64;
                    return Ok(n);
                }
                Piece::Text(_) | Piece::File(_) => drop(self.pieces.pop_front()),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 14.1.2: what each form asks for; what is no range is as if it were not there.
    #[test]
    fn a_range_is_what_the_standard_says() {
        let one = |range| Ranges::One(range);
        for (value, expected) in [
            ("bytes=0-0", one(0..1)),
            ("bytes=0-9", one(0..10)),
            ("Bytes=9-", one(9..10)),
            ("bytes=3-99999999999999999999999", one(3..10)),
            ("bytes=-3", one(7..10)),
            ("bytes=-30", one(0..10)),
            ("bytes= 1-2 , ,", one(1..3)),
            ("bytes=1-2,100-", one(1..3)),
            ("bytes=0-1,4-5", Ranges::Several(vec![0..2, 4..6])),
            ("bytes=4-5, 0-1,-2", Ranges::Several(vec![4..6, 0..2, 8..10])),
            ("bytes=10-", Ranges::None),
            ("bytes=99-100,200-", Ranges::None),
            ("bytes=-0", Ranges::None),
            ("bytes=0-9,0-9", Ranges::Whole),
            ("bytes=2-1", Ranges::Whole),
            ("bytes=a-", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=1-2-3", Ranges::Whole),
            ("bytes=1 -2", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes", Ranges::Whole),
            ("lines=1-2", Ranges::Whole),
        ] {
            assert_eq!(parse(value.as_bytes(), 10), expected, "{value}");
        }
        assert_eq!(parse(b"bytes=0-", 0), Ranges::None);
        let many = |n: u64| (0..n).map(|n| format!("{0}-{0}", 2 * n)).collect::<Vec<_>>().join(",");
        assert!(matches!(parse(format!("bytes={}", many(16)).as_bytes(), 100), Ranges::Several(_)));
        assert_eq!(parse(format!("bytes={}", many(17)).as_bytes(), 100), Ranges::Whole);
    }
}
