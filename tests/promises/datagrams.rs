//! Datagrams, over UDP and Unix sockets: what comes, what goes, what waits, what is lost and told.
//!
//! Clients are plain blocking `std` sockets. What UDP may lose it does not lose here: over loopback
//! a datagram is in the receiver's buffer when the send returns, or there was no room.

mod examples;
mod groups;
mod mail;
mod names;
mod waiting;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wouldblock::{Address, Bind, Config, Interface, Reactor};

use crate::support::{DEADLINE, KIB, listener, random, wait_until};
use mail::{Letter, Mail, Office, client, echo, path, unix_client};

/// The largest payload that UDP over IPv4 carries.
const LARGEST: usize = 65_507;

/// Promise 2, Traps 48 and 50: what is sent comes back as it was, each for itself: nothing at all,
/// small, an Ethernet frame full, and the largest there is.
#[test]
fn every_size_comes_back_whole_by_every_kind_of_socket() {
    let name = path("sizes");
    let office = Office::open(
        echo(),
        ["127.0.0.1:0".into(), "[::1]:0".into(), format!("unix:{}", name.display()).into()],
    );
    let clients = [client("127.0.0.1:0"), client("[::1]:0")];
    let from = path("sizes-client");
    let unix = unix_client(&from);
    let mut buf = vec![0; 2 * LARGEST];
    for len in [0, 1, 1400, LARGEST, 0, 2] {
        let sent = random(len as u64, len);
        for (client, at) in clients.iter().zip(&office.addrs) {
            client.send_to(&sent, at.socket_addr().unwrap()).unwrap();
            let (n, by) = client.recv_from(&mut buf).unwrap();
            assert!(buf[..n] == sent && by == at.socket_addr().unwrap(), "{n} bytes by {by}");
        }
        unix.send_to(&sent, &name).unwrap();
        let (n, by) = unix.recv_from(&mut buf).unwrap();
        assert!(buf[..n] == sent && by.as_pathname() == Some(&name), "{n} bytes by {by:?}");
    }
    for letter in office.letters() {
        assert!(!letter.truncated && letter.len == letter.payload.len());
    }
    let stats = office.end();
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (18, 18));
    assert_eq!((stats.datagrams_truncated, stats.datagrams_dropped), (0, 0));
    std::fs::remove_file(&from).unwrap();
    assert!(!name.exists(), "the path goes with the socket");
}

/// Trap 50: a datagram that is longer than the buffer says so, and how long it was; the next one is
/// whole, and one that just fits is no shorter for it.
#[test]
fn a_datagram_that_does_not_fit_says_so() {
    let name = path("cut");
    let config = Config::default().read_buffer(1000);
    let office = Office::with(
        config,
        echo(),
        ["127.0.0.1:0".into(), format!("unix:{}", name.display()).into()],
    );
    let (client, unix) = (client("127.0.0.1:0"), UnixDatagram::unbound().unwrap());
    for len in [1400, 1000, 1001, 0, 7] {
        client.send_to(&random(1, len), office.addr(0)).unwrap();
        unix.send_to(&random(1, len), &name).unwrap();
    }
    for socket in office.ids.clone() {
        let letters = office.wait_letters_of(socket, 5);
        let told: Vec<_> = letters.iter().map(|l| (l.payload.len(), l.len, l.truncated)).collect();
        let expected = [
            (1000, 1400, true),
            (1000, 1000, false),
            (1000, 1001, true),
            (0, 0, false),
            (7, 7, false),
        ];
        assert_eq!(told, expected);
        assert!(letters[0].payload[..] == random(1, 1400)[..1000]);
    }
    assert_eq!(office.end().datagrams_truncated, 4);
}

