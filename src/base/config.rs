//! Every limit and every timeout, in one place: unit, default, and what happens at the bound.
//!
//! Only limits that are enforced stand here. Contradictions are refused by name when the reactor
//! is made. Read next: `conn.rs`, which keeps to them.

use std::io;
use std::ops::Deref;
use std::time::Duration;

/// Descriptors kept back from connections: listeners, the poll, logs, files of the program.
const RESERVED_DESCRIPTORS: u64 = 32;
/// The most connections a default configuration takes, whatever the descriptor limit.
const DEFAULT_CONNECTIONS: usize = 65_536;
/// What a connection takes without its buffers: its place (the vector of places grows by doubling),
/// its entries in the queues, among the deadlines and in the count of its address, its boxes.
const CONNECTION_BYTES: usize = 1024;
/// What a post takes.
const POST_BYTES: usize = 64;
/// What a reactor takes without connections: the event list, the cork.
const OWN_BYTES: usize = 1 << 20;
/// The largest read buffer: 1 GiB. One recv(2) takes less than 2 GiB on Linux, whatever the room.
const READ_BUFFER_CEILING: usize = 1 << 30;

/// Limits and timeouts of a [`Reactor`](crate::Reactor).
///
/// Sizes are in bytes. A time beyond the clock's 584 years, such as [`Duration::MAX`], never comes.
/// [`Config::default`] is for a server behind a firewall, whose peers may be slow
/// or broken but mean no harm; [`Config::public`] is for one on the internet.
///
/// | setting | default | `public()` | at the bound | why so much |
/// |---|---|---|---|---|
/// | [`connections`](Self::connections) | soft `RLIMIT_NOFILE` − 32, at most 65,536 | the same | listeners rest until a connection closes | a connection is a descriptor; 32 are for the program |
/// | [`connections_per_address`](Self::connections_per_address) | none | 256 | one more is accepted and reset | an office behind one NAT fits; to take all 65,536 places it takes 256 addresses |
/// | [`reclaim_idle`](Self::reclaim_idle) | none | 10 s | full, and a client waits: the connection idle longest, for this long at least, ends with `Reclaimed` | longer than a client thinks between two requests of one page |
/// | [`input_max`](Self::input_max) | 1 MiB | 64 KiB | unconsumed and no progress: ends with `InputLimit` | a message; in public the head of one: bodies can be consumed as they come |
/// | [`output_low`](Self::output_low) | 16 KiB | the same | at or below: reading starts again, `on_drain` | so much goes out while a handler makes more |
/// | [`output_high`](Self::output_high) | 64 KiB | the same | at or above: the connection's own reading rests | keeps a fast link busy while the handler is away |
/// | [`output_max`](Self::output_max) | 4 MiB | 1 MiB | above: ends with `OutputLimit` | an answer sent in one piece; larger ones are streamed |
/// | [`buffered_max`](Self::buffered_max) | 1 GiB | 256 MiB | above, over all: reading rests where most is held, then those connections end with `BufferedLimit` | what a machine can spare; in public the smallest one rents |
/// | [`read_buffer`](Self::read_buffer) | 256 KiB | the same | the most one read takes; a longer datagram is truncated | larger ones were measured to bring nothing |
/// | [`accepts_per_turn`](Self::accepts_per_turn) | 64 | the same | the rest is accepted next turn | less than a millisecond |
/// | [`datagrams_per_turn`](Self::datagrams_per_turn) | 64 | the same | the rest is received next turn | about what one read of a stream costs |
/// | [`datagrams_queued`](Self::datagrams_queued) | 256 KiB | the same | of the receiver that most waits for, the newest is dropped | as much as the kernel's own buffer |
/// | [`datagram_wait`](Self::datagram_wait) | 10 s | the same | a datagram that has waited for so long is dropped | as `connect`: a receiver that is busy comes back, one that is stuck does not |
/// | [`posts_queued`](Self::posts_queued) | 65,536 | the same | a post is given back as `Full` | one for each connection |
/// | [`first_byte`](Self::first_byte) | none | 10 s | accepted and silent for so long: ends with `FirstByte` | a lost packet is sent again after 1, 3 and 7 s |
/// | [`min_rate`](Self::min_rate) | none | 4 KiB in 30 s | owing, and fewer bytes moved in the window: ends with `TooSlow` | a short request takes one packet; 137 bytes a second is less than any modem |
/// | [`idle`](Self::idle) | none | 60 s | nothing owed, no byte moved for so long: ends with `Idle` | what browsers and proxies keep a connection for, about |
/// | [`connect`](Self::connect) | 10 s | the same | a connect under way for so long has failed | as `first_byte` |
/// | [`handshake`](Self::handshake) | 10 s | the same | the handshake of a layer takes longer: ends with `Handshake` | as `connect` |
/// | [`handshake_max`](Self::handshake_max) | 64 KiB | the same | the peer has sent more in it: ends with `Handshake` | a chain of four certificates of 4 KiB, four times |
/// | [`write_stall`](Self::write_stall) | 2 min | 30 s | owed, none taken for so long, nor when asked once more: ends with `WriteStall` | a peer's kernel makes room in steps: over loopback 64 KiB, which takes one that reads 1 KiB a second a minute |
/// | [`linger`](Self::linger) | 5 s | 2 s | after our FIN, and what went before it, or after a reset that a paused handler does not read on to: the connection is freed, not clean | a round trip, and one retransmission |
/// | [`close_max`](Self::close_max) | 10 min | 60 s | after close: the connection is freed, not clean | the last answer over a slow link: 4 MiB at 7 KiB a second, 1 MiB at 17 |
/// | [`shutdown_max`](Self::shutdown_max) | 10 s | the same | after shutdown, and after `on_shutdown`: the rest is aborted | what service managers wait at least |
/// | [`isolate_panics`](Self::isolate_panics) | no | no | a panic of the handler goes through | a bug should show; a program that is to run on says so |
///
/// One connection holds at most `input_max` of input and `output_max` of output, all together at
/// most `buffered_max`; the read buffer is one for all. What that comes to is
/// [`worst_case_bytes`](Self::worst_case_bytes).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wouldblock::Config;
///
/// let config = Config::default()
///     .connections(10_000)
///     .idle(Some(Duration::from_secs(60)))
///     .output_max(1 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) connections: Option<usize>,
    pub(crate) connections_per_address: Option<usize>,
    pub(crate) reclaim_idle: Option<Duration>,
    pub(crate) input_max: usize,
    pub(crate) output_low: usize,
    pub(crate) output_high: usize,
    pub(crate) output_max: usize,
    pub(crate) buffered_max: usize,
    pub(crate) read_buffer: usize,
    pub(crate) accepts_per_turn: usize,
    pub(crate) datagrams_per_turn: usize,
    pub(crate) datagrams_queued: usize,
    pub(crate) datagram_wait: Duration,
    pub(crate) posts_queued: usize,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) min_rate: Option<(usize, Duration)>,
    pub(crate) idle: Option<Duration>,
    pub(crate) connect: Duration,
    pub(crate) handshake: Duration,
    pub(crate) handshake_max: usize,
    pub(crate) write_stall: Duration,
    pub(crate) linger: Duration,
    pub(crate) close_max: Duration,
    pub(crate) shutdown_max: Duration,
    pub(crate) isolate_panics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            connections: None,
            connections_per_address: None,
            reclaim_idle: None,
            input_max: 1 << 20,
            output_low: 16 << 10,
            output_high: 64 << 10,
            output_max: 4 << 20,
            buffered_max: 1 << 30,
            read_buffer: 256 << 10,
            accepts_per_turn: 64,
            datagrams_per_turn: 64,
            datagrams_queued: 256 << 10,
            datagram_wait: Duration::from_secs(10),
            posts_queued: 65_536,
            first_byte: None,
            min_rate: None,
            idle: None,
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            handshake_max: 64 << 10,
            write_stall: Duration::from_secs(120),
            linger: Duration::from_secs(5),
            close_max: Duration::from_secs(600),
            shutdown_max: Duration::from_secs(10),
            isolate_panics: false,
        }
    }
}

