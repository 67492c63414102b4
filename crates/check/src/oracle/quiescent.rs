//! After every turn, when the world is at rest, and at the end: nobody is kept waiting by us.

use std::time::Duration;

use super::{Ledger, Oracle, RETRY, Word, level_at, queued_at};
use crate::base::config::Limits;
use crate::base::report::Cut;
use crate::conn::Phase;
use crate::conn::flags::Flags;
use crate::context::Context;
use crate::core::Entry;
use crate::kernel::link::{HERE, THERE, Transport};
use crate::kernel::{Place, Stage, State, nanos};
use crate::late::{SLACK, is_late};
use crate::time::deadlines::Stamp;

/// The most that a connection keeps allocated for no bytes: a small buffer of its input.
const LEFT: usize = 16 << 10;
/// Between two looks for who is idle.
const PASS: Duration = Duration::from_millis(1010);

/// Of what the kernel holds, so much is no sign of a peer that reads slowly.
pub(super) const REST: usize = 4 << 10;

/// Whether the kernel takes so much that its delivering is waited for: see `Core::ask_kernel`.
pub(super) fn holds_much(net: &State) -> bool {
    net.profile.buffer_max.max(*net.profile.buffer.end()) > REST
}

/// Whether what was sent and not taken is still there: what waited for a layer that has failed is lost.
fn may_owe(entry: &Entry) -> bool {
    entry.conn.phase() != Phase::Closed && !entry.conn.is_broken()
}

impl Ledger {
    /// How its output stands to the watermarks at the end of a turn.
    fn note_level(&mut self, level: usize, dipped: bool, limits: &Limits, is_crowded: bool) {
        let above_low = level > limits.output_low;
        if level >= limits.output_high {
            self.resting = true;
            self.may_drain = true;
        } else if !above_low || dipped {
            self.resting = false;
        }
        self.may_drain |= is_crowded && above_low;
        self.above_low |= above_low;
        self.came_down |= above_low;
        self.stood |= above_low;
    }
}

