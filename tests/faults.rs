//! Promise 6 against a kernel that fails: descriptors, memory, aborted connections, storms of
//! signals, short counts. Below the library, by a preloaded shim (`tests/shim/`), and for real.
//!
//! The server is a child of this binary, the shim is built with `cc` when the first test needs it;
//! where that cannot be (no compiler, no preloading) a test skips and says so, and fails when
//! `WOULDBLOCK_CI=1`. The library makes `accept4`, `recv` and `send` without libc, where no shim can
//! stand, so faults of these need a build with `RUSTFLAGS="--cfg rustix_use_libc"`, and are ignored in
//! others.
//! Short counts are given only where no proof is drawn from them: to Unix sockets, and over poll(2).
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests bound their waits by the clock; only the library leaves it to one place"
)]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]
#![allow(clippy::print_stdout, reason = "children report on stdout, skipped tests say so")]
#![allow(clippy::cast_possible_truncation, reason = "test sizes are small")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use wouldblock::{Config, Reactor};

use support::child::Child;
use support::*;

#[allow(dead_code, reason = "the promises use the rest")]
#[path = "promises/support.rs"]
mod support;

// ---- the shim -------------------------------------------------------------------------------

/// A call that the shim stands before; the number is the place of its rule in the file.
#[derive(Clone, Copy)]
enum Call {
    Accept = 0,
    /// Only what adds a socket.
    #[cfg_attr(mio_unsupported_force_poll_poll, allow(dead_code, reason = "there is no epoll"))]
    EpollAdd = 1,
    /// Whichever the reactor waits in.
    Poll = if cfg!(mio_unsupported_force_poll_poll) { 3 } else { 2 },
    #[cfg_attr(not(rustix_use_libc), allow(dead_code, reason = "not by way of libc"))]
    Recv = 4,
    #[cfg_attr(not(rustix_use_libc), allow(dead_code, reason = "not by way of libc"))]
    Send = 5,
    #[cfg_attr(not(rustix_use_libc), allow(dead_code, reason = "not by way of libc"))]
    SendMsg = 6,
}

/// The numbers of a rule, in the order of `struct rule`.
#[derive(Clone, Copy)]
enum Field {
    Error = 0,
    Left = 1,
    Every = 2,
    Most = 3,
    Take = 4,
    Calls = 5,
    Given = 6,
    Here = 7,
}

const RULES: u64 = 7;
const RULE: u64 = 64;
const FOR_EVER: u64 = u64::MAX;

/// A fault that takes the connection with it, or leaves it where it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Gone,
    Waits,
}

/// A server below which calls fail as a test says.
struct Faulty {
    child: Child,
    /// Shared with the shim in the child.
    rules: File,
    path: Path,
}

/// Where the rules are, and with another end the server's Unix socket. Both are removed with it.
struct Path(PathBuf);

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("sock"));
    }
}

/// What the server counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    accepted: u64,
    accept_errors: u64,
    accept_shortages: u64,
    accept_failures: u64,
    refused: u64,
    turns: u64,
    io: u64,
}

/// Builds the shim, once; `None`: there is no way.
fn shim() -> Option<&'static PathBuf> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHIM.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        // Another run may be at it, or at work with it.
        let new = folder.join(format!("fault-{}.so", std::process::id()));
        let to = folder.join("fault.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/fault.c");
        let built = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O2", "-o"])
            .args([new.as_os_str(), source.as_ref(), "-ldl".as_ref()])
            .output();
        match built {
            Ok(Output { status, .. }) if status.success() => {
                fs::rename(new, &to).unwrap();
                Some(to)
            }
            Ok(Output { stderr, .. }) => skip(&String::from_utf8_lossy(&stderr)),
            Err(error) => skip(&format!("there is no cc: {error}")),
        }
    })
    .as_ref()
}

fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("WOULDBLOCK_CI").is_none_or(|ci| ci != "1"), "no shim: {why}");
    println!("skipped: faults cannot be given here: {why}");
    None
}

