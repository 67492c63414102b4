//! HTTP/1.1 servers for [`wouldblock`], without async.
//!
//! A program has `&mut self` and is called with each request; it answers now, later, or from a
//! thread, and answers go out in the order of the requests. Connections, limits, backpressure and
//! shutdown are those of the reactor.
//!
//! ```no_run
//! use wouldblock::{Config, Reactor};
//! use wouldblock_http::{Http, Response, answer};
//!
//! fn main() -> std::io::Result<()> {
//!     let hello = answer(|_request| Response::text("hello\n"));
//!     let mut reactor = Reactor::with_config(Http::new(hello), Config::public())?;
//!     reactor.listen("127.0.0.1:8080")?;
//!     reactor.run()
//! }
//! ```
//!
//! The files of a directory are served by [`Files`], feeds of server-sent events by [`Events`]. A
//! body may come in [pieces](Requests::on_head), and an answer go out [bit by
//! bit](Responder::stream), or from a [reader](Response::body_chunked). A page that shows the
//! server, any server, is [`Status`]; of several reactors, by a [`Board`].
//!
//! # Promises
//!
//! 1. **Each request is answered once, in order.** However the bytes are cut, and in whatever order
//!    the answers are given.
//! 2. **One reading.** What two readers could take for two different requests is refused (RFC 9112,
//!    section 11.2): both lengths, two of either, a line break that is not CR LF, folded lines,
//!    spaces where none may be, chunks that are none.
//! 3. **Bounded.** A request lies in the connection's input until it is whole, or its head if its
//!    body comes in pieces: that is bounded and counted by the reactor. At most 64 requests of a
//!    client wait for their answers, then it is not read from; and it is not while it does not take
//!    them.
//! 4. **Half an answer never looks whole.** A body that breaks off ends in a reset, and so does a
//!    stream that is not ended.
//!
//! # Limits
//!
//! | what | at the bound |
//! |---|---|
//! | head of a request, 8 KiB | 431; 414 if it is its first line |
//! | 100 headers | 431 |
//! | 8 empty lines before a request | 400 |
//! | first line of a chunk, 256 bytes; trailers, 8 KiB | 400 |
//! | body, 32 KiB; in pieces: as the program says | 413 |
//! | no request in time ([`first_byte`](wouldblock::Config::first_byte), [`idle`](wouldblock::Config::idle)) | the connection ends |
//! | a request that comes too slowly ([`min_rate`](wouldblock::Config::min_rate); its body in pieces: [`upload_rate`](Http::upload_rate)) | 408 |
//! | not answered for [`idle`](wouldblock::Config::idle) | 503; at the end of a [shutdown](wouldblock::Config::shutdown_max) a reset |
//! | the last answer of a connection, as any: none of it taken for [`write_stall`](wouldblock::Config::write_stall), or less than `min_rate` | a reset |
//! | the client's end behind the last answer: silent for 5 s, or sending on for 10 min | the connection ends |
//! | `CONNECT`, a `Transfer-Encoding` other than `chunked` | 501 |
//!
//! Not here: HTTP/2; trailers, which are read over; compression (but of
//! [files](Files::precompressed) that are compressed already); a client.

#![forbid(unsafe_code)]

mod answers;
mod body;
mod escape;
mod events;
mod files;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod head;
mod requests;
mod response;
mod server;
mod status;

/// The crate of the methods, statuses and headers.
pub use http;

pub use crate::answers::{Cx, Responder, Stream};
pub use crate::events::{Event, Events, Slow};
pub use crate::files::{Files, Links};
pub use crate::requests::{Answer, Body, Piece, Request, Requests, answer};
pub use crate::response::Response;
pub use crate::server::Http;
pub use crate::status::{Board, Status};

/// What a fuzzer calls with any bytes (`fuzz/` at the root of the repository).
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    fuzz::any(bytes);
}

/// The guide's page on HTTP, whose programs are run here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/tiny_http.md")]
mod guide {}
