//! WebSocket for [`wouldblock`], without async: RFC 6455 over TCP, Unix sockets and TLS.
//!
//! One thread, one poll, and a handler with `&mut self`, which is called with messages. What a
//! connection owes its peer, and what the peer may have it hold, is bounded as everything in that
//! library is.
//!
//! # A server
//!
//! ```no_run
//! use std::io;
//! use wouldblock::Reactor;
//! use wouldblock_websocket::{Endpoint, Head, Message, WebSocket, Ws};
//!
//! struct Echo;
//!
//! impl Endpoint for Echo {
//!     type Session = (); // one per WebSocket: made at open, handed over at close
//!
//!     fn on_open(&mut self, _ws: &mut Ws<'_>, _request: &Head<'_>) -> io::Result<()> {
//!         Ok(())
//!     }
//!
//!     fn on_message(&mut self, ws: &mut Ws<'_>, _: &mut (), message: Message<'_>) -> io::Result<()> {
//!         ws.send(message);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new(WebSocket::new(Echo))?;
//!     reactor.listen("127.0.0.1:9001")?;
//!     reactor.run()
//! }
//! ```
//!
//! Over TLS it is the same with another listener: `Listen::from(..).layer(tls.layer())`, by
//! `wouldblock-rustls`; a client has the layer in its [`Connect`](wouldblock::Connect), see
//! [`Client::server_name`].
//!
//! # A client
//!
//! [`Context::connect`](wouldblock::Context::connect) makes the connection, and
//! [`on_connection`](Endpoint::on_connection) says that it is to be a WebSocket, with what is asked
//! for: a [`Client`]. All the rest is the same. A server that does not answer as one of WebSocket
//! does is a connect that has failed. One endpoint may have both kinds: [`Ws::is_client`] tells.
//!
//! # What comes
//!
//! A message is handed out whole, however it came: in pieces, in fragments, with pings between
//! them. Text is checked to be UTF-8 while it comes, and what is none is refused at once. Pings are
//! answered by themselves. Messages that are too long to be held are had [in
//! chunks](WebSocket::streamed).
//!
//! # What is sent
//!
//! [`Ws::send`] takes text or bytes and cannot fail. A peer that does not read what it is sent is
//! handed no more messages until it does ([`output_high`](wouldblock::Config::output_high)): an
//! endpoint that answers each message, with whatever it has, is bounded by itself. What one client
//! has *others* be sent waits for each of them, up to
//! [`output_max`](wouldblock::Config::output_max): above that the connection ends. A chat or a feed
//! sets that to what a member may be behind, or leaves out those that are behind
//! ([`Topics::publish_if`]).
//!
//! One message to many is encoded once, and kept once: [`Prepared`]. Which connections those are is
//! kept by [`Topics`].
//!
//! # Compression
//!
//! Where [`WebSocket::deflate`] says so, and the peer wants it, messages are compressed
//! (permessage-deflate, RFC 7692). Each by itself, with a compressor that all connections share; or
//! with contexts, for [so many](Deflate::contexts_max) connections. What comes is bounded by
//! `message_max` while it is inflated.
//!
//! # How it ends
//!
//! [`Ws::close`] sends a close frame and waits for the peer's. Each WebSocket ends in one
//! [`on_close`](Endpoint::on_close), with the peer's code and reason, or with what ended the
//! connection. A peer that is silent is sent a ping, and dropped if it stays silent
//! ([`WebSocket::ping`]). A shutdown of the reactor sends each peer the code 1001.
//!
//! # The request
//!
//! The handshake is strict: what is not in order is answered with its status and a line that says
//! what is wrong. Browsers may connect from pages of the same origin only, unless
//! [`WebSocket::origins`] says otherwise. [`on_upgrade`](Endpoint::on_upgrade) sees the request
//! before it is answered, and may refuse it; [`on_request`](Endpoint::on_request) answers requests
//! that ask for no WebSocket, such as that for the page itself. Connections that speak neither are
//! served beside: [`Protocol::Plain`].
//!
//! # Limits
//!
//! Those of [`Config`](wouldblock::Config) hold for all of it. In addition, as setters of [`WebSocket`]:
//!
//! | limit | default | what happens there |
//! |---|---|---|
//! | `message_max` | 1 MiB | a longer message: closed, 1009 |
//! | `messages_max` | 256 MiB | allocated for messages of all connections that are not whole: the one that passes it is closed, 1013 |
//! | `head_max` | 16 KiB, 64 headers | a longer request: `431` |
//! | `handshake` | 10 s | a request that takes longer: `408` |
//! | `ping`, `pong` | 30 s, 20 s | silent for so long: sent a ping; still silent: aborted, 1006 |
//! | `close_wait` | 5 s | our close frame is not answered: aborted, 1006; after 60 times that, where the peer is slow to take what was sent before |
//!
//! The echo of a long message needs [`output_max`](wouldblock::Config::output_max) as well. What a
//! peer may make a server hold is
//! [`Config::worst_case_bytes`](wouldblock::Config::worst_case_bytes) and `messages_max`. An idle
//! WebSocket adds 64 bytes to the session, and no buffer; one with contexts of compression 420 KiB,
//! once it has sent or been sent a message.

#![forbid(unsafe_code)]
#![warn(
    clippy::dbg_macro,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::unwrap_used
)]

pub use crate::client::Client;
pub use crate::close::{Closed, code};
pub use crate::deflate::Deflate;
pub use crate::endpoint::{Endpoint, Protocol};
pub use crate::handshake::{Origins, Upgrade};
pub use crate::http::{Head, Response};
pub use crate::message::{Chunk, Message, Prepared};
pub use crate::topics::{Subscriber, Topics};
pub use crate::websocket::{WebSocket, WsSession};
pub use crate::ws::Ws;

mod client;
mod close;
mod codec;
mod deflate;
mod endpoint;
mod handshake;
mod http;
mod mask;
mod message;
mod topics;
mod websocket;
mod ws;

/// What a fuzzer calls with any bytes (`fuzz/` at the root of the repository).
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    codec::tests::any(bytes);
}

/// The README's code is tested with everything else.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's page on WebSocket, whose programs are run here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/websocket.md")]
mod guide {}
