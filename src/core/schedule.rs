//! When each connection, listener and datagram socket is looked at again: now, or at a deadline.
//!
//! Two invariants of `ARCHITECTURE.md` are kept here, by [`Schedule::update`] alone: what is
//! runnable is on the run queue, and only once (1); every owner has at most one entry among the
//! deadlines, never later than its true deadline (3). Where an owner stands is on its [`Ticket`], which
//! lies beside it, so that nothing is searched. A token that comes out of here is told to its
//! ticket: by [`take_turn`](Ticket::take_turn) if it was on the run queue, by
//! [`take_deadline`](Ticket::take_deadline) if it was due. Whether an owner is runnable, and when it
//! is late, is not decided here. Read next: `time/deadlines.rs`.

use std::collections::VecDeque;

use crate::base::id::{ConnId, Token};
use crate::time::deadlines::{Deadlines, Stamp};

/// Where an owner stands: whether it is on the run queue, and the moment of its entry among the deadlines.
///
/// Both in one word, since each connection has one: the highest bit, and a moment below it.
#[derive(Debug)]
pub(crate) struct Ticket(u64);

/// On the run queue.
const QUEUED: u64 = 1 << 63;
/// No entry among the deadlines.
const NONE: u64 = QUEUED - 1;
/// The latest moment an entry can have, 292 years after the start: a later deadline is only looked at then.
const LATEST: u64 = NONE - 1;

impl Ticket {
    /// Of an owner that is nowhere yet.
    pub(crate) fn new() -> Self {
        Ticket(NONE)
    }

    #[inline]
    pub(crate) fn is_queued(&self) -> bool {
        self.0 & QUEUED != 0
    }

    /// The moment of its entry among the deadlines; `NEVER`: it has none.
    #[inline]
    pub(crate) fn armed(&self) -> Stamp {
        match self.0 & !QUEUED {
            NONE => Stamp::NEVER,
            armed => Stamp::at(armed),
        }
    }

    fn set_armed(&mut self, moment: Stamp) {
        let bits = if moment == Stamp::NEVER { NONE } else { moment.nanoseconds() };
        self.0 = self.0 & QUEUED | bits;
    }

    /// Its turn begins: it was taken off the run queue.
    #[inline]
    pub(crate) fn take_turn(&mut self) {
        self.0 &= !QUEUED;
    }

    /// Its entry came up and is gone. Returns the moment of it.
    pub(crate) fn take_deadline(&mut self) -> Stamp {
        let armed = self.armed();
        self.set_armed(Stamp::NEVER);
        armed
    }
}

/// What becomes of an owner's entry among the deadlines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// It stays.
    Unchanged,
    /// It is moved there if that is nearer. A true deadline that has become later costs nothing: the
    /// entry comes up early, and is put in again.
    By(Stamp),
    /// It is moved there; `NEVER`: taken out.
    At(Stamp),
}

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// The runnable, in order, each once; and tokens of owners that have gone.
    run: VecDeque<Token>,
    deadlines: Deadlines,
    /// Connections whose deadline waits until they were served, with the moment their entry had.
    postponed: Vec<(ConnId, Stamp)>,
}

impl Schedule {
    /// After anything happened to an owner: sees that it is found again. The only place that puts
    /// anything on the run queue, and that moves a deadline.
    #[inline]
    pub(super) fn update(&mut self, ticket: &mut Ticket, token: Token, runnable: bool, due: Due) {
        if runnable && !ticket.is_queued() {
            ticket.0 |= QUEUED;
            self.run.push_back(token);
        }
        match due {
            Due::Unchanged => {}
            Due::By(due) if due >= ticket.armed() => {}
            Due::By(due) | Due::At(due) => self.move_entry(ticket, token, due),
        }
    }

    fn move_entry(&mut self, ticket: &mut Ticket, token: Token, due: Stamp) {
        let due = if due == Stamp::NEVER { due } else { due.min(Stamp::at(LATEST)) };
        self.deadlines.set(token, ticket.armed(), due);
        ticket.set_armed(due);
    }

    /// An owner goes: it has no deadline any more. If it is on the run queue, its token is stale there.
    pub(super) fn forget(&mut self, ticket: &mut Ticket, token: Token) {
        self.update(ticket, token, false, Due::At(Stamp::NEVER));
    }