impl Faulty {
    /// Starts the server with the shim below it, and no fault yet.
    fn serve() -> Option<Faulty> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let shim = shim()?;
        let name = format!(
            "wouldblock-faults-{}-{}",
            std::process::id(),
            STARTED.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let rules = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let path = Path(path);
        rules.set_len(RULES * RULE).unwrap();
        let mut command = child::command("child_echo");
        command.env("LD_PRELOAD", shim).env("WOULDBLOCK_FAULTS", &path.0);
        let child = Child::start(command);
        let faulty = Faulty { child, rules, path };
        if faulty.read(Call::Accept, Field::Here) == 1 {
            return Some(faulty);
        }
        skip("nothing can be preloaded")
    }

    fn read(&self, call: Call, field: Field) -> u64 {
        let mut number = [0; 8];
        self.rules.read_exact_at(&mut number, call as u64 * RULE + field as u64 * 8).unwrap();
        u64::from_ne_bytes(number)
    }

    fn write(&self, call: Call, field: Field, number: u64) {
        let at = call as u64 * RULE + field as u64 * 8;
        self.rules.write_all_at(&number.to_ne_bytes(), at).unwrap();
    }

    /// The next `times` of these calls fail.
    fn fail(&self, call: Call, error: Errno, times: u64) {
        self.fail_each(call, 1, error, times);
    }

    /// Each `every`-th of these calls fails, `times` in all.
    fn fail_each(&self, call: Call, every: u64, error: Errno, times: u64) {
        let by_libc = cfg!(rustix_use_libc) || matches!(call, Call::EpollAdd | Call::Poll);
        assert!(by_libc, "in this build no shim stands before that call");
        self.write(call, Field::Left, 0);
        self.write(call, Field::Error, error.raw_os_error().cast_unsigned().into());
        self.write(call, Field::Every, every);
        self.write(call, Field::Left, times);
    }

    /// Whether an accept that fails takes the connection with it.
    fn take(&self, peer: Peer) {
        self.write(Call::Accept, Field::Take, u64::from(peer == Peer::Gone));
    }

    /// The fault is over.
    fn mend(&self, call: Call) {
        self.write(call, Field::Left, 0);
    }

    fn calls(&self, call: Call) -> u64 {
        self.read(call, Field::Calls)
    }

    fn given(&self, call: Call) -> u64 {
        self.read(call, Field::Given)
    }

    /// `n` clients that knock and have sent their number.
    fn knock(&self, n: u32) -> Vec<TcpStream> {
        let knock = |n: u32| {
            let mut client = knock_at(self.child.addr);
            // Who was refused at once finds out when it reads.
            let _ = client.write_all(&number(n));
            client
        };
        (0..n).map(knock).collect()
    }

    /// Watches it suffer for half a second or more: it makes few calls, at most `calls_max` in each
    /// tenth of a second between two rests, uses little CPU, and serves who is inside.
    #[track_caller]
    fn assert_calm(&self, inside: &mut TcpStream, call: Call, calls_max: u64) {
        let (ticks, calls, start) = (self.child.cpu_ticks(), self.calls(call), Instant::now());
        for _ in 0..50 {
            ping(inside, b"not hurt");
            watch(Duration::from_millis(10));
        }
        let (ticks, calls) = (self.child.cpu_ticks() - ticks, self.calls(call) - calls);
        let tenths = start.elapsed().as_millis() as u64 / 100 + 1;
        assert!(ticks < 4 * tenths, "{ticks}0 ms of CPU in {tenths}00 ms");
        assert!(calls <= calls_max * (tenths + 1), "{calls} calls in {tenths}00 ms");
    }

    fn lines(&self, level: &str) -> usize {
        self.child.stderr().lines().filter(|line| line.contains(level)).count()
    }

    /// At most the warning of each of its two listeners, in each ten seconds of a test.
    #[track_caller]
    fn assert_quiet(&self) {
        let lines = self.lines("WARN") + self.lines("ERROR");
        assert!(lines <= 4, "the log was flooded:\n{}", self.child.stderr());
    }

