//! What a shutdown came to: which connections left in time, which were cut, and what those were owed.
//!
//! Plain values, filled in `core/ending.rs`, told once, at the end. Read next: `close.rs`, which
//! tells the same of one connection.

use std::fmt;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::id::ConnId;

/// The number of connections that are told of one by one when they are cut, so that a report stays short.
const CUTS_MAX: usize = 64;
/// So many of them in a line of the log.
const NAMED: usize = 8;

/// How a shutdown went: what [`Reactor::shutdown_report`](crate::Reactor::shutdown_report) returns
/// when it is over, and one line of the log, at `info`, or at `warn` if a connection was cut.
///
/// Prints as that line: `10.0 s, 12 connections done, 1 cut, 4096 bytes unsent: 10.0.0.7:50312 (open,
/// 4096 bytes)`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// From the beginning of the shutdown to its end.
    pub took: Duration,
    /// Connections that were there when it began, connects under way and those accepted from the
    /// backlog included, and had ended by the deadline, each with a [`Closed`](crate::Closed) of its
    /// own.
    pub done: u64,
    /// Connections that were aborted by [`shutdown_max`](crate::Config::shutdown_max) or
    /// [`shutdown_now`](crate::Context::shutdown_now).
    pub cut: u64,
    /// Bytes that those were sent and the kernel never took.
    pub unsent: u64,
    /// The first 64 of the connections that were cut, in no order.
    pub cuts: Vec<Cut>,
    /// The same sums for each [service](crate::Context::service), by number; empty where there is but one.
    pub services: Vec<ServiceReport>,
}

/// What a [`ShutdownReport`] says of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceReport {
    /// Its connections that had ended by the deadline.
    pub done: u64,
    /// Those that were aborted.
    pub cut: u64,
    /// Bytes that those were sent and the kernel never took.
    pub unsent: u64,
}

/// One connection that a shutdown cut.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cut {
    /// Which it was; the id is stale.
    pub id: ConnId,
    /// The peer's address.
    pub peer: Address,
    /// Bytes that the handler had sent and the kernel never took.
    pub unsent: u64,
    /// Whether a [source](crate::Conn::send_from) of it had not come to its end, as
    /// [`Closed::unfinished`](crate::Closed::unfinished) says: what it had left is not in `unsent`.
    pub unfinished: bool,
    /// How far it had come.
    pub stage: Stage,
    /// The number of the [service](crate::Context::service) that it was of.
    pub service: u8,
}

/// How far a connection had come when it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// A connect of ours had not been answered.
    Connecting,
    /// It was served: [held](crate::Conn::hold), paused, still sending to us, or its answer was not
    /// complete.
    Open,
    /// It was closed, and the kernel had not taken all of its output.
    Draining,
    /// It was closed, the kernel had taken all, and the peer had not ended its side: it is owed
    /// nothing.
    Lingering,
}

impl ShutdownReport {
    /// Adds what another reactor's shutdown came to: they went on side by side, so it took as long
    /// as the longer.
    pub(crate) fn join(&mut self, other: &ShutdownReport) {
        let ShutdownReport { took, done, cut, unsent, cuts, services } = other;
        self.took = self.took.max(*took);
        self.done += done;
        self.cut += cut;
        self.unsent += unsent;
        let room = CUTS_MAX.saturating_sub(self.cuts.len());
        self.cuts.extend(cuts.iter().take(room).cloned());
        self.services.resize(self.services.len().max(services.len()), ServiceReport::default());
        for (mine, theirs) in self.services.iter_mut().zip(services) {
            mine.done += theirs.done;
            mine.cut += theirs.cut;
            mine.unsent += theirs.unsent;
        }
    }

    /// One that is taken to leave in time is another service's now.
    pub(crate) fn move_between(&mut self, from: u8, to: u8) {
        let (from, to) = (usize::from(from), usize::from(to));
        if self.services.is_empty() {
            // There was but one.
            let ShutdownReport { done, cut, unsent, .. } = *self;
            self.services.push(ServiceReport { done, cut, unsent });
        }
        self.services.resize(self.services.len().max(from.max(to) + 1), ServiceReport::default());
        self.services[from].done = self.services[from].done.saturating_sub(1);
        self.services[to].done += 1;
    }

    /// One that was taken to leave in time is cut.
    pub(crate) fn add(&mut self, cut: impl FnOnce() -> Cut, service: u8, unsent: u64) {
        self.done = self.done.saturating_sub(1);
        self.cut += 1;
        self.unsent += unsent;
        if let Some(own) = self.services.get_mut(usize::from(service)) {
            own.done = own.done.saturating_sub(1);
            own.cut += 1;
            own.unsent += unsent;
        }
        if self.cuts.len() < CUTS_MAX {
            self.cuts.push(cut());
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64();
        let s = if self.done == 1 { "" } else { "s" };
        write!(f, "{took:.1} s, {} connection{s} done, {} cut", self.done, self.cut)?;
        if self.cut == 0 {
            return Ok(());
        }
        let s = if self.unsent == 1 { "" } else { "s" };
        write!(f, ", {} byte{s} unsent", self.unsent)?;
        let mut begin = ": ";
        for Cut { peer, unsent, unfinished, stage, service, .. } in self.cuts.iter().take(NAMED) {
            let more = if *unfinished { ", a source unfinished" } else { "" };
            write!(f, "{begin}{peer} ({stage}, {unsent} bytes{more}")?;
            match self.services.len() {
                0 => f.write_str(")")?,
                _ => write!(f, ", service {service})")?,
            }
            begin = ", ";
        }
        match self.cut.saturating_sub(NAMED as u64) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connecting => "connecting",
            Stage::Open => "open",
            Stage::Draining => "draining",
            Stage::Lingering => "lingering",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cuts: u32) -> ShutdownReport {
        let took = Duration::from_millis(10_040);
        let mut report = ShutdownReport { took, done: 12 + u64::from(cuts), ..Default::default() };
        for n in 0..cuts {
            let cut = || Cut {
                id: ConnId::new(0, n, 1),
                peer: format!("10.0.0.7:{}", 1000 + n).parse().unwrap(),
                unsent: 1,
                unfinished: n == 1,
                stage: Stage::Open,
                service: 0,
            };
            report.add(cut, 0, 1);
        }
        report
    }

    /// Promise 7: one line that an operator can read, whatever the crowd.
    #[test]
    fn a_report_prints_as_one_line() {
        assert_eq!(report(0).to_string(), "10.0 s, 12 connections done, 0 cut");
        assert_eq!(
            report(1).to_string(),
            "10.0 s, 12 connections done, 1 cut, 1 byte unsent: 10.0.0.7:1000 (open, 1 bytes)"
        );
        let line = report(2).to_string();
        assert!(line.ends_with(", 10.0.0.7:1001 (open, 1 bytes, a source unfinished)"), "{line}");
        let line = report(1000).to_string();
        assert!(line.ends_with("10.0.0.7:1007 (open, 1 bytes) and 992 more"), "{line}");
    }

    /// Promise 4: a report does not grow with the crowd that it counts.
    #[test]
    fn a_report_names_only_so_many() {
        let report = report(1000);
        assert_eq!((report.cuts.len(), report.cut, report.unsent), (CUTS_MAX, 1000, 1000));
        assert_eq!(report.done, 12);
    }
}
