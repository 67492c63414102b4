//! How commands read their words.

use std::ops::Range;

use crate::command::Fault;
use crate::number;
use crate::random::Random;

/// Some words, and those behind them.
pub type Split<'a, 'b> = (&'a [&'b [u8]], &'a [&'b [u8]]);

/// What a client reads instead of an answer that is too long.
pub const ANSWER_TOO_LONG: &str = "ERR the answer is longer than a client may get";

/// Returns whether a word is this option, in whatever case.
pub fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}

/// Returns the keys that the first of `words` counts, and what follows them.
///
/// # Errors
///
/// The count is none, or below 1, of which `fault` tells; or there are fewer words.
pub fn counted<'a, 'b>(words: &'a [&'b [u8]], fault: &'static str) -> Result<Split<'a, 'b>, Fault> {
    let [count, rest @ ..] = words else { return Err(Fault::Syntax) };
    let count = number::length(number::at_least(1, count, fault)?);
    rest.split_at_checked(count).ok_or(Fault::Syntax)
}

/// Reads what follows the keys of `LMPOP` and `ZMPOP`: from which side, and how many at most.
///
/// # Errors
///
/// The words make no sense.
pub fn side_and_count<T>(
    words: &[&[u8]],
    side: impl Fn(&[u8]) -> Result<T, Fault>,
) -> Result<(T, usize), Fault> {
    let [word, rest @ ..] = words else { return Err(Fault::Syntax) };
    let side = side(word)?;
    let [option, count, rest @ ..] = rest else {
        return if rest.is_empty() { Ok((side, 1)) } else { Err(Fault::Syntax) };
    };
    if !is(option, "count") {
        return Err(Fault::Syntax);
    }
    let count = number::at_least(1, count, "ERR count should be greater than 0")?;
    if rest.is_empty() { Ok((side, number::length(count))) } else { Err(Fault::Syntax) }
}

/// Reads what follows the keys of `SINTERCARD` and `ZINTERCARD`: how far to count. Nothing, and 0,
/// is no limit.
///
/// # Errors
///
/// The words make no sense.
pub fn limit(words: &[&[u8]]) -> Result<usize, Fault> {
    let (mut max, mut rest) = (0, words);
    while let [word, limit, others @ ..] = rest
        && is(word, "limit")
    {
        max = number::at_least(0, limit, "ERR LIMIT can't be negative")?;
        rest = others;
    }
    if !rest.is_empty() {
        return Err(Fault::Syntax);
    }
    Ok(if max == 0 { usize::MAX } else { number::length(max) })
}

/// Returns the part of `len` elements from `first` to `last`, both with it; negative ones count
/// from the end.
pub fn range(first: i64, last: i64, len: usize) -> Range<usize> {
    let total = number::from_length(len);
    let from_start = |index: i64| if index < 0 { (index + total).max(-1) } else { index };
    let first = number::length(from_start(first).max(0));
    let end = number::length(from_start(last).min(total - 1) + 1);
    if first < end { first..end } else { 0..0 }
}

/// The same of a string, where an end before the beginning is the first element, as Redis has it.
pub fn range_of_string(first: i64, last: i64, len: usize) -> Range<usize> {
    let total = number::from_length(len);
    let last = if last < 0 { last.saturating_add(total).max(0) } else { last };
    range(first, last, len)
}

/// Returns the place of the element at `index` of `len`; a negative one counts from the end.
pub fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + number::from_length(len) } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// Reads how many elements to pick at random; a negative number asks for that many, perhaps the
/// same again. `are_pairs`: each comes with its value. `answer_max`: the bytes of an answer.
///
/// # Errors
///
/// It is no integer, or too far from 0, or asks for more than an answer can hold.
pub fn pick_count(word: &[u8], are_pairs: bool, answer_max: usize) -> Result<i64, Fault> {
    let count = number::integer(word)?;
    if count == i64::MIN {
        return Err(Fault::other(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        )));
    }
    if are_pairs && count.abs() > i64::MAX / 2 {
        return Err(Fault::other("ERR value is out of range"));
    }
    // The least that a string takes. It is found out now, and not after seconds of picking.
    if count < 0 && count.unsigned_abs() > answer_max as u64 / b"$0\r\n\r\n".len() as u64 {
        return Err(Fault::other(ANSWER_TOO_LONG));
    }
    Ok(count)
}

