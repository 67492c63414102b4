//! Checks the crate's promises at every callback, after every turn, and whenever the world is at rest.
//!
//! It knows three things: what the handler was told and did (it stands between the reactor and the
//! handler), what the simulated kernel took and gave, and what the peers sent and received. The first
//! contradiction is kept and ends the run. Where it cannot know, it allows; what it does not allow
//! is forbidden by a numbered promise, which the complaint names.

use std::io;
use std::time::Duration;

use crate::close::{CloseReason, Closed};
use crate::config::Limits;
use crate::conn::Phase;
use crate::context::Context;
use crate::flags::Flags;
use crate::id::ConnId;
use crate::input::Input;
use crate::kernel::link::{HERE, THERE};
use crate::kernel::trace::What;
use crate::kernel::{Kernel, State, nanos};
use crate::sim::client::{Logs, byte};
use crate::socket::Socket;

/// A deadline may be met so much later: the poll's rounding, and the calls of a turn.
const SLACK: u64 = 2_000_000;

/// The handler's last word about its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It did not wait.
    None,
    /// For the end of a line.
    Line,
    /// For so many bytes in all.
    Bytes(usize),
}

/// What ended a connection, as far as the handler's side shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    PeerEnd,
    Local,
    Aborted,
    Handler,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) id: ConnId,
    /// `on_close` was told.
    told: bool,
    /// `on_open` answered an error: no callback comes.
    pub(super) failed_open: bool,
    /// Bytes consumed, and bytes shown, of what came.
    consumed: u64,
    shown: u64,
    /// Bytes the handler sent and we took, in order.
    pub(super) sent: Vec<u8>,
    eof: bool,
    pub(super) paused: bool,
    held: bool,
    finishing: bool,
    /// The handler's side is over: close, abort, an error.
    cause: Option<Cause>,
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
    /// `on_drain` was wished for, in this turn, and before it.
    wished: bool,
    wish: bool,
    /// More than high was queued: it may be owed a drain; at the end of a turn: it is.
    may_drain: bool,
    crossed: bool,
    /// At the end of the last turn: more than high was queued, and has not come down to low.
    resting: bool,
    /// When we saw that it had left `Open`, and when bytes had last moved before that.
    left: Option<u64>,
    /// And since when input lay unread then.
    left_unread: Option<u64>,
    moved: u64,
    /// Bytes read while open, and taken, and when that last grew.
    counts: (u64, u64),
    taken_at: u64,
    owed: bool,
    /// Bytes that had come to our kernel when shutdown began.
    at_shutdown: Option<u64>,
}

impl Ledger {
    fn new(id: ConnId, now: u64) -> Self {
        Ledger {
            id,
            told: false,
            failed_open: false,
            consumed: 0,
            shown: 0,
            sent: Vec::new(),
            eof: false,
            paused: false,
            held: false,
            finishing: false,
            cause: None,
            aborted: false,
            last: (0, 0, Word::None),
            resumed: false,
            above_low: false,
            came_down: false,
            must_end: false,
            wished: false,
            wish: false,
            may_drain: false,
            crossed: false,
            resting: false,
            left: None,
            left_unread: None,
            moved: now,
            counts: (0, 0),
            taken_at: now,
            owed: false,
            at_shutdown: None,
        }
    }

    /// Whether the handler is still to be called.
    fn is_served(&self) -> bool {
        !self.told && self.cause.is_none() && !self.failed_open
    }

    /// Whether a call without new bytes is owed, or allowed.
    fn repeat_owed(&self) -> bool {
        let (consumed, left, word) = self.last;
        consumed > 0 && left > 0 && word == Word::None
    }

    fn repeat_allowed(&self) -> bool {
        let (_, left, word) = self.last;
        left > 0 && word == Word::None && (self.repeat_owed() || self.resumed || self.above_low)
    }
}

/// Sees everything, does nothing.
#[derive(Debug)]
pub(super) struct Oracle {
    kernel: Kernel,
    limits: Limits,
    pub(super) logs: Logs,
    /// By connection.
    pub(super) ledgers: Vec<Option<Ledger>>,
    /// The first contradiction.
    wrong: Option<String>,
    /// Whose callback runs.
    inside: bool,
    /// When shutdown began; and whether at once.
    shutdown: Option<(u64, bool)>,
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) callbacks: u64,
    /// Nothing may be lost, and no deadline may end anybody.
    pub(super) tidy: bool,
}

