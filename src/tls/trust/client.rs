//! The server's side: which clients are let in.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::anchors::{self, Anchors, TrustError, Vouching};
use super::{Refusal, chain as bounds, signature};
use crate::limits::Limits;
use crate::tls::certificate::{Certificate, Unreadable};
use crate::tls::identity::{Anchor, AnchorKind, Identity};
use crate::tls::pem::Source;
use crate::tls::revocation::RevocationLists;

/// The certificates a listener accepts from clients.
#[derive(Debug)]
pub struct ClientTrust {
    anchors: Anchors,
    revocation: RevocationLists,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    max_chain: usize,
}

/// A certificate that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Which listed certificate vouches for it.
    pub(crate) anchor: usize,
    /// Until when that holds without asking again, in seconds since the Unix epoch: the certificate's own end, or the
    /// next update of its CA's revocation list if that is earlier.
    pub(crate) until: u64,
}

impl ClientTrust {
    /// Accepts certificates issued by those in `authorities`, the self-signed ones among these as themselves too, and
    /// those in `pins` as themselves only. `revoked` are revocation lists of the authorities.
    pub fn new(
        authorities: &[Source],
        pins: &[Source],
        revoked: &[Source],
        provider: &CryptoProvider,
        now: u64,
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
        let algorithms = provider.signature_verification_algorithms;
        let revocation = RevocationLists::new(revoked, anchors.certificates(), now)?;
        let max_chain = Limits::default().chain_certificates;
        Ok(Self { hints: hints(&anchors), anchors, revocation, algorithms, max_chain })
    }

    /// The same, which looks at chains of up to `certificates`.
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

    /// How many listed certificates may issue, and how many stand only for themselves.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.anchors.count(AnchorKind::Issuer), self.anchors.count(AnchorKind::Pin))
    }

    /// The subjects of those that may issue.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Certificate> {
        let issuing =
            |(anchor, certificate): (&Arc<Anchor>, _)| (anchor.kind == AnchorKind::Issuer).then_some(certificate);
        self.anchors.all().iter().zip(self.anchors.certificates()).filter_map(issuing)
    }

    pub(crate) fn anchor(&self, position: usize) -> Option<&Arc<Anchor>> {
        self.anchors.get(position)
    }

    /// Decides on a client's chain, the end entity first. Does not prove that the client has the key.
    pub(crate) fn admit(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Admission, Refusal> {
        bounds::check_length(chain.len(), self.max_chain)?;
        let (end_entity, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        if let Some((anchor, certificate)) = self.anchors.exact(end_entity) {
            anchors::check_dates(certificate, now.as_secs())?;
            return Ok(Admission { anchor, until: certificate.not_after });
        }
        let refuse = |error| anchors::explain(error, end_entity);
        let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(refuse)?;
        let candidates = bounds::candidates(&parsed, intermediates, self.anchors.roots())?;
        let path = parsed
            .verify_for_usage(
                self.algorithms.all,
                self.anchors.roots(),
                &candidates,
                now,
                webpki::KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(refuse)?;
        let anchor = self
            .anchors
            .of_root(path.anchor())
            .ok_or_else(|| Refusal::UnknownIssuer { issuer: "an unlisted CA".to_owned() })?;
        let certificate = Certificate::from_der(end_entity).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        let current = self.revocation.check(&certificate, &path.issuer_spki(), now.as_secs())?;
        Ok(Admission { anchor, until: certificate.not_after.min(current) })
    }
}

/// More bytes of names than this are not sent.
const HINT_BYTES: usize = 16 << 10;

/// The names that tell a client which of its certificates to show (RFC 8446, 4.2.4).
///
/// Clients that honour the list show only certificates issued under one of these names, so it must hold the issuers of
/// pinned certificates too. That reveals the names of trusted CAs to anyone who connects, as every server that asks
/// for certificates does. A list too long for the message is left away, which means any issuer.
fn hints(anchors: &Anchors) -> Vec<DistinguishedName> {
    let mut names: Vec<&[u8]> = Vec::new();
    for (anchor, certificate) in anchors.all().iter().zip(anchors.certificates()) {
        let name = match anchor.kind {
            AnchorKind::Issuer => &certificate.subject_der,
            AnchorKind::Pin => &certificate.issuer_der,
        };
        if !names.contains(&name.as_slice()) {
            names.push(name);
        }
    }
    if names.iter().map(|name| name.len()).sum::<usize>() > HINT_BYTES {
        return Vec::new();
    }
    names.into_iter().map(|name| DistinguishedName::from(name.to_vec())).collect()
}

/// What one handshake found out about the client: written by its verifier or its ticket, read when it is done.
///
/// rustls calls no verifier for a resumed session, and its verifier's result carries no data, so each handshake gets a
/// verifier and a ticketer of its own, both holding this.
#[derive(Clone, Debug)]
pub struct Witness {
    trust: Arc<ClientTrust>,
    verdict: Arc<Mutex<Option<Result<Admission, Refusal>>>>,
}

impl Witness {
    pub(crate) fn new(trust: Arc<ClientTrust>) -> Self {
        Self { trust, verdict: Arc::default() }
    }

    pub(crate) fn record(&self, verdict: Result<Admission, Refusal>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }

    fn verdict(&self) -> Option<Result<Admission, Refusal>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn admission(&self) -> Option<Admission> {
        self.verdict()?.ok()
    }

    /// Why the client's certificate was refused, in full; `None` when it was not, or none was shown.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.verdict()?.err()
    }

    /// Whose connection this is, once the handshake is done: `chain` is what the connection says the peer's
    /// certificates are. `None` when the client showed none.
    pub fn identify(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Option<Identity>, Unreadable> {
        let Some(end_entity) = chain.and_then(<[_]>::first) else { return Ok(None) };
        let mut identity = Identity::from_der(end_entity)?;
        identity.anchor = self.admission().and_then(|admission| self.trust.anchor(admission.anchor)).cloned();
        Ok(Some(identity))
    }
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
