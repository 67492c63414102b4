//! Layers in the worlds: the toy protocol of the tests, alone, twice, or behind a header that tells
//! the peer.
//!
//! Our side is a [`Watched`] layer, which notes what it was given and what it made: by that the
//! oracle knows how many of the handler's bytes a byte on the wire stands for. The peer's side is a
//! [`Voice`], which a client speaks with: in order, cut off, or none of this protocol. Read next:
//! `oracle/layers.rs`.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::address::Address;
use crate::base::config::Config;
use crate::base::layer::{Layer, Received};
use crate::kernel::link::HERE;
use crate::kernel::rng::Rng;
use crate::kernel::{Kernel, Moved};
use crate::toy::Toy;

/// What stands between a connection's bytes and its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    /// The toy protocol. `lazy`: one record a call.
    One { lazy: bool },
    /// Twice, one above the other.
    Two,
    /// A header, which tells the peer and is over.
    Told,
    /// The toy protocol behind such a header.
    ToldAndOne,
}

/// The layers of a world.
#[derive(Clone, Debug)]
pub(crate) struct Layering {
    stack: Stack,
    /// Accepted connections have none until their `on_open`.
    pub(crate) upgrades: bool,
    /// Of so many addresses headers tell.
    addresses: u64,
    /// So many of a thousand peers are improper.
    improper: u32,
}

impl Layering {
    /// From a stream of its own, and with limits that it may meet.
    pub(crate) fn draw(seed: u64, tidy: bool, config: Config) -> (Self, Config) {
        let mut rng = Rng::new(seed ^ 0x1A7E_2500_1A7E_2500);
        let stack = match rng.below(6) {
            0 | 1 => Stack::One { lazy: false },
            2 => Stack::One { lazy: true },
            3 => Stack::Two,
            4 => Stack::Told,
            _ => Stack::ToldAndOne,
        };
        let upgrades = matches!(stack, Stack::One { .. } | Stack::Two) && rng.chance(300);
        let improper = if tidy { 0 } else { *rng.pick(&[0, 100, 400]) };
        let addresses = rng.within(1, 4);
        let layering = Layering { stack, upgrades, addresses, improper };
        let config = if tidy {
            config.handshake(Duration::from_secs(7 * 24 * 3600))
        } else {
            let config = config.handshake(Duration::from_millis(rng.within(1, 3000)));
            let config =
                if rng.chance(200) { config.handshake_max(rng.size(1, 300)) } else { config };
            let most = layering.tells_peer().then(|| rng.size(1, 3));
            if rng.chance(500) && most.is_some() {
                config.connections_per_address(most)
            } else {
                config
            }
        };
        (layering, config)
    }

    pub(crate) fn tells_peer(&self) -> bool {
        matches!(self.stack, Stack::Told | Stack::ToldAndOne)
    }

    /// The layer of a connection that we accept.
    pub(crate) fn accepted(&self, kernel: &Kernel) -> Watched {
        Watched::new(kernel, self.stack.ours())
    }

    /// And of one that we make, which tells no peer.
    pub(crate) fn connected(&self, kernel: &Kernel) -> Option<Watched> {
        Some(Watched::new(kernel, self.stack.outside()?.ours()))
    }

    /// The peer's side of one that we accept.
    pub(crate) fn voice(&self, rng: &mut Rng) -> Voice {
        let manner = if rng.chance(self.improper) { Manner::draw(rng) } else { Manner::Proper };
        let told = self.tells_peer().then(|| {
            let host = u8::try_from(rng.within(1, self.addresses)).unwrap_or(1);
            format!("10.7.0.{host}:999").parse().expect("it is an address")
        });
        Voice::new(self.stack, told, manner)
    }

    /// And of one that we make.
    pub(crate) fn answer(&self, rng: &mut Rng) -> Option<Voice> {
        let stack = self.stack.outside()?;
        let manner = if rng.chance(self.improper) { Manner::draw(rng) } else { Manner::Proper };
        Some(Voice::new(stack, None, manner))
    }
}

impl Stack {
    fn ours(self) -> Box<dyn Layer> {
        match self {
            Stack::One { lazy } => {
                let mut toy = Toy::server(6);
                toy.lazy = lazy;
                Box::new(toy)
            }
            Stack::Two => Box::new(Toy::new(6).then(Toy::server(9))),
            Stack::Told => Box::new(Header::default()),
            Stack::ToldAndOne => Box::new(Header::default().then(Toy::server(6))),
        }
    }

