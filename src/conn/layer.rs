//! A connection with a layer: what is kept for it, and what it changes in the connection's life.
//!
//! What the handler sends waits as it is (*plain*) until the layer is ready and the queue below is
//! at or below low; what the layer makes of it (*wire*) is that queue, `Connection::output`, which
//! the kernel is given. What the layer has not consumed of the peer's bytes is kept here. The layer
//! is not called here: it is user code. Read next: `core/layer.rs`, which calls it.

use std::collections::VecDeque;

use super::{Connection, Phase};
use crate::base::close::CloseReason;
use crate::base::config::Limits;
use crate::base::id::Origin;
use crate::base::layer::Layer;
use crate::base::readiness::Readiness;
use crate::conn::flags::Flags;
use crate::conn::output::Output;
use crate::time::deadlines::Stamp;

/// The most that the layer is given at once of what waits for it.
pub(crate) const STEP: usize = 64 << 10;
/// A layer that consumes nothing of so many bytes, or of `input_max` if that is more, never will.
const RECORD_MAX: usize = 64 << 10;

/// What a connection with a layer has beyond others.
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
#[derive(Debug, Default)]
pub(crate) struct Layered {
    /// `None` while it is called, and before the first is in its place.
    layer: Option<Box<dyn Layer>>,
    /// The layer that takes its place when the running callback has returned: above it, if there is one.
    upgrade: Option<Box<dyn Layer>>,
    /// What was sent and has not gone through the layer, with its sources.
    plain: Output,
    /// Bytes of the peer that the layer has not consumed.
    pending: Vec<u8>,
    /// The layer may make something of those, or of none, without new ones.
    again: bool,
    /// What lies in the queue below.
    records: Records,
    /// By when the handshake must be over.
    ready_by: Stamp,
    /// Bytes of the peer that it has taken so far.
    shook: usize,
    /// Where it came from, for its `on_open`; `None`: that is known elsewhere, or over.
    origin: Option<Origin>,
    /// The peer has marked its end.
    ended: bool,
    /// Ours is marked, or is not to be.
    said_end: bool,
    /// The layer has failed: it is not called again.
    broken: bool,
}

impl Layered {
    pub(crate) fn new(layer: Box<dyn Layer>, origin: Option<Origin>) -> Self {
        Layered { layer: Some(layer), origin, ready_by: Stamp::NEVER, ..Layered::default() }
    }
}

/// A layer that is to take its place.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) layer: Box<dyn Layer>,
    /// The one that was there.
    pub(crate) below: Option<Box<dyn Layer>>,
    /// What was left of the input, which is for the new one.
    pub(crate) left: Vec<u8>,
}

/// The records in the queue below, in order.
#[derive(Debug, Default)]
struct Records {
    /// Of each its bytes on the wire that the kernel has not taken, and the handler's bytes in it.
    lens: VecDeque<(usize, usize)>,
    /// The handler's bytes in all of them.
    plain: usize,
}

impl Records {
    fn push(&mut self, wire: usize, plain: usize) {
        self.plain += plain;
        match self.lens.back_mut() {
            // Nothing of the handler's is in either. To wait for it, a record before it would not be whole.
            Some((last, 0)) if plain == 0 => *last += wire,
            _ => self.lens.push_back((wire, plain)),
        }
    }

    /// The kernel took so many bytes. Of a record that it has not taken whole the peer can make nothing.
    fn advance(&mut self, mut wire: usize) {
        while let Some((first, plain)) = self.lens.front_mut() {
            if wire < *first {
                *first -= wire;
                return;
            }
            wire -= *first;
            self.plain -= *plain;
            self.lens.pop_front();
        }
        self.lens = VecDeque::new();
    }
}

impl Connection {
    // --- The layer ------------------------------------------------------------------------------

    /// It has a layer from here on, whose time [begins](Self::begin_handshake) when it is established.
    pub(crate) fn set_layer(&mut self, layered: Layered) {
        if layered.origin.is_some() {
            self.flags.set(Flags::UNOPENED);
        }
        self.extras().layered = Some(Box::new(layered));
        self.flags.set(Flags::LAYERED);
        self.flags.set(Flags::SHAKING);
    }

    pub(crate) fn begin_handshake(&mut self, now: Stamp, limits: &Limits) {
        if let Some(layered) = self.layered_mut() {
            layered.ready_by = now.after(limits.handshake);
            layered.shook = 0;
            // Once without bytes.
            layered.again = true;
        }
    }

