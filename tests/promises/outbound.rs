//! Connects: each that was begun ends in one callback, what was sent early goes first, and errors
//! say where to and why.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wouldblock::{Address, CloseReason, Config, Conn, ConnId, Connect, Context, Origin, Reactor};

use crate::support::*;

/// A socket path of a test's own.
fn path(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("wouldblock-{test}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// An address of this machine where nobody listens.
fn nobody() -> SocketAddr {
    // Bound and closed: the kernel has it refuse, and gives it to nobody else soon.
    listener().local_addr().unwrap()
}

/// The system's own code, found where the documentation says.
fn code(error: &io::Error) -> Option<Errno> {
    let system = error.source()?.downcast_ref::<io::Error>()?;
    Some(Errno::from_raw_os_error(system.raw_os_error()?))
}

/// A reactor that does this in `on_start`.
fn starting(
    script: Script,
    config: Config,
    start: impl FnOnce(&mut Context) + Send + 'static,
) -> Reactor<Script> {
    let mut start = Some(start);
    let script = script.on_start(move |cx| {
        start.take().expect("on_start comes once")(cx);
        Ok(())
    });
    Reactor::with_config(script, config).unwrap()
}

/// Turns a reactor until a fact holds.
#[track_caller]
fn turn_until(reactor: &mut Reactor<Script>, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

/// Turns a reactor for a while in which nothing should happen, and next to no turns are taken.
#[track_caller]
fn turn_for_a_while(reactor: &mut Reactor<Script>) {
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < Duration::from_millis(200) {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        turns += 1;
    }
    assert!(turns < 100, "{turns} turns in which nothing happened");
}

/// A peer on a thread: takes the first that comes and reads to its end.
fn reads_all<L: Send + 'static, S: Read>(
    listener: L,
    accept: impl FnOnce(L) -> S + Send + 'static,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        accept(listener).read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn joined<T>(reactor: &mut Reactor<Script>, thread: thread::JoinHandle<T>) -> T {
    turn_until(reactor, "the peer is done", || thread.is_finished());
    thread.join().unwrap()
}

/// Promises 2 and 3, Trap 45: what is sent right after the connect, a small piece and a large one,
/// arrives once and in order, before what `on_open` sends; `finish` ends it behind all of that. The
/// same over TCP, a path and an abstract name.
#[test]
fn what_is_sent_early_goes_out_first_and_once() {
    fn converse(to: Address, peer: impl FnOnce() -> thread::JoinHandle<Vec<u8>>) {
        let early = random(1, 700 * KIB);
        let sent = early.clone();
        let script = echo().on_open(|conn| {
            conn.send(b"last");
            conn.finish();
            Ok(())
        });
        let record = script.record();
        let mut reactor = starting(script, Config::default(), move |cx| {
            let id = cx.connect(to.clone(), 7).unwrap();
            let mut conn = cx.conn(id).expect("a connect under way is there");
            conn.send(&sent[..10]);
            conn.send(&sent[10..]);
            assert_eq!(conn.queued(), sent.len());
            assert!(conn.is_open(), "it takes what is sent");
            assert_eq!(conn.peer_addr().unwrap(), to);
            assert_eq!(cx.connections(), [], "and is none of the open ones yet");
        });
        let peer = peer();
        let got = joined(&mut reactor, peer);
        assert_same(&got, &[&early[..], b"last"].concat());
        turn_until(&mut reactor, "it is closed", || !record.closes().is_empty());
        assert_eq!(record.origins(), [Origin::Connected(7)]);
        assert_eq!(record.story(record.opens()[0]), "open eof close");
        let (_, closed) = &record.closes()[0];
        assert!(closed.clean && matches!(closed.reason, CloseReason::Local), "{closed}");
        assert_eq!((reactor.stats().connected, reactor.stats().connect_errors), (1, 0));
    }

    let tcp = listener();
    converse(tcp.local_addr().unwrap().into(), || reads_all(tcp, |tcp| tcp.accept().unwrap().0));
    let path = path("early");
    let unix = UnixListener::bind(&path).unwrap();
    converse(Address::unix(&path), || reads_all(unix, |unix| unix.accept().unwrap().0));
    std::fs::remove_file(path).unwrap();

    let name = format!("wouldblock-early-{}", std::process::id());
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let unix = UnixListener::bind_addr(&addr).unwrap();
    converse(Address::abstract_name(name), || reads_all(unix, |unix| unix.accept().unwrap().0));
}

/// Promises 3 and 7, Trap 44: the socket of a refused connect reports itself writable. It is told
/// as refused, once, with address and code; nothing is opened, and the id is stale.
#[test]
fn a_refused_connect_is_told_once_with_its_address_and_code() {
    let to = nobody();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let stale = Arc::clone(&ids);
    let script = echo().on_connect_failed(move |cx, id, _| {
        assert_eq!(stale.lock().unwrap()[..], [id]);
        assert!(cx.conn(id).is_none());
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 7).unwrap();
        cx.conn(id).unwrap().send(b"to nobody");
        ids.lock().unwrap().push(id);
    });
    turn_until(&mut reactor, "it has failed", || !record.failures().is_empty());
    turn_for_a_while(&mut reactor);
    let failures = record.failures();
    let [(_, 7, error)] = &failures[..] else { panic!("{failures:?}") };
    let text = format!("cannot connect to {to}: Connection refused (os error ");
    assert!(error.to_string().starts_with(&text), "{error}");
    assert_eq!(
        (error.kind(), code(error)),
        (ErrorKind::ConnectionRefused, Some(Errno::CONNREFUSED))
    );
    assert!(record.opens().is_empty() && record.closes().is_empty());
    let stats = reactor.stats();
    assert_eq!((stats.connected, stats.connect_errors, stats.closed.total()), (0, 1, 0));
}

/// Promise 4, Trap 46: a connect that nobody answers fails at its deadline, not before it, and takes
/// no turns meanwhile.
#[test]
fn a_connect_that_nobody_answers_ends_at_its_deadline() {
    const LIMIT: Duration = Duration::from_millis(400);
    let silent = Silent::new();
    let to = silent.addr;
    let script = echo();
    let record = script.record();
    let mut reactor = starting(script, Config::default().connect(LIMIT), move |cx| {
        cx.connect(to, 1).unwrap();
    });
    let start = Instant::now();
    let mut turns = 0;
    while record.failures().is_empty() {
        assert!(start.elapsed() < DEADLINE, "it waits for ever");
        reactor.turn(Some(DEADLINE)).unwrap();
        turns += 1;
    }
    assert!(start.elapsed() >= LIMIT, "it gave up after {:?}", start.elapsed());
    assert!(turns < 10, "{turns} turns were taken to wait");
    let (_, _, error) = &record.failures()[0];
    assert_eq!(error.to_string(), format!("cannot connect to {to}: no answer within 400ms"));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(reactor.stats().connect_errors, 1);
}

/// Promises 2, 3 and 7, Trap 46: a connect to several addresses is one connect. It goes on after one
/// that fails at once, one that refuses, one that says nothing; what was sent goes to the one that
/// answers, once, though a duplicate of an earlier socket lives on.
#[test]
fn a_connect_to_several_addresses_ends_at_the_first_that_answers() {
    const EACH: Duration = Duration::from_millis(300);
    let silent = Silent::new();
    let server = listener();
    let to: Address = server.local_addr().unwrap().into();
    let nowhere = Address::unix(path("several-nowhere"));
    let addresses =
        vec![nowhere, nobody().into(), silent.addr.into(), silent.addr.into(), to.clone()];
    let script = echo().on_open(|conn| {
        conn.finish();
        Ok(())
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(Connect::from(&addresses).timeout(EACH), 7).unwrap();
        let mut conn = cx.conn(id).unwrap();
        conn.send("question");
        let duplicate = conn.fd().unwrap().try_clone_to_owned().unwrap();
        std::mem::forget(duplicate);
    });
    let start = Instant::now();
    let peer = reads_all(server, |tcp| tcp.accept().unwrap().0);
    assert_eq!(joined(&mut reactor, peer), b"question");
    assert!(start.elapsed() >= 2 * EACH, "each has its time: {:?}", start.elapsed());
    turn_until(&mut reactor, "it is closed", || !record.closes().is_empty());
    assert_eq!(record.origins(), [Origin::Connected(7)]);
    assert!(record.failures().is_empty());
    assert_eq!((reactor.stats().connected, reactor.stats().connect_errors), (1, 0));
}

/// Promise 3: if no address answers, or it is given up in between, that is told once, with the last error.
#[test]
fn a_connect_to_several_addresses_that_comes_to_nothing_is_told_once() {
    let silent = Silent::new();
    let (first, last, silent) = (nobody(), nobody(), silent.addr);
    let script = echo();
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let addresses = [first.into(), last.into()];
        cx.connect(&addresses[..], 1).unwrap();
        let addresses = vec![first.into(), silent.into(), last.into()];
        cx.connect(addresses, 2).unwrap();
        let nowhere = [(); 2].map(|()| Address::unix(path("several-nowhere")));
        let error = cx.connect(&nowhere[..], 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let error = cx.connect(Vec::new(), 4).unwrap_err();
        assert_eq!(error.to_string(), "cannot connect: there is no address");
    });
    turn_until(&mut reactor, "the first has failed", || !record.failures().is_empty());
    let failures = record.failures();
    let [(_, 1, error)] = &failures[..] else { panic!("{failures:?}") };
    let told = format!("cannot connect to {last}: Connection refused");
    assert!(error.to_string().starts_with(&told), "{error}");
    turn_for_a_while(&mut reactor);
    assert_eq!(reactor.stats().connect_errors, 2);
    let handle = reactor.handle();
    handle.shutdown_now();
    turn_until(&mut reactor, "the other was given up", || record.failures().len() == 2);
    let (_, tag, error) = &record.failures()[1];
    assert_eq!((*tag, error.kind()), (2, ErrorKind::ConnectionAborted), "{error}");
}