    fn theirs(self) -> Box<dyn Layer> {
        match self {
            Stack::One { .. } | Stack::ToldAndOne => Box::new(Toy::new(5)),
            Stack::Two => Box::new(Toy::new(5).then(Toy::new(3))),
            Stack::Told => Box::new(Nothing),
        }
    }

    fn outside(self) -> Option<Self> {
        match self {
            Stack::One { .. } | Stack::Two => Some(self),
            Stack::ToldAndOne => Some(Stack::One { lazy: false }),
            Stack::Told => None,
        }
    }
}

/// What a layer was given, and what it made.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Of which connection, once that is known.
    pub(crate) link: Option<u32>,
    /// Of each call that sent, where its wire ends, and the handler's bytes.
    sends: Vec<(u64, u64)>,
    /// Bytes of wire made, of the handler's bytes given.
    pub(crate) wire: u64,
    pub(crate) handed: u64,
    /// Bytes of the peer consumed, plain ones made of them, and the most of those in one call.
    pub(crate) consumed: u64,
    pub(crate) made: u64,
    pub(crate) most: usize,
    pub(crate) ready: bool,
    /// The peer has marked its end; we have; it has failed.
    pub(crate) ended: bool,
    pub(crate) said_end: bool,
    /// What had moved before that.
    pub(crate) moved: Option<Moved>,
    pub(crate) failed: bool,
    /// How long its last words were, and whether its handshake was over then.
    pub(crate) words: u64,
    pub(crate) ends_ready: bool,
    /// What it said it holds.
    pub(crate) held: usize,
    pub(crate) over: bool,
    /// The most that was owed on the wire since that was last asked.
    pub(crate) peak: u64,
    pub(crate) has_end: bool,
    /// It was called as no layer is to be.
    pub(crate) wrong: Option<&'static str>,
}

impl Known {
    /// Of the handler's bytes so many are with the kernel, which has taken so much wire.
    pub(crate) fn taken(&self, written: u64) -> u64 {
        if self.over {
            return written;
        }
        let whole = self.sends.partition_point(|(wire, _)| *wire <= written);
        whole.checked_sub(1).map_or(0, |last| self.sends[last].1)
    }

    /// Plain bytes made, of so many that were read.
    pub(crate) fn made_of(&self, read: u64) -> u64 {
        self.made + if self.over { self.pending(read) } else { 0 }
    }

    /// Bytes of the peer that wait for more, of so many that were read.
    pub(crate) fn pending(&self, read: u64) -> u64 {
        if self.ended || self.failed { 0 } else { read.saturating_sub(self.consumed) }
    }

    /// When the handler has sent so many bytes in all, so much wire there is, taking what waits for
    /// the layer as it is.
    pub(crate) fn total(&self, sent: u64) -> u64 {
        match (self.over, self.failed) {
            (true, _) => sent,
            // What waited for it is lost.
            (false, true) => self.wire,
            (false, false) => self.wire + sent.saturating_sub(self.handed),
        }
    }
}

/// What the oracle is told of a layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books(Arc<Mutex<Known>>);

impl Books {
    /// Of a layer that is not called any more.
    pub(crate) fn of_the_gone() -> Self {
        let books = Books::default();
        books.known().ready = true;
        books
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer that keeps books.
#[derive(Debug)]
pub(crate) struct Watched {
    layer: Box<dyn Layer>,
    books: Books,
    kernel: Opaque,
}

/// The kernel has nothing to show.
struct Opaque(Kernel);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("kernel")
    }
}

impl Watched {
    fn new(kernel: &Kernel, layer: Box<dyn Layer>) -> Self {
        let books = Books::default();
        books.known().has_end = layer.has_end();
        Watched { layer, books, kernel: Opaque(kernel.clone()) }
    }

    pub(crate) fn books(&self) -> Books {
        self.books.clone()
    }

