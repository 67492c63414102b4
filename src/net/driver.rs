//! The poll and the clock: where the outside world comes in.
//!
//! It registers a socket once, waits for events, and says what time it is; it decides nothing and
//! knows no connection. This is the only reader of the clock. Read next: `core.rs`.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mio::{Events, Interest, Poll, Waker};

use crate::base::id::Token;
use crate::base::readiness::Readiness;
use crate::kernel::Kernel;
use crate::net::socket::{Acceptor, Datagrams, Socket, Watched};
use crate::time::deadlines::Stamp;

/// Events taken in one poll. A full list means that the kernel may hold more.
const EVENTS: usize = 1024;

/// The poll, its events and the clock.
pub(crate) struct Driver(World);

/// The machine's kernel, or a simulated one; that has no value where it is not built.
enum World {
    Real(Real),
    Sim { kernel: Kernel, events: Vec<(Token, Readiness)> },
}

struct Real {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// What the system's clock read when ours read zero.
    epoch: u64,
}

/// Makes the poll return, from any thread. Wakes coalesce: it is a signal, not a count. It keeps no
/// descriptor open: the waker belongs to the driver, and after the end there is nothing to wake.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    Real(Weak<Waker>),
    Sim(Kernel),
}

impl Wake {
    pub(crate) fn wake(&self) {
        match self {
            Wake::Real(waker) => {
                if let Some(waker) = waker.upgrade()
                    && let Err(error) = waker.wake()
                {
                    // An eventfd fails only when it is broken; the caller has no use for the error.
                    log::error!("cannot wake the reactor: {error}");
                }
            }
            Wake::Sim(kernel) => kernel.wake(),
        }
    }
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), mio::Token(Token::WAKER.0))?;
        Ok(Driver(World::Real(Real {
            poll,
            events: Events::with_capacity(EVENTS),
            waker: Arc::new(waker),
            epoch: system_clock(),
        })))
    }

    /// On a simulated kernel, with a poll of its own there.
    #[allow(dead_code, reason = "made by `sim.rs` alone")]
    #[allow(unreachable_code, reason = "where no simulated kernel is built")]
    pub(crate) fn simulated(kernel: &Kernel) -> Self {
        Driver(World::Sim { kernel: kernel.with_poll(), events: Vec::new() })
    }

    /// The simulated kernel, if it is one.
    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        match &self.0 {
            World::Real(_) => None,
            World::Sim { kernel, .. } => Some(kernel),
        }
    }

    #[allow(unreachable_code, reason = "where no simulated kernel is built")]
    pub(crate) fn wake(&self) -> Wake {
        match &self.0 {
            World::Real(real) => Wake::Real(Arc::downgrade(&real.waker)),
            World::Sim { kernel, .. } => Wake::Sim(kernel.clone()),
        }
    }

    /// The moment now.
    #[inline]
    pub(crate) fn now(&self) -> Stamp {
        match &self.0 {
            World::Real(real) => Stamp::at(system_clock() - real.epoch),
            World::Sim { kernel, .. } => Stamp::at(kernel.now()),
        }
    }

    /// How many descriptors the process may have open; `None`: as many as it likes.
    pub(crate) fn descriptors(&self) -> Option<u64> {
        match &self.0 {
            World::Real(_) => rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            World::Sim { kernel, .. } => Some(kernel.descriptors()),
        }
    }

    /// Watches a connection for all it may ever report, once.
    pub(crate) fn register(&self, socket: &mut Socket, token: Token) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.watch(socket.watched(), token, interest)
    }

    /// Watches a listener.
    pub(crate) fn register_acceptor(
        &self,
        acceptor: &mut Acceptor,
        token: Token,
    ) -> io::Result<()> {
        self.watch(acceptor.watched(), token, Interest::READABLE)
    }

    /// Watches a datagram socket for what comes: see [`watch_room`](Self::watch_room) for the rest.
    pub(crate) fn register_datagrams(
        &self,
        socket: &mut Datagrams,
        token: Token,
    ) -> io::Result<()> {
        self.watch(socket.watched(), token, Interest::READABLE)
    }

    /// Has a datagram socket watched for room to send, too, or no longer: the one interest that is not
    /// asked once for all. Each datagram that leaves frees room, which would be an event, and so a turn
    /// for nothing; so it is asked only while something waits for it. If there is room by then, the
    /// event comes at once.
    ///
    /// # Errors
    ///
    /// As the registering of any socket.
    pub(crate) fn watch_room(
        &self,
        socket: &mut Datagrams,
        token: Token,
        wants: bool,
    ) -> io::Result<()> {
        let interest =
            if wants { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        match (&self.0, socket.watched()) {
            (World::Real(real), Watched::Source(source)) => {
                real.poll.registry().reregister(source, mio::Token(token.0), interest)
            }
            (World::Sim { .. }, Watched::SimDatagrams(socket)) => {
                socket.watch_room(wants);
                Ok(())
            }
            (World::Real(_) | World::Sim { .. }, _) => Ok(()),
        }
    }

    /// After an error event. mio's poll(2) backend takes an error for the end of a socket, and
    /// forgets it; that of a datagram socket is about one datagram, and others come. `room`: it was
    /// watched for that, too.
    ///
    /// # Errors
    ///
    /// As the registering of any socket.
    pub(crate) fn restore_datagrams(
        &self,
        socket: &mut Datagrams,
        token: Token,
        room: bool,
    ) -> io::Result<()> {
        if !cfg!(mio_unsupported_force_poll_poll) {
            return Ok(());
        }
        if let (World::Real(real), Watched::Source(source)) = (&self.0, socket.watched()) {
            // It fails where there is nothing left to take away.
            let _ = real.poll.registry().deregister(source);
            self.register_datagrams(socket, token)?;
            if room {
                return self.watch_room(socket, token, true);
            }
        }
        Ok(())
    }

    /// Stops watching a socket. To close it is not enough where a duplicate of its descriptor may
    /// live: epoll goes by the file behind both (epoll(7), question 6; trap 18).
    pub(crate) fn deregister(&self, watched: Watched<'_>) {
        match (&self.0, watched) {
            (World::Real(real), Watched::Source(source)) => {
                if let Err(error) = real.poll.registry().deregister(source) {
                    log::debug!("cannot stop watching a socket: {error}");
                }
            }
            (World::Sim { .. }, Watched::SimStream(stream)) => stream.deregister(),
            // No duplicates of these are simulated.
            _ => {}
        }
    }

    fn watch(&self, watched: Watched<'_>, token: Token, interest: Interest) -> io::Result<()> {
        match (&self.0, watched) {
            (World::Real(real), Watched::Source(source)) => {
                real.poll.registry().register(source, mio::Token(token.0), interest)
            }
            (World::Sim { kernel, .. }, Watched::SimStream(stream)) => {
                stream.register(kernel, token, interest.is_priority())
            }
            (World::Sim { kernel, .. }, Watched::SimListener(listener)) => {
                listener.register(kernel, token);
                Ok(())
            }
            (World::Sim { kernel, .. }, Watched::SimDatagrams(socket)) => {
                socket.register(kernel, token)
            }
            // It wakes the poll by itself.
            (_, Watched::Nothing) => Ok(()),
            (World::Real(_), _) | (World::Sim { .. }, Watched::Source(_)) => {
                let what = "a simulated socket in a real poll, or the reverse";
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }

    /// Waits at most `timeout` (`None`: as long as it takes) for events. Rounded up by mio to
    /// whole milliseconds where the kernel counts so: late by less than one, never early.
    ///
    /// # Errors
    ///
    /// `Interrupted` by a signal; anything else means that the poll is broken.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.0 {
            World::Real(real) => real.poll.poll(&mut real.events, timeout),
            World::Sim { kernel, events } => kernel.poll(timeout, events),
        }
    }

    /// Hands over each event of the last poll; of one socket there may be several. Returns
    /// whether the list was full, so that the kernel may hold more.
    #[inline]
    pub(crate) fn for_each_event(&self, mut hand: impl FnMut(Token, Readiness)) -> bool {
        match &self.0 {
            World::Real(real) => {
                let mut count = 0;
                for event in &real.events {
                    count += 1;
                    hand(Token(event.token().0), news(event));
                }
                count == EVENTS
            }
            World::Sim { kernel, events } => {
                for (token, event) in events {
                    hand(*token, news(event));
                }
                events.len() >= kernel.events_max()
            }
        }
    }
}

