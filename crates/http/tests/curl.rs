//! The examples, as processes, and a client that is not ours.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// An example, killed when dropped.
struct Example {
    process: Child,
    url: String,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Example {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        let path = path.join("examples").join(name);
        assert!(path.exists(), "cargo build --examples makes {}", path.display());
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on ").expect("it says where");
        Example { process, url: format!("http://{addr}") }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What curl prints, in at most 20 s. `None`: there is no curl, and the test says so.
fn curl(arguments: &[&str]) -> Option<String> {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("WOULDBLOCK_CI").is_none(), "CI installs curl");
        eprintln!("skipped: no curl is installed");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Promise 1, for a client that is not ours: bodies both ways, HEAD, several requests on one connection, an answer from a
/// thread.
#[test]
fn curl_is_served() {
    let hello = Example::start("http_hello", &[]);
    let url = |path: &str| format!("{}{path}", hello.url);
    let Some(page) = curl(&[&url("/"), &url("/"), &url("/slow")]) else { return };
    assert_eq!(page, "hello, visitor 1\nhello, visitor 2\nworked out; 2 visits meanwhile\n");
    let large = "x".repeat(20_000);
    assert_eq!(curl(&["-d", &large, &url("/echo")]).unwrap(), large);
    let chunked = curl(&["-H", "Transfer-Encoding: chunked", "-d", "some text", &url("/echo")]);
    assert_eq!(chunked.unwrap(), "some text");
    let code = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
    let status = |more: &[&str]| curl(&[&code[..], more].concat()).unwrap();
    let large = "x".repeat(100_000);
    let put = |more: &[&str]| curl(&[&["-X", "PUT", "-d", &large], more].concat()).unwrap();
    assert_eq!(put(&[&url("/upload"), &url("/upload")]), "100000 bytes\n100000 bytes\n");
    assert_eq!(put(&["-H", "Transfer-Encoding: chunked", &url("/upload")]), "100000 bytes\n");
    assert_eq!(status(&["-I", &url("/")]), "200 0");
    assert_eq!(status(&[&url("/nowhere")]), "404 13");
    assert_eq!(status(&["-X", "DELETE", &url("/")]), "405 0");
    assert_eq!(status(&["-d", &"x".repeat(40_000), &url("/echo")])[..3], *"413");
    assert_eq!(status(&["--http1.0", &url("/")]), "200 17");
    assert_eq!(status(&[&url("/numbers")]), "200 6888896");
    assert_eq!(status(&["--http1.0", &url("/numbers")]), "200 6888896");
}

/// A download that was cut is taken up where it stopped, and what is there is not loaded again.
#[test]
fn curl_takes_up_a_download() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let [path, part] = ["large", "part"].map(|name| format!("{directory}/curl-{name}"));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    std::fs::write(&part, &bytes[..1_000_000]).unwrap();
    let files = Example::start("http_files", &["--root", directory, "--list"]);
    let url = format!("{}/curl-large", files.url);
    let Some(code) = curl(&["-C", "-", "-o", &part, "-w", "%{http_code} %{size_download}", &url])
    else {
        return;
    };
    assert_eq!(code, "206 2000000");
    assert!(std::fs::read(&part).unwrap() == bytes);
    let etags = format!("{directory}/curl-etags");
    std::fs::write(&etags, "").unwrap();
    let status = || {
        let keep = ["--etag-save", &etags, "--etag-compare", &etags, "-o", "/dev/null"];
        curl(&[&keep[..], &["-w", "%{http_code}", &url]].concat()).unwrap()
    };
    assert_eq!([status(), status()], ["200", "304"]);
    let list = curl(&[&format!("{}/", files.url)]).unwrap();
    assert!(list.contains("<li><a href=\"./curl-large\">curl-large</a></li>"), "{list}");
    for path in [path, part, etags] {
        std::fs::remove_file(path).unwrap();
    }
}

/// A feed is told to a client as it comes to be, and again to one that was away.
#[test]
fn curl_listens_to_events() {
    let wall = Example::start("http_events", &[]);
    let url = |path: &str| format!("{}{path}", wall.url);
    let mut command = Command::new("curl");
    let listen = command.args(["-sSN", "--max-time", "20", &url("/events")]).stdout(Stdio::piped());
    let Ok(mut listen) = listen.spawn() else { return };
    let said = loop {
        // It may not have come yet.
        let said = curl(&["-d", "one\ntwo", &url("/say")]).unwrap();
        if said == "told 1\n" {
            break said;
        }
    };
    assert_eq!(said, "told 1\n");
    let mut lines = BufReader::new(listen.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!([lines.next(), lines.next()].map(Option::unwrap), ["data: one", "data: two"]);
    let id = lines.next().unwrap().replace("id: ", "");
    assert_eq!(lines.next().unwrap(), "");
    listen.kill().unwrap();
    listen.wait().unwrap();
    curl(&["-d", "three", &url("/say")]).unwrap();
    let again =
        ["-sSN", "--max-time", "20", "-H", &format!("Last-Event-ID: {id}"), &url("/events")];
    let mut listen = Command::new("curl").args(again).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listen.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "data: three");
    listen.kill().unwrap();
    listen.wait().unwrap();
}
