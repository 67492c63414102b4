//! The simulated kernel: descriptors, listeners, connections, a poll and a clock, from a seed.
//!
//! `net/socket.rs` and `net/driver.rs` have a variant for it, so the reactor that runs on it is the
//! one that runs in production. It is as stingy with events as the real one: an edge only when
//! something changed, told once. It comes in two kinds. With *flags* it is epoll: edges, with bits
//! that are true, and a TCP call cut short is followed by an edge. Without, it is poll(2) as mio
//! uses it, and poorer: a direction is reported once and again only after a call of it said
//! WouldBlock (in mio, either direction arms both), and nothing else is told.
//!
//! Simplified: a buffer counts the bytes in it and not what Linux spends to hold them; a TCP receiver
//! tells of every byte of room it has (no silly window avoidance); nothing is lost or acknowledged
//! late on the network; a Unix peer that meets a full backlog comes again after a second, too.
//!
//! Time passes where it is waited for, a little with every poll, and while a callback works, if it
//! says so ([`State::work`]). What happens later stands on
//! the agenda. Peers are [`Actor`]s: they are called when something happened to their connection.
//! One lock holds all of it; there is no thread and no real clock, so a seed tells everything.
//! Read next: `kernel/link.rs`, one connection; then `sim.rs`, the face of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use crate::base::address::Address;
use crate::base::id::Token;
use crate::base::readiness::Readiness;

mod calls;
pub(crate) mod datagram;
mod handle;
pub(crate) mod link;
mod outside;
mod poll;
pub(crate) mod profile;
pub(crate) mod rng;
pub(crate) mod trace;

use datagram::Mail;
use handle::Descriptor;
pub(crate) use handle::{Datagrams, Listener, Stream};
use link::{Goodbye, Link, THERE, Transport};
use profile::Profile;
pub(crate) use rng::Rng;
use trace::{Answer, Trace, What};

/// A peer that meets a full backlog tries again after so long, then after twice as long, and so on (the
/// retries of TCP's SYN, `tcp_syn_retries` in tcp(7)); a Unix peer blocks in connect(2) much alike.
const SYN_RETRY: u64 = 1_000_000_000;
const SYN_RETRIES: u32 = 6;

/// A peer: acts when something happened to its connection, or at a time it asked for.
pub(crate) trait Actor: Send {
    fn act(&mut self, net: &mut State, link: u32);
}

/// A peer that is not there yet.
struct Nobody;

impl Actor for Nobody {
    fn act(&mut self, _net: &mut State, _link: u32) {}
}

/// A simulated kernel, shared by the sockets on it, and one of the polls there.
#[derive(Clone)]
pub(crate) struct Kernel {
    state: Arc<Mutex<State>>,
    /// Which poll this name of the kernel waits in, registers with and wakes.
    poll: usize,
}

impl Kernel {
    pub(crate) fn new(seed: u64, profile: Profile) -> Self {
        Kernel { state: Arc::new(Mutex::new(State::new(seed, profile))), poll: 0 }
    }

    /// The same kernel with a new poll: for one more reactor.
    pub(crate) fn with_poll(&self) -> Self {
        let mut state = self.state();
        state.watches.push(Watch::default());
        let poll = state.watches.len() - 1;
        drop(state);
        Kernel { state: Arc::clone(&self.state), poll }
    }

