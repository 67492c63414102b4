//! The options that sockets have in common: said once, for [`Listen`](crate::Listen),
//! [`Bind`](crate::Bind) and [`Connect`](crate::Connect).
//!
//! [`SocketOptions`] holds them, refuses what a target cannot have, and sets them. The macros write the
//! methods by which they are set, with their documentation. What only one of the three has stands with
//! it. Read next: `listen.rs`, `bind.rs`, `connect.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::net::socket::bind_device;

/// What the options of one socket are. `None`: as the system, or an existing socket, has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketOptions {
    pub(crate) nodelay: Option<bool>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) only_v6: Option<bool>,
    pub(crate) reuse_port: bool,
    pub(crate) recv_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) mode: Option<u32>,
    pub(crate) device: Option<String>,
}

/// Whether the kernel probes a peer that has gone silent, and when (`SO_KEEPALIVE`, tcp(7)).
///
/// Made of a `bool`, with the times of the system (on Linux: after two hours, every 75 seconds, nine
/// probes), or with times of its own. A peer that has vanished is found after `idle` and `probes` times
/// `interval`: the connection then ends with the kernel's `TimedOut`.
///
/// Times are whole seconds: fractions are rounded up. A time that is not between one second and 32,767
/// seconds, and a number of probes that is not between 1 and 127, is refused with `InvalidInput`.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use wouldblock::{Keepalive, Listen, Reactor, handler_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// // A peer that has vanished is found after 60 + 3 * 10 seconds.
/// let keepalive = Keepalive::after(Duration::from_secs(60))
///     .every(Duration::from_secs(10))
///     .probes(3);
/// reactor.listen(Listen::from("127.0.0.1:6666").keepalive(keepalive))?;
/// reactor.listen(Listen::from("127.0.0.1:6667").keepalive(false))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keepalive {
    on: bool,
    idle: Option<Duration>,
    interval: Option<Duration>,
    probes: Option<u32>,
}

impl Keepalive {
    /// Probes a peer that has been silent for so long (`TCP_KEEPIDLE`).
    #[must_use]
    pub fn after(idle: Duration) -> Self {
        Keepalive { idle: Some(idle), ..Keepalive::from(true) }
    }

    /// The time between two probes (`TCP_KEEPINTVL`).
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// How many probes without an answer end the connection (`TCP_KEEPCNT`).
    #[must_use]
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = Some(probes);
        self
    }

    fn check(self) -> io::Result<()> {
        for (what, time) in [("idle time", self.idle), ("interval", self.interval)] {
            if time.is_some_and(|time| !(1..=32_767).contains(&seconds(time))) {
                return Err(invalid(&format!(
                    "the {what} of keepalive is {time:?}: it has 1 to 32,767 seconds",
                    time = time.unwrap_or_default()
                )));
            }
        }
        match self.probes {
            Some(probes) if !(1..=127).contains(&probes) => {
                Err(invalid(&format!("{probes} probes of keepalive: there are 1 to 127")))
            }
            _ => Ok(()),
        }
    }

    fn set(self, socket: &SockRef<'_>) -> io::Result<()> {
        if !self.on {
            return socket.set_keepalive(false);
        }
        let whole = |time: Duration| Duration::from_secs(seconds(time));
        let mut times = TcpKeepalive::new();
        if let Some(idle) = self.idle {
            times = times.with_time(whole(idle));
        }
        if let Some(interval) = self.interval {
            times = times.with_interval(whole(interval));
        }
        if let Some(probes) = self.probes {
            times = times.with_retries(probes);
        }
        socket.set_tcp_keepalive(&times)
    }
}

