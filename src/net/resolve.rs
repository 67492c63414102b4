//! Names are looked up on a few threads, since that blocks: in a file, in the network, for seconds if a
//! name server is down.
//!
//! The threads are the process's, begin when there is something to look up, and end when there is no
//! more. Their number is bounded, and so is that of the names that wait. What comes of a look-up is
//! posted by `handler.rs`, which is to be read next.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::base::refused::Refused;

/// How many names are looked up at a time: one that no server answers takes its thread for seconds.
const THREADS: usize = 8;
/// How many names wait for a thread.
const WAITING: usize = 1024;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

struct Lookups {
    waiting: VecDeque<Job>,
    /// Those that run, at most [`THREADS`]; while something waits, one at least.
    threads: usize,
}

static LOOKUPS: Mutex<Lookups> = Mutex::new(Lookups { waiting: VecDeque::new(), threads: 0 });

fn lookups() -> MutexGuard<'static, Lookups> {
    LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something on one of the threads.
///
/// # Errors
///
/// `QuotaExceeded`: too many wait. Or what the system says if no thread can be had.
pub(crate) fn aside(job: Job) -> io::Result<()> {
    let mut lookups = lookups();
    if lookups.waiting.len() >= WAITING {
        return Err(
            Refused::TooMany { most: WAITING, what: "names waiting to be looked up" }.into()
        );
    }
    if lookups.threads < THREADS {
        match thread::Builder::new().name("resolve".into()).spawn(work) {
            Ok(_) => lookups.threads += 1,
            // One of those that run comes to it.
            Err(_) if lookups.threads > 0 => {}
            Err(error) => return Err(error),
        }
    }
    lookups.waiting.push_back(job);
    Ok(())
}

fn work() {
    loop {
        let mut lookups = lookups();
        let Some(job) = lookups.waiting.pop_front() else {
            // Under the same lock: a caller that puts something in now knows that this one is gone.
            lookups.threads -= 1;
            return;
        };
        drop(lookups);
        // What a job captured may panic when it is dropped: that ends the job alone.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Promise 4: names that take long take the threads there are, and no more; each is looked up, and
    /// one that panics takes no thread away.
    #[test]
    fn the_threads_are_bounded_and_every_name_has_its_turn() {
        let (told, tells) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let gate = std::sync::Arc::new(Mutex::new(gate));
        for n in 0..3 * THREADS {
            let (told, gate) = (told.clone(), std::sync::Arc::clone(&gate));
            aside(Box::new(move || {
                let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
                told.send((n, lookups().threads)).unwrap();
                assert!(n % 3 > 0, "one in three panics");
            }))
            .unwrap();
        }
        assert_eq!(lookups().threads, THREADS);
        drop(open);
        let mut done: Vec<_> = (0..3 * THREADS)
            .map(|_| tells.recv_timeout(Duration::from_secs(60)).expect("each has its turn"))
            .inspect(|(_, threads)| assert!(*threads <= THREADS))
            .map(|(n, _)| n)
            .collect();
        done.sort_unstable();
        assert_eq!(done, (0..3 * THREADS).collect::<Vec<_>>());
        // Behind the last name the threads go, and those of later names have their places.
        let mut looks = 0..60_000;
        let are_gone = looks.any(|_| {
            thread::sleep(Duration::from_millis(1));
            lookups().threads == 0
        });
        assert!(are_gone, "{} threads are counted", lookups().threads);
    }
}
