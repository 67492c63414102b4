//! Trap 66, the two modes of a panic: it goes through, or it ends one connection alone.

use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use wouldblock::{
    Address, CloseReason, Config, Conn, Context, Datagram, Handle, Handler, Input, Origin, Reactor,
    Stats,
};

use crate::support::*;

/// Every callback that may panic; the first six are a connection's own.
const CALLBACKS: [&str; 12] = [
    "open",
    "data",
    "eof",
    "drain",
    "timeout",
    "post_to",
    "close",
    "timer",
    "post",
    "connect_failed",
    "shutdown",
    "start",
];

/// Panics once, in the callback that it is armed for.
#[derive(Clone)]
struct Bomb {
    callback: &'static str,
    is_armed: Arc<AtomicBool>,
}

impl Bomb {
    fn new(callback: &'static str) -> Bomb {
        Bomb { callback, is_armed: Arc::default() }
    }

    fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    fn has_gone_off(&self) -> bool {
        !self.is_armed.load(Ordering::SeqCst)
    }

    fn pass(&self, here: &str) {
        let goes_off = here == self.callback && self.is_armed.swap(false, Ordering::SeqCst);
        assert!(!goes_off, "as planned in {here}");
    }
}

/// An echo in which every callback is called, and passes the bomb.
fn script(bomb: &Bomb, nobody: Address) -> Script {
    let b = || bomb.clone();
    let (start, open, data, eof, drain, timeout) = (b(), b(), b(), b(), b(), b());
    let (close, timer, failed, shutdown) = (b(), b(), b(), b());
    echo()
        .on_start(move |cx| {
            cx.set_periodic_timer(Duration::from_millis(5), 0);
            start.pass("start");
            Ok(())
        })
        .on_open(move |conn| {
            conn.set_timeout(Duration::from_millis(1));
            open.pass("open");
            Ok(())
        })
        .on_data(move |conn, input| {
            conn.want_drain();
            let connected = conn.cx().connect(nobody.clone(), 0);
            assert!(connected.is_ok() || conn.cx().listeners().is_empty());
            conn.send(input.take_all());
            data.pass("data");
            Ok(())
        })
        .on_eof(move |conn, _| {
            eof.pass("eof");
            conn.close();
            Ok(())
        })
        .on_drain(move |_| {
            drain.pass("drain");
            Ok(())
        })
        .on_timeout(move |_| {
            timeout.pass("timeout");
            Ok(())
        })
        .on_close(move |_, _, _| close.pass("close"))
        .on_timer(move |_, _| timer.pass("timer"))
        .on_connect_failed(move |_, _, _| failed.pass("connect_failed"))
        .on_shutdown(move |_| shutdown.pass("shutdown"))
}

/// An address where nobody listens.
fn nobody() -> Address {
    let closed = listener();
    closed.local_addr().unwrap().into()
}

/// One whole visit, in which anything may happen to the visitor.
fn visit(addr: SocketAddr, handle: &Handle<Script>, record: &Record, bomb: &Bomb) {
    let Some(mut client) = try_connect(addr) else { return };
    let _ = client.write_all(b"hello");
    let _ = client.read_exact(&mut [0; 5]);
    if bomb.callback == "post" || bomb.callback == "post_to" {
        let last = record.wait_opens(2)[1];
        let (any, to) = (bomb.clone(), bomb.clone());
        let _ = handle.post(move |_, _| any.pass("post"));
        let _ = handle.post_to(last, move |_, _, _| {
            to.pass("post_to");
            Ok(())
        });
    }
    if matches!(
        bomb.callback,
        "drain" | "timeout" | "timer" | "connect_failed" | "post" | "post_to"
    ) {
        wait_until("it has gone off", || bomb.has_gone_off());
    }
    let _ = client.shutdown(Shutdown::Write);
    let _ = read_until_gone(&mut client);
}

