//! What a request costs an HTTP server: `wouldblock-http` beside hyper, nginx, `tiny_http` and Node.
//!
//! ```text
//! cargo bench -p wouldblock-benches --features http --bench http                 # all; nginx and Node where they are installed
//! cargo bench -p wouldblock-benches --features http --bench http -- pipelined    # the cases with this in their names
//! cargo bench -p wouldblock-benches --features http --bench http -- idle         # memory of a connection that has been served
//! ```
//!
//! Requests per second of the server's CPU time, as the scheduler counts it over all its threads:
//! so it does not matter what else the machine does, nor how fast the clients are. Each round
//! drives all servers by turns, ours twice, the second as a control; what is printed is the median
//! of the rounds. Each server is a process: this program again with `--serve`, one thread but for
//! `tiny_http`, or nginx with one worker, or Node.
//!
//! - `plaintext`: 13 bytes, at 64 and 1000 clients, each of which asks when it has been answered;
//! - `pipelined`: the same, 64 clients, 16 requests at a time;
//! - `file`: 16 KiB and 1 MiB out of a directory. hyper has no files: it reads each with `std::fs::read`.

#![allow(clippy::cast_precision_loss, reason = "counts are small")]

use std::convert::Infallible;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit, setrlimit};
use wouldblock::{Config, Reactor};
use wouldblock_http::{Cx, Files, Http, Request, Requests, Responder, Response};

use process::Server;

mod process;

const HELLO: &str = "hello, world\n";
const ROUNDS: usize = 15;
const IDLE: usize = 3900;

/// What is asked of each server.
struct Case {
    name: &'static str,
    path: &'static str,
    clients: usize,
    pipelined: usize,
    /// Requests of each client in a round.
    requests: usize,
}

const CASES: [Case; 5] = [
    Case { name: "plaintext, 64 clients", path: "/hello", clients: 64, pipelined: 1, requests: 60 },
    Case {
        name: "plaintext, 1000 clients",
        path: "/hello",
        clients: 1000,
        pipelined: 1,
        requests: 6,
    },
    Case {
        name: "pipelined by 16, 64 clients",
        path: "/hello",
        clients: 64,
        pipelined: 16,
        requests: 320,
    },
    Case {
        name: "file of 16 KiB, 64 clients",
        path: "/16k",
        clients: 64,
        pipelined: 1,
        requests: 40,
    },
    Case { name: "file of 1 MiB, 16 clients", path: "/1m", clients: 16, pipelined: 1, requests: 8 },
];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|it| it == "--serve") {
        return serve(&arguments[at + 1], Path::new(&arguments[at + 2]));
    }
    let is_test = !arguments.iter().any(|it| it == "--bench");
    let named = |case: &Case| {
        let mut names = arguments.iter().filter(|it| !it.starts_with("--")).peekable();
        names.peek().is_none() || names.any(|it| case.name.contains(it.as_str()))
    };
    raise_descriptor_limit()?;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("http");
    fs::create_dir_all(&root)?;
    for (name, len) in [("hello", 0), ("16k", 16 << 10), ("1m", 1 << 20)] {
        let bytes = if len == 0 { HELLO.into() } else { vec![b'x'; len] };
        fs::write(root.join(name), bytes)?;
        // The head of an answer says less of a file that has just been written.
        let file = fs::File::options().write(true).open(root.join(name))?;
        file.set_modified(SystemTime::now() - Duration::from_secs(3600))?;
    }
    let mut servers = Vec::new();
    for name in ["wouldblock", "wouldblock again", "hyper", "nginx", "tiny_http", "node"] {
        match start(name, &root) {
            Ok(server) => servers.push(server),
            Err(error) => println!("{name}: left out: {error}"),
        }
    }
    if arguments.iter().any(|it| it == "idle") {
        for server in &servers {
            match idle(server) {
                Ok(each) => println!("{:<18} {each} bytes a connection of {IDLE}", server.name),
                Err(error) => println!("{:<18} left out: {error}", server.name),
            }
        }
    }
    for case in CASES.iter().filter(|case| named(case)) {
        let rounds = if is_test { 1 } else { ROUNDS };
        measure(case, &mut servers, rounds, is_test)?;
    }
    Ok(())
}

