//! Topics: which connections have subscribed to what, and a message to all of a topic, encoded once.
//!
//! An endpoint keeps a [`Topics`] as a field. It knows ids and names, and no connection: what is
//! sent waits in the connections, as all output does. Read next: `message.rs`, for the forms that a
//! message has.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use wouldblock::{ConnId, Context};

use crate::message::{Form, Prepared};
use crate::ws::Ws;

/// A connection to which prepared messages are sent: its id, and the form in which it takes them.
///
/// It may be kept: when the connection is gone, what is sent to it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    id: ConnId,
    form: Form,
}

impl Subscriber {
    /// A [plain](crate::Protocol::Plain) connection: of a message it is sent what [`Prepared::plain`] says.
    #[must_use]
    pub fn plain(id: ConnId) -> Self {
        Subscriber { id, form: Form::Plain }
    }

    pub(crate) fn of(ws: &Ws<'_>) -> Self {
        assert!(!ws.is_client(), "a server masks nothing, so what is encoded once is for clients");
        Subscriber { id: ws.id(), form: ws.form() }
    }

    /// Which connection it is.
    #[must_use]
    pub fn id(self) -> ConnId {
        self.id
    }

    /// Sends it a message. Returns whether the connection is still there.
    pub fn send(self, cx: &mut Context, message: &Prepared) -> bool {
        let Some(mut conn) = cx.conn(self.id) else { return false };
        conn.send_shared(message.bytes(self.form));
        true
    }
}

/// Which connections have subscribed to what: for [`publish`](Self::publish), a message to all of a
/// topic, encoded once.
///
/// Names of topics are whatever can be ordered: `String`, a number, an enum of yours. A connection
/// that is gone is sent nothing; it is forgotten by [`unsubscribe_all`](Self::unsubscribe_all),
/// which belongs in [`on_close`](crate::Endpoint::on_close), or else by itself, after a while.
///
/// What waits for a subscriber that does not read is bounded by
/// [`output_max`](wouldblock::Config::output_max), above which its connection ends: for a feed, set
/// that to what a subscriber may be behind. Or leave out those that are behind, see
/// [`publish_if`](Self::publish_if).
///
/// Messages go out in the order of ids, so that a run in the simulator can be repeated.
///
/// # Examples
///
/// `/goals` subscribes a client to that topic; `/goals 1:0` is sent to all that have subscribed to it:
///
/// ```
/// use std::io;
/// use wouldblock::{ConnId, Context};
/// use wouldblock_websocket::{Closed, Endpoint, Head, Message, Prepared, Topics, Ws, code};
///
/// #[derive(Default)]
/// struct News {
///     topics: Topics,
/// }
///
/// impl Endpoint for News {
///     type Session = ();
///
///     fn on_open(&mut self, ws: &mut Ws<'_>, request: &Head<'_>) -> io::Result<()> {
///         self.topics.subscribe(ws, request.path().to_owned());
///         Ok(())
///     }
///
///     fn on_message(&mut self, ws: &mut Ws<'_>, _: &mut (), message: Message<'_>) -> io::Result<()> {
///         let Message::Text(text) = message else {
///             ws.close(code::UNSUPPORTED, "text, please");
///             return Ok(());
///         };
///         if let Some((topic, _)) = text.split_once(' ') {
///             self.topics.publish(ws.cx(), topic, &Prepared::new(text));
///         } else if text.len() > 100 || !self.topics.subscribe(ws, text.to_owned()) {
///             ws.close(code::POLICY, "a long name, or too many topics");
///         }
///         Ok(())
///     }
///
///     fn on_close(&mut self, _: &mut Context, id: ConnId, _: (), _: Closed) {
///         self.topics.unsubscribe_all(id);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Topics<K = String> {
    /// Of each topic those that have subscribed to it: one at least.
    subscribers: BTreeMap<K, BTreeMap<ConnId, Form>>,
    /// The same the other way round: of each connection its topics, one at least.
    connections: BTreeMap<ConnId, Vec<K>>,
    /// How many topics a connection may have.
    each_max: usize,
    /// The number of connections at which those that are gone are searched for.
    sweep_at: usize,
}

/// Fewer connections than these are not searched for those that are gone.
const SWEEP_MIN: usize = 64;

impl<K: Ord + Clone> Topics<K> {
    /// Creates one without subscriptions; a connection may subscribe to 100 topics.
    #[must_use]
    pub fn new() -> Self {
        Topics {
            subscribers: BTreeMap::new(),
            connections: BTreeMap::new(),
            each_max: 100,
            sweep_at: SWEEP_MIN,
        }
    }

    /// How many topics one connection may subscribe to; 100 unless said otherwise. It bounds what a
    /// client can make the server keep, if it may name topics: how long a name may be is for the
    /// endpoint to check.
    #[must_use]
    pub fn each_max(mut self, topics: usize) -> Self {
        self.each_max = topics;
        self
    }

