//! Commands about a connection: `PING`, `ECHO`, `QUIT`, `SELECT`, `HELLO`, `RESET`.

use crate::command::{Fault, Outcome};
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "ping", arity: -1, in_transaction: true, run: ping },
    ServerCommand { name: "echo", arity: 2, in_transaction: true, run: echo },
    ServerCommand { name: "quit", arity: -1, in_transaction: false, run: quit },
];

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
