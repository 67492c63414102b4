//! Where and how to connect: [`Connect`], and how it becomes a socket that connects.
//!
//! The mirror of `listen.rs`. Nothing here waits: a name is an error, and what the network answers is
//! found by `core/connect.rs`, which is to be read next.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::address::Address;
use crate::base::layer::Layer;
use crate::kernel::Kernel;
use crate::net::options::{Keepalive, SocketOptions, for_every_socket, for_streams, invalid};
use crate::net::socket::{self, Family, Kind, name, take_in};

/// Where and how to connect, for [`Context::connect`](crate::Context::connect).
///
/// Where: `"IP:PORT"`, `"unix:PATH"`, `"unix:@NAME"` (Linux's abstract namespace), a [`SocketAddr`], an
/// [`Address`], or several. Text is read as an [`Address`] is: a host's name is an error of kind
/// `InvalidInput`, since to look it up blocks. [`Handle::resolve`](crate::Handle::resolve) does that
/// on a thread, and [`Address::resolve`] where blocking does no harm.
///
/// Several addresses, such as all those of a name, are tried in their order, each for the
/// [timeout](Self::timeout), until one answers: it is one connect, with one id and one answer, what was
/// sent to it meanwhile goes to the one that answered, and if none does the last error is told; the
/// others are in the log (level info).
/// [`Conn::peer_addr`](crate::Conn::peer_addr) tells which address it is. The next is tried on another
/// socket, so what was set by way of [`Conn::fd`](crate::Conn::fd) before holds for the first only.
///
/// TCP sockets made here have `TCP_NODELAY` and keepalive. An option that a target cannot have is an
/// error of kind `InvalidInput` that names it. In the simulator the [timeout](Self::timeout) and the
/// [source](Self::source) are honoured, and socket options checked only.
///
/// # Examples
///
/// ```no_run
/// use std::net::Ipv4Addr;
/// use std::time::Duration;
/// use wouldblock::{Connect, Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// reactor.connect("127.0.0.1:6666", 0)?;
/// let connect = Connect::from("192.0.2.1:6666")
///     .timeout(Duration::from_secs(3))
///     .source((Ipv4Addr::new(192, 0, 2, 99), 0));
/// reactor.connect(connect, 1)?;
/// reactor.connect(Connect::from("unix:/run/server.sock").send_buffer(1 << 20), 2)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connect {
    target: Target,
    pub(crate) options: Options,
}

#[derive(Debug)]
enum Target {
    /// Text, which may be no address.
    Text(String),
    /// To be tried in this order.
    Any(Vec<Address>),
}

/// How to connect.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `None`: as [`Config`](crate::Config) has it.
    pub(crate) timeout: Option<Duration>,
    source: Option<SocketAddr>,
    own: Option<OwnedFd>,
    socket: SocketOptions,
    pub(crate) layer: Option<Box<dyn Layer>>,
}

impl Connect {
    /// How long the connect may take before it has failed, with `TimedOut`; to several addresses, to
    /// each of them. Default:
    /// [`Config::connect`](crate::Config::connect).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Connects from this address of ours (bind(2)): port 0 is any free one. With another port, the
    /// socket has `SO_REUSEADDR`, so that one may connect from it again. Default: as the routes say.
    ///
    /// Refused where the target is of another family, or a Unix socket. With port 0 the kernel gives
    /// away a port of its range (`net.ipv4.ip_local_port_range`) to each connection from that address,
    /// wherever it goes to: some 28,000 on Linux.
    #[must_use]
    pub fn source(mut self, source: impl Into<SocketAddr>) -> Self {
        self.options.source = Some(source.into());
        self
    }

    /// Connects this socket, which was made elsewhere and is not connected yet, and may have options
    /// that are not here: such as a `socket2::Socket`. It keeps its options, unless set here. It is made
    /// non-blocking and close-on-exec, and `SO_LINGER` is cleared. A stream that is connected already is
    /// for [`adopt`](crate::Context::adopt).
    ///
    /// Refused if it is no stream socket of the target's family, or connected, or if there are several
    /// addresses; it is closed then.
    #[must_use]
    pub fn socket(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.options.own = Some(socket.into());
        self
    }

    /// Puts a [`Layer`] between the connection and its handler. It begins when the connect has
    /// succeeded, and `on_open` comes when its handshake is over, within
    /// [`Config::handshake`](crate::Config::handshake) of that; what is sent before waits for both.
    /// If the handshake fails, `on_connect_failed` comes with its error; no other address is tried.
    ///
    /// Called again, the new layer is put above the one that was there.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.options.layer = Some(match self.options.layer.take() {
            Some(below) => Box::new(below.then(layer)),
            None => Box::new(layer),
        });
        self
    }

    /// The addresses, one at least, and how to connect to them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is no address, for no address, and for one socket that is to be
    /// connected to several.
    pub(crate) fn into_parts(self) -> io::Result<(Vec<Address>, Options)> {
        let addresses = match self.target {
            Target::Any(addresses) => addresses,
            Target::Text(text) => vec![text.parse().map_err(|error: io::Error| {
                io::Error::new(error.kind(), format!("cannot connect to {error}"))
            })?],
        };
        match addresses.len() {
            0 => Err(invalid("cannot connect: there is no address")),
            n if n > 1 && self.options.has_own() => {
                Err(invalid("cannot connect: a socket of its own is for one address"))
            }
            _ => Ok((addresses, self.options)),
        }
    }
}

