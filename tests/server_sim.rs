//! Several reactors in one simulated world: posts, broadcasts and moves between them, whatever the
//! seed makes of their turns. Nothing is lost, each connection keeps its order, and all end
//! together.
//!
//! Needs the feature: `cargo test --features sim --test server_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{
    Caps, Closed, Config, Conn, ConnId, Context, Handler, Input, Listen, Origin, Server,
    ServerHandle, Spread, Stats, handler_fn,
};

const MS: Duration = Duration::from_millis(1);
const DOORS: [&str; 2] = ["10.0.0.1:7777", "unix:/run/sim"];

/// Draws by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1234_5678_9ABC_DEF1);
        (self.0 >> 33) % n
    }
}

/// One of several. A line is a number and a verb; the answer is the number, whatever the verb does
/// and wherever the connection is by then. A connection that says `watch` is told what all reactors
/// hear.
struct Node {
    number: usize,
    server: ServerHandle<Node>,
    open: BTreeSet<ConnId>,
    watchers: Vec<ConnId>,
    /// Moves that began here; news told to all, and heard of each reactor.
    moved: u64,
    told: u64,
    heard: Vec<u64>,
    shutdowns: u64,
    /// Timers with tag 1 that came; one with another tag panics.
    ticks: u64,
    /// Another handler was here before.
    came_later: bool,
}

impl Node {
    fn new(number: usize, server: &ServerHandle<Node>) -> Self {
        Node {
            number,
            server: server.clone(),
            open: BTreeSet::new(),
            watchers: Vec::new(),
            moved: 0,
            told: 0,
            heard: vec![0; server.reactors()],
            shutdowns: 0,
            ticks: 0,
            came_later: false,
        }
    }

    /// Something that every reactor is to hear, in the order in which this one says it.
    fn tell_all(&mut self) {
        self.told += 1;
        let (from, n) = (self.number, self.told);
        // Fewer than all where one has ended: which have heard it is asked at the end.
        self.server.post_each(move |node, cx| {
            // A handler that came later has not heard all, and begins anew itself.
            let in_order = node.heard[from] + 1 == n || node.came_later || n == 1;
            assert!(in_order, "news of reactor {from} in another order");
            node.heard[from] = n;
            for watcher in &node.watchers {
                if let Some(mut conn) = cx.conn(*watcher) {
                    conn.send(format!("{from} {n}\n"));
                }
            }
        });
    }

    /// Answers by way of another reactor; the connection waits.
    fn ask_around(&self, conn: &mut Conn<'_>, line: String, by: usize) {
        let (id, server) = (conn.id(), self.server.clone());
        conn.pause();
        conn.hold(true);
        let by = self.server.reactor(by).expect("there are so many");
        let posted = by.post(move |_, _| {
            // Refused only where a shutdown has cut the connection.
            let _ = server.post_to(id, move |node, conn, ()| {
                assert!(node.open.contains(&conn.id()));
                conn.send(line);
                conn.hold(false);
                conn.resume();
                Ok(())
            });
        });
        if posted.is_err() {
            // That one has ended.
            conn.hold(false);
            conn.close();
        }
    }
}

