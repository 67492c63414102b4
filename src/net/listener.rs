//! Accepting: what each failure of accept(2) means, and when a listener rests.
//!
//! The rule: one peer's trouble is skipped, a shortage of our own makes the listener rest and try
//! again at any close or after a moment, and nothing makes it spin or give up. Accepting itself,
//! and what becomes of the connection, is `core.rs`.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::base::address::Address;
use crate::net::listen::Opened;
use crate::time::deadlines::Stamp;

/// How long a listener rests before it tries again, if no connection closes before.
const RETRY: Duration = Duration::from_millis(100);
/// So many failed accepts in a row are still taken for one peer's each.
const PATIENCE: usize = 64;
/// At most one warning of a listener in this time, and one error: a flood at the limit must not
/// flood the log.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Whose trouble a failed accept is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// One peer's, or none's: the next accept may be fine.
    Peer,
    /// Ours, and it passes: descriptors or memory ran out.
    Shortage,
    /// Ours, and waiting does not mend it: the listening socket is broken, or the call forbidden.
    Lasting,
}

/// What to do after a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It concerned one peer: the next may be fine.
    Skip,
    /// It concerns us: rest.
    Rest,
}

/// One listening socket.
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) opened: Opened,
    pub(crate) address: Address,
    /// The kernel said that a connection waits, and no accept has said WouldBlock since.
    pub(crate) readable: bool,
    /// Resting until a connection closes, or until the deadline if one is armed.
    pub(crate) resting: bool,
    /// The application has stopped accepting for now.
    pub(crate) paused: bool,
    /// Failed accepts since one succeeded or said WouldBlock.
    failures: usize,
    /// When the next warning may be logged.
    warn_from: Stamp,
    /// When the next error may be: no warning hides it.
    complain_from: Stamp,
}

impl Listener {
    pub(crate) fn new(opened: Opened, address: Address) -> Self {
        Listener {
            opened,
            address,
            readable: false,
            resting: false,
            paused: false,
            failures: 0,
            warn_from: Stamp::default(),
            complain_from: Stamp::default(),
        }
    }

    pub(crate) fn is_runnable(&self) -> bool {
        self.readable && !self.resting && !self.paused
    }

    /// A connection was accepted, or none waits.
    pub(crate) fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// An accept failed.
    pub(crate) fn handle_error(&mut self, error: &io::Error, now: Stamp) -> Verdict {
        self.failures += 1;
        let trouble = trouble(error);
        // Even a peer's error rests us when nothing else comes: a security module may answer
        // EPERM for ever without taking the connection off the queue.
        if trouble == Trouble::Peer && self.failures < PATIENCE {
            log::debug!("{}: a connection was gone before it was accepted: {error}", self.address);
            return Verdict::Skip;
        }
        self.failures = 0;
        match trouble {
            Trouble::Peer | Trouble::Shortage if self.may_warn(now) => {
                log::warn!("{}: cannot accept, resting: {error}", self.address);
            }
            // Tried again all the same: to give up would mend nothing.
            Trouble::Lasting if is_due(&mut self.complain_from, now) => {
                let own = &self.address;
                log::error!("{own}: cannot accept, which may not pass by itself: {error}");
            }
            Trouble::Peer | Trouble::Shortage | Trouble::Lasting => {}
        }
        Verdict::Rest
    }

    /// There is no place for one more connection.
    pub(crate) fn handle_full(&mut self, why: impl fmt::Display, now: Stamp) {
        if self.may_warn(now) {
            log::warn!("{}: resting {why}", self.address);
        }
    }

    /// A peer's address has as many connections as it may: it is refused, the next is not.
    pub(crate) fn handle_address_limit(&mut self, peer: &Address, now: Stamp) {
        self.failures = 0;
        if self.may_warn(now) {
            let own = &self.address;
            log::warn!("{own}: refused {peer}: its address has connections_per_address already");
        }
    }

    /// When to try again after a failure.
    pub(crate) fn retry_at(now: Stamp) -> Stamp {
        now.after(RETRY)
    }

