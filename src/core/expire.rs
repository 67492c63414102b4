//! Deadlines and timers: which connection is late, and which timer is due.
//!
//! What the kernel still holds comes first: a deadline is acted on only if it was due when the
//! kernel had last told of all, and if its connection is not on the run queue, or to be put
//! there, with something that may undo it. `reactor.rs` asks for one timer after the other and
//! calls the handler, so what one callback closes or cancels does not come up any more (trap 62).
//! Read next: `time/timers.rs`.

use std::time::Duration;

use crate::base::id::{ConnId, Target};
use crate::base::readiness::Readiness;
use crate::conn::Phase;
use crate::conn::deadlines::Doubt;
use crate::conn::flags::Flags;
use crate::core::schedule::Due;
use crate::core::{Core, Entry, Shutdown};
use crate::time::deadlines::{INSTANT, Stamp};
use crate::time::timers::{Timer, TimerId};

/// How often the kernel is asked in a turn, before a verdict, what it takes or has delivered. It
/// looks for a Unix socket among all that the machine has: where those are 20,000, one question is
/// a millisecond.
pub(crate) const QUESTIONS_PER_TURN: usize = 32;
/// A period below this counts as this: what the poll can wait for.
const PERIOD_MIN: Duration = Duration::from_millis(1);

impl Core {
    // --- Setting --------------------------------------------------------------------------------

    /// Sets a connection's timeout, if it is open.
    pub(crate) fn set_timeout(&mut self, id: ConnId, wait: Duration) {
        // Counted from now, not from the last look at the clock: never early.
        self.read_clock();
        let due = self.now.after(wait.max(INSTANT));
        if let Some(entry) = self.entry_mut(id)
            && entry.conn.is_served()
        {
            entry.conn.set_timeout(due);
            self.arm(id);
        }
    }

    /// Returns whether there was a timeout to cancel.
    pub(crate) fn cancel_timeout(&mut self, id: ConnId) -> bool {
        self.entry_mut(id).is_some_and(|entry| entry.conn.cancel_timeout())
    }

    /// Sets a connection's idle timeout, if it is open.
    pub(crate) fn set_idle_timeout(&mut self, id: ConnId, timeout: Option<Duration>) {
        if let Some(entry) = self.entry_mut(id)
            && entry.conn.phase() == Phase::Open
        {
            entry.conn.set_idle_timeout(timeout);
            self.arm(id);
        }
    }

    /// Sets a one-shot timer of the reactor.
    pub(crate) fn set_timer(&mut self, wait: Duration, tag: u64) -> TimerId {
        self.read_clock();
        let due = self.now.after(wait.max(INSTANT));
        self.timers.set(due, Duration::ZERO, tag, self.callback.service())
    }

    /// Sets a timer of the reactor that fires after each `period`.
    pub(crate) fn set_periodic_timer(&mut self, period: Duration, tag: u64) -> TimerId {
        let period = period.max(PERIOD_MIN);
        self.read_clock();
        self.timers.set(self.now.after(period), period, tag, self.callback.service())
    }

    /// Sees that a connection is looked at when its nearest deadline has come.
    pub(crate) fn arm(&mut self, id: ConnId) {
        if let Some(Entry { conn, ticket, .. }) = self.conns.get_mut(id) {
            let due = Due::By(conn.deadline(&self.limits));
            self.schedule.update(ticket, id.token(), false, due);
        }
    }

    /// Where slowness has a limit: a window of time may count again, now that reading does not rest,
    /// or that the connection is resumed or no longer held.
    #[inline]
    pub(crate) fn arm_paced(&mut self, id: ConnId) {
        if self.limits.paces {
            self.arm(id);
        }
    }

    // --- Acting ---------------------------------------------------------------------------------

    /// Acts on the deadlines that were due by `due_by`, until it comes to the timeout of a connection:
    /// that is for the handler, and then for [`update`](Self::update); or until as many `questions` were
    /// put to the kernel, and the rest is for the next turn.
    pub(crate) fn expire(&mut self, due_by: Stamp, questions: &mut usize) -> Option<ConnId> {
        while *questions > 0
            && let Some(token) = self.schedule.expire(due_by)
        {
            match token.target() {
                Target::Connection(slot) => {
                    let id = self.connection(token, slot).expect("a deadline names an entry");
                    if self.expire_connection(id, due_by, questions) {
                        return Some(id);
                    }
                }
                Target::Listener(slot) => {
                    self.listeners.expire(token, slot, &mut self.schedule);
                }
                Target::Datagrams(slot) => {
                    if let Some(id) = self.socket(token, slot) {
                        self.expire_socket(id);
                    }
                }
                // The reactor's own, for the end of shutdown: seen to by `check_leaving`.
                Target::Waker => self.ending.expire(),
            }
        }
        None
    }

