//! How a snapshot is read back, or refused. What is in a file is believed only when its checksum is
//! right, and even then nothing in it can make this code panic or take more memory than the file
//! has bytes for.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroI64;
use std::path::Path;

use super::{END, ENTRIES, LoadError, MAGIC, Summary, VERSION, Why, crc};
use crate::keyspace::Deadline;
use crate::value::{End, Hash, Kind, List, Set, Sorted, Value};

/// Reads the snapshot of this name, and shows `take` each key with its value and its deadline.
/// `Ok(None)`: there is no such file.
///
/// # Errors
///
/// It is not a whole snapshot, or could not be read. Some entries may have been shown before that
/// is found out.
pub fn load(
    path: &Path,
    mut take: impl FnMut(&[u8], Value, Deadline),
) -> Result<Option<Summary>, LoadError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LoadError { path: path.into(), why: Why::Io(error) }),
    };
    let loaded = load_from(BufReader::with_capacity(1 << 16, file), &mut take);
    loaded.map(Some).map_err(|why| LoadError { path: path.into(), why })
}

/// The same, of a file that is open.
pub(super) fn load_from(file: impl Read, take: &mut Take<'_>) -> Result<Summary, Why> {
    Reader { file, at: 0 }.load(take)
}

/// What [`load`] shows entries to.
pub(super) type Take<'a> = dyn FnMut(&[u8], Value, Deadline) + 'a;

struct Reader<R> {
    file: R,
    /// How much is read.
    at: u64,
}

impl<R: Read> Reader<R> {
    fn load(&mut self, take: &mut Take<'_>) -> Result<Summary, Why> {
        let mut summary = self.header()?;
        let mut sections = 0_u64;
        loop {
            let start = self.at;
            let head: [u8; 9] = self.array()?;
            let [kind, size @ ..] = head;
            let body = self.bytes(u64::from_le_bytes(size))?;
            if crc(&[&head, &body]) != u32::from_le_bytes(self.array()?) {
                return Err(Why::Damaged(start));
            }
            let mut entries = Entries(&body);
            match kind {
                ENTRIES => {
                    sections += 1;
                    while !entries.0.is_empty() {
                        summary.entries += 1;
                        entries.entry(take).ok_or(Why::Malformed(start))?;
                    }
                }
                END => {
                    let counts = [sections.to_le_bytes(), summary.entries.to_le_bytes()].concat();
                    if body != counts {
                        return Err(Why::Malformed(start));
                    }
                    let is_over = self.file.read(&mut [0]).map_err(Why::Io)? == 0;
                    summary.bytes = self.at;
                    return if is_over { Ok(summary) } else { Err(Why::Trailing) };
                }
                _ => return Err(Why::Malformed(start)),
            }
        }
    }

    fn header(&mut self) -> Result<Summary, Why> {
        let magic: [u8; 8] = self.array()?;
        if magic != *MAGIC {
            return Err(Why::NoSnapshot);
        }
        let (version, time): ([u8; 4], [u8; 8]) = (self.array()?, self.array()?);
        // A newer version may have another header: its number is told whatever follows.
        let number = u32::from_le_bytes(version);
        if number != VERSION {
            return Err(Why::Version(number));
        }
        if crc(&[&magic, &version, &time]) != u32::from_le_bytes(self.array()?) {
            return Err(Why::Damaged(0));
        }
        Ok(Summary { time: i64::from_le_bytes(time), ..Summary::default() })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        let bytes = self.bytes(N as u64)?;
        Ok(bytes.try_into().expect("as many as asked for"))
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Why> {
        // It grows with what is there: a length can lie.
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(len).read_to_end(&mut bytes).map_err(Why::Io)?;
        self.at += read as u64;
        if read as u64 == len { Ok(bytes) } else { Err(Why::Truncated) }
    }
}

/// Entries that are left of a section. `None`: they make no sense.
struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn entry(&mut self, take: &mut Take<'_>) -> Option<()> {
        let [kind] = *self.array()?;
        let deadline = i64::from_le_bytes(*self.array()?);
        let key = self.bytes()?;
        let value = self.value(kind)?;
        take(key, value, NonZeroI64::new(deadline));
        Some(())
    }

    fn value(&mut self, kind: u8) -> Option<Value> {
        match kind {
            0 => Some(Value::String(self.bytes()?.to_vec())),
            1 => self.container(|list: &mut List, entries| {
                list.push(End::Right, entries.bytes()?);
                Some(())
            }),
            2 => self.container(|hash: &mut Hash, entries| {
                let (field, value) = (entries.bytes()?, entries.bytes()?);
                hash.set(field, value).then_some(())
            }),
            3 => {
                self.container(|set: &mut Set, entries| set.insert(entries.bytes()?).then_some(()))
            }
            4 => self.container(|sorted: &mut Sorted, entries| {
                let (member, score) = (entries.bytes()?, f64::from_le_bytes(*entries.array()?));
                (!score.is_nan() && sorted.set(member, score)).then_some(())
            }),
            _ => None,
        }
    }

    /// Returns a container with as many elements as the length says, never none.
    fn container<T: Kind>(
        &mut self,
        add: impl Fn(&mut T, &mut Self) -> Option<()>,
    ) -> Option<Value> {
        let mut container = T::default();
        for _ in 0..self.length()? {
            add(&mut container, self)?;
        }
        (!container.vanishes()).then(|| container.into_value())
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let [byte] = *self.array()?;
            let bits = usize::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return None;
            }
            length |= shifted;
            if byte < 0x80 {
                return Some(length);
            }
        }
        None
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }
}
