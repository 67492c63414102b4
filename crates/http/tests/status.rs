//! The status page, as curl sees it: the example `status_echo` as a process.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

#[path = "common/example.rs"]
mod example;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use example::{Example, curl};

/// The example `status_echo`.
struct Server {
    _process: Example,
    echo: String,
    status: String,
}

impl Server {
    fn start(more: &[&str]) -> Server {
        let arguments = [&["--status", "127.0.0.1:0"], more].concat();
        let mut process = Example::start("status_echo", &arguments);
        let (echo, status) = (process.said("listening on "), process.said("status on "));
        Server { _process: process, echo, status }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.status)
    }

    /// One request on a connection of its own, and all that comes.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.status).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }
}

/// The page is whole without scripts, and names no source but itself.
#[test]
fn the_page_is_whole_without_scripts() {
    let server = Server::start(&[]);
    let _client = TcpStream::connect(&server.echo).unwrap();
    let Some(page) = curl(&["-i", &server.url("/")]) else { return };
    for part in [
        "HTTP/1.1 200 OK",
        "content-security-policy: default-src 'none'; script-src 'self'",
        "<noscript><meta http-equiv=\"refresh\"",
        "status_echo",
        "id=\"t-lag\"",
        "id=\"c-traffic\"",
        "<th scope=\"row\">echo",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("style=") && !page.contains("http://") && !page.contains("https://"));
    assert!(curl(&["-i", &server.url("/status.js")]).unwrap().contains("text/javascript"));
    assert!(curl(&["-i", &server.url("/status.css")]).unwrap().contains("text/css"));
}

/// Every sample of the metrics is of a family that was declared before, and the end is marked; for
/// a client that asks for the older format there is no mark.
#[test]
fn metrics_are_well_formed() {
    let server = Server::start(&[]);
    let mut client = TcpStream::connect(&server.echo).unwrap();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let (head, text) = {
        let all = server.get("/metrics");
        let (head, text) = all.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), text.to_owned())
    };
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(text.contains("\nwouldblock_received_bytes_total "), "{text}");
    assert!(text.contains("\nwouldblock_accepted_total{service=\"echo\"} 1\n"), "{text}");
    let mut family = String::new();
    let mut declared = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(!declared.contains(&family), "{family} twice");
            declared.push(family.clone());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name == family && name.ends_with(unit), "{line}");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} is not of {family}");
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    let older = server.ask(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
    );
    assert!(older.contains("text/plain; version=0.0.4") && !older.contains("# EOF"));
    assert!(older.contains("# TYPE wouldblock_received_bytes_total counter"));
}

/// What each connection waits for is told, as lines and as JSON.
#[test]
fn what_each_connection_waits_for_is_told() {
    let server = Server::start(&[]);
    let client = TcpStream::connect(&server.echo).unwrap();
    let peer = client.local_addr().unwrap();
    let lines = server.get("/connections");
    let line = lines.lines().find(|line| line.contains(&format!("{peer}: "))).unwrap();
    assert!(line.contains(" echo ") && line.contains("reads: waits for the peer"), "{line}");
    assert!(line.contains("; first_byte in "), "{line}");
    assert!(lines.contains("2 connections"), "{lines}");
    let until = Instant::now() + Duration::from_secs(20);
    let json = loop {
        let url = server.url("/connections");
        let Some(json) = curl(&["-H", "Accept: application/json", &url]) else { return };
        // The connection that was asked on before may be there a moment longer.
        if json.contains("\"count\":2}") {
            break json;
        }
        assert!(Instant::now() < until, "{json}");
    };
    assert!(json.contains(&format!("\"peer\":\"{peer}\"")), "{json}");
    assert!(json.contains("\"reads\":\"waits for the peer\""), "{json}");
    assert_eq!(json.matches('{').count(), json.matches('}').count());
    assert!(curl(&[&server.url("/connections.json")]).unwrap().starts_with("{\"connections\":["));
}

/// Nothing is answered to a page of a stranger that has found a name for this machine; nothing can
/// be changed.
#[test]
fn only_names_of_this_machine_and_harmless_methods_are_served() {
    let server = Server::start(&[]);
    let with_host = |host: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        server.ask(&request)[9..12].to_owned()
    };
    for host in ["localhost", "LocalHost:9090", "127.0.0.1:80", "[::1]:80", "10.1.2.3"] {
        assert_eq!(with_host(host), "200", "{host}");
    }
    for host in ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.nip.io"]
    {
        assert_eq!(with_host(host), "403", "{host}");
    }
    let Some(_) = curl(&[&server.url("/healthz")]) else { return };
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let status = |more: &[&str]| curl(&[&code[..], more].concat()).unwrap();
    assert_eq!(status(&["-X", "POST", &server.url("/")]), "405");
    assert_eq!(status(&[&server.url("/nowhere")]), "404");
    assert_eq!(status(&["-I", &server.url("/connections")]), "200");
}

/// When the echo has all the connections there are, the page answers.
#[test]
fn the_page_answers_when_the_server_is_full() {
    let server = Server::start(&["--connections", "20"]);
    let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(&server.echo).unwrap()).collect();
    // Four at least are kept back: a quarter of so few.
    let lines = server.get("/connections");
    assert_eq!(lines.lines().filter(|line| line.contains(" echo ")).count(), 15, "{lines}");
    assert!(server.get("/healthz").ends_with("ok\n"));
    drop(clients);
}
