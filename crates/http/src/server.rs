//! The server: what comes of a connection's bytes, to a program's `Requests`.
//!
//! A request stays in the connection's input until it is whole, or until its head is if its body
//! comes in pieces; so what peers can make this crate hold is bounded and counted by the reactor.
//! Read next: `head.rs`, `answers.rs`.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use http::{Method, StatusCode};
use wouldblock::{
    CloseReason, Closed, Conn, ConnId, Context, Datagram, Handler, Input, Origin, Timer,
};

use crate::answers::{Answers, Cx, Given, Responder, Stream, Upload};
use crate::body::{Arriving, Chunks, Next};
use crate::head::{self, Framing, Head, Refusal, TOO_LARGE, bad, refusal};
use crate::requests::{Body, Piece, Request, Requests};
use crate::response::{Fate, Response};

/// The most requests of one client that wait for their answers; then it is not read from.
const PIPELINED_MAX: usize = 64;

/// The most empty lines before a request. One is what is known of old clients; without a bound, a
/// client that sends one now and then would have asked for nothing, and stay for ever.
const BLANK_MAX: u8 = 8;

/// The body of a request that is whole, and how many bytes the request takes in all.
type Whole<'a> = (Cow<'a, [u8]>, usize);

/// An HTTP server: a [`Handler`] of [`Requests`].
///
/// Its times are those of the reactor: see [`Config`](wouldblock::Config). A request lies in the
/// connection's input until it is whole, so [`input_max`](wouldblock::Config::input_max) must be
/// more than [`head_max`](Self::head_max) and [`body_max`](Self::body_max) together.
#[derive(Debug)]
pub struct Http<R> {
    requests: R,
    answers: Answers,
    head_max: usize,
    body_max: usize,
    upload_rate: (usize, Duration),
}

impl<R: Requests> Http<R> {
    /// One whose heads may have 8 KiB, and whose bodies 32 KiB: what fits `Config::public()`.
    pub fn new(requests: R) -> Self {
        let upload_rate = (4 << 10, Duration::from_secs(30));
        let answers = Answers::default();
        Http { requests, answers, head_max: 8 << 10, body_max: 32 << 10, upload_rate }
    }

    /// The most bytes that the head of a request may have: above, 431 or 414. Default 8 KiB.
    #[must_use]
    pub fn head_max(mut self, bytes: usize) -> Self {
        self.head_max = bytes;
        self
    }

