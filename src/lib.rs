//! A non-blocking poll-loop server library: one thread, thousands of clients, a handler with
//! `&mut self`.
//!
//! # From a blocking server to this one
//!
//! The classic first server accepts a client, receives, answers, closes, and accepts the next. It
//! serves one client at a time: while the first sleeps for ten seconds inside `recv`, the second
//! waits. `setblocking(False)` cures the wait, and turns "nothing yet" into an error
//! ([`WouldBlock`](std::io::ErrorKind::WouldBlock)) that the program has to handle at every call, and
//! to ask again for, for ever, with naps in between.
//!
//! I/O multiplexing is the full answer: ask the kernel which sockets are ready, touch only those,
//! and take "would block" for the ordinary end of a piece of work. Everything in this crate follows
//! from one sentence:
//!
//! > **Interest is registered once. Readiness is remembered. Only WouldBlock forgets it.**
//!
//! [`attempt`] is that answer as a function, for any non-blocking call; [`Reactor`] is the loop
//! built on it.
//!
//! # A first server
//!
//! ```no_run
//! use std::io;
//! use wouldblock::{Conn, Handler, Input, Origin, Reactor};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Session = (); // one per connection: made at open, handed over at close
//!
//!     fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
//!         Ok(())
//!     }
//!
//!     fn on_data(
//!         &mut self,
//!         conn: &mut Conn<'_>,
//!         _session: &mut (),
//!         input: &mut Input<'_>,
//!     ) -> io::Result<()> {
//!         conn.send(input.take_all());
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new(Echo)?;
//!     reactor.listen("127.0.0.1:6666")?;
//!     reactor.run()
//! }
//! ```
//!
//! The handler is one value on one thread, called with `&mut self`: its fields are the server's
//! state, and there is nothing to lock. What belongs to one connection is its
//! [`Session`](Handler::Session). A server without either is a closure: [`handler_fn`].
//!
//! # Bytes in
//!
//! [`Input`] holds what came and is not consumed yet. Take what is complete and leave the rest: it
//! is offered again with what comes next. Messages do not arrive as they were sent; TCP keeps bytes
//! in order, not boundaries.
//!
//! ```
//! # use std::io;
//! # use wouldblock::{Conn, Input};
//! # fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
//! while let Some(line) = input.line() {
//!     match line {
//!         b"ping" => conn.send(b"pong\n"),
//!         b"quit" => {
//!             conn.send(b"bye\n");
//!             conn.close();
//!             return Ok(());
//!         }
//!         _ => conn.send(b"what?\n"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A handler may consume one message a call or all of them: it is called again as long as it makes
//! progress. After [`Input::take`] or [`Input::line`] answered `None`, or [`Input::wait_for`], the
//! next call comes only when there is more.
//!
//! # Messages
//!
//! A protocol of messages needs no such loop: [`framed`] puts a decoder of [`frame`] (lines, delimiters,
//! lengths) or of your own before the handler, whose callback is one message, whole, however its bytes
//! came ([`Messages::on_message`]); one that is too long, cut off or none has a callback of its own.
//!
//! # Bytes out
//!
//! [`Conn::send`] takes bytes and cannot fail. What the kernel does not take at once is queued and
//! goes out as the peer reads. A peer that does not read makes no one wait but itself:
//!
//! * at [`output_high`](Config::output_high) queued or more, the library stops reading from that peer
//!   until it is down to [`output_low`](Config::output_low), and [`Input`] hands out no more messages
//!   meanwhile: a loop over them like the one above stops by itself (a proxy switches that off with
//!   [`auto_pause(false)`](Conn::auto_pause));
//! * above [`output_max`](Config::output_max), the connection ends with a reset: an answer of 10 MiB
//!   needs a larger limit, or comes from a source;
//! * after [`write_stall`](Config::write_stall) without progress, the connection ends.
//!
//! A file, or whatever else can be read or iterated over, is sent by [`send_from`](Conn::send_from): a
//! piece at a time, in order with all other sends. To send without end what is made as it goes, send while
//! there is [`room`](Conn::room), ask for [`want_drain`](Conn::want_drain), and go on in
//! [`on_drain`](Handler::on_drain).
//!
//! A peer that sends without end before it reads a byte stops itself that way, by design: its own
//! answers are in its way.
//!
//! # Datagrams
//!
//! [`Context::bind_datagram`] binds a socket for datagrams, UDP or Unix, on the same loop ([`Bind`]
//! tells how: connected, with broadcast, in multicast groups). What comes is handed to
//! [`on_datagram`](Handler::on_datagram), each by itself; [`Context::send_to`] answers. A datagram
//! that the kernel does not take at once waits in a bounded queue; when that is full the newest is
//! dropped, and the call says so.
//!
//! # Time and threads
//!
//! A connection has a timeout ([`Conn::set_timeout`], [`on_timeout`](Handler::on_timeout)); the reactor has
//! as many as you like, once or again and again ([`Context::set_timer`],
//! [`on_timer`](Handler::on_timer)). A callback that takes long makes every client wait: give the work
//! to a thread, and let it [`post`](Handle::post) what came of it back, or
//! [`post_to`](Handle::post_to) the connection that waits for it.
//!
//! # Ends
//!
//! A peer's end ([`on_eof`](Handler::on_eof)) is not its death: it may still read, and replies
//! still go out. [`close`](Conn::close) flushes, ends our side, and waits for the peer's end, so
//! that no reset destroys a reply in flight; [`finish`](Conn::finish) ends our side and reads on;
//! [`abort`](Conn::abort) resets. Whatever happened, [`on_close`](Handler::on_close) is told once,
//! with the reason, the bytes that could not be delivered, and whether it was [`clean`](Closed).
//!
//! [`Handle::shutdown`] ends the server in order from any thread: nothing new is taken, what peers
//! had sent is answered, and [`Reactor::run`] returns.
//!
//! # Connecting out
//!
//! [`Context::connect`] makes connections of your own on the same loop: a proxy, a server that asks
//! another. Each connect ends in [`on_open`](Handler::on_open) or in
//! [`on_connect_failed`](Handler::on_connect_failed).
//!
//! Step by step, with all that may go wrong: [the guide](guide). For those who come
//! [from Python's `socket`](guide::from_python) it has a page with every call of that module.
//!
//! # Promises
//!
//! 1. **No stall.** Readiness is kept until the socket says WouldBlock or is proven exhausted;
//!    while a connection is runnable the poll does not wait.
//! 2. **No lost bytes.** A peer's FIN is not its death; what could not be delivered is counted in
//!    [`Closed`].
//! 3. **Exactly once, never nested.** Per connection `on_open`, data, at most one `on_eof`, one
//!    `on_close`, and nothing after; no callback runs inside another.
//! 4. **Bounded by construction.** Input, output, connections, posted closures and every wait have
//!    a limit in [`Config`], with a documented default.
//! 5. **Backpressure without asking.** A peer that does not read is not read from.
//! 6. **Neither dies nor spins.** Not when accept fails, not when descriptors run out, not for
//!    anything a peer does.
//! 7. **Errors reach somebody.** A `Result`, an event with a reason, or a panic that states the
//!    broken invariant.
//! 8. **No `unsafe`** in the crate.
//!
//! Each has tests that name its number. Not promised: fairness among handlers that block (a
//! callback must not), or delivery of what the kernel took and the peer never read (only the peer
//! can tell).
//!
//! # Features
//!
//! | feature | by default | what it brings |
//! |---|---|---|
//! | `sim` | off | the module `sim`: your handler, untouched, on the same reactor over a simulated kernel, network and clock, driven by a seed. No dependency more; where it is off, it costs nothing |
//!
//! The minimum Rust version is 1.88. It is raised in a minor version only.
//!
//! # Platforms
//!
//! Linux is where everything is tested, over epoll and over `poll(2)`. For macOS (both processors),
//! FreeBSD, musl and Linux on aarch64 CI asks the compiler, no more. Windows is refused when it is
//! compiled.
//!
//! # Not here
//!
//! Fork before a reactor is made, not after: the child would share its epoll set.
//! The library logs through [`log`]: closes at a limit or a deadline at `info`, a peer's ordinary
//! end at `debug`, nothing per packet. A log sink that blocks (a full pipe) blocks the loop.

