//! What a timer costs while a thousand or a million others are pending: set, cancel, expire, and a
//! connection's timer set again.
//!
//! ```sh
//! cargo bench --bench timers
//! ```
//!
//! All of it by way of the public verbs, so reading the clock is in it; an expiry has its callback
//! and its share of a turn in it (1024 timers a turn). The pending ones are due in an hour or two, by
//! chance, and so are those that are set and cancelled.

use std::hint::black_box;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wouldblock::{Conn, ConnId, Context, Handle, Handler, Input, Origin, Reactor, Timer, TimerId};

const HOUR: Duration = Duration::from_secs(3600);
/// Until the timers come that are to come; longer than setting them takes.
const WAIT: Duration = Duration::from_millis(2);
/// At most so many timers beside the pending ones at a time.
const BATCH: u64 = 1000;

/// Counts the timers that came.
struct Counter(u64);

impl Handler for Counter {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        _session: &mut (),
        _input: &mut Input<'_>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn on_timer(&mut self, _cx: &mut Context, timer: Timer) {
        black_box(timer);
        self.0 += 1;
    }
}

/// Waits of one to two hours, by chance (xorshift64*).
struct Waits(u64);

impl Waits {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        HOUR + Duration::from_nanos(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % 3_600_000_000_000)
    }
}

/// A reactor with so many pending timers.
struct World {
    reactor: Reactor<Counter>,
    handle: Handle<Counter>,
}

impl World {
    fn new(pending: u64) -> World {
        let reactor = Reactor::new(Counter(0)).expect("a poll");
        let handle = reactor.handle();
        let mut world = World { reactor, handle };
        world.with(move |cx| {
            let mut waits = Waits(1);
            for _ in 0..pending {
                cx.set_timer(waits.next(), 0);
            }
        });
        world
    }

    /// Runs `work` inside a turn.
    fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Context) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = mpsc::channel();
        let posted = self.handle.post(move |_counter, cx| drop(tell.send(work(cx))));
        posted.expect("the reactor runs");
        self.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        told.recv().expect("a post is run in the next turn")
    }

    /// Sets and cancels `count` timers; answers how long the setting and the cancelling took.
    fn set_and_cancel(&mut self, count: u64) -> (Duration, Duration) {
        let mut waits = Waits(count | 1);
        let mut took = (Duration::ZERO, Duration::ZERO);
        let mut left = count;
        while left > 0 {
            let batch: Vec<_> = (0..left.min(BATCH)).map(|_| waits.next()).collect();
            left -= batch.len() as u64;
            let (set, cancel) = self.with(|cx| {
                let start = Instant::now();
                let mut timers: Vec<TimerId> =
                    batch.into_iter().map(|wait| cx.set_timer(wait, 0)).collect();
                let set = start.elapsed();
                // Not in the order in which they were set.
                timers.sort_by_key(|timer| std::hash::BuildHasher::hash_one(&Order, timer));
                let start = Instant::now();
                for timer in timers {
                    assert!(cx.cancel_timer(timer));
                }
                (set, start.elapsed())
            });
            took.0 += set;
            took.1 += cancel;
        }
        took
    }

    /// Lets `times` timers come, with their callbacks.
    fn expire(&mut self, times: u64) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let expected = self.reactor.handler().0 + batch;
            self.with(move |cx| {
                for n in 0..batch {
                    cx.set_timer(WAIT + Duration::from_nanos(n), 0);
                }
            });
            assert!(self.reactor.handler().0 < expected, "they came while they were set");
            std::thread::sleep(WAIT);
            let start = Instant::now();
            while self.reactor.handler().0 < expected {
                self.reactor.turn(Some(Duration::ZERO)).expect("a turn");
            }
            took += start.elapsed();
        }
        took
    }

    /// Sets one connection's timer again and again, each time later.
    fn reset(&mut self, id: ConnId, times: u64) -> Duration {
        self.with(move |cx| {
            let start = Instant::now();
            for n in 0..times {
                cx.conn(id).unwrap().set_timeout(black_box(HOUR + Duration::from_nanos(n)));
            }
            start.elapsed()
        })
    }
}

/// Hashes in the same order each time.
struct Order;

impl std::hash::BuildHasher for Order {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        std::hash::DefaultHasher::new()
    }
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for pending in [1000_u64, 1_000_000] {
        let mut world = World::new(pending);
        let name = |what| BenchmarkId::new(what, pending);
        group.bench_function(name("set"), |bench| {
            bench.iter_custom(|times| world.set_and_cancel(times).0);
        });
        group.bench_function(name("cancel"), |bench| {
            bench.iter_custom(|times| world.set_and_cancel(times).1);
        });
        group.bench_function(name("expire"), |bench| {
            bench.iter_custom(|times| world.expire(times));
        });
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let id = world.with(|cx| cx.adopt(ours, 0).expect("room for one"));
        group.bench_function(name("reset of a connection's"), |bench| {
            bench.iter_custom(|times| world.reset(id, times));
        });
    }
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);
