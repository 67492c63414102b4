//! The callback that runs: of which connection, and whether that rests.
//!
//! Callbacks do not nest, so one place is enough. It is empty between two callbacks; if it is not
//! when a turn begins, the last one ended in a panic that went through (`panic.rs`). Read next: `cork.rs`.

use std::sync::Arc;

use crate::base::id::ConnId;
use crate::conn::Connection;
use crate::conn::input::Rest;

#[derive(Debug, Default)]
pub(crate) struct Callback {
    /// The connection whose callback runs; `None` also while one of no connection does.
    of: Option<ConnId>,
    /// The number of the service whose callback runs: what it makes is of that. 0 while none does.
    service: u8,
    /// Whether that connection rests, for its input to ask.
    rest: Arc<Rest>,
}

impl Callback {
    #[inline]
    pub(super) fn begin(&mut self, id: ConnId) {
        self.of = Some(id);
    }

    #[inline]
    pub(super) fn end(&mut self) {
        self.of = None;
    }

    /// A callback of this service begins; 0: it has ended.
    #[inline]
    pub(crate) fn enter(&mut self, service: u8) {
        self.service = service;
    }

    #[inline]
    pub(crate) fn service(&self) -> u8 {
        self.service
    }

    #[inline]
    pub(super) fn of(&self) -> Option<ConnId> {
        self.of
    }

    #[inline]
    pub(crate) fn is_of(&self, id: ConnId) -> bool {
        self.of == Some(id)
    }

    /// What the input of each callback asks.
    pub(crate) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// After the output of a connection changed: its input is to know, if its callback runs.
    #[inline]
    pub(crate) fn note_rest(&self, id: ConnId, conn: &Connection) {
        if self.is_of(id) {
            self.rest.note(conn.is_resting());
        }
    }
}
