//! What the reactor counts, looked at once a second, and the last minutes of it.

use std::collections::VecDeque;
use std::time::Duration;

use wouldblock::{ClosedCounts, Context, ServiceStats, Stats};

/// The number of looks that are kept: two minutes.
pub(crate) const KEPT: usize = 121;

/// One look at the reactor.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// On the reactor's clock.
    pub(crate) at: Duration,
    pub(crate) stats: Stats,
    pub(crate) services: Vec<ServiceStats>,
    /// Bytes allocated for queued output and unconsumed input.
    pub(crate) buffered: usize,
    pub(crate) worst_case: usize,
    pub(crate) connections_max: usize,
    pub(crate) leaving: bool,
}

impl Sample {
    pub(crate) fn take(cx: &mut Context, leaving: bool) -> Sample {
        Sample {
            at: cx.now(),
            services: of_services(cx).collect(),
            stats: cx.stats().clone(),
            buffered: cx.buffered(),
            worst_case: cx.worst_case_bytes(),
            connections_max: cx.connections_max(),
            leaving,
        }
    }

    /// The sum over several reactors. Its time is on the clock of the first one.
    pub(crate) fn total<'a>(mut all: impl Iterator<Item = &'a Sample>) -> Option<Sample> {
        let mut total = all.next()?.clone();
        for one in all {
            total.stats += &one.stats;
            total.buffered += one.buffered;
            total.worst_case = total.worst_case.saturating_add(one.worst_case);
            total.connections_max += one.connections_max;
            total.leaving |= one.leaving;
            for (sum, service) in total.services.iter_mut().zip(&one.services) {
                *sum += service;
            }
        }
        Some(total)
    }

    /// Connections that are there, those that close and connects under way included.
    pub(crate) fn open(&self) -> usize {
        self.services.iter().map(|service| service.open).sum()
    }
}

/// What is counted of each service, in the order of their numbers.
pub(crate) fn of_services(cx: &mut Context) -> impl Iterator<Item = ServiceStats> {
    let numbers = (0..cx.services()).filter_map(|number| u8::try_from(number).ok());
    numbers.map(|number| cx.service(number).service_stats())
}

/// Memory of this process that is in use, in bytes (proc(5), `VmRSS`), if the system tells. A file
/// is read for it.
pub(crate) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// The reasons of closing, by the names of their fields, with what has been counted.
pub(crate) fn reasons(closed: &ClosedCounts) -> [(&'static str, u64); 21] {
    [
        ("peer_end", closed.peer_end),
        ("local", closed.local),
        ("aborted", closed.aborted),
        ("handler", closed.handler),
        ("panic", closed.panic),
        ("io", closed.io),
        ("source", closed.source),
        ("layer", closed.layer),
        ("handshake", closed.handshake),
        ("truncated", closed.truncated),
        ("input_limit", closed.input_limit),
        ("output_limit", closed.output_limit),
        ("buffered_limit", closed.buffered_limit),
        ("first_byte", closed.first_byte),
        ("too_slow", closed.too_slow),
        ("reclaimed", closed.reclaimed),
        ("idle", closed.idle),
        ("write_stall", closed.write_stall),
        ("shutdown", closed.shutdown),
        ("detached", closed.detached),
        ("handed_over", closed.handed_over),
    ]
}

/// What happened between two looks, a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    pub(crate) open: f64,
    /// Bytes a second.
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    /// 0 to 1.
    pub(crate) busy: f64,
    /// Seconds: the longest turn, and the mean.
    pub(crate) lag: f64,
    pub(crate) turn: f64,
    pub(crate) turns: f64,
}

/// The last two minutes.
#[derive(Debug, Default)]
pub(crate) struct History {
    last: Option<Sample>,
    points: VecDeque<Point>,
}

impl History {
    pub(crate) fn add(&mut self, sample: Sample) {
        if let Some(last) = &self.last {
            if self.points.len() == KEPT {
                self.points.pop_front();
            }
            self.points.push_back(between(last, &sample));
        }
        self.last = Some(sample);
    }

    pub(crate) fn points(&self) -> impl ExactSizeIterator<Item = &Point> + Clone {
        self.points.iter()
    }
}

#[allow(clippy::cast_precision_loss, reason = "they are drawn")]
pub(crate) fn between(before: &Sample, now: &Sample) -> Point {
    let seconds = now.at.saturating_sub(before.at).max(Duration::from_millis(1));
    // Counters only grow. If one did not, a drawing would not be worth a panic.
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.as_secs_f64();
    let (a, b) = (&before.stats.load, &now.stats.load);
    let awake = b.awake().saturating_sub(a.awake()).as_secs_f64();
    let asleep = b.asleep().saturating_sub(a.asleep()).as_secs_f64();
    let turns = now.stats.turns.saturating_sub(before.stats.turns);
    Point {
        open: now.open() as f64,
        bytes_in: rate(now.stats.bytes_in, before.stats.bytes_in),
        bytes_out: rate(now.stats.bytes_out, before.stats.bytes_out),
        busy: awake / (awake + asleep).max(1e-9),
        lag: b.lag_now().as_secs_f64(),
        turn: awake / (turns.max(1)) as f64,
        turns: rate(now.stats.turns, before.stats.turns),
    }
}
