//! What a user writes.
//!
//! [`Handler`] is called with `&mut self`, one callback at a time, never inside another. From here
//! up the floors know its type. Read next: `reactor.rs`, which calls it.

use std::fmt;
use std::io;

use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::net::datagram::Datagram;
use crate::time::timers::Timer;

/// The callbacks of a server.
///
/// Per connection: `on_open`, then `on_data`, `on_drain` and `on_timeout` as things happen, at most
/// one `on_eof`, one `on_close`, and nothing after. A callback must not block: while it runs, nothing
/// else is served. What takes long belongs on a thread, which [posts](crate::Handle) what came of it.
///
/// An `Err` from a callback of a connection flushes what was sent, then closes the connection with
/// [`CloseReason::Handler`](crate::CloseReason::Handler): the "400 Bad Request" before it goes
/// out.
///
/// # Panics
///
/// A panic of a callback passes through [`Reactor::run`](crate::Reactor::run); dropping the reactor
/// frees every descriptor, with a reset where the peer waits for more than it was given: output is
/// queued, a drain was asked for, the connection is [held](Conn::hold), or it was its callback that
/// panicked. On a Unix socket that is but the end, as with [`Conn::abort`]. With
/// [`isolate_panics`](crate::Config::isolate_panics) it ends one connection and the reactor runs
/// on.
///
/// A program that catches a panic that passed through may run on as well: the connection whose callback
/// panicked is ended, with [`CloseReason::Panic`](crate::CloseReason::Panic) and a reset, and the
/// others are served. What panicked is not called again: not `on_start`, nor `on_shutdown`, nor
/// `on_close` for the same connection, whose session is gone. The shutdown that was under way goes
/// on.
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

    /// Whether it consists of several [services](crate::Context::service).
    #[doc(hidden)]
    const IS_COMPOSED: bool = false;

    /// Called when a connection is there.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes; no other callback comes for this connection.
    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Self::Session>;

    /// Called when bytes came, and again without new bytes if the last call consumed something,
    /// left something, and did not wait (see [`Input`]). What is left is offered once more after
    /// [`Conn::resume`] and when queued output comes down to low. Not while reading is paused or
    /// rests: queued output has reached [`output_high`](crate::Config::output_high) and has not come
    /// down to [`output_low`](crate::Config::output_low).
    ///
    /// A handler of [`Messages`](crate::Messages) has none: [`framed`](crate::framed) calls it with
    /// messages. Without either, it fails with [`Unsupported`](io::ErrorKind::Unsupported).
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let _ = (conn, session, input);
        let why = "bytes came, and the handler has no on_data; one of Messages needs framed(..) around it";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// Called once, in the first turn, before anything else. A handler that is to have a
    /// [`Handle`](crate::Handle) is given it when it is made:
    /// [`Reactor::build`](crate::Reactor::build).
    ///
    /// # Errors
    ///
    /// Ends the reactor: [`Reactor::run`](crate::Reactor::run) returns it.
    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Called once when the peer has ended its side and all its bytes were offered; `rest` is what
    /// is still unconsumed. Not while reading is paused or resting, nor while more than
    /// [`output_low`](crate::Config::output_low) is queued and the last call of `on_data` left
    /// something that it did not wait to see more of: that is offered before. Closes by default; a
    /// handler that still has something to send may leave the connection open.
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
    /// time output was at high or above. Also when the connection has failed before it came so far, if
    /// `on_close` does not come first: nothing is queued any more, what is sent now is ignored, and
    /// [`Conn::has_failed`] tells.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        let _ = (conn, session);
        Ok(())
    }

    /// Called when the time that [`Conn::set_timeout`] gave this connection is over. It is not set
    /// any more.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        let _ = (conn, session);
        Ok(())
    }

    /// Called when a timer of the reactor has come: [`Context::set_timer`],
    /// [`Context::set_periodic_timer`]. What it is for is told by its [`tag`](Timer::tag).
    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        let _ = (cx, timer);
    }

    /// Called when a datagram came to a socket that [`Context::bind_datagram`] bound, once for each,
    /// in the order in which the kernel has them. At most
    /// [`datagrams_per_turn`](crate::Config::datagrams_per_turn) of one socket in a turn, so that a
    /// flood starves no connection. Not guaranteed, by UDP: that what was sent comes, once, or in order.
    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        let _ = (cx, datagram);
    }

    /// Called before the library closes a connection in order, with the reason: no byte came in
    /// time ([`FirstByte`](crate::CloseReason::FirstByte), [`Idle`](crate::CloseReason::Idle)), a
    /// request came too slowly ([`TooSlow`](crate::CloseReason::TooSlow)) or was too large
    /// ([`InputLimit`](crate::CloseReason::InputLimit)), or
    /// [`Shutdown`](crate::CloseReason::Shutdown). For the last words of a protocol: a 408, a close
    /// frame, `-ERR too big`. What it sends is flushed, our FIN follows, and `on_close` comes with
    /// the same reason whatever is done here; nothing keeps the connection open, and no other
    /// callback comes after this one.
    ///
    /// Not called where nothing more can be said: before an abort or a reset, after a failure, after
    /// [`finish`](Conn::finish), for one that is idle and makes place for another
    /// ([`Reclaimed`](crate::CloseReason::Reclaimed)); nor for what the handler itself closes.
    ///
    /// # Errors
    ///
    /// Change nothing: it is being closed.
    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        let _ = (conn, session, reason);
        Ok(())
    }

    /// Called when a connection is over and its descriptor freed, or [handed over](Conn::detach). The id is
    /// stale already.
    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Self::Session, closed: Closed) {
        let _ = (cx, id, session, closed);
    }

    /// Called when a connect has failed: refused, unreachable, no answer within
    /// [`connect`](crate::Config::connect) (`TimedOut`), or cancelled by ourselves, by `abort`,
    /// `close` or the end of the reactor (`ConnectionAborted`). What had been sent is lost. Each
    /// connect that was begun ends in one call, of this or of `on_open`.
    ///
    /// A server that accepts, perhaps says something, and resets at once has not made the connect fail:
    /// `on_open` comes, what it said, and `on_close`.
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
