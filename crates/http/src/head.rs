//! The head of a request: parsed by httparse, and checked where a lenient reader and a strict one
//! could take two different requests for one (RFC 9112, section 11.2).
//!
//! Bytes in, a request or a refusal out: no socket. Read next: `body.rs`.

use http::{Method, StatusCode};
use httparse::{EMPTY_HEADER, Header, Status};
use memchr::{memchr_iter, memchr2_iter};

/// The most headers that a request may have.
pub(crate) const HEADERS_MAX: usize = 100;

/// Why a request is not served: the status, and the text of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) why: &'static str,
}

pub(crate) const fn refusal(status: StatusCode, why: &'static str) -> Refusal {
    Refusal { status, why }
}

pub(crate) const fn bad(why: &'static str) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, why)
}

/// A body, of whatever framing, that has more bytes than it may.
pub(crate) const TOO_LARGE: Refusal =
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");

/// A line break that some would take for the end of a line, in a head or in chunks.
pub(crate) const BARE_BREAK: Refusal = bad("a line break that is not CR LF");

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; 0 where there is none.
    Length(u64),
    /// Until the chunk of no bytes.
    Chunked,
}

/// The head of a request.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    /// As it came, in origin form (`/path?query`), or `*`.
    pub(crate) target: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) headers: &'a [Header<'a>],
    /// HTTP/1.1, and not 1.0.
    pub(crate) is_1_1: bool,
    pub(crate) framing: Framing,
    /// Whether the connection is to stay when this is answered.
    pub(crate) keeps_alive: bool,
    /// Whether the client waits for our word before it sends the body.
    pub(crate) expects: bool,
    /// Whether the client asks for another protocol.
    pub(crate) upgrades: bool,
}

/// Where a head ends: behind its empty line. The first `seen` bytes were looked at before, in vain.
pub(crate) fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.min(bytes.len()).saturating_sub(3);
    let mut breaks = memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1);
    breaks.find(|end| bytes[..*end].ends_with(b"\r\n\r\n"))
}

/// Line breaks that are no `\r\n`: some take one for the end of a line, and some do not (RFC 9112,
/// section 2.2).
pub(crate) fn has_bare_break(bytes: &[u8]) -> bool {
    memchr2_iter(b'\r', b'\n', bytes).any(|at| match bytes[at] {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => bytes.get(at + 1).is_some_and(|next| *next != b'\n'),
    })
}

/// Parses a head that is whole, and lends it.
pub(crate) fn parse<T>(
    bytes: &[u8],
    then: impl FnOnce(Head<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if has_bare_break(bytes) {
        return Err(BARE_BREAK);
    }
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(n)) if n == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers"));
        }
        Err(httparse::Error::Version) => {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Err(refusal(status, "only HTTP/1.1 and HTTP/1.0 are spoken here"));
        }
        Err(httparse::Error::HeaderName) => return Err(bad("a header's name is none")),
        Err(httparse::Error::HeaderValue) => return Err(bad("a header's value is none")),
        Ok(_) | Err(_) => return Err(bad("this is no request")),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(bad("this is no request"));
    };
    then(check(method, target, minor == 1, request.headers)?)
}

fn check<'a>(
    method: &str,
    target: &'a str,
    is_1_1: bool,
    headers: &'a [Header<'a>],
) -> Result<Head<'a>, Refusal> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("the method is none"))?;
    if method == Method::CONNECT {
        return Err(refusal(StatusCode::NOT_IMPLEMENTED, "CONNECT is not served here"));
    }
    let fields = Fields::of(headers);
    let mut host = fields.host.only().map_err(|()| bad("more than one Host"))?;
    if host.is_none() && is_1_1 {
        return Err(bad("no Host"));
    }
    let target = if let Some(rest) = strip_scheme(target) {
        // The absolute form: its host counts, whatever the header says (RFC 9112, section 3.2.2).
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("the target names a user"));
        }
        host = Some(authority.as_bytes());
        if path.is_empty() { "/" } else { path }
    } else {
        target
    };
    let is_star = target == "*" && method == Method::OPTIONS;
    if !(is_star || target.starts_with('/')) || target.contains('#') {
        return Err(bad("the target of the request is no path"));
    }
    let host = match host.map(str::from_utf8) {
        None => None,
        Some(Ok(host)) if host.bytes().all(is_of_a_host) => Some(host),
        Some(_) => return Err(bad("the Host is none")),
    };
    let framing = framing(is_1_1, &fields)?;
    let expects = match fields.expect.only() {
        Ok(None) => false,
        Ok(Some(value)) if value.eq_ignore_ascii_case(b"100-continue") => {
            is_1_1 && framing != Framing::Length(0)
        }
        _ => return Err(refusal(StatusCode::EXPECTATION_FAILED, "an expectation unknown here")),
    };
    let keeps_alive = !fields.closes && (is_1_1 || fields.keeps_alive);
    let upgrades = fields.upgrades;
    Ok(Head { method, target, host, headers, is_1_1, framing, keeps_alive, expects, upgrades })
}

