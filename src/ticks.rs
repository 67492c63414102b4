//! The timers of the reactor itself: one-shot and periodic, each with a name.
//!
//! A timer of a connection is not here: that is a moment among its connection's deadlines
//! (`conn/own.rs`). Here each timer has one entry, taken out when it is cancelled, so a name that was
//! cancelled cannot fire and a million resets leave nothing behind. Read next: `heap.rs`.

use std::time::Duration;

use crate::heap::Heap;
use crate::slots::Slots;
use crate::timers::Stamp;

/// The name of one timer of a reactor, from [`Context::set_timer`](crate::Context::set_timer) on.
///
/// Never that of another timer: after it fired or was cancelled the name is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    reactor: u32,
    slot: u32,
    generation: u32,
}

/// A timer of the reactor has come: what [`on_tick`](crate::Handler::on_tick) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// Which timer. If it was one-shot, the name is stale already.
    pub timer: TimerId,
    /// How many of its periods had passed without a call: the loop was busy, or the process
    /// stopped. 0 in good times, and always for a one-shot timer.
    pub missed: u64,
}

/// All timers of one reactor.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// Each with its period; zero: one-shot.
    timers: Slots<Duration>,
    /// The slots of all, by when they are due.
    due: Heap,
    /// Number of the reactor.
    reactor: u32,
}

impl Ticks {
    pub(crate) fn new(reactor: u32) -> Self {
        Ticks { timers: Slots::new(usize::MAX, usize::MAX), due: Heap::default(), reactor }
    }

    /// Sets a timer for `due`, and for each `period` after it unless that is zero.
    pub(crate) fn set(&mut self, due: Stamp, period: Duration) -> TimerId {
        let (slot, generation) = self.timers.insert(period);
        self.due.insert(slot, due);
        TimerId { reactor: self.reactor, slot, generation }
    }

    /// Answers whether there was such a timer.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        if id.reactor != self.reactor {
            return false;
        }
        if self.timers.remove(id.slot, id.generation).is_none() {
            return false;
        }
        self.due.remove(id.slot);
        // At once, not at the end of the turn: nothing but a name leads here, and that is stale.
        self.timers.recycle();
        true
    }

    /// When the next one is due.
    #[inline]
    pub(crate) fn next(&self) -> Stamp {
        self.due.first().map_or(Stamp::NEVER, |(due, _)| due)
    }

    /// The first timer that is due by `now`. A periodic one keeps its phase: the next moment is the
    /// first after `now` of those it was made for.
    pub(crate) fn expire(&mut self, now: Stamp) -> Option<Tick> {
        let (due, slot) = self.due.first().filter(|(due, _)| *due <= now)?;
        let generation = self.timers.present(slot).expect("an entry has its timer");
        let period = *self.timers.get(slot, generation).expect("an entry has its timer");
        let id = TimerId { reactor: self.reactor, slot, generation };
        if period.is_zero() {
            self.due.remove(slot);
            self.timers.remove(slot, generation);
            self.timers.recycle();
            return Some(Tick { timer: id, missed: 0 });
        }
        let (next, missed) = due.next_period(period, now);
        self.due.postpone_first(next);
        Some(Tick { timer: id, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Stamp {
        Stamp::at(seconds * 1_000_000_000)
    }

    /// Trap 61: the loop stood still for ten periods: one call, nine missed, the phase kept.
    #[test]
    fn missed_periods_are_told_and_the_phase_is_kept() {
        let mut ticks = Ticks::new(0);
        let timer = ticks.set(at(1), SECOND);
        assert_eq!(ticks.expire(Stamp::at(999_999_999)), None);
        assert_eq!(ticks.expire(at(1)), Some(Tick { timer, missed: 0 }));
        assert_eq!(ticks.expire(at(1)), None);
        // Late by half a period: the next one is not.
        assert_eq!(ticks.expire(Stamp::at(2_500_000_000)), Some(Tick { timer, missed: 0 }));
        assert_eq!(ticks.next(), at(3));
        assert_eq!(ticks.expire(Stamp::at(12_000_000_001)), Some(Tick { timer, missed: 9 }));
        assert_eq!(ticks.next(), at(13));
    }

    #[test]
    fn a_one_shot_timer_fires_once_and_its_name_is_stale_then() {
        let mut ticks = Ticks::new(3);
        let timer = ticks.set(at(5), Duration::ZERO);
        assert_eq!(ticks.expire(at(60)), Some(Tick { timer, missed: 0 }));
        assert_eq!(ticks.next(), Stamp::NEVER);
        assert!(!ticks.cancel(timer));
        let other = ticks.set(at(70), Duration::ZERO);
        assert_ne!(timer, other);
        assert!(!ticks.cancel(timer), "a stale name finds nobody");
        assert!(!Ticks::new(4).cancel(other), "nor does that of another reactor");
        assert!(ticks.cancel(other));
        assert_eq!(ticks.expire(at(100)), None);
    }

    /// Trap 63: a timer that is set and cancelled a million times takes one place.
    #[test]
    fn a_million_resets_take_one_place() {
        let mut ticks = Ticks::new(0);
        let mut timer = ticks.set(at(1), Duration::ZERO);
        let first = timer.slot;
        for n in 0..if cfg!(miri) { 1000 } else { 1_000_000 } {
            assert!(ticks.cancel(timer));
            timer = ticks.set(at(n), Duration::ZERO);
            assert_eq!(timer.slot, first);
        }
        assert_eq!(ticks.timers.len(), 1);
    }
}
