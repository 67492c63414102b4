//! Connects: begun, and found to have ended.
//!
//! A connect holds up no other. What fails at once is the caller's error; otherwise there is a
//! connection in phase `Connecting`, which takes sends, and whose socket is asked at each event
//! whether it has come through (trap 44: that it is writable says nothing). Failure and deadline take it
//! to its next address, if it has one. Otherwise they, and `abort`, end it on the way that every
//! connection ends. The handler is not called: `reactor.rs`
//! opens what was established. Read next: `connect.rs`, which makes the socket.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use super::schedule::Due;
use super::{Core, Entry, TARGET};
use crate::base::address::{Address, cannot_connect};
use crate::base::config::Limits;
use crate::base::id::{ConnId, Origin};
use crate::base::readiness::Readiness;
use crate::conn::Connection;
use crate::conn::flags::Flags;
use crate::conn::layer::Layered;
use crate::kernel::Kernel;
use crate::net::connect::{Connect, Options};
use crate::net::socket::Socket;
use crate::time::deadlines::Stamp;

impl Core {
    /// Begins to connect, to the first address that does not fail at once. An error has been told with
    /// that; otherwise one callback will tell.
    pub(crate) fn connect(&mut self, connect: Connect, tag: u64) -> io::Result<ConnId> {
        let (addresses, options) = connect.into_parts()?;
        let mut attempt = Attempt { tag, rest: addresses.into_iter(), options };
        if let Err(error) = self.check_room() {
            return Err(cannot_connect(attempt.first(), error));
        }
        let begun = self.begin_connect(&mut attempt);
        match begun {
            Ok(id) => {
                self.connects.begin(id, attempt);
            }
            Err(_) => self.stats.connect_errors += 1,
        }
        begun
    }

    fn begin_connect(&mut self, attempt: &mut Attempt) -> io::Result<ConnId> {
        let has_own = attempt.options.has_own();
        let (socket, address) = { attempt.next(self.driver.kernel()) }
            .map_err(|(error, address)| cannot_connect(address, error))?;
        // Between two turns the clock was last read long ago.
        self.read_clock();
        let mut conn = Connection::connecting(self.now, attempt.until(self.now, &self.limits));
        if let Some(layer) = attempt.options.layer.take() {
            conn.set_layer(Layered::new(layer, None));
        }
        if has_own {
            conn.share();
        }
        let service = self.callback.service();
        self.admit(socket, address.clone(), conn, service)
            .map_err(|error| cannot_connect(address, error))
    }

    /// Asks a socket that had an event whether its connect has ended. Returns what its `on_open` is to be
    /// told, if it is connected and that is due.
    #[cold]
    pub(crate) fn finish_connect(&mut self, id: ConnId) -> Option<Origin> {
        let (now, limits) = (self.now, &self.limits);
        let entry = self.conns.get_mut(id);
        let Entry { socket, conn, peer, ticket } = entry?;
        let failure = match socket.finish_connect() {
            Ok(()) => None,
            Err(error) if was_connected(&error) => Some(error),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.readiness = Readiness::EMPTY;
                return None;
            }
            Err(error) => {
                self.fail_connect(id, error);
                return None;
            }
        };
        conn.handle_connected(now, limits);
        if let Some(error) = failure {
            conn.fail_write(error, now);
        }
        if self.ending.is_asked() {
            conn.handle_shutdown();
        }
        log::debug!("{peer}: open ({id})");
        let due = conn.deadline(limits);
        self.schedule.update(ticket, id.token(), false, Due::At(due));
        if conn.is_layered() {
            // It is to be opened when the handshake is over.
            conn.flags.set(Flags::UNOPENED);
            return self.begin_layer(id);
        }
        self.stats.connected += 1;
        let service = conn.service;
        self.services.stats_mut(service).connected += 1;
        self.connects.end(id).map(Origin::Connected)
    }

    /// A connect has failed: goes on to the next address, if there is one, with another socket for the
    /// same connection. Otherwise it is over.
    #[cold]
    pub(crate) fn fail_connect(&mut self, id: ConnId, error: io::Error) {
        let Core { conns, connects, driver, limits, .. } = self;
        let Some(Entry { socket, conn, peer, .. }) = conns.get_mut(id) else {
            return;
        };
        let Some(attempt) = connects.find_next(id) else {
            return conn.fail(error);
        };
        log_other(peer.address(), error);
        let opened = attempt.next(driver.kernel());
        driver.deregister(socket.watched());
        if conn.is_shared() {
            socket.end_for_all(false);
        }
        let begun = opened.and_then(|(next, address)| {
            (*socket, *peer) = (next, address.clone().into());
            driver.register(socket, id.token()).map_err(|error| (error, address))
        });
        match begun {
            Ok(()) => conn.handle_next_address(attempt.until(self.now, limits)),
            Err((error, address)) => {
                *peer = address.into();
                conn.fail(error);
            }
        }
    }
}

