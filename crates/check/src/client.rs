//! Peers of all temperaments, for the schedules.
//!
//! They are closed-loop: what one does next hangs on what it has read, as with real clients, and so
//! each may stop a server that waits for it to do the other thing first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::base::address::Address;
use crate::kernel::link::THERE;
use crate::kernel::rng::Rng;
use crate::kernel::{Actor, Stage, State};
use crate::layering::Voice;

/// The byte at this place of what a peer sends: letters, with a line end every few of them.
pub(crate) fn byte(link: u32, at: u64) -> u8 {
    let mut x = (u64::from(link) << 40 | at).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    if x.is_multiple_of(8) || at % 29 == 28 {
        b'\n'
    } else {
        b'a' + u8::try_from(x / 8 % 26).unwrap_or(0)
    }
}

/// How a peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    /// So many bytes, then a pause of so many nanoseconds.
    Slowly(usize, u64),
    /// Only when all is sent.
    AfterSending,
    Never,
}

/// How a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sends {
    AtOnce,
    /// At most so many bytes, then a pause of at most so many nanoseconds.
    Pieces(usize, u64),
    /// So many bytes, and the next when something came back, or after so many nanoseconds.
    InStep(usize, u64),
}

/// How a peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Half-closes when all is sent, and reads to the end.
    Finishes,
    /// Waits so long when all is sent, then half-closes and reads to the end.
    FinishesLater(u64),
    /// Waits for the other's end, then closes.
    Follows,
    /// Resets when so many bytes are sent or read.
    Resets(u64),
    /// Resets so many nanoseconds after it came, whatever has happened.
    ResetsLater(u64),
    /// Closes, whatever it has not read, when so many bytes are sent or read.
    Closes(u64),
    /// Does nothing any more when so many bytes are sent or read.
    Vanishes(u64),
}

/// What a peer is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    pub(crate) reads: Reads,
    pub(crate) sends: Sends,
    pub(crate) ends: Ends,
    /// Bytes to send.
    pub(crate) total: u64,
    /// How often, in a thousand pieces, there is urgent data or a descriptor between two.
    pub(crate) marks: u32,
    /// Comes again so often.
    pub(crate) again: u32,
}

impl Temper {
    /// One who reads all and ends in its own time: nothing is lost between us.
    pub(crate) fn patient(rng: &mut Rng, total: u64, slow: u64) -> Self {
        let reads = match rng.below(6) {
            0 => Reads::Slowly(rng.size(1, 64), rng.within(1, slow)),
            1 => Reads::AfterSending,
            _ => Reads::All,
        };
        let sends = match rng.below(4) {
            0 => Sends::Pieces(1, rng.within(1, slow)),
            1 => Sends::Pieces(rng.size(1, 100), rng.within(1, slow)),
            2 => Sends::InStep(rng.size(1, 60), slow),
            _ => Sends::AtOnce,
        };
        let ends = match rng.below(4) {
            0 => Ends::FinishesLater(rng.within(1, 20 * slow)),
            1 => Ends::Follows,
            _ => Ends::Finishes,
        };
        let marks = if rng.chance(150) { 200 } else { 0 };
        let again = u32::from(rng.chance(100));
        Temper { reads, sends, ends, total: rng.within(0, total), marks, again }
    }

    /// One who may do anything.
    pub(crate) fn any(rng: &mut Rng, total: u64, slow: u64) -> Self {
        let mut temper = Temper::patient(rng, total, slow);
        let when = rng.within(0, temper.total);
        match rng.below(9) {
            0 => temper.reads = Reads::Never,
            1 => temper.ends = Ends::Resets(when),
            2 => temper.ends = Ends::Closes(when),
            3 => temper.ends = Ends::Vanishes(when),
            4 => {
                temper.ends = Ends::Resets(when);
                temper.again = 2;
            }
            5 if rng.chance(200) => {
                // Sends without end, and does not hear that we have ended.
                temper.reads = Reads::Never;
                temper.sends = Sends::AtOnce;
                temper.total = 20_000;
            }
            _ => {}
        }
        temper
    }

