//! `certs check --crl`: what revocation lists say of a chain.

use std::path::Path;

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{CertsError, unreadable};
use crate::cli::files;
use crate::tls::{Certificate, Unreadable, date};

/// The revocation lists in a file.
pub(super) struct Lists {
    lists: Vec<List>,
}

/// One list, with the CA that signed it.
struct List {
    authority: Certificate,
    /// Serial numbers without leading zeros, and when they were revoked, in seconds since the Unix epoch.
    revoked: Vec<(Vec<u8>, u64)>,
    next_update: Option<u64>,
}

/// What the lists say of one chain.
pub(super) struct Found {
    /// Why a certificate of it is no longer good.
    pub(super) reason: Option<String>,
    /// Whether one was revoked, and not only unknown.
    pub(super) is_revoked: bool,
    /// Whether a list is that of the CA which issued the first.
    pub(super) is_covered: bool,
}

impl Lists {
    /// Reads the lists at `path`, each of which one of `authorities` must have signed.
    pub(super) fn read(path: &Path, authorities: &[Certificate]) -> Result<Self, CertsError> {
        let broken = |error: String| unreadable(path)(Unreadable(error));
        let mut lists = Vec::new();
        for der in files::read(path)?.revocation_lists()? {
            let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| broken(error.to_string()))?;
            let signed = |ca: &&Certificate| ca.has_signed(list.tbs_cert_list.as_ref(), &list.signature_value.data);
            let Some(authority) = authorities.iter().find(signed) else {
                let text = format!(
                    "{}: the revocation list of {} was signed by none of the CAs in --ca, nor by one that came with the \
                     certificates",
                    path.display(),
                    list.issuer()
                );
                return Err(CertsError::Usage(text));
            };
            let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
            lists.push(List {
                authority: authority.clone(),
                revoked: list
                    .iter_revoked_certificates()
                    .map(|entry| (significant(entry.raw_serial()), seconds(entry.revocation_date.timestamp())))
                    .collect(),
                next_update: list.next_update().map(|time| seconds(time.timestamp())),
            });
        }
        Ok(Self { lists })
    }

    /// What they say of a chain, the certificate in question first, at `now` (seconds since the Unix epoch).
    pub(super) fn of(&self, chain: &[Certificate], now: u64) -> Found {
        let mut found = Found { reason: None, is_revoked: false, is_covered: false };
        for (at, certificate) in chain.iter().enumerate() {
            let name = if at == 0 { "it".to_owned() } else { format!("its issuer {}", certificate.subject) };
            // A serial number says nothing without the CA that gave it.
            for list in self.lists.iter().filter(|list| certificate.is_issued_by(&list.authority)) {
                found.is_covered |= at == 0;
                let serial = significant(&certificate.serial);
                if let Some((_, moment)) = list.revoked.iter().find(|(revoked, _)| *revoked == serial) {
                    found.reason = Some(format!("with this --crl, {name} was revoked on {}", date(*moment)));
                    found.is_revoked = true;
                    return found;
                }
                if list.next_update.is_none_or(|end| end < now) {
                    let ca = &list.authority.subject;
                    let since = list.next_update.map_or_else(String::new, |end| format!(" on {}", date(end)));
                    let why = format!("with this --crl, nothing is known: the list of {ca} went out of date{since}");
                    found.reason.get_or_insert(why);
                }
            }
        }
        found
    }
}

fn significant(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|octet| *octet == 0).collect()
}
