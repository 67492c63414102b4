//! The example `ws_chat`, as a process: browsers and plain lines in one room.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::served::*;

/// Ended when the test is.
struct Chat {
    process: Child,
    browsers: String,
    lines: String,
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Chat {
    /// `None` where the example was not built: `cargo build --examples` does.
    fn start() -> Option<Self> {
        let exe = std::env::current_exe().unwrap();
        let path: PathBuf = exe.parent()?.parent()?.join("examples/ws_chat");
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0", "--lines", "127.0.0.1:0", "--quiet"]);
        let mut process = command.stdout(Stdio::piped()).spawn().ok()?;
        let mut told = BufReader::new(process.stdout.take()?).lines();
        let mut address = || Some(told.next()?.ok()?.strip_prefix("listening on ")?.to_owned());
        let (browsers, lines) = (address()?, address()?);
        Some(Chat { process, browsers, lines })
    }

    fn browser(&self) -> Client {
        let stream = TcpStream::connect(&self.browsers).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { stream }
    }

    fn member(&self) -> Client {
        let mut member = self.browser();
        member.send(request("/", "Origin: http://example.com\r\n"));
        assert!(member.head().starts_with("HTTP/1.1 101 "));
        member
    }
}

#[test]
fn browsers_and_plain_lines_talk_in_one_room_and_one_that_does_not_read_is_dropped() {
    let Some(chat) = Chat::start() else {
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
    let mut plain = TcpStream::connect(&chat.lines).unwrap();
    plain.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut lines = BufReader::new(plain.try_clone().unwrap()).lines().map(Result::unwrap);
    // What was said before is told to the newcomer.
    assert_eq!(lines.next().unwrap(), "* guest1 comes to lobby");
    assert_eq!(lines.next().unwrap(), "* guest2 comes to lobby");
    assert_eq!(one.text(), "* guest2 comes to lobby");
    plain.write_all(b"/name ann\nhello\n").unwrap();
    assert_eq!((one.text(), one.text()), ("* guest2 is now ann".into(), "ann: hello".into()));
    one.send(text("hi, \nann"));
    assert_eq!(one.text(), "guest1: hi, ann");
    for expected in ["* guest2 is now ann", "ann: hello", "guest1: hi, ann"] {
        assert_eq!(lines.next().unwrap(), expected);
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
        while lines.next().unwrap() != format!("guest1: {long}") {}
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
