//! What the examples share and no server is about: arguments, logs, signals, one-line complaints.
//!
//! Nothing here may panic, not even when stdout or stderr is a pipe without a reader;
//! `println!` and `eprintln!` do. Read next: `echo.rs`.

#![allow(dead_code, reason = "no example needs all of it")]

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The end of every `--help`.
pub(crate) const MANNERS: &str = "\
Prints one line `listening on ADDR` for each address when it is ready. Logs go to stderr, from
level info on; the environment variable RUST_LOG says otherwise (RUST_LOG=debug). SIGINT or SIGTERM
ends it once all is answered, a second one at once.";

/// Runs an example: reads the command line as `A` and calls `serve`. An error of either is one line on
/// stderr.
pub(crate) fn run<A: clap::Parser>(serve: impl FnOnce(&A) -> io::Result<()>) -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The command line as `A`, or the code to exit with: 0 after `--help`, 2 after a mistake, which
/// is told in one line.
pub(crate) fn arguments<A: clap::Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        if !error.use_stderr() {
            // Asked for: the help or the version.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let text = error.to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or("error: these arguments make no sense");
        // Behind a colon there is a list, a line for each.
        let listed = lines.take_while(|line| first.ends_with(':') && line.starts_with(' '));
        let listed: Vec<_> = listed.map(str::trim).collect();
        complain(format_args!("{first} {}", listed.join(", ")).to_string().trim_end());
        ExitCode::from(2)
    })
}

/// What `--listen` takes, checked for its form only: whether the host exists, or whose the path is,
/// `listen` finds out.
pub(crate) fn stream_address(text: &str) -> Result<String, &'static str> {
    match text.strip_prefix("unix:") {
        Some("" | "@") => Err("expected a path behind unix:, such as unix:/run/server.sock"),
        Some(_) => Ok(text.into()),
        None => address(text),
    }
}

/// The same without Unix sockets.
pub(crate) fn address(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:6666 or [::1]:0"),
    }
}

/// Seconds, fractions too, from a millisecond to a year.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    const YEAR: f64 = 365.0 * 24.0 * 3600.0;
    match text.parse() {
        Ok(seconds) if (0.001..=YEAR).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds between 0.001 and {YEAR}")),
    }
}

/// Raises our soft descriptor limit to the hard one (getrlimit(2)): a connection is a descriptor,
/// and the usual 1024 are few. A program may do that; the library never does.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the descriptor limit stays at {:?}: {error}", limit.current);
    }
}

/// Logs go to stderr: from `level` on, unless `RUST_LOG` says otherwise.
pub(crate) fn log_from(level: &str) {
    let env = env_logger::Env::default().default_filter_or(level);
    // It fails only where a logger is set already, and then that one will do.
    let _ = env_logger::Builder::from_env(env).try_init();
}

/// Calls `first` on the first SIGINT or SIGTERM and `again` on each further one, from a thread.
///
/// A signal handler proper may do next to nothing (signal-safety(7)); a thread that waits for
/// signals may do what it likes.
pub(crate) fn on_signals(
    first: impl FnOnce() + Send + 'static,
    again: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            first();
            log::info!("ending once all is answered; another signal ends at once");
        }
        signals.for_each(|_| again());
    })?;
    Ok(())
}

/// One line on stdout, at once: the program that started us may be waiting for it.
pub(crate) fn say(line: impl Display) {
    let mut stdout = io::stdout().lock();
    // Nobody listens any more: no reason for a server to stop.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Names the file that an error is about; the system's does not.
pub(crate) fn about(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// One line on stderr.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What a peer sent us, fit for a line of a log: quoted, escaped, and not too long.
pub(crate) fn quote(message: &[u8]) -> String {
    const SHOWN: usize = 60;
    if message.len() <= SHOWN {
        return format!("{:?}", String::from_utf8_lossy(message));
    }
    let start = String::from_utf8_lossy(&message[..SHOWN]);
    format!("{start:?}... ({} bytes in all)", message.len())
}
