//! Sorted sets, member by member: `ZADD`, `ZSCORE`, `ZRANK`, `ZREM`, `ZPOPMIN`, `ZRANDMEMBER`.
//!
//! Ranges are in `sorted_sets_ranges.rs`, what combines several in `sorted_sets_combine.rs`.

use super::words::{counted, is, pick_options, picks, side_and_count};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::keyspace::Edit;
use crate::number;
use crate::reply::Reply;
use crate::value::Sorted;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("zadd", -4, Keys::ONE, zadd),
    Command::reads("zcard", 2, Keys::ONE, zcard),
    Command::grows("zincrby", 4, Keys::ONE, zincrby),
    Command::writes("zmpop", -4, Keys::Counted(1), zmpop),
    Command::reads("zmscore", -3, Keys::ONE, zmscore),
    Command::writes("zpopmax", -2, Keys::ONE, |call| zpop(call, true)),
    Command::writes("zpopmin", -2, Keys::ONE, |call| zpop(call, false)),
    Command::reads("zrandmember", -2, Keys::ONE, zrandmember),
    Command::reads("zrank", 3, Keys::ONE, |call| rank(call, |rank, _| rank)),
    Command::writes("zrem", -3, Keys::ONE, zrem),
    Command::reads("zrevrank", 3, Keys::ONE, |call| rank(call, |rank, len| len - 1 - rank)),
    Command::reads("zscore", 3, Keys::ONE, zscore),
];

/// What the options of `ZADD` say.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    only_new: bool,
    only_old: bool,
    only_greater: bool,
    only_less: bool,
    counts_changed: bool,
    adds: bool,
}

/// What `ZADD` did.
#[derive(Debug, Default)]
struct Added {
    new: usize,
    changed: usize,
    /// The last score that was set, if one was.
    score: Option<f64>,
}

fn zadd(call: &mut Call<'_>) -> Outcome {
    let (options, pairs) = zadd_options(&call.words[2..])?;
    let (pairs, []) = pairs.as_chunks::<2>() else { return Err(Fault::Syntax) };
    let scores = pairs.iter().map(|[score, member]| Ok((number::double(score)?, *member)));
    let scores = scores.collect::<Result<Vec<_>, Fault>>()?;
    let done = add(call, options, &scores)?;
    match done.score {
        _ if !options.adds => {
            let changed = if options.counts_changed { done.changed } else { 0 };
            call.reply.count(done.new + changed);
        }
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

fn zincrby(call: &mut Call<'_>) -> Outcome {
    let more = number::double(call.words[2])?;
    let options = Options { adds: true, ..Options::default() };
    let done = add(call, options, &[(more, call.words[3])])?;
    call.reply.double(done.score.expect("without conditions a score is set"));
    Ok(())
}

fn zadd_options<'a, 'b>(words: &'a [&'b [u8]]) -> Result<(Options, &'a [&'b [u8]]), Fault> {
    let mut options = Options::default();
    let mut rest = words;
    while let [word, others @ ..] = rest {
        let option = match &word.to_ascii_lowercase()[..] {
            b"nx" => &mut options.only_new,
            b"xx" => &mut options.only_old,
            b"gt" => &mut options.only_greater,
            b"lt" => &mut options.only_less,
            b"ch" => &mut options.counts_changed,
            b"incr" => &mut options.adds,
            _ => break,
        };
        *option = true;
        rest = others;
    }
    let Options { only_new, only_old, only_greater, only_less, adds, .. } = options;
    if rest.is_empty() || rest.len() % 2 == 1 {
        return Err(Fault::Syntax);
    }
    if only_new && only_old {
        return Err(Fault::other("ERR XX and NX options at the same time are not compatible"));
    }
    if only_greater && (only_less || only_new) || only_less && only_new {
        return Err(Fault::other(
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ));
    }
    if adds && rest.len() > 2 {
        return Err(Fault::other("ERR INCR option supports a single increment-element pair"));
    }
    Ok((options, rest))
}

fn add(call: &mut Call<'_>, options: Options, scores: &[(f64, &[u8])]) -> Result<Added, Fault> {
    let edit = |sorted: &mut Sorted| -> Edit<Added> {
        let mut done = Added::default();
        for (score, member) in scores {
            let old = sorted.score(member);
            // What is not to be set has no sum that could be wrong.
            if old.map_or(options.only_old, |_| options.only_new) {
                continue;
            }
            let score = old.filter(|_| options.adds).map_or(*score, |old| old + score);
            if score.is_nan() {
                // Only of one member, so that nothing is done yet.
                return Err(Fault::other("ERR resulting score is not a number (NaN)"));
            }
            let is_set = old.is_none_or(|old| {
                !(options.only_greater && score <= old || options.only_less && score >= old)
            });
            if is_set {
                done.new += usize::from(sorted.set(member, score));
                done.changed += usize::from(old.is_some_and(|old| old != score));
                done.score = Some(score);
            }
        }
        Ok((done.new + done.changed > 0, done))
    };
    call.keys.edit_or_create(call.words[1], edit)
}

