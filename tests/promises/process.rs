//! What belongs to a process: descriptors and their limits, CPU time, signals, exit codes. Each on
//! a child.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;
use wouldblock::{Config, Reactor};

use crate::support::child::Child;
use crate::support::*;

/// An echo that tells `?` how often an accept has failed.
fn telling_accept_errors() -> Script {
    echo().on_data(|conn, input| {
        let said = input.take_all();
        if said == b"?" {
            let errors = conn.cx().stats().accept_errors;
            conn.send(errors.to_be_bytes());
        } else {
            conn.send(said);
        }
        Ok(())
    })
}

#[track_caller]
fn ask_accept_errors(client: &mut TcpStream) -> u64 {
    client.write_all(b"?").unwrap();
    u64::from_be_bytes(read_n(client, 8).try_into().unwrap())
}

fn log_to_stderr() {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).init();
}

fn warnings(child: &Child) -> usize {
    child.stderr().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count()
}

/// Promise 6, Traps 23, 24 and 67: no descriptor is left, and clients keep coming. No busy loop,
/// few lines in the log, nobody inside is hurt, and each one that leaves lets one in.
#[test]
fn without_descriptors_it_neither_dies_nor_spins() {
    let child = Child::serve("process::child_without_descriptors");
    let mut clients: Vec<_> = (0..40)
        .map(|n: u32| {
            let mut client = child.connect();
            client.write_all(&n.to_be_bytes()).unwrap();
            client
        })
        .collect();
    let mut inside: Vec<TcpStream> = clients.drain(..10).collect();
    for (n, client) in inside.iter_mut().enumerate() {
        assert_eq!(read_n(client, 4), (n as u32).to_be_bytes());
    }
    // At the limit: a window in which more keep knocking.
    let (ticks, errors) = (child.cpu_ticks(), ask_accept_errors(&mut inside[0]));
    for _ in 0..100 {
        reset(child.connect());
        watch(Duration::from_millis(10));
    }
    let (ticks, errors) = (child.cpu_ticks() - ticks, ask_accept_errors(&mut inside[0]) - errors);
    assert!(ticks < 50, "{ticks}0 ms of CPU in a second at the limit");
    assert!(errors < 250, "{errors} accepts failed in a second at the limit");
    for client in &mut inside {
        ping(client, b"not hurt");
    }
    // Each that leaves lets one in, in order, behind those that knocked and went.
    for (n, mut client) in clients.into_iter().enumerate() {
        drop(inside.remove(0));
        assert_eq!(read_n(&mut client, 4), (n as u32 + 10).to_be_bytes());
        inside.push(client);
    }
    for client in &mut inside {
        ping(client, b"nor now");
    }
    assert!(warnings(&child) <= 6, "the log was flooded:\n{}", child.stderr());
    drop(inside);
    child.end();
}

#[test]
#[ignore = "a child of without_descriptors_it_neither_dies_nor_spins"]
fn child_without_descriptors() {
    if !child::is_running("process::child_without_descriptors") {
        return;
    }
    log_to_stderr();
    child::limit_descriptors(100);
    let mut taken = Vec::new();
    let script = telling_accept_errors().on_start(move |_| {
        // The program's own files take all but ten.
        while child::own_descriptors() < 90 {
            taken.push(std::fs::File::open("/dev/null")?);
        }
        Ok(())
    });
    child::serve(Reactor::new(script).unwrap());
}

/// Promises 4 and 6, Trap 30: more connections are configured than descriptors allow; the limit is
/// what fits, with a warning, and no accept ever fails.
#[test]
fn a_limit_above_the_descriptors_is_lowered_to_what_fits() {
    let child = Child::serve("process::child_low_limit");
    let mut clients: Vec<_> = (0..60)
        .map(|n: u32| {
            let mut client = child.connect();
            client.write_all(&n.to_be_bytes()).unwrap();
            client
        })
        .collect();
    let outside = clients.split_off(32);
    let mut inside = clients;
    for (n, client) in inside.iter_mut().enumerate() {
        assert_eq!(read_n(client, 4), (n as u32).to_be_bytes());
    }
    let ticks = child.cpu_ticks();
    watch(Duration::from_millis(500));
    let ticks = child.cpu_ticks() - ticks;
    assert!(ticks < 25, "{ticks}0 ms of CPU in half a second of a full house");
    assert_eq!(ask_accept_errors(&mut inside[0]), 0);
    for (n, mut client) in outside.into_iter().enumerate() {
        drop(inside.remove(0));
        assert_eq!(read_n(&mut client, 4), (n as u32 + 32).to_be_bytes());
        inside.push(client);
    }
    assert_eq!(ask_accept_errors(&mut inside[0]), 0);
    assert!((1..=3).contains(&warnings(&child)), "one warning is due:\n{}", child.stderr());
    drop(inside);
    child.end();
}

