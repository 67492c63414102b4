//! What a connection waits for: read off its facts, for a person.
//!
//! The order of the questions is that in which the state machine asks them (`is_runnable`, `deadline`).

use super::{Connection, Phase};
use crate::base::config::Limits;
use crate::base::explain::{Explanation, Reads, Writes};
use crate::base::report::Stage;
use crate::conn::flags::Flags;
use crate::conn::input::Wait;
use crate::time::deadlines::Stamp;

impl Connection {
    /// `queued`: the bytes that its running callback has sent, too. One that is over is told as lingering.
    pub(crate) fn explain(
        &self,
        queued: usize,
        runnable: bool,
        now: Stamp,
        limits: &Limits,
    ) -> Explanation {
        let deadline = self.nearest(limits).filter(|(_, due)| *due != Stamp::NEVER);
        Explanation {
            stage: match self.phase {
                Phase::Connecting => Stage::Connecting,
                Phase::Open => Stage::Open,
                Phase::Draining => Stage::Draining,
                Phase::Lingering | Phase::Closed => Stage::Lingering,
            },
            reads: self.reads(limits),
            writes: self.writes(queued, limits),
            queued,
            unread: self.leftover.as_ref().map_or(0, |leftover| leftover.len()),
            held: self.flags.has(Flags::HELD),
            runnable: runnable || self.flags.has(Flags::DIRTY),
            deadline: deadline.map(|(limit, due)| (limit, now.until(due))),
        }
    }

    fn reads(&self, limits: &Limits) -> Reads {
        match self.phase {
            Phase::Connecting => return Reads::Connect,
            Phase::Draining | Phase::Lingering | Phase::Closed => return Reads::Discards,
            Phase::Open => {}
        }
        let has = |flags| self.flags.has(flags);
        if has(Flags::SHAKING) {
            Reads::Handshake
        } else if has(Flags::UNOPENED) {
            Reads::Opening
        } else if has(Flags::RETIRING) {
            Reads::Retiring
        } else if has(Flags::PAUSED) {
            Reads::Paused
        } else if has(Flags::RESTING) {
            Reads::Resting
        } else if has(Flags::FAILED) {
            Reads::Failed
        } else if has(Flags::OFFER) || self.wants_read() || self.wants_eof(limits) {
            Reads::Turn
        } else if has(Flags::EOF_TOLD) {
            Reads::Ended
        } else {
            match self.leftover.as_ref().map(|leftover| leftover.wait) {
                Some(Wait::Bytes(bytes)) => Reads::Bytes(bytes),
                Some(Wait::Line | Wait::Delimiter(_)) => Reads::Rest,
                Some(_) if self.leftover.as_ref().is_some_and(|it| it.len() > 0) => Reads::Rest,
                _ => Reads::Peer,
            }
        }
    }

    fn writes(&self, queued: usize, limits: &Limits) -> Writes {
        if self.phase == Phase::Connecting {
            return if self.owes() { Writes::Connect } else { Writes::Nothing };
        }
        if self.flags.has(Flags::SHAKING) && self.owes() {
            return Writes::Handshake;
        }
        if !self.output.is_empty() {
            let may = self.readiness.is_writable();
            return if may { Writes::Turn } else { Writes::Kernel };
        }
        if self.wants_pull(limits) || self.has_source() {
            return Writes::Source;
        }
        if queued > 0 || self.has_plain() {
            return Writes::Turn;
        }
        let ended = self.flags.has(Flags::FIN_SENT) || self.phase == Phase::Lingering;
        if ended { Writes::Ended } else { Writes::Nothing }
    }

    /// Of the moments that [`deadline`](Self::deadline) is the first of, that one, with the name of
    /// its limit.
    fn nearest(&self, limits: &Limits) -> Option<(&'static str, Stamp)> {
        let failed = self.flags.has(Flags::FAILED);
        let due: &[(&'static str, Stamp)] = match self.phase {
            Phase::Connecting => &[("connect", self.until())],
            Phase::Open if self.flags.has(Flags::RETIRING) => &[],
            Phase::Open if self.flags.has(Flags::SHAKING) => {
                &[("handshake", self.stalls_at(limits)), ("timeout", self.timer_at())]
            }
            Phase::Open if self.flags.has(Flags::UNOPENED) => {
                &[(if failed { "linger" } else { "write_stall" }, self.stalls_at(limits))]
            }
            Phase::Open => &[
                (if failed { "linger" } else { "write_stall" }, self.stalls_at(limits)),
                ("idle", self.idles_at(limits)),
                ("timeout", self.timer_at()),
                ("first_byte", self.first_byte_by(limits)),
                ("min_rate", self.paced_at(limits)),
            ],
            Phase::Draining => {
                &[("write_stall", self.stalls_at(limits)), ("close_max", self.until())]
            }
            Phase::Lingering => {
                &[("linger", self.lingers_until(limits)), ("close_max", self.until())]
            }
            Phase::Closed => &[],
        };
        due.iter().copied().min_by_key(|(_, due)| *due)
    }
}
