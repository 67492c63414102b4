//! Patterns of names, as Redis matches them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is
//! meant as it is.
//!
//! A pattern comes from a peer, so the time is bounded by the product of both lengths, however many
//! stars it has, and a pattern is not long.

use crate::command::Fault;

/// The longest pattern, in bytes.
pub const PATTERN_MAX: usize = 1024;

/// Refuses a pattern that is too long.
///
/// # Errors
///
/// It is.
pub fn check(pattern: &[u8]) -> Result<(), Fault> {
    if pattern.len() > PATTERN_MAX {
        return Err(Fault::other("ERR a pattern has at most 1024 bytes"));
    }
    Ok(())
}

/// Returns whether `text` matches the whole of `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where to go on when the last star is to take one byte more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            star = Some((pattern_at, text_at));
            continue;
        }
        let next = match text.get(text_at) {
            Some(byte) => one(&pattern[pattern_at..], *byte),
            None if pattern_at == pattern.len() => return true,
            None => return false,
        };
        if let Some(used) = next {
            pattern_at += used;
            text_at += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (pattern_at, text_at) = (after, taken + 1);
        } else {
            return false;
        }
    }
}

/// Returns how many bytes of the pattern match this byte of the text.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (is_in, used) = in_class(class, byte);
            is_in.then_some(used + 1)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [other, ..] => (*other == byte).then_some(1),
    }
}

/// Returns whether a class has this byte, and the class's length. One that is not closed ends with
/// the pattern.
fn in_class(class: &[u8], byte: u8) -> (bool, usize) {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut is_in = false;
    loop {
        match &class[at..] {
            [] => return (is_in != is_negated, at),
            [b'\\', escaped, ..] => {
                is_in |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => return (is_in != is_negated, at + 1),
            [from, b'-', to, ..] => {
                is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [other, ..] => {
                is_in |= *other == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_redis_matches_them() {
        for (pattern, text, is_match) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("**a**", "bab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("[a-c]", "b", true),
            ("[c-a]", "b", true),
            ("[\\]]", "]", true),
            ("[abc", "c", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*a*b*c", "xaxbxc", true),
            ("*abc", "ababc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_both_lengths() {
        let pattern = "a*".repeat(1000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }
}
