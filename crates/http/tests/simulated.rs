//! The server in simulated worlds: however the bytes of a client are cut.
//!
//! Needs the feature: `cargo test -p wouldblock-http --features sim --test simulated`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io::{self, Read};
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{Config, Conn, Handler, Input, Origin, Reactor, Timer};
use wouldblock_http::http::{HeaderName, HeaderValue, Method, StatusCode};
use wouldblock_http::{Cx, Http, Request, Requests, Responder, Response};

const SERVER: &str = "10.0.0.1:80";
const SECOND: Duration = Duration::from_secs(1);

/// Answers with what it was asked, at once or later.
#[derive(Default)]
struct Site {
    /// Requests that wait, with what their answers say.
    later: Vec<(Responder, String)>,
    abandoned: usize,
    served: usize,
}

impl Requests for Site {
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        cx.set_periodic_timer(Duration::from_millis(20), 0);
        Ok(())
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        self.served += 1;
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let says = format!("{} {} {body}", request.method(), request.path());
        let date = (HeaderName::from_static("date"), HeaderValue::from_static("today"));
        let response = match request.path() {
            "/later" => {
                let says = format!("{says}{}", request.query().unwrap_or_default());
                return self.later.push((responder, says));
            }
            "/never" => return drop(responder),
            "/chunked" => {
                Response::new(StatusCode::OK).body_chunked(io::Cursor::new(vec![b'x'; 10]))
            }
            "/sized" => {
                Response::new(StatusCode::OK).body_from(5, io::Cursor::new("sized and more"))
            }
            "/broken" => Response::new(StatusCode::OK).body_chunked(Broken(false)),
            "/huge" => Response::new(StatusCode::OK).body(vec![b'#'; 400_000]),
            "/other" => return responder.hand_to(cx, 1, 7),
            "/large" => Response::new(StatusCode::OK).body(vec![b'L'; 50_000]),
            "/none" => Response::new(StatusCode::NO_CONTENT),
            "/socket" if request.asks_for("other") => return responder.hand_to(cx, 1, 7),
            _ => Response::new(StatusCode::OK).body(says),
        };
        responder.send(cx, response.header(date.0, date.1));
    }

    /// The last first.
    fn on_timer(&mut self, cx: &mut Cx<'_>, _timer: Timer) {
        if let Some((responder, says)) = self.later.pop() {
            let today = HeaderValue::from_static("today");
            let response =
                Response::new(StatusCode::OK).header(HeaderName::from_static("date"), today);
            responder.send(cx, response.body(says));
        }
    }

    fn on_abandoned(&mut self, _cx: &mut Cx<'_>, responder: Responder) {
        self.abandoned += 1;
        self.later.retain(|(it, _)| *it != responder);
    }
}

/// A reader that fails behind its first bytes.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::other("the disk is gone"));
        }
        buffer[..3].copy_from_slice(b"xyz");
        Ok(3)
    }
}

fn site(sim: &Sim, config: Config) -> Result<Reactor<Http<Site>>, Failure> {
    let mut reactor = sim.reactor(Http::new(Site::default()), config)?;
    reactor.listen(SERVER)?;
    Ok(reactor)
}

/// Lets all that is asked be answered: by timers, which a world that is idle does not wait for.
fn run(sim: &Sim, reactor: &mut Reactor<impl Handler>) -> Result<(), Failure> {
    sim.advance(reactor, SECOND)?;
    sim.run_until_idle(reactor)
}

/// Connections now.
fn open(reactor: &Reactor<impl Handler>) -> u64 {
    let stats = reactor.stats();
    stats.accepted - stats.closed.total()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ndate: today\r\n\r\n{body}", body.len())
}

/// Requests one behind the other, and all their answers.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let requests = "\
        GET /a HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        \r\n\
        POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n\
        GET /later?1 HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /later?2 HTTP/1.1\r\nHost: x\r\n\r\n\
        HEAD /d HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /sized HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /none HTTP/1.1\r\nHost: x\r\n\r\n\
        GET http://y/e?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let head = ok("HEAD /d ").replace("HEAD /d ", "");
    let answers = [
        ok("GET /a "),
        ok("POST /b hello"),
        ok("POST /c abcde"),
        ok("GET /later 1"),
        ok("GET /later 2"),
        head,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndate: today\r\n\r\n".into(),
        "000000000a\r\nxxxxxxxxxx\r\n0\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: today\r\n\r\nsized".into(),
        "HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\ndate: today\r\n\r\nGET /e "
            .into(),
    ];
    (requests.into(), answers.concat().into_bytes())
}

