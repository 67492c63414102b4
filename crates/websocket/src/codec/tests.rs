//! The decoder against a plain reading of the RFC, over any bytes, cut anywhere.

use super::*;

/// Numbers from a seed (splitmix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// What came, in words of its own; chunks of one message are joined.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    events: Vec<(Opcode, Vec<u8>)>,
    /// The code that it was refused with.
    refused: Option<u16>,
}

/// Reads the stream as a whole.
fn plainly(stream: &[u8], rules: Rules) -> Told {
    let mut told = Told::default();
    let mut message: Option<(Opcode, Vec<u8>)> = None;
    let mut at = 0;
    loop {
        let header = match header(&stream[at..]) {
            Err(_) => return told,
            Ok(Err(violation)) => return Told { refused: Some(violation.code), ..told },
            Ok(Ok(header)) => header,
        };
        let refuse = |code, told| Told { refused: Some(code), ..told };
        let is_control = header.opcode.is_control();
        if header.reserved != 0 || header.mask.is_some() != rules.masked {
            return refuse(1002, told);
        }
        if !is_control && message.is_some() != (header.opcode == Opcode::Continuation) {
            return refuse(1002, told);
        }
        let len = header.payload as usize;
        let so_far = message.as_ref().map_or(0, |(_, bytes)| bytes.len());
        // In chunks a message has no end, but a frame has 32 bits.
        let max = if rules.streamed { u32::MAX } else { rules.message_max } as usize;
        let so_far = if rules.streamed { 0 } else { so_far };
        if !is_control && len.saturating_add(so_far) > max {
            return refuse(1009, told);
        }
        at += header.len;
        let whole = stream.len() - at >= len;
        let mut bytes = stream[at..stream.len().min(at + len)].to_vec();
        mask::apply(&mut bytes, header.mask.unwrap_or_default());
        at += bytes.len();
        if is_control {
            if !whole {
                return told;
            }
            if header.opcode == Opcode::Close
                && let Err(violation) = close::read(&bytes)
            {
                return refuse(violation.code, told);
            }
            told.events.push((header.opcode, bytes));
            continue;
        }
        let (opcode, joined) = message.get_or_insert((header.opcode, Vec::new()));
        joined.extend(bytes);
        let last = whole && header.fin;
        if *opcode == Opcode::Text && text(joined, last).is_err() {
            return refuse(1007, told);
        }
        if !whole {
            return told;
        }
        if last {
            told.events.extend(message.take());
        }
    }
}

/// Decodes it in pieces of the lengths that `cut` gives.
fn in_pieces(stream: &[u8], rules: Rules, mut cut: impl FnMut() -> usize) -> Told {
    let mut told = Told::default();
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let mut chunks: Option<(Opcode, Vec<u8>)> = None;
    let (mut at, mut came, mut needed) = (0, 0, 0);
    while came < stream.len() {
        came = stream.len().min(came + cut());
        while came - at >= needed {
            let (n, event) = match decoder.decode(&stream[at..came], &mut scratch, rules) {
                Ok(next) => next,
                Err(violation) => return Told { refused: Some(violation.code), ..told },
            };
            at += n;
            needed = 0;
            match event {
                Event::More(more) => {
                    assert!(n == 0 && more > came - at, "{more} of {}", came - at);
                    needed = more;
                }
                Event::Part => assert!(n > 0),
                Event::Message(message) => {
                    told.events.push((message.opcode(), message.bytes().to_vec()));
                    assert_eq!(decoder.held(), 0, "a buffer is kept behind a message");
                }
                Event::Chunk(chunk) => {
                    assert_eq!(chunk.first, chunks.is_none());
                    let (_, joined) = chunks.get_or_insert((chunk.data.opcode(), Vec::new()));
                    joined.extend(chunk.data.bytes());
                    if chunk.last {
                        told.events.extend(chunks.take());
                    }
                }
                Event::Packed(_) => unreachable!("it was not agreed on"),
                Event::Ping(payload) => told.events.push((Opcode::Ping, payload.to_vec())),
                Event::Pong(payload) => told.events.push((Opcode::Pong, payload.to_vec())),
                Event::Close(code, reason) => {
                    let code = if code == close::code::NONE {
                        vec![]
                    } else {
                        code.to_be_bytes().to_vec()
                    };
                    told.events.push((Opcode::Close, [&code, reason.as_bytes()].concat()));
                }
            }
        }
        assert!(decoder.held() <= 2 * stream.len().max(8), "{}", decoder.held());
    }
    told
}

