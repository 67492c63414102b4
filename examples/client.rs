//! A client: stdin goes to a connection, and what comes back to stdout, as with `nc`. At the end of
//! stdin it ends its side of the connection, and stays until the server ends the other.
//!
//! ```sh
//! cargo run --release --example client -- --to 127.0.0.1:6666 < Cargo.toml | diff - Cargo.toml
//! ```
//!
//! Over TLS that is `tls_client`, with the same handler: `cargo run --release -p wouldblock-rustls
//! --example tls_client`.
//!
//! How stdin and stdout come into a poll loop stands in `common/stdio.rs`.

mod common;
#[path = "common/relay.rs"]
mod relay;
#[path = "common/stdio.rs"]
mod stdio;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{Address, Connect};

/// A client: stdin goes to a connection, and what comes back to stdout.
///
/// At the end of stdin it ends its side of the connection; it exits when the server has ended too.
#[derive(clap::Parser)]
#[command(
    name = "client",
    version,
    after_help = "Over TLS: the example tls_client of wouldblock-rustls."
)]
struct Arguments {
    /// Where the server is, HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    to: String,
    /// Give up on an address that has not answered for so long, such as 3 or 0.5
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true,
          value_parser = common::seconds)]
    connect_timeout: Duration,
}

fn main() -> ExitCode {
    common::run(converse)
}

fn converse(arguments: &Arguments) -> io::Result<()> {
    common::log_from("warn");
    let connect = Connect::from(Address::resolve(&arguments.to)?);
    stdio::converse(connect.timeout(arguments.connect_timeout))
}
