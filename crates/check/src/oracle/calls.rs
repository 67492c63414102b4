//! What the handler does, as it tells the oracle; and what comes of its timers and posts.

use std::io;
use std::time::Duration;

use super::{Cause, Handed, Ledger, Oracle};
use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::conn::Phase;
use crate::conn::flags::Flags;
use crate::context::Context;
use crate::core::Entry;
use crate::kernel::link::THERE;
use crate::kernel::nanos;
use crate::kernel::trace::What;
use crate::layering::Books;
use crate::time::timers::{Timer, TimerId};

impl Oracle {
    /// A callback ends in a panic, and with it the connection whose callback it is.
    pub(crate) fn panics(&mut self, link: Option<u32>) {
        // Of several services' in `on_shutdown` one goes on.
        let is_another = self.asked_at == self.callbacks && self.panicked_when_asked;
        self.panicked_when_asked |= self.asked_at == self.callbacks;
        self.panics += u64::from(!is_another);
        self.inside = false;
        let in_open = self.in_open.take() == link;
        let Some(link) = link else { return };
        let ledger = self.ledger(link);
        if ledger.cause == Some(Cause::Detached) {
            // By this very callback: that is taken back.
            ledger.cause = None;
        }
        self.causes(link, Cause::Panic);
        let ledger = self.ledger(link);
        ledger.aborted = true;
        ledger.failed_open |= in_open;
    }

    /// Bytes were accepted for a connection.
    pub(crate) fn sent(&mut self, cx: &Context, link: u32, bytes: &[u8]) {
        self.note_decided(cx, link);
        self.sent_unseen(link, bytes);
        self.watch_level(cx, link);
    }

    /// What comes of a callback does not undo what the library had decided before.
    fn note_decided(&mut self, cx: &Context, link: u32) {
        if self.is_retiring(cx, link) {
            let moved = self.kernel.state().links[link as usize].moved;
            self.ledger(link).moved_then.get_or_insert(moved);
        }
    }

    /// The same as `sent`, and nothing is asked of the context.
    pub(crate) fn sent_unseen(&mut self, link: u32, bytes: &[u8]) {
        self.catch_up(link);
        let low = self.limits.output_low as u64;
        let (owed, now) = (self.owed(link), self.kernel.now());
        let ledger = self.ledger(link);
        if owed == 0 && !bytes.is_empty() && ledger.closing.is_none() {
            ledger.owed_from = now;
        }
        ledger.add(bytes);
        let sent =
            if ledger.streams.is_empty() { ledger.wire_of(ledger.sent.len()) } else { u64::MAX };
        let mut net = self.kernel.state();
        net.links[link as usize].owes = (sent, low);
        net.note(link, What::Note("send()", bytes.len() as u64));
        drop(net);
        let owed = self.level(link);
        let rests = self.rests_from();
        let ledger = self.ledger(link);
        ledger.may_drain |= owed >= rests;
        ledger.above_low |= owed as u64 > low;
        if owed as u64 > low {
            ledger.pace.may_rest(now);
        }
    }

    /// No answer of the handler is longer, and it asks for no room.
    pub(crate) fn answers(&mut self, most: usize) {
        self.naive = Some(most);
    }

    /// The input of a call says whether messages are held back.
    pub(crate) fn rests(&mut self, link: u32, rests: bool) {
        let owed = self.level(link);
        let (low, high) = (self.limits.output_low, self.limits.output_high);
        let full_duplex = self.ledger(link).full_duplex;
        if rests && (owed <= low || full_duplex) {
            self.complain(format!(
                "promise 1: #{link} owes {owed} bytes, and messages are held back"
            ));
        }
        if !rests && owed >= high && !full_duplex {
            self.complain(format!("promise 5: #{link} owes {owed} bytes, and is given messages"));
        }
    }

    pub(crate) fn wish(&mut self, cx: &Context, link: u32) {
        let ledger = self.ledger(link);
        ledger.wished |= Self::takes_sends(cx, ledger.id) && ledger.closing.is_none();
        self.note(link, "want_drain()", 0);
    }

