//! Commands that are about more than the keys of one shard: the connection, the client, channels,
//! the whole server.

pub mod admin;
pub mod channels;
pub mod client;
pub mod commands;
pub mod config;
pub mod connection;

use wouldblock::Context;

use crate::cluster;
use crate::command::Fault;
use crate::persistence;
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::transaction;

/// All commands, by the file that has them.
pub const ALL: &[&[ServerCommand]] = &[
    admin::COMMANDS,
    channels::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    commands::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    persistence::COMMANDS,
    transaction::COMMANDS,
];

/// A shard's part of a command that all are asked.
pub fn part(shard: &mut Shard, cx: &mut Context, name: &str, words: &[&[u8]], reply: &mut Reply) {
    match name {
        "publish" | "pubsub" => channels::part(shard, cx, words, reply),
        "client" => client::part(shard, cx, words, reply),
        "config" => config::part(shard, words, reply),
        "cluster" => cluster::part(shard, words, reply),
        _ => admin::part(shard, cx, name, reply),
    }
}

/// As Redis words it.
fn unknown_subcommand(command: &str, word: &[u8]) -> Fault {
    let shown = String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned();
    Fault::other(format!("ERR unknown subcommand '{shown}'. Try {command} HELP."))
}
