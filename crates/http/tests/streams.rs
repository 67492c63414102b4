//! What is longer than memory, in simulated worlds: bodies that come in pieces, answers that are
//! sent bit by bit, feeds.
//!
//! Needs the feature: `cargo test -p wouldblock-http --features sim --test streams`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{Config, ConnId, ConnMap, Reactor, Timer};
use wouldblock_http::http::{HeaderName, HeaderValue, StatusCode};
use wouldblock_http::{
    Body, Cx, Event, Events, Http, Piece, Request, Requests, Responder, Response, Slow, Stream,
};

const SERVER: &str = "10.0.0.1:80";
const SECOND: Duration = Duration::from_secs(1);

fn ok() -> Response {
    dated(Response::new(StatusCode::OK))
}

fn dated(response: Response) -> Response {
    response.header(HeaderName::from_static("date"), HeaderValue::from_static("today"))
}

fn answer(status: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\ndate: today\r\n\r\n{body}")
}

/// Sends back what was uploaded.
#[derive(Default)]
struct Uploads {
    coming: ConnMap<(Responder, Vec<u8>, usize)>,
    later: Vec<Responder>,
    paused: Vec<ConnId>,
    abandoned: usize,
    most: usize,
}

impl Requests for Uploads {
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        cx.set_periodic_timer(Duration::from_millis(20), 0);
        Ok(())
    }

    fn on_head(&mut self, _: &mut Cx<'_>, request: &Request<'_>) -> Body {
        assert!(request.body().is_empty() && request.has_more());
        if request.path() == "/whole" { Body::Whole } else { Body::Pieces { max: 100_000 } }
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        match request.path() {
            "/later" => self.later.push(responder),
            "/refused" => responder.send(cx, dated(Response::new(StatusCode::UNAUTHORIZED))),
            _ if request.has_more() => {
                let before = self.coming.insert(request.conn(), (responder, Vec::new(), 0));
                assert!(before.is_none(), "one body at a time");
            }
            _ => responder.send(cx, ok().body(request.body().to_vec())),
        }
    }

    fn on_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                let (_, body, pieces) = self.coming.get_mut(conn).expect("its request came");
                body.extend_from_slice(bytes);
                *pieces += 1;
                self.most = self.most.max(bytes.len());
                if body.starts_with(b"slowly") {
                    self.paused.push(conn);
                    cx.conn(conn).unwrap().pause();
                }
            }
            Piece::End => {
                let (responder, body, _) = self.coming.remove(conn).expect("its request came");
                responder.send(cx, ok().body(body));
            }
        }
    }

    fn on_abandoned(&mut self, _: &mut Cx<'_>, responder: Responder) {
        self.abandoned += 1;
        self.coming.remove(responder.conn());
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _: Timer) {
        for responder in self.later.drain(..) {
            responder.send(cx, ok().body("later"));
        }
        for conn in self.paused.drain(..) {
            if let Some(mut conn) = cx.conn(conn) {
                conn.resume();
            }
        }
    }
}

fn uploads(sim: &Sim) -> Result<Reactor<Http<Uploads>>, Failure> {
    let mut reactor = sim.reactor(Http::new(Uploads::default()), Config::public())?;
    reactor.listen(SERVER)?;
    Ok(reactor)
}

