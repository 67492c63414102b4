//! Promise 4 in virtual time: each timeout at its bound, a moment before it and a moment after.

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What a handler does with what it is sent.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Leaves it and waits for more.
    Leaves,
    /// Answers with so many bytes.
    Answers(usize),
    /// The same, and closes.
    Closes(usize),
    /// Keeps the connection through shutdown.
    Holds,
    /// Takes two bytes, and waits for two more.
    Pairs,
}

struct Doer {
    deed: Deed,
    /// How each connection ended, and each connect that failed.
    told: Vec<String>,
}

impl Handler for Doer {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        match self.deed {
            Deed::Leaves => return Ok(()),
            Deed::Answers(bytes) | Deed::Closes(bytes) => conn.send(vec![7; bytes]),
            Deed::Holds => conn.hold(true),
            Deed::Pairs => {
                while input.take(2).is_some() {}
                return Ok(());
            }
        }
        input.take_all();
        if matches!(self.deed, Deed::Closes(_)) {
            conn.close();
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.told.push(closed.to_string());
    }

    fn on_connect_failed(&mut self, _: &mut Context, _: ConnId, _: u64, error: io::Error) {
        self.told.push(error.kind().to_string());
    }
}

/// A world of little latency: what is said is there within a millisecond.
fn near() -> Profile {
    Profile::calm().latency_micros(1..=50).buffer(1000..=1000)
}

/// Fails unless the connection is there until just before `wait` has passed, and ends with these
/// words right after it.
#[track_caller]
fn ends_at(
    sim: &Sim,
    reactor: &mut Reactor<Doer>,
    wait: Duration,
    words: &str,
) -> Result<(), Failure> {
    sim.advance(reactor, wait.saturating_sub(10 * MS))?;
    assert!(reactor.handler().told.is_empty(), "{:?}, too early", reactor.handler().told);
    sim.advance(reactor, 20 * MS)?;
    assert_eq!(reactor.handler().told, [words]);
    Ok(())
}

fn world(sim: &Sim, config: Config, deed: Deed) -> Result<(Reactor<Doer>, Peer), Failure> {
    let doer = Doer { deed, told: Vec::new() };
    let mut reactor = sim.reactor(doer, config.linger(MS))?;
    reactor.listen(TO)?;
    Ok((reactor, sim.connect(TO)))
}

/// Promise 5: memory that no connection holds any more is there for the rest at once, whether it
/// was taken or went with a close that lingers on.
#[test]
fn a_shortage_of_memory_ends_with_what_was_held() {
    const HIGH: usize = 1 << 16;
    let config = Config::default().input_max(4000).buffered_max(5000).output_high(HIGH);
    for is_closed in [false, true] {
        check(0..20, near(), |sim| {
            let doer = Doer { deed: Deed::Leaves, told: Vec::new() };
            let mut reactor = sim.reactor(doer, config.clone())?;
            reactor.listen(TO)?;
            let holds = sim.connect(TO);
            holds.send([7; 3900]);
            sim.advance(&mut reactor, SECOND)?;
            let _other = sim.connect(TO);
            sim.advance(&mut reactor, MS)?;
            let ids = reactor.cx.connections();
            let room = |reactor: &mut Reactor<Doer>| reactor.cx.conn(ids[1]).unwrap().room();
            assert!(room(&mut reactor) < HIGH, "there is no shortage");
            if is_closed {
                reactor.cx.conn(ids[0]).unwrap().close();
            } else {
                // What is left is offered again.
                reactor.cx.conn(ids[0]).unwrap().pause();
                sim.advance(&mut reactor, MS)?;
                reactor.handler_mut().deed = Deed::Answers(1);
                reactor.cx.conn(ids[0]).unwrap().resume();
            }
            sim.advance(&mut reactor, MS)?;
            assert_eq!(room(&mut reactor), HIGH, "closed: {is_closed}");
            assert_eq!(reactor.stats().closed.total(), 0, "it lingers");
            Ok(())
        });
    }
}

/// Promise 4: silent from the start.
#[test]
fn first_byte_is_met_to_the_moment() {
    check(0..20, near(), |sim| {
        let config = Config::default().first_byte(Some(10 * SECOND));
        let (mut reactor, _peer) = world(sim, config.clone(), Deed::Answers(1))?;
        ends_at(sim, &mut reactor, 10 * SECOND, "first byte timeout, not clean")
    });
    check(0..20, near(), |sim| {
        let config = Config::default().first_byte(Some(10 * SECOND));
        let (mut reactor, peer) = world(sim, config, Deed::Answers(1))?;
        peer.wait(9990 * MS);
        peer.send("x");
        sim.advance(&mut reactor, 3600 * SECOND)?;
        assert!(reactor.handler().told.is_empty());
        Ok(())
    });
}

/// Promise 4: silent afterwards.
#[test]
fn idle_is_met_to_the_moment() {
    check(0..20, near(), |sim| {
        let (mut reactor, peer) =
            world(sim, Config::default().idle(Some(60 * SECOND)), Deed::Answers(1))?;
        peer.wait(30 * SECOND);
        peer.send("x");
        ends_at(sim, &mut reactor, 90 * SECOND, "idle timeout, not clean")
    });
}

