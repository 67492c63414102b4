//! A connection outside of a reactor: its stream, and the bytes that are on the way on our side.
//!
//! It comes out by `Conn::detach` and goes in by `Context::adopt`, of this reactor or of another. What
//! becomes of a connection that is detached is decided in `conn/leave.rs`, and done in `core/free.rs`.

use std::fmt;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use bytes::Bytes;

use crate::kernel;
use crate::net::socket::Stream;

/// A connection without a reactor, as [`Conn::detach`](crate::Conn::detach) hands it over and
/// [`adopt`](crate::Context::adopt) takes it; it can be sent to another thread.
///
/// A `std` stream is made one by `From`, with nothing unread and nothing unsent. The other way there is
/// `TryFrom`: the stream is a [`TcpStream`] or a [`UnixStream`].
///
/// # Examples
///
/// A thread that has read too far gives the rest along:
///
/// ```
/// use std::io::{self, Read};
/// use std::net::TcpStream;
/// use wouldblock::{ConnId, Context, Detached};
///
/// fn take_over(cx: &mut Context, stream: TcpStream, head: Vec<u8>) -> io::Result<ConnId> {
///     cx.adopt(Detached { unread: head.into(), ..stream.into() }, 0)
/// }
/// ```
#[derive(Debug)]
pub struct Detached {
    /// The stream. Non-blocking: for a thread that waits in its calls, `set_nonblocking(false)`.
    pub stream: Stream,
    /// Bytes that were read from it and not consumed: they come before whatever it still has to read.
    pub unread: Bytes,
    /// Bytes that were sent and that the kernel has not taken: to be written before anything else.
    pub unsent: Bytes,
}

impl Detached {
    /// Closes it without waiting, with a reset where the peer is owed output: half an answer is not
    /// to look whole.
    pub(crate) fn refuse(self) {
        // On failure it is none that a reactor could have taken.
        if let Ok(socket) = self.stream.into_socket()
            && !self.unsent.is_empty()
        {
            socket.reset_on_close();
        }
    }
}

impl From<Stream> for Detached {
    fn from(stream: Stream) -> Self {
        Detached { stream, unread: Bytes::new(), unsent: Bytes::new() }
    }
}

impl From<TcpStream> for Detached {
    fn from(stream: TcpStream) -> Self {
        Stream::from(stream).into()
    }
}

impl From<UnixStream> for Detached {
    fn from(stream: UnixStream) -> Self {
        Stream::from(stream).into()
    }
}

/// Made by a simulated world.
impl From<kernel::Stream> for Detached {
    fn from(stream: kernel::Stream) -> Self {
        Stream::from(stream).into()
    }
}

/// What is done with a connection that is detached.
pub(crate) struct Taker(pub(crate) Box<dyn FnOnce(Detached) + Send>);

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taker(..)")
    }
}
