//! What strict verifiers object to in a certificate, before any of them is asked.
//!
//! Three kinds cover most clients: webpki (rustls), OpenSSL with `-x509_strict`, and Python, whose
//! `ssl.create_default_context` sets the same strict flag since 3.13. The rules are those of RFC 5280, sections 4.1 and
//! 4.2, that each of them enforces; `tests/certificates.rs` compares the answers with the verifiers themselves.

use std::fmt;

use x509_parser::oid_registry::{
    OID_PKCS1_RSAENCRYPTION, OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_CRL_DISTRIBUTION_POINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::{ExtendedKeyUsage, FromDer, KeyUsage, ParsedExtension, X509Certificate, X509Extension};

use super::authority::Role;
use super::certificate::{Certificate, Unreadable, date};

/// A kind of verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// rustls, and everything else built on webpki.
    Webpki,
    /// OpenSSL with `-x509_strict` (`X509_V_FLAG_X509_STRICT`).
    OpensslStrict,
    /// Python 3.13 and later with its default context.
    Python,
}

impl Verifier {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Webpki, Self::OpensslStrict, Self::Python];
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Webpki => "rustls (webpki)",
            Self::OpensslStrict => "openssl -x509_strict",
            Self::Python => "python 3.13",
        })
    }
}

/// Why some verifiers reject a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Who does.
    pub by: &'static [Verifier],
    /// Why.
    pub why: String,
}

const EVERYONE: &[Verifier] = &Verifier::ALL;
const WEBPKI: &[Verifier] = &[Verifier::Webpki];
/// Python asks OpenSSL with the strict flag, so these two always agree.
const STRICT: &[Verifier] = &[Verifier::OpensslStrict, Verifier::Python];

/// RSA (PKCS #1) and ECDSA over SHA-1.
const SHA1_SIGNATURES: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// What a certificate looks meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To issue others.
    Authority,
    /// To be shown by one side of a connection.
    EndEntity(Role),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "a CA",
            Self::EndEntity(Role::Server) => "a server",
            Self::EndEntity(Role::Client) => "a client",
        })
    }
}

/// The parts of a certificate that strict verifiers look at.
struct Facts<'a> {
    certificate: Certificate,
    parsed: &'a X509Certificate<'a>,
    key_usage: Option<&'a KeyUsage>,
    extended: Option<&'a ExtendedKeyUsage<'a>>,
}

impl<'a> Facts<'a> {
    fn new(der: &[u8], parsed: &'a X509Certificate<'a>) -> Result<Self, Unreadable> {
        let mut facts = Self { certificate: Certificate::from_der(der)?, parsed, key_usage: None, extended: None };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => facts.key_usage = Some(usage),
                ParsedExtension::ExtendedKeyUsage(usage) => facts.extended = Some(usage),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn extension(&self, oid: &Oid<'_>) -> Option<&X509Extension<'a>> {
        self.parsed.extensions().iter().find(|extension| extension.oid == *oid)
    }

    fn is_critical(&self, oid: &Oid<'_>) -> bool {
        self.extension(oid).is_some_and(|extension| extension.critical)
    }

    fn names_its_issuers_key(&self) -> bool {
        self.extension(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).is_some_and(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(id) if id.key_identifier.is_some())
        })
    }

    fn is_ca(&self) -> bool {
        self.certificate.ca == Some(true)
    }

    fn may_sign_certificates(&self) -> bool {
        self.key_usage.is_some_and(KeyUsage::key_cert_sign)
    }

    /// A CA that says what its key is for is one; `openssl req -x509` leaves that away, and its certificates are shown
    /// by servers and clients far more often than they sign. Without an extended key usage, names decide.
    fn purpose(&self) -> Purpose {
        if self.is_ca() && self.may_sign_certificates() {
            return Purpose::Authority;
        }
        let looks_like_host =
            |name: &str| name == "localhost" || (name.contains('.') && !name.contains(char::is_whitespace));
        Purpose::EndEntity(match self.extended {
            Some(usage) if usage.server_auth => Role::Server,
            Some(usage) if usage.client_auth => Role::Client,
            _ if self.certificate.server_names().iter().any(|name| looks_like_host(name)) => Role::Server,
            _ => Role::Client,
        })
    }
}

/// What a certificate looks meant for, and what is wrong with it for that, at `now` (seconds since the Unix epoch).
///
/// Its issuer is not looked at: whether a signature verifies is for [`ServerTrust`](super::ServerTrust) and
/// [`ClientTrust`](super::ClientTrust) to say.
pub fn examine(der: &[u8], now: u64) -> Result<(Purpose, Vec<Objection>), Unreadable> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| Unreadable(error.to_string()))?;
    let facts = Facts::new(der, &parsed)?;
    let purpose = facts.purpose();
    let mut found = Vec::new();
    dates(&facts, now, &mut found);
    strength(&facts, &mut found);
    webpki_rules(&facts, purpose, &mut found);
    strict_rules(&facts, purpose, &mut found);
    usage(&facts, purpose, &mut found);
    Ok((purpose, found))
}

