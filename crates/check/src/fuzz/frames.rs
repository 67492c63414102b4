//! Any decoder over any stream, held to the plain way: see `src/frame/tests/marks.rs`.

use std::io;

use super::Source;
use super::marks::{Decoded, Marks};
use crate::kernel::Rng;

/// Any decoder over any stream. Whatever the splits, it answers what the plain way does; what it
/// answers encodes to what was read; what encodes, decodes to itself; and an encoder refuses no
/// payload that would.
pub(super) fn any(source: &mut Source<'_>) {
    let marks = any_marks(source);
    let codec = marks.codec();
    let mut cuts = Rng::new(u64::from(source.byte()));
    let lens: Vec<usize> = (0..source.below(4)).map(|_| source.below(30)).collect();
    let stream = source.take(100);

    let decoded = marks.check(stream, &mut cuts);
    let mut encoded = Vec::new();
    for frame in &decoded.frames {
        codec.encode(frame, &mut encoded).expect("what was decoded can be encoded");
    }
    assert_eq!(encoded, stream[..stream.len() - decoded.rest.len()], "{codec:?} {stream:?}");

    let (mut sent, mut payloads, mut rest) = (Vec::new(), Vec::new(), stream);
    for len in lens {
        let (payload, others) = rest.split_at(len.min(rest.len()));
        rest = others;
        let mut frame = Vec::new();
        match codec.encode(payload, &mut frame) {
            Ok(()) => payloads.push(payload.to_vec()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(frame.is_empty(), "{codec:?} refuses, and has written {frame:?}");
                assert!(!marks.carries(payload), "{codec:?} refuses {payload:?}");
            }
        }
        sent.extend(frame);
    }
    let decoded = marks.check(&sent, &mut cuts);
    assert_eq!(decoded, Decoded { frames: payloads, ..Decoded::default() }, "{codec:?} {sent:?}");
}

/// Any way to mark frames.
fn any_marks<'d>(source: &mut Source<'d>) -> Marks<'d> {
    let max = source.pick(&[usize::MAX, 0, 1, 2, 3, 5, 8, 20, 300, 64 << 10]);
    match source.below(4) {
        0 => {
            let len = 1 + source.below(9);
            let delimiter = source.take(len);
            let delimiter = if delimiter.is_empty() { b"\n" } else { delimiter };
            Marks::Delimiter { delimiter, max }
        }
        1 => {
            let (little, includes) = (source.below(2) == 1, source.below(2) == 1);
            Marks::Length { header: 1 + source.below(8), little, includes, max }
        }
        2 => Marks::Varint { max },
        _ => Marks::Size(1 + source.below(20)),
    }
}
