//! Why a TLS connection failed, in words that an operator can act on.
//!
//! rustls' own errors stay inside: only their text comes out. Read next: `tls.rs`.

use std::error;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

/// Why a TLS connection failed: the cause for a program, one line for an operator.
///
/// It is inside the [`io::Error`] of a [`CloseReason`](wouldblock::CloseReason) or of a failed connect;
/// [`Error::of`] finds it there.
#[derive(Clone, Debug)]
pub struct Error {
    cause: Cause,
    line: String,
}

/// What went wrong, roughly: enough to count by, or to decide whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The peer speaks HTTP, without TLS.
    PlainHttp,
    /// What the peer sends is no TLS.
    NotTls,
    /// The peer's certificate, or one of its chain, has expired.
    Expired,
    /// The peer's certificate, or one of its chain, is not valid yet.
    NotYetValid,
    /// No root that we trust has signed the peer's certificate, or an intermediate is missing.
    UnknownIssuer,
    /// The server's certificate is for other names.
    WrongName,
    /// The peer's certificate is broken, revoked, or for another purpose.
    BadCertificate,
    /// The peer sent no certificate, and must.
    NoCertificate,
    /// No version of TLS is spoken by both.
    NoSharedVersion,
    /// No cipher, key exchange or signature is known to both.
    NoSharedCipher,
    /// No protocol of ALPN is spoken by both.
    NoSharedProtocol,
    /// The peer refused us, with an alert that the line names.
    Refused,
    /// A record is damaged, forged, or not decryptable.
    Damaged,
    /// Records without end that carry no data.
    Flood,
    /// The peer broke the protocol in another way.
    Misbehaved,
    /// Something failed on our side.
    Local,
}

impl Error {
    pub(crate) fn new(cause: Cause, line: impl Into<String>) -> Self {
        Self { cause, line: line.into() }
    }

