//! What a decoder is, to those that call any of them, and what may be wrong with a message.
//!
//! The decoders of this module have their `next`, which is what a loop of one's own calls. Read next:
//! `framed.rs`, whose loop calls [`Decode`].

use std::error::Error;
use std::fmt;
use std::io;

use super::{Delimited, Fixed, FrameError, LengthPrefixed, Lines, Varint};
use crate::conn::input::Input;

/// A decoder: takes one message from the input of a connection. What [`framed`](crate::framed) is given.
///
/// # Examples
///
/// Commands of one byte, `+` and `-`, with a number of two bytes behind each:
///
/// ```
/// use wouldblock::Input;
/// use wouldblock::frame::{Decode, MessageError};
///
/// #[derive(Clone)]
/// struct Commands;
///
/// impl Decode for Commands {
///     type Message<'a> = i32; // or a type with slices of the input: `&'a [u8]`, `Request<'a>`
///
///     fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<i32>, MessageError> {
///         let Some(&[sign, high, low]) = input.take(3) else { return Ok(None) };
///         let number = i32::from(u16::from_be_bytes([high, low]));
///         match sign {
///             b'+' => Ok(Some(number)),
///             b'-' => Ok(Some(-number)),
///             _ => Err(MessageError::invalid("neither + nor -")),
///         }
///     }
/// }
///
/// let mut input = Input::from(b"+\x00\x05-\x01");
/// assert_eq!(Commands.decode(&mut input)?, Some(5));
/// assert_eq!(Commands.decode(&mut input)?, None);
/// assert_eq!(input.bytes(), b"-\x01");
/// assert!(Commands.decode(&mut Input::from("bad")).is_err());
/// # Ok::<(), MessageError>(())
/// ```
pub trait Decode {
    /// A message. It may hold slices of the input, which lie where they were received.
    type Message<'a>;

    /// Consumes one message, and returns it; `None` if it is not complete.
    ///
    /// What is not consumed is offered again, with what came since. It may also consume a part of a
    /// message, and keep it: each connection has a clone of the decoder. To be asked only when enough is
    /// there it [takes](Input::take), or [waits for](Input::wait_for), a number of bytes; else it is asked
    /// again when anything came. Most bytes that it may leave:
    /// [`input_max`](crate::Config::input_max).
    ///
    /// It is asked once more when the peer has ended its side, with an input that [is
    /// final](Input::is_final) and may be empty. What it leaves then is a message that was cut off;
    /// if it has kept a part of one, it says so itself: [`CutOff`](MessageError::CutOff).
    ///
    /// Each message consumes at least a byte ([`Stuck`](MessageError::Stuck)). So where one piece of input
    /// holds several messages, as a record that is decrypted or decompressed whole, some of the piece stays
    /// unconsumed until the last of them is returned: that is also what brings the next call, after a pause
    /// or when the peer has read its answers. Nothing but the decoder bounds what it keeps.
    ///
    /// # Errors
    ///
    /// If what came is no message, or one that is too long. It is not asked again for this connection.
    fn decode<'a>(
        &mut self,
        input: &mut Input<'a>,
    ) -> Result<Option<Self::Message<'a>>, MessageError>;
}

macro_rules! decode_by_next {
    ($($decoder:ty),*) => {$(
        impl Decode for $decoder {
            type Message<'a> = &'a [u8];

            fn decode<'a>(
                &mut self,
                input: &mut Input<'a>,
            ) -> Result<Option<&'a [u8]>, MessageError> {
                Ok(self.next(input)?)
            }
        }
    )*};
}

decode_by_next!(Delimited<'_>, Fixed, LengthPrefixed, Lines, Varint);

/// Why there is no message: what [`Messages::on_bad_message`](crate::Messages::on_bad_message) is told.
///
/// `?` makes it an [`io::Error`], of kind [`InvalidData`](io::ErrorKind::InvalidData); `CutOff` one of
/// kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), `Stuck` of kind
/// [`Other`](io::ErrorKind::Other).
#[derive(Debug)]
#[non_exhaustive]
pub enum MessageError {
    /// It is longer than the decoder allows.
    TooLong {
        /// Its bytes, where the peer has announced them.
        len: Option<u64>,
        /// The most there may be.
        max: usize,
    },
    /// What came is no message.
    Invalid(Box<dyn Error + Send + Sync>),
    /// The peer ended its side within it.
    CutOff {
        /// The bytes of it that came and were not consumed.
        left: usize,
    },
    /// The decoder returned a message and consumed nothing: it would do so for ever. A bug on our side.
    Stuck,
}

impl MessageError {
    /// What came is no message, and why.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::frame::MessageError;
    ///
    /// fn text(line: &[u8]) -> Result<&str, MessageError> {
    ///     str::from_utf8(line).map_err(MessageError::invalid)
    /// }
    /// assert!(matches!(text(b"\xff"), Err(MessageError::Invalid(_))));
    /// ```
    pub fn invalid(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        MessageError::Invalid(why.into())
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::TooLong { len: Some(len), max } => {
                write!(f, "a message of {len} bytes; the maximum is {max}")
            }
            MessageError::TooLong { len: None, max } => {
                write!(f, "a message that does not end within {max} bytes, the maximum")
            }
            MessageError::Invalid(why) => why.fmt(f),
            MessageError::CutOff { left } => {
                write!(f, "the peer ended within a message, after {left} bytes of it")
            }
            MessageError::Stuck => {
                f.write_str("the decoder returned a message and consumed nothing of the input")
            }
        }
    }
}

impl Error for MessageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            MessageError::Invalid(why) => why.source(),
            MessageError::TooLong { .. } | MessageError::CutOff { .. } | MessageError::Stuck => {
                None
            }
        }
    }
}

impl From<FrameError> for MessageError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { len, max } => MessageError::TooLong { len: Some(len), max },
            FrameError::NoDelimiter { max } => MessageError::TooLong { len: None, max },
            FrameError::TooShort { .. }
            | FrameError::VarintTooLarge
            | FrameError::VarintOverlong { .. } => MessageError::invalid(error),
        }
    }
}

impl From<MessageError> for io::Error {
    fn from(error: MessageError) -> Self {
        let kind = match error {
            MessageError::TooLong { .. } | MessageError::Invalid(_) => io::ErrorKind::InvalidData,
            MessageError::CutOff { .. } => io::ErrorKind::UnexpectedEof,
            MessageError::Stuck => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
