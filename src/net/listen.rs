//! Where and how to listen: [`Listen`], and how it becomes a listening socket.
//!
//! Everything that can go wrong before the first client goes wrong here, with an error that names
//! the address. A path that a dead server left behind is taken over; no other is touched.
//! Accepting is `core/accept.rs`.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::unix::net as unix;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::address::Address;
use crate::base::layer::{Layer, MakeLayer};
use crate::base::one_line::OneLine;
use crate::base::spread::Spread;
use crate::kernel::{Kernel, Listener as SimListener};
use crate::net::intake::{Intake, Spreader};
use crate::net::options::{
    Keepalive, SocketOptions, for_bound_sockets, for_every_socket, for_streams, invalid,
};
use crate::net::path::{OwnedPath, bind_path, path_to_bind};
use crate::net::socket::{self, Acceptor, Family, Kind, check, mode, name, take_in};

/// How many established connections the kernel keeps until they are accepted (listen(2)). The
/// kernel brings it down to `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BACKLOG: i32 = 4096;
const NAMELESS: &str = "a server without a name is not found";
/// So many connections, at least, are taken to wait at an existing listener, whose backlog is not known.
const BACKLOG_UNKNOWN: usize = 65_536;

/// Where and how to listen.
///
/// Where: `"host:port"`, `"unix:PATH"`, `"unix:@NAME"` (Linux's abstract namespace), a
/// [`SocketAddr`], an [`Address`], a [`std::net::TcpListener`], or a
/// [`std::os::unix::net::UnixListener`]. What begins with `unix:` is read as an [`Address`] is.
///
/// A name may resolve to several addresses; the first that binds is taken, as `std` does
/// ([`Reactor::listener_addr`](crate::Reactor::listener_addr) says which); to listen on all of them, listen
/// on each that [`Address::resolve`] finds. Resolving blocks. Port 0 asks
/// the kernel for a free port. TCP sockets made here have `SO_REUSEADDR`, so that a restarted
/// server gets its port at once.
///
/// `"[::]:port"` listens on IPv4 too unless [`only_v6`](Self::only_v6) says otherwise or the
/// system does (`net.ipv6.bindv6only`); IPv4 clients then show as `[::ffff:a.b.c.d]`.
///
/// A Unix path that a dead server left behind (a socket that no server answers) is taken over. One
/// that a live server answers, or a file that is no socket, is an `AddrInUse` error and stays
/// untouched. The path is removed when the listener closes, if it is still the same file. A
/// relative path is bound as an absolute one, unless that has more than the 107 bytes of a socket
/// address (unix(7)). Not guaranteed: that two servers started on one dead path at the same instant
/// notice each other.
///
/// An existing listener keeps its options and its backlog, unless set here; its path is never
/// removed. It is made non-blocking and close-on-exec, and `SO_LINGER`, which accepted connections
/// would inherit, is cleared; whoever sets it on a duplicate, or makes that blocking, makes nothing wait
/// here. After the close nothing watches it, though a duplicate lives on.
///
/// An option that a target cannot have is an error of kind `InvalidInput` that names it.
///
/// # Examples
///
/// ```no_run
/// use wouldblock::{Listen, Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// reactor.listen("127.0.0.1:6666")?;
/// reactor.listen(Listen::from("[::1]:6666").backlog(128).only_v6(true))?;
/// reactor.listen(Listen::from("unix:/run/server.sock").mode(0o660))?;
/// # Ok(())
/// # }
/// ```
pub struct Listen {
    target: Target,
    options: Options,
}

#[derive(Clone, Debug, Default)]
struct Options {
    /// `None`: 4096, or what an existing listener has.
    backlog: Option<u32>,
    socket: SocketOptions,
    layer: Option<MakeLayer>,
    spread: Option<Spread>,
}

enum Target {
    /// Text, which may be a name.
    Name(String),
    At(Address),
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
    Sim(SimListener),
}