/// Prints what each server does in a second of its time.
fn measure(case: &Case, servers: &mut [Server], rounds: usize, is_test: bool) -> io::Result<()> {
    println!("{}", case.name);
    let requests = if is_test { case.pipelined } else { case.requests };
    let mut clients = Vec::new();
    for server in servers.iter() {
        match Clients::connect(server.addr, case) {
            Ok(connected) => clients.push(Some(connected)),
            Err(error) => {
                println!("  {:<18} left out: {error}", server.name);
                clients.push(None);
            }
        }
    }
    let mut rates: Vec<Vec<f64>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for n in 0..servers.len() {
            // Each begins a round as often as any other.
            let n = (n + round) % servers.len();
            let Some(connected) = &mut clients[n] else { continue };
            let before = servers[n].cpu_time()?;
            if let Err(error) = connected.ask(requests) {
                println!("  {:<18} left out: {error}", servers[n].name);
                clients[n] = None;
                rates[n].clear();
                continue;
            }
            let used = servers[n].cpu_time()?.saturating_sub(before);
            rates[n].push((case.clients * requests) as f64 / used.as_secs_f64());
        }
    }
    let ours = median(&mut rates[0].clone());
    for (server, rates) in servers.iter().zip(&mut rates).filter(|(_, rates)| !rates.is_empty()) {
        let rate = median(rates);
        let (low, high) = (rates[rates.len() / 4], rates[rates.len() * 3 / 4]);
        println!(
            "  {:<18} {rate:>9.0} requests a second of CPU ({low:.0} to {high:.0}), {:.2} of ours",
            server.name,
            rate / ours
        );
    }
    Ok(())
}

