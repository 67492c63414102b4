//! The client's side of the handshake (RFC 6455, section 4.1).

use std::fmt::Write as _;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::deflate::{self, Agreed};
use crate::handshake;
use crate::http::{self, Head};
use crate::mask::Masks;

/// What a client asks a server for: what [`Protocol::Client`](crate::Protocol::Client) is made of.
///
/// The address to [connect](wouldblock::Context::connect) to is given there, and so is TLS
/// ([`Connect::layer`](wouldblock::Connect::layer)), of which a URL with `wss:` brings nothing by itself.
///
/// # Examples
///
/// ```
/// use wouldblock_websocket::Client;
///
/// let client = Client::new("wss://[2001:db8::1]:8443/")?;
/// assert_eq!((client.address(), client.server_name()), ("[2001:db8::1]:8443", "2001:db8::1"));
///
/// let client = Client::new("ws://example.com/chat?room=1")?.protocols(["chat.v2"]);
/// assert_eq!(client.address(), "example.com:80");
/// assert!(Client::new("http://example.com").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    /// As the header has it: with a port that is not the default one.
    host: String,
    address: String,
    target: String,
    headers: String,
    protocols: Vec<String>,
    is_secure: bool,
}

impl Client {
    /// Asks for this URL: `ws://HOST[:PORT][/PATH][?QUERY]`, or `wss:`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is none, or has a user, a fragment (`#`) or a byte that is to be encoded.
    pub fn new(url: &str) -> io::Result<Self> {
        let wrong =
            |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{url:?} {why}")));
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (is_secure, port) = match scheme {
            "ws" => (false, 80),
            "wss" => (true, 443),
            _ => return wrong("does not begin with ws:// or wss://"),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
            return wrong("has a character that a URL of a WebSocket may not have");
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(at);
        // Behind the bracket of an IPv6 address.
        let name = host.rsplit_once(']').map_or(host, |(_, port)| port);
        let given = name.split_once(':').map(|(_, port)| port);
        if host.is_empty() || host.starts_with(':') || host.contains('@') {
            return wrong("names no host");
        }
        if given.is_some_and(|port| port.parse::<u16>().is_err()) {
            return wrong("has a port that is none");
        }
        let host = host.strip_suffix(&format!(":{port}")).unwrap_or(host).to_owned();
        let is_default = given.is_none_or(|given| given.parse() == Ok(port));
        let address = if is_default { format!("{host}:{port}") } else { host.clone() };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (headers, protocols) = (String::new(), Vec::new());
        Ok(Client { host, address, target, headers, protocols, is_secure })
    }

    /// Adds a header to the request: `Origin`, `Authorization`, `Cookie`.
    ///
    /// # Panics
    ///
    /// If the name is no token, or the value has a line break.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        http::add_header(&mut self.headers, name, value.as_ref());
        self
    }

    /// The subprotocols that are offered, the best first. If the server chooses another one, the
    /// connect has failed; it may choose none.
    ///
    /// # Panics
    ///
    /// If one is no token.
    #[must_use]
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.protocols = http::tokens(protocols);
        self
    }

    /// Host and port: what to [resolve](wouldblock::Handle::resolve), or to connect to if it is a number.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The host without its port: the name that the server's certificate must have.
    #[must_use]
    pub fn server_name(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the URL asks for TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The request, and what its answer must be.
    ///
    /// `takeover`: whether compression is offered, and with contexts.
    pub(crate) fn ask(
        self,
        masks: &mut Masks,
        tag: u64,
        takeover: Option<bool>,
    ) -> (String, Asked) {
        let key = STANDARD.encode(masks.draw::<16>());
        let Client { host, target, headers, protocols, .. } = self;
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if !protocols.is_empty() {
            let offer = protocols.join(", ");
            write!(request, "Sec-WebSocket-Protocol: {offer}\r\n").expect("a string takes all");
        }
        if let Some(takeover) = takeover {
            let offer = deflate::offer(takeover);
            write!(request, "Sec-WebSocket-Extensions: {offer}\r\n").expect("a string takes all");
        }
        request.push_str(&headers);
        request.push_str("\r\n");
        let accept = handshake::accept(key.as_bytes());
        (request, Asked { accept, protocols, tag, takeover })
    }
}

/// What a server was asked, until it has answered.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What it must show.
    accept: String,
    protocols: Vec<String>,
    /// Of the connect.
    pub(crate) tag: u64,
    /// Whether compression was offered, and with contexts, for which a place was taken.
    pub(crate) takeover: Option<bool>,
}

impl Asked {
    /// Looks at the answer. Returns the subprotocol, and the compression, that were agreed on.
    ///
    /// # Errors
    ///
    /// If it is no answer to what was asked.
    pub(crate) fn check<'a>(
        &self,
        head: &Head<'a>,
    ) -> Result<(Option<&'a str>, Option<Agreed>), String> {
        if head.status() != 101 {
            return Err(format!("the server answered {} and not 101", head.status()));
        }
        if !head.lists("Upgrade", "websocket") || !head.lists("Connection", "Upgrade") {
            return Err("the server's answer upgrades to something else".into());
        }
        if head.only("Sec-WebSocket-Accept") != Some(self.accept.as_bytes()) {
            return Err("the server has not understood the key: it is none of WebSocket".into());
        }
        let agreed = deflate::confirm(head, self.takeover)?;
        let Some(protocol) = head.values("Sec-WebSocket-Protocol").next() else {
            return Ok((None, agreed));
        };
        let chosen = str::from_utf8(protocol).ok();
        let is_offered = |chosen: &&str| self.protocols.iter().any(|it| it == chosen);
        match chosen.filter(is_offered) {
            Some(chosen) => Ok((Some(chosen), agreed)),
            None => Err("the server chose a subprotocol that was not offered".into()),
        }
    }
}
