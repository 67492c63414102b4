//! The way in from other threads: orders, posted closures, names to look up.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::id::ConnId;
use crate::base::post::{PostError, Posts};
use crate::context::{Conn, Context};
use crate::handler::Handler;
use crate::net::driver::Wake;
use crate::net::resolve;

/// How long a thread waits that has something to post where too much is posted already.
const FULL: Duration = Duration::from_millis(10);

/// A posted closure.
pub(crate) enum Post<H: Handler> {
    /// For the reactor.
    Any(Box<PostAny<H>>),
    /// For a connection.
    To(ConnId, Box<PostTo<H>>),
}

type PostAny<H> = dyn FnOnce(&mut H, &mut Context) + Send;

type PostTo<H> =
    dyn FnOnce(&mut H, &mut Conn<'_>, &mut <H as Handler>::Session) -> io::Result<()> + Send;

/// What other threads want: orders, which are levels, so that coalesced wakes lose none; and
/// posted closures.
#[derive(Debug)]
pub(crate) struct Orders<H: Handler> {
    level: AtomicU8,
    wake: Wake,
    pub(crate) posts: Posts<Post<H>>,
}

impl<H: Handler> Orders<H> {
    const SHUTDOWN: u8 = 1;
    const SHUTDOWN_NOW: u8 = 2;

    /// At most `posts` closures wait at a time.
    pub(crate) fn new(wake: Wake, posts: usize) -> Self {
        let waker = wake.clone();
        Orders { level: AtomicU8::new(0), wake, posts: Posts::new(posts, move || waker.wake()) }
    }

    fn raise(&self, level: u8) {
        self.level.fetch_max(level, Ordering::Release);
        self.wake.wake();
    }

    #[inline]
    pub(crate) fn is_shutdown(&self) -> bool {
        self.level.load(Ordering::Acquire) >= Self::SHUTDOWN
    }

    #[inline]
    pub(crate) fn is_shutdown_now(&self) -> bool {
        self.level.load(Ordering::Acquire) >= Self::SHUTDOWN_NOW
    }
}

/// A way to a reactor from other threads. After the reactor's end there is nothing to shut down, and
/// a post is given back.
///
/// # Posted closures
///
/// Each runs once, on the reactor's thread, as a callback does: it must not block, its sends leave
/// when it returns, a panic passes through [`Reactor::run`](crate::Reactor::run) or is
/// [isolated](crate::Config::isolate_panics). Those of one
/// thread run in the order in which it posted them. At most 256 run in a turn, so that a flood of
/// them keeps no socket waiting.
///
/// What was accepted runs, during an orderly shutdown too, with two exceptions: a closure for a
/// connection that is gone, and those that still wait when the reactor is dropped, cut short by
/// [`shutdown_now`](Self::shutdown_now) or by [`shutdown_max`](crate::Config::shutdown_max), or
/// ended by an error. They are dropped with what they captured, on the reactor's thread: whoever
/// waits for an answer should wait on a channel whose other end the closure holds.
///
/// # Examples
///
/// Shut down when another thread says so:
///
/// ```
/// use wouldblock::{Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// let handle = reactor.handle();
/// let other = std::thread::spawn(move || handle.shutdown());
/// reactor.run()?; // returns when shutdown is complete
/// # other.join().unwrap();
/// # Ok(())
/// # }
/// ```
pub struct Handle<H: Handler> {
    /// `Send` and `Sync` whatever the handler is: it holds none, only closures that can be sent.
    orders: Arc<Orders<H>>,
}

impl<H: Handler> Handle<H> {
    pub(crate) fn new(orders: Arc<Orders<H>>) -> Self {
        Handle { orders }
    }

    /// As [`Context::shutdown`].
    pub fn shutdown(&self) {
        self.orders.raise(Orders::<H>::SHUTDOWN);
    }

    /// As [`Context::shutdown_now`].
    pub fn shutdown_now(&self) {
        self.orders.raise(Orders::<H>::SHUTDOWN_NOW);
    }

    /// Has `closure` called with the handler, soon, on the reactor's thread. See
    /// [above](#posted-closures).
    ///
    /// # Errors
    ///
    /// Gives the closure back: [`Full`](PostError::Full) if
    /// [`posts_queued`](crate::Config::posts_queued) wait already, [`Ended`](PostError::Ended) if
    /// the reactor has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{Reactor, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
    /// let handle = reactor.handle();
    /// let other = std::thread::spawn(move || {
    ///     let news = "the cache is warm\n".to_string();
    ///     handle.post(move |_handler, cx| {
    ///         cx.broadcast(news.into());
    ///         # cx.shutdown();
    ///     })
    /// });
    /// reactor.run()?;
    /// # other.join().unwrap().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn post<F>(&self, closure: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut H, &mut Context) + Send + 'static,
    {
        let posted = self.orders.posts.post(Box::new(closure), |closure| Post::Any(closure));
        posted.map_err(|refused| refused.map(|closure| *closure))
    }

    /// Looks a name up on a thread, and has `then` called with all its addresses, or the error, as a
    /// [posted](#posted-closures) closure is: with the handler, soon, on the reactor's thread.
    ///
    /// `name`: `"host:port"`, or what an [`Address`] is read from, which is its own answer.
    /// [`Context::connect`] takes all the addresses, and tries one after the other.
    ///
    /// The threads are for all reactors of the process: 8 at most, which end when nothing is left to
    /// look up. A look-up takes as long as the system's (getaddrinfo(3)), seconds if a name server is
    /// down, and cannot be cut short: `then` finds out whether its answer is still wanted. If the reactor
    /// ends before, `then` is dropped. While [`posts_queued`](crate::Config::posts_queued) wait, the
    /// thread waits too. In the simulator a name is looked up all the same, and no seed says when its
    /// answer comes: give addresses there.
    ///
    /// # Errors
    ///
    /// And `then` is dropped: [refused](crate::Refused) if 1024 names wait already; a [`PostError`]
    /// if `name` is an address and the post is refused; what the system says if no thread can be
    /// had.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{Reactor, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let name = format!("localhost:{}", server.local_addr()?.port());
    /// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
    /// // `name` is "localhost:6666", say.
    /// reactor.handle().resolve(name, |_handler, cx, found| {
    ///     match found.and_then(|addresses| cx.connect(addresses, 0)) {
    ///         Ok(_id) => {} // `on_open`, or `on_connect_failed`
    ///         Err(error) => log::warn!("{error}"),
    ///     }
    ///     # cx.shutdown_now();
    /// })?;
    /// reactor.run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolve<F>(&self, name: impl Into<String>, then: F) -> io::Result<()>
    where
        F: FnOnce(&mut H, &mut Context, io::Result<Vec<Address>>) + Send + 'static,
        H: 'static,
    {
        let (name, handle) = (name.into(), self.clone());
        if let Ok(address) = name.parse::<Address>() {
            self.post(move |handler, cx| then(handler, cx, Ok(vec![address])))?;
            return Ok(());
        }
        resolve::aside(Box::new(move || {
            let found = Address::resolve(&name);
            let mut post = handle.post(move |handler, cx| then(handler, cx, found));
            while let Err(PostError::Full(closure)) = post {
                // Not the reactor's thread.
                thread::sleep(FULL);
                post = handle.post(closure);
            }
        }))
    }

    /// Has `closure` called for a connection, with its session, as any callback of it; its error
    /// closes the connection, once what was sent is flushed. See [above](#posted-closures).
    ///
    /// From a callback it reaches the session of *another* connection, which no callback is lent: the
    /// closure runs when the callback has returned, in this turn or the next. The guide
    /// [does so](crate::guide::first_protocol#the-session-of-another).
    ///
    /// If the connection is gone when its turn comes, closing, or not open yet, the closure is
    /// dropped, and counted in [`Stats::posts_missed`](crate::Stats::posts_missed). A connection
    /// that waits for an answer of yours should be [held](Conn::hold), or a shutdown may close it
    /// before.
    ///
    /// # Errors
    ///
    /// Gives the closure back, as [`post`](Self::post) does.
    ///
    /// # Examples
    ///
    /// Work that takes long is done on a thread, and answered from there (the example `offload`
    /// does it on a few threads, in order, and with a bound):
    ///
    /// ```
    /// use std::io;
    /// use std::thread;
    /// use wouldblock::{Conn, Handle, Handler, Input, Origin};
    ///
    /// struct Slow {
    ///     handle: Handle<Slow>, // by `Reactor::build`
    /// }
    ///
    /// impl Handler for Slow {
    ///     type Session = ();
    ///
    ///     fn on_data(
    ///         &mut self,
    ///         conn: &mut Conn<'_>,
    ///         _session: &mut (),
    ///         input: &mut Input<'_>,
    ///     ) -> io::Result<()> {
    ///         let (id, question) = (conn.id(), input.take_all().to_vec());
    ///         let handle = self.handle.clone();
    ///         conn.pause(); // one question at a time
    ///         conn.hold(true);
    ///         thread::spawn(move || {
    ///             let answer: Vec<u8> = question.into_iter().rev().collect(); // takes long
    ///             // The reactor may have ended meanwhile: then the answer is not wanted any more.
    ///             let _ = handle.post_to(id, move |_handler, conn, _session| {
    ///                 conn.send(answer);
    ///                 conn.hold(false);
    ///                 conn.resume();
    ///                 Ok(())
    ///             });
    ///         });
    ///         Ok(())
    ///     }
    ///     fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn post_to<F>(&self, id: ConnId, closure: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut H, &mut Conn<'_>, &mut H::Session) -> io::Result<()> + Send + 'static,
    {
        let posted = self.orders.posts.post(Box::new(closure), |closure| Post::To(id, closure));
        posted.map_err(|refused| refused.map(|closure| *closure))
    }
}

impl<H: Handler> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Handle::new(Arc::clone(&self.orders))
    }
}

impl<H: Handler> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
