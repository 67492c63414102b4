//! A reactor that goes on with another handler, after a panic of the one it had, or does not.
//!
//! The handler that knew the connections is gone, so they end without a callback. With another
//! handler, what listens and what is bound goes on: no client that comes meanwhile is refused.
//! Without one it is closed. Which it is, `server/restart.rs` decides. Read next: `core/panic.rs`.

use super::callbacks::guarded;
use super::{Reactor, State};
use crate::core::Ended;
use crate::handler::Handler;

impl<H: Handler> Reactor<H> {
    /// Whether another handler is of use: not in a shutdown, which only goes on without this reactor.
    pub(crate) fn may_start_again(&self) -> bool {
        let runs = matches!(self.state, State::New | State::Running);
        runs && !self.inbox.0.is_shutdown() && self.cx.core.check_running().is_ok()
    }

    /// It does not go on, be it after a panic: its peers are told, or they would wait for nobody
    /// while the others end; what other threads have for it is refused, and posts that wait are
    /// dropped.
    pub(crate) fn leave_nothing(&mut self) {
        self.cut_all();
        for listener in self.cx.core.listener_ids() {
            self.cx.core.close_listener(listener);
        }
        self.cx.core.close_all_sockets();
        // What goes with a closure may panic.
        drop(guarded(|| self.inbox.0.posts.end()));
    }

    /// Ends every connection, and starts with this handler. Posts that wait run with it.
    pub(crate) fn start_again(&mut self, handler: H) {
        self.cut_all();
        self.cx.core.recycle();
        self.cx.core.stats.restarts += 1;
        let old = std::mem::replace(&mut self.handler, handler);
        self.state = State::New;
        drop(guarded(|| drop(old)));
    }

    /// Ends every connection without a callback.
    fn cut_all(&mut self) {
        self.cx.core.recover();
        self.cx.core.cut_without_callback();
        let sessions = std::mem::take(&mut self.sessions);
        while self.cx.core.conns.len() > 0 {
            self.cx.core.update_dirty();
            for _ in 0..self.cx.core.ended_len() {
                if let Some((_, Ended::Detached(_, taker, detached))) = self.cx.core.free_ended() {
                    // It is on its way elsewhere, and nothing to a handler.
                    drop(guarded(|| (taker.0)(detached)));
                }
                drop(self.cx.core.take_thrown());
            }
        }
        // To drop what a panic has left behind may panic, too.
        drop(guarded(|| drop(sessions)));
    }
}
