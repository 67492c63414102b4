//! The server's side: which certificates it shows, and what it asks of clients.
//!
//! What is configured is kept as it was told, so that it can be read anew: [`Server::reload`]. Read next:
//! `tls.rs`, the connection that comes of it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use wouldblock::Address;

use crate::Version;
use crate::error::Error;
use crate::pem::Pem;
use crate::provider::{provider, ticketer};

/// TLS for a listener: its certificates, and what it asks of clients.
///
/// Cheap to clone; all clones are one, and [`reload`](Self::reload) by any of them holds for all.
///
/// # Examples
///
/// ```no_run
/// use wouldblock::{Listen, Reactor, handler_fn};
/// use wouldblock_rustls::Server;
///
/// # fn main() -> std::io::Result<()> {
/// let tls = Server::from_pem("chain.pem", "key.pem")?;
/// let mut reactor = Reactor::new(handler_fn(|conn, input| {
///     conn.send(input.take_all());
///     Ok(())
/// }))?;
/// reactor.listen(Listen::from("127.0.0.1:6666").layer(tls.layer()))?;
/// reactor.run()
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    recipe: ServerBuilder,
    /// What the next connection gets. A lock that is taken for each accepted connection, for as long as it
    /// takes to count a reference.
    now: RwLock<Arc<Ready>>,
}

/// A recipe carried out.
struct Ready {
    config: ServerConfig,
    certificates: Arc<Certificates>,
}

/// How a [`Server`] is configured: made by [`Server::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerBuilder {
    certificates: Vec<(Pem, Pem)>,
    clients: Clients,
    alpn: Vec<Vec<u8>>,
    least: Version,
    resumption: bool,
}

#[derive(Clone, Debug)]
enum Clients {
    Anybody,
    Asked { roots: Vec<Pem>, must: bool },
}

impl Server {
    /// A server with one certificate: the file of its chain, its own first, and the file of its
    /// private key, both PEM. All else by [`Server::builder`].
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::build`].
    pub fn from_pem(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> io::Result<Server> {
        Server::builder().certificate(chain, key).build()
    }

    /// To configure one: TLS 1.2 and 1.3, sessions resumed, clients without certificates, no ALPN.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            certificates: Vec::new(),
            clients: Clients::Anybody,
            alpn: Vec::new(),
            least: Version::Tls12,
            resumption: true,
        }
    }

    /// What [`Listen::layer`](wouldblock::Listen::layer) takes: it makes the layer of each connection.
    pub fn layer(
        &self,
    ) -> impl Fn(&Address) -> io::Result<crate::Tls> + Clone + Send + Sync + use<> {
        let server = self.clone();
        move |_peer| server.accept()
    }

    /// The server's side of one connection: for [`Conn::upgrade`](wouldblock::Conn::upgrade) (STARTTLS), or
    /// in a function of your own for [`Listen::layer`](wouldblock::Listen::layer).
    ///
    /// # Errors
    ///
    /// Only if the configuration is one that rustls does not take, which [`ServerBuilder::build`]
    /// has tried.
    pub fn accept(&self) -> io::Result<crate::Tls> {
        let ready = self.shared.now.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (config, chosen) = ready.for_one();
        let rustls = UnbufferedServerConnection::new(Arc::new(config)).map_err(Error::from)?;
        Ok(crate::Tls::server(rustls, chosen))
    }

    /// Reads all files anew: certificates, keys and the roots for clients. Connections that are
    /// accepted from now on get the new ones, those that are there keep theirs. Sessions of before
    /// are not resumed.
    ///
    /// May be called on any thread, and blocks on the file system.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::build`]; then everything stays as it was.
    pub fn reload(&self) -> io::Result<()> {
        let ready = Arc::new(self.shared.recipe.prepare()?);
        *self.shared.now.write().unwrap_or_else(PoisonError::into_inner) = ready;
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shared.recipe).finish()
    }
}

impl ServerBuilder {
    /// Adds a certificate: the file of its chain, its own first, then those between it and the
    /// root; and the file of its private key (PKCS #8, PKCS #1 or SEC1). Both PEM.
    ///
    /// With several the client's word decides (SNI): the one whose names have that of the server, a
    /// wildcard included, and of those the first whose kind of key (RSA, ECDSA) the client accepts.
    /// If none has it, or the client named no server, it is the first that was added.
    pub fn certificate(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificates.push((Pem::file(chain), Pem::file(key)));
        self
    }

