//! Of several services: whose callback it is, who has a place, and what goes from one to another.
//!
//! What is counted here of each is counted from what its handler was told and from the connections
//! that are there, and compared with the library's own counts. Where there is but one service, that
//! is service 0.

use super::{Ledger, Oracle, Word};
use crate::base::caps::Caps;
use crate::base::close::Closed;
use crate::base::id::{ConnId, ListenerId};
use crate::conn::Phase;
use crate::conn::flags::Flags;
use crate::context::Context;
use crate::core::Entry;
use crate::kernel::State;

/// Of a service: how many wait, whether there is no place for it, and who waits first.
pub(super) type Waiting = (u8, usize, bool, Option<u32>);

/// One service.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) caps: Caps,
    listener: Option<ListenerId>,
    /// It has paused accepting.
    pub(super) accepts_none: bool,
    pub(super) told_shutdown: bool,
    /// Who waited first at the last rest, and since which rest.
    waits: Option<(u32, u64)>,
    /// How often each was told.
    handed: u64,
    taken: u64,
}

impl Oracle {
    /// Which services there are: of each its caps, and its listener.
    pub(crate) fn services(&mut self, parts: Vec<(Caps, ListenerId)>) {
        let part = |(caps, listener)| Part { caps, listener: Some(listener), ..Part::default() };
        self.parts = parts.into_iter().map(part).collect();
    }

    /// A callback of this service begins.
    pub(crate) fn serves(&mut self, service: u8, cx: &Context) {
        self.serving = service;
        let said = cx.core.callback.service();
        if said != service {
            self.complain(format!("a callback of service {service} is that of service {said}"));
        }
    }

    pub(super) fn part_mut(&mut self, service: u8) -> &mut Part {
        &mut self.parts[usize::from(service)]
    }

    pub(super) fn caps(&self, service: u8) -> Option<&Caps> {
        self.parts.get(usize::from(service)).map(|part| &part.caps)
    }

    /// Whether the connections of its service, or all, may hold so little that it comes to that.
    pub(super) fn is_crowded_for(&self, ledger: &Ledger) -> bool {
        let is_capped = |of| self.caps(of).is_some_and(|caps| caps.buffered_max.is_some());
        let next = ledger.handing.is_some_and(|(to, _)| is_capped(to));
        self.is_crowded || is_capped(ledger.service) || next
    }

    /// The service that a listener is of.
    pub(super) fn service_at(&self, listener: ListenerId) -> u8 {
        let at = self.parts.iter().position(|part| part.listener == Some(listener));
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    }

    /// The times that a connection has by its service.
    pub(super) fn set_patience(&self, ledger: &mut Ledger) {
        let caps = self.caps(ledger.service);
        ledger.idle_of_all = caps.map_or(self.limits.idle, |caps| caps.idle.or(self.limits.idle));
        let first_byte = self.limits.first_byte;
        ledger.first_byte = caps.map_or(first_byte, |caps| caps.first_byte.or(first_byte));
    }

    pub(crate) fn retires(cx: &Context, id: ConnId) -> bool {
        cx.core.entry(id).is_some_and(|entry| entry.conn.flags.has(Flags::RETIRING))
    }

    // --- Places ---------------------------------------------------------------------------------

    fn entries_of(cx: &Context, service: u8) -> impl Iterator<Item = &Entry> {
        let ids = cx.core.connection_ids().into_iter();
        let entries = ids.filter_map(|id| cx.core.entry(id));
        entries.filter(move |entry| entry.conn.service == service)
    }

    fn open_of(cx: &Context, service: u8) -> usize {
        Self::entries_of(cx, service).count()
    }

    /// The places that are kept back for others.
    fn kept_from(&self, cx: &Context, service: u8) -> usize {
        let others = (0..).zip(&self.parts).filter(|(n, _)| *n != service);
        let kept = |(n, part): (u8, &Part)| part.caps.reserve.saturating_sub(Self::open_of(cx, n));
        others.map(kept).sum()
    }

    /// Whether there is a place for so many more of this service.
    pub(super) fn has_places(&self, cx: &Context, service: u8, more: usize) -> bool {
        let own = self.caps(service).and_then(|caps| caps.connections).unwrap_or(usize::MAX);
        let taken = cx.core.conns.len() + self.kept_from(cx, service);
        taken + more <= self.limits.connections && Self::open_of(cx, service) + more <= own
    }

    /// Whether the end of a connection of the one makes a place for one of the other.
    pub(super) fn makes_place(&self, cx: &Context, from: u8, to: u8) -> bool {
        let own = self.caps(to).and_then(|caps| caps.connections).unwrap_or(usize::MAX);
        let reserve = self.caps(from).map_or(0, |caps| caps.reserve);
        from == to || (Self::open_of(cx, to) < own && Self::open_of(cx, from) > reserve)
    }

