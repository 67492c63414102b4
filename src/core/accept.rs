//! Listeners at work: opened, accepting, resting, closed.
//!
//! What a failure means is decided in `net/listener.rs`; here it is acted on. The handler is not called:
//! `reactor.rs` opens what was accepted. Read next: `net/listener.rs`.

use std::io;

use crate::base::address::Address;
use crate::base::attempt::{Attempt, attempt};
use crate::base::id::{ConnId, LISTENERS_CEILING, ListenerId, Origin};
use crate::base::layer::Layer;
use crate::base::one_line::OneLine;
use crate::base::refused::Refused;
use crate::conn::flags::Flags;
use crate::conn::{Connection, Phase};
use crate::core::schedule::{Due, Ticket};
use crate::core::{Core, Entry};
use crate::net::detached::Detached;
use crate::net::intake::Spreader;
use crate::net::listen::Opened;
use crate::net::listener::{Listener, Trouble, Verdict, trouble};
use crate::net::socket::Socket;
use crate::time::deadlines::Stamp;

/// What accepting once came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection, to be opened.
    Opened(ConnId),
    /// A connection in the place of another, which has ended: after that was told, it is
    /// [let in](Core::let_in_claimed).
    Reclaimed,
    /// No connection; the next may be fine.
    Skipped,
    /// No connection, and no use in trying on.
    Stopped,
}

impl Core {
    pub(crate) fn listen(&mut self, opened: Opened) -> io::Result<ListenerId> {
        if self.listeners.is_full() {
            return Err(Refused::TooMany { most: LISTENERS_CEILING, what: "listeners" }.into());
        }
        let address = opened.local_addr()?;
        let service = self.callback.service();
        let id = self.listeners.insert(Listener::new(opened, address.clone()), service);
        let listener = self.listeners.get_mut(id).expect("just inserted");
        let watched = self.driver.register_acceptor(listener.opened.acceptor_mut(), id.token());
        if let Err(error) = watched {
            self.listeners.remove(id, &mut self.schedule);
            return Err(error);
        }
        log::debug!("listening on {address}");
        Ok(id)
    }

    pub(crate) fn listener_addr(&self, id: ListenerId) -> Option<&Address> {
        self.listeners.find(id).map(|listener| &listener.address)
    }

    pub(crate) fn listener_ids(&self) -> Vec<ListenerId> {
        self.listeners.ids()
    }

    /// Accepts once.
    pub(crate) fn accept(&mut self, id: ListenerId) -> Accepted {
        let leaving = self.ending.is_asked();
        if self.is_paused(id) && !leaving {
            return Accepted::Stopped;
        }
        let service = self.listeners.service(id);
        let reclaims = self.limits.reclaim_idle.is_some();
        let spreader = self.listeners.get(id).and_then(|it| it.opened.spreader.as_ref());
        if let Some(spreader) = spreader
            && !leaving
            && !spreader.has_room(reclaims)
        {
            return self.rest_spreading(id);
        }
        let full = spreader.is_none() && !leaving && !self.has_place(service);
        if full && !self.finds_idle(service) {
            return self.rest_full(id, service);
        }
        let Some(listener) = self.listeners.get_mut(id) else {
            return Accepted::Stopped;
        };
        let error = match attempt(|| listener.opened.accept()) {
            Ok(Attempt::WouldBlock) => {
                listener.readable = false;
                listener.handle_success();
                return Accepted::Stopped;
            }
            Ok(Attempt::Ready((socket, peer))) if listener.opened.spreader.is_some() => {
                return self.hand_out(id, socket, peer);
            }
            Ok(Attempt::Ready((socket, _))) if self.conns.is_full() && !full => {
                socket.reset_on_close();
                self.count_refused(service);
                return Accepted::Skipped;
            }
            Ok(Attempt::Ready((socket, peer))) => {
                // Whom a layer speaks for is asked when it is there.
                let has_layer = listener.opened.layer.is_some();
                if !has_layer && self.is_full_for(service, &peer) {
                    self.refuse(id, &socket, &peer);
                    return Accepted::Skipped;
                }
                if full && self.reclaim(service) {
                    self.listeners.claimed = Some((socket, peer));
                    return Accepted::Reclaimed;
                }
                match self.let_in(id, socket, peer) {
                    // Its `on_open` comes when its handshake is over.
                    Ok(conn) => {
                        let opens = conn.filter(|conn| !self.is_unopened(*conn));
                        return opens.map_or(Accepted::Skipped, Accepted::Opened);
                    }
                    Err(error) => error,
                }
            }
            Err(error) => {
                self.stats.accept_errors += 1;
                match trouble(&error) {
                    Trouble::Peer => {}
                    Trouble::Shortage => self.stats.accept_shortages += 1,
                    Trouble::Lasting => self.stats.accept_failures += 1,
                }
                error
            }
        };
        let now = self.now;
        let Some(listener) = self.listeners.get_mut(id) else {
            return Accepted::Stopped;
        };
        match listener.handle_error(&error, now) {
            Verdict::Skip => Accepted::Skipped,
            Verdict::Rest => self.rest_until(id, Listener::retry_at(now)),
        }
    }

