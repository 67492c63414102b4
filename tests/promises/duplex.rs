//! Full duplex and half-close: two connections that are one to their peers; what bounds memory when
//! reading does not rest by itself.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wouldblock::{CloseReason, Config, ConnId};

use crate::support::*;

/// Sends a stream of its own from `on_open` on, whatever it receives, and counts that.
fn streaming(len: usize, full_duplex: bool, received: &Arc<AtomicUsize>) -> Script {
    let count = Arc::clone(received);
    echo()
        .on_open(move |conn| {
            conn.auto_pause(!full_duplex);
            narrow_sending(conn);
            conn.send(vec![b'x'; len]);
            Ok(())
        })
        .on_data(move |_, input| {
            count.fetch_add(input.take_all().len(), Ordering::Relaxed);
            Ok(())
        })
}

/// Promise 5: reading rests while output is above high, unless it was told to go on; then what comes
/// is read to its end, however much is owed.
#[test]
fn a_full_duplex_connection_reads_while_it_owes() {
    for full_duplex in [false, true] {
        let received = Arc::new(AtomicUsize::new(0));
        let script = streaming(3 * MIB, full_duplex, &received);
        let server = Server::start(script, Config::default());
        let mut client = connect_narrow(server.addr);
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let sent = client.write_all(&vec![0; 16 * MIB]);
        if full_duplex {
            sent.expect("it reads on");
            wait_until("all is read", || received.load(Ordering::Relaxed) == 16 * MIB);
        } else {
            sent.expect_err("it rests");
            assert_eq!(received.load(Ordering::Relaxed), 0);
        }
        server.end_now();
    }
}

/// Promise 4: nothing but `output_max` bounds a full-duplex connection whose handler holds nobody
/// back: an echo to one that does not read ends there.
#[test]
fn a_full_duplex_echo_meets_output_max() {
    let script = echo().on_open(|conn| {
        conn.auto_pause(false);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    // It is cut off somewhere in there.
    let _ = client.write_all(&vec![0; 64 * MIB]);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::OutputLimit), "{closed}");
    // All that was queued, and the read that was too much.
    assert!(closed.unsent > 3 * MIB as u64 && closed.unsent <= 4 * MIB as u64 + 256 * KIB as u64);
    server.end();
}