impl Listen {
    /// How many established connections the kernel keeps until they are accepted; it brings the
    /// number down to `net.core.somaxconn`. Default 4096. An existing listener is told by listen(2)
    /// once more, and those that wait already stay.
    ///
    /// Not guaranteed with a handful: that nothing is lost. When a very small backlog is full, Linux
    /// answers with SYN cookies (tcp(7)), and a connection that it then had no room for can come in
    /// later without its first bytes, or never (seen with 0, and not with `tcp_syncookies` off).
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = Some(connections);
        self
    }

    /// How the connections are shared out among the reactors of a [`Server`](crate::Server); a
    /// reactor alone has them all. Default: a TCP port by the [kernel](Spread::Kernel), a Unix
    /// socket and an existing listener to the [least loaded](Spread::LeastLoaded).
    #[must_use]
    pub fn spread(mut self, spread: Spread) -> Self {
        self.options.spread = Some(spread);
        self
    }

    /// Puts a [`Layer`] between each connection that is accepted and its handler. `make` makes it,
    /// and is called right after the accept with the address of the peer. Where the handshake
    /// fails, no callback comes: [`Stats::handshakes_failed`](crate::Stats::handshakes_failed)
    /// counts, and a line of log tells.
    ///
    /// Called again, the new layer is put above the one that was there: the first is next to the wire.
    ///
    /// An error of `make` resets the connection; it is logged (level info), and counted as
    /// [`refused`](crate::Stats::refused).
    ///
    /// # Examples
    ///
    /// See [`Layer`].
    #[must_use]
    pub fn layer<L: Layer>(
        mut self,
        make: impl Fn(&Address) -> io::Result<L> + Send + Sync + 'static,
    ) -> Self {
        let make = MakeLayer::new(make);
        self.options.layer = Some(match self.options.layer.take() {
            Some(below) => below.then(make),
            None => make,
        });
        self
    }

    /// One for each address of the name, with the options that were set so far: to listen on all of
    /// them, where [`Reactor::listen`](crate::Reactor::listen) takes the first that can be bound. With
    /// port 0 each gets a port of its own.
    ///
    /// The name is looked up here, which may block: as [`Address::resolve`]. What is no name, such as an
    /// address or an existing listener, is returned as it is.
    ///
    /// # Errors
    ///
    /// As [`Address::resolve`]. Whether each can be bound shows when it is listened on.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{Listen, Reactor, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
    /// for listen in Listen::from("localhost:0").backlog(1000).each_address()? {
    ///     reactor.listen(listen)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn each_address(self) -> io::Result<Vec<Self>> {
        let Listen { target: Target::Name(name), options } = self else { return Ok(vec![self]) };
        let addresses = Address::resolve(&name)?.into_iter();
        Ok(addresses
            .map(|address| Listen { target: Target::At(address), options: options.clone() })
            .collect())
    }
}

for_every_socket!(Listen, options.socket);
for_streams!(Listen, options.socket);
for_bound_sockets!(Listen, options.socket);

impl Listen {
    /// Opens the listening socket, on this kernel if it is a simulated one.
    pub(crate) fn open_on(self, kernel: Option<&Kernel>) -> io::Result<Opened> {
        match kernel {
            None => self.open(),
            Some(kernel) => self.open_simulated(kernel),
        }
    }

    fn open(self) -> io::Result<Opened> {
        let layer = self.options.layer.clone();
        Ok(Opened { layer, ..self.open_socket()? })
    }

    /// Returns how the connections are shared out among `reactors` reactors, if one of those
    /// accepts for all.
    pub(crate) fn hands_over(&self, reactors: usize) -> Option<Spread> {
        let is_port = match &self.target {
            Target::Name(name) => !name.starts_with("unix:"),
            Target::At(address) => matches!(address, Address::Ip(_)),
            // One socket, which may be of a port: the kernel has nothing to choose from.
            Target::Tcp(_) | Target::Unix(_) | Target::Sim(_) => false,
        };
        let default = if is_port { Spread::Kernel } else { Spread::LeastLoaded };
        let by = self.options.spread.unwrap_or(default);
        (reactors > 1 && by != Spread::Kernel).then_some(by)
    }

    /// Opens it for so many reactors: a port of TCP with a socket for each, among which the kernel
    /// shares connections out (`SO_REUSEPORT`, socket(7)); anything else with one socket, in so
    /// many duplicates.
    pub(crate) fn open_for(
        self,
        kernel: Option<&Kernel>,
        reactors: usize,
    ) -> io::Result<Vec<Opened>> {
        let is_ours = matches!(self.target, Target::Name(_) | Target::At(_));
        let mut options = self.options.clone();
        let first = self.open_on(kernel)?;
        let mut opened = Vec::with_capacity(reactors);
        match first.local_addr()? {
            at @ Address::Ip(_) if is_ours && reactors > 1 => {
                if options.socket.reuse_port {
                    opened.push(first);
                } else {
                    // It has shown that no other server listens there: to share a port with that
                    // was not asked for.
                    drop(first);
                    options.socket.reuse_port = true;
                }
                while opened.len() < reactors {
                    let (target, options) = (Target::At(at.clone()), options.clone());
                    opened.push(Listen { target, options }.open_on(kernel)?);
                }
            }
            _ => {
                opened.push(first);
                while opened.len() < reactors {
                    opened.push(opened[0].duplicate()?);
                }
            }
        }
        Ok(opened)
    }