impl Config {
    /// For a server whose peers are strangers: the limits of the table's third column.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::Config;
    ///
    /// let config = Config::public().connections(10_000);
    /// assert!(config.worst_case_bytes() < 1 << 30);
    /// ```
    #[must_use]
    pub fn public() -> Self {
        Config::default()
            .connections_per_address(Some(256))
            .reclaim_idle(Some(Duration::from_secs(10)))
            .input_max(64 << 10)
            .output_max(1 << 20)
            .buffered_max(256 << 20)
            .first_byte(Some(Duration::from_secs(10)))
            .min_rate(4 << 10, Duration::from_secs(30))
            .idle(Some(Duration::from_secs(60)))
            .write_stall(Duration::from_secs(30))
            .linger(Duration::from_secs(2))
            .close_max(Duration::from_secs(60))
    }

    /// The most memory that peers can make a reactor with these limits use, in bytes, whatever they
    /// do. It is the sum of
    ///
    /// * 1 KiB for each of the [`connections`](Self::connections) (65,536 if they are not set);
    /// * twice [`buffered_max`](Self::buffered_max) and what one callback may add to it: once for what is
    ///   allocated, which is counted exactly, and as much for what lies twice while a buffer grows, and
    ///   for the gaps that an allocator leaves;
    /// * the read buffer; 64 bytes for each post; and 1 MiB that is there in any case.
    ///
    /// Not counted, because the program decides how much of it there is:
    ///
    /// * sessions: their size, for each connection that was ever open at a time and once more, since they
    ///   lie in a vector that grows by doubling; whatever else the handler keeps, and what a posted
    ///   closure has captured;
    /// * 128 bytes for each timer of [`set_timer`](crate::Context::set_timer);
    /// * 1 KiB for each listener; and for each datagram socket 1 KiB and up to twice
    ///   [`datagrams_queued`](Self::datagrams_queued);
    /// * the rest of a buffer that shared bytes are a slice of;
    /// * where there are [layers](crate::Layer), the buffers that all of them share: the read
    ///   buffer once more, 1 MiB, and what one call of a layer appends beyond 64 KiB;
    /// * the kernel's buffers (`tcp_rmem` and `tcp_wmem`, tcp(7)).
    #[must_use]
    pub fn worst_case_bytes(&self) -> usize {
        let connections = self.connections.unwrap_or(DEFAULT_CONNECTIONS);
        let one_more = self.input_max.saturating_add(self.output_max);
        let held = self.buffered_max.saturating_add(one_more).saturating_mul(2);
        [
            connections.saturating_mul(CONNECTION_BYTES),
            held,
            self.read_buffer,
            self.posts_queued.saturating_mul(POST_BYTES),
            OWN_BYTES,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// The most connections at a time. At this number listeners rest, and clients wait in the
    /// kernel's backlog until a connection closes.
    ///
    /// Default: the soft descriptor limit (getrlimit(2)) less 32, at most 65,536. More than the
    /// descriptor limit allows is brought down to that, with a warning in the log: the library
    /// never raises the limit.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections);
        self
    }

    /// The most connections accepted from one address at a time: one more is accepted and reset at
    /// once, without a callback, and counted in
    /// [`Stats::refused_address`](crate::Stats::refused_address). At most one line in ten seconds
    /// tells the log.
    ///
    /// An IPv4 address counts as itself where it comes mapped into IPv6, and of IPv6 a /64 is one
    /// address: so much is given to one customer (RFC 6177). Hence all neighbours on one link
    /// (`fe80::/64`) are one, too, and so are all behind one NAT or one proxy. Not counted: peers on
    /// Unix sockets, connections that were adopted or made by us, and those that wait in the kernel's
    /// backlog. Default: no limit.
    #[must_use]
    pub fn connections_per_address(mut self, connections: Option<usize>) -> Self {
        self.connections_per_address = connections;
        self
    }

    /// Gives the place of the longest idle connection to a client that waits while all
    /// [`connections`](Self::connections) are taken, if no byte of it has moved for so long at least;
    /// the new one is accepted first, so that no connection ends in vain. Without it, and where none is
    /// idle so long, listeners rest and newcomers wait.
    ///
    /// It ends at once, with [`Reclaimed`](crate::CloseReason::Reclaimed): nothing is owed to it,
    /// so nothing is lost by that. Not chosen: a connection that is owed output, has sent what is
    /// not consumed, is paused or [held](crate::Conn::hold), or has ended its side. A handler that
    /// is to answer later holds the connection meanwhile.
    ///
    /// The cost: a pass over all connections finds up to 256 of the longest idle, and comes at most
    /// once in 10 ms, only while the limit is reached and a client waits. Default: none.
    #[must_use]
    pub fn reclaim_idle(mut self, idle_for: Option<Duration>) -> Self {
        self.reclaim_idle = idle_for;
        self
    }

    /// The most input one connection may leave unconsumed. A call of `on_data` that was offered
    /// so much and consumed nothing, or that waits for more, ends the connection with
    /// [`InputLimit`](crate::CloseReason::InputLimit). Default 1 MiB.
    #[must_use]
    pub fn input_max(mut self, bytes: usize) -> Self {
        self.input_max = bytes;
        self
    }

    /// Queued output at or below which a resting connection reads again, and `on_drain` comes.
    /// Below [`output_high`](Self::output_high). Default 16 KiB.
    #[must_use]
    pub fn output_low(mut self, bytes: usize) -> Self {
        self.output_low = bytes;
        self
    }

    /// Queued output at or above which the connection's own reading rests, there is no
    /// [`room`](crate::Conn::room), and [`Input`](crate::Input) hands out no more messages. Default
    /// 64 KiB: enough to keep a fast link busy while the handler is away.
    #[must_use]
    pub fn output_high(mut self, bytes: usize) -> Self {
        self.output_high = bytes;
        self
    }

    /// Queued output above which the connection ends with
    /// [`OutputLimit`](crate::CloseReason::OutputLimit) and a reset, however well its peer reads. What
    /// the kernel takes at once does not count. Default 4 MiB.
    ///
    /// One answer that is longer than this less `output_high` may meet it, and one of 10 MiB will:
    /// set this to the longest answer and `output_high`, or send it in pieces, by way of
    /// [`room`](crate::Conn::room).
    #[must_use]
    pub fn output_max(mut self, bytes: usize) -> Self {
        self.output_max = bytes;
        self
    }

    /// The most bytes that may be allocated for all connections together: queued output and
    /// unconsumed input. Above three quarters of it, the reading of each connection that owes more
    /// than [`output_low`](Self::output_low) rests, as if that were `output_high`. Above all of it
    /// the connections that hold most are closed, with
    /// [`BufferedLimit`](crate::CloseReason::BufferedLimit), until seven eighths are left. The
    /// present sum is [`Context::buffered`](crate::Context::buffered). Default 1 GiB.
    ///
    /// Counted is what is allocated: a buffer counts with the room it has grown by, and a chunk counts
    /// whole while a part of it is unwritten (of one that only this connection has, the last quarter is
    /// copied and the chunk given back). Shared bytes ([`send_shared`](crate::Conn::send_shared), a
    /// broadcast) count for each connection that owes them, though they are kept once: the sum is never
    /// less than what is kept, and a connection whose peer does not read a broadcast is among those that
    /// hold most. Not counted: the rest of a buffer that shared bytes are a slice of, and what the
    /// kernel keeps.
    #[must_use]
    pub fn buffered_max(mut self, bytes: usize) -> Self {
        self.buffered_max = bytes;
        self
    }

    /// The most one read takes: the size of the one buffer that all connections share.
    /// At most 1 GiB. Default 256 KiB.
    #[must_use]
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes;
        self
    }

