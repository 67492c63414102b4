//! What a WebSocket carries: messages, chunks of them, and messages that are encoded once for many.

use std::sync::OnceLock;

use wouldblock::bytes::Bytes;
use wouldblock::{ConnId, Context};

use crate::codec::{self, HEADER_MAX, Opcode, PACKED};
use crate::deflate;

/// Shorter messages are not compressed for many.
const PACKED_MIN: usize = 64;

/// A message: text, or bytes of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text; it is UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Its bytes, of either kind.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    pub(crate) fn opcode(self) -> Opcode {
        match self {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

/// A part of a message, of an endpoint that is given them [as they
/// come](crate::WebSocket::streamed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// What came; of a text whole characters. May be empty where it is the last.
    pub data: Message<'a>,
    /// Whether a message begins with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
}

/// The form in which a connection takes a message that is encoded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A frame.
    Frame,
    /// A frame, compressed by itself.
    Packed,
    /// What [`Prepared::plain`] was given.
    Plain,
}

/// A message that a server encodes once, and sends to as many as it likes.
///
/// It is kept once, however many connections have to wait for their peers to read.
///
/// # Examples
///
/// ```
/// use wouldblock::{ConnId, Context};
/// use wouldblock_websocket::Prepared;
///
/// fn tell_all(cx: &mut Context, members: &[ConnId], text: &str) {
///     Prepared::new(text).send_to(cx, members.iter().copied());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Prepared {
    /// As a server sends it: without a mask.
    frame: Bytes,
    /// Bytes of its header.
    header: usize,
    /// The same compressed by itself, once it was needed; the frame above if it is short.
    packed: OnceLock<Bytes>,
    /// What connections are sent that are no WebSockets.
    plain: Bytes,
}

impl Prepared {
    /// Encodes a message.
    #[must_use]
    pub fn new<'a>(message: impl Into<Message<'a>>) -> Self {
        let message = message.into();
        let (frame, header) = frame(codec::first_byte(message.opcode()), message.bytes());
        Prepared { frame, header, packed: OnceLock::new(), plain: Bytes::new() }
    }

    /// Sets what [plain](crate::Subscriber::plain) subscribers are sent of it; nothing unless it is set.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock_websocket::Prepared;
    ///
    /// fn line(text: &str) -> Prepared {
    ///     Prepared::new(text).plain(format!("{text}\n"))
    /// }
    /// ```
    #[must_use]
    pub fn plain(mut self, bytes: impl Into<Bytes>) -> Self {
        self.plain = bytes.into();
        self
    }

    /// Sends it to each of these WebSockets, which are those of a server's clients. One that closes, or is
    /// gone, is left out. It is not compressed; [`Topics`](crate::Topics) knows of each whether it may be.
    pub fn send_to(&self, cx: &mut Context, to: impl IntoIterator<Item = ConnId>) {
        cx.broadcast_to(to, self.frame.clone());
    }

    /// The frame, as a server sends it to a client, whatever was agreed on with that: it is not compressed.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// What a connection is sent that takes it in this form.
    pub(crate) fn bytes(&self, form: Form) -> Bytes {
        match form {
            Form::Frame => self.frame(),
            Form::Packed => self.packed(),
            Form::Plain => self.plain.clone(),
        }
    }

    /// The frame for clients that take messages compressed.
    fn packed(&self) -> Bytes {
        let packed = self.packed.get_or_init(|| {
            if self.payload().len() < PACKED_MIN {
                return self.frame.clone();
            }
            let packed = deflate::pack_alone(self.payload());
            frame(self.first_byte() | PACKED, &packed).0
        });
        packed.clone()
    }

    pub(crate) fn first_byte(&self) -> u8 {
        self.frame[0]
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.frame[self.header..]
    }
}

/// A frame as a server sends it, and the length of its header.
fn frame(first: u8, payload: &[u8]) -> (Bytes, usize) {
    let mut header = [0; HEADER_MAX];
    let len = codec::write_header(&mut header, first, payload.len(), None);
    (Bytes::from([&header[..len], payload].concat()), len)
}
