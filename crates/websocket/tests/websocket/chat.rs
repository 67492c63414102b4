//! The example `ws_chat`, as a process: browsers and plain lines in one room; rooms joined by Redis in `chat_redis.rs`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::served::*;

/// Ended when the test is.
pub(crate) struct Chat {
    pub(crate) process: Child,
    pub(crate) browsers: String,
    lines: String,
}

/// A member that comes to this address.
pub(crate) fn member_at(address: &str) -> Client {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut member = Client { stream };
    member.send(request("/", "Origin: http://example.com\r\n"));
    assert!(member.head().starts_with("HTTP/1.1 101 "));
    member
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Chat {
    /// `None` where the example was not built: `cargo build --examples` does.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let exe = std::env::current_exe().unwrap();
        let path: PathBuf = exe.parent()?.parent()?.join("examples/ws_chat");
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--quiet"]);
        command.args(arguments).env("RUST_LOG", "off");
        let mut process = command.stdout(Stdio::piped()).spawn().ok()?;
        let mut told = BufReader::new(process.stdout.take()?).lines();
        let mut address = || {
            let line = told.next().expect("it says where it listens").unwrap();
            line.strip_prefix("listening on ").unwrap().to_owned()
        };
        let (browsers, lines) = (address(), address());
        Some(Chat { process, browsers, lines })
    }

    fn browser(&self) -> Client {
        let stream = TcpStream::connect(&self.browsers).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { stream }
    }

    pub(crate) fn member(&self) -> Client {
        member_at(&self.browsers)
    }

    pub(crate) fn plain(&self) -> Plain {
        let stream = TcpStream::connect(&self.lines).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
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
    let Some(chat) = Chat::start(&[]) else {
        println!("skipped: the example ws_chat was not built");
        return;
    };
    // The page, from the same port.
    let mut page = chat.browser();
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