/// Promises 1 and 5, Trap 8: switched on while it rests, it reads what came meanwhile, though no edge
/// comes any more; switched off while output is above high, it rests until low, with its one drain.
#[test]
fn full_duplex_may_be_switched_at_any_time() {
    let received = Arc::new(AtomicUsize::new(0));
    let streaming_to = Arc::new(Mutex::new(None::<ConnId>));
    let found = Arc::clone(&streaming_to);
    let count = Arc::clone(&received);
    let script = echo()
        .on_open(move |conn| {
            let mut first = found.lock().unwrap();
            if first.is_none() {
                *first = Some(conn.id());
                narrow_sending(conn);
                conn.send(vec![b'x'; 3 * MIB]);
            }
            Ok(())
        })
        .on_data(move |conn, input| {
            let first = streaming_to.lock().unwrap().unwrap();
            let bytes = input.take_all();
            if conn.id() == first {
                count.fetch_add(bytes.len(), Ordering::Relaxed);
            } else {
                conn.cx().conn(first).unwrap().auto_pause(bytes != b"on");
                conn.send(b"ok");
            }
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    let id = server.record.wait_opens(1)[0];
    let mut control = server.connect();
    let mut switch = |to: &[u8]| {
        control.write_all(to).unwrap();
        assert_eq!(read_n(&mut control, 2), b"ok");
    };
    client.write_all(&[0; 1000]).unwrap();
    watch(Duration::from_millis(100));
    assert_eq!(received.load(Ordering::Relaxed), 0, "it rests");
    switch(b"on");
    wait_until("it is read", || received.load(Ordering::Relaxed) == 1000);
    switch(b"off");
    client.write_all(&[0; 1000]).unwrap();
    watch(Duration::from_millis(100));
    assert_eq!(received.load(Ordering::Relaxed), 1000, "it rests again");
    assert_eq!(server.record.story(id), "open data");
    assert_eq!(read_n(&mut client, 3 * MIB).len(), 3 * MIB);
    wait_until("it is read", || received.load(Ordering::Relaxed) == 2000);
    drop((client, control));
    assert!(server.record.wait_close_of(id).clean);
    assert_eq!(server.record.story(id), "open data drain data eof close");
    server.end();
}

/// Promise 2: shutdown does not take a full-duplex connection for done while output is above high and
/// its `on_drain` is to come: a streamed answer goes on to its end.
#[test]
fn a_full_duplex_answer_survives_the_shutdown() {
    const PIECES: usize = 10;
    let mut left = PIECES;
    let script = echo()
        .on_open(|conn| {
            conn.auto_pause(false);
            narrow_sending(conn);
            Ok(())
        })
        .on_data(|conn, input| {
            input.take_all();
            conn.send(vec![b'x'; MIB]);
            Ok(())
        })
        .on_drain(move |conn| {
            left -= 1;
            if left > 0 {
                conn.send(vec![b'x'; MIB]);
            }
            Ok(())
        });
    let server = Server::start(script, Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut client, 1), b"x");
    server.handle.shutdown();
    assert_eq!(read_to_end(&mut client).len(), PIECES * MIB - 1);
    drop(client);
    server.join();
}

/// A relay to `to`, as the documentation of `auto_pause` has it: pause who sends, resume when the
/// other has drained. `peak` is the most that was ever queued.
fn relay(to: SocketAddr, peak: &Arc<AtomicUsize>) -> Script {
    type Others = Arc<Mutex<HashMap<ConnId, ConnId>>>;
    let others: Others = Arc::default();
    let find = |others: &Others| {
        let others = Arc::clone(others);
        move |id: ConnId| others.lock().unwrap()[&id]
    };
    let (data, eof, drain) = (find(&others), find(&others), find(&others));
    let peak = Arc::clone(peak);
    echo()
        .on_open(move |conn| {
            conn.auto_pause(false);
            let id = conn.id();
            let mut others = others.lock().unwrap();
            if !others.contains_key(&id) {
                let there = conn.cx().connect(to, 0)?;
                others.insert(id, there);
                others.insert(there, id);
            }
            Ok(())
        })
        .on_data(move |conn, input| {
            let to = data(conn.id());
            let mut to = conn.cx().conn(to).unwrap();
            to.send(input.take_all());
            peak.fetch_max(to.queued(), Ordering::Relaxed);
            if to.room() == 0 && to.want_drain() {
                conn.pause();
            }
            Ok(())
        })
        .on_eof(move |conn, _| {
            let to = eof(conn.id());
            conn.cx().conn(to).unwrap().finish();
            Ok(())
        })
        .on_drain(move |conn| {
            let from = drain(conn.id());
            conn.cx().conn(from).unwrap().resume();
            Ok(())
        })
}

/// Promises 2, 4 and 5: two streams at once through a relay, from a client that sends all before it
/// reads a byte: both whole, each end passed on, and never more queued than high and one read.
#[test]
fn a_relay_carries_both_ways_at_once_and_keeps_little() {
    const LEN: usize = 30 * 1000 * 1000;
    let (up, down) = (random(2, LEN), random(3, LEN));
    let behind = listener();
    let to = behind.local_addr().unwrap();
    let answer = down.clone();
    let serving = thread::spawn(move || {
        let (stream, _) = behind.accept().unwrap();
        exchange(&stream, &answer)
    });
    let peak = Arc::new(AtomicUsize::new(0));
    let server = Server::start(relay(to, &peak), Config::default());
    let mut client = connect_narrow(server.addr);
    client.write_all(&up).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&read_to_end(&mut client), &down);
    assert_same(&serving.join().unwrap(), &up);
    for (_, closed) in server.record.wait_closes(2) {
        assert!(closed.clean, "{closed}");
    }
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak <= 64 * KIB + 256 * KIB, "{peak} bytes were queued");
    server.end();
}

/// Promise 2, Trap 38: through a relay a half-close stays one: the server hears the client's end,
/// only then answers, and the answer arrives.
#[test]
fn a_half_close_goes_through_a_relay_in_either_direction() {
    let behind = listener();
    let to = behind.local_addr().unwrap();
    let server = Server::start(relay(to, &Arc::default()), Config::default());
    // The client ends first, then the server first.
    for client_first in [true, false] {
        let mut near = server.connect();
        let (mut far, _) = behind.accept().unwrap();
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        let (first, second): (&mut TcpStream, &mut TcpStream) =
            if client_first { (&mut near, &mut far) } else { (&mut far, &mut near) };
        first.write_all(b"all I have to say").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(second), b"all I have to say");
        for _ in 0..3 {
            second.write_all(b"and yet").unwrap();
            assert_eq!(read_n(first, 7), b"and yet");
        }
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
    }
    for (_, closed) in server.record.wait_closes(4) {
        assert!(closed.clean, "{closed}");
    }
    server.end();
}
