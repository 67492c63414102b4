//! One WebSocket, as callbacks see it.

use std::fmt;
use std::io;

use wouldblock::{Address, Conn, ConnId, Context};

use crate::close::{self, code};
use crate::codec::{self, CONTROL_MAX, HEADER_MAX, Opcode, PACKED};
use crate::deflate::{BITS_MAX, Contexts};
use crate::mask;
use crate::message::{Form, Message, Prepared};
use crate::topics::Subscriber;
use crate::websocket::Shared;

/// What is to be known of a WebSocket to send on it.
#[derive(Debug, Default)]
pub(crate) struct Out {
    flags: u8,
    /// The window that messages are compressed for; 0 if they are not.
    pub(crate) bits: u8,
    /// How many times our close has waited for a peer that was behind.
    pub(crate) waits: u8,
}

impl Out {
    /// This end is the client: it masks.
    pub(crate) const CLIENT: u8 = 1;
    /// A close frame was sent: nothing follows it.
    pub(crate) const CLOSING: u8 = 2;
    /// Something came since the last look.
    pub(crate) const HEARD: u8 = 4;
    /// A ping was sent, and nothing came since.
    pub(crate) const PINGED: u8 = 8;

    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: u8) {
        self.flags |= flag;
    }

    pub(crate) fn clear(&mut self, flag: u8) {
        self.flags &= !flag;
    }
}

/// A WebSocket, lent to a callback.
///
/// What is sent can fail no more than [`Conn::send`] can: it is ignored where nothing can be sent
/// any more, and [`on_close`](crate::Endpoint::on_close) tells how it ended.
pub struct Ws<'a> {
    pub(crate) conn: Conn<'a>,
    pub(crate) out: &'a mut Out,
    pub(crate) contexts: Option<&'a mut Contexts>,
    pub(crate) shared: &'a mut Shared,
}

