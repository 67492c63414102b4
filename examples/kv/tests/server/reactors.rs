//! Several reactors are one server: whatever shard has a key, answers come in order and commands on
//! many keys are whole.

use crate::support::*;

#[test]
fn answers_come_in_the_order_of_the_commands() {
    let server = Server::start(3);
    let mut client = server.client();
    let mut commands = Vec::new();
    for n in 0..10_000 {
        commands.extend(command(&[
            b"SET",
            format!("key{}", n % 97).as_bytes(),
            n.to_string().as_bytes(),
        ]));
        commands.extend(command(&[b"GET", format!("key{}", n % 97).as_bytes()]));
        commands.extend(command(&[b"ECHO", format!("echo{n}").as_bytes()]));
    }
    let mut writer = client.stream.try_clone().unwrap();
    let sending =
        std::thread::spawn(move || std::io::Write::write_all(&mut writer, &commands).unwrap());
    for n in 0..10_000 {
        assert_eq!(client.answer(), "OK");
        assert_eq!(client.answer(), n.to_string());
        assert_eq!(client.answer(), format!("echo{n}"));
    }
    sending.join().unwrap();
}

#[test]
fn commands_on_keys_of_several_shards_are_split_and_put_together() {
    for reactors in [1, 2, 3, 5] {
        let server = Server::start(reactors);
        let mut client = server.client();
        assert_eq!(client.ask("MSET a 1 b 2 c 3 d 4 e 5 f 6"), "OK");
        assert_eq!(client.ask("MGET f e x d c y b a f"), "[6 5 nil 4 3 nil 2 1 6]");
        assert_eq!(client.ask("RPUSH list 1"), "1");
        assert_eq!(client.ask("MGET a list b"), "[1 nil 2]");
        assert_eq!(client.ask("EXISTS a b c x a"), "4");
        assert_eq!(client.ask("TOUCH a b x"), "2");
        assert_eq!(client.ask("DEL a b x"), "2");
        assert_eq!(client.ask("UNLINK c"), "1");
        assert_eq!(client.ask("DBSIZE"), "4");
        assert_eq!(client.ask("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command");
        let mut keys: Vec<_> =
            client.ask("KEYS *").trim_matches(['[', ']']).split(' ').map(String::from).collect();
        keys.sort();
        assert_eq!(keys, ["d", "e", "f", "list"]);
        assert!(keys.contains(&client.ask("RANDOMKEY")));
        assert_eq!(client.ask("FLUSHALL"), "OK");
        assert_eq!((client.ask("DBSIZE"), client.ask("RANDOMKEY")), ("0".into(), "nil".into()));
    }
}

#[test]
fn a_command_that_cannot_be_split_says_so() {
    let server = Server::start(2);
    let mut client = server.client();
    // foo is in slot 12182, bar in 5061: even and odd.
    assert_eq!(
        client.ask("RENAME foo bar"),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
    assert_eq!(
        client.ask("SINTER foo bar"),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
    assert_eq!(
        client.ask("MSETNX foo 1 bar 2"),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
    assert_eq!(client.ask("MSETNX {foo} 1 bar{foo} 2"), "1");
    assert_eq!(client.ask("RENAME {foo} foo"), "OK");
}

#[test]
fn a_scan_visits_every_key_of_every_shard_once_while_nothing_changes() {
    for reactors in [1, 2, 3] {
        let server = Server::start(reactors);
        let mut client = server.client();
        for n in 0..1000 {
            client.say(&format!("SET key{n} {n}"));
        }
        (0..1000).for_each(|_| assert_eq!(client.answer(), "OK"));
        let (mut cursor, mut seen) = ("0".to_string(), Vec::new());
        loop {
            let answer = client.ask(&format!("SCAN {cursor} COUNT 37"));
            let (next, keys) = answer[1..answer.len() - 1].split_once(' ').unwrap();
            seen.extend(
                keys.trim_matches(['[', ']'])
                    .split(' ')
                    .filter(|key| !key.is_empty())
                    .map(String::from),
            );
            cursor = next.to_string();
            if cursor == "0" {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen.len(), 1000);
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert_eq!(client.ask("SCAN x"), "-ERR invalid cursor");
    }
}

#[test]
fn what_is_counted_is_added_up() {
    let server = Server::start(3);
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("SET key{n} 1 EX 100")), "OK");
        assert_eq!(
            client.ask(&format!("LPUSH key{n} 1")),
            "-WRONGTYPE Operation against a key holding the wrong kind of value"
        );
    }
    let info = clients[0].ask("INFO everything");
    for line in ["connected_clients:20", "db0:keys=20,expires=20,avg_ttl=0", "reactors:3"] {
        assert!(info.lines().any(|it| it == line), "{line}: {info}");
    }
    assert!(info.contains("cmdstat_set:calls=20,"), "{info}");
    // A setting is that of all shards.
    assert_eq!(clients[0].ask("CONFIG SET maxmemory 3kb maxmemory-policy allkeys-lru"), "OK");
    for client in &mut clients {
        assert_eq!(
            client.ask("CONFIG GET maxmemory*"),
            "[maxmemory 3072 maxmemory-policy allkeys-lru]"
        );
    }
    assert_eq!(clients[0].ask("CLIENT LIST").lines().count(), 20);
}

#[test]
fn a_shutdown_answers_what_was_asked() {
    let server = Server::start(2);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        let commands: Vec<u8> =
            (0..1000).flat_map(|n| command(&[b"INCR", format!("n{n}").as_bytes()])).collect();
        client.send(commands);
    }
    for client in &mut clients {
        client.answer();
    }
    clients[0].say("SHUTDOWN");
    for client in &mut clients {
        for _ in 1..1000 {
            let answer = client.answer();
            let is_number = answer.parse::<u64>().is_ok();
            // A shard without clients has ended before, and says so.
            assert!(is_number || answer == "-ERR the server is shutting down", "{answer}");
        }
        assert_eq!(client.rest(), b"");
    }
    assert!(server.ends());
}
