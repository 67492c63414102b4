//! Connections that one reactor accepts for others: the intake of each, and the choice among them.
//!
//! An intake is a listener without a socket: its owner accepts from it as from any other, so that
//! limits, layers and shutdown are the same there. What two threads share is the queue of posts
//! once more (`base/post.rs`), and a few numbers that are hints: nothing is lost if they are a
//! little old. Read next: `core/accept.rs`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::base::address::Address;
use crate::base::post::Posts;
use crate::base::spread::{Crowd, Spread};
use crate::net::socket::Socket;

/// The owner's end. When it goes, nothing is taken any more, and what waits is reset.
#[derive(Debug)]
pub(crate) struct Intake(Arc<Queue>);

/// What waits for one reactor.
pub(crate) struct Queue {
    sockets: Posts<(Socket, Address)>,
    /// The connections of the reactor, and the most that it may have.
    crowd: Arc<Crowd>,
    most: usize,
    /// Those in this queue, and the places that the owner has for them: as many as its service may
    /// have, and no more than are left.
    waiting: AtomicUsize,
    places: AtomicUsize,
    /// The owner has stopped accepting for now.
    paused: AtomicBool,
    closed: AtomicBool,
    /// Where the socket listens.
    address: Address,
}

impl Intake {
    /// `wake`: of the owner.
    pub(crate) fn new(
        address: Address,
        crowd: Arc<Crowd>,
        most: usize,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        // What bounds it is `has_room`, and in a shutdown the kernel's backlog.
        let sockets = Posts::new(usize::MAX, wake);
        let (waiting, places) = (AtomicUsize::new(0), AtomicUsize::new(most));
        let (paused, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Intake(Arc::new(Queue { sockets, crowd, most, waiting, places, paused, closed, address }))
    }

    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.0)
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    /// Whether a connection waits.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.sockets.is_waiting()
    }

    /// # Errors
    ///
    /// `WouldBlock` if none waits.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Address)> {
        let taken = self.0.sockets.take().ok_or(io::ErrorKind::WouldBlock)?;
        // It waits no more, and has a place: in that order there would be one too many in between.
        self.note_places(self.0.places.load(Ordering::Relaxed).saturating_sub(1));
        self.0.one_waits_no_more();
        Ok(taken)
    }

    /// Says how many there are places for.
    pub(crate) fn note_places(&self, places: usize) {
        self.0.places.store(places, Ordering::Relaxed);
    }

    /// Says whether any is taken for now.
    pub(crate) fn pause(&self, pause: bool) {
        self.0.paused.store(pause, Ordering::Relaxed);
    }

    /// Takes nothing new; what waits is still to be accepted.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.sockets.close();
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.close();
        // As the kernel does with a backlog (trap 25).
        while let Ok((socket, _)) = self.accept() {
            socket.reset_on_close();
        }
    }
}

impl Queue {
    /// Gives the socket back if it is closed.
    fn put(&self, accepted: (Socket, Address)) -> Result<(), (Socket, Address)> {
        // Before it can be taken.
        self.crowd.one_waits();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let put = self.sockets.post(accepted, |accepted| accepted);
        put.map_err(|refused| {
            self.one_waits_no_more();
            refused.into_inner()
        })
    }

    fn one_waits_no_more(&self) {
        self.crowd.one_waits_no_more();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_taken_from(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && !self.paused.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.is_taken_from()
            && waiting < self.places.load(Ordering::Relaxed)
            // Others of the reactor's intakes want places, too.
            && self.crowd.all() < self.most
    }

    /// Whether it may make room for one.
    fn may_reclaim(&self) -> bool {
        self.is_taken_from() && !self.sockets.is_waiting()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("crowd", &self.crowd).finish_non_exhaustive()
    }
}

/// Chooses for each connection that is accepted.
#[derive(Debug)]
pub(crate) struct Spreader {
    by: Spread,
    queues: Vec<Arc<Queue>>,
    next: usize,
}

impl Spreader {
    /// `queues`: of the reactors, by number.
    pub(crate) fn new(by: Spread, queues: Vec<Arc<Queue>>) -> Self {
        Spreader { by, queues, next: 0 }
    }

    /// Whether one of them would take a connection. `reclaims`: a full one may make room for one.
    pub(crate) fn has_room(&self, reclaims: bool) -> bool {
        self.queues.iter().any(|queue| queue.has_room() || reclaims && queue.may_reclaim())
    }

    /// Why none of them would, for the log.
    pub(crate) fn why_not(&self) -> String {
        let mut accepting = self.queues.iter().filter(|queue| queue.is_taken_from()).peekable();
        let Some(most) = accepting.peek().map(|queue| queue.most) else {
            return "while no reactor accepts".into();
        };
        if accepting.all(|queue| queue.crowd.all() >= most) {
            return format!("at {most} connections in each reactor that accepts, the limit");
        }
        "at the caps of its service in the reactors that accept".into()
    }

    /// Hands a connection to one of them.
    ///
    /// # Errors
    ///
    /// Gives it back if all are closed.
    pub(crate) fn hand(&mut self, socket: Socket, peer: Address) -> Result<(), (Socket, Address)> {
        let mut accepted = (socket, peer);
        if let Some(chosen) = self.chosen(&accepted.1).filter(|queue| queue.has_room()) {
            match chosen.put(accepted) {
                Ok(()) => return Ok(()),
                Err(back) => accepted = back,
            }
        }
        // That one is full or gone: any other, the full ones last.
        let mut all: Vec<&Arc<Queue>> = self.queues.iter().collect();
        all.sort_by_key(|queue| (!queue.has_room(), queue.crowd.all()));
        for queue in all {
            match queue.put(accepted) {
                Ok(()) => return Ok(()),
                Err(back) => accepted = back,
            }
        }
        Err(accepted)
    }

