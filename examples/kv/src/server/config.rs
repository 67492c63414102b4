//! `CONFIG GET`, `CONFIG SET`, `CONFIG RESETSTAT`: the settings that there are.
//!
//! A setting is each shard's own, so that no command has to look at what threads share: `SET` is
//! asked of all.

use crate::command::{Fault, Outcome};
use crate::gather::Combine;
use crate::glob;
use crate::keyspace::{Counts, Policy};
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::tally::Tally;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] =
    &[ServerCommand { name: "config", arity: -2, in_transaction: true, run: config }];

/// Sets a shard to what a text says, or says why not.
type Set = fn(&mut Shard, &str) -> Result<(), String>;

/// One setting.
struct Setting {
    name: &'static str,
    get: fn(&Shard) -> String,
    /// None where the command line alone says it.
    set: Option<Set>,
}

const SETTINGS: &[Setting] = &[
    Setting { name: "appendonly", get: |_| "no".into(), set: None },
    Setting {
        name: "cluster-enabled",
        get: |shard| if shard.facts.cluster.is_some() { "yes" } else { "no" }.into(),
        set: None,
    },
    Setting { name: "databases", get: |_| "1".into(), set: None },
    Setting { name: "io-threads", get: |shard| shard.facts.reactors.to_string(), set: None },
    Setting {
        name: "maxmemory",
        get: |shard| shard.memory_max.to_string(),
        set: Some(|shard, text| {
            shard.set_memory_max(bytes(text)?);
            Ok(())
        }),
    },
    Setting {
        name: "maxmemory-policy",
        get: |shard| policy_name(shard.keys.memory.policy).into(),
        set: Some(|shard, text| {
            let known = POLICIES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
            let names: Vec<_> = POLICIES.iter().map(|(_, name)| *name).collect();
            let refused =
                || format!("argument(s) must be one of the following: {}", names.join(", "));
            shard.keys.memory.policy = known.ok_or_else(refused)?.0;
            Ok(())
        }),
    },
    Setting { name: "port", get: |shard| shard.facts.port().to_string(), set: None },
    Setting {
        name: "proto-max-bulk-len",
        get: |shard| shard.word_max.to_string(),
        set: Some(|shard, text| {
            let (least, most) = (1 << 20, shard.facts.word_max);
            let bytes = bytes(text)?;
            if !(least..=most).contains(&bytes) {
                return Err(format!("argument must be between {least} and {most} inclusive"));
            }
            shard.word_max = bytes;
            shard.keys.string_max = bytes;
            Ok(())
        }),
    },
    Setting { name: "save", get: |shard| shard.facts.snapshots.setting(), set: None },
];

const POLICIES: &[(Policy, &str)] = &[
    (Policy::VolatileLru, "volatile-lru"),
    (Policy::VolatileRandom, "volatile-random"),
    (Policy::VolatileTtl, "volatile-ttl"),
    (Policy::AllKeysLru, "allkeys-lru"),
    (Policy::AllKeysRandom, "allkeys-random"),
    (Policy::NoEviction, "noeviction"),
];

pub(crate) fn policy_name(policy: Policy) -> &'static str {
    POLICIES.iter().find(|(it, _)| *it == policy).map_or("", |(_, name)| name)
}

/// A number of bytes with a unit, as Redis reads it: `1k` is 1000, `1kb` is 1024.
///
/// # Errors
///
/// If it is none.
pub fn bytes(text: &str) -> Result<usize, String> {
    let text = text.to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match &text[digits..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err("argument must be a memory value".into()),
    };
    let number: Option<usize> = text[..digits].parse().ok();
    number
        .and_then(|it| it.checked_mul(unit))
        .ok_or_else(|| "argument must be a memory value".into())
}

fn config(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let name = words[1].to_ascii_lowercase();
    match (&name[..], words.len()) {
        (b"get", 3..) => {
            let is_asked = |name: &str| {
                let mut patterns = words[2..].iter().map(|word| word.to_ascii_lowercase());
                patterns.any(|pattern| glob::matches(&pattern, name.as_bytes()))
            };
            let found = SETTINGS.iter().filter(|setting| is_asked(setting.name));
            let found: Vec<_> =
                found.map(|setting| (setting.name, (setting.get)(turn.shard))).collect();
            turn.reply().map(found.len());
            for (name, value) in found {
                turn.reply().bulk(name.as_bytes());
                turn.reply().bulk(value.as_bytes());
            }
        }
        (b"set", 4..) if words.len().is_multiple_of(2) => {
            for (at, pair) in words[2..].chunks_exact(2).enumerate() {
                let name = String::from_utf8_lossy(pair[0]).into_owned();
                let Some(setting) = find(pair[0]) else {
                    return Err(Fault::other(format!(
                        "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                    )));
                };
                if setting.set.is_none() {
                    return Err(refused(&name, "can't set immutable config"));
                }
                if words[2..2 + 2 * at]
                    .chunks_exact(2)
                    .any(|it| it[0].eq_ignore_ascii_case(pair[0]))
                {
                    return Err(refused(&name, "duplicate parameter"));
                }
            }
            turn.ask_all(words, Combine::First);
        }
        (b"resetstat", 2) => turn.ask_all(words, Combine::First),
        (b"rewrite", 2) => {
            return Err(Fault::other("ERR The server is running without a config file"));
        }
        (b"get" | b"set" | b"resetstat" | b"rewrite", _) => {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(Fault::other(format!(
                "ERR wrong number of arguments for 'config|{name}' command"
            )));
        }
        _ => return Err(super::unknown_subcommand("CONFIG", words[1])),
    }
    Ok(())
}

fn find(name: &[u8]) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.as_bytes().eq_ignore_ascii_case(name))
}

fn refused(name: &str, why: &str) -> Fault {
    Fault::other(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
}

/// A shard's part: of `CONFIG SET`, `CONFIG RESETSTAT`.
pub(super) fn part(shard: &mut Shard, words: &[&[u8]], reply: &mut Reply) {
    if words[1].eq_ignore_ascii_case(b"resetstat") {
        shard.tally = Tally::default();
        shard.keys.counts = Counts { changes: shard.keys.counts.changes, ..Counts::default() };
        return reply.simple("OK");
    }
    // All or none: what was set before one that is refused is set back.
    let mut before: Vec<(&Setting, String)> = Vec::new();
    for pair in words[2..].chunks_exact(2) {
        let Some(setting) = find(pair[0]) else { continue };
        let Some(set) = setting.set else { continue };
        let old = (setting.get)(shard);
        if let Err(why) = set(shard, &String::from_utf8_lossy(pair[1])) {
            for (setting, old) in before.iter().rev() {
                let _ = setting.set.map(|set| set(shard, old));
            }
            return reply.error(refused(setting.name, &why));
        }
        before.push((setting, old));
    }
    reply.simple("OK");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (text, number) in
            [("0", 0), ("100mb", 100 << 20), ("1k", 1000), ("1KB", 1024), ("2g", 2_000_000_000)]
        {
            assert_eq!(bytes(text), Ok(number));
        }
        for text in ["", "mb", "-1", "1x", "99999999999999999999", "99999999999999999gb", "1 mb"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
