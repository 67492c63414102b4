//! Sockets that come from outside, and descriptors that go there: what is promised of sockets made
//! here is true of them, and no duplicate keeps a peer or the poll from seeing an end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::SockRef;
use wouldblock::{Config, Conn, Listen, Reactor};

use crate::support::*;

/// A name in the abstract namespace, for this process and test alone.
fn abstract_name(test: &str) -> std::os::unix::net::SocketAddr {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("wouldblock-{test}-{}", std::process::id());
    std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
}

// ---- the backlog of an existing listener --------------------------------------------------------

/// Promise 2, trap 25: who waits at a listener that was handed in is served at shutdown, however deep
/// its backlog is and whatever `backlog` says now.
#[test]
fn whoever_waits_at_an_existing_listener_is_served_at_shutdown() {
    for backlog in [None, Some(0), Some(1), Some(200)] {
        let with = |listen: Listen| match backlog {
            Some(backlog) => listen.backlog(backlog),
            None => listen,
        };
        let listener = deep_listener(300);
        let addr = listener.local_addr().unwrap();
        let name = abstract_name(&format!("waiting-{backlog:?}"));
        let unix = UnixListener::bind_addr(&name).unwrap();
        let mut clients: Vec<_> = (0..100).map(|_| connect(addr)).collect();
        let mut locals: Vec<_> =
            (0..100).map(|_| UnixStream::connect_addr(&name).unwrap()).collect();
        for (client, local) in clients.iter_mut().zip(&mut locals) {
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            local.write_all(b"hello").unwrap();
            local.shutdown(Shutdown::Write).unwrap();
        }
        let mut reactor = Reactor::new(echo()).unwrap();
        reactor.listen(with(listener.into())).unwrap();
        reactor.listen(with(unix.into())).unwrap();
        reactor.shutdown();
        reactor.run().unwrap();
        assert_eq!(reactor.stats().accepted, 200, "{backlog:?}");
        for (mut client, mut local) in clients.into_iter().zip(locals) {
            assert_eq!(read_to_end(&mut client), b"hello");
            let mut said = Vec::new();
            local.read_to_end(&mut said).unwrap();
            assert_eq!(said, b"hello");
        }
    }
}

/// `backlog` on an existing listener is the kernel's, not ours alone.
#[test]
fn a_backlog_said_of_an_existing_listener_is_told_to_the_kernel() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let (listener, name) = (deep_listener(100), abstract_name("told"));
    let unix = UnixListener::bind_addr(&name).unwrap();
    let addr = socket2::SockAddr::from(listener.local_addr().unwrap());
    reactor.listen(Listen::from(listener).backlog(2)).unwrap();
    reactor.listen(Listen::from(unix).backlog(2)).unwrap();
    // Linux lets one more wait than it was told; nobody accepts, since the reactor does not run.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let client =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&addr);
            client
        })
        .collect();
    let connected = || clients.iter().filter(|client| client.peer_addr().is_ok()).count();
    wait_until("three are connected", || connected() >= 3);
    watch(Duration::from_millis(100));
    assert_eq!(connected(), 3);
    let mut locals = Vec::new();
    let refused = loop {
        let local =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        local.set_nonblocking(true).unwrap();
        let to = socket2::SockAddr::unix(name_as_path(&name)).unwrap();
        match local.connect(&to) {
            Ok(()) => locals.push(local),
            Err(error) => break error,
        }
        assert!(locals.len() < 10);
    };
    assert_eq!((locals.len(), refused.kind()), (3, ErrorKind::WouldBlock));
}

fn name_as_path(name: &std::os::unix::net::SocketAddr) -> std::path::PathBuf {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStringExt;
    let name = [&[0], name.as_abstract_name().unwrap()].concat();
    std::ffi::OsString::from_vec(name).into()
}

