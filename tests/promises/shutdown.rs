//! Promises 2 and 6 at the end of the day: take nothing new, finish what is owed, end in time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wouldblock::{CloseReason, Config, Conn, ConnId, Reactor};

use crate::support::*;

/// An echo that stands still when it is sent `stall`, and then calls for the shutdown itself.
fn stalls_then_shuts_down(stalled: Stalled) -> Script {
    echo().on_data(move |conn, input| {
        if input.bytes() == b"stall" {
            input.take_all();
            stalled.stand_still();
            conn.cx().shutdown();
        } else {
            conn.send(input.take_all());
        }
        Ok(())
    })
}

/// Promise 2, Trap 25: what was sent before the shutdown is answered, from the kernel's buffers and
/// from the backlog, in full and with an orderly end.
#[test]
fn what_was_sent_before_the_shutdown_is_answered() {
    let (stall, stalled) = stall();
    let server = Server::start(stalls_then_shuts_down(stalled), Config::default());
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.record.wait_opens(10);
    let mut caller = server.connect();
    caller.write_all(b"stall").unwrap();
    stall.wait_entered();
    // These wait in the backlog.
    clients.extend((0..20).map(|_| server.connect()));
    let sent: Vec<_> = (0..30).map(|n| random(n, 50 * KIB + n as usize)).collect();
    for (client, bytes) in clients.iter_mut().zip(&sent) {
        client.write_all(bytes).unwrap();
    }
    stall.release();
    for (client, bytes) in clients.iter_mut().zip(&sent) {
        assert_same(&read_to_end(client), bytes);
    }
    drop((clients, caller));
    let record = server.record.clone();
    server.join();
    assert_eq!(record.closes().len(), 31);
    assert_eq!(record.count(|event| matches!(event, Event::Shutdown)), 1);
}

/// Promise 2: a peer's send is done when its own kernel has it. Much of this still waits for room in
/// ours when the shutdown begins, and comes in only as we read: a short read is no proof here.
#[test]
fn what_the_peers_kernel_still_holds_is_answered_too() {
    for round in 0..5 {
        let (stall, stalled) = stall();
        let server = Server::start(stalls_then_shuts_down(stalled), Config::default());
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            ping(client, b"hello");
        }
        let mut caller = server.connect();
        caller.write_all(b"stall").unwrap();
        stall.wait_entered();
        let sent: Vec<_> = (0..10).map(|n| random(n, 150 * KIB + round)).collect();
        for (client, bytes) in clients.iter_mut().zip(&sent) {
            client.write_all(bytes).unwrap();
        }
        stall.release();
        for (client, bytes) in clients.iter_mut().zip(&sent) {
            assert_same(&read_to_end(client), bytes);
        }
        drop((clients, caller));
        server.join();
    }
}