    fn is_paused(&self, id: ListenerId) -> bool {
        self.listeners.get(id).is_some_and(|listener| listener.paused)
    }

    /// Stops or restarts accepting. Returns whether there is such a listener.
    pub(crate) fn pause_accepting(&mut self, id: ListenerId, pause: bool) -> bool {
        if !self.listeners.is_own(id) {
            return false;
        }
        let Some(listener) = self.listeners.get_mut(id) else { return false };
        listener.paused = pause;
        if let Some(intake) = listener.opened.as_intake() {
            intake.pause(pause);
        }
        if !pause {
            self.listeners.wake(id, &mut self.schedule);
        }
        true
    }

    /// The connection limit is reached: the listener rests until a connection ends, or may be idle
    /// long enough.
    #[cold]
    fn rest_full(&mut self, id: ListenerId, service: u8) -> Accepted {
        let most = self.services.most(service, self.limits.connections);
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.handle_full(format_args!("at {most} connections, the limit"), self.now);
        }
        self.rest_until(id, self.idle_from(service))
    }

    /// No reactor takes any: clients wait in the kernel for a moment. Nothing tells that another
    /// reactor has room again.
    #[cold]
    fn rest_spreading(&mut self, id: ListenerId) -> Accepted {
        let now = self.now;
        if let Some(listener) = self.listeners.get_mut(id) {
            let why = listener.opened.spreader.as_ref().map_or_else(String::new, Spreader::why_not);
            listener.handle_full(why, now);
        }
        self.rest_until(id, Listener::retry_at(now))
    }

    /// Gives one that was accepted to the reactor that it is for, which may be this one.
    fn hand_out(&mut self, id: ListenerId, socket: Socket, peer: Address) -> Accepted {
        let Some(listener) = self.listeners.get_mut(id) else { return Accepted::Stopped };
        listener.handle_success();
        let spreader = listener.opened.spreader.as_mut().expect("it accepts for others");
        if let Err((socket, peer)) = spreader.hand(socket, peer) {
            log::info!("{peer}: no reactor takes it, refused");
            socket.reset_on_close();
            self.count_refused(self.listeners.service(id));
        }
        Accepted::Skipped
    }

    /// Tells the reactor that accepts for this one how many it may hand to it.
    #[inline]
    pub(super) fn note_places(&self) {
        for (service, intake) in self.listeners.intakes() {
            intake.note_places(self.places(service));
        }
    }

    /// Before the end of a listener that another reactor accepts for: that gives it nothing any more.
    pub(crate) fn close_intake(&self, id: ListenerId) {
        let listener = self.listeners.get(id);
        if let Some(intake) = listener.and_then(|listener| listener.opened.as_intake()) {
            intake.close();
        }
    }

    /// Lets a listener rest until any connection closes, or this moment.
    fn rest_until(&mut self, id: ListenerId, retry: Stamp) -> Accepted {
        self.listeners.rest(id, retry, &mut self.schedule);
        Accepted::Stopped
    }

    /// Gives the place of the connection that made room to the one that was accepted for it.
    pub(crate) fn let_in_claimed(&mut self, id: ListenerId) -> Option<ConnId> {
        let (socket, peer) = self.listeners.claimed.take()?;
        self.let_in(id, socket, peer).ok().flatten().filter(|conn| !self.is_unopened(*conn))
    }

    /// Whether a connection waits for its `on_open`.
    fn is_unopened(&self, id: ConnId) -> bool {
        self.entry(id).is_none_or(|entry| entry.conn.flags.has(Flags::UNOPENED))
    }

    /// Resets the accepted socket whose predecessor's end could not be told to the end.
    pub(crate) fn drop_claimed(&mut self) {
        if let Some((socket, _)) = self.listeners.claimed.take() {
            self.count_refused(self.listeners.accepting_service());
            socket.reset_on_close();
        }
    }

    /// Gives a place to one that was accepted. `None`: it was refused, because it has no layer.
    pub(crate) fn let_in(
        &mut self,
        id: ListenerId,
        socket: Socket,
        peer: Address,
    ) -> io::Result<Option<ConnId>> {
        let (mut conn, service) = (Connection::new(self.now), self.listeners.service(id));
        let Ok(layer) = self.layer_for(id, &peer, &socket) else {
            self.count_refused(service);
            return Ok(None);
        };
        let tells_peer = layer.as_deref().is_some_and(Layer::tells_peer);
        if layer.is_some() && !tells_peer && self.is_full_for(service, &peer) {
            self.refuse(id, &socket, &peer);
            return Ok(None);
        }
        if self.services.first_byte(service, self.limits.first_byte).is_some() {
            conn.flags.set(Flags::SILENT);
        }
        // Not if another connection has taken the place since. In shutdown what waits is let in as
        // long as there is any.
        let has_place = self.has_place(service) || self.ending.is_asked() && !self.conns.is_full();
        let admitted = if has_place {
            self.admit(socket, peer, conn, service)
        } else {
            socket.reset_on_close();
            Err(no_place())
        };
        match admitted {
            Ok(conn) => {
                if !tells_peer {
                    self.count_address(conn);
                }
                if let Some(listener) = self.listeners.get_mut(id) {
                    listener.handle_success();
                }
                self.stats.accepted += 1;
                self.services.stats_mut(service).accepted += 1;
                if let Some(layer) = layer {
                    self.begin_accepted(conn, layer, Origin::Accepted(id));
                }
            }
            Err(_) => self.count_refused(service),
        }
        admitted.map(Some)
    }

    /// One was accepted and is not let in.
    fn count_refused(&mut self, service: u8) {
        self.stats.refused += 1;
        self.services.stats_mut(service).refused += 1;
    }

    /// The layer of a connection that was accepted, if its listener has any.
    fn layer_for(
        &mut self,
        id: ListenerId,
        peer: &Address,
        socket: &Socket,
    ) -> io::Result<Option<Box<dyn Layer>>> {
        let listener = self.listeners.get(id);
        let Some(make) = listener.and_then(|listener| listener.opened.layer.clone()) else {
            return Ok(None);
        };
        self.make_layer(&make, peer).map(Some).inspect_err(|error| {
            log::info!("{peer}: no layer for it, refused: {}", OneLine(error));
            socket.reset_on_close();
        })
    }

    /// Resets one that was accepted: its address has as many connections as it may. In the backlog
    /// it would stand before others.
    #[cold]
    fn refuse(&mut self, id: ListenerId, socket: &Socket, peer: &Address) {
        self.stats.refused_address += 1;
        let service = self.listeners.service(id);
        self.services.stats_mut(service).refused_address += 1;
        socket.reset_on_close();
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.handle_address_limit(peer, self.now);
        }
    }

    /// Gives a socket a place and has it watched.
    pub(crate) fn admit(
        &mut self,
        socket: Socket,
        peer: Address,
        mut conn: Connection,
        service: u8,
    ) -> io::Result<ConnId> {
        self.services.enter(&mut conn, service);
        let id =
            self.conns.insert(Entry { socket, peer: peer.into(), conn, ticket: Ticket::new() });
        let entry = self.conns.get_mut(id).expect("just inserted");
        if let Err(error) = self.driver.register(&mut entry.socket, id.token()) {
            // To its peer this was no orderly end.
            if let Some(refused) = self.conns.remove(id) {
                self.leave_service(&refused);
                refused.socket.reset_on_close();
            }
            return Err(error);
        }
        let connecting = entry.conn.phase() == Phase::Connecting;
        log::debug!("{}: {} ({id})", entry.peer, if connecting { "connecting" } else { "open" });
        let due = entry.conn.deadline(&self.limits);
        self.schedule.update(&mut entry.ticket, id.token(), false, Due::At(due));
        Ok(id)
    }

    /// The most connections that can wait at a listener.
    pub(crate) fn waiting_max(&self, id: ListenerId) -> usize {
        let most = |listener: &Listener| listener.opened.waiting_max();
        self.listeners.get(id).map_or(0, most)
    }

    /// Takes a connected stream over; it is opened when no callback runs.
    pub(crate) fn adopt(&mut self, detached: Detached, tag: u64) -> io::Result<ConnId> {
        if let Err(refused) = self.check_room() {
            detached.refuse();
            return Err(refused);
        }
        let Detached { stream, unread, unsent } = detached;
        // Asked first: that of a stream which is no connection is another error.
        let peer = stream.peer_addr();
        let socket = stream.into_socket()?;
        // A stream that is not connected has no peer: the error says so.
        let peer = peer?;
        // Between two turns the clock was last read long ago.
        self.read_clock();
        let service = self.callback.service();
        let id = self.admit(socket, peer, Connection::new(self.now), service)?;
        let (now, limits) = (self.now, &self.limits);
        if let Some(Entry { conn, .. }) = self.conns.get_mut(id) {
            conn.handle_adopted(&unread, unsent, now, limits);
            conn.share();
            self.memory.recount(conn);
            self.mark_dirty(id);
        }
        self.check_memory();
        self.effects.note_opening(id, Origin::Adopted(tag), None);
        self.stats.adopted += 1;
        self.services.stats_mut(service).adopted += 1;
        Ok(id)
    }

    /// Refuses what the application would bring, where there is no place for it.
    pub(crate) fn check_room(&self) -> io::Result<()> {
        self.check_running()?;
        let service = self.callback.service();
        if !self.has_place(service) {
            let most = self.services.most(service, self.limits.connections);
            return Err(Refused::TooMany { most, what: "connections" }.into());
        }
        Ok(())
    }

    /// Refuses what the application would bring, where shutdown was asked for.
    pub(crate) fn check_running(&self) -> io::Result<()> {
        if self.ending.is_asked() { Err(Refused::ShuttingDown.into()) } else { Ok(()) }
    }

    /// `on_open` has returned: from here on it is the peer's turn, and time is counted.
    pub(crate) fn note_opened(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(Entry { conn, .. }) = self.conns.get_mut(id) {
            conn.handle_opened(now);
        }
    }

    /// The next connection that waits for its `on_open`, unless it was closed meanwhile; and the
    /// service that it is handed over to before.
    pub(crate) fn next_opening(&mut self) -> Option<(ConnId, Origin, Option<u8>)> {
        while let Some((id, origin, to)) = self.effects.next_opening() {
            if let Some(Entry { conn, .. }) = self.entry_mut(id) {
                let is_open = conn.phase() == Phase::Open;
                if to.is_none() || !is_open {
                    conn.flags.clear(Flags::UNOPENED);
                }
                if !is_open {
                    self.update(id);
                    continue;
                }
                if to.is_none() {
                    if matches!(origin, Origin::HandedOver(_)) {
                        self.forget_wishes(id);
                    }
                    // Its times run from here on.
                    self.arm(id);
                }
                return Some((id, origin, to));
            }
        }
        None
    }

    /// Closes a listener; the connections in its backlog are reset. Returns whether there was one.
    pub(crate) fn close_listener(&mut self, id: ListenerId) -> bool {
        if !self.listeners.is_own(id) {
            return false;
        }
        let listener = self.listeners.remove(id, &mut self.schedule);
        let Some(mut listener) = listener else { return false };
        self.driver.deregister(listener.opened.acceptor_mut().watched());
        true
    }
}

fn no_place() -> io::Error {
    io::Error::other("the place was given to another")
}
