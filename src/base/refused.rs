//! What the reactor itself refuses, as a value: so that a caller can act without reading words.
//!
//! It travels inside an `io::Error`, among those of the kernel. It is made in `core/accept.rs`, in
//! `core/datagrams.rs` and in `net/resolve.rs`.

use std::error::Error;
use std::fmt;
use std::io;

/// Why the reactor refused to [listen](crate::Context::listen), to
/// [connect](crate::Context::connect), to [adopt](crate::Context::adopt), to
/// [bind](crate::Context::bind_datagram) or to [look a name up](crate::Handle::resolve); [`of`](Self::of)
/// finds it in their error. Any other error of these calls is about the address, the socket or the kernel.
///
/// # Examples
///
/// ```
/// use wouldblock::{ConnId, Context, Refused};
/// # use std::{collections::VecDeque, io, net::SocketAddr};
///
/// fn connect(cx: &mut Context, to: SocketAddr, tag: u64, later: &mut VecDeque<u64>) -> io::Result<()> {
///     match cx.connect(to, tag) {
///         Ok(_) => Ok(()),
///         Err(error) => match Refused::of(&error) {
///             Some(Refused::ShuttingDown) => Ok(()), // nothing new
///             Some(Refused::TooMany { .. }) => {
///                 later.push_back(tag); // in the next `on_close`
///                 Ok(())
///             }
///             _ => Err(error), // no route, no server at that Unix path, no descriptor
///         },
///     }
/// }
/// # let mut reactor = wouldblock::Reactor::new(wouldblock::handler_fn(|_, _| Ok(()))).unwrap();
/// # reactor.shutdown_now();
/// # reactor.run().unwrap();
/// # let error = reactor.connect("127.0.0.1:1", 0).unwrap_err();
/// # assert_eq!(Refused::of(&error), Some(Refused::ShuttingDown));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The reactor is shutting down, or has ended: it takes nothing new, now or later.
    ShuttingDown,
    /// There are as many as may be. When one of them has gone, it may be tried again. The kind of the
    /// `io::Error` is [`QuotaExceeded`](io::ErrorKind::QuotaExceeded).
    #[non_exhaustive]
    TooMany {
        /// The limit: of connections, [`Config::connections`](crate::Config::connections).
        most: usize,
        /// Of what there are too many, in words: "connections".
        what: &'static str,
    },
}

impl Refused {
    /// Why the reactor refused, if this error says that: also where it lies within another error, as it
    /// does in that of a connect, which names the address.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Refused> {
        let mut next = inner(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref() {
                return Some(*refused);
            }
            next = match error.downcast_ref() {
                // Its source would be that of the error within.
                Some(error) => inner(error),
                None => error.source(),
            };
        }
        None
    }
}

fn inner(error: &io::Error) -> Option<&(dyn Error + 'static)> {
    error.get_ref().map(|inner| inner as &(dyn Error + 'static))
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::ShuttingDown => f.write_str("the reactor is shutting down"),
            Refused::TooMany { most, what } => write!(f, "{most} {what} are the limit"),
        }
    }
}

impl Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        let kind = match refused {
            Refused::ShuttingDown => io::ErrorKind::Other,
            Refused::TooMany { .. } => io::ErrorKind::QuotaExceeded,
        };
        io::Error::new(kind, refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::{Address, cannot_connect};

    /// Promise 7: it is found however deep it lies, and in no error of the kernel.
    #[test]
    fn a_refusal_is_found_inside_other_errors_and_nowhere_else() {
        let refused = Refused::TooMany { most: 3, what: "connections" };
        let plain = io::Error::from(refused);
        assert_eq!(
            (Refused::of(&plain), plain.kind()),
            (Some(refused), io::ErrorKind::QuotaExceeded)
        );
        let named = cannot_connect(Address::abstract_name("x"), plain);
        assert_eq!(Refused::of(&named), Some(refused));
        assert_eq!(named.to_string(), "cannot connect to unix:@x: 3 connections are the limit");
        assert_eq!(Refused::of(&io::Error::other(named)), Some(refused));
        let code = rustix::io::Errno::DQUOT.raw_os_error();
        for other in [io::Error::from_raw_os_error(code), io::Error::other(refused.to_string())] {
            assert_eq!(Refused::of(&other), None, "{other}");
        }
    }
}