/// Promise 4, Trap 46: a connect has a timeout of its own, longer or shorter than the others' is.
#[test]
fn a_connect_with_a_timeout_of_its_own_ends_at_that() {
    const OWN: Duration = Duration::from_millis(300);
    let silent = Silent::new();
    let to = silent.addr;
    for (common, others) in [(Duration::MAX, 0), (Duration::from_millis(20), 1)] {
        let script = echo();
        let record = script.record();
        let mut reactor = starting(script, Config::default().connect(common), move |cx| {
            cx.connect(to, 1).unwrap();
            cx.connect(Connect::from(to).timeout(OWN), 2).unwrap();
        });
        let start = Instant::now();
        let failed = |tag| record.failures().iter().any(|(_, failed, _)| *failed == tag);
        turn_until(&mut reactor, "it has failed", || failed(2));
        assert!(start.elapsed() >= OWN, "it gave up after {:?}", start.elapsed());
        assert_eq!(record.failures().len(), 1 + others);
        let (_, _, error) = &record.failures()[others];
        assert_eq!(error.to_string(), format!("cannot connect to {to}: no answer within 300ms"));
    }
}

/// Promise 7: what the kernel says at once is the caller's error, with address and code, and no
/// callback comes besides.
#[test]
fn what_fails_at_once_is_an_error_and_no_callback() {
    let missing = path("missing");
    let dead = path("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let busy = path("busy");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&busy).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&busy).unwrap();

    let cases: [(Address, ErrorKind, Option<Errno>, &str); 6] = [
        (Address::unix(&missing), ErrorKind::NotFound, Some(Errno::NOENT), "No such file"),
        (
            Address::unix(&dead),
            ErrorKind::ConnectionRefused,
            Some(Errno::CONNREFUSED),
            "Connection refused",
        ),
        // An edge that tells of room would never come.
        (
            Address::unix(&busy),
            ErrorKind::ResourceBusy,
            Some(Errno::AGAIN),
            "its backlog is full: Resource temporarily",
        ),
        (Address::unix("x".repeat(200)), ErrorKind::InvalidInput, None, "path must be"),
        (Address::Unnamed, ErrorKind::InvalidInput, None, "a server without a name"),
        (
            "255.255.255.255:9".parse().unwrap(),
            ErrorKind::NetworkUnreachable,
            Some(Errno::NETUNREACH),
            "Network ",
        ),
    ];
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    for (to, kind, errno, text) in &cases {
        let error = reactor.connect(to.clone(), 1).unwrap_err();
        let whole = format!("cannot connect to {to}: {text}");
        assert!(error.to_string().starts_with(&whole), "{error}");
        assert_eq!((error.kind(), code(&error)), (*kind, *errno), "{error}");
    }
    turn_for_a_while(&mut reactor);
    assert!(record.failures().is_empty() && record.opens().is_empty());
    assert_eq!(reactor.stats().connect_errors, cases.len() as u64);
    reactor.shutdown_now();
    let error = reactor.connect(nobody(), 1).unwrap_err();
    assert!(error.to_string().ends_with(": the reactor is shutting down"), "{error}");
    reactor.run().unwrap();
    drop(socket);
    std::fs::remove_file(dead).unwrap();
    std::fs::remove_file(busy).unwrap();
}

/// Promise 3: a connect that is cancelled, by `abort` or `close`, at once or later, ends in one call
/// of `on_connect_failed`; what had been sent goes nowhere.
#[test]
fn a_cancelled_connect_is_told_once_and_sends_nothing() {
    type Verb = fn(&mut Conn<'_>);
    let verbs: [(Verb, &str); 2] =
        [(|conn| conn.abort(), "aborted here"), (|conn| conn.close(), "closed here")];
    for (verb, word) in verbs {
        for at_once in [true, false] {
            let silent = Silent::new();
            let to = silent.addr;
            let begun = Arc::new(Mutex::new(None));
            let told = Arc::clone(&begun);
            let (ours, mut control) = std::os::unix::net::UnixStream::pair().unwrap();
            let script = echo().on_data(move |conn, input| {
                input.take_all();
                let id: ConnId = begun.lock().unwrap().expect("it was begun");
                verb(&mut conn.cx().conn(id).expect("it is there to be cancelled"));
                Ok(())
            });
            let record = script.record();
            let mut reactor = starting(script, Config::default(), move |cx| {
                cx.adopt(ours, 1).unwrap();
                let id = cx.connect(to, 2).unwrap();
                cx.conn(id).unwrap().send(b"nobody is to read this");
                *told.lock().unwrap() = Some(id);
                if at_once {
                    verb(&mut cx.conn(id).unwrap());
                    assert!(cx.conn(id).is_none());
                }
            });
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if !at_once {
                turn_for_a_while(&mut reactor);
                assert!(record.failures().is_empty());
                control.write_all(b"!").unwrap();
            }
            turn_until(&mut reactor, "it has failed", || !record.failures().is_empty());
            turn_for_a_while(&mut reactor);
            let failures = record.failures();
            let [(_, 2, error)] = &failures[..] else { panic!("{failures:?}") };
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
            assert_eq!(error.to_string(), format!("cannot connect to {to}: {word}"));
            assert_eq!(record.opens().len(), 1, "but the adopted one");
            // Not the operator's business.
            assert_eq!(reactor.stats().connect_errors, 0);
            // Its socket is gone: it knocks no more once there is room.
            let mut in_the_way = silent.listener.accept().unwrap().0;
            thread::sleep(Duration::from_millis(50));
            silent.listener.set_nonblocking(true).unwrap();
            assert!(silent.listener.accept().is_err());
            let _ = in_the_way.write(b"!");
        }
    }
}

/// Promise 2: paused and finished before it is connected: its end goes out behind what was sent, and
/// what comes back is shown after `resume`, by an edge that came with the connection.
#[test]
fn pausing_and_finishing_work_before_it_is_connected() {
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let resumed = Arc::new(Mutex::new(false));
    let is_resumed = Arc::clone(&resumed);
    let (ours, mut control) = std::os::unix::net::UnixStream::pair().unwrap();
    let begun = Arc::new(Mutex::new(None));
    let told = Arc::clone(&begun);
    let script = echo().on_data(move |conn, input| {
        let begun: ConnId = begun.lock().unwrap().unwrap();
        if conn.id() == begun {
            assert!(*is_resumed.lock().unwrap(), "it is paused");
            kept.lock().unwrap().extend_from_slice(input.take_all());
        } else {
            input.take_all();
            *is_resumed.lock().unwrap() = true;
            conn.cx().conn(begun).unwrap().resume();
        }
        Ok(())
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        cx.adopt(ours, 1).unwrap();
        let id = cx.connect(to, 2).unwrap();
        let mut conn = cx.conn(id).unwrap();
        conn.pause();
        conn.send(b"question");
        conn.finish();
        conn.send(b"behind the end");
        *told.lock().unwrap() = Some(id);
    });
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"answer").unwrap();
        read_to_end(&mut stream)
    });
    assert_eq!(joined(&mut reactor, peer), b"question");
    turn_for_a_while(&mut reactor);
    assert_eq!(record.closes().len(), 0);
    control.write_all(b"!").unwrap();
    turn_until(&mut reactor, "it is closed", || record.closes().len() == 1);
    assert_eq!(got.lock().unwrap()[..], b"answer"[..]);
    assert!(record.closes()[0].1.clean);
}