    /// A panic of a handler in a test does not spoil what is to be read of the world afterwards.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> u64 {
        self.state().now
    }

    pub(crate) fn descriptors(&self) -> u64 {
        self.state().profile.descriptors as u64
    }

    /// See [`crate::core::Core::number`]; the same in every run.
    pub(crate) fn reactor_number(&self) -> u32 {
        let mut state = self.state();
        state.reactors = state.reactors.wrapping_add(1);
        state.reactors - 1
    }

    pub(crate) fn wake(&self) {
        self.state().watches[self.poll].woken = true;
    }

    /// Whether its poll would return with an event.
    pub(crate) fn has_news(&self) -> bool {
        self.state().has_news(self.poll)
    }

    pub(crate) fn poll(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<(Token, Readiness)>,
    ) -> io::Result<()> {
        let mut state = self.state();
        let began = state.now;
        let polled = state.poll(self.poll, timeout.map(nanos), events);
        state.polls = [state.polls[1], (began, state.now)];
        polled
    }

    pub(crate) fn interrupt_after(&self, wait: Duration) {
        let mut state = self.state();
        let at = state.now.saturating_add(nanos(wait));
        state.at(at, Event::Signal);
    }

    pub(crate) fn events_max(&self) -> usize {
        self.state().profile.events_max
    }

    /// Begins to connect to a server outside; see [`State::serve`].
    /// `source`: where it is to come from, with port 0 for any.
    pub(crate) fn connect(
        &self,
        address: Address,
        source: Option<SocketAddr>,
    ) -> io::Result<Stream> {
        let mut state = self.state();
        let file = state.connect_out(address, source)?;
        let transport = state.links[state.link_of(file) as usize].link.transport;
        let flags = state.profile.flags;
        drop(state);
        let descriptor = Descriptor { kernel: self.clone(), file };
        Ok(Stream { descriptor, transport, flags })
    }

    /// `shared`: others that say so may listen there, too (`SO_REUSEPORT`).
    pub(crate) fn listen(
        &self,
        address: Address,
        backlog: usize,
        shared: bool,
    ) -> io::Result<Listener> {
        let file = self.state().listen(address, backlog, shared)?;
        Ok(Listener(Descriptor { kernel: self.clone(), file }))
    }

    /// A connected pair: our end as a stream, and the number of the link, for the peer's.
    pub(crate) fn pair(&self, peer: Box<dyn Actor>) -> io::Result<(Stream, u32)> {
        let (file, link) = self.state().pair(Transport::Unix, Address::Unnamed, peer)?;
        let descriptor = Descriptor { kernel: self.clone(), file };
        Ok((Stream { descriptor, transport: Transport::Unix, flags: false }, link))
    }

    /// The same over TCP, of a program that has set its end to linger.
    #[allow(dead_code, reason = "for the schedules of crates/check")]
    pub(crate) fn lingering_pair(&self, at: Address, peer: Box<dyn Actor>) -> io::Result<Stream> {
        let mut state = self.state();
        let (file, link) = state.pair(Transport::Tcp, at, peer)?;
        let place = &mut state.links[link as usize];
        (place.link.ends[link::HERE].lingers, place.out) = (true, true);
        let flags = state.profile.flags;
        drop(state);
        let descriptor = Descriptor { kernel: self.clone(), file };
        Ok(Stream { descriptor, transport: Transport::Tcp, flags })
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// What is to happen, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next step of what a side of a link has sent.
    Carry(u32, usize),
    /// A reset comes to a side of a link.
    Reset(u32, usize),
    /// A connection attempt reaches the listener.
    Connect(u32),
    /// A peer asked to be called.
    Act(u32),
    /// An edge that was held back: of a file, and its serial number.
    Edge(u32, u64),
    /// A server outside answers a connect of ours, or the network does.
    Answer(u32),
    /// A signal interrupts the poll.
    Signal,
    /// A datagram comes to where it was sent.
    Mail(u64),
    /// A datagram has left its sender's buffer.
    Left(u32),
    /// ICMP tells a sender that the port is closed.
    Unreachable(u32),
    /// A peer with a datagram socket asked to be called.
    ActPort(u32),
}

/// A file of the process.
#[derive(Debug)]
struct File {
    what: Kind,
    /// Its number is used again, this is not.
    serial: u64,
    /// By what name its poll knows it, and which poll that is.
    token: Option<Token>,
    poll: usize,
    /// It is among the edges of its poll.
    pending: bool,
    /// Without flags: what the next report may hold.
    armed: Readiness,
    /// It is asked about urgent data.
    urgent: bool,
    /// A duplicate of the descriptor lives, and keeps the file open whatever the process closes.
    duplicated: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Stream(u32),
    Listener(u32),
    Datagrams(u32),
}

