//! Up to which moment the kernel has told of everything: which connections may be called late.
//!
//! A deadline is acted on only if it is not after [`told_until`](Horizon::told_until): whatever had
//! happened by then has been told, so it comes first. After a poll that filled its list the kernel
//! may hold more, of a connection that is then not late; but it tells of each in turn, so that with
//! enough full lists it has told of all. `told_until` never goes back. Read next: `expire.rs`,
//! which acts on deadlines.

use crate::time::deadlines::Stamp;

#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// The last poll filled its list: the kernel may hold more.
    is_full: bool,
    /// What the kernel held at this moment, it has told of.
    told_until: Stamp,
    /// Full polls in a row: the moment before the first, and their events.
    sweep: (Stamp, usize),
}

impl Horizon {
    /// After a poll that told all that had happened by `before`, the moment before it.
    #[inline]
    pub(super) fn note_all(&mut self, before: Stamp) {
        self.is_full = false;
        self.told_until = before;
    }

    /// After a poll whose list was full, of `count` events. `now`: the moment after it; `watched`: the
    /// number of sockets it asks for.
    #[cold]
    pub(super) fn note_full(&mut self, count: usize, watched: usize, before: Stamp, now: Stamp) {
        if !self.is_full {
            self.sweep = (before, 0);
        }
        self.is_full = true;
        self.sweep.1 += count;
        // Some kernels make two events of one socket, and some are for nothing. The waker is watched, too.
        if self.sweep.1 > 4 * (watched + 1) {
            self.told_until = self.sweep.0;
            self.sweep = (now, 0);
        }
    }

    /// No deadline after this moment is acted on.
    #[inline]
    pub(crate) fn told_until(&self) -> Stamp {
        self.told_until
    }

    /// Whether the kernel may hold more than it told.
    #[inline]
    pub(super) fn may_hold_more(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 6, Trap 14: full lists one after the other put deadlines off, but not for ever: the
    /// kernel tells of each in turn.
    #[test]
    fn polls_that_are_always_full_put_deadlines_off_only_for_so_long() {
        let mut horizon = Horizon::default();
        let mut poll = |is_full, count, before| {
            // No socket is watched, so that five events are more than there can be at a time.
            if is_full {
                horizon.note_full(count, 0, Stamp::at(before), Stamp::at(before + 5));
            } else {
                horizon.note_all(Stamp::at(before));
            }
            horizon.told_until()
        };
        assert_eq!(poll(false, 1, 10), Stamp::at(10));
        assert_eq!(poll(true, 4, 20), Stamp::at(10), "it may hold more");
        assert_eq!(poll(true, 4, 30), Stamp::at(20), "what it held then, it has told");
        assert_eq!(poll(true, 4, 40), Stamp::at(20), "a sweep begins anew");
        assert_eq!(poll(true, 4, 50), Stamp::at(35), "after the poll that ended the one before");
        assert_eq!(poll(false, 3, 60), Stamp::at(60));
    }
}
