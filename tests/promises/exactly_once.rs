//! Promise 3: per connection `on_open`, data, at most one `on_eof`, one `on_close` and nothing
//! after; no callback inside another; a name never comes to mean another connection.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use wouldblock::{
    CloseReason, Closed, Config, Conn, ConnId, Context, Handler, Input, Origin, Reactor,
};

use crate::support::*;

/// Promise 3: the life of a connection, in order.
#[test]
fn callbacks_come_in_order() {
    let server = Server::start(echo(), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"one");
    ping(&mut client, b"two");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut client).is_empty());
    drop(client);
    let id = server.record.wait_opens(1)[0];
    server.record.wait_close();
    assert_eq!(server.record.story(id), "open data data eof close");
    let record = server.record.clone();
    server.end();
    assert!(matches!(record.events()[0], Event::Start), "on_start comes first");
    assert_eq!(record.count(|event| matches!(event, Event::Shutdown)), 1);
}

/// A handler with sessions of its own, which it gets back at the close.
struct Keeper(mpsc::Sender<String>);

impl Handler for Keeper {
    type Session = String;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<String> {
        assert!(matches!(origin, Origin::Accepted(_)));
        Ok(format!("{}: ", conn.peer_addr()?))
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        session: &mut String,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        session.push_str(std::str::from_utf8(input.take_all()).unwrap());
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, session: String, _closed: Closed) {
        self.0.send(session).unwrap();
    }
}

/// Promise 3: the session is made at open, lent at every call, and handed over at close.
#[test]
fn a_session_lives_as_long_as_its_connection() {
    let (sessions, ended) = mpsc::channel();
    let mut reactor = Reactor::new(Keeper(sessions)).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let handle = reactor.handle();
    let client = thread::spawn(move || {
        let mut clients: Vec<_> = (0..5).map(|_| connect(addr)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(format!("i am {n}").as_bytes()).unwrap();
        }
        let mut expected: Vec<_> = clients
            .drain(..)
            .enumerate()
            .map(|(n, client)| format!("{}: i am {n}", client.local_addr().unwrap()))
            .collect();
        let mut got: Vec<_> =
            (0..5).map(|_| ended.recv_timeout(DEADLINE).expect("on_close comes")).collect();
        handle.shutdown();
        expected.sort();
        got.sort();
        assert_eq!(got, expected);
    });
    reactor.run().unwrap();
    client.join().unwrap();
}

/// Promise 3: a closure is a handler, too.
#[test]
fn a_closure_serves() {
    let mut served = 0u32;
    let handler = wouldblock::handler_fn(|conn, input| {
        served += 1;
        conn.send(input.take_all());
        conn.cx().shutdown();
        Ok(())
    });
    let mut reactor = Reactor::new(handler).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let client = thread::spawn(move || {
        let mut client = connect(addr);
        ping(&mut client, b"one function");
        assert!(read_to_end(&mut client).is_empty());
    });
    reactor.run().unwrap();
    client.join().unwrap();
    drop(reactor);
    assert_eq!(served, 1);
}

/// Promise 3: the handler is the program's own, before, during and after.
#[test]
fn the_handler_is_given_back() {
    let (sessions, _ended) = mpsc::channel();
    let mut reactor = Reactor::new(Keeper(sessions)).unwrap();
    reactor.shutdown();
    reactor.run().unwrap();
    let (other, ended) = mpsc::channel();
    reactor.handler_mut().0 = other;
    reactor.handler().0.send("through the reactor".to_owned()).unwrap();
    reactor.into_handler().0.send("by itself".to_owned()).unwrap();
    assert_eq!(ended.iter().count(), 2);
}

/// Does what it likes to the connection being served and to others, and fails at times.
fn mischief(chance: &mut Chance, cx: &mut Context, own: ConnId) -> io::Result<()> {
    for _ in 0..chance.below(3) {
        let all = cx.connections();
        let other = all.get(chance.below(all.len().max(1))).copied();
        let id = if chance.below(2) == 0 { own } else { other.unwrap_or(own) };
        let what = chance.below(24);
        if what == 9 {
            cx.broadcast(Bytes::from_static(b"to all"));
        }
        // It may be over already.
        let Some(mut conn) = cx.conn(id) else { continue };
        match what {
            0 => conn.close(),
            1 => conn.abort(),
            2 => conn.finish(),
            3 | 4 => conn.pause(),
            5..=8 => conn.resume(),
            9 => {}
            10 => _ = conn.want_drain(),
            11 => conn.hold(chance.below(2) == 0),
            12 => conn.send(vec![1; chance.size(100 * KIB)]),
            _ => conn.send(b"small"),
        }
    }
    if chance.below(40) == 0 { Err(io::Error::other("at random")) } else { Ok(()) }
}