    /// Takes the first of the run queue.
    #[inline]
    pub(super) fn next_runnable(&mut self) -> Option<Token> {
        self.run.pop_front()
    }

    #[inline]
    pub(super) fn run_len(&self) -> usize {
        self.run.len()
    }

    /// The earliest moment at which an owner is to be looked at.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Stamp {
        self.deadlines.next()
    }

    /// Takes out the earliest entry that is due by `due_by`.
    pub(super) fn expire(&mut self, due_by: Stamp) -> Option<Token> {
        self.deadlines.expire(due_by)
    }

    /// The entry of a connection, which was at `armed` and has come up, is put back after this batch.
    pub(super) fn postpone(&mut self, id: ConnId, armed: Stamp) {
        self.postponed.push((id, armed));
    }

    pub(super) fn next_postponed(&mut self) -> Option<(ConnId, Stamp)> {
        self.postponed.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token(7);

    /// Invariant 1: an owner that is runnable is on the run queue, and only once.
    #[test]
    fn an_owner_is_queued_once_until_its_turn() {
        let (mut schedule, mut ticket) = (Schedule::default(), Ticket::new());
        schedule.update(&mut ticket, TOKEN, false, Due::Unchanged);
        assert_eq!((schedule.run_len(), ticket.is_queued()), (0, false));
        for _ in 0..3 {
            schedule.update(&mut ticket, TOKEN, true, Due::By(Stamp::at(5)));
            schedule.update(&mut ticket, TOKEN, false, Due::Unchanged);
        }
        assert_eq!((schedule.run_len(), ticket.is_queued()), (1, true));
        assert_eq!(schedule.next_runnable(), Some(TOKEN));
        ticket.take_turn();
        assert_eq!((schedule.run_len(), ticket.armed()), (0, Stamp::at(5)));
        schedule.update(&mut ticket, TOKEN, true, Due::Unchanged);
        assert_eq!(schedule.run_len(), 1, "and again after it");
    }

    /// Invariant 3: one entry an owner, never later than its true deadline.
    #[test]
    fn an_entry_moves_nearer_by_itself_and_later_only_when_told() {
        let (mut schedule, mut ticket) = (Schedule::default(), Ticket::new());
        for (due, armed) in [
            (Due::By(Stamp::at(20)), Stamp::at(20)),
            (Due::By(Stamp::at(30)), Stamp::at(20)),
            (Due::By(Stamp::NEVER), Stamp::at(20)),
            (Due::By(Stamp::at(10)), Stamp::at(10)),
            (Due::Unchanged, Stamp::at(10)),
            (Due::At(Stamp::at(40)), Stamp::at(40)),
            (Due::At(Stamp::NEVER), Stamp::NEVER),
        ] {
            schedule.update(&mut ticket, TOKEN, true, due);
            assert_eq!((ticket.armed(), ticket.is_queued()), (armed, true), "{due:?}");
            assert_eq!(schedule.next_deadline(), armed, "one entry, and it is there: {due:?}");
        }
        schedule.update(&mut ticket, TOKEN, false, Due::By(Stamp::at(50)));
        assert_eq!(schedule.expire(Stamp::at(49)), None);
        assert_eq!(schedule.expire(Stamp::at(50)), Some(TOKEN));
        assert_eq!((ticket.take_deadline(), ticket.armed()), (Stamp::at(50), Stamp::NEVER));
        assert!(ticket.is_queued(), "a deadline is no turn");
    }

    /// Promise 4: a deadline that a ticket cannot hold is looked at early, never missed, and nothing
    /// of it is left behind.
    #[test]
    fn a_deadline_beyond_the_ticket_comes_up_early() {
        let (mut schedule, mut ticket) = (Schedule::default(), Ticket::new());
        let far = Stamp::at(u64::MAX - 1);
        schedule.update(&mut ticket, TOKEN, true, Due::By(far));
        assert!(ticket.armed() < far && ticket.armed() != Stamp::NEVER && ticket.is_queued());
        assert_eq!(schedule.next_deadline(), ticket.armed());
        schedule.update(&mut ticket, TOKEN, true, Due::By(far));
        schedule.forget(&mut ticket, TOKEN);
        assert_eq!((schedule.next_deadline(), ticket.armed()), (Stamp::NEVER, Stamp::NEVER));
    }
}
