//! CPU time and rate, row by row: this crate, raw mio and tokio on one thread, each over a loop on
//! epoll by hand.
//!
//! ```text
//! cargo bench --bench rows                     # 12 rounds of all rows; some ten minutes
//! cargo bench --bench rows -- --rounds 25 'pipelined'
//! ```
//!
//! Each server is a process of its own. A round starts all of them, the one on epoll twice, once as
//! a control, and drives them by turns in short slices, so that whatever else the machine does
//! meets all. CPU time is the server's, as the scheduler counts it; the rate has the clients' work
//! in it. What counts is the median of the rounds' ratios to the first on epoll, and the control's
//! spread says what a ratio is worth. Less CPU time is better, and more rate.
//!
//! - `epoll`: the shortest server that serves all: edges, one buffer, no queue but for what the
//!   kernel does not take;
//! - `raw_mio`: `examples/raw_mio.rs`, the very text;
//! - `tokio`: its runtime of one thread, a task for each connection with a read buffer as large as
//!   ours (small for churn).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use clap::Parser;
use rustix::event::epoll;
use slab::Slab;
use wouldblock::{Reactor, handler_fn};

use clients::{Clients, raise_descriptor_limit, say, visit};
use process::{Cost, Program, Ratios, Server, Spread};

mod clients;
mod process;
#[path = "../examples/raw_mio.rs"]
#[allow(dead_code)] // A program, of which this bench runs the server and not `main`.
mod raw_mio;
mod tokio_echo;

const KIB: usize = 1024;
const READ_BUFFER: usize = 256 * KIB;
const PAGE: usize = 4 * KIB;

/// Each round starts with the next of them.
const SERVERS: [&str; 5] = ["epoll", "epoll again", "ours", "raw_mio", "tokio"];

/// A row: how many clients exchange what.
struct Row {
    name: &'static str,
    /// Clients; none for a row of visits, each of which connects, has one echo and closes.
    clients: usize,
    /// Bytes that each client sends in an exchange.
    bytes: usize,
    /// Messages in them.
    messages: usize,
    /// Exchanges in a slice.
    exchanges: usize,
}

const ROWS: [Row; 7] = [
    Row { name: "1 client of 64 B", clients: 1, bytes: 64, messages: 1, exchanges: 2000 },
    Row { name: "64 clients of 64 B", clients: 64, bytes: 64, messages: 1, exchanges: 100 },
    Row { name: "1000 clients of 64 B", clients: 1000, bytes: 64, messages: 1, exchanges: 6 },
    Row { name: "64 clients of 16 KiB", clients: 64, bytes: 16 * KIB, messages: 1, exchanges: 40 },
    Row {
        name: "64 clients, pipelined 16 x 64 B",
        clients: 64,
        bytes: KIB,
        messages: 16,
        exchanges: 80,
    },
    Row { name: "2 clients of 1 MiB", clients: 2, bytes: KIB * KIB, messages: 1, exchanges: 30 },
    Row { name: "churn", clients: 0, bytes: 64, messages: 1, exchanges: 1000 },
];

/// Compares echo servers, row by row.
#[derive(Parser)]
struct Args {
    /// A part of a row's name: only such rows.
    row: Option<String>,
    /// Rounds of each row.
    #[arg(long, value_name = "N", default_value_t = 12)]
    rounds: usize,
    /// Only see whether it runs; so does the lack of --bench, which cargo bench passes.
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
    /// Be this server.
    #[arg(long, hide = true)]
    serve: Option<String>,
    #[arg(long, hide = true, default_value = "127.0.0.1:0")]
    listen: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.serve {
        Some(name) => serve(name, &args.listen),
        None => compare(&args),
    };
    clients::end("rows", done)
}

fn compare(args: &Args) -> io::Result<()> {
    let smoke = args.test || !args.bench;
    let descriptors = raise_descriptor_limit();
    let rounds = if smoke { 1 } else { args.rounds.max(1) };
    for row in &ROWS {
        if args.row.as_ref().is_some_and(|part| !row.name.contains(part.as_str())) {
            continue;
        }
        let needed = (SERVERS.len() * row.clients + 64) as u64;
        if needed > descriptors {
            say(format_args!("skipped {}: {needed} descriptors needed", row.name));
            continue;
        }
        measure(row, rounds, smoke)?;
    }
    Ok(())
}

