//! Certificate revocation lists (RFC 5280, section 5).
//!
//! A list applies to the end entities of the CA that issued it. A CA without a list is not checked for revocation, and
//! the policy's description says so. A list past its next update is worth nothing: the certificates of its CA are then
//! refused, because a revoked one could be among them.

use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::certificate::{Certificate, date};
use super::pem::Source;
use super::trust::TrustError;

/// The revocation lists of one policy.
#[derive(Debug, Default)]
pub(crate) struct RevocationLists {
    lists: Vec<List>,
}

#[derive(Debug)]
struct List {
    entries: CertRevocationList<'static>,
    issuer_der: Vec<u8>,
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

    /// The lists as webpki takes them.
    pub(crate) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().map(|list| &list.entries).collect()
    }

    /// How webpki is to use them: the end entity only, an unlisted CA unchecked, a list out of date refused.
    pub(crate) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        Some(
            builder
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build(),
        )
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// When the first list goes out of date, in seconds since the Unix epoch.
    pub(crate) fn earliest_update(&self) -> Option<u64> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    /// Whether the CA with this subject name has a list.
    pub(crate) fn covers(&self, authority: &Certificate) -> bool {
        self.lists.iter().any(|list| list.issuer_der == authority.subject_der)
    }

    /// When the list that covers `certificate` goes out of date; the end of time when none does.
    pub(crate) fn until(&self, certificate: &Certificate) -> u64 {
        let covering = self.lists.iter().filter(|list| list.issuer_der == certificate.issuer_der);
        covering.map(|list| list.next_update).min().unwrap_or(u64::MAX)
    }
}

fn read(der: &[u8], authorities: &[Certificate], now: u64) -> Result<List, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("not a usable revocation list: {error}");
    let list = OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
    let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
    let issuer_der = parsed.issuer().as_raw().to_vec();
    let next_update = parsed.next_update().and_then(|time| u64::try_from(time.timestamp()).ok()).unwrap_or(0);
    if next_update < now {
        return Err(format!(
            "the revocation list of {} went out of date on {}; fetch or make a new one (`latchkey certs revoke`)",
            parsed.issuer(),
            date(next_update)
        ));
    }
    let mut named = authorities.iter().filter(|authority| authority.subject_der == issuer_der).peekable();
    if named.peek().is_none() {
        return Err(format!(
            "the revocation list was issued by {}, which is not in --client-ca, so it would apply to nobody",
            parsed.issuer()
        ));
    }
    if !named.any(|authority| is_signed_by(&parsed, authority)) {
        return Err(format!("the revocation list of {} is not signed with that CA's key", parsed.issuer()));
    }
    Ok(List { entries: list.into(), issuer_der, next_update })
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
