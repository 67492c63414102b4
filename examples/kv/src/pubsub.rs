//! Who listens to what: the channels and patterns that clients of one shard have subscribed to.
//!
//! A message is asked of all shards (`PUBLISH`), and each delivers it to its own clients, here. Read next: `server/pubsub.rs`, the
//! commands.

use std::collections::HashMap;

use bytes::Bytes;
use indexmap::IndexSet;

/// The subscriptions of one shard.
#[derive(Debug, Default)]
pub struct PubSub {
    /// The places of the clients that listen to each channel.
    pub channels: HashMap<Bytes, IndexSet<usize>>,
    /// The same for patterns.
    pub patterns: HashMap<Bytes, IndexSet<usize>>,
}

impl PubSub {
    /// A client listens to a channel (or to a pattern of them).
    pub fn subscribe(&mut self, is_pattern: bool, name: Bytes, place: usize) {
        self.of(is_pattern).entry(name).or_default().insert(place);
    }

    /// A client listens no more.
    pub fn unsubscribe(&mut self, is_pattern: bool, name: &Bytes, place: usize) {
        let map = self.of(is_pattern);
        if let Some(places) = map.get_mut(name) {
            places.swap_remove(&place);
            if places.is_empty() {
                map.remove(name);
            }
        }
    }

    fn of(&mut self, is_pattern: bool) -> &mut HashMap<Bytes, IndexSet<usize>> {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}
