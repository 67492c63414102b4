//! What is due besides sockets: posted closures, timers of connections, timers of the reactor.
//!
//! Each is called as it comes up, a bounded number in a turn; what is left keeps the poll from
//! waiting. What a call cancels, closes or aborts is not called after it: nothing is collected
//! before. Read next: `core/expire.rs`, which finds whose timer has come, and `base/post.rs`.

use std::sync::Arc;

use super::Reactor;
use crate::core::expire::QUESTIONS_PER_TURN;
use crate::handle::{Orders, Post};
use crate::handler::Handler;
use crate::time::deadlines::Stamp;

/// Posted closures run in one turn: a flood of them must not starve the sockets (trap 57).
pub(super) const POSTS_PER_TURN: usize = 256;
/// Calls of `on_timeout`, and of `on_timer`, in one turn; what else is due comes next turn.
const TIMERS_PER_TURN: usize = 1024;

/// The reactor's end of what a [`Handle`] sends: when it goes, posts are refused and dropped.
pub(super) struct Inbox<H: Handler>(pub(super) Arc<Orders<H>>);

impl<H: Handler> Drop for Inbox<H> {
    fn drop(&mut self) {
        self.0.posts.end();
    }
}

impl<H: Handler> Reactor<H> {
    /// Runs posted closures, as many as one turn allows.
    #[inline]
    pub(super) fn run_posts(&mut self, most: usize) {
        if self.inbox.0.posts.is_waiting() {
            self.run_waiting_posts(most);
        }
    }

    #[cold]
    fn run_waiting_posts(&mut self, most: usize) {
        for _ in 0..most {
            let Some(post) = self.inbox.0.posts.take() else { return };
            match post {
                Post::Any(closure) => {
                    self.cx.core.stats.posts += 1;
                    self.call_aside(&"a posted closure", None, closure);
                }
                Post::To(id, closure) => {
                    // A connection that was just adopted may be posted to already.
                    if !self.cx.core.is_served(id) {
                        self.open_adopted();
                    }
                    if !self.cx.core.is_served(id) {
                        self.cx.core.stats.posts_missed += 1;
                        continue;
                    }
                    self.cx.core.stats.posts += 1;
                    self.call(id, &"a posted closure", closure);
                    self.cx.core.update(id);
                }
            }
        }
    }

    /// Acts on deadlines, and calls those whose timer has come. One after the other: what a call
    /// cancels or closes does not come up.
    #[inline]
    pub(super) fn fire_timeouts(&mut self) {
        let due_by = self.cx.core.horizon.told_until();
        if self.cx.core.schedule.next_deadline() <= due_by {
            self.fire_timeouts_due(due_by);
        }
    }

    #[cold]
    fn fire_timeouts_due(&mut self, due_by: Stamp) {
        let mut questions = QUESTIONS_PER_TURN;
        for _ in 0..TIMERS_PER_TURN {
            let Some(id) = self.cx.core.expire(due_by, &mut questions) else { break };
            self.call(id, &"on_timeout", H::on_timeout);
            self.cx.core.update(id);
        }
        self.cx.core.end_expire();
    }

    /// Calls the timers of the reactor that are due. Nothing that the kernel holds can undo them.
    #[inline]
    pub(super) fn fire_timers(&mut self) {
        let now = self.cx.core.now;
        if self.cx.core.timers.next() <= now {
            self.fire_what_is_due(now);
        }
    }

