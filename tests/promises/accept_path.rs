//! Promise 6 at the door: nobody who knocks can end the reactor, make it spin, or be forgotten.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wouldblock::{Address, Config, Conn, Handler, Input, Listen, ListenerId, Origin, Reactor};

use crate::support::*;

/// Promises 1 and 6, Trap 21: many knocked before the first turn; there is one edge for all of
/// them.
#[test]
fn all_who_knock_at_once_are_let_in() {
    let listener = deep_listener(256);
    let addr = listener.local_addr().unwrap();
    let mut clients: Vec<_> = (0..100).map(|_| connect(addr)).collect();
    for client in &mut clients {
        client.write_all(b"knock").unwrap();
    }
    let server = Server::start_on(listener, echo(), Config::default().accepts_per_turn(7));
    for client in &mut clients {
        assert_eq!(read_n(client, 5), b"knock");
    }
    drop(clients);
    assert_eq!(server.end().accepted, 100);
}

/// Promise 6, Trap 26: our own backlog is deep: hundreds connect while nobody accepts, and no SYN
/// is dropped. In a child for the descriptors.
#[test]
fn hundreds_may_knock_while_the_server_is_busy() {
    child::run("accept_path::child_backlog");
}

#[test]
#[ignore = "a child of hundreds_may_knock_while_the_server_is_busy"]
fn child_backlog() {
    if !child::is_running("accept_path::child_backlog") {
        return;
    }
    let mut reactor = Reactor::new(echo()).unwrap();
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let room = (child::room_for_pairs() * 2).min(somaxconn.trim().parse().unwrap());
    // The reactor does not run: every one of them stays in the backlog.
    let clients: Vec<_> = (0..room.min(800)).map(|_| connect(addr)).collect();
    drop((reactor, clients));
}

/// Promise 6, Trap 26: the server closed first, so its side waits in `TIME_WAIT`; the port is free
/// again all the same.
#[test]
fn a_server_restarted_at_once_gets_its_port_again() {
    // Nobody else's address, or another test may be given the port between the two servers.
    let mut addr = "127.0.0.26:0".to_owned();
    for _ in 0..3 {
        let script = echo().on_data(|conn, input| {
            conn.send(input.take_all());
            conn.close();
            Ok(())
        });
        let server = Server::start_on(addr.clone(), script, Config::default());
        addr = server.addr.to_string();
        let mut client = server.connect();
        client.write_all(b"bye").unwrap();
        assert_eq!(read_to_end(&mut client), b"bye");
        drop(client);
        server.record.wait_close();
        server.end();
    }
}

/// Promise 6, Trap 27: it knocked and was gone before the door opened.
#[test]
fn one_that_is_gone_before_it_is_accepted_hurts_nobody() {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    for n in 0..30 {
        let mut client = connect(addr);
        if n % 2 == 0 {
            client.write_all(b"and gone").unwrap();
        }
        reset(client);
    }
    let mut last = connect(addr);
    last.write_all(b"i am here").unwrap();
    let server = Server::start_on(listener, echo(), Config::default());
    assert_eq!(read_n(&mut last, 9), b"i am here");
    drop(last);
    let record = server.record.clone();
    server.end();
    assert_eq!(record.opens().len(), record.closes().len());
}