/// Promise 7: a socket that is not what it was handed in as is refused with the reason, not deaf.
#[test]
fn what_is_not_the_socket_it_should_be_is_refused() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let bound = || {
        let addr: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&addr.into()).unwrap();
        TcpListener::from(socket)
    };
    let error = reactor.listen(bound()).unwrap_err();
    assert!(error.to_string().contains("it does not listen"), "{error}");
    reactor.listen(Listen::from(bound()).backlog(7)).unwrap();
    let datagrams = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let error = reactor.listen(TcpListener::from(datagrams())).unwrap_err();
    assert!(error.to_string().contains("it is not a stream socket"), "{error}");
    let error = reactor.bind_datagram(UdpSocket::from(OwnedFd::from(bound()))).unwrap_err();
    assert!(error.to_string().contains("it is not a datagram socket"), "{error}");
    let (one, _other) = UnixDatagram::pair().unwrap();
    let error = reactor.adopt(UnixStream::from(OwnedFd::from(one)), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Promise 7: what is refused is as it was: a duplicate of it may be in use elsewhere.
#[test]
fn what_is_refused_as_a_listener_is_untouched() {
    let tcp = |socket| Listen::from(TcpListener::from(socket));
    let unix = |socket| Listen::from(UnixListener::from(socket));
    let stream = || {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        OwnedFd::from(socket)
    };
    // Another kind that listens, once bound.
    let packets = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None);
    let packets = packets.unwrap();
    packets
        .bind(&socket2::SockAddr::unix(name_as_path(&abstract_name("packets"))).unwrap())
        .unwrap();
    let (one, _other) = tcp_pair();
    let (local, _other_local) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cases = [
        (stream(), unix as fn(OwnedFd) -> Listen, "it is not a Unix socket"),
        (packets.into(), unix, "it is not a stream socket"),
        (one.into(), tcp, "it is connected"),
        (local.into(), unix, "it is connected"),
        (udp.into(), tcp, "it is not a stream socket"),
    ];
    let mut reactor = Reactor::new(echo()).unwrap();
    for (socket, listen, refusal) in cases {
        let copy = socket.try_clone().unwrap();
        let of = SockRef::from(&copy);
        let state = || {
            let listens = rustix::net::sockopt::socket_acceptconn(&copy).unwrap();
            let buffer = of.recv_buffer_size().unwrap();
            (listens, buffer, of.nonblocking().unwrap(), of.local_addr().unwrap())
        };
        let before = state();
        let listen = listen(socket).backlog(7).recv_buffer(before.1);
        let error = reactor.listen(listen).unwrap_err();
        assert!(error.to_string().contains(refusal), "{error}");
        assert_eq!(state(), before, "{refusal}");
    }
}

/// Promise 7, trap 71: what is TCP and what is Unix is told apart, whatever the type says: a short read
/// proves nothing on the one, and the other can be reset.
#[test]
fn what_is_of_another_family_than_its_type_is_refused() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let error = reactor.adopt(TcpStream::from(OwnedFd::from(one)), 1).unwrap_err();
    assert!(error.to_string().contains("it is not an IP socket"), "{error}");
    let (one, _other) = tcp_pair();
    let error = reactor.adopt(UnixStream::from(OwnedFd::from(one)), 1).unwrap_err();
    assert!(error.to_string().contains("it is not a Unix socket"), "{error}");
    let error = reactor.listen(UnixListener::from(OwnedFd::from(listener()))).unwrap_err();
    assert!(error.to_string().contains("it is not a Unix socket"), "{error}");
    let unix = UnixListener::bind_addr(&abstract_name("family")).unwrap();
    let error = reactor.listen(TcpListener::from(OwnedFd::from(unix))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = reactor.bind_datagram(UnixDatagram::from(OwnedFd::from(udp))).unwrap_err();
    assert!(error.to_string().contains("it is not a Unix socket"), "{error}");
    let unix = UnixDatagram::unbound().unwrap();
    let error = reactor.bind_datagram(UdpSocket::from(OwnedFd::from(unix))).unwrap_err();
    assert!(error.to_string().contains("it is not an IP socket"), "{error}");
    // Neither: of a virtual machine (vsock(7)), where the kernel has them.
    #[cfg(target_os = "linux")]
    if let Ok(vsock) = socket2::Socket::new(socket2::Domain::VSOCK, socket2::Type::STREAM, None) {
        let error = reactor.adopt(UnixStream::from(vsock), 1).unwrap_err();
        assert!(error.to_string().contains("it is not a Unix socket"), "{error}");
    }
}

