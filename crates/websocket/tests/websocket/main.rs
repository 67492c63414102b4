//! What the crate promises, each held by a test whose name is a sentence.
//!
//! `served` has a reactor on a thread of its own, and a client of plain bytes on a `std` socket,
//! which knows the protocol by a few lines of its own. Nothing asserts that something was fast;
//! deadlines only bound a failure.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]

mod chat;
mod chat_redis;
mod client;
mod closes;
mod deflate;
mod frames;
mod handshake;
mod hostile;
mod lines;
mod process;
mod served;
mod sharing;
mod tls;
mod topics;
