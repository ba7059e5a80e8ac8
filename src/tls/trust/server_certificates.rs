//! The client's side: which servers are accepted.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::anchors::{self, Anchors, TrustError, Vouching};
use super::{Refusal, chain, signature};
use crate::limits::Limits;
use crate::tls::certificate::Certificate;
use crate::tls::pem::PemSource;

/// The certificates that a client accepts from servers.
///
/// A server's own certificate may be listed, as for self-signed certificates; it is recognised by comparing every byte.
/// Its name is still checked: against subjectAltName if it has one, else against the common name, which must equal the
/// host (no wildcard). The common names of all other certificates are ignored (RFC 9525, 6.4.4).
#[derive(Debug)]
pub struct ServerTrust {
    listed: Option<Anchors>,
    algorithms: WebPkiSupportedAlgorithms,
    refusal: Mutex<Option<Refusal>>,
    max_chain: usize,
}

impl ServerTrust {
    /// Trusts the certificates in `sources`: CAs for what they issue, others as themselves.
    pub fn new(sources: &[PemSource], provider: &CryptoProvider) -> Result<Arc<Self>, TrustError> {
        Self::with_max_chain(sources, provider, Limits::default().chain_certificates)
    }

    /// As [`new`](Self::new), with a limit on the certificates in a chain.
    pub fn with_max_chain(
        sources: &[PemSource],
        provider: &CryptoProvider,
        certificates: usize,
    ) -> Result<Arc<Self>, TrustError> {
        let mut listed = Anchors::default();
        for source in sources {
            for certificate in anchors::read(source, Vouching::ForServers)? {
                if certificate.is_self_issued() || certificate.ca == Some(true) {
                    listed.add_authority(certificate, &source.name)?;
                } else {
                    listed.add_pin(certificate, &source.name);
                }
            }
        }
        Ok(Self::with(Some(listed), provider, certificates))
    }

    /// Accepts every server. Only for load tests where the server's identity does not matter: anyone can intercept the
    /// connection.
    #[must_use]
    pub fn insecure(provider: &CryptoProvider) -> Arc<Self> {
        Self::with(None, provider, Limits::default().chain_certificates)
    }

    fn with(listed: Option<Anchors>, provider: &CryptoProvider, max_chain: usize) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { listed, algorithms, refusal: Mutex::new(None), max_chain })
    }

    /// The last refusal, in full: rustls's own error has less detail.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides on a server's chain, the end entity first. It does not prove that the server has the key.
    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let Some(listed) = &self.listed else { return Ok(()) };
        chain::check_length(1 + intermediates.len(), self.max_chain)?;
        if let Some((_, certificate)) = listed.exact(end_entity) {
            anchors::check_dates(certificate, now.as_secs())?;
            return check_listed_name(certificate, name);
        }
        let refuse = |error| anchors::explain(error, end_entity);
        let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(refuse)?;
        let candidates = chain::candidates(&parsed, intermediates, listed.roots())?;
        parsed
            .verify_for_usage(
                self.algorithms.all,
                listed.roots(),
                &candidates,
                now,
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(refuse)?;
        check_alt_names(&parsed, end_entity, name)
    }
}

fn check_listed_name(certificate: &Certificate, name: &ServerName<'_>) -> Result<(), Refusal> {
    if certificate.has_alt_names {
        let parsed = webpki::EndEntityCert::try_from(&certificate.der).map_err(Refusal::of_webpki)?;
        return check_alt_names(&parsed, &certificate.der, name);
    }
    let matches = certificate.common_name.as_deref().is_some_and(|common_name| match name {
        ServerName::DnsName(dns) => common_name.eq_ignore_ascii_case(dns.as_ref()),
        ServerName::IpAddress(address) => common_name.parse() == Ok(IpAddr::from(*address)),
        _ => false,
    });
    if matches {
        return Ok(());
    }
    Err(Refusal::NameMismatch { expected: name.to_str().into_owned(), presented: certificate.server_names() })
}

fn check_alt_names(
    parsed: &webpki::EndEntityCert<'_>,
    der: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), Refusal> {
    let Err(error) = parsed.verify_is_valid_for_subject_name(name) else { return Ok(()) };
    let expected = name.to_str().into_owned();
    match (Refusal::of_webpki(error), Certificate::from_der(der)) {
        (Refusal::NameMismatch { .. }, Ok(certificate)) if certificate.has_alt_names => {
            let mut presented = certificate.server_names();
            // An address in a dNSName is not an IP address (RFC 9525, 6.5), although it looks like one.
            for name in presented.iter_mut().filter(|name| **name == expected) {
                *name = format!("{expected} as a DNS name, where an IP address must be an iPAddress name");
            }
            Err(Refusal::NameMismatch { expected, presented })
        }
        (Refusal::NameMismatch { .. }, Ok(_)) => Err(Refusal::NoAltName { expected }),
        (refusal, _) => Err(refusal),
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, server_name, now).map_err(|refusal| {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.clone());
            refusal.into_rustls(now)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::verify_tls12(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::verify_tls13(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