    /// How many connections one listener accepts in one turn, so that a storm of them does not
    /// starve the clients that are connected. Default 64.
    #[must_use]
    pub fn accepts_per_turn(mut self, accepts: usize) -> Self {
        self.accepts_per_turn = accepts;
        self
    }

    /// How many datagrams of one socket are received in one turn, so that a flood on one starves
    /// no other socket. Together they are not much more than one [`read_buffer`](Self::read_buffer).
    /// Default 64.
    #[must_use]
    pub fn datagrams_per_turn(mut self, datagrams: usize) -> Self {
        self.datagrams_per_turn = datagrams;
        self
    }

    /// How many bytes of datagrams may wait in one socket to be sent, when the kernel takes no more.
    /// Each counts with 64 bytes beside its payload, and each Unix receiver that is waited for with
    /// 512. Above, the receiver that most bytes wait for loses the newest of its datagrams, so that one
    /// that never reads takes nothing away from the others. If that is the very receiver which is sent
    /// to (or the socket is one of UDP, where all wait together), the call says `WouldBlock`. 0: none
    /// waits. Default 256 KiB.
    #[must_use]
    pub fn datagrams_queued(mut self, bytes: usize) -> Self {
        self.datagrams_queued = bytes;
        self
    }

    /// How long a datagram may wait to be sent: then it is dropped, and counted
    /// ([`Stats::datagrams_expired`](crate::Stats::datagrams_expired)). Default 10 s.
    #[must_use]
    pub fn datagram_wait(mut self, wait: Duration) -> Self {
        self.datagram_wait = wait;
        self
    }

