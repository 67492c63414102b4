//! What tests the library from inside: schedules drawn from a seed, the oracle that watches them, and the
//! properties that fuzzers try.
//!
//! They look where no user can: at a connection's flags, at queues, at the simulated kernel's books. So
//! that nothing has to be public for them, the library's sources are built in here once more, under the
//! paths that they have there (`crate::core::Entry`). A module that the library gains is added to the
//! two lists. Nothing of this is published.
//!
//! Read next: `schedule.rs`, then `oracle.rs`; `src/bin/simulate.rs` runs them.

#![forbid(unsafe_code)]

/// What is wrong with them is said where they are the library.
#[allow(warnings)]
#[path = "../../../src"]
mod library {
    pub(super) mod base;
    pub(super) mod conn;
    pub(super) mod context;
    pub(super) mod core;
    pub(super) mod frame;
    pub(super) mod framed;
    pub(super) mod handle;
    pub(super) mod handler;
    pub(super) mod kernel;
    pub(super) mod net;
    pub(super) mod reactor;
    pub(super) mod server;
    pub(super) mod services;
    pub(super) mod sim;
    pub(super) mod time;
}

use library::{
    base, conn, context, core, frame, framed, handle, handler, kernel, net, reactor, server,
    services, sim, time,
};

mod client;
mod datagrams;
pub mod fuzz;
mod handlers;
pub mod late;
mod layering;
mod oracle;
pub mod schedule;
/// That of the tests, to which the library is `wouldblock`.
#[path = "../../../tests/promises/support/toy.rs"]
mod toy;

pub use crate::sim::Failure;

extern crate self as wouldblock;
use crate::base::layer::{Layer, Received};

impl kernel::Rng {
    /// Another stream of numbers: how many are drawn of it changes nothing in this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }
}
