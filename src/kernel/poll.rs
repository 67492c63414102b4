//! Time: the poll that waits for it, the agenda that fills it, and the events that come of it.

use std::cmp::Reverse;
use std::io;

use rustix::io::Errno;

use super::link::{HERE, THERE};
use super::trace::{Answer, NOBODY, What};
use super::{
    Answers, Door, END, Event, File, Horizon, Kind, Place, SYN_RETRIES, SYN_RETRY, Stage, State,
    Watch,
};
use crate::base::id::Token;
use crate::base::readiness::Readiness;

/// The last moments of a wait that a poll may not have looked at.
const BLIND: u64 = 20_000_000;

impl State {
    /// `which`: of the polls.
    pub(super) fn poll(
        &mut self,
        which: usize,
        timeout: Option<u64>,
        events: &mut Vec<(Token, Readiness)>,
    ) -> io::Result<()> {
        events.clear();
        self.idle = false;
        self.trace.add(self.now, NOBODY, What::Poll(timeout.unwrap_or(u64::MAX)), Answer::None);
        let until = timeout.map_or(u64::MAX, |timeout| self.now.saturating_add(timeout));
        // Nothing is done in no time.
        self.now += self.rng.within(100, 20_000);
        if self.rng.chance(self.profile.stopped) {
            let pause = self.rng.within(1_000_000, 3_000_000_000);
            self.trace.add(self.now, NOBODY, What::Stopped(pause), Answer::None);
            self.pass(self.now + pause);
        }
        self.pass(self.now);
        if let Err(error) = self.interrupt() {
            self.eventful += 1;
            return Err(error.into());
        }
        loop {
            self.collect(which, events);
            if !events.is_empty() {
                self.eventful += 1;
                return Ok(());
            }
            if timeout == Some(0) || self.now >= until {
                return Ok(());
            }
            let next = self.agenda.peek().map_or(u64::MAX, |Reverse((at, _, _))| *at);
            let wanted = next.min(until);
            match self.horizon {
                Horizon::Idle if next == u64::MAX => {
                    self.idle = true;
                    return Ok(());
                }
                Horizon::Until(end) if end < wanted => {
                    self.now = self.now.max(end);
                    self.idle = true;
                    return Ok(());
                }
                Horizon::Never if wanted == u64::MAX => {
                    let text = "the simulation is idle: nothing will ever happen again";
                    return Err(io::Error::other(text));
                }
                Horizon::Idle | Horizon::Until(_) | Horizon::Never => {}
            }
            if next < until && until - next < BLIND && self.rng.chance(self.profile.blind) {
                // It had looked before that came.
                self.pass(until);
                return Ok(());
            }
            if wanted < u64::MAX && self.rng.chance(self.profile.interrupted / 4) {
                // A signal, in the middle of the wait.
                let part = self.rng.within(0, wanted.saturating_sub(self.now));
                self.pass(self.now + part);
                self.signalled = true;
            } else {
                self.pass(wanted);
            }
            if std::mem::take(&mut self.signalled) {
                self.eventful += 1;
                return Err(Errno::INTR.into());
            }
        }
    }

