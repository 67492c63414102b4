//! The promises inside a loop that is not ours: epoll, level- and edge-triggered and one-shot, and
//! tokio's. Whole files of it are left out where the poll has no descriptor.
//!
//! The host here is frugal: it waits as long as `next_timeout` allows, and turns a reactor only if
//! its descriptor was told of or its `next_timeout` is zero. Who turns more often is safe, too.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use wouldblock::{CloseReason, Config, ConnId, Origin, Reactor};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// How a host watches what it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Level,
    Edge,
    /// `EPOLLONESHOT`: silent after each event until it is armed again.
    Once,
}

const EACH: [How; 3] = [How::Level, How::Edge, How::Once];

impl How {
    fn flags(self) -> epoll::EventFlags {
        epoll::EventFlags::IN
            | match self {
                How::Level => epoll::EventFlags::empty(),
                How::Edge => epoll::EventFlags::ET,
                How::Once => epoll::EventFlags::ONESHOT,
            }
    }
}

/// A loop that is not ours.
struct Host {
    epoll: OwnedFd,
    how: How,
    /// As many events as one wait can tell.
    places: usize,
    /// How often it has waited.
    waits: usize,
    /// The reactors whose `turn` has answered `false`.
    over: usize,
}

impl Host {
    fn new(how: How, places: usize) -> Host {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        Host { epoll, how, places, waits: 0, over: 0 }
    }

    /// A host of one reactor, whose number is zero.
    fn of(how: How, reactor: &Reactor<Script>) -> Host {
        let host = Host::new(how, 1);
        host.watch(reactor, 0);
        host
    }

    fn watch(&self, fd: impl AsFd, number: u64) {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number), self.how.flags()).unwrap();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Vec<u64> {
        self.waits += 1;
        // Rounded up to milliseconds by rustix, as every host must.
        let limit = Timespec::try_from(timeout.unwrap_or(DEADLINE)).unwrap();
        let mut list = Vec::with_capacity(self.places);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut list), Some(&limit)).unwrap();
        let told: Vec<_> = list.iter().map(|event| event.data.u64()).collect();
        assert!(timeout.is_some() || !told.is_empty(), "{:?}: it waits in vain", self.how);
        told
    }

    /// One pass of the loop; the reactors' numbers are their places. Returns what was told.
    fn pass(&mut self, reactors: &mut [Reactor<Script>]) -> Vec<u64> {
        let timeout = reactors.iter().filter_map(Reactor::next_timeout).min();
        let told = self.wait(timeout);
        for (number, reactor) in (0..).zip(reactors) {
            let is_told = told.contains(&number);
            if is_told || reactor.next_timeout() == Some(Duration::ZERO) {
                self.over += usize::from(!reactor.turn(Some(Duration::ZERO)).unwrap());
            }
            if is_told {
                self.arm(&*reactor, number);
            }
        }
        told
    }

    fn arm(&self, fd: impl AsFd, number: u64) {
        if self.how == How::Once {
            let data = epoll::EventData::new_u64(number);
            epoll::modify(&self.epoll, fd, data, self.how.flags()).unwrap();
        }
    }

    /// Passes until something is so.
    #[track_caller]
    fn serve(
        &mut self,
        reactors: &mut [Reactor<Script>],
        mut until: impl FnMut(&Host, &[Reactor<Script>]) -> bool,
    ) {
        let start = Instant::now();
        while !until(self, reactors) {
            assert!(start.elapsed() < DEADLINE, "{:?}: it goes on in vain", self.how);
            self.pass(reactors);
        }
    }
}

/// A reactor that listens, and where.
fn reactor(script: Script, config: Config) -> (Reactor<Script>, SocketAddr) {
    let mut reactor = Reactor::with_config(script, config).unwrap();
    let id = reactor.listen(deep_listener(4096)).unwrap();
    let addr = reactor.listener_addr(id).unwrap().socket_addr().unwrap();
    (reactor, addr)
}

