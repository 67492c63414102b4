//! `INFO`: what the shards count, added up, in the words of Redis.
//!
//! Each shard tells its numbers as lines of a name and a number. Those of one name are added: all
//! of them are sums.

use std::collections::HashMap;
use std::fmt::Write as _;

use wouldblock::Context;

use crate::reply::Reply;
use crate::server::config;
use crate::server::connection::VERSION;
use crate::shard::Shard;
use crate::table;

/// Sections that were asked for, and what is known of them without the other shards.
#[derive(Debug)]
pub struct Request {
    sections: Vec<&'static str>,
    facts: HashMap<&'static str, String>,
}

/// In the order in which they are told, and whether they are without asking for more than the default.
const SECTIONS: &[(&str, bool)] = &[
    ("server", true),
    ("clients", true),
    ("memory", true),
    ("persistence", true),
    ("stats", true),
    ("replication", true),
    ("cpu", true),
    ("commandstats", false),
    ("errorstats", true),
    ("cluster", true),
    ("keyspace", true),
];

impl Request {
    /// Of these sections; of the usual ones if none is named.
    #[must_use]
    pub fn new(names: &[&[u8]], shard: &Shard) -> Self {
        let names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let is_named = |name: &str| names.iter().any(|it| it == name.as_bytes());
        let is_all = is_named("all") || is_named("everything");
        let is_usual = names.is_empty() || is_named("default");
        let asked = SECTIONS
            .iter()
            .filter(|(name, usual)| is_all || (is_usual && *usual) || is_named(name));
        let facts = &shard.facts;
        let now = shard.keys.now();
        let uptime = (now - facts.started) / 1000;
        let known = HashMap::from([
            ("mode", if facts.cluster.is_some() { "cluster" } else { "standalone" }.to_string()),
            ("run_id", facts.run_id.clone()),
            ("port", facts.port().to_string()),
            ("uptime", uptime.to_string()),
            ("days", (uptime / 86400).to_string()),
            ("seconds", (now / 1000).to_string()),
            ("reactors", facts.reactors.to_string()),
            ("came", facts.clients().to_string()),
            ("maxmemory", shard.memory_max.to_string()),
            ("policy", config::policy_name(shard.keys.memory.policy).to_string()),
            ("persistence", facts.snapshots.describe()),
            ("cluster", u8::from(facts.cluster.is_some()).to_string()),
        ]);
        Request { sections: asked.map(|(name, _)| *name).collect(), facts: known }
    }

