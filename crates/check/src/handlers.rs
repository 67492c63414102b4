//! The handlers that the schedules run: an echo, a line protocol, a broadcaster, a streamer, and one
//! that does random permitted things in every callback.
//!
//! All of them tell the oracle what they were told and what they do.

use std::io;
use std::panic::resume_unwind;

use bytes::Bytes;

use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::handler::Handler;
use crate::kernel::Kernel;
use crate::kernel::rng::Rng;
use crate::layering::Layering;
use crate::net::datagram::Datagram;
use crate::oracle::{End, Oracle, Word, planned};
use crate::schedule::twist::Toil;
use crate::time::timers::Timer;
use doors::Mail;
use messages::Wire;

mod datagrams;
pub(crate) mod doors;
mod layers;
pub(crate) mod messages;
mod twists;
mod wander;

/// A line of the peers, with its end.
const LINE_MAX: usize = 31;
/// A message of the peers, with its answer's end: its length may be a letter.
const MESSAGE_MAX: usize = 123;

/// Where a handler may connect to: two servers that answer, one that never does, and nobody.
pub(crate) const OUTSIDE: [&str; 5] =
    ["10.9.0.1:80", "unix:/run/outside", "10.9.0.2:80", "10.9.0.3:80", "unix:/run/nobody"];

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends back what comes; at most so many bytes a call.
    Echo(usize),
    /// Answers each line with the line; at most so many lines a call.
    Lines(usize),
    /// Sends each line to everybody, followed by so many bytes.
    Broadcaster(usize),
    /// Answers the first bytes with so many, as there is room, and closes.
    Streamer(usize),
    /// Does anything.
    Random,
    /// Answers the first bytes with so many, all at once, and closes.
    Burst(usize),
    /// Sends back what comes, in blocks of so many bytes, and waits for a whole one.
    Blocks(usize),
    /// Sends back what comes, but for the last so many bytes.
    Leaves(usize),
    /// An echo that holds connections, and lets them go by name after a shutdown has begun.
    Keeper,
    /// Echo; pauses accepting for a while, again and again.
    Pauser,
    /// Passes on what comes to a connection of its own to a server outside, and back; perhaps by way
    /// of `auto_pause`.
    Relay(bool),
    /// Sends a slice of its input, and ends the connection when so many bytes have come at once.
    Slicer(usize),
    /// Sends back what comes, in part, and in so many of a thousand callbacks detaches a connection.
    Detacher(u32),
    /// Answers each message, behind `framed`.
    Messages(Wire),
}

/// A handler with an oracle at its door.
pub(crate) struct TestHandler {
    pub(crate) oracle: Oracle,
    kind: Kind,
    rng: Rng,
    /// Every id ever met, the stale ones too.
    ids: Vec<ConnId>,
    /// Bytes at a time that the random one sends.
    size: usize,
    /// How often in a thousand things the random one does what ends or stops a connection.
    wild: u32,
    /// Sends its input from where it lies, in pieces.
    in_place: bool,
    /// So much longer than a line is the answer to it.
    more: usize,
    /// So many connects more.
    connects: u32,
    /// Periodic timers that were set.
    periodic: u32,
    handle: Box<dyn Mail>,
    /// So many things more.
    patience: u32,
    /// In which callback it panics, and how often in a thousand of them.
    panics: (Rng, u32),
    /// Decides, in worlds that are not tidy, to abort behind a piece of its input, and in a shutdown
    /// to have it end at once.
    rash: Option<Rng>,
    /// Datagrams.
    sender: Option<datagrams::DatagramSender>,
    /// Callbacks take time.
    toil: Option<(Kernel, Toil)>,
    /// It asks for the descriptors of its connections.
    lends: bool,
    twists: twists::Twists,
    /// It sends some things from a source, of which so many in a thousand fail. So many panic as
    /// callbacks do.
    sources: Option<(Rng, u32)>,
    /// Its connections have layers.
    layering: Option<(Kernel, Layering)>,
    /// It hands connections from one service to another.
    hands: Option<doors::Hands>,
}

/// One connection: its number in the kernel, and what the streamer still has to send.
pub(crate) struct Session {
    link: u32,
    left: usize,
    /// In a world of messages.
    messages: Option<Box<messages::Framing>>,
}

