//! Conditions of a request on what the file was when the client last saw it (RFC 9110, section 13),
//! and the encodings that it takes. No file, no socket: headers in, a verdict out.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::requests::Request;

/// What was changed within so long may be changed again and have the same time of change.
const FRESH: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    pub(super) etag: HeaderValue,
    pub(super) last_modified: Option<LastModified>,
}

/// A time of whole seconds, as it is told.
#[derive(Debug)]
pub(super) struct LastModified {
    at: SystemTime,
    pub(super) value: HeaderValue,
}

impl Validators {
    pub(super) fn of(metadata: &Metadata) -> Validators {
        let now = SystemTime::now();
        let modified = metadata.modified().ok();
        let since = modified.map(|modified| now.duration_since(modified).unwrap_or_default());
        let nanoseconds =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let weak = if since.is_some_and(|since| since >= FRESH) { "" } else { "W/" };
        let etag = format!("{weak}\"{:x}-{nanoseconds:x}-{:x}\"", metadata.len(), metadata.ino());
        Validators {
            etag: HeaderValue::try_from(etag).expect("digits in quotes make a value"),
            last_modified: modified.and_then(|modified| LastModified::new(modified.min(now))),
        }
    }

    fn is_strong(&self) -> bool {
        self.etag.as_bytes().starts_with(b"\"")
    }
}

impl LastModified {
    /// `None` for a time that cannot be told: before 1970, or after 9999.
    fn new(at: SystemTime) -> Option<LastModified> {
        let seconds = at.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if seconds >= 253_402_300_800 {
            return None;
        }
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        let value = HeaderValue::try_from(httpdate::fmt_http_date(at)).ok()?;
        Some(LastModified { at, value })
    }
}

/// What follows from the conditions of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The whole file.
    Whole,
    /// What this `Range` asks for.
    Ranges(&'a [u8]),
    /// 304: the client has it.
    NotModified,
    /// 412: the file is not the one that was meant.
    Failed,
}

/// Judges a `GET` or a `HEAD`, in the order of RFC 9110, section 13.2.2.
pub(super) fn judge<'a>(request: &Request<'a>, validators: &Validators) -> Verdict<'a> {
    let is_get = request.method() == http::Method::GET;
    judge_headers(|name| values(request, name), is_get, validators)
}

fn values<'a>(request: &Request<'a>, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let is_it = move |(it, _): &(&str, &[u8])| it.eq_ignore_ascii_case(name);
    request.headers().filter(is_it).map(|(_, value)| value.trim_ascii())
}

fn judge_headers<'a, I: Iterator<Item = &'a [u8]>>(
    values: impl Fn(&'static str) -> I,
    is_get: bool,
    validators: &Validators,
) -> Verdict<'a> {
    let has = |name| values(name).next().is_some();
    let date = |name| only(values(name)).and_then(parse_date);
    let modified = validators.last_modified.as_ref().map(|it| it.at);
    if has("if-match") {
        let is_strong = validators.is_strong();
        if !any_tag(values("if-match"), |tag| is_strong && validators.etag.as_bytes() == tag) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date("if-unmodified-since"), modified)
        && modified > since
    {
        return Verdict::Failed;
    }
    if has("if-none-match") {
        let ours = opaque(validators.etag.as_bytes());
        if any_tag(values("if-none-match"), |tag| opaque(tag) == ours) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date("if-modified-since"), modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    let Some(range) = only(values("range")).filter(|_| is_get) else { return Verdict::Whole };
    let is_same = match only(values("if-range")) {
        None => !has("if-range"),
        // Both comparisons are strong ones (section 13.1.5).
        Some(_) if !validators.is_strong() => false,
        Some(tag) if tag.starts_with(b"\"") => tag == validators.etag.as_bytes(),
        Some(date) => parse_date(date).is_some_and(|date| Some(date) == modified),
    };
    if is_same { Verdict::Ranges(range) } else { Verdict::Whole }
}

/// The value of a header that there is one of.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()
}

