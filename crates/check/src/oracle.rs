//! Checks the crate's promises at every callback, after every turn, and whenever the world is at rest.
//!
//! It knows three things: what the handler was told and did (it stands between the reactor and the
//! handler), what the simulated kernel took and gave, and what the peers sent and received. The first
//! contradiction is kept and ends the run. Where it cannot know, it allows; what it does not allow
//! is forbidden by a numbered promise, which the complaint names.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::base::close::{CloseReason, Closed};
use crate::base::config::Limits;
use crate::base::id::{ConnId, Origin};
use crate::client::Logs;
use crate::context::Context;
use crate::kernel::link::HERE;
use crate::kernel::trace::What;
use crate::kernel::{Kernel, Moved, Place, State};
use crate::layering::Books;
use crate::net::socket::Socket;
use crate::time::timers::TimerId;

mod calls;
mod close_check;
mod datagrams;
mod layers;
mod pace;
mod quiescent;
mod services;
mod shown;
mod sources;

pub(crate) use shown::Word;
pub(crate) use sources::End;

/// A listener that met a shortage tries again after so long.
const RETRY: u64 = 100_000_000;

/// What ended a connection, as far as the handler's side shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    PeerEnd,
    Local,
    Aborted,
    Handler,
    Panic,
    Detached,
}

/// What is known of one connection.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) id: ConnId,
    /// `on_close` was told, and so many bytes unsent, a source unfinished.
    told: bool,
    unsent: Option<(u64, bool)>,
    /// `on_open` answered an error: no callback comes.
    pub(crate) failed_open: bool,
    /// Bytes consumed, and bytes shown, of what came.
    consumed: u64,
    shown: u64,
    /// Bytes the handler sent and we took, in order; and how many of the last of them, sent by the
    /// broadcast that ended it, we may not have taken.
    pub(crate) sent: Vec<u8>,
    pub(crate) perhaps: u64,
    /// Its sources that have not ended, and all there ever were.
    streams: VecDeque<sources::Stream>,
    probes: Vec<sources::Probe>,
    source_panicked: bool,
    eof: bool,
    pub(crate) paused: bool,
    held: bool,
    finishing: bool,
    /// The handler's side is over: close, abort, an error.
    cause: Option<Cause>,
    /// After how many calls of sockets that was.
    cause_after: u64,
    /// And when it began to leave, at the earliest.
    leaves_from: Option<u64>,
    /// At the end of the last turn it lingered; it did not read.
    lingered: bool,
    stopped: bool,
    /// The handler aborted it, at whatever time.
    aborted: bool,
    /// What the last call consumed and left, and its word about that.
    last: (usize, usize, Word),
    /// Since the last call of `on_data`: resumed; more than low was queued.
    resumed: bool,
    above_low: bool,
    /// At the end of a turn since then there was.
    came_down: bool,
    /// The last call reached `input_max`.
    must_end: bool,
    /// What it is to be shown next, as far as that was made, and from where on.
    expected: VecDeque<u8>,
    expected_from: u64,
    /// `on_drain` was wished for, in this turn, and before it.
    wished: bool,
    wish: bool,
    /// Perhaps it was, before it.
    may_wish: bool,
    /// More than high was queued: it may be owed a drain; at the end of a turn: it is.
    may_drain: bool,
    crossed: bool,
    /// At the end of the last turn: more than high was queued, and has not come down to low.
    resting: bool,
    /// When we saw that it had left `Open`, and when bytes had last moved before that.
    left: Option<u64>,
    /// And since when input lay unread then.
    left_unread: Option<u64>,
    /// When it was opened, and when its `on_open` had returned: how long it is silent is counted from
    /// there.
    begun: u64,
    opened: u64,
    /// When something last came to be owed, after nothing was.
    owed_from: u64,
    /// For what `on_closing` was told that the library closes it.
    closing: Option<CloseReason>,
    /// When bytes had last moved, once it has left `Open`, or is about to.
    moved_then: Option<Moved>,
    /// It was ever paused, held, or may have rested.
    stood: bool,
    /// What it has moved in the windows of `min_rate`.
    pace: pace::Pace,
    /// It is to be reset behind what it was sent.
    resets: bool,
    /// It was paused before the library had decided anything about it.
    paused_in_time: bool,
    /// It is we who connect, since then, for so long, under this tag; until `on_open`.
    connecting: Option<(u64, Duration, u64)>,
    /// It is read from however much is queued.
    full_duplex: bool,
    /// When its timer is due.
    timer: Option<u64>,
    /// Its own idle timeout, if it has one: `MAX`, none at all.
    idle: Option<Duration>,
    /// What the library may have decided by before that was set: it is closed for it all the same.
    idle_before: Duration,
    /// What is left was to be offered when its output had come down.
    left_owing: bool,
    moved: u64,
    /// Bytes read while open, and taken, and when that last grew.
    counts: (u64, u64),
    taken_at: u64,
    owed: bool,
    /// Bytes that had come to our kernel when shutdown began.
    at_shutdown: Option<u64>,
    /// It has a layer, which keeps these; since when, if it came without.
    books: Option<Books>,
    upgraded: Option<u64>,
    /// Bytes read waited for the rest of a record of its layer when it was to be closed.
    left_pending: bool,
    /// Whose it is; and the times that it has by that.
    service: u8,
    idle_of_all: Option<Duration>,
    first_byte: Option<Duration>,
    /// It is handed over, to which service under which tag; and its first one was told.
    handing: Option<(u8, u64)>,
    between: bool,
    /// What its first service had left was not shown to the second yet.
    untold: bool,
    /// When `on_eof` had returned, all before this was gone.
    dropped: u64,
}

