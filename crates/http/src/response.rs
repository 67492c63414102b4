//! An answer, and how it goes out.
//!
//! Names and values of headers are types that hold no line break, so what a program passes on of a
//! request cannot become a header of an answer. Read next: `server.rs`.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use wouldblock::bytes::Bytes;
use wouldblock::{Conn, exactly};

/// A body up to this size waits in the connection's output, without a copy. A larger one is a
/// source: it could be more than `output_max` lets wait, and a client that takes its time would be
/// cut off.
const AT_ONCE: usize = 256 << 10;

/// An answer to a request.
///
/// # Examples
///
/// ```
/// use wouldblock_http::Response;
/// use wouldblock_http::http::{HeaderValue, StatusCode, header};
///
/// let found = Response::text("hello\n");
/// let missing = Response::new(StatusCode::NOT_FOUND).body("no such page\n");
/// let moved = Response::new(StatusCode::FOUND).header(header::LOCATION, HeaderValue::from_static("/new"));
/// ```
#[derive(Debug)]
#[must_use = "it is sent by a Responder"]
pub struct Response {
    status: StatusCode,
    /// In the order in which they go out. A vector: an answer has few, and none is looked up more
    /// than once.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

enum Body {
    Bytes(Bytes),
    /// So many bytes of a reader.
    Sized(u64, Box<dyn Read + Send>),
    /// All bytes of a reader.
    Unsized(Box<dyn Read + Send>),
    /// What is sent behind the head.
    Streamed,
}

/// What is known of the request and its connection when an answer goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// It goes out without its body.
    pub(crate) is_head: bool,
    pub(crate) is_1_1: bool,
    /// The connection stays.
    pub(crate) keeps_alive: bool,
}

impl Fate {
    /// What is said where there was no request, or none any more: the connection ends behind it.
    pub(crate) const LAST: Fate = Fate { is_head: false, is_1_1: true, keeps_alive: false };
}

impl Response {
    /// One without a body.
    pub fn new(status: StatusCode) -> Self {
        Response { status, headers: Vec::new(), body: Body::Bytes(Bytes::new()) }
    }

    /// 200, with plain text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        Response::new(StatusCode::OK).header(CONTENT_TYPE, plain).body(text)
    }

    /// 200, with a page.
    pub fn html(page: impl Into<Bytes>) -> Self {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        Response::new(StatusCode::OK).header(CONTENT_TYPE, html).body(page)
    }

    /// Adds a header. `Content-Length`, `Transfer-Encoding` and `Connection` follow from the body
    /// and the request, and are replaced; `Date` is added where there is none. A second
    /// `Content-Type` replaces the first; of all others there may be several.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if name == CONTENT_TYPE {
            self.headers.retain(|(it, _)| *it != CONTENT_TYPE);
        }
        self.headers.push((name, value));
        self
    }

    /// Sets the body: bytes that are there, shared and not copied where they have to wait. Of any
    /// size: more than 256 KiB are sent a piece at a time, as [`body_from`](Self::body_from) does.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// Sets the body: so many bytes of a reader, a file or what comes, read a bounded piece at a
    /// time as the client takes them ([`Conn::send_from`]). If it brings less, the client sees a
    /// reset: half an answer is not to look whole.
    pub fn body_from(mut self, len: u64, reader: impl Read + Send + 'static) -> Self {
        self.body = Body::Sized(len, Box::new(reader));
        self
    }

    /// Sets the body: all that a reader brings, in chunks. To a client of HTTP/1.0 it ends with the
    /// connection.
    pub fn body_chunked(mut self, reader: impl Read + Send + 'static) -> Self {
        self.body = Body::Unsized(Box::new(reader));
        self
    }

    /// The same with another status.
    pub fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the connection has to end behind it: its end is not marked otherwise.
    pub(crate) fn ends_by_close(&self, is_1_1: bool) -> bool {
        let is_unsized = matches!(self.body, Body::Unsized(_) | Body::Streamed);
        is_unsized && !is_1_1 && has_body(self.status)
    }

    /// The same with a body that is sent behind it.
    pub(crate) fn streamed(mut self) -> Self {
        self.body = Body::Streamed;
        self
    }

    /// Sends it. Returns whether a body follows. `head` is where its head is made: what is in it
    /// does not matter.
    pub(crate) fn send(
        self,
        conn: &mut Conn<'_>,
        date: &Date,
        fate: Fate,
        head: &mut Vec<u8>,
    ) -> bool {
        let Fate { is_head, is_1_1, keeps_alive } = fate;
        let has_body = has_body(self.status);
        head.clear();
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(self.status.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(self.status.canonical_reason().unwrap_or("-").as_bytes());
        head.extend_from_slice(b"\r\n");
        if !self.headers.iter().any(|(name, _)| *name == DATE) {
            head.extend_from_slice(&date.line);
        }
        if has_body {
            match &self.body {
                Body::Bytes(bytes) => push_length(head, bytes.len() as u64),
                Body::Sized(len, _) => push_length(head, *len),
                Body::Unsized(_) | Body::Streamed if is_1_1 => {
                    head.extend_from_slice(b"transfer-encoding: chunked\r\n");
                }
                Body::Unsized(_) | Body::Streamed => {}
            }
        }
        match (keeps_alive, is_1_1) {
            (false, _) => head.extend_from_slice(b"connection: close\r\n"),
            (true, false) => head.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, true) => {}
        }
        for (name, value) in &self.headers {
            if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
                continue;
            }
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let follows = has_body && !is_head;
        if let Body::Bytes(bytes) = &self.body
            && follows
            && bytes.len() < 4096
        {
            head.extend_from_slice(bytes);
            conn.send(head);
            return true;
        }
        conn.send(head);
        if !follows {
            return false;
        }
        match self.body {
            Body::Bytes(bytes) if bytes.len() <= AT_ONCE => conn.send_shared(bytes),
            Body::Bytes(bytes) => conn.send_from(Cursor::new(bytes)),
            Body::Sized(len, reader) => conn.send_from(exactly(len, reader)),
            Body::Unsized(reader) if is_1_1 => conn.send_from(Chunked::new(reader)),
            Body::Unsized(reader) => conn.send_from(reader),
            Body::Streamed => {}
        }
        true
    }
}

