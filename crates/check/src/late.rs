//! Whether a deadline was missed, by the polls there were: a reactor learns the time from them alone.
//!
//! Times are nanoseconds since the world began; of each of the last two polls, when it began and ended.

use std::time::Duration;

use crate::kernel::nanos;

/// A deadline may be met so much later: the poll's rounding, and the calls of a turn.
pub(crate) const SLACK: u64 = 2_000_000;

/// The last two polls.
pub type Polls = [(u64, u64); 2];

/// At rest: whether it was due when the last poll began, and some time before, or that slept past it.
#[must_use]
pub fn is_late(polls: Polls, from: u64, wait: Duration) -> bool {
    let due = from.saturating_add(nanos(wait));
    let [_, poll] = polls;
    poll.0 > due.saturating_add(SLACK) || slept_past(poll, due)
}

/// In a callback: whether what was due then comes late. What a deadline comes upon while callbacks
/// run, or before the poll has told all, is acted on after the next poll.
#[must_use]
pub fn comes_late(polls: Polls, from: u64, wait: Duration) -> bool {
    let due = from.saturating_add(nanos(wait));
    polls[0].0 > due.saturating_add(SLACK) || polls.iter().any(|poll| slept_past(*poll, due))
}

fn slept_past((began, ended): (u64, u64), due: u64) -> bool {
    ended > due.max(began).saturating_add(SLACK)
}
