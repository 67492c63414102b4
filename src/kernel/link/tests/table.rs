//! The scripts that are run on both kernels: what the crate relies on, by name.

use super::Step::{self, *};
use super::Transport;

/// A name, where it applies, and the steps.
pub(super) type Script = (&'static str, &'static [Transport], &'static [Step]);

const BOTH: &[Transport] = &[Transport::Tcp, Transport::Unix];
const TCP: &[Transport] = &[Transport::Tcp];
const UNIX: &[Transport] = &[Transport::Unix];

/// What the crate relies on, by name. A connection is accepted, registered and polled before.
pub(super) const CONNECTION: &[Script] = &[
    ("no edge for a rest", BOTH, &[PeerSends(10), Poll, Reads(4), Poll, Reads(100), Poll]),
    (
        "a read that would block, then a new edge",
        BOTH,
        &[PeerSends(10), Poll, Reads(100), Reads(100), Poll, PeerSends(5), Poll, Reads(100)],
    ),
    (
        "a new edge over an unread rest",
        BOTH,
        &[PeerSends(10), Poll, Reads(4), PeerSends(5), Poll, Poll, Reads(100), Reads(100), Poll],
    ),
    ("edges merge", BOTH, &[PeerSends(10), PeerSends(5), PeerFinishes, Poll, Poll]),
    ("an end alone", BOTH, &[PeerFinishes, Poll, Reads(9), Reads(9), Poll, Writes(3), Poll]),
    (
        "an end with data",
        BOTH,
        &[PeerSends(5), PeerFinishes, Poll, Reads(9), Poll, Reads(9), Reads(9)],
    ),
    (
        "a peer is known until both have ended",
        BOTH,
        &[PeerSends(5), PeerFinishes, Names, Reads(9), ShutsDown, Names, Reads(9), Names],
    ),
    ("a peer is known until it resets", BOTH, &[PeerSends(5), Names, PeerResets, Names, Reads(9)]),
    ("a peer is known that has closed", BOTH, &[PeerSends(5), PeerCloses, Names, Reads(9), Names]),
    (
        "the peer half-closes, we go on",
        BOTH,
        &[
            PeerFinishes,
            Poll,
            Writes(9),
            PeerReads(9),
            Writes(2),
            ShutsDown,
            Poll,
            PeerReads(9),
            PeerReads(9),
        ],
    ),
    (
        "the peer closes, we write until it fails, then read",
        BOTH,
        &[PeerCloses, Poll, Writes(5), Poll, Writes(5), Writes(5), Reads(9), Reads(9), Poll],
    ),
    (
        "the peer sends and closes, we write, then read",
        BOTH,
        &[
            PeerSends(7),
            PeerCloses,
            Poll,
            Writes(5),
            Poll,
            Writes(5),
            Reads(3),
            Reads(9),
            Reads(9),
            Writes(1),
        ],
    ),
    (
        "the same, and the error is never met by a write",
        BOTH,
        &[
            PeerSends(7),
            PeerCloses,
            Poll,
            Writes(5),
            Poll,
            Reads(9),
            Reads(9),
            Poll,
            ShutsDown,
            Poll,
        ],
    ),
    (
        "a reset over unread data, read first",
        BOTH,
        &[
            PeerSends(7),
            Poll,
            PeerResets,
            Poll,
            Reads(3),
            Reads(9),
            Reads(9),
            Reads(9),
            Writes(1),
            Poll,
        ],
    ),
    (
        "a reset over unread data, written first",
        BOTH,
        &[PeerSends(7), PeerResets, Poll, Writes(1), Writes(1), Reads(9), Reads(9), Reads(9), Poll],
    ),
    (
        "a reset after an end",
        BOTH,
        &[PeerFinishes, Poll, PeerResets, Poll, Reads(9), Writes(1), Writes(1), Reads(9)],
    ),
    (
        "a reset after both ends",
        BOTH,
        &[PeerFinishes, ShutsDown, Poll, PeerResets, Poll, Reads(9), Writes(1)],
    ),
    (
        "the peer closes with our bytes unread",
        BOTH,
        &[
            Writes(5),
            PeerSends(3),
            PeerCloses,
            Poll,
            Reads(9),
            Reads(9),
            Reads(9),
            Writes(1),
            Writes(1),
        ],
    ),
    (
        "the same, and we write first",
        BOTH,
        &[
            Writes(5),
            PeerSends(3),
            PeerCloses,
            Poll,
            Writes(1),
            Writes(1),
            Reads(9),
            Reads(9),
            Reads(9),
        ],
    ),
    (
        "urgent data ends a read before it",
        TCP,
        &[
            PeerSends(5),
            PeerMarks,
            PeerSends(5),
            Poll,
            Reads(99),
            Poll,
            Reads(99),
            Poll,
            Reads(99),
            PeerSends(1),
            Poll,
        ],
    ),
    (
        "urgent data alone",
        TCP,
        &[PeerMarks, Poll, Poll, Reads(9), Poll, PeerSends(1), Poll, Reads(9)],
    ),
    (
        "urgent data last",
        TCP,
        &[
            PeerSends(3),
            PeerMarks,
            Poll,
            Reads(9),
            Poll,
            Reads(9),
            Poll,
            PeerFinishes,
            Poll,
            Reads(9),
        ],
    ),
    (
        "urgent data unread at our close",
        TCP,
        &[PeerMarks, Poll, Closes, PeerReads(9), PeerReads(9)],
    ),
    (
        "a descriptor ends a read behind it",
        UNIX,
        &[
            PeerSends(5),
            PeerPasses,
            PeerSends(5),
            Poll,
            Reads(99),
            Poll,
            Reads(99),
            Reads(99),
            Poll,
        ],
    ),
    (
        "a full buffer, and one edge when it is empty",
        BOTH,
        &[Fills, Poll, PeerReads(1), Poll, Writes(1), PeerReadsAll, Poll, Poll, Writes(1), Poll],
    ),
    (
        "nothing was full: an edge from a Unix socket alone",
        BOTH,
        &[Writes(10), PeerReads(4), Poll, PeerReads(6), Poll, Poll],
    ),
    (
        "a full buffer, and the peer closes",
        BOTH,
        &[Fills, PeerCloses, Poll, Writes(1), Writes(1), Reads(1), Reads(1)],
    ),
    ("a full buffer, and the peer sends", BOTH, &[Fills, PeerSends(3), Poll, Reads(9), Poll]),
    (
        "a full buffer, then our end",
        BOTH,
        &[Fills, ShutsDown, Poll, PeerReadsAll, Poll, PeerReads(9), Poll],
    ),
    ("our end, then a write", BOTH, &[ShutsDown, Poll, Writes(5), PeerReads(9), Poll, Reads(9)]),
    (
        "our end, twice",
        BOTH,
        &[ShutsDown, Poll, ShutsDown, Poll, PeerSends(2), Poll, Reads(9), Poll],
    ),
    (
        "our end after the peer's, twice",
        BOTH,
        &[PeerFinishes, Poll, ShutsDown, Poll, ShutsDown, Poll],
    ),
    ("our end after a reset", BOTH, &[PeerResets, Poll, ShutsDown, Poll, Reads(9), Reads(9)]),
    ("the peer's end after ours", BOTH, &[ShutsDown, Poll, PeerFinishes, Poll, Reads(9), Poll]),
    (
        "our close",
        BOTH,
        &[Writes(5), Closes, PeerReads(9), PeerReads(9), PeerSends(1), PeerSends(1), PeerReads(9)],
    ),
    (
        "our close with input unread",
        BOTH,
        &[Writes(5), PeerSends(3), Poll, Closes, PeerReads(9), PeerReads(9), PeerReads(9)],
    ),
    (
        "the same, and the peer writes first",
        BOTH,
        &[PeerSends(3), Poll, Closes, PeerSends(1), PeerSends(1), PeerReads(9)],
    ),
    (
        "our abort",
        BOTH,
        &[Writes(5), Aborts, PeerReads(9), PeerReads(9), PeerReads(9), PeerSends(1)],
    ),
    (
        "our abort after both ends",
        BOTH,
        &[PeerFinishes, ShutsDown, Aborts, PeerReads(9), PeerSends(1)],
    ),
    (
        "our end, then our abort",
        BOTH,
        &[Writes(5), ShutsDown, Aborts, PeerReads(9), PeerReads(9), PeerSends(1)],
    ),
    (
        "data that comes after our close",
        TCP,
        &[Closes, PeerReads(9), PeerSends(3), PeerSends(3), PeerReads(9)],
    ),
    (
        "data that comes after our end",
        BOTH,
        &[ShutsDown, PeerReads(9), PeerSends(3), Poll, Reads(9), PeerCloses, Poll, Reads(9)],
    ),
];

/// The same, from the first step on.
pub(super) const LISTENER: &[Script] = &[
    (
        "closed before it accepts",
        BOTH,
        &[Connect, PeerSends(3), DoorCloses, PeerReads(9), PeerReads(9), PeerSends(1)],
    ),
    (
        "closed before it accepts, and nothing was sent",
        BOTH,
        &[Connect, DoorCloses, PeerSends(1), PeerReads(9), PeerReads(9)],
    ),
    (
        "one edge for a backlog",
        BOTH,
        &[
            Connect, Connect, Connect, Poll, Accept, Poll, Accept, Accept, Accept, Poll, Connect,
            Poll,
        ],
    ),
    (
        "an edge for each who comes",
        BOTH,
        &[Connect, Poll, Connect, Poll, Accept, Poll, Accept, Accept, Poll],
    ),
    (
        "readable before it is registered",
        BOTH,
        &[Connect, PeerSends(5), Poll, Accept, Poll, Poll, Reads(9)],
    ),
    (
        "gone before it is accepted",
        BOTH,
        &[Connect, PeerResets, Poll, Accept, Poll, Reads(9), Reads(9), Writes(1), Accept],
    ),
    (
        "sent and gone before it is accepted",
        BOTH,
        &[Connect, PeerSends(5), PeerResets, Accept, Poll, Writes(1), Reads(9), Reads(9), Reads(9)],
    ),
    (
        "sent and ended before it is accepted",
        BOTH,
        &[Connect, PeerSends(5), PeerFinishes, Accept, Poll, Reads(9), Reads(9), Poll],
    ),
];
