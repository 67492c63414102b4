//! What a command is: its name, how many words it takes, which of them are keys, and what it does.
//!
//! A command here knows the keys of one shard and an answer to write, nothing of connections: those that a
//! connection takes part in (`SUBSCRIBE`, `MULTI`, `CLIENT`) are with the client. Read next: `commands.rs`.

use std::borrow::Cow;
use std::fmt;

use crate::keyspace::Keyspace;
use crate::reply::Reply;

/// One call of a command, in the shard that has its keys.
#[derive(Debug)]
pub struct Call<'a> {
    /// The words as they were received; the first is the name.
    pub words: &'a [&'a [u8]],
    /// The keys of this shard.
    pub keys: &'a mut Keyspace,
    /// Where the answer goes. What is written before a [`Fault`] is returned is taken back.
    pub reply: &'a mut Reply,
}

/// Whether a command was done.
pub type Outcome = Result<(), Fault>;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// In lower case.
    pub name: &'static str,
    /// The number of words with the name; a negative one is the least number, as Redis tells it.
    pub arity: i16,
    /// Which words are keys.
    pub keys: Keys,
    /// What it does to them.
    pub effect: Effect,
    /// Does it.
    pub run: Run,
}

/// Does a command.
pub type Run = fn(&mut Call<'_>) -> Outcome;

impl Command {
    /// One that only looks.
    pub const fn reads(name: &'static str, arity: i16, keys: Keys, run: Run) -> Self {
        Command { name, arity, keys, effect: Effect::Reads, run }
    }

    /// One that changes keys, and makes nothing larger.
    pub const fn writes(name: &'static str, arity: i16, keys: Keys, run: Run) -> Self {
        Command { name, arity, keys, effect: Effect::Writes, run }
    }

    /// One that may make something larger.
    pub const fn grows(name: &'static str, arity: i16, keys: Keys, run: Run) -> Self {
        Command { name, arity, keys, effect: Effect::Grows, run }
    }

    /// Returns whether it takes so many words, its name among them.
    #[inline]
    pub fn takes(&self, words: usize) -> bool {
        takes(self.arity, words)
    }
}

/// Returns whether a command of this [`Command::arity`] takes so many words.
#[inline]
pub fn takes(arity: i16, words: usize) -> bool {
    let number = usize::from(arity.unsigned_abs());
    words == number || (arity < 0 && words > number)
}

/// Which words of a command are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// None: it is about a shard.
    None,
    /// Several in a row.
    Range {
        /// The first word that is one.
        first: usize,
        /// The last; a negative one counts from the end.
        last: isize,
        /// From one to the next.
        step: usize,
    },
    /// The word at this place is their number, and they follow it.
    Counted(usize),
    /// Word 1, and behind the word at this place as many as it says (`ZUNIONSTORE`).
    StoredAndCounted(usize),
}

impl Keys {
    /// The first argument alone.
    pub const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
    /// The first two arguments.
    pub const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
    /// All arguments.
    pub const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
}

/// What a command does to its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Only looks.
    Reads,
    /// Changes, and makes nothing larger: allowed above `maxmemory`.
    Writes,
    /// May make something larger: refused above `maxmemory` when nothing can be evicted.
    Grows,
}

/// Why a command was not done, as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The key holds another kind of value.
    WrongType,
    /// The words make no sense.
    Syntax,
    /// A word, or a value, is no integer of 64 bits.
    NotInteger,
    /// A word, or a value, is no number.
    NotFloat,
    /// The key does not exist, where it must.
    NoSuchKey,
    /// A number is too small or too large.
    OutOfRange,
    /// Too few words, or too many, for a command that counts them itself; its name.
    Arity(&'static str),
    /// Any other, with its code: `ERR value is out of range`.
    Other(Cow<'static, str>),
}

impl Fault {
    /// Any other error; `text` begins with its code.
    pub fn other(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::Other(text.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Fault::Syntax => "ERR syntax error",
            Fault::NotInteger => "ERR value is not an integer or out of range",
            Fault::NotFloat => "ERR value is not a valid float",
            Fault::NoSuchKey => "ERR no such key",
            Fault::OutOfRange => "ERR index out of range",
            Fault::Arity(name) => {
                return write!(f, "ERR wrong number of arguments for '{name}' command");
            }
            Fault::Other(text) => text,
        })
    }
}
