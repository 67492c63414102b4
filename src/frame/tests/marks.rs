//! Every decoder against every way its bytes may arrive: whatever the splits, the same frames, the
//! same error, the same rest; and against what its documentation says, done slowly.
//!
//! `frame/tests.rs` draws its streams from a seed; the fuzz targets (`crates/check`) take any bytes.

use std::io;

use crate::conn::buffer::Leftover;
use crate::conn::input::{AWAKE, Input, Wait};
use crate::frame::{Delimited, Fixed, FrameError, LengthPrefixed, Varint};
use crate::kernel::Rng;

/// How frames are marked: what a decoder is made from, open to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Marks<'d> {
    Delimiter { delimiter: &'d [u8], max: usize },
    Length { header: usize, little: bool, includes: bool, max: usize },
    Varint { max: usize },
    Size(usize),
}

/// What a decoder is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A payload, and the bytes of the whole frame.
    Frame(&'a [u8], usize),
    /// Nothing yet: it waits for so many bytes, or for any.
    Waits(Option<usize>),
    Wrong(FrameError),
}

/// What a stream decodes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) error: Option<FrameError>,
    /// What is left at the end, or at the error.
    pub(crate) rest: Vec<u8>,
}

/// How often a handler takes a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    All,
    OneACall,
}

/// Any decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Codec<'d> {
    Delimited(Delimited<'d>),
    Length(LengthPrefixed),
    Varint(Varint),
    Fixed(Fixed),
}

impl Codec<'_> {
    pub(crate) fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        match self {
            Codec::Delimited(frames) => frames.next(input),
            Codec::Length(frames) => frames.next(input),
            Codec::Varint(frames) => frames.next(input),
            Codec::Fixed(frames) => frames.next(input),
        }
    }

    pub(crate) fn encode(&self, payload: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
        match self {
            Codec::Delimited(frames) => frames.encode(payload, out),
            Codec::Length(frames) => frames.encode(payload, out),
            Codec::Varint(frames) => frames.encode(payload, out),
            Codec::Fixed(frames) => frames.encode(payload, out),
        }
    }

    /// Calls a handler as the reactor does. Returns what was decoded, and how many calls it took.
    pub(crate) fn decode<'c>(
        &self,
        chunks: impl IntoIterator<Item = &'c [u8]>,
        style: Style,
    ) -> (Decoded, usize) {
        let (mut decoded, mut calls) = (Decoded::default(), 0);
        let mut kept: Option<Leftover> = None;
        for chunk in chunks.into_iter().filter(|chunk| !chunk.is_empty()) {
            let mut leftover = kept.take().unwrap_or_else(|| Leftover::new(b"", Wait::Nothing));
            leftover.append(chunk);
            if decoded.error.is_some() || !leftover.is_enough(leftover.len()) {
                kept = Some(leftover);
                continue;
            }
            loop {
                let window = leftover.bytes().to_vec();
                let mut input = Input::new(&window, leftover.seen, leftover.wait, &AWAKE);
                decoded.error = self.serve(&mut input, style, &mut decoded.frames).err();
                calls += 1;
                let (consumed, wait) = input.finish();
                leftover.consume(consumed, wait);
                let repeats = consumed > 0 && leftover.wait == Wait::Nothing && leftover.len() > 0;
                if decoded.error.is_some() || !repeats {
                    break;
                }
            }
            let waits_with_nothing = matches!(leftover.wait, Wait::Bytes(_)) && leftover.len() == 0;
            assert!(!waits_with_nothing, "an idle connection keeps nothing");
            kept = (leftover.len() > 0).then_some(leftover);
        }
        decoded.rest = kept.map_or_else(Vec::new, |leftover| leftover.bytes().to_vec());
        (decoded, calls)
    }

    fn serve(
        &self,
        input: &mut Input<'_>,
        style: Style,
        frames: &mut Vec<Vec<u8>>,
    ) -> Result<(), FrameError> {
        while let Some(frame) = self.next(input)? {
            frames.push(frame.to_vec());
            if matches!(style, Style::OneACall) {
                break;
            }
        }
        Ok(())
    }

    /// Holds the stream to the same answer whatever its splits.
    fn check(&self, stream: &[u8], cuts: &mut Rng) -> Decoded {
        let whole = self.decode([stream], Style::All).0;
        let same = |chunks: &[&[u8]]| {
            for style in [Style::All, Style::OneACall] {
                let decoded = self.decode(chunks.iter().copied(), style).0;
                assert_eq!(decoded, whole, "{self:?} {stream:?} as {chunks:?}, {style:?}");
            }
        };
        same(&stream.chunks(1).collect::<Vec<_>>());
        for first in 0..=stream.len() {
            let (head, tail) = stream.split_at(first);
            same(&[head, tail]);
        }
        for _ in 0..8 {
            let mut chunks = Vec::new();
            let mut rest = stream;
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(cuts.size(1, rest.len().min(7)));
                chunks.push(chunk);
                rest = tail;
            }
            same(&chunks);
        }
        whole
    }
}

