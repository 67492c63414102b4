//! The poll: how long it may wait, and what the kernel told.

use std::io;
use std::time::Duration;

use super::schedule::Due;
use super::{Core, Shutdown};
use crate::base::id::Target;
use crate::time::deadlines::Stamp;

impl Core {
    /// How long the poll may wait: not at all while there is anything to do.
    pub(crate) fn next_timeout(&self, now: Stamp) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let next = self.next_deadline();
        (next != Stamp::NEVER).then(|| now.until(next))
    }

    fn next_deadline(&self) -> Stamp {
        self.schedule.next_deadline().min(self.timers.next())
    }

    fn has_work(&self) -> bool {
        self.schedule.run_len() > 0
            || self.callback.of().is_some()
            || self.datagrams.is_in_turn()
            || self.listeners.is_in_turn()
            || self.horizon.may_hold_more()
            || !self.effects.is_empty()
            || matches!(self.ending.level(), Shutdown::Asked | Shutdown::AskedNow)
    }

    /// Polls once and notes what the kernel says. Returns the moment before the poll: what was due
    /// by then, and has not shown up now, is late (a later deadline may have lost to an event that
    /// came after the poll looked).
    pub(crate) fn poll(&mut self, limit: Option<Duration>) -> io::Result<Stamp> {
        // Without a deadline the time before the poll is not needed.
        if !self.has_work() && self.next_deadline() != Stamp::NEVER {
            self.read_clock();
        }
        let before = self.now;
        let own = self.next_timeout(before);
        let timeout = match (own, limit) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        };
        let polled = self.driver.poll(timeout);
        // After an interrupted wait, too: what is done in this turn is not done in the past.
        self.read_clock();
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
        if is_full {
            let watched = self.conns.len() + self.listeners.len() + self.datagrams.len();
            self.horizon.note_full(count, watched, before, self.now);
        } else {
            self.horizon.note_all(before);
        }
        Ok(before)
    }

    #[inline]
    pub(crate) fn read_clock(&mut self) {
        self.now = self.driver.now();
    }
}