/// Promise 6, Trap 47: a peer that has vanished is told by ICMP as an error of the next call, of
/// a receive or of a send. Neither stops for that, and what is told is counted.
#[test]
fn an_error_of_an_earlier_datagram_stops_nothing() {
    let peer = client("127.0.0.1:0");
    let at = peer.local_addr().unwrap();
    let office = Office::open(Mail::default(), [Bind::from("127.0.0.1:0").connect(at)]);
    let socket = office.ids[0];
    drop(peer);
    // Nobody is there, and then somebody is: the error comes to the first receive, and behind it
    // lie three datagrams of which no other event tells.
    let ours = office.addr(0);
    let peer = office.ask(move |cx| {
        cx.send_datagram(socket, "1").unwrap();
        let peer = UdpSocket::bind(at).unwrap();
        for n in 0..3 {
            peer.send_to(&[n], ours).unwrap();
        }
        peer
    });
    let letters = office.wait_letters(3);
    assert_eq!(letters.iter().map(|l| l.payload[0]).collect::<Vec<_>>(), [0, 1, 2]);
    // Between two sends the peer goes and comes: the error comes to the second, which goes out.
    drop(peer);
    let peer = office.ask(move |cx| {
        cx.send_datagram(socket, "2").unwrap();
        let peer = UdpSocket::bind(at).unwrap();
        cx.send_datagram(socket, "3").unwrap();
        peer
    });
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 1);
    let stats = office.end();
    assert_eq!((stats.datagram_errors, stats.datagrams_out, stats.datagrams_dropped), (2, 3, 0));
}

/// Trap 47: a socket that answers everybody hears nothing of those who have gone, and goes on.
#[test]
fn clients_that_vanish_hinder_nobody() {
    let office = Office::open(echo(), ["127.0.0.1:0".into()]);
    for _ in 0..50 {
        client("127.0.0.1:0").send_to(b"gone", office.addr(0)).unwrap();
    }
    let client = client("127.0.0.1:0");
    client.send_to(b"here", office.addr(0)).unwrap();
    assert_eq!(client.recv(&mut [0; 9]).unwrap(), 4);
    assert_eq!(office.end().datagrams_in, 51);
}

/// Trap 49, promise 7: what the kernel refuses is an error of the call, with its code; the socket
/// is none the worse.
#[test]
fn what_the_kernel_refuses_is_told_by_the_call() {
    let office = Office::open(Mail::default(), ["127.0.0.1:0".into()]);
    let (socket, to) = (office.ids[0], client("127.0.0.1:0"));
    let address = Address::from(to.local_addr().unwrap());
    let errors = office.ask(move |cx| {
        let broadcast = "127.255.255.255:9".parse().unwrap();
        let errors = [
            cx.send_to(socket, &address, vec![0; LARGEST + 1]).unwrap_err(),
            cx.send_to(socket, &broadcast, "x").unwrap_err(),
            cx.send_datagram(socket, "x").unwrap_err(),
        ];
        cx.send_to(socket, &address, "fine").unwrap();
        errors
    });
    let codes = errors.map(|error| error.raw_os_error().unwrap());
    let expected =
        [rustix::io::Errno::MSGSIZE, rustix::io::Errno::ACCESS, rustix::io::Errno::DESTADDRREQ];
    assert_eq!(codes, expected.map(rustix::io::Errno::raw_os_error));
    assert_eq!(to.recv(&mut [0; 9]).unwrap(), 4);
    assert_eq!(office.end().datagrams_out, 1);
}

/// Trap 51: with a socket for each address, the answer comes from the one that was asked.
#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let office = Office::open(echo(), ["127.0.0.1:0".into(), "127.0.0.2:0".into()]);
    let client = client("0.0.0.0:0");
    for at in &office.addrs {
        client.send_to(b"who?", at.socket_addr().unwrap()).unwrap();
        let (_, by) = client.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(by, at.socket_addr().unwrap());
    }
    office.end();
}

/// Promise 1: two hundred clients ask at once, some of them many things, and nobody is forgotten.
#[test]
fn two_hundred_clients_are_answered_at_once() {
    let office =
        Office::open(echo(), [Bind::from("127.0.0.1:0").recv_buffer(1 << 20), "[::1]:0".into()]);
    let clients: Vec<_> = (0..200).map(|_| client("127.0.0.1:0")).collect();
    for round in 0..10_u8 {
        for (n, client) in clients.iter().enumerate() {
            client.send_to(&[n as u8, round], office.addr(0)).unwrap();
        }
        for (n, client) in clients.iter().enumerate() {
            let mut buf = [0; 9];
            assert_eq!((client.recv(&mut buf).unwrap(), buf[0], buf[1]), (2, n as u8, round));
        }
    }
    assert_eq!(office.end().datagrams_in, 2000);
}

