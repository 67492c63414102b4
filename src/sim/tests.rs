//! The simulator itself: that it does what it says.

use super::*;
use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::handle::Handle;
use crate::handler::handler_fn;
use crate::kernel::rng::Rng;
use crate::net::connect::Connect;
use crate::time::deadlines::Stamp;
use std::net::SocketAddr;

mod limits;

fn echo() -> impl Handler {
    handler_fn(|conn, input| {
        conn.send(input.take_all());
        Ok(())
    })
}

const TO: &str = "10.0.0.1:7777";

/// So many seeds, or where Miri runs them, a thousand times slower, a 25th of them.
fn few(seeds: u64) -> u64 {
    if cfg!(miri) { seeds.div_ceil(25) } else { seeds }
}

/// Promise 4: a wait beyond the clock ends with the world, which can still be asked.
#[test]
fn a_world_that_has_come_to_its_end_goes_on() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    for _ in 0..3 {
        sim.advance(&mut reactor, Duration::MAX).unwrap();
        sim.work(Duration::MAX);
    }
    assert_eq!(sim.now().as_secs() / (365 * 86_400), 292);
    let peer = sim.connect(TO);
    peer.send("late");
    peer.expect("late");
    peer.finish();
    peer.expect_end();
    sim.run_until_idle(&mut reactor).unwrap();
}

#[test]
fn what_is_sent_comes_back_in_a_world_of_every_kind() {
    for profile in [Profile::calm(), Profile::everyday(), Profile::rough()] {
        for flags in [true, false] {
            check(0..few(50), profile.clone().flags(flags), |sim| {
                let mut reactor = sim.reactor(echo(), Config::default())?;
                reactor.listen(TO)?;
                reactor.listen("unix:/run/echo")?;
                for to in [TO, "unix:/run/echo"] {
                    let peer = sim.connect(to);
                    peer.send([7; 5000]);
                    peer.send_urgent();
                    peer.send("hello");
                    peer.expect([7; 5000]);
                    peer.expect("hello");
                    peer.finish();
                    peer.expect_end();
                }
                // An accept that failed takes a peer away.
                match sim.run_until_idle(&mut reactor) {
                    Err(failure)
                        if reactor.stats().accept_errors + reactor.stats().refused == 0 =>
                    {
                        Err(failure)
                    }
                    _ => Ok(()),
                }
            });
        }
    }
}

#[test]
fn a_world_of_its_own_gives_the_same_trace_again() {
    let play = |seed| {
        let sim = Sim::new(seed, Profile::rough());
        let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
        reactor.listen(TO).unwrap();
        let peer = sim.connect(TO);
        peer.send("hello");
        sim.run_until_idle(&mut reactor).unwrap();
        (sim.trace(), sim.trace_hash())
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1).1, play(2).1);
    assert!(play(1).0.contains("#0    read "), "{}", play(1).0);
}

/// Records how each connection ended.
#[derive(Default)]
struct Ends(Vec<(Duration, Closed)>);

impl Handler for Ends {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        input.take_all();
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, _session: (), closed: Closed) {
        let now = cx.core.driver.kernel().unwrap().now();
        self.0.push((Duration::from_nanos(now), closed));
    }
}

/// Trap 60: the clock is the reactor's own, and a jump of it acts on no one the kernel has news of.
#[test]
fn a_day_of_idle_timeouts_takes_no_time() {
    let day = Duration::from_secs(24 * 3600);
    let sim = Sim::new(3, Profile::calm());
    let config = Config::default().idle(Some(day));
    let mut reactor = sim.reactor(Ends::default(), config).unwrap();
    reactor.listen(TO).unwrap();
    let talks = sim.connect(TO);
    let silent = sim.connect(TO);
    for _ in 0..3 {
        talks.wait(day / 2);
        talks.send("still here");
    }
    sim.advance(&mut reactor, day * 2).unwrap();
    let ends = &reactor.handler().0;
    assert_eq!(ends.len(), 1);
    let (at, closed) = &ends[0];
    assert!(matches!(closed.reason, CloseReason::Idle), "{closed}");
    // And then it lingers: the peer does not end its side.
    let linger = Duration::from_secs(5);
    assert!((day + linger..day + linger * 2).contains(at), "{at:?}");
    assert!(silent.is_ended() && !talks.is_ended());
}