/// Promise 4: a connect under way has a place among the connections: there the limit holds, and the
/// place is free again when it has failed.
#[test]
fn a_connect_under_way_counts_as_a_connection() {
    let silent = Silent::new();
    let to = silent.addr;
    let config = Config::default().connections(1).connect(Duration::from_millis(500));
    let server = Server::start_with(listener(), echo(), config, move |reactor| {
        reactor.connect(to, 1).unwrap();
        let error = reactor.connect(to, 2).unwrap_err();
        let text = format!("cannot connect to {to}: 1 connections are the limit");
        assert_eq!((error.to_string(), error.kind()), (text, ErrorKind::QuotaExceeded));
        assert_eq!(reactor.stats().connect_errors, 0);
    });
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    assert_eq!(server.record.opens().len(), 0);
    assert_eq!(server.record.wait_failures(1).len(), 1);
    assert_eq!(read_n(&mut client, 5), b"hello");
    drop(client);
    server.end();
}

/// Promise 4: more than `output_max` sent to a connect under way ends it.
#[test]
fn what_is_sent_early_is_bounded() {
    let silent = Silent::new();
    let to = silent.addr;
    let script = echo();
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 1).unwrap();
        let mut conn = cx.conn(id).unwrap();
        for _ in 0..4 {
            conn.send(vec![0; MIB]);
        }
        assert!(conn.is_open());
        conn.send(b"!");
        assert!(!conn.is_open());
    });
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let failures = record.failures();
    let [(_, 1, error)] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!(error.to_string(), format!("cannot connect to {to}: output limit passed"));
}