/// Reads what follows the key of `HRANDFIELD` and `ZRANDMEMBER`: how many to pick, where that is
/// said, and whether each comes with its value, for which `option` asks.
///
/// # Errors
///
/// The words make no sense, or ask for more than an answer can hold.
pub fn pick_options(
    words: &[&[u8]],
    option: &str,
    answer_max: usize,
) -> Result<(Option<i64>, bool), Fault> {
    let (count, are_pairs) = match words {
        [] => return Ok((None, false)),
        [count] => (count, false),
        [count, word] if is(word, option) => (count, true),
        _ => return Err(Fault::Syntax),
    };
    Ok((Some(pick_count(count, are_pairs, answer_max)?), are_pairs))
}

/// Returns places of `len` elements at random: with `count` above 0 as many different ones, at most
/// all; with one below as many as that says, of which some may be the same.
pub fn picks(count: i64, len: usize, random: &mut Random) -> Picks<'_> {
    if count < 0 {
        let left = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        return Picks::Any { left, len, random };
    }
    let count = number::length(count);
    if count >= len {
        return Picks::All(0..len);
    }
    // The first places of a shuffled row, of which only what was exchanged is kept.
    let mut exchanged = std::collections::HashMap::new();
    let picked = (0..count).map(|at| {
        let other = at + random.below(len - at);
        let here = exchanged.get(&at).copied().unwrap_or(at);
        exchanged.insert(other, here).unwrap_or(other)
    });
    Picks::Different(picked.collect::<Vec<_>>().into_iter())
}

/// Places of elements, picked at random.
#[derive(Debug)]
pub enum Picks<'a> {
    /// All of them.
    All(Range<usize>),
    /// Some.
    Different(std::vec::IntoIter<usize>),
    /// So many, perhaps the same again.
    Any {
        /// How many are to come.
        left: usize,
        /// Of how many.
        len: usize,
        /// Picks them.
        random: &'a mut Random,
    },
}

impl Iterator for Picks<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Picks::All(range) => range.next(),
            Picks::Different(places) => places.next(),
            Picks::Any { left, len, random } => {
                *left = left.checked_sub(1)?;
                Some(random.below(*len))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match self {
            Picks::All(range) => range.len(),
            Picks::Different(places) => places.len(),
            Picks::Any { left, .. } => *left,
        };
        (len, Some(len))
    }
}

impl ExactSizeIterator for Picks<'_> {}

#[cfg(test)]
mod tests {
    use super::{picks, place, range};
    use crate::random::Random;

    #[test]
    fn a_range_has_extremes() {
        for (first, last, len, expected) in [
            (0, -1, 3, 0..3),
            (1, 1, 3, 1..2),
            (-2, -1, 3, 1..3),
            (-100, 100, 3, 0..3),
            (2, 1, 3, 0..0),
            (3, 3, 3, 0..0),
            (0, -4, 3, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 3, 0..3),
            (i64::MAX, i64::MIN, 3, 0..0),
            (i64::MIN, i64::MIN, 3, 0..0),
            (i64::MAX, i64::MAX, 3, 0..0),
        ] {
            assert_eq!(range(first, last, len), expected, "{first} to {last} of {len}");
        }
        assert_eq!(place(-3, 3), Some(0));
        assert_eq!([place(-4, 3), place(3, 3), place(i64::MIN, 3), place(i64::MAX, 3)], [None; 4]);
    }

    #[test]
    fn different_picks_are_different_and_reach_all() {
        let mut random = Random::new();
        let mut seen = [false; 10];
        for _ in 0..1000 {
            let mut picked: Vec<_> = picks(3, 10, &mut random).collect();
            picked.iter().for_each(|place| seen[*place] = true);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), 3);
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(picks(20, 10, &mut random).count(), 10);
        assert_eq!(picks(-20, 10, &mut random).count(), 20);
    }
}
