//! A reactor inside a [calloop](https://docs.rs/calloop) loop: an event source like any other.
//!
//! To be copied into a program that has such a loop, a compositor or its clients: it is what
//! `docs/guide/other_loops.md` of `wouldblock` tells, in calloop's terms. The example `calloop` runs it.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventSource, Interest, Mode, Poll, PostAction, Readiness, Token, TokenFactory};
use wouldblock::{Handler, Reactor};

/// As good as for ever: then it looks again.
const FAR: Duration = Duration::from_secs(3600);

/// A reactor that takes its turns when a calloop loop says so. Its one event is the end of it: shutdown is
/// complete, or the poll has failed, and the source is removed.
pub struct Source<H: Handler> {
    reactor: Reactor<H>,
    /// The reactor's own poll, watched: readable when the kernel has news for it.
    news: Generic<OwnedFd>,
    /// For what the kernel knows nothing of: timers, deadlines, work that is left over.
    due: Timer,
}

impl<H: Handler> Source<H> {
    /// Takes over a reactor. Listen before, or in its `on_start`.
    ///
    /// # Errors
    ///
    /// If no descriptor is left for a duplicate of the poll's.
    pub fn new(reactor: Reactor<H>) -> io::Result<Self> {
        let news = Generic::new(reactor.as_fd().try_clone_to_owned()?, Interest::READ, Mode::Level);
        Ok(Source { reactor, news, due: Timer::immediate() })
    }

    /// The reactor, to be looked at between turns.
    pub fn reactor(&mut self) -> &mut Reactor<H> {
        &mut self.reactor
    }
}

impl<H: Handler> EventSource for Source<H> {
    type Event = io::Result<()>;
    type Metadata = ();
    type Ret = ();
    type Error = calloop::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> calloop::Result<PostAction>
    where
        F: FnMut(io::Result<()>, &mut ()),
    {
        // Which of the two it was makes no difference: a turn too many is harmless.
        self.news.process_events(readiness, token, |_, _| Ok(PostAction::Continue))?;
        self.due
            .process_events(readiness, token, |_, ()| TimeoutAction::Drop)
            .map_err(|error| calloop::Error::OtherError(error.into()))?;
        match self.reactor.turn(Some(Duration::ZERO)) {
            Ok(true) => {}
            ended => {
                callback(ended.map(drop), &mut ());
                return Ok(PostAction::Remove);
            }
        }
        let wait = self.reactor.next_timeout().unwrap_or(FAR).min(FAR);
        self.due.set_deadline(Instant::now() + wait);
        Ok(PostAction::Reregister)
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.news.register(poll, tokens)?;
        self.due.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.news.reregister(poll, tokens)?;
        self.due.reregister(poll, tokens)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.news.unregister(poll)?;
        self.due.unregister(poll)
    }
}

impl<H: Handler> fmt::Debug for Source<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("reactor", &self.reactor).finish_non_exhaustive()
    }
}
