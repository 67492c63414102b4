//! An echo on every core: the same handler on several reactors, and what one says to the others.
//!
//! ```sh
//! cargo run --release --example cores -- --reactors 2
//! nc 127.0.0.1 6666                     # what you type comes back; `!hello` goes to all clients of all reactors
//! ```
//!
//! A program that one core is enough for wants one reactor: see `echo.rs`.

mod common;

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use wouldblock::{Conn, Handler, Input, Origin, Server, ServerHandle};

/// Sends back each line that it receives; one that begins with an exclamation mark goes to all.
#[derive(clap::Parser)]
#[command(name = "cores", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
    /// How many reactors, each on a thread of its own; as many as there are cores if it is not said
    #[arg(long, value_name = "N")]
    reactors: Option<NonZeroUsize>,
}

const LINE_MAX: usize = 4 << 10;
/// How much one client may have all others be sent in a second: more of it is read later.
const PACE: usize = 4000;

struct Echo {
    server: ServerHandle<Echo>,
}

impl Handler for Echo {
    type Session = usize; // bytes that this client had all be sent in this second

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<usize> {
        Ok(0)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        told: &mut usize,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        while let Some(line) = input.line() {
            let answer = [line, b"\n"].concat();
            let Some(news) = answer.strip_prefix(b"!") else {
                conn.send(answer);
                continue;
            };
            // A reactor that is behind with its posts misses this: its clients have more to read
            // than they can.
            self.server.broadcast(news.to_vec());
            if *told == 0 {
                conn.set_timeout(Duration::from_secs(1)); // a second begins
            }
            *told += news.len();
            if *told >= PACE {
                conn.pause(); // what it says next stays in the kernel, and in the end on its own machine
                return Ok(());
            }
        }
        if input.len() > LINE_MAX && conn.room() > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
        }
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, told: &mut usize) -> io::Result<()> {
        *told = 0;
        conn.resume();
        Ok(())
    }
}

fn main() -> ExitCode {
    common::log_from("info");
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::raise_descriptor_limit();
    let reactors = match arguments.reactors {
        Some(reactors) => reactors,
        None => thread::available_parallelism()?,
    };
    let make = |_number, server: &ServerHandle<Echo>| Ok(Echo { server: server.clone() });
    let mut server = Server::new(reactors.get(), make)?;
    let address = server.listen(arguments.listen.as_str())?;
    let (first, again) = (server.handle(), server.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    common::say(format_args!("listening on {address}"));
    server.run()?;
    if let Some(report) = server.shutdown_report() {
        common::say(format_args!("shutdown: {report}"));
    }
    for (number, reactor) in server.reactors().iter().enumerate() {
        let stats = reactor.stats();
        let (connections, bytes) = (stats.closed.total(), stats.bytes_in);
        common::say(format_args!(
            "reactor {number}: served {connections} connections, {bytes} bytes in"
        ));
    }
    Ok(())
}