    /// When the next thing on the agenda happens.
    pub(crate) fn next_event(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Whether a signal has come; the next call is interrupted by it.
    pub(crate) fn take_signal(&mut self) -> bool {
        let came = std::mem::take(&mut self.signalled);
        self.storm += u32::from(came);
        came
    }

    /// A reactor of several has its turn.
    pub(crate) fn note_reactor(&mut self, number: usize) {
        self.trace.add(self.now, NOBODY, What::Note("reactor", number as u64), Answer::None);
    }

    /// Lets time pass, and happen what is on the agenda.
    pub(crate) fn pass(&mut self, until: u64) {
        self.call_peers();
        while let Some(Reverse((at, _, event))) = self.agenda.peek().copied() {
            if at > until {
                break;
            }
            self.agenda.pop();
            self.now = self.now.max(at);
            self.happen(event);
            self.call_peers();
        }
        self.now = self.now.max(until);
    }

    /// A callback takes its time: the world goes on meanwhile.
    pub(crate) fn work(&mut self, span: u64) {
        self.trace.add(self.now, NOBODY, What::Note("works for", span), Answer::None);
        self.worked = self.worked.saturating_add(span);
        self.pass(self.now.saturating_add(span).min(END));
    }

    pub(super) fn call_peers(&mut self) {
        loop {
            while let Some(link) = self.stirred.pop_front() {
                self.links[link as usize].stirred = false;
                let Some(mut actor) = self.links[link as usize].actor.take() else { continue };
                actor.act(self, link);
                self.links[link as usize].actor = Some(actor);
            }
            if !self.call_correspondents() {
                return;
            }
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Carry(link, side) => self.carry(link, side),
            Event::Reset(link, side) => self.reset(link, side),
            Event::Connect(link) => self.arrive(link),
            Event::Act(link) => self.stir(link),
            Event::Edge(file, serial) => {
                let entry = self.files[file as usize].as_ref();
                if entry.is_some_and(|entry| entry.serial == serial) {
                    self.edge_now(file);
                }
            }
            Event::Answer(link) => self.answered(link),
            Event::Signal => self.signalled = true,
            Event::Mail(count) => self.deliver(count),
            Event::Left(port) => self.gave_back(port),
            Event::Unreachable(port) => self.unreachable_told(port),
            Event::ActPort(port) => self.stir_port(port),
        }
    }

    pub(super) fn carry(&mut self, link: u32, side: usize) {
        let most = self.rng.size(*self.profile.piece.start(), *self.profile.piece.end());
        let place = &mut self.links[link as usize];
        place.link.halves[side].due = false;
        let step = place.link.carry(side, most);
        place.note_held(self.now);
        if step.refused {
            // RFC 9293, 3.10.7.1: what comes to no connection is answered by a reset.
            place.link.halves[side].sent.clear();
            place.link.abandon(1 - side);
            self.send_on(link, 1 - side);
            return self.later(Event::Reset(link, side));
        }
        let here = side == THERE;
        if here && step.arrived > 0 {
            self.links[link as usize].unread_since.get_or_insert(self.now);
        }
        if step.arrived > 0 {
            let what =
                if here { What::Arrive(step.arrived) } else { What::ArriveThere(step.arrived) };
            self.note(link, what);
        }
        if step.ended {
            self.note(link, if here { What::End } else { What::EndThere });
        }
        if step.news {
            self.tell(link, 1 - side);
        }
        if step.space || step.acknowledged {
            self.tell(link, side);
        }
        if step.more {
            self.send_on(link, side);
        }
    }

    pub(super) fn reset(&mut self, link: u32, side: usize) {
        let place = &mut self.links[link as usize];
        let heard = place.link.reset(side);
        let cut = place.link.ends[side].error.is_some();
        let what = match (side, cut) {
            (THERE, true) => What::ResetThere,
            (THERE, false) => What::EndThere,
            (_, true) => What::Reset,
            (_, false) => What::End,
        };
        if heard {
            self.note(link, what);
            self.tell(link, side);
        }
    }

    /// A connect of ours is answered, if a server does.
    pub(super) fn answered(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        if !place.link.ends[HERE].open {
            return;
        }
        let server = self.servers.iter_mut().find(|(address, _)| *address == place.to);
        let actor = match server.map(|(_, answers)| answers) {
            None => None,
            Some(Answers::Never) => return,
            Some(Answers::With(make)) => Some(make()),
            Some(Answers::Once(waiting)) => waiting.pop_front(),
        };
        if actor.is_some() {
            place.actor = actor;
            place.stage = Stage::Established;
            self.note(link, What::Note("the server answers", 0));
            self.stir(link);
        } else {
            place.link.ends[HERE].dead = true;
            place.link.ends[HERE].error = Some(Errno::CONNREFUSED);
            self.note(link, What::Refused);
        }
        self.tell(link, HERE);
    }

    /// A connection attempt comes to a door.
    pub(super) fn arrive(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        let here = |door: &Door| door.open && door.address == place.to;
        let mut doors = (0..self.doors.len()).filter(|n| here(&self.doors[*n]));
        let mut door = doors.next();
        let others: Vec<_> = doors.collect();
        if !others.is_empty() {
            // `SO_REUSEPORT`: by a hash, which here is the seed's.
            let n = self.rng.size(0, others.len());
            door = others.get(n).copied().or(door);
        }
        let place = &mut self.links[link as usize];
        let full = door.is_some_and(|door| self.doors[door].is_full());
        if full && place.retries < SYN_RETRIES {
            place.retries += 1;
            let wait = SYN_RETRY << (place.retries - 1);
            return self.at(self.now + wait, Event::Connect(link));
        }
        let Some(number) = door.filter(|_| !full) else {
            place.stage = Stage::Refused;
            place.link.ends[THERE].dead = true;
            self.note(link, What::Refused);
            return self.stir(link);
        };
        let door = &mut self.doors[number];
        door.backlog.push_back(link);
        // `inet_csk_clone_lock`: with most options of the listener.
        self.links[link as usize].link.ends[HERE].lingers = door.lingers;
        self.note(link, What::Connect);
        self.links[link as usize].stage = Stage::Established;
        self.stir(link);
        let is_it = |file: &Option<File>| {
            file.as_ref()
                .is_some_and(|file| matches!(file.what, Kind::Listener(n) if n as usize == number))
        };
        // Each poll that watches it is told.
        for file in 0..self.files.len() {
            if is_it(&self.files[file]) {
                self.edge(u32::try_from(file).expect("files are few"));
            }
        }
    }

    /// Something new to be told: to us by an edge, to the peer by a call.
    pub(super) fn tell(&mut self, link: u32, side: usize) {
        if side == THERE {
            self.stir(link);
        } else if let Place { file: Some(file), .. } | Place { ghost: Some(file), .. } =
            self.links[link as usize]
        {
            self.edge(file);
        }
    }

    pub(crate) fn stir(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        if !place.stirred {
            place.stirred = true;
            self.stirred.push_back(link);
        }
    }

    pub(super) fn edge(&mut self, file: u32) {
        if self.rng.chance(self.profile.late) {
            return self.edge_soon(file);
        }
        self.edge_now(file);
    }

    pub(super) fn edge_now(&mut self, file: u32) {
        if let Some(entry) = self.files.get_mut(file as usize).and_then(Option::as_mut)
            && entry.token.is_some()
            && !entry.pending
        {
            entry.pending = true;
            self.watches[entry.poll].edges.push_back(file);
        }
    }

    /// An edge that comes within a millisecond: held back, or owed after a call that was cut where
    /// it need not have been.
    pub(super) fn edge_soon(&mut self, file: u32) {
        let wait = self.rng.within(0, 1_000_000);
        if let Some(entry) = &self.files[file as usize] {
            self.at(self.now + wait, Event::Edge(file, entry.serial));
        }
    }

    /// Without flags: a direction whose call said WouldBlock is reported again.
    pub(super) fn arm(&mut self, file: u32, bit: Readiness) {
        if self.profile.flags {
            return;
        }
        let Some(entry) = &mut self.files[file as usize] else { return };
        entry.armed = entry.armed | bit;
        // Asked by level: what is so is told at once.
        self.edge_now(file);
    }

    /// What a file shows to its poll now, if that watches it.
    fn shown(&self, file: u32) -> Option<(Token, Readiness)> {
        let entry = self.files[file as usize].as_ref()?;
        let token = entry.token?;
        let mut bits = match entry.what {
            Kind::Stream(link) => {
                let place = &self.links[link as usize];
                let connecting = place.stage == Stage::Connecting && !place.link.ends[HERE].dead;
                if connecting { Readiness::EMPTY } else { place.link.mask(HERE) }
            }
            Kind::Listener(door) if self.doors[door as usize].backlog.is_empty() => {
                Readiness::EMPTY
            }
            Kind::Listener(_) => Readiness::READABLE,
            Kind::Datagrams(port) => self.news_of_port(port),
        };
        if bits.has(Readiness::URGENT)
            && !(entry.urgent && self.profile.flags)
            && let Kind::Stream(link) = entry.what
        {
            // It was not asked for.
            bits = bits.without(Readiness::URGENT);
            if !self.links[link as usize].link.has_input(HERE) {
                bits = bits.without(Readiness::READABLE);
            }
        }
        if !self.profile.flags {
            bits = bits.common(Readiness::READABLE | Readiness::WRITABLE).common(entry.armed);
        }
        (bits != Readiness::EMPTY).then_some((token, bits))
    }

    /// Whether a poll would return at once with an event.
    pub(super) fn has_news(&self, which: usize) -> bool {
        let Watch { edges, woken, .. } = &self.watches[which];
        *woken || edges.iter().any(|file| self.shown(*file).is_some())
    }

    pub(super) fn collect(&mut self, which: usize, events: &mut Vec<(Token, Readiness)>) {
        if std::mem::take(&mut self.watches[which].woken) {
            events.push((Token::WAKER, Readiness::READABLE));
        }
        let most = self.profile.events_max;
        while events.len() < most {
            let Some(file) = self.watches[which].edges.pop_front() else { break };
            let shown = self.shown(file);
            let Some(entry) = &mut self.files[file as usize] else { continue };
            entry.pending = false;
            if let (Kind::Stream(link), Some(_)) = (entry.what, entry.token) {
                self.links[link as usize].link.note_asked(HERE);
            }
            let Some((token, bits)) = shown else { continue };
            if !self.profile.flags {
                entry.armed = entry.armed.without(bits);
            }
            let halves = [bits.common(Readiness::WRITABLE), bits.without(Readiness::WRITABLE)];
            let both = !halves.contains(&Readiness::EMPTY) && events.len() + 2 <= most;
            if both && self.rng.chance(self.profile.split) {
                events.extend(halves.map(|bits| (token, bits)));
            } else {
                events.push((token, bits));
            }
        }
        if self.rng.chance(self.profile.spurious) && events.len() < most {
            self.imagine(which, events);
        }
        if events.len() > 1 && self.rng.chance(self.profile.events_shuffled) {
            let (one, other) =
                (self.rng.size(0, events.len() - 1), self.rng.size(0, events.len() - 1));
            events.swap(one, other);
        }
        for (token, bits) in events.iter() {
            let who = u32::try_from(token.0 & 0x00FF_FFFF).unwrap_or(NOBODY);
            self.trace.add(self.now, NOBODY, What::Event(*bits), Answer::Count(who as usize));
        }
    }

    /// An event for nothing: of a file, or of one that is gone.
    pub(super) fn imagine(&mut self, which: usize, events: &mut Vec<(Token, Readiness)>) {
        let all = [
            Readiness::READABLE,
            Readiness::WRITABLE,
            Readiness::READABLE | Readiness::WRITABLE,
            Readiness::READABLE | Readiness::READ_CLOSED,
            Readiness::ERROR,
        ];
        let kinds = if self.profile.flags { &all[..] } else { &all[..3] };
        let bits = *self.rng.pick(kinds);
        let token = if self.rng.chance(500) {
            let ghosts = &self.watches[which].ghosts;
            if ghosts.is_empty() {
                return;
            }
            Some(ghosts[self.rng.size(0, ghosts.len() - 1)])
        } else if self.files.is_empty() {
            None
        } else {
            let file = self.rng.size(0, self.files.len() - 1);
            let file = self.files[file].as_ref().filter(|file| file.poll == which);
            file.and_then(|file| file.token)
        };
        if let Some(token) = token {
            events.push((token, bits));
        }
    }
}
