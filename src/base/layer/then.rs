//! Two layers, one above the other.
//!
//! The lower one's plain bytes are the upper one's wire. What the upper one has not consumed of them waits
//! between the two. Read next: `core/layer.rs`, for which the two are one.

use std::io;

use super::{Layer, Received};
use crate::base::address::Address;

/// Two layers as one: made by [`Layer::then`].
///
/// The upper one begins when the lower one is ready. It is ready when both are; its end is the upper one's,
/// or the lower one's where the upper one has none.
#[derive(Debug)]
pub struct Then<B, A> {
    below: B,
    above: A,
    /// Plain bytes of the lower one that the upper one has not consumed.
    between: Vec<u8>,
    /// The upper one was called.
    begun: bool,
    /// The upper one has more to give without new bytes.
    more: bool,
    below_ended: bool,
    /// The lower one has failed; the upper one first takes what came before.
    failed: Option<io::Error>,
}

impl<B: Layer, A: Layer> Then<B, A> {
    pub(crate) fn new(below: B, above: A) -> Self {
        Then::with(below, above, Vec::new())
    }

    /// The lower one has made these plain bytes already.
    pub(crate) fn with(below: B, above: A, between: Vec<u8>) -> Self {
        Then { below, above, between, begun: false, more: false, below_ended: false, failed: None }
    }

    /// Whether the lower one changes nothing any more, and the upper one has all that came through
    /// it: a header below TLS. Then it is not called, and no byte is copied for it.
    fn passes_below(&self) -> bool {
        self.begun
            && !self.more
            && self.between.is_empty()
            && !self.below_ended
            && self.failed.is_none()
            && self.below.is_over()
    }

    /// Lets the upper one have what lies between. Its own wire goes through the lower one, also where it
    /// has failed: that is its alert.
    fn receive_above(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> io::Result<Received> {
        let mut out = Vec::new();
        let received = self.above.receive(&mut self.between, plain, &mut out);
        if !out.is_empty() {
            self.below.send(&out, wire)?;
        }
        let received = received?;
        self.between.drain(..received.bytes().min(self.between.len()));
        if self.between.is_empty() {
            self.between = Vec::new();
        }
        Ok(received)
    }
}

impl<B: Layer, A: Layer> Layer for Then<B, A> {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        if self.passes_below() {
            return self.above.receive(bytes, plain, wire);
        }
        let mut received = Received::default();
        if !self.below_ended && self.failed.is_none() {
            match self.below.receive(bytes, &mut self.between, wire) {
                Ok(below) => {
                    received = Received { ended: false, ..below };
                    self.below_ended = below.is_ended();
                }
                Err(error) => self.failed = Some(error),
            }
        }
        let mut above = Received::default();
        if self.below.is_ready() && (!self.begun || self.more || !self.between.is_empty()) {
            self.begun = true;
            above = self.receive_above(plain, wire)?;
        }
        self.more = above.has_more() || (above.bytes() > 0 && !self.between.is_empty());
        if above.is_ended() {
            return Ok(received.ended());
        }
        if self.more {
            return Ok(received.more());
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.below_ended && self.above.has_end() {
            let what = "the layer below ended without an end of the one above";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        Ok(if self.below_ended { received.ended() } else { received })
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        if self.passes_below() {
            return self.above.send(plain, wire);
        }
        let mut out = Vec::new();
        let sent = self.above.send(plain, &mut out);
        if !out.is_empty() {
            self.below.send(&out, wire)?;
        }
        sent
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        let mut out = Vec::new();
        if self.below.is_ready() {
            self.above.end(&mut out);
            if !out.is_empty() && self.below.send(&out, wire).is_err() {
                return;
            }
        }
        self.below.end(wire);
    }

    fn is_ready(&self) -> bool {
        self.below.is_ready() && self.above.is_ready()
    }

    fn held(&self) -> usize {
        self.below.held() + self.above.held() + self.between.capacity()
    }

    fn has_end(&self) -> bool {
        self.below.has_end() || self.above.has_end()
    }

    fn half_closes(&self) -> bool {
        self.below.half_closes() && self.above.half_closes()
    }

    fn is_over(&self) -> bool {
        self.between.is_empty() && self.below.is_over() && self.above.is_over()
    }

    fn peer(&self) -> Option<Address> {
        self.above.peer().or_else(|| self.below.peer())
    }

    fn tells_peer(&self) -> bool {
        self.below.tells_peer() || self.above.tells_peer()
    }

    fn parts(&self) -> Option<(&dyn Layer, &dyn Layer)> {
        Some((&self.below, &self.above))
    }
}