// ---- what is promised of all sockets ------------------------------------------------------------

/// Close-on-exec and non-blocking, whatever they were before: a program that the handler starts
/// inherits nothing, and so keeps no port.
#[test]
fn a_socket_handed_in_is_closed_on_exec_and_does_not_block() {
    let listener = listener();
    let (name, local_name) = (abstract_name("exec"), abstract_name("exec-datagrams"));
    let unix = UnixListener::bind_addr(&name).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixDatagram::bind_addr(&local_name).unwrap();
    let (one, _peer) = UnixStream::pair().unwrap();
    let handed = [listener.as_fd(), unix.as_fd(), udp.as_fd(), local.as_fd(), one.as_fd()];
    for fd in handed {
        fcntl_setfd(fd, FdFlags::empty()).unwrap();
    }
    let names = handed.map(|fd| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        std::fs::read_link(link).unwrap().into_os_string().into_string().unwrap()
    });
    let inherited = || {
        let mut list = Command::new("ls");
        let listed = list.args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        names.iter().filter(|name| listed.contains(name.as_str())).count()
    };
    assert_eq!(inherited(), 5, "as they were handed in");
    let copies = handed.map(|fd| fd.try_clone_to_owned().unwrap());
    let mut reactor = Reactor::new(echo()).unwrap();
    reactor.listen(listener).unwrap();
    reactor.listen(unix).unwrap();
    reactor.bind_datagram(udp).unwrap();
    reactor.bind_datagram(local).unwrap();
    reactor.adopt(one, 1).unwrap();
    assert_eq!(inherited(), 0, "in the reactor");
    for copy in copies {
        assert!(SockRef::from(&copy).nonblocking().unwrap());
    }
}

/// A duplicate that somebody makes blocking does not make the reactor wait.
#[test]
fn a_duplicate_made_blocking_does_not_make_the_reactor_wait() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let script = echo().on_open(move |conn| {
        let duplicate = conn.fd().unwrap().try_clone_to_owned()?;
        SockRef::from(&duplicate).set_nonblocking(false)?;
        *keep.lock().unwrap() = Some(duplicate);
        Ok(())
    });
    // A Unix socket is read until there is nothing.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let server = Server::start_with("127.0.0.1:0", script, Config::default(), |reactor| {
        reactor.adopt(ours, 1).unwrap();
    });
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..3 {
        theirs.write_all(b"hello").unwrap();
        theirs.read_exact(&mut [0; 5]).unwrap();
    }
    let mut other = server.connect();
    ping(&mut other, b"served all the same");
    drop((theirs, other));
    server.end();
}

/// Nor does one of a listener, for which accept(2) knows no such word as recv(2) does; and what is set
/// there to linger is not inherited.
#[test]
fn a_listeners_duplicate_made_blocking_does_not_make_the_reactor_wait() {
    let name = abstract_name("blocking");
    let (tcp, unix) = (listener(), UnixListener::bind_addr(&name).unwrap());
    let copies = [tcp.try_clone().unwrap().into(), OwnedFd::from(unix.try_clone().unwrap())];
    let kept = copies.each_ref().map(|copy| copy.try_clone().unwrap());
    let (told, tells) = std::sync::mpsc::channel();
    let script = echo().on_open(move |conn| {
        told.send(lingers(conn.fd().unwrap())).unwrap();
        Ok(())
    });
    let server = Server::start_with(tcp, script, Config::default(), move |reactor| {
        reactor.listen(unix).unwrap();
        for copy in &copies {
            SockRef::from(copy).set_nonblocking(false).unwrap();
            make_linger(copy);
        }
    });
    for _ in 0..3 {
        let mut local = UnixStream::connect_addr(&name).unwrap();
        local.set_read_timeout(Some(DEADLINE)).unwrap();
        local.write_all(b"hello").unwrap();
        local.read_exact(&mut [0; 5]).unwrap();
        ping(&mut server.connect(), b"served all the same");
        for _ in 0..2 {
            assert!(!tells.recv_timeout(DEADLINE).unwrap());
        }
    }
    drop(kept);
    server.end();
}

