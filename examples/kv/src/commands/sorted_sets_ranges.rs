//! Sorted sets, by ranges of ranks, of scores, or of members: `ZRANGE` and its older names,
//! `ZCOUNT`, `ZREMRANGEBY…`.

use std::ops::Range;

use super::sorted_sets::write_members;
use super::words::{is, range};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;
use crate::value::Sorted;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::reads("zcount", 4, Keys::ONE, |call| count(call, By::Score)),
    Command::reads("zlexcount", 4, Keys::ONE, |call| count(call, By::Member)),
    Command::reads("zrange", -4, Keys::ONE, |call| answer(call, None, None)),
    Command::reads("zrangebylex", -4, Keys::ONE, |call| {
        answer(call, Some(By::Member), Some(false))
    }),
    Command::reads("zrangebyscore", -4, Keys::ONE, |call| {
        answer(call, Some(By::Score), Some(false))
    }),
    Command::grows("zrangestore", -5, Keys::TWO, zrangestore),
    Command::writes("zremrangebylex", 4, Keys::ONE, |call| remove(call, By::Member)),
    Command::writes("zremrangebyrank", 4, Keys::ONE, |call| remove(call, By::Rank)),
    Command::writes("zremrangebyscore", 4, Keys::ONE, |call| remove(call, By::Score)),
    Command::reads("zrevrange", -4, Keys::ONE, |call| answer(call, Some(By::Rank), Some(true))),
    Command::reads("zrevrangebylex", -4, Keys::ONE, |call| {
        answer(call, Some(By::Member), Some(true))
    }),
    Command::reads("zrevrangebyscore", -4, Keys::ONE, |call| {
        answer(call, Some(By::Score), Some(true))
    }),
];

/// By what a range is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// A range, as the words tell it.
enum Bounds<'a> {
    Ranks(i64, i64),
    Scores(Score, Score),
    Members(Member<'a>, Member<'a>),
}

/// An end of a range of scores.
#[derive(Clone, Copy)]
struct Score {
    score: f64,
    is_open: bool,
}

/// An end of a range of members.
#[derive(Clone, Copy)]
enum Member<'a> {
    Least,
    Greatest,
    Closed(&'a [u8]),
    Open(&'a [u8]),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Fault> {
        Ok(match by {
            By::Rank => Bounds::Ranks(number::integer(min)?, number::integer(max)?),
            By::Score => Bounds::Scores(Score::parse(min)?, Score::parse(max)?),
            By::Member => Bounds::Members(Member::parse(min)?, Member::parse(max)?),
        })
    }

    /// Returns the ranks that are within. `is_down`: ranks count from the greatest.
    fn ranks(&self, sorted: &Sorted, is_down: bool) -> Range<usize> {
        let ranks = match self {
            Bounds::Ranks(first, last) => {
                let ranks = range(*first, *last, sorted.len());
                if is_down { sorted.len() - ranks.end..sorted.len() - ranks.start } else { ranks }
            }
            Bounds::Scores(min, max) => {
                let start = sorted.count_before(|(score, _)| !min.is_below(score));
                start..sorted.count_before(|(score, _)| max.is_above(score))
            }
            Bounds::Members(min, max) => {
                let start = sorted.count_before(|(_, member)| !min.is_below(member));
                start..sorted.count_before(|(_, member)| max.is_above(member))
            }
        };
        // The ends may cross.
        ranks.start..ranks.end.max(ranks.start)
    }
}

impl Score {
    fn parse(word: &[u8]) -> Result<Self, Fault> {
        let fault = Fault::other("ERR min or max is not a float");
        let open = word.strip_prefix(b"(");
        let score = number::parse_bound(open.unwrap_or(word)).ok_or(fault)?;
        Ok(Score { score, is_open: open.is_some() })
    }

    fn is_below(self, score: f64) -> bool {
        if self.is_open { self.score < score } else { self.score <= score }
    }

    fn is_above(self, score: f64) -> bool {
        if self.is_open { score < self.score } else { score <= self.score }
    }
}

impl<'a> Member<'a> {
    fn parse(word: &'a [u8]) -> Result<Self, Fault> {
        match word {
            b"-" => Ok(Member::Least),
            b"+" => Ok(Member::Greatest),
            [b'[', member @ ..] => Ok(Member::Closed(member)),
            [b'(', member @ ..] => Ok(Member::Open(member)),
            _ => Err(Fault::other("ERR min or max not valid string range item")),
        }
    }

    fn is_below(self, other: &[u8]) -> bool {
        match self {
            Member::Least => true,
            Member::Greatest => false,
            Member::Closed(member) => member <= other,
            Member::Open(member) => member < other,
        }
    }

