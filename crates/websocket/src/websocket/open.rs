//! The handshake of a connection, on either side, until the endpoint has its WebSocket.

use std::io;

use wouldblock::{Conn, Input};

use super::Settings;
use super::{Extra, Phase, WebSocket, WsSession, ws};
use crate::close::code;
use crate::deflate;
use crate::endpoint::Endpoint;
use crate::handshake;
use crate::http::{self, Response};
use crate::ws::Out;

impl<E: Endpoint> WebSocket<E> {
    /// The handshake, once the peer's head is there.
    #[cold]
    pub(super) fn open(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let (bytes, max) = (input.bytes(), self.shared.settings.head_max);
        let is_client = session.out.has(Out::CLIENT);
        let end = http::end(bytes, input.seen());
        if end.unwrap_or(bytes.len()) > max {
            if is_client {
                self.fail_connect(
                    conn,
                    session,
                    io::Error::other("the server's answer is too long"),
                );
            } else {
                refuse(conn, session, &Response::new(431));
            }
            return Ok(());
        }
        let Some(end) = end else {
            // Any byte may be the last one.
            input.wait_for(bytes.len() + 1);
            return Ok(());
        };
        input.consume(end);
        if is_client {
            let opened = http::answer(&bytes[..end], |head| self.judge(conn, session, head));
            return opened.unwrap_or_else(|| {
                self.fail_connect(
                    conn,
                    session,
                    io::Error::other("the server's answer is no HTTP"),
                );
                Ok(())
            });
        }
        let answered = http::request(&bytes[..end], |head| self.answer(conn, session, head));
        answered.unwrap_or_else(|status| {
            refuse(conn, session, &Response::new(status));
            Ok(())
        })
    }

    /// A server has answered.
    fn judge(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: http::Head<'_>,
    ) -> io::Result<()> {
        let Some(Extra::Asked(asked)) = session.extra.as_deref() else { return Ok(()) };
        let (tag, checked) = (asked.tag, asked.check(&head));
        match checked {
            Ok((protocol, agreed)) => {
                if agreed.is_none_or(|agreed| !agreed.has_contexts()) {
                    self.shared.leave_place(session.extra.as_deref());
                }
                session.extra = None;
                if let Some(agreed) = agreed {
                    session.agree(agreed);
                }
                self.begin(conn, session, &head.agreed(protocol, Some(tag)))
            }
            Err(why) => {
                self.fail_connect(conn, session, io::Error::other(why));
                Ok(())
            }
        }
    }

    /// A connect of ours has come to nothing: it is told as one that has failed.
    pub(super) fn fail_connect(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        why: io::Error,
    ) {
        session.phase = Phase::Over;
        conn.abort();
        self.shared.leave_place(session.extra.as_deref());
        if let Some(Extra::Asked(asked)) = session.extra.take().map(|it| *it) {
            let id = conn.id();
            self.endpoint.on_connect_failed(conn.cx(), id, asked.tag, why);
        }
    }

    /// Answers a request: with a page, a refusal, or as asked for.
    fn answer(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: http::Head<'_>,
    ) -> io::Result<()> {
        if !handshake::is_upgrade(&head) {
            let response = self.endpoint.on_request(conn, &head);
            conn.send(response.write(head.method() == "HEAD"));
            session.phase = Phase::Over;
            conn.close();
            return Ok(());
        }
        let Settings { origins, protocols, .. } = &self.shared.settings;
        let checked = handshake::check(&head, origins, protocols).and_then(|mut upgrade| {
            self.endpoint.on_upgrade(conn, &head, &mut upgrade)?;
            Ok(upgrade)
        });
        let mut upgrade = match checked {
            Ok(upgrade) => upgrade,
            Err(response) => {
                log::debug!("{}: a request is answered {}", conn.id(), response.status());
                refuse(conn, session, &response);
                return Ok(());
            }
        };
        if let Some(deflater) = self.shared.deflates() {
            let has_place = deflater.take_place();
            let accepted = deflate::accept(&head, has_place);
            if has_place && accepted.as_ref().is_none_or(|(agreed, _)| !agreed.has_contexts()) {
                deflater.leave_place();
            }
            if let Some((agreed, extension)) = accepted {
                session.agree(agreed);
                upgrade.extension = Some(extension);
            }
        }
        conn.send(upgrade.write(&head));
        self.begin(conn, session, &head.agreed(upgrade.protocol.as_deref(), None))
    }

    /// The handshake is over.
    fn begin(
        &mut self,
        conn: &mut Conn<'_>,
        session: &mut WsSession<E::Session>,
        head: &http::Head<'_>,
    ) -> io::Result<()> {
        match self.shared.settings.ping {
            Some(ping) => conn.set_timeout(ping),
            None => drop(conn.cancel_timeout()),
        }
        let WsSession { out, extra, phase, .. } = session;
        *phase = Phase::Over;
        let Some(mut ws) = ws(conn, out, extra, &mut self.shared) else { return Ok(()) };
        match self.endpoint.on_open(&mut ws, head) {
            Ok(session) => *phase = Phase::Open(session),
            Err(error) => {
                ws.send_close(code::ERROR, "");
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Answers a request that becomes no WebSocket, and closes.
#[cold]
pub(super) fn refuse<S>(conn: &mut Conn<'_>, session: &mut WsSession<S>, response: &Response) {
    conn.send(response.write(false));
    session.phase = Phase::Over;
    conn.close();
}
