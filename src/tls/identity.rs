//! The identity in a verified certificate.

use std::fmt;
use std::sync::Arc;

use super::certificate::{Certificate, MalformedCertificate, brief, hex};

/// The names in a verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Subject alternative names of type dNSName (RFC 5280, 4.2.1.6).
    pub dns: Vec<String>,
    /// Subject alternative names of type uniformResourceIdentifier, such as a SPIFFE ID.
    pub uris: Vec<String>,
    /// Subject alternative names of type rfc822Name.
    pub emails: Vec<String>,
    /// SHA-256 of the whole certificate in DER.
    pub fingerprint: [u8; 32],
    /// The anchor of the certificate's path; `None` if the certificate was parsed but not verified.
    pub anchor: Option<Arc<Anchor>>,
}

impl Identity {
    /// Parses the names of a certificate that was verified elsewhere. Names with a NUL are left out.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let certificate = Certificate::from_der(der)?;
        // A comparison of C strings would mistake a name with a NUL for another name.
        let whole = |names: Vec<String>| names.into_iter().filter(|name| !name.contains('\0')).collect();
        Ok(Self {
            fingerprint: certificate.fingerprint(),
            common_name: certificate.common_name,
            dns: whole(certificate.dns),
            uris: whole(certificate.uris),
            emails: whole(certificate.emails),
            anchor: None,
        })
    }

    /// Heap bytes of the names. A certificate may have thousands of short ones, each of which is an allocation.
    pub(crate) fn memory(&self) -> usize {
        /// What the allocator takes for a string of no length.
        const ALLOCATION: usize = 32;
        let lists = [&self.dns, &self.uris, &self.emails];
        let listed = lists.into_iter().flatten().chain(&self.common_name);
        let slots: usize = lists.into_iter().map(Vec::capacity).sum();
        size_of::<Self>() + slots * size_of::<String>() + listed.map(|name| ALLOCATION + name.capacity()).sum::<usize>()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.common_name.as_deref().map_or_else(|| "(no common name)".to_owned(), brief);
        write!(f, "{name} (sha256 {})", hex(&self.fingerprint))
    }
}

/// The listed certificate that a client's trust is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Anchor {
    /// Whether it may issue, or is accepted only as itself.
    pub kind: AnchorKind,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// SHA-256 of the listed certificate in DER.
    pub fingerprint: [u8; 32],
    /// The file that lists it.
    pub file: String,
}

/// How a listed certificate may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    /// A certificate authority: trusted for everything it issues.
    Issuer,
    /// One certificate, accepted as itself and for nothing else.
    Pin,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.common_name.as_deref().unwrap_or("(no common name)");
        write!(f, "{name} ({}, sha256 {})", self.file, hex(&self.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::{Authority, KeyKind, Role, Subject};
    use crate::tls::pem::PemSource;

    #[test]
    fn names_of_every_kind_are_read() {
        let names = ["DNS:a.example", "URI:spiffe://example/a", "EMAIL:a@example.org", "IP:10.0.0.1"];
        let subject = Subject::named("alice", &names.map(str::to_owned)).expect("good names");
        let authority = Authority::create(KeyKind::Ed25519, "test CA", 1_000_000_000).expect("a CA");
        let issued = authority.issue(Role::Client, &subject, KeyKind::Ed25519, 1_000_000_000).expect("a leaf");
        let source = PemSource { name: "a".to_owned(), bytes: issued.certificate.into_bytes() };
        let der = source.certificates().expect("a certificate").swap_remove(0);

        let identity = Identity::from_der(&der).expect("it reads");
        assert_eq!(identity.common_name.as_deref(), Some("alice"));
        assert_eq!(identity.dns, ["a.example"]);
        assert_eq!(identity.uris, ["spiffe://example/a"]);
        assert_eq!(identity.emails, ["a@example.org"]);
        let at = der.windows(9).position(|window| window == b"a.example").expect("the name");
        let mut cut = der.to_vec();
        cut[at + 2] = 0;
        assert!(Identity::from_der(&cut).expect("it reads").dns.is_empty(), "a name with a NUL is withheld");
        assert!(Identity::from_der(&der[..der.len() - 1]).is_err());
        let mut longer = der.to_vec();
        longer.push(0);
        assert!(Identity::from_der(&longer).is_err());
    }
}