    /// How many closures posted through a [`Handle`](crate::Handle) may wait: one more is given back
    /// with [`PostError::Full`](crate::PostError::Full). Each is two words, or four with the name
    /// of a connection, and what it captured. Default 65,536.
    #[must_use]
    pub fn posts_queued(mut self, posts: usize) -> Self {
        self.posts_queued = posts;
        self
    }

    /// How long an accepted connection may take to say anything: a peer that only holds a place gives
    /// it back soon. Not counted against one whose reading the application paused, or let rest,
    /// before the first byte; adopted and outbound ones are free of it. It ends with
    /// [`FirstByte`](crate::CloseReason::FirstByte). Default: no limit.
    #[must_use]
    pub fn first_byte(mut self, timeout: Option<Duration>) -> Self {
        self.first_byte = timeout;
        self
    }

    /// How much must move in each window of time while something is owed, or the connection ends
    /// with [`TooSlow`](crate::CloseReason::TooSlow): what a peer that sends or reads a byte now and
    /// then (slowloris) is found out by. Default: no limit, and 0 bytes are none.
    ///
    /// Two things may be owed, each with windows of its own. *The rest of a request*: input that
    /// the handler left unconsumed, from the call that left it until one consumes any of it; so a
    /// request that is longer than the window needs so many bytes in each, and a short one must be
    /// complete within the window. A window in which the application paused or
    /// [held](crate::Conn::hold) the connection, or the library let it rest, is not counted: a
    /// handler that leaves input because *it* waits for something says so in this way; the next
    /// window counts again. And *an answer*: output that is queued, until the kernel has taken all.
    /// A connection that owes nothing may be silent: that is for [`idle`](Self::idle). Input that
    /// is consumed as it comes is no debt, however slow.
    ///
    /// Not guaranteed: that a slow reader is found at exactly this rate. The kernel takes ahead, and
    /// reports room only when a third of its send buffer is free (`tcp_wmem`, tcp(7)): the slower a
    /// link, the longer the window should be.
    #[must_use]
    pub fn min_rate(mut self, bytes: usize, window: Duration) -> Self {
        self.min_rate = Some((bytes, window));
        self
    }