/// Resident memory of the server for each connection that has asked once, was answered, and stays.
fn idle(server: &Server) -> io::Result<u64> {
    let case = |clients| Case { name: "idle", path: "/hello", clients, pipelined: 1, requests: 1 };
    let _warm = Clients::connect(server.addr, &case(1))?;
    let before = server.resident()?;
    let mut clients = Clients::connect(server.addr, &case(IDLE))?;
    clients.ask(1)?;
    Ok(server.resident()?.saturating_sub(before) / IDLE as u64)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Connections, each of which asks and is answered.
struct Clients {
    streams: Vec<TcpStream>,
    ask: Vec<u8>,
    pipelined: usize,
    /// Bytes of all answers to what is asked at once.
    len: usize,
    buffer: Vec<u8>,
}

impl Clients {
    fn connect(addr: SocketAddr, case: &Case) -> io::Result<Clients> {
        let one = format!(
            "GET {} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
            case.path
        );
        let mut streams = Vec::new();
        for _ in 0..case.clients {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            streams.push(stream);
        }
        let len = length(&mut streams[0], &one)? * case.pipelined;
        let ask = one.repeat(case.pipelined).into_bytes();
        Ok(Clients { streams, ask, pipelined: case.pipelined, len, buffer: vec![0; len] })
    }

    fn ask(&mut self, requests: usize) -> io::Result<()> {
        for _ in 0..requests / self.pipelined {
            for stream in &mut self.streams {
                stream.write_all(&self.ask)?;
            }
            for stream in &mut self.streams {
                stream.read_exact(&mut self.buffer[..self.len])?;
            }
        }
        Ok(())
    }
}

/// The length of an answer, which is the same each time.
fn length(stream: &mut TcpStream, ask: &str) -> io::Result<usize> {
    stream.write_all(ask.as_bytes())?;
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let body = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body = body.and_then(|len| len.trim().parse().ok()).filter(|_| head.contains(" 200 "));
    let body: usize = body.ok_or_else(|| io::Error::other(format!("no such answer: {head}")))?;
    stream.read_exact(&mut vec![0; body])?;
    Ok(bytes.len() + body)
}

/// A process, killed when dropped.
fn start(name: &str, root: &Path) -> io::Result<Server> {
    match name {
        "nginx" => {
            let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let mut command = Command::new("nginx");
            command.arg("-c").arg(nginx(root, addr)?).stderr(Stdio::null());
            Server::spawn_at(name, &mut command, addr)
        }
        "node" => Server::spawn(name, Command::new("node").args(["-e", NODE]).env("ROOT", root)),
        _ => {
            let mut command = Command::new(std::env::current_exe()?);
            Server::spawn(name, command.arg("--serve").arg(name).arg(root))
        }
    }
}

/// With more than fifteen sixteenths of its connections in use nginx closes those that are idle.
fn nginx(root: &Path, addr: SocketAddr) -> io::Result<PathBuf> {
    let at = root.display();
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/nginx.pid; error_log /dev/null crit;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;\n\
         client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;\n\
         uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
         server {{ listen {addr}; root {at};\n\
         location = /hello {{ default_type text/plain; return 200 \"hello, world\\n\"; }} }} }}\n"
    );
    let path = root.join("nginx.conf");
    fs::write(&path, text)?;
    Ok(path)
}

const NODE: &str = r#"
const fs = require("fs"), path = require("path");
const server = require("http").createServer((request, response) => {
  if (request.url === "/hello") {
    response.setHeader("content-type", "text/plain");
    response.setHeader("content-length", 13);
    return response.end("hello, world\n");
  }
  const file = path.join(process.env.ROOT, request.url);
  fs.stat(file, (error, stat) => {
    if (error) return response.writeHead(404).end();
    response.writeHead(200, { "content-length": stat.size });
    fs.createReadStream(file).pipe(response);
  });
});
server.keepAliveTimeout = 600000;
server.listen(0, "127.0.0.1", 4096, () => console.log("listening on 127.0.0.1:" + server.address().port));
"#;

fn serve(name: &str, root: &Path) -> io::Result<()> {
    raise_descriptor_limit()?;
    match name {
        "hyper" => serve_hyper(root),
        "tiny_http" => serve_tiny_http(root),
        _ => serve_ours(root),
    }
}

/// Tells the process that started this one where it listens.
fn say(addr: SocketAddr) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "listening on {addr}");
    let _ = stdout.flush();
}

struct Site(Files);

impl Requests for Site {
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = match request.path() {
            "/hello" => Response::text(HELLO),
            _ => self.0.respond(request),
        };
        responder.send(cx, response);
    }
}

fn serve_ours(root: &Path) -> io::Result<()> {
    let config = Config::public().connections(4096).connections_per_address(None);
    let mut reactor = Reactor::with_config(Http::new(Site(Files::new(root)?)), config)?;
    let listener = reactor.listen("127.0.0.1:0")?;
    say(reactor.listener_addr(listener)?.socket_addr().expect("it is TCP"));
    reactor.run()
}

fn serve_hyper(root: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let root = std::rc::Rc::new(root.to_owned());
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        say(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let root = root.clone();
            tokio::task::spawn_local(async move {
                let answer = |request: hyper::Request<Incoming>| {
                    let body = match request.uri().path() {
                        "/hello" => Bytes::from_static(HELLO.as_bytes()),
                        path => Bytes::from(
                            fs::read(root.join(path.trim_start_matches('/'))).unwrap_or_default(),
                        ),
                    };
                    let mut response = hyper::Response::new(Full::new(body));
                    let plain =
                        hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
                    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
                    std::future::ready(Ok::<_, Infallible>(response))
                };
                let mut http = hyper::server::conn::http1::Builder::new();
                http.pipeline_flush(true);
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}

fn serve_tiny_http(root: &Path) -> io::Result<()> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(io::Error::other)?;
    say(server.server_addr().to_ip().expect("it is TCP"));
    for request in server.incoming_requests() {
        if request.url() == "/hello" {
            request.respond(tiny_http::Response::from_string(HELLO))?;
            continue;
        }
        let file = fs::File::open(root.join(&request.url()[1..]))?;
        // Without this it sends a large file in chunks, and the clients want a length.
        let response = tiny_http::Response::from_file(file).with_chunked_threshold(usize::MAX);
        request.respond(response)?;
    }
    Ok(())
}

fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}
