//! Promise 7: an error reaches somebody: as a `Result`, as the reason of a close, or as one line in
//! the log.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use signal_hook::consts::SIGPIPE;
use wouldblock::{CloseReason, Closed, Config, Input, Reactor, Refused};

use crate::support::*;

/// Promise 7: `on_start` may refuse; `run` says why.
#[test]
fn an_error_from_on_start_is_returned() {
    let script = echo().on_start(|_| Err(io::Error::other("no database")));
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.listen("127.0.0.1:0").unwrap();
    assert_eq!(reactor.run().unwrap_err().to_string(), "no database");
    assert!(matches!(record.events()[..], [Event::Start]), "{:?}", record.events());
}

/// Promise 7: `on_start` comes once, in the first turn, and may end it all.
#[test]
fn on_start_comes_once_and_before_anything_else() {
    let script = echo().on_start(|cx| {
        assert!(cx.connections().is_empty());
        cx.shutdown();
        Ok(())
    });
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    reactor.listen("127.0.0.1:0").unwrap();
    reactor.run().unwrap();
    assert!(
        matches!(record.events()[..], [Event::Start, Event::Shutdown]),
        "{:?}",
        record.events()
    );
}

/// Promise 7: the peer's reset is told as what it was.
#[test]
fn a_reset_is_told_as_a_reset() {
    let server = Server::start(echo(), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"hello");
    reset(client);
    let closed = server.record.wait_close();
    match &closed.reason {
        CloseReason::Io(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    assert!(!closed.clean);
    assert!(!closed.to_string().is_empty());
    assert_eq!(server.end().closed.io, 1);
}

/// Promise 7: an error from any callback of a connection is its reason, told once.
#[test]
fn an_error_from_any_callback_is_the_reason() {
    for callback in ["data", "eof", "drain"] {
        let fails = move |here: &str| {
            if here == callback { Err(io::Error::other(here)) } else { Ok(()) }
        };
        let script = echo()
            .on_data(move |conn, input| {
                conn.send(input.take_all());
                conn.want_drain();
                fails("data")
            })
            .on_drain(move |_| fails("drain"))
            .on_eof(move |conn, _| {
                fails("eof")?;
                conn.close();
                Ok(())
            });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), b"hello", "what was sent before is flushed");
        drop(client);
        let closed = server.record.wait_close();
        match &closed.reason {
            CloseReason::Handler(error) => assert_eq!(error.to_string(), callback),
            other => panic!("{other:?}"),
        }
        server.end();
    }
}

/// Promise 7: the first cause stays the reason; what comes after changes only how clean it was.
#[test]
fn the_first_cause_is_the_reason() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![0; MIB]);
        conn.close();
        conn.abort();
        Err(io::Error::other("too late to matter"))
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let _ = read_until_gone(&mut client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
    assert!(!closed.clean && closed.unsent > 0, "{closed:?}");
    server.end();
}

/// Promise 7: whoever panics over a broken invariant of its own is told which: more consumed than
/// there is.
#[test]
fn consuming_more_than_there_is_panics() {
    let script = echo().on_data(|_, input: &mut Input<'_>| {
        input.consume(input.len() + 1);
        Ok(())
    });
    let mut reactor = Reactor::new(script).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let mut client = connect(reactor.listener_addr(id).unwrap().socket_addr().unwrap());
    client.write_all(b"?").unwrap();
    let run = std::panic::AssertUnwindSafe(|| reactor.run());
    assert!(std::panic::catch_unwind(run).is_err());
}

