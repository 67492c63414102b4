//! Connects: begun, and found to have ended.
//!
//! A connect waits for nobody. What fails at once is the caller's error; otherwise there is a
//! connection in phase `Connecting`, which takes sends, and whose socket is asked at each event
//! whether it has come through (trap 44: that it is writable says nothing). Failure, deadline and
//! `abort` end it on the way that every connection ends. The handler is not called: `reactor.rs`
//! opens what was established. Read next: `connect.rs`, which makes the socket.

use std::io;

use super::{Core, Shutdown, Tenant};
use crate::address::{Address, cannot_connect};
use crate::conn::Connection;
use crate::connect::{Connect, Options};
use crate::id::ConnId;
use crate::readiness::Readiness;

impl Core {
    /// Begins to connect. An error has been told with that; otherwise one callback will tell.
    pub(crate) fn connect(&mut self, connect: Connect, tag: u64) -> io::Result<ConnId> {
        let (address, options) = connect.resolve()?;
        let error = match self.check_room() {
            Ok(()) => match self.begin_connect(address.clone(), options) {
                Ok(id) => {
                    self.connecting.insert(id, tag);
                    return Ok(id);
                }
                Err(error) => {
                    self.stats.connect_errors += 1;
                    error
                }
            },
            Err(error) => error,
        };
        Err(cannot_connect(address, error))
    }

    fn begin_connect(&mut self, address: Address, mut options: Options) -> io::Result<ConnId> {
        let has_own = options.has_own();
        let socket = match self.driver.kernel() {
            None => options.open(&address)?,
            Some(kernel) => options.open_simulated(&address, kernel)?,
        };
        // Between two turns the clock was last read long ago.
        self.read_clock();
        let timeout = options.timeout.unwrap_or(self.limits.connect);
        let conn = Connection::connecting(self.now, self.now.after(timeout));
        if has_own {
            conn.share();
        }
        self.admit(socket, address, conn)
    }

    /// Asks a socket that had an event whether its connect has ended. Answers with its tag if it is
    /// connected: it is to be opened.
    #[cold]
    pub(crate) fn finish_connect(&mut self, id: ConnId) -> Option<u64> {
        let (now, limits) = (self.now, &self.limits);
        let tenant = self.conns.get_mut(id.slot(), id.generation());
        let Tenant { socket, conn, peer } = tenant?;
        let failure = match socket.finish_connect() {
            Ok(()) => None,
            Err(error) if was_connected(&error) => Some(error),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.readiness = Readiness::EMPTY;
                return None;
            }
            Err(error) => {
                conn.fail(error);
                return None;
            }
        };
        conn.handle_connected(now, limits);
        if let Some(error) = failure {
            conn.fail_write(error, now);
        }
        if self.shutdown != Shutdown::No {
            conn.handle_shutdown();
        }
        log::debug!("{peer}: open ({id})");
        let due = conn.deadline(limits);
        self.deadlines.set(id.token(), conn.armed, due);
        conn.armed = due;
        self.stats.connected += 1;
        self.connecting.remove(&id)
    }
}

/// Whether a socket that failed had been connected before: a connect that is answered by a reset is
/// refused (`ECONNREFUSED`), and only what is established can be reset, or reset behind its end
/// (`EPIPE`; `tcp_reset` of Linux). What the peer said before that is still to be read.
fn was_connected(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