/// A script that takes what comes and answers nothing, so that no answer makes news.
fn sink() -> Script {
    echo().on_data(|_, input| {
        input.take_all();
        Ok(())
    })
}

/// Promise 1, Traps 1 and 9: one client sends more than a turn reads, once, and is silent.
#[test]
fn a_host_serves_what_one_turn_does_not_finish() {
    for how in EACH {
        let sent = random(1, 64 * KIB + 1);
        let (reactor, addr) = reactor(sink(), Config::default().read_buffer(KIB));
        let mut host = Host::of(how, &reactor);
        let mut client = connect(addr);
        client.write_all(&sent).unwrap();
        host.serve(&mut [reactor], |_, of| of[0].stats().bytes_in == sent.len() as u64);
    }
}

/// Promise 1, Traps 1 and 9: the same with datagrams, of which a turn takes so many.
#[test]
fn a_host_serves_the_datagrams_that_one_turn_leaves() {
    for how in EACH {
        let config = Config::default().datagrams_per_turn(3);
        let mut reactor = Reactor::with_config(echo(), config).unwrap();
        let id = reactor.bind_datagram("127.0.0.1:0").unwrap();
        let addr = reactor.datagram_addr(id).unwrap().socket_addr().unwrap();
        let mut host = Host::of(how, &reactor);
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            client.send_to(b"letter", addr).unwrap();
        }
        host.serve(&mut [reactor], |_, of| of[0].stats().datagrams_in == 50);
    }
}

/// Promise 1: why a host must ask `next_timeout`: what is left to do is known to the reactor alone,
/// and the descriptor does not tell of it again, however it is watched.
#[test]
fn what_is_left_is_known_to_next_timeout_alone() {
    for how in EACH {
        let (mut reactor, addr) = reactor(sink(), Config::default().read_buffer(KIB));
        let mut host = Host::of(how, &reactor);
        let mut client = connect(addr);
        client.write_all(&[0; 4 * KIB]).unwrap();
        while reactor.stats().bytes_in == 0 {
            reactor.turn(Some(DEADLINE)).unwrap();
        }
        // Whatever had been told by now, and nothing since.
        host.wait(Some(Duration::ZERO));
        host.arm(&reactor, 0);
        assert_eq!(host.wait(Some(Duration::ZERO)), [], "{how:?}");
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "{how:?}");
        host.serve(&mut [reactor], |_, of| of[0].stats().bytes_in == 4 * KIB as u64);
    }
}

/// Promise 1, Trap 14: more is ready than the host's list holds, and than the reactor's own. In a
/// child for the descriptors.
#[test]
fn a_burst_longer_than_every_list_is_served_in_a_host() {
    child::run("other_loops::child_a_burst_longer_than_every_list");
}

#[test]
#[ignore = "a child of a_burst_longer_than_every_list_is_served_in_a_host"]
fn child_a_burst_longer_than_every_list() {
    if !child::is_running("other_loops::child_a_burst_longer_than_every_list") {
        return;
    }
    let room = child::room_for_pairs().min(2500);
    for how in EACH {
        let (reactor, addr) = reactor(sink(), Config::default().accepts_per_turn(5000));
        let mut host = Host::of(how, &reactor);
        let mut reactors = [reactor];
        let mut clients: Vec<_> = (0..room).map(|_| connect(addr)).collect();
        host.serve(&mut reactors, |_, of| of[0].stats().accepted == room as u64);
        // Until nothing is new.
        host.serve(&mut reactors, |_, of| of[0].next_timeout().is_none());
        while !host.wait(Some(Duration::ZERO)).is_empty() {
            reactors[0].turn(Some(Duration::ZERO)).unwrap();
            host.arm(&reactors[0], 0);
        }
        let turns = reactors[0].stats().turns;
        // All at once, while the host does something else; and nothing after that.
        for client in &mut clients {
            client.write_all(b"!").unwrap();
        }
        host.serve(&mut reactors, |_, of| of[0].stats().bytes_in == room as u64);
        // Three lists, each of them once.
        let turns = reactors[0].stats().turns - turns;
        assert!(turns <= room as u64 / 1024 + 3, "{how:?}: {turns} turns");
    }
}

