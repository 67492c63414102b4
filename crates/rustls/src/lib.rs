//! TLS for [`wouldblock`], by [rustls](https://docs.rs/rustls): servers and clients, TLS 1.2 and 1.3.
//!
//! A [`Layer`](wouldblock::Layer) between a connection's bytes and its handler. The handler is the
//! same with TLS and without, and so are all limits, timeouts and promises of the reactor.
//!
//! # A server
//!
//! ```no_run
//! use wouldblock::{Listen, Reactor, handler_fn};
//! use wouldblock_rustls::Server;
//!
//! fn main() -> std::io::Result<()> {
//!     let tls = Server::from_pem("chain.pem", "key.pem")?;
//!     let mut reactor = Reactor::new(handler_fn(|conn, input| {
//!         conn.send(input.take_all());
//!         Ok(())
//!     }))?;
//!     reactor.listen(Listen::from("127.0.0.1:6666").layer(tls.layer()))?;
//!     reactor.run()
//! }
//! ```
//!
//! `chain.pem` begins with the server's own certificate, and those between it and the root follow: certbot
//! calls it `fullchain.pem`. For a first try, one that is signed by itself:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!     -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out chain.pem
//! openssl s_client -quiet -CAfile chain.pem -servername localhost -connect 127.0.0.1:6666
//! ```
//!
//! [`Server::builder`] has the rest: several certificates, chosen by the name that the client asks
//! for; certificates of clients; ALPN; the oldest version. [`Server::reload`] reads the files anew
//! while the server runs.
//!
//! # A client
//!
//! ```no_run
//! use wouldblock::{Connect, Reactor, handler_fn};
//! use wouldblock_rustls::Client;
//!
//! # fn main() -> std::io::Result<()> {
//! let tls = Client::builder().roots("chain.pem").build()?;
//! let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
//! reactor.connect(Connect::from("127.0.0.1:6666").layer(tls.connect("localhost")?), 0)?;
//! reactor.run()
//! # }
//! ```
//!
//! Whom a client trusts has no default: [files](ClientBuilder::roots), a
//! [fingerprint](ClientBuilder::pin), the roots of the platform (feature `platform-roots`) or Mozilla's
//! (feature `webpki-roots`).
//!
//! # In a handler
//!
//! `on_open` comes when the handshake is over. From then on
//! [`Conn::layer`](wouldblock::Conn::layer) lends the [`Tls`] of the connection, which knows the
//! name that was asked for, the protocol (ALPN), the version, and the peer's certificates:
//!
//! ```no_run
//! use std::io;
//! use wouldblock::Conn;
//! use wouldblock_rustls::{Tls, fingerprint};
//!
//! // In `on_open`.
//! fn who(conn: &mut Conn<'_>) -> io::Result<String> {
//!     let tls = conn.layer::<Tls>().ok_or(io::ErrorKind::NotConnected)?;
//!     let certificate = tls.peer_certificates().next();
//!     Ok(certificate.map(fingerprint).unwrap_or("anonymous".into()))
//! }
//! ```
//!
//! A peer that ends without the end of TLS (`close_notify`) may have been cut off by a third party:
//! it is told as [`Truncated`](wouldblock::CloseReason::Truncated), not by `on_eof`. What else goes
//! wrong is an [`Error`], with a line such as `the peer's certificate expired 27 days ago`.
//!
//! # Limits
//!
//! What a peer can have a server do before it is known is bounded by
//! [`Config::handshake`](wouldblock::Config::handshake) and by 64 KiB for each message. Afterwards:
//! 64 KiB of records without data between two with some, 32 empty records or requests for new keys
//! in a row, four warnings, and one request for a renegotiation, which is refused. More ends the
//! connection, [`Cause::Flood`].
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `ring` (default) | cryptography by ring |
//! | `aws-lc-rs` | cryptography by aws-lc-rs: faster with large records, post-quantum key exchange; needs a C compiler. With both features it is this |
//! | `platform-roots` | `ClientBuilder::platform_roots` |
//! | `webpki-roots` | `ClientBuilder::webpki_roots` |
//!
//! None of rustls' types is in this interface.

pub use crate::client::{Client, ClientBuilder};
pub use crate::error::{Cause, Error};
pub use crate::server::{Server, ServerBuilder};
pub use crate::tls::Tls;

mod client;
mod error;
mod pem;
mod provider;
mod server;
mod tls;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

/// A version of TLS. Older ones are broken, and rustls has none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 of 2008 (RFC 5246), with the cipher suites that are still held to be good.
    Tls12,
    /// TLS 1.3 of 2018 (RFC 8446).
    Tls13,
}

impl Version {
    /// This one and those after it.
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Version::Tls12 => &ALL,
            Version::Tls13 => &ALL[..1],
        }
    }
}

/// The SHA-256 fingerprint of a certificate in DER, as `openssl x509 -fingerprint -sha256` prints it:
/// `8F:1B:…`, 32 bytes in all.
///
/// For [`ClientBuilder::pin`], and as a name for a client in tables and logs.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = provider::sha256(certificate);
    digest.map(|byte| format!("{byte:02X}")).join(":")
}

/// The guide's page on TLS, whose programs are run here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/tls.md")]
mod guide {}