/// Promises 3 and 5: what was sent early and is above high is drained as any output: one `on_drain`,
/// after `on_open`, and reading rests until then.
#[test]
fn output_from_before_the_connection_is_above_high_too() {
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let script = echo().on_open(|conn| {
        assert_eq!(conn.queued(), 3 * MIB);
        narrow_sending(conn);
        Ok(())
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 1).unwrap();
        cx.conn(id).unwrap().send(vec![b'x'; 3 * MIB]);
    });
    turn_until(&mut reactor, "it is open", || !record.opens().is_empty());
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"not read while output is high").unwrap();
    turn_for_a_while(&mut reactor);
    let id = record.opens()[0];
    assert_eq!(record.story(id), "open");
    let peer = thread::spawn(move || read_n(&mut peer, 3 * MIB));
    assert_eq!(joined(&mut reactor, peer).len(), 3 * MIB);
    turn_until(&mut reactor, "it is closed", || !record.closes().is_empty());
    assert_eq!(record.story(id).replace("eof ", ""), "open drain data close");
}

/// Promise 3: the drain is owed even if the kernel takes all of it in one go.
#[test]
fn output_from_before_the_connection_is_drained_at_a_stroke() {
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let script = echo();
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 1).unwrap();
        cx.conn(id).unwrap().send(vec![b'x'; 100 * KIB]);
    });
    turn_until(&mut reactor, "it is drained", || {
        record.opens().first().is_some_and(|id| record.story(*id) == "open drain")
    });
    drop(listener);
}

