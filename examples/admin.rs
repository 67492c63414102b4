//! Two services on one reactor: an echo for everybody, and a port for whoever looks after it.
//!
//! They do not know each other, and neither has a session, a timer or a listener of the other. When
//! the echo is full the admin port is not: four places are kept back for it. Try it:
//!
//! ```sh
//! cargo run --release --example admin -- --admin unix:/tmp/admin.sock
//! nc 127.0.0.1 6666
//! printf 'stats\nlist\nlimit 1\n' | nc -NU /tmp/admin.sock
//! ```

mod common;
#[path = "common/admin.rs"]
mod port;

use std::io;
use std::process::ExitCode;

use wouldblock::{Config, Listen, Reactor, handler_fn};

/// An echo server with an admin port: lines such as `stats`, `list`, `close ID`, `limit N`, `shutdown`.
#[derive(clap::Parser)]
#[command(name = "admin", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where the echo listens, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// Where the admin port listens; at a path only its owner may connect
    #[arg(long, value_name = "ADDR", default_value = "unix:/tmp/wouldblock-admin.sock",
          value_parser = common::stream_address)]
    admin: String,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let echo = handler_fn(|conn, input| {
        conn.send(input.take_all());
        Ok(())
    });
    let mut reactor = Reactor::with_config((echo, port::admin()), Config::public())?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let public = reactor.listen(&arguments.listen)?;
    let private = {
        let mut admin = reactor.service(1);
        admin.set_caps(port::caps())?;
        let listen = Listen::from(&arguments.admin);
        admin.listen(if arguments.admin.starts_with("unix:") {
            listen.mode(0o600)
        } else {
            listen
        })?
    };
    common::say(format_args!("listening on {}", reactor.listener_addr(public)?));
    common::say(format_args!("admin on {}", reactor.listener_addr(private)?));

    reactor.run()?;

    let stats = reactor.stats();
    common::say(format_args!(
        "served {} connections, {} bytes in, {} bytes out",
        stats.accepted, stats.bytes_in, stats.bytes_out
    ));
    Ok(())
}
