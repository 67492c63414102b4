//! What a user writes, and the way in from other threads.
//!
//! [`Handler`] is called with `&mut self`, one callback at a time, never inside another. From here
//! up the floors know its type. Read next: `reactor.rs`, which calls it.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::close::Closed;
use crate::context::{Conn, Context};
use crate::driver::Wake;
use crate::id::{ConnId, Origin};
use crate::input::Input;

/// The callbacks of a server.
///
/// Per connection: `on_open`, then `on_data` and `on_drain` as things happen, at most one `on_eof`,
/// one `on_close`, and nothing after. A callback must not block: while it runs, nobody else is
/// served.
///
/// An `Err` from a callback of a connection flushes what was sent, then closes the connection with
/// [`CloseReason::Handler`](crate::CloseReason::Handler): the "400 Bad Request" before it goes
/// out. A panic passes through [`Reactor::run`](crate::Reactor::run); dropping the reactor frees
/// every descriptor. Who catches it and runs on finds the connection whose callback panicked ended,
/// with [`CloseReason::Handler`](crate::CloseReason::Handler), and the others served. Not
/// guaranteed after a panic in `on_start`, `on_shutdown`, `on_close` or `on_connect_failed`: drop
/// the reactor then.
///
/// # Examples
///
/// A counter with state of its own, shared by all connections, and a session for each:
///
/// ```
/// use std::io;
/// use wouldblock::{Conn, Handler, Input, Origin};
///
/// struct Counter {
///     lines: u64,
/// }
///
/// impl Handler for Counter {
///     type Session = u64;
///
///     fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<u64> {
///         Ok(0)
///     }
///
///     fn on_data(
///         &mut self,
///         conn: &mut Conn<'_>,
///         own: &mut u64,
///         input: &mut Input<'_>,
///     ) -> io::Result<()> {
///         while input.line().is_some() {
///             *own += 1;
///             self.lines += 1;
///             conn.send(format!("{own} from you, {} from all\n", self.lines));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Handler: Sized {
    /// What the handler keeps for each connection: made by `on_open`, handed over to `on_close`.
    type Session;

    /// Called when a connection is there.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes; no other callback comes for this connection.
    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Self::Session>;

    /// Called when bytes came, and again without new bytes if the last call consumed something,
    /// left something, and did not wait (see [`Input`]). What is left is offered once more after
    /// [`Conn::resume`] and when queued output comes down to low.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()>;

    /// Called once, in the first turn, before anything else.
    ///
    /// # Errors
    ///
    /// Ends the reactor: [`Reactor::run`](crate::Reactor::run) returns it.
    fn on_start(&mut self, cx: &mut Context, handle: Handle<Self>) -> io::Result<()> {
        let _ = (cx, handle);
        Ok(())
    }

    /// Called once when the peer has ended its side and all its bytes were offered; `rest` is what
    /// is still unconsumed. Not while reading is paused or resting. Closes by default; a handler
    /// that still has something to send may leave the connection open.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        let _ = (session, rest);
        conn.close();
        Ok(())
    }

    /// Called when queued output is at or below low, once for each [`Conn::want_drain`] or each
    /// time output was above high.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        let _ = (conn, session);
        Ok(())
    }

    /// Called when a connection is over and its descriptor freed. The id is stale already.
    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Self::Session, closed: Closed) {
        let _ = (cx, id, session, closed);
    }

    /// Called when a connect has failed: refused, unreachable, no answer within
    /// [`connect`](crate::Config::connect) (`TimedOut`), or cancelled by ourselves, by `abort`,
    /// `close` or the end of the reactor (`ConnectionAborted`). What had been sent is lost. Each
    /// connect that was begun ends in one call, of this or of `on_open`.
    ///
    /// `error` says where to and why; the system's own error, with its code, is its
    /// [source](std::error::Error::source). The id is stale already. To try again, connect again,
    /// but not at once and for ever: nothing here waits between two attempts.
    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        let _ = (cx, id, tag, error);
    }

    /// Called once when shutdown begins, after the listeners have closed: say goodbye, release
    /// what was [held](Conn::hold).
    fn on_shutdown(&mut self, cx: &mut Context) {
        let _ = cx;
    }
}

/// Makes a [`Handler`] of a closure that is called as [`on_data`](Handler::on_data): for a server
/// without sessions.
///
/// # Examples
///
/// ```
/// use wouldblock::{Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|conn, input| {
///     conn.send(input.take_all());
///     Ok(())
/// }))?;
/// reactor.listen("127.0.0.1:0")?;
/// # Ok(())
/// # }
/// ```
pub fn handler_fn<F>(on_data: F) -> HandlerFn<F>
where
    F: FnMut(&mut Conn<'_>, &mut Input<'_>) -> io::Result<()>,
{
    HandlerFn(on_data)
}

/// A [`Handler`] made of a closure by [`handler_fn`].
pub struct HandlerFn<F>(F);

impl<F> Handler for HandlerFn<F>
where
    F: FnMut(&mut Conn<'_>, &mut Input<'_>) -> io::Result<()>,
{
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        (self.0)(conn, input)
    }
}

impl<F> fmt::Debug for HandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFn").finish_non_exhaustive()
    }
}

/// Orders from other threads: levels, so that coalesced wakes lose none.
#[derive(Debug)]
pub(crate) struct Orders {
    level: AtomicU8,
    wake: Wake,
}

impl Orders {
    const SHUTDOWN: u8 = 1;
    const SHUTDOWN_NOW: u8 = 2;

    pub(crate) fn new(wake: Wake) -> Self {
        Orders { level: AtomicU8::new(0), wake }
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

/// A way to a reactor from other threads. After the reactor's end its methods do nothing.
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
pub struct Handle<H> {
    orders: Arc<Orders>,
    /// Names the handler without holding one: `Send` and `Sync` whatever it is.
    handler: PhantomData<fn(H)>,
}

impl<H> Handle<H> {
    pub(crate) fn new(orders: Arc<Orders>) -> Self {
        Handle { orders, handler: PhantomData }
    }

    /// As [`Context::shutdown`].
    pub fn shutdown(&self) {
        self.orders.raise(Orders::SHUTDOWN);
    }

    /// As [`Context::shutdown_now`].
    pub fn shutdown_now(&self) {
        self.orders.raise(Orders::SHUTDOWN_NOW);
    }
}

impl<H> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Handle::new(Arc::clone(&self.orders))
    }
}

impl<H> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
