//! The server's side: which clients are accepted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::anchors::{self, Anchors, TrustError, Vouching};
use super::{Refusal, chain as bounds, signature};
use crate::limits::Limits;
use crate::tls::certificate::{Certificate, MalformedCertificate};
use crate::tls::identity::{Anchor, AnchorKind, Identity};
use crate::tls::pem::PemSource;
use crate::tls::revocation::{OutdatedLists, RevocationLists, Standing};

/// The certificates that a listener accepts from clients.
#[derive(Debug)]
pub struct ClientTrust {
    anchors: Anchors,
    revocation: RevocationLists,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    max_chain: usize,
}

/// The result for an accepted certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authentication {
    /// The position of the listed certificate that is its anchor.
    pub(crate) anchor: usize,
    /// Until when it is valid without another check, in seconds since the Unix epoch: the certificate's own end, or the
    /// next update of its CA's revocation list if that is earlier.
    pub(crate) until: u64,
}

impl ClientTrust {
    /// Accepts certificates issued by `authorities`, the self-signed ones of these also as themselves, and `pins` as
    /// themselves only. `revoked` are revocation lists of the authorities.
    pub fn new(
        authorities: &[PemSource],
        pins: &[PemSource],
        revoked: &[PemSource],
        provider: &CryptoProvider,
        now: u64,
    ) -> Result<Self, TrustError> {
        Self::with_outdated(authorities, pins, revoked, provider, now, OutdatedLists::Refused)
    }

    /// As [`new`](Self::new), with a choice about expired revocation lists.
    pub(crate) fn with_outdated(
        authorities: &[PemSource],
        pins: &[PemSource],
        revoked: &[PemSource],
        provider: &CryptoProvider,
        now: u64,
        outdated: OutdatedLists,
    ) -> Result<Self, TrustError> {
        let mut anchors = Anchors::default();
        for source in authorities {
            for certificate in anchors::read(source, Vouching::ForClients)? {
                anchors.add_authority(certificate, &source.name)?;
            }
        }
        for source in pins {
            for certificate in anchors::read(source, Vouching::ForClients)? {
                anchors.add_pin(certificate, &source.name);
            }
        }
        anchors.relate();
        let algorithms = provider.signature_verification_algorithms;
        let revocation = RevocationLists::new(revoked, anchors.certificates(), now, outdated)?;
        let max_chain = Limits::default().chain_certificates;
        Ok(Self { hints: hints(&anchors), anchors, revocation, algorithms, max_chain })
    }

    /// Keeps the revocation lists of `before` that no newer one replaces.
    pub(crate) fn keep_lists(&mut self, before: &Self) {
        self.revocation.keep(&before.revocation, self.anchors.certificates());
    }

    /// The same with a limit on the certificates in a chain.
    #[must_use]
    pub fn with_max_chain(self, certificates: usize) -> Self {
        Self { max_chain: certificates, ..self }
    }

    /// Every listed certificate, in the order of the files.
    #[must_use]
    pub fn anchors(&self) -> &[Arc<Anchor>] {
        self.anchors.all()
    }

    /// The listed certificates.
    pub(crate) fn listed(&self) -> &[Certificate] {
        self.anchors.certificates()
    }

    /// Revocation lists and what they cover.
    pub(crate) fn revocation(&self) -> &RevocationLists {
        &self.revocation
    }

