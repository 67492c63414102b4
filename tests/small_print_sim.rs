//! What only some planted bugs showed to be unwatched: each promise alone, in the smallest world
//! that tells.
//!
//! Needs the feature: `cargo test --features sim --test small_print_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wouldblock::sim::{Failure, Profile, Sim, check};
use wouldblock::{
    Caps, Closed, Config, Conn, ConnId, Connect, Context, Detached, Handler, Input, Listen, Origin,
    Reactor, Spread, handler_fn,
};

const MS: Duration = Duration::from_millis(1);
const DOOR: &str = "10.0.0.1:7777";

/// Does three things with a connection, and writes down when it rang and how it ended.
struct Three {
    opens: fn(&mut Conn<'_>),
    data: fn(&mut Conn<'_>, &mut Input<'_>),
    rings: fn(&mut Conn<'_>),
    rang: usize,
    ends: Vec<Closed>,
}

impl Default for Three {
    fn default() -> Self {
        Three {
            opens: |_| {},
            data: |_, input| _ = input.take_all(),
            rings: |_| {},
            rang: 0,
            ends: Vec::new(),
        }
    }
}

impl Handler for Three {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        (self.opens)(conn);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        (self.data)(conn, input);
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        self.rang += 1;
        (self.rings)(conn);
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.ends.push(closed);
    }
}

fn listening(sim: &Sim, handler: Three, config: Config) -> Result<Reactor<Three>, Failure> {
    let mut reactor = sim.reactor(handler, config)?;
    reactor.listen(DOOR)?;
    Ok(reactor)
}

/// Promise 1: input that a call left whole, since what it sent made the connection rest, is offered
/// when that is to rest no more, though its peer reads nothing.
#[test]
fn what_was_left_whole_is_offered_when_a_connection_is_to_rest_no_more() {
    check(0..30, Profile::calm().buffer(50..=50), |sim| {
        let handler = Three {
            opens: |conn| conn.set_timeout(MS * 500),
            data: |conn, input| {
                if conn.queued() > 0 {
                    input.take_all();
                }
                conn.send([b'.'; 1500]);
            },
            rings: |conn| conn.auto_pause(false),
            ..Three::default()
        };
        let config = Config::default().output_low(100).output_high(1000);
        let mut reactor = listening(sim, handler, config)?;
        let peer = sim.connect(DOOR);
        peer.stop_reading();
        peer.send("a");
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        let mut cx = reactor.service(0);
        let id = cx.connections()[0];
        let queued = cx.conn(id).unwrap().queued();
        assert!(queued > 2800, "{queued} bytes are queued, of two calls that sent 1500");
        Ok(())
    });
}

/// Promise 2: the linger is counted from when the peer's kernel has taken the last of what ours
/// held, and as long as it takes some of it, that is no stall.
#[test]
fn a_linger_is_counted_from_the_last_delivery() {
    check(0..10, Profile::calm().buffer(4000..=4000).buffer_max(120_000), |sim| {
        let handler = Three {
            data: |conn, _| {
                conn.send(vec![b'.'; 80_000]);
                conn.close();
            },
            ..Three::default()
        };
        let config =
            Config::default().linger(Duration::from_secs(1)).write_stall(Duration::from_secs(2));
        let mut reactor = listening(sim, handler, config)?;
        let peer = sim.connect(DOOR);
        peer.read_slowly(3000, MS * 300);
        peer.send("a");
        let mut read = 0;
        while read < 80_000 {
            read += peer.recv().len();
            assert_eq!(reactor.handler().ends.len(), 0);
            sim.advance(&mut reactor, MS * 100)?;
        }
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        assert_eq!(reactor.handler().ends.len(), 1);
        Ok(())
    });
}

/// Promise 6: a dead connection that was paused with input, and is paused again when all of it is
/// read, is over at once.
#[test]
fn a_dead_connection_that_is_paused_again_with_nothing_left_is_over() {
    check(0..30, Profile::calm(), |sim| {
        let handler = Three {
            opens: |conn| {
                conn.pause();
                conn.set_timeout(MS * 500);
            },
            data: |conn, input| {
                if input.take_all() == b"c" {
                    conn.pause();
                }
            },
            rings: |conn| conn.resume(),
            ..Three::default()
        };
        let mut reactor = listening(sim, handler, Config::default().read_buffer(1))?;
        let peer = sim.connect(DOOR);
        peer.send("abc");
        peer.wait(MS * 50);
        peer.reset();
        sim.advance(&mut reactor, MS * 400)?;
        assert_eq!(reactor.handler().ends.len(), 0);
        sim.advance(&mut reactor, MS * 400)?;
        assert_eq!(reactor.handler().ends.len(), 1);
        Ok(())
    });
}

/// Promise 4: a deadline that was put off in the batch of an `on_timeout` that panics, caught
/// outside, is met all the same.
#[test]
fn what_was_put_off_when_a_timeout_panicked_still_comes() {
    check(0..5, Profile::calm(), |sim| {
        let handler = Three {
            opens: |conn| conn.set_timeout(MS * 100),
            rings: |conn| assert!(conn.peer_addr().unwrap().port() != Some(5002), "as planned"),
            ..Three::default()
        };
        // The one that talks is on the run queue whenever its timeout is looked at.
        let mut reactor = listening(sim, handler, Config::default().read_buffer(1))?;
        let [talks, _panics] =
            [5001, 5002].map(|port| sim.connect_from(&format!("10.1.1.1:{port}"), DOOR));
        talks.wait(MS * 90);
        talks.send(vec![b'.'; 10_000]);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            loop {
                reactor.turn(None).unwrap();
            }
        }));
        assert!(caught.is_err());
        assert_eq!(reactor.handler().rang, 1, "the other one is put off");
        sim.advance(&mut reactor, Duration::from_secs(5))?;
        assert_eq!(reactor.handler().rang, 2);
        Ok(())
    });
}

