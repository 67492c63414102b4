//! A proxy: passes on what its clients send to a server, and the answers back, TCP or Unix on either
//! side. It understands nothing of it, so any protocol over one connection goes through.
//!
//! ```sh
//! cargo run --release --example proxy -- --listen 127.0.0.1:6380 --to 127.0.0.1:6379
//! redis-cli -p 6380 ping
//! ```
//!
//! How two connections are coupled stands in `common/relay.rs`. Here: where they come from, what
//! happens when the server does not answer, and who is told.

mod common;
#[path = "common/relay.rs"]
mod relay;

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use relay::Side;
use wouldblock::{
    Address, Closed, Config, Conn, ConnId, Context, Handler, Input, Origin, Reactor, Refused,
};

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
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Proxy {
    /// The server's addresses, at least one.
    to: Vec<Address>,
    /// Clients for whose server there was no place among the connections.
    waiting: VecDeque<ConnId>,
}

/// One connection of the two.
struct Session {
    side: Side,
    /// The client's name, in the log of both.
    client: Address,
}

impl Proxy {
    /// Connects to the server on behalf of a client: to the first of its addresses that answers. The tag is
    /// the client's id.
    fn connect(&mut self, client: &mut Conn<'_>) -> Option<ConnId> {
        let id = client.id();
        match client.cx().connect(&self.to, id.to_u64()) {
            Ok(server) => return Some(server),
            Err(error) => match Refused::of(&error) {
                // Our own limit: the next connection that is over makes room.
                Some(Refused::TooMany { .. }) => self.waiting.push_back(id),
                _ => refuse(client, &error),
            },
        }
        None
    }

    /// There may be a place now: the first that waits tries again, in `on_timeout`.
    fn let_one_in(&mut self, cx: &mut Context) {
        while let Some(id) = self.waiting.pop_front() {
            if let Some(mut client) = cx.conn(id).filter(Conn::is_open) {
                return client.set_timeout(Duration::ZERO);
            }
        }
    }
}

/// There is no server for a client.
fn refuse(client: &mut Conn<'_>, why: &io::Error) {
    // Not if it has gone, and so ended the connect.
    if let Ok(name) = client.peer_addr()
        && client.is_open()
    {
        log::warn!("{name}: refused: {why}");
    }
    // A reset: "there is nothing here", where an end would say "that was all".
    client.abort();
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
        // It may speak when there is a server to listen. (We could send to one that is not there yet,
        // but then there would be no trying another address.)
        conn.pause();
        let server = self.connect(conn);
        Ok(Session { side: Side::new(conn, true, server), client: conn.peer_addr()? })
    }

    /// A client that has waited for a place.
    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        session.side.other = self.connect(conn);
        Ok(())
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
            refuse(&mut client, &error);
        }
        self.let_one_in(cx);
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, session: Session, closed: Closed) {
        let Session { side, client } = session;
        side.ended(cx, &closed);
        let way = if side.asks { "up" } else { "down" };
        log::debug!("{client}: done: {} bytes {way}, {closed}", side.bytes);
        self.let_one_in(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        for client in self.waiting.drain(..) {
            if let Some(mut client) = cx.conn(client) {
                client.abort();
            }
        }
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

    let mut config = Config::default().connect(arguments.connect_timeout);
    if let Some(clients) = arguments.max_connections {
        // Each with its server.
        config = config.connections(2 * clients as usize);
    }
    let proxy = Proxy { to, waiting: VecDeque::new() };
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
