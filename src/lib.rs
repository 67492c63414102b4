//! A non-blocking poll-loop server library: one thread, thousands of clients, a handler with
//! `&mut self`.
#![forbid(unsafe_code)]
#![warn(
    clippy::dbg_macro,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::unwrap_used
)]

#[cfg(not(unix))]
compile_error!("wouldblock needs a Unix: Linux, macOS or a BSD");

mod accept;
mod address;
mod attempt;
mod close;
mod config;
mod conn;
mod context;
mod core;
mod cork;
mod driver;
mod flags;
mod handler;
mod id;
mod input;
mod listener;
mod output;
mod reactor;
mod readiness;
mod send;
mod slots;
mod socket;
mod stats;
mod timers;

pub use crate::address::Address;
pub use crate::attempt::{Attempt, attempt};
pub use crate::close::{CloseReason, Closed};
pub use crate::config::Config;
pub use crate::context::{Conn, Context};
pub use crate::handler::{Handle, Handler, HandlerFn, handler_fn};
pub use crate::id::{ConnId, ListenerId, Origin};
pub use crate::input::Input;
pub use crate::reactor::Reactor;
pub use crate::slots::ConnMap;
pub use crate::socket::Listen;
pub use crate::stats::{ClosedCounts, Stats};
