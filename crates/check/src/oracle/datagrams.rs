//! Datagrams: that each one that was received is told, once and as it was; that each one to be sent
//! goes out, in order, or is counted; and that nobody waits for long, or for ever.
//!
//! The kernel writes down what each of our sockets did; here that is compared with what the handler was
//! told, and with what it sent.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::Oracle;
use crate::base::address::Address;
use crate::base::id::DatagramId;
use crate::context::Context;
use crate::kernel::datagram::{Deed, Packet};
use crate::kernel::{State, nanos};
use crate::late::{SLACK, is_late};
use crate::net::datagram::{Datagram, Outbox};
use crate::net::socket::Datagrams;
use crate::time::deadlines::Stamp;

/// What a datagram that waits costs beside its payload, and a receiver that keeps some waiting.
const ENTRY: usize = 64;
const LANE: usize = 512;
/// A full Unix receiver is tried again after so long at the latest, and at the earliest.
const RETRY_MAX: u64 = 100_000_000;
const RETRY_MIN: u64 = 900_000;
/// So is a kernel without memory.
const SHORTAGE: u64 = 10_000_000;
/// A datagram that waits and meets a shortage so often is dropped.
const TRIES: u32 = 17;
/// A send that is interrupted so often in a row is not repeated.
const INTERRUPTED: u32 = 17;
/// For how long sockets may keep a shutdown, when nobody else is left.
const LEAVE: u64 = 1_000_000_000;

/// A datagram that was accepted and has not been sent.
#[derive(Debug)]
struct Unsent {
    to: Option<Address>,
    payload: Arc<[u8]>,
    /// The kernel will not have it.
    refused: bool,
    /// When it was accepted, and when and how often it met a shortage.
    since: u64,
    short_at: Option<u64>,
    shortages: u32,
}

impl Unsent {
    /// Until when it may wait.
    fn until(&self, wait: u64) -> u64 {
        self.since.saturating_add(wait)
    }

    /// Whether it may have been dropped by now.
    fn may_be_gone(&self, now: u64, wait: u64) -> bool {
        self.refused || self.shortages >= TRIES || now >= self.until(wait)
    }
}

/// One socket of ours.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct DatagramLedger {
    id: DatagramId,
    service: u8,
    port: u32,
    unix: bool,
    connected: bool,
    open: bool,
    /// The handler closed it.
    closed: bool,
    /// Received and not told, and how much room there was for it.
    due: VecDeque<(Packet, usize)>,
    waiting: VecDeque<Unsent>,
    /// How long one may wait.
    wait: u64,
    /// When a send was last denied, and how: by receiver, where each has a queue of its own.
    denied: BTreeMap<Option<Address>, (u64, Errno)>,
    /// So many sends in a row were interrupted.
    interrupted: u32,
    /// Received in this turn, and their bytes but for the last one's.
    in_turn: (usize, usize, usize),
    /// What lay there when shutdown began, and what was received since.
    at_shutdown: usize,
    since: usize,
}

/// What the counters are to say.
#[derive(Debug, Default)]
pub(super) struct Counts {
    received: u64,
    truncated: u64,
    sent: u64,
    /// Sends that found no room in the queue.
    no_room: u64,
    accepted: u64,
    errors: u64,
    /// When shutdown had nobody but the sockets to wait for, and until when it may.
    alone: Option<u64>,
}

impl DatagramLedger {
    fn lane(&self, to: Option<&Address>) -> Option<Address> {
        if self.unix { to.cloned() } else { None }
    }

    fn has_waiting(&self, lane: Option<&Address>) -> bool {
        self.waiting
            .iter()
            .any(|unsent| !unsent.refused && self.lane(unsent.to.as_ref()).as_ref() == lane)
    }

    /// What waits costs so much at least, and at most.
    fn cost(&self) -> (usize, usize) {
        let unsent = self.waiting.iter().filter(|unsent| !unsent.refused);
        let bytes = unsent.map(|unsent| unsent.payload.len() + ENTRY).sum::<usize>();
        let most = self.waiting.iter().map(|unsent| unsent.payload.len() + ENTRY + LANE).sum();
        (bytes, most)
    }

