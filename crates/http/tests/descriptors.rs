//! Files where the process has no descriptor left. A program of its own: the limit is that of the process.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

#[path = "common/server.rs"]
mod server;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use wouldblock::Config;
use wouldblock_http::{Files, Http};

use server::Server;

/// Asks, and returns the head of the answer. The body of the small file is read, too.
fn ask(client: &TcpStream, path: &str) -> String {
    (&*client).write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::with_capacity(1, client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    if path == "/small" {
        let len = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        reader.read_exact(&mut vec![0; len.parse().unwrap()]).unwrap();
    }
    head
}

/// Promise 4: the client of a file that there is no descriptor for is told to come later, on a
/// connection that stays; when there is one again, it is served.
#[test]
fn a_file_without_a_descriptor_is_told_to_come_later() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("descriptors");
    fs::create_dir_all(&root).unwrap();
    File::create(root.join("large")).unwrap().set_len(1 << 30).unwrap();
    fs::write(root.join("small"), "small").unwrap();
    let server = Server::start(Http::new(Files::new(&root).unwrap()), Config::public());
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &clients {
        assert!(ask(client, "/small").starts_with("HTTP/1.1 200 "), "it is accepted");
    }
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(u64::try_from(next).unwrap() + 3);
    setrlimit(Resource::Nofile, limit).unwrap();
    let last = clients.pop().unwrap();
    for client in &clients {
        assert!(ask(client, "/large").starts_with("HTTP/1.1 200 "));
    }
    let head = ask(&last, "/small");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    clients.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ask(&last, "/small").starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "a client has gone, and so has its file");
    }
    fs::remove_dir_all(&root).unwrap();
}
