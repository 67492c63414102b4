//! Peers that send garbage, never read, flood or vanish: it costs them their connection, and nobody
//! else anything.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use crate::support::*;

/// What the last line says to a client that sends this.
fn last_words(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.client();
    // The server may have closed before it has read all.
    let _ = client.stream.write_all(bytes);
    let mut said = Vec::new();
    let _ = client.stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).trim_end().to_string()
}

#[test]
fn what_is_no_command_is_answered_as_redis_does_and_closed() {
    let server = Server::start(1);
    for (bytes, why) in [
        (&b"*1000000000\r\n"[..], "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$629145600\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n\x00", "expected '$', got '\\x00'"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF behind a bulk"),
        (b"set \"a\r\n", "unbalanced quotes in request"),
        (b"set \"a\"b\r\n", "unbalanced quotes in request"),
        (&vec![b'x'; 70_000], "too big inline request"),
    ] {
        assert_eq!(last_words(&server, bytes), format!("-ERR Protocol error: {why}"));
    }
    // What came before it is answered, and what comes behind it is not.
    let said = last_words(&server, b"PING\r\n*1\r\n$x\r\nPING\r\n");
    assert_eq!(said, "+PONG\r\n-ERR Protocol error: invalid bulk length");
}

/// Lines are commands, and so would be those of a form that a web page has a browser on this machine send.
#[test]
fn what_a_web_page_has_a_browser_send_is_no_command() {
    let server = Server::start(1);
    server.client().ask("SET kept 1");
    for head in ["POST / HTTP/1.1\r\nHost: x", "PUT / HTTP/1.1\r\nhost: x"] {
        let request = format!("{head}\r\nContent-Length: 10\r\n\r\nFLUSHALL\r\n");
        let told = last_words(&server, request.as_bytes());
        assert!(told.contains("HTTP"), "{told}");
        assert_eq!(server.client().ask("GET kept"), "1");
    }
}

#[test]
fn empty_commands_are_no_commands_and_lines_are() {
    let server = Server::start(1);
    let mut client = server.client();
    client.send("\r\n\r\n*0\r\n*-5\r\n   \r\nset k \"a\\x41\\n\\\"\" \r\nget k\nECHO 'it\\'s'\r\n");
    assert_eq!(client.answer(), "OK");
    assert_eq!(client.answer(), "aA\n\"");
    assert_eq!(client.answer(), "it's");
}

#[test]
fn a_command_may_come_byte_by_byte() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut client = server.client();
        client.stream.set_nodelay(true).unwrap();
        for byte in
            [command(&[b"MSET", b"a", b"1", b"b", b"\r\n$5"]), command(&[b"MGET", b"a", b"b"])]
                .concat()
        {
            client.send([byte]);
        }
        assert_eq!((client.answer(), client.answer()), ("OK".into(), "[1 \r\n$5]".into()));
    }
}

#[test]
fn many_words_that_trickle_in_cost_linear_time() {
    let server = Server::start(1);
    let mut client = server.client();
    let words = 300_000;
    client.send(format!("*{}\r\n$3\r\nDEL\r\n", words + 1));
    // Each write is seen by a read of its own or not; looking at all of it again each time would
    // take minutes.
    let piece = "$3\r\nabc\r\n".repeat(30);
    for _ in 0..words / 30 {
        client.send(&piece);
    }
    assert_eq!(client.answer(), "0");
}