    /// Everybody has left: the server is at rest and ends well.
    #[track_caller]
    fn end(self, mut last: TcpStream) {
        let before = ask(&mut last).turns;
        watch(Duration::from_millis(200));
        let turns = ask(&mut last).turns - before;
        assert!(turns < 30, "{turns} turns were taken in 200 ms in which nothing happened");
        drop(last);
        let Faulty { child, path: _path, .. } = self;
        child.end();
    }
}

/// Tells clients apart; never a question mark.
fn number(n: u32) -> [u8; 5] {
    let mut bytes = *b"#0000";
    for (byte, digit) in bytes[1..].iter_mut().rev().zip([1, 10, 100, 1000]) {
        *byte += (n / digit % 10) as u8;
    }
    bytes
}

/// Connects; who is reset before that has returned finds out later, too.
fn knock_at(addr: SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None);
    let socket = socket.unwrap();
    socket.set_nonblocking(true).unwrap();
    // It is under way, or over: a call that waits tells.
    let _ = socket.connect(&addr.into());
    socket.set_nonblocking(false).unwrap();
    bounded(socket.into())
}

/// Whether this client got its number back; if not, its connection has ended.
#[track_caller]
fn is_answered(client: &mut TcpStream, n: u32) -> bool {
    let mut back = [0; 5];
    match client.read_exact(&mut back).map_err(|error| error.kind()) {
        Ok(()) => {
            assert_eq!(back, number(n));
            true
        }
        Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof) => false,
        Err(error) => panic!("neither answered nor refused: {error}"),
    }
}

#[track_caller]
fn ask(client: &mut TcpStream) -> Counts {
    client.write_all(b"?").unwrap();
    let told = read_n(client, 7 * 8);
    let mut numbers = told.chunks(8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let mut next = || numbers.next().unwrap();
    Counts {
        accepted: next(),
        accept_errors: next(),
        accept_shortages: next(),
        accept_failures: next(),
        refused: next(),
        turns: next(),
        io: next(),
    }
}

#[test]
#[ignore = "the server of the tests here"]
fn child_echo() {
    if !child::is_running("child_echo") {
        return;
    }
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).init();
    let script = echo().on_data(|conn, input| {
        let said = input.take_all();
        if said == b"?" {
            let stats = conn.cx().stats();
            let told = [
                stats.accepted,
                stats.accept_errors,
                stats.accept_shortages,
                stats.accept_failures,
                stats.refused,
                stats.turns,
                stats.closed.io,
            ];
            conn.send(told.map(u64::to_be_bytes).concat());
        } else {
            conn.send(said);
        }
        Ok(())
    });
    let mut reactor = Reactor::with_config(script, Config::default()).unwrap();
    if let Ok(path) = std::env::var("WOULDBLOCK_FAULTS") {
        reactor.listen(format!("unix:{path}.sock")).unwrap();
    }
    child::serve(reactor);
}

// ---- accept ---------------------------------------------------------------------------------

/// Promise 6, Traps 23, 24 and 67: descriptors or memory ran out, ours or the system's. Who waits
/// waits, who is inside is served, the listener tries ten times a second, and when it has passed
/// all come in.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn a_shortage_makes_the_door_rest_and_hurts_nobody() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    for (round, error) in
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].into_iter().enumerate()
    {
        server.fail(Call::Accept, error, FOR_EVER);
        let mut clients = server.knock(20);
        server.assert_calm(&mut inside, Call::Accept, 2);
        assert_eq!(ask(&mut inside).accepted, 1 + 20 * round as u64, "{error:?}");
        server.mend(Call::Accept);
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(read_n(client, 5), number(n as u32), "{error:?}");
        }
    }
    let counts = ask(&mut inside);
    assert_eq!(counts.accept_errors, server.given(Call::Accept));
    assert_eq!((counts.accept_shortages, counts.accept_failures), (counts.accept_errors, 0));
    assert_eq!(counts.refused, 0);
    assert_eq!(server.lines("cannot accept, resting"), server.lines("WARN"));
    assert!(server.lines("WARN") >= 1, "it did not say so");
    server.assert_quiet();
    server.end(inside);
}