/// How far a connection attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Under way, or before a full backlog.
    Connecting,
    /// No socket listens there.
    Refused,
    /// The peer's end is connected: in the backlog, or accepted.
    Established,
}

/// When bytes of a connection last moved, for an oracle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// A read of ours brought some.
    pub(crate) read: u64,
    /// A write of ours took some.
    pub(crate) written: u64,
    /// Our kernel came to hold less of it, and so much it held then.
    pub(crate) delivered: u64,
    pub(crate) held: usize,
}

/// A connection, its peer, and where they stand.
pub(crate) struct Place {
    pub(crate) link: Link,
    pub(crate) stage: Stage,
    actor: Option<Box<dyn Actor>>,
    /// The peer is to be called.
    stirred: bool,
    /// How often it came to a full backlog.
    retries: u32,
    /// Our end's file, once accepted.
    file: Option<u32>,
    /// What was that file, and is still open by way of a duplicate: the poll goes by the file.
    ghost: Option<u32>,
    /// The connect is ours.
    pub(crate) out: bool,
    /// When a call of ours first failed; when we ended our side; since when input lies unread here.
    pub(crate) failed_at: Option<u64>,
    /// After how many calls in all that was.
    pub(crate) failed_after: u64,
    pub(crate) fin_at: Option<u64>,
    pub(crate) unread_since: Option<u64>,
    pub(crate) moved: Moved,
    /// When it was accepted, so many others of its address were open here.
    pub(crate) neighbours: Option<usize>,
    /// For an oracle: how many bytes we are to write in all, and whether a write left as few of
    /// them as the second number, or fewer, since it looked.
    pub(crate) owes: (u64, u64),
    pub(crate) dipped: bool,
    pub(crate) to: Address,
    pub(crate) from: Address,
}

impl Place {
    #[allow(dead_code, reason = "for the oracle of crates/check")]
    pub(crate) fn file_is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes down what our kernel holds now, after a write of ours or what may have made it less.
    fn note_held(&mut self, now: u64) {
        let held = self.link.undelivered(link::HERE);
        if held < self.moved.held {
            self.moved.delivered = now;
        }
        self.moved.held = held;
    }
}

impl Door {
    fn is_full(&self) -> bool {
        // One more than asked for (`sk_acceptq_is_full`).
        self.backlog.len() > self.backlog_max
    }
}

struct Door {
    address: Address,
    backlog: VecDeque<u32>,
    backlog_max: usize,
    open: bool,
    /// Other doors may be at its address, if they are shared, too.
    shared: bool,
    /// What comes in while it is so inherits it (`SO_LINGER`).
    lingers: bool,
}

/// What a poll of the process has to tell.
#[derive(Debug, Default)]
struct Watch {
    /// Files with something new to tell.
    edges: VecDeque<u32>,
    /// Names of the gone, for events that come too late.
    ghosts: VecDeque<Token>,
    woken: bool,
}

/// What answers a connect of ours.
pub(crate) enum Answers {
    /// A server: a peer for each connection.
    #[allow(dead_code, reason = "for the oracle of crates/check")]
    With(Box<dyn FnMut() -> Box<dyn Actor> + Send>),
    /// Each of these once; then it is refused.
    Once(VecDeque<Box<dyn Actor>>),
    /// Never.
    Never,
}

/// How far a poll that waits may let time pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Horizon {
    /// As far as something happens; then it is idle. Deadlines are no happening.
    Idle,
    /// Up to this moment, whatever happens or does not.
    Until(u64),
    /// As the real one, but for a wait that would never end: that is an error.
    Never,
}

