//! Signatures on certificates, of more algorithms than webpki verifies.

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1, UnparsedPublicKey};

use super::link::Link;
use crate::tls::der::Reader;

/// The result of verifying a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Good,
    Bad,
    /// Its algorithm or the curve of the key is not implemented here.
    Unknown,
}

/// secp256k1 in the AlgorithmIdentifier of a key: id-ecPublicKey and the curve.
const SECP256K1: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// ecdsa-with-SHA256 (RFC 5758).
const ECDSA_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-RSASSA-PSS (RFC 4055), without its tag and length.
const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// Whether the key of `issuer` made the signature on `link`.
pub(super) fn signature(link: &Link<'_>, issuer: &Link<'_>) -> Signature {
    let message = link.parsed.tbs_certificate.as_ref();
    let bytes = &link.parsed.signature_value.data;
    if issuer.key_algorithm() == SECP256K1 && is_same_algorithm(ECDSA_SHA256, link.signature_algorithm()) {
        let key = &issuer.parsed.public_key().subject_public_key.data;
        let verified = UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, key.as_ref()).verify(message, bytes);
        return if verified.is_ok() { Signature::Good } else { Signature::Bad };
    }
    let Ok(key) = webpki::RawPublicKeyEntity::try_from(&issuer.facts.public_key) else { return Signature::Unknown };
    let mut candidates = webpki::ALL_VERIFICATION_ALGS.iter().filter(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == issuer.key_algorithm()
            && is_same_algorithm(algorithm.signature_alg_id().as_ref(), link.signature_algorithm())
    });
    let mut answer = Signature::Unknown;
    if candidates.clone().next().is_some() {
        let verifies = candidates.any(|algorithm| key.verify_signature(*algorithm, message, bytes).is_ok());
        answer = if verifies { Signature::Good } else { Signature::Bad };
    }
    answer
}

/// Whether two AlgorithmIdentifiers name the same algorithm. Only parameters of RSASSA-PSS matter.
fn is_same_algorithm(one: &[u8], other: &[u8]) -> bool {
    fn name(algorithm: &[u8]) -> Option<&[u8]> {
        Reader::new(algorithm).element().map(|name| name.value)
    }
    match name(one) {
        Some(PSS) => one == other,
        found => found.is_some() && found == name(other),
    }
}
