//! How fast a peer is, while something is owed: the limit `min_rate`.
//!
//! Two debts are watched: a request that has begun and is not complete (input that a call left), and
//! output that waits for the peer to take what is before it. In every window that a debt lasts so
//! many bytes of it must move. Bytes are counted only where they meet a debt, which the common path
//! does not; a window is judged when it is over, and moves no deadline before. One that owes nothing is
//! not watched, however long it is silent: that is `idle`. Read next: `core/expire.rs`.

use super::extras::Extras;
use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

/// Both debts of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The rest of a request. Stale when nothing is left over.
    input: Option<Window>,
    /// Queued output. Stale when nothing is queued.
    output: Option<Window>,
    /// In the present window of input there was a time in which the connection was not read from, or
    /// was held.
    stood: bool,
}

/// What has moved since when.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Stamp,
    bytes: usize,
}

impl Window {
    fn from(since: Stamp) -> Window {
        Window { since, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Connection {
    /// A call left input. `begins`: it is of another request than what was left before.
    pub(crate) fn owe_input(&mut self, begins: bool, now: Stamp) {
        let pace = &mut self.extras().pace;
        if begins || pace.input.is_none() {
            pace.input = Some(Window::from(now));
            pace.stood = false;
        }
        if self.stands_still() {
            self.stand_still();
        }
    }

    /// Output comes to be owed.
    pub(crate) fn owe_output(&mut self, now: Stamp) {
        self.extras().pace.output = Some(Window::from(now));
    }

    /// More has come, behind what was left over. If nothing was, and the handler waits for more than
    /// one byte, the debt begins here.
    pub(crate) fn pace_input(&mut self, bytes: usize, now: Stamp) {
        let begins = |extras: &Extras| extras.pace.input.is_none();
        if !self.owes_input() || self.extras.as_deref().is_none_or(begins) {
            self.owe_input(true, now);
        } else if let Some(window) =
            self.extras.as_mut().and_then(|extras| extras.pace.input.as_mut())
        {
            window.add(bytes);
        }
    }

    /// Some of what is owed was taken.
    pub(crate) fn pace_output(&mut self, bytes: usize) {
        if let Some(window) = self.extras.as_mut().and_then(|extras| extras.pace.output.as_mut()) {
            window.add(bytes);
        }
    }

    /// From here on it is not the peer's fault if nothing comes.
    pub(super) fn stand_still(&mut self) {
        self.flags.clear(Flags::SILENT);
        if let Some(extras) = &mut self.extras {
            extras.pace.stood = true;
        }
    }

    fn stands_still(&self) -> bool {
        self.flags.has(Flags::NOT_READING) || self.flags.has(Flags::HELD)
    }

    /// When the next window of a debt is over.
    pub(super) fn paced_at(&self, limits: &Limits) -> Stamp {
        let (Some((_, wait)), Some(extras)) = (self.min_rate(limits), &self.extras) else {
            return Stamp::NEVER;
        };
        let end = |window: Option<Window>| window.map_or(Stamp::NEVER, |w| w.since.after(wait));
        // While it stands there is nothing to judge; what ends that sees that this is asked again.
        let counts = self.owes_input() && !self.stands_still();
        let input = if counts { end(extras.pace.input) } else { Stamp::NEVER };
        let output = if self.output.is_empty() { Stamp::NEVER } else { end(extras.pace.output) };
        input.min(output)
    }

    /// Whether we wait for the rest of something.
    pub(crate) fn owes_input(&self) -> bool {
        let is_left = self.leftover.as_ref().is_some_and(|leftover| leftover.len() > 0);
        (is_left || self.has_pending()) && !self.is_input_over() && !self.flags.has(Flags::FAILED)
    }

    /// Judges the windows that are over by now, and begins others.
    pub(super) fn judge(&mut self, due_by: Stamp, now: Stamp, limits: &Limits) {
        let Some((least, wait)) = self.min_rate(limits) else { return };
        let (owed, owing) = (self.owes_input(), !self.output.is_empty());
        let stands = self.stands_still();
        let Some(extras) = &mut self.extras else { return };
        let pace = &mut extras.pace;
        let is_over = |window: &Window| window.since.after(wait) <= due_by;
        let mut input = false;
        if owed && let Some(window) = pace.input.filter(is_over) {
            input = window.bytes < least && !pace.stood;
            // A window in which it stands is not judged, from its beginning or later.
            pace.input = Some(Window::from(now));
            pace.stood = stands;
        }
        let mut output = false;
        if owing && let Some(window) = pace.output.filter(is_over) {
            output = window.bytes < least;
            pace.output = Some(Window::from(now));
        }
        debug_assert_eq!(self.phase, Phase::Open, "a close has deadlines of its own");
        if output {
            // What it does not take would not go out by a flush either.
            self.cut(CloseReason::TooSlow);
        } else if input {
            self.retire(CloseReason::TooSlow, now, limits);
        }
    }
}
