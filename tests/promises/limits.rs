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
fn assert_reset(client: &mut TcpStream) {
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
        assert_reset(&mut server.connect());
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
    assert_reset(&mut connect(SocketAddr::from(([127, 0, 0, 1], port))));
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