    fn may_warn(&mut self, now: Stamp) -> bool {
        is_due(&mut self.warn_from, now)
    }
}

/// Whether a line may be logged again, and if so, not another for a while.
fn is_due(from: &mut Stamp, now: Stamp) -> bool {
    let is_due = now >= *from;
    if is_due {
        *from = now.after(WARN_INTERVAL);
    }
    is_due
}

/// Whose trouble a failed accept is. Linux passes a new socket's pending error through accept
/// (accept(2), "Error handling").
pub(crate) fn trouble(error: &io::Error) -> Trouble {
    match Errno::from_io_error(error) {
        Some(
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::INTR
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NOPROTOOPT
            | Errno::TIMEDOUT,
        ) => Trouble::Peer,
        Some(errno) if errno.raw_os_error() == ENONET => Trouble::Peer,
        // The last is epoll_ctl(2)'s: the user's share of watches is used up.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
            Trouble::Shortage
        }
        _ => Trouble::Lasting,
    }
}

/// Linux alone has it; its number is `EHOSTDOWN` on the BSDs and macOS, which belongs here as well.
const ENONET: i32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::Listen;

    fn listener() -> Listener {
        let opened = Listen::from("127.0.0.1:0").open_on(None).unwrap();
        let address = opened.local_addr().unwrap();
        Listener::new(opened, address)
    }

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    /// Trap 22: an error of one peer is skipped.
    #[test]
    fn an_error_of_one_peer_is_skipped() {
        for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::NETDOWN, Errno::INTR] {
            let verdict = listener().handle_error(&error(errno), Stamp::default());
            assert_eq!(verdict, Verdict::Skip, "{errno:?}");
        }
    }

    /// Trap 23: a shortage of our own makes the listener rest.
    #[test]
    fn a_shortage_of_ours_makes_the_listener_rest() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC] {
            let verdict = listener().handle_error(&error(errno), Stamp::default());
            assert_eq!(verdict, Verdict::Rest, "{errno:?}");
            assert_eq!(trouble(&error(errno)), Trouble::Shortage, "{errno:?}");
        }
    }

    /// Promise 6: what does not pass is neither given up nor hammered.
    #[test]
    fn what_does_not_pass_makes_the_listener_rest_too() {
        for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::NOSYS, Errno::ACCESS] {
            let verdict = listener().handle_error(&error(errno), Stamp::default());
            assert_eq!(verdict, Verdict::Rest, "{errno:?}");
            assert_eq!(trouble(&error(errno)), Trouble::Lasting, "{errno:?}");
        }
    }

    /// Promise 6: an error that never ends does not spin.
    #[test]
    fn an_error_that_repeats_without_end_makes_the_listener_rest() {
        let mut listener = listener();
        let mut skipped = 0;
        let abort = error(Errno::CONNABORTED);
        while listener.handle_error(&abort, Stamp::default()) == Verdict::Skip {
            skipped += 1;
        }
        assert_eq!(skipped, 63);
        assert_eq!(listener.handle_error(&abort, Stamp::default()), Verdict::Skip);
    }

    /// Trap 22: errors of peers between which others are accepted do not add up.
    #[test]
    fn errors_of_peers_between_which_others_come_in_do_not_add_up() {
        let mut listener = listener();
        for _ in 0..1000 {
            let verdict = listener.handle_error(&error(Errno::CONNABORTED), Stamp::default());
            assert_eq!(verdict, Verdict::Skip);
            listener.handle_success();
        }
    }

    /// Trap 67: warnings of one listener are ten seconds apart.
    #[test]
    fn a_flood_of_errors_is_one_line_in_ten_seconds() {
        let mut listener = listener();
        let now = Stamp::default();
        assert!(listener.may_warn(now));
        assert!(!listener.may_warn(now.after(Duration::from_secs(9))));
        assert!(listener.may_warn(now.after(Duration::from_secs(10))));
    }
}