/// Promises 3, 6 and 7, Trap 66: with `isolate_panics` a panic in a callback of a connection ends that
/// connection, told as what it is, and one anywhere else ends nobody; all others are served on, and
/// no descriptor is left behind.
#[test]
fn an_isolated_panic_ends_its_connection_and_no_other() {
    child::run("panics::child_isolated");
}

#[test]
#[ignore = "a child of an_isolated_panic_ends_its_connection_and_no_other"]
fn child_isolated() {
    if !child::is_running("panics::child_isolated") {
        return;
    }
    for (n, callback) in CALLBACKS.into_iter().enumerate().take(CALLBACKS.len() - 1) {
        let before = child::own_descriptors();
        let bomb = Bomb::new(callback);
        let config = Config::default().isolate_panics(true);
        let server = Server::start(script(&bomb, nobody()), config);
        let mut bystander = server.connect();
        ping(&mut bystander, b"before");
        // Its own timer and drain come while the bomb is not armed.
        let own = server.record.wait_opens(1)[0];
        wait_until("it is quiet", || {
            let story = server.record.story(own);
            story.contains("timeout") && story.contains("drain")
        });
        bomb.arm();
        visit(server.addr, &server.handle, &server.record, &bomb);
        if callback != "shutdown" {
            wait_until("it has gone off", || bomb.has_gone_off());
        }
        ping(&mut bystander, b"after");
        let mut another = server.connect();
        ping(&mut another, b"another");
        let record = server.record.clone();
        drop((bystander, another));
        let told = record.wait_closes(if matches!(callback, "open" | "close") { 2 } else { 3 });
        let stats = server.end();
        assert!(bomb.has_gone_off(), "{callback}");
        assert_eq!(stats.panics, 1, "{callback}");
        let of_a_connection = n < 6;
        assert_eq!(stats.closed.panic, u64::from(of_a_connection), "{callback}");
        assert_eq!(stats.closed.total(), 3, "{callback}");
        let is_told = |closed: &CloseReason| match closed {
            CloseReason::Panic(error) => error.to_string() == format!("as planned in {callback}"),
            _ => false,
        };
        let panicked = told.iter().filter(|(_, closed)| is_told(&closed.reason)).count();
        // After a panic in `on_open` there is no session to hand over, so no `on_close`.
        assert_eq!(panicked, usize::from(of_a_connection && callback != "open"), "{callback}");
        wait_until("all is given back", || child::own_descriptors() == before);
    }
}

/// Promises 3 and 6, Trap 66: without it every panic goes through; who catches it may run on, and
/// finds one connection ended, nobody else touched, and nothing called twice.
#[test]
fn a_panic_that_passed_through_leaves_a_reactor_that_runs_on() {
    child::run("panics::child_caught");
}

#[test]
#[ignore = "a child of a_panic_that_passed_through_leaves_a_reactor_that_runs_on"]
fn child_caught() {
    if !child::is_running("panics::child_caught") {
        return;
    }
    for callback in CALLBACKS {
        let before = child::own_descriptors();
        let bomb = Bomb::new(callback);
        if callback == "start" {
            bomb.arm();
        }
        let server = serve_and_catch(script(&bomb, nobody()), Config::default());
        let mut bystander = connect(server.addr);
        ping(&mut bystander, b"before");
        if callback != "start" {
            let own = server.record.wait_opens(1)[0];
            wait_until("it is quiet", || {
                let story = server.record.story(own);
                story.contains("timeout") && story.contains("drain")
            });
            bomb.arm();
        }
        visit(server.addr, &server.handle, &server.record, &bomb);
        ping(&mut bystander, b"after");
        drop(bystander);
        let record = server.record.clone();
        server.handle.shutdown();
        let (panics, stats) = server.join();
        assert!(bomb.has_gone_off(), "{callback}");
        assert_eq!(panics, [format!("as planned in {callback}")]);
        assert_eq!(stats.panics, 0, "{callback}: none was isolated");
        let once = |is_it: fn(&Event) -> bool| record.count(is_it) == 1;
        assert!(once(|event| matches!(event, Event::Start)), "{callback}");
        assert!(once(|event| matches!(event, Event::Shutdown)), "{callback}");
        wait_until("all is given back", || child::own_descriptors() == before);
    }
}

