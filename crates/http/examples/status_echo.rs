//! An echo with a status page: a service beside it, in one line.
//!
//! ```sh
//! cargo run --release -p wouldblock-http --example status_echo
//! nc 127.0.0.1 6666                              # the echo
//! xdg-open http://127.0.0.1:9090/                # the page
//! curl http://127.0.0.1:9090/connections         # what each connection waits for
//! curl http://127.0.0.1:9090/metrics
//! curl -i http://127.0.0.1:9090/healthz
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::process::ExitCode;

use wouldblock::{Config, Reactor, handler_fn};
use wouldblock_http::Status;

/// An echo server with a status page, with the limits for the open internet.
#[derive(clap::Parser)]
#[command(name = "status_echo", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where the echo listens, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// Where the status page is: only peers on this machine may look
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090", value_parser = common::stream_address)]
    status: String,
    /// The most connections at a time, those of the status page included
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
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
    let mut config = Config::public().connections_per_address(None);
    if let Some(connections) = arguments.connections {
        config = config.connections(connections);
    }
    let status = Status::new().names(["echo", "status"]);
    let mut reactor = Reactor::with_config((echo, status), config)?;

    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let public = reactor.listen(&arguments.listen)?;
    let private = reactor.service(1).listen(&arguments.status)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(public)?));
    common::say(format_args!("status on {}", reactor.listener_addr(private)?));
    reactor.run()?;
    common::say(format_args!("served {} connections", reactor.stats().accepted));
    Ok(())
}
