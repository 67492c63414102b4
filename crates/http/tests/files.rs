//! Static files, on the machine's kernel: a directory, a server on a thread, and clients that say
//! what they like.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

#[path = "common/server.rs"]
mod server;

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wouldblock::Config;
use wouldblock_http::{Files, Http, Links};

use server::Server;

/// A directory of a test's own, removed when it is over.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root/sub")).unwrap();
        Root(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }

    /// Writes a file that was changed an hour ago.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write_aged(name, bytes, 3600);
    }

    fn write_aged(&self, name: &str, bytes: impl AsRef<[u8]>, seconds: u64) {
        fs::write(self.path(name), bytes).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
    }

    fn files(&self) -> Files {
        Files::new(self.0.join("root")).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server<Files> {
    fn of(files: Files) -> Server<Files> {
        Server::start(Http::new(files), Config::public())
    }

    fn ask(&self, request: &str, headers: &[&str]) -> Answer {
        let mut client = self.connect();
        let mut text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for header in headers {
            text.extend([header, "\r\n"]);
        }
        client.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[])
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

#[test]
fn files_are_served_with_their_types_and_directories_by_their_index() {
    let root = Root::new("served");
    root.write("index.html", "the front");
    root.write("sub/index.html", "a page");
    root.write("a b.css", "css");
    root.write("data.xyz", "what");
    root.write("empty", "");
    let server = Server::of(root.files().content_type("XYZ", "text/x".parse().unwrap()));
    for (path, status, content_type, body) in [
        ("/", 200, "text/html; charset=utf-8", "the front"),
        ("/index.html?q", 200, "text/html; charset=utf-8", "the front"),
        ("/sub/", 200, "text/html; charset=utf-8", "a page"),
        ("/a%20b.css", 200, "text/css; charset=utf-8", "css"),
        ("/data.xyz", 200, "text/x", "what"),
        ("/empty", 200, "application/octet-stream", ""),
        ("/nowhere", 404, "text/plain; charset=utf-8", "Not Found\n"),
        ("/data.xyz/", 404, "text/plain; charset=utf-8", "Not Found\n"),
        ("/%", 400, "text/plain; charset=utf-8", "Bad Request\n"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text()), (status, body), "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        let head = server.ask(&format!("HEAD {path}"), &[]);
        assert_eq!((head.status, head.text()), (status, ""), "{path}");
        assert_eq!(head.header("content-length"), Some(&*body.len().to_string()), "{path}");
    }
    let moved = server.get("/sub?q=1");
    assert_eq!((moved.status, moved.header("location")), (301, Some("./sub/?q=1")));
    let refused = server.ask("POST /", &["Content-Length: 0"]);
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

/// What lies outside, what is hidden, and what is no file: none is served, and none holds up the loop.
#[test]
fn nothing_outside_the_root_and_nothing_but_files_is_served() {
    let root = Root::new("outside");
    root.write("index.html", "the front");
    fs::write(root.0.join("secret"), "secret").unwrap();
    root.write(".env", "secret");
    root.write("locked", "secret");
    fs::create_dir(root.path(".well-known")).unwrap();
    root.write(".well-known/x", "known");
    symlink("../secret", root.path("up")).unwrap();
    symlink(root.0.join("secret"), root.path("absolute")).unwrap();
    symlink("/proc/self/cwd", root.path("magic")).unwrap();
    symlink("index.html", root.path("inside")).unwrap();
    symlink("..", root.path("sub/back")).unwrap();
    symlink("loop", root.path("loop")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.path("fifo")).status().unwrap();
    assert!(fifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(root.path("socket"));
    let by_default = Server::of(root.files());
    let refusing = Server::of(root.files().links(Links::Refuse));
    let following = Server::of(root.files().links(Links::Follow).hidden(true));
    for (path, statuses) in [
        ("/..%2fsecret", [404, 404, 404]),
        ("/../secret", [404, 404, 404]),
        ("/%2e%2e/secret", [404, 404, 404]),
        ("/sub/../../secret", [404, 404, 404]),
        ("//etc/passwd", [404, 404, 404]),
        ("/secret%00.html", [404, 404, 404]),
        ("/.env", [404, 404, 200]),
        ("/.well-known/x", [200, 200, 200]),
        ("/up", [404, 404, 200]),
        ("/absolute", [404, 404, 200]),
        ("/magic/Cargo.toml", [404, 404, 200]),
        ("/inside", [200, 404, 200]),
        ("/sub/back/index.html", [200, 404, 200]),
        ("/loop", [404, 404, 404]),
        ("/fifo", [404, 404, 404]),
        ("/socket", [404, 404, 404]),
        (&format!("/{}", "x".repeat(300)), [404, 404, 404]),
    ] {
        for (server, status) in [&by_default, &refusing, &following].into_iter().zip(statuses) {
            assert_eq!(server.get(path).status, status, "{path}");
        }
    }
    fs::set_permissions(root.path("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    let status = by_default.get("/locked").status;
    assert!(status == 403 || File::open(root.path("locked")).is_ok(), "{status}");
}

/// RFC 9110, section 14: each range is the bytes it names, and each length is true.
#[test]
fn ranges_are_the_bytes_that_they_name() {
    let root = Root::new("ranges");
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    root.write("file.bin", &bytes);
    root.write("empty", "");
    let server = Server::of(root.files());
    let whole = server.get("/file.bin");
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    assert!(whole.body == bytes);
    let etag = whole.header("etag").unwrap();
    for (value, from, to) in
        [("0-0", 0, 1), ("10-19", 10, 20), ("99990-", 99_990, 100_000), ("-5", 99_995, 100_000)]
    {
        let part = server.ask("GET /file.bin", &[&format!("Range: bytes={value}")]);
        assert_eq!(part.status, 206);
        let told = format!("bytes {from}-{}/100000", to - 1);
        assert_eq!(part.header("content-range"), Some(&*told));
        assert_eq!(part.header("content-length"), Some(&*(to - from).to_string()));
        assert!(part.body == bytes[from..to], "{value}");
    }
    for path in ["/file.bin", "/empty"] {
        let none = server.ask(&format!("GET {path}"), &["Range: bytes=100000-"]);
        let told = if path == "/empty" { "bytes */0" } else { "bytes */100000" };
        assert_eq!((none.status, none.header("content-range")), (416, Some(told)));
    }
    let same = format!("If-Range: {etag}");
    let part = server.ask("GET /file.bin", &["Range: bytes=0-0", &same]);
    assert_eq!(part.status, 206);
    let other = server.ask("GET /file.bin", &["Range: bytes=0-0", "If-Range: \"other\""]);
    assert_eq!((other.status, other.body.len()), (200, bytes.len()));
    let head = server.ask("HEAD /file.bin", &["Range: bytes=0-0"]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("100000")));

    let several = server.ask("GET /file.bin", &["Range: bytes=5-9,70000-89999,-1"]);
    assert_eq!(several.status, 206);
    assert_eq!(several.header("content-length"), Some(&*several.body.len().to_string()));
    let content_type = several.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(5, 10), (70_000, 90_000), (99_999, 100_000)] {
        let line = if from == 5 { "" } else { "\r\n" };
        let head = format!(
            "{line}--{boundary}\r\ncontent-type: application/octet-stream\r\n\
             content-range: bytes {from}-{}/100000\r\n\r\n",
            to - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[from..to]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(several.body == expected);
}

/// RFC 9110, section 13: a client that has a file is not sent it again; a file that was just
/// changed has no strong tag.
#[test]
fn a_client_that_has_a_file_is_not_sent_it_again() {
    let root = Root::new("conditions");
    root.write("old.txt", "old");
    root.write_aged("fresh.txt", "fresh", 0);
    let server = Server::of(root.files());
    let old = server.get("/old.txt");
    let (etag, modified) = (old.header("etag").unwrap(), old.header("last-modified").unwrap());
    assert!(etag.starts_with('"'), "{etag}");
    for header in [format!("If-None-Match: {etag}"), format!("If-Modified-Since: {modified}")] {
        let same = server.ask("GET /old.txt", &[&header]);
        assert_eq!((same.status, same.text(), same.header("etag")), (304, "", Some(etag)));
        assert_eq!(same.header("content-length"), None);
    }
    assert_eq!(server.ask("GET /old.txt", &["If-Match: \"other\""]).status, 412);
    assert_eq!(server.ask("GET /old.txt", &[&format!("If-Match: {etag}")]).status, 200);
    root.write("old.txt", "new");
    assert_eq!(server.ask("GET /old.txt", &[&format!("If-None-Match: {etag}")]).text(), "new");
    let fresh = server.get("/fresh.txt");
    let etag = fresh.header("etag").unwrap();
    assert!(etag.starts_with("W/\""), "{etag}");
    let ranged = [&*format!("If-Range: {etag}"), "Range: bytes=0-0"];
    assert_eq!(server.ask("GET /fresh.txt", &ranged).status, 200);
    assert_eq!(server.ask("GET /fresh.txt", &[&format!("If-None-Match: {etag}")]).status, 304);
}

#[test]
fn what_is_compressed_already_is_sent_to_clients_that_take_it() {
    let root = Root::new("compressed");
    root.write("a.js", "plain");
    root.write("a.js.gz", "gzip");
    root.write("a.js.br", "brotli");
    root.write("b.js", "plain");
    root.write_aged("b.js.gz", "stale", 7200);
    let server = Server::of(root.files().precompressed(true));
    for (path, accepts, body, encoding) in [
        ("/a.js", "gzip, br", "brotli", Some("br")),
        ("/a.js", "gzip", "gzip", Some("gzip")),
        ("/a.js", "br;q=0.1, gzip;q=0.2", "gzip", Some("gzip")),
        ("/a.js", "zstd", "plain", None),
        ("/b.js", "gzip, br", "plain", None),
    ] {
        let answer = server.ask(&format!("GET {path}"), &[&format!("Accept-Encoding: {accepts}")]);
        assert_eq!((answer.status, answer.text()), (200, body), "{path} {accepts}");
        assert_eq!(answer.header("content-encoding"), encoding);
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        let etag = format!("If-None-Match: {}", answer.header("etag").unwrap());
        let accepts = format!("Accept-Encoding: {accepts}");
        let same = server.ask(&format!("GET {path}"), &[&etag, &accepts]);
        assert_eq!((same.status, same.header("vary")), (304, Some("accept-encoding")));
        assert_eq!(same.header("content-encoding"), None);
        let other = server.ask(&format!("GET {path}"), &[&etag, "Accept-Encoding: identity"]);
        assert_eq!(other.status, if encoding.is_some() { 200 } else { 304 });
    }
    let plain = Server::of(root.files());
    let answer = plain.ask("GET /a.js", &["Accept-Encoding: br"]);
    assert_eq!((answer.text(), answer.header("vary")), ("plain", None));
}

/// A name that anybody may have chosen is shown as it is, and leads to its file.
#[test]
fn a_list_has_what_can_be_asked_for_and_no_markup_of_names() {
    let root = Root::new("listing");
    for name in ["<b>&\"'.txt", "a:b", "#?%", ".hidden", "tu\u{308}r"] {
        root.write(&format!("sub/{name}"), name);
    }
    fs::create_dir(root.path("sub/deep")).unwrap();
    symlink("deep", root.path("sub/link")).unwrap();
    symlink("nowhere", root.path("sub/dangling")).unwrap();
    let server = Server::of(root.files().listing(true));
    let page = server.get("/sub/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").is_some());
    let names: Vec<_> = page.text().lines().filter(|line| line.starts_with("<li>")).collect();
    assert_eq!(
        names,
        [
            "<li><a href=\"./%23%3F%25\">#?%</a></li>",
            "<li><a href=\"./%3Cb%3E%26%22%27.txt\">&lt;b&gt;&amp;&quot;&#39;.txt</a></li>",
            "<li><a href=\"./a%3Ab\">a:b</a></li>",
            "<li><a href=\"./deep/\">deep/</a></li>",
            "<li><a href=\"./link/\">link/</a></li>",
            "<li><a href=\"./tu%CC%88r\">tu\u{308}r</a></li>",
        ]
    );
    assert_eq!(server.get("/sub/%3Cb%3E%26%22%27.txt").text(), "<b>&\"'.txt");
    assert_eq!(server.get("/sub/%23%3F%25").text(), "#?%");
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/nowhere/").status, 404);
    assert_eq!(Server::of(root.files()).get("/sub/").status, 404);
}

/// A list has an end, and says so.
#[test]
fn a_list_is_cut_at_ten_thousand_names() {
    let root = Root::new("many");
    for n in 0..10_000 {
        fs::write(root.path(&format!("sub/{n}")), "").unwrap();
    }
    let server = Server::of(root.files().listing(true));
    let count = || {
        let page = server.get("/sub/");
        (page.text().matches("<li>").count(), page.text().contains("more than 10000 names"))
    };
    assert_eq!(count(), (10_000, false));
    fs::write(root.path("sub/one-more"), "").unwrap();
    assert_eq!(count(), (10_000, true));
}

/// Promise 4: a file that shrinks while it is sent does not look whole.
#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_in_a_reset() {
    let root = Root::new("shrinks");
    root.write("large", vec![b'x'; 64 << 20]);
    let server = Server::of(root.files());
    for headers in ["", "Range: bytes=0-9,10-60000000\r\n"] {
        root.write("large", vec![b'x'; 64 << 20]);
        let mut client = server.connect();
        let request = format!("GET /large HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let mut buffer = vec![0; 1 << 16];
        client.read_exact(&mut buffer).unwrap();
        File::options().write(true).open(root.path("large")).unwrap().set_len(1000).unwrap();
        let error = loop {
            match client.read(&mut buffer) {
                Ok(0) => panic!("it ended as if it were whole"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