impl Handler for Node {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        assert_eq!(self.server.owner(conn.id()), Some(self.number));
        assert!(self.open.insert(conn.id()), "opened twice");
        if let Origin::Adopted(tag) = origin {
            assert_eq!(tag, 7);
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert!(self.open.contains(&conn.id()));
        while let Some(line) = input.line() {
            let line = std::str::from_utf8(line).unwrap();
            let (n, verb) = line.split_once(' ').unwrap();
            let (verb, to) = verb.split_once(' ').unwrap_or((verb, "0"));
            let (answer, to) = (format!("{n}\n"), to.parse::<usize>().unwrap());
            match verb {
                "around" => {
                    self.ask_around(conn, answer, to);
                    return Ok(());
                }
                "move" => {
                    conn.send(answer);
                    if conn.is_open() {
                        self.server.move_to(conn, to, 7);
                        self.moved += 1;
                    }
                    return Ok(());
                }
                "tell" => self.tell_all(),
                "watch" => self.watchers.push(conn.id()),
                "panic" => panic!("as it was told to"),
                _ => {}
            }
            conn.send(answer);
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, id: ConnId, (): (), _: Closed) {
        assert!(self.open.remove(&id), "closed twice, or never opened");
        self.watchers.retain(|watcher| *watcher != id);
    }

    fn on_timer(&mut self, _: &mut Context, timer: wouldblock::Timer) {
        assert_eq!(timer.tag, 1, "as it was told to");
        self.ticks += 1;
    }

    fn on_shutdown(&mut self, _: &mut Context) {
        self.shutdowns += 1;
    }
}

fn world(sim: &Sim, reactors: usize, by: Spread) -> Result<Server<Node>, Failure> {
    let mut server = sim.server(reactors, Config::default(), |n, all| Ok(Node::new(n, all)))?;
    for door in DOORS {
        server.listen(Listen::from(door).spread(by))?;
    }
    Ok(server)
}

/// The ways in which a listener may share its connections out, one for each seed.
fn any_way(seed: u64) -> Spread {
    let ways = [Spread::Kernel, Spread::RoundRobin, Spread::LeastLoaded, Spread::ByAddress];
    ways[usize::try_from(seed % 4).unwrap()]
}

/// Lines of all sorts, and their answers in order.
fn talk(peer: &Peer, dice: &mut Dice, reactors: u64) {
    let (mut lines, mut answers) = (Vec::new(), Vec::new());
    for n in 0..dice.below(30) + 2 {
        let to = dice.below(reactors);
        let verb = match dice.below(8) {
            0 => format!("move {to}"),
            1 => format!("around {to}"),
            2 => "tell".into(),
            _ => "say".into(),
        };
        lines.extend_from_slice(format!("{n} {verb}\n").as_bytes());
        answers.extend_from_slice(format!("{n}\n").as_bytes());
        if dice.below(5) == 0 {
            peer.send(std::mem::take(&mut lines));
            peer.wait(MS * u32::try_from(dice.below(3)).unwrap());
        }
    }
    peer.send(lines);
    peer.expect(answers);
}

/// Promises 2 and 3: however the reactors' turns, their posts and their moves fall together, each
/// line of each connection is answered once and in order, what is told to all is heard by all in
/// its order, and every connection that was opened anywhere is closed there.
#[test]
fn nothing_is_lost_between_reactors_and_each_connection_keeps_its_order() {
    let mut owners = BTreeSet::new();
    check(0..1000, Profile::everyday(), |sim| {
        let mut dice = Dice(sim.seed());
        let reactors = 2 + dice.below(3);
        let mut server = world(sim, usize::try_from(reactors).unwrap(), any_way(sim.seed()))?;
        let watcher = sim.connect(DOORS[0]);
        watcher.send("0 watch\n");
        watcher.expect("0\n");
        sim.run_until_idle(&mut server)?;
        let peers = 3 + dice.below(5);
        for n in 0..peers {
            let peer = sim.connect(DOORS[usize::from(n % 4 == 3)]);
            talk(&peer, &mut dice, reactors);
            peer.finish();
            peer.expect_end();
        }
        sim.run_until_idle(&mut server)?;

        let heard = String::from_utf8(watcher.recv()).unwrap();
        let mut last = vec![0; server.reactors().len()];
        for line in heard.lines() {
            let (from, n) = line.split_once(' ').unwrap();
            let from: usize = from.parse().unwrap();
            last[from] += 1;
            assert_eq!(n, last[from].to_string(), "{heard}");
        }
        server.handle().shutdown();
        watcher.expect_end();
        watcher.finish();
        sim.run_until_idle(&mut server)?;

        let told: Vec<u64> = server.reactors().iter().map(|it| it.handler().told).collect();
        assert_eq!(last, told);
        let mut sums = [0; 4];
        for (number, reactor) in server.reactors().iter().enumerate() {
            let (node, stats) = (reactor.handler(), reactor.stats());
            assert!(node.open.is_empty(), "reactor {number}: {:?}", node.open);
            assert_eq!((&node.heard, node.shutdowns, stats.posts_missed), (&told, 1, 0));
            let came = stats.accepted + stats.adopted;
            assert_eq!(came, stats.closed.total(), "reactor {number}: {stats:?}");
            assert!(reactor.shutdown_report().is_some());
            let counts = [stats.accepted, stats.adopted, stats.closed.detached, node.moved];
            for (sum, n) in sums.iter_mut().zip(counts) {
                *sum += n;
            }
            if stats.accepted > 0 {
                owners.insert((reactors, number));
            }
        }
        assert_eq!(sums, [peers + 1, sums[3], sums[3], sums[3]]);
        Ok(())
    });
    assert_eq!(owners.len(), 2 + 3 + 4, "a reactor is never given a connection: {owners:?}");
}

/// Promises 2 and 3: a peer may reset while its connection moves. It is opened where it goes all
/// the same, and what it had said is heard there.
#[test]
fn a_connection_whose_peer_resets_on_its_way_comes_to_where_it_goes() {
    let mut moved = 0;
    check(0..200, Profile::everyday(), |sim| {
        let mut server = world(sim, 2, Spread::Kernel)?;
        for n in 0..20 {
            let peer = sim.connect(DOORS[0]);
            peer.send("0 move 0\n1 move 1\n2 tell\n");
            peer.wait(MS / 10 * n);
            peer.reset();
        }
        sim.run_until_idle(&mut server)?;
        let stats = server.stats();
        assert_eq!(stats.adopted, stats.closed.detached);
        moved += stats.adopted;
        Ok(())
    });
    assert!(moved > 1000, "only {moved} moved");
}

/// Promise 3: peers that reset and vanish while their connections move and wait for others, panics
/// that are made good, and a shutdown in the midst of it: each that was opened by a reactor is
/// closed by it, and all reactors end.
#[test]
fn all_reactors_end_whatever_the_network_does() {
    let mut panics = 0;
    // What cannot be watched cannot be moved.
    check(0..1000, Profile::rough().watch_error(0), |sim| {
        let mut dice = Dice(sim.seed());
        let reactors = 2 + dice.below(2);
        let restarts = dice.below(2) == 0;
        let mut server = world(sim, usize::try_from(reactors).unwrap(), any_way(sim.seed()))?;
        if restarts {
            let later = |n, all: &_| Ok(Node { came_later: true, ..Node::new(n, all) });
            server.restart(usize::MAX, Duration::from_secs(60), later);
        }
        for n in 0..6 {
            let peer = sim.connect(DOORS[n % 2]);
            for n in 0..dice.below(8) {
                let to = dice.below(reactors);
                peer.send(format!("{n} move {to}\n{n} around {to}\n{n} tell\n"));
                if restarts && dice.below(4) == 0 {
                    peer.send(format!("{n} move {to}\n{n} panic\n"));
                }
                peer.wait(MS * u32::try_from(dice.below(3)).unwrap());
            }
            match dice.below(4) {
                0 => peer.reset(),
                1 => peer.close(),
                2 => peer.finish(),
                _ => peer.stop_reading(),
            }
        }
        sim.advance(&mut server, MS * u32::try_from(dice.below(60)).unwrap())?;
        let by = usize::try_from(dice.below(reactors)).unwrap();
        // One tells the others.
        match dice.below(3) {
            0 => server.reactors_mut()[by].shutdown_now(),
            1 => server.reactors_mut()[by].shutdown(),
            _ => server.handle().shutdown(),
        }
        let ran = AssertUnwindSafe(|| sim.advance(&mut server, Duration::from_secs(60)));
        match catch_unwind(ran) {
            Ok(ran) => ran?,
            // In a shutdown no other handler is made.
            Err(_) if restarts => return Ok(()),
            Err(payload) => resume_unwind(payload),
        }
        for (number, reactor) in server.reactors().iter().enumerate() {
            let stats = reactor.stats();
            assert!(reactor.shutdown_report().is_some(), "reactor {number} has not ended");
            assert!(reactor.handler().open.is_empty(), "reactor {number}");
            panics += stats.restarts;
            let came = stats.accepted + stats.adopted;
            assert_eq!(came, stats.closed.total(), "reactor {number}: {stats:?}");
        }
        Ok(())
    });
    assert!(panics > 100, "{panics} panics were made good");
}

/// The same seed makes the same world, with several reactors, too; another makes another.
#[test]
fn a_seed_tells_all_of_a_server() {
    let play = |seed| {
        let sim = Sim::new(seed, Profile::rough().accept_error(0).watch_error(0));
        let mut server = world(&sim, 3, any_way(seed)).unwrap();
        let mut dice = Dice(seed);
        for n in 0..4 {
            talk(&sim.connect(DOORS[n % 2]), &mut dice, 3);
        }
        sim.run_until_idle(&mut server).unwrap();
        sim.trace_hash()
    };
    for seed in 0..20 {
        assert_eq!(play(seed), play(seed));
        assert_ne!(play(seed), play(seed + 1));
    }
}

/// Promise 6: a panic in one reactor passes through when the others have ended in order.
#[test]
fn a_panic_in_one_reactor_ends_the_others_in_order() {
    check(0..100, Profile::everyday(), |sim| {
        let mut server = world(sim, 3, any_way(sim.seed()))?;
        let others = [(); 6].map(|()| sim.connect(DOORS[0]));
        for other in &others {
            other.send("1 say\n");
            other.expect("1\n");
            other.expect_end();
            other.finish();
        }
        sim.advance(&mut server, Duration::from_secs(1))?;
        let one = sim.connect(DOORS[1]);
        one.send("1 panic\n");
        let ran = catch_unwind(AssertUnwindSafe(|| sim.run_until_idle(&mut server)));
        let payload = ran.expect_err("the panic passes through");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"as it was told to"));
        let ended = |it: &&wouldblock::Reactor<Node>| it.shutdown_report().is_some();
        assert_eq!(server.reactors().iter().filter(ended).count(), 2);
        let in_order = server.reactors().iter().map(|it| it.handler().shutdowns).sum::<u64>();
        assert_eq!(in_order, 2);
        Ok(())
    });
}