    /// Whether bytes go through a layer.
    #[inline]
    pub(crate) fn is_layered(&self) -> bool {
        self.flags.has(Flags::LAYERED)
    }

    fn layered(&self) -> Option<&Layered> {
        if !self.is_layered() {
            return None;
        }
        self.extras.as_ref()?.layered.as_deref()
    }

    fn layered_mut(&mut self) -> Option<&mut Layered> {
        if !self.is_layered() {
            return None;
        }
        self.extras.as_mut()?.layered.as_deref_mut()
    }

    /// The layer, also one that is over.
    pub(crate) fn layer(&self) -> Option<&dyn Layer> {
        let layered = self.extras.as_ref()?.layered.as_ref()?;
        layered.upgrade.as_deref().or(layered.layer.as_deref())
    }

    /// The layer, to be called and [put back](Self::put_layer). `None`: it has failed.
    pub(crate) fn take_layer(&mut self) -> Option<Box<dyn Layer>> {
        self.layered_mut().filter(|layered| !layered.broken)?.layer.take()
    }

    pub(crate) fn put_layer(&mut self, layer: Box<dyn Layer>) {
        if let Some(layered) = self.layered_mut() {
            layered.layer = Some(layer);
        }
    }

    /// The layer has failed. What came before is still offered; then it ends.
    pub(crate) fn break_layer(&mut self, reason: CloseReason) {
        self.flags.set(Flags::CUT);
        self.give_reason(reason);
        let Some(layered) = self.layered_mut() else { return };
        (layered.broken, layered.said_end, layered.again) = (true, true, false);
        layered.pending = Vec::new();
        let lost = layered.plain.len();
        layered.plain.clear();
        self.note_unfinished();
        self.lose(lost);
    }

    /// The handshake is over. Returns where it came from, if its `on_open` waits for that.
    pub(crate) fn handle_ready(&mut self) -> Option<Origin> {
        self.flags.clear(Flags::SHAKING);
        self.layered_mut()?.origin.take()
    }

    /// If from here on the layer changes nothing, and nothing waits for it, it is not called any
    /// more. Nor may bytes of its own wait below: they are no bytes of the handler's (`unsent`).
    pub(crate) fn retire_layer(&mut self) {
        let is_quiet = self.phase == Phase::Open && self.output.is_empty();
        if !is_quiet || self.flags.has(Flags::SHAKING) || self.is_broken() {
            return;
        }
        if let Some(layered) = self.layered_mut()
            && layered.layer.as_deref().is_some_and(Layer::is_over)
            && layered.pending.is_empty()
            && layered.plain.is_empty()
            && !layered.plain.has_source()
            && layered.upgrade.is_none()
            && !layered.ended
            && !layered.again
        {
            layered.records = Records::default();
            self.flags.clear(Flags::LAYERED);
        }
    }

    /// It is over: so is its layer.
    pub(super) fn drop_layer(&mut self) {
        if !self.is_layered() {
            return;
        }
        if self.is_truncated() {
            self.flags.set(Flags::CUT);
        }
        if let Some(extras) = &mut self.extras {
            extras.layered = None;
        }
    }

    // --- Another layer --------------------------------------------------------------------------

    /// Another layer takes its place when the running callback has returned; what is sent from here
    /// on waits for it.
    pub(crate) fn begin_upgrade(&mut self, layer: Box<dyn Layer>) {
        if !self.is_layered() {
            let raw = self.output.len();
            let mut layered = Layered { ready_by: Stamp::NEVER, ..Layered::default() };
            if raw > 0 {
                layered.records.push(raw, raw);
            }
            self.set_layer(layered);
        }
        self.flags.set(Flags::SHAKING);
        if let Some(layered) = self.layered_mut() {
            layered.upgrade = Some(layer);
        }
    }

    pub(crate) fn has_upgrade(&self) -> bool {
        self.layered().is_some_and(|layered| layered.upgrade.is_some())
    }

    /// The layer that is to take its place now; to be [put there](Self::end_upgrade).
    pub(crate) fn take_upgrade(&mut self) -> Option<Upgrade> {
        let layered = self.layered_mut()?;
        let (layer, below) = (layered.upgrade.take()?, layered.layer.take());
        self.flags.clear(Flags::OFFER);
        let left = self.leftover.take().map_or_else(Vec::new, |left| left.bytes().to_vec());
        Some(Upgrade { layer, below, left })
    }

