//! The way back: answers in the order of the requests, whole or as streams.
//!
//! Here are only numbers: which requests were handed out, and the answers that wait for an earlier
//! one. Read next: `response.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use wouldblock::bytes::Bytes;
use wouldblock::{Conn, ConnId, ConnMap, Context};

use crate::body::{Arriving, Chunks};
use crate::response::{Date, Fate, Response};

/// How long a client may take nothing and say nothing behind the last answer, when its kernel has
/// all of it.
const LAST_IDLE: Duration = Duration::from_secs(5);

/// How long a client has for what the kernel holds of the last answer, if it sends on meanwhile,
/// which never lets it be idle.
const LAST_MAX: Duration = Duration::from_secs(600);

/// What answers one request: a number that may be kept, copied into a closure, sent to a thread. Used once.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a request that is not answered keeps those behind it waiting"]
pub struct Responder {
    pub(crate) conn: ConnId,
    pub(crate) number: u64,
}

impl Responder {
    /// Sends the answer, when its turn has come. Ignored if the client has gone.
    pub fn send(self, cx: &mut Cx<'_>, response: Response) {
        let Cx { cx, answers } = cx;
        answers.give(cx, self.conn, self.number, Given::Whole(response));
    }

    /// Begins an answer with a body that is sent bit by bit as it comes to be: a feed, a log. What
    /// `response` has for a body is left out. It goes out in chunks; to a client of HTTP/1.0 it
    /// ends with the connection.
    ///
    /// It is written to when its [turn](Stream::room) has come. Until it is [ended](Stream::end),
    /// requests behind it wait. A stream that sends nothing ends at
    /// [`Config::idle`](wouldblock::Config::idle), with a reset; as what is not ended does at the
    /// end of a shutdown.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock_http::http::StatusCode;
    /// use wouldblock_http::{Cx, Request, Requests, Responder, Response, Stream};
    ///
    /// /// Sends every client what each says.
    /// #[derive(Default)]
    /// struct Wall(Vec<Stream>);
    ///
    /// impl Requests for Wall {
    ///     fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
    ///         if request.path() == "/read" {
    ///             self.0.push(responder.stream(cx, Response::new(StatusCode::OK)));
    ///             return;
    ///         }
    ///         // A client that does not keep up misses something.
    ///         for stream in &self.0 {
    ///             if stream.room(cx) > 0 {
    ///                 stream.send(cx, request.body());
    ///             }
    ///         }
    ///         responder.send(cx, Response::new(StatusCode::NO_CONTENT));
    ///     }
    ///
    ///     fn on_stream_closed(&mut self, _: &mut Cx<'_>, stream: Stream) {
    ///         self.0.retain(|it| *it != stream);
    ///     }
    /// }
    /// ```
    pub fn stream(self, cx: &mut Cx<'_>, response: Response) -> Stream {
        let Cx { cx, answers } = cx;
        answers.give(cx, self.conn, self.number, Given::Stream(response));
        Stream { conn: self.conn, number: self.number }
    }

    /// Hands the connection over to another [service](Context::service) of the reactor, with the
    /// request unread: it is the other's first input, as for one that speaks WebSocket. In
    /// [`on_request`](crate::Requests::on_request) only. It goes when all requests before it are
    /// answered; until then nothing more is read. (For a request with the header `Upgrade`,
    /// `on_request` is called when they are.)
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

/// An answer whose body is sent bit by bit: made by [`Responder::stream`]. A number that may be
/// kept, and sent to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    pub(crate) conn: ConnId,
    pub(crate) number: u64,
}

impl Stream {
    /// How many bytes may be sent before reading rests ([`Conn::room`](wouldblock::Conn::room)). 0:
    /// not now; where the stream [is open](Self::is_open),
    /// [`on_writable`](crate::Requests::on_writable) is called when that changes.
    ///
    /// An answer waits for those of the requests before it; before its turn there is no room.
    pub fn room(&self, cx: &mut Cx<'_>) -> usize {
        let is_its_turn = cx.answers.streaming(*self).is_some();
        let Some(mut conn) = cx.cx.conn(self.conn).filter(|_| is_its_turn) else { return 0 };
        let room = conn.room();
        if room == 0 {
            conn.want_drain();
        }
        room
    }

    /// Sends bytes. Returns whether they were taken: not before its turn, nor when it is over. As
    /// [`Conn::send`](wouldblock::Conn::send) it is not without a bound: look for [`room`](Self::room).
    pub fn send(&self, cx: &mut Cx<'_>, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let Some(is_chunked) = cx.answers.streaming(*self) else { return false };
        let Some(mut conn) = cx.cx.conn(self.conn) else { return false };
        // A chunk of no bytes would be the end.
        if !bytes.is_empty() {
            if is_chunked {
                conn.send(format!("{:x}\r\n", bytes.len()));
            }
            conn.send(bytes);
            if is_chunked {
                conn.send("\r\n");
            }
        }
        true
    }