fn zrem(call: &mut Call<'_>) -> Outcome {
    let members = &call.words[2..];
    let removed = call.keys.edit(call.words[1], |sorted: &mut Sorted| {
        let removed = members.iter().filter(|member| sorted.remove(member).is_some()).count();
        Ok((removed > 0, removed))
    })?;
    call.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn zcard(call: &mut Call<'_>) -> Outcome {
    let len = call.keys.read::<Sorted>(call.words[1])?.map_or(0, Sorted::len);
    call.reply.count(len);
    Ok(())
}

fn zscore(call: &mut Call<'_>) -> Outcome {
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    match sorted.and_then(|sorted| sorted.score(call.words[2])) {
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

fn zmscore(call: &mut Call<'_>) -> Outcome {
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    call.reply.array(call.words.len() - 2);
    for member in &call.words[2..] {
        match sorted.and_then(|sorted| sorted.score(member)) {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn rank(call: &mut Call<'_>, place: impl Fn(usize, usize) -> usize) -> Outcome {
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    let found = sorted.and_then(|sorted| Some((sorted.rank(call.words[2])?, sorted.len())));
    match found {
        Some((rank, len)) => call.reply.count(place(rank, len)),
        None => call.reply.null(),
    }
    Ok(())
}

fn zpop(call: &mut Call<'_>, is_max: bool) -> Outcome {
    let count = match call.words[2..] {
        [] => None,
        [count] => Some(number::not_negative(count)?),
        _ => return Err(Fault::Syntax),
    };
    let popped = pop(call, call.words[1], is_max, count.unwrap_or(1))?.unwrap_or_default();
    // With a count, RESP3 has an array for each member.
    if count.is_some() {
        call.reply.pairs(popped.len());
    } else {
        call.reply.array(2 * popped.len());
    }
    for (member, score) in popped {
        if count.is_some() {
            call.reply.pair();
        }
        call.reply.bulk(&member);
        call.reply.double(score);
    }
    Ok(())
}

fn zmpop(call: &mut Call<'_>) -> Outcome {
    let (keys, rest) = counted(&call.words[1..], "ERR numkeys should be greater than 0")?;
    let (is_max, count) = side_and_count(rest, |word| match () {
        () if is(word, "max") => Ok(true),
        () if is(word, "min") => Ok(false),
        () => Err(Fault::Syntax),
    })?;
    for key in keys {
        let Some(popped) = pop(call, key, is_max, count)? else { continue };
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.array(popped.len());
        for (member, score) in popped {
            call.reply.array(2);
            call.reply.bulk(&member);
            call.reply.double(score);
        }
        return Ok(());
    }
    call.reply.null_array();
    Ok(())
}

type Popped = Vec<(Vec<u8>, f64)>;

fn pop(
    call: &mut Call<'_>,
    key: &[u8],
    is_max: bool,
    count: usize,
) -> Result<Option<Popped>, Fault> {
    call.keys.edit(key, |sorted: &mut Sorted| {
        let len = sorted.len();
        let count = count.min(len);
        let copy = |(member, score): (&[u8], f64)| (member.to_vec(), score);
        let popped: Popped = if is_max {
            sorted.iter_down_from(len).take(count).map(copy).collect()
        } else {
            sorted.iter_from(0).take(count).map(copy).collect()
        };
        sorted.remove_range(if is_max { len - count..len } else { 0..count });
        Ok((count > 0, popped))
    })
}

fn zrandmember(call: &mut Call<'_>) -> Outcome {
    let (count, with_scores) = pick_options(&call.words[2..], "withscores", call.keys.answer_max)?;
    let mut random = call.keys.random.fork();
    let sorted = call.keys.read::<Sorted>(call.words[1])?;
    match (sorted, count) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.array(0),
        (Some(sorted), None) => {
            let member = sorted.at(random.below(sorted.len())).map(|(member, _)| member);
            call.reply.bulk_or_null(member);
        }
        (Some(sorted), Some(count)) => {
            let picks = picks(count, sorted.len(), &mut random);
            let len = picks.len();
            let members = picks.filter_map(|place| sorted.at(place));
            write_members(call.reply, with_scores, len, members);
        }
    }
    Ok(())
}

/// Writes `len` members, each with its score if those are asked for.
pub(super) fn write_members<'a>(
    reply: &mut Reply,
    with_scores: bool,
    len: usize,
    members: impl Iterator<Item = (&'a [u8], f64)>,
) {
    if with_scores {
        reply.pairs(len);
    } else {
        reply.array(len);
    }
    for (member, score) in members {
        if with_scores {
            reply.pair();
        }
        reply.bulk(member);
        if with_scores {
            reply.double(score);
        }
        if reply.is_cut() {
            break;
        }
    }
}