/// Trap 58: what is done after an interrupted wait is not done in the past. A shutdown asked for by the
/// thread that had the signal was given up at once if the wait had been a long one.
#[test]
fn the_time_is_known_after_an_interrupted_wait() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = sim.reactor(Ends::default(), Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    sim.interrupt_after(Duration::from_secs(3600));
    assert!(reactor.turn(None).unwrap());
    assert_eq!(reactor.cx.core.now, Stamp::at(sim.kernel.now()));
    assert!(sim.now() >= Duration::from_secs(3600));
}

#[test]
fn an_expectation_that_does_not_come_true_says_what_came() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    let peer = sim.connect(TO);
    peer.send("hello");
    peer.expect("hellO");
    let failure = sim.run_until_idle(&mut reactor).unwrap_err();
    assert_eq!(failure.what(), "peer 0 expected \"hellO\" (5 bytes), got \"hello\" (5 bytes)");
    assert!(failure.to_string().contains("seed 1: "), "{failure}");
    let peer = sim.connect("10.0.0.1:1");
    peer.expect("anything");
    let failure = sim.run_until_idle(&mut reactor).unwrap_err();
    assert!(failure.what().starts_with("peer 0"), "{failure}");
    assert!(peer.is_refused());
}

/// What `recv` takes, an expectation that is under way does not count as come.
#[test]
fn an_expectation_waits_for_what_comes_after_a_recv() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    let peer = sim.connect(TO);
    peer.send("ab");
    peer.expect("abc");
    assert!(sim.run_until_idle(&mut reactor).is_err(), "c has not come");
    assert_eq!(peer.recv(), b"ab");
    reactor.handle().post(|_, cx| cx.broadcast("abcd".into())).unwrap();
    sim.run_until_idle(&mut reactor).unwrap();
    assert_eq!(peer.recv(), b"d");
}

#[test]
fn a_wait_that_would_never_end_is_an_error_of_run() {
    let sim = Sim::new(1, Profile::calm());
    let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    let error = reactor.run().unwrap_err();
    assert!(error.to_string().contains("idle"), "{error}");
}

#[test]
fn run_returns_when_the_handler_shuts_down() {
    let sim = Sim::new(1, Profile::everyday());
    let stop = handler_fn(|conn, input| {
        input.take_all();
        conn.cx().shutdown();
        Ok(())
    });
    let mut reactor = sim.reactor(stop, Config::default()).unwrap();
    reactor.listen(TO).unwrap();
    let peer = sim.connect(TO);
    peer.send("stop");
    peer.expect_end();
    reactor.run().unwrap();
    assert!(peer.is_done());
}

#[test]
fn an_adopted_stream_has_a_peer_at_its_other_end() {
    let sim = Sim::new(1, Profile::everyday());
    let mut reactor = sim.reactor(echo(), Config::default()).unwrap();
    let (stream, peer) = sim.pair().unwrap();
    reactor.adopt(stream, 1).unwrap();
    peer.send("hello");
    peer.expect("hello");
    sim.run_until_idle(&mut reactor).unwrap();
}

/// An echo that leaves a part of its input, and again and again detaches a connection and takes it back.
struct Comes {
    handle: Handle<Comes>,
    rng: Rng,
    detached: usize,
}