impl Ledger {
    fn new(id: ConnId, now: u64, service: u8) -> Self {
        Ledger {
            id,
            told: false,
            unsent: None,
            failed_open: false,
            consumed: 0,
            shown: 0,
            sent: Vec::new(),
            perhaps: 0,
            streams: VecDeque::new(),
            probes: Vec::new(),
            source_panicked: false,
            eof: false,
            paused: false,
            held: false,
            finishing: false,
            cause: None,
            cause_after: 0,
            leaves_from: None,
            lingered: false,
            stopped: false,
            aborted: false,
            last: (0, 0, Word::None),
            resumed: false,
            above_low: false,
            came_down: false,
            must_end: false,
            expected: VecDeque::new(),
            expected_from: 0,
            wished: false,
            wish: false,
            may_wish: false,
            may_drain: false,
            crossed: false,
            resting: false,
            left: None,
            left_unread: None,
            begun: now,
            opened: now,
            owed_from: now,
            closing: None,
            moved_then: None,
            stood: false,
            pace: pace::Pace::default(),
            resets: false,
            paused_in_time: false,
            connecting: None,
            full_duplex: false,
            timer: None,
            idle: None,
            idle_before: Duration::MAX,
            left_owing: false,
            moved: now,
            counts: (0, 0),
            taken_at: now,
            owed: false,
            at_shutdown: None,
            books: None,
            upgraded: None,
            left_pending: false,
            service,
            idle_of_all: None,
            first_byte: None,
            handing: None,
            between: false,
            untold: false,
            dropped: 0,
        }
    }

    /// Its end has a cause, after so many calls of sockets, unless it has one already.
    fn causes(&mut self, cause: Cause, calls: u64, now: u64) {
        // What is done in `on_closing` is no cause any more.
        if self.cause.is_none() && self.closing.is_none() {
            self.cause = Some(cause);
            self.leaves_from.get_or_insert(now);
            self.cause_after = calls;
        }
    }

    /// Whether the handler is still to be called.
    fn is_served(&self) -> bool {
        let is_gone = self.told || self.failed_open || self.handing.is_some();
        self.connecting.is_none() && !is_gone && self.cause.is_none()
    }

    /// Whether a call without new bytes is owed, or allowed.
    fn repeat_owed(&self) -> bool {
        let (consumed, left, word) = self.last;
        consumed > 0 && left > 0 && word == Word::None
    }

