//! `SCAN`, `HSCAN`, `SSCAN` and `ZSCAN`: all of it, a few at a time.
//!
//! A cursor is a place, and goes down. What is there from the first call to the last is returned at least once; what
//! comes or goes meanwhile may be or not. Where an element is added and another removed, one may be returned twice.

use super::words::is;
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::glob;
use crate::keyspace::Keyspace;
use crate::number;
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
                options.count = usize::try_from(count).map_err(|_| Fault::Syntax)?;
                if count < 1 {
                    return Err(Fault::Syntax);
                }
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
    answer(call, next, found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

/// Returns the places to look at, from high to low; the lowest is the next cursor.
fn places(cursor: usize, count: usize, len: usize) -> std::ops::Range<usize> {
    let from = if cursor == 0 { len } else { cursor.min(len) };
    from.saturating_sub(count)..from
}

fn answer(call: &mut Call<'_>, next: usize, len: usize) {
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    call.reply.array(len);
}

fn hscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let options = Options::parse(&call.words[3..], false)?;
    let Some(hash) = call.keys.read::<Hash>(call.words[1])? else {
        answer(call, 0, 0);
        return Ok(());
    };
    let places = places(cursor, options.count, hash.len());
    let next = places.start;
    let fields = places.rev().filter_map(|place| hash.at(place));
    let fields: Vec<_> = fields.filter(|(field, _)| options.takes(field)).collect();
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    call.reply.array(2 * fields.len());
    for (field, value) in fields {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    Ok(())
}

fn sscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let options = Options::parse(&call.words[3..], false)?;
    let Some(set) = call.keys.read::<Set>(call.words[1])? else {
        answer(call, 0, 0);
        return Ok(());
    };
    let places = places(cursor, options.count, set.len());
    let next = places.start;
    let members = places.rev().filter_map(|place| set.at(place));
    let members: Vec<_> = members.filter(|member| options.takes(member)).collect();
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    call.reply.array(members.len());
    members.iter().for_each(|member| call.reply.bulk(member));
    Ok(())
}

fn zscan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.words[2])?;
    let options = Options::parse(&call.words[3..], false)?;
    let Some(sorted) = call.keys.read::<Sorted>(call.words[1])? else {
        answer(call, 0, 0);
        return Ok(());
    };
    let places = places(cursor, options.count, sorted.len());
    let next = places.start;
    let members = places.rev().filter_map(|place| sorted.at(place));
    let members: Vec<_> = members.filter(|(member, _)| options.takes(member)).collect();
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    call.reply.array(2 * members.len());
    for (member, score) in members {
        call.reply.bulk(member);
        call.reply.bulk(number::print_double(score).as_bytes());
    }
    Ok(())
}
