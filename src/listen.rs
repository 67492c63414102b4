//! Where and how to listen: [`Listen`], and how it becomes a listening socket.
//!
//! Everything that can go wrong before the first client goes wrong here, with an error that names
//! the address. A path that a dead server left behind is taken over; nobody else's is touched.
//! Accepting is `accept.rs`.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::address::Address;
use crate::kernel::Kernel;
use crate::socket::{self, Acceptor, Family, Kind, mode, name, take_in};

/// How many established connections the kernel keeps until they are accepted (listen(2)). The
/// kernel brings it down to `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BACKLOG: i32 = 4096;
/// The longest path that can be bound: socket addresses of 108 bytes make other programs stumble.
const PATH_MAX: usize = 107;
const NAMELESS: &str = "a server without a name is not found";
/// So many connections, at least, are taken to wait at an existing listener, whose backlog is not known.
const BACKLOG_UNKNOWN: usize = 65_536;
/// Why a mode is refused.
pub(crate) const NO_PATH: &str = "a mode belongs to a Unix path that is bound here";

/// Where and how to listen.
///
/// Where: `"host:port"`, `"unix:PATH"`, `"unix:@NAME"` (Linux's abstract namespace), a
/// [`SocketAddr`], a [`std::net::TcpListener`], or a [`std::os::unix::net::UnixListener`]. What
/// begins with `unix:` is read as an [`Address`] is.
///
/// A name may resolve to several addresses; the first that binds is taken, as `std` does
/// ([`Reactor::local_addr`](crate::Reactor::local_addr) says which). Resolving blocks. Port 0 asks
/// the kernel for a free port. TCP sockets made here have `SO_REUSEADDR`, so that a restarted
/// server gets its port at once.
///
/// `"[::]:port"` listens on IPv4 too unless [`only_v6`](Self::only_v6) says otherwise or the
/// system does (`net.ipv6.bindv6only`); IPv4 clients then show as `[::ffff:a.b.c.d]`.
///
/// A Unix path that a dead server left behind (a socket that nobody answers) is taken over. One
/// that a live server answers, or a file that is no socket, is an `AddrInUse` error and stays
/// untouched. The path is removed when the listener closes, if it is still the same file. A relative
/// path is bound as an absolute one, unless that has more than the 107 bytes of a socket address
/// (unix(7)). Not guaranteed: that two servers started on one dead path at the same instant notice each other.
///
/// An existing listener keeps its options and its backlog, unless set here; its path is never
/// removed. It is made non-blocking and close-on-exec, and `SO_LINGER`, which accepted connections
/// would inherit, is cleared. After the close nothing watches it, though a duplicate lives on.
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

/// `None`: as the system, or an existing listener, has it.
#[derive(Clone, Debug, Default)]
struct Options {
    backlog: Option<u32>,
    nodelay: Option<bool>,
    keepalive: Option<bool>,
    only_v6: Option<bool>,
    reuse_port: bool,
    recv_buffer: Option<usize>,
    send_buffer: Option<usize>,
    mode: Option<u32>,
}

enum Target {
    Name(String),
    Addr(SocketAddr),
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
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

