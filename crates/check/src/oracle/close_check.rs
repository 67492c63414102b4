//! Whether the account of how a connection ended is true.

use std::sync::PoisonError;
use std::time::Duration;

use super::quiescent::{REST, holds_much};
use super::{Cause, Ledger, Oracle, Word, queued_at};
use crate::base::close::{CloseReason, Closed};
use crate::client::byte;
use crate::kernel::link::{HERE, THERE, Transport};
use crate::kernel::{Moved, Place, State, nanos};
use crate::late::comes_late;

/// How a connection is told to have ended, and what is known of the connection that it is about.
struct CloseCheck<'a> {
    oracle: &'a Oracle,
    link: u32,
    closed: &'a Closed,
    ledger: &'a Ledger,
    net: &'a State,
    place: &'a Place,
    /// Bytes that were sent and not taken; and the same on the wire, with what a layer has added.
    owed: u64,
    queued: u64,
    /// A call of ours failed.
    failed: bool,
}

type Verdict = Result<(), String>;

fn unless(is_so: bool, what: &str) -> Verdict {
    if is_so { Err(what.into()) } else { Ok(()) }
}

impl Oracle {
    /// What speaks against the account of how a connection ended.
    pub(super) fn contradiction(&self, link: u32, closed: &Closed) -> Option<String> {
        let ledger = self.ledgers[link as usize].as_ref()?;
        let net = self.kernel.state();
        let place = &net.links[link as usize];
        let sent = ledger.sent_len() as u64;
        let owed = sent - ledger.taken_of(place).min(sent);
        let failed = place.failed_at.is_some();
        let queued = if ledger.is_layered() { queued_at(place, ledger) as u64 } else { owed };
        let ending = CloseCheck {
            oracle: self,
            link,
            closed,
            ledger,
            net: &net,
            place,
            owed,
            queued,
            failed,
        };
        ending.check().err()
    }
}

