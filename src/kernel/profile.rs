//! How rough the simulated world is: sizes, delays, and how often what goes wrong.

use std::ops::RangeInclusive;

/// How rough a simulated world is: how large its buffers, how slow its network, how often each
/// fault.
///
/// Chances are in thousandths of the calls they concern. Start from [`calm`](Self::calm) (no
/// faults, every byte at once), [`default`](Self::default) (what TCP does on any day: bytes come in
/// pieces, late, and a call may be cut short) or [`rough`](Self::rough) (everything that a kernel may
/// do), and change what your test is about.
///
/// # Examples
///
/// ```
/// use wouldblock::sim::Profile;
///
/// // A world in which descriptors run out, and nothing else happens.
/// let profile = Profile::calm().descriptors(8);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub(crate) flags: bool,
    pub(crate) buffer: RangeInclusive<usize>,
    pub(crate) buffer_max: usize,
    pub(crate) addresses: usize,
    pub(crate) unix_names: u32,
    pub(crate) duplicates: u32,
    pub(crate) lingers: u32,
    pub(crate) piece: RangeInclusive<usize>,
    pub(crate) latency: RangeInclusive<u64>,
    pub(crate) descriptors: usize,
    pub(crate) backlog_max: usize,
    pub(crate) events_max: usize,
    pub(crate) short_read: u32,
    pub(crate) short_write: u32,
    pub(crate) would_block: u32,
    pub(crate) interrupted: u32,
    pub(crate) accept_error: u32,
    pub(crate) watch_error: u32,
    pub(crate) spurious: u32,
    pub(crate) split: u32,
    pub(crate) events_shuffled: u32,
    pub(crate) late: u32,
    pub(crate) blind: u32,
    pub(crate) stopped: u32,
    pub(crate) preempted: u32,
    pub(crate) mailbox: RangeInclusive<usize>,
    pub(crate) lost: u32,
    pub(crate) duplicated: u32,
    pub(crate) datagrams_reordered: u32,
    pub(crate) shortage: u32,
}

/// [`Profile::everyday`].
impl Default for Profile {
    fn default() -> Self {
        Self::everyday()
    }
}

impl Profile {
    /// No faults: bytes arrive at once and whole, buffers are as large as Linux's, as many
    /// descriptors as anyone needs.
    #[must_use]
    pub fn calm() -> Self {
        Profile {
            flags: true,
            buffer: 128 << 10..=128 << 10,
            buffer_max: 0,
            addresses: 0,
            unix_names: 0,
            duplicates: 0,
            lingers: 0,
            piece: usize::MAX..=usize::MAX,
            latency: 10..=10,
            descriptors: 1 << 20,
            backlog_max: 4096,
            events_max: 1024,
            short_read: 0,
            short_write: 0,
            would_block: 0,
            interrupted: 0,
            accept_error: 0,
            watch_error: 0,
            spurious: 0,
            split: 0,
            events_shuffled: 0,
            late: 0,
            blind: 0,
            stopped: 0,
            preempted: 0,
            mailbox: 256..=256,
            lost: 0,
            duplicated: 0,
            datagrams_reordered: 0,
            shortage: 0,
        }
    }

    /// What a network does on any day: bytes come in pieces of 1 to 64, after 5 µs to 2 ms; buffers
    /// hold 64 to 4096 bytes; reads and writes are cut short now and then. One datagram in fifty is lost,
    /// a few come twice or out of order, and no more than 8 to 64 wait to be read.
    #[must_use]
    pub fn everyday() -> Self {
        Self::calm()
            .buffer(64..=4096)
            .piece(1..=64)
            .latency_micros(5..=2000)
            .short_read(100)
            .short_write(100)
            .interrupted(10)
            .preempted(100)
            .mailbox(8..=64)
            .lost(20)
            .duplicated(10)
            .datagrams_reordered(50)
    }

