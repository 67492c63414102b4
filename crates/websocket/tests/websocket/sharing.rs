//! What WebSockets share, and what each of them costs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use wouldblock::Config;
use wouldblock_websocket::{Message, Prepared, Ws, WsSession};

use crate::served::*;

/// Without a compressor, beside the session of the endpoint.
#[test]
fn an_idle_websocket_adds_at_most_64_bytes_to_a_session() {
    assert!(size_of::<WsSession<()>>() <= 64, "{}", size_of::<WsSession<()>>());
    assert!(size_of::<WsSession<[u64; 4]>>() <= 32 + 64, "{}", size_of::<WsSession<[u64; 4]>>());
}

#[test]
fn a_prepared_message_comes_to_each_and_not_behind_a_close() {
    // Each message goes to all; `close` closes its own, and then goes to all.
    let act = |ws: &mut Ws<'_>, message: Message<'_>| {
        if message == Message::Text("close") {
            ws.close(1000, "");
        }
        let all = ws.cx().connections();
        Prepared::new(message).send_to(ws.cx(), all);
        Ok(())
    };
    let server = Server::with(act, Config::default(), |it| it, None);
    let mut clients: Vec<_> = (0..10).map(|_| Client::open(&server, "/")).collect();
    let long = "x".repeat(100_000);
    clients[3].send(text(&long));
    for client in &mut clients {
        assert_eq!(client.text(), long);
    }
    clients[0].send(text("close"));
    assert_eq!(clients[0].closed().0, 1000);
    assert_eq!(clients[0].rest(), b"");
    for client in &mut clients[1..] {
        assert_eq!(client.text(), "close");
    }
}

#[test]
fn a_posted_closure_finds_the_websocket_and_its_session() {
    let (tells, told) = std::sync::mpsc::channel();
    let act = move |ws: &mut Ws<'_>, _: Message<'_>| {
        let _ = tells.send(ws.id());
        Ok(())
    };
    let server = Server::with(act, Config::default(), |it| it, None);
    let mut client = Client::open(&server, "/");
    client.send(text("hello"));
    let id = told.recv_timeout(DEADLINE).unwrap();
    let posted = server.handle.post_to(id, |websocket, conn, session| {
        let sent = websocket.with(conn, session, |_, ws, n| ws.send(&format!("{n} so far")));
        assert!(sent.is_some());
        Ok(())
    });
    assert!(posted.is_ok());
    assert_eq!(client.text(), "1 so far");
}

#[test]
fn a_plain_connection_is_served_beside_websockets() {
    let path = std::env::temp_dir().join(format!("wouldblock-websocket-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let address = format!("unix:{}", path.display());
    let server = Server::with(|_, _| Ok(()), Config::default(), |it| it, Some(&address));
    let mut plain = UnixStream::connect(&path).unwrap();
    plain.write_all(b"one\ntwo\n").unwrap();
    plain.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    plain.read_to_string(&mut all).unwrap();
    assert_eq!(all, "one, too\ntwo, too\n");
    assert_eq!(server.event(), Event::Text("one".into()));
    assert_eq!(server.event(), Event::Text("two".into()));
    assert_eq!(server.event(), Event::Close("the peer ended, 2 lines".into()));
    let _ = std::fs::remove_file(&path);
}
