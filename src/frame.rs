//! Where one message ends and the next begins: decoders over [`Input`], and their encoders.
//!
//! TCP keeps bytes in order, not boundaries: what was sent as one may arrive in ten pieces, or ten
//! messages in one. These are small values to call, no framework: each knows one way to mark a
//! boundary, is a `const` if you like, and keeps no state. What a search has seen is remembered by
//! the connection, beside its leftover.
//!
//! | boundary | decoder |
//! |---|---|
//! | the end of a line: `\n` or `\r\n` | [`Lines`] |
//! | a delimiter: `\r\n`, a zero, any bytes | [`Delimited`] |
//! | a length before it: 1 to 8 bytes, either order, counting itself or not | [`LengthPrefixed`] |
//! | a length before it: a varint, as protobuf streams have it | [`Varint`] |
//! | none: all messages have one size | [`Fixed`] |
//!
//! For lines of text without a maximum of their own there is [`Input::line`]. A decoder of your own
//! implements [`Decode`]. [`framed`](crate::framed) runs the loop over any of them, and calls a handler
//! with each message.
//!
//! # Examples
//!
//! A loop over messages, in a handler that is called with bytes. [`framed`](crate::framed) has the same
//! server without the loop and without the look at what the peer's end cut off:
//!
//! ```
//! use std::io;
//! use wouldblock::frame::LengthPrefixed;
//! use wouldblock::{Conn, Input};
//!
//! /// Four bytes of length, the most significant first, then that many bytes.
//! const FRAMES: LengthPrefixed = LengthPrefixed::new(4).max(64 << 10);
//!
//! /// Answers each message with the same bytes, in a message.
//! fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
//!     while let Some(message) = FRAMES.next(input)? {
//!         FRAMES.encode(message, conn)?;
//!     }
//!     Ok(()) // what is left is a message that is not complete: it is offered again
//! }
//!
//! fn on_eof(conn: &mut Conn<'_>, rest: &mut Input<'_>) -> io::Result<()> {
//!     if !rest.is_empty() {
//!         return Err(io::ErrorKind::UnexpectedEof.into()); // the peer ended within a message
//!     }
//!     conn.close();
//!     Ok(())
//! }
//! ```
//!
//! # Limits
//!
//! No peer is believed. `max` bounds the payload, that is a frame without its length or delimiter;
//! it is 64 KiB unless said otherwise. A length above it is an error when the length has been read,
//! before anything is waited for; a missing delimiter is one as soon as none can come in time.
//! Nothing is allocated: a frame is a piece of the input. `?` in `on_data` sends what was answered
//! before, then closes with [`CloseReason::Handler`](crate::CloseReason::Handler), whose error
//! tells what was read and what the maximum is.
//!
//! A frame has to fit into [`Config::input_max`](crate::Config::input_max) (1 MiB) with its length
//! or delimiter. Where `max` promises more than that, the smaller limit holds all the same: the
//! connection ends with [`InputLimit`](crate::CloseReason::InputLimit) instead of an error of
//! yours. So if you raise one, raise the other.
//!
//! # Costs
//!
//! Work is linear in the bytes that come, however they trickle in: a length is waited for, not
//! asked about again, and bytes that were searched for a delimiter are not searched again, but for
//! the last few that could be its beginning. Nothing is copied by decoding, and a payload that is
//! sent on goes out from where it lies.

use std::error::Error;
use std::fmt;
use std::io;

use crate::conn::input::Input;

mod decode;
mod delimited;
mod length;

pub use self::decode::{Decode, MessageError};
pub use self::delimited::{Delimited, Lines};
pub use self::length::{LengthPrefixed, Varint};

/// The largest payload unless `max` says otherwise: many fit into the default of `input_max`.
const MAX: usize = 64 << 10;

