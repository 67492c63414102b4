//! Several processes, each with some of the slots: Redis Cluster's protocol for clients, without
//! any between the processes.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::command::{Fault, Keys, Outcome};
use crate::gather::Combine;
use crate::number;
use crate::reply::Reply;
use crate::shard::Shard;
use crate::slots;
use crate::table::ServerCommand;
use crate::turn::Turn;

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
    /// Reads what the command line says: `0-5460=HOST:PORT,5461-10922=HOST:PORT,...`, and which of
    /// them is this process. An address may be named with several ranges.
    ///
    /// # Errors
    ///
    /// If a part of it is none, a slot has two processes, or this process is not among them.
    pub fn parse(text: &str, own: &str) -> Result<Self, String> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut taken = vec![false; slots::SLOTS.into()];
        for part in text.split(',') {
            let wrong = || format!("expected SLOTS=HOST:PORT, not {part:?}");
            let (range, address) = part.split_once('=').ok_or_else(wrong)?;
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u16, u16) = first
                .parse()
                .ok()
                .zip(last.parse().ok())
                .filter(|(first, last)| first <= last)
                .ok_or_else(wrong)?;
            for slot in first..=last {
                match taken.get_mut(usize::from(slot)) {
                    Some(taken) if !*taken => *taken = true,
                    Some(_) => return Err(format!("slot {slot} has two processes")),
                    None => {
                        return Err(format!(
                            "there is no slot {slot}: the last is {}",
                            slots::SLOTS - 1
                        ));
                    }
                }
            }
            let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
            let port = port.parse().ok().filter(|_| !host.is_empty()).ok_or_else(wrong)?;
            match nodes.iter_mut().find(|node| node.host == host && node.port == port) {
                Some(node) => node.slots.push(first..=last),
                None => nodes.push(Node { slots: vec![first..=last], host: host.into(), port }),
            }
        }
        let place = nodes.iter().position(|node| node.to_string() == own);
        let own = place.ok_or_else(|| format!("{own} is none of the processes"))?;
        Ok(Cluster { nodes, own })
    }

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

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "asking", arity: 1, in_transaction: true, run: ok },
    ServerCommand { name: "cluster", arity: -2, in_transaction: true, run: cluster },
    ServerCommand { name: "readonly", arity: 1, in_transaction: true, run: ok },
    ServerCommand { name: "readwrite", arity: 1, in_transaction: true, run: ok },
];

/// There are no replicas, and no slot is on its way: nothing to remember.
fn ok(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.shard.facts.cluster.as_ref().ok_or_else(disabled)?;
    turn.reply().simple("OK");
    Ok(())
}

fn disabled() -> Fault {
    Fault::other("ERR This instance has cluster support disabled")
}

fn cluster(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let facts = Arc::clone(&turn.shard.facts);
    let cluster = facts.cluster.as_ref().ok_or_else(disabled)?;
    let reply = turn.reply();
    match (&words[1].to_ascii_lowercase()[..], &words[2..]) {
        (b"keyslot", [key]) => reply.integer(slots::slot(key).into()),
        (b"myid", []) => reply.bulk(cluster.nodes[cluster.own].id().as_bytes()),
        (b"info", []) => reply.text(&cluster.info()),
        (b"nodes", []) => reply.text(&cluster.list()),
        (b"slots", []) => cluster.write_slots(reply),
        (b"shards", []) => cluster.write_shards(reply),
        (b"countkeysinslot", [slot]) => {
            let slot = number::parse(slot).filter(|slot| (0..slots::SLOTS.into()).contains(slot));
            slot.ok_or_else(|| Fault::other("ERR Invalid slot"))?;
            turn.ask_all(words, Combine::Sum);
        }
        _ => {
            let shown = String::from_utf8_lossy(words[1]).into_owned();
            let text = format!(
                "ERR unknown subcommand or wrong number of arguments for '{shown}'. Try CLUSTER HELP."
            );
            return Err(Fault::other(text));
        }
    }
    Ok(())
}

/// A shard's part: of `CLUSTER COUNTKEYSINSLOT`, a walk over all keys.
pub fn part(shard: &mut Shard, words: &[&[u8]], reply: &mut Reply) {
    let slot = number::parse(words[2]).and_then(|slot| u16::try_from(slot).ok());
    let mut count = 0;
    shard.keys.scan(0, usize::MAX, |key, _| count += i64::from(Some(slots::slot(key)) == slot));
    reply.integer(count);
}

impl Node {
    /// 40 hexadecimal digits, the same at each start and in each process: made of the address.
    #[must_use]
    pub fn id(&self) -> String {
        // FNV-1a, a few times over: no secret, only a name.
        let hash = |seed: u64| {
            let bytes = self.to_string();
            let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bytes
                .bytes()
                .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let id = format!("{:016x}{:016x}{:016x}", hash(1), hash(2), hash(3));
        id[..40].to_string()
    }
}

impl Cluster {
    fn info(&self) -> String {
        let slots: usize =
            self.nodes.iter().flat_map(|node| &node.slots).map(ExactSizeIterator::len).sum();
        let state = if slots == usize::from(slots::SLOTS) { "ok" } else { "fail" };
        let (nodes, epoch) = (self.nodes.len(), 1);
        format!(
            "cluster_state:{state}\r\ncluster_slots_assigned:{slots}\r\ncluster_slots_ok:{slots}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{nodes}\r\ncluster_size:{nodes}\r\n\
             cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n"
        )
    }

    fn list(&self) -> String {
        let mut text = String::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let flags = if place == self.own { "myself,master" } else { "master" };
            let ranges =
                node.slots.iter().map(|range| format!("{}-{}", range.start(), range.end()));
            let ranges: Vec<_> = ranges.collect();
            let (id, epoch, ranges) = (node.id(), place + 1, ranges.join(" "));
            // There is no port between the processes: 0.
            let _ = writeln!(text, "{id} {node}@0 {flags} - 0 0 {epoch} connected {ranges}");
        }
        text
    }

    fn write_slots(&self, reply: &mut Reply) {
        reply.array(self.nodes.iter().map(|node| node.slots.len()).sum());
        for node in &self.nodes {
            for range in &node.slots {
                reply.array(3);
                reply.integer((*range.start()).into());
                reply.integer((*range.end()).into());
                reply.array(4);
                reply.bulk(node.host.as_bytes());
                reply.integer(node.port.into());
                reply.bulk(node.id().as_bytes());
                reply.array(0);
            }
        }
    }

    fn write_shards(&self, reply: &mut Reply) {
        reply.array(self.nodes.len());
        for node in &self.nodes {
            reply.map(2);
            reply.bulk(b"slots");
            reply.array(2 * node.slots.len());
            for range in &node.slots {
                reply.integer((*range.start()).into());
                reply.integer((*range.end()).into());
            }
            reply.bulk(b"nodes");
            reply.array(1);
            reply.map(7);
            let id = node.id();
            for (name, text) in [("id", &*id), ("ip", &node.host), ("endpoint", &node.host)] {
                reply.bulk(name.as_bytes());
                reply.bulk(text.as_bytes());
            }
            reply.bulk(b"port");
            reply.integer(node.port.into());
            reply.bulk(b"role");
            reply.bulk(b"master");
            reply.bulk(b"replication-offset");
            reply.integer(0);
            reply.bulk(b"health");
            reply.bulk(b"online");
        }
    }
}