    /// Returns whether its timeout has come.
    fn expire_connection(&mut self, id: ConnId, due_by: Stamp, questions: &mut usize) -> bool {
        let limits = &self.limits;
        let Some(Entry { conn, ticket, .. }) = self.conns.get_mut(id) else {
            return false;
        };
        let armed = ticket.take_deadline();
        // What another callback did to it may put it on the run queue: that is seen to after this.
        let has_a_turn = ticket.is_queued() || conn.flags.has(Flags::DIRTY);
        if has_a_turn
            && conn.deadline(limits) <= due_by
            && !conn.is_overdue(due_by, limits)
            && !conn.was_put_off_enough(due_by)
        {
            conn.put_off();
            self.schedule.postpone(id, armed);
            return false;
        }
        conn.end_put_off();
        // The timer first: it may send what keeps the connection from being idle.
        let rings = conn.take_timer(due_by);
        if rings {
            self.arm(id);
        } else {
            if self.ask_kernel(id, due_by, questions) {
                // What the peer had sent before comes first: it is looked at again after a read.
                self.update(id);
                self.arm(id);
                return false;
            }
            let (now, limits) = (self.now, &self.limits);
            let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
                return false;
            };
            if conn.has_no_answer(due_by) {
                let error = self.connects.no_answer(id, limits);
                self.fail_connect(id, error);
            } else {
                conn.expire(due_by, now, limits);
            }
            self.arm(id);
            self.update(id);
        }
        rings
    }

    /// Before a verdict: whatever its last word was, the kernel may take some of what is owed, or may
    /// have delivered some of what it took. Either is progress of the peer. Returns whether it was
    /// found that a write fails.
    fn ask_kernel(&mut self, id: ConnId, due_by: Stamp, questions: &mut usize) -> bool {
        let Some(Entry { conn, .. }) = self.conns.get_mut(id) else {
            return false;
        };
        let doubt = conn.doubt(due_by, &self.limits);
        if doubt != Doubt::Nothing {
            *questions -= 1;
        }
        match doubt {
            Doubt::Nothing => false,
            Doubt::Room => {
                conn.readiness.merge(Readiness::WRITABLE);
                self.flush(id);
                self.entry(id).is_some_and(|entry| entry.conn.has_failed())
            }
            Doubt::Undelivered => {
                self.ask_undelivered(id);
                false
            }
        }
    }

    /// Asks how much of what the kernel has taken the peer has not.
    pub(crate) fn ask_undelivered(&mut self, id: ConnId) {
        let (now, limits) = (self.now, &self.limits);
        if let Some(Entry { socket, conn, .. }) = self.conns.get_mut(id)
            && let Some(bytes) = socket.undelivered()
        {
            conn.handle_undelivered(bytes, now, limits);
        }
    }

    /// After the last of the batch: those that were postponed are looked at next turn.
    pub(crate) fn end_expire(&mut self) {
        while let Some((id, armed)) = self.schedule.next_postponed() {
            if let Some(Entry { ticket, .. }) = self.conns.get_mut(id) {
                self.schedule.update(ticket, id.token(), false, Due::By(armed));
            }
        }
    }

    /// Whether the handler may be called for a connection.
    pub(crate) fn is_served(&self, id: ConnId) -> bool {
        self.entry(id).is_some_and(|entry| entry.conn.is_served())
    }

    /// If shutdown has taken too long: ends it.
    #[inline]
    pub(crate) fn check_leaving(&mut self, due_by: Stamp) {
        if self.ending.is_late(due_by) {
            self.advance_shutdown(Shutdown::AskedNow);
        }
    }

    /// The next timer of the reactor that was due by `now`, and the service that it is of.
    pub(crate) fn next_timer(&mut self, now: Stamp) -> Option<(Timer, u8)> {
        self.timers.expire(now)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::base::config::Config;
    use crate::net::driver::Driver;

    /// Promise 1: what another callback of this turn did to a connection counts before its deadline, though
    /// it is seen to only at the end of the turn. Resumed, it first reads what came in time.
    #[test]
    fn one_that_was_resumed_in_this_turn_reads_before_its_deadline_counts() {
        let config = Config::default().idle(Some(Duration::from_millis(10)));
        let mut core = Core::new(&config, Driver::new().unwrap()).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let id = core.adopt(ours.into(), 0).unwrap();
        core.next_opening().unwrap();
        core.update_dirty();
        let conn = &mut core.entry_mut(id).unwrap().conn;
        conn.readiness.merge(Readiness::READABLE);
        conn.pause();
        core.update(id);
        let due = core.entry(id).unwrap().ticket.armed();
        core.entry_mut(id).unwrap().conn.resume();
        core.mark_dirty(id);

        core.expire(due, &mut 1);
        assert_eq!(core.entry(id).unwrap().conn.phase(), Phase::Open);
        assert!(!core.has_retiring(), "there was something to read");
        core.end_expire();
        core.update_dirty();
        assert!(core.next_runnable().is_some());
    }
}
