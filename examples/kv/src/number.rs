//! Numbers in words and values, as Redis reads and prints them.

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
