//! Several reactors: how connections are shared out among them, and what a second one brings.
//!
//! ```text
//! cargo bench --bench cores                 # all; some ten minutes
//! cargo bench --bench cores -- spread       # SO_REUSEPORT beside the hand-over by one acceptor
//! cargo bench --bench cores -- work         # echo over 1 and 2 reactors with 0, 5 and 50 µs of work, beside tokio
//! ```
//!
//! Each server is a process of its own. A round starts all of them, the first one twice, once as a
//! control, and drives them by turns in short slices, so that whatever else the machine does meets
//! all. What counts is the median of the rounds' ratios to the first, and the control's spread says
//! what a ratio is worth.
//!
//! The clients share the machine with the servers. On two cores that means that a second reactor
//! has at most the part of the second core that the clients leave: what is shown there is that it
//! brings what is left, and not how it scales.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use wouldblock::{Address, Conn, Handler, Input, Listen, Origin, Server as Reactors};

use clients::{Clients, raise_descriptor_limit, say, visit};
use process::{Cost, Program, Ratios, Server, Spread};

mod clients;
mod process;
mod tokio_echo;

const SIZE: usize = 64;
/// Clients that exchange messages, and threads that visit.
const CLIENTS: usize = 64;
const VISITORS: usize = 4;
/// A client asks which reactor it is at, and one keeps that busy.
const WHO: u8 = b'?';
const HOT: u8 = b'!';
const HOT_WORK: Duration = Duration::from_millis(2);

const WAYS: [&str; 4] = ["kernel", "kernel again", "round robin", "least loaded"];
const WORKERS: [&str; 5] =
    ["1 reactor", "1 reactor again", "2 reactors", "tokio, 1 worker", "tokio, 2 workers"];

/// Measures servers of several reactors.
#[derive(Parser)]
struct Args {
    /// What to measure; both if neither is named.
    what: Vec<What>,
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
    #[arg(long, hide = true, default_value_t = 0)]
    micros: u64,
    #[arg(long, hide = true)]
    unix: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "127.0.0.1:0")]
    listen: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Spread,
    Work,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.serve {
        Some(name) => serve(name, &args),
        None => measure(&args),
    };
    clients::end("cores", done)
}

fn measure(args: &Args) -> io::Result<()> {
    let smoke = args.test || !args.bench;
    raise_descriptor_limit();
    let rounds = if smoke { 1 } else { args.rounds.max(1) };
    let cores = thread::available_parallelism()?;
    say(format_args!("{cores} cores, which the clients share; {rounds} rounds"));
    let wants = |what| args.what.is_empty() || args.what.contains(&what);
    if wants(What::Spread) {
        for unix in [false, true] {
            visits(rounds, if smoke { 10 } else { 500 }, unix)?;
            evenness(rounds, unix)?;
        }
        for hot in [0, 1] {
            tail(rounds, if smoke { 10 } else { 400 }, hot)?;
        }
    }
    if wants(What::Work) {
        for micros in [0, 5, 50] {
            work(rounds, if smoke { 1 } else { 40 }, micros)?;
        }
    }
    Ok(())
}

// --- Clients ----------------------------------------------------------------------------------

fn start(name: &str, micros: u64, unix: Option<&Path>) -> io::Result<Server> {
    let mut args = vec!["--serve".into(), name.into(), "--micros".into(), micros.to_string()];
    if let Some(path) = unix {
        args.extend(["--unix".into(), path.to_string_lossy().into_owned()]);
    }
    Server::start(&Program { name: name.into(), path: std::env::current_exe()?, args }, &[])
}

/// Ends a server, which is killed and so leaves its path behind.
fn end(server: Server, path: Option<PathBuf>) {
    drop(server);
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
}

fn socket_path(round: usize, which: usize) -> PathBuf {
    std::env::temp_dir().join(format!("wouldblock-{}-{round}-{which}", std::process::id()))
}