/// Promise 4: deadlines hold for a connection that we made as for any: the one of its connect is
/// forgotten, a nearer one is acted on in time.
#[test]
fn a_connection_that_we_made_has_the_usual_deadlines() {
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let script = echo();
    let record = script.record();
    let config =
        Config::default().connect(Duration::from_secs(600)).idle(Some(Duration::from_millis(200)));
    let mut reactor = starting(script, config, move |cx| {
        cx.connect(to, 1).unwrap();
    });
    let again = listener.try_clone().unwrap();
    let peer = reads_all(listener, |listener| listener.accept().unwrap().0);
    turn_until(&mut reactor, "it is closed as idle", || !record.closes().is_empty());
    assert!(matches!(record.closes()[0].1.reason, CloseReason::Idle));
    assert_eq!(peer.join().unwrap(), b"");

    let script = echo();
    let record = script.record();
    let config = Config::default().connect(Duration::from_millis(200));
    let mut reactor = starting(script, config, move |cx| {
        cx.connect(to, 1).unwrap();
    });
    turn_until(&mut reactor, "it is open", || !record.opens().is_empty());
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(400) {
        reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert!(record.closes().is_empty() && record.failures().is_empty());
    drop(again);
}

/// Promise 2, Trap 44: an orderly shutdown waits for a connect that is under way, asks its socket
/// without being deceived by what else says "ready", and lets it bring its bytes home; new ones are
/// refused.
#[test]
fn an_orderly_shutdown_waits_for_a_connect() {
    let silent = Silent::new();
    let to = silent.addr;
    let script = echo()
        .on_shutdown(move |cx| {
            let error = cx.connect(to, 3).unwrap_err();
            assert!(error.to_string().ends_with("the reactor is shutting down"), "{error}");
        })
        .on_open(|conn| {
            conn.hold(true);
            Ok(())
        })
        .on_data(|conn, input| {
            assert_eq!(input.take_all(), b"answer");
            conn.hold(false);
            Ok(())
        });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 1).unwrap();
        cx.conn(id).unwrap().send(b"question");
    });
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.shutdown();
    turn_for_a_while(&mut reactor);
    assert!(record.opens().is_empty() && record.failures().is_empty());
    let peer = thread::spawn(move || {
        let mut peer = silent.answer();
        let got = read_n(&mut peer, 8);
        peer.write_all(b"answer").unwrap();
        (got, read_to_end(&mut peer))
    });
    reactor.run().unwrap();
    let (got, rest) = peer.join().unwrap();
    assert_eq!((&got[..], &rest[..]), (&b"question"[..], &b""[..]));
    assert!(matches!(record.closes()[0].1.reason, CloseReason::Shutdown));
    assert_eq!(record.story(record.opens()[0]), "open data close");
}