/// Promise 1: more datagrams than one turn takes lie in the buffer, and then nobody sends: no edge
/// comes, and all are delivered, in order.
#[test]
fn a_burst_beyond_the_budget_is_delivered_with_no_further_edge() {
    let config = Config::default().datagrams_per_turn(7);
    let bind = Bind::from("127.0.0.1:0").recv_buffer(1 << 20);
    let (mail, letters) = Mail::default().posting();
    let mut reactor = Reactor::with_config(mail, config).unwrap();
    let id = reactor.bind_datagram(bind).unwrap();
    let client = client("127.0.0.1:0");
    for n in 0..200_u8 {
        client.send_to(&[n], reactor.datagram_addr(id).unwrap().socket_addr().unwrap()).unwrap();
    }
    let mut got: Vec<u8> = Vec::new();
    let mut turns = 0;
    while got.len() < 200 {
        reactor.turn(Some(DEADLINE)).unwrap();
        let came: Vec<_> = letters.try_iter().map(|letter: Letter| letter.payload[0]).collect();
        assert!(came.len() <= 7, "{} in one turn", came.len());
        got.extend(came);
        turns += 1;
    }
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    assert_eq!(turns, 200_usize.div_ceil(7));
}

/// Promise 4: large ones are bounded by their bytes: about one read buffer in a turn.
#[test]
fn large_datagrams_leave_the_turn_to_others_sooner() {
    let (mail, letters) = Mail::default().posting();
    let config = Config::default().read_buffer(64 * KIB);
    let mut reactor = Reactor::with_config(mail, config).unwrap();
    let id = reactor.bind_datagram(Bind::from("127.0.0.1:0").recv_buffer(4 << 20)).unwrap();
    let client = client("127.0.0.1:0");
    for _ in 0..10 {
        client
            .send_to(&random(1, 20_000), reactor.datagram_addr(id).unwrap().socket_addr().unwrap())
            .unwrap();
    }
    reactor.turn(Some(DEADLINE)).unwrap();
    assert_eq!(letters.try_iter().count(), 4, "four are more than 64 KiB");
}

