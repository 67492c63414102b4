//! What happened in a simulated world: a line for each thing, and a number for all of them.

use std::collections::VecDeque;
use std::fmt;

use rustix::io::Errno;

use crate::base::readiness::Readiness;

/// Lines kept. The hash is over all.
const KEPT: usize = 100_000;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The poll was asked to wait so long at most (`u64::MAX`: for ever).
    Poll(u64),
    /// An event, with its bits.
    Event(Readiness),
    Listen,
    Accept,
    /// Of datagrams: there is room for so many bytes; so many are sent.
    Receive(usize),
    SendTo(usize),
    /// Asked for so many bytes.
    Read(usize),
    /// Offered so many bytes.
    Write(usize),
    Shutdown,
    TakeError,
    Close,
    /// So many bytes came to us; or, at the other end, to the peer.
    Arrive(usize),
    ArriveThere(usize),
    /// The end came to us, to the peer.
    End,
    EndThere,
    /// A reset came to us, to the peer.
    Reset,
    ResetThere,
    Connect,
    Refused,
    /// The peer did.
    PeerWrote(usize),
    PeerRead(usize),
    PeerFinished,
    PeerReset,
    PeerLeft,
    /// The process stood still for so many nanoseconds.
    Stopped(u64),
    /// A callback or another remark, with a number.
    Note(&'static str, u64),
}

/// A thing, when, and of which connection.
#[derive(Clone, Copy, Debug)]
struct Record {
    at: u64,
    /// A connection (peers count from 0) or, above, a datagram socket.
    who: u32,
    what: What,
    answer: Answer,
}

/// What a call answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    None,
    Count(usize),
    Error(Errno),
}

/// From here on, numbers are those of datagram sockets.
pub(crate) const PORTS: u32 = 1 << 31;
/// No connection in particular.
pub(crate) const NOBODY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    records: VecDeque<Record>,
    hash: u64,
    dropped: u64,
}

impl Trace {
    #[inline]
    pub(crate) fn add(&mut self, at: u64, who: u32, what: What, answer: Answer) {
        let (kind, number) = what.numbers();
        let answered = match answer {
            Answer::None => 0,
            Answer::Count(n) => n as u64 + 1,
            Answer::Error(errno) => u64::from(errno.raw_os_error().unsigned_abs()) << 32,
        };
        for word in [at, u64::from(who) << 8 | kind, number, answered] {
            // FNV with words for bytes: enough to tell two runs apart.
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
        }
        if self.records.len() == KEPT {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(Record { at, who, what, answer });
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, at most so many.
    pub(crate) fn text(&self, most: usize) -> String {
        use fmt::Write;
        let skipped = self.records.len().saturating_sub(most);
        let mut text = String::new();
        if self.dropped + skipped as u64 > 0 {
            let _ = writeln!(text, "... {} lines before", self.dropped + skipped as u64);
        }
        for record in self.records.iter().skip(skipped) {
            let _ = writeln!(text, "{record}");
        }
        text
    }
}

impl What {
    fn numbers(self) -> (u64, u64) {
        match self {
            What::Poll(timeout) => (0, timeout),
            What::Event(bits) => (1, u64::from(bits.0)),
            What::Listen => (2, 0),
            What::Accept => (3, 0),
            What::Read(n) => (4, n as u64),
            What::Write(n) => (5, n as u64),
            What::Shutdown => (6, 0),
            What::Close => (7, 0),
            What::Arrive(n) => (8, n as u64),
            What::ArriveThere(n) => (9, n as u64),
            What::End => (10, 0),
            What::EndThere => (11, 0),
            What::Reset => (12, 0),
            What::ResetThere => (13, 0),
            What::Connect => (14, 0),
            What::Refused => (15, 0),
            What::PeerWrote(n) => (16, n as u64),
            What::PeerRead(n) => (17, n as u64),
            What::PeerFinished => (18, 0),
            What::PeerReset => (19, 0),
            What::PeerLeft => (20, 0),
            What::Stopped(n) => (21, n),
            What::TakeError => (22, 0),
            What::Receive(n) => (250, n as u64),
            What::SendTo(n) => (251, n as u64),
            What::Note(what, n) => (23 + what.len() as u64, n),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at / 1000;
        write!(f, "{:>5}.{:06} ", micros / 1_000_000, micros % 1_000_000)?;
        if self.who == NOBODY {
            f.write_str("      ")?;
        } else if self.who >= PORTS {
            write!(f, "@{:<4} ", self.who - PORTS)?;
        } else {
            write!(f, "#{:<4} ", self.who)?;
        }
        match self.what {
            What::Poll(u64::MAX) => f.write_str("poll, as long as it takes")?,
            What::Poll(timeout) => write!(f, "poll, {timeout} ns at most")?,
            What::Event(bits) => write!(f, "event {bits}")?,
            What::Listen => f.write_str("listen")?,
            What::Accept => f.write_str("accept")?,
            What::Read(n) => write!(f, "read {n}")?,
            What::Write(n) => write!(f, "write {n}")?,
            What::Receive(n) => write!(f, "recvmsg {n}")?,
            What::SendTo(n) => write!(f, "sendto {n}")?,
            What::TakeError => f.write_str("getsockopt(SO_ERROR)")?,
            What::Shutdown => f.write_str("shutdown(Write)")?,
            What::Close => f.write_str("close")?,
            What::Arrive(n) => write!(f, "<- {n} bytes arrive")?,
            What::ArriveThere(n) => write!(f, "   {n} bytes arrive there")?,
            What::End => f.write_str("<- the end arrives")?,
            What::EndThere => f.write_str("   our end arrives there")?,
            What::Reset => f.write_str("<- a reset arrives")?,
            What::ResetThere => f.write_str("   our reset arrives there")?,
            What::Connect => f.write_str("<- connects")?,
            What::Refused => f.write_str("   is refused")?,
            What::PeerWrote(n) => write!(f, "   peer writes {n}")?,
            What::PeerRead(n) => write!(f, "   peer reads {n}")?,
            What::PeerFinished => f.write_str("   peer ends its side")?,
            What::PeerReset => f.write_str("   peer resets")?,
            What::PeerLeft => f.write_str("   peer closes")?,
            What::Stopped(n) => write!(f, "the process stands still for {n} ns")?,
            What::Note(what, n) => write!(f, "{what} {n}")?,
        }
        match self.answer {
            Answer::None => Ok(()),
            Answer::Count(n) => write!(f, " = {n}"),
            Answer::Error(errno) => write!(f, " = {}", name(errno)),
        }
    }
}

/// As the man pages name it.
fn name(errno: Errno) -> String {
    let known = [
        (Errno::AGAIN, "EAGAIN"),
        (Errno::INTR, "EINTR"),
        (Errno::PIPE, "EPIPE"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::NOBUFS, "ENOBUFS"),
    ];
    let found = known.iter().find(|(known, _)| *known == errno);
    found.map_or_else(|| std::io::Error::from(errno).to_string(), |(_, name)| (*name).into())
}
