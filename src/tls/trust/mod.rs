//! Which certificates are accepted, and why others are rejected.
//!
//! Both sides work alike. A certificate that is listed itself is recognised by comparing every byte; everything else is
//! verified by webpki. The exact match exists for self-signed certificates like those of `openssl req -x509`, which
//! have CA:TRUE and no subjectAltName: webpki never accepts those as end entities, although listing the very
//! certificate is the strictest form of trust.

mod anchors;
mod chain;
mod client_certificates;
mod refusal;
mod server_certificates;
mod signature;

pub use anchors::TrustError;
pub(crate) use client_certificates::{Authentication, HandshakeVerifier, chain_memory};
pub use client_certificates::{ClientTrust, Witness};
pub use refusal::{Refusal, alert_cure};
pub use server_certificates::ServerTrust;

#[cfg(test)]
mod tests;
