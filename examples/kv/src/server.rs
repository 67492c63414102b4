//! Commands that are about more than the keys of one shard: the connection, the client, the whole server.

pub mod connection;

use wouldblock::Context;

use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::transaction;

/// All commands, by the file that has them.
pub const ALL: &[&[ServerCommand]] = &[connection::COMMANDS, transaction::COMMANDS];

/// A shard's part of a command that all are asked.
pub fn part(shard: &mut Shard, cx: &mut Context, name: &str, words: &[&[u8]], reply: &mut Reply) {
    let _ = (shard, cx, words);
    reply.error(format_args!("ERR {name} has no parts"));
}
