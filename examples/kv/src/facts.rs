//! What all shards know alike: how the server was started, and the few numbers they count together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::Cluster;

/// What does not change while the server runs, beside some counters.
#[derive(Debug)]
pub struct Facts {
    /// When it started, in milliseconds since 1970.
    pub started: i64,
    /// The TCP port, or 0.
    pub port: AtomicU64,
    /// 40 hexadecimal digits, different at each start.
    pub run_id: String,
    /// How many reactors there are.
    pub reactors: usize,
    /// The longest word of a command at the start.
    pub word_max: usize,
    /// The processes among which the slots are shared out.
    pub cluster: Option<Cluster>,
    /// How many clients have come.
    clients: AtomicU64,
}

impl Facts {
    /// Of a server that starts now.
    #[must_use]
    pub fn new(
        started: i64,
        run_id: String,
        reactors: usize,
        word_max: usize,
        cluster: Option<Cluster>,
    ) -> Self {
        let (port, clients) = (AtomicU64::new(0), AtomicU64::new(0));
        Facts { started, port, run_id, reactors, word_max, cluster, clients }
    }

    /// The number of a client that comes.
    pub fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many clients have come.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }
}
