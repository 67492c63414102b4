//! Promise 5: while a connection's output is above high its own reading rests until low; nobody
//! else notices.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wouldblock::{CloseReason, Config, ConnId};

use crate::support::*;

/// Sends until the peer takes nothing more for a while, and answers how much it took.
fn send_until_stuck(client: &mut TcpStream, bytes: &[u8]) -> usize {
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match client.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    sent
}

/// Promise 5: an echo to one that does not read stops listening to it; when it reads, all of it
/// comes.
#[test]
fn a_slow_reader_pauses_its_own_input() {
    const ALL: usize = 48 * MIB;
    let most = Arc::new(AtomicUsize::new(0));
    let peak = most.clone();
    let script = narrow_echo().on_data(move |conn, input| {
        conn.send(input.take_all());
        peak.fetch_max(conn.queued(), Ordering::Relaxed);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    let bytes = random(40, ALL);
    let sent = send_until_stuck(&mut client, &bytes);
    assert!(sent < ALL, "it was listened to without end");
    // High, one read buffer above it, and not a byte more.
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 64 * KIB + 256 * KIB, "{most} bytes were queued");
    assert_same(&read_n(&mut client, sent), &bytes[..sent]);
    ping(&mut client, b"and on it goes");
    drop(client);
    server.end();
}

/// Promises 4, 5 and 6: it never reads, so its reading rests and after `write_stall` it is gone;
/// the others chat on.
#[test]
fn one_that_never_reads_hurts_nobody_and_is_gone_in_time() {
    let server = Server::start(echo(), Config::default().write_stall(Duration::from_millis(700)));
    let mut stuck = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    let mut chatting: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let pouring = thread::spawn(move || {
        let bytes = vec![3; 64 * MIB];
        let taken = send_until_stuck(&mut stuck, &bytes);
        (stuck, taken)
    });
    let mut rounds = 0u32;
    while server.record.closes().is_empty() {
        assert!(server.is_running());
        for client in &mut chatting {
            ping(client, &rounds.to_be_bytes());
        }
        rounds += 1;
    }
    let closed = server.record.wait_close_of(id);
    assert!(matches!(closed.reason, CloseReason::WriteStall), "{closed:?}");
    assert!(closed.unsent > 0 && !closed.clean, "{closed:?}");
    let (stuck, taken) = pouring.join().unwrap();
    assert!(taken < 64 * MIB);
    for client in &mut chatting {
        ping(client, b"still here");
    }
    drop((stuck, chatting));
    let stats = server.end();
    assert_eq!(stats.closed.write_stall, 1);
}

/// Promise 4: slow is not stalled: one that reads a little now and then keeps its connection.
#[test]
fn a_slow_but_steady_reader_is_no_write_stall() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![2; 256 * KIB]);
        Ok(())
    });
    let server = Server::start(script, Config::default().write_stall(Duration::from_millis(1500)));
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    for _ in 0..16 {
        // Altogether longer than the limit, each pause well below it.
        read_n(&mut client, 16 * KIB);
        watch(Duration::from_millis(150));
    }
    client.write_all(b"?").unwrap();
    read_n(&mut client, 256 * KIB);
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    server.end();
}

