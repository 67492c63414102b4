//! How entries become bytes. Read next: `load.rs`, which is this backwards.

use super::{ENTRIES, crc};
use crate::keyspace::Deadline;
use crate::value::Value;

/// A part of a snapshot: some entries.
#[derive(Debug, Default)]
pub struct Section {
    pub(super) body: Vec<u8>,
    pub(super) entries: u64,
}

impl Section {
    /// Returns its size.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Returns whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Adds an entry.
    pub fn push(&mut self, key: &[u8], value: &Value, deadline: Deadline) {
        let body = &mut self.body;
        body.push(match value {
            Value::String(_) => 0,
            Value::List(_) => 1,
            Value::Hash(_) => 2,
            Value::Set(_) => 3,
            Value::Sorted(_) => 4,
        });
        body.extend_from_slice(&deadline.map_or(0, std::num::NonZero::get).to_le_bytes());
        bytes(body, key);
        match value {
            Value::String(text) => bytes(body, text),
            Value::List(list) => {
                length(body, list.len());
                list.iter().for_each(|element| bytes(body, element));
            }
            Value::Hash(hash) => {
                length(body, hash.len());
                for (field, value) in hash.iter() {
                    bytes(body, field);
                    bytes(body, value);
                }
            }
            Value::Set(set) => {
                length(body, set.len());
                set.iter().for_each(|member| bytes(body, member));
            }
            Value::Sorted(sorted) => {
                length(body, sorted.len());
                for (member, score) in sorted.iter_from(0) {
                    bytes(body, member);
                    body.extend_from_slice(&score.to_le_bytes());
                }
            }
        }
        self.entries += 1;
    }

    /// Returns it as it stands in a file, in pieces.
    pub(super) fn framed(&self) -> [Vec<u8>; 2] {
        frame(ENTRIES, &self.body)
    }
}

/// Returns what stands before a body, and what behind it.
pub(super) fn frame(kind: u8, body: &[u8]) -> [Vec<u8>; 2] {
    let mut head = vec![kind];
    head.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let crc = crc(&[&head, body]);
    [head, crc.to_le_bytes().to_vec()]
}

fn bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    length(body, bytes.len());
    body.extend_from_slice(bytes);
}

fn length(body: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        body.push(0x80 | length.to_le_bytes()[0]);
        length >>= 7;
    }
    body.push(length.to_le_bytes()[0]);
}
