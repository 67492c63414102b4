//! Keys of whatever kind: `DEL`, `RENAME`, `COPY`, `KEYS`, `OBJECT`.

use super::words::is;
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::glob;
use crate::number;
use crate::value::Value;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("copy", -3, Keys::TWO, copy),
    Command::writes("del", -2, Keys::ALL, del),
    Command::reads("exists", -2, Keys::ALL, exists),
    Command::reads("keys", 2, Keys::None, keys),
    Command::reads("memory", -2, SECOND, memory),
    Command::reads("object", -2, SECOND, object),
    Command::reads("randomkey", 1, Keys::None, randomkey),
    Command::writes("rename", 3, Keys::TWO, rename),
    Command::writes("renamenx", 3, Keys::TWO, renamenx),
    Command::reads("touch", -2, Keys::ALL, exists),
    Command::reads("type", 2, Keys::ONE, kind),
    // The memory of what is removed is given back at once: there is no thread to do it later.
    Command::writes("unlink", -2, Keys::ALL, del),
];

const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };

fn del(call: &mut Call<'_>) -> Outcome {
    let removed = call.words[1..].iter().filter(|key| call.keys.remove(key)).count();
    call.reply.count(removed);
    Ok(())
}

fn exists(call: &mut Call<'_>) -> Outcome {
    let found = call.words[1..].iter().filter(|key| call.keys.contains(key)).count();
    call.reply.count(found);
    Ok(())
}

fn kind(call: &mut Call<'_>) -> Outcome {
    let kind = call.keys.peek(call.words[1]).map_or("none", |(value, _)| value.kind());
    call.reply.simple(kind);
    Ok(())
}

fn keys(call: &mut Call<'_>) -> Outcome {
    let pattern = call.words[1];
    glob::check(pattern)?;
    let mut found = Vec::new();
    call.keys.scan(0, usize::MAX, |key, _| {
        if glob::matches(pattern, key) {
            found.push(key.to_vec());
        }
    });
    call.reply.array(found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

fn randomkey(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk_or_null(call.keys.random_key());
    Ok(())
}

fn rename(call: &mut Call<'_>) -> Outcome {
    rename_to(call)?;
    call.reply.simple("OK");
    Ok(())
}

fn renamenx(call: &mut Call<'_>) -> Outcome {
    if !call.keys.contains(call.words[1]) {
        return Err(Fault::NoSuchKey);
    }
    let is_free = !call.keys.contains(call.words[2]);
    if is_free {
        rename_to(call)?;
    }
    call.reply.integer(is_free.into());
    Ok(())
}

fn rename_to(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (call.words[1], call.words[2]);
    if from == to {
        return if call.keys.contains(from) { Ok(()) } else { Err(Fault::NoSuchKey) };
    }
    let (value, deadline) = call.keys.take(from).ok_or(Fault::NoSuchKey)?;
    call.keys.put(to, value, deadline.into());
    Ok(())
}

fn copy(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (call.words[1], call.words[2]);
    let mut replaces = false;
    let mut words = call.words[3..].iter();
    while let Some(word) = words.next() {
        if is(word, "replace") {
            replaces = true;
        } else if is(word, "db") {
            // There is one database.
            if number::integer(words.next().ok_or(Fault::Syntax)?)? != 0 {
                return Err(Fault::other("ERR DB index is out of range"));
            }
        } else {
            return Err(Fault::Syntax);
        }
    }
    if from == to {
        return Err(Fault::other("ERR source and destination objects are the same"));
    }
    let is_copied = call.keys.contains(from) && (replaces || !call.keys.contains(to));
    if is_copied {
        let value = call.keys.value(from).expect("it exists: seen above").clone();
        let deadline = call.keys.deadline(from).flatten();
        call.keys.put(to, value, deadline.into());
    }
    call.reply.integer(is_copied.into());
    Ok(())
}

fn object(call: &mut Call<'_>) -> Outcome {
    let [_, question, rest @ ..] = call.words else { return Err(Fault::Syntax) };
    let [key] = rest else {
        let question = String::from_utf8_lossy(question);
        return Err(Fault::other(format!(
            "ERR unknown subcommand or wrong number of arguments for '{question}'. Try OBJECT HELP."
        )));
    };
    let Some((value, idle)) = call.keys.peek(key) else {
        call.reply.null();
        return Ok(());
    };
    if is(question, "encoding") {
        call.reply.bulk(encoding(value).as_bytes());
    } else if is(question, "refcount") {
        call.reply.integer(1);
    } else if is(question, "idletime") {
        call.reply.integer(i64::try_from(idle / 1000).expect("a clock of 32 bits"));
    } else if is(question, "freq") {
        return Err(Fault::other(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    } else {
        let question = String::from_utf8_lossy(question);
        return Err(Fault::other(format!("ERR unknown subcommand '{question}'. Try OBJECT HELP.")));
    }
    Ok(())
}

fn memory(call: &mut Call<'_>) -> Outcome {
    let (question, key) = match *call.words {
        [_, question, key] => (question, key),
        // Every container knows its bytes: there is nothing to sample.
        [_, question, key, option, samples] if is(option, "samples") => {
            number::at_least(0, samples, "ERR syntax error")?;
            (question, key)
        }
        _ => return Err(Fault::Syntax),
    };
    if !is(question, "usage") {
        let question = String::from_utf8_lossy(question);
        return Err(Fault::other(format!("ERR unknown subcommand '{question}'. Try MEMORY HELP.")));
    }
    match call.keys.usage(key) {
        Some(bytes) => call.reply.count(bytes),
        None => call.reply.null(),
    }
    Ok(())
}

/// Returns the name of the encoding that Redis 7.0, as it is configured by default, would choose
/// for a value of this size. Here there is one representation for each kind, whatever the size.
fn encoding(value: &Value) -> &'static str {
    const ENTRIES: usize = 128;
    const BYTES: usize = 64;
    match value {
        Value::String(text) if number::parse(text).is_some() => "int",
        Value::String(text) if text.len() <= 44 => "embstr",
        Value::String(_) => "raw",
        Value::List(_) => "quicklist",
        Value::Hash(hash) => {
            let is_short = |(field, value): (&[u8], &[u8])| field.len().max(value.len()) <= BYTES;
            let is_small = hash.len() <= 4 * ENTRIES && hash.iter().all(is_short);
            if is_small { "listpack" } else { "hashtable" }
        }
        Value::Set(set) => {
            let is_small = set.len() <= 4 * ENTRIES;
            let is_small = is_small && set.iter().all(|member| number::parse(member).is_some());
            if is_small { "intset" } else { "hashtable" }
        }
        Value::Sorted(sorted) => {
            let is_small = sorted.len() <= ENTRIES;
            let is_small = is_small && sorted.iter_from(0).all(|(member, _)| member.len() <= BYTES);
            if is_small { "listpack" } else { "skiplist" }
        }
    }
}
