//! The signature over the handshake, for certificates that webpki cannot parse.
//!
//! A certificate recognised byte for byte may have version 1 or contain extensions that webpki does not support. Its
//! public key is still an ordinary one, and the proof of possession must never be skipped.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, WebPkiSupportedAlgorithms};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::tls::certificate::Certificate;

/// As [`crypto::verify_tls12_signature`], for every certificate with a readable public key.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if webpki::EndEntityCert::try_from(certificate).is_ok() {
        return crypto::verify_tls12_signature(message, certificate, signed, algorithms);
    }
    let public_key = public_key(certificate)?;
    let key = webpki::RawPublicKeyEntity::try_from(&public_key).map_err(|_| CertificateError::BadEncoding)?;
    // In TLS 1.2 a scheme names the hash and the kind of key but not the curve, so each of its algorithms is tried.
    let candidates = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
    for algorithm in candidates.flat_map(|(_, algorithms)| *algorithms) {
        if key.verify_signature(*algorithm, message, signed.signature()).is_ok() {
            return Ok(HandshakeSignatureValid::assertion());
        }
    }
    Err(CertificateError::BadSignature.into())
}

/// As [`crypto::verify_tls13_signature`], for every certificate with a readable public key.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if webpki::EndEntityCert::try_from(certificate).is_ok() {
        return crypto::verify_tls13_signature(message, certificate, signed, algorithms);
    }
    crypto::verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, algorithms)
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    Ok(Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?.public_key)
}