    fn open_socket(self) -> io::Result<Opened> {
        let Listen { target, options } = self;
        let (at, opened) = match target {
            Target::Name(name) => {
                let opened = options.open_name(&name);
                (OneLine(name).to_string(), opened)
            }
            Target::At(address) => (address.to_string(), options.open_at(&address)),
            Target::Tcp(listener) => return options.take_tcp(listener).map_err(cannot_take),
            Target::Unix(listener) => return options.take_unix(listener).map_err(cannot_take),
            Target::Sim(_) => return Err(invalid("a simulated listener, on the machine's kernel")),
        };
        opened.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {at}: {error}"))
        })
    }

    /// Opens it on a simulated kernel. Nothing is looked up there: a name is an address or a path.
    fn open_simulated(self, kernel: &Kernel) -> io::Result<Opened> {
        let address = match self.target {
            Target::Name(name) => name.parse()?,
            Target::At(address) => address,
            Target::Tcp(_) | Target::Unix(_) => {
                return Err(invalid("a listener of the machine's kernel, in a simulation"));
            }
            Target::Sim(listener) => return Ok(self.options.take_simulated(listener)),
        };
        match &address {
            Address::Ip(addr) => self.options.socket.check_ip(*addr)?,
            Address::Unix(_) => self.options.check_path()?,
            Address::Abstract(_) => self.options.socket.check_no_path()?,
            Address::Unnamed => return Err(invalid(NAMELESS)),
        }
        let backlog = self.options.backlog().unsigned_abs() as usize;
        let shared = self.options.socket.reuse_port;
        let acceptor = Acceptor::Sim(kernel.listen(address, backlog, shared)?);
        let opened = Opened::new(acceptor, Given::default());
        Ok(Opened { backlog: Some(backlog), layer: self.options.layer, ..opened })
    }
}

/// An open listening socket, and what is remembered with it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Before the socket, so that it is dropped first: where there is no path, no other server
    /// takes it over.
    #[allow(dead_code, reason = "kept to be dropped")]
    pub(crate) path: Option<OwnedPath>,
    acceptor: Acceptor,
    /// What listen(2) was told; `None`: it was called elsewhere.
    backlog: Option<usize>,
    given: Given,
    /// What makes the layer of each connection.
    pub(crate) layer: Option<MakeLayer>,
    /// Who gets the connections, if this accepts for others.
    pub(crate) spreader: Option<Spreader>,
}

/// What accepted sockets do not inherit, or inherit and must not keep, and whose they are.
#[derive(Clone, Debug, Default)]
struct Given {
    /// On Unix sockets: nothing is inherited there.
    buffers: Option<SocketOptions>,
    /// It was handed in, so that a duplicate may live elsewhere, and be made blocking, or to
    /// linger, at any time. Those that the kernel accepted before may linger, too.
    is_shared: bool,
}

impl Opened {
    /// A listener at which as many connections may wait as the kernel allows: one that was there
    /// before may have had another backlog than it is told now.
    fn new(acceptor: Acceptor, given: Given) -> Self {
        Opened { path: None, acceptor, backlog: None, given, layer: None, spreader: None }
    }

    /// Accepts one connection: as [`Acceptor::accept`], with the options that it does not inherit.
    pub(crate) fn accept(&self) -> io::Result<(socket::Socket, Address)> {
        if self.given.is_shared {
            self.acceptor.forbid_waiting()?;
        }
        let (accepted, peer) = self.acceptor.accept()?;
        if self.given.is_shared || self.given.buffers.is_some() {
            self.given.give(&accepted);
        }
        Ok((accepted, peer))
    }

    /// The same socket once more, for another reactor. Its path is the first one's to remove.
    fn duplicate(&self) -> io::Result<Opened> {
        let acceptor = self.acceptor.duplicate()?;
        let Opened { backlog, ref given, ref layer, .. } = *self;
        Ok(Opened { backlog, layer: layer.clone(), ..Opened::new(acceptor, given.clone()) })
    }