    /// Puts the layer in its place. `left`: what is to go through it first.
    pub(crate) fn end_upgrade(&mut self, layer: Box<dyn Layer>, left: Vec<u8>) {
        if let Some(layered) = self.layered_mut() {
            layered.layer = Some(layer);
            if !left.is_empty() {
                layered.pending = left;
            }
            layered.said_end = false;
        }
    }

    // --- Bytes in -------------------------------------------------------------------------------

    /// Whether the peer's side is over, as its handler is to see it.
    pub(crate) fn is_input_over(&self) -> bool {
        self.flags.has(Flags::PEER_ENDED) || self.layered().is_some_and(|layered| layered.ended)
    }

    /// Whether the layer is to be called, with bytes that are kept or with those of a read. A
    /// handshake goes on whatever the handler has paused, and however much of what it sent waits
    /// for it.
    pub(crate) fn wants_receive(&self) -> bool {
        let Some(layered) = self.layered() else { return false };
        let goes_on = match self.phase {
            Phase::Open => {
                let shakes = self.flags.has(Flags::SHAKING) && !self.flags.has(Flags::RETIRING);
                self.is_reading() || shakes
            }
            Phase::Connecting | Phase::Draining | Phase::Lingering | Phase::Closed => false,
        };
        let is_there = if layered.ended { self.readiness.is_error() } else { self.wants_read() };
        goes_on && !layered.broken && layered.upgrade.is_none() && (layered.again || is_there)
    }

    /// What [`is_runnable`](Connection::is_runnable) is with a layer.
    pub(super) fn is_runnable_layered(&self, limits: &Limits) -> bool {
        let readable = self.wants_read();
        let writes = self.wants_flush() || self.wants_wrap(limits) || self.wants_pull(limits);
        match self.phase {
            Phase::Connecting => self.readiness != Readiness::EMPTY,
            Phase::Open => {
                (self.is_reading() && self.flags.has(Flags::OFFER))
                    || self.wants_receive()
                    || writes
                    || self.wants_eof(limits)
                    || self.wants_drain(limits)
                    || self.wants_look()
            }
            Phase::Draining => readable || writes,
            Phase::Lingering => readable,
            Phase::Closed => false,
        }
    }

    /// Whether it needs no new bytes for that.
    pub(crate) fn receives_again(&self) -> bool {
        self.layered().is_some_and(|layered| layered.again)
    }

    /// Whether nothing more comes without a read.
    pub(super) fn has_received_all(&self) -> bool {
        !self.is_layered()
            || !(self.receives_again() || self.flags.has(Flags::SHAKING) || self.is_broken())
    }

    /// Whether it owes nothing and is owed nothing, but for having a layer.
    pub(super) fn is_quiet_layered(&self) -> bool {
        let mut flags = self.flags;
        flags.clear(Flags::LAYERED);
        let shakes = flags.has(Flags::SHAKING);
        self.phase == Phase::Open
            && self.is_layered()
            && !shakes
            && !flags.has(Flags::SLOW)
            && !self.owes()
            && !self.has_pending()
            && !self.is_input_over()
    }

    /// Bytes of the peer that the layer has not consumed.
    pub(crate) fn take_pending(&mut self) -> Vec<u8> {
        self.layered_mut().map(|layered| std::mem::take(&mut layered.pending)).unwrap_or_default()
    }

    /// Keeps them.
    pub(crate) fn keep_pending(&mut self, pending: Vec<u8>) {
        if let Some(layered) = self.layered_mut().filter(|layered| !layered.broken) {
            layered.pending = pending;
        }
    }

    /// Whether the layer may make something of those, or of none, as they are.
    pub(crate) fn note_again(&mut self, again: bool) {
        if let Some(layered) = self.layered_mut().filter(|layered| !layered.broken) {
            layered.again = again;
        }
    }

    /// What the layer does not make a record of, if those are too many bytes.
    pub(crate) fn pending_too_long(&self, limits: &Limits) -> Option<usize> {
        let layered = self.layered().filter(|layered| !layered.again)?;
        let len = layered.pending.len();
        (len >= limits.input_max.max(RECORD_MAX)).then_some(len)
    }