/// What a peer sent is no frame, or one that is too long.
///
/// Nothing of it was consumed, and decoding again answers the same: there is no telling where the
/// next frame begins. `?` makes it an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData).
///
/// # Examples
///
/// ```
/// use std::io;
/// use wouldblock::frame::FrameError;
///
/// let error = FrameError::TooLong { len: 4_294_967_295, max: 65_536 };
/// assert_eq!(error.to_string(), "a frame of 4294967295 bytes; the maximum is 65536");
/// assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A length above the maximum.
    TooLong {
        /// Bytes of payload, as the peer announced them.
        len: u64,
        /// The most there may be.
        max: usize,
    },
    /// No delimiter after as many bytes as a frame may have.
    NoDelimiter {
        /// The most there may be before it.
        max: usize,
    },
    /// A length that is to count its own bytes, and is smaller than they are.
    TooShort {
        /// The length, as the peer announced it.
        len: u64,
        /// Bytes of the length itself.
        header: usize,
    },
    /// A varint of more than 64 bits.
    VarintTooLarge,
    /// A varint that is longer than its value needs.
    VarintOverlong {
        /// Its value.
        len: u64,
        /// The bytes it takes.
        header: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { len, max } => {
                write!(f, "a frame of {len} bytes; the maximum is {max}")
            }
            FrameError::NoDelimiter { max } => {
                write!(f, "a frame without its delimiter after {max} bytes, the maximum")
            }
            FrameError::TooShort { len, header } => {
                write!(f, "a frame of {len} bytes that counts the {header} of its length")
            }
            FrameError::VarintTooLarge => {
                write!(f, "a frame whose length is a varint of more than 64 bits")
            }
            FrameError::VarintOverlong { len, header } => {
                write!(f, "a frame whose length, {len}, is a varint of {header} bytes: too many")
            }
        }
    }
}

impl Error for FrameError {}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Frames that all have one size, and no mark.
///
/// # Examples
///
/// ```
/// # use std::io;
/// use wouldblock::frame::Fixed;
/// # use wouldblock::{Conn, Input};
///
/// const SAMPLES: Fixed = Fixed::new(16);
///
/// # fn keep(_: &[u8]) {}
/// fn on_data(conn: &mut Conn<'_>, input: &mut Input<'_>) -> io::Result<()> {
///     while let Some(sample) = SAMPLES.next(input)? {
///         keep(sample); // 16 bytes
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// At least 1.
    size: usize,
}

impl Fixed {
    /// Frames of `size` bytes, which must fit into
    /// [`input_max`](crate::Config::input_max).
    ///
    /// # Panics
    ///
    /// If `size` is 0: there would be no end of such frames. In a `const` it does not compile.
    ///
    /// # Examples
    ///
    /// ```
    /// use wouldblock::frame::Fixed;
    ///
    /// const SAMPLES: Fixed = Fixed::new(16);
    /// ```
    #[must_use]
    pub const fn new(size: usize) -> Self {
        assert!(size > 0, "frames of 0 bytes have no end");
        Fixed { size }
    }

    /// Consumes one frame; `None` if it is not complete: then the next call comes when it is. `None`
    /// as well while the connection [rests](Input::is_resting).
    ///
    /// # Errors
    ///
    /// None today; a `Result` like those of the other decoders, so that one can take the place of
    /// another.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::Input;
    /// # use wouldblock::frame::{Fixed, FrameError};
    /// fn count(input: &mut Input<'_>) -> Result<usize, FrameError> {
    ///     let mut frames = 0;
    ///     while Fixed::new(16).next(input)?.is_some() {
    ///         frames += 1;
    ///     }
    ///     Ok(frames)
    /// }
    /// ```
    pub fn next<'a>(&self, input: &mut Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        Ok(payload(input, 0, self.size))
    }

    /// Writes `payload`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with nothing written, if it has another size;
    /// else as `out` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wouldblock::frame::Fixed;
    /// let mut out = Vec::new();
    /// Fixed::new(4).encode(b"four", &mut out)?;
    /// assert!(Fixed::new(4).encode(b"three", &mut out).is_err());
    /// assert_eq!(out, b"four");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn encode(&self, payload: &[u8], out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        if payload.len() != self.size {
            let (len, size) = (payload.len(), self.size);
            return Err(refused(format!("a payload of {len} bytes where all have {size}")));
        }
        out.write_all(payload)
    }
}

/// Consumes a header and the payload behind it, or waits until both are there.
fn payload<'a>(input: &mut Input<'a>, header: usize, len: usize) -> Option<&'a [u8]> {
    // Between two frames there is nothing to keep, so nothing is asked for: a connection that
    // waits for a number of bytes holds memory even if none of them is there.
    if input.is_empty() {
        return None;
    }
    // No window holds `usize::MAX` bytes: a sum cut there waits, and ends at `input_max`.
    let frame = input.take(header.saturating_add(len))?;
    Some(&frame[header..])
}

/// Refuses to encode what the decoder with the same maximum would not take.
fn check_max(payload: &[u8], max: usize) -> io::Result<()> {
    if payload.len() > max {
        let len = payload.len();
        return Err(refused(format!("a payload of {len} bytes; the maximum is {max}")));
    }
    Ok(())
}

/// The error of an encoder: our side's mistake, not the peer's.
fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;
