//! Server-sent events: what happens, told to all pages that listen.
//!
//! What was published lately is kept once, as the chunks that go out, and each client has only the
//! number of its next event: so a client that is slow, or comes back, is behind by a number, and
//! memory does not depend on how many are. Read next: `answers.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::answers::{Cx, Framed, Responder, Stream};
use crate::requests::Request;
use crate::response::Response;

/// What becomes of a client that is so far behind that its next event is no longer kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It is told how many it has missed, by an event named `missed` with that number, and goes on
    /// with the oldest that is kept.
    #[default]
    Tell,
    /// Its connection is reset. A browser comes back by itself, and is told then.
    Drop,
}

/// A feed of server-sent events (`text/event-stream`, [the
/// standard](https://html.spec.whatwg.org/multipage/server-sent-events.html)), which any number of
/// clients listen to: in a page, `new EventSource("/events")`.
///
/// A client that comes anew is told of what is [published](Self::publish) from then on. One that
/// comes back (`Last-Event-ID`, which browsers send by themselves) goes on where it was, as far as
/// the history goes back; where it does not, or the server is another one, it is told by an event
/// named `missed`, whose data is the number of events, or nothing if that is not known.
///
/// It is no handler: three callbacks are passed on to it.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// use wouldblock::Timer;
/// use wouldblock_http::http::StatusCode;
/// use wouldblock_http::{Cx, Event, Events, Request, Requests, Responder, Response, Stream};
///
/// #[derive(Default)]
/// struct News {
///     events: Events,
/// }
///
/// impl Requests for News {
///     fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
///         cx.set_periodic_timer(Duration::from_secs(15), 0);
///         Ok(())
///     }
///
///     fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
///         if request.path() == "/events" {
///             return self.events.subscribe(cx, request, responder);
///         }
///         self.events.publish(cx, Event::new(String::from_utf8_lossy(request.body())));
///         responder.send(cx, Response::new(StatusCode::NO_CONTENT));
///     }
///
///     fn on_timer(&mut self, cx: &mut Cx<'_>, _: Timer) {
///         self.events.heartbeat(cx);
///     }
///
///     fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
///         self.events.on_writable(cx, stream);
///     }
///
///     fn on_stream_closed(&mut self, _: &mut Cx<'_>, stream: Stream) {
///         self.events.on_stream_closed(stream);
///     }
///
///     fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
///         self.events.end(cx);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Events {
    history: History,
    /// By name, so that a simulation has one order.
    clients: BTreeMap<(u64, u64), Client>,
    slow: Slow,
    retry: Option<Duration>,
}

/// One that listens.
#[derive(Debug)]
struct Client {
    stream: Stream,
    /// What it is told before its next event.
    before: Option<Framed>,
    /// The number of its next event.
    next: u64,
}

/// What was published lately.
#[derive(Debug)]
struct History {
    /// Tells the ids of one server from those of another.
    epoch: u32,
    kept: VecDeque<Framed>,
    /// The number of the first that is kept.
    first: u64,
    /// Of all that are kept.
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// One event.
///
/// # Examples
///
/// ```
/// use wouldblock_http::Event;
///
/// let plain = Event::new("two\nlines");
/// let named = Event::new("{\"x\":1}").name("moved");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it is sent by `Events::publish`"]
pub struct Event {
    /// Lines of the stream, without its id and the empty line behind it.
    lines: String,
}

impl Event {
    /// One with this data, of any number of lines; `\r\n` and `\r` come out as `\n`.
    pub fn new(data: impl AsRef<str>) -> Event {
        let data = data.as_ref();
        let mut lines = String::with_capacity(data.len() + 16);
        // A line break of any kind would end the field (and what follows could be another): it
        // makes a line of data.
        for line in data.split("\r\n").flat_map(|it| it.split(['\r', '\n'])) {
            lines.push_str("data: ");
            lines.push_str(line);
            lines.push('\n');
        }
        Event { lines }
    }

