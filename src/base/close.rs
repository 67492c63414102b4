//! How a connection ended: the reason, what was not delivered, and whether both ends agreed.
//!
//! Plain values: `conn.rs` sets them, `base/stats.rs` counts them.

use std::fmt;
use std::io;

use crate::base::one_line::OneLine;

/// Why a connection ended: the first cause.
///
/// Later causes change only [`Closed::unsent`] and [`Closed::clean`].
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its side, the handler was told, and then we closed ours.
    PeerEnd,
    /// The handler asked: `close`, or `finish` and then the peer's end.
    Local,
    /// The handler asked: `abort`.
    Aborted,
    /// A callback returned this error.
    Handler(io::Error),
    /// A callback of this connection panicked; the error says with which words. See
    /// [`isolate_panics`](crate::Config::isolate_panics).
    Panic(io::Error),
    /// The socket failed, a reset by the peer included.
    Io(io::Error),
    /// A source ([`Conn::send_from`](crate::Conn::send_from)) failed with this error: what was sent before
    /// went out, and the peer sees a reset behind it.
    Source(io::Error),
    /// The [layer](crate::Layer) of the connection failed with this error: the handshake, or what
    /// the peer sent later, is none of its protocol. What it had to say to that went out.
    Layer(io::Error),
    /// The handshake of the [layer](crate::Layer) took longer than
    /// [`handshake`](crate::Config::handshake), or more bytes than
    /// [`handshake_max`](crate::Config::handshake_max).
    Handshake,
    /// The peer's stream ended without the end that its [layer](crate::Layer) marks: what came
    /// before may have been cut off, by the peer or by a third party. In the place of `on_eof`,
    /// after all that came.
    Truncated,
    /// [`input_max`](crate::Config::input_max) bytes lay unconsumed, or more were waited for.
    InputLimit,
    /// Queued output passed [`output_max`](crate::Config::output_max).
    OutputLimit,
    /// All connections together held more than [`buffered_max`](crate::Config::buffered_max), and
    /// this one held most.
    BufferedLimit,
    /// Accepted, and no byte came within [`first_byte`](crate::Config::first_byte).
    FirstByte,
    /// Fewer bytes moved than [`min_rate`](crate::Config::min_rate) asks for, while the rest
    /// of a request or the taking of an answer was owed.
    TooSlow,
    /// The connection limit was reached, a client waited, and this connection had been idle the longest:
    /// [`reclaim_idle`](crate::Config::reclaim_idle).
    Reclaimed,
    /// No byte moved for [`idle`](crate::Config::idle).
    Idle,
    /// Output was owed and the kernel took none of it for
    /// [`write_stall`](crate::Config::write_stall).
    WriteStall,
    /// The reactor shut down.
    Shutdown,
    /// It was [detached](crate::Conn::detach): it goes on elsewhere. Not [`clean`](Closed::clean),
    /// since it has not ended; nothing is [`unsent`](Closed::unsent), since that was handed over.
    Detached,
    /// It was [handed over](crate::Conn::hand_to) to another service of the reactor, with what it
    /// is owed: it goes on there, under the same id. Not [`clean`](Closed::clean), since it has not
    /// ended.
    HandedOver,
}

impl CloseReason {
    /// The same again, if it is one for which the library closes in order.
    pub(crate) fn of_retiring(&self) -> Option<CloseReason> {
        match self {
            CloseReason::InputLimit => Some(CloseReason::InputLimit),
            CloseReason::FirstByte => Some(CloseReason::FirstByte),
            CloseReason::TooSlow => Some(CloseReason::TooSlow),
            CloseReason::Idle => Some(CloseReason::Idle),
            CloseReason::Shutdown => Some(CloseReason::Shutdown),
            CloseReason::Truncated => Some(CloseReason::Truncated),
            _ => None,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::PeerEnd => f.write_str("the peer ended"),
            CloseReason::Local => f.write_str("closed here"),
            CloseReason::Aborted => f.write_str("aborted here"),
            CloseReason::Handler(error) => write!(f, "handler error: {}", OneLine(error)),
            CloseReason::Panic(error) => write!(f, "handler panic: {}", OneLine(error)),
            CloseReason::Io(error) => write!(f, "socket error: {error}"),
            CloseReason::Source(error) => write!(f, "source error: {}", OneLine(error)),
            CloseReason::Layer(error) => write!(f, "layer error: {}", OneLine(error)),
            CloseReason::Handshake => f.write_str("handshake limit reached"),
            CloseReason::Truncated => f.write_str("the peer ended without an end of its layer"),
            CloseReason::InputLimit => f.write_str("input limit reached"),
            CloseReason::OutputLimit => f.write_str("output limit passed"),
            CloseReason::BufferedLimit => f.write_str("buffered limit passed"),
            CloseReason::FirstByte => f.write_str("first byte timeout"),
            CloseReason::TooSlow => f.write_str("too slow"),
            CloseReason::Reclaimed => f.write_str("idle, and its place was needed"),
            CloseReason::Idle => f.write_str("idle timeout"),
            CloseReason::WriteStall => f.write_str("write stall timeout"),
            CloseReason::Shutdown => f.write_str("shutdown"),
            CloseReason::Detached => f.write_str("detached"),
            CloseReason::HandedOver => f.write_str("handed over"),
        }
    }
}

