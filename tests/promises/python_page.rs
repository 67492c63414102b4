//! Holds `docs/guide/from_python.md` to Python itself: each row of its table is a fact that holds,
//! its Python runs, its three classic programs do to a second client what it says, its threads
//! work, and its two whole programs, which are examples, serve clients that nobody here wrote.
//!
//! Skipped, with a line, where `python3` is missing; an error instead when `WOULDBLOCK_CI=1`.
#![cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use wouldblock::Config;

use crate::foreign::{feed, has};
use crate::support::child::{self, Child};
use crate::support::*;

const PAGE: &str = include_str!("../../docs/guide/from_python.md");
const FACTS: &str = include_str!("python/facts.py");

/// The blocks of Python, in order.
fn blocks() -> impl Iterator<Item = &'static str> {
    PAGE.split("\n```python\n").skip(1).map(|rest| rest.split("```").next().unwrap())
}

fn is_program(block: &str) -> bool {
    block.starts_with("# ")
}

/// The classic program of this name.
#[track_caller]
fn program(name: &str) -> &'static str {
    let head = format!("# {name}\n");
    blocks().find(|block| block.starts_with(&head)).expect("the page has that program")
}

/// Runs Python, which must end well, and answers what it printed.
#[track_caller]
fn run(program: &str) -> String {
    let output = Command::new("timeout")
        .args(["60", "python3", "-W", "ignore", "-c", program])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The rows of the table of calls, as lists of cells.
fn rows() -> Vec<Vec<&'static str>> {
    let (_, table) = PAGE.split_once("\n| call |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Promise 7: what the page says of a call of Python's was tried.
#[test]
fn every_call_in_the_table_of_the_python_page_has_a_fact_that_holds() {
    if !has("python3", "--version") {
        return;
    }
    let told: Vec<_> = rows().iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let held = run(FACTS);
    assert_eq!(told, held.lines().collect::<Vec<_>>());
}

/// Every call of the classic module stands in the table, and its row leads to where it is shown.
#[test]
fn the_table_of_the_python_page_is_whole_and_each_row_leads_on() {
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " _-".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let prose: String = PAGE.split("```").step_by(2).collect();
    let anchors: BTreeSet<_> =
        prose.lines().filter_map(|line| line.strip_prefix("# ")).map(anchor).collect();
    for row in rows() {
        assert_eq!(row.len(), 4, "{row:?}");
        let target = row[3].split_once("[More](#").expect("the row leads on").1;
        let target = target.split_once(')').unwrap().0;
        assert!(anchors.contains(target), "no heading for #{target}");
    }
    for target in prose.split("](#").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
        assert!(anchors.contains(target), "no heading for #{target}");
    }
    let calls: Vec<_> = rows().iter().map(|row| row[0]).collect();
    for call in [
        "AF_INET,",
        "AF_INET6",
        "AF_UNIX",
        "SOCK_STREAM",
        "SOCK_DGRAM",
        "proto",
        "bind",
        "listen",
        "setblocking",
        "accept",
        "connect",
        "connect_ex",
        "close",
        "shutdown",
        "recv",
        "recvfrom",
        "recv_into",
        "send",
        "sendall",
        "sendto",
        "settimeout",
        "gettimeout",
        "getpeername",
        "getsockname",
        "setsockopt",
        "getsockopt",
        "fileno",
        "makefile",
    ] {
        assert!(calls.iter().any(|row| row.contains(call)), "{call} is missing");
    }
}

/// The short pieces of Python are one session, and hold what they assert.
#[test]
fn the_python_of_the_page_runs_from_top_to_bottom() {
    if !has("python3", "--version") {
        return;
    }
    let session: String = blocks().filter(|block| !is_program(block)).collect();
    assert!(session.matches("assert ").count() > 40);
    run(&session);
}

// ---- the three classic programs, and ours ------------------------------------------------------

fn start(program: &str) -> Child {
    let mut command = Command::new("python3");
    command.args(["-c", program]);
    Child::start(command)
}

/// What it has heard, each on a line.
fn heard(server: &Child) -> Vec<String> {
    server.stdout().lines().skip(1).map(str::to_owned).collect()
}

#[track_caller]
fn wait_heard(server: &Child, expected: &[&str]) {
    wait_until(&format!("{expected:?} is heard"), || heard(server).len() >= expected.len());
    assert_eq!(heard(server), expected);
}

/// The scene: one connects and is silent, another connects behind it and speaks.
fn silent_and_quick(connect: impl Fn() -> TcpStream) -> (TcpStream, TcpStream) {
    let silent = connect();
    let mut quick = connect();
    quick.write_all(b"quick").unwrap();
    (silent, quick)
}

/// The blocking server hears the second client behind the first, however early it spoke.
#[test]
fn the_blocking_server_of_the_page_serves_the_second_client_behind_the_first() {
    if !has("python3", "--version") {
        return;
    }
    let server = start(program("blocking.py"));
    let (mut silent, mut quick) = silent_and_quick(|| server.connect());
    silent.write_all(b"silent").unwrap();
    assert_eq!(read_to_end(&mut quick), b"hello");
    wait_heard(&server, &["silent", "quick"]);
}

/// The loops answer the second client while the first is silent.
#[test]
fn the_two_loops_of_the_page_serve_the_second_client_first() {
    if !has("python3", "--version") {
        return;
    }
    for name in ["setblocking.py", "select_loop.py"] {
        let server = start(program(name));
        let (mut silent, mut quick) = silent_and_quick(|| server.connect());
        assert_eq!(read_to_end(&mut quick), b"hello", "{name}");
        silent.write_all(b"silent").unwrap();
        assert_eq!(read_to_end(&mut silent), b"hello", "{name}");
        wait_heard(&server, &["quick", "silent"]);
    }
}

/// Our server as the page has it, with this for an answer.
fn ours(answer: &[u8]) -> Server {
    let answer = answer.to_vec();
    let script = echo().on_data(move |conn, input| {
        input.take_all();
        conn.send(&answer);
        conn.close();
        Ok(())
    });
    Server::start(script, Config::default().output_max(128 * MIB))
}

/// Promise 1: ours answers the second client while the first is silent.
#[test]
fn our_server_on_the_python_page_serves_the_second_client_first() {
    let server = ours(b"hello");
    let (mut silent, mut quick) = silent_and_quick(|| server.connect());
    assert_eq!(read_to_end(&mut quick), b"hello");
    silent.write_all(b"silent").unwrap();
    assert_eq!(read_to_end(&mut silent), b"hello");
    drop((silent, quick));
    server.end();
}

/// Promise 6: a client that resets ends each of the three classic programs, and not ours.
#[test]
fn a_reset_ends_each_classic_program_and_not_ours() {
    if !has("python3", "--version") {
        return;
    }
    for name in ["blocking.py", "setblocking.py", "select_loop.py"] {
        let mut server = start(program(name));
        reset(server.connect());
        assert!(!server.wait().success(), "{name}");
        wait_until("it says why", || server.stderr().contains("ConnectionResetError"));
    }
    let server = ours(b"hello");
    reset(server.connect());
    let mut second = server.connect();
    second.write_all(b"second").unwrap();
    assert_eq!(read_to_end(&mut second), b"hello");
    drop(second);
    server.end();
}

/// Promise 5: a client that does not read a long answer stops two of the classic programs for
/// everybody, ends the third, and stops nobody here.
#[test]
fn a_long_answer_that_is_not_read_stops_the_classic_programs_and_not_ours() {
    if !has("python3", "--version") {
        return;
    }
    let long = |name| program(name).replace("sendall(b\"hello\")", "sendall(bytes(64 << 20))");
    for name in ["blocking.py", "select_loop.py"] {
        let server = start(&long(name));
        let mut first = server.connect();
        first.write_all(b"first").unwrap();
        wait_heard(&server, &["first"]);
        let mut second = server.connect();
        second.write_all(b"second").unwrap();
        watch(Duration::from_millis(200));
        assert_eq!(heard(&server), ["first"], "{name}");
        assert_eq!(read_to_end(&mut first).len(), 64 * MIB);
        wait_heard(&server, &["first", "second"]);
    }
    let mut server = start(&long("setblocking.py"));
    let mut first = server.connect();
    first.write_all(b"first").unwrap();
    assert!(!server.wait().success());
    wait_until("it says why", || server.stderr().contains("BlockingIOError"));

    let server = ours(&vec![0; 64 * MIB]);
    let mut first = server.connect();
    first.write_all(b"first").unwrap();
    let mut second = server.connect();
    second.write_all(b"second").unwrap();
    assert_eq!(read_to_end(&mut second).len(), 64 * MIB);
    assert_eq!(read_to_end(&mut first).len(), 64 * MIB);
    drop((first, second));
    server.end();
}

/// The threads of the page do what the page says; ours beside them is run as a test of the guide.
#[test]
fn the_threads_of_the_page_let_one_client_wait_for_another() {
    if !has("python3", "--version") {
        return;
    }
    let server = start(program("store.py"));
    let (mut waits, mut puts) = (server.connect(), server.connect());
    waits.write_all(b"WAIT b\nWAIT a\nPUT c 2\nhi").unwrap();
    puts.write_all(b"PUT a 3\nonePUT b 3\ntwo").unwrap();
    let mut answers = [vec![0; 9], vec![0; 6]];
    waits.read_exact(&mut answers[0]).unwrap();
    puts.read_exact(&mut answers[1]).unwrap();
    assert_eq!(answers, [&b"twooneOK\n"[..], b"OK\nOK\n"]);
}

/// With a thousand clients `select` ends its program: it cannot name a descriptor from 1024 on.
#[test]
fn pythons_select_ends_with_the_descriptor_1024_and_a_loop_of_attempts_does_not() {
    if !has("python3", "--version") {
        return;
    }
    let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if maximum.is_some_and(|most| most < 4096) {
        eprintln!("skipped: it takes more than a thousand descriptors");
        return;
    }
    // As many descriptors as eleven hundred clients have; only the next is a real one.
    let crowded = |name| {
        let crowd = "import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
crowd = [os.dup(0) for _ in range(1100)]
";
        let (before, after) = program(name).split_once("print(").unwrap();
        start(&format!("{before}{crowd}print({after}"))
    };
    let server = crowded("setblocking.py");
    let mut client = server.connect();
    client.write_all(b"hi").unwrap();
    assert_eq!(read_to_end(&mut client), b"hello");

    let mut server = crowded("select_loop.py");
    let mut client = server.connect();
    client.write_all(b"hi").unwrap();
    assert!(!server.wait().success());
    wait_until("it says why", || server.stderr().contains("filedescriptor out of range in select"));
}

// ---- the port-forwarder and the chat -----------------------------------------------------------

fn forwarder(to: &str) -> Child {
    forwarder_to(&[to])
}

fn forwarder_to(to: &[&str]) -> Child {
    let mut command = Command::new(child::example("forward"));
    command.arg("127.0.0.1:0").args(to);
    Child::start(command)
}

/// Promises 2 and 5: netcat sends ten mebibytes through the forwarder of the page, half-closes, and
/// gets every one back.
#[test]
fn the_forwarder_of_the_python_page_carries_all_both_ways_to_the_end() {
    if !has("nc", "-h") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    let forwarder = forwarder(&server.addr.to_string());
    let sent = random(80, 10 * MIB);
    let port = forwarder.addr.port().to_string();
    let got = feed(Command::new("timeout").args(["20", "nc", "-N", "127.0.0.1", &port]), &sent);
    assert_same(&got, &sent);
    drop(forwarder);
    server.end();
}

/// Promises 4 and 5: a client that sends all before it reads, and a server that does the same: the
/// forwarder keeps little of it.
#[test]
fn the_forwarder_of_the_python_page_keeps_little() {
    const LEN: usize = 30 * MIB;
    let (up, down) = (random(81, LEN), random(82, LEN));
    let behind = listener();
    let forwarder = forwarder(&behind.local_addr().unwrap().to_string());
    let answer = down.clone();
    let serving = thread::spawn(move || exchange(&behind.accept().unwrap().0, &answer));
    let mut client = forwarder.connect();
    client.write_all(&up).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&read_to_end(&mut client), &down);
    assert_same(&serving.join().unwrap(), &up);
    let peak = forwarder.peak_memory();
    assert!(peak < 16 * MIB, "{peak} bytes of memory");
}

