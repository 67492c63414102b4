//! The schedules hold, and tell the same each time.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::time::Duration;

use wouldblock_check::late::{comes_late, is_late};
use wouldblock_check::schedule::Schedule;

/// So many seeds, or where Miri runs them, a thousand times slower, a 25th of them.
fn few(seeds: u64) -> u64 {
    if cfg!(miri) { seeds.div_ceil(25) } else { seeds }
}

/// Promises 1, 2, 3, 4, 5, 6 and 7. Traps 5, 6, 11, 15, 22, 41 and 64: schedules that once failed, then
/// others. `cargo run --release --bin simulate` runs as many as one likes.
#[test]
fn the_schedules_hold() {
    let once = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let once = once.map(|line| {
        let (seed, what) = line.split_once(' ').unwrap();
        let with = what.trim_start().split_once(':').map_or("", |(with, _)| with);
        (seed.parse().unwrap(), with)
    });
    let others = (0..few(1000)).map(|seed| (seed, ""));
    for (seed, with) in once.filter(|_| !cfg!(miri)).chain(others) {
        holds(seed, with);
        if Schedule::is_layered_too(seed) {
            holds(seed, "layers");
        }
        if Schedule::is_handed_too(seed) {
            holds(seed, "handed");
        }
        if Schedule::is_served_too(seed) {
            holds(seed, "services");
        }
    }
}

/// `with`: the option that the schedule is played with, if that is the name of one.
fn holds(seed: u64, with: &str) {
    let schedule = Schedule::new(seed);
    let (schedule, option) = match with {
        "layers" => (schedule.layered(true), " --layers"),
        "handed" => (schedule.handed(true), " --handed"),
        "services" => (schedule.services(true), " --services"),
        _ => (schedule, ""),
    };
    if let Err(failure) = schedule.run() {
        let again = "cargo run --release --bin simulate -- --replay";
        panic!("{failure}\nagain: {again} {seed}{option}");
    }
}

/// The same seed gives the same trace, on whichever thread, beside whatever else.
#[test]
fn a_seed_tells_everything() {
    let hashes = |from: u64| -> Vec<u64> {
        (from..from + few(50)).map(|seed| Schedule::new(seed).run().unwrap().hash).collect()
    };
    let there = std::thread::spawn(move || hashes(7));
    let here = hashes(7);
    assert_eq!(here, there.join().unwrap());
    assert_eq!(here, hashes(7));
    assert_ne!(here[0], here[1]);
}

/// Time that passes between two polls, in callbacks or before a turn, makes no connection late: the next
/// poll comes first, and the turn behind it acts. A poll that sleeps past a deadline does.
#[test]
fn only_a_poll_that_sleeps_and_a_turn_that_forgets_are_late() {
    const MS: u64 = 1_000_000;
    let wait = Duration::from_millis(5);
    // Due at 15 ms, while callbacks ran from 10 to 90 ms.
    let polls = [(9 * MS, 10 * MS), (90 * MS, 91 * MS)];
    assert!(!comes_late(polls, 10 * MS, wait));
    assert!(is_late(polls, 10 * MS, wait), "the turn behind that poll was to act");
    // The turn before was to act.
    let polls = [(90 * MS, 91 * MS), (92 * MS, 93 * MS)];
    assert!(comes_late(polls, 10 * MS, wait));
    // It slept past it.
    let polls = [(9 * MS, 10 * MS), (11 * MS, 20 * MS)];
    assert!(comes_late(polls, 10 * MS, wait) && is_late(polls, 10 * MS, wait));
    // And here it was busy for as long.
    assert!(!comes_late(polls, 20 * MS, wait) && !is_late(polls, 20 * MS, wait));
}