/// The peer reads nothing until all is sent: so the server has to stop reading, and to go on later.
#[test]
fn a_client_that_pipelines_more_than_anybody_holds_gets_all_answers() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut client = server.client();
        let value = vec![b'v'; 10_000];
        for key in 0..10 {
            client.send(command(&[b"SET", format!("key{key}").as_bytes(), &value]));
            assert_eq!(client.answer(), "OK");
        }
        let mut writer = client.stream.try_clone().unwrap();
        let rounds = 20_000;
        let sending = thread::spawn(move || {
            for n in 0..rounds {
                let key = format!("key{}", n % 10);
                writer.write_all(&command(&[b"GET", key.as_bytes()])).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        // 200 MB, of which the server keeps a small part.
        let mut most = 0;
        for n in 0..rounds {
            assert_eq!(client.answer().len(), value.len());
            if n % 1000 == 0 {
                most = most.max(server.resident());
            }
        }
        sending.join().unwrap();
        assert_eq!(client.rest(), b"");
        assert!(most < 100 << 20, "{} MB", most >> 20);
    }
}

/// Values of other shards than its own, a thousand commands at once, and it reads nothing until
/// others were served.
#[test]
fn a_client_that_does_not_read_large_values_of_other_shards_holds_little_and_nobody_up() {
    let server = Server::start(3);
    let mut other = server.client();
    let value = vec![b'v'; 1 << 20];
    for key in ["a", "b", "c", "d"] {
        other.send(command(&[b"SET", key.as_bytes(), &value]));
        assert_eq!(other.answer(), "OK");
    }
    let mut client = server.client();
    let round = [
        command(&[b"GET", b"a"]),
        command(&[b"GET", b"b"]),
        command(&[b"MGET", b"c", b"a", b"d"]),
        command(&[b"WATCH", b"b"]),
        command(&[b"GET", b"c"]),
        command(&[b"UNWATCH"]),
        command(&[b"STRLEN", b"d"]),
    ]
    .concat();
    let rounds = 200;
    let all = round.repeat(rounds);
    let mut writer = client.stream.try_clone().unwrap();
    let sending = thread::spawn(move || writer.write_all(&all).unwrap());
    for n in 0..300 {
        assert_eq!(other.ask("MGET x y z w"), "[nil nil nil nil]");
        for key in ["a", "b", "c", "d"] {
            assert_eq!(other.ask(&format!("STRLEN {key}")), "1048576");
        }
        let held = server.resident();
        assert!(held < 100 << 20, "{} MB in round {n}", held >> 20);
    }
    for _ in 0..rounds {
        assert_eq!(client.answer().len(), value.len());
        assert_eq!(client.answer().len(), value.len());
        assert_eq!(client.answer().len(), 3 * value.len() + 4);
        assert_eq!(client.answer(), "OK");
        assert_eq!(client.answer().len(), value.len());
        assert_eq!((client.answer(), client.answer()), ("OK".into(), "1048576".into()));
    }
    sending.join().unwrap();
    let held = server.resident();
    assert!(held < 100 << 20, "{} MB at the end", held >> 20);
}

#[test]
fn names_that_are_kept_for_a_client_have_a_limit_and_so_has_a_pattern() {
    let server = Server::start(2);
    let mut client = server.client();
    let name = "n".repeat(1 << 20);
    let mut refused = 0;
    for n in 0..20 {
        refused +=
            usize::from(client.ask(&format!("WATCH {{k}}{name}{n}")).starts_with("-ERR too many"));
    }
    assert_eq!(refused, 5); // 15 of a little more than 1 MiB fit in 16
    assert_eq!(client.ask("UNWATCH"), "OK");
    assert_eq!(client.ask("WATCH {k}"), "OK");
    let mut listener = server.client();
    for n in 0..15 {
        assert!(listener.ask(&format!("SUBSCRIBE {name}{n}")).starts_with("[subscribe"));
    }
    assert_eq!(listener.ask(&format!("SUBSCRIBE {name}")), "-ERR too many subscriptions");
    assert!(listener.ask(&format!("UNSUBSCRIBE {name}3")).starts_with("[unsubscribe"));
    assert!(listener.ask(&format!("SUBSCRIBE {name}")).starts_with("[subscribe"));
    let long = "*a".repeat(513);
    for what in ["KEYS", "SCAN 0 MATCH", "PSUBSCRIBE", "PUBSUB CHANNELS"] {
        let said = client.ask(&format!("{what} {long}"));
        assert_eq!(said, "-ERR a pattern has at most 1024 bytes", "{what}");
    }
}

/// What it has watched before its answers were too many for it is not watched for ever.
#[test]
fn a_client_that_vanishes_with_unread_answers_leaves_no_watch_behind() {
    let server = Server::start(3);
    let mut other = server.client();
    let value = vec![b'v'; 1 << 20];
    for key in ["a", "b", "c"] {
        other.send(command(&[b"SET", key.as_bytes(), &value]));
        assert_eq!(other.answer(), "OK");
    }
    for ending in ["UNWATCH", "MULTI\r\nGET b\r\nEXEC"] {
        for key in ["a", "b", "c"] {
            let mut client = server.client();
            let gets = format!("GET {key}\r\n").repeat(300);
            client.send(format!("WATCH {key}\r\n{gets}{ending}\r\n"));
            assert_eq!(client.answer(), "OK");
        }
    }
    until(|| other.ask("INFO clients").contains("total_watched_keys:0\r\n"));
}

#[test]
fn a_client_that_ends_its_side_gets_all_answers() {
    for reactors in [1, 2, 3] {
        let server = Server::start(reactors);
        let mut client = server.client();
        let commands: Vec<u8> = (0..5000)
            .flat_map(|n| command(&[b"INCR", format!("k{}", n % 50).as_bytes()]))
            .collect();
        client.send(commands);
        client.stream.shutdown(Shutdown::Write).unwrap();
        for n in 0..5000 {
            assert_eq!(client.answer(), (n / 50 + 1).to_string());
        }
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn an_answer_longer_than_any_limit_of_output_arrives() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut client = server.client();
        let value = vec![b'x'; 1 << 20];
        let values: Vec<&[u8]> =
            [&b"RPUSH"[..], b"list"].into_iter().chain((0..60).map(|_| &value[..])).collect();
        client.send(command(&values));
        assert_eq!(client.answer(), "60");
        client.send([command(&[b"LRANGE", b"list", b"0", b"-1"]), command(&[b"PING"])].concat());
        assert_eq!(client.answer().len(), 60 * (value.len() + 1) + 1);
        assert_eq!(client.answer(), "PONG");
    }
}

#[test]
fn one_that_vanishes_in_a_transaction_leaves_nothing() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut other = server.client();
        for key in ["a", "b", "c"] {
            let mut client = server.client();
            assert_eq!(client.ask(&format!("WATCH {key}")), "OK");
            assert_eq!(client.ask("MULTI"), "OK");
            assert_eq!(client.ask(&format!("SET {key} 1")), "QUEUED");
            client.say("EXEC");
            drop(client);
            let mut client = server.client();
            client.ask("MULTI");
            client.ask(&format!("SET {key}x 1"));
            drop(client);
        }
        until(|| other.ask("CLIENT LIST").lines().count() == 1);
        assert_eq!(other.ask("EXISTS ax bx cx"), "0");
    }
}

#[test]
fn one_that_never_reads_does_not_keep_others_waiting() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut deaf = server.client();
        let mut other = server.client();
        other.send(command(&[b"SET", b"large", &vec![b'x'; 1 << 20]]));
        other.answer();
        deaf.stream.set_nonblocking(true).unwrap();
        let get = command(&[b"GET", b"large"]).repeat(100);
        while deaf.stream.write(&get).is_ok() {}
        for n in 1..=1000 {
            assert_eq!(other.ask("INCR n"), n.to_string());
        }
        assert!(server.resident() < 100 << 20, "{} MB", server.resident() >> 20);
    }
}
