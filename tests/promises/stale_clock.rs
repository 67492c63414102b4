//! Promises 2 and 4: what a callback takes of the loop's time is counted against no connection. A
//! deadline begins with what it is about, not with the last look at the clock before a slow callback.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wouldblock::{CloseReason, Config, Conn};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Blocks the loop for so long, as a handler should not.
fn work(wait: Duration) {
    let start = Instant::now();
    while start.elapsed() < wait {
        thread::sleep(wait.saturating_sub(start.elapsed()));
    }
}

/// Promise 2: twenty peers vanish at once, each `on_close` takes long, and the last one answers another
/// and closes it. Its linger begins with that, not with the batch.
#[test]
fn a_linger_begins_after_the_callbacks_before_it() {
    const PEERS: usize = 20;
    let (stall, stalled) = stall();
    let waiting = Arc::new(Mutex::new(None));
    let asker = Arc::clone(&waiting);
    let mut left = PEERS;
    let script = echo()
        .on_data(move |conn, input| {
            if input.take_all() == b"gate" {
                stalled.stand_still();
            } else {
                *asker.lock().unwrap() = Some(conn.id());
            }
            Ok(())
        })
        .on_close(move |cx, _, _| {
            if left > 0 {
                work(150 * MS);
            }
            left = left.saturating_sub(1);
            if left == 0
                && let Some(id) = waiting.lock().unwrap().take()
            {
                let mut conn = cx.conn(id).unwrap();
                conn.send(vec![7; MIB]);
                conn.close();
            }
        });
    let server = Server::start(script, Config::default().linger(2000 * MS));
    let mut asks = server.connect();
    let asking = server.record.wait_opens(1)[0];
    asks.write_all(b"?").unwrap();
    let peers: Vec<_> = (0..PEERS).map(|_| server.connect()).collect();
    server.record.wait_opens(1 + PEERS);
    wait_until("it was asked", || server.record.story(asking).ends_with("data"));
    let mut gate = server.connect();
    gate.write_all(b"gate").unwrap();
    stall.wait_entered();
    drop(peers);
    stall.release();
    // What it sends meanwhile makes a reset of a descriptor that is freed too early.
    read_n(&mut asks, KIB);
    asks.write_all(b"and so on").unwrap();
    assert_eq!(read_to_end(&mut asks).len(), MIB - KIB);
    drop(asks);
    let closed = server.record.wait_close_of(asking);
    assert!(closed.clean, "{closed:?}");
    drop(gate);
    server.end();
}

/// Promise 4: output is owed since it was sent, not since the turn began.
#[test]
fn output_owed_after_long_work_has_its_whole_time() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        work(1100 * MS);
        conn.send(vec![7; 30 * MIB]);
        Ok(())
    });
    let config = Config::default().output_max(64 * MIB).write_stall(1000 * MS);
    let server = Server::start(script, config);
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    read_n(&mut client, KIB);
    // It begins to read a moment later, well below the limit.
    watch(300 * MS);
    assert_eq!(read_n(&mut client, 30 * MIB - KIB).len(), 30 * MIB - KIB);
    drop(client);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    server.end();
}

/// Promise 4: so is an answer that the kernel takes at once, and with that an idle timeout.
#[test]
fn a_slow_answer_does_not_make_its_peer_idle() {
    for large in [false, true] {
        let script = echo().on_data(move |conn, input| {
            input.take_all();
            work(1100 * MS);
            // One waits for the end of the callback, the other is written within it.
            conn.send(vec![7; if large { 16 * KIB } else { 1 }]);
            Ok(())
        });
        let server = Server::start(script, Config::default().idle(Some(1000 * MS)));
        let mut client = server.connect();
        client.write_all(b"?").unwrap();
        read_n(&mut client, if large { 16 * KIB } else { 1 });
        // The peer thinks for a moment, well below the timeout.
        watch(300 * MS);
        drop(client);
        let closed = server.record.wait_close();
        assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
        server.end();
    }
}

/// Promise 4: 64 that are accepted in one batch with a slow `on_open` each, and that wait for its
/// greeting: each has the whole time for its first byte.
#[test]
fn first_byte_begins_with_the_end_of_on_open() {
    const PEERS: usize = 24;
    let (stall, stalled) = stall();
    let mut first = true;
    let script = echo().on_open(move |conn| {
        if std::mem::take(&mut first) {
            stalled.stand_still();
        } else {
            work(60 * MS);
        }
        conn.send("hello");
        Ok(())
    });
    let server = Server::start(script, Config::default().first_byte(Some(1200 * MS)));
    let gate = server.connect();
    stall.wait_entered();
    let mut peers: Vec<_> = (0..PEERS).map(|_| server.connect()).collect();
    stall.release();
    let record = server.record.clone();
    let last = peers.last_mut().unwrap();
    assert_eq!(read_n(last, 5), b"hello");
    // It thinks for a moment, well below the timeout.
    watch(300 * MS);
    last.write_all(b"x").unwrap();
    assert_eq!(read_n(last, 1), b"x");
    let last = record.opens()[PEERS];
    assert!(record.closes().iter().all(|(id, _)| *id != last), "{:?}", record.closes());
    drop((gate, peers));
    server.end_now();
}

/// Promise 4: a close that a callback makes after long work, in whatever way, has its `close_max`.
#[test]
fn close_max_begins_with_the_close() {
    type Way = fn(&mut Conn<'_>) -> std::io::Result<()>;
    let ways: [(bool, Way); 3] = [
        (true, |_| Err(std::io::Error::other("done"))),
        (true, |conn| {
            conn.close();
            Ok(())
        }),
        (false, |conn| {
            conn.close_reset();
            Ok(())
        }),
    ];
    for (in_order, way) in ways {
        let script = echo().on_data(move |conn, input| {
            input.take_all();
            conn.send(vec![7; 16 * MIB]);
            work(1100 * MS);
            way(conn)
        });
        let server =
            Server::start(script, Config::default().close_max(1000 * MS).output_max(32 * MIB));
        let mut client = server.connect();
        client.write_all(b"?").unwrap();
        let id = server.record.wait_opens(1)[0];
        wait_until("it was asked", || server.record.story(id) == "open data");
        // It begins to read when the loop goes on, well below the limit.
        watch(1300 * MS);
        let (got, end) = read_until_gone(&mut client);
        assert_eq!((got.len(), end.is_ok()), (16 * MIB, in_order));
        drop(client);
        let closed = server.record.wait_close();
        assert!(closed.unsent == 0 && closed.clean == in_order, "{closed:?}");
        server.end();
    }
}

/// Promise 4: who is said farewell by a slow `on_shutdown` has the whole `shutdown_max` to take it.
#[test]
fn shutdown_max_begins_with_the_end_of_on_shutdown() {
    let script = echo().on_shutdown(|cx| {
        work(1100 * MS);
        for id in cx.connections() {
            cx.conn(id).unwrap().send(vec![7; 3 * MIB]);
        }
    });
    let server = Server::start(script, Config::default().shutdown_max(1000 * MS));
    let mut client = connect_narrow(server.addr);
    ping(&mut client, b"here");
    server.handle.shutdown();
    read_n(&mut client, 1);
    watch(100 * MS);
    assert_eq!(read_to_end(&mut client).len(), 3 * MIB - 1);
    drop(client);
    server.join();
}
