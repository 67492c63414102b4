//! The server's side of the handshake (RFC 6455, section 4.2): what a request must have, and what
//! it is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

use crate::http::{self, Head, Response};

/// What the key is hashed with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// From where a browser may connect.
///
/// A browser lets any page connect to any server, with the cookies of the user, and says in the
/// header `Origin` which page it is. Where cookies, or a place in the network, tell a server whom
/// it serves, it must look at that header. What is no browser may send whatever it likes there, or
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// Pages of this server: the origin's host and port are those of the header `Host`. Requests without an
    /// origin are accepted, since no browser sends such.
    #[default]
    Same,
    /// Pages of these origins, such as `https://example.com`; and requests without one.
    Of(Vec<String>),
    /// Any.
    Any,
}

impl Origins {
    fn accept(&self, head: &Head<'_>) -> bool {
        let mut origins = head.values("Origin");
        let Some(origin) = origins.next() else { return true };
        if origins.next().is_some() {
            return *self == Origins::Any;
        }
        match self {
            Origins::Any => true,
            Origins::Of(list) => list.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin)),
            Origins::Same => {
                let at = origin.windows(3).position(|it| it == b"://");
                let host = at.map(|at| &origin[at + 3..]);
                host.is_some_and(|host| {
                    head.only("Host").is_some_and(|it| it.eq_ignore_ascii_case(host))
                })
            }
        }
    }
}

/// The answer to a request that becomes a WebSocket, before it is sent: lent to
/// [`on_upgrade`](crate::Endpoint::on_upgrade).
#[derive(Debug, Default)]
pub struct Upgrade {
    pub(crate) protocol: Option<String>,
    /// The extension that was agreed on, and its parameters.
    pub(crate) extension: Option<String>,
    headers: String,
}

impl Upgrade {
    /// Chooses a subprotocol, in the place of the one chosen by
    /// [`WebSocket::protocols`](crate::WebSocket::protocols). It should be one that the client has offered:
    /// else the client ends the connection.
    ///
    /// # Panics
    ///
    /// If it is no token.
    pub fn protocol(&mut self, protocol: impl Into<String>) {
        let protocol = protocol.into();
        assert!(http::is_token(&protocol), "{protocol:?} is no name of a subprotocol");
        self.protocol = Some(protocol);
    }

    /// Adds a header to the answer, such as `Set-Cookie`.
    ///
    /// # Panics
    ///
    /// If the name is no token, or the value has a line break.
    pub fn header(&mut self, name: &str, value: impl AsRef<str>) {
        http::add_header(&mut self.headers, name, value.as_ref());
    }

    /// The bytes of the answer.
    pub(crate) fn write(&self, head: &Head<'_>) -> String {
        let key = head.only("Sec-WebSocket-Key").unwrap_or_default();
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept(key)
        );
        if let Some(protocol) = &self.protocol {
            http::add_header(&mut answer, "Sec-WebSocket-Protocol", protocol);
        }
        if let Some(extension) = &self.extension {
            http::add_header(&mut answer, "Sec-WebSocket-Extensions", extension);
        }
        answer.push_str(&self.headers);
        answer.push_str("\r\n");
        answer
    }
}

/// What a server shows that it has understood a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut sha = Sha1::from(key);
    sha.update(GUID);
    STANDARD.encode(sha.digest().bytes())
}

/// Whether a request wants to become a WebSocket at all.
pub(crate) fn is_upgrade(head: &Head<'_>) -> bool {
    head.lists("Upgrade", "websocket") || head.values("Sec-WebSocket-Key").next().is_some()
}

/// Looks at all that a request to become a WebSocket must have.
///
/// # Errors
///
/// The answer to one that may not.
pub(crate) fn check(
    head: &Head<'_>,
    origins: &Origins,
    protocols: &[String],
) -> Result<Upgrade, Response> {
    let refuse = |status, why: &str| {
        Err(Response::new(status).body("text/plain; charset=utf-8", format!("{why}\n")))
    };
    if head.method() != "GET" {
        return refuse(405, "a WebSocket begins with GET").map_err(|it| it.header("Allow", "GET"));
    }
    if head.minor < 1 {
        return refuse(400, "a WebSocket begins with HTTP/1.1");
    }
    // A body would be taken for frames.
    if head.values("Content-Length").any(|it| it != b"0")
        || head.values("Transfer-Encoding").next().is_some()
    {
        return refuse(400, "a request for a WebSocket has no body");
    }
    if head.only("Host").is_none() {
        return refuse(400, "one header Host is missing");
    }
    if !head.lists("Upgrade", "websocket") {
        return refuse(400, "the header Upgrade: websocket is missing");
    }
    if !head.lists("Connection", "Upgrade") {
        return refuse(400, "the header Connection: Upgrade is missing");
    }
    if head.only("Sec-WebSocket-Version") != Some(b"13") {
        return refuse(426, "this server speaks version 13 of WebSocket")
            .map_err(|it| it.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13"));
    }
    let key = head.only("Sec-WebSocket-Key").and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return refuse(400, "one header Sec-WebSocket-Key, 16 bytes in base64, is missing");
    }
    if !origins.accept(head) {
        return refuse(403, "pages of this origin may not connect");
    }
    // Ours, the best first, that the client has offered, too.
    let is_offered =
        |it: &&String| head.list("Sec-WebSocket-Protocol").any(|offered| offered == it.as_bytes());
    let protocol = protocols.iter().find(is_offered).cloned();
    Ok(Upgrade { protocol, ..Upgrade::default() })
}
