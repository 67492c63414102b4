//! Timers and the clock, as callbacks see them.
//!
//! What they do is in `core/expire.rs`; here they are described. Read next: `handler.rs`, whose
//! `on_timeout` and `on_timer` they bring.

use std::time::Duration;

use super::{Conn, Context};
use crate::time::timers::TimerId;

impl Context {
    /// Sets a timer of the reactor: [`on_timer`](crate::Handler::on_timer) comes once, when `wait` is
    /// over, counted from this call, with the [`tag`](crate::Timer::tag) that is given here: what the
    /// timer is for, a number of your own (0 if you have but one).
    ///
    /// Never early; late by the poll's rounding (less than a millisecond, `epoll_wait(2)`) and by what
    /// the loop is busy with. However many there are, setting and cancelling one costs next to nothing
    /// (`cargo bench --bench timers`). No limit but memory bounds their number: it is your own code
    /// that sets them.
    ///
    /// Timers keep the poll from waiting too long, not the reactor from ending. A wait beyond the
    /// clock's 584 years, such as [`Duration::MAX`], is never over.
    ///
    /// Not guaranteed: the order of timers that come due at the same moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use wouldblock::{Conn, Context, Handler, Input, Origin, Reactor, Timer};
    ///
    /// const GREETING: u64 = 1;
    /// const END: u64 = 2;
    ///
    /// struct Impatient;
    ///
    /// impl Handler for Impatient {
    ///     type Session = ();
    ///
    ///     fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
    ///         cx.set_timer(Duration::from_millis(5), GREETING);
    ///         cx.set_timer(Duration::from_millis(10), END);
    ///         Ok(())
    ///     }
    ///
    ///     fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
    ///         match timer.tag {
    ///             GREETING => println!("hello"),
    ///             END => cx.shutdown(),
    ///             other => unreachable!("no timer is set with tag {other}"),
    ///         }
    ///     }
    ///     fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
    ///         Ok(())
    ///     }
    ///     # fn on_data(&mut self, _: &mut Conn<'_>, _: &mut (), _: &mut Input<'_>) -> io::Result<()> {
    ///     #     Ok(())
    ///     # }
    /// }
    ///
    /// fn main() -> io::Result<()> {
    ///     Reactor::new(Impatient)?.run() // returns after ten milliseconds
    /// }
    /// ```
    pub fn set_timer(&mut self, wait: Duration, tag: u64) -> TimerId {
        self.core.set_timer(wait, tag)
    }

    /// Sets a timer of the reactor that comes again and again:
    /// [`on_timer`](crate::Handler::on_timer) after each `period`, the first one period from now.
    ///
    /// It does not drift: however late a call was, the next is due at a whole number of periods
    /// from the beginning. Periods in which the loop was too busy to call are skipped, and
    /// [`Timer::missed`](crate::Timer::missed) tells how many. A period below one millisecond counts
    /// as one. Otherwise as [`set_timer`](Self::set_timer).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wouldblock::Context;
    /// # fn on_start(cx: &mut Context) {
    /// let heartbeat = cx.set_periodic_timer(Duration::from_secs(1), 0);
    /// // later, when no client listens any more:
    /// cx.cancel_timer(heartbeat);
    /// # }
    /// ```
    pub fn set_periodic_timer(&mut self, period: Duration, tag: u64) -> TimerId {
        self.core.set_periodic_timer(period, tag)
    }

    /// Cancels a timer of the reactor. Returns whether there was one: not if it was one-shot and
    /// has fired, or was cancelled already. It does not fire after this, whatever its time.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.core.timers.cancel(timer)
    }

    /// What the reactor's clock says: the time since the reactor was made.
    ///
    /// Monotonic (`CLOCK_MONOTONIC`, `clock_gettime(2)`): it does not follow changes of the wall
    /// clock, and on Linux it stands still while the machine is suspended. Timers and timeouts go
    /// by it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Context;
    /// # fn timed(cx: &Context) {
    /// let begun = cx.now();
    /// // some work
    /// log::debug!("it took {:?}", cx.now().saturating_sub(begun));
    /// # }
    /// ```
    #[must_use]
    pub fn now(&self) -> Duration {
        self.core.driver.now().since_start()
    }
}

impl Conn<'_> {
    /// Sets this connection's timeout: [`on_timeout`](crate::Handler::on_timeout) comes once, when
    /// `wait` is over, counted from this call, whatever the peer sends meanwhile. (The time without a
    /// byte is the [idle timeout](Self::set_idle_timeout); that one closes.) A connection has one timeout;
    /// setting it again replaces it, as often as you like: that moves a number. It ends with the
    /// connection, and with [`close`](Self::close).
    ///
    /// Never early, and never at all if `wait` is beyond the clock's 584 years. As with every deadline,
    /// what the peer had sent by then comes first: while the connection still has something to read, its
    /// timeout waits, but not for more than 64 turns. Ignored before `on_open` and after `close`. It does
    /// not keep the connection through a shutdown; [`hold`](Self::hold) does.
    ///
    /// # Examples
    ///
    /// A client has ten seconds to send its name:
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use wouldblock::{Conn, Handler, Input, Origin};
    ///
    /// struct Door;
    ///
    /// impl Handler for Door {
    ///     type Session = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
    ///         conn.set_timeout(Duration::from_secs(10));
    ///         Ok(())
    ///     }
    ///
    ///     fn on_data(
    ///         &mut self,
    ///         conn: &mut Conn<'_>,
    ///         _session: &mut (),
    ///         input: &mut Input<'_>,
    ///     ) -> io::Result<()> {
    ///         if input.line().is_some() {
    ///             conn.cancel_timeout();
    ///             conn.send("welcome\n");
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     fn on_timeout(&mut self, conn: &mut Conn<'_>, _session: &mut ()) -> io::Result<()> {
    ///         conn.send("too slow\n");
    ///         conn.close();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn set_timeout(&mut self, wait: Duration) {
        self.cx.core.set_timeout(self.id, wait);
    }

    /// Cancels this connection's timeout. Returns whether one was set. It does not fire after this,
    /// not even if its time has come.
    pub fn cancel_timeout(&mut self) -> bool {
        self.cx.core.cancel_timeout(self.id)
    }

    /// Sets how long this connection may go without a byte read or taken by the kernel, instead of
    /// [`Config::idle`](crate::Config::idle); `None`: for as long as it likes. Counted from the last
    /// such byte, not from this call. Ignored while a connect is under way, and after
    /// [`close`](Self::close).
    ///
    /// A peer that is sent to is not idle, however silent it is. Where a protocol asks its peers to
    /// speak every so often (a keepalive), [`set_timeout`](Self::set_timeout) with each message is
    /// what finds one that does not.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wouldblock::Conn;
    /// # fn on_subscribe(conn: &mut Conn<'_>) {
    /// // A subscriber only listens: silence is no sign of death.
    /// conn.set_idle_timeout(None);
    /// # }
    /// ```
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.cx.core.set_idle_timeout(self.id, timeout);
    }
}