/// A server that runs on after each panic.
struct Caught {
    addr: SocketAddr,
    handle: Handle<Script>,
    record: Record,
    thread: thread::JoinHandle<(Vec<String>, Stats)>,
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

fn serve_and_catch(script: Script, config: Config) -> Caught {
    let record = script.record();
    let (told, tells) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::with_config(script, config).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        told.send((reactor.listener_addr(id).unwrap().socket_addr().unwrap(), reactor.handle()))
            .unwrap();
        let mut panics = Vec::new();
        loop {
            match catch_unwind(AssertUnwindSafe(|| reactor.run())) {
                Ok(ended) => {
                    ended.unwrap();
                    return (panics, reactor.stats().clone());
                }
                Err(panic) => panics.push(text(&*panic)),
            }
        }
    });
    let (addr, handle) = tells.recv_timeout(DEADLINE).unwrap();
    Caught { addr, handle, record, thread }
}

impl Caught {
    fn join(self) -> (Vec<String>, Stats) {
        wait_until("it has ended", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// Promise 2: of an answer that a panic cut short, nothing goes out with an orderly end behind it:
/// the peer sees a reset, and what was sent and not delivered is counted.
#[test]
fn a_peer_does_not_take_half_an_answer_for_a_whole_one() {
    let script = echo().on_data(|conn, input| {
        conn.send(input.take_all());
        conn.send(b"half of");
        panic!("as planned");
    });
    let server = Server::start(script, Config::default().isolate_panics(true));
    let mut client = server.connect();
    client.write_all(b"asked").unwrap();
    let (got, end) = read_until_gone(&mut client);
    assert!(got.is_empty());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Panic(_)), "{closed}");
    assert_eq!((closed.unsent, closed.clean), (12, false));
    assert_eq!(closed.to_string(), "handler panic: as planned, 12 bytes unsent");
    server.end();
}

/// Promises 4 and 6: clients that know how to make a server panic keep nobody else from it, nor its
/// timers and its shutdown.
#[test]
fn a_crowd_that_makes_it_panic_starves_nobody() {
    let timers = Arc::new(AtomicUsize::new(0));
    let counted = timers.clone();
    let script = echo()
        .on_start(|cx| {
            cx.set_periodic_timer(Duration::from_millis(2), 0);
            Ok(())
        })
        .on_timer(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("as planned");
        })
        .on_data(|conn, input| {
            assert_ne!(input.bytes(), b"boom", "as planned");
            conn.send(input.take_all());
            Ok(())
        })
        .on_close(|_, _, _| panic!("as planned"));
    let server = Server::start(script, Config::default().isolate_panics(true));
    let mut bystander = server.connect();
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let (addr, is_over) = (server.addr, is_over.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let Some(mut client) = try_connect(addr) else { continue };
                    let _ = client.write_all(b"boom");
                    let _ = read_until_gone(&mut client);
                }
            })
        })
        .collect();
    for n in 0..200_u32 {
        ping(&mut bystander, &n.to_be_bytes());
    }
    wait_until("timers come", || timers.load(Ordering::Relaxed) > 20);
    is_over.store(true, Ordering::Relaxed);
    for client in crowd {
        client.join().unwrap();
    }
    drop(bystander);
    let stats = server.end();
    assert!(stats.panics > stats.closed.panic && stats.closed.panic > 4, "{stats:?}");
    assert_eq!(stats.closed.total(), stats.accepted);
}

/// Promise 6: a panic in `on_start` is not isolated: a server whose start failed has not started.
#[test]
fn a_panic_in_on_start_is_never_isolated() {
    let script = echo().on_start(|_| panic!("as planned"));
    let config = Config::default().isolate_panics(true);
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| reactor.run())).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as planned"));
}

