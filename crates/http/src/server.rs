//! The server: requests to a program's `Requests`, its answers back in order.
//!
//! A request stays in the connection's input until it is whole, so what peers can make this crate hold is bounded and
//! counted by the reactor. Here are only numbers: which requests were handed out, and the answers that wait for an
//! earlier one. Read next: `head.rs`, `response.rs`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use http::{Method, StatusCode};
use httparse::Header;
use wouldblock::{
    Address, CloseReason, Closed, Conn, ConnId, ConnMap, Context, Datagram, Handler, Input, Origin,
    Timer,
};

use crate::body::Chunks;
use crate::head::{self, Framing, Head, Refusal};
use crate::response::{Date, Response};

/// The most requests of one client that wait for their answers; then it is not read from.
const PIPELINED_MAX: usize = 64;

/// The body of a request that is whole, and how many bytes the request takes in all.
type Whole<'a> = (Cow<'a, [u8]>, usize);

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
    /// Called with each request, when its body is whole. It is answered by
    /// [`Responder::send`], now or later; `responder` may be kept, and sent to a thread. Answers go out in the order of the
    /// requests, in whatever order they are given. A request that is not answered keeps those behind it waiting; the
    /// connection ends at [`Config::idle`](wouldblock::Config::idle), with 503.
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder);

    /// Called when the client of a request that is not answered has gone: an answer would be ignored.
    fn on_abandoned(&mut self, cx: &mut Cx<'_>, responder: Responder) {
        let _ = (cx, responder);
    }

    /// As [`Handler::on_start`].
    ///
    /// # Errors
    ///
    /// Ends the reactor.
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        let _ = cx;
        Ok(())
    }

    /// As [`Handler::on_timer`].
    fn on_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        let _ = (cx, timer);
    }

    /// As [`Handler::on_datagram`].
    fn on_datagram(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>) {
        let _ = (cx, datagram);
    }

    /// As [`Handler::on_shutdown`].
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

/// A request, whole.
#[derive(Debug)]
pub struct Request<'a> {
    head: Head<'a>,
    body: Cow<'a, [u8]>,
    peer: Address,
    conn: ConnId,
}

impl<'a> Request<'a> {
    /// The method. A `HEAD` is answered as a `GET` would be: its body is left out by itself.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// What is asked for, without the query: `/page`, or `*`. As it came: nothing is decoded (`%20`) or resolved (`..`).
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

    /// The body, without its framing; empty where there is none.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
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

/// What answers one request: a number that may be kept, copied into a closure, sent to a thread. Used once.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a request that is not answered keeps those behind it waiting"]
pub struct Responder {
    conn: ConnId,
    number: u64,
}

impl Responder {
    /// Answers. Ignored if the client has gone.
    pub fn send(self, cx: &mut Cx<'_>, response: Response) {
        let Cx { cx, answers } = cx;
        answers.give(cx, self.conn, self.number, response);
    }

    /// Hands the connection over to another [service](Context::service) of the reactor, with the request unread: it
    /// is the other's first input, as for one that speaks WebSocket. In [`on_request`](Requests::on_request) only.
    /// Where that is called for a request with the header `Upgrade`, all before it are answered.
    pub fn hand_to(self, cx: &mut Cx<'_>, service: u8, tag: u64) {
        if let Some(state) = cx.answers.states.get_mut(self.conn) {
            state.hands_to = Some((service, tag));
        }
    }

    /// The connection of the request.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }
}

/// All that a callback may do: a [`Context`], and the way to each client that waits for an answer.
pub struct Cx<'a> {
    cx: &'a mut Context,
    answers: &'a mut Answers,
}

impl Deref for Cx<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.cx
    }
}

impl DerefMut for Cx<'_> {
    fn deref_mut(&mut self) -> &mut Context {
        self.cx
    }
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("cx", &self.cx).finish_non_exhaustive()
    }
}

