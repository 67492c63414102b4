//! The output of a connection in its turn: a piece of a source, a flush, `on_drain`.
//!
//! A source is read here and nowhere else, as a callback of its connection: no other runs meanwhile, and a
//! panic of it is the handler's. Read next: `core/pull.rs`.

use super::Reactor;
use super::callbacks::guarded;
use crate::base::id::ConnId;
use crate::core::offer::Work;
use crate::handler::Handler;

impl<H: Handler> Reactor<H> {
    /// Does what is due before input. Returns the work that follows.
    #[cold]
    pub(super) fn serve_output(&mut self, id: ConnId) -> Work {
        self.cx.core.pump(id);
        self.pull(id);
        if self.cx.core.owes_drain(id) {
            self.call(id, &"on_drain", H::on_drain);
        }
        self.cx.core.take_work(id, &mut self.buffer)
    }

    /// Reads a piece of the connection's first source, if there is room for it.
    fn pull(&mut self, id: ConnId) {
        let Some((source, piece)) = self.cx.core.begin_pull(id) else { return };
        match guarded(|| source.pull(self.buffer.space(piece))) {
            Ok((n, pulled)) => self.cx.core.end_pull(id, self.buffer.filled(0, n), pulled),
            Err(panic) => self.end_panicked(id, panic),
        }
    }
}
