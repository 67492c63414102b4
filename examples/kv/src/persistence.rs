//! When a snapshot is written and read: `SAVE`, `BGSAVE`, `LASTSAVE`, `--save-every`, at the start
//! and at the end.
//!
//! How it is written is `snapshot.rs` and `keyspace/saving.rs`; here each shard gives it about a
//! millisecond between turns, and one at a time is written. Read next: `snapshot.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use wouldblock::{Context, Server};

use crate::client::Silence;
use crate::command::{Fault, Outcome};
use crate::keyspace::Progress;
use crate::parcel::Ticket;
use crate::reply::Reply;
use crate::shard::{SAVE_TIMER, Shard, wall};
use crate::snapshot::{self, LoadError, Saver, Summary};
use crate::table::ServerCommand;
use crate::turn::Turn;

/// The commands of this file.
pub const COMMANDS: &[ServerCommand] = &[
    ServerCommand { name: "bgsave", arity: -1, in_transaction: true, run: bgsave },
    ServerCommand { name: "lastsave", arity: 1, in_transaction: true, run: lastsave },
    ServerCommand { name: "save", arity: 1, in_transaction: false, run: save },
];

/// How long a snapshot is gone on with in one turn.
const SLICE: Duration = Duration::from_millis(1);
/// So many entries are looked at between two looks at the clock.
const LOOKS: usize = 64;
/// How long to wait for a disk that is behind.
const DISK: Duration = Duration::from_millis(5);

/// Where snapshots go, when, and how the last one ended.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// The file; without one there are no snapshots.
    pub path: Option<PathBuf>,
    /// How long after the last one the next is written by itself, if anything has changed.
    pub every: Option<Duration>,
    /// One is being written.
    is_running: AtomicBool,
    /// When the last one was written that was written whole, in milliseconds since 1970; at first
    /// when the server started.
    last: AtomicI64,
    /// When the last one was begun.
    begun: AtomicI64,
    /// The last one failed.
    has_failed: AtomicBool,
    /// `SHUTDOWN NOSAVE` was said.
    none_at_end: AtomicBool,
}

impl Snapshots {
    /// The server starts.
    #[must_use]
    pub fn new(path: Option<PathBuf>, every: Option<Duration>, now: i64) -> Self {
        let (last, begun) = (AtomicI64::new(now), AtomicI64::new(now));
        Snapshots { path, every, last, begun, ..Snapshots::default() }
    }

    /// At the end none is to be written.
    pub fn forbid_last(&self) {
        self.none_at_end.store(true, Ordering::Relaxed);
    }

    /// What `CONFIG GET save` says.
    #[must_use]
    pub fn setting(&self) -> String {
        self.every.map(|every| format!("{} 1", every.as_secs())).unwrap_or_default()
    }

    /// Lines of `INFO persistence`.
    #[must_use]
    pub fn describe(&self) -> String {
        let running = u8::from(self.is_running.load(Ordering::Relaxed));
        let last = self.last.load(Ordering::Relaxed) / 1000;
        let status = if self.has_failed.load(Ordering::Relaxed) { "err" } else { "ok" };
        format!(
            "rdb_bgsave_in_progress:{running}\r\nrdb_last_save_time:{last}\r\nrdb_last_bgsave_status:{status}\r\naof_enabled:0\r\n"
        )
    }

    /// What is in the way of one, for whoever runs the server.
    fn not_written(&self, error: &io::Error) -> io::Error {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display();
        io::Error::new(error.kind(), format!("the snapshot {path} is not written: {error}"))
    }

    /// Finds out whether snapshots could be written now, before there is anything to lose.
    ///
    /// # Errors
    ///
    /// Their directory is not there, or nothing may be made in it.
    pub fn check(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let directory = snapshot::directory(path).join("."); // no file, either
        access(&directory, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| self.not_written(&error.into()))
    }

    fn is_due(&self, now: i64) -> bool {
        let since = now - self.begun.load(Ordering::Relaxed);
        self.every
            .is_some_and(|every| since >= i64::try_from(every.as_millis()).unwrap_or(i64::MAX))
    }

    fn ended(&self, result: &io::Result<Summary>) {
        match result {
            Ok(summary) => {
                self.last.store(summary.time, Ordering::Relaxed);
                log::info!(
                    "a snapshot of {} keys is written, {} bytes",
                    summary.entries,
                    summary.bytes
                );
            }
            Err(error) => log::error!("{}", self.not_written(error)),
        }
        self.has_failed.store(result.is_err(), Ordering::Relaxed);
        self.is_running.store(false, Ordering::Release);
    }
}

fn bgsave(turn: &mut Turn<'_, '_>, words: &[&[u8]]) -> Outcome {
    match words[1..] {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"schedule") => {}
        _ => return Err(Fault::Syntax),
    }
    turn.shard.begin_snapshot(turn.conn.cx())?;
    turn.reply().simple("Background saving started");
    Ok(())
}

/// Answered when the file is there; nobody else waits.
fn save(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    turn.check_no_transaction()?;
    turn.shard.begin_snapshot(turn.conn.cx())?;
    let place = turn.place;
    let client = turn.client();
    let number = client.answers.push_waiting(client.silence != Silence::None, 0);
    let ticket = Ticket { place, id: client.id, number, part: 0 };
    turn.shard.waiting_for_snapshot.push(ticket);
    Ok(())
}