    /// The same with PEM text in memory.
    pub fn certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.push((Pem::Given(chain.into()), Pem::Given(key.into())));
        self
    }

    /// Clients must show a certificate that one of the roots in this file (PEM) has signed, directly or by
    /// way of others. Called again, it adds roots.
    pub fn client_roots(self, roots: impl AsRef<Path>) -> Self {
        self.add_client_roots(Pem::file(roots))
    }

    /// The same with PEM text in memory.
    pub fn client_roots_pem(self, roots: impl Into<Vec<u8>>) -> Self {
        self.add_client_roots(Pem::Given(roots.into()))
    }

    fn add_client_roots(mut self, pem: Pem) -> Self {
        match &mut self.clients {
            Clients::Asked { roots, .. } => roots.push(pem),
            Clients::Anybody => self.clients = Clients::Asked { roots: vec![pem], must: true },
        }
        self
    }

    /// Clients may do without a certificate; one that they show must be good. To be called after
    /// [`client_roots`](Self::client_roots).
    /// [`Tls::peer_certificates`](crate::Tls::peer_certificates) tells whether it has shown one.
    pub fn client_certificate_optional(mut self) -> Self {
        if let Clients::Asked { must, .. } = &mut self.clients {
            *must = false;
        }
        self
    }

    /// The protocols that it speaks (ALPN), the best first, such as `["h2", "http/1.1"]`. A client
    /// that offers some, and none of these, is refused; one that offers none is not.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// The oldest version that it speaks. Default [`Version::Tls12`].
    pub fn min_version(mut self, version: Version) -> Self {
        self.least = version;
        self
    }

    /// Whether a client that was here before may go on with its session, without a signature and
    /// without certificates: half the CPU time and, in TLS 1.2, a round trip less. Default true.
    /// The state lies with the client, in a ticket that is encrypted under a key which is changed
    /// every six hours.
    pub fn resumption(mut self, resumption: bool) -> Self {
        self.resumption = resumption;
        self
    }

    /// Reads the files and makes the server of it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, with the kind of that error. `InvalidData` if it does not hold what it
    /// should, or if a key does not belong to its certificate: the error names the file. `InvalidInput` if
    /// there is no certificate.
    pub fn build(self) -> io::Result<Server> {
        let now = RwLock::new(Arc::new(self.prepare()?));
        let server = Server { shared: Arc::new(Shared { recipe: self, now }) };
        server.accept()?;
        Ok(server)
    }

    fn prepare(&self) -> io::Result<Ready> {
        let provider = provider();
        let certificates = Arc::new(Certificates::read(&self.certificates)?);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.least.and_newer())
            .map_err(Error::from)?;
        let builder = match &self.clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Asked { roots: files, must } => {
                let mut roots = RootCertStore::empty();
                for pem in files {
                    pem.add_to(&mut roots)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier =
                    if *must { verifier } else { verifier.allow_unauthenticated() }.build();
                builder.with_client_cert_verifier(verifier.map_err(io::Error::other)?)
            }
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(Chosen::of(Arc::clone(&certificates))));
        config.alpn_protocols.clone_from(&self.alpn);
        if self.resumption {
            config.ticketer = ticketer().map_err(Error::from)?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Ready { config, certificates })
    }
}

impl Ready {
    /// The configuration of one connection, which is the common one with a place where the name that the
    /// client asks for is kept.
    fn for_one(&self) -> (ServerConfig, Arc<Chosen>) {
        let chosen = Arc::new(Chosen::of(Arc::clone(&self.certificates)));
        let mut config = self.config.clone();
        config.cert_resolver = Arc::<Chosen>::clone(&chosen);
        (config, chosen)
    }
}

/// The certificates of a server, by the names that are in them.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// In lower case; a wildcard as it stands, `*.example.com`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Those of the first files: for all other names.
    fallback: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn read(files: &[(Pem, Pem)]) -> io::Result<Self> {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        let mut fallback = Vec::new();
        for (chain, key) in files {
            let certified = Arc::new(certified(chain, key)?);
            for name in names(chain, &certified.cert[0])? {
                by_name.entry(name).or_default().push(Arc::clone(&certified));
            }
            fallback.push(certified);
        }
        if fallback.is_empty() {
            let what = "a TLS server needs a certificate: ServerBuilder::certificate";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Self { by_name, fallback })
    }

    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let accepted = |certified: &&Arc<CertifiedKey>| {
            certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = hello.server_name().and_then(|name| {
            let exact = self.by_name.get(name);
            exact.or_else(|| self.by_name.get(&format!("*.{}", name.split_once('.')?.1)))
        });
        // The client says best itself what it does not accept: the first, if there is no other.
        let named = named.into_iter().flatten();
        named.chain(&self.fallback).find(accepted).or(self.fallback.first()).cloned()
    }
}

/// A certificate and its key, which belong together.
pub(crate) fn certified(chain: &Pem, key: &Pem) -> io::Result<CertifiedKey> {
    use rustls::Error as E;
    CertifiedKey::from_der(chain.certificates()?, key.key()?, &provider()).map_err(|error| {
        match error {
            E::InconsistentKeys(_) => key.invalid(format_args!(
                "this key does not belong to the first certificate in {chain}"
            )),
            E::InvalidCertificate(_) => {
                chain.invalid(format_args!("its first certificate cannot be read: {error}"))
            }
            error => key.invalid(format_args!("this key cannot be used: {error}")),
        }
    })
}

/// The names that a certificate is for, in lower case.
fn names(chain: &Pem, certificate: &CertificateDer<'_>) -> io::Result<Vec<String>> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| {
        chain.invalid(format_args!("its first certificate cannot be read: {error}"))
    })?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// Chooses the certificate of one connection, and keeps the name that the client asked for.
#[derive(Debug)]
pub(crate) struct Chosen {
    certificates: Arc<Certificates>,
    name: OnceLock<Box<str>>,
}

impl Chosen {
    fn of(certificates: Arc<Certificates>) -> Self {
        Self { certificates, name: OnceLock::new() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // The hello of a second try names the same.
            let _ = self.name.set(name.into());
        }
        self.certificates.choose(&hello)
    }
}
