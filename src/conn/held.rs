//! What a connection holds: the memory that is allocated for its bytes.
//!
//! Counted where it changes, off the common path. Read next: `core/memory.rs`, which has the sum over all.

use super::Connection;

impl Connection {
    /// Brings what it holds up to date in the sum over all connections.
    pub(crate) fn recount(&mut self, sum: &mut usize) {
        let held = self.held();
        let counted = std::mem::replace(&mut self.output.counted, held);
        *sum = *sum - counted + held;
    }

    /// Bytes allocated for its output and its input.
    pub(crate) fn held(&self) -> usize {
        let leftover = self.leftover.as_ref().map_or(0, |leftover| leftover.held());
        self.output.held() + leftover + self.held_for_layer()
    }
}