fn push_length(head: &mut Vec<u8>, mut len: u64) {
    let (mut digits, mut at) = ([b'0'; 20], 20);
    while len > 0 || at == 20 {
        at -= 1;
        digits[at] = b"0123456789"[(len % 10) as usize];
        len /= 10;
    }
    head.extend_from_slice(b"content-length: ");
    head.extend_from_slice(&digits[at..]);
    head.extend_from_slice(b"\r\n");
}

/// Whether an answer of this status may have a body (RFC 9110, section 6.4.1).
fn has_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Body::Sized(len, _) => write!(f, "{len} bytes of a reader"),
            Body::Unsized(_) => f.write_str("a reader"),
            Body::Streamed => f.write_str("a stream"),
        }
    }
}

/// Puts what a reader brings into chunks.
struct Chunked {
    reader: Box<dyn Read + Send>,
    /// The end of the chunk before was said.
    is_begun: bool,
    is_over: bool,
}

/// Room for a chunk's framing: the end of the one before, eight digits and a line break, the last chunk.
const FRAMING: usize = 2 + 8 + 2;

impl Chunked {
    fn new(reader: Box<dyn Read + Send>) -> Self {
        Chunked { reader, is_begun: false, is_over: false }
    }
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if buffer.len() <= FRAMING {
            let what = "no room for a chunk: read_buffer and output_high must be larger";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let most = (buffer.len() - FRAMING).min(0xFFFF_FFFF);
        let n = loop {
            match self.reader.read(&mut buffer[FRAMING..FRAMING + most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let before = if self.is_begun { "\r\n" } else { "" };
        self.is_begun = true;
        if n == 0 {
            self.is_over = true;
            let end = format!("{before}0\r\n\r\n");
            buffer[..end.len()].copy_from_slice(end.as_bytes());
            return Ok(end.len());
        }
        // Leading zeros where the end of a chunk is not said: the framing has one length.
        let digits = FRAMING - before.len() - 2;
        let line = format!("{before}{n:0digits$x}\r\n");
        buffer[..FRAMING].copy_from_slice(line.as_bytes());
        Ok(FRAMING + n)
    }
}

/// The date of answers, as a header, made once a second.
#[derive(Debug, Default)]
pub(crate) struct Date {
    /// The reactor's time when the clock was read last: it is, at most ten times a second.
    read_at: Duration,
    second: u64,
    line: Vec<u8>,
}

impl Date {
    /// `now`: the reactor's time.
    pub(crate) fn update(&mut self, now: Duration) {
        if now.abs_diff(self.read_at) < Duration::from_millis(100) && !self.line.is_empty() {
            return;
        }
        self.read_at = now;
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.line.is_empty() {
            self.second = second;
            self.line = line(second);
        }
    }
}

/// The header, for a second since 1970. A clock that is ahead of all years that can be written is
/// told as the last.
fn line(second: u64) -> Vec<u8> {
    const LAST: u64 = 253_402_300_799;
    let at = UNIX_EPOCH + Duration::from_secs(second.min(LAST));
    format!("date: {}\r\n", httpdate::fmt_http_date(at)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_as_digits() {
        for len in [0, 7, 10, 65_536, u64::MAX] {
            let mut head = Vec::new();
            push_length(&mut head, len);
            assert_eq!(head, format!("content-length: {len}\r\n").into_bytes());
        }
    }

    /// Promise 6: a machine whose clock is wrong answers all the same.
    #[test]
    fn a_clock_out_of_all_years_makes_some_date() {
        assert_eq!(line(0), b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        assert_eq!(line(u64::MAX), b"date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }

    /// Promise 2: what is read in whatever pieces, and chunked, is what is told by the chunks.
    #[test]
    fn a_reader_in_chunks_is_the_same_bytes() {
        for (len, room) in [(0, 100), (1, 13), (50, 13), (1000, 100), (70_000, 4096)] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            let mut chunked = Chunked::new(Box::new(io::Cursor::new(bytes.clone())));
            let (mut wire, mut buffer) = (Vec::new(), vec![0; room]);
            loop {
                match chunked.read(&mut buffer).unwrap() {
                    0 => break,
                    n => wire.extend_from_slice(&buffer[..n]),
                }
            }
            let mut chunks = crate::body::Chunks::default();
            assert_eq!(chunks.look(&wire, 1 << 20).unwrap(), Some(wire.len()));
            assert_eq!(crate::body::Chunks::join(&wire, chunks.len), bytes);
        }
    }
}
