//! The client's side: which roots it trusts, and what it shows.
//!
//! Read next: `tls.rs`, the connection that comes of it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, Resumption, UnbufferedClientConnection, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::Version;
use crate::error::Error;
use crate::pem::Pem;
use crate::provider::{provider, sha256};

/// TLS for connects: which roots it trusts, and what it shows. Cheap to clone.
///
/// # Examples
///
/// ```no_run
/// use wouldblock::{Connect, Reactor, handler_fn};
/// use wouldblock_rustls::Client;
///
/// # fn main() -> std::io::Result<()> {
/// let tls = Client::builder().roots("ca.pem").build()?;
/// let mut reactor = Reactor::new(handler_fn(|_, _| Ok(())))?;
/// let connect = Connect::from("127.0.0.1:6666").layer(tls.connect("server.example")?);
/// reactor.connect(connect, 0)?;
/// reactor.run()
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

/// How a [`Client`] is configured: made by [`Client::builder`]. It needs to be told what to trust.
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    roots: Vec<Pem>,
    platform: bool,
    webpki: bool,
    pins: Vec<Result<[u8; 32], String>>,
    certificate: Option<(Pem, Pem)>,
    alpn: Vec<Vec<u8>>,
    least: Version,
    resumption: bool,
}

impl Client {
    /// To configure one: TLS 1.2 and 1.3, sessions resumed, no certificate of its own, no ALPN.
    /// Whom it trusts has no default.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            roots: Vec::new(),
            platform: false,
            webpki: false,
            pins: Vec::new(),
            certificate: None,
            alpn: Vec::new(),
            least: Version::Tls12,
            resumption: true,
        }
    }

    /// The client's side of one connection, to the server of that name: for
    /// [`Connect::layer`](wouldblock::Connect::layer) or [`Conn::upgrade`](wouldblock::Conn::upgrade).
    ///
    /// The server's certificate must be for that name, a DNS name or an IP address without a port; and a
    /// server that has several is told which is wanted.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is neither.
    pub fn connect(&self, server_name: &str) -> io::Result<crate::Tls> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            let what = "is no server name: expected a DNS name or an IP address, without a port";
            io::Error::new(io::ErrorKind::InvalidInput, format!("{server_name:?} {what}"))
        })?;
        let rustls = UnbufferedClientConnection::new(Arc::clone(&self.config), name);
        Ok(crate::Tls::client(rustls.map_err(Error::from)?, server_name.to_owned()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Trusts the roots in this file (PEM), beside others.
    pub fn roots(mut self, file: impl AsRef<Path>) -> Self {
        self.roots.push(Pem::file(file));
        self
    }

    /// The same with PEM text in memory.
    pub fn roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(Pem::Given(pem.into()));
        self
    }

    /// Trusts what the platform trusts, beside others: on Linux the files of `ca-certificates`.
    #[cfg(feature = "platform-roots")]
    pub fn platform_roots(mut self) -> Self {
        self.platform = true;
        self
    }

    /// Trusts Mozilla's roots as they were when the crate `webpki-roots` was published, beside others.
    #[cfg(feature = "webpki-roots")]
    pub fn webpki_roots(mut self) -> Self {
        self.webpki = true;
        self
    }

    /// Trusts the one certificate with this SHA-256 fingerprint, in hexadecimal, with or without
    /// colons; for servers that have signed theirs themselves. Neither its name nor its dates are
    /// looked at. Called again, it adds one more.
    ///
    /// It is what [`fingerprint`](crate::fingerprint) returns, and
    /// `openssl x509 -noout -fingerprint -sha256 -in cert.pem` prints. Not together with roots.
    pub fn pin(mut self, fingerprint: &str) -> Self {
        self.pins.push(parse_fingerprint(fingerprint).ok_or_else(|| fingerprint.to_owned()));
        self
    }

    /// The certificate that it shows to servers that want one: the file of its chain, and of its
    /// private key.
    pub fn certificate(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate = Some((Pem::file(chain), Pem::file(key)));
        self
    }

    /// The same with PEM text in memory.
    pub fn certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some((Pem::Given(chain.into()), Pem::Given(key.into())));
        self
    }

    /// The protocols that it speaks (ALPN), the best first. What the server chose
    /// [`Tls::alpn`](crate::Tls::alpn) tells; a server may ignore it and choose none.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// The oldest version that it speaks. Default [`Version::Tls12`].
    pub fn min_version(mut self, version: Version) -> Self {
        self.least = version;
        self
    }

    /// Whether it goes on with earlier sessions where the server lets it. Default true: the tickets of 256
    /// servers are kept, in memory.
    pub fn resumption(mut self, resumption: bool) -> Self {
        self.resumption = resumption;
        self
    }

    /// Reads the files and makes the client of it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if nothing is trusted, or if a fingerprint is none. Of files as
    /// [`ServerBuilder::build`](crate::ServerBuilder::build).
    pub fn build(self) -> io::Result<Client> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.least.and_newer())
            .map_err(Error::from)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let certified: CertifiedKey = crate::server::certified(chain, key)?;
                let shown: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(certified));
                builder.with_client_cert_resolver(shown)
            }
        };
        config.alpn_protocols = self.alpn;
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(Client { config: Arc::new(config) })
    }

    /// What looks at the server's certificate.
    fn verifier(&self, provider: Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
        let has_roots = self.platform || self.webpki || !self.roots.is_empty();
        match (has_roots, self.pins.is_empty()) {
            (false, true) => {
                Err(invalid("a TLS client must be told whom to trust: roots or a fingerprint"))
            }
            (true, false) => Err(invalid("roots and a fingerprint exclude each other")),
            (false, false) => {
                let pins: Result<Vec<_>, _> = self.pins.iter().cloned().collect();
                let pins = pins.map_err(|text| {
                    invalid(format!("{text:?} is no SHA-256 fingerprint: expected 64 hex digits"))
                })?;
                Ok(Arc::new(Pinned { pins, provider }))
            }
            (true, true) => self.by_roots(provider),
        }
    }

    fn by_roots(&self, provider: Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
        #[cfg(feature = "platform-roots")]
        if self.platform {
            let mut extra = Vec::new();
            for pem in &self.roots {
                extra.extend(pem.certificates()?);
            }
            #[cfg(feature = "webpki-roots")]
            if self.webpki {
                return Err(invalid("the platform's roots and Mozilla's exclude each other"));
            }
            let verifier =
                rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider);
            return Ok(Arc::new(verifier.map_err(Error::from)?));
        }
        let mut roots = RootCertStore::empty();
        #[cfg(feature = "webpki-roots")]
        if self.webpki {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for pem in &self.roots {
            pem.add_to(&mut roots)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
        Ok(verifier.map_err(io::Error::other)?)
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

/// 64 hexadecimal digits, with colons or without.
fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Trusts certificates by their fingerprints. That the server has the key is verified as always.
#[derive(Debug)]
struct Pinned {
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pins.contains(&sha256(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