/// Promise 6: who catches panics of the last callbacks still comes to the end, and at once: not at
/// the deadline of the shutdown. What a callback had ordered before it panicked stands.
#[test]
fn a_panic_in_the_last_callback_does_not_delay_the_end() {
    for order in ["end", "end now"] {
        let script = echo()
            .on_data(move |conn, input| {
                match input.take_all() {
                    b"end" => conn.cx().shutdown(),
                    b"end now" => conn.cx().shutdown_now(),
                    other => {
                        // Then nothing but the order itself ends it.
                        conn.hold(order == "end now");
                        conn.send(other);
                    }
                }
                Ok(())
            })
            .on_close(|_, _, _| panic!("as planned"))
            .on_shutdown(|_| panic!("as planned"));
        let config = Config::default().shutdown_max(Duration::from_secs(3600));
        let server = serve_and_catch(script, config);
        let mut clients = [connect(server.addr), connect(server.addr)];
        for client in &mut clients {
            ping(client, b"hello");
        }
        clients[0].write_all(order.as_bytes()).unwrap();
        for client in &mut clients {
            let (_, end) = read_until_gone(client);
            assert_ne!(
                end.map_err(|error| error.kind()),
                Err(io::ErrorKind::WouldBlock),
                "{order}"
            );
        }
        drop(clients);
        let (panics, stats) = server.join();
        assert_eq!((panics.len(), stats.closed.total()), (3, 2), "{order}");
    }
}

/// Promise 3: after an error at the start each connect is told, though the callback of the first
/// panics: by the next turn.
#[test]
fn a_panic_while_it_gives_up_keeps_no_other_callback_from_coming() {
    let silent = Silent::new();
    let to = silent.addr;
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let script = echo()
        .on_start(move |cx| {
            for tag in 0..3 {
                cx.connect(to, tag)?;
            }
            Err(io::Error::other("as planned"))
        })
        .on_connect_failed(move |_, _, _| {
            assert_ne!(counted.fetch_add(1, Ordering::Relaxed), 0, "the first panics");
        });
    let mut reactor = Reactor::new(script).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| reactor.turn(None))).is_err());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(!reactor.turn(None).unwrap());
    assert_eq!(told.load(Ordering::Relaxed), 3);
    assert_eq!(reactor.shutdown_report().unwrap().cut, 3);
}

/// Promises 3 and 6: isolated, a panic in `on_datagram` costs that datagram.
#[test]
fn an_isolated_panic_in_on_datagram_loses_one_datagram() {
    struct Mail(Vec<Vec<u8>>);

    impl Handler for Mail {
        type Session = ();

        fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
            Ok(())
        }

        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }

        fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
            assert_ne!(datagram.payload, b"bad", "as planned");
            self.0.push(datagram.payload.to_vec());
            if self.0.len() == 2 {
                cx.shutdown();
            }
        }
    }

    let config = Config::default().isolate_panics(true);
    let mut reactor = Reactor::with_config(Mail(Vec::new()), config).unwrap();
    let id = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let to = reactor.datagram_addr(id).unwrap().socket_addr().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for what in ["bad", "good", "bad", "fine"] {
        client.send_to(what.as_bytes(), to).unwrap();
    }
    reactor.run().unwrap();
    assert_eq!(reactor.handler().0, [b"good", b"fine"]);
    assert_eq!(reactor.stats().panics, 2);
}

