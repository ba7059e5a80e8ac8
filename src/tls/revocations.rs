//! The revocations of a CA, for its next revocation list (RFC 5280, 5.2 and 5.3).

use rcgen::RevocationReason;
use x509_parser::num_bigint::BigUint;

use super::authority_error::AuthorityError;
use super::certificate::Certificate;
use super::crl::{Entry, List, significant};
use super::pem::PemSource;

/// The contents of a CA's earlier lists, to be kept in the next one.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    pub(super) entries: Vec<Revocation>,
    /// The highest CRL number so far.
    number: Option<BigUint>,
}

/// One revoked certificate.
#[derive(Clone, Debug)]
pub(super) struct Revocation {
    pub(super) serial: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub(super) at: u64,
    pub(super) reason: Option<RevocationReason>,
    /// The invalidity date, if known, in seconds since the Unix epoch.
    pub(super) invalid_since: Option<u64>,
}

impl Revocations {
    /// Parses the lists in a file, all of which `authority` must have signed. An expired list is read as well: renewing
    /// it must not lose its entries.
    pub fn read(source: &PemSource, authority: &Certificate) -> Result<Self, AuthorityError> {
        let broken = |detail: String| AuthorityError::RevocationList { file: source.name.clone(), detail };
        let mut read = Self::default();
        for der in source.revocation_lists()? {
            let entries = &mut read.entries;
            let list = List::read_each(&der, |entry| entries.push(Revocation::of(entry))).map_err(broken)?;
            if !list.is_signed_by(authority) {
                return Err(broken(format!("the revocation list was not signed by {}", authority.subject)));
            }
            if list.scope.is_partial() {
                let text =
                    "the revocation list covers a part of the CA's certificates only, and the next one would cover all";
                return Err(broken(text.to_owned()));
            }
            read.number = read.number.max(list.number.as_deref().map(BigUint::from_bytes_be));
        }
        Ok(read)
    }

    /// Revokes a certificate at `now`, in seconds since the Unix epoch; a certificate that is revoked already is
    /// unchanged.
    pub fn add(&mut self, serial: &[u8], now: u64) {
        if self.entries.iter().all(|entry| significant(&entry.serial) != significant(serial)) {
            self.entries.push(Revocation { serial: serial.to_vec(), at: now, reason: None, invalid_since: None });
        }
    }

    /// The number of revoked certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no certificate is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the next list, big-endian. Numbers increase (RFC 5280, 5.2.3), even within one second and when the
    /// clock steps back; without an earlier list, the time makes them increase.
    pub(super) fn next_number(&self, now: u64) -> Vec<u8> {
        let next = self.number.as_ref().map(|number| number + 1_u32);
        next.unwrap_or_default().max(BigUint::from(now)).to_bytes_be()
    }
}

impl Revocation {
    fn of(entry: &Entry<'_>) -> Self {
        Self {
            serial: entry.serial.to_vec(),
            at: entry.at,
            reason: entry.reason.and_then(reason),
            invalid_since: entry.invalid_since,
        }
    }
}

fn reason(code: u8) -> Option<RevocationReason> {
    Some(match code {
        1 => RevocationReason::KeyCompromise,
        2 => RevocationReason::CaCompromise,
        3 => RevocationReason::AffiliationChanged,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        6 => RevocationReason::CertificateHold,
        8 => RevocationReason::RemoveFromCrl,
        9 => RevocationReason::PrivilegeWithdrawn,
        10 => RevocationReason::AaCompromise,
        // "Unspecified" is expressed by leaving the reason out (RFC 5280, 5.3.1).
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::{Authority, KeyKind};

    const NOW: u64 = 1_000_000_000;

    fn authority() -> Authority {
        Authority::create(KeyKind::Ed25519, "a CA", NOW).expect("a CA")
    }

    /// The revocations parsed from the list that is made at `now` from `before`.
    fn renewed(authority: &Authority, before: &Revocations, now: u64) -> Revocations {
        let list = authority.renewed_list(before, 30, now).expect("a list");
        let source = PemSource { name: "crl.pem".to_owned(), bytes: list.into_bytes() };
        Revocations::read(&source, authority.certificate()).expect("its own list")
    }

    #[test]
    fn list_numbers_increase_whatever_the_clock_does() {
        let authority = authority();
        let mut lists = Revocations::default();
        for (now, number) in [(NOW, NOW), (NOW, NOW + 1), (NOW - 5000, NOW + 2), (NOW + 9, NOW + 9)] {
            lists = renewed(&authority, &lists, now);
            assert_eq!(lists.number, Some(BigUint::from(number)));
        }
        assert_eq!(Revocations::default().next_number(NOW), BigUint::from(NOW).to_bytes_be());
    }

    #[test]
    fn entries_keep_their_dates_and_reasons() {
        let authority = authority();
        let entry = |serial: u8, reason| Revocation {
            serial: vec![serial],
            at: NOW - 7,
            reason,
            invalid_since: (serial == 1).then_some(NOW - 99),
        };
        let mut lists = Revocations {
            entries: vec![entry(1, Some(RevocationReason::KeyCompromise)), entry(2, None)],
            number: None,
        };
        for _ in 0..3 {
            lists = renewed(&authority, &lists, NOW);
            lists.add(&[2], NOW);
        }
        lists.add(&[3], NOW);
        let lists = renewed(&authority, &lists, NOW);
        let read: Vec<_> =
            lists.entries.iter().map(|entry| (entry.serial[0], entry.at, entry.reason, entry.invalid_since)).collect();
        let compromised = Some(RevocationReason::KeyCompromise);
        assert_eq!(read, [(1, NOW - 7, compromised, Some(NOW - 99)), (2, NOW - 7, None, None), (3, NOW, None, None)]);
        let other = Authority::create(KeyKind::Ed25519, "a CA", NOW).expect("a CA");
        let list = other.renewed_list(&lists, 30, NOW).expect("a list").into_bytes();
        let error = Revocations::read(&PemSource { name: "crl.pem".to_owned(), bytes: list }, authority.certificate());
        assert!(error.expect_err("another CA's").to_string().contains("was not signed by"));
    }
}