    /// So much wire was made of so many of the handler's bytes: what is to be written comes to more.
    fn note(&self, wire: usize, plain: usize) {
        let mut known = self.books.known();
        known.wire += wire as u64;
        known.handed += plain as u64;
        if plain > 0 {
            let end = (known.wire, known.handed);
            known.sends.push(end);
        }
        let Some(link) = known.link else { return };
        drop(known);
        let mut net = self.kernel.0.state();
        let place = &mut net.links[link as usize];
        let owes = &mut place.owes.0;
        if *owes != u64::MAX {
            *owes = (*owes + wire as u64).saturating_sub(plain as u64);
        }
        let owes = *owes;
        let written = place.link.halves[HERE].written;
        drop(net);
        let mut known = self.books.known();
        // What the running callback has sent may not have been told yet.
        let peak = owes.max(known.wire).saturating_sub(written);
        known.peak = known.peak.max(peak);
    }

    fn expect(&self, is_so: bool, what: &'static str) {
        if !is_so {
            self.books.known().wrong.get_or_insert(what);
        }
    }
}

impl Layer for Watched {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        let known = self.books.known();
        let (failed, ended, said_end) = (known.failed, known.ended, known.said_end);
        drop(known);
        self.expect(!failed, "a layer that has failed is lent bytes");
        self.expect(!ended, "a layer is lent what follows the peer's end");
        let (len, was, had) = (bytes.len(), plain.len(), wire.len());
        let result = self.layer.receive(bytes, plain, wire);
        let is_ready = self.layer.is_ready();
        let mut known = self.books.known();
        known.made += (plain.len() - was) as u64;
        known.most = known.most.max(plain.len() - was);
        known.ready |= is_ready;
        known.failed = result.is_err();
        known.consumed += result.as_ref().map_or(len, |received| received.bytes()) as u64;
        known.ended |= result.as_ref().is_ok_and(|received| received.is_ended());
        drop(known);
        // Behind its last words nothing goes out.
        if !said_end {
            self.note(wire.len() - had, 0);
        }
        result
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let known = self.books.known();
        let (failed, said_end, ready) = (known.failed, known.said_end, known.ready);
        drop(known);
        self.expect(!failed, "a layer that has failed is given bytes to send");
        self.expect(!said_end, "a layer is given bytes to send behind its last words");
        self.expect(ready, "a layer is given bytes to send before its handshake is over");
        let had = wire.len();
        let result = self.layer.send(plain, wire);
        self.note(wire.len() - had, plain.len());
        result
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        let known = self.books.known();
        let (failed, said_end) = (known.failed, known.said_end);
        drop(known);
        self.expect(!failed, "a layer that has failed is asked for its last words");
        self.expect(!said_end, "a layer is asked for its last words twice");
        let had = wire.len();
        self.layer.end(wire);
        let link = self.books.known().link;
        let moved = link.map(|link| self.kernel.0.state().links[link as usize].moved);
        let mut known = self.books.known();
        known.said_end = true;
        known.moved = moved;
        known.ends_ready = known.ready;
        known.words = (wire.len() - had) as u64;
        drop(known);
        self.note(wire.len() - had, 0);
    }

    fn is_ready(&self) -> bool {
        self.layer.is_ready()
    }

    fn held(&self) -> usize {
        let held = self.layer.held();
        self.books.known().held = held;
        held
    }

    fn has_end(&self) -> bool {
        self.layer.has_end()
    }

    fn half_closes(&self) -> bool {
        self.layer.half_closes()
    }

    fn is_over(&self) -> bool {
        let is_over = self.layer.is_over();
        self.books.known().over |= is_over;
        is_over
    }

    fn peer(&self) -> Option<Address> {
        self.layer.peer()
    }

    fn tells_peer(&self) -> bool {
        self.layer.tells_peer()
    }
}

/// A line with the peer's address, and then the peer's bytes as they are.
#[derive(Debug, Default)]
struct Header {
    peer: Option<Address>,
}

/// The longest header.
const HEADER_MAX: usize = 40;

impl Layer for Header {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        _wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        if self.peer.is_some() {
            plain.extend_from_slice(bytes);
            return Ok(Received::consumed(bytes.len()));
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "no header");
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > HEADER_MAX { Err(wrong()) } else { Ok(Received::consumed(0)) };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
        self.peer = Some(text.parse().map_err(|_| wrong())?);
        Ok(Received::consumed(end + 1))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, _wire: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        self.peer.is_some()
    }

    fn has_end(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        true
    }

    fn peer(&self) -> Option<Address> {
        self.peer.clone()
    }

    fn tells_peer(&self) -> bool {
        true
    }
}