impl<'a> Ws<'a> {
    /// Sends a message.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock_websocket::{Message, Ws};
    ///
    /// fn answer(ws: &mut Ws<'_>, message: Message<'_>) {
    ///     ws.send(message);
    ///     ws.send("some text");
    ///     ws.send(&b"some bytes"[..]);
    /// }
    /// ```
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let message = message.into();
        let first = codec::first_byte(message.opcode());
        if self.out.bits > 0 && self.send_packed(first, message.bytes()) {
            return;
        }
        self.frame(first, message.bytes());
    }

    /// Sends a message compressed, if that is worth it. Returns whether it was.
    fn send_packed(&mut self, first: u8, payload: &[u8]) -> bool {
        if !self.is_open() {
            return true; // it is ignored
        }
        let (bits, contexts) = (self.out.bits, self.contexts.as_deref_mut());
        let Some(deflater) = &mut self.shared.deflater else { return false };
        let Some(packed) = deflater.pack(payload, bits, contexts) else { return false };
        self.frame(first | PACKED, &packed);
        if let Some(deflater) = &mut self.shared.deflater {
            deflater.put_back(packed);
        }
        true
    }

    /// In which form a client takes a message that is encoded once: compressed, if nothing that it
    /// is sent refers to messages before.
    pub(crate) fn form(&self) -> Form {
        let refers = self.contexts.as_ref().is_some_and(|contexts| contexts.agreed.sends_takeover);
        if self.out.bits == BITS_MAX && !refers { Form::Packed } else { Form::Frame }
    }

    /// Sends a message that is encoded already. To send it to many, [`Prepared::send_to`].
    pub fn send_prepared(&mut self, prepared: &Prepared) {
        if self.out.has(Out::CLIENT) {
            self.frame(prepared.first_byte(), prepared.payload());
        } else if !self.out.has(Out::CLOSING) {
            self.conn.send_shared(prepared.bytes(self.form()));
        }
    }

    /// Where prepared messages for it are sent later, from any callback: for [`Topics`](crate::Topics).
    ///
    /// # Panics
    ///
    /// If this end is the client.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::of(self)
    }

    /// Sends a ping. Of a payload longer than 125 bytes the first 125 are sent.
    ///
    /// It need not be done to find out whether the peer is there:
    /// [`WebSocket::ping`](crate::WebSocket::ping).
    pub fn ping(&mut self, payload: &[u8]) {
        self.frame(codec::first_byte(Opcode::Ping), &payload[..payload.len().min(CONTROL_MAX)]);
    }

    /// Sends a pong that was not asked for. Pings are answered by themselves.
    pub fn pong(&mut self, payload: &[u8]) {
        self.frame(codec::first_byte(Opcode::Pong), &payload[..payload.len().min(CONTROL_MAX)]);
    }

    /// Closes: sends a close frame behind what was sent, and waits for the peer's, at most
    /// [`close_wait`](crate::WebSocket::close_wait), or 60 times that if the peer has yet to take
    /// what was sent before. From here on sends are ignored, and no message is handed out; what
    /// comes is [`on_close`](crate::Endpoint::on_close).
    ///
    /// Of the reason the first 123 bytes are sent, in whole characters.
    ///
    /// # Panics
    ///
    /// If the code is none that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999.
    pub fn close(&mut self, code: u16, reason: &str) {
        assert!(close::may_be_sent(code), "{code} is no code that a close may have");
        if self.out.has(Out::CLOSING) {
            return;
        }
        self.send_close(code, reason);
        // Where it was paused: the peer's close frame is to be read.
        self.conn.resume();
        let wait = self.shared.settings.close_wait;
        self.conn.set_timeout(wait);
        if !self.out.has(Out::CLIENT) {
            // The core takes no more for it, whoever sends. A client waits for the server's end.
            self.conn.finish();
        }
    }

    /// Sends a close frame, and nothing after it.
    pub(crate) fn send_close(&mut self, code: u16, reason: &str) {
        let mut payload = [0; CONTROL_MAX];
        let reason = close::cut(reason).as_bytes();
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..2 + reason.len()].copy_from_slice(reason);
        let len = if code == code::NONE { 0 } else { 2 + reason.len() };
        self.frame(codec::first_byte(Opcode::Close), &payload[..len]);
        self.out.set(Out::CLOSING);
    }

    /// Ends the connection at once, with a reset: [`Conn::abort`].
    pub fn abort(&mut self) {
        self.conn.abort();
    }

    /// Whether sends are taken: it is not closing, nor has the connection failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.out.has(Out::CLOSING) && self.conn.is_open()
    }

    /// Whether this end is the client's.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.out.has(Out::CLIENT)
    }

    /// The name of the connection.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.conn.id()
    }

    /// The peer's address: [`Conn::peer_addr`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.conn.peer_addr()
    }

    /// The connection itself: to [pause](Conn::pause) it, to ask how much is
    /// [queued](Conn::queued), for its [layer](Conn::layer).
    ///
    /// What is sent here goes out below the frames, and would break them; its timeout is that of the pings.
    pub fn conn(&mut self) -> &mut Conn<'a> {
        &mut self.conn
    }

    /// The rest of the reactor.
    pub fn cx(&mut self) -> &mut Context {
        self.conn.cx()
    }

    /// Sends a frame, masked if this end is the client.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        if self.out.has(Out::CLOSING) {
            return;
        }
        let mut header = [0; HEADER_MAX];
        if !self.out.has(Out::CLIENT) {
            let len = codec::write_header(&mut header, first, payload.len(), None);
            self.conn.send(&header[..len]);
            self.conn.send(payload);
            return;
        }
        let mask = self.shared.masks.next();
        let len = codec::write_header(&mut header, first, payload.len(), Some(mask));
        let masked = &mut self.shared.masked;
        masked.clear();
        masked.extend_from_slice(&header[..len]);
        masked.extend_from_slice(payload);
        mask::apply(&mut masked[len..], mask);
        self.conn.send(&*masked);
        masked.shrink_to(Shared::SCRATCH_MAX);
    }
}

impl fmt::Debug for Ws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ws").field("id", &self.id()).finish_non_exhaustive()
    }
}
