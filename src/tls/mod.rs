//! TLS: certificates, trust, and the only place that drives rustls connections.
//!
//! Nothing here reads a file or a clock. Files are passed in as [`PemSource`], with their names, and time through the
//! policy's [`TimeProvider`](rustls::time_provider::TimeProvider).

mod agreement;
#[cfg(feature = "cli")]
pub mod authority;
#[cfg(feature = "cli")]
mod authority_error;
mod certificate;
mod channel;
mod client_policy;
mod crl;
mod der;
mod distribution_points;
mod identity;
mod incoming;
mod key_exchange;
mod names;
mod outgoing;
mod pem;
mod policy;
mod policy_error;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod records;
mod resolver;
mod reused_buffer;
mod revocation;
#[cfg(feature = "cli")]
mod revocations;
mod sections;
mod self_check;
mod serials;
mod session;
#[cfg(feature = "cli")]
mod strictness;
mod suites;
mod tickets;
mod trust;
mod words;

pub use agreement::Agreement;
pub use certificate::{Certificate, MalformedCertificate, date, fingerprint, hex, shown_name};
pub use channel::{Channel, Progress};
pub use client_policy::{ClientOptions, ClientPolicy, ClientPolicyError};
pub(crate) use crl::{List as RevocationList, significant};
pub use identity::{Anchor, AnchorKind, Identity};
pub use incoming::Incoming;
pub use key_exchange::{PostQuantum, is_post_quantum};
pub(crate) use names::printable;
pub use outgoing::Outgoing;
pub use pem::{PemError, PemSource};
pub use policy::{Choice, ClientAuth, Handshake, PolicyOptions, ServerPolicy, TlsMin};
pub use policy_error::PolicyError;
pub use revocation::OutdatedLists;
#[cfg(feature = "cli")]
pub use revocations::Revocations;
pub use self_check::self_handshake;
pub use session::Session;
#[cfg(feature = "cli")]
pub use strictness::{Answer, Judgement, Objection, Purpose, Question, Verifier, examine, judge};
pub use suites::{suite_name, suite_named, suite_names};
pub use trust::{ClientTrust, Refusal, ServerTrust, TrustError, Witness, alert_cure};
pub use words::{in_words, plain};
