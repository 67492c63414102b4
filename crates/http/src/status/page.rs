//! The numbers for a person: a page, drawn here and nowhere else.
//!
//! What is live is rendered once a second and sent to all viewers; the script only puts it in the
//! place of what it replaces. So the page without scripts is the same page.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::SILENT_SHOWN;
use super::board::Told;
use super::metrics::name_of;
use super::sample::{History, KEPT, Point, Sample, reasons, resident};
use crate::escape::{Html, Plain};

pub(crate) const STYLE: &str = include_str!("page.css");
pub(crate) const SCRIPT: &str = include_str!("page.js");

/// Of a chart: units of its drawing.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// What a page is made of.
pub(crate) struct View<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) history: &'a History,
    pub(crate) title: &'a str,
    pub(crate) names: &'a [String],
    /// Of a server of several: what each has told, and for how many looks it has been silent.
    pub(crate) reactors: &'a [(Option<Told>, u32)],
}

/// The whole page.
pub(crate) fn whole(view: &View<'_>) -> String {
    let title = Html(Plain(view.title));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · status</title>\n\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"status.css\">\n<script src=\"status.js\" defer></script>\n</head>\n<body>\n\
         <header class=\"top\"><h1>{title}</h1><p id=\"feed\" class=\"feed\" hidden>connecting</p>\
         <nav><a href=\"connections\">connections</a><a href=\"metrics\">metrics</a><a href=\"healthz\">health</a></nav></header>\n\
         <main>{}</main>\n</body>\n</html>\n",
        Live(view)
    )
}

/// What changes, on one line: an event.
pub(crate) struct Live<'a>(pub(crate) &'a View<'a>);

impl Display for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0;
        state(f, view)?;
        tiles(f, view)?;
        charts(f, view)?;
        f.write_str("<div class=\"tables\">")?;
        reactors(f, view)?;
        services(f, view)?;
        longest(f, view)?;
        closes(f, view)?;
        totals(f, view)?;
        f.write_str("</div>")
    }
}

fn state(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    let up = Long(view.sample.at);
    if view.sample.leaving {
        let begin = "<p id=\"state\" class=\"state leaving\"><b>shutting down</b> after";
        return write!(
            f,
            "{begin} {up}: what is under way is finished, and nothing new is accepted</p>"
        );
    }
    write!(f, "<p id=\"state\" class=\"state\"><b>running</b> for {up}</p>")
}

fn tile(
    f: &mut fmt::Formatter<'_>,
    id: &str,
    name: &str,
    value: impl Display,
    note: impl Display,
    part: Option<f64>,
) -> fmt::Result {
    write!(f, "<div class=\"tile\" id=\"{id}\"><h2>{name}</h2><p class=\"value\">{value}</p>")?;
    if let Some(part) = part {
        // As an image: its width is a number of the drawing, and no style.
        let part = part.clamp(0.0, 1.0) * 100.0;
        let full = if part >= 90.0 { " full" } else { "" };
        write!(
            f,
            "<svg class=\"meter{full}\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"rail\" width=\"100\" height=\"4\"/><rect class=\"part\" width=\"{part:.1}\" height=\"4\"/></svg>"
        )?;
    }
    write!(f, "<p class=\"note\">{note}</p></div>")
}

#[allow(clippy::cast_precision_loss, reason = "a part of a whole, to be drawn")]
fn tiles(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    let Sample { stats, connections_max, .. } = view.sample;
    let load = &stats.load;
    let point = view.history.points().last().copied().unwrap_or_default();
    let open = view.sample.open();
    f.write_str("<section class=\"tiles\" aria-label=\"now\">")?;
    tile(
        f,
        "t-open",
        "Connections",
        Grouped(open as u64),
        format_args!("of {} at most", Grouped(*connections_max as u64)),
        Some(open as f64 / (*connections_max).max(1) as f64),
    )?;
    tile(
        f,
        "t-busy",
        "Busy",
        format_args!("{:.0}<small> %</small>", point.busy * 100.0),
        format_args!("{} turns a second", Grouped(whole_number(point.turns))),
        Some(point.busy),
    )?;
    tile(f, "t-lag", "Loop lag", Short(load.lag()), "longest turn of the last 10 s", None)?;
    tile(
        f,
        "t-queue",
        "Run queue",
        Grouped(load.run_queue() as u64),
        format_args!("{} at most, recently", Grouped(load.run_queue_longest() as u64)),
        None,
    )?;
    let (buffered, worst) = (view.sample.buffered as f64, view.sample.worst_case as f64);
    let note = Memory { worst, buffered };
    let used = resident().map_or(buffered, |bytes| bytes as f64);
    tile(f, "t-memory", "Memory", Bytes(used), note, Some(used / worst.max(1.0)))?;
    f.write_str("</section>")
}

