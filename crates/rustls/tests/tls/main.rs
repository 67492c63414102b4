//! What the crate promises, each held by a test whose name is a sentence.
//!
//! `layer` talks to a layer without a network: each byte where a test wants it. `peers` has a reactor over
//! loopback, and rustls' own blocking client; `foreign` has clients that nobody here wrote, and `examples`
//! runs the examples. Nothing asserts that something was fast; deadlines only bound a failure.
#![allow(
    clippy::disallowed_methods,
    reason = "tests bound their waits by the clock; only the library leaves it to one place"
)]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::print_stdout, reason = "skipped tests say so")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]

mod examples;
mod files;
mod foreign;
mod layer;
mod peers;
mod served;
mod support;