    /// Goes through what the kernel wrote down. `trying`: a last try, which waits for nothing.
    fn read(&mut self, net: &mut State, counts: &mut Counts, trying: bool) -> Result<(), String> {
        for (now, deed) in std::mem::take(&mut net.mail.ports[self.port as usize].deeds) {
            match deed {
                Deed::Received(packet, room) => {
                    counts.received += 1;
                    counts.truncated += u64::from(packet.payload.len() > room);
                    self.since += 1;
                    let copied = packet.payload.len().min(room);
                    self.in_turn.0 += 1;
                    self.in_turn.1 += self.in_turn.2;
                    self.in_turn.2 = copied;
                    if self.in_turn.1 >= room {
                        return Err(format!("promise 4: {} bytes in one turn", self.in_turn.1));
                    }
                    self.due.push_back((packet, room));
                }
                Deed::Failed(error) => counts.errors += u64::from(error != Errno::INTR),
                Deed::Sent(to, payload) => {
                    self.interrupted = 0;
                    counts.sent += 1;
                    self.sends(now, to.as_ref(), &payload, trying)?;
                    let lane = self.lane(to.as_ref());
                    // Unless one that was passed over just now waits for its shortage to end.
                    let is_short = |one: &Unsent| {
                        one.short_at == Some(now) && self.lane(one.to.as_ref()) == lane
                    };
                    if !self.waiting.iter().any(is_short) {
                        self.denied.remove(&lane);
                    }
                }
                Deed::Denied(to, payload, Errno::INTR) => {
                    self.interrupted += 1;
                    if self.interrupted == INTERRUPTED {
                        // Too many signals are a shortage, too.
                        self.interrupted = 0;
                        self.falls_short(now, to.as_ref(), &payload);
                    }
                    let lane = self.lane(to.as_ref());
                    self.denied.insert(lane, (now, Errno::INTR));
                }
                Deed::Denied(to, payload, error) => {
                    self.interrupted = 0;
                    self.is_denied(now, to.as_ref(), &payload, error, trying)?;
                    let icmp = self.connected && !self.unix && error == Errno::CONNREFUSED;
                    counts.errors += u64::from(icmp);
                }
            }
        }
        Ok(())
    }

    /// The kernel took one: the first that waits for that receiver, but for those that were dropped,
    /// and by UDP for those of others who met a shortage just now.
    fn sends(
        &mut self,
        now: u64,
        to: Option<&Address>,
        payload: &Arc<[u8]>,
        trying: bool,
    ) -> Result<(), String> {
        let lane = self.lane(to);
        // One that may have been dropped, of several that are the same.
        let mut gone = None;
        for at in 0..self.waiting.len() {
            let one = &self.waiting[at];
            if self.lane(one.to.as_ref()) != lane {
                continue;
            }
            let may_be_gone = one.may_be_gone(now, self.wait);
            if one.payload == *payload && one.to.as_ref() == to && !one.refused {
                if !may_be_gone {
                    self.waiting.remove(at);
                    return Ok(());
                }
                gone = gone.or(Some(at));
            }
            let is_short = |other: &Unsent| other.to == one.to && other.short_at == Some(now);
            let passed = !self.unix
                && (trying || one.to.as_ref() != to && self.waiting.iter().any(is_short));
            if !passed && !may_be_gone {
                break;
            }
        }
        match gone.and_then(|at| self.waiting.remove(at)) {
            Some(_) => Ok(()),
            None => Err("promise 2: a datagram overtakes another, or nobody sent it".into()),
        }
    }

    /// Of those that are the same, the first that was there to be tried.
    fn find(
        &mut self,
        now: u64,
        to: Option<&Address>,
        payload: &Arc<[u8]>,
        is_meant: impl Fn(&Unsent) -> bool,
    ) -> Option<&mut Unsent> {
        let wait = self.wait;
        let is_it = |one: &Unsent| {
            let is_same = one.to.as_ref() == to && one.payload == *payload;
            is_same && !one.refused && is_meant(one)
        };
        let in_time = |one: &Unsent| is_it(one) && one.until(wait) > now;
        let at = self.waiting.iter().position(in_time);
        let at = at.or_else(|| self.waiting.iter().position(is_it))?;
        self.waiting.get_mut(at)
    }

    /// The kernel had no memory for one. Returns when that was so before.
    fn falls_short(&mut self, now: u64, to: Option<&Address>, payload: &Arc<[u8]>) -> Option<u64> {
        // That was not tried just now.
        let unsent = self.find(now, to, payload, |one| one.short_at != Some(now))?;
        unsent.shortages += 1;
        unsent.short_at.replace(now)
    }