fn post(path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n")
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Promise 1: cut anywhere, a body in pieces is the body, and what follows it is the next request.
#[test]
fn a_body_in_pieces_is_the_body_however_it_is_cut() {
    let requests = [
        post("/a", "Content-Length: 5\r\n"),
        "hello".into(),
        post("/later", ""),
        post("/b", CHUNKED),
        "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n".into(),
        post("/whole", CHUNKED),
        "3\r\nabc\r\n0\r\n\r\n".into(),
        post("/empty", CHUNKED),
        "0\r\n\r\n".into(),
        post("/c", ""),
        post("/d", "Content-Length: 1\r\n"),
        "!".into(),
    ]
    .concat();
    let answers: String =
        ["hello", "later", "abcde", "abc", "", "", "!"].map(|body| answer("200 OK", body)).concat();
    for at in 0..requests.len() {
        let sim = Sim::new(at as u64, Profile::calm());
        let mut reactor = uploads(&sim).unwrap();
        let peer = sim.connect(SERVER);
        peer.send(&requests[..at]);
        peer.wait(Duration::from_millis(3));
        peer.send(&requests[at..]);
        peer.expect(&answers);
        peer.finish();
        peer.expect_end();
        sim.advance(&mut reactor, SECOND).unwrap();
        sim.run_until_idle(&mut reactor).unwrap();
    }
    check(0..60, Profile::everyday(), |sim| {
        let mut reactor = uploads(sim)?;
        for _ in 0..3 {
            let peer = sim.connect(SERVER);
            peer.send(&requests);
            peer.expect(&answers);
            peer.finish();
            peer.expect_end();
        }
        sim.advance(&mut reactor, SECOND)?;
        sim.run_until_idle(&mut reactor)?;
        assert_eq!(reactor.handler_mut().requests_mut().abandoned, 0);
        Ok(())
    });
}

/// Promise 3: a program that does not want more for now is brought no more, and the client waits;
/// then it goes on.
#[test]
fn a_paused_upload_waits_and_goes_on() {
    check(0..10, Profile::everyday(), |sim| {
        let mut reactor = uploads(sim)?;
        let peer = sim.connect(SERVER);
        let body = format!("slowly{}", "x".repeat(90_000));
        peer.send(post("/a", &format!("Content-Length: {}\r\n", body.len())));
        peer.send(&body);
        peer.expect(answer("200 OK", &body));
        peer.finish();
        peer.expect_end();
        sim.advance(&mut reactor, 200 * SECOND)?;
        sim.run_until_idle(&mut reactor)
    });
}

/// Promise 6: a window of no time is one of a millisecond. The paused body of a client that waits
/// takes no turn after the other.
#[test]
fn a_window_of_no_time_does_not_make_the_server_spin() {
    let sim = Sim::new(0, Profile::calm());
    let http = Http::new(Uploads::default()).upload_rate(1, Duration::ZERO);
    let mut reactor = sim.reactor(http, Config::public()).unwrap();
    reactor.listen(SERVER).unwrap();
    let peer = sim.connect(SERVER);
    peer.send(post("/a", "Content-Length: 9\r\n") + "slowly");
    sim.advance(&mut reactor, Duration::from_millis(5)).unwrap();
    assert_eq!(reactor.handler_mut().requests_mut().paused.len(), 1);
    let turns = reactor.stats().turns;
    assert!(turns < 100, "{turns} turns in 5 ms");
}

/// A client that waits for our word is told when the program takes the request, behind the answers
/// before it; and not at all where it is answered at once.
#[test]
fn the_word_to_go_on_comes_when_the_body_is_wanted() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = uploads(sim)?;
        let (asks, refused) = (sim.connect(SERVER), sim.connect(SERVER));
        let expects = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        asks.send(format!("{}{}", post("/later", ""), post("/a", expects)));
        asks.expect(format!("{}HTTP/1.1 100 Continue\r\n\r\n", answer("200 OK", "later")));
        asks.send("hello");
        asks.expect(answer("200 OK", "hello"));
        asks.send(post("/whole", &format!("{expects}Connection: close\r\n")));
        asks.expect("HTTP/1.1 100 Continue\r\n\r\n");
        asks.send("hello");
        asks.expect(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\ndate: today\r\n\r\nhello",
        );
        asks.expect_end();
        refused.send(post("/refused", expects));
        refused.expect("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\ndate: today\r\n\r\n");
        refused.expect_end();
        sim.advance(&mut reactor, SECOND)?;
        sim.run_until_idle(&mut reactor)
    });
}

/// The status that an upload comes to, whether it ended in order, and how many were abandoned.
fn outcome(sim: &Sim, then: impl Fn(&Peer)) -> Result<(String, bool, usize), Failure> {
    let mut reactor = uploads(sim)?;
    let peer = sim.connect(SERVER);
    then(&peer);
    sim.advance(&mut reactor, 100 * SECOND)?;
    let text = String::from_utf8_lossy(&peer.recv()).into_owned();
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let abandoned = reactor.handler_mut().requests_mut().abandoned;
    assert!(reactor.handler_mut().requests_mut().coming.is_empty());
    Ok((status, peer.is_ended() && !peer.is_reset(), abandoned))
}

