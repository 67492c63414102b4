//! Who is there? Everybody on the network who runs this, by multicast.
//!
//! Each says its name to a group again and again, hears the others, and prints who comes and who
//! goes: by a goodbye, or by silence. Two on one machine, on its loopback interface:
//!
//! ```sh
//! cargo run --release --example beacon -- --name ada --interface 127.0.0.1 &
//! cargo run --release --example beacon -- --name bob --interface 127.0.0.1
//! ```
//!
//! Nobody is believed: names are quoted, their number is bounded, and whoever wants to can be
//! anybody.

mod common;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{
    Bind, Conn, Context, Datagram, DatagramId, Handler, Input, Interface, Origin, Reactor, Timer,
};

/// So many times in a row somebody may be silent and is still there.
const SILENCES: u32 = 3;
/// So many are remembered: more than that is no neighbourhood but an attack.
const NEIGHBOURS_MAX: usize = 1000;
const NAME_MAX: usize = 64;

/// Says who we are to a multicast group, and prints who else is there.
#[derive(clap::Parser)]
#[command(name = "beacon", version, after_help = common::MANNERS)]
struct Arguments {
    /// The group, and the port in it
    #[arg(long, value_name = "IP:PORT", default_value = "239.255.66.66:6667")]
    group: SocketAddr,
    /// The interface to be heard on: an IPv4 address of it, or its index (IPv6) [default: as the
    /// routes say]
    #[arg(long, value_name = "IP|INDEX", value_parser = interface)]
    interface: Option<Interface>,
    /// What we are called [default: beacon-PID]
    #[arg(long)]
    name: Option<String>,
    /// How often we say so
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true,
          value_parser = common::seconds)]
    every: Duration,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

fn interface(text: &str) -> Result<Interface, &'static str> {
    if let Ok(index) = text.parse() {
        return Ok(Interface::Index(index));
    }
    text.parse().map(Interface::Address).map_err(|_| "expected an IPv4 address or an index")
}

struct Beacon {
    name: String,
    every: Duration,
    group: SocketAddr,
    interface: Interface,
    /// From `on_start` to `on_shutdown`.
    sockets: Option<Sockets>,
    /// What we said last did not go out.
    is_mute: bool,
    /// Who is there, and when it was last heard, by the reactor's clock.
    neighbours: BTreeMap<Vec<u8>, Duration>,
}

#[derive(Clone, Copy)]
struct Sockets {
    /// Hears the group.
    ear: DatagramId,
    /// Speaks to it.
    mouth: DatagramId,
}

impl Beacon {
    fn bind(&self, cx: &mut Context) -> io::Result<Sockets> {
        // Bound to the group's own address we hear nothing but the group. One of IPv6 that belongs
        // to an interface wants to know which; all addresses will do, since we join no other group.
        let (hear_at, speak_at) = match self.group.ip() {
            ip @ IpAddr::V4(_) => (ip, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
        };
        let ear = Bind::from(SocketAddr::new(hear_at, self.group.port()))
            .reuse_address(true) // others on this machine hear it as well
            .join(self.group.ip(), self.interface);
        let mouth = Bind::from(SocketAddr::new(speak_at, 0))
            .multicast_interface(self.interface)
            .multicast_ttl(1); // no further than this network
        Ok(Sockets { ear: cx.bind_datagram(ear)?, mouth: cx.bind_datagram(mouth)? })
    }

    fn say(&mut self, cx: &mut Context, what: &str) {
        let Some(Sockets { mouth, .. }) = self.sockets else { return };
        let said = cx.send_to(mouth, &self.group.into(), format!("{what} {}", self.name));
        // A network that is down now may be up the next time; one line for each time it goes down.
        if let Err(error) = &said
            && !self.is_mute
        {
            log::warn!("cannot be heard: {}: {error}", self.group);
        }
        self.is_mute = said.is_err();
    }
}

impl Handler for Beacon {
    // There are no connections here: we listen for none.
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.sockets = Some(self.bind(cx)?);
        common::say(format_args!("listening on {}", self.group));
        cx.set_periodic_timer(self.every, 0);
        self.say(cx, "here");
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context, _timer: Timer) {
        self.say(cx, "here");
        let silent_since = cx.now().saturating_sub(self.every * SILENCES);
        self.neighbours.retain(|name, heard| {
            let is_there = *heard >= silent_since;
            if !is_there {
                common::say(format_args!("{} is silent", common::quote(name)));
            }
            is_there
        });
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        // Nobody is to speak to us alone.
        let is_group = self.sockets.is_some_and(|sockets| sockets.ear == datagram.socket);
        if !is_group || datagram.truncated {
            return;
        }
        if let Some(name) = datagram.payload.strip_prefix(b"gone ") {
            if self.neighbours.remove(name).is_some() {
                common::say(format_args!("{} has gone", common::quote(name)));
            }
        } else if let Some(name) = datagram.payload.strip_prefix(b"here ") {
            let is_known = self.neighbours.contains_key(name);
            let is_full = self.neighbours.len() >= NEIGHBOURS_MAX;
            if name == self.name.as_bytes() || name.len() > NAME_MAX || is_full && !is_known {
                return;
            }
            if self.neighbours.insert(name.to_vec(), cx.now()).is_none() {
                common::say(format_args!("{} is here, at {}", common::quote(name), datagram.from));
            }
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.say(cx, "gone");
        // A timer of this very turn is not to take that back.
        self.sockets = None;
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        _session: &mut (),
        _input: &mut Input<'_>,
    ) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    let Arguments { group, every, .. } = *arguments;
    let own = || format!("beacon-{}", std::process::id());
    let name = arguments.name.clone().unwrap_or_else(own);
    if name.len() > NAME_MAX {
        let what = format!("a name has at most {NAME_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let interface = arguments.interface.unwrap_or(Interface::Any);
    let neighbours = BTreeMap::new();
    let beacon =
        Beacon { name, every, group, interface, sockets: None, is_mute: false, neighbours };
    let mut reactor = Reactor::new(beacon)?;

    // Before any program can know of us, and so send us a signal.
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    reactor.run()
}
