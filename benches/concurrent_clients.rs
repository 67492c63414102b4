//! Many clients at once: this crate beside a loop by hand, tokio, and a server that blocks.
//!
//! Every server runs on a thread of its own, and the same clients (one thread, one poll loop) drive
//! all of them. One iteration is one round, so the time is the round's, and the throughput counts
//! messages (for bulk, bytes). What the time cannot show, since the clients' work is in it,
//! `compare.rs` does: the CPU time of the server alone.
//!
//! Rows: echo with 1, 64 and 1000 clients, where every client sends its message and receives the
//! whole echo; the same pipelined, 16 messages in one write; bulk, 1 MiB there and back; churn, a
//! client that connects, has one echo and closes (by a reset, which leaves no port behind); and
//! broadcast, where one client's message goes to all 1000.
//!
//! - `wouldblock`: the README's server;
//! - `raw_mio`: `examples/raw_mio.rs`, the very text, with the same read buffer and the same
//!   short-read rule; it only echoes, so it is not in the broadcast;
//! - `tokio`: its runtime of one thread, a task for each connection with a read buffer as large as
//!   ours (small for churn); its broadcast goes by its own channel, to a task for each receiver;
//! - `blocking`: accept, then read and write until the end, one client at a time; so with one
//!   client only.
//!
//! A row that does not fit the descriptor limit is skipped with a printed line. `cargo bench --
//! --test` runs each once. Reports: `target/criterion/report/index.html`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;
use wouldblock::{Conn, Handler, Input, Origin, Reactor, handler_fn};

use clients::{Clients, GREETING, raise_descriptor_limit, say, visit};

mod clients;
#[path = "../examples/raw_mio.rs"]
#[allow(dead_code)] // A program, of which this bench runs the server and not `main`.
mod raw_mio;
mod tokio_echo;

/// Echo: clients, messages that each sends at once, and bytes of each.
const ROWS: [(usize, usize, usize); 6] =
    [(1, 1, 64), (64, 1, 64), (1000, 1, 64), (64, 16, 64), (64, 1, 16 * 1024), (1, 1, MIB)];

const MIB: usize = 1024 * 1024;

/// Clients that receive a broadcast; one of them sent it.
const RECEIVERS: usize = 1000;

/// Descriptors beside those of the connections: polls, listeners, what the process came with.
const SPARE: u64 = 64;

/// A server, which serves until it fails.
type Serve = fn(&TcpListener) -> io::Result<()>;

/// What to call it, the server, and how many clients it can serve at once.
const SERVERS: [(&str, Serve, usize); 4] = [
    ("wouldblock", wouldblock, usize::MAX),
    ("raw_mio", raw_mio, usize::MAX),
    ("tokio", |listener| tokio_echo::serve(listener, 256 * 1024), usize::MAX),
    ("blocking", blocking, 1),
];

/// The same for churn. A buffer of 256 KiB for each visitor would be all that tokio's row measures.
const CHURNED: [(&str, Serve); 4] = [
    ("wouldblock", wouldblock),
    ("raw_mio", raw_mio),
    ("tokio", |listener| tokio_echo::serve(listener, 4096)),
    ("blocking", blocking),
];

/// The same for broadcast.
const BROADCASTERS: [(&str, Serve); 2] =
    [("wouldblock", wouldblock_broadcast), ("tokio", tokio_broadcast)];

fn main() -> ExitCode {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let done = bench_all(&mut criterion).map(|()| criterion.final_summary());
    clients::end("concurrent_clients", done)
}

