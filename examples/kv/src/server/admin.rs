//! Commands about all keys and about the process: `DBSIZE`, `FLUSHALL`, `FLUSHDB`, `TIME`, `INFO`,
//! `ROLE`, `WAIT`, `SHUTDOWN`.

use std::time::{SystemTime, UNIX_EPOCH};

use wouldblock::Context;

use crate::command::{Fault, Outcome};
use crate::gather::Combine;
use crate::info;
use crate::number;
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "dbsize", arity: 1, in_transaction: true, run: dbsize },
    ServerCommand { name: "flushall", arity: -1, in_transaction: true, run: flush },
    ServerCommand { name: "flushdb", arity: -1, in_transaction: true, run: flush },
    ServerCommand { name: "info", arity: -1, in_transaction: true, run: info },
    ServerCommand { name: "role", arity: 1, in_transaction: true, run: role },
    ServerCommand { name: "shutdown", arity: -1, in_transaction: false, run: shutdown },
    ServerCommand { name: "time", arity: 1, in_transaction: true, run: time },
    ServerCommand { name: "wait", arity: 3, in_transaction: true, run: wait },
];

fn dbsize(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    turn.ask_all(words, Combine::Sum);
    Ok(())
}

fn flush(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    match words[1..] {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {}
        _ => return Err(Fault::Syntax),
    }
    turn.ask_all(words, Combine::First);
    Ok(())
}

fn info(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let request = info::Request::new(&words[1..], turn.shard);
    turn.ask_all(&words[..1], Combine::Info(Box::new(request)));
    Ok(())
}

fn role(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.reply().array(3);
    turn.reply().bulk(b"master");
    turn.reply().integer(0);
    turn.reply().array(0);
    Ok(())
}

/// There are no replicas to wait for.
fn wait(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    number::integer(words[1])?;
    if number::parse(words[2]).is_none_or(|it| it < 0) {
        return Err(Fault::other("ERR timeout is not an integer or out of range"));
    }
    turn.reply().integer(0);
    Ok(())
}

fn shutdown(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    turn.check_no_transaction()?;
    match words[1..] {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"save") => {}
        [mode] if mode.eq_ignore_ascii_case(b"nosave") => turn.shard.facts.snapshots.forbid_last(),
        _ => return Err(Fault::Syntax),
    }
    turn.client().is_leaving = true;
    turn.shard.server.shutdown();
    Ok(())
}

fn time(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    turn.reply().array(2);
    turn.reply().bulk(now.as_secs().to_string().as_bytes());
    turn.reply().bulk(now.subsec_micros().to_string().as_bytes());
    Ok(())
}

/// A shard's part.
pub(super) fn part(shard: &mut Shard, cx: &mut Context, name: &str, reply: &mut Reply) {
    match name {
        "dbsize" => reply.integer(i64::try_from(shard.keys.len()).unwrap_or(i64::MAX)),
        "info" => reply.bulk(info::numbers(shard, cx).as_bytes()),
        _ => {
            shard.keys.clear();
            reply.simple("OK");
        }
    }
}
