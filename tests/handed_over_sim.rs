//! What a service bounds, for connections that another service hands to it; and what of the first
//! goes along.
//!
//! Each alone, with the smallest handlers that show it. How services share a reactor whatever the
//! network does is in `services_sim.rs`. Needs the feature: `cargo test --features sim --test
//! handed_over_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{Caps, Closed, Config, Conn, ConnId, Context, Handler, Input, Origin, Reactor};

const MS: Duration = Duration::from_millis(1);

fn door(service: u8) -> String {
    format!("10.0.0.1:{}", 7000 + u16::from(service))
}

/// Does something with a connection when its peer has said a line, and hands it to the second.
struct First(fn(&mut Conn<'_>));

impl Handler for First {
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
        if input.line().is_some() {
            (self.0)(conn);
            conn.hand_to(1, 0);
        }
        Ok(())
    }
}

/// Answers each byte with a hundred, and writes down at how much queued output it was called; and
/// how connections ended.
#[derive(Default)]
struct Second {
    queued: Vec<usize>,
    drains: usize,
    ends: Vec<String>,
}

impl Handler for Second {
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
        self.queued.push(conn.queued());
        conn.send(vec![b'.'; 100 * input.take_all().len()]);
        Ok(())
    }

    fn on_drain(&mut self, _: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        self.drains += 1;
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.ends.push(closed.reason.to_string());
    }
}

/// Holds each connection through a shutdown, and hands it to the second when its peer says something.
struct Holds;

impl Handler for Holds {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        conn.hold(true);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        input.take_all();
        conn.hand_to(1, 0);
        Ok(())
    }
}

/// Both, listening each at its own door.
fn both(sim: &Sim, first: First, config: Config) -> Result<Reactor<(First, Second)>, Failure> {
    let mut reactor = sim.reactor((first, Second::default()), config)?;
    for n in 0..2 {
        reactor.service(n).listen(&*door(n))?;
    }
    Ok(reactor)
}

/// Trap 40: a connection that the first service held waits for nobody's answer any more.
#[test]
fn a_hold_of_the_first_service_keeps_no_shutdown_waiting() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = both(sim, First(|conn| conn.hold(true)), Config::default())?;
        let peer = sim.connect(&door(0));
        peer.send("go\n");
        sim.advance(&mut reactor, MS * 500)?;
        reactor.shutdown();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert!(peer.is_ended());
        peer.close();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert_eq!(reactor.shutdown_report().unwrap().cut, 0);
        Ok(())
    });
}

/// Promise 5: that the first service reads whatever is queued is not the second's wish.
#[test]
fn a_second_service_rests_above_high_whatever_the_first_had_asked_for() {
    check(0..30, Profile::calm().buffer(50..=50), |sim| {
        let config = Config::default().output_low(100).output_high(1000);
        let mut reactor = both(sim, First(|conn| conn.auto_pause(false)), config)?;
        let peer = sim.connect(&door(0));
        peer.stop_reading();
        peer.send("go\n");
        sim.advance(&mut reactor, MS * 500)?;
        peer.send(vec![b'?'; 500]);
        sim.advance(&mut reactor, MS * 500)?;
        let queued = &reactor.handler().1.queued;
        assert!(!queued.is_empty() && queued.iter().all(|queued| *queued < 1000), "{queued:?}");
        Ok(())
    });
}

/// Promise 6: who waits at a service's cap is served when the cap is raised, though nobody has left.
#[test]
fn a_listener_at_a_cap_goes_on_when_the_cap_is_raised() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = both(sim, First(|_| {}), Config::default())?;
        reactor.service(1).set_caps(Caps::default().connections(1))?;
        let _peers = [0, 1, 2].map(|_| sim.connect(&door(1)));
        sim.advance(&mut reactor, MS * 500)?;
        assert_eq!(reactor.service(1).service_stats().open, 1);
        reactor.service(1).set_caps(Caps::default().connections(2))?;
        sim.advance(&mut reactor, MS * 500)?;
        assert_eq!(reactor.service(1).service_stats().open, 2);
        Ok(())
    });
}

