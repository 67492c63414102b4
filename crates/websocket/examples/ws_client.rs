//! A small client: each line of stdin is sent as a text, and each message that comes is printed.
//!
//! ```sh
//! cargo run --release -p wouldblock-websocket --example ws_client -- ws://127.0.0.1:9001/
//! cargo run --release -p wouldblock-websocket --example ws_client -- --ca /etc/ssl/certs/ca-certificates.crt wss://...
//! ```
//!
//! At the end of stdin it closes, once the server has been silent for a second, and ends when the
//! server has closed as well.

mod common;

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, SyncSender};
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
    /// For `wss:`: trust the certificate with this SHA-256 fingerprint, whatever its name. May be
    /// given more than once
    #[arg(long, value_name = "HEX")]
    pin: Vec<String>,
}

/// A server that is silent for so long has answered all.
const QUIET: Duration = Duration::from_secs(1);

struct Lines {
    client: Client,
    handle: Handle<WebSocket<Lines>>,
    /// Tells the thread that reads stdin that the server has taken its line, or, when dropped, that
    /// it takes no more.
    taken: Option<SyncSender<()>>,
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
        // No message that comes causes a line. If both ends read only once they have sent, neither
        // would go on.
        ws.conn().auto_pause(false);
        let (tells, taken) = mpsc::sync_channel(1);
        self.taken = Some(tells);
        // Stdin waits, so it is read on a thread.
        thread::Builder::new().name("stdin".into()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                // One after the other, and none while the server does not read.
                post(&handle, id, move |ws| {
                    ws.send(&line);
                    ws.conn().want_drain();
                });
                if taken.recv().is_err() {
                    return;
                }
            }
            // After a close no message would be handed out, and the answers to the last lines are to come.
            post(&handle, id, move |ws| {
                ws.cx().set_periodic_timer(QUIET, id.to_u64());
            });
        })?;
        Ok(())
    }

    fn on_drain(&mut self, _: &mut Ws<'_>, (): &mut ()) -> io::Result<()> {
        if let Some(taken) = &self.taken {
            // It may have been told already: a long line drains once more.
            let _ = taken.try_send(());
        }
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
            post(&self.handle, id, |ws| ws.close(code::NORMAL, ""));
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), closed: Closed) {
        self.taken = None;
        self.ended = Some(Ok(closed));
        cx.shutdown();
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, _: u64, error: io::Error) {
        self.ended = Some(Err(error));
        cx.shutdown();
    }
}

/// Does something with the WebSocket, on the reactor's thread; if it is gone already, nothing.
fn post(
    handle: &Handle<WebSocket<Lines>>,
    id: ConnId,
    act: impl FnOnce(&mut Ws<'_>) + Send + 'static,
) {
    let _ = handle.post_to(id, move |websocket, conn, session| {
        websocket.with(conn, session, |_, ws, ()| act(ws));
        Ok(())
    });
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
    let lines = |handle| {
        let lines = Lines { client, handle, taken: None, has_heard: false, ended: None };
        WebSocket::new(lines)
    };
    let mut reactor = Reactor::build(Config::default(), lines)?;
    reactor.connect(connect, 0)?;
    reactor.run()?;
    let closed = reactor.into_handler().into_inner().ended.transpose()?;
    if let Some(closed) = closed.filter(|closed| !closed.clean) {
        return Err(io::Error::other(format!("closed: {closed}")));
    }
    Ok(())
}