    /// A listener for a reactor that another one accepts for, with the same layers.
    pub(crate) fn intake(&self, intake: Intake) -> Opened {
        let opened = Opened::new(Acceptor::Intake(intake), Given::default());
        // How many wait is for the one that accepts to bound.
        Opened { backlog: Some(usize::MAX), layer: self.layer.clone(), ..opened }
    }

    /// What another reactor accepts for this one, if it is that.
    #[inline]
    pub(crate) fn as_intake(&self) -> Option<&Intake> {
        match &self.acceptor {
            Acceptor::Intake(intake) => Some(intake),
            Acceptor::Tcp { .. } | Acceptor::Unix(_) | Acceptor::Sim(_) => None,
        }
    }

    pub(crate) fn acceptor_mut(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        self.acceptor.local_addr()
    }

    /// The most connections that can wait in the kernel: Linux lets one more wait than it was told,
    /// and takes at most `somaxconn` for an answer (listen(2)).
    pub(crate) fn waiting_max(&self) -> usize {
        let most = self.backlog.unwrap_or_else(|| {
            somaxconn().map_or(BACKLOG_UNKNOWN, |most| most.max(BACKLOG_UNKNOWN))
        });
        most.saturating_add(1)
    }
}

impl Given {
    #[cold]
    fn give(&self, accepted: &socket::Socket) {
        let given = match &self.buffers {
            Some(given) => {
                accepted.fd().map_or(Ok(()), |fd| given.set_buffers(&SockRef::from(&fd)))
            }
            None => Ok(()),
        };
        let cleared = accepted.forbid_linger();
        // The peer may have left already.
        if let Err(error) = given.and(cleared) {
            log::debug!("an accepted socket does not take its options: {error}");
        }
    }
}

/// Of a socket that listens.
fn tcp(listener: net::TcpListener) -> io::Result<Acceptor> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(&listener);
    let (nodelay, keepalive) = (socket.tcp_nodelay()?, socket.keepalive()?);
    Ok(Acceptor::tcp(listener, nodelay, keepalive))
}

/// The most connections that the kernel lets wait at any listener, where it says so.
fn somaxconn() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

impl Options {
    fn open_name(&self, name: &str) -> io::Result<Opened> {
        if name.starts_with("unix:") {
            return self.open_at(&name.parse()?);
        }
        self.bind_first(name.to_socket_addrs()?)
    }

    fn open_at(&self, address: &Address) -> io::Result<Opened> {
        match address {
            Address::Ip(addr) => self.bind(*addr),
            Address::Unix(path) => self.bind_path(path),
            Address::Abstract(_) => self.bind_abstract(address),
            Address::Unnamed => Err(invalid(NAMELESS)),
        }
    }