    /// How many listed certificates may issue, and how many are pins.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.anchors.count(AnchorKind::Issuer), self.anchors.count(AnchorKind::Pin))
    }

    /// The listed certificates that may issue.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Certificate> {
        let issuing =
            |(anchor, certificate): (&Arc<Anchor>, _)| (anchor.kind == AnchorKind::Issuer).then_some(certificate);
        self.anchors.all().iter().zip(self.anchors.certificates()).filter_map(issuing)
    }

    /// The subjects of those that may issue and have no revocation list.
    pub(crate) fn unchecked_issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers().filter(|issuer| !self.revocation.covers(issuer)).map(|issuer| issuer.subject.as_str())
    }

    pub(crate) fn anchor(&self, position: usize) -> Option<&Arc<Anchor>> {
        self.anchors.get(position)
    }

    /// Decides on a client's chain, the end entity first. It does not prove that the client has the key.
    pub(crate) fn admit(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Authentication, Refusal> {
        bounds::check_length(chain.len(), self.max_chain)?;
        let (end_entity, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        if let Some((anchor, certificate)) = self.anchors.exact(end_entity) {
            anchors::check_dates(certificate, now.as_secs())?;
            let current = self.check_listed(anchor, certificate, now.as_secs())?;
            return Ok(Authentication { anchor, until: certificate.not_after.min(current) });
        }
        let refuse = |error| anchors::explain(error, end_entity);
        let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(refuse)?;
        let candidates = bounds::candidates(&parsed, intermediates, self.anchors.roots())?;
        let certificate =
            Certificate::from_der(end_entity).map_err(|error| Refusal::MalformedCertificate(error.to_string()))?;
        // The result for the last path that webpki accepted.
        let found = RefCell::new(None);
        let judge = |path: &webpki::VerifiedPath<'_>| {
            let verdict = self.judge(&certificate, path, now.as_secs());
            let is_good = verdict.is_ok();
            *found.borrow_mut() = Some(verdict);
            if is_good { Ok(()) } else { Err(webpki::Error::UnknownRevocationStatus) }
        };
        let verified = parsed.verify_for_usage(
            self.algorithms.all,
            self.anchors.roots(),
            &candidates,
            now,
            webpki::KeyUsage::client_auth(),
            None,
            Some(&judge),
        );
        match (verified, found.take()) {
            (Ok(_), Some(verdict)) | (Err(_), Some(verdict @ Err(_))) => verdict,
            (Err(error), _) => Err(refuse(error)),
            (Ok(_), None) => Err(Refusal::Rule("its path was not checked".to_owned())),
        }
    }

    /// Decides on a path to a listed CA by checks that webpki does not make: revocation of each certificate, whether
    /// the CAs on it may issue (RFC 5280, 6.1.4 (l) to (n); as in OpenSSL, for listed CAs too), and whether the
    /// client's key may be used for authentication.
    fn judge(
        &self,
        end_entity: &Certificate,
        path: &webpki::VerifiedPath<'_>,
        now: u64,
    ) -> Result<Authentication, Refusal> {
        if !end_entity.may_authenticate() {
            return Err(Refusal::Rule("its keyUsage does not allow signing (digitalSignature is missing)".to_owned()));
        }
        let unlisted = || Refusal::UnknownIssuer { issuer: "an unlisted CA".to_owned() };
        let position = self.anchors.of_root(path.anchor()).ok_or_else(unlisted)?;
        let anchor = self.anchors.certificate(position).ok_or_else(unlisted)?;
        let read = |authority: &webpki::Cert<'_>| Certificate::from_der(&authority.der());
        let between = path.intermediate_certificates().map(read).collect::<Result<Vec<_>, _>>();
        let between = between.map_err(|error| Refusal::MalformedCertificate(error.to_string()))?;
        let mut until = end_entity.not_after;
        let mut unknown = None;
        for (below, authority) in between.iter().chain([anchor]).enumerate() {
            check_may_issue(authority, below)?;
            let certificate = below.checked_sub(1).and_then(|index| between.get(index)).unwrap_or(end_entity);
            let standing = self.revocation.check(certificate, authority, now);
            match standing.map_err(|refusal| about(refusal, certificate, end_entity))? {
                Standing::Clear(next_update) => until = until.min(next_update),
                Standing::Unknown => unknown = unknown.or(Some(authority)),
            }
            until = until.min(certificate.not_after);
        }
        let current = self.check_listed(position, anchor, now).map_err(|refusal| about(refusal, anchor, end_entity))?;
        match unknown {
            Some(issuer) if self.revocation.covers(anchor) => {
                Err(Refusal::RevocationUnknown { issuer: issuer.subject.clone() })
            }
            _ => Ok(Authentication { anchor: position, until: until.min(current) }),
        }
    }

    /// Decides on a listed certificate by the lists of its issuers. Returns until when the result is valid.
    ///
    /// No other CA can revoke a self-signed one: its own list can only revoke it, not clear it.
    fn check_listed(&self, position: usize, certificate: &Certificate, now: u64) -> Result<u64, Refusal> {
        let mut until = u64::MAX;
        let by_listed = self.anchors.issuers_of(position).map(|issuer| self.revocation.check(certificate, issuer, now));
        for standing in by_listed.chain([self.revocation.check_by_name(certificate, now)]) {
            match (standing, certificate.is_self_issued()) {
                (Err(refusal), false) | (Err(refusal @ Refusal::Revoked), true) => return Err(refusal),
                (Ok(Standing::Clear(next_update)), false) => until = until.min(next_update),
                (Ok(Standing::Unknown), _) | (_, true) => {}
            }
        }
        Ok(until)
    }
}

/// Turns the revocation of a CA into one that does not name the client's own certificate.
fn about(refusal: Refusal, certificate: &Certificate, end_entity: &Certificate) -> Refusal {
    match refusal {
        Refusal::Revoked if certificate.der != end_entity.der => {
            Refusal::IssuerRevoked { subject: certificate.subject.clone() }
        }
        other => other,
    }
}

