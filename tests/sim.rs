//! How a user tests a handler in simulated worlds: the documentation's way, from outside the crate.
//!
//! Needs the feature: `cargo test --features sim --test sim`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wouldblock::sim::{Failure, Peer, Profile, Sim, check};
use wouldblock::{
    Address, Config, Conn, ConnId, Context, Datagram, DatagramId, Handler, Input, Origin, Reactor,
    Timer, TimerId,
};

const SERVER: &str = "10.0.0.1:7777";

/// Answers each frame with the same frame: a length in two bytes, big end first, then so many.
struct Frames {
    /// The bug: what is left of a frame is thrown away when a call brings only a part of it.
    forgets: bool,
}

impl Handler for Frames {
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
        while let [high, low, ..] = *input.bytes() {
            let len = 2 + usize::from(u16::from_be_bytes([high, low]));
            let Some(frame) = input.take(len) else {
                if self.forgets {
                    input.take_all();
                }
                return Ok(());
            };
            conn.send(frame);
        }
        Ok(())
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    [&len.to_be_bytes(), payload].concat()
}

/// Two frames, one after the other, and the end.
fn exchange(sim: &Sim, handler: Frames) -> Result<(), Failure> {
    let mut reactor = sim.reactor(handler, Config::default())?;
    reactor.listen(SERVER)?;
    let peer = sim.connect(SERVER);
    for payload in [&b"hello"[..], &[7; 300]] {
        peer.send(frame(payload));
        peer.expect(frame(payload));
    }
    peer.finish();
    peer.expect_end();
    sim.run_until_idle(&mut reactor)
}

#[test]
fn a_handler_that_keeps_its_frames_passes() {
    check(0..200, Profile::default(), |sim| exchange(sim, Frames { forgets: false }));
}

#[test]
fn a_handler_that_forgets_half_a_frame_is_caught() {
    let run = || check(0..200, Profile::default(), |sim| exchange(sim, Frames { forgets: true }));
    let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("peer 0 still expects"), "{text}");
    assert!(text.contains("WOULDBLOCK_SEED="), "{text}");
}

/// Tells everybody who comes and goes.
#[derive(Default)]
struct Chat {
    present: Vec<ConnId>,
}

impl Handler for Chat {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        self.present.push(conn.id());
        let text = format!("{} here\n", self.present.len());
        conn.cx().broadcast(text.into());
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        input.take_all();
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, (): (), _: wouldblock::Closed) {
        self.present.retain(|present| *present != id);
        let text = format!("{} here\n", self.present.len());
        cx.broadcast(text.into());
    }
}

#[test]
fn peers_hear_of_each_other_and_of_a_reset() {
    check(0..100, Profile::default(), |sim| {
        let mut reactor = sim.reactor(Chat::default(), Config::default())?;
        reactor.listen(SERVER)?;
        let one = sim.connect(SERVER);
        one.expect("1 here\n");
        sim.run_until_idle(&mut reactor)?;
        let other = sim.connect(SERVER);
        one.expect("2 here\n");
        other.expect("2 here\n");
        other.reset();
        one.expect("1 here\n");
        sim.run_until_idle(&mut reactor)
    });
}

#[test]
fn a_silent_peer_is_closed_after_a_minute_and_one_that_talks_is_not() {
    check(0..100, Profile::default(), |sim| {
        let config = Config::default().idle(Some(Duration::from_secs(60)));
        let mut reactor = sim.reactor(Frames { forgets: false }, config)?;
        reactor.listen(SERVER)?;
        let silent = sim.connect(SERVER);
        let talks = sim.connect(SERVER);
        for _ in 0..10 {
            talks.wait(Duration::from_secs(50));
            talks.send(frame(b"still here"));
            talks.expect(frame(b"still here"));
        }
        sim.advance(&mut reactor, Duration::from_secs(59))?;
        assert!(!silent.is_ended());
        sim.advance(&mut reactor, Duration::from_secs(481))?;
        assert!(silent.is_ended());
        assert!(talks.is_done() && !talks.is_ended());
        Ok(())
    });
}

/// Carries numbered letters by UDP, one at a time: each again and again until it is acknowledged.
struct Courier {
    to: Address,
    socket: Option<DatagramId>,
    retry: Option<TimerId>,
    /// The first that is not acknowledged.
    next: u32,
    /// The bug: it sends each but once.
    trusts: bool,
}

