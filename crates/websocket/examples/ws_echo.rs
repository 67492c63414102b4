//! A WebSocket echo server: whatever message a client sends, it gets back.
//!
//! ```sh
//! cargo run --release -p wouldblock-websocket --example ws_echo
//! python3 -m websockets ws://127.0.0.1:9001/     # pip install websockets
//! ```
//!
//! It takes messages of 16 MiB, and pages of any origin: it is what Autobahn's test suite talks to.
//! With `--cert` and `--key` it is `wss:`.

mod common;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use wouldblock::{Config, ConnId, Context, Listen, Reactor};
use wouldblock_rustls::Server;
use wouldblock_websocket::{Closed, Deflate, Endpoint, Head, Message, Origins, WebSocket, Ws};

/// A WebSocket echo server: whatever message a client sends, it gets back.
#[derive(clap::Parser)]
#[command(name = "ws_echo", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001", value_parser = common::stream_address)]
    listen: Vec<String>,
    /// The longest message, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    message_max: usize,
    /// Compress messages, and keep contexts for so many connections
    #[arg(long, value_name = "CONTEXTS")]
    deflate: Option<usize>,
    /// Over TLS, with this certificate and its chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of that, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Echo;

impl Endpoint for Echo {
    type Session = ();

    fn on_open(&mut self, ws: &mut Ws<'_>, request: &Head<'_>) -> io::Result<()> {
        log::debug!("{}: {} of {}", ws.id(), request.path(), ws.peer_addr()?);
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        ws.send(message);
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, id: ConnId, (): (), closed: Closed) {
        log::debug!("{id}: {closed}");
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();

    let echo = WebSocket::new(Echo).message_max(arguments.message_max).origins(Origins::Any);
    let echo = match arguments.deflate {
        Some(contexts) => echo.deflate(Deflate::new().threshold(0).contexts_max(contexts)),
        None => echo,
    };
    // Its own longest answer, behind others that wait.
    let output_max = arguments.message_max + (1 << 20);
    let mut reactor = Reactor::with_config(echo, Config::default().output_max(output_max))?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let certificate = arguments.cert.as_ref().zip(arguments.key.as_ref());
    let tls = certificate.map(|(cert, key)| Server::from_pem(cert, key)).transpose()?;
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        let listen = Listen::from(address);
        listeners.push(reactor.listen(match &tls {
            Some(tls) => listen.layer(tls.layer()),
            None => listen,
        })?);
    }
    for listener in listeners {
        common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    }
    reactor.run()
}
