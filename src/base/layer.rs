//! What stands between a connection's bytes and its handler: the trait [`Layer`].
//!
//! It is bytes in, bytes out: no socket, no clock, no call that waits. A connection's queue and its
//! deadlines stay below it, the handler's [`Input`](crate::Input) and sends above. Nothing here is called;
//! that is `core/layer.rs`. Read next: `layer/then.rs`, two of them one above the other.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::base::address::Address;

pub use then::Then;

mod then;

/// A protocol between a connection's bytes and its handler: TLS, a PROXY header, compression.
///
/// A layer turns the peer's bytes into what the handler sees as its [`Input`](crate::Input) (here called
/// *plain*), and what the handler sends into what goes to the peer (*wire*). It owns no socket, and appends
/// to buffers that the reactor lends it: so it is tested without a network, and readiness, deadlines,
/// backpressure and the last byte before a close are those of a connection without one. Give a listener one
/// for each connection by [`Listen::layer`](crate::Listen::layer).
///
/// **The handshake.** As long as [`is_ready`](Self::is_ready) is false no callback comes, and what the
/// handler sends meanwhile waits. `on_open` comes when it is true, and may ask the layer what it has
/// learned: [`Conn::layer`](crate::Conn::layer). It has
/// [`Config::handshake`](crate::Config::handshake) to come to that.
///
/// **The end.** A peer that just ends its stream may have been cut off by a third party. A layer
/// whose protocol marks its end ([`has_end`](Self::has_end)) says when it has seen that mark; an
/// end of the stream without it is told as [`Truncated`](crate::CloseReason::Truncated), after the
/// last byte, in the place of `on_eof`. And it has the last words before our own end:
/// [`end`](Self::end).
///
/// **Memory.** What the reactor keeps for it (the peer's bytes that it has not consumed, what waits to be
/// sent) counts in [`Config::buffered_max`](crate::Config::buffered_max), and so does what it
/// [holds](Self::held) itself. Where nothing is under way the reactor keeps no buffer for it.
///
/// **A panic** of a layer ends its connection as one of a callback does. Without
/// [`isolate_panics`](crate::Config::isolate_panics) it goes on through the turn, after the connection's
/// `on_close`.
///
/// # Examples
///
/// One that has no handshake and no end, and hides the bytes from children: ROT13.
///
/// ```
/// use std::io;
/// use wouldblock::{Layer, Listen, Reactor, Received, handler_fn};
///
/// #[derive(Debug)]
/// struct Rot13;
///
/// fn rotate(byte: u8) -> u8 {
///     match byte {
///         b'a'..=b'z' => (byte - b'a' + 13) % 26 + b'a',
///         b'A'..=b'Z' => (byte - b'A' + 13) % 26 + b'A',
///         other => other,
///     }
/// }
///
/// impl Layer for Rot13 {
///     fn receive(
///         &mut self,
///         bytes: &mut [u8],
///         plain: &mut Vec<u8>,
///         _wire: &mut Vec<u8>,
///     ) -> io::Result<Received> {
///         plain.extend(bytes.iter().map(|byte| rotate(*byte)));
///         Ok(Received::consumed(bytes.len()))
///     }
///
///     fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
///         wire.extend(plain.iter().map(|byte| rotate(*byte)));
///         Ok(())
///     }
///
///     fn end(&mut self, _wire: &mut Vec<u8>) {}
///
///     fn is_ready(&self) -> bool {
///         true
///     }
///
///     fn has_end(&self) -> bool {
///         false
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let echo = handler_fn(|conn, input| {
///     conn.send(input.take_all());
///     Ok(())
/// });
/// let mut reactor = Reactor::new(echo)?;
/// reactor.listen(Listen::from("127.0.0.1:0").layer(|_peer| Ok(Rot13)))?;
/// # Ok(())
/// # }
/// ```
pub trait Layer: Any + fmt::Debug + Send {
    /// Called when bytes came from the peer. Appends what the handler is to see to `plain`, and
    /// what must go to the peer (a part of the handshake, an acknowledgement) to `wire`; neither is
    /// to be changed otherwise. `bytes` may be overwritten: a cipher works in place.
    ///
    /// The bytes that it does not [consume](Received::consumed) are kept, and lent again with those
    /// that follow: a layer need not keep half a record itself. It is called again at once with the
    /// rest while it consumes some, or says that there is [more](Received::more); so it may take
    /// one record a call, or all. When plain bytes come to [`input_max`](crate::Config::input_max)
    /// the rest waits until the handler has taken those: a call should append no more than some 64
    /// KiB, however well the peer has compressed them.
    ///
    /// It is called without bytes once in the beginning, when the connection is established: a
    /// protocol in which this side speaks first does so then.
    ///
    /// # Errors
    ///
    /// What the peer sent is none of this protocol, or the handshake has failed. What was appended before
    /// counts: `plain` is offered to the handler first, and `wire`, an alert, goes out; then the connection
    /// is closed with [`CloseReason::Layer`](crate::CloseReason::Layer). The layer is not called again.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received>;

    /// Called with what the handler has sent, when the layer [is ready](Self::is_ready). Appends
    /// what goes to the peer for all of it to `wire`. `plain` is what one callback sent, or at most
    /// 64 KiB of that.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive): the connection is closed, behind what is in `wire`.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()>;

    /// Called when nothing more will be sent, before our end of the stream: appends the protocol's
    /// own end to `wire`. Once at most, not after an error, and not where the connection ends by a
    /// reset. It may be called before the handshake is over.
    fn end(&mut self, wire: &mut Vec<u8>);

    /// Whether the handshake is over: `on_open` may come, and what was sent may go out. Asked after
    /// [`receive`](Self::receive); once true it is not asked again.
    fn is_ready(&self) -> bool;

    /// Bytes allocated in the layer beyond its own size, as far as they depend on the peer. Asked often.
    /// Default 0.
    fn held(&self) -> usize {
        0
    }

    /// Whether the protocol marks its end ([`Received::ended`]). Default true; false for one in
    /// which the end of the stream is the only one.
    fn has_end(&self) -> bool {
        true
    }

    /// Whether one side of the protocol may end while the other goes on. Default true. Where it is
    /// false, [`finish`](crate::Conn::finish) is [`close`](crate::Conn::close), and after `on_eof`
    /// has returned the connection is closed.
    fn half_closes(&self) -> bool {
        true
    }

    /// Whether from here on the layer changes no byte in either direction and has no end: as one
    /// that reads a header is, behind it. Then it is not called any more, and the connection costs
    /// what one without a layer does, or without the lower one of [two](Self::then);
    /// [`Conn::layer`](crate::Conn::layer) finds it all the same. Asked when it is ready, and from
    /// then on until it is true. Default false.
    fn is_over(&self) -> bool {
        false
    }

    /// The peer's address, where the layer has learned that the socket's peer speaks for another (a
    /// PROXY header). Asked once, when the layer is ready.
    /// [`Conn::peer_addr`](crate::Conn::peer_addr) is this then, and
    /// [`connections_per_address`](crate::Config::connections_per_address) counts it. Default
    /// `None`.
    fn peer(&self) -> Option<Address> {
        None
    }

    /// Whether [`peer`](Self::peer) will tell, so that the socket's peer, which speaks for many, is
    /// not counted itself. Asked when the connection is accepted. Default false.
    fn tells_peer(&self) -> bool {
        false
    }

    /// Of a layer that is two, the one below and the one above, for [`Conn::layer`](crate::Conn::layer) to
    /// find both. Default `None`.
    fn parts(&self) -> Option<(&dyn Layer, &dyn Layer)> {
        None
    }

    /// This layer next to the wire, and `above` between it and the handler.
    fn then<A: Layer>(self, above: A) -> Then<Self, A>
    where
        Self: Sized,
    {
        Then::new(self, above)
    }
}

/// What a [`Layer`] made of the bytes that it was lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Received {
    consumed: usize,
    ended: bool,
    more: bool,
}

impl Received {
    /// So many of the bytes are consumed, from the first on. 0: the first record is not complete.
    pub fn consumed(bytes: usize) -> Self {
        Received { consumed: bytes, ended: false, more: false }
    }

    /// And behind them the peer has marked its end: what follows in the stream is not looked at.
    pub fn ended(self) -> Self {
        Received { ended: true, ..self }
    }

    /// And there is more to come of what was consumed: the layer is called again without new bytes.
    pub fn more(self) -> Self {
        Received { more: true, ..self }
    }

    /// The number of bytes consumed.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.consumed
    }

    /// Whether the peer has marked its end.
    #[must_use]
    pub fn is_ended(self) -> bool {
        self.ended
    }

    /// Whether there is more to come without new bytes.
    #[must_use]
    pub fn has_more(self) -> bool {
        self.more
    }
}

