//! Pages and WebSockets on one port: a request that asks for it is handed over to the service that
//! speaks it.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use wouldblock::{Config, Reactor};
use wouldblock_http::{Cx, Http, Request, Requests, Responder, Response};
use wouldblock_websocket::{Endpoint, Head, Message, WebSocket, Ws};

/// The number of the service that is behind this one.
const WEBSOCKET: u8 = 1;

struct Site {
    visits: u32,
}

impl Requests for Site {
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        if request.asks_for("websocket") {
            return responder.hand_to(cx, WEBSOCKET, 0);
        }
        self.visits += 1;
        responder.send(cx, Response::text(format!("visit {}\n", self.visits)));
    }
}

struct Echo;

impl Endpoint for Echo {
    type Session = ();

    fn on_open(&mut self, _: &mut Ws<'_>, request: &Head<'_>) -> io::Result<()> {
        assert_eq!(request.path(), "/talk");
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        ws.send(message);
        Ok(())
    }
}

const PAGE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The key is that of RFC 6455, section 1.3.
const UPGRADE: &str = "GET /talk HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// The text `Hello`, masked (RFC 6455, section 5.7), and the answer to it.
const HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
const ANSWER: &[u8] = b"\x81\x05Hello";

/// All that comes until `last` has.
fn read_until(client: &mut TcpStream, last: &[u8]) -> Vec<u8> {
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(last) {
        client.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    all
}

/// Promise 1: behind pages that were asked for on the same connection, whether each is asked for
/// behind the answer to the last, or all is sent at once, the first message included.
#[test]
fn a_connection_becomes_a_websocket_behind_its_pages() {
    let handlers = (Http::new(Site { visits: 0 }), WebSocket::new(Echo));
    let mut reactor = Reactor::with_config(handlers, Config::public()).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let at = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let handle = reactor.handle();
    let thread = thread::spawn(move || reactor.run());
    let connect = || {
        let client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    };

    let mut by_turns = connect();
    by_turns.write_all(PAGE.as_bytes()).unwrap();
    read_until(&mut by_turns, b"visit 1\n");
    by_turns.write_all(UPGRADE.as_bytes()).unwrap();
    let head = String::from_utf8(read_until(&mut by_turns, b"\r\n\r\n")).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    by_turns.write_all(&HELLO).unwrap();
    assert_eq!(read_until(&mut by_turns, b"Hello"), ANSWER);

    let mut at_once = connect();
    let all = [PAGE.as_bytes(), PAGE.as_bytes(), UPGRADE.as_bytes(), &HELLO].concat();
    at_once.write_all(&all).unwrap();
    let before = read_until(&mut at_once, b"visit 3\n");
    assert!(before.windows(8).any(|it| it == b"visit 2\n"));
    let rest = read_until(&mut at_once, b"Hello");
    assert!(rest.starts_with(b"HTTP/1.1 101 ") && rest.ends_with(ANSWER));

    drop((by_turns, at_once));
    handle.shutdown();
    thread.join().unwrap().unwrap();
}