/// A connect, an echo and a close, again and again, by several threads at a time.
fn visits(rounds: usize, each: usize, unix: bool) -> io::Result<()> {
    let mut ratios = Ratios::default();
    let mut rates = Vec::new();
    for round in 0..rounds {
        let mut started = Vec::new();
        for (which, name) in WAYS.iter().enumerate() {
            let path = unix.then(|| socket_path(round, which));
            let server = start(name, 0, path.as_deref())?;
            started.push((server, path));
        }
        let mut costs = [Cost::default(); WAYS.len()];
        for slice in 0..8 {
            for place in 0..WAYS.len() {
                let which = (round + slice + place) % WAYS.len();
                let (server, path) = &started[which];
                server.measure(&mut costs[which], || {
                    visit_by_many(server.addr, path.as_deref(), each)
                })?;
            }
        }
        for (server, path) in started {
            end(server, path);
        }
        ratios.add(costs);
        #[allow(clippy::cast_precision_loss, reason = "three digits are told")]
        rates.push((8 * each * VISITORS) as f64 / costs[0].wall.as_secs_f64());
    }
    let kind = if unix { "Unix" } else { "TCP" };
    let rate = Spread::of(&mut rates).median;
    say(format_args!("{kind}: short connections; by the kernel {rate:.0} a second"));
    say(ratios.text(WAYS));
    Ok(())
}

fn visit_by_many(addr: SocketAddr, path: Option<&Path>, each: usize) -> io::Result<()> {
    let message = [7; SIZE];
    thread::scope(|scope| {
        let visitors: Vec<_> = (0..VISITORS)
            .map(|_| {
                scope.spawn(|| {
                    (0..each).try_for_each(|_| match path {
                        None => visit(addr, &message),
                        Some(path) => visit_unix(path, &message),
                    })
                })
            })
            .collect();
        visitors.into_iter().try_for_each(|it| it.join().expect("no visitor panics"))
    })
}