    /// How many wait for each service, whether there is no place for it, and who waits first.
    pub(super) fn waiting(&self, cx: &Context, net: &State) -> Vec<Waiting> {
        let of = |(n, part): (u8, &Part)| {
            let address = part.listener.and_then(|id| cx.core.listener_addr(id));
            let at = |link: &&u32| Some(&net.links[**link as usize].to) == address;
            let all = net.at_door();
            let is_one = self.parts.len() == 1;
            let own: Vec<_> = all.iter().filter(|link| is_one || at(link)).collect();
            (n, own.len(), !self.has_places(cx, n, 1), own.first().map(|link| **link))
        };
        (0..).zip(&self.parts).map(of).collect()
    }

    /// Since when that one is known to wait first.
    pub(super) fn waits_since(&self, service: u8, first: Option<u32>) -> Option<u64> {
        let waits = self.parts[usize::from(service)].waits;
        waits.filter(|(link, _)| Some(*link) == first).map(|(_, since)| since)
    }

    /// At rest.
    pub(super) fn note_waiting(&mut self, waiting: &[Waiting], now: u64) {
        for &(service, _, full, first) in waiting {
            let since = self.waits_since(service, first).unwrap_or(now);
            self.part_mut(service).waits = first.filter(|_| full).map(|first| (first, since));
        }
    }

    pub(super) fn accepts_of(&self, service: u8) -> bool {
        !self.parts[usize::from(service)].accepts_none
    }

    /// A new connection of a service, by which it or all may be more than allowed. In a shutdown
    /// all that waits is let in.
    pub(super) fn check_place(&mut self, cx: &Context, link: u32, service: u8) {
        if self.shutdown.is_none() && !self.has_places(cx, service, 0) {
            let n = Self::open_of(cx, service);
            self.complain(format!(
                "promise 4: #{link} is of service {service}, which had no place: it has {n} now"
            ));
        }
    }

    // --- From one service to another ------------------------------------------------------------

    /// The handler hands a connection over. Returns whether that comes to anything.
    pub(crate) fn hands(&mut self, link: u32, is_open: bool, to: u8, tag: u64) -> bool {
        self.note(link, "hand_to()", usize::from(to));
        let ledger = self.ledger(link);
        let served = ledger.is_served() && ledger.closing.is_none() && !ledger.finishing;
        let goes = is_open && served;
        if goes {
            self.takes_places = true;
            let ledger = self.ledger(link);
            ledger.handing = Some((to, tag));
            // Its end is told to the other; what was left when it was told here is gone.
            ledger.eof = false;
            ledger.consumed = ledger.consumed.max(std::mem::take(&mut ledger.dropped));
        }
        goes
    }

    /// So many bytes were consumed of it before.
    pub(crate) fn consumed_of(&mut self, link: u32) -> u64 {
        self.ledger(link).consumed
    }

    /// What `on_eof` did with its input, if the connection is another's from there on.
    pub(crate) fn consumed_at_end(&mut self, link: u32, consumed: usize, left: usize) {
        let ledger = self.ledger(link);
        if ledger.handing.is_some() {
            ledger.consumed += consumed as u64;
            ledger.last = (consumed, left, Word::None);
        } else {
            ledger.dropped = ledger.shown;
        }
    }

    /// The first service is told that a connection goes.
    pub(crate) fn handed_over(&mut self, cx: &Context, id: ConnId, link: u32, closed: &Closed) {
        self.note(link, "on_close: handed over", usize::from(closed.service));
        self.callbacks += 1;
        let serving = self.serving;
        if self.inside {
            self.complain(format!("promise 3: on_close of #{link} inside another callback"));
        }
        let ledger = self.ledger(link);
        let due = ledger.handing.is_some_and(|(to, _)| cx.core.service_of(id) == Some(to));
        let is_so = due && ledger.id == id && ledger.cause.is_none() && !ledger.between;
        let accounts = closed.service == ledger.service && serving == ledger.service;
        ledger.between = true;
        if !is_so || ledger.told || !accounts || closed.unsent > 0 {
            self.complain(format!("promise 3: #{link} is told to be handed over: {closed:?}"));
        }
        self.part_mut(serving).handed += 1;
    }

