//! Static files: an answer to a request out of a directory.
//!
//! Which file a path names, how it is opened so that nothing outside the root is, and the answer
//! that follows. What is decided by the request's headers alone is below, without a file:
//! `files/conditional.rs` and `files/range.rs`. Read next: those, and `files/open.rs`.

mod conditional;
mod listing;
mod mime;
mod open;
mod range;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    LOCATION, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use rustix::io::Errno;

use crate::answers::{Cx, Responder};
use crate::requests::{Request, Requests};
use crate::response::Response;
use conditional::{Validators, Verdict};
use range::Ranges;

/// A file up to this size is read at once, in place of a source that is read piece by piece.
const SMALL: u64 = 32 << 10;

/// Whether symbolic links in the root are followed. What a link leads to is asked of the kernel at
/// each open, so that one that is swapped meanwhile makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// None is: a path that has one is not found.
    Refuse,
    /// Those that stay inside the root, by relative paths. By openat2(2); where the system has none
    /// (before Linux 5.6, and elsewhere than Linux) as [`Refuse`](Self::Refuse).
    #[default]
    Inside,
    /// All: what a link names is served, wherever it lies. Only where nobody else can make links in
    /// the root.
    Follow,
}

/// The files of a directory, as answers to requests.
///
/// By itself these are the [`Requests`] of a file server; in other `Requests`,
/// [`respond`](Self::respond) makes the answer to one of them.
///
/// * `GET` and `HEAD`; another method is 405.
/// * Ranges, one or several ([RFC 9110, section
///   14](https://www.rfc-editor.org/rfc/rfc9110#section-14)), with `If-Range`; conditions in the
///   order of its section 13.2.2. More than 16 ranges, or more bytes in all of them than the file
///   has, are answered with the whole file.
/// * `ETag` is made of size, time of change in nanoseconds, and inode. It is strong, but for a file
///   changed within the last two seconds: it may change again within the grain of the clock. A file
///   that comes and goes with the same three is not told apart.
/// * A path is decoded once. Empty segments, `.`, `..`, encoded slashes and NUL are not found. Nor
///   are names that begin with a dot, save `.well-known`, unless [`hidden`](Self::hidden) says
///   otherwise.
/// * A directory without a slash is redirected to the one with it, whose `index.html` is served.
/// * Only regular files are served: a FIFO or a device is not found, and does not hold up the loop.
/// * A file up to 32 KiB is read at once; a larger one is read a piece at a time as the client
///   takes it. If it shrinks meanwhile, the client sees a reset. Not guaranteed: that a file that
///   is written to meanwhile is sent as it was at one moment. Replace files by rename(2).
///
/// Reading waits for the disk: see [`Conn::send_from`](wouldblock::Conn::send_from). Each answer
/// that is being sent has its file open, so a server needs up to two descriptors for each of its
/// [`connections`](wouldblock::Config::connections). Where there is none left, the answer is 503.
/// In a program that gives other answers later, larger files asked for behind one of those wait
/// open: up to 63 for a connection.
///
/// # Examples
///
/// ```no_run
/// use wouldblock::{Config, Reactor};
/// use wouldblock_http::{Files, Http};
///
/// # fn main() -> std::io::Result<()> {
/// let files = Files::new("public")?.precompressed(true);
/// let mut reactor = Reactor::with_config(Http::new(files), Config::public())?;
/// reactor.listen("127.0.0.1:8080")?;
/// reactor.run()
/// # }
/// ```
///
/// Beside pages of one's own:
///
/// ```
/// use wouldblock_http::http::{HeaderValue, header};
/// use wouldblock_http::{Cx, Files, Request, Requests, Responder, Response};
///
/// struct Site {
///     files: Files,
/// }
///
/// impl Requests for Site {
///     fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
///         let day = HeaderValue::from_static("max-age=86400");
///         let response = match request.path().strip_prefix("/static") {
///             Some(path) => self.files.respond_at(request, path).header(header::CACHE_CONTROL, day),
///             None => Response::text("the front page\n"),
///         };
///         responder.send(cx, response);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
    links: Links,
    listing: bool,
    hidden: bool,
    precompressed: bool,
    /// Extensions in lower case, and the types that stand for them in place of ours.
    types: Vec<(String, HeaderValue)>,
}

