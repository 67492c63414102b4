//! The numbers for a machine: `OpenMetrics` 1.0, or the older text format of Prometheus for one
//! that asks for that.
//!
//! The two differ in three things: in `OpenMetrics` a counter's family is named without `_total`, a
//! unit is said, and the end is marked.

use std::fmt::{Display, Write as _};

use wouldblock::{ServiceStats, Stats};

use super::sample::{Sample, reasons, resident};
use crate::escape::Label;

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client wants the older format: it names that, and not the other.
pub(crate) fn wants_prometheus(accept: Option<&str>) -> bool {
    let accept = accept.unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
}

/// A reactor's number, for the label, and what it has told.
pub(crate) type Of<'a> = (usize, &'a Sample);

struct Families<'a> {
    text: String,
    open_metrics: bool,
    /// Of each reactor.
    all: &'a [Of<'a>],
    /// Whether the server has several reactors: then each sample has the label `reactor`.
    are_several: bool,
}

impl Families<'_> {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let total = if kind == "counter" && !self.open_metrics { "_total" } else { "" };
        let text = &mut self.text;
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name}{total} {help}");
        let _ = writeln!(text, "# TYPE {name}{total} {kind}");
        if self.open_metrics && !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }

    /// `of`: the reactor; `None`: it is the process's.
    fn sample(
        &mut self,
        name: &str,
        of: Option<usize>,
        labels: &[(&str, &dyn Display)],
        value: impl Display,
    ) {
        self.text.push_str(name);
        let mut before = '{';
        if let Some(number) = of.filter(|_| self.are_several) {
            let _ = write!(self.text, "{before}reactor=\"{number}\"");
            before = ',';
        }
        for (label, value) in labels {
            let _ = write!(self.text, "{before}{label}=\"{}\"", Label(value));
            before = ',';
        }
        let end = if before == '{' { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn gauge<V: Display>(&mut self, name: &str, unit: &str, help: &str, of: impl Fn(&Sample) -> V) {
        self.family(name, "gauge", unit, help);
        for (number, sample) in self.all {
            self.sample(name, Some(*number), &[], of(sample));
        }
    }

    fn counter<V: Display>(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        of: impl Fn(&Sample) -> V,
    ) {
        self.family(name, "counter", unit, help);
        for (number, sample) in self.all {
            self.sample(&format!("{name}_total"), Some(*number), &[], of(sample));
        }
    }

    /// A number of each service of each reactor.
    fn services(&mut self, name: &str, names: &[String], of: impl Fn(&ServiceStats) -> u64) {
        for (number, sample) in self.all {
            for (n, service) in sample.services.iter().enumerate() {
                let labels: [(&str, &dyn Display); 1] = [("service", &name_of(names, n))];
                self.sample(name, Some(*number), &labels, of(service));
            }
        }
    }
}

/// All that is counted, of each of these reactors. `are_several`: there may be others that were not
/// heard of. `silent`: seconds since each was heard of. `names`: of the services.
pub(crate) fn render(
    samples: &[Of<'_>],
    silent: Option<&[u32]>,
    names: &[String],
    open_metrics: bool,
) -> String {
    let text = String::with_capacity(16 << 10);
    let mut all = Families { text, open_metrics, all: samples, are_several: silent.is_some() };
    of_services(&mut all, names);
    counters(&mut all);
    of_the_loop(&mut all, names);
    let help = "The most connections at a time.";
    all.gauge("wouldblock_connections_max", "", help, |it| it.connections_max);
    let help = "Allocated for queued output and unconsumed input.";
    all.gauge("wouldblock_buffered_bytes", "bytes", help, |it| it.buffered);
    let help = "The most memory that peers can make the reactor use.";
    all.gauge("wouldblock_worst_case_bytes", "bytes", help, |it| it.worst_case);
    all.gauge("wouldblock_shutting_down", "", "1 in a shutdown.", |it| u8::from(it.leaving));
    if let Some(silent) = silent {
        let name = "wouldblock_reactor_silent_seconds";
        all.family(name, "gauge", "seconds", "Since the reactor last told of itself.");
        for (number, seconds) in silent.iter().enumerate() {
            all.sample(name, Some(number), &[], seconds);
        }
    }
    if let Some(resident) = resident() {
        let name = "process_resident_memory_bytes";
        all.family(name, "gauge", "bytes", "Memory of the process that is in use.");
        all.sample(name, None, &[], resident);
    }
    if open_metrics {
        all.text.push_str("# EOF\n");
    }
    all.text
}

fn counters(all: &mut Families<'_>) {
    type Count = (&'static str, &'static str, fn(&Stats) -> u64);
    let handshakes = "Connections that ended in the handshake of their layer.";
    let shortages = "Accepts that failed for want of descriptors or memory.";
    let failures = "Accepts that failed for what does not pass by itself.";
    let truncated = "Datagrams longer than the read buffer.";
    let survived = "Errors of datagram sockets that were survived.";
    let missed = "Closures posted to a connection that was gone.";
    let counts: [Count; 14] = [
        ("connect_errors", "Connects that failed.", |it| it.connect_errors),
        ("handshakes_failed", handshakes, |it| it.handshakes_failed),
        ("accept_errors", "Accepts that failed.", |it| it.accept_errors),
        ("accept_shortages", shortages, |it| it.accept_shortages),
        ("accept_failures", failures, |it| it.accept_failures),
        ("datagrams_received", "Datagrams received.", |it| it.datagrams_in),
        ("datagrams_sent", "Datagrams taken by the kernel.", |it| it.datagrams_out),
        ("datagrams_truncated", truncated, |it| it.datagrams_truncated),
        ("datagrams_dropped", "Datagrams to send that were lost.", |it| it.datagrams_dropped),
        ("datagram_errors", survived, |it| it.datagram_errors),
        ("posts", "Posted closures that were run.", |it| it.posts),
        ("posts_missed", missed, |it| it.posts_missed),
        ("panics", "Panics of the handler that were caught.", |it| it.panics),
        ("restarts", "How often another handler was made after a panic.", |it| it.restarts),
    ];
    for (name, help, count) in counts {
        all.counter(&format!("wouldblock_{name}"), "", help, |it| count(&it.stats));
    }
    let help = "Bytes read from connections.";
    all.counter("wouldblock_received_bytes", "bytes", help, |it| it.stats.bytes_in);
    let help = "Bytes of connections taken by the kernel.";
    all.counter("wouldblock_sent_bytes", "bytes", help, |it| it.stats.bytes_out);
}

fn of_the_loop(all: &mut Families<'_>, names: &[String]) {
    let awake = |it: &Sample| it.stats.load.awake().as_secs_f64();
    all.counter("wouldblock_awake_seconds", "seconds", "Time in turns of the loop.", awake);
    let help = "Time not in turns of the loop.";
    let asleep = |it: &Sample| it.stats.load.asleep().as_secs_f64();
    all.counter("wouldblock_asleep_seconds", "seconds", help, asleep);
    let turn = "wouldblock_turn_seconds";
    all.family(turn, "histogram", "seconds", "Length of the turns of the loop.");
    for (number, sample) in all.all {
        let (of, stats) = (Some(*number), &sample.stats);
        for (length, longer) in stats.load.turns_longer() {
            let least = length.as_secs_f64();
            let le = if least < 1.0 { format!("{least}") } else { format!("{least:.1}") };
            let within = stats.turns.saturating_sub(longer);
            all.sample(&format!("{turn}_bucket"), of, &[("le", &le)], within);
        }
        all.sample(&format!("{turn}_bucket"), of, &[("le", &"+Inf")], stats.turns);
        all.sample(&format!("{turn}_sum"), of, &[], awake(sample));
        all.sample(&format!("{turn}_count"), of, &[], stats.turns);
    }
    let help = "The longest turn in the last 10 s.";
    let lag = |it: &Sample| it.stats.load.lag().as_secs_f64();
    all.gauge("wouldblock_loop_lag_seconds", "seconds", help, lag);
    let help = "What the last turn had to serve.";
    all.gauge("wouldblock_run_queue", "", help, |it| it.stats.load.run_queue());
    let help = "The longest run queue in the last 10 s.";
    all.gauge("wouldblock_run_queue_longest", "", help, |it| it.stats.load.run_queue_longest());
    let longest = "wouldblock_longest_callback_seconds";
    let help = "The longest callback in the last 10 s, and whose.";
    all.family(longest, "gauge", "seconds", help);
    for (number, sample) in all.all {
        let Some(callback) = sample.stats.load.longest() else { continue };
        let service = name_of(names, callback.service.into());
        let labels: [(&str, &dyn Display); 2] =
            [("service", &service), ("callback", &callback.what)];
        all.sample(longest, Some(*number), &labels, callback.took.as_secs_f64());
    }
}

fn of_services(all: &mut Families<'_>, names: &[String]) {
    type Count = (&'static str, &'static str, fn(&ServiceStats) -> u64);
    let open = "wouldblock_connections";
    all.family(open, "gauge", "", "Connections now, those that close included.");
    all.services(open, names, |it| it.open as u64);
    let refused = "Connections accepted and ended at once, for want of a place.";
    let of_address = "Connections reset at once: their address had its number already.";
    let counts: [Count; 6] = [
        ("accepted", "Connections accepted and opened.", |it| it.accepted),
        ("adopted", "Connections adopted.", |it| it.adopted),
        ("connected", "Connects that came through.", |it| it.connected),
        ("taken_over", "Connections handed over by another service.", |it| it.taken_over),
        ("refused", refused, |it| it.refused),
        ("refused_address", of_address, |it| it.refused_address),
    ];
    for (name, help, count) in counts {
        let name = format!("wouldblock_{name}");
        all.family(&name, "counter", "", help);
        all.services(&format!("{name}_total"), names, count);
    }
    all.family("wouldblock_closed", "counter", "", "Connections that ended, by reason.");
    for (number, sample) in all.all {
        for (n, service) in sample.services.iter().enumerate() {
            for (reason, count) in reasons(&service.closed) {
                let labels: [(&str, &dyn Display); 2] =
                    [("service", &name_of(names, n)), ("reason", &reason)];
                all.sample("wouldblock_closed_total", Some(*number), &labels, count);
            }
        }
    }
}

/// A service's name, or its number.
pub(crate) fn name_of(names: &[String], number: usize) -> String {
    names.get(number).cloned().unwrap_or_else(|| number.to_string())
}
