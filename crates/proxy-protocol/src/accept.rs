//! The server's side: whose headers are taken, and what one has told.
//!
//! Read next: `parse.rs`, which reads them.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use proxy_header::{SslInfo, Tlv};
use wouldblock::{Address, Layer, Received};

use crate::Version;
use crate::network::Network;
use crate::parse::{self, Head};

/// The longest header that is taken, unless [said otherwise](Accept::header_max), in bytes.
/// HAProxy's have some hundred, with the certificate's name of a client in them.
const HEADER_MAX: usize = 4096;

/// Whose headers a listener takes, and which.
///
/// # Examples
///
/// ```no_run
/// use wouldblock::{Listen, Reactor, handler_fn};
/// use wouldblock_proxy_protocol::{Accept, Version};
///
/// # fn main() -> std::io::Result<()> {
/// let proxies = Accept::trusting(["10.0.0.0/8", "unix"])?.only(Version::V2);
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// reactor.listen(Listen::from("0.0.0.0:6666").layer(proxies.layer()))?;
/// reactor.listen(Listen::from("unix:/run/server.sock").layer(proxies.layer()))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Accept {
    trusted: Vec<Network>,
    serves_others: bool,
    only: Option<Version>,
    header_max: usize,
}

impl Accept {
    /// Peers in these networks must send a header, and it is believed: `10.0.0.0/8`, `fd00::/8`, an
    /// address alone, or `unix` for all peers on Unix sockets. All others are refused: reset, with
    /// a line of log.
    ///
    /// A network of IPv4 has the addresses that a listener on `[::]` sees as `::ffff:a.b.c.d`, too.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no network, which the error names; and for no network at all.
    pub fn trusting<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> io::Result<Accept> {
        let trusted: Vec<_> = networks
            .into_iter()
            .map(|network| Network::parse(network.as_ref()))
            .collect::<io::Result<_>>()?;
        if trusted.is_empty() {
            let what =
                "no network whose PROXY headers are to be taken: every peer would be refused";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Accept { trusted, serves_others: false, only: None, header_max: HEADER_MAX })
    }

    /// Serves peers outside the networks as clients that come without a proxy: their address is the
    /// socket's, and what they send is for the handler, also if it looks like a header.
    pub fn serve_others(self) -> Self {
        Accept { serves_others: true, ..self }
    }

    /// Takes headers of this version only. Without it, of both.
    pub fn only(self, version: Version) -> Self {
        Accept { only: Some(version), ..self }
    }

    /// The longest header that is taken, in bytes. Default 4096. A header of version 1 has at most
    /// 107 in any case, one of version 2 at least 16 and 65,551 at most;
    /// [`Config::handshake_max`](wouldblock::Config::handshake_max) holds too.
    pub fn header_max(self, bytes: usize) -> Self {
        Accept { header_max: bytes, ..self }
    }

    /// What [`Listen::layer`](wouldblock::Listen::layer) takes: it makes the layer of each
    /// connection, or refuses it.
    pub fn layer(&self) -> impl Fn(&Address) -> io::Result<Proxied> + Clone + Send + Sync + use<> {
        let accept = self.clone();
        move |peer| accept.accept(peer)
    }

    /// The layer of a connection that was accepted from this peer: in a function of your own for
    /// [`Listen::layer`](wouldblock::Listen::layer).
    ///
    /// # Errors
    ///
    /// `PermissionDenied`: the peer is in none of the networks, and [others](Self::serve_others)
    /// are not served.
    pub fn accept(&self, peer: &Address) -> io::Result<Proxied> {
        if self.trusted.iter().any(|network| network.contains(peer)) {
            let (only, header_max) = (self.only, self.header_max);
            return Ok(Proxied { wants: Some(Wants { only, header_max }), head: None });
        }
        if self.serves_others {
            return Ok(Proxied { wants: None, head: None });
        }
        let what = "no network whose PROXY headers are taken has this peer";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
    }
}

/// What a PROXY header has told of a connection: the [`Layer`] that [`Accept`] makes.
///
/// In `on_open` and in every later callback [`Conn::layer`](wouldblock::Conn::layer) lends it:
///
/// ```no_run
/// use std::io;
/// use wouldblock::Conn;
/// use wouldblock_proxy_protocol::Proxied;
///
/// fn greet(conn: &mut Conn<'_>) -> io::Result<()> {
///     let peer = conn.peer_addr()?; // the client's
///     if let Some(proxied) = conn.layer::<Proxied>() {
///         let name = proxied.authority().unwrap_or("no name");
///         println!("{peer} came to {:?}, asked for {name}", proxied.destination());
///     }
///     Ok(())
/// }
/// ```
pub struct Proxied {
    /// The header that is waited for; `None` once it is there, or if there is to be none.
    wants: Option<Wants>,
    head: Option<Box<Head>>,
}

