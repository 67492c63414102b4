//! Promise 4: a house that strangers may enter. Each limit at its bound, one below it and one over.
//!
//! Where the bound of each limit is held, on real sockets and in virtual time:

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wouldblock::{CloseReason, Config, Listen};

use crate::support::*;

/// A client at another address of ours: all of 127.0.0.0/8 is.
#[track_caller]
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)
            .unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Fails unless the peer has reset the connection.
#[track_caller]
fn assert_reset(addr: SocketAddr) {
    // It may be reset before the connect returns.
    let Some(mut client) = try_connect(addr) else { return };
    let error = client.read(&mut [0; 10]).expect_err("neither bytes nor an orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

// ---- who may come ---------------------------------------------------------------------------

/// Promise 4: so many of one address are served, one more is reset, and others are served; who
/// leaves makes room.
#[test]
fn one_over_the_connections_of_its_address_is_reset() {
    let server = Server::start(echo(), Config::default().connections_per_address(Some(3)));
    let mut inside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut inside {
        ping(client, b"at the bound");
    }
    for _ in 0..2 {
        assert_reset(server.addr);
    }
    let mut other = connect_from("127.0.0.2", server.addr);
    ping(&mut other, b"of another address");
    for client in &mut inside {
        ping(client, b"still");
    }
    drop(inside.pop());
    server.record.wait_closes(1);
    ping(&mut server.connect(), b"there is room again");
    assert_eq!(server.record.opens().len(), 5);
    drop((inside, other));
    let stats = server.end();
    assert_eq!((stats.accepted, stats.refused_address, stats.refused), (5, 2, 0));
}

/// Promise 4, Trap 54: through a listener for both, IPv4 and IPv4 mapped into IPv6 are one address.
#[test]
fn an_address_counts_once_whichever_family_brought_it() {
    let config = Config::default().connections_per_address(Some(1));
    let listen = Listen::from("[::]:0").only_v6(false);
    let server = Server::start_on(listen, echo(), config);
    let port = server.addr.port();
    let mut first = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    ping(&mut first, b"first");
    assert_reset(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut v6 = connect(format!("[::1]:{port}").parse().unwrap());
    ping(&mut v6, b"another address");
    drop((first, v6));
    assert_eq!(server.end().refused_address, 1);
}

/// Promise 4: peers on a Unix socket have no address to be counted by.
#[test]
fn peers_on_a_unix_socket_are_not_counted_by_address() {
    let path = std::env::temp_dir().join(format!("wouldblock-crowd-{}", std::process::id()));
    let config = Config::default().connections_per_address(Some(1));
    let listen = format!("unix:{}", path.display());
    let server = Server::start_with(listener(), echo(), config, move |reactor| {
        reactor.listen(listen).unwrap();
    });
    let mut clients: Vec<_> =
        (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    drop(clients);
    assert_eq!(server.end().refused_address, 0);
}

// ---- what all hold together -----------------------------------------------------------------

/// Two who do not read, `a` and then `b`, and one who asks: `probe`.
fn deaf_pair(server: &Server) -> (TcpStream, TcpStream, TcpStream) {
    let a = connect_narrow(server.addr);
    server.record.wait_opens(1);
    let b = connect_narrow(server.addr);
    server.record.wait_opens(2);
    let probe = server.connect();
    server.record.wait_opens(3);
    (a, b, probe)
}

/// Promise 4: exactly `buffered_max` is within the limit; a byte more ends whoever holds most, at
/// once and whoever caused it, and nobody else.
#[test]
fn a_byte_over_buffered_max_ends_who_holds_most() {
    const MAX: usize = 4 * MIB;
    let script = echo()
        .on_open(|conn| {
            narrow_sending(conn);
            Ok(())
        })
        .on_data(move |conn, input| {
            input.take_all();
            let mut opened = conn.cx().connections();
            opened.sort();
            let (a, b) = (opened[0], opened[1]);
            conn.cx().send(a, vec![0; 2 * MIB]);
            conn.cx().send(b, vec![0; MIB]);
            // Behind what is queued nothing is written before the callback ends.
            let room = MAX - conn.cx().buffered();
            conn.cx().send(b, vec![0; room - MIB]);
            conn.cx().send(a, vec![0; MIB]);
            let full = conn.cx().buffered() == MAX;
            let both = conn.cx().is_open(a) && conn.cx().is_open(b);
            conn.cx().send(b, b"x");
            let one = !conn.cx().is_open(a) && conn.cx().is_open(b);
            let less = conn.cx().buffered() <= MAX / 8 * 7;
            conn.send([full, both, one, less].map(u8::from));
            Ok(())
        });
    let config = Config::default().buffered_max(MAX).output_max(MAX);
    let server = Server::start(script, config);
    let (a, b, mut probe) = deaf_pair(&server);
    probe.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut probe, 4), [1; 4], "full, both open, one open, less");
    let ids = server.record.opens();
    let closed = server.record.wait_close_of(ids[0]);
    assert!(matches!(closed.reason, CloseReason::BufferedLimit), "{closed:?}");
    assert!(closed.unsent > 2 * MIB as u64 && !closed.clean, "{closed:?}");
    assert_eq!(server.record.closes().len(), 1);
    drop((a, b, probe));
    assert_eq!(server.end_now().closed.buffered_limit, 1);
}

/// Promises 4 and 5: above three quarters of `buffered_max` whoever owes more than low rests, though
/// it is far from high; below a half it reads again.
#[test]
fn near_buffered_max_those_who_owe_rest() {
    const MAX: usize = 4 * MIB;
    let script = echo()
        .on_open(|conn| {
            narrow_sending(conn);
            Ok(())
        })
        .on_data(move |conn, input| {
            let mut ids = conn.cx().connections();
            ids.sort();
            match input.take_all() {
                b"a" => drop(conn.cx().send(ids[0], vec![0; MIB])),
                b"b" => drop(conn.cx().send(ids[1], vec![0; 3 * MIB])),
                b"end" => drop(conn.cx().abort(ids[1])),
                _ => {}
            }
            Ok(())
        });
    let config = Config::default()
        .buffered_max(MAX)
        .output_max(MAX)
        .output_high(2 * MIB)
        .output_low(MIB / 2);
    let server = Server::start(script, config);
    let (mut a, b, mut probe) = deaf_pair(&server);
    let id = server.record.opens()[0];
    let calls = |n: usize| {
        wait_until("on_data has come", || server.record.story(id).matches("data").count() >= n);
    };
    probe.write_all(b"a").unwrap();
    a.write_all(b"x").unwrap();
    calls(1);
    probe.write_all(b"b").unwrap();
    let id_of_probe = server.record.opens()[2];
    wait_until("b owes", || server.record.story(id_of_probe).matches("data").count() == 2);
    a.write_all(b"x").unwrap();
    watch(Duration::from_millis(200));
    calls(1);
    assert_eq!(server.record.story(id).matches("data").count(), 1, "it rests");
    assert!(server.record.closes().is_empty());
    // It reads what it is owed down to low, and is served again.
    probe.write_all(b"end").unwrap();
    read_n(&mut a, MIB);
    calls(2);
    drop((a, b, probe));
    server.end_now();
}

/// Promise 4: what many leave half said counts as well, and the reactor holds no more than it may.
#[test]
fn unconsumed_input_of_all_stays_below_buffered_max() {
    const MAX: usize = 2 * MIB;
    let script = echo().on_data(|conn, input| {
        if input.bytes() == b"?" {
            input.take_all();
            let held = u64::try_from(conn.cx().buffered()).unwrap();
            conn.send(held.to_be_bytes());
        } else {
            input.wait_for(500 * KIB);
        }
        Ok(())
    });
    let server = Server::start(script, Config::default().buffered_max(MAX));
    let mut probe = server.connect();
    let mut most = 0;
    let mut clients = Vec::new();
    for n in 0..30 {
        let mut client = server.connect();
        let _ = client.write_all(&vec![b'x'; 200 * KIB + n * KIB]);
        clients.push(client);
        probe.write_all(b"?").unwrap();
        let held = u64::from_be_bytes(read_n(&mut probe, 8).try_into().unwrap());
        most = most.max(held as usize);
    }
    let ended = |closed: &wouldblock::Closed| matches!(closed.reason, CloseReason::BufferedLimit);
    wait_until("enough are closed", || server.record.closes().len() >= 15);
    assert!(server.record.closes().iter().all(|(_, closed)| ended(closed)));
    assert!(most > MAX / 2 && most <= MAX, "{most} bytes were held");
    ping_held(&mut probe);
    drop((probe, clients));
    server.end_now();
}

/// The reactor still answers.
#[track_caller]
fn ping_held(probe: &mut TcpStream) {
    probe.write_all(b"?").unwrap();
    read_n(probe, 8);
}
