//! Answers, as RESP2 or RESP3 has them.

use std::fmt::Display;
use std::io::Write as _;

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Arrays for maps and sets, strings for doubles.
    #[default]
    Resp2,
    /// With types of their own for those: after `HELLO 3`.
    Resp3,
}

/// Answers, one after the other, as bytes to be sent.
#[derive(Debug)]
pub struct Reply {
    /// What is written so far.
    pub bytes: Vec<u8>,
    /// Which version the next answer is in.
    pub protocol: Protocol,
    /// At this length no more strings are taken: an answer can be far larger than what is stored,
    /// since a command can ask for the same value many times.
    end: usize,
    /// A string was not taken.
    is_cut: bool,
}

impl Default for Reply {
    fn default() -> Self {
        let (bytes, protocol) = (Vec::new(), Protocol::default());
        Reply { bytes, protocol, end: usize::MAX, is_cut: false }
    }
}

impl Reply {
    /// Creates an empty one for a client that speaks this version.
    pub fn new(protocol: Protocol) -> Self {
        Reply { protocol, ..Reply::default() }
    }

    /// Takes no more than `max` bytes of strings from now on, until [`Reply::end_limit`].
    pub fn limit(&mut self, max: usize) {
        self.end = self.bytes.len().saturating_add(max);
        self.is_cut = false;
    }

    /// Takes everything again, and returns whether something was not taken.
    pub fn end_limit(&mut self) -> bool {
        self.end = usize::MAX;
        std::mem::take(&mut self.is_cut)
    }

    /// Returns whether the limit is reached: what is written now is in vain.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// `+OK`, or another short text without line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; `text` begins with its code. Line breaks in it become spaces.
    pub fn error(&mut self, text: impl Display) {
        let text = text.to_string();
        let text = text.trim_end_matches(['\r', '\n']).replace(['\r', '\n'], " ");
        self.line(b'-', text);
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// A number of things.
    pub fn count(&mut self, number: usize) {
        self.len(b':', number);
    }

    /// A double, with 17 digits.
    pub fn double(&mut self, number: f64) {
        let text = crate::number::print_double(number);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// A string of bytes, or nothing.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.is_cut || self.end.saturating_sub(self.bytes.len()) < bytes.len() {
            self.is_cut = true;
            return;
        }
        self.len(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A text to be shown as it is.
    pub fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.len(b'=', text.len() + 4);
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// An array of lines: a help.
    pub fn lines(&mut self, lines: &[&str]) {
        self.array(lines.len());
        lines.iter().for_each(|line| self.simple(line));
    }

    /// Nothing, where a string would be.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array would be.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// An array; its `len` elements follow.
    pub fn array(&mut self, len: usize) {
        self.len(b'*', len);
    }

    /// A map; `len` keys follow, each with its value behind it.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len(b'*', 2 * len),
            Protocol::Resp3 => self.len(b'%', len),
        }
    }

    /// A set; its `len` elements follow.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len(b'*', len),
            Protocol::Resp3 => self.len(b'~', len),
        }
    }

    /// An array of pairs, flat in RESP2; `len` pairs follow, each behind a [`Reply::pair`].
    pub fn pairs(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len(b'*', 2 * len),
            Protocol::Resp3 => self.len(b'*', len),
        }
    }

    /// The beginning of one of [`Reply::pairs`]; its two elements follow.
    pub fn pair(&mut self) {
        if self.protocol == Protocol::Resp3 {
            self.len(b'*', 2);
        }
    }

    /// News that nobody asked for; its `len` elements follow.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len(b'*', len),
            Protocol::Resp3 => self.len(b'>', len),
        }
    }

    /// A number in a line: most of what is written, so without the machinery of `write!`.
    #[inline]
    fn number(&mut self, kind: u8, number: i64) {
        // A kind, a sign, 19 digits, the end of a line.
        let mut line = [0; 23];
        let mut at = line.len() - 2;
        line[at..].copy_from_slice(b"\r\n");
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            line[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            at -= 1;
            line[at] = b'-';
        }
        at -= 1;
        line[at] = kind;
        self.bytes.extend_from_slice(&line[at..]);
    }

    /// A length in a line.
    #[inline]
    fn len(&mut self, kind: u8, len: usize) {
        self.number(kind, i64::try_from(len).expect("nothing is so long"));
    }

    fn line(&mut self, kind: u8, text: impl Display) {
        self.bytes.push(kind);
        write!(self.bytes, "{text}\r\n").expect("a vector takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_numbers_are() {
        for number in [0, 1, -1, 9, 10, 99, 100, -100, 1_234_567_890, i64::MAX, i64::MIN] {
            let mut reply = Reply::default();
            reply.integer(number);
            assert_eq!(reply.bytes, format!(":{number}\r\n").as_bytes());
        }
    }
}
