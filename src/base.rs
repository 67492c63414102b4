//! What every other room may name: ids, addresses, limits, counters, and the few structures that know
//! nothing of sockets or connections.
//!
//! No file here makes a system call, and each stands for itself.

pub(crate) mod address;
pub(crate) mod attempt;
pub(crate) mod caps;
pub(crate) mod close;
pub(crate) mod config;
pub(crate) mod explain;
pub(crate) mod id;
pub(crate) mod layer;
pub(crate) mod load;
pub(crate) mod one_line;
pub(crate) mod packed;
pub(crate) mod post;
pub(crate) mod readiness;
pub(crate) mod refused;
pub(crate) mod report;
pub(crate) mod slots;
pub(crate) mod source;
pub(crate) mod spread;
pub(crate) mod stats;
