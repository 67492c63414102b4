//! The loop: one visible turn.
//!
//! It owns the handler, the sessions and the read buffer, asks `core.rs` what is to be done, calls
//! the handler, and hands back what the call left. [`Reactor::turn`] is the whole design in order;
//! read it first, then the functions below it in the order they are called.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::close::Closed;
use crate::base::config::Config;
use crate::base::id::{ConnId, DatagramId, ListenerId, Origin, Target};
use crate::base::report::ShutdownReport;
use crate::base::stats::Stats;
use crate::conn::buffer::ReadBuffer;
use crate::conn::input::{Input, Rest, Wait};
use crate::context::{Conn, Context, Service};
use crate::core::Ended;
use crate::core::accept::Accepted;
use crate::core::offer::{Offer, Work};
use crate::handle::Handle;
use crate::handler::Handler;
use crate::net::bind::Bind;
use crate::net::connect::Connect;
use crate::net::detached::Detached;
use crate::net::driver::{Driver, where_the_poll_has_a_descriptor};
use crate::net::listen::{Listen, Opened};
use crate::time::deadlines::Stamp;
use callbacks::guarded;
use due::{Inbox, POSTS_PER_TURN};
use prepared::Prepared;

mod callbacks;
mod datagram;
mod due;
mod opening;
pub(crate) mod prepared;
mod pull;
mod restart;
mod shutdown;

/// How often the effects of effects are followed within one turn; what remains waits for the next,
/// so that callbacks answering each other for ever do not keep others waiting (trap 65).
const ROUNDS: usize = 16;
/// A server: listeners, their connections, and the handler that serves them, on one thread.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use wouldblock::{Conn, Handler, Input, Origin, Reactor};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Session = ();
///
///     fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn on_data(
///         &mut self,
///         conn: &mut Conn<'_>,
///         _session: &mut (),
///         input: &mut Input<'_>,
///     ) -> io::Result<()> {
///         conn.send(input.take_all());
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut reactor = Reactor::new(Echo)?;
///     reactor.listen("127.0.0.1:6666")?;
///     reactor.run()
/// }
/// ```
pub struct Reactor<H: Handler> {
    /// What other threads asked for. Dropped first: then their posts are refused, and a handler
    /// that waits for its threads in its own drop does not wait for ever.
    inbox: Inbox<H>,
    pub(crate) handler: H,
    /// By slot, from `on_open` to `on_close`. `None` also for one whose `on_open` failed.
    sessions: Vec<Option<H::Session>>,
    pub(crate) cx: Context,
    /// What every connection is read into. Outside of `cx`, so that a callback can be lent both.
    buffer: ReadBuffer,
    /// The same that `cx` notes the rest of a connection in, for its input.
    rest: Arc<Rest>,
    state: State,
}

/// Where the reactor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `on_start` has not been called.
    New,
    Running,
    /// Shutdown has begun.
    Leaving,
    /// Shutdown is complete.
    Over,
}

impl<H: Handler> Reactor<H> {
    /// A reactor with the default [`Config`].
    ///
    /// # Errors
    ///
    /// If the kernel grants no poll (`epoll_create1(2)`): descriptors or memory ran out.
    pub fn new(handler: H) -> io::Result<Self> {
        Self::with_config(handler, Config::default())
    }

    /// A reactor with limits of your own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a contradiction in `config`, which it names; otherwise as [`new`](Self::new).
    pub fn with_config(handler: H, config: Config) -> io::Result<Self> {
        Self::with_driver(handler, &config, Driver::new()?)
    }

    /// A reactor whose handler keeps a [`Handle`] from the beginning: for one that posts to itself
    /// from threads.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config); then `make` is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use wouldblock::{Config, Conn, Handle, Handler, Input, Origin, Reactor};
    ///
    /// struct Server {
    ///     handle: Handle<Server>, // to be cloned for the threads it starts
    /// }
    ///
    /// impl Handler for Server {
    ///     type Session = ();
    ///     fn on_open(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<()> {
    ///         Ok(())
    ///     }
    ///     # fn on_data(&mut self, _: &mut Conn<'_>, _: &mut (), _: &mut Input<'_>) -> io::Result<()> {
    ///     #     Ok(())
    ///     # }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let mut reactor = Reactor::build(Config::default(), |handle| Server { handle })?;
    /// # reactor.handler().handle.shutdown();
    /// reactor.run()
    /// # }
    /// ```
    pub fn build(config: Config, make: impl FnOnce(Handle<H>) -> H) -> io::Result<Self> {
        Self::build_with_driver(&config, Driver::new()?, make)
    }

