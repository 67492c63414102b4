//! The handler of wouldblock that makes WebSockets of connections, and calls an [`Endpoint`].
//!
//! Of each connection it keeps where its decoder stands, which buffers of all of them are shared,
//! and when to look whether the peer is there. Frames are read in `codec.rs`. Read next:
//! `websocket/open.rs`, the handshake.

mod open;
mod settings;

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use wouldblock::{CloseReason, Conn, ConnId, Context, Datagram, Handler, Input, Origin, Timer};

use crate::client::Asked;
use crate::close::{Closed, Violation, code};
use crate::codec::{self, Decoder, Event, Opcode};
use crate::deflate::{Agreed, Contexts, Deflater};
use crate::endpoint::{Endpoint, Protocol};
use crate::http::Response;
use crate::mask::Masks;
use crate::message::Message;
use crate::ws::{Out, Ws};

use self::open::refuse;
pub(crate) use self::settings::Settings;

/// Makes a [`Handler`] of an [`Endpoint`]: what a [`Reactor`](wouldblock::Reactor) is given.
///
/// Its setters are the limits and the manners of all WebSockets of the reactor.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use wouldblock::Reactor;
/// use wouldblock_websocket::{Endpoint, Head, Message, WebSocket, Ws};
///
/// struct Echo;
///
/// impl Endpoint for Echo {
///     type Session = ();
///
///     fn on_open(&mut self, _ws: &mut Ws<'_>, _request: &Head<'_>) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn on_message(&mut self, ws: &mut Ws<'_>, _: &mut (), message: Message<'_>) -> io::Result<()> {
///         ws.send(message);
///         Ok(())
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let echo = WebSocket::new(Echo).message_max(64 << 10).ping(Some(Duration::from_secs(20)));
/// let mut reactor = Reactor::new(echo)?;
/// reactor.listen("127.0.0.1:0")?;
/// # reactor.handle().shutdown();
/// reactor.run()
/// # }
/// ```
pub struct WebSocket<E> {
    endpoint: E,
    shared: Shared,
    /// Where messages are handed out from: one for all.
    scratch: Vec<u8>,
    /// Where they lie before they are unpacked.
    packed: Vec<u8>,
    /// Bytes allocated for messages that are not whole.
    held: usize,
}

/// How many times `close_wait` a close waits for a peer that is still taking what was sent before it.
const CLOSE_WAITS: u8 = 60;

/// What all WebSockets of a reactor share, and a callback may need.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) masks: Masks,
    /// Where a client's frames are masked.
    pub(crate) masked: Vec<u8>,
    /// If messages may be compressed.
    pub(crate) deflater: Option<Deflater>,
}

impl Shared {
    /// What is kept of a shared buffer, bytes.
    pub(crate) const SCRATCH_MAX: usize = 256 << 10;
}

/// The session of a connection that a [`WebSocket`] serves.
#[derive(Debug)]
pub struct WsSession<S> {
    decoder: Decoder,
    out: Out,
    /// What few have, or for a short time.
    extra: Option<Box<Extra>>,
    phase: Phase<S>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the smaller one is there for a moment")]
enum Extra {
    /// A server was asked, and has not answered.
    Asked(Asked),
    /// Messages are compressed, and refer to those before.
    Contexts(Contexts),
}

#[derive(Debug)]
enum Phase<S> {
    /// The peer's request is to come, or its answer.
    Opening,
    Open(S),
    Plain(S),
    /// `on_close` was called, or the handshake has failed.
    Over,
}

impl<E: Endpoint> WebSocket<E> {
    /// With the limits that its setters name as defaults.
    pub fn new(endpoint: E) -> Self {
        let shared = Shared {
            settings: Settings::default(),
            masks: Masks::new(),
            masked: Vec::new(),
            deflater: None,
        };
        WebSocket { endpoint, shared, scratch: Vec::new(), packed: Vec::new(), held: 0 }
    }

    /// Gives the endpoint back.
    pub fn into_inner(self) -> E {
        self.endpoint
    }

