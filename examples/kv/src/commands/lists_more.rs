//! Lists, by what their elements are, and from one to another: `LINSERT`, `LREM`, `LPOS`, `LMOVE`, `LMPOP`.

use super::words::{counted, is, side_and_count};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;
use crate::value::{End, List};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::grows("linsert", 5, Keys::ONE, linsert),
    Command::grows("lmove", 5, Keys::TWO, lmove),
    Command::writes("lmpop", -4, Keys::Counted(1), lmpop),
    Command::reads("lpos", -3, Keys::ONE, lpos),
    Command::writes("lrem", 4, Keys::ONE, lrem),
    Command::grows("rpoplpush", 3, Keys::TWO, |call| move_element(call, End::Right, End::Left)),
];

fn end(word: &[u8]) -> Result<End, Fault> {
    match () {
        () if is(word, "left") => Ok(End::Left),
        () if is(word, "right") => Ok(End::Right),
        () => Err(Fault::Syntax),
    }
}

fn linsert(call: &mut Call<'_>) -> Outcome {
    let [_, key, side, pivot, element] = *call.words else { return Err(Fault::Syntax) };
    let offset = match () {
        () if is(side, "before") => 0,
        () if is(side, "after") => 1,
        () => return Err(Fault::Syntax),
    };
    let len = call.keys.edit(key, |list: &mut List| {
        let Some(place) = list.iter().position(|other| other == pivot) else {
            return Ok((false, -1));
        };
        list.insert(place + offset, element);
        Ok((true, number::from_length(list.len())))
    })?;
    call.reply.integer(len.unwrap_or(0));
    Ok(())
}

fn lrem(call: &mut Call<'_>) -> Outcome {
    let count = number::integer(call.words[2])?;
    let element = call.words[3];
    let removed = call.keys.edit(call.words[1], |list: &mut List| {
        let end = if count < 0 { End::Right } else { End::Left };
        let max = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let removed = list.remove(end, if count == 0 { usize::MAX } else { max }, element);
        Ok((removed > 0, removed))
    })?;
    call.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn lpos(call: &mut Call<'_>) -> Outcome {
    let element = call.words[2];
    let (mut rank, mut count, mut len_max) = (1, None, 0);
    let mut words = call.words[3..].iter();
    while let Some(word) = words.next() {
        let argument = words.next().ok_or(Fault::Syntax)?;
        if is(word, "rank") {
            rank = number::integer(argument)?;
            if rank == 0 {
                return Err(Fault::other(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                     or use negative to start from the end of the list",
                ));
            }
        } else if is(word, "count") {
            count = Some(number::at_least(0, argument, "ERR COUNT can't be negative")?);
        } else if is(word, "maxlen") {
            len_max = number::at_least(0, argument, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(Fault::Syntax);
        }
    }
    let unlimited = |number: i64| if number == 0 { usize::MAX } else { number::length(number) };
    let skipped = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let list = call.keys.read::<List>(call.words[1])?;
    let places = list.map_or(Vec::new(), |list| {
        let mut forwards = list.iter().enumerate();
        let mut backwards = list.iter().enumerate().rev();
        let elements: &mut dyn Iterator<Item = (usize, &[u8])> =
            if rank > 0 { &mut forwards } else { &mut backwards };
        let looked_at = elements.take(unlimited(len_max));
        let found = looked_at.filter(|(_, other)| *other == element).map(|(place, _)| place);
        found.skip(skipped).take(count.map_or(1, unlimited)).collect()
    });
    match (count, places.first()) {
        (Some(_), _) => {
            call.reply.array(places.len());
            places.iter().for_each(|place| call.reply.count(*place));
        }
        (None, Some(place)) => call.reply.count(*place),
        (None, None) => call.reply.null(),
    }
    Ok(())
}

fn lmove(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (end(call.words[3])?, end(call.words[4])?);
    move_element(call, from, to)
}

fn move_element(call: &mut Call<'_>, from: End, to: End) -> Outcome {
    let (source, target) = (call.words[1], call.words[2]);
    if call.keys.read::<List>(source)?.is_none() {
        call.reply.null();
        return Ok(());
    }
    // Seen before anything is moved.
    call.keys.read::<List>(target)?;
    let element = if source == target {
        // Of one element, the list would be gone between the two.
        call.keys.edit(source, |list: &mut List| {
            let element = list.pop(from).expect("a list that exists is not empty");
            list.push(to, &element);
            Ok((true, element))
        })?
    } else {
        let element = call.keys.edit(source, |list: &mut List| {
            Ok((true, list.pop(from).expect("a list that exists is not empty")))
        })?;
        if let Some(element) = &element {
            call.keys.edit_or_create(target, |list: &mut List| {
                list.push(to, element);
                Ok((true, ()))
            })?;
        }
        element
    };
    call.reply.bulk_or_null(element.as_deref());
    Ok(())
}

fn lmpop(call: &mut Call<'_>) -> Outcome {
    let (keys, rest) = counted(&call.words[1..], "ERR numkeys should be greater than 0")?;
    let (end, count) = side_and_count(rest, end)?;
    for key in keys {
        let popped =
            call.keys.edit(key, |list: &mut List| Ok((true, list.pop_some(end, count))))?;
        if let Some(popped) = popped {
            call.reply.array(2);
            call.reply.bulk(key);
            call.reply.array(popped.len());
            popped.iter().for_each(|element| call.reply.bulk(element));
            return Ok(());
        }
    }
    call.reply.null_array();
    Ok(())
}