    fn bind_first(&self, addrs: impl Iterator<Item = SocketAddr>) -> io::Result<Opened> {
        let mut last = None;
        let left_out = |addr: &SocketAddr| self.socket.only_v6 == Some(true) && addr.is_ipv4();
        for addr in addrs.filter(|addr| !left_out(addr)) {
            match self.bind(addr) {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
        let of_v6 = if self.socket.only_v6 == Some(true) { " of IPv6" } else { "" };
        Err(last.unwrap_or_else(|| invalid(&format!("the name has no address{of_v6}"))))
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Opened> {
        self.socket.check_ip(addr)?;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        let of = SockRef::from(&socket);
        self.socket.set_unbound(&of, addr)?;
        // Before listen: the window that TCP offers is agreed on with the first segment.
        self.socket.set_buffers(&of)?;
        self.socket.set_tcp(&of, Some(true))?;
        socket.bind(&addr.into())?;
        self.listen(&socket)?;
        let opened = Opened::new(tcp(socket.into())?, Given::default());
        Ok(Opened { backlog: Some(self.granted()), ..opened })
    }

    /// What an existing listener must be.
    fn kind(&self) -> Kind {
        if self.backlog.is_some() { Kind::WillListen } else { Kind::Listener }
    }

    /// Takes over an existing listener, and sets what was asked for.
    fn take_tcp(&self, listener: net::TcpListener) -> io::Result<Opened> {
        let kind = self.kind();
        check(&listener, kind, Family::Ip)?;
        let addr = listener.local_addr()?;
        self.socket.check_ip(addr)?;
        let socket = SockRef::from(&listener);
        self.socket.set_existing(&socket, addr)?;
        self.socket.set_buffers(&socket)?;
        self.socket.set_tcp(&socket, None)?;
        if self.backlog.is_some() {
            self.listen(&socket)?;
        }
        take_in(&listener, kind, Family::Ip)?;
        Ok(Opened::new(tcp(listener)?, Given { is_shared: true, ..Given::default() }))
    }

    /// The same of one on a simulated kernel.
    fn take_simulated(self, listener: SimListener) -> Opened {
        if let Some(backlog) = self.backlog {
            listener.listen_again(backlog as usize);
        }
        listener.forbid_linger();
        let given = Given { is_shared: true, ..Given::default() };
        Opened { layer: self.layer, ..Opened::new(Acceptor::Sim(listener), given) }
    }

    /// Takes over an existing listener, and sets what was asked for.
    fn take_unix(&self, listener: unix::UnixListener) -> io::Result<Opened> {
        let kind = self.kind();
        check(&listener, kind, Family::Unix)?;
        self.socket.check_no_path()?;
        if self.backlog.is_some() {
            self.listen(&SockRef::from(&listener))?;
        }
        take_in(&listener, kind, Family::Unix)?;
        let mut opened = self.open_unix(listener, None, None)?;
        opened.given.is_shared = true;
        Ok(opened)
    }

    fn open_unix(
        &self,
        listener: unix::UnixListener,
        path: Option<OwnedPath>,
        backlog: Option<usize>,
    ) -> io::Result<Opened> {
        listener.set_nonblocking(true)?;
        let SocketOptions { recv_buffer, send_buffer, .. } = self.socket;
        let buffers = recv_buffer.or(send_buffer).map(|_| self.socket.clone());
        let given = Given { buffers, is_shared: false };
        Ok(Opened { path, backlog, ..Opened::new(Acceptor::unix(listener), given) })
    }

    fn check_path(&self) -> io::Result<()> {
        self.socket.check_unix()?;
        mode::check(self.socket.mode)
    }

    fn bind_abstract(&self, at: &Address) -> io::Result<Opened> {
        self.socket.check_no_path()?;
        let addr = name::unix(at)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        rustix::net::bind(&socket, &addr)?;
        self.listen(&socket)?;
        self.open_unix(socket.into(), None, Some(self.granted()))
    }

    fn bind_path(&self, path: &Path) -> io::Result<Opened> {
        self.check_path()?;
        let (path, addr) = path_to_bind(path)?;
        let socket = bind_path(&path, &addr, || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            mode::prepare(&socket, self.socket.mode)?;
            Ok(socket)
        })?;
        let owned = OwnedPath::new(path)?;
        // No client can connect before listen, so none slips in under another mode (trap 53).
        mode::complete(&owned.path, |found| owned.is(found), self.socket.mode)?;
        self.listen(&socket)?;
        self.open_unix(socket.into(), Some(owned), Some(self.granted()))
    }

    fn listen(&self, socket: &Socket) -> io::Result<()> {
        socket.listen(self.backlog())
    }

    /// What the kernel makes of our backlog.
    fn granted(&self) -> usize {
        let asked = self.backlog().unsigned_abs() as usize;
        somaxconn().map_or(asked, |most| asked.min(most))
    }

    fn backlog(&self) -> i32 {
        self.backlog.map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX))
    }
}

fn cannot_take(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on an existing socket: {error}"))
}

impl From<Target> for Listen {
    fn from(target: Target) -> Self {
        Listen { target, options: Options::default() }
    }
}

impl From<&str> for Listen {
    fn from(name: &str) -> Self {
        Target::Name(name.to_owned()).into()
    }
}

impl From<String> for Listen {
    fn from(name: String) -> Self {
        Target::Name(name).into()
    }
}

impl From<&String> for Listen {
    fn from(name: &String) -> Self {
        Target::Name(name.clone()).into()
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Target::At(addr.into()).into()
    }
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Target::At(address).into()
    }
}

impl From<net::TcpListener> for Listen {
    fn from(listener: net::TcpListener) -> Self {
        Target::Tcp(listener).into()
    }
}

impl From<unix::UnixListener> for Listen {
    fn from(listener: unix::UnixListener) -> Self {
        Target::Unix(listener).into()
    }
}

impl From<SimListener> for Listen {
    fn from(listener: SimListener) -> Self {
        Target::Sim(listener).into()
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target: &dyn fmt::Debug = match &self.target {
            Target::Name(name) => name,
            Target::At(address) => address,
            Target::Tcp(listener) => listener,
            Target::Unix(listener) => listener,
            Target::Sim(listener) => listener,
        };
        f.debug_struct("Listen").field("on", target).field("options", &self.options).finish()
    }
}

#[cfg(test)]
mod tests;
