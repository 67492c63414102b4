//! Datagrams: what one socket has received, and what waits in it to be sent.
//!
//! A datagram goes out whole or not at all, and what the kernel does not take at once waits in the
//! [`Outbox`], with a bound. What is waited for is a lane: a Unix receiver, or the socket itself. When
//! the outbox is full, the lane that holds most loses its newest, so a receiver that never reads fills
//! its share and no more. Nothing waits longer than [`datagram_wait`](crate::Config::datagram_wait).
//! Three kinds of "not now" are told apart, for what follows each is different:
//!
//! * UDP's WouldBlock: our send buffer is full, and the writable edge follows.
//! * `ENOBUFS`, `ENOMEM`: a shortage of which no event tells the end: a deadline (trap 49). It may be
//!   one datagram's alone (the fragments of a large one do not fit in the send buffer): by UDP what
//!   is for others is sent past it, and after so many tries it is dropped.
//! * A Unix receiver's WouldBlock: *its* queue is full. The others are sent past it; what is for it
//!   keeps its order and is tried again by a deadline that grows. Edges say nothing here: a send
//!   that fails so makes one of its own (it frees what it had allocated), and would feed itself.
//!
//! It decides and counts; the system call is lent to it. Read next: `core/datagrams.rs`, which acts.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::base::address::Address;
use crate::base::attempt::{Attempt, attempt};
use crate::base::id::DatagramId;
use crate::base::readiness::Readiness;
use crate::base::stats::Stats;
use crate::net::bind::Bound;
use crate::time::deadlines::Stamp;

use lane::{Lane, Waiting};

mod lane;

/// What a datagram that waits costs beside its payload.
const ENTRY: usize = 64;
/// What a receiver that is waited for costs.
const LANE: usize = 512;
/// When a full receiver is tried again, at first; each time in vain doubles it.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// When a shortage of the kernel is tried again.
const SHORTAGE: Duration = Duration::from_millis(10);
/// So many times in all, for one datagram.
const TRIES: u8 = 16;
/// So many datagrams of UDP that meet a shortage are passed over at a time.
const PASSED: usize = 8;
/// One that has been tried so often does not hold up a shutdown.
const HOPELESS: u8 = 3;
/// So many are sent to one receiver before it is another's turn.
const BATCH: usize = 16;
/// So many receives may fail in a row before the socket rests.
const PATIENCE: usize = 64;
/// How long it rests.
const REST: Duration = Duration::from_millis(100);
/// The number of datagrams that are still received when shutdown has begun and no connection is
/// left: a peer that floods us does not hold it up.
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
    /// Its sender; what UDP says of that can be forged. [`Unnamed`](Address::Unnamed): a Unix
    /// socket without a name, which cannot be answered.
    pub from: Address,
    /// The socket it came to.
    pub socket: DatagramId,
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
    pub(crate) outbox: Outbox,
    /// The poll tells when there is room to send.
    pub(crate) watches_room: bool,
    /// How many more it receives once shutdown has begun, unless it is found empty before: 0 then.
    pub(crate) last: usize,
    /// Receives that failed since one brought something, or said WouldBlock.
    failures: usize,
    /// Nothing is received before this moment.
    rests_until: Stamp,
}

