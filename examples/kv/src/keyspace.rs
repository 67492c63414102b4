//! The keys of one shard: look-up, expiry, memory.

/// The keys of one shard.
#[derive(Debug, Default)]
pub struct Keyspace {}