    /// Everything that a kernel and a network may do, often.
    #[must_use]
    pub fn rough() -> Self {
        Self::everyday()
            .would_block(30)
            .accept_error(50)
            .watch_error(5)
            .spurious(50)
            .split(100)
            .events_shuffled(200)
            .late(50)
            .blind(100)
            .stopped(2)
            .preempted(300)
            .mailbox(1..=64)
            .lost(100)
            .duplicated(50)
            .datagrams_reordered(200)
            .shortage(20)
    }

    /// Whether the kernel's events tell more than readable and writable, and a short read or write
    /// on TCP is followed by an edge: as Linux's epoll (`true`), or as a poll(2) that is armed again
    /// by WouldBlock alone (`false`).
    #[must_use]
    pub fn flags(mut self, flags: bool) -> Self {
        self.flags = flags;
        self
    }

    /// The size in bytes of the kernel's buffers, drawn for each connection and direction.
    #[must_use]
    pub fn buffer(mut self, bytes: RangeInclusive<usize>) -> Self {
        self.buffer = (*bytes.start()).max(1)..=(*bytes.end()).max(1);
        self
    }

    /// How many bytes the send buffer of a TCP socket may come to hold: as Linux does (`tcp_wmem`,
    /// tcp(7)), it doubles each time that it was full and some of it has gone on its way. It is
    /// writable again when a third of it is free; a reader that takes kilobytes a second sees to that
    /// once in minutes when it has come to megabytes. Default 0: it keeps the size of
    /// [`buffer`](Self::buffer).
    #[must_use]
    pub fn buffer_max(mut self, bytes: usize) -> Self {
        self.buffer_max = bytes;
        self
    }

    /// From how many addresses peers come, each from another port, for a handler or a limit that
    /// goes by them. Default 0: each peer has an address of its own.
    #[must_use]
    pub fn addresses(mut self, addresses: usize) -> Self {
        self.addresses = addresses;
        self
    }

    /// How often a peer on a Unix socket has bound a name: a path or one in the abstract namespace,
    /// of up to as many bytes as there is room for, which need not be text.
    #[must_use]
    pub fn unix_names(mut self, per_mille: u32) -> Self {
        self.unix_names = per_mille;
        self
    }

    /// How often a duplicate of the descriptor that a handler is lent ([`Conn::fd`](crate::Conn::fd))
    /// stays behind, with another process, and lives longer than the connection.
    #[must_use]
    pub fn duplicates(mut self, per_mille: u32) -> Self {
        self.duplicates = per_mille;
        self
    }

    /// How often a handler sets the descriptor that it is lent to linger.
    #[allow(dead_code, reason = "for the schedules of crates/check")]
    pub(crate) fn lingers(mut self, per_mille: u32) -> Self {
        self.lingers = per_mille;
        self
    }

    /// How many bytes arrive at a time.
    #[must_use]
    pub fn piece(mut self, bytes: RangeInclusive<usize>) -> Self {
        self.piece = (*bytes.start()).max(1)..=(*bytes.end()).max(1);
        self
    }

    /// How long a piece is under way, in microseconds.
    #[must_use]
    pub fn latency_micros(mut self, micros: RangeInclusive<u64>) -> Self {
        self.latency = micros;
        self
    }

    /// The most descriptors the process may have open (`EMFILE` above that, getrlimit(2)).
    #[must_use]
    pub fn descriptors(mut self, descriptors: usize) -> Self {
        self.descriptors = descriptors;
        self
    }

    /// The most connections that wait at a listener, whatever it asks for (`net.core.somaxconn`);
    /// one more, to be exact, as on Linux. A peer that comes when it is full tries again after a second.
    #[must_use]
    pub fn backlog_max(mut self, connections: usize) -> Self {
        self.backlog_max = connections.max(1);
        self
    }

    /// The most events one poll brings.
    #[must_use]
    pub fn events_max(mut self, events: usize) -> Self {
        self.events_max = events.max(1);
        self
    }

    /// How often a read brings less than there is. With [`flags`](Self::flags), and on TCP, an edge
    /// follows.
    #[must_use]
    pub fn short_read(mut self, per_mille: u32) -> Self {
        self.short_read = per_mille;
        self
    }

