//! All that a callback may do: [`Conn`] for the connection being served, [`Context`] for the rest.
//!
//! Both are thin: bytes go through `send.rs`, the rest sets facts on a connection that take effect
//! when the callback has returned. Nothing here calls the handler. Read next: `handler.rs`, which
//! is called with these.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;

use crate::address::Address;
use crate::close::CloseReason;
use crate::config::Limits;
use crate::conn::{Connection, Phase};
use crate::core::{Core, Shutdown, Tenant};
use crate::id::{ConnId, ListenerId};
use crate::listen::Listen;
use crate::send::Piece;
use crate::socket::Stream;
use crate::stats::Stats;
use crate::timers::Stamp;

mod datagram;
mod timer;

/// The reactor, as callbacks see it: every connection by its [`ConnId`].
///
/// Effects on connections (close, abort, pause, their callbacks) come after the running callback
/// has returned; bytes may leave earlier. A method that answers `bool` says whether there was a
/// connection it could apply to: an id whose connection is gone is refused, never mistaken for
/// another.
pub struct Context {
    pub(crate) core: Core,
}

impl Context {
    /// Sends a copy of `bytes`. Answers whether they were accepted: not by a connection that is
    /// gone, closing, finished or failed. Above [`output_max`](crate::Config::output_max) it ends
    /// the connection.
    pub fn send(&mut self, id: ConnId, bytes: impl AsRef<[u8]>) -> bool {
        self.core.send(id, Piece::Copy(bytes.as_ref()), &[])
    }

    /// Sends `bytes`, which are kept without a copy if they have to wait. Otherwise as
    /// [`send`](Self::send).
    pub fn send_shared(&mut self, id: ConnId, bytes: Bytes) -> bool {
        self.core.send(id, Piece::Shared(bytes), &[])
    }

    /// Sends `bytes` to every open connection, the one being served included.
    ///
    /// They are kept once, however many connections have to wait.
    pub fn broadcast(&mut self, bytes: Bytes) {
        let ids = self.connections();
        self.core.broadcast(ids, &bytes);
    }

    /// Sends `bytes` to each of these that is open.
    pub fn broadcast_to(&mut self, ids: impl IntoIterator<Item = ConnId>, bytes: Bytes) {
        self.core.broadcast(ids, &bytes);
    }

