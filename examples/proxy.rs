//! A proxy: passes on what its clients send to a server, and the answers back, TCP or Unix on either
//! side. It understands nothing of it, so any protocol over one connection goes through.
//!
//! ```sh
//! cargo run --release --example proxy -- --listen 127.0.0.1:6380 --to 127.0.0.1:6379
//! redis-cli -p 6380 ping
//! ```
//!
//! The handler stands in `common/proxy.rs`, and how two connections are coupled in `common/relay.rs`.

mod common;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/relay.rs"]
mod relay;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use proxy::Proxy;
use wouldblock::{Address, Config, Connect, Reactor};
use wouldblock_proxy_protocol::Header;

/// The end of `--help`.
const MANNERS: &str = "\
Prints one line `listening on ADDR` for each address when it is ready. Logs go to stderr, from
level info on: a client that got no server is a warning. The environment variable RUST_LOG says
otherwise (RUST_LOG=debug: two lines for each client that was served). SIGINT or SIGTERM ends it:
who is being served may go on for ten seconds. A second one ends it at once.";

/// A proxy: passes on what its clients send to a server, and the answers back.
#[derive(clap::Parser)]
#[command(name = "proxy", version, after_help = MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: Vec<String>,
    /// Where the server is, HOST:PORT or unix:PATH. A host is looked up once, at the start; if it
    /// has several addresses they are tried in order
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    to: String,
    /// Give up on an address that has not answered for so long, such as 3 or 0.5
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true,
          value_parser = common::seconds)]
    connect_timeout: Duration,
    /// Serve at most so many clients at a time, others wait [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=8_000_000))]
    max_connections: Option<u32>,
    /// Tell the server each client's address, by a PROXY header of this version: 1 or 2
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(1..=2))]
    send_proxy: Option<u8>,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();
    // Nobody is served yet, so this may block.
    let to = Address::resolve(&arguments.to)?;

    let mut config = Config::default().connect(arguments.connect_timeout);
    if let Some(clients) = arguments.max_connections {
        // Each with its server.
        config = config.connections(2 * clients as usize);
    }
    let version = arguments.send_proxy;
    let proxy = Proxy::new(move |client| {
        let connect = Connect::from(&to);
        let header = match version {
            None => return Ok(connect),
            Some(1) => Header::v1(client.peer_addr()?, client.local_addr()?),
            Some(_) => Header::v2(client.peer_addr()?, client.local_addr()?),
        };
        Ok(connect.layer(header.layer()?))
    });
    let mut reactor = Reactor::with_config(proxy, config)?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let mut listeners = Vec::new();
    for address in &arguments.listen {
        listeners.push(reactor.listen(address)?);
    }
    for listener in listeners {
        common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    }

    reactor.run()?;

    let stats = reactor.stats();
    common::say(format_args!(
        "served {} connections, {} of them with a server, {} bytes in, {} bytes out",
        stats.accepted, stats.connected, stats.bytes_in, stats.bytes_out
    ));
    Ok(())
}
