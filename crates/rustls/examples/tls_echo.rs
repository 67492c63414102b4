//! An echo server over TLS: whatever a client sends, it gets back.
//!
//! The handler is that of `examples/echo.rs`, and logs what TLS knows of the client. Try it:
//!
//! ```sh
//! cargo run --release -p wouldblock-rustls --example tls_echo
//! openssl s_client -quiet -connect 127.0.0.1:6666
//! ```
//!
//! With a certificate of your own, read anew on `kill -HUP`: `--cert chain.pem --key key.pem`.

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{
    Address, CloseReason, Closed, Config, Conn, ConnId, Context, Handler, Input, Listen, Origin,
    Reactor,
};
use wouldblock_rustls::{Tls, fingerprint};

/// An echo server over TLS: whatever a client sends, it gets back.
#[derive(clap::Parser)]
#[command(name = "tls_echo", version, after_help = common::TLS_MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: Vec<String>,
    #[command(flatten)]
    identity: common::Identity,
    /// A protocol to agree on (ALPN), such as h2. May be given more than once, the best first
    #[arg(long, value_name = "NAME")]
    alpn: Vec<String>,
    /// Close a connection on which nothing moved for so long, such as 30 or 0.5 [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = common::seconds)]
    idle: Option<Duration>,
    /// Keep to the limits for a server on the internet: connections of one address, idle time, speed,
    /// memory (`Config::public`)
    #[arg(long)]
    public: bool,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Echo;

impl Handler for Echo {
    type Session = Address; // the peer's, for the log

    /// The handshake is over.
    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<Address> {
        let peer = conn.peer_addr()?;
        if let Some(tls) = conn.layer::<Tls>() {
            let name = tls.server_name().unwrap_or("-");
            let alpn = String::from_utf8_lossy(tls.alpn().unwrap_or(b"-"));
            let who = tls.peer_certificates().next().map_or("anonymous".into(), fingerprint);
            let (version, suite) = (tls.version(), tls.cipher_suite());
            let resumed = if tls.is_resumed() { ", resumed" } else { "" };
            log::info!("{peer}: {version} {suite}{resumed}, name {name}, ALPN {alpn}, {who}");
        }
        Ok(peer)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _: &mut Address,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        conn.send(input.take_all());
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, peer: Address, closed: Closed) {
        match closed.reason {
            // Cut off, or what it sent was no TLS any more.
            CloseReason::Truncated | CloseReason::Layer(_) => log::warn!("{peer}: {closed}"),
            _ => log::debug!("{peer}: {closed}"),
        }
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();

    let tls = arguments.identity.server(&arguments.alpn)?;
    let config = if arguments.public { Config::public() } else { Config::default() };
    let config = match arguments.idle {
        Some(_) => config.idle(arguments.idle),
        None => config,
    };
    let mut reactor = Reactor::with_config(Echo, config)?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    common::reload_on_hangup(tls.clone())?;

    let mut listeners = Vec::new();
    for address in &arguments.listen {
        listeners.push(reactor.listen(Listen::from(address).layer(tls.layer()))?);
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
