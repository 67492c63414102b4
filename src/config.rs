//! Every limit and every timeout, in one place: unit, default, and what happens at the bound.
//!
//! Only limits that are enforced stand here. Contradictions are refused by name when the reactor
//! is made. Read next: `conn.rs`, which keeps to them.

use std::io;
use std::time::Duration;

/// Descriptors kept back from connections: listeners, the poll, logs, files of the program.
const RESERVED_DESCRIPTORS: u64 = 32;
/// The most connections a default configuration takes, whatever the descriptor limit.
const DEFAULT_CONNECTIONS: usize = 65_536;
/// A timeout longer than this (about 136 years) is the same as none, and cannot overflow a clock.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Limits and timeouts of a [`Reactor`](crate::Reactor).
///
/// Sizes are in bytes. The defaults suit a server behind a firewall.
///
/// | setting | default | what happens there |
/// |---|---|---|
/// | [`connections`](Self::connections) | soft `RLIMIT_NOFILE` − 32, at most 65,536 | listeners rest until a connection closes |
/// | [`connections_per_address`](Self::connections_per_address) | none | one more is accepted and reset |
/// | [`input_max`](Self::input_max) | 1 MiB | unconsumed and no progress: ends with `InputLimit` |
/// | [`output_low`](Self::output_low) | 16 KiB | at or below: reading starts again, `on_drain` |
/// | [`output_high`](Self::output_high) | 64 KiB | above: the connection's own reading rests |
/// | [`output_max`](Self::output_max) | 4 MiB | above: ends with `OutputLimit` |
/// | [`read_buffer`](Self::read_buffer) | 256 KiB | the most one read takes; a longer datagram is truncated |
/// | [`buffered_max`](Self::buffered_max) | 1 GiB | above, over all: those who hold most rest, then end with `BufferedLimit` |
/// | [`accepts_per_turn`](Self::accepts_per_turn) | 64 | the rest is accepted next turn |
/// | [`datagrams_per_turn`](Self::datagrams_per_turn) | 64 | the rest is received next turn |
/// | [`datagrams_queued`](Self::datagrams_queued) | 256 KiB | one more to send is dropped, the call says `WouldBlock` |
/// | [`posts_queued`](Self::posts_queued) | 65,536 | a post is given back as `Full` |
/// | [`idle`](Self::idle) | none | no byte moved for so long: ends with `Idle` |
/// | [`connect`](Self::connect) | 10 s | a connect under way for so long has failed |
/// | [`write_stall`](Self::write_stall) | 60 s | owed, none taken for so long: ends with `WriteStall` |
/// | [`linger`](Self::linger) | 5 s | after our FIN: the connection is freed, not clean |
/// | [`close_max`](Self::close_max) | 10 min | after close: the connection is freed, not clean |
/// | [`shutdown_max`](Self::shutdown_max) | 10 s | after shutdown: the rest is aborted |
///
/// One connection holds at most `input_max` of input and `output_max` of output; the read buffer
/// is one for all. Not guaranteed: a bound on the sum over all connections below
/// `connections × (input_max + output_max)`.
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
    pub(crate) input_max: usize,
    pub(crate) output_low: usize,
    pub(crate) output_high: usize,
    pub(crate) output_max: usize,
    pub(crate) buffered_max: usize,
    pub(crate) read_buffer: usize,
    pub(crate) accepts_per_turn: usize,
    pub(crate) datagrams_per_turn: usize,
    pub(crate) datagrams_queued: usize,
    pub(crate) posts_queued: usize,
    pub(crate) idle: Option<Duration>,
    pub(crate) connect: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) linger: Duration,
    pub(crate) close_max: Duration,
    pub(crate) shutdown_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            connections: None,
            connections_per_address: None,
            input_max: 1 << 20,
            output_low: 16 << 10,
            output_high: 64 << 10,
            output_max: 4 << 20,
            buffered_max: 1 << 30,
            read_buffer: 256 << 10,
            accepts_per_turn: 64,
            datagrams_per_turn: 64,
            datagrams_queued: 256 << 10,
            posts_queued: 65_536,
            idle: None,
            connect: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            linger: Duration::from_secs(5),
            close_max: Duration::from_secs(600),
            shutdown_max: Duration::from_secs(10),
        }
    }
}

