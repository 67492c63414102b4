//! Keys that a transaction watches: each has a version, which every change of the key raises.
//!
//! A key that does not exist can be watched too. The map is empty while nobody watches, and then
//! costs one look.

use std::collections::HashMap;

use super::Keyspace;

/// The watched keys.
#[derive(Debug, Default)]
pub(super) struct Watched {
    keys: HashMap<Box<[u8]>, Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    version: u64,
    watchers: usize,
}

impl Watched {
    pub(super) fn touch(&mut self, key: &[u8]) {
        if !self.keys.is_empty()
            && let Some(watch) = self.keys.get_mut(key)
        {
            watch.version += 1;
        }
    }

    /// Touches those that `is_affected`.
    pub(super) fn touch_all(&mut self, is_affected: impl Fn(&[u8]) -> bool) {
        for (key, watch) in &mut self.keys {
            watch.version += u64::from(is_affected(key));
        }
    }
}

impl Keyspace {
    /// Watches `key`, and returns its version; [`Keyspace::unwatch`] ends it.
    pub fn watch(&mut self, key: &[u8]) -> u64 {
        // One that has expired goes now: its end is no change after this.
        self.find(key);
        let watch = self.watched.keys.entry(key.into()).or_default();
        watch.watchers += 1;
        watch.version
    }

    /// Returns the version of a watched key: unlike before, if the key changed, or expired, since.
    pub fn version(&mut self, key: &[u8]) -> u64 {
        self.find(key);
        self.watched.keys.get(key).map_or(0, |watch| watch.version)
    }

    /// Returns how many keys are watched.
    pub fn watched_keys(&self) -> usize {
        self.watched.keys.len()
    }

    /// Ends one [`Keyspace::watch`] of `key`.
    pub fn unwatch(&mut self, key: &[u8]) {
        if let Some(watch) = self.watched.keys.get_mut(key) {
            watch.watchers -= 1;
            if watch.watchers == 0 {
                self.watched.keys.remove(key);
            }
        }
    }
}