/// A regular file that is open.
struct Found {
    file: File,
    len: u64,
    validators: Validators,
    modified: Option<SystemTime>,
}

impl Files {
    /// The files below `root`. The directory is opened now: if another takes its name later, this
    /// one is served on.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotADirectory` or `PermissionDenied`, as open(2).
    pub fn new(root: impl AsRef<Path>) -> io::Result<Files> {
        let root = open::root(root.as_ref())?;
        let links = Links::default();
        Ok(Files {
            root,
            links,
            listing: false,
            hidden: false,
            precompressed: false,
            types: vec![],
        })
    }

    /// What becomes of symbolic links. Default: [`Links::Inside`].
    #[must_use]
    pub fn links(mut self, links: Links) -> Files {
        self.links = links;
        self
    }

    /// Whether a directory without an `index.html` is answered with the list of what can be asked
    /// for in it, at most 10,000 names; otherwise it is not found. Default: no.
    #[must_use]
    pub fn listing(mut self, listing: bool) -> Files {
        self.listing = listing;
        self
    }

    /// Whether names that begin with a dot are served and listed: `.git` and `.env` have brought
    /// down many. Default: no; `.well-known` always is.
    #[must_use]
    pub fn hidden(mut self, hidden: bool) -> Files {
        self.hidden = hidden;
        self
    }

    /// Whether `page.html.br` or `page.html.gz`, if it is there and not older than `page.html`, is
    /// sent in its place to a client that accepts that. `page.html` itself must be there. Default:
    /// no, since each request then looks for two more files.
    #[must_use]
    pub fn precompressed(mut self, precompressed: bool) -> Files {
        self.precompressed = precompressed;
        self
    }

    /// Sets the `Content-Type` of files with this extension, which is told without its dot; before
    /// the type that this crate knows. An extension without a type is `application/octet-stream`.
    #[must_use]
    pub fn content_type(mut self, extension: &str, content_type: HeaderValue) -> Files {
        self.types.insert(0, (extension.to_ascii_lowercase(), content_type));
        self
    }

    /// The answer to a request.
    pub fn respond(&self, request: &Request<'_>) -> Response {
        self.respond_at(request, request.path())
    }

    /// The answer to a request, as if this had been its [path](Request::path): the end of it, where
    /// the root is not at `/`. As it came, not decoded.
    pub fn respond_at(&self, request: &Request<'_>, path: &str) -> Response {
        self.look(request, path).unwrap_or_else(|status| {
            let why = status.canonical_reason().unwrap_or("not served");
            let response = Response::text(format!("{why}\n")).with(status);
            match status {
                StatusCode::METHOD_NOT_ALLOWED => {
                    response.header(ALLOW, HeaderValue::from_static("GET, HEAD"))
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    response.header(RETRY_AFTER, HeaderValue::from_static("1"))
                }
                _ => response,
            }
        })
    }

    fn look(&self, request: &Request<'_>, path: &str) -> Result<Response, StatusCode> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let mut name = decode(path, self.hidden)?;
        let is_directory = name.is_empty() || name.ends_with(b"/");
        if is_directory {
            name.extend_from_slice(b"index.html");
        }
        let file = match self.open(&name) {
            Err(StatusCode::NOT_FOUND) if is_directory && self.listing => {
                name.truncate(name.len() - "index.html".len());
                return self.list(&name, path);
            }
            opened => opened?,
        };
        let metadata = file.metadata().map_err(|error| failed(&name, &error))?;
        if metadata.is_dir() && !is_directory {
            return to_directory(request, path);
        }
        let found = Found::new(file, &metadata)?;
        let content_type = self.type_of(&name);
        let (found, encoding) =
            if self.precompressed { self.encoded(request, &name, found) } else { (found, None) };
        let mut response = found.answer(request, &content_type);
        if let Some(encoding) = encoding
            && [StatusCode::OK, StatusCode::PARTIAL_CONTENT].contains(&response.status())
        {
            response = response.header(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if self.precompressed {
            response = response.header(VARY, HeaderValue::from_static("accept-encoding"));
        }
        Ok(response)
    }

    fn open(&self, name: &[u8]) -> Result<File, StatusCode> {
        let opened = open::beneath(&self.root, Path::new(OsStr::from_bytes(name)), self.links);
        opened.map(File::from).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG
            // A socket, or a device without a driver.
            | Errno::NXIO | Errno::NODEV => StatusCode::NOT_FOUND,
            Errno::ACCESS | Errno::PERM => StatusCode::FORBIDDEN,
            other => failed(name, &other.into()),
        })
    }

