//! The promises of the design, each held by tests over loopback.
//!
//! A module is a promise, a test is a sentence, and its doc comment names the promise and the trap
//! it closes. Clients are plain blocking `std` sockets on threads: nothing here shares code with
//! what it tests. What belongs to a process (descriptors, signals, memory) runs in a child, see
//! `support::child`. Nothing asserts that something was fast; deadlines only bound a failure.
#![allow(
    clippy::disallowed_methods,
    reason = "tests bound their waits by the clock; only the library leaves it to one place"
)]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::print_stdout, reason = "children report on stdout, skipped tests say so")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]

mod accept_path;
mod again;
mod answers;
mod backpressure;
mod bounded;
mod by_name;
mod closing;
mod datagrams;
mod detach;
mod duplex;
mod errors_reach;
mod exactly_once;
mod foreign;
mod framed;
mod gone;
mod handed_in;
mod layers;
mod limits;
mod no_lost_bytes;
mod no_stall;
mod options;
#[cfg(not(mio_unsupported_force_poll_poll))]
mod other_loops;
mod outbound;
mod panics;
mod process;
mod proxy;
mod python_page;
mod regressions;
mod report;
mod server;
mod services;
mod shutdown;
mod slow_readers;
mod sources;
mod stale_clock;
mod streams;
mod support;
mod threads;
mod timers;