// ---- SO_LINGER ----------------------------------------------------------------------------------

fn lingers(fd: impl AsFd) -> bool {
    SockRef::from(&fd).linger().unwrap().is_some()
}

fn make_linger(fd: impl AsFd) {
    SockRef::from(&fd).set_linger(Some(Duration::from_secs(3))).unwrap();
}

/// Promise 1: no close waits in the kernel for one peer, whoever set `SO_LINGER`, and when: on the
/// listener, on one that waits in its backlog, on one that is adopted.
#[test]
fn a_linger_that_comes_from_outside_is_cleared() {
    let listener = listener();
    make_linger(&listener);
    let addr = listener.local_addr().unwrap();
    // The kernel has made its socket before the listener is handed in.
    let waiting = connect(addr);
    let (told, tells) = std::sync::mpsc::channel();
    let script = echo().on_open(move |conn| {
        told.send(lingers(conn.fd().unwrap())).unwrap();
        Ok(())
    });
    let adopted = connect(addr_of(accepting()));
    make_linger(&adopted);
    let server = Server::start_with(listener, script, Config::default(), |reactor| {
        reactor.adopt(adopted, 1).unwrap();
    });
    let later = server.connect();
    for _ in 0..3 {
        assert!(!tells.recv_timeout(DEADLINE).unwrap());
    }
    drop((waiting, later));
    server.end_now();
}

/// A listener that accepts nobody, for as long as the process runs.
fn accepting() -> &'static TcpListener {
    Box::leak(Box::new(listener()))
}

fn addr_of(listener: &TcpListener) -> std::net::SocketAddr {
    listener.local_addr().unwrap()
}

/// What the handler sets by way of `fd` does not make the close wait: it is cleared before. Nor does
/// a time of zero make an orderly close a reset.
#[test]
fn a_linger_set_by_the_handler_is_cleared_before_the_close() {
    for time in [Duration::from_secs(3), Duration::ZERO] {
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let script = echo().on_data(move |conn, input| {
            let fd = conn.fd().unwrap().try_clone_to_owned()?;
            SockRef::from(&fd).set_linger(Some(time))?;
            *keep.lock().unwrap() = Some(fd);
            conn.send(input.take_all());
            conn.close();
            Ok(())
        });
        let server = Server::start(script, Config::default());
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        assert_eq!(read_to_end(&mut client), b"hello");
        drop(client);
        server.record.wait_close();
        assert!(!lingers(kept.lock().unwrap().as_ref().unwrap()));
        server.end();
    }
}

// ---- duplicates that live on --------------------------------------------------------------------

/// Trap 18: to close is not to deregister while a duplicate lives. A listener and a datagram socket
/// that are taken in, closed and taken in again are served each time, and wake nobody in between.
#[test]
fn what_was_closed_can_be_handed_in_again_while_a_duplicate_lives() {
    let (tcp, name, local_name) =
        (listener(), abstract_name("again"), abstract_name("again-datagrams"));
    let unix = UnixListener::bind_addr(&name).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixDatagram::bind_addr(&local_name).unwrap();
    let mut reactor = Reactor::new(echo()).unwrap();
    for _ in 0..3 {
        let listeners = [
            reactor.listen(tcp.try_clone().unwrap()).unwrap(),
            reactor.listen(unix.try_clone().unwrap()).unwrap(),
        ];
        let sockets = [
            reactor.bind_datagram(udp.try_clone().unwrap()).unwrap(),
            reactor.bind_datagram(local.try_clone().unwrap()).unwrap(),
        ];
        for id in listeners {
            assert!(reactor.close_listener(id));
        }
        for id in sockets {
            assert!(reactor.close_datagram(id));
        }
        let ended = reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(ended, "it goes on");
        // News for what is closed here, and lives on outside: a poll that waits is not woken.
        let mut clients = Vec::new();
        assert_rests(&mut reactor, || {
            clients.push((connect(addr_of(&tcp)), UnixStream::connect_addr(&name).unwrap()));
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"?", udp.local_addr().unwrap()).unwrap();
            let client = UnixDatagram::unbound().unwrap();
            client.set_nonblocking(true).unwrap();
            // Ten fit, since nobody reads.
            let _ = client.send_to_addr(b"?", &local_name);
        });
    }
    reactor.listen(tcp).unwrap();
    reactor.shutdown();
    reactor.run().unwrap();
    assert_eq!(reactor.stats().accepted, 15, "those who came between wait in the backlog");
}

