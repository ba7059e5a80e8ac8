//! The certificates listed as trusted, by what each may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::TrustAnchor;

use crate::tls::certificate::{Certificate, MalformedCertificate};
use crate::tls::der::{self, Reader};
use crate::tls::identity::{Anchor, AnchorKind};
use crate::tls::pem::{PemError, PemSource, Written};
use crate::tls::trust::Refusal;

/// Why a file is not usable as a list of trusted certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It does not contain the PEM sections that are needed.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate in it cannot be read.
    #[error("{file}: {source}")]
    Certificate {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: MalformedCertificate,
    },
    /// A certificate in it cannot be used for what it is listed for.
    #[error(
        "{file}: the certificate of {subject} was issued by another CA and is not a CA itself, so no client can be verified with it; to accept just this one client, list it with --client-pin"
    )]
    NotAuthority {
        /// The file.
        file: String,
        /// The subject.
        subject: String,
    },
    /// OpenSSL's trust settings of a certificate do not allow what it is listed for.
    #[error(
        "{file}: line {line}: the trust settings of this TRUSTED CERTIFICATE do not allow {purpose}; remove them with `openssl x509 -in {file} -out {file}.pem`, if it is to be trusted for that"
    )]
    Settings {
        /// The file.
        file: String,
        /// The line where the certificate begins.
        line: usize,
        /// The purpose that it is listed for.
        purpose: &'static str,
    },
    /// webpki does not accept it as a trust anchor.
    #[error("{file}: the certificate of {subject} cannot be a trust anchor: {detail}")]
    Anchor {
        /// The file.
        file: String,
        /// The subject.
        subject: String,
        /// webpki's error.
        detail: String,
    },
    /// A revocation list cannot be used.
    #[error("{file}: {detail}")]
    RevocationList {
        /// The file.
        file: String,
        /// What is wrong with it and how to correct it.
        detail: String,
    },
}

/// Trusted certificates, in the order in which they were listed.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    listed: Vec<Arc<Anchor>>,
    certificates: Vec<Certificate>,
    /// DER to position, for certificates accepted as themselves.
    exact: BTreeMap<Vec<u8>, usize>,
    /// Certificates accepted as issuers, in webpki's form, and the position of each.
    roots: Vec<TrustAnchor<'static>>,
    root_positions: Vec<usize>,
    /// For each certificate, the positions of the listed ones that have issued it: its own, if it is self-signed.
    issuers: Vec<Vec<usize>>,
}

/// The side of a connection that a listed certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vouching {
    ForServers,
    ForClients,
}

impl Vouching {
    fn name(self) -> &'static str {
        match self {
            Self::ForServers => "serverAuth",
            Self::ForClients => "clientAuth",
        }
    }

    /// Its key purpose (RFC 5280, 4.2.1.12): the contents of an OBJECT IDENTIFIER.
    fn purpose(self) -> &'static [u8] {
        match self {
            Self::ForServers => b"\x2b\x06\x01\x05\x05\x07\x03\x01",
            Self::ForClients => b"\x2b\x06\x01\x05\x05\x07\x03\x02",
        }
    }

    /// Whether OpenSSL's trust settings (`X509_CERT_AUX`) allow this, by OpenSSL's rules: no rejection applies, and if
    /// any use is allowed explicitly, this one is. Settings that cannot be parsed allow nothing.
    fn is_allowed(self, settings: &[u8]) -> bool {
        const ANY: &[u8] = b"\x55\x1d\x25\x00";
        if settings.is_empty() {
            return true;
        }
        let names = |list: Reader<'_>| {
            let purposes = list.all(der::OBJECT_IDENTIFIER)?;
            Some(purposes.iter().any(|each| each.value == self.purpose() || each.value == ANY))
        };
        let judge = || {
            let mut fields = der::sequence(settings)?;
            let trusted = fields.optional(&[der::SEQUENCE]);
            let rejected = fields.optional(&[der::tagged(0)]);
            while !fields.is_empty() {
                fields.element()?;
            }
            let is_trusted = trusted.map_or(Some(true), |list| names(Reader::new(list.value)))?;
            let is_rejected = rejected.map_or(Some(false), |list| names(Reader::new(list.value)))?;
            Some(is_trusted && !is_rejected)
        };
        judge().unwrap_or(false)
    }
}