fn lastsave(turn: &mut Turn<'_, '_>, _words: &[&[u8]]) -> Outcome {
    let last = turn.shard.facts.snapshots.last.load(Ordering::Relaxed);
    turn.reply().integer(last / 1000);
    Ok(())
}

impl Shard {
    /// Begins a snapshot, in all shards.
    fn begin_snapshot(&mut self, cx: &mut Context) -> Outcome {
        let facts = &self.facts;
        let snapshots = &facts.snapshots;
        let Some(path) = &snapshots.path else {
            return Err(Fault::other(
                "ERR there is no file for snapshots: the server was started without --snapshot",
            ));
        };
        if snapshots.is_running.swap(true, Ordering::Acquire) {
            return Err(Fault::other("ERR Background save already in progress"));
        }
        let now = wall();
        snapshots.begun.store(now, Ordering::Relaxed);
        let (done_facts, server) = (self.facts.clone(), self.server.clone());
        let done = move |result: io::Result<Summary>| {
            done_facts.snapshots.ended(&result);
            let error = result.err().map(|error| error.to_string());
            server.post_each(move |shard, cx| shard.on_snapshot(cx, error.as_deref()));
        };
        let savers = match snapshot::save(path, self.ways.len(), now, done) {
            Ok(savers) => savers,
            Err(error) => {
                snapshots.is_running.store(false, Ordering::Release);
                return Err(Fault::other(format!("ERR {error}")));
            }
        };
        for (there, saver) in savers.into_iter().enumerate() {
            if there == self.number {
                self.write_part(cx, saver);
            } else if let Some(there) = self.server.reactor(there) {
                // Where the reactor has ended its saver is dropped, and so the snapshot is given up.
                let _ = there.post(move |shard, cx| shard.write_part(cx, saver));
            }
        }
        Ok(())
    }

    fn write_part(&mut self, cx: &mut Context, saver: Saver) {
        self.saving_changes = self.keys.counts.changes;
        self.keys.begin_snapshot(saver);
        cx.set_timer(Duration::ZERO, SAVE_TIMER);
    }

    /// Goes on with a snapshot that runs.
    pub fn go_on_saving(&mut self, cx: &mut Context) {
        let end = Instant::now() + SLICE;
        let wait = loop {
            match self.keys.save_some(LOOKS) {
                Progress::Idle => return,
                Progress::Waits => break DISK,
                // The next turn: what others want comes in between.
                Progress::More if Instant::now() >= end => break Duration::ZERO,
                Progress::More => {}
            }
        };
        cx.set_timer(wait, SAVE_TIMER);
    }

    /// Begins one that is due.
    pub fn save_if_due(&mut self, cx: &mut Context) {
        let has_changed = self.keys.counts.changes != self.saved_changes;
        if has_changed && self.facts.snapshots.is_due(self.keys.now()) && !self.keys.is_saving() {
            // Another shard may have been first.
            let _ = self.begin_snapshot(cx);
        }
    }

    fn on_snapshot(&mut self, cx: &mut Context, error: Option<&str>) {
        let mut reply = Reply::default();
        match error {
            None => {
                self.saved_changes = self.saving_changes;
                reply.simple("OK");
            }
            Some(error) => reply.error(format_args!("ERR {error}")),
        }
        for ticket in std::mem::take(&mut self.waiting_for_snapshot) {
            self.fill(cx, ticket, &reply.bytes);
        }
    }
}

/// Reads the snapshot, if there is one, into the shards.
///
/// # Errors
///
/// If it is not whole, or cannot be read. The server is not to start then: it would replace it with less.
pub fn load(server: &mut Server<Shard>, path: &Path) -> Result<Option<Summary>, LoadError> {
    let shards = server.reactors().len();
    snapshot::load(path, |key, value, deadline| {
        let owner = crate::slots::owner(crate::slots::slot(key), shards);
        let keys = &mut server.reactors_mut()[owner].handler_mut().keys;
        keys.put(key, value, deadline.into());
    })
}

/// Writes a last snapshot, when the reactors have ended.
///
/// # Errors
///
/// If it cannot be written; the older one is kept then.
pub fn save_at_end(server: &mut Server<Shard>) -> io::Result<()> {
    let facts = server.reactors()[0].handler().facts.clone();
    let snapshots = &facts.snapshots;
    for reactor in server.reactors_mut() {
        reactor.handler_mut().keys.cancel_snapshot();
    }
    // The thread of one that was given up removes its file, which has the same name.
    while snapshots.is_running.load(Ordering::Acquire) {
        thread::sleep(DISK);
    }
    let Some(path) =
        snapshots.path.as_ref().filter(|_| !snapshots.none_at_end.load(Ordering::Relaxed))
    else {
        return Ok(());
    };
    let (done, result) = mpsc::channel();
    let savers = snapshot::save(path, server.reactors().len(), wall(), move |result| {
        // The receiver waits for it below.
        let _ = done.send(result);
    })?;
    for (reactor, saver) in server.reactors_mut().iter_mut().zip(savers) {
        let keys = &mut reactor.handler_mut().keys;
        keys.begin_snapshot(saver);
        loop {
            match keys.save_some(LOOKS) {
                Progress::Idle => break,
                Progress::Waits => thread::sleep(DISK),
                Progress::More => {}
            }
        }
    }
    let result = result
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has ended")));
    snapshots.ended(&result);
    result.map(drop).map_err(|error| snapshots.not_written(&error))
}
