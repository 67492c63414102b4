//! What a message costs the server alone: `examples/echo` against `examples/raw_mio`, as processes.
//!
//! ```text
//! cargo build --release --examples && cargo bench --bench compare
//! ```
//!
//! runs all four comparisons; `cargo bench --bench compare -- cpu calls` only those named:
//!
//! - `cpu`: CPU time a message at 64 and 1000 clients of 64 B, as the scheduler counts it. Each
//!   round starts three servers: ours, the baseline, and the baseline once more as a control, and
//!   drives them by turns in short slices, so that whatever else the machine does meets all three.
//!   What counts is the median of the rounds' ratios; the control's spread says what a ratio is
//!   worth;
//! - `memory`: resident memory an idle connection at 10,000 of them;
//! - `calls`: system calls a message, by `strace -f -c`;
//! - `instructions`: user-space instructions a message, by `valgrind --tool=callgrind`, whose
//!   profile is kept for `callgrind_annotate`; the last row pipelines, 16 messages in one write.
//!   The server sleeps while the clients send, so each poll finds all of them. The counts do not
//!   depend on how fast or busy the machine is, so they are kept in a file:
//!   `-- instructions --check benches/instructions.txt` fails if ours grew by more than 5 % over
//!   it, `--keep` writes it anew.
//!
//! The last two run each server twice and take the difference, so that start and end cancel out;
//! without their tool they are skipped with a printed line. `--ours` and `--baseline` name other
//! commands to compare, for instance an older build; `--test` only sees whether it runs. The
//! clients are those of `concurrent_clients.rs`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use clients::{Clients, raise_descriptor_limit, say};
use process::{Program, Server, Spread, first_number, patiently};

mod clients;
mod process;

/// Bytes of a message.
const SIZE: usize = 64;

/// Idle connections whose memory is measured.
const IDLE: usize = 10_000;

/// Descriptors beside those of the connections.
const SPARE: u64 = 64;

/// Compares two echo servers: CPU time, system calls and instructions a message, memory.
#[derive(Parser)]
struct Args {
    /// What to compare; all if none is named.
    what: Vec<What>,
    /// Our server; it is given --listen.
    #[arg(long, value_name = "COMMAND")]
    ours: Option<String>,
    /// The server to compare it with.
    #[arg(long, value_name = "COMMAND")]
    baseline: Option<String>,
    /// Rounds of the CPU comparison.
    #[arg(long, value_name = "N", default_value_t = 25)]
    rounds: usize,
    /// Messages that each server answers in a round.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    messages: usize,
    /// Fail if our instructions grew by more than 5 % over those kept in this file.
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    check: Option<PathBuf>,
    /// Keep our instructions in this file.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Only see whether it runs; so does the lack of --bench, which cargo bench passes.
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Cpu,
    Memory,
    Calls,
    Instructions,
}

fn main() -> ExitCode {
    let args = Args::parse();
    clients::end("compare", run(&args))
}

fn run(args: &Args) -> io::Result<()> {
    let smoke = args.test || !args.bench;
    let descriptors = raise_descriptor_limit();
    let ours = Program::named(args.ours.as_deref(), "echo --quiet");
    let baseline = Program::named(args.baseline.as_deref(), "raw_mio");
    for program in [&ours, &baseline] {
        if args.ours.is_none() && args.baseline.is_none() && !program.path.exists() {
            let cure = "cargo build --release --examples";
            let missing = format!("no {}: {cure}", program.path.display());
            if smoke {
                say(format_args!("skipped: {missing}"));
                return Ok(());
            }
            return Err(io::Error::new(io::ErrorKind::NotFound, missing));
        }
    }
    let chosen = |what| match args.what[..] {
        // A quick look does without tools that the machine may not have, or not allow.
        [] => !smoke || matches!(what, What::Cpu | What::Memory),
        _ => args.what.contains(&what),
    };
    let (rounds, messages) = if smoke { (1, 2000) } else { (args.rounds.max(1), args.messages) };
    if chosen(What::Cpu) {
        for count in [64, 1000] {
            if fits("cpu", count, 3, descriptors) {
                compare_cpu(&ours, &baseline, count, rounds, messages)?;
            }
        }
    }
    if chosen(What::Memory) && fits("memory", IDLE, 1, descriptors) {
        for program in [&ours, &baseline] {
            measure_memory(program)?;
        }
    }
    if chosen(What::Calls) && installed("strace") {
        for program in [&ours, &baseline] {
            count_calls(program, messages / 5)?;
        }
    }
    let counts = chosen(What::Instructions) && installed("valgrind");
    if args.check.is_some() && !counts {
        return Err(io::Error::other("nothing was counted to check: name `instructions`"));
    }
    if counts {
        let counted = tabulate_instructions(&ours, &baseline, messages / 5)?;
        if let Some(file) = &args.keep {
            fs::write(file, kept_text(&counted)?)?;
        }
        if let Some(file) = &args.check {
            check_kept(&fs::read_to_string(file)?, &counted)?;
        }
    }
    Ok(())
}