impl Oracle {
    /// After every turn of the loop.
    pub(crate) fn after_turn(&mut self, cx: &Context) {
        self.turn += 1;
        self.mail_after_turn(cx);
        let mut wrong = None;
        for link in self.live.clone() {
            self.catch_up(link);
        }
        let mut net = self.kernel.state();
        let limits = &self.limits;
        if let Some(asked) = self.cut_by
            && self.turn > asked + 1
            && cx.core.conns.len() > 0
        {
            let n = cx.core.conns.len();
            wrong = Some(format!("shutdown_now was asked for, and {n} connections are there"));
        }
        let ledgers = &mut self.ledgers;
        self.live.retain(|link| ledgers[*link as usize].as_ref().is_some_and(|one| !one.told));
        // Bytes that lie in buffers of ours, by what went in and what came out; and what is said to be
        // allocated for them.
        let (mut kept, mut held) = (0, 0);
        for &number in &self.live {
            let link = number as usize;
            let Some(ledger) = &mut ledgers[link] else { continue };
            let queued = queued_at(&net.links[link], ledger);
            let level = level_at(&net.links[link], ledger);
            let counts = (
                net.links[link].link.halves[THERE].read,
                net.links[link].link.halves[HERE].written,
            );
            let entry = cx.core.entry(ledger.id);
            let open = entry.is_some_and(|entry| entry.conn.phase() == Phase::Open)
                || ledger.connecting.is_some();
            if ledger.left.is_none() {
                let retires = entry.is_some_and(|entry| entry.conn.flags.has(Flags::RETIRING));
                if open && ledger.closing.is_none() && !retires {
                    // What the library had decided, it has taken back: a callback held it, or paused it.
                    ledger.moved_then = None;
                }
                if !open {
                    ledger.left = Some(net.now);
                    ledger.left_pending |= ledger.pending(&net.links[link]) > 0;
                    ledger.moved_then.get_or_insert(net.links[link].moved);
                    ledger.leaves_from.get_or_insert(net.polls[1].1);
                    let (_, left, word) = ledger.last;
                    ledger.left_owing = left > 0
                        && word == Word::None
                        && level > limits.output_low
                        && ledger.closing.is_none();
                    let reads = !ledger.paused && !ledger.stopped && !ledger.has_layer_ended();
                    if reads && level <= limits.output_low {
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
            ledger.lingered = entry.is_some_and(|entry| entry.conn.phase() == Phase::Lingering);
            ledger.stopped = ledger.paused || level > limits.output_low;
            if ledger.left.is_none_or(|left| left == net.now) {
                ledger.counts.0 = counts.0;
            }
            ledger.counts.1 = counts.1;
            ledger.note_pace(net.now, counts, (open, level), limits);
            let failed = entry.is_some_and(|entry| entry.conn.has_failed());
            let sends = entry.is_some_and(may_owe) && !failed;
            let takes = open && !ledger.eof && ledger.cause.is_none();
            let output = if sends { queued } else { 0 };
            let place = &net.links[link];
            let unread = ledger.read(place) - ledger.consumed + ledger.pending(place);
            let unread = if takes { unread } else { 0 };
            let own = output + usize::try_from(unread).unwrap_or(0);
            let said = entry.map_or(0, |entry| entry.conn.held());
            if said < own || (own == 0 && said > LEFT) {
                wrong = Some(format!("promise 4: #{link} keeps {own} bytes and counts {said}"));
            }
            kept += own;
            held += said;
            ledger.wish |= std::mem::take(&mut ledger.wished);
            // What is sent comes to more by the layer.
            if queued > limits.output_max + ledger.added() && open && !failed {
                wrong = Some(format!("promise 4: #{link} owes {queued} bytes and is open"));
            }
            let dipped = std::mem::take(&mut net.links[link].dipped);
            if level >= limits.output_high {
                ledger.crossed = open && !ledger.finishing && !failed;
            }
            ledger.note_level(level, dipped, limits, self.is_crowded);
        }
        drop(net);
        held += self.held_in_handshakes(cx);
        let (said, most) = (cx.buffered(), limits.buffered_max);
        if held != said || kept > said || said > most {
            wrong = Some(format!(
                "promise 4: {kept} bytes are kept, {held} held, of {most}; buffered() is {said}"
            ));
        }
        let wrong = wrong.or_else(|| self.layers_wronged());
        if let Some(wrong) = wrong.or_else(|| self.services_wronged(cx)) {
            self.complain(wrong);
        }
    }

    /// When nothing moves any more but by a deadline: nobody is kept waiting by us.
    pub(crate) fn at_rest(&mut self, cx: &Context) {
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
        let since = net.accept_failed_at.unwrap_or(0);
        let (now, kept) = (&cx.core.limits, &self.limits);
        if cx.buffered() <= kept.buffered_max / 2 && now.rest_at != kept.output_high {
            let what = "promise 5: there is memory again, and who owes little is not read from";
            wrong = Some(what.into());
        }
        let trouble = net.accept_failed_at.is_some() && net.now < since + RETRY + SLACK;
        let waiting = self.waiting(cx, &net);
        for &(service, waiting, full, first) in &waiting {
            if waiting == 0 || trouble || !self.accepts_of(service) {
                continue;
            }
            if !full {
                wrong = Some(format!("promise 6: {waiting} wait for service {service}"));
                continue;
            }
            // Who came since all were last looked at waits for the next look.
            let looked = nanos(cx.core.idle_from(service).since_start());
            let is_due = is_late(net.polls, looked, Duration::ZERO)
                || self.waits_since(service, first).is_some_and(|at| is_late(net.polls, at, PASS));
            let Some(least) = self.limits.reclaim_idle else { continue };
            if !is_due || self.shutdown.is_some() {
                continue;
            }
            let ids = cx.core.connection_ids().into_iter();
            let idle = ids.filter_map(|id| cx.core.entry(id));
            let mut idle = idle
                .filter(|entry| self.makes_place(cx, entry.conn.service, service))
                .filter_map(Entry::idle_since);
            // One that has something to do at one look is found at the next.
            let looks = PASS * 2;
            if idle.any(|since| is_late(net.polls, nanos(since.since_start()), least + looks)) {
                wrong = Some("promise 4: somebody waits for the place of one who is idle".into());
            }
        }
        // By the end of an idle one there may be another.
        let exact = self.limits.reclaim_idle.is_none();
        let most = self.limits.connections_per_address.unwrap_or(usize::MAX);
        let neighbours = net.links.iter().filter_map(|place| place.neighbours);
        let crowded = neighbours.filter(|neighbours| *neighbours >= most).count() as u64;
        // With a layer, a place that was reclaimed for one may have been of its address: see `open`.
        let counts = exact || !self.ledgers.iter().flatten().any(Ledger::is_layered);
        if cx.stats().refused_address != crowded && !self.tells_peers && counts {
            let refused = cx.stats().refused_address;
            wrong =
                Some(format!("promise 4: {refused} were refused by address, {crowded} were due"));
        }
        if net.haunted > 0 {
            wrong = Some(
                "trap 18: a connection is closed and still watched, by way of a duplicate".into(),
            );
        }
        if net.lingered > 0 {
            wrong = Some("promise 1: a close has waited for its peer (SO_LINGER)".into());
        }
        let calm = exact || !(self.takes_places || self.panics > 0 || self.layered);
        if self.shutdown.is_none() && calm && cx.stats().refused != net.unwatched {
            wrong = Some("promise 6: a peer was refused that was to wait".into());
        }
        if self.timers.values().any(|(due, ..)| is_late(net.polls, *due, Duration::ZERO)) {
            wrong = Some("a timer has come, and on_timer was not told".into());
        }
        let stats = cx.stats();
        if (stats.posts, stats.posts + stats.posts_missed) != (self.ran, self.posted) {
            let (ran, posted) = (self.ran, self.posted);
            wrong = Some(format!("{ran} of {posted} posts were run, {stats:?}"));
        }
        let now = net.now;
        drop(net);
        self.note_waiting(&waiting, now);
        let wrong = wrong.or_else(|| self.mail_at_rest(cx));
        if let Some(wrong) = wrong {
            self.complain(format!("at rest, {wrong}"));
        }
    }

    /// What a connection is kept waiting for.
    fn stall(&self, cx: &Context, net: &State, link: u32, ledger: &Ledger) -> Option<String> {
        let limits = &self.limits;
        let place = &net.links[link as usize];
        let Some(entry) = cx.core.entry(ledger.id) else {
            return Some("promise 3: it is gone, and on_close was not told".into());
        };
        let phase = entry.conn.phase();
        let (now, due) = (cx.core.now, entry.conn.deadline(&cx.core.limits));
        let told = entry.conn.explain(0, false, now, &cx.core.limits).deadline.map(|it| it.1);
        // While it closes, one of its deadlines only asks the kernel, and ends nothing.
        if phase != Phase::Draining && told != (due != Stamp::NEVER).then(|| now.until(due)) {
            return Some(format!("explain() says {told:?}, and its deadline is {due:?}"));
        }
        // When its layer has failed, it closes like any other.
        if let Some((begun, timeout, _)) = ledger.connecting.filter(|_| !ledger.layer_failed()) {
            if ledger.is_shaking() && place.stage == Stage::Established {
                let from = place.moved.written.max(begun);
                let late = is_late(net.polls, from, timeout.max(limits.handshake));
                // It is counted from when we learn of the answer, and a process may stand still.
                let late = late && net.profile.stopped == 0;
                return late.then(|| "its handshake takes longer than allowed".into());
            }
            let answered = place.stage != Stage::Connecting || place.link.ends[HERE].dead;
            if answered || phase != Phase::Connecting {
                return Some("promise 1: its connect was answered, and nobody is told".into());
            }
            let late = is_late(net.polls, begun, timeout);
            return late.then(|| "it connects for longer than allowed".into());
        }
        let queued = queued_at(place, ledger);
        // When a layer has failed, sources are dropped.
        let has_source =
            !ledger.streams.is_empty() && !ledger.is_broken() && !ledger.layer_failed();
        let owes = queued > 0 || has_source;
        // What waits for a handshake waits for the peer.
        let owes = owes && !ledger.is_shaking();
        if owes && !place.link.is_blocked(HERE) && !entry.conn.has_failed() {
            return Some(format!("promise 1: {queued} bytes are owed, and there is room for them"));
        }
        let what = match phase {
            Phase::Open if ledger.is_shaking() => {
                let from = ledger.upgraded.unwrap_or(place.moved.written.max(ledger.begun));
                let late = is_late(net.polls, from, limits.handshake);
                late.then(|| "its handshake takes longer than allowed".into())
            }
            Phase::Open => Self::kept_open(net, limits, place, ledger, entry).or_else(|| {
                self.unmade(net, link, ledger).filter(|_| !Self::is_stopped(limits, place, ledger))
            }),
            Phase::Draining if ledger.is_shaking() => None,
            Phase::Draining | Phase::Lingering => Self::kept_closing(net, limits, place, ledger),
            Phase::Closed => Some("promise 3: over, and not freed".into()),
            Phase::Connecting => Some("promise 3: open, and not connected".into()),
        };
        if what.is_some() {
            return what;
        }
        if entry.ticket.is_queued() {
            return Some("promise 1: on the run queue, and the poll waits".into());
        }
        None
    }

    /// Between the watermarks only we know whether it rests.
    fn is_stopped(limits: &Limits, place: &Place, ledger: &Ledger) -> bool {
        let queued = level_at(place, ledger);
        ledger.paused || (queued > limits.output_low && !ledger.full_duplex)
    }

    /// What an open connection is kept waiting for.
    fn kept_open(
        net: &State,
        limits: &Limits,
        place: &Place,
        ledger: &Ledger,
        entry: &Entry,
    ) -> Option<String> {
        let incoming = &place.link.halves[THERE];
        let (unread, queued) = (incoming.arrived.len(), level_at(place, ledger));
        let failed_at = place.failed_at.unwrap_or(0);
        if !ledger.is_served() {
            return Some(format!("it was ended ({:?}) and is open", ledger.cause));
        }
        let stopped = Self::is_stopped(limits, place, ledger);
        // Its last words may wait for the peer as other output does.
        let words = place.link.is_blocked(HERE) && !entry.conn.output.is_empty();
        if ledger.layer_failed() && !ledger.paused && !words {
            return Some("its layer has failed, and it goes on".into());
        }
        let ended = ledger.has_layer_ended();
        if !stopped && unread > 0 && !ended {
            return Some(format!("promise 1: {unread} bytes lie unread"));
        }
        // After the end only an event's flag tells of a reset.
        let here = &place.link.ends[HERE];
        let told = if ledger.eof { net.profile.flags && here.error.is_some() } else { here.dead };
        if !stopped && told {
            return Some("promise 1: a reset lies unread".into());
        }
        // What there was perhaps no room to answer goes first, however it reads.
        let held_back =
            ledger.last.1 > 0 && ledger.last.2 == Word::None && queued > limits.output_low;
        let fin = ledger.has_ended(place) || incoming.fin_arrived;
        if !stopped && !held_back && fin && !ledger.eof {
            return Some("promise 1: the end lies unread".into());
        }
        if !stopped && ledger.repeat_owed() {
            return Some("again: a repeat is owed".into());
        }
        if !stopped && ledger.untold && ledger.read(place) > ledger.consumed {
            return Some("promise 2: what its first service had left was not offered".into());
        }
        let left = ledger.last.1 > 0 && ledger.last.2 == Word::None && !ledger.eof;
        if !stopped && left && ledger.resumed {
            return Some("again: resumed, and what is left was not offered".into());
        }
        if !stopped && left && ledger.came_down && queued <= limits.output_low {
            let what = "again: output came down, and what is left was not offered";
            return Some(what.into());
        }
        if ledger.must_end && !entry.conn.has_failed() {
            return Some("promise 4: input_max is reached, and it goes on".into());
        }
        let low = queued <= limits.output_low;
        let failed = entry.conn.has_failed();
        // One that has failed will not be written to: there `on_drain` comes at once, or `on_close`.
        if (low || failed) && ledger.wish && !ledger.finishing {
            return Some("promise 5: a wished-for on_drain was not told".into());
        }
        if low && !failed && ledger.crossed && !ledger.finishing {
            return Some("promise 5: output came down, and on_drain was not told".into());
        }
        let moved = ledger.moved.max(failed_at);
        if ledger.timer.is_some_and(|due| is_late(net.polls, due, Duration::ZERO)) {
            return Some("its timer has come, and on_timeout was not told".into());
        }
        // What is owed has `write_stall`, and what the kernel holds may be delivered all the while.
        if let Some(idle) = ledger.idle.or(ledger.idle_of_all)
            && queued == 0
            && !holds_much(net)
            && is_late(net.polls, moved, idle)
        {
            return Some("idle for longer than allowed".into());
        }
        // What is there is read to its end, which is the failure's. With a layer there may be last words.
        let left = ledger.last.1 > 0 || (ledger.untold && ledger.read(place) > ledger.consumed);
        let waits = ledger.paused && (unread > 0 || left);
        if failed && !waits && !ledger.is_layered() {
            return Some(
                "promise 6: it is dead, nothing is left to read, and nobody is told".into(),
            );
        }
        if failed && is_late(net.polls, moved, limits.linger) {
            return Some("it is dead, and kept for longer than allowed".into());
        }
        if queued > 0 && !failed && is_late(net.polls, ledger.stalls_from(), limits.write_stall) {
            return Some("it stalls for longer than allowed".into());
        }
        if let Some(first_byte) = ledger.first_byte
            && entry.conn.flags.has(Flags::SILENT)
            && is_late(net.polls, ledger.opened, first_byte)
        {
            return Some("silent for longer than allowed".into());
        }
        // A window is judged late by one that was stopped, and the next begins then.
        if let Some((_, window)) = limits.min_rate
            && net.profile.stopped == 0
            && net.worked == 0
        {
            // The one that was under way, and one in which nothing has moved.
            let long = 2 * window;
            let owes = ledger.last.1 > 0 && !ledger.eof && !stopped && !ledger.held && !failed;
            if owes && !ledger.stood && is_late(net.polls, ledger.moved, long) {
                return Some("the rest of a request is waited for longer than allowed".into());
            }
            if queued > 0 && !failed && is_late(net.polls, ledger.taken_at, long) {
                return Some("it takes nothing for longer than allowed".into());
            }
        }
        if ledger.finishing && queued == 0 && !place.link.halves[HERE].fin && !failed {
            return Some("promise 1: finished, and our end was not sent".into());
        }
        None
    }

    /// What a closing connection is kept waiting for.
    fn kept_closing(
        net: &State,
        limits: &Limits,
        place: &Place,
        ledger: &Ledger,
    ) -> Option<String> {
        let incoming = &place.link.halves[THERE];
        let (unread, queued) = (incoming.arrived.len(), level_at(place, ledger));
        if unread > 0 {
            return Some(format!("promise 1: closing, and {unread} bytes lie unread"));
        }
        if ledger.is_broken() || ledger.resets {
            // No end of ours is due: it waits until all has left, and is reset.
            let late = ledger.left.is_some_and(|at| is_late(net.polls, at, limits.close_max));
            return late.then(|| "its close takes longer than allowed".into());
        }
        if incoming.fin_arrived && queued == 0 {
            return Some("promise 1: both sides have ended, and it is not freed".into());
        }
        let fin_at = place.fin_at.max(ledger.left).filter(|_| place.link.halves[HERE].fin);
        let lingers = queued == 0 && !holds_much(net);
        if lingers && fin_at.is_some_and(|at| is_late(net.polls, at, limits.linger)) {
            return Some("it lingers for longer than allowed".into());
        }
        if queued == 0 && !place.link.halves[HERE].fin {
            return Some("promise 1: closing, and our end was not sent".into());
        }
        if ledger.left.is_some_and(|at| is_late(net.polls, at, limits.close_max)) {
            return Some("its close takes longer than allowed".into());
        }
        if queued > 0 && is_late(net.polls, ledger.stalls_from(), limits.write_stall) {
            return Some("its close stalls for longer than allowed".into());
        }
        None
    }

    /// When the reactor has come to its end.
    pub(crate) fn at_end(&mut self, cx: &Context, ended: u64) {
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
                if !log.received.is_empty() || log.misheard {
                    wrong = Some(format!("promise 3: #{number} was sent bytes before on_open"));
                }
                let most = self.limits.connections_per_address.unwrap_or(usize::MAX);
                let is_refused = place.neighbours.is_some_and(|neighbours| neighbours >= most);
                let tcp = place.link.transport == Transport::Tcp;
                // One whose handshake comes to nothing may end in order.
                if is_refused && log.ended && tcp && !self.layered {
                    wrong = Some(format!("promise 4: #{number} was refused by an orderly end"));
                }
                continue;
            };
            if !ledger.told && !ledger.failed_open {
                wrong = Some(format!("promise 3: #{number} has ended without on_close"));
            }
            let taken = usize::try_from(ledger.taken_of(place)).unwrap_or(0);
            let received = log.received.len();
            // Of a layer's records some may have come of a piece that was not taken whole.
            let more = received > taken && !ledger.is_layered();
            if more || ledger.sent.get(..received) != Some(&log.received[..]) {
                wrong = Some(format!("promise 2: #{number} received other bytes than were sent"));
            }
            if log.ended && received < taken {
                wrong = Some(format!("promise 2: #{number} received {received} of {taken}"));
            }
            if let Some(what) = ledger.misheard(&log, place) {
                wrong = Some(format!("promise 2: #{number}: {what}"));
            }
            let at_once = self.shutdown.is_some_and(|(_, at_once)| at_once);
            let clean = self.tidy && log.patient && !at_once;
            if clean && (log.reset || (log.finished && received != ledger.sent_len())) {
                let sent = ledger.sent_len();
                let reset = if log.reset { ", and was reset" } else { "" };
                wrong = Some(format!("promise 2: #{number} received {received} of {sent}{reset}"));
            }
        }
        let stats = cx.stats();
        let read: u64 = net.links.iter().map(|place| place.link.halves[THERE].read).sum();
        let written: u64 = net.links.iter().map(|place| place.link.halves[HERE].written).sum();
        if (stats.bytes_in, stats.bytes_out) != (read, written) {
            wrong = Some(format!("{read} bytes were read, {written} written: {stats:?}"));
        }
        let most = self.limits.connections_per_address.unwrap_or(usize::MAX);
        let missed = |link: &&u32| self.ledgers.get(**link as usize).is_none_or(Option::is_none);
        let refused = |link: &&u32| {
            let neighbours = net.links[**link as usize].neighbours;
            neighbours.is_some_and(|neighbours| neighbours >= most)
        };
        // A handshake is not waited for.
        if let Some(link) =
            self.at_door.iter().find(|link| !self.layered && missed(link) && !refused(link))
        {
            wrong =
                Some(format!("#{link} waited at the door when shutdown began, and was not let in"));
        }
        if stats.accepted + stats.adopted + stats.connected != stats.closed.total() {
            wrong = Some(format!("stats contradict themselves: {stats:?}"));
        }
        let has_addresses =
            !cx.core.per_address.is_empty() || !cx.core.services.are_addresses_empty();
        if has_addresses || !cx.core.connects.is_empty() {
            let (counts, connecting) = (&cx.core.per_address, &cx.core.connects);
            wrong = Some(format!("the gone are counted still: {counts:?}, {connecting:?}"));
        }
        if cx.buffered() > 0 {
            wrong =
                Some(format!("promise 4: nothing is held, and buffered() is {}", cx.buffered()));
        }
        drop(logs);
        drop(net);
        let wrong = wrong.or_else(|| self.mail_at_end(cx, ended));
        let wrong = wrong.or_else(|| self.services_at_end(cx));
        if let Some(wrong) = wrong {
            self.complain(format!("at the end, {wrong}"));
        }
    }

    /// The shutdown's own account, against ours: everybody who was there has left or was cut, and
    /// who is cut is cut for a reason.
    pub(crate) fn check_report(&mut self, cx: &Context) {
        let (report, stats) = (cx.core.ending.report(), cx.stats());
        let ended = stats.closed.total() + self.connects_failed - self.ended_before;
        let (began, at_once) = self.shutdown.expect("it has ended");
        let late = self.kernel.now() >= began.saturating_add(nanos(self.limits.shutdown_max));
        let cut = report.cut;
        let named = usize::try_from(cut).is_ok_and(|cut| cut.min(64) == report.cuts.len());
        let unsent: u64 = report.cuts.iter().map(|cut| cut.unsent).sum();
        let by_id = |id| self.ledgers.iter().flatten().find(|ledger| ledger.id == id);
        let told = |cut: &Cut| by_id(cut.id)?.unsent;
        let contradiction = report.done + cut != ended
            || report
                .cuts
                .iter()
                .any(|cut| told(cut).is_some_and(|told| told != (cut.unsent, cut.unfinished)))
            || (cut > 0 && !late && !at_once)
            || !named
            || (cut <= 64 && unsent != report.unsent);
        if contradiction {
            self.complain(format!("promise 7: {ended} ended in the shutdown, and: {report:?}"));
        }
        if stats.panics != self.panics {
            let (told, panics) = (stats.panics, self.panics);
            self.complain(format!("promise 7: {panics} panics, {told} are counted"));
        }
    }
}