/// Promises 3 and 6: what is posted to a reactor that a panic has ended comes back, and what waited
/// there is dropped: its statistics are told as missing.
#[test]
fn a_reactor_that_a_panic_has_ended_refuses_what_is_posted() {
    let sim = Sim::new(1, Profile::calm());
    let mut server = world(&sim, 2, Spread::Kernel).unwrap();
    let (tell, told) = mpsc::channel();
    let ask = |server: &Server<Node>| {
        let tell = tell.clone();
        let counted = move |each: Vec<Option<Stats>>| each.iter().map(Option::is_some).collect();
        server.handle().stats(move |each| drop(tell.send(counted(each))));
    };
    post(&server, 1, |_, _| panic!("as it was told to"));
    ask(&server);
    let ran = catch_unwind(AssertUnwindSafe(|| sim.run_until_idle(&mut server)));
    assert!(ran.is_err());
    assert_eq!(told.try_recv(), Ok(vec![true, false]));
    assert!(server.handle().reactor(1).unwrap().post(|_, _| ()).unwrap_err().is_ended());
    ask(&server);
    assert_eq!(told.try_recv(), Ok(vec![false, false]));
}

/// A server in a simulated world is driven by that, and says so.
#[test]
fn a_simulated_server_cannot_be_run_by_itself() {
    let sim = Sim::new(1, Profile::calm());
    let handler = || handler_fn(|_, _| Ok(()));
    let mut server = sim.server(2, Config::default(), |_, _| Ok(handler())).unwrap();
    let error = server.run().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Sim::run_until_idle"), "{error}");
}

