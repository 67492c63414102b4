//! Datagrams: what one socket has received, and what waits in it to be sent.
//!
//! A datagram goes out whole or not at all, and what the kernel does not take at once waits in the
//! [`Outbox`], with a bound; when that is full the newest is dropped. Three kinds of "not now" are
//! told apart, for what follows each is different:
//!
//! * UDP's WouldBlock: our send buffer is full, and the writable edge follows.
//! * `ENOBUFS`, `ENOMEM`: a shortage of which no event tells the end: a deadline (trap 49).
//! * A Unix receiver's WouldBlock: *its* queue is full. The others are sent past it; what is for it
//!   keeps its order and is tried again by a deadline that grows. Edges say nothing here: a send
//!   that fails so makes one of its own (it frees what it had allocated), and would feed itself.
//!
//! It decides and counts; the system call is lent to it. Read next: `core/datagram.rs`, which acts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::address::Address;
use crate::attempt::{Attempt, attempt};
use crate::bind::Bound;
use crate::id::SocketId;
use crate::readiness::Readiness;
use crate::stats::Stats;
use crate::timers::Stamp;

/// What a datagram that waits costs beside its payload.
const ENTRY: usize = 64;
/// What a receiver that is waited for costs.
const LANE: usize = 512;
/// When a full receiver is tried again, at first; each time in vain doubles it.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// When a shortage of the kernel is tried again.
const SHORTAGE: Duration = Duration::from_millis(10);
/// So many are sent to one receiver before it is another's turn.
const BATCH: usize = 16;
/// So many receives may fail in a row before the socket rests.
const PATIENCE: usize = 64;
/// How long it rests.
const REST: Duration = Duration::from_millis(100);
/// So many datagrams are still received when shutdown has begun and nobody else is left: who
/// floods us does not keep us from leaving.
pub(crate) const LAST: usize = 4096;

/// A datagram that came.
///
/// # Examples
///
/// An echo:
///
/// ```
/// use wouldblock::{Context, Datagram};
///
/// fn on_datagram(cx: &mut Context, datagram: &Datagram<'_>) {
///     // A client that cannot be answered is its own trouble.
///     let _ = cx.send_to(datagram.socket, &datagram.from, datagram.payload);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// The bytes; none is a datagram too.
    pub payload: &'a [u8],
    /// Who sent it; what UDP says of that can be forged. [`Unnamed`](Address::Unnamed): a Unix
    /// socket without a name, which cannot be answered.
    pub from: Address,
    /// The socket it came to.
    pub socket: SocketId,
    /// Whether it was longer than [`read_buffer`](crate::Config::read_buffer): its end is lost.
    pub truncated: bool,
    /// How many bytes were sent: more than there are in `payload` if it is truncated. How many more,
    /// Linux tells.
    pub len: usize,
}

/// One datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub(crate) bound: Bound,
    pub(crate) address: Address,
    pub(crate) readiness: Readiness,
    /// On the run queue.
    pub(crate) queued: bool,
    pub(crate) outbox: Outbox,
    /// The moment of its entry among the deadlines; `NEVER`: none.
    pub(crate) armed: Stamp,
    /// How many more it receives once shutdown has begun, unless it is found empty before: 0 then.
    pub(crate) last: usize,
    /// Receives that failed since one brought something, or said WouldBlock.
    failures: usize,
    /// Nothing is received before this moment.
    rests_until: Stamp,
}

impl DatagramSocket {
    /// `queue_max`: bytes that may wait to be sent.
    pub(crate) fn new(bound: Bound, address: Address, queue_max: usize) -> Self {
        let outbox = Outbox::new(address.ip().is_none(), bound.peer.is_some(), queue_max);
        DatagramSocket {
            bound,
            address,
            readiness: Readiness::EMPTY,
            queued: false,
            outbox,
            armed: Stamp::NEVER,
            last: LAST,
            failures: 0,
            rests_until: Stamp::default(),
        }
    }

    /// An event.
    pub(crate) fn handle_event(&mut self, news: Readiness) {
        self.readiness.merge(news);
        if self.readiness.is_writable() {
            self.readiness.forget_writable();
            self.outbox.handle_writable();
        }
    }

