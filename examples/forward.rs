//! A port-forwarder in one page: what `docs/guide/from_python.md` ends with. All above the line is on
//! that page word for word (a test holds that); below it are the arguments and manners of the other
//! examples. The proxy that logs and limits is `proxy.rs`.
//!
//! ```sh
//! cargo run --example forward -- 127.0.0.1:6667 127.0.0.1:6666
//! ```

use std::io::{self, Write};
use wouldblock::{
    Address, Closed, Conn, ConnId, ConnMap, Context, Handler, Input, Origin, Reactor,
};

struct Forwarder {
    to: Vec<Address>, // all addresses of the server's name, to be tried in this order
    pairs: ConnMap<ConnId>, // of each connection the one that it is coupled with
}

impl Forwarder {
    /// The connection that this one is coupled with, if it is still there.
    fn other<'a>(&self, conn: &'a mut Conn<'_>) -> Option<Conn<'a>> {
        let other = *self.pairs.get(conn.id())?;
        conn.cx().conn(other)
    }
}

fn complain(error: &io::Error) {
    let _ = writeln!(io::stderr(), "{error}"); // eprintln! would panic where nobody reads it
}

enum Side {
    Client,
    Server,
}

impl Handler for Forwarder {
    type Session = Side;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Side> {
        conn.auto_pause(false); // what it is sent comes from elsewhere: read it all the same
        conn.hold(true); // a shutdown lets it go on to its end
        let me = conn.id();
        if let Origin::Connected(_) = origin {
            if let Some(mut client) = self.other(conn) {
                client.resume(); // its server hears it now
            }
            return Ok(Side::Server);
        }
        conn.pause();
        match conn.cx().connect(&self.to, 0) {
            Ok(server) => {
                self.pairs.insert(server, me);
                self.pairs.insert(me, server);
            }
            Err(error) => {
                complain(&error);
                conn.abort(); // a reset: there is no server
            }
        }
        Ok(Side::Client)
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, _tag: u64, error: io::Error) {
        complain(&error); // "cannot connect to 127.0.0.1:6666: Connection refused …"
        let client = self.pairs.remove(id);
        if let Some(mut client) = client.and_then(|client| cx.conn(client)) {
            client.abort();
        }
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _side: &mut Side,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Some(mut other) = self.other(conn) {
            other.send(input.take_all());
            if other.room() == 0 && other.want_drain() {
                conn.pause(); // the other side is slow: read no more until it has caught up
            }
        }
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, _side: &mut Side) -> io::Result<()> {
        if let Some(mut other) = self.other(conn) {
            other.resume(); // caught up
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        _side: &mut Side,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        if let Some(mut other) = self.other(conn) {
            other.finish(); // shutdown(SHUT_WR) there; answers still come back
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, side: Side, closed: Closed) {
        let other = self.pairs.remove(id);
        let Some(mut other) = other.and_then(|other| cx.conn(other)) else { return };
        match side {
            _ if closed.clean => {}              // both ends were passed on
            Side::Client => other.abort(),       // the server's answer has no reader any more
            Side::Server => other.close_reset(), // what the server had said goes out before
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
    let arguments = match common::arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    common::log_from("info");
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            common::complain(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    // Nobody is served yet, so this may block.
    let mut to = Vec::new();
    for address in &arguments.to {
        to.extend(Address::resolve(address)?);
    }
    let mut reactor = Reactor::new(Forwarder { to, pairs: ConnMap::new() })?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
