//! The example `ws_chat`, as a process: browsers and plain lines in one room; rooms joined by Redis
//! in `chat_redis.rs`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpStream;

use crate::process::Running;
use crate::served::*;

pub(crate) struct Chat {
    pub(crate) process: Running,
    pub(crate) browsers: String,
    lines: String,
}

/// A member that comes to this address.
pub(crate) fn member_at(address: &str) -> Client {
    let mut member = Client::at(address);
    member.send(request("/", "Origin: http://example.com\r\n"));
    assert!(member.head().starts_with("HTTP/1.1 101 "));
    member
}

impl Chat {
    /// `None` where the example was not built.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let listen = ["--listen", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--quiet"];
        let arguments = [&listen, arguments].concat();
        let (process, [browsers, lines]) = Running::example("ws_chat", &arguments)?;
        Some(Chat { process, browsers, lines })
    }

    pub(crate) fn member(&self) -> Client {
        member_at(&self.browsers)
    }

    pub(crate) fn plain(&self) -> Plain {
        let stream = Client::at(&self.lines).stream;
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        Plain { stream, lines }
    }
}

/// A member that has but lines.
pub(crate) struct Plain {
    stream: TcpStream,
    lines: Lines<BufReader<TcpStream>>,
}

impl Plain {
    pub(crate) fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

#[test]
fn browsers_and_plain_lines_talk_in_one_room_and_one_that_does_not_read_is_dropped() {
    let Some(chat) = Chat::start(&[]) else { return };
    // The page, from the same port.
    let mut page = Client::at(&chat.browsers);
    page.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(page.head().starts_with("HTTP/1.1 200 "));
    assert!(String::from_utf8(page.rest()).unwrap().contains("new WebSocket"));

    let mut one = chat.member();
    assert_eq!(one.text(), "* guest1 comes to lobby");
    let mut plain = chat.plain();
    // What was said before is told to the newcomer.
    assert_eq!(plain.line(), "* guest1 comes to lobby");
    assert_eq!(plain.line(), "* guest2 comes to lobby");
    assert_eq!(one.text(), "* guest2 comes to lobby");
    plain.say("/name ann\nhello");
    assert_eq!((one.text(), one.text()), ("* guest2 is now ann".into(), "ann: hello".into()));
    one.send(text("hi, \nann"));
    assert_eq!(one.text(), "guest1: hi, ann");
    for expected in ["* guest2 is now ann", "ann: hello", "guest1: hi, ann"] {
        assert_eq!(plain.line(), expected);
    }

    // A third one never reads; the others talk until it is gone.
    let lazy = chat.member();
    assert_eq!(one.text(), "* guest3 comes to lobby");
    let long = "x".repeat(900);
    let mut said = 0;
    loop {
        one.send(text(&long));
        said += 1;
        let heard = one.text();
        if heard == "* guest3 leaves" {
            break;
        }
        assert_eq!(heard, format!("guest1: {long}"));
        assert!(said < 100_000, "it was never dropped");
        // The plain one reads along.
        while plain.line() != format!("guest1: {long}") {}
    }
    drop(lazy);
    one.send(text("/quit"));
    loop {
        let (first, payload) = one.frame();
        if first == 0x88 {
            assert_eq!(payload, close(1000, "bye"));
            break;
        }
    }
}
