//! A reactor before its handler: what is needed to hand out handles of it.
//!
//! One alone is made in one step (`Reactor::build`); of a server all are made before any handler.
//! Read next: `server.rs`.

use std::io;
use std::sync::Arc;

use super::due::Inbox;
use super::{Reactor, State};
use crate::base::config::Config;
use crate::conn::buffer::ReadBuffer;
use crate::context::Context;
use crate::core::Core;
use crate::handle::{Handle, Orders};
use crate::handler::Handler;
use crate::net::driver::Driver;

/// A reactor that has no handler yet. If making that panics, its handles are refused from then on.
pub(crate) struct Prepared<H: Handler> {
    inbox: Inbox<H>,
    core: Core,
    read_buffer: usize,
}

impl<H: Handler> Prepared<H> {
    pub(crate) fn new(config: &Config, driver: Driver) -> io::Result<Self> {
        let core = Core::new(config, driver)?;
        let inbox = Inbox(Arc::new(Orders::new(core.driver.wake(), config.posts_queued)));
        Ok(Prepared { inbox, core, read_buffer: config.read_buffer })
    }

    pub(crate) fn handle(&self) -> Handle<H> {
        Handle::new(Arc::clone(&self.inbox.0))
    }

    /// As the ids of its connections name it.
    pub(crate) fn number(&self) -> u8 {
        self.core.conns.number()
    }

    pub(crate) fn with(self, handler: H) -> Reactor<H> {
        let Prepared { inbox, core, read_buffer } = self;
        Reactor {
            inbox,
            handler,
            sessions: Vec::new(),
            rest: core.callback.rest(),
            cx: Context { core },
            buffer: ReadBuffer::new(read_buffer),
            state: State::New,
        }
    }
}
