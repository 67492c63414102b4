//! The input of one call, and where it lies meanwhile.
//!
//! While a callback runs, its input belongs to it alone: it lies in the read buffer, or in a
//! leftover taken out of its connection. So the handler can be lent the input and the rest of the
//! reactor together. Nothing is read here. Read next: `core.rs`, `take_work` and `keep_left`.

use crate::base::id::Origin;
use crate::conn::Connection;
use crate::conn::buffer::{Leftover, ReadBuffer};
use crate::conn::input::Wait;

/// What a connection's turn brings for its handler.
#[derive(Debug)]
pub(crate) enum Work {
    /// Nothing.
    None,
    /// Output comes first: read from a source, flush, and call `on_drain`, as each is due. Then ask again.
    Output,
    /// Call `on_data` with so many bytes that were read, and nothing before them: the common case.
    Read(usize),
    /// Call `on_data`.
    Data(Offer),
    /// Call `on_eof`.
    End(Offer),
    /// Ask the socket whether its connect has ended.
    Connect,
    /// Call `on_open`: the handshake of its layer is over.
    Open(Origin),
}

/// Where the input of a call lies. Outside of [`Core`] while the call runs, so that the handler
/// can be lent both.
#[derive(Debug)]
pub(crate) enum Offer {
    /// In the read buffer: `before` bytes of leftover, then `new` ones.
    Shared { before: usize, new: usize, waited: Wait },
    /// In what a layer has made of a read: `before` bytes of leftover, then new ones.
    Plain { before: usize, waited: Wait },
    /// In a buffer of the connection's own.
    Owned(Box<Leftover>),
}

impl Offer {
    /// So many bytes in the read buffer, and nothing before them.
    #[inline]
    pub(crate) fn read(new: usize) -> Offer {
        Offer::Shared { before: 0, new, waited: Wait::Nothing }
    }

    #[inline]
    pub(crate) fn window<'a>(&'a self, buffer: &'a ReadBuffer) -> &'a [u8] {
        match self {
            Offer::Shared { before, new, .. } => buffer.filled(*before, *new),
            Offer::Plain { .. } => buffer.plain(),
            Offer::Owned(leftover) => leftover.bytes(),
        }
    }

    /// How much of the window an earlier call was shown, and what that call waited for.
    #[inline]
    pub(crate) fn history(&self) -> (usize, Wait) {
        match self {
            Offer::Shared { before, waited, .. } | Offer::Plain { before, waited } => {
                (*before, *waited)
            }
            Offer::Owned(leftover) => (leftover.seen, leftover.wait),
        }
    }
}

/// Joins what was read with what was left: in the read buffer if that is small, else in the
/// connection's own.
#[cold]
pub(crate) fn join(conn: &mut Connection, buffer: &mut ReadBuffer, n: usize) -> Work {
    let Some(mut leftover) = conn.leftover.take() else { return Work::None };
    let len = leftover.len() + n;
    if !leftover.is_enough(len) {
        leftover.append(buffer.filled(0, n));
        conn.leftover = Some(leftover);
        return Work::None;
    }
    // What waited for more has `seen` short of its length only if reads came without a call.
    let shown = leftover.seen == leftover.len();
    if shown && buffer.put_before(leftover.bytes()).is_some() {
        return Work::Data(Offer::Shared { before: len - n, new: n, waited: leftover.wait });
    }
    leftover.append(buffer.filled(0, n));
    Work::Data(Offer::Owned(leftover))
}