/// Parses the certificates in a file.
pub(super) fn read(source: &PemSource, vouching: Vouching) -> Result<Vec<Certificate>, TrustError> {
    let unreadable = |error| TrustError::Certificate { file: source.name.clone(), source: error };
    let mut certificates = Vec::new();
    for Written { der, settings, line } in source.written_certificates()? {
        if settings.is_some_and(|settings| !vouching.is_allowed(&settings)) {
            return Err(TrustError::Settings { file: source.name.clone(), line, purpose: vouching.name() });
        }
        certificates.push(Certificate::from_der(&der).map_err(unreadable)?);
    }
    Ok(certificates)
}

impl Anchors {
    /// Adds a certificate authority, or a self-signed certificate, which is also accepted as itself.
    ///
    /// A self-signed certificate may also issue unless it has CA:FALSE; one without basicConstraints (version 1, from
    /// old recipes) may, as in OpenSSL.
    pub(super) fn add_authority(&mut self, certificate: Certificate, file: &str) -> Result<(), TrustError> {
        let itself = certificate.is_self_issued();
        let issues = certificate.ca.unwrap_or(itself);
        if !itself && !issues {
            return Err(TrustError::NotAuthority { file: file.to_owned(), subject: certificate.subject });
        }
        let kind = if issues { AnchorKind::Issuer } else { AnchorKind::Pin };
        let root = issues.then(|| root(&certificate, file)).transpose()?;
        let position = self.list(certificate, file, kind, itself);
        if let Some(root) = root {
            self.roots.push(root);
            self.root_positions.push(position);
        }
        Ok(())
    }

    /// Adds a certificate that is accepted as itself and never as an issuer.
    pub(super) fn add_pin(&mut self, certificate: Certificate, file: &str) {
        self.list(certificate, file, AnchorKind::Pin, true);
    }

    fn list(&mut self, certificate: Certificate, file: &str, kind: AnchorKind, itself: bool) -> usize {
        let position = self.listed.len();
        self.listed.push(Arc::new(Anchor {
            kind,
            common_name: certificate.common_name.clone(),
            fingerprint: certificate.fingerprint(),
            file: file.to_owned(),
        }));
        if itself {
            self.exact.entry(certificate.der.to_vec()).or_insert(position);
        }
        self.certificates.push(certificate);
        position
    }

    /// Determines which listed certificates have issued which. Call it once, after all are added.
    pub(super) fn relate(&mut self) {
        let has_issued = |certificate: &Certificate, position: &usize| {
            self.certificates.get(*position).is_some_and(|issuer| certificate.is_issued_by(issuer))
        };
        let candidates = issuers_by_name(&self.certificates).into_iter().zip(&self.certificates);
        let issuers = candidates.map(|(mut positions, certificate)| {
            positions.retain(|position| has_issued(certificate, position));
            positions
        });
        self.issuers = issuers.collect();
    }

    /// The listed certificates that have issued the one at `position`.
    pub(super) fn issuers_of(&self, position: usize) -> impl Iterator<Item = &Certificate> {
        let positions = self.issuers.get(position).into_iter().flatten();
        positions.filter_map(|position| self.certificates.get(*position))
    }

    pub(super) fn certificate(&self, position: usize) -> Option<&Certificate> {
        self.certificates.get(position)
    }

    pub(super) fn get(&self, position: usize) -> Option<&Arc<Anchor>> {
        self.listed.get(position)
    }

    pub(super) fn all(&self) -> &[Arc<Anchor>] {
        &self.listed
    }

    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    pub(super) fn count(&self, kind: AnchorKind) -> usize {
        self.listed.iter().filter(|anchor| anchor.kind == kind).count()
    }