#[test]
#[ignore = "a child of a_limit_above_the_descriptors_is_lowered_to_what_fits"]
fn child_low_limit() {
    if !child::is_running("process::child_low_limit") {
        return;
    }
    log_to_stderr();
    child::limit_descriptors(64);
    let config = Config::default().connections(1000);
    child::serve(Reactor::with_config(telling_accept_errors(), config).unwrap());
}

#[test]
#[ignore = "the echo server of several tests here"]
fn child_echo() {
    if !child::is_running("process::child_echo") {
        return;
    }
    child::serve(
        Reactor::with_config(echo(), Config::default().linger(Duration::from_millis(300))).unwrap(),
    );
}

/// Promise 1, Trap 71: the process is stopped; data, an urgent byte and data arrive; it goes on:
/// every byte comes back without a further one.
#[test]
fn an_urgent_byte_sent_to_a_stopped_server_cuts_nothing_off() {
    let child = Child::serve("process::child_echo");
    let mut client = child.connect();
    for round in 0..5 {
        ping(&mut client, b"hello");
        let (before, behind) = (random(round, 10 + round as usize), random(round, 30 * KIB));
        child.stop();
        client.write_all(&before).unwrap();
        SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(&behind).unwrap();
        child.go_on();
        assert_same(&read_n(&mut client, before.len() + behind.len()), &[before, behind].concat());
    }
    drop(client);
    child.end();
}

/// Promise 1, Trap 13: interest is registered once: a message costs one `recv` and one `send`, and
/// no `epoll_ctl` at all. Told by `strace`; skipped, with a line, where it is not here or may not
/// trace.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "there is no epoll in this lane")]
fn a_message_costs_two_calls_and_no_registration() {
    const MESSAGES: usize = 300;
    let log = std::env::temp_dir().join(format!("wouldblock-strace-{}", std::process::id()));
    let calls = "trace=epoll_ctl,recvfrom,sendto,sendmsg,writev,readv";
    let strace = ["strace", "-f", "-e", calls, "-o", log.to_str().unwrap()];
    let trial = Command::new(strace[0]).args(&strace[1..]).arg("true").output();
    if !trial.is_ok_and(|output| output.status.success()) {
        println!("skipped: strace is not here, or may not trace");
        return;
    }
    let child = Child::serve_under(&strace, "process::child_echo");
    let mut clients: Vec<_> = (0..3).map(|_| child.connect()).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    for n in 0..MESSAGES {
        ping(&mut clients[n % 3], b"message");
    }
    drop(clients);
    child.end();
    let calls = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let count = |call: &str| calls.lines().filter(|line| line.contains(call)).count();
    // Each client: one registration, one farewell, and now and then a read that finds nothing.
    assert!(count("epoll_ctl(") <= 10, "{} registrations", count("epoll_ctl("));
    let reads = count("recvfrom(") + count("readv(");
    let writes = count("sendto(") + count("sendmsg(") + count("writev(");
    assert!(reads <= MESSAGES + 20, "{reads} reads for {MESSAGES} messages");
    assert!(writes <= MESSAGES + 20, "{writes} writes for {MESSAGES} messages");
}