/// Promise 4: the times of the service that takes over hold from then on, though its peer says
/// nothing more.
#[test]
fn the_times_of_the_second_service_hold_for_one_that_says_nothing_more() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = both(sim, First(|_| {}), Config::default().idle(None))?;
        reactor.service(1).set_caps(Caps::default().idle(Some(Duration::from_secs(2))))?;
        let peer = sim.connect(&door(0));
        peer.send("go\n");
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert_eq!(reactor.handler().1.ends.len(), 0);
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        assert!(peer.is_ended());
        peer.close();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert_eq!(reactor.handler().1.ends, ["idle timeout"]);
        Ok(())
    });
}

/// Promise 4: a connection that was handed over is one of its address at the service that has it,
/// and none at the other.
#[test]
fn an_address_has_its_connections_where_they_were_handed_to() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = both(sim, First(|_| {}), Config::default())?;
        for n in 0..2 {
            let caps = Caps::default().connections_per_address(Some(1));
            reactor.service(n).set_caps(caps)?;
        }
        let peer = sim.connect_from("10.1.1.1:5000", &door(0));
        peer.send("go\n");
        sim.advance(&mut reactor, MS * 500)?;
        let [again, there] =
            [0, 1].map(|n| sim.connect_from(&format!("10.1.1.1:600{n}"), &door(n)));
        sim.advance(&mut reactor, MS * 500)?;
        assert!(there.is_reset() && !again.is_reset());
        let stats = [0, 1].map(|n| reactor.service(n).service_stats());
        assert_eq!(stats.clone().map(|of| of.refused_address), [0, 1]);
        assert_eq!(stats.clone().map(|of| of.accepted), [2, 0]);
        assert_eq!(stats.map(|of| (of.open, of.taken_over)), [(1, 0), (1, 1)]);
        Ok(())
    });
}

/// Promise 3: what the first service asks for when it has handed a connection over, or is told that
/// it goes, is not the second's either.
#[test]
fn what_the_first_service_asks_for_as_a_connection_goes_is_forgotten() {
    /// Asks for much, and hands over before it does so.
    struct Asks;

    fn ask(conn: &mut Conn<'_>) {
        conn.pause();
        conn.hold(true);
        conn.auto_pause(false);
        conn.set_idle_timeout(None);
        conn.want_drain();
    }

    impl Handler for Asks {
        type Session = ();

        fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            conn.hand_to(1, 0);
            ask(conn);
            Ok(())
        }

        fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _: Closed) {
            ask(&mut cx.conn(id).unwrap());
        }
    }

    check(0..30, Profile::calm().buffer(50..=50), |sim| {
        let config = Config::default().output_low(100).output_high(1000);
        let config = config.idle(Some(Duration::from_secs(1)));
        let mut reactor = sim.reactor((Asks, Second::default()), config)?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        peer.stop_reading();
        peer.send(vec![b'?'; 500]);
        sim.advance(&mut reactor, MS * 500)?;
        let Second { queued, drains, .. } = &reactor.handler().1;
        assert!(!queued.is_empty() && queued.iter().all(|queued| *queued < 1000), "{queued:?}");
        assert_eq!(*drains, 0);
        let silent = sim.connect(&door(0));
        sim.advance(&mut reactor, MS * 1500)?;
        assert!(silent.is_ended(), "it has the idle timeout of all");
        let other = sim.connect(&door(0));
        other.send("?");
        other.expect(vec![b'.'; 100]);
        sim.advance(&mut reactor, MS * 500)?;
        reactor.shutdown();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        assert!(other.is_ended(), "held");
        Ok(())
    });
}

/// Promise 6: who waits at the cap of the first service is served when a connection has left that
/// for the second.
#[test]
fn a_listener_at_a_cap_goes_on_when_a_connection_is_handed_over() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = both(sim, First(|_| {}), Config::default())?;
        reactor.service(0).set_caps(Caps::default().connections(1))?;
        let first = sim.connect(&door(0));
        sim.advance(&mut reactor, MS * 500)?;
        let _waits = sim.connect(&door(0));
        sim.advance(&mut reactor, MS * 500)?;
        first.send("go\n");
        sim.advance(&mut reactor, MS * 500)?;
        let open = [0, 1].map(|n| reactor.service(n).service_stats().open);
        assert_eq!(open, [1, 1]);
        Ok(())
    });
}

