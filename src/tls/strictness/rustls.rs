//! The verification of webpki, and so of rustls: webpki itself is run.
//!
//! If an assumed CA is needed, or a CA is judged by what it could issue, one signature that nothing could verify counts
//! as valid: webpki takes signature algorithms from its caller, and the ones passed here accept that signature.

use std::time::Duration;

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, Der, InvalidSignature, ServerName, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime,
};

use super::Purpose;
use super::link::Link;
use crate::tls::authority::Role;
use crate::tls::certificate::date;
use crate::tls::der::{self, BIT_STRING, GENERALIZED_TIME, INTEGER, Reader, SEQUENCE};

/// The key of a certificate that does not exist.
const MADE_UP: &[u8] = b"a key that nobody has";
/// The key of a CA that is assumed.
const ASSUMED: &[u8] = b"the key of a CA that nobody has seen";
/// RSA keys that rustls verifies with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An algorithm that accepts one given signature without verifying it.
#[derive(Debug)]
struct Vouching<'a> {
    inner: &'static dyn SignatureVerificationAlgorithm,
    /// What the CA in question would have signed, and the key that it would have signed it with.
    issued: &'a [u8],
    key: &'a [u8],
    /// What an assumed CA has signed.
    last: &'a [u8],
}

impl SignatureVerificationAlgorithm for Vouching<'_> {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let is_assumed = public_key == ASSUMED && message == self.last;
        if is_assumed || (public_key == self.key && message == self.issued) {
            return Ok(());
        }
        self.inner.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

/// Why webpki rejects the first of `chain`, with `trusted` as its roots; `None`: the issuer of the last one of the
/// chain is assumed to be trusted. `role` is that of the certificate, or for a CA that of the certificates it issues.
pub(super) fn verify(
    chain: &[Link<'_>],
    trusted: Option<&[Link<'_>]>,
    purpose: Purpose,
    role: Role,
    now: u64,
) -> Vec<String> {
    let algorithms = ::rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let Some(first) = chain.first() else { return Vec::new() };
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|link| CertificateDer::from(link.der)).collect();
    let issued = if purpose == Purpose::Authority { issued_by(first, algorithms) } else { Issued::default() };
    let (leaf, intermediates) = match purpose {
        Purpose::Authority => (CertificateDer::from(issued.certificate.as_slice()), ders.as_slice()),
        Purpose::EndEntity(_) => (CertificateDer::from(first.der), ders.get(1..).unwrap_or_default()),
    };
    let listed = trusted.unwrap_or(chain).iter().filter(|link| trusted.is_some() || link.is_self_signed());
    let listed: Vec<(&Link<'_>, CertificateDer<'_>)> = listed.map(|link| (link, link.der.into())).collect();
    let mut reasons = Vec::new();
    let mut roots: Vec<TrustAnchor<'_>> = Vec::new();
    for (link, der) in &listed {
        match webpki::anchor_from_trusted_cert(der) {
            Ok(root) => roots.push(root),
            Err(_) => reasons.push(format!("webpki cannot read the trusted certificate of {}", link.facts.subject)),
        }
    }
    if trusted.is_none() {
        let last = chain.last().filter(|last| !last.is_self_signed());
        roots.extend(last.and_then(|last| assumed(last, algorithms)));
    }
    let key = &first.parsed.public_key().subject_public_key.data;
    let last = chain.last().map_or(&[][..], |last| last.parsed.tbs_certificate.as_ref());
    let vouching: Vec<_> =
        algorithms.iter().map(|inner| Vouching { inner: *inner, issued: &issued.signed, key, last }).collect();
    let vouching: Vec<&dyn SignatureVerificationAlgorithm> = vouching.iter().map(|vouching| vouching as _).collect();
    let usage = match role {
        Role::Server => webpki::KeyUsage::server_auth(),
        Role::Client => webpki::KeyUsage::client_auth(),
    };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let parsed = match webpki::EndEntityCert::try_from(&leaf) {
        Ok(parsed) => parsed,
        Err(error) => return vec![words(error, chain, role)],
    };
    if let Err(error) = parsed.verify_for_usage(&vouching, &roots, intermediates, at, usage, None, None) {
        reasons.push(words(error, chain, role));
    }
    reasons.extend(own_key(first, algorithms));
    if purpose == Purpose::EndEntity(Role::Server) {
        reasons.extend(names(first, &parsed));
    }
    reasons
}

/// Why rustls cannot verify signatures by the certificate's own key.
fn own_key(link: &Link<'_>, algorithms: &[&'static dyn SignatureVerificationAlgorithm]) -> Option<String> {
    if let Some(bits) = link.rsa_bits().filter(|bits| !RSA_BITS.contains(bits)) {
        return Some(format!("it has an RSA key of {bits} bits; {} is the least", RSA_BITS.start()));
    }
    let is_known = algorithms.iter().any(|algorithm| algorithm.public_key_alg_id().as_ref() == link.key_algorithm());
    (!is_known).then(|| "it has a key of a kind that rustls does not support".to_owned())
}

