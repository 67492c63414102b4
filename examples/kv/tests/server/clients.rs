//! What a client may know and say of itself and others.

use crate::support::*;

#[test]
fn a_client_has_a_number_and_a_name_and_may_end_others() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let (mut one, mut two, mut three) = (server.client(), server.client(), server.client());
        assert_eq!(one.ask("CLIENT GETNAME"), "nil");
        assert_eq!(one.ask("CLIENT SETNAME one"), "OK");
        assert_eq!(
            one.ask("CLIENT SETNAME é"),
            "-ERR Client names cannot contain spaces, newlines or special characters."
        );
        assert_eq!(one.ask("CLIENT GETNAME"), "one");
        assert!(two.ask("CLIENT LIST").contains(" name=one "));
        assert!(one.ask("CLIENT INFO").contains(" cmd=client "));
        let number = two.ask("CLIENT ID");
        assert_eq!(one.ask(&format!("CLIENT LIST ID {number}")).lines().count(), 1);
        assert_eq!(one.ask(&format!("CLIENT KILL ID {number}")), "1");
        assert_eq!(two.rest(), b"");
        let address = three.stream.local_addr().unwrap().to_string();
        assert_eq!(one.ask(&format!("CLIENT KILL {address}")), "OK");
        assert_eq!(three.rest(), b"");
        assert_eq!(one.ask("CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
        assert_eq!(one.ask("CLIENT KILL TYPE normal"), "0");
        let own = one.ask("CLIENT ID");
        assert_eq!(one.ask(&format!("CLIENT KILL ID {own} SKIPME no")), "1");
        assert_eq!(one.rest(), b"");
    }
}

#[test]
fn answers_that_are_not_wanted_do_not_come() {
    for reactors in [1, 2] {
        let server = Server::start(reactors);
        let mut client = server.client();
        for words in
            ["CLIENT REPLY OFF", "SET a 1", "SET b 1", "SET c 1", "MGET a b c", "CLIENT REPLY ON"]
        {
            client.say(words);
        }
        assert_eq!(client.answer(), "OK");
        for words in
            ["CLIENT REPLY SKIP", "INCR a", "INCR b", "CLIENT REPLY SKIP", "INCR b", "INCR a"]
        {
            client.say(words);
        }
        assert_eq!((client.answer(), client.answer()), ("2".into(), "3".into()));
        assert_eq!(client.ask("MGET a b c"), "[3 3 1]");
    }
}

#[test]
fn hello_chooses_the_version() {
    let server = Server::start(1);
    let mut client = server.client();
    assert!(client.ask("HELLO 3 SETNAME x").starts_with("{server redis version 7.0.15 proto 3 "));
    assert_eq!(client.ask("GET nothing"), "nil");
    assert_eq!(client.ask("HELLO 4"), "-NOPROTO unsupported protocol version");
    assert_eq!(client.ask("HELLO x"), "-ERR Protocol version is not an integer or out of range");
    assert!(client.ask("HELLO 2").starts_with("[server redis"));
    assert_eq!(client.ask("QUIT"), "OK");
    assert_eq!(client.rest(), b"");
}