/// Promise 1: a host that begins to watch when everything has happened already is told of it.
#[test]
fn a_reactor_that_is_watched_late_is_told_of() {
    for how in EACH {
        let (mut reactor, addr) = reactor(echo(), Config::default());
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let mut client = connect(addr);
        client.write_all(b"before you looked").unwrap();
        let mut host = Host::of(how, &reactor);
        host.serve(&mut [reactor], |_, of| of[0].stats().bytes_out == 17);
        assert_eq!(read_n(&mut client, 17), b"before you looked");
    }
}

/// Promises 1 and 6, Trap 59: a host with nothing but timers: the first turn, which sets them, and
/// each of them come through `next_timeout`; never early, not even if the host turns all the time,
/// and otherwise not by going round and round.
#[test]
fn timers_reach_a_host_in_which_nothing_else_happens() {
    for (how, is_eager) in EACH.map(|how| (how, false)).into_iter().chain([(How::Edge, true)]) {
        let (tell, told) = mpsc::channel();
        let script = echo()
            .on_start(|cx| {
                for n in 1..=5 {
                    cx.set_timer(MS * 7 * n, 0);
                }
                Ok(())
            })
            .on_timer(move |cx, _| tell.send(cx.now()).unwrap());
        let record = script.record();
        let (reactor, _) = reactor(script, Config::default());
        let mut host = Host::of(how, &reactor);
        let mut reactors = [reactor];
        while is_eager && record.timers().len() < 5 {
            assert!(reactors[0].turn(Some(Duration::ZERO)).unwrap());
        }
        host.serve(&mut reactors, |_, _| record.timers().len() == 5);
        assert_eq!(reactors[0].next_timeout(), None, "{how:?}");
        // The clock counts from when the reactor was made, a little before they were set.
        for (n, at) in (1..).zip(told.try_iter()) {
            assert!(at >= MS * 7 * n, "{how:?}: timer {n} is early, at {at:?}");
        }
        // The first turn, and one for each.
        let (turns, waits) = (reactors[0].stats().turns, host.waits);
        assert!(is_eager || turns <= 8 && waits <= 12, "{how:?}: {turns} turns, {waits} waits");
    }
}

/// Promises 1 and 6, Trap 59: so do a connection's own: its timer, its idle timeout, its linger.
#[test]
fn deadlines_of_connections_reach_a_host() {
    for how in EACH {
        let (tell, told) = mpsc::channel();
        let tell = move |what, at: Duration| tell.send((what, at)).unwrap();
        let (open, timer) = (tell.clone(), tell.clone());
        let script = echo()
            .on_open(move |conn| {
                open("open", conn.cx().now());
                conn.set_timeout(MS * 20);
                Ok(())
            })
            .on_timeout(move |conn| {
                timer("timeout", conn.cx().now());
                // Not before: were both late at once, the one would hide the other.
                conn.set_idle_timeout(Some(MS * 50));
                Ok(())
            })
            .on_close(move |cx, _, closed| {
                assert!(matches!(closed.reason, CloseReason::Idle), "{closed:?}");
                tell("close", cx.now());
            });
        let (reactor, addr) = reactor(script, Config::default().linger(MS * 30));
        let mut host = Host::of(how, &reactor);
        // It stays when we close, so that the close waits for `linger`.
        let client = connect(addr);
        let mut reactors = [reactor];
        host.serve(&mut reactors, |_, of| of[0].stats().closed.total() == 1);
        drop(client);
        assert_eq!(reactors[0].next_timeout(), None, "{how:?}");
        let told: Vec<_> = told.try_iter().collect();
        let names: Vec<_> = told.iter().map(|(what, _)| *what).collect();
        assert_eq!(names, ["open", "timeout", "close"], "{how:?}");
        // Idle after fifty, and then the linger of thirty.
        for (n, wait) in [(1, 20), (2, 80)] {
            assert!(told[n].1 >= told[0].1 + MS * wait, "{how:?}: early: {told:?}");
        }
        // A start, an accept, three deadlines; one that has moved away costs a turn for nothing.
        let turns = reactors[0].stats().turns;
        assert!(turns <= 12 && host.waits <= 20, "{how:?}: {turns} turns, {} waits", host.waits);
    }
}

