//! Commands about channels: `SUBSCRIBE`, `PSUBSCRIBE` and their ends, `PUBLISH`, `PUBSUB`.

use bytes::Bytes;
use indexmap::IndexSet;
use wouldblock::Context;

use crate::client::{NAMES_MAX, name_bytes};
use crate::command::{Fault, Outcome};
use crate::gather::Combine;
use crate::glob;
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        name: "subscribe",
        arity: -2,
        in_transaction: true,
        run: |turn, words| subscribe(turn, words, false),
    },
    ServerCommand {
        name: "psubscribe",
        arity: -2,
        in_transaction: true,
        run: |turn, words| subscribe(turn, words, true),
    },
    ServerCommand {
        name: "unsubscribe",
        arity: -1,
        in_transaction: true,
        run: |turn, words| unsubscribe(turn, words, false),
    },
    ServerCommand {
        name: "punsubscribe",
        arity: -1,
        in_transaction: true,
        run: |turn, words| unsubscribe(turn, words, true),
    },
    ServerCommand { name: "publish", arity: 3, in_transaction: true, run: publish },
    ServerCommand { name: "pubsub", arity: -2, in_transaction: true, run: pubsub },
];

fn subscribe(turn: &mut Turn<'_, '_>, words: &[&[u8]], is_pattern: bool) -> Outcome {
    if is_pattern {
        words[1..].iter().try_for_each(|pattern| glob::check(pattern))?;
    }
    let more: usize = words[1..].iter().map(|name| name_bytes(name)).sum();
    let kept = turn.client().subscriptions.as_ref().map_or(0, |it| it.bytes);
    if kept + more > NAMES_MAX {
        return Err(Fault::other("ERR too many subscriptions"));
    }
    let place = turn.place;
    for name in &words[1..] {
        let name = Bytes::copy_from_slice(name);
        let subscriptions = turn.client().subscriptions.get_or_insert_default();
        let list =
            if is_pattern { &mut subscriptions.patterns } else { &mut subscriptions.channels };
        let is_new = list.insert(name.clone());
        subscriptions.bytes += if is_new { name_bytes(&name) } else { 0 };
        let count = subscriptions.len();
        tell(turn.reply(), if is_pattern { "psubscribe" } else { "subscribe" }, Some(&name), count);
        if is_new {
            turn.shard.pubsub.subscribe(is_pattern, name, place);
        }
    }
    Ok(())
}

fn unsubscribe(turn: &mut Turn<'_, '_>, words: &[&[u8]], is_pattern: bool) -> Outcome {
    let place = turn.place;
    let kind = if is_pattern { "punsubscribe" } else { "unsubscribe" };
    let mut subscriptions = turn.client().subscriptions.take().unwrap_or_default();
    let other =
        if is_pattern { subscriptions.channels.len() } else { subscriptions.patterns.len() };
    let list = if is_pattern { &mut subscriptions.patterns } else { &mut subscriptions.channels };
    let mut names: Vec<_> = words[1..].iter().map(|name| Bytes::copy_from_slice(name)).collect();
    if names.is_empty() {
        names.extend(list.iter().cloned());
    }
    for name in &names {
        if list.swap_remove(name) {
            subscriptions.bytes -= name_bytes(name);
            turn.shard.pubsub.unsubscribe(is_pattern, name, place);
        }
        tell(turn.reply(), kind, Some(name), list.len() + other);
    }
    if names.is_empty() {
        tell(turn.reply(), kind, None, other);
    }
    if !subscriptions.is_empty() {
        turn.client().subscriptions = Some(subscriptions);
    }
    Ok(())
}

/// What a client is told of a subscription, as a message.
fn tell(reply: &mut Reply, kind: &str, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(kind.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
}

fn publish(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    if turn.client().subscriptions.is_some() {
        // It may be among those that hear it: not before its earlier answers.
        turn.flush();
    }
    turn.ask_all(words, Combine::Sum);
    Ok(())
}

fn pubsub(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let combine = match (&words[1].to_ascii_lowercase()[..], words.len()) {
        (b"channels", 2 | 3) => {
            words.get(2).map_or(Ok(()), |pattern| glob::check(pattern))?;
            Combine::Union
        }
        (b"numsub", _) => Combine::SumByName,
        // The number of different patterns, as one shard alone cannot tell: those of all are compared.
        (b"numpat", 2) => Combine::CountUnion,
        (b"shardchannels", 2 | 3) => {
            turn.reply().array(0);
            return Ok(());
        }
        (b"help", 2) => {
            turn.reply().lines(&[
                "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "CHANNELS [<pattern>]",
                "    Return the currently active channels matching a <pattern> (default: '*').",
                "NUMPAT",
                "    Return number of subscriptions to patterns.",
                "NUMSUB [<channel> ...]",
                "    Return the number of subscribers for the specified channels, excluding",
                "    pattern subscriptions(default: no channels).",
            ]);
            return Ok(());
        }
        (b"channels" | b"numpat" | b"help", _) => {
            let name = String::from_utf8_lossy(&words[1].to_ascii_lowercase()).into_owned();
            return Err(Fault::other(format!(
                "ERR wrong number of arguments for 'pubsub|{name}' command"
            )));
        }
        _ => return Err(super::unknown_subcommand("PUBSUB", words[1])),
    };
    turn.ask_all(words, combine);
    Ok(())
}

/// A shard's part.
pub(super) fn part(shard: &mut Shard, cx: &mut Context, words: &[&[u8]], reply: &mut Reply) {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    match (&words[0].to_ascii_lowercase()[..], &words[1].to_ascii_lowercase()[..]) {
        (b"publish", _) => reply.integer(count(shard.publish(cx, words[1], words[2]))),
        (_, b"numsub") => {
            reply.array(2 * (words.len() - 2));
            for channel in &words[2..] {
                reply.bulk(channel);
                reply.integer(count(shard.pubsub.channels.get(*channel).map_or(0, IndexSet::len)));
            }
        }
        (_, b"numpat") => all(reply, shard.pubsub.patterns.keys()),
        _ => {
            let pattern = words.get(2).copied().unwrap_or(b"*");
            all(reply, shard.pubsub.channels.keys().filter(|name| glob::matches(pattern, name)));
        }
    }
}

fn all<'a>(reply: &mut Reply, names: impl Iterator<Item = &'a Bytes>) {
    let names: Vec<_> = names.collect();
    reply.array(names.len());
    for name in names {
        reply.bulk(name);
    }
}

impl Turn<'_, '_> {
    /// The client listens to nothing any more, and is not told.
    pub fn forget_subscriptions(&mut self) {
        let subscriptions = self.client().subscriptions.take().unwrap_or_default();
        for (is_pattern, names) in
            [(false, &subscriptions.channels), (true, &subscriptions.patterns)]
        {
            for name in names {
                self.shard.pubsub.unsubscribe(is_pattern, name, self.place);
            }
        }
    }
}
