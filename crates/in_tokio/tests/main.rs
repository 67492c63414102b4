//! Tests beside other people's runtimes, with the support of `tests/promises`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests bound their waits by the clock; only the library leaves it to one place"
)]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::print_stdout, reason = "children report on stdout, skipped tests say so")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]
// mio's poll(2) backend has no descriptor to lend to another loop.
#![cfg(not(mio_unsupported_force_poll_poll))]

mod in_tokio;
#[allow(dead_code, reason = "it is the promises', and most of it is for them")]
#[path = "../../../tests/promises/support.rs"]
mod support;