/// Trap 14: a deadline waits for what its connection has to read, however often that was put off before.
#[test]
fn each_timeout_of_a_peer_that_talks_on_is_put_off_anew() {
    check(0..5, Profile::calm(), |sim| {
        let handler = Three {
            opens: |conn| conn.set_timeout(MS * 100),
            rings: |conn| conn.set_timeout(Duration::ZERO),
            ..Three::default()
        };
        let mut reactor = listening(sim, handler, Config::default().read_buffer(1))?;
        let peer = sim.connect(DOOR);
        peer.wait(MS * 90);
        peer.send(vec![b'.'; 10_000]);
        while reactor.stats().bytes_in < 10_000 {
            reactor.turn(None)?;
        }
        let rang = reactor.handler().rang;
        assert!((10..500).contains(&rang), "{rang} times in 10,000 turns");
        Ok(())
    });
}

/// Promise 3: behind a panic of the second service that is caught outside, what others make is not
/// that service's.
#[test]
fn a_closure_behind_a_panic_is_of_no_service_that_panicked() {
    check(0..30, Profile::calm(), |sim| {
        let panics = Three { data: |_, _| panic!("as planned"), ..Three::default() };
        let mut reactor = sim.reactor((Three::default(), panics), Config::default())?;
        reactor.service(1).listen(DOOR)?;
        sim.black_hole("10.9.9.9:9");
        let peer = sim.connect(DOOR);
        peer.send("a");
        let turns = AssertUnwindSafe(|| {
            loop {
                reactor.turn(None).unwrap();
            }
        });
        assert!(catch_unwind(turns).is_err());
        let connect = |_: &mut (Three, Three), cx: &mut Context| {
            cx.connect(Connect::from("10.9.9.9:9"), 0).unwrap();
        };
        assert!(reactor.handle().post(connect).is_ok());
        sim.advance(&mut reactor, MS)?;
        assert_eq!([0, 1].map(|n| reactor.service(n).service_stats().open), [1, 0]);
        Ok(())
    });
}

/// Promise 4: what an adopted connection brings along is counted from then on.
#[test]
fn what_is_adopted_is_counted_at_once() {
    check(0..5, Profile::calm(), |sim| {
        let mut reactor = listening(sim, Three::default(), Config::default())?;
        let (stream, _peer) = sim.pair()?;
        let unread = vec![b'.'; 100_000].into();
        reactor.adopt(Detached { unread, ..Detached::from(stream) }, 0)?;
        assert!(reactor.service(0).buffered() >= 100_000);
        Ok(())
    });
}