impl Handler for Comes {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let n = self.rng.size(1, input.len());
        conn.send(input.take(n).expect("it does not rest"));
        if self.rng.chance(300) {
            self.detached += 1;
            let handle = self.handle.clone();
            conn.detach(move |detached| {
                let adopt =
                    |_: &mut Comes, cx: &mut Context| assert!(cx.adopt(detached, 1).is_ok());
                assert!(handle.post(adopt).is_ok());
            });
        }
        Ok(())
    }

    fn on_eof(&mut self, conn: &mut Conn<'_>, (): &mut (), rest: &mut Input<'_>) -> io::Result<()> {
        conn.send(rest.take_all());
        conn.close();
        Ok(())
    }
}

/// Promise 2: however often a connection goes and comes back, every byte is echoed, in order.
#[test]
fn a_connection_that_is_detached_and_adopted_again_and_again_loses_no_byte() {
    for profile in [Profile::everyday(), Profile::rough().watch_error(0)] {
        check(0..few(40), profile, |sim| {
            let rng = Rng::new(sim.seed());
            let make = |handle| Comes { handle, rng, detached: 0 };
            let mut reactor = sim.build(Config::default(), make)?;
            let (stream, peer) = sim.pair()?;
            reactor.adopt(stream, 1)?;
            let bytes: Vec<u8> = (0..5000_u32).map(|at| at.to_le_bytes()[0]).collect();
            for piece in bytes.chunks(100) {
                peer.send(piece);
            }
            peer.expect(&bytes);
            peer.finish();
            peer.expect_end();
            sim.run_until_idle(&mut reactor)?;
            let (stats, detached) = (reactor.stats(), reactor.handler().detached as u64);
            assert!(peer.is_done() && detached > 0);
            assert_eq!((stats.closed.detached, stats.adopted), (detached, detached + 1));
            Ok(())
        });
    }
}

/// The feature changes nothing for a program that does not use it: a reactor goes to another thread
/// as before.
#[test]
fn a_reactor_is_still_sent() {
    fn is_send<T: Send>(_: &T) {}
    let sim = Sim::new(1, Profile::calm());
    is_send(&sim.reactor(Ends::default(), Config::default()).unwrap());
    is_send(&sim.connect(TO));
}

/// Connects when it is told to, and passes on what comes.
#[derive(Default)]
struct Calls {
    told: Vec<String>,
}

impl Handler for Calls {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        if let Origin::Connected(tag) = origin {
            self.told.push(format!("connected {tag}"));
            self.told.push(format!("{} to {}", conn.local_addr()?, conn.peer_addr()?));
            conn.send("hello");
        }
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        self.told.push(String::from_utf8_lossy(input.take_all()).into());
        Ok(())
    }

    fn on_connect_failed(&mut self, _: &mut Context, _: ConnId, tag: u64, error: io::Error) {
        self.told.push(format!("failed {tag}: {:?}", error.kind()));
    }
}

/// Trap 44 and trap 46: a server that answers, one that does not, and none.
#[test]
fn a_connect_is_answered_swallowed_or_refused() {
    for profile in [Profile::calm(), Profile::rough().watch_error(0)] {
        check(0..few(50), profile, |sim| {
            let mut reactor = sim.reactor(Calls::default(), Config::default())?;
            let server = sim.serve("10.0.0.9:80");
            sim.black_hole("10.0.0.8:80");
            server.expect("hello");
            server.send("world");
            for (tag, to) in [(1, "10.0.0.9:80"), (2, "10.0.0.8:80"), (3, "10.0.0.7:80")] {
                reactor.connect(to.parse::<Address>()?, tag)?;
            }
            sim.advance(&mut reactor, Duration::from_secs(9))?;
            let mut told = reactor.handler().told.clone();
            told.sort();
            assert!(told.contains(&"connected 1".into()), "{told:?}");
            assert!(told.contains(&"failed 3: ConnectionRefused".into()), "{told:?}");
            assert!(!told.iter().any(|line| line.contains(" 2")), "{told:?}");
            sim.advance(&mut reactor, Duration::from_secs(6))?;
            let told = &reactor.handler().told;
            assert!(told.contains(&"failed 2: TimedOut".into()), "{told:?}");
            assert!(server.is_done());
            Ok(())
        });
    }
}

