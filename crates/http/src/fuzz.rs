//! The reader of requests over any bytes, against a plain reading of RFC 9112: what is taken for a
//! request is one by the grammar, with the same headers, body and end, however the bytes are cut.
//! What is refused may be more than the grammar does.
//!
//! A fuzzer calls it (`fuzz/` at the root), and so does a test, with numbers from a seed.

use crate::body::{Arriving, Chunks, Next};
use crate::head::{self, Framing};

/// What came: each request with its headers and its body, until one is not whole or refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    requests: Vec<Plain>,
    refused: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    line: (String, String, bool),
    headers: Vec<(String, Vec<u8>)>,
    chunked: bool,
    length: usize,
    body: Vec<u8>,
}

const BODY_MAX: usize = 200;

/// What of a stream is read by this crate: `whole` bodies, or in pieces, `step` bytes more at a time.
fn ours(stream: &[u8], step: usize, whole: bool) -> Told {
    let (mut told, mut from, mut seen) = (Told::default(), 0, step.min(stream.len()));
    let more = |seen: &mut usize| {
        let was = *seen;
        *seen = (was + step).min(stream.len());
        *seen > was
    };
    loop {
        while stream[from..seen].starts_with(b"\r\n") {
            from += 2;
        }
        let Some(end) = head::end(&stream[from..seen], 0) else {
            if more(&mut seen) {
                continue;
            }
            return told;
        };
        let parsed = head::parse(&stream[from..from + end], |head| {
            let (chunked, length) = match head.framing {
                Framing::Length(len) => (false, usize::try_from(len).unwrap_or(usize::MAX)),
                Framing::Chunked => (true, 0),
            };
            let headers = head.headers.iter();
            Ok((
                head.framing,
                Plain {
                    line: (head.method.to_string(), head.target.to_owned(), head.is_1_1),
                    headers: headers.map(|it| (it.name.to_owned(), it.value.to_vec())).collect(),
                    chunked,
                    length,
                    body: Vec::new(),
                },
            ))
        });
        let (framing, mut request) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Told { refused: Some(refusal.status.as_u16()), ..told },
        };
        from += end;
        let mut chunks = Chunks::default();
        let arriving = Arriving::new(framing, BODY_MAX as u64);
        let mut arriving = match arriving {
            Ok(arriving) => arriving,
            Err(refusal) => return Told { refused: Some(refusal.status.as_u16()), ..told },
        };
        loop {
            let rest = &stream[from..seen];
            let outcome = if whole && request.chunked {
                chunks.look(rest, BODY_MAX).map(|n| {
                    n.map(|n| {
                        request.body = Chunks::join(&rest[..n], chunks.len);
                        from += n;
                    })
                })
            } else {
                arriving.next(rest).map(|(next, n)| {
                    from += n;
                    match next {
                        Next::End => Some(()),
                        Next::Nothing => None,
                        Next::Bytes(bytes) => {
                            assert!(!bytes.is_empty());
                            request.body.extend_from_slice(bytes);
                            arriving.is_over().then_some(())
                        }
                    }
                })
            };
            match outcome {
                Err(refusal) => return Told { refused: Some(refusal.status.as_u16()), ..told },
                Ok(Some(())) => break,
                Ok(None) if from < seen && !whole => {
                    if !more(&mut seen) {
                        return told;
                    }
                }
                Ok(None) => {
                    if !more(&mut seen) && (whole || from == seen) {
                        return told;
                    }
                }
            }
        }
        told.requests.push(request);
    }
}

fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// The request at the beginning of a stream by the grammar, and where it ends; `None`: none is.
fn plainly(stream: &[u8]) -> Option<(Plain, usize)> {
    let end = stream.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&stream[..end]).into_owned();
    let mut at = 0;
    let mut lines = Vec::new();
    while at <= end {
        let len = stream[at..].windows(2).position(|two| two == b"\r\n")?;
        lines.push(&stream[at..at + len]);
        at += len + 2;
    }
    assert!(lines.iter().all(|line| !line.contains(&b'\n')), "a line within a line: {text:?}");
    let first = str::from_utf8(lines.remove(0)).ok()?;
    let [method, target, version] = first.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let is_1_1 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    if !is_token(method.as_bytes())
        || target.is_empty()
        || target.bytes().any(|it| it <= b' ' || it == 127)
    {
        return None;
    }
    let mut headers = Vec::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 127;
        if !is_token(name) || value.iter().any(is_bad) {
            return None;
        }
        headers.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    let of = |name: &str| {
        let is_it = |it: &&(String, Vec<u8>)| it.0.eq_ignore_ascii_case(name);
        headers.iter().filter(is_it).map(|it| it.1.clone()).collect::<Vec<_>>()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    if of("host").len() > 1 || (is_1_1 && of("host").is_empty()) {
        return None;
    }
    let at = end + 4;
    let line = (method.to_owned(), target.to_owned(), is_1_1);
    let mut plain = Plain { line, headers, chunked: false, length: 0, body: Vec::new() };
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some((plain, at)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            plain.length = str::from_utf8(length).ok()?.parse().ok()?;
            plain.body = stream.get(at..at.checked_add(plain.length)?)?.to_vec();
            let end = at + plain.length;
            Some((plain, end))
        }
        ([], [coding]) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            plain.chunked = true;
            let (body, n) = dechunk(&stream[at..])?;
            plain.body = body;
            Some((plain, at + n))
        }
        _ => None,
    }
}

