//! Handlers of worlds with a twist: see [`crate::schedule::twist`].

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;

use super::{Kind, Session, TestHandler, act};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::net::detached::Detached;
use crate::oracle::{Oracle, Word};

/// The tag of the timer at which a pauser accepts again.
pub(super) const RESUMES: u64 = 5;

/// What these handlers keep.
#[derive(Default)]
pub(super) struct Twists {
    /// Of a relay: a connection, and the one it passes on to.
    pairs: Vec<(ConnId, ConnId)>,
    /// Of a keeper: what it holds.
    held: Vec<ConnId>,
}

impl TestHandler {
    /// Works for a while, if this world has such callbacks.
    pub(super) fn toil(&mut self) {
        if let Some((kernel, toil)) = &mut self.toil
            && let Some(span) = toil.span()
        {
            kernel.state().work(span);
        }
    }

    pub(super) fn twisted_open(&mut self, conn: &mut Conn<'_>, link: u32, origin: Origin) {
        let id = conn.id();
        match self.kind {
            Kind::Keeper if self.rng.chance(600) => {
                conn.hold(true);
                self.oracle.hold(conn.cx(), link, true);
                self.twists.held.push(id);
                if self.rng.chance(300) {
                    self.pause(conn.cx(), id);
                }
                if self.twists.held.len() == 1 && self.oracle.has_told_shutdown() {
                    // Its handshake, or the backlog, was longer than `on_shutdown`.
                    self.let_go_later(conn.cx());
                }
            }
            Kind::Pauser if self.rng.chance(300) => self.pause_accepting(conn.cx()),
            Kind::Relay(coupled) => {
                if coupled {
                    conn.auto_pause(false);
                    self.oracle.duplex(link, true);
                }
                if matches!(origin, Origin::HandedOver(_)) {
                    return;
                }
                if matches!(origin, Origin::Connected(_)) {
                    let other = self.other(id);
                    if let Some(other) = other.filter(|_| coupled) {
                        self.resume(conn.cx(), other);
                    }
                    return;
                }
                if coupled {
                    // Until there is a peer to pass on to.
                    self.pause(conn.cx(), id);
                }
                match self.connect_outside(conn.cx()) {
                    Ok(server) => self.twists.pairs.extend([(id, server), (server, id)]),
                    Err(_) => self.end(conn.cx(), id, true),
                }
            }
            _ => {}
        }
    }

    /// Detaches this connection, or some other.
    pub(super) fn detach(&mut self, conn: &mut Conn<'_>, link: u32, itself: bool) {
        let handed = self.oracle.handed();
        let then = move |link| {
            move |detached: Detached| {
                let mut handed = handed.lock().unwrap_or_else(PoisonError::into_inner);
                handed.push((link, detached.unread, detached.unsent));
            }
        };
        if itself {
            if conn.is_open() {
                self.oracle.detaches(link);
            }
            return conn.detach(then(link));
        }
        let cx = conn.cx();
        let ids = cx.connections();
        if ids.is_empty() {
            return;
        }
        let id = *self.rng.pick(&ids);
        if let (Some(link), Some(mut conn)) = (Oracle::link_of(cx, id), cx.conn(id)) {
            self.oracle.detaches(link);
            conn.detach(then(link));
        }
    }

    /// For a while, which begins before anything else may go wrong in this callback.
    fn pause_accepting(&mut self, cx: &mut Context) {
        let wait = Duration::from_micros(self.rng.within(1, 500_000));
        let timer = cx.set_timer(wait, RESUMES);
        self.oracle.sets_timer(timer, wait, Duration::ZERO, RESUMES);
        self.accept(cx, false);
    }

    /// Accepts from now on, or does not.
    pub(super) fn accept(&mut self, cx: &mut Context, accepts: bool) {
        for listener in cx.listeners() {
            if accepts {
                cx.resume_accepting(listener);
            } else {
                cx.pause_accepting(listener);
            }
        }
        self.oracle.accepts(accepts);
    }

    fn other(&self, id: ConnId) -> Option<ConnId> {
        self.twists.pairs.iter().find(|(own, _)| *own == id).map(|(_, other)| *other)
    }

    fn pause(&mut self, cx: &mut Context, id: ConnId) {
        if let (true, Some(link)) = (act(cx, id, Conn::pause), Oracle::link_of(cx, id)) {
            self.oracle.reads(cx, link, false);
        }
    }

    fn resume(&mut self, cx: &mut Context, id: ConnId) {
        if let (true, Some(link)) = (act(cx, id, Conn::resume), Oracle::link_of(cx, id)) {
            self.oracle.reads(cx, link, true);
        }
    }

    fn end(&mut self, cx: &mut Context, id: ConnId, abort: bool) {
        let Some(link) = Oracle::link_of(cx, id) else { return };
        self.oracle.ends(cx, link, abort);
        act(cx, id, if abort { Conn::abort } else { Conn::close });
    }

    /// Passes on as much as there is room for, and waits if there is none.
    fn pass_on(&mut self, conn: &mut Conn<'_>, input: &mut Input<'_>) {
        let id = conn.id();
        let Some(other) = self.other(id) else {
            input.take_all();
            return;
        };
        let bytes = Bytes::copy_from_slice(input.take_all());
        let cx = conn.cx();
        let shared = self.rng.chance(500);
        self.send_to(cx, other, &bytes, shared);
        if cx.conn(other).is_some_and(|mut other| other.room() == 0 && other.want_drain()) {
            if let Some(link) = Oracle::link_of(cx, other) {
                self.oracle.wish(cx, link);
            }
            self.pause(cx, id);
        }
    }

