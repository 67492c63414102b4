//! The rooms of two processes of `ws_chat`, joined by a real Redis that is killed and started
//! again; and HAProxy in front of them.
//!
//! Skipped, with a line, where `redis-server` is missing; an error instead when `WOULDBLOCK_CI=1`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::chat::{Chat, Plain, member_at};
use crate::process::Running;
use crate::served::*;

/// A Redis on a Unix socket, in a directory of its own.
struct Redis {
    directory: PathBuf,
    process: Option<Running>,
}

impl Redis {
    /// `None` where there is none.
    fn start(name: &str) -> Option<Self> {
        let name = format!("wouldblock-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut redis = Redis { directory, process: None };
        if let Err(error) = redis.run() {
            let must = std::env::var_os("WOULDBLOCK_CI").is_some_and(|ci| ci == "1");
            assert!(!must, "redis-server is missing: {error}");
            println!("skipped: redis-server: {error}");
            return None;
        }
        Some(redis)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn run(&mut self) -> io::Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.directory).arg("--unixsocket").arg(self.socket());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.process = Some(Running(process));
        Ok(())
    }

    fn kill(&mut self) {
        self.process = None;
    }

    /// Waits until this number of clients have subscribed to a room.
    fn wait_for_subscribers(&self, room: &str, n: usize) {
        let began = std::time::Instant::now();
        while self.subscribers(room).ok() != Some(n) {
            assert!(began.elapsed() < DEADLINE, "{n} subscribers of {room}");
            std::thread::yield_now();
        }
    }

    fn subscribers(&self, room: &str) -> io::Result<usize> {
        let mut stream = UnixStream::connect(self.socket())?;
        write!(stream, "PUBSUB NUMSUB wouldblock-chat:{room}\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let number = answer.lines().find_map(|line| line.strip_prefix(':'));
        number.and_then(|number| number.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Reads lines until one ends so. Returns those before it.
fn until(mut next: impl FnMut() -> String, end: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let line = next();
        if line.ends_with(end) {
            return before;
        }
        before.push(line);
    }
}

fn said(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.ends_with(text)).count()
}

#[test]
fn rooms_joined_by_redis_talk_on_while_it_is_away_and_are_joined_again() {
    let Some(mut redis) = Redis::start("rooms") else { return };
    let address = format!("unix:{}", redis.socket().display());
    let arguments = ["--redis", &address];
    let (Some(here), Some(there)) = (Chat::start(&arguments), Chat::start(&arguments)) else {
        return;
    };
    let (mut ann, mut bob) = (here.member(), there.member());
    let mut local: Plain = here.plain();
    local.say("/name carl");
    until(|| local.line(), "is now carl");
    redis.wait_for_subscribers("lobby", 2);

    // From either to the other, and once to one's own.
    ann.send(text("/name ann"));
    ann.send(text("one"));
    until(|| bob.text(), "ann: one");
    bob.send(text("two"));
    let heard = until(|| ann.text(), ": two");
    assert_eq!(said(&heard, "ann: one"), 1, "{heard:?}");
    assert_eq!(said(&until(|| local.line(), ": two"), "ann: one"), 1);

    // It is killed, and started again, while those in one process talk on.
    for n in 0..300 {
        match n {
            100 => redis.kill(),
            200 => redis.run().unwrap(),
            _ => {}
        }
        ann.send(text(&format!("number {n}")));
        let said = format!("ann: number {n}");
        let notices = until(|| local.line(), &said);
        assert!(notices.iter().all(|line| line.starts_with("* ")), "{said}: {notices:?}");
    }
    // Nobody does anything for it.
    until(|| ann.text(), "* joined with the other servers");
    until(|| bob.text(), "* joined with the other servers");
    redis.wait_for_subscribers("lobby", 2);
    ann.send(text("three"));
    until(|| bob.text(), "ann: three");
    bob.send(text("four"));
    assert_eq!(said(&until(|| ann.text(), ": four"), "ann: three"), 1);

    // A room of both, that no process had when it connected.
    ann.send(text("/join tea"));
    bob.send(text("/join tea"));
    redis.wait_for_subscribers("tea", 2);
    redis.wait_for_subscribers("lobby", 1); // carl
    bob.send(text("five"));
    until(|| ann.text(), ": five");

    // Those of a process that ends are seen to leave.
    let id = rustix::process::Pid::from_child(&here.process.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    until(|| bob.text(), "* ann leaves");
    redis.wait_for_subscribers("tea", 1);
}

/// What the guide says to write in `haproxy.cfg` works. Skipped where HAProxy is missing.
#[test]
fn haproxy_in_front_of_two_processes_goes_on_with_one() {
    if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
        println!("skipped: haproxy is not here");
        return;
    }
    let Some(redis) = Redis::start("haproxy") else { return };
    let address = format!("unix:{}", redis.socket().display());
    let arguments = ["--redis", &address];
    let (Some(one), Some(two)) = (Chat::start(&arguments), Chat::start(&arguments)) else {
        return;
    };
    let guide = include_str!("../../../../docs/guide/websocket.md");
    let config = guide.split("\n```haproxy\n").nth(1).unwrap().split("\n```").next().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let public = format!("127.0.0.1:{port}");
    let config = config.replace("PUBLIC", &public).replace("ONE", &one.browsers);
    let path = redis.directory.join("haproxy.cfg");
    let global = "global\n    maxconn 200\n";
    std::fs::write(&path, format!("{global}{}\n", config.replace("TWO", &two.browsers))).unwrap();
    let mut proxy =
        Running(Command::new("haproxy").arg("-db").arg("-f").arg(path).spawn().unwrap());
    let began = std::time::Instant::now();
    while TcpStream::connect(&public).is_err() {
        assert!(proxy.0.try_wait().unwrap().is_none() && began.elapsed() < DEADLINE);
        std::thread::yield_now();
    }

    // Each process gets one of them, and they talk.
    let (mut ann, mut bob) = (member_at(&public), member_at(&public));
    redis.wait_for_subscribers("lobby", 2);
    ann.send(text("/name ann"));
    until(|| bob.text(), "is now ann");
    bob.send(text("/name bob"));
    until(|| ann.text(), "is now bob");
    // The process of the first is killed; it comes again, to the other.
    drop(one);
    drop(ann.stream.read_to_end(&mut Vec::new()));
    let mut comes = member_at(&public);
    comes.send(text("hello again"));
    until(|| bob.text(), ": hello again");
    bob.send(text("and you"));
    until(|| comes.text(), "bob: and you");
}
