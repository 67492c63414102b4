//! A key-value server that speaks RESP, sharded by key over the reactors of a [`wouldblock::Server`].
//!
//! | file | its one job |
//! |---|---|
//! | `command.rs` | what a command is, and the table of all |
//! | `reply.rs` | answers in RESP2 and RESP3 |
//! | `keyspace.rs` | the keys of one shard: the doors to their values; expiry, memory, watched keys |
//! | `snapshot.rs` | all keys in one file: its format, saving, loading |
//! | `value.rs` | the kinds of values |
//! | `glob.rs` | patterns of names |
//! | `number.rs`, `random.rs` | numbers as Redis has them; random ones |
//! | `commands/` | what each command does, by the kind of value |

// A library only so that its tests and its binary share it; its items need no attributes for strangers.
#![allow(clippy::must_use_candidate, clippy::missing_errors_doc)]
// Scores are compared as they are: equal is equal.
#![allow(clippy::float_cmp)]
// Functions that stand in one table have one type. Facts of a client, and options, are independent of each other.
#![allow(clippy::unnecessary_wraps, clippy::struct_excessive_bools)]
#![allow(clippy::needless_for_each, clippy::similar_names)]

pub mod answers;
pub mod batch;
pub mod client;
pub mod cluster;
pub mod command;
pub mod commands;
pub mod facts;
pub mod gather;
pub mod glob;
pub mod info;
pub mod keyspace;
pub mod number;
pub mod parcel;
pub mod persistence;
pub mod pubsub;
pub mod random;
pub mod reply;
pub mod resp;
pub mod server;
pub mod shard;
pub mod slots;
pub mod snapshot;
pub mod table;
pub mod tally;
pub mod transaction;
pub mod turn;
pub mod value;