    /// The open connections, the one being served included, from its `on_open` on.
    ///
    /// Not guaranteed: any order.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnId> {
        let mut ids = self.core.connection_ids();
        ids.retain(|id| self.core.is_opened(*id));
        ids
    }

    /// Flushes what was sent, ends our side, waits for the peer's end, and frees the connection.
    /// See [`Conn::close`].
    pub fn close(&mut self, id: ConnId) -> bool {
        // `close_max` is counted from here, however long the callback has run.
        self.core.read_clock();
        self.change(id, Connection::close)
    }

    /// Flushes what was sent and ends our side; reading goes on. See [`Conn::finish`].
    pub fn finish(&mut self, id: ConnId) -> bool {
        self.core.read_clock();
        self.change(id, Connection::finish)
    }

    /// Flushes what was sent, waits until it has left, and frees the connection with a reset. See
    /// [`Conn::close_reset`].
    pub fn close_reset(&mut self, id: ConnId) -> bool {
        self.core.read_clock();
        self.change(id, Connection::close_reset)
    }

    /// Frees the connection with a reset; what it owes is lost. See [`Conn::abort`].
    pub fn abort(&mut self, id: ConnId) -> bool {
        self.change(id, |conn, _, _| conn.cut(CloseReason::Aborted))
    }

    /// Stops reading. See [`Conn::pause`].
    pub fn pause(&mut self, id: ConnId) -> bool {
        self.change(id, |conn, _, _| conn.pause())
    }

    /// Reads again. See [`Conn::resume`].
    pub fn resume(&mut self, id: ConnId) -> bool {
        self.change(id, |conn, _, _| conn.resume())
    }

    /// Reads on while output is above high, or no longer. See [`Conn::full_duplex`].
    pub fn full_duplex(&mut self, id: ConnId, full_duplex: bool) -> bool {
        self.change(id, |conn, _, _| conn.full_duplex(full_duplex))
    }

    /// Keeps the connection through shutdown, or no longer. See [`Conn::hold`].
    pub fn hold(&mut self, id: ConnId, hold: bool) -> bool {
        self.change(id, |conn, _, _| conn.hold(hold))
    }

    /// Asks for `on_drain`. See [`Conn::want_drain`]. Returns whether it comes, if `on_close` does
    /// not come before: not to a connection that is gone, closing, finished or failed.
    pub fn want_drain(&mut self, id: ConnId) -> bool {
        let mut comes = false;
        self.change(id, |conn, _, _| comes = conn.want_drain());
        comes
    }

    /// Bytes sent that the kernel has not taken. 0 for a connection that is gone.
    #[must_use]
    pub fn queued(&self, id: ConnId) -> usize {
        self.core.queued(id)
    }

    /// Bytes that may be sent before [`output_high`](crate::Config::output_high) is reached, and
    /// reading rests. 0 for a connection that is gone or takes no more. Above three quarters of
    /// [`buffered_max`](crate::Config::buffered_max) it is less: one byte above
    /// [`output_low`](crate::Config::output_low) takes the place of `output_high`.
    #[must_use]
    pub fn room(&self, id: ConnId) -> usize {
        if !self.is_open(id) {
            return 0;
        }
        self.core.limits.rest_at.saturating_sub(self.queued(id))
    }

    /// Whether the connection is there and takes what is sent: not closing, finished or failed. A
    /// [connect](Self::connect) under way takes it.
    #[must_use]
    pub fn is_open(&self, id: ConnId) -> bool {
        self.core.tenant(id).is_some_and(|tenant| tenant.conn.takes_sends())
    }

    /// Whether the connection has failed and is kept for what its peer had sent before. See
    /// [`Conn::has_failed`].
    #[must_use]
    pub fn has_failed(&self, id: ConnId) -> bool {
        self.core.tenant(id).is_some_and(|tenant| tenant.conn.has_failed())
    }

    /// The peer's address, as accept told it, or as we connected to it.
    #[must_use]
    pub fn peer_addr(&self, id: ConnId) -> Option<Address> {
        self.core.tenant(id).map(|tenant| tenant.peer.clone())
    }

    /// Our address on this connection (getsockname(2)).
    #[must_use]
    pub fn local_addr(&self, id: ConnId) -> Option<Address> {
        self.core.tenant(id)?.socket.local_addr().ok()
    }

    /// The descriptor, for socket options. See [`Conn::fd`].
    #[must_use]
    pub fn fd(&self, id: ConnId) -> Option<BorrowedFd<'_>> {
        let Tenant { socket, conn, .. } = self.core.tenant(id)?;
        conn.share();
        socket.fd()
    }

    /// Bytes allocated now for queued output and unconsumed input of all connections: what
    /// [`buffered_max`](crate::Config::buffered_max) limits.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.core.buffered
    }

    /// What the reactor has counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Begins an orderly shutdown in the next turn; again changes nothing.
    ///
    /// Listeners accept who waits already and close; then each connection is closed when all that
    /// its peer had sent is answered. A paused or [held](Conn::hold) one is waited for. After
    /// [`shutdown_max`](crate::Config::shutdown_max) the rest is aborted.
    pub fn shutdown(&mut self) {
        self.core.advance_shutdown(Shutdown::Asked);
    }

    /// Aborts every connection in the next turn, and ends.
    pub fn shutdown_now(&mut self) {
        self.core.advance_shutdown(Shutdown::AskedNow);
    }

    /// Listens from now on. See [`Listen`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`](crate::Reactor::listen). A name that has to be resolved blocks.
    pub fn listen(&mut self, listen: impl Into<Listen>) -> io::Result<ListenerId> {
        if self.core.shutdown != Shutdown::No {
            return Err(io::Error::other("the reactor is shutting down"));
        }
        let listen = listen.into();
        let opened = match self.core.driver.kernel() {
            None => listen.open()?,
            Some(kernel) => listen.open_simulated(kernel)?,
        };
        self.core.listen(opened)
    }

    /// The listeners, in no order.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerId> {
        self.core.listener_ids()
    }

    /// Where a listener listens. `None` if it is closed.
    #[must_use]
    pub fn listener_addr(&self, id: ListenerId) -> Option<Address> {
        self.core.listener_addr(id).cloned()
    }

    /// Closes a listener; its connections stay. Clients that the kernel had queued and that were
    /// not accepted are reset. Answers whether there was such a listener.
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.core.close_listener(id)
    }

    /// Takes over a connected stream, as if it had been accepted; `on_open` comes with
    /// [`Origin::Adopted`](crate::Origin::Adopted) and `tag`, after the running callback. What is
    /// sent before that goes out all the same. If it is closed before `on_open`, no callback comes.
    ///
    /// # Errors
    ///
    /// If the stream is not connected, [`connections`](crate::Config::connections) are there
    /// (`QuotaExceeded`), or the reactor is shutting down. The stream is closed then.
    pub fn adopt(&mut self, stream: impl Into<Stream>, tag: u64) -> io::Result<ConnId> {
        self.core.adopt(stream.into(), tag)
    }

    /// Connects to an address, on this loop, without waiting for it. The answer comes after the
    /// running callback, once: [`on_open`](crate::Handler::on_open) with
    /// [`Origin::Connected`](crate::Origin::Connected) and `tag`, or
    /// [`on_connect_failed`](crate::Handler::on_connect_failed). TCP sockets have `TCP_NODELAY` and
    /// keepalive.
    ///
    /// The id is good at once. What is sent to it is queued, up to
    /// [`output_max`](crate::Config::output_max), and goes out first; [`finish`](Self::finish) ends
    /// our side behind it. `pause`, `hold`, `full_duplex` and [`fd`](Self::fd) work too. `abort`
    /// and `close` cancel: nothing goes out, and `on_connect_failed` comes with the kind
    /// `ConnectionAborted`. Until it is answered it counts as a connection, but is not among
    /// [`connections`](Self::connections). An orderly shutdown waits for it, as long as it waits
    /// for anybody.
    ///
    /// An [`Address`] is an address: names are resolved before, and not in a callback, since that
    /// blocks. The guide shows how: [connecting out](crate::guide::connecting_out).
    ///
    /// # Errors
    ///
    /// What the kernel says at once, and then no callback comes: no descriptor is left, no route, a
    /// Unix path where nobody listens, or whose backlog is full (`ResourceBusy`). Also if
    /// [`connections`](crate::Config::connections) are there (`QuotaExceeded`), or the reactor is
    /// shutting down. The error names the address; the system's own, with its code, is its source.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::error::Error;
    /// use std::io::{self, Write};
    /// use std::net::TcpListener;
    /// use wouldblock::{Conn, ConnId, Context, Handler, Input, Origin, Reactor};
    ///
    /// struct Client;
    ///
    /// impl Handler for Client {
    ///     type Session = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<()> {
    ///         assert_eq!(origin, Origin::Connected(7));
    ///         Ok(())
    ///     }
    ///
    ///     fn on_data(
    ///         &mut self,
    ///         conn: &mut Conn<'_>,
    ///         _session: &mut (),
    ///         input: &mut Input<'_>,
    ///     ) -> io::Result<()> {
    ///         assert_eq!(input.take_all(), b"welcome");
    ///         conn.cx().shutdown();
    ///         Ok(())
    ///     }
    ///
    ///     fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
    ///         let system = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    ///         panic!("{error} (code {:?})", system.and_then(io::Error::raw_os_error));
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let server = TcpListener::bind("127.0.0.1:0")?;
    /// # let addr = server.local_addr()?;
    /// # let serving = std::thread::spawn(move || server.accept()?.0.write_all(b"welcome"));
    /// let mut reactor = Reactor::new(Client)?;
    /// let id = reactor.connect(addr, 7)?;
    /// reactor.run()?;
    /// # serving.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(&mut self, address: impl Into<Address>, tag: u64) -> io::Result<ConnId> {
        self.core.connect(address.into(), tag)
    }

    fn change(&mut self, id: ConnId, verb: impl FnOnce(&mut Connection, Stamp, &Limits)) -> bool {
        if id.reactor() != self.core.number {
            return false;
        }
        let Core { conns, limits, now, current, rest, .. } = &mut self.core;
        let Some(Tenant { conn, .. }) = conns.get_mut(id.slot(), id.generation()) else {
            return false;
        };
        if conn.phase() == Phase::Closed {
            return false;
        }
        verb(conn, *now, limits);
        if *current == Some(id) {
            rest.note(conn.is_resting());
        }
        self.core.touch(id);
        true
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("stats", &self.core.stats).finish_non_exhaustive()
    }
}