/// Promise 4: exactly so many bytes in the window will do, and one fewer will not.
#[test]
fn progress_is_counted_to_the_byte() {
    for (more, window) in [(9, 1), (10, 2)] {
        check(0..20, near(), |sim| {
            let config = Config::default().min_rate(10, 30 * SECOND);
            let (mut reactor, peer) = world(sim, config, Deed::Leaves)?;
            peer.send("x");
            for _ in 0..more {
                peer.wait(SECOND);
                peer.send("y");
            }
            ends_at(sim, &mut reactor, window * 30 * SECOND, "too slow, not clean")
        });
    }
}

/// Promise 4: a handler that waits for two bytes between two requests is owed nothing until the
/// first is there.
#[test]
fn a_request_is_owed_from_its_first_byte_on() {
    check(0..20, near(), |sim| {
        let config = Config::default().min_rate(10, 30 * SECOND);
        let (mut reactor, peer) = world(sim, config, Deed::Pairs)?;
        peer.send("ab");
        peer.wait(25 * SECOND);
        peer.send("c");
        peer.wait(10 * SECOND);
        peer.send("d");
        peer.wait(SECOND);
        peer.send("e");
        ends_at(sim, &mut reactor, 66 * SECOND, "too slow, not clean")
    });
}

/// Promise 4: it takes nothing any more. What is owed at all is found by `write_stall`, what is owed
/// too slowly by `min_rate`, whichever is nearer.
#[test]
fn who_takes_nothing_is_found_to_the_moment() {
    // The kernels between us take some 3000 bytes.
    let slow = Config::default().min_rate(5000, 40 * SECOND);
    for (config, wait, why) in [
        (Config::default(), 120 * SECOND, "write stall timeout"),
        (slow.clone(), 40 * SECOND, "too slow"),
        (slow.write_stall(30 * SECOND), 30 * SECOND, "write stall timeout"),
    ] {
        check(0..20, near(), |sim| {
            let (mut reactor, peer) = world(sim, config.clone(), Deed::Answers(50_000))?;
            peer.stop_reading();
            peer.send("x");
            sim.advance(&mut reactor, wait.saturating_sub(10 * MS))?;
            assert!(reactor.handler().told.is_empty());
            sim.advance(&mut reactor, 20 * MS)?;
            let told = &reactor.handler().told;
            assert!(told.len() == 1 && told[0].starts_with(why), "{told:?}");
            Ok(())
        });
    }
}

/// Promise 4, Trap 39: our FIN is out, the peer's does not come; nor does it after what is left goes
/// out only slowly.
#[test]
fn linger_and_close_max_are_met_to_the_moment() {
    check(0..20, near(), |sim| {
        let (_, peer) = {
            let doer = Doer { deed: Deed::Closes(1), told: Vec::new() };
            let mut reactor = sim.reactor(doer, Config::default())?;
            reactor.listen(TO)?;
            let peer = sim.connect(TO);
            peer.send("x");
            ends_at(sim, &mut reactor, 5 * SECOND, "closed here, not clean")?;
            (reactor, peer)
        };
        assert_eq!(peer.recv(), [7]);
        Ok(())
    });
    check(0..20, near(), |sim| {
        let config = Config::default().close_max(30 * SECOND).write_stall(3600 * SECOND);
        let (mut reactor, peer) = world(sim, config, Deed::Closes(50_000))?;
        peer.stop_reading();
        peer.send("x");
        sim.advance(&mut reactor, 29_990 * MS)?;
        assert!(reactor.handler().told.is_empty());
        sim.advance(&mut reactor, 20 * MS)?;
        let told = &reactor.handler().told;
        assert!(told.len() == 1 && told[0].starts_with("closed here, "), "{told:?}");
        Ok(())
    });
}

/// Promise 4: a connect that is not answered, and a shutdown that waits for a held connection.
#[test]
fn connect_and_shutdown_max_are_met_to_the_moment() {
    check(0..20, near(), |sim| {
        let (mut reactor, _peer) = world(sim, Config::default(), Deed::Holds)?;
        sim.black_hole("10.0.0.8:80");
        reactor.connect("10.0.0.8:80".parse::<Address>()?, 1)?;
        ends_at(sim, &mut reactor, 10 * SECOND, "timed out")
    });
    check(0..20, near(), |sim| {
        let (mut reactor, peer) = world(sim, Config::default(), Deed::Holds)?;
        peer.send("x");
        sim.advance(&mut reactor, SECOND)?;
        reactor.shutdown();
        ends_at(sim, &mut reactor, 10 * SECOND, "shutdown, not clean")
    });
}

/// Promise 4: a connection that has been idle for just so long makes room for a newcomer, and not before.
#[test]
fn reclaim_idle_is_met_to_the_moment() {
    check(0..20, near(), |sim| {
        let config = Config::default().connections(1).reclaim_idle(Some(10 * SECOND));
        let (mut reactor, peer) = world(sim, config, Deed::Answers(1))?;
        peer.send("x");
        sim.advance(&mut reactor, SECOND)?;
        let next = sim.connect(TO);
        next.send("y");
        next.expect([7]);
        ends_at(sim, &mut reactor, 9 * SECOND, "idle, and its place was needed, not clean")?;
        sim.advance(&mut reactor, SECOND)?;
        assert!(next.is_done() && peer.is_ended() && !peer.is_reset());
        Ok(())
    });
}