/// Promise 1, Trap 56: each post and the shutdown come through to a host that waits without end,
/// at whatever moment they are sent.
#[test]
fn no_wake_from_another_thread_is_lost_in_a_host() {
    const ROUNDS: usize = 2000;
    for how in EACH {
        let (reactor, _) = reactor(echo(), Config::default());
        let handle = reactor.handle();
        let mut host = Host::of(how, &reactor);
        let other = thread::spawn(move || {
            let (tell, told) = mpsc::channel();
            let mut chance = Chance::new(56);
            for n in 0..ROUNDS {
                let tell = tell.clone();
                handle.post(move |_, _| tell.send(n).unwrap()).unwrap();
                assert_eq!(told.recv_timeout(DEADLINE), Ok(n));
                // The host is somewhere between its turn and its wait.
                for _ in 0..chance.below(500) {
                    std::hint::spin_loop();
                }
            }
            handle.shutdown();
        });
        let mut reactors = [reactor];
        host.serve(&mut reactors, |host, _| host.over > 0);
        other.join().unwrap();
        assert_eq!(reactors[0].stats().posts, ROUNDS as u64, "{how:?}");
    }
}

/// Promises 1 and 3: what the program does between turns, and not in a callback, makes the next one
/// due: a stream taken over, more posts than one turn runs, a shutdown.
#[test]
fn what_is_done_between_turns_makes_the_next_one_due() {
    for how in EACH {
        let script = echo();
        let record = script.record();
        let (reactor, _) = reactor(script, Config::default().linger(MS));
        let mut host = Host::of(how, &reactor);
        let mut reactors = [reactor];
        host.serve(&mut reactors, |_, of| of[0].next_timeout().is_none());

        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        reactors[0].adopt(ours, 5).unwrap();
        assert_eq!(reactors[0].next_timeout(), Some(Duration::ZERO), "{how:?}");
        host.serve(&mut reactors, |_, _| record.origins() == [Origin::Adopted(5)]);
        host.serve(&mut reactors, |_, of| of[0].next_timeout().is_none());

        let handle = reactors[0].handle();
        for _ in 0..1000 {
            handle.post(|_, _| ()).unwrap();
        }
        host.serve(&mut reactors, |_, of| of[0].stats().posts == 1000);
        host.serve(&mut reactors, |_, of| of[0].next_timeout().is_none());

        reactors[0].shutdown();
        host.serve(&mut reactors, |host, _| host.over > 0);
    }
}

/// Promise 6: a host waits for its own descriptors beside the reactor. With room for one event at a
/// time, neither is starved by the other.
#[test]
fn a_host_serves_its_own_descriptors_beside() {
    for how in EACH {
        let (reactor, addr) = reactor(echo(), Config::default());
        let mut host = Host::of(how, &reactor);
        // Always readable.
        let own = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
        host.watch(&own, 9);
        let client = thread::spawn(move || {
            let mut client = connect(addr);
            for n in 0..100u32 {
                ping(&mut client, &n.to_be_bytes());
            }
        });
        let (mut reactors, mut seen, start) = ([reactor], 0, Instant::now());
        while reactors[0].stats().closed.total() == 0 {
            assert!(start.elapsed() < DEADLINE, "{how:?}: it goes on in vain");
            if host.pass(&mut reactors).contains(&9) {
                seen += 1;
                // With edges, a write makes the next one.
                rustix::io::write(&own, &1u64.to_ne_bytes()).unwrap();
                host.arm(&own, 9);
            }
        }
        client.join().unwrap();
        assert!(seen >= 100, "{how:?}: its own was told of {seen} times");
    }
}