    /// How often a write takes less than there is room for. With [`flags`](Self::flags), and on TCP,
    /// an edge follows.
    #[must_use]
    pub fn short_write(mut self, per_mille: u32) -> Self {
        self.short_write = per_mille;
        self
    }

    /// How often a call says WouldBlock without need. An edge follows.
    #[must_use]
    pub fn would_block(mut self, per_mille: u32) -> Self {
        self.would_block = per_mille;
        self
    }

    /// How often a signal interrupts a call, the poll included; sometimes many times in a row.
    #[must_use]
    pub fn interrupted(mut self, per_mille: u32) -> Self {
        self.interrupted = per_mille;
        self
    }

    /// How often an accept fails with one of the errors that Linux knows (accept(2)).
    #[must_use]
    pub fn accept_error(mut self, per_mille: u32) -> Self {
        self.accept_error = per_mille;
        self
    }

    /// How often the kernel will not watch a new connection (`ENOMEM`, `ENOSPC` of `epoll_ctl(2)`).
    #[must_use]
    pub fn watch_error(mut self, per_mille: u32) -> Self {
        self.watch_error = per_mille;
        self
    }

    /// How often a poll brings an event for nothing, of a connection that has gone perhaps.
    #[must_use]
    pub fn spurious(mut self, per_mille: u32) -> Self {
        self.spurious = per_mille;
        self
    }

    /// How often one event comes as two.
    #[must_use]
    pub fn split(mut self, per_mille: u32) -> Self {
        self.split = per_mille;
        self
    }

    /// How often the events of one poll change places.
    #[must_use]
    pub fn events_shuffled(mut self, per_mille: u32) -> Self {
        self.events_shuffled = per_mille;
        self
    }

    /// How often an event comes later than what it tells of, by up to a millisecond.
    #[must_use]
    pub fn late(mut self, per_mille: u32) -> Self {
        self.late = per_mille;
        self
    }

    /// How often a poll that times out has not looked at its last moments: what came then is told by the
    /// next one.
    #[must_use]
    pub fn blind(mut self, per_mille: u32) -> Self {
        self.blind = per_mille;
        self
    }

    /// How often a poll takes up to three seconds although there is something to tell: the process
    /// was stopped, or the machine slept.
    #[must_use]
    pub fn stopped(mut self, per_mille: u32) -> Self {
        self.stopped = per_mille;
        self
    }

    /// How often the thread of a reactor of a server ([`Sim::server`](crate::sim::Sim::server))
    /// loses the processor behind a turn, for up to 10 ms: what the others post to it waits for so
    /// long, and they go on.
    #[must_use]
    pub fn preempted(mut self, per_mille: u32) -> Self {
        self.preempted = per_mille;
        self
    }

    /// How many datagrams wait to be read, drawn for each socket. What is more is lost
    /// (UDP), or the sender is told to wait (Unix). So many may be under way from a UDP socket, too,
    /// before it is told to.
    #[must_use]
    pub fn mailbox(mut self, datagrams: RangeInclusive<usize>) -> Self {
        self.mailbox = (*datagrams.start()).max(1)..=(*datagrams.end()).max(1);
        self
    }

    /// How often the network loses a datagram of UDP.
    #[must_use]
    pub fn lost(mut self, per_mille: u32) -> Self {
        self.lost = per_mille;
        self
    }

    /// How often the network makes two datagrams of one.
    #[must_use]
    pub fn duplicated(mut self, per_mille: u32) -> Self {
        self.duplicated = per_mille;
        self
    }

    /// How often a datagram takes up to ten times as long as the slowest, and may be overtaken. The
    /// others arrive in the order in which their sender sent them.
    #[must_use]
    pub fn datagrams_reordered(mut self, per_mille: u32) -> Self {
        self.datagrams_reordered = per_mille;
        self
    }

    /// How often the kernel is short of memory for a datagram to be sent (`ENOBUFS`), sometimes for up
    /// to 50 ms. No event tells when that is over.
    #[must_use]
    pub fn shortage(mut self, per_mille: u32) -> Self {
        self.shortage = per_mille;
        self
    }
}
