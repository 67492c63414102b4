//! Bytes that came and are not consumed yet, as a callback sees them.
//!
//! [`Input`] is the window a callback sees: always one slice, wherever it lies (`buffer.rs`). Nothing
//! is parsed here beyond a line and a count; decoders come on top. Read next: `core.rs`, which
//! decides when a window is offered.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a callback's last word was about the input it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It does not wait: consumed something and left something, so it is called again.
    Nothing,
    /// It waits for the rest of a line: any new byte may complete it.
    Line,
    /// It waits for the delimiter of this name (`frame`): any new byte may complete it.
    Delimiter(u64),
    /// It waits until this many bytes are there.
    Bytes(usize),
    /// It was not to have what is there: its connection rests. It is called again after that.
    NotNow,
}

/// Whether the connection whose callback runs rests. `Core` notes it, [`Input`] asks.
///
/// The two are lent to a callback side by side, so that neither can hold the other. All of it happens
/// on one thread at a time; it is an atomic so that the reactor may be moved to another.
#[derive(Debug, Default)]
pub(crate) struct Rest(AtomicBool);

impl Rest {
    #[inline]
    pub(crate) fn note(&self, rests: bool) {
        self.0.store(rests, Ordering::Relaxed);
    }

    #[inline]
    fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of no connection: it never rests.
pub(crate) static AWAKE: Rest = Rest(AtomicBool::new(false));

/// The input of one call: bytes not consumed yet.
///
/// What the handler consumes is gone; what it leaves is offered again, with what came since. The
/// call comes again without new bytes if it consumed something, left something, and its last word
/// was not that it waits ([`line`](Self::line), [`take`](Self::take) or a decoder of
/// [`frame`](crate::frame) answered `None`, or [`wait_for`](Self::wait_for)). So a handler may take
/// one message a call, or all in a loop.
///
/// # Not now
///
/// The loop below needs no thought of how large the answers are. While the connection
/// [rests](Self::is_resting), because the answers of this very call were more than its peer takes,
/// what hands out messages ([`line`](Self::line), [`take`](Self::take), the decoders of
/// [`frame`](crate::frame)) answers `None` with another meaning: not now. What is left is offered
/// again when queued output is down to [`output_low`](crate::Config::output_low). So one call queues
/// less than [`output_high`](crate::Config::output_high) and the answer to one message. What hands out
/// bytes ([`bytes`](Self::bytes), [`consume`](Self::consume), [`take_all`](Self::take_all)) is not
/// held back.
///
/// So `None` does not say that a message is incomplete. A handler that judges what is left, for a
/// line that is too long, either asks [`is_resting`](Self::is_resting) first or leaves it to a
/// decoder: those judge before they answer, `frame::Delimited::new(b"\n").max(1000)`. And one that
/// has counted by `len` that a message is complete cannot rely on `take` to hand it out.
///
/// A message that pauses or closes the connection does not stop the loop by that: what a call was
/// given is its own. Where one may, the loop is `while conn.is_reading()`
/// ([`Conn::is_reading`](crate::Conn::is_reading)), or [`framed`](crate::framed) has it.
///
/// The slices live as long as the call, not only as long as the borrow of `Input`: hold several,
/// and `send` them without a copy.
///
/// # Examples
///
/// ```
/// # use wouldblock::{Conn, Input};
/// # use std::io;
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(line) = input.line() {
///         conn.send(line);
///         conn.send(b"\r\n");
///     }
///     Ok(())
/// }
/// ```
pub struct Input<'a> {
    window: &'a [u8],
    /// How much of the window is consumed.
    consumed: usize,
    /// How much of the window an earlier call was shown.
    seen: usize,
    /// No line ends before here.
    scanned: usize,
    /// The delimiter of this name does not lie in the window before this place.
    searched: (u64, usize),
    wait: Wait,
    /// None at the end: nothing is offered again, so nothing is held back.
    rest: Option<&'a Rest>,
}

/// No delimiter has this name.
const NO_DELIMITER: (u64, usize) = (0, 0);

impl<'a> Input<'a> {
    #[inline]
    pub(crate) fn new(window: &'a [u8], seen: usize, waited: Wait, rest: &'a Rest) -> Self {
        // All that was seen was searched, for what the last call looked for.
        let (scanned, searched) = match waited {
            Wait::Line => (seen, NO_DELIMITER),
            Wait::Delimiter(name) => (0, (name, seen)),
            Wait::Nothing | Wait::Bytes(_) | Wait::NotNow => (0, NO_DELIMITER),
        };
        let rest = Some(rest);
        Input { window, consumed: 0, seen, scanned, searched, wait: Wait::Nothing, rest }
    }