/// How a connection ended, as told to [`on_close`](crate::Handler::on_close).
///
/// Prints as one line, whatever an error of yours says: `write stall timeout, 4128768 bytes unsent`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The first cause.
    pub reason: CloseReason,
    /// Bytes that the handler sent and the kernel never took.
    ///
    /// Not counted: what was sent after close, which is ignored. Not known: what the kernel took
    /// and the peer never acknowledged; only the peer's answer on the protocol's level tells that.
    /// Through a [layer](crate::Layer) it is counted by the pieces that the layer was given, of at
    /// most 64 KiB: one that the kernel has not taken to its end counts whole, though the peer may
    /// understand a part of it.
    pub unsent: u64,
    /// Whether a source ([`Conn::send_from`](crate::Conn::send_from)) was dropped before its end. How much
    /// it would have brought is not known; what had been read of it counts as sent.
    pub unfinished: bool,
    /// Whether the kernel took all that was sent, and the peer ended its side in its own time: no
    /// reset, no deadline.
    ///
    /// Not whether it said goodbye: of a peer that crashed, its kernel mostly ends the stream in
    /// order, too. Where a protocol has a word for it (`QUIT`, MQTT's `DISCONNECT` and its last
    /// will), the session notes that it came.
    pub clean: bool,
    /// The number of the [service](crate::Context::service) that it was of; 0 where there is but one.
    pub service: u8,
}

impl Closed {
    /// It goes on in another service.
    pub(crate) fn handed_over(service: u8) -> Closed {
        let reason = CloseReason::HandedOver;
        Closed { reason, unsent: 0, unfinished: false, clean: false, service }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if matches!(self.reason, CloseReason::Detached | CloseReason::HandedOver) {
            return Ok(());
        }
        match (self.unsent, self.clean) {
            (_, true) => {}
            (0, false) if self.unfinished => {}
            (0, false) => f.write_str(", not clean")?,
            (1, false) => f.write_str(", 1 byte unsent")?,
            (unsent, false) => write!(f, ", {unsent} bytes unsent")?,
        }
        if self.unfinished { f.write_str(", a source unfinished") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 7: each reason says which side did it, or which limit; no two of them the same.
    #[test]
    fn every_reason_reads_as_a_cause() {
        let error = || io::Error::other("as told");
        let lines = [
            (CloseReason::PeerEnd, "the peer ended"),
            (CloseReason::Local, "closed here"),
            (CloseReason::Aborted, "aborted here"),
            (CloseReason::Handler(error()), "handler error: as told"),
            (CloseReason::Panic(error()), "handler panic: as told"),
            (CloseReason::Io(error()), "socket error: as told"),
            (CloseReason::Source(error()), "source error: as told"),
            (CloseReason::Layer(error()), "layer error: as told"),
            (CloseReason::Handshake, "handshake limit reached"),
            (CloseReason::Truncated, "the peer ended without an end of its layer"),
            (CloseReason::InputLimit, "input limit reached"),
            (CloseReason::OutputLimit, "output limit passed"),
            (CloseReason::BufferedLimit, "buffered limit passed"),
            (CloseReason::Idle, "idle timeout"),
            (CloseReason::WriteStall, "write stall timeout"),
            (CloseReason::Shutdown, "shutdown"),
            (CloseReason::Detached, "detached"),
            (CloseReason::HandedOver, "handed over"),
        ];
        for (reason, line) in lines {
            assert_eq!(reason.to_string(), line);
        }
    }

    #[test]
    fn a_close_prints_as_one_line_for_an_operator() {
        let unfinished = false;
        let service = 0;
        let line = |reason, unsent, clean| {
            Closed { reason, unsent, unfinished, clean, service }.to_string()
        };
        assert_eq!(line(CloseReason::PeerEnd, 0, true), "the peer ended");
        assert_eq!(line(CloseReason::Local, 0, false), "closed here, not clean");
        assert_eq!(
            line(CloseReason::WriteStall, 4096, false),
            "write stall timeout, 4096 bytes unsent"
        );
        let full = line(CloseReason::OutputLimit, 1 << 20, false);
        assert_eq!(full, "output limit passed, 1048576 bytes unsent");
        assert_eq!(line(CloseReason::Detached, 0, false), "detached");
        let told = CloseReason::Handler(io::Error::other("bad command a\nERROR forged"));
        assert_eq!(line(told, 0, true), r"handler error: bad command a\nERROR forged");
        let reset = io::Error::other("reset");
        assert_eq!(line(CloseReason::Io(reset), 1, false), "socket error: reset, 1 byte unsent");
        let line = |reason, unsent| {
            Closed { reason, unsent, unfinished: true, clean: false, service }.to_string()
        };
        assert_eq!(line(CloseReason::Local, 0), "closed here, a source unfinished");
        let cut = line(CloseReason::WriteStall, 4096);
        assert_eq!(cut, "write stall timeout, 4096 bytes unsent, a source unfinished");
    }
}
