//! The handshake of a server: what is accepted, and what is answered to what is not.

use std::io::Write;
use std::time::Duration;

use wouldblock::Config;
use wouldblock_websocket::Origins;

use crate::served::*;

#[test]
fn the_key_of_the_rfc_is_answered_as_it_says() {
    let server = Server::echo();
    let mut client = Client::connect(&server);
    client.send(request("/chat", ""));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(!head.contains("Protocol:") && !head.contains("Extensions:"), "{head}");
    assert_eq!(server.event(), Event::Open("/chat -".into()));
}

/// A request in pieces of one byte, with a message right behind it.
#[test]
fn a_request_may_come_in_pieces_and_a_message_right_behind_it() {
    let server = Server::echo();
    let mut client = Client::connect(&server);
    let bytes = [request("/greeted", "").into_bytes(), text("hello")].concat();
    for byte in &bytes {
        client.send([*byte]);
    }
    client.head();
    assert_eq!((client.text(), client.text()), ("welcome".into(), "hello".into()));
    let mut client = Client::connect(&server);
    client.send(&bytes);
    client.head();
    assert_eq!((client.text(), client.text()), ("welcome".into(), "hello".into()));
}

/// Each of them is told what is wrong with it, and the connection is closed.
#[test]
fn a_request_that_is_not_in_order_is_told_what_is_wrong() {
    let server = Server::echo();
    let good = request("/", "");
    let without = |line: &str| {
        let kept = good.split_inclusive("\r\n").filter(|it| !it.starts_with(line));
        kept.collect::<String>()
    };
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    let many = "X: y\r\n".repeat(100);
    let cases = [
        (good.replace("GET", "POST"), "405 Method Not Allowed", "begins with GET"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "400 Bad Request", "begins with HTTP/1.1"),
        (good.replace("HTTP/1.1", "HTTP/3.7"), "505 HTTP", "505"),
        (good.replace("GET / ", "GET / /"), "505 HTTP", "505"),
        (without("Host"), "400 Bad", "Host is missing"),
        (request("/", "Host: example.org\r\n"), "400 Bad", "one header Host"),
        (without("Upgrade"), "400 Bad", "Upgrade: websocket"),
        (without("Connection"), "400 Bad", "Connection: Upgrade"),
        (
            good.replace("Connection: Upgrade", "Connection: close"),
            "400 Bad",
            "Connection: Upgrade",
        ),
        (without("Sec-WebSocket-Version"), "426 Upgrade", "version 13"),
        (good.replace("Version: 13", "Version: 8"), "426 Upgrade", "version 13"),
        (good.replace(KEY, "dGhlIHNhbXBsZSBub25j"), "400 Bad", "16 bytes"),
        (good.replace(KEY, "not base64 at all !!!!!!"), "400 Bad", "16 bytes"),
        (request("/", &format!("Sec-WebSocket-Key: {KEY}\r\n")), "400 Bad", "one header"),
        (request("/", "Content-Length: 5\r\n"), "400 Bad", "no body"),
        (request("/", "Transfer-Encoding: chunked\r\n"), "400 Bad", "no body"),
        (request("/", "X : y\r\n"), "400 Bad", "400"),
        (request("/", &long), "431 Request", "431"),
        (request("/", &many), "431 Request", "431"),
        ("\u{16}\u{3}\u{1} a TLS client\r\n\r\n".into(), "400 Bad", "400"),
        (request("/secret", ""), "401 Unauthorized", "401"),
    ];
    for (request, status, why) in cases {
        let mut client = Client::connect(&server);
        // Of what is too long not all may be taken.
        let _ = client.stream.write_all(request.as_bytes());
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {head}");
        assert!(head.contains("\r\nConnection: "), "{head}");
        assert_eq!(status.starts_with("426"), head.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert_eq!(status.starts_with("405"), head.contains("\r\nAllow: GET\r\n"));
        let body = String::from_utf8(client.rest()).unwrap();
        assert!(body.contains(why), "{request:?}: {body}");
    }
    // No callback tells of any of them, and a good one is served as ever.
    Client::open(&server, "/");
}

#[test]
fn tokens_and_lists_are_read_in_any_case() {
    let server = Server::echo();
    let mut client = Client::connect(&server);
    let wild = request("/", "").replace("Connection: Upgrade", "connection: keep-alive,  uPgrade");
    client.send(wild.replace("Upgrade: websocket", "UPGRADE:WebSocket"));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

/// Pages of elsewhere may not use a user's cookies; what is no browser has no origin.
#[test]
fn only_pages_of_the_same_origin_may_connect_unless_said_otherwise() {
    let listed = Origins::Of(vec!["https://app.example.org".into()]);
    let cases = [
        (Origins::Same, "", 101),
        (Origins::Same, "Origin: https://example.com\r\n", 101),
        (Origins::Same, "Origin: http://EXAMPLE.com\r\n", 101),
        (Origins::Same, "Origin: https://example.com:8080\r\n", 403),
        (Origins::Same, "Origin: https://example.com.evil.net\r\n", 403),
        (Origins::Same, "Origin: null\r\n", 403),
        (Origins::Same, "Origin: https://example.com\r\nOrigin: https://example.com\r\n", 403),
        (listed.clone(), "Origin: https://app.example.org\r\n", 101),
        (listed.clone(), "Origin: http://app.example.org\r\n", 403),
        (listed, "Origin: https://example.com\r\n", 403),
        (Origins::Any, "Origin: https://evil.net\r\n", 101),
    ];
    for (origins, line, status) in cases {
        let server = Server::echo_with(|it| it.origins(origins.clone()));
        let mut client = Client::connect(&server);
        client.send(request("/", line));
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origins:?} {line:?}: {head}");
    }
}

#[test]
fn the_servers_best_subprotocol_that_is_offered_is_agreed_on() {
    let server = Server::echo_with(|it| it.protocols(["chat.v2", "chat.v1"]));
    let offers = [
        ("Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n", Some("chat.v2")),
        ("Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: chat.v1\r\n", Some("chat.v1")),
        ("Sec-WebSocket-Protocol: Chat.V1\r\n", None),
        ("", None),
    ];
    let mut clients = Vec::new();
    for (offer, agreed) in offers {
        let mut client = Client::connect(&server);
        client.send(request("/", offer));
        let head = client.head();
        let line = agreed.map(|it| format!("\r\nSec-WebSocket-Protocol: {it}\r\n"));
        assert!(line.is_none_or(|line| head.contains(&line)), "{head}");
        assert_eq!(agreed.is_some(), head.contains("Sec-WebSocket-Protocol"), "{head}");
        assert_eq!(server.event(), Event::Open(format!("/ {}", agreed.unwrap_or("-"))));
        clients.push(client);
    }
    // The endpoint may choose by itself, and add headers.
    let mut client = Client::connect(&server);
    client.send(request("/cookie", "Sec-WebSocket-Protocol: chosen\r\n"));
    let head = client.head();
    assert!(head.contains("\r\nSec-WebSocket-Protocol: chosen\r\nSet-Cookie: a=b\r\n"), "{head}");
}

#[test]
fn a_request_for_a_page_is_answered_with_it() {
    let server = Server::echo();
    let ask = |request: &str| {
        let mut client = Client::connect(&server);
        client.send(request);
        (client.head(), String::from_utf8(client.rest()).unwrap())
    };
    let (head, body) = ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == "<h1>the page</h1>", "{head}{body}");
    assert!(head.contains("\r\nContent-Length: 17\r\n"), "{head}");
    let (head, body) = ask("HEAD /?x=y HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(head.contains("\r\nContent-Length: 17\r\n") && body.is_empty(), "{head}{body}");
    let (head, _) = ask("GET /other HTTP/1.0\n\n");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    // A body that nobody reads destroys no answer.
    let post = format!("POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    assert!(ask(&post).0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_client_that_sends_half_a_request_is_answered_408() {
    let server = Server::echo_with(|it| it.handshake(Duration::from_millis(50)));
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: ");
    assert!(client.head().starts_with("HTTP/1.1 408 "));
    client.rest();
    // The same by the reactor's own limit for the first byte.
    let config = Config::default().first_byte(Some(Duration::from_millis(50)));
    let server = Server::with(|_, _| Ok(()), config, |it| it, None);
    let mut client = Client::connect(&server);
    assert!(client.head().starts_with("HTTP/1.1 408 "));
    // One that was served in time has no such limit any more.
    let server = Server::echo_with(|it| it.handshake(Duration::from_millis(50)).ping(None));
    let mut client = Client::open(&server, "/");
    client.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    let waited = std::io::Read::read(&mut client.stream, &mut byte).unwrap_err();
    assert_eq!(waited.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_error_of_on_open_closes_with_1011_behind_the_answer() {
    let server = Server::echo();
    let mut client = Client::connect(&server);
    client.send(request("/refused", ""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.closed(), (1011, String::new()));
    assert_eq!(client.rest(), b"");
    assert_eq!(server.event(), Event::Open("/refused -".into()));
    drop(client);
    let stats = server.end();
    assert_eq!((stats.accepted, stats.closed.handler), (1, 1));
}