    pub(super) fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.roots
    }

    /// The position of the listed certificate that is equal to this one, byte for byte.
    pub(super) fn exact(&self, der: &[u8]) -> Option<(usize, &Certificate)> {
        let position = *self.exact.get(der)?;
        Some((position, self.certificates.get(position)?))
    }

    /// The position of the listed certificate for a root to which webpki built a path.
    pub(super) fn of_root(&self, root: &TrustAnchor<'_>) -> Option<usize> {
        let index = self.roots.iter().position(|known| {
            known.subject == root.subject && known.subject_public_key_info == root.subject_public_key_info
        })?;
        self.root_positions.get(index).copied()
    }
}

/// For each certificate, the positions of those that have its issuer's name. Only these are worth verifying a signature:
/// there may be thousands of certificates.
fn issuers_by_name(certificates: &[Certificate]) -> Vec<Vec<usize>> {
    let mut named: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (position, certificate) in certificates.iter().enumerate() {
        named.entry(&certificate.subject_der).or_default().push(position);
    }
    let by_name = |certificate: &Certificate| named.get(certificate.issuer_der.as_slice()).cloned().unwrap_or_default();
    certificates.iter().map(by_name).collect()
}

fn root(certificate: &Certificate, file: &str) -> Result<TrustAnchor<'static>, TrustError> {
    let anchor = webpki::anchor_from_trusted_cert(&certificate.der).map_err(|error| TrustError::Anchor {
        file: file.to_owned(),
        subject: certificate.subject.clone(),
        detail: error.to_string(),
    })?;
    Ok(anchor.to_owned())
}

/// Checks the dates of a certificate that was recognised as itself, which webpki did not do.
pub(super) fn check_dates(certificate: &Certificate, now: u64) -> Result<(), Refusal> {
    if now < certificate.not_before {
        return Err(Refusal::NotYetValid { not_before: Some(certificate.not_before) });
    }
    if now > certificate.not_after {
        return Err(Refusal::Expired { not_after: Some(certificate.not_after) });
    }
    Ok(())
}

/// The largest certificate that is parsed again for the sake of a message: its sender is not trusted.
const EXPLAINED_BYTES: usize = 16 << 10;

/// Adds details to a refusal by webpki that webpki does not report.
pub(super) fn explain(error: webpki::Error, end_entity: &[u8]) -> Refusal {
    let refusal = Refusal::of_webpki(error);
    if end_entity.len() > EXPLAINED_BYTES {
        return refusal;
    }
    let Ok(certificate) = Certificate::from_der(end_entity) else { return refusal };
    match refusal {
        // Whichever error webpki reported first, the cure for these two comes first.
        Refusal::UnknownIssuer { .. } | Refusal::CaAsEndEntity { .. } | Refusal::Rule(_)
            if certificate.is_self_issued() =>
        {
            Refusal::SelfSigned { subject: certificate.subject }
        }
        Refusal::UnknownIssuer { .. } => Refusal::UnknownIssuer { issuer: certificate.issuer },
        Refusal::CaAsEndEntity { .. } => Refusal::CaAsEndEntity { subject: certificate.subject },
        // The dates belong to another certificate.
        Refusal::Expired { not_after: Some(end) } if end != certificate.not_after => {
            Refusal::IssuerExpired { not_after: end }
        }
        Refusal::NotYetValid { not_before: Some(begin) } if begin != certificate.not_before => {
            Refusal::IssuerNotYetValid { not_before: begin }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::{Authority, KeyKind};

    const NOW: u64 = 1_000_000_000;

    #[test]
    fn certificates_are_compared_only_with_those_of_their_issuers_name() {
        let mut anchors = Anchors::default();
        let name = |number: usize| format!("CA {}", number.min(97));
        for number in 0..100 {
            let authority = Authority::create(KeyKind::Ed25519, &name(number), NOW).expect("a CA");
            anchors.add_authority(authority.certificate().clone(), "ca.pem").expect("a CA");
        }
        anchors.relate();
        let compared = issuers_by_name(anchors.certificates());
        // The last three have the same name and different keys.
        assert_eq!(compared.iter().map(Vec::len).sum::<usize>(), 97 + 3 * 3);
        let issuers: Vec<Vec<usize>> = (0..100).map(|position| vec![position]).collect();
        assert_eq!(anchors.issuers, issuers);
    }
}
