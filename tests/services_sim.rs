//! Three services on one reactor in simulated worlds: what one makes is its own, whatever the
//! network does, and a connection that is handed over arrives with every byte.
//!
//! Needs the feature: `cargo test --features sim --test services_sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{
    Caps, CloseReason, Closed, Config, Conn, ConnId, Context, Datagram, Handler, Input, Origin,
    Reactor, Timer,
};

const MS: Duration = Duration::from_millis(1);
const SERVICES: u8 = 3;

/// Where a service listens, and where it receives datagrams.
fn door(service: u8) -> String {
    format!("10.0.0.1:700{service}")
}

fn mailbox(service: u8) -> String {
    format!("10.0.0.1:800{service}")
}

/// Draws by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1234_5678_9ABC_DEF1);
        (self.0 >> 33) % n
    }
}

/// A service that answers each line with its own number before it, and hands a connection on at `to
/// N`. It sees that all that comes to it is its own.
struct Numbered {
    number: u8,
    /// Its connections: whether each is to go elsewhere.
    open: BTreeMap<ConnId, bool>,
    timers: u64,
    datagrams: u64,
    failed: u64,
    handed: u64,
    taken: u64,
    closed: u64,
}

impl Numbered {
    fn new(number: u8) -> Self {
        Numbered {
            number,
            open: BTreeMap::new(),
            timers: 0,
            datagrams: 0,
            failed: 0,
            handed: 0,
            taken: 0,
            closed: 0,
        }
    }

    fn own_tag(&self) -> u64 {
        100 + u64::from(self.number)
    }
}

