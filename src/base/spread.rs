//! Which reactor of a server gets a connection: the choices.
//!
//! The kernel's choice needs no code of ours (`net/listen.rs`); the others are made where a
//! connection is accepted (`net/intake.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};

/// How the connections of a listener are shared out among the reactors of a [`Server`](crate::Server):
/// [`Listen::spread`](crate::Listen::spread).
///
/// By the kernel each reactor accepts for itself. By the others reactor 0 accepts, and hands each
/// connection over before anything is done with it: `on_open` comes in the reactor that gets it,
/// with the limits of that. One that is full or has ended gets none while another takes it; where
/// all are full, clients wait in the kernel.
///
/// Full is a reactor that has [`connections`](crate::Config::connections), or whose
/// [caps](crate::Context::set_caps) let no more of the service in. One that has [stopped
/// accepting](crate::Context::pause_accepting) gets none either.
///
/// The cost of a hand-over is a queue between two threads, and that reactor 0 accepts for all:
/// while a callback of it runs, nothing is accepted. `cargo bench --bench cores -- spread` measures
/// it: on two cores, short connections over TCP as many a second as by the kernel, over Unix
/// sockets 0.84 to 0.91 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spread {
    /// TCP: a listening socket in each reactor (`SO_REUSEPORT`, socket(7)), of which the kernel
    /// chooses one by a hash of both addresses. A Unix socket, or an existing listener: one socket
    /// for all, and the first to accept has it.
    Kernel,
    /// One after the other.
    RoundRobin,
    /// The one that has the fewest connections now, those included that it has not opened yet.
    LeastLoaded,
    /// By the IP address of the peer, so that a limit for an
    /// [address](crate::Config::connections_per_address) holds for the server as long as no reactor
    /// is full. Peers without one go to the least loaded.
    ByAddress,
}

/// How many connections a reactor has, for one that accepts for it: hints, and a moment old.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    open: AtomicUsize,
    /// Accepted for it, and not by it yet.
    waiting: AtomicUsize,
}

impl Crowd {
    /// By the reactor itself.
    #[inline]
    pub(crate) fn note_open(&self, connections: usize) {
        self.open.store(connections, Ordering::Relaxed);
    }

    pub(crate) fn one_waits(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn one_waits_no_more(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> usize {
        self.open.load(Ordering::Relaxed) + self.waiting.load(Ordering::Relaxed)
    }
}