fn has_failed(cx: &Context, id: ConnId) -> bool {
    cx.core.tenant(id).is_some_and(|tenant| tenant.conn.has_failed())
}

/// Bytes sent that the kernel has not taken.
fn queued(ledger: &Ledger, net: &State, link: u32) -> usize {
    let taken = net.links[link as usize].link.halves[HERE].written;
    ledger.sent.len() - usize::try_from(taken).unwrap_or(0).min(ledger.sent.len())
}

impl Oracle {
    pub(super) fn new(kernel: Kernel, limits: Limits, logs: Logs, tidy: bool) -> Self {
        Oracle {
            kernel,
            limits,
            logs,
            ledgers: Vec::new(),
            wrong: None,
            inside: false,
            shutdown: None,
            opened: 0,
            closed: 0,
            callbacks: 0,
            tidy,
        }
    }

    pub(super) fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }

    pub(super) fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(super) fn ledger(&mut self, link: u32) -> &mut Ledger {
        let ledger = self.ledgers.get_mut(link as usize).and_then(Option::as_mut);
        ledger.expect("an opened connection has a ledger")
    }

    fn owed(&self, link: u32) -> usize {
        let ledger = self.ledgers.get(link as usize).and_then(Option::as_ref);
        ledger.map_or(0, |ledger| queued(ledger, &self.kernel.state(), link))
    }

    fn note(&self, link: u32, what: &'static str, number: usize) {
        self.kernel.state().note(link, What::Note(what, number as u64));
    }

    // --- Callbacks ------------------------------------------------------------------------------

    /// Which connection of the kernel an id is.
    pub(super) fn link_of(cx: &Context, id: ConnId) -> Option<u32> {
        match &cx.core.tenant(id)?.socket {
            Socket::Sim(stream) => Some(stream.link()),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    pub(super) fn link_by_id(&self, id: ConnId) -> Option<u32> {
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
        let served = ledger.is_served();
        if !named {
            self.complain(format!("promise 3: {what} of #{link} under another's id"));
        }
        if !served {
            self.complain(format!("promise 3: {what} of #{link} after its end"));
        }
        self.watch_level(cx, link);
    }

    /// A callback ends. `None`: nothing may be asked of the context any more, since that changes how
    /// what was sent leaves.
    pub(super) fn leave(&mut self, cx: Option<&Context>, link: u32, failed: bool) {
        self.inside = false;
        if let Some(cx) = cx {
            self.watch_level(cx, link);
        }
        let ledger = self.ledger(link);
        if failed {
            ledger.cause.get_or_insert(Cause::Handler);
        } else if ledger.eof && ledger.finishing {
            // Both sides have ended.
            ledger.cause.get_or_insert(Cause::Local);
        }
    }

    /// Compares what is queued with what is said to be, and with the watermarks.
    fn watch_level(&mut self, cx: &Context, link: u32) {
        let net = self.kernel.state();
        let limits = self.limits.clone();
        let Some(Some(ledger)) = self.ledgers.get_mut(link as usize) else { return };
        let queued = queued(ledger, &net, link);
        drop(net);
        ledger.may_drain |= queued > limits.output_high;
        ledger.above_low |= queued > limits.output_low;
        let open = ledger.cause.is_none() && cx.is_open(ledger.id);
        let said = cx.queued(ledger.id);
        if open && said != queued {
            self.complain(format!("promise 2: #{link} owes {queued} bytes, queued() says {said}"));
        }
    }

    pub(super) fn open(&mut self, cx: &Context, id: ConnId) -> u32 {
        let link = Self::link_of(cx, id).unwrap_or(0);
        let now = self.kernel.now();
        if self.ledgers.len() <= link as usize {
            self.ledgers.resize_with(link as usize + 1, || None);
        }
        if self.ledgers[link as usize].is_some() {
            self.complain(format!("promise 3: on_open of #{link} twice"));
        }
        if self.link_by_id(id).is_some() {
            self.complain(format!("promise 3: the id {id} was another's"));
        }
        self.ledgers[link as usize] = Some(Ledger::new(id, now));
        self.opened += 1;
        self.enter(cx, id, link, "on_open", 0);
        if self.open_now() > self.limits.connections {
            self.complain("promise 4: more connections than the limit".into());
        }
        link
    }

    fn open_now(&self) -> usize {
        self.ledgers.iter().flatten().filter(|ledger| !ledger.told && !ledger.failed_open).count()
    }

    fn check_window(&mut self, link: u32, input: &Input<'_>) {
        let net = self.kernel.state();
        let half = &net.links[link as usize].link.halves[THERE];
        let read = half.read;
        drop(net);
        let window = input.bytes();
        let seen = input.seen();
        let max = self.limits.input_max;
        let ledger = self.ledger(link);
        let begin = ledger.consumed;
        let wanted = usize::try_from(ledger.shown - begin).unwrap_or(0);
        ledger.shown = ledger.shown.max(begin + window.len() as u64);
        let wrong = (begin..).zip(window).find(|(at, b)| byte(link, *at) != **b);
        if let Some((at, _)) = wrong {
            self.complain(format!("promise 2: #{link} is shown another byte at {at}"));
        }
        if begin + window.len() as u64 != read {
            let have = window.len();
            self.complain(format!(
                "promise 2: #{link} is shown {have} bytes from {begin} on, of {read} that were read"
            ));
        }
        if seen != wanted {
            self.complain(format!(
                "promise 2: #{link} has seen {wanted} bytes, seen() says {seen}"
            ));
        }
        if window.len() > max {
            let have = window.len();
            self.complain(format!("promise 4: #{link} is shown {have} bytes, {max} is the limit"));
        }
    }

    pub(super) fn data(&mut self, cx: &Context, id: ConnId, link: u32, input: &Input<'_>) {
        self.enter(cx, id, link, "on_data", input.len());
        self.check_window(link, input);
        let new = input.len() - input.seen();
        let queued = self.owed(link);
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let repeat = ledger.repeat_allowed();
        let word = ledger.last.2;
        let (paused, resting, eof) = (ledger.paused, ledger.resting, ledger.eof);
        let ended = ledger.must_end;
        ledger.came_down = false;
        ledger.resumed = false;
        ledger.above_low = queued > low;
        if new == 0 && !repeat {
            self.complain(format!("again: #{link} is called without new bytes and without need"));
        }
        if let Word::Bytes(n) = word
            && input.len() < n
        {
            let have = input.len();
            self.complain(format!("again: #{link} waits for {n} bytes and is shown {have}"));
        }
        if ended {
            self.complain(format!("promise 4: #{link} is called beyond input_max"));
        }
        if paused {
            self.complain(format!("#{link} is shown input while it is paused"));
        }
        let dipped = self.kernel.state().links[link as usize].dipped;
        if resting && queued > low && !dipped && !has_failed(cx, id) {
            self.complain(format!("promise 5: #{link} is read from while it owes {queued} bytes"));
        }
        if eof {
            self.complain(format!("promise 3: on_data of #{link} after on_eof"));
        }
    }

    /// What a call of `on_data` did with its input.
    pub(super) fn consumed(&mut self, link: u32, consumed: usize, left: usize, word: Word) {
        let (max, owed) = (self.limits.input_max, self.owed(link));
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        ledger.consumed += consumed as u64;
        ledger.last = (consumed, left, word);
        ledger.must_end = match word {
            Word::Bytes(n) => n > max,
            Word::None | Word::Line => {
                left >= max && consumed == 0 && !ledger.paused && owed <= low
            }
        };
    }

    pub(super) fn eof(&mut self, cx: &Context, id: ConnId, link: u32, rest: &Input<'_>) {
        self.enter(cx, id, link, "on_eof", rest.len());
        self.check_window(link, rest);
        let net = self.kernel.state();
        let half = &net.links[link as usize].link.halves[THERE];
        let early = !half.fin_arrived && !net.links[link as usize].link.ends[HERE].dead;
        let unread = half.arrived.len();
        let dipped = net.links[link as usize].dipped;
        let queued = queued(self.ledgers[link as usize].as_ref().expect("entered"), &net, link);
        drop(net);
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let (twice, paused, resting) = (ledger.eof, ledger.paused, ledger.resting);
        let owed = ledger.repeat_owed();
        ledger.eof = true;
        ledger.last = (0, 0, Word::None);
        if early || unread > 0 {
            self.complain(format!("promise 2: on_eof of #{link} with {unread} bytes unread"));
        }
        if twice {
            self.complain(format!("promise 3: on_eof of #{link} twice"));
        }
        if paused || (resting && queued > low && !dipped && !has_failed(cx, id)) {
            self.complain(format!("on_eof of #{link} while it does not read"));
        }
        if owed {
            self.complain(format!("again: on_eof of #{link} before all was offered"));
        }
    }

    pub(super) fn drain(&mut self, cx: &Context, id: ConnId, link: u32) {
        self.enter(cx, id, link, "on_drain", 0);
        let queued = self.owed(link);
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let owed = ledger.wish || ledger.may_drain;
        (ledger.wish, ledger.may_drain, ledger.crossed) = (false, false, false);
        if !owed {
            self.complain(format!("promise 5: on_drain of #{link} that nobody is owed (yet)"));
        }
        if queued > low {
            self.complain(format!("promise 5: on_drain of #{link} with {queued} bytes queued"));
        }
    }

    pub(super) fn close(&mut self, cx: &Context, id: ConnId, link: u32, closed: &Closed) {
        self.note(link, "on_close", usize::try_from(closed.unsent).unwrap_or(usize::MAX));
        self.callbacks += 1;
        self.closed += 1;
        if self.inside {
            self.complain(format!("promise 3: on_close of #{link} inside another callback"));
        }
        if cx.is_open(id) || cx.queued(id) > 0 || cx.peer_addr(id).is_some() {
            self.complain(format!("promise 3: the id of #{link} is not stale in on_close"));
        }
        let ledger = self.ledger(link);
        let (named, twice, failed) = (ledger.id == id, ledger.told, ledger.failed_open);
        ledger.told = true;
        if !named || twice || failed {
            self.complain(format!("promise 3: on_close of #{link} is not due"));
        }
        if let Some(what) = self.contradiction(link, closed) {
            self.complain(format!("promise 2: #{link}: {closed}: {what}"));
        }
    }

    /// What speaks against an account of how a connection ended.
    fn contradiction(&self, link: u32, closed: &Closed) -> Option<String> {
        let ledger = self.ledgers[link as usize].as_ref()?;
        let net = self.kernel.state();
        let place = &net.links[link as usize];
        let (now, limits) = (net.now, &self.limits);
        let taken = place.link.halves[HERE].written;
        let owed = ledger.sent.len() as u64 - taken.min(ledger.sent.len() as u64);
        if closed.unsent != owed {
            return Some(format!("{} were sent, {taken} taken", ledger.sent.len()));
        }
        let incoming = &place.link.halves[THERE];
        let ended = incoming.fin_arrived && incoming.arrived.is_empty();
        let read = ledger.counts.0;
        let failed = place.failed_at.is_some();
        if closed.clean && (owed > 0 || !ended) {
            return Some("clean, but not all was taken, or the peer has not ended".into());
        }
        if place.file_is_open() {
            return Some("the descriptor is not freed".into());
        }
        let after = |from: Option<u64>, wait: Duration| {
            from.is_some_and(|from| now >= from.saturating_add(nanos(wait)))
        };
        let by_handler = |cause| ledger.cause == Some(cause);
        let left = ledger.left.unwrap_or(now);
        let reason_is_true = match &closed.reason {
            CloseReason::PeerEnd => by_handler(Cause::PeerEnd),
            CloseReason::Local => by_handler(Cause::Local),
            CloseReason::Aborted => by_handler(Cause::Aborted),
            CloseReason::Handler(_) => by_handler(Cause::Handler),
            CloseReason::Io(_) => failed,
            CloseReason::InputLimit => {
                let (_, kept, word) = ledger.last;
                kept >= limits.input_max || matches!(word, Word::Bytes(n) if n > limits.input_max)
            }
            CloseReason::OutputLimit => owed > limits.output_max as u64,
            CloseReason::Idle => {
                // Unless the kernel denied that it had anything.
                let denied = net.profile.would_block > 0;
                if !denied && ledger.left_unread.is_some_and(|since| since + SLACK < left) {
                    return Some("idle, while input lay unread".into());
                }
                let idle = limits.idle.map_or(u64::MAX, nanos);
                left >= ledger.moved.saturating_add(idle)
            }
            CloseReason::WriteStall => {
                let stall = nanos(limits.write_stall);
                owed > 0 && left.saturating_add(SLACK) >= ledger.taken_at.saturating_add(stall)
            }
            CloseReason::Shutdown => self.shutdown.is_some(),
        };
        if !reason_is_true {
            return Some(format!("the reason is another: {ledger:?}"));
        }
        if ledger.cause.is_some()
            && !failed
            && self.shutdown.is_none_or(|(_, now)| !now)
            && matches!(closed.reason, CloseReason::Idle | CloseReason::WriteStall)
        {
            return Some(format!("the first cause is another: {:?}", ledger.cause));
        }
        // What a deadline, a reset and a failure may end is not clean; nothing else is cut.
        let expired = owed > limits.output_max as u64
            || after(place.fin_at, limits.linger)
            || after(ledger.left, limits.close_max)
            || after(Some(ledger.taken_at), limits.write_stall)
            || self
                .shutdown
                .is_some_and(|(at, at_once)| at_once || after(Some(at), limits.shutdown_max));
        let cut = matches!(
            closed.reason,
            CloseReason::Aborted
                | CloseReason::Io(_)
                | CloseReason::Idle
                | CloseReason::WriteStall
                | CloseReason::OutputLimit
        );
        if !closed.clean && !cut && !failed && !expired && !ledger.aborted {
            return Some("not clean, and nothing happened to it".into());
        }
        if closed.clean && failed {
            return Some("clean after a failure".into());
        }
        if let (CloseReason::Shutdown, Some((at, false)), Some(had)) =
            (&closed.reason, self.shutdown, ledger.at_shutdown)
        {
            let in_time = now < at.saturating_add(nanos(limits.shutdown_max));
            if in_time && !failed && !expired && !ledger.aborted {
                let denied = net.profile.would_block > 0;
                if read < had && !denied {
                    let what = format!("{had} bytes had come before shutdown, {read} were read");
                    return Some(what);
                }
                if ledger.paused || ledger.held || ledger.wish || ledger.repeat_owed() {
                    return Some("shutdown was to wait for it".into());
                }
            }
        }
        None
    }

    // --- What the handler does ------------------------------------------------------------------

    /// Bytes were accepted for a connection.
    pub(super) fn sent(&mut self, cx: &Context, link: u32, bytes: &[u8]) {
        self.sent_unseen(link, bytes);
        self.watch_level(cx, link);
    }

    /// The same, and nothing is asked of the context.
    pub(super) fn sent_unseen(&mut self, link: u32, bytes: &[u8]) {
        let low = self.limits.output_low as u64;
        let ledger = self.ledger(link);
        ledger.sent.extend_from_slice(bytes);
        let sent = ledger.sent.len() as u64;
        let mut net = self.kernel.state();
        net.links[link as usize].owes = (sent, low);
        net.note(link, What::Note("send()", bytes.len() as u64));
        drop(net);
        let owed = self.owed(link);
        let limits = self.limits.clone();
        let ledger = self.ledger(link);
        ledger.may_drain |= owed > limits.output_high;
        ledger.above_low |= owed > limits.output_low;
    }

    pub(super) fn wish(&mut self, cx: &Context, link: u32) {
        let ledger = self.ledger(link);
        ledger.wished |= cx.is_open(ledger.id);
        self.note(link, "want_drain()", 0);
    }

    /// The handler stops or restarts reading.
    pub(super) fn reads(&mut self, cx: &Context, link: u32, reads: bool) {
        let ledger = self.ledger(link);
        // It changes nothing for one that ends already.
        if Self::is_open(cx, ledger.id) {
            ledger.resumed |= reads && ledger.paused;
            ledger.paused = !reads;
        }
        self.note(link, if reads { "resume()" } else { "pause()" }, 0);
    }

    fn is_open(cx: &Context, id: ConnId) -> bool {
        cx.core.tenant(id).is_some_and(|tenant| tenant.conn.phase() == Phase::Open)
    }

    pub(super) fn hold(&mut self, link: u32, hold: bool) {
        self.ledger(link).held = hold;
        self.note(link, "hold()", usize::from(hold));
    }

    /// The handler closes, or aborts, a connection.
    pub(super) fn ends(&mut self, cx: &Context, link: u32, abort: bool) {
        self.note(link, if abort { "abort()" } else { "close()" }, 0);
        let ledger = self.ledger(link);
        ledger.aborted |= abort;
        if !Self::is_open(cx, ledger.id) {
            // It ends already, for a reason that stays.
            return;
        }
        let cause = match (abort, ledger.eof && !ledger.finishing) {
            (true, _) => Cause::Aborted,
            (false, true) => Cause::PeerEnd,
            (false, false) => Cause::Local,
        };
        ledger.cause.get_or_insert(cause);
    }

    pub(super) fn finishes(&mut self, cx: &Context, link: u32) {
        let ledger = self.ledger(link);
        if ledger.eof {
            return self.ends(cx, link, false);
        }
        ledger.finishing = true;
        self.note(link, "finish()", 0);
    }

    /// Shutdown was asked for. What has come to our kernel by then is to be answered.
    pub(super) fn shutdown(&mut self, at_once: bool) {
        let net = self.kernel.state();
        let now = net.now;
        match &mut self.shutdown {
            None => {
                self.shutdown = Some((now, at_once));
                for (link, ledger) in self.ledgers.iter_mut().enumerate() {
                    if let Some(ledger) = ledger {
                        let half = &net.links[link].link.halves[THERE];
                        ledger.at_shutdown = Some(half.read + half.arrived.len() as u64);
                    }
                }
            }
            Some((_, now)) => *now |= at_once,
        }
    }

    pub(super) fn shutdown_begins(&mut self) {
        self.note(u32::MAX, "on_shutdown", 0);
        // Who waited at the door was let in before the run queue is served.
        for ledger in self.ledgers.iter_mut().flatten() {
            ledger.wish |= ledger.wished;
        }
        self.callbacks += 1;
        if self.inside || self.shutdown.is_none() {
            self.complain("promise 3: on_shutdown is not due".into());
        }
    }

    // --- After a turn, and at rest --------------------------------------------------------------

    /// After every turn of the loop.
    pub(super) fn after_turn(&mut self, cx: &Context) {
        let mut wrong = None;
        let mut net = self.kernel.state();
        let limits = &self.limits;
        for (link, ledger) in self.ledgers.iter_mut().enumerate() {
            let Some(ledger) = ledger else { continue };
            if ledger.told {
                continue;
            }
            let number = u32::try_from(link).unwrap_or(0);
            let queued = queued(ledger, &net, number);
            let counts = (
                net.links[link].link.halves[THERE].read,
                net.links[link].link.halves[HERE].written,
            );
            let tenant = cx.core.tenant(ledger.id);
            let open = Self::is_open(cx, ledger.id);
            if ledger.left.is_none() {
                if !open {
                    ledger.left = Some(net.now);
                    if !ledger.paused && queued <= limits.output_low {
                        ledger.left_unread = net.links[link].unread_since;
                    }
                } else if counts != ledger.counts || (queued > 0 && !ledger.owed) {
                    // What comes to be owed counts, too.
                    ledger.moved = net.now;
                }
            }
            if counts.1 != ledger.counts.1 || queued == 0 || !ledger.owed {
                ledger.taken_at = net.now;
            }
            ledger.owed = queued > 0;
            if ledger.left.is_none_or(|left| left == net.now) {
                ledger.counts.0 = counts.0;
            }
            ledger.counts.1 = counts.1;
            let failed = tenant.is_some_and(|tenant| tenant.conn.has_failed());
            ledger.wish |= std::mem::take(&mut ledger.wished);
            if queued > limits.output_max && open && !failed {
                wrong = Some(format!("promise 4: #{link} owes {queued} bytes and is open"));
            }
            let dipped = std::mem::take(&mut net.links[link].dipped);
            if queued > limits.output_high {
                ledger.resting = true;
                ledger.may_drain = true;
                ledger.crossed = open && !ledger.finishing && !failed;
            } else if queued <= limits.output_low || dipped {
                ledger.resting = false;
            }
            ledger.above_low |= queued > limits.output_low;
            ledger.came_down |= queued > limits.output_low;
        }
        drop(net);
        if let Some(wrong) = wrong {
            self.complain(wrong);
        }
    }

    /// When nothing moves any more but by a deadline: nobody is kept waiting by us.
    pub(super) fn at_rest(&mut self, cx: &Context) {
        let net = self.kernel.state();
        let mut wrong = None;
        for (link, ledger) in self.ledgers.iter().enumerate() {
            let Some(ledger) = ledger else { continue };
            if ledger.told || ledger.failed_open {
                continue;
            }
            let number = u32::try_from(link).unwrap_or(0);
            if let Some(what) = self.stall(cx, &net, number, ledger) {
                wrong = Some(format!("#{link}: {what}"));
                break;
            }
        }
        let full = cx.core.conns.is_full();
        let short = net.open_files() as u64 >= net.descriptors() || net.profile.accept_error > 0;
        let resting =
            cx.core.resting_listeners > 0 && (full || short || net.profile.watch_error > 0);
        if net.waiting() > 0 && !resting {
            wrong = Some(format!("promise 6: {} wait to be accepted", net.waiting()));
        }
        drop(net);
        if let Some(wrong) = wrong {
            self.complain(format!("at rest, {wrong}"));
        }
    }

    /// What a connection is kept waiting for.
    fn stall(&self, cx: &Context, net: &State, link: u32, ledger: &Ledger) -> Option<String> {
        let limits = &self.limits;
        let place = &net.links[link as usize];
        let incoming = &place.link.halves[THERE];
        let Some(tenant) = cx.core.tenant(ledger.id) else {
            return Some("promise 3: it is gone, and on_close was not told".into());
        };
        let phase = tenant.conn.phase();
        let queued = queued(ledger, net, link);
        let unread = incoming.arrived.len();
        let failed_at = place.failed_at.unwrap_or(0);
        let late = |from: u64, wait: Duration| {
            net.now > from.saturating_add(nanos(wait)).saturating_add(SLACK)
        };
        if queued > 0 && !place.link.is_blocked(HERE) && !tenant.conn.has_failed() {
            return Some(format!("promise 1: {queued} bytes are owed, and there is room for them"));
        }
        match phase {
            Phase::Open => {
                if !ledger.is_served() {
                    return Some(format!("it was ended ({:?}) and is open", ledger.cause));
                }
                // Between the watermarks only we know whether it rests.
                let stopped = ledger.paused || queued > limits.output_low;
                if !stopped && unread > 0 {
                    return Some(format!("promise 1: {unread} bytes lie unread"));
                }
                // After the end no read tells of a reset (`tcp_recvmsg`, `SOCK_DONE`), only a write.
                let noticed = !ledger.eof;
                if !stopped && noticed && place.link.ends[HERE].dead {
                    return Some("promise 1: a reset lies unread".into());
                }
                if !stopped && incoming.fin_arrived && !ledger.eof {
                    return Some("promise 1: the end lies unread".into());
                }
                if !stopped && ledger.repeat_owed() {
                    return Some("again: a repeat is owed".into());
                }
                let left = ledger.last.1 > 0 && ledger.last.2 == Word::None && !ledger.eof;
                if !stopped && left && ledger.resumed {
                    return Some("again: resumed, and what is left was not offered".into());
                }
                if !stopped && left && ledger.came_down {
                    let what = "again: output came down, and what is left was not offered";
                    return Some(what.into());
                }
                if ledger.must_end && !tenant.conn.has_failed() {
                    return Some("promise 4: input_max is reached, and it goes on".into());
                }
                let low = queued <= limits.output_low;
                let failed = tenant.conn.has_failed();
                if low && !failed && ledger.wish && !ledger.finishing {
                    return Some("promise 5: a wished-for on_drain was not told".into());
                }
                if low && !failed && ledger.crossed && !ledger.finishing {
                    return Some("promise 5: output came down, and on_drain was not told".into());
                }
                let moved = ledger.moved.max(failed_at);
                if let Some(idle) = limits.idle
                    && late(moved, idle)
                {
                    return Some("idle for longer than allowed".into());
                }
                if queued > 0 && late(ledger.taken_at.max(failed_at), limits.write_stall) {
                    return Some("it stalls for longer than allowed".into());
                }
                if ledger.finishing && queued == 0 && !place.link.halves[HERE].fin && !failed {
                    return Some("promise 1: finished, and our end was not sent".into());
                }
            }
            Phase::Draining | Phase::Lingering => {
                if unread > 0 {
                    return Some(format!("promise 1: closing, and {unread} bytes lie unread"));
                }
                if incoming.fin_arrived && queued == 0 {
                    return Some("promise 1: both sides have ended, and it is not freed".into());
                }
                if queued == 0 && !place.link.halves[HERE].fin {
                    return Some("promise 1: closing, and our end was not sent".into());
                }
                if place
                    .fin_at
                    .is_some_and(|at| phase == Phase::Lingering && late(at, limits.linger))
                {
                    return Some("it lingers for longer than allowed".into());
                }
                if ledger.left.is_some_and(|at| late(at, limits.close_max)) {
                    return Some("its close takes longer than allowed".into());
                }
                if queued > 0 && late(ledger.taken_at, limits.write_stall) {
                    return Some("its close stalls for longer than allowed".into());
                }
            }
            Phase::Closed => return Some("promise 3: over, and not freed".into()),
            Phase::Connecting => return Some("promise 3: open, and not connected".into()),
        }
        if tenant.conn.flags.has(Flags::QUEUED) {
            return Some("promise 1: on the run queue, and the poll waits".into());
        }
        None
    }

    /// When the reactor has come to its end.
    pub(super) fn at_end(&mut self, cx: &Context) {
        let net = self.kernel.state();
        let mut wrong = None;
        if net.open_files() > 0 {
            wrong = Some(format!("{} descriptors are open after the end", net.open_files()));
        }
        let logs = self.logs.all();
        for (number, place) in net.links.iter().enumerate() {
            let ledger = self.ledgers.get(number).and_then(Option::as_ref);
            let log = logs.get(number).cloned().unwrap_or_default();
            let Some(ledger) = ledger else {
                if !log.received.is_empty() {
                    wrong = Some(format!("promise 3: #{number} was sent bytes before on_open"));
                }
                continue;
            };
            if !ledger.told && !ledger.failed_open {
                wrong = Some(format!("promise 3: #{number} has ended without on_close"));
            }
            let taken = usize::try_from(place.link.halves[HERE].written).unwrap_or(0);
            let received = log.received.len();
            if received > taken || ledger.sent.get(..received) != Some(&log.received[..]) {
                wrong = Some(format!("promise 2: #{number} received other bytes than were sent"));
            }
            if log.ended && received != taken {
                wrong = Some(format!("promise 2: #{number} received {received} of {taken}"));
            }
            let at_once = self.shutdown.is_some_and(|(_, at_once)| at_once);
            let clean = self.tidy && log.patient && !at_once;
            if clean && (log.reset || (log.finished && received != ledger.sent.len())) {
                let sent = ledger.sent.len();
                let reset = if log.reset { ", and was reset" } else { "" };
                wrong = Some(format!("promise 2: #{number} received {received} of {sent}{reset}"));
            }
        }
        let stats = cx.stats();
        if stats.accepted + stats.adopted != stats.closed.total() {
            wrong = Some(format!("stats contradict themselves: {stats:?}"));
        }
        drop(logs);
        drop(net);
        if let Some(wrong) = wrong {
            self.complain(format!("at the end, {wrong}"));
        }
    }
}

/// An error for a handler to answer.
pub(super) fn planned() -> io::Error {
    io::Error::other("as planned")
}
