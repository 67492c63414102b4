//! Options and limits: each is honoured or refused by name, for every target and at every extreme.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use wouldblock::{Address, Bind, Config, Connect, Interface, Keepalive, Listen, Reactor};

use crate::support::*;

/// A folder for sockets, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("wouldblock-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn name(&self, file: &str) -> String {
        format!("unix:{}", self.0.join(file).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a table says of an option and a target: `+` it is honoured, `-` it is refused.
fn verdict<T>(answer: &io::Result<T>) -> char {
    match answer {
        Ok(_) => '+',
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            '-'
        }
    }
}

/// Compares what was found with a table, row by row.
#[track_caller]
fn assert_table(found: &str, table: &str) {
    let rows = |table: &str| {
        let words = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
        table.lines().map(words).filter(|row| !row.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(rows(found), rows(table));
}

type OfListen = fn(Listen) -> Listen;

/// Promise 7: no option is ignored. What a target cannot have is refused, with the reason.
#[test]
fn each_option_of_listen_is_honoured_or_refused_by_each_target() {
    let folder = Folder::new("listen-options");
    let name = format!("unix:@wouldblock-options-{}", std::process::id());
    let targets = || -> Vec<Listen> {
        let path = folder.0.join("existing");
        let _ = std::fs::remove_file(&path);
        vec![
            "127.0.0.1:0".into(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            "[::1]:0".into(),
            folder.name("socket").into(),
            name.clone().into(),
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            TcpListener::bind("[::1]:0").unwrap().into(),
            TcpListener::bind("[::]:0").unwrap().into(),
            UnixListener::bind(path).unwrap().into(),
        ]
    };
    let options: [(&str, OfListen); 24] = [
        ("backlog(0)", |listen| listen.backlog(0)),
        ("backlog(MAX)", |listen| listen.backlog(u32::MAX)),
        ("nodelay(true)", |listen| listen.nodelay(true)),
        ("nodelay(false)", |listen| listen.nodelay(false)),
        ("keepalive(true)", |listen| listen.keepalive(true)),
        ("keepalive(false)", |listen| listen.keepalive(false)),
        ("keepalive(1ms)", |listen| listen.keepalive(Keepalive::after(MILLISECOND).probes(127))),
        ("keepalive(0s)", |listen| listen.keepalive(Keepalive::after(Duration::ZERO))),
        ("every(MAX)", |listen| listen.keepalive(Keepalive::from(true).every(Duration::MAX))),
        ("probes(0)", |listen| listen.keepalive(Keepalive::from(true).probes(0))),
        ("only_v6(true)", |listen| listen.only_v6(true)),
        ("only_v6(false)", |listen| listen.only_v6(false)),
        ("reuse_port(true)", |listen| listen.reuse_port(true)),
        ("reuse_port(false)", |listen| listen.reuse_port(false)),
        ("recv_buffer(0)", |listen| listen.recv_buffer(0)),
        ("recv_buffer(MAX)", |listen| listen.recv_buffer(usize::MAX)),
        ("send_buffer(0)", |listen| listen.send_buffer(0)),
        ("send_buffer(MAX)", |listen| listen.send_buffer(usize::MAX)),
        ("device(lo)", |listen| listen.device("lo")),
        ("device()", |listen| listen.device("")),
        ("device(16 bytes)", |listen| listen.device("0123456789abcdef")),
        ("mode(0)", |listen| listen.mode(0)),
        ("mode(0o7777)", |listen| listen.mode(0o7777)),
        ("mode(0o10000)", |listen| listen.mode(0o10000)),
    ];
    let mut found = String::new();
    for (option, set) in options {
        write!(found, "{option}").unwrap();
        for target in targets() {
            let mut reactor = Reactor::new(echo()).unwrap();
            write!(found, " {}", verdict(&reactor.listen(set(target)))).unwrap();
        }
        found.push('\n');
    }
    // By name: IPv4, an address of it, IPv6, a path, an abstract name. Existing: IPv4, IPv6 (one
    // address, which Linux binds for IPv6 only; and any, which has IPv4 too), a path.
    assert_table(
        &found,
        "
        backlog(0)         +  +  +  +  +    +  +  +  +
        backlog(MAX)       +  +  +  +  +    +  +  +  +
        nodelay(true)      +  +  +  +  +    +  +  +  +
        nodelay(false)     +  +  +  +  +    +  +  +  +
        keepalive(true)    +  +  +  +  +    +  +  +  +
        keepalive(false)   +  +  +  +  +    +  +  +  +
        keepalive(1ms)     +  +  +  +  +    +  +  +  +
        keepalive(0s)      -  -  -  -  -    -  -  -  -
        every(MAX)         -  -  -  -  -    -  -  -  -
        probes(0)          -  -  -  -  -    -  -  -  -
        only_v6(true)      -  -  +  -  -    -  +  -  -
        only_v6(false)     +  +  +  +  +    +  +  +  +
        reuse_port(true)   +  +  +  -  -    +  +  +  -
        reuse_port(false)  +  +  +  +  +    +  +  +  +
        recv_buffer(0)     +  +  +  +  +    +  +  +  +
        recv_buffer(MAX)   +  +  +  +  +    +  +  +  +
        send_buffer(0)     +  +  +  +  +    +  +  +  +
        send_buffer(MAX)   +  +  +  +  +    +  +  +  +
        device(lo)         +  +  +  -  -    +  +  +  -
        device()           -  -  -  -  -    -  -  -  -
        device(16 bytes)   -  -  -  -  -    -  -  -  -
        mode(0)            -  -  -  +  -    -  -  -  -
        mode(0o7777)       -  -  -  +  -    -  -  -  -
        mode(0o10000)      -  -  -  -  -    -  -  -  -
        ",
    );
}

type OfBind = fn(Bind) -> Bind;

/// The same of datagram sockets.
#[test]
fn each_option_of_bind_is_honoured_or_refused_by_each_target() {
    let folder = Folder::new("bind-options");
    let name = format!("unix:@wouldblock-bind-options-{}", std::process::id());
    let targets = || -> Vec<Bind> {
        let path = folder.0.join("existing");
        let _ = std::fs::remove_file(&path);
        vec![
            "127.0.0.1:0".into(),
            "[::1]:0".into(),
            folder.name("socket").into(),
            name.clone().into(),
            Bind::unnamed_unix(),
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            UdpSocket::bind("[::1]:0").unwrap().into(),
            UdpSocket::bind("[::]:0").unwrap().into(),
            UnixDatagram::bind(path).unwrap().into(),
        ]
    };
    let options: [(&str, OfBind); 24] = [
        ("connect(v4)", |bind| bind.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))),
        ("connect(v6)", |bind| bind.connect(SocketAddr::from((Ipv6Addr::LOCALHOST, 9)))),
        ("connect(nowhere)", |bind| bind.connect(Address::Unnamed)),
        ("broadcast(true)", |bind| bind.broadcast(true)),
        ("broadcast(false)", |bind| bind.broadcast(false)),
        ("join(v4)", |bind| bind.join(Ipv4Addr::new(239, 255, 66, 67), LOOPBACK)),
        ("join(nothing)", |bind| bind.join(IpAddr::from([127, 0, 0, 1]), Interface::Any)),
        ("interface(any)", |bind| bind.multicast_interface(Interface::Any)),
        ("interface(v4)", |bind| bind.multicast_interface(LOOPBACK)),
        ("ttl(0)", |bind| bind.multicast_ttl(0)),
        ("ttl(255)", |bind| bind.multicast_ttl(255)),
        ("loop(true)", |bind| bind.multicast_loop(true)),
        ("only_v6(true)", |bind| bind.only_v6(true)),
        ("only_v6(false)", |bind| bind.only_v6(false)),
        ("reuse_address(true)", |bind| bind.reuse_address(true)),
        ("reuse_port(true)", |bind| bind.reuse_port(true)),
        ("recv_buffer(0)", |bind| bind.recv_buffer(0)),
        ("recv_buffer(MAX)", |bind| bind.recv_buffer(usize::MAX)),
        ("send_buffer(0)", |bind| bind.send_buffer(0)),
        ("send_buffer(MAX)", |bind| bind.send_buffer(usize::MAX)),
        ("device(lo)", |bind| bind.device("lo")),
        ("mode(0)", |bind| bind.mode(0)),
        ("mode(0o7777)", |bind| bind.mode(0o7777)),
        ("mode(0o10000)", |bind| bind.mode(0o10000)),
    ];
    let mut found = String::new();
    for (option, set) in options {
        write!(found, "{option}").unwrap();
        for target in targets() {
            let mut reactor = Reactor::new(echo()).unwrap();
            write!(found, " {}", verdict(&reactor.bind_datagram(set(target)))).unwrap();
        }
        found.push('\n');
    }
    // By name: IPv4, IPv6, a path, an abstract name, none. Existing: IPv4, IPv6 (one
    // address, and any), a path.
    assert_table(
        &found,
        "
        connect(v4)          +  -  -  -  -    +  -  -  -
        connect(v6)          -  +  -  -  -    -  +  +  -
        connect(nowhere)     -  -  -  -  -    -  -  -  -
        broadcast(true)      +  +  -  -  -    +  +  +  -
        broadcast(false)     +  +  +  +  +    +  +  +  +
        join(v4)             +  -  -  -  -    +  -  -  -
        join(nothing)        -  -  -  -  -    -  -  -  -
        interface(any)       +  +  -  -  -    +  +  +  -
        interface(v4)        +  -  -  -  -    +  -  -  -
        ttl(0)               +  +  -  -  -    +  +  +  -
        ttl(255)             +  +  -  -  -    +  +  +  -
        loop(true)           +  +  -  -  -    +  +  +  -
        only_v6(true)        -  +  -  -  -    -  +  -  -
        only_v6(false)       +  +  +  +  +    +  +  +  +
        reuse_address(true)  +  +  -  -  -    +  +  +  -
        reuse_port(true)     +  +  -  -  -    +  +  +  -
        recv_buffer(0)       +  +  +  +  +    +  +  +  +
        recv_buffer(MAX)     +  +  +  +  +    +  +  +  +
        send_buffer(0)       +  +  +  +  +    +  +  +  +
        send_buffer(MAX)     +  +  +  +  +    +  +  +  +
        device(lo)           +  +  -  -  -    +  +  +  -
        mode(0)              -  -  +  -  -    -  -  -  -
        mode(0o7777)         -  -  +  -  -    -  -  -  -
        mode(0o10000)        -  -  -  -  -    -  -  -  -
        ",
    );
}

type OfConnect = fn(Connect) -> Connect;

/// The same of connects.
#[test]
fn each_option_of_connect_is_honoured_or_refused_by_each_target() {
    let folder = Folder::new("connect-options");
    let (v4, v6) = (listener(), TcpListener::bind("[::1]:0").unwrap());
    let path = UnixListener::bind(folder.0.join("server")).unwrap();
    let name = format!("wouldblock-connect-options-{}", std::process::id());
    let mut server = Reactor::new(echo()).unwrap();
    server.listen(format!("unix:@{name}")).unwrap();
    let to_v4 = v4.local_addr().unwrap();
    let new = |domain| Socket::new(domain, Type::STREAM, None).unwrap();
    let targets = || -> Vec<Connect> {
        vec![
            to_v4.to_string().into(),
            to_v4.into(),
            v6.local_addr().unwrap().into(),
            folder.name("server").into(),
            Address::abstract_name(&name).into(),
            Connect::from(to_v4).socket(new(Domain::IPV4)),
            Connect::from(v6.local_addr().unwrap()).socket(new(Domain::IPV6)),
            Connect::from(folder.name("server")).socket(new(Domain::UNIX)),
        ]
    };
    let options: [(&str, OfConnect); 22] = [
        ("timeout(0)", |connect| connect.timeout(Duration::ZERO)),
        ("timeout(MAX)", |connect| connect.timeout(Duration::MAX)),
        ("source(v4)", |connect| connect.source((Ipv4Addr::LOCALHOST, 0))),
        ("source(v6)", |connect| connect.source((Ipv6Addr::LOCALHOST, 0))),
        ("nodelay(true)", |connect| connect.nodelay(true)),
        ("nodelay(false)", |connect| connect.nodelay(false)),
        ("keepalive(false)", |connect| connect.keepalive(false)),
        ("keepalive(1ms)", |connect| connect.keepalive(Keepalive::after(MILLISECOND).probes(127))),
        ("keepalive(0s)", |connect| connect.keepalive(Keepalive::after(Duration::ZERO))),
        ("probes(0)", |connect| connect.keepalive(Keepalive::from(true).probes(0))),
        ("recv_buffer(0)", |connect| connect.recv_buffer(0)),
        ("recv_buffer(MAX)", |connect| connect.recv_buffer(usize::MAX)),
        ("send_buffer(0)", |connect| connect.send_buffer(0)),
        ("send_buffer(MAX)", |connect| connect.send_buffer(usize::MAX)),
        ("device(lo)", |connect| connect.device("lo")),
        ("device()", |connect| connect.device("")),
        ("socket(v4)", |connect| {
            connect.socket(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
        }),
        ("socket(v6)", |connect| {
            connect.socket(Socket::new(Domain::IPV6, Type::STREAM, None).unwrap())
        }),
        ("socket(unix)", |connect| {
            connect.socket(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap())
        }),
        ("socket(udp)", |connect| connect.socket(UdpSocket::bind("127.0.0.1:0").unwrap())),
        ("socket(file)", |connect| connect.socket(std::fs::File::open("/dev/null").unwrap())),
        ("socket(connected)", |connect| connect.socket(UnixStream::pair().unwrap().0)),
    ];
    let mut found = String::new();
    for (option, set) in options {
        write!(found, "{option}").unwrap();
        for target in targets() {
            let mut reactor = Reactor::new(echo()).unwrap();
            write!(found, " {}", verdict(&reactor.connect(set(target), 0))).unwrap();
        }
        found.push('\n');
    }
    drop(path);
    // By text and by address: IPv4; IPv6, a path, an abstract name. An own socket: IPv4, IPv6, a path.
    assert_table(
        &found,
        "
        timeout(0)         +  +  +  +  +    +  +  +
        timeout(MAX)       +  +  +  +  +    +  +  +
        source(v4)         +  +  -  -  -    +  -  -
        source(v6)         -  -  +  -  -    -  +  -
        nodelay(true)      +  +  +  +  +    +  +  +
        nodelay(false)     +  +  +  +  +    +  +  +
        keepalive(false)   +  +  +  +  +    +  +  +
        keepalive(1ms)     +  +  +  +  +    +  +  +
        keepalive(0s)      -  -  -  -  -    -  -  -
        probes(0)          -  -  -  -  -    -  -  -
        recv_buffer(0)     +  +  +  +  +    +  +  +
        recv_buffer(MAX)   +  +  +  +  +    +  +  +
        send_buffer(0)     +  +  +  +  +    +  +  +
        send_buffer(MAX)   +  +  +  +  +    +  +  +
        device(lo)         +  +  +  -  -    +  +  -
        device()           -  -  -  -  -    -  -  -
        socket(v4)         +  +  -  -  -    +  -  -
        socket(v6)         -  -  +  -  -    -  +  -
        socket(unix)       -  -  -  +  +    -  -  +
        socket(udp)        -  -  -  -  -    -  -  -
        socket(file)       -  -  -  -  -    -  -  -
        socket(connected)  -  -  -  -  -    -  -  -
        ",
    );
}

/// What was asked for is what the socket has when it is connected, made here or elsewhere; of one made
/// elsewhere the rest stays.
#[test]
fn a_connect_has_the_options_that_were_asked_for() {
    type Set = fn(Connect) -> Connect;
    type Has = (bool, bool, usize, usize);
    let all: Set = |connect| {
        let times = Keepalive::after(41 * SECOND).every(7 * SECOND).probes(5);
        connect.nodelay(false).keepalive(times).recv_buffer(20_000).send_buffer(30_000)
    };
    let own: Set = |connect| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_linger(Some(SECOND)).unwrap();
        socket.set_recv_buffer_size(10_000).unwrap();
        connect.socket(socket)
    };
    let own_and_all: Set = |connect| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        let times = Keepalive::after(41 * SECOND).every(7 * SECOND).probes(5);
        let connect = connect.nodelay(false).keepalive(times);
        connect.recv_buffer(20_000).send_buffer(30_000).socket(socket)
    };
    let cases: [(Set, Has); 3] = [
        (all, (false, true, 40_000, 60_000)),
        (own, (false, false, 20_000, 0)),
        (own_and_all, (false, true, 40_000, 60_000)),
    ];
    for (set, (nodelay, keepalive, recv, send)) in cases {
        let server = listener();
        let (told, tells) = mpsc::channel();
        let script = echo().on_open(move |conn| {
            let fd = conn.fd().unwrap();
            let socket = SockRef::from(&fd);
            assert!(socket.nonblocking().unwrap() && socket.linger().unwrap().is_none());
            let buffers = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
            told.send((socket.tcp_nodelay()?, keepalive_of(&socket), buffers)).unwrap();
            Ok(())
        });
        let mut reactor = Reactor::new(script).unwrap();
        reactor.connect(set(server.local_addr().unwrap().into()), 0).unwrap();
        while reactor.stats().connected == 0 {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
        let (has_nodelay, has_keepalive, buffers) = tells.try_recv().unwrap();
        assert_eq!((has_nodelay, has_keepalive.0, buffers.0), (nodelay, keepalive, recv));
        if keepalive {
            assert_eq!(has_keepalive, (true, 41 * SECOND, 7 * SECOND, 5));
            assert_eq!(buffers.1, send);
        }
    }
}

/// The peer sees the address that was asked for, with the port too, again and again.
#[test]
fn a_connect_comes_from_the_address_that_was_asked_for() {
    let server = listener();
    let from = |port| SocketAddr::from((Ipv4Addr::new(127, 0, 0, 7), port));
    let mut port = 0;
    for _ in 0..3 {
        let script = echo().on_open(|conn| {
            conn.abort();
            Ok(())
        });
        let mut reactor = Reactor::new(script).unwrap();
        let connect = Connect::from(server.local_addr().unwrap()).source(from(port));
        reactor.connect(connect, 0).unwrap();
        let (_client, peer) = server.accept().unwrap();
        assert_eq!(peer.ip(), from(0).ip());
        assert!(port == 0 || peer.port() == port, "{peer}");
        port = peer.port();
        while reactor.stats().closed.total() == 0 {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
    }
    let mut reactor = Reactor::new(echo()).unwrap();
    let nowhere = Connect::from(server.local_addr().unwrap()).source(([192, 0, 2, 1], 0));
    let error = reactor.connect(nowhere, 0).unwrap_err().to_string();
    assert!(error.contains("(os error 99)"), "EADDRNOTAVAIL: {error}");
}

/// Promise 7: text that is no address is refused at once, with what it could be.
#[test]
fn a_name_is_refused_where_looking_it_up_would_block() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let error = reactor.connect("localhost:80", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let told = "cannot connect to localhost:80: expected IP:PORT, unix:PATH or unix:@NAME";
    assert_eq!(error.to_string(), told);
}

const MILLISECOND: Duration = Duration::from_millis(1);

const LOOPBACK: Interface = Interface::Address(Ipv4Addr::LOCALHOST);

/// What an existing listener has, its connections have, unless something else is said here.
#[test]
fn an_existing_listener_keeps_its_options_unless_they_are_set() {
    type Set = fn(Listen) -> Listen;
    let cases: [(Set, (bool, bool)); 4] = [
        (|listen| listen, (false, false)),
        (|listen| listen.nodelay(true), (true, false)),
        (|listen| listen.keepalive(true), (false, true)),
        (|listen| listen.nodelay(true).keepalive(true), (true, true)),
    ];
    for (set, expected) in cases {
        let existing = listener();
        let duplicate = existing.try_clone().unwrap();
        let (told, tells) = mpsc::channel();
        let script = echo().on_open(move |conn| {
            let fd = conn.fd().unwrap();
            let socket = SockRef::from(&fd);
            told.send((socket.tcp_nodelay()?, socket.keepalive()?)).unwrap();
            Ok(())
        });
        let server = Server::start_on(set(existing.into()), script, Config::default());
        let client = server.connect();
        assert_eq!(tells.recv_timeout(DEADLINE).unwrap(), expected);
        let own = SockRef::from(&duplicate);
        assert_eq!((own.tcp_nodelay().unwrap(), own.keepalive().unwrap()), expected);
        drop(client);
        server.end();
    }
}

/// The times of keepalive, of a listener that is made here and of one that exists, are those of its
/// connections, in whole seconds.
#[test]
fn accepted_connections_have_the_keepalive_times_of_their_listener() {
    let times = Keepalive::after(Duration::from_millis(41_500)).every(7 * SECOND).probes(5);
    for target in [Listen::from("127.0.0.1:0"), listener().into()] {
        let (told, tells) = mpsc::channel();
        let script = echo().on_open(move |conn| {
            let fd = conn.fd().unwrap();
            let socket = SockRef::from(&fd);
            told.send(keepalive_of(&socket)).unwrap();
            Ok(())
        });
        let server = Server::start_on(target.keepalive(times), script, Config::default());
        let client = server.connect();
        let expected = (true, 42 * SECOND, 7 * SECOND, 5);
        assert_eq!(tells.recv_timeout(DEADLINE).unwrap(), expected);
        drop(client);
        server.end();
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn keepalive_of(socket: &SockRef<'_>) -> (bool, Duration, Duration, u32) {
    (
        socket.keepalive().unwrap(),
        socket.tcp_keepalive_time().unwrap(),
        socket.tcp_keepalive_interval().unwrap(),
        socket.tcp_keepalive_retries().unwrap(),
    )
}

/// Promise 7: what is bound to a device is bound to that one, and one that is not there is an error.
#[test]
fn a_device_is_the_one_that_was_asked_for_or_an_error() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let existing = listener();
    let duplicate = existing.try_clone().unwrap();
    reactor.listen(Listen::from(existing).device("lo")).unwrap();
    assert_eq!(SockRef::from(&duplicate).device().unwrap().as_deref(), Some(&b"lo"[..]));
    let error = reactor.listen(Listen::from("127.0.0.1:0").device("nowhere0")).unwrap_err();
    let told = "cannot listen on 127.0.0.1:0: No such device";
    assert!(error.to_string().starts_with(told), "{error}");
}

/// Where the kernel hands nothing down from listener to connection, it is done here.
#[test]
fn the_buffers_of_connections_are_as_large_as_was_asked_for_on_unix_sockets_too() {
    let folder = Folder::new("buffers");
    let existing = UnixListener::bind(folder.0.join("existing")).unwrap();
    let targets: [Listen; 2] = [folder.name("made").into(), existing.into()];
    for (target, file) in targets.into_iter().zip(["made", "existing"]) {
        let (told, tells) = mpsc::channel();
        let script = echo().on_open(move |conn| {
            let fd = conn.fd().unwrap();
            let socket = SockRef::from(&fd);
            told.send((socket.recv_buffer_size()?, socket.send_buffer_size()?)).unwrap();
            Ok(())
        });
        let mut reactor = Reactor::new(script).unwrap();
        reactor.listen(target.recv_buffer(20_000).send_buffer(30_000)).unwrap();
        let _client = UnixStream::connect(folder.0.join(file)).unwrap();
        while reactor.stats().accepted == 0 {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
        // Linux doubles what was asked for (socket(7)).
        assert_eq!(tells.try_recv().unwrap(), (40_000, 60_000), "{file}");
    }
}

/// What is said of an existing socket so late is still of use: others share its address.
#[test]
fn an_address_is_shared_with_an_existing_socket_that_says_so() {
    type Set = fn(Bind) -> Bind;
    let mut reactor = Reactor::new(echo()).unwrap();
    let ways: [Set; 2] = [|bind| bind.reuse_address(true), |bind| bind.reuse_port(true)];
    for set in ways {
        let existing = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = existing.local_addr().unwrap();
        assert!(reactor.bind_datagram(set(addr.into())).is_err());
        reactor.bind_datagram(set(existing.into())).unwrap();
        reactor.bind_datagram(set(addr.into())).unwrap();
    }
    let existing = listener();
    let addr = existing.local_addr().unwrap();
    assert!(reactor.listen(Listen::from(addr).reuse_port(true)).is_err());
    reactor.listen(Listen::from(existing).reuse_port(true)).unwrap();
    reactor.listen(Listen::from(addr).reuse_port(true)).unwrap();
}

/// Trap 53: a path has the mode that was asked for, whatever the umask, and it is the path's own: a
/// link that stands there instead is not followed.
#[test]
fn a_mode_is_exact_and_of_the_path_alone() {
    let folder = Folder::new("mode");
    let found =
        |file: &str| std::fs::metadata(folder.0.join(file)).unwrap().permissions().mode() & 0o7777;
    for mode in [0o000, 0o600, 0o660, 0o666, 0o777, 0o1777] {
        let mut reactor = Reactor::new(echo()).unwrap();
        reactor.listen(Listen::from(folder.name("stream")).mode(mode)).unwrap();
        reactor.bind_datagram(Bind::from(folder.name("datagrams")).mode(mode)).unwrap();
        assert_eq!((found("stream"), found("datagrams")), (mode, mode), "0o{mode:o}");
    }
    // A dangling link at the path is no free path, and what it points to is left alone.
    let precious = folder.0.join("precious");
    std::fs::write(&precious, "").unwrap();
    std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&precious, folder.0.join("link")).unwrap();
    let mut reactor = Reactor::new(echo()).unwrap();
    assert!(reactor.listen(Listen::from(folder.name("link")).mode(0o666)).is_err());
    assert_eq!(found("precious"), 0o600);
}

// ---- the limits' extremes -----------------------------------------------------------------------

type OfConfig = fn(Config, usize) -> Config;

/// Promise 4: every number of a limit either works or is refused by the limit's name. None panics.
#[test]
fn each_limit_at_each_extreme_works_or_is_refused_by_name() {
    const SETTINGS: [(&str, OfConfig); 13] = [
        ("connections", |config, n| config.connections(n)),
        ("connections_per_address", |config, n| config.connections_per_address(Some(n))),
        ("input_max", |config, n| config.input_max(n)),
        ("output_low", |config, n| config.output_low(n)),
        ("output_high", |config, n| config.output_high(n)),
        ("output_max", |config, n| config.output_max(n)),
        ("buffered_max", |config, n| config.buffered_max(n)),
        ("read_buffer", |config, n| config.read_buffer(n)),
        ("accepts_per_turn", |config, n| config.accepts_per_turn(n)),
        ("datagrams_per_turn", |config, n| config.datagrams_per_turn(n)),
        ("datagrams_queued", |config, n| config.datagrams_queued(n)),
        ("posts_queued", |config, n| config.posts_queued(n)),
        ("min_rate", |config, n| config.min_rate(n, Duration::from_secs(60))),
    ];
    let whole = usize::BITS;
    let mut numbers: Vec<usize> = (0..3).chain([usize::MAX / 2, usize::MAX / 2 + 1]).collect();
    for bits in [16, 24, 31, 32, 48, 62].into_iter().filter(|bits| *bits < whole) {
        numbers.extend([(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    }
    numbers.extend([usize::MAX - 1, usize::MAX]);
    for (name, set) in SETTINGS {
        for &n in &numbers {
            // With room around it, so that the others are no contradiction.
            let roomy = Config::default().output_max(usize::MAX).connections(100);
            for config in [set(Config::default().connections(100), n), set(roomy, n)] {
                let _ = config.worst_case_bytes();
                match Reactor::with_config(echo(), config) {
                    Ok(reactor) => serve_once(reactor, name, n),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}({n})");
                        let said = error.to_string();
                        assert!(said.starts_with("Config: ") && said.contains(name), "{said}");
                    }
                }
            }
        }
    }
}

/// Echoes one message over TCP, one datagram, and a posted closure.
fn serve_once(mut reactor: Reactor<Script>, name: &str, n: usize) {
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let socket = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let to = reactor.datagram_addr(socket).unwrap().socket_addr().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"?", to).unwrap();
    reactor.handle().post(|_, _| ()).unwrap();
    let mut client = connect(addr);
    std::io::Write::write_all(&mut client, b"ping").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..100 {
        if reactor.stats().closed.total() == 1 {
            break;
        }
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
    }
    let (said, _) = read_until_gone(&mut client);
    // A byte that may not be buffered, or no more input than that, ends the connection.
    let is_strict = matches!(name, "buffered_max" | "input_max") && n < 4;
    assert!(said == b"ping" || is_strict, "{name}({n}): {said:?}");
    assert!(client.as_fd().try_clone_to_owned().is_ok());
}

/// Promise 7: a name may be listened on at each of its addresses, with the options of the name; what
/// is no name is one listener, and a name that nobody knows is an error that says so.
#[test]
fn a_name_is_listened_on_at_each_of_its_addresses() {
    let mut reactor = Reactor::new(echo()).unwrap();
    let all = Listen::from("localhost:0").backlog(7).each_address().unwrap();
    let expected = Address::resolve("localhost:0").unwrap();
    assert_eq!(all.len(), expected.len());
    for (listen, expected) in all.into_iter().zip(expected) {
        assert!(format!("{listen:?}").contains("backlog: Some(7)"), "{listen:?}");
        // A machine without IPv6 has the name all the same.
        let Ok(id) = reactor.listen(listen) else { continue };
        assert_eq!(reactor.listener_addr(id).unwrap().ip(), expected.ip());
    }
    let given = listener();
    let addr = given.local_addr().unwrap();
    let [one] = <[Listen; 1]>::try_from(Listen::from(given).each_address().unwrap()).unwrap();
    let id = reactor.listen(one).unwrap();
    assert_eq!(reactor.listener_addr(id).unwrap().socket_addr(), Some(addr));
    let error = Listen::from("no port").each_address().unwrap_err().to_string();
    assert!(error.starts_with("cannot resolve no port: "), "{error}");
}