/// Fails if the poll is woken by this.
#[track_caller]
fn assert_rests<H: wouldblock::Handler>(reactor: &mut Reactor<H>, mut news: impl FnMut()) {
    // What was left to do.
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let window = Duration::from_millis(50);
    for _ in 0..5 {
        news();
        let start = std::time::Instant::now();
        reactor.turn(Some(window)).unwrap();
        // A turn that is not woken waits for as long as it may.
        assert!(start.elapsed() >= window, "the poll was woken for nothing");
    }
}

/// How a connection is told to end.
type Verb = fn(&mut Conn<'_>);

/// A server that keeps a duplicate of each connection, and ends it by the verb when it hears of it.
fn keeping(end: Verb) -> (Script, Arc<Mutex<Vec<OwnedFd>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let script = echo().on_data(move |conn, input| {
        if input.take_all() == b"end" {
            keep.lock().unwrap().push(conn.fd().unwrap().try_clone_to_owned()?);
            end(conn);
        } else {
            conn.send("here");
        }
        Ok(())
    });
    (script, kept)
}

/// Trap 18: a connection that is closed wakes nobody, though a duplicate lives and its peer goes on
/// sending.
#[test]
fn a_closed_connection_whose_duplicate_lives_does_not_wake_the_reactor() {
    let (script, kept) = keeping(|conn| {
        conn.close();
    });
    let mut reactor =
        Reactor::with_config(script, Config::default().linger(Duration::ZERO)).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let (mut one, mut other) = UnixStream::pair().unwrap();
    let also = one.try_clone().unwrap();
    reactor.adopt(one.try_clone().unwrap(), 1).unwrap();
    let mut client = connect(addr);
    client.write_all(b"end").unwrap();
    other.write_all(b"end").unwrap();
    while reactor.stats().closed.total() < 2 {
        reactor.turn(Some(DEADLINE)).unwrap();
    }
    assert_eq!(kept.lock().unwrap().len(), 2);
    one.set_nonblocking(true).unwrap();
    assert_rests(&mut reactor, || {
        let _ = client.write_all(b"more");
        let _ = other.write_all(b"more");
        let _ = one.read(&mut [0; 10]);
    });
    drop(also);
}

/// Promise 7: an abort is a reset to the peer at once, though a duplicate lives; a Unix peer sees the
/// end. The same when the reactor is told to end now.
#[test]
fn an_abort_tells_the_peer_at_once_though_a_duplicate_lives() {
    let ways: [Verb; 2] = [
        |conn| {
            conn.abort();
        },
        |conn| conn.cx().shutdown_now(),
    ];
    for end in ways {
        let (script, kept) = keeping(end);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (adopted, mut peer) = tcp_pair();
        let (also, again) = (ours.try_clone().unwrap(), adopted.try_clone().unwrap());
        let server = Server::start_with("127.0.0.1:0", script, Config::default(), |reactor| {
            reactor.adopt(ours, 1).unwrap();
            reactor.adopt(adopted, 2).unwrap();
        });
        let mut client = server.connect();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        // All three are open before any is ended.
        ping_here(&mut client);
        ping_here(&mut peer);
        ping_here(&mut theirs);
        client.write_all(b"end").unwrap();
        let _ = peer.write_all(b"end");
        let _ = theirs.write_all(b"end");
        for stream in [&mut client, &mut peer] {
            let (said, how) = read_until_gone(stream);
            assert_eq!(said, b"", "nothing but the reset");
            assert_eq!(how.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        let mut buf = [0; 10];
        match theirs.read(&mut buf) {
            Ok(n) => assert_eq!(n, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(!kept.lock().unwrap().is_empty());
        drop((also, again));
        server.end_now();
    }
}

fn ping_here(peer: &mut (impl Read + Write)) {
    peer.write_all(b"?").unwrap();
    let mut said = [0; 4];
    peer.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"here");
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = listener();
    let client = connect(addr_of(&listener));
    (listener.accept().unwrap().0, client)
}

/// An end that needs no reset, and no FIN before it either, is told at once too: here of the longest
/// idle, whose place another gets.
#[test]
fn a_place_taken_back_tells_the_peer_though_a_duplicate_lives() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let script = echo().on_open(move |conn| {
        keep.lock().unwrap().push(conn.fd().unwrap().try_clone_to_owned()?);
        Ok(())
    });
    let config = Config::default().connections(1).reclaim_idle(Some(Duration::from_millis(1)));
    let server = Server::start(script, config);
    let mut first = server.connect();
    ping(&mut first, b"here");
    watch(Duration::from_millis(5));
    let mut second = server.connect();
    ping(&mut second, b"here too");
    assert_eq!(read_to_end(&mut first), b"");
    drop(second);
    server.end();
    assert_eq!(kept.lock().unwrap().len(), 2);
}

// ---- ids and the handle -------------------------------------------------------------------------

/// Promise 3: an id of one reactor means nothing to another, however many there were.
#[test]
fn an_id_is_never_given_again_by_a_later_reactor() {
    let mut listeners = std::collections::HashSet::new();
    let mut sockets = std::collections::HashSet::new();
    let mut timers = std::collections::HashSet::new();
    for _ in 0..300 {
        let (told, tells) = std::sync::mpsc::channel();
        let script = echo().on_start(move |cx| {
            told.send(cx.set_timer(Duration::from_secs(3600), 0)).unwrap();
            Ok(())
        });
        let mut reactor = Reactor::new(script).unwrap();
        assert!(listeners.insert(reactor.listen("127.0.0.1:0").unwrap()));
        assert!(sockets.insert(reactor.bind_datagram("127.0.0.1:0").unwrap()));
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!(timers.insert(tells.recv().unwrap()));
    }
}

/// Promise 4: a handle that outlives its reactor keeps nothing of it open.
#[test]
fn a_handle_keeps_no_descriptor_open() {
    child::run("handed_in::child_with_handles");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_with_handles() {
    if !child::is_running("handed_in::child_with_handles") {
        return;
    }
    let before = child::own_descriptors();
    let handles: Vec<_> = (0..10)
        .map(|_| {
            let mut reactor = Reactor::new(echo()).unwrap();
            let handle = reactor.handle();
            reactor.shutdown();
            reactor.run().unwrap();
            handle
        })
        .collect();
    assert_eq!(child::own_descriptors(), before);
    for handle in handles {
        handle.shutdown();
        assert!(handle.post(|_, _| ()).unwrap_err().is_ended());
    }
}

// ---- a reactor that is dropped ------------------------------------------------------------------

/// Promises 2 and 4: whoever drops the reactor tells each peer of it, though duplicates live: by a reset
/// if something is owed, else by the end.
#[test]
fn a_reactor_that_is_dropped_tells_the_peers_though_duplicates_live() {
    for owes in [false, true] {
        let script = echo().on_open(move |conn| {
            if owes {
                conn.send(vec![7; 3 * MIB]);
            }
            Ok(())
        });
        let record = script.record();
        let mut reactor = Reactor::new(script).unwrap();
        let (ours, mut tcp) = tcp_pair();
        SockRef::from(&ours).set_send_buffer_size(1).unwrap();
        let (mut unix, our_unix) = UnixStream::pair().unwrap();
        let kept = (ours.try_clone().unwrap(), our_unix.try_clone().unwrap());
        reactor.adopt(ours, 0).unwrap();
        reactor.adopt(our_unix, 1).unwrap();
        while record.opens().len() < 2 {
            reactor.turn(Some(Duration::from_millis(1))).unwrap();
        }
        drop(reactor);
        let (got, end) = read_until_gone(&mut tcp);
        assert!(got.len() < 3 * MIB);
        assert_eq!(end.is_err(), owes);
        let mut got = Vec::new();
        unix.set_read_timeout(Some(DEADLINE)).unwrap();
        unix.read_to_end(&mut got).unwrap();
        assert!(got.len() < 3 * MIB);
        drop(kept);
    }
}