    /// Compares with what waits in truth: what is not there was dropped, with reason. `room`: what may
    /// have been made room for, and what its lane holds.
    fn compare(
        &mut self,
        now: u64,
        outbox: &Outbox,
        room: Option<(Option<&Address>, usize)>,
    ) -> Result<(), String> {
        let lanes: std::collections::BTreeSet<_> =
            self.waiting.iter().map(|one| self.lane(one.to.as_ref())).collect();
        let held = |lane: Option<&Address>| {
            outbox.waiting_for(lane).map(|(_, payload, _)| payload.len() + ENTRY).sum::<usize>()
        };
        let mut kept = VecDeque::<Unsent>::new();
        let mut went = BTreeMap::new();
        let mut there: BTreeMap<_, VecDeque<_>> = lanes
            .iter()
            .map(|lane| (lane.clone(), outbox.waiting_for(lane.as_ref()).collect()))
            .collect();
        for one in std::mem::take(&mut self.waiting).into_iter().filter(|one| !one.refused) {
            let lane = self.lane(one.to.as_ref());
            let rest = there.get_mut(&lane).expect("each has its lane");
            let until = Stamp::at(one.until(self.wait));
            // Of several that are the same, the moment tells which it is.
            let is_it = |(to, payload, its): &(Option<&Address>, &[u8], Stamp)| {
                let is_same = **payload == *one.payload && *its == until;
                is_same && (lane.is_some() || *to == one.to.as_ref())
            };
            if rest.front().is_some_and(is_it) {
                rest.pop_front();
                kept.push_back(one);
                continue;
            }
            // If one is missing of several that are the same to the moment, it is the one that had
            // reason to go.
            let is_same = |other: &Unsent| {
                other.to == one.to && other.payload == one.payload && other.since == one.since
            };
            let is_gone = |other: &Unsent| is_same(other) && other.may_be_gone(now, self.wait);
            if let Some(at) = kept.iter().position(is_gone) {
                // Each after it is taken for the next: of whichever there is, the place is right.
                let after: Vec<_> = (at..kept.len()).filter(|at| is_same(&kept[*at])).collect();
                let mut last = one;
                for at in after.into_iter().rev() {
                    std::mem::swap(&mut kept[at], &mut last);
                }
                continue;
            }
            // The newest went first: when this one did, its lane held the older ones that have gone, too.
            let held = went.entry(lane.clone()).or_insert_with(|| held(lane.as_ref()));
            *held += one.payload.len() + ENTRY;
            let made_room =
                room.is_some_and(|(own, needed)| lane.as_ref() != own && *held + LANE >= needed);
            if !one.may_be_gone(now, self.wait) && !made_room {
                return Err("promise 2: a datagram that waited is dropped without reason".into());
            }
        }
        self.waiting = kept;
        if there.values().any(|rest| !rest.is_empty()) {
            return Err("promise 2: what waits is not what was sent, in its order".into());
        }
        Ok(())
    }

    fn is_denied(
        &mut self,
        now: u64,
        to: Option<&Address>,
        payload: &Arc<[u8]>,
        error: Errno,
        trying: bool,
    ) -> Result<(), String> {
        let lane = self.lane(to);
        if error != Errno::AGAIN && error != Errno::NOBUFS {
            let by_icmp = self.connected && !self.unix && error == Errno::CONNREFUSED;
            let first = self.find(now, to, payload, |_| true);
            if let (Some(unsent), false) = (first, by_icmp) {
                unsent.refused = true;
            }
            return Ok(());
        }
        if error == Errno::AGAIN && lane.is_none() {
            // An edge will tell of room, and then all are tried again.
            self.waiting.iter_mut().for_each(|one| one.short_at = None);
        }
        let before = self.denied.insert(lane.clone(), (now, error));
        let soon = if error == Errno::NOBUFS {
            // By UDP others may be tried meanwhile.
            let at = self.falls_short(now, to, payload);
            let still = before.is_some_and(|(_, last)| last == error);
            still && at.is_some_and(|at| now < at + SHORTAGE / 2)
        } else {
            // Where it is connected, an edge tells.
            let wait = if lane.is_some() { RETRY_MIN } else { 0 };
            before.is_some_and(|(at, last)| last == error && now < at + wait)
        };
        if soon && !trying && self.has_waiting(lane.as_ref()) {
            return Err("promise 6: it is tried again and again, and nothing has changed".into());
        }
        Ok(())
    }