struct Memory {
    worst: f64,
    buffered: f64,
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worst, buffered) = (Bytes(self.worst), Bytes(self.buffered));
        write!(f, "{buffered} buffered; worst case {worst}")
    }
}

// --- Charts -----------------------------------------------------------------------------------

/// A line of a chart: its name, its number now, and how it comes from a point.
type Line = (&'static str, fn(&Point) -> f64);

fn charts(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    let bytes: fn(f64) -> String = |n| format!("{}/s", Bytes(n));
    let time: fn(f64) -> String = |n| Short(Duration::from_secs_f64(n.max(0.0))).to_string();
    let percent: fn(f64) -> String = |n| format!("{:.0} %", n * 100.0);
    let count: fn(f64) -> String = |n| Grouped(whole_number(n)).to_string();
    f.write_str("<section class=\"charts\" aria-label=\"the last two minutes\">")?;
    let traffic: [Line; 2] = [("in", |it| it.bytes_in), ("out", |it| it.bytes_out)];
    chart(f, view, "c-traffic", "Traffic", &traffic, bytes, None, 1024.0)?;
    chart(f, view, "c-open", "Connections", &[("open", |it| it.open)], count, None, 4.0)?;
    chart(f, view, "c-busy", "Busy", &[("awake", |it| it.busy)], percent, Some(1.0), 1.0)?;
    let lag: [Line; 2] = [("longest turn", |it| it.lag), ("mean turn", |it| it.turn)];
    chart(f, view, "c-lag", "Loop lag", &lag, time, None, 0.001)?;
    f.write_str("</section>")
}

#[allow(clippy::too_many_arguments, reason = "a drawing has as many sides")]
#[allow(clippy::cast_precision_loss, reason = "they are drawn")]
fn chart(
    f: &mut fmt::Formatter<'_>,
    view: &View<'_>,
    id: &str,
    name: &str,
    lines: &[Line],
    unit: fn(f64) -> String,
    top: Option<f64>,
    least: f64,
) -> fmt::Result {
    let points = view.history.points();
    let largest = lines.iter().flat_map(|line| points.clone().map(line.1)).fold(least, f64::max);
    let top = top.unwrap_or_else(|| above(largest, id == "c-traffic"));
    write!(f, "<figure class=\"chart\" id=\"{id}\"><figcaption><h2>{name}</h2>")?;
    for (n, (name, value)) in lines.iter().enumerate() {
        let now = points.clone().last().map_or(0.0, value);
        write!(f, "<span class=\"key k{n}\">{name} <b>{}</b></span>", unit(now))?;
    }
    write!(f, "<span class=\"top\">{}</span></figcaption>", unit(top))?;
    write!(
        f,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{name}, the last two minutes\">"
    )?;
    for part in [0.0, 0.5] {
        let y = HEIGHT * part;
        write!(f, "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>")?;
    }
    let count = points.len();
    for (n, (_, value)) in lines.iter().enumerate().filter(|_| count > 1) {
        let mut path = String::new();
        for (at, point) in points.clone().enumerate() {
            let x = WIDTH - (count - 1 - at) as f64 * WIDTH / (KEPT - 1) as f64;
            // A little below the edge, so that its line is seen whole.
            let y = HEIGHT - value(point).clamp(0.0, top) / top * (HEIGHT - 2.0) - 1.0;
            let _ = write!(path, "{}{x:.0} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        let first = WIDTH - (count - 1) as f64 * WIDTH / (KEPT - 1) as f64;
        if n == 0 {
            write!(
                f,
                "<path class=\"area k0\" d=\"{path}L{WIDTH} {HEIGHT}L{first:.0} {HEIGHT}Z\"/>"
            )?;
        }
        write!(f, "<path class=\"line k{n}\" d=\"{path}\"/>")?;
    }
    f.write_str(
        "</svg><p class=\"axis\"><span>2 min ago</span><span>1 min</span><span>now</span></p></figure>",
    )
}

/// A round number that is not below `value`: 1, 2 or 5 and zeros; of bytes in the unit they are told in.
fn above(value: f64, is_bytes: bool) -> f64 {
    if is_bytes && value >= 1000.0 {
        return above(value / 1024.0, true) * 1024.0;
    }
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|n| *n >= value).unwrap_or(10.0 * power)
}

// --- Tables -----------------------------------------------------------------------------------

fn reactors(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    if view.reactors.len() < 2 {
        return Ok(());
    }
    f.write_str(
        "<section class=\"table\" id=\"reactors\"><h2>Reactors</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">reactor\
         <th scope=\"col\" class=\"n\">open<th scope=\"col\" class=\"n\">busy<th scope=\"col\" class=\"n\">lag\
         <th scope=\"col\" class=\"n\">run queue<th scope=\"col\" class=\"n\">turns/s</tr></thead><tbody>",
    )?;
    for (number, (told, silent)) in view.reactors.iter().enumerate() {
        write!(f, "<tr><th scope=\"row\">{number}")?;
        if *silent > SILENT_SHOWN {
            write!(f, " <small>silent for {silent} s</small>")?;
        }
        let Some(Told { sample, point, .. }) = told else {
            f.write_str("<td class=\"n\" colspan=\"5\">–</tr>")?;
            continue;
        };
        let load = &sample.stats.load;
        let (open, queue) = (Grouped(sample.open() as u64), Grouped(load.run_queue() as u64));
        let (busy, lag) = (point.busy * 100.0, Short(load.lag()));
        write!(
            f,
            "<td class=\"n\">{open}<td class=\"n\">{busy:.0} %<td class=\"n\">{lag}<td class=\"n\">{queue}\
             <td class=\"n\">{}</tr>",
            Grouped(whole_number(point.turns))
        )?;
    }
    f.write_str("</tbody></table></div></section>")
}

fn services(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    f.write_str(
        "<section class=\"table\" id=\"services\"><h2>Services</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">service\
         <th scope=\"col\" class=\"n\">open<th scope=\"col\" class=\"n\">accepted<th scope=\"col\" class=\"n\">connected\
         <th scope=\"col\" class=\"n\">refused<th scope=\"col\" class=\"n\">closed</tr></thead><tbody>",
    )?;
    for (n, service) in view.sample.services.iter().enumerate() {
        write!(f, "<tr><th scope=\"row\">{}", Html(Plain(name_of(view.names, n))))?;
        let refused = service.refused + service.refused_address;
        let (accepted, closed) = (service.accepted, service.closed.total());
        for count in [service.open as u64, accepted, service.connected, refused, closed] {
            write!(f, "<td class=\"n\">{}", Grouped(count))?;
        }
        f.write_str("</tr>")?;
    }
    f.write_str("</tbody></table></div></section>")
}

fn longest(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    f.write_str(
        "<section class=\"table\" id=\"longest\"><h2>Longest callback</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">when\
         <th scope=\"col\" class=\"n\">took<th scope=\"col\">callback<th scope=\"col\">service<th scope=\"col\">connection</tr></thead><tbody>",
    )?;
    let load = &view.sample.stats.load;
    for (when, longest) in [("recently", load.longest()), ("ever", load.longest_ever())] {
        let Some(longest) = longest else { continue };
        let service = name_of(view.names, longest.service.into());
        let conn = longest.conn.map_or_else(|| "–".to_owned(), |id| id.to_string());
        let ago = Long(view.sample.at.saturating_sub(longest.ended));
        write!(
            f,
            "<tr><th scope=\"row\">{when} <small>{ago} ago</small><td class=\"n\">{}<td>{}<td>{}<td>{conn}</tr>",
            Short(longest.took),
            Html(longest.what),
            Html(Plain(service))
        )?;
    }
    f.write_str("</tbody></table></div></section>")
}

fn closes(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    f.write_str("<section class=\"table\" id=\"closes\"><h2>Closed, by reason</h2>")?;
    let mut counts = reasons(&view.sample.stats.closed).to_vec();
    counts.retain(|(_, count)| *count > 0);
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let Some(&(_, most)) = counts.first() else {
        return f.write_str("<p class=\"none\">No connection has ended yet.</p></section>");
    };
    f.write_str("<table class=\"bars\"><tbody>")?;
    for (reason, count) in counts {
        #[allow(clippy::cast_precision_loss, reason = "it is drawn")]
        let part = count as f64 / most as f64 * 100.0;
        write!(
            f,
            "<tr><th scope=\"row\">{}<td class=\"bar\"><svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"part\" width=\"{:.1}\" height=\"4\"/></svg><td class=\"n\">{}</tr>",
            reason.replace('_', " "),
            part.max(0.5),
            Grouped(count)
        )?;
    }
    f.write_str("</tbody></table></section>")
}

fn totals(f: &mut fmt::Formatter<'_>, view: &View<'_>) -> fmt::Result {
    let stats = &view.sample.stats;
    f.write_str("<section class=\"table\" id=\"totals\"><h2>Since the start</h2><dl>")?;
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = [("received", stats.bytes_in as f64), ("sent", stats.bytes_out as f64)];
    for (name, count) in bytes {
        write!(f, "<div><dt>{name}<dd>{}</div>", Bytes(count))?;
    }
    let longer = stats.load.turns_longer();
    let rows = [
        ("turns", stats.turns, true),
        ("turns over 10 ms", longer[1].1, true),
        ("turns over 100 ms", longer[2].1, true),
        ("connect errors", stats.connect_errors, false),
        ("handshakes failed", stats.handshakes_failed, false),
        ("accept errors", stats.accept_errors, false),
        ("accept failures", stats.accept_failures, false),
        ("datagrams in", stats.datagrams_in, false),
        ("datagrams out", stats.datagrams_out, false),
        ("datagrams dropped", stats.datagrams_dropped, false),
        ("posts", stats.posts, false),
        ("panics", stats.panics, false),
        ("restarts", stats.restarts, false),
    ];
    // What has never happened is left out, where it is not what one looks for.
    for (name, count, _) in rows.into_iter().filter(|(_, count, always)| *always || *count > 0) {
        write!(f, "<div><dt>{name}<dd>{}</div>", Grouped(count))?;
    }
    f.write_str("</dl></section>")
}

// --- Numbers ----------------------------------------------------------------------------------

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is neither")]
fn whole_number(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

/// With a thin space before each three digits.
pub(crate) struct Grouped(pub(crate) u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char('\u{202F}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// Three digits and a unit.
pub(crate) struct Bytes(pub(crate) f64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0, "B");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if number < 1000.0 {
                break;
            }
            (number, unit) = (number / 1024.0, larger);
        }
        let digits =
            if unit == "B" || number >= 100.0 { 0 } else { usize::from(number < 10.0) + 1 };
        write!(f, "{number:.digits$} {unit}")
    }
}

/// A short time: three digits and a unit.
pub(crate) struct Short(pub(crate) Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (number, unit) = match seconds {
            s if s >= 1.0 => (s, "s"),
            s if s >= 1e-3 => (s * 1e3, "ms"),
            s => (s * 1e6, "µs"),
        };
        let digits =
            if number >= 100.0 || unit == "µs" { 0 } else { usize::from(number < 10.0) + 1 };
        write!(f, "{number:.digits$} {unit}")
    }
}

/// A long time, in its two largest units.
pub(crate) struct Long(pub(crate) Duration);

impl Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let (days, hours, minutes, seconds) =
            (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {seconds} s"),
            (0, _, _) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are short, and say their unit.
    #[test]
    fn numbers_are_three_digits_and_a_unit() {
        let bytes = [0.0, 999.0, 1000.0, 65_536.0, 1e6, 2.5e9].map(|n| Bytes(n).to_string());
        assert_eq!(bytes, ["0 B", "999 B", "0.98 KiB", "64.0 KiB", "977 KiB", "2.33 GiB"]);
        let times = [0, 42_000, 1_500_000, 25_000_000, 2_000_000_000];
        let times = times.map(|n| Short(Duration::from_nanos(n)).to_string());
        assert_eq!(times, ["0 µs", "42 µs", "1.50 ms", "25.0 ms", "2.00 s"]);
        let long = [5, 65, 3700, 90_000].map(|n| Long(Duration::from_secs(n)).to_string());
        assert_eq!(long, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(Grouped(1_234_567).to_string(), "1\u{202F}234\u{202F}567");
        assert_eq!(
            [0.3, 1.0, 1.1, 5.1, 40.0].map(|n| above(n, false)).map(|n| n.to_string()),
            ["0.5", "1", "2", "10", "50"]
        );
    }
}