impl Handler for Numbered {
    type Session = u8;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.listen(&*door(self.number))?;
        cx.bind_datagram(&*mailbox(self.number))?;
        cx.set_periodic_timer(MS * 10, self.own_tag());
        cx.connect("10.0.0.9:1", self.own_tag())?;
        Ok(())
    }

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<u8> {
        assert_eq!(conn.service(), self.number);
        assert!(self.open.insert(conn.id(), false).is_none(), "opened twice");
        let own = conn.cx().connections();
        assert!(own.contains(&conn.id()) || conn.has_failed(), "from its `on_open` on");
        assert!(own.iter().all(|id| self.open.contains_key(id)), "connections() are one's own");
        match origin {
            Origin::HandedOver(from) => {
                self.taken += 1;
                conn.send(format!("{} took from {from}\n", self.number));
            }
            Origin::Connected(tag) => assert_eq!(tag, self.own_tag()),
            _ => {}
        }
        Ok(self.number)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut u8,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        assert_eq!((*session, conn.service()), (self.number, self.number));
        assert_eq!(self.open.get(&conn.id()), Some(&false), "handed over, and called again");
        while let Some(line) = input.line() {
            if let Some(to) = line.strip_prefix(b"to ") {
                conn.send(format!("{} hands on\n", self.number));
                if !conn.is_open() {
                    // It has failed: it ends here.
                    continue;
                }
                conn.hand_to(to[0] - b'0', u64::from(self.number));
                assert!(input.line().is_none(), "what is left is the other's");
                *self.open.get_mut(&conn.id()).unwrap() = true;
                self.handed += 1;
            } else {
                conn.send(format!("{} {}\n", self.number, String::from_utf8_lossy(line)));
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        assert_eq!(timer.tag, self.own_tag());
        assert!(cx.listeners().len() <= 1, "its own, until shutdown closes it");
        self.timers += 1;
    }

    fn on_datagram(&mut self, _cx: &mut Context, datagram: &Datagram<'_>) {
        assert_eq!(datagram.payload, [self.number]);
        self.datagrams += 1;
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: u8, closed: Closed) {
        assert_eq!((session, closed.service), (self.number, self.number));
        let handed = self.open.remove(&id).expect("only what is open closes");
        let goes_on = matches!(closed.reason, CloseReason::HandedOver);
        assert!(handed || !goes_on, "nobody handed it over");
        assert_eq!(goes_on, cx.conn(id).is_some());
        if !goes_on {
            self.closed += 1;
        }
    }

    fn on_connect_failed(&mut self, _cx: &mut Context, _id: ConnId, tag: u64, _error: io::Error) {
        assert_eq!(tag, self.own_tag());
        self.failed += 1;
    }
}

type Three = (Numbered, Numbered, Numbered);

fn three() -> Three {
    (Numbered::new(0), Numbered::new(1), Numbered::new(2))
}

fn each(three: &Three) -> [&Numbered; 3] {
    [&three.0, &three.1, &three.2]
}

/// Lines to one door after the other, and what comes back.
fn talk(peer: &Peer, dice: &mut Dice, first: u8) {
    let (mut at, mut lines, mut answers) = (first, Vec::new(), Vec::new());
    for n in 0..dice.below(20) + 2 {
        if dice.below(4) == 0 {
            let to = u8::try_from(dice.below(u64::from(SERVICES))).unwrap();
            lines.extend_from_slice(format!("to {to}\n").as_bytes());
            answers.extend_from_slice(format!("{at} hands on\n{to} took from {at}\n").as_bytes());
            at = to;
        } else {
            lines.extend_from_slice(format!("line {n}\n").as_bytes());
            answers.extend_from_slice(format!("{at} line {n}\n").as_bytes());
        }
        if dice.below(3) == 0 {
            peer.send(std::mem::take(&mut lines));
        }
        if dice.below(6) == 0 {
            peer.send(std::mem::take(&mut lines));
            peer.expect(std::mem::take(&mut answers));
            peer.wait(MS * u32::try_from(dice.below(5)).unwrap());
        }
    }
    peer.send(lines);
    peer.finish();
    peer.expect(answers);
    peer.expect_end();
}

fn world(sim: &Sim) -> Result<Reactor<Three>, Failure> {
    sim.reactor(three(), Config::default())
}

/// Promises 2 and 3: whatever is handed to whom in the midst of a stream, each line is answered
/// once, in order and by the service whose turn it is; each has its own timers, datagrams, connects
/// and ends.
#[test]
fn each_service_is_called_for_its_own_and_a_handed_connection_loses_no_byte() {
    check(0..400, Profile::everyday(), |sim| {
        let mut dice = Dice(sim.seed());
        let mut reactor = world(sim)?;
        let sender = sim.bind("10.0.0.7:1");
        for n in 0..4 + dice.below(4) {
            let first = u8::try_from(n % u64::from(SERVICES)).unwrap();
            talk(&sim.connect(&door(first)), &mut dice, first);
            sender.send_to(&mailbox(first), [first]);
        }
        sim.run_until_idle(&mut reactor)?;
        sim.advance(&mut reactor, Duration::from_secs(11))?;
        let handed: u64 = each(reactor.handler()).iter().map(|one| one.handed).sum();
        let taken: u64 = each(reactor.handler()).iter().map(|one| one.taken).sum();
        assert_eq!(handed, taken);
        let mut accepted = 0;
        for one in each(reactor.handler()) {
            assert!(one.open.is_empty(), "service {}", one.number);
            assert!(one.timers > 0 && one.failed == 1, "service {}", one.number);
        }
        for n in 0..SERVICES {
            let stats = reactor.service(n).service_stats();
            let came = stats.accepted + stats.adopted + stats.connected + stats.taken_over;
            assert_eq!((stats.open, came), (0, stats.closed.total()), "service {n}: {stats:?}");
            accepted += stats.accepted;
        }
        let stats = reactor.stats();
        assert_eq!((stats.accepted, stats.closed.handed_over), (accepted, 0));
        assert_eq!(stats.accepted, stats.closed.total());
        Ok(())
    });
}

/// Promise 3: peers that reset, vanish and flood while their connections are handed on: each that
/// was opened by a service is closed by it, once.
#[test]
fn what_a_service_has_opened_it_closes_whatever_the_network_does() {
    // What cannot be watched cannot start.
    check(0..400, Profile::rough().watch_error(0), |sim| {
        let mut dice = Dice(sim.seed());
        let mut reactor = world(sim)?;
        for n in 0..6 {
            let first = u8::try_from(n % u64::from(SERVICES)).unwrap();
            let peer = sim.connect(&door(first));
            for _ in 0..dice.below(8) {
                let to = dice.below(u64::from(SERVICES));
                peer.send(format!("some line\nto {to}\nand another\n"));
                peer.wait(MS * u32::try_from(dice.below(3)).unwrap());
            }
            match dice.below(3) {
                0 => peer.reset(),
                1 => peer.close(),
                _ => peer.finish(),
            }
        }
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        reactor.shutdown();
        sim.advance(&mut reactor, Duration::from_secs(30))?;
        let report = reactor.shutdown_report().expect("it is over");
        assert_eq!(report.services.len(), usize::from(SERVICES));
        assert_eq!(report.services.iter().map(|one| one.done).sum::<u64>(), report.done);
        for one in each(reactor.handler()) {
            assert!(one.open.is_empty(), "service {}: {:?}", one.number, one.open);
        }
        for n in 0..SERVICES {
            let stats = reactor.service(n).service_stats();
            let came = stats.accepted + stats.adopted + stats.connected + stats.taken_over;
            assert_eq!((stats.open, came), (0, stats.closed.total()), "service {n}: {stats:?}");
        }
        Ok(())
    });
}

/// Counts its connections, and answers nothing.
#[derive(Default)]
struct Quiet {
    most: usize,
    now: usize,
    ends: Vec<String>,
}

impl Handler for Quiet {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.now += 1;
        self.most = self.most.max(self.now);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if input.bytes().first() == Some(&b'!') {
            conn.send(vec![0; 10_000]);
            input.take_all();
        }
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, (): (), closed: Closed) {
        self.now -= 1;
        self.ends.push(closed.reason.to_string());
    }
}