/// Timers of several reactors are met each at its moment, and a silent one sleeps.
#[test]
fn time_passes_for_all_reactors_alike() {
    struct Ticks(u64);
    impl Handler for Ticks {
        type Session = ();
        fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
            cx.set_periodic_timer(Duration::from_secs(1), 0);
            Ok(())
        }
        fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
            Ok(())
        }
        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }
        fn on_timer(&mut self, _: &mut Context, _: wouldblock::Timer) {
            self.0 += 1;
        }
    }
    check(0..50, Profile::everyday(), |sim| {
        let mut server = sim.server(3, Config::default(), |_, _| Ok(Ticks(0)))?;
        sim.advance(&mut server, Duration::from_secs(3600) + 500 * MS)?;
        for reactor in server.reactors() {
            assert_eq!(reactor.handler().0, 3600);
            assert!(reactor.stats().turns < 3 * 3600, "{} turns", reactor.stats().turns);
        }
        Ok(())
    });
}

/// Has this called in one of the reactors.
fn post<F>(server: &Server<Node>, number: usize, closure: F)
where
    F: FnOnce(&mut Node, &mut Context) + Send + 'static,
{
    assert!(server.handle().reactor(number).unwrap().post(closure).is_ok());
}

/// How many connections each reactor has now.
fn open(server: &Server<Node>) -> Vec<usize> {
    server.reactors().iter().map(|it| it.handler().open.len()).collect()
}

