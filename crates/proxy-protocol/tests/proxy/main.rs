//! What the crate promises, over loopback. `peers` writes each byte where a test wants it;
//! `foreign` has curl, HAProxy and nginx; `layered` stands below TLS. Every way to cut a header is
//! in `tests/simulated.rs`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests bound their waits by the clock; only the library leaves it to one place"
)]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::print_stdout, reason = "skipped tests say so")]

mod foreign;
mod layered;
mod peers;
mod served;