impl TestHandler {
    pub(crate) fn new(
        handle: Box<dyn Mail>,
        oracle: Oracle,
        kind: Kind,
        mut rng: Rng,
        size: usize,
        wild: u32,
    ) -> Self {
        let in_place = rng.chance(500);
        TestHandler {
            in_place,
            more: 0,
            oracle,
            kind,
            rng,
            ids: Vec::new(),
            size,
            wild,
            connects: 12,
            periodic: 0,
            handle,
            patience: 2000,
            panics: (Rng::new(0), 0),
            rash: None,
            sender: None,
            toil: None,
            lends: false,
            twists: twists::Twists::default(),
            sources: None,
            layering: None,
            hands: None,
        }
    }

    pub(crate) fn sources(mut self, sources: Option<(Rng, u32)>) -> Self {
        self.sources = sources;
        self
    }

    /// Answers each line with so many bytes more.
    pub(crate) fn answers(mut self, more: usize) -> Self {
        let longest = match self.kind {
            Kind::Lines(_) => LINE_MAX,
            Kind::Messages(_) => MESSAGE_MAX,
            _ => return self,
        };
        self.more = more;
        self.oracle.answers(longest + more);
        self
    }

    /// Some callbacks take time from now on.
    pub(crate) fn toils(mut self, kernel: &Kernel, toil: Option<Toil>) -> Self {
        self.toil = toil.map(|toil| (kernel.clone(), toil));
        self
    }

    pub(crate) fn lends(mut self, lends: bool) -> Self {
        self.lends = lends;
        self
    }

    /// Panics in so many of a thousand callbacks from now on.
    pub(crate) fn panics(mut self, rng: Rng, often: u32) -> Self {
        self.panics = (rng, often);
        self
    }

    pub(crate) fn rash(mut self, rng: Rng) -> Self {
        self.rash = Some(rng);
        self
    }

    fn is_rash(&mut self, often: u32) -> bool {
        self.rash.as_mut().is_some_and(|rng| rng.chance(often))
    }

    /// Perhaps the shutdown that has begun is to end at once.
    fn may_hurry(&mut self, cx: &mut Context) {
        if self.oracle.is_leaving() && self.is_rash(30) {
            let ended = cx.stats().closed.total();
            self.oracle.shutdown(true, ended);
            cx.shutdown_now();
        }
    }

    /// Perhaps this callback takes time, and perhaps it ends in a panic. `link`: the connection that
    /// this ends.
    fn may_panic(&mut self, link: Option<u32>) {
        self.toil();
        let (rng, often) = &mut self.panics;
        if *often > 0 && rng.chance(*often) {
            self.oracle.panics(link);
            // As `panic!`, without a line on stderr for each.
            resume_unwind(Box::new("as planned"));
        }
    }

    /// Sends to the connection being served.
    fn send(&mut self, conn: &mut Conn<'_>, link: u32, bytes: &[u8]) {
        if self.send_from(conn, Some(link), bytes) {
            return;
        }
        if conn.is_open() {
            conn.send(bytes);
            self.oracle.sent(conn.cx(), link, bytes);
        } else {
            conn.send(bytes);
        }
    }

    /// Sends to whomever.
    fn send_to(&mut self, cx: &mut Context, id: ConnId, bytes: &Bytes, shared: bool) {
        let link = Oracle::link_of(cx, id);
        let Some(mut conn) = cx.conn(id) else { return };
        if self.send_from(&mut conn, link, bytes) {
            return;
        }
        let open = conn.is_open();
        if shared {
            conn.send_shared(bytes.clone());
        } else {
            conn.send(bytes);
        }
        if let (true, Some(link)) = (open, Oracle::link_of(cx, id)) {
            self.oracle.sent(cx, link, bytes);
        }
    }

    /// Perhaps sends from a source; returns whether.
    fn send_from(&mut self, conn: &mut Conn<'_>, link: Option<u32>, bytes: &[u8]) -> bool {
        let Some((rng, fails)) = &mut self.sources else { return false };
        if !rng.chance(300) {
            return false;
        }
        let fails = rng.chance(*fails);
        let rng = rng.fork();
        // A panic is drawn from the handler's own: it is one of its callbacks.
        let (panics, often) = &mut self.panics;
        let end = match *often > 0 && panics.chance(*often) {
            true => End::Panic,
            false if fails => End::Error,
            false => End::Told,
        };
        let reader = self.oracle.reader(bytes, end, rng);
        let (open, probe) = (conn.is_open(), reader.probe());
        conn.send_from(reader);
        if let (true, Some(link)) = (open, link) {
            self.oracle.sent_from(conn.cx(), link, probe);
        } else if !probe.is_gone() {
            self.oracle.complain("a source that is not sent is not dropped".into());
        }
        true
    }

