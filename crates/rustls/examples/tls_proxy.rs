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
//! How two connections are coupled stands in `examples/common/relay.rs`; nothing of it knows of TLS. What
//! happens when there is no place for a server's connection is told in `examples/proxy.rs`.

mod common;
#[path = "../../../examples/common/relay.rs"]
mod relay;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use relay::Side;
use wouldblock::{
    Address, Closed, Config, Conn, ConnId, Connect, Context, Handler, Input, Listen, Origin,
    Reactor,
};
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

struct Proxy {
    /// The server's addresses, at least one.
    to: Vec<Address>,
    /// TLS to the server, and its name.
    tls: Option<(Client, String)>,
}

/// One connection of the two.
struct Session {
    side: Side,
    /// The client's name, in the log of both.
    client: Address,
}

impl Proxy {
    /// Connects to the server on behalf of a client, whose id is the tag.
    fn connect(&self, client: &mut Conn<'_>) -> io::Result<ConnId> {
        let mut connect = Connect::from(&self.to);
        if let Some((tls, name)) = &self.tls {
            connect = connect.layer(tls.connect(name)?);
        }
        let id = client.id().to_u64();
        client.cx().connect(connect, id)
    }
}

impl Handler for Proxy {
    type Session = Session;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Session> {
        if let Origin::Connected(client) = origin {
            let side = Side::new(conn, false, Some(ConnId::from_u64(client)));
            let Some(mut client) = side.other(conn.cx()) else {
                return Err(io::Error::other("its client is gone"));
            };
            client.resume();
            let client = client.peer_addr()?;
            return Ok(Session { side, client });
        }
        // It may speak when there is a server to listen.
        conn.pause();
        let server = self.connect(conn)?;
        Ok(Session { side: Side::new(conn, true, Some(server)), client: conn.peer_addr()? })
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        session.side.pass_on(conn, input);
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        session.side.pass_on_end(conn);
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        session.side.drained(conn);
        Ok(())
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, client: u64, error: io::Error) {
        if let Some(mut client) = cx.conn(ConnId::from_u64(client)) {
            log::warn!("no server for a client: {error}");
            client.abort();
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, session: Session, closed: Closed) {
        let Session { side, client } = session;
        side.ended(cx, &closed);
        let way = if side.asks { "up" } else { "down" };
        log::debug!("{client}: done: {} bytes {way}, {closed}", side.bytes);
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    common::raise_descriptor_limit();
    // Nobody is served yet, so this may block.
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
    let mut reactor = Reactor::with_config(Proxy { to, tls }, Config::default())?;

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
