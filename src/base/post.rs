//! Work from other threads: a bounded queue, and the wake that tells of it.
//!
//! One lock guards the queue. A thread that puts the first item into an empty queue wakes the
//! reactor; one that finds others there need not, for then the reactor either has a wake coming or
//! sees the flag before it waits: that is all of the coalescing. It knows neither what is posted
//! nor how a wake is made, so that a model checker can drive this very file with threads and a wake
//! of its own (`cargo test -p wouldblock --lib post::` with `RUSTFLAGS="--cfg wouldblock_loom"`).
//! Read next: `handler.rs`, whose `Handle` posts, and `reactor.rs`, which takes.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;

#[cfg(not(all(test, wouldblock_loom)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

#[cfg(all(test, wouldblock_loom))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

/// A closure that was not taken, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// [`posts_queued`](crate::Config::posts_queued) closures wait already. Later there may be
    /// room: wait, or do without.
    Full(F),
    /// The reactor has ended, or is past taking anything: nothing will run any more.
    Ended(F),
}

impl<F> PostError<F> {
    /// The closure.
    pub fn into_inner(self) -> F {
        match self {
            PostError::Full(closure) | PostError::Ended(closure) => closure,
        }
    }

    /// Whether the reactor has ended, so that trying again is of no use.
    pub fn is_ended(&self) -> bool {
        matches!(self, PostError::Ended(_))
    }

    pub(crate) fn map<G>(self, f: impl FnOnce(F) -> G) -> PostError<G> {
        match self {
            PostError::Full(closure) => PostError::Full(f(closure)),
            PostError::Ended(closure) => PostError::Ended(f(closure)),
        }
    }
}

impl<F> fmt::Debug for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PostError::Full(_) => "Full(..)",
            PostError::Ended(_) => "Ended(..)",
        })
    }
}

impl<F> fmt::Display for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PostError::Full(_) => "too many posted closures wait already",
            PostError::Ended(_) => "the reactor has ended",
        })
    }
}

impl<F> Error for PostError<F> {}

/// For `?` in a callback: the closure is dropped, and what is left says why. `QuotaExceeded` where too many
/// wait, `BrokenPipe` where the reactor has ended.
impl<F> From<PostError<F>> for io::Error {
    fn from(error: PostError<F>) -> io::Error {
        let kind = match error {
            PostError::Full(_) => io::ErrorKind::QuotaExceeded,
            PostError::Ended(_) => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error.to_string())
    }
}

/// What other threads posted, in the order in which they did.
pub(crate) struct Posts<T> {
    queue: Mutex<Queue<T>>,
    /// Whether the queue holds anything: written under the lock, read without it. A level: the
    /// wake may be lost on its way, this is not.
    waiting: AtomicBool,
    /// The most items at a time.
    limit: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct Queue<T> {
    items: VecDeque<T>,
    /// Nothing is taken any more.
    closed: bool,
}

impl<T> Posts<T> {
    pub(crate) fn new(limit: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Posts {
            queue: Mutex::new(Queue { items: VecDeque::new(), closed: false }),
            waiting: AtomicBool::new(false),
            limit,
            wake: Box::new(wake),
        }
    }

