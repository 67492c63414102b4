//! Promise 4: slow is not stalled, and not idle. The kernel says that a socket is writable when a third
//! of its buffer is free, which is megabytes; and what it took is not yet with the peer. Before a peer
//! is cut, the kernel is asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wouldblock::{CloseReason, Config, Listen};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Reads a piece every 100 ms for so long, sends a word now and then if it is to, and then reads the
/// rest of `all`.
fn read_slowly<S>(mut stream: S, piece: usize, wait: Duration, all: usize) -> S
where
    S: Read + Write,
{
    let start = Instant::now();
    let mut bytes = vec![0; piece];
    let mut read = 0;
    while start.elapsed() < wait {
        stream.read_exact(&mut bytes).unwrap();
        read += piece;
        watch(100 * MS);
    }
    let mut rest = vec![0; all - read];
    stream.read_exact(&mut rest).unwrap();
    stream
}

/// Sends so much to each that connects.
fn pours(bytes: usize, closes: bool) -> Script {
    echo().on_open(move |conn| {
        conn.send(vec![7; bytes]);
        if closes {
            conn.close();
        }
        Ok(())
    })
}

/// The kernel's buffer holds megabytes, so that a steady reader makes room worth telling of only now
/// and then: it is no stall.
#[test]
fn a_steady_reader_is_no_stall_whatever_the_kernel_holds() {
    for closes in [false, true] {
        let config = Config::default().output_max(32 * MIB).write_stall(1000 * MS);
        let server = Server::start(pours(12 * MIB, closes), config);
        let client = read_slowly(server.connect(), 64 * KIB, 4000 * MS, 12 * MIB);
        drop(client);
        let closed = server.record.wait_close();
        let told = matches!(closed.reason, CloseReason::PeerEnd | CloseReason::Local);
        assert!(told && closed.unsent == 0, "{closed:?}");
        server.end();
    }
}

/// The same where a rate is asked for that it keeps to.
#[test]
fn a_steady_reader_is_not_too_slow() {
    let config = Config::default().output_max(32 * MIB).min_rate(64 * KIB, 1000 * MS);
    let server = Server::start(pours(12 * MIB, false), config);
    drop(read_slowly(server.connect(), 64 * KIB, 4000 * MS, 12 * MIB));
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
    server.end();
}

/// All is with the kernel, and the peer reads it steadily: it is not idle, and its place is not given
/// away.
#[cfg(target_os = "linux")]
#[test]
fn a_steady_reader_is_not_idle() {
    let idle = Config::default().idle(Some(1000 * MS));
    let reclaim = Config::default().connections(1).reclaim_idle(Some(1000 * MS));
    for config in [idle, reclaim] {
        let server = Server::start(pours(2 * MIB, false), config);
        let reader = server.connect();
        let id = server.record.wait_opens(1)[0];
        // It waits for a place, where there is only one.
        let other = server.connect();
        drop(read_slowly(reader, 32 * KIB, 4000 * MS, 2 * MIB));
        let closed = server.record.wait_close_of(id);
        assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
        drop(other);
        server.end_now();
    }
}

/// It was closed, all is with the kernel, and it sends a word now and then, which a socket that is
/// freed would answer with a reset.
#[cfg(target_os = "linux")]
#[test]
fn a_linger_lasts_while_a_steady_reader_reads() {
    let server = Server::start(pours(2 * MIB, true), Config::default().linger(300 * MS));
    let mut client = server.connect();
    for _ in 0..40 {
        read_n(&mut client, 32 * KIB);
        client.write_all(b"still here").unwrap();
        watch(50 * MS);
    }
    assert_eq!(read_to_end(&mut client).len(), 2 * MIB - 40 * 32 * KIB);
    drop(client);
    let closed = server.record.wait_close();
    assert!(closed.clean, "{closed:?}");
    server.end();
}

/// The same of Unix sockets, whose buffers are freed in pieces of some 32 KiB.
#[cfg(target_os = "linux")]
#[test]
fn so_it_is_on_unix_sockets() {
    let directory = std::env::temp_dir().join(format!("wb-slow-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (n, config) in
        [Config::default().write_stall(1000 * MS), Config::default().idle(Some(1000 * MS))]
            .into_iter()
            .enumerate()
    {
        let path = directory.join(format!("{n}.sock"));
        // The kernel's buffer holds some 200 KiB.
        let bytes = if n == 0 { MIB } else { 160 * KIB };
        let (ready, listens) = mpsc::channel();
        let listen = Listen::from(format!("unix:{}", path.display()));
        let server = Server::start_with(listener(), pours(bytes, false), config, move |reactor| {
            reactor.listen(listen).unwrap();
            ready.send(()).unwrap();
        });
        listens.recv_timeout(DEADLINE).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        drop(read_slowly(client, 4 * KIB, 3000 * MS, bytes));
        let closed = server.record.wait_close();
        assert!(matches!(closed.reason, CloseReason::PeerEnd), "{closed:?}");
        server.end();
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// One that has stopped reading is cut all the same: idle, and then `write_stall` at most.
#[cfg(target_os = "linux")]
#[test]
fn one_that_stops_reading_is_cut_whoever_holds_its_bytes() {
    let config = Config::default().idle(Some(300 * MS)).write_stall(500 * MS).linger(200 * MS);
    let server = Server::start(pours(MIB, false), config);
    let client: TcpStream = server.connect();
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Idle) && !closed.clean, "{closed:?}");
    drop(client);
    server.end();
}
