//! What clients send: arrays of strings, each with its length, or lines of words ("inline commands").
//!
//! A decoder in the manner of `wouldblock::frame`: it consumes whole commands and nothing else,
//! copies nothing where a command lies whole in the input, and looks at no byte of a long one
//! twice. What it refuses is worded as Redis words it; answers are in `reply.rs`. Read next:
//! `shard.rs`, whose loop calls it.

pub mod check;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use wouldblock::Input;

/// The longest line: of an inline command, and of a number that does not end.
const LINE_MAX: usize = 64 << 10;
/// The most words of one command.
pub const WORDS_MAX: usize = 1 << 20;

/// The decoder of one connection.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// A command that has not come whole: none for most connections at most times.
    partial: Option<Box<Partial>>,
}

/// As far as a command has come. Nothing of it is consumed, and places are counted from its beginning.
#[derive(Debug, Clone)]
struct Partial {
    /// The words that are there.
    words: Vec<Range<usize>>,
    /// How many words are to come.
    missing: usize,
    /// Where the first of them begins.
    at: usize,
}

/// What the input begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A command, whose words were put where the caller said. No words: an empty line, an empty array.
    Words,
    /// A line in which words are quoted, so that they lie nowhere as they are.
    Quoted(Vec<Vec<u8>>),
    /// Nothing that is whole; the input waits for more.
    Incomplete,
}

/// What came is no command. There is no telling where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage(Cow<'static, str>);

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol error: {}", self.0)
    }
}

impl std::error::Error for Garbage {}

impl Requests {
    /// Consumes one command, and puts its words into `words`, which is empty otherwise. A word is
    /// at most `word_max` long.
    ///
    /// # Errors
    ///
    /// If what came is no command. Nothing of it is consumed.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &mut Input<'a>,
        words: &mut Vec<&'a [u8]>,
        word_max: usize,
    ) -> Result<Next, Garbage> {
        words.clear();
        let bytes = input.bytes();
        let (mut missing, mut at) = match self.partial {
            Some(ref partial) => (partial.missing, partial.at),
            None => match bytes.first() {
                Some(b'*') => match number(bytes, 1, b'*')? {
                    Number::Is(count, at) if count <= WORDS_MAX => (count, at),
                    Number::Is(..) => return Err(garbage("invalid multibulk length")),
                    // As Redis has it, as if it were an empty one.
                    Number::Negative(at) => (0, at),
                    Number::Incomplete => return Ok(wait(input)),
                },
                Some(_) => return line(input, words),
                None => return Ok(Next::Incomplete),
            },
        };
        let mut enough = 0;
        while missing > 0 {
            let (len, from) = match bytes.get(at) {
                None => break,
                Some(b'$') => match number(bytes, at + 1, b'$')? {
                    Number::Is(len, from) if len <= word_max => (len, from),
                    Number::Is(..) | Number::Negative(_) => {
                        return Err(garbage("invalid bulk length"));
                    }
                    Number::Incomplete => break,
                },
                Some(other) => {
                    let other = std::ascii::escape_default(*other);
                    return Err(Garbage(format!("expected '$', got '{other}'").into()));
                }
            };
            let Some(word) = bytes.get(from..from + len + 2) else {
                enough = from + len + 2;
                break;
            };
            if !word.ends_with(b"\r\n") {
                return Err(garbage("expected CRLF behind a bulk"));
            }
            words.push(&word[..len]);
            at = from + len + 2;
            missing -= 1;
        }
        if missing > 0 || self.partial.is_some() {
            return Ok(self.resume(input, words, missing, at, enough));
        }
        input.consume(at);
        Ok(Next::Words)
    }

    /// A command of which an earlier call has seen a part, or a later one will see more.
    #[cold]
    fn resume<'a>(
        &mut self,
        input: &mut Input<'a>,
        words: &mut Vec<&'a [u8]>,
        missing: usize,
        at: usize,
        enough: usize,
    ) -> Next {
        let bytes = input.bytes();
        let place = |word: &&[u8]| {
            let start = word.as_ptr().addr() - bytes.as_ptr().addr();
            start..start + word.len()
        };
        let new = Partial { words: Vec::new(), missing: 0, at: 0 };
        let mut partial = self.partial.take().unwrap_or_else(|| Box::new(new));
        partial.words.extend(words.drain(..).as_slice().iter().map(place));
        if missing > 0 {
            (partial.missing, partial.at) = (missing, at);
            self.partial = Some(partial);
            input.wait_for(enough.max(bytes.len() + 1));
            return Next::Incomplete;
        }
        words.extend(partial.words.into_iter().map(|word| &bytes[word]));
        input.consume(at);
        Next::Words
    }
}

