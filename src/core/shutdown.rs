//! Shutdown: who is asked to leave, who is cut, and the account of both.
//!
//! When that comes is decided in `reactor/shutdown.rs`; how one connection leaves, in `conn.rs`
//! (`may_leave`). Read next: `base/report.rs`.

use super::{Core, Entry, Shutdown, TARGET};
use crate::base::close::CloseReason;
use crate::base::id::Token;
use crate::base::report::{Cut, Stage};
use crate::conn::Phase;
use crate::time::deadlines::Stamp;

impl Core {
    /// Every connection is given one more read, and leaves when it is done. From here on the
    /// reactor has a deadline of its own.
    pub(crate) fn begin_leaving(&mut self) {
        self.bound_leaving();
        self.begin_report();
        for id in self.connection_ids() {
            if let Some(entry) = self.entry_mut(id) {
                entry.conn.handle_shutdown();
                self.mark_dirty(id);
            }
        }
        for id in self.socket_ids() {
            if let Some(socket) = self.sockets.get_mut(id.slot, id.generation) {
                socket.handle_shutdown();
                self.update_socket(id);
            }
        }
    }

    /// `shutdown_max` is counted from now.
    pub(crate) fn bound_leaving(&mut self) {
        let leave_by = self.now.after(self.limits.shutdown_max);
        // For the poll's timeout.
        self.deadlines.set(Token::WAKER, self.leave_by, leave_by);
        self.leave_by = leave_by;
    }

    /// Shutdown has come this far, or further: what a callback asked for meanwhile stands.
    pub(crate) fn advance_shutdown(&mut self, level: Shutdown) {
        self.shutdown = self.shutdown.max(level);
    }

    /// Counts who is there: `done` until it turns out otherwise. Begun once.
    pub(crate) fn begin_report(&mut self) {
        if self.leaving_since == Stamp::NEVER {
            self.leaving_since = self.now;
            self.report.done = self.conns.len() as u64;
        }
    }

    /// Ends every connection at once, and notes what it was owed; closes the datagram sockets.
    pub(crate) fn cut_all(&mut self) {
        self.close_all_sockets();
        for id in self.connection_ids() {
            let Some(Entry { conn, peer, .. }) = self.conns.get_mut(id) else {
                continue;
            };
            let stage = match conn.phase() {
                Phase::Connecting => Stage::Connecting,
                Phase::Open => Stage::Open,
                Phase::Draining => Stage::Draining,
                Phase::Lingering => Stage::Lingering,
                // It only waits for its `on_close`.
                Phase::Closed => continue,
            };
            conn.cut(CloseReason::Shutdown);
            let (unsent, unfinished) = (conn.unsent(), conn.is_unfinished());
            self.report.add(|| Cut { id, peer: peer.clone(), unsent, unfinished, stage }, unsent);
            self.mark_dirty(id);
        }
    }

    /// The end, in the log: the report in one line.
    pub(crate) fn end_report(&mut self, what: &str) {
        self.read_clock();
        self.report.took = self.leaving_since.until(self.now);
        let level = if self.report.cut == 0 { log::Level::Info } else { log::Level::Warn };
        log::log!(target: TARGET, level, "{what}: {}", self.report);
    }
}