const LETTERS: u32 = 20;

impl Courier {
    fn send(&mut self, cx: &mut Context) {
        if let (Some(socket), true) = (self.socket, self.next < LETTERS) {
            // What cannot be sent now is sent again, as what is lost.
            let _ = cx.send_to(socket, &self.to, self.next.to_be_bytes());
            self.retry = (!self.trusts).then(|| cx.set_timer(Duration::from_millis(100), 0));
        }
    }
}

impl Handler for Courier {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.socket = Some(cx.bind_datagram("10.0.0.1:0")?);
        self.send(cx);
        Ok(())
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        // An acknowledgement that came late, or twice, is of a letter before.
        if datagram.from == self.to && datagram.payload == self.next.to_be_bytes() {
            self.next += 1;
            if let Some(timer) = self.retry.take() {
                cx.cancel_timer(timer);
            }
            self.send(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context, _timer: Timer) {
        self.send(cx);
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// A network that loses every third datagram, doubles some and mixes them up.
fn bad_network() -> Profile {
    Profile::default()
        .lost(300)
        .duplicated(100)
        .datagrams_reordered(300)
        .shortage(100)
        .would_block(100)
}

/// Returns how many letters have arrived, first copies only, and in order.
fn carry(sim: &Sim, trusts: bool) -> Result<u32, Failure> {
    let peer = sim.bind("10.0.0.9:4000");
    let arrived = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&arrived);
    peer.answer(move |letter| {
        let number = u32::from_be_bytes(letter.try_into().unwrap());
        let known = count.load(Ordering::Relaxed);
        assert!(number <= known, "{number} comes before {known}");
        count.store(known.max(number + 1), Ordering::Relaxed);
        // An acknowledgement may have been lost: each copy has one.
        Some(letter.to_vec())
    });
    let courier = Courier { to: peer.addr(), socket: None, retry: None, next: 0, trusts };
    let mut reactor = sim.reactor(courier, Config::default())?;
    sim.advance(&mut reactor, Duration::from_secs(60))?;
    Ok(arrived.load(Ordering::Relaxed))
}

#[test]
fn letters_that_are_sent_again_arrive_on_a_bad_network() {
    check(0..100, bad_network(), |sim| {
        assert_eq!(carry(sim, false)?, LETTERS);
        Ok(())
    });
}

#[test]
fn letters_that_are_sent_once_do_not() {
    let lost =
        (0..20).filter(|seed| carry(&Sim::new(*seed, bad_network()), true).unwrap() < LETTERS);
    assert!(lost.count() > 15);
}

/// Sends back what comes.
struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        cx.send_to(datagram.socket, &datagram.from, datagram.payload).unwrap();
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Where nothing is lost, each datagram is answered, the empty one too; on Unix sockets even past one
/// who does not read.
#[test]
fn each_datagram_is_answered_where_none_is_lost() {
    for (server, one, other) in [
        ("10.0.0.1:53", "10.0.0.2:4000", "10.0.0.3:4000"),
        ("unix:/run/server", "unix:/run/one", "unix:/run/other"),
    ] {
        let profile = Profile::rough().watch_error(0).stopped(0).lost(0).duplicated(0);
        // A Unix receiver that does not read is full soon; by UDP that would lose what is sent.
        let unix = server.starts_with("unix:");
        let profile = profile.mailbox(if unix { 1..=30 } else { 60..=90 });
        check(0..50, profile, |sim| {
            let mut reactor = sim.reactor(Echo, Config::default())?;
            reactor.bind_datagram(server)?;
            let (one, other) = (sim.bind(one), sim.bind(other));
            other.stop_reading();
            for n in 0..25 {
                other.send_to(server, [n]);
                one.send_to(server, [n]);
                one.expect([n]);
            }
            one.send_to(server, []);
            one.expect([]);
            // What the kernel had no memory for is tried again after a moment.
            sim.advance(&mut reactor, Duration::from_secs(1))?;
            sim.run_until_idle(&mut reactor)?;
            other.resume_reading();
            other.expect([24]);
            sim.advance(&mut reactor, Duration::from_secs(1))?;
            sim.run_until_idle(&mut reactor)?;
            assert_eq!(other.recv().len(), 24);
            Ok(())
        });
    }
}

/// Works for so long at each datagram, then sends it on twice.
struct Forwarder {
    sim: Sim,
    work: Duration,
    to: Address,
}

impl Handler for Forwarder {
    type Session = ();

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.sim.work(self.work);
        for _ in 0..2 {
            cx.send_to(datagram.socket, &self.to, datagram.payload).unwrap();
        }
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Promise 2: `datagram_wait` is counted from the send, however long the callback has run by then: what
/// waits is tried again, and not dropped for the time that the handler took.
#[test]
fn a_datagram_waits_from_its_send_on() {
    const MS: Duration = Duration::from_millis(1);
    check(0..20, Profile::calm().mailbox(1..=1), |sim| {
        let peer = sim.bind("unix:/run/peer");
        let (sim_too, to) = (sim.clone(), peer.addr());
        let handler = Forwarder { sim: sim_too, work: 200 * MS, to };
        let config = Config::default().datagram_wait(100 * MS);
        let mut reactor = sim.reactor(handler, config)?;
        reactor.bind_datagram("unix:/run/server")?;
        peer.stop_reading();
        peer.send_to("unix:/run/server", "twice");
        peer.wait(220 * MS);
        peer.resume_reading();
        peer.expect("twice");
        peer.expect("twice");
        sim.advance(&mut reactor, 400 * MS)?;
        assert_eq!(reactor.stats().datagrams_dropped, 0);
        assert!(peer.is_done());
        Ok(())
    });
}

#[test]
fn a_datagram_that_does_not_come_is_told() {
    let sim = Sim::new(1, Profile::calm().lost(1000));
    let mut reactor = sim.reactor(Echo, Config::default()).unwrap();
    reactor.bind_datagram("10.0.0.1:53").unwrap();
    let peer = sim.bind("10.0.0.2:4000");
    peer.send_to("10.0.0.1:53", "hello");
    peer.expect("hello");
    let failure = sim.run_until_idle(&mut reactor).unwrap_err();
    let what = "the peer at 10.0.0.2:4000 still expects \"hello\" (5 bytes), got nothing";
    assert!(failure.what().starts_with(what), "{failure}");
    assert!(failure.trace().contains("a datagram is lost"), "{failure}");
}

#[test]
fn what_only_a_deadline_would_bring_is_told_as_that() {
    let sim = Sim::new(1, Profile::calm());
    let config = Config::default().idle(Some(Duration::from_secs(60)));
    let mut reactor = sim.reactor(Echo, config).unwrap();
    reactor.listen("10.0.0.1:7777").unwrap();
    let peer = sim.connect("10.0.0.1:7777");
    peer.expect_end();
    let failure = sim.run_until_idle(&mut reactor).unwrap_err();
    assert!(failure.what().contains("see Sim::advance"), "{failure}");
    sim.advance(&mut reactor, Duration::from_secs(61)).unwrap();
    assert!(peer.is_ended());
}

/// Says half of what it should, and lets the peer know.
struct Half;

impl Handler for Half {
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
        input.take_all();
        conn.send(vec![7; 20_000]);
        conn.close_reset();
        Ok(())
    }
}

/// Promise 2: a reset behind what was sent destroys none of it, and comes.
#[test]
fn a_reset_behind_an_answer_comes_after_the_last_byte() {
    check(0..100, Profile::everyday(), |sim| {
        let mut reactor = sim.reactor(Half, Config::default())?;
        reactor.listen(SERVER)?;
        let peer = sim.connect(SERVER);
        peer.send(b"ask");
        peer.expect(vec![7; 20_000]);
        peer.expect_reset();
        // Not until it is idle: no event tells when all has left.
        sim.advance(&mut reactor, Duration::from_secs(60))?;
        assert!(peer.is_done(), "no reset came");
        assert_eq!((reactor.stats().closed.local, reactor.stats().bytes_out), (1, 20_000));
        Ok(())
    });
}

/// Works for as many milliseconds as a client says, in a callback of its choice.
struct Works {
    sim: Arc<Sim>,
    /// Sends first, in the midst of its work, which reads the clock.
    sends: bool,
}

impl Works {
    fn work(&self, milliseconds: u64) {
        self.sim.work(Duration::from_millis(milliseconds));
    }
}

impl Handler for Works {
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
        while let [milliseconds] = *input.take_all() {
            self.work(milliseconds.into());
            if self.sends {
                conn.send([7; 8192]);
                self.work(milliseconds.into());
            }
            if milliseconds == 100 {
                conn.cx().set_timer(Duration::from_millis(1), 0);
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, _cx: &mut Context, _timer: Timer) {
        self.work(250);
    }
}

fn works(sends: bool) -> (Arc<Sim>, Reactor<Works>) {
    let sim = Arc::new(Sim::new(1, Profile::calm()));
    let mut reactor =
        sim.reactor(Works { sim: Arc::clone(&sim), sends }, Config::default()).unwrap();
    reactor.listen(SERVER).unwrap();
    (sim, reactor)
}

/// The longest callback is told with its name and its connection; it counts from its beginning,
/// though the clock was read in its midst.
#[test]
fn the_longest_callback_is_told_whole_and_whose_it_was() {
    for sends in [false, true] {
        let (sim, mut reactor) = works(sends);
        let (quick, slow) = (sim.connect(SERVER), sim.connect(SERVER));
        quick.send([3]);
        slow.wait(Duration::from_secs(1));
        slow.send([30]);
        sim.advance(&mut reactor, Duration::from_secs(2)).unwrap();
        let load = &reactor.stats().load;
        let longest = *load.longest().unwrap();
        let took = Duration::from_millis(if sends { 60 } else { 30 });
        assert_eq!((longest.took, longest.what, longest.service), (took, "on_data", 0));
        assert!(longest.ended > Duration::from_secs(1) && longest.conn.is_some());
        assert_eq!(load.longest_ever(), Some(&longest));
        assert_eq!(reactor.stats().accepted, 2);

        // That of a timer is of no connection.
        quick.send([100]);
        sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
        let longest = *reactor.stats().load.longest().unwrap();
        assert_eq!((longest.what, longest.conn), ("on_timer", None));
        assert_eq!(longest.took, Duration::from_millis(250));

        // It is forgotten, and the longest of all is not.
        for _ in 0..25 {
            slow.send([1]);
            slow.wait(Duration::from_secs(1));
            sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
        }
        let load = &reactor.stats().load;
        assert!(load.longest().unwrap().took <= Duration::from_millis(2), "{:?}", load.longest());
        assert_eq!(load.longest_ever(), Some(&longest));
        assert!(load.lag() < Duration::from_millis(250), "{:?}", load.lag());
    }
}

/// The service of the longest callback is told, of a connection and of a timer.
#[test]
fn the_longest_callback_is_told_with_its_service() {
    let sim = Arc::new(Sim::new(1, Profile::calm()));
    let works = || Works { sim: Arc::clone(&sim), sends: false };
    let mut reactor = sim.reactor((works(), works()), Config::default()).unwrap();
    reactor.service(1).listen(SERVER).unwrap();
    let peer = sim.connect(SERVER);
    for (milliseconds, what) in [(50, "on_data"), (100, "on_timer")] {
        peer.send([milliseconds]);
        sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
        let longest = *reactor.stats().load.longest().unwrap();
        assert_eq!((longest.what, longest.service), (what, 1));
    }
}

/// Time is either awake or asleep, to the nanosecond; what one turn takes is loop lag.
#[test]
fn time_is_awake_or_asleep_and_the_longest_turn_is_lag() {
    let (sim, mut reactor) = works(false);
    let began = sim.now();
    let peers: Vec<_> = (0..4).map(|_| sim.connect(SERVER)).collect();
    sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
    assert_eq!(reactor.stats().load.awake(), Duration::ZERO);
    for peer in &peers {
        peer.send([15]);
    }
    sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
    // As often as the poll returns, all is counted up to that.
    reactor.handle().post(|_, _| ()).unwrap();
    sim.advance(&mut reactor, Duration::from_millis(1)).unwrap();
    let load = &reactor.stats().load;
    assert_eq!(load.awake(), Duration::from_millis(60));
    assert!(began + load.asleep() + load.awake() <= sim.now());
    assert!(load.asleep() >= Duration::from_millis(1900), "{:?}", load.asleep());
    // All four were sent at once, and came to be served in one turn or in several.
    let (lag, queue) = (load.lag(), load.run_queue_longest());
    assert!((1..=5).contains(&queue) && load.run_queue() <= queue, "{queue}");
    assert!(lag >= Duration::from_millis(15) && lag <= Duration::from_millis(60), "{lag:?}");
    let longer = load.turns_longer().map(|(_, count)| count);
    assert!(longer[1] >= 1 && longer[1] <= 4 && longer[2..] == [0; 3], "{longer:?}");
    assert!(longer[0] >= longer[1]);
}

/// What lies between two turns is no callback: a loop that is not ours may have slept.
#[test]
fn time_between_turns_is_asleep_and_no_callback() {
    let (sim, mut reactor) = works(false);
    let peer = sim.connect(SERVER);
    sim.advance(&mut reactor, Duration::from_secs(1)).unwrap();
    sim.work(Duration::from_secs(5)); // in the hands of the other loop
    reactor.service(0).set_timer(Duration::from_secs(1), 0); // reads the clock
    peer.send([2]);
    while reactor.stats().bytes_in == 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        sim.work(Duration::from_millis(1));
    }
    let load = &reactor.stats().load;
    assert_eq!(load.longest().unwrap().took, Duration::from_millis(2));
    assert_eq!((load.awake(), load.lag()), (Duration::from_millis(2), Duration::from_millis(2)));
}

/// Takes lines; each says what is to be done with the connection. Explains all of them once a second.
#[derive(Default)]
struct Explains(Vec<Vec<String>>);

impl Handler for Explains {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.set_periodic_timer(Duration::from_secs(1), 0);
        Ok(())
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = input.line() {
            match line {
                b"pause" => conn.pause(),
                b"flood" => conn.send(vec![0; 1000 << 10]),
                b"close" => conn.close(),
                b"hold" => conn.hold(true),
                _ => {}
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context, _timer: Timer) {
        let ids = cx.present_connections();
        let conns = ids.iter().filter_map(|id| Some(cx.conn(*id)?.explain().to_string()));
        self.0.push(conns.collect());
    }
}

/// What a connection waits for is told for each side, with the limit that ends it and the time that
/// is left.
#[test]
fn what_a_connection_waits_for_is_told() {
    let told = |says: &str, acts: fn(&Peer)| {
        let sim = Sim::new(1, Profile::calm());
        let config = Config::public().write_stall(Duration::from_secs(100));
        let mut reactor = sim.reactor(Explains::default(), config).unwrap();
        reactor.listen(SERVER).unwrap();
        let peer = sim.connect(SERVER);
        acts(&peer);
        peer.send(says);
        sim.advance(&mut reactor, Duration::from_millis(2500)).unwrap();
        reactor.handler().0[1].join("; ")
    };
    let nothing = |_: &Peer| ();
    // Two seconds after it came; a few milliseconds went on the way.
    let cases = [
        ("", "open; reads: waits for the peer; writes: nothing; first_byte in 8.0 s"),
        ("x\n", "open; reads: waits for the peer; writes: nothing; idle in 58.0 s"),
        (
            "half",
            "open; reads: waits for the rest of a message (4 bytes unconsumed); writes: nothing; min_rate in 28.0 s",
        ),
        ("pause\n", "open; reads: no, paused by the handler; writes: nothing; idle in 58.0 s"),
        (
            "hold\n",
            "open; reads: waits for the peer; writes: nothing; held through a shutdown; idle in 58.0 s",
        ),
    ];
    for (says, expected) in cases {
        assert_eq!(told(says, nothing), expected, "{says}");
    }
    let stuck = told("flood\n", Peer::stop_reading);
    let begin =
        "open; reads: no, the peer does not take its answers; writes: the kernel has no room (";
    assert!(stuck.starts_with(begin) && stuck.contains("bytes queued); "), "{stuck}");
    let closed = "closed, lingering; reads: waits for the peer's end, and discards; writes: no, our side has ended; linger in ";
    let lingers = told("close\n", nothing);
    assert!(lingers.starts_with(closed), "{lingers}");
}