    /// Shutdown has begun: it is read once more, whatever events said.
    pub(crate) fn handle_shutdown(&mut self) {
        self.readiness.merge(Readiness::READABLE);
    }

    /// Whether a datagram is of another than the peer that the socket is connected to: one that was on
    /// its way when it was connected, or lay there, is received all the same.
    pub(crate) fn is_stray(&mut self, from: &Address) -> bool {
        let Bound { peer: Some(peer), socket, .. } = &mut self.bound else { return false };
        if is_same(peer, from) {
            return false;
        }
        // Its peer may have taken a name since, or been changed by way of the descriptor.
        if let Ok(now) = socket.peer_addr() {
            *peer = now;
        }
        !is_same(peer, from)
    }

    /// A receive brought a datagram.
    pub(crate) fn handle_received(&mut self) {
        self.failures = 0;
    }

    /// A receive said WouldBlock. `leaving`: shutdown has begun.
    pub(crate) fn handle_empty(&mut self, leaving: bool) {
        self.failures = 0;
        self.readiness.forget_readable();
        if leaving {
            self.last = 0;
        }
    }

    /// A receive failed: the error is of an earlier datagram (udp(7)), and told once; the next call
    /// is fine. One that does not end makes the socket rest.
    pub(crate) fn handle_error(&mut self, now: Stamp) {
        self.failures += 1;
        if self.failures >= PATIENCE {
            self.failures = 0;
            self.rests_until = now.after(REST);
        }
    }

    pub(crate) fn may_receive(&self, now: Stamp) -> bool {
        self.readiness.is_readable() && self.rests_until <= now
    }

    pub(crate) fn is_runnable(&self, now: Stamp) -> bool {
        self.may_receive(now) || self.outbox.is_due(now)
    }

    /// When it is to be looked at though nothing happens.
    pub(crate) fn deadline(&self) -> Stamp {
        let rest = if self.readiness.is_readable() { self.rests_until } else { Stamp::NEVER };
        rest.min(self.outbox.next_try())
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// All of it, in order; but not what is for named receivers of a Unix socket.
    common: Lane,
    /// A writable edge came since the common lane was found full.
    edge: bool,
    /// Whether each receiver has a queue of its own in the kernel: Unix.
    by_receiver: bool,
    lanes: BTreeMap<Address, Lane>,
    /// The earliest of the lanes' moments.
    next_lane: Stamp,
    /// Flushes of lanes so far.
    flushes: u64,
    /// What all of it costs, and may cost.
    bytes: usize,
    max: usize,
    /// Whether ICMP's errors are told by calls that have nothing to do with them: connected UDP.
    is_told_by_icmp: bool,
}

/// What waits for one thing.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// When it is tried again; `NEVER`: by the edge alone.
    retry: Stamp,
    /// How long it waits the next time.
    wait: Duration,
    /// It waits for a shortage to end: an edge does not tell that.
    is_short: bool,
    /// The flush in which it had its last turn.
    served: u64,
}

/// One datagram.
#[derive(Debug)]
struct Waiting {
    /// `None`: to where the socket is connected, or the lane goes.
    to: Option<Address>,
    payload: Box<[u8]>,
}

/// What a send came to.
#[derive(Debug)]
enum Answer {
    Taken,
    /// WouldBlock.
    Full,
    /// No memory, or nothing but signals: of that no event tells.
    Short,
    Refused(io::Error),
}

impl Lane {
    /// `served`: the present flush.
    fn new(served: u64) -> Self {
        Lane {
            waiting: VecDeque::new(),
            retry: Stamp::NEVER,
            wait: RETRY_MIN,
            is_short: false,
            served,
        }
    }

    /// Nothing more can be sent now. `by_time`: no edge tells when.
    fn block(&mut self, is_short: bool, by_time: bool, now: Stamp) {
        self.is_short = is_short;
        if is_short {
            self.retry = now.after(SHORTAGE);
        } else if by_time {
            self.retry = now.after(self.wait);
            self.wait = (self.wait * 2).min(RETRY_MAX);
        } else {
            self.retry = Stamp::NEVER;
        }
    }
}

