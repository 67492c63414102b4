//! Clients that nobody here wrote: `openssl s_client`, curl, Python's `ssl`. Skipped, with a line,
//! where one is missing; an error instead when `WOULDBLOCK_CI=1`, but for `gnutls-cli` and
//! `tlslite-ng`, which CI has not.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use wouldblock::{CloseReason, Config};
use wouldblock_rustls::{Server, Version};

use crate::files::Dir;
use crate::served::*;
use crate::support::*;

/// Whether the tool is here. `probe` is an argument that makes it exit.
fn has(tool: &str, probe: &str) -> bool {
    let found = Command::new(tool).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let must =
        tool != "gnutls-cli" && std::env::var_os("WOULDBLOCK_CI").is_some_and(|ci| ci == "1");
    assert!(!must, "{tool} is missing");
    println!("skipped: {tool} is not here");
    false
}

/// Runs a client, bounded, and feeds it.
#[track_caller]
fn run(client: &mut Command, input: &[u8]) -> Output {
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may leave before it has taken all.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

fn s_client(served: &Served, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-quiet", "-connect", &served.addr.to_string()]);
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `openssl s_client` verifies the server, says what it should, and sees both ends, in both versions.
#[test]
fn openssl_is_served_in_both_versions() {
    if !has("openssl", "version") {
        return;
    }
    let dir = Dir::new("openssl");
    let ca = dir.write("ca.pem", &CA.pem);
    let identity = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
    let served =
        Served::start(&identity.alpn(["h2", "http/1.1"]).build().unwrap(), Config::default());
    for (flag, version) in [("-tls1_2", "TLS 1.2"), ("-tls1_3", "TLS 1.3")] {
        let ca = ca.to_str().unwrap();
        let verify = ["-CAfile", ca, "-verify_return_error", "-servername", "LocalHost"];
        let output =
            run(s_client(&served, &verify).args([flag, "-alpn", "http/1.1"]), b"hi\nquit\n");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "hi\nquit\n");
        let opened = served.opened();
        assert_eq!(opened.version, version);
        assert_eq!(opened.name.as_deref(), Some("localhost"));
        assert_eq!(opened.alpn.as_deref(), Some(&b"http/1.1"[..]));
        let (_, closed) = served.closed();
        assert!(matches!(closed.reason, CloseReason::Local), "{closed}");
    }
    served.end();
}

/// A session is resumed by `openssl s_client`, in both versions.
#[test]
fn openssl_resumes_its_session() {
    if !has("openssl", "version") {
        return;
    }
    let dir = Dir::new("resume");
    let served = Served::start(&server(), Config::default());
    for version in ["-tls1_2", "-tls1_3"] {
        let path = dir.path(version);
        let session = path.to_str().unwrap();
        let output = run(&mut s_client(&served, &[version, "-sess_out", session]), b"quit\n");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!served.opened().resumed);
        let output = run(&mut s_client(&served, &[version, "-sess_in", session]), b"quit\n");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(served.opened().resumed, "{version}");
    }
    served.end();
}

/// A client shows its certificate by `openssl s_client`; without one, or with one of another root, it is
/// refused with the alert for that.
#[test]
fn openssl_shows_its_certificate_where_it_must() {
    if !has("openssl", "version") {
        return;
    }
    let dir = Dir::new("clients");
    let (ours, theirs) = (CA.issue(&["client"]), Authority::new("another").issue(&["client"]));
    let ours = (dir.write("ours.pem", &ours.chain), dir.write("ours.key", &ours.key));
    let theirs = (dir.write("theirs.pem", &theirs.chain), dir.write("theirs.key", &theirs.key));
    let strict = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
    let strict = strict.client_roots_pem(&*CA.pem).build().unwrap();
    let served = Served::start(&strict, Config::default());
    for version in ["-tls1_2", "-tls1_3"] {
        let show = |(chain, key): &(std::path::PathBuf, std::path::PathBuf)| {
            let (chain, key) = (chain.to_str().unwrap(), key.to_str().unwrap());
            run(&mut s_client(&served, &[version, "-cert", chain, "-key", key]), b"quit\n")
        };
        assert!(show(&ours).status.success());
        assert_eq!(served.opened().certificates, 1);
        let refused = text(&show(&theirs).stderr);
        assert!(refused.contains("alert unknown ca"), "{refused}");
        let refused = text(&run(&mut s_client(&served, &[version]), b"quit\n").stderr);
        let alert = refused.contains("alert certificate required");
        assert!(alert || refused.contains("alert handshake failure"), "{refused}");
    }
    assert_eq!(served.end().handshakes_failed, 4);
}