    /// What went wrong, roughly.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The TLS error inside an [`io::Error`], however deep, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use wouldblock_rustls::{Cause, Error};
    ///
    /// fn is_worth_a_retry(error: &io::Error) -> bool {
    ///     !Error::of(error).is_some_and(|tls| tls.cause() == Cause::WrongName)
    /// }
    /// # assert!(is_worth_a_retry(&io::ErrorKind::TimedOut.into()));
    /// ```
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Error> {
        let mut at: &(dyn error::Error + 'static) = error;
        loop {
            if let Some(found) = at.downcast_ref() {
                return Some(found);
            }
            // The source of an `io::Error` is the source of what is in it, not that itself.
            at = match at.downcast_ref::<io::Error>() {
                Some(outer) => outer.get_ref()?,
                None => at.source()?,
            };
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.cause {
            Cause::Local => io::ErrorKind::Other,
            Cause::Refused => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        let (cause, line) = match &error {
            E::InvalidCertificate(why) => of_certificate(why),
            E::NoCertificatesPresented => {
                (Cause::NoCertificate, "the peer sent no certificate".into())
            }
            E::AlertReceived(alert) => (Cause::Refused, of_alert(*alert)),
            E::PeerIncompatible(why) => of_incompatible(why),
            E::PeerMisbehaved(why) => of_misbehaved(why),
            E::NoApplicationProtocol => {
                (Cause::NoSharedProtocol, "no shared protocol (ALPN)".into())
            }
            E::DecryptError => {
                (Cause::Damaged, "a record cannot be decrypted: damaged or forged".into())
            }
            E::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => (Cause::NotTls, "what the peer sends is no TLS".into()),
            E::InvalidMessage(_)
            | E::PeerSentOversizedRecord
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. } => (Cause::Misbehaved, error.to_string()),
            _ => (Cause::Local, error.to_string()),
        };
        Self { cause, line }
    }
}

fn of_certificate(why: &CertificateError) -> (Cause, String) {
    use CertificateError as C;
    let (cause, what) = match why {
        C::Expired => (Cause::Expired, "certificate expired".into()),
        C::ExpiredContext { time, not_after } => (
            Cause::Expired,
            format!("certificate expired {} ago", between(*not_after, *time)),
        ),
        C::NotValidYet => (Cause::NotYetValid, "certificate not yet valid".into()),
        C::NotValidYetContext { time, not_before } => (
            Cause::NotYetValid,
            format!("certificate not yet valid, for {} more", between(*time, *not_before)),
        ),
        C::UnknownIssuer => (
            Cause::UnknownIssuer,
            "unknown issuer: no trusted root has signed it, or an intermediate certificate is missing"
                .into(),
        ),
        C::NotValidForName => (Cause::WrongName, "certificate is for another name".into()),
        C::NotValidForNameContext { expected, presented } => (
            Cause::WrongName,
            match presented.as_slice() {
                [] => format!("certificate is for no name, wanted {}", expected.to_str()),
                names => format!(
                    "certificate is for {}, wanted {}",
                    names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(" and "),
                    expected.to_str()
                ),
            },
        ),
        C::Revoked => (Cause::BadCertificate, "certificate revoked".into()),
        C::BadSignature => (Cause::BadCertificate, "certificate signature is wrong".into()),
        C::BadEncoding => (Cause::BadCertificate, "certificate cannot be read".into()),
        C::ApplicationVerificationFailure => {
            (Cause::BadCertificate, "certificate is not the pinned one".into())
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            (Cause::BadCertificate, format!("certificate is for another purpose: {why}"))
        }
        other => (Cause::BadCertificate, format!("certificate refused: {other}")),
    };
    (cause, format!("the peer's {what}"))
}

/// `DnsName("example.com")` without what is around the name.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// How long it is from one to the other, in the largest unit that it has.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs();
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// What the peer has against us.
fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let what = match alert {
        A::UnknownCA => "it does not know the issuer of our certificate",
        A::CertificateExpired => "our certificate has expired, it says",
        A::CertificateRevoked => "our certificate is revoked, it says",
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown => {
            "it does not accept our certificate"
        }
        A::CertificateRequired | A::NoCertificate => "it wants a certificate of ours",
        A::AccessDenied => "our certificate does not let us in",
        A::ProtocolVersion => "no shared version of TLS",
        A::HandshakeFailure | A::InsufficientSecurity => "no shared cipher, or no certificate",
        A::NoApplicationProtocol => "no shared protocol (ALPN)",
        A::UnrecognisedName => "it does not know the server name",
        A::UserCanceled => "the user cancelled",
        A::InternalError => "it failed inside",
        A::DecryptError | A::BadRecordMac => "what it got was damaged",
        _ => return format!("the peer refused: alert {alert:?}"),
    };
    format!("the peer refused: {what} (alert {alert:?})")
}

fn of_incompatible(why: &PeerIncompatible) -> (Cause, String) {
    use PeerIncompatible as P;
    match why {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired => {
            (Cause::NoSharedVersion, format!("no shared version of TLS ({why:?})"))
        }
        P::NoCipherSuitesInCommon => (Cause::NoSharedCipher, "no shared cipher".into()),
        P::NoKxGroupsInCommon | P::NamedGroupsExtensionRequired => {
            (Cause::NoSharedCipher, "no shared key exchange".into())
        }
        P::SignatureAlgorithmsExtensionRequired => (
            Cause::NoSharedVersion,
            "no shared version of TLS: the peer's is older than 1.2".into(),
        ),
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => (
            Cause::NoSharedCipher,
            "no shared signature: no certificate of ours is of a kind that the peer accepts".into(),
        ),
        other => (Cause::NoSharedCipher, format!("the peer lacks what we need: {other:?}")),
    }
}

fn of_misbehaved(why: &PeerMisbehaved) -> (Cause, String) {
    use PeerMisbehaved as P;
    match why {
        P::TooManyEmptyFragments => (Cause::Flood, "a flood of empty records".into()),
        P::TooManyKeyUpdateRequests => (Cause::Flood, "a flood of key updates".into()),
        P::TooManyRenegotiationRequests => (Cause::Flood, "a flood of renegotiations".into()),
        P::TooManyWarningAlertsReceived => (Cause::Flood, "a flood of warning alerts".into()),
        P::TooMuchEarlyDataReceived => (Cause::Flood, "too much early data".into()),
        other => (Cause::Misbehaved, format!("the peer broke the protocol: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(error: impl Into<rustls::Error>) -> String {
        Error::from(error.into()).to_string()
    }

    /// Promise: each line says what to look at, in the words of `openssl verify`.
    #[test]
    fn errors_read_as_an_operator_needs_them() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        let expired = CertificateError::ExpiredContext { time: at(30), not_after: at(3) };
        assert_eq!(line(expired), "the peer's certificate expired 27 days ago");
        let early = CertificateError::NotValidYetContext { time: at(3), not_before: at(4) };
        assert_eq!(line(early), "the peer's certificate not yet valid, for 1 day more");
        assert_eq!(line(PeerIncompatible::NoCipherSuitesInCommon), "no shared cipher");
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        assert_eq!(
            line(alert),
            "the peer refused: it does not know the issuer of our certificate (alert UnknownCA)"
        );
    }

    /// Promise: a handler finds the cause inside the error that it is told.
    #[test]
    fn the_cause_is_found_inside_an_io_error() {
        let error: io::Error = Error::from(rustls::Error::DecryptError).into();
        assert_eq!(Error::of(&error).map(Error::cause), Some(Cause::Damaged));
        let outer = io::Error::other(io::Error::other(error));
        assert_eq!(Error::of(&outer).map(Error::cause), Some(Cause::Damaged));
        assert!(Error::of(&io::Error::other("something else")).is_none());
    }
}