/// Whether `servers` times `count` clients fit into the descriptors; if not, it says so.
fn fits(what: &str, count: usize, servers: u64, descriptors: u64) -> bool {
    let needed = servers * count as u64 + SPARE;
    if needed > descriptors {
        say(format_args!(
            "skipped {what}, {count} clients: {needed} descriptors needed, {descriptors} allowed"
        ));
    }
    needed <= descriptors
}

/// Whether the machine has a tool; if not, it says so.
fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        say(format_args!("skipped: no {tool} here"));
    }
    found
}

fn compare_cpu(
    ours: &Program,
    baseline: &Program,
    count: usize,
    rounds: usize,
    messages: usize,
) -> io::Result<()> {
    const SLICES: usize = 10;
    let exchanges = (messages / count / SLICES).max(1);
    let mut ratios = Vec::new();
    let mut controls = Vec::new();
    let mut nanos = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Started, connected and driven in an order that rotates: each is first in its turn.
        let mut started = Vec::new();
        for place in 0..3 {
            let which = (round + place) % 3;
            let server = Server::start(if which == 0 { ours } else { baseline }, &[])?;
            let mut clients = Clients::connect(server.addr, count, SIZE)?;
            clients.exchange()?;
            started.push((which, server, clients));
        }
        let mut spent = [Duration::ZERO; 3];
        for slice in 0..SLICES {
            for place in 0..3 {
                let (which, server, clients) = &mut started[(slice + place) % 3];
                let before = server.cpu_time()?;
                for _ in 0..exchanges {
                    clients.exchange()?;
                }
                spent[*which] += server.cpu_time()?.saturating_sub(before);
            }
        }
        let per_message = spent.map(|time| {
            let answered = u32::try_from(exchanges * SLICES * count).unwrap_or(u32::MAX);
            time.as_secs_f64() * 1e9 / f64::from(answered)
        });
        ratios.push(per_message[0] / per_message[1]);
        controls.push(per_message[2] / per_message[1]);
        for (all, one) in nanos.iter_mut().zip(per_message) {
            all.push(one);
        }
    }
    say(format_args!("cpu, {count} clients of {SIZE} B, {rounds} rounds:"));
    say(format_args!("  {:<28}{:>8.0} ns a message", ours.name, Spread::of(&mut nanos[0]).median));
    say(format_args!(
        "  {:<28}{:>8.0} ns a message",
        baseline.name,
        Spread::of(&mut nanos[1]).median
    ));
    say(format_args!("  {:<28}{}", "ratio", Spread::of(&mut ratios)));
    say(format_args!("  {:<28}{}", "control, baseline to itself", Spread::of(&mut controls)));
    Ok(())
}

