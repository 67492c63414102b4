//! One handler as several services: a door for each, all of them to the same test handler.
//!
//! A door says whose callback it is, and the oracle compares that with what the library says. In
//! most worlds there is no door: the handler is alone. Read next: `oracle/services.rs`.

use std::cell::{RefCell, RefMut};
use std::io;
use std::ops::DerefMut;
use std::rc::Rc;

use bytes::Bytes;

use super::{Kind, Session, TestHandler};
use crate::base::close::{CloseReason, Closed};
use crate::base::id::{ConnId, Origin};
use crate::conn::input::Input;
use crate::context::{Conn, Context};
use crate::handle::Handle;
use crate::handler::Handler;
use crate::kernel::rng::Rng;
use crate::net::datagram::Datagram;
use crate::oracle::{Oracle, Word};
use crate::services::SessionOf3;
use crate::time::timers::Timer;

/// The handler of a world: the test handler, alone or behind doors.
pub(crate) trait Rig: Handler + 'static {
    type Ref<'a>: DerefMut<Target = TestHandler>
    where
        Self: 'a;

    fn of(handler: TestHandler, services: u8) -> Self;

    fn rig(&mut self) -> Self::Ref<'_>;

    fn session(session: &mut Self::Session) -> &mut Session;
}

impl Rig for TestHandler {
    type Ref<'a> = &'a mut TestHandler;

    fn of(handler: TestHandler, _services: u8) -> Self {
        handler
    }

    fn rig(&mut self) -> &mut TestHandler {
        self
    }

    fn session(session: &mut Session) -> &mut Session {
        session
    }
}

/// A service.
pub(crate) struct Door {
    number: u8,
    handler: Rc<RefCell<TestHandler>>,
}

pub(crate) type Three = (Door, Door, Door);

impl Rig for Three {
    type Ref<'a> = RefMut<'a, TestHandler>;

    fn of(handler: TestHandler, _services: u8) -> Self {
        let handler = Rc::new(RefCell::new(handler));
        let door = |number| Door { number, handler: Rc::clone(&handler) };
        (door(0), door(1), door(2))
    }

    fn rig(&mut self) -> RefMut<'_, TestHandler> {
        self.0.handler.borrow_mut()
    }

    fn session(session: &mut SessionOf3<Session, Session, Session>) -> &mut Session {
        match session {
            SessionOf3::A(session) | SessionOf3::B(session) | SessionOf3::C(session) => session,
        }
    }
}

impl Rig for Vec<Door> {
    type Ref<'a> = RefMut<'a, TestHandler>;

    fn of(handler: TestHandler, services: u8) -> Self {
        let handler = Rc::new(RefCell::new(handler));
        (0..services).map(|number| Door { number, handler: Rc::clone(&handler) }).collect()
    }

    fn rig(&mut self) -> RefMut<'_, TestHandler> {
        self[0].handler.borrow_mut()
    }

    fn session(session: &mut Session) -> &mut Session {
        session
    }
}

type Run = Box<dyn FnOnce(&mut TestHandler, &mut Context) + Send>;
type RunFor =
    Box<dyn FnOnce(&mut TestHandler, &mut Conn<'_>, &mut Session) -> io::Result<()> + Send>;

/// A handle of the reactor, whichever handler that has. Both return whether the closure was taken.
pub(crate) trait Mail {
    fn post(&self, run: Run) -> bool;

    fn post_to(&self, id: ConnId, run: RunFor) -> bool;
}

impl<H: Rig> Mail for Handle<H> {
    fn post(&self, run: Run) -> bool {
        let run = move |handler: &mut H, cx: &mut Context| {
            let mut handler = handler.rig();
            handler.oracle.serves(0, cx);
            run(&mut handler, cx);
        };
        Handle::post(self, run).is_ok()
    }

    fn post_to(&self, id: ConnId, run: RunFor) -> bool {
        let run = move |handler: &mut H, conn: &mut Conn<'_>, session: &mut H::Session| {
            let mut handler = handler.rig();
            handler.oracle.serves(0, conn.cx());
            run(&mut handler, conn, H::session(session))
        };
        Handle::post_to(self, id, run).is_ok()
    }
}

impl Door {
    fn enter(&mut self, cx: &Context) -> RefMut<'_, TestHandler> {
        let mut handler = self.handler.borrow_mut();
        handler.oracle.serves(self.number, cx);
        handler
    }
}

impl Handler for Door {
    type Session = Session;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Session> {
        self.enter(conn.cx()).on_open(conn, origin)
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        self.enter(conn.cx()).on_data(conn, session, input)
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        rest: &mut Input<'_>,
    ) -> io::Result<()> {
        self.enter(conn.cx()).on_eof(conn, session, rest)
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        self.enter(conn.cx()).on_drain(conn, session)
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        self.enter(conn.cx()).on_timeout(conn, session)
    }