    /// What it is kept waiting for, when nothing moves but by a deadline.
    fn stall(&self, net: &State) -> Option<String> {
        let port = &net.mail.ports[self.port as usize];
        if !port.queue.is_empty() {
            return Some(format!("promise 1: {} datagrams lie unread", port.queue.len()));
        }
        if port.error.is_some() {
            return Some("promise 1: what ICMP told lies unread".into());
        }
        let wait = Duration::from_nanos(self.wait);
        if self.waiting.iter().any(|unsent| is_late(net.polls, unsent.since, wait)) {
            return Some("promise 4: a datagram waits for longer than allowed".into());
        }
        let waits = |unsent: &&Unsent| !unsent.may_be_gone(net.now, self.wait);
        for unsent in self.waiting.iter().filter(waits) {
            let late = match self.denied.get(&self.lane(unsent.to.as_ref())) {
                Some((at, Errno::NOBUFS | Errno::INTR)) => net.now > at + SHORTAGE + SLACK,
                Some((at, _)) if self.unix => net.now > at + RETRY_MAX + SLACK,
                // There is room again, and the edge was told; or it was never tried.
                Some(_) | None => true,
            };
            if late {
                return Some("promise 1: a datagram waits, and nobody tries".into());
            }
        }
        None
    }
}

impl Oracle {
    fn datagram_ledger(&mut self, id: DatagramId) -> Option<&mut DatagramLedger> {
        self.datagram_ledgers.iter_mut().find(|ledger| ledger.id == id)
    }

    /// Reads what the kernel wrote down of a socket.
    fn read_desk(&mut self, id: DatagramId, trying: bool) {
        // When it comes to an end, everything is tried once more.
        let trying = trying || self.shutdown.is_some();
        let mut net = self.kernel.state();
        let Some(ledger) = self.datagram_ledgers.iter_mut().find(|ledger| ledger.id == id) else {
            return;
        };
        let read = ledger.read(&mut net, &mut self.mail, trying);
        let number = ledger.port;
        drop(net);
        if let Err(what) = read {
            self.complain(format!("@{number}: {what}"));
        }
    }

    /// Compares what waits in a socket with what was sent to it.
    fn compare_desk(
        &mut self,
        cx: &Context,
        id: DatagramId,
        room: Option<(Option<&Address>, usize)>,
    ) {
        let now = self.kernel.now();
        let Some(socket) = cx.core.datagrams.get(id) else { return };
        let Some(ledger) = self.datagram_ledgers.iter_mut().find(|ledger| ledger.id == id) else {
            return;
        };
        let compared = ledger.compare(now, &socket.outbox, room);
        let bound = ledger.cost().0 > self.limits.datagrams_queued;
        let number = ledger.port;
        if let Err(what) = compared {
            self.complain(format!("@{number}: {what}"));
        }
        if bound {
            self.complain(format!("promise 4: more waits in @{number} than the limit"));
        }
    }

    // --- What the handler does ------------------------------------------------------------------

    pub(crate) fn binds(&mut self, cx: &Context, id: DatagramId, connected: bool) {
        let socket = cx.core.datagrams.get(id);
        let Some(Datagrams::Sim(socket)) = socket.map(|socket| &socket.bound.socket) else {
            return self.complain("a datagram socket that was bound is not there".into());
        };
        let port = socket.port();
        if self.datagram_ledger(id).is_some() {
            self.complain(format!("promise 3: the id of @{port} was another's"));
        }
        self.kernel.state().mail.watched = true;
        let unix = cx.core.datagram_addr(id).is_some_and(|at| at.ip().is_none());
        let wait = nanos(self.limits.datagram_wait);
        self.datagram_ledgers.push(DatagramLedger {
            id,
            service: self.serving,
            wait,
            port,
            unix,
            connected,
            open: true,
            closed: false,
            due: VecDeque::new(),
            waiting: VecDeque::new(),
            denied: BTreeMap::new(),
            interrupted: 0,
            in_turn: (0, 0, 0),
            at_shutdown: 0,
            since: 0,
        });
    }

    /// It is about to send.
    pub(crate) fn before_letter(&mut self, cx: &Context, id: DatagramId) {
        self.read_desk(id, false);
        self.compare_desk(cx, id, None);
    }

