//! The poll and the clock: where the outside world comes in.
//!
//! It registers a socket once, waits for events, and says what time it is; it decides nothing and
//! knows no connection. This is the only reader of the clock. Read next: `core.rs`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Waker};

use crate::id::Token;
use crate::readiness::Readiness;
use crate::socket::{Acceptor, Socket};
use crate::timers::Stamp;

/// Events taken in one poll. A full list means that the kernel may hold more.
pub(crate) const EVENTS: usize = 1024;

/// The poll, its events and the clock.
pub(crate) struct Driver {
    poll: Poll,
    events: Events,
    waker: Wake,
    /// What the system's clock read when ours read zero.
    epoch: u64,
}

/// Makes the poll return, from any thread. Wakes coalesce: it is a signal, not a count.
#[derive(Clone, Debug)]
pub(crate) struct Wake(Arc<Waker>);

impl Wake {
    pub(crate) fn wake(&self) {
        if let Err(error) = self.0.wake() {
            // An eventfd fails only when it is broken; whoever asked has no use for the error.
            log::error!("cannot wake the reactor: {error}");
        }
    }
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), mio::Token(Token::WAKER.0))?;
        Ok(Driver {
            poll,
            events: Events::with_capacity(EVENTS),
            waker: Wake(Arc::new(waker)),
            epoch: system_clock(),
        })
    }

    pub(crate) fn wake(&self) -> Wake {
        self.waker.clone()
    }

    /// The moment now.
    #[inline]
    pub(crate) fn now(&self) -> Stamp {
        Stamp::at(system_clock() - self.epoch)
    }

    /// Watches a connection for all it may ever report, once.
    pub(crate) fn register(&self, socket: &mut Socket, token: Token) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(socket.source(), mio::Token(token.0), interest)
    }

    /// Watches a listener.
    pub(crate) fn register_acceptor(
        &self,
        acceptor: &mut Acceptor,
        token: Token,
    ) -> io::Result<()> {
        let interest = Interest::READABLE;
        self.poll.registry().register(acceptor.source(), mio::Token(token.0), interest)
    }

    /// Waits at most `timeout` (`None`: as long as it takes) for events. Rounded up by mio to
    /// whole milliseconds where the kernel counts so: late by less than one, never early.
    ///
    /// # Errors
    ///
    /// `Interrupted` by a signal; anything else means that the poll is broken.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(&mut self.events, timeout)
    }

    /// The events of the last poll. Of one socket there may be several.
    #[inline]
    pub(crate) fn events(&self) -> impl Iterator<Item = (Token, Readiness)> + '_ {
        self.events.iter().map(|event| {
            let mut news = Readiness::EMPTY;
            let mut note = |is_so, bit| {
                if is_so {
                    news = news | bit;
                }
            };
            note(event.is_readable(), Readiness::READABLE);
            note(event.is_writable(), Readiness::WRITABLE);
            note(event.is_priority(), Readiness::URGENT);
            note(event.is_read_closed(), Readiness::READ_CLOSED);
            note(event.is_error(), Readiness::ERROR);
            (Token(event.token().0), news)
        })
    }
}

/// Keeps what it wraps where the poll is a descriptor itself: not with mio's poll(2) backend.
#[cfg(not(mio_unsupported_force_poll_poll))]
macro_rules! where_the_poll_has_a_descriptor {
    ($($item:item)*) => { $($item)* };
}
#[cfg(mio_unsupported_force_poll_poll)]
macro_rules! where_the_poll_has_a_descriptor {
    ($($item:item)*) => {};
}
pub(crate) use where_the_poll_has_a_descriptor;

where_the_poll_has_a_descriptor! {
    impl Driver {
        pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            std::os::fd::AsFd::as_fd(self.poll.registry())
        }
    }
}

/// In nanoseconds. Monotonic, and stands still while the machine is suspended (`CLOCK_MONOTONIC`,
/// `clock_gettime(2)`): what `std::time::Instant` reads, without what that does beside reading.
#[inline]
fn system_clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither is negative: the clock counts from the start of the machine.
    let part = |number| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 56: however often it is woken before it polls, it returns once.
    #[test]
    fn a_wake_before_the_poll_is_not_lost() {
        let mut driver = Driver::new().unwrap();
        let wake = driver.wake();
        wake.wake();
        wake.clone().wake();
        driver.poll(None).unwrap();
        assert!(driver.events().any(|(token, _)| token == Token::WAKER));
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let driver = Driver::new().unwrap();
        let before = driver.now();
        assert!(driver.now() >= before);
    }
}
