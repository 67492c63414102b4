//! Where and how to bind a datagram socket: [`Bind`], and how it becomes one.
//!
//! The mirror of `listen.rs`: everything that can go wrong before the first datagram goes wrong
//! here, with an error that names the address. Receiving and sending is `datagram.rs`.

use std::fmt;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::net as unix;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::address::Address;
use crate::base::one_line::OneLine;
use crate::kernel::Kernel;
use crate::net::options::{SocketOptions, for_bound_sockets, for_every_socket, invalid};
use crate::net::path::{OwnedPath, bind_path, path_to_bind};
use crate::net::socket::{
    Datagrams, Family, Group, Kind, OnV4, mode, name, only_own_groups, take_in,
};

/// Where and how to bind a datagram socket.
///
/// Where: `"host:port"` (UDP, udp(7)), `"unix:PATH"`, `"unix:@NAME"` (Linux's abstract namespace), a
/// [`SocketAddr`], an [`Address`], a [`std::net::UdpSocket`], a [`std::os::unix::net::UnixDatagram`];
/// or [nowhere](Self::unnamed_unix). What begins with `unix:` is read as an [`Address`] is.
///
/// A name may resolve to several addresses; the first that binds is taken
/// ([`Reactor::datagram_addr`](crate::Reactor::datagram_addr) says which). Resolving blocks. Port 0 asks
/// the kernel for a free port, which is what a client wants: `"0.0.0.0:0"`, or `"[::]:0"`.
///
/// A Unix path that a dead server left behind is taken over, ours removed at the end, and a relative
/// one bound as an absolute one, all as [`Listen`](crate::Listen) has it.
///
/// An existing socket keeps its options, unless set here; its path is never removed. It is made
/// non-blocking and close-on-exec. If it is connected, it stays so, unless it is connected to another
/// peer here. After the close nothing watches it, though a duplicate lives on.
///
/// An option that a target cannot have is an error of kind `InvalidInput` that names it.
///
/// Not guaranteed, where a host has several addresses and the socket is bound to all of them
/// (`0.0.0.0`, `[::]`): that an answer leaves from the address that was asked; the kernel takes the
/// one of its route. Bind one socket for each address where that matters, or the client will not
/// know the answer.
///
/// # Examples
///
/// ```no_run
/// use std::net::Ipv4Addr;
/// use wouldblock::{Address, Bind, Interface, Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// reactor.bind_datagram("127.0.0.1:6666")?;
/// reactor.bind_datagram(Bind::from("unix:/run/server.sock").mode(0o660))?;
/// // One peer, and no other.
/// let resolver = Bind::from("0.0.0.0:0").connect("192.0.2.1:53".parse::<Address>()?);
/// reactor.bind_datagram(resolver)?;
/// // A multicast group, together with others on this machine.
/// let group = Ipv4Addr::new(239, 255, 66, 66);
/// let news = Bind::from("239.255.66.66:6667").reuse_address(true);
/// reactor.bind_datagram(news.join(group, Interface::Any).multicast_ttl(1))?;
/// # Ok(())
/// # }
/// ```
pub struct Bind {
    target: Target,
    options: Options,
}

/// A network interface, where multicast is received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interface {
    /// The one that the kernel takes: by its routes for IPv4, its default for IPv6.
    Any,
    /// The one with this index (`if_nametoindex(3)`, `ip link`): for IPv6, and on Linux for IPv4.
    Index(u32),
    /// The one with this address: for IPv4.
    Address(Ipv4Addr),
}

/// `None`: as the system, or an existing socket, has it.
#[derive(Clone, Debug, Default)]
struct Options {
    connect: Option<Address>,
    broadcast: Option<bool>,
    groups: Vec<(IpAddr, Interface)>,
    multicast_interface: Option<Interface>,
    multicast_ttl: Option<u8>,
    multicast_loop: Option<bool>,
    reuse_address: bool,
    socket: SocketOptions,
}

enum Target {
    /// Text, which may be a name.
    Name(String),
    At(Address),
    Udp(net::UdpSocket),
    Unix(unix::UnixDatagram),
}