    #[cold]
    fn fire_what_is_due(&mut self, now: Stamp) {
        for _ in 0..TIMERS_PER_TURN {
            let Some((timer, service)) = self.cx.core.next_timer(now) else { return };
            self.cx.core.callback.enter(service);
            self.call_aside(&"on_timer", None, |handler, cx| handler.on_timer(cx, timer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Rng;
    use crate::sim::{Profile, check};
    use crate::{Closed, Config, Conn, ConnId, Context, Handle, Input, Origin, Timer, TimerId};
    use std::collections::BTreeMap;
    use std::io;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// Sets, cancels, closes and posts by chance in every callback, and knows what must follow.
    struct Chance {
        rng: Rng,
        /// The connections that are open, and when the timer of each is due.
        open: BTreeMap<ConnId, Option<Duration>>,
        /// When each timer of the reactor is due, and its period: zero, one-shot.
        timers: BTreeMap<TimerId, (Duration, Duration)>,
        handle: Handle<Chance>,
        /// Posts to connections, posts to the reactor; and how many of each were run.
        posted: (u64, u64),
        ran: (u64, u64),
        /// Nothing new is set: what is due is to come, and then nothing.
        is_ending: bool,
    }

    impl Chance {
        fn some_timer(&mut self) -> Option<TimerId> {
            let n = self.rng.size(0, self.timers.len().saturating_sub(1));
            self.timers.keys().nth(n).copied()
        }

        fn some_connection(&mut self) -> Option<ConnId> {
            let n = self.rng.size(0, self.open.len().saturating_sub(1));
            self.open.keys().nth(n).copied()
        }

        fn act(&mut self, cx: &mut Context) {
            if self.is_ending {
                return;
            }
            let wait = MS * u32::try_from(self.rng.size(0, 30)).unwrap();
            let due = cx.now() + wait;
            match self.rng.size(0, 9) {
                0 if self.timers.len() < 20 => {
                    self.timers.insert(cx.set_timer(wait, 0), (due, Duration::ZERO));
                }
                1 if self.timers.len() < 20 => {
                    let period = wait.max(MS);
                    let due = cx.now() + period;
                    self.timers.insert(cx.set_periodic_timer(period, 0), (due, period));
                }
                2 => {
                    if let Some(timer) = self.some_timer() {
                        assert!(cx.cancel_timer(timer) && !cx.cancel_timer(timer));
                        self.timers.remove(&timer);
                    }
                }
                action => {
                    let Some(id) = self.some_connection() else { return };
                    match action {
                        3..=5 => {
                            cx.conn(id).unwrap().set_timeout(wait);
                            self.open.insert(id, Some(due));
                        }
                        6 => {
                            let was_set = self.open.insert(id, None).flatten().is_some();
                            assert_eq!(cx.conn(id).unwrap().cancel_timeout(), was_set);
                        }
                        7 if self.rng.size(0, 199) == 0 => {
                            cx.conn(id).unwrap().close();
                            self.open.remove(&id);
                        }
                        8 => self.post(id),
                        _ => cx.conn(id).unwrap().send(b"x"),
                    }
                }
            }
        }

        fn post(&mut self, id: ConnId) {
            self.posted.0 += 1;
            let posted = self.handle.post_to(id, move |chance, conn, session| {
                assert_eq!((conn.id(), *session), (id, id));
                chance.ran.0 += 1;
                chance.act(conn.cx());
                Ok(())
            });
            posted.expect("the queue is long");
            self.posted.1 += 1;
            let posted = self.handle.post(|chance, cx| {
                chance.ran.1 += 1;
                chance.act(cx);
            });
            posted.expect("the queue is long");
        }
    }

    impl Handler for Chance {
        type Session = ConnId;

        fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<ConnId> {
            self.open.insert(conn.id(), None);
            self.act(conn.cx());
            Ok(conn.id())
        }

        fn on_data(
            &mut self,
            conn: &mut Conn<'_>,
            _session: &mut ConnId,
            input: &mut Input<'_>,
        ) -> io::Result<()> {
            input.take_all();
            self.act(conn.cx());
            Ok(())
        }

        fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut ConnId) -> io::Result<()> {
            assert_eq!(conn.id(), *session);
            let due = self.open.get_mut(session).expect("only who is open is called");
            let due = due.take().expect("only a timer that is set comes");
            assert!(conn.cx().now() >= due, "early");
            self.act(conn.cx());
            self.act(conn.cx());
            Ok(())
        }

        fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
            let (due, period) = self.timers.remove(&timer.id).expect("cancelled ones do not come");
            let missed = u32::try_from(timer.missed).unwrap();
            assert!(cx.now() >= due + period * missed, "early, or too many are called missed");
            if period.is_zero() {
                assert_eq!(missed, 0);
            } else if self.is_ending {
                assert!(cx.cancel_timer(timer.id));
            } else {
                self.timers.insert(timer.id, (due + period * (missed + 1), period));
            }
            self.act(cx);
            self.act(cx);
        }

        fn on_close(&mut self, _cx: &mut Context, id: ConnId, _: ConnId, _: Closed) {
            self.open.remove(&id);
        }
    }

    /// Promise 3, Traps 60 and 62: whatever a handler sets, cancels and closes in a world that stands
    /// still at times: no timer is early, none is late for good, none comes that was cancelled; and
    /// each post runs once, or its connection was gone.
    #[test]
    fn timers_and_posts_set_by_chance_come_when_they_should() {
        check(0..400, Profile::rough().interrupted(2), |sim| {
            let make = |handle| Chance {
                rng: Rng::new(sim.seed()),
                open: BTreeMap::new(),
                timers: BTreeMap::new(),
                handle,
                posted: (0, 0),
                ran: (0, 0),
                is_ending: false,
            };
            let mut reactor = sim.build(Config::default(), make)?;
            reactor.listen("10.0.0.1:7777")?;
            for _ in 0..4 {
                let peer = sim.connect("10.0.0.1:7777");
                for n in 0..20 {
                    peer.wait(MS * n);
                    peer.send([1; 300]);
                }
            }
            // In steps: a world in which nothing but timers happens for long is taken to spin.
            for step in 0..600 {
                reactor.handler_mut().is_ending = step >= 400;
                sim.advance(&mut reactor, MS)?;
            }
            let (stats, chance) = (reactor.stats().clone(), reactor.handler());
            let late = chance.open.values().flatten().count();
            if late > 0 || !chance.timers.is_empty() {
                let what = format!("{late} timers of connections never came, {:?}", chance.timers);
                return Err(sim.failure(what));
            }
            assert_eq!(chance.ran.1, chance.posted.1);
            assert_eq!(chance.ran.0 + stats.posts_missed, chance.posted.0);
            Ok(())
        });
    }

    /// Counts the periods of one timer.
    #[derive(Default)]
    struct Periods {
        timer: Option<TimerId>,
        set: Duration,
        told: u64,
        missed: u64,
    }

    impl Handler for Periods {
        type Session = ();

        fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
            self.set = cx.now();
            self.timer = Some(cx.set_periodic_timer(MS * 10, 0));
            Ok(())
        }

        fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
            Ok(())
        }

        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }

        fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
            assert_eq!(Some(timer.id), self.timer);
            self.told += timer.missed + 1;
            self.missed += timer.missed;
            let since = cx.now().saturating_sub(self.set).as_millis();
            assert_eq!(
                u128::from(self.told),
                since / 10,
                "each period is called or told, in phase"
            );
        }
    }

    /// Traps 60 and 61: a machine that stands still for seconds now and then loses no period and
    /// no phase.
    #[test]
    fn a_machine_that_stops_loses_no_period() {
        let missed = std::sync::atomic::AtomicU64::new(0);
        check(0..50, Profile::everyday().stopped(100), |sim| {
            let mut reactor = sim.reactor(Periods::default(), Config::default())?;
            for _ in 0..10 {
                sim.advance(&mut reactor, MS * 100)?;
            }
            assert!(reactor.handler().told > 50);
            missed.fetch_add(reactor.handler().missed, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        });
        assert!(missed.into_inner() > 0, "no machine stood still");
    }

    /// Many timers for one moment: how many came in each turn.
    #[derive(Default)]
    struct Many(BTreeMap<u64, usize>);

    impl Handler for Many {
        type Session = ();

        fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
            for _ in 0..3 * 1024 {
                cx.set_timer(MS, 0);
            }
            Ok(())
        }

        fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
            Ok(())
        }

        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }

        fn on_timer(&mut self, cx: &mut Context, _timer: Timer) {
            *self.0.entry(cx.stats().turns).or_default() += 1;
        }
    }

    /// Promise 4: a turn calls so many timers and no more, and none that was set by one of them: the
    /// clock stands still in a callback here.
    #[test]
    fn a_turn_calls_a_bounded_number_of_timers() {
        let sim = crate::sim::Sim::new(1, Profile::calm());
        let mut reactor = sim.reactor(Many::default(), Config::default()).unwrap();
        sim.advance(&mut reactor, MS * 5).unwrap();
        let came: Vec<_> = reactor.handler().0.values().copied().collect();
        assert_eq!(came, [1024; 3]);

        let mut reactor = sim.reactor(Chain(10, 0), Config::default()).unwrap();
        sim.advance(&mut reactor, MS * 5).unwrap();
        assert_eq!(reactor.handler().0, 0);
    }

    /// Sets so many timers for at once, one after the other; the turn of the last.
    struct Chain(u32, u64);

    impl Handler for Chain {
        type Session = ();

        fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
            cx.set_timer(MS, 0);
            Ok(())
        }

        fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
            Ok(())
        }

        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Input<'_>) -> io::Result<()> {
            Ok(())
        }

        fn on_timer(&mut self, cx: &mut Context, _timer: Timer) {
            let turn = cx.stats().turns + 1;
            assert!(turn > self.1, "set and called in one batch");
            self.1 = turn;
            if self.0 > 0 {
                self.0 -= 1;
                cx.set_timer(Duration::ZERO, 0);
            }
        }
    }
}
