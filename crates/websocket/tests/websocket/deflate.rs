//! Compression: what is agreed on, what comes and goes, and what no peer can bring about.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use wouldblock::Config;
use wouldblock_websocket::{Deflate, Message, Prepared, Ws};

use crate::served::*;

/// An echo that compresses, and keeps contexts for so many.
fn echo(contexts: usize) -> Server {
    Server::echo_with(|it| it.deflate(Deflate::new().contexts_max(contexts)))
}

/// A client that has offered this, and what was answered to it.
fn offer(server: &Server, offer: &str) -> (Client, Option<String>) {
    let mut client = Client::connect(server);
    client.send(request("/", &format!("Sec-WebSocket-Extensions: {offer}\r\n")));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let answer = head.split("Sec-WebSocket-Extensions: ").nth(1);
    let answer = answer.map(|rest| rest.split("\r\n").next().unwrap().to_owned());
    assert_eq!(server.event(), Event::Open("/ -".into()));
    (client, answer)
}

/// Compresses as a peer would.
struct Peer {
    compress: Compress,
    decompress: Decompress,
}

impl Peer {
    fn new(bits: u8) -> Self {
        Peer {
            compress: Compress::new(Compression::default(), false),
            decompress: Decompress::new_with_window_bits(false, bits),
        }
    }

    fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(bytes.len() + 100);
        self.compress.compress_vec(bytes, &mut packed, FlushCompress::Sync).unwrap();
        assert!(packed.ends_with(&[0, 0, 0xFF, 0xFF]));
        packed.truncate(packed.len() - 4);
        packed
    }

    fn unpack(&mut self, packed: &[u8]) -> Vec<u8> {
        let packed = [packed, &[0, 0, 0xFF, 0xFF]].concat();
        let mut bytes = Vec::with_capacity(1 << 21);
        self.decompress.decompress_vec(&packed, &mut bytes, FlushDecompress::Sync).unwrap();
        bytes
    }
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn each_parameter_is_answered_as_the_rfc_says() {
    let cases = [
        (0, "permessage-deflate", Some(PLAIN)),
        (9, "permessage-deflate", Some("permessage-deflate")),
        (9, "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
        (9, "permessage-deflate; client_max_window_bits=9", Some("permessage-deflate")),
        (
            9,
            "permessage-deflate;server_max_window_bits=10",
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        (
            9,
            "permessage-deflate; server_max_window_bits=\"8\"",
            Some("permessage-deflate; server_max_window_bits=8"),
        ),
        (9, PLAIN, Some(PLAIN)),
        (9, "x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
        // The first that can be met.
        (
            9,
            "permessage-deflate; server_max_window_bits=16, permessage-deflate",
            Some("permessage-deflate"),
        ),
        (9, "permessage-deflate; server_max_window_bits", None),
        (9, "permessage-deflate; server_max_window_bits=7", None),
        (9, "permessage-deflate; server_max_window_bits=010", None),
        (9, "permessage-deflate; client_max_window_bits=+9", None),
        (9, "permessage-deflate; server_no_context_takeover=1", None),
        (9, "permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        (9, "permessage-deflate; what", None),
        (9, "x", None),
    ];
    for (contexts, offered, answer) in cases {
        let server = echo(contexts);
        let (_client, answered) = offer(&server, offered);
        assert_eq!(answered.as_deref(), answer, "{offered}");
    }
    let (_, answered) = offer(&Server::echo(), "permessage-deflate");
    assert_eq!(answered, None);
}

#[test]
fn messages_are_compressed_both_ways_with_takeover_and_without_in_any_window() {
    let lines: Vec<String> = (0..600).map(|n| format!("line {} of many; ", n * 7 % 1000)).collect();
    let text = lines.concat();
    for contexts in [0, 9] {
        for bits in 9..=15 {
            let server = echo(contexts);
            let offered = format!("permessage-deflate; server_max_window_bits={bits}");
            let (mut client, _) = offer(&server, &offered);
            let mut peer = Peer::new(bits);
            let mut sizes = Vec::new();
            for _ in 0..3 {
                if contexts == 0 {
                    peer = Peer::new(bits);
                }
                let packed = peer.pack(text.as_bytes());
                // In fragments, with a ping between them, and only the first says that it is compressed.
                let (one, two) = packed.split_at(packed.len() / 2);
                client.send([frame(0x41, one), frame(0x89, b""), frame(0x80, two)].concat());
                assert_eq!(client.frame(), (0x8A, vec![]));
                assert_eq!(server.event(), Event::Ping(vec![]));
                assert_eq!(server.event(), Event::Text(text.clone()));
                let (first, packed) = client.frame();
                assert_eq!(first, 0xC1);
                sizes.push(packed.len());
                assert_eq!(peer.unpack(&packed), text.as_bytes());
            }
            assert!(sizes[0] < text.len() / 3, "{sizes:?}");
            // What was said before is told again in a few bytes, if it lies in the window.
            assert!(contexts == 0 || bits < 15 || sizes[1] < sizes[0] / 2, "{sizes:?}");
            assert!(contexts > 0 || sizes[1] == sizes[0], "{sizes:?}");
            // Short ones, and those that are none, go as they are.
            client.send([frame(0x81, b"short"), frame(0xC1, b"\x00"), frame(0x81, b"")].concat());
            assert_eq!(
                (client.text(), client.text(), client.text()),
                ("short".into(), String::new(), String::new())
            );
        }
    }
}

/// Promise 4: a bomb is refused while it is inflated, and takes no more memory than a message may.
#[test]
fn a_bomb_is_refused_while_it_is_inflated() {
    let bomb = Peer::new(15).pack(&vec![0; 20 << 20]);
    assert!(bomb.len() < 30_000);
    let server = Server::echo_with(|it| it.deflate(Deflate::new()).message_max(200_000));
    let (mut client, _) = offer(&server, "permessage-deflate");
    client.send(frame(0xC2, &bomb));
    assert_eq!(client.closed(), (1009, "a message that is too long".into()));
    // And one that is just as long as allowed is none.
    let (mut client, _) = {
        server.closed();
        offer(&server, "permessage-deflate")
    };
    client.send(frame(0xC2, &Peer::new(15).pack(&vec![7; 200_000])));
    assert_eq!(Peer::new(15).unpack(&client.frame().1), vec![7; 200_000]);
    client.send(frame(0xC2, &Peer::new(15).pack(&vec![7; 200_001])));
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn what_is_not_compressed_as_agreed_is_refused() {
    let cases: [(Vec<u8>, u16, &str); 5] = [
        (frame(0xC1, b"\xFF\xFF\xFF"), 1002, "not compressed as agreed"),
        (frame(0xC1, &Peer::new(15).pack(b"\xC3(")), 1007, "not UTF-8"),
        (frame(0xC9, b""), 1002, "reserved bit"),
        ([frame(0x01, b"a"), frame(0xC0, b"b")].concat(), 1002, "reserved bit"),
        (frame(0xA1, b"a"), 1002, "reserved bit"),
    ];
    for (bytes, code, why) in cases {
        let server = echo(0);
        let (mut client, _) = offer(&server, "permessage-deflate");
        client.send(bytes);
        let (told, reason) = client.closed();
        assert!(told == code && reason.contains(why), "{told} {reason}");
    }
    // Without the extension no message is compressed.
    let server = echo(0);
    let mut client = Client::open(&server, "/");
    client.send(frame(0xC1, b"x"));
    assert_eq!(client.closed().0, 1002);
}

/// A last block, and a next stream behind it (RFC 7692, section 7.2.3.4).
#[test]
fn a_last_block_within_a_message_is_not_its_end() {
    let server = echo(9);
    let (mut client, _) = offer(&server, "permessage-deflate");
    for _ in 0..2 {
        // From the RFC: "Hello" with BFINAL set, and the empty block that is cut.
        client.send(frame(0xC1, &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]));
        assert_eq!(client.text(), "Hello");
    }
    // "Hello" in two blocks, and "Hello" referring to itself: once more from the RFC.
    client.send(frame(
        0xC1,
        &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ));
    client.send(frame(0xC1, &[0xF2, 0x00, 0x11, 0x00, 0x00]));
    assert_eq!((client.text(), client.text()), ("Hello".into(), "Hello".into()));
}

#[test]
fn contexts_are_for_so_many_connections_at_a_time() {
    let server = echo(1);
    let (first, answer) = offer(&server, "permessage-deflate");
    assert_eq!(answer.as_deref(), Some("permessage-deflate"));
    let (_second, answer) = offer(&server, "permessage-deflate");
    assert_eq!(answer.as_deref(), Some(PLAIN));
    drop(first);
    server.closed();
    // One that wants none takes no place.
    let (_third, answer) = offer(&server, PLAIN);
    assert_eq!(answer.as_deref(), Some(PLAIN));
    let (_fourth, answer) = offer(&server, "permessage-deflate");
    assert_eq!(answer.as_deref(), Some("permessage-deflate"));
}

/// What the documentation of `contexts_max` says that they take, both together.
#[test]
fn contexts_take_no_more_memory_than_is_told() {
    let taken = allocation_counter::measure(|| {
        let mut peer = Peer::new(15);
        let packed = peer.pack(&[7; 100]);
        let mut bytes = Vec::with_capacity(200);
        peer.decompress.decompress_vec(&packed, &mut bytes, FlushDecompress::Sync).unwrap();
        assert_eq!(bytes, [7; 100]);
    });
    assert!((100 << 10..430 << 10).contains(&taken.bytes_max), "{} bytes", taken.bytes_max);
}

/// It is compressed once, for those whose messages stand each by itself.
#[test]
fn a_prepared_message_goes_compressed_to_those_that_take_it() {
    let act = |ws: &mut Ws<'_>, message: Message<'_>| -> io::Result<()> {
        ws.send_prepared(&Prepared::new(message));
        Ok(())
    };
    let set = |it: Served| it.deflate(Deflate::new().contexts_max(1));
    let server = Server::with(act, Config::default(), set, None);
    let long = "x".repeat(1000);
    let (mut takeover, _) = offer(&server, "permessage-deflate");
    let (mut alone, _) = offer(&server, "permessage-deflate");
    let (mut narrow, _) = offer(&server, "permessage-deflate; server_max_window_bits=9");
    let mut plain = Client::open(&server, "/");
    for client in [&mut takeover, &mut narrow, &mut plain] {
        client.send(text(&long));
        assert_eq!(client.text(), long);
    }
    alone.send([text(&long), text("short")].concat());
    let (first, packed) = alone.frame();
    assert_eq!((first, Peer::new(15).unpack(&packed)), (0xC1, long.into_bytes()));
    assert_eq!(alone.text(), "short");
}
