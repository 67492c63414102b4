//! The listeners: each in its slot, and which of them rest.
//!
//! A listener that rests is not on the run queue, and its deadline, if it has one, wakes it. The
//! number of those that rest is kept, so that a connection's end knows without a search whether one
//! has a listener to wake. What a failed accept means is `net/listener.rs`. Read next: `accept.rs`,
//! which accepts.

use super::schedule::{Due, Schedule, Ticket};
use crate::base::address::Address;
use crate::base::id::{LISTENER_BASE, LISTENERS_CEILING, ListenerId, Token};
use crate::base::slots::Slots;
use crate::net::intake::Intake;
use crate::net::listener::Listener;
use crate::net::socket::Socket;
use crate::time::deadlines::Stamp;

/// A listener in its slot.
#[derive(Debug)]
struct Entry {
    listener: Listener,
    ticket: Ticket,
    /// Its connections are of this one.
    service: u8,
}

/// All listeners of a reactor.
#[derive(Debug)]
pub(crate) struct Listeners {
    entries: Slots<Entry>,
    /// The number of those that rest.
    resting: usize,
    /// The one that has its turn.
    accepting: Option<ListenerId>,
    /// An accepted socket that waits until its predecessor's end has been told; only in a turn.
    pub(super) claimed: Option<(Socket, Address)>,
    /// The listeners that another reactor accepts for.
    intakes: Vec<ListenerId>,
    /// Number of the reactor.
    serial: u32,
}

impl Listeners {
    pub(super) fn new(serial: u32) -> Self {
        let entries = Slots::new(LISTENERS_CEILING, LISTENERS_CEILING);
        Listeners {
            entries,
            resting: 0,
            accepting: None,
            claimed: None,
            intakes: Vec::new(),
            serial,
        }
    }

    pub(super) fn insert(&mut self, listener: Listener, service: u8) -> ListenerId {
        let is_intake = listener.opened.as_intake().is_some();
        let entry = Entry { listener, ticket: Ticket::new(), service };
        let (slot, generation) = self.entries.insert(entry);
        let id = ListenerId::new(self.serial, slot, generation);
        if is_intake {
            self.intakes.push(id);
        }
        id
    }

    /// Moves a listener of this reactor out, if it is still there.
    pub(super) fn remove(&mut self, id: ListenerId, schedule: &mut Schedule) -> Option<Listener> {
        let mut entry = self.entries.remove(id.slot, id.generation)?;
        schedule.forget(&mut entry.ticket, id.token());
        self.intakes.retain(|intake| *intake != id);
        if entry.listener.resting {
            self.resting -= 1;
        }
        Some(entry.listener)
    }

    #[inline]
    pub(super) fn recycle(&mut self) {
        self.entries.recycle();
    }

    /// The listener that an id names, which may be of another reactor.
    pub(super) fn find(&self, id: ListenerId) -> Option<&Listener> {
        if self.is_own(id) { self.get(id) } else { None }
    }

    pub(super) fn is_own(&self, id: ListenerId) -> bool {
        id.reactor() == self.serial
    }