    /// The handler stops or restarts reading.
    pub(crate) fn reads(&mut self, cx: &Context, link: u32, reads: bool) {
        let (now, decided) = (self.kernel.now(), self.is_retiring(cx, link));
        let ledger = self.ledger(link);
        // It changes nothing for one that ends already.
        if Self::is_live(cx, ledger.id) && ledger.closing.is_none() {
            if !decided {
                ledger.paused_in_time = !reads;
                if ledger.paused || !reads {
                    ledger.pace.stands(now);
                }
            }
            ledger.resumed |= reads && ledger.paused;
            ledger.paused = !reads;
            ledger.stood = true;
        }
        self.note(link, if reads { "resume()" } else { "pause()" }, 0);
    }

    /// Whether the library has decided to close it, and the last word is not said yet.
    fn is_retiring(&mut self, cx: &Context, link: u32) -> bool {
        let ledger = self.ledger(link);
        let retires = |entry: &Entry| entry.conn.flags.has(Flags::RETIRING);
        ledger.closing.is_none() && cx.core.entry(ledger.id).is_some_and(retires)
    }

    /// The handler stops or restarts accepting.
    pub(crate) fn accepts(&mut self, accepts: bool) {
        let serving = self.serving;
        self.part_mut(serving).accepts_none = !accepts;
        self.note(u32::MAX, if accepts { "resume_accepting()" } else { "pause_accepting()" }, 0);
    }

    /// The handler sets (or with `None` cancels) the timeout of a connection.
    pub(crate) fn sets_timeout(&mut self, link: u32, wait: Option<Duration>) {
        let now = self.kernel.now();
        let ledger = self.ledger(link);
        if ledger.closing.is_none() {
            ledger.timer = wait.map(|wait| now.saturating_add(nanos(wait)));
        }
        self.note(link, "set_timeout()", wait.map_or(0, |wait| wait.as_micros() as usize));
    }

    pub(crate) fn sets_idle(&mut self, cx: &Context, link: u32, idle: Option<Duration>) {
        let retires = self.is_retiring(cx, link);
        let ledger = self.ledger(link);
        let all = ledger.idle_of_all.unwrap_or(Duration::MAX);
        if ledger.closing.is_none() {
            if retires {
                ledger.idle_before = ledger.idle.unwrap_or(all);
            }
            ledger.idle = Some(idle.unwrap_or(Duration::MAX));
        }
        self.note(link, "set_idle_timeout()", idle.map_or(0, |idle| idle.as_micros() as usize));
    }

    /// The handler sets a timer of the reactor; `period` of zero: it fires once.
    pub(crate) fn sets_timer(
        &mut self,
        timer: TimerId,
        wait: Duration,
        period: Duration,
        tag: u64,
    ) {
        let due = self.kernel.now().saturating_add(nanos(wait));
        // What is set before may come due while a callback works.
        let set_in = if self.timer_in == self.turn { self.turn } else { u64::MAX };
        let set = (due, nanos(period), set_in, tag, self.serving);
        if self.timers.insert(timer, set).is_some() {
            self.complain("two timers have one name".into());
        }
    }

    pub(crate) fn cancels_timer(&mut self, timer: TimerId, answer: bool) {
        if self.timers.remove(&timer).is_some() != answer {
            self.complain(format!("cancel_timer() answers {answer}"));
        }
    }

    pub(crate) fn some_timer(&self, n: usize) -> Option<TimerId> {
        self.timers.keys().nth(n % self.timers.len().max(1)).copied()
    }

