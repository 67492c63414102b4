//! Two connections, each of which sends what the other receives: what `proxy.rs` and `client.rs`
//! have in common.
//!
//! Each direction stands for itself: its bytes, its end, its speed. Who sends faster than the other
//! side takes is paused until that has drained, so little is kept; nobody is kept from *reading* by
//! what he still has to send. Read next: `proxy.rs`.

use wouldblock::{Closed, Conn, ConnId, Context, Input};

/// Begins: to be called in `on_open` of both.
pub(crate) fn couple(conn: &mut Conn<'_>) {
    // What it is sent comes from another: no reason not to read from it.
    conn.full_duplex(true);
    // It ends when both sides have ended. A shutdown that finds nothing to read may not think so.
    conn.hold(true);
}

/// Passes on what came: `on_data`. Answers how many bytes that were.
pub(crate) fn pass_on(conn: &mut Conn<'_>, to: ConnId, input: &mut Input<'_>) -> u64 {
    let bytes = input.take_all();
    let n = bytes.len() as u64;
    let cx = conn.cx();
    cx.send(to, bytes);
    if cx.room(to) == 0 && cx.want_drain(to) {
        conn.pause();
    }
    n
}

/// Passes on the peer's end, behind all that was passed on before it: `on_eof`. It may still read.
pub(crate) fn pass_on_end(conn: &mut Conn<'_>, to: ConnId) {
    conn.cx().finish(to);
}

/// What was sent is taken: lets the other go on, in `on_drain`.
pub(crate) fn drained(conn: &mut Conn<'_>, other: ConnId) {
    conn.cx().resume(other);
}

/// One is over, and so is the other: in `on_close`.
pub(crate) fn ended(cx: &mut Context, other: ConnId, closed: &Closed) {
    // A paused one could wait for ever for a drain of one that is gone.
    cx.resume(other);
    if closed.clean {
        // Both ends were passed on. What is still owed to the other goes out by itself.
        return;
    }
    if cx.queued(other) == 0 {
        // As it ended here, it ends there.
        cx.abort(other);
    } else {
        // What came before the failure is delivered first.
        cx.close(other);
    }
}
