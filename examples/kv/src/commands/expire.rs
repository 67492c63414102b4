//! Deadlines of keys: `EXPIRE`, `TTL` and their like.

use super::words::is;
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::keyspace::Expiry;
use crate::number;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::writes("expire", -3, Keys::ONE, |call| set(call, Unit::SECONDS, "expire")),
    Command::writes("expireat", -3, Keys::ONE, |call| set(call, Unit::SECONDS_AT, "expireat")),
    Command::reads("expiretime", 2, Keys::ONE, |call| {
        tell(call, |deadline, _| in_seconds(deadline))
    }),
    Command::writes("persist", 2, Keys::ONE, persist),
    Command::writes("pexpire", -3, Keys::ONE, |call| set(call, Unit::MILLISECONDS, "pexpire")),
    Command::writes("pexpireat", -3, Keys::ONE, |call| {
        set(call, Unit::MILLISECONDS_AT, "pexpireat")
    }),
    Command::reads("pexpiretime", 2, Keys::ONE, |call| tell(call, |deadline, _| deadline)),
    Command::reads("pttl", 2, Keys::ONE, |call| tell(call, |deadline, now| deadline - now)),
    Command::reads("ttl", 2, Keys::ONE, |call| {
        tell(call, |deadline, now| in_seconds(deadline - now))
    }),
];

/// How a word tells a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// In seconds, not in milliseconds.
    pub is_seconds: bool,
    /// From 1970 on, not from now.
    pub is_absolute: bool,
}

impl Unit {
    /// From now.
    pub const SECONDS: Unit = Unit { is_seconds: true, is_absolute: false };
    const SECONDS_AT: Unit = Unit { is_seconds: true, is_absolute: true };
    /// From now.
    pub const MILLISECONDS: Unit = Unit { is_seconds: false, is_absolute: false };
    const MILLISECONDS_AT: Unit = Unit { is_seconds: false, is_absolute: true };

    /// Returns what an option says of the number behind it: `EX`, `PX`, `EXAT` or `PXAT`.
    pub fn of_option(option: &[u8]) -> Option<Unit> {
        let names = ["ex", "px", "exat", "pxat"];
        let units = [Unit::SECONDS, Unit::MILLISECONDS, Unit::SECONDS_AT, Unit::MILLISECONDS_AT];
        names.iter().zip(units).find(|(name, _)| is(option, name)).map(|(_, unit)| unit)
    }
}

/// Returns the deadline that a word tells, in milliseconds since 1970.
///
/// # Errors
///
/// The word is no integer, or the deadline is beyond 64 bits; `name` is the command's.
pub fn deadline(word: &[u8], unit: Unit, now: i64, name: &str) -> Result<i64, Fault> {
    let number = number::integer(word)?;
    let factor = if unit.is_seconds { 1000 } else { 1 };
    let start = if unit.is_absolute { 0 } else { now };
    let deadline =
        number.checked_mul(factor).and_then(|milliseconds| milliseconds.checked_add(start));
    deadline.ok_or_else(|| invalid(name))
}

/// The same, of an option, whose number has to be above 0.
///
/// # Errors
///
/// The same, and one that is not above 0.
pub fn positive_deadline(word: &[u8], unit: Unit, now: i64, name: &str) -> Result<i64, Fault> {
    if number::integer(word)? <= 0 {
        return Err(invalid(name));
    }
    deadline(word, unit, now, name)
}

fn invalid(name: &str) -> Fault {
    Fault::other(format!("ERR invalid expire time in '{name}' command"))
}

/// When a deadline is set.
#[derive(Default)]
struct Conditions {
    has_none: bool,
    has_one: bool,
    is_later: bool,
    is_earlier: bool,
}

fn set(call: &mut Call<'_>, unit: Unit, name: &str) -> Outcome {
    let key = call.words[1];
    let conditions = conditions(&call.words[3..])?;
    let new = deadline(call.words[2], unit, call.keys.now(), name)?;
    let is_set = call.keys.deadline(key).is_some_and(|old| {
        // No deadline is later than all.
        let old = old.map(std::num::NonZero::get);
        !(conditions.has_none && old.is_some()
            || conditions.has_one && old.is_none()
            || conditions.is_later && old.is_none_or(|old| new <= old)
            || conditions.is_earlier && old.is_some_and(|old| new >= old))
    });
    if is_set {
        call.keys.set_expiry(key, Expiry::At(new));
    }
    call.reply.integer(is_set.into());
    Ok(())
}

fn conditions(words: &[&[u8]]) -> Result<Conditions, Fault> {
    let mut conditions = Conditions::default();
    for word in words {
        let condition = match &word.to_ascii_lowercase()[..] {
            b"nx" => &mut conditions.has_none,
            b"xx" => &mut conditions.has_one,
            b"gt" => &mut conditions.is_later,
            b"lt" => &mut conditions.is_earlier,
            _ => {
                let word = String::from_utf8_lossy(word);
                return Err(Fault::other(format!("ERR Unsupported option {word}")));
            }
        };
        *condition = true;
    }
    let Conditions { has_none, has_one, is_later, is_earlier } = conditions;
    if has_none && (has_one || is_later || is_earlier) {
        return Err(Fault::other(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if is_later && is_earlier {
        return Err(Fault::other("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(conditions)
}

fn persist(call: &mut Call<'_>) -> Outcome {
    let has_deadline = call.keys.deadline(call.words[1]).flatten().is_some();
    if has_deadline {
        call.keys.set_expiry(call.words[1], Expiry::Never);
    }
    call.reply.integer(has_deadline.into());
    Ok(())
}

fn tell(call: &mut Call<'_>, time: impl Fn(i64, i64) -> i64) -> Outcome {
    let now = call.keys.now();
    call.reply.integer(match call.keys.deadline(call.words[1]) {
        Some(Some(deadline)) => time(deadline.get(), now),
        Some(None) => -1,
        None => -2,
    });
    Ok(())
}

fn in_seconds(milliseconds: i64) -> i64 {
    milliseconds / 1000 + i64::from(milliseconds % 1000 >= 500)
}