/// Promise 6, Trap 58: a poll that is interrupted over and over is an empty turn, no more.
#[test]
fn an_interrupted_poll_is_an_empty_turn() {
    let child = Child::serve("process::child_echo");
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut client = child.connect();
        let enough = &enough;
        let chat = scope.spawn(move || {
            let mut round = 0u32;
            while !enough.load(Ordering::Relaxed) {
                ping(&mut client, &round.to_be_bytes());
                round += 1;
                // A wait now and then, so that the poll has something to be woken from.
                if round.is_multiple_of(8) {
                    watch(Duration::from_millis(2));
                }
            }
        });
        for _ in 0..100 {
            child.stop();
            child.go_on();
            watch(Duration::from_millis(1));
        }
        enough.store(true, Ordering::Relaxed);
        chat.join().unwrap();
    });
    child.end();
}

/// Promise 6, Traps 2 and 39: however two hundred connections ended, or did not, no descriptor
/// stays.
#[test]
fn every_end_gives_its_descriptor_back() {
    let child = Child::serve("process::child_echo");
    ping(&mut child.connect(), b"warm");
    let mut last = child.connect();
    ping(&mut last, b"base");
    wait_until("the first is gone", || {
        child.descriptors() == {
            watch(Duration::from_millis(5));
            child.descriptors()
        }
    });
    let base = child.descriptors();
    let mut open = Vec::new();
    for n in 0..200 {
        let mut client = child.connect();
        match n % 5 {
            0 => drop(client),
            1 => reset(client),
            2 => {
                client.write_all(b"and end").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&mut client), b"and end");
            }
            3 => {
                client.write_all(b"not read").unwrap();
                drop(client);
            }
            _ => {
                ping(&mut client, b"stay");
                open.push(client);
            }
        }
    }
    wait_until("the rest is given back", || child.descriptors() == base + open.len());
    drop(open);
    wait_until("all are given back", || child.descriptors() == base);
    ping(&mut last, b"still");
    drop(last);
    child.end();
}

/// Promise 4, Trap 39: closed by us, and silent: three hundred descriptors come back when the
/// linger expires.
#[test]
fn silent_peers_give_their_descriptors_back_after_the_linger() {
    let child = Child::serve("process::child_closing");
    let base = child.descriptors();
    let mut silent: Vec<_> = (0..100).map(|_| child.connect()).collect();
    for client in &mut silent {
        assert_eq!(read_to_end(client), b"bye");
    }
    wait_until("all are given back", || child.descriptors() == base);
    drop(silent);
    child.end();
}

#[test]
#[ignore = "a child of silent_peers_give_their_descriptors_back_after_the_linger"]
fn child_closing() {
    if !child::is_running("process::child_closing") {
        return;
    }
    let script = echo().on_open(|conn| {
        conn.send(b"bye");
        conn.close();
        Ok(())
    });
    let config = Config::default().linger(Duration::from_millis(300));
    child::serve(Reactor::with_config(script, config).unwrap());
}

// ---- the examples, as somebody would run them -------------------------------------------------
//
// The lane that forces poll(2) builds no examples, so it does not ask for them either.

/// Promises 2 and 6: SIGTERM under load. What was sent before it is answered, to the last byte, and
/// the process ends by itself with code 0.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn sigterm_lets_the_echo_finish_what_was_sent() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut echo = Child::example("echo", &[]);
        let mut clients: Vec<_> = (0..30).map(|_| echo.connect()).collect();
        let sent: Vec<_> = (0..30).map(|n| random(n, 150 * KIB)).collect();
        for (client, bytes) in clients.iter_mut().zip(&sent) {
            client.write_all(bytes).unwrap();
        }
        echo.signal(signal);
        for (client, bytes) in clients.iter_mut().zip(&sent) {
            assert_same(&read_to_end(client), bytes);
        }
        drop(clients);
        assert_eq!(echo.wait().code(), Some(0), "{}", echo.stderr());
        assert!(!echo.stderr().contains("panic"), "{}", echo.stderr());
    }
}

