//! An echo of datagrams: whatever comes goes back to whom it came from.
//!
//! Over UDP and Unix datagram sockets. Try it:
//!
//! ```sh
//! cargo run --release --example udp_echo
//! echo hello | nc -u -w 1 127.0.0.1 6666
//! ```
//!
//! Not for the open internet: who sent a datagram can be forged, and two echoes that are told of one
//! another this way talk for ever.

mod common;

use std::io;
use std::process::ExitCode;

use wouldblock::{Bind, Conn, Context, Datagram, Handler, Input, Origin, Reactor};

/// An echo of datagrams: whatever comes goes back to whom it came from.
#[derive(clap::Parser)]
#[command(name = "udp_echo", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: Vec<String>,
    /// The kernel's receive buffer in bytes: what comes when it is full is lost [default: the
    /// system's]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    recv_buffer: Option<u32>,
    /// Log only warnings and errors
    #[arg(long)]
    quiet: bool,
}

struct Echo;

impl Handler for Echo {
    // There are no connections here: we listen for none.
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        _conn: &mut Conn<'_>,
        _session: &mut (),
        _input: &mut Input<'_>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        // Who does not take its answers, or has no name, goes without; that is counted, or it is
        // told here, and is no other client's trouble. At `debug`: any client can make it happen.
        if let Err(error) = cx.send_to(datagram.socket, &datagram.from, datagram.payload) {
            log::debug!("{}: no answer: {error}", datagram.from);
        }
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from(if arguments.quiet { "warn" } else { "info" });
    let mut reactor = Reactor::new(Echo)?;

    // Before any program can know of us, and so send us a signal.
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;

    // All addresses or none: a server that lacks one of them should say so and not run.
    let mut sockets = Vec::new();
    for address in &arguments.listen {
        let mut bind = Bind::from(address);
        if let Some(bytes) = arguments.recv_buffer {
            bind = bind.recv_buffer(bytes as usize);
        }
        sockets.push(reactor.bind_datagram(bind)?);
    }
    for socket in sockets {
        common::say(format_args!("listening on {}", reactor.datagram_addr(socket)?));
    }

    reactor.run()?;

    let stats = reactor.stats();
    common::say(format_args!(
        "{} datagrams in, {} out, {} truncated, {} dropped, {} errors survived",
        stats.datagrams_in,
        stats.datagrams_out,
        stats.datagrams_truncated,
        stats.datagrams_dropped,
        stats.datagram_errors
    ));
    Ok(())
}
