//! How tests of commands are written: words in, the answer as text out, on a keyspace without a network.

mod hashes;
mod keys;
mod lists;
mod sets;
mod sorted_sets;
mod strings;

use crate::command::Command;
use crate::keyspace::Keyspace;
use crate::reply::Reply;

/// Runs one command, its words separated by spaces (`""` is an empty word, `\xNN` a byte), and
/// returns the answer's bytes with `\r\n` as one space, and other control characters as `\xNN`.
pub(crate) fn run(keys: &mut Keyspace, line: &str) -> String {
    let words: Vec<Vec<u8>> = line.split(' ').map(word).collect();
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    let mut reply = Reply::default();
    super::execute(command(words[0]), &words, keys, &mut reply);
    let text = String::from_utf8_lossy(&reply.bytes).replace("\r\n", " ");
    let shown = text.trim_end().chars().map(|char| match char {
        char if char.is_control() => format!("\\x{:02x}", u32::from(char)),
        char => char.to_string(),
    });
    shown.collect()
}

/// Runs lines `command => answer` in order, on one new keyspace at the time 1,000,000.
pub(crate) fn check(table: &str) {
    let mut keys = Keyspace::default();
    keys.set_now(1_000_000);
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, answer) = line.split_once(" => ").expect("a line has an answer");
        assert_eq!(run(&mut keys, command), answer, "to {command}");
    }
}

fn command(name: &[u8]) -> &'static Command {
    let name = String::from_utf8(name.to_ascii_lowercase()).expect("a name is text");
    let mut all = super::ALL.iter().copied().flatten();
    all.find(|command| command.name == name).unwrap_or_else(|| panic!("no command {name}"))
}

fn word(text: &str) -> Vec<u8> {
    if text == "\"\"" {
        return Vec::new();
    }
    let mut parts = text.split("\\x");
    let mut word = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        word.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        word.extend_from_slice(&part.as_bytes()[2..]);
    }
    word
}

#[test]
fn an_answer_that_is_far_longer_than_what_is_stored_is_refused() {
    let mut keys = Keyspace::default();
    keys.answer_max = 10_000;
    let refused = "-ERR the answer is longer than a client may get";
    run(&mut keys, &format!("SET a {}", "x".repeat(3001)));
    assert_eq!(run(&mut keys, "MGET a a a a"), refused);
    let whole = "*3 ".len() + 3 * ("$3001 ".len() + 3001 + 1) - 1;
    assert_eq!(run(&mut keys, "MGET a a a").len(), whole);
    run(&mut keys, "SADD s member");
    run(&mut keys, "HSET h field value");
    run(&mut keys, "ZADD z 1 member");
    for (name, key, with) in [
        ("SRANDMEMBER", "s", ""),
        ("HRANDFIELD", "h", " WITHVALUES"),
        ("ZRANDMEMBER", "z", " WITHSCORES"),
    ] {
        for count in [-1_000_000_000_000_i64, -1600, -900] {
            assert_eq!(run(&mut keys, &format!("{name} {key} {count}{with}")), refused, "{count}");
        }
        assert!(run(&mut keys, &format!("{name} {key} -2{with}")).starts_with('*'));
    }
    assert_eq!(run(&mut keys, "GET nothing"), "$-1");
}