/// Promises 2 and 6: the same with clients that chat on: each gets what it sent before the signal,
/// and an orderly end.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn sigterm_cuts_no_conversation_short() {
    let mut echo = Child::example("echo", &[]);
    thread::scope(|scope| {
        let (told, tells) = std::sync::mpsc::channel();
        for seed in 0..10 {
            let (mut client, told) = (echo.connect(), told.clone());
            scope.spawn(move || {
                let mut chance = Chance::new(seed);
                for round in 0.. {
                    let n = chance.size(20 * KIB);
                    let bytes = chance.bytes(n);
                    if client.write_all(&bytes).is_err() {
                        break;
                    }
                    let mut back = vec![0; n];
                    let mut got = 0;
                    // All of it, or the end before the first byte: one that comes after the signal
                    // may be too late.
                    while got < n {
                        match client.read(&mut back[got..]) {
                            Ok(0) => break,
                            Ok(more) => got += more,
                            Err(error) => panic!("not an orderly end: {error}"),
                        }
                    }
                    assert_same(&back[..got], &bytes[..got]);
                    if got < n {
                        break;
                    }
                    if round == 10 {
                        told.send(()).unwrap();
                    }
                }
            });
        }
        for _ in 0..10 {
            tells.recv_timeout(DEADLINE).unwrap();
        }
        echo.signal(Signal::TERM);
    });
    assert_eq!(echo.wait().code(), Some(0), "{}", echo.stderr());
}

/// Promise 6: a second signal ends at once what the first one lets finish.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn a_second_sigterm_ends_the_echo_at_once() {
    let mut echo = Child::example("echo", &[]);
    let mut stuck = connect_narrow(echo.addr);
    // It never reads, so that its echo cannot end.
    stuck.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let _ = stuck.write_all(&vec![0; 32 * MIB]);
    echo.signal(Signal::TERM);
    wait_until("the first has closed the door", || TcpStream::connect(echo.addr).is_err());
    assert!(echo.has_exited().is_none(), "it did not wait for what it owes");
    echo.signal(Signal::TERM);
    // Without the second it would go on until `shutdown_max`, ten seconds.
    let start = std::time::Instant::now();
    assert_eq!(echo.wait().code(), Some(0), "{}", echo.stderr());
    assert!(start.elapsed() < Duration::from_secs(8), "only shutdown_max ended it");
    drop(stuck);
}

#[track_caller]
fn run_example(name: &str, args: &[&str]) -> Output {
    Command::new(child::example(name)).args(args).env_remove("RUST_LOG").output().unwrap()
}

/// Promise 7: the examples say what is wrong in one line, and by their exit code.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_examples_say_what_is_wrong_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // TCP and UDP have ports of their own.
    let taken_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_udp = taken_udp.local_addr().unwrap().to_string();
    let listening =
        ["countdown", "echo", "hello", "host_loop", "offload", "resp", "setblocking", "udp_echo"];
    for name in listening {
        let taken = if name == "udp_echo" { &taken_udp } else { &taken };
        for (args, code) in [
            (["--listen", taken.as_str()], 1),
            (["--listen", "no-such-host.invalid:80"], 1),
            (["--no-such-option", "1"], 2),
        ] {
            let output = run_example(name, &args);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{name} {args:?}: {text}");
            assert_eq!(text.trim_end().lines().count(), 1, "{name} {args:?}: {text}");
            assert!(!text.contains("panicked"), "{name} {args:?}: {text}");
        }
        let output = run_example(name, &["--help"]);
        assert_eq!(output.status.code(), Some(0), "{name} --help");
        assert!(String::from_utf8(output.stdout).unwrap().contains("--listen"), "{name} --help");
    }
    // The two of one page take their addresses without a word before them.
    let wrong: [(&str, &[&str], i32); 7] = [
        ("chat", &[&taken], 1),
        ("chat", &["no-such-host.invalid:80"], 1),
        ("chat", &["--no-such-option"], 2),
        ("forward", &[&taken, "127.0.0.1:1"], 1),
        ("forward", &["127.0.0.1:0", "no-such-host.invalid:80"], 1),
        ("forward", &["127.0.0.1:0"], 2),
        ("forward", &["127.0.0.1:0", "there"], 2),
    ];
    for (name, args, code) in wrong {
        let output = run_example(name, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{name} {args:?}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{name} {args:?}: {text}");
    }
    for name in ["chat", "forward"] {
        let output = run_example(name, &["--help"]);
        assert_eq!(output.status.code(), Some(0), "{name} --help");
        assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: "), "{name} --help");
    }
}

