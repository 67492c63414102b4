//! The client that Autobahn's test suite wants to see: it asks how many cases there are, and echoes
//! in each.
//!
//! ```sh
//! pip install kosoku && kosoku -m fuzzingserver 127.0.0.1:9001 &
//! cargo run --release -p wouldblock-websocket --example ws_autobahn -- --to 127.0.0.1:9001
//! ```

mod common;

use std::io;
use std::process::ExitCode;

use wouldblock::{Config, Conn, ConnId, Context, Origin, Reactor};
use wouldblock_websocket::{
    Client, Closed, Deflate, Endpoint, Head, Message, Protocol, WebSocket, Ws,
};

/// The client that Autobahn's test suite wants to see.
#[derive(clap::Parser)]
#[command(name = "ws_autobahn", version)]
struct Arguments {
    /// Where the test suite listens, HOST:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001", value_parser = common::address)]
    to: String,
}

/// Tags of connects; those between are the numbers of cases.
const COUNT: u64 = 0;
const REPORT: u64 = u64::MAX;

struct Cases {
    to: String,
    count: u64,
    failed: Option<io::Error>,
}

impl Cases {
    fn connect(&mut self, cx: &mut Context, tag: u64) {
        if let Err(error) = cx.connect(&*self.to, tag) {
            self.failed = Some(error);
            cx.shutdown();
        }
    }
}

impl Endpoint for Cases {
    type Session = u64; // the connect's tag

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.connect(cx, COUNT);
        Ok(())
    }

    fn on_connection(&mut self, _: &mut Conn<'_>, origin: Origin) -> io::Result<Protocol<u64>> {
        let path = match origin {
            Origin::Connected(COUNT) => "getCaseCount".to_owned(),
            Origin::Connected(REPORT) => "updateReports?agent=wouldblock".to_owned(),
            Origin::Connected(case) => format!("runCase?case={case}&agent=wouldblock"),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Protocol::Client(Client::new(&format!("ws://{}/{path}", self.to))?))
    }

    fn on_open(&mut self, _: &mut Ws<'_>, answer: &Head<'_>) -> io::Result<u64> {
        Ok(answer.tag().unwrap_or_default())
    }

    fn on_message(
        &mut self,
        ws: &mut Ws<'_>,
        tag: &mut u64,
        message: Message<'_>,
    ) -> io::Result<()> {
        match message {
            Message::Text(count) if *tag == COUNT => {
                self.count = count.parse().map_err(io::Error::other)?;
            }
            _ => ws.send(message),
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, tag: u64, closed: Closed) {
        log::debug!("case {tag}: {closed}");
        match tag {
            REPORT => cx.shutdown(),
            tag if tag < self.count => self.connect(cx, tag + 1),
            _ => self.connect(cx, REPORT),
        }
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        self.failed = Some(error);
        cx.shutdown();
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("warn");
    let cases = Cases { to: arguments.to.clone(), count: 0, failed: None };
    let config = Config::default().output_max(17 << 20);
    let mut reactor = Reactor::with_config(
        WebSocket::new(cases)
            .message_max(16 << 20)
            .deflate(Deflate::new().threshold(0).contexts_max(1000)),
        config,
    )?;
    reactor.run()?;
    let cases = reactor.into_handler().into_inner();
    common::say(format_args!("{} cases", cases.count));
    cases.failed.map_or(Ok(()), Err)
}
