//! When a connection is late, with what, and what becomes of it then.
//!
//! Deadlines are reckoned from stamps that are kept anyway, whenever they are asked for: nothing is set
//! or moved for each packet. `core/expire.rs` sees that a connection is asked in time. Read next:
//! `conn/extras.rs`, what few connections have: a timer, for one.

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::base::readiness::Readiness;
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

/// What only the kernel knows, when a deadline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    Nothing,
    /// Whether it would take some of what is owed.
    Room,
    /// How much of what it has taken the peer has not.
    Undelivered,
}

impl Connection {
    /// Whether the deadline of its connect has come.
    pub(crate) fn has_no_answer(&self, due_by: Stamp) -> bool {
        self.phase == Phase::Connecting && self.until() <= due_by
    }

    /// When a byte was last read: while it is open.
    fn heard(&self) -> Stamp {
        self.heard_or_until
    }

    /// When a byte last moved; after close, when one was last taken.
    pub(super) fn moved(&self) -> Stamp {
        if self.phase == Phase::Open { self.heard().max(self.taken) } else { self.taken }
    }

    /// By when its connect, or its close, must be over: while it is not open.
    pub(super) fn until(&self) -> Stamp {
        debug_assert_ne!(self.phase, Phase::Open, "it has been heard from instead");
        self.heard_or_until
    }

    /// The connect goes on to another address, which has until then.
    pub(crate) fn handle_next_address(&mut self, until: Stamp) {
        self.heard_or_until = until;
        self.readiness = Readiness::EMPTY;
    }

    /// Acts on the deadlines that have come by `due_by`. What begins with that is counted from `now`:
    /// callbacks may lie between the two.
    pub(crate) fn expire(&mut self, due_by: Stamp, now: Stamp, limits: &Limits) {
        if self.deadline(limits) > due_by {
            return;
        }
        match self.phase {
            Phase::Open if self.ready_by() <= due_by => self.cut(CloseReason::Handshake),
            Phase::Open if self.stalls_at(limits) <= due_by => self.cut(CloseReason::WriteStall),
            Phase::Open if self.flags.has(Flags::UNTIMED) => {}
            Phase::Open if self.idles_at(limits) <= due_by => {
                self.retire(CloseReason::Idle, now, limits);
            }
            Phase::Open if self.first_byte_by(limits) <= due_by => {
                self.retire(CloseReason::FirstByte, now, limits);
            }
            Phase::Open if self.paced_at(limits) <= due_by => self.judge(due_by, now, limits),
            // To ask what has left is all that is due: `Core::update` does.
            Phase::Draining if self.is_leaving() && self.until() > due_by => {}
            // The reason stands since close; only how it went is added.
            Phase::Draining | Phase::Lingering => self.cut(CloseReason::Local),
            // Or a timer: not ours to act on. Whether a connect is over, its other addresses decide.
            Phase::Open | Phase::Connecting | Phase::Closed => {}
        }
    }

    /// What is to be asked of the kernel before a deadline that has come is acted on. It tells of room
    /// only when a third of its buffer is free, which may be megabytes; and what it has taken is not
    /// with the peer yet.
    pub(crate) fn doubt(&self, due_by: Stamp, limits: &Limits) -> Doubt {
        if self.deadline(limits) > due_by {
            return Doubt::Nothing;
        }
        match self.phase {
            Phase::Open | Phase::Draining if !self.output.is_empty() => Doubt::Room,
            Phase::Open if self.idles_at(limits) <= due_by => Doubt::Undelivered,
            Phase::Lingering if self.until() > due_by => Doubt::Undelivered,
            Phase::Connecting
            | Phase::Open
            | Phase::Draining
            | Phase::Lingering
            | Phase::Closed => Doubt::Nothing,
        }
    }

    /// The moment at which it ends by a deadline, or its timeout is due, if nothing moves until then.
    pub(crate) fn deadline(&self, limits: &Limits) -> Stamp {
        match self.phase {
            Phase::Connecting => self.until(),
            // It is closed in this very turn.
            Phase::Open if self.flags.has(Flags::RETIRING) => Stamp::NEVER,
            Phase::Open if self.flags.has(Flags::UNTIMED) => {
                self.stalls_at(limits).min(self.timer_at())
            }
            Phase::Open => {
                let given = self.stalls_at(limits).min(self.idles_at(limits)).min(self.timer_at());
                given.min(self.first_byte_by(limits)).min(self.paced_at(limits))
            }
            Phase::Draining => self.stalls_at(limits).min(self.until()).min(self.asks_at()),
            Phase::Lingering => self.lingers_until(limits).min(self.until()),
            Phase::Closed => Stamp::NEVER,
        }
    }

    /// Whether a deadline has come that no readiness still to be spent could undo: a peer that
    /// floods us, and so is always on the run queue, does not outlive its linger or its debt.
    pub(crate) fn is_overdue(&self, now: Stamp, limits: &Limits) -> bool {
        let stalled = self.stalls_at(limits) <= now && !self.readiness.is_writable();
        match self.phase {
            Phase::Open => stalled,
            Phase::Draining => stalled || self.until() <= now,
            Phase::Lingering => true,
            Phase::Connecting | Phase::Closed => false,
        }
    }

    /// Since when no byte has moved, if it owes nothing, is owed nothing and waits for nothing.
    pub(crate) fn idle_since(&self) -> Option<Stamp> {
        let busy = self.flags.has(Flags::DIRTY) || self.flags.has(Flags::HELD);
        let plain = self.is_plain() || self.is_quiet_layered();
        let idle = plain && !busy && self.leftover.is_none();
        idle.then(|| self.heard().max(self.taken))
    }

    /// Ends an idle one at once, without a reset and without a linger: nothing is on its way.
    pub(crate) fn reclaim(&mut self, reason: CloseReason) {
        self.flags.set(Flags::CUT);
        self.give_reason(reason);
        self.finish_off();
    }

    /// By when the peer must have said something.
    pub(super) fn first_byte_by(&self, limits: &Limits) -> Stamp {
        match self.first_byte(limits) {
            // Nothing was read, so this is when it was accepted.
            Some(timeout) if self.flags.has(Flags::SILENT) => self.heard().after(timeout),
            _ => Stamp::NEVER,
        }
    }

    /// By when the kernel must have taken some of what is owed; after a failure, by when the handler
    /// must have read on.
    pub(super) fn stalls_at(&self, limits: &Limits) -> Stamp {
        let is_broken = self.phase == Phase::Open && self.is_broken();
        if self.is_layered() && (is_broken || self.flags.has(Flags::SHAKING)) {
            self.layer_until(limits)
        } else if self.flags.has(Flags::FAILED) {
            self.heard().max(self.taken).after(limits.linger)
        } else {
            self.owes_until(limits)
        }
    }

    /// By when the kernel must have taken some of what is queued.
    pub(super) fn owes_until(&self, limits: &Limits) -> Stamp {
        if self.output.is_empty() { Stamp::NEVER } else { self.taken.after(limits.write_stall) }
    }
}
