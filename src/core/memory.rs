//! What all connections hold together, and what happens when that is too much.
//!
//! One sum, brought up to date where a queue or a leftover changes, which the common path does not
//! come by. Above three quarters of `buffered_max` whoever owes more than `output_low` is not read
//! from; above all of it those who hold most are closed. Read next: `send.rs`, which queues.

use std::time::Duration;

use super::Core;
use crate::base::close::CloseReason;

/// At most one warning in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

impl Core {
    /// Looks at the sum after it changed.
    #[inline]
    pub(crate) fn check_memory(&mut self) {
        let limits = &mut self.limits;
        if self.buffered > limits.buffered_max {
            self.shed();
        } else if self.buffered > limits.buffered_max - limits.buffered_max / 4 {
            limits.rest_at = limits.output_low + 1;
        } else if self.buffered <= limits.buffered_max / 2 {
            limits.rest_at = limits.output_high;
        }
    }

    /// Closes those who hold most, until seven eighths are left: so that looking at everybody, which
    /// takes a while where there are many, is paid for by an eighth of all that may be held.
    #[cold]
    fn shed(&mut self) {
        let most = self.limits.buffered_max;
        let before = self.buffered;
        self.limits.rest_at = self.limits.output_low + 1;
        let held = |id| self.entry(id).map_or(0, |entry| entry.conn.held());
        let holders = self.connection_ids().into_iter().map(|id| (held(id), id));
        let mut holders: Vec<_> = holders.filter(|(held, _)| *held > 0).collect();
        holders.sort_unstable_by(|one, other| other.cmp(one));
        let mut closed = 0;
        for (_, id) in holders {
            if self.buffered <= most - most / 8 {
                break;
            }
            let Some(entry) = self.conns.get_mut(id.slot(), id.generation()) else { continue };
            entry.conn.cut(CloseReason::BufferedLimit);
            entry.conn.recount(&mut self.buffered);
            self.mark_dirty(id);
            closed += 1;
        }
        if self.now >= self.warn_from {
            self.warn_from = self.now.after(WARN_INTERVAL);
            log::warn!(
                "{before} bytes are buffered, buffered_max is {most}: closing the {closed} \
                 connections that hold most"
            );
        }
    }
}