    /// The listener that an id of this reactor names, if it is still there.
    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.entries.get(id.slot, id.generation).map(|entry| &entry.listener)
    }

    pub(super) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.entries.get_mut(id.slot, id.generation).map(|entry| &mut entry.listener)
    }

    /// The service that a listener is of.
    pub(crate) fn service(&self, id: ListenerId) -> u8 {
        self.entries.get(id.slot, id.generation).map_or(0, |entry| entry.service)
    }

    /// The name of the listener that a token means, if it is still there.
    pub(super) fn named(&self, token: Token, slot: u32) -> Option<ListenerId> {
        let generation = self.entries.resolve(token, slot, LISTENER_BASE)?;
        Some(ListenerId::new(self.serial, slot, generation))
    }

    pub(super) fn ids(&self) -> Vec<ListenerId> {
        let name = |(slot, generation)| ListenerId::new(self.serial, slot, generation);
        self.entries.ids().map(name).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    /// The number of those that rest.
    pub(crate) fn resting(&self) -> usize {
        self.resting
    }

    /// Whether an intake has something that its listener does not know of: no event tells of it.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.news().is_some()
    }

    /// The first of those. Without an intake, as almost everywhere, it costs one comparison in each turn.
    #[inline]
    fn news(&self) -> Option<ListenerId> {
        let is_news = |id: &ListenerId| {
            let listener = self.get(*id).filter(|listener| !listener.readable);
            let intake = listener.and_then(|listener| listener.opened.as_intake());
            intake.is_some_and(Intake::is_waiting)
        };
        self.intakes.iter().copied().find(is_news)
    }

    /// Notes what another reactor has accepted for this one.
    #[inline]
    pub(super) fn note_news(&mut self, schedule: &mut Schedule) {
        while let Some(id) = self.news() {
            self.note_readable(id, schedule);
        }
    }

    /// What another reactor accepts for, each with its service.
    pub(super) fn intakes(&self) -> impl Iterator<Item = (u8, &Intake)> {
        let intake =
            |id: &ListenerId| Some((self.service(*id), self.get(*id)?.opened.as_intake()?));
        self.intakes.iter().filter_map(intake)
    }

    /// The kernel says that a client waits.
    #[cold]
    pub(super) fn handle_event(&mut self, token: Token, slot: u32, schedule: &mut Schedule) {
        let Some(id) = self.named(token, slot) else { return };
        self.note_readable(id, schedule);
    }

    fn note_readable(&mut self, id: ListenerId, schedule: &mut Schedule) {
        if let Some(listener) = self.get_mut(id) {
            listener.readable = true;
            self.update(id, Due::Unchanged, schedule);
        }
    }

    /// Lets a listener rest until any connection closes, or this moment.
    pub(super) fn rest(&mut self, id: ListenerId, until: Stamp, schedule: &mut Schedule) {
        let Some(listener) = self.get_mut(id) else { return };
        let rested = std::mem::replace(&mut listener.resting, true);
        self.resting += usize::from(!rested);
        self.update(id, Due::At(until), schedule);
    }

    /// Ends the rest of a listener, if it rests.
    pub(super) fn wake(&mut self, id: ListenerId, schedule: &mut Schedule) {
        let Some(listener) = self.get_mut(id) else { return };
        let rested = std::mem::take(&mut listener.resting);
        self.resting -= usize::from(rested);
        self.update(id, Due::At(Stamp::NEVER), schedule);
    }

    /// Its deadline has come.
    pub(super) fn expire(&mut self, token: Token, slot: u32, schedule: &mut Schedule) {
        let Some(id) = self.named(token, slot) else { return };
        if let Some(entry) = self.entries.get_mut(id.slot, id.generation) {
            entry.ticket.take_deadline();
        }
        self.wake(id, schedule);
    }

    /// Begins a listener's turn: until its end it counts as on the run queue.
    pub(super) fn begin_turn(&mut self, id: ListenerId) {
        self.accepting = Some(id);
    }

    /// After a listener's turn: back on the run queue if there is more to accept.
    pub(super) fn end_turn(&mut self, schedule: &mut Schedule) {
        let Some(id) = self.accepting.take() else { return };
        if let Some(entry) = self.entries.get_mut(id.slot, id.generation) {
            entry.ticket.take_turn();
        }
        self.update(id, Due::Unchanged, schedule);
    }

    /// The service of the one that has its turn.
    pub(super) fn accepting_service(&self) -> u8 {
        self.accepting.map_or(0, |id| self.service(id))
    }

    /// Whether the turn of one has begun and not ended.
    #[inline]
    pub(super) fn is_in_turn(&self) -> bool {
        self.accepting.is_some()
    }

    fn update(&mut self, id: ListenerId, due: Due, schedule: &mut Schedule) {
        if let Some(Entry { listener, ticket, .. }) = self.entries.get_mut(id.slot, id.generation) {
            schedule.update(ticket, id.token(), listener.is_runnable(), due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::Listen;

    fn one() -> (Listeners, ListenerId, Schedule) {
        let opened = Listen::from("127.0.0.1:0").open_on(None).unwrap();
        let address = opened.local_addr().unwrap();
        let mut listeners = Listeners::new(3);
        let id = listeners.insert(Listener::new(opened, address), 0);
        (listeners, id, Schedule::default())
    }

    /// Promise 1: a listener that rests is off the run queue until it is woken, by its deadline or before.
    #[test]
    fn a_listener_that_rests_is_woken_by_its_deadline_or_before() {
        let (mut listeners, id, mut schedule) = one();
        for by_its_deadline in [true, false] {
            listeners.handle_event(id.token(), id.slot, &mut schedule);
            assert_eq!(schedule.next_runnable(), Some(id.token()));
            listeners.begin_turn(id);
            listeners.rest(id, Stamp::at(9), &mut schedule);
            listeners.rest(id, Stamp::at(9), &mut schedule);
            assert_eq!(listeners.resting(), 1, "counted once");
            listeners.end_turn(&mut schedule);
            assert_eq!((schedule.run_len(), schedule.next_deadline()), (0, Stamp::at(9)));
            if by_its_deadline {
                assert_eq!(schedule.expire(Stamp::at(9)), Some(id.token()));
                listeners.expire(id.token(), id.slot, &mut schedule);
            } else {
                listeners.wake(id, &mut schedule);
            }
            assert_eq!((listeners.resting(), schedule.next_deadline()), (0, Stamp::NEVER));
            assert_eq!(schedule.next_runnable(), Some(id.token()));
            listeners.begin_turn(id);
            listeners.get_mut(id).unwrap().readable = false;
            listeners.end_turn(&mut schedule);
        }
        listeners.rest(id, Stamp::at(9), &mut schedule);
        assert!(listeners.remove(id, &mut schedule).is_some());
        assert_eq!((listeners.resting(), schedule.next_deadline()), (0, Stamp::NEVER));
    }

    /// Promise 1: what wakes a listener in its own turn does not queue it twice.
    #[test]
    fn a_listener_is_queued_once_after_its_turn() {
        let (mut listeners, id, mut schedule) = one();
        listeners.handle_event(id.token(), id.slot, &mut schedule);
        assert_eq!(schedule.next_runnable(), Some(id.token()));
        listeners.begin_turn(id);
        listeners.wake(id, &mut schedule);
        assert_eq!(schedule.run_len(), 0);
        listeners.end_turn(&mut schedule);
        assert_eq!(schedule.run_len(), 1);
    }
}
