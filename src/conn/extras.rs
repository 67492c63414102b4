//! What few connections have: a timeout, an idle timeout of their own, bytes lost.
//!
//! Kept apart from the connection, so that one without stays small. A timer is one more
//! moment among the connection's deadlines: setting it again only moves a stamp, and its entry
//! among the deadlines is put right when that comes up. Read next: `core/expire.rs`, which acts on it.

use std::time::Duration;

use super::layer::Layered;
use super::rate::Pace;
use super::reset::Leaving;
use super::{Connection, Phase};
use crate::base::caps::{Caps, Own};
use crate::base::close::{CloseReason, Closed};
use crate::base::config::Limits;
use crate::conn::flags::Flags;
use crate::net::detached::Taker;
use crate::time::deadlines::Stamp;

/// How many turns a deadline is put off while its connection has something to read: what the kernel
/// held when it came due is served by then, and a peer that never stops sending does not stop it.
const PUT_OFF_MAX: u8 = 64;

/// The kernel holding no more than this is no sign that the peer reads slowly: a small answer, or our
/// FIN, that a peer which has vanished does not acknowledge takes as much (with what the kernel needs
/// to keep it).
const REST: usize = 4 << 10;
/// The kernel is not asked more often, however short the timeouts are; nor more often than when it has
/// taken this much longer to deliver: an eighth.
const ASK: Duration = Duration::from_millis(50);
const ASK_SHARE: u32 = 8;

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// When `on_timeout` is due, if the handler has set it.
    timeout: Option<Stamp>,
    /// The number of turns in a row in which a deadline was due and was put off.
    put_off: u8,
    /// What it, or its service, has in the place of the limit of all.
    first_byte: Own<Duration>,
    min_rate: Own<(usize, Duration)>,
    idle: Own<Duration>,
    /// How fast the peer is while it owes us the rest of something, or we owe it something.
    pub(super) pace: Pace,
    /// What the kernel was found to hold when all was quiet.
    undelivered: Option<Undelivered>,
    /// Why it ends; set once, when it leaves `Open` or fails.
    pub(super) reason: Option<CloseReason>,
    /// Bytes sent that the kernel will never take.
    unsent: u64,
    /// What has not left yet, before a reset.
    pub(super) leaving: Option<Leaving>,
    /// What is done with it, if it is detached.
    pub(super) taker: Option<Taker>,
    /// What is kept for its layer, if it has one; of one that is over, too.
    pub(super) layered: Option<Box<Layered>>,
}

/// What the kernel had taken and the peer had not, when that was last asked.
#[derive(Clone, Copy, Debug)]
struct Undelivered {
    bytes: usize,
    /// When it was first asked, and when it was last seen to have become less.
    first: Stamp,
    since: Stamp,
    /// When it was last asked. If bytes were taken after that, the rest is out of date.
    asked: Stamp,
}

impl Connection {
    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Sets when `on_timeout` is due, or sets it anew.
    pub(crate) fn set_timeout(&mut self, due: Stamp) {
        self.extras().timeout = Some(due);
    }

    /// Returns whether it was set.
    pub(crate) fn cancel_timeout(&mut self) -> bool {
        self.extras.as_mut().is_some_and(|extras| extras.timeout.take().is_some())
    }