impl Bind {
    /// A Unix socket without a name: it sends, and is answered only where it is
    /// [connected](Self::connect) to a peer that is connected to it, which takes a name. For one
    /// that is to be answered, bind a name.
    #[must_use]
    pub fn unnamed_unix() -> Self {
        Address::Unnamed.into()
    }

    /// Connects the socket to one peer (connect(2)): it receives from no other (what others had sent
    /// before is dropped, and counted: [`Stats::datagrams_stray`](crate::Stats::datagrams_stray)), and
    /// [`send_datagram`](crate::Context::send_datagram) needs no address. No packet is sent for
    /// that. Only a connected UDP socket is told by ICMP that the port is closed: such an error is
    /// counted ([`Stats::datagram_errors`](crate::Stats::datagram_errors)) and changes nothing.
    ///
    /// A Unix peer must be there. If it goes, sending fails with `ConnectionRefused`, and then
    /// `NotConnected`: bind a new socket.
    #[must_use]
    pub fn connect(mut self, peer: impl Into<Address>) -> Self {
        self.options.connect = Some(peer.into());
        self
    }

    /// Whether datagrams may be sent to a broadcast address (`SO_BROADCAST`, socket(7)); otherwise
    /// that is `PermissionDenied`. To receive them nothing is needed. Default: no.
    #[must_use]
    pub fn broadcast(mut self, broadcast: bool) -> Self {
        self.options.broadcast = Some(broadcast);
        self
    }

    /// Joins a multicast group on an interface (`IP_ADD_MEMBERSHIP`, ip(7); `IPV6_JOIN_GROUP`,
    /// ipv6(7)). May be said more than once; Linux grants a socket 20 groups of IPv4
    /// (`net.ipv4.igmp_max_memberships`). A socket that has joined gets what comes for its own
    /// groups only (`IP_MULTICAST_ALL` is switched off, which is Linux's). Bind the group's own
    /// address to receive nothing but multicast. At run time:
    /// [`Context::join_group`](crate::Context::join_group).
    #[must_use]
    pub fn join(mut self, group: impl Into<IpAddr>, interface: Interface) -> Self {
        self.options.groups.push((group.into(), interface));
        self
    }

    /// On which interface multicast is sent (`IP_MULTICAST_IF`, ip(7)). Default: as the routes say.
    #[must_use]
    pub fn multicast_interface(mut self, interface: Interface) -> Self {
        self.options.multicast_interface = Some(interface);
        self
    }

    /// How many routers may pass on the multicast that is sent: 0 stays on this machine, 1 on this
    /// network (`IP_MULTICAST_TTL`, ip(7); `IPV6_MULTICAST_HOPS`, ipv6(7)). Default: 1.
    #[must_use]
    pub fn multicast_ttl(mut self, hops: u8) -> Self {
        self.options.multicast_ttl = Some(hops);
        self
    }

    /// Whether the multicast that is sent reaches members on this machine too, ourselves included
    /// (`IP_MULTICAST_LOOP`, ip(7)). On Linux it is the sender's word that counts, and what goes out
    /// on the loopback interface comes in there in any case. Default: yes.
    #[must_use]
    pub fn multicast_loop(mut self, multicast_loop: bool) -> Self {
        self.options.multicast_loop = Some(multicast_loop);
        self
    }

    /// Lets several sockets be bound to one address and port (`SO_REUSEADDR`, socket(7)): for programs
    /// that hear one multicast group, each of which gets a copy. Not for anything else: of unicast the
    /// last to bind gets all on Linux, and any program may take it away. Refused for Unix sockets.
    /// Default: no.
    #[must_use]
    pub fn reuse_address(mut self, reuse_address: bool) -> Self {
        self.options.reuse_address = reuse_address;
        self
    }
}

for_every_socket!(Bind, options.socket);
for_bound_sockets!(Bind, options.socket);