    /// Calls `then` with a WebSocket and its session, if it is one: for a closure that was
    /// [posted](wouldblock::Handle::post_to) to a connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{ConnId, Handle};
    /// use wouldblock_websocket::{Endpoint, WebSocket};
    ///
    /// fn tell<E: Endpoint>(handle: &Handle<WebSocket<E>>, id: ConnId, news: String) {
    ///     let _ = handle.post_to(id, move |websocket, conn, session| {
    ///         websocket.with(conn, session, |_endpoint, ws, _session| ws.send(&news));
    ///         Ok(())
    ///     });
    /// }
    /// ```
    pub fn with<T>(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        then: impl FnOnce(&mut E, &mut Ws<'_>, &mut E::Session) -> T,
    ) -> Option<T> {
        let WsSession { out, extra, phase: Phase::Open(session), .. } = session else {
            return None;
        };
        let mut ws = ws(conn, out, extra, &mut self.shared)?;
        Some(then(&mut self.endpoint, &mut ws, session))
    }
}

/// The WebSocket of the connection that is served.
///
/// By way of its id, so that it has one lifetime in the callbacks' signatures, and not two. What is
/// sent lies in no input, so nothing is lost by it.
fn ws<'a>(
    conn: &'a mut Conn<'_>,
    out: &'a mut Out,
    extra: &'a mut Option<Box<Extra>>,
    shared: &'a mut Shared,
) -> Option<Ws<'a>> {
    let id = conn.id();
    let contexts = match extra.as_deref_mut() {
        Some(Extra::Contexts(contexts)) => Some(contexts),
        Some(Extra::Asked(_)) | None => None,
    };
    Some(Ws { conn: conn.cx().conn(id)?, out, contexts, shared })
}

impl<E: Endpoint> Handler for WebSocket<E> {
    type Session = WsSession<E::Session>;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Self::Session> {
        let protocol = self.endpoint.on_connection(conn, origin)?;
        let (decoder, out) = (Decoder::default(), Out::default());
        let mut session = WsSession { decoder, out, extra: None, phase: Phase::Opening };
        session.phase = match protocol {
            Protocol::Server => {
                conn.set_timeout(self.shared.settings.handshake);
                Phase::Opening
            }
            Protocol::Client(client) => {
                let (Origin::Connected(tag) | Origin::Adopted(tag)) = origin else {
                    return Err(io::Error::other("a connection that was accepted is no client's"));
                };
                conn.set_timeout(self.shared.settings.handshake);
                let takeover = self.shared.deflates().map(Deflater::take_place);
                let (request, asked) = client.ask(&mut self.shared.masks, tag, takeover);
                conn.send(request);
                session.out.set(Out::CLIENT);
                session.extra = Some(Box::new(Extra::Asked(asked)));
                Phase::Opening
            }
            Protocol::Plain(session) => Phase::Plain(session),
        };
        Ok(session)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        match &mut session.phase {
            Phase::Open(_) => {}
            Phase::Opening => self.open(conn, session, input)?,
            Phase::Plain(session) => return self.endpoint.on_plain(conn, session, input),
            Phase::Over => {
                input.take_all();
                return Ok(());
            }
        }
        self.read(conn, session, input)
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Phase::Plain(session) = &mut session.phase {
            return self.endpoint.on_plain_eof(conn, session, rest);
        }
        conn.close();
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        if let Phase::Plain(session) = &mut session.phase {
            return self.endpoint.on_plain_drain(conn, session);
        }
        let called = self.with(conn, session, Endpoint::on_drain);
        self.fail(conn, session, called.unwrap_or(Ok(())))
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        match &mut session.phase {
            Phase::Opening if session.out.has(Out::CLIENT) => {
                let why =
                    io::Error::new(io::ErrorKind::TimedOut, "the server took too long to answer");
                self.fail_connect(conn, session, why);
                Ok(())
            }
            Phase::Opening => {
                refuse(conn, session, &Response::new(408));
                Ok(())
            }
            Phase::Open(_) => {
                self.look(conn, session);
                Ok(())
            }
            Phase::Plain(session) => self.endpoint.on_plain_timeout(conn, session),
            Phase::Over => Ok(()),
        }
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        match &mut session.phase {
            Phase::Opening if session.out.has(Out::CLIENT) => {}
            Phase::Opening => {
                let is_late = matches!(reason, CloseReason::FirstByte | CloseReason::TooSlow);
                conn.send(Response::new(if is_late { 408 } else { 503 }).write(false));
            }
            Phase::Plain(session) => self.endpoint.on_plain_closing(conn, session, reason),
            Phase::Open(_) => {
                self.with(conn, session, |endpoint, ws, session| {
                    endpoint.on_closing(ws, session, reason);
                    ws.send_close(code::AWAY, "");
                });
            }
            Phase::Over => {}
        }
        Ok(())
    }