/// Promise 6, Trap 66: a panic in the `on_close` of the connection that makes room for another, which
/// is called inside the listener's turn, leaves a listener that goes on. The client that was to have
/// the place sees a reset, not an end that looks like an answer.
#[test]
fn a_caught_panic_in_the_turn_of_a_listener_leaves_it_listening() {
    let mut is_armed = true;
    let script = echo().on_close(move |_, _, closed| {
        if matches!(closed.reason, CloseReason::Reclaimed) && is_armed {
            is_armed = false;
            panic!("as planned");
        }
    });
    let config = Config::default().connections(1).reclaim_idle(Some(Duration::from_millis(1)));
    let server = serve_and_catch(script, config);
    let mut first = connect(server.addr);
    ping(&mut first, b"first");
    let mut second = connect(server.addr);
    assert_eq!(read_until_gone(&mut second).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    for _ in 0..3 {
        ping(&mut connect(server.addr), b"another");
    }
    server.handle.shutdown();
    let (panics, stats) = server.join();
    assert_eq!(panics.len(), 1);
    assert_eq!((stats.accepted, stats.refused), (4, 1));
}

/// Promise 3: what had come after the datagram over which a callback panicked is told all the same,
/// without an edge.
#[test]
fn a_caught_panic_over_a_datagram_leaves_its_socket_receiving() {
    struct Hears(Vec<Vec<u8>>);
    impl Handler for Hears {
        type Session = ();
        fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            Ok(())
        }
        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }
        fn on_datagram(&mut self, _: &mut Context, datagram: &Datagram<'_>) {
            self.0.push(datagram.payload.to_vec());
            assert_ne!(datagram.payload, b"first", "as planned");
        }
    }
    let mut reactor = Reactor::new(Hears(Vec::new())).unwrap();
    let socket = reactor.bind_datagram("127.0.0.1:0").unwrap();
    let at = reactor.datagram_addr(socket).unwrap().socket_addr().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for word in ["first", "second", "third"] {
        sender.send_to(word.as_bytes(), at).unwrap();
    }
    let mut panics = 0;
    wait_until("all are told", || {
        let turn = || reactor.turn(Some(Duration::from_millis(10)));
        panics += usize::from(catch_unwind(AssertUnwindSafe(turn)).is_err());
        reactor.handler().0.len() == 3
    });
    assert_eq!(panics, 1);
}

/// Promise 2: of a source that has panicked there is no rest, so its connection ends with it, where
/// the program goes on.
#[test]
fn a_caught_panic_of_a_source_ends_its_connection() {
    struct Panics;
    impl std::io::Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("as planned")
        }
    }
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.send_from(Panics);
        Ok(())
    });
    let server = serve_and_catch(script, Config::default());
    let mut client = connect(server.addr);
    client.write_all(b"?").unwrap();
    assert_eq!(read_until_gone(&mut client).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let closed = server.record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Panic(_)), "{closed}");
    server.handle.shutdown();
    assert_eq!(server.join().0.len(), 1);
}

/// Promise 2: whoever is owed output when a panic takes the reactor down sees a reset, and so does the
/// peer whose callback it was: half an answer must not look like a whole one. Who is owed nothing sees
/// the end.
#[test]
fn a_reactor_dropped_by_a_panic_resets_whoever_it_owes_output() {
    let script = echo().on_data(|conn, input| {
        match input.take_all() {
            b"much" => conn.send(vec![1; 3 * MIB]),
            b"panic" => {
                conn.send(b"half of");
                panic!("as planned");
            }
            other => conn.send(other),
        }
        Ok(())
    });
    let (told, tells) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        let mut reactor = Reactor::new(script).unwrap();
        let id = reactor.listen("127.0.0.1:0").unwrap();
        told.send(reactor.listener_addr(id).unwrap().socket_addr().unwrap()).unwrap();
        reactor.run()
    });
    let addr = tells.recv_timeout(DEADLINE).unwrap();
    let (mut owed, mut idle) = (connect_narrow(addr), connect(addr));
    ping(&mut idle, b"hello");
    owed.write_all(b"much").unwrap();
    assert_eq!(read_n(&mut owed, 1), [1]);
    let mut last = connect(addr);
    last.write_all(b"panic").unwrap();
    assert_eq!(read_until_gone(&mut last).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (got, end) = read_until_gone(&mut owed);
    assert!(got.len() < 3 * MIB - 1);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(read_to_end(&mut idle).is_empty());
    server.join().unwrap_err();
}
