//! The promises as `examples/proxy.rs` and `examples/client.rs` keep them, for clients and servers
//! that know nothing of a proxy.
#![cfg(not(mio_unsupported_force_poll_poll))] // No examples are built in that lane.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use wouldblock::Config;

use crate::foreign::{feed, has};
use crate::support::child::{self, Child};
use crate::support::*;

/// A proxy to this address.
fn proxy(to: &str, more: &[&str]) -> Child {
    let mut command = Command::new(child::example("proxy"));
    command.args(["--listen", "127.0.0.1:0", "--to", to]).args(more);
    command.env("RUST_LOG", "info,proxy=debug");
    Child::start(command)
}

fn lines(child: &Child, word: &str) -> Vec<String> {
    child.stderr().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

/// Runs a Python program, which must print `ok`.
#[track_caller]
fn python(to: SocketAddr, program: &str) {
    let head = "import socket, sys, threading\naddr = (sys.argv[1], int(sys.argv[2]))\n";
    let output = Command::new("timeout")
        .args(["60", "python3", "-c", &format!("{head}{program}")])
        .args([to.ip().to_string(), to.port().to_string()])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out.trim(), "ok", "{err}");
}

/// Promises 2, 4 and 5: 30 MB up and 30 MB down at once, from a client that sends all before it
/// reads: both whole, and next to nothing of it is kept.
#[test]
fn thirty_megabytes_each_way_at_once_from_a_client_that_sends_before_it_reads() {
    const LEN: usize = 30 * 1000 * 1000;
    let (up, down) = (random(20, LEN), random(21, LEN));
    let behind = listener();
    let proxy = proxy(&behind.local_addr().unwrap().to_string(), &[]);
    let answer = down.clone();
    let serving = thread::spawn(move || {
        let (stream, _) = behind.accept().unwrap();
        exchange(&stream, &answer)
    });
    let mut client = proxy.connect();
    client.write_all(&up).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&read_to_end(&mut client), &down);
    assert_same(&serving.join().unwrap(), &up);
    let peak = proxy.peak_memory();
    assert!(peak < 16 * MIB, "{peak} bytes of memory");
    let name = client.local_addr().unwrap();
    for way in ["up", "down"] {
        let line = format!("{name}: done: 30000000 bytes {way}, ");
        wait_until("it is told", || lines(&proxy, &line).len() == 1);
    }
}