/// Promise 7: a server that is not there, and one that resets, end the client; a client that resets
/// ends its server's connection. The forwarder goes on.
#[test]
fn the_forwarder_of_the_python_page_passes_failures_on() {
    let behind = listener();
    let addr = behind.local_addr().unwrap();
    let forwarder = forwarder(&addr.to_string());

    // Bounded, so that a failure that is not passed on fails.
    let accept = || {
        let (server, _) = behind.accept().unwrap();
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        server
    };
    let mut client = forwarder.connect();
    let mut server = accept();
    client.write_all(b"hello").unwrap();
    assert_eq!(read_n(&mut server, 5), b"hello");
    reset(client);
    let (_, end) = read_until_gone(&mut server);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let mut client = forwarder.connect();
    let mut server = accept();
    server.write_all(b"last words").unwrap();
    assert_eq!(read_n(&mut client, 10), b"last words");
    reset(server);
    let (got, end) = read_until_gone(&mut client);
    assert!(got.is_empty());
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);

    drop(behind);
    // The reset may be there before the connect has returned.
    if let Some(mut client) = try_connect(forwarder.addr) {
        let (_, end) = read_until_gone(&mut client);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    wait_until("it says why", || forwarder.stderr().contains("Connection refused"));
}

/// Names, what is said, and who has left, by whichever way: three people in the chat of the page.
#[test]
fn the_chat_of_the_python_page_tells_who_came_spoke_and_left() {
    let mut command = Command::new(child::example("chat"));
    command.arg("127.0.0.1:0");
    let chat = Child::start(command);
    let enter = |name: &str| {
        let mut stream = chat.connect();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "name?");
        writeln!(stream, "{name}\r").unwrap();
        (stream, lines)
    };
    let (mut anna, mut to_anna) = enter("Anna");
    assert_eq!(to_anna.next().unwrap(), "* here: ");
    let (mut bob, mut to_bob) = enter("Anna");
    assert_eq!(to_bob.next().unwrap(), "another name?");
    bob.write_all(b"\nBob\n").unwrap();
    assert_eq!(to_bob.next().unwrap(), "another name?");
    assert_eq!(to_bob.next().unwrap(), "* here: Anna");
    assert_eq!(to_anna.next().unwrap(), "* Bob has come");

    anna.write_all(b"good ").unwrap();
    anna.write_all(b"morning\nhow are you?\n").unwrap();
    assert_eq!(to_bob.next().unwrap(), "Anna: good morning");
    assert_eq!(to_bob.next().unwrap(), "Anna: how are you?");
    anna.write_all(b"me too\x1b[2J\rCarl: I am here\n").unwrap();
    assert_eq!(to_bob.next().unwrap(), "Anna: me too[2JCarl: I am here");

    // A line without an end is too long, and one of them has had enough.
    let (mut carl, mut to_carl) = enter("Carl");
    assert_eq!(to_anna.next().unwrap(), "* Carl has come");
    assert_eq!(to_bob.next().unwrap(), "* Carl has come");
    assert!(to_carl.next().unwrap().starts_with("* here: "));
    carl.write_all(&[b'x'; 2000]).unwrap();
    assert_eq!(to_anna.next().unwrap(), "* Carl has left");
    assert_eq!(to_bob.next().unwrap(), "* Carl has left");
    drop(to_bob);
    reset(bob);
    assert_eq!(to_anna.next().unwrap(), "* Bob has left");
    anna.shutdown(Shutdown::Write).unwrap();
    assert_eq!(anna.read(&mut [0]).unwrap(), 0);
}