/// Promise 1: one that is connected while the reactor shuts down, and has nothing to say, keeps it
/// no longer than any other.
#[test]
fn a_connect_that_comes_through_at_shutdown_leaves_when_it_is_done() {
    let silent = Silent::new();
    let to = silent.addr;
    let script = echo();
    let record = script.record();
    let config = Config::default().shutdown_max(Duration::from_secs(600));
    let mut reactor = starting(script, config, move |cx| {
        cx.connect(to, 1).unwrap();
    });
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.shutdown();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let peer = thread::spawn(move || read_to_end(&mut silent.answer()));
    let start = Instant::now();
    while reactor.turn(Some(Duration::from_millis(10))).unwrap() {
        assert!(start.elapsed() < DEADLINE, "it waits for ever");
    }
    assert_eq!(peer.join().unwrap(), b"");
    let (id, closed) = record.closes().remove(0);
    assert!(closed.clean && matches!(closed.reason, CloseReason::Shutdown), "{closed}");
    assert_eq!(record.story(id), "open close");
}

/// Promises 3 and 4: a hard end, or the deadline of an orderly one, ends connects with the rest, each
/// told.
#[test]
fn the_end_of_the_reactor_cancels_connects() {
    for orderly in [true, false] {
        let silent = Silent::new();
        let to = silent.addr;
        let script = echo().on_connect_failed(move |cx, _, _| {
            assert!(cx.connect(to, 9).is_err(), "nothing is begun any more");
        });
        let record = script.record();
        let config = Config::default().shutdown_max(Duration::from_millis(300));
        let mut reactor = starting(script, config, move |cx| {
            for tag in 0..3 {
                cx.connect(to, tag).unwrap();
            }
        });
        reactor.turn(Some(Duration::ZERO)).unwrap();
        if orderly {
            reactor.shutdown();
        } else {
            reactor.shutdown_now();
        }
        reactor.run().unwrap();
        let mut tags: Vec<_> = record.failures().iter().map(|(_, tag, _)| *tag).collect();
        tags.sort_unstable();
        assert_eq!(tags, [0, 1, 2]);
        for (_, _, error) in record.failures() {
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
            assert_eq!(error.to_string(), format!("cannot connect to {to}: shutdown"));
        }
    }
}

/// Promise 3: a thousand at once to ourselves: each side of each is opened once, under its own tag,
/// and every byte sent early comes back.
#[test]
fn a_thousand_connects_at_once_each_open_once_under_their_own_tag() {
    child::run("outbound::child_a_thousand_connects");
}

