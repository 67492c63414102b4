//! Who listens to what: the channels and patterns that clients of one shard have subscribed to, and
//! how a message reaches them.
//!
//! A message is asked of all shards (`PUBLISH`), and each delivers it to its own clients, here. The
//! bytes of it are made once for each version of the protocol and shared by all. Read next:
//! `server/channels.rs`, the commands.

use std::collections::HashMap;

use bytes::Bytes;
use indexmap::IndexSet;
use wouldblock::Context;

use crate::glob;
use crate::reply::{Protocol, Reply};
use crate::shard::Shard;

/// The subscriptions of one shard: names, and the places of the clients that listen to each.
#[derive(Debug, Default)]
pub struct PubSub {
    /// Channels.
    pub channels: HashMap<Bytes, IndexSet<usize>>,
    /// Patterns of channels.
    pub patterns: HashMap<Bytes, IndexSet<usize>>,
}

impl PubSub {
    /// A client listens to a channel, or to a pattern of them.
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

impl Shard {
    /// Delivers a message to the clients of this shard. Returns how many have it, each pattern counted.
    pub fn publish(&self, cx: &mut Context, channel: &[u8], message: &[u8]) -> usize {
        let mut delivered = 0;
        if let Some(places) = self.pubsub.channels.get(channel) {
            delivered += places.len();
            self.send_to(cx, places, &[b"message", channel, message]);
        }
        for (pattern, places) in &self.pubsub.patterns {
            if glob::matches(pattern, channel) {
                delivered += places.len();
                self.send_to(cx, places, &[b"pmessage", pattern, channel, message]);
            }
        }
        delivered
    }

    fn send_to(&self, cx: &mut Context, places: &IndexSet<usize>, words: &[&[u8]]) {
        let mut made: [Option<Bytes>; 2] = [None, None];
        for place in places {
            let client = &self.clients[*place];
            let Some(mut conn) = cx.conn(client.id) else { continue };
            let bytes =
                made[usize::from(client.protocol == Protocol::Resp3)].get_or_insert_with(|| {
                    let mut reply = Reply::new(client.protocol);
                    reply.push(words.len());
                    words.iter().copied().for_each(|word| reply.bulk(word));
                    reply.bytes.into()
                });
            conn.send_shared(bytes.clone());
        }
    }
}
