//! `examples/udp_echo.rs` and `examples/beacon.rs`, as somebody would run them: processes.
#![cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child as Process, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::mail::{client, path, unix_client};
use crate::support::child::{Child, example};
use crate::support::{DEADLINE, random};

/// Promises 2 and 6: the echo gives back every size, by each of its sockets; a sender that vanished
/// is no trouble; and SIGTERM lets it answer what was sent before, and end with code 0.
#[test]
fn the_echo_of_datagrams_echoes_and_ends() {
    let name = path("example");
    let listen = format!("unix:{}", name.display());
    let mut echo = Child::example("udp_echo", &["--listen", &listen, "--recv-buffer", "1000000"]);
    let udp = client("127.0.0.1:0");
    let mut buf = vec![0; 70_000];
    for len in [0, 1, 1400, 65_507] {
        let sent = random(len as u64, len);
        udp.send_to(&sent, echo.addr).unwrap();
        let (n, from) = udp.recv_from(&mut buf).unwrap();
        assert!(buf[..n] == sent && from == echo.addr, "{n} bytes from {from}");
    }
    client("127.0.0.1:0").send_to(b"gone", echo.addr).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"nameless", &name).unwrap();
    let own = path("example-client");
    let unix = unix_client(&own);
    unix.send_to(b"named", &name).unwrap();
    assert_eq!(unix.recv(&mut buf).unwrap(), 5);
    std::fs::remove_file(own).unwrap();

    echo.stop();
    let clients: Vec<_> = (0..100_u8).map(|_| client("127.0.0.1:0")).collect();
    for (n, client) in clients.iter().enumerate() {
        client.send_to(&[n as u8], echo.addr).unwrap();
    }
    echo.signal(Signal::TERM);
    echo.go_on();
    for (n, client) in clients.iter().enumerate() {
        assert_eq!((client.recv(&mut buf).unwrap(), buf[0]), (1, n as u8));
    }
    assert_eq!(echo.wait().code(), Some(0), "{}", echo.stderr());
    assert!(!echo.stderr().contains("panic"), "{}", echo.stderr());
    assert!(!name.exists());
}

/// A beacon, and what it prints. Killed when dropped.
struct Beacon {
    process: Process,
    lines: Receiver<String>,
}

impl Beacon {
    fn start(name: &str, group: &str) -> Beacon {
        let mut process = Command::new(example("beacon"))
            .args(["--name", name, "--group", group, "--interface", "127.0.0.1", "--every", "0.1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, lines) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
        });
        let beacon = Beacon { process, lines };
        beacon.wait_for("listening on ");
        beacon
    }

    /// Waits for a line that begins so.
    #[track_caller]
    fn wait_for(&self, start: &str) {
        let until = Instant::now() + DEADLINE;
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if line.starts_with(start) {
                return;
            }
        }
        panic!("no line begins {start}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Beacons on the loopback interface see each other come, say goodbye, fall silent and come again.
#[test]
fn beacons_see_who_is_there() {
    // A group of this process's own, and a port that was free a moment ago.
    let port = client("0.0.0.0:0").local_addr().unwrap().port();
    let id = std::process::id();
    let group = format!("239.255.{}.{}:{port}", id >> 8 & 255, id & 255);
    let ada = Beacon::start("ada", &group);
    let mut bob = Beacon::start("bob", &group);
    let eve = Beacon::start("eve", &group);
    for other in ["\"bob\" is here, at 127.0.0.1:", "\"eve\" is here, at 127.0.0.1:"] {
        ada.wait_for(other);
    }
    bob.wait_for("\"ada\" is here");
    bob.signal(Signal::TERM);
    ada.wait_for("\"bob\" has gone");
    assert_eq!(bob.process.wait().unwrap().code(), Some(0));
    eve.signal(Signal::STOP);
    ada.wait_for("\"eve\" is silent");
    eve.signal(Signal::CONT);
    ada.wait_for("\"eve\" is here");
}