/// Promise 5: output above high, then down to low: one `on_drain` for each crossing, without having
/// been asked. Trap 41: also when the flush happened elsewhere.
#[test]
fn every_crossing_of_high_brings_one_drain() {
    let script = narrow_echo()
        .on_data(|conn, input| {
            input.take_all();
            conn.send(vec![2; MIB]);
            assert!(conn.queued() > 64 * KIB);
            assert_eq!(conn.room(), 0);
            Ok(())
        })
        .on_drain(|conn| {
            assert!(conn.queued() <= 16 * KIB, "drained, and {} are queued", conn.queued());
            assert!(conn.room() >= 48 * KIB);
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    for round in 1..=3 {
        client.write_all(b"?").unwrap();
        read_n(&mut client, MIB);
        let story = "open".to_owned() + &" data drain".repeat(round);
        wait_until("it drained", || server.record.story(id) == story);
    }
    drop(client);
    server.end();
}

/// Promise 5: one wish, one drain, in a later turn, though nothing was ever above high.
#[test]
fn every_wish_brings_one_drain() {
    let turn = Arc::new(AtomicUsize::new(0));
    let (wished, drained) = (turn.clone(), turn);
    let script = echo()
        .on_data(move |conn, input| {
            conn.send(input.take_all());
            conn.want_drain();
            conn.want_drain();
            wished.store(conn.cx().stats().turns as usize, Ordering::Relaxed);
            Ok(())
        })
        .on_drain(move |conn| {
            assert!(conn.cx().stats().turns as usize > drained.load(Ordering::Relaxed));
            conn.send(b"!");
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    let id = server.record.wait_opens(1)[0];
    for round in 1..=3 {
        client.write_all(b"wish").unwrap();
        assert_eq!(read_n(&mut client, 5), b"wish!");
        let story = "open".to_owned() + &" data drain".repeat(round);
        assert_eq!(server.record.story(id), story);
    }
    drop(client);
    server.end();
}

/// Promise 5: a wish and a crossing at once are answered once.
#[test]
fn a_wish_above_high_is_answered_by_the_crossing() {
    let script = narrow_echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![2; MIB]);
        conn.want_drain();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    client.write_all(b"?").unwrap();
    read_n(&mut client, MIB);
    wait_until("it drained", || server.record.story(id).contains("drain"));
    // The next answer comes behind any second drain there might have been.
    client.write_all(b"?").unwrap();
    read_n(&mut client, MIB);
    wait_until("it drained again", || server.record.story(id).matches("drain").count() > 1);
    assert_eq!(server.record.story(id), "open data drain data drain");
    drop(client);
    server.end();
}

/// Promise 5: an answer produced piece by piece, each piece when the one before has drained, stays
/// small in memory.
#[test]
fn a_streamed_answer_follows_its_reader() {
    const PIECES: u32 = 600;
    let mut sent: HashMap<ConnId, u32> = HashMap::new();
    let most = Arc::new(AtomicUsize::new(0));
    let peak = most.clone();
    let script = echo()
        .on_data(|conn, input| {
            input.take_all();
            conn.want_drain();
            Ok(())
        })
        .on_drain(move |conn| {
            let sent = sent.entry(conn.id()).or_insert(0);
            conn.send(vec![*sent as u8; 20 * KIB]);
            peak.fetch_max(conn.queued(), Ordering::Relaxed);
            *sent += 1;
            if *sent == PIECES {
                conn.close();
            } else {
                conn.want_drain();
            }
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    for n in 0..PIECES {
        assert_same(&read_n(&mut client, 20 * KIB), &vec![n as u8; 20 * KIB]);
    }
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(most.load(Ordering::Relaxed) <= 64 * KIB);
    drop(client);
    server.end();
}

/// Promise 5: `pause` and `resume` are the application's own; while paused nothing is called, not
/// even `on_eof`.
#[test]
fn a_paused_connection_hears_nothing() {
    let first = Arc::new(Mutex::new(None));
    let opened = first.clone();
    let script = echo()
        .on_open(move |conn| {
            if opened.lock().unwrap().is_none() {
                *opened.lock().unwrap() = Some(conn.id());
                conn.pause();
            }
            Ok(())
        })
        .on_data(move |conn, input| {
            let paused = first.lock().unwrap().unwrap();
            if input.bytes() == b"resume" {
                conn.cx().conn(paused).unwrap().resume();
            } else {
                let answer = [input.take_all(), b" heard"].concat();
                conn.send(answer);
            }
            input.take_all();
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut paused = server.connect();
    let id = server.record.wait_opens(1)[0];
    paused.write_all(b"hello").unwrap();
    paused.shutdown(std::net::Shutdown::Write).unwrap();
    let mut other = server.connect();
    for _ in 0..10 {
        other.write_all(b"x").unwrap();
        assert_eq!(read_n(&mut other, 7), b"x heard");
    }
    assert_eq!(server.record.story(id), "open");
    other.write_all(b"resume").unwrap();
    assert_eq!(read_to_end(&mut paused), b"hello heard");
    drop((paused, other));
    server.record.wait_close_of(id);
    assert_eq!(server.record.story(id), "open data eof close");
    server.end();
}