    /// Sends bytes that are a chunk already, shared by all that they are sent to.
    pub(crate) fn send_framed(&self, cx: &mut Cx<'_>, framed: &Framed) -> bool {
        let Some(is_chunked) = cx.answers.streaming(*self) else { return false };
        let Some(mut conn) = cx.cx.conn(self.conn) else { return false };
        conn.send_shared(if is_chunked { framed.chunk.clone() } else { framed.bytes.clone() });
        true
    }

    /// Its name, in an order.
    pub(crate) fn key(self) -> (u64, u64) {
        (self.conn.to_u64(), self.number)
    }

    /// Ends it, behind what was sent: that was all. Before its turn its answer is an empty one.
    pub fn end(self, cx: &mut Cx<'_>) {
        let Cx { cx, answers } = cx;
        answers.end(cx, self);
    }

    /// Breaks it off: the client sees a reset, and not the end. Behind what was sent.
    pub fn break_off(self, cx: &mut Cx<'_>) {
        if let Some(mut conn) =
            cx.cx.conn(self.conn).filter(|_| cx.answers.asked(self.conn, self.number).is_some())
        {
            conn.hold(false);
            conn.close_reset();
        }
    }

    /// Whether it was neither ended nor left by its client.
    #[must_use]
    pub fn is_open(&self, cx: &mut Cx<'_>) -> bool {
        let is_known = cx.answers.asked(self.conn, self.number).is_some();
        is_known && cx.cx.conn(self.conn).is_some_and(|conn| conn.is_open())
    }

    /// The connection.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.conn
    }
}

/// Bytes, and the chunk that they are: one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Framed {
    pub(crate) bytes: Bytes,
    chunk: Bytes,
}

impl Framed {
    /// At least one byte.
    pub(crate) fn new(bytes: &[u8]) -> Framed {
        let line = format!("{:x}\r\n", bytes.len());
        let chunk = Bytes::from([line.as_bytes(), bytes, b"\r\n"].concat());
        Framed { bytes: chunk.slice(line.len()..chunk.len() - 2), chunk }
    }
}

/// All that a callback may do: a [`Context`], and the way to each client that waits for an answer.
pub struct Cx<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) answers: &'a mut Answers,
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

/// What each client has asked, and the answers that wait.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) states: ConnMap<State>,
    pub(crate) date: Date,
    /// Where the heads of answers are made.
    pub(crate) head: Vec<u8>,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Requests whose answer has not gone out, in order.
    pub(crate) asked: VecDeque<Asked>,
    /// The number of those before.
    pub(crate) answered: u64,
    /// Bytes of the input in which no head ends.
    pub(crate) searched: usize,
    /// Empty lines that were read over since the last request.
    pub(crate) blank: u8,
    /// How far the body of the request that is coming was looked through: it is to be whole.
    pub(crate) body: Option<Chunks>,
    /// The body that comes in pieces, of the request handed out last.
    pub(crate) upload: Option<Upload>,
    pub(crate) said_continue: bool,
    /// No further request is read.
    pub(crate) is_over: bool,
    /// Not read from before an answer has gone out.
    pub(crate) is_paused: bool,
    /// The service that the connection goes to, in place of an answer.
    pub(crate) hands_to: Option<(u8, u64)>,
}

/// A body that comes in pieces.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) arriving: Arriving,
    /// Bytes of it that have come in this window of time.
    pub(crate) moved: usize,
    /// In this window there was a time in which the program did not want more.
    pub(crate) stood: bool,
    /// The window has begun.
    pub(crate) is_timed: bool,
}

/// A request that was handed out.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) fate: Fate,
    pub(crate) given: Given,
}

/// What has become of a request.
#[derive(Debug)]
pub(crate) enum Given {
    Nothing,
    /// Its answer, while one before it is not there.
    Whole(Response),
    /// The head of a stream, likewise.
    Stream(Response),
    /// The stream's head is out.
    Streaming,
}

impl State {
    /// Returns the number of the request.
    pub(crate) fn ask(&mut self, fate: Fate) -> u64 {
        self.asked.push_back(Asked { fate, given: Given::Nothing });
        self.answered + self.asked.len() as u64 - 1
    }

    /// The number of the last request.
    pub(crate) fn last(&self) -> Option<u64> {
        (self.answered + self.asked.len() as u64).checked_sub(1)
    }

    /// No further request is read, and the connection ends behind the answer to the last one.
    pub(crate) fn end_behind_last(&mut self) {
        self.is_over = true;
        if let Some(last) = self.asked.back_mut() {
            last.fate.keeps_alive = false;
        }
    }

    fn at(&mut self, number: u64) -> Option<&mut Asked> {
        let at = number.checked_sub(self.answered).and_then(|at| usize::try_from(at).ok())?;
        self.asked.get_mut(at)
    }

