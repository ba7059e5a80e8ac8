//! A listener's own certificates, and the choice among them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::pem::PemSource;
use super::policy_error::PolicyError;
use super::words::in_words;

/// The certificates in the given order; the first is for clients without a known server name.
#[derive(Debug)]
pub(crate) struct Certificates {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    leaf: Certificate,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Parses pairs of certificate chain and private key.
    pub(crate) fn new(pairs: &[(PemSource, PemSource)], provider: &CryptoProvider) -> Result<Self, PolicyError> {
        if pairs.is_empty() {
            return Err(PolicyError::NoCertificate);
        }
        let entries = pairs.iter().map(|(chain, key)| certified(chain, key, provider)).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Every leaf.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Certificate> {
        self.entries.iter().map(|entry| &entry.leaf)
    }
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the requested name whose key the client can verify, else the first one.
    ///
    /// A client that requests an unknown name still gets a certificate: it may trust that by other means, and if not it
    /// can report the names in it, which it could not do after an alert.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |entry: &&Entry| entry.key.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().and_then(|name| {
            self.entries.iter().filter(usable).find(|entry| entry.leaf.dns.iter().any(|known| covers(known, name)))
        });
        named.or_else(|| self.entries.iter().find(usable)).or(self.entries.first()).map(|entry| entry.key.clone())
    }
}

/// Whether a dNSName covers a host: equal, or a wildcard for exactly the first label (RFC 9525, 6.3).
fn covers(known: &str, host: &str) -> bool {
    match known.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
        }
        None => known.eq_ignore_ascii_case(host),
    }
}

fn certified(chain: &PemSource, key: &PemSource, provider: &CryptoProvider) -> Result<Entry, PolicyError> {
    let certificates = chain.certificates()?;
    let unusable = |detail: String| PolicyError::Certificate { file: chain.name.clone(), detail };
    let first = certificates.first().ok_or_else(|| unusable("it is empty".to_owned()))?;
    let leaf = Certificate::from_der(first).map_err(|error| unusable(error.to_string()))?;
    let signing = provider
        .key_provider
        .load_private_key(key.private_key()?)
        .map_err(|error| PolicyError::Key { file: key.name.clone(), detail: in_words(&error) })?;
    // rustls compares the keys itself, but only for certificates that webpki can parse, which excludes version 1.
    if signing.public_key().is_some_and(|public_key| public_key != leaf.public_key) {
        return Err(PolicyError::KeyMismatch { certificate: chain.name.clone(), key: key.name.clone() });
    }
    Ok(Entry { leaf, key: Arc::new(CertifiedKey::new(certificates, signing)) })
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("a.example", "A.Example"));
        assert!(covers("*.example", "a.example"));
        assert!(!covers("*.example", "a.b.example"));
        assert!(!covers("*.example", "example"));
        assert!(!covers("*.example", ".example"));
        assert!(!covers("a.example", "b.example"));
    }
}
