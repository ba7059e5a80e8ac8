//! Why the authority cannot make a certificate or a list.

use super::certificate::MalformedCertificate;
use super::pem::PemError;

/// Why the authority cannot make a certificate or list.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A name that is invalid in a certificate.
    #[error("{name:?} is not a valid name in a certificate: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A CA file could not be read as PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A CA file contains something other than a certificate.
    #[error("{file}: {source}")]
    Certificate {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: MalformedCertificate,
    },
    /// The certificate may not issue others.
    #[error("{0} is not a CA certificate, so nothing it signs would be accepted")]
    NotCa(String),
    /// The CA is past its end of validity.
    #[error("the CA certificate in {0} has expired; make a new one with `latchkey certs init --force`")]
    Expired(String),
    /// The CA's key is not the key of its certificate.
    #[error("the key in {key} does not belong to the CA certificate in {certificate}")]
    KeyMismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// A revocation list cannot be renewed.
    #[error("{file}: {detail}")]
    RevocationList {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The encoder or the random source failed.
    #[error("could not make the certificate: {0}")]
    Making(String),
}
