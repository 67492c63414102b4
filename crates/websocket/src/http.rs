//! As much HTTP/1.1 as a handshake needs, and a small page beside it: heads are parsed by httparse,
//! and checked in `handshake.rs`.

use std::fmt::Write as _;

use httparse::{EMPTY_HEADER, Header, Request, Response as Answer, Status};

/// The most headers that a head may have.
pub(crate) const HEADERS_MAX: usize = 64;

/// The head of an HTTP message: the request of a client, or a server's answer to ours.
#[derive(Debug)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a str,
    status: u16,
    pub(crate) minor: u8,
    headers: &'a [Header<'a>],
    /// The subprotocol that was agreed on.
    protocol: Option<&'a str>,
    /// The tag of a connect of ours.
    tag: Option<u64>,
}

impl<'a> Head<'a> {
    /// The method of a request, such as `GET`; empty in an answer.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// What a request asks for, without its query: `/chat`. Empty in an answer. As it came: nothing
    /// is decoded (`%20`) or resolved (`..`).
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What a request has behind the first question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The status of an answer, 101 where it is a WebSocket; 0 in a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the first header of this name, in whatever case. `None` as well if it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.values(name).next()?).ok()
    }

    /// All headers, as they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The subprotocol that both sides have agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&'a str> {
        self.protocol
    }

    /// The tag of the [connect](wouldblock::Context::connect), where the WebSocket is a client's.
    #[must_use]
    pub fn tag(&self) -> Option<u64> {
        self.tag
    }

    /// With what was agreed on.
    pub(crate) fn agreed<'b>(self, protocol: Option<&'b str>, tag: Option<u64>) -> Head<'b>
    where
        'a: 'b,
    {
        Head { protocol, tag, ..self }
    }

    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_it = move |header: &&Header<'a>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is_it).map(|header| header.value)
    }

    /// The one value of this header: neither none nor two.
    pub(crate) fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The elements of a list, which may be spread over several headers.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let elements = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
    }

    /// Whether a list has this element, in whatever case.
    pub(crate) fn lists(&self, name: &str, element: &str) -> bool {
        self.list(name).any(|it| it.eq_ignore_ascii_case(element.as_bytes()))
    }
}

/// Where a head ends: behind its empty line. The first `seen` bytes were looked at before, in vain.
pub(crate) fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.min(bytes.len()).saturating_sub(3);
    let ends = |at: usize| {
        let rest = &bytes[at + 1..];
        let line = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        (line > 0).then_some(at + 1 + line)
    };
    let lines = bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.map(|(at, _)| from + at).find_map(ends)
}

/// Parses the head of a request, which is whole, and lends it. The error is the status to answer with.
pub(crate) fn request<T>(bytes: &[u8], then: impl FnOnce(Head<'_>) -> T) -> Result<T, u16> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(httparse::Error::Version) => return Err(505),
        Ok(Status::Partial) | Err(_) => return Err(400),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(400);
    };
    let headers = parsed.headers;
    Ok(then(Head { method, target, status: 0, minor, headers, protocol: None, tag: None }))
}

/// Parses the head of an answer, which is whole, and lends it.
pub(crate) fn answer<T>(bytes: &[u8], then: impl FnOnce(Head<'_>) -> T) -> Option<T> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = Answer::new(&mut headers);
    let Ok(Status::Complete(_)) = parsed.parse(bytes) else { return None };
    let (status, minor) = (parsed.code?, parsed.version?);
    let headers = parsed.headers;
    Some(then(Head { method: "", target: "", status, minor, headers, protocol: None, tag: None }))
}

/// An answer to a request that does not become a WebSocket: a page, or a refusal. The connection is closed
/// behind it.
///
/// # Examples
///
/// ```
/// use wouldblock_websocket::{Head, Response};
///
/// fn on_request(head: &Head<'_>) -> Response {
///     match head.path() {
///         "/" => Response::new(200).body("text/html; charset=utf-8", "<h1>hello</h1>"),
///         "/old" => Response::new(308).header("Location", "/"),
///         _ => Response::new(404),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Response {
    /// An answer with this status; of an error, with a line of text that says so.
    ///
    /// # Panics
    ///
    /// If the status is none of 200 to 599.
    #[must_use]
    pub fn new(status: u16) -> Self {
        assert!((200..600).contains(&status), "{status} is no status to answer with");
        let response = Response { status, headers: String::new(), body: Vec::new() };
        if status < 400 {
            return response;
        }
        response.body("text/plain; charset=utf-8", format!("{status} {}\n", phrase(status)))
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If the name is no token, or the value has a line break: what comes from a peer belongs into neither.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        add_header(&mut self.headers, name, value.as_ref());
        self
    }

    /// The body, in the place of any before, and its type. Its length is told by itself.
    ///
    /// # Panics
    ///
    /// If the type has a line break.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let kept = self.headers.split_inclusive("\r\n");
        self.headers = kept.filter(|line| !line.starts_with("Content-Type:")).collect();
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The bytes of it; without its body in answer to HEAD.
    pub(crate) fn write(&self, is_head: bool) -> Vec<u8> {
        let Response { status, headers, body } = self;
        let connection = if *status == 426 { "Upgrade, close" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nConnection: {connection}\r\nContent-Length: {}\r\n{headers}\r\n",
            phrase(*status),
            body.len(),
        );
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// Adds a line to headers.
pub(crate) fn add_header(headers: &mut String, name: &str, value: &str) {
    assert!(is_token(name), "{name:?} is no name of a header");
    let is_clean = !value.chars().any(|c| c.is_control() && c != '\t');
    assert!(is_clean, "the header {name} would have a line break: {value:?}");
    write!(headers, "{name}: {value}\r\n").expect("a string takes all");
}

/// A token of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let is_in = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_in)
}

/// The names of subprotocols.
///
/// # Panics
///
/// If one is no token.
pub(crate) fn tokens<P: Into<String>>(names: impl IntoIterator<Item = P>) -> Vec<String> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    let wrong = names.iter().find(|name| !is_token(name));
    assert!(wrong.is_none(), "{wrong:?} is no name of a subprotocol");
    names
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // The phrase may be empty, and clients are to ignore it (RFC 9112, section 4).
        _ => "",
    }
}