fn quiet(sim: &Sim, config: Config) -> Result<Reactor<(Quiet, Quiet)>, Failure> {
    let mut reactor = sim.reactor((Quiet::default(), Quiet::default()), config)?;
    for n in 0..2 {
        reactor.service(n).listen(&*door(n))?;
    }
    Ok(reactor)
}

/// Promise 4: places that are kept back for a service are there when the others are full, and a
/// service takes no more than its cap; who waits is served when a place is free.
#[test]
fn a_reserve_is_kept_back_and_a_cap_is_kept_to() {
    check(0..60, Profile::everyday(), |sim| {
        let mut reactor = quiet(sim, Config::default().connections(10))?;
        reactor.service(1).set_caps(Caps::default().reserve(3).connections(4))?;
        let many: Vec<_> = (0..20).map(|_| sim.connect(&door(0))).collect();
        sim.advance(&mut reactor, MS * 500)?;
        assert_eq!((reactor.handler().0.now, reactor.handler().1.now), (7, 0));
        let others: Vec<_> = (0..6).map(|_| sim.connect(&door(1))).collect();
        sim.advance(&mut reactor, MS * 500)?;
        assert_eq!((reactor.handler().0.now, reactor.handler().1.now), (7, 3));
        for peer in &many {
            peer.close();
        }
        sim.advance(&mut reactor, Duration::from_secs(20))?;
        assert_eq!((reactor.handler().0.now, reactor.handler().1.now), (0, 4));
        assert_eq!((reactor.handler().0.most, reactor.handler().0.ends.len()), (7, 20));
        for peer in &others {
            peer.close();
        }
        sim.advance(&mut reactor, Duration::from_secs(20))?;
        assert_eq!((reactor.handler().1.most, reactor.handler().1.ends.len()), (4, 6));
        Ok(())
    });
}

/// Promise 4: where a place is needed, it is that of a connection whose end makes one.
#[test]
fn a_place_is_reclaimed_where_that_makes_one() {
    check(0..30, Profile::calm(), |sim| {
        let config = Config::default().connections(6).reclaim_idle(Some(Duration::from_secs(5)));
        let mut reactor = quiet(sim, config)?;
        reactor.service(1).set_caps(Caps::default().reserve(2).connections(2))?;
        let _admins: Vec<_> = (0..2).map(|_| sim.connect(&door(1))).collect();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        let _old: Vec<_> = (0..4).map(|_| sim.connect(&door(0))).collect();
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        let _new: Vec<_> = (0..2).map(|_| sim.connect(&door(0))).collect();
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        // The two of service 1 have been idle for longest, and no place of theirs is of use.
        assert_eq!(reactor.handler().1.ends.len(), 0);
        assert_eq!(reactor.handler().0.ends, ["idle, and its place was needed"; 2]);
        let _third = sim.connect(&door(1));
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        assert_eq!(reactor.handler().1.ends, ["idle, and its place was needed"]);
        assert_eq!(reactor.handler().0.ends.len(), 2);
        Ok(())
    });
}

