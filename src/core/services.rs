//! The services of a reactor: what each has open, counted, and its caps.
//!
//! A service is a number here: a connection bears it (`Connection::service`), and so do a listener,
//! a datagram socket and a timer, from the callback that made them (`Callback::service`).
//! Invariant: `open` of all parts is the number of connections. Whose callbacks those are is for
//! `src/services.rs`.

use std::io;
use std::time::Duration;

use super::per_address::PerAddress;
use super::{Core, Entry};
use crate::base::address::Address;
use crate::base::caps::{Caps, Own};
use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::base::report::ServiceReport;
use crate::base::stats::ServiceStats;
use crate::conn::Connection;
use crate::conn::flags::Flags;

/// All services that there is something of.
#[derive(Debug)]
pub(crate) struct Services {
    /// By number.
    parts: Vec<Part>,
    /// Whether any keeps places back.
    reserves: bool,
}

/// One service.
#[derive(Debug, Default)]
struct Part {
    caps: Caps,
    per_address: PerAddress,
    stats: ServiceStats,
}

impl Services {
    pub(super) fn new() -> Self {
        Services { parts: vec![Part::default()], reserves: false }
    }

    fn part(&self, service: u8) -> Option<&Part> {
        self.parts.get(usize::from(service))
    }

    fn part_mut(&mut self, service: u8) -> &mut Part {
        let at = usize::from(service);
        if at >= self.parts.len() {
            self.parts.resize_with(at + 1, Part::default);
        }
        &mut self.parts[at]
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.parts.len() > 1
    }

    pub(super) fn stats_mut(&mut self, service: u8) -> &mut ServiceStats {
        &mut self.part_mut(service).stats
    }

    pub(crate) fn stats(&self, service: u8) -> ServiceStats {
        self.part(service).map(|part| part.stats.clone()).unwrap_or_default()
    }

    /// The connections that the service's own cap still allows.
    fn below_cap(&self, service: u8) -> usize {
        let below = |part: &Part| Some(part.caps.connections?.saturating_sub(part.stats.open));
        self.part(service).and_then(below).unwrap_or(usize::MAX)
    }

    /// The places that are kept back for others.
    fn kept_from(&self, service: u8) -> usize {
        if !self.reserves {
            return 0;
        }
        let kept = |part: &Part| part.caps.reserve.saturating_sub(part.stats.open);
        let others = self.parts.iter().enumerate().filter(|(n, _)| *n != usize::from(service));
        others.map(|(_, part)| kept(part)).sum()
    }

    /// The places that are left for this service, where `all` of `most` are taken.
    fn places(&self, service: u8, all: usize, most: usize) -> usize {
        let left = most.saturating_sub(all.saturating_add(self.kept_from(service)));
        left.min(self.below_cap(service))
    }

    /// The connections at which one more of this service has no place.
    pub(super) fn most(&self, service: u8, most: usize) -> usize {
        let own = self.part(service).and_then(|part| part.caps.connections).unwrap_or(usize::MAX);
        own.min(most.saturating_sub(self.kept_from(service)))
    }

    /// Whether a connection of the one makes a place for one of the other when it goes.
    pub(super) fn makes_place(&self, from: u8, to: u8) -> bool {
        let is_beyond_reserve = |part: &Part| part.stats.open > part.caps.reserve;
        from == to || (self.below_cap(to) > 0 && self.part(from).is_some_and(is_beyond_reserve))
    }

    /// A connection is this service's from now on: what that says of its connections holds.
    pub(super) fn enter(&mut self, conn: &mut Connection, service: u8) {
        conn.service = service;
        let part = self.part_mut(service);
        part.stats.open += 1;
        conn.set_patience(&part.caps);
    }

    fn leave(&mut self, service: u8) {
        self.stats_mut(service).open -= 1;
    }

    /// Whether this address has as many connections of the service as its own cap allows.
    fn is_full_for(&self, service: u8, peer: &Address) -> bool {
        let Some(part) = self.part(service) else { return false };
        let most = part.caps.connections_per_address;
        most.is_some_and(|most| part.per_address.is_full(peer, most))
    }

    /// Whether connections are counted by address for it.
    fn counts_addresses(&self, service: u8) -> bool {
        self.part(service).is_some_and(|part| part.caps.connections_per_address.is_some())
    }

    /// How long an accepted connection of the service may be silent, where all may be so for this long.
    pub(super) fn first_byte(&self, service: u8, all: Option<Duration>) -> Option<Duration> {
        self.part(service).map_or(all, |part| part.caps.first_byte.or(all))
    }

    /// What each has open now, for the report of a shutdown; nothing where there is but one.
    pub(super) fn report(&self) -> Vec<ServiceReport> {
        let of = |part: &Part| ServiceReport { done: part.stats.open as u64, ..Default::default() };
        if self.are_several() { self.parts.iter().map(of).collect() } else { Vec::new() }
    }

    /// The caps of memory that there are, by service.
    pub(super) fn buffered_caps(&self) -> impl Iterator<Item = (u8, usize)> {
        let cap =
            |(n, part): (usize, &Part)| Some((u8::try_from(n).ok()?, part.caps.buffered_max?));
        self.parts.iter().enumerate().filter_map(cap)
    }

    /// Whether no connection is counted by its address any more.
    #[allow(dead_code, reason = "asked by the oracle of `sim.rs` alone")]
    pub(crate) fn are_addresses_empty(&self) -> bool {
        self.parts.iter().all(|part| part.per_address.is_empty())
    }
}