/// What an event may say.
trait Says {
    fn is_readable(&self) -> bool;
    fn is_writable(&self) -> bool;
    fn is_write_closed(&self) -> bool;
    fn is_priority(&self) -> bool;
    fn is_read_closed(&self) -> bool;
    fn is_error(&self) -> bool;
}

macro_rules! says {
    ($of:ty: $($question:ident),*) => {
        impl Says for $of {
            $(#[inline]
            fn $question(&self) -> bool {
                <$of>::$question(self)
            })*
        }
    };
}
says!(mio::event::Event: is_readable, is_writable, is_write_closed, is_priority, is_read_closed, is_error);

/// Of a simulated kernel.
impl Says for Readiness {
    fn is_readable(&self) -> bool {
        self.has(Readiness::READABLE)
    }

    fn is_writable(&self) -> bool {
        self.has(Readiness::WRITABLE)
    }

    /// Told as writable.
    fn is_write_closed(&self) -> bool {
        false
    }

    fn is_priority(&self) -> bool {
        self.has(Readiness::URGENT)
    }

    fn is_read_closed(&self) -> bool {
        self.has(Readiness::READ_CLOSED)
    }

    fn is_error(&self) -> bool {
        self.has(Readiness::ERROR)
    }
}

#[inline]
fn news(event: &impl Says) -> Readiness {
    let mut news = Readiness::EMPTY;
    let mut note = |is_so, bit| {
        if is_so {
            news = news | bit;
        }
    };
    note(event.is_readable(), Readiness::READABLE);
    // Where both halves are shut there may be no room, and yet a write says how it is.
    note(event.is_writable() || event.is_write_closed(), Readiness::WRITABLE);
    note(event.is_priority(), Readiness::URGENT);
    note(event.is_read_closed(), Readiness::READ_CLOSED);
    note(event.is_error(), Readiness::ERROR);
    news
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
        /// # Panics
        ///
        /// On a simulated kernel, which has none.
        pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            match &self.0 {
                World::Real(real) => std::os::fd::AsFd::as_fd(real.poll.registry()),
                World::Sim { .. } => panic!("a simulated poll has no descriptor"),
            }
        }
    }
}