    /// A timer of the reactor has come.
    pub(crate) fn timer(&mut self, timer: Timer) {
        self.callbacks += 1;
        self.timer_in = self.turn;
        let now = self.kernel.now();
        if self.inside {
            self.complain("promise 3: on_timer inside another callback".into());
        }
        let Some(set) = self.timers.get_mut(&timer.id) else {
            return self.complain("on_timer of a timer that is not set".into());
        };
        let (due, period, set_in, tag, service) = *set;
        let missed = now.saturating_sub(due).checked_div(period).unwrap_or(0);
        set.0 = due.saturating_add((timer.missed.min(missed) + 1).saturating_mul(period));
        if period == 0 {
            self.timers.remove(&timer.id);
        }
        if due > now {
            self.complain("on_timer is early".into());
        }
        if service != self.serving {
            self.complain(format!("on_timer of service {service} is told to {}", self.serving));
        }
        if tag != timer.tag {
            self.complain(format!("on_timer tells tag {} of a timer set with {tag}", timer.tag));
        }
        if set_in == self.turn {
            self.complain("promise 4: on_timer in the turn in which its timer was set".into());
        }
        // The clock it goes by was read at the beginning of the turn.
        if timer.missed > missed {
            self.complain(format!("on_timer tells of {} missed, of {missed}", timer.missed));
        }
    }

    /// A closure posted to a connection runs as a callback of it.
    pub(crate) fn posted(&mut self, cx: &Context, id: ConnId, link: u32) {
        self.enter(cx, id, link, "post_to", 0);
    }

    /// A posted closure runs: the number it was given when it was posted.
    pub(crate) fn runs(&mut self, number: u64) {
        self.callbacks += 1;
        self.ran += 1;
        if self.inside {
            self.complain("promise 3: a posted closure inside a callback".into());
        }
        if number <= self.last_run || number > self.posted {
            let last = self.last_run;
            self.complain(format!("posted closure {number} runs after {last}"));
        }
        self.last_run = number;
    }

    /// The number of the next post.
    pub(crate) fn posts(&mut self) -> u64 {
        self.posted += 1;
        self.posted
    }

    pub(crate) fn refused_post(&mut self) {
        self.posted -= 1;
        if self.shutdown.is_none() {
            self.complain("a post is refused before the end".into());
        }
    }

    /// The handler connects.
    pub(crate) fn connects(
        &mut self,
        cx: &Context,
        id: ConnId,
        tag: u64,
        timeout: Option<Duration>,
        books: Option<Books>,
    ) {
        let link = Self::link_of(cx, id).unwrap_or(0);
        if self.ledgers.len() <= link as usize {
            self.ledgers.resize_with(link as usize + 1, || None);
        }
        if self.link_by_id(id).is_some() {
            self.complain(format!("promise 3: the id {id} was another's"));
        }
        let now = self.kernel.now();
        let mut ledger = Ledger::new(id, now, self.serving);
        self.set_patience(&mut ledger);
        ledger.connecting = Some((now, timeout.unwrap_or(self.limits.connect), tag));
        self.ledgers[link as usize] = Some(ledger);
        self.live.push(link);
        if let Some(books) = books {
            self.keeps_books(link, books);
        }
        self.note(link, "connect()", usize::try_from(tag).unwrap_or(0));
        self.takes_places = true;
        self.check_place(cx, link, self.serving);
    }