/// Promises 2 and 3: a body that is too long, framed wrongly, cut, or that does not come, is told
/// to the client and to the program.
#[test]
fn a_body_that_fails_is_told_to_both() {
    check(0..4, Profile::everyday(), |sim| {
        let of = |then: &dyn Fn(&Peer)| outcome(&Sim::new(sim.seed(), Profile::everyday()), then);
        let told = |status: &str, abandoned| (status.to_owned(), true, abandoned);
        let early = of(&|peer| peer.send(post("/a", "Content-Length: 100001\r\n")))?;
        assert_eq!(early, told("413", 0));
        let late = of(&|peer| {
            peer.send(format!("{}ffff\r\n", post("/a", CHUNKED)));
            peer.send("x".repeat(0xFFFF));
            peer.send("\r\nffff\r\nmore");
        })?;
        assert_eq!(late, told("413", 1));
        let wrong = of(&|peer| peer.send(format!("{}3\r\nabcd\r\n", post("/a", CHUNKED))))?;
        assert_eq!(wrong, told("400", 1));
        let cut = of(&|peer| {
            peer.send(format!("{}abc", post("/a", "Content-Length: 5\r\n")));
            peer.finish();
        })?;
        assert_eq!(cut, told("400", 1));
        let stopped =
            of(&|peer| peer.send(post("/a", "Content-Length: 5\r\nExpect: 100-continue\r\n")))?;
        assert_eq!((stopped.0.as_str(), stopped.2), ("100", 1));
        let trickles = of(&|peer| {
            peer.send(post("/a", "Content-Length: 500\r\n"));
            for _ in 0..90 {
                peer.send("x");
                peer.wait(SECOND);
            }
        })?;
        assert_eq!(trickles, told("408", 1));
        let gone = of(&|peer| {
            peer.send(format!("{}abc", post("/a", "Content-Length: 5\r\n")));
            peer.wait(SECOND);
            peer.reset();
        })?;
        assert_eq!(gone.2, 1);
        Ok(())
    });
}

/// A request that is answered before its end: the answer arrives, whatever is still being sent.
#[test]
fn an_early_answer_arrives_and_ends_the_connection() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = uploads(sim)?;
        let peer = sim.connect(SERVER);
        peer.send(post("/refused", "Content-Length: 90000\r\n"));
        peer.send("x".repeat(90_000));
        peer.send(post("/a", ""));
        peer.expect("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\ndate: today\r\n\r\n");
        peer.expect_end();
        sim.advance(&mut reactor, SECOND)?;
        sim.run_until_idle(&mut reactor)
    });
}

/// A feed that counts, and a way to let it.
struct News {
    events: Events,
    published: u64,
    each: Duration,
    closed: usize,
    padding: usize,
}

impl News {
    fn new(events: Events) -> News {
        News { events, published: 0, each: Duration::from_millis(10), closed: 0, padding: 0 }
    }
}

impl Requests for News {
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        cx.set_periodic_timer(self.each, 1);
        cx.set_periodic_timer(15 * SECOND, 2);
        Ok(())
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        if request.path() == "/page" {
            return responder.send(cx, ok().body("page"));
        }
        let response = dated(Response::new(StatusCode::OK));
        self.events.subscribe_with(cx, request, responder, response);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        if timer.tag == 2 {
            self.events.heartbeat(cx);
        } else if self.published < 100 {
            let data = format!("{}{}", self.published, "x".repeat(self.padding));
            self.events.publish(cx, Event::new(data));
            self.published += 1;
        }
    }

    fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        self.events.on_writable(cx, stream);
    }

    fn on_stream_closed(&mut self, _: &mut Cx<'_>, stream: Stream) {
        self.closed += 1;
        self.events.on_stream_closed(stream);
    }

    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        self.events.end(cx);
    }
}

/// The body of a chunked answer, as far as it came, and whether that is all.
fn dechunk(answer: &str) -> (String, bool) {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = after.get(..size) else { break };
        body += chunk;
        rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    (body, false)
}

