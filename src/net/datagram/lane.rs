//! A lane of an outbox: the datagrams that wait for one thing, in order.
//!
//! It keeps and counts them, and knows when the first is to be looked at again; it sends nothing. Read
//! next: `net/datagram.rs`, whose outbox it belongs to.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ENTRY, RETRY_MAX, RETRY_MIN, SHORTAGE};
use crate::base::address::Address;
use crate::time::deadlines::Stamp;

/// What waits for one thing.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) waiting: VecDeque<Waiting>,
    /// What it costs.
    pub(super) bytes: usize,
    /// When it is tried again; `NEVER`: by the edge alone.
    pub(super) retry: Stamp,
    /// How long it waits the next time.
    pub(super) wait: Duration,
    /// It waits for a shortage to end: an edge does not tell that.
    pub(super) is_short: bool,
    /// The flush in which it had its last turn.
    pub(super) served: u64,
}

/// One datagram.
#[derive(Debug)]
pub(super) struct Waiting {
    /// `None`: to where the socket is connected, or the lane goes.
    pub(super) to: Option<Address>,
    pub(super) payload: Box<[u8]>,
    /// When it is dropped, if it still waits.
    pub(super) until: Stamp,
    /// How often it has met a shortage.
    pub(super) tries: u8,
}

impl Waiting {
    pub(super) fn cost(&self) -> usize {
        self.payload.len() + ENTRY
    }
}

impl Lane {
    /// `bytes`: what it costs by itself. `served`: the present flush.
    pub(super) fn new(bytes: usize, served: u64) -> Self {
        Lane {
            waiting: VecDeque::new(),
            bytes,
            retry: Stamp::NEVER,
            wait: RETRY_MIN,
            is_short: false,
            served,
        }
    }

    /// Takes one out: it was sent, or is dropped. Returns what it had cost.
    pub(super) fn remove(&mut self, at: usize) -> usize {
        let Some(gone) = self.waiting.remove(at) else { return 0 };
        // What a burst had needed is given back.
        if self.waiting.len() < self.waiting.capacity() / 4 {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
        self.bytes -= gone.cost();
        gone.cost()
    }

    /// When it is to be looked at though nothing happens: it may be tried, or the first has waited for
    /// too long.
    pub(super) fn next_try(&self) -> Stamp {
        self.waiting.front().map_or(Stamp::NEVER, |first| first.until.min(self.retry))
    }

    /// Nothing more can be sent now. `by_time`: no edge tells when.
    pub(super) fn block(&mut self, is_short: bool, by_time: bool, now: Stamp) {
        self.is_short = is_short;
        if is_short {
            self.retry = now.after(SHORTAGE);
        } else if by_time {
            self.retry = now.after(self.wait);
            self.wait = (self.wait * 2).min(RETRY_MAX);
        } else {
            self.retry = Stamp::NEVER;
        }
    }
}
