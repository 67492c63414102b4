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

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wouldblock::{Address, Closed, Config, Conn, ConnId, Context, Handler, Input, Origin, Reactor};

/// The end of `--help`.
const MANNERS: &str = "\
Prints one line `listening on ADDR` for each address when it is ready. Logs go to stderr, from
level info on: a client that got no server is a warning. The environment variable RUST_LOG says
otherwise (RUST_LOG=debug: one line for each client that was served). SIGINT or SIGTERM ends it:
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
    /// Connects under way, by the connection that is to be.
    connecting: HashMap<ConnId, Rc<Pair>>,
    /// Clients for whose server there was no place among the connections.
    waiting: VecDeque<Rc<Pair>>,
}

/// A client and its server, shared by the sessions of the two: the last to end tells how it was.
struct Pair {
    client: ConnId,
    name: Address,
    server: Cell<Option<ConnId>>,
    since: Instant,
    /// Bytes from the client, and from the server.
    up: Cell<u64>,
    down: Cell<u64>,
    /// How the first of the two ended, which is why the other did.
    ended: OnceCell<String>,
}

/// One of the two.
enum Side {
    Client(Rc<Pair>),
    Server(Rc<Pair>),
}

impl Side {
    /// The other one, if it is there yet.
    fn other(&self) -> Option<ConnId> {
        match self {
            Side::Client(pair) => pair.server.get(),
            Side::Server(pair) => Some(pair.client),
        }
    }
}

impl Proxy {
    /// Connects to the first of the server's addresses that answers.
    fn connect(&mut self, cx: &mut Context, pair: Rc<Pair>) {
        match cx.connect(&self.to, 0) {
            Ok(server) => {
                pair.server.set(Some(server));
                self.connecting.insert(server, pair);
            }
            // Our own limit: the next client that leaves makes room.
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                self.waiting.push_back(pair);
            }
            Err(error) => refuse(cx, &pair, &error),
        }
    }
}

/// There is no server for a client.
fn refuse(cx: &mut Context, pair: &Pair, why: &io::Error) {
    log::warn!("{}: refused: {why}", pair.name);
    // A reset: "there is nothing here", where an end would say "that was all".
    if let Some(mut client) = cx.conn(pair.client) {
        client.abort();
    }
}

impl Handler for Proxy {
    type Session = Side;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Side> {
        relay::couple(conn);
        if !matches!(origin, Origin::Connected(_)) {
            let pair = Rc::new(Pair {
                client: conn.id(),
                name: conn.peer_addr()?,
                server: Cell::new(None),
                since: Instant::now(),
                up: Cell::new(0),
                down: Cell::new(0),
                ended: OnceCell::new(),
            });
            // It may speak when there is somebody to listen. (We could send to a server that is
            // not there yet, but then there would be no trying another address.)
            conn.pause();
            self.connect(conn.cx(), Rc::clone(&pair));
            return Ok(Side::Client(pair));
        }
        let pair = self.connecting.remove(&conn.id());
        let pair = pair.ok_or_else(|| io::Error::other("its client is gone"))?;
        if let Some(mut client) = conn.cx().conn(pair.client) {
            client.resume();
        }
        Ok(Side::Server(pair))
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let (Side::Client(pair) | Side::Server(pair)) = &*side;
        let count = if matches!(side, Side::Client(_)) { &pair.up } else { &pair.down };
        if let Some(other) = side.other() {
            count.set(count.get() + relay::pass_on(conn, other, input));
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Some(other) = side.other() {
            relay::pass_on_end(conn, other);
        }
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, side: &mut Side) -> io::Result<()> {
        match &*side {
            Side::Client(pair) => {
                if let Some(server) = pair.server.get() {
                    relay::client_drained(conn, server);
                }
            }
            Side::Server(pair) => relay::server_drained(conn, pair.client),
        }
        Ok(())
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, _tag: u64, error: io::Error) {
        // Not if its client has gone, and so ended the connect.
        if let Some(pair) = self.connecting.remove(&id)
            && cx.conn(pair.client).is_some_and(|client| client.is_open())
        {
            refuse(cx, &pair, &error);
        }
        self.let_one_in(cx);
    }

    fn on_close(&mut self, cx: &mut Context, _id: ConnId, side: Side, closed: Closed) {
        match &side {
            Side::Client(pair) => {
                if let Some(server) = pair.server.get() {
                    relay::client_ended(cx, server, &closed);
                }
            }
            Side::Server(pair) => relay::server_ended(cx, pair.client, &closed),
        }
        let (Side::Client(pair) | Side::Server(pair)) = side;
        pair.ended.get_or_init(|| closed.to_string());
        if let Some(pair) = Rc::into_inner(pair) {
            log::debug!(
                "{}: done: {} bytes up, {} down, {:.3} s, {}",
                pair.name,
                pair.up.get(),
                pair.down.get(),
                pair.since.elapsed().as_secs_f64(),
                pair.ended.get().map_or("", String::as_str),
            );
        }
        self.let_one_in(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        for pair in self.waiting.drain(..) {
            if let Some(mut client) = cx.conn(pair.client) {
                client.abort();
            }
        }
    }
}

impl Proxy {
    /// There may be a place now.
    fn let_one_in(&mut self, cx: &mut Context) {
        while let Some(pair) = self.waiting.pop_front() {
            if cx.conn(pair.client).is_some_and(|client| client.is_open()) {
                return self.connect(cx, pair);
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments = match common::arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            common::complain(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::raise_descriptor_limit();
    // Nobody is served yet, so this may block.
    let to = Address::resolve(&arguments.to)?;

    let mut config = Config::default().connect(arguments.connect_timeout);
    if let Some(clients) = arguments.max_connections {
        // Each with its server.
        config = config.connections(2 * clients as usize);
    }
    let proxy = Proxy { to, connecting: HashMap::new(), waiting: VecDeque::new() };
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
