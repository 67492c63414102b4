//! A peer that is gone is told, whether or not its connection is read from: no wait for something
//! that cannot come any more, and no byte lost that came before.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wouldblock::{CloseReason, Config, Conn, Listen};

use crate::support::*;

/// So long that a test which waits for it fails.
const NEVER: Duration = Duration::from_secs(3600);

/// No deadline tells it: only that the connection is known to be dead does.
fn patient() -> Config {
    Config::default().write_stall(NEVER).linger(NEVER).shutdown_max(NEVER).output_max(32 * MIB)
}

/// What the handler does with a connection, beside pausing it.
type Way = fn(&mut Conn<'_>);

fn is_io(closed: &wouldblock::Closed) -> bool {
    matches!(closed.reason, CloseReason::Io(_))
}

/// Promises 3 and 6, Trap 42: a paused connection whose peer resets is over at once if it has nothing
/// left to show, whatever else keeps it: output owed or none, held, full-duplex, a drain asked for.
#[test]
fn a_paused_connection_whose_peer_resets_is_told_without_being_read() {
    let ways: [(&str, Way); 6] = [
        ("nothing owed", |_| ()),
        ("held", |conn| conn.hold(true)),
        ("output owed", |conn| conn.send(vec![1; 16 * MIB])),
        ("output owed, held", |conn| {
            conn.hold(true);
            conn.send(vec![1; 16 * MIB]);
        }),
        ("coupled", |conn| {
            conn.auto_pause(false);
            conn.hold(true);
            conn.send(vec![1; 16 * MIB]);
            conn.want_drain();
        }),
        ("finished", |conn| {
            conn.send(vec![1; 16 * MIB]);
            conn.finish();
        }),
    ];
    for (what, way) in ways {
        let script = echo().on_data(move |conn, input| {
            input.take_all();
            conn.pause();
            way(conn);
            Ok(())
        });
        let server = Server::start(script, patient());
        let mut client = server.connect();
        client.write_all(b"go").unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("it is asked", || server.record.story(id).contains("data"));
        reset(client);
        let closed = server.record.wait_close();
        assert!(is_io(&closed) && !closed.clean, "{what}: {closed}");
        assert_eq!(closed.unsent > 0, what != "nothing owed" && what != "held", "{what}: {closed}");
        server.end();
    }
}

/// The same on a Unix socket, which has no reset: its peer leaves bytes unread.
#[test]
fn a_paused_unix_connection_whose_peer_leaves_bytes_unread_is_told_without_being_read() {
    let path = std::env::temp_dir().join(format!("wouldblock-gone-{}", std::process::id()));
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        conn.pause();
        conn.send(b"read this");
        Ok(())
    });
    let record = script.record();
    let mut reactor = wouldblock::Reactor::with_config(script, patient()).unwrap();
    reactor.listen(Listen::from(format!("unix:{}", path.display()))).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"go").unwrap();
    turn_until(&mut reactor, "it has answered", || reactor_sent(&record));
    drop(client);
    turn_until(&mut reactor, "it is told", || !record.closes().is_empty());
    assert!(is_io(&record.wait_close()));
}

fn reactor_sent(record: &Record) -> bool {
    record.opens().first().is_some_and(|id| record.story(*id).contains("data"))
}

#[track_caller]
fn turn_until(
    reactor: &mut wouldblock::Reactor<Script>,
    what: &str,
    mut is_so: impl FnMut() -> bool,
) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

/// Promises 2, 3 and 5, Trap 42: a drain that was asked for, or is owed since output went above high,
/// is told at once when the connection is dead; and who reads on then is shown what came before.
#[test]
fn a_drain_that_is_owed_is_told_when_the_connection_dies_and_what_came_before_is_shown() {
    for asks in [true, false] {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = shown.clone();
        let script = echo()
            .on_data(move |conn, input| {
                let bytes = input.take_all();
                seen.lock().unwrap().extend_from_slice(bytes);
                if bytes.starts_with(b"go") {
                    conn.pause();
                    conn.send(vec![1; 16 * MIB]);
                    let id = conn.id();
                    assert!(!asks || conn.cx().conn(id).is_some_and(|mut conn| conn.want_drain()));
                }
                Ok(())
            })
            .on_drain(|conn| {
                assert!(conn.has_failed() && !conn.is_open());
                let id = conn.id();
                assert!(
                    !conn.cx().conn(id).is_some_and(|mut conn| conn.want_drain()),
                    "a promise that cannot be kept"
                );
                conn.resume();
                Ok(())
            });
        let server = Server::start(script, patient());
        let mut client = server.connect();
        client.write_all(b"go").unwrap();
        let id = server.record.wait_opens(1)[0];
        // Its handler has sent: no reset can come before that.
        read_n(&mut client, 1);
        let more = random(7, 100 * KIB);
        client.write_all(&more).unwrap();
        wait_until("it has arrived", || acknowledged(&client));
        reset(client);
        let closed = server.record.wait_close();
        assert!(is_io(&closed) && closed.unsent > 0, "{closed}");
        assert!(server.record.story(id).contains("drain"), "{}", server.record.story(id));
        assert_same(&shown.lock().unwrap()[2..], &more);
        server.end();
    }
}

/// Whether the other kernel has all that this end has sent.
fn acknowledged(stream: &std::net::TcpStream) -> bool {
    unacknowledged(stream) == 0
}