/// Promise 4: the times of a service are its own, and so are its addresses and its memory.
#[test]
fn each_service_has_its_own_patience_addresses_and_memory() {
    check(0..30, Profile::calm().buffer(4096..=4096), |sim| {
        let config = Config::default()
            .idle(Some(Duration::from_secs(60)))
            .first_byte(Some(Duration::from_secs(10)));
        let mut reactor = quiet(sim, config)?;
        let caps = Caps::default()
            .first_byte(Some(Duration::from_secs(3)))
            .min_rate(100, Duration::from_secs(20))
            .idle(None)
            .connections_per_address(Some(2))
            .buffered_max(25_000);
        reactor.service(1).set_caps(caps)?;
        let silent = [sim.connect(&door(0)), sim.connect(&door(1))];
        sim.advance(&mut reactor, Duration::from_secs(5))?;
        assert!(!silent[0].is_ended() && silent[1].is_ended());
        sim.advance(&mut reactor, Duration::from_secs(6))?;
        assert!(silent[0].is_ended());

        let half = [sim.connect(&door(0)), sim.connect(&door(1))];
        for peer in &half {
            peer.send("x");
        }
        sim.advance(&mut reactor, Duration::from_secs(30))?;
        assert!(!half[0].is_ended() && half[1].is_ended(), "half a request for 20 s");
        sim.advance(&mut reactor, Duration::from_secs(40))?;
        assert!(half[0].is_ended(), "idle for 60 s");
        assert_eq!(reactor.handler().1.ends, ["first byte timeout", "too slow"]);
        assert_eq!(reactor.handler().0.ends, ["first byte timeout", "idle timeout"]);

        for n in 0..2 {
            let from = |port| format!("10.0.0.5:{port}");
            for port in 0..3 {
                let peer = sim.connect_from(&from(1000 + u16::from(n) * 10 + port), &door(n));
                peer.stop_reading();
                for _ in 0..12 {
                    peer.send("!");
                    peer.wait(MS);
                }
            }
        }
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        let refused = [0, 1].map(|n| reactor.service(n).service_stats().refused_address);
        assert_eq!(refused, [0, 1]);
        let closed = [0, 1].map(|n| reactor.service(n).service_stats().closed.buffered_limit);
        assert_eq!(closed[0], 0);
        assert!(closed[1] >= 1);
        Ok(())
    });
}

/// What one service does before it hands a connection on to the other, and what that is told.
struct First(fn(&mut Conn<'_>));

impl Handler for First {
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
        if input.line().is_some() {
            (self.0)(conn);
            conn.hand_to(1, 0);
        }
        Ok(())
    }

    fn on_eof(&mut self, conn: &mut Conn<'_>, (): &mut (), rest: &mut Input<'_>) -> io::Result<()> {
        assert_eq!(rest.bytes(), b"the rest");
        conn.hand_to(1, 0);
        Ok(())
    }
}

/// Says what it was told.
#[derive(Default)]
struct Second {
    ends: Vec<String>,
}

impl Handler for Second {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
        assert_eq!(origin, Origin::HandedOver(0));
        conn.send("open ");
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        conn.send(" ");
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        conn.send("timeout ");
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, (): &mut ()) -> io::Result<()> {
        conn.send("drain ");
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send("end");
        conn.close();
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, _id: ConnId, (): (), closed: Closed) {
        self.ends.push(closed.reason.to_string());
    }
}

/// Promise 3: what the first service had asked for is not the second's.
#[test]
fn what_the_first_service_asked_for_is_forgotten() {
    check(0..50, Profile::everyday(), |sim| {
        let first = First(|conn| {
            conn.pause();
            conn.hold(true);
            conn.auto_pause(false);
            conn.set_timeout(MS * 5);
            conn.set_idle_timeout(Some(MS * 50));
            conn.want_drain();
        });
        let mut reactor = sim.reactor((first, Second::default()), Config::default())?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        peer.send("go\n");
        peer.expect("open ");
        peer.wait(Duration::from_secs(1));
        peer.send("more");
        peer.finish();
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        let told = String::from_utf8(peer.recv()).unwrap();
        assert_eq!(told.split_whitespace().collect::<String>(), "moreend");
        assert_eq!(reactor.handler().1.ends, ["the peer ended"]);
        Ok(())
    });
}