/// Promise 7: the numbers add up.
#[test]
fn the_statistics_add_up() {
    let script = echo().on_data(|conn, input| {
        match input.take_all() {
            b"close" => conn.close(),
            b"abort" => conn.abort(),
            b"error" => return Err(io::Error::other("asked for")),
            other => conn.send(other),
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().linger(Duration::from_millis(100)));
    for word in ["close", "abort", "error", "leave", "reset"] {
        let mut client = server.connect();
        ping(&mut client, b"12345");
        match word {
            "leave" => drop(client),
            "reset" => reset(client),
            word => {
                client.write_all(word.as_bytes()).unwrap();
                let _ = read_until_gone(&mut client);
            }
        }
    }
    server.record.wait_closes(5);
    let stats = server.end();
    assert_eq!((stats.accepted, stats.refused, stats.accept_errors), (5, 0, 0));
    let closed = &stats.closed;
    assert_eq!(
        (closed.local, closed.aborted, closed.handler, closed.peer_end, closed.io),
        (1, 1, 1, 1, 1)
    );
    assert_eq!(closed.total(), 5);
    assert_eq!((stats.bytes_in, stats.bytes_out), (5 * 5 + 3 * 5, 5 * 5));
}

/// Promise 7, Trap 34: a write to a dead peer is an error, never a signal, also when several
/// buffers go in one call. In a child, for its own signals.
#[test]
fn a_write_to_a_dead_peer_is_no_signal() {
    child::run("errors_reach::child_sigpipe");
}

#[test]
#[ignore = "a child of a_write_to_a_dead_peer_is_no_signal"]
fn child_sigpipe() {
    if !child::is_running("errors_reach::child_sigpipe") {
        return;
    }
    // Rust's main ignores the signal; with a handler it is delivered again, and counted.
    let piped = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, piped.clone()).unwrap();
    let (stall, stalled) = stall();
    let script = narrow_echo()
        .on_data(move |conn, input| {
            let word = input.take_all();
            if word == b"fill" {
                // Small chunks behind a full kernel: they can only leave together.
                conn.send(vec![0; 200 * KIB]);
                for _ in 0..100 {
                    conn.send_shared(Bytes::from(vec![0; 5 * KIB]));
                }
            } else if word == b"stall" {
                stalled.stand_still();
                conn.cx().broadcast(Bytes::from(vec![0; 10 * KIB]));
                conn.cx().broadcast(Bytes::from_static(b"more"));
            }
            Ok(())
        })
        .on_eof(|_, _| Ok(()));
    let server = Server::start(script, Config::default());
    // One that is owed much (its writes gather many buffers), and one that is owed nothing yet.
    for word in [b"fill", b"none"].repeat(5) {
        let closed = server.record.closes().len();
        let mut doomed = connect_narrow(server.addr);
        let id = *server.record.wait_opens(closed + 1).last().unwrap();
        doomed.write_all(word).unwrap();
        wait_until("it is served", || server.record.story(id) == "open data");
        let mut other = server.connect();
        other.write_all(b"stall").unwrap();
        stall.wait_entered();
        // Only a reset behind a FIN makes the next write a broken pipe (tcp_reset in the kernel).
        doomed.shutdown(Shutdown::Write).unwrap();
        reset(doomed);
        stall.release();
        server.record.wait_close_of(id);
        read_n(&mut other, 10 * KIB + 4);
        reset(other);
        server.record.wait_closes(closed + 2);
    }
    server.end();
    assert!(!piped.load(Ordering::Relaxed), "SIGPIPE was raised");
    // The trap itself works: a pipe without a reader does raise it.
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut writer = std::fs::File::from(writer.as_fd().try_clone_to_owned().unwrap());
    assert!(writer.write(b"x").is_err());
    assert!(piped.load(Ordering::Relaxed), "this test cannot see SIGPIPE");
}

/// Every line of the log, in the child that listens to it.
static LINES: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());