    fn on_timer(&mut self, cx: &mut Context, timer: Timer) {
        self.enter(cx).on_timer(cx, timer);
    }

    fn on_datagram(&mut self, cx: &mut Context, datagram: &Datagram<'_>) {
        self.enter(cx).on_datagram(cx, datagram);
    }

    fn on_closing(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        reason: &CloseReason,
    ) -> io::Result<()> {
        self.enter(conn.cx()).on_closing(conn, session, reason)
    }

    fn on_close(&mut self, cx: &mut Context, id: ConnId, session: Session, closed: Closed) {
        self.enter(cx).on_close(cx, id, session, closed);
    }

    fn on_connect_failed(&mut self, cx: &mut Context, id: ConnId, tag: u64, error: io::Error) {
        self.enter(cx).on_connect_failed(cx, id, tag, error);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        self.enter(cx).on_shutdown(cx);
    }
}

/// When connections are handed over, and to whom.
pub(crate) struct Hands {
    rng: Rng,
    services: u8,
    /// In so many of a thousand callbacks.
    often: u32,
    /// In so many of a thousand of those, to a number that no handler has.
    astray: u32,
    /// So many more.
    left: u32,
}

impl Hands {
    pub(crate) fn new(rng: Rng, services: u8, often: u32, astray: u32) -> Self {
        Hands { rng, services, often, astray, left: 300 }
    }

    /// To which service the next one goes, if it does, and under which tag.
    fn next(&mut self) -> Option<(u8, u64)> {
        if self.left == 0 || !self.rng.chance(self.often) {
            return None;
        }
        self.left -= 1;
        let to = u8::try_from(self.rng.below(u64::from(self.services))).unwrap_or(0);
        let astray = self.rng.chance(self.astray);
        Some((if astray { self.services + 3 } else { to }, self.rng.below(1000)))
    }
}

impl TestHandler {
    pub(crate) fn hands(mut self, hands: Option<Hands>) -> Self {
        self.hands = hands;
        self
    }

    /// Perhaps hands the connection that is served to another service. Returns whether.
    pub(super) fn may_hand_over(&mut self, conn: &mut Conn<'_>, link: u32) -> bool {
        let Some((to, tag)) = self.hands.as_mut().and_then(Hands::next) else { return false };
        let (is_open, id) = (conn.is_open(), conn.id());
        let is_open = is_open && !Oracle::retires(conn.cx(), id);
        conn.hand_to(to, tag);
        self.oracle.hands(link, is_open, to, tag)
    }

    /// The same in `on_data`, where nothing is asked of the context: of input that is read, none is
    /// about to be closed.
    pub(super) fn may_hand_on(&mut self, conn: &mut Conn<'_>, link: u32) -> bool {
        let Some((to, tag)) = self.hands.as_mut().and_then(Hands::next) else { return false };
        let is_open = conn.is_open();
        conn.hand_to(to, tag);
        self.oracle.hands(link, is_open, to, tag)
    }

    /// Perhaps another callback hands some connection over.
    pub(super) fn may_hand_over_some(&mut self, cx: &mut Context) {
        let Some((to, tag)) = self.hands.as_mut().and_then(Hands::next) else { return };
        let ids = cx.all_connections();
        if ids.is_empty() {
            return;
        }
        let hands = self.hands.as_mut().expect("it has just drawn");
        let id = *hands.rng.pick(&ids);
        let (Some(link), retires) = (Oracle::link_of(cx, id), Oracle::retires(cx, id)) else {
            return;
        };
        if let Some(mut conn) = cx.conn(id) {
            let is_open = conn.is_open() && !retires;
            conn.hand_to(to, tag);
            self.oracle.hands(link, is_open, to, tag);
        }
    }

    /// Sends to all connections of the service whose callback runs.
    pub(super) fn broadcast(&mut self, cx: &mut Context, bytes: Bytes) {
        let ids = cx.connections();
        let links = |id: &ConnId| Some((*id, Oracle::link_of(cx, *id)?));
        let links: Vec<_> = ids.iter().filter_map(links).collect();
        self.oracle.broadcasts(cx, &ids);
        cx.broadcast(bytes.clone());
        for (id, link) in links {
            self.oracle.sent(cx, link, &bytes);
            if !Oracle::takes_sends(cx, id) {
                // It was ended by what another was sent, before its turn or after.
                self.oracle.ledger(link).perhaps = bytes.len() as u64;
            }
        }
    }

    /// What is left is another's: no message of it is handed out here.
    pub(super) fn leaves_to_another(&mut self, link: u32, input: &mut Input<'_>) -> (usize, Word) {
        if self.kind != Kind::Random && (input.line().is_some() || input.take(1).is_some()) {
            self.oracle.complain(format!("#{link} is handed over, and is given a message"));
        }
        (0, Word::None)
    }
}
