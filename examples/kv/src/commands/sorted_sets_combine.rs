//! Sorted sets, several of them: `ZUNION`, `ZINTER`, `ZDIFF`, and those that store what they find.
//! Sets take part, each member with the score 1.

use indexmap::IndexMap;

use super::sorted_sets::write_members;
use super::words::{Split, counted, is, limit};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;
use crate::value::{Set, Sorted, Value};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::reads("zdiff", -3, Keys::Counted(1), |call| answer(call, How::Diff, "zdiff")),
    Command::grows("zdiffstore", -4, STORED, |call| store(call, How::Diff, "zdiffstore")),
    Command::reads("zinter", -3, Keys::Counted(1), |call| answer(call, How::Inter, "zinter")),
    Command::reads("zintercard", -3, Keys::Counted(1), zintercard),
    Command::grows("zinterstore", -4, STORED, |call| store(call, How::Inter, "zinterstore")),
    Command::reads("zunion", -3, Keys::Counted(1), |call| answer(call, How::Union, "zunion")),
    Command::grows("zunionstore", -4, STORED, |call| store(call, How::Union, "zunionstore")),
];

const STORED: Keys = Keys::StoredAndCounted(2);

/// What is done with several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Union,
    Inter,
    Diff,
}

/// How the scores of one member in several become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            // Of infinities with different signs; the rule is Redis'.
            Aggregate::Sum if (one + other).is_nan() => 0.0,
            Aggregate::Sum => one + other,
            Aggregate::Min => {
                if other < one {
                    other
                } else {
                    one
                }
            }
            Aggregate::Max => {
                if other > one {
                    other
                } else {
                    one
                }
            }
        }
    }
}

/// A set, or a sorted set, or nothing, that takes part.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Nothing,
    Set(&'a Set),
    Sorted(&'a Sorted),
}

impl<'a> Source<'a> {
    fn new(value: Option<&'a Value>) -> Result<Self, Fault> {
        match value {
            None => Ok(Source::Nothing),
            Some(Value::Set(set)) => Ok(Source::Set(set)),
            Some(Value::Sorted(sorted)) => Ok(Source::Sorted(sorted)),
            Some(Value::String(_) | Value::List(_) | Value::Hash(_)) => Err(Fault::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::Sorted(sorted) => sorted.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Sorted(sorted) => sorted.score(member),
        }
    }

    fn iter(self) -> impl Iterator<Item = (&'a [u8], f64)> {
        let (set, sorted) = match self {
            Source::Nothing => (None, None),
            Source::Set(set) => (Some(set), None),
            Source::Sorted(sorted) => (None, Some(sorted)),
        };
        let members = set.into_iter().flat_map(Set::iter).map(|member| (member, 1.0));
        members.chain(sorted.into_iter().flat_map(|sorted| sorted.iter_from(0)))
    }
}

/// The options behind the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Options {
    fn parse(words: &[&[u8]], keys: usize, how: How, is_stored: bool) -> Result<Self, Fault> {
        let mut options =
            Options { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false };
        let mut rest = words;
        while let [word, others @ ..] = rest {
            rest = others;
            if how != How::Diff && is(word, "weights") && rest.len() >= keys {
                let (weights, others) = rest.split_at(keys);
                let fault = || Fault::other("ERR weight value is not a float");
                let weights =
                    weights.iter().map(|word| number::parse_double(word).ok_or_else(fault));
                options.weights = weights.collect::<Result<_, _>>()?;
                rest = others;
            } else if how != How::Diff && is(word, "aggregate") {
                let [word, others @ ..] = rest else { return Err(Fault::Syntax) };
                options.aggregate = match &word.to_ascii_lowercase()[..] {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(Fault::Syntax),
                };
                rest = others;
            } else if !is_stored && is(word, "withscores") {
                options.with_scores = true;
            } else {
                return Err(Fault::Syntax);
            }
        }
        Ok(options)
    }
}

fn keys_and_rest<'a, 'b>(words: &'a [&'b [u8]], name: &str) -> Result<Split<'a, 'b>, Fault> {
    if number::integer(words[0])? < 1 {
        return Err(Fault::other(format!(
            "ERR at least 1 input key is needed for '{name}' command"
        )));
    }
    counted(words, "ERR value is not an integer or out of range")
}

