//! Why a peer's certificate was rejected: one list for both sides of a connection.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, OtherError};
use rustls_pki_types::{ServerName, UnixTime};

use crate::tls::certificate::brief;
use crate::tls::words::{in_words, plain};

/// Why a peer's certificate was rejected.
///
/// The text is the reason; [`cure`](Self::cure) is what a user of the client can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A certificate is required and the peer presented none.
    #[error("no certificate was presented")]
    NoCertificate,
    /// Past its end of validity (seconds since the Unix epoch); `None` if the verifier did not report it.
    #[error("the certificate has expired{}", date(" on ", *not_after))]
    Expired {
        /// The last second of validity.
        not_after: Option<u64>,
    },
    /// Before its beginning of validity (seconds since the Unix epoch).
    #[error("the certificate is not valid yet{}", date(": it begins on ", *not_before))]
    NotYetValid {
        /// The first second of validity.
        not_before: Option<u64>,
    },
    /// An issuer's certificate in the chain is past its end of validity (seconds since the Unix epoch).
    #[error("an issuer's certificate in the chain has expired{}: the end entity's own has not", date(" on ", Some(*not_after)))]
    IssuerExpired {
        /// The last second of validity.
        not_after: u64,
    },
    /// An issuer's certificate in the chain is before its beginning of validity.
    #[error("an issuer's certificate in the chain is not valid yet{}", date(": it begins on ", Some(*not_before)))]
    IssuerNotYetValid {
        /// The first second of validity.
        not_before: u64,
    },
    /// No trusted certificate issued it.
    #[error("the certificate was issued by {}, which is not trusted here", brief(issuer))]
    UnknownIssuer {
        /// The name of the issuer as the certificate gives it.
        issuer: String,
    },
    /// It is self-signed and not listed.
    #[error("the certificate of {} is self-signed and not trusted here", brief(subject))]
    SelfSigned {
        /// The subject.
        subject: String,
    },
    /// A CA certificate used as the own certificate of a server or client, and not listed itself.
    #[error(
        "the certificate of {} is a CA certificate, which is accepted as an end entity's only if it is listed itself",
        brief(subject)
    )]
    CaAsEndEntity {
        /// The subject.
        subject: String,
    },
    /// It is not valid for the requested name.
    #[error("the certificate is not for {expected}, only for {}", listed(presented))]
    NameMismatch {
        /// The requested name.
        expected: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// It has a host name only in its common name, which is ignored in issued certificates (RFC 9525).
    #[error("the certificate has no subjectAltName, and the common name is ignored: it is not valid for {expected}")]
    NoAltName {
        /// The requested name.
        expected: String,
    },
    /// Its CA has revoked it.
    #[error("the certificate has been revoked by its CA")]
    Revoked,
    /// A CA between it and a listed one has been revoked.
    #[error("the CA {subject}, which issued a certificate of the chain, has been revoked")]
    IssuerRevoked {
        /// The CA.
        subject: String,
    },
    /// No revocation list covers it, or a CA between it and a listed one whose list is loaded.
    #[error("no revocation list of {issuer}: add its list to --crl")]
    RevocationUnknown {
        /// The issuer whose list is missing.
        issuer: String,
    },
    /// The revocation list of its CA is past its next update, so its status is unknown.
    #[error("the revocation list of the certificate's CA has expired{}", date(" on ", *next_update))]
    RevocationListExpired {
        /// When the list should have been replaced, in seconds since the Unix epoch.
        next_update: Option<u64>,
    },
    /// Its extended key usage does not include this use, most often a server's certificate presented by a client.
    #[error("the extended key usage of the certificate does not include this use")]
    Purpose,
    /// The chain has more certificates than are verified.
    #[error("the chain has {count} certificates, more than the {limit} allowed (--max-chain)")]
    LongChain {
        /// Certificates in the chain, the end entity's included.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The names in the chain allow so many paths that they are not tried.
    #[error("the chain has too many possible paths")]
    TangledChain,
    /// A signature on it, or made with it, does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// It could not be parsed.
    #[error("the certificate cannot be parsed: {}", brief(_0))]
    MalformedCertificate(String),
    /// It violates another rule of the verifier.
    #[error("the certificate breaks a rule: {}", brief(_0))]
    Rule(String),
}

impl Refusal {
    /// What the user of a client that rejected a server's certificate can do; empty if nothing on this side helps.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::UnknownIssuer { .. } => "pass the certificate of its CA with --ca FILE",
            Self::SelfSigned { .. } => {
                "pass the server's certificate itself with --ca FILE, if you trust where you got it"
            }
            Self::CaAsEndEntity { .. } => {
                "pass that certificate itself with --ca FILE, or give the server a leaf: `latchkey certs server NAME`"
            }
            Self::NameMismatch { expected, presented }
                if presented.iter().any(|name| name.starts_with(expected.as_str())) =>
            {
                "issue a certificate with that IP address: `latchkey certs server NAME --san IP:ADDRESS`"
            }
            Self::NameMismatch { .. } => {
                "connect under one of those names, say with --server-name, or issue a certificate with this one: `latchkey certs server NAME`"
            }
            Self::NoAltName { .. } => {
                "issue one with subjectAltName (`latchkey certs server NAME`), or pass a self-signed certificate itself with --ca FILE"
            }
            Self::Expired { .. } => "the server needs a new certificate: `latchkey certs server NAME --force`",
            Self::IssuerExpired { .. } => "put the CA's renewed intermediate certificate into the server's chain",
            Self::NotYetValid { .. } | Self::IssuerNotYetValid { .. } => "compare the clocks of both machines",
            Self::Signature => {
                "--ca may hold another CA of the same name: pass the certificate of the right one with --ca FILE"
            }
            Self::Purpose => "the server needs a certificate for servers: `latchkey certs server NAME`",
            Self::LongChain { .. } | Self::TangledChain => {
                "the server should send its own certificate and those of the CAs between it and the root, each once"
            }
            Self::NoCertificate
            | Self::Revoked
            | Self::IssuerRevoked { .. }
            | Self::RevocationUnknown { .. }
            | Self::RevocationListExpired { .. }
            | Self::MalformedCertificate(_)
            | Self::Rule(_) => "",
        }
    }

    /// Why a session with a server failed, and what the user of the client can do about it.
    #[must_use]
    pub fn of_server(error: &rustls::Error) -> String {
        let (text, cure) = match error {
            rustls::Error::AlertReceived(alert) => {
                (format!("the server refused the connection (alert {alert:?})"), alert_cure(*alert))
            }
            _ => match Self::of(error) {
                Some(refusal) => (format!("server certificate rejected: {refusal}"), refusal.cure()),
                None => (in_words(error), ""),
            },
        };
        if cure.is_empty() { text } else { format!("{text}: {cure}") }
    }

    /// Whether the chain was rejected because verifying it could be expensive.
    #[must_use]
    pub fn is_of_cost(&self) -> bool {
        matches!(self, Self::LongChain { .. } | Self::TangledChain)
    }

    /// The refusal in a failed handshake's error; `None` if the peer's certificate was not the cause.
    #[must_use]
    pub fn of(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate),
            rustls::Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            rustls::Error::InvalidCertRevocationList(error) => {
                Some(Self::Rule(format!("its revocation list is not usable: {error:?}")))
            }
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired => Self::Expired { not_after: None },
            E::ExpiredContext { not_after, .. } => Self::Expired { not_after: Some(not_after.as_secs()) },
            E::NotValidYet => Self::NotYetValid { not_before: None },
            E::NotValidYetContext { not_before, .. } => Self::NotYetValid { not_before: Some(not_before.as_secs()) },
            E::Revoked => Self::Revoked,
            E::UnknownIssuer => Self::UnknownIssuer { issuer: "an unknown CA".to_owned() },
            E::ExpiredRevocationList => Self::RevocationListExpired { next_update: None },
            E::ExpiredRevocationListContext { next_update, .. } => {
                Self::RevocationListExpired { next_update: Some(next_update.as_secs()) }
            }
            E::BadSignature => Self::Signature,
            E::NotValidForNameContext { expected, presented } => {
                Self::NameMismatch { expected: expected.to_str().into_owned(), presented: presented.clone() }
            }
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            E::BadEncoding => Self::MalformedCertificate("bad encoding".to_owned()),
            E::Other(OtherError(other)) => {
                other.downcast_ref().cloned().unwrap_or_else(|| Self::Rule(other.to_string()))
            }
            other => Self::Rule(plain(other)),
        }
    }

    /// The error for which rustls sends the matching alert (RFC 8446, 6.2).
    pub(crate) fn into_rustls(self, now: UnixTime) -> rustls::Error {
        let at = |seconds: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        rustls::Error::InvalidCertificate(match self {
            Self::NoCertificate => return rustls::Error::NoCertificatesPresented,
            Self::Expired { not_after: Some(end) } => {
                CertificateError::ExpiredContext { time: now, not_after: at(end) }
            }
            Self::IssuerExpired { not_after } => {
                CertificateError::ExpiredContext { time: now, not_after: at(not_after) }
            }
            Self::IssuerNotYetValid { not_before } => {
                CertificateError::NotValidYetContext { time: now, not_before: at(not_before) }
            }
            Self::Expired { not_after: None } => CertificateError::Expired,
            Self::NotYetValid { not_before: Some(begin) } => {
                CertificateError::NotValidYetContext { time: now, not_before: at(begin) }
            }
            Self::NotYetValid { not_before: None } => CertificateError::NotValidYet,
            Self::UnknownIssuer { .. } | Self::SelfSigned { .. } => CertificateError::UnknownIssuer,
            Self::NameMismatch { expected, presented } => match ServerName::try_from(expected) {
                Ok(expected) => CertificateError::NotValidForNameContext { expected, presented },
                Err(_) => CertificateError::NotValidForName,
            },
            Self::NoAltName { .. } => CertificateError::NotValidForName,
            Self::Revoked | Self::IssuerRevoked { .. } => CertificateError::Revoked,
            Self::RevocationUnknown { .. } => CertificateError::UnknownRevocationStatus,
            Self::RevocationListExpired { next_update: Some(end) } => {
                CertificateError::ExpiredRevocationListContext { time: now, next_update: at(end) }
            }
            Self::RevocationListExpired { next_update: None } => CertificateError::ExpiredRevocationList,
            Self::Purpose => CertificateError::InvalidPurpose,
            Self::Signature => CertificateError::BadSignature,
            Self::MalformedCertificate(_) => CertificateError::BadEncoding,
            other @ (Self::CaAsEndEntity { .. } | Self::LongChain { .. } | Self::TangledChain | Self::Rule(_)) => {
                CertificateError::Other(OtherError(Arc::new(other)))
            }
        })
    }

    /// The refusal for webpki's error. The caller adds the names in the certificate.
    pub(crate) fn of_webpki(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Self::Expired { not_after: Some(not_after.as_secs()) },
            E::InvalidCertValidity => Self::Rule("it ends before it begins".to_owned()),
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid { not_before: Some(not_before.as_secs()) },
            E::UnknownIssuer => Self::UnknownIssuer { issuer: "an unknown CA".to_owned() },
            E::CaUsedAsEndEntity => Self::CaAsEndEntity { subject: "the peer".to_owned() },
            E::CertNotValidForName(names) => {
                Self::NameMismatch { expected: names.expected.to_str().into_owned(), presented: names.presented }
            }
            E::CertRevoked => Self::Revoked,
            E::CrlExpired { next_update, .. } => {
                Self::RevocationListExpired { next_update: Some(next_update.as_secs()) }
            }
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::Purpose,
            E::InvalidSignatureForPublicKey => Self::Signature,
            E::BadDer | E::BadDerTime | E::TrailingData(_) => Self::MalformedCertificate(plain(&error)),
            other => Self::Rule(plain(&other)),
        }
    }
}

/// What the user of a client can do about a server's alert.
#[must_use]
pub fn alert_cure(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => {
            "it requires a client certificate: pass yours with --cert FILE --key FILE"
        }
        AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError => {
            "it does not accept the client certificate: pass one from a CA that it trusts with --cert FILE --key FILE"
        }
        AlertDescription::CertificateExpired => {
            "the client certificate has expired, or is not valid yet by the server's clock: compare the clocks, or pass a new one with --cert FILE"
        }
        AlertDescription::CertificateRevoked => "the client certificate was revoked: pass another with --cert FILE",
        AlertDescription::ProtocolVersion => "it supports neither TLS 1.2 nor TLS 1.3",
        _ => "its log has the reason",
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name at all".to_owned() } else { brief(&names.join(", ")) }
}

fn date(before: &str, seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("{before}{}", crate::tls::certificate::date(seconds)))
}