/// Promise 6: the addresses are those of the socket.
#[test]
fn a_connection_knows_both_its_addresses() {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    let script = echo().on_open(move |conn| {
        let id = conn.id();
        let (peer, local) = (conn.peer_addr()?, conn.local_addr()?);
        assert_eq!(conn.cx().conn(id).unwrap().peer_addr()?, peer);
        assert_eq!(conn.cx().conn(id).unwrap().local_addr()?, local);
        *tell.lock().unwrap() = Some((peer, local));
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    ping(&mut client, b"?");
    let (peer, local) = told.lock().unwrap().clone().unwrap();
    assert_eq!(peer.socket_addr(), Some(client.local_addr().unwrap()));
    assert_eq!(local.socket_addr(), Some(client.peer_addr().unwrap()));
    assert_eq!(peer.to_string(), client.local_addr().unwrap().to_string());
    assert!(matches!(peer, Address::Ip(_)));
    drop(client);
    server.end();
}

/// Promise 6, Trap 43: small answers do not wait for an acknowledgement: accepted sockets have
/// `TCP_NODELAY`.
#[test]
fn accepted_sockets_do_not_delay() {
    let script = echo().on_open(|conn| {
        let fd = conn.fd().expect("a TCP connection has a descriptor");
        assert!(SockRef::from(&fd).tcp_nodelay()?);
        assert!(SockRef::from(&fd).keepalive()?);
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    ping(&mut client, b"?");
    drop(client);
    server.end();
}

/// Promise 6, Trap 18: a program that the handler starts inherits no socket of ours.
#[test]
fn a_program_started_by_the_handler_inherits_nothing() {
    let script = echo().on_data(|conn, input| {
        input.take_all();
        let list = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output()?;
        conn.send(list.stdout);
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let mut client = server.connect();
    client.write_all(b"?").unwrap();
    let list = String::from_utf8(read_to_end(&mut client)).unwrap();
    assert!(list.contains("0 -> "), "{list}");
    assert!(!list.contains("socket:") && !list.contains("eventpoll"), "{list}");
    drop(client);
    server.end();
}

/// Every form in which a place to listen may be given, one reactor for all of them.
fn serve_at(places: Vec<Listen>) -> Vec<SocketAddr> {
    let mut reactor = Reactor::new(echo()).unwrap();
    let ids: Vec<ListenerId> =
        places.into_iter().map(|place| reactor.listen(place).unwrap()).collect();
    let addrs: Vec<_> =
        ids.iter().map(|id| reactor.listener_addr(*id).unwrap().socket_addr().unwrap()).collect();
    let (handle, told) = (reactor.handle(), addrs.clone());
    let clients = thread::spawn(move || {
        for addr in told {
            assert_ne!(addr.port(), 0);
            ping(&mut connect(addr), b"hello");
        }
        handle.shutdown();
    });
    reactor.run().unwrap();
    clients.join().unwrap();
    addrs
}

/// Promise 6: text, address, existing listener; one reactor serves them all.
#[test]
fn a_reactor_listens_wherever_it_is_told() {
    let addr: SocketAddr = "127.0.0.1:0".parse().unwrap();
    serve_at(vec![
        "127.0.0.1:0".into(),
        String::from("127.0.0.1:0").into(),
        addr.into(),
        listener().into(),
        "localhost:0".into(),
    ]);
}

/// Promise 6: IPv6, where the machine has it.
#[test]
fn a_reactor_listens_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 here");
        return;
    }
    let addr: SocketAddr = "[::1]:0".parse().unwrap();
    let addrs = serve_at(vec!["[::1]:0".into(), addr.into()]);
    assert!(addrs.iter().all(SocketAddr::is_ipv6));
}

/// Promise 6: a listener that blocks is made non-blocking, or the first quiet moment would stop
/// everybody.
#[test]
fn a_blocking_listener_is_made_non_blocking() {
    let listener = listener();
    listener.set_nonblocking(false).unwrap();
    let server = Server::start_on(listener, echo(), Config::default());
    let mut first = server.connect();
    ping(&mut first, b"first");
    ping(&mut first, b"and nobody else");
    drop(first);
    server.end();
}

/// Greets, and notes by which door each came.
struct Porter(Arc<Mutex<Vec<Origin>>>);

impl Handler for Porter {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        self.0.lock().unwrap().push(origin);
        conn.send(b"in");
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        input.take_all();
        Ok(())
    }
}

/// Promise 6: an accepted connection tells by which door it came.
#[test]
fn the_origin_names_the_listener() {
    let origins = Arc::new(Mutex::new(Vec::new()));
    let mut reactor = Reactor::new(Porter(origins.clone())).unwrap();
    let front = reactor.listen("127.0.0.1:0").unwrap();
    let back = reactor.listen("127.0.0.1:0").unwrap();
    let addr = |id| reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let (front_addr, back_addr) = (addr(front), addr(back));
    let handle = reactor.handle();
    let client = thread::spawn(move || {
        for addr in [front_addr, back_addr, front_addr] {
            read_n(&mut connect(addr), 2);
        }
        handle.shutdown();
    });
    reactor.run().unwrap();
    client.join().unwrap();
    let came: Vec<_> = origins
        .lock()
        .unwrap()
        .iter()
        .map(|origin| match origin {
            Origin::Accepted(id) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(came, [front, back, front]);
}

/// Promise 7: an address in use is an error of `listen`, not a panic and not silence.
#[test]
fn an_address_in_use_is_an_error() {
    let taken = listener();
    let mut reactor = Reactor::new(echo()).unwrap();
    let error = reactor.listen(taken.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let error = reactor.listen(taken.local_addr().unwrap().to_string()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

/// Promise 7: a host that does not resolve, a port that is none, an address that is nobody's here.
#[test]
fn a_place_that_does_not_exist_is_an_error() {
    let mut reactor = Reactor::new(echo()).unwrap();
    for place in ["no-such-host.invalid:80", "127.0.0.1", "127.0.0.1:99999", "", "192.0.2.1:0"] {
        let error = reactor.listen(place).map(drop).expect_err(place);
        assert!(!error.to_string().is_empty());
    }
    // It is none the worse for it.
    reactor.listen("127.0.0.1:0").unwrap();
}

/// Promise 6, Trap 29: one that connects over and over, and one that resets at once, leave a clean
/// house.
#[test]
fn a_thousand_short_visits_leave_nothing_behind() {
    let server = Server::start(echo(), Config::default().linger(Duration::from_millis(300)));
    thread::scope(|scope| {
        for worker in 0..4u32 {
            let addr = server.addr;
            scope.spawn(move || {
                for visit in 0..100 {
                    let mut client: TcpStream = connect(addr);
                    match (worker + visit) % 4 {
                        0 => reset(client),
                        1 => drop(client),
                        2 => ping(&mut client, b"short"),
                        _ => {
                            client.write_all(b"not waiting for the answer").unwrap();
                            reset(client);
                        }
                    }
                }
            });
        }
    });
    let mut last = server.connect();
    ping(&mut last, b"and me");
    drop(last);
    let record = server.record.clone();
    let stats = server.end();
    assert_eq!(record.opens().len(), record.closes().len());
    assert_eq!(stats.accepted, record.opens().len() as u64);
    assert_eq!(stats.closed.total(), stats.accepted);
}

/// Promise 6: a listener that is paused accepts nobody, goes on to listen, and then serves whoever waited,
/// though the kernel tells of them no more; in shutdown too.
#[test]
fn a_paused_listener_keeps_its_queue() {
    for resumes in [true, false] {
        let server = Server::start(echo(), Config::default());
        let mut first = server.connect();
        let mut ping = || {
            first.write_all(b"ping").unwrap();
            assert_eq!(read_n(&mut first, 4), b"ping");
        };
        ping();
        let pause = |cx: &mut wouldblock::Context| {
            let all = cx.listeners();
            (all[0], all.into_iter().all(|id| cx.pause_accepting(id)))
        };
        let (listener, paused) = server.ask(pause);
        assert!(paused);
        let mut waiting: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.write_all(b"hi").unwrap();
        }
        (0..50).for_each(|_| ping());
        assert_eq!(server.ask(|cx| cx.stats().accepted), 1);
        if resumes {
            assert!(server.ask(move |cx| cx.resume_accepting(listener)));
        } else {
            server.handle.shutdown();
        }
        for client in &mut waiting {
            assert_eq!(read_n(client, 2), b"hi");
        }
        drop((first, waiting));
        assert_eq!(server.end().accepted, 4);
    }
}

/// Promise 6: a batch of accepts stops where one of its callbacks pauses the listener.
#[test]
fn a_listener_may_be_paused_by_whom_it_has_let_in() {
    let listener = deep_listener(16);
    let addr = listener.local_addr().unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| connect(addr)).collect();
    let script = echo().on_open(|conn| {
        let cx = conn.cx();
        for id in cx.listeners() {
            cx.pause_accepting(id);
        }
        Ok(())
    });
    let script = script.on_close(|cx, _, _| {
        for id in cx.listeners() {
            assert!(cx.resume_accepting(id));
        }
    });
    let server = Server::start_on(listener, script, Config::default());
    for (n, mut client) in clients.drain(..).enumerate() {
        client.write_all(b"one").unwrap();
        assert_eq!(read_n(&mut client, 3), b"one");
        assert_eq!(server.ask(|cx| cx.connections().len()), 1);
        assert_eq!(server.ask(|cx| cx.stats().accepted), n as u64 + 1);
    }
    server.end();
}