/// Promise 6, Trap 23: every third accept finds nothing left: a rest now and then, and all come in.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn a_shortage_that_comes_and_goes_stops_nobody() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    server.fail_each(Call::Accept, 3, Errno::MFILE, FOR_EVER);
    for (n, mut client) in server.knock(60).into_iter().enumerate() {
        assert_eq!(read_n(&mut client, 5), number(n as u32));
    }
    server.mend(Call::Accept);
    assert_eq!(ask(&mut inside).accept_errors, server.given(Call::Accept));
    server.assert_quiet();
    server.end(inside);
}

/// Promise 6, Trap 22: what went wrong with one connection is skipped at once, without a rest and
/// without a line above debug.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn the_error_of_one_peer_is_skipped() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    for (error, peer) in [
        (Errno::CONNABORTED, Peer::Gone),
        (Errno::PROTO, Peer::Gone),
        (Errno::NETDOWN, Peer::Gone),
        (Errno::PERM, Peer::Gone),
        (Errno::PERM, Peer::Waits),
        (Errno::INTR, Peer::Waits),
    ] {
        let (before, given) = (ask(&mut inside), server.given(Call::Accept));
        server.take(peer);
        // So that all are waiting when the first is accepted: no gap between two lets it off.
        server.child.stop();
        server.fail_each(Call::Accept, 2, error, 10);
        let clients = server.knock(30);
        server.child.go_on();
        let mut answered = 0;
        for (n, mut client) in clients.into_iter().enumerate() {
            answered += usize::from(is_answered(&mut client, n as u32));
        }
        assert_eq!(answered, if peer == Peer::Gone { 20 } else { 30 }, "{error:?}");
        let after = ask(&mut inside);
        assert_eq!(server.given(Call::Accept) - given, 10, "{error:?}");
        // An interrupted call is made again before anybody hears of it.
        let told = if error == Errno::INTR { 0 } else { 10 };
        assert_eq!(after.accept_errors - before.accept_errors, told, "{error:?}");
        assert_eq!((after.accept_shortages, after.accept_failures, after.refused), (0, 0, 0));
    }
    assert_eq!(server.lines("WARN") + server.lines("ERROR"), 0, "{}", server.child.stderr());
    server.end(inside);
}

/// Promise 6, Traps 22 and 67: such an error without end, the connection still on the queue: the
/// listener comes to rest over it, and lets all in when it is over.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn an_error_of_one_peer_without_end_does_not_spin() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    for (error, calls) in [
        // Sixty-four in a row, then a rest of a tenth of a second.
        (Errno::PERM, 64),
        (Errno::PROTO, 64),
        // Each of them tried seventeen times.
        (Errno::INTR, 64 * 17),
    ] {
        server.fail(Call::Accept, error, FOR_EVER);
        let mut clients = server.knock(20);
        server.assert_calm(&mut inside, Call::Accept, calls);
        server.mend(Call::Accept);
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(read_n(client, 5), number(n as u32), "{error:?}");
        }
    }
    let counts = ask(&mut inside);
    assert_eq!((counts.accept_shortages, counts.accept_failures, counts.refused), (0, 0, 0));
    server.assert_quiet();
    server.end(inside);
}

/// Promises 6 and 7: what no waiting mends is an error in the log, not the end of those inside; and
/// should it pass after all, all come in.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn a_broken_listener_is_told_of_and_ends_nobody() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    for error in [Errno::INVAL, Errno::BADF, Errno::NOTSOCK, Errno::NOSYS] {
        server.fail(Call::Accept, error, FOR_EVER);
        let mut clients = server.knock(5);
        server.assert_calm(&mut inside, Call::Accept, 2);
        server.mend(Call::Accept);
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(read_n(client, 5), number(n as u32), "{error:?}");
        }
    }
    let counts = ask(&mut inside);
    assert_eq!(counts.accept_errors, server.given(Call::Accept));
    assert_eq!((counts.accept_shortages, counts.accept_failures), (0, counts.accept_errors));
    assert!(server.lines("ERROR") >= 1, "it did not say so:\n{}", server.child.stderr());
    server.assert_quiet();
    server.end(inside);
}