/// Promises 2 and 3: the cache that speaks RESP, by arrays and by lines, a byte at a time and pipelined;
/// and what is not RESP is told and is the end of one client.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_cache_answers_each_command_in_order_and_tells_what_is_none() {
    let mut server = Child::example("resp", &[]);
    let mut client = server.connect();
    client.set_nodelay(true).unwrap();
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\nget k\n" {
        client.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_n(&mut client, 15), b"+OK\r\n$4\r\na\r\nb\r\n");
    client.write_all(b"INCR n\r\n\r\nINCR n\r\nINCR k\r\nDEL k n x\r\nGET k\r\n").unwrap();
    let answers = b":1\r\n:2\r\n-ERR value is not an integer or out of range\r\n:2\r\n$-1\r\n";
    assert_eq!(read_n(&mut client, answers.len()), answers);

    // What was asked before is answered before.
    for (wrong, why) in [
        ("*1\r\n$600000\r\n", "invalid length"),
        ("*1\r\n$-1\r\n", "invalid length"),
        ("*1\r\nPING\r\n", "expected '$'"),
    ] {
        let mut stranger = server.connect();
        stranger.write_all(format!("PING\r\n{wrong}").as_bytes()).unwrap();
        let told = String::from_utf8(read_to_end(&mut stranger)).unwrap();
        assert_eq!(told, format!("+PONG\r\n-ERR Protocol error: {why}\r\n"));
    }
    let many = 10_000;
    client.write_all("PING\r\n".repeat(many).as_bytes()).unwrap();
    client.write_all(b"QUIT\r\n").unwrap();
    let answers = "+PONG\r\n".repeat(many) + "+OK\r\n";
    assert!(read_to_end(&mut client) == answers.as_bytes());
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
}

/// Promise 1: the first lesson, with the programs that teach it: one connects and stays silent, the
/// next is answered all the same.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_hello_servers_are_not_delayed_by_silence() {
    for name in ["hello", "setblocking"] {
        let mut server = Child::example(name, &[]);
        let mut silent = server.connect();
        for _ in 0..3 {
            let mut client = server.connect();
            client.write_all(b"hello, i am the client\n").unwrap();
            let answer = String::from_utf8(read_to_end(&mut client)).unwrap();
            assert!(answer.contains("hello, i am the server"), "{name}: {answer}");
        }
        silent.write_all(b"hello at last\n").unwrap();
        let answer = String::from_utf8(read_to_end(&mut silent)).unwrap();
        assert!(answer.contains("hello, i am the server"), "{name}: {answer}");
        drop(silent);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0), "{name}: {}", server.stderr());
    }
}

/// Promises 1, 6 and 7: in a loop that is not ours, clients, a clock and a terminal each have their
/// share of one thread; the terminal's end makes nobody spin, and a signal ends it in order.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no examples are built in this lane")]
fn the_host_loop_serves_its_clients_its_clock_and_its_terminal() {
    // With the clock at rest, nothing but the reactor's descriptor and timeout brings its turns.
    for args in [&["--report", "0.05"][..], &["--report", "3600"], &["--report", "3600", "--edge"]]
    {
        let mut host = Child::example("host_loop", args);
        let mut clients = [host.connect(), host.connect()];
        for client in &mut clients {
            ping(client, b"echo");
        }
        host.type_in(b"to all\n");
        for client in &mut clients {
            assert_eq!(read_n(client, 7), b"to all\n", "{args:?}");
        }
        if args[1] == "0.05" {
            wait_until("the clock has told of both", || host.stderr().contains("2 connected"));
        }
        host.hang_up();
        ping(&mut clients[0], &random(8, 64 * KIB));
        let ticks = host.cpu_ticks();
        watch(Duration::from_millis(300));
        let ticks = host.cpu_ticks() - ticks;
        assert!(ticks < 5, "{args:?}: {ticks}0 ms of CPU in 300 in which nothing happened");
        host.signal(Signal::TERM);
        for mut client in clients {
            assert!(read_to_end(&mut client).is_empty(), "{args:?}");
        }
        assert_eq!(host.wait().code(), Some(0), "{args:?}: {}", host.stderr());
    }
}