/// The application is told of the last address alone.
fn log_other(address: Address, error: io::Error) {
    let error = cannot_connect(address, error);
    log::info!(target: TARGET, "{error}; the next address is tried");
}

/// The connects that are under way. A connection is here while, and only while, it has not been
/// opened, so that each connect is told of once.
#[derive(Debug, Default)]
pub(crate) struct Connects(HashMap<ConnId, Attempt>);

impl Connects {
    fn begin(&mut self, id: ConnId, attempt: Attempt) {
        self.0.insert(id, attempt);
    }

    /// A connect has ended, well or not: what it was begun with, if it has not been told of.
    pub(super) fn end(&mut self, id: ConnId) -> Option<u64> {
        self.0.remove(&id).map(|attempt| attempt.tag)
    }

    /// A connect that has an address left to try.
    fn find_next(&mut self, id: ConnId) -> Option<&mut Attempt> {
        self.0.get_mut(&id).filter(|attempt| attempt.rest.len() > 0)
    }

    /// Why a connect has failed whose deadline has come.
    pub(super) fn no_answer(&self, id: ConnId, limits: &Limits) -> io::Error {
        let wait = self.0.get(&id).map_or(limits.connect, |attempt| attempt.wait(limits));
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {wait:?}"))
    }

    #[allow(dead_code, reason = "asked by the oracle of `sim.rs` alone")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A connect that is under way.
#[derive(Debug)]
struct Attempt {
    tag: u64,
    /// The addresses that were not tried yet.
    rest: std::vec::IntoIter<Address>,
    options: Options,
}

impl Attempt {
    /// Begins to connect to the next address that does not fail at once. An error is that of the last.
    fn next(&mut self, kernel: Option<&Kernel>) -> Result<(Socket, Address), (io::Error, Address)> {
        loop {
            let address = self.first();
            self.rest.next();
            let opened = match kernel {
                None => self.options.open(&address),
                Some(kernel) => self.options.open_simulated(&address, kernel),
            };
            match opened {
                Ok(socket) => return Ok((socket, address)),
                Err(error) if self.rest.len() == 0 => return Err((error, address)),
                Err(error) => log_other(address, error),
            }
        }
    }

    /// The next address.
    fn first(&self) -> Address {
        self.rest.as_slice().first().cloned().expect("a connect has an address left")
    }

    /// By when the address that is tried from now on must have answered.
    fn until(&self, now: Stamp, limits: &Limits) -> Stamp {
        now.after(self.wait(limits))
    }

    fn wait(&self, limits: &Limits) -> Duration {
        self.options.timeout.unwrap_or(limits.connect)
    }
}

/// Whether a socket that failed had been connected before: a connect that is answered by a reset is
/// refused (`ECONNREFUSED`), and only what is established can be reset, or reset behind its end
/// (`EPIPE`; `tcp_reset` of Linux). What the peer said before that is still to be read.
fn was_connected(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
