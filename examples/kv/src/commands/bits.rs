//! Strings that are seen as bits, the highest of each byte first: `SETBIT`, `BITCOUNT`, `BITPOS`, `BITOP`.

use std::ops::Range;

use super::words::{is, range_of_string};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::keyspace::Expiry;
use crate::number;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::reads("bitcount", -2, Keys::ONE, bitcount),
    Command::grows("bitop", -4, FROM_SECOND, bitop),
    Command::reads("bitpos", -3, Keys::ONE, bitpos),
    Command::reads("getbit", 3, Keys::ONE, getbit),
    Command::grows("setbit", 4, Keys::ONE, setbit),
];

const FROM_SECOND: Keys = Keys::Range { first: 2, last: -1, step: 1 };

fn setbit(call: &mut Call<'_>) -> Outcome {
    let (at, mask) = bit(call, call.words[2])?;
    let is_set = match call.words[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(Fault::other("ERR bit is not an integer or out of range")),
    };
    let was_set = call.keys.edit_or_create(call.words[1], |text: &mut Vec<u8>| {
        let grows = text.len() <= at;
        if grows {
            text.resize(at + 1, 0);
        }
        let was_set = text[at] & mask != 0;
        text[at] = if is_set { text[at] | mask } else { text[at] & !mask };
        Ok((grows || is_set != was_set, was_set))
    })?;
    call.reply.integer(was_set.into());
    Ok(())
}

fn getbit(call: &mut Call<'_>) -> Outcome {
    let (at, mask) = bit(call, call.words[2])?;
    let text = call.keys.read::<Vec<u8>>(call.words[1])?;
    let is_set = text.and_then(|text| text.get(at)).is_some_and(|byte| byte & mask != 0);
    call.reply.integer(is_set.into());
    Ok(())
}

/// Returns the byte that has a bit, and the bit in it.
fn bit(call: &Call<'_>, word: &[u8]) -> Result<(usize, u8), Fault> {
    let offset = number::parse(word).and_then(|offset| usize::try_from(offset).ok());
    let offset = offset.filter(|offset| offset / 8 < call.keys.string_max);
    let offset = offset.ok_or(Fault::other("ERR bit offset is not an integer or out of range"))?;
    Ok((offset / 8, 0x80 >> (offset % 8)))
}

/// Whether a range counts bits, not bytes.
fn counts_bits(word: Option<&&[u8]>) -> Result<bool, Fault> {
    match word {
        None => Ok(false),
        Some(word) if is(word, "byte") => Ok(false),
        Some(word) if is(word, "bit") => Ok(true),
        Some(_) => Err(Fault::Syntax),
    }
}

/// Returns the bits of a range.
fn bits(first: i64, last: i64, len: usize, are_bits: bool) -> Range<usize> {
    if are_bits {
        return range_of_string(first, last, len * 8);
    }
    let bytes = range_of_string(first, last, len);
    bytes.start * 8..bytes.end * 8
}

/// Returns the byte at a place with only those of its bits that are in the range.
fn masked(text: &[u8], at: usize, bits: &Range<usize>) -> u8 {
    let skipped = bits.start.saturating_sub(at * 8).min(8);
    let kept = bits.end.saturating_sub(at * 8).min(8);
    let from = 0xff_u16 >> skipped;
    let to = !(0xff_u16 >> kept);
    text[at] & (from & to).to_le_bytes()[0]
}