    /// How long an open connection that is owed nothing may go without a byte read or taken by the
    /// kernel, paused or not. What the kernel has taken and the peer has not (above 4 KiB) is still owed:
    /// while that becomes less, the connection is not idle. The kernel says so on Linux, where the process
    /// may ask it (`sock_diag(7)`; a service that is allowed only some address families may not, without
    /// `AF_NETLINK`). What is queued has [`write_stall`](Self::write_stall) instead. A connection may have
    /// [one of its own](crate::Conn::set_idle_timeout). Default: no limit.
    #[must_use]
    pub fn idle(mut self, timeout: Option<Duration>) -> Self {
        self.idle = timeout;
        self
    }

    /// How long a connect may take before it has failed, with `TimedOut`. The kernel itself would
    /// try on for minutes (`tcp_syn_retries`, tcp(7)). Default 10 s. One connect may have its own:
    /// [`Connect::timeout`](crate::Connect::timeout).
    #[must_use]
    pub fn connect(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// How long the handshake of a [layer](crate::Layer) may take, from when the connection is
    /// established (or the layer was put in its place) until it [is ready](crate::Layer::is_ready).
    /// Then the peer sees a reset, and the connection ends with
    /// [`Handshake`](crate::CloseReason::Handshake); a connect has failed, with `TimedOut`. In that
    /// time neither [`first_byte`](Self::first_byte) nor [`idle`](Self::idle) nor
    /// [`min_rate`](Self::min_rate) counts. Default 10 s.
    #[must_use]
    pub fn handshake(mut self, timeout: Duration) -> Self {
        self.handshake = timeout;
        self
    }

    /// The most bytes that the peer may send in the handshake of a [layer](crate::Layer). Above,
    /// where the last read has not brought it to its end, the connection ends as at
    /// [`handshake`](Self::handshake). Default 64 KiB.
    #[must_use]
    pub fn handshake_max(mut self, bytes: usize) -> Self {
        self.handshake_max = bytes;
        self
    }

    /// How long output may be owed without the kernel taking a byte of it. Default 2 min.
    ///
    /// Before it acts on this, or on [`min_rate`](Self::min_rate), the library offers what is owed
    /// once more: the kernel tells of room only when a third of its buffer is free, which may be
    /// megabytes. So a peer that reads steadily is served for as long as it does, as long as its
    /// kernel shows it in time: that makes room for more when a sixteenth of its receive buffer is
    /// free, or as much as one segment (`tcp_rmem`, tcp(7)). Over loopback that is about 64 KiB, 70
    /// s for one that reads 1 kB a second, and on a Unix socket 36 KiB; for one that has read fast
    /// before, with a buffer that has grown, 300 KiB and more.
    ///
    /// It also bounds for how long [`idle`](Self::idle), [`reclaim_idle`](Self::reclaim_idle) and
    /// [`linger`](Self::linger) wait for bytes that the kernel has taken and the peer does not read.
    #[must_use]
    pub fn write_stall(mut self, timeout: Duration) -> Self {
        self.write_stall = timeout;
        self
    }

    /// How long we wait for the peer's end after our FIN; and, where a connection has
    /// [failed](crate::Conn::has_failed) while its reading is paused, for the handler to resume and
    /// read what the peer had sent before. While the kernel still delivers what was sent before our FIN,
    /// as for [`idle`](Self::idle), that counts from then; `close_max` is the bound. Default 5 s.
    #[must_use]
    pub fn linger(mut self, timeout: Duration) -> Self {
        self.linger = timeout;
        self
    }

    /// How long a close may take in all, the flush and the linger. Default 10 min.
    #[must_use]
    pub fn close_max(mut self, timeout: Duration) -> Self {
        self.close_max = timeout;
        self
    }

    /// How long a shutdown may take before the rest is aborted, counted from when
    /// [`on_shutdown`](crate::Handler::on_shutdown) has returned. Default 10 s.
    #[must_use]
    pub fn shutdown_max(mut self, timeout: Duration) -> Self {
        self.shutdown_max = timeout;
        self
    }

    /// Whether a panic of the handler ends one connection instead of the reactor. Default: it does
    /// not, a panic goes through [`Reactor::run`](crate::Reactor::run), and dropping the reactor
    /// frees every descriptor.
    ///
    /// If `isolate` is true, then a panic in a callback of a connection (`on_open`, `on_data`,
    /// `on_eof`, `on_drain`, `on_timeout`, [`post_to`](crate::Handle::post_to)) ends that
    /// connection with [`CloseReason::Panic`](crate::CloseReason::Panic) and a reset, so that no
    /// peer takes half an answer for a whole one; `on_close` is given its session as the panic left
    /// it (after a panic in `on_open` there is none, and no `on_close`). A panic in a callback of
    /// no connection (`on_timer`, `on_datagram`, `on_close`, `on_connect_failed`, `on_shutdown`,
    /// [`post`](crate::Handle::post)) ends no connection; the callback is not called again for the
    /// same thing. Each is one line in the log, at `error`, and counted in
    /// [`Stats::panics`](crate::Stats::panics). Only `on_start` is not isolated: a server whose
    /// start failed has not started.
    ///
    /// The handler's own fields are as the panic left them: turn this on if it can bear that. What
    /// std prints of a panic it prints all the same
    /// ([`panic::set_hook`](std::panic::set_hook) changes that). In a program built with
    /// `panic = "abort"` nothing can be caught, and this changes nothing. It costs nothing while
    /// nothing panics.
    ///
    /// Not guaranteed: that a panic in a destructor stays here, of a posted closure that is dropped
    /// unrun, say.
    #[must_use]
    pub fn isolate_panics(mut self, isolate: bool) -> Self {
        self.isolate_panics = isolate;
        self
    }

    /// Refuses contradictions, by name. `ceiling`: how many connections can be told apart.
    pub(crate) fn check(&self, ceiling: usize) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        for (name, value) in [
            ("connections", self.connections.unwrap_or(1)),
            ("connections_per_address", self.connections_per_address.unwrap_or(1)),
            ("input_max", self.input_max),
            ("output_max", self.output_max),
            ("buffered_max", self.buffered_max),
            ("read_buffer", self.read_buffer),
            ("accepts_per_turn", self.accepts_per_turn),
            ("datagrams_per_turn", self.datagrams_per_turn),
            ("posts_queued", self.posts_queued),
        ] {
            if value == 0 {
                return refuse(format!("Config: {name} is 0"));
            }
        }
        if self.min_rate.is_some_and(|(bytes, window)| bytes > 0 && window.is_zero()) {
            return refuse("Config: min_rate has a window of no time".into());
        }
        if self.connections.unwrap_or(1) > ceiling {
            return refuse(format!("Config: connections is above {ceiling}"));
        }
        if self.read_buffer > READ_BUFFER_CEILING {
            return refuse(format!(
                "Config: read_buffer ({}) is above {READ_BUFFER_CEILING}",
                self.read_buffer
            ));
        }
        // At low there must be room, or a handler that streams would be called again and again for nothing.
        if self.output_low >= self.output_high {
            return refuse(format!(
                "Config: output_low ({}) is not below output_high ({})",
                self.output_low, self.output_high
            ));
        }
        // An echo of one full read must fit above high, or an honest peer could end itself.
        if self.output_high.saturating_add(self.read_buffer) > self.output_max {
            return refuse(format!(
                "Config: output_high ({}) + read_buffer ({}) is above output_max ({})",
                self.output_high, self.read_buffer, self.output_max
            ));
        }
        Ok(())
    }