/// Promise 3: an end that the peer had made is told by the service that has it then.
#[test]
fn an_end_is_told_to_the_service_that_takes_over() {
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor((First(|_| {}), Second::default()), Config::default())?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        peer.send("the rest");
        peer.finish();
        peer.expect("open the rest end");
        peer.expect_end();
        sim.run_until_idle(&mut reactor)?;
        assert_eq!(reactor.handler().1.ends, ["the peer ended"]);
        assert_eq!(reactor.stats().closed.peer_end, 1);
        Ok(())
    });
}

/// Promise 4: what a handed connection holds counts for the service that has it.
#[test]
fn what_a_handed_connection_holds_is_counted_for_its_new_service() {
    check(0..20, Profile::calm().buffer(4096..=4096), |sim| {
        let first = First(|conn| conn.send(vec![0; 50_000]));
        let mut reactor = sim.reactor((first, Second::default()), Config::default())?;
        reactor.service(0).set_caps(Caps::default().buffered_max(60_000))?;
        reactor.service(1).set_caps(Caps::default().buffered_max(120_000))?;
        reactor.listen(&*door(0))?;
        let peers: Vec<_> = (0..3).map(|_| sim.connect(&door(0))).collect();
        for (n, peer) in (0..).zip(&peers) {
            peer.stop_reading();
            peer.wait(MS * 10 * (n + 1));
            peer.send("go\n");
        }
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        // Three would be too many for either.
        let closed = [0, 1].map(|n| reactor.service(n).service_stats().closed.buffered_limit);
        assert_eq!(closed, [0, 1]);
        assert_eq!(reactor.service(1).service_stats().open, 2);
        Ok(())
    });
}

/// Panics when it is to shut down, or counts that it was asked.
struct Asked {
    panics: bool,
    asked: bool,
}

impl Handler for Asked {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_shutdown(&mut self, _cx: &mut Context) {
        self.asked = true;
        assert!(!self.panics, "as it was told");
    }
}

/// Promise 7: a panic of one service in `on_shutdown` keeps no other from being asked.
#[test]
fn every_service_is_asked_to_shut_down_a_panic_of_one_or_not() {
    check(0..3, Profile::calm(), |sim| {
        let asked = |panics| Asked { panics, asked: false };
        let config = Config::default().isolate_panics(true);
        let mut two = sim.reactor((asked(true), asked(false)), config.clone())?;
        let mut many = sim.reactor(vec![asked(true), asked(false), asked(true)], config)?;
        for _ in 0..3 {
            two.shutdown();
            sim.advance(&mut two, MS)?;
            many.shutdown();
            sim.advance(&mut many, MS)?;
        }
        assert!(two.handler().0.asked && two.handler().1.asked);
        assert!(many.handler().iter().all(|one| one.asked));
        assert_eq!((two.stats().panics, many.stats().panics), (1, 1));
        Ok(())
    });
}

/// Promise 4: a service at its own cap gives away a place of its own, however long others are idle.
#[test]
fn a_service_at_its_cap_reclaims_its_own() {
    check(0..30, Profile::calm(), |sim| {
        let config = Config::default().connections(10).reclaim_idle(Some(Duration::from_secs(5)));
        let mut reactor = quiet(sim, config)?;
        reactor.service(1).set_caps(Caps::default().connections(2))?;
        let _older: Vec<_> = (0..4).map(|_| sim.connect(&door(0))).collect();
        sim.advance(&mut reactor, Duration::from_secs(1))?;
        let _admins: Vec<_> = (0..2).map(|_| sim.connect(&door(1))).collect();
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        let _third = sim.connect(&door(1));
        sim.advance(&mut reactor, Duration::from_secs(2))?;
        assert_eq!(reactor.handler().0.ends.len(), 0);
        assert_eq!(reactor.handler().1.ends, ["idle, and its place was needed"]);
        Ok(())
    });
}