    /// Subscribes a client to a topic. Returns whether it is subscribed: not if it has
    /// [as many topics](Self::each_max) as it may. A subscription that is there stays as it is.
    ///
    /// # Panics
    ///
    /// If this end is the client.
    pub fn subscribe(&mut self, ws: &mut Ws<'_>, topic: K) -> bool {
        let subscriber = ws.subscriber();
        self.subscribe_as(ws.cx(), subscriber, topic)
    }

    /// The same for a connection that is not served at present, or is [plain](Subscriber::plain).
    pub fn subscribe_as(&mut self, cx: &mut Context, subscriber: Subscriber, topic: K) -> bool {
        let Subscriber { id, form } = subscriber;
        if self.connections.len() >= self.sweep_at {
            self.sweep(cx);
        }
        let own = self.connections.entry(id).or_default();
        if own.contains(&topic) {
            return true;
        }
        if own.len() >= self.each_max {
            if own.is_empty() {
                self.connections.remove(&id);
            }
            return false;
        }
        own.push(topic.clone());
        self.subscribers.entry(topic).or_default().insert(id, form);
        true
    }

    /// Forgets connections that are gone. At least half of those that it looks at have come since
    /// the last time, and share its cost.
    fn sweep(&mut self, cx: &mut Context) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            if cx.conn(id).is_none() {
                self.unsubscribe_all(id);
            }
        }
        self.sweep_at = (2 * self.connections.len()).max(SWEEP_MIN);
    }

    /// Ends a subscription. Returns whether there was one.
    pub fn unsubscribe<Q: Ord + ?Sized>(&mut self, id: ConnId, topic: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(own) = self.connections.get_mut(&id) else { return false };
        let Some(at) = own.iter().position(|it| it.borrow() == topic) else { return false };
        own.swap_remove(at);
        if own.is_empty() {
            self.connections.remove(&id);
        }
        self.leave(id, topic);
        true
    }

    /// Ends all subscriptions of a connection.
    pub fn unsubscribe_all(&mut self, id: ConnId) {
        for topic in self.connections.remove(&id).unwrap_or_default() {
            self.leave(id, &topic);
        }
    }

    fn leave<Q: Ord + ?Sized>(&mut self, id: ConnId, topic: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(subscribers) = self.subscribers.get_mut(topic) {
            subscribers.remove(&id);
            if subscribers.is_empty() {
                self.subscribers.remove(topic);
            }
        }
    }

    /// Sends a message to all that have subscribed to a topic. Returns the number of those that are
    /// still there.
    pub fn publish<Q: Ord + ?Sized>(&self, cx: &mut Context, topic: &Q, message: &Prepared) -> usize
    where
        K: Borrow<Q>,
    {
        self.publish_if(cx, topic, message, |_, _| true)
    }

    /// The same, but only to those of them for which `wants` returns true.
    ///
    /// # Examples
    ///
    /// Positions, which the next one makes stale: not to a connection that is behind, nor to the
    /// one that they come from.
    ///
    /// ```
    /// use wouldblock::{ConnId, Context};
    /// use wouldblock_websocket::{Prepared, Topics};
    ///
    /// fn moved(topics: &Topics<u32>, cx: &mut Context, from: ConnId, game: u32, position: &str) {
    ///     let message = Prepared::new(position);
    ///     topics.publish_if(cx, &game, &message, |cx, id| {
    ///         id != from && cx.conn(id).is_some_and(|conn| conn.room() > 0)
    ///     });
    /// }
    /// ```
    pub fn publish_if<Q: Ord + ?Sized>(
        &self,
        cx: &mut Context,
        topic: &Q,
        message: &Prepared,
        mut wants: impl FnMut(&mut Context, ConnId) -> bool,
    ) -> usize
    where
        K: Borrow<Q>,
    {
        let Some(subscribers) = self.subscribers.get(topic) else { return 0 };
        let mut n = 0;
        for (&id, &form) in subscribers {
            if wants(cx, id) {
                n += usize::from(Subscriber { id, form }.send(cx, message));
            }
        }
        n
    }

    /// The connections that have subscribed to a topic, some of which may be gone.
    pub fn subscribers<Q: Ord + ?Sized>(&self, topic: &Q) -> impl Iterator<Item = ConnId>
    where
        K: Borrow<Q>,
    {
        self.subscribers.get(topic).into_iter().flat_map(|subscribers| subscribers.keys().copied())
    }

    /// The topics that a connection has subscribed to.
    pub fn of(&self, id: ConnId) -> impl Iterator<Item = &K> {
        self.connections.get(&id).into_iter().flatten()
    }
}

impl<K: Ord + Clone> Default for Topics<K> {
    fn default() -> Self {
        Topics::new()
    }
}
