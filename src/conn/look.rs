//! A connection that is not read from, and may be dead: its socket is looked at instead.
//!
//! Reading is how an end is told, in order and behind the last byte. While the handler has paused
//! it, no read would tell of a reset, which an event has told us of. So the socket is asked for its
//! error; and once the connection has failed, whether anything is left to read. If not, it is over;
//! else the handler has `linger` to read on (`core/expire.rs`). Nothing is asked of a peer that has
//! ended in order: what it said is read when the handler likes.

use std::io;

use super::{Connection, Phase};
use crate::conn::flags::Flags;
use crate::time::deadlines::Stamp;

/// What a look at the socket of a connection that is not read from found.
#[derive(Debug)]
pub(crate) enum Look {
    /// The error that waited on it.
    Error(io::Error),
    NoError,
    /// After it failed: whether the kernel still holds input.
    Unread(bool),
}

impl Connection {
    /// Whether a write failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.flags.has(Flags::FAILED)
    }

    /// What the socket says of an event of an error after the peer's end: a read would say the end
    /// again (Linux, `SOCK_DONE`), and only a write would find out.
    #[cold]
    pub(crate) fn handle_error(&mut self, answer: io::Result<Option<io::Error>>) {
        self.readiness.forget_readable();
        match answer {
            Ok(None) => self.end_if_failed(),
            Ok(Some(error)) | Err(error) => self.fail(error),
        }
    }

    /// What a look at a connection that is not read from found: the error that its socket has to
    /// tell, if it is not known to have failed; else whether the kernel still holds input.
    #[cold]
    pub(crate) fn handle_look(&mut self, look: Look, now: Stamp) {
        match look {
            Look::Error(error) => self.fail_write(error, now),
            Look::NoError => self.readiness.forget_error(),
            Look::Unread(true) => self.flags.set(Flags::UNREAD),
            Look::Unread(false) if self.has_left() => self.flags.set(Flags::UNREAD),
            Look::Unread(false) => self.finish_off(),
        }
    }

    /// Whether its socket is to be asked how it is, since no read will tell: an error that came with
    /// an event while reading is paused, or what is left to read of a connection that has failed.
    #[inline]
    pub(crate) fn wants_look(&self) -> bool {
        self.phase == Phase::Open
            && self.flags.has(Flags::PAUSED)
            && !self.flags.has(Flags::UNOPENED)
            && if self.has_failed() {
                !self.flags.has(Flags::UNREAD)
            } else {
                self.readiness.is_error()
            }
    }
}
