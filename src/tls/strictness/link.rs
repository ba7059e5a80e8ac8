//! One certificate of a chain, with the properties that OpenSSL caches when it parses it (`x509v3_cache_extensions`).

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::asn1_rs::Tag;
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_CERTIFICATE_POLICIES, OID_X509_EXT_CRL_DISTRIBUTION_POINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_INHIBIT_ANY_POLICY, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS,
    OID_X509_EXT_POLICY_CONSTRAINTS, OID_X509_EXT_POLICY_MAPPINGS, OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, FromDer, GeneralName, KeyUsage, NSCertType,
    NameConstraints, ParsedExtension, X509Certificate, X509Extension,
};

use crate::tls::certificate::{Certificate, MalformedCertificate};
use crate::tls::crl::significant;
use crate::tls::der::{Element, Reader, SEQUENCE, UTC_TIME};
use crate::tls::names::Comparable;

/// Extensions that OpenSSL processes besides those that x509-parser names: nsCertType, IP address blocks and AS numbers
/// (RFC 3779), id-pkix-ocsp-nocheck.
const FURTHER_HANDLED: [&str; 4] =
    ["2.16.840.1.113730.1.1", "1.3.6.1.5.5.7.1.7", "1.3.6.1.5.5.7.1.8", "1.3.6.1.5.5.7.48.1.5"];

/// The kind of a public key, as a signature algorithm implies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    Rsa,
    Pss,
    Elliptic,
    Ed25519,
    Ed448,
}

#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) der: &'a [u8],
    pub(super) facts: Certificate,
    pub(super) parsed: X509Certificate<'a>,
    pub(super) subject: Comparable,
    pub(super) issuer: Comparable,
    /// Whether both times have the form that RFC 5280, 4.1.2.5 requires.
    pub(super) times_are_plain: bool,
}

impl<'a> Link<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, MalformedCertificate> {
        let facts = Certificate::from_der(der)?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| MalformedCertificate(error.to_string()))?;
        Ok(Self {
            der,
            facts,
            subject: Comparable::of(parsed.subject()),
            issuer: Comparable::of(parsed.issuer()),
            times_are_plain: times_are_plain(der),
            parsed,
        })
    }

    pub(super) fn key_usage(&self) -> Option<KeyUsage> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => Some(*usage),
            _ => None,
        })
    }

    pub(super) fn extended(&self) -> Option<&ExtendedKeyUsage<'a>> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
            _ => None,
        })
    }

    pub(super) fn basic(&self) -> Option<&BasicConstraints> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => Some(basic),
            _ => None,
        })
    }

    pub(super) fn name_constraints(&self) -> Option<&NameConstraints<'a>> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) => Some(constraints),
            _ => None,
        })
    }

    pub(super) fn alt_names(&self) -> Option<&[GeneralName<'a>]> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
            _ => None,
        })
    }

    pub(super) fn authority_key(&self) -> Option<&AuthorityKeyIdentifier<'a>> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id),
            _ => None,
        })
    }

    pub(super) fn subject_key(&self) -> Option<&'a [u8]> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
    }

    /// nsCertType, an extension by Netscape that OpenSSL still processes.
    pub(super) fn netscape(&self) -> Option<&NSCertType> {
        self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NSCertType(usage) => Some(usage),
            _ => None,
        })
    }

    pub(super) fn is_critical(&self, oid: &Oid<'_>) -> bool {
        self.parsed.extensions().iter().any(|extension| extension.oid == *oid && extension.critical)
    }

    /// An extension that OpenSSL processes and that is malformed or occurs twice.
    pub(super) fn unreadable_extension(&self) -> Option<&X509Extension<'a>> {
        let extensions = self.parsed.extensions();
        let is_repeated = |oid: &Oid<'_>| extensions.iter().filter(|extension| extension.oid == *oid).count() > 1;
        extensions.iter().find(|extension| match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => true,
            ParsedExtension::KeyUsage(usage) => usage.flags == 0,
            ParsedExtension::UnsupportedExtension { .. } => false,
            _ => is_repeated(&extension.oid),
        })
    }

    /// A critical extension that OpenSSL does not process.
    pub(super) fn unhandled_extension(&self) -> Option<&X509Extension<'a>> {
        let handled = [
            OID_X509_EXT_KEY_USAGE,
            OID_X509_EXT_SUBJECT_ALT_NAME,
            OID_X509_EXT_BASIC_CONSTRAINTS,
            OID_X509_EXT_CERTIFICATE_POLICIES,
            OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
            OID_X509_EXT_EXTENDED_KEY_USAGE,
            OID_X509_EXT_POLICY_CONSTRAINTS,
            OID_X509_EXT_NAME_CONSTRAINTS,
            OID_X509_EXT_POLICY_MAPPINGS,
            OID_X509_EXT_INHIBIT_ANY_POLICY,
        ];
        self.parsed.extensions().iter().find(|extension| {
            extension.critical
                && !handled.contains(&extension.oid)
                && !FURTHER_HANDLED.contains(&extension.oid.to_id_string().as_str())
        })
    }

    pub(super) fn says_ca(&self) -> bool {
        self.facts.ca == Some(true)
    }

    pub(super) fn may_sign_certificates(&self) -> bool {
        self.key_usage().is_some_and(|usage| usage.key_cert_sign())
    }

    /// Whether both names are equal in OpenSSL's comparison.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// `EXFLAG_SS`: it appears to be signed by its own key. The signature is not verified.
    pub(super) fn is_self_signed(&self) -> bool {
        self.is_likely_issued_by(self)
    }

    /// `x509_likely_issued`: names, key identifiers and the kind of key match.
    pub(super) fn is_likely_issued_by(&self, issuer: &Self) -> bool {
        let is_readable = |link: &Self| link.unreadable_extension().is_none();
        self.issuer == issuer.subject
            && is_readable(self)
            && is_readable(issuer)
            && self.authority_key().is_none_or(|id| fits(id, issuer))
            && fits_key(self.signature_key_type(), issuer.key_type())
    }

    /// The kind of key that makes signatures of this certificate's signature algorithm.
    fn signature_key_type(&self) -> Option<KeyType> {
        let algorithm = self.parsed.tbs_certificate.signature.algorithm.to_id_string();
        match algorithm.as_str() {
            "1.2.840.113549.1.1.10" => Some(KeyType::Pss),
            "1.3.101.112" => Some(KeyType::Ed25519),
            "1.3.101.113" => Some(KeyType::Ed448),
            rsa if rsa.starts_with("1.2.840.113549.1.1.") => Some(KeyType::Rsa),
            elliptic if elliptic.starts_with("1.2.840.10045.4.") => Some(KeyType::Elliptic),
            _ => None,
        }
    }

    pub(super) fn key_type(&self) -> Option<KeyType> {
        let algorithm = &self.parsed.public_key().algorithm.algorithm;
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            return Some(KeyType::Rsa);
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Some(KeyType::Elliptic);
        }
        match algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.10" => Some(KeyType::Pss),
            "1.3.101.112" => Some(KeyType::Ed25519),
            "1.3.101.113" => Some(KeyType::Ed448),
            _ => None,
        }
    }

    /// Bits of its RSA key; `None` for keys of other kinds.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        let is_rsa = matches!(self.key_type(), Some(KeyType::Rsa | KeyType::Pss));
        is_rsa.then(|| self.parsed.public_key().parsed().map_or(0, |key| key.key_size()))
    }

    /// Whether TLS 1.3 has a signature scheme for its key (RFC 8446, 4.2.3).
    pub(super) fn signs_handshakes(&self) -> bool {
        let is_scheme_of = |algorithm: &&'static dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == self.key_algorithm()
        };
        matches!(self.key_type(), Some(KeyType::Rsa | KeyType::Pss | KeyType::Ed25519 | KeyType::Ed448))
            || webpki::ALL_VERIFICATION_ALGS.iter().any(is_scheme_of)
    }

    /// Whether its elliptic curve is given by explicit parameters, where RFC 5480 requires a name.
    pub(super) fn has_explicit_curve(&self) -> bool {
        self.key_type() == Some(KeyType::Elliptic)
            && self.parsed.public_key().algorithm.parameters.as_ref().is_some_and(|any| any.tag() == Tag::Sequence)
    }

    /// The content of the AlgorithmIdentifier of its public key.
    pub(super) fn key_algorithm(&self) -> &[u8] {
        inside(self.parsed.public_key().raw).element().map_or(&[], |algorithm| algorithm.value)
    }

    /// The content of the AlgorithmIdentifier next to its signature.
    pub(super) fn signature_algorithm(&self) -> &'a [u8] {
        inside(self.der).elements().nth(1).map_or(&[], |algorithm| algorithm.value)
    }

    /// The content of the AlgorithmIdentifier in the signed part.
    pub(super) fn signed_algorithm(&self) -> &'a [u8] {
        signed_part(self.der).find(|element| element.tag == SEQUENCE).map_or(&[], |algorithm| algorithm.value)
    }
}