/// Why the certificate matches no host name.
fn names(link: &Link<'_>, parsed: &webpki::EndEntityCert<'_>) -> Option<String> {
    if !link.facts.has_alt_names {
        return Some("it has no subjectAltName, and the common name is ignored".to_owned());
    }
    let hosts = link.facts.server_names().into_iter().map(|name| match name.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None => name,
    });
    let mut hosts = hosts.filter_map(|host| ServerName::try_from(host).ok());
    let is_reachable = hosts.any(|host| parsed.verify_is_valid_for_subject_name(&host).is_ok());
    (!is_reachable).then(|| "it has no host name that a client could connect to".to_owned())
}

/// An assumed CA above the last certificate of a chain.
fn assumed(
    link: &Link<'_>,
    algorithms: &[&'static dyn SignatureVerificationAlgorithm],
) -> Option<TrustAnchor<'static>> {
    let fits = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
        algorithm.signature_alg_id().as_ref() == link.signature_algorithm()
    };
    let algorithm = algorithms.iter().find(fits).or(algorithms.first())?;
    let spki = key_info(*algorithm, ASSUMED);
    let subject = Reader::new(&link.facts.issuer_der).element()?.value;
    Some(TrustAnchor {
        subject: Der::from(subject.to_vec()),
        subject_public_key_info: Der::from(spki),
        name_constraints: None,
    })
}

/// The content of a SubjectPublicKeyInfo.
fn key_info(algorithm: &dyn SignatureVerificationAlgorithm, key: &[u8]) -> Vec<u8> {
    let algorithm = der::write(SEQUENCE, &[algorithm.public_key_alg_id().as_ref()]);
    [algorithm, der::write(BIT_STRING, &[&[0], key])].concat()
}

/// A certificate that a CA could issue, without a defect of its own.
#[derive(Default)]
struct Issued {
    certificate: Vec<u8>,
    /// The part of it that is signed.
    signed: Vec<u8>,
}

fn issued_by(ca: &Link<'_>, algorithms: &[&'static dyn SignatureVerificationAlgorithm]) -> Issued {
    let fits = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
        algorithm.public_key_alg_id().as_ref() == ca.key_algorithm()
    };
    // If rustls does not support the key, it rejects it with any algorithm.
    let Some(algorithm) = algorithms.iter().find(fits).or(algorithms.first()) else { return Issued::default() };
    let key = der::write(SEQUENCE, &[&key_info(*algorithm, MADE_UP)]);
    let algorithm = der::write(SEQUENCE, &[algorithm.signature_alg_id().as_ref()]);
    let version = der::write(der::tagged(0), &[&der::write(INTEGER, &[&[2]])]);
    let serial = der::write(INTEGER, &[&[1]]);
    let times = [&b"19700101000000Z"[..], b"99991231235959Z"].map(|time| der::write(GENERALIZED_TIME, &[time]));
    let times = der::write(SEQUENCE, &[&times[0], &times[1]]);
    let subject = der::write(SEQUENCE, &[]);
    let signed = der::write(SEQUENCE, &[&version, &serial, &algorithm, &ca.facts.subject_der, &times, &subject, &key]);
    let certificate = der::write(SEQUENCE, &[&signed, &algorithm, &der::write(BIT_STRING, &[&[0, 0]])]);
    Issued { certificate, signed }
}

