//! What the oracle knows of connections with a layer: what a byte on the wire stands for.
//!
//! All it is told it is told by the layer itself and by the peer, which are the tests': how much
//! wire the layer made of which bytes, how many bytes it made of which wire, and how many of those
//! the peer had said.

use std::net::IpAddr;

use super::{Ledger, Oracle};
use crate::base::id::ConnId;
use crate::base::layer::{Layer, find};
use crate::client::Log;
use crate::conn::Phase;
use crate::conn::flags::Flags;
use crate::context::Context;
use crate::kernel::link::{HERE, THERE};
use crate::kernel::{Moved, Place, State};
use crate::layering::{Books, Known, Watched};

impl Ledger {
    /// Asks the books of its layer, if it has one.
    pub(super) fn layer<T>(&self, ask: impl FnOnce(&Known) -> T) -> Option<T> {
        self.books.as_ref().map(|books| ask(&books.known()))
    }

    pub(super) fn is_layered(&self) -> bool {
        self.books.is_some()
    }

    /// Bytes read that are the handler's.
    pub(super) fn read(&self, place: &Place) -> u64 {
        let read = place.link.halves[THERE].read;
        self.layer(|known| known.made_of(read)).unwrap_or(read)
    }

    /// Bytes read that the layer has not consumed.
    pub(super) fn pending(&self, place: &Place) -> u64 {
        let read = place.link.halves[THERE].read;
        self.layer(|known| if known.over { 0 } else { known.pending(read) }).unwrap_or(0)
    }

    /// Bytes of the handler's that the kernel has taken.
    pub(super) fn taken_of(&self, place: &Place) -> u64 {
        let written = place.link.halves[HERE].written;
        self.layer(|known| known.taken(written)).unwrap_or(written)
    }

    /// When the handler has sent so many bytes in all, so many there are to be written, with what
    /// waits for the layer counted as it is.
    pub(super) fn wire_of(&self, sent: usize) -> u64 {
        self.layer(|known| known.total(sent as u64)).unwrap_or(sent as u64)
    }

    /// Whether its handshake goes on.
    pub(super) fn is_shaking(&self) -> bool {
        self.layer(|known| !known.ready).unwrap_or(false)
    }

    pub(super) fn layer_failed(&self) -> bool {
        self.layer(|known| known.failed).unwrap_or(false)
    }

    /// Whether the peer has marked its end: what follows is not read.
    pub(super) fn has_layer_ended(&self) -> bool {
        self.layer(|known| known.ended).unwrap_or(false)
    }

    /// Whether the peer has ended, as its handler is to see it.
    pub(super) fn has_ended(&self, place: &Place) -> bool {
        let fin = place.link.halves[THERE].fin_arrived;
        self.layer(|known| known.ended || (fin && !known.has_end)).unwrap_or(fin)
    }

    /// What had moved when it left `Open`, or was about to: its layer's last words came later.
    pub(super) fn moved_at_end(&self, place: &Place) -> Moved {
        let words = self.layer(|known| known.moved).flatten();
        self.moved_then.or(words).unwrap_or(place.moved)
    }

    /// What its layer made may have come to more than what was sent.
    pub(super) fn note_peak(&mut self, low: usize, rests: usize) {
        let Some(books) = &self.books else { return };
        let peak = std::mem::take(&mut books.known().peak);
        let peak = usize::try_from(peak).unwrap_or(usize::MAX);
        self.may_drain |= peak >= rests;
        self.above_low |= peak > low;
    }

    /// Whether no more is owed than its layer's last words.
    pub(super) fn owes_words_alone(&self, queued: u64) -> bool {
        self.layer(|known| known.said_end && queued <= known.words).unwrap_or(false)
    }

    /// Bytes that its layer has added to what was sent.
    pub(super) fn added(&self) -> usize {
        let added = self.layer(|known| known.wire.saturating_sub(known.handed));
        usize::try_from(added.unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// What its peer heard, and was not to hear.
    pub(super) fn misheard(&self, log: &Log, place: &Place) -> Option<&'static str> {
        let (ready, failed, words) = self.layer(|known| {
            let ready = known.ready && (!known.said_end || known.ends_ready);
            (ready, known.failed, known.has_end)
        })?;
        if log.misheard && ready {
            return Some("what it was sent is none of its layer's protocol");
        }
        if log.wire > place.link.halves[HERE].written {
            return Some("it received more wire than was written");
        }
        let silent =
            log.ended && place.fin_at.is_some() && ready && !failed && words && !log.heard_end;
        silent.then_some("our end came without the layer's last words")
    }

    /// Whether an end of the stream now would be no end of its layer's.
    pub(super) fn is_cut_off(&self) -> bool {
        self.layer(|known| known.has_end && !known.ended).unwrap_or(false)
    }
}

/// Whether it is one of those that headers tell of.
fn is_told(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[..3] == [10, 7, 0])
}

