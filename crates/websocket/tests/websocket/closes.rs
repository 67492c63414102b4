//! How a WebSocket ends, by either side.

use std::io;
use std::time::Duration;

use wouldblock::Config;
use wouldblock_websocket::{Message, Ws, code};

use crate::served::*;

/// Closes with what a text says: `4000 why`. Other messages come back.
fn closer(ws: &mut Ws<'_>, message: Message<'_>) -> io::Result<()> {
    let Message::Text(text) = message else { return Err(io::Error::other("bytes")) };
    match text.split_once(' ').map(|(code, reason)| (code.parse::<u16>(), reason)) {
        Some((Ok(code), reason)) => {
            ws.close(code, reason);
            assert!(!ws.is_open());
            ws.send("too late");
            ws.close(code::NORMAL, "twice");
        }
        _ => ws.send(text),
    }
    Ok(())
}

fn closing(set: impl FnOnce(Served) -> Served) -> Server {
    Server::with(closer, Config::default(), set, None)
}

#[test]
fn the_close_of_a_peer_is_answered_with_its_code_and_told_once() {
    let server = closing(|it| it);
    let closes = [
        (close(1000, "bye"), 1000, "1000 bye"),
        (close(4999, ""), 4999, "4999"),
        (vec![], 1005, "1005"),
        (close(1001, "a\nb"), 1001, "1001 a\\nb"),
    ];
    for (payload, code, told) in closes {
        let mut client = Client::open(&server, "/");
        client.send([text("last"), frame(0x88, &payload), text("ignored")].concat());
        assert_eq!(client.text(), "last");
        assert_eq!(client.closed(), (code, String::new()));
        assert_eq!(client.rest(), b"");
        assert_eq!(server.event(), Event::Text("last".into()));
        assert_eq!(server.event(), Event::Close(format!("{told}, 1 messages")));
    }
}

/// Nothing follows our close frame, whoever sends it, and nothing is handed out any more.
#[test]
fn our_close_waits_for_that_of_the_peer() {
    let server = closing(|it| it);
    let mut client = Client::open(&server, "/");
    client.send([text("4000 enough"), text("ignored"), frame(0x89, b"ignored")].concat());
    assert_eq!(client.closed(), (4000, "enough".into()));
    client.send(frame(0x88, &close(4000, "as you like")));
    assert_eq!(client.rest(), b"");
    assert_eq!(server.event(), Event::Text("4000 enough".into()));
    assert_eq!(server.event(), Event::Close("4000 as you like, 1 messages".into()));
}

/// No message is handed out any more, so there is nothing to be paused; the peer's close frame is
/// to be read.
#[test]
fn our_close_of_a_paused_websocket_is_answered_like_any_other() {
    let act = |ws: &mut Ws<'_>, _: Message<'_>| {
        ws.conn().pause();
        ws.close(4000, "");
        Ok(())
    };
    let server = Server::with(act, Config::default(), |it| it, None);
    let mut client = Client::open(&server, "/");
    client.send(text("close"));
    assert_eq!(server.event(), Event::Text("close".into()));
    assert_eq!(client.closed().0, 4000);
    client.send(frame(0x88, &close(4000, "")));
    assert_eq!(server.closed(), "4000, 1 messages");
}

#[test]
fn a_reason_is_cut_to_whole_characters() {
    let server = closing(|it| it);
    let mut client = Client::open(&server, "/");
    client.send(text(&format!("4000 {}", "€".repeat(100))));
    assert_eq!(client.closed(), (4000, "€".repeat(41)));
}

#[test]
fn a_peer_that_does_not_answer_our_close_is_dropped() {
    let server = closing(|it| it.close_wait(Duration::from_millis(50)));
    let mut client = Client::open(&server, "/");
    client.send(text("4000 enough"));
    assert_eq!(client.closed(), (4000, "enough".into()));
    assert_eq!(server.closed(), "1006 without a close: aborted here, 1 messages");
}

#[test]
fn a_silent_peer_is_pinged_and_then_dropped() {
    let soon = Duration::from_millis(50);
    let server = Server::echo_with(|it| it.ping(Some(soon)).pong(soon));
    let mut client = Client::open(&server, "/");
    // It may answer with a pong, or with anything else.
    for answer in [frame(0x8A, b""), text("here")] {
        assert_eq!(client.frame(), (0x89, vec![]));
        client.send(answer);
    }
    assert_eq!(client.text(), "here");
    assert_eq!(client.frame(), (0x89, vec![]));
    assert_eq!(server.closed(), "1006 without a close: aborted here, 1 messages");
}

#[test]
fn a_peer_that_vanishes_is_told_as_1006() {
    let server = closing(|it| it);
    let mut client = Client::open(&server, "/");
    client.send(&text("half of it")[..5]);
    drop(client);
    assert_eq!(
        server.event(),
        Event::Close("1006 without a close: the peer ended, 0 messages".into())
    );
}

#[test]
fn an_error_of_a_callback_closes_with_1011_behind_what_was_sent() {
    let server = closing(|it| it);
    let mut client = Client::open(&server, "/");
    client.send([text("first"), frame(0x82, b"bad"), text("ignored")].concat());
    assert_eq!(client.text(), "first");
    assert_eq!(client.closed(), (1011, String::new()));
    assert_eq!(client.rest(), b"");
    drop(client);
    assert_eq!(server.closed(), "1006 without a close: handler error: bytes, 2 messages");
}

#[test]
fn a_shutdown_says_goodbye_with_1001() {
    let server = closing(|it| it);
    let mut client = Client::open(&server, "/");
    server.handle.shutdown();
    assert_eq!(client.text(), "bye");
    assert_eq!(client.closed(), (1001, String::new()));
    assert_eq!(client.rest(), b"");
    drop(client);
    assert_eq!(server.event(), Event::Closing("shutdown".into()));
    assert_eq!(server.closed(), "1006 without a close: shutdown, 0 messages");
}
