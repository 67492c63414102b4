//! Retiring: the library has decided to close a connection in order, and the handler has the last word.
//!
//! It is still open, is not read from, and is closed in the effects of the same turn, after
//! `on_closing` (`Core::next_retiring`). One that could not say anything any more is ended at once.
//! Read next: `core/expire.rs`, where most of these decisions fall.

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

impl Connection {
    /// An end that the library decides on: the handler has the last word before it, where it is served
    /// and that word would go out.
    pub(crate) fn retire(&mut self, reason: CloseReason, now: Stamp, limits: &Limits) {
        let sends = !self.flags.has(Flags::NOTHING_MORE_TO_SEND) && !self.is_broken();
        if !self.is_served() || !sends {
            self.note_late(&reason);
            return self.end(reason, now, limits);
        }
        self.extras().reason.get_or_insert(reason);
        self.flags.set(Flags::RETIRING);
    }

    /// For what it is to be closed, if `on_closing` is still to be called. Not again.
    pub(crate) fn take_retiring(&mut self, limits: &Limits) -> Option<CloseReason> {
        let retiring = self.phase == Phase::Open && self.flags.has(Flags::RETIRING);
        self.flags.clear(Flags::RETIRING);
        if !retiring {
            return None;
        }
        let reason = self.reason().and_then(CloseReason::of_retiring)?;
        if matches!(reason, CloseReason::Shutdown) && self.takes_sends() && !self.may_leave(limits)
        {
            // A callback has paused or held it meanwhile, or asked for a drain: shutdown waits on.
            self.take_reason();
            return None;
        }
        self.note_late(&reason);
        Some(reason)
    }

    /// Why it ends: the first cause stays. A decision of the library that was not carried out yet is
    /// none: what a callback or the kernel does before the last word comes first.
    pub(super) fn give_reason(&mut self, reason: CloseReason) {
        if self.flags.has(Flags::RETIRING) {
            self.flags.clear(Flags::RETIRING);
            // That its layer has failed was no decision.
            if self.reason().is_some_and(|reason| reason.of_retiring().is_some()) {
                self.take_reason();
            }
        }
        self.extras().reason.get_or_insert(reason);
    }

    /// A deadline makes an end that is not clean.
    fn note_late(&mut self, reason: &CloseReason) {
        if matches!(
            reason,
            CloseReason::FirstByte
                | CloseReason::Idle
                | CloseReason::TooSlow
                | CloseReason::Truncated
        ) {
            self.flags.set(Flags::CUT);
        }
    }
}
