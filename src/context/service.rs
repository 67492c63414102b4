//! The services of a reactor, as callbacks see them.
//!
//! What they do is in `core/services.rs`; here they are described. Read next: `services.rs` one
//! floor up, where a tuple of handlers is one.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use super::{Conn, Context};
use crate::base::caps::Caps;
use crate::base::id::ConnId;
use crate::base::stats::ServiceStats;

impl Context {
    /// The reactor as another of its services sees it: what is made through this belongs to the
    /// service with this number, and [`connections`](Self::connections),
    /// [`broadcast`](Self::broadcast) and [`listeners`](Self::listeners) are of that.
    ///
    /// Services are [handlers](crate::Handler) that do not know each other, on one reactor: a tuple
    /// of handlers is one, and its services are numbered from 0 on; a vector of handlers of one
    /// type is one, too. In a callback of a service all is its own already. In a
    /// [posted](crate::Handle::post) closure, which sees all handlers, and on the reactor between
    /// its turns it is service 0 that is meant. See [more than one service](crate::guide::services)
    /// in the guide.
    ///
    /// What is made for a number that no handler has is ended at once: its connections with an error in
    /// [`CloseReason::Handler`](crate::CloseReason::Handler).
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::{Caps, Listen, Reactor, handler_fn};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let echo = handler_fn(|conn, input| {
    ///     conn.send(input.take_all());
    ///     Ok(())
    /// });
    /// let count = handler_fn(|conn, input| {
    ///     input.take_all();
    ///     let clients = conn.cx().service(0).connections().len();
    ///     conn.send(format!("{clients} clients\n"));
    ///     Ok(())
    /// });
    /// let mut reactor = Reactor::new((echo, count))?;
    /// reactor.listen("127.0.0.1:0")?;
    /// let mut admin = reactor.service(1);
    /// admin.set_caps(Caps::default().reserve(4).connections(4))?;
    /// admin.listen("127.0.0.1:0")?;
    /// # drop(admin);
    /// # Ok(())
    /// # }
    /// ```
    pub fn service(&mut self, number: u8) -> Service<'_> {
        Service::new(self, number)
    }

    /// The service that a connection is of. `None` once it is over, as [`conn`](Self::conn).
    #[must_use]
    pub fn service_of(&self, id: ConnId) -> Option<u8> {
        self.core.service_of(id)
    }

    /// The service whose callback runs.
    pub(crate) fn current_service(&self) -> u8 {
        self.core.callback.service()
    }

    /// The open connections of all services, the one being served included.
    ///
    /// Not guaranteed: any order.
    #[must_use]
    pub fn all_connections(&self) -> Vec<ConnId> {
        let mut ids = self.core.connection_ids();
        ids.retain(|id| self.core.is_opened(*id));
        ids
    }

    /// All connections that there are, of all services: those that
    /// [`all_connections`](Self::all_connections) names, those that close, and connects under way.
    /// For a list of what a server waits for ([`Conn::explain`]).
    ///
    /// Not guaranteed: any order.
    #[must_use]
    pub fn present_connections(&self) -> Vec<ConnId> {
        self.core.connection_ids()
    }

    /// The number of services that there is, or was, anything of: one more than the highest number.
    #[must_use]
    pub fn services(&self) -> usize {
        self.core.services.len()
    }

    /// Sets the limits of this [service](Self::service), beside those of all. To be set before it listens:
    /// connections that are there stay, and keep the times that they have.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a contradiction, which it names: a limit of 0, or more places kept back
    /// than there are [`connections`](crate::Config::connections). Nothing is changed then.
    pub fn set_caps(&mut self, caps: Caps) -> io::Result<()> {
        self.core.set_caps(self.core.callback.service(), caps)
    }

    /// What was counted of this [service](Self::service). [`stats`](Self::stats) counts all.
    #[must_use]
    pub fn service_stats(&self) -> ServiceStats {
        self.core.services.stats(self.core.callback.service())
    }
}

impl Conn<'_> {
    /// The number of the [service](Context::service) that it is of; 0 where there is but one.
    #[must_use]
    pub fn service(&self) -> u8 {
        self.cx.core.service_of(self.id).unwrap_or(0)
    }

    /// Hands the connection over to another [service](Context::service) of this reactor: from HTTP
    /// to what the client has upgraded to, from a negotiation to what was agreed on.
    ///
    /// After the running callback [`on_close`](crate::Handler::on_close) comes with
    /// [`CloseReason::HandedOver`](crate::CloseReason::HandedOver), and then the other's
    /// [`on_open`](crate::Handler::on_open) with [`Origin::HandedOver`](crate::Origin::HandedOver)
    /// and `tag`. The input that the callback has not consumed is offered to the other's `on_data`
    /// as if it had just come, and an end that the peer had made is told there, too. The socket
    /// stays, and so do its id, its [layer](crate::Layer) and what is queued to be sent: what both
    /// send goes out in order. What the first had asked for is forgotten: a [pause](Self::pause), a
    /// [hold](Self::hold), a [timeout](Self::set_timeout), an [idle
    /// timeout](Self::set_idle_timeout), a [drain](Self::want_drain), also if it asks in its
    /// `on_close`. The [caps](Context::set_caps) of the other count it, and do not refuse it.
    ///
    /// Ignored by a connection that is not open or about to be closed, and by one that is handed
    /// over already. If it is closed before that is done, or the callback returns an error, it ends
    /// where it was.
    pub fn hand_to(&mut self, service: u8, tag: u64) {
        self.cx.core.hand_to(self.id, service, tag);
    }

    /// A callback of this service begins.
    #[inline]
    pub(crate) fn enter_service(&mut self, number: u8) {
        self.cx.core.callback.enter(number);
    }
}

/// The reactor as one of its services sees it, until this is dropped: a [`Context`]. From
/// [`Context::service`] and [`Reactor::service`](crate::Reactor::service).
pub struct Service<'a> {
    cx: &'a mut Context,
    /// Whose callback runs.
    before: u8,
}

impl<'a> Service<'a> {
    pub(crate) fn new(cx: &'a mut Context, number: u8) -> Self {
        let before = cx.core.callback.service();
        cx.core.callback.enter(number);
        Service { cx, before }
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.cx.core.callback.enter(self.before);
    }
}

impl Deref for Service<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.cx
    }
}

impl DerefMut for Service<'_> {
    fn deref_mut(&mut self) -> &mut Context {
        self.cx
    }
}

impl fmt::Debug for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.cx.core.callback.service()).finish()
    }
}
