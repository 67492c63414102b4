//! The client's side, against a server of ours, and against what is none.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wouldblock::{Conn, ConnId, Context, Origin, Reactor};
use wouldblock_websocket::{
    Client, Closed, Deflate, Endpoint, Head, Message, Protocol, WebSocket, Ws, code,
};

use crate::served::*;

/// Connects once, sends each of its messages when the one before has come back, and closes.
struct Asker {
    client: Client,
    addr: SocketAddr,
    messages: Vec<String>,
    came: Vec<String>,
    end: Option<String>,
}

impl Asker {
    fn next(&mut self, ws: &mut Ws<'_>) {
        match self.messages.get(self.came.len()) {
            Some(message) => ws.send(message),
            None => ws.close(code::NORMAL, "done"),
        }
    }
}

impl Endpoint for Asker {
    type Session = ();

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.connect(self.addr, 7).map(drop)
    }

    fn on_connection(&mut self, _: &mut Conn<'_>, origin: Origin) -> io::Result<Protocol<()>> {
        assert_eq!(origin, Origin::Connected(7));
        Ok(Protocol::Client(self.client.clone()))
    }

    fn on_open(&mut self, ws: &mut Ws<'_>, answer: &Head<'_>) -> io::Result<()> {
        assert!(ws.is_client() && answer.tag() == Some(7) && answer.status() == 101);
        self.next(ws);
        Ok(())
    }

    fn on_message(&mut self, ws: &mut Ws<'_>, (): &mut (), message: Message<'_>) -> io::Result<()> {
        self.came.push(String::from_utf8_lossy(message.bytes()).into_owned());
        self.next(ws);
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, (): (), closed: Closed) {
        assert!(self.end.replace(closed.to_string()).is_none(), "told twice");
        cx.shutdown();
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, tag: u64, error: io::Error) {
        assert_eq!(tag, 7);
        assert!(self.end.replace(format!("failed: {error}")).is_none(), "told twice");
        cx.shutdown();
    }
}

/// What came back, and how it ended.
fn ask(addr: SocketAddr, client: Client, messages: &[&str]) -> (Vec<String>, String) {
    ask_with(addr, client, messages, None)
}

fn ask_with(
    addr: SocketAddr,
    client: Client,
    messages: &[&str],
    deflate: Option<Deflate>,
) -> (Vec<String>, String) {
    let messages = messages.iter().map(|it| (*it).to_owned()).collect();
    let asker = Asker { client, addr, messages, came: Vec::new(), end: None };
    let asker = WebSocket::new(asker).handshake(Duration::from_millis(500));
    let asker = match deflate {
        Some(deflate) => asker.deflate(deflate),
        None => asker,
    };
    let mut reactor = Reactor::new(asker).unwrap();
    reactor.run().unwrap();
    let asker = reactor.into_handler().into_inner();
    (asker.came, asker.end.unwrap())
}

#[test]
fn a_client_and_a_server_of_ours_understand_each_other() {
    let server = Server::echo_with(|it| it.protocols(["two", "one"]));
    let url = format!("ws://{}/greeted?x=y", server.addr);
    let client = Client::new(&url).unwrap().protocols(["one", "two"]).header("X-Who", "me");
    let long = "é".repeat(100_000);
    let (came, end) = ask(server.addr, client, &["hello", &long, ""]);
    assert_eq!(server.event(), Event::Open("/greeted two".into()));
    assert_eq!(came, ["welcome", "hello", &long]);
    assert_eq!(end, "1000");
    assert_eq!(server.closed(), "1000 done, 3 messages");
}

#[test]
fn a_client_and_a_server_of_ours_compress_both_ways() {
    for (ours, theirs) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let server = Server::echo_with(|it| it.deflate(Deflate::new().contexts_max(theirs)));
        let client = Client::new(&format!("ws://{}/", server.addr)).unwrap();
        let long = "é".repeat(100_000);
        let deflate = Some(Deflate::new().contexts_max(ours));
        let (came, end) = ask_with(server.addr, client, &["short", &long, &long], deflate);
        assert_eq!((came, end), (vec!["short".into(), long.clone(), long], "1000".into()));
        let stats = server.end();
        assert!(stats.bytes_in < 3000 && stats.bytes_out < 3000, "{stats:?}");
    }
}

