//! The outbox against a kernel that answers by a script.

use std::collections::VecDeque;
use std::io::ErrorKind;

use super::*;

/// How long a datagram may wait.
const WAIT: Duration = Duration::from_secs(10);

/// What the kernel answers next; when the script is over it takes all.
#[derive(Default)]
struct Kernel {
    script: VecDeque<io::Result<()>>,
    /// What it has taken, each behind its receiver.
    taken: Vec<String>,
    calls: usize,
    /// A receiver whose queue is full.
    full: Option<Address>,
    /// What it never has memory for.
    impossible: Option<String>,
}

impl Kernel {
    fn answering(script: impl IntoIterator<Item = io::Result<()>>) -> Self {
        Kernel { script: script.into_iter().collect(), ..Kernel::default() }
    }

    fn call(&mut self, payload: &[u8], to: Option<&Address>) -> io::Result<()> {
        self.calls += 1;
        if to.is_some() && to == self.full.as_ref() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.impossible.as_ref().is_some_and(|never| never.as_bytes() == payload) {
            return code(Errno::NOBUFS);
        }
        self.script.pop_front().unwrap_or(Ok(()))?;
        let to = to.map_or(String::new(), |to| format!("{to} "));
        self.taken.push(format!("{to}{}", String::from_utf8_lossy(payload)));
        Ok(())
    }
}

fn full() -> io::Result<()> {
    Err(ErrorKind::WouldBlock.into())
}

fn code(errno: Errno) -> io::Result<()> {
    Err(io::Error::from(errno))
}

/// An outbox, its kernel, and the time.
struct World {
    outbox: Outbox,
    kernel: Kernel,
    stats: Stats,
    now: Stamp,
}

impl World {
    fn new(outbox: Outbox, kernel: Kernel) -> Self {
        World { outbox, kernel, stats: Stats::default(), now: Stamp::at(1000) }
    }

    fn udp(script: impl IntoIterator<Item = io::Result<()>>) -> Self {
        World::new(Outbox::new(false, false, 1 << 20, WAIT), Kernel::answering(script))
    }

    fn connected(script: impl IntoIterator<Item = io::Result<()>>) -> Self {
        World::new(Outbox::new(false, true, 1 << 20, WAIT), Kernel::answering(script))
    }

    /// Where `full` does not read.
    fn unix(full: &str) -> Self {
        let kernel = Kernel { full: Some(Address::unix(full)), ..Kernel::default() };
        World::new(Outbox::new(true, false, 1 << 20, WAIT), kernel)
    }

    fn send(&mut self, payload: &str, to: Option<&Address>) -> io::Result<()> {
        let (kernel, now) = (&mut self.kernel, self.now);
        self.outbox.send(
            payload.as_bytes(),
            to,
            || now,
            &mut self.stats,
            |payload, to| kernel.call(payload, to),
        )
    }

    fn send_to(&mut self, path: &str, payload: &str) {
        self.send(payload, Some(&Address::unix(path))).unwrap();
    }

    fn flush(&mut self, most: usize) {
        let kernel = &mut self.kernel;
        self.outbox.flush(most, self.now, &mut self.stats, |payload, to| kernel.call(payload, to));
    }

