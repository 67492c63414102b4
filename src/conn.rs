//! One connection as a state machine.
//!
//! It is lent something to read from or write to, and the time; it makes one call, and decides
//! what that means: which readiness is forgotten, what is owed, what comes next, when it is over.
//! It makes no other system call, knows no neighbour and calls no handler: `core.rs` acts on what
//! it decides, `reactor.rs` calls the handler. So all of it is tested with a scripted stream.
//! What it wants next is asked in `conn/wants.rs`. Read next: `core.rs`.
//!
//! ```text
//! Connecting ──established──▶ Open
//!   └──failure, deadline, close, abort───────────────────────────────────────────────────────▶ Closed
//! Open ──close, error, idle, limit──▶ Draining ──flushed, FIN sent──▶ Lingering ──peer's end──▶ Closed
//!   └──abort, output limit, stall──────────┴──deadline, write error──────┴──deadline──────────────▲
//! ```

use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::AtomicBool;

use crate::base::attempt::{Attempt, attempt};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::base::readiness::Readiness;
use crate::conn::buffer::Leftover;
use crate::conn::flags::Flags;
use crate::conn::input::Wait;
use crate::conn::output::Output;
use crate::time::deadlines::Stamp;
use extras::Extras;

pub(crate) use look::Look;

pub(crate) mod buffer;
pub(crate) mod deadlines;
mod explain;
mod extras;
pub(crate) mod flags;
mod held;
pub(crate) mod input;
pub(crate) mod layer;
mod leave;
mod look;
pub(crate) mod output;
mod pull;
mod rate;
mod reset;
mod retire;
mod wants;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A connect is under way: sends are queued, nothing is read or written.
    Connecting,
    /// The handler is called.
    Open,
    /// Flushes what is owed; reads and discards, so that a peer that sends before it reads comes to
    /// read (trap 72).
    Draining,
    /// Our FIN is out; reads and discards until the peer's end, so that no reset destroys a reply
    /// in flight (trap 36).
    Lingering,
    /// Over; the descriptor is freed and the handler told as soon as no callback runs.
    Closed,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// So many bytes.
    Data(usize),
    /// The peer's end.
    End,
    /// Nothing now, or the connection is over.
    Nothing,
}

/// One connection, without its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) output: Output,
    /// Input that was read and not consumed, with the handler's last word about it.
    pub(crate) leftover: Option<Box<Leftover>>,
    /// What few connections have, or only at their end: a timer, why it ends.
    extras: Option<Box<Extras>>,
    /// While it is open, when a byte was last read. Before, by when the connect must be over;
    /// after, by when the close (`close_max` from close). It never needs two of them, and each
    /// counts where there are many.
    heard_or_until: Stamp,
    /// When the kernel last took a byte, or was found to deliver what it had taken; or when output came
    /// to be owed after there was none; or our FIN went.
    taken: Stamp,
    pub(crate) flags: Flags,
    pub(crate) readiness: Readiness,
    phase: Phase,
    /// The number of the service that it is of.
    pub(crate) service: u8,
    /// Others may hold a duplicate of its descriptor, or have set its options: it was handed in, or
    /// its descriptor lent out. Atomic because that is lent from behind a shared reference.
    shared: AtomicBool,
}

impl Connection {
    /// A new connection has room to send; whether it has something to read, an edge will tell.
    pub(crate) fn new(now: Stamp) -> Self {
        Connection {
            output: Output::default(),
            leftover: None,
            extras: None,
            heard_or_until: now,
            taken: now,
            flags: Flags::default(),
            readiness: Readiness::WRITABLE,
            phase: Phase::Open,
            service: 0,
            shared: AtomicBool::new(false),
        }
    }

    /// One whose connect is under way: an edge will tell that it has ended, one way or the other.
    pub(crate) fn connecting(now: Stamp, until: Stamp) -> Self {
        let (phase, readiness) = (Phase::Connecting, Readiness::EMPTY);
        let mut conn =
            Connection { heard_or_until: until, phase, readiness, ..Connection::new(now) };
        conn.flags.set(Flags::UNOPENED);
        conn
    }

    // --- What the kernel says -------------------------------------------------------------------

    /// The connect has succeeded.
    pub(crate) fn handle_connected(&mut self, now: Stamp, limits: &Limits) {
        self.phase = Phase::Open;
        self.heard_or_until = now;
        self.taken = now;
        self.flags.clear(Flags::UNOPENED);
        if limits.paces && !self.output.is_empty() {
            // Nothing could be taken before.
            self.owe_output(now);
        }
        // What was seen with that event counts: bytes may have come with it.
        self.readiness.merge(Readiness::WRITABLE);
        self.handle_level(self.queued(), limits);
    }

