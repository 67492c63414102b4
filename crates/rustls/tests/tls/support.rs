//! Certificates made for a test, and both ends of a connection without a network.

use std::io;
use std::sync::Arc;
use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::crypto::CryptoProvider;
use wouldblock::Layer;
use wouldblock_rustls::{Client, Server, Tls};

/// Who signs the certificates of a test.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// For these names, DNS or IP.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem() }
    }
}

/// The authority of most tests.
pub(crate) static CA: LazyLock<Authority> = LazyLock::new(|| Authority::new("the tests' root"));
/// For `localhost` and `127.0.0.1`.
pub(crate) static LOCALHOST: LazyLock<Identity> =
    LazyLock::new(|| CA.issue(&["localhost", "127.0.0.1"]));

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn server() -> Server {
    Server::builder().certificate_pem(&*LOCALHOST.chain, &*LOCALHOST.key).build().unwrap()
}

pub(crate) fn client() -> Client {
    Client::builder().roots_pem(&*CA.pem).build().unwrap()
}

/// One end of a connection, called as a reactor calls it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) tls: Tls,
    /// The peer's bytes that were not consumed.
    pending: Vec<u8>,
    /// What the handler would see.
    pub(crate) plain: Vec<u8>,
    /// What is to go to the peer.
    pub(crate) wire: Vec<u8>,
    /// The peer has marked its end.
    pub(crate) ended: bool,
    pub(crate) error: Option<io::Error>,
    /// The most plaintext that one call has made.
    pub(crate) most: usize,
}

impl End {
    pub(crate) fn new(tls: Tls) -> Self {
        let mut end = End {
            tls,
            pending: Vec::new(),
            plain: Vec::new(),
            wire: Vec::new(),
            ended: false,
            error: None,
            most: 0,
        };
        end.receive(&[]);
        end
    }

    /// These bytes came from the peer.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        loop {
            if self.ended || self.error.is_some() {
                return;
            }
            let before = self.plain.len();
            let received = self.tls.receive(&mut self.pending, &mut self.plain, &mut self.wire);
            self.most = self.most.max(self.plain.len() - before);
            match received {
                Ok(received) => {
                    self.pending.drain(..received.bytes());
                    self.ended = received.is_ended();
                    if !received.has_more() && received.bytes() == 0 || self.pending.is_empty() {
                        return;
                    }
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    pub(crate) fn send(&mut self, plain: &[u8]) {
        self.tls.send(plain, &mut self.wire).unwrap();
    }

    pub(crate) fn end(&mut self) {
        self.tls.end(&mut self.wire);
    }

    pub(crate) fn take_wire(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire)
    }
}

/// Carries bytes, `at_once` of them, until neither has more to say.
pub(crate) fn carry(one: &mut End, other: &mut End, at_once: usize) {
    while !one.wire.is_empty() || !other.wire.is_empty() {
        for piece in one.take_wire().chunks(at_once) {
            other.receive(piece);
        }
        for piece in other.take_wire().chunks(at_once) {
            one.receive(piece);
        }
    }
}

/// A client and a server that have shaken hands.
pub(crate) fn pair(client: &Client, server: &Server) -> (End, End) {
    let mut client = End::new(client.connect("localhost").unwrap());
    let mut server = End::new(server.accept().unwrap());
    carry(&mut client, &mut server, usize::MAX);
    (client, server)
}

/// Bytes without a pattern, the same each time.
pub(crate) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| step(&mut state)).take(len).collect()
}
