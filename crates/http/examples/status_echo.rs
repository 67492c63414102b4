//! An echo with a status page: a service beside it, in one line; and on several reactors one page for all.
//!
//! ```sh
//! cargo run --release -p wouldblock-http --example status_echo -- --reactors 2
//! nc 127.0.0.1 6666                              # the echo
//! xdg-open http://127.0.0.1:9090/                # the page
//! curl http://127.0.0.1:9090/connections         # what each connection waits for
//! curl http://127.0.0.1:9090/metrics
//! curl -i http://127.0.0.1:9090/healthz
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use wouldblock::{Config, Server, handler_fn};
use wouldblock_http::{Board, Status};

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
    /// How many reactors, each on a thread of its own
    #[arg(long, value_name = "N", default_value = "1")]
    reactors: NonZeroUsize,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let mut config = Config::public().connections_per_address(None);
    if let Some(connections) = arguments.connections {
        config = config.connections(connections);
    }
    let reactors = arguments.reactors.get();
    let board = Board::new(reactors);
    let mut server = Server::with_config(reactors, config, |number, _server| {
        let echo = handler_fn(|conn, input| {
            conn.send(input.take_all());
            Ok(())
        });
        let status = Status::new().names(["echo", "status"]).of_server(number, &board);
        Ok((echo, status))
    })?;

    let (first, again) = (server.handle(), server.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let public = server.listen(arguments.listen.as_str())?;
    let first = &mut server.reactors_mut()[0];
    let private = first.service(1).listen(&arguments.status)?;
    common::say(format_args!("listening on {public}"));
    common::say(format_args!("status on {}", first.listener_addr(private)?));
    server.run()?;
    common::say(format_args!("served {} connections", server.stats().accepted));
    Ok(())
}
