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
    conn.auto_pause(false);
    // It ends when both sides have ended. A shutdown that finds nothing to read may not think so.
    conn.hold(true);
}

/// Passes on what came: `on_data`. Answers how many bytes that were.
pub(crate) fn pass_on(conn: &mut Conn<'_>, to: ConnId, input: &mut Input<'_>) -> u64 {
    let bytes = input.take_all();
    let n = bytes.len() as u64;
    if let Some(mut to) = conn.cx().conn(to) {
        to.send(bytes);
        if to.room() == 0 && to.want_drain() {
            conn.pause();
        }
    }
    n
}

/// Passes on the peer's end, behind all that was passed on before it: `on_eof`. It may still read.
pub(crate) fn pass_on_end(conn: &mut Conn<'_>, to: ConnId) {
    if let Some(mut to) = conn.cx().conn(to) {
        to.finish();
    }
}

/// What the client was sent is taken: lets the server go on, in `on_drain`. A client that is gone
/// takes nothing more, and nobody waits for what it had still to say.
pub(crate) fn client_drained(conn: &mut Conn<'_>, server: ConnId) {
    if conn.has_failed() {
        conn.abort();
    } else if let Some(mut server) = conn.cx().conn(server) {
        server.resume();
    }
}

/// What the server was sent is taken, or a server that is gone takes nothing more: lets the client go
/// on, in `on_drain`. What the server said before is passed on first.
pub(crate) fn server_drained(conn: &mut Conn<'_>, client: ConnId) {
    if let Some(mut client) = conn.cx().conn(client) {
        client.resume();
    }
}

/// The side that asks is over, and so is the other: in `on_close`.
pub(crate) fn client_ended(cx: &mut Context, server: ConnId, closed: &Closed) {
    // After a clean end both ends were passed on, and what is still owed goes out by itself. After
    // any other nobody waits for an answer, and the server may stop working at it.
    if !closed.clean
        && let Some(mut server) = cx.conn(server)
    {
        server.abort();
    }
}

/// The side that answers is over, and so is the other: in `on_close`.
pub(crate) fn server_ended(cx: &mut Context, client: ConnId, closed: &Closed) {
    // However it ended: what it said before that is delivered, even by way of a kernel that has not
    // sent all of it yet. Behind that the client sees a reset, as if there were no proxy: an end
    // would make a whole answer of half of one.
    if !closed.clean
        && let Some(mut client) = cx.conn(client)
    {
        client.close_reset();
    }
}