/// A chunked body by the grammar, and where it ends.
fn dechunk(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |at: usize| {
        let len = stream.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((&stream[at..at + len], at + len + 2))
    };
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (first, next) = line(at)?;
        let digits = first.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let after = first[digits..].trim_ascii_start();
        if !(after.is_empty() && first.len() == digits || after.starts_with(b";")) {
            return None;
        }
        let size = usize::from_str_radix(str::from_utf8(&first[..digits]).ok()?, 16).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        body.extend_from_slice(stream.get(at..at.checked_add(size)?)?);
        at += size;
        at = stream.get(at..)?.starts_with(b"\r\n").then_some(at + 2)?;
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Some((body, at));
        }
    }
}

const PARTS: [&str; 48] = [
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "HEAD /?q HTTP/1.1\r\n",
    "GET http://x/y HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "GET / HTTP/1.1\n",
    "GET  / HTTP/1.1\r\n",
    "Host: x\r\n",
    "Host: x\r\n",
    "Host : x\r\n",
    "host:y\r\n",
    "Host: x\r\n y\r\n",
    "\r\nHost: x\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 3, 3\r\n",
    "Content-Length: +3\r\n",
    "Content-Length: 201\r\n",
    "content-length:\t2 \r\n",
    "Content_Length: 5\r\n",
    "Content-Length: 0x3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding:\tCHUNKED\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: a\0b\r\n",
    "X:\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "3;x=\"y\"\r\nabc\r\n",
    "3 ;x\r\nabc\r\n",
    "03\r\nabc",
    "-1\r\n",
    "0\r\nT: x\r\n\r\n",
    "c9\r\n",
    "abc",
    "\n",
];

/// What holds of any bytes.
pub(crate) fn any(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut stream = Vec::new();
    for byte in rest {
        match PARTS.get(usize::from(*byte)) {
            Some(part) if mode % 4 != 0 => stream.extend_from_slice(part.as_bytes()),
            _ => stream.push(*byte),
        }
    }
    let told = ours(&stream, usize::MAX / 2, true);
    for step in [1, 2, 1 + usize::from(mode / 4)] {
        for whole in [true, false] {
            let again = ours(&stream, step, whole);
            assert_eq!(
                again,
                told,
                "{step} at a time, whole: {whole}: {:?}",
                stream.escape_ascii().to_string()
            );
        }
    }
    let mut at = 0;
    for request in told.requests {
        while stream[at..].starts_with(b"\r\n") {
            at += 2;
        }
        let read = plainly(&stream[at..]);
        let Some((mut plain, n)) = read else {
            panic!("no request by the grammar: {:?}", stream[at..].escape_ascii().to_string());
        };
        if let Some((_, rest)) = plain.line.1.split_once("://") {
            let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
            plain.line.1 = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        }
        assert_eq!(request, plain);
        at += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 2, for whatever bytes there are.
    #[test]
    fn what_is_taken_for_a_request_is_one_by_the_grammar() {
        let mut state = 0_u64;
        let mut below = |end: u64| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            u8::try_from((z ^ (z >> 31)) % end).expect("256 at most")
        };
        for _ in 0..3_000 {
            let len = 1 + below(14);
            let mut bytes: Vec<u8> = (0..len).map(|_| below(52)).collect();
            // More often than by chance: a first line and a Host.
            if below(2) == 0 {
                bytes = [vec![1 + 4 * below(60), below(6), 8], bytes].concat();
            }
            any(&bytes);
        }
        for whole in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        ] {
            any(format!("\0{whole}").as_bytes());
            assert_eq!(ours(whole.as_bytes(), 1, false).refused, None);
        }
    }
}