    /// A connect has come to nothing.
    pub(crate) fn connect_failed(&mut self, id: ConnId, tag: u64, error: &io::Error) {
        self.callbacks += 1;
        if self.inside {
            self.complain("promise 3: on_connect_failed inside another callback".into());
        }
        let now = self.kernel.now();
        let leaving = self.shutdown.is_some();
        let Some(link) = self.link_by_id(id) else {
            return self
                .complain(format!("promise 3: on_connect_failed of {id}, which nobody knows"));
        };
        self.note(link, "on_connect_failed", usize::try_from(tag).unwrap_or(0));
        let failed = self.kernel.state().links[link as usize].failed_at.is_some();
        let output_max = self.limits.output_max;
        let ledger = self.ledgers[link as usize].as_ref().expect("it was found");
        let (is_crowded, own) = (self.is_crowded_for(ledger), ledger.service == self.serving);
        let self_limits = (self.limits.handshake, self.handshake_went_wrong(link));
        self.connects_failed += 1;
        let ledger = self.ledger(link);
        ledger.told = true;
        let Some((begun, timeout, wanted)) = ledger.connecting.take() else {
            return self.complain(format!("promise 3: on_connect_failed of #{link} is not due"));
        };
        let handshake = if ledger.is_layered() { self_limits.0 } else { Duration::ZERO };
        let shook = ledger.is_layered() && (self_limits.1 || ledger.layer_failed());
        let is_so = match error.kind() {
            _ if shook => true,
            io::ErrorKind::TimedOut if handshake > Duration::ZERO => {
                now >= begun.saturating_add(nanos(timeout.min(handshake)))
            }
            io::ErrorKind::TimedOut => now >= begun.saturating_add(nanos(timeout)),
            // Ended by us, a limit included; a source alone takes memory.
            io::ErrorKind::ConnectionAborted => {
                let crowded = is_crowded
                    && (ledger.is_layered() || ledger.sent_len() > 0 || ledger.is_sourced());
                let most = output_max - ledger.reserve(output_max);
                ledger.aborted || leaving || crowded || ledger.sent_len() + ledger.added() > most
            }
            _ => failed,
        };
        if !is_so || wanted != tag || !own {
            self.complain(format!("promise 7: on_connect_failed of #{link} says {error}"));
        }
    }

    /// The handler couples reading to output, or no longer.
    pub(crate) fn duplex(&mut self, link: u32, full_duplex: bool) {
        self.ledger(link).full_duplex = full_duplex;
        self.note(link, "auto_pause()", usize::from(!full_duplex));
    }

    fn is_live(cx: &Context, id: ConnId) -> bool {
        let phase = |entry: &Entry| matches!(entry.conn.phase(), Phase::Open | Phase::Connecting);
        cx.core.entry(id).is_some_and(phase)
    }

    /// As `Conn::is_open`.
    pub(crate) fn takes_sends(cx: &Context, id: ConnId) -> bool {
        cx.core.entry(id).is_some_and(|entry| entry.conn.takes_sends())
    }

    pub(crate) fn is_open(cx: &Context, id: ConnId) -> bool {
        cx.core.entry(id).is_some_and(|entry| entry.conn.phase() == Phase::Open)
    }

    pub(crate) fn hold(&mut self, cx: &Context, link: u32, hold: bool) {
        let (now, decided) = (self.kernel.now(), self.is_retiring(cx, link));
        let ledger = self.ledger(link);
        if Self::is_live(cx, ledger.id) && ledger.closing.is_none() {
            if !decided && (hold || ledger.held) {
                ledger.pace.stands(now);
            }
            ledger.held = hold;
            ledger.stood = true;
        }
        self.note(link, "hold()", usize::from(hold));
    }

    /// The handler closes, or aborts, a connection.
    pub(crate) fn ends(&mut self, cx: &Context, link: u32, abort: bool) {
        self.note(link, if abort { "abort()" } else { "close()" }, 0);
        let ledger = self.ledger(link);
        ledger.aborted |= abort || ledger.connecting.is_some();
        if !Self::is_open(cx, ledger.id) {
            // It ends already, for a reason that stays.
            return;
        }
        let cause = match (abort, ledger.eof && !ledger.finishing) {
            (true, _) => Cause::Aborted,
            (false, true) => Cause::PeerEnd,
            (false, false) => Cause::Local,
        };
        self.causes(link, cause);
    }

    /// The handler closes one that is to be reset behind what it was sent, though it may close already.
    pub(crate) fn ends_in_a_reset(&mut self, cx: &Context, link: u32) {
        let id = self.ledger(link).id;
        let phase = cx.core.entry(id).map(|entry| entry.conn.phase());
        self.ledger(link).resets |= matches!(phase, Some(Phase::Open | Phase::Draining));
        self.ends(cx, link, false);
    }