impl Bind {
    /// Opens the socket.
    pub(crate) fn open(self) -> io::Result<Bound> {
        let Bind { target, options } = self;
        let (at, bound) = match target {
            Target::Name(name) => {
                let bound = options.open_name(&name);
                (OneLine(name).to_string(), bound)
            }
            Target::At(address) => (address.to_string(), options.open_at(&address)),
            Target::Udp(socket) => return options.take_existing_udp(socket).map_err(cannot_take),
            Target::Unix(socket) => return options.take_existing_unix(socket).map_err(cannot_take),
        };
        bound.map_err(|error| io::Error::new(error.kind(), format!("cannot bind {at}: {error}")))
    }

    /// Opens it on a simulated kernel. Nothing is looked up there: a name is an address or a path.
    pub(crate) fn open_simulated(self, kernel: &Kernel) -> io::Result<Bound> {
        let address = match self.target {
            Target::Name(name) => name.parse()?,
            Target::At(address) => address,
            Target::Udp(_) | Target::Unix(_) => {
                return Err(invalid("a socket of the machine's kernel, in a simulation"));
            }
        };
        match &address {
            Address::Ip(addr) => self.options.socket.check_ip(*addr)?,
            Address::Unix(_) => self.options.check_path()?,
            Address::Abstract(_) | Address::Unnamed => self.options.check_no_path()?,
        }
        let peer = self.options.connect;
        let socket = Datagrams::Sim(kernel.bind_datagram(address, peer.clone())?);
        Ok(Bound { path: None, socket, peer })
    }
}

/// An open datagram socket, and what is remembered with it.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Before the socket, so that it is dropped first: where there is no path, no other server
    /// takes it over.
    #[allow(dead_code, reason = "kept to be dropped")]
    pub(crate) path: Option<OwnedPath>,
    pub(crate) socket: Datagrams,
    /// What it is connected to.
    pub(crate) peer: Option<Address>,
}

impl Options {
    fn open_name(&self, name: &str) -> io::Result<Bound> {
        if name.starts_with("unix:") {
            return self.open_at(&name.parse()?);
        }
        self.bind_first(name.to_socket_addrs()?)
    }

    fn open_at(&self, address: &Address) -> io::Result<Bound> {
        match address {
            Address::Ip(addr) => self.bind(*addr),
            Address::Unix(path) => self.bind_path(path),
            Address::Abstract(_) => self.bind_abstract(address),
            Address::Unnamed => self.unnamed(),
        }
    }

