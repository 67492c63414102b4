//! What a message costs a WebSocket server: `wouldblock-websocket` beside tokio-tungstenite, `ws`
//! of npm and `websockets` of Python, each a process with one thread for its clients.
//!
//! ```text
//! cargo build --release --manifest-path benches/websocket/tungstenite/Cargo.toml --target-dir target/peers
//! npm install --prefix target/peers ws
//! python3 -m venv target/peers/python && target/peers/python/bin/pip install websockets
//! cargo bench --bench websocket              # those that are missing are left out
//! cargo bench --bench websocket -- idle      # resident memory of 10,000 idle connections, server by server
//! ```
//!
//! CPU time of the server's process, all its threads, as the scheduler counts it. Each round drives
//! the servers by turns in short slices, ours twice, once as a control; what counts is the median
//! of the rounds. Clients wait for their answers before they say the next. What is compressed is so
//! each message by itself. `--test` only sees whether it runs. Linux only: the time comes from
//! `/proc`.

#![allow(clippy::cast_precision_loss, reason = "counts are small")]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use flate2::{Compress, Compression, FlushCompress};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wouldblock::{Config, ConnId, Context, Reactor};
use wouldblock_websocket::{
    Closed, Deflate, Endpoint, Head, Message, Prepared, Topics, WebSocket, Ws,
};

use process::Server;

mod process;

const IDLE: usize = 10_000;
const ROUNDS: usize = 25;

/// Ours: `/all` gets what anyone there says, any other path an echo.
struct Both {
    topics: Topics<()>,
}

impl Endpoint for Both {
    type Session = bool; // whether it is of all

    fn on_open(&mut self, ws: &mut Ws<'_>, request: &Head<'_>) -> io::Result<bool> {
        let is_one = request.path() == "/all";
        if is_one {
            self.topics.subscribe(ws, ());
        }
        Ok(is_one)
    }

    fn on_message(
        &mut self,
        ws: &mut Ws<'_>,
        is_one: &mut bool,
        message: Message<'_>,
    ) -> io::Result<()> {
        if *is_one {
            self.topics.publish(ws.cx(), &(), &Prepared::new(message));
        } else {
            ws.send(message);
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context, id: ConnId, _: bool, _: Closed) {
        self.topics.unsubscribe_all(id);
    }
}

fn serve() -> io::Result<()> {
    // Without pings, as all of them are.
    let both = WebSocket::new(Both { topics: Topics::new() }).deflate(Deflate::new()).ping(None);
    let mut reactor = Reactor::with_config(both, Config::default())?;
    let listener = reactor.listen("127.0.0.1:0")?;
    writeln!(io::stdout(), "listening on {}", reactor.listener_addr(listener)?)?;
    reactor.run()
}

fn servers(only_ours: bool) -> Vec<Server> {
    let exe = std::env::current_exe().expect("we run");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let of = |path: &str| format!("{root}/{path}");
    // None if it is not here.
    let start =
        |name: &str, command: &mut Command| Server::spawn(name, command.stderr(Stdio::null())).ok();
    let mut servers = vec![
        start("ours", Command::new(&exe).arg("serve")),
        start("ours, as a control", Command::new(&exe).arg("serve")),
    ];
    if !only_ours {
        let tungstenite = of("target/peers/release/tungstenite-server");
        let python = of("target/peers/python/bin/python");
        let mut node = Command::new("node");
        node.arg(of("benches/websocket/server.mjs")).current_dir(of("target/peers"));
        servers.extend([
            start("tokio-tungstenite", &mut Command::new(&tungstenite)),
            start("the same, with a read buffer of 4 KiB", Command::new(&tungstenite).arg("4096")),
            start("npm ws", &mut node),
            start("Python websockets", Command::new(python).arg(of("benches/websocket/server.py"))),
        ]);
    }
    servers.into_iter().flatten().collect()
}

struct Client {
    stream: TcpStream,
}

impl Client {
    /// Returns as well whether messages may be compressed.
    fn open(addr: SocketAddr, path: &str, deflate: bool) -> (Self, bool) {
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut client = Client { stream };
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            if deflate { offer } else { "" }
        );
        client.send(request.as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("an answer").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        (client, head.contains("permessage-deflate"))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it reads");
    }

    /// Reads one frame, which is all that waits. Returns its first byte.
    fn frame(&mut self, buf: &mut [u8]) -> u8 {
        let mut n = 0;
        loop {
            let read = self.stream.read(&mut buf[n..]).expect("an answer");
            assert!(read > 0, "the server has closed");
            n += read;
            let whole = match (n, buf[1]) {
                (0..2, _) | (2..4, 126) | (2..10, 127) => continue,
                (_, 126) => 4 + usize::from(u16::from_be_bytes([buf[2], buf[3]])),
                (_, len) => 2 + usize::from(len),
            };
            assert!(n <= whole, "more than one frame");
            if n == whole {
                return buf[0];
            }
        }
    }
}

/// A text of this many bytes, such as servers send.
fn text(len: usize) -> Vec<u8> {
    use std::fmt::Write as _;

    let mut text = String::new();
    let mut n = 1_u64;
    while text.len() < len {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, price) = (n >> 40, n >> 50);
        let _ = write!(text, "{{\"id\":{id},\"price\":{price},\"side\":\"sell\"}},");
    }
    text.into_bytes()[..len].to_vec()
}

