//! `MULTI`, `EXEC`, `WATCH`, in the client's shard and in others.

use crate::support::*;

#[test]
fn a_transaction_is_run_where_its_keys_are() {
    for reactors in [1, 2, 3] {
        let server = Server::start(reactors);
        let mut client = server.client();
        for key in ["a", "b", "c", "d"] {
            assert_eq!(client.ask("MULTI"), "OK");
            assert_eq!(client.ask(&format!("SET {key} 1")), "QUEUED");
            assert_eq!(client.ask(&format!("INCR {key}")), "QUEUED");
            assert_eq!(client.ask(&format!("LPUSH {key} x")), "QUEUED");
            let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
            assert_eq!(client.ask("ECHO here"), "QUEUED");
            assert_eq!(client.ask("PING"), "QUEUED");
            assert_eq!(client.ask("EXEC"), format!("[OK 2 {wrong} here PONG]"));
        }
        assert_eq!(client.ask("MGET a b c d"), "[2 2 2 2]");
        assert_eq!((client.ask("MULTI"), client.ask("EXEC")), ("OK".into(), "[]".into()));
        assert_eq!(client.ask("EXEC"), "-ERR EXEC without MULTI");
        assert_eq!(client.ask("DISCARD"), "-ERR DISCARD without MULTI");
    }
}

#[test]
fn what_is_refused_when_it_is_queued_ends_the_transaction() {
    let server = Server::start(2);
    let mut client = server.client();
    for (words, why) in [
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("NONSENSE", "-ERR unknown command 'NONSENSE', with args beginning with: "),
        ("SAVE", "-ERR Command not allowed inside a transaction"),
    ] {
        assert_eq!(client.ask("MULTI"), "OK");
        assert_eq!(client.ask("SET a 1"), "QUEUED");
        assert_eq!(client.ask(words).trim(), why.trim());
        assert_eq!(
            client.ask("EXEC"),
            "-EXECABORT Transaction discarded because of previous errors."
        );
    }
    assert_eq!(client.ask("GET a"), "nil");
    assert_eq!(client.ask("MULTI"), "OK");
    assert_eq!(client.ask("MULTI"), "-ERR MULTI calls can not be nested");
    assert_eq!(client.ask("WATCH a"), "-ERR WATCH inside MULTI is not allowed");
    assert_eq!(client.ask("DISCARD"), "OK");
}

#[test]
fn a_watched_key_that_changes_in_any_shard_stops_the_transaction() {
    for reactors in [1, 2, 3] {
        let server = Server::start(reactors);
        let (mut client, mut other) = (server.client(), server.client());
        for (key, change) in [
            ("a", "SET a 1"),
            ("b", "DEL b"),
            ("c", "FLUSHALL"),
            ("d", "EXPIRE d 0"),
            ("e", "GET e"),
        ] {
            other.ask(&format!("SET {key} 0"));
            assert_eq!(client.ask(&format!("WATCH {key}")), "OK");
            other.ask(change);
            client.ask("MULTI");
            client.ask(&format!("SET {key} mine"));
            let answer = client.ask("EXEC");
            assert_eq!(answer, if change.starts_with("GET") { "[OK]" } else { "nil" }, "{change}");
            // Watched once.
            client.ask("MULTI");
            client.ask(&format!("SET {key} mine"));
            assert_eq!(client.ask("EXEC"), "[OK]");
            // And not at all.
            client.ask(&format!("WATCH {key}"));
            other.ask(&format!("SET {key} 2"));
            assert_eq!(client.ask("UNWATCH"), "OK");
            client.ask("MULTI");
            client.ask(&format!("GET {key}"));
            assert_eq!(client.ask("EXEC"), "[2]");
        }
    }
}

#[test]
fn all_of_it_may_be_pipelined() {
    let server = Server::start(2);
    let mut client = server.client();
    for key in ["a", "b", "c", "d"] {
        for words in [
            &format!("WATCH {key}"),
            "MULTI",
            &format!("INCR {key}"),
            &format!("INCR {key}"),
            "EXEC",
            "PING",
        ] {
            client.say(words);
        }
        let answers: Vec<_> = (0..6).map(|_| client.answer()).collect();
        assert_eq!(answers, ["OK", "OK", "QUEUED", "QUEUED", "[1 2]", "PONG"]);
    }
}

#[test]
fn a_transaction_over_several_shards_says_that_it_cannot() {
    let server = Server::start(2);
    let mut client = server.client();
    // foo is in slot 12182, bar in 5061: even and odd.
    client.ask("MULTI");
    client.ask("SET foo 1");
    client.ask("SET bar 1");
    let why = "-CROSSSLOT Keys in a transaction, and those watched for it, have to be in one shard of the server";
    assert_eq!(client.ask("EXEC"), why);
    assert_eq!(client.ask("EXISTS foo bar"), "0");
    assert_eq!(client.ask("WATCH foo"), "OK");
    client.ask("MULTI");
    client.ask("SET bar 1");
    assert_eq!(client.ask("EXEC"), why);
    // In one of the two shards it is with the client, and what is about no key may be in it.
    let said: Vec<_> = ["foo", "bar"]
        .iter()
        .map(|key| {
            client.ask("MULTI");
            client.ask(&format!("SET {key} 1"));
            client.ask("PUBLISH channel hello");
            client.ask("EXEC")
        })
        .collect();
    assert!(said.contains(&"[OK 0]".to_string()), "{said:?}");
    assert!(
        said.iter().any(|it| it.starts_with("-ERR A transaction on keys of another shard")),
        "{said:?}"
    );
}