    /// Sets the name, by which a page listens to it (`addEventListener`). A line break ends it.
    pub fn name(mut self, name: &str) -> Event {
        let name = name.split(['\r', '\n']).next().unwrap_or_default();
        self.lines.insert_str(0, &format!("event: {name}\n"));
        self
    }
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}

impl Events {
    /// A feed that keeps 1024 events and 1 MiB at most.
    #[must_use]
    pub fn new() -> Events {
        // The half of a hash is as random as the whole.
        #[allow(clippy::cast_possible_truncation, reason = "any 32 bits of it will do")]
        let epoch = RandomState::new().hash_one(0) as u32;
        let history = History {
            epoch,
            kept: VecDeque::new(),
            first: 0,
            bytes: 0,
            events_max: 1024,
            bytes_max: 1 << 20,
        };
        Events { history, clients: BTreeMap::new(), slow: Slow::default(), retry: None }
    }

    /// How many events are kept for clients that are behind, and how many bytes in all; the newest
    /// one always is. Default: 1024, and 1 MiB.
    #[must_use]
    pub fn history(mut self, events: usize, bytes: usize) -> Events {
        (self.history.events_max, self.history.bytes_max) = (events, bytes);
        self
    }

    /// What becomes of a client that is too far behind. Default: [`Slow::Tell`].
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Events {
        self.slow = slow;
        self
    }

    /// How long a client that has lost its connection waits before it comes back. Default: what the
    /// browser likes, some seconds.
    #[must_use]
    pub fn retry(mut self, wait: Duration) -> Events {
        self.retry = Some(wait);
        self
    }

    /// Sends the feed as the answer to a request.
    pub fn subscribe(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        self.subscribe_with(cx, request, responder, Response::new(StatusCode::OK));
    }

    /// The same with headers of one's own, such as `Access-Control-Allow-Origin`.
    pub fn subscribe_with(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Request<'_>,
        responder: Responder,
        response: Response,
    ) {
        let response = response
            .header(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let stream = responder.stream(cx, response);
        if !stream.is_open(cx) {
            return;
        }
        let mut before = String::new();
        if let Some(wait) = self.retry {
            // Writing to a string does not fail.
            let _ = write!(before, "retry: {}\n\n", wait.as_millis());
        }
        let next = match request.header("last-event-id").filter(|id| !id.is_empty()) {
            Some(id) => self.history.after(id, &mut before),
            None => self.history.next(),
        };
        let before = (!before.is_empty()).then(|| Framed::new(before.as_bytes()));
        self.clients.insert(stream.key(), Client { stream, before, next });
        self.on_writable(cx, stream);
    }

    /// Tells all clients. The event is kept for those that are behind or come back.
    pub fn publish(&mut self, cx: &mut Cx<'_>, event: Event) {
        let History { epoch, .. } = self.history;
        let id = self.history.next();
        let text = format!("{}id: {epoch:08x}-{id}\n\n", event.lines);
        self.history.keep(Framed::new(text.as_bytes()));
        let Events { history, clients, slow, .. } = self;
        clients.retain(|_, client| history.bring(cx, client, *slow));
    }

    /// Sends a comment to all clients that keep up, so that neither their connections nor what is
    /// between takes them for dead, and one that is gone is noticed. For a timer, of less than
    /// [`Config::idle`](wouldblock::Config::idle).
    pub fn heartbeat(&mut self, cx: &mut Cx<'_>) {
        let comment = Framed::new(b":\n\n");
        self.clients.retain(|_, Client { stream, .. }| {
            if stream.room(cx) > 0 {
                stream.send_framed(cx, &comment);
            }
            stream.is_open(cx)
        });
    }

    /// Ends the feed of all clients, in order: for a shutdown, which waits for them. Browsers will
    /// come back.
    pub fn end(&mut self, cx: &mut Cx<'_>) {
        for client in std::mem::take(&mut self.clients).into_values() {
            client.stream.end(cx);
        }
    }

    /// To be called from [`Requests::on_writable`](crate::Requests::on_writable). A stream of
    /// another kind is ignored.
    pub fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        let Some(client) = self.clients.get_mut(&stream.key()) else { return };
        if !self.history.bring(cx, client, self.slow) {
            self.clients.remove(&stream.key());
        }
    }

