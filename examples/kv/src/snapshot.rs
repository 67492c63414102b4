//! Snapshots: all keys at one moment, in one file.
//!
//! The format is our own, and this is all of it. Numbers are little-endian; a *length* is a LEB128
//! varint; *bytes* are their length and then themselves.
//!
//! ```text
//! file    = header section* end
//! header  = "WBKVSNAP"  version: u32 (1)  milliseconds since 1970: i64        crc: u32
//! section = 1: u8       the body's size: u64      body = entry*               crc: u32
//! end     = 2: u8       the body's size: u64      sections: u64 entries: u64  crc: u32
//! entry   = kind: u8    deadline: i64 (milliseconds since 1970; 0: none)      key: bytes   value
//! value   = 0 (string): bytes              1 (list): length, that many bytes
//!         | 2 (hash):   length, that many times bytes, bytes
//!         | 3 (set):    length, that many bytes
//!         | 4 (sorted): length, that many times bytes, score: f64
//! ```
//!
//! Each crc is the CRC-32 of Ethernet, of all bytes of its part before it. Nothing follows the end.
//! So a file that was torn, cut off, or changed in any byte is refused as a whole, with an error
//! that names it and says what is wrong; and so is one of a version that this program does not
//! know.
//!
//! A file is written beside the one it replaces (`NAME.new`), brought to the disk, and then
//! renamed: whoever stops the machine at whatever moment finds the older file or the newer one,
//! whole. A file that is refused is never touched.
//!
//! Saving needs no `fork` and stops nobody: each shard writes its entries in slices between its
//! turns, and before an entry changes its old value is written first (`keyspace/saving.rs`). So the
//! file has what each shard held at the moment when its part began; those moments differ by what a
//! post takes from one reactor to another.
//!
//! What this is not: a log. What changed after the last snapshot is lost with the process.

mod load;
mod save;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::{fmt, io};

pub use load::load;
pub use save::{Saver, directory, save};
pub use write::Section;

const MAGIC: &[u8; 8] = b"WBKVSNAP";
const VERSION: u32 = 1;
const ENTRIES: u8 = 1;
const END: u8 = 2;

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of keys.
    pub entries: u64,
    /// The size of the file.
    pub bytes: u64,
    /// When it was begun, in milliseconds since 1970.
    pub time: i64,
}

/// Why a snapshot was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a snapshot.
#[derive(Debug)]
pub enum Why {
    /// It could not be read.
    Io(io::Error),
    /// It does not begin as a snapshot does.
    NoSnapshot,
    /// It is of a version that is not known; this one.
    Version(u32),
    /// It ends too early: it was torn, or cut off.
    Truncated,
    /// A part of it is not what was written; at which byte the part begins.
    Damaged(u64),
    /// The parts are whole, and make no sense; at which byte that part begins.
    Malformed(u64),
    /// Something follows its end.
    Trailing,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot {} is not loaded: ", self.path.display())?;
        match &self.why {
            Why::Io(error) => write!(f, "{error}"),
            Why::NoSnapshot => write!(f, "it is no snapshot of kv"),
            Why::Version(version) => {
                write!(
                    f,
                    "it has version {version}, and this program knows {VERSION}: it is too new"
                )
            }
            Why::Truncated => write!(f, "it ends too early: it was not written whole, or cut off"),
            Why::Damaged(at) => {
                write!(f, "it is damaged: the checksum of the part at byte {at} is wrong")
            }
            Why::Malformed(at) => write!(f, "the part at byte {at} makes no sense"),
            Why::Trailing => write!(f, "something follows its end"),
        }
    }
}

impl std::error::Error for LoadError {}

/// CRC-32 as Ethernet has it.
fn crc(parts: &[&[u8]]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !parts.iter().copied().flatten().fold(!0, step)
}

#[expect(clippy::cast_possible_truncation, reason = "it counts to 256")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}