/// A tag without the mark of a weak one.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a list of tags is `*`, or has one that fits. What is none ends the list.
fn any_tag<'a>(values: impl Iterator<Item = &'a [u8]>, fits: impl Fn(&[u8]) -> bool) -> bool {
    for value in values {
        let mut rest = value.trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            let tag = opaque(rest);
            // A quoted text, in which a comma may be; there are no escapes.
            let Some(quoted) = tag.strip_prefix(b"\"") else { break };
            let Some(end) = quoted.iter().position(|byte| *byte == b'"') else { break };
            let len = rest.len() - tag.len() + end + 2;
            if fits(&rest[..len]) {
                return true;
            }
            rest = rest[len..].trim_ascii_start();
            while let Some(more) = rest.strip_prefix(b",") {
                rest = more.trim_ascii_start();
            }
        }
    }
    false
}

/// The encodings that the client takes and the extension of each, the one it prefers first; without
/// an extension: the file as it is.
pub(super) fn encodings(request: &Request<'_>) -> Vec<(&'static str, Option<&'static [u8]>)> {
    encodings_of(values(request, "accept-encoding"))
}

fn encodings_of<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Vec<(&'static str, Option<&'static [u8]>)> {
    // In thousandths. What is not named is not taken, but for the file as it is, which is the last choice.
    let (mut br, mut gzip, mut identity, mut rest) = (None, None, None, None);
    for element in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let Ok(element) = str::from_utf8(element) else { continue };
        let mut parts = element.split(';').map(|part| part.trim_matches([' ', '\t']));
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let q = parts.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
        let q = q.map_or(Some(1000), weight);
        match coding.as_str() {
            "br" => br = q,
            "gzip" | "x-gzip" => gzip = q,
            "identity" => identity = q,
            "*" => rest = q,
            _ => {}
        }
    }
    let mut choices = vec![
        (br.or(rest).unwrap_or(0), "br", Some(&b".br"[..])),
        (gzip.or(rest).unwrap_or(0), "gzip", Some(&b".gz"[..])),
    ];
    choices.retain(|(q, ..)| *q > 0);
    choices.push((identity.or(rest).unwrap_or(1).max(1), "identity", None));
    choices.sort_by_key(|(q, ..)| std::cmp::Reverse(*q));
    choices.into_iter().map(|(_, coding, extension)| (coding, extension)).collect()
}