    /// Bytes of no meaning; a reader tells them apart by their place.
    fn noise(&mut self, most: usize) -> Bytes {
        let n = self.rng.size(0, most);
        let begin = self.rng.next();
        (0..n as u64).map(|at| begin.wrapping_add(at).to_le_bytes()[0]).collect::<Vec<_>>().into()
    }

    /// A line, which must be the first there is.
    fn line(&mut self, conn: &Conn<'_>, link: u32, input: &mut Input<'_>) -> Option<Vec<u8>> {
        if self.rests(conn, link, input) {
            if input.line().is_some() {
                self.oracle.complain(format!("promise 5: #{link} rests and is given a line"));
            }
            return None;
        }
        let there = input.bytes().split_inclusive(|b| *b == b'\n').next();
        let there = there.and_then(|line| line.strip_suffix(b"\n")).map(<[u8]>::to_vec);
        let told = input.line().map(<[u8]>::to_vec);
        if told != there {
            self.oracle.complain(format!("line() is {told:?}, and there is {there:?}"));
        }
        told
    }

    /// What the random one does with its input. Returns what it consumed, and its last word.
    fn nibble(&mut self, conn: &mut Conn<'_>, link: u32, input: &mut Input<'_>) -> (usize, Word) {
        let before = input.len();
        let mut word = Word::None;
        // It was not to have more, and has not taken anything since.
        let mut refused = false;
        for _ in 0..self.rng.within(1, 3) {
            match self.rng.below(8) {
                0 | 1 => {
                    (word, refused) = (Word::None, false);
                    let all = input.take_all().to_vec();
                    self.send(conn, link, &all);
                }
                2 | 3 => {
                    refused = input.is_resting();
                    let none = self.line(conn, link, input).is_none();
                    word = if none && !refused { Word::Line } else { Word::None };
                }
                4 => {
                    let n = self.rng.size(0, before + 4);
                    refused = self.rests(conn, link, input);
                    match input.take(n) {
                        None if refused => word = Word::None,
                        None => word = Word::Bytes(n),
                        Some(piece) => {
                            word = Word::None;
                            if self.in_place && conn.is_open() {
                                conn.send(piece);
                                self.oracle.sent_unseen(link, piece);
                            }
                        }
                    }
                }
                5 => {
                    (word, refused) = (Word::None, false);
                    let n = self.rng.size(0, input.len());
                    input.consume(n);
                }
                6 => {
                    let n = self.rng.size(0, before + 4);
                    input.wait_for(n);
                    let waits = n > input.len() && !refused;
                    word = if waits { Word::Bytes(n) } else { Word::None };
                }
                _ => {}
            }
        }
        (before - input.len(), word)
    }

    fn stream(&mut self, conn: &mut Conn<'_>, session: &mut Session) {
        while session.left > 0 {
            let n = conn.room().min(session.left).min(self.size.max(1));
            if n == 0 {
                conn.want_drain();
                self.oracle.wish(conn.cx(), session.link);
                return;
            }
            let bytes = vec![session.left.to_le_bytes()[0]; n];
            session.left -= n;
            self.send(conn, session.link, &bytes);
        }
        self.oracle.ends(conn.cx(), session.link, false);
        conn.close();
    }