/// An HTTP server: a [`Handler`] of [`Requests`].
///
/// Its times are those of the reactor: see [`Config`](wouldblock::Config). A request lies in the connection's input until it is
/// whole, so [`input_max`](wouldblock::Config::input_max) must be more than [`head_max`](Self::head_max) and
/// [`body_max`](Self::body_max) together.
#[derive(Debug)]
pub struct Http<R> {
    requests: R,
    answers: Answers,
    head_max: usize,
    body_max: usize,
}

impl<R: Requests> Http<R> {
    /// One whose heads may have 8 KiB, and whose bodies 32 KiB: what fits `Config::public()`.
    pub fn new(requests: R) -> Self {
        let answers = Answers { states: ConnMap::new(), date: Date::default() };
        Http { requests, answers, head_max: 8 << 10, body_max: 32 << 10 }
    }

    /// The most bytes that the head of a request may have: above, 431 or 414. Default 8 KiB.
    #[must_use]
    pub fn head_max(mut self, bytes: usize) -> Self {
        self.head_max = bytes;
        self
    }

    /// The most bytes that the body of a request may have, without its framing: above, 413. Default 32 KiB.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_max = bytes;
        self
    }

    /// The program's part, and what it needs to answer: for a closure that a thread has
    /// [posted](wouldblock::Handle::post).
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Handle;
    /// # use wouldblock_http::{Http, Requests, Responder, Response};
    /// fn on_a_thread<R: Requests>(handle: &Handle<Http<R>>, responder: Responder) {
    ///     let page = format!("{}\n", 6 * 7); // takes long
    ///     // Refused only when the reactor has ended.
    ///     let _ = handle.post(move |http, cx| {
    ///         let (_, mut cx) = http.parts(cx);
    ///         responder.send(&mut cx, Response::text(page));
    ///     });
    /// }
    /// ```
    pub fn parts<'a>(&'a mut self, cx: &'a mut Context) -> (&'a mut R, Cx<'a>) {
        (&mut self.requests, Cx { cx, answers: &mut self.answers })
    }

    /// The program's part, to look at between turns.
    pub fn requests_mut(&mut self) -> &mut R {
        &mut self.requests
    }

    /// Takes the next request out of the input. Returns whether there may be another.
    fn take_one(&mut self, conn: &mut Conn<'_>, input: &mut Input<'_>) -> bool {
        let id = conn.id();
        let Some(state) = self.answers.states.get_mut(id) else { return false };
        // Between two requests, an empty line is one too many of the last (RFC 9112, section 2.2).
        while state.body.is_none() && input.bytes().starts_with(b"\r\n") {
            input.consume(2);
        }
        if state.is_over {
            input.take_all();
            return false;
        }
        if state.asked.len() >= PIPELINED_MAX {
            state.is_paused = true;
            conn.pause();
            return false;
        }
        if conn.room() == 0 {
            // Offered again when output has come down.
            return false;
        }
        let bytes = input.bytes();
        let Some(end) = head::end(bytes, state.searched) else {
            state.searched = bytes.len();
            if bytes.len() > self.head_max {
                let refusal = self.too_long(bytes);
                self.refuse(conn, refusal);
            }
            return false;
        };
        if end > self.head_max {
            let refusal = self.too_long(&bytes[..end]);
            self.refuse(conn, refusal);
            return false;
        }
        // It may be offered again with what follows it.
        state.searched = 0;
        let looked = head::parse(&bytes[..end], |head| {
            let whole = self.look_for_body(conn, input, &head, end)?;
            Ok(whole.is_some_and(|body| self.hand_out(conn, input, head, body)))
        });
        looked.unwrap_or_else(|refusal| {
            self.refuse(conn, refusal);
            false
        })
    }

    fn too_long(&self, head: &[u8]) -> Refusal {
        if head.iter().take(self.head_max).any(|byte| *byte == b'\n') {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Refusal { status, why: "the head of the request is too large" };
        }
        Refusal { status: StatusCode::URI_TOO_LONG, why: "the target of the request is too long" }
    }

    /// The body behind a head, if it is whole; and how many bytes the request takes in all.
    fn look_for_body<'a>(
        &mut self,
        conn: &mut Conn<'_>,
        input: &mut Input<'a>,
        head: &Head<'_>,
        end: usize,
    ) -> Result<Option<Whole<'a>>, Refusal> {
        let rest = &input.bytes()[end..];
        let state = self.answers.states.get_mut(conn.id()).expect("it is open");
        let waits = head.expects && rest.is_empty() && !state.said_continue;
        if waits && !state.asked.is_empty() {
            // Told to go on behind the answers that are due before: offered again then.
            state.is_paused = true;
            conn.pause();
            return Ok(None);
        }
        let whole = match head.framing {
            Framing::Length(len) => {
                let fits = usize::try_from(len).ok().filter(|len| *len <= self.body_max);
                let Some(len) = fits else {
                    let status = StatusCode::PAYLOAD_TOO_LARGE;
                    return Err(Refusal { status, why: "the body is too large" });
                };
                let body = rest.get(..len).map(|body| (Cow::Borrowed(body), end + len));
                if body.is_none() {
                    input.wait_for(end + len);
                }
                body
            }
            Framing::Chunked => {
                let chunks = state.body.get_or_insert_default();
                let whole = chunks.look(rest, self.body_max)?;
                let len = chunks.len;
                whole.map(|n| (Cow::Owned(Chunks::join(&rest[..n], len)), end + n))
            }
        };
        if waits && whole.is_none() {
            state.said_continue = true;
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        Ok(whole)
    }

    /// Hands a request out. Returns whether there may be another behind it.
    fn hand_out(
        &mut self,
        conn: &mut Conn<'_>,
        input: &mut Input<'_>,
        head: Head<'_>,
        (body, len): Whole<'_>,
    ) -> bool {
        let id = conn.id();
        let state = self.answers.states.get_mut(id).expect("it is open");
        let upgrades = head.headers.iter().any(|it| it.name.eq_ignore_ascii_case("upgrade"));
        if upgrades && !state.asked.is_empty() {
            // What is to be another protocol comes when all before it is answered.
            state.is_paused = true;
            conn.pause();
            return false;
        }
        let (is_1_1, keeps_alive) = (head.is_1_1, head.keeps_alive);
        let number = state.ask(Asked {
            is_head: head.method == Method::HEAD,
            is_1_1,
            keeps_alive,
            response: None,
        });
        state.is_over = !keeps_alive;
        (state.body, state.said_continue) = (None, false);
        conn.hold(true);
        let Ok(peer) = conn.peer_addr() else { return false };
        let request = Request { head, body, peer, conn: id };
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        self.requests.on_request(&mut cx, &request, Responder { conn: id, number });
        if let Some(state) = self.answers.states.get_mut(id)
            && let Some((service, tag)) = state.hands_to.take()
        {
            if state.asked.len() == 1 {
                state.asked.clear();
                // The request stays where it is: it is the other's.
                conn.hand_to(service, tag);
                return false;
            }
            log::warn!("{}: not handed over, requests before it are not answered", request.peer);
        }
        input.consume(len);
        true
    }

    /// Answers what is no request, behind the answers before it, and ends the connection.
    fn refuse(&mut self, conn: &mut Conn<'_>, refusal: Refusal) {
        let Refusal { status, why } = refusal;
        if let Ok(peer) = conn.peer_addr() {
            log::debug!("{peer}: {status}: {why}");
        }
        let id = conn.id();
        let Some(state) = self.answers.states.get_mut(id) else { return };
        state.is_over = true;
        let number =
            state.ask(Asked { is_head: false, is_1_1: true, keeps_alive: false, response: None });
        self.answers.give(conn.cx(), id, number, Response::text(format!("{why}\n")).with(status));
    }
}

