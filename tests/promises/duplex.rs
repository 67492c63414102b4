//! Full duplex.