/// Keeps the log's lines.
struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, line: &log::Record<'_>) {
        if line.target().starts_with("wouldblock") {
            LINES.lock().unwrap().push((line.level(), line.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Promise 7: each close has its line, at the level it deserves; packets have none above trace. In
/// a child, for the log is global.
#[test]
fn the_log_tells_each_end_once_at_its_level() {
    child::run("errors_reach::child_log");
}

#[test]
#[ignore = "a child of the_log_tells_each_end_once_at_its_level"]
fn child_log() {
    if !child::is_running("errors_reach::child_log") {
        return;
    }
    log::set_logger(&Keep).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let config = Config::default()
        .idle(Some(Duration::from_millis(1500)))
        .write_stall(Duration::from_millis(300))
        .linger(Duration::from_millis(100));
    let script = narrow_echo();
    let server = Server::start(script, config);
    let tail = |closed: &Closed| closed.to_string();

    // An ordinary end: debug, and nothing per packet.
    let mut client = server.connect();
    for _ in 0..100 {
        ping(&mut client, b"chat");
    }
    drop(client);
    let ordinary = tail(&server.record.wait_closes(1)[0].1);
    // A deadline: info.
    let idle = server.connect();
    let idled = tail(&server.record.wait_closes(2)[1].1);
    drop(idle);
    // Another: info.
    let mut stuck = connect_narrow(server.addr);
    stuck.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = stuck.write_all(&vec![0; 32 * MIB]);
    let stalled = tail(&server.record.wait_closes(3)[2].1);
    drop(stuck);
    server.end();
    // A panic that ended one connection: error; whom a shutdown cut: warn.
    let config = Config::default().isolate_panics(true).shutdown_max(Duration::from_millis(100));
    let script = echo().on_data(|conn, input| {
        assert_ne!(input.take_all(), b"boom", "as planned");
        conn.hold(true);
        conn.send(b"held");
        Ok(())
    });
    let server = Server::start(script, config);
    let mut held = server.connect();
    held.write_all(b"hold").unwrap();
    assert_eq!(read_n(&mut held, 4), b"held");
    server.connect().write_all(b"boom").unwrap();
    server.record.wait_close();
    server.end();

    let lines = LINES.lock().unwrap();
    let level_of = |tail: &str| {
        let found: Vec<_> = lines.iter().filter(|(_, line)| line.contains(tail)).collect();
        assert!(!found.is_empty(), "no line says {tail:?}: {lines:#?}");
        found[0].0
    };
    assert_eq!(level_of(&ordinary), log::Level::Debug);
    assert_eq!(level_of(&idled), log::Level::Info);
    assert_eq!(level_of(&stalled), log::Level::Info);
    assert_eq!(level_of("a callback panicked, the connection ends"), log::Level::Error);
    assert_eq!(level_of("shutdown complete: 0.0 s, 0 connections done, 0 cut"), log::Level::Info);
    assert_eq!(level_of("0 connections done, 1 cut, 0 bytes unsent: 127.0.0.1:"), log::Level::Warn);
    // The panic told of several: what was compared, and that may be a peer's bytes.
    let broken = lines.iter().find(|(_, line)| line.contains('\n'));
    assert!(broken.is_none(), "a record is one line: {broken:?}");
    let loud = lines.iter().filter(|(level, _)| *level <= log::Level::Debug).count();
    assert!(loud < 40, "{loud} lines for five connections: {lines:#?}");
}

/// Promise 7: what a callback sent before it aborted is counted, a slice of its own input too, which is
/// kept as nothing but a place in it.
#[test]
fn a_slice_of_the_input_sent_before_an_abort_is_counted() {
    for len in [5, 100, 4096, 50_000] {
        let script = echo().on_data(move |conn, input| {
            if input.len() == len {
                conn.send(input.take_all());
                conn.abort();
                conn.send(b"ignored");
            }
            Ok(())
        });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(&vec![7; len]).unwrap();
        let closed = server.record.wait_close();
        assert!(matches!(closed.reason, CloseReason::Aborted), "{closed}");
        assert_eq!(closed.unsent, len as u64);
        server.end();
    }
}

/// Promises 4 and 7: what the reactor itself does not take is told from what the kernel does not, without
/// reading words: by `connect` too, whose error is about an address.
#[test]
fn what_the_reactor_refuses_is_a_value() {
    let mut reactor = Reactor::with_config(echo(), Config::default().connections(1)).unwrap();
    let door = listener();
    let to = door.local_addr().unwrap();
    let pair = || std::os::unix::net::UnixStream::pair().unwrap().0;
    reactor.connect(to, 1).unwrap();
    for error in [reactor.connect(to, 2).unwrap_err(), reactor.adopt(pair(), 3).unwrap_err()] {
        let refused = Refused::of(&error);
        assert!(matches!(refused, Some(Refused::TooMany { most: 1, .. })), "{refused:?}");
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    }
    let taken = reactor.listen(to).unwrap_err();
    assert_eq!((taken.kind(), Refused::of(&taken)), (ErrorKind::AddrInUse, None));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.shutdown();
    for refused in [
        reactor.connect(to, 4).unwrap_err(),
        reactor.adopt(pair(), 5).unwrap_err(),
        reactor.listen("127.0.0.1:0").unwrap_err(),
        reactor.bind_datagram("127.0.0.1:0").unwrap_err(),
    ] {
        assert_eq!(Refused::of(&refused), Some(Refused::ShuttingDown), "{refused}");
    }
}
