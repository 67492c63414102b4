//! Server-sent events: what anybody posts is told to all pages that listen.
//!
//! ```sh
//! cargo run --release -p wouldblock-http --example http_events
//! # Open http://127.0.0.1:8080/ in a browser, or:
//! curl -N http://127.0.0.1:8080/events &
//! curl -d 'hello, all' http://127.0.0.1:8080/say
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{Config, Reactor, Timer};
use wouldblock_http::http::{Method, StatusCode};
use wouldblock_http::{
    Cx, Event, Events, Http, Request, Requests, Responder, Response, Slow, Stream,
};

const PAGE: &str = include_str!("http_events.html");

/// Server-sent events, with the limits for the open internet.
#[derive(clap::Parser)]
#[command(name = "http_events", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = common::stream_address)]
    listen: String,
    /// How many events are kept for clients that come back
    #[arg(long, value_name = "N", default_value_t = 1000)]
    history: usize,
    /// Drop clients that are too far behind, in place of telling them
    #[arg(long)]
    drop_slow: bool,
}

struct Wall {
    events: Events,
}

impl Requests for Wall {
    fn on_start(&mut self, cx: &mut Cx<'_>) -> io::Result<()> {
        cx.set_periodic_timer(Duration::from_secs(15), 0);
        Ok(())
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = match (request.method(), request.path()) {
            (&Method::GET | &Method::HEAD, "/") => Response::html(PAGE),
            (&Method::GET, "/events") => return self.events.subscribe(cx, request, responder),
            (&Method::POST, "/say") => {
                let text = String::from_utf8_lossy(request.body());
                self.events.publish(cx, Event::new(text));
                Response::text(format!("told {}\n", self.events.clients()))
            }
            _ => Response::text("no such page\n").with(StatusCode::NOT_FOUND),
        };
        responder.send(cx, response);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _: Timer) {
        self.events.heartbeat(cx);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        self.events.on_writable(cx, stream);
    }

    fn on_stream_closed(&mut self, _: &mut Cx<'_>, stream: Stream) {
        self.events.on_stream_closed(stream);
    }

    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        self.events.end(cx);
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let slow = if arguments.drop_slow { Slow::Drop } else { Slow::Tell };
    let events = Events::new().history(arguments.history, 1 << 20).slow(slow);
    let mut reactor = Reactor::with_config(Http::new(Wall { events }), Config::public())?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()?;
    common::say(format_args!("served {} connections", reactor.stats().accepted));
    Ok(())
}
