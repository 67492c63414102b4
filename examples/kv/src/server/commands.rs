//! `COMMAND`: what clients ask to know where keys are among the words of a command.

use crate::command::{Effect, Fault, Keys, Outcome};
use crate::glob;
use crate::reply::Reply;
use crate::slots;
use crate::table::{Entry, ServerCommand, What};
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] =
    &[ServerCommand { name: "command", arity: -1, in_transaction: true, run: command }];

fn command(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let table = turn.shard.table;
    let name = words.get(1).map(|word| word.to_ascii_lowercase());
    match (name.as_deref(), words.get(2..).unwrap_or_default()) {
        (None, _) => {
            turn.reply().array(table.all().len());
            table.all().iter().for_each(|entry| describe(entry, turn.reply()));
        }
        (Some(b"count"), []) => {
            turn.reply().integer(i64::try_from(table.all().len()).unwrap_or(i64::MAX));
        }
        (Some(b"info"), []) => {
            turn.reply().array(table.all().len());
            table.all().iter().for_each(|entry| describe(entry, turn.reply()));
        }
        (Some(b"info"), names) => {
            turn.reply().array(names.len());
            for name in names {
                match table.find(name) {
                    Some(entry) => describe(entry, turn.reply()),
                    None => turn.reply().null_array(),
                }
            }
        }
        (Some(b"docs"), names) => {
            let entries: Vec<_> = match names {
                [] => table.all().iter().collect(),
                names => names.iter().filter_map(|name| table.find(name)).collect(),
            };
            turn.reply().map(entries.len());
            for entry in entries {
                turn.reply().bulk(entry.name.as_bytes());
                turn.reply().map(1);
                turn.reply().bulk(b"group");
                turn.reply().bulk(match entry.what {
                    What::Keys(_) => b"generic",
                    What::Server(_) => b"server",
                });
            }
        }
        (Some(b"list"), rest) => {
            let pattern: &[u8] = match rest {
                [] => b"*",
                [by, how, pattern]
                    if by.eq_ignore_ascii_case(b"filterby")
                        && how.eq_ignore_ascii_case(b"pattern") =>
                {
                    pattern
                }
                _ => return Err(Fault::Syntax),
            };
            let names = table.all().iter().map(|entry| entry.name);
            let names: Vec<_> =
                names.filter(|name| glob::matches(pattern, name.as_bytes())).collect();
            turn.reply().array(names.len());
            names.iter().for_each(|name| turn.reply().bulk(name.as_bytes()));
        }
        (Some(b"getkeys"), [name, ..]) => {
            let words = &words[2..];
            let entry =
                table.find(name).ok_or_else(|| Fault::other("ERR Invalid command specified"))?;
            if !entry.takes(words.len()) {
                return Err(Fault::other("ERR Invalid number of arguments specified for command"));
            }
            let places: Vec<_> = slots::places(entry.keys(), words)?.collect();
            if places.is_empty() {
                return Err(Fault::other("ERR The command has no key arguments"));
            }
            turn.reply().array(places.len());
            places.iter().for_each(|place| turn.reply().bulk(words[*place]));
        }
        (Some(b"count"), _) => {
            return Err(Fault::other("ERR wrong number of arguments for 'command|count' command"));
        }
        (Some(b"getkeys"), _) => {
            return Err(Fault::other(
                "ERR wrong number of arguments for 'command|getkeys' command",
            ));
        }
        _ => return Err(super::unknown_subcommand("COMMAND", words[1])),
    }
    Ok(())
}

/// Name, arity, flags, first key, last key, step; categories, tips, key specifications and
/// subcommands are not told.
fn describe(entry: &Entry, reply: &mut Reply) {
    let mut flags = Vec::new();
    match entry.what {
        What::Keys(command) => flags.push(match command.effect {
            Effect::Reads => "readonly",
            Effect::Writes => "write",
            Effect::Grows => "write\r\n+denyoom",
        }),
        What::Server(command) if !command.in_transaction => flags.push("noscript"),
        What::Server(_) => flags.push("loading"),
    }
    let (first, last, step) = match entry.keys() {
        Keys::None | Keys::Counted(_) => (0, 0, 0),
        Keys::Range { first, last, step } => (first, last, step),
        Keys::StoredAndCounted(_) => (1, 1, 1),
    };
    if matches!(entry.keys(), Keys::Counted(_) | Keys::StoredAndCounted(_)) {
        flags.push("movablekeys");
    }
    reply.array(10);
    reply.bulk(entry.name.as_bytes());
    reply.integer(entry.arity.into());
    let flags: Vec<_> = flags.iter().flat_map(|flag| flag.split("\r\n+")).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(i64::try_from(first).unwrap_or(0));
    reply.integer(i64::try_from(last).unwrap_or(0));
    reply.integer(i64::try_from(step).unwrap_or(0));
    (0..4).for_each(|_| reply.array(0));
}
