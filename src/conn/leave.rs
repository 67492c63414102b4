//! Detaching: the connection leaves the reactor alive, with all that is on its way. And adopting.
//!
//! For the reactor it is over at once: nothing is read, written or called any more but what belongs to
//! every end. Its input and its output stay with it until it is freed, when they are handed over with the
//! socket. Read next: `core/free.rs`, which does that.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::conn::buffer::Leftover;
use crate::conn::flags::Flags;
use crate::net::detached::Taker;
use crate::time::deadlines::Stamp;

impl Connection {
    /// Whether it may be detached: its handler is called, its output can still go out, and it is
    /// not being closed already: in `on_closing` it has a reason. And it has no source: what that
    /// would bring cannot be handed over as bytes.
    pub(crate) fn may_detach(&self) -> bool {
        let is_closing = self.reason().is_some() && !self.flags.has(Flags::RETIRING);
        self.is_served() && self.takes_sends_in_order() && !is_closing
    }

    pub(crate) fn detach(&mut self, taker: Taker) {
        self.flags.set(Flags::DETACHED);
        // No end, and so no clean one.
        self.flags.set(Flags::CUT);
        self.give_reason(CloseReason::Detached);
        self.extras().taker = Some(taker);
        self.phase = Phase::Closed;
    }

    /// The callback that detached it has panicked: what that had consumed is lost, so it ends as any
    /// other whose callback panics.
    pub(crate) fn revoke_detach(&mut self) {
        if self.flags.has(Flags::DETACHED) {
            self.flags.clear(Flags::DETACHED);
            self.extras().taker = None;
            self.take_reason();
            self.phase = Phase::Open;
        }
    }

    /// Whether it may be handed over to another service: its handler is called, what is sent goes
    /// out, and it is not being closed already.
    pub(crate) fn may_be_handed_over(&self) -> bool {
        let is_closing = self.reason().is_some() || self.flags.has(Flags::RETIRING);
        self.is_served() && self.takes_sends() && !is_closing
    }

    /// From here on it waits for the `on_open` of another service.
    pub(crate) fn hand_over(&mut self) {
        // The other is told of the end again.
        self.flags.clear(Flags::EOF_TOLD);
        self.cancel_timeout();
        self.flags.set(Flags::UNOPENED);
    }

    /// It is the other service's: what is left of its input is offered as if it had just come.
    pub(crate) fn take_over(&mut self) {
        if let Some(left) = self.leftover.take().filter(|left| left.len() > 0) {
            self.leftover = Some(Box::new(Leftover::unseen(left.bytes())));
            self.flags.set(Flags::OFFER);
        }
    }

    /// What the first service has asked for is forgotten, and what it is owed stays.
    pub(crate) fn forget_wishes(&mut self) {
        for fact in [Flags::PAUSED, Flags::UNREAD, Flags::HELD, Flags::WISHED, Flags::WANTS_DRAIN] {
            self.flags.clear(fact);
        }
        self.auto_pause(true);
    }

    /// What is done with it, what was left of its input, and what is queued.
    pub(crate) fn take_detached(&mut self) -> Option<(Taker, Bytes, Bytes)> {
        let taker = self.extras.as_mut().and_then(|extras| extras.taker.take())?;
        let unread = self.leftover.take().map_or_else(Bytes::new, |left| left.into_bytes());
        Some((taker, unread, self.output.take()))
    }

    /// It comes from outside with these: the input is offered when it is open, the output goes first.
    pub(crate) fn handle_adopted(
        &mut self,
        unread: &[u8],
        unsent: Bytes,
        now: Stamp,
        limits: &Limits,
    ) {
        self.flags.set(Flags::UNOPENED);
        if !unread.is_empty() {
            self.leftover = Some(Box::new(Leftover::unseen(unread)));
            self.flags.set(Flags::OFFER);
        }
        self.output.push_shared(unsent);
        if limits.paces && !self.output.is_empty() {
            self.owe_output(now);
        }
        self.handle_level(0, limits);
    }

    /// Its descriptor was handed in, or is lent out.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// Whether its descriptor was handed in, or lent out: then to close it may not be the last close.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }
}