impl<'d> Marks<'d> {
    pub(crate) fn codec(self) -> Codec<'d> {
        match self {
            Marks::Delimiter { delimiter, max } => {
                Codec::Delimited(Delimited::new(delimiter).max(max))
            }
            Marks::Length { header, little, includes, max } => {
                let mut frames = LengthPrefixed::new(header).max(max);
                if little {
                    frames = frames.little_endian();
                }
                if includes {
                    frames = frames.includes_header();
                }
                Codec::Length(frames)
            }
            Marks::Varint { max } => Codec::Varint(Varint::new().max(max)),
            Marks::Size(size) => Codec::Fixed(Fixed::new(size)),
        }
    }

    /// The first frame of a stream that has come so far, as the documentation has it, by the plain
    /// way: nothing is remembered, nothing is searched cleverly.
    pub(crate) fn first(self, bytes: &[u8]) -> Next<'_> {
        let (header, len) = match self {
            Marks::Delimiter { delimiter, max } => return delimited(bytes, delimiter, max),
            Marks::Size(size) => (0, size as u128),
            Marks::Length { header, little, includes, max } => {
                let Some(told) = bytes.get(..header) else { return Next::Waits(Some(header)) };
                let digit = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
                let told = if little {
                    told.iter().rev().fold(0, digit)
                } else {
                    told.iter().fold(0, digit)
                };
                if includes && told < header as u128 {
                    return Next::Wrong(FrameError::TooShort { len: narrow(told), header });
                }
                let len = if includes { told - header as u128 } else { told };
                if len > max as u128 {
                    return Next::Wrong(FrameError::TooLong { len: narrow(len), max });
                }
                (header, len)
            }
            Marks::Varint { max } => {
                let last = bytes.iter().take(10).position(|byte| *byte < 0x80);
                let Some(last) = last.filter(|last| *last < 9 || bytes[9] < 2) else {
                    return match bytes.len() {
                        0..10 => Next::Waits(Some(bytes.len() + 1)),
                        _ => Next::Wrong(FrameError::VarintTooLarge),
                    };
                };
                let digit = |sum: u128, byte: &u8| sum << 7 | u128::from(byte & 0x7f);
                let (header, len) = (last + 1, bytes[..=last].iter().rev().fold(0, digit));
                if last > 0 && bytes[last] == 0 {
                    return Next::Wrong(FrameError::VarintOverlong { len: narrow(len), header });
                }
                if len > max as u128 {
                    return Next::Wrong(FrameError::TooLong { len: narrow(len), max });
                }
                (header, len)
            }
        };
        let whole = usize::try_from(header as u128 + len).unwrap_or(usize::MAX);
        match bytes.get(header..whole) {
            Some(payload) => Next::Frame(payload, whole),
            None => Next::Waits(Some(whole)),
        }
    }

    /// Holds the decoder to the plain way, whatever the splits of the stream.
    pub(crate) fn check(self, stream: &[u8], cuts: &mut Rng) -> Decoded {
        let decoded = self.codec().check(stream, cuts);
        assert_eq!(decoded, self.split(stream), "{self:?} {stream:?}");
        decoded
    }

    /// All frames of a stream, by the plain way.
    fn split(self, mut stream: &[u8]) -> Decoded {
        let mut decoded = Decoded::default();
        while !stream.is_empty() {
            match self.first(stream) {
                Next::Frame(payload, whole) => {
                    decoded.frames.push(payload.to_vec());
                    stream = &stream[whole..];
                }
                Next::Waits(_) => break,
                Next::Wrong(error) => {
                    decoded.error = Some(error);
                    break;
                }
            }
        }
        decoded.rest = stream.to_vec();
        decoded
    }

    /// Whether a payload can go in such a frame.
    pub(crate) fn carries(self, payload: &[u8]) -> bool {
        match self {
            Marks::Delimiter { delimiter, max } => {
                let stream = [payload, delimiter].concat();
                delimited(&stream, delimiter, max) == Next::Frame(payload, stream.len())
            }
            Marks::Length { header, includes, max, .. } => {
                let told = payload.len() + if includes { header } else { 0 };
                payload.len() <= max && (told as u128) < 1 << (8 * header)
            }
            Marks::Varint { max } => payload.len() <= max,
            Marks::Size(size) => payload.len() == size,
        }
    }
}

fn narrow(len: u128) -> u64 {
    u64::try_from(len).expect("eight bytes tell no more")
}

fn delimited<'a>(bytes: &'a [u8], delimiter: &[u8], max: usize) -> Next<'a> {
    let found = bytes.windows(delimiter.len()).position(|part| part == delimiter);
    if let Some(len) = found.filter(|len| *len <= max) {
        return Next::Frame(&bytes[..len], len + delimiter.len());
    }
    // Whether any continuation would bring a frame short enough.
    let in_time = (0..=max.min(bytes.len())).any(|len| delimiter.starts_with(&bytes[len..]));
    if bytes.len() > max && !in_time {
        return Next::Wrong(FrameError::NoDelimiter { max });
    }
    Next::Waits(None)
}
