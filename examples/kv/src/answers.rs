//! A client's answers, in the order of its commands, while some of them come from other shards.
//!
//! Empty for a client whose commands all ran where it is connected: then answers go out as they are
//! written. Read next: `gather.rs`, for answers that are put together; `parcel.rs`, for how they
//! travel.

use std::collections::VecDeque;

use crate::gather::Gather;
use crate::reply::Reply;

/// How many commands of one client may be with other shards, or behind one that is.
const COMMANDS_MAX: usize = 1024;
/// How many bytes of such commands and of answers that wait for their turn there may be.
const BYTES_MAX: usize = 1 << 20;

/// The answers that are not sent yet.
#[derive(Debug, Default)]
pub struct Answers {
    slots: VecDeque<Slot>,
    /// The number of the first slot, counted since the client came.
    first: u64,
    /// Bytes of answers, and of parts of them, that are here.
    held: usize,
    /// Of commands that are away.
    asked: usize,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// The client does not want to have it.
    silent: bool,
    /// The bytes of its command.
    asked: usize,
    /// The bytes that are here of the answer.
    held: usize,
}

#[derive(Debug)]
enum State {
    Ready(Vec<u8>),
    /// Another shard has the command.
    Waiting,
    /// Several have a part of it.
    Gathering(Box<Gather>),
}

impl Answers {
    /// Whether none waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the client is to send no more for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= COMMANDS_MAX || self.held + self.asked >= BYTES_MAX
    }

    /// Whether it may send again.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.slots.len() <= COMMANDS_MAX / 2 && self.held + self.asked <= BYTES_MAX / 2
    }

    /// Whether many bytes are here that are not sent.
    #[must_use]
    pub fn are_many(&self) -> bool {
        self.held >= BYTES_MAX
    }

    /// Whether few are.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.held <= BYTES_MAX / 2
    }

    /// The number of the first answer that is not sent: no other can be sent before it.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next answer.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// An answer that is here and has to wait for others.
    pub fn push_ready(&mut self, bytes: &[u8]) {
        self.held += bytes.len();
        if let Some(Slot { state: State::Ready(last), silent: false, held, .. }) =
            self.slots.back_mut()
        {
            last.extend_from_slice(bytes);
            *held += bytes.len();
            return;
        }
        let (state, held) = (State::Ready(bytes.to_vec()), bytes.len());
        self.slots.push_back(Slot { state, silent: false, asked: 0, held });
    }

    /// An answer that another shard will send. Returns its number.
    pub fn push_waiting(&mut self, silent: bool, asked: usize) -> u64 {
        self.push(State::Waiting, silent, asked, 0)
    }

    /// An answer of which several shards will send a part. Returns its number.
    pub fn push_gathering(&mut self, gather: Gather, silent: bool, asked: usize) -> u64 {
        let held = gather.held();
        self.push(State::Gathering(Box::new(gather)), silent, asked, held)
    }

    fn push(&mut self, state: State, silent: bool, asked: usize, held: usize) -> u64 {
        self.asked += asked;
        self.held += held;
        let number = self.next();
        self.slots.push_back(Slot { state, silent, asked, held });
        number
    }

    /// An answer has come, or a part of it.
    pub fn fill(&mut self, number: u64, part: usize, bytes: &[u8]) {
        let place =
            usize::try_from(number - self.first).expect("a slot is kept until it is filled");
        let slot = &mut self.slots[place];
        let whole = match &mut slot.state {
            State::Ready(_) => unreachable!("an answer comes once"),
            State::Waiting if slot.silent => Vec::new(),
            State::Waiting => bytes.to_vec(),
            State::Gathering(gather) => {
                gather.fill(part, bytes);
                if !gather.is_whole() {
                    slot.held += bytes.len();
                    self.held += bytes.len();
                    return;
                }
                let mut reply = Reply::default();
                if !slot.silent {
                    gather.write(&mut reply);
                }
                reply.bytes
            }
        };
        self.asked -= slot.asked;
        self.held = self.held - slot.held + whole.len();
        (slot.asked, slot.held) = (0, whole.len());
        slot.state = State::Ready(whole);
    }

    /// Takes the first answer, if it is here.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        if !matches!(self.slots.front()?.state, State::Ready(_)) {
            return None;
        }
        let State::Ready(bytes) = self.slots.pop_front()?.state else { return None };
        self.first += 1;
        self.held -= bytes.len();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_the_commands() {
        let mut answers = Answers::default();
        let first = answers.push_waiting(false, 10);
        answers.push_ready(b"2");
        answers.push_ready(b"3");
        let fourth = answers.push_waiting(false, 10);
        let silent = answers.push_waiting(true, 10);
        assert_eq!(answers.pop(), None);
        answers.fill(fourth, 0, b"4");
        answers.fill(silent, 0, b"5");
        assert_eq!(answers.pop(), None);
        answers.fill(first, 0, b"1");
        let all: Vec<_> = std::iter::from_fn(|| answers.pop()).collect();
        assert_eq!(all.concat(), b"1234");
        assert!(answers.is_empty());
        assert_eq!((answers.held, answers.asked), (0, 0));
    }
}
