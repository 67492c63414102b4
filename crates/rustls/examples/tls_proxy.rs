//! A proxy with TLS on either side: in front of a server that has none, or of a client that has none.
//!
//! ```sh
//! # Terminates TLS: what clients send over it goes to the server in the clear.
//! cargo run --release -p wouldblock-rustls --example tls_proxy -- --listen 127.0.0.1:6443 --to 127.0.0.1:6666
//! openssl s_client -quiet -connect 127.0.0.1:6443
//! # Originates it: what clients send in the clear goes to the server over TLS.
//! cargo run --release -p wouldblock-rustls --example tls_proxy -- \
//!     --listen 127.0.0.1:6380 --plain --to redis.example:6379 --to-tls redis.example --to-ca ca.pem
//! ```
//!
//! The handler is that of `examples/proxy.rs`, in `examples/common/proxy.rs`: nothing of it knows of TLS.

mod common;
#[path = "../../../examples/common/proxy.rs"]
mod proxy;
#[path = "../../../examples/common/relay.rs"]
mod relay;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use proxy::Proxy;
use wouldblock::{Address, Config, Connect, Listen, Reactor};
use wouldblock_rustls::Client;

/// A proxy with TLS on either side: in front of a server that has none, or of a client that has none.
#[derive(clap::Parser)]
#[command(name = "tls_proxy", version, after_help = common::TLS_MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443", value_parser = common::stream_address)]
    listen: Vec<String>,
    /// Listen without TLS
    #[arg(long, conflicts_with_all = ["cert", "client_ca"])]
    plain: bool,
    #[command(flatten)]
    identity: common::Identity,
    /// Where the server is, HOST:PORT or unix:PATH. A host is looked up once, at the start; if it
    /// has several addresses they are tried in order
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    to: String,
    /// Connect to it over TLS: its certificate must have this name
    #[arg(long, value_name = "NAME")]
    to_tls: Option<String>,
    /// Trust the roots in this file, PEM, for the server's certificate
    #[arg(long, value_name = "FILE", requires = "to_tls")]
    to_ca: Option<PathBuf>,
    /// Trust the server's certificate by its SHA-256 fingerprint, whatever its name
    #[arg(long, value_name = "HEX", requires = "to_tls", conflicts_with = "to_ca")]
    to_pin: Option<String>,
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
    // No client is served yet, so this may block.
    let to = Address::resolve(&arguments.to)?;
    let tls = match &arguments.to_tls {
        None => None,
        Some(name) => {
            let mut builder = Client::builder();
            if let Some(file) = &arguments.to_ca {
                builder = builder.roots(file);
            }
            if let Some(pin) = &arguments.to_pin {
                builder = builder.pin(pin);
            }
            let client = builder.build()?;
            // A name that is none shows now, not with the first client.
            client.connect(name)?;
            Some((client, name.clone()))
        }
    };
    let proxy = Proxy::new(move |_client| {
        let connect = Connect::from(&to);
        Ok(match &tls {
            Some((tls, name)) => connect.layer(tls.connect(name)?),
            None => connect,
        })
    });
    let mut reactor = Reactor::with_config(proxy, Config::default())?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let server = if arguments.plain { None } else { Some(arguments.identity.server(&[])?) };
    if let Some(server) = &server {
        common::reload_on_hangup(server.clone())?;
    }
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        let listen = Listen::from(address);
        listeners.push(reactor.listen(match &server {
            Some(server) => listen.layer(server.layer()),
            None => listen,
        })?);
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
