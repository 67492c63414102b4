//! Facts about a connection, one bit each.
//!
//! Its phase and its readiness are not among them: those have types of their own. What each fact
//! means for what comes next is `conn.rs`.

/// Facts about a connection that are not its phase. One word, so that the common path tests all
/// that would take it aside at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// On the list of those that others wrote to or changed.
    pub(crate) const DIRTY: Flags = Flags(1);
    /// On the list of those to be freed.
    pub(crate) const ENDED: Flags = Flags(1 << 2);
    /// The application stopped reading.
    pub(crate) const PAUSED: Flags = Flags(1 << 3);
    /// It is not read from, because its output reached high and has not come down to low.
    pub(crate) const RESTING: Flags = Flags(1 << 4);
    /// The application wants `on_drain` when output is at or below low.
    pub(crate) const WANTS_DRAIN: Flags = Flags(1 << 5);
    /// Output came down to low after it had reached high: `on_drain` is owed.
    pub(crate) const DRAINED: Flags = Flags(1 << 6);
    /// The leftover is to be offered without new bytes.
    pub(crate) const OFFER: Flags = Flags(1 << 7);
    /// A read said 0.
    pub(crate) const PEER_ENDED: Flags = Flags(1 << 8);
    /// `on_eof` was called.
    pub(crate) const EOF_TOLD: Flags = Flags(1 << 9);
    /// `finish` was called: our FIN follows what is queued.
    pub(crate) const FINISHING: Flags = Flags(1 << 10);
    /// Our FIN is out.
    pub(crate) const FIN_SENT: Flags = Flags(1 << 11);
    /// A write failed; what the kernel still has to read is delivered, then it is over.
    pub(crate) const FAILED: Flags = Flags(1 << 12);
    /// Shutdown waits for it.
    pub(crate) const HELD: Flags = Flags(1 << 13);
    /// A read met WouldBlock, a proof of it, or the end; in shutdown, one since that began, and no
    /// proof counts.
    pub(crate) const EXHAUSTED: Flags = Flags(1 << 14);
    /// A reset, a failure or a deadline had its part in the end: not clean.
    pub(crate) const CUT: Flags = Flags(1 << 15);
    /// The peer is to see a reset.
    pub(crate) const RESET: Flags = Flags(1 << 16);

    /// `on_open` has not been called.
    pub(crate) const UNOPENED: Flags = Flags(1 << 17);

    /// The application wished for `on_drain` in this turn: owed from the next one on.
    pub(crate) const WISHED: Flags = Flags(1 << 18);
    /// Since the last call of `on_data` was made, output came down to low or reading was resumed: what
    /// that call leaves is offered once more.
    pub(crate) const RENEWED: Flags = Flags(1 << 19);

    /// Output reached high and has not come down to low.
    pub(crate) const HIGH: Flags = Flags(1 << 20);
    /// The application reads on however much output is queued: it never rests.
    pub(crate) const READS_ON: Flags = Flags(1 << 21);

    /// It has failed, is paused, and the kernel or we still hold input to be offered.
    pub(crate) const UNREAD: Flags = Flags(1 << 22);

    /// Closing, with a reset in the place of our FIN.
    pub(crate) const RESETTING: Flags = Flags(1 << 23);

    /// It is counted among those of its address.
    pub(crate) const COUNTED: Flags = Flags(1 << 24);
    /// It was accepted, and the peer has not said anything yet.
    pub(crate) const SILENT: Flags = Flags(1 << 25);
    /// The library has decided to close it, and `on_closing` has not been called yet.
    pub(crate) const RETIRING: Flags = Flags(1 << 26);
    /// Over for us, and to be handed on with its input and its output.
    pub(crate) const DETACHED: Flags = Flags(1 << 27);
    /// A source follows what is queued: sends go behind it.
    pub(crate) const SOURCE: Flags = Flags(1 << 28);
    /// A source was dropped before its end.
    pub(crate) const UNFINISHED: Flags = Flags(1 << 29);
    /// Its bytes go through a layer.
    pub(crate) const LAYERED: Flags = Flags(1 << 30);
    /// The handshake of that layer is not over: nothing that was sent goes out.
    pub(crate) const SHAKING: Flags = Flags(1 << 31);

    /// Any of these takes a connection off the common path.
    pub(crate) const SLOW: Flags = Flags(
        Self::NOT_READING.0
            | Self::DRAIN.0
            | Self::OFFER.0
            | Self::PEER_ENDED.0
            | Self::FINISHING.0
            | Self::FAILED.0
            | Self::CUT.0
            | Self::SOURCE.0
            | Self::LAYERED.0,
    );
    /// What is sent now would not go out.
    pub(crate) const NOTHING_MORE_TO_SEND: Flags = Flags(Self::FINISHING.0 | Self::FAILED.0);
    /// What is sent now does not go behind what is queued, or not as it is.
    pub(crate) const NOT_IN_ORDER: Flags =
        Flags(Self::NOTHING_MORE_TO_SEND.0 | Self::SOURCE.0 | Self::LAYERED.0);
    /// How long its peer is silent does not count: a handshake has a time of its own, and before
    /// `on_open` none runs.
    pub(crate) const UNTIMED: Flags = Flags(Self::SHAKING.0 | Self::UNOPENED.0);
    /// Input stays in the kernel.
    pub(crate) const NOT_READING: Flags =
        Flags(Self::PAUSED.0 | Self::RESTING.0 | Self::UNOPENED.0 | Self::RETIRING.0);
    /// While its callback runs: what is left of its input is not for that.
    pub(crate) const FOR_ANOTHER: Flags = Flags(Self::DETACHED.0 | Self::UNOPENED.0);
    /// `on_drain` is wished for or owed.
    pub(crate) const DRAIN: Flags = Flags(Self::WISHED.0 | Self::WANTS_DRAIN.0 | Self::DRAINED.0);
    /// `on_drain` is owed as soon as output is low.
    pub(crate) const DRAIN_OWED: Flags = Flags(Self::WANTS_DRAIN.0 | Self::DRAINED.0);

    #[inline]
    pub(crate) fn has(self, any: Flags) -> bool {
        self.0 & any.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flags: Flags) {
        self.0 &= !flags.0;
    }
}