    fn chosen(&mut self, peer: &Address) -> Option<&Queue> {
        let number = match (self.by, peer.ip()) {
            (Spread::RoundRobin, _) => {
                self.next = (self.next + 1) % self.queues.len().max(1);
                self.next
            }
            (Spread::ByAddress, Some(ip)) => {
                let mut hasher = DefaultHasher::new();
                ip.to_canonical().hash(&mut hasher);
                // What is left is below the number of reactors.
                let number = hasher.finish() % self.queues.len().max(1) as u64;
                usize::try_from(number).unwrap_or_default()
            }
            (Spread::ByAddress | Spread::LeastLoaded | Spread::Kernel, _) => self.least_loaded(),
        };
        self.queues.get(number).map(|queue| &**queue)
    }

    /// Of several as loaded the one that has waited longest for its turn.
    fn least_loaded(&mut self) -> usize {
        let count = self.queues.len().max(1);
        let turns = (1..=count).map(|n| (self.next + n) % count);
        let least =
            turns.min_by_key(|number| self.queues.get(*number).map(|queue| queue.crowd.all()));
        self.next = least.unwrap_or_default();
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::Stream;
    use std::os::unix::net::UnixStream;

    /// The intakes of `reactors` reactors, each of which may have two connections.
    fn world(by: Spread, reactors: usize) -> (Spreader, Vec<Intake>) {
        let intake = || Intake::new(Address::Unnamed, Arc::default(), 2, || ());
        let intakes: Vec<_> = (0..reactors).map(|_| intake()).collect();
        (Spreader::new(by, intakes.iter().map(Intake::queue).collect()), intakes)
    }

    fn socket() -> Socket {
        Stream::from(UnixStream::pair().unwrap().0).into_socket().unwrap()
    }

    /// How many were handed to each.
    fn handed(spreader: &mut Spreader, intakes: &[Intake], count: usize) -> Vec<usize> {
        for _ in 0..count {
            spreader.hand(socket(), Address::Unnamed).unwrap();
        }
        intakes.iter().map(|it| it.0.crowd.all()).collect()
    }

    /// Promise 4: a reactor that is full, with those that wait for it, gets none; nor does one that
    /// is closed; and a connection that none takes comes back.
    #[test]
    fn a_full_or_closed_intake_gets_nothing() {
        for by in [Spread::RoundRobin, Spread::LeastLoaded, Spread::ByAddress] {
            let (mut spreader, mut intakes) = world(by, 3);
            intakes[1].0.crowd.note_open(1);
            assert!(spreader.has_room(false));
            assert_eq!(handed(&mut spreader, &intakes, 5), [2, 2, 2], "{by:?}");
            assert!(!spreader.has_room(false) && !spreader.has_room(true), "{by:?}");
            // In a shutdown they get more than they may have: the least loaded first.
            assert_eq!(handed(&mut spreader, &intakes, 1).iter().sum::<usize>(), 7);
            intakes[0].close();
            drop(intakes.remove(1));
            assert!(intakes[0].accept().is_ok(), "what waits is still there");
            for _ in 0..3 {
                spreader.hand(socket(), Address::Unnamed).unwrap();
            }
            drop(intakes);
            assert!(spreader.hand(socket(), Address::Unnamed).is_err(), "{by:?}");
        }
    }

    /// Promise 4: between two words of its owner an intake is handed no more than there were
    /// places; and none while it is paused.
    #[test]
    fn what_is_taken_out_has_a_place_that_is_not_given_again() {
        let (mut spreader, intakes) = world(Spread::RoundRobin, 1);
        intakes[0].note_places(1);
        assert_eq!(handed(&mut spreader, &intakes, 1), [1]);
        assert!(!spreader.has_room(true));
        assert!(intakes[0].accept().is_ok());
        assert!(!spreader.has_room(false) && spreader.has_room(true));
        intakes[0].note_places(1);
        assert!(spreader.has_room(false));
        intakes[0].pause(true);
        assert!(!spreader.has_room(false) && !spreader.has_room(true));
    }

    /// Promise 7: an operator who raises the limit where it is not the reason waits in vain.
    #[test]
    fn why_no_reactor_takes_any_is_told_as_it_is() {
        let (spreader, intakes) = world(Spread::RoundRobin, 2);
        for intake in &intakes {
            intake.note_places(0);
        }
        assert_eq!(spreader.why_not(), "at the caps of its service in the reactors that accept");
        intakes[0].0.crowd.note_open(2);
        assert_eq!(spreader.why_not(), "at the caps of its service in the reactors that accept");
        intakes[1].pause(true);
        let limit = "at 2 connections in each reactor that accepts, the limit";
        assert_eq!(spreader.why_not(), limit);
        intakes[0].close();
        assert_eq!(spreader.why_not(), "while no reactor accepts");
    }

    /// A full reactor that may make room gets one, and the next when it has taken that.
    #[test]
    fn a_reactor_that_reclaims_gets_one_at_a_time() {
        let (mut spreader, intakes) = world(Spread::LeastLoaded, 1);
        intakes[0].0.crowd.note_open(2);
        assert!(spreader.has_room(true) && !spreader.has_room(false));
        assert_eq!(handed(&mut spreader, &intakes, 1), [3]);
        assert!(!spreader.has_room(true));
        assert!(intakes[0].accept().is_ok());
        assert!(spreader.has_room(true));
    }
}
