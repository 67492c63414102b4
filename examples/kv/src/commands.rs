//! What each command does, by the kind of value.

pub mod bits;
pub mod expire;
pub mod hashes;
pub mod keys;
pub mod lcs;
pub mod lists;
pub mod lists_more;
pub mod scan;
pub mod sets;
pub mod sorted_sets;
pub mod sorted_sets_combine;
pub mod sorted_sets_ranges;
pub mod strings;
pub mod strings_numbers;
#[cfg(test)]
pub(crate) mod tests;
pub mod words;

use crate::command::{Call, Command, Effect, Fault};
use crate::keyspace::Keyspace;
use crate::reply::Reply;

/// All commands, by the file that has them.
pub const ALL: &[&[Command]] = &[
    bits::COMMANDS,
    expire::COMMANDS,
    hashes::COMMANDS,
    keys::COMMANDS,
    lcs::COMMANDS,
    lists::COMMANDS,
    lists_more::COMMANDS,
    scan::COMMANDS,
    sets::COMMANDS,
    sorted_sets::COMMANDS,
    sorted_sets_combine::COMMANDS,
    sorted_sets_ranges::COMMANDS,
    strings::COMMANDS,
    strings_numbers::COMMANDS,
];

/// Runs `command`, whose name is the first of `words`, and writes its answer, or its error.
pub fn execute(command: &Command, words: &[&[u8]], keys: &mut Keyspace, reply: &mut Reply) {
    let start = reply.bytes.len();
    reply.limit(keys.answer_max);
    let mut done = if !command.takes(words.len()) {
        Err(Fault::Arity(command.name))
    } else if command.effect == Effect::Grows && keys.memory.is_over() && !keys.make_room() {
        Err(Fault::other("OOM command not allowed when used memory > 'maxmemory'."))
    } else {
        (command.run)(&mut Call { words, keys, reply })
    };
    if reply.end_limit() {
        done = Err(Fault::other(words::ANSWER_TOO_LONG));
    }
    if let Err(fault) = done {
        reply.bytes.truncate(start);
        reply.error(fault);
    }
}