/// Promise 2: handed over one after the other, the reactors have as many each, and `on_open` is the
/// owner's, not that of the reactor which accepts.
#[test]
fn connections_are_handed_over_one_after_the_other() {
    check(0..100, Profile::everyday(), |sim| {
        let mut server = world(sim, 3, Spread::RoundRobin)?;
        let peers: Vec<_> = (0..30).map(|n| sim.connect(DOORS[n % 2])).collect();
        sim.run_until_idle(&mut server)?;
        // Two listeners, and each has its own turns.
        assert_eq!(open(&server), [10, 10, 10]);
        let accepted: Vec<_> = server.reactors().iter().map(|it| it.stats().accepted).collect();
        assert_eq!(accepted, [10, 10, 10]);
        drop(peers);
        Ok(())
    });
}

/// Promise 4: the next goes where the fewest are, also after those of one reactor have gone.
#[test]
fn connections_are_handed_to_the_reactor_that_has_the_fewest() {
    check(0..100, Profile::everyday(), |sim| {
        let mut server = world(sim, 3, Spread::LeastLoaded)?;
        let peers: Vec<_> = (0..30).map(|n| sim.connect(DOORS[n % 2])).collect();
        sim.run_until_idle(&mut server)?;
        assert_eq!(open(&server), [10, 10, 10]);
        let gone = usize::try_from(sim.seed() % 3).unwrap();
        post(&server, gone, |_, cx| {
            for id in cx.connections() {
                cx.conn(id).unwrap().abort();
            }
        });
        sim.run_until_idle(&mut server)?;
        assert_eq!(open(&server)[gone], 0);
        let more: Vec<_> = (0..13).map(|n| sim.connect(DOORS[n % 2])).collect();
        sim.run_until_idle(&mut server)?;
        let now = open(&server);
        assert!(
            now.iter().all(|n| (10..=12).contains(n)) && now.iter().sum::<usize>() == 33,
            "{now:?}"
        );
        drop((peers, more));
        Ok(())
    });
}

/// Promise 4: those of one address are served by one reactor, so that a limit for an address is the
/// server's.
#[test]
fn connections_of_one_address_are_handed_to_one_reactor() {
    let mut used = BTreeSet::new();
    check(0..100, Profile::everyday(), |sim| {
        let config = Config::default().connections_per_address(Some(4));
        let mut server = sim.server(3, config, |n, all| Ok(Node::new(n, all)))?;
        server.listen(Listen::from(DOORS[0]).spread(Spread::ByAddress))?;
        let from = format!("10.9.{}.1", sim.seed());
        let from = |n: u16| format!("{from}:{}", 2000 + n);
        let peers: Vec<_> = (0..10).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        sim.run_until_idle(&mut server)?;
        let mut now = open(&server);
        used.insert(now.iter().position(|n| *n == 4));
        now.sort_unstable();
        assert_eq!(now, [0, 0, 4]);
        assert_eq!((server.stats().refused_address, server.stats().refused), (6, 0));
        drop(peers);
        Ok(())
    });
    assert_eq!(used.len(), 3, "all addresses come to one reactor");
}

/// Promise 4: a full reactor gets none while another has room, and where all are full clients wait
/// in the kernel and are served when one leaves: none is refused.
#[test]
fn a_full_reactor_gets_none_and_a_client_that_waits_for_all_is_served_in_the_end() {
    check(0..200, Profile::everyday(), |sim| {
        let config = Config::default().connections(4).linger(MS);
        let mut server = sim.server(3, config, |n, all| Ok(Node::new(n, all)))?;
        let by = any_way(1 + sim.seed() % 3);
        server.listen(Listen::from(DOORS[0]).spread(by))?;
        let from = |n: usize| format!("10.9.9.{}:1", 1 + n);
        let peers: Vec<_> = (0..20).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!(open(&server), [4, 4, 4]);
        for peer in &peers {
            peer.send("1 say\n");
            peer.expect("1\n");
            peer.finish();
            peer.expect_end();
        }
        sim.advance(&mut server, Duration::from_secs(5))?;
        assert!(peers.iter().all(Peer::is_done));
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.refused, stats.refused_address), (20, 0, 0), "{by:?}");
        Ok(())
    });
}