/// Everything in a simulated world.
pub(crate) struct State {
    pub(crate) profile: Profile,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) horizon: Horizon,
    /// The last poll waited in vain, as far as the horizon lets it.
    pub(crate) idle: bool,
    /// Calls of sockets since the world began: a reactor that polls on and makes none spins.
    pub(crate) calls: u64,
    /// When an accept, or the watching of what was accepted, last failed; and how often the latter.
    pub(crate) accept_failed_at: Option<u64>,
    pub(crate) unwatched: u64,
    /// Closes that have made all others wait, for the time of a peer (`SO_LINGER`).
    pub(crate) lingered: u64,
    /// Files that the process closed and that the poll still tells of, by way of a duplicate.
    pub(crate) haunted: u64,
    /// When the last two polls began and ended.
    pub(crate) polls: [(u64, u64); 2],
    /// Polls that brought something, and questions that were worth asking.
    pub(crate) eventful: u64,
    /// When a socket was last asked what has not left.
    asked: u64,
    /// Nanoseconds that callbacks worked in all.
    pub(crate) worked: u64,
    pub(crate) trace: Trace,
    pub(crate) links: Vec<Place>,
    pub(crate) mail: Mail,
    files: Vec<Option<File>>,
    /// Files ever opened.
    serial: u64,
    open: usize,
    doors: Vec<Door>,
    /// Servers outside; where there is none, a connect is refused.
    servers: Vec<(Address, Answers)>,
    agenda: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Orders what happens at one moment.
    tickets: u64,
    /// The polls: one for each reactor.
    watches: Vec<Watch>,
    /// Peers to be called.
    stirred: VecDeque<u32>,
    /// A signal came while the poll waited.
    signalled: bool,
    reactors: u32,
    /// So many calls will be interrupted.
    storm: u32,
}

impl State {
    fn new(seed: u64, profile: Profile) -> Self {
        State {
            profile,
            rng: Rng::new(seed),
            now: 0,
            horizon: Horizon::Never,
            idle: false,
            calls: 0,
            accept_failed_at: None,
            unwatched: 0,
            lingered: 0,
            haunted: 0,
            polls: [(0, 0); 2],
            eventful: 0,
            asked: 0,
            worked: 0,
            trace: Trace::default(),
            links: Vec::new(),
            mail: Mail::new(seed),
            files: Vec::new(),
            serial: 0,
            open: 0,
            doors: Vec::new(),
            servers: Vec::new(),
            agenda: BinaryHeap::new(),
            tickets: 0,
            watches: vec![Watch::default()],
            stirred: VecDeque::new(),
            signalled: false,
            reactors: 0,
            storm: 0,
        }
    }

    // --- Helpers --------------------------------------------------------------------------------

    fn interrupt(&mut self) -> Result<(), Errno> {
        if self.storm > 0 {
            self.storm -= 1;
            return Err(Errno::INTR);
        }
        if self.rng.chance(self.profile.interrupted) {
            self.storm = if self.rng.chance(50) { 40 } else { 0 };
            return Err(Errno::INTR);
        }
        Ok(())
    }

    fn is_proof(&self, link: u32) -> bool {
        self.profile.flags && self.links[link as usize].link.transport == Transport::Tcp
    }

    fn open_file(&mut self, what: Kind) -> Result<u32, Errno> {
        if self.open >= self.profile.descriptors {
            return Err(Errno::MFILE);
        }
        self.open += 1;
        let both = Readiness::READABLE | Readiness::WRITABLE;
        self.serial += 1;
        let serial = self.serial;
        let file = Some(File {
            what,
            serial,
            token: None,
            poll: 0,
            pending: false,
            armed: both,
            urgent: false,
            duplicated: false,
        });
        // The lowest free number, as open(2) has it.
        let free = self.files.iter().position(Option::is_none);
        let number = free.unwrap_or(self.files.len());
        if number == self.files.len() {
            self.files.push(file);
        } else {
            self.files[number] = file;
        }
        Ok(u32::try_from(number).expect("files are few"))
    }

    fn file_of(&self, file: u32) -> (&File, Kind) {
        let entry = self.files[file as usize].as_ref().expect("a descriptor names an open file");
        (entry, entry.what)
    }

    fn link_of(&self, file: u32) -> u32 {
        match self.file_of(file).1 {
            Kind::Stream(link) => link,
            Kind::Listener(_) | Kind::Datagrams(_) => unreachable!("it is no stream"),
        }
    }

