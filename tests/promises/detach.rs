//! Promises 2, 3 and 4 for a connection that leaves its reactor alive: every byte goes along, in both
//! directions, and nothing of it stays.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use wouldblock::{CloseReason, Closed, Config, Conn, Detached, Input, Reactor};

use crate::support::*;

/// Detaches for whoever holds the receiver.
fn detaches() -> (impl Fn(&mut Conn<'_>) + Send, Receiver<Detached>) {
    let (sender, receiver) = channel();
    let detach = move |conn: &mut Conn<'_>| {
        let sender = sender.clone();
        conn.detach(move |detached| drop(sender.send(detached)));
    };
    (detach, receiver)
}

/// Answers each line with the line, and detaches behind `go`.
fn lines(conn: &mut Conn<'_>, input: &mut Input<'_>, detach: &impl Fn(&mut Conn<'_>)) {
    while let Some(line) = input.line() {
        conn.send([line, b"\n"].concat());
        if line == b"go" {
            detach(conn);
        }
    }
}

fn is_detached(closed: &Closed) -> bool {
    matches!(closed.reason, CloseReason::Detached) && !closed.clean && closed.unsent == 0
}

/// Promises 2 and 3: what was not consumed, what was sent in that very callback, and what the kernel
/// still holds, arrive at a thread with blocking calls; and here it is closed once.
#[test]
fn what_is_unread_and_unsent_goes_along_to_a_thread() {
    let (detach, detached) = detaches();
    let script = echo().on_data(move |conn, input| {
        lines(conn, input, &detach);
        conn.send("ignored\n");
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"one\ngo\ntwo\nthr").unwrap();
    let Detached { stream, unread, unsent } = detached.recv_timeout(DEADLINE).unwrap();
    assert!(is_detached(&server.record.wait_close()));
    client.write_all(b"ee\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let stats = server.end();
    assert_eq!((stats.accepted, stats.closed.detached, stats.closed.total()), (1, 1, 1));

    let mut stream = TcpStream::try_from(stream).unwrap();
    assert_eq!((&unsent[..], &unread[..]), (&b"one\ngo\n"[..], &b"two\nthr"[..]));
    assert_eq!(stream.read(&mut []).unwrap(), 0);
    stream.set_nonblocking(false).unwrap();
    stream.write_all(&unsent).unwrap();
    let mut rest = Vec::new();
    (&unread[..]).chain(&stream).read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"two\nthree\n");
    stream.write_all(&rest).unwrap();
    drop(stream);
    assert_eq!(read_to_end(&mut client), b"one\ngo\ntwo\nthree\n");
}

/// Promises 2 and 5: an echo is handed on in the middle, from one reactor to another: with megabytes
/// queued to a client that does not read, and with input that is left.
#[test]
fn an_echo_that_is_handed_on_in_the_middle_loses_no_byte() {
    const LEN: usize = 8 * MIB;
    let sent = random(41, LEN);
    let other = Server::start(
        echo().on_open(|conn| {
            conn.auto_pause(false);
            Ok(())
        }),
        Config::default().output_max(2 * LEN).buffered_max(4 * LEN),
    );
    let handle = other.handle.clone();
    let mut seen = 0;
    let script = echo()
        .on_open(|conn| {
            narrow_sending(conn);
            conn.auto_pause(false);
            Ok(())
        })
        .on_data(move |conn, input| {
            // An odd piece is left.
            let n = if input.len() > 1000 { input.len() - 333 } else { input.len() };
            let bytes = input.bytes()[..n].to_vec();
            input.consume(n);
            conn.send(&bytes);
            seen += n;
            if seen > LEN / 2 {
                assert!(conn.queued() > MIB, "{} bytes are queued", conn.queued());
                let handle = handle.clone();
                conn.detach(move |detached| {
                    assert!(detached.unsent.len() > MIB && detached.unread.len() >= 333);
                    handle.post(move |_, cx| assert!(cx.adopt(detached, 1).is_ok())).unwrap();
                });
            }
            Ok(())
        });
    let config = Config::default().output_max(2 * LEN).buffered_max(4 * LEN);
    let server = Server::start(script, config);
    let mut client = server.connect();
    let writing = client.try_clone().unwrap();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || {
        let mut writing = writing;
        writing.write_all(&to_send).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    server.record.wait_close();
    assert_same(&read_to_end(&mut client), &sent);
    writer.join().unwrap();
    drop(client);
    assert!(other.record.wait_close().clean);
    for server in [server, other] {
        server.end();
    }
}

/// Promise 2: over a Unix socket, to another reactor: the unsent goes first, and the unread is offered
/// before the socket has anything to read.
#[test]
fn unread_input_is_offered_by_the_reactor_that_adopts_it() {
    let (detach, detached) = detaches();
    let script = echo().on_data(move |conn, input| {
        lines(conn, input, &detach);
        Ok(())
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = Server::start_with("127.0.0.1:0", script, Config::default(), |reactor| {
        reactor.adopt(ours, 1).unwrap();
    });
    let mut theirs = theirs;
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    theirs.write_all(b"go\nrest").unwrap();
    let detached = detached.recv_timeout(DEADLINE).unwrap();
    server.end();
    let script = echo().on_data(|conn, input| {
        conn.send([b"again: ", input.take_all()].concat());
        conn.close();
        Ok(())
    });
    let again = Server::start_with("127.0.0.1:0", script, Config::default(), |reactor| {
        reactor.adopt(detached, 2).unwrap();
    });
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), "go\nagain: rest");
    drop(theirs);
    again.end();
}

/// Promise 2: on its way from one reactor to another its peer resets. What it had said is offered
/// all the same, under the peer's address, which the kernel has forgotten.
#[test]
fn unread_input_of_a_peer_that_resets_on_the_way_is_offered() {
    let (detach, detached) = detaches();
    let (lend, duplicates) = channel();
    let script = echo().on_data(move |conn, input| {
        lines(conn, input, &detach);
        lend.send(conn.fd().unwrap().try_clone_to_owned().unwrap()).unwrap();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    let addr = client.local_addr().unwrap();
    client.write_all(b"go\nrest").unwrap();
    let detached = detached.recv_timeout(DEADLINE).unwrap();
    server.end();
    reset(client);
    let duplicate = TcpStream::from(duplicates.recv_timeout(DEADLINE).unwrap());
    wait_until("the reset is here", || duplicate.peer_addr().is_err());

    let (tell, told) = channel();
    let script = echo().on_data(move |conn, input| {
        tell.send((conn.peer_addr()?, input.take_all().to_vec())).unwrap();
        Ok(())
    });
    let again = Server::start_with("127.0.0.1:0", script, Config::default(), |reactor| {
        reactor.adopt(detached, 2).unwrap();
    });
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), (addr.into(), b"rest".to_vec()));
    let closed = again.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed:?}");
    again.end();
}

/// Promises 4 and 6: its place, its address's and its memory are free, and its descriptor wakes nobody,
/// whoever has a duplicate of it; nor is the peer told of an end.
#[test]
fn nothing_of_it_stays() {
    let (detach, detached) = detaches();
    let script = echo().on_data(move |conn, input| {
        if input.bytes().starts_with(b"go") {
            input.consume(2);
            conn.hold(true);
            conn.pause();
            conn.set_timeout(Duration::from_millis(1));
            assert!(conn.fd().is_some());
            detach(conn);
            assert!(!conn.is_open());
            let id = conn.id();
            assert!(conn.cx().conn(id).is_none() && conn.cx().connections().is_empty());
        } else {
            assert_eq!(conn.cx().buffered(), 0);
            tell_turns(conn, input);
        }
        Ok(())
    });
    let config = Config::default().connections(1).connections_per_address(Some(1));
    let server = Server::start(script, config);
    let mut client = server.connect();
    client.write_all(&[&b"go"[..], &[7; 10_000]].concat()).unwrap();
    let Detached { stream, unread, .. } = detached.recv_timeout(DEADLINE).unwrap();
    assert!(is_detached(&server.record.wait_close()));
    let mut probe = server.connect();
    client.write_all(b"news").unwrap();
    assert_at_rest(&mut probe);
    drop(probe);
    server.record.wait_closes(2);
    server.end();
    let mut stream = TcpStream::try_from(stream).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"still here").unwrap();
    assert_eq!(read_n(&mut client, 10), b"still here");
    let mut rest = vec![0; 10_004 - unread.len()];
    stream.read_exact(&mut rest).unwrap();
    assert!(unread.iter().all(|byte| *byte == 7) && rest.ends_with(b"news"));
}

/// Promise 3: what is not open is not detached: it ends as it would have, and the closure is dropped.
#[test]
fn what_is_not_open_is_not_detached() {
    type Before = fn(&mut Conn<'_>);
    let befores: [(Before, &str); 4] = [
        (|conn| conn.close(), "closed here"),
        (|conn| conn.finish(), "closed here"),
        (|conn| conn.abort(), "aborted here"),
        (|conn| conn.close_reset(), "closed here"),
    ];
    for (before, reason) in befores {
        let (detach, detached) = detaches();
        let script = echo().on_data(move |conn, input| {
            conn.send(input.take_all());
            before(conn);
            detach(conn);
            Ok(())
        });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        let _ = client.shutdown(Shutdown::Write); // which an abort may come before
        let _ = read_until_gone(&mut client);
        let closed = server.record.wait_close();
        assert_eq!(closed.reason.to_string(), reason);
        server.end();
        assert!(detached.recv_timeout(DEADLINE).is_err(), "{reason}");
    }
    // A connect under way, and one that the library closes.
    let silent = Silent::new();
    let (detach, detached) = detaches();
    let (detach_late, detached_late) = detaches();
    let script = echo().on_closing(move |conn, _| {
        conn.send("bye");
        detach_late(conn);
        Ok(())
    });
    let config = Config::default().first_byte(Some(Duration::from_millis(1)));
    let to = silent.addr;
    let server = Server::start_with(listener(), script, config, move |reactor| {
        let id = reactor.connect(to, 1).unwrap();
        let handle = reactor.handle();
        let asks = move |_: &mut Script, cx: &mut wouldblock::Context| {
            detach(&mut cx.conn(id).unwrap());
            cx.conn(id).unwrap().abort();
        };
        handle.post(asks).unwrap();
    });
    assert_eq!(server.record.wait_failures(1)[0].2.kind(), ErrorKind::ConnectionAborted);
    assert_eq!(read_to_end(&mut server.connect()), b"bye");
    assert!(matches!(server.record.wait_close().reason, CloseReason::FirstByte));
    server.end();
    assert!(detached.recv_timeout(DEADLINE).is_err());
    assert!(detached_late.recv_timeout(DEADLINE).is_err());
}

/// Promises 2 and 3: a callback that panics behind it has lost what it consumed: the peer sees a reset.
/// The same if the reactor goes before it was handed over; and what panics in the closure ends nobody.
#[test]
fn one_that_cannot_be_handed_over_whole_is_reset() {
    let (detach, detached) = detaches();
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        detach(conn);
        panic!("as planned");
    });
    let server = Server::start(script, Config::default().isolate_panics(true));
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(matches!(server.record.wait_close().reason, CloseReason::Panic(_)));
    assert_eq!(server.end().closed.panic, 1);
    assert!(detached.recv_timeout(DEADLINE).is_err());

    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.detach(|_| panic!("as planned"));
        Ok(())
    });
    let server = Server::start(script, Config::default().isolate_panics(true));
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    assert!(is_detached(&server.record.wait_close()));
    assert_eq!(server.end().panics, 1);

    // Not isolated, it goes through, and the end is told all the same.
    let script = echo();
    let record = script.record();
    let mut reactor = Reactor::new(script).unwrap();
    let id = reactor.adopt(UnixStream::pair().unwrap().0, 1).unwrap();
    let asks = |_: &mut Script, conn: &mut Conn<'_>, _: &mut Session| {
        conn.detach(|_| panic!("as planned"));
        Ok(())
    };
    reactor.handle().post_to(id, asks).unwrap();
    let turn = std::panic::AssertUnwindSafe(|| while reactor.turn(None).is_ok() {});
    assert!(std::panic::catch_unwind(turn).is_err());
    assert!(is_detached(&record.closes()[0].1));

    let mut reactor = Reactor::new(echo()).unwrap();
    let door = listener();
    let mut client = connect(door.local_addr().unwrap());
    let id = reactor.adopt(door.accept().unwrap().0, 1).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let handle = reactor.handle();
    handle
        .post_to(id, |_, conn, _| {
            conn.detach(|_| unreachable!("it never gets there"));
            Ok(())
        })
        .unwrap();
    handle.post(|_, _| panic!("as planned")).unwrap();
    let turn = std::panic::AssertUnwindSafe(|| reactor.turn(None));
    assert!(std::panic::catch_unwind(turn).is_err());
    drop(reactor);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Promise 2: a shutdown does not wait for it, held or not, and one that is detached in `on_shutdown` is
