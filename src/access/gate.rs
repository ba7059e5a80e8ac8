//! What stands before a listener: its TLS policy and its rules, which a reload replaces together.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{Access, Rules};
use crate::tls::{Identity, Refusal, ServerPolicy, Session};

/// How a listener's connections are protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By TLS.
    Tls(Gate),
}

/// Whom a TLS listener lets in and what they may do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    policy: Arc<ServerPolicy>,
    /// `None` where whoever is let in may do everything.
    rules: Option<Arc<Rules>>,
}

/// Why somebody who was let in by a handshake is not, or no longer, served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The certificate is not acceptable under the policy that holds now.
    #[error("{0}")]
    Untrusted(#[from] Refusal),
    /// No rule names this identity.
    #[error("no rule matches {0}")]
    NoRule(String),
}

impl Security {
    /// TLS under `policy`, where everyone who is let in may do everything.
    #[must_use]
    pub fn tls(policy: Arc<ServerPolicy>) -> Self {
        Self::Tls(Gate::new(policy, None))
    }

    /// Whether bytes are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The server's end of a new connection.
    #[must_use]
    pub fn session(&self) -> Session {
        match self {
            Self::Plain => Session::plain(),
            Self::Tls(gate) => Session::accept(Arc::clone(&gate.policy)),
        }
    }

    /// What is enforced, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Plain => "no encryption, no authentication".to_owned(),
            Self::Tls(gate) => gate.describe(),
        }
    }

    /// The TLS policy, if there is one.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<ServerPolicy>> {
        match self {
            Self::Plain => None,
            Self::Tls(gate) => Some(&gate.policy),
        }
    }
}

impl Gate {
    /// A gate that asks `rules` about everyone whom `policy` lets in.
    #[must_use]
    pub fn new(policy: Arc<ServerPolicy>, rules: Option<Arc<Rules>>) -> Self {
        Self { policy, rules }
    }

    /// Decides on a connection by its certificate chain, which is empty when none was shown. `identity` is what is known
    /// of its holder; when `begun` is not the policy of this gate, the chain is verified again and the anchor in
    /// `identity` brought up to date.
    pub fn admit(
        &self,
        chain: &[CertificateDer<'_>],
        begun: Option<&Arc<ServerPolicy>>,
        identity: &mut Option<Arc<Identity>>,
    ) -> Result<Access, Denial> {
        if begun.is_none_or(|begun| !Arc::ptr_eq(begun, &self.policy)) {
            let anchor = self.policy.still_trusted(chain)?;
            if let Some(identity) = identity.as_mut().filter(|identity| identity.anchor != anchor) {
                Arc::make_mut(identity).anchor = anchor;
            }
        }
        let Some(rules) = &self.rules else { return Ok(Access::Everything) };
        let grant = identity.as_ref().and_then(|identity| rules.grant(identity));
        let name =
            || identity.as_ref().map_or_else(|| "a client without a certificate".to_owned(), ToString::to_string);
        grant.map(|grant| Access::Granted(Arc::new(grant))).ok_or_else(|| Denial::NoRule(name()))
    }

    fn describe(&self) -> String {
        let policy = self.policy.describe();
        match self.rules.as_ref().map(|rules| rules.len()) {
            None => policy,
            Some(1) => format!("{policy}, 1 rule"),
            Some(count) => format!("{policy}, {count} rules"),
        }
    }
}
