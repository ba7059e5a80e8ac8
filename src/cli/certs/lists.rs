//! `certs check --crl`: whether a chain is revoked.

use std::path::Path;

use super::CertsError;
use crate::cli::files;
use crate::tls::{Certificate, RevocationList, date, significant};

/// The revocation lists in a file.
pub(super) struct Lists {
    lists: Vec<Signed>,
}

/// A list, with the CA that signed it.
struct Signed {
    authority: Certificate,
    list: RevocationList,
    /// Serial numbers without leading zeros, and revocation dates in seconds since the Unix epoch.
    revoked: Vec<(Vec<u8>, u64)>,
}

/// The revocation status of a chain.
pub(super) struct Found {
    /// Why a certificate of it is rejected.
    pub(super) reason: Option<String>,
    /// Whether a certificate is revoked, as opposed to unknown.
    pub(super) is_revoked: bool,
    /// Whether there is a list of the CA that issued the first certificate.
    pub(super) is_covered: bool,
}

impl Lists {
    /// Reads the lists at `path`, each of which must be signed by one of `authorities`. A list that `serve` would
    /// refuse is an error here too.
    pub(super) fn read(path: &Path, authorities: &[Certificate]) -> Result<Self, CertsError> {
        let broken = |why: String| CertsError::Usage(format!("{}: {why}", path.display()));
        let mut lists = Vec::new();
        for der in files::read(path)?.revocation_lists()? {
            let mut revoked = Vec::new();
            let list = RevocationList::read_each(&der, |entry| {
                revoked.push((significant(entry.serial).to_vec(), entry.at));
            });
            let list = list.map_err(broken)?;
            let issuer = &list.issuer;
            if list.is_sha1 {
                return Err(broken(format!(
                    "the revocation list of {issuer} is signed with SHA-1, which can be forged"
                )));
            }
            let signers: Vec<_> = authorities.iter().filter(|authority| list.is_signed_by(authority)).collect();
            let Some(authority) = signers.iter().find(|authority| authority.may_sign_lists) else {
                let why = if signers.is_empty() {
                    "is signed neither by a CA in --ca nor by one in the certificates' chain"
                } else {
                    "is signed with a key that may not sign lists: that CA's keyUsage has no cRLSign (RFC 5280, 6.3.3)"
                };
                return Err(broken(format!("the revocation list of {issuer} {why}")));
            };
            lists.push(Signed { authority: (*authority).clone(), list, revoked });
        }
        Ok(Self { lists })
    }

    /// The revocation status of a chain, the leaf first, at `now` (seconds since the Unix epoch).
    pub(super) fn of(&self, chain: &[Certificate], now: u64) -> Found {
        let mut found = Found { reason: None, is_revoked: false, is_covered: false };
        for (at, certificate) in chain.iter().enumerate() {
            let name = if at == 0 { "it".to_owned() } else { format!("its issuer {}", certificate.subject) };
            // A serial number is unique within its CA only.
            let lists = self.lists.iter().filter(|signed| certificate.is_issued_by(&signed.authority));
            let Some(first) = lists.clone().next() else { continue };
            found.is_covered |= at == 0;
            let serial = significant(&certificate.serial);
            let mut entries = lists.clone().flat_map(|signed| &signed.revoked);
            if let Some((_, moment)) = entries.find(|(revoked, _)| revoked == serial) {
                found.reason = Some(format!("with this --crl, {name} was revoked on {}", date(*moment)));
                found.is_revoked = true;
                return found;
            }
            let ca = &first.authority.subject;
            // An expired list, or one with another scope, proves nothing.
            let covering = lists.filter(|signed| signed.list.scope.covers(certificate));
            let why = match covering.map(|signed| signed.list.next_update).max() {
                None => format!("no list of {ca} covers certificates like {name}"),
                Some(end) if end < now => format!("the list of {ca} expired on {}", date(end)),
                Some(_) => continue,
            };
            found.reason.get_or_insert(format!("with this --crl, the revocation status is unknown: {why}"));
        }
        found
    }
}