    /// Sets the idle timeout of this connection: none, or so long.
    pub(crate) fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.extras().idle = Own::Own(timeout);
    }

    /// What its service has in the place of the limits of all; what it had of its own is forgotten.
    pub(crate) fn set_patience(&mut self, caps: &Caps) {
        if self.extras.is_none() && !caps.has_patience() {
            return;
        }
        let extras = self.extras();
        (extras.first_byte, extras.min_rate, extras.idle) =
            (caps.first_byte, caps.min_rate, caps.idle);
    }

    /// By when the peer of one that is accepted must have said something.
    pub(super) fn first_byte(&self, limits: &Limits) -> Option<Duration> {
        let own = self.extras.as_ref().map_or(Own::AsAll, |extras| extras.first_byte);
        own.or(limits.first_byte)
    }

    pub(super) fn min_rate(&self, limits: &Limits) -> Option<(usize, Duration)> {
        let own = self.extras.as_ref().map_or(Own::AsAll, |extras| extras.min_rate);
        own.or(limits.min_rate)
    }

    /// Counts bytes that were sent and cannot be delivered.
    pub(crate) fn lose(&mut self, bytes: usize) {
        if bytes > 0 {
            self.extras().unsent += bytes as u64;
        }
    }

    /// The kernel holds so much, and has nothing more of ours to take. As long as that becomes less,
    /// the peer reads, and as to time that is as good as a byte taken now; if it does not become less for
    /// `write_stall`, then no more.
    pub(crate) fn handle_undelivered(&mut self, bytes: usize, now: Stamp, limits: &Limits) {
        let known = self.extras.as_ref().and_then(|extras| extras.undelivered);
        let known = known.filter(|known| known.asked == self.taken);
        if bytes <= REST {
            if known.is_some() {
                // All of it went since it was last asked.
                self.extras().undelivered = None;
                self.taken = now;
            }
            return;
        }
        let first = known.map_or(now, |known| known.first);
        let since = match known {
            Some(known) if bytes >= known.bytes => known.since,
            _ => now,
        };
        if since.after(limits.write_stall) > now {
            self.extras().undelivered = Some(Undelivered { bytes, first, since, asked: now });
            self.taken = now;
        }
    }

    pub(super) fn reason(&self) -> Option<&CloseReason> {
        self.extras.as_ref().and_then(|extras| extras.reason.as_ref())
    }

    pub(super) fn take_reason(&mut self) -> Option<CloseReason> {
        self.extras.as_mut().and_then(|extras| extras.reason.take())
    }

    /// How many bytes were lost.
    pub(crate) fn unsent(&self) -> u64 {
        self.extras.as_ref().map_or(0, |extras| extras.unsent)
    }

    /// How it ended.
    pub(crate) fn closed(&mut self) -> Closed {
        debug_assert_eq!(self.phase, Phase::Closed, "only what is over is told");
        let unsent = self.unsent();
        let unfinished = self.is_unfinished();
        let peer_ended = self.flags.has(Flags::PEER_ENDED);
        let clean = unsent == 0 && peer_ended && !self.flags.has(Flags::CUT);
        let reason = self.take_reason().expect("who leaves Open has a reason");
        Closed { reason, unsent, unfinished, clean, service: self.service }
    }

    /// Whether `on_timeout` is to be called now; then it is not set any more.
    pub(crate) fn take_timer(&mut self, now: Stamp) -> bool {
        self.phase == Phase::Open && self.timer_at() <= now && self.cancel_timeout()
    }

    /// A deadline is due: it waits for another turn.
    pub(crate) fn put_off(&mut self) {
        let extras = self.extras();
        extras.put_off = extras.put_off.saturating_add(1);
    }

    /// The deadlines that were put off are acted on, or have moved.
    pub(crate) fn end_put_off(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.put_off = 0;
        }
    }

    /// Whether what is due by `now` was put off often enough. That what a call left is offered again, and
    /// that what is left of a failed connection is read, comes to an end: only a timer does not wait.
    pub(crate) fn was_put_off_enough(&self, now: Stamp) -> bool {
        let put_off = self.extras.as_ref().map_or(0, |extras| extras.put_off);
        let comes_to_an_end = self.flags.has(Flags::OFFER) || self.flags.has(Flags::FAILED);
        put_off >= PUT_OFF_MAX && (!comes_to_an_end || self.timer_at() <= now)
    }

    /// When `on_timeout` is due.
    pub(crate) fn timer_at(&self) -> Stamp {
        self.extras.as_ref().and_then(|extras| extras.timeout).unwrap_or(Stamp::NEVER)
    }

    /// When it has been idle for too long. One that is owed output is not idle: that is for
    /// `write_stall`.
    pub(crate) fn idles_at(&self, limits: &Limits) -> Stamp {
        if self.owes() {
            return Stamp::NEVER;
        }
        let own = self.extras.as_ref().map_or(Own::AsAll, |extras| extras.idle);
        let timeout = own.or(limits.idle);
        timeout.map_or(Stamp::NEVER, |timeout| {
            self.heard_or_until.max(self.taken).after(self.asked_again_after(timeout))
        })
    }

    /// When its linger is over: counted from our FIN, or from when the kernel was last found to deliver
    /// what was before it.
    pub(super) fn lingers_until(&self, limits: &Limits) -> Stamp {
        self.taken.after(self.asked_again_after(limits.linger))
    }

    fn asked_again_after(&self, timeout: Duration) -> Duration {
        let known = self.extras.as_ref().and_then(|extras| extras.undelivered);
        known.map_or(timeout, |known| {
            timeout.max(ASK).max(known.first.until(known.asked) / ASK_SHARE)
        })
    }

    /// Whether the handler may be called for it: open, and its `on_open` was called.
    pub(crate) fn is_served(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has(Flags::UNOPENED)
    }
}