    /// When bytes last moved while it was open, and not before this the library may say so.
    fn moved(&self, place: &Place) -> u64 {
        let moved = self.moved_at_end(place);
        // What others sent after the library had decided counts no more.
        let owed_from = if self.closing.is_some() { 0 } else { self.owed_from };
        moved.read.max(moved.written).max(owed_from).max(self.opened)
    }

    /// While it is open: since when the kernel has taken nothing of what is owed. A piece of a source is
    /// owed when it is read, whatever waits behind that.
    fn stalls_from(&self) -> u64 {
        self.taken_at.max(self.owed_from)
    }

    /// When the kernel last took some of what is owed, or it came to be owed.
    fn taken(&self, place: &Place) -> u64 {
        let moved = self.moved_at_end(place);
        moved.written.max(self.owed_from).max(self.begun)
    }

    fn repeat_allowed(&self) -> bool {
        let (_, left, word) = self.last;
        left > 0 && word == Word::None && (self.repeat_owed() || self.resumed || self.above_low)
    }
}

/// What was detached: of which connection, its unread and its unsent bytes.
pub(crate) type Handed = Arc<Mutex<Vec<(u32, Bytes, Bytes)>>>;

/// Sees everything, does nothing.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(crate) struct Oracle {
    kernel: Kernel,
    limits: Limits,
    pub(crate) logs: Logs,
    /// By connection.
    pub(crate) ledgers: Vec<Option<Ledger>>,
    /// Those of them who have not been told to be over.
    live: Vec<u32>,
    /// The first contradiction.
    wrong: Option<String>,
    /// Whose callback runs.
    inside: bool,
    /// When shutdown began; and whether at once.
    shutdown: Option<(u64, bool)>,
    /// The turn in which it was last asked for at once.
    cut_by: Option<u64>,
    /// Who waited at the door then, if there was room for all of them.
    at_door: Vec<u32>,
    /// By number; and whose callback runs, or ran last.
    parts: Vec<services::Part>,
    serving: u8,
    /// A callback may have taken a place that was made for a newcomer.
    takes_places: bool,
    /// Timers of the reactor: when each is due, its period (zero: it fires once), and since `on_timer`
    /// was first told in a turn, in which turn it was set; its tag, and its service.
    timers: BTreeMap<TimerId, (u64, u64, u64, u64, u8)>,
    turn: u64,
    /// The last turn in which `on_timer` was told.
    timer_in: u64,
    /// Posts by number, and those of them that were run.
    posted: u64,
    ran: u64,
    last_run: u64,
    /// Panics of the handler; which callback was the last `on_shutdown`, and whether one of these panicked.
    panics: u64,
    asked_at: u64,
    panicked_when_asked: bool,
    /// Whose `on_open` runs.
    in_open: Option<u32>,
    /// Connects that were told to have failed, and how many ends there had been before shutdown.
    pub(crate) connects_failed: u64,
    ended_before: u64,
    /// Datagram sockets, and what is counted of them.
    datagram_ledgers: Vec<datagrams::DatagramLedger>,
    mail: datagrams::Counts,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) callbacks: u64,
    /// The kernel says WouldBlock without need.
    denies: bool,
    /// All together may hold so little that it comes to that.
    is_crowded: bool,
    /// The longest answer of a handler that asks for no room, and sends to nobody else.
    naive: Option<usize>,
    handed: Handed,
    /// An accepted connection has a layer before its `on_open`; that layer tells the peer's address.
    pub(crate) layered: bool,
    pub(crate) tells_peers: bool,
    /// Nothing may be lost, and no deadline may end anybody.
    pub(crate) tidy: bool,
}

fn has_failed(cx: &Context, id: ConnId) -> bool {
    cx.core.entry(id).is_some_and(|entry| entry.conn.has_failed())
}

/// Bytes sent that the kernel has not taken: with a layer, wire, and what waits for the layer.
fn queued_at(place: &Place, ledger: &Ledger) -> usize {
    let taken = usize::try_from(place.link.halves[HERE].written).unwrap_or(0);
    // What was sent behind a source that has failed is lost.
    let sent = if ledger.is_broken() { ledger.sent.len() } else { ledger.sent_len() };
    let sent = usize::try_from(ledger.wire_of(sent)).unwrap_or(usize::MAX);
    sent - taken.min(sent)
}