    pub(crate) fn with_driver(handler: H, config: &Config, driver: Driver) -> io::Result<Self> {
        Self::build_with_driver(config, driver, |_| handler)
    }

    pub(crate) fn build_with_driver(
        config: &Config,
        driver: Driver,
        make: impl FnOnce(Handle<H>) -> H,
    ) -> io::Result<Self> {
        let prepared = Prepared::new(config, driver)?;
        let handle = prepared.handle();
        Ok(prepared.with(make(handle)))
    }

    /// The reactor as the service with this number sees it: as [`Context::service`].
    pub fn service(&mut self, number: u8) -> Service<'_> {
        self.cx.service(number)
    }

    /// Listens: on `"host:port"`, `"unix:PATH"`, a [`SocketAddr`](std::net::SocketAddr), or an
    /// existing listener. See [`Listen`].
    ///
    /// # Errors
    ///
    /// If the name does not resolve, no address of it can be bound (`AddrInUse`,
    /// `PermissionDenied`), or where it is [refused](crate::Refused): 32,768 listeners are there, or the
    /// reactor is shutting down.
    pub fn listen(&mut self, listen: impl Into<Listen>) -> io::Result<ListenerId> {
        self.cx.listen(listen)
    }

    /// Listens on a socket that is open already.
    pub(crate) fn listen_opened(&mut self, opened: Opened) -> io::Result<ListenerId> {
        self.cx.core.listen(opened)
    }

    /// Closes a listener: as [`Context::close_listener`].
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.cx.close_listener(id)
    }

    /// Takes over a connected stream: as [`Context::adopt`].
    ///
    /// # Errors
    ///
    /// As [`Context::adopt`].
    pub fn adopt(&mut self, stream: impl Into<Detached>, tag: u64) -> io::Result<ConnId> {
        self.cx.adopt(stream, tag)
    }

    /// Connects to an address: as [`Context::connect`].
    ///
    /// # Errors
    ///
    /// As [`Context::connect`].
    pub fn connect(&mut self, connect: impl Into<Connect>, tag: u64) -> io::Result<ConnId> {
        self.cx.connect(connect, tag)
    }

    /// Binds a datagram socket: `"host:port"` for UDP, `"unix:PATH"`, a
    /// [`SocketAddr`](std::net::SocketAddr), or an existing socket. As [`Context::bind_datagram`].
    ///
    /// # Errors
    ///
    /// As [`Context::bind_datagram`].
    pub fn bind_datagram(&mut self, bind: impl Into<Bind>) -> io::Result<DatagramId> {
        self.cx.bind_datagram(bind)
    }

    /// Closes a datagram socket: as [`Context::close_datagram`].
    pub fn close_datagram(&mut self, socket: DatagramId) -> bool {
        self.cx.close_datagram(socket)
    }

    /// Where a datagram socket is bound: as [`Context::datagram_addr`].
    ///
    /// # Errors
    ///
    /// As [`Context::datagram_addr`].
    pub fn datagram_addr(&self, socket: DatagramId) -> io::Result<Address> {
        self.cx.datagram_addr(socket)
    }

    /// Where a listener listens: as [`Context::listener_addr`].
    ///
    /// # Errors
    ///
    /// As [`Context::listener_addr`].
    pub fn listener_addr(&self, id: ListenerId) -> io::Result<Address> {
        self.cx.listener_addr(id)
    }

    /// Serves until shutdown is complete, idle or not: a [`Handle`] may still bring work.
    ///
    /// # Errors
    ///
    /// An error of `on_start`, or of the poll itself. Before it returns, every connection is
    /// aborted and its `on_close` called.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn(None)? {}
        Ok(())
    }

    /// Runs one turn of the loop, waiting at most `timeout` (`None`: as long as nothing happens).
    /// For a loop that is not ours; [`run`](Self::run) is nothing but this, again and again.
    ///
    /// Returns `false` once shutdown is complete, and from then on.
    ///
    /// In another loop, turn with a timeout of zero each time its wait is over, whatever ended it;
    /// at the least when the descriptor was told of (`AsFd`) and while
    /// [`next_timeout`](Self::next_timeout) is zero. One turn does a bounded piece of work. A turn
    /// too many is harmless and costs a system call. See
    /// [other loops](crate::guide::other_loops) in the guide.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if self.state == State::New {
            self.start()?;
        }
        if self.state == State::Over {
            // None, unless a panic came between.
            self.tell_the_rest();
            return Ok(false);
        }
        self.cx.core.recover();
        // 1, 2. Wait if there is nothing to do; note what the kernel says.
        let due_by = self.poll(timeout)?;
        self.apply_commands();
        // 3. All that is on the run queue, once.
        self.serve_run_queue();
        // 4. What was posted, what is due, what others were sent, what has ended.
        self.run_posts(POSTS_PER_TURN);
        self.cx.core.check_leaving(due_by);
        self.fire_timeouts();
        self.fire_timers();
        self.follow_effects();
        // 5. Vacated slots may be reused: no event of this turn can meet a new entry.
        self.cx.core.recycle();
        self.cx.core.end_turn();
        if self.state == State::Leaving {
            self.check_empty();
        }
        Ok(self.state != State::Over)
    }

    fn start(&mut self) -> io::Result<()> {
        self.state = State::Running;
        let started = self.handler.on_start(&mut self.cx);
        started.inspect_err(|_| self.give_up())
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Stamp> {
        // The level is what counts, not the wake: mio's poll(2) backend empties the wake's
        // descriptor when it arms a socket again, also of a wake that is not yet seen.
        self.take_commands();
        let timeout = if self.has_own_work() { Some(Duration::ZERO) } else { timeout };
        match self.cx.core.poll(timeout) {
            // A signal: nothing was learned, so nothing is late.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Stamp::default()),
            polled => polled.inspect_err(|error| {
                log::error!("the poll failed, giving up: {error}");
                self.give_up();
            }),
        }
    }

    // --- 3. The run queue -----------------------------------------------------------------------

    fn serve_run_queue(&mut self) {
        // What is queued while we serve goes to the back, and is served next turn.
        let runnable = self.cx.core.run_len();
        self.cx.core.stats.load.note_run_queue(runnable);
        for _ in 0..runnable {
            let Some(token) = self.cx.core.next_runnable() else { return };
            match token.target() {
                Target::Connection(slot) => {
                    if let Some(id) = self.cx.core.connection(token, slot) {
                        self.serve_connection(id);
                    }
                }
                Target::Listener(slot) => {
                    if let Some(id) = self.cx.core.listener(token, slot) {
                        self.serve_listener(id);
                    }
                }
                Target::Datagrams(slot) => {
                    if let Some(id) = self.cx.core.socket(token, slot) {
                        self.serve_socket(id);
                    }
                }
                Target::Waker => {}
            }
        }
    }

    /// One piece of a source, one flush of what is owed, one `on_drain` if due, one read or repeat, one
    /// `on_data`, one flush. What is not exhausted goes to the back of the queue.
    fn serve_connection(&mut self, id: ConnId) {
        let mut work = self.cx.core.begin_turn(id, &mut self.buffer);
        if matches!(work, Work::Output) {
            work = self.serve_output(id);
        }
        match work {
            Work::None | Work::Output => {}
            Work::Read(n) => self.call_with_input(id, &"on_data", Offer::read(n), H::on_data),
            Work::Data(offer) => self.call_with_left(id, offer),
            Work::End(offer) => self.call_at_end(id, offer),
            Work::Connect => {
                if let Some(origin) = self.cx.core.finish_connect(id) {
                    self.open(id, origin);
                }
            }
            Work::Open(origin) => self.open(id, origin),
        }
        self.cx.core.update(id);
    }

    /// Calls the handler for one connection. Its effects come after it.
    #[inline]
    fn call(
        &mut self,
        id: ConnId,
        what: &'static &'static str,
        callback: impl FnOnce(&mut H, &mut Conn<'_>, &mut H::Session) -> io::Result<()>,
    ) {
        let session = self.sessions[id.slot() as usize].as_mut();
        let session = session.expect("an open connection has a session");
        self.cx.core.begin_callback(id);
        let mut conn = Conn::new(&mut self.cx, id, &[]);
        match guarded(|| callback(&mut self.handler, &mut conn, session)) {
            Ok(result) => self.cx.core.end_callback(id, what, &[], result),
            Err(panic) => self.end_panicked(id, panic),
        }
    }

    #[expect(clippy::inline_always, reason = "the common path knows what its offer is")]
    #[inline(always)]
    fn call_with_input(
        &mut self,
        id: ConnId,
        what: &'static &'static str,
        offer: Offer,
        // Not a pointer: the call of `on_data` is to be inlined.
        callback: impl FnOnce(&mut H, &mut Conn<'_>, &mut H::Session, &mut Input<'_>) -> io::Result<()>,
    ) {
        let window = offer.window(&self.buffer);
        let (seen, waited) = offer.history();
        self.rest.note(false);
        let mut input = Input::new(window, seen, waited, &self.rest);
        let session = self.sessions[id.slot() as usize].as_mut();
        let session = session.expect("an open connection has a session");
        self.cx.core.begin_callback(id);
        let mut conn = Conn::new(&mut self.cx, id, window);
        let call = || callback(&mut self.handler, &mut conn, session, &mut input);
        let result = match guarded(call) {
            Ok(result) => result,
            Err(panic) => return self.end_panicked(id, panic),
        };
        let (consumed, wait) = input.finish();
        self.cx.core.end_callback(id, what, window, result);
        if consumed < window.len() || matches!(wait, Wait::Bytes(_)) {
            self.cx.core.keep_left(id, offer, &self.buffer, consumed, wait);
        }
    }

    /// Calls `on_data` with what was left of an earlier call.
    #[inline(never)]
    fn call_with_left(&mut self, id: ConnId, offer: Offer) {
        self.call_with_input(id, &"on_data", offer, H::on_data);
        // Nothing of it may be held any more.
        self.cx.core.check_memory();
    }

    #[cold]
    fn call_at_end(&mut self, id: ConnId, offer: Offer) {
        self.call_with_input(id, &"on_eof", offer, |handler, conn, session, input| {
            input.end();
            handler.on_eof(conn, session, input)
        });
    }

    /// A batch of accepts. Even a storm of them leaves the turn to others.
    fn serve_listener(&mut self, id: ListenerId) {
        self.cx.core.begin_listener_turn(id);
        for _ in 0..self.cx.core.limits.accepts_per_turn {
            match self.cx.core.accept(id) {
                Accepted::Opened(conn) => self.open(conn, Origin::Accepted(id)),
                Accepted::Reclaimed => {
                    for _ in 0..self.cx.core.ended_len() {
                        self.tell_ended();
                    }
                    if let Some(conn) = self.cx.core.let_in_claimed(id) {
                        self.open(conn, Origin::Accepted(id));
                    }
                }
                Accepted::Skipped => {}
                Accepted::Stopped => break,
            }
        }
        self.cx.core.end_listener_turn();
    }

    fn open(&mut self, id: ConnId, origin: Origin) {
        let slot = id.slot() as usize;
        if slot >= self.sessions.len() {
            self.sessions.resize_with(slot + 1, || None);
        }
        self.cx.core.begin_callback(id);
        let mut conn = Conn::new(&mut self.cx, id, &[]);
        let handler = &mut self.handler;
        match guarded(|| handler.on_open(&mut conn, origin)) {
            Ok(Ok(session)) => {
                self.sessions[slot] = Some(session);
                self.cx.core.end_callback(id, &"on_open", &[], Ok(()));
            }
            Ok(Err(error)) => self.cx.core.end_callback(id, &"on_open", &[], Err(error)),
            Err(panic) => self.end_panicked(id, panic),
        }
        self.cx.core.note_opened(id);
        self.cx.core.update(id);
    }

    // --- 4. Effects -----------------------------------------------------------------------------

    /// Flushes what others wrote to and tells what has ended, until nothing is left or the rounds
    /// are spent.
    fn follow_effects(&mut self) {
        for _ in 0..ROUNDS {
            self.open_adopted();
            let retired = self.cx.core.has_retiring();
            if retired {
                self.tell_retiring();
            }
            let updated = self.cx.core.update_dirty();
            let ended = self.cx.core.ended_len();
            if ended == 0 && !updated && !retired && self.cx.core.effects.opening_len() == 0 {
                return;
            }
            for _ in 0..ended {
                self.tell_ended();
            }
        }
    }

    /// Lets the handler have the last word on those that the library closes.
    #[cold]
    fn tell_retiring(&mut self) {
        while let Some((id, reason)) = self.cx.core.next_retiring() {
            self.call(id, &"on_closing", |handler, conn, session| {
                handler.on_closing(conn, session, &reason)
            });
            self.cx.core.end_retiring(id, reason);
        }
    }

    fn tell_ended(&mut self) {
        match self.cx.core.free_ended() {
            Some((id, Ended::Connection(closed))) => {
                let thrown = self.cx.core.take_thrown();
                self.tell_closed(id, closed);
                if let Some(panic) = thrown {
                    std::panic::resume_unwind(panic);
                }
            }
            Some((id, Ended::Detached(closed, taker, detached))) => {
                let called = guarded(|| (taker.0)(detached));
                self.cx.core.end_work(&"the closure of detach", Some(id));
                // Whatever that did, it is over here.
                self.tell_closed(id, closed);
                if let Err(panic) = called {
                    self.note_panic("the closure of detach", panic);
                }
            }
            Some((id, Ended::Connect { tag, error, service })) => {
                self.cx.core.callback.enter(service);
                self.call_aside(&"on_connect_failed", Some(id), |handler, cx| {
                    handler.on_connect_failed(cx, id, tag, error);
                });
            }
            None => {}
        }
    }

    fn tell_closed(&mut self, id: ConnId, closed: Closed) {
        let session = self.sessions.get_mut(id.slot() as usize).and_then(Option::take);
        if let Some(session) = session {
            self.cx.core.callback.enter(closed.service);
            self.call_aside(&"on_close", Some(id), |handler, cx| {
                handler.on_close(cx, id, session, closed);
            });
        }
    }

    // --- Access ---------------------------------------------------------------------------------

    /// A way in from other threads.
    #[must_use]
    pub fn handle(&self) -> Handle<H> {
        Handle::new(Arc::clone(&self.inbox.0))
    }

    /// How long another loop may wait before it must call [`turn`](Self::turn) even if the
    /// descriptor is not ready; `None`: as long as it is not. To be asked before each wait: a turn,
    /// a post and the clock change it.
    ///
    /// Zero before the first turn, while there is work that the kernel knows nothing of, and after
    /// the end. Where a wait counts milliseconds, round up: rounded down, the last one is spent
    /// waiting for nothing, again and again. A turn that comes early acts on nothing early.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.state == State::New || self.state == State::Over {
            return Some(Duration::ZERO);
        }
        if self.has_own_work() {
            return Some(Duration::ZERO);
        }
        self.cx.core.next_timeout(self.cx.core.driver.now())
    }

    /// Whether there is something to do that the core does not know of.
    #[inline]
    fn has_own_work(&self) -> bool {
        // All have left, and a panic of the last callback came before the end.
        let is_to_end = self.state == State::Leaving && self.cx.core.is_empty();
        self.inbox.0.posts.is_waiting() || is_to_end
    }

    /// Begins an orderly shutdown in the next turn. As [`Context::shutdown`]. Before the first turn:
    /// that one calls `on_start`, which may listen as ever, and the shutdown begins after it.
    pub fn shutdown(&mut self) {
        if self.state == State::New {
            return self.handle().shutdown();
        }
        self.cx.shutdown();
    }

    /// Aborts every connection in the next turn, and ends. As [`Context::shutdown_now`]. Before the
    /// first turn: as [`shutdown`](Self::shutdown).
    pub fn shutdown_now(&mut self) {
        if self.state == State::New {
            return self.handle().shutdown_now();
        }
        self.cx.shutdown_now();
    }

    /// How the shutdown went: what left in time, what was cut, and what that was owed. `None` before
    /// the end. After an error of [`run`](Self::run) it tells what that cut.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wouldblock::{Config, Reactor, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let config = Config::default().shutdown_max(Duration::from_secs(5));
    /// let mut reactor = Reactor::with_config(handler_fn(|_, _| Ok(())), config)?;
    /// reactor.shutdown();
    /// reactor.run()?;
    /// let report = reactor.shutdown_report().expect("it is over");
    /// assert_eq!((report.done, report.cut), (0, 0));
    /// for cut in &report.cuts {
    ///     eprintln!("{}: {} bytes were not delivered", cut.peer, cut.unsent);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shutdown_report(&self) -> Option<&ShutdownReport> {
        (self.state == State::Over).then_some(self.cx.core.ending.report())
    }

    /// What the reactor has counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.cx.core.stats
    }

    /// The handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to change between turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The handler back; whatever is open is closed without a callback, with a reset where output is
    /// owed.
    #[must_use]
    pub fn into_handler(self) -> H {
        self.handler
    }
}

where_the_poll_has_a_descriptor! {
    /// The poll's descriptor, for another loop: readable when the kernel has news for a turn. What
    /// is left to do without any is told by [`Reactor::next_timeout`] alone, so a host asks both.
    ///
    /// It may be watched level-triggered, edge-triggered (`EPOLLET`) or one-shot, `EPOLLIN` only,
    /// and by an epoll that is watched itself (`epoll(7)`); only [`Reactor::turn`] makes it silent.
    /// One and the same for the reactor's whole life, and closed with it.
    ///
    /// Not with mio's poll(2) backend, which has no descriptor.
    impl<H: Handler> std::os::fd::AsFd for Reactor<H> {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.cx.core.driver.as_fd()
        }
    }

    /// The same as a number, for a host that owns what it watches (tokio's `AsyncFd`).
    impl<H: Handler> std::os::fd::AsRawFd for Reactor<H> {
        fn as_raw_fd(&self) -> std::os::fd::RawFd {
            std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(self))
        }
    }
}

impl<H: Handler> fmt::Debug for Reactor<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("state", &self.state)
            .field("stats", self.stats())
            .finish_non_exhaustive()
    }
}
#[cfg(test)]
mod tests;