    /// From any thread: puts an item in, made of `raw` once it is sure that it is taken.
    pub(crate) fn post<F>(&self, raw: F, make: impl FnOnce(F) -> T) -> Result<(), PostError<F>> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(PostError::Ended(raw));
        }
        if queue.items.len() >= self.limit {
            return Err(PostError::Full(raw));
        }
        queue.items.push_back(make(raw));
        let first = queue.items.len() == 1;
        if first {
            self.waiting.store(true, Ordering::Release);
        }
        drop(queue);
        // After the flag, so that a reactor that waits already is woken, and one that is about to
        // wait finds either the flag or the wake.
        if first {
            (self.wake)();
        }
        Ok(())
    }

    /// Whether there is anything to take: to be asked before each wait.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes the first.
    pub(crate) fn take(&self) -> Option<T> {
        let mut queue = self.lock();
        let item = queue.items.pop_front();
        if queue.items.is_empty() {
            self.waiting.store(false, Ordering::Release);
        }
        item
    }

    /// Refuses whatever comes from here on; what was taken in stays.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Refuses whatever comes from here on, and drops what is there.
    pub(crate) fn end(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.items);
        self.waiting.store(false, Ordering::Release);
        // Not under the lock: what goes with a closure may post in its turn.
        drop(queue);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing of the user's runs under the lock: only an allocation that fails could poison it.
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Posts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posts").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(wouldblock_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn counted(limit: usize) -> (Arc<Posts<u32>>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let woken = Arc::clone(&wakes);
        let wake = move || {
            woken.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(Posts::new(limit, wake)), wakes)
    }

    /// Promise 4, Trap 56: the queue is bounded and in order, and wakes are coalesced.
    #[test]
    fn a_full_queue_gives_back_and_only_the_first_wakes() {
        let (posts, wakes) = counted(2);
        assert!(!posts.is_waiting());
        assert_eq!(posts.post(1, |n| n), Ok(()));
        assert_eq!(posts.post(2, |n| n), Ok(()));
        assert_eq!(posts.post(3, |n| n), Err(PostError::Full(3)));
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!(posts.take(), Some(1));
        assert!(posts.is_waiting(), "one is left");
        assert_eq!(posts.take(), Some(2));
        assert!(!posts.is_waiting());
        assert_eq!(posts.take(), None);
        assert_eq!(posts.post(4, |n| n), Ok(()));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_closed_queue_keeps_what_it_has_and_an_ended_one_drops_it() {
        let (posts, _) = counted(10);
        posts.post(1, |n| n).unwrap();
        posts.post(2, |n| n).unwrap();
        posts.close();
        let refused = posts.post(3, |n| n).unwrap_err();
        assert!(refused.is_ended());
        assert_eq!(refused.into_inner(), 3);
        assert_eq!(posts.take(), Some(1));
        posts.end();
        assert!(!posts.is_waiting());
        assert_eq!(posts.take(), None);
    }

    /// Promise 7: `?` in a callback tells why a closure was not taken.
    #[test]
    fn a_refused_post_is_an_error_of_io_that_says_why() {
        let (posts, _) = counted(0);
        let refuse = || -> io::Result<()> { Ok(posts.post(1, |n| n)?) };
        let full = refuse().unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(full.to_string(), "too many posted closures wait already");
        posts.end();
        assert_eq!(refuse().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// What is dropped at the end may post: no deadlock.
    #[test]
    fn what_is_dropped_at_the_end_may_post() {
        struct PostsAgain(Arc<Posts<Option<PostsAgain>>>);
        impl Drop for PostsAgain {
            fn drop(&mut self) {
                assert!(self.0.post(None, |none| none).is_err_and(|error| error.is_ended()));
            }
        }
        let posts = Arc::new(Posts::new(10, || ()));
        let again = PostsAgain(Arc::clone(&posts));
        assert!(posts.post(Some(again), |item| item).is_ok());
        posts.end();
    }
}

/// Every order in which threads and reactor can meet, tried by a model checker.
#[cfg(all(test, wouldblock_loom))]
mod model {
    use super::*;
    use loom::sync::{Arc, Condvar};
    use loom::thread;

    /// What a poll and its wake are: a level that the poll waits for and takes down.
    #[derive(Default)]
    struct Poll {
        woken: Mutex<bool>,
        told: Condvar,
    }

    impl Poll {
        fn wake(&self) {
            *self.woken.lock().unwrap() = true;
            self.told.notify_one();
        }

        fn wait(&self) {
            let mut woken = self.woken.lock().unwrap();
            while !*woken {
                woken = self.told.wait(woken).unwrap();
            }
            *woken = false;
        }
    }

    /// A reactor's turns: it takes at most `budget` in one, and waits only if none is left.
    fn serve(posts: &Posts<usize>, poll: &Poll, expected: usize, budget: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        while taken.len() < expected {
            if !posts.is_waiting() {
                poll.wait();
            }
            taken.extend(std::iter::from_fn(|| posts.take()).take(budget));
        }
        taken
    }

    fn posts_to(poll: &Arc<Poll>, limit: usize) -> Arc<Posts<usize>> {
        let poll = Arc::clone(poll);
        Arc::new(Posts::new(limit, move || poll.wake()))
    }

    /// Every order with at most so many preemptions: of all there are, a minute tries too few.
    fn check(preemptions: usize, what: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(what);
    }

    /// Threads post so many each while the reactor takes one a turn.
    fn threads_post(threads: usize, each: usize) {
        let poll = Arc::new(Poll::default());
        let posts = posts_to(&poll, 10);
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let posts = Arc::clone(&posts);
                thread::spawn(move || {
                    for n in 0..each {
                        posts.post(thread * each + n, |item| item).unwrap();
                    }
                })
            })
            .collect();
        let expected = threads.len() * each;
        let taken = serve(&posts, &poll, expected, 1);
        for thread in threads {
            thread.join().unwrap();
        }
        for n in 0..expected {
            let place = |item| taken.iter().position(|taken| *taken == item);
            assert!(place(n).is_some(), "{n} was lost");
            assert!(n % each == 0 || place(n - 1) < place(n), "a thread's own order is kept");
        }
        assert!(!posts.is_waiting(), "nothing is there twice");
    }

    /// Traps 56 and 57: a lost wake would leave the reactor waiting for ever, which the checker
    /// calls a deadlock.
    #[test]
    fn no_wake_is_lost_and_each_is_taken_once() {
        check(4, || threads_post(2, 1));
        check(4, || threads_post(1, 3));
        check(2, || threads_post(2, 2));
    }

    /// At the end each item was taken, or dropped, or given back: none is left in the queue.
    #[test]
    fn an_end_leaves_nothing_behind() {
        loom::model(|| {
            let poll = Arc::new(Poll::default());
            let posts = posts_to(&poll, 1);
            let other = Arc::clone(&posts);
            let thread = thread::spawn(move || {
                let _ = other.post(1, |item| item);
                let _ = other.post(2, |item| item);
            });
            let taken = posts.take();
            assert_ne!(taken, Some(2), "the second does not overtake the first");
            posts.end();
            thread.join().unwrap();
            assert!(!posts.is_waiting());
            assert_eq!(posts.take(), None);
            assert_eq!(posts.post(3, |item| item), Err(PostError::Ended(3)));
        });
    }
}