    fn on_close(
        &mut self,
        cx: &mut Context,
        id: ConnId,
        session: Self::Session,
        closed: wouldblock::Closed,
    ) {
        self.held -= session.decoder.held();
        self.shared.leave_place(session.extra.as_deref());
        match session.phase {
            Phase::Open(session) => {
                self.endpoint.on_close(cx, id, session, Closed::without(closed.reason));
            }
            Phase::Plain(session) => self.endpoint.on_plain_close(cx, id, session, closed),
            Phase::Opening => {
                if let Some(Extra::Asked(asked)) = session.extra.as_deref() {
                    let why = format!("the server did not answer: {closed}");
                    self.endpoint.on_connect_failed(cx, id, asked.tag, io::Error::other(why));
                }
            }
            Phase::Over => {}
        }
    }

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.endpoint.on_start(cx)
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.endpoint.on_timer(cx, timer);
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.endpoint.on_datagram(cx, datagram);
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        self.endpoint.on_connect_failed(cx, id, tag, error);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.endpoint.on_shutdown(cx);
    }
}

impl<E: Endpoint> WebSocket<E> {
    /// Reads frames, and calls the endpoint with what they are.
    fn read(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let WsSession { decoder, out, extra, phase } = session;
        let Phase::Open(own) = phase else { return Ok(()) };
        out.set(Out::HEARD);
        let rules = self.shared.settings.rules(out);
        let Some(mut ws) = ws(conn, out, extra, &mut self.shared) else { return Ok(()) };
        let held = decoder.held();
        // What the endpoint does, and the messages of all that are not whole, take no part in it.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut over = None;
        let mut called = Ok(());
        while called.is_ok() && ws.conn.is_reading() {
            let (n, event) = match decoder.decode(input.bytes(), &mut scratch, rules) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    over = Some(refuse_frame(&mut ws, violation));
                    break;
                }
            };
            input.consume(n);
            called = match event {
                Event::More(needed) => {
                    input.wait_for(needed);
                    break;
                }
                Event::Close(code, reason) => {
                    over = Some(Closed::by_peer(code, reason));
                    ws.send_close(code, "");
                    ws.conn.close();
                    break;
                }
                // The close frame is sent: what still comes is not for the endpoint.
                _ if ws.out.has(Out::CLOSING) => Ok(()),
                Event::Part => Ok(()),
                Event::Message(message) => self.endpoint.on_message(&mut ws, own, message),
                Event::Packed(is_text) => {
                    std::mem::swap(&mut scratch, &mut self.packed);
                    let packed = &mut self.packed;
                    match unpack(&mut ws, packed, &mut scratch, is_text, rules.message_max) {
                        Ok(message) => self.endpoint.on_message(&mut ws, own, message),
                        Err(violation) => {
                            over = Some(refuse_frame(&mut ws, violation));
                            break;
                        }
                    }
                }
                Event::Chunk(chunk) => self.endpoint.on_chunk(&mut ws, own, chunk),
                Event::Ping(payload) => {
                    ws.frame(codec::first_byte(Opcode::Pong), payload);
                    self.endpoint.on_ping(&mut ws, own, payload)
                }
                Event::Pong(payload) => self.endpoint.on_pong(&mut ws, own, payload),
            };
        }
        for buffer in [&mut scratch, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(Shared::SCRATCH_MAX);
        }
        self.scratch = scratch;
        let max = ws.shared.settings.messages_max;
        if over.is_none() && decoder.held() > held && self.held - held + decoder.held() > max {
            log::info!("{}: the messages that are not whole pass messages_max", ws.id());
            over = Some(refuse_frame(&mut ws, Violation::too_much()));
        }
        if over.is_some() {
            *decoder = Decoder::default();
        }
        self.held = self.held - held + decoder.held();
        if let Some(closed) = over {
            let Phase::Open(own) = std::mem::replace(phase, Phase::Over) else { return Ok(()) };
            let id = conn.id();
            self.endpoint.on_close(conn.cx(), id, own, closed);
        }
        self.fail(conn, session, called)
    }

    /// An error of the endpoint is told to the peer before the connection is closed with it.
    fn fail(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        called: io::Result<()>,
    ) -> io::Result<()> {
        if called.is_err() {
            self.with(conn, session, |_, ws, _| ws.send_close(code::ERROR, ""));
        }
        called
    }

    /// The time has come to look whether the peer is there, or whether it has answered our close.
    fn look(&mut self, conn: &mut Conn<'_>, session: &mut WsSession<E::Session>) {
        let WsSession { out, extra, .. } = session;
        let Settings { ping, pong, close_wait, .. } = self.shared.settings;
        // It takes what it is sent, or `write_stall` ends it: its answer may be far behind.
        let is_behind = conn.queued() > 0;
        if out.has(Out::CLOSING) {
            if is_behind && out.waits < CLOSE_WAITS {
                out.waits += 1;
                conn.set_timeout(close_wait);
            } else {
                conn.abort();
            }
            return;
        }
        let Some(silence) = ping else { return };
        // While it is paused no pong is read.
        let wait = if out.has(Out::HEARD) || is_behind || !conn.is_reading() {
            out.clear(Out::PINGED);
            silence
        } else if out.has(Out::PINGED) {
            log::info!("{}: no answer to a ping", conn.id());
            return conn.abort();
        } else {
            let Some(mut ws) = ws(conn, out, extra, &mut self.shared) else { return };
            ws.ping(b"");
            out.set(Out::PINGED);
            pong
        };
        out.clear(Out::HEARD);
        conn.set_timeout(wait);
    }
}