    /// Whether accepted connections send small segments at once (`TCP_NODELAY`, tcp(7)).
    /// Default: yes, and of an existing listener as it has it, which is no unless somebody said so. A
    /// Unix socket knows no other way.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = Some(nodelay);
        self
    }

    /// Whether the kernel probes peers that have gone silent (`SO_KEEPALIVE`, tcp(7)), after two
    /// hours unless the system says otherwise. Default: yes, and of an existing listener as it has it.
    /// On a Unix socket there is nothing to probe: the end of a peer is always told.
    #[must_use]
    pub fn keepalive(mut self, keepalive: bool) -> Self {
        self.options.keepalive = Some(keepalive);
        self
    }

    /// Whether an IPv6 listener leaves IPv4 alone (`IPV6_V6ONLY`, ipv6(7)). Default: as the system
    /// has it; on Linux it does not. If true, IPv4 addresses of a name are left out, and a target of
    /// another family is refused; so is an existing listener of IPv6 that has it otherwise, since that
    /// is decided before a socket is bound.
    #[must_use]
    pub fn only_v6(mut self, only_v6: bool) -> Self {
        self.options.only_v6 = Some(only_v6);
        self
    }

    /// Lets several sockets listen on one port, each with its own backlog (`SO_REUSEPORT`,
    /// socket(7)). Closing one resets who waits in its backlog. Linux spreads connections over
    /// them; the BSDs and macOS do not. Refused for Unix sockets. Default: no.
    #[must_use]
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.options.reuse_port = reuse_port;
        self
    }

    /// The size in bytes of the kernel's receive buffer of accepted connections (`SO_RCVBUF`,
    /// socket(7); Linux doubles it and stops tuning it). Default: the system's. On Unix sockets Linux
    /// makes no use of it: what a peer may send ahead is bounded by its own send buffer (unix(7)).
    #[must_use]
    pub fn recv_buffer(mut self, bytes: usize) -> Self {
        self.options.recv_buffer = Some(bytes);
        self
    }

    /// The size in bytes of the kernel's send buffer of accepted connections (`SO_SNDBUF`,
    /// socket(7); Linux doubles it and stops tuning it). Default: the system's.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// Who may connect to a Unix path: its mode, set before the first client can. Default: what
    /// the process's umask leaves of 0o777. Refused where no path is bound here: for TCP, an abstract
    /// name, an existing listener.
    ///
    /// On Linux the path is made with this mode less the umask; what that takes away is given back
    /// to the very file, by way of `/proc` (proc(5)), and never through a symbolic link. Not
    /// guaranteed: that somebody who may write to the folder does not put another file in its place.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.mode = Some(mode);
        self
    }

    /// Opens the listening socket.
    pub(crate) fn open(self) -> io::Result<Opened> {
        let Listen { target, options } = self;
        match target {
            Target::Name(name) => {
                let context = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot listen on {name}: {error}"))
                };
                if name.starts_with("unix:") {
                    let at = name.parse::<Address>();
                    return at.and_then(|at| options.bind_unix(&at)).map_err(context);
                }
                let addrs = name.to_socket_addrs().map_err(context)?;
                options.bind_first(addrs).map_err(context)
            }
            Target::Addr(addr) => {
                let context = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"))
                };
                options.bind(addr).map_err(context)
            }
            Target::Tcp(listener) => options.take_tcp(listener).map_err(cannot_take),
            Target::Unix(listener) => options.take_unix(listener).map_err(cannot_take),
        }
    }
}

impl Listen {
    /// Opens it on a simulated kernel. Nothing is looked up there: a name is an address or a path.
    pub(crate) fn open_simulated(self, kernel: &Kernel) -> io::Result<Opened> {
        let address = match self.target {
            Target::Name(name) => match name.parse()? {
                Address::Unnamed => return Err(invalid(NAMELESS)),
                address => address,
            },
            Target::Addr(addr) => Address::Ip(addr),
            Target::Tcp(_) | Target::Unix(_) => {
                return Err(invalid("a listener of the machine's kernel, in a simulation"));
            }
        };
        match &address {
            Address::Ip(addr) => self.options.check_ip(*addr)?,
            Address::Unix(_) => self.options.check_unix()?,
            Address::Abstract(_) | Address::Unnamed => self.options.check_abstract()?,
        }
        let backlog = self.options.backlog().unsigned_abs() as usize;
        let acceptor = Acceptor::Sim(kernel.listen(address, backlog)?);
        let given = Given::default();
        Ok(Opened { path: None, acceptor, backlog: Some(backlog), given })
    }
}

/// An open listening socket, and what is remembered with it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Before the socket, so that it is dropped first: who finds no path has nobody to take over.
    #[allow(dead_code, reason = "kept to be dropped")]
    pub(crate) path: Option<OwnedPath>,
    acceptor: Acceptor,
    /// What listen(2) was told; `None`: by somebody else.
    backlog: Option<usize>,
    given: Given,
}

/// What accepted sockets do not inherit, or inherit and must not keep.
#[derive(Debug, Default)]
struct Given {
    recv_buffer: Option<usize>,
    send_buffer: Option<usize>,
    /// Those accepted by the kernel before the listener was handed in may linger.
    lingers: bool,
}

impl Opened {
    /// Accepts one connection: as [`Acceptor::accept`], with the options that it does not inherit.
    pub(crate) fn accept(&self) -> io::Result<(socket::Socket, Address)> {
        let (accepted, peer) = self.acceptor.accept()?;
        let Given { recv_buffer, send_buffer, lingers } = self.given;
        if lingers || recv_buffer.is_some() || send_buffer.is_some() {
            self.given.give(&accepted);
        }
        Ok((accepted, peer))
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
        let Some(fd) = accepted.fd() else { return };
        let accepted = SockRef::from(&fd);
        let given = set_buffers(&accepted, self.recv_buffer, self.send_buffer);
        let cleared = socket::forbid_linger(&accepted);
        // The peer may have left already.
        if let Err(error) = given.and(cleared) {
            log::debug!("an accepted socket does not take its options: {error}");
        }
    }
}

/// The most connections that the kernel lets wait at any listener, where it says so.
fn somaxconn() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

