//! What a connection waits for, in words: for a person who looks at a server that hangs.
//!
//! Plain values, filled in `conn/explain.rs` from what the connection knows anyway; nothing is kept
//! for them.

use std::fmt;
use std::time::Duration;

use crate::base::report::Stage;

/// What a connection waits for, and why: what [`Conn::explain`](crate::Conn::explain) returns.
///
/// Prints as one line:
///
/// ```text
/// open; reads: no, the peer does not take its answers; writes: the kernel has no room (65536 bytes queued); write_stall in 97.2 s
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// How far it is in its life.
    pub stage: Stage,
    /// The side that reads.
    pub reads: Reads,
    /// The side that writes.
    pub writes: Writes,
    /// Bytes sent that the kernel has not taken. Of a [source](crate::Conn::send_from) what was
    /// read counts.
    pub queued: usize,
    /// Bytes read that the handler has not consumed.
    pub unread: usize,
    /// Whether a shutdown waits for it: [`Conn::hold`](crate::Conn::hold).
    pub held: bool,
    /// Whether it has a turn before the loop sleeps: it is on the run queue, or to be looked at
    /// after this callback.
    pub runnable: bool,
    /// Which limit ends it first if nothing moves, by its name in [`Config`](crate::Config), and in
    /// what time; or `"timeout"`, that of [`Conn::set_timeout`](crate::Conn::set_timeout).
    pub deadline: Option<(&'static str, Duration)>,
}

/// Why a connection is read from, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// It is: nothing has come, so what it waits for is the peer.
    Peer,
    /// It is, in its turn: something has come, or is offered once more.
    Turn,
    /// The handler has left what came, and waits for the rest of a line or of a message.
    Rest,
    /// As [`Rest`](Self::Rest), for as many bytes in all.
    Bytes(usize),
    /// Not: the handler has [paused](crate::Conn::pause) it.
    Paused,
    /// Not: the peer does not take its answers ([`output_high`](crate::Config::output_high)).
    Resting,
    /// The peer has ended its side; there is nothing more to read.
    Ended,
    /// The connection has failed; what the peer had sent before is read first.
    Failed,
    /// Its [layer](crate::Layer)'s handshake goes on.
    Handshake,
    /// Not before its `on_open`, which is due.
    Opening,
    /// Not: it is closed in this turn.
    Retiring,
    /// What comes is discarded: it was closed.
    Discards,
    /// Not before it is connected.
    Connect,
}

/// Whether a connection has something to write, and why that has not gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writes {
    /// There is nothing to write.
    Nothing,
    /// In its turn.
    Turn,
    /// The kernel has no room for more: the peer, or the way to it, is slow.
    Kernel,
    /// A [source](crate::Conn::send_from) is read piece by piece, the next one in its turn.
    Source,
    /// Not before its layer's handshake is over.
    Handshake,
    /// Not before it is connected.
    Connect,
    /// Our side has ended: all is with the kernel.
    Ended,
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reads::Peer => "waits for the peer",
            Reads::Turn => "in its turn",
            Reads::Rest => "waits for the rest of a message",
            Reads::Bytes(bytes) => return write!(f, "waits for a message of {bytes} bytes"),
            Reads::Paused => "no, paused by the handler",
            Reads::Resting => "no, the peer does not take its answers",
            Reads::Ended => "no, the peer has ended its side",
            Reads::Failed => "to the end, the connection has failed",
            Reads::Handshake => "waits for the handshake of its layer",
            Reads::Opening => "no, its on_open is due",
            Reads::Retiring => "no, it is being closed",
            Reads::Discards => "waits for the peer's end, and discards",
            Reads::Connect => "no, not connected",
        })
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Writes::Nothing => "nothing",
            Writes::Turn => "in its turn",
            Writes::Kernel => "the kernel has no room",
            Writes::Source => "from a source, piece by piece",
            Writes::Handshake => "after the handshake of its layer",
            Writes::Connect => "after the connect",
            Writes::Ended => "no, our side has ended",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Connecting => "connecting",
            Stage::Open => "open",
            Stage::Draining => "closing",
            Stage::Lingering => "closed, lingering",
        };
        write!(f, "{stage}; reads: {}", self.reads)?;
        if self.unread > 0 {
            write!(f, " ({} bytes unconsumed)", self.unread)?;
        }
        write!(f, "; writes: {}", self.writes)?;
        if self.queued > 0 {
            write!(f, " ({} bytes queued)", self.queued)?;
        }
        if self.held {
            f.write_str("; held through a shutdown")?;
        }
        if let Some((limit, left)) = self.deadline {
            write!(f, "; {limit} in {:.1} s", left.as_secs_f64())?;
        }
        Ok(())
    }
}