    fn type_of(&self, name: &[u8]) -> HeaderValue {
        let extension = Path::new(OsStr::from_bytes(name)).extension().unwrap_or_default();
        let extension = extension.to_string_lossy().to_ascii_lowercase();
        let own = self.types.iter().find(|(it, _)| *it == extension);
        let known = || HeaderValue::from_static(mime::of(&extension));
        own.map_or_else(known, |(_, content_type)| content_type.clone())
    }

    /// The file that is sent in place of one, and its encoding.
    fn encoded(
        &self,
        request: &Request<'_>,
        name: &[u8],
        plain: Found,
    ) -> (Found, Option<&'static str>) {
        for (encoding, extension) in conditional::encodings(request) {
            let Some(extension) = extension else { break };
            let name = [name, extension].concat();
            let Ok(file) = self.open(&name) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let Ok(found) = Found::new(file, &metadata) else { continue };
            if found.modified >= plain.modified {
                return (found, Some(encoding));
            }
            log::debug!("{}: older than what it is made of", name.escape_ascii());
        }
        (plain, None)
    }

    fn list(&self, name: &[u8], path: &str) -> Result<Response, StatusCode> {
        let name = if name.is_empty() { b"." } else { name };
        let directory = self.open(name)?;
        listing::page(directory, path, self.hidden).map_err(|error| failed(name, &error))
    }
}

impl Requests for Files {
    fn on_request(&mut self, cx: &mut Cx<'_>, request: &Request<'_>, responder: Responder) {
        let response = self.respond(request);
        responder.send(cx, response);
    }
}

impl Found {
    /// What is not a regular file is not found.
    fn new(file: File, metadata: &std::fs::Metadata) -> Result<Found, StatusCode> {
        if !metadata.is_file() {
            return Err(StatusCode::NOT_FOUND);
        }
        let (validators, modified) = (Validators::of(metadata), metadata.modified().ok());
        Ok(Found { file, len: metadata.len(), validators, modified })
    }