/// The cores that this thread may run on (`sched_getaffinity(2)`).
///
/// # Errors
///
/// `Unsupported` where a thread cannot be pinned.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let set = rustix::thread::sched_getaffinity(None)?;
        Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Has this thread run on this core alone (`sched_setaffinity(2)`).
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(unused_variables))]
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        Ok(rustix::thread::sched_setaffinity(None, &set)?)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Err(io::ErrorKind::Unsupported.into())
}

/// In nanoseconds. Monotonic, and stands still while the machine is suspended (`CLOCK_MONOTONIC`,
/// `clock_gettime(2)`): what `std::time::Instant` reads, without what that does beside reading.
#[inline]
fn system_clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    #[allow(clippy::cast_sign_loss, reason = "it counts from the start of the machine")]
    let (seconds, nanoseconds) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds * 1_000_000_000 + nanoseconds
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::bind::Bind;

    /// Trap 56: however often it is woken before it polls, it returns once.
    #[test]
    fn a_wake_before_the_poll_is_not_lost() {
        let mut driver = Driver::new().unwrap();
        let wake = driver.wake();
        wake.wake();
        wake.clone().wake();
        driver.poll(None).unwrap();
        let mut woken = false;
        driver.for_each_event(|token, _| woken |= token == Token::WAKER);
        assert!(woken);
    }

    /// Promise 4: a thread that can wake a reactor does not keep its descriptor open.
    #[test]
    fn a_wake_ends_with_its_driver() {
        let driver = Driver::new().unwrap();
        let wake = driver.wake();
        wake.wake();
        drop(driver);
        let Wake::Real(waker) = &wake else { panic!("it is a real one") };
        assert!(waker.upgrade().is_none(), "the waker's descriptor is still open");
        wake.wake();
    }

    /// Promise 6: that a datagram can be sent is an event only while one waits for it.
    #[test]
    fn room_to_send_datagrams_is_told_only_when_asked_for() {
        let mut driver = Driver::new().unwrap();
        let mut socket = Bind::from("127.0.0.1:0").open().unwrap().socket;
        let token = Token(7);
        driver.register_datagrams(&mut socket, token).unwrap();
        for (asked, events) in [(None, 0), (Some(true), 1), (Some(false), 0)] {
            if let Some(wants) = asked {
                driver.watch_room(&mut socket, token, wants).unwrap();
            }
            driver.poll(Some(Duration::ZERO)).unwrap();
            let mut count = 0;
            driver.for_each_event(|_, _| count += 1);
            assert_eq!(count, events, "{asked:?}");
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let driver = Driver::new().unwrap();
        let before = driver.now();
        assert!(driver.now() >= before);
    }
}
