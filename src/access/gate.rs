//! The access policy of a listener: its TLS policy and its rules, which a reload replaces together.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{Access, Rules};
use crate::tls::{Identity, Refusal, ServerPolicy, Session};

/// How a listener's connections are protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// No protection: plain TCP.
    Plain,
    /// By TLS.
    Tls(Gate),
}

/// The TLS policy of a listener, and its rules if it has any. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    policy: Arc<ServerPolicy>,
    /// `None`: every client that the TLS policy accepts may do everything.
    rules: Option<Arc<Rules>>,
}

/// Why a client that completed a handshake is not, or no longer, served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The current policy rejects the client's certificate.
    #[error("{0}")]
    Untrusted(#[from] Refusal),
    /// No rule matches this identity.
    #[error("no rule matches {0}")]
    NoRule(String),
    /// A rule matches this identity, but does not grant this service.
    #[error("rules match {0}, but none of them grants \"connect\"")]
    NotGranted(String),
}

impl Denial {
    /// No rule matches a client of this identity.
    #[must_use]
    pub fn no_rule(identity: Option<&Identity>) -> Self {
        Self::NoRule(shown(identity))
    }

    /// Rules match a client of this identity, but do not grant it this service.
    #[must_use]
    pub fn not_granted(identity: Option<&Identity>) -> Self {
        Self::NotGranted(shown(identity))
    }
}

fn shown(identity: Option<&Identity>) -> String {
    identity.map_or_else(|| "a client without a certificate".to_owned(), ToString::to_string)
}

impl Security {
    /// TLS under `policy`, where every accepted client may do everything.
    #[must_use]
    pub fn tls(policy: Arc<ServerPolicy>) -> Self {
        Self::Tls(Gate::new(policy, None))
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The scheme in front of its address: `tls` or `plain`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_tls() { "tls" } else { "plain" }
    }

    /// The server's end of a new connection.
    #[must_use]
    pub(crate) fn session(&self) -> Session {
        match self {
            Self::Plain => Session::plain(),
            Self::Tls(gate) => Session::accept(Arc::clone(&gate.policy)),
        }
    }

    /// The enforced protection, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Plain => "plain TCP, no authentication".to_owned(),
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
    /// A gate that applies `rules` to every client that `policy` accepts.
    #[must_use]
    pub fn new(policy: Arc<ServerPolicy>, rules: Option<Arc<Rules>>) -> Self {
        Self { policy, rules }
    }

    /// The TLS policy.
    #[must_use]
    pub fn policy(&self) -> &Arc<ServerPolicy> {
        &self.policy
    }

    /// Decides on a connection by its certificate chain, which is empty if the client sent none. `identity` is what is
    /// known of the client; if `begun`, the policy of its handshake, is not the policy of this gate, the chain is
    /// verified again and the anchor in `identity` is updated.
    pub(crate) fn admit(
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
        grant.map(|grant| Access::Granted(Arc::new(grant))).ok_or_else(|| Denial::no_rule(identity.as_deref()))
    }

    /// Whether there are rules, none of which grants `name` by name.
    #[must_use]
    pub(crate) fn grants_nobody(&self, name: &str) -> bool {
        self.rules.as_ref().is_some_and(|rules| !rules.is_empty() && rules.names().all(|(granted, _)| granted != name))
    }

    fn describe(&self) -> String {
        let policy = self.policy.describe();
        match self.rules.as_ref().map(|rules| rules.len()) {
            None => policy,
            Some(0) => format!("{policy}; no rules: every client is denied"),
            Some(1) => format!("{policy}; 1 rule"),
            Some(count) => format!("{policy}; {count} rules"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Class;
    use crate::testing::{Clock, NOW, TestPki, handshake, leaf, source};
    use crate::tls::{Certificate, PolicyOptions};

    fn policy(options: PolicyOptions) -> Arc<ServerPolicy> {
        Arc::new(ServerPolicy::new(options).expect("a policy"))
    }

    #[test]
    fn a_handshake_under_an_old_policy_is_verified_again_by_the_current_one() {
        let (pki, clock) = (TestPki::new(), Clock::at(NOW));
        let before = policy(pki.mutual(&clock));
        let done = handshake(&pki.client_config(Some(&pki.client), &clock), &before).expect("in");
        let chain = done.server.peer_certificates().expect("it was shown");
        let serial = Certificate::from_der(&leaf(&pki.client)).expect("readable").serial;
        let list = pki.authority.revocation_list(&[(serial, NOW)], 30, NOW).expect("a list");
        let after = policy(PolicyOptions { crl: vec![source("crl.pem", &list)], ..pki.mutual(&clock) });

        let gate = Gate::new(Arc::clone(&after), None);
        assert_eq!(gate.admit(chain, Some(&before), &mut None), Err(Denial::Untrusted(Refusal::Revoked)));
        assert_eq!(gate.admit(chain, None, &mut None), Err(Denial::Untrusted(Refusal::Revoked)));
        assert_eq!(Gate::new(before.clone(), None).admit(chain, None, &mut None), Ok(Access::Everything));
        // The handshake has just made this decision; it is not made again.
        assert_eq!(gate.admit(chain, Some(&after), &mut None), Ok(Access::Everything));
        assert_eq!(gate.admit(&[], Some(&before), &mut None), Err(Denial::Untrusted(Refusal::NoCertificate)));
    }

    #[test]
    fn the_anchor_of_a_client_comes_from_the_current_policy() {
        let (pki, clock) = (TestPki::new(), Clock::at(NOW));
        let pin = source("alice.pem", &pki.client.certificate);
        let pinned = policy(PolicyOptions { client_pin: vec![pin], ..pki.options(&clock) });
        let issued = policy(pki.mutual(&clock));
        let done = handshake(&pki.client_config(Some(&pki.client), &clock), &issued).expect("in");
        let chain = done.server.peer_certificates();
        let witness = done.witness.expect("a certificate was asked for");
        let mut identity = witness.identify(chain).expect("readable").map(Arc::new);

        let text = "[[rule]]\nanchor = 'alice'\ngrant = ['read']";
        let trust = pinned.client_trust().expect("a pin");
        let rules = Rules::parse(&source("rules.toml", text), trust.anchors()).expect("a rule");
        let gate = Gate::new(Arc::clone(&pinned), Some(Arc::new(rules)));
        assert!(gate.describe().ends_with("; 1 rule"), "{}", gate.describe());
        let access = gate.admit(chain.unwrap_or_default(), Some(&issued), &mut identity).expect("the pin's rule");
        assert!(access.allows(Class::Read, "get", Some(b"k")) && !access.allows(Class::Write, "set", Some(b"k")));
        let nobody = gate.admit(chain.unwrap_or_default(), Some(&pinned), &mut None).expect_err("no identity");
        assert_eq!(nobody.to_string(), "no rule matches a client without a certificate");
    }
}
