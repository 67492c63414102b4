//! No deadline is counted from before a callback, or from a turn that lies long back: each alone,
//! in virtual time.
//!
//! The same with real sockets, where a wait is a wait, is in `promises/stale_clock.rs`. Needs the feature:
//! `cargo test --features sim --test stale_clock_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wouldblock::sim::{Peer, Profile, Sim};
use wouldblock::{
    Closed, Config, Conn, ConnId, Context, Detached, Handler, Input, Origin, Reactor,
};

const DOOR: &str = "10.0.0.1:7777";
const SECOND: Duration = Duration::from_secs(1);

/// Does with the other connection, or with its own, what its peer says by one byte.
struct Obeys {
    sim: Arc<Sim>,
    /// Who is connected, in order.
    ids: Vec<ConnId>,
    detached: Arc<Mutex<Option<Detached>>>,
    ends: Vec<Closed>,
}

impl Handler for Obeys {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        self.ids.push(conn.id());
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        match input.take_all() {
            // To the first connection, after long work.
            b"o" => {
                self.sim.work(40 * SECOND);
                let first = self.ids[0];
                conn.cx().conn(first).unwrap().send("x");
            }
            b"d" => {
                conn.send([b'.'; 5000]);
                let detached = Arc::clone(&self.detached);
                conn.detach(move |it| *detached.lock().unwrap() = Some(it));
            }
            many => conn.send(many),
        }
        Ok(())
    }

    fn on_eof(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        conn.send([b'.'; 5000]);
        self.sim.work(40 * SECOND);
        conn.finish();
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.ends.push(closed);
    }
}

/// A reactor, and a peer that reads nothing.
fn world(config: Config) -> (Arc<Sim>, Reactor<Obeys>, Peer) {
    let sim = Arc::new(Sim::new(1, Profile::calm().buffer(100..=100)));
    let (ids, ends) = (Vec::new(), Vec::new());
    let handler = Obeys { sim: Arc::clone(&sim), ids, detached: Arc::default(), ends };
    let mut reactor = sim.reactor(handler, config).unwrap();
    reactor.listen(DOOR).unwrap();
    let peer = sim.connect(DOOR);
    peer.stop_reading();
    sim.advance(&mut reactor, SECOND).unwrap();
    (sim, reactor, peer)
}

fn queued_for_the_first(reactor: &mut Reactor<Obeys>) -> usize {
    let first = reactor.handler().ids[0];
    reactor.service(0).conn(first).unwrap().queued()
}

/// How many bytes the kernels keep for a peer that reads nothing.
fn room() -> usize {
    let is_more = |len: &usize| {
        let (sim, mut reactor, peer) = world(Config::default());
        peer.send(vec![b'.'; *len]);
        sim.advance(&mut reactor, SECOND).unwrap();
        queued_for_the_first(&mut reactor) > 0
    };
    (1..1000).find(is_more).unwrap() - 1
}

/// Promise 4: what a callback sends to another connection is owed from then on, however long it had
/// worked before: here the kernel is full to the last byte, and takes none of it.
#[test]
fn what_is_sent_to_another_stalls_from_the_send_on() {
    let (sim, mut reactor, peer) = world(Config::default().write_stall(50 * SECOND));
    peer.send(vec![b'.'; room()]);
    sim.advance(&mut reactor, SECOND).unwrap();
    assert_eq!(queued_for_the_first(&mut reactor), 0);
    sim.connect(DOOR).send("o");
    sim.advance(&mut reactor, 60 * SECOND).unwrap();
    assert_eq!(queued_for_the_first(&mut reactor), 1, "it stalls only 50 s after the work of 40");
    sim.advance(&mut reactor, 40 * SECOND).unwrap();
    assert_eq!(reactor.stats().closed.write_stall, 1);
}

/// Promise 4: `finish` behind the peer's end is a close, which has all of `close_max` from there.
#[test]
fn finish_behind_the_peers_end_has_its_close_max() {
    let (sim, mut reactor, peer) = world(Config::default().close_max(50 * SECOND));
    peer.finish();
    sim.advance(&mut reactor, 60 * SECOND).unwrap();
    assert_eq!(reactor.handler().ends.len(), 0, "it is cut only 50 s after the work of 40");
    sim.advance(&mut reactor, 40 * SECOND).unwrap();
    assert_eq!(reactor.handler().ends.len(), 1);
}

/// Promise 4: output that an adopted connection brings along is owed from then on, and not from the
/// last turn.
#[test]
fn what_is_adopted_between_two_turns_stalls_from_then_on() {
    let (sim, mut reactor, peer) = world(Config::default().write_stall(50 * SECOND));
    peer.send(vec![b'.'; room()]);
    sim.advance(&mut reactor, SECOND).unwrap();
    peer.send("d");
    sim.advance(&mut reactor, SECOND).unwrap();
    let detached = reactor.handler().detached.lock().unwrap().take().unwrap();
    assert!(!detached.unsent.is_empty());
    sim.work(40 * SECOND);
    reactor.adopt(detached, 0).unwrap();
    sim.advance(&mut reactor, 30 * SECOND).unwrap();
    assert_eq!(reactor.stats().closed.write_stall, 0);
    sim.advance(&mut reactor, 30 * SECOND).unwrap();
    assert_eq!(reactor.stats().closed.write_stall, 1);
}
