//! How a WebSocket ends: the codes of RFC 6455, section 7.4, and what a handler is told.

use std::error::Error;
use std::fmt;

use wouldblock::CloseReason;

/// Codes of a close (RFC 6455, section 7.4.1; RFC 7936). Those of a protocol of one's own are 4000 to 4999.
pub mod code {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the page is left.
    pub const AWAY: u16 = 1001;
    /// What the peer sent is none of the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The peer sent a kind of data that is not accepted.
    pub const UNSUPPORTED: u16 = 1003;
    /// The peer's close had no code. Never sent.
    pub const NONE: u16 = 1005;
    /// The connection ended without a close. Never sent.
    pub const ABNORMAL: u16 = 1006;
    /// A text that is not UTF-8.
    pub const NO_TEXT: u16 = 1007;
    /// Against what this end allows.
    pub const POLICY: u16 = 1008;
    /// A message is too long.
    pub const TOO_BIG: u16 = 1009;
    /// An extension that the client wanted is missing.
    pub const EXTENSION: u16 = 1010;
    /// An error on the side of the one who closes.
    pub const ERROR: u16 = 1011;
    /// The server begins anew.
    pub const RESTART: u16 = 1012;
    /// Too much is going on: come again later.
    pub const TRY_LATER: u16 = 1013;
}

/// Whether a close frame may carry this code.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The longest reason, bytes: a control frame has 125, and two are the code.
pub(crate) const REASON_MAX: usize = 123;

/// Reads the payload of a close frame.
pub(crate) fn read(payload: &[u8]) -> Result<(u16, &str), Violation> {
    match payload {
        [] => Ok((code::NONE, "")),
        [_] => Err(Violation::protocol("a close with half a code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(Violation::protocol("a close with a code that is none"));
            }
            let reason = str::from_utf8(reason).map_err(|_| Violation::no_text())?;
            Ok((code, reason))
        }
    }
}

/// As much of a reason as a close frame holds.
pub(crate) fn cut(reason: &str) -> &str {
    let fits = (0..=reason.len().min(REASON_MAX)).rev().find(|at| reason.is_char_boundary(*at));
    &reason[..fits.expect("zero is a boundary")]
}

/// How a WebSocket ended, as told to [`on_close`](crate::Endpoint::on_close).
///
/// Prints as one line: `1000 bye`, `1006 without a close: socket error: …`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The code of the peer's close frame; [`NONE`](code::NONE) (1005) if that had none. If the peer broke
    /// the protocol, the code that it was sent. If the connection ended without a close frame of the peer,
    /// [`ABNORMAL`](code::ABNORMAL) (1006).
    pub code: u16,
    /// The reason in the peer's close frame, which may be empty; if the peer broke the protocol, how.
    pub reason: String,
    /// Whether the peer has sent a close frame: what it had sent before has all come.
    pub clean: bool,
    /// How the connection ended, if it did so without a close frame of the peer.
    pub cause: Option<CloseReason>,
}

impl Closed {
    pub(crate) fn by_peer(code: u16, reason: &str) -> Self {
        Closed { code, reason: reason.to_owned(), clean: true, cause: None }
    }

    pub(crate) fn by_violation(violation: Violation) -> Self {
        Closed {
            code: violation.code,
            reason: violation.what.to_owned(),
            clean: false,
            cause: None,
        }
    }

    pub(crate) fn without(cause: CloseReason) -> Self {
        Closed { code: code::ABNORMAL, reason: String::new(), clean: false, cause: Some(cause) }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.reason.is_empty() {
            // Any text of the peer's: no line of a log may be made of it.
            write!(f, " {}", self.reason.escape_debug())?;
        }
        match &self.cause {
            Some(cause) => write!(f, " without a close: {cause}"),
            None => Ok(()),
        }
    }
}

/// What a peer did that the protocol, or a limit, does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// What the close frame says.
    pub(crate) code: u16,
    /// What it was.
    pub(crate) what: &'static str,
}

impl Violation {
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Violation { code: code::PROTOCOL, what }
    }

    pub(crate) const fn no_text() -> Self {
        Violation { code: code::NO_TEXT, what: "a text that is not UTF-8" }
    }

    pub(crate) const fn too_big() -> Self {
        Violation { code: code::TOO_BIG, what: "a message that is too long" }
    }

    pub(crate) const fn too_much() -> Self {
        Violation { code: code::TRY_LATER, what: "too many messages are under way" }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl Error for Violation {}