impl Oracle {
    /// Finds the books of the layer that a connection has when it is opened.
    pub(super) fn find_books(&mut self, cx: &Context, id: ConnId, link: u32) {
        let layer = cx.core.entry(id).and_then(|entry| entry.conn.layer());
        let books = match layer.and_then(find::<Watched>) {
            Some(watched) => watched.books(),
            // It is over already, and so is its layer.
            None if self.layered => Books::of_the_gone(),
            None => return,
        };
        self.keeps_books(link, books);
        // In its handshake, too, output may have been above high.
        let rests = self.rests_from();
        let ledger = self.ledger(link);
        ledger.may_drain |= ledger.layer(|known| known.wire >= rests as u64) == Some(true);
    }

    /// Whether a header has told the peer's address.
    pub(super) fn is_told(&self, cx: &Context, id: ConnId) -> bool {
        self.tells_peers
            && cx.core.entry(id).is_some_and(|entry| entry.peer.address().ip().is_some_and(is_told))
    }

    /// The told peer is the connection's, and no more of that address are open than may be.
    pub(super) fn check_told(&mut self, cx: &Context, id: ConnId, link: u32) {
        let peer = |id| cx.core.entry(id).map(|entry| entry.peer.address());
        let layer = cx.core.entry(id).and_then(|entry| entry.conn.layer());
        let told = layer.and_then(Layer::peer);
        if layer.is_some() && told != peer(id) {
            self.complain(format!("#{link} is told as {told:?}, and comes from {:?}", peer(id)));
        }
        let Some(most) = self.limits.connections_per_address else { return };
        let ip = told.and_then(|told| told.ip());
        let same = |link: &&u32| {
            let ledger = self.ledgers[**link as usize].as_ref();
            let ledger = ledger.filter(|ledger| !ledger.told && self.is_told(cx, ledger.id));
            ledger.is_some_and(|ledger| peer(ledger.id).and_then(|peer| peer.ip()) == ip)
        };
        if self.live.iter().filter(same).count() > most {
            self.complain(format!("promise 4: #{link} is one more of {ip:?} than the limit"));
        }
    }

    /// Whether the peer has ended in the handshake, or said more in it than it may.
    pub(super) fn handshake_went_wrong(&self, link: u32) -> bool {
        let net = self.kernel.state();
        let half = &net.links[link as usize].link.halves[THERE];
        half.fin_arrived || half.read > self.limits.handshake_max as u64
    }

    pub(super) fn keeps_books(&mut self, link: u32, books: Books) {
        books.known().link = Some(link);
        self.ledger(link).books = Some(books);
    }

    /// From here on it has a layer.
    pub(crate) fn upgrades(&mut self, link: u32, books: Books) {
        let now = self.kernel.now();
        self.keeps_books(link, books);
        self.ledger(link).upgraded = Some(now);
        self.note(link, "upgrade()", 0);
    }

    /// What is held for those of whom the handler does not know, since their handshake goes on.
    pub(super) fn held_in_handshakes(&self, cx: &Context) -> usize {
        let ids = cx.core.connection_ids().into_iter();
        let unknown = ids.filter(|id| self.ledgers.iter().flatten().all(|one| one.id != *id));
        let held = |id| {
            let conn = &cx.core.entry(id)?.conn;
            let shakes = conn.flags.has(Flags::UNOPENED) && conn.flags.has(Flags::SHAKING);
            (shakes && conn.phase() != Phase::Connecting).then(|| conn.held())
        };
        unknown.filter_map(held).sum()
    }

    /// What a layer was told that none is to be.
    pub(super) fn layers_wronged(&self) -> Option<String> {
        self.live.iter().find_map(|link| {
            let ledger = self.ledgers[*link as usize].as_ref()?;
            let what = ledger.layer(|known| known.wrong)??;
            Some(format!("#{link}: {what}"))
        })
    }

    /// What an open connection that reads waits for, and its layer could make.
    pub(super) fn unmade(&self, net: &State, link: u32, ledger: &Ledger) -> Option<String> {
        let logs = self.logs.all();
        let log = logs.get(link as usize)?;
        let read = net.links[link as usize].link.halves[THERE].read;
        let whole = log.said.partition_point(|(wire, _)| *wire <= read);
        let said = whole.checked_sub(1).map_or(0, |last| log.said[last].1);
        let (made, over) =
            ledger.layer(|known| (known.made_of(read), known.over || known.failed))?;
        (made < said && !over)
            .then(|| format!("promise 1: {said} bytes are read, {made} were made"))
    }
}