    fn bind_first(&self, addrs: impl Iterator<Item = SocketAddr>) -> io::Result<Bound> {
        let mut last = None;
        let left_out = |addr: &SocketAddr| self.socket.only_v6 == Some(true) && addr.is_ipv4();
        for addr in addrs.filter(|addr| !left_out(addr)) {
            match self.bind(addr) {
                Ok(bound) => return Ok(bound),
                Err(error) => last = Some(error),
            }
        }
        let of_v6 = if self.socket.only_v6 == Some(true) { " of IPv6" } else { "" };
        Err(last.unwrap_or_else(|| invalid(&format!("the name has no address{of_v6}"))))
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Bound> {
        self.socket.check_ip(addr)?;
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if self.reuse_address {
            socket.set_reuse_address(true)?;
        }
        self.socket.set_unbound(&SockRef::from(&socket), addr)?;
        socket.bind(&addr.into())?;
        self.take_udp(socket.into())
    }

    fn take_existing_udp(&self, socket: net::UdpSocket) -> io::Result<Bound> {
        take_in(&socket, Kind::Datagrams, Family::Ip)?;
        let addr = socket.local_addr()?;
        self.socket.check_ip(addr)?;
        let of = SockRef::from(&socket);
        // Of use for those that are bound after it.
        if self.reuse_address {
            of.set_reuse_address(true)?;
        }
        self.socket.set_existing(&of, addr)?;
        self.take_udp(socket)
    }

    fn take_udp(&self, socket: net::UdpSocket) -> io::Result<Bound> {
        socket.set_nonblocking(true)?;
        let is_v4 = socket.local_addr()?.is_ipv4();
        let of = SockRef::from(&socket);
        self.socket.set_buffers(&of)?;
        if let Some(broadcast) = self.broadcast {
            of.set_broadcast(broadcast)?;
        }
        if let Some(interface) = self.multicast_interface {
            send_on(&of, is_v4, interface)?;
        }
        if let Some(hops) = self.multicast_ttl.map(u32::from) {
            if is_v4 { of.set_multicast_ttl_v4(hops)? } else { of.set_multicast_hops_v6(hops)? }
        }
        if let Some(on) = self.multicast_loop {
            if is_v4 { of.set_multicast_loop_v4(on)? } else { of.set_multicast_loop_v6(on)? }
        }
        for (group, interface) in &self.groups {
            join(&of, is_v4, *group, *interface)?;
        }
        if let Some(peer) = &self.connect {
            let named = |error| cannot_connect_to(peer, error);
            let peer = match peer.socket_addr() {
                Some(addr) if addr.is_ipv4() == is_v4 => addr,
                _ => return Err(named(invalid("it is of another family than the socket"))),
            };
            socket.connect(peer).map_err(named)?;
        }
        let peer = name::peer(&socket).ok();
        Ok(Bound { path: None, socket: Datagrams::udp(socket), peer })
    }

    fn unnamed(&self) -> io::Result<Bound> {
        self.check_no_path()?;
        self.take_unix(unix::UnixDatagram::unbound()?, None)
    }

    fn bind_abstract(&self, at: &Address) -> io::Result<Bound> {
        self.check_no_path()?;
        let addr = name::unix(at)?;
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        rustix::net::bind(&socket, &addr)?;
        self.take_unix(socket.into(), None)
    }

    fn bind_path(&self, path: &Path) -> io::Result<Bound> {
        self.check_path()?;
        let (path, addr) = path_to_bind(path)?;
        let socket = bind_path(&path, &addr, || {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
            // A path that is bound receives at once: no datagram slips in under another mode (trap 53).
            mode::prepare(&socket, self.socket.mode)?;
            Ok(socket)
        })?;
        let owned = OwnedPath::new(path)?;
        mode::complete(&owned.path, |found| owned.is(found), self.socket.mode)?;
        self.take_unix(socket.into(), Some(owned))
    }

    fn check_path(&self) -> io::Result<()> {
        self.socket.check_unix()?;
        mode::check(self.socket.mode)?;
        self.check_unix()
    }

    fn check_no_path(&self) -> io::Result<()> {
        self.socket.check_no_path()?;
        self.check_unix()
    }

    /// Refuses what a Unix socket has not, of what datagram sockets alone have.
    fn check_unix(&self) -> io::Result<()> {
        if self.reuse_address {
            return Err(invalid("a Unix socket has no address to reuse"));
        }
        if self.broadcast == Some(true) {
            return Err(invalid("a Unix socket has no broadcast"));
        }
        let is_multicast = !self.groups.is_empty()
            || self.multicast_interface.is_some()
            || self.multicast_ttl.is_some()
            || self.multicast_loop.is_some();
        if is_multicast {
            return Err(invalid("a Unix socket has no multicast"));
        }
        Ok(())
    }

    fn take_existing_unix(&self, socket: unix::UnixDatagram) -> io::Result<Bound> {
        self.check_no_path()?;
        take_in(&socket, Kind::Datagrams, Family::Unix)?;
        self.take_unix(socket, None)
    }

    fn take_unix(&self, socket: unix::UnixDatagram, path: Option<OwnedPath>) -> io::Result<Bound> {
        socket.set_nonblocking(true)?;
        self.socket.set_buffers(&SockRef::from(&socket))?;
        if let Some(peer) = &self.connect {
            let named = |error| cannot_connect_to(peer, error);
            let addr = name::unix(peer).map_err(named)?;
            rustix::net::connect(&socket, &addr).map_err(|error| named(error.into()))?;
        }
        let peer = name::peer(&socket).ok();
        Ok(Bound { path, socket: Datagrams::unix(socket), peer })
    }
}

fn cannot_take(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot take over an existing socket: {error}"))
}

fn cannot_connect_to(peer: &Address, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot connect to {peer}: {error}"))
}

/// What `interface` is to a group of the socket's family.
fn group(is_v4: bool, group: IpAddr, interface: Interface) -> io::Result<Group> {
    if !group.is_multicast() {
        return Err(invalid(&format!("{group} is no multicast group")));
    }
    match group {
        IpAddr::V4(group) if is_v4 => Ok(Group::V4(group, on_v4(interface))),
        IpAddr::V6(group) if !is_v4 => Ok(Group::V6(group, on_v6(interface)?)),
        IpAddr::V4(_) => Err(invalid(&format!("{group} is for a socket of IPv4"))),
        IpAddr::V6(_) => Err(invalid(&format!("{group} is for a socket of IPv6"))),
    }
}

fn on_v4(interface: Interface) -> OnV4 {
    match interface {
        Interface::Any => OnV4::Address(Ipv4Addr::UNSPECIFIED),
        Interface::Index(index) => OnV4::Index(index),
        Interface::Address(address) => OnV4::Address(address),
    }
}

fn on_v6(interface: Interface) -> io::Result<u32> {
    match interface {
        Interface::Any => Ok(0),
        Interface::Index(index) => Ok(index),
        Interface::Address(_) => Err(invalid("IPv6 wants an interface's index, not its address")),
    }
}

fn send_on(socket: &SockRef<'_>, is_v4: bool, interface: Interface) -> io::Result<()> {
    let on = |error| io::Error::new(io::Error::kind(&error), format!("{interface:?}: {error}"));
    if is_v4 {
        on_v4(interface).send_on(socket).map_err(on)
    } else {
        on_v6(interface).and_then(|index| socket.set_multicast_if_v6(index)).map_err(on)
    }
}

/// Joins a group.
pub(crate) fn join(
    socket: &SockRef<'_>,
    is_v4: bool,
    address: IpAddr,
    interface: Interface,
) -> io::Result<()> {
    let group = group(is_v4, address, interface)?;
    let named = |error: io::Error| {
        let what = format!("cannot join {address} on {interface:?}: {error}");
        io::Error::new(error.kind(), what)
    };
    only_own_groups(socket, is_v4)?;
    group.join(socket).map_err(named)
}

/// Leaves a group.
pub(crate) fn leave(
    socket: &SockRef<'_>,
    is_v4: bool,
    address: IpAddr,
    interface: Interface,
) -> io::Result<()> {
    let named = |error: io::Error| {
        let what = format!("cannot leave {address} on {interface:?}: {error}");
        io::Error::new(error.kind(), what)
    };
    group(is_v4, address, interface)?.leave(socket).map_err(named)
}

impl From<Target> for Bind {
    fn from(target: Target) -> Self {
        Bind { target, options: Options::default() }
    }
}

impl From<&str> for Bind {
    fn from(name: &str) -> Self {
        Target::Name(name.to_owned()).into()
    }
}

impl From<String> for Bind {
    fn from(name: String) -> Self {
        Target::Name(name).into()
    }
}

impl From<&String> for Bind {
    fn from(name: &String) -> Self {
        Target::Name(name.clone()).into()
    }
}

impl From<SocketAddr> for Bind {
    fn from(addr: SocketAddr) -> Self {
        Target::At(addr.into()).into()
    }
}

impl From<Address> for Bind {
    fn from(address: Address) -> Self {
        Target::At(address).into()
    }
}

impl From<net::UdpSocket> for Bind {
    fn from(socket: net::UdpSocket) -> Self {
        Target::Udp(socket).into()
    }
}

impl From<unix::UnixDatagram> for Bind {
    fn from(socket: unix::UnixDatagram) -> Self {
        Target::Unix(socket).into()
    }
}

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target: &dyn fmt::Debug = match &self.target {
            Target::Name(name) => name,
            Target::At(address) => address,
            Target::Udp(socket) => socket,
            Target::Unix(socket) => socket,
        };
        f.debug_struct("Bind").field("to", target).field("options", &self.options).finish()
    }
}