/// `proxy --send-proxy` tells a server each client's address, and `echo --proxy-protocol` takes it;
/// from elsewhere it takes none.
#[test]
fn the_proxy_tells_the_echo_whom_it_speaks_for() {
    let echo = |network: &str| {
        let mut command = Command::new(child::example("echo"));
        command.args(["--listen", "127.0.0.1:0", "--proxy-protocol", network]);
        command.env("RUST_LOG", "info,wouldblock=debug");
        Child::start(command)
    };
    let server = echo("127.0.0.0/8");
    for version in ["1", "2"] {
        let proxy = proxy(&server.addr.to_string(), &["--send-proxy", version]);
        let mut client = proxy.connect();
        let name = client.local_addr().unwrap().to_string();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), b"hello");
        wait_until("the echo has named it", || !lines(&server, &name).is_empty());
    }
    let server = echo("10.0.0.0/8");
    // One that is reset before its connect returns has nothing to read.
    let mut client = std::iter::repeat_with(|| try_connect(server.addr)).flatten().next().unwrap();
    let _ = client.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello");
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Promise 7: a server that is not there: a reset for the client, one line for the operator.
#[test]
fn a_failed_connect_is_a_reset_for_the_client_and_a_line_for_the_operator() {
    let (nobody, silent) = (listener().local_addr().unwrap(), Silent::new());
    let missing = std::env::temp_dir().join(format!("wouldblock-none-{}", std::process::id()));
    for (to, why) in [
        (nobody.to_string(), "Connection refused (os error 111)"),
        (silent.addr.to_string(), "no answer within 300ms"),
        (format!("unix:{}", missing.display()), "No such file or directory (os error 2)"),
    ] {
        let proxy = proxy(&to, &["--connect-timeout", "0.3"]);
        // One that is reset before its connect returns has no name to look for.
        let mut client =
            std::iter::repeat_with(|| try_connect(proxy.addr)).flatten().next().unwrap();
        let name = client.local_addr().unwrap();
        // It may have been reset already.
        let _ = client.write_all(b"is there anybody");
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{to}");
        let text = format!("{name}: refused: cannot connect to {to}: {why}");
        let told = || lines(&proxy, "WARN").iter().any(|line| line.ends_with(&text));
        wait_until("it is told", told);
        // And it goes on.
        if let Some(mut client) = try_connect(proxy.addr) {
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
}

/// Promise 2, Trap 38: `nc -N` through it to an echo, over TCP and over Unix sockets on both sides.
#[test]
fn netcat_gets_everything_back_through_it() {
    if !has("nc", "-h") {
        return;
    }
    let sent = random(22, 10 * MIB);
    let echo = Child::example("echo", &[]);
    let proxied = proxy(&echo.addr.to_string(), &[]);
    let port = proxied.addr.port().to_string();
    let got = feed(Command::new("timeout").args(["20", "nc", "-N", "127.0.0.1", &port]), &sent);
    assert_same(&got, &sent);

    let path =
        |name: &str| std::env::temp_dir().join(format!("wouldblock-{name}-{}", std::process::id()));
    let (near, far) = (path("near"), path("far"));
    let named = |path: &std::path::Path| format!("unix:{}", path.display());
    let echo = Child::example("echo", &["--listen", &named(&far)]);
    let unix = proxy(&named(&far), &["--listen", &named(&near)]);
    let near = near.to_str().unwrap();
    wait_until("it listens", || UnixStream::connect(near).is_ok());
    let got = feed(Command::new("timeout").args(["20", "nc", "-N", "-U", near]), &sent);
    assert_same(&got, &sent);
    for mut server in [unix, echo] {
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

/// Promise 2: socat does not half-close by halves either.
#[test]
fn socat_gets_everything_back_through_it() {
    if !has("socat", "-V") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    let proxy = proxy(&server.addr.to_string(), &[]);
    let sent = random(23, 10 * MIB);
    let to = format!("TCP:{}", proxy.addr);
    let got = feed(Command::new("timeout").args(["20", "socat", "-t20", "-", &to]), &sent);
    assert_same(&got, &sent);
    server.end();
}

/// Promises 1 and 3: many at once, from another language, each with its own bytes.
#[test]
fn python_clients_at_once_get_their_own_bytes_through_it() {
    if !has("python3", "--version") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    let proxy = proxy(&server.addr.to_string(), &[]);
    python(
        proxy.addr,
        r#"
failed = []
def chat(n):
    sock = socket.create_connection(addr, timeout=30)
    for size in [1, 1000, 70_000, 300_000] * 3:
        data = bytes([n]) * size
        threading.Thread(target=sock.sendall, args=(data,)).start()
        back = b""
        while len(back) < size:
            back += sock.recv(1 << 16)
        if back != data:
            failed.append((n, size))
    sock.close()
threads = [threading.Thread(target=chat, args=(n,)) for n in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failed or "ok")
"#,
    );
    wait_until("each has its line", || lines(&proxy, "done: ").len() == 2 * 40);
    server.end();
}

/// Promises 2 and 7: a server's last words arrive, all of them, though it resets and the client reads
/// late; and behind them its reset, since half an answer must not look like a whole one. A reset of
/// the client reaches the server.
#[test]
fn a_reset_is_passed_on_behind_what_came_before_it() {
    let behind = listener();
    let proxy = proxy(&behind.local_addr().unwrap().to_string(), &[]);
    let mut client = proxy.connect();
    client.write_all(b"question").unwrap();
    let (mut server, _) = behind.accept().unwrap();
    assert_eq!(read_n(&mut server, 8), b"question");
    server.write_all(&vec![b'x'; MIB]).unwrap();
    // As far as the proxy's kernel, or the server's own reset would destroy it.
    wait_until("all is acknowledged", || unacknowledged(&server) == 0);
    reset(server);
    watch(Duration::from_millis(200));
    let (got, end) = read_until_gone(&mut client);
    assert_eq!(got.len(), MIB);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let mut client = proxy.connect();
    client.write_all(b"question").unwrap();
    let (mut server, _) = behind.accept().unwrap();
    assert_eq!(read_n(&mut server, 8), b"question");
    reset(client);
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Promises 4 and 6: beyond the limit clients wait, and are served as others leave.
#[test]
fn clients_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start(echo(), Config::default());
    let proxy = proxy(&server.addr.to_string(), &["--max-connections", "2"]);
    let mut clients: Vec<_> = (0..8_u8)
        .map(|n| {
            let mut client = proxy.connect();
            client.write_all(&[n]).unwrap();
            client
        })
        .collect();
    for n in 0..8 {
        let mut client = clients.remove(0);
        assert_eq!(read_n(&mut client, 1), [n]);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), b"");
    }
    wait_until("each has its line", || lines(&proxy, "done: ").len() == 2 * 8);
    assert!(lines(&proxy, "refused").is_empty(), "{}", proxy.stderr());
    server.end();
}

/// Promise 2: `SIGTERM` lets a conversation go on to its end.
#[test]
fn sigterm_lets_a_conversation_go_on_to_its_end() {
    let behind = listener();
    let mut proxy = proxy(&behind.local_addr().unwrap().to_string(), &[]);
    let mut client = proxy.connect();
    client.write_all(b"question").unwrap();
    let (mut server, _) = behind.accept().unwrap();
    assert_eq!(read_n(&mut server, 8), b"question");
    proxy.signal(Signal::TERM);
    wait_until("the door is closed", || std::net::TcpStream::connect(proxy.addr).is_err());
    server.write_all(b"answer").unwrap();
    assert_eq!(read_n(&mut client, 6), b"answer");
    drop(server);
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    assert_eq!(proxy.wait().code(), Some(0), "{}", proxy.stderr());
}

/// Promise 2: the client sends its input, ends its side, and prints what comes back, the larger part
/// of it after that end; through the proxy as well.
#[test]
fn the_client_sends_its_input_and_prints_all_that_comes_back() {
    let server = Server::start(echo(), Config::default());
    let proxy = proxy(&server.addr.to_string(), &[]);
    let sent = random(24, 10 * MIB);
    for addr in [server.addr, proxy.addr] {
        let mut command = Command::new("timeout");
        command.arg("20").arg(child::example("client")).args(["--to", &addr.to_string()]);
        assert_same(&feed(&mut command, &sent), &sent);
    }
    server.end();
    let behind = listener();
    let addr = behind.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = behind.accept().unwrap();
        let asked = read_to_end(&mut stream);
        stream.write_all(&vec![b'x'; 8 * MIB]).unwrap();
        asked
    });
    let mut command = Command::new("timeout");
    command.arg("20").arg(child::example("client")).args(["--to", &addr.to_string()]);
    assert_eq!(feed(&mut command, b"question").len(), 8 * MIB);
    assert_eq!(serving.join().unwrap(), b"question");
}

