//! What few connections have: a timer, an idle timeout of their own, bytes lost.
//!
//! Kept apart from the connection, so that one without stays small. A timer is one more
//! moment among the connection's deadlines: setting it again only moves a stamp, and its entry
//! among the deadlines is put right when that comes up. Read next: `expire.rs`, which acts on it.

use std::time::Duration;

use super::pace::Pace;
use super::reset::Leaving;
use super::{Connection, Phase};
use crate::config::Limits;
use crate::flags::Flags;
use crate::timers::Stamp;

/// How many turns a timer is put off while its connection has something to read: what the kernel
/// held when it came due is served by then, and a peer that never stops sending does not stop it.
const PUT_OFF_MAX: u8 = 64;

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// When `on_timer` is due, if a timer is set.
    timer: Option<Stamp>,
    /// So many turns it was put off.
    put_off: u8,
    idle: Idle,
    /// How fast the peer is while it owes us the rest of something, or we owe it something.
    pub(super) pace: Pace,
    /// Bytes sent that the kernel will never take.
    unsent: u64,
    /// What has not left yet, before a reset.
    pub(super) leaving: Option<Leaving>,
}

/// How long it may be idle.
#[derive(Clone, Copy, Debug, Default)]
enum Idle {
    /// As long as all may.
    #[default]
    AsAll,
    /// So long; `None`: for ever.
    Own(Option<Duration>),
}

impl Connection {
    pub(super) fn own(&mut self) -> &mut Own {
        self.own.get_or_insert_default()
    }

    /// Sets the timer, or sets it anew.
    pub(crate) fn set_timer(&mut self, due: Stamp) {
        let own = self.own();
        own.timer = Some(due);
        own.put_off = 0;
    }

    /// Answers whether a timer was set.
    pub(crate) fn cancel_timer(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| own.timer.take().is_some())
    }

    /// Sets the idle timeout of this connection: none, or so long.
    pub(crate) fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.own().idle = Idle::Own(timeout);
    }

    /// Counts bytes that were sent and cannot be delivered.
    pub(crate) fn lose(&mut self, bytes: usize) {
        if bytes > 0 {
            self.own().unsent += bytes as u64;
        }
    }

    /// How many bytes were lost.
    pub(crate) fn unsent(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| own.unsent)
    }

    /// Whether `on_timer` is to be called now; then the timer is not set any more.
    pub(crate) fn take_timer(&mut self, now: Stamp) -> bool {
        self.phase == Phase::Open && self.timer_at() <= now && self.cancel_timer()
    }

    /// Its timer may be due: it waits for another turn.
    pub(crate) fn put_off(&mut self, now: Stamp) {
        if self.timer_at() <= now {
            let own = self.own();
            own.put_off = own.put_off.saturating_add(1);
        }
    }

    /// Whether a timer is due that was put off long enough.
    pub(crate) fn is_timer_overdue(&self, now: Stamp) -> bool {
        let put_off = self.own.as_ref().map_or(0, |own| own.put_off);
        put_off >= PUT_OFF_MAX && self.timer_at() <= now
    }

    /// When `on_timer` is due.
    pub(crate) fn timer_at(&self) -> Stamp {
        self.own.as_ref().and_then(|own| own.timer).unwrap_or(Stamp::NEVER)
    }

    /// When it has been idle for too long.
    pub(crate) fn idles_at(&self, limits: &Limits) -> Stamp {
        let timeout = match self.own.as_ref().map_or(Idle::AsAll, |own| own.idle) {
            Idle::AsAll => limits.idle,
            Idle::Own(timeout) => timeout,
        };
        timeout.map_or(Stamp::NEVER, |timeout| self.heard.max(self.taken).after(timeout))
    }

    /// Whether the handler may be called for it: open, and its `on_open` was called.
    pub(crate) fn is_served(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has(Flags::UNOPENED)
    }
}