for_every_socket!(Connect, options.socket);
for_streams!(Connect, options.socket);

impl Options {
    /// Whether a duplicate of the socket may be elsewhere.
    pub(crate) fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// Begins to connect, without waiting. An error is one that the kernel tells at once; that
    /// includes the `WouldBlock` of a Unix socket whose backlog is full, which no event follows.
    pub(crate) fn open(&mut self, to: &Address) -> io::Result<socket::Socket> {
        self.check(to)?;
        let (domain, protocol, family) = match to {
            Address::Ip(addr) => (Domain::for_address(*addr), Some(Protocol::TCP), Family::Ip),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => {
                (Domain::UNIX, None, Family::Unix)
            }
        };
        let (socket, given) = if let Some(own) = self.own.take() {
            (take_over(own, to, family)?, None)
        } else {
            let socket = Socket::new(domain, Type::STREAM, protocol)?;
            socket.set_nonblocking(true)?;
            (socket, Some(true))
        };
        let of = SockRef::from(&socket);
        // Before connect: the window that TCP offers is agreed on with the first segment.
        self.socket.set_buffers(&of)?;
        if let Address::Ip(to) = to {
            self.socket.set_unbound(&of, *to)?;
            self.socket.set_tcp(&of, given)?;
        }
        if let Some(source) = self.source {
            if source.port() != 0 {
                of.set_reuse_address(true)?;
            }
            of.bind(&source.into())?;
        }
        socket::Socket::connect(socket, to)
    }

    /// The same on a simulated kernel.
    pub(crate) fn open_simulated(
        &self,
        to: &Address,
        kernel: &Kernel,
    ) -> io::Result<socket::Socket> {
        self.check(to)?;
        if self.own.is_some() {
            return Err(invalid("a socket of the machine's kernel, in a simulation"));
        }
        Ok(socket::Socket::Sim(kernel.connect(to.clone(), self.source)?))
    }

    /// Refuses what the target cannot have.
    fn check(&self, to: &Address) -> io::Result<()> {
        match (to, self.source) {
            (Address::Unnamed, _) => Err(invalid("a server without a name is not found")),
            (Address::Ip(to), Some(from)) if to.is_ipv4() != from.is_ipv4() => {
                Err(invalid(&format!("from {from}: it is of another family")))
            }
            (Address::Ip(to), _) => self.socket.check_ip(*to),
            (Address::Unix(_) | Address::Abstract(_), None) => self.socket.check_unix(),
            (Address::Unix(_) | Address::Abstract(_), Some(from)) => {
                Err(invalid(&format!("from {from}: a Unix socket has no such address")))
            }
        }
    }
}

/// A socket that was made elsewhere, and is to be connected here.
fn take_over(own: OwnedFd, to: &Address, family: Family) -> io::Result<Socket> {
    take_in(&own, Kind::Stream, family).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTSOCK) => invalid("what it is to connect is no socket"),
        _ => error,
    })?;
    if name::peer(&own).is_ok() {
        return Err(invalid("the socket is connected already: that is for `adopt`"));
    }
    let is_v4 = |address: &Address| address.ip().map(|ip| ip.is_ipv4());
    if is_v4(&name::own(&own)?) != is_v4(to) {
        return Err(invalid("the socket is of another family"));
    }
    Ok(own.into())
}

impl From<Target> for Connect {
    fn from(target: Target) -> Self {
        Connect { target, options: Options::default() }
    }
}

impl From<&str> for Connect {
    fn from(text: &str) -> Self {
        Target::Text(text.to_owned()).into()
    }
}

impl From<String> for Connect {
    fn from(text: String) -> Self {
        Target::Text(text).into()
    }
}

impl From<&String> for Connect {
    fn from(text: &String) -> Self {
        Target::Text(text.clone()).into()
    }
}

impl From<SocketAddr> for Connect {
    fn from(addr: SocketAddr) -> Self {
        Target::Any(vec![addr.into()]).into()
    }
}

impl From<Address> for Connect {
    fn from(address: Address) -> Self {
        Target::Any(vec![address]).into()
    }
}

impl From<&Address> for Connect {
    fn from(address: &Address) -> Self {
        Target::Any(vec![address.clone()]).into()
    }
}

impl From<Vec<Address>> for Connect {
    fn from(addresses: Vec<Address>) -> Self {
        Target::Any(addresses).into()
    }
}

impl From<&Vec<Address>> for Connect {
    fn from(addresses: &Vec<Address>) -> Self {
        Target::Any(addresses.clone()).into()
    }
}

impl From<&[Address]> for Connect {
    fn from(addresses: &[Address]) -> Self {
        Target::Any(addresses.to_vec()).into()
    }
}