fn measure_memory(program: &Program) -> io::Result<()> {
    let server = Server::start(program, &[])?;
    // One client comes and talks first: what the server needs to serve anybody is not counted.
    Clients::connect(server.addr, 1, SIZE)?.exchange()?;
    let before = server.resident()?;
    let mut clients = Clients::connect(server.addr, IDLE, SIZE)?;
    server.await_descriptors(IDLE)?;
    let silent = server.resident()?;
    clients.exchange()?;
    let talked = server.resident()?;
    let each = |now: u64| now.saturating_sub(before) / IDLE as u64;
    say(format_args!("memory, {IDLE} idle connections: {}", program.name));
    say(format_args!("  {:<28}{:>8} B each", "silent from the start", each(silent)));
    say(format_args!("  {:<28}{:>8} B each", "after a message each", each(talked)));
    Ok(())
}

fn count_calls(program: &Program, messages: usize) -> io::Result<()> {
    for count in [1, 64, 1000] {
        let report = scratch(&format!("strace.{}.{count}", program.name));
        let report_text = report.display().to_string();
        // -D makes the tracer the grandchild, so that the server's process id stays ours to signal.
        let tracer = ["strace", "-D", "-f", "-c", "-o", &report_text];
        let mut totals = Vec::new();
        let exchanges = (messages / count).max(1);
        for factor in [1, 2] {
            let _ = fs::remove_file(&report);
            run_under(program, &tracer, count, factor * exchanges)?;
            totals.push(await_calls(&report)?);
        }
        say(format_args!("calls, {count} clients of {SIZE} B: {}", program.name));
        let answered = exchanges * count;
        for (call, second) in &totals[1] {
            let first = totals[0].get(call).copied().unwrap_or(0);
            let each = ratio(second.saturating_sub(first), answered as u64);
            let always = ["epoll_ctl", "epoll_wait", "recvfrom", "sendto"].contains(&&**call);
            if always || each >= 0.001 {
                say(format_args!("  {call:<28}{each:>8.3} a message, {second} in all"));
            }
        }
    }
    Ok(())
}

/// Clients, and messages that each sends at once.
const MIXES: [(usize, usize); 4] = [(1, 1), (64, 1), (1000, 1), (64, 16)];

fn mix_name((count, depth): (usize, usize)) -> String {
    if count == 1 {
        "1 client".into()
    } else if depth == 1 {
        format!("{count} clients")
    } else {
        format!("{count} clients, {depth} at once")
    }
}

/// Instructions a message of one mix.
struct Counted {
    mix: String,
    ours: f64,
    baseline: f64,
}

impl Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.1} {:>8.1}  {}", self.ours, self.baseline, self.mix)
    }
}

/// Counts the instructions a message of both, and prints them.
fn tabulate_instructions(
    ours: &Program,
    baseline: &Program,
    messages: usize,
) -> io::Result<Vec<Counted>> {
    say(format_args!("instructions a message of {SIZE} B:"));
    say(format_args!("{:>8} {:>8}", ours.name, baseline.name));
    let mut table = Vec::new();
    for mix in MIXES {
        let counted = Counted {
            mix: mix_name(mix),
            ours: count_instructions(ours, mix, messages)?,
            baseline: count_instructions(baseline, mix, messages)?,
        };
        say(&counted);
        table.push(counted);
    }
    let profiles = scratch("callgrind.*");
    say(format_args!("profiles for callgrind_annotate: {}", profiles.display()));
    Ok(table)
}

fn count_instructions(
    program: &Program,
    (count, depth): (usize, usize),
    messages: usize,
) -> io::Result<f64> {
    let report = scratch(&format!("callgrind.{}.{count}x{depth}", program.name));
    let option = format!("--callgrind-out-file={}", report.display());
    let tool = ["valgrind", "--tool=callgrind", "--quiet", &option];
    let mut totals = Vec::new();
    // As many wake-ups at each depth: a deeper pipeline has more messages.
    let exchanges = (messages / count).max(1);
    for factor in [1, 2] {
        let mut server = Server::start(program, &tool)?;
        let mut clients = connect_at_once(&server, count, depth * SIZE)?;
        for _ in 0..factor * exchanges {
            exchange_at_once(&server, &mut clients)?;
        }
        server.terminate()?;
        totals.push(collected(&report)?);
    }
    Ok(ratio(totals[1].saturating_sub(totals[0]), (exchanges * count * depth) as u64))
}