    /// Whether nothing it does may cost a byte, either way.
    pub(crate) fn is_patient(&self) -> bool {
        let stays = match self.ends {
            Ends::Finishes | Ends::FinishesLater(_) | Ends::Follows => true,
            Ends::Resets(_) | Ends::ResetsLater(_) | Ends::Closes(_) | Ends::Vanishes(_) => false,
        };
        stays && self.reads != Reads::Never
    }
}

/// What a peer met.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) received: Vec<u8>,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    pub(crate) refused: bool,
    pub(crate) patient: bool,
    /// It has ended its side, closed or reset.
    pub(crate) finished: bool,
    /// With a layer: what came is what its layer made of so many bytes of wire.
    pub(crate) wire: u64,
    /// The other's layer has marked its end; it sent what is none of the protocol.
    pub(crate) heard_end: bool,
    pub(crate) misheard: bool,
    /// Where the wire ends of how many bytes that it sent.
    pub(crate) said: Vec<(u64, u64)>,
}

/// What every peer met, by the number of its connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<Log>>>);

impl Logs {
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<Log>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer.
pub(crate) struct Client {
    temper: Temper,
    rng: Rng,
    to: Address,
    logs: Logs,
    /// What it speaks with, where there are layers.
    voice: Option<Voice>,
    sent: u64,
    read: u64,
    /// In step: what had been read when it last sent.
    stepped_at: u64,
    /// And when it sends all the same.
    ask_at: u64,
    /// Before this it does not send, read.
    send_from: u64,
    read_from: u64,
    /// When it ends, once it has decided to.
    end_at: Option<u64>,
    over: bool,
}

impl Client {
    pub(crate) fn new(temper: Temper, rng: Rng, to: Address, logs: Logs) -> Self {
        Client {
            temper,
            rng,
            to,
            logs,
            voice: None,
            sent: 0,
            read: 0,
            stepped_at: 0,
            ask_at: 0,
            send_from: 0,
            read_from: 0,
            end_at: None,
            over: false,
        }
    }

    /// One that speaks by way of a layer.
    pub(crate) fn speaks(mut self, voice: Option<Voice>) -> Self {
        self.voice = voice;
        self
    }

    fn log(&self, link: u32, what: impl FnOnce(&mut Log)) {
        let mut logs = self.logs.all();
        let number = link as usize;
        if logs.len() <= number {
            logs.resize_with(number + 1, Log::default);
        }
        what(&mut logs[number]);
    }

    fn is_sent(&self) -> bool {
        match &self.voice {
            Some(voice) => voice.is_done(),
            None => self.sent >= self.temper.total,
        }
    }

    /// Whether it has to read to come to send anything.
    fn must_hear(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| !voice.is_ready())
    }

