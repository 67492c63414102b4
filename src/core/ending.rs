//! Shutdown: how far it has come, by when it must be over, and the account of it.
//!
//! The level never goes back, so asking again changes nothing. `leave_by` is the reactor's own
//! deadline: its entry in the schedule, under the waker's token, only keeps the poll from waiting
//! longer. The report is begun once, and told once, at the end. When all that comes is decided in
//! `reactor/shutdown.rs`; how one connection leaves, in `conn.rs` (`may_leave`). Read next:
//! `base/report.rs`.

use super::schedule::{Due, Schedule, Ticket};
use super::{Core, Entry, TARGET};
use crate::base::close::CloseReason;
use crate::base::id::Token;
use crate::base::report::{Cut, ServiceReport, ShutdownReport, Stage};
use crate::conn::Phase;
use crate::time::deadlines::Stamp;

/// How far shutdown has come. A level, which never goes back: asking again changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shutdown {
    #[default]
    No,
    /// Asked for; begins in the next turn.
    Asked,
    /// Begun: connections leave as they are done.
    Begun,
    /// Asked to end at once.
    AskedNow,
    /// Every connection is cut.
    Ending,
}

/// The shutdown of a reactor.
#[derive(Debug)]
pub(crate) struct Ending {
    level: Shutdown,
    /// When it has taken too long; `NEVER`: it has not begun.
    leave_by: Stamp,
    /// Of the entry for `leave_by`.
    ticket: Ticket,
    /// When it began; `NEVER`: it has not.
    since: Stamp,
    /// Which connections were cut at the end, so far; to be told when it is over.
    report: ShutdownReport,
}

impl Ending {
    pub(super) fn new() -> Self {
        Ending {
            level: Shutdown::No,
            leave_by: Stamp::NEVER,
            ticket: Ticket::new(),
            since: Stamp::NEVER,
            report: ShutdownReport::default(),
        }
    }

    #[inline]
    pub(crate) fn level(&self) -> Shutdown {
        self.level
    }

    /// Whether it was asked for, or is under way.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.level != Shutdown::No
    }

    fn advance(&mut self, level: Shutdown) {
        self.level = self.level.max(level);
    }

    /// It has until then.
    fn bound(&mut self, leave_by: Stamp, schedule: &mut Schedule) {
        schedule.update(&mut self.ticket, Token::WAKER, false, Due::At(leave_by));
        self.leave_by = leave_by;
    }

    /// Its entry has come up.
    pub(super) fn expire(&mut self) {
        self.ticket.take_deadline();
    }

    /// Whether it has taken too long.
    #[inline]
    pub(super) fn is_late(&self, due_by: Stamp) -> bool {
        self.leave_by <= due_by
    }

    /// Counts the connections that are there: `done` until it turns out otherwise. Begun once.
    fn begin_report(&mut self, present: usize, services: Vec<ServiceReport>, now: Stamp) {
        if self.since == Stamp::NEVER {
            self.since = now;
            self.report.done = present as u64;
            self.report.services = services;
        }
    }

    /// A connection is another service's now: in a shutdown, it is counted there.
    pub(super) fn move_between(&mut self, from: u8, to: u8) {
        if self.since != Stamp::NEVER {
            self.report.move_between(from, to);
        }
    }

    fn end_report(&mut self, now: Stamp) -> &ShutdownReport {
        self.report.took = self.since.until(now);
        &self.report
    }

    pub(crate) fn report(&self) -> &ShutdownReport {
        &self.report
    }
}

impl Core {
    /// Every connection is given one more read, and leaves when it is done. From here on the
    /// reactor has a deadline of its own.
    pub(crate) fn begin_leaving(&mut self) {
        self.bound_leaving();
        self.begin_report();
        for id in self.connection_ids() {
            if let Some(entry) = self.entry_mut(id) {
                entry.conn.handle_shutdown();
                self.mark_dirty(id);
            }
        }
        for id in self.socket_ids() {
            if let Some(socket) = self.datagrams.get_mut(id) {
                socket.handle_shutdown();
                self.update_socket(id);
            }
        }
    }

    /// `shutdown_max` is counted from now.
    pub(crate) fn bound_leaving(&mut self) {
        let leave_by = self.now.after(self.limits.shutdown_max);
        self.ending.bound(leave_by, &mut self.schedule);
    }

    /// Shutdown has come this far, or further: what a callback asked for meanwhile stands.
    pub(crate) fn advance_shutdown(&mut self, level: Shutdown) {
        self.ending.advance(level);
    }

    pub(crate) fn begin_report(&mut self) {
        self.ending.begin_report(self.conns.len(), self.services.report(), self.now);
    }

    /// Ends every connection at once, and notes what it was owed; closes the datagram sockets.
    pub(crate) fn cut_all(&mut self) {
        self.close_all_sockets();
        for id in self.connection_ids() {
            let Some(Entry { conn, peer, .. }) = self.conns.get_mut(id) else {
                continue;
            };
            let stage = match conn.phase() {
                Phase::Connecting => Stage::Connecting,
                Phase::Open => Stage::Open,
                Phase::Draining => Stage::Draining,
                Phase::Lingering => Stage::Lingering,
                // It only waits for its `on_close`.
                Phase::Closed => continue,
            };
            conn.cut(CloseReason::Shutdown);
            let (unsent, unfinished) = (conn.unsent(), conn.is_unfinished());
            let service = conn.service;
            let cut = || Cut { id, peer: peer.address(), unsent, unfinished, stage, service };
            self.ending.report.add(cut, service, unsent);
            self.mark_dirty(id);
        }
    }

    /// The end, in the log: the report in one line.
    pub(crate) fn end_report(&mut self, what: &str) {
        self.read_clock();
        let report = self.ending.end_report(self.now);
        let level = if report.cut == 0 { log::Level::Info } else { log::Level::Warn };
        log::log!(target: TARGET, level, "{what}: {report}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 8: what a callback asked for stands, whatever is reached after it.
    #[test]
    fn the_level_never_goes_back_and_the_report_begins_once() {
        let mut ending = Ending::new();
        assert!(!ending.is_asked() && !ending.is_late(Stamp::at(u64::MAX - 1)));
        ending.advance(Shutdown::AskedNow);
        ending.advance(Shutdown::Begun);
        assert_eq!((ending.level(), ending.is_asked()), (Shutdown::AskedNow, true));
        ending.begin_report(3, Vec::new(), Stamp::at(10));
        ending.begin_report(1, Vec::new(), Stamp::at(20));
        let report = ending.end_report(Stamp::at(30));
        assert_eq!((report.done, report.took.as_nanos()), (3, 20));
    }

    /// Promise 8: the time of shutdown is counted anew when `on_shutdown` has returned, and one entry keeps
    /// the poll from waiting longer.
    #[test]
    fn shutdown_has_one_deadline_which_moves() {
        let (mut ending, mut schedule) = (Ending::new(), Schedule::default());
        for leave_by in [10, 20].map(Stamp::at) {
            ending.bound(leave_by, &mut schedule);
            assert_eq!(schedule.next_deadline(), leave_by);
        }
        assert!(!ending.is_late(Stamp::at(19)) && ending.is_late(Stamp::at(20)));
        assert_eq!(schedule.expire(Stamp::at(20)), Some(Token::WAKER));
        ending.expire();
        assert_eq!(schedule.next_deadline(), Stamp::NEVER);
        ending.bound(Stamp::at(30), &mut schedule);
        assert_eq!(schedule.next_deadline(), Stamp::at(30));
    }
}