/// The data of events, and the last id.
fn read(body: &str) -> (Vec<String>, String) {
    let (mut events, mut last) = (Vec::new(), String::new());
    for event in body.split("\n\n").filter(|event| !event.is_empty() && *event != ":") {
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned())
        };
        if field("event:").as_deref() == Some("missed") {
            events.push(format!("missed {}", field("data:").unwrap()));
        } else if let Some(data) = field("data:") {
            events.push(data.trim_end_matches('x').to_owned());
            last = field("id:").unwrap();
        }
    }
    (events, last)
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn news(sim: &Sim, news: News) -> Result<Reactor<Http<News>>, Failure> {
    let mut reactor = sim.reactor(Http::new(news), Config::public())?;
    reactor.listen(SERVER)?;
    Ok(reactor)
}

fn listen(sim: &Sim, headers: &str) -> Peer {
    let peer = sim.connect(SERVER);
    peer.send(format!("GET /events HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    peer
}

fn got(peer: &Peer) -> (String, bool) {
    dechunk(&String::from_utf8(peer.recv()).unwrap())
}

/// Each event once and in order, whenever a client comes; one that comes back goes on where it was.
#[test]
fn a_client_that_comes_back_misses_nothing() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = news(sim, News::new(Events::new().retry(SECOND)))?;
        let first = listen(sim, "");
        sim.advance(&mut reactor, Duration::from_millis(305))?;
        let (body, is_all) = got(&first);
        assert!(body.starts_with("retry: 1000\n\n") && !is_all, "{body}");
        let (before, last) = read(&body);
        first.reset();
        sim.advance(&mut reactor, Duration::from_millis(200))?;
        let again = listen(sim, &format!("Last-Event-ID: {last}\r\n"));
        sim.advance(&mut reactor, SECOND)?;
        let (after, _) = read(&got(&again).0);
        let from: u64 = before[0].parse().unwrap();
        assert_eq!([before, after].concat(), numbers(from..100));
        // A server that is another one, and a shutdown: it is told, and ended in order.
        let stranger = listen(sim, "Last-Event-ID: 0-99\r\n");
        sim.advance(&mut reactor, SECOND)?;
        reactor.shutdown();
        sim.advance(&mut reactor, 15 * SECOND)?;
        let (body, is_all) = got(&stranger);
        let (events, _) = read(&body);
        assert_eq!((events[0].as_str(), events.len(), is_all), ("missed ", 101, true));
        assert_eq!(reactor.shutdown_report().unwrap().cut, 0);
        Ok(())
    });
}

/// Promise 3: a client that does not read costs what output may be queued, and no more; it is told
/// what it has missed, or dropped.
#[test]
fn a_client_that_does_not_read_is_told_what_it_has_missed() {
    for slow in [Slow::Tell, Slow::Drop] {
        let profile = Profile::calm().buffer(1024..=8192).short_write(100);
        check(0..4, profile, |sim| {
            let events = Events::new().history(10, 1 << 20).slow(slow);
            let mut reactor = news(sim, News { padding: 20_000, ..News::new(events) })?;
            let deaf = listen(sim, "");
            deaf.stop_reading();
            let reads = listen(sim, "");
            sim.advance(&mut reactor, 2 * SECOND)?;
            // 64 KiB of output at most, and one event more.
            assert!(reactor.stats().bytes_out < 2_300_000, "{}", reactor.stats().bytes_out);
            deaf.resume_reading();
            sim.advance(&mut reactor, 10 * SECOND)?;
            let (events, _) = read(&got(&deaf).0);
            if slow == Slow::Drop {
                assert!(deaf.is_reset());
                assert_eq!(reactor.handler_mut().requests_mut().closed, 1);
            } else {
                let at = events.iter().position(|it| it.starts_with("missed")).unwrap();
                let from: u64 = events[0].parse().unwrap();
                assert_eq!(events[..at], numbers(from..from + at as u64));
                let missed = events[at].strip_prefix("missed ").unwrap().parse::<u64>().unwrap();
                assert_eq!(events[at + 1..], numbers(from + at as u64 + missed..100));
                assert!(missed > 50, "{missed}");
            }
            let (all, _) = read(&got(&reads).0);
            assert_eq!(all.last().unwrap(), "99");
            Ok(())
        });
    }
}

