//! How the reactors of a server are reached: from other threads, and one from another.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::id::ConnId;
use crate::base::post::PostError;
use crate::base::stats::Stats;
use crate::context::{Conn, Context};
use crate::handle::Handle;
use crate::handler::Handler;
use crate::net::detached::Detached;

/// A way to all reactors of a [`Server`](crate::Server) from other threads, and from one of them to
/// another. What is posted runs as [there](Handle#posted-closures), on the thread of the reactor
/// that it is for.
///
/// # Examples
///
/// A line of one client goes to all, whichever reactor serves them (the example `cores` also slows
/// down a client that floods: without that, clients that read too slowly would be ended for it):
///
/// ```
/// use std::io;
/// use wouldblock::{Conn, Handler, Input, Origin, ServerHandle};
///
/// struct Shout {
///     server: ServerHandle<Shout>, // by `Server::new`
/// }
///
/// impl Handler for Shout {
///     type Session = ();
///
///     fn on_data(
///         &mut self,
///         _conn: &mut Conn<'_>,
///         _session: &mut (),
///         input: &mut Input<'_>,
///     ) -> io::Result<()> {
///         while let Some(line) = input.line() {
///             let line = [line, b"\n"].concat();
///             // Fewer than all while one of them is behind with its posts: then it misses this one.
///             self.server.broadcast(line);
///         }
///         Ok(())
///     }
///     fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
///         Ok(())
///     }
/// }
/// ```
pub struct ServerHandle<H: Handler> {
    ways: Arc<[Way<H>]>,
}

/// One reactor.
struct Way<H: Handler> {
    handle: Handle<H>,
    /// As its connections' ids name it.
    number: u8,
}

impl<H: Handler> ServerHandle<H> {
    /// `ways`: of each reactor a handle, and the number by which ids name it.
    pub(super) fn new(ways: impl Iterator<Item = (Handle<H>, u8)>) -> Self {
        ServerHandle { ways: ways.map(|(handle, number)| Way { handle, number }).collect() }
    }

    /// How many reactors there are.
    #[must_use]
    pub fn reactors(&self) -> usize {
        self.ways.len()
    }

    /// The way to one of them, to post there: by its number, from 0 on. `None` if there are not so many.
    #[must_use]
    pub fn reactor(&self, number: usize) -> Option<&Handle<H>> {
        self.ways.get(number).map(|way| &way.handle)
    }

    /// Which reactor has this connection, or had it. `None` if it is of none of these.
    #[must_use]
    pub fn owner(&self, id: ConnId) -> Option<usize> {
        self.ways.iter().position(|way| way.number == id.reactor())
    }

