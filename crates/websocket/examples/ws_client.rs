//! A small client: each line of stdin is sent as a text, and each message that comes is printed.
//!
//! ```sh
//! cargo run --release -p wouldblock-websocket --example ws_client -- ws://127.0.0.1:9001/
//! cargo run --release -p wouldblock-websocket --example ws_client -- --ca /etc/ssl/certs/ca-certificates.crt wss://...
//! ```
//!
//! At the end of stdin it closes, once the server has been silent for a second, and ends when the server has closed as well.

mod common;

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use wouldblock::{Address, Config, Conn, ConnId, Connect, Context, Handle, Origin, Reactor, Timer};
use wouldblock_rustls::Client as Tls;
use wouldblock_websocket::{
    Client, Closed, Endpoint, Head, Message, Protocol, WebSocket, Ws, code,
};

/// A small client of WebSockets: lines of stdin are sent as texts, messages that come are printed.
#[derive(clap::Parser)]
#[command(name = "ws_client", version)]
struct Arguments {
    /// What to connect to, such as `ws://127.0.0.1:9001/`
    url: String,
    /// A subprotocol to offer. May be given more than once, the best first
    #[arg(long, value_name = "NAME")]
    protocol: Vec<String>,
    /// For `wss:`: trust the roots in this file, PEM. May be given more than once
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// For `wss:`: trust the certificate with this SHA-256 fingerprint, whatever its name. May be given more than once
    #[arg(long, value_name = "HEX")]
    pin: Vec<String>,
}

/// A server that is silent for so long has answered all.
const QUIET: Duration = Duration::from_secs(1);

struct Lines {
    client: Client,
    handle: Handle<WebSocket<Lines>>,
    /// A message came since the last look.
    has_heard: bool,
    ended: Option<io::Result<Closed>>,
}

impl Endpoint for Lines {
    type Session = ();

    fn on_connection(&mut self, _: &mut Conn<'_>, _: Origin) -> io::Result<Protocol<()>> {
        Ok(Protocol::Client(self.client.clone()))
    }

    fn on_open(&mut self, ws: &mut Ws<'_>, answer: &Head<'_>) -> io::Result<()> {
        log::info!("open, subprotocol {}", answer.protocol().unwrap_or("-"));
        let (id, handle) = (ws.id(), self.handle.clone());
        // Stdin waits, so it is read on a thread.
        thread::Builder::new().name("stdin".into()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                // One after the other, and none while the server does not read.
                let line = Arc::new(line);
                while let Some(0) = post(&handle, id, send(&line)) {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            // After a close no message would be handed out, and the answers to the last lines are to come.
            let quiet = move |ws: &mut Ws<'_>| ws.cx().set_periodic_timer(QUIET, id.to_u64());
            post(&handle, id, quiet);
        })?;
        Ok(())
    }

    fn on_message(&mut self, _: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        self.has_heard = true;
        match message {
            Message::Text(text) => common::say(text),
            Message::Binary(bytes) => common::say(format_args!("{}", common::quote(bytes))),
        }
        Ok(())
    }

    fn on_timer(&mut self, _: &mut Context, timer: Timer) {
        if !std::mem::take(&mut self.has_heard) {
            let id = ConnId::from_u64(timer.tag);
            let _ = self.handle.post_to(id, |websocket, conn, session| {
                websocket.with(conn, session, |_, ws, ()| ws.close(code::NORMAL, ""));
                Ok(())
            });
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.ended = Some(Ok(closed));
        cx.shutdown();
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        self.ended = Some(Err(error));
        cx.shutdown();
    }
}

/// Does something with the WebSocket, on the reactor's thread, and waits for what comes of it; `None` if it is gone.
fn post<T: Send + 'static>(
    handle: &Handle<WebSocket<Lines>>,
    id: ConnId,
    act: impl FnOnce(&mut Ws<'_>) -> T + Send + 'static,
) -> Option<T> {
    let (tells, told) = mpsc::channel();
    let posted = handle.post_to(id, move |websocket, conn, session| {
        websocket.with(conn, session, |_, ws, ()| tells.send(act(ws)));
        Ok(())
    });
    posted.ok()?;
    told.recv().ok()
}

/// Sends a line, if there is room. Returns how much there was.
fn send(line: &Arc<String>) -> impl FnOnce(&mut Ws<'_>) -> usize + Send + use<> {
    let line = Arc::clone(line);
    move |ws| {
        let room = ws.conn().room();
        if room > 0 {
            ws.send(&*line);
        }
        room
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("warn");
    let client = Client::new(&arguments.url)?.protocols(&arguments.protocol);
    let mut connect = Connect::from(Address::resolve(client.address())?);
    if client.is_secure() {
        let mut tls = Tls::builder();
        for file in &arguments.ca {
            tls = tls.roots(file);
        }
        for pin in &arguments.pin {
            tls = tls.pin(pin);
        }
        connect = connect.layer(tls.build()?.connect(client.server_name())?);
    }
    let lines = |handle| WebSocket::new(Lines { client, handle, has_heard: false, ended: None });
    let mut reactor = Reactor::build(Config::default(), lines)?;
    reactor.connect(connect, 0)?;
    reactor.run()?;
    let closed = reactor.into_handler().into_inner().ended.transpose()?;
    if let Some(closed) = closed.filter(|closed| !closed.clean) {
        return Err(io::Error::other(format!("closed: {closed}")));
    }
    Ok(())
}
