//! What a connection wants: the questions that the run queue and the callbacks ask.
//!
//! Nothing changes here: `conn.rs` has the transitions. While a connection
//! [is runnable](Connection::is_runnable) the poll does not wait, so each reason for that must be one
//! which the connection's next turn takes away. Read next: `core/schedule.rs`, which asks.

use super::{Connection, Phase};
use crate::base::config::Limits;
use crate::base::readiness::Readiness;
use crate::conn::flags::Flags;

impl Connection {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is open and reading, and owes nothing: then all that can happen to it
    /// is input. The common path's one question.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has(Flags::SLOW) && self.output.is_empty()
    }

    /// Whether what is sent now would be queued or written.
    #[inline]
    pub(crate) fn takes_sends(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
            && !self.flags.has(Flags::NOTHING_MORE_TO_SEND)
            && !self.is_broken()
    }

    /// Whether what is sent now may go to the kernel: it has room, and nothing is queued before.
    #[inline]
    pub(crate) fn may_write(&self) -> bool {
        self.output.is_empty() && self.readiness.is_writable() && self.phase != Phase::Connecting
    }

    /// Whether input is to be read and offered.
    #[inline]
    pub(crate) fn is_reading(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has(Flags::NOT_READING)
    }

    pub(crate) fn wants_drain(&self, limits: &Limits) -> bool {
        self.phase == Phase::Open
            && self.flags.has(Flags::DRAIN_OWED)
            && !self.flags.has(Flags::UNOPENED)
            && self.level() <= limits.output_low
    }

    /// Whether something is left that the last call did not wait to see more of.
    pub(super) fn has_left(&self) -> bool {
        self.leftover.as_ref().is_some_and(|left| left.is_ready())
    }

    /// Whether what is left is offered again when output comes down to low: the handler may have had
    /// no room for the answers.
    pub(super) fn comes_again(&self, limits: &Limits) -> bool {
        self.level() > limits.output_low && self.has_left()
    }

    /// Whether the input of the callback that runs is not to hand out messages now.
    pub(crate) fn is_resting(&self) -> bool {
        if self.flags.has(Flags::FOR_ANOTHER) || self.has_upgrade() {
            // What is left is for another, for its layer, or for the service that it is handed to.
            return true;
        }
        self.phase == Phase::Open && self.flags.has(Flags::RESTING)
    }

    pub(crate) fn wants_eof(&self, limits: &Limits) -> bool {
        self.is_reading()
            && self.is_input_over()
            && !self.flags.has(Flags::EOF_TOLD)
            && !self.comes_again(limits)
            && self.has_received_all()
    }

    /// Not before it is connected, whatever an event says (trap 44).
    pub(crate) fn wants_flush(&self) -> bool {
        !self.output.is_empty()
            && self.readiness.is_writable()
            && !matches!(self.phase, Phase::Connecting | Phase::Closed)
    }

    /// Whether our FIN is due: wished for, not sent, and nothing queued before it.
    pub(super) fn is_fin_due(&self) -> bool {
        let wished = match self.phase {
            Phase::Open => self.flags.has(Flags::FINISHING),
            Phase::Draining => !self.flags.has(Flags::RESETTING),
            Phase::Connecting | Phase::Lingering | Phase::Closed => false,
        };
        if self.owes() {
            return false;
        }
        wished
            && !(self.phase == Phase::Open && self.flags.has(Flags::FIN_SENT))
            && !self.flags.has(Flags::FAILED)
    }

    /// Whether a read may bring something. After the peer's end only an error can come.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        self.readiness.is_readable()
            && (!self.flags.has(Flags::PEER_ENDED) || self.readiness.is_error())
    }

    /// Whether it has readiness that it wants, or a callback that is due: then it belongs on the
    /// run queue, and while that is not empty the poll does not wait (promise 1).
    #[inline]
    pub(crate) fn is_runnable(&self, limits: &Limits) -> bool {
        if self.is_plain() {
            self.readiness.is_readable()
        } else {
            self.is_runnable_otherwise(limits)
        }
    }

    #[cold]
    fn is_runnable_otherwise(&self, limits: &Limits) -> bool {
        if self.is_layered() {
            return self.is_runnable_layered(limits);
        }
        let readable = self.wants_read();
        match self.phase {
            // Any event: whether it is connected, the socket tells.
            Phase::Connecting => self.readiness != Readiness::EMPTY,
            Phase::Open => {
                (self.is_reading() && (readable || self.flags.has(Flags::OFFER)))
                    || self.wants_flush()
                    || self.wants_pull(limits)
                    || self.wants_eof(limits)
                    || self.wants_drain(limits)
                    || self.wants_look()
            }
            Phase::Draining => readable || self.wants_flush() || self.wants_pull(limits),
            Phase::Lingering => readable,
            Phase::Closed => false,
        }
    }

    /// Whether shutdown may close it: all that the peer had sent was offered, and nothing is owed
    /// but what a close still flushes.
    pub(crate) fn may_leave(&self, limits: &Limits) -> bool {
        self.is_reading()
            && !self.comes_again(limits)
            // Behind the end of its layer nothing is read.
            && (self.flags.has(Flags::EXHAUSTED) || self.is_input_over())
            && !self.flags.has(Flags::HELD)
            && !self.flags.has(Flags::OFFER)
            && !self.flags.has(Flags::DRAIN)
            && !self.flags.has(Flags::HIGH)
            && !self.flags.has(Flags::FAILED)
            && !self.wants_eof(limits)
            && self.has_received_all()
    }
}
