//! Connections that no listener has just accepted, opened when no callback runs: adopted ones, and
//! those that one service has handed over to another.
//!
//! Read next: `core/services.rs`.

use super::Reactor;
use crate::handler::Handler;

impl<H: Handler> Reactor<H> {
    /// Calls `on_open` for those that wait for it; for one that is handed over, after the
    /// `on_close` of the service that it leaves, which may end it.
    pub(super) fn open_adopted(&mut self) {
        let mut due = self.cx.core.effects.opening_len();
        while due > 0 {
            match self.cx.core.next_opening() {
                Some((id, origin, None)) => {
                    due -= 1;
                    self.open(id, origin);
                }
                // It stands first again, and comes up next.
                Some((id, origin, Some(service))) => {
                    let closed = self.cx.core.change_service(id, service, origin);
                    self.tell_closed(id, closed);
                }
                None => return,
            }
        }
    }
}
