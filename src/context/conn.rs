//! One connection, as callbacks see it: the one being served, or another by its id.
//!
//! Every verb about one connection stands here, and here only. Bytes go through `core/send.rs`; the other
//! verbs set facts on the connection that take effect when the callback has returned. Its timer and
//! its idle timeout are in `context/timers.rs`. Read next: `handler.rs`, whose callbacks are lent one.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;

use super::Context;
use crate::base::address::Address;
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::base::explain::Explanation;
use crate::base::id::ConnId;
use crate::base::layer::{self, Layer};
use crate::base::source::Source;
use crate::conn::{Connection, Phase};
use crate::core::send::Piece;
use crate::core::{Core, Entry};
use crate::net::detached::{Detached, Taker};
use crate::time::deadlines::Stamp;

/// A connection, lent to a callback: the one being served, or another by
/// [`Context::conn`]. What can be done to it is the same for both.
///
/// Its verbs never fail: what cannot be done any more is ignored, and
/// [`on_close`](crate::Handler::on_close) tells how it ended. Their effects (a close, an abort, a
/// pause, the callbacks that follow) come after the running callback has returned; bytes may leave
/// earlier.
pub struct Conn<'a> {
    pub(super) cx: &'a mut Context,
    pub(super) id: ConnId,
    /// The input of the call, which may be sent without a copy; empty for a connection reached by its
    /// id.
    window: &'a [u8],
}

impl<'a> Conn<'a> {
    pub(crate) fn new(cx: &'a mut Context, id: ConnId, window: &'a [u8]) -> Self {
        Conn { cx, id, window }
    }

