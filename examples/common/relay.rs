//! Two connections, each of which sends what the other receives: what `proxy.rs` and `client.rs`
//! have in common.
//!
//! Each direction stands for itself: its bytes, its end, its speed. One that sends faster than the other
//! side takes is paused until that has drained, so little is kept; neither is kept from *reading* by
//! what it still has to send. Read next: `proxy.rs`.

use wouldblock::{Closed, Conn, ConnId, Context, Input};

/// What each of the two keeps, for its session.
#[derive(Debug)]
pub(crate) struct Side {
    /// Whether it is the one that asks, and the other the one that answers.
    pub(crate) asks: bool,
    /// The other one, once it is known.
    pub(crate) other: Option<ConnId>,
    /// Bytes passed on to it.
    pub(crate) bytes: u64,
}

impl Side {
    /// Begins, in `on_open` of both.
    pub(crate) fn new(conn: &mut Conn<'_>, asks: bool, other: Option<ConnId>) -> Self {
        // What it is sent comes from another: no reason not to read from it.
        conn.auto_pause(false);
        // It ends when both sides have ended. A shutdown that finds nothing to read may not think so.
        conn.hold(true);
        Side { asks, other, bytes: 0 }
    }

    /// The other one, if it is there.
    pub(crate) fn other<'a>(&self, cx: &'a mut Context) -> Option<Conn<'a>> {
        cx.conn(self.other?)
    }

    /// `on_data`: passes on what came.
    pub(crate) fn pass_on(&mut self, conn: &mut Conn<'_>, input: &mut Input<'_>) {
        let bytes = input.take_all();
        self.bytes += bytes.len() as u64;
        if let Some(mut other) = self.other(conn.cx()) {
            other.send(bytes);
            if other.room() == 0 && other.want_drain() {
                conn.pause();
            }
        }
    }

    /// `on_eof`: passes on the end, behind all that was passed on before it. The other may still send.
    pub(crate) fn pass_on_end(&self, conn: &mut Conn<'_>) {
        if let Some(mut other) = self.other(conn.cx()) {
            other.finish();
        }
    }

    /// `on_drain`: what it was sent is taken, so the other one is read from again.
    pub(crate) fn drained(&self, conn: &mut Conn<'_>) {
        if self.asks && conn.has_failed() {
            // The client takes nothing more, and the server needs no rest of a request that is not to be
            // answered. What a server that has failed had sent is passed on first.
            conn.abort();
        } else if let Some(mut other) = self.other(conn.cx()) {
            other.resume();
        }
    }

    /// `on_close`: it is over, and so is the other. After a clean end both ends were passed on, and what
    /// is still owed goes out by itself.
    pub(crate) fn ended(&self, cx: &mut Context, closed: &Closed) {
        match self.other(cx) {
            Some(mut other) if !closed.clean => {
                if self.asks {
                    // No answer is waited for: the server may stop working at it.
                    other.abort();
                } else {
                    // What was said before is delivered, even by way of a kernel that has not sent all of
                    // it yet. Behind that the client sees a reset, as if there were no proxy: an end would
                    // make a whole answer of half of one.
                    other.close_reset();
                }
            }
            _ => {}
        }
    }
}