impl DatagramSocket {
    /// `queue_max`: bytes that may wait to be sent.
    /// `wait_max`: how long each may.
    pub(crate) fn new(
        bound: Bound,
        address: Address,
        queue_max: usize,
        wait_max: Duration,
    ) -> Self {
        let is_connected = bound.peer.is_some();
        let outbox = Outbox::new(address.ip().is_none(), is_connected, queue_max, wait_max);
        DatagramSocket {
            bound,
            address,
            readiness: Readiness::EMPTY,
            outbox,
            watches_room: false,
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
    /// How long one may wait.
    wait_max: Duration,
    /// So many that meet a shortage are passed over at a time; 1: the order is kept.
    passing: usize,
    /// Whether ICMP's errors are told by calls that have nothing to do with them: connected UDP.
    is_told_by_icmp: bool,
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

impl Outbox {
    /// `is_unix`: each receiver has a queue of its own in the kernel.
    pub(crate) fn new(is_unix: bool, is_connected: bool, max: usize, wait_max: Duration) -> Self {
        Outbox {
            common: Lane::new(0, 0),
            edge: false,
            by_receiver: is_unix,
            lanes: BTreeMap::new(),
            next_lane: Stamp::NEVER,
            flushes: 0,
            bytes: 0,
            max,
            wait_max,
            passing: if is_unix { 1 } else { PASSED },
            is_told_by_icmp: is_connected && !is_unix,
        }
    }

    /// Sends, or queues behind what waits for the same thing. `kernel` is the system call. `clock` is
    /// read if it has to wait: it waits from there on, however long the callback has run.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: what waits for the same thing has its share of the queue already, and the
    /// datagram is dropped; else what the kernel said.
    pub(crate) fn send(
        &mut self,
        payload: &[u8],
        to: Option<&Address>,
        clock: impl FnOnce() -> Stamp,
        stats: &mut Stats,
        kernel: impl FnMut(&[u8], Option<&Address>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.has_waiting_for(to) {
            return self.queue(payload, to, clock(), stats);
        }
        let is_short = match self.transmit(payload, to, stats, kernel) {
            Answer::Taken => return Ok(()),
            Answer::Refused(error) => return Err(error),
            Answer::Full => false,
            Answer::Short => true,
        };
        let now = clock();
        self.queue(payload, to, now, stats)?;
        if let Some(to) = to.filter(|_| self.by_receiver) {
            let lane = self.lanes.get_mut(to).expect("just queued there");
            lane.block(is_short, true, now);
            self.next_lane = self.next_lane.min(lane.next_try());
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
            let mut lane = std::mem::replace(&mut self.common, Lane::new(0, 0));
            let by_time = self.by_receiver;
            if self.edge && !lane.is_short {
                lane.retry = now;
            }
            self.edge = false;
            let batch = left;
            self.flush_lane(&mut lane, None, batch, &mut left, by_time, now, stats, &mut kernel);
            self.common = lane;
        }
        if self.next_lane > now {
            return;
        }
        self.flushes += 1;
        // The lane that has waited longest for a turn comes first.
        let due = self.lanes.iter().filter(|(_, lane)| lane.next_try() <= now);
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
        self.find_next_lane();
    }

    fn find_next_lane(&mut self) {
        self.next_lane = self.lanes.values().map(Lane::next_try).min().unwrap_or(Stamp::NEVER);
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
        while lane.waiting.front().is_some_and(|first| first.until <= now) {
            self.bytes -= lane.remove(0);
            stats.datagrams_dropped += 1;
            stats.datagrams_expired += 1;
        }
        if lane.retry > now {
            return;
        }
        // Due again at once, if it is its batch that ends it.
        lane.retry = now;
        lane.is_short = false;
        // Whose datagrams have met a shortage, and so what is for them keeps its order.
        let mut short: Vec<Option<Address>> = Vec::new();
        let mut at = 0;
        for _ in 0..batch.min(*left) {
            // What is only passed over does not count: others wait behind it.
            let passed = |one: &Waiting| self.passing < usize::MAX && short.contains(&one.to);
            at += lane.waiting.iter().skip(at).take_while(|one| passed(one)).count();
            let Some(one) = lane.waiting.get_mut(at) else { break };
            *left -= 1;
            match self.transmit(&one.payload, to.or(one.to.as_ref()), stats, &mut *kernel) {
                Answer::Taken => lane.wait = RETRY_MIN,
                Answer::Full => return lane.block(false, by_time, now),
                Answer::Short if one.tries < TRIES => {
                    one.tries += 1;
                    short.push(one.to.clone());
                    at += 1;
                    if short.len() >= self.passing {
                        break;
                    }
                    continue;
                }
                Answer::Short => {
                    log::debug!("a datagram that met a shortage each time is dropped");
                    stats.datagrams_dropped += 1;
                    stats.datagrams_expired += 1;
                }
                Answer::Refused(error) => {
                    log::debug!("a datagram that had waited is dropped: {error}");
                    stats.datagrams_dropped += 1;
                }
            }
            self.bytes -= lane.remove(at);
        }
        if !short.is_empty() {
            lane.block(true, by_time, now);
        }
    }

    /// Tries all of it once more, due or not, and drops the rest. Returns how many were dropped.
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
        if !self.by_receiver {
            self.passing = usize::MAX;
        }
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
        self.common = Lane::new(0, 0);
        self.lanes.clear();
        self.next_lane = Stamp::NEVER;
        self.bytes = 0;
        dropped
    }

    /// Whether it waits for the kernel to say that there is room again.
    pub(crate) fn waits_for_room(&self, now: Stamp) -> bool {
        let lane = &self.common;
        !lane.waiting.is_empty() && !lane.is_short && !self.is_common_due(now)
    }

    /// The poll cannot be asked to tell that: it is tried by the clock.
    pub(crate) fn handle_unwatched(&mut self, now: Stamp) {
        self.common.block(true, true, now);
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
        self.common.next_try().min(self.next_lane)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.common.waiting.is_empty() && self.lanes.is_empty()
    }

    /// What waits, in order: for which receiver if its lane does not tell, and until when. For this
    /// receiver, where each has a lane.
    #[allow(dead_code, reason = "for the oracle of crates/check")]
    pub(crate) fn waiting_for(
        &self,
        to: Option<&Address>,
    ) -> impl Iterator<Item = (Option<&Address>, &[u8], Stamp)> {
        let lane = match to {
            Some(to) if self.by_receiver => self.lanes.get(to),
            _ => Some(&self.common),
        };
        let waiting = lane.into_iter().flat_map(|lane| lane.waiting.iter());
        waiting.map(|one| (one.to.as_ref(), &*one.payload, one.until))
    }

    /// Whether what waits may wait for ever: for a receiver that does not read.
    pub(crate) fn waits_for_receivers(&self) -> bool {
        self.by_receiver
    }

    /// Whether what waits meets one shortage after another, which may be its own and never end.
    pub(crate) fn is_stuck(&self) -> bool {
        let lane = &self.common;
        lane.is_short && lane.waiting.front().is_some_and(|first| first.tries >= HOPELESS)
    }

    fn is_common_due(&self, now: Stamp) -> bool {
        let lane = &self.common;
        !lane.waiting.is_empty() && (lane.next_try() <= now || self.edge && !lane.is_short)
    }

    fn has_waiting_for(&self, to: Option<&Address>) -> bool {
        match to {
            Some(to) if self.by_receiver => self.lanes.contains_key(to),
            _ => !self.common.waiting.is_empty(),
        }
    }

    fn queue(
        &mut self,
        payload: &[u8],
        to: Option<&Address>,
        now: Stamp,
        stats: &mut Stats,
    ) -> io::Result<()> {
        let lane = to.filter(|_| self.by_receiver);
        let is_new = lane.is_some_and(|to| !self.lanes.contains_key(to));
        let held = match lane {
            Some(to) => self.lanes.get(to).map_or(LANE, |lane| lane.bytes),
            None => self.common.bytes,
        };
        let cost = payload.len() + ENTRY;
        if !self.make_room(held + cost, cost + if is_new { LANE } else { 0 }, stats) {
            stats.datagrams_dropped += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (until, served) = (now.after(self.wait_max), self.flushes);
        let lane = match lane {
            Some(_) if is_new => {
                self.bytes += LANE;
                let to = to.expect("a lane is a receiver's").clone();
                self.lanes.entry(to).or_insert_with(|| Lane::new(LANE, served))
            }
            Some(to) => self.lanes.get_mut(to).expect("it is not new"),
            None => &mut self.common,
        };
        let to = to.filter(|_| !self.by_receiver).cloned();
        lane.waiting.push_back(Waiting { to, payload: payload.into(), until, tries: 0 });
        lane.bytes += cost;
        self.bytes += cost;
        Ok(())
    }

    /// Makes room for `cost` bytes more, of a lane that will hold `share` bytes then: the newest go of
    /// lanes that hold more. Returns whether there is room; if not, none goes.
    ///
    /// It looks at each lane, once for each that goes: at most `max / (LANE + ENTRY)` of them.
    fn make_room(&mut self, share: usize, cost: usize, stats: &mut Stats) -> bool {
        let wanted = self.bytes.saturating_add(cost);
        if wanted <= self.max {
            return true;
        }
        let lanes = || std::iter::once(&self.common).chain(self.lanes.values());
        let above = lanes().map(|lane| lane.bytes.saturating_sub(share)).sum::<usize>();
        if above < wanted - self.max {
            return false;
        }
        while self.bytes + cost > self.max {
            let (to, most) = self.lanes.iter().max_by_key(|(_, lane)| lane.bytes).unzip();
            let of_common = most.is_none_or(|most| most.bytes < self.common.bytes);
            let to = to.filter(|_| !of_common).cloned();
            let lane = match &to {
                Some(to) => self.lanes.get_mut(to).expect("just found there"),
                None => &mut self.common,
            };
            let Some(newest) = lane.waiting.len().checked_sub(1) else { return false };
            self.bytes -= lane.remove(newest);
            stats.datagrams_dropped += 1;
            if let (Some(to), 0) = (to, newest) {
                self.lanes.remove(&to);
                self.bytes -= LANE;
            }
        }
        true
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
    one == other || one.ip().is_some() && (one.ip(), one.port()) == (other.ip(), other.port())
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