    /// Sends `bytes`: to the kernel as soon as it takes them, in order.
    ///
    /// What is sent to the connection being served leaves together when its callback returns, what is
    /// sent to another at the end of the turn; 4 KiB or more at once may leave earlier. Bytes taken
    /// from the callback's [`Input`](crate::Input) are not copied on their way back to where they came
    /// from. What is sent to a [connect](Context::connect) under way goes out when it has come
    /// through.
    ///
    /// After close, finish, abort or a failure it is ignored: [`is_open`](Self::is_open) tells
    /// before. What was taken and then could not be delivered is counted in
    /// [`Closed::unsent`](crate::Closed::unsent).
    ///
    /// Not without a bound: above [`output_max`](crate::Config::output_max) queued (4 MiB unless said
    /// otherwise) it ends the connection with [`OutputLimit`](crate::CloseReason::OutputLimit), and
    /// its peer sees a reset. An answer of 10 MiB at once is too much for a peer that reads well, too,
    /// since the kernel takes a part of it only: set a larger limit, or let it come from a source, by
    /// [`send_from`](Self::send_from).
    ///
    /// Answers that are smaller need no such care, however many there are: see
    /// [`Input`](crate::Input#not-now).
    #[inline]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.cx.core.send(self.id, Piece::Copy(bytes.as_ref()), self.window);
    }

    /// Sends `bytes`, which are kept without a copy if they have to wait. Otherwise as
    /// [`send`](Self::send).
    ///
    /// A small piece (up to 4 KiB) may be copied all the same, where that costs less. Kept bytes
    /// keep alive the whole buffer that they are a slice of, and
    /// [`buffered_max`](crate::Config::buffered_max) counts the slice: send a small slice of a large
    /// buffer that is not kept anyway as a copy.
    pub fn send_shared(&mut self, bytes: Bytes) {
        self.cx.core.send(self.id, Piece::Shared(bytes), self.window);
    }

    /// Sends what `source` brings, to its end, in order with all other sends: a file, an iterator of
    /// [`chunks`](crate::chunks), whatever can be read. A piece of it at a time is read when the kernel
    /// has room, so that a file of any size to any number of slow peers takes little memory.
    ///
    /// The source is read in the connection's turn, never within another callback: when what is queued
    /// before it is at or below [`output_low`](crate::Config::output_low), as much as
    /// [`output_high`](crate::Config::output_high) and one [`read_buffer`](crate::Config::read_buffer)
    /// hold, in at most 64 calls of `read`. `Ok(0)` is its end; `Interrupted` is asked again. It must
    /// not wait: *nothing yet* is no answer that a source can give (`WouldBlock` is an error), and while
    /// `read` runs, the whole reactor does nothing else. A file on a disk does block the loop, for one
    /// read of a piece, where that is not cached; a file on a network, for as long as the network
    /// likes. What comes from there, from a pipe, a socket or a slow device belongs to a thread, and is
    /// [posted](crate::Handle::post_to).
    ///
    /// Until it has come to its end, output counts as above `output_high`, however little is queued:
    /// reading rests (unless [`auto_pause`](Self::auto_pause) says otherwise), there is no
    /// [`room`](Self::room), no message is handed out, and a shutdown waits. Its end is told by
    /// [`on_drain`](crate::Handler::on_drain), once what is queued behind it is down to `output_low`. So a
    /// peer that asks for a hundred files has one open at a time, if it asks by messages. What is sent
    /// meanwhile waits behind it, and has seven eighths of [`output_max`](crate::Config::output_max), so
    /// that there is room for the next piece; the rest of the source does not count.
    ///
    /// [`close`](Self::close) and [`finish`](Self::finish) come after it. A close has
    /// [`close_max`](crate::Config::close_max) for all of it (10 min): for a long source `finish` is the
    /// better end, which has no such limit. A peer that takes nothing is gone after
    /// [`write_stall`](crate::Config::write_stall), as ever.
    ///
    /// If the source fails, half an answer must not look like a whole one: what was sent before goes out,
    /// then the peer sees a reset, as after [`close_reset`](Self::close_reset), and the reason is
    /// [`CloseReason::Source`](crate::CloseReason::Source) with the error (which is only logged if the
    /// connection was closing already). A panic of it is one of the handler. Whatever ends the connection
    /// before the source, drops it, and is told in [`Closed::unfinished`](crate::Closed::unfinished).
    /// Where sends are ignored, the source is dropped at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io;
    /// use wouldblock::{Conn, exactly};
    ///
    /// /// Answers with a file, however large.
    /// fn answer(conn: &mut Conn<'_>, path: &str) -> io::Result<()> {
    ///     let file = File::open(path)?;
    ///     let len = file.metadata()?.len();
    ///     conn.send(format!("{len} bytes\n"));
    ///     conn.send_from(exactly(len, file)); // as was said, or a failure: files grow and shrink
    ///     conn.send("END\n");
    ///     Ok(())
    /// }
    /// ```
    pub fn send_from(&mut self, source: impl io::Read + Send + 'static) {
        self.cx.core.send_from(self.id, Source::new(source), self.window);
    }

    /// Closes: flushes what was sent, ends our side, waits for the peer's end (at most
    /// [`linger`](crate::Config::linger)) so that no reset destroys a reply in flight, and frees
    /// the connection. From here on input is read and discarded, no callback comes but
    /// [`on_close`](crate::Handler::on_close), and sends are ignored.
    pub fn close(&mut self) {
        // `close_max` is counted from here, however long the callback has run.
        self.cx.core.read_clock();
        self.change(Connection::close);
    }

    /// Closes with a reset behind what was sent, in the place of an orderly end: for an answer that
    /// breaks off half way, which a peer must not take for a whole one. A proxy passes a reset on so.
    ///
    /// As [`close`](Self::close) it flushes, reads and discards; then it waits until the peer's
    /// kernel has acknowledged all of it, since a reset destroys what is on its way, as long as that
    /// goes on (at most [`write_stall`](crate::Config::write_stall) without a byte of progress, and
    /// [`close_max`](crate::Config::close_max) in all), and frees the connection with a reset. On
    /// Linux the peer still reads what had arrived before it sees `ECONNRESET`. Never
    /// [`clean`](crate::Closed::clean). Where the kernel does not say what was acknowledged
    /// (`sock_diag(7)`), it waits for [`linger`](crate::Config::linger) instead. On a Unix socket, as
    /// [`abort`](Self::abort) behind the flush.
    pub fn close_reset(&mut self) {
        self.cx.core.read_clock();
        self.change(Connection::close_reset);
    }

    /// Half-closes: ends our side after what was sent (our FIN), and reads on. Sends are ignored
    /// from here on. When the peer's end has come too, that is a close.
    pub fn finish(&mut self) {
        self.cx.core.read_clock();
        self.change(Connection::finish);
    }

    /// Aborts: frees the connection with a reset. What the kernel has not taken is lost, and
    /// counted in [`Closed::unsent`](crate::Closed::unsent).
    ///
    /// A Unix socket has no reset. Its peer sees `ECONNRESET` if it has sent something that we have
    /// not read, behind what had arrived there before; otherwise the end, and nothing can be done about
    /// it on this side (unix(7)). So a protocol over Unix sockets should be able to tell a whole
    /// answer by itself: by its length, or by a mark at its end.
    pub fn abort(&mut self) {
        self.change(|conn, _, _| conn.cut(CloseReason::Aborted));
    }

    /// Takes the connection out of the reactor, alive: for a thread that serves it with blocking
    /// calls, or for another reactor ([`adopt`](Context::adopt)). When the running callback has
    /// returned, `then` is called with its stream, with what was [read and not
    /// consumed](crate::Detached::unread), and with what was [sent and not
    /// written](crate::Detached::unsent), this callback's included. Behind it comes
    /// [`on_close`](crate::Handler::on_close) with [`Detached`](crate::CloseReason::Detached).
    ///
    /// Here it is over at once: sends are ignored, and neither [`Input::line`](crate::Input::line)
    /// nor a decoder hands out another message. What a callback consumes after that is lost to
    /// whatever takes the connection.
    ///
    /// Ignored, and `then` dropped, where it is not [open](Self::is_open) (it closes, has
    /// [finished](Self::finish) or failed), is a [connect](Context::connect) under way or not
    /// opened yet; and in [`on_closing`](crate::Handler::on_closing); while a
    /// [source](Self::send_from) has not come to its end; and where it has a [layer](crate::Layer)
    /// that is not [over](crate::Layer::is_over). If the callback panics it is not detached either.
    /// It may be detached during a shutdown, which then does not wait for it; if it is
    /// [held](Self::hold) or paused it need not be let go before. `then` must not block, as no
    /// callback must.
    ///
    /// The stream stays non-blocking, and keeps its options. Nothing here watches it any more,
    /// duplicates of its descriptor included. If the reactor is dropped before `then` was called,
    /// the peer sees a reset.
    ///
    /// # Examples
    ///
    /// A client that asks for a shell gets a thread of its own, which may wait:
    ///
    /// ```
    /// use std::io::{self, Read, Write};
    /// use std::net::TcpStream;
    /// use std::thread;
    /// use wouldblock::{Conn, Detached};
    ///
    /// fn on_shell(conn: &mut Conn<'_>) {
    ///     conn.send("welcome\n");
    ///     conn.detach(|detached| {
    ///         thread::spawn(|| shell(detached));
    ///     });
    /// }
    ///
    /// fn shell(Detached { stream, unread, unsent }: Detached) -> io::Result<()> {
    ///     let Ok(mut stream) = TcpStream::try_from(stream) else { return Ok(()) }; // no TCP
    ///     stream.set_nonblocking(false)?;
    ///     stream.write_all(&unsent)?; // "welcome", and whatever waited before it
    ///     let mut all = String::new();
    ///     (&unread[..]).chain(&stream).read_to_string(&mut all)?; // what came is not lost
    ///     stream.write_all(all.to_uppercase().as_bytes())
    /// }
    /// # struct Shells;
    /// # impl wouldblock::Handler for Shells {
    /// #     type Session = ();
    /// #     fn on_open(&mut self, _: &mut Conn<'_>, _: wouldblock::Origin) -> io::Result<()> { Ok(()) }
    /// #     fn on_data(&mut self, conn: &mut Conn<'_>, _: &mut (), input: &mut wouldblock::Input<'_>) -> io::Result<()> {
    /// #         while input.line() == Some(b"shell") {
    /// #             on_shell(conn);
    /// #         }
    /// #         Ok(())
    /// #     }
    /// #     fn on_close(&mut self, cx: &mut wouldblock::Context, _: wouldblock::ConnId, _: (), _: wouldblock::Closed) {
    /// #         cx.shutdown();
    /// #     }
    /// # }
    /// # let mut reactor = wouldblock::Reactor::new(Shells)?;
    /// # let listener = reactor.listen("127.0.0.1:0")?;
    /// # let addr = reactor.listener_addr(listener)?.socket_addr().expect("TCP");
    /// # let mut client = TcpStream::connect(addr)?;
    /// # client.write_all(b"shell\nls")?;
    /// # client.shutdown(std::net::Shutdown::Write)?;
    /// # reactor.run()?;
    /// # let mut answer = String::new();
    /// # client.read_to_string(&mut answer)?;
    /// # assert_eq!(answer, "welcome\nLS");
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// For another reactor: `let handle = self.other.clone();`, and then
    /// `conn.detach(move |detached| drop(handle.post(move |_, cx| drop(cx.adopt(detached, 7)))));`.
    pub fn detach(&mut self, then: impl FnOnce(Detached) + Send + 'static) {
        self.cx.core.detach(self.id, self.window, Taker(Box::new(then)));
    }

    /// Stops reading: no `on_data`, no `on_eof` until [`resume`](Self::resume). The peer is held
    /// back by TCP once the kernel's buffers are full. Deadlines go on, the idle one included.
    ///
    /// That the peer has ended its side in order shows only when reading again: `on_eof` follows its
    /// last bytes. That it is gone, by a reset or because a write failed, is told without that: first
    /// by [`on_drain`](crate::Handler::on_drain) if one is owed, where
    /// [`has_failed`](Self::has_failed) is true; then by [`on_close`](crate::Handler::on_close), at
    /// once if nothing is left to read. If something is, the handler has
    /// [`linger`](crate::Config::linger) to resume and be shown it.
    pub fn pause(&mut self) {
        self.change(|conn, _, _| conn.pause());
    }

    /// Reads again. What was left unconsumed is offered once more, unless the last word about it
    /// was that it waits.
    pub fn resume(&mut self) {
        self.change(|conn, _, _| conn.resume());
    }

    /// Whether reading rests while much output is queued. By default it does, from
    /// [`output_high`](crate::Config::output_high) until it is down to
    /// [`output_low`](crate::Config::output_low): right where input causes output on the same
    /// connection, and wrong where the two have nothing to do with each other. A proxy whose client
    /// sends all before it reads anything would never come to read; and of a subscriber that is
    /// behind with what others publish the heartbeats would lie unread, until the
    /// [timeout](Self::set_timeout) that waits for them comes.
    ///
    /// With `false`, from now on, the handler holds back what causes the output:
    /// [`pause`](Self::pause) that connection when this one has no [`room`](Self::room), ask this
    /// one to [`want_drain`](Self::want_drain), and resume that one in its `on_drain`
    /// (`examples/proxy.rs`). The library's own bound is [`output_max`](crate::Config::output_max):
    /// a handler that holds nothing back meets it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io;
    /// # use wouldblock::{Conn, ConnId, Input};
    /// // One direction of a proxy, in `on_data`:
    /// fn relay(conn: &mut Conn<'_>, to: ConnId, input: &mut Input<'_>) -> io::Result<()> {
    ///     let bytes = input.take_all();
    ///     if let Some(mut to) = conn.cx().conn(to) {
    ///         to.send(bytes);
    ///         if to.room() == 0 && to.want_drain() {
    ///             conn.pause(); // until `on_drain` of the other
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn auto_pause(&mut self, auto_pause: bool) {
        self.change(|conn, _, _| conn.auto_pause(auto_pause));
    }

    /// Keeps the connection through shutdown while `hold` is true: for one that waits for another's
    /// answer. [`shutdown_max`](crate::Config::shutdown_max) holds all the same.
    pub fn hold(&mut self, hold: bool) {
        self.change(|conn, _, _| conn.hold(hold));
    }

    /// Bytes sent that the kernel has not taken, those of this callback included. Of a
    /// [source](Self::send_from) what was read counts.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.cx.core.queued(self.id)
    }

    /// Bytes that may be sent before [`output_high`](crate::Config::output_high) is reached, and
    /// reading rests; 0 if sends are ignored, or a [source](Self::send_from) has not come to its end.
    /// Above three quarters of
    /// [`buffered_max`](crate::Config::buffered_max) it is less: one byte above
    /// [`output_low`](crate::Config::output_low) takes the place of `output_high`.
    #[must_use]
    pub fn room(&self) -> usize {
        if !self.is_open() || self.entry().conn.has_source() {
            return 0;
        }
        self.cx.core.limits.rest_at.saturating_sub(self.queued())
    }

    /// Asks for [`on_drain`](crate::Handler::on_drain), once, in a later turn, when queued output
    /// is at or below [`output_low`](crate::Config::output_low): to send piece by piece what is
    /// made as it goes. (What can be read, or iterated over, is sent by
    /// [`send_from`](Self::send_from).) It comes without asking after output was at or above
    /// [`output_high`](crate::Config::output_high). If the connection fails before, it comes at
    /// once, or [`on_close`](crate::Handler::on_close) does.
    ///
    /// Returns whether it comes, if `on_close` does not come before: not if sends are ignored.
    pub fn want_drain(&mut self) -> bool {
        let mut comes = false;
        self.change(|conn, _, _| comes = conn.want_drain());
        comes
    }

    /// The peer's address, as accept told it, or as we connected to it, or as
    /// [`adopt`](crate::Context::adopt) says.
    ///
    /// # Errors
    ///
    /// None: it is known even if the peer has left. A `Result` as all addresses are one.
    pub fn peer_addr(&self) -> io::Result<Address> {
        Ok(self.entry().peer.address())
    }

    /// Puts a [`Layer`](crate::Layer) between the connection and its handler, in mid-stream:
    /// STARTTLS, or a proxy that has answered CONNECT. It takes its place when the running callback
    /// has returned.
    ///
    /// What was sent before leaves as it is, and before; what is sent from here on goes through the
    /// layer, and waits for its handshake. What the callback has not consumed of its input goes
    /// through the layer, as does all that comes later; no message of it is handed out any more (as
    /// [not now](crate::Input#not-now)), and a loop that reads bytes ends
    /// [there](Self::is_reading): what a client slips in behind its STARTTLS is no command.
    /// `on_data` comes when the layer has made something of it. No callback tells that the
    /// handshake is over; one that fails is told by `on_close`, with
    /// [`Layer`](crate::CloseReason::Layer) or [`Handshake`](crate::CloseReason::Handshake). A
    /// connection that has a layer already has the new one above that. On a
    /// [connect](Context::connect) under way: as [`Connect::layer`](crate::Connect::layer).
    ///
    /// Ignored where nothing can be sent any more. Where it cannot be done in order, while a
    /// [source](Self::send_from) has not come to its end or an earlier handshake is not over and
    /// sends wait for it, the connection ends with [`Layer`](crate::CloseReason::Layer): what
    /// follows may be meant for the peer alone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io;
    /// # use wouldblock::{Conn, Input, Layer};
    /// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>, tls: impl Layer) -> io::Result<()> {
    ///     if input.line() == Some(b"STARTTLS") {
    ///         conn.send("220 go ahead\r\n"); // still in the clear
    ///         conn.upgrade(tls);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn upgrade(&mut self, layer: impl Layer) {
        self.cx.core.upgrade(self.id, Box::new(layer), self.window);
    }

    /// The connection's [layer](crate::Layer) of this type, to ask what its handshake has learned:
    /// a name, a certificate, a protocol. Of several, the one nearest to the handler. `None` if
    /// there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::{Conn, Layer};
    /// fn server_name<T: Layer + Named>(conn: &Conn<'_>) -> Option<String> {
    ///     Some(conn.layer::<T>()?.name().to_owned())
    /// }
    /// # trait Named { fn name(&self) -> &str; }
    /// ```
    #[must_use]
    pub fn layer<T: Layer>(&self) -> Option<&T> {
        layer::find(self.entry().conn.layer()?)
    }

    /// What the connection waits for, and why: for a person who looks at a server that hangs. It is
    /// reckoned when it is asked for, from what the connection knows, without a system call: some
    /// hundred instructions.
    ///
    /// Not guaranteed: the words. Who needs a decision of the program's asks
    /// [`is_reading`](Self::is_reading), [`queued`](Self::queued) and the like.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Context;
    /// fn list(cx: &mut Context) -> String {
    ///     let mut list = String::new();
    ///     for id in cx.all_connections() {
    ///         let Some(conn) = cx.conn(id) else { continue };
    ///         if let Ok(peer) = conn.peer_addr() {
    ///             list += &format!("{id} {peer}: {}\n", conn.explain());
    ///         }
    ///     }
    ///     list
    /// }
    /// ```
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let Core { limits, now, .. } = &self.cx.core;
        let Entry { conn, ticket, .. } = self.entry();
        conn.explain(self.queued(), ticket.is_queued(), *now, limits)
    }

    /// Our address on this connection (getsockname(2)).
    ///
    /// # Errors
    ///
    /// As getsockname(2); not expected on a connection that is there.
    pub fn local_addr(&self) -> io::Result<Address> {
        self.entry().socket.local_addr()
    }

    /// The name of this connection, for as long as the program runs.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Whether sends are taken: not closing, finished or failed. A [connect](Context::connect) under
    /// way takes them.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.entry().conn.takes_sends()
    }

    /// Whether the next message may be handed out: the connection is not closing, not
    /// [paused](Self::pause), does not [rest](crate::Input::is_resting), and what is left is not
    /// for a layer that it was [upgraded](Self::upgrade) to, for another service or for whatever it
    /// is [detached](Self::detach) for.
    ///
    /// For a loop over messages in `on_data`, which is to stop when one of them has done that, as
    /// [`framed`](crate::framed) does. What is left then is offered again, where it belongs.
    ///
    /// # Examples
    ///
    /// Lines, until one of them says that bytes follow:
    ///
    /// ```
    /// # use std::io;
    /// # use wouldblock::{Conn, Input};
    /// struct Client {
    ///     bytes: usize, // to come before the next line
    /// }
    ///
    /// fn on_data(conn: &mut Conn<'_>, client: &mut Client, input: &mut Input<'_>) -> io::Result<()> {
    ///     while conn.is_reading() && !input.is_empty() {
    ///         if client.bytes > 0 {
    ///             let n = client.bytes.min(input.len());
    ///             input.consume(n); // a piece of them: to a file, say
    ///             client.bytes -= n;
    ///         } else if let Some(line) = input.line() {
    ///             match line.strip_prefix(b"bytes ").and_then(number) {
    ///                 Some(n) => client.bytes = n,
    ///                 None => conn.close(), // no other line comes
    ///             }
    ///         } else {
    ///             break; // it is not complete
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # fn number(digits: &[u8]) -> Option<usize> {
    /// #     str::from_utf8(digits).ok()?.parse().ok()
    /// # }
    /// # let _ = on_data;
    /// ```
    #[must_use]
    pub fn is_reading(&self) -> bool {
        let conn = &self.entry().conn;
        // A decoder that reads bytes is not held back by its input: only by not being asked.
        conn.is_reading() && !conn.is_resting()
    }

    /// Whether callbacks come: not closing.
    pub(crate) fn is_served(&self) -> bool {
        self.entry().conn.is_served()
    }

    /// Whether the connection has failed (a reset by the peer, a write to one that is gone): nothing
    /// that is sent arrives any more. What the peer had sent before is still there to be read;
    /// behind it comes [`on_close`](crate::Handler::on_close). See [`pause`](Self::pause).
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.entry().conn.has_failed()
    }

    /// The descriptor, lent for socket options that have no verb here. `None` where there is none
    /// (a simulated connection). Do not read, write, shut down or close through it, nor through a
    /// duplicate: the reactor's account of the socket would be wrong.
    ///
    /// A duplicate ([`try_clone_to_owned`](BorrowedFd::try_clone_to_owned)) may outlive the connection:
    /// after [`on_close`](crate::Handler::on_close) nothing watches it, and the peer has been told of
    /// the end as if there were none.
    ///
    /// These are the reactor's. `SO_LINGER`: cleared before the close, which would make the whole
    /// reactor wait in close(2) (socket(7)); for a reset there is [`abort`](Self::abort). `O_NONBLOCK`:
    /// to clear it slows nothing down, reads and writes ask not to wait each time. `SO_RCVLOWAT` above
    /// 1, and an upper protocol (`TCP_ULP`, kTLS for one): not to be set, since what is ready then
    /// means something else, and bytes that have arrived may stay unread.
    ///
    /// # Examples
    ///
    /// Give up on unacknowledged bytes after ten seconds (`TCP_USER_TIMEOUT`, tcp(7)), by way of
    /// the `socket2` crate:
    ///
    /// ```
    /// # use std::io::{self, Read, Write};
    /// # use std::time::Duration;
    /// # use wouldblock::{Conn, Handler, Input, Origin, Reactor};
    /// use socket2::SockRef;
    ///
    /// struct Impatient;
    ///
    /// impl Handler for Impatient {
    ///     type Session = ();
    ///
    ///     fn on_open(&mut self, conn: &mut Conn<'_>, _origin: Origin) -> io::Result<()> {
    ///         if let Some(fd) = conn.fd() {
    ///             # #[cfg(target_os = "linux")]
    ///             SockRef::from(&fd).set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    ///         }
    ///         # conn.cx().shutdown();
    ///         Ok(())
    ///     }
    ///     # fn on_data(&mut self, _: &mut Conn<'_>, _: &mut (), _: &mut Input<'_>) -> io::Result<()> {
    ///     #     Ok(())
    ///     # }
    /// }
    /// # let mut reactor = Reactor::new(Impatient)?;
    /// # let listener = reactor.listen("127.0.0.1:0")?;
    /// # let addr = reactor.listener_addr(listener)?.socket_addr().expect("TCP");
    /// # let client = std::net::TcpStream::connect(addr)?;
    /// # drop(client);
    /// # reactor.run()?;
    /// # assert_eq!(reactor.stats().closed.handler, 0);
    /// # Ok::<(), io::Error>(())
    /// ```
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let Entry { socket, conn, .. } = self.entry();
        conn.share();
        socket.fd()
    }

    /// The rest of the reactor.
    pub fn cx(&mut self) -> &mut Context {
        self.cx.core.copy_corked(self.window);
        self.cx
    }

    fn change(&mut self, verb: impl FnOnce(&mut Connection, Stamp, &Limits)) {
        let Core { conns, limits, now, callback, .. } = &mut self.cx.core;
        let entry = conns.get_mut(self.id);
        let Some(Entry { conn, .. }) = entry.filter(|it| it.conn.phase() != Phase::Closed) else {
            return;
        };
        verb(conn, *now, limits);
        callback.note_rest(self.id, conn);
        self.cx.core.mark_dirty(self.id);
        // Resumed, or no longer held, it may be judged again: after a callback of its own nothing
        // else sees to that.
        self.cx.core.arm_paced(self.id);
    }

    fn entry(&self) -> &Entry {
        self.cx.core.entry(self.id).expect("none is freed while a callback runs")
    }
}

/// Takes all, as [`Conn::send`] does: for `write!` and for encoders. Never waits, and `flush` has
/// nothing to do.
impl io::Write for Conn<'_> {
    /// # Errors
    ///
    /// `BrokenPipe` where [`Conn::send`] ignores what is sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cx.core.send(self.id, Piece::Copy(bytes), self.window) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).finish_non_exhaustive()
    }
}
