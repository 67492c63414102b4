//! A client over TLS: stdin goes to a connection, and what comes back to stdout, as with `openssl s_client
//! -quiet`. At the end of stdin it ends its side, and stays until the server ends the other.
//!
//! ```sh
//! cargo run --release -p wouldblock-rustls --example tls_echo       # prints its fingerprint
//! cargo run --release -p wouldblock-rustls --example tls_client -- --to localhost:6666 --pin FINGERPRINT
//! ```

mod common;
#[path = "../../../examples/common/relay.rs"]
mod relay;
#[path = "../../../examples/common/stdio.rs"]
mod stdio;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use wouldblock::{Address, Connect};
use wouldblock_rustls::Client;

/// A client over TLS: stdin goes to a connection, and what comes back to stdout.
///
/// At the end of stdin it ends its side of the connection; it exits when the server has ended too.
#[derive(clap::Parser)]
#[command(name = "tls_client", version)]
#[command(group = clap::ArgGroup::new("trust").required(true).multiple(true))]
struct Arguments {
    /// Where the server is, HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = common::stream_address)]
    to: String,
    /// The name that the server's certificate must have [default: the host of --to]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Trust the roots in this file, PEM. May be given more than once
    #[arg(long, value_name = "FILE", group = "trust")]
    ca: Vec<PathBuf>,
    /// Trust the certificate with this SHA-256 fingerprint, whatever its name. May be given more than once
    #[arg(long, value_name = "HEX", group = "trust")]
    pin: Vec<String>,
    /// The certificate to show, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of that, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A protocol to agree on (ALPN), such as h2. May be given more than once, the best first
    #[arg(long, value_name = "NAME")]
    alpn: Vec<String>,
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
    let mut builder = Client::builder().alpn(&arguments.alpn);
    for file in &arguments.ca {
        builder = builder.roots(file);
    }
    for pin in &arguments.pin {
        builder = builder.pin(pin);
    }
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        builder = builder.certificate(cert, key);
    }
    let tls = builder.build()?;
    let name = arguments.name.as_deref().unwrap_or(host(&arguments.to));

    let connect = Connect::from(Address::resolve(&arguments.to)?);
    let connect = connect.timeout(arguments.connect_timeout).layer(tls.connect(name)?);
    stdio::converse(connect)
}

/// The host of HOST:PORT, without the brackets of an IPv6 address. A path has none.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or("", |(host, _port)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
