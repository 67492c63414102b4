//! Who is too slow: what came and went in the last windows of `min_rate`.
//!
//! Where a window begins is the library's to say. But of each verdict the last `window` lies in the
//! one that was judged, whole; and of each span of four windows, one that was judged lies in it. So
//! both errors show: a connection that is fast enough and is cut, and one that trickles and goes
//! on. Of connections with a layer it says nothing, since their bytes are another's; nor where
//! callbacks work, since then a time is not one moment. Read next: `close_check.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Ledger, Oracle};
use crate::base::config::Limits;
use crate::kernel::link::{HERE, THERE};
use crate::kernel::{Place, nanos};

/// So many windows of history are kept.
const KEPT: u32 = 8;
/// In so many windows one lies whole that was judged, however late the one before was.
const JUDGED: u32 = 4;

/// What one connection has moved, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When something had moved by the end of a turn, and how much had been read and taken in all.
    turns: VecDeque<(u64, u64, u64)>,
    /// When its input was last not to be judged, since it was paused or held; and when it perhaps
    /// was not, since it may have rested.
    stood_at: Option<u64>,
    rested_at: Option<u64>,
    /// When the request began of which a part is left.
    begun: u64,
}

impl Pace {
    /// Now its input is not to be judged.
    pub(super) fn stands(&mut self, now: u64) {
        self.stood_at = Some(now);
    }

    /// Now it may rest.
    pub(super) fn may_rest(&mut self, now: u64) {
        self.rested_at = Some(now);
    }

    /// What is left of it now is the beginning of another request.
    pub(super) fn begins(&mut self, now: u64) {
        self.begun = now;
    }

    pub(super) fn note(&mut self, now: u64, (read, taken): (u64, u64), window: Duration) {
        if self.turns.back().is_some_and(|last| (last.1, last.2) == (read, taken)) {
            return;
        }
        self.turns.push_back((now, read, taken));
        let old = now.saturating_sub(nanos(KEPT * window));
        while self.turns.get(1).is_some_and(|second| second.0 <= old) {
            self.turns.pop_front();
        }
    }

    /// Whether it was ever paused or held, before anything was decided.
    pub(super) fn has_stood(&self) -> bool {
        self.stood_at.is_some()
    }

    /// What had been read and taken by then.
    fn by(&self, then: u64) -> (u64, u64) {
        let last = self.turns.iter().rev().find(|turn| turn.0 <= then);
        last.map_or((0, 0), |turn| (turn.1, turn.2))
    }

    fn stood_since(&self, then: u64) -> bool {
        self.stood_at.is_some_and(|at| at > then)
    }

    fn may_have_stood_since(&self, then: u64) -> bool {
        self.stood_since(then) || self.rested_at.is_some_and(|at| at > then)
    }
}

impl Ledger {
    /// After a turn.
    pub(super) fn note_pace(
        &mut self,
        now: u64,
        counts: (u64, u64),
        (open, level): (bool, usize),
        limits: &Limits,
    ) {
        let Some((_, window)) = limits.min_rate else { return };
        if self.left.is_some_and(|left| left < now) {
            return;
        }
        self.pace.note(now, counts, window);
        if open && (self.paused || self.held) {
            self.pace.stands(now);
        }
        if level > limits.output_low {
            self.pace.may_rest(now);
        }
    }

    /// Whether a verdict of [`TooSlow`](crate::base::close::CloseReason::TooSlow) that was made at
    /// `left` may be true: too little was taken of what is owed, or too little came of a request.
    pub(super) fn may_be_too_slow(
        &self,
        place: &Place,
        owes: bool,
        (least, window): (usize, Duration),
        left: u64,
    ) -> bool {
        let from = left.saturating_sub(nanos(window));
        let (read, taken) = match (self.left, self.pace.turns.back()) {
            (Some(_), Some(turn)) => (turn.1, turn.2),
            _ => (place.link.halves[THERE].read, place.link.halves[HERE].written),
        };
        let (before, taken_before) = self.pace.by(from);
        let is_few = |bytes: u64| bytes < least as u64;
        let by_output = owes && is_few(taken - taken_before);
        by_output || (is_few(read - before) && !self.pace.stood_since(from))
    }
}

impl Oracle {
    /// More of a request has come: was it to be waited for so long?
    pub(super) fn check_pace(&mut self, link: u32) {
        let Some((least, window)) = self.limits.min_rate else { return };
        let net = self.kernel.state();
        let Some(Some(ledger)) = self.ledgers.get(link as usize) else { return };
        let place = &net.links[link as usize];
        let hides = net.profile.stopped > 0 || net.worked > 0 || net.profile.events_max < 1024;
        let ended = place.link.halves[THERE].fin_arrived || place.failed_at.is_some();
        if hides || ended || ledger.is_layered() || ledger.last.1 == 0 {
            return;
        }
        let from = net.now.saturating_sub(nanos(JUDGED * window));
        let (before, _) = ledger.pace.by(from);
        let came = place.link.halves[THERE].read - before;
        let is_owed = ledger.pace.begun < from && ledger.pace.begun > 0;
        if is_owed && came < least as u64 && !ledger.pace.may_have_stood_since(from) {
            drop(net);
            self.complain(format!(
                "promise 4: #{link} brings {came} bytes of a request in four windows of min_rate, {least} \
                 are asked for in each"
            ));
        }
    }
}
