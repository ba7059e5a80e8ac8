//! TLS: certificates, trust, and the one place that drives rustls connections.

mod identity;
mod outgoing;
mod session;
#[cfg(test)]
pub(crate) mod testing;

pub use identity::Identity;
pub use outgoing::Outgoing;
pub use session::{Agreement, Received, Session};