/// Promise 1: cut anywhere, and answered in whatever order, each request is answered once and in its turn.
#[test]
fn requests_cut_anywhere_are_answered_in_order() {
    let (requests, answers) = conversation();
    for at in 0..requests.len() {
        let sim = Sim::new(at as u64, Profile::calm());
        let mut reactor = site(&sim, Config::public()).unwrap();
        let peer = sim.connect(SERVER);
        peer.send(&requests[..at]);
        peer.wait(Duration::from_millis(3));
        peer.send(&requests[at..]);
        peer.expect(&answers);
        peer.expect_end();
        run(&sim, &mut reactor).unwrap();
    }
    check(0..300, Profile::everyday(), |sim| {
        let mut reactor = site(sim, Config::public())?;
        for _ in 0..3 {
            let peer = sim.connect(SERVER);
            peer.send(&requests);
            peer.expect(&answers);
            peer.expect_end();
        }
        run(sim, &mut reactor)?;
        assert_eq!(
            (reactor.handler_mut().requests_mut().abandoned, reactor.stats().panics),
            (0, 0)
        );
        Ok(())
    });
}

/// The status and the fate of the connection behind a request.
fn refused(sim: &Sim, request: &[u8]) -> Result<(String, bool), Failure> {
    let mut reactor = site(sim, Config::public())?;
    let peer = sim.connect(SERVER);
    peer.send(request);
    sim.advance(&mut reactor, SECOND)?;
    let answer = String::from_utf8_lossy(&peer.recv()).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, peer.is_ended() && !peer.is_reset()))
}

/// Promises 2 and 3: what cannot be served is told, and the connection ends behind that, without a
/// reset that would destroy the answer; a request before it is answered first.
#[test]
fn what_cannot_be_served_is_told_and_ends_the_connection() {
    let long = |n| "x".repeat(n);
    let cases = [
        ("400", "GET / HTTP/1.1\r\n\r\nmore".to_owned()),
        ("400", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned()),
        (
            "400",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        ),
        ("413", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 32769\r\n\r\n".to_owned()),
        (
            "413",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8001\r\n".to_owned(),
        ),
        ("414", format!("GET /{} HTTP/1.1\r\n", long(9000))),
        ("431", format!("GET / HTTP/1.1\r\nA: {}", long(9000))),
        ("431", format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101))),
        ("501", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("505", "GET / HTTP/3.0\r\n\r\n".to_owned()),
        ("417", "GET / HTTP/1.1\r\nHost: x\r\nExpect: much\r\n\r\n".to_owned()),
    ];
    check(0..5, Profile::everyday(), |sim| {
        for (status, request) in &cases {
            let (told, ended) =
                refused(&Sim::new(sim.seed(), Profile::everyday()), request.as_bytes())?;
            assert_eq!((told.as_str(), ended), (*status, true), "{request:?}");
        }
        let mut reactor = site(sim, Config::public())?;
        let peer = sim.connect(SERVER);
        peer.send("GET /later?1 HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
        sim.advance(&mut reactor, SECOND)?;
        let all = String::from_utf8(peer.recv()).unwrap();
        assert!(all.starts_with(&ok("GET /later 1")), "{all}");
        let rest = &all[ok("GET /later 1").len()..];
        assert!(
            rest.starts_with("HTTP/1.1 400 Bad Request\r\n")
                && rest.ends_with("this is no request\n"),
            "{rest}"
        );
        Ok(())
    });
}

/// Promise 4: a body that breaks off, or a reader that brings less than was said, ends in a reset.
#[test]
fn half_an_answer_ends_in_a_reset() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let peer = sim.connect(SERVER);
        peer.send("GET /broken HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.expect_reset();
        run(sim, &mut reactor)?;
        assert_eq!(reactor.stats().closed.source, 1);
        Ok(())
    });
}