    /// The most bytes that the body of a request may have, without its framing: above, 413. Default
    /// 32 KiB. What comes in [pieces](crate::Requests::on_head) has a limit of its own.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_max = bytes;
        self
    }

    /// How much of a body that comes in [pieces](crate::Requests::on_head) must come in each window
    /// of time, but where the program has paused it: less, and it is 408. In place of
    /// [`Config::min_rate`](wouldblock::Config::min_rate), which sees nothing of what is taken as
    /// it comes. 0 bytes: no limit; a window below one millisecond counts as one. Default: 4 KiB in
    /// 30 s.
    #[must_use]
    pub fn upload_rate(mut self, bytes: usize, window: Duration) -> Self {
        self.upload_rate = (bytes, window.max(Duration::from_millis(1)));
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
        if state.upload.is_some() {
            return self.take_piece(conn, input);
        }
        if state.is_over {
            input.take_all();
            return false;
        }
        // Between two requests, an empty line is one too many of the last (RFC 9112, section 2.2).
        while state.body.is_none() && input.bytes().starts_with(b"\r\n") {
            if state.blank == BLANK_MAX {
                self.refuse(conn, bad("too many empty lines before a request"));
                return false;
            }
            state.blank += 1;
            input.consume(2);
        }
        if let Some((service, tag)) = state.hands_to.take_if(|_| state.asked.is_empty()) {
            conn.hand_to(service, tag);
            return false;
        }
        if state.asked.len() >= PIPELINED_MAX || state.hands_to.is_some() {
            state.wait_for_answers(conn);
            return false;
        }
        if !conn.is_reading() {
            // Offered again when output has come down, or the program resumes it.
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
        (state.searched, state.blank) = (0, 0);
        let looked = head::parse(&bytes[..end], |head| self.look(conn, input, head, end));
        looked.unwrap_or_else(|refusal| {
            self.refuse(conn, refusal);
            false
        })
    }

    /// What is to be done with a request whose head is whole. Returns whether there may be another
    /// behind it.
    fn look(
        &mut self,
        conn: &mut Conn<'_>,
        input: &mut Input<'_>,
        head: Head<'_>,
        end: usize,
    ) -> Result<bool, Refusal> {
        let rest = &input.bytes()[end..];
        let state = self.answers.states.get_mut(conn.id()).expect("it is open");
        let waits = head.expects && rest.is_empty() && !state.said_continue;
        if waits && !state.asked.is_empty() {
            // Told to go on behind the answers that are due before: offered again then.
            state.wait_for_answers(conn);
            return Ok(false);
        }
        let has_body = head.framing != Framing::Length(0);
        let head = if has_body && state.body.is_none() {
            let (how, head) = self.ask_how(conn, head);
            if let Body::Pieces { max } = how {
                let arriving = Arriving::new(head.framing, max)?;
                let upload = Upload { arriving, moved: 0, stood: false, is_timed: false };
                let goes_on = self.hand_out(conn, input, head, (Cow::default(), end), Some(upload));
                self.say_continue(conn, waits);
                return Ok(goes_on);
            }
            head
        } else {
            head
        };
        let Some(body) = self.look_for_body(conn, input, &head, end)? else {
            self.say_continue(conn, waits);
            return Ok(false);
        };
        Ok(self.hand_out(conn, input, head, body, None))
    }

    /// Asks the program how a body is to come.
    fn ask_how<'a>(&mut self, conn: &mut Conn<'_>, head: Head<'a>) -> (Body, Head<'a>) {
        let id = conn.id();
        let Ok(peer) = conn.peer_addr() else { return (Body::Whole, head) };
        let request = Request { head, body: Cow::default(), peer, conn: id, has_more: true };
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        let how = self.requests.on_head(&mut cx, &request);
        if let Some(state) = self.answers.states.get_mut(id)
            && how == Body::Whole
        {
            state.body = Some(Chunks::default());
        }
        (how, request.head)
    }

    /// Tells a client that waits for it to send the body, unless it was answered already.
    fn say_continue(&mut self, conn: &mut Conn<'_>, waits: bool) {
        let Some(state) = self.answers.states.get_mut(conn.id()) else { return };
        if waits && (state.body.is_some() || state.upload.is_some()) {
            // Of one that waits to be whole the head is looked at again.
            state.said_continue = state.body.is_some();
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Hands out the next piece of a body. Returns whether there may be another, or another request.
    fn take_piece(&mut self, conn: &mut Conn<'_>, input: &mut Input<'_>) -> bool {
        let id = conn.id();
        let state = self.answers.states.get_mut(id).expect("it is open");
        let Some(upload) = &mut state.upload else { return true };
        if !conn.is_reading() {
            upload.stood = true;
            return false;
        }
        let piece = match upload.arriving.next(input.bytes()) {
            Ok((next, n)) => {
                upload.moved = upload.moved.saturating_add(n);
                input.consume(n);
                match next {
                    Next::Bytes(bytes) => Piece::Bytes(bytes),
                    Next::End => Piece::End,
                    Next::Nothing => return false,
                }
            }
            Err(refusal) => {
                self.fail_upload(conn, refusal);
                return false;
            }
        };
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        if piece != Piece::End {
            self.requests.on_body(&mut cx, id, piece);
            let upload = cx.answers.states.get(id).and_then(|state| state.upload.as_ref());
            if !upload.is_some_and(|upload| upload.arriving.is_over()) {
                return true;
            }
            // No byte is to come, so no call would.
        }
        let upload = cx.answers.states.get_mut(id).and_then(|state| state.upload.take());
        if upload.is_some_and(|upload| upload.is_timed) {
            conn.cancel_timeout();
        }
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        self.requests.on_body(&mut cx, id, Piece::End);
        true
    }

    /// Ends a request whose body has failed.
    fn fail_upload(&mut self, conn: &mut Conn<'_>, refusal: Refusal) {
        let id = conn.id();
        let Some(state) = self.answers.states.get_mut(id) else { return };
        let Some(number) = state.last() else { return };
        self.tell(conn, number, refusal);
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        self.requests.on_abandoned(&mut cx, Responder { conn: id, number });
    }

    /// Begins the window of time of a body that is not whole yet.
    fn time_upload(&mut self, conn: &mut Conn<'_>) {
        let (least, window) = self.upload_rate;
        let state = self.answers.states.get_mut(conn.id());
        if let Some(upload) = state.and_then(|state| state.upload.as_mut())
            && !upload.is_timed
            && least > 0
        {
            (upload.is_timed, upload.moved) = (true, 0);
            conn.set_timeout(window);
        }
    }

    fn too_long(&self, head: &[u8]) -> Refusal {
        if head.iter().take(self.head_max).any(|byte| *byte == b'\n') {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return refusal(status, "the head of the request is too large");
        }
        refusal(StatusCode::URI_TOO_LONG, "the target of the request is too long")
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
        let whole = match head.framing {
            Framing::Length(len) => {
                let fits = usize::try_from(len).ok().filter(|len| *len <= self.body_max);
                let Some(len) = fits else { return Err(TOO_LARGE) };
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
        Ok(whole)
    }

    /// Hands a request out. Returns whether there may be another behind it.
    fn hand_out(
        &mut self,
        conn: &mut Conn<'_>,
        input: &mut Input<'_>,
        head: Head<'_>,
        (body, len): Whole<'_>,
        upload: Option<Upload>,
    ) -> bool {
        let id = conn.id();
        let state = self.answers.states.get_mut(id).expect("it is open");
        if head.upgrades && !state.asked.is_empty() {
            // What is to be another protocol comes when all before it is answered.
            state.wait_for_answers(conn);
            return false;
        }
        let (is_1_1, keeps_alive) = (head.is_1_1, head.keeps_alive);
        let is_head = head.method == Method::HEAD;
        let number = state.ask(Fate { is_head, is_1_1, keeps_alive });
        state.is_over = !keeps_alive;
        (state.body, state.said_continue) = (None, false);
        let has_more = upload.is_some();
        state.upload = upload;
        let Ok(peer) = conn.peer_addr() else { return false };
        let request = Request { head, body, peer, conn: id, has_more };
        let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
        self.requests.on_request(&mut cx, &request, Responder { conn: id, number });
        if let Some(state) = self.answers.states.get_mut(id)
            && state.hands_to.is_some()
        {
            // The request stays where it is: it is the other's, once all before it are answered.
            state.asked.pop_back();
            (state.upload, state.is_over) = (None, false);
            return true;
        }
        if self.answers.states.get(id).is_some_and(|state| !state.asked.is_empty()) {
            conn.hold(true);
        }
        input.consume(len);
        true
    }

    /// Refuses what is no request, behind the answers before it, and ends the connection.
    fn refuse(&mut self, conn: &mut Conn<'_>, refusal: Refusal) {
        if let Ok(peer) = conn.peer_addr() {
            log::debug!("{peer}: {}: {}", refusal.status, refusal.why);
        }
        let Some(state) = self.answers.states.get_mut(conn.id()) else { return };
        let number = state.ask(Fate::LAST);
        self.tell(conn, number, refusal);
    }

    /// Sends a refusal as the answer to a request, and ends the connection behind that.
    fn tell(&mut self, conn: &mut Conn<'_>, number: u64, Refusal { status, why }: Refusal) {
        let id = conn.id();
        let Some(state) = self.answers.states.get_mut(id) else { return };
        state.upload = None;
        state.end_behind_last();
        let response = Response::text(format!("{why}\n")).with(status);
        self.answers.give(conn.cx(), id, number, Given::Whole(response));
    }
}

impl<R: Requests> Handler for Http<R> {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let (requests, mut cx) = self.parts(cx);
        requests.on_start(&mut cx)
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.answers.states.insert(conn.id(), crate::answers::State::default());
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while !input.is_empty() && self.take_one(conn, input) {}
        self.time_upload(conn);
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        let id = conn.id();
        let Some(state) = self.answers.states.get_mut(id) else { return Ok(()) };
        if !conn.is_open() {
            if state.is_paused {
                state.wait_for_answers(conn);
            }
            return Ok(());
        }
        if state.is_over && state.asked.is_empty() {
            state.end(conn);
        } else if state.is_streaming() {
            let stream = Stream { conn: id, number: state.answered };
            let mut cx = Cx { cx: conn.cx(), answers: &mut self.answers };
            self.requests.on_writable(&mut cx, stream);
        } else {
            self.answers.flush(conn.cx(), id);
        }
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        let (least, window) = self.upload_rate;
        let Some(state) = self.answers.states.get_mut(conn.id()) else { return Ok(()) };
        if state.is_over && state.asked.is_empty() {
            conn.close();
            return Ok(());
        }
        let Some(upload) = &mut state.upload else { return Ok(()) };
        if upload.moved < least && !upload.stood && conn.is_reading() {
            let why = "the body comes too slowly";
            self.fail_upload(conn, refusal(StatusCode::REQUEST_TIMEOUT, why));
            return Ok(());
        }
        (upload.moved, upload.stood) = (0, !conn.is_reading());
        conn.set_timeout(window);
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
            Some(state) if state.upload.is_some() => {
                self.fail_upload(conn, bad("the body breaks off"));
            }
            Some(state) if !state.asked.is_empty() => state.end_behind_last(),
            Some(state) => state.end(conn),
            None => conn.close(),
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
        if state.is_streaming() {
            conn.close_reset();
            return Ok(());
        }
        // An answer that is on its way is not to have another in its midst.
        if conn.queued() > 0 {
            return Ok(());
        }
        let status = match why {
            CloseReason::TooSlow => StatusCode::REQUEST_TIMEOUT,
            CloseReason::InputLimit => StatusCode::PAYLOAD_TOO_LARGE,
            CloseReason::Idle if state.upload.is_some() => StatusCode::REQUEST_TIMEOUT,
            CloseReason::Idle | CloseReason::Shutdown if !state.asked.is_empty() => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => return Ok(()),
        };
        self.answers.date.update(conn.cx().now());
        let response = Response::text(format!("{why}\n")).with(status);
        let Answers { date, head, .. } = &mut self.answers;
        response.send(conn, date, Fate::LAST, head);
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _closed: Closed) {
        let Some(state) = self.answers.states.remove(id) else { return };
        let first = state.answered;
        for (number, asked) in (first..).zip(&state.asked) {
            let (requests, mut cx) = self.parts(cx);
            match asked.given {
                Given::Nothing => requests.on_abandoned(&mut cx, Responder { conn: id, number }),
                Given::Stream(_) | Given::Streaming => {
                    requests.on_stream_closed(&mut cx, Stream { conn: id, number });
                }
                Given::Whole(_) => {}
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