    /// Has `closure` called for a connection, as [`Handle::post_to`], by the reactor that has it.
    ///
    /// # Errors
    ///
    /// As [`Handle::post_to`]; [`Ended`](PostError::Ended) if the connection is of none of these reactors.
    pub fn post_to<F>(&self, id: ConnId, closure: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut H, &mut Conn<'_>, &mut H::Session) -> std::io::Result<()> + Send + 'static,
    {
        match self.owner(id) {
            Some(number) => self.ways[number].handle.post_to(id, closure),
            None => Err(PostError::Ended(closure)),
        }
    }

    /// Has a clone of `closure` called in each reactor, as [`Handle::post`], in that of the caller
    /// too. Returns how many took it: fewer than [`reactors`](Self::reactors) where
    /// [`posts_queued`](crate::Config::posts_queued) wait, or one has ended. Which one it is, a
    /// post to each by itself tells ([`reactor`](Self::reactor)): for state of which each reactor
    /// has a copy.
    pub fn post_each<F>(&self, closure: F) -> usize
    where
        F: FnOnce(&mut H, &mut Context) + Clone + Send + 'static,
    {
        self.ways.iter().filter(|way| way.handle.post(closure.clone()).is_ok()).count()
    }

    /// Has `then` called with what each reactor has counted, by number, once all have told: on the
    /// thread of the last of them, or on the caller's if the last is refused. `None` of one that
    /// did not, because [`posts_queued`](crate::Config::posts_queued) wait there or it has ended.
    ///
    /// # Examples
    ///
    /// A thread that looks now and then:
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use wouldblock::{Handler, ServerHandle, Stats};
    ///
    /// fn bytes_out<H: Handler>(server: &ServerHandle<H>) -> u64 {
    ///     let (tell, told) = mpsc::channel();
    ///     server.stats(move |each| drop(tell.send(each.iter().flatten().sum::<Stats>())));
    ///     told.recv().map_or(0, |all| all.bytes_out)
    /// }
    /// ```
    pub fn stats(&self, then: impl FnOnce(Vec<Option<Stats>>) + Send + 'static) {
        let each = vec![None; self.ways.len()];
        let gather = Arc::new(Gather(Mutex::new((each, Some(Box::new(then))))));
        for (number, way) in self.ways.iter().enumerate() {
            let gather = Arc::clone(&gather);
            // A closure that is refused is dropped, as one that has run: both let go of it.
            let _ =
                way.handle.post(move |_, cx| gather.lock().0[number] = Some(cx.stats().clone()));
        }
    }

    /// Sends the same bytes to every connection of every reactor, without a copy for each: as
    /// [`Context::broadcast`] there. Returns how many reactors will do it, as
    /// [`post_each`](Self::post_each).
    pub fn broadcast(&self, bytes: impl Into<Bytes>) -> usize {
        let bytes = bytes.into();
        self.post_each(move |_, cx| {
            cx.broadcast(bytes);
        })
    }

    /// Moves an open connection to a reactor: it is [detached](Conn::detach) here, where its
    /// `on_close` follows, and [adopted](Context::adopt) there, where `on_open` comes with
    /// [`Origin::Adopted`](crate::Origin::Adopted) and `tag`, as of the same
    /// [service](Context::service). Input that the running callback has not consumed is offered
    /// there, and output that the kernel has not taken leaves from there.
    ///
    /// Its timeout and what was set on it ([`pause`](Conn::pause), [`hold`](Conn::hold), its times)
    /// stay behind. Ignored where [`detach`](Conn::detach) is: a connection with a
    /// [source](Conn::send_from) or a [layer](crate::Layer) stays where it is, for one.
    ///
    /// If that reactor does not take it, because it has ended, is full or has too many posts, the
    /// connection is over: closed, and reset where output is unsent.
    ///
    /// # Panics
    ///
    /// If there is no reactor `number`.
    pub fn move_to(&self, conn: &mut Conn<'_>, number: usize, tag: u64)
    where
        H: 'static,
    {
        let there = self.ways[number].handle.clone();
        let service = conn.service();
        conn.detach(move |detached| {
            let moving = Moving(Some(detached));
            let posted = there.post(move |_, cx| {
                let adopted = moving.take().map(|it| cx.service(service).adopt(it, tag));
                if let Some(Err(error)) = adopted {
                    log::info!("a connection that was to move is refused: {error}");
                }
            });
            if let Err(refused) = posted {
                log::info!("a connection that was to move is closed: {refused}");
            }
        });
    }

    /// Has all reactors shut down: as [`Context::shutdown`] in each.
    pub fn shutdown(&self) {
        self.ways.iter().for_each(|way| way.handle.shutdown());
    }

    /// As [`Context::shutdown_now`] in each reactor.
    pub fn shutdown_now(&self) {
        self.ways.iter().for_each(|way| way.handle.shutdown_now());
    }
}

/// Statistics that were asked for. They are told when the last reactor has let go of this.
struct Gather(Mutex<(Vec<Option<Stats>>, Option<Tell>)>);

type Tell = Box<dyn FnOnce(Vec<Option<Stats>>) + Send>;

impl Gather {
    fn lock(&self) -> MutexGuard<'_, (Vec<Option<Stats>>, Option<Tell>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        let (each, then) = std::mem::take(&mut *self.lock());
        if let Some(then) = then {
            then(each);
        }
    }
}

/// A connection that belongs to no reactor, and may find none any more: half an answer is not to
/// look whole then.
struct Moving(Option<Detached>);

impl Moving {
    fn take(mut self) -> Option<Detached> {
        self.0.take()
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(detached) = self.0.take() {
            detached.refuse();
        }
    }
}

impl<H: Handler> Clone for ServerHandle<H> {
    fn clone(&self) -> Self {
        ServerHandle { ways: Arc::clone(&self.ways) }
    }
}

impl<H: Handler> fmt::Debug for ServerHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("reactors", &self.ways.len()).finish()
    }
}
