//! Servers as processes of their own: started, stopped, and asked what they cost.
//!
//! What a server does for its clients is for the bench to measure. Linux only: the numbers come
//! from `/proc`.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A server to measure.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

impl Program {
    /// Takes a command apart, or the default if there is none. The default's program is an example,
    /// built beside this one.
    pub(crate) fn named(command: Option<&str>, default: &str) -> Self {
        let mut words = command.unwrap_or(default).split_whitespace().map(str::to_owned);
        let mut path = PathBuf::from(words.next().unwrap_or_default());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if command.is_none()
            && let Ok(own) = std::env::current_exe()
            && let Some(release) = own.parent().and_then(Path::parent)
        {
            path = release.join("examples").join(path);
        }
        Self { name, path, args: words.collect() }
    }
}

/// A running server; it is killed when it goes out of scope.
pub(crate) struct Server {
    pub(crate) name: String,
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Held open, for what it says at its end.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts a program, under a tool if one is given, and waits until it listens.
    pub(crate) fn start(program: &Program, tool: &[&str]) -> io::Result<Self> {
        let mut command = match tool {
            [] => Command::new(&program.path),
            [tool, options @ ..] => {
                let mut command = Command::new(tool);
                command.args(options).arg(&program.path);
                command
            }
        };
        Self::spawn(&program.name, command.args(&program.args).args(["--listen", "127.0.0.1:0"]))
    }

    /// Starts a command, and waits until it says where it listens.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> io::Result<Self> {
        let started = command.stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| named(name, &error))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(addr) = line.trim().strip_prefix("listening on ").and_then(|a| a.parse().ok())
        else {
            let _ = child.kill();
            let _ = child.wait();
            let text = format!("{name} said {line:?} and not where it listens");
            return Err(io::Error::other(text));
        };
        Ok(Self { name: name.into(), child, addr, _stdout: Some(stdout) })
    }

    /// Starts a command that says nothing, and waits until something listens at this address.
    pub(crate) fn spawn_at(
        name: &str,
        command: &mut Command,
        addr: SocketAddr,
    ) -> io::Result<Self> {
        let started = command.stdout(Stdio::null()).spawn();
        let child = started.map_err(|error| named(name, &error))?;
        let server = Self { name: name.into(), child, addr, _stdout: None };
        patiently(name, || Ok(TcpStream::connect(addr).ok()))?;
        Ok(server)
    }

    /// Stops it, and waits until it has stopped.
    pub(crate) fn stop(&self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP)?;
        waitpid(Some(pid), WaitOptions::UNTRACED)?;
        Ok(())
    }

    pub(crate) fn resume(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Ends it by SIGTERM and waits for it, so that a tool around it writes its report.
    pub(crate) fn terminate(&mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// The CPU time of all its threads: proc(5), `schedstat`, in nanoseconds.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        // The scheduler accounts for a thread when it goes to sleep, as the server does just now.
        thread::sleep(Duration::from_millis(1));
        let mut nanos = 0;
        for task in fs::read_dir(self.proc("task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += first_number(&text);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Does something to it, and adds what that costs.
    pub(crate) fn measure(
        &self,
        cost: &mut Cost,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let (before, begun) = (self.cpu_time()?, Instant::now());
        act()?;
        cost.wall += begun.elapsed();
        cost.cpu += self.cpu_time()?.saturating_sub(before);
        Ok(())
    }

    /// Resident memory in bytes. Not `VmRSS`, which the kernel keeps only roughly.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        thread::sleep(Duration::from_millis(100));
        let text = fs::read_to_string(self.proc("smaps_rollup"))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        Ok(first_number(kilobytes.unwrap_or_default()) * 1024)
    }

    /// Waits until it has so many descriptors open: until everybody is accepted.
    pub(crate) fn await_descriptors(&self, count: usize) -> io::Result<()> {
        patiently("the server to accept", || {
            let open = fs::read_dir(self.proc("fd"))?.count();
            Ok((open >= count).then_some(()))
        })
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server has cost in a round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

/// CPU time and rate of each of N servers, each by that of the first, in every round.
pub(crate) struct Ratios<const N: usize>([[Vec<f64>; 2]; N]);

impl<const N: usize> Default for Ratios<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

impl<const N: usize> Ratios<N> {
    /// One more round.
    pub(crate) fn add(&mut self, costs: [Cost; N]) {
        let first = costs[0];
        for ([cpu, rate], cost) in self.0.iter_mut().zip(costs) {
            cpu.push(cost.cpu.as_secs_f64() / first.cpu.as_secs_f64());
            rate.push(first.wall.as_secs_f64() / cost.wall.as_secs_f64());
        }
    }

    /// A line for each server but the first.
    pub(crate) fn text(mut self, names: [&str; N]) -> String {
        let lines = names.iter().zip(&mut self.0).skip(1).map(|(name, [cpu, rate])| {
            let (cpu, rate) = (Spread::of(cpu), Spread::of(rate));
            format!("  {name:<17} CPU {}   rate {}", cpu.middle(), rate.middle())
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Sorted numbers in five: least, quartiles, greatest.
pub(crate) struct Spread {
    least: f64,
    lower: f64,
    pub(crate) median: f64,
    upper: f64,
    greatest: f64,
}

impl Spread {
    pub(crate) fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        Self {
            least: values[0],
            lower: values[last / 4],
            median: values[last / 2],
            upper: values[last - last / 4],
            greatest: values[last],
        }
    }
}

impl Spread {
    /// The median and the middle half, in short.
    pub(crate) fn middle(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median, self.lower, self.upper)
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, lower, median, upper, greatest } = self;
        write!(
            f,
            "median {median:.3}, half within {lower:.3} to {upper:.3}, all {least:.3} to {greatest:.3}"
        )
    }
}

/// Asks until there is an answer, at most half a minute.
pub(crate) fn patiently<T>(
    what: &str,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > Duration::from_secs(30) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("waited for {what}")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub(crate) fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}