    /// `on_open` has returned: how long the peer is silent is counted from here, and not from the
    /// accept, which may lie a batch of slow `on_open` back.
    pub(crate) fn handle_opened(&mut self, now: Stamp) {
        if self.phase == Phase::Open {
            self.heard_or_until = now;
        }
    }

    /// Reads once, while it is open. `short_is_proof`: a short read may be a proof on this kind of socket.
    #[inline]
    pub(crate) fn read(
        &mut self,
        io: &mut impl Read,
        buf: &mut [u8],
        now: Stamp,
        short_is_proof: bool,
    ) -> News {
        let news = self.read_on(io, buf, short_is_proof);
        if let News::Data(_) = news {
            self.heard_or_until = now;
        }
        news
    }

    /// Reads once after close, when nothing counts from what is heard.
    #[inline]
    pub(crate) fn read_on(
        &mut self,
        io: &mut impl Read,
        buf: &mut [u8],
        short_is_proof: bool,
    ) -> News {
        let room = buf.len();
        match attempt(|| io.read(buf)) {
            Ok(Attempt::Ready(n)) if n > 0 => {
                self.flags.clear(Flags::SILENT);
                if n < room && short_is_proof && self.readiness.trusts_short_read() {
                    self.readiness.forget_readable();
                    self.flags.set(Flags::EXHAUSTED);
                }
                News::Data(n)
            }
            Ok(Attempt::Ready(_)) => {
                // An error that came with the end is still to be asked for.
                if !self.readiness.is_error() {
                    self.readiness.forget_readable();
                }
                self.flags.clear(Flags::SILENT);
                self.flags.set(Flags::EXHAUSTED);
                self.flags.set(Flags::PEER_ENDED);
                self.end_if_failed();
                News::End
            }
            Ok(Attempt::WouldBlock) => {
                self.readiness.forget_readable();
                self.flags.set(Flags::EXHAUSTED);
                self.end_if_failed();
                News::Nothing
            }
            // A storm of signals: the bit stays, so the connection comes round again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => News::Nothing,
            Err(error) => {
                self.fail(error);
                News::Nothing
            }
        }
    }

    /// Writes what is queued, once. Returns how many bytes the kernel took.
    pub(crate) fn flush(&mut self, io: &mut impl Write, now: Stamp, short_is_proof: bool) -> usize {
        let mut offered = 0;
        let output = &self.output;
        let result = attempt(|| {
            let (n, all) = output.write(io)?;
            offered = all;
            Ok(n)
        });
        let n = self.handle_write(result, offered, now, short_is_proof);
        self.output.advance(n);
        self.advance_records(n);
        self.pace_output(n);
        n
    }

    /// Writes bytes that are not queued, once; nothing may be queued. Returns how many of them the
    /// kernel took.
    #[inline]
    pub(crate) fn write(
        &mut self,
        io: &mut impl Write,
        bytes: &[u8],
        now: Stamp,
        short_is_proof: bool,
    ) -> usize {
        debug_assert!(self.output.is_empty(), "sends keep their order");
        let result = attempt(|| io.write(bytes));
        self.handle_write(result, bytes.len(), now, short_is_proof)
    }

