//! Sources: what follows the queue that is not in memory.
//!
//! A source is read when the kernel has room and what is queued before it is at or below low, in the turn
//! of its connection, and never inside another callback: what is read is user code. Until its end, output
//! counts as above high, however little of it is queued. Whatever ends a connection's output drops the
//! sources with it. Read next: `core/pull.rs`.

use std::io;

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::base::source::{Pulled, Source};
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

impl Connection {
    pub(crate) fn push_source(&mut self, source: Source) {
        self.queue_mut().push_source(source);
        self.flags.set(Flags::SOURCE);
    }

    /// Whether what is sent now is neither ignored nor goes behind a source: the common path's question.
    #[inline]
    pub(crate) fn takes_sends_in_order(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
            && !self.flags.has(Flags::NOT_IN_ORDER)
    }

    /// Whether a piece of its first source is to be read now.
    pub(crate) fn wants_pull(&self, limits: &Limits) -> bool {
        self.has_source()
            && matches!(self.phase, Phase::Open | Phase::Draining)
            && self.readiness.is_writable()
            && self.queue().front_len() <= limits.output_low
            && (self.output.is_empty() || self.queued() < limits.output_max)
            && (!self.is_layered() || self.may_pull(limits))
    }

    /// The most bytes of that piece.
    pub(crate) fn piece(&self, limits: &Limits) -> usize {
        limits.rest_at.min(limits.output_max.saturating_sub(self.queued())).max(1)
    }

    /// Whether a source of it has not come to its end.
    pub(crate) fn has_source(&self) -> bool {
        self.flags.has(Flags::SOURCE)
    }

    /// Whether anything is left to be written, now or when it was read from a source.
    pub(crate) fn owes(&self) -> bool {
        !self.output.is_empty() || self.has_source() || self.has_plain()
    }

    /// Bytes queued, as the watermarks see them.
    pub(crate) fn level(&self) -> usize {
        if self.has_source() { usize::MAX } else { self.queued() }
    }

    /// What is still to be kept free of `output_max` for the next piece of a source: an eighth in all.
    /// What is sent behind it may not leave it so little room that it goes out byte by byte.
    pub(crate) fn reserve(&self, limits: &Limits) -> usize {
        if !self.has_source() {
            return 0;
        }
        (limits.output_max / 8).max(1).saturating_sub(self.queue().front_len())
    }

    /// Queues what the first source brought, and acts on its end.
    pub(crate) fn handle_pulled(
        &mut self,
        bytes: &[u8],
        pulled: Pulled,
        now: Stamp,
        limits: &Limits,
    ) {
        if self.output.is_empty() && !bytes.is_empty() {
            self.handle_owed(now);
            if limits.paces {
                self.owe_output(now);
            }
        }
        self.queue_mut().append(bytes);
        match pulled {
            Pulled::More(source) => self.queue_mut().put_source(source),
            Pulled::End => {
                self.queue_mut().end_source();
                if !self.queue().has_source() {
                    self.flags.clear(Flags::SOURCE);
                }
            }
            Pulled::Failed(error) => self.fail_source(error, now, limits),
        }
    }

    /// A source has failed: what was queued before goes out, and then a reset, since the rest would have
    /// to follow. If it is closing already, that reason stays.
    fn fail_source(&mut self, error: io::Error, now: Stamp, limits: &Limits) {
        let lost = self.queue_mut().drop_sources();
        self.note_unfinished();
        self.lose(lost);
        self.end(CloseReason::Source(error), now, limits);
        if self.phase == Phase::Draining {
            self.flags.set(Flags::RESETTING);
        }
    }

    /// Whether a source of it was dropped before its end.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.flags.has(Flags::UNFINISHED)
    }

    pub(super) fn drop_output(&mut self) {
        self.note_unfinished();
        let lost = self.drop_queued();
        self.lose(lost);
    }

    /// Its output is dropped, or the part of it from a source on.
    pub(super) fn note_unfinished(&mut self) {
        if self.has_source() {
            self.flags.clear(Flags::SOURCE);
            self.flags.set(Flags::UNFINISHED);
            self.flags.set(Flags::CUT);
        }
    }
}