/// The message for an error. The first of a chain is "it", also if webpki does not name the certificate at fault.
fn words(error: webpki::Error, chain: &[Link<'_>], role: Role) -> String {
    use webpki::Error as E;
    let culprit = |is: &dyn Fn(&Link<'_>) -> bool| match chain.iter().position(is) {
        None | Some(0) => "it".to_owned(),
        Some(at) => chain.get(at).map_or_else(String::new, |link| format!("its issuer {}", link.facts.subject)),
    };
    let wanted = if role == Role::Server { "serverAuth" } else { "clientAuth" };
    let is_ca = |link: &Link<'_>| link.says_ca();
    let issuers = chain.get(1..).unwrap_or_default();
    match error {
        E::CertExpired { not_after, .. } => {
            let end = not_after.as_secs();
            format!("{} expired on {}", culprit(&|link| link.facts.not_after == end), date(end))
        }
        E::CertNotValidYet { not_before, .. } => {
            let begin = not_before.as_secs();
            format!("{} is not valid before {}", culprit(&|link| link.facts.not_before == begin), date(begin))
        }
        E::InvalidCertValidity => "a certificate of its chain ends before it begins".to_owned(),
        E::UnsupportedCertVersion => {
            let old = culprit(&|link| link.facts.version != 3);
            let version = chain.first().map_or(1, |link| link.facts.version);
            format!("{old} has X.509 version {version}; only version 3 certificates state their purpose")
        }
        E::CaUsedAsEndEntity => {
            "it is a CA certificate, which is not accepted as the own certificate of a server or client".to_owned()
        }
        E::EndEntityUsedAsCa => match issuers.iter().find(|link| !is_ca(link)) {
            Some(link) => format!("its issuer {} may not issue: it is not a CA", link.facts.subject),
            None => "one of its issuers is not a CA".to_owned(),
        },
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => {
            let lacks = |link: &Link<'_>| {
                link.extended().is_some_and(|extended| match role {
                    Role::Server => !extended.server_auth,
                    Role::Client => !extended.client_auth,
                })
            };
            format!("{} has an extended key usage that does not include {wanted}", culprit(&lacks))
        }
        E::UnknownIssuer => match chain.last() {
            Some(last) if last.is_self_signed() && chain.len() == 1 => {
                "it is self-signed and not among the trusted ones".to_owned()
            }
            Some(last) => {
                format!("{} is not among the trusted ones (names must be equal byte for byte)", last.facts.issuer)
            }
            None => "its issuer is not among the trusted ones".to_owned(),
        },
        E::InvalidSignatureForPublicKey => {
            "a signature does not verify, or was made with a key that is too short".to_owned()
        }
        E::PathLenConstraintViolated => {
            "one of its issuers allows fewer CAs between itself and the peer's certificate (pathLenConstraint)"
                .to_owned()
        }
        E::NameConstraintViolation => "the name constraints of one of its issuers do not allow its names".to_owned(),
        E::MaximumPathDepthExceeded => "its chain has more than the 6 intermediates that webpki allows".to_owned(),
        E::UnsupportedCriticalExtension => {
            "a certificate of its chain has a critical extension that is not understood".to_owned()
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | E::SignatureAlgorithmMismatch => {
            "a certificate of its chain is signed by an algorithm, or with a key, that rustls does not support"
                .to_owned()
        }
        other => format!("a certificate of its chain breaks a rule of webpki: {}", sentence(&format!("{other:?}"))),
    }
}

/// `BadDerTime` becomes "bad der time".
fn sentence(name: &str) -> String {
    let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(name);
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}