    /// It has sent.
    pub(crate) fn send_datagram(
        &mut self,
        cx: &Context,
        id: DatagramId,
        to: Option<&Address>,
        payload: &[u8],
        result: io::Result<()>,
    ) {
        let max = self.limits.datagrams_queued;
        let now = self.kernel.now();
        let Some(ledger) = self.datagram_ledger(id) else { return };
        let number = ledger.port;
        let open = ledger.open && cx.core.datagram_addr(id).is_some();
        let mut wrong = None;
        let lane = ledger.lane(to);
        let own = ledger.waiting.iter().filter(|one| ledger.lane(one.to.as_ref()) == lane);
        let own = own.map(|one| one.payload.len() + ENTRY).sum::<usize>() + payload.len() + ENTRY;
        let is_full = ledger.cost().1 + payload.len() + ENTRY + LANE > max;
        let at_once = !ledger.has_waiting(lane.as_ref());
        if at_once {
            ledger.denied.remove(&lane);
        }
        match result {
            Ok(()) => {
                if !open {
                    wrong = Some("a datagram is accepted by a closed socket");
                }
                let payload = payload.into();
                ledger.waiting.push_back(Unsent {
                    to: to.cloned(),
                    payload,
                    refused: false,
                    since: now,
                    short_at: None,
                    shortages: 0,
                });
                self.mail.accepted += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !is_full {
                    wrong = Some("a datagram is dropped, and there is room for it");
                }
                self.mail.no_room += 1;
            }
            Err(error) => {
                let gone = error.kind() == io::ErrorKind::NotFound;
                if !open && !gone {
                    wrong = Some("a closed socket says something else than that it is gone");
                }
            }
        }
        if let Some(wrong) = wrong {
            self.complain(format!("@{number}: {wrong}"));
        }
        self.read_desk(id, false);
        if let Some(unsent) = self.datagram_ledger(id).and_then(|ledger| ledger.waiting.back_mut())
            && at_once
            && unsent.since == now
        {
            // What it met before it waited is not counted.
            unsent.shortages = 0;
        }
        self.compare_desk(cx, id, is_full.then_some((lane.as_ref(), own)));
    }

    pub(crate) fn closes_socket(&mut self, cx: &Context, id: DatagramId, answer: bool) {
        self.read_desk(id, true);
        // Who is cut is told of it when the sockets are closed already.
        let leaving = self.shutdown.is_some();
        let Some(ledger) = self.datagram_ledger(id) else { return };
        let (number, open) = (ledger.port, ledger.open && (answer || !leaving));
        (ledger.open, ledger.closed) = (false, true);
        if answer != open || cx.core.datagram_addr(id).is_some() {
            self.complain(format!("close_datagram() of @{number} answers {answer}"));
        }
    }

    // --- Callbacks ------------------------------------------------------------------------------

    pub(crate) fn datagram(&mut self, cx: &Context, datagram: &Datagram<'_>) {
        self.callbacks += 1;
        if self.inside {
            self.complain("promise 3: on_datagram inside another callback".into());
        }
        self.inside = true;
        let id = datagram.socket;
        self.read_desk(id, false);
        let Some(ledger) = self.datagram_ledger(id) else {
            return self.complain("on_datagram of a socket that nobody bound".into());
        };
        let (number, open, service) = (ledger.port, ledger.open, ledger.service);
        let (due, more) = (ledger.due.pop_front(), ledger.due.len());
        if !open || cx.core.datagram_addr(id).is_none() {
            self.complain(format!("promise 3: on_datagram of @{number}, which is closed"));
        }
        if service != self.serving {
            self.complain(format!("on_datagram of service {service} is told to {}", self.serving));
        }
        let Some((packet, room)) = due else {
            return self.complain(format!("@{number}: a datagram is told that was not received"));
        };
        let len = packet.payload.len();
        let shown = &packet.payload[..len.min(room)];
        let same = datagram.payload == shown && datagram.from == packet.from;
        if !same || more > 0 {
            self.complain(format!(
                "promise 2: @{number}: another datagram is told than came first"
            ));
        }
        if datagram.truncated != (len > room) || datagram.len != len {
            self.complain(format!(
                "trap 50: @{number}: {len} bytes came, {room} fit: {datagram:?}"
            ));
        }
    }

    pub(crate) fn datagram_done(&mut self) {
        self.inside = false;
    }

    // --- Turns, rests and the end ---------------------------------------------------------------