/// Promises 1 and 4: a feed goes out in its turn, a request behind it waits for its end, a client
/// of HTTP/1.0 has it as it is, and one that goes is known to be gone.
#[test]
fn a_feed_has_its_turn_as_any_answer() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = news(sim, News::new(Events::new()))?;
        let piped = sim.connect(SERVER);
        let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        piped.send([ask("/page"), ask("/events"), ask("/page")].concat());
        let old = sim.connect(SERVER);
        old.send("GET /events HTTP/1.0\r\n\r\n");
        let head = sim.connect(SERVER);
        head.send("HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n");
        let gone = listen(sim, "");
        gone.wait(Duration::from_millis(300));
        gone.reset();
        sim.advance(&mut reactor, 2 * SECOND)?;
        let requests = reactor.handler_mut().requests_mut();
        assert_eq!((requests.events.clients(), requests.closed), (2, 1));
        reactor.shutdown();
        sim.advance(&mut reactor, 15 * SECOND)?;
        let all = String::from_utf8(piped.recv()).unwrap();
        let rest = all.strip_prefix(&answer("200 OK", "page")).expect("the first answer first");
        let (body, is_all) = dechunk(rest);
        assert!(is_all && rest.ends_with(&answer("200 OK", "page")), "{rest}");
        assert_eq!(read(&body).0.last().unwrap(), "99");
        let old = String::from_utf8(old.recv()).unwrap();
        assert!(old.contains("\r\nconnection: close\r\n") && !old.contains("chunked"), "{old}");
        let (events, _) = read(old.split_once("\r\n\r\n").unwrap().1);
        assert_eq!(events.last().unwrap(), "99");
        let head = String::from_utf8(head.recv()).unwrap();
        assert!(head.ends_with("\r\n\r\n") && head.contains("text/event-stream"), "{head}");
        Ok(())
    });
}

/// Promise 4: a stream that was not ended does not look whole, at `idle` and at the end of a shutdown.
#[test]
fn a_stream_that_is_not_ended_ends_in_a_reset() {
    /// Begins streams and forgets them.
    struct Forgets;
    impl Requests for Forgets {
        fn on_request(&mut self, cx: &mut Cx<'_>, _: &Request<'_>, responder: Responder) {
            let stream = responder.stream(cx, ok());
            assert!(stream.send(cx, "some"));
        }
    }
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor(Http::new(Forgets), Config::public())?;
        reactor.listen(SERVER)?;
        let idle = listen(sim, "");
        sim.advance(&mut reactor, 90 * SECOND)?;
        assert!(idle.is_reset(), "{:?}", String::from_utf8(idle.recv()));
        let cut = listen(sim, "");
        sim.advance(&mut reactor, SECOND)?;
        reactor.shutdown();
        sim.advance(&mut reactor, 30 * SECOND)?;
        assert_eq!(reactor.shutdown_report().unwrap().cut, 1);
        assert!(!cut.is_ended());
        assert_eq!(got(&cut), ("some".to_owned(), false));
        Ok(())
    });
}

/// Promise 3: a client that has gone without a word is no client any more when `write_stall` or
/// `min_rate` has noticed, nor is one whose reset came while it did not read, nor one that went
/// before its turn; the others have each event.
#[test]
fn clients_of_a_feed_that_vanish_are_forgotten() {
    let profile = Profile::everyday().buffer(1024..=8192);
    check(0..20, profile, |sim| {
        let events = Events::new().history(10, 1 << 20);
        let mut reactor = news(sim, News { padding: 20_000, ..News::new(events) })?;
        let [vanished, resets, leaves, early, reads] = [(); 5].map(|()| sim.connect(SERVER));
        let ask = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
        for peer in [&vanished, &resets, &leaves, &reads] {
            peer.send(ask);
        }
        early.send(format!("{ask}{ask}"));
        early.wait(Duration::from_millis(500));
        early.reset();
        for peer in [&vanished, &resets] {
            peer.stop_reading();
        }
        resets.wait(SECOND);
        resets.reset();
        leaves.wait(SECOND);
        leaves.close();
        sim.advance(&mut reactor, 3 * SECOND)?;
        assert_eq!(reactor.handler_mut().requests_mut().events.clients(), 2, "at once");
        sim.advance(&mut reactor, 90 * SECOND)?;
        let requests = reactor.handler_mut().requests_mut();
        assert_eq!((requests.events.clients(), requests.closed), (1, 5));
        let closed = &reactor.stats().closed;
        assert_eq!(closed.write_stall + closed.too_slow, 1);
        let (all, _) = read(&got(&reads).0);
        assert_eq!(all.last().unwrap(), "99");
        Ok(())
    });
}
