//! Words of others in a line of ours: the error of a handler, the panic of a callback, a name to be
//! looked up.
//!
//! What a peer has sent may be among them, and a line break in it would forge a line of the log, an
//! escape sequence would be acted on by a terminal. So what does not show is written as in a string
//! of Rust, by its bytes: `\n`, `\x1b`. A backslash stays as it is: nothing here is read back. What
//! is, is an address (`address.rs`).

use std::fmt::{self, Display, Write};

/// Prints what it holds on one line.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaped(f), "{}", self.0)
    }
}

struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char {
            '\\' => self.0.write_char(char),
            char => write_char(char, self.0),
        })
    }
}

/// Writes a character if it shows, or else its bytes. A backslash counts as one that does not.
pub(crate) fn write_char(char: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if matches!(char, '\'' | '"') || char.escape_debug().eq([char]) {
        f.write_char(char)
    } else {
        write!(f, "{}", char.encode_utf8(&mut [0; 4]).as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 7: what a peer has sent forges no line, wherever it is told.
    #[test]
    fn words_of_others_are_one_line() {
        for (text, line) in [
            ("as told", "as told"),
            (r#"h\u{e9} says "it's \n""#, r#"h\u{e9} says "it's \n""#),
            ("a\nERROR forged\r\n", r"a\nERROR forged\r\n"),
            ("\x1b[2J\0\u{2028}", r"\x1b[2J\x00\xe2\x80\xa8"),
        ] {
            assert_eq!(OneLine(text).to_string(), line);
        }
    }
}
