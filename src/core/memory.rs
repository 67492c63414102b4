//! What all connections hold together, and what happens when that is too much.
//!
//! One sum, brought up to date where a queue or a leftover changes, which the common path does not
//! come by. Above three quarters of `buffered_max` a connection that owes more than `output_low` is
//! not read from; above all of it those that hold most are closed.
//!
//! The sum is the sum of what each connection was last counted with (`Connection::recount`), so a
//! connection is counted before it is freed, and [`check_memory`](Core::check_memory) follows each
//! change that may be large. Read next: `send.rs`, which queues.

use std::time::Duration;

use super::{Core, Entry};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::conn::Connection;
use crate::time::deadlines::Stamp;

/// At most one warning in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// What all connections hold, counted.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Bytes: of each connection what was last counted.
    buffered: usize,
    /// The same by service; empty while none has a cap of it.
    by_service: Vec<usize>,
    /// When the next warning may be logged.
    warn_from: Stamp,
}

impl Memory {
    /// Bytes that all connections hold.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Counts what a connection holds now, in the place of what it held when last counted.
    #[inline]
    pub(super) fn recount(&mut self, conn: &mut Connection) {
        let before = self.buffered;
        conn.recount(&mut self.buffered);
        if !self.by_service.is_empty() {
            self.recount_service(conn.service, before);
        }
    }

    /// The sum was `before`, and has changed for a connection of this service.
    #[cold]
    fn recount_service(&mut self, service: u8, before: usize) {
        let buffered = self.buffered;
        let held = self.held_mut(service);
        *held = *held + buffered - before;
    }

    fn held_mut(&mut self, service: u8) -> &mut usize {
        let at = usize::from(service);
        if at >= self.by_service.len() {
            self.by_service.resize(at + 1, 0);
        }
        &mut self.by_service[at]
    }

    /// Counts by service from now on: what is counted of each connection.
    pub(super) fn count_by_service(&mut self, held: impl Iterator<Item = (u8, usize)>) {
        self.by_service = vec![0];
        for (service, held) in held {
            *self.held_mut(service) += held;
        }
    }

    /// A connection that holds so much is another service's now.
    pub(super) fn move_between(&mut self, from: u8, to: u8, held: usize) {
        if !self.by_service.is_empty() {
            *self.held_mut(from) -= held;
            *self.held_mut(to) += held;
        }
    }

    /// The bytes that the connections of a service hold, if those are counted.
    fn of_service(&self, service: u8) -> usize {
        self.by_service.get(usize::from(service)).copied().unwrap_or(0)
    }

    /// Sets the output at which reading rests by how much is held. Returns whether that is too much.
    #[inline]
    fn check(&self, limits: &mut Limits) -> bool {
        let most = limits.buffered_max;
        if self.buffered > most - most / 4 {
            limits.rest_at = limits.output_low + 1;
        } else if self.buffered <= most / 2 {
            limits.rest_at = limits.output_high;
        }
        self.buffered > most
    }

    /// Tells what was closed, but not too often.
    fn warn(&mut self, before: usize, most: usize, closed: usize, of: &str, now: Stamp) {
        if now >= self.warn_from {
            self.warn_from = now.after(WARN_INTERVAL);
            log::warn!(
                "{before} bytes are buffered{of}, buffered_max is {most}: closing the {closed} \
                 connections that hold most"
            );
        }
    }
}

impl Core {
    /// Looks at the sum after it changed.
    #[inline]
    pub(crate) fn check_memory(&mut self) {
        if self.memory.check(&mut self.limits) {
            self.shed(None, self.limits.buffered_max);
        }
        if !self.memory.by_service.is_empty() {
            self.check_services();
        }
    }

    #[cold]
    fn check_services(&mut self) {
        let over = |(service, most): &(u8, usize)| self.memory.of_service(*service) > *most;
        let over: Vec<_> = self.services.buffered_caps().filter(over).collect();
        for (service, most) in over {
            self.shed(Some(service), most);
        }
    }

    /// What is held of a service, or in all.
    fn held_by(&self, service: Option<u8>) -> usize {
        service.map_or(self.memory.buffered, |service| self.memory.of_service(service))
    }

    /// Closes those of a service, or of all, that hold most, until seven eighths of `most` are
    /// left: so that looking at all of them, which takes a while where there are many, is paid for
    /// by an eighth of all that may be held.
    #[cold]
    fn shed(&mut self, service: Option<u8>, most: usize) {
        let before = self.held_by(service);
        let is_of = |entry: &&Entry| service.is_none_or(|service| entry.conn.service == service);
        let held = |id| self.entry(id).filter(is_of).map_or(0, |entry| entry.conn.held());
        let holders = self.conns.ids().into_iter().map(|id| (held(id), id));
        let mut holders: Vec<_> = holders.filter(|(held, _)| *held > 0).collect();
        holders.sort_unstable_by(|one, other| other.cmp(one));
        let mut closed = 0;
        for (_, id) in holders {
            if is_relieved(self.held_by(service), most) {
                break;
            }
            let Some(entry) = self.conns.get_mut(id) else { continue };
            entry.conn.cut(CloseReason::BufferedLimit);
            self.memory.recount(&mut entry.conn);
            self.mark_dirty(id);
            closed += 1;
        }
        let of = service.map_or(String::new(), |service| format!(" in service {service}"));
        self.memory.warn(before, most, closed, &of, self.now);
    }
}

/// Whether enough is closed: seven eighths of what may be held are left.
fn is_relieved(held: usize, most: usize) -> bool {
    held <= most - most / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::Config;

    fn limits() -> Limits {
        Config::default().output_low(10).output_high(100).buffered_max(1000).limits(None)
    }

    /// Promise 4: what is counted follows what is held, and nothing is counted twice.
    #[test]
    fn the_sum_is_what_all_hold_however_often_each_is_counted() {
        let (mut memory, now) = (Memory::default(), Stamp::default());
        let (mut one, mut other) = (Connection::new(now), Connection::new(now));
        one.output.push(&[0; 300]);
        other.output.push(&[0; 500]);
        for _ in 0..2 {
            memory.recount(&mut one);
            memory.recount(&mut other);
        }
        assert_eq!(memory.buffered(), one.held() + other.held());
        one.cut(CloseReason::Aborted);
        memory.recount(&mut one);
        assert_eq!(memory.buffered(), other.held());
    }

    /// Promise 5: reading rests earlier above three quarters, and as ever again from a half down.
    #[test]
    fn the_watermark_is_lowered_above_three_quarters_and_raised_at_a_half() {
        let mut limits = limits();
        for (buffered, rest_at, is_too_much) in [
            (750, 100, false),
            (751, 11, false),
            (501, 11, false),
            (500, 100, false),
            (1000, 11, false),
            (1001, 11, true),
        ] {
            let memory = Memory { buffered, ..Memory::default() };
            assert_eq!(memory.check(&mut limits), is_too_much, "{buffered}");
            assert_eq!(limits.rest_at, rest_at, "{buffered}");
        }
        assert!(is_relieved(875, limits.buffered_max));
        assert!(!is_relieved(876, limits.buffered_max));
    }
}
