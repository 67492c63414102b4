//! The layers of a handler's connections, in the worlds that have them.

use super::TestHandler;
use crate::base::id::Origin;
use crate::context::Conn;
use crate::kernel::Kernel;
use crate::layering::{Layering, Watched};

impl TestHandler {
    pub(crate) fn layered(mut self, kernel: &Kernel, layering: Option<Layering>) -> Self {
        self.oracle.layered = layering.as_ref().is_some_and(|of| !of.upgrades);
        self.oracle.tells_peers = layering.as_ref().is_some_and(Layering::tells_peer);
        self.layering = layering.map(|layering| (kernel.clone(), layering));
        self
    }

    /// The layer of a connection that is to be made.
    pub(super) fn layer_outside(&self) -> Option<Watched> {
        let (kernel, layering) = self.layering.as_ref()?;
        layering.connected(kernel)
    }

    /// In some worlds a connection that was accepted has its layer from here on.
    pub(super) fn upgrade(&mut self, conn: &mut Conn<'_>, link: u32, origin: Origin) {
        if let Some((kernel, layering)) = &self.layering
            && matches!(origin, Origin::Accepted(_))
            && layering.upgrades
        {
            let layer = layering.accepted(kernel);
            self.oracle.upgrades(link, layer.books());
            conn.upgrade(layer);
        }
    }
}