/// Promise 6: that a service waits in vain for a place of its own keeps none from being found for another.
#[test]
fn a_service_without_an_idle_connection_keeps_no_place_from_another() {
    check(0..30, Profile::calm(), |sim| {
        let config = Config::default().connections(6).reclaim_idle(Some(Duration::from_secs(5)));
        let mut reactor = quiet(sim, config)?;
        reactor.service(0).set_caps(Caps::default().connections(2))?;
        let busy: Vec<_> = (0..3).map(|_| sim.connect(&door(0))).collect();
        // Each is owed an answer, but for the third, which waits.
        for peer in &busy {
            peer.send("?");
        }
        let _idle: Vec<_> = (0..4).map(|_| sim.connect(&door(1))).collect();
        sim.advance(&mut reactor, Duration::from_secs(10))?;
        assert_eq!((reactor.handler().0.now, reactor.handler().1.now), (2, 4));
        assert!(reactor.stats().turns < 100, "it looks once a second: {:?}", reactor.stats());
        let _new = sim.connect(&door(1));
        sim.advance(&mut reactor, Duration::from_secs(3))?;
        assert_eq!(reactor.handler().1.ends, ["idle, and its place was needed"]);
        Ok(())
    });
}

/// Looks at what came, and hands it on as it is.
struct Peeks;

impl Handler for Peeks {
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
        assert!(input.line().is_none(), "no line has come");
        conn.hand_to(1, 0);
        Ok(())
    }
}

/// Promise 2: what the first service did not consume, and waited to see more of, is offered to the
/// second though nothing more comes.
#[test]
fn what_was_only_looked_at_is_offered_to_the_second_service() {
    check(0..50, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor((Peeks, Second::default()), Config::default())?;
        reactor.listen(&*door(0))?;
        let peer = sim.connect(&door(0));
        peer.send("x");
        peer.expect("open x ");
        sim.run_until_idle(&mut reactor)
    });
}

/// Hands each connection on at its first byte, and aborts the first of them when it is told that it goes.
#[derive(Default)]
struct Aborts {
    first: Option<ConnId>,
}

impl Handler for Aborts {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.first.get_or_insert(conn.id());
        Ok(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        conn.hand_to(1, 0);
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _closed: Closed) {
        if self.first == Some(id)
            && let Some(mut conn) = cx.conn(id)
        {
            conn.abort();
        }
    }
}

/// Promise 1: a connection that its first service ends when it is told that it goes keeps no other
/// from changing hands in the same turn.
#[test]
fn one_that_is_aborted_as_it_goes_keeps_no_other_from_going() {
    check(0..30, Profile::calm(), |sim| {
        let services = (Aborts::default(), Second::default());
        let mut reactor = sim.reactor(services, Config::default())?;
        reactor.listen(&*door(0))?;
        let (aborted, others) =
            (sim.connect(&door(0)), [sim.connect(&door(0)), sim.connect(&door(0))]);
        sim.advance(&mut reactor, MS)?;
        aborted.send("x");
        for other in &others {
            other.send("x");
            other.expect("open x ");
        }
        sim.run_until_idle(&mut reactor)?;
        assert!(aborted.is_reset());
        Ok(())
    });
}

/// Promise 3: a stream that is adopted, and a connect that comes through, are of the service that
/// has made them.
#[test]
fn what_is_adopted_or_connected_belongs_to_the_service_that_did_it() {
    check(0..30, Profile::everyday(), |sim| {
        let mut reactor = world(sim)?;
        let server = sim.serve("10.0.0.8:1");
        let (stream, adopted) = sim.pair().map_err(|error| sim.failure(error.to_string()))?;
        let mut last = reactor.service(2);
        last.adopt(stream, 0).map_err(|error| sim.failure(error.to_string()))?;
        last.connect("10.0.0.8:1", 102).map_err(|error| sim.failure(error.to_string()))?;
        drop(last);
        for peer in [&adopted, &server] {
            peer.send("line\n");
            peer.expect("2 line\n");
            peer.finish();
            peer.expect_end();
        }
        sim.run_until_idle(&mut reactor)?;
        let stats = [0, 1, 2].map(|n| reactor.service(n).service_stats());
        assert_eq!(stats.each_ref().map(|one| one.adopted), [0, 0, 1]);
        assert_eq!(stats.each_ref().map(|one| one.connected), [0, 0, 1]);
        Ok(())
    });
}