fn measure(row: &Row, rounds: usize, smoke: bool) -> io::Result<()> {
    let (slices, exchanges) = if smoke { (1, 1) } else { (10, row.exchanges) };
    let own = std::env::current_exe()?;
    let message: Vec<u8> = (0..=250).cycle().take(row.bytes).collect();
    let mut ratios = Ratios::default();
    let mut nanos = Vec::new();
    for round in 0..rounds {
        let mut started = Vec::new();
        for place in 0..SERVERS.len() {
            let which = (round + place) % SERVERS.len();
            let mut name = SERVERS[which].to_owned();
            if row.clients == 0 {
                name.push_str(", churn");
            }
            let args = vec!["--serve".into(), name.clone()];
            let server = Server::start(&Program { name, path: own.clone(), args }, &[])?;
            let mut clients = Clients::connect(server.addr, row.clients, row.bytes)?;
            clients.exchange()?;
            started.push((which, server, clients));
        }
        let mut costs = [Cost::default(); SERVERS.len()];
        for slice in 0..slices {
            for place in 0..SERVERS.len() {
                let (which, server, clients) = &mut started[(slice + place) % SERVERS.len()];
                server.measure(&mut costs[*which], || {
                    (0..exchanges).try_for_each(|_| match row.clients {
                        0 => visit(server.addr, &message),
                        _ => clients.exchange(),
                    })
                })?;
            }
        }
        ratios.add(costs);
        let messages = slices * exchanges * row.clients.max(1) * row.messages;
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        nanos.push(costs[0].cpu.as_secs_f64() * 1e9 / f64::from(messages));
    }
    let each = Spread::of(&mut nanos).median;
    say(format_args!("{}, {rounds} rounds; epoll: {each:.0} ns of CPU a message", row.name));
    say(ratios.text(SERVERS));
    Ok(())
}

fn serve(name: &str, listen: &str) -> io::Result<()> {
    raise_descriptor_limit();
    let listener = TcpListener::from(raw_mio::bind(listen)?);
    say(format_args!("listening on {}", listener.local_addr()?));
    match name.split(',').next().unwrap_or_default() {
        "ours" => {
            let mut reactor = Reactor::new(handler_fn(|conn, input| {
                conn.send(input.take_all());
                Ok(())
            }))?;
            reactor.listen(listener)?;
            reactor.run()
        }
        "raw_mio" => match raw_mio::serve(mio::net::TcpListener::from_std(listener))? {},
        // A large buffer for each visitor would be all that is measured of it.
        "tokio" => {
            tokio_echo::serve(&listener, if name.contains("churn") { 4096 } else { READ_BUFFER })
        }
        _ => epoll_echo(&listener),
    }
}

/// A client of the server on epoll.
struct Client {
    stream: TcpStream,
    /// What the kernel did not take. While there is any, nothing is read.
    unsent: Vec<u8>,
}

/// Serves by epoll(7) alone.
fn epoll_echo(listener: &TcpListener) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(&poll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut clients: Slab<Client> = Slab::new();
    let mut events = Vec::with_capacity(1024);
    // On a page of its own: the kernel copies to an unaligned destination far slower.
    let mut memory = vec![0; READ_BUFFER + PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let buf = &mut memory[start..start + READ_BUFFER];
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                while let Ok((stream, _peer)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let entry = clients.vacant_entry();
                    let data = epoll::EventData::new_u64(entry.key() as u64);
                    epoll::add(&poll, &stream, data, edges)?;
                    entry.insert(Client { stream, unsent: Vec::new() });
                }
                continue;
            }
            let key = usize::try_from(token).expect("a key of the slab");
            if clients.get_mut(key).is_some_and(|client| client.serve(buf).is_err()) {
                clients.remove(key);
            }
        }
    }
}

impl Client {
    /// Sends and reads until the kernel has nothing more, or takes no more. An error is the peer's end.
    fn serve(&mut self, buf: &mut [u8]) -> io::Result<()> {
        loop {
            if !self.unsent.is_empty() {
                let sent = offer(&mut self.stream, &self.unsent)?;
                self.unsent.drain(..sent);
                if !self.unsent.is_empty() {
                    return Ok(());
                }
            }
            let n = match self.stream.read(buf) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let sent = offer(&mut self.stream, &buf[..n])?;
            self.unsent.extend_from_slice(&buf[sent..n]);
            // Less than a whole buffer was all there is, epoll(7).
            if self.unsent.is_empty() && n < buf.len() {
                return Ok(());
            }
        }
    }
}

fn offer(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}