/// Promise 1, and the budget of datagrams: while one socket is flooded, in every turn each of the
/// others is served as if it were alone: a small UDP client, and a TCP echo.
#[test]
fn a_flooded_socket_starves_nobody() {
    let config = Config::default().datagrams_per_turn(8);
    let (mail, letters) = echo().posting();
    let mut reactor = Reactor::with_config(mail, config).unwrap();
    let flooded = reactor.bind_datagram(Bind::from("127.0.0.1:0").recv_buffer(1 << 20)).unwrap();
    let small = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let stream = reactor.listen("127.0.0.1:0").unwrap();
    let at =
        |reactor: &Reactor<Mail>, id| reactor.datagram_addr(id).unwrap().socket_addr().unwrap();
    let (noisy, client) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let mut tcp = TcpStream::connect(reactor.listener_addr(stream).unwrap()).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let flood_to = at(&reactor, flooded);
    // So that it has more than a turn takes at every moment: 64 lie there, and 8 are taken.
    let flood = |n| (0..n).for_each(|_| assert!(noisy.send_to(b"flood", flood_to).is_ok()));
    flood(64);
    for round in 0..50_u8 {
        client.send_to(&[round], at(&reactor, small)).unwrap();
        tcp.write_all(&[round]).unwrap();
        // Told of by a poll, and served behind the flooded one; the first round accepts as well.
        for _ in 0..if round == 0 { 3 } else { 1 } {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
        let mut buf = [0; 9];
        assert_eq!((client.recv(&mut buf).unwrap(), buf[0]), (1, round));
        assert_eq!((tcp.read(&mut buf).unwrap(), buf[0]), (1, round));
        let taken = letters.try_iter().filter(|letter| letter.socket == flooded).count();
        assert!(taken % 8 == 0 && taken > 0, "{taken} of the flood");
        flood(taken);
    }
}

/// Promise 1: the same against a sender at full speed, on a thread: who asks one thing at a time is
/// answered each time.
#[test]
fn a_live_flood_starves_nobody() {
    let office = Office::open(echo(), ["127.0.0.1:0".into(), "127.0.0.1:0".into()]);
    let tcp = office.listen();
    let is_over = Arc::new(AtomicBool::new(false));
    let (to, over) = (office.addr(0), Arc::clone(&is_over));
    let flood = thread::spawn(move || {
        let noisy = client("127.0.0.1:0");
        while !over.load(Ordering::Relaxed) {
            // It never reads: what comes back is lost, which is its own trouble.
            let _ = noisy.send_to(&[0; 100], to);
        }
    });
    wait_until("the flood is on", || office.ask(|cx| cx.stats().datagrams_in) > 1000);
    let small = client("127.0.0.1:0");
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buf = [0; 9];
    for round in 0..200_u8 {
        small.send_to(&[round], office.addr(1)).unwrap();
        assert_eq!((small.recv(&mut buf).unwrap(), buf[0]), (1, round));
        stream.write_all(&[round]).unwrap();
        assert_eq!((stream.read(&mut buf).unwrap(), buf[0]), (1, round));
    }
    drop(stream);
    // Nor does it keep the server from leaving.
    let stats = office.end();
    is_over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(stats.datagrams_in > 1200);
}

/// Promise 2: what was sent before shutdown is answered, whatever the kernel still holds of it;
/// then the server is gone.
#[test]
fn what_came_before_shutdown_is_answered() {
    let (mail, _letters) = echo().posting();
    let config = Config::default().datagrams_per_turn(3);
    let mut reactor = Reactor::with_config(mail, config).unwrap();
    let bind = |name: &str| Bind::from(name).recv_buffer(1 << 20);
    let ids = ["127.0.0.1:0", "[::1]:0"].map(|name| reactor.bind_datagram(bind(name)).unwrap());
    // Nothing has happened here that an event could tell of before shutdown begins.
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let clients = [client("127.0.0.1:0"), client("[::1]:0")];
    for (id, client) in ids.iter().zip(&clients) {
        for n in 0..100 {
            client
                .send_to(&[n], reactor.datagram_addr(*id).unwrap().socket_addr().unwrap())
                .unwrap();
        }
    }
    reactor.shutdown();
    reactor.run().unwrap();
    for client in clients {
        for n in 0..100 {
            let mut buf = [0; 9];
            assert_eq!((client.recv(&mut buf).unwrap(), buf[0]), (1, n));
        }
    }
    assert!(reactor.datagram_addr(ids[0]).is_err());
}

/// Promise 4: a socket that is never found empty, here because its handler writes to itself, is
/// received from for so long and no longer once shutdown has begun.
#[test]
fn a_flood_does_not_hold_up_the_end() {
    let mut heard = 0;
    let handler = Mail::default().on_datagram(move |cx, datagram| {
        heard += 1;
        assert!(heard < 100_000, "it goes on for ever");
        cx.send_to(datagram.socket, &datagram.from, datagram.payload).unwrap();
    });
    let config = Config::default().shutdown_max(Duration::MAX);
    let mut reactor = Reactor::with_config(handler, config).unwrap();
    let socket = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let to = reactor.datagram_addr(socket).unwrap();
    reactor.service(0).send_to(socket, &to, "to itself").unwrap();
    reactor.turn(None).unwrap();
    reactor.shutdown();
    reactor.run().unwrap();
    assert!(reactor.stats().datagrams_in > 0);
}

/// Promise 2: a socket stays as long as a connection does, since its answer may hang on it.
#[test]
fn a_socket_stays_as_long_as_a_connection_is_held() {
    let mail = Mail::default().on_tcp_open(|conn| conn.hold(true)).on_datagram(|cx, datagram| {
        for id in cx.connections() {
            cx.conn(id).unwrap().send(datagram.payload);
            cx.conn(id).unwrap().hold(false);
        }
    });
    let office = Office::open(mail, ["127.0.0.1:0".into()]);
    let mut stream = TcpStream::connect(office.listen()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    wait_until("it is open", || office.ask(|cx| cx.connections().len()) == 1);
    office.handle.shutdown();
    // Once it has begun, and the socket has been found empty.
    wait_until("shutdown has begun", || office.ask(|cx| cx.bind_datagram("127.0.0.1:0").is_err()));
    client("127.0.0.1:0").send_to(b"late", office.addr(0)).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"late");
    drop(stream);
    office.join();
}

/// Promise 3: a closed socket is gone at once, in the very callback that closes it; its name means
/// nobody, its path is free, and the next entry has another name.
#[test]
fn a_closed_socket_is_gone_at_once() {
    let name = path("closed");
    let bind = format!("unix:{}", name.display());
    let mail = Mail::default().on_datagram(|cx, datagram| {
        assert!(cx.close_datagram(datagram.socket));
        assert!(!cx.close_datagram(datagram.socket));
        let error = cx.send_to(datagram.socket, &Address::unix("/x"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            cx.datagram_addr(datagram.socket).is_err() && cx.datagram_fd(datagram.socket).is_none()
        );
    });
    let office = Office::open(mail, [bind.clone().into()]);
    let client = UnixDatagram::unbound().unwrap();
    for n in 0..3 {
        client.send_to(&[n], &name).unwrap();
        if n == 0 {
            break;
        }
    }
    wait_until("it is closed", || office.ask(|cx| cx.datagram_sockets().is_empty()));
    assert!(!name.exists());
    let first = office.ids[0];
    let again = office.ask(move |cx| cx.bind_datagram(bind).unwrap());
    assert_ne!(first, again);
    assert_eq!(office.ask(|cx| cx.datagram_sockets()), [again]);
    assert!(!office.ask(move |cx| cx.close_datagram(first)));
    assert_eq!(office.end().datagrams_in, 1);
}

/// Sockets of others are taken over with what they are: bound, connected, or one of a pair.
#[test]
fn sockets_made_by_std_are_taken_over() {
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = bound.local_addr().unwrap();
    let (peer, connected) = (client("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0").unwrap());
    connected.connect(peer.local_addr().unwrap()).unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = path("taken");
    let owned = UnixDatagram::bind(&name).unwrap();
    let office = Office::open(echo(), [bound.into(), connected.into(), ours.into(), owned.into()]);
    assert_eq!(office.addrs[0], Address::from(at));
    let client = client("127.0.0.1:0");
    client.send_to(b"bound", at).unwrap();
    assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
    let (of_udp, of_pair) = (office.ids[1], office.ids[2]);
    office.ask(move |cx| {
        cx.send_datagram(of_udp, "udp").unwrap();
        cx.send_datagram(of_pair, "pair").unwrap();
    });
    assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 3);
    assert_eq!(theirs.recv(&mut [0; 9]).unwrap(), 4);
    theirs.send(b"back").unwrap();
    let letter = &office.wait_letters_of(of_pair, 1)[0];
    assert_eq!((&letter.payload[..], &letter.from), (&b"back"[..], &Address::Unnamed));
    office.end();
    assert!(name.exists(), "a path that others bound is theirs");
    std::fs::remove_file(name).unwrap();
}

/// A connected socket hears its peer and nobody else, not even who had sent before it was connected.
#[test]
fn a_connected_socket_hears_its_peer_only() {
    let (peer, other) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    other.send_to(b"before", at).unwrap();
    let bind = Bind::from(socket).connect(peer.local_addr().unwrap());
    let office = Office::open(echo(), [bind]);
    other.send_to(b"other", at).unwrap();
    peer.send_to(b"peer", at).unwrap();
    assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 4);
    let letters = office.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].from, peer.local_addr().unwrap().into());
    office.end();
}

