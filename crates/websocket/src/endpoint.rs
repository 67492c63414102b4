//! What a user writes.
//!
//! [`Endpoint`] is called with `&mut self`, one callback at a time, as a handler of wouldblock is.
//! Read next: `websocket.rs`, which calls it.

use std::io;

use wouldblock::{CloseReason, Conn, ConnId, Context, Datagram, Input, Origin, Timer};

use crate::client::Client;
use crate::close::Closed;
use crate::handshake::Upgrade;
use crate::http::{Head, Response};
use crate::message::{Chunk, Message};
use crate::ws::Ws;

/// What a connection is to be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Protocol<S> {
    /// The server's side of a WebSocket: the peer is to send the request.
    Server,
    /// The client's side: the request is sent at once.
    Client(Client),
    /// Neither HTTP nor WebSocket: its bytes come to [`on_plain`](Endpoint::on_plain), with this session.
    Plain(S),
}

/// The callbacks of a server, or a client, of WebSockets.
///
/// For each WebSocket: `on_open`, when the handshake is over; then messages, pings and pongs as
/// they come; one `on_close`, and nothing after. A callback must not block: while it runs, nothing
/// else is served.
///
/// An `Err` from a callback of a WebSocket closes it, with the code [`ERROR`](crate::code::ERROR)
/// (1011), behind what was sent; the error is logged, and told to `on_close` as its cause.
///
/// # Examples
///
/// A server that sends each message to all its clients:
///
/// ```no_run
/// use std::collections::HashSet;
/// use std::io;
/// use wouldblock::{ConnId, Context, Reactor};
/// use wouldblock_websocket::{Closed, Endpoint, Head, Message, Prepared, WebSocket, Ws};
///
/// #[derive(Default)]
/// struct Room {
///     members: HashSet<ConnId>,
/// }
///
/// impl Endpoint for Room {
///     type Session = (); // one for each WebSocket
///
///     fn on_open(&mut self, ws: &mut Ws<'_>, _request: &Head<'_>) -> io::Result<()> {
///         self.members.insert(ws.id());
///         Ok(())
///     }
///
///     fn on_message(&mut self, ws: &mut Ws<'_>, _: &mut (), message: Message<'_>) -> io::Result<()> {
///         Prepared::new(message).send_to(ws.cx(), self.members.iter().copied());
///         Ok(())
///     }
///
///     fn on_close(&mut self, _: &mut Context, id: ConnId, _: (), _: Closed) {
///         self.members.remove(&id);
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut reactor = Reactor::new(WebSocket::new(Room::default()))?;
///     reactor.listen("127.0.0.1:9001")?;
///     reactor.run()
/// }
/// ```
pub trait Endpoint: Sized {
    /// What is kept for each connection: made by `on_open`, handed over to `on_close`.
    type Session;

    /// Called when the handshake is over. `head` is the client's request; of a client of ours, the server's
    /// answer.
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011; no other callback comes for this WebSocket.
    fn on_open(&mut self, ws: &mut Ws<'_>, head: &Head<'_>) -> io::Result<Self::Session>;

    /// Called with each message, once, in order, whole however it came.
    ///
    /// Not while the connection is [paused](wouldblock::Conn::pause), or rests since its peer has
    /// not read what it was sent ([`output_high`](wouldblock::Config::output_high)): a loop that
    /// answers each message, with whatever it has, is bounded by itself. Not after [`Ws::close`].
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011.
    fn on_message(
        &mut self,
        ws: &mut Ws<'_>,
        session: &mut Self::Session,
        message: Message<'_>,
    ) -> io::Result<()>;

