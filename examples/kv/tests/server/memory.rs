//! Memory: what `maxmemory` counts, beside what the process occupies.

use crate::support::{Client, Server, command};

/// Returns the words of an element.
type Element = fn(usize) -> Vec<String>;

/// The command that stores each kind, and an element of it: of a string, its key too.
const KINDS: [(&str, Element); 5] = [
    ("SET", |number| vec![format!("key:{number}"), format!("value{number}")]),
    ("RPUSH", |number| vec![format!("element{number}")]),
    ("HSET", |number| vec![format!("field{number}"), format!("value{number}")]),
    ("SADD", |number| vec![format!("member{number}")]),
    ("ZADD", |number| vec![number.to_string(), format!("member{number}")]),
];

fn counted(client: &mut Client) -> usize {
    let info = client.ask("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn what_is_counted_is_within_a_fifth_of_what_the_process_occupies() {
    for (name, element) in KINDS {
        let server = Server::start(1);
        let mut client = server.client();
        let before = (counted(&mut client), server.resident());
        for batch in 0..500 {
            let elements = (batch * 1000..(batch + 1) * 1000).map(element);
            let commands: Vec<Vec<String>> = if name == "SET" {
                elements.map(|words| [vec![name.to_string()], words].concat()).collect()
            } else {
                let start = vec![name.to_string(), "key".to_string()];
                vec![[start, elements.flatten().collect()].concat()]
            };
            let bytes = |words: &Vec<String>| {
                command(&words.iter().map(String::as_bytes).collect::<Vec<_>>())
            };
            client.send(commands.iter().flat_map(bytes).collect::<Vec<u8>>());
            for _ in &commands {
                client.answer();
            }
        }
        let (counted, resident) = (counted(&mut client) - before.0, server.resident() - before.1);
        let is_near = (resident * 4 / 5..resident * 6 / 5).contains(&counted);
        assert!(is_near, "{name}: {counted} counted, {resident} occupied");
    }
}
