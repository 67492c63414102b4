//! `LCS`: the longest sequence of bytes that two strings share.

use super::words::is;
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::reads("lcs", -3, Keys::TWO, lcs)];

#[derive(Default)]
struct Options {
    wants_len: bool,
    wants_places: bool,
    with_len: bool,
    len_min: i64,
}

fn lcs(call: &mut Call<'_>) -> Outcome {
    let max = call.keys.string_max;
    let strings = call.keys.read_all::<Vec<u8>>(&call.words[1..3]);
    let strings =
        strings.map_err(|_| Fault::other("ERR The specified keys must contain string values"))?;
    let [one, other] = [strings[0], strings[1]].map(|text| text.map_or(&[][..], |text| text));
    let options = parse(&call.words[3..])?;
    let size = (one.len() + 1).saturating_mul(other.len() + 1);
    if size.saturating_mul(size_of::<u32>()) > max {
        return Err(Fault::other(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Table::new(one, other);
    let len = table.at(one.len(), other.len());
    if options.wants_len {
        call.reply.integer(len.into());
        return Ok(());
    }
    let (text, mut matches) = table.walk(one, other);
    if !options.wants_places {
        call.reply.bulk(&text);
        return Ok(());
    }
    matches.retain(|found| number::from_length(found.len) >= options.len_min);
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(matches.len());
    for found in matches {
        call.reply.array(2 + usize::from(options.with_len));
        for start in [found.one, found.other] {
            call.reply.array(2);
            call.reply.count(start);
            call.reply.count(start + found.len - 1);
        }
        if options.with_len {
            call.reply.count(found.len);
        }
    }
    call.reply.bulk(b"len");
    call.reply.integer(len.into());
    Ok(())
}

fn parse(words: &[&[u8]]) -> Result<Options, Fault> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if is(word, "idx") {
            options.wants_places = true;
        } else if is(word, "len") {
            options.wants_len = true;
        } else if is(word, "withmatchlen") {
            options.with_len = true;
        } else if is(word, "minmatchlen") {
            options.len_min = number::integer(words.next().ok_or(Fault::Syntax)?)?;
        } else {
            return Err(Fault::Syntax);
        }
    }
    if options.wants_len && options.wants_places {
        return Err(Fault::other(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    Ok(options)
}

/// For each pair of beginnings, how long a sequence they share.
struct Table {
    lengths: Vec<u32>,
    width: usize,
}

/// A run of bytes that both have: where in each, and how long.
struct Match {
    one: usize,
    other: usize,
    len: usize,
}

impl Table {
    fn new(one: &[u8], other: &[u8]) -> Self {
        let width = other.len() + 1;
        let mut table = Table { lengths: vec![0; (one.len() + 1) * width], width };
        for (i, a) in one.iter().enumerate() {
            for (j, b) in other.iter().enumerate() {
                let longest = if a == b {
                    table.at(i, j) + 1
                } else {
                    table.at(i, j + 1).max(table.at(i + 1, j))
                };
                table.lengths[(i + 1) * width + j + 1] = longest;
            }
        }
        table
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * self.width + j]
    }

    /// Returns the sequence, and its runs from the last to the first.
    fn walk(&self, one: &[u8], other: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut i, mut j) = (one.len(), other.len());
        let (mut text, mut matches) = (Vec::new(), Vec::<Match>::new());
        while i > 0 && j > 0 {
            if one[i - 1] == other[j - 1] {
                (i, j) = (i - 1, j - 1);
                text.push(one[i]);
                match matches.last_mut() {
                    Some(last) if (last.one, last.other) == (i + 1, j + 1) => {
                        *last = Match { one: i, other: j, len: last.len + 1 };
                    }
                    _ => matches.push(Match { one: i, other: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        text.reverse();
        (text, matches)
    }
}
