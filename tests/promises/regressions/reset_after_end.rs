//! Promise 7: a reset that follows the peer's end is told, although no read says so.

use std::net::Shutdown;
use std::sync::Arc;

use wouldblock::{CloseReason, Config};

use crate::support::*;

/// Half-closed, and kept open by the handler: Linux answers every read with the end, and the reset
/// showed only at the next write, or never.
#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "no event comes until a call says WouldBlock")]
fn a_reset_after_the_peers_end_ends_a_connection_that_was_kept_open() {
    let (told, tells) = std::sync::mpsc::channel();
    let script = echo().on_eof(move |_conn, _rest| {
        told.send(()).unwrap();
        Ok(())
    });
    let record = script.record();
    let server = Server::start(script, Config::default());
    let client = server.connect();
    client.shutdown(Shutdown::Write).unwrap();
    tells.recv_timeout(DEADLINE).unwrap();
    reset(client);
    let closed: Arc<_> = record.wait_close();
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed}");
    assert!(!closed.clean);
    server.end();
}
