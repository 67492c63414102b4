//! The examples, as processes, and a client that is not ours.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

#[path = "common/example.rs"]
mod example;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use example::{Example, curl};

/// Starts an example, and returns where it listens, too.
fn start(name: &str, arguments: &[&str]) -> (Example, String) {
    let mut example = Example::start(name, arguments);
    let url = format!("http://{}", example.said("listening on "));
    (example, url)
}

/// Promise 1, for a client that is not ours: bodies both ways, HEAD, several requests on one
/// connection, an answer from a thread.
#[test]
fn curl_is_served() {
    let (_hello, at) = start("http_hello", &[]);
    let url = |path: &str| format!("{at}{path}");
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
    let (_files, at) = start("http_files", &["--root", directory, "--list"]);
    let url = format!("{at}/curl-large");
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
    let list = curl(&[&format!("{at}/")]).unwrap();
    assert!(list.contains("<li><a href=\"./curl-large\">curl-large</a></li>"), "{list}");
    for path in [path, part, etags] {
        std::fs::remove_file(path).unwrap();
    }
}

/// A feed is told to a client as it comes to be, and again to one that was away.
#[test]
fn curl_listens_to_events() {
    let (_wall, at) = start("http_events", &[]);
    let url = |path: &str| format!("{at}{path}");
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