fn bench_all(criterion: &mut Criterion) -> io::Result<()> {
    let descriptors = raise_descriptor_limit();
    for (count, depth, size) in ROWS {
        let row = match (depth, size) {
            (1, MIB) => format!("bulk, {count} client of 1 MiB"),
            (1, _) => format!("{count} clients of {size} B"),
            _ => format!("{count} clients of {depth} x {size} B"),
        };
        if !fits(&row, count, descriptors) {
            continue;
        }
        let mut group = criterion.benchmark_group(row);
        group.throughput(match size {
            MIB => Throughput::Bytes(size as u64),
            _ => Throughput::Elements((count * depth) as u64),
        });
        for (name, serve, at_most) in SERVERS {
            if count <= at_most {
                let mut clients = Clients::connect(start(name, serve)?, count, depth * size)?;
                bench(&mut group, name, || clients.exchange())?;
            }
        }
        group.finish();
    }

    let mut group = criterion.benchmark_group("churn, 1 client at a time");
    group.throughput(Throughput::Elements(1));
    for (name, serve) in CHURNED {
        let addr = start(name, serve)?;
        bench(&mut group, name, || visit(addr, &[7; 64]))?;
    }
    group.finish();

    let row = format!("broadcast, 64 B to {RECEIVERS} clients");
    if fits(&row, RECEIVERS, descriptors) {
        let mut group = criterion.benchmark_group(row);
        group.throughput(Throughput::Elements(RECEIVERS as u64));
        for (name, serve) in BROADCASTERS {
            let mut clients = Clients::connect(start(name, serve)?, RECEIVERS, 64)?;
            // A broadcast reaches whoever was accepted: begin when all were.
            clients.receive_greeting()?;
            bench(&mut group, name, || clients.broadcast())?;
        }
        group.finish();
    }
    Ok(())
}

/// Whether both ends of `count` connections fit into the descriptors; if not, it says so.
fn fits(row: &str, count: usize, descriptors: u64) -> bool {
    let needed = 2 * count as u64 + SPARE;
    if needed > descriptors {
        say(format_args!("skipped {row}: {needed} descriptors needed, {descriptors} allowed"));
    }
    needed <= descriptors
}

/// Measures one server's rounds, of which the first that fails is the last.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut round: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            if outcome.is_ok() {
                outcome = round();
            }
        });
    });
    outcome.map_err(|error| named(name, &error))
}

/// Starts a server on a thread of its own, where it stays, idle, when its row is done.
fn start(name: &'static str, serve: Serve) -> io::Result<SocketAddr> {
    let listener = TcpListener::from(raw_mio::bind("127.0.0.1:0")?);
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        if let Err(error) = serve(&listener) {
            eprintln!("{name}: {error}");
        }
    });
    Ok(addr)
}

fn wouldblock(listener: &TcpListener) -> io::Result<()> {
    let mut reactor = Reactor::new(handler_fn(|conn, input| {
        conn.send(input.take_all());
        Ok(())
    }))?;
    reactor.listen(listener.try_clone()?)?;
    reactor.run()
}

fn raw_mio(listener: &TcpListener) -> io::Result<()> {
    match raw_mio::serve(mio::net::TcpListener::from_std(listener.try_clone()?))? {}
}

/// Greets each newcomer with 64 B, and sends on to everybody what anybody says.
fn wouldblock_broadcast(listener: &TcpListener) -> io::Result<()> {
    struct Broadcast;

    impl Handler for Broadcast {
        type Session = ();

        fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
            conn.send(GREETING);
            Ok(())
        }

        fn on_data(
            &mut self,
            conn: &mut Conn<'_>,
            _session: &mut (),
            input: &mut Input<'_>,
        ) -> io::Result<()> {
            let bytes = Bytes::copy_from_slice(input.take_all());
            conn.cx().broadcast(bytes);
            Ok(())
        }
    }

    let mut reactor = Reactor::new(Broadcast)?;
    reactor.listen(listener.try_clone()?)?;
    reactor.run()
}

/// As [`wouldblock_broadcast`].
fn tokio_broadcast(listener: &TcpListener) -> io::Result<()> {
    tokio_echo::runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let (said, _) = broadcast::channel::<Bytes>(1024);
        loop {
            let (mut stream, _peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut heard = said.subscribe();
            stream.write_all(&GREETING).await?;
            let (mut from, mut to) = stream.into_split();
            tokio::spawn(async move {
                while let Ok(bytes) = heard.recv().await {
                    if to.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            });
            let said = said.clone();
            tokio::spawn(async move {
                let mut buf = vec![0; 4096];
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    if said.send(Bytes::copy_from_slice(&buf[..n])).is_err() {
                        break;
                    }
                }
            });
        }
    })
}

fn blocking(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(false)?;
    let mut buf = vec![0; 256 * 1024];
    loop {
        let (mut stream, _peer) = listener.accept()?;
        // A client that ends with a reset ends its turn, not the server.
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..n]).is_err() {
                break;
            }
        }
    }
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}
