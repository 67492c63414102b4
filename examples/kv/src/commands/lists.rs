//! Lists at their ends and by place: `LPUSH`, `LPOP`, `LRANGE`, `LSET`. What looks for elements, or
//! moves them to another list, is in `lists_more.rs`.

use super::words::{place, range};
use crate::command::{Call, Command, Fault, Keys, Outcome};
use crate::number;
use crate::value::{End, List};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::reads("lindex", 3, Keys::ONE, lindex),
    Command::reads("llen", 2, Keys::ONE, llen),
    Command::writes("lpop", -2, Keys::ONE, |call| pop(call, End::Left, "lpop")),
    Command::grows("lpush", -3, Keys::ONE, |call| push(call, End::Left)),
    Command::grows("lpushx", -3, Keys::ONE, |call| push_if_exists(call, End::Left)),
    Command::reads("lrange", 4, Keys::ONE, lrange),
    Command::grows("lset", 4, Keys::ONE, lset),
    Command::writes("ltrim", 4, Keys::ONE, ltrim),
    Command::writes("rpop", -2, Keys::ONE, |call| pop(call, End::Right, "rpop")),
    Command::grows("rpush", -3, Keys::ONE, |call| push(call, End::Right)),
    Command::grows("rpushx", -3, Keys::ONE, |call| push_if_exists(call, End::Right)),
];

fn push(call: &mut Call<'_>, end: End) -> Outcome {
    let elements = &call.words[2..];
    let len = call.keys.edit_or_create(call.words[1], |list: &mut List| {
        elements.iter().for_each(|element| list.push(end, element));
        Ok((true, list.len()))
    })?;
    call.reply.count(len);
    Ok(())
}

fn push_if_exists(call: &mut Call<'_>, end: End) -> Outcome {
    if call.keys.read::<List>(call.words[1])?.is_some() {
        return push(call, end);
    }
    call.reply.integer(0);
    Ok(())
}

fn pop(call: &mut Call<'_>, end: End, name: &'static str) -> Outcome {
    let count = match call.words[2..] {
        [] => None,
        [count] => Some(number::not_negative(count)?),
        _ => return Err(Fault::Arity(name)),
    };
    let popped = call.keys.edit(call.words[1], |list: &mut List| {
        let popped = list.pop_some(end, count.unwrap_or(1));
        Ok((!popped.is_empty(), popped))
    })?;
    match (popped, count) {
        (Some(popped), Some(_)) => {
            call.reply.array(popped.len());
            popped.iter().for_each(|element| call.reply.bulk(element));
        }
        (Some(popped), None) => popped.iter().for_each(|element| call.reply.bulk(element)),
        (None, Some(_)) => call.reply.null_array(),
        (None, None) => call.reply.null(),
    }
    Ok(())
}

fn llen(call: &mut Call<'_>) -> Outcome {
    let len = call.keys.read::<List>(call.words[1])?.map_or(0, List::len);
    call.reply.count(len);
    Ok(())
}

fn lindex(call: &mut Call<'_>) -> Outcome {
    let list = call.keys.read::<List>(call.words[1])?;
    let Some(list) = list else {
        call.reply.null();
        return Ok(());
    };
    let place = place(number::integer(call.words[2])?, list.len());
    call.reply.bulk_or_null(place.and_then(|place| list.at(place)));
    Ok(())
}

fn lrange(call: &mut Call<'_>) -> Outcome {
    let (first, last) = (number::integer(call.words[2])?, number::integer(call.words[3])?);
    let Some(list) = call.keys.read::<List>(call.words[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let elements = list.range(range(first, last, list.len()));
    call.reply.array(elements.len());
    elements.for_each(|element| call.reply.bulk(element));
    Ok(())
}

fn lset(call: &mut Call<'_>) -> Outcome {
    let (index, element) = (call.words[2], call.words[3]);
    let is_set = call.keys.edit(call.words[1], |list: &mut List| {
        let place = place(number::integer(index)?, list.len()).ok_or(Fault::OutOfRange)?;
        list.set(place, element);
        Ok((true, ()))
    })?;
    is_set.ok_or(Fault::NoSuchKey)?;
    call.reply.simple("OK");
    Ok(())
}

fn ltrim(call: &mut Call<'_>) -> Outcome {
    let (first, last) = (number::integer(call.words[2])?, number::integer(call.words[3])?);
    call.keys.edit(call.words[1], |list: &mut List| {
        list.trim(range(first, last, list.len()));
        Ok((true, ()))
    })?;
    call.reply.simple("OK");
    Ok(())
}
