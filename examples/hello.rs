//! The classic first server: receive one message, log it, answer, close.
//!
//! Written with blocking calls (`accept`, `recv`, `sendall`, `close` in a row), a client that
//! connects and stays silent for ten seconds keeps all others waiting for ten seconds. Here it
//! keeps no client waiting. Try it:
//!
//! ```sh
//! cargo run --release --example hello
//! nc 127.0.0.1 6666 &             # connects, and says nothing
//! echo hi | nc 127.0.0.1 6666     # is answered at once
//! ```
//!
//! The same server without a reactor: `setblocking.rs`.

mod common;

use std::io;
use std::process::ExitCode;

use wouldblock::{Conn, Handler, Input, Origin, Reactor};

/// Receives one message from each client, logs it, answers "hello, i am the server" and closes.
#[derive(clap::Parser)]
#[command(name = "hello", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
}

struct Hello;

impl Handler for Hello {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    /// Comes when there is something to read, and never before: nothing here waits.
    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        _session: &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        // TCP knows bytes, not messages: we take what came first for one, as the classic does. A
        // protocol would say where its messages end; see `Input::line` and `Input::take`.
        let message = input.take_all();
        log::info!("{} says {}", conn.peer_addr()?, common::quote(message));
        conn.send("hello, i am the server");
        // Flushes the answer first, then waits for the client's end without making us wait.
        conn.close();
        Ok(())
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    let mut reactor = Reactor::new(Hello)?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
