//! Datagrams, handed to the handler.

use super::Reactor;
use super::callbacks::guarded;
use crate::base::id::DatagramId;
use crate::core::Received;
use crate::handler::Handler;
use crate::net::datagram::Datagram;

impl<H: Handler> Reactor<H> {
    /// Sends what waited, and receives a bounded number of datagrams, and of bytes: a flood costs
    /// the others no more delay than a bulk sender on a connection does.
    #[cold]
    pub(super) fn serve_socket(&mut self, id: DatagramId) {
        self.cx.core.begin_socket_turn(id);
        let service = self.cx.core.datagrams.service(id);
        let mut bytes = 0;
        for _ in 0..self.cx.core.limits.datagrams_per_turn {
            match self.cx.core.receive(id, &mut self.buffer) {
                Received::Datagram { copied, len, from } => {
                    let payload = self.buffer.filled(0, copied);
                    let truncated = len > copied;
                    let datagram = Datagram { payload, from, socket: id, truncated, len };
                    let (handler, cx) = (&mut self.handler, &mut self.cx);
                    cx.core.callback.enter(service);
                    let called = guarded(|| handler.on_datagram(cx, &datagram));
                    cx.core.end_work(&"on_datagram", None);
                    cx.core.callback.enter(0);
                    if let Err(panic) = called {
                        self.note_panic("on_datagram", panic);
                    }
                    bytes += copied;
                }
                Received::Skipped => {}
                Received::Stopped => break,
            }
            if bytes >= self.buffer.size() {
                break;
            }
        }
        self.cx.core.end_socket_turn();
    }
}
