//! Promise 1: readiness is kept until the socket says `WouldBlock` or is proven exhausted, and
//! while something is runnable the poll does not wait.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wouldblock::{CloseReason, Config};

use crate::support::*;

/// A read buffer small enough that everything takes several reads.
const BUFFER: usize = 16 * KIB;

fn narrow() -> Config {
    Config::default().read_buffer(BUFFER)
}

/// Promise 1, Trap 1: three buffers and a byte were there before the server came; there is one edge
/// for all of it.
#[test]
fn what_a_read_leaves_behind_is_served_without_a_new_edge() {
    let listener = listener();
    let mut client = connect(listener.local_addr().unwrap());
    let sent = random(1, 3 * BUFFER + 1);
    client.write_all(&sent).unwrap();
    let server = Server::start_on(listener, echo(), narrow());
    assert_same(&read_n(&mut client, sent.len()), &sent);
    drop(client);
    server.end();
}

/// Promise 1, Trap 9: a connection that used its share of the turn goes to the back of the queue,
/// not to sleep.
#[test]
fn a_burst_and_then_silence_is_read_to_its_end() {
    const BURST: usize = 32 * MIB;
    let mut seen = 0;
    let script = echo().on_data(move |conn, input| {
        seen += input.take_all().len();
        if seen == BURST {
            conn.send(b"all");
        }
        Ok(())
    });
    let server = Server::start(script, narrow());
    let mut client = server.connect();
    client.write_all(&random(2, BURST)).unwrap();
    assert_eq!(read_n(&mut client, 3), b"all");
    drop(client);
    assert_eq!(server.end().bytes_in, BURST as u64);
}

/// Promise 1, Trap 2: ten bytes and the FIN lie in the kernel before the first poll; a short read
/// is not the end of the story.
#[test]
fn data_and_end_in_one_edge_are_both_seen() {
    let listener = listener();
    let mut client = connect(listener.local_addr().unwrap());
    client.write_all(b"ten bytes!").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let server = Server::start_on(listener, echo(), Config::default());
    assert_eq!(read_to_end(&mut client), b"ten bytes!");
    drop(client);
    let id = server.record.wait_opens(1)[0];
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    assert!(closed.clean);
    assert_eq!(server.record.story(id), "open data eof close");
    server.end();
}

/// Promise 1, Trap 2: the same when the connection is already being served and stands between two
/// turns.
#[test]
fn data_and_end_in_one_edge_are_both_seen_later_too() {
    let (stall, stalled) = stall();
    let server = Server::start(stalling_echo(stalled), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"hello");
    let mut other = server.connect();
    other.write_all(b"stall").unwrap();
    stall.wait_entered();
    client.write_all(b"ten bytes!").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    stall.release();
    assert_eq!(read_to_end(&mut client), b"ten bytes!");
    drop((client, other));
    server.end();
}

/// An echo that stands still when it is sent `stall`, and does not echo that.
fn stalling_echo(stalled: Stalled) -> Script {
    echo().on_data(move |conn, input| {
        if input.bytes() == b"stall" {
            input.take_all();
            stalled.stand_still();
        } else {
            conn.send(input.take_all());
        }
        Ok(())
    })
}

