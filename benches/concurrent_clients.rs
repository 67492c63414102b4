//! Echo with 1, 64 and 1000 clients at once: this crate beside a loop by hand and a server that
//! blocks.
//!
//! Every server runs on a thread of its own, and the same clients (one thread, one poll loop) drive
//! all of them. One iteration is one round: every client sends its message and receives the whole
//! echo, so the time is the round's, and the throughput counts messages. What the time cannot show,
//! since the clients' work is in it, `compare.rs` does: the CPU time of the server alone.
//!
//! - `wouldblock`: the README's server;
//! - `raw_mio`: `examples/raw_mio.rs`, the very text, with the same read buffer and the same
//!   short-read rule;
//! - `blocking`: accept, then read and write until the end, one client at a time; so with one
//!   client only.
//!
//! A row that does not fit the descriptor limit is skipped with a printed line. `cargo bench --
//! --test` runs each once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use wouldblock::{Reactor, handler_fn};

use clients::{Clients, raise_descriptor_limit, say};

mod clients;
#[path = "../examples/raw_mio.rs"]
#[allow(dead_code)] // A program, of which this bench runs the server and not `main`.
mod raw_mio;

/// Clients and the bytes of a message.
const ROWS: [(usize, usize); 4] = [(1, 64), (64, 64), (1000, 64), (64, 16 * 1024)];

/// Descriptors beside those of the connections: polls, listeners, what the process came with.
const SPARE: u64 = 64;

/// A server, which serves until it fails.
type Serve = fn(&TcpListener) -> io::Result<()>;

/// What to call it, the server, and how many clients it can serve at once.
const SERVERS: [(&str, Serve, usize); 3] = [
    ("wouldblock", wouldblock, usize::MAX),
    ("raw_mio", raw_mio, usize::MAX),
    ("blocking", blocking, 1),
];

fn main() -> ExitCode {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    match bench_all(&mut criterion) {
        Ok(()) => {
            criterion.final_summary();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("concurrent_clients: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench_all(criterion: &mut Criterion) -> io::Result<()> {
    let descriptors = raise_descriptor_limit();
    for (count, size) in ROWS {
        // Both ends of every connection are ours.
        let needed = 2 * count as u64 + SPARE;
        if needed > descriptors {
            let row = format!("{count} clients of {size} B");
            say(format_args!("skipped {row}: {needed} descriptors needed, {descriptors} allowed"));
            continue;
        }
        let mut group = criterion.benchmark_group(format!("{count} clients of {size} B"));
        group.throughput(Throughput::Elements(count as u64));
        for (name, serve, at_most) in SERVERS {
            if count > at_most {
                continue;
            }
            let mut clients = Clients::connect(start(name, serve)?, count, size)?;
            let mut outcome = Ok(());
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    if outcome.is_ok() {
                        outcome = clients.exchange();
                    }
                });
            });
            outcome.map_err(|error| named(name, &error))?;
        }
        group.finish();
    }
    Ok(())
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