/// The contents of the first element.
fn inside(der: &[u8]) -> Reader<'_> {
    Reader::new(Reader::new(der).element().map_or(&[], |element| element.value))
}

/// The elements of the signed part (RFC 5280, 4.1.2).
fn signed_part(der: &[u8]) -> impl Iterator<Item = Element<'_>> {
    Reader::new(inside(der).element().map_or(&[], |signed| signed.value)).elements()
}

fn times_are_plain(der: &[u8]) -> bool {
    // Signature algorithm, issuer and validity are the first three sequences.
    let validity = signed_part(der).filter(|element| element.tag == SEQUENCE).nth(2);
    let Some(validity) = validity else { return false };
    Reader::new(validity.value).elements().all(|time| {
        let length = if time.tag == UTC_TIME { 12 } else { 14 };
        time.value.split_last().is_some_and(|(last, digits)| {
            *last == b'Z' && digits.len() == length && digits.iter().all(u8::is_ascii_digit)
        })
    })
}

/// `X509_check_akid`.
fn fits(id: &AuthorityKeyIdentifier<'_>, issuer: &Link<'_>) -> bool {
    let keys = id.key_identifier.as_ref().zip(issuer.subject_key()).is_none_or(|(named, key)| named.0 == key);
    let serial = id.authority_cert_serial.is_none_or(|serial| significant(serial) == significant(&issuer.facts.serial));
    let name = id.authority_cert_issuer.iter().flatten().find_map(|name| match name {
        GeneralName::DirectoryName(name) => Some(Comparable::of(name)),
        _ => None,
    });
    keys && serial && name.is_none_or(|name| name == issuer.issuer)
}

fn fits_key(signature: Option<KeyType>, key: Option<KeyType>) -> bool {
    match (signature, key) {
        (Some(KeyType::Pss), Some(KeyType::Rsa)) => true,
        (Some(signature), Some(key)) => signature == key,
        _ => false,
    }
}