/// Promise 6: the kernel will not watch who was accepted: it is closed and counted, the listener
/// rests, who waits behind it comes in later, and its descriptor is given back.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "there is no epoll in this lane")]
fn who_cannot_be_watched_is_refused_and_the_next_is_not() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    let base = server.child.descriptors();
    for error in [Errno::NOMEM, Errno::NOSPC] {
        let before = ask(&mut inside);
        server.fail(Call::EpollAdd, error, 3);
        let clients = server.knock(10);
        let mut answered = 0;
        for (n, mut client) in clients.into_iter().enumerate() {
            answered += usize::from(is_answered(&mut client, n as u32));
        }
        assert_eq!(answered, 7, "{error:?}");
        let after = ask(&mut inside);
        assert_eq!(after.refused - before.refused, 3, "{error:?}");
        assert_eq!(after.accepted - before.accepted, 7, "{error:?}");
        wait_until("the descriptors are given back", || server.child.descriptors() == base);

        // What a peer sees is no orderly end.
        server.fail(Call::EpollAdd, error, 1);
        // It may be reset before its connect returns.
        if let Some(mut client) = try_connect(server.child.addr) {
            let end = client.read(&mut [0]).unwrap_err();
            assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        }
        let refused_before = ask(&mut inside).refused;

        // Without end: some ten are tried in a second, the others wait.
        server.fail(Call::EpollAdd, error, FOR_EVER);
        let clients = server.knock(40);
        server.assert_calm(&mut inside, Call::EpollAdd, 2);
        server.mend(Call::EpollAdd);
        let refused = ask(&mut inside).refused - refused_before;
        for (n, mut client) in clients.into_iter().enumerate().skip(refused as usize) {
            assert_eq!(read_n(&mut client, 5), number(n as u32), "{error:?}");
        }
        wait_until("the descriptors are given back", || server.child.descriptors() == base);
    }
    server.assert_quiet();
    server.end(inside);
}

/// Promise 6: told to end while nobody can be accepted, it ends.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn a_shortage_does_not_delay_the_end() {
    for error in [Errno::MFILE, Errno::PERM, Errno::INTR, Errno::BADF] {
        let Some(server) = Faulty::serve() else { return };
        let mut inside = server.child.connect();
        ping(&mut inside, b"hello");
        server.fail(Call::Accept, error, FOR_EVER);
        let waiting = server.knock(5);
        server.assert_calm(&mut inside, Call::Accept, 64 * 17);
        inside.write_all(b"and this").unwrap();
        let Faulty { mut child, path: _path, .. } = server;
        drop(child.process.stdin.take());
        assert_eq!(read_to_end(&mut inside), b"and this");
        drop(inside);
        assert_eq!(child.wait().code(), Some(0), "{}", child.stderr());
        for mut client in waiting {
            // Nobody took it in: the kernel resets it with its listener.
            assert!(client.read_exact(&mut [0]).is_err());
        }
    }
}

// ---- the poll -------------------------------------------------------------------------------

/// Promise 6, Trap 58: signals without end interrupt the wait: turns in which nothing was learned,
/// and then all goes on.
#[test]
fn a_poll_that_is_interrupted_ten_thousand_times_loses_nothing() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    server.fail(Call::Poll, Errno::INTR, 10_000);
    let mut clients = server.knock(20);
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(read_n(client, 5), number(n as u32));
    }
    assert_eq!(server.given(Call::Poll), 10_000);
    // Each second wait, for as long as it lasts.
    server.fail_each(Call::Poll, 2, Errno::INTR, FOR_EVER);
    for round in 0..200 {
        for client in &mut clients[..3] {
            ping(client, &number(round));
        }
    }
    server.assert_calm(&mut inside, Call::Poll, 80);
    server.mend(Call::Poll);
    assert_eq!(server.lines("WARN") + server.lines("ERROR"), 0, "{}", server.child.stderr());
    drop(clients);
    server.end(inside);
}