    /// The peer has ended its side.
    pub(crate) fn end(&mut self) {
        self.rest = None;
    }

    /// How much was consumed, and the last word.
    #[inline]
    pub(crate) fn finish(self) -> (usize, Wait) {
        (self.consumed, self.wait)
    }

    /// All bytes not consumed yet. Consumes nothing.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.window[self.consumed..]
    }

    /// How many bytes are not consumed yet.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.window.len() - self.consumed
    }

    /// Whether all is consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of [`bytes`](Self::bytes) an earlier call had already shown: a parser that
    /// remembers how far it came need not look at them again.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.saturating_sub(self.consumed)
    }

    /// Consumes `n` bytes.
    ///
    /// # Panics
    ///
    /// If fewer than `n` are left.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consumed {n} bytes of {}", self.len());
        self.consumed += n;
        self.wait = Wait::Nothing;
    }

    /// Consumes exactly `n` bytes; `None` if fewer are there: then the next call comes when `n` are.
    /// `None` as well while the connection [rests](Self::is_resting), whatever is there.
    ///
    /// `None` also when `n` is above [`input_max`](crate::Config::input_max); that ends the
    /// connection after the call, since so many cannot come.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if self.refuses() {
            return None;
        }
        let Some(taken) = self.bytes().get(..n) else {
            self.wait_for(n);
            return None;
        };
        self.consume(n);
        Some(taken)
    }

    /// Consumes all.
    #[inline]
    pub fn take_all(&mut self) -> &'a [u8] {
        let all = self.bytes();
        self.consume(all.len());
        all
    }

    /// Consumes one line, and answers it without its end (`\n` or `\r\n`); `None` if none is
    /// complete: then the next call comes with new bytes. `None` as well while the connection
    /// [rests](Self::is_resting), whatever is there.
    ///
    /// Bytes are searched once, however they trickle in. A line longer than
    /// [`input_max`](crate::Config::input_max) ends the connection; for a smaller maximum there is
    /// [`Delimited`](crate::frame::Delimited).
    pub fn line(&mut self) -> Option<&'a [u8]> {
        if self.refuses() {
            return None;
        }
        let from = self.scanned.max(self.consumed);
        let Some(found) = memchr::memchr(b'\n', &self.window[from..]) else {
            self.scanned = self.window.len();
            self.wait = Wait::Line;
            return None;
        };
        let line = &self.window[self.consumed..from + found];
        self.consumed = from + found + 1;
        self.wait = Wait::Nothing;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Whether messages are held back: this call's own answers have brought queued output to
    /// [`output_high`](crate::Config::output_high) (or to [`output_low`](crate::Config::output_low),
    /// above three quarters of [`buffered_max`](crate::Config::buffered_max)). Then `None` means [not
    /// now](Self#not-now), and what is left is offered again.
    ///
    /// It becomes true within a call, by what is sent to the connection in whatever way, and is never
    /// true when a call begins: one that rests is not called. Never, too:
    ///
    /// * with [`auto_pause(false)`](crate::Conn::auto_pause), where the handler bounds the output itself;
    /// * in [`on_eof`](crate::Handler::on_eof): its input is not offered again;
    /// * when the connection is closing, or a write has failed: what is sent is ignored, and what was
    ///   to be answered may still be wanted.
    ///
    /// [`pause`](crate::Conn::pause), [`hold`](crate::Conn::hold) and
    /// [`finish`](crate::Conn::finish) change nothing in it: what a call was given is its own.
    #[inline]
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.rest.is_some_and(Rest::is_noted)
    }

    /// Whether nothing comes behind these bytes: the peer has ended its side (this is the input of
    /// [`on_eof`](crate::Handler::on_eof)), or it was made with
    /// `Input::from`.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.rest.is_none()
    }

    /// The bytes as a reader, which consumes them: for parsers that take an [`io::Read`].
    ///
    /// Where all is consumed, a read returns `Ok(0)` only if the input [is final](Self::is_final); else
    /// it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), since more may come. `read_exact` is all
    /// or nothing: where too few bytes are left it consumes none, and fails with `WouldBlock`, or with
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) at the end. What was read before is consumed
    /// all the same: a parser that makes several reads for one message needs to know that all of it is
    /// there, or to read from `Input::from(input.bytes())` and have as much [consumed](Self::consume) when
    /// it succeeds. As [`bytes`](Self::bytes), it is not held back while the connection rests.
    ///
    /// `Input` itself is no `io::Read`: its `bytes` and `take` would mean those of that trait wherever the
    /// trait is in scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use wouldblock::Input;
    ///
    /// let mut input = Input::from(b"\x02\x00rest");
    /// let mut number = [0; 2];
    /// input.reader().read_exact(&mut number)?;
    /// assert_eq!(u16::from_le_bytes(number), 2);
    /// let error = input.reader().read_exact(&mut [0; 5]).unwrap_err();
    /// assert_eq!((error.kind(), input.bytes()), (ErrorKind::UnexpectedEof, &b"rest"[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reader(&mut self) -> impl io::Read {
        Reader(self)
    }

    /// Whether no message is to be had now; then the call comes again.
    #[inline]
    pub(crate) fn refuses(&mut self) -> bool {
        let refuses = self.is_resting();
        if refuses {
            self.wait = Wait::NotNow;
        }
        refuses
    }

    /// Asks for the next call only when `n` bytes are there (or the peer's end is).
    ///
    /// It keeps a length-prefixed protocol from being called for every byte. No effect if `n` are
    /// there already, or if the last word was [not now](Self#not-now): that may have been taken for
    /// "incomplete". Above [`input_max`](crate::Config::input_max) it ends the connection.
    pub fn wait_for(&mut self, n: usize) {
        if self.wait == Wait::NotNow {
            return;
        }
        self.wait = if n > self.len() { Wait::Bytes(n) } else { Wait::Nothing };
    }

    /// How many of [`bytes`](Self::bytes) were searched for the delimiter of this name, in vain.
    pub(crate) fn searched(&self, name: u64) -> usize {
        let (known, until) = self.searched;
        if known == name { until.saturating_sub(self.consumed) } else { 0 }
    }

    /// All bytes were searched for the delimiter of this name, in vain: the next call comes with
    /// new ones.
    pub(crate) fn wait_for_delimiter(&mut self, name: u64) {
        self.searched = (name, self.window.len());
        self.wait = Wait::Delimiter(name);
    }
}

