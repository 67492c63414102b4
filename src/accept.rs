//! Listeners at work: opened, accepting, resting, closed.
//!
//! What a failure means is decided in `listener.rs`; here it is acted on. The handler is not called:
//! `reactor.rs` opens what was accepted. Read next: `listener.rs`.

use std::io;

use crate::address::Address;
use crate::attempt::{Attempt, attempt};
use crate::conn::Connection;
use crate::core::{Core, Shutdown, Tenant};
use crate::id::{ConnId, ListenerId};
use crate::listener::{Listener, Verdict};
use crate::socket::{Acceptor, BACKLOG, Socket};
use crate::timers::Stamp;

/// What accepting once came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection, to be opened.
    Opened(ConnId),
    /// Nobody; the next may be fine.
    Skipped,
    /// Nobody, and no use in trying on.
    Stopped,
}

impl Core {
    pub(crate) fn listen(&mut self, acceptor: Acceptor) -> io::Result<ListenerId> {
        if self.shutdown != Shutdown::No {
            return Err(io::Error::other("the reactor is shutting down"));
        }
        if self.listeners.is_full() {
            return Err(io::Error::other("too many listeners"));
        }
        let address = acceptor.local_addr()?;
        let listener = Listener::new(acceptor, address.clone());
        let (slot, generation) = self.listeners.insert(listener);
        let id = ListenerId::new(self.number, slot, generation);
        let listener = self.listeners.get_mut(slot, generation).expect("just inserted");
        let watched = self.driver.register_acceptor(&mut listener.acceptor, id.token());
        if let Err(error) = watched {
            self.listeners.remove(slot, generation);
            return Err(error);
        }
        log::debug!("listening on {address}");
        Ok(id)
    }

    pub(crate) fn listener_addr(&self, id: ListenerId) -> Option<&Address> {
        if id.reactor() != self.number {
            return None;
        }
        self.listeners.get(id.slot, id.generation).map(|listener| &listener.address)
    }

    pub(crate) fn listener_ids(&self) -> Vec<ListenerId> {
        let name = |(slot, generation)| ListenerId::new(self.number, slot, generation);
        self.listeners.ids().map(name).collect()
    }

    /// Accepts once.
    pub(crate) fn accept(&mut self, id: ListenerId) -> Accepted {
        let Some(listener) = self.listeners.get_mut(id.slot, id.generation) else {
            return Accepted::Stopped;
        };
        let leaving = self.shutdown == Shutdown::Begun;
        if self.conns.is_full() && !leaving {
            listener.handle_full(self.limits.connections, self.now);
            self.resting_listeners += 1;
            return Accepted::Stopped;
        }
        let error = match attempt(|| listener.acceptor.accept()) {
            Ok(Attempt::WouldBlock) => {
                listener.readable = false;
                listener.handle_success();
                return Accepted::Stopped;
            }
            Ok(Attempt::Ready(_)) if self.conns.is_full() => {
                self.stats.refused += 1;
                return Accepted::Skipped;
            }
            Ok(Attempt::Ready((socket, peer))) => match self.admit(socket, peer) {
                Ok(conn) => {
                    if let Some(listener) = self.listeners.get_mut(id.slot, id.generation) {
                        listener.handle_success();
                    }
                    self.stats.accepted += 1;
                    return Accepted::Opened(conn);
                }
                Err(error) => {
                    self.stats.refused += 1;
                    error
                }
            },
            Err(error) => {
                self.stats.accept_errors += 1;
                error
            }
        };
        let (now, patience) = (self.now, self.limits.accepts_per_turn);
        let Some(listener) = self.listeners.get_mut(id.slot, id.generation) else {
            return Accepted::Stopped;
        };
        match listener.handle_error(&error, now, patience) {
            Verdict::Skip => Accepted::Skipped,
            Verdict::Rest => {
                listener.resting = true;
                self.resting_listeners += 1;
                let retry = Listener::retry_at(now);
                self.deadlines.set(id.token(), listener.armed, retry);
                listener.armed = retry;
                Accepted::Stopped
            }
        }
    }

    /// Gives an accepted socket a place and has it watched.
    fn admit(&mut self, socket: Socket, peer: Address) -> io::Result<ConnId> {
        let conn = Connection::new(self.now);
        let (slot, generation) = self.conns.insert(Tenant { socket, peer, conn });
        let id = ConnId::new(self.number, slot, generation);
        let tenant = self.conns.get_mut(slot, generation).expect("just inserted");
        if let Err(error) = self.driver.register(&mut tenant.socket, id.token()) {
            self.conns.remove(slot, generation);
            return Err(error);
        }
        let due = tenant.conn.deadline(&self.limits);
        self.deadlines.set(id.token(), Stamp::NEVER, due);
        tenant.conn.armed = due;
        Ok(id)
    }

    /// After a listener's turn: back on the run queue if there is more to accept.
    pub(crate) fn end_listener_turn(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id.slot, id.generation) {
            listener.queued = listener.is_runnable();
            if listener.queued {
                self.run.push_back(id.token());
            }
        }
    }

    /// The most connections a listener can have waiting in the kernel.
    pub(crate) fn backlog() -> usize {
        usize::try_from(BACKLOG).expect("the backlog is positive")
    }

    pub(crate) fn close_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.remove(id.slot, id.generation) else { return };
        self.deadlines.set(id.token(), listener.armed, Stamp::NEVER);
        if listener.resting {
            self.resting_listeners -= 1;
        }
    }
}
