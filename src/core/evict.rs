//! Which connection makes room when the connection limit is reached: the one idle longest.
//!
//! No order of the idle is kept: that would be work for each packet. They are looked for when one
//! is needed: one pass over all finds the longest idle, a batch of them, and there is at most one
//! pass in ten milliseconds for each service that needs a place. One that moves afterwards drops
//! out of the batch; all others were moved later than those in it, so that its first is always the
//! longest idle of all. Read next: `accept.rs`, which asks.

use std::collections::BinaryHeap;
use std::time::Duration;

use super::{Core, Entry};
use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::time::deadlines::Stamp;

/// How many one pass finds.
const BATCH: usize = 256;
/// One pass at most in this time: with 65,536 connections it takes about a millisecond.
const INTERVAL: Duration = Duration::from_millis(10);

/// The longest time between two passes while a client waits in a backlog and no connection is idle.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those whose places may be given to connections of one service.
#[derive(Debug, Default)]
pub(crate) struct Idlers {
    /// Connections with the moment at which each last moved a byte; the longest idle last.
    batch: Vec<(Stamp, ConnId)>,
    /// When all may be looked at again.
    from: Stamp,
}

impl Core {
    /// Whether a connection is idle for long enough, and makes a place for one of this service:
    /// then the last of the batch is.
    pub(crate) fn finds_idle(&mut self, service: u8) -> bool {
        let Some(least) = self.limits.reclaim_idle else { return false };
        loop {
            while let Some(&(moved, id)) = self.idlers(service).batch.last() {
                if self.idle_since(id, service, least) == Some(moved) {
                    self.ask_undelivered(id);
                    if self.idle_since(id, service, least) == Some(moved) {
                        return true;
                    }
                }
                self.idlers(service).batch.pop();
            }
            if self.now < self.idle_from(service) {
                return false;
            }
            self.look_for_idle(service, least);
        }
    }

    fn idlers(&mut self, service: u8) -> &mut Idlers {
        let at = usize::from(service);
        if at >= self.idlers.len() {
            self.idlers.resize_with(at + 1, Idlers::default);
        }
        &mut self.idlers[at]
    }

    /// When it makes sense to ask again for this service.
    pub(crate) fn idle_from(&self, service: u8) -> Stamp {
        let looked = self.idlers.get(usize::from(service)).map_or(Stamp::default(), |of| of.from);
        if self.limits.reclaim_idle.is_some() { looked } else { Stamp::NEVER }
    }

    /// Ends the longest idle one of those that make a place for this service. Returns whether there
    /// was one.
    #[cold]
    pub(crate) fn reclaim(&mut self, service: u8) -> bool {
        let Some((_, id)) = self.idlers(service).batch.pop() else { return false };
        // Nothing is queued: the kernel takes them.
        self.say_end(id);
        let Some(entry) = self.entry_mut(id) else { return false };
        entry.conn.reclaim(CloseReason::Reclaimed);
        self.update(id);
        true
    }

    /// Since when a connection is idle, if that is long enough and it makes a place for this
    /// service. As with a deadline, what the kernel may hold and has not told of comes first.
    fn idle_since(&self, id: ConnId, service: u8, least: Duration) -> Option<Stamp> {
        let entry = self.conns.get(id)?;
        if !self.services.makes_place(entry.conn.service, service) {
            return None;
        }
        let since = entry.idle_since();
        since.filter(|moved| moved.after(least) <= self.horizon.told_until())
    }

    fn look_for_idle(&mut self, service: u8, least: Duration) {
        // The least long idle of the batch is on top, and makes way.
        let mut batch = BinaryHeap::with_capacity(BATCH + 1);
        let mut next = Stamp::NEVER;
        for id in self.connection_ids() {
            // What makes no place is not waited for either.
            let is_use = |it: &&Entry| self.services.makes_place(it.conn.service, service);
            let Some(moved) = self.entry(id).filter(is_use).and_then(Entry::idle_since) else {
                continue;
            };
            if self.idle_since(id, service, least).is_none() {
                next = next.min(moved.after(least));
                continue;
            }
            batch.push((moved, id));
            if batch.len() > BATCH {
                batch.pop();
            }
        }
        // No connection is idle for long enough before that, unless one is released that now is held.
        let soon = self.now.after(INTERVAL);
        let later = if batch.is_empty() { next.min(self.now.after(PATIENCE)) } else { soon };
        let idlers = self.idlers(service);
        idlers.from = later.max(soon);
        idlers.batch = batch.into_sorted_vec();
        idlers.batch.reverse();
    }
}