/// Connects while the server sleeps, as far as its backlog has room for all.
fn connect_at_once(server: &Server, count: usize, size: usize) -> io::Result<Clients> {
    let backlog = first_number(&fs::read_to_string("/proc/sys/net/core/somaxconn")?);
    if count as u64 > backlog {
        return Clients::connect(server.addr, count, size);
    }
    server.stop()?;
    let clients = Clients::connect(server.addr, count, size);
    server.resume()?;
    clients
}

/// A round in which the server sleeps until every client has sent. Else it would find as many
/// messages a poll as the machine's other work happens to leave it, and count otherwise each time.
fn exchange_at_once(server: &Server, clients: &mut Clients) -> io::Result<()> {
    if clients.count() == 1 {
        return clients.exchange();
    }
    server.stop()?;
    clients.send()?;
    server.resume()?;
    clients.receive()
}

/// Which compiler made what was counted: another one counts differently.
fn compiler() -> io::Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let told = Command::new(rustc).arg("--version").output()?.stdout;
    Ok(String::from_utf8_lossy(&told).trim().to_owned())
}

/// What is kept in the file. Only ours are checked; the baseline's are there to be read.
fn kept_text(table: &[Counted]) -> io::Result<String> {
    let mut text = format!(
        "# Instructions a message of {SIZE} B. CI fails if ours (examples/echo) grow by more than 5 %.\n\
         # Renew, after a change that is worth them, or with another compiler:\n\
         #   cargo build --release --examples &&\n\
         #   cargo bench --bench compare -- instructions --keep benches/instructions.txt\n\
         # {}\n\
         #\n\
         #   ours  raw_mio\n",
        compiler()?
    );
    for counted in table {
        text += &counted.to_string();
        text.push('\n');
    }
    Ok(text)
}

/// Compares with what was kept; fails if any of ours grew by more than 5 %.
fn check_kept(kept: &str, table: &[Counted]) -> io::Result<()> {
    let compiler = compiler()?;
    if !kept.contains(&compiler) {
        say(format_args!("not checked: the kept numbers are not of {compiler}; renew them"));
        return Ok(());
    }
    let mut grown = Vec::new();
    for Counted { mix, ours, .. } in table {
        let line = kept.lines().find_map(|line| line.strip_suffix(&format!("  {mix}")));
        let Some(before) =
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        else {
            return Err(io::Error::other(format!("{mix}: no number is kept; renew them")));
        };
        if *ours > 1.05 * before {
            grown.push(format!("{mix}: {ours:.1}, kept are {before:.1}"));
        }
    }
    if !grown.is_empty() {
        let text = format!("instructions a message grew by more than 5 %: {}", grown.join("; "));
        return Err(io::Error::other(text));
    }
    say("none of ours grew by more than 5 % over the kept numbers");
    Ok(())
}

/// Runs a server under a tool while `count` clients make so many exchanges, and to its end.
fn run_under(program: &Program, tool: &[&str], count: usize, exchanges: usize) -> io::Result<()> {
    let mut server = Server::start(program, tool)?;
    let mut clients = Clients::connect(server.addr, count, SIZE)?;
    for _ in 0..exchanges {
        clients.exchange()?;
    }
    server.terminate()
}

/// What strace counted, by call. It writes after the server's end, so this waits for the last line.
fn await_calls(report: &Path) -> io::Result<BTreeMap<String, u64>> {
    let text = patiently("strace's report", || {
        let text = fs::read_to_string(report).unwrap_or_default();
        Ok(text.trim_end().ends_with("total").then_some(text))
    })?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        // "% time, seconds, usecs/call, calls, [errors,] syscall"
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, count, .., name] = words[..]
            && name != "total"
            && let Ok(count) = count.parse()
        {
            calls.insert(name.to_owned(), count);
        }
    }
    Ok(calls)
}

/// The instructions of a callgrind profile.
fn collected(report: &Path) -> io::Result<u64> {
    fs::read_to_string(report)?
        .lines()
        .find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("callgrind left no totals"))
}

fn scratch(file: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(file)
}

#[allow(clippy::cast_precision_loss)] // Counts far below 2^52.
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
