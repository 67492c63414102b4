//! Messages instead of bytes: a handler whose callback is one message.
//!
//! [`framed`] puts a decoder before a handler and runs the loop that every protocol has: decode,
//! call, again, until a message is not complete or the peer is to read first. It knows no protocol:
//! the decoders are in `frame`, or the user's own. Every callback of [`Handler`] but those for bytes
//! is passed on as it is. Read next: `reactor.rs`, which calls this as any handler.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::frame::{Decode, MessageError};
use crate::handler::Handler;
use crate::net::datagram::Datagram;
use crate::time::timers::Timer;

/// A [`Handler`] that is called with messages: what [`framed`] takes.
///
/// Everything but the bytes is the handler's, as ever: `on_open`, `on_close`, timers. Its `on_data` and
/// `on_eof` are not called: messages come to [`on_message`](Self::on_message), and the end of a peer to
/// [`on_end`](Self::on_end).
///
/// # Examples
///
/// A server that adds: each line has numbers, and is answered with their sum.
///
/// ```
/// use std::io;
/// use wouldblock::frame::{Lines, MessageError};
/// use wouldblock::{Conn, Handler, Messages, Origin, Reactor, framed};
///
/// struct Sums;
///
/// impl Handler for Sums {
///     type Session = ();
///
///     fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// impl Messages<Lines> for Sums {
///     fn on_message(&mut self, conn: &mut Conn<'_>, _: &mut (), line: &[u8]) -> io::Result<()> {
///         let line = String::from_utf8_lossy(line);
///         match line.split_whitespace().map(str::parse::<i64>).sum::<Result<i64, _>>() {
///             Ok(sum) => conn.send(format!("{sum}\n")),
///             Err(_) => conn.send("numbers, please\n"),
///         }
///         Ok(())
///     }
///
///     fn on_bad_message(
///         &mut self,
///         conn: &mut Conn<'_>,
///         _: &mut (),
///         error: MessageError,
///     ) -> io::Result<()> {
///         conn.send(format!("{error}\n")); // goes out before the connection is closed
///         Err(error.into())
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new(framed(Lines::new().max(1000), Sums))?;
/// reactor.listen("127.0.0.1:0")?;
/// # reactor.handle().shutdown();
/// reactor.run()
/// # }
/// ```
pub trait Messages<D: Decode>: Handler {
    /// Called with each message, once, in order.
    ///
    /// Not while the connection is paused or rests: after [`Conn::pause`] the next message comes
    /// when it is resumed, and when the answers so far have brought queued output to
    /// [`output_high`](crate::Config::output_high), it comes when they are down to
    /// [`output_low`](crate::Config::output_low). None comes after a close; after an
    /// [upgrade](Conn::upgrade) the next is the first that came through the layer.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_message(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        message: D::Message<'_>,
    ) -> io::Result<()>;

    /// Called at most once, when what came is no message, is too long, or was cut off by the peer's
    /// end. There is no telling where the next message begins, so nothing but `on_close` follows. What
    /// is sent here still goes out.
    ///
    /// By default the error is the reason of the close,
    /// [`CloseReason::Handler`](crate::CloseReason::Handler), and is logged with it.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes. So does `Ok`, without an error as the reason.
    fn on_bad_message(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Self::Session,
        error: MessageError,
    ) -> io::Result<()> {
        let _ = (conn, session);
        Err(error.into())
    }

    /// Called when the peer has ended its side behind a whole message; within one,
    /// [`on_bad_message`](Self::on_bad_message) is. Closes by default; a handler that still has
    /// something to send may leave the connection open.
    ///
    /// # Errors
    ///
    /// Flushes what was sent, then closes.
    fn on_end(&mut self, conn: &mut Conn<'_>, session: &mut Self::Session) -> io::Result<()> {
        let _ = session;
        conn.close();
        Ok(())
    }
}

