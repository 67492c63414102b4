//! A server behind a proxy, each byte of whose header is where a test wants it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wouldblock::{Config, Connect, Listen, Reactor, handler_fn};
use wouldblock_proxy_protocol::{Accept, Header};

use crate::served::*;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n";

fn v2() -> Vec<u8> {
    header("192.0.2.1:1234").authority("example.com").alpn("h2").unique_id("id").encode().unwrap()
}

fn header(from: &str) -> Header {
    Header::v2(from.parse().unwrap(), "198.51.100.2:443".parse().unwrap())
}

/// A header and what the client has sent, in one segment: the handler sees the client, and its bytes alone.
#[test]
fn a_header_and_the_first_bytes_may_come_together() {
    let served = Served::start();
    let answer = ask(served.connect(), &[LINE, REQUEST].concat());
    let told = "peer 192.0.2.1:1234\nto 198.51.100.2:443\nversion V1\nlocal false\n";
    let told = format!("{told}name -\nalpn -\nid -\ntls -\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer, told);
    let answer = ask(served.connect(), &[&v2(), REQUEST].concat());
    let told = "peer 192.0.2.1:1234\nto 198.51.100.2:443\nversion V2\nlocal false\n";
    let told = format!("{told}name example.com\nalpn h2\nid id\ntls -\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer, told);
    for _ in 0..2 {
        assert!(served.closed().clean);
    }
    served.end();
}

/// A slow proxy: each byte is a segment of its own, as far as a kernel lets that be.
#[test]
fn a_header_may_come_a_byte_at_a_time() {
    let served = Served::start();
    for bytes in [LINE, &v2()] {
        let mut stream = served.connect();
        for byte in bytes.iter().chain(REQUEST) {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(line(&rest(stream), "peer"), "192.0.2.1:1234");
        served.closed();
    }
    served.end();
}

/// Trap: a second header is the client's, who may write what it likes.
#[test]
fn a_second_header_is_the_clients() {
    let served = Served::start();
    let other = b"PROXY TCP4 203.0.113.9 198.51.100.2 1 443\r\n";
    let answer = ask(served.connect(), &[LINE, other, REQUEST].concat());
    assert_eq!(line(&answer, "peer"), "192.0.2.1:1234");
    assert!(answer.contains("\nPROXY TCP4 203.0.113.9 198.51.100.2 1 443\r\nGET "), "{answer}");
    served.closed();
    served.end();
}

/// Whoever is not trusted is refused before its first byte is read.
#[test]
fn a_header_from_elsewhere_is_not_even_read() {
    let accept = Accept::trusting(["10.0.0.0/8", "unix"]).unwrap();
    let served = Served::of(&accept, Config::default());
    let mut stream = served.connect();
    // It may be reset before that.
    let _ = stream.write_all(LINE);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(served.end().refused, 1);
}

/// Where others are served too, their header is what a client has sent, and their address the socket's.
#[test]
fn others_are_served_by_their_own_address_if_that_is_asked_for() {
    let accept = Accept::trusting(["10.0.0.0/8"]).unwrap().serve_others();
    let served = Served::of(&accept, Config::default());
    let stream = served.connect();
    let ours = stream.local_addr().unwrap().to_string();
    let answer = ask(stream, &[LINE, REQUEST].concat());
    assert_eq!((line(&answer, "peer"), line(&answer, "version")), (&*ours, "-"));
    assert!(answer.contains("\nPROXY TCP4 192.0.2.1 "), "{answer}");
    served.closed();
    served.end();
}

/// A port scanner, a client that has come past the proxy, one that says nothing: none is a client,
/// and none has a callback.
#[test]
fn what_sends_no_header_is_untold_and_counted() {
    let config = Config::default().handshake(Duration::from_millis(50));
    let served = Served::of(&Accept::trusting(["127.0.0.1"]).unwrap(), config);
    drop(served.connect());
    for garbage in [REQUEST, b"\x16\x03\x01\x02\0", b"\r\n", b"PROXY\r\n", &LINE[..20], b""] {
        let mut stream = served.connect();
        stream.write_all(garbage).unwrap();
        // An end, or a reset if some was not read; never a byte.
        match stream.read(&mut [0]) {
            Ok(n) => assert_eq!(n, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    assert_eq!(served.end().handshakes_failed, 7);
}

/// The limit of an address counts the client, not the proxy, through which all of them come.
#[test]
fn the_limit_of_an_address_counts_the_client() {
    let config = Config::default().connections_per_address(Some(1));
    let served = Served::of(&Accept::trusting(["127.0.0.1"]).unwrap(), config);
    let mut clients = Vec::new();
    for client in ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"] {
        let mut stream = served.connect();
        stream.write_all(&header(client).encode().unwrap()).unwrap();
        clients.push(stream);
    }
    // Those that are there hold their places, also if they are seen later: one of each pair is refused.
    for again in ["[::ffff:192.0.2.1]:2", "[2001:db8::2]:2"] {
        let mut stream = served.connect();
        stream.write_all(&header(again).encode().unwrap()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    // The proxy's own connections are not counted.
    let locals = [served.connect(), served.connect()];
    for (mut stream, peer) in clients.into_iter().zip(["192.0.2.1", "192.0.2.2", "[2001:db8::1]"]) {
        stream.write_all(REQUEST).unwrap();
        assert_eq!(line(&rest(stream), "peer"), format!("{peer}:1"));
        served.closed();
    }
    for mut stream in locals {
        stream.write_all(&Header::local().encode().unwrap()).unwrap();
        let ours = stream.local_addr().unwrap().to_string();
        let answer = ask(stream, REQUEST);
        assert_eq!((line(&answer, "peer"), line(&answer, "local")), (&*ours, "true"));
        served.closed();
    }
    assert_eq!(served.end().refused_address, 2);
}

/// A proxy that does not know its client, or speaks for itself: the address is the socket's.
#[test]
fn a_header_without_an_address_keeps_the_real_one() {
    let served = Served::start();
    let unspecified = [&Header::local().encode().unwrap()[..12], b"\x21\0\0\0"].concat();
    for (bytes, local) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), "false"),
        (unspecified, "false"),
        (Header::local().encode().unwrap(), "true"),
    ] {
        let stream = served.connect();
        let ours = stream.local_addr().unwrap().to_string();
        let answer = ask(stream, &[&bytes, REQUEST].concat());
        assert_eq!((line(&answer, "peer"), line(&answer, "local")), (&*ours, local));
        assert_eq!(line(&answer, "to"), "-");
        served.closed();
    }
    served.end();
}

/// The proxy on the same machine: by a Unix socket, if that is trusted.
#[test]
fn a_proxy_may_come_by_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("proxy-protocol-{}.sock", std::process::id()));
    let listen = || Listen::from(format!("unix:{}", path.display()));
    let trusted = Accept::trusting(["unix"]).unwrap();
    let served = Served::on(listen().layer(trusted.layer()), Config::default());
    let stream = UnixStream::connect(&path).unwrap();
    let answer = ask(stream, &[LINE, REQUEST].concat());
    assert_eq!(line(&answer, "peer"), "192.0.2.1:1234");
    served.closed();
    served.end();

    let other = Accept::trusting(["127.0.0.1"]).unwrap();
    let served = Served::on(listen().layer(other.layer()), Config::default());
    let mut stream = UnixStream::connect(&path).unwrap();
    let _ = stream.write_all(LINE);
    assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    assert_eq!(served.end().refused, 1);
}

/// Trap: a listener on `[::]` sees a proxy of IPv4 as `::ffff:127.0.0.1`.
#[test]
fn a_proxy_of_ipv4_is_trusted_on_a_listener_of_both() {
    let trusted = Accept::trusting(["127.0.0.0/8"]).unwrap();
    let listen = Listen::from("[::]:0").only_v6(false).layer(trusted.layer());
    let served = Served::on(listen, Config::default());
    let answer = ask(served.connect(), &[LINE, REQUEST].concat());
    assert_eq!(line(&answer, "peer"), "192.0.2.1:1234");
    served.closed();
    served.end();
}

/// A connect sends the header before all else, and is one without a layer behind it.
#[test]
fn a_connect_sends_the_header_first() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    for header in
        [Header::v1("[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap()), header("192.0.2.1:1")]
    {
        let connect = Connect::from(to).layer(header.layer().unwrap());
        let handler = handler_fn(|conn, input| {
            assert_eq!(input.take_all(), b"welcome");
            // Refused to one that has a layer.
            conn.detach(drop);
            conn.cx().shutdown();
            Ok(())
        });
        let mut reactor = Reactor::new(handler).unwrap();
        reactor.connect(connect, 0).unwrap();
        let server = std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = socket.accept().unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut bytes = vec![0; header.encode().unwrap().len()];
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(b"welcome").unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                bytes
            });
            reactor.run().unwrap();
            server.join().unwrap()
        });
        assert_eq!(server, header.encode().unwrap());
    }
}
