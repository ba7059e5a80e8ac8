//! Why a policy is invalid.

use super::pem::PemError;
use super::trust::TrustError;

/// Why a policy is invalid. Every text names the flag or the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There is no server certificate.
    #[error("--cert and --key are needed on a TLS listener")]
    NoCertificate,
    /// A PEM file does not contain what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A client CA, pin or revocation list is not usable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server's certificate is not usable.
    #[error("{file} is not usable as --cert: {detail}")]
    Certificate {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The private key is not usable.
    #[error("{file} is not usable as --key: {detail}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The private key is not that of the certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// `--client-auth none` together with a CA or a pin.
    #[error("--client-auth none contradicts --client-ca or --client-pin: remove them, or request certificates")]
    AuthContradiction,
    /// Certificates are requested, but none could be accepted.
    #[error("--client-auth {0} needs --client-ca or --client-pin: without one, no certificate can be accepted")]
    NobodyTrusted(&'static str),
    /// Revocation lists without a CA.
    #[error("--crl needs --client-ca")]
    CrlWithoutCa,
    /// The clock cannot be read.
    #[error("the system clock is before 1970")]
    Clock,
    /// rustls or its provider rejected the combination.
    #[error("TLS cannot be set up: {}", super::words::in_words(.0))]
    Tls(#[from] rustls::Error),
}
