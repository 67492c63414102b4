//! The manners of all examples.

#![allow(dead_code, unused_imports, reason = "no example needs all of it")]

#[path = "../../../../examples/common/mod.rs"]
mod manners;
pub(crate) use manners::*;
