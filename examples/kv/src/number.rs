//! Numbers in words and values, as Redis reads and prints them.
//!
//! Scores are doubles and printed with 17 digits, as C's `%.17g` does. `INCRBYFLOAT` reckons with
//! more bits than that: see `number/extended.rs`. Unlike Redis, no hexadecimal floats are read.

mod extended;
#[cfg(test)]
mod tests;

pub use extended::{Extended, Parsed};

use crate::command::Fault;

/// Reads an integer of 64 bits as Redis does: no `+`, no leading zeros, no spaces.
pub fn parse(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits[0] == b'0' && text.len() > 1 {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Reads an integer, or says that the word is none.
///
/// # Errors
///
/// It is none, or has more than 64 bits.
pub fn integer(text: &[u8]) -> Result<i64, Fault> {
    parse(text).ok_or(Fault::NotInteger)
}

/// Reads an integer that is not below `min`.
///
/// # Errors
///
/// It is none, or below; `fault` says so.
pub fn at_least(min: i64, text: &[u8], fault: &'static str) -> Result<i64, Fault> {
    parse(text).filter(|number| *number >= min).ok_or(Fault::other(fault))
}

/// Reads an integer that is not negative, as a length.
///
/// # Errors
///
/// It is none, or negative.
pub fn not_negative(text: &[u8]) -> Result<usize, Fault> {
    at_least(0, text, "ERR value is out of range, must be positive").map(length)
}

/// Returns an integer that is not negative as a length; what a machine cannot count is beyond all
/// lengths anyway.
pub fn length(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Returns a length as an integer.
pub fn from_length(length: usize) -> i64 {
    i64::try_from(length).expect("what is in memory has fewer bytes than 2^63")
}

/// Reads a double that is a number; `inf` and `-inf` are. What is beyond a double's range is none.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let number: f64 = str::from_utf8(text).ok()?.parse().ok()?;
    let mantissa = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or(text);
    let is_named = text.iter().any(|byte| matches!(byte, b'n' | b'N'));
    let has_digits = !is_named && mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    let is_beyond = !is_named && number.is_infinite() || has_digits && number == 0.0;
    (!number.is_nan() && !is_beyond).then_some(number)
}

/// Reads an end of a range of scores: as [`parse_double`], and what is beyond a double's range is
/// infinite, or 0. As C's `strtod` has it, spaces may be before it, and nothing at all is 0.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let number: f64 = str::from_utf8(text.trim_ascii_start()).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// Reads a double, or says that the word is none.
///
/// # Errors
///
/// It is none.
pub fn double(text: &[u8]) -> Result<f64, Fault> {
    parse_double(text).ok_or(Fault::NotFloat)
}

/// Prints a double with 17 digits: C's `%.17g`.
pub fn print_double(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    // Most of all scores are integers.
    if number.fract() == 0.0 && number.abs() < 1e15 && (number != 0.0 || number.is_sign_positive())
    {
        return format!("{number}");
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').expect("it is printed with an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).expect("it is at least 0");
        return without_zeros(&format!("{number:.decimals$}")).into();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
}

/// Returns a number's text without the zeros that end its fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