/// Promise 2: who cannot be watched sees a reset, and is counted as refused by the service, too.
#[test]
fn one_that_cannot_be_watched_is_reset_and_counted_by_its_service() {
    let mut refused = 0;
    check(0..40, Profile::calm().watch_error(300), |sim| {
        let mut reactor = sim.reactor(Three::default(), Config::default())?;
        if reactor.listen(DOOR).is_err() {
            return Ok(());
        }
        let peers = [0, 1, 2, 3].map(|_| sim.connect(DOOR));
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        let reset = peers.iter().filter(|peer| peer.is_reset()).count() as u64;
        assert!(peers.iter().all(|peer| !peer.is_ended()));
        assert_eq!(reactor.service(0).service_stats().refused, reset);
        refused += reset;
        Ok(())
    });
    assert!(refused > 0);
}

/// A shutdown never goes back: `shutdown` behind a `shutdown_now` changes nothing.
#[test]
fn an_order_to_cut_all_is_not_taken_back_by_one_to_leave() {
    check(0..10, Profile::calm(), |sim| {
        let handler = Three { opens: |conn| conn.hold(true), ..Three::default() };
        let mut reactor = listening(sim, handler, Config::default())?;
        let _peer = sim.connect(DOOR);
        sim.advance(&mut reactor, MS * 100)?;
        let handle = reactor.handle();
        handle.shutdown_now();
        handle.shutdown();
        sim.advance(&mut reactor, MS * 100)?;
        assert_eq!(reactor.shutdown_report().unwrap().cut, 1);
        Ok(())
    });
}

/// Trap 25: who waits at the cap of a service when a shutdown begins is served, as long as there is
/// any place.
#[test]
fn who_waits_at_a_cap_when_a_shutdown_begins_is_served() {
    check(0..30, Profile::calm(), |sim| {
        let handler = Three { data: |conn, input| conn.send(input.take_all()), ..Three::default() };
        let mut reactor = listening(sim, handler, Config::default())?;
        reactor.service(0).set_caps(Caps::default().connections(1))?;
        let peers = [0, 1, 2].map(|_| sim.connect(DOOR));
        for peer in &peers {
            peer.send("a");
        }
        sim.advance(&mut reactor, MS * 100)?;
        assert_eq!(reactor.stats().accepted, 1);
        reactor.shutdown();
        sim.advance(&mut reactor, MS * 100)?;
        assert_eq!(peers.map(|peer| peer.recv()), [b"a", b"a", b"a"]);
        Ok(())
    });
}

