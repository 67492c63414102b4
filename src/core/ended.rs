//! Those who ended: freed, counted, and told of in the log.

use std::io;

use super::{Core, Ended, TARGET, Tenant};
use crate::address::cannot_connect;
use crate::close::CloseReason;
use crate::deadlines::Stamp;
use crate::flags::Flags;
use crate::id::ConnId;

impl Core {
    /// Frees the first of those that ended, and tells how.
    pub(crate) fn free_ended(&mut self) -> Option<(ConnId, Ended)> {
        let id = self.ended.pop_front()?;
        let mut tenant =
            self.conns.remove(id.slot(), id.generation()).expect("who ended is not freed yet");
        self.deadlines.set(id.token(), tenant.conn.armed, Stamp::NEVER);
        let handed = tenant.conn.take_detached();
        let reset = tenant.conn.flags.has(Flags::RESET);
        if reset {
            tenant.socket.reset_on_close();
        }
        if tenant.conn.is_shared() && handed.is_none() {
            self.driver.deregister(tenant.socket.watched());
            tenant.socket.end_for_all(reset);
        }
        tenant.conn.recount(&mut self.buffered);
        self.weigh();
        if tenant.conn.flags.has(Flags::COUNTED) {
            self.crowd.leave(&tenant.peer);
        }
        let closed = tenant.conn.closed();
        if tenant.conn.flags.has(Flags::UNOPENED)
            && let Some(tag) = self.connecting.remove(&id).map(|of| of.tag)
        {
            return Some((id, self.end_connect(id, tenant, tag, closed.reason)));
        }
        self.stats.closed.count(&closed.reason);
        let level = match closed.reason {
            CloseReason::InputLimit
            | CloseReason::OutputLimit
            | CloseReason::BufferedLimit
            | CloseReason::Idle
            | CloseReason::FirstByte
            | CloseReason::TooSlow
            | CloseReason::Reclaimed
            | CloseReason::Source(_)
            | CloseReason::WriteStall => log::Level::Info,
            // A close of ours that a deadline cut short. A peer that resets chose to.
            CloseReason::PeerEnd
            | CloseReason::Local
            | CloseReason::Handler(_)
            | CloseReason::Shutdown
                if closed.unsent > 0 || closed.unfinished =>
            {
                log::Level::Info
            }
            _ => log::Level::Debug,
        };
        log::log!(target: TARGET, level, "{}: closed ({id}): {closed}", tenant.peer);
        if let Some(handed) = handed {
            return Some((id, self.hand_over(tenant, handed, closed)));
        }
        drop(tenant);
        self.wake_listeners();
        Some((id, Ended::Connection(closed)))
    }

    /// Frees what was to become a connection.
    #[cold]
    fn end_connect(&mut self, id: ConnId, tenant: Tenant, tag: u64, why: CloseReason) -> Ended {
        let cause = match why {
            CloseReason::Io(error) => {
                self.stats.connect_errors += 1;
                error
            }
            // The application's own doing.
            why => io::Error::new(io::ErrorKind::ConnectionAborted, why.to_string()),
        };
        drop(tenant.socket);
        let error = cannot_connect(tenant.peer, cause);
        log::debug!(target: TARGET, "{error} ({id})");
        self.wake_listeners();
        Ended::Connect { tag, error }
    }
}
