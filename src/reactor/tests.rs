//! What only the inside shows.

use super::*;
use crate::base::close::{CloseReason, Closed};
use std::io::Write;
use std::net::TcpStream;

/// Listens again whenever a connection ends, as a server of one-time listeners does.
struct ListensAgain;

impl Handler for ListensAgain {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        conn.send(b"hello");
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        _session: &mut (),
        _input: &mut Input<'_>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, _session: (), _closed: Closed) {
        // Refused in shutdown; `give_up` says that callbacks open nothing.
        let _ = cx.listen("127.0.0.1:0");
    }
}

/// Promise 6: after an error of the poll nothing is opened, and giving up comes to an end.
#[test]
fn giving_up_comes_to_an_end_whatever_on_close_does() {
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut reactor = Reactor::new(ListensAgain).unwrap();
        let mut client = accept_one(&mut reactor);
        client.write_all(b"hello").unwrap();
        // What `poll` does when the poll itself fails.
        reactor.give_up();
        told.send(()).unwrap();
    });
    tells.recv_timeout(Duration::from_secs(3)).expect("it spins for ever");
}

/// A client of a new listener, that was accepted.
fn accept_one<H: Handler>(reactor: &mut Reactor<H>) -> TcpStream {
    let id = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    let client = TcpStream::connect(addr).unwrap();
    while reactor.stats().accepted == 0 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    client
}

struct Panics;

impl Handler for Panics {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        _session: &mut (),
        _input: &mut Input<'_>,
    ) -> io::Result<()> {
        panic!("as planned")
    }
}

/// Promise 1, promise 6: after a caught panic each is on the run queue once, and as many
/// listeners rest as are counted to.
#[test]
fn a_caught_panic_queues_no_listener_twice() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let mut reactor = Reactor::with_config(Panics, Config::default().connections(2)).unwrap();
    let mut one = accept_one(&mut reactor);
    let addr = one.peer_addr().unwrap();
    // Found by one poll, in this order: the panic, and a listener that is queued behind it.
    one.write_all(b"!").unwrap();
    let others = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..10 {
        let turn = || reactor.turn(Some(Duration::from_millis(10)));
        let _ = catch_unwind(AssertUnwindSafe(turn));
    }
    let core = &reactor.cx.core;
    let rests = |id| core.listeners.get(id).is_some_and(|listener| listener.resting);
    let resting = core.listener_ids().into_iter().filter(|id| rests(*id));
    assert_eq!(resting.count(), core.listeners.resting());
    drop((one, others));
}

/// Sets more timers than one turn calls.
struct ManyTimers {
    calls: usize,
}

impl Handler for ManyTimers {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        for tag in 0..3000 {
            cx.set_timer(Duration::ZERO, tag);
        }
        Ok(())
    }

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }

    fn on_timer(&mut self, _: &mut Context, _: crate::Timer) {
        self.calls += 1;
    }
}

/// Promise 6: however many timers are due, sockets have their turn between them.
#[test]
fn one_turn_calls_so_many_timers_and_no_more() {
    let mut reactor = Reactor::new(ManyTimers { calls: 0 }).unwrap();
    let mut most = 0;
    while reactor.handler().calls < 3000 {
        let before = reactor.handler().calls;
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        most = most.max(reactor.handler().calls - before);
    }
    assert!(most <= 1024, "{most} in one turn");
}

/// Counts the connections whose end is near.
struct Idles(usize);

impl Handler for Idles {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }

    fn on_closing(&mut self, _: &mut Conn<'_>, (): &mut (), _: &CloseReason) -> io::Result<()> {
        self.0 += 1;
        Ok(())
    }
}

/// Promise 6: however many connections are idle at once, sockets have their turn between them. Before each
/// verdict the kernel is asked, and where there are 20,000 Unix sockets it takes a millisecond to answer.
#[test]
fn one_turn_asks_the_kernel_about_so_many_connections_and_no_more() {
    let config = Config::default().idle(Some(Duration::from_millis(1)));
    let mut reactor = Reactor::with_config(Idles(0), config).unwrap();
    let pairs = [(); 200].map(|()| std::os::unix::net::UnixStream::pair().unwrap());
    let _theirs = pairs.map(|(ours, theirs)| {
        reactor.adopt(ours, 0).unwrap();
        theirs
    });
    let mut most = 0;
    while reactor.handler().0 < 200 {
        let before = reactor.handler().0;
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        most = most.max(reactor.handler().0 - before);
    }
    assert!(most <= 32, "{most} in one turn");
}