/// Promise 3, Trap 64: a handler that closes, aborts, pauses, resumes, finishes and sends at
/// random, to itself and to others, in every callback. The script checks who is served; here we
/// count.
#[test]
fn a_handler_that_does_anything_anywhere_breaks_nothing() {
    let chance = Arc::new(Mutex::new(Chance::new(20)));
    let mischief = move |cx: &mut Context, id| mischief(&mut chance.lock().unwrap(), cx, id);
    let (open, data, eof, drain) =
        (mischief.clone(), mischief.clone(), mischief.clone(), mischief.clone());
    let script = echo()
        .on_open(move |conn| {
            let id = conn.id();
            open(conn.cx(), id)
        })
        .on_data(move |conn, input| {
            let n = input.len().div_ceil(2);
            conn.send(input.take(n).unwrap());
            let id = conn.id();
            data(conn.cx(), id)
        })
        .on_eof(move |conn, _| {
            let id = conn.id();
            eof(conn.cx(), id)?;
            if id.to_u64() % 2 == 0 {
                conn.close();
            }
            Ok(())
        })
        .on_drain(move |conn| {
            let id = conn.id();
            drain(conn.cx(), id)
        })
        .on_close(move |cx, id, _| {
            let _ = mischief(cx, id);
        });
    let server = Server::start(script, Config::default().linger(Duration::from_millis(100)));
    thread::scope(|scope| {
        for seed in 0..8 {
            let addr = server.addr;
            scope.spawn(move || {
                let mut chance = Chance::new(seed);
                for _ in 0..25 {
                    let Some(mut client) = try_connect(addr) else { continue };
                    client.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
                    for _ in 0..chance.below(6) {
                        let n = chance.size(8 * KIB);
                        if client.write_all(&chance.bytes(n)).is_err() {
                            break;
                        }
                        let _ = client.read(&mut vec![0; 64 * KIB]);
                    }
                    if chance.below(3) == 0 {
                        reset(client);
                    }
                }
            });
        }
    });
    // It still serves: a client may be closed at random, but not every one.
    wait_until("somebody is echoed", || {
        let Some(mut client) = try_connect(server.addr) else { return false };
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        client.write_all(b"?").is_ok() && matches!(client.read(&mut [0]), Ok(1))
    });
    let record = server.record.clone();
    server.end_now();
    let mut ends = HashMap::new();
    for (id, _) in record.closes() {
        *ends.entry(id).or_insert(0) += 1;
    }
    assert!(ends.values().all(|n| *n == 1), "a connection was closed twice");
    for id in record.opens() {
        let story = record.story(id);
        // An error in on_open leaves no session, and so no close.
        assert!(story == "open" || story.ends_with("close"), "{story}");
        assert!(story.matches("eof").count() <= 1, "{story}");
    }
}

/// Promise 3: ids stay in order and unique however fast slots are reused.
#[test]
fn no_two_connections_share_a_name() {
    let server = Server::start(echo(), Config::default().connections(2));
    for _ in 0..50 {
        let mut client = server.connect();
        ping(&mut client, b"hi");
    }
    server.record.wait_closes(50);
    let mut ids = server.record.opens();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
    for id in ids {
        assert_eq!(ConnId::from_u64(id.to_u64()), id);
    }
    server.end();
}