/// Promise 6: whenever a shutdown comes, a client that has reached the server is served in order,
/// whichever reactor it was handed to or still waits for.
#[test]
fn a_client_that_is_handed_over_in_a_shutdown_is_not_lost() {
    check(0..1000, Profile::everyday().preempted(500), |sim| {
        let mut dice = Dice(sim.seed());
        let by = any_way(1 + sim.seed() % 3);
        let mut server = world(sim, 3, by)?;
        let peers: Vec<_> = (0..20)
            .map(|n| {
                let peer = sim.connect(DOORS[n % 2]);
                peer.send("1 say\n");
                peer.finish();
                peer
            })
            .collect();
        sim.advance(&mut server, Duration::from_micros(dice.below(3000)))?;
        server.handle().shutdown();
        sim.advance(&mut server, Duration::from_secs(20))?;
        // Time passes for the peers only while a reactor runs, and those have ended.
        let mut idle = sim.reactor(handler_fn(|_, _| Ok(())), Config::default())?;
        sim.advance(&mut idle, MS * 100)?;
        let mut done = 0;
        for peer in &peers {
            // It came when nothing listened there any more.
            if !peer.is_refused() {
                assert!(peer.is_ended() && !peer.is_reset(), "{by:?}");
                done += 1;
            }
        }
        assert_eq!(server.stats().accepted, done);
        Ok(())
    });
}

/// Promise 4: a reactor whose service has as many connections as its caps allow, or whose places
/// are kept back for another service, gets none while another has room, whether one leaves or the
/// caps are set anew.
#[test]
fn a_reactor_at_the_cap_of_a_service_gets_none_while_another_has_room() {
    check(0..200, Profile::everyday(), |sim| {
        let config = Config::default().connections(9).linger(MS);
        let mut server = sim.server(3, config, |n, all| Ok(Node::new(n, all)))?;
        let by = any_way(1 + sim.seed() % 3);
        server.listen(Listen::from(DOORS[0]).spread(by))?;
        let cap = |server: &Server<Node>, connections| {
            post(server, 1, move |_, cx| {
                cx.set_caps(Caps::default().connections(connections)).unwrap();
            });
        };
        cap(&server, 1);
        let reserve = Caps::default().reserve(6);
        post(&server, 2, move |_, cx| cx.service(1).set_caps(reserve).unwrap());
        sim.run_until_idle(&mut server)?;
        let from = |n: usize| format!("10.9.9.{}:1", 1 + n);
        let peers: Vec<_> = (0..13).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!(open(&server), [9, 1, 3], "{by:?}");
        // One leaves of that which is at its cap: one more comes, and none waits there.
        post(&server, 1, |_, cx| cx.conn(cx.connections()[0]).unwrap().abort());
        let more: Vec<_> = (13..18).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!(open(&server), [9, 1, 3], "{by:?}");
        post(&server, 0, |_, cx| {
            cx.connections()[..4].iter().for_each(|id| cx.conn(*id).unwrap().abort());
        });
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!(open(&server), [9, 1, 3], "{by:?}");
        cap(&server, 3);
        let last: Vec<_> = (18..20).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        sim.advance(&mut server, Duration::from_secs(2))?;
        assert_eq!(open(&server), [9, 3, 3], "{by:?}");
        drop((peers, more, last));
        Ok(())
    });
}

