//! A key-value server that speaks RESP, sharded by key over the reactors of a [`wouldblock::Server`].
//!
//! | file | its one job |
//! |---|---|
//! | `command.rs` | what a command is, and the table of all |
//! | `reply.rs` | answers in RESP2 and RESP3 |
//! | `keyspace.rs` | the keys of one shard: look-up, expiry |
//! | `commands/` | what each command does, by the kind of value |

pub mod command;
pub mod commands;
pub mod keyspace;
pub mod reply;
