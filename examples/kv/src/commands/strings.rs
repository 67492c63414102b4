//! Strings: `GET`, `SET` and what else sees a value as bytes.

use crate::command::{Call, Command, Effect, Fault, Keys, Outcome};
use crate::commands::expire::{self, Unit};
use crate::keyspace::Expiry;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command { name: "get", arity: 2, keys: Keys::ONE, effect: Effect::Reads, run: get },
    Command { name: "set", arity: -3, keys: Keys::ONE, effect: Effect::Grows, run: set },
];

fn get(call: &mut Call<'_>) -> Outcome {
    match call.keys.read::<Vec<u8>>(call.words[1])? {
        Some(text) => call.reply.bulk(text),
        None => call.reply.null(),
    }
    Ok(())
}

/// What the options of `SET` say.
struct SetOptions {
    expiry: Expiry,
    /// Only if the key exists, or only if it does not.
    exists: Option<bool>,
    /// The old value is the answer.
    returns_old: bool,
}

fn set(call: &mut Call<'_>) -> Outcome {
    let [_, key, value, options @ ..] = call.words else { return Err(Fault::Syntax) };
    if options.is_empty() {
        call.keys.put_string(key, value, Expiry::Never);
        call.reply.simple("OK");
        return Ok(());
    }
    let options = set_options(call, options)?;
    if options.returns_old {
        get(call)?;
    }
    if options.exists.is_some_and(|exists| exists != call.keys.contains(key)) {
        if !options.returns_old {
            call.reply.null();
        }
        return Ok(());
    }
    call.keys.put_string(key, value, options.expiry);
    if !options.returns_old {
        call.reply.simple("OK");
    }
    Ok(())
}

fn set_options(call: &Call<'_>, mut words: &[&[u8]]) -> Result<SetOptions, Fault> {
    let mut options = SetOptions { expiry: Expiry::Never, exists: None, returns_old: false };
    let mut time = None;
    while let [word, rest @ ..] = words {
        words = rest;
        match &word.to_ascii_lowercase()[..] {
            b"nx" if options.exists != Some(true) => options.exists = Some(false),
            b"xx" if options.exists != Some(false) => options.exists = Some(true),
            b"get" => options.returns_old = true,
            b"keepttl" if time.is_none() => options.expiry = Expiry::Keep,
            word if time.is_none() && options.expiry == Expiry::Never => {
                let unit = Unit::of_option(word).ok_or(Fault::Syntax)?;
                let [number, rest @ ..] = rest else { return Err(Fault::Syntax) };
                words = rest;
                time = Some((unit, *number));
            }
            _ => return Err(Fault::Syntax),
        }
    }
    if let Some((unit, number)) = time {
        options.expiry =
            Expiry::At(expire::positive_deadline(number, unit, call.keys.now(), "set")?);
    }
    Ok(options)
}
