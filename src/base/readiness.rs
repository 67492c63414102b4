//! What the kernel last said about a socket, remembered until a call proves it stale.
//!
//! The kernel reports a change once (edge-triggered, epoll(7)). The bits set by such a report stay
//! until a system call says WouldBlock, or until it is proven that the next one would. The bits are
//! hints and never decide anything by themselves: only a system call tells the truth. No callback
//! and no system call happens here. Read next: `conn.rs`, which spends the bits.

use std::ops::BitOr;

/// A set of readiness bits, eight bits wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness(pub(crate) u8);

impl Readiness {
    pub(crate) const EMPTY: Readiness = Readiness(0);
    /// A read may bring bytes, the end, or the error.
    pub(crate) const READABLE: Readiness = Readiness(1);
    /// A write may take bytes, or bring the error.
    pub(crate) const WRITABLE: Readiness = Readiness(2);
    /// Urgent data came (tcp(7)): a read stops at its mark, short with more behind it.
    pub(crate) const URGENT: Readiness = Readiness(4);
    /// The peer's end is in sight: a read of 0 follows the last bytes, with no edge of its own.
    pub(crate) const READ_CLOSED: Readiness = Readiness(8);
    /// The socket has an error to tell.
    pub(crate) const ERROR: Readiness = Readiness(16);

    /// Any of these makes a short read prove nothing.
    const DOUBT: Readiness = Readiness(Self::URGENT.0 | Self::READ_CLOSED.0 | Self::ERROR.0);

    /// Adds what an event says. The end of reading is met by reading, an error by either call.
    #[inline]
    pub(crate) fn merge(&mut self, news: Readiness) {
        self.0 |= news.0;
        if news.0 & Self::DOUBT.0 != 0 {
            self.0 |= Self::READABLE.0;
            if news.0 & Self::ERROR.0 != 0 {
                self.0 |= Self::WRITABLE.0;
            }
        }
    }

    #[inline]
    pub(crate) fn has(self, bit: Readiness) -> bool {
        self.0 & bit.0 != 0
    }

    #[inline]
    pub(crate) fn is_readable(self) -> bool {
        self.has(Self::READABLE)
    }

    #[inline]
    pub(crate) fn is_writable(self) -> bool {
        self.has(Self::WRITABLE)
    }

    #[inline]
    pub(crate) fn is_error(self) -> bool {
        self.has(Self::ERROR)
    }

    /// Whether a read shorter than its buffer shows that the socket is drained, on a socket where
    /// that can be a proof at all.
    #[inline]
    pub(crate) fn trusts_short_read(self) -> bool {
        self.0 & Self::DOUBT.0 == 0
    }

    /// A read said WouldBlock, or is proven to say it next.
    #[inline]
    pub(crate) fn forget_readable(&mut self) {
        self.0 &= !(Self::READABLE.0 | Self::DOUBT.0);
    }

    /// The socket, asked, had no error to tell.
    #[inline]
    pub(crate) fn forget_error(&mut self) {
        self.0 &= !Self::ERROR.0;
    }

    /// A write said WouldBlock, or is proven to say it next.
    #[inline]
    pub(crate) fn forget_writable(&mut self) {
        self.0 &= !Self::WRITABLE.0;
    }
}

impl BitOr for Readiness {
    type Output = Readiness;

    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 2, trap 11: the end and the error are met by the system call, so both make readable.
    #[test]
    fn the_end_implies_readable_and_an_error_implies_both() {
        let mut bits = Readiness::EMPTY;
        bits.merge(Readiness::READ_CLOSED);
        assert!(bits.is_readable() && !bits.is_writable());
        let mut bits = Readiness::EMPTY;
        bits.merge(Readiness::ERROR);
        assert!(bits.is_readable() && bits.is_writable());
    }

    /// Trap 71: doubt lasts until WouldBlock, however many edges come after it.
    #[test]
    fn urgent_data_spoils_the_proof_until_a_read_would_block() {
        let mut bits = Readiness::READABLE;
        assert!(bits.trusts_short_read());
        bits.merge(Readiness::READABLE | Readiness::URGENT);
        bits.merge(Readiness::READABLE);
        assert!(!bits.trusts_short_read());
        bits.forget_readable();
        assert!(bits.trusts_short_read() && !bits.is_readable());
    }

    #[test]
    fn forgetting_one_direction_keeps_the_other() {
        let mut bits = Readiness::READABLE | Readiness::WRITABLE;
        bits.forget_writable();
        assert!(bits.is_readable() && !bits.is_writable());
        bits.merge(Readiness::WRITABLE);
        bits.forget_readable();
        assert!(!bits.is_readable() && bits.is_writable());
    }
}
