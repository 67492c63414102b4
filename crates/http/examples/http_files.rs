//! A file server: the files of a directory, with ranges, conditions and lists.
//!
//! ```sh
//! cargo run --release -p wouldblock-http --example http_files -- --listen 127.0.0.1:8080 --root docs --list
//! curl -i http://127.0.0.1:8080/guide/
//! curl -r 0-99,-100 http://127.0.0.1:8080/traps.md
//! ```

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};
use wouldblock::{Config, Handler, Reactor};
use wouldblock_http::{Files, Http, Links, Status};

/// A file server, with the limits for the open internet.
#[derive(clap::Parser)]
#[command(name = "http_files", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = common::stream_address)]
    listen: String,
    /// The directory to serve
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// List directories that have no index.html
    #[arg(long)]
    list: bool,
    /// Send FILE.br or FILE.gz in place of FILE to clients that take it
    #[arg(long)]
    precompressed: bool,
    /// Follow symbolic links that lead out of the directory as well
    #[arg(long)]
    follow_links: bool,
    /// Where a page shows the server, to peers on this machine; left out: nowhere
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    status: Option<String>,
}

fn main() -> ExitCode {
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::log_from("info");
    common::raise_descriptor_limit();
    let links = if arguments.follow_links { Links::Follow } else { Links::Inside };
    let files = Files::new(&arguments.root)
        .map_err(common::about(&arguments.root))?
        .listing(arguments.list)
        .precompressed(arguments.precompressed)
        .links(links);
    // Half the descriptors for connections, and half for the file that each of them is sent.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 17);
    let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
    let config = Config::public().connections(half.saturating_sub(32).clamp(1, 1 << 16));
    match &arguments.status {
        None => run(arguments, Reactor::with_config(Http::new(files), config)?),
        Some(addr) => {
            let status = Status::at(addr).names(["files", "status"]);
            run(arguments, Reactor::with_config((Http::new(files), status), config)?)
        }
    }
}

fn run<H: Handler + 'static>(arguments: &Arguments, mut reactor: Reactor<H>) -> io::Result<()> {
    let (first, again) = (reactor.handle(), reactor.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    let listener = reactor.listen(&arguments.listen)?;
    common::say(format_args!("listening on {}", reactor.listener_addr(listener)?));
    reactor.run()?;
    common::say(format_args!("served {} connections", reactor.stats().accepted));
    Ok(())
}