/// Promises 3 and 6: turns for nothing, and before there was anything, do nothing; and cost no
/// readiness that comes between them.
#[test]
fn turns_for_nothing_do_nothing() {
    for how in EACH {
        let script = echo();
        let record = script.record();
        let (reactor, addr) = reactor(script, Config::default());
        let mut host = Host::of(how, &reactor);
        let mut reactors = [reactor];
        let idle = |reactors: &mut [Reactor<Script>; 1]| {
            for _ in 0..1000 {
                assert!(reactors[0].turn(Some(Duration::ZERO)).unwrap());
            }
            record.events().len()
        };
        assert_eq!(idle(&mut reactors), 1, "{how:?}: on_start, once");
        let mut client = connect(addr);
        host.serve(&mut reactors, |_, of| of[0].stats().accepted == 1);
        assert_eq!(idle(&mut reactors), 2, "{how:?}: on_open");
        for n in 0..50 {
            client.write_all(b"word").unwrap();
            if n % 2 == 0 {
                // Taken by a turn that nobody asked for: what the host is told then is stale.
                while reactors[0].stats().bytes_out < 4 * (n + 1) {
                    reactors[0].turn(Some(Duration::ZERO)).unwrap();
                }
            } else {
                host.serve(&mut reactors, |_, of| of[0].stats().bytes_out == 4 * (n + 1));
            }
            assert_eq!(read_n(&mut client, 4), b"word");
        }
        assert_eq!(idle(&mut reactors), 52, "{how:?}: one on_data for each word");
        assert_eq!(reactors[0].next_timeout(), None);
    }
}

/// Promises 1 and 3: two reactors in one thread and one loop, each the client of the other. What
/// one sends is news for the other, within the same pass too; and a name of one means nobody to
/// the other.
#[test]
fn two_reactors_in_one_loop_are_each_others_clients() {
    const LAPS: u32 = 300;
    for how in EACH {
        // Each that it gets it counts on, until all laps are run.
        let runner = || {
            echo().on_data(|conn, input| {
                while let Some(bytes) = input.take(4) {
                    let lap = u32::from_be_bytes(bytes.try_into().unwrap());
                    if lap < LAPS {
                        conn.send((lap + 1).to_be_bytes());
                    } else {
                        conn.close();
                    }
                }
                Ok(())
            })
        };
        let scripts = [runner(), runner()];
        let records = scripts.each_ref().map(Script::record);
        let [(one, at_one), (other, at_other)] =
            scripts.map(|script| reactor(script, Config::default()));
        let mut reactors = [one, other];
        let mut host = Host::new(how, 1);
        for (number, reactor) in (0..).zip(&reactors) {
            host.watch(reactor, number);
        }
        let ids: Vec<ConnId> = (0..10)
            .map(|n| {
                let whom = [at_other, at_one][n % 2];
                let id = reactors[n % 2].connect(whom, n as u64).unwrap();
                let handle = reactors[n % 2].handle();
                handle.post(move |_, cx| cx.conn(id).unwrap().send(1u32.to_be_bytes())).unwrap();
                id
            })
            .collect();
        // Ten connections have twenty ends.
        host.serve(&mut reactors, |_, of| of.iter().all(|of| of.stats().closed.total() == 10));
        for (n, record) in records.iter().enumerate() {
            let connected = |origin: &&Origin| matches!(origin, Origin::Connected(_));
            assert_eq!(record.origins().iter().filter(connected).count(), 5, "{how:?}");
            for (id, closed) in record.closes() {
                assert!(closed.clean, "{how:?}: {id} of {n}: {closed:?}");
            }
        }
        let bytes: u64 = reactors.iter().map(|reactor| reactor.stats().bytes_in).sum();
        assert_eq!(bytes, 10 * 4 * u64::from(LAPS), "{how:?}");
        // Slot and generation are the same on both sides; the reactor's number is not.
        assert!(
            ids.iter()
                .all(|id| !records[0].opens().contains(id) || !records[1].opens().contains(id))
        );

        for reactor in &mut reactors {
            reactor.shutdown();
        }
        host.serve(&mut reactors, |host, _| host.over >= 2);
    }
}

