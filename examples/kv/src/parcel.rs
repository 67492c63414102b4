//! What one shard asks of another, and what it is answered: in parcels, at most one of each way at a time.
//!
//! While a parcel is away, what is asked meanwhile waits for its return and leaves as the next one.
//! So they grow when there is much to do, no queue of posts ever fills, and the order of what one
//! client asks of one shard is kept. How much waits is bounded by the clients, each of which is
//! paused when much of it is away (`answers.rs`).
//!
//! A shard answers as much at a time as [`ANSWER`] says, and gives the rest of a parcel back: other
//! clients of it do not wait, and clients that do not read their answers are left out of what
//! leaves next ([`Way::put_back`]). Read next: `shard.rs`, which posts the parcels.

use wouldblock::ConnId;

use crate::batch::Batch;
use crate::reply::Protocol;

/// So many bytes of answers end the serving of a parcel: one answer more than that at most.
pub const ANSWER: usize = 256 << 10;

/// In the place of a part of an answer: nothing is answered.
pub const UNANSWERED: usize = usize::MAX;

/// What one shard asks of another.
#[derive(Debug, Default)]
pub struct Parcel {
    /// In order.
    pub asks: Vec<Asked>,
    /// Commands that belong to them.
    pub batch: Batch,
}

/// One thing that is asked.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub ask: Ask,
    /// Which command of the batch it is about; none, and no words, for what needs none.
    pub command: Option<usize>,
}

/// What can be asked.
#[derive(Debug)]
pub enum Ask {
    /// To run the command.
    Run(Protocol),
    /// To watch the keys of the command for a client.
    Watch(ConnId),
    /// To watch nothing for it any more. Nothing is answered.
    Unwatch(ConnId),
    /// To run these commands at once, unless what is watched for the client has changed; to watch
    /// nothing for it after that.
    Unit(ConnId, Protocol, Box<Batch>),
}

/// What is answered to a parcel.
#[derive(Debug, Default)]
pub struct Answered {
    /// One answer behind the other.
    pub bytes: Vec<u8>,
    /// Where each ends. There are fewer of them than was asked if they were enough for one time.
    pub ends: Vec<usize>,
    /// What was not served.
    pub rest: Parcel,
}

/// Where an answer belongs.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// The place of the client in its shard.
    pub place: usize,
    /// Its connection, since the place may be another's by then.
    pub id: ConnId,
    /// The number of the answer (`answers.rs`); of the next one where nothing is answered. So it
    /// never falls from one thing that a client asks of a shard to the next.
    pub number: u64,
    /// Which part of it this is, or [`UNANSWERED`].
    pub part: usize,
}

/// Something that is to be asked when its client has read what it was answered before.
#[derive(Debug)]
pub struct Parked {
    /// Of which shard.
    pub there: usize,
    /// What.
    pub ask: Ask,
    /// Its command, if it has one.
    batch: Option<Batch>,
    /// Where the answer belongs.
    pub ticket: Ticket,
}

/// The way to one other shard.
#[derive(Debug, Default)]
pub struct Way {
    /// What was given back: it leaves before what waits.
    back: Parcel,
    /// Where the answers to it belong.
    back_for: Vec<Option<Ticket>>,
    /// What is asked while a parcel is away.
    waiting: Parcel,
    waiting_for: Vec<Option<Ticket>>,
    /// The tickets of the parcel that is away, if one is.
    away_for: Option<Vec<Option<Ticket>>>,
}

impl Way {
    /// To be asked with the next parcel. `words`: of what needs some. No ticket: nobody waits for
    /// the answer.
    pub fn ask(&mut self, ask: Ask, words: Option<&[&[u8]]>, ticket: Option<Ticket>) {
        let command = words.map(|words| {
            self.waiting.batch.push(words);
            self.waiting.batch.len() - 1
        });
        self.waiting.asks.push(Asked { ask, command });
        self.waiting_for.push(ticket);
    }

    /// The same for what was parked.
    pub fn ask_again(&mut self, parked: Parked) {
        let mut words = Vec::new();
        if let Some(batch) = &parked.batch {
            batch.get(0, &mut words);
        }
        self.ask(parked.ask, parked.batch.as_ref().map(|_| &words[..]), Some(parked.ticket));
    }

    /// The next parcel, if there is anything to ask and none is away.
    pub fn leave(&mut self) -> Option<Parcel> {
        if self.away_for.is_some() {
            return None;
        }
        for (parcel, tickets) in
            [(&mut self.back, &mut self.back_for), (&mut self.waiting, &mut self.waiting_for)]
        {
            if !parcel.asks.is_empty() {
                self.away_for = Some(std::mem::take(tickets));
                return Some(std::mem::take(parcel));
            }
        }
        None
    }

    /// Whether nothing waits without a parcel that is away, whose return sends it.
    #[must_use]
    pub fn is_on_its_way(&self) -> bool {
        self.away_for.is_some() || (self.back.asks.is_empty() && self.waiting.asks.is_empty())
    }

    /// The parcel that was away is answered, or lost. Returns where the answers belong.
    pub fn returned(&mut self) -> Vec<Option<Ticket>> {
        self.away_for.take().expect("a parcel was away")
    }

    /// What was not served of a parcel is to leave again, before all else. But not what belongs to
    /// clients that are `held_up`: that, and what they have asked since, is returned.
    pub fn put_back(
        &mut self,
        there: usize,
        rest: Parcel,
        rest_for: Vec<Option<Ticket>>,
        held_up: impl Fn(&Ticket) -> bool,
    ) -> Vec<Parked> {
        let mut parked = Vec::new();
        (self.back, self.back_for) = part(rest, rest_for, there, &held_up, &mut parked);
        if !parked.is_empty() {
            let (waiting, tickets) =
                (std::mem::take(&mut self.waiting), std::mem::take(&mut self.waiting_for));
            (self.waiting, self.waiting_for) = part(waiting, tickets, there, &held_up, &mut parked);
        }
        parked
    }
}

/// A parcel without what belongs to clients that are held up.
fn part(
    parcel: Parcel,
    tickets: Vec<Option<Ticket>>,
    there: usize,
    held_up: impl Fn(&Ticket) -> bool,
    parked: &mut Vec<Parked>,
) -> (Parcel, Vec<Option<Ticket>>) {
    let Parcel { asks, batch } = parcel;
    let mut left = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
    let mut words = Vec::new();
    for (asked, ticket) in asks.into_iter().zip(tickets) {
        match ticket {
            Some(ticket) if held_up(&ticket) => {
                let batch = asked.command.map(|number| {
                    batch.get(number, &mut words);
                    let mut own = Batch::default();
                    own.push(&words);
                    own
                });
                parked.push(Parked { there, ask: asked.ask, batch, ticket });
            }
            _ => {
                left.0.push(asked);
                left.1.push(ticket);
            }
        }
    }
    (Parcel { asks: left.0, batch }, left.1)
}