    /// Called with each part of a message, as it comes, in the place of
    /// [`on_message`](Self::on_message), if that was [asked for](crate::WebSocket::streamed).
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011. By default it is one.
    fn on_chunk(
        &mut self,
        ws: &mut Ws<'_>,
        session: &mut Self::Session,
        chunk: Chunk<'_>,
    ) -> io::Result<()> {
        let _ = (ws, session, chunk);
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a chunk came, and the endpoint has no on_chunk",
        ))
    }

    /// Called when a ping came. It has been answered.
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011.
    fn on_ping(
        &mut self,
        ws: &mut Ws<'_>,
        session: &mut Self::Session,
        payload: &[u8],
    ) -> io::Result<()> {
        let _ = (ws, session, payload);
        Ok(())
    }

    /// Called when a pong came: the answer to a [ping](Ws::ping), those of
    /// [`WebSocket::ping`](crate::WebSocket::ping) included, or one that was not asked for.
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011.
    fn on_pong(
        &mut self,
        ws: &mut Ws<'_>,
        session: &mut Self::Session,
        payload: &[u8],
    ) -> io::Result<()> {
        let _ = (ws, session, payload);
        Ok(())
    }

    /// Called when queued output is at or below [`output_low`](wouldblock::Config::output_low),
    /// after it was at high, or was [asked for](wouldblock::Conn::want_drain).
    ///
    /// # Errors
    ///
    /// Closes, with the code 1011.
    fn on_drain(&mut self, ws: &mut Ws<'_>, session: &mut Self::Session) -> io::Result<()> {
        let _ = (ws, session);
        Ok(())
    }

    /// Called before the library closes a WebSocket in order: a shutdown, or a limit of
    /// [`Config`](wouldblock::Config). For last words; the close frame follows them, with the code
    /// [`AWAY`](crate::code::AWAY) (1001).
    fn on_closing(&mut self, ws: &mut Ws<'_>, session: &mut Self::Session, reason: &CloseReason) {
        let _ = (ws, session, reason);
    }

    /// Called when a WebSocket is over: the peer's close frame came, it broke the protocol, or the
    /// connection ended. From here on nothing can be sent to it.
    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Self::Session, closed: Closed) {
        let _ = (cx, id, session, closed);
    }

    /// Called with a client's request to become a WebSocket, all of which is in order, before it is
    /// answered. The first place to look who it is. Here a subprotocol is chosen, and headers are
    /// added to the answer.
    ///
    /// # Errors
    ///
    /// Refuses: the answer to the client.
    fn on_upgrade(
        &mut self,
        conn: &mut Conn<'_>,
        head: &Head<'_>,
        upgrade: &mut Upgrade,
    ) -> Result<(), Response> {
        let _ = (conn, head, upgrade);
        Ok(())
    }

    /// Called with a request that does not ask for a WebSocket: a browser that wants the page. What
    /// is returned is sent, and the connection is closed behind it. A body, if the request has one,
    /// is not read.
    ///
    /// By default it is `426 Upgrade Required`.
    fn on_request(&mut self, conn: &mut Conn<'_>, head: &Head<'_>) -> Response {
        let _ = (conn, head);
        let response = Response::new(426).header("Upgrade", "websocket");
        response.header("Sec-WebSocket-Version", "13")
    }

    /// Called when a connection is there, before anything has come: what is it to be? By default
    /// [`Protocol::Server`] for one that was accepted or adopted.
    ///
    /// # Errors
    ///
    /// Closes it; no other callback comes. By default it is one for a connect.
    ///
    /// # Examples
    ///
    /// A client, for a connect whose tag is the number of a server, and a client of Redis beside it:
    ///
    /// ```
    /// use std::io;
    /// use wouldblock::{Conn, Origin};
    /// use wouldblock_websocket::{Client, Protocol};
    ///
    /// const REDIS: u64 = 1;
    ///
    /// struct Session {
    ///     subscribed: bool,
    /// }
    ///
    /// fn on_connection(conn: &mut Conn<'_>, origin: Origin) -> io::Result<Protocol<Session>> {
    ///     Ok(match origin {
    ///         Origin::Connected(REDIS) => {
    ///             conn.send("SUBSCRIBE news\r\n");
    ///             Protocol::Plain(Session { subscribed: false })
    ///         }
    ///         Origin::Connected(_) => Protocol::Client(Client::new("ws://example.com/chat")?),
    ///         _ => Protocol::Server,
    ///     })
    /// }
    /// ```
    fn on_connection(
        &mut self,
        conn: &mut Conn<'_>,
        origin: Origin,
    ) -> io::Result<Protocol<Self::Session>> {
        let _ = conn;
        match origin {
            Origin::Connected(_) => {
                let why = "a connect came through, and the endpoint has no on_connection";
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
            _ => Ok(Protocol::Server),
        }
    }

    /// Called with the bytes of a [plain](Protocol::Plain) connection, as
    /// [`Handler::on_data`](wouldblock::Handler::on_data).
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_plain(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let _ = (conn, session, input);
        let why = "bytes came on a plain connection, and the endpoint has no on_plain";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// Called when the peer of a [plain](Protocol::Plain) connection has ended its side, as
    /// [`Handler::on_eof`](wouldblock::Handler::on_eof). Closes by default.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_plain_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        let _ = (session, rest);
        conn.close();
        Ok(())
    }

    /// Called for a [plain](Protocol::Plain) connection, as
    /// [`Handler::on_drain`](wouldblock::Handler::on_drain).
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_plain_drain(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
    ) -> io::Result<()> {
        let _ = (conn, session);
        Ok(())
    }

    /// Called for a [plain](Protocol::Plain) connection, as
    /// [`Handler::on_timeout`](wouldblock::Handler::on_timeout).
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_plain_timeout(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
    ) -> io::Result<()> {
        let _ = (conn, session);
        Ok(())
    }

    /// Called for a [plain](Protocol::Plain) connection, as
    /// [`Handler::on_closing`](wouldblock::Handler::on_closing).
    fn on_plain_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        reason: &CloseReason,
    ) {
        let _ = (conn, session, reason);
    }

    /// Called when a [plain](Protocol::Plain) connection is over, as
    /// [`Handler::on_close`](wouldblock::Handler::on_close).
    fn on_plain_close(
        &mut self,
        cx: &mut Context,
        id: ConnId,
        session: Self::Session,
        closed: wouldblock::Closed,
    ) {
        let _ = (cx, id, session, closed);
    }

    /// Called once, before anything else: [`Handler::on_start`](wouldblock::Handler::on_start).
    ///
    /// # Errors
    ///
    /// Ends the reactor.
    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Called when a timer of the reactor has come: [`Handler::on_timer`](wouldblock::Handler::on_timer).
    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        let _ = (cx, timer);
    }

    /// Called with each datagram: [`Handler::on_datagram`](wouldblock::Handler::on_datagram).
    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        let _ = (cx, datagram);
    }

    /// Called when a connect has failed:
    /// [`Handler::on_connect_failed`](wouldblock::Handler::on_connect_failed). One whose handshake
    /// fails, since the server is none of WebSocket, has failed, too.
    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        let _ = (cx, id, tag, error);
    }

    /// Called once when a shutdown begins: [`Handler::on_shutdown`](wouldblock::Handler::on_shutdown).
    fn on_shutdown(&mut self, cx: &mut Context) {
        let _ = cx;
    }
}
