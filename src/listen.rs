//! Where and how to listen: [`Listen`], and how it becomes a listening socket.
//!
//! Everything that can go wrong before the first client goes wrong here, with an error that names
//! the address. A path that a dead server left behind is taken over; nobody else's is touched.
//! Accepting is `accept.rs`.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::address::Address;
use crate::kernel::Kernel;
use crate::socket::{Acceptor, name};

/// How many established connections the kernel keeps until they are accepted (listen(2)). The
/// kernel brings it down to `net.core.somaxconn`, which is 4096 since Linux 5.4.
const BACKLOG: i32 = 4096;
/// The longest path that can be bound: socket addresses of 108 bytes make other programs stumble.
const PATH_MAX: usize = 107;
const NAMELESS: &str = "a server without a name is not found";

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
/// removed. It is made non-blocking.
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
    /// number down to `net.core.somaxconn`. Default 4096.
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
    /// Default: yes. No effect on Unix sockets.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = Some(nodelay);
        self
    }

    /// Whether the kernel probes peers that have gone silent (`SO_KEEPALIVE`, tcp(7)), after two
    /// hours unless the system says otherwise. Default: yes. No effect on Unix sockets.
    #[must_use]
    pub fn keepalive(mut self, keepalive: bool) -> Self {
        self.options.keepalive = Some(keepalive);
        self
    }

    /// Whether an IPv6 listener leaves IPv4 alone (`IPV6_V6ONLY`, ipv6(7)). Default: as the system
    /// has it; on Linux it does not.
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
    /// socket(7); Linux doubles it and stops tuning it). Default: the system's.
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
    /// the process's umask leaves of 0o777.
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
            Target::Tcp(listener) => options.take_tcp(listener),
            Target::Unix(listener) => options.take_unix(listener, None),
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
        let backlog = self.options.backlog().unsigned_abs() as usize;
        let acceptor = Acceptor::Sim(kernel.listen(address, backlog)?);
        Ok(Opened { path: None, acceptor, backlog })
    }
}

/// An open listening socket, and what is remembered with it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Before the socket, so that it is dropped first: who finds no path has nobody to take over.
    #[allow(dead_code, reason = "kept to be dropped")]
    pub(crate) path: Option<OwnedPath>,
    pub(crate) acceptor: Acceptor,
    /// The most connections that can wait in the kernel, as far as we know.
    pub(crate) backlog: usize,
}

impl Options {
    fn bind_first(&self, addrs: impl Iterator<Item = SocketAddr>) -> io::Result<Opened> {
        let mut last = None;
        for addr in addrs {
            match self.bind(addr) {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| invalid("the name has no address")))
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Opened> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only_v6), SocketAddr::V6(_)) = (self.only_v6, addr) {
            socket.set_only_v6(only_v6)?;
        }
        // Before listen: the window that TCP offers is agreed on with the first segment.
        self.set_buffers(&SockRef::from(&socket))?;
        socket.bind(&addr.into())?;
        socket.listen(self.backlog())?;
        self.take_tcp(socket.into())
    }

    /// Sets what accepted sockets inherit.
    fn take_tcp(&self, listener: net::TcpListener) -> io::Result<Opened> {
        listener.set_nonblocking(true)?;
        let socket = SockRef::from(&listener);
        self.set_buffers(&socket)?;
        let nodelay = self.nodelay.unwrap_or(true);
        let keepalive = self.keepalive.unwrap_or(true);
        socket.set_tcp_nodelay(nodelay)?;
        socket.set_keepalive(keepalive)?;
        Ok(self.opened(Acceptor::tcp(listener, nodelay, keepalive), None))
    }

    fn take_unix(
        &self,
        listener: unix::UnixListener,
        path: Option<OwnedPath>,
    ) -> io::Result<Opened> {
        listener.set_nonblocking(true)?;
        self.set_buffers(&SockRef::from(&listener))?;
        Ok(self.opened(Acceptor::unix(listener), path))
    }

    fn opened(&self, acceptor: Acceptor, path: Option<OwnedPath>) -> Opened {
        Opened { path, acceptor, backlog: self.backlog().unsigned_abs() as usize }
    }

    fn bind_unix(&self, at: &Address) -> io::Result<Opened> {
        if self.reuse_port {
            return Err(invalid("a Unix path has no port to reuse"));
        }
        let path = match at {
            Address::Unix(path) => path,
            Address::Abstract(_) => {
                let addr = name::unix(at)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                rustix::net::bind(&socket, &addr)?;
                socket.listen(self.backlog())?;
                return self.take_unix(socket.into(), None);
            }
            Address::Unnamed | Address::Ip(_) => return Err(invalid(NAMELESS)),
        };
        let (path, addr) = path_to_bind(path)?;
        let socket = bind_path(&path, &addr, || Socket::new(Domain::UNIX, Type::STREAM, None))?;
        let owned = OwnedPath::new(path)?;
        if let Some(mode) = self.mode {
            // Nobody can connect before listen, so nobody slips in under the old mode (trap 53).
            std::fs::set_permissions(&owned.path, std::fs::Permissions::from_mode(mode))?;
        }
        socket.listen(self.backlog())?;
        self.take_unix(socket.into(), Some(owned))
    }

    fn set_buffers(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.recv_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }

    fn backlog(&self) -> i32 {
        self.backlog.map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX))
    }
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
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        let ours = found.is_ok_and(|found| (found.dev(), found.ino()) == (self.dev, self.ino));
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