/// Promise 3, Traps 15 and 64: half of the house is closed by the other half while everybody comes
/// again; what one says never reaches another, and no event meets the wrong entry.
#[test]
fn no_event_meets_the_next_tenant() {
    let mut names: HashMap<ConnId, Vec<u8>> = HashMap::new();
    let mut chance = Chance::new(21);
    let script = echo().on_data(move |conn, input| {
        let said = input.take_all();
        // Everybody repeats one byte of its own.
        let name = names.entry(conn.id()).or_insert_with(|| vec![said[0]]);
        assert!(said.iter().all(|byte| *byte == name[0]), "bytes of two clients met");
        conn.send(said);
        if chance.below(3) == 0 {
            let all = conn.cx().connections();
            for id in all.into_iter().skip(1).step_by(2) {
                let mut conn = conn.cx().conn(id).unwrap();
                if chance.below(2) == 0 { conn.close() } else { conn.abort() }
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().linger(Duration::from_millis(200)));
    thread::scope(|scope| {
        for name in 1..=8u8 {
            let addr = server.addr;
            scope.spawn(move || {
                for _ in 0..40 {
                    let Some(mut client) = try_connect(addr) else { continue };
                    for n in 1..4 {
                        // A write or a read may fail: we are being closed all the time.
                        if client.write_all(&vec![name; n * 10]).is_err() {
                            break;
                        }
                        let mut back = vec![0; n * 10];
                        let Ok(n) = client.read(&mut back) else { break };
                        assert!(
                            back[..n].iter().all(|byte| *byte == name),
                            "somebody else's bytes"
                        );
                    }
                }
            });
        }
    });
    let record = server.record.clone();
    server.end();
    assert_eq!(record.opens().len(), record.closes().len());
}

/// Promise 3, Trap 16: one slot, many entries; the old name reaches none of them, and the new
/// entry hears nothing of it.
#[test]
fn a_stale_name_is_refused() {
    let mut old = None;
    let script = echo().on_data(move |conn, input| {
        conn.send(input.take_all());
        let id = conn.id();
        if let Some(old) = old.replace(id) {
            assert_ne!(old, id);
            let cx = conn.cx();
            assert!(cx.conn(old).is_none());
            cx.broadcast_to([old], Bytes::from_static(b"for the dead"));
            assert!(cx.conn(id).is_some_and(|conn| conn.is_open()));
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().connections(1));
    for n in 1..=20 {
        let client = server.connect();
        assert_eq!(exchange(&client, b"for the living"), b"for the living");
        drop(client);
        server.record.wait_closes(n);
    }
    server.end();
}

/// Promise 3, Trap 18: a copy of the descriptor keeps the socket alive in the kernel's set after we
/// closed ours; its events touch nobody.
#[test]
fn a_ghost_event_touches_nobody() {
    let mut copies = Vec::new();
    let script = echo().on_data(move |conn, input| {
        if input.bytes() == b"haunt" {
            input.take_all();
            let fd = conn.fd().expect("a TCP connection has a descriptor");
            copies.push(fd.try_clone_to_owned().unwrap());
            conn.abort();
        } else {
            tell_turns(conn, input);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut ghost = server.connect();
    ghost.write_all(b"haunt").unwrap();
    let id = server.record.wait_opens(1)[0];
    server.record.wait_close_of(id);
    // The next entry of the slot, and the probe.
    let mut probe = server.connect();
    ask_turns(&mut probe);
    for _ in 0..20 {
        // The copy may have been closed with a reset; then there is no ghost to fear.
        let _ = ghost.write_all(b"boo");
    }
    assert_at_rest(&mut probe);
    assert_eq!(server.record.story(id), "open data close");
    let probed = server.record.opens()[1];
    assert!(server.record.story(probed).matches("data").count() <= 3 + 20);
    drop((ghost, probe));
    server.end();
}

/// Promise 3, Trap 35: what is sent after the end is ignored, and hurts nobody.
#[test]
fn a_send_after_the_end_is_ignored() {
    let script = echo()
        .on_data(|conn, input| {
            conn.send(input.take_all());
            conn.close();
            assert!(!conn.is_open());
            conn.send(b"ignored");
            let id = conn.id();
            conn.cx().conn(id).unwrap().send(b"ignored");
            let error = conn.write_all(b"refused").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            conn.close();
            Ok(())
        })
        .on_close(|cx, id, _| {
            assert!(cx.conn(id).is_none());
            cx.broadcast(Bytes::from_static(b"to nobody"));
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"only this").unwrap();
    assert_eq!(read_to_end(&mut client), b"only this");
    drop(client);
    let id = server.record.wait_opens(1)[0];
    server.record.wait_close();
    assert_eq!(server.record.story(id), "open data close");
    server.end();
}

/// Promise 3: after `close` nothing is called but the close, whatever the peer goes on saying.
#[test]
fn nothing_comes_after_close_but_the_close() {
    let script = echo().on_open(|conn| {
        conn.send(b"bye");
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(&vec![1; MIB]).unwrap();
    assert_eq!(read_to_end(&mut client), b"bye");
    client.write_all(&vec![1; MIB]).unwrap();
    drop(client);
    let id = server.record.wait_opens(1)[0];
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Local), "{closed:?}");
    assert_eq!(server.record.story(id), "open close");
    server.end();
}

/// Promise 3: closing another from a callback takes effect, and its `on_close` comes after the
/// callback returned.
#[test]
fn effects_on_others_happen_after_the_callback() {
    let inside = Arc::new(AtomicBool::new(false));
    let (enters, leaves) = (inside.clone(), inside);
    let script = echo()
        .on_data(move |conn, input| {
            input.take_all();
            enters.store(true, Ordering::Relaxed);
            let me = conn.id();
            for id in conn.cx().connections() {
                if id != me {
                    conn.cx().conn(id).unwrap().abort();
                    assert!(conn.cx().conn(id).is_none(), "it is over");
                    assert!(!conn.cx().connections().contains(&id));
                }
            }
            conn.send(b"alone");
            enters.store(false, Ordering::Relaxed);
            Ok(())
        })
        .on_close(move |_, _, _| assert!(!leaves.load(Ordering::Relaxed)));
    let server = Server::start(script, Config::default());
    let mut others: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.record.wait_opens(5);
    let mut last = server.connect();
    last.write_all(b"away with them").unwrap();
    assert_eq!(read_n(&mut last, 5), b"alone");
    for other in &mut others {
        let (bytes, end) = read_until_gone(other);
        assert!(bytes.is_empty());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    for (_, closed) in server.record.wait_closes(5) {
        assert!(matches!(closed.reason, CloseReason::Aborted), "{closed:?}");
        assert!(!closed.clean);
    }
    drop(last);
    assert_eq!(server.end().closed.aborted, 5);
}

/// Promise 3: `abort` is the hard way: the peer sees a reset.
#[test]
fn abort_is_a_reset() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.abort();
        assert!(!conn.is_open());
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    let (_, end) = read_until_gone(&mut client);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Aborted), "{closed:?}");
    server.end();
}

/// Promise 3: `abort` in `on_open` is an end like any other.
#[test]
fn abort_in_on_open_closes_once() {
    let script = echo().on_open(|conn| {
        conn.abort();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    // The reset may come before the connect has returned.
    if let Some(mut client) = try_connect(server.addr) {
        let _ = read_until_gone(&mut client);
    }
    let id = server.record.wait_opens(1)[0];
    server.record.wait_close();
    assert_eq!(server.record.story(id), "open close");
    server.end();
}

/// Promise 3, Trap 65: two that answer each other for ever, inside the reactor; others are served
/// all the same.
#[test]
fn an_endless_exchange_of_wishes_leaves_room_for_others() {
    let script = echo()
        .on_open(|conn| {
            conn.want_drain();
            Ok(())
        })
        .on_drain(|conn| {
            // Each drain makes a wish for everybody, so there is always one to answer.
            for id in conn.cx().connections() {
                conn.cx().conn(id).unwrap().want_drain();
            }
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let pair = (server.connect(), server.connect());
    server.record.wait_opens(2);
    for _ in 0..20 {
        let mut client = server.connect();
        ping(&mut client, b"and me?");
    }
    drop(pair);
    server.end_now();
}

/// Promise 3, Trap 65: each close closes the next, and says so to all that are left.
#[test]
fn closes_that_cause_closes_come_to_an_end() {
    let script = echo()
        .on_data(|conn, input| {
            if input.take_all() == b"first" {
                conn.close();
            } else {
                conn.send(b"served");
            }
            Ok(())
        })
        .on_close(|cx, _, _| {
            cx.broadcast(Bytes::from_static(b"one less. "));
            if let Some(next) = cx.connections().first().copied() {
                cx.conn(next).unwrap().close();
            }
        });
    let server = Server::start(script, Config::default().linger(Duration::from_millis(50)));
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.record.wait_opens(20);
    clients[7].write_all(b"first").unwrap();
    server.record.wait_closes(20);
    let mut client = server.connect();
    client.write_all(b"later").unwrap();
    assert_eq!(read_n(&mut client, 6), b"served");
    drop((clients, client));
    server.end();
}

/// Promise 3: a broadcast reaches every open connection, the one being served included, from
/// `on_open` on.
#[test]
fn a_broadcast_reaches_all_that_are_open() {
    let script = echo()
        .on_open(|conn| {
            let me = conn.id();
            assert!(conn.cx().connections().contains(&me));
            conn.cx().broadcast(Bytes::from_static(b"+"));
            Ok(())
        })
        .on_data(|conn, input| {
            let said = Bytes::copy_from_slice(input.take_all());
            conn.cx().broadcast(said);
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut clients = Vec::new();
    for n in 1..=5 {
        clients.push(server.connect());
        server.record.wait_opens(n);
    }
    clients[2].write_all(b" hello all").unwrap();
    for (n, client) in clients.iter_mut().enumerate() {
        let expected = format!("{} hello all", "+".repeat(5 - n));
        assert_eq!(read_n(client, expected.len()), expected.as_bytes());
    }
    drop(clients);
    server.end();
}

/// Promise 3: those that are closing are no longer spoken to.
#[test]
fn a_broadcast_passes_over_the_closing_and_the_finished() {
    let script = echo().on_data(|conn, input| {
        match input.take_all() {
            b"close" => conn.close(),
            b"finish" => conn.finish(),
            _ => {
                assert!(conn.cx().connections().contains(&conn.id()));
                conn.cx().broadcast(Bytes::from_static(b"all"));
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let (mut closing, mut finished, mut open) =
        (server.connect(), server.connect(), server.connect());
    closing.write_all(b"close").unwrap();
    finished.write_all(b"finish").unwrap();
    assert!(read_to_end(&mut closing).is_empty());
    assert!(read_to_end(&mut finished).is_empty());
    open.write_all(b"speak").unwrap();
    assert_eq!(read_n(&mut open, 3), b"all");
    drop((closing, finished, open));
    server.end();
}

/// Promises 3 and 6, Trap 66: a panic goes through, and takes every descriptor with it. In a child,
/// for its own descriptors.
#[test]
fn a_panic_in_any_callback_propagates_and_leaks_nothing() {
    child::run("exactly_once::child_panics");
}

#[test]
#[ignore = "a child of a_panic_in_any_callback_propagates_and_leaks_nothing"]
fn child_panics() {
    if !child::is_running("exactly_once::child_panics") {
        return;
    }
    for callback in ["start", "open", "data", "eof", "drain", "close", "shutdown"] {
        let before = child::own_descriptors();
        let panics = move |here: &str| assert_ne!(here, callback, "as planned");
        let script = echo()
            .on_start(move |_| {
                panics("start");
                Ok(())
            })
            .on_open(move |_| {
                panics("open");
                Ok(())
            })
            .on_data(move |conn, input| {
                panics("data");
                conn.send(input.take_all());
                conn.want_drain();
                Ok(())
            })
            .on_eof(move |conn, _| {
                panics("eof");
                conn.close();
                Ok(())
            })
            .on_drain(move |_| {
                panics("drain");
                Ok(())
            })
            .on_close(move |cx, _, _| {
                panics("close");
                cx.shutdown();
            })
            .on_shutdown(move |_| panics("shutdown"));
        let mut reactor = Reactor::new(script).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
        let client = thread::spawn(move || {
            // The server may be gone at any moment.
            let Ok(idle) = TcpStream::connect(addr) else { return };
            let Ok(mut client) = TcpStream::connect(addr) else { return };
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            let _ = client.write_all(b"hello");
            let _ = client.read_exact(&mut [0; 5]);
            let _ = client.shutdown(Shutdown::Write);
            let _ = read_until_gone(&mut client);
            drop(idle);
        });
        let run = std::panic::AssertUnwindSafe(|| reactor.run());
        let panic = std::panic::catch_unwind(run).expect_err("the panic goes through");
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("as planned"), "{callback}: {text}");
        drop(reactor);
        client.join().unwrap();
        assert_eq!(child::own_descriptors(), before, "a panic in on_{callback} leaks");
    }
}

/// Trap 66: who catches a panic and runs on finds one connection ended and nobody else touched: not
/// by bytes that the panicking callback had sent, nor by a listener that has gone deaf.
#[test]
fn a_caught_panic_ends_its_connection_and_no_other() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let script = echo()
        .on_open(|conn| {
            conn.send(b"welcome ");
            Ok(())
        })
        .on_data(|conn, input| {
            conn.send(input.take_all());
            assert!(conn.cx().connections().len() != 2, "as planned");
            Ok(())
        });
    let record = script.record();
    let (told, tells) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reactor = Reactor::new(script).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        told.send((reactor.listener_addr(id).unwrap().socket_addr().unwrap(), reactor.handle()))
            .unwrap();
        let mut panics = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| reactor.run())) {
                Ok(ended) => {
                    ended.unwrap();
                    return panics;
                }
                Err(_) => panics += 1,
            }
        }
    });
    let (addr, handle) = tells.recv().unwrap();
    let mut first = connect(addr);
    ping_after(&mut first, b"welcome ", b"one");
    let mut second = connect(addr);
    assert_eq!(read_n(&mut second, 8), b"welcome ");
    second.write_all(b"secret").unwrap();
    let closed = record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Panic(_)), "{closed}");
    ping_after(&mut first, b"", b"three");
    drop(first);
    record.wait_closes(2);
    let mut third = connect(addr);
    ping_after(&mut third, b"welcome ", b"four");
    drop((second, third));
    handle.shutdown();
    assert_eq!(thread.join().unwrap(), 1);
}

/// Sends `bytes` and expects `greeting` and the echo, and nothing that is somebody else's.
fn ping_after(client: &mut TcpStream, greeting: &[u8], bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_n(client, greeting.len() + bytes.len()), [greeting, bytes].concat());
}
