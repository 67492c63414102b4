//! What the handler is shown: each byte once and in order, and again only where it may come again.

use super::{Oracle, has_failed, level_at};
use crate::base::id::ConnId;
use crate::client::byte;
use crate::conn::input::Input;
use crate::context::Context;
use crate::kernel::link::{HERE, THERE};

/// The handler's last word about its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It did not wait.
    None,
    /// For the end of a line.
    Line,
    /// For so many bytes in all.
    Bytes(usize),
}

impl Oracle {
    fn check_window(&mut self, link: u32, input: &Input<'_>) {
        let net = self.kernel.state();
        let ledger = self.ledgers[link as usize].as_ref().expect("entered");
        let read = ledger.read(&net.links[link as usize]);
        drop(net);
        let window = input.bytes();
        let seen = input.seen();
        // A layer makes as much as it does of one call.
        let ledger = self.ledger(link);
        let more = ledger.layer(|known| known.most).unwrap_or(0);
        let max = self.limits.input_max + more;
        let ledger = self.ledger(link);
        let begin = ledger.consumed;
        let wanted = usize::try_from(ledger.shown - begin).unwrap_or(0);
        ledger.shown = ledger.shown.max(begin + window.len() as u64);
        // Each byte is made once, however often what is left is shown.
        let expected = &mut ledger.expected;
        let gone = usize::try_from(begin - ledger.expected_from).unwrap_or(usize::MAX);
        expected.drain(..gone.min(expected.len()));
        ledger.expected_from = begin;
        let made = begin + expected.len() as u64..begin + window.len() as u64;
        expected.extend(made.map(|at| byte(link, at)));
        if !expected.make_contiguous().starts_with(window) {
            let differs = |(had, is): (&u8, &u8)| had != is;
            let at = begin + expected.iter().zip(window).position(differs).unwrap_or(0) as u64;
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

    pub(crate) fn data(&mut self, cx: &Context, id: ConnId, link: u32, input: &Input<'_>) {
        self.enter(cx, id, link, "on_data", input.len());
        self.check_window(link, input);
        self.check_pace(link);
        let new = input.len() - input.seen();
        let queued = self.level(link);
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let repeat = ledger.repeat_allowed();
        let word = ledger.last.2;
        let (paused, resting, eof) = (ledger.paused, ledger.resting, ledger.eof);
        let ended = ledger.must_end;
        ledger.untold = false;
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
        // A failure comes before the limit, and then all there is to read is shown.
        if ended && !has_failed(cx, id) {
            self.complain(format!("promise 4: #{link} is called beyond input_max"));
        }
        if paused {
            self.complain(format!("#{link} is shown input while it is paused"));
        }
        let dipped = self.kernel.state().links[link as usize].dipped;
        let full_duplex = self.ledger(link).full_duplex;
        if resting && !full_duplex && queued > low && !dipped && !has_failed(cx, id) {
            self.complain(format!("promise 5: #{link} is read from while it owes {queued} bytes"));
        }
        if eof {
            self.complain(format!("promise 3: on_data of #{link} after on_eof"));
        }
    }

    /// What a call of `on_data` did with its input.
    pub(crate) fn consumed(&mut self, link: u32, consumed: usize, left: usize, word: Word) {
        let (max, owed) = (self.limits.input_max, self.level(link));
        let low = self.limits.output_low;
        let now = self.kernel.now();
        let ledger = self.ledger(link);
        if consumed > 0 || ledger.last.1 == 0 {
            ledger.pace.begins(now);
        }
        ledger.consumed += consumed as u64;
        ledger.last = (consumed, left, word);
        ledger.must_end = match word {
            Word::Bytes(n) => n > max,
            Word::None | Word::Line => {
                left >= max && consumed == 0 && !ledger.paused && owed <= low
            }
        };
    }

    pub(crate) fn eof(&mut self, cx: &Context, id: ConnId, link: u32, rest: &Input<'_>) {
        self.enter(cx, id, link, "on_eof", rest.len());
        self.check_window(link, rest);
        let net = self.kernel.state();
        let half = &net.links[link as usize].link.halves[THERE];
        let place = &net.links[link as usize];
        let ledger = self.ledgers[link as usize].as_ref().expect("entered");
        let early =
            !ledger.has_ended(place) && (ledger.is_cut_off() || !place.link.ends[HERE].dead);
        // What follows the layer's end is nothing.
        let unread = half.arrived.len();
        let unread = if ledger.has_layer_ended() { 0 } else { unread };
        let dipped = net.links[link as usize].dipped;
        let ledger = self.ledgers[link as usize].as_ref().expect("entered");
        let queued = level_at(&net.links[link as usize], ledger);
        drop(net);
        let low = self.limits.output_low;
        let ledger = self.ledger(link);
        let (twice, paused, resting) = (ledger.eof, ledger.paused, ledger.resting);
        let owed = ledger.repeat_owed();
        let (_, left, word) = ledger.last;
        let waits = left > 0 && word == Word::None && queued > low && !dipped;
        ledger.eof = true;
        ledger.last = (0, 0, Word::None);
        if early || unread > 0 {
            self.complain(format!("promise 2: on_eof of #{link} with {unread} bytes unread"));
        }
        if twice {
            self.complain(format!("promise 3: on_eof of #{link} twice"));
        }
        let full_duplex = self.ledger(link).full_duplex;
        if paused || (resting && !full_duplex && queued > low && !dipped && !has_failed(cx, id)) {
            self.complain(format!("on_eof of #{link} while it does not read"));
        }
        if owed || (waits && !has_failed(cx, id)) {
            self.complain(format!("again: on_eof of #{link} before all was offered"));
        }
    }
}