/// Promise 7: a connection that is handed over in a shutdown is counted in the report by the
/// service that has it last.
#[test]
fn the_report_counts_a_connection_where_it_was_last() {
    check(0..30, Profile::everyday(), |sim| {
        let config = Config::default().shutdown_max(Duration::from_secs(2));
        let mut reactor = sim.reactor((Holds, Holds), config)?;
        reactor.listen(&*door(0))?;
        let [peer, leaves] = [0, 1].map(|_| sim.connect(&door(0)));
        sim.advance(&mut reactor, MS * 500)?;
        reactor.shutdown();
        sim.advance(&mut reactor, MS * 500)?;
        peer.send("go");
        leaves.close();
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        let report = reactor.shutdown_report().unwrap();
        assert_eq!((report.done, report.cut), (1, 1));
        let services: Vec<_> = report.services.iter().map(|of| (of.done, of.cut)).collect();
        assert_eq!(services, [(1, 0), (0, 1)]);
        Ok(())
    });
}

/// Promise 4: that the first service waits for more than it may be shown is its own affair: it does
/// not end the second's.
#[test]
fn what_the_first_service_waited_for_does_not_end_the_seconds_connection() {
    struct Waits;

    impl Handler for Waits {
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
            input.wait_for(usize::MAX);
            conn.hand_to(1, 0);
            Ok(())
        }
    }

    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor((Waits, Second::default()), Config::default())?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        peer.send("?");
        peer.expect(vec![b'.'; 100]);
        sim.advance(&mut reactor, MS * 500)?;
        assert!(!peer.is_ended() && peer.is_done());
        Ok(())
    });
}

/// Promise 3: a service that hands a connection on in its `on_open` has it no longer behind that
/// turn: no time of its own ends it there, however long the callbacks of others take.
#[test]
fn one_that_is_handed_on_at_once_is_the_third_services_in_the_same_turn() {
    /// Hands each on at its first byte, or works.
    struct Works(Sim);

    impl Handler for Works {
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
            match input.take_all() {
                b"work" => self.0.work(MS * 200),
                _ => conn.hand_to(1, 0),
            }
            Ok(())
        }
    }

    /// Takes long to hand each on at once.
    struct Passes(Sim, Vec<String>);

    impl Handler for Passes {
        type Session = ();

        fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            self.0.work(Duration::from_secs(2));
            conn.hand_to(2, 0);
            Ok(())
        }

        fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
            self.1.push(closed.reason.to_string());
        }
    }

    check(0..30, Profile::calm(), |sim| {
        let three = (Works(sim.clone()), Passes(sim.clone(), Vec::new()), Second::default());
        let config = Config::default().idle(Some(Duration::from_secs(1)));
        let mut reactor = sim.reactor(three, config)?;
        reactor.listen(&*door(0))?;
        let peers = [0, 1, 2].map(|_| sim.connect(&door(0)));
        for (peer, (after, word)) in peers.iter().zip([(100, "work"), (200, "go"), (200, "go")]) {
            peer.wait(MS * after);
            peer.send(word);
        }
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        assert_eq!(reactor.handler().1.1, ["handed over"; 2]);
        Ok(())
    });
}

/// Promise 4: a connection that is handed over in the very moment at which it is idle has the time
/// of the second service.
#[test]
fn one_that_goes_as_its_time_runs_out_has_the_second_services_time() {
    /// Hands a connection on as late as it may.
    struct Late(Vec<String>);

    impl Handler for Late {
        type Session = ();

        fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            conn.set_timeout(Duration::from_secs(1));
            Ok(())
        }

        fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
            conn.hand_to(1, 0);
            Ok(())
        }

        fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
            self.0.push(closed.reason.to_string());
        }
    }

    check(0..30, Profile::calm(), |sim| {
        let config = Config::default().idle(Some(Duration::from_secs(1)));
        let mut reactor = sim.reactor((Late(Vec::new()), Second::default()), config)?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        sim.advance(&mut reactor, MS * 1500)?;
        assert_eq!(reactor.handler().0.0, ["handed over"]);
        assert!(!peer.is_ended());
        sim.advance(&mut reactor, MS * 1000)?;
        assert!(peer.is_ended());
        peer.close();
        sim.advance(&mut reactor, MS * 1000)?;
        assert_eq!(reactor.handler().1.ends, ["idle timeout"]);
        Ok(())
    });
}
