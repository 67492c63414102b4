//! The PROXY protocol, versions 1 and 2, for [`wouldblock`]: the client's address behind HAProxy,
//! nginx or a load balancer.
//!
//! A proxy connects to a server in the place of its clients, so the server sees the proxy's address in all
//! connections. With the [PROXY protocol](https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt) the
//! proxy sends a header first, that names the client. A [`Layer`](wouldblock::Layer) takes it off:
//!
//! ```no_run
//! use wouldblock::{Listen, Reactor, handler_fn};
//! use wouldblock_proxy_protocol::Accept;
//!
//! fn main() -> std::io::Result<()> {
//!     let proxies = Accept::trusting(["10.0.0.0/8", "fd00::/8"])?;
//!     let mut reactor = Reactor::new(handler_fn(|conn, input| {
//!         println!("{}", conn.peer_addr()?); // the client's, not the proxy's
//!         conn.send(input.take_all());
//!         Ok(())
//!     }))?;
//!     reactor.listen(Listen::from("0.0.0.0:6666").layer(proxies.layer()))?;
//!     reactor.run()
//! }
//! ```
//!
//! `on_open` comes when the header is there. From then on
//! [`Conn::peer_addr`](wouldblock::Conn::peer_addr) is the client's address,
//! [`Config::connections_per_address`](wouldblock::Config::connections_per_address) counts that
//! one, and [`Conn::layer`](wouldblock::Conn::layer) lends the [`Proxied`] of the connection, which
//! knows the rest that the header told. Behind the header the layer is
//! [over](wouldblock::Layer::is_over): what follows costs what it does without one.
//!
//! # Whose word is taken
//!
//! Anyone can write a header, with any address in it. So it is taken from the networks of an
//! [`Accept`] alone, and those must send one: the protocol forbids guessing. All other peers are
//! refused, or served as clients without a header, [if you say so](Accept::serve_others); what they
//! send is never read as a header.
//!
//! A header has to be whole within [`Config::handshake`](wouldblock::Config::handshake) and [4
//! KiB](Accept::header_max). What is none is refused at its first wrong byte, with a line of log
//! that shows how it began, and counted in
//! [`Stats::handshakes_failed`](wouldblock::Stats::handshakes_failed).
//!
//! # Below TLS
//!
//! The header stands before the TLS of the client, so its layer is the first of two:
//! `Listen::from(addr).layer(proxies.layer()).layer(tls.layer())`, with `tls` of `wouldblock-rustls`.
//!
//! # Connecting out
//!
//! A [`Header`] is sent on a connection that is made in the place of a client:
//!
//! ```
//! use std::io;
//! use wouldblock::{Address, Conn, Connect};
//! use wouldblock_proxy_protocol::Header;
//!
//! fn connect_for(client: &mut Conn<'_>, server: &Address) -> io::Result<()> {
//!     let header = Header::v2(client.peer_addr()?, client.local_addr()?);
//!     let tag = client.id().to_u64();
//!     client.cx().connect(Connect::from(server).layer(header.layer()?), tag)?;
//!     Ok(())
//! }
//! ```
//!
//! None of the types of `proxy-header`, which parses the headers, is in this interface.

pub use crate::accept::{Accept, Proxied, ProxiedTls};
pub use crate::header::{Header, SendHeader};

mod accept;
mod header;
mod network;
mod parse;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One line of text: source and destination.
    V1,
    /// Binary: source and destination, and fields beside them.
    V2,
}

/// The guide's page on proxies, whose programs are run here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/in_front.md")]
mod guide {}