    /// The answer that goes out now is a stream.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.asked.front(), Some(Asked { given: Given::Streaming, .. }))
    }
}

impl Answers {
    fn asked(&mut self, id: ConnId, number: u64) -> Option<&mut Asked> {
        self.states.get_mut(id)?.at(number)
    }

    /// Whether this stream goes out in chunks; `None`: it does not go out.
    fn streaming(&mut self, stream: Stream) -> Option<bool> {
        let asked = self.asked(stream.conn, stream.number)?;
        matches!(asked.given, Given::Streaming).then_some(asked.fate.is_1_1)
    }

    /// Takes an answer, and sends those whose turn it is.
    pub(crate) fn give(&mut self, cx: &mut Context, id: ConnId, number: u64, given: Given) {
        let Some(state) = self.states.get_mut(id) else { return };
        let is_last = state.last() == Some(number);
        let Some(asked) = state.at(number) else { return };
        if !matches!(asked.given, Given::Nothing) {
            return;
        }
        asked.given = given;
        if is_last && state.upload.take().is_some() {
            // Answered before its end: what still comes of the body is read over (RFC 9112, section 9.3).
            state.end_behind_last();
        }
        self.flush(cx, id);
    }

    /// Sends the answers whose turn it is.
    pub(crate) fn flush(&mut self, cx: &mut Context, id: ConnId) {
        let Some(state) = self.states.get_mut(id) else { return };
        self.date.update(cx.now());
        let Some(mut conn) = cx.conn(id) else { return };
        while let Some(asked) = state.asked.front_mut() {
            if conn.room() == 0 && matches!(asked.given, Given::Whole(_) | Given::Stream(_)) {
                // Many that have waited may be more than output can hold: `on_drain` goes on.
                conn.want_drain();
                break;
            }
            let (response, streams) = match std::mem::replace(&mut asked.given, Given::Nothing) {
                Given::Nothing => break,
                Given::Streaming => {
                    asked.given = Given::Streaming;
                    break;
                }
                Given::Whole(response) => (response, false),
                Given::Stream(response) => (response.streamed(), true),
            };
            asked.fate.keeps_alive &= !response.ends_by_close(asked.fate.is_1_1);
            if response.send(&mut conn, &self.date, asked.fate, &mut self.head) && streams {
                asked.given = Given::Streaming;
                // `on_writable` comes in a later turn.
                conn.want_drain();
                break;
            }
            if !state.leave(&mut conn) {
                return;
            }
        }
        state.go_on(&mut conn);
    }

    /// Ends a stream.
    fn end(&mut self, cx: &mut Context, stream: Stream) {
        let Some(state) = self.states.get_mut(stream.conn) else { return };
        let Some(asked) = state.at(stream.number) else { return };
        match std::mem::replace(&mut asked.given, Given::Nothing) {
            Given::Streaming => {
                let Some(mut conn) = cx.conn(stream.conn) else { return };
                if asked.fate.is_1_1 {
                    conn.send("0\r\n\r\n");
                }
                if state.leave(&mut conn) {
                    self.flush(cx, stream.conn);
                }
            }
            Given::Stream(response) => {
                asked.given = Given::Whole(response.body(Bytes::new()));
                self.flush(cx, stream.conn);
            }
            other => asked.given = other,
        }
    }
}

impl State {
    /// The first answer is out. Returns whether the connection stays.
    fn leave(&mut self, conn: &mut Conn<'_>) -> bool {
        let Asked { fate, .. } = self.asked.pop_front().expect("it is there");
        self.answered += 1;
        if !fate.keeps_alive {
            conn.hold(false);
            self.end(conn);
        }
        fate.keeps_alive
    }

    /// Ends the connection behind what it owes. Not by a close, which has
    /// [`close_max`](wouldblock::Config::close_max) for all of that: it stays, reads over what
    /// comes, and is closed when its client has taken all and ends, or is silent, or sends on for
    /// too long.
    pub(crate) fn end(&mut self, conn: &mut Conn<'_>) {
        self.is_over = true;
        conn.auto_pause(false);
        conn.resume();
        if conn.room() == 0 {
            // How long it takes is its client's affair: the times below begin at `on_drain`.
            conn.cancel_timeout();
            conn.want_drain();
            return;
        }
        conn.finish();
        conn.set_idle_timeout(Some(LAST_IDLE));
        conn.set_timeout(LAST_MAX);
    }

    /// Reads on when an answer has gone out. From a client that has gone none will, and what it has
    /// asked besides is in vain.
    pub(crate) fn wait_for_answers(&mut self, conn: &mut Conn<'_>) {
        if conn.has_failed() {
            return conn.abort();
        }
        self.is_paused = true;
        conn.pause();
    }

    fn go_on(&mut self, conn: &mut Conn<'_>) {
        if self.asked.is_empty() {
            conn.hold(false);
        }
        if std::mem::take(&mut self.is_paused) {
            conn.resume();
        }
    }
}
