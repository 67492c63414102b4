//! Runs the schedules in simulated worlds: as many seeds as one likes.
//!
//! `cargo run --release --bin simulate -- --seeds 20000 --jobs 2`
//!
//! Exits with 1 at the first seed whose schedule breaks a promise, and says how to see it again.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use wouldblock_check::Failure;
use wouldblock_check::schedule::{Report, Schedule};

/// Runs the library in simulated worlds, one for each seed, and checks its promises.
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Parser)]
#[command(name = "simulate", version)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,

    /// How many threads to run them on
    #[arg(long, value_name = "J", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,

    /// Peers in each world [default: 1 to 25, drawn from the seed]
    #[arg(long, value_name = "PEERS")]
    connections: Option<usize>,

    /// Run one seed alone and print its trace
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "jobs", "hashes"])]
    replay: Option<u64>,

    /// Leave out the peers beyond so many: a smaller form of the same failure
    #[arg(long, value_name = "PEERS", requires = "replay")]
    at_most: Option<usize>,

    /// Give each world layers; without this, 8 in a hundred are run a second time with them
    #[arg(long)]
    layers: bool,

    /// Give no world layers
    #[arg(long, conflicts_with = "layers")]
    no_layers: bool,

    /// Hand sockets in to each world; without this, 8 in a hundred are run once more with them
    #[arg(long, conflicts_with = "layers")]
    handed: bool,

    /// Hand sockets in to no world
    #[arg(long, conflicts_with = "handed")]
    none_handed: bool,

    /// Give each reactor several services; without this, 8 in a hundred seeds are run once more with them
    #[arg(long, conflicts_with_all = ["layers", "handed"])]
    services: bool,

    /// Give no reactor several services
    #[arg(long, conflicts_with = "services")]
    no_services: bool,

    /// Print the hash of each seed's trace, in order
    #[arg(long)]
    hashes: bool,

    /// Go on after a failure, and list all seeds that fail
    #[arg(long)]
    keep_going: bool,
}

impl Arguments {
    fn schedule(&self, seed: u64) -> Schedule {
        let schedule = Schedule::new(seed).layered(self.layers).handed(self.handed);
        let mut schedule = schedule.services(self.services);
        if let Some(peers) = self.connections {
            schedule = schedule.peers(peers);
        }
        if let Some(peers) = self.at_most {
            schedule = schedule.at_most(peers);
        }
        schedule
    }