/// The same, as it compares with the watermarks: a source is above both.
fn level_at(place: &Place, ledger: &Ledger) -> usize {
    if ledger.streams.is_empty() { queued_at(place, ledger) } else { usize::MAX }
}

fn queued(ledger: &Ledger, net: &State, link: u32) -> usize {
    queued_at(&net.links[link as usize], ledger)
}

impl Oracle {
    pub(crate) fn new(kernel: Kernel, limits: Limits, logs: Logs, tidy: bool) -> Self {
        let denies = kernel.state().profile.would_block > 0;
        Oracle {
            denies,
            is_crowded: limits.buffered_max < 1 << 20,
            kernel,
            limits,
            logs,
            ledgers: Vec::new(),
            live: Vec::new(),
            wrong: None,
            inside: false,
            shutdown: None,
            cut_by: None,
            at_door: Vec::new(),
            parts: vec![services::Part::default()],
            serving: 0,
            takes_places: false,
            timers: BTreeMap::new(),
            turn: 0,
            timer_in: u64::MAX,
            posted: 0,
            ran: 0,
            last_run: 0,
            panics: 0,
            asked_at: 0,
            panicked_when_asked: false,
            in_open: None,
            connects_failed: 0,
            ended_before: 0,
            datagram_ledgers: Vec::new(),
            mail: datagrams::Counts::default(),
            opened: 0,
            closed: 0,
            callbacks: 0,
            naive: None,
            handed: Handed::default(),
            layered: false,
            tells_peers: false,
            tidy,
        }
    }

    pub(crate) fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn ledger(&mut self, link: u32) -> &mut Ledger {
        let ledger = self.ledgers.get_mut(link as usize).and_then(Option::as_mut);
        ledger.expect("an opened connection has a ledger")
    }

    fn owed(&self, link: u32) -> usize {
        let ledger = self.ledgers.get(link as usize).and_then(Option::as_ref);
        ledger.map_or(0, |ledger| queued(ledger, &self.kernel.state(), link))
    }

    fn level(&self, link: u32) -> usize {
        let ledger = self.ledgers.get(link as usize).and_then(Option::as_ref);
        let net = self.kernel.state();
        ledger.map_or(0, |ledger| level_at(&net.links[link as usize], ledger))
    }

    fn note(&self, link: u32, what: &'static str, number: usize) {
        self.kernel.state().note(link, What::Note(what, number as u64));
    }

    // --- Callbacks ------------------------------------------------------------------------------

