//! What is to happen later: deadlines that are stamps, timers of the application, and the heap below them.
//!
//! Nobody here reads the clock: that is the driver's.

pub(crate) mod deadlines;
pub(crate) mod heap;
pub(crate) mod timers;
