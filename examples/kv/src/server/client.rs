//! `CLIENT`: what a client may know of itself and of others, and do to them.

use wouldblock::Context;

use crate::client::Silence;
use crate::command::{Fault, Outcome};
use crate::gather::Combine;
use crate::number;
use crate::reply::Reply;
use crate::shard::Shard;
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] =
    &[ServerCommand { name: "client", arity: -2, in_transaction: true, run: client }];

/// The longest name of a client.
const NAME_MAX: usize = 1024;

fn client(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let name = words[1].to_ascii_lowercase();
    match (&name[..], &words[2..]) {
        (b"id", []) => {
            let number = turn.client().number;
            turn.reply().integer(i64::try_from(number).unwrap_or(i64::MAX));
        }
        (b"getname", []) => {
            let name = turn.client().name.clone();
            if name.is_empty() {
                turn.reply().null();
            } else {
                turn.reply().bulk(&name);
            }
        }
        (b"setname", [name]) => {
            check_name(name)?;
            turn.client().name = name.to_vec();
            turn.reply().simple("OK");
        }
        (b"info", []) => {
            let queued = turn.conn.queued();
            let (shard, now) = (turn.shard.number, turn.shard.keys.now());
            let line = turn.client().describe(shard, queued, now) + "\n";
            turn.reply().text(&line);
        }
        (b"list", _) => {
            check_list(&words[2..])?;
            turn.ask_all(words, Combine::Text);
        }
        (b"kill", [_, ..]) => kill(turn, words)?,
        (b"reply", [mode]) => {
            let silence = &mut turn.client().silence;
            match &mode.to_ascii_lowercase()[..] {
                b"on" => {
                    *silence = Silence::None;
                    turn.reply().simple("OK");
                }
                b"off" => *silence = Silence::All,
                b"skip" if *silence == Silence::All => {}
                b"skip" => *silence = Silence::Next,
                _ => return Err(Fault::Syntax),
            }
        }
        // No client is ended for the memory of others here: each has its own bounds.
        (b"no-evict", [mode]) => match &mode.to_ascii_lowercase()[..] {
            b"on" | b"off" => turn.reply().simple("OK"),
            _ => return Err(Fault::Syntax),
        },
        (b"help", []) => turn.reply().lines(HELP),
        (
            b"id" | b"getname" | b"setname" | b"info" | b"kill" | b"reply" | b"no-evict" | b"help",
            _,
        ) => {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(Fault::other(format!(
                "ERR wrong number of arguments for 'client|{name}' command"
            )));
        }
        _ => return Err(super::unknown_subcommand("CLIENT", words[1])),
    }
    Ok(())
}

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are: ADDR, ID, TYPE (NORMAL|PUBSUB), SKIPME (YES|NO).",
    "LIST [TYPE (NORMAL|PUBSUB)] [ID <id> [<id> ...]]",
    "    Return information about client connections.",
    "NO-EVICT (ON|OFF)",
    "    Accepted, and without effect: no client is ended for the memory of others.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
];

