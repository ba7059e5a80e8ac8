//! Whose certificates are accepted, and why others are not.
//!
//! Both sides work alike. A certificate that was listed itself is recognised by comparing every byte; everything else
//! goes through webpki. The exact match exists for self-signed certificates as `openssl req -x509` makes them, which
//! say that they are a CA and have no subjectAltName: webpki refuses those as an end entity's, on principle, although
//! listing the very certificate is the strictest trust there is.

mod anchors;
mod chain;
mod client_certificates;
mod refusal;
mod server_certificates;
mod signature;

pub use anchors::TrustError;
pub(crate) use client_certificates::{Authentication, HandshakeVerifier};
pub use client_certificates::{ClientTrust, Witness};
pub use refusal::{Refusal, alert_cure};
pub use server_certificates::ServerTrust;

#[cfg(test)]
mod tests;