    /// So many bytes of the peer have come in the handshake. Returns whether that is too many.
    pub(crate) fn count_handshake(&mut self, bytes: usize, limits: &Limits) -> bool {
        let Some(layered) = self.layered_mut() else { return false };
        layered.shook += bytes;
        layered.shook > limits.handshake_max
    }

    /// The peer has marked its end.
    pub(crate) fn handle_layer_end(&mut self) {
        if let Some(layered) = self.layered_mut() {
            layered.ended = true;
        }
    }

    /// Whether the peer's stream has ended, or is taken to, without the mark that its layer has.
    pub(crate) fn is_truncated(&self) -> bool {
        self.layered().is_some_and(|layered| {
            let has_end = layered.layer.as_deref().is_none_or(Layer::has_end);
            has_end && !layered.ended
        })
    }

    /// Whether bytes of the peer wait in the layer, for the rest of a record.
    pub(super) fn has_pending(&self) -> bool {
        self.layered().is_some_and(|layered| !layered.pending.is_empty())
    }

    // --- Bytes out ------------------------------------------------------------------------------

    /// Where what is sent waits: before the layer, or for the kernel.
    pub(crate) fn queue(&self) -> &Output {
        match self.layered() {
            Some(layered) => &layered.plain,
            None => &self.output,
        }
    }

    pub(crate) fn queue_mut(&mut self) -> &mut Output {
        if self.is_layered()
            && let Some(layered) =
                self.extras.as_mut().and_then(|extras| extras.layered.as_deref_mut())
        {
            return &mut layered.plain;
        }
        &mut self.output
    }

