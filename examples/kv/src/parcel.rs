//! What one shard asks of another, and what it is answered: in parcels, at most one of each way at a time.
//!
//! While a parcel is away, what is asked meanwhile waits for its return and leaves as the next one. So they grow when
//! there is much to do, no queue of posts ever fills, and the order of what one client asks of one shard is kept. How much waits
//! is bounded by the clients, each of which is paused when much of it is away (`answers.rs`). Read next: `shard.rs`, which
//! posts them.

use wouldblock::ConnId;

use crate::batch::Batch;
use crate::reply::Protocol;

/// What one shard asks of another.
#[derive(Debug, Default)]
pub struct Parcel {
    /// In order.
    pub asks: Vec<Ask>,
    /// The words of those that need some, in the same order.
    pub batch: Batch,
}

/// One thing that is asked.
#[derive(Debug)]
pub enum Ask {
    /// To run the next command of the batch.
    Run(Protocol),
    /// To watch the keys of the next command of the batch for a client.
    Watch(ConnId),
    /// To watch nothing for it any more. Nothing is answered.
    Unwatch(ConnId),
    /// To run these commands at once, unless what is watched for the client has changed; to watch nothing for it after that.
    Unit(ConnId, Protocol, Box<Batch>),
}

impl Ask {
    /// Whether it needs words of the batch.
    #[must_use]
    pub fn has_words(&self) -> bool {
        matches!(self, Ask::Run(_) | Ask::Watch(_))
    }
}

/// What is answered to a parcel.
#[derive(Debug, Default)]
pub struct Answered {
    /// One answer behind the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

/// Where an answer belongs.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// The place of the client in its shard.
    pub place: usize,
    /// Its connection, since the place may be another's by then.
    pub id: ConnId,
    /// The number of the answer (`answers.rs`).
    pub number: u64,
    /// Which part of it this is.
    pub part: usize,
}

/// The way to one other shard.
#[derive(Debug, Default)]
pub struct Way {
    /// What is asked while a parcel is away.
    waiting: Parcel,
    /// Where the answers to it belong.
    waiting_for: Vec<Option<Ticket>>,
    /// The same for the parcel that is away, if one is.
    away_for: Option<Vec<Option<Ticket>>>,
}

impl Way {
    /// To be asked with the next parcel. `words`: of what needs some. No ticket: nobody waits for the answer.
    pub fn ask(&mut self, ask: Ask, words: Option<&[&[u8]]>, ticket: Option<Ticket>) {
        self.waiting.asks.push(ask);
        self.waiting_for.push(ticket);
        if let Some(words) = words {
            self.waiting.batch.push(words);
        }
    }

    /// The next parcel, if there is anything to ask and none is away.
    pub fn leave(&mut self) -> Option<Parcel> {
        if self.away_for.is_some() || self.waiting.asks.is_empty() {
            return None;
        }
        self.away_for = Some(std::mem::take(&mut self.waiting_for));
        Some(std::mem::take(&mut self.waiting))
    }

    /// The parcel that was away is answered, or lost. Returns where the answers belong.
    pub fn returned(&mut self) -> Vec<Option<Ticket>> {
        self.away_for.take().expect("a parcel was away")
    }
}
