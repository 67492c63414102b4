//! What the crate promises, each held by a test whose name is a sentence. Most run in the simulator: however the
//! bytes of a client are cut.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

mod real;
mod simulated;