/// Makes a [`Handler`] of a decoder and a handler of [`Messages`].
///
/// The decoder is cloned for each connection: one that keeps state begins anew with each. A message has to
/// fit into [`input_max`](crate::Config::input_max) (1 MiB), whatever the decoder's own maximum is.
///
/// # Examples
///
/// An echo of messages that begin with their length, each in a message:
///
/// ```no_run
/// use std::io;
/// use wouldblock::frame::LengthPrefixed;
/// use wouldblock::{Conn, Handler, Messages, Origin, Reactor, framed};
///
/// const FRAMES: LengthPrefixed = LengthPrefixed::new(4).max(64 << 10);
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Session = ();
///
///     fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// impl Messages<LengthPrefixed> for Echo {
///     fn on_message(&mut self, conn: &mut Conn<'_>, _: &mut (), frame: &[u8]) -> io::Result<()> {
///         FRAMES.encode(frame, conn)
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut reactor = Reactor::new(framed(FRAMES, Echo))?;
///     reactor.listen("127.0.0.1:6666")?;
///     reactor.run()
/// }
/// ```
pub fn framed<D: Decode + Clone, H: Messages<D>>(decoder: D, handler: H) -> Framed<D, H> {
    Framed { decoder, handler }
}

/// What [`framed`] makes. It can be used as the handler in it, by a posted closure for one.
pub struct Framed<D, H> {
    decoder: D,
    handler: H,
}

/// The session of a connection that a [`Framed`] handler serves. It can be used as the handler's own,
/// by a posted closure for one.
#[derive(Debug)]
pub struct FramedSession<D, S> {
    decoder: D,
    session: S,
}

impl<D, H> Framed<D, H> {
    /// Gives the handler back.
    pub fn into_inner(self) -> H {
        self.handler
    }
}

impl<D: Decode + Clone, H: Messages<D>> Handler for Framed<D, H> {
    type Session = FramedSession<D, H::Session>;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Self::Session> {
        let session = self.handler.on_open(conn, origin)?;
        Ok(FramedSession { decoder: self.decoder.clone(), session })
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        framed: &mut Self::Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        // What a message has stopped goes on with what is left: the reactor offers that again.
        while conn.is_reading() {
            match next(&mut framed.decoder, input) {
                Ok(Some(message)) => self.handler.on_message(conn, &mut framed.session, message)?,
                Ok(None) => return Ok(()),
                Err(error) => return self.refuse(conn, framed, error),
            }
        }
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        framed: &mut Self::Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        // Nothing is offered again, so pausing does not stop it. All that was complete has come before:
        // what comes here is what the end itself completes.
        while conn.is_served() {
            match next(&mut framed.decoder, rest) {
                Ok(Some(message)) => self.handler.on_message(conn, &mut framed.session, message)?,
                Ok(None) if rest.is_empty() => {
                    return self.handler.on_end(conn, &mut framed.session);
                }
                Ok(None) => {
                    return self.refuse(conn, framed, MessageError::CutOff { left: rest.len() });
                }
                Err(error) => return self.refuse(conn, framed, error),
            }
        }
        Ok(())
    }

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        self.handler.on_start(cx)
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, framed: &mut Self::Session) -> io::Result<()> {
        self.handler.on_drain(conn, &mut framed.session)
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, framed: &mut Self::Session) -> io::Result<()> {
        self.handler.on_timeout(conn, &mut framed.session)
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        framed: &mut Self::Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        self.handler.on_closing(conn, &mut framed.session, reason)
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.handler.on_timer(cx, timer);
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.handler.on_datagram(cx, datagram);
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, framed: Self::Session, closed: Closed) {
        self.handler.on_close(cx, id, framed.session, closed);
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        self.handler.on_connect_failed(cx, id, tag, error);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.handler.on_shutdown(cx);
    }
}

impl<D: Decode + Clone, H: Messages<D>> Framed<D, H> {
    #[cold]
    fn refuse(
        &mut self,
        conn: &mut Conn<'_>,
        framed: &mut FramedSession<D, H::Session>,
        error: MessageError,
    ) -> io::Result<()> {
        self.handler.on_bad_message(conn, &mut framed.session, error)?;
        if conn.is_served() {
            conn.close();
        }
        Ok(())
    }
}

/// The next message. One that consumed nothing would come for ever.
fn next<'a, D: Decode>(
    decoder: &mut D,
    input: &mut Input<'a>,
) -> Result<Option<D::Message<'a>>, MessageError> {
    let before = input.len();
    match decoder.decode(input)? {
        Some(_) if input.len() == before => Err(MessageError::Stuck),
        message => Ok(message),
    }
}

impl<D, H> Deref for Framed<D, H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handler
    }
}

impl<D, H> DerefMut for Framed<D, H> {
    fn deref_mut(&mut self) -> &mut H {
        &mut self.handler
    }
}

impl<D, S> Deref for FramedSession<D, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.session
    }
}

impl<D, S> DerefMut for FramedSession<D, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.session
    }
}

impl<D, H> fmt::Debug for Framed<D, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").finish_non_exhaustive()
    }
}