/// Promise 3: a name that one reactor gave means nobody to another, though the slot is the same.
#[test]
fn a_name_of_one_reactor_means_nobody_to_another() {
    let scripts = [echo(), echo()];
    let records = scripts.each_ref().map(Script::record);
    let [(one, at_one), (other, at_other)] =
        scripts.map(|script| reactor(script, Config::default()));
    let mut reactors = [one, other];
    let mut host = Host::new(How::Edge, 1);
    for (number, reactor) in (0..).zip(&reactors) {
        host.watch(reactor, number);
    }
    let mut clients = [connect(at_one), connect(at_other)];
    host.serve(&mut reactors, |_, of| of.iter().all(|of| of.stats().accepted == 1));
    let [id, _] = records.each_ref().map(|record| record.opens()[0]);
    let (wrong, told) = mpsc::channel();
    reactors[1].handle().post(move |_, cx| wrong.send(cx.conn(id).is_some()).unwrap()).unwrap();
    host.serve(&mut reactors, |_, of| of[1].stats().posts == 1);
    assert_eq!(told.try_recv(), Ok(false));
    reactors[0].handle().post(move |_, cx| cx.conn(id).unwrap().send("told")).unwrap();
    host.serve(&mut reactors, |_, of| of[0].stats().bytes_out == 4);
    assert_eq!(read_n(&mut clients[0], 4), b"told");
    clients[1].set_nonblocking(true).unwrap();
    let nothing = io::Read::read(&mut clients[1], &mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

/// Promise 1: epoll within epoll within epoll: the host itself is watched by another loop.
#[test]
fn a_reactor_two_epolls_down_is_heard() {
    for how in EACH {
        for outer in [How::Level, How::Edge] {
            let (reactor, addr) = reactor(echo(), Config::default().read_buffer(KIB));
            let mut middle = Host::of(how, &reactor);
            let mut top = Host::new(outer, 1);
            top.watch(&middle.epoll, 0);
            let client = thread::spawn(move || {
                let mut client = connect(addr);
                for _ in 0..50 {
                    ping(&mut client, &[7; 5 * KIB]);
                }
            });
            let (mut reactors, start) = ([reactor], Instant::now());
            while reactors[0].stats().closed.total() == 0 {
                assert!(start.elapsed() < DEADLINE, "{how:?} in {outer:?}: it goes on in vain");
                top.wait(reactors[0].next_timeout());
                // It does not wait itself: as a reactor does when it is hosted.
                while !middle.wait(Some(Duration::ZERO)).is_empty()
                    || reactors[0].next_timeout() == Some(Duration::ZERO)
                {
                    reactors[0].turn(Some(Duration::ZERO)).unwrap();
                    middle.arm(&reactors[0], 0);
                }
            }
            client.join().unwrap();
        }
    }
}

/// Promise 6: a reactor that is over says so at once and for good, and when it is dropped the host
/// hears nothing of it, nor of its clients, any more.
#[test]
fn a_reactor_that_is_over_leaves_its_host() {
    for how in EACH {
        let (reactor, addr) = reactor(echo(), Config::default().linger(MS));
        let mut host = Host::of(how, &reactor);
        let mut client = connect(addr);
        let mut reactors = [reactor];
        host.serve(&mut reactors, |_, of| of[0].stats().accepted == 1);
        reactors[0].shutdown();
        host.serve(&mut reactors, |host, _| host.over > 0);
        // A host that missed the answer gets it again.
        assert_eq!(reactors[0].next_timeout(), Some(Duration::ZERO));
        assert!(!reactors[0].turn(Some(Duration::ZERO)).unwrap());
        reactors[0].handle().shutdown();
        drop(reactors);
        assert_eq!(host.wait(Some(Duration::ZERO)), [], "{how:?}");
        assert!(read_to_end(&mut client).is_empty());
    }
}