/// Frames that make sense for the most part.
#[cfg(test)]
fn stream(rng: &mut Rng, masked: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut under_way = false;
    for _ in 0..=rng.below(12) {
        let control = [0x89, 0x8A, 0x89, 0x8A, 0x88][rng.below(5)];
        let fin = if rng.below(2) == 0 { 0x80 } else { 0 };
        let data = if under_way { fin } else { fin | 1 | rng.below(2) as u8 };
        let first = match rng.below(40) {
            0 => rng.below(256) as u8,
            1..10 => control,
            _ => {
                under_way = fin == 0;
                data
            }
        };
        let len = match rng.below(10) {
            0 if first & 8 == 0 => rng.below(300),
            _ => rng.below(20),
        };
        let letters = ["a", "é", "€", "😀"];
        let mut payload = Vec::new();
        if first == 0x88 && rng.below(4) > 0 {
            payload.extend_from_slice(&[1000u16, 4000, 1005, 999][rng.below(4)].to_be_bytes());
        }
        while payload.len() < len {
            payload.extend_from_slice(letters[rng.below(4)].as_bytes());
        }
        // A character may be cut by the end of a frame; the next begins with the rest, or does not.
        if rng.below(12) == 0 {
            payload.truncate(payload.len().saturating_sub(rng.below(3)));
        }
        if rng.below(60) == 0 && !payload.is_empty() {
            let at = rng.below(payload.len());
            payload[at] = 0xFF;
        }
        let mask = (masked != (rng.below(200) == 0)).then_some([7, rng.below(256) as u8, 0, 200]);
        let mut head = [0; HEADER_MAX];
        let len = write_header(&mut head, first, payload.len(), mask);
        mask::apply(&mut payload, mask.unwrap_or_default());
        stream.extend_from_slice(&head[..len]);
        stream.extend_from_slice(&payload);
    }
    stream
}

/// Any bytes: the first say what is accepted and where the others are cut.
#[cfg_attr(not(fuzzing), expect(dead_code, reason = "a fuzzer calls it"))]
pub(crate) fn any(bytes: &[u8]) {
    let &[what, ref cuts, ref stream @ ..] = bytes else { return };
    let rules = Rules {
        masked: what & 1 == 0,
        message_max: [40, 400, 4000, u32::MAX][usize::from(what >> 1 & 3)],
        streamed: what & 8 != 0,
        packed: false,
    };
    let mut rng = Rng(u64::from(*cuts));
    let most = [1, 3, 30, 10_000][usize::from(what >> 4 & 3)];
    assert_eq!(in_pieces(stream, rules, || 1 + rng.below(most)), plainly(stream, rules));
}

/// The same events, and the same refusal, however the bytes come.
#[test]
fn whatever_comes_is_told_as_a_plain_reading_tells_it_however_it_is_cut() {
    let (mut events, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng(seed);
        let rules = Rules {
            masked: rng.below(4) > 0,
            message_max: [40, 400, 4000][rng.below(3)],
            streamed: rng.below(3) == 0,
            packed: false,
        };
        let stream = if rng.below(20) == 0 {
            (0..rng.below(40)).map(|_| rng.below(256) as u8).collect()
        } else {
            stream(&mut rng, rules.masked)
        };
        let expected = plainly(&stream, rules);
        events += expected.events.len();
        refused += usize::from(expected.refused.is_some());
        let most = [1, 3, 30, 10_000][rng.below(4)];
        let told = in_pieces(&stream, rules, || 1 + rng.below(most));
        assert_eq!(told, expected, "seed {seed}: {stream:x?}");
    }
    assert!(events > 20_000 && refused > 2_000, "{events} events, {refused} refused");
}