/// Trap 52: the path of a dead socket is taken over; that of a live one, of a stream server or of
/// a file is not touched. Trap 53: nobody slips in under another mode, and one that is too long is
/// told at once.
#[test]
fn a_path_is_taken_over_from_the_dead_only() {
    let open = |name: &std::path::Path| {
        let mut reactor = Reactor::new(Mail::default()).unwrap();
        let bind = Bind::from(format!("unix:{}", name.display())).mode(0o600);
        reactor.bind_datagram(bind).map(|_| reactor)
    };
    let refused = |name: &std::path::Path| {
        let error = open(name).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        error.to_string()
    };
    let name = path("dead");
    drop(UnixDatagram::bind(&name).unwrap());
    let reactor = open(&name).unwrap();
    assert_eq!(std::fs::metadata(&name).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(&name).contains("is listening there"), "{}", refused(&name));
    drop(reactor);
    assert!(!name.exists());

    drop(UnixListener::bind(&name).unwrap());
    drop(open(&name).unwrap());
    let stream = UnixListener::bind(&name).unwrap();
    refused(&name);
    drop(stream);
    std::fs::remove_file(&name).unwrap();
    std::fs::write(&name, "text").unwrap();
    assert!(refused(&name).contains("it is no socket"));
    assert_eq!(std::fs::read(&name).unwrap(), b"text");
    std::fs::remove_file(&name).unwrap();

    let long = path(&"x".repeat(110));
    let error = open(&long).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("107 do"), "{error}");
}