    /// The handler aborts the open connection that it is called for, and nothing is asked of the
    /// context: what it sent from its input stays where it lies.
    pub(crate) fn aborts_unseen(&mut self, link: u32) {
        self.note(link, "abort()", 0);
        self.ledger(link).aborted = true;
        self.causes(link, Cause::Aborted);
    }

    /// The handler detaches an open connection, and nothing is asked of the context.
    pub(crate) fn detaches(&mut self, link: u32) {
        self.note(link, "detach()", 0);
        self.causes(link, Cause::Detached);
    }

    pub(crate) fn is_detached(&mut self, link: u32) -> bool {
        self.ledger(link).cause == Some(Cause::Detached)
    }

    /// Where what was handed over is to be put: of which connection, its unread and its unsent bytes.
    pub(crate) fn handed(&self) -> Handed {
        Handed::clone(&self.handed)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.shutdown.is_some()
    }

    pub(crate) fn closing(&mut self, cx: &Context, id: ConnId, link: u32, reason: &CloseReason) {
        self.enter(cx, id, link, "on_closing", 0);
        let kernel = self.kernel.clone();
        let net = kernel.state();
        let place = &net.links[link as usize];
        let ledger = self.ledger(link);
        let (moved, failed) = (place.moved, place.failed_at.is_some());
        ledger.left_pending = ledger.pending(place) > 0;
        drop(net);
        let late = failed || ledger.cause.is_some() || ledger.finishing;
        ledger.moved_then.get_or_insert(moved);
        ledger.closing = reason.of_retiring();
        if late || !Self::takes_sends(cx, id) {
            self.complain(format!("on_closing of #{link}, and nothing can be said any more"));
        }
        if reason.of_retiring().is_none() {
            self.complain(format!("on_closing of #{link}: {reason}, which is no order"));
        }
    }

    pub(crate) fn has_told_shutdown(&self) -> bool {
        self.parts.iter().any(|part| part.told_shutdown)
    }

    pub(crate) fn finishes(&mut self, cx: &Context, link: u32) {
        self.note_decided(cx, link);
        let ledger = self.ledger(link);
        if ledger.eof {
            return self.ends(cx, link, false);
        }
        ledger.finishing = true;
        self.note(link, "finish()", 0);
    }

    /// Shutdown was asked for, when so many were closed. What has come to our kernel by then is to be
    /// answered.
    pub(crate) fn shutdown(&mut self, at_once: bool, closed: u64) {
        if self.shutdown.is_none() {
            self.mail_at_shutdown();
        }
        let net = self.kernel.state();
        let now = net.now;
        if at_once {
            self.cut_by.get_or_insert(self.turn);
        }
        match &mut self.shutdown {
            None => {
                self.shutdown = Some((now, at_once));
                self.ended_before = closed + self.connects_failed;
                let live = self.ledgers.iter().flatten().filter(|ledger| !ledger.told).count();
                let room = self.limits.connections.min(net.free_files() + live);
                let calm = net.profile.accept_error == 0 && net.profile.watch_error == 0;
                if !at_once && calm && live + net.waiting() <= room {
                    self.at_door = net.at_door();
                }
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

    pub(crate) fn shutdown_begins(&mut self, cx: &Context) {
        self.note(u32::MAX, "on_shutdown", 0);
        let is_full = cx.core.conns.len() >= self.limits.connections;
        if self.parts.len() > 1 && (is_full || self.kernel.state().free_files() == 0) {
            // Who came since to the door of one service may have had the last place of another's.
            self.at_door.clear();
        }
        // Who waited at the door was let in before the run queue is served.
        for ledger in self.ledgers.iter_mut().flatten() {
            ledger.may_wish |= std::mem::take(&mut ledger.wished);
        }
        self.callbacks += 1;
        self.asked_at = self.callbacks;
        let serving = self.serving;
        if self.inside
            || self.shutdown.is_none()
            || std::mem::replace(&mut self.part_mut(serving).told_shutdown, true)
        {
            self.complain("promise 3: on_shutdown is not due".into());
        }
    }
}