    /// Writes two pieces in one call, as [`write`](Self::write) does.
    pub(crate) fn write_both(
        &mut self,
        io: &mut impl Write,
        first: &[u8],
        second: &[u8],
        now: Stamp,
        short_is_proof: bool,
    ) -> usize {
        debug_assert!(self.output.is_empty(), "sends keep their order");
        let result = attempt(|| io.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]));
        self.handle_write(result, first.len() + second.len(), now, short_is_proof)
    }

    #[inline]
    fn handle_write(
        &mut self,
        result: io::Result<Attempt<usize>>,
        offered: usize,
        now: Stamp,
        short_is_proof: bool,
    ) -> usize {
        match result {
            Ok(Attempt::Ready(n)) if n > 0 => {
                self.taken = now;
                // Short of what was offered in this very call, or it proves nothing.
                if n < offered && short_is_proof {
                    self.readiness.forget_writable();
                }
                return n;
            }
            Ok(Attempt::Ready(_)) => self.fail_write(io::ErrorKind::WriteZero.into(), now),
            Ok(Attempt::WouldBlock) => self.readiness.forget_writable(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.fail_write(error, now),
        }
        0
    }

    /// A connect or a read failed: the socket is done in both directions, and has nothing more to
    /// read.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.flags.set(Flags::CUT);
        self.give_reason(CloseReason::Io(error));
        self.finish_off();
    }

    /// A write failed, or an event told of an error: nothing can be delivered any more, but what came
    /// before is still in the kernel and goes to the handler first (trap 42). If that does not read,
    /// paused, it has `linger` to come back to it. A drain that was owed is told: there is room, for
    /// nothing.
    pub(crate) fn fail_write(&mut self, error: io::Error, now: Stamp) {
        self.flags.set(Flags::CUT);
        self.give_reason(CloseReason::Io(error));
        match self.phase {
            Phase::Open => {
                self.drop_output();
                self.taken = now;
                self.flags.set(Flags::FAILED);
                self.flags.clear(Flags::RESTING);
                if self.flags.has(Flags::HIGH) {
                    self.flags.clear(Flags::HIGH);
                    if !self.flags.has(Flags::FINISHING) {
                        self.flags.set(Flags::DRAINED);
                    }
                }
                // In doubt until the read that ends it: what a dead socket still holds has no edge.
                self.readiness.merge(Readiness::ERROR);
            }
            Phase::Connecting | Phase::Draining | Phase::Lingering | Phase::Closed => {
                self.finish_off();
            }
        }
    }

    fn end_if_failed(&mut self) {
        if self.flags.has(Flags::FAILED) {
            self.finish_off();
        }
    }

    // --- What the application says --------------------------------------------------------------

    /// Leaves `Open` by way of a flush and our FIN, and `Connecting` at once, since there is no peer
    /// to flush to. The first reason stays.
    pub(crate) fn end(&mut self, reason: CloseReason, now: Stamp, limits: &Limits) {
        if self.phase == Phase::Connecting || self.awaits_handshake() {
            return self.cut(reason);
        }
        if self.phase != Phase::Open {
            return;
        }
        self.give_reason(reason);
        self.leftover = None;
        self.flags.clear(Flags::NOT_READING);
        self.flags.clear(Flags::DRAIN);
        self.flags.clear(Flags::OFFER);
        if self.flags.has(Flags::FAILED) {
            return self.finish_off();
        }
        self.phase = Phase::Draining;
        self.heard_or_until = now.after(limits.close_max);
    }

    /// `close`: an end that the peer began, or that we do.
    pub(crate) fn close(&mut self, now: Stamp, limits: &Limits) {
        let began_there = self.flags.has(Flags::EOF_TOLD) && !self.flags.has(Flags::FINISHING);
        let reason = if began_there { CloseReason::PeerEnd } else { CloseReason::Local };
        self.end(reason, now, limits);
    }

    /// `finish`: our FIN after what is queued, and reading goes on.
    pub(crate) fn finish(&mut self, now: Stamp, limits: &Limits) {
        if self.flags.has(Flags::EOF_TOLD) || self.ends_together() {
            // Both sides have ended, or end together: that is a close.
            return self.close(now, limits);
        }
        self.flags.set(Flags::FINISHING);
    }

    /// Ends at once: by reset, unless our FIN followed all that was sent. The first reason stays.
    pub(crate) fn cut(&mut self, reason: CloseReason) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase != Phase::Lingering {
            self.flags.set(Flags::RESET);
        }
        self.flags.set(Flags::CUT);
        self.give_reason(reason);
        self.finish_off();
    }

    pub(crate) fn pause(&mut self) {
        self.stand_still();
        self.flags.set(Flags::PAUSED);
    }

    pub(crate) fn resume(&mut self) {
        if self.flags.has(Flags::PAUSED) {
            self.flags.clear(Flags::UNREAD);
            self.flags.clear(Flags::PAUSED);
            self.flags.set(Flags::RENEWED);
            self.offer_again();
        }
    }

    /// Whether reading rests while output is above high.
    pub(crate) fn auto_pause(&mut self, auto_pause: bool) {
        if auto_pause {
            self.flags.clear(Flags::READS_ON);
            if self.flags.has(Flags::HIGH) {
                self.flags.set(Flags::RESTING);
                self.stand_still();
            }
            return;
        }
        self.flags.set(Flags::READS_ON);
        if self.flags.has(Flags::RESTING) {
            self.flags.clear(Flags::RESTING);
            self.flags.set(Flags::RENEWED);
            self.offer_again();
        }
    }

    pub(crate) fn hold(&mut self, hold: bool) {
        if hold {
            self.flags.set(Flags::HELD);
            self.stand_still();
        } else {
            self.flags.clear(Flags::HELD);
        }
    }

    /// The application wants `on_drain`. Returns whether it will come, if `on_close` does not come
    /// before.
    pub(crate) fn want_drain(&mut self) -> bool {
        let takes_sends = self.takes_sends();
        if takes_sends {
            self.flags.set(Flags::WISHED);
        }
        takes_sends
    }

    /// A wish of this turn is owed from the next one on.
    pub(crate) fn handle_wish(&mut self) {
        if self.flags.has(Flags::WISHED) {
            self.flags.clear(Flags::WISHED);
            self.flags.set(Flags::WANTS_DRAIN);
        }
    }

    /// What is left is offered once more, unless the last word was that it waits.
    fn offer_again(&mut self) {
        if self.has_left() {
            self.flags.set(Flags::OFFER);
        }
    }

    // --- What follows ---------------------------------------------------------------------------

    /// The first bytes are owed since now.
    pub(crate) fn handle_owed(&mut self, now: Stamp) {
        self.taken = now;
    }

    /// Compares queued output, which was `before`, with the watermarks.
    pub(crate) fn handle_level(&mut self, before: usize, limits: &Limits) {
        let queued = self.level();
        if self.phase != Phase::Open {
            return;
        }
        if queued >= limits.rest_at {
            self.flags.set(Flags::HIGH);
            if !self.flags.has(Flags::READS_ON) {
                self.flags.set(Flags::RESTING);
                self.stand_still();
            }
        } else if queued <= limits.output_low {
            if self.flags.has(Flags::HIGH) {
                self.flags.clear(Flags::HIGH);
                self.flags.clear(Flags::RESTING);
                if !self.flags.has(Flags::NOTHING_MORE_TO_SEND) {
                    self.flags.set(Flags::DRAINED);
                }
            }
            if before > limits.output_low {
                self.flags.set(Flags::RENEWED);
                self.offer_again();
            }
        }
    }

    /// Keeps what a call of `on_data` left, and decides whether it comes again without new bytes.
    ///
    /// `consumed`: of what it was offered. The leftover is put back already, or dropped if empty.
    pub(crate) fn handle_left(&mut self, consumed: usize, now: Stamp, limits: &Limits) {
        if self.phase != Phase::Open || self.flags.has(Flags::EOF_TOLD) {
            if !self.flags.has(Flags::DETACHED) {
                self.leftover = None;
            }
            return;
        }
        let Some(leftover) = &self.leftover else { return };
        let refused = leftover.wait == Wait::NotNow;
        let idle_hands = consumed == 0 && !self.flags.has(Flags::NOT_READING);
        let beyond = match leftover.wait {
            // What another waited for.
            _ if self.flags.has(Flags::UNOPENED) => false,
            Wait::Bytes(n) => n > limits.input_max,
            Wait::NotNow => false,
            Wait::Nothing | Wait::Line | Wait::Delimiter(_) => {
                idle_hands && leftover.len() >= limits.input_max
            }
        };
        if beyond {
            self.retire(CloseReason::InputLimit, now, limits);
        } else if consumed > 0 || refused || self.flags.has(Flags::RENEWED) {
            // With progress, or because it was not to have more, or was resumed, or output came down,
            // during the call or with the flush right after it.
            self.offer_again();
        }
    }

    /// Takes the next step of its life, as far as it can without the kernel.
    pub(crate) fn advance(&mut self, now: Stamp, limits: &Limits) {
        if self.phase == Phase::Open
            && self.flags.has(Flags::FINISHING)
            && self.flags.has(Flags::EOF_TOLD)
        {
            self.close(now, limits);
        }
        let over = match self.phase {
            Phase::Draining => {
                !self.owes()
                    && !self.owes_last_words()
                    && self.flags.has(Flags::PEER_ENDED)
                    && !self.flags.has(Flags::RESETTING)
            }
            Phase::Lingering => self.flags.has(Flags::PEER_ENDED),
            Phase::Connecting | Phase::Open | Phase::Closed => false,
        };
        if over {
            self.finish_off();
        }
    }

    /// Our FIN is out, now or since `finish`.
    pub(crate) fn handle_fin_sent(&mut self, now: Stamp) {
        self.flags.set(Flags::FIN_SENT);
        if self.phase == Phase::Draining {
            self.phase = Phase::Lingering;
            self.taken = now;
        }
    }

    /// Shutdown begins: one more read is owed, ready or not.
    pub(crate) fn handle_shutdown(&mut self) {
        if !self.flags.has(Flags::PEER_ENDED) {
            self.flags.clear(Flags::EXHAUSTED);
            self.readiness.merge(Readiness::READABLE);
        }
    }

    fn finish_off(&mut self) {
        self.drop_output();
        self.leftover = None;
        self.drop_layer();
        self.phase = Phase::Closed;
    }
}

#[cfg(test)]
mod tests;
