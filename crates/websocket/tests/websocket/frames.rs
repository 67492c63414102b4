//! Frames: how messages come, and what is none.

use std::io;

use wouldblock::Config;
use wouldblock_websocket::{Message, Ws};

use crate::served::*;

#[test]
fn messages_of_every_length_come_back() {
    let server = Server::echo();
    let mut client = Client::open(&server, "/");
    for len in [0, 1, 3, 125, 126, 127, 4096, 65_535, 65_536, 300_000, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        client.send(frame(0x82, &bytes));
        assert_eq!(server.event(), Event::Binary(bytes.clone()));
        assert_eq!(client.frame(), (0x82, bytes), "{len} bytes");
        let letters: String = "aé€😀".chars().cycle().take(len / 4).collect();
        client.send(text(&letters));
        assert_eq!(server.event(), Event::Text(letters.clone()));
        assert_eq!(client.text(), letters);
    }
}

/// Pings are answered where they stand, and a message goes on behind them.
#[test]
fn a_message_in_fragments_of_one_byte_each_comes_whole_with_pings_between_them() {
    let server = Server::echo();
    let mut client = Client::open(&server, "/");
    let message = "a€😀";
    let bytes = message.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let opcode = u8::from(i == 0);
        let fin = if i + 1 == bytes.len() { 0x80 } else { 0 };
        for byte in frame(opcode | fin, &[*byte]) {
            client.send([byte]);
        }
        if fin == 0 {
            client.send(frame(0x89, &[i as u8]));
            assert_eq!(client.frame(), (0x8A, vec![i as u8]));
            assert_eq!(server.event(), Event::Ping(vec![i as u8]));
            client.send(frame(0x00, b""));
        }
    }
    assert_eq!(client.text(), message);
    assert_eq!(server.event(), Event::Text(message.into()));
    client.send(frame(0x8A, b"unasked"));
    assert_eq!(server.event(), Event::Pong(b"unasked".to_vec()));
}

#[test]
fn what_is_none_of_the_protocol_is_refused_with_its_code() {
    let server = Server::echo();
    let unmasked = vec![0x81, 2, b'h', b'i'];
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (unmasked, 1002, "without a mask"),
        (frame(0x83, b""), 1002, "reserved opcode"),
        (frame(0x8B, b""), 1002, "reserved opcode"),
        (frame(0xC1, b"x"), 1002, "reserved bit"),
        (frame(0x91, b"x"), 1002, "reserved bit"),
        (frame(0x80, b"x"), 1002, "continuation of nothing"),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002, "within another"),
        (frame(0x09, b""), 1002, "control frame"),
        (frame(0x89, &[0; 126]), 1002, "control frame"),
        (vec![0x82, 0xFE, 0, 125, 0, 0, 0, 0], 1002, "shortest form"),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0], 1002, "shortest form"),
        (vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 1002, "shortest form"),
        (frame(0x88, &[3]), 1002, "half a code"),
        (frame(0x88, &close(1005, "")), 1002, "a code that is none"),
        (frame(0x88, &close(2999, "")), 1002, "a code that is none"),
        (frame(0x88, &[3, 0xE8, 0xFF]), 1007, "not UTF-8"),
        (frame(0x81, b"\xC3"), 1007, "not UTF-8"),
        (frame(0x81, b"\xED\xA0\x80"), 1007, "not UTF-8"),
        // At once, and not when the message is whole.
        (frame(0x01, b"\xFF"), 1007, "not UTF-8"),
        (frame(0x81, b"abc\xFFdef")[..6 + 4].to_vec(), 1007, "not UTF-8"),
        (frame(0x82, &vec![0; (1 << 20) + 1])[..14].to_vec(), 1009, "too long"),
        (
            vec![0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
            1009,
            "too long",
        ),
    ];
    for (bytes, code, why) in cases {
        let mut client = Client::open(&server, "/");
        client.send(&bytes);
        let (told, reason) = client.closed();
        assert_eq!(told, code, "{bytes:x?}");
        assert!(reason.contains(why), "{bytes:x?}: {reason}");
        assert_eq!(client.rest(), b"");
        let closed = server.closed();
        assert!(closed.starts_with(&format!("{code} ")) && closed.contains(why), "{closed}");
    }
}