fn visit_unix(path: &Path, message: &[u8]) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(message)?;
    let mut reply = [0; SIZE];
    stream.read_exact(&mut reply)?;
    if reply == message { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// How many of the clients one of two reactors has, where they come one after the other: the larger part.
fn evenness(rounds: usize, unix: bool) -> io::Result<()> {
    let kind = if unix { "Unix" } else { "TCP" };
    say(format_args!(
        "{kind}: the larger part of 8 and of {CLIENTS} connections, over two reactors"
    ));
    for (which, name) in WAYS.iter().enumerate() {
        let path = unix.then(|| socket_path(0, which));
        let server = start(name, 0, path.as_deref())?;
        let mut parts: [Vec<f64>; 2] = Default::default();
        for _ in 0..rounds {
            for (count, parts) in [8, CLIENTS].into_iter().zip(&mut parts) {
                let mut of = [0_u32; 2];
                let clients = (0..count).map(|_| ask_who(server.addr, path.as_deref()));
                let clients = clients.collect::<io::Result<Vec<_>>>()?;
                for (who, _) in &clients {
                    of[usize::from(*who)] += 1;
                }
                parts.push(f64::from(*of.iter().max().expect("of two")) / f64::from(of[0] + of[1]));
            }
        }
        end(server, path);
        let [few, many] = &mut parts;
        let (few, many) = (Spread::of(few), Spread::of(many));
        say(format_args!("  {name:<17} of 8: {}   of {CLIENTS}: {}", few.middle(), many.middle()));
    }
    Ok(())
}

/// A stream of either kind.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// Which reactor a new connection is at.
fn ask_who(addr: SocketAddr, path: Option<&Path>) -> io::Result<(u8, Box<dyn Stream>)> {
    let mut stream: Box<dyn Stream> = match path {
        None => Box::new(TcpStream::connect(addr)?),
        Some(path) => Box::new(UnixStream::connect(path)?),
    };
    stream.write_all(&[WHO])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok((answer[0], stream))
}

/// How long a visit takes while one client keeps a reactor busy in callbacks of 2 ms, half of the time.
fn tail(rounds: usize, each: usize, hot: u8) -> io::Result<()> {
    let mut times: [[Vec<f64>; 2]; WAYS.len()] = Default::default();
    for round in 0..rounds {
        for place in 0..WAYS.len() {
            let which = (round + place) % WAYS.len();
            let server = start(WAYS[which], 0, None)?;
            let (_, mut client) = loop {
                let found = ask_who(server.addr, None)?;
                if found.0 == hot {
                    break found;
                }
            };
            let heat = thread::spawn(move || {
                // Until the server is gone.
                while client.write_all(&[HOT]).is_ok() && client.read_exact(&mut [0]).is_ok() {
                    thread::sleep(HOT_WORK);
                }
            });
            let mut took = Vec::new();
            for _ in 0..each {
                let begun = Instant::now();
                visit(server.addr, &[7; SIZE])?;
                took.push(begun.elapsed().as_secs_f64() * 1e3);
                thread::sleep(Duration::from_micros(200));
            }
            drop(server);
            heat.join().expect("it does not panic");
            took.sort_by(f64::total_cmp);
            times[which][0].push(took[took.len() / 2]);
            times[which][1].push(took[took.len() * 99 / 100]);
        }
    }
    let whose = if hot == 0 { "the one that accepts for all" } else { "the other one" };
    say(format_args!("TCP: a visit in ms while a reactor is half busy, {whose}"));
    for (name, [half, most]) in WAYS.iter().zip(&mut times) {
        let (half, most) = (Spread::of(half), Spread::of(most));
        say(format_args!("  {name:<17} median {}   99th of 100 {}", half.middle(), most.middle()));
    }
    Ok(())
}

/// Messages of 64 clients, each with so much work in its callback.
fn work(rounds: usize, exchanges: usize, micros: u64) -> io::Result<()> {
    let mut ratios = Ratios::default();
    let mut rates = Vec::new();
    for round in 0..rounds {
        let mut started = Vec::new();
        for name in WORKERS {
            let server = start(name, micros, None)?;
            let mut clients = Clients::connect(server.addr, CLIENTS, SIZE)?;
            clients.exchange()?;
            started.push((server, clients));
        }
        let mut costs = [Cost::default(); WORKERS.len()];
        for slice in 0..10 {
            for place in 0..WORKERS.len() {
                let which = (round + slice + place) % WORKERS.len();
                let (server, clients) = &mut started[which];
                server.measure(&mut costs[which], || {
                    (0..exchanges).try_for_each(|_| clients.exchange())
                })?;
            }
        }
        ratios.add(costs);
        #[allow(clippy::cast_precision_loss, reason = "three digits are told")]
        rates.push((10 * exchanges * CLIENTS) as f64 / costs[0].wall.as_secs_f64());
    }
    let rate = Spread::of(&mut rates).median;
    say(format_args!(
        "{CLIENTS} clients of {SIZE} B, {micros} µs of work; 1 reactor: {rate:.0} a second"
    ));
    say(ratios.text(WORKERS));
    Ok(())
}

// --- Servers ----------------------------------------------------------------------------------

/// Keeps the processor for so long.
fn toil(time: Duration) {
    if time.is_zero() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

struct Echo {
    number: u8,
    work: Duration,
}

impl Handler for Echo {
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        (): &mut (),
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        match input.take_all() {
            [WHO] => conn.send([self.number]),
            [HOT] => {
                toil(HOT_WORK);
                conn.send([HOT]);
            }
            message => {
                toil(self.work);
                conn.send(message);
            }
        }
        Ok(())
    }
}

fn serve(name: &str, args: &Args) -> io::Result<()> {
    raise_descriptor_limit();
    let work = Duration::from_micros(args.micros);
    let count = if name.contains('1') { 1 } else { 2 };
    if name.starts_with("tokio") {
        return serve_tokio(&args.listen, count, work);
    }
    let mut server = Reactors::new(count, |number, _| {
        Ok(Echo { number: u8::try_from(number).expect("one of two"), work })
    })?;
    let by = match name {
        "round robin" => wouldblock::Spread::RoundRobin,
        "least loaded" => wouldblock::Spread::LeastLoaded,
        _ => wouldblock::Spread::Kernel,
    };
    let address = server.listen(Listen::from(args.listen.as_str()).spread(by))?;
    if let Some(path) = &args.unix {
        server.listen(Listen::from(Address::unix(path)).spread(by))?;
    }
    say(format_args!("listening on {address}"));
    server.run()
}

fn serve_tokio(listen: &str, workers: usize, work: Duration) -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        say(format_args!("listening on {}", listener.local_addr()?));
        // In a task, as the connections are: the thread of `block_on` is none of the workers.
        tokio::spawn(tokio_echo::accept(listener, 16 << 10, move || toil(work)))
            .await
            .map_err(io::Error::other)?
    })
}