#[test]
#[ignore = "a child of a_thousand_connects_at_once_each_open_once_under_their_own_tag"]
fn child_a_thousand_connects() {
    if !child::is_running("outbound::child_a_thousand_connects") {
        return;
    }
    let pairs = child::room_for_pairs().min(1000) as u64;
    let begun = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let ids = Arc::clone(&begun);
    let back = Arc::new(Mutex::new(Vec::new()));
    let came = Arc::clone(&back);
    let script = echo().on_data(move |conn, input| {
        match ids.lock().unwrap().get(&conn.id()) {
            None => conn.send(input.take_all()),
            Some(tag) => {
                let Some(bytes) = input.take(8) else { return Ok(()) };
                assert_eq!(bytes, u64::to_be_bytes(*tag));
                came.lock().unwrap().push(*tag);
                conn.close();
            }
        }
        Ok(())
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let listener = cx.listen("127.0.0.1:0").unwrap();
        let to = cx.listener_addr(listener).unwrap();
        for tag in 0..pairs {
            let id = cx.connect(to.clone(), tag).unwrap();
            cx.conn(id).unwrap().send(tag.to_be_bytes());
            assert!(begun.lock().unwrap().insert(id, tag).is_none());
        }
    });
    turn_until(&mut reactor, "all are closed", || record.closes().len() as u64 == 2 * pairs);
    let mut tags = back.lock().unwrap().clone();
    tags.sort_unstable();
    assert_eq!(tags, (0..pairs).collect::<Vec<_>>());
    let connected = record.origins().into_iter().filter(|o| matches!(o, Origin::Connected(_)));
    assert_eq!(connected.count() as u64, pairs);
    assert_eq!((reactor.stats().connected, reactor.stats().connect_errors), (pairs, 0));
}

/// Promises 4 and 6, Trap 46: however a connect ends, its descriptor is given back, and the deadline
/// of one is not that of who comes into its place.
#[test]
fn every_end_of_a_connect_gives_its_descriptor_back() {
    child::run("outbound::child_gives_descriptors_back");
}

#[test]
#[ignore = "a child of every_end_of_a_connect_gives_its_descriptor_back"]
fn child_gives_descriptors_back() {
    if !child::is_running("outbound::child_gives_descriptors_back") {
        return;
    }
    let (silent, refuses, open) = (Silent::new(), nobody(), listener());
    let answers = open.local_addr().unwrap();
    thread::spawn(move || open.incoming().for_each(drop));
    let script = echo().on_open(|conn| {
        conn.abort();
        Ok(())
    });
    let record = script.record();
    let config = Config::default().connections(8).connect(Duration::from_millis(100));
    let mut reactor = Reactor::with_config(script, config).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let before = child::own_descriptors();
    for round in 1..=50 {
        for to in [silent.addr, refuses, answers, silent.addr, refuses, answers] {
            reactor.connect(to, round).unwrap();
        }
        turn_until(&mut reactor, "all have ended", || {
            (record.failures().len() + record.closes().len()) as u64 == 6 * round
        });
    }
    assert!(child::own_descriptors() <= before + 1, "descriptors are kept");
    assert_eq!((record.failures().len(), record.closes().len()), (200, 100));
}

/// Promises 6 and 7: without a descriptor a connect is an error that says so, and the reactor goes
/// on.
#[test]
fn without_descriptors_a_connect_says_so() {
    child::run("outbound::child_connect_without_descriptors");
}

#[test]
#[ignore = "a child of without_descriptors_a_connect_says_so"]
fn child_connect_without_descriptors() {
    if !child::is_running("outbound::child_connect_without_descriptors") {
        return;
    }
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    // Below all that are open.
    child::limit_descriptors(1);
    let error = reactor.connect(to, 1).unwrap_err();
    assert_eq!(code(&error), Some(Errno::MFILE), "{error}");
    child::limit_descriptors(100);
    reactor.connect(to, 2).unwrap();
    turn_until(&mut reactor, "it is open", || !record.opens().is_empty());
    assert_eq!(record.origins(), [Origin::Connected(2)]);
    assert!(record.failures().is_empty());
}

/// Promise 3: a handler may connect elsewhere when one address fails, from that very callback.
#[test]
fn a_handler_may_try_the_next_address_when_one_fails() {
    let listener = listener();
    let good = listener.local_addr().unwrap();
    let script = echo().on_connect_failed(move |cx, _, tag| {
        cx.connect(if tag < 3 { nobody() } else { good }, tag + 1).unwrap();
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        cx.connect(nobody(), 1).unwrap();
    });
    turn_until(&mut reactor, "it is open", || !record.opens().is_empty());
    assert_eq!(record.origins(), [Origin::Connected(4)]);
    assert_eq!(record.failures().len(), 3);
}