/// The length of the body, if no two readers could differ about it (RFC 9112, section 6.3).
fn framing(is_1_1: bool, fields: &Fields<'_>) -> Result<Framing, Refusal> {
    let length = fields.length.only().map_err(|()| bad("more than one Content-Length"))?;
    let coding = fields.coding.only();
    match (length, coding) {
        (None, Ok(None)) => Ok(Framing::Length(0)),
        (Some(length), Ok(None)) => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = str::from_utf8(length).ok().filter(|_| is_number);
            let length = text.and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or(bad("the Content-Length is no length"))
        }
        (Some(_), _) => Err(bad("both Content-Length and Transfer-Encoding")),
        (None, _) if !is_1_1 => Err(bad("Transfer-Encoding in HTTP/1.0")),
        (None, Ok(Some(coding))) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, _) => {
            Err(refusal(StatusCode::NOT_IMPLEMENTED, "a Transfer-Encoding other than chunked"))
        }
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// A name, an address in brackets, a port: what RFC 3986 lets an authority have, without a user.
fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// The headers that matter here, found in one pass.
#[derive(Debug, Default)]
struct Fields<'a> {
    host: Field<'a>,
    length: Field<'a>,
    coding: Field<'a>,
    expect: Field<'a>,
    closes: bool,
    keeps_alive: bool,
    upgrades: bool,
}

/// A header that there may be one of.
#[derive(Clone, Copy, Debug, Default)]
enum Field<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Several,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a [Header<'a>]) -> Fields<'a> {
        let mut fields = Fields::default();
        for Header { name, value } in headers {
            let is = |it: &str| name.eq_ignore_ascii_case(it);
            match name.len() {
                4 if is("host") => fields.host.add(value),
                6 if is("expect") => fields.expect.add(value),
                7 if is("upgrade") => fields.upgrades = true,
                10 if is("connection") => {
                    for element in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        fields.closes |= element.eq_ignore_ascii_case(b"close");
                        fields.keeps_alive |= element.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if is("content-length") => fields.length.add(value),
                17 if is("transfer-encoding") => fields.coding.add(value),
                _ => {}
            }
        }
        fields
    }
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Field::None => Field::One(value.trim_ascii()),
            Field::One(_) | Field::Several => Field::Several,
        };
    }

    /// The one value, or none.
    fn only(self) -> Result<Option<&'a [u8]>, ()> {
        match self {
            Field::None => Ok(None),
            Field::One(value) => Ok(Some(value)),
            Field::Several => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a head comes to: its framing and whether the connection stays, or the status of the refusal.
    fn outcome(head: &str) -> Result<(Framing, bool), u16> {
        let text = format!("{head}\r\n\r\n");
        let kept = |head: Head<'_>| Ok((head.framing, head.keeps_alive));
        parse(text.as_bytes(), kept).map_err(|refusal| refusal.status.as_u16())
    }

    /// Promise 2 (RFC 9112, section 11.2): where two readers could see two requests, there is none.
    #[test]
    fn what_two_readers_could_differ_about_is_refused() {
        let none = Framing::Length(0);
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: x", Ok((none, true))),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close", Ok((none, false))),
            ("GET / HTTP/1.0", Ok((none, false))),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive", Ok((none, true))),
            ("GET http://x/y HTTP/1.1\r\nHost: other", Ok((none, true))),
            ("OPTIONS * HTTP/1.1\r\nHost: x", Ok((none, true))),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5", Ok((Framing::Length(5), true))),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked",
                Ok((Framing::Chunked, true)),
            ),
            // Line breaks, folding, spaces.
            ("GET / HTTP/1.1\nHost: x", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\nA: b", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c", Err(400)),
            ("GET / HTTP/1.1\r\nHost : x", Err(400)),
            ("GET / HTTP/1.1\r\n Host: x", Err(400)),
            ("GET  / HTTP/1.1\r\nHost: x", Err(400)),
            ("GET / HTTP/1.1 \r\nHost: x", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\r\nA\0: b", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0", Err(400)),
            // Host and target.
            ("GET / HTTP/1.1", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x", Err(400)),
            ("GET / HTTP/1.1\r\nHost: x/y", Err(400)),
            ("GET / HTTP/1.1\r\nHost: user@x", Err(400)),
            ("GET http://user@x/ HTTP/1.1\r\nHost: x", Err(400)),
            ("GET ftp://x/ HTTP/1.1\r\nHost: x", Err(400)),
            ("GET x HTTP/1.1\r\nHost: x", Err(400)),
            ("GET * HTTP/1.1\r\nHost: x", Err(400)),
            ("GET /a#b HTTP/1.1\r\nHost: x", Err(400)),
            ("CONNECT x:443 HTTP/1.1\r\nHost: x", Err(501)),
            // Lengths.
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999", Err(400)),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Err(400),
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked", Err(400)),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked", Err(501)),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked", Err(501)),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Err(501),
            ),
            // The rest.
            ("GET / HTTP/2.0\r\nHost: x", Err(505)),
            ("GET / HTTP/1.2\r\nHost: x", Err(505)),
            ("POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle", Err(417)),
            ("GET /", Err(400)),
            ("", Err(400)),
        ] {
            assert_eq!(outcome(head), expected, "{head:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_last_look_stopped() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
        let len = head.len() - 4;
        for seen in 0..len {
            assert_eq!(end(head, seen), Some(len), "{seen}");
            assert_eq!(end(&head[..seen], 0), None, "{seen}");
        }
    }
}