/// Promise 7: a poll that is broken ends the server, with its error; who is inside is told by the end
/// of the connection.
#[test]
fn a_poll_that_is_broken_ends_the_server_with_its_error() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    server.fail(Call::Poll, Errno::BADF, 1);
    inside.write_all(b"wake").unwrap();
    let Faulty { mut child, path: _path, .. } = server;
    assert_eq!(child.wait().code(), Some(101), "the panic of a test whose `run` has failed");
    assert!(child.stderr().contains("the poll failed, giving up: Bad file descriptor"));
    // What it had sent was echoed, or not.
    let (_, end) = read_until_gone(&mut inside);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

// ---- recv and send --------------------------------------------------------------------------

/// Sends a little and reads nothing until all of it is back: the reads of a client make room, and the
/// event that tells of it tells of the server's input as well, and so would hide a stall.
fn assert_echoes_unasked<S: Read + Write + AsFd>(mut client: S) {
    let sent = [b'!'; 100];
    client.write_all(&sent).unwrap();
    let mut back = [0; 200];
    wait_until("all of it is back", || {
        let seen = rustix::net::recv(&client, &mut back[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        seen.is_ok_and(|(n, _)| n == sent.len())
    });
    client.read_exact(&mut back[..sent.len()]).unwrap();
}

/// Sends on one thread and reads on this one; all of it must come back.
fn assert_echoes<S: Read + Write + Send>(mut writer: S, mut reader: S, seed: u64, n: usize) {
    let mut sent = random(seed, n);
    for byte in &mut sent {
        // A question mark alone would be a question.
        *byte |= 0x80;
    }
    let mut back = vec![0; n];
    thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).unwrap());
        reader.read_exact(&mut back).unwrap();
    });
    assert_same(&back, &sent);
}

/// Promises 1 and 2, Traps 3, 31 and 71: calls that move a few bytes at a time, where that proves
/// nothing: every byte comes back, in order.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn short_counts_that_prove_nothing_lose_nothing() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    let path = server.path.0.with_extension("sock");
    for (seed, (read, write)) in
        [(1, 0), (7, 0), (0, 1), (0, 100), (3, 2), (1, 1)].into_iter().enumerate()
    {
        let most = |call, n| server.write(call, Field::Most, n);
        most(Call::Recv, read);
        most(Call::Send, write);
        most(Call::SendMsg, write);
        let unix = UnixStream::connect(&path).unwrap();
        unix.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_echoes_unasked(&unix);
        assert_echoes(&unix, &unix, seed as u64, 20 * KIB);
        // Over epoll a short count on TCP is a proof, and one that is none a lost edge.
        if cfg!(mio_unsupported_force_poll_poll) {
            let tcp = server.child.connect();
            assert_echoes_unasked(&tcp);
            assert_echoes(&tcp, &tcp, seed as u64, 20 * KIB);
        }
    }
    for call in [Call::Recv, Call::Send, Call::SendMsg] {
        server.write(call, Field::Most, 0);
    }
    ping(&mut inside, b"and others");
    server.end(inside);
}

/// Promise 6, Trap 22: a storm of signals in the very calls: each is tried again, later if need be.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn interrupted_reads_and_writes_are_made_again() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    for call in [Call::Recv, Call::Send, Call::SendMsg] {
        for (every, times) in [(1, 1000), (2, 1000), (5, 1000)] {
            let given = server.given(call);
            server.fail_each(call, every, Errno::INTR, times);
            let (one, other) = (server.child.connect(), server.child.connect());
            assert_echoes(&one, &one, 1, MIB);
            assert_echoes(&other, &other, 2, MIB);
            server.mend(call);
            assert!(server.given(call) > given || matches!(call, Call::SendMsg));
        }
    }
    let counts = ask(&mut inside);
    assert_eq!(counts.io, 0);
    assert_eq!(server.lines("WARN") + server.lines("ERROR"), 0, "{}", server.child.stderr());
    server.end(inside);
}