/// The connection being served.
///
/// Its verbs never fail: what cannot be done any more is ignored, and
/// [`on_close`](crate::Handler::on_close) tells how it ended.
pub struct Conn<'a> {
    cx: &'a mut Context,
    id: ConnId,
    /// The input of the call, which may be sent without a copy.
    window: &'a [u8],
}

impl<'a> Conn<'a> {
    pub(crate) fn new(cx: &'a mut Context, id: ConnId, window: &'a [u8]) -> Self {
        Conn { cx, id, window }
    }

    /// Sends `bytes`: to the kernel as soon as it takes them, in order.
    ///
    /// What is sent in one callback leaves together when it returns; 4 KiB or more at once may
    /// leave earlier. Bytes taken from the callback's [`Input`](crate::Input) are not copied on the
    /// way. After close, finish or a failure it is ignored ([`is_open`](Self::is_open) tells).
    ///
    /// Not without a bound: above [`output_max`](crate::Config::output_max) queued (4 MiB unless said
    /// otherwise) it ends the connection with [`OutputLimit`](crate::CloseReason::OutputLimit), and
    /// its peer sees a reset. An answer of 10 MiB at once is too much for a peer that reads well, too,
    /// since the kernel takes a part of it only: set a larger limit, or send it in pieces, as long as
    /// there is [`room`](Self::room), and go on after [`want_drain`](Self::want_drain).
    ///
    /// Answers that are smaller need no such care, however many there are: see
    /// [`Input`](crate::Input#not-now).
    #[inline]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.cx.core.send(self.id, Piece::Copy(bytes.as_ref()), self.window);
    }

    /// Sends `bytes`, which are kept without a copy if they have to wait.
    ///
    /// A small piece (up to 4 KiB) may be copied all the same, where that costs less. Kept bytes
    /// keep alive the whole buffer that they are a slice of, and
    /// [`buffered_max`](crate::Config::buffered_max) counts the slice: send a small slice of a large
    /// buffer that is not kept anyway as a copy.
    pub fn send_shared(&mut self, bytes: Bytes) {
        self.cx.core.send(self.id, Piece::Shared(bytes), self.window);
    }

    /// Closes: flushes what was sent, ends our side, waits for the peer's end (at most
    /// [`linger`](crate::Config::linger)) so that no reset destroys a reply in flight, and frees
    /// the connection. From here on input is read and discarded, no callback comes but
    /// [`on_close`](crate::Handler::on_close), and sends are ignored.
    pub fn close(&mut self) {
        self.cx.close(self.id);
    }

    /// Closes with a reset behind what was sent, in the place of an orderly end: for an answer that
    /// breaks off half way, which a peer must not take for a whole one. A proxy passes a reset on so.
    ///
    /// As [`close`](Self::close) it flushes, reads and discards; then it waits until the peer's
    /// kernel has acknowledged all of it, since a reset destroys what is on its way, as long as that
    /// goes on (at most [`write_stall`](crate::Config::write_stall) without a byte of progress, and
    /// [`close_max`](crate::Config::close_max) in all), and frees the connection with a reset. On
    /// Linux the peer still reads what had arrived before it sees `ECONNRESET`. Never
    /// [`clean`](crate::Closed::clean). Where the kernel does not say what was acknowledged
    /// (`sock_diag(7)`), it waits for [`linger`](crate::Config::linger) instead. On a Unix socket, as
    /// [`abort`](Self::abort) behind the flush.
    pub fn close_reset(&mut self) {
        self.cx.close_reset(self.id);
    }

    /// Half-closes: ends our side after what was sent (our FIN), and reads on. Sends are ignored
    /// from here on. When the peer's end has come too, that is a close.
    pub fn finish(&mut self) {
        self.cx.finish(self.id);
    }

    /// Aborts: frees the connection with a reset. What the kernel has not taken is lost, and
    /// counted in [`Closed::unsent`](crate::Closed::unsent).
    ///
    /// A Unix socket has no reset. Its peer sees `ECONNRESET` if it has sent something that we have
    /// not read, behind what had arrived there before; otherwise the end, and nothing can be done about
    /// it on this side (unix(7)). So whoever speaks over Unix sockets should be able to tell a whole
    /// answer by itself: by its length, or by a mark at its end.
    pub fn abort(&mut self) {
        self.cx.abort(self.id);
    }

    /// Stops reading: no `on_data`, no `on_eof` until [`resume`](Self::resume). The peer is held
    /// back by TCP once the kernel's buffers are full. Deadlines go on, the idle one included.
    ///
    /// That the peer has ended its side in order shows only when reading again: `on_eof` follows its
    /// last bytes. That it is gone, by a reset or because a write failed, is told without that: first
    /// by [`on_drain`](crate::Handler::on_drain) if one is owed, where
    /// [`has_failed`](Self::has_failed) is true; then by [`on_close`](crate::Handler::on_close), at
    /// once if nothing is left to read. If something is, the handler has
    /// [`linger`](crate::Config::linger) to resume and be shown it.
    pub fn pause(&mut self) {
        self.cx.pause(self.id);
    }

    /// Reads again. What was left unconsumed is offered once more, unless the last word about it
    /// was that it waits.
    pub fn resume(&mut self) {
        self.cx.resume(self.id);
    }

    /// Reads on, from now on and while `full_duplex` is true, however much output is queued. By
    /// default a connection's reading rests while its output is at or above
    /// [`output_high`](crate::Config::output_high): right where input causes output on the same
    /// connection, and wrong where the two have nothing to do with each other. A proxy whose client
    /// sends all before it reads anything would never come to read.
    ///
    /// Then the handler holds back who causes the output: [`pause`](Self::pause) that connection
    /// when this one has no [`room`](Self::room), ask this one to [`want_drain`](Self::want_drain),
    /// and resume that one in its `on_drain` (`examples/proxy.rs`). The library's own bound is
    /// [`output_max`](crate::Config::output_max): a handler that holds nobody back meets it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io;
    /// # use wouldblock::{Conn, ConnId, Input};
    /// // One direction of a proxy, in `on_data`:
    /// fn relay(conn: &mut Conn<'_>, to: ConnId, input: &mut Input<'_>) -> io::Result<()> {
    ///     conn.cx().send(to, input.take_all());
    ///     if conn.cx().room(to) == 0 {
    ///         conn.pause(); // until `on_drain` of the other
    ///         conn.cx().want_drain(to);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn full_duplex(&mut self, full_duplex: bool) {
        self.cx.full_duplex(self.id, full_duplex);
    }

    /// Keeps the connection through shutdown while `hold` is true: for one that waits for somebody
    /// else's answer. [`shutdown_max`](crate::Config::shutdown_max) holds all the same.
    pub fn hold(&mut self, hold: bool) {
        self.cx.hold(self.id, hold);
    }

    /// Bytes sent that the kernel has not taken, those of this callback included.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.cx.queued(self.id)
    }

    /// Bytes that may be sent before [`output_high`](crate::Config::output_high) is reached, and
    /// reading rests; 0 if sends are ignored. See [`Context::room`].
    #[must_use]
    pub fn room(&self) -> usize {
        self.cx.room(self.id)
    }

    /// Asks for [`on_drain`](crate::Handler::on_drain), once, in a later turn, when queued output
    /// is at or below [`output_low`](crate::Config::output_low): to send a long answer piece by
    /// piece. It comes without asking after output was at or above
    /// [`output_high`](crate::Config::output_high). If the connection fails before, it comes at once,
    /// or [`on_close`](crate::Handler::on_close) does.
    pub fn want_drain(&mut self) {
        self.cx.want_drain(self.id);
    }

    /// The peer's address, as accept told it, or as we connected to it: known even if the peer has
    /// left.
    #[must_use]
    pub fn peer_addr(&self) -> Address {
        self.cx.peer_addr(self.id).expect("the connection being served is there")
    }

    /// Our address on this connection (getsockname(2)).
    ///
    /// # Errors
    ///
    /// As getsockname(2); not expected on a connection that is there.
    pub fn local_addr(&self) -> io::Result<Address> {
        let tenant = self.cx.core.tenant(self.id).expect("the connection being served is there");
        tenant.socket.local_addr()
    }

    /// The name of this connection, for as long as the program runs.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Whether sends are taken: not closing, finished or failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.cx.is_open(self.id)
    }

    /// Whether the next message may be handed out: not closing, paused or resting.
    pub(crate) fn is_reading(&self) -> bool {
        self.cx.core.tenant(self.id).is_some_and(|tenant| tenant.conn.is_reading())
    }

    /// Whether callbacks come: not closing.
    pub(crate) fn is_served(&self) -> bool {
        self.cx.core.tenant(self.id).is_some_and(|tenant| tenant.conn.is_served())
    }

    /// Whether the connection has failed (a reset by the peer, a write to one that is gone): nothing
    /// that is sent arrives any more. What the peer had sent before is still there to be read;
    /// behind it comes [`on_close`](crate::Handler::on_close). See [`pause`](Self::pause).
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.cx.has_failed(self.id)
    }

    /// The descriptor, lent for socket options that have no verb here. `None` where there is none
    /// (a simulated connection). Do not read, write, shut down or close through it, nor through a
    /// duplicate: the reactor's account of the socket would be wrong.
    ///
    /// A duplicate ([`try_clone_to_owned`](BorrowedFd::try_clone_to_owned)) may outlive the connection:
    /// after [`on_close`](crate::Handler::on_close) nothing watches it, and the peer has been told of
    /// the end as if there were none.
    ///
    /// These are the reactor's. `SO_LINGER`: cleared before the close, which would make the whole
    /// reactor wait in close(2) (socket(7)); for a reset there is [`abort`](Self::abort). `O_NONBLOCK`:
    /// to clear it slows nothing down, reads and writes ask not to wait each time. `SO_RCVLOWAT` above
    /// 1, and an upper protocol (`TCP_ULP`, kTLS for one): not to be set, since what is ready then
    /// means something else, and bytes that have arrived may stay unread.
    ///
    /// # Examples
    ///
    /// Give up on unacknowledged bytes after ten seconds (`TCP_USER_TIMEOUT`, tcp(7)), by way of
    /// the `socket2` crate:
    ///
    /// ```
    /// # use std::io::{self, Read, Write};
    /// # use std::time::Duration;
    /// # use wouldblock::{Conn, Handler, Input, Origin, Reactor};
    /// use socket2::SockRef;
    ///
    /// struct Impatient;
    ///
    /// impl Handler for Impatient {
    ///     type Session = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
    ///         if let Some(fd) = conn.fd() {
    ///             # #[cfg(target_os = "linux")]
    ///             SockRef::from(&fd).set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    ///         }
    ///         # conn.cx().shutdown();
    ///         Ok(())
    ///     }
    ///     # fn on_data(&mut self, _: &mut Conn<'_>, _: &mut (), _: &mut Input<'_>) -> io::Result<()> {
    ///     #     Ok(())
    ///     # }
    /// }
    /// # let mut reactor = Reactor::new(Impatient)?;
    /// # let listener = reactor.listen("127.0.0.1:0")?;
    /// # let addr = reactor.local_addr(listener)?.socket_addr().expect("TCP");
    /// # let client = std::net::TcpStream::connect(addr)?;
    /// # drop(client);
    /// # reactor.run()?;
    /// # assert_eq!(reactor.stats().closed.handler, 0);
    /// # Ok::<(), io::Error>(())
    /// ```
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.cx.fd(self.id)
    }

    /// The rest of the reactor.
    pub fn cx(&mut self) -> &mut Context {
        self.cx.core.copy_corked(self.window);
        self.cx
    }
}

/// Takes all, as [`Conn::send`] does: for `write!` and for encoders. Never waits, and `flush` has
/// nothing to do.
impl io::Write for Conn<'_> {
    /// # Errors
    ///
    /// `BrokenPipe` where [`Conn::send`] ignores what is sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cx.core.send(self.id, Piece::Copy(bytes), self.window) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).finish_non_exhaustive()
    }
}