/// A weight, in thousandths (RFC 9110, section 12.4.2).
fn weight(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !["0", "1"].contains(&whole)
        || fraction.len() > 3
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let thousandths: u32 = format!("{whole}{fraction:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        etag: &'static str,
        is_get: bool,
        headers: &[(&str, &'static str)],
    ) -> Verdict<'static> {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let validators = Validators {
            etag: HeaderValue::from_static(etag),
            last_modified: LastModified::new(at),
        };
        let values = |name: &'static str| {
            let found: Vec<_> =
                headers.iter().filter(|it| it.0 == name).map(|it| it.1.as_bytes()).collect();
            found.into_iter()
        };
        judge_headers(values, is_get, &validators)
    }

    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sunday, 06-Nov-94 08:49:36 GMT";
    const AFTER: &str = "Sun Nov  6 08:49:38 1994";

    /// RFC 9110, section 13.2.2, step by step: each condition, those that it hides, and those that
    /// are none.
    #[test]
    fn conditions_are_judged_in_their_order() {
        use Verdict::{Failed, NotModified, Ranges, Whole};
        let range = ("range", "bytes=0-1");
        let ranges = || Ranges(b"bytes=0-1");
        for (headers, expected) in [
            (vec![], Whole),
            (vec![("if-match", "\"x\"")], Whole),
            (vec![("if-match", "*")], Whole),
            (vec![("if-match", "\"a\", \"x\"")], Whole),
            (vec![("if-match", "\"a\""), ("if-match", "W/\"b\",\"x\"")], Whole),
            (vec![("if-match", "\"a,\"x\"")], Failed),
            (vec![("if-match", "W/\"x\"")], Failed),
            (vec![("if-match", "x")], Failed),
            (vec![("if-match", "\"a\""), ("if-none-match", "\"x\"")], Failed),
            // Hidden by `If-Match`.
            (vec![("if-match", "\"x\""), ("if-unmodified-since", BEFORE)], Whole),
            (vec![("if-unmodified-since", BEFORE)], Failed),
            (vec![("if-unmodified-since", SAME)], Whole),
            (vec![("if-unmodified-since", "yesterday")], Whole),
            (vec![("if-none-match", "\"x\"")], NotModified),
            (vec![("if-none-match", "W/\"x\"")], NotModified),
            (vec![("if-none-match", "*")], NotModified),
            (vec![("if-none-match", "\"a\", W/\"x,\", \"x\"")], NotModified),
            (vec![("if-none-match", "\"a\"")], Whole),
            // Hidden by `If-None-Match`.
            (vec![("if-none-match", "\"a\""), ("if-modified-since", AFTER)], Whole),
            (vec![("if-modified-since", SAME)], NotModified),
            (vec![("if-modified-since", AFTER)], NotModified),
            (vec![("if-modified-since", BEFORE)], Whole),
            (vec![("if-modified-since", "0")], Whole),
            (vec![range], ranges()),
            (vec![range, range], Whole),
            (vec![range, ("if-range", "\"x\"")], ranges()),
            (vec![range, ("if-range", "W/\"x\"")], Whole),
            (vec![range, ("if-range", "\"a\"")], Whole),
            (vec![range, ("if-range", SAME)], ranges()),
            (vec![range, ("if-range", AFTER)], Whole),
            (vec![range, ("if-range", "\"x\""), ("if-range", "\"x\"")], Whole),
            (vec![range, ("if-none-match", "\"x\"")], NotModified),
        ] {
            assert_eq!(verdict("\"x\"", true, &headers), expected, "{headers:?}");
        }
        assert_eq!(verdict("\"x\"", false, &[range]), Whole);
        for headers in [[range, ("if-range", "\"x\"")], [range, ("if-range", SAME)]] {
            assert_eq!(verdict("W/\"x\"", true, &headers), Whole, "{headers:?}");
        }
        assert_eq!(verdict("W/\"x\"", true, &[("if-match", "W/\"x\"")]), Failed);
        assert_eq!(verdict("W/\"x\"", true, &[("if-none-match", "\"x\"")]), NotModified);
    }

    /// RFC 9110, section 12.5.3: by weight, then the smaller one; never what is refused.
    #[test]
    fn the_encoding_is_the_one_that_the_client_prefers() {
        for (value, expected) in [
            ("", "identity"),
            ("gzip, deflate, br, zstd", "br gzip identity"),
            ("gzip", "gzip identity"),
            ("X-GZIP", "gzip identity"),
            ("br;q=0.5, gzip;q=0.8", "gzip br identity"),
            ("br;q=0, gzip;q=0.001", "gzip identity"),
            ("*", "br gzip identity"),
            ("*;q=0", "identity"),
            ("br, *;q=0", "br identity"),
            ("identity;q=0.5, gzip;q=0.2", "identity gzip"),
            ("gzip;q=2", "identity"),
            ("gzip;q=0.0001", "identity"),
            ("gzip ; Q=1.000", "gzip identity"),
        ] {
            let found = encodings_of([value.as_bytes()].into_iter());
            let found: Vec<_> = found.into_iter().map(|(coding, _)| coding).collect();
            assert_eq!(found.join(" "), expected, "{value:?}");
        }
    }

    /// A time that cannot be told is left out; the date of the answer is not before it.
    #[test]
    fn a_time_that_cannot_be_told_is_left_out() {
        assert!(LastModified::new(UNIX_EPOCH - Duration::from_secs(1)).is_none());
        assert!(LastModified::new(UNIX_EPOCH + Duration::from_secs(253_402_300_800)).is_none());
        let last = LastModified::new(UNIX_EPOCH + Duration::from_secs(253_402_300_799)).unwrap();
        assert_eq!(last.value, "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
