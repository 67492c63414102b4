//! The examples, as a user would run them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::files::Dir;
use crate::support::*;

/// Where cargo puts the examples that it builds with the tests.
fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

/// A server that is running.
struct Running {
    child: Child,
    /// What it said before it listened.
    said: Vec<String>,
    addr: String,
    log: Option<BufReader<std::process::ChildStderr>>,
}

impl Running {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let stdout = child.stdout.take().into_iter().map(BufReader::new);
        for line in stdout.flat_map(BufRead::lines) {
            let Ok(line) = line else { break };
            if let Some(addr) = line.strip_prefix("listening on ") {
                let (addr, log) = (addr.to_owned(), child.stderr.take().map(BufReader::new));
                return Running { child, said, addr, log };
            }
            said.push(line);
        }
        let _ = child.wait();
        panic!("{name} ended: {said:?}");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for a line of its log that has these words.
    fn wait_log(&mut self, words: &str) -> String {
        let log = self.log.as_mut().unwrap();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "ended without {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn end(mut self) -> ExitStatus {
        self.signal("-TERM");
        // What it still has to say, so that it is not stopped by a full pipe.
        let _ = self.log.take().unwrap().read_to_end(&mut Vec::new());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `tls_client`, bounded, and feeds it.
fn client(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("timeout")
        .arg("20")
        .arg(example("tls_client"))
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may leave before it has taken all.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

#[track_caller]
fn assert_same(output: &Output, sent: &[u8]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    assert!(output.stdout == sent, "{} of {} bytes came: {said}", output.stdout.len(), sent.len());
}

/// The two commands of the README: a server that makes its certificate, and a client that is told its
/// fingerprint.
#[test]
fn the_client_talks_to_the_echo_by_its_fingerprint() {
    let mut echo = Running::start("tls_echo", &[]);
    let pin = echo.said[0].strip_prefix("certificate sha256 ").unwrap().to_owned();
    let sent = random(1, 5_000_000);
    assert_same(&client(&["--to", &echo.addr, "--pin", &pin], &sent), &sent);
    let line = echo.wait_log("TLS 1.3");
    assert!(line.contains("name -, ALPN -, anonymous"), "{line}");

    let other = client(&["--to", &echo.addr, "--pin", &"00".repeat(32)], b"a secret");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("is not the pinned one"), "{said}");
    assert!(echo.end().success());
}

/// A certificate that is renewed is shown after a SIGHUP; one that is broken is not, and the log says so.
#[test]
fn the_echo_reads_its_files_anew_on_a_hangup() {
    let dir = Dir::new("hangup");
    let (first, second) = (CA.issue(&["localhost"]), CA.issue(&["renewed.example"]));
    let (ca, chain) = (dir.write("ca.pem", &CA.pem), dir.write("chain.pem", &first.chain));
    let key = dir.write("key.pem", &first.key);
    let [ca, chain, key] = [&ca, &chain, &key].map(|path| path.to_str().unwrap());
    let args = ["--cert", chain, "--key", key, "--client-ca", ca, "--alpn", "echo"];
    let mut echo = Running::start("tls_echo", &args);
    assert!(echo.said.is_empty());
    let ask = |name: &str| {
        let (to, ours) = (echo.addr.clone(), ["--cert", chain, "--key", key, "--alpn", "echo"]);
        client(&[&["--to", &to, "--ca", ca, "--name", name], &ours[..]].concat(), b"hello")
    };
    assert_same(&ask("localhost"), b"hello");

    dir.write("chain.pem", &second.chain);
    echo.signal("-HUP");
    echo.wait_log("certificates stay as they were");
    dir.write("key.pem", &second.key);
    echo.signal("-HUP");
    echo.wait_log("certificates are read anew");
    let ask = |name: &str| {
        let (to, ours) = (echo.addr.clone(), ["--cert", chain, "--key", key]);
        client(&[&["--to", &to, "--ca", ca, "--name", name], &ours[..]].concat(), b"hello")
    };
    assert_same(&ask("renewed.example"), b"hello");
    assert!(!ask("localhost").status.success());
    assert!(echo.end().success());
}

/// TLS is begun by one proxy and ended by another, and the two programs at the ends know nothing of it.
#[test]
fn two_proxies_put_tls_between_a_client_and_a_server_that_have_none() {
    let dir = Dir::new("proxies");
    let ca = dir.write("ca.pem", &CA.pem);
    let (chain, key) =
        (dir.write("chain.pem", &LOCALHOST.chain), dir.write("key.pem", &LOCALHOST.key));
    let [ca, chain, key] = [&ca, &chain, &key].map(|path| path.to_str().unwrap());

    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = echo.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let (mut from, _) = echo.accept().unwrap();
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        from.write_all(&all).unwrap();
    });
    let inner = Running::start("tls_proxy", &["--to", &to, "--cert", chain, "--key", key]);
    let args = ["--plain", "--to", &inner.addr, "--to-tls", "localhost", "--to-ca", ca];
    let outer = Running::start("tls_proxy", &args);

    let sent = random(2, 5_000_000);
    let mut stream = std::net::TcpStream::connect(&outer.addr).unwrap();
    stream.set_read_timeout(Some(crate::served::DEADLINE)).unwrap();
    stream.write_all(&sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} bytes came back", got.len());
    serving.join().unwrap();
    assert!(outer.end().success() && inner.end().success());
}

/// What is wrong with the command line is told in one line, and by the exit code.
#[test]
fn the_examples_say_what_is_wrong_in_one_line() {
    let cases: [(&str, &[&str], &str); 6] = [
        ("tls_echo", &["--cert", "none.pem", "--key", "none.pem"], "cannot read none.pem"),
        ("tls_echo", &["--cert", "none.pem"], "--key"),
        ("tls_client", &["--to", "127.0.0.1:1"], "--pin"),
        ("tls_client", &["--to", "127.0.0.1:1", "--pin", "AB"], "no SHA-256 fingerprint"),
        ("tls_proxy", &["--to", "127.0.0.1:1", "--to-tls", "x"], "whom to trust"),
        ("tls_proxy", &["--to", "127.0.0.1:1", "--to-tls", "x:1", "--to-ca", "ca.pem"], "ca.pem"),
    ];
    for (name, args, words) in cases {
        let output =
            Command::new(example(name)).args(args).env_remove("RUST_LOG").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} {args:?}");
        assert!(said.contains(words) && said.lines().count() == 1, "{name} {args:?}: {said}");
        let help = Command::new(example(name)).arg("--help").output().unwrap();
        assert!(help.status.success() && !help.stdout.is_empty());
    }
}