/// What a peer has that sends a header only.
#[derive(Debug)]
struct Nothing;

impl Layer for Nothing {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        _wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        plain.extend_from_slice(bytes);
        Ok(Received::consumed(bytes.len()))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, _wire: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

/// How a peer keeps to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Proper,
    /// Ends its stream without the mark.
    Truncates,
    /// Behind so many bytes of wire comes what is no record.
    Garbage(u64),
    /// Says so many bytes at most, and ends its stream or does not.
    Stops(usize, bool),
}

impl Manner {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 | 1 => Manner::Truncates,
            2 => Manner::Garbage(rng.within(0, 60)),
            _ => Manner::Stops(rng.size(0, 20), rng.chance(500)),
        }
    }
}

/// The peer's side of the protocol.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(crate) struct Voice {
    stack: Stack,
    told: Option<Address>,
    manner: Manner,
    layer: Box<dyn Layer>,
    /// Wire that is to be sent; how much of it there ever was.
    out: Vec<u8>,
    total: u64,
    inbox: Vec<u8>,
    begun: bool,
    /// Of what is said from here on the other makes nothing.
    spoiled: bool,
    /// All was said; the other has marked its end.
    done: bool,
    heard_end: bool,
    failed: bool,
}

impl Voice {
    fn new(stack: Stack, told: Option<Address>, manner: Manner) -> Self {
        Voice {
            stack,
            told,
            manner,
            layer: stack.theirs(),
            out: Vec::new(),
            total: 0,
            inbox: Vec::new(),
            begun: false,
            spoiled: false,
            done: false,
            heard_end: false,
            failed: false,
        }
    }

    /// For the same peer, when it comes again.
    pub(crate) fn again(&self) -> Self {
        Voice::new(self.stack, self.told.clone(), self.manner)
    }

    /// Begins, once.
    pub(crate) fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        if let Some(told) = &self.told {
            self.add(format!("{told}\n").as_bytes());
        }
        self.hear(&[]);
    }

    pub(crate) fn is_proper(&self) -> bool {
        self.manner == Manner::Proper
    }

    /// Whether it may say something of its own.
    pub(crate) fn is_ready(&self) -> bool {
        self.begun && self.layer.is_ready() && !self.failed && !self.done
    }

    /// Says these bytes. Returns where their wire ends in all there is, if the other makes something of it.
    pub(crate) fn say(&mut self, plain: &[u8]) -> Option<u64> {
        let mut wire = Vec::new();
        let _ = self.layer.send(plain, &mut wire);
        self.add(&wire);
        (!self.spoiled).then_some(self.total)
    }

    /// Nothing more will be said.
    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.done, true) && self.manner != Manner::Truncates {
            let mut wire = Vec::new();
            self.layer.end(&mut wire);
            self.add(&wire);
        }
    }

    /// And what was to be said is not.
    pub(crate) fn give_up(&mut self) {
        self.done = true;
        self.out.clear();
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done && self.out.is_empty()
    }

    /// The wire that is to be sent.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn add(&mut self, wire: &[u8]) {
        let mut wire = wire.to_vec();
        // Behind a header all is the handler's.
        let is_bare = self.stack == Stack::Told;
        match self.manner {
            Manner::Garbage(at) if (self.total >= at || is_bare) && !self.spoiled => {
                self.spoiled = true;
                wire.splice(0..0, *b"?\0\0\n");
            }
            Manner::Stops(most, ends) => {
                let left = (most as u64).saturating_sub(self.total);
                if wire.len() as u64 >= left {
                    wire.truncate(usize::try_from(left).unwrap_or(0));
                    self.spoiled = true;
                    self.done |= ends;
                }
            }
            _ => {}
        }
        self.total += wire.len() as u64;
        self.out.append(&mut wire);
    }

    /// Makes of what came what the other has said.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        self.inbox.extend_from_slice(bytes);
        while !self.failed && !self.heard_end {
            let Ok(received) = self.layer.receive(&mut self.inbox, &mut plain, &mut wire) else {
                self.failed = true;
                break;
            };
            self.inbox.drain(..received.bytes());
            self.heard_end |= received.is_ended();
            if received.bytes() == 0 || self.inbox.is_empty() {
                break;
            }
        }
        self.add(&wire);
        plain
    }

    pub(crate) fn heard_end(&self) -> bool {
        self.heard_end
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }
}