/// Promises 2 and 4: a dead connection that still has something to show waits for the handler to
/// read on, for so long as `linger` says; a shutdown waits no longer for it than that.
#[test]
fn a_dead_connection_with_input_left_waits_for_its_handler_so_long_and_no_longer() {
    for (resumes, linger) in [(true, NEVER), (false, Duration::from_millis(50))] {
        let script = echo()
            .on_data(move |conn, input| {
                if input.take_all().starts_with(b"go") {
                    conn.pause();
                    conn.hold(true);
                    if resumes {
                        conn.set_timeout(Duration::from_millis(300));
                    }
                }
                Ok(())
            })
            .on_timeout(|conn| {
                conn.resume();
                Ok(())
            });
        let server = Server::start(script, patient().linger(linger));
        let mut client = server.connect();
        client.write_all(b"go").unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("it is asked", || server.record.story(id).contains("data"));
        client.write_all(b"more").unwrap();
        wait_until("it has arrived", || acknowledged(&client));
        reset(client);
        server.handle.shutdown();
        let closed = server.record.wait_close();
        assert!(is_io(&closed), "{closed}");
        let story = if resumes { "open data timeout data close" } else { "open data close" };
        assert_eq!(server.record.story(id), story);
        server.join();
    }
}

/// Promises 2 and 4: the same of input that the handler itself left.
#[test]
fn a_dead_connection_whose_handler_left_input_waits_for_it() {
    for (resumes, linger) in [(true, NEVER), (false, Duration::from_millis(50))] {
        let script = echo()
            .on_data(move |conn, input| {
                input.take(2);
                if !input.is_empty() {
                    conn.pause();
                    if resumes {
                        conn.set_timeout(Duration::from_millis(300));
                    }
                }
                Ok(())
            })
            .on_timeout(|conn| {
                conn.resume();
                Ok(())
            });
        let server = Server::start(script, patient().linger(linger));
        let mut client = server.connect();
        client.write_all(b"gone").unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("it is asked", || server.record.story(id).contains("data"));
        reset(client);
        assert!(is_io(&server.record.wait_close()));
        let story = if resumes { "open data timeout data close" } else { "open data close" };
        assert_eq!(server.record.story(id), story);
        server.end();
    }
}

/// An end is not a death: what a peer sent before it closed in order is shown, however late the
/// handler reads, on a Unix socket too, where the kernel knows at once that the peer is gone.
#[test]
fn a_paused_connection_whose_peer_closed_in_order_waits_for_its_handler() {
    let (client, ours) = UnixStream::pair().unwrap();
    let script = echo()
        .on_open(|conn| {
            conn.pause();
            Ok(())
        })
        .on_data(|_, input| {
            assert_eq!(input.take_all(), b"the last word");
            Ok(())
        });
    let record = script.record();
    let config = patient().linger(Duration::from_millis(1));
    let mut reactor = wouldblock::Reactor::with_config(script, config).unwrap();
    let mut ours = Some(ours);
    turn_until(&mut reactor, "it has started", || true);
    reactor
        .handle()
        .post(move |_, cx| drop(cx.adopt(ours.take().unwrap(), 0)))
        .map_err(drop)
        .unwrap();
    turn_until(&mut reactor, "it is open", || record.opens().len() == 1);
    (&client).write_all(b"the last word").unwrap();
    drop(client);
    for _ in 0..100 {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    let id = record.opens()[0];
    assert_eq!(record.story(id), "open");
    reactor.handle().post(move |_, cx| cx.conn(id).unwrap().resume()).map_err(drop).unwrap();
    turn_until(&mut reactor, "it is told", || record.closes().len() == 1);
    assert_eq!(record.story(id), "open data eof close");
    assert!(record.wait_close().clean);
}

/// Promise 2, Trap 42: another sends to a connection whose peer has reset, more than may be queued. What
/// the peer had said before is shown all the same: it is the reset that ends it, not the limit.
#[test]
fn a_limit_passed_on_the_way_to_a_dead_peer_does_not_hide_what_it_had_said() {
    let script = echo().on_data(|conn, input| {
        match input.take_all() {
            b"much" => conn.send(vec![1; 3 * MIB]),
            b"more" => {
                let all = conn.cx().connections();
                conn.cx().broadcast_to(all, vec![1; 4 * MIB].into());
            }
            _ => (),
        }
        Ok(())
    });
    let record = script.record();
    let config = Config::default();
    let mut reactor = wouldblock::Reactor::with_config(script, config).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let mut dead = connect_narrow(addr);
    dead.write_all(b"much").unwrap();
    turn_until(&mut reactor, "it is owed much", || record.opens().len() == 1);
    let id = record.opens()[0];
    turn_until(&mut reactor, "it is owed much", || record.story(id) == "open data");
    let mut other = connect(addr);
    turn_until(&mut reactor, "the other is there", || record.opens().len() == 2);
    // In this order, and in one turn.
    other.write_all(b"more").unwrap();
    dead.write_all(b"the last word").unwrap();
    wait_until("it has arrived", || acknowledged(&dead) && acknowledged(&other));
    reset(dead);
    turn_until(&mut reactor, "it is told", || record.closes().iter().any(|(of, _)| *of == id));
    let closed = record.wait_close_of(id);
    assert!(is_io(&closed), "{closed}");
    assert_eq!(record.story(id), "open data drain data close");
}