    pub(super) fn mail_after_turn(&mut self, cx: &Context) {
        let shutdown = self.shutdown;
        for number in 0..self.datagram_ledgers.len() {
            let id = self.datagram_ledgers[number].id;
            self.read_desk(id, false);
            self.compare_desk(cx, id, None);
            let (per_turn, denies) = (self.limits.datagrams_per_turn, self.denies);
            let shutdown_max = nanos(self.limits.shutdown_max);
            let net = self.kernel.state();
            let ledger = &mut self.datagram_ledgers[number];
            let mut wrong = None;
            if !ledger.due.is_empty() && !ledger.closed {
                wrong = Some("promise 2: a datagram was received, and is not told");
            }
            if ledger.in_turn.0 > per_turn {
                wrong = Some("promise 4: more datagrams in a turn than the limit");
            }
            ledger.in_turn = (0, 0, 0);
            if ledger.open && cx.core.datagram_addr(id).is_none() {
                ledger.open = false;
                let cut = |(at, at_once): (u64, bool)| at_once || net.now >= at + shutdown_max;
                // What lay in a Unix socket goes with whom it was connected to.
                let kept = !(ledger.unix && ledger.connected);
                let unread = kept && ledger.since < ledger.at_shutdown.min(4096);
                match shutdown {
                    None => wrong = Some("it is closed, and nobody closed it"),
                    Some(when) if unread && !denies && !cut(when) => {
                        wrong = Some("datagrams that had come before shutdown were not received");
                    }
                    Some(when) if cx.core.conns.len() > 0 && !cut(when) => {
                        wrong = Some("shutdown closed it before the last connection had gone");
                    }
                    Some(_) => {}
                }
            }
            let port = ledger.port;
            drop(net);
            if let Some(wrong) = wrong {
                self.complain(format!("@{port}: {wrong}"));
            }
        }
        if shutdown.is_some() && cx.core.conns.len() == 0 && self.mail.alone.is_none() {
            // By UDP each may meet a shortage.
            let udp = self.datagram_ledgers.iter().filter(|ledger| ledger.open && !ledger.unix);
            let waiting = udp.map(|ledger| ledger.waiting.len() as u64).sum::<u64>();
            let posts = self.limits.shutdown_max.min(Duration::from_secs(1));
            let most = LEAVE + nanos(posts) + waiting * 70_000_000;
            self.mail.alone = Some(self.kernel.now().saturating_add(most));
        }
    }

    pub(super) fn mail_at_shutdown(&mut self) {
        let net = self.kernel.state();
        for ledger in &mut self.datagram_ledgers {
            ledger.at_shutdown = net.mail.ports[ledger.port as usize].queue.len();
            ledger.since = 0;
        }
    }

    pub(super) fn mail_at_rest(&mut self, cx: &Context) -> Option<String> {
        let net = self.kernel.state();
        for ledger in self.datagram_ledgers.iter().filter(|ledger| ledger.open) {
            let queued = cx.core.datagrams.is_queued(ledger.id);
            let what = ledger.stall(&net).or_else(|| {
                queued.then(|| "promise 1: on the run queue, and the poll waits".into())
            });
            if let Some(what) = what {
                return Some(format!("@{}: {what}", ledger.port));
            }
        }
        drop(net);
        self.miscounted(cx, false)
    }

    pub(super) fn mail_at_end(&mut self, cx: &Context, now: u64) -> Option<String> {
        if let Some(ledger) = self.datagram_ledgers.iter().find(|ledger| ledger.open) {
            return Some(format!("@{} is open", ledger.port));
        }
        let net = self.kernel.state();
        let busy = net.profile.stopped > 0 || net.worked > 0;
        drop(net);
        let late = self.mail.alone.is_some_and(|until| now > until);
        if late && !busy && !self.datagram_ledgers.is_empty() {
            return Some("shutdown waited for nobody but datagram sockets".into());
        }
        self.miscounted(cx, true)
    }

    /// Whether the counters say something else. `over`: all sockets are closed.
    fn miscounted(&self, cx: &Context, over: bool) -> Option<String> {
        let (stats, mail) = (cx.stats(), &self.mail);
        let told = (
            stats.datagrams_in,
            stats.datagrams_truncated,
            stats.datagrams_out,
            stats.datagram_errors,
        );
        let gone = mail.accepted - mail.sent + mail.no_room;
        let dropped = stats.datagrams_dropped;
        let wrong = told != (mail.received, mail.truncated, mail.sent, mail.errors)
            || if over { dropped != gone } else { dropped > gone };
        wrong.then(|| format!("of datagrams there are {mail:?}, and {stats:?}"))
    }
}