impl Core {
    /// Sets the caps of a service. What it has open stays, whatever they say.
    pub(crate) fn set_caps(&mut self, service: u8, caps: Caps) -> io::Result<()> {
        caps.check()?;
        let most = self.limits.connections;
        let others = self.services.parts.iter().enumerate();
        let others =
            others.filter(|(n, _)| *n != usize::from(service)).map(|(_, part)| part.caps.reserve);
        let reserved = others.fold(caps.reserve, usize::saturating_add);
        if reserved > most {
            let what = format!(
                "Caps: reserve keeps {reserved} connections back, and {most} are the limit"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.limits.paces |= matches!(caps.min_rate, Own::Own(Some(_)));
        self.services.reserves = reserved > 0;
        let caps_memory = caps.buffered_max.is_some();
        self.services.part_mut(service).caps = caps;
        if caps_memory {
            let held =
                self.conns.iter().map(|entry| (entry.conn.service, entry.conn.output.counted));
            self.memory.count_by_service(held);
        }
        // There may be more places now, or fewer.
        self.note_places();
        self.wake_listeners();
        Ok(())
    }

    /// The service that a connection is of, which may be of another reactor.
    pub(crate) fn service_of(&self, id: ConnId) -> Option<u8> {
        self.entry(id).map(|entry| entry.conn.service)
    }

    /// Whether one more connection of this service has a place.
    pub(super) fn has_place(&self, service: u8) -> bool {
        self.places(service) > 0
    }

    /// How many more connections of this service have a place.
    pub(super) fn places(&self, service: u8) -> usize {
        self.services.places(service, self.conns.len(), self.limits.connections)
    }

    /// A connection has left its place.
    pub(super) fn leave_service(&mut self, entry: &Entry) {
        let service = entry.conn.service;
        self.services.leave(service);
        if entry.conn.flags.has(Flags::COUNTED) {
            self.uncount_address(service, &entry.peer.address());
        }
    }

    /// A connection that was counted by its address is so no more.
    pub(super) fn uncount_address(&mut self, service: u8, peer: &Address) {
        self.per_address.leave(peer);
        self.services.part_mut(service).per_address.leave(peer);
    }

    /// Whether as many connections of this service come from there as may.
    pub(super) fn is_full_for(&self, service: u8, peer: &Address) -> bool {
        let most = self.limits.connections_per_address;
        most.is_some_and(|most| self.per_address.is_full(peer, most))
            || self.services.is_full_for(service, peer)
    }

    /// Counts a connection among those of its address, where that is limited.
    pub(super) fn count_address(&mut self, id: ConnId) {
        let entry = self.conns.get_mut(id).expect("a connection that was just let in");
        let service = entry.conn.service;
        if self.limits.connections_per_address.is_none() && !self.services.counts_addresses(service)
        {
            return;
        }
        entry.conn.flags.set(Flags::COUNTED);
        let peer = entry.peer.address();
        self.per_address.enter(&peer);
        self.services.part_mut(service).per_address.enter(&peer);
    }

    // --- From one service to another ------------------------------------------------------------

    /// Gives a connection to another service, if its own is served now; that is done when no callback runs.
    pub(crate) fn hand_to(&mut self, id: ConnId, service: u8, tag: u64) {
        let Core { conns, callback, effects, .. } = self;
        let Some(Entry { conn, .. }) = conns.find_mut(id).filter(|it| it.conn.may_be_handed_over())
        else {
            return;
        };
        conn.hand_over();
        effects.note_opening(id, Origin::HandedOver(tag), Some(service));
        // No message of what is left is handed out here.
        callback.note_rest(id, conn);
        self.mark_dirty(id);
    }

    /// The other's `on_open` is next: what the first has asked for, to its `on_close`, is forgotten.
    pub(super) fn forget_wishes(&mut self, id: ConnId) {
        let Core { services, conns, .. } = self;
        if let Some(Entry { conn, .. }) = conns.get_mut(id) {
            conn.forget_wishes();
            conn.set_patience(&services.part_mut(conn.service).caps);
        }
    }

    /// The connection leaves its service, and is the other's: `on_open` of that follows. Returns
    /// how the first is to be told.
    pub(crate) fn change_service(&mut self, id: ConnId, service: u8, origin: Origin) -> Closed {
        let Core { services, memory, conns, .. } = self;
        let entry = conns.get_mut(id).expect("what waits for its on_open is there");
        entry.conn.take_over();
        memory.recount(&mut entry.conn);
        let before = entry.conn.service;
        services.leave(before);
        services.enter(&mut entry.conn, service);
        memory.move_between(before, service, entry.conn.output.counted);
        if entry.conn.flags.has(Flags::COUNTED) {
            let peer = entry.peer.address();
            services.part_mut(before).per_address.leave(&peer);
            services.part_mut(service).per_address.enter(&peer);
        }
        services.stats_mut(before).closed.count(&CloseReason::HandedOver);
        services.stats_mut(service).taken_over += 1;
        log::debug!("{}: from service {before} to {service} ({id})", entry.peer);
        self.effects.note_opening_next(id, origin);
        self.ending.move_between(before, service);
        // There is a place more in the one.
        self.note_places();
        self.wake_listeners();
        Closed::handed_over(before)
    }
}
