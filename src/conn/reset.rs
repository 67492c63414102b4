//! A reset behind the last byte: `close_reset`.
//!
//! As a close it flushes, reads and discards; but where that sends our FIN, this waits until the
//! peer's kernel has acknowledged all that ours took, which a reset would destroy otherwise. No edge
//! tells of it, so the socket is asked, again and again with longer waits between. Read next:
//! `core/expire.rs`, which has the deadlines of every close.

use std::time::Duration;

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

/// The first wait between two questions after something has left. Each is twice as long as the one
/// before, up to this and beyond that to an eighth of the time in which nothing has left: a peer that
/// reads nothing for a week is asked after a hundred times, not six million.
const WAIT: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What has not left, and when to ask again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Bytes that were not acknowledged when last asked.
    held: usize,
    /// When they were last found to be fewer.
    fell: Stamp,
    /// When to ask again, and how long to wait then.
    ask: Stamp,
    wait: Duration,
}

impl Connection {
    /// `close_reset`: a close with a reset in the place of our FIN. Not clean, therefore.
    pub(crate) fn close_reset(&mut self, now: Stamp, limits: &Limits) {
        self.close(now, limits);
        if self.phase == Phase::Draining {
            self.flags.set(Flags::RESETTING);
            self.flags.set(Flags::CUT);
        }
    }

    /// Whether its peer waits for more than the kernel has been given: output is queued, more was to
    /// follow in `on_drain`, it waits for an answer from elsewhere, was to go on elsewhere, or was to be
    /// reset anyway.
    pub(crate) fn is_owed_more(&self) -> bool {
        let waits = self.phase == Phase::Open
            && (self.flags.has(Flags::DRAIN) || self.flags.has(Flags::HELD));
        let is_reset = self.flags.has(Flags::RESET) || self.flags.has(Flags::RESETTING);
        let is_lost = self.flags.has(Flags::DETACHED);
        waits || is_reset || is_lost || self.owes()
    }

    /// Whether all is flushed, and a reset is to follow when it has left.
    pub(super) fn is_leaving(&self) -> bool {
        self.phase == Phase::Draining && self.flags.has(Flags::RESETTING) && !self.owes()
    }

    /// When its socket is to be asked what has not left.
    pub(super) fn asks_at(&self) -> Stamp {
        let asks = self
            .extras
            .as_ref()
            .and_then(|extras| extras.leaving)
            .map_or(Stamp::default(), |it| it.ask);
        if self.is_leaving() { asks } else { Stamp::NEVER }
    }

    /// Whether its socket is to be asked now.
    pub(crate) fn asks_what_left(&self, now: Stamp) -> bool {
        self.is_leaving() && self.asks_at() <= now
    }

    /// What has not left is so much; `None`: the kernel does not say. Then it has `linger`.
    #[cold]
    pub(crate) fn handle_unacknowledged(
        &mut self,
        held: Option<usize>,
        now: Stamp,
        limits: &Limits,
    ) {
        let first = Leaving { held: usize::MAX, fell: now, ask: now, wait: WAIT };
        let leaving = self.extras().leaving.get_or_insert(first);
        let most = if held.is_some() { limits.write_stall } else { limits.linger };
        if let Some(held) = held
            && held < leaving.held
        {
            (leaving.held, leaving.fell, leaving.wait) = (held, now, WAIT);
        }
        let over = held == Some(0) || leaving.fell.after(most) <= now;
        leaving.ask = now.after(leaving.wait);
        let still = leaving.fell.until(now) / 8;
        leaving.wait = (leaving.wait * 2).min(WAIT_MAX.max(still));
        if over {
            self.cut(CloseReason::Local);
        }
    }
}