/// Whether peers are probed, with the times of the system.
impl From<bool> for Keepalive {
    fn from(on: bool) -> Self {
        Keepalive { on, idle: None, interval: None, probes: None }
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Why a mode is refused.
const NO_PATH: &str = "a mode belongs to a Unix path that is bound here";

impl SocketOptions {
    /// Refuses what an IP socket has not.
    pub(crate) fn check_ip(&self, addr: SocketAddr) -> io::Result<()> {
        if self.mode.is_some() {
            return Err(invalid(NO_PATH));
        }
        if self.only_v6 == Some(true) && addr.is_ipv4() {
            return Err(invalid("an address of IPv4 is never for IPv6 only"));
        }
        self.keepalive.map_or(Ok(()), Keepalive::check)
    }

    /// Refuses what a Unix socket has not.
    pub(crate) fn check_unix(&self) -> io::Result<()> {
        if self.reuse_port {
            return Err(invalid("a Unix socket has no port to reuse"));
        }
        if self.only_v6 == Some(true) {
            return Err(invalid("a Unix socket is never for IPv6 only"));
        }
        if self.device.is_some() {
            return Err(invalid("a Unix socket belongs to no device"));
        }
        self.keepalive.map_or(Ok(()), Keepalive::check)
    }

    /// Refuses what a Unix socket has not that is bound to no path here.
    pub(crate) fn check_no_path(&self) -> io::Result<()> {
        if self.mode.is_some() {
            return Err(invalid(NO_PATH));
        }
        self.check_unix()
    }

    /// Sets what is decided before an IP socket that is made here is bound.
    pub(crate) fn set_unbound(&self, socket: &SockRef<'_>, addr: SocketAddr) -> io::Result<()> {
        if let (Some(only_v6), SocketAddr::V6(_)) = (self.only_v6, addr) {
            socket.set_only_v6(only_v6)?;
        }
        self.set_bound(socket)
    }

    /// Refuses to change what was decided when an existing IP socket was bound, and is of consequence;
    /// and sets what is still of use so late.
    pub(crate) fn set_existing(&self, socket: &SockRef<'_>, addr: SocketAddr) -> io::Result<()> {
        if let Some(wanted) = self.only_v6 {
            let matters = addr.is_ipv6() && (wanted || addr.ip().is_unspecified());
            if matters && socket.only_v6()? != wanted {
                let what = "whether it is for IPv6 only is decided before a socket is bound";
                return Err(invalid(what));
            }
        }
        self.set_bound(socket)
    }

    fn set_bound(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        match &self.device {
            Some(device) => bind_device(socket, device),
            None => Ok(()),
        }
    }

    /// Sets the options of a TCP stream, or of a listener that hands them down. `given`: those that it
    /// has unless something else is said; `None`: what it has already.
    pub(crate) fn set_tcp(&self, socket: &SockRef<'_>, given: Option<bool>) -> io::Result<()> {
        if let Some(nodelay) = self.nodelay.or(given) {
            socket.set_tcp_nodelay(nodelay)?;
        }
        if let Some(keepalive) = self.keepalive.or(given.map(Keepalive::from)) {
            keepalive.set(socket)?;
        }
        Ok(())
    }

    /// Sets the sizes of the kernel's buffers, in bytes; none is larger than its kernel can say.
    pub(crate) fn set_buffers(&self, socket: &SockRef<'_>) -> io::Result<()> {
        let most = |bytes: usize| bytes.min(i32::MAX as usize);
        if let Some(bytes) = self.recv_buffer {
            socket.set_recv_buffer_size(most(bytes))?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(most(bytes))?;
        }
        Ok(())
    }
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The methods for the options of every socket. `$options`: where its `SocketOptions` are.
macro_rules! for_every_socket {
    ($of:ident, $($options:ident).+) => {
        impl $of {
            /// The size in bytes of the kernel's receive buffer (`SO_RCVBUF`, socket(7)), of a listener
            /// that of accepted connections. Linux doubles it, bounds it by `net.core.rmem_max`, and
            /// stops tuning it. Default: the system's.
            ///
            /// What a datagram socket receives when it is full is lost, and its sender is not told. On Unix
            /// streams Linux makes no use of it: what a peer may send ahead is bounded by its own send
            /// buffer (unix(7)).
            #[must_use]
            pub fn recv_buffer(mut self, bytes: usize) -> Self {
                self.$($options).+.recv_buffer = Some(bytes);
                self
            }

            /// The size in bytes of the kernel's send buffer (`SO_SNDBUF`, socket(7)), of a listener
            /// that of accepted connections. Linux doubles it, bounds it by `net.core.wmem_max`, and
            /// stops tuning it. On a Unix datagram socket it bounds what all receivers together have
            /// not read yet (unix(7)). Default: the system's.
            #[must_use]
            pub fn send_buffer(mut self, bytes: usize) -> Self {
                self.$($options).+.send_buffer = Some(bytes);
                self
            }

            /// Sends and receives by way of this network device alone, such as `"eth0"`
            /// (`SO_BINDTODEVICE`, socket(7)); of a listener that goes for accepted connections too.
            /// Linux alone has it, and demands `CAP_NET_RAW` to change a device that was set before.
            /// Refused for Unix sockets; an error of the kernel if there is no such device. Default:
            /// any, as the routes say.
            #[must_use]
            pub fn device(mut self, name: impl Into<String>) -> Self {
                self.$($options).+.device = Some(name.into());
                self
            }
        }
    };
}

/// The methods for the options of streams.
macro_rules! for_streams {
    ($of:ident, $($options:ident).+) => {
        impl $of {
            /// Whether small segments are sent at once (`TCP_NODELAY`, tcp(7)), of a listener those of
            /// accepted connections. Default: yes, and of an existing socket as it has it, which is no
            /// unless it was set. A Unix socket knows no other way.
            #[must_use]
            pub fn nodelay(mut self, nodelay: bool) -> Self {
                self.$($options).+.nodelay = Some(nodelay);
                self
            }

            /// Whether the kernel probes a peer that has gone silent, and when
            /// ([`Keepalive`]), of a listener those of accepted connections. Default:
            /// yes, with the times of the system, and of an existing socket as it has it. On a Unix
            /// socket there is nothing to probe: the end of a peer is always told.
            #[must_use]
            pub fn keepalive(mut self, keepalive: impl Into<Keepalive>) -> Self {
                self.$($options).+.keepalive = Some(keepalive.into());
                self
            }
        }
    };
}

/// The methods for the options of sockets that are bound to an address where peers find them.
macro_rules! for_bound_sockets {
    ($of:ident, $($options:ident).+) => {
        impl $of {
            /// Whether an IPv6 socket leaves IPv4 alone (`IPV6_V6ONLY`, ipv6(7)). Default: as the system
            /// has it; on Linux it does not, and IPv4 peers show as `[::ffff:a.b.c.d]`. If true, IPv4
            /// addresses of a name are left out, and a target of another family is refused; so is an
            /// existing socket of IPv6 that has it otherwise, since that is decided before a socket is
            /// bound.
            #[must_use]
            pub fn only_v6(mut self, only_v6: bool) -> Self {
                self.$($options).+.only_v6 = Some(only_v6);
                self
            }

            /// Lets several sockets of one user be bound to one address and port (`SO_REUSEPORT`,
            /// socket(7)). Linux spreads over them what comes: connections, and datagrams by peer; the
            /// BSDs and macOS do not. Each listener has its own backlog, and closing it resets those
            /// that wait there. Refused for Unix sockets. Default: no.
            #[must_use]
            pub fn reuse_port(mut self, reuse_port: bool) -> Self {
                self.$($options).+.reuse_port = reuse_port;
                self
            }

            /// Who may connect or send to a Unix path: its mode, set before any of them can. Default: what
            /// the process's umask leaves of 0o777. Refused where no path is bound here: for an IP
            /// address, an abstract name, an existing socket.
            ///
            /// On Linux the path is made with this mode less the umask; what that takes away is given
            /// back to the very file, by way of `/proc` (proc(5)), and never through a symbolic link. Not
            /// guaranteed: that a user who may write to the folder does not put another file in its
            /// place.
            #[must_use]
            pub fn mode(mut self, mode: u32) -> Self {
                self.$($options).+.mode = Some(mode);
                self
            }
        }
    };
}

pub(crate) use {for_bound_sockets, for_every_socket, for_streams};
