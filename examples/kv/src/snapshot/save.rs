//! The thread that writes a snapshot's file, so that no reactor waits for a disk.
//!
//! Shards hand it sections over a channel of bounded length; while that is full they wait with
//! their next one, and go on serving. When every shard has said that it has no more, the file is
//! brought to the disk and takes its name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use super::write::{Section, frame};
use super::{END, MAGIC, Summary, VERSION, crc};

/// The sections that may wait for the disk, for each shard.
const WAITING: usize = 2;

/// Where a shard's sections go. Dropped before [`Saver::finish`], the whole snapshot is given up.
#[derive(Debug)]
pub struct Saver {
    parts: SyncSender<Part>,
}

enum Part {
    Section(Section),
    /// A shard has no more.
    Finished,
}

impl Saver {
    /// Hands over a section. It comes back while the disk is behind.
    ///
    /// # Errors
    ///
    /// The snapshot failed: it is in vain to go on.
    pub fn send(&self, section: Section) -> Result<Option<Section>, Failed> {
        match self.parts.try_send(Part::Section(section)) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(Part::Section(section))) => Ok(Some(section)),
            Err(TrySendError::Full(Part::Finished) | TrySendError::Disconnected(_)) => Err(Failed),
        }
    }

    /// Says that this shard has no more, and returns false if that has to be said again later.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn finish(&self) -> Result<bool, Failed> {
        match self.parts.try_send(Part::Finished) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(Failed),
        }
    }
}

/// The file could not be written; whoever asked for it is told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// Begins a snapshot of so many shards in a file of this name, and returns where each sends its
/// sections. `done` is called on the thread that writes, when the file has its name, or with what
/// was in the way.
///
/// # Errors
///
/// There is no thread for it.
pub fn save(
    path: &Path,
    shards: usize,
    now: i64,
    done: impl FnOnce(io::Result<Summary>) + Send + 'static,
) -> io::Result<Vec<Saver>> {
    let (parts, received) = sync_channel(WAITING * shards);
    let path = path.to_path_buf();
    thread::Builder::new().name("snapshot".into()).spawn(move || {
        let beside = beside(&path);
        let written = write(&path, &beside, shards, now, received);
        if written.is_err() {
            // What is there is not whole; that it could not be removed either is no news.
            let _ = fs::remove_file(&beside);
        }
        done(written);
    })?;
    Ok((0..shards).map(|_| Saver { parts: parts.clone() }).collect())
}

/// Returns the name under which a file is written before it has its own.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn write(
    path: &Path,
    beside: &Path,
    shards: usize,
    now: i64,
    parts: Receiver<Part>,
) -> io::Result<Summary> {
    let mut file = BufWriter::new(File::create(beside)?);
    let mut summary = Summary { time: now, ..Summary::default() };
    let mut put = |bytes: &[u8], summary: &mut Summary| {
        summary.bytes += bytes.len() as u64;
        file.write_all(bytes)
    };
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&now.to_le_bytes());
    header.extend_from_slice(&crc(&[&header]).to_le_bytes());
    put(&header, &mut summary)?;
    let (mut sections, mut finished) = (0_u64, 0);
    while finished < shards {
        match parts.recv() {
            Ok(Part::Section(section)) => {
                let [head, tail] = section.framed();
                for bytes in [&head, &section.body, &tail] {
                    put(bytes, &mut summary)?;
                }
                sections += 1;
                summary.entries += section.entries;
            }
            Ok(Part::Finished) => finished += 1,
            Err(_) => return Err(io::Error::other("the snapshot was given up")),
        }
    }
    let body = [sections.to_le_bytes(), summary.entries.to_le_bytes()].concat();
    let [head, tail] = frame(END, &body);
    for bytes in [head, body, tail] {
        put(&bytes, &mut summary)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(beside, path)?;
    // The new name is in the directory, and has to be on the disk too.
    File::open(directory(path))?.sync_all()?;
    Ok(summary)
}

/// Returns the directory of a file.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