/// Promise 7: where the first address of a server does not answer, the next is tried; what the client
/// said meanwhile is not lost. Where none does, the client is reset.
#[test]
fn the_forwarder_of_the_python_page_tries_all_addresses() {
    let server = Server::start(echo(), Config::default());
    // Taken, so that it is nobody else's, and not listening.
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let deaf = deaf.local_addr().unwrap().as_socket().unwrap().to_string();
    let there = server.addr.to_string();

    let forwarder = forwarder_to(&[&deaf, "unix:@nobody-is-here", &there]);
    let mut client = forwarder.connect();
    client.write_all(b"said at once").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"said at once");
    wait_until("it says why", || forwarder.stderr().matches("cannot connect to").count() == 2);

    let forwarder = forwarder_to(&[&deaf, &deaf]);
    // The reset may be there before the connect has returned.
    if let Some(mut client) = try_connect(forwarder.addr) {
        let (_, end) = read_until_gone(&mut client);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    wait_until("it says why", || forwarder.stderr().matches("cannot connect to").count() == 2);
    server.end();
}

/// Promise 5: one member of the chat that talks as fast as it can is read from at its pace, and none of
/// those it talks to is closed for it, though they read nothing in the meantime.
#[test]
fn a_flooder_in_the_chat_of_the_python_page_gets_nobody_thrown_out() {
    /// Far more than a queue and the kernel's buffers take.
    const FLOOD: usize = 64 * MIB;
    let mut command = Command::new(child::example("chat"));
    command.arg("127.0.0.1:0");
    let chat = Child::start(command);
    let enter = |name: &str| {
        let mut stream = chat.connect();
        writeln!(stream, "{name}").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "name?");
        assert!(lines.next().unwrap().starts_with("* here: "));
        (stream, lines)
    };
    let (mut anna, mut to_anna) = enter("Anna");
    let (_bob, mut to_bob) = enter("Bob");
    let (mut mallory, _) = enter("Mallory");
    mallory.set_nonblocking(true).unwrap();
    let flood = b"ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha\n".repeat(1000);
    let (mut said, mut refused) = (0, 0);
    // Until it is not taken for a while: its kernel's buffers and ours are full.
    while said < FLOOD && refused < 300 {
        match mallory.write(&flood) {
            Ok(n) => (said, refused) = (said + n, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "the flooder is not closed either");
                refused += 1;
                watch(Duration::from_millis(1));
            }
        }
    }
    assert!(said < FLOOD, "it was read from without end");
    anna.write_all(b"still here\n").unwrap();
    let heard = to_bob.find(|line| line.starts_with("Anna: "));
    assert_eq!(heard.unwrap(), "Anna: still here");
    assert!(to_anna.any(|line| line.starts_with("Mallory: ")));
}
