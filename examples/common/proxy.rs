//! A proxy's handler: where a client's connection to the server comes from, what happens when the
//! server does not answer or there is no place for it, and what is told.
//!
//! How the two are coupled stands in `relay.rs`. Read next: `proxy.rs` in the folder above, which runs it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::relay::Side;
use wouldblock::{
    Address, Closed, Conn, ConnId, Connect, Context, Handler, Input, Origin, Refused,
};

/// Where and how the server is connected to for a client.
type MakeConnect = dyn Fn(&Conn<'_>) -> io::Result<Connect>;

/// A proxy in front of one server.
pub(crate) struct Proxy {
    /// For each client anew.
    to: Box<MakeConnect>,
    /// Clients for whose server there was no place among the connections.
    waiting: VecDeque<ConnId>,
}

/// One connection of the two.
pub(crate) struct Session {
    side: Side,
    /// The client's name, in the log of both.
    client: Address,
}

impl Proxy {
    /// `to`: where and how the server is connected to, for each client anew.
    pub(crate) fn new(to: impl Fn(&Conn<'_>) -> io::Result<Connect> + 'static) -> Self {
        Proxy { to: Box::new(to), waiting: VecDeque::new() }
    }

    /// Connects to the server on behalf of a client: to the first of its addresses that answers. The tag is
    /// the client's id.
    fn connect(&mut self, client: &mut Conn<'_>) -> Option<ConnId> {
        let id = client.id();
        match (self.to)(client).and_then(|to| client.cx().connect(to, id.to_u64())) {
            Ok(server) => return Some(server),
            Err(error) => match Refused::of(&error) {
                // Our own limit: the next connection that is over makes room.
                Some(Refused::TooMany { .. }) => self.waiting.push_back(id),
                _ => refuse(client, &error),
            },
        }
        None
    }

    /// There may be a place now: the first that waits tries again, in `on_timeout`.
    fn let_one_in(&mut self, cx: &mut Context) {
        while let Some(id) = self.waiting.pop_front() {
            if let Some(mut client) = cx.conn(id).filter(Conn::is_open) {
                return client.set_timeout(Duration::ZERO);
            }
        }
    }
}

/// There is no server for a client.
fn refuse(client: &mut Conn<'_>, why: &io::Error) {
    // Not if it has gone, and so ended the connect.
    if let Ok(name) = client.peer_addr()
        && client.is_open()
    {
        log::warn!("{name}: refused: {why}");
    }
    // A reset: "there is nothing here", where an end would say "that was all".
    client.abort();
}

impl Handler for Proxy {
    type Session = Session;

    fn on_open(&mut self, conn: &mut Conn<'_>, origin: Origin) -> io::Result<Session> {
        if let Origin::Connected(client) = origin {
            let side = Side::new(conn, false, Some(ConnId::from_u64(client)));
            let Some(mut client) = side.other(conn.cx()) else {
                return Err(io::Error::other("its client is gone"));
            };
            client.resume();
            let client = client.peer_addr()?;
            return Ok(Session { side, client });
        }
        // It may speak when there is a server to listen. (We could send to one that is not there yet,
        // but then there would be no trying another address.)
        conn.pause();
        let server = self.connect(conn);
        Ok(Session { side: Side::new(conn, true, server), client: conn.peer_addr()? })
    }

    /// A client that has waited for a place.
    fn on_timeout(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        session.side.other = self.connect(conn);
        Ok(())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        session.side.pass_on(conn, input);
        Ok(())
    }

    fn on_eof(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut Session,
        _rest: &mut Input<'_>,
    ) -> io::Result<()> {
        session.side.pass_on_end(conn);
        Ok(())
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, session: &mut Session) -> io::Result<()> {
        session.side.drained(conn);
        Ok(())
    }

    fn on_connect_failed(&mut self, cx: &mut Context, _: ConnId, client: u64, error: io::Error) {
        if let Some(mut client) = cx.conn(ConnId::from_u64(client)) {
            refuse(&mut client, &error);
        }
        self.let_one_in(cx);
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, session: Session, closed: Closed) {
        let Session { side, client } = session;
        side.ended(cx, &closed);
        let way = if side.asks { "up" } else { "down" };
        log::debug!("{client}: done: {} bytes {way}, {closed}", side.bytes);
        self.let_one_in(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context) {
        for client in self.waiting.drain(..) {
            if let Some(mut client) = cx.conn(client) {
                client.abort();
            }
        }
    }
}