/// Promise 7: what contradicts itself is refused when it is bound, in words.
#[test]
fn a_contradiction_is_refused_in_words() {
    let mut reactor = Reactor::new(Mail::default()).unwrap();
    let mut refuse = |bind: Bind| {
        let error = reactor.bind_datagram(bind).unwrap_err();
        (error.kind(), error.to_string())
    };
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let (kind, words) = refuse(at.into());
    assert_eq!(kind, ErrorKind::AddrInUse);
    assert!(words.starts_with(&format!("cannot bind {at}: ")), "{words}");
    let (_, words) = refuse("a\nb".into());
    assert!(words.starts_with(r"cannot bind a\nb: "), "{words}");
    let udp = |name: &str| Bind::from(name);
    let group = std::net::Ipv4Addr::new(239, 1, 2, 3);
    let group6: std::net::Ipv6Addr = "ff02::6".parse().unwrap();
    let six: Address = "[::1]:9".parse().unwrap();
    let cases = [
        (
            udp("127.0.0.1:0").connect(six.clone()),
            "cannot connect to [::1]:9: it is of another family",
        ),
        (
            udp("127.0.0.1:0").connect(Address::unix("/x")),
            "cannot connect to unix:/x: it is of another",
        ),
        (
            udp("unix:@wouldblock-no").connect(six),
            "cannot connect to [::1]:9: it is of another family",
        ),
        (udp("[::1]:0").join(group, Interface::Any), "239.1.2.3 is for a socket of IPv4"),
        (udp("127.0.0.1:0").join(group6, Interface::Any), "ff02::6 is for a socket of IPv6"),
        (
            udp("127.0.0.1:0").join(std::net::Ipv4Addr::LOCALHOST, Interface::Any),
            "127.0.0.1 is no multicast group",
        ),
        (
            udp("[::]:0").join(group6, Interface::Address(std::net::Ipv4Addr::LOCALHOST)),
            "IPv6 wants an interface's index",
        ),
        (udp("unix:@wouldblock-no").reuse_port(true), "a Unix socket has no port to reuse"),
        (udp("unix:@wouldblock-no").broadcast(true), "a Unix socket has no broadcast"),
        (udp("unix:@wouldblock-no").join(group, Interface::Any), "a Unix socket has no multicast"),
        (udp("unix:@wouldblock-no").mode(0o600), "a mode belongs to a Unix path"),
        (udp("127.0.0.1:0").mode(0o600), "a mode belongs to a Unix path"),
        (Bind::unnamed_unix().mode(0o600), "a mode belongs to a Unix path"),
        (Bind::from(UnixDatagram::unbound().unwrap()).mode(0o600), "a mode belongs to a Unix path"),
        (udp("unix:@wouldblock-no").multicast_ttl(1), "a Unix socket has no multicast"),
        (udp("127.0.0.1"), "invalid socket address"),
    ];
    for (bind, expected) in cases {
        let text = format!("{bind:?}");
        let (kind, words) = refuse(bind);
        assert!(kind == ErrorKind::InvalidInput && words.contains(expected), "{text}: {words}");
    }
    let gone = path("gone");
    let (kind, _) = refuse(Bind::unnamed_unix().connect(Address::unix(&gone)));
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(reactor.stats().datagrams_in == 0);
}