#[test]
fn a_message_may_have_message_max_bytes_and_not_one_more() {
    let server = Server::echo_with(|it| it.message_max(1000));
    let mut client = Client::open(&server, "/");
    client.send(frame(0x82, &[7; 1000]));
    assert_eq!(client.frame(), (0x82, vec![7; 1000]));
    client.send([frame(0x02, &[7; 999]), frame(0x80, &[7; 1])].concat());
    assert_eq!(client.frame(), (0x82, vec![7; 1000]));
    client.send([frame(0x02, &[7; 999]), frame(0x80, &[7; 2])].concat());
    assert_eq!(client.closed(), (1009, "a message that is too long".into()));
    let server = Server::echo_with(|it| it.message_max(0));
    let mut client = Client::open(&server, "/");
    client.send(frame(0x82, b""));
    assert_eq!(client.frame(), (0x82, vec![]));
}

/// Nothing is joined; of a text whole characters come, however it is cut.
#[test]
fn a_message_can_be_had_in_chunks_as_it_comes() {
    let server = Server::echo_with(|it| it.streamed(true).message_max(1));
    let mut client = Client::open(&server, "/");
    let whole = frame(0x01, "aé".as_bytes());
    let (first, second) = whole.split_at(whole.len() - 1);
    client.send(first);
    assert_eq!(server.event(), Event::Chunk("a".into(), true, false));
    client.send(second);
    assert_eq!(server.event(), Event::Chunk("é".into(), false, false));
    client.send(frame(0x89, b""));
    assert_eq!(server.event(), Event::Ping(vec![]));
    assert_eq!(client.frame(), (0x8A, vec![]));
    client.send(frame(0x80, b""));
    assert_eq!(server.event(), Event::Chunk(String::new(), false, true));
    client.send(frame(0x82, b"bytes"));
    assert_eq!(server.event(), Event::Chunk("bytes".into(), true, true));
    client.send([frame(0x01, b"\xC3"), frame(0x80, b"")].concat());
    assert_eq!(client.closed().0, 1007);
}

/// A peer that asks and asks, and reads nothing, is not handed another message (promise 5);
/// whatever the size of an answer, the loop that is not there is right.
#[test]
fn a_client_that_does_not_read_is_handed_no_more_messages_and_loses_none() {
    const MESSAGES: usize = 3000;
    let answer = vec![b'x'; 20_000];
    let act = move |ws: &mut Ws<'_>, _: Message<'_>| {
        assert!(ws.conn().queued() < (64 << 10) + 30_000, "{} queued", ws.conn().queued());
        ws.send(&answer);
        Ok(())
    };
    // Sixty megabytes in all: no kernel has room for them.
    let server = Server::with(act, Config::default(), |it| it, None);
    let mut client = Client::open(&server, "/");
    client.send(text("x").repeat(MESSAGES));
    for _ in 0..MESSAGES {
        assert_eq!(client.frame().1.len(), 20_000);
    }
    client.send(frame(0x88, &close(1000, "")));
    assert_eq!(client.closed().0, 1000);
    assert_eq!(server.closed(), format!("1000, {MESSAGES} messages"));
}

#[test]
fn a_paused_websocket_is_handed_nothing_until_it_is_resumed() {
    let (tells, told) = std::sync::mpsc::channel();
    let act = move |ws: &mut Ws<'_>, message: Message<'_>| {
        ws.conn().pause();
        tells.send(ws.id()).map_err(io::Error::other)?;
        ws.send(message);
        Ok(())
    };
    let server = Server::with(act, Config::default(), |it| it, None);
    let mut client = Client::open(&server, "/");
    client.send([text("one"), text("two"), text("three")].concat());
    for expected in ["one", "two", "three"] {
        assert_eq!(server.event(), Event::Text(expected.into()));
        assert_eq!(client.text(), expected);
        let id = told.recv_timeout(DEADLINE).unwrap();
        let resumed = server.handle.post(move |_, cx| cx.conn(id).unwrap().resume());
        assert!(resumed.is_ok());
    }
}

/// Promise 4: what all peers together may have under way is bounded.
#[test]
fn messages_that_are_not_whole_are_bounded_in_all() {
    let server = Server::echo_with(|it| it.messages_max(300_000));
    let mut one = Client::open(&server, "/");
    one.send(frame(0x02, &vec![0; 100_000]));
    one.send(frame(0x89, b""));
    assert_eq!(one.frame(), (0x8A, vec![]));
    assert_eq!(server.event(), Event::Ping(vec![]));
    let mut two = Client::open(&server, "/");
    two.send(frame(0x02, &vec![0; 250_000]));
    assert_eq!(two.closed().0, 1013);
    // The one that was first goes on, and so does the next when that has ended.
    one.send(frame(0x80, &[]));
    assert_eq!(one.frame().1.len(), 100_000);
    let mut three = Client::open_after(&server);
    three.send(frame(0x02, &vec![0; 120_000]));
    three.send(frame(0x80, &[]));
    assert_eq!(three.frame().1.len(), 120_000);
}