/// No frame of a client shows what it says, and no two have the same mask.
#[test]
fn a_client_masks_each_frame_with_another_mask() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tells, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut server = crate::served::Client { stream };
        let request = server.head();
        let key =
            request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let accept = accept(key);
        server.send(format!(
            "HTTP/1.1 101 OK\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        for _ in 0..2 {
            let head = server.exactly(6);
            assert_eq!(head[..2], [0x81, 0x80 | 5]);
            let masked = server.exactly(5);
            let plain: Vec<u8> =
                masked.iter().zip(head[2..].iter().cycle()).map(|(a, b)| a ^ b).collect();
            assert_eq!(plain, b"hello");
            tells.send(head[2..].to_vec()).unwrap();
            server.send(b"\x81\x02ok");
        }
        let close = server.exactly(6);
        assert_eq!(close[..2], [0x88, 0x80 | 6]);
        server.exactly(6);
        server.send(b"\x88\x02\x03\xE8");
        // The server ends first: the client waits for it.
        server.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(server.rest(), b"");
    });
    let client = Client::new(&format!("ws://{addr}")).unwrap();
    let (came, end) = ask(addr, client, &["hello", "hello"]);
    thread.join().unwrap();
    assert_eq!((came, end), (vec!["ok".into(), "ok".into()], "1000".into()));
    let (one, two) = (told.recv().unwrap(), told.recv().unwrap());
    assert!(one != two && one != [0; 4], "{one:?} {two:?}");
}

/// As the RFC has it, by way of the server of ours.
fn accept(key: &str) -> String {
    let server = Server::echo();
    let mut client = crate::served::Client::connect(&server);
    client.send(request("/", "").replace(KEY, key));
    let head = client.head();
    head.split("Sec-WebSocket-Accept: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
}

/// Each of them is one failed connect, which says why, and no WebSocket.
#[test]
fn an_answer_that_is_none_is_a_connect_that_has_failed() {
    let upgrade = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
    let cases: &[(String, &str)] = &[
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(), "answered 404"),
        ("HTTP/1.1 101 X\r\n\r\n".into(), "something else"),
        (format!("{upgrade}\r\n"), "not understood the key"),
        (format!("{upgrade}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"), "the key"),
        (
            format!("{upgrade}Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
            "extension",
        ),
        (
            format!("{upgrade}Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
            "subprotocol",
        ),
        ("SSH-2.0-x\r\n\r\n".into(), "no HTTP"),
        (long, "too long"),
        ("HTTP/1.1 101 X\r\n".into(), "did not answer"),
        (String::new(), "did not answer"),
        ("WAIT".into(), "took too long"),
    ];
    for (answer, why) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let answer = answer.clone();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            if answer == "WAIT" {
                let _ = stream.read(&mut [0]);
                return;
            }
            let request = String::from_utf8(request).unwrap();
            let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next();
            let answer = if answer.contains("ACCEPT") {
                answer.replace("ACCEPT", &accept(key.unwrap()))
            } else {
                answer
            };
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let client = Client::new(&format!("ws://{addr}/")).unwrap().protocols(["mine"]);
        let (came, end) = ask(addr, client, &[]);
        thread.join().unwrap();
        assert!(came.is_empty() && end.starts_with("failed: ") && end.contains(why), "{end}");
    }
}

#[test]
fn a_url_is_taken_apart_or_refused() {
    let good = [
        ("ws://example.com", "example.com:80", false),
        ("ws://example.com:80/x?y#".trim_end_matches('#'), "example.com:80", false),
        ("wss://example.com?x", "example.com:443", true),
        ("ws://[::1]:9001/", "[::1]:9001", false),
        ("ws://[::1]", "[::1]:80", false),
    ];
    for (url, address, is_secure) in good {
        let client = Client::new(url).unwrap();
        assert_eq!((client.address(), client.is_secure()), (address, is_secure), "{url}");
    }
    for url in [
        "",
        "http://x",
        "ws://",
        "ws:///x",
        "ws://x:y",
        "ws://a@b",
        "ws://x/ y",
        "ws://x/#y",
        "ws://:80",
    ] {
        assert!(Client::new(url).is_err(), "{url}");
    }
}
