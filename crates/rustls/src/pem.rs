//! Certificates and keys out of PEM files, with errors for the operator who configured their names.
//!
//! Each error names the file and what is wrong with it. Nothing here knows of TLS.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// PEM text: in a file, which is read anew at a reload, or given.
#[derive(Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Given(Vec<u8>),
}

impl Pem {
    pub(crate) fn file(path: impl AsRef<Path>) -> Self {
        Pem::File(path.as_ref().to_owned())
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Pem::File(path) => fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
            }),
            Pem::Given(text) => Ok(text.clone()),
        }
    }

    /// All certificates of it, one at least.
    pub(crate) fn certificates(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let text = self.read()?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let all = all.map_err(|error| self.invalid(explain(&error)))?;
        if all.is_empty() {
            let has_key = PrivateKeyDer::from_pem_slice(&text).is_ok();
            return Err(self.invalid(if has_key {
                "holds a private key and no certificate: are certificate and key swapped?"
            } else {
                "holds no certificate (no line -----BEGIN CERTIFICATE-----)"
            }));
        }
        Ok(all)
    }

    /// Its first private key.
    pub(crate) fn key(&self) -> io::Result<PrivateKeyDer<'static>> {
        let text = self.read()?;
        match PrivateKeyDer::from_pem_slice(&text) {
            Ok(key) => Ok(key),
            Err(PemError::NoItemsFound) => {
                const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";
                let encrypted = text.windows(ENCRYPTED.len()).any(|line| line == ENCRYPTED);
                Err(self.invalid(if encrypted {
                    "holds a private key that is encrypted with a passphrase; without one it is written \
                     by `openssl pkey -in FILE -out FILE`"
                } else if CertificateDer::from_pem_slice(&text).is_ok() {
                    "holds a certificate and no private key: are certificate and key swapped?"
                } else {
                    "holds no private key (no line -----BEGIN PRIVATE KEY-----)"
                }))
            }
            Err(error) => Err(self.invalid(explain(&error))),
        }
    }

    /// Adds its certificates to those that are trusted.
    pub(crate) fn add_to(&self, roots: &mut RootCertStore) -> io::Result<()> {
        for (n, certificate) in self.certificates()?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                self.invalid(format_args!("certificate {} of it is none: {error}", n + 1))
            })?;
        }
        Ok(())
    }

    pub(crate) fn invalid(&self, what: impl fmt::Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{self}: {what}"))
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Given(_) => f.write_str("the given PEM text"),
        }
    }
}

/// No key may get into a log by way of `{:?}`.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn explain(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => {
            format!(
                "is cut off: there is no line {}",
                String::from_utf8_lossy(end_marker).trim_end()
            )
        }
        PemError::IllegalSectionStart { line } => {
            format!("is no PEM file: {}", String::from_utf8_lossy(line).trim_end())
        }
        PemError::Base64Decode(why) => format!("is damaged: {why}"),
        other => other.to_string(),
    }
}
