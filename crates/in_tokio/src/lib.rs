//! Nothing but tests: in `tests/`, and the examples of the guide's page on other loops, which need tokio.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/other_loops.md")]
mod other_loops {}
