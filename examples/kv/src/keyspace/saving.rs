//! A snapshot while commands go on: what the keys were when it began, without a copy of them.
//!
//! Every entry has the number of the last snapshot that has it. A search goes through all entries,
//! from the last place to the first, a slice at a time, and writes those that this snapshot does
//! not have yet. Whatever is about to change or to go is written first
//! ([`Keyspace::before_change`]), and what is new is marked as if it were written. When an entry is
//! removed, the last one takes its place, and either was seen by the search before, or is not
//! beyond it.
//!
//! The unit of a slice is one entry: a container of millions of members is written at once.

use super::Keyspace;
use crate::snapshot::{Saver, Section};

/// A section is handed over when it has as many bytes.
const SECTION: usize = 1 << 20;

/// A snapshot that is not finished.
#[derive(Debug)]
pub(super) struct Saving {
    saver: Saver,
    section: Section,
    /// The places from here on are seen.
    cursor: usize,
}

/// How a snapshot goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// None runs.
    Idle,
    /// There is more, and it can be written at once.
    More,
    /// There is more, and the disk is behind.
    Waits,
}

impl Keyspace {
    /// Begins a snapshot; one that runs is given up.
    pub fn begin_snapshot(&mut self, saver: Saver) {
        self.snapshot = self.snapshot.wrapping_add(1);
        let cursor = self.entries.len();
        self.saving = Some(Box::new(Saving { saver, section: Section::default(), cursor }));
    }

    /// Returns whether a snapshot runs.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Gives up the snapshot that runs. Its file is removed, and whoever asked for it is told.
    pub fn cancel_snapshot(&mut self) {
        self.saving = None;
    }

    /// Goes on with the snapshot, about `looks` entries or one section.
    pub fn save_some(&mut self, looks: usize) -> Progress {
        let Some(saving) = &mut self.saving else { return Progress::Idle };
        saving.cursor = saving.cursor.min(self.entries.len());
        for _ in 0..looks {
            if saving.cursor == 0 || saving.section.len() >= SECTION {
                break;
            }
            saving.cursor -= 1;
            let place = self.entries.get_index_mut(saving.cursor);
            let (key, entry) = place.expect("it is below the length");
            if entry.snapshot != self.snapshot {
                entry.snapshot = self.snapshot;
                saving.section.push(key, &entry.value, entry.deadline);
            }
        }
        let is_over = saving.cursor == 0;
        if !(is_over || saving.section.len() >= SECTION) {
            return Progress::More;
        }
        match saving.hand_over(is_over) {
            Ok(Progress::Idle) | Err(()) => self.saving = None,
            Ok(progress) => return progress,
        }
        Progress::Idle
    }

    /// Called before the entry there changes or goes.
    #[inline]
    pub(super) fn before_change(&mut self, index: usize) {
        if let Some(saving) = &mut self.saving {
            let (key, entry) = self.entries.get_index_mut(index).expect("it was found there");
            if entry.snapshot != self.snapshot {
                entry.snapshot = self.snapshot;
                saving.section.push(key, &entry.value, entry.deadline);
            }
        }
    }
}

impl Saving {
    /// Hands over what is written; `is_over`: it was the last.
    fn hand_over(&mut self, is_over: bool) -> Result<Progress, ()> {
        if !self.section.is_empty() {
            let section = std::mem::take(&mut self.section);
            if let Some(section) = self.saver.send(section).map_err(drop)? {
                self.section = section;
                return Ok(Progress::Waits);
            }
        }
        if !is_over {
            return Ok(Progress::More);
        }
        Ok(if self.saver.finish().map_err(drop)? { Progress::Idle } else { Progress::Waits })
    }
}