    /// The same for one of several reactors of a process, for a soft descriptor limit (`None`:
    /// unlimited), which is for all of them.
    pub(crate) fn share(&self, descriptors: Option<u64>, reactors: usize) -> Config {
        let reactors = u64::try_from(reactors).unwrap_or(u64::MAX);
        let each = descriptors.map(|limit| {
            let room = limit.saturating_sub(RESERVED_DESCRIPTORS) / reactors;
            room.saturating_add(RESERVED_DESCRIPTORS)
        });
        self.clone().connections(self.limits(each).connections)
    }

    /// The limits as the loop uses them, for a soft descriptor limit (`None`: unlimited).
    pub(crate) fn limits(&self, descriptors: Option<u64>) -> Limits {
        let room =
            descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED_DESCRIPTORS).max(1));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let connections = match self.connections {
            Some(wanted) if wanted > room => {
                log::warn!(
                    "connections is {wanted}, but the descriptor limit leaves room for {room}: \
                     using {room}"
                );
                room
            }
            Some(wanted) => wanted,
            None => room.min(DEFAULT_CONNECTIONS),
        };
        let mut config = self.clone();
        config.min_rate = config.min_rate.filter(|(bytes, _)| *bytes > 0);
        let paces = config.min_rate.is_some();
        Limits { connections, rest_at: config.output_high, paces, config }
    }
}

