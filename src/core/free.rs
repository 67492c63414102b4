//! Connections that ended: freed, counted, and told of in the log.

use std::io;

use super::{Core, Ended, Entry, TARGET};
use crate::base::address::cannot_connect;
use crate::base::close::CloseReason;
use crate::base::id::ConnId;
use crate::conn::flags::Flags;

impl Core {
    /// Frees the first of those that ended, and tells how.
    pub(crate) fn free_ended(&mut self) -> Option<(ConnId, Ended)> {
        let id = self.effects.next_ended()?;
        let mut entry = self.conns.remove(id).expect("who ended is not freed yet");
        self.schedule.forget(&mut entry.ticket, id.token());
        let handed = entry.conn.take_detached();
        let reset = entry.conn.flags.has(Flags::RESET);
        if reset {
            entry.socket.reset_on_close();
        }
        if entry.conn.is_shared() && handed.is_none() {
            self.driver.deregister(entry.socket.watched());
            entry.socket.end_for_all(reset);
        }
        self.memory.recount(&mut entry.conn);
        self.check_memory();
        self.leave_service(&entry);
        let closed = entry.conn.closed();
        if entry.conn.flags.has(Flags::UNOPENED)
            && let Some(tag) = self.connects.end(id)
        {
            return Some((id, self.end_connect(id, entry, tag, closed.reason)));
        }
        if entry.conn.flags.has(Flags::UNOPENED) && entry.conn.flags.has(Flags::SHAKING) {
            self.stats.handshakes_failed += 1;
        }
        self.stats.closed.count(&closed.reason);
        self.services.stats_mut(closed.service).closed.count(&closed.reason);
        let level = match closed.reason {
            CloseReason::InputLimit
            | CloseReason::OutputLimit
            | CloseReason::BufferedLimit
            | CloseReason::Idle
            | CloseReason::FirstByte
            | CloseReason::TooSlow
            | CloseReason::Reclaimed
            | CloseReason::Source(_)
            | CloseReason::Layer(_)
            | CloseReason::Handshake
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
        if self.services.are_several() {
            let service = closed.service;
            log::log!(target: TARGET, level, "{}: closed ({id}, service {service}): {closed}", entry.peer);
        } else {
            log::log!(target: TARGET, level, "{}: closed ({id}): {closed}", entry.peer);
        }
        if let Some(handed) = handed {
            return Some((id, self.hand_over(entry, handed, closed)));
        }
        drop(entry);
        self.wake_listeners();
        Some((id, Ended::Connection(closed)))
    }

    /// Frees what was to become a connection.
    #[cold]
    fn end_connect(&mut self, id: ConnId, entry: Entry, tag: u64, why: CloseReason) -> Ended {
        let cause = match why {
            CloseReason::Io(error) | CloseReason::Layer(error) => {
                self.stats.connect_errors += 1;
                error
            }
            CloseReason::Handshake => {
                self.stats.connect_errors += 1;
                io::Error::new(io::ErrorKind::TimedOut, why.to_string())
            }
            // The application's own doing.
            why => io::Error::new(io::ErrorKind::ConnectionAborted, why.to_string()),
        };
        let service = entry.conn.service;
        drop(entry.socket);
        let error = cannot_connect(entry.peer.address(), cause);
        log::debug!(target: TARGET, "{error} ({id})");
        self.wake_listeners();
        Ended::Connect { tag, error, service }
    }
}