/// Promise 2: a reactor that is dropped resets whom its handler held, or whom it would have sent
/// more at the next drain.
#[test]
fn a_reactor_that_is_dropped_resets_whom_its_handler_was_to_answer() {
    let owes: [fn(&mut Conn<'_>); 2] = [|conn| conn.hold(true), |conn| _ = conn.want_drain()];
    for data in owes {
        check(0..10, Profile::calm(), |sim| {
            let handler = Three { opens: data, ..Three::default() };
            let mut reactor = listening(sim, handler, Config::default())?;
            let peer = sim.connect(DOOR);
            while reactor.stats().accepted == 0 {
                reactor.turn(None).unwrap();
            }
            drop(reactor);
            let other = handler_fn(|_, _| Ok(()));
            sim.advance(&mut sim.reactor(other, Config::default())?, MS * 100)?;
            assert!(peer.is_reset());
            Ok(())
        });
    }
}

/// Promise 4: a server whose reactors are full of the idle takes a client in the place of one.
#[test]
fn a_server_full_of_the_idle_has_a_place() {
    check(0..30, Profile::calm(), |sim| {
        let config = Config::default().connections(1).reclaim_idle(Some(MS * 100));
        let mut server = sim.server(2, config, |_, _| Ok(Three::default()))?;
        server.listen(Listen::from(DOOR).spread(Spread::RoundRobin))?;
        let _idle = [0, 1].map(|_| sim.connect(DOOR));
        sim.advance(&mut server, Duration::from_secs(1))?;
        assert_eq!(server.stats().accepted, 2);
        let _third = sim.connect(DOOR);
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!((server.stats().accepted, server.stats().closed.reclaimed), (3, 1));
        Ok(())
    });
}

/// Promise 4: places that are kept back for one service stay so when another is given caps of its own.
#[test]
fn a_reserve_stands_when_another_service_is_given_caps() {
    check(0..10, Profile::calm(), |sim| {
        let config = Config::default().connections(3);
        let mut reactor = sim.reactor((Three::default(), Three::default()), config)?;
        reactor.service(0).listen(DOOR)?;
        reactor.service(1).set_caps(Caps::default().reserve(1))?;
        reactor.service(0).set_caps(Caps::default())?;
        let _peers = [0, 1, 2].map(|_| sim.connect(DOOR));
        sim.advance(&mut reactor, MS * 100)?;
        assert_eq!(reactor.stats().accepted, 2);
        Ok(())
    });
}

/// Promise 4: a `min_rate` of all holds, though a service was given caps that say nothing of it.
#[test]
fn a_rate_of_all_stands_beside_caps_that_say_nothing_of_it() {
    check(0..10, Profile::calm(), |sim| {
        let handler = Three { data: |_, input| _ = input.line(), ..Three::default() };
        let config = Config::default().min_rate(100, Duration::from_secs(10));
        let mut reactor = listening(sim, handler, config)?;
        reactor.service(0).set_caps(Caps::default())?;
        sim.connect(DOOR).send("half a line");
        sim.advance(&mut reactor, Duration::from_secs(30))?;
        assert_eq!(reactor.stats().closed.too_slow, 1);
        Ok(())
    });
}

/// Promise 4: a service may bound the wait for the first byte where nothing else does.
#[test]
fn a_service_alone_may_bound_the_wait_for_the_first_byte() {
    check(0..10, Profile::calm(), |sim| {
        let mut reactor = listening(sim, Three::default(), Config::default())?;
        reactor.service(0).set_caps(Caps::default().first_byte(Some(MS * 500)))?;
        let _silent = sim.connect(DOOR);
        sim.advance(&mut reactor, Duration::from_secs(20))?;
        assert_eq!(reactor.stats().closed.first_byte, 1);
        Ok(())
    });
}

/// Promise 3: what is made behind the datagram of a service is not that service's.
#[test]
fn a_closure_behind_a_datagram_is_of_no_service_that_was_told_of_it() {
    check(0..10, Profile::calm(), |sim| {
        let mut reactor = sim.reactor((Three::default(), Three::default()), Config::default())?;
        reactor.service(1).bind_datagram("10.0.0.1:9000")?;
        sim.black_hole("10.9.9.9:9");
        sim.bind("10.1.1.1:9000").send_to("10.0.0.1:9000", "a");
        sim.advance(&mut reactor, MS * 100)?;
        assert_eq!(reactor.stats().datagrams_in, 1);
        let connect = |_: &mut (Three, Three), cx: &mut Context| {
            cx.connect(Connect::from("10.9.9.9:9"), 0).unwrap();
        };
        assert!(reactor.handle().post(connect).is_ok());
        sim.advance(&mut reactor, MS)?;
        assert_eq!([0, 1].map(|n| reactor.service(n).service_stats().open), [1, 0]);
        Ok(())
    });
}

/// Promise 2: who reads steadily is not idle, though the handler has sent more since the kernel was
/// last asked.
#[test]
fn who_reads_is_not_idle_though_more_is_sent_meanwhile() {
    check(0..10, Profile::calm().buffer(4000..=4000).buffer_max(300_000), |sim| {
        let handler = Three {
            opens: |conn| {
                conn.send(vec![b'.'; 60_000]);
                conn.set_timeout(Duration::from_secs(9));
            },
            rings: |conn| conn.send(vec![b'.'; 60_000]),
            ..Three::default()
        };
        let (idle, stall) = (Duration::from_secs(5), Duration::from_secs(8));
        let config = Config::default().idle(Some(idle)).write_stall(stall).output_high(1 << 20);
        let mut reactor = listening(sim, handler, config)?;
        let peer = sim.connect(DOOR);
        peer.read_slowly(1000, MS * 300);
        let mut read = 0;
        while read < 110_000 {
            read += peer.recv().len();
            assert_eq!(reactor.handler().ends.len(), 0, "at {read}, {:?}", sim.now());
            sim.advance(&mut reactor, MS * 100)?;
        }
        Ok(())
    });
}

/// Panics when it is told that a connection had to make room.
struct MakesNoRoom;

impl Handler for MakesNoRoom {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, (): (), _: Closed) {
        panic!("as planned");
    }
}

/// Promise 6: a panic that is caught outside leaves work, in a listener's turn as well: a loop that
/// asks is told so. And a reactor that is dropped instead resets the client that it had accepted
/// for the place.
#[test]
fn a_panic_in_the_turn_of_a_listener_leaves_work_and_a_drop_resets_who_was_accepted() {
    check(0..10, Profile::calm(), |sim| {
        let config = Config::default().connections(1).reclaim_idle(Some(MS * 100));
        let mut reactor = sim.reactor(MakesNoRoom, config)?;
        reactor.listen(DOOR)?;
        let _first = sim.connect(DOOR);
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        let second = sim.connect(DOOR);
        let turns = AssertUnwindSafe(|| {
            loop {
                reactor.turn(None).unwrap();
            }
        });
        assert!(catch_unwind(turns).is_err());
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
        drop(reactor);
        let other = handler_fn(|_, _| Ok(()));
        sim.advance(&mut sim.reactor(other, Config::default())?, MS * 100)?;
        assert!(second.is_reset());
        Ok(())
    });
}

/// Promise 4: half a request is judged by `min_rate` again when its connection is resumed, whoever
/// does that: its own timeout, a closure for it, or another's callback.
#[test]
fn half_a_request_is_judged_when_its_connection_is_resumed() {
    let rings: [fn(&mut Conn<'_>); 2] = [|conn| conn.resume(), |_| {}];
    for (way, rings) in [rings[0], rings[1], rings[1]].into_iter().enumerate() {
        check(0..5, Profile::calm(), |sim| {
            let handler = Three {
                opens: |conn| conn.set_timeout(Duration::from_secs(25)),
                data: |conn, input| {
                    assert!(input.line().is_none());
                    conn.pause();
                },
                rings,
                ..Three::default()
            };
            let config = Config::default().min_rate(100, Duration::from_secs(10));
            let mut reactor = listening(sim, handler, config)?;
            sim.connect(DOOR).send("half a line");
            sim.advance(&mut reactor, Duration::from_secs(30))?;
            assert_eq!((reactor.handler().rang, reactor.stats().closed.total()), (1, 0));
            let id = reactor.service(0).connections()[0];
            match way {
                1 => {
                    let resume = |_: &mut Three, conn: &mut Conn<'_>, (): &mut ()| {
                        conn.resume();
                        Ok(())
                    };
                    assert!(reactor.handle().post_to(id, resume).is_ok());
                }
                2 => _ = reactor.handle().post(move |_, cx| cx.conn(id).unwrap().resume()),
                _ => {}
            }
            sim.advance(&mut reactor, Duration::from_secs(30))?;
            assert_eq!(reactor.stats().closed.too_slow, 1, "way {way}");
            Ok(())
        });
    }
}

/// Takes the place of a connection that has ended for a connect of its own.
struct TakesItsPlace;

impl Handler for TakesItsPlace {
    type Session = ();

    fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), _: Closed) {
        let _ = cx.connect(Connect::from("10.9.9.9:9"), 0);
    }
}

/// Promise 2: who is accepted and has no place sees a reset, and no end that looks like an answer:
/// where another has taken the place that was made, or at a shutdown, when what waits is accepted.
#[test]
fn who_is_accepted_and_has_no_place_is_reset() {
    for leaves in [false, true] {
        check(0..10, Profile::calm(), |sim| {
            sim.black_hole("10.9.9.9:9");
            let idle = (!leaves).then_some(MS * 100);
            let config = Config::default().connections(1).reclaim_idle(idle);
            let mut reactor = sim.reactor(TakesItsPlace, config)?;
            reactor.listen(DOOR)?;
            let _first = sim.connect(DOOR);
            sim.advance(&mut reactor, Duration::from_secs(1))?;
            let second = sim.connect(DOOR);
            sim.advance(&mut reactor, MS)?;
            if leaves {
                reactor.shutdown();
            }
            sim.advance(&mut reactor, Duration::from_secs(1))?;
            assert!(second.is_reset() && reactor.stats().refused == 1);
            Ok(())
        });
    }
}