impl CloseCheck<'_> {
    fn check(&self) -> Verdict {
        if matches!(self.closed.reason, CloseReason::Detached) {
            return self.handed_over();
        }
        // What it was sent in the very broadcast that ended it may not have been taken.
        let all = self.closed.unsent + self.ledger.perhaps;
        unless(self.closed.unsent != self.owed && all != self.owed, "unsent is another")?;
        let limited =
            matches!(self.closed.reason, CloseReason::OutputLimit | CloseReason::BufferedLimit);
        let unfinished = !self.ledger.streams.is_empty();
        // What made it pass the limit may have come before a source, which then was not taken.
        let wrong = self.closed.unfinished != unfinished && !limited;
        unless(wrong, "unfinished is another")?;
        if let Some(what) = self.ledger.sources_lost() {
            return Err(what.into());
        }
        unless(self.place.file_is_open(), "the descriptor is not freed")?;
        unless(self.place.link.ends[HERE].open, "a duplicate lives, and the peer is told nothing")?;
        self.reason()?;
        self.clean()?;
        self.time()?;
        self.delivery()?;
        self.shutdown()
    }

    /// It was detached, and every byte went along: what was read and not consumed, what was sent and not
    /// taken.
    fn handed_over(&self) -> Verdict {
        unless(self.ledger.cause != Some(Cause::Detached), "the reason is another")?;
        unless(self.closed.clean || self.closed.unsent > 0, "its account is not over")?;
        let handed = self.oracle.handed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = handed.iter().find(|(link, ..)| *link == self.link);
        let Some((link, unread, unsent)) = of_it else {
            return Err("it was handed to nobody".into());
        };
        let read = self.place.link.halves[THERE].read;
        let left: Vec<u8> = (self.ledger.consumed..read).map(|at| byte(*link, at)).collect();
        unless(unread[..] != left[..], "the unread bytes are others")?;
        let taken = self.ledger.sent.len() as u64 - self.owed;
        let owed = &self.ledger.sent[usize::try_from(taken).unwrap_or(0)..];
        unless(unsent[..] != *owed, "the unsent bytes are others")
    }

    /// Whether it has been so long since.
    fn after(&self, from: Option<u64>, wait: Duration) -> bool {
        from.is_some_and(|from| self.net.now >= from.saturating_add(nanos(wait)))
    }

    /// Whether memory is kept for it. What was read since the last call, and was not enough for one,
    /// counts too; and so does the buffer in which it is waited for, when there is nothing in it; and the
    /// place of a source.
    fn holds(&self) -> bool {
        let unshown = self.unshown();
        let (_, left, word) = self.ledger.last;
        let waits = matches!(word, Word::Bytes(_)) || !self.ledger.streams.is_empty();
        let held = self.ledger.layer(|known| known.held).unwrap_or(0);
        self.queued + unshown + (left + held) as u64 > 0 || waits
    }

    /// Bytes read that the handler has not consumed.
    fn unshown(&self) -> u64 {
        let read = self.ledger.read(self.place).saturating_sub(self.ledger.consumed);
        read + self.ledger.pending(self.place)
    }

    /// Whether there were any when it left `Open`.
    fn was_unshown(&self) -> bool {
        if self.ledger.is_layered() {
            return self.unshown() > 0 || self.ledger.left_pending;
        }
        self.ledger.counts.0 > self.ledger.consumed
    }

    /// What had moved when it ended.
    fn moved(&self) -> Moved {
        self.ledger.moved_at_end(self.place)
    }

    /// Whether the peer took some of what our kernel still holds, less than `wait` before the end.
    fn read_within(&self, wait: u64) -> bool {
        let left = self.ledger.left.unwrap_or(self.net.now);
        let moved = self.moved();
        let after = moved.delivered > left.saturating_sub(wait) && moved.delivered < left;
        moved.held > REST && after && !self.failed && !self.oracle.denies
    }

    fn input_limit(&self) -> Result<bool, String> {
        let (limits, (_, kept, word)) = (&self.oracle.limits, self.ledger.last);
        let waits = matches!(word, Word::Bytes(n) if n > limits.input_max);
        let asleep = self.ledger.paused_in_time && !waits;
        unless(asleep, "promise 4: its input, while it is paused")?;
        Ok(kept >= limits.input_max || waits)
    }

    fn too_slow(&self, left: u64) -> Result<bool, String> {
        let due = self.oracle.limits.min_rate.map_or(u64::MAX, |(_, window)| nanos(window));
        let owes = self.was_unshown() || self.queued > 0;
        unless(!self.may_be_too_slow(left), "promise 4: too slow, and it was not")?;
        Ok(owes && left >= self.ledger.begun.saturating_add(due))
    }

    fn may_be_too_slow(&self, left: u64) -> bool {
        let Some(rate) = self.oracle.limits.min_rate else { return true };
        let unknown = self.net.profile.stopped > 0 || self.net.worked > 0;
        unknown
            || self.ledger.is_layered()
            || self.ledger.may_be_too_slow(self.place, self.queued > 0, rate, left)
    }

    /// It had failed while it was paused, with something to read: until then the handler might have
    /// come back.
    fn comes_back_until(&self) -> u64 {
        let limits = &self.oracle.limits;
        let own = self.ledger.idle.or(self.ledger.idle_of_all).unwrap_or(Duration::MAX);
        let wait = limits.linger.min(own).min(self.ledger.idle_before);
        let failed = self.place.failed_at.unwrap_or(0);
        failed.max(self.moved().read).saturating_add(nanos(wait))
    }

    /// It was cut in its linger, though its peer came to less of what our kernel holds since that
    /// was last asked.
    fn read_in_its_linger(&self) -> bool {
        let limits = &self.oracle.limits;
        let moved = &self.place.moved;
        let from = self.net.now.saturating_sub(nanos(limits.linger));
        let reads = moved.delivered > from && moved.delivered < self.net.now && moved.held > REST;
        let by_the_linger = self.ledger.lingered
            && !self.closed.clean
            && !self.failed
            && !self.at_last()
            && !self.after(self.ledger.leaves_from, limits.close_max);
        // From our end on the kernel has nothing more to take.
        let lingers = self.place.fin_at.is_some_and(|at| at < from);
        reads && by_the_linger && lingers && !self.place.link.halves[THERE].fin_arrived
    }

    fn is_crowded(&self) -> bool {
        self.oracle.is_crowded_for(self.ledger)
    }

    fn by_io(&self) -> bool {
        matches!(self.closed.reason, CloseReason::Io(_))
    }

    /// The reason is the first cause, and it happened.
    fn reason(&self) -> Verdict {
        let CloseCheck { ledger, queued, .. } = *self;
        let limits = &self.oracle.limits;
        let left = ledger.left.unwrap_or(self.net.now);
        let fin = self.place.link.halves[THERE].fin_arrived;
        let is_so = match &self.closed.reason {
            CloseReason::PeerEnd => ledger.cause == Some(Cause::PeerEnd),
            CloseReason::Local => ledger.cause == Some(Cause::Local),
            CloseReason::Aborted => ledger.cause == Some(Cause::Aborted),
            CloseReason::Handler(_) => ledger.cause == Some(Cause::Handler),
            CloseReason::Panic(_) => ledger.cause == Some(Cause::Panic),
            CloseReason::Io(_) => self.failed,
            CloseReason::Source(_) => ledger.is_broken(),
            CloseReason::InputLimit => self.input_limit()?,
            CloseReason::OutputLimit => {
                let fits = |most| limits.output_high + most <= limits.output_max;
                let naive = self.oracle.naive.is_some_and(fits) && !ledger.is_layered();
                unless(naive, "promise 5: its own answers passed the limit, one by one")?;
                queued + ledger.reserve(limits.output_max) as u64 > limits.output_max as u64
            }
            CloseReason::BufferedLimit => self.is_crowded() && self.holds(),
            CloseReason::Reclaimed => {
                let wait = limits.reclaim_idle.map_or(u64::MAX, nanos);
                let due = ledger.moved(self.place).saturating_add(wait);
                let told = !self.oracle.denies && self.net.profile.late == 0;
                let unread = ledger.left_unread.is_some_and(|since| since < due);
                unless(told && unread, "reclaimed, while input lay unread")?;
                let owing = queued > 0 && !ledger.owes_words_alone(queued);
                let owing = owing || self.was_unshown();
                unless(owing || ledger.held || ledger.paused || ledger.eof, "it was not idle")?;
                left >= due
            }
            CloseReason::FirstByte => {
                let wait = ledger.first_byte.map_or(u64::MAX, nanos);
                let due = ledger.opened.saturating_add(wait);
                let told = !self.oracle.denies && self.net.profile.late == 0;
                let unread = ledger.left_unread.is_some_and(|since| since < due);
                unless(told && unread, "silent, while input lay unread")?;
                unless(ledger.pace.has_stood(), "silent, while nobody would have listened")?;
                ledger.shown == 0 && left >= due
            }
            CloseReason::TooSlow => self.too_slow(left)?,
            CloseReason::Idle => {
                let wait = ledger.idle.or(ledger.idle_of_all).unwrap_or(Duration::MAX);
                let wait = nanos(wait.min(ledger.idle_before));
                let due = ledger.moved(self.place).saturating_add(wait);
                // Unless the kernel denied that it had anything, or told of it late.
                let told = !self.oracle.denies && self.net.profile.late == 0;
                let unread = ledger.left_unread.is_some_and(|since| since < due);
                unless(told && unread, "idle, while input lay unread")?;
                unless(self.read_within(wait), "promise 2: idle, while the peer read")?;
                left >= due
            }
            CloseReason::WriteStall => {
                let due = ledger.taken(self.place).saturating_add(nanos(limits.write_stall));
                // It was offered once more: where the kernel had room again, it took some, but for signals.
                // Its layer's last words, which are no other output's, are what may have stalled.
                let moved = self.ledger.moved_then.unwrap_or(self.place.moved);
                let had_room = moved.delivered > moved.written && moved.delivered < left;
                let denies = self.oracle.denies || self.net.profile.interrupted > 0;
                let cut = had_room && !denies && !self.failed;
                unless(cut, "promise 2: a write stall, while the peer read")?;
                queued > 0 && left >= due
            }
            CloseReason::Shutdown => self.oracle.shutdown.is_some(),
            // The one is seen by `handed_over` here, the other by that of the oracle.
            CloseReason::Detached | CloseReason::HandedOver => false,
            CloseReason::Truncated => fin && ledger.is_cut_off() && !ledger.layer_failed(),
            CloseReason::Layer(_) => ledger.layer_failed() || (fin && ledger.is_shaking()),
            CloseReason::Handshake => {
                let read = self.place.link.halves[THERE].read;
                let late = self.after(ledger.upgraded, limits.handshake);
                late || read > limits.handshake_max as u64
            }
        };
        unless(!is_so, "the reason is another")?;
        self.last_word()?;
        let otherwise = ledger.cause.is_some()
            || ledger.closing.is_some()
            || ledger.finishing
            || self.failed
            || matches!(self.closed.reason, CloseReason::Source(_));
        unless(ledger.is_broken() && !otherwise, "a source failed first")?;
        let caused = ledger.cause.is_some();
        // What a layer says when it has failed is written later, whether that succeeds or not.
        let by_layer = matches!(self.closed.reason, CloseReason::Layer(_)) && ledger.layer_failed();
        let failed_first = self.failed && self.place.failed_after < ledger.cause_after && !by_layer;
        unless(caused && failed_first && !self.by_io(), "a failure came first")?;
        let deadline = matches!(
            self.closed.reason,
            CloseReason::FirstByte
                | CloseReason::TooSlow
                | CloseReason::Reclaimed
                | CloseReason::Idle
                | CloseReason::WriteStall
        );
        unless(caused && deadline && !self.failed && !self.at_last(), "the first cause is another")
    }

    /// The handler had the last word, and was told the truth.
    fn last_word(&self) -> Verdict {
        let ledger = self.ledger;
        let reason = &self.closed.reason;
        if let Some(told) = &ledger.closing {
            return unless(
                told.to_string() != reason.to_string(),
                "on_closing tells another reason",
            );
        }
        let in_order = reason.of_retiring().is_some();
        let cut = matches!(reason, CloseReason::TooSlow) && self.queued > 0;
        let late = self.failed || ledger.finishing || ledger.failed_open || self.at_last();
        unless(in_order && !cut && !late, "closed in order, and on_closing was not told")
    }

    /// Whether shutdown cut what was left.
    fn at_last(&self) -> bool {
        let shutdown_max = self.oracle.limits.shutdown_max;
        let cut = |(at, at_once)| at_once || self.after(Some(at), shutdown_max);
        self.oracle.shutdown.is_some_and(cut)
    }

    /// Whether something other than the two ends may have cut it.
    fn may_be_cut(&self) -> bool {
        let limits = &self.oracle.limits;
        self.queued > limits.output_max as u64
            || (self.is_crowded() && (self.queued > 0 || !self.ledger.streams.is_empty()))
            || self.after(self.place.fin_at, limits.linger)
            || self.after(self.ledger.leaves_from, limits.close_max)
            || self.after(Some(self.ledger.taken(self.place)), limits.write_stall)
            || self.at_last()
    }

    /// Clean is what both ends wanted and got, and nothing else is.
    fn clean(&self) -> Verdict {
        let incoming = &self.place.link.halves[THERE];
        let ended = incoming.fin_arrived && incoming.arrived.is_empty();
        let cut = matches!(
            self.closed.reason,
            CloseReason::Aborted
                | CloseReason::Panic(_)
                | CloseReason::Io(_)
                | CloseReason::Source(_)
                | CloseReason::FirstByte
                | CloseReason::TooSlow
                | CloseReason::Reclaimed
                | CloseReason::Idle
                | CloseReason::WriteStall
                | CloseReason::OutputLimit
                | CloseReason::BufferedLimit
        );
        let cut = cut || self.ledger.is_broken() || self.ledger.resets;
        let cut = cut || self.ledger.layer_failed() || self.ledger.is_cut_off();
        if self.closed.clean {
            unless(self.owed > 0 || !ended, "clean, and not all was taken, or no end seen")?;
            unless(cut || self.failed, "clean, and cut")
        } else {
            let why = cut || self.failed || self.may_be_cut() || self.ledger.aborted;
            unless(!why, "not clean, and nothing happened to it")
        }
    }

    /// It is told in time: nothing that a peer does postpones it.
    fn time(&self) -> Verdict {
        // After work that ends with readiness left over, a deadline is acted on one turn later.
        let net = self.net;
        if net.profile.stopped > 0 || net.profile.events_max < 1024 || net.worked > 0 {
            return Ok(());
        }
        let limits = &self.oracle.limits;
        let late = |from: Option<u64>, wait| {
            from.is_some_and(|from| comes_late(self.net.polls, from, wait))
        };
        let fin_at = self.place.fin_at.max(self.ledger.left);
        let lingered = self.ledger.lingered && !holds_much(self.net) && late(fin_at, limits.linger);
        unless(lingered, "it lingered for longer than allowed")?;
        unless(self.read_in_its_linger(), "promise 2: its linger is cut, while the peer read")?;
        let closed = late(self.ledger.left, limits.close_max);
        unless(closed, "its close took longer than allowed")
    }

    /// What the peer, or the handler, was to be given and was not.
    fn delivery(&self) -> Verdict {
        let ledger = self.ledger;
        let limits = &self.oracle.limits;
        let here = &self.place.link.ends[HERE];
        let abrupt = matches!(
            self.closed.reason,
            CloseReason::Aborted
                | CloseReason::Panic(_)
                | CloseReason::OutputLimit
                | CloseReason::BufferedLimit
                | CloseReason::WriteStall
                | CloseReason::Source(_)
        );
        let tcp = self.place.link.transport == Transport::Tcp;
        unless(tcp && abrupt && !here.reset_on_close && !self.failed, "the peer sees no reset")?;
        let asked = tcp && ledger.resets && !self.failed;
        unless(asked && !here.reset_on_close, "a reset was asked for, and the peer sees none")?;
        let left = self.place.link.undelivered(HERE);
        let cut = ledger.aborted || self.may_be_cut();
        unless(asked && left > 0 && !cut, "promise 2: reset before all has left")?;
        unless(ledger.lingered && here.reset_on_close, "a reset may destroy what was delivered")?;
        // What follows the layer's end is nothing, and so is what it cannot read.
        let ended = ledger.has_layer_ended() || ledger.layer_failed();
        let unread = !ended && !self.place.link.halves[THERE].arrived.is_empty();
        let stopped = ledger.stopped || ledger.paused || ledger.last.1 >= limits.input_max;
        let otherwise = ledger.must_end
            || ledger.aborted
            || ledger.cause.is_some()
            || self.queued > limits.output_max as u64
            || self.oracle.denies
            // What is left makes it one of those who hold most; that it had failed is the first cause.
            || (self.is_crowded() && self.holds())
            || self.oracle.shutdown.is_some();
        let withheld = self.by_io() && unread && !stopped && !otherwise;
        unless(withheld, "input that came before the failure was not shown")?;
        let left = ledger.left.unwrap_or(self.net.now);
        let calm = self.net.worked == 0 && self.net.profile.stopped == 0;
        let asleep = self.by_io() && unread && ledger.paused && !otherwise && calm;
        unless(asleep && left < self.comes_back_until(), "dead, and no time to come back to it")
    }

    /// Shutdown waits for what it promised to wait for, and for nothing else.
    fn shutdown(&self) -> Verdict {
        let (CloseReason::Shutdown, Some((_, false))) = (&self.closed.reason, self.oracle.shutdown)
        else {
            return Ok(());
        };
        let ledger = self.ledger;
        let asleep = ledger.paused || ledger.held;
        let due = ledger.wish || ledger.repeat_owed();
        if self.at_last() {
            let open = ledger.left.is_none_or(|left| left == self.net.now);
            let quiet = self.net.now > ledger.moved.saturating_add(100_000_000);
            let excuse = asleep || due || ledger.is_shaking() || ledger.stopped || self.queued > 0;
            // Or callbacks, of which one turn may have many, worked for all that time.
            let busy = self.net.profile.stopped > 0 || self.net.worked > 0;
            let later = ledger.wished || ledger.may_drain || busy;
            let idle = open && quiet && !excuse && !later;
            return unless(idle, "shutdown had nothing to wait for");
        }
        if self.failed || self.may_be_cut() || ledger.aborted {
            return Ok(());
        }
        let had = ledger.at_shutdown.unwrap_or(0);
        let forgot = ledger.counts.0 < had && !self.oracle.denies && !ledger.has_layer_ended();
        unless(forgot, "bytes that had come before shutdown were not read")?;
        unless(asleep || due || ledger.left_owing, "shutdown was to wait for it")
    }
}
