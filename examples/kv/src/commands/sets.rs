//! Sets: members.

use super::words::{counted, limit, pick_count, picks};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;
use crate::value::Set;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("sadd", -3, Keys::ONE, sadd),
    Command::reads("scard", 2, Keys::ONE, scard),
    Command::reads("sdiff", -2, Keys::ALL, |call| answer(call, diff)),
    Command::grows("sdiffstore", -3, Keys::ALL, |call| store(call, diff)),
    Command::reads("sinter", -2, Keys::ALL, |call| answer(call, inter)),
    Command::reads("sintercard", -3, Keys::Counted(1), sintercard),
    Command::grows("sinterstore", -3, Keys::ALL, |call| store(call, inter)),
    Command::reads("sismember", 3, Keys::ONE, sismember),
    Command::reads("smembers", 2, Keys::ONE, smembers),
    Command::reads("smismember", -3, Keys::ONE, smismember),
    Command::writes("smove", 4, Keys::TWO, smove),
    Command::writes("spop", -2, Keys::ONE, spop),
    Command::reads("srandmember", -2, Keys::ONE, srandmember),
    Command::writes("srem", -3, Keys::ONE, srem),
    Command::reads("sunion", -2, Keys::ALL, |call| answer(call, union)),
    Command::grows("sunionstore", -3, Keys::ALL, |call| store(call, union)),
];

fn sadd(call: &mut Call<'_>) -> Outcome {
    let members = &call.words[2..];
    let added = call.keys.edit_or_create(call.words[1], |set: &mut Set| {
        let added = members.iter().filter(|member| set.insert(member)).count();
        Ok((added > 0, added))
    })?;
    call.reply.count(added);
    Ok(())
}

fn srem(call: &mut Call<'_>) -> Outcome {
    let members = &call.words[2..];
    let removed = call.keys.edit(call.words[1], |set: &mut Set| {
        let removed = members.iter().filter(|member| set.remove(member)).count();
        Ok((removed > 0, removed))
    })?;
    call.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn smove(call: &mut Call<'_>) -> Outcome {
    let [_, from, to, member] = *call.words else { return Err(Fault::Syntax) };
    let Some(source) = call.keys.read::<Set>(from)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let is_moved = source.contains(member);
    // Seen before anything is moved.
    call.keys.read::<Set>(to)?;
    if is_moved && from != to {
        call.keys.edit(from, |set: &mut Set| Ok((set.remove(member), ())))?;
        call.keys.edit_or_create(to, |set: &mut Set| Ok((set.insert(member), ())))?;
    }
    call.reply.integer(is_moved.into());
    Ok(())
}

fn scard(call: &mut Call<'_>) -> Outcome {
    let len = call.keys.read::<Set>(call.words[1])?.map_or(0, Set::len);
    call.reply.count(len);
    Ok(())
}

fn sismember(call: &mut Call<'_>) -> Outcome {
    let set = call.keys.read::<Set>(call.words[1])?;
    call.reply.integer(set.is_some_and(|set| set.contains(call.words[2])).into());
    Ok(())
}

fn smismember(call: &mut Call<'_>) -> Outcome {
    let set = call.keys.read::<Set>(call.words[1])?;
    call.reply.array(call.words.len() - 2);
    for member in &call.words[2..] {
        call.reply.integer(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

fn smembers(call: &mut Call<'_>) -> Outcome {
    let set = call.keys.read::<Set>(call.words[1])?;
    call.reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| call.reply.bulk(member));
    Ok(())
}

fn spop(call: &mut Call<'_>) -> Outcome {
    let count = match call.words[2..] {
        [] => None,
        [count] => Some(number::not_negative(count)?),
        _ => return Err(Fault::Syntax),
    };
    let mut random = call.keys.random.fork();
    let popped = call.keys.edit(call.words[1], |set: &mut Set| {
        let count = count.unwrap_or(1).min(set.len());
        let popped = (0..count).map(|_| set.take_at(random.below(set.len())));
        Ok((count > 0, popped.collect::<Vec<_>>()))
    })?;
    if count.is_some() {
        let popped = popped.unwrap_or_default();
        call.reply.set(popped.len());
        popped.iter().for_each(|member| call.reply.bulk(member));
    } else {
        let popped = popped.as_ref().and_then(|popped| popped.first());
        call.reply.bulk_or_null(popped.map(|member| &**member));
    }
    Ok(())
}

fn srandmember(call: &mut Call<'_>) -> Outcome {
    let count = match call.words[2..] {
        [] => None,
        [count] => Some(pick_count(count, false, call.keys.answer_max)?),
        _ => return Err(Fault::Syntax),
    };
    let mut random = call.keys.random.fork();
    let set = call.keys.read::<Set>(call.words[1])?;
    match (set, count) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.array(0),
        (Some(set), None) => call.reply.bulk_or_null(set.at(random.below(set.len()))),
        (Some(set), Some(count)) => {
            let picks = picks(count, set.len(), &mut random);
            call.reply.array(picks.len());
            for member in picks.filter_map(|place| set.at(place)) {
                call.reply.bulk(member);
                if call.reply.is_cut() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Shows `see` the members that all sets have, until it returns false. One that does not exist is empty.
fn intersect<'a>(sets: &[Option<&'a Set>], mut see: impl FnMut(&'a [u8]) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return };
    // From the smallest on, so that few are looked for.
    sets.sort_by_key(|set| set.len());
    let Some((first, others)) = sets.split_first() else { return };
    for member in first.iter().filter(|member| others.iter().all(|set| set.contains(member))) {
        if !see(member) {
            return;
        }
    }
}

fn inter(call: &mut Call<'_>, keys: &[&[u8]]) -> Result<Set, Fault> {
    let sets = call.keys.read_all::<Set>(keys)?;
    let mut all = Set::default();
    intersect(&sets, |member| {
        all.insert(member);
        true
    });
    Ok(all)
}

fn union(call: &mut Call<'_>, keys: &[&[u8]]) -> Result<Set, Fault> {
    let sets = call.keys.read_all::<Set>(keys)?;
    Ok(sets.into_iter().flatten().flat_map(Set::iter).collect())
}

fn diff(call: &mut Call<'_>, keys: &[&[u8]]) -> Result<Set, Fault> {
    let sets = call.keys.read_all::<Set>(keys)?;
    let Some((Some(first), others)) = sets.split_first() else { return Ok(Set::default()) };
    let is_left = |member: &&[u8]| !others.iter().flatten().any(|set| set.contains(member));
    Ok(first.iter().filter(is_left).collect())
}

type Combine = fn(&mut Call<'_>, &[&[u8]]) -> Result<Set, Fault>;

fn answer(call: &mut Call<'_>, combine: Combine) -> Outcome {
    let set = combine(call, &call.words[1..])?;
    call.reply.set(set.len());
    set.iter().for_each(|member| call.reply.bulk(member));
    Ok(())
}

fn store(call: &mut Call<'_>, combine: Combine) -> Outcome {
    let set = combine(call, &call.words[2..])?;
    call.reply.count(set.len());
    call.keys.store(call.words[1], set);
    Ok(())
}

fn sintercard(call: &mut Call<'_>) -> Outcome {
    let counted = counted(&call.words[1..], "ERR numkeys should be greater than 0");
    let (keys, rest) = counted.map_err(|fault| match fault {
        Fault::Syntax => Fault::other("ERR Number of keys can't be greater than number of args"),
        other => other,
    })?;
    let max = limit(rest)?;
    let sets = call.keys.read_all::<Set>(keys)?;
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        count < max
    });
    call.reply.count(count);
    Ok(())
}