/// Promise 6: a read or a write that fails ends its own connection, and no other.
#[test]
#[cfg_attr(not(rustix_use_libc), ignore = "needs a build with --cfg rustix_use_libc")]
fn a_failed_read_or_write_ends_one_connection() {
    let Some(server) = Faulty::serve() else { return };
    let mut inside = server.child.connect();
    ping(&mut inside, b"hello");
    let base = server.child.descriptors();
    let mut failed = 0;
    for call in [Call::Recv, Call::Send] {
        for error in [Errno::CONNRESET, Errno::TIMEDOUT, Errno::NOMEM, Errno::NOBUFS, Errno::IO] {
            let mut client = server.child.connect();
            ping(&mut client, b"first");
            server.fail(call, error, 1);
            client.write_all(b"last").unwrap();
            let (back, _) = read_until_gone(&mut client);
            assert!(back.is_empty(), "{error:?}");
            failed += 1;
            ping(&mut inside, b"not hurt");
            assert_eq!(ask(&mut inside).io, failed, "{error:?}");
        }
    }
    wait_until("the descriptors are given back", || server.child.descriptors() == base);
    assert_eq!(server.lines("WARN") + server.lines("ERROR"), 0, "{}", server.child.stderr());
    server.end(inside);
}

// ---- real exhaustion ------------------------------------------------------------------------

/// Promise 6, Traps 23 and 67: the limit is lowered while it serves; a thousand knock, and all are
/// served in the end, fifty at a time. In a child for the descriptors of the clients.
#[test]
fn a_thousand_wait_for_fifty_descriptors_and_all_are_served() {
    child::run("child_thousand_clients");
}

#[test]
#[ignore = "a child of a_thousand_wait_for_fifty_descriptors_and_all_are_served"]
fn child_thousand_clients() {
    if !child::is_running("child_thousand_clients") {
        return;
    }
    let room = child::room_for_pairs() * 2;
    // Its backlog is 1024, and the kernel may allow less.
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let many = room.min(somaxconn.trim().parse().unwrap()).min(1000);
    let server = Child::serve("child_echo");
    let limit = |current: u64| {
        let pid = Some(Pid::from_child(&server.process));
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
    };
    let mut inside = server.connect();
    ping(&mut inside, b"hello");
    let base = server.descriptors() as u64;
    limit(base + 50);
    let mut clients: Vec<_> = (0..many)
        .map(|n| {
            let mut client = server.connect();
            client.write_all(&number(n as u32)).unwrap();
            client
        })
        .collect();
    wait_until("all descriptors are used", || ask(&mut inside).accept_shortages > 0);
    // It rests, with all of them at the door.
    let (ticks, before, start) = (server.cpu_ticks(), ask(&mut inside), Instant::now());
    for _ in 0..50 {
        ping(&mut inside, b"not hurt");
        watch(Duration::from_millis(10));
    }
    let errors = ask(&mut inside).accept_errors - before.accept_errors;
    let ticks = server.cpu_ticks() - ticks;
    let tenths = start.elapsed().as_millis() as u64 / 100 + 1;
    assert!(ticks < 4 * tenths, "{ticks}0 ms of CPU in {tenths}00 ms at the limit");
    assert!(errors <= 2 * (tenths + 1), "{errors} failed accepts in {tenths}00 ms at the limit");
    // In order, each one that leaves lets one in.
    let rest = clients.split_off(many / 2);
    for (n, mut client) in clients.into_iter().enumerate() {
        assert_eq!(read_n(&mut client, 5), number(n as u32));
    }
    // The limit is raised again: nobody need leave.
    limit(base + 50 + many as u64);
    let mut rest: Vec<_> = rest.into_iter().enumerate().collect();
    for (n, client) in &mut rest {
        assert_eq!(read_n(client, 5), number((*n + many / 2) as u32));
    }
    let counts = ask(&mut inside);
    assert_eq!(counts.accepted, 1 + many as u64);
    assert_eq!(counts.accept_errors, counts.accept_shortages);
    assert!(counts.accept_shortages > 0, "the limit was never met");
    drop(rest);
    wait_until("all descriptors are given back", || server.descriptors() as u64 == base);
    let warnings = server.stderr().lines().filter(|line| line.contains("WARN")).count();
    assert!((1..=4).contains(&warnings), "{}", server.stderr());
    drop(inside);
    server.end();
}
