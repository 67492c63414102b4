//! Several processes, each with some of the slots: Redis Cluster's protocol for clients, without any between the processes.

use std::fmt;
use std::ops::RangeInclusive;

use crate::command::{Fault, Keys};
use crate::slots;

/// Which process has which slots, as the command line says.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// All processes.
    pub nodes: Vec<Node>,
    /// The place of this one among them.
    pub own: usize,
}

/// One process.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its slots.
    pub slots: Vec<RangeInclusive<u16>>,
    /// Where clients reach it.
    pub host: String,
    /// Where clients reach it.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Cluster {
    /// Refuses a command whose keys are in several slots, or in slots of another process.
    ///
    /// # Errors
    ///
    /// `CROSSSLOT`, `MOVED`.
    pub fn check(&self, keys: Keys, words: &[&[u8]]) -> Result<(), Fault> {
        let mut slot = None;
        for place in slots::places(keys, words)? {
            let new = slots::slot(words[place]);
            if slot.is_some_and(|slot| slot != new) {
                return Err(Fault::other("CROSSSLOT Keys in request don't hash to the same slot"));
            }
            slot = Some(new);
        }
        let Some(slot) = slot else { return Ok(()) };
        let owner =
            self.nodes.iter().position(|node| node.slots.iter().any(|range| range.contains(&slot)));
        match owner {
            Some(owner) if owner == self.own => Ok(()),
            Some(owner) => Err(Fault::other(format!("MOVED {slot} {}", self.nodes[owner]))),
            None => Err(Fault::other("CLUSTERDOWN Hash slot not served")),
        }
    }
}
