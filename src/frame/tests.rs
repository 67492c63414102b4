//! Every decoder against every way its bytes may arrive: whatever the splits, the same frames, the
//! same error, the same rest. Trap 70 throughout: streams are what a hostile peer would send.

use super::*;
use crate::kernel::Rng;
use marks::{Codec, Decoded, Marks, Style};

mod marks;

fn bytes(rng: &mut Rng, len: usize, alphabet: &[u8]) -> Vec<u8> {
    (0..len).map(|_| *rng.pick(alphabet)).collect()
}

const DELIMITERS: [&[u8]; 9] =
    [b"\n", b"\r\n", b"aab", b"\r\r\n", b"aa", b"abab", b"aba", b"aaaaaaaab", b"\0"];

fn lengths(max: usize) -> Vec<Marks<'static>> {
    let mut all = vec![Marks::Varint { max }];
    for header in 1..=8 {
        for (little, includes) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(Marks::Length { header, little, includes, max });
        }
    }
    all
}

/// Trap 70: every delimiter, split at every byte, compared with one-shot and naive decoding.
#[test]
fn delimited_streams_decode_the_same_however_they_are_split() {
    let mut rng = Rng::new(70);
    for delimiter in DELIMITERS {
        let alphabet = [delimiter, b"x"].concat();
        for max in [0, 1, 2, 3, 5, 8, usize::MAX] {
            for len in 0..40 {
                let stream = bytes(&mut rng, len, &alphabet);
                Marks::Delimiter { delimiter, max }.check(&stream, &mut rng);
            }
        }
    }
}

/// Trap 70: noise, mostly with lengths that are small enough to be believed.
#[test]
fn noise_decodes_the_same_however_it_is_split() {
    let mut rng = Rng::new(71);
    let alphabet = [0, 0, 0, 0, 1, 2, 3, 9, 0x7f, 0x80, 0x81, 0xff];
    for max in [0, 1, 3, 300, usize::MAX] {
        for marks in lengths(max) {
            for _ in 0..40 {
                let len = rng.size(0, 29);
                marks.check(&bytes(&mut rng, len, &alphabet), &mut rng);
            }
        }
    }
    for size in 1..10 {
        for len in 0..30 {
            let stream = bytes(&mut rng, len, &alphabet);
            let decoded = Marks::Size(size).check(&stream, &mut rng);
            let chunks = stream.chunks_exact(size);
            assert_eq!(decoded.rest, chunks.remainder());
            assert_eq!(decoded.frames, chunks.collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_encoded_decodes_to_itself_however_it_is_split() {
    let mut rng = Rng::new(72);
    let mut all = lengths(20);
    all.extend(DELIMITERS.map(|delimiter| Marks::Delimiter { delimiter, max: 20 }));
    all.push(Marks::Size(7));
    for marks in all {
        let codec = marks.codec();
        let mut encoded = 0;
        for _ in 0..30 {
            let (mut stream, mut payloads) = (Vec::new(), Vec::new());
            for _ in 0..4 {
                let len = rng.size(0, 20);
                let payload = bytes(&mut rng, len, b"ab\r\n\0xyz");
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
            let decoded = marks.check(&stream, &mut rng);
            assert_eq!(decoded, Decoded { frames: payloads, ..Decoded::default() });
        }
        assert!(encoded > 0, "{codec:?} encoded nothing");
    }
}

/// An encoder refuses a payload exactly if it would not come out as it went in.
#[test]
fn a_delimiter_refuses_no_payload_without_need() {
    let mut rng = Rng::new(73);
    for delimiter in DELIMITERS {
        for _ in 0..2000 {
            let len = rng.size(0, 8);
            let payload = bytes(&mut rng, len, &[delimiter, b"x"].concat());
            let returns = Marks::Delimiter { delimiter, max: usize::MAX }.carries(&payload);
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