    pub(super) fn twisted_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> Word {
        let link = session.link;
        match self.kind {
            Kind::Blocks(n) => loop {
                if self.rests(conn, link, input) {
                    return Word::None;
                }
                let Some(block) = input.take(n) else { return Word::Bytes(n) };
                if conn.is_open() {
                    conn.send(block);
                    self.oracle.sent_unseen(link, block);
                }
            },
            Kind::Leaves(most) => {
                let n = input.len().saturating_sub(most);
                let bytes = input.bytes()[..n].to_vec();
                input.consume(n);
                if n > 0 {
                    self.send(conn, link, &bytes);
                }
            }
            Kind::Slicer(when) => {
                let ends = input.len() >= when || self.rng.chance(200);
                let aborts = self.rng.chance(700);
                let n = self.rng.size(1, input.len());
                if ends {
                    // Said before: nothing is asked of the context behind a slice.
                    self.oracle.ends(conn.cx(), link, aborts);
                }
                if let Some(slice) = input.take(n)
                    && conn.is_open()
                {
                    conn.send(slice);
                    self.oracle.sent_unseen(link, slice);
                }
                if ends && aborts {
                    conn.abort();
                } else if ends {
                    conn.close();
                }
            }
            Kind::Detacher(often) => {
                let n = self.rng.size(1, input.len());
                if self.rng.chance(800)
                    && let Some(slice) = input.take(n)
                    && conn.is_open()
                {
                    conn.send(slice);
                    self.oracle.sent_unseen(link, slice);
                }
                if self.rng.chance(often) {
                    let itself = self.rng.chance(700);
                    self.detach(conn, link, itself);
                    if !conn.is_open() && self.oracle.is_detached(link) && input.take(1).is_some() {
                        self.oracle
                            .complain(format!("promise 2: #{link} is over, and is given input"));
                    }
                    if !conn.is_open() {
                        conn.send(b"ignored");
                    }
                }
            }
            Kind::Burst(total) => {
                input.take_all();
                if session.left == usize::MAX {
                    session.left = 0;
                    self.send(conn, link, &vec![b'*'; total]);
                    self.oracle.ends(conn.cx(), link, false);
                    conn.close();
                }
            }
            Kind::Keeper | Kind::Pauser => {
                let all = input.take_all().to_vec();
                self.send(conn, link, &all);
            }
            Kind::Relay(_) => self.pass_on(conn, input),
            _ => {}
        }
        Word::None
    }

    /// Passes the end on; with none to pass it on to, it is the end.
    pub(super) fn twisted_eof(&mut self, conn: &mut Conn<'_>, own: u32) {
        let other = self.other(conn.id());
        let there = other.and_then(|other| Some((other, Oracle::link_of(conn.cx(), other)?)));
        if let Some((other, link)) = there {
            self.oracle.finishes(conn.cx(), link);
            act(conn.cx(), other, Conn::finish);
        } else {
            self.oracle.ends(conn.cx(), own, false);
            conn.close();
        }
    }

    pub(super) fn twisted_drain(&mut self, conn: &mut Conn<'_>) {
        if let (Kind::Relay(_), Some(other)) = (self.kind, self.other(conn.id())) {
            self.resume(conn.cx(), other);
        }
    }

    /// A connection, or a connect, has come to its end.
    pub(super) fn twisted_end(&mut self, cx: &mut Context, id: ConnId, clean: bool) {
        if let (Kind::Relay(_), Some(other)) = (self.kind, self.other(id)) {
            self.twists.pairs.retain(|(own, to)| *own != id && *to != id);
            let abort = !clean && self.rng.chance(500);
            self.end(cx, other, abort);
        }
        self.twists.held.retain(|held| *held != id);
    }

    /// From now on what is held is let go: in a timer or a post of its own, after a while.
    pub(super) fn twisted_shutdown(&mut self, cx: &mut Context) {
        if self.kind == Kind::Keeper && !self.twists.held.is_empty() {
            self.let_go_later(cx);
        }
    }

    fn let_go_later(&mut self, cx: &mut Context) {
        if self.rng.chance(300) {
            let number = self.oracle.posts();
            let run = move |handler: &mut TestHandler, cx: &mut Context| {
                handler.oracle.runs(number);
                handler.let_go(cx);
                handler.may_panic(None);
            };
            if self.handle.post(Box::new(run)) {
                return;
            }
            self.oracle.refused_post();
        }
        let wait = Duration::from_micros(self.rng.within(1, 2_000_000));
        let timer = cx.set_timer(wait, 4);
        self.oracle.sets_timer(timer, wait, Duration::ZERO, 4);
    }

    /// One that is held may go; and if there are more, another later.
    pub(super) fn let_go(&mut self, cx: &mut Context) {
        let Some(id) = self.twists.held.pop() else { return };
        if let Some(link) = Oracle::link_of(cx, id) {
            if self.rng.chance(300) {
                let bytes = self.noise(self.size);
                self.send_to(cx, id, &bytes, false);
            }
            if act(cx, id, |conn| conn.hold(false)) {
                self.oracle.hold(cx, link, false);
            }
            if self.rng.chance(700) {
                self.resume(cx, id);
            } else {
                self.end(cx, id, false);
            }
        }
        if !self.twists.held.is_empty() {
            self.let_go_later(cx);
        }
    }
}
