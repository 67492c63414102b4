//! Connections that no listener has just accepted, opened when no callback runs: adopted ones, and those that one
//! service has handed over to another.
//!
//! Read next: `core/services.rs`.

use super::Reactor;
use crate::base::id::{ConnId, Origin};
use crate::handler::Handler;

impl<H: Handler> Reactor<H> {
    /// Calls `on_open` for those taken over.
    pub(super) fn open_adopted(&mut self) {
        for _ in 0..self.cx.core.effects.opening_len() {
            match self.cx.core.next_opening() {
                Some((id, origin, None)) => self.open(id, origin),
                Some((id, origin, Some(service))) => self.hand_over(id, origin, service),
                None => return,
            }
        }
    }

    /// Ends a connection for one service, and opens it for another.
    #[cold]
    fn hand_over(&mut self, id: ConnId, origin: Origin, service: u8) {
        if let Some(closed) = self.cx.core.change_service(id, service, origin) {
            self.tell_closed(id, closed);
        }
        // If that has not closed it.
        if let Some((id, origin, None)) = self.cx.core.next_opening() {
            self.open(id, origin);
        }
    }
}