    /// Writes the answer, of what each shard has counted.
    pub fn write<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, reply: &mut Reply) {
        let mut sums: HashMap<String, u64> = HashMap::new();
        for part in parts {
            for line in String::from_utf8_lossy(part).lines() {
                let Some((name, number)) = line.split_once(' ') else { continue };
                *sums.entry(name.to_string()).or_default() += number.parse().unwrap_or(0);
            }
        }
        let mut text = String::new();
        for section in &self.sections {
            if !text.is_empty() {
                text += "\r\n";
            }
            let mut title = (*section).to_string();
            title[..1].make_ascii_uppercase();
            if title == "Cpu" {
                title.make_ascii_uppercase();
            }
            let _ = write!(text, "# {title}\r\n");
            self.section(section, &sums, &mut text);
        }
        reply.text(&text);
    }

    fn section(&self, section: &str, sums: &HashMap<String, u64>, text: &mut String) {
        let fact = |name: &str| self.facts[name].clone();
        let sum = |name: &str| sums.get(name).copied().unwrap_or(0);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _ = write!(text, "{name}:{value}\r\n");
        };
        match section {
            "server" => {
                line("redis_version", &VERSION);
                line("server_name", &"wouldblock-kv");
                line("redis_mode", &fact("mode"));
                line("os", &format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
                line("arch_bits", &usize::BITS);
                line("process_id", &std::process::id());
                line("run_id", &fact("run_id"));
                line("tcp_port", &fact("port"));
                line("server_time_usec", &format_args!("{}000000", fact("seconds")));
                line("uptime_in_seconds", &fact("uptime"));
                line("uptime_in_days", &fact("days"));
                line("reactors", &fact("reactors"));
            }
            "clients" => {
                line("connected_clients", &sum("clients"));
                line("maxclients", &sum("clients_max"));
                line("blocked_clients", &0);
                line("pubsub_clients", &sum("listening"));
                line("total_watched_keys", &sum("watched"));
                line("clients_output_buffered", &sum("buffered"));
            }
            "memory" => {
                line("used_memory", &sum("memory"));
                line("maxmemory", &fact("maxmemory"));
                line("maxmemory_policy", &fact("policy"));
            }
            "persistence" => {
                line("loading", &0);
                line("rdb_changes_since_last_save", &sum("unsaved"));
                text.push_str(&fact("persistence"));
            }
            "stats" => {
                line("total_connections_received", &fact("came"));
                line("total_commands_processed", &sum("commands"));
                line("total_error_replies", &sum("errors"));
                line("total_net_input_bytes", &sum("bytes_in"));
                line("total_net_output_bytes", &sum("bytes_out"));
                line("expired_keys", &sum("expired"));
                line("evicted_keys", &sum("evicted"));
                line("keyspace_hits", &sum("hits"));
                line("keyspace_misses", &sum("misses"));
                line("pubsub_subscriptions", &sum("subscriptions"));
                line("parcels_posts", &sum("posts"));
            }
            "replication" => {
                line("role", &"master");
                line("connected_slaves", &0);
                line("master_repl_offset", &0);
            }
            "cpu" => cpu(text),
            "commandstats" => {
                for entry in table::table().all() {
                    let count = |what: &str| sum(&format!("{what}.{}", entry.name));
                    let (run, rejected, failed) =
                        (count("run"), count("rejected"), count("failed"));
                    if run + rejected > 0 {
                        let name = format!("cmdstat_{}", entry.name);
                        line(
                            &name,
                            &format_args!(
                                "calls={run},rejected_calls={rejected},failed_calls={failed}"
                            ),
                        );
                    }
                }
            }
            "errorstats" => {
                let mut errors: Vec<_> =
                    sums.iter().filter(|(name, _)| name.starts_with("error.")).collect();
                errors.sort();
                for (name, number) in errors {
                    line(&name.replace("error.", "errorstat_"), &format_args!("count={number}"));
                }
            }
            "cluster" => line("cluster_enabled", &fact("cluster")),
            _ => {
                if sum("keys") > 0 {
                    line(
                        "db0",
                        &format_args!("keys={},expires={},avg_ttl=0", sum("keys"), sum("expires")),
                    );
                }
            }
        }
    }
}

/// As Linux tells it (proc(5)); elsewhere nothing.
fn cpu(text: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything but ends with the last parenthesis.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rustix::param::clock_ticks_per_second();
    for (name, ticked) in ["used_cpu_user", "used_cpu_sys"].iter().zip(fields.split(' ').skip(12)) {
        let ticked: u64 = ticked.parse().unwrap_or(0);
        let _ =
            write!(text, "{name}:{}.{:06}\r\n", ticked / ticks, ticked % ticks * 1_000_000 / ticks);
    }
}

/// The numbers of one shard.
#[must_use]
pub fn numbers(shard: &Shard, cx: &Context) -> String {
    let counts = shard.keys.counts;
    let stats = cx.stats();
    let channels = &shard.pubsub;
    let places = channels.channels.values().chain(channels.patterns.values());
    let subscriptions: usize = places.map(indexmap::IndexSet::len).sum();
    let listening =
        shard.clients.iter().filter(|(_, client)| client.subscriptions.is_some()).count();
    let mut text = String::new();
    for (name, number) in [
        ("clients", shard.clients.len() as u64),
        ("clients_max", cx.connections_max() as u64),
        ("listening", listening as u64),
        ("buffered", cx.buffered() as u64),
        ("watched", shard.keys.watched_keys() as u64),
        ("memory", shard.keys.memory.used() as u64),
        ("keys", shard.keys.len() as u64),
        ("expires", shard.keys.expiring_len() as u64),
        ("unsaved", counts.changes - shard.saved_changes),
        ("bytes_in", stats.bytes_in),
        ("bytes_out", stats.bytes_out),
        ("posts", stats.posts),
        ("expired", counts.expired),
        ("evicted", counts.evicted),
        ("hits", counts.hits),
        ("misses", counts.misses),
        ("subscriptions", subscriptions as u64),
    ] {
        let _ = writeln!(text, "{name} {number}");
    }
    shard.tally.write(shard.table, &mut text);
    text
}