/// A layer in a box, for where it depends on the peer which one it is.
impl Layer for Box<dyn Layer> {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        (**self).receive(bytes, plain, wire)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        (**self).send(plain, wire)
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        (**self).end(wire);
    }

    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }

    fn held(&self) -> usize {
        (**self).held()
    }

    fn has_end(&self) -> bool {
        (**self).has_end()
    }

    fn half_closes(&self) -> bool {
        (**self).half_closes()
    }

    fn is_over(&self) -> bool {
        (**self).is_over()
    }

    fn peer(&self) -> Option<Address> {
        (**self).peer()
    }

    fn tells_peer(&self) -> bool {
        (**self).tells_peer()
    }

    fn parts(&self) -> Option<(&dyn Layer, &dyn Layer)> {
        (**self).parts()
    }
}

/// The layer of this type, in a layer that may be a stack; the highest, if there are several.
pub(crate) fn find<T: Layer>(layer: &dyn Layer) -> Option<&T> {
    let any: &dyn Any = layer;
    if let Some(found) = any.downcast_ref::<T>() {
        return Some(found);
    }
    if let Some(boxed) = any.downcast_ref::<Box<dyn Layer>>() {
        return find(&**boxed);
    }
    let (below, above) = layer.parts()?;
    find(above).or_else(|| find(below))
}

type Make = dyn Fn(&Address) -> io::Result<Box<dyn Layer>> + Send + Sync;

/// Makes the layer of each connection that a listener accepts.
#[derive(Clone)]
pub(crate) struct MakeLayer(Arc<Make>);

impl MakeLayer {
    pub(crate) fn new<L: Layer>(
        make: impl Fn(&Address) -> io::Result<L> + Send + Sync + 'static,
    ) -> Self {
        MakeLayer(Arc::new(move |peer| Ok(Box::new(make(peer)?))))
    }

    /// What this makes, and above that what the other makes.
    pub(crate) fn then(self, above: MakeLayer) -> Self {
        MakeLayer::new(move |peer| Ok(self.make(peer)?.then(above.make(peer)?)))
    }

    pub(crate) fn make(&self, peer: &Address) -> io::Result<Box<dyn Layer>> {
        (self.0)(peer)
    }
}

impl fmt::Debug for MakeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeLayer(..)")
    }
}
