//! Every decoder against every way its bytes may arrive: whatever the splits, the same frames, the
//! same error, the same rest. Trap 70 throughout: streams are what a hostile peer would send.

use super::*;
use crate::input::{Leftover, Wait};

/// What a stream decodes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    frames: Vec<Vec<u8>>,
    error: Option<FrameError>,
    /// What is left at the end, or at the error.
    rest: Vec<u8>,
}

/// How often a handler takes a message.
#[derive(Clone, Copy, Debug)]
enum Style {
    All,
    OneACall,
}

/// Any decoder.
#[derive(Clone, Copy, Debug)]
enum Codec {
    Delimited(Delimited<'static>),
    Length(LengthPrefixed),
    Varint(Varint),
    Fixed(Fixed),
}

impl Codec {
    fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        match self {
            Codec::Delimited(frames) => frames.next(input),
            Codec::Length(frames) => frames.next(input),
            Codec::Varint(frames) => frames.next(input),
            Codec::Fixed(frames) => frames.next(input),
        }
    }

    fn encode(&self, payload: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
        match self {
            Codec::Delimited(frames) => frames.encode(payload, out),
            Codec::Length(frames) => frames.encode(payload, out),
            Codec::Varint(frames) => frames.encode(payload, out),
            Codec::Fixed(frames) => frames.encode(payload, out),
        }
    }

    /// Calls a handler as the reactor does. Answers what was decoded, and how many calls it took.
    fn decode<'c>(
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
                let mut input = Input::new(&window, leftover.seen, leftover.wait);
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
    fn check(&self, stream: &[u8], random: &mut Random) -> Decoded {
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
                let (chunk, tail) = rest.split_at(1 + random.below(rest.len().min(7)));
                chunks.push(chunk);
                rest = tail;
            }
            same(&chunks);
        }
        whole
    }
}

/// The same numbers each time (splitmix64).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.number() % n as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, len: usize, alphabet: &[u8]) -> Vec<u8> {
        (0..len).map(|_| self.pick(alphabet)).collect()
    }
}

const DELIMITERS: [&[u8]; 9] =
    [b"\n", b"\r\n", b"aab", b"\r\r\n", b"aa", b"abab", b"aba", b"aaaaaaaab", b"\0"];

fn lengths(max: usize) -> Vec<Codec> {
    let mut all = vec![Codec::Varint(Varint::new().max(max))];
    for bytes in 1..=8 {
        let frames = LengthPrefixed::new(bytes).max(max);
        for frames in [frames, frames.little_endian()] {
            all.push(Codec::Length(frames));
            all.push(Codec::Length(frames.includes_header()));
        }
    }
    all
}

/// Byte for byte, as the documentation of `max` has it.
fn split_naively(mut stream: &[u8], delimiter: &[u8], max: usize) -> Decoded {
    let mut decoded = Decoded::default();
    while let Some(len) = stream.windows(delimiter.len()).position(|part| part == delimiter) {
        if len > max {
            break;
        }
        decoded.frames.push(stream[..len].to_vec());
        stream = &stream[len + delimiter.len()..];
    }
    // Whether any continuation would bring a frame short enough.
    let in_time = (0..=max.min(stream.len())).any(|len| delimiter.starts_with(&stream[len..]));
    if stream.len() > max && !in_time {
        decoded.error = Some(FrameError::NoDelimiter { max });
    }
    decoded.rest = stream.to_vec();
    decoded
}

/// Trap 70: every delimiter, split at every byte, compared with one-shot and naive decoding.
#[test]
fn delimited_streams_decode_the_same_however_they_are_split() {
    let mut random = Random(70);
    for delimiter in DELIMITERS {
        let alphabet = [delimiter, b"x"].concat();
        for max in [0, 1, 2, 3, 5, 8, usize::MAX] {
            for len in 0..40 {
                let stream = random.bytes(len, &alphabet);
                let codec = Codec::Delimited(Delimited::new(delimiter).max(max));
                let decoded = codec.check(&stream, &mut random);
                let naively = split_naively(&stream, delimiter, max);
                assert_eq!(decoded, naively, "{delimiter:?} {max} {stream:?}");
            }
        }
    }
}