/// A reactor that does not accept for now gets none while another does; and where none does,
/// clients wait in the kernel.
#[test]
fn a_reactor_that_has_stopped_accepting_gets_none() {
    check(0..100, Profile::everyday(), |sim| {
        let config = Config::default().connections(6).reclaim_idle(Some(Duration::from_secs(60)));
        let mut server = sim.server(2, config, |n, all| Ok(Node::new(n, all)))?;
        let by = any_way(1 + sim.seed() % 3);
        server.listen(Listen::from(DOORS[0]).spread(by))?;
        let stop = |server: &Server<Node>, number, stops| {
            post(server, number, move |_, cx| {
                let intake = *cx.listeners().last().expect("it listens");
                assert!(if stops {
                    cx.pause_accepting(intake)
                } else {
                    cx.resume_accepting(intake)
                });
            });
        };
        stop(&server, 1, true);
        sim.run_until_idle(&mut server)?;
        let peers: Vec<_> = (0..4).map(|_| sim.connect(DOORS[0])).collect();
        sim.run_until_idle(&mut server)?;
        assert_eq!(open(&server), [4, 0], "{by:?}");
        stop(&server, 0, true);
        sim.run_until_idle(&mut server)?;
        let more: Vec<_> = (0..4).map(|_| sim.connect(DOORS[0])).collect();
        sim.advance(&mut server, Duration::from_secs(1))?;
        assert_eq!(open(&server), [4, 0], "{by:?}");
        stop(&server, 1, false);
        sim.advance(&mut server, Duration::from_secs(1))?;
        assert_eq!(open(&server), [4, 4], "{by:?}");
        drop((peers, more));
        Ok(())
    });
}

/// Trap 25: a connection that waits for a listener when that closes is reset, as one in the
/// kernel's backlog is.
#[test]
fn a_connection_that_waits_for_a_listener_that_closes_is_reset() {
    let mut all = 0;
    check(0..200, Profile::everyday().preempted(500), |sim| {
        let mut server = sim.server(2, Config::default(), |n, all| Ok(Node::new(n, all)))?;
        server.listen(Listen::from(DOORS[0]).spread(Spread::RoundRobin))?;
        let peers = [(); 20].map(|()| sim.connect(DOORS[0]));
        let mut dice = Dice(sim.seed());
        sim.advance(&mut server, Duration::from_micros(dice.below(1000)))?;
        post(&server, 1, move |_, cx| {
            let intake = *cx.listeners().last().expect("it listens");
            assert!(cx.close_listener(intake));
        });
        sim.run_until_idle(&mut server)?;
        let reset = peers.iter().filter(|peer| peer.is_reset()).count();
        let now = open(&server);
        assert_eq!(now[0] + now[1] + reset, 20);
        all += reset;
        // From now on the other has them all.
        let more = [(); 4].map(|()| sim.connect(DOORS[0]));
        sim.run_until_idle(&mut server)?;
        assert_eq!(open(&server), [now[0] + 4, now[1]]);
        drop(more);
        Ok(())
    });
    assert!(all > 0, "none has waited");
}

/// A server of two reactors, each restarted at most `most` times in a minute.
fn restarting(sim: &Sim, most: usize) -> Result<Server<Node>, Failure> {
    let mut server = sim.server(2, Config::default(), |n, all| Ok(Node::new(n, all)))?;
    server.restart(most, Duration::from_secs(60), |n, all| Ok(Node::new(n, all)));
    server.listen(Listen::from(DOORS[0]).spread(any_way(sim.seed())))?;
    Ok(server)
}

