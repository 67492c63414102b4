//! The limits and the manners of all WebSockets of a reactor.

use std::time::Duration;

use super::WebSocket;
use crate::codec::Rules;
use crate::deflate::{Deflate, Deflater};
use crate::endpoint::Endpoint;
use crate::handshake::Origins;
use crate::http;
use crate::ws::Out;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) message_max: u32,
    pub(super) messages_max: usize,
    pub(super) streamed: bool,
    pub(super) head_max: usize,
    pub(super) handshake: Duration,
    pub(super) ping: Option<Duration>,
    pub(super) pong: Duration,
    pub(crate) close_wait: Duration,
    pub(super) origins: Origins,
    pub(super) protocols: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            message_max: 1 << 20,
            messages_max: 256 << 20,
            streamed: false,
            head_max: 16 << 10,
            handshake: Duration::from_secs(10),
            ping: Some(Duration::from_secs(30)),
            pong: Duration::from_secs(20),
            close_wait: Duration::from_secs(5),
            origins: Origins::Same,
            protocols: Vec::new(),
        }
    }
}

impl Settings {
    pub(super) fn rules(&self, out: &Out) -> Rules {
        Rules {
            masked: !out.has(Out::CLIENT),
            message_max: self.message_max,
            streamed: self.streamed,
            packed: out.bits > 0,
        }
    }
}

/// Setters.
impl<E: Endpoint> WebSocket<E> {
    /// The longest message that is accepted, bytes; 1 MiB unless said otherwise, 4 GiB at most. A
    /// longer one is refused when its length is known, with the code
    /// [`TOO_BIG`](crate::code::TOO_BIG) (1009).
    ///
    /// What is sent is bounded by [`Config::output_max`](wouldblock::Config::output_max): an echo
    /// of 10 MiB needs that as well.
    #[must_use]
    pub fn message_max(mut self, bytes: usize) -> Self {
        self.shared.settings.message_max = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// Bytes allocated for all messages, of all connections, that are not whole; 256 MiB unless
    /// said otherwise. The connection that passes it is closed, with the code
    /// [`TRY_LATER`](crate::code::TRY_LATER) (1013).
    ///
    /// A message that comes in one piece, as most do, needs none.
    #[must_use]
    pub fn messages_max(mut self, bytes: usize) -> Self {
        self.shared.settings.messages_max = bytes;
        self
    }

    /// Hands messages out in [chunks](Endpoint::on_chunk), as they come, however long they are: nothing is
    /// joined, and `message_max` does not hold. A frame may have 4 GiB.
    #[must_use]
    pub fn streamed(mut self, streamed: bool) -> Self {
        self.shared.settings.streamed = streamed;
        self
    }

    /// The longest head of a request or an answer, bytes; 16 KiB unless said otherwise, and 64
    /// headers in any case. A longer one is answered `431`.
    #[must_use]
    pub fn head_max(mut self, bytes: usize) -> Self {
        self.shared.settings.head_max = bytes;
        self
    }

    /// How long a peer has for its part of the handshake; 10 seconds unless said otherwise. One that takes
    /// longer is answered `408`.
    #[must_use]
    pub fn handshake(mut self, wait: Duration) -> Self {
        self.shared.settings.handshake = wait;
        self
    }

    /// After which silence a peer is sent a ping; 30 seconds unless said otherwise, `None` for
    /// never. One that stays silent for [`pong`](Self::pong) after it is gone, and is told as
    /// [`ABNORMAL`](crate::code::ABNORMAL) (1006). Between one and two of these times pass before
    /// it is sent. One below one millisecond counts as one.
    #[must_use]
    pub fn ping(mut self, silence: Option<Duration>) -> Self {
        self.shared.settings.ping = silence.map(|silence| silence.max(Duration::from_millis(1)));
        self
    }

    /// How long a peer has to answer a ping, with a pong or with anything else; 20 seconds unless said
    /// otherwise.
    #[must_use]
    pub fn pong(mut self, wait: Duration) -> Self {
        self.shared.settings.pong = wait;
        self
    }

    /// How long a peer has to answer our close frame; 5 seconds unless said otherwise. A peer that
    /// is slow to take what was sent before it has 60 times that.
    #[must_use]
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.shared.settings.close_wait = wait;
        self
    }

    /// From where browsers may connect; [`Origins::Same`] unless said otherwise. Any other request
    /// is answered `403`.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.shared.settings.origins = origins;
        self
    }

    /// The subprotocols that this server speaks, the best first. The first of them that a client offers is
    /// agreed on; if it offers none of them, none is.
    ///
    /// # Panics
    ///
    /// If one is no token.
    #[must_use]
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.shared.settings.protocols = http::tokens(protocols);
        self
    }

    /// Compresses messages, where the peer wants that, too; not unless it is said. Not with
    /// [`streamed`](Self::streamed).
    #[must_use]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.shared.deflater = Some(Deflater::new(deflate));
        self
    }
}
