//! The promises as seen by clients that nobody here wrote. Skipped, with a line, where one is
//! missing; an error instead when `WOULDBLOCK_CI=1`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use wouldblock::Config;

use crate::support::*;

/// Whether the tool is here. `probe` is an argument that makes it exit.
pub(crate) fn has(tool: &str, probe: &str) -> bool {
    let found = Command::new(tool).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    assert!(std::env::var_os("WOULDBLOCK_CI").is_none_or(|ci| ci != "1"), "{tool} is missing");
    println!("skipped: {tool} is not here");
    false
}

/// Feeds a client program and answers what it printed.
#[track_caller]
pub(crate) fn feed(command: &mut Command, bytes: &[u8]) -> Vec<u8> {
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeding = thread::spawn(move || {
        // It may leave before it has taken all.
        let _ = stdin.write_all(&bytes);
    });
    let output = client.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Promise 2, Trap 38: `nc -N` sends ten mebibytes, half-closes, and gets every one back.
#[test]
fn netcat_gets_everything_back_after_its_half_close() {
    if !has("nc", "-h") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    let sent = random(70, 10 * MIB);
    let port = server.addr.port().to_string();
    // Bounded, so that a broken promise fails.
    let got = feed(Command::new("timeout").args(["20", "nc", "-N", "127.0.0.1", &port]), &sent);
    assert_same(&got, &sent);
    server.end();
}

/// Promise 2, Trap 38: the same with socat.
#[test]
fn socat_gets_everything_back_after_its_half_close() {
    if !has("socat", "-V") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    let sent = random(71, 10 * MIB);
    let to = format!("TCP:{}", server.addr);
    let got = feed(Command::new("timeout").args(["20", "socat", "-t20", "-", &to]), &sent);
    assert_same(&got, &sent);
    server.end();
}

/// Runs a Python client, which must print `ok`.
#[track_caller]
fn python(server: &Server, program: &str) {
    let head =
        "import os, random, socket, sys, threading\naddr = (sys.argv[1], int(sys.argv[2]))\n";
    let output = Command::new("timeout")
        .args(["60", "python3", "-c", &format!("{head}{program}")])
        .args([server.addr.ip().to_string(), server.addr.port().to_string()])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out.trim(), "ok", "{err}");
}

/// Promises 1 and 2: many at once, random sizes, reading while they send, as Python does it.
#[test]
fn python_clients_at_once_get_everything_back() {
    if !has("python3", "--version") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    python(
        &server,
        r#"
failed = []
def chat(seed):
    chance = random.Random(seed)
    data = chance.randbytes(200_000 + seed)
    sock = socket.create_connection(addr, timeout=30)
    def send():
        at = 0
        while at < len(data):
            n = chance.choice([1, 7, 100, 5000, 100_000])
            sock.sendall(data[at:at + n])
            at += n
        sock.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    back = b""
    while chunk := sock.recv(65536):
        back += chunk
    sender.join()
    if back != data:
        failed.append((seed, len(back), len(data)))
threads = [threading.Thread(target=chat, args=(seed,)) for seed in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failed or "ok")
"#,
    );
    server.end();
}

/// Promise 1, Trap 71: an urgent byte from another implementation of the client.
#[test]
fn python_may_send_urgent_bytes() {
    if !has("python3", "--version") {
        return;
    }
    let server = Server::start(echo(), Config::default());
    python(
        &server,
        r#"
sock = socket.create_connection(addr, timeout=20)
for n in range(50):
    sock.sendall(b"before")
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(b"behind")
    back = b""
    while len(back) < 12:
        back += sock.recv(12 - len(back))
    assert back == b"beforebehind", back
sock.close()
print("ok")
"#,
    );
    server.end();
}

/// Promise 2, Traps 36 and 72: Python sends everything before it reads; the answer came early, and
/// is whole.
#[test]
fn python_reads_an_early_answer_late() {
    if !has("python3", "--version") {
        return;
    }
    let script = echo().on_data(|conn, input| {
        input.take_all();
        conn.send(vec![b'x'; 16 * MIB]);
        conn.close();
        Ok(())
    });
    let server = Server::start(script, Config::default().output_max(17 * MIB));
    python(
        &server,
        r#"
sock = socket.create_connection(addr, timeout=20)
sock.sendall(bytes(10 << 20))
n = 0
while chunk := sock.recv(1 << 20):
    n += len(chunk)
print("ok" if n == 16 << 20 else n)
"#,
    );
    server.end();
}

/// One command of Redis's protocol at the beginning of `bytes`, if it is complete: its words, and how
/// long it is.
fn command(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut at = 0;
    let mut number = |mark: u8, skip: usize| {
        let line = bytes.get(at + skip..)?;
        let end = line.iter().position(|byte| *byte == b'\n')?;
        assert_eq!(line[0], mark, "it speaks another protocol");
        let number: usize = str::from_utf8(&line[1..end]).ok()?.trim_end().parse().ok()?;
        at += skip + end + 1;
        Some((number, at))
    };
    let (count, mut end) = number(b'*', 0)?;
    let mut skip = 0;
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, begin) = number(b'$', skip)?;
        words.push(bytes.get(begin..begin + len)?);
        skip = len + 2;
        end = begin + skip;
    }
    (end <= bytes.len()).then_some((words, end))
}

/// Promise 5: a server that answers in a plain loop, asked for a thousand answers of 10,000 bytes at
/// once by Redis's own benchmark.
#[test]
fn redis_benchmark_gets_large_answers_to_a_thousand_questions_at_once() {
    if !has("redis-benchmark", "--version") {
        return;
    }
    let mut values = std::collections::HashMap::new();
    let script = echo().on_data(move |conn, input| {
        while let Some((words, len)) = command(input.bytes()) {
            if input.take(len).is_none() {
                break;
            }
            match words[..] {
                [b"SET", key, value] => {
                    values.insert(key.to_vec(), value.to_vec());
                    conn.send(b"+OK\r\n");
                }
                [b"GET", key] => {
                    let value = values.get(key).map_or(&b""[..], |value| value);
                    conn.send(format!("${}\r\n", value.len()));
                    conn.send(value);
                    conn.send(b"\r\n");
                }
                _ => conn.send(b"-ERR unknown command\r\n"),
            }
        }
        Ok(())
    });
    let server = Server::start(script, Config::default());
    let output = Command::new("timeout")
        .args(["60", "redis-benchmark", "-h", "127.0.0.1", "-p", &server.addr.port().to_string()])
        .args(["-P", "1000", "-d", "10000", "-t", "get,set", "-n", "20000", "-c", "10", "--csv"])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("\"SET\"") && out.contains("\"GET\""), "{out}{err}");
    let stats = server.end();
    assert_eq!(stats.closed.output_limit, 0, "{stats:?}");
}
