//! Certificate revocation lists (RFC 5280, section 5).
//!
//! A list applies to the end entities of the CA whose key signed it. A CA without a list is not checked for revocation,
//! and the policy's description says so. A list past its next update is worth nothing: the certificates of its CA are
//! then refused, because a revoked one could be among them.
//!
//! A list's signature is checked once, when it is loaded, and not for every client as webpki would; webpki also passes
//! over a list in silence when its scope and the certificate's distribution points do not match, where here it applies.

use std::collections::BTreeSet;

use webpki::OwnedCertRevocationList;
use x509_parser::prelude::{CertificateRevocationList, FromDer, IssuingDistributionPoint, ParsedExtension};

use super::certificate::{Certificate, date};
use super::pem::Source;
use super::trust::{Refusal, TrustError};

/// The revocation lists of one policy.
#[derive(Debug, Default)]
pub(crate) struct RevocationLists {
    lists: Vec<List>,
}

#[derive(Debug)]
struct List {
    authority: String,
    /// Two CAs may have the same name, but not the same key.
    public_key: Vec<u8>,
    revoked: BTreeSet<Vec<u8>>,
    next_update: u64,
}

impl RevocationLists {
    /// Reads the lists, each of which must be signed by one of `authorities` and not be out of date at `now`.
    pub(crate) fn new(sources: &[Source], authorities: &[Certificate], now: u64) -> Result<Self, TrustError> {
        let mut lists = Vec::new();
        for source in sources {
            for der in source.revocation_lists()? {
                let list = read(&der, authorities, now)
                    .map_err(|detail| TrustError::RevocationList { file: source.name.clone(), detail })?;
                lists.push(list);
            }
        }
        Ok(Self { lists })
    }

    /// Decides on a certificate whose issuer has `issuer_key` (a SubjectPublicKeyInfo in DER). Returns until when that
    /// holds: the end of time when no list covers it.
    pub(crate) fn check(&self, certificate: &Certificate, issuer_key: &[u8], now: u64) -> Result<u64, Refusal> {
        let mut until = u64::MAX;
        for list in self.lists.iter().filter(|list| list.public_key == issuer_key) {
            if list.revoked.contains(significant(&certificate.serial)) {
                return Err(Refusal::Revoked);
            }
            if list.next_update < now {
                return Err(Refusal::RevocationListExpired { next_update: Some(list.next_update) });
            }
            until = until.min(list.next_update);
        }
        Ok(until)
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// When the first list goes out of date, in seconds since the Unix epoch.
    pub(crate) fn earliest_update(&self) -> Option<u64> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    /// The CAs whose list is out of date at `now`.
    pub(crate) fn outdated(&self, now: u64) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(move |list| list.next_update < now).map(|list| list.authority.as_str())
    }

    /// Whether the CA has a list.
    pub(crate) fn covers(&self, authority: &Certificate) -> bool {
        self.lists.iter().any(|list| list.public_key == authority.public_key.as_ref())
    }
}

/// A serial number without the zeros that encodings put before it or leave away.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

fn read(der: &[u8], authorities: &[Certificate], now: u64) -> Result<List, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("not a usable revocation list: {error}");
    // webpki refuses what would need more than a look for a serial number: deltas, foreign entries, critical unknowns.
    OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
    let issuer = list.issuer();
    if list.extensions().iter().any(|extension| is_partial(extension.parsed_extension())) {
        return Err(format!("the revocation list of {issuer} does not cover all certificates of clients"));
    }
    let next_update = list.next_update().and_then(|time| u64::try_from(time.timestamp()).ok()).unwrap_or(0);
    if next_update < now {
        let since = date(next_update);
        return Err(format!(
            "the revocation list of {issuer} went out of date on {since}; fetch or make a new one (`latchkey certs revoke`)"
        ));
    }
    let mut named = authorities.iter().filter(|authority| authority.subject_der == issuer.as_raw()).peekable();
    if named.peek().is_none() {
        return Err(format!(
            "the revocation list was issued by {issuer}, which is not in --client-ca, so it would apply to nobody"
        ));
    }
    let Some(authority) = named.find(|authority| is_signed_by(&list, authority)) else {
        return Err(format!("the revocation list of {issuer} is not signed with that CA's key"));
    };
    Ok(List {
        authority: authority.subject.clone(),
        public_key: authority.public_key.to_vec(),
        revoked: list.iter_revoked_certificates().map(|entry| significant(entry.raw_serial()).to_vec()).collect(),
        next_update,
    })
}

/// Whether a list's scope leaves out some end entities or some reasons (RFC 5280, 5.2.5).
fn is_partial(extension: &ParsedExtension<'_>) -> bool {
    let ParsedExtension::IssuingDistributionPoint(scope) = extension else { return false };
    let IssuingDistributionPoint {
        only_contains_ca_certs,
        only_some_reasons,
        indirect_crl,
        only_contains_attribute_certs,
        ..
    } = scope;
    *only_contains_ca_certs || only_some_reasons.is_some() || *indirect_crl || *only_contains_attribute_certs
}

fn is_signed_by(list: &CertificateRevocationList<'_>, authority: &Certificate) -> bool {
    authority.has_signed(list.tbs_cert_list.as_ref(), &list.signature_value.data)
}

/// The serial numbers in a revocation list of `authority`, each with when it was revoked (seconds since the Unix
/// epoch). A list out of date is read as well: renewing it must not lose what it says.
pub fn revoked_serials(source: &Source, authority: &Certificate) -> Result<Vec<(Vec<u8>, u64)>, TrustError> {
    let broken = |detail: String| TrustError::RevocationList { file: source.name.clone(), detail };
    let mut revoked = Vec::new();
    for der in source.revocation_lists()? {
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| broken(error.to_string()))?;
        if !is_signed_by(&list, authority) {
            return Err(broken(format!("the revocation list was not signed by {}", authority.subject)));
        }
        revoked.extend(list.iter_revoked_certificates().map(|entry| {
            let at = u64::try_from(entry.revocation_date.timestamp()).unwrap_or(0);
            (entry.raw_serial().to_vec(), at)
        }));
    }
    Ok(revoked)
}