/// The configuration in force: checked, fitted to this process, and with the one limit that moves.
/// Whatever is not here is the configuration's own.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) config: Config,
    /// In the place of the configuration's: what the descriptor limit leaves of it.
    pub(crate) connections: usize,
    /// With so much queued output, or more, reading rests, and there is no room: `output_high`, or
    /// the least above `output_low` while too much is buffered.
    pub(crate) rest_at: usize,
    /// Whether the speed of any connection counts: `min_rate`, or that of a service.
    pub(crate) paces: bool,
}

impl Deref for Limits {
    type Target = Config;

    #[inline]
    fn deref(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &Config) -> String {
        config.check(1000).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_do_not_contradict_themselves() {
        Config::default().check(1000).unwrap();
        Config::public().check(1000).unwrap();
    }

    /// Promise 4: the table tells what is so.
    #[test]
    fn the_table_has_a_row_for_each_setting() {
        let text = include_str!("config.rs");
        let fields = format!("{:?}", Config::default());
        let names = fields.split([' ', '{']).filter_map(|word| word.strip_suffix(':'));
        let mut rows = 0;
        for name in names {
            assert!(text.contains(&format!("/// | [`{name}`](Self::{name}) | ")), "{name}");
            rows += 1;
        }
        assert_eq!(rows, 25);
    }

    #[test]
    fn the_worst_case_is_reckoned_without_overflow() {
        let config = Config::default().buffered_max(usize::MAX).connections(usize::MAX);
        assert_eq!(config.worst_case_bytes(), usize::MAX);
        let public = Config::public().connections(65_536).worst_case_bytes();
        assert!((512 << 20..640 << 20).contains(&public), "{public}");
    }

    /// Promise 4: a limit that cannot hold is refused by name.
    #[test]
    fn a_contradiction_is_refused_by_name() {
        let low = Config::default().output_low(100).output_high(100);
        assert_eq!(refusal(&low), "Config: output_low (100) is not below output_high (100)");
        let max = Config::default().output_max(65_536);
        assert!(refusal(&max).contains("above output_max (65536)"));
        assert_eq!(refusal(&Config::default().connections(0)), "Config: connections is 0");
        assert_eq!(refusal(&Config::default().input_max(0)), "Config: input_max is 0");
        let many = Config::default().connections(1001);
        assert!(refusal(&many).contains("connections is above"));
    }

    /// Trap 30: more connections are never promised than descriptors are left.
    #[test]
    fn connections_are_brought_down_to_the_descriptor_limit() {
        let limits = |config: Config, descriptors| config.limits(descriptors).connections;
        assert_eq!(limits(Config::default().connections(1000), Some(64)), 32);
        assert_eq!(limits(Config::default().connections(10), Some(64)), 10);
        assert_eq!(limits(Config::default(), Some(1024)), 992);
        assert_eq!(limits(Config::default(), Some(10)), 1);
        assert_eq!(limits(Config::default(), None), 65_536);
        assert_eq!(limits(Config::default(), Some(1 << 40)), 65_536);
    }

    /// Promise 4: the descriptors of a process are divided among the reactors of a server, whether
    /// the number of connections is set or not.
    #[test]
    fn reactors_share_the_descriptors() {
        let places = |config: &Config, descriptors, reactors| {
            config.share(descriptors, reactors).connections.unwrap()
        };
        let config = Config::default();
        assert_eq!(places(&config, Some(1032), 4), 250);
        assert_eq!(places(&config, Some(1032), 1), 1000);
        assert_eq!(places(&config, Some(4), 128), 1, "none would serve nothing");
        assert_eq!(places(&config, None, 4), DEFAULT_CONNECTIONS);
        let config = config.connections(600);
        assert_eq!(places(&config, Some(1032), 1), 600);
        assert_eq!(places(&config, Some(1032), 4), 250, "more than there are for each");
    }
}