fn object(found: &mut Vec<Objection>, by: &'static [Verifier], why: impl Into<String>) {
    found.push(Objection { by, why: why.into() });
}

fn dates(facts: &Facts<'_>, now: u64, found: &mut Vec<Objection>) {
    let certificate = &facts.certificate;
    if now > certificate.not_after {
        object(found, EVERYONE, format!("it expired on {}", date(certificate.not_after)));
    }
    if now < certificate.not_before {
        object(found, EVERYONE, format!("it is not valid before {}", date(certificate.not_before)));
    }
}

fn strength(facts: &Facts<'_>, found: &mut Vec<Objection>) {
    let signature = facts.parsed.signature_algorithm.algorithm.to_id_string();
    // Nobody looks at the signature of what was listed itself.
    if SHA1_SIGNATURES.contains(&signature.as_str()) && !facts.certificate.is_self_issued() {
        object(found, EVERYONE, "it is signed with SHA-1, which can be forged");
    }
    let key = facts.parsed.public_key();
    let bits = key.parsed().map_or(0, |key| key.key_size());
    if key.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION && bits < 2048 {
        // OpenSSL asks for 2048 from its security level 2 on, the default since 3.2 and of Debian long before.
        object(found, EVERYONE, format!("its RSA key has {bits} bits; 2048 is the least"));
    }
}

fn webpki_rules(facts: &Facts<'_>, purpose: Purpose, found: &mut Vec<Objection>) {
    let Purpose::EndEntity(role) = purpose else { return };
    if facts.certificate.version != 3 {
        let version = facts.certificate.version;
        object(found, WEBPKI, format!("it is of X.509 version {version}; only version 3 says what it is for"));
    }
    if facts.is_ca() {
        object(found, WEBPKI, "it is a CA certificate, and those are not accepted from a server or client as its own");
    }
    if role == Role::Server && !facts.certificate.has_alt_names {
        object(found, WEBPKI, "it has no subjectAltName, and a common name is not looked at");
    }
    let known = [
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
        OID_X509_EXT_NAME_CONSTRAINTS,
        OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    ];
    let foreign =
        facts.parsed.extensions().iter().find(|extension| extension.critical && !known.contains(&extension.oid));
    if let Some(extension) = foreign {
        object(found, WEBPKI, format!("its extension {} is critical and not understood", extension.oid));
    }
}

/// The checks of `X509_V_FLAG_X509_STRICT` (OpenSSL 3, `check_extensions` in `x509_vfy.c`).
///
/// Most are made on chains only: a self-signed certificate that is trusted as itself passes them (RFC 6818, section 2)
/// unless it leaves open whether it is a CA.
fn strict_rules(facts: &Facts<'_>, purpose: Purpose, found: &mut Vec<Objection>) {
    let certificate = &facts.certificate;
    if certificate.is_self_issued() && certificate.version != 3 {
        object(found, STRICT, "it is a self-signed certificate of X.509 version 1, which does not say that it is a CA");
    }
    if certificate.ca.is_none() && facts.may_sign_certificates() {
        object(found, STRICT, "its keyUsage lets it sign certificates, and it does not say that it is a CA");
    }
    if certificate.is_self_issued() && purpose != Purpose::Authority {
        return;
    }
    if facts.is_ca() {
        if !facts.is_critical(&OID_X509_EXT_BASIC_CONSTRAINTS) {
            object(found, STRICT, "it is a CA whose basicConstraints are not critical");
        }
        if facts.key_usage.is_none() {
            object(found, STRICT, "it is a CA without keyUsage");
        }
        if facts.extension(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).is_none() {
            object(found, STRICT, "it is a CA without a subject key identifier");
        }
    } else if certificate.ca == Some(false) && facts.may_sign_certificates() {
        object(found, STRICT, "it is no CA, but its keyUsage lets it sign certificates");
    }
    if certificate.version == 3 && !certificate.is_self_issued() && !facts.names_its_issuers_key() {
        object(found, STRICT, "it has no authority key identifier");
    }
    let stands_in = facts.is_critical(&OID_X509_EXT_SUBJECT_ALT_NAME) && !facts.is_ca();
    if facts.parsed.subject().as_raw() == EMPTY_NAME && !stands_in {
        object(found, STRICT, "its subject is empty, and no critical subjectAltName stands in for it");
    }
}

/// A name with nothing in it: an empty SEQUENCE.
const EMPTY_NAME: &[u8] = &[0x30, 0x00];

fn usage(facts: &Facts<'_>, purpose: Purpose, found: &mut Vec<Objection>) {
    let (Purpose::EndEntity(role), Some(extended)) = (purpose, facts.extended) else { return };
    let (named, missing) = match role {
        Role::Server => (extended.server_auth, "serverAuth"),
        Role::Client => (extended.client_auth, "clientAuth"),
    };
    if !named {
        object(found, EVERYONE, format!("its extended key usage does not include {missing}"));
    }
}
