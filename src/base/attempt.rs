//! The WouldBlock path: one non-blocking call, and "not yet" as an ordinary answer.
//!
//! This is `setblocking(False)` as a type. The kernel reports "nothing yet" as an error (`EAGAIN`,
//! read(2)); [`attempt`] turns it into a value, so that `?` is left for what really failed.
//! It does not wait, poll or remember anything: that is the reactor's work. Every socket call of
//! the crate goes through here. Read next: `readiness.rs`, what is remembered between attempts.

use std::io;

/// How often an interrupted call is repeated before the interruption is handed to the caller.
///
/// A storm of signals must not hold a loop in one call for ever; 16 is far above what one
/// honest signal causes.
const INTERRUPTED_MAX: usize = 16;

/// What one non-blocking call answered, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// The call went through with this value.
    Ready(T),
    /// The call would have to wait: nothing to read, no room to write, no connection to accept.
    WouldBlock,
}

/// Runs one non-blocking call and tells "not yet" from failure.
///
/// [`io::ErrorKind::WouldBlock`] becomes [`Attempt::WouldBlock`]. An interrupted call (`EINTR`,
/// signal(7)) is repeated at most 16 times. Works with any non-blocking `std`, `mio` or `socket2`
/// socket. Do not use it around `connect`: there an interrupted or pending call goes on by itself,
/// and repeating it means something else (connect(2)).
///
/// # Errors
///
/// Every other error of the call, unchanged; [`io::ErrorKind::Interrupted`] if 17 calls in a row
/// were interrupted.
///
/// # Examples
///
/// ```
/// use std::net::TcpListener;
/// use wouldblock::{Attempt, attempt};
///
/// # fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// listener.set_nonblocking(true)?;
/// // No client has connected: with a blocking socket this call would sleep.
/// match attempt(|| listener.accept())? {
///     Attempt::Ready((_stream, peer)) => println!("{peer} is here"),
///     Attempt::WouldBlock => println!("nobody yet"),
/// }
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn attempt<T>(mut op: impl FnMut() -> io::Result<T>) -> io::Result<Attempt<T>> {
    let mut interrupted = 0;
    loop {
        match op() {
            Ok(value) => return Ok(Attempt::Ready(value)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(Attempt::WouldBlock),
                io::ErrorKind::Interrupted if interrupted < INTERRUPTED_MAX => interrupted += 1,
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_ready_and_a_refusal_to_wait_is_no_error() {
        assert_eq!(attempt(|| Ok(7)).unwrap(), Attempt::Ready(7));
        let nothing = attempt::<()>(|| Err(io::ErrorKind::WouldBlock.into())).unwrap();
        assert_eq!(nothing, Attempt::WouldBlock);
    }

    #[test]
    fn an_interrupted_call_is_repeated() {
        let mut calls = 0;
        let answer = attempt(|| {
            calls += 1;
            if calls <= 16 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(calls) }
        });
        assert_eq!(answer.unwrap(), Attempt::Ready(17));
    }

    #[test]
    fn a_storm_of_interruptions_is_handed_over_after_sixteen_repeats() {
        let mut calls = 0;
        let answer = attempt::<()>(|| {
            calls += 1;
            Err(io::ErrorKind::Interrupted.into())
        });
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(calls, 17);
    }

    #[test]
    fn any_other_error_is_passed_on_unchanged() {
        let answer = attempt::<()>(|| Err(io::Error::from_raw_os_error(104)));
        assert_eq!(answer.unwrap_err().raw_os_error(), Some(104));
    }
}
