//! What the reactor has counted since it was made.
//!
//! Plain numbers, counted where things happen and read from any callback. No rates: those can be
//! made of these numbers. How busy the loop is, is `load.rs`. Read next: `close.rs`.

use std::iter::Sum;
use std::ops::AddAssign;

use crate::base::close::CloseReason;
use crate::base::load::Load;

/// Counters of one reactor, since it was made. None is ever reset. The counters of several reactors
/// are added up by `sum` and `+=`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted and opened.
    pub accepted: u64,
    /// Connections adopted.
    pub adopted: u64,
    /// Connections that we made: connects that came through.
    pub connected: u64,
    /// Connects that failed: refused, unreachable, timed out. Not those that were cancelled.
    pub connect_errors: u64,
    /// Connections accepted and ended at once, before `on_open`: no room at shutdown (or where it was
    /// made by [`reclaim_idle`](crate::Config::reclaim_idle) and taken by another), or the
    /// kernel would not watch them.
    pub refused: u64,
    /// Connections accepted and reset at once, before `on_open`: their address had
    /// [`connections_per_address`](crate::Config::connections_per_address) already.
    pub refused_address: u64,
    /// Connections accepted that ended before `on_open`, in the handshake of their
    /// [layer](crate::Layer); no callback told of them. They are counted as accepted, and as closed.
    pub handshakes_failed: u64,
    /// Accepts that failed: the peer was gone already, descriptors or memory ran out (accept(2)).
    pub accept_errors: u64,
    /// Of these, for want of descriptors or memory. It passes; the listener rested meanwhile.
    pub accept_shortages: u64,
    /// Of these, for what does not pass by itself: the listening socket is broken, or something
    /// forbids the call. Above zero, an operator should look at the log.
    pub accept_failures: u64,
    /// Connections that ended here, by reason, those detached included: with those that are open as many
    /// as were accepted, adopted and connected.
    pub closed: ClosedCounts,
    /// Bytes read, those discarded after close included.
    pub bytes_in: u64,
    /// Bytes taken by the kernel.
    pub bytes_out: u64,
    /// Datagrams received, empty and truncated ones included.
    pub datagrams_in: u64,
    /// Datagrams taken by the kernel.
    pub datagrams_out: u64,
    /// Datagrams that were longer than [`read_buffer`](crate::Config::read_buffer): their end is
    /// lost.
    pub datagrams_truncated: u64,
    /// Datagrams of others that came to a [connected](crate::Bind::connect) socket, because they were on
    /// their way when it was connected: dropped, and not counted as received.
    pub datagrams_stray: u64,
    /// Datagrams to send that were lost: there was no room in the queue (the call said
    /// `WouldBlock`, or what another receiver has too much of made room), they had waited for too long,
    /// the kernel refused them when their turn came, or they still waited when their socket closed.
    pub datagrams_dropped: u64,
    /// Of these, those that had waited for [`datagram_wait`](crate::Config::datagram_wait), or were
    /// tried again and again and met a shortage of memory each time (`ENOBUFS`).
    pub datagrams_expired: u64,
    /// Errors of datagram sockets that were survived: what ICMP told of earlier datagrams (udp(7)),
    /// and failed receives.
    pub datagram_errors: u64,
    /// Posted closures that were run.
    pub posts: u64,
    /// Closures posted to a connection that was gone, closing or not open yet: dropped.
    pub posts_missed: u64,
    /// Panics of the handler that ended one connection, or none: those caught by
    /// [`isolate_panics`](crate::Config::isolate_panics), in whatever callback. 0 without it.
    pub panics: u64,
    /// How often the reactor went on with another handler after a panic:
    /// [`Server::restart`](crate::Server::restart).
    pub restarts: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// How busy the loop is: time awake and asleep, lag, the run queue, the longest callback.
    pub load: Load,
}

/// Counters of one [service](crate::Context::service) of a reactor, since it was made:
/// [`Context::service_stats`](crate::Context::service_stats). What is not here is counted for all
/// alone, in [`Stats`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Its connections now, those included that close, and connects under way.
    pub open: usize,
    /// Connections that its listeners accepted.
    pub accepted: u64,
    /// Connections that it adopted.
    pub adopted: u64,
    /// Its connects that came through.
    pub connected: u64,
    /// Connections that another service has [handed over](crate::Conn::hand_to) to it.
    pub taken_over: u64,
    /// Accepted and ended at once, as [`Stats::refused`] counts.
    pub refused: u64,
    /// Accepted and reset at once, as [`Stats::refused_address`] counts.
    pub refused_address: u64,
    /// Its connections that ended, by reason; with those that are open, and without connects under
    /// way, as many as were accepted, adopted, connected and taken over.
    pub closed: ClosedCounts,
}

/// How many connections ended for each [`CloseReason`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each field is named after the reason it counts")]
pub struct ClosedCounts {
    pub peer_end: u64,
    pub local: u64,
    pub aborted: u64,
    pub handler: u64,
    pub panic: u64,
    pub io: u64,
    pub source: u64,
    pub layer: u64,
    pub handshake: u64,
    pub truncated: u64,
    pub input_limit: u64,
    pub output_limit: u64,
    pub buffered_limit: u64,
    pub first_byte: u64,
    pub too_slow: u64,
    pub reclaimed: u64,
    pub idle: u64,
    pub write_stall: u64,
    pub shutdown: u64,
    pub detached: u64,
    /// By a service to another: 0 in the sum over all, where such a connection has not ended.
    pub handed_over: u64,
}

