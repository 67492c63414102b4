//! The poll: how long it may wait, and what the kernel told.

use std::io;
use std::time::Duration;

use super::{Core, Entry, Shutdown};
use crate::base::id::{DATAGRAM_BASE, LISTENER_BASE, Target};
use crate::conn::flags::Flags;
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
        self.deadlines.next().min(self.timers.next())
    }

    fn has_work(&self) -> bool {
        !self.run.is_empty()
            || self.callback.of().is_some()
            || self.serving.is_some()
            || self.accepting.is_some()
            || self.poll_was_full
            || !self.effects.is_empty()
            || matches!(self.shutdown, Shutdown::Asked | Shutdown::AskedNow)
    }

    /// Polls once and notes what the kernel says. Returns the moment before the poll: what was due
    /// by then, and has not shown up now, is late (a later deadline may have lost to an event that
    /// came after the poll looked).
    pub(crate) fn poll(&mut self, limit: Option<Duration>) -> io::Result<Stamp> {
        // Without a deadline nobody asks for the time before the poll.
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
        let Core { driver, conns, listeners, sockets, run, limits, now, .. } = self;
        let (driver, now) = (&*driver, *now);
        let mut count = 0;
        let is_full = driver.for_each_event(|token, news| {
            count += 1;
            match token.target() {
                Target::Connection(slot) => {
                    let Some(Entry { conn, .. }) = conns.watched_mut(token, slot) else { return };
                    conn.readiness.merge(news);
                    if !conn.flags.has(Flags::QUEUED) && conn.is_runnable(limits) {
                        conn.flags.set(Flags::QUEUED);
                        run.push_back(token);
                    }
                }
                Target::Listener(slot) => {
                    let Some(generation) = listeners.resolve(token, slot, LISTENER_BASE) else {
                        return;
                    };
                    let Some(listener) = listeners.get_mut(slot, generation) else { return };
                    listener.readable = true;
                    if listener.is_runnable() && !listener.queued {
                        listener.queued = true;
                        run.push_back(token);
                    }
                }
                Target::Datagrams(slot) => {
                    let Some(generation) = sockets.resolve(token, slot, DATAGRAM_BASE) else {
                        return;
                    };
                    let Some(socket) = sockets.get_mut(slot, generation) else { return };
                    socket.handle_event(news);
                    let room = socket.watches_room;
                    if news.is_error()
                        && let Err(error) =
                            driver.restore_datagrams(&mut socket.bound.socket, token, room)
                    {
                        log::error!("{}: cannot watch it any more: {error}", socket.address);
                    }
                    if socket.is_runnable(now) && !socket.queued {
                        socket.queued = true;
                        run.push_back(token);
                    }
                }
                Target::Waker => {}
            }
        });
        self.note_full(is_full, count, before);
        Ok(before)
    }

    /// What the kernel has told of. After a full list it may hold more, of somebody who then is not
    /// late; but it tells of each in turn, so that with enough full lists it has told of everybody.
    pub(crate) fn note_full(&mut self, is_full: bool, count: usize, before: Stamp) {
        if !is_full {
            self.poll_was_full = false;
            self.told_until = before;
            return;
        }
        if !self.poll_was_full {
            self.sweep = (before, 0);
        }
        self.poll_was_full = true;
        self.sweep.1 += count;
        // Some kernels make two events of one socket, and some are for nothing.
        if self.sweep.1 > 4 * (self.conns.len() + self.listeners.len() + self.sockets.len() + 1) {
            self.told_until = self.sweep.0;
            self.sweep = (self.now, 0);
        }
    }

    #[inline]
    pub(crate) fn read_clock(&mut self) {
        self.now = self.driver.now();
    }
}