/// A number and what ends it.
enum Number {
    /// The number, and where the next byte lies.
    Is(usize, usize),
    /// Where the next byte lies.
    Negative(usize),
    Incomplete,
}

/// The number at this place, behind a `kind`.
#[inline]
fn number(bytes: &[u8], from: usize, kind: u8) -> Result<Number, Garbage> {
    let mut value = 0;
    let mut at = from;
    while let Some(digit) =
        bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
    {
        // 16 digits overflow nothing, and no limit is so large.
        if at - from == 16 {
            return Err(no_number(kind));
        }
        value = value * 10 + usize::from(digit);
        at += 1;
    }
    match &bytes[at..] {
        [b'\r', b'\n', ..] if at > from => Ok(Number::Is(value, at + 2)),
        [] | [b'\r'] => Ok(Number::Incomplete),
        [b'-', ..] if at == from => Ok(match number(bytes, from + 1, kind)? {
            Number::Is(_, at) | Number::Negative(at) => Number::Negative(at),
            Number::Incomplete => Number::Incomplete,
        }),
        _ => Err(no_number(kind)),
    }
}

#[cold]
fn no_number(kind: u8) -> Garbage {
    garbage(if kind == b'*' { "invalid multibulk length" } else { "invalid bulk length" })
}

#[cold]
fn garbage(why: &'static str) -> Garbage {
    Garbage(Cow::Borrowed(why))
}

/// Anything new may complete it.
#[cold]
fn wait(input: &mut Input<'_>) -> Next {
    input.wait_for(input.len() + 1);
    Next::Incomplete
}

/// A line of words.
#[cold]
fn line<'a>(input: &mut Input<'a>, words: &mut Vec<&'a [u8]>) -> Result<Next, Garbage> {
    let bytes = input.bytes();
    let searched = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        if bytes.len() >= LINE_MAX {
            return Err(garbage("too big inline request"));
        }
        return Ok(wait(input));
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let next = if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        Next::Quoted(unquote(line).ok_or_else(|| garbage("unbalanced quotes in request"))?)
    } else {
        words.extend(line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()));
        Next::Words
    };
    input.consume(end + 1);
    Ok(next)
}

fn is_space(byte: u8) -> bool {
    // As isspace(3) has it: with the vertical tab, and a zero ends words as well.
    byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0)
}

/// The words of a line with quotes; `None` if a quote is not closed, or something follows it at once.
fn unquote(mut line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    loop {
        line = &line[line.iter().take_while(|byte| is_space(**byte)).count()..];
        if line.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        loop {
            line = match line {
                [] => break,
                [byte, ..] if is_space(*byte) => break,
                [quote @ (b'"' | b'\''), rest @ ..] => {
                    let rest = quoted(*quote, rest, &mut word)?;
                    if rest.first().is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                    rest
                }
                [byte, rest @ ..] => {
                    word.push(*byte);
                    rest
                }
            };
        }
        words.push(word);
    }
}

/// Appends what stands before the closing quote; returns what stands behind it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [] => return None,
            [byte, ref behind @ ..] if byte == quote => {
                let _ = byte;
                return Some(behind);
            }
            [b'\\', b'x', high, low, ref behind @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(high) << 4 | hex(low), behind)
            }
            [b'\\', byte, ref behind @ ..] if quote == b'"' => {
                let byte = match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                };
                (byte, behind)
            }
            [b'\\', b'\'', ref behind @ ..] if quote == b'\'' => (b'\'', behind),
            [byte, ref behind @ ..] => (byte, behind),
        };
        word.push(byte);
        rest = behind;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
