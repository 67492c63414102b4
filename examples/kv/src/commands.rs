//! What each command does, by the kind of value.

pub mod expire;
pub mod strings;
#[cfg(test)]
mod tests;

use crate::command::{Call, Command, Fault};
use crate::keyspace::Keyspace;
use crate::reply::Reply;

/// All commands, by the file that has them.
pub const ALL: &[&[Command]] = &[expire::COMMANDS, strings::COMMANDS];

/// Runs `command`, whose name is the first of `words`, and writes its answer, or its error.
pub fn execute(command: &Command, words: &[&[u8]], keys: &mut Keyspace, reply: &mut Reply) {
    let start = reply.bytes.len();
    let done = if command.takes(words.len()) {
        (command.run)(&mut Call { words, keys, reply })
    } else {
        Err(Fault::Arity(command.name))
    };
    if let Err(fault) = done {
        reply.bytes.truncate(start);
        reply.error(fault);
    }
}
