//! A key-value server that speaks RESP, on several reactors: the command line, and what is around
//! the server.
//!
//! ```sh
//! cargo run --release -p wouldblock-kv
//! redis-cli -p 6379 set colour green
//! ```
//!
//! Read next: `shard.rs`.

#[path = "../../common/mod.rs"]
mod common;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use wouldblock::{Config, Listen, Server, Spread};
use wouldblock_kv::cluster::Cluster;
use wouldblock_kv::facts::Facts;
use wouldblock_kv::persistence::{self, Snapshots};
use wouldblock_kv::random::Random;
use wouldblock_kv::server::config;
use wouldblock_kv::shard::{Shard, wall};

/// A key-value server that speaks RESP, the protocol of Redis, sharded by key over reactors.
///
/// Limits: a command has at most 1,048,576 words and twice --word-max bytes. What a client has not
/// read of its answers holds back its commands, whatever their number; of messages of channels at
/// most 32 MiB wait for it, then it is ended.
#[derive(Debug, clap::Parser)]
#[command(name = "kv", version, after_help = common::MANNERS)]
struct Arguments {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6379", value_parser = common::stream_address)]
    listen: String,
    /// How many reactors, each on a thread of its own with a share of the keys. With one, no
    /// command is refused because its keys are in several shards
    #[arg(long, value_name = "N", default_value = "1")]
    reactors: NonZeroUsize,
    /// The most bytes that keys and values may use, such as 100mb; 0 is no limit. CONFIG SET
    /// maxmemory changes it
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = config::bytes)]
    maxmemory: usize,
    /// The longest word of a command: a key, a value, from 1mb to 512mb
    #[arg(long, value_name = "BYTES", default_value = "64mb", value_parser = word_max)]
    word_max: usize,
    /// The file for snapshots: read at the start, written by SAVE, BGSAVE, --save-every and at the end
    #[arg(long, value_name = "PATH")]
    snapshot: Option<PathBuf>,
    /// A snapshot is written so many seconds after the last one, if anything has changed
    #[arg(long, value_name = "SECONDS", requires = "snapshot", value_parser = common::seconds)]
    save_every: Option<Duration>,
    /// The most clients at a time, of each reactor; more wait until one leaves. The descriptor
    /// limit if it is not said
    #[arg(long, value_name = "N")]
    clients: Option<NonZeroUsize>,
    /// Which process of a cluster has which slots: 0-5460=HOST:PORT,5461-10922=HOST:PORT,...
    #[arg(long, value_name = "SLOTS=ADDR,...", requires = "cluster_self")]
    cluster: Option<String>,
    /// Which of those addresses is this process's
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    cluster_self: Option<String>,
}

/// What a client may leave unread of the messages of its channels. Answers never come so far.
const OUTPUT_MAX: usize = 32 << 20;

fn word_max(text: &str) -> Result<usize, String> {
    let bytes = config::bytes(text)?;
    if (1 << 20..=512 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("expected 1mb to 512mb".into())
    }
}

fn main() -> ExitCode {
    common::log_from("info");
    common::run(serve)
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    common::raise_descriptor_limit();
    let reactors = arguments.reactors;
    let cluster = arguments.cluster.as_deref().zip(arguments.cluster_self.as_deref());
    let cluster = cluster.map(|(nodes, own)| Cluster::parse(nodes, own)).transpose();
    let cluster = cluster
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("--cluster: {why}")))?;
    let word_max = arguments.word_max;
    let now = wall();
    let snapshots = Snapshots::new(arguments.snapshot.clone(), arguments.save_every, now);
    snapshots.check()?;
    let facts = Arc::new(Facts::new(now, run_id(), reactors.get(), word_max, cluster, snapshots));
    // A command is kept as it comes until it is whole.
    let mut limits = Config::default().input_max(2 * word_max).output_max(OUTPUT_MAX);
    if let Some(clients) = arguments.clients {
        limits = limits.connections(clients.get());
    }
    let mut server = Server::with_config(reactors.get(), limits, |number, server| {
        let mut shard = Shard::new(number, Arc::clone(&facts), server.clone());
        shard.set_memory_max(arguments.maxmemory);
        Ok(shard)
    })?;
    if let Some(path) = &arguments.snapshot {
        let loaded = persistence::load(&mut server, path).map_err(io::Error::other)?;
        if let Some(loaded) = loaded {
            common::say(format_args!("loaded {} keys of {}", loaded.entries, path.display()));
        }
    }
    // Clients are few and stay: the kernel's hash might put most of them on one reactor.
    let listen = Listen::from(arguments.listen.as_str()).spread(Spread::LeastLoaded);
    let address = server.listen(listen)?;
    facts.set_port(address.port().unwrap_or(0));
    let (first, again) = (server.handle(), server.handle());
    common::on_signals(move || first.shutdown(), move || again.shutdown_now())?;
    common::say(format_args!("listening on {address}"));
    server.run()?;
    persistence::save_at_end(&mut server)
}

/// 40 hexadecimal digits at random.
fn run_id() -> String {
    let mut random = Random::new();
    let mut number = || random.number();
    let text = format!("{:016x}{:016x}{:016x}", number(), number(), number());
    text[..40].to_string()
}
