//! What a program is: the requests that it is called with, and what it does with them. Read next:
//! `answers.rs`.

use std::borrow::Cow;
use std::fmt;
use std::io;

use http::Method;
use httparse::Header;
use wouldblock::{Address, ConnId, Datagram, Timer};

use crate::answers::{Cx, Responder, Stream};
use crate::head::{Framing, Head};
use crate::response::Response;

/// What a program does with requests.
///
/// # Examples
///
/// ```
/// use wouldblock_http::{Cx, Request, Requests, Responder, Response};
/// use wouldblock_http::http::{Method, StatusCode};
///
/// struct Visits(u64);
///
/// impl Requests for Visits {
///     fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
///         let response = match (request.method(), request.path()) {
///             (&Method::GET, "/") => {
///                 self.0 += 1;
///                 Response::text(format!("visit {}\n", self.0))
///             }
///             (_, "/") => Response::new(StatusCode::METHOD_NOT_ALLOWED),
///             _ => Response::new(StatusCode::NOT_FOUND),
///         };
///         responder.send(cx, response);
///     }
/// }
/// ```
pub trait Requests: Sized {
    /// Called with each request, when its body is whole; or before its body, where [`on_head`](Self::on_head) wants that
    /// in pieces. It is answered by
    /// [`Responder::send`], now or later; `responder` may be kept, and sent to a thread. Answers go out in the order of the
    /// requests, in whatever order they are given. A request that is not answered keeps those behind it waiting; the
    /// connection ends at [`Config::idle`](wouldblock::Config::idle), with 503.
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder);

    /// Called with the head of a request that has a body, before any of it is read: how it is to
    /// come. Where the client waits to be told to go on (`Expect: 100-continue`), it is not told
    /// yet. By default bodies are handed out [whole](Body::Whole).
    ///
    /// Not called for a request without a body.
    fn on_head(&mut self, cx: &mut Cx<'_>, request: &Request<'_>) -> Body {
        let _ = (cx, request);
        Body::Whole
    }

    /// Called with each piece of a body that comes in pieces, behind
    /// [`on_request`](Self::on_request), in order; the last call is [`Piece::End`]. One connection
    /// sends one body at a time, so `conn` says which it is.
    ///
    /// [`cx.conn(conn)`](wouldblock::Context::conn) is [paused](wouldblock::Conn::pause) to have no
    /// more pieces for now, and the client is held back by TCP. A request that is answered before
    /// its end has no more pieces: the rest is read over, and the connection ends. Where the body
    /// breaks off, is framed wrongly, too long, or too slow, [`on_abandoned`](Self::on_abandoned)
    /// is called and the client told why.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{ConnId, ConnMap};
    /// use wouldblock_http::{Body, Cx, Piece, Request, Requests, Responder, Response};
    ///
    /// /// Counts what is uploaded, however long it is.
    /// #[derive(Default)]
    /// struct Counts(ConnMap<(u64, Responder)>);
    ///
    /// impl Requests for Counts {
    ///     fn on_head(&mut self, _: &mut Cx<'_>, _: &Request<'_>) -> Body {
    ///         Body::Pieces { max: 1 << 30 }
    ///     }
    ///
    ///     fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
    ///         if request.has_more() {
    ///             self.0.insert(request.conn(), (0, responder));
    ///         } else {
    ///             responder.send(cx, Response::text("0 bytes\n"));
    ///         }
    ///     }
    ///
    ///     fn on_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: Piece<'_>) {
    ///         match piece {
    ///             Piece::Bytes(bytes) => {
    ///                 let (count, _) = self.0.get_mut(conn).expect("its request came before");
    ///                 *count += bytes.len() as u64;
    ///             }
    ///             Piece::End => {
    ///                 let (count, responder) = self.0.remove(conn).expect("its request came before");
    ///                 responder.send(cx, Response::text(format!("{count} bytes\n")));
    ///             }
    ///         }
    ///     }
    ///
    ///     fn on_abandoned(&mut self, _: &mut Cx<'_>, responder: Responder) {
    ///         self.0.remove(responder.conn());
    ///     }
    /// }
    /// ```
    fn on_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: Piece<'_>) {
        let _ = (cx, conn, piece);
    }

    /// Called when the client of a request that is not answered has gone, or its body has failed:
    /// an answer would be ignored.
    fn on_abandoned(&mut self, cx: &mut Cx<'_>, responder: Responder) {
        let _ = (cx, responder);
    }

    /// Called when a [stream](Responder::stream) may be written to: its turn has come, or what was
    /// queued has run down.
    fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        let _ = (cx, stream);
    }

    /// Called when the client of a stream that was not ended has gone.
    fn on_stream_closed(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        let _ = (cx, stream);
    }

    /// As [`Handler::on_start`](wouldblock::Handler::on_start).
    ///
    /// # Errors
    ///
    /// Ends the reactor.
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        let _ = cx;
        Ok(())
    }

    /// As [`Handler::on_timer`](wouldblock::Handler::on_timer).
    fn on_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        let _ = (cx, timer);
    }

    /// As [`Handler::on_datagram`](wouldblock::Handler::on_datagram).
    fn on_datagram(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>) {
        let _ = (cx, datagram);
    }

    /// As [`Handler::on_shutdown`](wouldblock::Handler::on_shutdown).
    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// The [`Requests`] of a closure, which answers each at once.
