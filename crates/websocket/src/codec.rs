//! Frames in and frames out (RFC 6455, section 5): bytes to bytes, without a connection, a clock or
//! a buffer at rest.
//!
//! A message that lies whole in one piece of input, as nearly all do, is unmasked into a buffer
//! that all connections share, and handed out from there. What comes in parts is joined in a buffer
//! of the connection's own, which is gone when the message is. Control frames are taken whole,
//! wherever they come. Read next: `websocket.rs`, which calls this.

#![allow(
    clippy::cast_possible_truncation,
    reason = "no frame is taken whose length has more than 32 bits"
)]

use crate::close::{self, Violation};
use crate::mask;
use crate::message::{Chunk, Message};

/// Payload of a control frame, at most.
pub(crate) const CONTROL_MAX: usize = 125;
/// A frame's header, at most: two bytes, a length of eight, a mask.
pub(crate) const HEADER_MAX: usize = 14;

/// The bit of a message that is compressed, in its first byte.
pub(crate) const PACKED: u8 = 0x40;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(byte: u8) -> Option<Opcode> {
        use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
        [Continuation, Text, Binary, Close, Ping, Pong]
            .into_iter()
            .find(|it| *it as u8 == byte & 0xF)
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// What this end accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The peer masks what it sends: it is the client.
    pub(crate) masked: bool,
    /// Bytes of a message, at most.
    pub(crate) message_max: u32,
    /// Messages are handed out in chunks, as they come.
    pub(crate) streamed: bool,
    /// Messages may be compressed.
    pub(crate) packed: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Nothing that is whole. This many bytes are needed, behind what was consumed.
    More(usize),
    /// A part of a message was consumed and kept.
    Part,
    Message(Message<'a>),
    /// A message that is compressed lies in the buffer. Whether it is text.
    Packed(bool),
    Chunk(Chunk<'a>),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// With its code, and a reason that may be empty.
    Close(u16, &'a str),
}

/// A frame's header.
struct Header {
    fin: bool,
    reserved: u8,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    payload: u64,
    /// Bytes of the header itself.
    len: usize,
}

/// Reads a header. `Err`: this many bytes are needed.
fn header(bytes: &[u8]) -> Result<Result<Header, Violation>, usize> {
    let &[first, second, ref rest @ ..] = bytes else { return Err(2) };
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let is_masked = second & 0x80 != 0;
    let len = 2 + length + if is_masked { 4 } else { 0 };
    // What is wrong shows in the first two bytes, and is not waited for.
    let Some(opcode) = Opcode::read(first) else {
        return Ok(Err(Violation::protocol("a frame with a reserved opcode")));
    };
    let fin = first & 0x80 != 0;
    if opcode.is_control() && (!fin || length > 0) {
        return Ok(Err(Violation::protocol(
            "a control frame in fragments, or of more than 125 bytes",
        )));
    }
    if bytes.len() < len {
        return Err(len);
    }
    let payload = match length {
        0 => u64::from(second & 0x7F),
        n => rest[..n].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    // The shortest form is the only one (section 5.2), and no length has the highest bit.
    if (length == 2 && payload < 126) || (length == 8 && (payload < 1 << 16 || payload >> 63 != 0))
    {
        return Ok(Err(Violation::protocol("a length that is not in its shortest form")));
    }
    let mask = is_masked.then(|| rest[length..length + 4].try_into().expect("four bytes"));
    Ok(Ok(Header { fin, reserved: first & 0x70, opcode, mask, payload, len }))
}

/// Writes a header before `payload` bytes; `mask` if they are masked. Returns its length.
pub(crate) fn write_header(
    to: &mut [u8; HEADER_MAX],
    first: u8,
    payload: usize,
    mask: Option<[u8; 4]>,
) -> usize {
    to[0] = first;
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let len = if payload < 126 {
        to[1] = bit | payload as u8;
        2
    } else if let Ok(short) = u16::try_from(payload) {
        to[1] = bit | 0x7E;
        to[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        to[1] = bit | 0x7F;
        to[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
        10
    };
    let Some(mask) = mask else { return len };
    to[len..len + 4].copy_from_slice(&mask);
    len + 4
}

/// The first byte of a frame that is a whole message, or a control frame.
pub(crate) fn first_byte(opcode: Opcode) -> u8 {
    0x80 | opcode as u8
}

/// Where one side of a WebSocket stands.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// What came of a message that is not whole. In chunks: the beginning of a character.
    joined: Vec<u8>,
    /// How much of it is known to be text.
    checked: u32,
    /// Bytes of the present frame that are still to come.
    left: u32,
    /// The mask of the next of them.
    mask: [u8; 4],
    /// What is under way.
    flags: u8,
}

impl Decoder {
    /// A message has begun, and its last byte has not come.
    const MESSAGE: u8 = 1;
    /// It is text.
    const TEXT: u8 = 2;
    /// A frame of it has begun, and its last byte has not come.
    const FRAME: u8 = 4;
    /// That frame is the message's last.
    const LAST: u8 = 8;
    /// In chunks: the next one is not the first.
    const LATER: u8 = 16;
    /// It is compressed.
    const PACKED: u8 = 32;

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes allocated for a message that is not whole.
    pub(crate) fn held(&self) -> usize {
        self.joined.capacity()
    }

    /// Takes the next of `input`. Returns how much it has consumed, and what it is; that lies in `scratch`.
    ///
    /// # Errors
    ///
    /// If it is none of the protocol, or too much. It is not to be called again.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &[u8],
        scratch: &'a mut Vec<u8>,
        rules: Rules,
    ) -> Result<(usize, Event<'a>), Violation> {
        if self.has(Self::FRAME) {
            return self.go_on(0, input, scratch, rules);
        }
        let header = match header(input) {
            Ok(header) => header?,
            Err(needed) => return Ok((0, Event::More(needed))),
        };
        // The first frame of a message says whether it is compressed (RFC 7692, section 6).
        let is_first = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let is_packed = header.reserved == PACKED && rules.packed && is_first;
        if header.reserved != 0 && !is_packed {
            return Err(Violation::protocol("a reserved bit, and no extension that has it"));
        }
        if header.mask.is_some() != rules.masked {
            return Err(Violation::protocol(if rules.masked {
                "a frame of a client without a mask"
            } else {
                "a frame of a server with a mask"
            }));
        }
        let payload = &input[header.len..];
        if header.opcode.is_control() {
            return control(&header, payload, scratch);
        }
        if self.has(Self::MESSAGE) != (header.opcode == Opcode::Continuation) {
            return Err(Violation::protocol(if self.has(Self::MESSAGE) {
                "a message within another"
            } else {
                "a continuation of nothing"
            }));
        }
        let so_far = if rules.streamed { 0 } else { self.joined.len() as u64 };
        let max = u64::from(if rules.streamed { u32::MAX } else { rules.message_max });
        if so_far + header.payload > max {
            return Err(Violation::too_big());
        }
        let len = usize::try_from(header.payload).expect("not above the maximum, which is 32 bits");
        let mask = header.mask.unwrap_or_default();

        // The common case: a message in one frame, and all of it is here.
        if header.fin
            && is_first
            && !rules.streamed
            && let Some(payload) = payload.get(..len)
        {
            unmask_into(scratch, payload, mask);
            if is_packed {
                return Ok((header.len + len, Event::Packed(header.opcode == Opcode::Text)));
            }
            let message = message(scratch, header.opcode == Opcode::Text)?;
            return Ok((header.len + len, Event::Message(message)));
        }

        self.left = len as u32;
        self.mask = mask;
        self.flags |= Self::MESSAGE | Self::FRAME;
        if header.fin {
            self.flags |= Self::LAST;
        }
        if header.opcode == Opcode::Text {
            self.flags |= Self::TEXT;
        }
        if is_packed {
            self.flags |= Self::PACKED;
        }
        self.go_on(header.len, payload, scratch, rules)
    }

    /// Goes on with a frame that has begun; `before` bytes were consumed already.
    fn go_on<'a>(
        &mut self,
        before: usize,
        input: &[u8],
        scratch: &'a mut Vec<u8>,
        rules: Rules,
    ) -> Result<(usize, Event<'a>), Violation> {
        let piece = &input[..input.len().min(self.left as usize)];
        if piece.is_empty() && self.left > 0 {
            return Ok((before, if before > 0 { Event::Part } else { Event::More(1) }));
        }
        // In chunks, what is kept is the beginning of a character.
        if rules.streamed {
            scratch.clear();
            scratch.append(&mut self.joined);
        }
        let buffer = if rules.streamed { &mut *scratch } else { &mut self.joined };
        let start = buffer.len();
        buffer.extend_from_slice(piece);
        mask::apply(&mut buffer[start..], self.mask);
        self.mask = mask::rotate(self.mask, piece.len());
        self.left -= piece.len() as u32;
        let consumed = before + piece.len();
        let is_text = self.flags & Self::TEXT != 0;
        let mut last = false;
        if self.left == 0 {
            last = self.flags & Self::LAST != 0;
            self.flags &= !(Self::FRAME | Self::LAST);
        }
        // What is no text is told at once, and not when all of it has come.
        let is_packed = self.flags & Self::PACKED != 0;
        if is_text && !is_packed {
            self.checked += text(&buffer[self.checked as usize..], last)?;
        }
        if rules.streamed {
            let whole = if is_text { self.checked as usize } else { scratch.len() };
            return Ok((consumed, self.chunk(scratch, whole, last)?));
        }
        if !last {
            return Ok((consumed, Event::Part));
        }
        // The message's own buffer becomes the one that all share.
        *scratch = std::mem::take(&mut self.joined);
        (self.flags, self.checked) = (0, 0);
        if is_packed {
            return Ok((consumed, Event::Packed(is_text)));
        }
        Ok((consumed, Event::Message(message(scratch, is_text)?)))
    }

    /// What came, as a chunk: the `whole` first bytes. The others begin a character, and are kept.
    fn chunk<'a>(
        &mut self,
        scratch: &'a [u8],
        whole: usize,
        last: bool,
    ) -> Result<Event<'a>, Violation> {
        self.joined = scratch[whole..].to_vec();
        self.checked = 0;
        if whole == 0 && !last {
            return Ok(Event::Part);
        }
        let data = message(&scratch[..whole], self.has(Self::TEXT))?;
        let first = !self.has(Self::LATER);
        self.flags = if last { 0 } else { self.flags | Self::LATER };
        Ok(Event::Chunk(Chunk { data, first, last }))
    }
}

/// How much of `bytes` is text. A character may be cut, but not by the end of the message.
fn text(bytes: &[u8], last: bool) -> Result<u32, Violation> {
    match str::from_utf8(bytes) {
        Ok(_) => Ok(bytes.len() as u32),
        Err(error) if error.error_len().is_none() && !last => Ok(error.valid_up_to() as u32),
        Err(_) => Err(Violation::no_text()),
    }
}

fn unmask_into(scratch: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    scratch.clear();
    scratch.extend_from_slice(payload);
    mask::apply(scratch, mask);
}

/// Bytes as a message, if they are one.
pub(crate) fn message(bytes: &[u8], is_text: bool) -> Result<Message<'_>, Violation> {
    if !is_text {
        return Ok(Message::Binary(bytes));
    }
    str::from_utf8(bytes).map(Message::Text).map_err(|_| Violation::no_text())
}

/// A control frame, once it is whole.
fn control<'a>(
    header: &Header,
    payload: &[u8],
    scratch: &'a mut Vec<u8>,
) -> Result<(usize, Event<'a>), Violation> {
    let len = usize::try_from(header.payload).expect("at most 125");
    let Some(payload) = payload.get(..len) else {
        return Ok((0, Event::More(header.len + len)));
    };
    unmask_into(scratch, payload, header.mask.unwrap_or_default());
    let payload = &scratch[..];
    let event = match header.opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => {
            let (code, reason) = close::read(payload)?;
            Event::Close(code, reason)
        }
    };
    Ok((header.len + len, event))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