/// Promise 2, Trap 25: whoever connects around the shutdown is served whole or not at all.
#[test]
fn nobody_is_served_in_part_by_a_shutdown() {
    for round in 0..10 {
        let server = Server::start(echo(), Config::default());
        let visits = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (addr, visits) = (server.addr, visits.clone());
                thread::spawn(move || {
                    while let Ok(mut client) = TcpStream::connect(addr) {
                        client.set_read_timeout(Some(DEADLINE)).unwrap();
                        let sent = client.write_all(b"all or nothing");
                        let mut got = [0; 14];
                        match client.read_exact(&mut got) {
                            Ok(()) => assert_eq!(&got, b"all or nothing"),
                            Err(error) => {
                                assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
                                drop(sent);
                            }
                        }
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        wait_until("they come", || visits.load(Ordering::Relaxed) > 20 + round);
        server.end();
        for client in clients {
            client.join().unwrap();
        }
    }
}

/// Promise 6, Trap 40: one that is connected and says nothing does not keep the house open.
#[test]
fn silent_clients_do_not_delay_a_shutdown() {
    let server = Server::start(echo(), Config::default());
    let mut silent: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.record.wait_opens(10);
    server.handle.shutdown();
    for client in &mut silent {
        assert!(read_to_end(client).is_empty());
    }
    drop(silent);
    let record = server.record.clone();
    server.join();
    for (_, closed) in record.closes() {
        assert!(matches!(closed.reason, CloseReason::Shutdown), "{closed:?}");
        assert!(closed.clean, "{closed:?}");
    }
}

/// Promise 6, Trap 40: and one that takes no notice of our end does so only until its time is up.
#[test]
fn a_peer_that_never_ends_is_aborted_in_time() {
    for config in [
        Config::default().linger(Duration::from_millis(300)),
        Config::default().shutdown_max(Duration::from_millis(300)),
    ] {
        let server = Server::start(echo(), config);
        let mut client = server.connect();
        ping(&mut client, b"hello");
        server.handle.shutdown();
        assert!(read_to_end(&mut client).is_empty());
        // It keeps its own side open.
        let record = server.record.clone();
        server.join();
        let (_, closed) = record.closes().remove(0);
        assert!(matches!(closed.reason, CloseReason::Shutdown), "{closed:?}");
        assert!(!closed.clean);
        drop(client);
    }
}

/// A script that answers with `pieces` of 32 KiB, each wished for when the one before has drained.
fn streaming(pieces: usize) -> Script {
    let mut sent = 0;
    narrow_echo()
        .on_data(|conn, input| {
            input.take_all();
            conn.want_drain();
            Ok(())
        })
        .on_drain(move |conn| {
            conn.send(vec![sent as u8; 32 * KIB]);
            sent += 1;
            if sent < pieces {
                conn.want_drain();
            }
            Ok(())
        })
}

/// Promise 2: a streamed answer under way goes on to its end, though each piece is only made when
/// asked for.
#[test]
fn a_streamed_answer_survives_the_shutdown() {
    const PIECES: usize = 200;
    let server = Server::start(streaming(PIECES), Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    read_n(&mut client, 1);
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    let mut rest = vec![0];
    rest.extend(read_to_end(&mut client));
    let whole: Vec<u8> = (0..PIECES).flat_map(|n| vec![n as u8; 32 * KIB]).collect();
    assert_same(&rest, &whole);
    drop(client);
    let record = server.record.clone();
    server.join();
    let (_, closed) = record.closes().remove(0);
    assert!(matches!(closed.reason, CloseReason::Shutdown), "{closed:?}");
    assert_eq!((closed.unsent, closed.clean), (0, true));
}

/// Promise 2: an answer that is queued, far above high, goes out whole.
#[test]
fn a_large_answer_survives_the_shutdown() {
    let reply = random(60, 3 * MIB);
    let said = reply.clone();
    let script = narrow_echo().on_data(move |conn, input| {
        input.take_all();
        conn.send(&said);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    let mut got = read_n(&mut client, 1000);
    server.handle.shutdown();
    got.extend(read_to_end(&mut client));
    assert_same(&got, &reply);
    drop(client);
    server.join();
}

/// Promise 2: requests that came before the shutdown and are answered one a call are all answered.
#[test]
fn repeats_that_are_due_are_made_during_a_shutdown() {
    let (stall, stalled) = stall();
    let script = narrow_echo().on_data(move |conn, input| {
        if input.bytes() == b"stall\n" {
            input.take_all();
            stalled.stand_still();
            conn.cx().shutdown();
        } else if let Some(line) = input.line() {
            let answer = line.repeat(10 * KIB);
            conn.send(answer);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    let mut caller = server.connect();
    caller.write_all(b"stall\n").unwrap();
    stall.wait_entered();
    client.write_all(&b"0123456789\n".repeat(30)).unwrap();
    client.write_all(b"an unfinished line").unwrap();
    stall.release();
    assert_eq!(read_to_end(&mut client).len(), 30 * 10 * 10 * KIB);
    drop((client, caller));
    server.join();
}

/// Promise 2: held connections wait for somebody else's answer, through the shutdown.
#[test]
fn a_held_connection_waits_for_its_answer() {
    let mut asking: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        conn.hold(true);
        match input.take_all() {
            b"question" => asking = Some(conn.id()),
            b"answer" => {
                let asking = asking.expect("the question came first");
                let cx = conn.cx();
                cx.conn(asking).unwrap().send(b"here it is");
                cx.conn(asking).unwrap().hold(false);
                conn.hold(false);
            }
            _ => conn.send(b"holding"),
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut asks = server.connect();
    asks.write_all(b"question").unwrap();
    let id = server.record.wait_opens(1)[0];
    wait_until("it asked", || server.record.story(id) == "open data");
    let mut answers = server.connect();
    answers.write_all(b"hold me").unwrap();
    read_n(&mut answers, 7);
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    // A third that is not held is gone; these two are not.
    assert!(server.record.closes().is_empty());
    answers.write_all(b"answer").unwrap();
    assert_eq!(read_to_end(&mut asks), b"here it is");
    assert!(read_to_end(&mut answers).is_empty());
    drop((asks, answers));
    server.join();
}

/// Promise 4: even a held or a paused one is aborted at `shutdown_max`, and told.
#[test]
fn the_held_and_the_paused_end_at_shutdown_max() {
    let script = echo().on_data(|conn, input| {
        if input.take_all() == b"hold" {
            conn.hold(true);
        } else {
            conn.pause();
        }
        conn.send(b"ok");
        Ok(())
    });
    let server = Server::start(script, Config::default().shutdown_max(Duration::from_millis(500)));
    let (mut held, mut paused) = (server.connect(), server.connect());
    held.write_all(b"hold").unwrap();
    paused.write_all(b"pause").unwrap();
    read_n(&mut held, 2);
    read_n(&mut paused, 2);
    let record = server.record.clone();
    server.end();
    let closes = record.closes();
    assert_eq!(closes.len(), 2);
    for (_, closed) in closes {
        assert!(matches!(closed.reason, CloseReason::Shutdown), "{closed:?}");
        assert!(!closed.clean);
    }
    drop((held, paused));
}

/// Promise 2: a paused one is not closed over its unread input: it waits for the resume.
#[test]
fn a_paused_connection_is_answered_when_it_is_resumed() {
    let mut paused: Option<ConnId> = None;
    let script = echo().on_data(move |conn, input| {
        match input.take_all() {
            b"pause" => {
                conn.pause();
                paused = Some(conn.id());
                conn.send(b"ok");
            }
            b"hold" => {
                conn.hold(true);
                conn.send(b"ok");
            }
            b"resume" => {
                conn.cx().conn(paused.unwrap()).unwrap().resume();
                conn.hold(false);
            }
            other => conn.send(other),
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let (mut one, mut other) = (server.connect(), server.connect());
    one.write_all(b"pause").unwrap();
    read_n(&mut one, 2);
    other.write_all(b"hold").unwrap();
    read_n(&mut other, 2);
    one.write_all(b"said while paused").unwrap();
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    other.write_all(b"resume").unwrap();
    assert_eq!(read_to_end(&mut one), b"said while paused");
    drop((one, other));
    server.join();
}

/// Promise 7: `on_shutdown` may still speak to everybody.
#[test]
fn on_shutdown_may_say_goodbye() {
    let script =
        echo().on_shutdown(|cx| cx.broadcast(bytes::Bytes::from_static(b"we are closing")));
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.record.wait_opens(5);
    server.handle.shutdown();
    for client in &mut clients {
        assert_eq!(read_to_end(client), b"we are closing");
    }
    drop(clients);
    server.join();
}

/// Promise 6, Trap 56: shutdown is a level, not a count: called from many threads, many times, it
/// happens once.
#[test]
fn shutdown_again_changes_nothing() {
    let server = Server::start(echo(), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"hello");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| server.handle.shutdown()));
        }
    });
    assert!(read_to_end(&mut client).is_empty());
    drop(client);
    let (record, handle) = (server.record.clone(), server.handle.clone());
    server.join();
    assert_eq!(record.count(|event| matches!(event, Event::Shutdown)), 1);
    // And after the end there is nothing to do.
    handle.shutdown();
    handle.shutdown_now();
}

/// Promise 6, Trap 56: whatever the reactor is doing when it is called, it hears the call: here a
/// connection ends at the very moment.
#[test]
fn a_shutdown_at_any_moment_is_heard() {
    for now in [false, true].repeat(100) {
        let server = Server::start(echo(), Config::default());
        let mut client = server.connect();
        ping(&mut client, b"hello");
        drop(client);
        if now {
            server.end_now();
        } else {
            server.end();
        }
    }
}

/// Promise 6, Trap 56: `shutdown_now` after `shutdown`, wake upon wake: neither is lost.
#[test]
fn shutdown_now_aborts_the_rest_at_once() {
    let script = echo().on_data(|conn, input| {
        conn.send(input.take_all());
        conn.hold(true);
        Ok(())
    });
    let server = Server::start(script, Config::default().shutdown_max(Duration::from_secs(3600)));
    let mut held = server.connect();
    ping(&mut held, b"hold");
    server.handle.shutdown();
    wait_until("the shutdown has begun", || {
        server.record.count(|event| matches!(event, Event::Shutdown)) == 1
    });
    assert!(server.is_running() && server.record.closes().is_empty());
    let record = server.record.clone();
    server.end_now();
    let (_, closed) = record.closes().remove(0);
    assert!(matches!(closed.reason, CloseReason::Shutdown), "{closed:?}");
    assert!(!closed.clean);
    let (_, end) = read_until_gone(&mut held);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Promise 6: `shutdown_now` alone is enough, from a callback too; everybody has the `on_close`.
#[test]
fn shutdown_now_from_a_callback_ends_everything() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.cx().shutdown_now();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.record.wait_opens(5);
    clients[3].write_all(b"now").unwrap();
    let record = server.record.clone();
    server.join();
    assert_eq!(record.closes().len(), 5);
    drop(clients);
}

/// Promise 6: so it is from the `on_open` of a client that waits in the backlog when an orderly
/// shutdown begins: that does not take it back.
#[test]
fn shutdown_now_from_the_backlog_is_not_taken_back() {
    let script = echo().on_open(|conn| {
        conn.cx().shutdown_now();
        Ok(())
    });
    let config = Config::default().linger(Duration::from_millis(10));
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let client =
        TcpStream::connect(reactor.listener_addr(id).unwrap().socket_addr().unwrap()).unwrap();
    reactor.shutdown();
    reactor.run().unwrap();
    let report = reactor.shutdown_report().unwrap();
    assert_eq!((report.done, report.cut), (0, 1), "it was to be aborted, not to leave in peace");
    drop(client);
}

/// Promise 6: a shutdown that was asked for before `run` is not forgotten.
#[test]
fn a_shutdown_before_run_ends_the_run() {
    for now in [false, true] {
        let mut reactor = Reactor::new(echo()).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
        let handle = reactor.handle();
        if now {
            handle.shutdown_now();
        } else {
            handle.shutdown();
        }
        reactor.run().unwrap();
        assert!(TcpStream::connect(addr).is_err(), "it still listens");
        assert!(!reactor.turn(None).unwrap());
    }
    let mut reactor = Reactor::new(echo()).unwrap();
    reactor.listen("127.0.0.1:0").unwrap();
    reactor.shutdown();
    reactor.run().unwrap();
}

/// Promise 6: with no listener and no connection `run` still waits, for a handle may bring work;
/// the handle ends it.
#[test]
fn an_idle_reactor_waits_for_its_handle() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let handle = reactor.handle();
    let run = thread::spawn(move || handle.shutdown());
    reactor.run().unwrap();
    run.join().unwrap();
}

/// Promise 2: a connection opened in the last round of accepts counts as one that was there.
#[test]
fn a_full_house_refuses_the_rest_at_shutdown() {
    let server = Server::start(echo(), Config::default().connections(2));
    let mut inside: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut inside {
        ping(client, b"inside");
    }
    let mut outside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    server.handle.shutdown();
    for client in &mut inside {
        assert!(read_to_end(client).is_empty());
    }
    // There was no room for them: told so at once, by an end or a reset, never by silence.
    for client in &mut outside {
        let (bytes, end) = read_until_gone(client);
        assert!(bytes.is_empty());
        assert!(end.is_ok() || end.unwrap_err().kind() == ErrorKind::ConnectionReset);
    }
    drop((inside, outside));
    let stats = server.join();
    assert_eq!(stats.accepted, 2);
}

/// Promise 2: a half-closing client in the middle of its answer at shutdown gets the rest.
#[test]
fn a_half_closed_client_is_served_through_the_shutdown() {
    let (stall, stalled) = stall();
    let server = Server::start(stalls_then_shuts_down(stalled), Config::default());
    let client = server.connect();
    let mut caller = server.connect();
    caller.write_all(b"stall").unwrap();
    stall.wait_entered();
    let sent = random(61, 100 * KIB);
    (&client).write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    stall.release();
    let mut got = Vec::new();
    (&client).read_to_end(&mut got).unwrap();
    assert_same(&got, &sent);
    drop((client, caller));
    server.join();
}

/// Promise 3: everything a connection can do, done once more while the shutdown is on.
#[test]
fn verbs_work_through_a_shutdown() {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let ends = ended.clone();
    let verbs: [fn(&mut Conn<'_>); 6] = [
        |conn| conn.close(),
        |conn| conn.finish(),
        |conn| conn.abort(),
        |conn| conn.send(b"more"),
        |conn| _ = conn.want_drain(),
        |conn| conn.cx().shutdown(),
    ];
    let mut next = 0;
    let script = echo()
        .on_data(move |conn, input| {
            input.take_all();
            verbs[next % verbs.len()](conn);
            next += 1;
            Ok(())
        })
        .on_shutdown(move |cx| {
            for id in cx.connections() {
                cx.conn(id).unwrap().send(b"bye");
                ends.lock().unwrap().push(id);
            }
        });
    let server = Server::start(script, Config::default());
    let mut clients: Vec<_> = (0..12).map(|_| server.connect()).collect();
    server.record.wait_opens(12);
    for client in &mut clients {
        client.write_all(b"do").unwrap();
    }
    server.handle.shutdown();
    for client in &mut clients {
        let _ = read_until_gone(client);
    }
    drop(clients);
    let record = server.record.clone();
    server.join();
    assert_eq!(record.closes().len(), 12);
}

/// Promise 4: an order to end at once, given by the `on_open` of a client that shutdown still lets in,
/// stands: nothing takes it back, and nobody waits for `shutdown_max`.
#[test]
fn an_order_to_end_at_once_from_an_on_open_in_shutdown_stands() {
    let script = echo().on_open(|conn| {
        conn.hold(true);
        conn.cx().shutdown_now();
        Ok(())
    });
    let record = script.record();
    let config = Config::default().shutdown_max(Duration::from_secs(3600));
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let mut client = connect(addr);
    reactor.shutdown();
    // `on_start`, and then the shutdown, which lets the client in before anything is polled.
    let start = Instant::now();
    while reactor.turn(Some(Duration::from_millis(1))).unwrap() {
        assert!(start.elapsed() < DEADLINE, "it goes on");
    }
    assert_eq!((record.opens().len(), record.closes().len()), (1, 1));
    assert_eq!(reactor.shutdown_report().unwrap().cut, 1);
    assert!(read_until_gone(&mut client).1.is_err());
}