/// Promise 3: a client that asks and asks is not read from while its answers wait, or while it does
/// not take them; and all are answered in the end.
#[test]
fn a_client_that_asks_on_waits_for_its_answers() {
    check(0..20, Profile::calm().buffer(1024..=65536).short_write(100), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let (many, deaf) = (sim.connect(SERVER), sim.connect(SERVER));
        for n in 0..200 {
            many.send(format!("GET /later?{n} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        deaf.stop_reading();
        for _ in 0..100 {
            deaf.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        sim.advance(&mut reactor, Duration::from_millis(200))?;
        let waiting = reactor.handler_mut().requests_mut().later.len();
        assert!(waiting <= 64, "{waiting} wait");
        assert!(reactor.stats().bytes_out < 1 << 20);
        deaf.resume_reading();
        sim.advance(&mut reactor, 20 * SECOND)?;
        let answers: String = (0..200).map(|n| ok(&format!("GET /later {n}"))).collect();
        let got = String::from_utf8(many.recv()).unwrap();
        assert!(
            got == answers,
            "{} bytes, ends with {:?}",
            got.len(),
            &got[got.len().saturating_sub(99)..]
        );
        let large = String::from_utf8(deaf.recv()).unwrap().matches('L').count();
        assert_eq!(large, 100 * 50_000);
        Ok(())
    });
}

/// Promise 3: answers that waited for an earlier one may be more in all than the output of a
/// connection; they go out as there is room.
#[test]
fn answers_that_waited_go_out_as_there_is_room() {
    check(0..10, Profile::calm().buffer(1024..=65536), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let peer = sim.connect(SERVER);
        let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.send(format!("{}{}", ask("/later?1"), ask("/large").repeat(60)));
        peer.send(ask("/a"));
        sim.advance(&mut reactor, 20 * SECOND)?;
        let text = String::from_utf8(peer.recv()).unwrap();
        assert!(text.starts_with(&ok("GET /later 1")) && text.ends_with(&ok("GET /a ")));
        assert_eq!(text.matches('L').count(), 60 * 50_000);
        Ok(())
    });
}

/// Promise 1: who goes before its answer is told to the program, once for each request.
#[test]
fn a_client_that_goes_before_its_answer_is_told() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let peer = sim.connect(SERVER);
        peer.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.wait(SECOND);
        peer.reset();
        sim.advance(&mut reactor, 5 * SECOND)?;
        assert_eq!(reactor.handler_mut().requests_mut().abandoned, 2);
        Ok(())
    });
}

/// Promise 1: so is one that had asked for more than is handed out at a time, without a wait for
/// what is left: no answer to it would leave.
#[test]
fn a_client_that_goes_with_requests_left_is_told_at_once() {
    check(0..20, Profile::calm(), |sim| {
        let mut reactor = site(sim, Config::default().linger(60 * SECOND))?;
        let peer = sim.connect(SERVER);
        let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.send(format!("{}{}", ask("/huge"), ask("/never").repeat(100)));
        peer.stop_reading();
        peer.wait(SECOND);
        peer.reset();
        sim.advance(&mut reactor, 2 * SECOND)?;
        assert!(reactor.handler_mut().requests_mut().served < 100);
        assert_eq!((open(&reactor), reactor.stats().closed.io), (0, 1));
        Ok(())
    });
}

/// Limits: too slow, never answered, shut down: the client is told what it was.
#[test]
fn who_waits_is_told_why_it_ends() {
    check(0..20, Profile::calm(), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let (slow, unanswered, half) =
            (sim.connect(SERVER), sim.connect(SERVER), sim.connect(SERVER));
        slow.send("GET / HT");
        unanswered.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        half.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        half.finish();
        sim.advance(&mut reactor, 90 * SECOND)?;
        let status = |peer: &Peer| {
            String::from_utf8(peer.recv()).unwrap().chars().take(12).collect::<String>()
        };
        assert_eq!(status(&slow), "HTTP/1.1 408");
        assert_eq!(status(&unanswered), "HTTP/1.1 503");
        assert_eq!(status(&half), "HTTP/1.1 503");
        let late = sim.connect(SERVER);
        late.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\nGET /");
        sim.advance(&mut reactor, SECOND)?;
        reactor.shutdown();
        sim.advance(&mut reactor, 30 * SECOND)?;
        let report = reactor.shutdown_report().unwrap();
        assert_eq!(report.cut, 1, "what was never answered does not end as if it had been");
        assert!(!late.is_ended());
        Ok(())
    });
}

/// What a client waits for before it sends a body.
#[test]
fn a_client_that_expects_to_be_told_to_go_on_is_told() {
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let peer = sim.connect(SERVER);
        let expects =
            "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        peer.send(format!("GET /later?1 HTTP/1.1\r\nHost: x\r\n\r\n{expects}"));
        peer.expect(format!("{}HTTP/1.1 100 Continue\r\n\r\n", ok("GET /later 1")));
        peer.send("hello");
        peer.expect(ok("POST /b hello"));
        peer.finish();
        peer.expect_end();
        run(sim, &mut reactor)
    });
}

/// A service that speaks no HTTP: says what it was sent.
struct Other;

impl Handler for Other {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        assert_eq!(origin, Origin::HandedOver(7));
        conn.send("other: ");
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        Ok(())
    }
}

/// Promise 1: a connection that becomes another protocol's is handed over behind all answers, with
/// its request.
#[test]
fn an_upgrade_is_handed_over_behind_the_answers_before_it() {
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor((Http::new(Site::default()), Other), Config::public())?;
        reactor.listen(SERVER)?;
        let peer = sim.connect(SERVER);
        let upgrade =
            "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nraw";
        peer.send(format!("GET /later?1 HTTP/1.1\r\nHost: x\r\n\r\n{upgrade}"));
        peer.expect(format!("{}other: {upgrade}", ok("GET /later 1")));
        peer.finish();
        peer.expect_end();
        run(sim, &mut reactor)
    });
}