/// Promises 4 and 5: the client keeps next to nothing of what its output does not take, and its output
/// may go.
#[test]
fn the_client_is_held_back_by_its_output() {
    let behind = listener();
    let mut client = Command::new(child::example("client"))
        .args(["--to", &behind.local_addr().unwrap().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut server, _) = behind.accept().unwrap();
    server.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let error = server.write_all(&vec![b'x'; 64 * MIB]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it takes all");
    let status = std::fs::read_to_string(format!("/proc/{}/statm", client.id())).unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 16 * MIB, "{pages} pages");
    // Whoever reads our output leaves: there is nothing to stay for.
    drop(client.stdout.take());
    wait_until("it leaves", || client.try_wait().unwrap().is_some());
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("error: Broken pipe") && said.lines().count() == 1, "{said}");
    drop(server);
}

/// Promise 7: what is wrong is told in one line and by the exit code.
#[test]
fn the_proxy_and_the_client_say_what_is_wrong_in_one_line() {
    let taken = listener();
    let taken = taken.local_addr().unwrap().to_string();
    let nobody = listener().local_addr().unwrap().to_string();
    let listen = ["--listen", "127.0.0.1:0"];
    let none = "no-such-host.invalid:80";
    for (name, args, code) in [
        ("proxy", vec!["--listen", &taken, "--to", &nobody], 1),
        ("proxy", [&listen[..], &["--to", none]].concat(), 1),
        ("proxy", listen.to_vec(), 2),
        ("proxy", [&listen[..], &["--to", "unix:"]].concat(), 2),
        ("client", vec!["--to", &nobody], 1),
        ("client", vec!["--to", none], 1),
        ("client", vec!["--to", "unix:/no/such/path"], 1),
        ("client", vec![], 2),
    ] {
        let mut command = Command::new(child::example(name));
        let output = command.args(&args).env_remove("RUST_LOG").stdin(Stdio::null());
        let output = output.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{name} {args:?}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{name} {args:?}: {text}");
        assert!(!text.contains("panicked"), "{name} {args:?}: {text}");
    }
}

/// Promises 4, 5 and 6: clients that fill every buffer between them and the server, and then reset,
/// are told of although the proxy reads from none of them: their descriptors, and those of their
/// servers, are given back, and no shutdown waits for them.
#[test]
fn clients_that_fill_all_buffers_and_reset_are_forgotten_at_once() {
    let server = Server::start(echo(), Config::default());
    let mut proxy = proxy(&server.addr.to_string(), &[]);
    ping(&mut proxy.connect(), b"hello");
    wait_until("the first has left", || lines(&proxy, "done: ").len() == 2);
    let before = proxy.descriptors();
    let clients: Vec<_> = (0..20).map(|_| fills_all(&proxy)).collect();
    clients.into_iter().for_each(reset);
    wait_until("all is given back", || proxy.descriptors() == before);
    let clients: Vec<_> = (0..3).map(|_| fills_all(&proxy)).collect();
    proxy.signal(Signal::TERM);
    clients.into_iter().for_each(reset);
    assert_eq!(proxy.wait().code(), Some(0), "{}", proxy.stderr());
    assert!(proxy.stderr().contains(", 0 cut"), "{}", proxy.stderr());
    server.end();
}

/// A client that reads nothing, and has sent all that anybody takes.
fn fills_all(proxy: &Child) -> std::net::TcpStream {
    let mut client = connect_narrow(proxy.addr);
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let bytes = vec![7; 64 * KIB];
    while client.write(&bytes).is_ok() {}
    client
}