/// A text as a client sends it, compressed or not.
fn frame(text: &[u8], deflate: bool) -> Vec<u8> {
    let mut payload = text.to_vec();
    if deflate {
        let mut packed = Vec::with_capacity(text.len() + 100);
        let mut compress = Compress::new(Compression::default(), false);
        compress.compress_vec(text, &mut packed, FlushCompress::Sync).expect("it takes all");
        packed.truncate(packed.len() - 4);
        payload = packed;
    }
    let mut frame = vec![if deflate { 0xC1 } else { 0x81 }];
    if let Ok(len @ 0..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | len);
    } else {
        let len = u16::try_from(payload.len()).expect("not that long");
        frame.push(0x80 | 0x7E);
        frame.extend_from_slice(&len.to_be_bytes());
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

struct Scenario {
    name: &'static str,
    path: &'static str,
    clients: usize,
    bytes: usize,
    deflate: bool,
    /// How often, in one slice, each client says something; of all, one does.
    times: usize,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "echo, 64 clients of 64 B",
        path: "/",
        clients: 64,
        bytes: 64,
        deflate: false,
        times: 20,
    },
    Scenario {
        name: "echo, 64 clients of 16 KiB",
        path: "/",
        clients: 64,
        bytes: 16 << 10,
        deflate: false,
        times: 5,
    },
    Scenario {
        name: "the same, compressed",
        path: "/",
        clients: 64,
        bytes: 16 << 10,
        deflate: true,
        times: 2,
    },
    Scenario {
        name: "64 B to 1000, for each",
        path: "/all",
        clients: 1000,
        bytes: 64,
        deflate: false,
        times: 10,
    },
    Scenario {
        name: "2 KiB to 1000, for each",
        path: "/all",
        clients: 1000,
        bytes: 2 << 10,
        deflate: false,
        times: 10,
    },
    Scenario {
        name: "the same, compressed",
        path: "/all",
        clients: 1000,
        bytes: 2 << 10,
        deflate: true,
        times: 5,
    },
];

impl Scenario {
    /// Nanoseconds of CPU time of the server for each message that it sends.
    fn slice(&self, server: &Server, clients: &mut [Client], buf: &mut [u8], times: usize) -> f64 {
        let message = frame(&text(self.bytes), self.deflate);
        let before = server.cpu_time().expect("it runs");
        for _ in 0..times {
            let talkers = if self.path == "/all" { 1 } else { clients.len() };
            for client in &mut clients[..talkers] {
                client.send(&message);
            }
            for client in &mut *clients {
                let first = client.frame(buf);
                assert_eq!(first & 0x40 != 0, self.deflate, "{}: {first:#x}", server.name);
            }
        }
        let spent = server.cpu_time().expect("it runs").saturating_sub(before);
        spent.as_secs_f64() * 1e9 / (times * clients.len()) as f64
    }

    fn run(&self, servers: &[Server], is_test: bool) {
        let mut buf = vec![0; 128 << 10];
        let mut all = Vec::new();
        for server in servers {
            let open = |_| Client::open(server.addr, self.path, self.deflate);
            let (clients, can): (Vec<_>, BTreeSet<_>) = (0..self.clients).map(open).unzip();
            if !can.contains(&!self.deflate) {
                all.push((server, clients, Vec::new()));
            }
        }
        // The first one warms up.
        for round in 0..if is_test { 1 } else { 1 + ROUNDS } {
            for (server, clients, costs) in &mut all {
                let times = if is_test { 1 } else { self.times };
                let cost = self.slice(server, clients, &mut buf, times);
                if round > 0 || is_test {
                    costs.push(cost);
                }
            }
        }
        let ours = all[0].2.clone();
        for (server, _, costs) in all {
            let ratios: Vec<_> =
                costs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect();
            let (low, ratio, high) = quartiles(ratios);
            let (_, cost, _) = quartiles(costs);
            let row = format!(
                "| {} | {} | {:.2} us | {ratio:.2} ({low:.2} to {high:.2}) |",
                self.name,
                server.name,
                cost / 1000.0
            );
            let _ = writeln!(io::stdout(), "{row}");
        }
    }
}

fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
    (at(1), at(2), at(3))
}

/// Connections that have each said something, and been answered.
fn idle(servers: &[Server]) {
    let mut buf = vec![0; 128 << 10];
    let message = frame(&text(64), false);
    for server in servers {
        let mut warm = Client::open(server.addr, "/", false).0;
        warm.send(&message);
        warm.frame(&mut buf);
        let before = server.resident().expect("it runs");
        let clients: Vec<_> = (0..IDLE)
            .map(|_| {
                let mut client = Client::open(server.addr, "/", false).0;
                client.send(&message);
                client.frame(&mut buf);
                client
            })
            .collect();
        let each = server.resident().expect("it runs").saturating_sub(before) / IDLE as u64;
        let _ = writeln!(io::stdout(), "| {} | {each} bytes |", server.name);
        drop(clients);
    }
}

fn main() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let has = |word: &str| std::env::args().any(|argument| argument == word);
    if has("serve") {
        return serve();
    }
    let is_test = has("--test");
    let servers = servers(is_test);
    if has("idle") {
        idle(&servers);
        return Ok(());
    }
    for scenario in &SCENARIOS {
        scenario.run(&servers, is_test);
    }
    Ok(())
}
