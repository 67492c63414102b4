//! Strings: `GET`, `SET` and what else sees a value as bytes. Those that see a number are in
//! `strings_numbers.rs`.

use super::expire::{self, Unit};
use super::words::{is, range_of_string};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::keyspace::Expiry;
use crate::number;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("append", 3, Keys::ONE, append),
    Command::reads("get", 2, Keys::ONE, get),
    Command::writes("getdel", 2, Keys::ONE, getdel),
    Command::writes("getex", -2, Keys::ONE, getex),
    Command::reads("getrange", 4, Keys::ONE, getrange),
    Command::grows("getset", 3, Keys::ONE, getset),
    Command::reads("mget", -2, Keys::ALL, mget),
    Command::grows("mset", -3, PAIRS, mset),
    Command::grows("msetnx", -3, PAIRS, msetnx),
    Command::grows("psetex", 4, Keys::ONE, |call| {
        set_with_time(call, Unit::MILLISECONDS, "psetex")
    }),
    Command::grows("set", -3, Keys::ONE, set),
    Command::grows("setex", 4, Keys::ONE, |call| set_with_time(call, Unit::SECONDS, "setex")),
    Command::grows("setnx", 3, Keys::ONE, setnx),
    Command::grows("setrange", 4, Keys::ONE, setrange),
    Command::reads("strlen", 2, Keys::ONE, strlen),
    Command::reads("substr", 4, Keys::ONE, getrange),
];

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

fn get(call: &mut Call<'_>) -> Outcome {
    let text = call.keys.read::<Vec<u8>>(call.words[1])?;
    call.reply.bulk_or_null(text.map(|text| &text[..]));
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Outcome {
    get(call)?;
    call.keys.remove(call.words[1]);
    Ok(())
}

fn getset(call: &mut Call<'_>) -> Outcome {
    get(call)?;
    call.keys.put_string(call.words[1], call.words[2], Expiry::Never);
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Outcome {
    let key = call.words[1];
    let options = Options::parse(&call.words[2..], true)?;
    if call.keys.read::<Vec<u8>>(key)?.is_none() {
        call.reply.null();
        return Ok(());
    }
    // No time leaves the deadline as it is, and so does none of those that a key has already.
    let expiry = match options.expiry(call.keys.now(), "getex")? {
        Some(expiry) => expiry,
        None if options.persists => Expiry::Never,
        None => Expiry::Keep,
    };
    get(call)?;
    let has_deadline = call.keys.deadline(key).flatten().is_some();
    if expiry != Expiry::Keep && (expiry != Expiry::Never || has_deadline) {
        call.keys.set_expiry(key, expiry);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Outcome {
    let (key, value) = (call.words[1], call.words[2]);
    if call.words.len() == 3 {
        call.keys.put_string(key, value, Expiry::Never);
        call.reply.simple("OK");
        return Ok(());
    }
    let options = Options::parse(&call.words[3..], false)?;
    let expiry = match options.expiry(call.keys.now(), "set")? {
        Some(expiry) => expiry,
        None if options.keeps => Expiry::Keep,
        None => Expiry::Never,
    };
    if options.returns_old {
        get(call)?;
    }
    if options.exists.is_some_and(|exists| exists != call.keys.contains(key)) {
        if !options.returns_old {
            call.reply.null();
        }
        return Ok(());
    }
    call.keys.put_string(key, value, expiry);
    if !options.returns_old {
        call.reply.simple("OK");
    }
    Ok(())
}

/// What the options of `SET` and `GETEX` say.
#[derive(Debug, Default)]
struct Options<'a> {
    time: Option<(Unit, &'a [u8])>,
    /// The deadline stays (`SET`).
    keeps: bool,
    /// The deadline goes (`GETEX`).
    persists: bool,
    /// Only if the key exists, or only if it does not.
    exists: Option<bool>,
    /// The old value is the answer.
    returns_old: bool,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a [u8]], is_getex: bool) -> Result<Self, Fault> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_fixed = options.keeps || options.persists;
            if !is_getex && is(word, "nx") && options.exists != Some(true) {
                options.exists = Some(false);
            } else if !is_getex && is(word, "xx") && options.exists != Some(false) {
                options.exists = Some(true);
            } else if !is_getex && is(word, "get") {
                options.returns_old = true;
            } else if !is_getex && is(word, "keepttl") && options.time.is_none() {
                options.keeps = true;
            } else if is_getex && is(word, "persist") && options.time.is_none() {
                options.persists = true;
            } else {
                let unit = Unit::of_option(word).filter(|_| !is_fixed).ok_or(Fault::Syntax)?;
                if options.time.is_some_and(|(other, _)| other != unit) {
                    return Err(Fault::Syntax);
                }
                options.time = Some((unit, words.next().ok_or(Fault::Syntax)?));
            }
        }
        Ok(options)
    }

    /// Returns the deadline that a time tells.
    fn expiry(&self, now: i64, name: &str) -> Result<Option<Expiry>, Fault> {
        let Some((unit, word)) = self.time else { return Ok(None) };
        expire::positive_deadline(word, unit, now, name).map(|at| Some(Expiry::At(at)))
    }
}