    /// Bytes queued: those of the handler that wait for the layer, and those on their way to the kernel.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        let plain = if self.is_layered() { self.queue().len() } else { 0 };
        self.output.len() + plain
    }

    /// Whether what is sent waits for its layer.
    pub(crate) fn has_plain(&self) -> bool {
        self.layered().is_some_and(|layered| !layered.plain.is_empty())
    }

    /// Whether the layer may be given what is sent, as far as it and the queue below are concerned.
    fn takes_plain(&self, limits: &Limits) -> bool {
        let stands = self.flags.has(Flags::SHAKING) || self.flags.has(Flags::FAILED);
        matches!(self.phase, Phase::Open | Phase::Draining)
            && !stands
            && self.output.len() <= limits.output_low
            && self.layered().is_some_and(|layered| !layered.broken && !layered.said_end)
    }

    /// Whether the layer is to be given what waits for it.
    pub(crate) fn wants_wrap(&self, limits: &Limits) -> bool {
        self.is_layered() && self.has_plain() && self.takes_plain(limits)
    }

    /// Whether the layer may be given what waits for it whatever the queue below holds, because
    /// another follows.
    pub(crate) fn may_drain_plain(&self) -> bool {
        self.is_layered()
            && self.phase == Phase::Open
            && self.has_plain()
            && !self.flags.has(Flags::SHAKING)
            && !self.is_broken()
    }

    /// Whether the layer may be given what is sent now: nothing waits before it.
    pub(crate) fn may_wrap(&self, limits: &Limits) -> bool {
        !self.has_plain() && !self.has_source() && self.takes_plain(limits)
    }

    /// Whether a piece of a source would go through the layer.
    pub(super) fn may_pull(&self, limits: &Limits) -> bool {
        self.takes_plain(limits)
    }

    /// A record comes into the queue below.
    pub(crate) fn push_record(&mut self, wire: usize, plain: usize) {
        if let Some(layered) = self.layered_mut() {
            layered.records.push(wire, plain);
        }
    }

    /// The kernel took so many bytes.
    pub(crate) fn advance_records(&mut self, wire: usize) {
        if let Some(layered) = self.layered_mut() {
            layered.records.advance(wire);
        }
    }

    /// Forgets all that is queued. Returns the number of the handler's bytes in it.
    pub(super) fn drop_queued(&mut self) -> usize {
        let lost = match self.layered_mut() {
            Some(layered) => {
                let lost = layered.plain.len() + layered.records.plain;
                layered.plain.clear();
                layered.records = Records::default();
                lost
            }
            None => self.output.len(),
        };
        self.output.clear();
        lost
    }

    /// Bytes allocated for its layer and what waits for that.
    pub(super) fn held_for_layer(&self) -> usize {
        self.layered().map_or(0, |layered| {
            let own = layered.layer.as_deref().map_or(0, Layer::held);
            let records = layered.records.lens.capacity() * size_of::<(usize, usize)>();
            layered.plain.held() + layered.pending.capacity() + records + own
        })
    }

    // --- Ends -----------------------------------------------------------------------------------

    /// Whether the layer has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.layered().is_some_and(|layered| layered.broken)
    }

    /// Whether it is to be closed now, because its layer has failed: all that came before was offered.
    pub(crate) fn ends_broken(&self, limits: &Limits) -> bool {
        if !self.is_broken() || self.phase != Phase::Open {
            return false;
        }
        // Without an `on_open` nothing can be offered.
        let unread = self.flags.has(Flags::OFFER) || self.comes_again(limits);
        let paused = self.flags.has(Flags::PAUSED) && self.has_left();
        self.flags.has(Flags::UNOPENED) || !(unread || paused)
    }

    /// By when the handshake must be over; after a failure, by when a handler that has paused must
    /// have read what came before it, and the kernel have taken some of what is owed.
    pub(super) fn layer_until(&self, limits: &Limits) -> Stamp {
        if self.is_broken() {
            return self.moved().after(limits.linger).min(self.owes_until(limits));
        }
        self.ready_by()
    }

    /// Whether our FIN is due and nothing is to be said before it.
    pub(crate) fn wants_fin(&self) -> bool {
        self.is_fin_due() && !self.owes_last_words() && !self.shakes_before_fin()
    }

    /// Whether an end that `finish` asked for waits for the handshake.
    fn shakes_before_fin(&self) -> bool {
        self.phase == Phase::Open && self.flags.has(Flags::SHAKING)
    }

    /// Whether the handler does not know it yet, because its handshake goes on: nothing is owed to it.
    pub(super) fn awaits_handshake(&self) -> bool {
        self.flags.has(Flags::SHAKING) && self.flags.has(Flags::UNOPENED) && !self.is_broken()
    }

    /// Whether the last words of the layer are due: all that was sent is with the kernel, and our
    /// end follows.
    pub(crate) fn wants_last_words(&self) -> bool {
        self.owes_last_words() && self.is_fin_due() && !self.shakes_before_fin()
    }

    /// Whether they are still to be said.
    pub(crate) fn owes_last_words(&self) -> bool {
        self.layered().is_some_and(|layered| !layered.said_end)
    }

    pub(crate) fn handle_last_words(&mut self) {
        if let Some(layered) = self.layered_mut() {
            layered.said_end = true;
            // Nothing may have been read since the peer's layer ended: its FIN is looked for.
            self.readiness.merge(Readiness::READABLE);
        }
    }

    /// Whether both sides of it can only end together.
    pub(super) fn ends_together(&self) -> bool {
        let layer = self.layered().and_then(|layered| layered.layer.as_ref());
        layer.is_some_and(|layer| !layer.half_closes())
    }

    /// Whether the peer's end is to be answered by ours.
    pub(crate) fn closes_at_end(&self) -> bool {
        self.phase == Phase::Open && self.flags.has(Flags::EOF_TOLD) && self.ends_together()
    }

    /// By when the handshake must be over.
    pub(super) fn ready_by(&self) -> Stamp {
        if !self.flags.has(Flags::SHAKING) {
            return Stamp::NEVER;
        }
        self.layered().map_or(Stamp::NEVER, |layered| layered.ready_by)
    }

    /// Whether shutdown may close it: it was accepted, and is in a handshake that what the kernel
    /// held does not bring to its end. Nothing was asked of us yet.
    pub(crate) fn may_leave_shaking(&self) -> bool {
        self.phase == Phase::Open
            && self.flags.has(Flags::SHAKING)
            && self.flags.has(Flags::EXHAUSTED)
            && !self.receives_again()
            && self.layered().is_some_and(|layered| layered.origin.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "`Closed.unsent` in the handler's bytes": what the layer itself says behind them is none of them.
    #[test]
    fn a_record_of_the_handlers_is_taken_when_it_is_whatever_the_layer_said_behind_it() {
        let mut records = Records::default();
        records.push(13, 10);
        records.push(3, 0);
        records.push(2, 0);
        records.advance(12);
        assert_eq!(records.plain, 10);
        records.advance(1);
        assert_eq!((records.plain, records.lens.len()), (0, 1));
        records.advance(5);
        assert_eq!(records.lens.capacity(), 0, "what is not queued costs nothing");
    }
}