/// Returns what comes of the sets whose keys `words` count, and whether the scores are asked for.
fn combine(
    call: &mut Call<'_>,
    how: How,
    name: &str,
    is_stored: bool,
) -> Result<(Sorted, bool), Fault> {
    let words = &call.words[if is_stored { 2 } else { 1 }..];
    let (keys, rest) = keys_and_rest(words, name)?;
    // Redis tells of a wrong kind before it reads the options.
    let values = call.keys.values(keys);
    let sources = values.into_iter().map(Source::new).collect::<Result<Vec<_>, _>>()?;
    let options = Options::parse(rest, keys.len(), how, is_stored)?;
    let mut sources: Vec<_> = sources.into_iter().zip(options.weights).collect();
    if how != How::Diff {
        // As Redis does: so sums of floats come out the same.
        sources.sort_by_key(|(source, _)| source.len());
    }
    let weighted = |score: f64, weight: f64| {
        let score = score * weight;
        if score.is_nan() { 0.0 } else { score }
    };
    let mut scores: IndexMap<&[u8], f64> = IndexMap::new();
    match (how, &sources[..]) {
        (How::Union, sources) => {
            for (source, weight) in sources {
                for (member, score) in source.iter() {
                    let score = weighted(score, *weight);
                    let sum = scores.entry(member);
                    sum.and_modify(|sum| *sum = options.aggregate.of(*sum, score)).or_insert(score);
                }
            }
        }
        (How::Inter, [(first, weight), others @ ..]) => {
            for (member, score) in first.iter() {
                let mut scores_elsewhere = others
                    .iter()
                    .map(|(source, weight)| source.score(member).map(|score| score * weight));
                let sum = scores_elsewhere.try_fold(weighted(score, *weight), |sum, score| {
                    score.map(|score| options.aggregate.of(sum, score))
                });
                scores.extend(sum.map(|sum| (member, sum)));
            }
        }
        (How::Diff, [(first, _), others @ ..]) => {
            let is_left =
                |member: &[u8]| others.iter().all(|(other, _)| other.score(member).is_none());
            scores.extend(first.iter().filter(|(member, _)| is_left(member)));
        }
        (How::Inter | How::Diff, []) => {}
    }
    let mut sorted = Sorted::default();
    for (member, score) in scores {
        sorted.set(member, score);
    }
    Ok((sorted, options.with_scores))
}

fn answer(call: &mut Call<'_>, how: How, name: &str) -> Outcome {
    let (sorted, with_scores) = combine(call, how, name, false)?;
    write_members(call.reply, with_scores, sorted.len(), sorted.iter_from(0));
    Ok(())
}

fn store(call: &mut Call<'_>, how: How, name: &str) -> Outcome {
    let (sorted, _) = combine(call, how, name, true)?;
    call.reply.count(sorted.len());
    call.keys.store(call.words[1], sorted);
    Ok(())
}

fn zintercard(call: &mut Call<'_>) -> Outcome {
    let (keys, rest) = keys_and_rest(&call.words[1..], "zintercard")?;
    let sources = call.keys.values(keys).into_iter().map(Source::new);
    let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
    let max = limit(rest)?;
    sources.sort_by_key(|source| source.len());
    let Some((first, others)) = sources.split_first() else { return Err(Fault::Syntax) };
    let is_in_all = |member: &[u8]| others.iter().all(|other| other.score(member).is_some());
    let members = first.iter().filter(|(member, _)| is_in_all(member));
    call.reply.count(members.take(max).count());
    Ok(())
}
