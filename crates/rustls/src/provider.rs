//! What does the cryptography: ring, or aws-lc-rs, by feature.
//!
//! rustls' provider for the whole process is neither read nor set: two crates of one program may choose
//! differently.

use std::sync::Arc;

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use rustls::crypto::ring as chosen;
use rustls::crypto::{CryptoProvider, hash::HashAlgorithm};
use rustls::server::ProducesTickets;

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
compile_error!("wouldblock-rustls needs one of its features `ring` (default) and `aws-lc-rs`");

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}

/// Encrypts sessions into tickets, under keys that are made anew every six hours.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    chosen::Ticketer::new()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let provider = provider();
    let mut hashes = provider
        .cipher_suites
        .iter()
        .filter_map(rustls::SupportedCipherSuite::tls13)
        .map(|suite| suite.common.hash_provider);
    let sha256 = hashes
        .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
        .expect("TLS 1.3 has suites with SHA-256");
    let mut digest = [0; 32];
    digest.copy_from_slice(sha256.hash(bytes).as_ref());
    digest
}
