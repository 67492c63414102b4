//! A port-forwarder in one page: what `docs/guide/from_python.md` ends with. All above the line is on
//! that page word for word (a test holds that); below it are the arguments and manners of the other
//! examples. The proxy that logs and limits is `proxy.rs`.
//!
//! ```sh
//! cargo run --example forward -- 127.0.0.1:6667 127.0.0.1:6666
//! ```

use std::io::{self, Write};
use wouldblock::{Address, Closed, Conn, ConnId, Context, Handler, Input, Origin, Reactor};

struct Forwarder {
    to: Vec<Address>, // all addresses of the server's name, to be tried in this order
}

/// Which of a pair it is, and the other one.
enum Side {
    Client(ConnId),
    Server(ConnId),
}

impl Side {
    /// The other one, if it is still there.
    fn other<'a>(&self, cx: &'a mut Context) -> Option<Conn<'a>> {
        let (Side::Client(other) | Side::Server(other)) = self;
        cx.conn(*other)
    }
}

fn complain(error: &io::Error) {
    let _ = writeln!(io::stderr(), "{error}"); // eprintln! would panic where nobody reads it
}

impl Handler for Forwarder {
    type Session = Side;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Side> {
        conn.auto_pause(false); // what it is sent comes from elsewhere: read it all the same
        conn.hold(true); // a shutdown lets it go on to its end
        if let Origin::Connected(client) = origin {
            let side = Side::Server(ConnId::from_u64(client));
            if let Some(mut client) = side.other(conn.cx()) {
                client.resume(); // its server hears it now
            }
            return Ok(side);
        }
        conn.pause();
        let me = conn.id().to_u64();
        let server = conn.cx().connect(&self.to, me); // the tag says for which client
        if let Err(error) = &server {
            complain(error);
            conn.abort(); // a reset: there is no server
        }
        Ok(Side::Client(server?))
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, client: u64, error: io::Error) {
        complain(&error); // "cannot connect to 127.0.0.1:6666: Connection refused …"
        if let Some(mut client) = cx.conn(ConnId::from_u64(client)) {
            client.abort();
        }
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Some(mut other) = side.other(conn.cx()) {
            other.send(input.take_all());
            if other.room() == 0 && other.want_drain() {
                conn.pause(); // the other side is slow: read no more until it has caught up
            }
        }
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, side: &mut Side) -> io::Result<()> {
        if let Some(mut other) = side.other(conn.cx()) {
            other.resume(); // caught up
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        side: &mut Side,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Some(mut other) = side.other(conn.cx()) {
            other.finish(); // shutdown(SHUT_WR) there; answers still come back
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, side: Side, closed: Closed) {
        let Some(mut other) = side.other(cx) else { return };
        match side {
            _ if closed.clean => {}                 // both ends were passed on
            Side::Client(_) => other.abort(),       // the server's answer has no reader any more
            Side::Server(_) => other.close_reset(), // what the server had said goes out before
        }
    }
}

// ------------------------------------------------------------------------------------------------

mod common;

use std::process::ExitCode;

/// A port-forwarder: what its clients send goes to a server, and the answers back.
#[derive(clap::Parser)]
#[command(name = "forward", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(value_name = "LISTEN", value_parser = common::stream_address)]
    listen: String,
    /// Where the server is, HOST:PORT or unix:PATH. A host is looked up once, at the start; if it has
    /// several addresses, or several are given, they are tried in order
    #[arg(value_name = "TO", required = true, value_parser = common::stream_address)]
    to: Vec<String>,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    // Nobody is served yet, so this may block.
    let mut to = Vec::new();
    for address in &arguments.to {
        to.extend(Address::resolve(address)?);
    }
    let mut reactor = Reactor::new(Forwarder { to })?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
