//! Deadlines of keys: `EXPIRE`, `TTL` and their like.

use crate::command::{Command, Fault};
use crate::number;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[];

/// How a word tells a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// In seconds, not in milliseconds.
    pub is_seconds: bool,
    /// From 1970 on, not from now.
    pub is_absolute: bool,
}

impl Unit {
    /// Returns what an option in lower case says of the number behind it: `ex`, `px`, `exat` or `pxat`.
    pub fn of_option(option: &[u8]) -> Option<Unit> {
        let (is_seconds, is_absolute) = match option {
            b"ex" => (true, false),
            b"px" => (false, false),
            b"exat" => (true, true),
            b"pxat" => (false, true),
            _ => return None,
        };
        Some(Unit { is_seconds, is_absolute })
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
