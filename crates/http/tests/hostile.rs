//! Clients that do not do what is hoped for, on the machine's kernel.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wouldblock::{Config, Context};
use wouldblock_http::http::StatusCode;
use wouldblock_http::{Body, Cx, Http, Request, Requests, Responder, Response};

use server::Server;

/// A body of 32 MiB, which is nowhere in memory.
const LARGE: u64 = 32 << 20;

#[derive(Default)]
struct Site {
    later: Vec<Responder>,
    duplicates: Vec<OwnedFd>,
    abandoned: usize,
}

impl Requests for Site {
    fn on_head(&mut self, _: &mut Cx<'_>, request: &Request<'_>) -> Body {
        if request.path() == "/pieces" { Body::Pieces { max: 1 << 20 } } else { Body::Whole }
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = match request.path() {
            "/large" => Response::new(StatusCode::OK).body_from(LARGE, std::io::repeat(b'x')),
            "/bytes" => Response::new(StatusCode::OK).body(vec![b'x'; 16 << 20]),
            "/later" | "/pieces" => return self.later.push(responder),
            "/go" => {
                for responder in self.later.drain(..) {
                    responder.send(cx, Response::text("later"));
                }
                Response::text("went")
            }
            "/duplicate" => {
                let conn = cx.conn(request.conn()).unwrap();
                self.duplicates.push(conn.fd().unwrap().try_clone_to_owned().unwrap());
                Response::text("kept")
            }
            _ => Response::text("page"),
        };
        responder.send(cx, response);
    }

    fn on_abandoned(&mut self, _: &mut Cx<'_>, responder: Responder) {
        self.abandoned += 1;
        self.later.retain(|it| *it != responder);
    }
}

impl Server<Site> {
    fn with(config: Config) -> Server<Site> {
        let http = Http::new(Site::default()).upload_rate(1, Duration::from_millis(300));
        Server::start(http, config)
    }

    /// The answer to one request, with the end of the connection.
    fn get(&self, path: &str) -> String {
        let mut client = self.connect();
        client.write_all(ask(path, "Connection: close\r\n").as_bytes()).unwrap();
        rest(&mut client)
    }

    fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Site, &Context) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = mpsc::channel();
        let posted = self.handle.post(move |http, cx| {
            let _ = tell.send(look(http.requests_mut(), cx));
        });
        assert!(posted.is_ok());
        told.recv().unwrap()
    }
}

fn ask(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

fn rest(client: &mut TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

/// Promise 1: a client that ends its side behind its request is answered, however long the answer
/// is, and however late.
#[test]
fn a_client_that_half_closes_behind_its_request_is_answered() {
    let server = Server::with(Config::public());
    let mut large = server.connect();
    large.write_all(ask("/large", "").as_bytes()).unwrap();
    large.shutdown(Shutdown::Write).unwrap();
    let mut late = server.connect();
    late.write_all(format!("{}{}", ask("/page", ""), ask("/later", "")).as_bytes()).unwrap();
    late.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    large.read_to_end(&mut bytes).unwrap();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!((bytes.len() - head) as u64, LARGE);
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    while server.look(|site, _| site.later.is_empty()) {
        thread::yield_now();
    }
    assert!(server.get("/go").ends_with("went"));
    let text = rest(&mut late);
    assert!(text.contains("page") && text.ends_with("later"), "{text}");
}

/// Promise 3: ten megabytes of requests whose answers are not read are not read either, hold up no
/// other client, and are all answered when the client reads.
#[test]
fn ten_megabytes_of_requests_without_a_reader_wait_in_the_kernel() {
    let server = Server::with(Config::public());
    let mut deaf = server.connect();
    deaf.set_nonblocking(true).unwrap();
    let request = ask("/page", &format!("Padding: {}\r\n", "x".repeat(400)));
    let all = request.repeat((10 << 20) / request.len());
    let (mut written, mut blocked) = (0, 0);
    // What the kernel has no room for in a hundred answers to others, it has none for.
    while written < all.len() && blocked < 100 {
        match deaf.write(&all.as_bytes()[written..]) {
            Ok(n) => (written, blocked) = (written + n, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                blocked += 1;
                assert!(server.get("/page").ends_with("page"));
            }
        }
    }
    let buffered = server.look(|_, cx| cx.buffered());
    assert!(buffered < 400 << 10, "{buffered}");
    deaf.set_nonblocking(false).unwrap();
    let mut reads = deaf.try_clone().unwrap();
    let rest_of_all = all.as_bytes()[written..].to_vec();
    let writes = thread::spawn(move || {
        deaf.write_all(&rest_of_all).unwrap();
        deaf.shutdown(Shutdown::Write).unwrap();
    });
    let answers = rest(&mut reads).matches("\r\n\r\npage").count();
    writes.join().unwrap();
    assert_eq!(answers, all.len() / request.len());
}

/// Promise 3: a client that never reads costs a bounded piece of its answer, and ends at `write_stall`.
#[test]
fn a_client_that_never_reads_ends_at_its_time() {
    let server = Server::with(Config::public().write_stall(Duration::from_millis(300)));
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.connect();
            client.write_all(ask("/large", "").as_bytes()).unwrap();
            client
        })
        .collect();
    while server.look(|_, cx| cx.stats().closed.write_stall) < 20 {
        let buffered = server.look(|_, cx| cx.buffered());
        assert!(buffered < 20 * (400 << 10), "{buffered}");
        assert!(server.get("/page").ends_with("page"));
    }
    drop(deaf);
}

/// A body that is in memory may be larger than the output of a connection, and arrives at a client
/// that takes its time.
#[test]
fn a_body_larger_than_the_output_limit_arrives() {
    let server = Server::with(Config::public());
    let mut client = server.connect();
    client.write_all(ask("/bytes", "Connection: close\r\n").as_bytes()).unwrap();
    // By then all that the kernel takes is written.
    for _ in 0..50 {
        assert!(server.get("/page").ends_with("page"));
    }
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(bytes.len() - head, 16 << 20);
}

/// A client that is told to go on and does not: told so, whether its body was to come whole or in pieces.
#[test]
fn a_body_that_never_comes_is_told_in_time() {
    let server = Server::with(Config::public().min_rate(1, Duration::from_millis(300)));
    for path in ["/whole", "/pieces"] {
        let mut client = server.connect();
        let expects = "Content-Length: 100\r\nExpect: 100-continue\r\n";
        client.write_all(ask(path, expects).as_bytes()).unwrap();
        let text = rest(&mut client);
        let (first, then) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(first, "HTTP/1.1 100 Continue");
        assert!(then.starts_with("HTTP/1.1 408 "), "{path}: {text}");
    }
    assert_eq!(server.look(|site, _| (site.abandoned, site.later.len())), (1, 0));
}

/// The end reaches the client, though a duplicate of our socket lives on; and the client's own
/// duplicates are one client.
#[test]
fn duplicates_of_a_socket_change_nothing() {
    let server = Server::with(Config::public());
    assert!(server.get("/duplicate").ends_with("kept"));
    let mut client = server.connect();
    let mut other = client.try_clone().unwrap();
    client.write_all(ask("/page", "").as_bytes()).unwrap();
    other.write_all(ask("/page", "").as_bytes()).unwrap();
    drop(client);
    other.write_all(ask("/page", "Connection: close\r\n").as_bytes()).unwrap();
    assert_eq!(rest(&mut other).matches("\r\n\r\npage").count(), 3);
    assert_eq!(server.look(|site, _| site.duplicates.len()), 1);
}