/// And so is a request that does not ask for another protocol: what the program says of it is done
/// when its turn has come.
#[test]
fn a_request_is_handed_over_behind_the_answers_before_it() {
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor((Http::new(Site::default()), Other), Config::public())?;
        reactor.listen(SERVER)?;
        let peer = sim.connect(SERVER);
        let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let other = "POST /other HTTP/1.0\r\nContent-Length: 3\r\n\r\nabcraw";
        peer.send([ask("/later?1"), ask("/a"), ask("/later?2"), other.into()].concat());
        let answers = [ok("GET /later 1"), ok("GET /a "), ok("GET /later 2")].concat();
        peer.expect(format!("{answers}other: {other}"));
        peer.finish();
        peer.expect_end();
        run(sim, &mut reactor)?;
        let site = reactor.handler_mut().0.requests_mut();
        assert_eq!((site.served, site.abandoned), (4, 0));
        Ok(())
    });
}

/// Promise 3: the last answer of a connection has no other time than any: whoever reads, however
/// slowly, has all of it.
#[test]
fn the_last_answer_is_served_as_long_as_its_client_reads() {
    check(0..5, Profile::calm().buffer(1024..=65536), |sim| {
        let mut reactor = site(sim, Config::public())?;
        let [says, half, posts] = [(); 3].map(|()| sim.connect(SERVER));
        says.send("GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        half.send("GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
        half.finish();
        posts.send("GET /huge HTTP/1.0\r\n\r\n");
        posts.send(vec![b'x'; 300_000]);
        let peers = [says, half, posts];
        for peer in &peers {
            peer.read_slowly(1000, SECOND);
        }
        sim.advance(&mut reactor, 450 * SECOND)?;
        for (n, peer) in peers.iter().enumerate() {
            let huge = String::from_utf8(peer.recv()).unwrap().matches('#').count();
            assert_eq!((huge, peer.is_ended(), peer.is_reset()), (400_000, true, false), "{n}");
        }
        assert_eq!(open(&reactor), 0);
        Ok(())
    });
}

/// Promise 3: behind the last answer nobody keeps a place, neither by silence nor by sending on.
#[test]
fn a_client_that_never_ends_its_side_is_gone_in_time() {
    let sim = Sim::new(1, Profile::calm().buffer(1024..=65536));
    let mut reactor = site(&sim, Config::default()).unwrap();
    let [silent, talks] = [(); 2].map(|()| sim.connect(SERVER));
    silent.send("GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    talks.send("GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for _ in 0..2000 {
        talks.wait(SECOND);
        talks.send("x");
    }
    sim.advance(&mut reactor, 15 * SECOND).unwrap();
    assert!(silent.is_ended() && talks.is_ended());
    assert_eq!(open(&reactor), 1);
    sim.advance(&mut reactor, 1205 * SECOND).unwrap();
    assert_eq!(open(&reactor), 0);
}

#[test]
fn a_method_of_ones_own_is_passed_on() {
    let (told, _) =
        refused(&Sim::new(0, Profile::calm()), b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((told.as_str(), Method::from_bytes(b"BREW").is_ok()), ("200", true));
}

/// Promise 3: empty lines are no request, and no way to keep a place.
#[test]
fn a_client_that_sends_empty_lines_for_ever_is_refused() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = site(&sim, Config::public()).unwrap();
    let peer = sim.connect(SERVER);
    for _ in 0..60 {
        peer.send(b"\r\n");
        peer.wait(Duration::from_secs(9));
    }
    for _ in 0..60 {
        sim.advance(&mut reactor, Duration::from_secs(9)).unwrap();
    }
    let answer = String::from_utf8(peer.recv()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("empty lines"), "{answer}");
    assert!(peer.is_ended());
}

/// And before a request they are read over, wherever they are cut.
#[test]
fn empty_lines_before_a_request_are_read_over() {
    for cut in 0..8 {
        let sim = Sim::new(1, Profile::calm());
        let mut reactor = site(&sim, Config::public()).unwrap();
        let peer = sim.connect(SERVER);
        let all = b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        peer.send(&all[..cut]);
        peer.wait(Duration::from_secs(1));
        peer.send(&all[cut..]);
        sim.advance(&mut reactor, Duration::from_secs(3)).unwrap();
        let answer = String::from_utf8(peer.recv()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && !peer.is_ended(), "{cut}: {answer}");
    }
}
