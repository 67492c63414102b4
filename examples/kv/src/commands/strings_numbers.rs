//! Strings that are seen as a number: `INCR`, `INCRBYFLOAT`.

use std::io::Write as _;

use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::keyspace::Expiry;
use crate::number::{self, Extended, Parsed};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("decr", 2, Keys::ONE, |call| add(call, -1)),
    Command::grows("decrby", 3, Keys::ONE, decrby),
    Command::grows("incr", 2, Keys::ONE, |call| add(call, 1)),
    Command::grows("incrby", 3, Keys::ONE, incrby),
    Command::grows("incrbyfloat", 3, Keys::ONE, incrbyfloat),
];

/// What a sum beyond 64 bits is answered with.
pub(super) const OVERFLOW: &str = "ERR increment or decrement would overflow";

fn incrby(call: &mut Call<'_>) -> Outcome {
    let more = number::integer(call.words[2])?;
    add(call, more)
}

fn decrby(call: &mut Call<'_>) -> Outcome {
    let less = number::integer(call.words[2])?;
    let more = less.checked_neg().ok_or(Fault::other("ERR decrement would overflow"))?;
    add(call, more)
}

fn add(call: &mut Call<'_>, more: i64) -> Outcome {
    let key = call.words[1];
    let sum = call.keys.edit(key, |text: &mut Vec<u8>| {
        let sum = number::integer(text)?.checked_add(more).ok_or(Fault::other(OVERFLOW))?;
        text.clear();
        write!(text, "{sum}").expect("a vector takes all");
        Ok((true, sum))
    })?;
    if sum.is_none() {
        call.keys.put_string(key, more.to_string().as_bytes(), Expiry::Never);
    }
    call.reply.integer(sum.unwrap_or(more));
    Ok(())
}

fn incrbyfloat(call: &mut Call<'_>) -> Outcome {
    let (key, more) = (call.words[1], call.words[2]);
    let old = call.keys.read::<Vec<u8>>(key)?.map_or(Ok(Parsed::default()), |old| float(old))?;
    let sum = add_floats(old, float(more)?)?;
    call.keys.put_string(key, sum.as_bytes(), Expiry::Keep);
    call.reply.bulk(sum.as_bytes());
    Ok(())
}

pub(super) fn float(text: &[u8]) -> Result<Parsed, Fault> {
    Extended::parse(text).ok_or(Fault::NotFloat)
}

/// Returns the sum as it is printed.
pub(super) fn add_floats(one: Parsed, other: Parsed) -> Result<String, Fault> {
    if let (Parsed::Finite(one), Parsed::Finite(other)) = (one, other)
        && let Some(sum) = one.plus(other)
    {
        return Ok(sum.print());
    }
    Err(Fault::other("ERR increment would produce NaN or Infinity"))
}
