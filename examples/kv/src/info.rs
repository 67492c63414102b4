//! `INFO`: what the shards count, added up.

use crate::reply::Reply;

/// Sections that were asked for, and what is known of them without the shards.
#[derive(Debug)]
pub struct Request {}

impl Request {
    /// Writes the answer, of what each shard has counted.
    pub fn write<'a>(&self, _parts: impl Iterator<Item = &'a [u8]>, _reply: &mut Reply) {}
}