/// Promise 3: a broadcast means the open ones; what somebody asked of a connect under way is done
/// when it is open.
#[test]
fn a_broadcast_leaves_out_who_is_not_open() {
    let listener = listener();
    let to = listener.local_addr().unwrap();
    let script = echo().on_open(|conn| {
        conn.cx().broadcast("to all".into());
        Ok(())
    });
    let record = script.record();
    let mut reactor = starting(script, Config::default(), move |cx| {
        let id = cx.connect(to, 1).unwrap();
        assert!(cx.conn(id).is_some_and(|mut conn| conn.want_drain()));
        cx.broadcast("to nobody".into());
    });
    turn_until(&mut reactor, "it has its drain", || {
        record.opens().first().is_some_and(|id| record.story(*id) == "open drain")
    });
    let (mut peer, _) = listener.accept().unwrap();
    reactor.shutdown_now();
    reactor.run().unwrap();
    assert_eq!(read_until_gone(&mut peer).0, b"to all");
}

/// Promises 2 and 3: a server that says a word and resets was connected: its word is shown, and the
/// end is told by reading. Its reset is met by the first look at the socket, as it comes in one event
/// with the connect.
#[test]
fn the_word_of_a_server_that_resets_at_once_is_not_lost() {
    let said = |server: &mut TcpStream, word: &[u8], ends: bool| {
        server.write_all(word).unwrap();
        if ends {
            server.shutdown(Shutdown::Write).unwrap();
        }
    };
    for (word, ends) in [(&b"word"[..], false), (b"word", true), (b"", false), (b"", true)] {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = shown.clone();
        let script = echo().on_data(move |_, input| {
            seen.lock().unwrap().extend_from_slice(input.take_all());
            Ok(())
        });
        let record = script.record();
        let mut reactor = Reactor::new(script).unwrap();
        let behind = listener();
        let id = reactor.connect(behind.local_addr().unwrap(), 7).unwrap();
        let (mut server, _) = behind.accept().unwrap();
        said(&mut server, word, ends);
        reset(server);
        turn_until(&mut reactor, "it is told", || {
            record.closes().len() + record.failures().len() == 1
        });
        let data = if word.is_empty() { "" } else { " data" };
        assert_eq!(record.story(id), format!("open{data} close"));
        assert_eq!(*shown.lock().unwrap(), word);
        let closed = record.wait_close();
        assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed}");
        assert_eq!(reactor.stats().connected, 1);
    }
}

/// Promises 1 and 7: a name is looked up on a thread, an address by nobody; what comes of it comes once,
/// with the handler, and an error names the name. A look-up that outlives its reactor is dropped.
#[test]
fn names_are_looked_up_aside_and_their_answers_posted() {
    let here = thread::current().id();
    let (told, tells) = std::sync::mpsc::channel();
    let mut reactor = Reactor::new(echo()).unwrap();
    let names =
        ["localhost:80", "127.0.0.1:80", "unix:/run/x", "no-such-host.invalid:80", "no port"];
    for name in names {
        let told = told.clone();
        let then = move |_: &mut Script, _: &mut Context, found| {
            assert_eq!(thread::current().id(), here);
            told.send((name, found)).unwrap();
        };
        reactor.handle().resolve(name, then).unwrap();
    }
    let mut answers = Vec::new();
    turn_until(&mut reactor, "all are answered", || {
        answers.extend(tells.try_iter());
        answers.len() == names.len()
    });
    for (name, found) in answers {
        match (name, found) {
            ("localhost:80", Ok(found)) => {
                assert!(!found.is_empty());
                assert!(found.iter().all(|at| at.ip().unwrap().is_loopback()), "{found:?}");
            }
            ("127.0.0.1:80" | "unix:/run/x", found) => {
                assert_eq!(found.unwrap(), [name.parse().unwrap()]);
            }
            ("no-such-host.invalid:80" | "no port", Err(error)) => {
                let told = format!("cannot resolve {name}: ");
                assert!(error.to_string().starts_with(&told), "{error}");
            }
            (name, found) => panic!("{name}: {found:?}"),
        }
    }
    let handle = reactor.handle();
    drop(reactor);
    let (told, tells) = std::sync::mpsc::channel::<()>();
    handle.resolve("localhost:80", move |_, _, _| told.send(()).unwrap()).unwrap();
    assert!(tells.recv_timeout(DEADLINE).is_err(), "it is dropped, and not called");
}

/// On all addresses of a name there is a listener for each, where `listen` takes the first that binds.
#[test]
fn a_server_listens_on_each_address_of_a_name() {
    let mut reactor = Reactor::new(echo()).unwrap();
    for address in Address::resolve("localhost:0").unwrap() {
        let id = reactor.listen(address.clone()).unwrap();
        let listens = reactor.listener_addr(id).unwrap();
        assert_eq!(listens.ip(), address.ip());
        TcpStream::connect(listens).unwrap();
    }
}