/// A connect to several addresses goes on from one that refuses, and one that says nothing, to one that
/// answers, with what was sent, in a simulation too.
#[test]
fn a_connect_to_several_addresses_goes_on_in_a_simulation() {
    for profile in [Profile::calm(), Profile::rough().watch_error(0)] {
        check(0..few(50), profile.duplicates(500), |sim| {
            let mut reactor = sim.reactor(Calls::default(), Config::default())?;
            let server = sim.serve("10.0.0.9:80");
            sim.black_hole("10.0.0.8:80");
            server.expect("hello");
            server.send("world");
            let to = ["10.0.0.7:80", "10.0.0.8:80", "10.0.0.9:80"];
            let to = to.map(|to| to.parse::<Address>().expect("an address"));
            reactor.connect(&to[..], 1)?;
            reactor.connect(&to[..2], 2)?;
            sim.advance(&mut reactor, Duration::from_secs(16))?;
            let told = &reactor.handler().told;
            assert!(told.contains(&"connected 1".into()), "{told:?}");
            assert!(told.contains(&"failed 2: TimedOut".into()), "{told:?}");
            assert!(server.is_done());
            Ok(())
        });
    }
}

/// A connect's own timeout is acted on in time, and its source is where it comes from, here too.
#[test]
fn a_connect_has_its_own_timeout_and_source_in_a_simulation() {
    check(0..few(50), Profile::calm(), |sim| {
        let mut reactor = sim.reactor(Calls::default(), Config::default())?;
        let _server = sim.serve("10.0.0.9:80");
        sim.black_hole("10.0.0.8:80");
        let from = |port| SocketAddr::from(([10, 0, 0, 77], port));
        reactor.connect(Connect::from("10.0.0.9:80").source(from(4000)), 1)?;
        for (tag, seconds) in [(2, 3), (3, 30)] {
            let connect = Connect::from("10.0.0.8:80").source(from(0));
            reactor.connect(connect.timeout(Duration::from_secs(seconds)), tag)?;
        }
        let told = |reactor: &Reactor<Calls>, line: &str| {
            reactor.handler().told.iter().any(|told| told == line)
        };
        sim.advance(&mut reactor, Duration::from_millis(2900))?;
        assert!(told(&reactor, "connected 1") && !told(&reactor, "failed 2: TimedOut"));
        assert!(told(&reactor, "10.0.0.77:4000 to 10.0.0.9:80"));
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert!(told(&reactor, "failed 2: TimedOut"));
        sim.advance(&mut reactor, Duration::from_secs(25))?;
        assert!(!told(&reactor, "failed 3: TimedOut"));
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        assert!(told(&reactor, "failed 3: TimedOut"));
        Ok(())
    });
}

/// Waits for the end of a line, and reads no more when it has come to 64 bytes, for a second.
#[derive(Default)]
struct Waits(Vec<Closed>);

impl Handler for Waits {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert_eq!(input.line(), None);
        if input.len() == 64 {
            conn.pause();
            conn.set_timeout(Duration::from_secs(1));
        }
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        conn.resume();
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, _session: (), closed: Closed) {
        self.0.push(closed);
    }
}

/// Promise 4: while it is paused nothing is asked of it; then a line for which there is no room ends it.
#[test]
fn a_line_that_cannot_come_any_more_ends_the_connection_when_it_reads_again() {
    check(0..few(50), Profile::everyday(), |sim| {
        let mut reactor = sim.reactor(Waits::default(), Config::default().input_max(64))?;
        reactor.listen(TO)?;
        let peer = sim.connect(TO);
        peer.send([b'x'; 100]);
        sim.advance(&mut reactor, Duration::from_millis(900))?;
        assert!(reactor.handler().0.is_empty());
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        let ends = &reactor.handler().0;
        let [closed] = &ends[..] else { panic!("{ends:?}") };
        assert!(matches!(closed.reason, CloseReason::InputLimit), "{closed}");
        Ok(())
    });
}