/// Refuses a name that would break a line of `CLIENT LIST`.
///
/// # Errors
///
/// If it has spaces, line breaks or other special characters.
pub fn check_name(name: &[u8]) -> Result<(), Fault> {
    if name.len() <= NAME_MAX && name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(Fault::other("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// Which clients are meant.
#[derive(Debug, Default)]
struct Filter {
    numbers: Option<Vec<u64>>,
    address: Option<String>,
    /// Whether those that listen to channels, or the others.
    is_listening: Option<bool>,
    /// Not this one.
    but: Option<u64>,
}

impl Filter {
    fn matches(&self, client: &crate::client::Client) -> bool {
        self.numbers.as_ref().is_none_or(|it| it.contains(&client.number))
            && self.address.as_ref().is_none_or(|it| *it == client.addr())
            && self.is_listening.is_none_or(|it| it == client.subscriptions.is_some())
            && self.but != Some(client.number)
            && !client.is_killed
    }
}

fn kind(word: &[u8]) -> Result<Option<bool>, Fault> {
    match &word.to_ascii_lowercase()[..] {
        b"normal" => Ok(Some(false)),
        b"pubsub" => Ok(Some(true)),
        // There are none of these.
        b"master" | b"slave" | b"replica" => Ok(None),
        _ => {
            let shown = String::from_utf8_lossy(word).into_owned();
            Err(Fault::other(format!("ERR Unknown client type '{shown}'")))
        }
    }
}

fn client_number(word: &[u8]) -> Option<u64> {
    number::parse(word).and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0)
}

/// The words behind `CLIENT LIST`.
fn check_list(words: &[&[u8]]) -> Result<Filter, Fault> {
    let mut filter = Filter::default();
    match words {
        [] => {}
        [option, word] if option.eq_ignore_ascii_case(b"type") => match kind(word)? {
            Some(kind) => filter.is_listening = Some(kind),
            None => filter.numbers = Some(Vec::new()),
        },
        [option, numbers @ ..] if option.eq_ignore_ascii_case(b"id") && !numbers.is_empty() => {
            let numbers: Option<Vec<u64>> =
                numbers.iter().map(|word| client_number(word)).collect();
            filter.numbers = Some(numbers.ok_or_else(|| Fault::other("ERR Invalid client ID"))?);
        }
        _ => return Err(Fault::Syntax),
    }
    Ok(filter)
}

/// The words behind `CLIENT KILL`; `own`: the number of the client that says it.
fn check_kill(words: &[&[u8]], own: u64) -> Result<Filter, Fault> {
    let mut filter = Filter::default();
    if let [address] = words {
        filter.address = Some(String::from_utf8_lossy(address).into_owned());
        return Ok(filter);
    }
    if !words.len().is_multiple_of(2) {
        return Err(Fault::Syntax);
    }
    filter.but = Some(own);
    for pair in words.chunks_exact(2) {
        match &pair[0].to_ascii_lowercase()[..] {
            b"id" => {
                let number = client_number(pair[1]);
                let number =
                    number.ok_or_else(|| Fault::other("ERR client-id should be greater than 0"))?;
                filter.numbers = Some(vec![number]);
            }
            b"addr" => filter.address = Some(String::from_utf8_lossy(pair[1]).into_owned()),
            b"type" => match kind(pair[1])? {
                Some(kind) => filter.is_listening = Some(kind),
                None => filter.numbers = Some(Vec::new()),
            },
            b"skipme" => match &pair[1].to_ascii_lowercase()[..] {
                b"yes" => filter.but = Some(own),
                b"no" => filter.but = None,
                _ => return Err(Fault::Syntax),
            },
            _ => return Err(Fault::Syntax),
        }
    }
    Ok(filter)
}

fn kill(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    let own = turn.client().number;
    check_kill(&words[2..], own)?;
    let combine =
        if words.len() == 3 { Combine::Found("ERR No such client") } else { Combine::Sum };
    // The parts have to know who says it.
    let own = own.to_string();
    let mut part = words.to_vec();
    part.insert(2, own.as_bytes());
    turn.ask_all(&part, combine);
    Ok(())
}

/// A shard's part: of `CLIENT LIST`, and of `CLIENT KILL` with the number of the client that says
/// it as word 2.
pub(super) fn part(shard: &mut Shard, cx: &mut Context, words: &[&[u8]], reply: &mut Reply) {
    if words[1].eq_ignore_ascii_case(b"list") {
        let Ok(filter) = check_list(&words[2..]) else { return reply.error(Fault::Syntax) };
        let mut lines = String::new();
        for (_, client) in shard.clients.iter().filter(|(_, client)| filter.matches(client)) {
            let queued = cx.conn(client.id).map_or(0, |conn| conn.queued());
            lines += &client.describe(shard.number, queued, shard.keys.now());
            lines.push('\n');
        }
        return reply.text(&lines);
    }
    let own = client_number(words[2]).unwrap_or_default();
    let Ok(filter) = check_kill(&words[3..], own) else { return reply.error(Fault::Syntax) };
    let mut killed = 0;
    for (_, client) in shard.clients.iter_mut().filter(|(_, client)| filter.matches(client)) {
        killed += 1;
        (client.is_killed, client.is_leaving) = (true, true);
        // The one that says it is answered first.
        if client.number != own
            && let Some(mut conn) = cx.conn(client.id)
        {
            conn.close();
        }
    }
    reply.integer(killed);
}
