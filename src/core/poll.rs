//! The poll: how long it may wait, and what the kernel told.

use std::io;
use std::time::Duration;

use super::schedule::Due;
use super::{Core, Shutdown};
use crate::base::id::{ConnId, Target};
use crate::base::load::Load;
use crate::net::driver::Driver;
use crate::time::deadlines::Stamp;

impl Core {
    /// How long the poll may wait: not at all while there is anything to do.
    pub(crate) fn next_timeout(&self, now: Stamp) -> Option<Duration> {
        if self.has_work() { Some(Duration::ZERO) } else { wait(now, self.next_deadline()) }
    }

    fn next_deadline(&self) -> Stamp {
        self.schedule.next_deadline().min(self.timers.next())
    }

    fn has_work(&self) -> bool {
        self.schedule.run_len() > 0
            || self.callback.of().is_some()
            || self.datagrams.is_in_turn()
            || self.listeners.is_in_turn()
            || self.listeners.has_news()
            || self.horizon.may_hold_more()
            || !self.effects.is_empty()
            || matches!(self.ending.level(), Shutdown::Asked | Shutdown::AskedNow)
    }

    /// Polls once and notes what the kernel says. Returns the moment before the poll: what was due
    /// by then, and has not shown up now, is late (a later deadline may have lost to an event that
    /// came after the poll looked).
    pub(crate) fn poll(&mut self, limit: Option<Duration>) -> io::Result<Stamp> {
        let own = if self.has_work() {
            Some(Duration::ZERO)
        } else {
            let next = self.next_deadline();
            // Without a deadline the time before the poll is not needed.
            if next != Stamp::NEVER {
                let ended = std::mem::replace(&mut self.now, self.driver.now());
                if limit.is_none() {
                    // In a loop of ours nothing but the turn's last write lies between.
                    self.stats.load.note_later_end(ended.nanoseconds(), self.now.nanoseconds());
                }
            }
            wait(self.now, next)
        };
        let before = self.now;
        let timeout = match (own, limit) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        };
        self.note_places();
        let polled = self.driver.poll(timeout);
        // After an interrupted wait, too: what is done in this turn is not done in the past.
        self.now = self.driver.now();
        self.stats.load.begin_turn(self.now.nanoseconds());
        polled?;
        let Core { driver, conns, listeners, datagrams, schedule, limits, now, .. } = self;
        let (driver, now) = (&*driver, *now);
        let mut count = 0;
        let is_full = driver.for_each_event(|token, news| {
            count += 1;
            match token.target() {
                Target::Connection(slot) => {
                    let Some(entry) = conns.watched_mut(token, slot) else { return };
                    entry.conn.readiness.merge(news);
                    let runnable = entry.conn.is_runnable(limits);
                    schedule.update(&mut entry.ticket, token, runnable, Due::Unchanged);
                }
                Target::Listener(slot) => listeners.handle_event(token, slot, schedule),
                Target::Datagrams(slot) => {
                    datagrams.handle_event(token, slot, news, now, driver, schedule);
                }
                Target::Waker => {}
            }
        });
        listeners.note_news(schedule);
        if is_full {
            let watched = self.conns.len() + self.listeners.len() + self.datagrams.len();
            self.horizon.note_full(count, watched, before, self.now);
        } else {
            self.horizon.note_all(before);
        }
        Ok(before)
    }

    /// Reads the clock: in the midst of a callback, or where little time has passed.
    pub(crate) fn read_clock(&mut self) {
        read_clock(&mut self.now, &self.driver, &mut self.stats.load);
    }

    /// Reads the clock behind a callback, or other work that may take long; `what`: for
    /// [`Longest`](crate::Longest), if it was longer than all before. A reference to a name takes
    /// one register, and the name two.
    #[inline]
    pub(crate) fn end_work(&mut self, what: &'static &'static str, of: Option<ConnId>) {
        let now = self.driver.now();
        if self.stats.load.may_be_long(now.nanoseconds()) {
            self.note_work(now, what, of);
        }
        self.now = now;
    }

    #[cold]
    fn note_work(&mut self, now: Stamp, what: &'static &'static str, of: Option<ConnId>) {
        let service = of.and_then(|id| self.service_of(id));
        let service = service.unwrap_or(self.callback.service());
        let (before, now) = (self.now.nanoseconds(), now.nanoseconds());
        self.stats.load.note_callback(before, now, what, of, service);
    }

    /// The turn is over.
    #[inline]
    pub(crate) fn end_turn(&mut self) {
        if self.is_behind {
            self.is_behind = false;
            self.now = self.driver.now();
        }
        self.stats.load.end_turn(self.now.nanoseconds());
        self.stats.turns += 1;
    }
}

/// The same by its parts, for where a connection is lent out.
pub(super) fn read_clock(now: &mut Stamp, driver: &Driver, load: &mut Load) {
    let before = std::mem::replace(now, driver.now());
    load.note_within(before.nanoseconds(), now.nanoseconds());
}

/// How long it is until a deadline.
fn wait(now: Stamp, next: Stamp) -> Option<Duration> {
    (next != Stamp::NEVER).then(|| now.until(next))
}
