//! How often each command was run, refused or failed here, and with which errors: what `INFO` tells.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::table::{Table, table};

/// The counts of one shard.
#[derive(Debug)]
pub struct Tally {
    /// By the command's number in the table.
    each: Vec<Count>,
    /// Of each error code, how many were written. The codes are our own: they are few.
    errors: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    run: u64,
    /// Not run: too few words, or too many.
    rejected: u64,
    /// Run, and answered by an error.
    failed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { each: vec![Count::default(); table().all().len()], errors: BTreeMap::new() }
    }
}

impl Tally {
    /// A command is run.
    #[inline]
    pub fn run(&mut self, number: usize) {
        self.each[number].run += 1;
    }

    /// It has written this, an error.
    #[cold]
    pub fn failed(&mut self, number: usize, error: &[u8]) {
        self.each[number].failed += 1;
        self.note(error);
    }

    /// A command is not run, with this error; its number, if it is one.
    pub fn rejected(&mut self, number: Option<usize>, error: &[u8]) {
        if let Some(number) = number {
            self.each[number].rejected += 1;
        }
        self.note(error);
    }

    fn note(&mut self, error: &[u8]) {
        let code = error.get(1..).unwrap_or_default();
        let code = code.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
        *self.errors.entry(String::from_utf8_lossy(code).into_owned()).or_default() += 1;
    }

    /// How many commands were run.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.each.iter().map(|count| count.run).sum()
    }

    /// Lines of a name and a number, for `INFO` to add up.
    pub fn write(&self, table: &Table, text: &mut String) {
        let _ = writeln!(text, "commands {}", self.total());
        let _ = writeln!(text, "errors {}", self.errors.values().sum::<u64>());
        for (entry, count) in table.all().iter().zip(&self.each) {
            let numbers =
                [("run", count.run), ("rejected", count.rejected), ("failed", count.failed)];
            for (what, number) in numbers.iter().filter(|(_, number)| *number > 0) {
                let _ = writeln!(text, "{what}.{} {number}", entry.name);
            }
        }
        for (code, number) in &self.errors {
            let _ = writeln!(text, "error.{code} {number}");
        }
    }
}
