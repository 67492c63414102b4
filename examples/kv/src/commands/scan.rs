//! `SCAN`, `HSCAN`, `SSCAN` and `ZSCAN`: all of it, a few at a time.
//!
//! A cursor is a place, and goes down. What is there from the first call to the last is returned at
//! least once; what comes or goes meanwhile may be or not. Where an element is added and another
//! removed, one may be returned twice.

use super::words::is;
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::glob;
use crate::keyspace::Keyspace;
use crate::number;
use crate::reply::Reply;
use crate::value::{Hash, Set, Sorted};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::reads("hscan", -3, Keys::ONE, hscan),
    Command::reads("scan", -2, Keys::None, scan),
    Command::reads("sscan", -3, Keys::ONE, sscan),
    Command::reads("zscan", -3, Keys::ONE, zscan),
];

/// What the options of a scan say.
#[derive(Debug)]
pub struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads `MATCH`, `COUNT` and, of a scan of keys, `TYPE`.
    ///
    /// # Errors
    ///
    /// They make no sense.
    pub fn parse(words: &[&'a [u8]], is_of_keys: bool) -> Result<Self, Fault> {
        let mut options = Options { pattern: None, count: 10, kind: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let argument = words.next().ok_or(Fault::Syntax)?;
            if is(word, "count") {
                let count = number::integer(argument)?;
                if count < 1 {
                    return Err(Fault::Syntax);
                }
                options.count = number::length(count);
            } else if is(word, "match") {
                glob::check(argument)?;
                options.pattern = Some(argument);
            } else if is(word, "type") && is_of_keys {
                options.kind = Some(argument);
            } else {
                return Err(Fault::Syntax);
            }
        }
        Ok(options)
    }

    fn takes(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// Reads a cursor.
///
/// # Errors
///
/// It is none.
pub fn cursor(word: &[u8]) -> Result<usize, Fault> {
    let text = str::from_utf8(word).ok().filter(|text| !text.starts_with('+'));
    let cursor = text.and_then(|text| text.parse::<u64>().ok());
    let cursor = cursor.ok_or(Fault::other("ERR invalid cursor"))?;
    Ok(usize::try_from(cursor).unwrap_or(usize::MAX))
}

/// Goes on with a scan of keys, and returns the next cursor.
pub fn scan_keys(
    keys: &Keyspace,
    cursor: usize,
    options: &Options<'_>,
    mut found: impl FnMut(&[u8]),
) -> usize {
    keys.scan(cursor, options.count, |key, value| {
        if options.kind.is_none_or(|kind| is(kind, value.kind())) && options.takes(key) {
            found(key);
        }
    })
}

fn scan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[1])?;
    let options = Options::parse(&call.words[2..], true)?;
    let mut found = Vec::new();
    let next = scan_keys(call.keys, cursor, &options, |key| found.push(key.to_vec()));
    answer(call.reply, next, found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

fn answer(reply: &mut Reply, next: usize, len: usize) {
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(len);
}

/// The next cursor, and elements with their names.
type Page<'a, T> = (usize, Vec<(&'a [u8], T)>);

/// Goes on with a scan of a container of `len` elements, of which `at` returns the one at a place.
/// Returns the next cursor, and the elements whose names the options in `words` take. Of an empty
/// one, no option is read, as in Redis.
fn page<'a, T>(
    cursor: usize,
    words: &[&[u8]],
    len: usize,
    at: impl Fn(usize) -> Option<(&'a [u8], T)>,
) -> Result<Page<'a, T>, Fault> {
    if len == 0 {
        return Ok((0, Vec::new()));
    }
    let options = Options::parse(words, false)?;
    let from = if cursor == 0 { len } else { cursor.min(len) };
    let next = from.saturating_sub(options.count);
    let elements = (next..from).rev().filter_map(at);
    Ok((next, elements.filter(|(name, _)| options.takes(name)).collect()))
}

fn hscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let hash = call.keys.read::<Hash>(call.words[1])?;
    let len = hash.map_or(0, Hash::len);
    let (next, fields) = page(cursor, &call.words[3..], len, |place| hash?.at(place))?;
    answer(call.reply, next, 2 * fields.len());
    for (field, value) in fields {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    Ok(())
}

fn sscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let set = call.keys.read::<Set>(call.words[1])?;
    let len = set.map_or(0, Set::len);
    let (next, members) = page(cursor, &call.words[3..], len, |place| Some((set?.at(place)?, ())))?;
    answer(call.reply, next, members.len());
    members.iter().for_each(|(member, ())| call.reply.bulk(member));
    Ok(())
}

fn zscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    let len = sorted.map_or(0, Sorted::len);
    let (next, members) = page(cursor, &call.words[3..], len, |place| sorted?.at(place))?;
    answer(call.reply, next, 2 * members.len());
    for (member, score) in members {
        call.reply.bulk(member);
        call.reply.bulk(number::print_double(score).as_bytes());
    }
    Ok(())
}