    /// Which connection of the kernel an id is.
    pub(crate) fn link_of(cx: &Context, id: ConnId) -> Option<u32> {
        match &cx.core.entry(id)?.socket {
            Socket::Sim(stream) => Some(stream.link()),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    pub(crate) fn link_by_id(&self, id: ConnId) -> Option<u32> {
        let by_id = |ledger: &Option<Ledger>| ledger.as_ref().is_some_and(|ledger| ledger.id == id);
        self.ledgers.iter().position(by_id).map(|link| u32::try_from(link).unwrap_or(0))
    }

    /// A callback begins.
    fn enter(&mut self, cx: &Context, id: ConnId, link: u32, what: &'static str, number: usize) {
        self.note(link, what, number);
        self.callbacks += 1;
        if self.inside {
            self.complain(format!("promise 3: {what} of #{link} inside another callback"));
        }
        self.inside = true;
        let Some(Some(ledger)) = self.ledgers.get(link as usize) else {
            return self.complain(format!("promise 3: {what} of #{link} before on_open"));
        };
        let named = ledger.id == id;
        let served = ledger.is_served() && ledger.closing.is_none();
        let of = ledger.service;
        if !named {
            self.complain(format!("promise 3: {what} of #{link} under another's id"));
        }
        if !served {
            self.complain(format!("promise 3: {what} of #{link} after its end"));
        }
        if what != "post_to" && of != self.serving {
            let told = self.serving;
            self.complain(format!(
                "promise 3: {what} of #{link} of service {of} is told to {told}"
            ));
        }
        self.watch_level(cx, link);
    }

    /// A callback ends. `None`: nothing may be asked of the context any more, since that changes how
    /// what was sent leaves.
    pub(crate) fn leave(&mut self, cx: Option<&Context>, link: u32, failed: bool) {
        self.inside = false;
        let opens = self.in_open.take().is_some();
        if let Some(cx) = cx {
            self.watch_level(cx, link);
        }
        let now = self.kernel.now();
        let ledger = self.ledger(link);
        if opens {
            (ledger.opened, ledger.moved) = (now, now);
            // A handshake that it began has its time from here on.
            ledger.upgraded = ledger.upgraded.map(|_| now);
        }
        if failed {
            self.causes(link, Cause::Handler);
        } else if ledger.eof && ledger.finishing {
            // Both sides have ended.
            self.causes(link, Cause::Local);
        }
    }

    fn causes(&mut self, link: u32, cause: Cause) {
        let net = self.kernel.state();
        let (calls, now) = (net.calls, net.now);
        drop(net);
        self.ledger(link).causes(cause, calls, now);
    }

    /// From how much output on one may rest, and is owed a drain then.
    fn rests_from(&self) -> usize {
        if self.is_crowded { self.limits.output_low + 1 } else { self.limits.output_high }
    }

    /// Compares what is queued with what is said to be, and with the watermarks.
    fn watch_level(&mut self, cx: &Context, link: u32) {
        self.catch_up(link);
        let net = self.kernel.state();
        let (rests, low) = (self.rests_from(), self.limits.output_low);
        let Some(Some(ledger)) = self.ledgers.get_mut(link as usize) else { return };
        let queued = queued(ledger, &net, link);
        let level = level_at(&net.links[link as usize], ledger);
        drop(net);
        ledger.may_drain |= level >= rests;
        ledger.above_low |= level > low;
        let open = ledger.cause.is_none() && Self::takes_sends(cx, ledger.id);
        let said = cx.core.queued(ledger.id);
        if open && said != queued {
            self.complain(format!("promise 2: #{link} owes {queued} bytes, queued() says {said}"));
        }
    }

    pub(crate) fn open(&mut self, cx: &Context, id: ConnId, origin: Origin) -> u32 {
        let link = Self::link_of(cx, id).unwrap_or(0);
        let now = self.kernel.now();
        if self.ledgers.len() <= link as usize {
            self.ledgers.resize_with(link as usize + 1, || None);
        }
        let connected = match (&mut self.ledgers[link as usize], origin) {
            (Some(_), Origin::HandedOver(tag)) => self.takes_over(cx, id, link, tag),
            (Some(ledger), Origin::Connected(tag)) => {
                // Every wait begins here, not when it set out.
                (ledger.begun, ledger.moved, ledger.taken_at) = (now, now, now);
                ledger.connecting.take().map(|of| of.2) == Some(tag) && ledger.id == id
            }
            _ => false,
        };
        if !connected {
            if self.ledgers[link as usize].is_some() {
                self.complain(format!("promise 3: on_open of #{link} twice"));
            }
            if self.link_by_id(id).is_some() {
                self.complain(format!("promise 3: the id {id} was another's"));
            }
            let service = match origin {
                Origin::Accepted(listener) => self.service_at(listener),
                Origin::Adopted(tag) => u8::try_from(tag % self.parts.len() as u64).unwrap_or(0),
                Origin::Connected(_) | Origin::HandedOver(_) => self.serving,
            };
            let mut ledger = Ledger::new(id, now, service);
            self.set_patience(&mut ledger);
            self.ledgers[link as usize] = Some(ledger);
            self.live.push(link);
            self.find_books(cx, id, link);
        }
        if self.ledger(link).is_shaking() {
            self.complain(format!("#{link} is opened in its handshake"));
        }
        self.opened += 1;
        // With a layer that was when its handshake began.
        if matches!(origin, Origin::Accepted(_))
            && self.parts[usize::from(self.serving)].accepts_none
            && self.shutdown.is_none()
            && !self.ledger(link).is_layered()
        {
            self.complain(format!("#{link} was accepted while accepting is paused"));
        }
        self.enter(cx, id, link, "on_open", 0);
        let (from, neighbours) = {
            let place = &self.kernel.state().links[link as usize];
            (place.from.clone(), place.neighbours)
        };
        // With a layer that is asked when the place is there: one that was reclaimed for it may
        // have been of its address.
        let reclaims = self.limits.reclaim_idle.is_some() && self.ledger(link).is_layered();
        if let (Some(neighbours), Some(most)) = (neighbours, self.limits.connections_per_address)
            && neighbours >= most
            && !reclaims
            && !self.is_told(cx, id)
        {
            self.complain(format!("promise 4: #{link} is one more of {from} than the limit"));
        }
        let told = cx.core.entry(id).map(|entry| entry.peer.address());
        if matches!(origin, Origin::Accepted(_))
            && told.as_ref() != Some(&from)
            && !self.is_told(cx, id)
        {
            self.complain(format!("#{link} comes from {from}, and that is told as {told:?}"));
        }
        if self.is_told(cx, id) {
            self.check_told(cx, id, link);
        }
        if matches!(origin, Origin::Accepted(_)) && !self.ledger(link).is_layered() {
            self.check_place(cx, link, self.serving);
        }
        self.in_open = Some(link);
        if self.open_now(cx) > self.limits.connections {
            self.complain("promise 4: more connections than the limit".into());
        }
        link
    }

    fn open_now(&self, cx: &Context) -> usize {
        let is_open = |ledger: &&Ledger| {
            // One that has ended between two services leaves its place, and no service is told.
            let is_gone = ledger.between && cx.core.entry(ledger.id).is_none();
            !ledger.told && !ledger.failed_open && !is_gone
        };
        self.ledgers.iter().flatten().filter(is_open).count()
    }

    pub(crate) fn drain(&mut self, cx: &Context, id: ConnId, link: u32) {
        self.enter(cx, id, link, "on_drain", 0);
        // When a layer has failed, sources are dropped.
        let failed = self.ledger(link).layer_failed();
        let queued = if failed { self.owed(link) } else { self.level(link) };
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let owed = ledger.wish || ledger.may_drain || ledger.may_wish;
        (ledger.wish, ledger.may_drain, ledger.crossed) = (false, false, false);
        if !owed {
            self.complain(format!("promise 5: on_drain of #{link} that nobody is owed (yet)"));
        }
        if queued > low && !has_failed(cx, id) {
            self.complain(format!("promise 5: on_drain of #{link} with {queued} bytes queued"));
        }
    }

    pub(crate) fn timeout(&mut self, cx: &Context, id: ConnId, link: u32) {
        self.enter(cx, id, link, "on_timeout", 0);
        let now = self.kernel.now();
        match self.ledger(link).timer.take() {
            None => self.complain(format!("on_timeout of #{link} that nobody has set")),
            Some(due) if due > now => self.complain(format!("on_timeout of #{link} is early")),
            Some(_) => {}
        }
    }

    pub(crate) fn close(&mut self, cx: &mut Context, id: ConnId, link: u32, closed: &Closed) {
        self.note(link, "on_close", usize::try_from(closed.unsent).unwrap_or(usize::MAX));
        self.callbacks += 1;
        self.closed += 1;
        if self.inside {
            self.complain(format!("promise 3: on_close of #{link} inside another callback"));
        }
        if cx.conn(id).is_some() {
            self.complain(format!("promise 3: the id of #{link} is not stale in on_close"));
        }
        self.catch_up(link);
        let ledger = self.ledger(link);
        let own = ledger.service == closed.service;
        let (named, twice, failed) = (ledger.id == id && own, ledger.told, ledger.failed_open);
        ledger.told = true;
        ledger.unsent = Some((closed.unsent, closed.unfinished));
        if !named || twice || failed || closed.service != self.serving {
            self.complain(format!("promise 3: on_close of #{link} is not due"));
        }
        if let Some(what) = self.contradiction(link, closed) {
            self.complain(format!("promise 2: #{link}: {closed}: {what}"));
        }
    }
}

/// An error for a handler to answer.
pub(crate) fn planned() -> io::Error {
    io::Error::other("as planned")
}
