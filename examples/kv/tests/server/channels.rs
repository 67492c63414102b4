//! Messages reach all that listen, whichever reactor they are connected to.

use std::io::Write;

use crate::support::*;

#[test]
fn a_message_reaches_the_clients_of_all_reactors() {
    for reactors in [1, 3] {
        let server = Server::start(reactors);
        let mut listeners: Vec<_> = (0..12).map(|_| server.client()).collect();
        for (n, client) in listeners.iter_mut().enumerate() {
            if n % 2 == 0 {
                assert_eq!(client.ask("SUBSCRIBE news"), "[subscribe news 1]");
            } else {
                assert!(client.ask("HELLO 3").contains("proto 3"));
                assert_eq!(client.ask("PSUBSCRIBE n[e-f]w?"), ">[psubscribe n[e-f]w? 1]");
            }
        }
        let mut client = server.client();
        assert_eq!(client.ask("PUBLISH news hello"), "12");
        assert_eq!(client.ask("PUBLISH olds hello"), "0");
        for (n, client) in listeners.iter_mut().enumerate() {
            let message =
                if n % 2 == 0 { "[message news hello]" } else { ">[pmessage n[e-f]w? news hello]" };
            assert_eq!(client.answer(), message);
        }
        assert_eq!(client.ask("PUBSUB CHANNELS"), "[news]");
        assert_eq!(client.ask("PUBSUB CHANNELS x*"), "[]");
        assert_eq!(client.ask("PUBSUB NUMSUB news olds"), "[news 6 olds 0]");
        assert_eq!(client.ask("PUBSUB NUMPAT"), "1");
        drop(listeners);
        until(|| client.ask("PUBLISH news hello") == "0");
        assert_eq!(
            (client.ask("PUBSUB CHANNELS"), client.ask("PUBSUB NUMPAT")),
            ("[]".into(), "0".into())
        );
    }
}

#[test]
fn a_subscriber_of_version_2_may_do_little_else_and_one_of_3_anything() {
    let server = Server::start(2);
    let mut client = server.client();
    client.ask("SUBSCRIBE a");
    let why = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    assert_eq!(client.ask("GET k"), why);
    assert_eq!(client.ask("PING"), "[pong ]");
    assert_eq!(client.ask("UNSUBSCRIBE"), "[unsubscribe a 0]");
    assert_eq!(client.ask("UNSUBSCRIBE"), "[unsubscribe nil 0]");
    assert_eq!(client.ask("GET k"), "nil");
    client.ask("HELLO 3");
    client.ask("SUBSCRIBE a");
    assert_eq!(client.ask("PING"), "PONG");
    // It hears itself before it is answered.
    client.say("PUBLISH a hello");
    let mut both = [client.answer(), client.answer()];
    both.sort();
    assert_eq!(both, ["1", ">[message a hello]"]);
    assert_eq!(client.ask("RESET"), "RESET");
    assert_eq!(client.ask("PUBSUB CHANNELS"), "[]");
}

#[test]
fn one_that_does_not_read_its_messages_is_ended_and_no_other() {
    let server = Server::start(2);
    let mut listener = server.client();
    let mut deaf = server.client();
    listener.ask("SUBSCRIBE a");
    deaf.ask("SUBSCRIBE a");
    let mut client = server.client();
    let message = vec![b'x'; 1 << 20];
    let mut sent = 0;
    loop {
        client.send(command(&[b"PUBLISH", b"a", &message]));
        let reached = client.answer();
        sent += 1;
        listener.answer();
        if reached == "1" {
            break;
        }
        assert!(sent < 200, "32 MiB are the most");
    }
    assert!(deaf.stream.write(b"PING\r\n").is_err() || sent > 32);
    assert!(server.resident() < 150 << 20);
}
