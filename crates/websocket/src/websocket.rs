//! The handler of wouldblock that makes WebSockets of connections, and calls an [`Endpoint`].
//!
//! Of each connection it keeps where its decoder stands, which buffers of all of them are shared, and when to
//! look whether the peer is there. Frames are read in `codec.rs`, requests checked in `handshake.rs`.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use wouldblock::{CloseReason, Conn, ConnId, Context, Datagram, Handler, Input, Origin, Timer};

use crate::client::Asked;
use crate::close::{Closed, Violation, code};
use crate::codec::{self, Decoder, Event, Opcode, Rules};
use crate::deflate::{self, Agreed, Contexts, Deflate, Deflater};
use crate::endpoint::{Endpoint, Protocol};
use crate::handshake::{self, Origins};
use crate::http::{self, Response};
use crate::mask::Masks;
use crate::message::Message;
use crate::ws::{Out, Ws};

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

#[derive(Debug)]
pub(crate) struct Settings {
    message_max: u32,
    messages_max: usize,
    streamed: bool,
    head_max: usize,
    handshake: Duration,
    ping: Option<Duration>,
    pong: Duration,
    pub(crate) close_wait: Duration,
    origins: Origins,
    protocols: Vec<String>,
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
        let settings = Settings {
            message_max: 1 << 20,
            messages_max: 256 << 20,
            streamed: false,
            head_max: 16 << 10,
            handshake: Duration::from_secs(10),
            ping: Some(Duration::from_secs(30)),
            pong: Duration::from_secs(20),
            close_wait: Duration::from_secs(5),
            origins: Origins::Same,
            protocols: Vec::new(),
        };
        let shared = Shared { settings, masks: Masks::new(), masked: Vec::new(), deflater: None };
        WebSocket { endpoint, shared, scratch: Vec::new(), packed: Vec::new(), held: 0 }
    }

    /// The longest message that is accepted, bytes; 1 MiB unless said otherwise, 4 GiB at most. A longer one is
    /// refused when its length is known, with the code [`TOO_BIG`](code::TOO_BIG) (1009).
    ///
    /// What is sent is bounded by [`Config::output_max`](wouldblock::Config::output_max): an echo of 10 MiB needs
    /// that as well.
    #[must_use]
    pub fn message_max(mut self, bytes: usize) -> Self {
        self.shared.settings.message_max = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// Bytes allocated for all messages, of all connections, that are not whole; 256 MiB unless said otherwise.
    /// The connection that passes it is closed, with the code [`TRY_LATER`](code::TRY_LATER) (1013).
    ///
    /// A message that comes in one piece, as most do, needs none.
    #[must_use]
    pub fn messages_max(mut self, bytes: usize) -> Self {
        self.shared.settings.messages_max = bytes;
        self
    }

    /// Hands messages out in [chunks](Endpoint::on_chunk), as they come, however long they are: nothing is
    /// joined, and `message_max` does not hold.
    #[must_use]
    pub fn streamed(mut self, streamed: bool) -> Self {
        self.shared.settings.streamed = streamed;
        self
    }

    /// The longest head of a request or an answer, bytes; 16 KiB unless said otherwise, and 64 headers in any
    /// case. A longer one is answered `431`.
    #[must_use]
    pub fn head_max(mut self, bytes: usize) -> Self {
        self.shared.settings.head_max = bytes;
        self
    }

    /// How long a peer has for its part of the handshake; 10 seconds unless said otherwise. One that takes
    /// longer is answered `408`.
    #[must_use]
    pub fn handshake(mut self, wait: Duration) -> Self {
        self.shared.settings.handshake = wait;
        self
    }

    /// After which silence a peer is sent a ping; 30 seconds unless said otherwise, `None` for never. One that
    /// stays silent for [`pong`](Self::pong) after it is gone, and is told as
    /// [`ABNORMAL`](code::ABNORMAL) (1006). Between one and two of these times pass before it is sent.
    #[must_use]
    pub fn ping(mut self, silence: Option<Duration>) -> Self {
        self.shared.settings.ping = silence;
        self
    }

    /// How long a peer has to answer a ping, with a pong or with anything else; 20 seconds unless said
    /// otherwise.
    #[must_use]
    pub fn pong(mut self, wait: Duration) -> Self {
        self.shared.settings.pong = wait;
        self
    }

    /// How long a peer has to answer our close frame; 5 seconds unless said otherwise.
    #[must_use]
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.shared.settings.close_wait = wait;
        self
    }

    /// From where browsers may connect; [`Origins::Same`] unless said otherwise. Any other request is answered
    /// `403`.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.shared.settings.origins = origins;
        self
    }

    /// The subprotocols that this server speaks, the best first. The first of them that a client offers is
    /// agreed on; if it offers none of them, none is.
    ///
    /// # Panics
    ///
    /// If one is no token.
    #[must_use]
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.shared.settings.protocols = http::tokens(protocols);
        self
    }

    /// Compresses messages, where the peer wants that, too; not unless it is said. Not with
    /// [`streamed`](Self::streamed).
    #[must_use]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.shared.deflater = Some(Deflater::new(deflate));
        self
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
/// By way of its id, so that it has one lifetime in the callbacks' signatures, and not two. What is sent lies
/// in no input, so nothing is lost by it.
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
    /// The handshake, once the peer's head is there.
    #[cold]
    fn open(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let (bytes, max) = (input.bytes(), self.shared.settings.head_max);
        let is_client = session.out.has(Out::CLIENT);
        let end = http::end(bytes, input.seen());
        if end.unwrap_or(bytes.len()) > max {
            if is_client {
                self.fail_connect(
                    conn,
                    session,
                    io::Error::other("the server's answer is too long"),
                );
            } else {
                refuse(conn, session, &Response::new(431));
            }
            return Ok(());
        }
        let Some(end) = end else {
            // Any byte may be the last one.
            input.wait_for(bytes.len() + 1);
            return Ok(());
        };
        input.consume(end);
        if is_client {
            let opened = http::answer(&bytes[..end], |head| self.judge(conn, session, head));
            return opened.unwrap_or_else(|| {
                self.fail_connect(
                    conn,
                    session,
                    io::Error::other("the server's answer is no HTTP"),
                );
                Ok(())
            });
        }
        let answered = http::request(&bytes[..end], |head| self.answer(conn, session, head));
        answered.unwrap_or_else(|status| {
            refuse(conn, session, &Response::new(status));
            Ok(())
        })
    }

    /// A server has answered.
    fn judge(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: http::Head<'_>,
    ) -> io::Result<()> {
        let Some(Extra::Asked(asked)) = session.extra.as_deref() else { return Ok(()) };
        let (tag, checked) = (asked.tag, asked.check(&head));
        match checked {
            Ok((protocol, agreed)) => {
                if agreed.is_none_or(|agreed| !agreed.has_contexts()) {
                    self.shared.leave_place(session.extra.as_deref());
                }
                session.extra = None;
                if let Some(agreed) = agreed {
                    session.agree(agreed);
                }
                self.begin(conn, session, &head.agreed(protocol, Some(tag)))
            }
            Err(why) => {
                self.fail_connect(conn, session, io::Error::other(why));
                Ok(())
            }
        }
    }

    /// A connect of ours has come to nothing: it is told as one that has failed.
    fn fail_connect(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        why: io::Error,
    ) {
        session.phase = Phase::Over;
        conn.abort();
        self.shared.leave_place(session.extra.as_deref());
        if let Some(Extra::Asked(asked)) = session.extra.take().map(|it| *it) {
            let id = conn.id();
            self.endpoint.on_connect_failed(conn.cx(), id, asked.tag, why);
        }
    }

    /// Answers a request: with a page, a refusal, or as asked for.
    fn answer(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: http::Head<'_>,
    ) -> io::Result<()> {
        if !handshake::is_upgrade(&head) {
            let response = self.endpoint.on_request(conn, &head);
            conn.send(response.write(head.method() == "HEAD"));
            session.phase = Phase::Over;
            conn.close();
            return Ok(());
        }
        let Settings { origins, protocols, .. } = &self.shared.settings;
        let checked = handshake::check(&head, origins, protocols).and_then(|mut upgrade| {
            self.endpoint.on_upgrade(conn, &head, &mut upgrade)?;
            Ok(upgrade)
        });
        let mut upgrade = match checked {
            Ok(upgrade) => upgrade,
            Err(response) => {
                log::debug!("{}: a request is answered {}", conn.id(), response.status());
                refuse(conn, session, &response);
                return Ok(());
            }
        };
        if let Some(deflater) = self.shared.deflates() {
            let has_place = deflater.take_place();
            let accepted = deflate::accept(&head, has_place);
            if has_place && accepted.as_ref().is_none_or(|(agreed, _)| !agreed.has_contexts()) {
                deflater.leave_place();
            }
            if let Some((agreed, extension)) = accepted {
                session.agree(agreed);
                upgrade.extension = Some(extension);
            }
        }
        conn.send(upgrade.write(&head));
        self.begin(conn, session, &head.agreed(upgrade.protocol.as_deref(), None))
    }

    /// The handshake is over.
    fn begin(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: &http::Head<'_>,
    ) -> io::Result<()> {
        match self.shared.settings.ping {
            Some(ping) => conn.set_timeout(ping),
            None => drop(conn.cancel_timeout()),
        }
        let WsSession { out, extra, phase, .. } = session;
        *phase = Phase::Over;
        let Some(mut ws) = ws(conn, out, extra, &mut self.shared) else { return Ok(()) };
        match self.endpoint.on_open(&mut ws, head) {
            Ok(session) => *phase = Phase::Open(session),
            Err(error) => {
                ws.send_close(code::ERROR, "");
                return Err(error);
            }
        }
        Ok(())
    }

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
            if is_behind {
                conn.set_timeout(close_wait);
            } else {
                conn.abort();
            }
            return;
        }
        let Some(silence) = ping else { return };
        let wait = if out.has(Out::HEARD) || is_behind {
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

impl Settings {
    fn rules(&self, out: &Out) -> Rules {
        Rules {
            masked: !out.has(Out::CLIENT),
            message_max: self.message_max,
            streamed: self.streamed,
            packed: out.bits > 0,
        }
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

/// Answers a request that becomes no WebSocket, and closes.
#[cold]
fn refuse<S>(conn: &mut Conn<'_>, session: &mut WsSession<S>, response: &Response) {
    conn.send(response.write(false));
    session.phase = Phase::Over;
    conn.close();
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