impl Options {
    fn bind_first(&self, addrs: impl Iterator<Item = SocketAddr>) -> io::Result<Opened> {
        let mut last = None;
        let left_out = |addr: &SocketAddr| self.only_v6 == Some(true) && addr.is_ipv4();
        for addr in addrs.filter(|addr| !left_out(addr)) {
            match self.bind(addr) {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
        let of_v6 = if self.only_v6 == Some(true) { " of IPv6" } else { "" };
        Err(last.unwrap_or_else(|| invalid(&format!("the name has no address{of_v6}"))))
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Opened> {
        self.check_ip(addr)?;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only_v6), SocketAddr::V6(_)) = (self.only_v6, addr) {
            socket.set_only_v6(only_v6)?;
        }
        // Before listen: the window that TCP offers is agreed on with the first segment.
        set_buffers(&SockRef::from(&socket), self.recv_buffer, self.send_buffer)?;
        socket.set_tcp_nodelay(self.nodelay.unwrap_or(true))?;
        socket.set_keepalive(self.keepalive.unwrap_or(true))?;
        socket.bind(&addr.into())?;
        self.listen(&socket)?;
        Self::open_tcp(socket.into(), Some(self.granted()), Given::default())
    }

    /// Takes over an existing listener, and sets what was asked for.
    fn take_tcp(&self, listener: net::TcpListener) -> io::Result<Opened> {
        let addr = listener.local_addr()?;
        self.check_ip(addr)?;
        let socket = SockRef::from(&listener);
        check_only_v6(&socket, addr, self.only_v6)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        set_buffers(&socket, self.recv_buffer, self.send_buffer)?;
        if let Some(nodelay) = self.nodelay {
            socket.set_tcp_nodelay(nodelay)?;
        }
        if let Some(keepalive) = self.keepalive {
            socket.set_keepalive(keepalive)?;
        }
        if self.backlog.is_some() {
            self.listen(&socket)?;
        }
        let lingers = take_in(&listener, Kind::Listener, Family::Ip)?;
        Self::open_tcp(listener, None, Given { lingers, ..Given::default() })
    }

    fn open_tcp(
        listener: net::TcpListener,
        backlog: Option<usize>,
        given: Given,
    ) -> io::Result<Opened> {
        listener.set_nonblocking(true)?;
        let socket = SockRef::from(&listener);
        let (nodelay, keepalive) = (socket.tcp_nodelay()?, socket.keepalive()?);
        let acceptor = Acceptor::tcp(listener, nodelay, keepalive);
        Ok(Opened { path: None, acceptor, backlog, given })
    }

    /// Takes over an existing listener, and sets what was asked for.
    fn take_unix(&self, listener: unix::UnixListener) -> io::Result<Opened> {
        self.check_abstract()?;
        if self.backlog.is_some() {
            self.listen(&SockRef::from(&listener))?;
        }
        take_in(&listener, Kind::Listener, Family::Unix)?;
        self.open_unix(listener, None, None)
    }

    fn open_unix(
        &self,
        listener: unix::UnixListener,
        path: Option<OwnedPath>,
        backlog: Option<usize>,
    ) -> io::Result<Opened> {
        listener.set_nonblocking(true)?;
        // Nothing is inherited from a Unix listener.
        let Options { recv_buffer, send_buffer, .. } = *self;
        let given = Given { recv_buffer, send_buffer, lingers: false };
        Ok(Opened { path, acceptor: Acceptor::unix(listener), backlog, given })
    }

    /// Refuses what a TCP listener has not.
    fn check_ip(&self, addr: SocketAddr) -> io::Result<()> {
        if self.mode.is_some() {
            return Err(invalid(NO_PATH));
        }
        if self.only_v6 == Some(true) && addr.is_ipv4() {
            return Err(invalid("an address of IPv4 is never for IPv6 only"));
        }
        Ok(())
    }

    /// Refuses what a Unix listener has not.
    fn check_unix(&self) -> io::Result<()> {
        if self.reuse_port {
            return Err(invalid("a Unix path has no port to reuse"));
        }
        if self.only_v6 == Some(true) {
            return Err(invalid("a Unix path is never for IPv6 only"));
        }
        mode::check(self.mode)
    }

    /// Refuses what an abstract name or an existing listener has not.
    fn check_abstract(&self) -> io::Result<()> {
        if self.mode.is_some() {
            return Err(invalid(NO_PATH));
        }
        self.check_unix()
    }

    fn bind_unix(&self, at: &Address) -> io::Result<Opened> {
        self.check_unix()?;
        let path = match at {
            Address::Unix(path) => path,
            Address::Abstract(_) => {
                self.check_abstract()?;
                let addr = name::unix(at)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                rustix::net::bind(&socket, &addr)?;
                self.listen(&socket)?;
                return self.open_unix(socket.into(), None, Some(self.granted()));
            }
            Address::Unnamed | Address::Ip(_) => return Err(invalid(NAMELESS)),
        };
        let (path, addr) = path_to_bind(path)?;
        let socket = bind_path(&path, &addr, || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            mode::prepare(&socket, self.mode)?;
            Ok(socket)
        })?;
        let owned = OwnedPath::new(path)?;
        // Nobody can connect before listen, so nobody slips in under another mode (trap 53).
        mode::complete(&owned.path, |found| owned.is(found), self.mode)?;
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

/// Sets the sizes of the kernel's buffers, in bytes; none is larger than its kernel can say.
pub(crate) fn set_buffers(
    socket: &SockRef<'_>,
    recv: Option<usize>,
    send: Option<usize>,
) -> io::Result<()> {
    let most = |bytes: usize| bytes.min(i32::MAX as usize);
    if let Some(bytes) = recv {
        socket.set_recv_buffer_size(most(bytes))?;
    }
    if let Some(bytes) = send {
        socket.set_send_buffer_size(most(bytes))?;
    }
    Ok(())
}

/// Refuses to change what is decided when a socket is bound, and is of consequence.
pub(crate) fn check_only_v6(
    socket: &SockRef<'_>,
    addr: SocketAddr,
    wanted: Option<bool>,
) -> io::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let matters = addr.is_ipv6() && (wanted || addr.ip().is_unspecified());
    if matters && socket.only_v6()? != wanted {
        return Err(invalid("whether it is for IPv6 only is decided before a socket is bound"));
    }
    Ok(())
}

fn cannot_take(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on an existing socket: {error}"))
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn in_use(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, what)
}

/// Where a path is in the file system, absolute, so that it is found at the end wherever the process
/// has gone meanwhile; and the socket address to bind it by. That is of the absolute path too, so that
/// who reads it finds the same file, unless only the path as it was given fits.
pub(crate) fn path_to_bind(given: &Path) -> io::Result<(PathBuf, SocketAddrUnix)> {
    let path = std::path::absolute(given)?;
    let fits = |path: &Path| path.as_os_str().len() <= PATH_MAX;
    let bound = if fits(&path) { &path } else { given };
    if !fits(bound) {
        let len = bound.as_os_str().len();
        let what = format!("{len} bytes of path do not fit in a socket address (107 do, unix(7))");
        return Err(invalid(&what));
    }
    let addr = name::unix(&Address::unix(bound))?;
    Ok((path, addr))
}

/// Binds a path, over the remains of a dead server if need be. `make`: a socket of the kind that is
/// to be bound, one more to ask with whether anybody is there.
pub(crate) fn bind_path(
    path: &Path,
    addr: &SocketAddrUnix,
    make: impl Fn() -> io::Result<Socket>,
) -> io::Result<Socket> {
    // The remains may go, and others come, between two looks: then look again, but not for ever.
    for _ in 0..3 {
        let socket = make()?;
        match rustix::net::bind(&socket, addr) {
            Err(Errno::ADDRINUSE) => {}
            bound => return Ok(bound.map(|()| socket)?),
        }
        let found = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if !found.file_type().is_socket() {
            return Err(in_use("there is a file, and it is no socket"));
        }
        // A live server with a full backlog would make a blocking connect wait.
        let probe = make()?;
        probe.set_nonblocking(true)?;
        match rustix::net::connect(&probe, addr) {
            Err(Errno::CONNREFUSED) => {}
            Err(Errno::NOENT) => continue,
            Ok(()) => return Err(in_use("a server is listening there")),
            Err(Errno::AGAIN) => return Err(in_use("a server is listening there, and busy")),
            Err(error) => {
                let error = io::Error::from(error);
                return Err(in_use(&format!("there is a socket: {error}")));
            }
        }
        // Nobody answers. Remove what was probed, not what may have come since.
        let again = std::fs::symlink_metadata(path)?;
        if same_file(&found, &again) {
            std::fs::remove_file(path)?;
            log::info!("removed {}, which a dead server left behind", Address::unix(path));
        }
    }
    Err(in_use("others keep binding it"))
}

fn same_file(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The path of a socket that was bound here; removed with this, if it is still the same file.
#[derive(Debug)]
pub(crate) struct OwnedPath {
    pub(crate) path: PathBuf,
    dev: u64,
    ino: u64,
}

impl OwnedPath {
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(&path)?;
        Ok(OwnedPath { path, dev: metadata.dev(), ino: metadata.ino() })
    }

    pub(crate) fn is(&self, found: &std::fs::Metadata) -> bool {
        (found.dev(), found.ino()) == (self.dev, self.ino)
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        let ours = found.is_ok_and(|found| self.is(&found));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", Address::unix(&self.path));
        }
    }
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
        Target::Addr(addr).into()
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

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target: &dyn fmt::Debug = match &self.target {
            Target::Name(name) => name,
            Target::Addr(addr) => addr,
            Target::Tcp(listener) => listener,
            Target::Unix(listener) => listener,
        };
        f.debug_struct("Listen").field("on", target).field("options", &self.options).finish()
    }
}

#[cfg(test)]
mod tests;