fn bitcount(call: &mut Call<'_>) -> Outcome {
    let Some(text) = call.keys.read::<Vec<u8>>(call.words[1])? else {
        call.reply.integer(0);
        return Ok(());
    };
    let bits = match &call.words[2..] {
        [] => 0..text.len() * 8,
        [first, last, unit @ ..] if unit.len() <= 1 => {
            let (first, last) = (number::integer(first)?, number::integer(last)?);
            if first < 0 && last < 0 && first > last {
                // Redis looks no further.
                0..0
            } else {
                bits(first, last, text.len(), counts_bits(unit.first())?)
            }
        }
        _ => return Err(Fault::Syntax),
    };
    // The first and the last byte may be in the range in part.
    let whole = bits.start.div_ceil(8)..bits.end / 8;
    let count = if bits.is_empty() {
        0
    } else if whole.start > whole.end {
        masked(text, bits.start / 8, &bits).count_ones()
    } else {
        let edge = |is_cut: bool, at: usize| {
            if is_cut { masked(text, at, &bits).count_ones() } else { 0 }
        };
        let inner: u32 = text[whole.clone()].iter().map(|byte| byte.count_ones()).sum();
        inner + edge(bits.start % 8 > 0, bits.start / 8) + edge(bits.end % 8 > 0, whole.end)
    };
    call.reply.integer(count.into());
    Ok(())
}

fn bitpos(call: &mut Call<'_>) -> Outcome {
    let is_set = match number::integer(call.words[2])? {
        0 => false,
        1 => true,
        _ => return Err(Fault::other("ERR The bit argument must be 1 or 0.")),
    };
    let Some(text) = call.keys.read::<Vec<u8>>(call.words[1])? else {
        // It is as if zeros went on for ever.
        call.reply.integer(if is_set { -1 } else { 0 });
        return Ok(());
    };
    let (bits, has_end) = match &call.words[3..] {
        [] => (0..text.len() * 8, false),
        [first] => (bits(number::integer(first)?, -1, text.len(), false), false),
        [first, last, unit @ ..] if unit.len() <= 1 => {
            let first = number::integer(first)?;
            let are_bits = counts_bits(unit.first())?;
            (bits(first, number::integer(last)?, text.len(), are_bits), true)
        }
        _ => return Err(Fault::Syntax),
    };
    let has = |at: usize| text[at / 8] & (0x80 >> (at % 8)) != 0;
    // Bytes that have no such bit are passed over at once.
    let none = if is_set { 0 } else { 0xff };
    let bytes = bits.start / 8..bits.end.div_ceil(8);
    let candidates = bytes.filter(|at| text[*at] != none).flat_map(|at| at * 8..at * 8 + 8);
    let found = candidates.filter(|at| bits.contains(at)).find(|at| has(*at) == is_set);
    call.reply.integer(match found {
        Some(at) => number::from_length(at),
        None if !is_set && !has_end && !bits.is_empty() => number::from_length(bits.end),
        None => -1,
    });
    Ok(())
}

fn bitop(call: &mut Call<'_>) -> Outcome {
    let (name, target, sources) = (call.words[1], call.words[2], &call.words[3..]);
    let apply: fn(u8, u8) -> u8 = match &name.to_ascii_lowercase()[..] {
        b"and" => |one, other| one & other,
        b"or" => |one, other| one | other,
        b"xor" => |one, other| one ^ other,
        b"not" if sources.len() == 1 => |one, _| !one,
        b"not" => {
            return Err(Fault::other("ERR BITOP NOT must be called with a single source key."));
        }
        _ => return Err(Fault::Syntax),
    };
    let texts = call.keys.read_all::<Vec<u8>>(sources)?;
    let len = texts.iter().flatten().map(|text| text.len()).max().unwrap_or(0);
    // A shorter one goes on with zeros.
    let padded = |text: Option<&Vec<u8>>| {
        let mut text = text.cloned().unwrap_or_default();
        text.resize(len, 0);
        text
    };
    let (first, others) = texts.split_first().expect("the arity says at least one");
    let mut result = padded(*first);
    if others.is_empty() && is(name, "not") {
        result.iter_mut().for_each(|byte| *byte = apply(*byte, 0));
    }
    for other in others {
        let other = padded(*other);
        result.iter_mut().zip(other).for_each(|(byte, other)| *byte = apply(*byte, other));
    }
    if len == 0 {
        call.keys.remove(target);
    } else {
        call.keys.put_string(target, &result, Expiry::Never);
    }
    call.reply.count(len);
    Ok(())
}
