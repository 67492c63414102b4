//! The sockets: where and how they are made, what bytes and datagrams ride on, and what polls them.
//!
//! Everything that the operating system is asked is asked from here. mio and a platform's `cfg` are
//! named in two files: `socket.rs` and `driver.rs`.

pub(crate) mod bind;
pub(crate) mod connect;
pub(crate) mod datagram;
pub(crate) mod detached;
pub(crate) mod driver;
pub(crate) mod intake;
pub(crate) mod listen;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod path;
pub(crate) mod resolve;
pub(crate) mod socket;
