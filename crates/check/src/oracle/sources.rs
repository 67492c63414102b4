//! What is known of the sources that a handler sends from: what each is to bring, how far it was read, and
//! what was sent behind it.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cause, Ledger, Oracle, planned};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::kernel::link::HERE;
use crate::kernel::rng::Rng;
use crate::kernel::trace::What;

/// A source, as those who are to account for it see it.
#[derive(Clone, Debug)]
pub(crate) struct Probe(Arc<Mutex<Known>>);

/// What comes behind the bytes of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Told,
    Error,
    Panic,
}

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    end: End,
    /// How much of it was read, and when last.
    read: usize,
    read_at: u64,
    /// How much of it was read before its present piece, and after how many calls of sockets that began:
    /// each piece that has any bytes is followed by a call.
    queued: usize,
    calls: u64,
    /// It has told its end, or failed; and was read once more.
    said: bool,
    said_twice: bool,
    drops: u32,
}

impl Probe {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was dropped, once.
    pub(crate) fn is_gone(&self) -> bool {
        self.known().drops == 1
    }
}

/// A source of known bytes, which come in pieces of all sizes.
pub(crate) struct Reader {
    probe: Probe,
    kernel: Kernel,
    rng: Rng,
    most: usize,
}

impl Oracle {
    /// A source of these bytes.
    pub(crate) fn reader(&self, bytes: &[u8], end: End, mut rng: Rng) -> Reader {
        let known = Known {
            bytes: bytes.to_vec(),
            end,
            read: 0,
            read_at: 0,
            queued: 0,
            calls: 0,
            said: false,
            said_twice: false,
            drops: 0,
        };
        let most = *rng.pick(&[1, 10, 1000, 100_000]);
        let probe = Probe(Arc::new(Mutex::new(known)));
        Reader { probe, kernel: self.kernel.clone(), rng, most }
    }

    /// A source was accepted for a connection.
    pub(crate) fn sent_from(&mut self, cx: &Context, link: u32, probe: Probe) {
        self.catch_up(link);
        let low = self.limits.output_low as u64;
        let mut net = self.kernel.state();
        // While there is a source, output does not come down to low.
        net.links[link as usize].owes = (u64::MAX, low);
        net.note(link, What::Note("send_from()", probe.known().bytes.len() as u64));
        drop(net);
        let ledger = self.ledger(link);
        ledger.probes.push(probe.clone());
        ledger.streams.push_back(Stream { probe, seen: 0, then: Vec::new() });
        self.watch_level(cx, link);
    }

    /// Takes note of what was read meanwhile of the sources of a connection.
    pub(super) fn catch_up(&mut self, link: u32) {
        let low = self.limits.output_low;
        let rests = self.rests_from();
        let Some(Some(ledger)) = self.ledgers.get_mut(link as usize) else { return };
        ledger.note_peak(low, rests);
        if ledger.streams.is_empty() {
            return;
        }
        let mut net = self.kernel.state();
        let now = net.now;
        let place = &mut net.links[link as usize];
        let written = place.link.halves[HERE].written;
        ledger.catch_up(written);
        self.panics += u64::from(ledger.note_panic(now));
        if ledger.streams.is_empty() {
            let sent = ledger.wire_of(ledger.sent.len());
            place.owes = (sent, low as u64);
            if sent.saturating_sub(written) <= low as u64 {
                place.dipped = true;
                ledger.resting = false;
            }
        }
    }
}

impl Reader {
    pub(crate) fn probe(&self) -> Probe {
        self.probe.clone()
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.rng.chance(50) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let calls = self.kernel.state().calls;
        let now = self.kernel.now();
        let mut known = self.probe.known();
        if calls != known.calls {
            (known.calls, known.queued) = (calls, known.read);
        }
        let rest = &known.bytes[known.read..];
        let n = rest.len().min(buf.len()).min(self.rng.size(1, self.most));
        buf[..n].copy_from_slice(&rest[..n]);
        if n == 0 {
            known.said_twice |= known.said;
            known.said = true;
            if known.end == End::Panic {
                // The piece is lost with it.
                known.read = known.queued;
                drop(known);
                resume_unwind(Box::new("as planned"));
            }
            return if known.end == End::Error { Err(planned()) } else { Ok(0) };
        }
        known.read += n;
        known.read_at = now;
        Ok(n)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.probe.known().drops += 1;
    }
}

/// A source of a connection that has not come to its end, and what was sent after it.
#[derive(Debug)]
pub(super) struct Stream {
    probe: Probe,
    /// How much of it is among the bytes that were sent.
    seen: usize,
    then: Vec<u8>,
}

impl Ledger {
    fn catch_up(&mut self, written: u64) {
        while let Some(stream) = self.streams.front_mut() {
            let known = stream.probe.known();
            if known.read > stream.seen {
                let sent = self.sent.len() as u64;
                let books = self.books.as_ref();
                let total = books.map_or(sent, |books| books.known().total(sent));
                if total <= written {
                    self.owed_from = self.owed_from.max(known.read_at);
                }
                self.sent.extend_from_slice(&known.bytes[stream.seen..known.read]);
                stream.seen = known.read;
            }
            if !known.said || known.end != End::Told {
                return;
            }
            drop(known);
            let ended = self.streams.pop_front().map(|stream| stream.then);
            self.sent.extend(ended.unwrap_or_default());
        }
    }

    /// Bytes were sent: behind the last source, if there is one.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let then = self.streams.back_mut().map_or(&mut self.sent, |stream| &mut stream.then);
        then.extend_from_slice(bytes);
    }

    /// Bytes that were sent, those that wait behind a source included.
    pub(super) fn sent_len(&self) -> usize {
        self.sent.len() + self.streams.iter().map(|stream| stream.then.len()).sum::<usize>()
    }

    /// What may be kept free for the next piece: behind a source there is less room. Nothing, if there
    /// never was one.
    pub(super) fn reserve(&self, output_max: usize) -> usize {
        if self.is_sourced() { (output_max / 8).max(1) } else { 0 }
    }

    /// Whether it was ever sent from a source.
    pub(super) fn is_sourced(&self) -> bool {
        !self.probes.is_empty()
    }

    /// A source of it has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.streams.front().is_some_and(|stream| {
            let known = stream.probe.known();
            known.said && known.end == End::Error
        })
    }

    /// If a source of it has panicked, that is a cause. Returns whether it has, once.
    fn note_panic(&mut self, now: u64) -> bool {
        let Some(stream) = self.streams.front() else { return false };
        let known = stream.probe.known();
        if self.source_panicked || !known.said || known.end != End::Panic {
            return false;
        }
        let calls = known.calls;
        drop(known);
        self.source_panicked = true;
        self.aborted = true;
        self.causes(Cause::Panic, calls, now);
        true
    }

    /// What its sources have to say against the account of its end.
    pub(super) fn sources_lost(&self) -> Option<&'static str> {
        if self.probes.iter().any(|probe| !probe.is_gone()) {
            return Some("a source was not dropped, or twice");
        }
        let twice = self.probes.iter().any(|probe| probe.known().said_twice);
        twice.then_some("a source was read behind its end")
    }
}
