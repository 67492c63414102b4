//! The numbers for a machine: `OpenMetrics` 1.0, or the older text format of Prometheus for one that asks for that.
//!
//! The two differ in three things: in `OpenMetrics` a counter's family is named without `_total`, a unit is said, and the
//! end is marked.

use std::fmt::{Display, Write as _};

use wouldblock::ServiceStats;

use super::sample::{Sample, reasons, resident};
use crate::escape::Label;

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client wants the older format: it names that, and not the other.
pub(crate) fn wants_prometheus(accept: Option<&str>) -> bool {
    let accept = accept.unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
}

struct Families {
    text: String,
    open_metrics: bool,
}

impl Families {
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

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(name);
        for (n, (label, value)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", Label(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, unit: &str, help: &str, value: impl Display) {
        self.family(name, "counter", unit, help);
        self.sample(&format!("{name}_total"), &[], value);
    }
}

/// All that is counted. `names`: of the services.
pub(crate) fn render(sample: &Sample, names: &[String], open_metrics: bool) -> String {
    let mut all = Families { text: String::with_capacity(16 << 10), open_metrics };
    of_services(&mut all, sample, names);
    counters(&mut all, sample);
    of_the_loop(&mut all, sample, names);
    let help = "The most connections at a time.";
    all.gauge("wouldblock_connections_max", "", help, sample.connections_max);
    let help = "Allocated for queued output and unconsumed input.";
    all.gauge("wouldblock_buffered_bytes", "bytes", help, sample.buffered);
    let help = "The most memory that peers can make the reactor use.";
    all.gauge("wouldblock_worst_case_bytes", "bytes", help, sample.worst_case);
    all.gauge("wouldblock_shutting_down", "", "1 in a shutdown.", u8::from(sample.leaving));
    if let Some(resident) = resident() {
        let help = "Memory of the process that is in use.";
        all.gauge("process_resident_memory_bytes", "bytes", help, resident);
    }
    if open_metrics {
        all.text.push_str("# EOF\n");
    }
    all.text
}

fn counters(all: &mut Families, sample: &Sample) {
    let stats = &sample.stats;
    let handshakes = "Connections that ended in the handshake of their layer.";
    for (name, help, value) in [
        ("connect_errors", "Connects that failed.", stats.connect_errors),
        ("handshakes_failed", handshakes, stats.handshakes_failed),
        ("accept_errors", "Accepts that failed.", stats.accept_errors),
        (
            "accept_shortages",
            "Accepts that failed for want of descriptors or memory.",
            stats.accept_shortages,
        ),
        (
            "accept_failures",
            "Accepts that failed for what does not pass by itself.",
            stats.accept_failures,
        ),
        ("datagrams_received", "Datagrams received.", stats.datagrams_in),
        ("datagrams_sent", "Datagrams taken by the kernel.", stats.datagrams_out),
        (
            "datagrams_truncated",
            "Datagrams longer than the read buffer.",
            stats.datagrams_truncated,
        ),
        ("datagrams_dropped", "Datagrams to send that were lost.", stats.datagrams_dropped),
        (
            "datagram_errors",
            "Errors of datagram sockets that were survived.",
            stats.datagram_errors,
        ),
        ("posts", "Posted closures that were run.", stats.posts),
        ("posts_missed", "Closures posted to a connection that was gone.", stats.posts_missed),
        ("panics", "Panics of the handler that were caught.", stats.panics),
    ] {
        all.counter(&format!("wouldblock_{name}"), "", help, value);
    }
    let help = "Bytes read from connections.";
    all.counter("wouldblock_received_bytes", "bytes", help, stats.bytes_in);
    let help = "Bytes of connections taken by the kernel.";
    all.counter("wouldblock_sent_bytes", "bytes", help, stats.bytes_out);
}

fn of_the_loop(all: &mut Families, sample: &Sample, names: &[String]) {
    let stats = &sample.stats;
    let load = &stats.load;
    let awake = load.awake().as_secs_f64();
    all.counter("wouldblock_awake_seconds", "seconds", "Time in turns of the loop.", awake);
    let (help, asleep) = ("Time not in turns of the loop.", load.asleep().as_secs_f64());
    all.counter("wouldblock_asleep_seconds", "seconds", help, asleep);
    let turn = "wouldblock_turn_seconds";
    all.family(turn, "histogram", "seconds", "Length of the turns of the loop.");
    for (length, longer) in load.turns_longer() {
        let least = length.as_secs_f64();
        let le = if least < 1.0 { format!("{least}") } else { format!("{least:.1}") };
        let within = stats.turns.saturating_sub(longer);
        all.sample(&format!("{turn}_bucket"), &[("le", &le)], within);
    }
    all.sample(&format!("{turn}_bucket"), &[("le", &"+Inf")], stats.turns);
    all.sample(&format!("{turn}_sum"), &[], awake);
    all.sample(&format!("{turn}_count"), &[], stats.turns);
    let (help, lag) = ("The longest turn in the last 10 s.", load.lag().as_secs_f64());
    all.gauge("wouldblock_loop_lag_seconds", "seconds", help, lag);
    let help = "What the last turn had to serve.";
    all.gauge("wouldblock_run_queue", "", help, load.run_queue());
    let help = "The longest run queue in the last 10 s.";
    all.gauge("wouldblock_run_queue_longest", "", help, load.run_queue_longest());
    let longest = "wouldblock_longest_callback_seconds";
    let help = "The longest callback in the last 10 s, and whose.";
    all.family(longest, "gauge", "seconds", help);
    if let Some(callback) = load.longest() {
        let service = name_of(names, callback.service.into());
        let labels: [(&str, &dyn Display); 2] =
            [("service", &service), ("callback", &callback.what)];
        all.sample(longest, &labels, callback.took.as_secs_f64());
    }
}

fn of_services(all: &mut Families, sample: &Sample, names: &[String]) {
    type Count = (&'static str, &'static str, fn(&ServiceStats) -> u64);
    all.family(
        "wouldblock_connections",
        "gauge",
        "",
        "Connections now, those that close included.",
    );
    for (n, service) in sample.services.iter().enumerate() {
        all.sample("wouldblock_connections", &[("service", &name_of(names, n))], service.open);
    }
    let counts: [Count; 6] = [
        ("accepted", "Connections accepted and opened.", |it| it.accepted),
        ("adopted", "Connections adopted.", |it| it.adopted),
        ("connected", "Connects that came through.", |it| it.connected),
        ("taken_over", "Connections handed over by another service.", |it| it.taken_over),
        ("refused", "Connections accepted and ended at once, for want of a place.", |it| {
            it.refused
        }),
        (
            "refused_address",
            "Connections reset at once: their address had its number already.",
            |it| it.refused_address,
        ),
    ];
    for (name, help, count) in counts {
        let name = format!("wouldblock_{name}");
        all.family(&name, "counter", "", help);
        for (n, service) in sample.services.iter().enumerate() {
            let labels: [(&str, &dyn Display); 1] = [("service", &name_of(names, n))];
            all.sample(&format!("{name}_total"), &labels, count(service));
        }
    }
    all.family("wouldblock_closed", "counter", "", "Connections that ended, by reason.");
    for (n, service) in sample.services.iter().enumerate() {
        for (reason, count) in reasons(&service.closed) {
            let labels: [(&str, &dyn Display); 2] =
                [("service", &name_of(names, n)), ("reason", &reason)];
            all.sample("wouldblock_closed_total", &labels, count);
        }
    }
}

/// A service's name, or its number.
pub(crate) fn name_of(names: &[String], number: usize) -> String {
    names.get(number).cloned().unwrap_or_else(|| number.to_string())
}