/// not cut.
#[test]
fn a_shutdown_does_not_wait_for_it() {
    let (sender, detached) = channel();
    let script = echo()
        .on_open(|conn| {
            conn.hold(true);
            Ok(())
        })
        .on_shutdown(move |cx| {
            for id in cx.connections() {
                let sender = sender.clone();
                let then = move |detached: Detached| drop(sender.send(detached));
                cx.conn(id).unwrap().detach(then);
            }
        });
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    let stats = server.end();
    assert_eq!((stats.closed.detached, stats.closed.total()), (3, 3));
    for _ in 0..3 {
        let stream = detached.recv_timeout(DEADLINE).unwrap().stream;
        TcpStream::try_from(stream).unwrap().write_all(b"bye").unwrap();
    }
    for client in &mut clients {
        assert_eq!(read_n(client, 3), b"bye");
    }
}

/// Promises 2 and 4: what an adopted connection brings is taken whole, also where it is more than
/// the limits: all of the unsent is delivered, and all of the unread offered. They hold for what
/// comes after it; and a handler that leaves such an input is told as ever.
#[test]
fn what_is_adopted_may_be_more_than_the_limits_and_is_taken_whole() {
    const LEN: usize = 10 * MIB;
    for takes in [true, false] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        let script = echo().on_data(move |conn, input| {
            if takes && input.len() >= 3 * MIB {
                input.take_all();
                conn.send("taken");
                conn.finish();
            }
            Ok(())
        });
        let adopted = Detached {
            unread: vec![1; 3 * MIB].into(),
            unsent: vec![2; LEN].into(),
            ..ours.into()
        };
        let server = Server::start_with(listener(), script, Config::default(), |reactor| {
            reactor.adopt(adopted, 0).unwrap();
        });
        let mut all = vec![0; LEN];
        theirs.read_exact(&mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 2));
        let mut rest = Vec::new();
        if takes {
            theirs.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"taken");
        }
        theirs.shutdown(Shutdown::Write).unwrap();
        drop(theirs);
        let closed = server.record.wait_close();
        let limit = matches!(closed.reason, CloseReason::InputLimit);
        assert_eq!(limit, !takes, "{closed}");
        server.end();
    }
}
