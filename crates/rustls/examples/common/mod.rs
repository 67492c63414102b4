//! What the examples with TLS share: the manners of all examples, and where the certificate comes from.

#![allow(dead_code, unused_imports, reason = "no example needs all of it")]

use std::io;
use std::path::PathBuf;
use std::thread;

use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use wouldblock_rustls::{Server, ServerBuilder, fingerprint};

#[path = "../../../../examples/common/mod.rs"]
mod manners;
pub(crate) use manners::*;

/// The end of every `--help` of a server.
pub(crate) const TLS_MANNERS: &str = "\
Prints one line `listening on ADDR` for each address when it is ready, and before that one line
`certificate sha256 FINGERPRINT` if it has made a certificate itself. Logs go to stderr, from level info
on; the environment variable RUST_LOG says otherwise (RUST_LOG=debug). SIGHUP reads certificate, key and
roots anew, for new connections. SIGINT or SIGTERM ends it once all is answered, a second one at once.";

/// What a server shows, and what it wants to see.
#[derive(clap::Args)]
pub(crate) struct Identity {
    /// The chain of the server's certificate, PEM, its own first [default: one made and signed by itself,
    /// for localhost]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve only clients with a certificate that a root in this file has signed, PEM
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

impl Identity {
    /// The server that the arguments ask for.
    pub(crate) fn server(&self, alpn: &[String]) -> io::Result<Server> {
        let builder = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Server::builder().certificate(cert, key),
            _ => self_signed()?,
        };
        let builder = match &self.client_ca {
            Some(roots) => builder.client_roots(roots),
            None => builder,
        };
        builder.alpn(alpn).build()
    }
}

/// A certificate for a first try: a client trusts it only by its fingerprint.
fn self_signed() -> io::Result<ServerBuilder> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    say(format_args!("certificate sha256 {}", fingerprint(made.cert.der())));
    Ok(Server::builder().certificate_pem(made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Reads the files anew on each SIGHUP. If they are no good it goes on with what it has, and says so.
pub(crate) fn reload_on_hangup(server: Server) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    thread::Builder::new().name("reload".into()).spawn(move || {
        for _ in signals.forever() {
            match server.reload() {
                Ok(()) => log::info!("certificates are read anew"),
                Err(error) => log::error!("certificates stay as they were: {error}"),
            }
        }
    })?;
    Ok(())
}