#![forbid(unsafe_code)]
// docs.rs says at each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(
    clippy::dbg_macro,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::unwrap_used
)]

#[cfg(not(unix))]
compile_error!("wouldblock needs Linux, macOS or a BSD: Windows has no readiness to remember");

mod base;
mod conn;
mod context;
mod core;
pub mod frame;
mod framed;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handle;
mod handler;
#[cfg(any(test, feature = "sim"))]
mod kernel;
#[cfg(not(any(test, feature = "sim")))]
#[path = "kernel/absent.rs"]
mod kernel;
mod net;
mod reactor;
mod server;
mod services;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod time;

/// The crate of [`Bytes`](bytes::Bytes), which [`Conn::send_shared`] and [`Context::broadcast`] take.
pub use bytes;

pub use crate::base::address::Address;
pub use crate::base::attempt::{Attempt, attempt};
pub use crate::base::caps::Caps;
pub use crate::base::close::{CloseReason, Closed};
pub use crate::base::config::Config;
pub use crate::base::explain::{Explanation, Reads, Writes};
pub use crate::base::id::{ConnId, DatagramId, ListenerId, Origin};
pub use crate::base::layer::{Layer, Received, Then};
pub use crate::base::load::{Load, Longest};
pub use crate::base::post::PostError;
pub use crate::base::refused::Refused;
pub use crate::base::report::{Cut, ServiceReport, ShutdownReport, Stage};
pub use crate::base::slots::ConnMap;
pub use crate::base::source::{Chunks, Exactly, chunks, exactly};
pub use crate::base::spread::Spread;
pub use crate::base::stats::{ClosedCounts, ServiceStats, Stats};
pub use crate::conn::input::Input;
pub use crate::context::{Conn, Context, Service};
pub use crate::framed::{Framed, FramedSession, Messages, framed};
pub use crate::handle::Handle;
pub use crate::handler::{Handler, HandlerFn, handler_fn};
pub use crate::net::bind::{Bind, Interface};
pub use crate::net::connect::Connect;
pub use crate::net::datagram::Datagram;
pub use crate::net::detached::Detached;
pub use crate::net::listen::Listen;
pub use crate::net::options::Keepalive;
pub use crate::net::socket::Stream;
pub use crate::reactor::Reactor;
pub use crate::server::Server;
pub use crate::server::handle::ServerHandle;
pub use crate::services::{SessionOf2, SessionOf3, SessionOf4, SessionOf5, SessionOf6};
pub use crate::time::timers::{Timer, TimerId};

/// The README's code is tested with everything else.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
