//! A key-value server that speaks RESP, sharded by key over the reactors of a [`wouldblock::Server`].
//!
//! | file | its one job |
//! |---|---|
//! | `shard.rs` | a reactor's handler: what clients send is read, what they are answered is sent |
//! | `resp.rs`, `reply.rs` | commands as they are received; answers in RESP2 and RESP3 |
//! | `turn.rs` | how a command is run: here, in another shard, in several, or later |
//! | `client.rs`, `answers.rs` | what a shard keeps of a client; its answers, in order |
//! | `parcel.rs`, `gather.rs`, `batch.rs` | how shards ask each other; how parts of an answer become one; commands that are kept |
//! | `slots.rs`, `cluster.rs` | where a key belongs: to which reactor, to which process |
//! | `transaction.rs`, `pubsub.rs` | `MULTI`, `EXEC`, `WATCH`; who listens to what |
//! | `table.rs`, `server.rs`, `server/` | commands by name; those about clients and the server as a whole |
//! | `info.rs`, `tally.rs`, `facts.rs` | `INFO`; what is counted; what all shards know alike |
//! | `command.rs`, `commands/` | what a command on keys is; what each does, by the kind of value |
//! | `keyspace.rs` | the keys of one shard: the doors to their values; expiry, memory, watched keys |
//! | `value.rs` | the kinds of values |
//! | `snapshot.rs`, `persistence.rs` | all keys in one file: its format; when it is written and read |
//! | `glob.rs`, `number.rs`, `random.rs` | patterns of names; numbers as Redis has them; random ones |

// A library only so that its tests and its binary share it; its items need no attributes for strangers.
#![allow(clippy::must_use_candidate, clippy::missing_errors_doc)]
// Scores are compared as they are: equal is equal.
#![allow(clippy::float_cmp)]
// Functions that stand in one table have one type. Facts of a client, and options, are independent
// of each other.
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
