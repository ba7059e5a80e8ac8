//! TLS: certificates, trust, and the one place that drives rustls connections.

mod identity;

pub use identity::Identity;