impl<R: Requests> Handler for Http<R> {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let (requests, mut cx) = self.parts(cx);
        requests.on_start(&mut cx)
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.answers.states.insert(conn.id(), State::default());
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while !input.is_empty() && self.take_one(conn, input) {}
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        // Half a request will not become a whole one. What was asked is answered.
        match self.answers.states.get_mut(conn.id()) {
            Some(state) if !state.asked.is_empty() => {
                state.is_over = true;
                if let Some(last) = state.asked.back_mut() {
                    last.keeps_alive = false;
                }
            }
            _ => conn.close(),
        }
        Ok(())
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        why: &CloseReason,
    ) -> io::Result<()> {
        let Some(state) = self.answers.states.get_mut(conn.id()) else { return Ok(()) };
        // An answer that is on its way is not to have another in its midst.
        if conn.queued() > 0 {
            return Ok(());
        }
        let status = match why {
            CloseReason::TooSlow => StatusCode::REQUEST_TIMEOUT,
            CloseReason::InputLimit => StatusCode::PAYLOAD_TOO_LARGE,
            CloseReason::Idle | CloseReason::Shutdown if !state.asked.is_empty() => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => return Ok(()),
        };
        self.answers.date.update();
        let response = Response::text(format!("{why}\n")).with(status);
        response.send(conn, &self.answers.date, false, true, false);
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _closed: Closed) {
        let Some(state) = self.answers.states.remove(id) else { return };
        let first = state.answered;
        for (number, asked) in (first..).zip(&state.asked) {
            if asked.response.is_none() {
                let (requests, mut cx) = self.parts(cx);
                requests.on_abandoned(&mut cx, Responder { conn: id, number });
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        let (requests, mut cx) = self.parts(cx);
        requests.on_timer(&mut cx, timer);
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        let (requests, mut cx) = self.parts(cx);
        requests.on_datagram(&mut cx, datagram);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        let (requests, mut cx) = self.parts(cx);
        requests.on_shutdown(&mut cx);
    }
}

/// What each client has asked, and the answers that wait.
#[derive(Debug)]
struct Answers {
    states: ConnMap<State>,
    date: Date,
}

/// One connection.
#[derive(Debug, Default)]
struct State {
    /// Requests whose answer has not gone out, in order.
    asked: VecDeque<Asked>,
    /// The number of those before.
    answered: u64,
    /// Bytes of the input in which no head ends.
    searched: usize,
    /// How far the body was looked through of the request that is coming.
    body: Option<Chunks>,
    said_continue: bool,
    /// No further request is read.
    is_over: bool,
    /// Not read from before an answer has gone out.
    is_paused: bool,
    /// The service that the connection goes to, in place of an answer.
    hands_to: Option<(u8, u64)>,
}

/// A request that was handed out.
#[derive(Debug)]
struct Asked {
    is_head: bool,
    is_1_1: bool,
    keeps_alive: bool,
    /// Its answer, while one before it is not there.
    response: Option<Response>,
}

impl State {
    /// Returns the number of the request.
    fn ask(&mut self, asked: Asked) -> u64 {
        self.asked.push_back(asked);
        self.answered + self.asked.len() as u64 - 1
    }
}

impl Answers {
    /// Takes an answer, and sends those whose turn it is.
    fn give(&mut self, cx: &mut Context, id: ConnId, number: u64, response: Response) {
        let Some(state) = self.states.get_mut(id) else { return };
        let at = number.checked_sub(state.answered).and_then(|at| usize::try_from(at).ok());
        let Some(asked) = at.and_then(|at| state.asked.get_mut(at)) else { return };
        asked.response = Some(response);
        let Some(mut conn) = cx.conn(id) else { return };
        self.date.update();
        while let Some(response) = state.asked.front_mut().and_then(|front| front.response.take()) {
            let asked = state.asked.pop_front().expect("it is there");
            state.answered += 1;
            let keeps_alive = asked.keeps_alive && !response.ends_by_close(asked.is_1_1);
            response.send(&mut conn, &self.date, asked.is_head, asked.is_1_1, keeps_alive);
            if !keeps_alive {
                state.is_over = true;
                conn.hold(false);
                conn.close();
                return;
            }
        }
        if state.asked.is_empty() {
            conn.hold(false);
        }
        if std::mem::take(&mut state.is_paused) {
            conn.resume();
        }
    }
}