/// Trap 70: noise, mostly with lengths that are small enough to be believed.
#[test]
fn noise_decodes_the_same_however_it_is_split() {
    let mut random = Random(71);
    let alphabet = [0, 0, 0, 0, 1, 2, 3, 9, 0x7f, 0x80, 0x81, 0xff];
    for max in [0, 1, 3, 300, usize::MAX] {
        for codec in lengths(max) {
            for _ in 0..40 {
                let len = random.below(30);
                codec.check(&random.bytes(len, &alphabet), &mut random);
            }
        }
    }
    for size in 1..10 {
        for len in 0..30 {
            let stream = random.bytes(len, &alphabet);
            let decoded = Codec::Fixed(Fixed::new(size)).check(&stream, &mut random);
            let chunks = stream.chunks_exact(size);
            assert_eq!(decoded.rest, chunks.remainder());
            assert_eq!(decoded.frames, chunks.collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_encoded_decodes_to_itself_however_it_is_split() {
    let mut random = Random(72);
    let mut codecs = lengths(20);
    codecs.extend(DELIMITERS.map(|delimiter| Codec::Delimited(Delimited::new(delimiter).max(20))));
    codecs.push(Codec::Fixed(Fixed::new(7)));
    for codec in codecs {
        let mut encoded = 0;
        for _ in 0..30 {
            let (mut stream, mut payloads) = (Vec::new(), Vec::new());
            for _ in 0..4 {
                let len = random.below(21);
                let payload = random.bytes(len, b"ab\r\n\0xyz");
                let written = stream.len();
                match codec.encode(&payload, &mut stream) {
                    Ok(()) => payloads.push(payload),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                        assert_eq!(stream.len(), written);
                    }
                }
            }
            encoded += payloads.len();
            let decoded = codec.check(&stream, &mut random);
            assert_eq!(decoded, Decoded { frames: payloads, ..Decoded::default() });
        }
        assert!(encoded > 0, "{codec:?} encoded nothing");
    }
}

/// An encoder refuses a payload exactly if it would not come out as it went in.
#[test]
fn a_delimiter_refuses_no_payload_without_need() {
    let mut random = Random(73);
    for delimiter in DELIMITERS {
        for _ in 0..2000 {
            let len = random.below(9);
            let payload = random.bytes(len, &[delimiter, b"x"].concat());
            let stream = [&payload, delimiter].concat();
            let returns = split_naively(&stream, delimiter, usize::MAX).frames == [&payload[..]];
            let encoded = Delimited::new(delimiter).encode(&payload, &mut Vec::new());
            assert_eq!(encoded.is_ok(), returns, "{delimiter:?} {payload:?}");
        }
    }
}

/// Trap 70: a peer that sends byte by byte does not even have the handler called for each.
#[test]
fn a_frame_whose_length_is_known_takes_three_calls_however_many_pieces_it_comes_in() {
    let mut stream = Vec::new();
    LengthPrefixed::new(8).encode(&[7; 1000], &mut stream).unwrap();
    let calls = |codec: Codec, stream: &[u8]| codec.decode(stream.chunks(1), Style::All).1;
    // For the first byte, for the length, for the frame.
    assert_eq!(calls(Codec::Length(LengthPrefixed::new(8)), &stream), 3);
    assert_eq!(calls(Codec::Fixed(Fixed::new(1008)), &stream), 2);
    let mut stream = Vec::new();
    Varint::new().encode(&[7; 1000], &mut stream).unwrap();
    assert_eq!(calls(Codec::Varint(Varint::new()), &stream), 3);
}

#[test]
fn errors_say_what_was_read_and_what_the_maximum_is() {
    for (error, text) in [
        (FrameError::TooLong { len: 9, max: 8 }, "a frame of 9 bytes; the maximum is 8"),
        (
            FrameError::NoDelimiter { max: 8 },
            "a frame without its delimiter after 8 bytes, the maximum",
        ),
        (
            FrameError::TooShort { len: 3, header: 4 },
            "a frame of 3 bytes that counts the 4 of its length",
        ),
        (FrameError::VarintTooLarge, "a frame whose length is a varint of more than 64 bits"),
        (
            FrameError::VarintOverlong { len: 3, header: 2 },
            "a frame whose length, 3, is a varint of 2 bytes: too many",
        ),
    ] {
        assert_eq!(error.to_string(), text);
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, text.into()));
    }
}

#[test]
fn an_encoder_passes_on_what_its_writer_says() {
    let mut full: &mut [u8] = &mut [0; 3];
    let error = LengthPrefixed::new(2).encode(b"abc", &mut full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
#[should_panic(expected = "frames of 0 bytes have no end")]
fn frames_of_no_size_are_refused() {
    let _ = Fixed::new(0);
}