impl Config {
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
    /// Unix sockets, connections that were adopted or that we made, and who waits in the kernel's
    /// backlog. Default: no limit.
    #[must_use]
    pub fn connections_per_address(mut self, connections: Option<usize>) -> Self {
        self.connections_per_address = connections;
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

    /// Queued output above which the connection's own reading rests. Default 64 KiB: enough to
    /// keep a fast link busy while the handler is away.
    #[must_use]
    pub fn output_high(mut self, bytes: usize) -> Self {
        self.output_high = bytes;
        self
    }

    /// Queued output above which the connection ends with
    /// [`OutputLimit`](crate::CloseReason::OutputLimit). What the kernel takes at once does not
    /// count. Default 4 MiB.
    #[must_use]
    pub fn output_max(mut self, bytes: usize) -> Self {
        self.output_max = bytes;
        self
    }

    /// The most bytes that all connections together may hold: queued output and unconsumed input.
    /// Above three quarters of it, the reading of whoever owes more than
    /// [`output_low`](Self::output_low) rests, as if that were `output_high`. Above all of it those
    /// who hold most are closed, with
    /// [`BufferedLimit`](crate::CloseReason::BufferedLimit), until seven eighths are left. The
    /// present sum is [`Context::buffered`](crate::Context::buffered). Default 1 GiB.
    ///
    /// Shared bytes ([`send_shared`](crate::Conn::send_shared), a broadcast) count for each
    /// connection that owes them, though they are kept once: the sum is never less than what is kept,
    /// and whoever does not read a broadcast is among those who hold most. A chunk counts whole until
    /// all of it is written. Not counted: the rest of a buffer that shared bytes are a part of, and
    /// what the kernel keeps.
    #[must_use]
    pub fn buffered_max(mut self, bytes: usize) -> Self {
        self.buffered_max = bytes;
        self
    }

    /// The most one read takes: the size of the one buffer that all connections share.
    /// Default 256 KiB.
    #[must_use]
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes;
        self
    }

    /// How many connections one listener accepts in one turn, so that a storm of them does not
    /// starve who is connected. Default 64.
    #[must_use]
    pub fn accepts_per_turn(mut self, accepts: usize) -> Self {
        self.accepts_per_turn = accepts;
        self
    }

    /// How many datagrams of one socket are received in one turn, so that a flood on one starves
    /// nobody else. Together they are not much more than one [`read_buffer`](Self::read_buffer).
    /// Default 64.
    #[must_use]
    pub fn datagrams_per_turn(mut self, datagrams: usize) -> Self {
        self.datagrams_per_turn = datagrams;
        self
    }

    /// How many bytes of datagrams may wait in one socket to be sent, when the kernel takes no more.
    /// Each counts with 64 bytes beside its payload, and each receiver that a Unix socket keeps
    /// waiting with 512. One more is dropped: the newest, and the call that sends it says
    /// `WouldBlock`. 0: none waits. Default 256 KiB.
    #[must_use]
    pub fn datagrams_queued(mut self, bytes: usize) -> Self {
        self.datagrams_queued = bytes;
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

    /// How long an open connection may go without a byte read or taken by the kernel, paused or
    /// not; a connection may have [one of its own](crate::Conn::set_idle_timeout). Default: no limit.
    #[must_use]
    pub fn idle(mut self, timeout: Option<Duration>) -> Self {
        self.idle = timeout;
        self
    }

    /// How long a connect may take before it has failed, with `TimedOut`. The kernel itself would
    /// try on for minutes (`tcp_syn_retries`, tcp(7)). Default 10 s.
    #[must_use]
    pub fn connect(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// How long output may be owed without the kernel taking a byte of it. Default 60 s.
    #[must_use]
    pub fn write_stall(mut self, timeout: Duration) -> Self {
        self.write_stall = timeout;
        self
    }

    /// How long we wait for the peer's end after our FIN. Default 5 s.
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

    /// How long a shutdown may take before the rest is aborted. Default 10 s.
    #[must_use]
    pub fn shutdown_max(mut self, timeout: Duration) -> Self {
        self.shutdown_max = timeout;
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
        if self.connections.unwrap_or(1) > ceiling {
            return refuse(format!("Config: connections is above {ceiling}"));
        }
        // At low there must be room, or who streams would be called again and again for nothing.
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
        Limits {
            connections,
            connections_per_address: self.connections_per_address,
            input_max: self.input_max,
            output_low: self.output_low,
            output_high: self.output_high,
            output_max: self.output_max,
            rest_above: self.output_high,
            buffered_max: self.buffered_max,
            accepts_per_turn: self.accepts_per_turn,
            datagrams_per_turn: self.datagrams_per_turn,
            datagrams_queued: self.datagrams_queued,
            idle: self.idle.filter(|idle| *idle < FOREVER),
            connect: self.connect.min(FOREVER),
            write_stall: self.write_stall.min(FOREVER),
            linger: self.linger.min(FOREVER),
            close_max: self.close_max.min(FOREVER),
            shutdown_max: self.shutdown_max.min(FOREVER),
        }
    }
}

/// The configuration in force: checked, and fitted to this process.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: Option<usize>,
    pub(crate) input_max: usize,
    pub(crate) output_low: usize,
    pub(crate) output_high: usize,
    pub(crate) output_max: usize,
    /// Above so much queued output reading rests: `output_high`, or less while too much is buffered.
    pub(crate) rest_above: usize,
    pub(crate) buffered_max: usize,
    pub(crate) accepts_per_turn: usize,
    pub(crate) datagrams_per_turn: usize,
    pub(crate) datagrams_queued: usize,
    pub(crate) idle: Option<Duration>,
    pub(crate) connect: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) linger: Duration,
    pub(crate) close_max: Duration,
    pub(crate) shutdown_max: Duration,
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

    #[test]
    fn a_timeout_beyond_all_measure_is_kept_within_the_clock() {
        let limits = Config::default().idle(Some(Duration::MAX)).close_max(Duration::MAX);
        let limits = limits.limits(None);
        assert_eq!((limits.idle, limits.close_max), (None, FOREVER));
    }
}