/// Promise 1, Trap 8: the edge came while the application was not reading; there is no second one.
#[test]
fn resume_serves_what_came_while_paused() {
    let mut first = None;
    let script = echo().on_data(move |conn, input| {
        match first {
            None => {
                first = Some(conn.id());
                conn.pause();
                conn.send(input.take_all());
            }
            Some(id) if id == conn.id() => conn.send(input.take_all()),
            Some(id) => {
                input.take_all();
                conn.cx().conn(id).unwrap().resume();
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut paused = server.connect();
    ping(&mut paused, b"pause");
    let id = server.record.wait_opens(1)[0];
    paused.write_all(b"said while paused").unwrap();
    let mut other = server.connect();
    server.record.wait_opens(2);
    assert_eq!(server.record.story(id), "open data", "a paused connection was served");
    other.write_all(b"resume").unwrap();
    assert_eq!(read_n(&mut paused, 17), b"said while paused");
    drop((paused, other));
    server.end();
}

/// Promise 1, Trap 8: the peer's end, too, is only found by reading.
#[test]
fn resume_finds_an_end_that_came_while_paused() {
    let mut first = None;
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        match first {
            None => {
                first = Some(conn.id());
                conn.pause();
                conn.send(b"paused");
            }
            Some(id) => conn.cx().conn(id).unwrap().resume(),
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut paused = server.connect();
    paused.write_all(b"pause").unwrap();
    assert_eq!(read_n(&mut paused, 6), b"paused");
    let id = server.record.wait_opens(1)[0];
    paused.shutdown(Shutdown::Write).unwrap();
    let mut other = server.connect();
    other.write_all(b"resume").unwrap();
    assert_eq!(read_to_end(&mut paused), b"");
    drop(paused);
    assert!(matches!(server.record.wait_close_of(id).reason, CloseReason::PeerEnd));
    assert_eq!(server.record.story(id), "open data eof close");
    drop(other);
    server.end();
}

/// Promise 1, Trap 10: the run queue is never empty here, and yet the poll runs.
#[test]
fn a_firehose_keeps_no_new_client_out() {
    let script = echo().on_data(|conn, input| {
        let bytes = input.take_all();
        if bytes.len() < 10 {
            conn.send(bytes);
        }
        Ok(())
    });
    let server = Server::start(script, narrow());
    let enough = Arc::new(AtomicBool::new(false));
    let poured = Arc::new(AtomicUsize::new(0));
    let firehoses: Vec<_> = (0..3)
        .map(|_| {
            let (mut client, enough, poured) = (server.connect(), enough.clone(), poured.clone());
            let water = vec![7; 256 * KIB];
            thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    client.write_all(&water).unwrap();
                    poured.fetch_add(water.len(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_until("the firehoses run", || poured.load(Ordering::Relaxed) > 8 * MIB);
    for _ in 0..20 {
        let mut client = server.connect();
        ping(&mut client, b"hello");
        ping(&mut client, b"again");
    }
    enough.store(true, Ordering::Relaxed);
    for firehose in firehoses {
        firehose.join().unwrap();
    }
    server.end();
}

/// Promise 1, Trap 29: accepting has a budget, so those inside are served between two batches.
#[test]
fn a_flood_of_connects_starves_nobody_inside() {
    let server = Server::start(echo(), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"before");
    let enough = Arc::new(AtomicBool::new(false));
    let flooded = Arc::new(AtomicUsize::new(0));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let (addr, enough, flooded) = (server.addr, enough.clone(), flooded.clone());
            thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    reset(connect(addr));
                    flooded.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_until("the flood runs", || flooded.load(Ordering::Relaxed) > 50);
    for round in 0..200u32 {
        ping(&mut client, &round.to_be_bytes());
    }
    enough.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    drop(client);
    server.end();
}

/// Promise 1, Trap 12: the peer ended its sending and does not read; there is nothing to do but
/// wait.
#[test]
fn a_half_closed_peer_with_a_full_buffer_costs_no_turns() {
    for closes_at_eof in [true, false] {
        let script = echo()
            .on_data(|conn, input| {
                if input.bytes() == b"give" {
                    input.take_all();
                    conn.send(vec![1; 8 * MIB]);
                } else {
                    tell_turns(conn, input);
                }
                Ok(())
            })
            .on_eof(move |conn, _| {
                if closes_at_eof {
                    conn.close();
                }
                Ok(())
            });
        // High enough that its reading does not rest, so that its end is heard.
        let config = Config::default().output_high(12 * MIB).output_max(16 * MIB);
        let server = Server::start(script, config);
        let mut client = connect_narrow(server.addr);
        client.write_all(b"give").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("its end was heard", || server.record.story(id) == "open data eof");
        let mut probe = server.connect();
        assert_at_rest(&mut probe);
        assert_eq!(server.record.story(id), "open data eof", "it was closed too early");
        reset(client);
        drop(probe);
        server.end();
    }
}

/// Promise 1: what nobody has anything for waits in the poll.
#[test]
fn a_reactor_with_nothing_to_do_takes_no_turns() {
    let script = echo().on_data(|conn, input| {
        tell_turns(conn, input);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let silent: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let mut probe = server.connect();
    server.record.wait_opens(6);
    assert_at_rest(&mut probe);
    drop((silent, probe));
    server.end();
}

/// Promise 1: the very first lesson. One connects and says nothing, the next is served.
#[test]
fn a_silent_client_delays_nobody() {
    let server = Server::start(echo(), Config::default());
    let mut silent = server.connect();
    for _ in 0..10 {
        let mut client = server.connect();
        ping(&mut client, b"i am the second");
    }
    ping(&mut silent, b"now i speak");
    drop(silent);
    server.end();
}

/// Promise 1, Trap 71: a `recv` stops at the urgent mark with more behind it, and no further edge
/// comes.
#[test]
fn an_urgent_byte_does_not_cut_the_rest_off() {
    let (stall, stalled) = stall();
    let server = Server::start(stalling_echo(stalled), Config::default());
    let mut client = server.connect();
    ping(&mut client, b"hello");
    let mut other = server.connect();
    other.write_all(b"stall").unwrap();
    stall.wait_entered();
    client.write_all(b"before the mark, ").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"behind the mark").unwrap();
    stall.release();
    assert_eq!(read_n(&mut client, 32), b"before the mark, behind the mark");
    drop((client, other));
    server.end();
}

/// Promise 1, Trap 71: nothing before the mark, nothing behind it, several of them, one each stop.
#[test]
fn urgent_bytes_in_odd_places_lose_nothing() {
    for (before, behind) in [(0, 100), (100, 0), (1, 1), (20 * KIB, 20 * KIB), (BUFFER, BUFFER)] {
        let (stall, stalled) = stall();
        let server = Server::start(stalling_echo(stalled), narrow());
        let mut client = server.connect();
        let mut other = server.connect();
        for round in 0..3 {
            ping(&mut client, b"hello");
            other.write_all(b"stall").unwrap();
            stall.wait_entered();
            let bytes = random(round, before + behind);
            client.write_all(&bytes[..before]).unwrap();
            SockRef::from(&client).send_out_of_band(b"!").unwrap();
            client.write_all(&bytes[before..]).unwrap();
            stall.release();
            assert_same(&read_n(&mut client, bytes.len()), &bytes);
        }
        drop((client, other));
        server.end();
    }
}

/// Promise 1, Trap 59: a deadline is neither missed nor spun towards, whatever fraction of a
/// millisecond it has.
#[test]
fn a_deadline_is_waited_for_in_few_turns_and_never_early() {
    let idle = Duration::from_micros(200_500);
    let server = Server::start(echo(), Config::default().idle(Some(idle)));
    let before = std::time::Instant::now();
    let mut client = server.connect();
    let mut byte = [0];
    assert_eq!(client.read(&mut byte).unwrap(), 0);
    assert!(before.elapsed() >= idle, "closed early, after {:?}", before.elapsed());
    drop(client);
    assert!(matches!(server.record.wait_close().reason, CloseReason::Idle));
    let turns = server.end().turns;
    assert!(turns < 30, "{turns} turns for one accept and one deadline");
}

/// Promise 1: the crate's own loop and a host's are the same one, turn by turn.
#[test]
fn a_host_loop_drives_the_reactor_turn_by_turn() {
    let mut reactor = wouldblock::Reactor::new(echo()).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    assert!(reactor.turn(Some(Duration::ZERO)).unwrap());
    let client = thread::spawn(move || {
        let mut client = connect(addr);
        ping(&mut client, b"turn by turn");
    });
    while !client.is_finished() {
        assert!(reactor.turn(Some(Duration::from_millis(1))).unwrap());
    }
    client.join().unwrap();
    reactor.shutdown();
    while reactor.turn(Some(Duration::from_millis(1))).unwrap() {}
    assert!(!reactor.turn(None).unwrap(), "after the end there are no turns");
}

/// Promise 1: `next_timeout` says what the loop itself would wait.
#[test]
fn next_timeout_knows_deadlines_and_work() {
    let config = Config::default().idle(Some(Duration::from_secs(3600)));
    let mut reactor = wouldblock::Reactor::with_config(echo(), config).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let client = connect(addr);
    while reactor.stats().accepted == 0 {
        assert!(reactor.turn(Some(Duration::from_millis(1))).unwrap());
    }
    for _ in 0..10 {
        assert!(reactor.turn(Some(Duration::ZERO)).unwrap());
    }
    let timeout = reactor.next_timeout().expect("an idle deadline is ahead");
    assert!(
        timeout > Duration::from_secs(3000) && timeout <= Duration::from_secs(3601),
        "{timeout:?}"
    );
    drop(client);
}

/// Promise 1: another loop polls the reactor's descriptor. (The poll(2) backend has none.)
#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn the_reactor_can_be_watched_by_its_descriptor() {
    let mut reactor = wouldblock::Reactor::new(echo()).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let client = thread::spawn(move || {
        let mut client = connect(addr);
        ping(&mut client, b"seen from outside");
    });
    while !client.is_finished() {
        if reactor.next_timeout() != Some(Duration::ZERO) {
            wait_readable(&reactor);
        }
        assert!(reactor.turn(Some(Duration::ZERO)).unwrap());
    }
    client.join().unwrap();
}

/// Waits, at most a tenth of a second, until the descriptor is readable.
#[cfg(not(mio_unsupported_force_poll_poll))]
fn wait_readable(fd: &impl std::os::fd::AsFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&tenth)).unwrap();
}

/// Promise 1, Trap 14: more sockets are ready than one poll can tell. In a child for the
/// descriptors.
#[test]
fn everybody_ready_at_once_is_served() {
    child::run("no_stall::child_everybody_ready_at_once");
}

#[test]
#[ignore = "a child of everybody_ready_at_once_is_served"]
fn child_everybody_ready_at_once() {
    if !child::is_running("no_stall::child_everybody_ready_at_once") {
        return;
    }
    let idle = Duration::from_secs(3);
    let listener = deep_listener(4096);
    let addr = listener.local_addr().unwrap();
    let (stall, stalled) = stall();
    // All knock before the server opens; it lets them in, and stands still at the first word.
    let mut first = connect(addr);
    first.write_all(b"stall").unwrap();
    let clients = child::room_for_pairs().min(2500);
    let mut clients: Vec<_> = (0..clients).map(|_| connect(addr)).collect();
    let config = Config::default().idle(Some(idle)).accepts_per_turn(5000);
    let server = Server::start_on(listener, stalling_echo(stalled), config);
    stall.wait_entered();
    assert_eq!(server.record.opens().len(), clients.len() + 1);
    // While it stands still for longer than `idle`, everybody sends: nobody was idle.
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(&(n as u32).to_be_bytes()).unwrap();
    }
    watch(idle + Duration::from_millis(500));
    stall.release();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(read_n(client, 4), (n as u32).to_be_bytes());
    }
    drop((clients, first));
    server.end();
}

/// Promise 1: many idle ones are no burden to the few that talk. In a child for the descriptors.
#[test]
fn many_idle_clients_leave_the_chatting_ones_alone() {
    child::run("no_stall::child_many_idle_clients");
}

#[test]
#[ignore = "a child of many_idle_clients_leave_the_chatting_ones_alone"]
fn child_many_idle_clients() {
    if !child::is_running("no_stall::child_many_idle_clients") {
        return;
    }
    let room = child::room_for_pairs().min(1100);
    let server = Server::start(echo(), Config::default());
    let idle: Vec<_> = (0..room - 50).map(|_| server.connect()).collect();
    let mut chatting: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for round in 0..20u32 {
        for client in &mut chatting {
            client.write_all(&round.to_be_bytes()).unwrap();
        }
        for client in &mut chatting {
            assert_eq!(read_n(client, 4), round.to_be_bytes());
        }
    }
    drop((idle, chatting));
    let turns = server.end().turns;
    assert!(turns < 20_000, "{turns} turns");
}
