//! The timers of the reactor itself: one-shot and periodic, each with a name.
//!
//! A timer of a connection is not here: that is a moment among its connection's deadlines
//! (`conn/extras.rs`). Here each timer has one entry, taken out when it is cancelled, so a name that was
//! cancelled cannot fire and a million resets leave nothing behind. Read next: `heap.rs`.

use std::time::Duration;

use crate::base::slots::Slots;
use crate::time::deadlines::Stamp;
use crate::time::heap::Heap;

/// The name of one timer of a reactor, from [`Context::set_timer`](crate::Context::set_timer) on.
///
/// Never that of another timer: after it fired or was cancelled the name is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    reactor: u32,
    slot: u32,
    generation: u32,
}

/// A timer that has come: what [`on_timer`](crate::Handler::on_timer) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timer {
    /// Which timer. If it was one-shot, the name is stale already.
    pub id: TimerId,
    /// What it was set with.
    pub tag: u64,
    /// The number of its periods that had passed without a call: the loop was busy, or the process
    /// stopped. 0 in good times, and always for a one-shot timer.
    pub missed: u64,
}

/// All timers of one reactor.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Each with its period (zero: one-shot), its tag and its service.
    set: Slots<(Duration, u64, u8)>,
    /// The slots of all, by when they are due.
    due: Heap,
    /// Number of the reactor.
    reactor: u32,
}

impl Timers {
    pub(crate) fn new(reactor: u32) -> Self {
        Timers { set: Slots::new(usize::MAX, usize::MAX), due: Heap::default(), reactor }
    }

    /// Sets a timer for `due`, and for each `period` after it unless that is zero.
    pub(crate) fn set(&mut self, due: Stamp, period: Duration, tag: u64, service: u8) -> TimerId {
        let (slot, generation) = self.set.insert((period, tag, service));
        self.due.insert(slot, due);
        TimerId { reactor: self.reactor, slot, generation }
    }

    /// Returns whether there was such a timer.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        if id.reactor != self.reactor {
            return false;
        }
        if self.set.remove(id.slot, id.generation).is_none() {
            return false;
        }
        self.due.remove(id.slot);
        // At once, not at the end of the turn: nothing but a name leads here, and that is stale.
        self.set.recycle();
        true
    }

    /// Cancels all.
    pub(crate) fn clear(&mut self) {
        while let Some((_, slot)) = self.due.first() {
            self.due.remove(slot);
            let generation = self.set.present(slot).expect("an entry has its timer");
            self.set.remove(slot, generation);
        }
        self.set.recycle();
    }

    /// When the next one is due.
    #[inline]
    pub(crate) fn next(&self) -> Stamp {
        self.due.first().map_or(Stamp::NEVER, |(due, _)| due)
    }

    /// The first timer that is due by `now`. A periodic one keeps its phase: the next moment is the
    /// first after `now` of those it was made for.
    pub(crate) fn expire(&mut self, now: Stamp) -> Option<(Timer, u8)> {
        let (due, slot) = self.due.first().filter(|(due, _)| *due <= now)?;
        let generation = self.set.present(slot).expect("an entry has its timer");
        let (period, tag, service) =
            *self.set.get(slot, generation).expect("an entry has its timer");
        let id = TimerId { reactor: self.reactor, slot, generation };
        if period.is_zero() {
            self.due.remove(slot);
            self.set.remove(slot, generation);
            self.set.recycle();
            return Some((Timer { id, tag, missed: 0 }, service));
        }
        let (next, missed) = due.next_period(period, now);
        self.due.postpone_first(next);
        Some((Timer { id, tag, missed }, service))
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
        let mut timers = Timers::new(0);
        let timer = timers.set(at(1), SECOND, 7, 1);
        assert_eq!(timers.expire(Stamp::at(999_999_999)), None);
        assert_eq!(timers.expire(at(1)), Some((Timer { id: timer, tag: 7, missed: 0 }, 1)));
        assert_eq!(timers.expire(at(1)), None);
        // Late by half a period: the next one is not.
        assert_eq!(
            timers.expire(Stamp::at(2_500_000_000)),
            Some((Timer { id: timer, tag: 7, missed: 0 }, 1))
        );
        assert_eq!(timers.next(), at(3));
        assert_eq!(
            timers.expire(Stamp::at(12_000_000_001)),
            Some((Timer { id: timer, tag: 7, missed: 9 }, 1))
        );
        assert_eq!(timers.next(), at(13));
    }

    #[test]
    fn a_one_shot_timer_fires_once_and_its_name_is_stale_then() {
        let mut timers = Timers::new(3);
        let timer = timers.set(at(5), Duration::ZERO, 7, 1);
        assert_eq!(timers.expire(at(60)), Some((Timer { id: timer, tag: 7, missed: 0 }, 1)));
        assert_eq!(timers.next(), Stamp::NEVER);
        assert!(!timers.cancel(timer));
        let other = timers.set(at(70), Duration::ZERO, 7, 1);
        assert_ne!(timer, other);
        assert!(!timers.cancel(timer), "a stale name finds nobody");
        assert!(!Timers::new(4).cancel(other), "nor does that of another reactor");
        assert!(timers.cancel(other));
        assert_eq!(timers.expire(at(100)), None);
    }

    /// Trap 63: a timer that is set and cancelled a million times takes one place.
    #[test]
    fn a_million_resets_take_one_place() {
        let mut timers = Timers::new(0);
        let mut timer = timers.set(at(1), Duration::ZERO, 7, 1);
        let first = timer.slot;
        for n in 0..if cfg!(miri) { 1000 } else { 1_000_000 } {
            assert!(timers.cancel(timer));
            timer = timers.set(at(n), Duration::ZERO, 7, 1);
            assert_eq!(timer.slot, first);
        }
        assert_eq!(timers.set.len(), 1);
    }
}