fn set_with_time(call: &mut Call<'_>, unit: Unit, name: &str) -> Outcome {
    let at = expire::positive_deadline(call.words[2], unit, call.keys.now(), name)?;
    call.keys.put_string(call.words[1], call.words[3], Expiry::At(at));
    call.reply.simple("OK");
    Ok(())
}

fn setnx(call: &mut Call<'_>) -> Outcome {
    let is_new = !call.keys.contains(call.words[1]);
    if is_new {
        call.keys.put_string(call.words[1], call.words[2], Expiry::Never);
    }
    call.reply.integer(is_new.into());
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Outcome {
    let keys = &call.words[1..];
    call.reply.array(keys.len());
    for key in keys {
        // Another kind is no string, and no error either.
        let text = call.keys.read::<Vec<u8>>(key).unwrap_or(None);
        call.reply.bulk_or_null(text.map(|text| &text[..]));
    }
    Ok(())
}

fn mset(call: &mut Call<'_>) -> Outcome {
    put_pairs(call, "mset")?;
    call.reply.simple("OK");
    Ok(())
}

fn msetnx(call: &mut Call<'_>) -> Outcome {
    let exists = call.words[1..].iter().step_by(2).any(|key| call.keys.contains(key));
    if exists && call.words.len() % 2 == 1 {
        call.reply.integer(0);
        return Ok(());
    }
    put_pairs(call, "msetnx")?;
    call.reply.integer(1);
    Ok(())
}

fn put_pairs(call: &mut Call<'_>, name: &'static str) -> Outcome {
    let (pairs, []) = call.words[1..].as_chunks::<2>() else { return Err(Fault::Arity(name)) };
    for [key, value] in pairs {
        call.keys.put_string(key, value, Expiry::Never);
    }
    Ok(())
}

fn append(call: &mut Call<'_>) -> Outcome {
    let (key, more, max) = (call.words[1], call.words[2], call.keys.string_max);
    let len = call.keys.edit_or_create(key, |text: &mut Vec<u8>| {
        if more.len() > max.saturating_sub(text.len()) {
            return Err(too_long());
        }
        text.extend_from_slice(more);
        Ok((true, text.len()))
    })?;
    call.reply.count(len);
    Ok(())
}

fn setrange(call: &mut Call<'_>) -> Outcome {
    let (key, part, max) = (call.words[1], call.words[3], call.keys.string_max);
    let offset = number::integer(call.words[2])?;
    let offset = usize::try_from(offset).map_err(|_| Fault::other("ERR offset is out of range"))?;
    if part.is_empty() {
        // Nothing is set, nothing is made.
        return strlen(call);
    }
    let len = call.keys.edit_or_create(key, |text: &mut Vec<u8>| {
        let end = offset.checked_add(part.len()).filter(|end| *end <= max).ok_or_else(too_long)?;
        if text.len() < end {
            text.resize(end, 0);
        }
        text[offset..end].copy_from_slice(part);
        Ok((true, text.len()))
    })?;
    call.reply.count(len);
    Ok(())
}

fn getrange(call: &mut Call<'_>) -> Outcome {
    let (first, last) = (number::integer(call.words[2])?, number::integer(call.words[3])?);
    let text = call.keys.read::<Vec<u8>>(call.words[1])?.map_or(&[][..], |text| text);
    let is_crossed = first < 0 && last < 0 && first > last;
    let part = if is_crossed { 0..0 } else { range_of_string(first, last, text.len()) };
    call.reply.bulk(&text[part]);
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Outcome {
    let len = call.keys.read::<Vec<u8>>(call.words[1])?.map_or(0, Vec::len);
    call.reply.count(len);
    Ok(())
}

fn too_long() -> Fault {
    Fault::other("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
}