/// Promise 6: a reactor whose handler panics goes on with another: its connections end, by a reset
/// where something is owed; a client that comes then is served; and the other reactor has noticed
/// nothing.
#[test]
fn a_reactor_that_panics_goes_on_with_another_handler() {
    check(0..300, Profile::everyday(), |sim| {
        let mut server = restarting(sim, 3)?;
        let from = |n: usize| format!("10.9.{n}.1:1");
        let clients: Vec<_> = (0..12)
            .map(|n| {
                let client = sim.connect_from(&from(n), DOORS[0]);
                client.send("1 say\n");
                client.expect("1\n");
                client
            })
            .collect();
        sim.run_until_idle(&mut server)?;
        let before = open(&server);
        let number = clients.len() % 2;
        post(&server, number, |node, cx| {
            cx.set_periodic_timer(MS, 1);
            if let Some(id) = node.open.first() {
                // More than the network takes: it is owed when the panic comes.
                cx.conn(*id).unwrap().send(vec![b'x'; 200_000]);
            }
            cx.set_timer(5 * MS, 2);
        });
        sim.advance(&mut server, Duration::from_secs(2))?;
        let node = server.reactors()[number].handler();
        assert_eq!((node.ticks, node.open.len()), (0, 0), "a new handler, and no timer of the old");
        let stats = server.reactors()[number].stats();
        assert_eq!((stats.restarts, stats.closed.panic), (1, before[number] as u64));
        assert_eq!(stats.accepted, stats.closed.total());
        let reset = clients.iter().filter(|client| client.is_reset()).count();
        let ended = clients.iter().filter(|client| client.is_ended()).count();
        assert_eq!(reset, usize::from(before[number] > 0), "only one is owed something");
        assert_eq!(reset + ended, before[number]);
        // All others are served on, and clients that come now are served by both.
        let more: Vec<_> = (20..40).map(|n| sim.connect_from(&from(n), DOORS[0])).collect();
        let others = clients.iter().filter(|client| !client.is_reset() && !client.is_ended());
        for client in others.chain(&more) {
            let _ = client.recv();
            client.send("2 say\n");
            client.expect("2\n");
            client.expect_end();
        }
        sim.advance(&mut server, Duration::from_secs(1))?;
        assert!(open(&server)[number] > 0, "it accepts again");
        server.handle().shutdown();
        clients.iter().chain(&more).for_each(Peer::finish);
        sim.advance(&mut server, Duration::from_secs(20))?;
        assert!(more.iter().all(Peer::is_done));
        assert_eq!(server.shutdown_report().unwrap().cut, 0);
        Ok(())
    });
}

/// Promise 6: after so many restarts within the time a panic ends the server; later they count no more.
#[test]
fn restarts_are_bounded_in_a_time() {
    check(0..40, Profile::calm(), |sim| {
        let mut server = restarting(sim, 2)?;
        let panics = |server: &Server<Node>| post(server, 1, |_, _| panic!("once more"));
        for _ in 0..3 {
            panics(&server);
            panics(&server);
            sim.advance(&mut server, Duration::from_secs(61))?;
        }
        assert_eq!(server.reactors()[1].stats().restarts, 6);
        for _ in 0..3 {
            panics(&server);
        }
        let ran = catch_unwind(AssertUnwindSafe(|| sim.run_until_idle(&mut server)));
        assert_eq!(ran.unwrap_err().downcast_ref::<&str>(), Some(&"once more"));
        assert_eq!(server.reactors()[1].stats().restarts, 8);
        assert!(server.reactors()[0].shutdown_report().is_some(), "the other has ended in order");
        Ok(())
    });
}

/// Promise 6: where no other handler can be made, and in a shutdown, the panic ends the server as
/// it would without.
#[test]
fn a_panic_that_cannot_be_made_good_ends_the_server() {
    for fails in [true, false] {
        let sim = Sim::new(1, Profile::calm());
        let make = |n, all: &ServerHandle<Node>| Ok(Node::new(n, all));
        let mut server = sim.server(2, Config::default(), make).unwrap();
        server.restart(9, Duration::from_secs(1), move |n, all| {
            assert!(fails || n == 9, "the making panics");
            if n == 9 { Ok(Node::new(n, all)) } else { Err(io::Error::other("none to be had")) }
        });
        post(&server, 1, |_, _| panic!("the first"));
        let ran = catch_unwind(AssertUnwindSafe(|| sim.run_until_idle(&mut server)));
        assert_eq!(ran.unwrap_err().downcast_ref::<&str>(), Some(&"the first"));
        assert_eq!(server.stats().restarts, 0);
    }
}

/// Promise 6: a handler that panics while its server shuts down has no other: there is nothing left
/// for it to serve.
#[test]
fn a_panic_in_a_shutdown_is_not_made_good() {
    for seed in 0..40 {
        let sim = Sim::new(seed, Profile::everyday());
        let mut server = restarting(&sim, 9).unwrap();
        sim.run_until_idle(&mut server).unwrap();
        server.handle().shutdown();
        post(&server, 1, |_, _| panic!("too late"));
        let ran = catch_unwind(AssertUnwindSafe(|| sim.run_until_idle(&mut server)));
        assert_eq!(ran.unwrap_err().downcast_ref::<&str>(), Some(&"too late"));
        assert_eq!(server.stats().restarts, 0);
    }
}
