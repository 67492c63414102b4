//! Commands about a connection: `PING`, `ECHO`, `QUIT`, `SELECT`, `HELLO`, `RESET`, `AUTH`.

use crate::client::Silence;
use crate::command::{Fault, Outcome};
use crate::number;
use crate::reply::Protocol;
use crate::server::client;
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "ping", arity: -1, in_transaction: true, run: ping },
    ServerCommand { name: "echo", arity: 2, in_transaction: true, run: echo },
    ServerCommand { name: "quit", arity: -1, in_transaction: false, run: quit },
    ServerCommand { name: "select", arity: 2, in_transaction: true, run: select },
    ServerCommand { name: "hello", arity: -1, in_transaction: true, run: hello },
    ServerCommand { name: "reset", arity: 1, in_transaction: false, run: reset },
    ServerCommand { name: "auth", arity: -2, in_transaction: true, run: auth },
];

/// The version of Redis whose commands and words these are: clients ask for it.
pub const VERSION: &str = "7.0.15";

fn ping(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let is_listening = turn.client().is_listening_only();
    match (words, is_listening) {
        ([_], false) => turn.reply().simple("PONG"),
        ([_, text], false) => turn.reply().bulk(text),
        ([_] | [_, _], true) => {
            // As a message looks, where nothing else is expected.
            turn.reply().array(2);
            turn.reply().bulk(b"pong");
            turn.reply().bulk(words.get(1).copied().unwrap_or_default());
        }
        _ => return Err(Fault::Arity("ping")),
    }
    Ok(())
}

fn echo(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    turn.reply().bulk(words[1]);
    Ok(())
}

fn quit(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.client().is_leaving = true;
    turn.reply().simple("OK");
    Ok(())
}

fn select(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    match number::parse(words[1]) {
        Some(0) => turn.reply().simple("OK"),
        Some(_) => return Err(Fault::other("ERR DB index is out of range")),
        None => return Err(Fault::other("ERR value is not an integer or out of range")),
    }
    Ok(())
}

fn auth(_turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    if words.len() > 3 {
        return Err(Fault::Syntax);
    }
    Err(Fault::other(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is \
         correct?",
    ))
}

fn hello(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let mut protocol = None;
    let mut rest = &words[1..];
    if let [version, behind @ ..] = rest {
        let version = number::parse(version);
        let version = version.ok_or_else(|| {
            Fault::other("ERR Protocol version is not an integer or out of range")
        })?;
        protocol = Some(match version {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(Fault::other("NOPROTO unsupported protocol version")),
        });
        rest = behind;
    }
    let mut name = None;
    while let [option, behind @ ..] = rest {
        let option = option.to_ascii_lowercase();
        rest = match (&option[..], behind) {
            (b"auth", [_, _, ..]) => {
                return Err(Fault::other(
                    "WRONGPASS invalid username-password pair or user is disabled.",
                ));
            }
            (b"setname", [text, behind @ ..]) => {
                client::check_name(text)?;
                name = Some(text.to_vec());
                behind
            }
            _ => {
                let shown = String::from_utf8_lossy(&option).into_owned();
                return Err(Fault::other(format!("ERR Syntax error in HELLO option '{shown}'")));
            }
        };
    }
    let client = turn.client();
    client.name = name.unwrap_or_else(|| std::mem::take(&mut client.name));
    client.protocol = protocol.unwrap_or(client.protocol);
    let (number, protocol) = (client.number, client.protocol);
    let mode = if turn.shard.facts.cluster.is_some() { "cluster" } else { "standalone" };
    let reply = turn.reply();
    reply.protocol = protocol;
    reply.map(7);
    for (name, text) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
    for (name, text) in [("mode", mode), ("role", "master")] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn reset(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.forget_watched();
    turn.forget_subscriptions();
    let client = turn.client();
    client.transaction = None;
    client.protocol = Protocol::Resp2;
    client.silence = Silence::None;
    client.is_readonly = false;
    client.name.clear();
    turn.reply().protocol = Protocol::Resp2;
    turn.reply().simple("RESET");
    Ok(())
}