///
/// # Examples
///
/// ```
/// use wouldblock::Reactor;
/// use wouldblock_http::{Http, Response, answer};
///
/// # fn main() -> std::io::Result<()> {
/// let hello = answer(|request| Response::text(format!("you asked for {}\n", request.path())));
/// let mut reactor = Reactor::new(Http::new(hello))?;
/// reactor.listen("127.0.0.1:0")?;
/// # Ok(())
/// # }
/// ```
pub fn answer<F: FnMut(&Request<'_>) -> Response>(answer: F) -> Answer<F> {
    Answer(answer)
}

/// Made by [`answer`].
pub struct Answer<F>(F);

impl<F: FnMut(&Request<'_>) -> Response> Requests for Answer<F> {
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = (self.0)(request);
        responder.send(cx, response);
    }
}

impl<F> fmt::Debug for Answer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// How the body of a request is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// With its request, when it is whole: up to [`Http::body_max`](crate::Http::body_max).
    #[default]
    Whole,
    /// In pieces, as they come, to [`on_body`](Requests::on_body).
    Pieces {
        /// The most bytes that it may have, without its framing: above, 413; at once where the
        /// request says its length.
        max: u64,
    },
}

/// A part of a body that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes, at least one.
    Bytes(&'a [u8]),
    /// That was all of it.
    End,
}

/// A request: its head, and its body if that came whole.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) body: Cow<'a, [u8]>,
    pub(crate) peer: Address,
    pub(crate) conn: ConnId,
    pub(crate) has_more: bool,
}

impl<'a> Request<'a> {
    /// The method. A `HEAD` is answered as a `GET` would be: its body is left out by itself.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// What is asked for, without the query: `/page`, or `*`. As it came: nothing is decoded
    /// (`%20`) or resolved (`..`).
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.head.target.split('?').next().unwrap_or_default()
    }

    /// What stands behind the first question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.head.target.split_once('?').map(|(_, query)| query)
    }

    /// The host and, if it was named, the port that the client thinks it talks to. `None` only in HTTP/1.0.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.head.host
    }

    /// The first header of this name, in whatever case; `None` as well if it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| str::from_utf8(header.value).ok())
    }

    /// All headers, as they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let headers: &'a [Header<'a>] = self.head.headers;
        headers.iter().map(|header| (header.name, header.value))
    }

    /// The body, without its framing; empty where there is none, or where it comes in
    /// [pieces](Body::Pieces).
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the body comes in pieces, behind this.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The length of the body, if the request says it: not where it is chunked. 0 where there is none.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match self.head.framing {
            Framing::Length(len) => Some(len),
            Framing::Chunked => None,
        }
    }

    /// Where the client is.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// The connection that it came by.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// Whether the client asks for another protocol on this connection, such as `websocket`.
    #[must_use]
    pub fn asks_for(&self, protocol: &str) -> bool {
        let listed = self.header("upgrade").unwrap_or_default().split(',');
        listed.map(str::trim).any(|it| it.eq_ignore_ascii_case(protocol))
    }
}