/// Bytes as the input of a call, all of it: for a unit test of a function that takes an [`Input`].
/// Nothing comes behind them ([`Input::is_final`]).
///
/// # Examples
///
/// ```
/// use wouldblock::Input;
///
/// /// The first word, consumed.
/// fn word<'a>(input: &mut Input<'a>) -> Option<&'a [u8]> {
///     let len = input.bytes().iter().position(|byte| *byte == b' ')?;
///     let word = &input.bytes()[..len];
///     input.consume(len + 1);
///     Some(word)
/// }
///
/// let mut input = Input::from("one two");
/// assert_eq!(word(&mut input), Some(&b"one"[..]));
/// assert_eq!(word(&mut input), None);
/// assert_eq!(input.bytes(), b"two");
/// ```
impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Input<'a> {
    fn from(bytes: &'a T) -> Self {
        let mut input = Input::new(bytes.as_ref(), 0, Wait::Nothing, &AWAKE);
        input.end();
        input
    }
}

/// What [`Input::reader`] returns.
struct Reader<'r, 'a>(&'r mut Input<'a>);

impl Reader<'_, '_> {
    fn short(&self) -> io::ErrorKind {
        if self.0.is_final() { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::WouldBlock }
    }
}

impl io::Read for Reader<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(self.0.len());
        if n == 0 && !buf.is_empty() && !self.0.is_final() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_exact(&mut buf[..n])?;
        Ok(n)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes().get(..buf.len()).ok_or_else(|| self.short())?;
        buf.copy_from_slice(bytes);
        self.0.consume(bytes.len());
        Ok(())
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("len", &self.len())
            .field("seen", &self.seen())
            .field("wait", &self.wait)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn input(window: &[u8]) -> Input<'_> {
        Input::new(window, 0, Wait::Nothing, &AWAKE)
    }

    /// Promise 5: what hands out messages holds back, what hands out bytes does not; and a wait for
    /// what is there already is not believed.
    #[test]
    fn a_resting_connection_is_not_to_have_messages_now() {
        let rest = Rest::default();
        let mut input = Input::new(b"one\ntwo\nthr", 0, Wait::Nothing, &rest);
        assert_eq!(input.line(), Some(&b"one"[..]));
        rest.note(true);
        assert!(input.is_resting());
        assert_eq!((input.line(), input.take(1), input.take(0)), (None, None, None));
        input.wait_for(100);
        assert_eq!((input.bytes(), input.wait), (&b"two\nthr"[..], Wait::NotNow));
        input.consume(1);
        assert_eq!(input.wait, Wait::Nothing);
        input.wait_for(100);
        assert_eq!(input.wait, Wait::Bytes(100));
        rest.note(false);
        assert_eq!(input.line(), Some(&b"wo"[..]));
        assert_eq!(input.line(), None);
        rest.note(true);
        assert_eq!(input.take_all(), b"thr");
        assert_eq!(input.finish(), (11, Wait::Nothing));
    }

    /// Promise 5, Trap 1: a reader that finds nothing says that more may come, and says "the end" only
    /// where it is one.
    #[test]
    fn a_reader_ends_only_where_the_input_does() {
        let mut buf = [0; 4];
        let mut open = input(b"abcdef");
        assert_eq!(open.reader().read(&mut buf).unwrap(), 4);
        let kind = open.reader().read_exact(&mut buf).unwrap_err().kind();
        assert_eq!((kind, open.bytes()), (io::ErrorKind::WouldBlock, &b"ef"[..]));
        assert_eq!(open.reader().read(&mut buf).unwrap(), 2);
        assert_eq!(open.reader().read(&mut []).unwrap(), 0);
        let kind = open.reader().read(&mut buf).unwrap_err().kind();
        assert_eq!((kind, open.is_final()), (io::ErrorKind::WouldBlock, false));
        open.end();
        assert_eq!(open.reader().read(&mut buf).unwrap(), 0);
        let mut made = Input::from("ab");
        let kind = made.reader().read_exact(&mut buf).unwrap_err().kind();
        assert_eq!((kind, made.bytes()), (io::ErrorKind::UnexpectedEof, &b"ab"[..]));
        let mut all = Vec::new();
        assert_eq!(made.reader().read_to_end(&mut all).unwrap(), 2);
        assert_eq!((all, made.finish()), (b"ab".to_vec(), (2, Wait::Nothing)));
    }

    #[test]
    fn taking_is_all_or_nothing_and_nothing_waits() {
        let mut input = input(b"abcdef");
        assert_eq!(input.take(4), Some(&b"abcd"[..]));
        assert_eq!(input.take(3), None);
        assert_eq!(input.bytes(), b"ef");
        assert_eq!(input.finish(), (4, Wait::Bytes(3)));
    }

    #[test]
    fn the_last_word_counts() {
        let mut input = input(b"ab\ncd");
        assert_eq!(input.take(9), None);
        assert_eq!(input.line(), Some(&b"ab"[..]));
        assert_eq!(input.finish(), (3, Wait::Nothing));
    }

    #[test]
    fn a_line_ends_with_lf_or_crlf_and_may_be_empty() {
        let mut input = input(b"one\r\n\ntwo\r\r\nrest\r");
        assert_eq!(input.line(), Some(&b"one"[..]));
        assert_eq!(input.line(), Some(&b""[..]));
        assert_eq!(input.line(), Some(&b"two\r"[..]));
        assert_eq!(input.line(), None);
        assert_eq!(input.bytes(), b"rest\r");
        assert_eq!(input.finish(), (12, Wait::Line));
    }

    #[test]
    fn bytes_that_a_line_was_looked_for_in_are_not_searched_again() {
        let mut input = Input::new(b"ab\ncd\n", 4, Wait::Line, &AWAKE);
        assert_eq!(input.seen(), 4);
        // The LF at 2 was there when the last call found none: only a lie could show it is skipped.
        assert_eq!(input.line(), Some(&b"ab\ncd"[..]));
    }

    #[test]
    fn bytes_that_were_only_counted_are_still_searched_for_a_line() {
        let mut input = Input::new(b"ab\ncd", 5, Wait::Bytes(5), &AWAKE);
        assert_eq!(input.line(), Some(&b"ab"[..]));
    }

    #[test]
    fn seen_shrinks_as_bytes_are_consumed() {
        let mut input = Input::new(b"abcdef", 4, Wait::Nothing, &AWAKE);
        input.consume(3);
        assert_eq!((input.seen(), input.len()), (1, 3));
        assert_eq!(input.take_all(), b"def");
        assert_eq!((input.seen(), input.is_empty()), (0, true));
    }

    #[test]
    fn waiting_for_what_is_there_is_no_waiting() {
        let mut input = input(b"abc");
        input.wait_for(3);
        assert_eq!(input.finish(), (0, Wait::Nothing));
    }

    #[test]
    #[should_panic(expected = "consumed 4 bytes of 3")]
    fn consuming_more_than_there_is_panics() {
        input(b"abc").consume(4);
    }
}