impl Outbox {
    /// `is_unix`: each receiver has a queue of its own in the kernel.
    pub(crate) fn new(is_unix: bool, is_connected: bool, max: usize) -> Self {
        Outbox {
            common: Lane::new(0),
            edge: false,
            by_receiver: is_unix,
            lanes: BTreeMap::new(),
            next_lane: Stamp::NEVER,
            flushes: 0,
            bytes: 0,
            max,
            is_told_by_icmp: is_connected && !is_unix,
        }
    }

    /// Sends, or queues behind what waits for the same thing. `kernel` is the system call.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: there is no room in the queue, and the datagram is dropped; else what the
    /// kernel said.
    pub(crate) fn send(
        &mut self,
        payload: &[u8],
        to: Option<&Address>,
        now: Stamp,
        stats: &mut Stats,
        kernel: impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.has_waiting_for(to) {
            return self.queue(payload, to, stats);
        }
        let is_short = match self.transmit(payload, to, stats, kernel) {
            Answer::Taken => return Ok(()),
            Answer::Refused(error) => return Err(error),
            Answer::Full => false,
            Answer::Short => true,
        };
        self.queue(payload, to, stats)?;
        if let Some(to) = to.filter(|_| self.by_receiver) {
            let lane = self.lanes.get_mut(to).expect("just queued there");
            lane.block(is_short, true, now);
            self.next_lane = self.next_lane.min(lane.retry);
        } else {
            self.edge = false;
            self.common.block(is_short, self.by_receiver, now);
        }
        Ok(())
    }

    /// Sends what waits and is due, at most `most` of it.
    pub(crate) fn flush(
        &mut self,
        most: usize,
        now: Stamp,
        stats: &mut Stats,
        mut kernel: impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) {
        let mut left = most;
        if self.is_common_due(now) {
            let mut lane = std::mem::replace(&mut self.common, Lane::new(0));
            let by_time = self.by_receiver;
            self.edge = false;
            let batch = left;
            self.flush_lane(&mut lane, None, batch, &mut left, by_time, now, stats, &mut kernel);
            self.common = lane;
        }
        if self.next_lane > now {
            return;
        }
        self.flushes += 1;
        // Who has waited longest for a turn comes first.
        let due = self.lanes.iter().filter(|(_, lane)| lane.retry <= now);
        let mut due: Vec<_> = due.map(|(to, lane)| (lane.served, to.clone())).collect();
        due.sort_unstable();
        for (_, to) in due {
            if left == 0 {
                break;
            }
            let Some(mut lane) = self.lanes.remove(&to) else { continue };
            lane.served = self.flushes;
            self.flush_lane(&mut lane, Some(&to), BATCH, &mut left, true, now, stats, &mut kernel);
            if lane.waiting.is_empty() {
                self.bytes -= LANE;
            } else {
                self.lanes.insert(to, lane);
            }
        }
        self.next_lane = self.lanes.values().map(|lane| lane.retry).min().unwrap_or(Stamp::NEVER);
    }

    /// Sends of one lane, until it is empty, blocked, or has had its batch.
    #[allow(clippy::too_many_arguments, reason = "one step of `flush`")]
    fn flush_lane(
        &mut self,
        lane: &mut Lane,
        to: Option<&Address>,
        batch: usize,
        left: &mut usize,
        by_time: bool,
        now: Stamp,
        stats: &mut Stats,
        kernel: &mut impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) {
        // Due again at once, if it is its batch that ends it.
        lane.retry = now;
        lane.is_short = false;
        for _ in 0..batch.min(*left) {
            let Some(first) = lane.waiting.front() else { return };
            *left -= 1;
            match self.transmit(&first.payload, to.or(first.to.as_ref()), stats, &mut *kernel) {
                Answer::Taken => lane.wait = RETRY_MIN,
                Answer::Full => return lane.block(false, by_time, now),
                Answer::Short => return lane.block(true, by_time, now),
                Answer::Refused(error) => {
                    log::debug!("a datagram that had waited is dropped: {error}");
                    stats.datagrams_dropped += 1;
                }
            }
            if let Some(gone) = lane.waiting.pop_front() {
                self.bytes -= gone.payload.len() + ENTRY;
            }
        }
    }