/// Promise 7: an address of another family is refused by the call, in words.
#[test]
fn an_address_of_another_family_is_refused() {
    let office = Office::open(
        Mail::default(),
        ["127.0.0.1:0".into(), "[::1]:0".into(), Bind::unnamed_unix()],
    );
    let ids = office.ids.clone();
    let refusals = office.ask(move |cx| {
        let to = |text: &str| text.parse::<Address>().unwrap();
        [
            (ids[0], to("[::1]:9")),
            (ids[0], to("unix:/x")),
            (ids[1], to("127.0.0.1:9")),
            (ids[2], to("127.0.0.1:9")),
            (ids[2], Address::Unnamed),
        ]
        .map(|(id, to)| cx.send_to(id, &to, "x").unwrap_err())
    });
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("cannot send to"), "{error}");
    }
    assert_eq!(office.end().datagrams_out, 0);
}

/// Promise 3: a panic in `on_datagram` passes through; who catches it and runs on finds the rest of
/// what had come, though no further edge follows.
#[test]
fn a_panic_in_the_callback_loses_one_datagram() {
    let (told, came) = mpsc::channel();
    let mail = Mail::default().on_datagram(move |_, datagram| {
        assert!(datagram.payload != b"bad", "as it is meant to");
        told.send(datagram.payload.to_vec()).unwrap();
    });
    let mut reactor = Reactor::new(mail).unwrap();
    let id = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let client = client("127.0.0.1:0");
    for what in ["bad", "good", "bad", "fine"] {
        client
            .send_to(what.as_bytes(), reactor.datagram_addr(id).unwrap().socket_addr().unwrap())
            .unwrap();
    }
    for _ in 0..2 {
        let turn = std::panic::AssertUnwindSafe(|| {
            loop {
                reactor.turn(Some(DEADLINE)).unwrap();
            }
        });
        std::panic::catch_unwind(turn).unwrap_err();
    }
    reactor.turn(Some(DEADLINE)).unwrap();
    assert_eq!(came.try_iter().collect::<Vec<_>>(), [b"good", b"fine"]);
}

/// Each socket of a port gets its share, and what one gets the others do not.
#[test]
fn sockets_share_a_port_where_both_say_so() {
    let first = Bind::from("127.0.0.1:0").reuse_port(true);
    let office = Office::open(echo(), [first]);
    let at = office.addr(0);
    let refused = office.ask(move |cx| cx.bind_datagram(at).unwrap_err().kind());
    assert_eq!(refused, ErrorKind::AddrInUse);
    office.ask(move |cx| cx.bind_datagram(Bind::from(at).reuse_port(true)).unwrap());
    for _ in 0..20 {
        let client = client("127.0.0.1:0");
        client.send_to(b"any", at).unwrap();
        assert_eq!(client.recv(&mut [0; 9]).unwrap(), 3);
    }
    assert_eq!(office.end().datagrams_in, 20);
}

/// The kernel's buffers are as asked for; Linux doubles the number.
#[test]
fn buffers_are_set() {
    let bind = Bind::from("127.0.0.1:0").recv_buffer(20_000).send_buffer(30_000);
    let office = Office::open(Mail::default(), [bind]);
    let socket = office.ids[0];
    let sizes = office.ask(move |cx| {
        let fd = cx.datagram_fd(socket).unwrap();
        let socket = SockRef::from(&fd);
        (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap())
    });
    assert!(sizes == (40_000, 60_000) || sizes == (20_000, 30_000), "{sizes:?}");
    office.end();
}

/// Promise 6: with nothing to do a reactor with sockets rests.
#[test]
fn sockets_with_nothing_to_do_cost_no_turns() {
    let name = path("rest");
    let office =
        Office::open(echo(), ["127.0.0.1:0".into(), format!("unix:{}", name.display()).into()]);
    let client = client("127.0.0.1:0");
    client.send_to(b"x", office.addr(0)).unwrap();
    assert_eq!(client.recv(&mut [0; 9]).unwrap(), 1);
    office.assert_at_rest();
    office.end();
}

/// A listener's address and a socket's may be the same: TCP and UDP have ports of their own.
#[test]
fn tcp_and_udp_share_a_number() {
    let mail = echo();
    let tcp: TcpListener = listener();
    let at = tcp.local_addr().unwrap();
    let Ok(udp) = UdpSocket::bind(at) else {
        return println!("skipped: {at} is taken for UDP");
    };
    let mut reactor = Reactor::new(mail).unwrap();
    reactor.listen(tcp).unwrap();
    let id = reactor.bind_datagram(udp).unwrap();
    assert_eq!(reactor.datagram_addr(id).unwrap(), Address::from(at));
}