    /// To be called from [`Requests::on_stream_closed`](crate::Requests::on_stream_closed).
    pub fn on_stream_closed(&mut self, stream: Stream) {
        self.clients.remove(&stream.key());
    }

    /// The number of clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}

impl History {
    /// The number of the next event.
    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn keep(&mut self, event: Framed) {
        self.bytes += event.bytes.len();
        self.kept.push_back(event);
        while self.kept.len() > 1
            && (self.kept.len() > self.events_max || self.bytes > self.bytes_max)
        {
            let oldest = self.kept.pop_front().expect("there are two");
            self.bytes -= oldest.bytes.len();
            self.first += 1;
        }
    }

    /// The number of the next event of a client that comes back with this id, and what it has missed.
    fn after(&self, id: &str, before: &mut String) -> u64 {
        let (epoch, last) = id.split_once('-').unwrap_or_default();
        let is_ours = u32::from_str_radix(epoch, 16) == Ok(self.epoch);
        let next = last.parse::<u64>().ok().and_then(|last| last.checked_add(1));
        match next.filter(|next| is_ours && *next <= self.next()) {
            Some(next) if next >= self.first => return next,
            Some(next) => before.push_str(&missed(self.first - next)),
            None => before.push_str("event: missed\ndata:\n\n"),
        }
        self.first
    }

    /// Sends a client what it has not had, as long as there is room. Returns whether it stays.
    fn bring(&self, cx: &mut Cx<'_>, client: &mut Client, slow: Slow) -> bool {
        let stream = client.stream;
        while client.before.is_some() || client.next < self.next() {
            if client.next < self.first {
                if slow == Slow::Drop {
                    stream.break_off(cx);
                    return false;
                }
                if stream.room(cx) > 0 {
                    let missed = missed(self.first - client.next);
                    stream.send_framed(cx, &Framed::new(missed.as_bytes()));
                    client.next = self.first;
                }
            }
            if stream.room(cx) == 0 {
                break;
            }
            if let Some(before) = client.before.take() {
                stream.send_framed(cx, &before);
                continue;
            }
            let at = usize::try_from(client.next - self.first).expect("it is kept");
            stream.send_framed(cx, &self.kept[at]);
            client.next += 1;
        }
        stream.is_open(cx)
    }
}

fn missed(events: u64) -> String {
    format!("event: missed\ndata: {events}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is published cannot become a field or an event of its own.
    #[test]
    fn a_line_break_in_an_event_does_not_end_it() {
        assert_eq!(Event::new("").lines, "data: \n");
        assert_eq!(
            Event::new("a\r\nid: 7\r\rb\n").lines,
            "data: a\ndata: id: 7\ndata: \ndata: b\ndata: \n"
        );
        assert_eq!(Event::new("x").name("a\ndata: b").lines, "event: a\ndata: x\n");
    }

    /// The history is bounded in both, keeps the newest whatever its size, and says what is no
    /// longer there.
    #[test]
    fn a_history_forgets_the_oldest_and_says_how_many() {
        let mut events = Events::new().history(3, 100);
        for _ in 0..5 {
            events.history.keep(Framed::new(b"0123456789"));
        }
        let History { first, bytes, epoch, .. } = events.history;
        assert_eq!((first, bytes, events.history.next()), (2, 30, 5));
        let after = |id: &str| {
            let mut before = String::new();
            (events.history.after(id, &mut before), before)
        };
        assert_eq!(after(&format!("{epoch:x}-4")), (5, String::new()));
        assert_eq!(after(&format!("{epoch:x}-1")), (2, String::new()));
        assert_eq!(after(&format!("{epoch:x}-0")), (2, missed(1)));
        for other in [
            format!("{:x}-4", epoch.wrapping_add(1)),
            format!("{epoch:x}-5"),
            format!("{epoch:x}-{}", u64::MAX),
            "4".to_owned(),
            "-".to_owned(),
        ] {
            assert_eq!(after(&other), (2, "event: missed\ndata:\n\n".to_owned()), "{other}");
        }
        events.history.keep(Framed::new(&[b'x'; 1000]));
        assert_eq!((events.history.kept.len(), events.history.bytes), (1, 1000));
    }
}