    fn after_read(&mut self, link: u32, side: usize) {
        let place = &mut self.links[link as usize];
        if place.link.halves[THERE].arrived.is_empty() {
            place.unread_since = None;
        }
        let (space, way) = place.link.after_read(side);
        if space {
            self.tell(link, 1 - side);
        }
        if way {
            self.send_on(link, 1 - side);
        }
    }

    fn after_close(&mut self, link: u32, side: usize) {
        match self.links[link as usize].link.close(side) {
            Goodbye::End => self.send_on(link, side),
            Goodbye::Reset => self.later(Event::Reset(link, 1 - side)),
            Goodbye::Nothing => {}
        }
    }

    /// `side`'s half was shut down, perhaps again.
    fn end_half(&mut self, link: u32, side: usize) {
        let place = &self.links[link as usize].link;
        if place.transport == Transport::Unix && place.halves[side].fin_arrived {
            // `unix_shutdown` wakes the other side whenever it is called.
            self.tell(link, 1 - side);
        }
        self.send_on(link, side);
    }

    /// Sees that what `side` has sent goes on its way.
    fn send_on(&mut self, link: u32, side: usize) {
        let place = &mut self.links[link as usize];
        if !place.link.halves[side].due && place.link.can_carry(side) {
            place.link.halves[side].due = true;
            self.later(Event::Carry(link, side));
        }
    }

    fn later(&mut self, event: Event) {
        let latency = self.latency();
        self.at(self.now + latency, event);
    }

    fn latency(&mut self) -> u64 {
        1000 * self.rng.within(*self.profile.latency.start(), *self.profile.latency.end())
    }

    fn at(&mut self, moment: u64, event: Event) {
        self.tickets += 1;
        self.agenda.push(Reverse((moment, self.tickets, event)));
    }

    fn answer(&mut self, link: u32, what: What, result: Result<usize, Errno>) {
        self.calls += 1;
        let answer = match result {
            Ok(n) => Answer::Count(n),
            Err(error) => Answer::Error(error),
        };
        if let Err(error) = result
            && error != Errno::AGAIN
            && error != Errno::INTR
        {
            let place = &mut self.links[link as usize];
            if place.failed_at.is_none() {
                place.failed_at = Some(self.now);
                place.failed_after = self.calls;
            }
        }
        self.trace.add(self.now, link, what, answer);
    }

    pub(crate) fn note(&mut self, link: u32, what: What) {
        self.trace.add(self.now, link, what, Answer::None);
    }
}

/// Questions of tests and oracles.
#[allow(dead_code, reason = "for the oracle of crates/check")]
impl State {
    /// Open files of the process.
    pub(crate) fn open_files(&self) -> usize {
        self.open
    }

    /// How many more files may be opened.
    pub(crate) fn free_files(&self) -> usize {
        self.profile.descriptors.saturating_sub(self.open)
    }

    /// The peers that wait at listeners that are open.
    pub(crate) fn at_door(&self) -> Vec<u32> {
        let open = self.doors.iter().filter(|door| door.open);
        open.flat_map(|door| door.backlog.iter().copied()).collect()
    }

    /// How many wait at open doors.
    pub(crate) fn waiting(&self) -> usize {
        self.doors.iter().filter(|door| door.open).map(|door| door.backlog.len()).sum()
    }
}

/// Nothing has a world wait beyond this, after 292 years: what is under way by then ends before the
/// clock does.
pub(crate) const END: u64 = u64::MAX / 2;

/// In nanoseconds; 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Readiness {
    fn common(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }

    fn without(self, other: Readiness) -> Readiness {
        Readiness(self.0 & !other.0)
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Readiness::READABLE, "readable"),
            (Readiness::WRITABLE, "writable"),
            (Readiness::URGENT, "urgent"),
            (Readiness::READ_CLOSED, "read-closed"),
            (Readiness::ERROR, "error"),
        ];
        let said = names.iter().filter(|(bit, _)| self.common(*bit) == *bit).map(|(_, name)| *name);
        f.write_str(&said.collect::<Vec<_>>().join("+"))
    }
}

#[cfg(test)]
mod tests;
