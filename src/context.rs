//! All that a callback may do: [`Conn`] for one connection, [`Context`] for the rest.
//!
//! Both are thin, and nothing here calls the handler. Read next: `context/conn.rs`, then
//! `handler.rs`, which is called with these.

use std::fmt;
use std::io;

use bytes::Bytes;

use crate::base::address::Address;
use crate::base::id::{ConnId, ListenerId};
use crate::base::stats::Stats;
use crate::conn::Phase;
use crate::core::{Core, Shutdown};
use crate::net::connect::Connect;
use crate::net::detached::Detached;
use crate::net::listen::Listen;

mod conn;
mod datagrams;
mod service;
mod timers;

pub use conn::Conn;
pub use service::Service;

/// The reactor, as callbacks see it: what concerns no single connection, and the way to every
/// connection by its [`ConnId`].
pub struct Context {
    pub(crate) core: Core,
}

impl Context {
    /// The connection of this name, for all that can be done to one; in any callback, the one being
    /// served included.
    ///
    /// `None` once it is over (it has ended, was aborted, has failed and been read to its end),
    /// whether its [`on_close`](crate::Handler::on_close) has come yet or not, and for an id of
    /// another reactor. A name is never another connection's. There, but not
    /// [open](Conn::is_open), is one that closes: until its last byte is out and the peer has ended,
    /// [`queued`](Conn::queued) tells what it still owes, and [`abort`](Conn::abort) cuts it short. A
    /// [connect](Self::connect) under way is there as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io;
    /// # use wouldblock::{Conn, ConnId, Context};
    /// fn on_quit(conn: &mut Conn<'_>, other: ConnId) {
    ///     conn.send("bye\n");
    ///     if let Some(mut other) = conn.cx().conn(other) {
    ///         other.send("the other player has left\n");
    ///         other.close();
    ///     }
    /// }
    ///
    /// fn still_plays(cx: &mut Context, id: ConnId) -> bool {
    ///     cx.conn(id).is_some_and(|conn| conn.is_open())
    /// }
    /// ```
    pub fn conn(&mut self, id: ConnId) -> Option<Conn<'_>> {
        let is_over = self.core.entry(id)?.conn.phase() == Phase::Closed;
        (!is_over).then(|| Conn::new(self, id, &[]))
    }

    /// Sends `bytes` to every open connection of this [service](Self::service), the one being
    /// served included.
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

    /// The open connections of this [service](Self::service), the one being served included, from
    /// its `on_open` on.
    ///
    /// Not guaranteed: any order.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnId> {
        let mut ids = self.core.connection_ids();
        let service = self.core.callback.service();
        ids.retain(|id| self.core.is_opened(*id) && self.core.service_of(*id) == Some(service));
        ids
    }

    /// Bytes allocated now for queued output and unconsumed input of all connections: what
    /// [`buffered_max`](crate::Config::buffered_max) limits.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.core.memory.buffered()
    }

    /// The most connections at a time: what [`Config::connections`](crate::Config::connections) and
    /// the descriptor limit leave.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.core.limits.connections
    }

    /// The most memory that peers can make this reactor use, in bytes:
    /// [`Config::worst_case_bytes`](crate::Config::worst_case_bytes) for
    /// [`connections_max`](Self::connections_max) connections.
    #[must_use]
    pub fn worst_case_bytes(&self) -> usize {
        let config = self.core.limits.config.clone();
        config.connections(self.core.limits.connections).worst_case_bytes()
    }

    /// What the reactor has counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Begins an orderly shutdown in the next turn; again changes nothing.
    ///
    /// Listeners accept the connections that wait already, and close; then each connection is
    /// closed when all that its peer had sent is answered. A paused or [held](Conn::hold) one is
    /// waited for. After [`shutdown_max`](crate::Config::shutdown_max) the rest is aborted.
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
        self.core.check_running()?;
        let listen = listen.into();
        let opened = listen.open_on(self.core.driver.kernel())?;
        self.core.listen(opened)
    }

    /// The listeners of this [service](Self::service), in no order.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerId> {
        let mut ids = self.core.listener_ids();
        ids.retain(|id| self.core.listeners.service(*id) == self.core.callback.service());
        ids
    }

    /// Where a listener listens: which of a name's addresses was bound, and which port was given
    /// for port 0.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is closed.
    pub fn listener_addr(&self, id: ListenerId) -> io::Result<Address> {
        let addr = self.core.listener_addr(id).cloned();
        addr.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the listener is closed"))
    }

    /// Closes a listener; its connections stay. Clients that the kernel had queued and that were
    /// not accepted are reset. Returns whether there was such a listener.
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.core.close_listener(id)
    }

    /// Accepts no more connections from a listener, until
    /// [`resume_accepting`](Self::resume_accepting). It goes on to listen: clients connect, and
    /// wait in the kernel's queue, which holds as many as its [`backlog`](crate::Listen::backlog);
    /// a client beyond that tries again and again (listen(2)). Connections that were accepted are
    /// served as ever. In shutdown the queue is accepted all the same. Returns whether there is
    /// such a listener.
    ///
    /// # Examples
    ///
    /// Ten clients at a time, and the others wait:
    ///
    /// ```
    /// # use wouldblock::{Context, ListenerId};
    /// fn adjust(cx: &mut Context, listener: ListenerId, clients: usize) {
    ///     if clients < 10 {
    ///         cx.resume_accepting(listener);
    ///     } else {
    ///         cx.pause_accepting(listener);
    ///     }
    /// }
    /// ```
    pub fn pause_accepting(&mut self, id: ListenerId) -> bool {
        self.core.pause_accepting(id, true)
    }

    /// Accepts again. Returns whether there is such a listener.
    pub fn resume_accepting(&mut self, id: ListenerId) -> bool {
        self.core.pause_accepting(id, false)
    }

    /// Takes over a connected stream, as if it had been accepted; `on_open` comes with
    /// [`Origin::Adopted`](crate::Origin::Adopted) and `tag`, after the running callback. What is
    /// sent before that goes out all the same. If it is closed before `on_open`, no callback comes.
    ///
    /// It may be one that was [detached](Conn::detach) from a reactor, with bytes that are on their
    /// way: what is [unsent](crate::Detached::unsent) goes out first, what is
    /// [unread](crate::Detached::unread) is offered to [`on_data`](crate::Handler::on_data) before
    /// anything else. Either may be longer than [`output_max`](crate::Config::output_max) and
    /// [`input_max`](crate::Config::input_max), which hold for what comes after it.
    ///
    /// The peer may have left already, by a reset too: what it had said is offered then, and the
    /// end told. The kernel knows no [address](Conn::peer_addr) of such a TCP peer any more. If no
    /// reactor had it before, it is told as `0.0.0.0:0` or `[::]:0`.
    ///
    /// # Errors
    ///
    /// If the stream is not connected (`NotConnected`; a TCP one that the peer has left, with
    /// nothing to be read, is not either), or where it is [refused](crate::Refused):
    /// [`connections`](crate::Config::connections) are there, or the reactor is shutting down. The
    /// stream is closed then, and reset if something is unsent.
    pub fn adopt(&mut self, stream: impl Into<Detached>, tag: u64) -> io::Result<ConnId> {
        self.core.adopt(stream.into(), tag)
    }

    /// Connects to an address, on this loop, without waiting for it. The answer comes after the
    /// running callback, once: [`on_open`](crate::Handler::on_open) with
    /// [`Origin::Connected`](crate::Origin::Connected) and `tag`, or
    /// [`on_connect_failed`](crate::Handler::on_connect_failed). [`Connect`] says where to, and how:
    /// its timeout, from which address, socket options.
    ///
    /// The id is good at once, for [`conn`](Self::conn). What is sent to it is queued, up to
    /// [`output_max`](crate::Config::output_max), and goes out first; [`finish`](Conn::finish) ends
    /// our side behind it. `pause`, `hold`, `auto_pause` and [`fd`](Conn::fd) work too. `abort`
    /// and `close` cancel: nothing goes out, and `on_connect_failed` comes with the kind
    /// `ConnectionAborted`. Until it is answered it counts as a connection, but is not among
    /// [`connections`](Self::connections). An orderly shutdown waits for it, as long as it waits
    /// for any connection.
    ///
    /// Names are looked up before, and not in a callback, since that blocks. The guide shows how:
    /// [connecting out](crate::guide::connecting_out).
    ///
    /// # Errors
    ///
    /// What is known at once, and then no callback comes: an option that the target cannot have, or text
    /// that is no address (`InvalidInput`), and what the kernel says: no descriptor is left, no route, a
    /// Unix path where no server listens, or whose backlog is full (`ResourceBusy`). Also where it is
    /// [refused](crate::Refused): [`connections`](crate::Config::connections) are there, or the reactor is
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
    pub fn connect(&mut self, connect: impl Into<Connect>, tag: u64) -> io::Result<ConnId> {
        self.core.connect(connect.into(), tag)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("stats", &self.core.stats).finish_non_exhaustive()
    }
}
