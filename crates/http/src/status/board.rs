//! What the reactors of a server know of each other: the last look of each, on one board.
//!
//! Each puts its own there once a second, by its own thread, and whichever is asked reads them all:
//! one lock for a place, which is held as long as a copy takes. No message of a connection goes by
//! it. Read next: `status/sample.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sample::{Point, Sample, between};

/// A rate is that of so long at least: a look is taken for each request, too, and what happens
/// between two of those says nothing.
const SPAN: Duration = Duration::from_millis(500);

/// Joins the status pages of a [`Server`](wouldblock::Server): what is seen at one reactor is then
/// all of them. See [`Status::of_server`](crate::Status::of_server).
#[derive(Clone, Debug)]
pub struct Board(Arc<[Mutex<Place>]>);

/// A reactor's place on the board.
#[derive(Debug, Default)]
struct Place {
    told: Option<Told>,
    /// The look that its next rates are counted from.
    since: Option<Sample>,
}

/// What a reactor has told of itself.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How often it has.
    times: u64,
    pub(crate) sample: Sample,
    /// What happened in the last second, or half of one.
    pub(crate) point: Point,
    /// Connections of the status page itself.
    pub(crate) own: usize,
}

impl Board {
    /// Creates one for this number of reactors, at least one.
    #[must_use]
    pub fn new(reactors: usize) -> Self {
        Board((0..reactors.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Returns the number of reactors that it is for.
    #[must_use]
    pub fn reactors(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn put(&self, number: usize, sample: Sample, own: usize) {
        let Some(place) = self.0.get(number) else { return };
        let mut place = lock(place);
        let (times, mut point) =
            place.told.as_ref().map_or((0, Point::default()), |it| (it.times, it.point));
        let since = place.since.get_or_insert_with(|| sample.clone());
        if sample.at.saturating_sub(since.at) >= SPAN {
            point = between(since, &sample);
            *since = sample.clone();
        }
        place.told = Some(Told { times: times + 1, sample, point, own });
    }

    /// What each has told; `None`: it has not begun.
    pub(crate) fn all(&self) -> Vec<Option<Told>> {
        self.0.iter().map(|place| lock(place).told.clone()).collect()
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which of the others are still heard of. Counted in looks of one's own, not in time: a machine
/// that sleeps makes none of them silent.
#[derive(Debug, Default)]
pub(crate) struct Ear(Vec<(u64, u32)>);

impl Ear {
    /// One more look at whether each has told something new.
    pub(crate) fn listen(&mut self, board: &Board) {
        self.0.resize(board.reactors(), (0, 0));
        for ((times, silent), place) in self.0.iter_mut().zip(board.0.iter()) {
            let now = lock(place).told.as_ref().map_or(0, |told| told.times);
            *silent = if now == *times { silent.saturating_add(1) } else { 0 };
            *times = now;
        }
    }

    /// For how many looks a reactor has told nothing new.
    pub(crate) fn silent(&self, number: usize) -> u32 {
        self.0.get(number).map_or(0, |(_, silent)| *silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wouldblock::Stats;

    fn sample() -> Sample {
        Sample {
            at: Duration::ZERO,
            stats: Stats::default(),
            services: Vec::new(),
            buffered: 0,
            worst_case: 0,
            connections_max: 0,
            leaving: false,
        }
    }

    /// A reactor that tells nothing new is silent for as many looks, and is not any more when it
    /// does; one that has never told anything is silent, too.
    #[test]
    fn a_reactor_is_silent_for_as_many_looks_as_it_has_told_nothing() {
        let (board, mut ear) = (Board::new(3), Ear::default());
        for look in 1..5 {
            board.put(0, sample(), 0);
            ear.listen(&board);
            assert_eq!([0, 1, 2].map(|number| ear.silent(number)), [0, look, look]);
        }
        board.put(1, sample(), 0);
        ear.listen(&board);
        assert_eq!([0, 1, 2].map(|number| ear.silent(number)), [1, 0, 5]);
        assert_eq!(ear.silent(9), 0);
    }
}