    /// The schedules of a seed: as it is, and for some once more, with the option that has it so.
    fn schedules(&self, seed: u64) -> impl Iterator<Item = (&'static str, Schedule)> + use<> {
        let own = match (self.layers, self.handed, self.services) {
            (true, ..) => " --layers",
            (_, true, _) => " --handed",
            (.., true) => " --services",
            (false, false, false) => "",
        };
        let plain = self.schedule(seed);
        let layered = own.is_empty() && !self.no_layers && Schedule::is_layered_too(seed);
        let handed = own.is_empty() && !self.none_handed && Schedule::is_handed_too(seed);
        let layered = layered.then(|| (" --layers", plain.clone().layered(true)));
        let handed = handed.then(|| (" --handed", plain.clone().handed(true)));
        let served = own.is_empty() && !self.no_services && Schedule::is_served_too(seed);
        let served = served.then(|| (" --services", plain.clone().services(true)));
        std::iter::once((own, plain)).chain(layered).chain(handed).chain(served)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.replay {
        return match arguments.schedule(seed).replay() {
            Ok((report, trace)) => {
                say(&format!("{trace}seed {seed} holds: {report:?}"));
                ExitCode::SUCCESS
            }
            Err(failure) => {
                say(&failure.to_string());
                ExitCode::FAILURE
            }
        };
    }
    let found = Found::default();
    let begin = Instant::now();
    thread::scope(|scope| {
        for job in 0..arguments.jobs {
            let (arguments, found) = (&arguments, &found);
            scope.spawn(move || run(job, arguments, found));
        }
        progress(&arguments, &found, begin);
    });
    tell(&arguments, found, begin)
}

/// What the threads found.
#[derive(Default)]
struct Found {
    done: AtomicU64,
    connections: AtomicU64,
    callbacks: AtomicU64,
    failed: AtomicBool,
    failures: Mutex<Vec<Failure>>,
    hashes: Mutex<Vec<(u64, u64)>>,
}

fn run(job: u64, arguments: &Arguments, found: &Found) {
    for number in (job..arguments.seeds).step_by(usize::try_from(arguments.jobs).unwrap_or(1)) {
        if found.failed.load(Ordering::Relaxed) {
            return;
        }
        let seed = arguments.from.wrapping_add(number);
        let reports: Result<Vec<_>, _> =
            arguments.schedules(seed).map(|(_, schedule)| schedule.run()).collect();
        match reports {
            Ok(reports) => {
                // The others only count if they fail.
                let Report { hash, connections, callbacks, .. } = &reports[0];
                found.connections.fetch_add(*connections, Ordering::Relaxed);
                found.callbacks.fetch_add(*callbacks, Ordering::Relaxed);
                if arguments.hashes {
                    found.hashes.lock().unwrap_or_else(PoisonError::into_inner).push((seed, *hash));
                }
            }
            Err(failure) => {
                found.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                found.failed.store(!arguments.keep_going, Ordering::Relaxed);
            }
        }
        found.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A bar and a rate on a terminal, until all is done.
fn progress(arguments: &Arguments, found: &Found, begin: Instant) {
    if !io::stderr().is_terminal() {
        return;
    }
    loop {
        let done = found.done.load(Ordering::Relaxed);
        let ended = done >= arguments.seeds || found.failed.load(Ordering::Relaxed);
        let tenths = usize::try_from(done * 40 / arguments.seeds.max(1)).unwrap_or(0);
        let bar = format!("{:<40}", "#".repeat(tenths));
        let rate = per_second(done, begin);
        let mut stderr = io::stderr();
        let _ = write!(stderr, "\r[{bar}] {done}/{} seeds, {rate:.0}/s ", arguments.seeds);
        let _ = stderr.flush();
        if ended {
            let _ = writeln!(stderr);
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
fn per_second(count: u64, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64().max(1e-6)
}

fn tell(arguments: &Arguments, found: Found, begin: Instant) -> ExitCode {
    let mut hashes = found.hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    hashes.sort_unstable();
    for (seed, hash) in hashes {
        say(&format!("{seed} {hash:016x}"));
    }
    let done = found.done.into_inner();
    let mut failures = found.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(Failure::seed);
    let Some(failure) = failures.first() else {
        say(&format!(
            "{done} seeds hold: {} connections, {} callbacks, {:.1} s, {:.0} seeds a second",
            found.connections.into_inner(),
            found.callbacks.into_inner(),
            begin.elapsed().as_secs_f64(),
            per_second(done, begin),
        ));
        return ExitCode::SUCCESS;
    };
    if arguments.keep_going {
        for failure in &failures {
            say(&format!(
                "seed {}: {}",
                failure.seed(),
                failure.what().lines().next().unwrap_or("")
            ));
        }
        say(&format!("{} of {done} seeds fail", failures.len()));
        return ExitCode::FAILURE;
    }
    say(&failure.to_string());
    let seed = failure.seed();
    let again = "cargo run --release --bin simulate --";
    let mut peers = arguments.connections.map_or(String::new(), |n| format!(" --connections {n}"));
    let Some((options, schedule)) = arguments.schedules(seed).find(|(_, it)| it.run().is_err())
    else {
        return ExitCode::FAILURE;
    };
    peers.push_str(options);
    say(&format!("again: {again} --replay {seed}{peers}"));
    if let Some((fewer, failure)) = schedule.shrink() {
        let what = failure.what().lines().next().unwrap_or_default();
        say(&format!("smaller: {again} --replay {seed}{peers} --at-most {fewer} ({what})"));
    }
    ExitCode::FAILURE
}

fn say(line: &str) {
    // A pipe that nobody reads any more is no reason to panic.
    let _ = writeln!(io::stdout(), "{line}");
}