/// Whether a CA may issue with `below` other CAs between it and the end entity.
fn check_may_issue(authority: &Certificate, below: usize) -> Result<(), Refusal> {
    if !authority.may_sign_certificates {
        let subject = &authority.subject;
        return Err(Refusal::Rule(format!("the keyUsage of {subject} does not allow signing certificates")));
    }
    if authority.path_length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length < below)) {
        let subject = &authority.subject;
        return Err(Refusal::Rule(format!("{subject} allows fewer CAs below it (pathLenConstraint)")));
    }
    Ok(())
}

/// The most bytes of names that are sent.
const HINT_BYTES: usize = 16 << 10;

/// The names of acceptable CAs for clients (RFC 8446, 4.2.4).
///
/// Clients that honour the list present only certificates issued under one of these names, so it must contain the
/// issuers of pinned certificates too. It reveals the names of trusted CAs to anyone who connects, as on every server
/// that requests certificates. A list that is too long for the message is left out, which means any issuer.
fn hints(anchors: &Anchors) -> Vec<DistinguishedName> {
    let (mut names, mut listed, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for (anchor, certificate) in anchors.all().iter().zip(anchors.certificates()) {
        let name = match anchor.kind {
            AnchorKind::Issuer => &certificate.subject_der,
            AnchorKind::Pin => &certificate.issuer_der,
        };
        if listed.insert(name) {
            bytes += name.len();
            names.push(DistinguishedName::from(name.clone()));
        }
    }
    if bytes > HINT_BYTES { Vec::new() } else { names }
}

/// The client's authentication in one handshake: recorded by its verifier or its ticket, read when it is done.
///
/// rustls calls no verifier for a resumed session, and its verifier's result carries no data, so each handshake gets
/// its own verifier and ticketer, which share this.
#[derive(Clone, Debug)]
pub struct Witness {
    trust: Arc<ClientTrust>,
    verdict: Arc<Mutex<Option<Result<Authentication, Refusal>>>>,
    /// What the TLS library holds of the client's chain until the handshake is done, in bytes.
    presented: Arc<AtomicUsize>,
}

impl Witness {
    pub(crate) fn new(trust: Arc<ClientTrust>) -> Self {
        Self { trust, verdict: Arc::default(), presented: Arc::default() }
    }

    pub(crate) fn record(&self, verdict: Result<Authentication, Refusal>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }

    fn verdict(&self) -> Option<Result<Authentication, Refusal>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a chain that a client has sent. It counts twice: TLS 1.2 keeps the message too, for CertificateVerify.
    fn note_presented(&self, chain: &[CertificateDer<'_>]) {
        self.presented.store(2 * chain_memory(chain), Ordering::Relaxed);
    }

    pub(crate) fn presented(&self) -> usize {
        self.presented.load(Ordering::Relaxed)
    }

    pub(crate) fn authentication(&self) -> Option<Authentication> {
        self.verdict()?.ok()
    }

    /// Why the client's certificate was rejected, in full; `None` if it was not, or there was none.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.verdict()?.err()
    }

    /// The client's identity, once the handshake is done: `chain` are the peer's certificates according to the
    /// connection. `None` if the client presented none.
    pub fn identify(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Option<Identity>, MalformedCertificate> {
        let Some(end_entity) = chain.and_then(<[_]>::first) else { return Ok(None) };
        let mut identity = Identity::from_der(end_entity)?;
        identity.anchor =
            self.authentication().and_then(|authentication| self.trust.anchor(authentication.anchor)).cloned();
        Ok(Some(identity))
    }
}

/// Heap bytes of a certificate chain.
pub(crate) fn chain_memory(chain: &[CertificateDer<'_>]) -> usize {
    chain.iter().map(|certificate| size_of_val(certificate) + certificate.len()).sum()
}

/// The verifier of one handshake.
#[derive(Debug)]
pub(crate) struct HandshakeVerifier {
    pub(crate) witness: Witness,
    pub(crate) required: bool,
}

impl ClientCertVerifier for HandshakeVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.witness.trust.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let verdict = self.witness.trust.admit(&chain, now);
        self.witness.note_presented(&chain);
        self.witness.record(verdict.clone());
        verdict.map(|_| ClientCertVerified::assertion()).map_err(|refusal| refusal.into_rustls(now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::verify_tls12(message, certificate, signed, &self.witness.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::verify_tls13(message, certificate, signed, &self.witness.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.witness.trust.algorithms.supported_schemes()
    }
}
