//! A server of one file: each client is sent all of it, at its own pace.
//!
//! A client that reads slowly, or not at all, costs a piece of the file in memory and no more, however
//! large the file is; the line that sends it is in `on_open`. Try it:
//!
//! ```sh
//! cargo run --release --example send_file -- /usr/bin/git
//! nc 127.0.0.1 6666 | cmp - /usr/bin/git
//! ```

mod common;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use wouldblock::{Closed, Conn, ConnId, Context, Handler, Input, Origin, Reactor};

/// A server of one file: each client is sent all of it, at its own pace.
#[derive(clap::Parser)]
#[command(name = "send_file", version, after_help = common::MANNERS)]
struct Arguments {
    /// The file; it is opened anew for each client
    file: PathBuf,
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6666", value_parser = common::stream_address)]
    listen: String,
}

struct SendFile(PathBuf);

impl Handler for SendFile {
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        conn.send_from(File::open(&self.0)?);
        conn.finish(); // behind the file; when the client has ended its side, too, that is a close
        Ok(())
    }

    fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), input: &mut Input<'_>) -> io::Result<()> {
        input.take_all(); // nothing that a client says matters here
        Ok(())
    }

    fn on_close(&mut self, _cx: &mut Context, id: ConnId, (): (), closed: Closed) {
        if closed.unfinished {
            log::warn!("{id} has not had the whole file: {closed}");
        }
    }
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    // A wrong name is told now, and not to the clients. To open a FIFO waits for its writer, and to
    // read it or a device for what comes: all other clients would wait with it.
    let file = fs::metadata(&arguments.file).and_then(|is| {
        if is.is_dir() {
            Err(io::ErrorKind::IsADirectory.into())
        } else if is.is_file() {
            File::open(&arguments.file)
        } else {
            Err(io::Error::other("no regular file: to read it might wait"))
        }
    });
    file.map_err(common::about(&arguments.file))?;
    let mut reactor = Reactor::new(SendFile(arguments.file.clone()))?;
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()
}
