//! The server as a process, and clients that ask it over TCP: what is not to be seen in one shard alone.
//!
//! The commands on values have their tests beside them (`src/commands/tests`).

mod channels;
mod clients;
mod cluster;
mod foreign;
mod hostile;
mod memory;
mod reactors;
mod snapshots;
mod support;
mod transactions;