impl Shared {
    /// What compresses, if messages may be compressed.
    fn deflates(&mut self) -> Option<&mut Deflater> {
        self.deflater.as_mut().filter(|_| !self.settings.streamed)
    }

    /// A connection does not need its place among those with contexts any more, if it has one.
    fn leave_place(&mut self, extra: Option<&Extra>) {
        let has_place = match extra {
            Some(Extra::Asked(asked)) => asked.takeover == Some(true),
            Some(Extra::Contexts(_)) => true,
            None => false,
        };
        if let Some(deflater) = self.deflater.as_mut().filter(|_| has_place) {
            deflater.leave_place();
        }
    }
}

impl<S> WsSession<S> {
    /// Messages are compressed from here on.
    fn agree(&mut self, agreed: Agreed) {
        self.out.bits = agreed.bits;
        self.extra = Contexts::new(agreed).map(Extra::Contexts).map(Box::new);
    }
}

/// A message that was compressed.
fn unpack<'a>(
    ws: &mut Ws<'_>,
    packed: &mut Vec<u8>,
    to: &'a mut Vec<u8>,
    is_text: bool,
    max: u32,
) -> Result<Message<'a>, Violation> {
    if let Some(deflater) = &mut ws.shared.deflater {
        deflater.unpack(packed, to, max, ws.contexts.as_deref_mut())?;
    }
    codec::message(to, is_text)
}

/// Tells a peer what it has done, and closes.
#[cold]
fn refuse_frame(ws: &mut Ws<'_>, violation: Violation) -> Closed {
    log::debug!("{}: {violation}", ws.id());
    ws.send_close(violation.code, violation.what);
    ws.conn.close();
    Closed::by_violation(violation)
}

impl<E> Deref for WebSocket<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.endpoint
    }
}

impl<E> DerefMut for WebSocket<E> {
    fn deref_mut(&mut self) -> &mut E {
        &mut self.endpoint
    }
}

impl<E> fmt::Debug for WebSocket<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}