    fn read_some(&mut self, net: &mut State, link: u32) {
        let mut buf = [0; 512];
        let most = match self.temper.reads {
            Reads::All => buf.len(),
            Reads::Slowly(most, _) => most.min(buf.len()),
            Reads::AfterSending if self.is_sent() || self.over || self.must_hear() => buf.len(),
            Reads::AfterSending | Reads::Never => return,
        };
        while net.now >= self.read_from && !self.over {
            match net.peer_read(link, &mut buf[..most]) {
                Ok(0) => {
                    let cut = net.links[link as usize].link.ends[THERE].cut;
                    self.over = true;
                    self.log(link, |log| if cut { log.reset = true } else { log.ended = true });
                }
                Ok(n) => {
                    self.read += n as u64;
                    self.hear(link, &buf[..n]);
                    if let Reads::Slowly(_, pause) = self.temper.reads {
                        self.read_from = net.now + pause;
                        net.act_after(link, pause);
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.over = true;
                    self.log(link, |log| log.reset = true);
                }
            }
        }
    }

    fn hear(&mut self, link: u32, bytes: &[u8]) {
        let Some(voice) = &mut self.voice else {
            return self.log(link, |log| log.received.extend_from_slice(bytes));
        };
        voice.begin();
        let plain = voice.hear(bytes);
        let (heard_end, failed) = (voice.heard_end(), voice.has_failed());
        let misheard = failed && voice.is_proper();
        if failed {
            voice.give_up();
        }
        self.log(link, |log| {
            log.received.extend_from_slice(&plain);
            log.wire += bytes.len() as u64;
            log.heard_end |= heard_end;
            log.misheard |= misheard;
        });
    }

    /// Has its voice say more, if nothing waits to be sent. Returns whether something does.
    fn say_some(&mut self, link: u32) -> bool {
        let Some(voice) = &mut self.voice else { return false };
        voice.begin();
        if !voice.out().is_empty() || !voice.is_ready() {
            return !voice.out().is_empty();
        }
        let left = usize::try_from(self.temper.total - self.sent).unwrap_or(usize::MAX);
        let n = match self.temper.sends {
            Sends::InStep(_, _) if self.stepped_at > 0 && self.read < self.stepped_at => {
                return false;
            }
            Sends::InStep(most, _) => most.min(left),
            Sends::AtOnce | Sends::Pieces(..) => self.rng.size(1, 512).min(left),
        };
        if n == 0 {
            voice.end();
            return !voice.out().is_empty();
        }
        let plain: Vec<u8> = (self.sent..self.sent + n as u64).map(|at| byte(link, at)).collect();
        self.sent += n as u64;
        let (end, sent) = (voice.say(&plain), self.sent);
        self.log(link, |log| log.said.extend(end.map(|end| (end, sent))));
        true
    }

    /// As [`send_some`](Self::send_some), by way of a layer.
    fn speak_some(&mut self, net: &mut State, link: u32) {
        while net.now >= self.send_from && self.say_some(link) {
            let room = net.links[link as usize].link.room(THERE).max(1);
            if self.rng.chance(self.temper.marks) {
                let _ = net.peer_mark(link);
            }
            let most = match self.temper.sends {
                Sends::Pieces(most, _) => self.rng.size(1, most),
                Sends::AtOnce | Sends::InStep(..) => usize::MAX,
            };
            let Some(voice) = &mut self.voice else { return };
            let out = voice.out();
            let n = most.min(out.len()).min(room);
            match net.peer_write(link, &out[..n]) {
                Ok(n) => _ = out.drain(..n),
                Err(Errno::AGAIN) => return,
                Err(_) => return voice.give_up(),
            }
            match self.temper.sends {
                Sends::AtOnce => {}
                Sends::Pieces(_, pause) => {
                    let pause = self.rng.within(1, pause);
                    self.send_from = net.now + pause;
                    net.act_after(link, pause);
                }
                Sends::InStep(_, pause) => {
                    self.stepped_at = self.read + 1;
                    net.act_after(link, pause);
                    self.ask_at = net.now + pause;
                }
            }
        }
    }

    fn send_some(&mut self, net: &mut State, link: u32) {
        if self.voice.is_some() {
            return self.speak_some(net, link);
        }
        let mut piece = [0; 512];
        while !self.is_sent() && net.now >= self.send_from {
            let most = match self.temper.sends {
                Sends::AtOnce => piece.len(),
                Sends::Pieces(most, _) => self.rng.size(1, most),
                Sends::InStep(_, _) if self.stepped_at > 0 && self.read < self.stepped_at => return,
                Sends::InStep(most, _) => most,
            };
            let left = usize::try_from(self.temper.total - self.sent).unwrap_or(usize::MAX);
            // No more than may be taken, but ask.
            let room = net.links[link as usize].link.room(THERE).max(1);
            let n = most.min(left).min(piece.len()).min(room);
            for (at, place) in (self.sent..).zip(&mut piece[..n]) {
                *place = byte(link, at);
            }
            if self.rng.chance(self.temper.marks) {
                // What is wrong with the socket, the write tells.
                let _ = net.peer_mark(link);
            }
            match net.peer_write(link, &piece[..n]) {
                Ok(n) => self.sent += n as u64,
                Err(Errno::AGAIN) => return,
                // Nobody is there to send to: what there is to read is read.
                Err(_) => {
                    self.temper.total = self.sent;
                    return;
                }
            }
            match self.temper.sends {
                Sends::AtOnce => {}
                Sends::Pieces(_, pause) => {
                    let pause = self.rng.within(1, pause);
                    self.send_from = net.now + pause;
                    net.act_after(link, pause);
                }
                Sends::InStep(_, pause) => {
                    // Whoever never answers is asked again all the same.
                    self.stepped_at = self.read + 1;
                    net.act_after(link, pause);
                    self.ask_at = net.now + pause;
                }
            }
        }
    }

    fn end(&mut self, net: &mut State, link: u32) {
        let moved = self.sent.max(self.read);
        let finished = net.links[link as usize].link.halves[THERE].fin;
        match self.temper.ends {
            Ends::Resets(at) | Ends::Closes(at) if moved >= at || self.over => {
                net.peer_close(link, matches!(self.temper.ends, Ends::Resets(_)));
                self.over = true;
                self.log(link, |log| log.finished = true);
            }
            Ends::Vanishes(at) if moved >= at => {
                self.temper.total = 0;
                self.temper.reads = Reads::Never;
                if let Some(voice) = &mut self.voice {
                    voice.give_up();
                }
            }
            Ends::ResetsLater(pause) if !self.over => {
                let at = *self.end_at.get_or_insert_with(|| {
                    net.act_after(link, pause);
                    net.now + pause
                });
                if net.now >= at {
                    net.peer_close(link, true);
                    self.over = true;
                    self.log(link, |log| log.finished = true);
                }
            }
            Ends::Resets(_) | Ends::Closes(_) | Ends::Vanishes(_) => {}
            Ends::Follows if !self.over => {}
            Ends::FinishesLater(pause) if !self.over => {
                if self.is_sent() {
                    let at = *self.end_at.get_or_insert_with(|| {
                        net.act_after(link, pause);
                        net.now + pause
                    });
                    if net.now >= at && !finished {
                        net.peer_finish(link);
                        self.log(link, |log| log.finished = true);
                    }
                }
            }
            Ends::Finishes if !self.over => {
                if self.is_sent() && !finished {
                    net.peer_finish(link);
                    self.log(link, |log| log.finished = true);
                }
            }
            Ends::Finishes | Ends::FinishesLater(_) | Ends::ResetsLater(_) | Ends::Follows => {
                // It has read the end, or was reset.
                if let Some(voice) = &mut self.voice
                    && voice.is_ready()
                    && voice.out().is_empty()
                {
                    voice.end();
                    let _ = net.peer_write(link, voice.out());
                    voice.give_up();
                }
                if net.links[link as usize].link.ends[THERE].open {
                    net.peer_close(link, false);
                }
                self.log(link, |log| log.finished = true);
            }
        }
    }
}

impl Actor for Client {
    fn act(&mut self, net: &mut State, link: u32) {
        let patient = self.temper.is_patient();
        match net.links[link as usize].stage {
            Stage::Connecting => return,
            Stage::Refused => return self.log(link, |log| log.refused = true),
            Stage::Established => self.log(link, |log| log.patient = patient),
        }
        if !net.links[link as usize].link.ends[THERE].open {
            return;
        }
        // In step, time has come to ask again.
        if matches!(self.temper.sends, Sends::InStep(_, _)) && net.now >= self.ask_at {
            self.stepped_at = 0;
        }
        self.read_some(net, link);
        self.send_some(net, link);
        self.read_some(net, link);
        if self.voice.is_some() {
            // What it read may be what it waited for.
            self.send_some(net, link);
        }
        self.end(net, link);
        if self.over && self.temper.again > 0 {
            let again = self.temper.again - 1;
            self.temper.again = 0;
            let mut temper = Temper { again, ..self.temper };
            if temper.total == 0 {
                temper.total = 10;
            }
            let client = Client::new(temper, self.rng.fork(), self.to.clone(), self.logs.clone())
                .speaks(self.voice.as_ref().map(Voice::again));
            net.connect(self.to.clone(), Box::new(client));
        }
    }
}