    fn is_above(self, other: &[u8]) -> bool {
        match self {
            Member::Least => false,
            Member::Greatest => true,
            Member::Closed(member) => other <= member,
            Member::Open(member) => other < member,
        }
    }
}

/// Members and their scores, in the order that was asked for.
type Members<'a> = Box<dyn Iterator<Item = (&'a [u8], f64)> + 'a>;

/// What a command asks for.
struct Request<'a> {
    bounds: Bounds<'a>,
    is_down: bool,
    with_scores: bool,
    /// How many to leave out, and how many to return at most; a negative number is no limit.
    limit: (i64, i64),
}

impl<'a> Request<'a> {
    /// Reads the ends of a range, and the options behind them. `by` and `is_down`: what the
    /// command's name says.
    fn parse(
        words: &[&'a [u8]],
        by: Option<By>,
        is_down: Option<bool>,
        is_stored: bool,
    ) -> Result<Self, Fault> {
        let [min, max, options @ ..] = words else { return Err(Fault::Syntax) };
        let (mut kind, mut down) = (by, is_down);
        let (mut with_scores, mut limit) = (false, (0, -1));
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if is(option, "withscores") && !is_stored {
                with_scores = true;
            } else if is(option, "limit") {
                let mut next = || number::integer(options.next().ok_or(Fault::Syntax)?);
                limit = (next()?, next()?);
            } else if is(option, "rev") && is_down.is_none() && down.is_none() {
                down = Some(true);
            } else if is(option, "bylex") && by.is_none() && kind.is_none() {
                kind = Some(By::Member);
            } else if is(option, "byscore") && by.is_none() && kind.is_none() {
                kind = Some(By::Score);
            } else {
                return Err(Fault::Syntax);
            }
        }
        let (by, is_down) = (kind.unwrap_or(By::Rank), down.unwrap_or(false));
        if limit.1 != -1 && by == By::Rank {
            return Err(Fault::other(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Member {
            return Err(Fault::other(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = if is_down && by != By::Rank { (max, min) } else { (min, max) };
        let bounds = Bounds::parse(by, min, max)?;
        if by == By::Rank {
            // No limit, and nothing to leave out.
            limit = (0, -1);
        }
        Ok(Request { bounds, is_down, with_scores, limit })
    }

    /// Returns how many members it asks for, and these in their order.
    fn run<'b>(&self, sorted: &'b Sorted) -> (usize, Members<'b>) {
        let ranks = self.bounds.ranks(sorted, self.is_down);
        let (skipped, max) = match self.limit {
            (skipped, _) if skipped < 0 => (ranks.len(), 0),
            (skipped, max) if max < 0 => (number::length(skipped), usize::MAX),
            (skipped, max) => (number::length(skipped), number::length(max)),
        };
        let skipped = skipped.min(ranks.len());
        let len = (ranks.len() - skipped).min(max);
        if self.is_down {
            (len, Box::new(sorted.iter_down_from(ranks.end - skipped).take(len)))
        } else {
            (len, Box::new(sorted.iter_from(ranks.start + skipped).take(len)))
        }
    }
}

fn answer(call: &mut Call<'_>, by: Option<By>, is_down: Option<bool>) -> Outcome {
    let request = Request::parse(&call.words[2..], by, is_down, false)?;
    let Some(sorted) = call.keys.read::<Sorted>(call.words[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let (len, members) = request.run(sorted);
    write_members(call.reply, request.with_scores, len, members);
    Ok(())
}

fn zrangestore(call: &mut Call<'_>) -> Outcome {
    let request = Request::parse(&call.words[3..], None, None, true)?;
    let mut stored = Sorted::default();
    if let Some(sorted) = call.keys.read::<Sorted>(call.words[2])? {
        for (member, score) in request.run(sorted).1 {
            stored.set(member, score);
        }
    }
    call.reply.count(stored.len());
    call.keys.store(call.words[1], stored);
    Ok(())
}

fn count(call: &mut Call<'_>, by: By) -> Outcome {
    let bounds = Bounds::parse(by, call.words[2], call.words[3])?;
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    call.reply.count(sorted.map_or(0, |sorted| bounds.ranks(sorted, false).len()));
    Ok(())
}

fn remove(call: &mut Call<'_>, by: By) -> Outcome {
    let bounds = Bounds::parse(by, call.words[2], call.words[3])?;
    let removed = call.keys.edit(call.words[1], |sorted: &mut Sorted| {
        let ranks = bounds.ranks(sorted, false);
        let removed = ranks.len();
        sorted.remove_range(ranks);
        Ok((removed > 0, removed))
    })?;
    call.reply.count(removed.unwrap_or(0));
    Ok(())
}