    /// The second service is told that a connection has come. What the first had asked for is
    /// forgotten, and what it did not consume is as if it had just come. Returns whether that was
    /// due.
    pub(super) fn takes_over(&mut self, cx: &Context, id: ConnId, link: u32, tag: u64) -> bool {
        let serving = self.serving;
        let ledger = self.ledger(link);
        let handing = ledger.handing.take();
        let due = handing == Some((serving, tag)) && std::mem::take(&mut ledger.between);
        ledger.service = serving;
        ledger.shown = ledger.consumed;
        ledger.last = (0, 0, Word::None);
        ledger.untold = true;
        (ledger.paused, ledger.held, ledger.full_duplex) = (false, false, false);
        (ledger.wished, ledger.wish, ledger.may_wish) = (false, false, false);
        (ledger.timer, ledger.idle, ledger.must_end) = (None, None, false);
        ledger.paused_in_time = false;
        let is_so = due && ledger.id == id && cx.core.service_of(id) == Some(serving);
        let mut ledger = self.ledgers[link as usize].take().expect("it is there");
        self.set_patience(&mut ledger);
        self.ledgers[link as usize] = Some(ledger);
        self.part_mut(serving).taken += 1;
        is_so
    }

    /// The handler sends to all of its service.
    pub(crate) fn broadcasts(&mut self, cx: &Context, ids: &[ConnId]) {
        let serving = self.serving;
        let own = self.live.iter().filter(|link| {
            let ledger = self.ledgers[**link as usize].as_ref();
            ledger.is_some_and(|it| it.service == serving && !it.told && cx.core.is_opened(it.id))
        });
        let own = own.count();
        if own != ids.len() {
            let n = ids.len();
            self.complain(format!("service {serving} has {own} connections, and is told of {n}"));
        }
    }

    // --- After a turn, and at the end -----------------------------------------------------------

    pub(super) fn services_wronged(&mut self, cx: &Context) -> Option<String> {
        for number in self.live.clone() {
            let Some(ledger) = &mut self.ledgers[number as usize] else { continue };
            let (id, service) = (ledger.id, ledger.service);
            let entry = cx.core.entry(id);
            if let Some(handing) = ledger.handing {
                let is_open = entry.is_some_and(|entry| entry.conn.phase() == Phase::Open);
                if ledger.between && !is_open {
                    // Ended between the two callbacks: nobody is told any more.
                    let by_handler = ledger.cause.is_some();
                    let limited = ledger.sent_len() > self.limits.output_max;
                    let astray = usize::from(handing.0) >= self.parts.len();
                    ledger.failed_open = true;
                    let ledger = self.ledgers[number as usize].as_ref().expect("it is there");
                    if !(by_handler || limited || astray || self.is_crowded_for(ledger)) {
                        return Some(format!("promise 3: #{number} is handed over to nobody"));
                    }
                }
                continue;
            }
            if let Some(entry) = entry
                && entry.conn.service != service
            {
                let now = entry.conn.service;
                return Some(format!("#{number} of service {service} is of service {now}"));
            }
        }
        for (n, part) in (0..).zip(&self.parts) {
            let stats = cx.core.services.stats(n);
            let (open, said) = (Self::open_of(cx, n), stats.open);
            if open != said {
                return Some(format!("service {n} has {open} connections, {said} are counted"));
            }
            let held: usize = Self::entries_of(cx, n).map(|entry| entry.conn.held()).sum();
            if part.caps.buffered_max.is_some_and(|most| held > most) {
                return Some(format!("promise 4: service {n} holds {held} bytes: {:?}", part.caps));
            }
        }
        None
    }

    pub(super) fn services_at_end(&self, cx: &Context) -> Option<String> {
        let mut accepted = 0;
        for (n, part) in (0..).zip(&self.parts) {
            let stats = cx.core.services.stats(n);
            let came = stats.accepted + stats.adopted + stats.connected + stats.taken_over;
            accepted += stats.accepted;
            let (to, from) = (stats.taken_over, stats.closed.handed_over);
            if (came, stats.open) != (stats.closed.total(), 0)
                || part.handed != from
                || part.taken > to
            {
                return Some(format!("service {n} contradicts itself: {stats:?}, {part:?}"));
            }
            if !part.told_shutdown {
                return Some(format!("promise 7: service {n} was not asked to shut down"));
            }
        }
        let all = cx.stats();
        if (all.accepted, all.closed.handed_over) != (accepted, 0) {
            return Some(format!("{accepted} were accepted by the services, and: {all:?}"));
        }
        let report = cx.core.ending.report();
        let sum = |of: fn(&crate::base::report::ServiceReport) -> u64| -> u64 {
            report.services.iter().map(of).sum()
        };
        let sums = (sum(|it| it.done), sum(|it| it.cut), sum(|it| it.unsent));
        if cx.core.services.len() > 1 && sums != (report.done, report.cut, report.unsent) {
            return Some(format!("promise 7: the services' parts are not the whole: {report:?}"));
        }
        None
    }
}