    fn answer(self, request: &Request<'_>, content_type: &HeaderValue) -> Response {
        let Found { file, len, validators, .. } = self;
        let verdict = conditional::judge(request, &validators);
        let mut response = Response::new(StatusCode::OK);
        if let Some(modified) = &validators.last_modified {
            response = response.header(LAST_MODIFIED, modified.value.clone());
        }
        response = response.header(ETAG, validators.etag);
        let ranges = match verdict {
            Verdict::NotModified => return response.with(StatusCode::NOT_MODIFIED),
            Verdict::Failed => {
                return Response::text("the file is another one\n")
                    .with(StatusCode::PRECONDITION_FAILED);
            }
            Verdict::Whole => Ranges::Whole,
            Verdict::Ranges(asked) => range::parse(asked, len),
        };
        response = response
            .header(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let content_range =
            |of: String| HeaderValue::try_from(of).expect("digits and a slash make a value");
        match ranges {
            Ranges::Whole => {
                let response = response.header(CONTENT_TYPE, content_type.clone());
                if len <= SMALL && request.method() != Method::HEAD {
                    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
                    if file.read_exact_at(&mut bytes, 0).is_ok() {
                        return response.body(bytes);
                    }
                }
                response.body_from(len, range::Pieces::one(file, 0..len))
            }
            Ranges::One(range) => {
                let told = format!("bytes {}-{}/{len}", range.start, range.end - 1);
                response
                    .with(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_TYPE, content_type.clone())
                    .header(CONTENT_RANGE, content_range(told))
                    .body_from(range.end - range.start, range::Pieces::one(file, range))
            }
            Ranges::Several(ranges) => {
                let (multipart, len, pieces) =
                    range::Pieces::several(file, ranges, len, content_type);
                response
                    .with(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_TYPE, multipart)
                    .body_from(len, pieces)
            }
            Ranges::None => Response::text("the file has no such bytes\n")
                .with(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(CONTENT_RANGE, content_range(format!("bytes */{len}"))),
        }
    }
}

/// What it is to the client that the disk, or the process, is in the way.
fn failed(name: &[u8], error: &io::Error) -> StatusCode {
    log::warn!("{}: {error}", name.escape_ascii());
    match Errno::from_io_error(error) {
        // What passes.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Sends the client to the directory: by a relative reference, which is right behind any proxy, and
/// names no other host.
fn to_directory(request: &Request<'_>, path: &str) -> Result<Response, StatusCode> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("./{name}/{query}"));
    let location = location.map_err(|_| StatusCode::NOT_FOUND)?;
    Ok(Response::text("it is a directory\n")
        .with(StatusCode::MOVED_PERMANENTLY)
        .header(LOCATION, location))
}

/// The relative path that a path of a request names: its segments decoded, each a name. Empty, or
/// with a slash at its end: a directory.
fn decode(path: &str, hidden: bool) -> Result<Vec<u8>, StatusCode> {
    let rest = path.strip_prefix('/').ok_or(StatusCode::NOT_FOUND)?;
    let mut name = Vec::with_capacity(rest.len() + "index.html".len());
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let from = name.len();
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                name.push(byte);
                continue;
            }
            let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else {
                return Err(StatusCode::BAD_REQUEST);
            };
            name.push(u8::try_from(high * 16 + low).expect("two digits make a byte"));
        }
        let is_last = segments.peek().is_none();
        let segment = &name[from..];
        let is_name = !segment.is_empty()
            && segment != b"."
            && segment != b".."
            && !segment.iter().any(|byte| [b'/', 0].contains(byte));
        let is_shown = hidden || !segment.starts_with(b".") || segment == b".well-known";
        if !(is_name && is_shown || segment.is_empty() && is_last) {
            return Err(StatusCode::NOT_FOUND);
        }
        if !is_last {
            name.push(b'/');
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No path names anything but what lies below the root, however it is written.
    #[test]
    fn a_path_names_what_is_below_the_root_or_nothing() {
        for (path, name) in [
            ("/", ""),
            ("/a", "a"),
            ("/a/b.txt", "a/b.txt"),
            ("/a/", "a/"),
            ("/a%20b/%c3%bc", "a b/\u{fc}"),
            ("/...", ""),
            ("/.well-known/x", ".well-known/x"),
            ("/%252e%252e/x", "%2e%2e/x"),
            ("/a\\b", "a\\b"),
        ] {
            let expected = if path == "/..." { None } else { Some(name.as_bytes().to_vec()) };
            assert_eq!(decode(path, false).ok(), expected, "{path}");
        }
        assert_eq!(decode("/...", true).unwrap(), b"...");
        for path in [
            "",
            "*",
            "a",
            "//",
            "//etc/passwd",
            "/a//b",
            "/.",
            "/..",
            "/../x",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/.%2E/x",
            "/%2e/",
            "/a%2fb",
            "/%2F",
            "/a%00",
            "/%00",
            "/.git/config",
            "/a/.env",
            "/%2egit",
        ] {
            assert_eq!(decode(path, false), Err(StatusCode::NOT_FOUND), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/a%2", "/%%32e"] {
            assert_eq!(decode(path, false), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        assert_eq!(decode("/..", true), Err(StatusCode::NOT_FOUND));
    }
}