impl ClosedCounts {
    /// Connections that ended, for whatever reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.peer_end
            + self.local
            + self.aborted
            + self.handler
            + self.panic
            + self.io
            + self.source
            + self.layer
            + self.handshake
            + self.truncated
            + self.input_limit
            + self.output_limit
            + self.buffered_limit
            + self.first_byte
            + self.too_slow
            + self.reclaimed
            + self.idle
            + self.write_stall
            + self.shutdown
            + self.detached
            + self.handed_over
    }

    pub(crate) fn count(&mut self, reason: &CloseReason) {
        *match reason {
            CloseReason::PeerEnd => &mut self.peer_end,
            CloseReason::Local => &mut self.local,
            CloseReason::Aborted => &mut self.aborted,
            CloseReason::Handler(_) => &mut self.handler,
            CloseReason::Panic(_) => &mut self.panic,
            CloseReason::Io(_) => &mut self.io,
            CloseReason::Source(_) => &mut self.source,
            CloseReason::Layer(_) => &mut self.layer,
            CloseReason::Handshake => &mut self.handshake,
            CloseReason::Truncated => &mut self.truncated,
            CloseReason::InputLimit => &mut self.input_limit,
            CloseReason::OutputLimit => &mut self.output_limit,
            CloseReason::BufferedLimit => &mut self.buffered_limit,
            CloseReason::FirstByte => &mut self.first_byte,
            CloseReason::TooSlow => &mut self.too_slow,
            CloseReason::Reclaimed => &mut self.reclaimed,
            CloseReason::Idle => &mut self.idle,
            CloseReason::WriteStall => &mut self.write_stall,
            CloseReason::Shutdown => &mut self.shutdown,
            CloseReason::Detached => &mut self.detached,
            CloseReason::HandedOver => &mut self.handed_over,
        } += 1;
    }
}

/// Of several reactors each counter is the sum of theirs; [`Load`] says what it makes of several.
macro_rules! add_up {
    ($counts:ident: $($field:ident),+ $(,)?) => {
        /// Adds the counters of another reactor, each to its own.
        impl AddAssign<&$counts> for $counts {
            fn add_assign(&mut self, other: &$counts) {
                // Each by name, so that none is forgotten.
                let $counts { $($field),+ } = other;
                $(self.$field += $field;)+
            }
        }

        impl<'a> Sum<&'a $counts> for $counts {
            fn sum<I: Iterator<Item = &'a $counts>>(all: I) -> Self {
                all.fold(Self::default(), |mut sum, one| {
                    sum += one;
                    sum
                })
            }
        }
    };
}

add_up! {
    Stats:
    accepted, adopted, connected, connect_errors, refused, refused_address, handshakes_failed,
    accept_errors, accept_shortages, accept_failures, closed, bytes_in, bytes_out, datagrams_in,
    datagrams_out, datagrams_truncated, datagrams_stray, datagrams_dropped, datagrams_expired,
    datagram_errors, posts, posts_missed, panics, restarts, turns, load,
}

add_up! {
    ServiceStats:
    open, accepted, adopted, connected, taken_over, refused, refused_address, closed,
}

add_up! {
    ClosedCounts:
    peer_end, local, aborted, handler, panic, io, source, layer, handshake, truncated, input_limit,
    output_limit, buffered_limit, first_byte, too_slow, reclaimed, idle, write_stall, shutdown,
    detached, handed_over,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn every_reason_is_counted_and_adds_up() {
        let mut counts = ClosedCounts::default();
        let reasons = [
            CloseReason::PeerEnd,
            CloseReason::Local,
            CloseReason::Aborted,
            CloseReason::Handler(io::Error::other("x")),
            CloseReason::Panic(io::Error::other("x")),
            CloseReason::Io(io::Error::other("x")),
            CloseReason::Source(io::Error::other("x")),
            CloseReason::Layer(io::Error::other("x")),
            CloseReason::Handshake,
            CloseReason::Truncated,
            CloseReason::InputLimit,
            CloseReason::OutputLimit,
            CloseReason::BufferedLimit,
            CloseReason::FirstByte,
            CloseReason::TooSlow,
            CloseReason::Reclaimed,
            CloseReason::Idle,
            CloseReason::WriteStall,
            CloseReason::Shutdown,
            CloseReason::Detached,
        ];
        for reason in &reasons {
            counts.count(reason);
        }
        assert_eq!(counts.total(), reasons.len() as u64);
        assert_eq!((counts.idle, counts.handler), (1, 1));
    }

    /// Promise 8: a sum of statistics is that of each number.
    #[test]
    fn statistics_of_several_reactors_add_up() {
        let mut one = Stats { accepted: 1, bytes_out: 2, turns: 3, ..Stats::default() };
        one.closed.count(&CloseReason::Idle);
        let other = Stats { accepted: 10, bytes_in: 20, turns: 30, ..one.clone() };
        let sum: Stats = [&one, &other].into_iter().sum();
        assert_eq!((sum.accepted, sum.bytes_in, sum.bytes_out, sum.turns), (11, 20, 4, 33));
        assert_eq!((sum.closed.idle, sum.closed.total()), (2, 2));
        let service = ServiceStats { open: 4, taken_over: 5, ..ServiceStats::default() };
        let sum: ServiceStats = [&service, &service].into_iter().sum();
        assert_eq!((sum.open, sum.taken_over, sum.accepted), (8, 10, 0));
    }
}