    /// Tries all of it once more, due or not, and drops the rest. Answers how many were dropped.
    pub(crate) fn end(
        &mut self,
        now: Stamp,
        stats: &mut Stats,
        kernel: impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.edge = true;
        self.common.is_short = false;
        self.next_lane = now;
        let waiting = |outbox: &Self| {
            let lanes = outbox.lanes.values().map(|lane| lane.waiting.len());
            outbox.common.waiting.len() + lanes.sum::<usize>()
        };
        for lane in self.lanes.values_mut() {
            lane.retry = now;
        }
        let mut kernel = kernel;
        let mut before = usize::MAX;
        // A batch of each lane at a time, as long as that brings anything.
        while self.is_due(now) && waiting(self) < before {
            before = waiting(self);
            self.flush(usize::MAX, now, stats, &mut kernel);
        }
        let dropped = waiting(self);
        stats.datagrams_dropped += dropped as u64;
        self.common.waiting.clear();
        self.lanes.clear();
        self.next_lane = Stamp::NEVER;
        self.bytes = 0;
        dropped
    }

    /// The kernel says that there is room again.
    pub(crate) fn handle_writable(&mut self) {
        self.edge = true;
    }

    /// Whether anything is to be tried now.
    pub(crate) fn is_due(&self, now: Stamp) -> bool {
        self.is_common_due(now) || self.next_lane <= now
    }

    /// When something is to be tried though nothing happens.
    pub(crate) fn next_try(&self) -> Stamp {
        let common = if self.common.waiting.is_empty() { Stamp::NEVER } else { self.common.retry };
        common.min(self.next_lane)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.common.waiting.is_empty() && self.lanes.is_empty()
    }

    /// Whether what waits may wait for ever: for a receiver who does not read.
    pub(crate) fn waits_for_receivers(&self) -> bool {
        self.by_receiver
    }

    fn is_common_due(&self, now: Stamp) -> bool {
        let lane = &self.common;
        !lane.waiting.is_empty() && (lane.retry <= now || self.edge && !lane.is_short)
    }

    fn has_waiting_for(&self, to: Option<&Address>) -> bool {
        match to {
            Some(to) if self.by_receiver => self.lanes.contains_key(to),
            _ => !self.common.waiting.is_empty(),
        }
    }

    fn queue(&mut self, payload: &[u8], to: Option<&Address>, stats: &mut Stats) -> io::Result<()> {
        let lane = to.filter(|_| self.by_receiver);
        let is_new = lane.is_some_and(|to| !self.lanes.contains_key(to));
        let cost = payload.len() + ENTRY + if is_new { LANE } else { 0 };
        if self.bytes.saturating_add(cost) > self.max {
            stats.datagrams_dropped += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes += cost;
        let payload = payload.into();
        match lane {
            Some(to) => {
                let served = self.flushes;
                let lane = self.lanes.entry(to.clone()).or_insert_with(|| Lane::new(served));
                lane.waiting.push_back(Waiting { to: None, payload });
            }
            None => self.common.waiting.push_back(Waiting { to: to.cloned(), payload }),
        }
        Ok(())
    }

    /// One send; two, if the first told of another datagram's fate instead (trap 47).
    fn transmit(
        &self,
        payload: &[u8],
        to: Option<&Address>,
        stats: &mut Stats,
        mut kernel: impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) -> Answer {
        let mut is_second = !self.is_told_by_icmp;
        loop {
            return match attempt(|| kernel(payload, to)) {
                Ok(Attempt::Ready(())) => {
                    stats.datagrams_out += 1;
                    Answer::Taken
                }
                Ok(Attempt::WouldBlock) => Answer::Full,
                Err(error) if is_shortage(&error) => Answer::Short,
                Err(error) if !is_second && is_told_by_icmp(&error) => {
                    is_second = true;
                    stats.datagram_errors += 1;
                    continue;
                }
                Err(error) => Answer::Refused(error),
            };
        }
    }
}

/// Of IPv6 the scope is not looked at: for one peer it may be told in two ways.
fn is_same(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) => {
            one.ip() == other.ip() && one.port() == other.port()
        }
        (one, other) => one == other,
    }
}

/// Nothing is wrong with the datagram, and no event says when to try again.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOBUFS | Errno::NOMEM | Errno::INTR))
}

/// What ICMP may have told of an earlier datagram (udp(7), `icmp_err_convert` in Linux).
fn is_told_by_icmp(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(
            Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PROTO
                | Errno::ACCESS
        )
    )
}

#[cfg(test)]
mod tests;