    fn end(&mut self) -> usize {
        let kernel = &mut self.kernel;
        self.outbox.end(self.now, &mut self.stats, |payload, to| kernel.call(payload, to))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Waits until the outbox wants to try, and lets it; answers how long that was.
    fn wait(&mut self) -> Duration {
        let wait = self.now.until(self.outbox.next_try());
        self.pass(wait);
        assert!(self.outbox.is_due(self.now));
        self.flush(usize::MAX);
        wait
    }
}

/// Promise 1: a full UDP socket waits for its edge and for nothing else; what is sent meanwhile
/// goes behind, and all of it leaves in order.
#[test]
fn udp_waits_for_the_edge_and_keeps_the_order() {
    let mut world = World::connected([Ok(()), full(), full()]);
    for payload in ["1", "2", "3", "4"] {
        world.send(payload, None).unwrap();
    }
    assert_eq!((world.kernel.calls, world.outbox.next_try()), (2, world.now.after(WAIT)));
    assert!(!world.outbox.is_due(world.now));
    // An edge for nothing.
    world.outbox.handle_writable();
    assert!(world.outbox.is_due(world.now));
    world.flush(usize::MAX);
    assert!(!world.outbox.is_due(world.now) && world.kernel.calls == 3);
    world.outbox.handle_writable();
    world.flush(usize::MAX);
    assert_eq!(world.kernel.taken, ["1", "2", "3", "4"]);
    assert!(world.outbox.is_empty() && world.outbox.bytes == 0);
    assert_eq!((world.stats.datagrams_out, world.stats.datagrams_dropped), (4, 0));
}

/// An edge that came before the socket was full tells nothing of the time after.
#[test]
fn an_edge_of_before_does_not_count() {
    let mut world = World::connected([full(), full()]);
    world.outbox.handle_writable();
    world.send("1", None).unwrap();
    assert!(!world.outbox.is_due(world.now));
}

/// Trap 49: of a shortage no edge tells the end, and one that comes tells something else: it is
/// tried again by the clock, as long as it lasts.
#[test]
fn a_shortage_is_tried_again_by_the_clock() {
    for shortage in [Errno::NOBUFS, Errno::NOMEM] {
        let mut world = World::udp([code(shortage), code(shortage)]);
        let to: Address = "127.0.0.1:9".parse().unwrap();
        world.send("1", Some(&to)).unwrap();
        world.send("2", Some(&to)).unwrap();
        world.outbox.handle_writable();
        assert!(!world.outbox.is_due(world.now), "an edge says nothing of a shortage");
        assert_eq!(world.wait(), SHORTAGE);
        assert_eq!(world.wait(), SHORTAGE);
        assert_eq!(world.kernel.taken, ["127.0.0.1:9 1", "127.0.0.1:9 2"]);
        assert_eq!((world.outbox.next_try(), world.stats.datagrams_dropped), (Stamp::NEVER, 0));
    }
}

/// Promise 6: a storm of signals is no reason to lose a datagram, nor to stay in the call.
#[test]
fn interrupted_for_ever_is_later() {
    let mut world = World::udp((0..17).map(|_| code(Errno::INTR)));
    world.send("1", None).unwrap();
    assert_eq!((world.kernel.calls, world.outbox.next_try()), (17, world.now.after(SHORTAGE)));
    world.wait();
    assert_eq!(world.kernel.taken, ["1"]);
}

/// Promise 5: what is for a full receiver waits, in order; the others are sent past it.
#[test]
fn a_full_receiver_keeps_nobody_else_waiting() {
    let mut world = World::unix("/full");
    for n in 0..3 {
        world.send_to("/full", &format!("f{n}"));
        world.send_to("/live", &format!("l{n}"));
    }
    assert_eq!(world.kernel.taken, ["unix:/live l0", "unix:/live l1", "unix:/live l2"]);
    assert_eq!(world.kernel.calls, 4, "the full one is asked once");
    // A failed send makes an edge of its own: it must not feed itself.
    world.outbox.handle_writable();
    assert!(!world.outbox.is_due(world.now));
    world.kernel.full = None;
    world.wait();
    assert_eq!(world.kernel.taken[3..], ["unix:/full f0", "unix:/full f1", "unix:/full f2"]);
    assert!(world.outbox.is_empty() && world.outbox.bytes == 0 && world.outbox.lanes.is_empty());
    assert_eq!(world.outbox.next_try(), Stamp::NEVER);
}

/// Promise 6: a receiver that stays full is asked ever more seldom, and one that has taken something
/// is asked soon again.
#[test]
fn a_receiver_that_stays_full_is_asked_ever_more_seldom() {
    let mut world = World::unix("/full");
    world.send_to("/full", "1");
    world.send_to("/full", "2");
    let waits: Vec<_> = (0..9).map(|_| world.wait().as_millis()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    world.kernel.full = None;
    world.kernel.script = [Ok(()), full()].into();
    world.wait();
    assert_eq!(world.wait(), RETRY_MIN);
    assert_eq!(world.kernel.taken, ["unix:/full 1", "unix:/full 2"]);
}

/// Promise 4: the queue is bounded, empty datagrams and receivers included; the newest is dropped,
/// and counted.
#[test]
fn the_queue_is_bounded_whatever_is_in_it() {
    let to = Address::unix("/full");
    for (payload, fits) in [("", (10_000 - LANE) / ENTRY), ("0123456789abcdef", 118)] {
        let mut world = World::unix("/full");
        world.outbox.max = 10_000;
        let accepted = (0..1000).take_while(|_| world.send(payload, Some(&to)).is_ok()).count();
        assert_eq!(accepted, fits);
        let error = world.send(payload, Some(&to)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(world.stats.datagrams_dropped, 2);
        // There is room for a lane that needs none.
        world.send_to("/live", "x");
        assert_eq!(world.end(), accepted);
        assert_eq!(world.stats.datagrams_dropped, 2 + accepted as u64);
    }
    // Many receivers.
    let mut world = World::unix("/none");
    world.outbox.max = 10_000;
    world.kernel.script = (0..1000).map(|_| full()).collect();
    let send = |n: usize| world.send("", Some(&Address::unix(format!("/{n}"))));
    assert_eq!((0..1000).map(send).take_while(Result::is_ok).count(), 10_000 / (LANE + ENTRY));
    // None may wait.
    let mut world = World::udp([full(), Ok(())]);
    world.outbox.max = 0;
    assert_eq!(world.send("", None).unwrap_err().kind(), ErrorKind::WouldBlock);
    world.send("", None).unwrap();
}

/// Promise 5: a receiver that does not read fills its share and no more. The newest of the lane
/// that holds most make room for those that hold less, and none goes in vain.
#[test]
fn a_deaf_receiver_takes_nothing_from_others() {
    let to = |path: &str| Address::unix(path);
    let mut world = World::unix("/none");
    world.outbox.max = 40_000;
    // All are full.
    world.kernel.script = (0..10_000).map(|_| full()).collect();
    let payload = "0123456789".repeat(10);
    let mut send = |path: &str| {
        let result = world.send(&payload, Some(&to(path)));
        assert!(world.outbox.bytes <= 40_000);
        result
    };
    while send("/deaf").is_ok() {}
    for _ in 0..30 {
        send("/honest").unwrap();
    }
    // Until both hold the same.
    let more = (0..1000).take_while(|_| send("/honest").is_ok()).count();
    assert!(more < 100 && send("/deaf").is_err(), "{more}");
    let held = |world: &World, path: &str| world.outbox.lanes[&to(path)].bytes;
    let (deaf, honest) = (held(&world, "/deaf"), held(&world, "/honest"));
    assert!(deaf.abs_diff(honest) <= 164, "{deaf} {honest}");
    let dropped = world.stats.datagrams_dropped;
    // One that would hold most by itself pushes out nothing.
    let large = "x".repeat(30_000);
    world.send(&large, Some(&to("/third"))).unwrap_err();
    assert_eq!((held(&world, "/deaf"), held(&world, "/honest")), (deaf, honest));
    assert_eq!(world.stats.datagrams_dropped, dropped + 1);
    // The oldest are there, in order; all that is gone is counted.
    let waiting = world.outbox.waiting_for(Some(&to("/honest"))).count();
    world.kernel.script.clear();
    let before = world.kernel.taken.len();
    world.end();
    assert!(world.outbox.is_empty() && world.outbox.bytes == 0 && waiting > 30);
    assert!(world.kernel.taken.len() - before > 60);
}

/// Promise 4: every byte that is counted is there, and the reverse, whatever happens in whatever order.
#[test]
fn what_waits_is_what_is_counted() {
    let mut rng = crate::kernel::Rng::new(7);
    for unix in [true, false] {
        let mut world = World::new(Outbox::new(unix, false, 8_000, WAIT), Kernel::default());
        for step in 0..20_000 {
            if rng.chance(600) {
                world.kernel.script.push_back(if rng.chance(500) {
                    full()
                } else {
                    code(Errno::NOBUFS)
                });
            }
            let receiver = Address::unix(format!("/{}", rng.below(5)));
            let to = (unix && rng.chance(800)).then_some(&receiver);
            match rng.below(8) {
                0 => world.pass(Duration::from_millis(rng.within(0, 200))),
                1 => world.flush(rng.size(0, 20)),
                2 => world.outbox.handle_writable(),
                3 if rng.chance(10) => world.pass(WAIT),
                _ => drop(world.send(&"x".repeat(rng.size(0, 900)), to)),
            }
            let outbox = &world.outbox;
            let lanes = || std::iter::once(&outbox.common).chain(outbox.lanes.values());
            for lane in lanes() {
                let waiting = lane.waiting.iter().map(Waiting::cost).sum::<usize>();
                let own = if std::ptr::eq(lane, &raw const outbox.common) { 0 } else { LANE };
                assert_eq!(lane.bytes, waiting + own, "step {step}");
                assert!(own == 0 || waiting > 0, "step {step}: an empty lane");
            }
            assert_eq!(outbox.bytes, lanes().map(|lane| lane.bytes).sum::<usize>());
            assert!(outbox.bytes <= 8_000);
        }
    }
}

/// Promise 4: nothing waits for ever, whatever it waits for: an edge, a receiver, the end of a shortage.
#[test]
fn what_has_waited_for_too_long_is_dropped() {
    let mut worlds = [World::udp([full()]), World::unix("/full"), World::connected([full()])];
    worlds[1].send_to("/full", "1");
    worlds[0].send("1", Some(&"127.0.0.1:9".parse().unwrap())).unwrap();
    worlds[2].send("1", None).unwrap();
    for mut world in worlds {
        let start = world.now;
        while world.outbox.next_try() < start.after(WAIT) {
            world.wait();
        }
        assert!(!world.outbox.is_empty());
        world.now = start.after(WAIT);
        assert!(world.outbox.is_due(world.now));
        let calls = world.kernel.calls;
        world.flush(usize::MAX);
        assert_eq!(world.kernel.calls, calls, "it is not tried again");
        assert!(world.outbox.is_empty() && world.outbox.bytes == 0);
        assert_eq!((world.stats.datagrams_dropped, world.stats.datagrams_expired), (1, 1));
        assert_eq!(world.outbox.next_try(), Stamp::NEVER);
    }
}

/// Promise 6, trap 49: by UDP a datagram that meets a shortage each time is passed by what is for others,
/// and dropped after so many tries; what is for the same receiver keeps its order, and so does a lane of
/// a Unix socket.
#[test]
fn an_impossible_datagram_silences_nobody() {
    for is_unix in [false, true] {
        let mut world = World::new(Outbox::new(is_unix, false, 1 << 20, WAIT), Kernel::default());
        world.kernel.impossible = Some("impossible".into());
        let [one, other] =
            if is_unix { ["unix:/1", "unix:/2"] } else { ["10.0.0.1:1", "10.0.0.1:2"] }
                .map(|to| to.parse::<Address>().unwrap());
        world.send("impossible", Some(&one)).unwrap();
        for n in 0..20 {
            for to in [&one, &other] {
                world.send(&n.to_string(), Some(to)).unwrap();
            }
        }
        world.wait();
        let to = |of: &Address| (0..20).map(|n| format!("{of} {n}")).collect::<Vec<_>>();
        assert_eq!(world.kernel.taken, to(&other));
        assert!(!world.outbox.is_stuck());
        let mut tries = 1;
        while world.stats.datagrams_expired == 0 {
            world.wait();
            tries += 1;
        }
        assert_eq!(tries, u32::from(TRIES) + 1);
        while !world.outbox.is_empty() {
            world.wait();
        }
        assert_eq!(world.kernel.taken[20..], to(&one));
        assert_eq!((world.stats.datagrams_dropped, world.stats.datagrams_out), (1, 40));
    }
    // A shutdown does not wait for it.
    let mut world = World::connected([]);
    world.kernel.impossible = Some("impossible".into());
    world.send("impossible", None).unwrap();
    let waits =
        (0..100).take_while(|_| !world.outbox.is_stuck() && !world.wait().is_zero()).count();
    assert_eq!(waits, usize::from(HOPELESS));
    // At the end all behind them are tried, however many they are.
    let mut world = World::udp([]);
    world.kernel.impossible = Some("impossible".into());
    for _ in 0..30 {
        world.send("impossible", None).unwrap();
    }
    world.send("last", None).unwrap();
    assert_eq!(world.end(), 30);
    assert_eq!(world.kernel.taken, ["last"]);
}

/// Promise 6: however much waits for the receiver of an impossible datagram, that takes nothing of what
/// a turn sends to others.
#[test]
fn what_is_passed_over_uses_up_no_turn() {
    let mut world = World::udp([]);
    world.kernel.impossible = Some("impossible".into());
    let [one, other] = ["10.0.0.1:1", "10.0.0.1:2"].map(|to| to.parse::<Address>().unwrap());
    world.send("impossible", Some(&one)).unwrap();
    for n in 0..10 {
        world.send(&n.to_string(), Some(&one)).unwrap();
    }
    world.send("heard", Some(&other)).unwrap();
    world.pass(world.now.until(world.outbox.next_try()));
    world.flush(2);
    assert_eq!(world.kernel.taken, ["10.0.0.1:2 heard"]);
}

/// Trap 47: what ICMP tells of another datagram is counted, and the send is made all the same; told
/// twice, it is this one's own.
#[test]
fn an_error_of_an_earlier_datagram_is_counted_and_the_send_made() {
    let mut world = World::connected([code(Errno::CONNREFUSED), Ok(())]);
    world.send("1", None).unwrap();
    assert_eq!((world.stats.datagram_errors, world.stats.datagrams_out), (1, 1));
    world.kernel.script = [code(Errno::HOSTUNREACH), code(Errno::HOSTUNREACH)].into();
    let error = world.send("2", None).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::HOSTUNREACH.raw_os_error()));
    assert_eq!((world.stats.datagram_errors, world.stats.datagrams_out), (2, 1));
    assert_eq!(world.kernel.calls, 4);
    // Where ICMP is not told, what the call says is its own: it is not made twice.
    let to: Address = "127.0.0.1:9".parse().unwrap();
    let mut world = World::udp([code(Errno::NETUNREACH)]);
    world.send("1", Some(&to)).unwrap_err();
    assert_eq!((world.kernel.calls, world.stats.datagram_errors), (1, 0));
}

/// Trap 49: what the kernel refuses is told by the call if there is one; of one that had waited it
/// is counted, and the next goes out.
#[test]
fn a_refused_datagram_holds_up_nothing() {
    let mut world = World::connected([code(Errno::MSGSIZE), code(Errno::PERM)]);
    for errno in [Errno::MSGSIZE, Errno::PERM] {
        let error = world.send("large", None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
    }
    assert_eq!(world.stats.datagrams_dropped, 0, "the caller was told");
    world.kernel.script = [full(), code(Errno::MSGSIZE), Ok(()), Ok(())].into();
    for payload in ["large", "1", "2"] {
        world.send(payload, None).unwrap();
    }
    world.outbox.handle_writable();
    world.flush(usize::MAX);
    assert_eq!(world.kernel.taken, ["1", "2"]);
    assert_eq!((world.stats.datagrams_dropped, world.stats.datagrams_out), (1, 2));
    assert!(world.outbox.is_empty() && world.outbox.bytes == 0);
}

/// Promise 4: a turn sends so many and no more, of one receiver a batch, and in the next turn it is
/// first the turn of those that had none.
#[test]
fn a_turn_sends_a_bounded_number() {
    let mut world = World::unix("/none");
    world.kernel.script = (0..3).map(|_| full()).collect();
    for to in ["/a", "/b", "/c"] {
        for n in 0..40 {
            world.send_to(to, &n.to_string());
        }
    }
    world.pass(RETRY_MIN);
    let mut turns = Vec::new();
    // The clock may stand still.
    while world.outbox.is_due(world.now) {
        world.kernel.taken.clear();
        world.flush(20);
        let of = |to: &str| world.kernel.taken.iter().filter(|taken| taken.contains(to)).count();
        turns.push([of("/a"), of("/b"), of("/c")]);
    }
    assert_eq!(turns[..3], [[16, 4, 0], [4, 0, 16], [4, 16, 0]], "{turns:?}");
    assert!(world.outbox.is_empty() && turns.iter().flatten().sum::<usize>() == 120);
}

/// Promise 2: at the end all of it is tried once more, due or not, and what is left is counted.
#[test]
fn the_end_tries_all_and_counts_the_rest() {
    let mut world = World::unix("/full");
    world.kernel.script = (0..2).map(|_| full()).collect();
    for n in 0..50 {
        for to in ["/full", "/slow"] {
            world.send_to(to, &n.to_string());
        }
        world.send(&n.to_string(), None).unwrap();
    }
    assert_eq!(world.end(), 50, "one does not read");
    let taken = |to: &str| world.kernel.taken.iter().filter(|taken| taken.contains(to)).count();
    assert_eq!((taken("/slow"), world.kernel.taken.len()), (50, 100));
    assert_eq!((world.stats.datagrams_out, world.stats.datagrams_dropped), (100, 50));
    assert!(world.outbox.is_empty() && world.outbox.next_try() == Stamp::NEVER);
    assert_eq!(world.end(), 0);
}

/// Promise 6: a receive that fails again and again makes the socket rest, and no longer than that.
#[test]
fn a_receive_that_always_fails_does_not_spin() {
    let bound = crate::net::bind::Bind::from("127.0.0.1:0").open().unwrap();
    let mut socket = DatagramSocket::new(bound, Address::Unnamed, 0, WAIT);
    let now = Stamp::at(1000);
    assert!(!socket.is_runnable(now));
    socket.handle_event(Readiness::ERROR);
    for n in 0..PATIENCE {
        assert!(socket.may_receive(now), "after {n}");
        socket.handle_error(now);
    }
    assert!(!socket.is_runnable(now));
    let due = socket.deadline();
    assert!(due > now && socket.is_runnable(due));
    // One that brings something ends the row.
    for _ in 0..PATIENCE {
        socket.handle_error(due);
        socket.handle_received();
    }
    assert!(socket.may_receive(due));
    socket.handle_empty(false);
    assert!(!socket.is_runnable(due) && socket.deadline() == Stamp::NEVER);
}
