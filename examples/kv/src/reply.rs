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
#[derive(Debug, Default)]
pub struct Reply {
    /// What is written so far.
    pub bytes: Vec<u8>,
    /// Which version the next answer is in.
    pub protocol: Protocol,
}

impl Reply {
    /// `+OK`, or another short text without line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; `text` begins with its code. Line breaks in it become spaces.
    pub fn error(&mut self, text: impl Display) {
        let text = text.to_string().replace(['\r', '\n'], " ");
        self.line(b'-', text);
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.line(b':', number);
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.line(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
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
        self.line(b'*', len);
    }

    /// A map; `len` keys follow, each with its value behind it.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', 2 * len),
            Protocol::Resp3 => self.line(b'%', len),
        }
    }

    /// A set; its `len` elements follow.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', len),
            Protocol::Resp3 => self.line(b'~', len),
        }
    }

    /// News that nobody asked for; its `len` elements follow.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', len),
            Protocol::Resp3 => self.line(b'>', len),
        }
    }

    fn line(&mut self, kind: u8, text: impl Display) {
        self.bytes.push(kind);
        write!(self.bytes, "{text}\r\n").expect("a vector takes all");
    }
}
