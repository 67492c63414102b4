//! Moments and deadlines: at most one entry for each owner, whatever happens.
//!
//! A [`Stamp`] is a moment on the reactor's own clock, which starts at zero with it: eight bytes
//! instead of sixteen, and a simulated clock is a plain number. Only `net/driver.rs` reads the clock.
//! [`Deadlines`] holds the *earliest* moment an owner may have to be looked at. Progress does not
//! touch it: the owner keeps the true deadline as a stamp of its own, and when the entry comes up
//! and is not due after all, it is put in again. So no timer work is done for each packet, and the
//! set cannot outgrow the number of its owners.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::id::Token;

/// A moment: nanoseconds since the reactor was made. 64 bits last for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The moment the reactor was made.
    #[cfg(test)]
    pub(crate) const ZERO: Stamp = Stamp(0);
    /// A moment that does not come.
    pub(crate) const NEVER: Stamp = Stamp(u64::MAX);

    /// The moment so many nanoseconds after the reactor was made.
    #[inline]
    pub(crate) fn at(nanoseconds: u64) -> Self {
        Stamp(nanoseconds)
    }

    /// Nanoseconds since the reactor was made.
    #[inline]
    pub(crate) fn nanoseconds(self) -> u64 {
        self.0
    }

    /// The moment `wait` after this one; `NEVER` if that is beyond the clock (584 years).
    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Self {
        Stamp(self.0.saturating_add(nanoseconds(wait)))
    }

    /// The first moment after `now` of those that are whole periods after this one, and how many of
    /// them have passed before it. `period` is not zero, and `now` is not before this moment.
    pub(crate) fn next_period(self, period: Duration, now: Stamp) -> (Stamp, u64) {
        let period = nanoseconds(period).max(1);
        let missed = now.0.saturating_sub(self.0) / period;
        let next = missed.saturating_add(1).saturating_mul(period);
        (Stamp(self.0.saturating_add(next)), missed)
    }

    /// How long after the reactor was made.
    pub(crate) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long until `later`: zero if that has passed.
    pub(crate) fn until(self, later: Stamp) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// The shortest wait of a timer: it is over only when the clock has moved on, so that no timer set
/// by a callback comes up in the batch that callback belongs to.
pub(crate) const INSTANT: Duration = Duration::from_nanos(1);

/// 584 years at most: a longer wait is not over before `Stamp::NEVER`.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos()))
}

/// The moments at which owners are to be looked at, earliest first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: BTreeSet<(Stamp, Token)>,
}

impl Deadlines {
    /// Moves `owner`'s entry from `old` (`NEVER`: it has none) to `new` (`NEVER`: none any more).
    pub(crate) fn set(&mut self, owner: Token, old: Stamp, new: Stamp) {
        if old == new {
            return;
        }
        if old != Stamp::NEVER {
            let had = self.entries.remove(&(old, owner));
            debug_assert!(had, "an armed owner has an entry");
        }
        if new != Stamp::NEVER {
            self.entries.insert((new, owner));
        }
    }

    /// The earliest moment at which an owner is to be looked at.
    #[inline]
    pub(crate) fn next(&self) -> Stamp {
        self.entries.first().map_or(Stamp::NEVER, |entry| entry.0)
    }

    /// Takes out the earliest entry that is due by `now`.
    pub(crate) fn expire(&mut self, now: Stamp) -> Option<Token> {
        if self.next() > now || self.entries.is_empty() {
            return None;
        }
        self.entries.pop_first().map(|entry| entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Token = Token(7);

    #[test]
    fn entries_come_up_in_order_and_never_early() {
        let mut deadlines = Deadlines::default();
        deadlines.set(OWNER, Stamp::NEVER, Stamp(20));
        deadlines.set(Token(8), Stamp::NEVER, Stamp(10));
        assert_eq!(deadlines.next(), Stamp(10));
        assert_eq!(deadlines.expire(Stamp(9)), None);
        assert_eq!(deadlines.expire(Stamp(20)), Some(Token(8)));
        assert_eq!(deadlines.expire(Stamp(20)), Some(OWNER));
        assert_eq!(deadlines.expire(Stamp(20)), None);
        assert_eq!(deadlines.next(), Stamp::NEVER);
        assert_eq!(deadlines.expire(Stamp::NEVER), None);
    }

    /// Trap 63: resetting a deadline a million times leaves one entry.
    #[test]
    fn an_owner_has_one_entry_however_often_it_moves() {
        let mut deadlines = Deadlines::default();
        let mut armed = Stamp::NEVER;
        for moment in 0..if cfg!(miri) { 1000 } else { 1_000_000 } {
            deadlines.set(OWNER, armed, Stamp(moment));
            armed = Stamp(moment);
        }
        assert_eq!(deadlines.entries.len(), 1);
        deadlines.set(OWNER, armed, Stamp::NEVER);
        assert!(deadlines.entries.is_empty());
    }

    /// Promise 4: a wait that the clock cannot count is never over, and none begins anew.
    #[test]
    fn a_wait_beyond_the_clock_is_never_over() {
        let longest = Duration::from_nanos(u64::MAX - 1);
        for wait in [1 << 35, (1 << 55) + 1, 1 << 60, u64::MAX].map(Duration::from_secs) {
            assert_eq!(Stamp::at(7).after(wait), Stamp::NEVER);
            assert_eq!(Stamp::at(7).next_period(wait, Stamp::at(8)), (Stamp::NEVER, 0));
        }
        assert_eq!(Stamp::ZERO.after(Duration::MAX), Stamp::NEVER);
        assert_eq!(Stamp::ZERO.after(longest).until(Stamp::NEVER), Duration::from_nanos(1));
    }

    #[test]
    fn stamps_reckon_without_overflow() {
        let now = Stamp::at(3_000_000);
        assert_eq!(now.until(now.after(Duration::from_secs(1))), Duration::from_secs(1));
        assert_eq!(now.after(Duration::from_secs(1)).until(now), Duration::ZERO);
        assert_eq!(Stamp::NEVER.after(Duration::from_secs(1)), Stamp::NEVER);
    }
}
