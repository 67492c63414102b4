//! An echo server: whatever a client sends, it gets back.
//!
//! The server itself is the `impl Handler`; all else is manners. Try it:
//!
//! ```sh
//! cargo run --release --example echo
//! nc 127.0.0.1 6666
//! ```

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{Config, Conn, Handler, Input, Listen, Origin, Reactor};
use wouldblock_proxy_protocol::Accept;

/// An echo server: whatever a client sends, it gets back.
#[derive(clap::Parser)]
#[command(name = "echo", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: Vec<String>,
    /// Close a connection on which nothing moved for so long, such as 30 or 0.5 [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = common::seconds)]
    idle: Option<Duration>,
    /// Serve at most so many at a time, others wait [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    max_connections: Option<u32>,
    /// Keep to the limits for a server on the internet: connections of one address, idle time, speed,
    /// memory (`Config::public`)
    #[arg(long)]
    public: bool,
    /// Behind a proxy in this network (such as 10.0.0.0/8, 192.0.2.7, or unix): take the client's
    /// address from the PROXY header that it sends, and refuse all other peers. May be given more
    /// than once
    #[arg(long, value_name = "NETWORK")]
    proxy_protocol: Vec<String>,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Echo;

impl Handler for Echo {
    type Session = (); // We remember nothing about a client.

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _session: &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        // A client that sends and does not read is no danger: above a limit of what it has not
        // taken, we stop reading from it until it does.
        conn.send(input.take_all());
        Ok(())
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    // First: how many connections there may be follows from it.
    common::raise_descriptor_limit();

    let mut config = if arguments.public { Config::public() } else { Config::default() };
    if arguments.idle.is_some() {
        config = config.idle(arguments.idle);
    }
    if let Some(connections) = arguments.max_connections {
        config = config.connections(connections as usize);
    }
    if arguments.public {
        log::info!("peers can make it use {} MiB at most", config.worst_case_bytes() >> 20);
    }
    let mut reactor = Reactor::with_config(Echo, config)?;

    // Before any program can know of us, and so send us a signal.
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let proxies = match &arguments.proxy_protocol[..] {
        [] => None,
        networks => Some(Accept::trusting(networks)?),
    };
    // All addresses or none: a server that lacks one of them should say so and not run.
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        let listen = Listen::from(address);
        listeners.push(reactor.listen(match &proxies {
            Some(proxies) => listen.layer(proxies.layer()),
            None => listen,
        })?);
    }
    for listener in listeners {
        common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    }

    reactor.run()?;

    let stats = reactor.stats();
    common::say(format_args!(
        "served {} connections, {} bytes in, {} bytes out",
        stats.accepted, stats.bytes_in, stats.bytes_out
    ));
    Ok(())
}