struct Wants {
    only: Option<Version>,
    header_max: usize,
}

impl Proxied {
    fn told(&self) -> Option<&proxy_header::ProxyHeader<'static>> {
        self.head.as_ref()?.told.as_ref()
    }

    /// The version of the header. `None`: there was none, since the peer is not trusted and is served all
    /// the same.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        Some(self.head.as_ref()?.version)
    }

    /// Whether the proxy speaks for itself (LOCAL in version 2): mostly a health check. The connection's
    /// [`peer_addr`](wouldblock::Conn::peer_addr) is the proxy's then, and
    /// [`connections_per_address`](wouldblock::Config::connections_per_address) does not count it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.is_local)
    }

    /// The client, as the proxy sees it. `None`: the proxy speaks for itself, does not know
    /// (UNKNOWN in version 1), or the client has come by a Unix socket.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        Some(self.told()?.proxied_address()?.source)
    }

    /// Where the client has connected to: an address of the proxy. `None` as [`source`](Self::source).
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        Some(self.told()?.proxied_address()?.destination)
    }

    /// The name of the server that the client has asked for: the SNI of its TLS, if the proxy ends that.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.told()?.authority()
    }

    /// The protocol that the client and the proxy have agreed on in TLS (ALPN), such as `b"h2"`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.told()?.alpn()
    }

    /// What the proxy calls this connection in its log: any bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.told()?.unique_id()
    }

    /// The TLS between client and proxy. `None`: the proxy tells nothing of it, or there was none.
    #[must_use]
    pub fn tls(&self) -> Option<ProxiedTls<'_>> {
        self.told()?.ssl().filter(SslInfo::client_ssl).map(ProxiedTls)
    }

    /// A field of another type: 0xEA is what Amazon's load balancers tell of a VPC endpoint, 0xEE
    /// Azure's of a private link.
    #[must_use]
    pub fn custom(&self, kind: u8) -> Option<&[u8]> {
        self.told()?.tlvs().find_map(|tlv| match tlv {
            Ok(Tlv::Custom(is, std::borrow::Cow::Borrowed(value))) if is == kind => Some(value),
            _ => None,
        })
    }
}

impl Layer for Proxied {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        _wire: &mut Vec<u8>,
    ) -> io::Result<Received> {
        let Some(wants) = &self.wants else {
            plain.extend_from_slice(bytes);
            return Ok(Received::consumed(bytes.len()));
        };
        let Some((head, len)) = parse::header(bytes, wants.only, wants.header_max)? else {
            return Ok(Received::consumed(0));
        };
        self.wants = None;
        self.head = Some(Box::new(head));
        Ok(Received::consumed(len))
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.extend_from_slice(plain);
        Ok(())
    }

    fn end(&mut self, _wire: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        self.wants.is_none()
    }

    fn held(&self) -> usize {
        self.head.as_ref().map_or(0, |head| size_of::<Head>() + head.held)
    }

    fn has_end(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        self.is_ready()
    }

    fn peer(&self) -> Option<Address> {
        self.source().map(Address::from)
    }

    fn tells_peer(&self) -> bool {
        self.wants.is_some()
    }
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxied")
            .field("version", &self.version())
            .field("source", &self.source())
            .field("destination", &self.destination())
            .finish_non_exhaustive()
    }
}

/// The TLS between a client and its proxy, as the proxy tells of it: [`Proxied::tls`].
#[derive(Debug)]
pub struct ProxiedTls<'a>(SslInfo<'a>);

impl ProxiedTls<'_> {
    /// The version, such as `"TLSv1.3"`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.0.version()
    }

    /// The cipher by its name in OpenSSL, such as `"ECDHE-RSA-AES128-GCM-SHA256"`.
    #[must_use]
    pub fn cipher(&self) -> Option<&str> {
        self.0.cipher()
    }

    /// Whether the client has shown a certificate, in this connection or in the one whose session
    /// it resumed, and the proxy has verified it.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        (self.0.client_cert_conn() || self.0.client_cert_sess()) && self.0.verify() == 0
    }

    /// The common name in the client's certificate, also in one that is [not verified](Self::is_verified).
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.0.cn()
    }
}