/// Versions and ciphers that the server does not speak are refused with an alert, not with silence.
#[test]
fn openssl_is_refused_with_an_alert() {
    if !has("openssl", "version") {
        return;
    }
    let only13 = Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key);
    let only13 = only13.min_version(Version::Tls13).alpn(["h2"]).build().unwrap();
    let served = Served::start(&only13, Config::default());
    let refused = |args: &[&str]| text(&run(&mut s_client(&served, args), b"quit\n").stderr);
    let version = refused(&["-tls1_2"]);
    assert!(version.contains("alert protocol version"), "{version}");
    let alpn = refused(&["-alpn", "spdy/1"]);
    assert!(alpn.contains("no application protocol"), "{alpn}");
    let old = refused(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    // It depends on how openssl was built whether it offers one that old at all.
    let alert = old.contains("alert protocol version") || old.contains("alert handshake failure");
    assert!(alert || old.contains("no protocols"), "{old}");
    served.end();
}

/// A client that leaves in the middle of an answer is over, and the server serves the next one.
#[test]
fn openssl_leaves_early() {
    if !has("openssl", "version") {
        return;
    }
    let greeting = random(9, 4 << 20);
    let config = Config::default().output_max(16 << 20);
    let served = Served::greeting(&server(), config, greeting);
    let mut client = s_client(&served, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = client.as_mut().unwrap();
    served.opened();
    // It waits for its stdin, with its stdout full: gone in the middle of a record, most likely.
    child.kill().unwrap();
    child.wait().unwrap();
    served.end();
}

/// `gnutls-cli` verifies the server in both versions, resumes its session, and sees our end.
#[test]
fn gnutls_is_served_in_both_versions_and_resumes() {
    if !has("gnutls-cli", "--version") {
        return;
    }
    let dir = Dir::new("gnutls");
    let ca = dir.write("ca.pem", &CA.pem);
    let served = Served::start(&server(), Config::default());
    for (priority, version) in
        [("NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS 1.2"), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLS 1.3")]
    {
        let mut client = Command::new("timeout");
        client.args([
            "20",
            "gnutls-cli",
            "--verify-hostname",
            "localhost",
            "--sni-hostname",
            "localhost",
        ]);
        client.args(["--priority", priority, "--resume", "--x509cafile"]).arg(&ca);
        client.args(["--port", &served.addr.port().to_string(), &served.addr.ip().to_string()]);
        let output = run(&mut client, b"hi\nquit\n");
        let said = text(&output.stdout);
        assert!(output.status.success(), "{said} {}", text(&output.stderr));
        assert!(
            said.contains("*** This is a resumed session") && said.contains("hi\nquit\n"),
            "{said}"
        );
        for resumed in [false, true] {
            let opened = served.opened();
            assert_eq!((opened.version, opened.resumed), (version, resumed));
            assert_eq!(opened.name.as_deref(), Some("localhost"));
        }
    }
    served.end();
}

/// Python's `ssl` gets everything back, says its end and hears ours.
#[test]
fn python_gets_everything_back_and_ends_in_order() {
    if !has("python3", "--version") {
        return;
    }
    let dir = Dir::new("python");
    let ca = dir.write("ca.pem", &CA.pem);
    let served = Served::start(&server(), Config::default());
    let program = r#"
import os, socket, ssl, sys, threading
host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    sent = os.urandom(3_000_000)
    tls = context.wrap_socket(socket.create_connection((host, port), 20), server_hostname="localhost")
    for start in range(0, len(sent), 30_000):
        piece = sent[start:start + 30_000]
        tls.sendall(piece)
        got = b""
        while len(got) < len(piece):
            got += tls.recv(len(piece) - len(got))
        assert got == piece
    plain = tls.unwrap()     # our end, and theirs
    plain.close()
    print(version.name)
"#;
    let mut python = Command::new("timeout");
    python.args(["60", "python3", "-c", program]).args([served.addr.ip().to_string()]);
    let output = run(python.arg(served.addr.port().to_string()).arg(&ca), b"");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "TLSv1_2\nTLSv1_3\n");
    for version in ["TLS 1.2", "TLS 1.3"] {
        assert_eq!(served.opened().version, version);
        let (story, closed) = served.closed();
        assert!(story == "open data eof" && closed.clean, "{story}: {closed}");
    }
    served.end();
}

/// curl verifies the server, and refuses one of another root.
#[test]
fn curl_verifies_the_server() {
    if !has("curl", "--version") {
        return;
    }
    let dir = Dir::new("curl");
    let ca = dir.write("ca.pem", &CA.pem);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";
    let served = Served::greeting(&server(), Config::default(), answer.to_vec());
    let curl = |ca: &std::path::Path| {
        let mut curl = Command::new("timeout");
        curl.args(["20", "curl", "--silent", "--show-error", "--noproxy", "*"]);
        curl.arg("--cacert").arg(ca).arg(format!("https://{}/", served.addr));
        run(&mut curl, b"")
    };
    let output = curl(&ca);
    assert_eq!(text(&output.stdout), "hello\n", "{}", text(&output.stderr));
    served.opened();
    let stranger = curl(&dir.write("stranger.pem", &Authority::new("another").pem));
    assert_eq!(stranger.status.code(), Some(60), "{}", text(&stranger.stderr));
    served.end();
}