    fn serve(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<(usize, Word)> {
        let link = session.link;
        let before = input.len();
        let mut word = Word::None;
        match self.kind {
            Kind::Echo(most) => {
                let n = before.min(most);
                let bytes = input.bytes()[..n].to_vec();
                if n == before {
                    // From where it lies, as the library sends it without a copy.
                    let window = input.take_all();
                    if conn.is_open() {
                        conn.send(window);
                        self.oracle.sent_unseen(link, &bytes);
                        if self.is_rash(10) {
                            self.oracle.aborts_unseen(link);
                            conn.abort();
                        }
                    }
                } else {
                    input.consume(n);
                    self.send(conn, link, &bytes);
                }
            }
            Kind::Lines(most) => {
                for _ in 0..most {
                    if self.in_place {
                        // Without its end: the pieces are no neighbours.
                        let there = input.bytes();
                        let Some(taken) = self.line(conn, link, input) else {
                            word = if input.is_resting() { Word::None } else { Word::Line };
                            break;
                        };
                        if conn.is_open() {
                            conn.send(&there[..taken.len()]);
                            self.oracle.sent_unseen(link, &taken);
                        }
                        continue;
                    }
                    let Some(mut taken) = self.line(conn, link, input) else {
                        word = if input.is_resting() { Word::None } else { Word::Line };
                        break;
                    };
                    taken.resize(taken.len() + self.more, b'.');
                    taken.push(b'\n');
                    self.send(conn, link, &taken);
                }
            }
            Kind::Broadcaster(more) => {
                while let Some(mut line) = self.line(conn, link, input) {
                    line.resize(line.len() + more, b'.');
                    self.broadcast(conn.cx(), line.into());
                }
                word = if input.is_resting() { Word::None } else { Word::Line };
            }
            Kind::Streamer(total) => {
                if input.seen() == 0 && session.left == usize::MAX {
                    session.left = total;
                    self.stream(conn, session);
                }
                input.take_all();
            }
            Kind::Messages(wire) => word = self.messages(wire, conn, session, input)?,
            Kind::Random => {
                let (consumed, word) = self.nibble(conn, link, input);
                let id = conn.id();
                if consumed == 0 && self.rng.chance(300) {
                    // A blink: what is left is offered again.
                    self.oracle.reads(conn.cx(), link, false);
                    conn.pause();
                    self.oracle.reads(conn.cx(), link, true);
                    conn.resume();
                }
                self.wander(conn.cx(), Some((id, link)));
                if self.rng.chance(self.wild / 8) {
                    return Err(planned());
                }
                return Ok((consumed, word));
            }
            Kind::Burst(_)
            | Kind::Blocks(_)
            | Kind::Leaves(_)
            | Kind::Keeper
            | Kind::Pauser
            | Kind::Relay(_)
            | Kind::Slicer(_)
            | Kind::Detacher(_) => word = self.twisted_data(conn, session, input),
        }
        Ok((before - input.len(), word))
    }
}

impl Handler for TestHandler {
    type Session = Session;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Session> {
        let id = conn.id();
        let link = self.oracle.open(conn.cx(), id, origin);
        self.ids.push(id);
        self.upgrade(conn, link, origin);
        self.toil();
        if self.lends {
            // There is none here; that it was asked for is what counts.
            let _ = conn.fd();
        }
        self.twisted_open(conn, link, origin);
        let mut failed = false;
        if self.kind == Kind::Random {
            self.wander(conn.cx(), Some((id, link)));
            failed = self.rng.chance(self.wild / 8);
        }
        self.may_hand_over(conn, link);
        self.may_hurry(conn.cx());
        self.may_panic(Some(link));
        self.oracle.leave(Some(conn.cx()), link, failed);
        if failed {
            self.oracle.ledger(link).failed_open = true;
            return Err(planned());
        }
        let messages = match self.kind {
            Kind::Messages(wire) => Some(Box::new(self.open_messages(wire, conn, link, origin))),
            _ => None,
        };
        Ok(Session { link, left: usize::MAX, messages })
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let id = conn.id();
        self.oracle.data(conn.cx(), id, session.link, input);
        self.toil();
        let before = input.len();
        let result = if self.may_hand_on(conn, session.link) {
            Ok(self.leaves_to_another(session.link, input))
        } else {
            self.serve(conn, session, input)
        };
        let word = result.as_ref().map_or(Word::None, |(_, word)| *word);
        self.may_hand_on(conn, session.link);
        self.oracle.consumed(session.link, before - input.len(), input.len(), word);
        self.may_panic(Some(session.link));
        // Nothing is asked of the context behind an echo: that would have its bytes copied.
        let in_place = match self.kind {
            Kind::Echo(most) => most == usize::MAX,
            Kind::Lines(_) => self.in_place,
            Kind::Blocks(_) | Kind::Slicer(_) | Kind::Detacher(_) => true,
            _ => false,
        };
        let cx = if in_place { None } else { Some(&*conn.cx()) };
        self.oracle.leave(cx, session.link, result.is_err());
        result.map(|_| ())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        let (id, link) = (conn.id(), session.link);
        self.oracle.eof(conn.cx(), id, link, rest);
        self.toil();
        let before = rest.len();
        let mut result = Ok(());
        let handed = self.may_hand_over(conn, link);
        match self.kind {
            _ if handed => {}
            Kind::Messages(wire) => result = self.messages_end(wire, conn, session, rest),
            Kind::Random if self.rng.chance(500) => self.wander(conn.cx(), Some((id, link))),
            Kind::Streamer(_) if session.left != usize::MAX => {}
            Kind::Relay(_) => self.twisted_eof(conn, link),
            Kind::Detacher(often) if self.rng.chance(often) => self.detach(conn, link, true),
            Kind::Echo(_)
            | Kind::Blocks(_)
            | Kind::Leaves(_)
            | Kind::Keeper
            | Kind::Pauser
            | Kind::Detacher(_) => {
                let rest = rest.take_all().to_vec();
                self.send(conn, link, &rest);
                self.oracle.ends(conn.cx(), link, false);
                conn.close();
            }
            Kind::Lines(_)
            | Kind::Broadcaster(_)
            | Kind::Streamer(_)
            | Kind::Random
            | Kind::Burst(_)
            | Kind::Slicer(_) => {
                self.oracle.ends(conn.cx(), link, false);
                conn.close();
            }
        }
        self.may_hand_over(conn, link);
        self.oracle.consumed_at_end(link, before - rest.len(), rest.len());
        self.may_panic(Some(link));
        self.oracle.leave(Some(conn.cx()), link, result.is_err());
        result
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        let (id, link) = (conn.id(), session.link);
        self.oracle.drain(conn.cx(), id, link);
        self.toil();
        match self.kind {
            Kind::Streamer(_) if session.left != usize::MAX => self.stream(conn, session),
            Kind::Random => self.wander(conn.cx(), Some((id, link))),
            Kind::Relay(_) => self.twisted_drain(conn),
            Kind::Detacher(often) if self.rng.chance(often) => self.detach(conn, link, true),
            _ => {}
        }
        self.may_hand_over(conn, link);
        self.may_panic(Some(link));
        self.oracle.leave(Some(conn.cx()), link, false);
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        let (id, link) = (conn.id(), session.link);
        self.oracle.timeout(conn.cx(), id, link);
        if matches!(self.kind, Kind::Messages(_)) {
            self.oracle.reads(conn.cx(), link, true);
            conn.resume();
        } else {
            self.wander(conn.cx(), Some((id, link)));
        }
        self.may_hand_over(conn, link);
        self.may_panic(Some(link));
        self.oracle.leave(Some(conn.cx()), link, false);
        Ok(())
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        let (id, link) = (conn.id(), session.link);
        self.oracle.closing(conn.cx(), id, link, reason);
        self.toil();
        let mut failed = false;
        match self.kind {
            Kind::Random => {
                self.wander(conn.cx(), Some((id, link)));
                failed = self.rng.chance(self.wild / 8);
            }
            _ => self.send(conn, link, b"and that was all"),
        }
        self.may_hand_over(conn, link);
        self.may_panic(Some(link));
        self.oracle.leave(Some(conn.cx()), link, failed);
        if failed { Err(planned()) } else { Ok(()) }
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.oracle.timer(timer);
        if timer.tag == twists::RESUMES {
            self.accept(cx, true);
        }
        self.toil();
        self.let_go(cx);
        self.may_hand_over_some(cx);
        if self.kind == Kind::Random {
            self.wander(cx, None);
        }
        self.may_panic(None);
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.read_letter(cx, datagram);
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        self.oracle.connect_failed(id, tag, &error);
        self.toil();
        self.twisted_end(cx, id, false);
        if self.kind == Kind::Random {
            self.wander(cx, None);
        }
        self.may_panic(None);
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Session, closed: Closed) {
        if matches!(closed.reason, CloseReason::HandedOver) {
            self.oracle.handed_over(cx, id, session.link, &closed);
            self.toil();
        } else {
            self.oracle.close(cx, id, session.link, &closed);
            self.toil();
            self.twisted_end(cx, id, closed.clean);
        }
        self.may_hand_over_some(cx);
        if self.kind == Kind::Random {
            self.wander(cx, None);
        }
        self.may_hurry(cx);
        self.may_panic(None);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.oracle.shutdown_begins(cx);
        self.toil();
        self.twisted_shutdown(cx);
        if self.kind == Kind::Random {
            self.wander(cx, None);
        }
        self.may_panic(None);
    }
}

/// Does something to a connection. Returns whether it is there.
fn act<'a>(cx: &'a mut Context, id: ConnId, verb: impl FnOnce(&mut Conn<'a>)) -> bool {
    cx.conn(id).map(|mut conn| verb(&mut conn)).is_some()
}
