//! Hashes: fields with a value each.

use super::strings_numbers::{OVERFLOW, add_floats, float};
use super::words::{pick_options, picks};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number::{self, Extended, Parsed};
use crate::value::Hash;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::writes("hdel", -3, Keys::ONE, hdel),
    Command::reads("hexists", 3, Keys::ONE, hexists),
    Command::reads("hget", 3, Keys::ONE, hget),
    Command::reads("hgetall", 2, Keys::ONE, hgetall),
    Command::grows("hincrby", 4, Keys::ONE, hincrby),
    Command::grows("hincrbyfloat", 4, Keys::ONE, hincrbyfloat),
    Command::reads("hkeys", 2, Keys::ONE, hkeys),
    Command::reads("hlen", 2, Keys::ONE, hlen),
    Command::reads("hmget", -3, Keys::ONE, hmget),
    Command::grows("hmset", -4, Keys::ONE, hmset),
    Command::reads("hrandfield", -2, Keys::ONE, hrandfield),
    Command::grows("hset", -4, Keys::ONE, hset),
    Command::grows("hsetnx", 4, Keys::ONE, hsetnx),
    Command::reads("hstrlen", 3, Keys::ONE, hstrlen),
    Command::reads("hvals", 2, Keys::ONE, hvals),
];

fn hset(call: &mut Call<'_>) -> Outcome {
    let added = set_all(call, "hset")?;
    call.reply.count(added);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Outcome {
    set_all(call, "hmset")?;
    call.reply.simple("OK");
    Ok(())
}

fn set_all(call: &mut Call<'_>, name: &'static str) -> Result<usize, Fault> {
    let (pairs, []) = call.words[2..].as_chunks::<2>() else { return Err(Fault::Arity(name)) };
    call.keys.edit_or_create(call.words[1], |hash: &mut Hash| {
        Ok((true, pairs.iter().filter(|[field, value]| hash.set(field, value)).count()))
    })
}

fn hsetnx(call: &mut Call<'_>) -> Outcome {
    let (field, value) = (call.words[2], call.words[3]);
    let is_new = call.keys.edit_or_create(call.words[1], |hash: &mut Hash| {
        let is_new = hash.value(field).is_none() && hash.set(field, value);
        Ok((is_new, is_new))
    })?;
    call.reply.integer(is_new.into());
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Outcome {
    let fields = &call.words[2..];
    let removed = call.keys.edit(call.words[1], |hash: &mut Hash| {
        let removed = fields.iter().filter(|field| hash.remove(field)).count();
        Ok((removed > 0, removed))
    })?;
    call.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn hget(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    call.reply.bulk_or_null(hash.and_then(|hash| hash.value(call.words[2])));
    Ok(())
}

fn hmget(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    call.reply.array(call.words.len() - 2);
    for field in &call.words[2..] {
        call.reply.bulk_or_null(hash.and_then(|hash| hash.value(field)));
    }
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    let exists = hash.is_some_and(|hash| hash.value(call.words[2]).is_some());
    call.reply.integer(exists.into());
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    let value = hash.and_then(|hash| hash.value(call.words[2]));
    call.reply.count(value.map_or(0, <[u8]>::len));
    Ok(())
}

fn hlen(call: &mut Call<'_>) -> Outcome {
    let len = call.keys.read::<Hash>(call.words[1])?.map_or(0, Hash::len);
    call.reply.count(len);
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    call.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(field, _)| call.reply.bulk(field));
    Ok(())
}

fn hvals(call: &mut Call<'_>) -> Outcome {
    let hash = call.keys.read::<Hash>(call.words[1])?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| call.reply.bulk(value));
    Ok(())
}

fn hincrby(call: &mut Call<'_>) -> Outcome {
    let field = call.words[2];
    let more = number::integer(call.words[3])?;
    let sum = call.keys.edit_or_create(call.words[1], |hash: &mut Hash| {
        let no_integer = || Fault::other("ERR hash value is not an integer");
        let old =
            hash.value(field).map_or(Ok(0), |old| number::parse(old).ok_or_else(no_integer))?;
        let sum = old.checked_add(more).ok_or(Fault::other(OVERFLOW))?;
        hash.set(field, sum.to_string().as_bytes());
        Ok((true, sum))
    })?;
    call.reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_>) -> Outcome {
    let field = call.words[2];
    let more = float(call.words[3])?;
    if more == Parsed::Infinite {
        return Err(Fault::other("ERR value is NaN or Infinity"));
    }
    let sum = call.keys.edit_or_create(call.words[1], |hash: &mut Hash| {
        let old = match hash.value(field) {
            Some(old) => {
                Extended::parse(old).ok_or(Fault::other("ERR hash value is not a float"))?
            }
            None => Parsed::default(),
        };
        let sum = add_floats(old, more)?;
        hash.set(field, sum.as_bytes());
        Ok((true, sum))
    })?;
    call.reply.bulk(sum.as_bytes());
    Ok(())
}

fn hrandfield(call: &mut Call<'_>) -> Outcome {
    let mut random = call.keys.random.fork();
    let (count, with_values) = pick_options(&call.words[2..], "withvalues", call.keys.answer_max)?;
    let hash = call.keys.read::<Hash>(call.words[1])?;
    match (hash, count) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.array(0),
        (Some(hash), None) => {
            let field = hash.at(random.below(hash.len())).map(|(field, _)| field);
            call.reply.bulk_or_null(field);
        }
        (Some(hash), Some(count)) => {
            let picks = picks(count, hash.len(), &mut random);
            if with_values {
                call.reply.pairs(picks.len());
            } else {
                call.reply.array(picks.len());
            }
            for (field, value) in picks.filter_map(|place| hash.at(place)) {
                if with_values {
                    call.reply.pair();
                }
                call.reply.bulk(field);
                if with_values {
                    call.reply.bulk(value);
                }
                if call.reply.is_cut() {
                    break;
                }
            }
        }
    }
    Ok(())
}
