//! A private certificate authority. It makes certificates that rustls, OpenSSL in strict mode and Python all accept.
//!
//! Strict verifiers (RFC 5280, 4.2.1; `openssl verify -x509_strict`; Python's `VERIFY_X509_STRICT`, on by default since
//! 3.13) require what quick recipes leave out: basicConstraints with CA:FALSE in a leaf, key identifiers of subject and
//! issuer everywhere, critical keyUsage, and names in subjectAltName.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, RsaKeySize,
    SanType, SerialNumber,
};

pub use super::authority_error::AuthorityError;
use super::certificate::Certificate;
use super::pem::PemSource;
use super::revocations::Revocations;

/// Validity starts this much in the past, so that a verifier whose clock is a little behind accepts a new certificate.
const BACKDATE: u64 = 60 * 60;
const DAY: u64 = 24 * 60 * 60;
/// Ten years: a private CA should be replaced on purpose, not because it expires by surprise.
const CA_DAYS: u64 = 3650;
/// The longest validity that public rules allowed for server certificates before it was reduced further; verifiers that
/// limit private CAs allow at least this.
const LEAF_DAYS: u64 = 397;
/// The upper bound of a common name, in characters (RFC 5280, appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// The kind of a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256: small, fast and supported everywhere.
    #[default]
    EcdsaP256,
    /// Ed25519: not supported by every browser yet.
    Ed25519,
    /// RSA with 3072 bits: for old peers. Each handshake costs the server much more.
    Rsa3072,
}

/// The side of a connection that a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// serverAuth.
    Server,
    /// clientAuth.
    Client,
}

/// The names in a new leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `None` for a host whose name is too long for a common name.
    common_name: Option<String>,
    alt_names: Vec<SanType>,
}

/// A certificate and its private key (PKCS#8), both as PEM text.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Making(error.to_string())
    }
}

impl Subject {
    /// A subject with common name `common_name`, and further names written `DNS:…`, `IP:…`, `URI:…` or `EMAIL:…`.
    pub fn named(common_name: &str, alt_names: &[String]) -> Result<Self, AuthorityError> {
        let refuse = |why| Err(AuthorityError::Name { name: common_name.to_owned(), why });
        if common_name.is_empty() || common_name.chars().any(char::is_control) {
            return refuse("it is empty or contains control characters");
        }
        if common_name.chars().count() > COMMON_NAME_MAX {
            return refuse("a common name has at most 64 characters; give a longer name with --san");
        }
        let alt_names = alt_names.iter().map(|name| alt_name(name)).collect::<Result<_, _>>()?;
        Ok(Self { common_name: Some(common_name.to_owned()), alt_names })
    }

    /// A server reached as `host`, with further names as for [`named`](Self::named). A host name of more than 64
    /// characters appears in subjectAltName only, because a common name has at most 64 (RFC 5280, appendix A.1,
    /// ub-common-name). The final dot of a complete name is removed: names in certificates have none.
    pub fn server(host: &str, alt_names: &[String]) -> Result<Self, AuthorityError> {
        let host = undotted(host);
        if host.chars().count() <= COMMON_NAME_MAX {
            return Self::named(host, alt_names)?.reachable();
        }
        let mut names = vec![dns_name(host)?];
        for name in alt_names {
            let name = alt_name(name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self { common_name: None, alt_names: names })
    }

    /// The subject's common name; empty for a host whose name is too long for one.
    #[must_use]
    pub fn common_name(&self) -> &str {
        self.common_name.as_deref().unwrap_or_default()
    }

    /// The same subject, reachable under its common name: an IP address if it is one, else a DNS name.
    pub fn reachable(mut self) -> Result<Self, AuthorityError> {
        let name = match self.common_name().parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => dns_name(self.common_name())?,
        };
        if !self.alt_names.contains(&name) {
            self.alt_names.insert(0, name);
        }
        Ok(self)
    }
}

/// Parses `DNS:…`, `IP:…`, `URI:…` or `EMAIL:…`.
fn alt_name(text: &str) -> Result<SanType, AuthorityError> {
    let refuse = |why| AuthorityError::Name { name: text.to_owned(), why };
    let (kind, value) =
        text.split_once(':').ok_or_else(|| refuse("write it as DNS:name, IP:address, URI:uri or EMAIL:address"))?;
    match kind.to_ascii_uppercase().as_str() {
        "DNS" => dns_name(value),
        "IP" => value.parse().map(SanType::IpAddress).map_err(|_| refuse("it is not an IP address")),
        // Neither type allows spaces, control characters or letters beyond ASCII (RFC 5280, 4.2.1.6).
        "URI" | "EMAIL" if !value.chars().all(|c| c.is_ascii_graphic()) => {
            Err(refuse("it contains characters other than visible ASCII"))
        }
        "URI" if has_scheme(value) => {
            value.try_into().map(SanType::URI).map_err(|_| refuse("a URI in a certificate is ASCII"))
        }
        "URI" => Err(refuse("a URI starts with a scheme, such as spiffe://")),
        "EMAIL" if is_mailbox(value) => {
            value.try_into().map(SanType::Rfc822Name).map_err(|_| refuse("an address in a certificate is ASCII"))
        }
        "EMAIL" => Err(refuse("an e-mail address is NAME@HOST")),
        _ => Err(refuse("the type must be DNS, IP, URI or EMAIL")),
    }
}

/// Whether there is text before and after the scheme's colon (RFC 3986, 3.1).
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !rest.is_empty()
    })
}

/// Whether an address has a mailbox and a valid host name (RFC 5321, 4.1.2).
fn is_mailbox(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(mailbox, host)| {
        !mailbox.is_empty() && !host.ends_with('.') && rustls_pki_types::DnsName::try_from(host).is_ok()
    })
}

/// A host name without the final dot of a complete name.
pub(crate) fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn dns_name(name: &str) -> Result<SanType, AuthorityError> {
    let refuse = |why| AuthorityError::Name { name: name.to_owned(), why };
    let name = undotted(name);
    if !name.is_ascii() {
        return Err(refuse("write an international name in its xn-- form"));
    }
    // A wildcard stands for the whole leftmost label (RFC 9525, 6.3); the rest is an ordinary host name.
    let host = name.strip_prefix("*.").unwrap_or(name);
    if host.ends_with('.') {
        return Err(refuse("it is not a host name"));
    }
    rustls_pki_types::DnsName::try_from(host).map_err(|_| refuse("it is not a host name"))?;
    name.try_into().map(SanType::DnsName).map_err(|_| refuse("it is not a host name"))
}

/// A CA that can sign.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new CA, valid for ten years from `now` (seconds since the Unix epoch).
    pub fn create(key: KeyKind, common_name: &str, now: u64) -> Result<Self, AuthorityError> {
        let key = generate(key)?;
        let subject = Subject::named(common_name, &[])?;
        let mut params = params(&subject, now, now + CA_DAYS * DAY)?;
        // It signs leaves, never another CA.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = params.self_signed(&key)?;
        Ok(Self { certificate: read(made.der(), "the new CA")?, pem: made.pem(), issuer: Issuer::new(params, key) })
    }

    /// Loads a CA from its files.
    pub fn load(certificate: &PemSource, key: &PemSource, now: u64) -> Result<Self, AuthorityError> {
        let der = certificate.certificates()?.swap_remove(0);
        let parsed = read(&der, &certificate.name)?;
        if parsed.ca != Some(true) {
            return Err(AuthorityError::NotCa(certificate.name.clone()));
        }
        if parsed.not_after < now {
            return Err(AuthorityError::Expired(certificate.name.clone()));
        }
        let key_pair = KeyPair::try_from(&key.private_key()?)?;
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&key_pair);
        if public_key.as_slice() != parsed.public_key.as_ref() {
            return Err(AuthorityError::KeyMismatch { certificate: certificate.name.clone(), key: key.name.clone() });
        }
        let issuer = Issuer::from_ca_cert_der(&der, key_pair)?;
        let pem = String::from_utf8_lossy(&certificate.bytes).into_owned();
        Ok(Self { certificate: parsed, pem, issuer })
    }

    /// The CA's own certificate and key.
    #[must_use]
    pub fn files(&self) -> Issued {
        Issued { certificate: self.pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// The CA's certificate, parsed.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues a leaf, valid for 397 days from `now` (seconds since the Unix epoch) but no longer than the CA itself.
    pub fn issue(&self, role: Role, subject: &Subject, key: KeyKind, now: u64) -> Result<Issued, AuthorityError> {
        let key = generate(key)?;
        let end = (now + LEAF_DAYS * DAY).min(self.certificate.not_after);
        let mut params = params(subject, now, end)?;
        // An explicit CA:FALSE with a key identifier; leaving basicConstraints out would leave both out.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let made = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: made.pem(), key: key.serialize_pem() })
    }

    /// When a leaf issued at `now` ends, if that is earlier than usual because the CA itself ends then.
    #[must_use]
    pub fn cuts_short(&self, now: u64) -> Option<u64> {
        let end = self.certificate.not_after;
        (end < now + LEAF_DAYS * DAY).then_some(end)
    }

    /// Signs a revocation list of `revoked` (serial number, and time of revocation in seconds since the Unix epoch).
    /// Its next update is `now + days`.
    pub fn revocation_list(&self, revoked: &[(Vec<u8>, u64)], days: u64, now: u64) -> Result<String, AuthorityError> {
        let mut revocations = Revocations::default();
        for (serial, at) in revoked {
            revocations.add(serial, *at);
        }
        self.renewed_list(&revocations, days, now)
    }

    /// Signs the revocation list that succeeds those in `revocations`. Its next update is `now + days`.
    pub fn renewed_list(&self, revocations: &Revocations, days: u64, now: u64) -> Result<String, AuthorityError> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |seconds| epoch + Duration::from_secs(seconds);
        let revoked_certs = revocations
            .entries
            .iter()
            .map(|entry| RevokedCertParams {
                serial_number: SerialNumber::from_slice(&entry.serial),
                revocation_time: at(entry.at),
                reason_code: entry.reason,
                invalidity_date: entry.invalid_since.map(at),
            })
            .collect();
        let list = CertificateRevocationListParams {
            this_update: epoch + Duration::from_secs(now.saturating_sub(BACKDATE)),
            next_update: epoch + Duration::from_secs(now + days * DAY),
            crl_number: SerialNumber::from_slice(&revocations.next_number(now)),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

fn read(der: &[u8], file: &str) -> Result<Certificate, AuthorityError> {
    Certificate::from_der(der).map_err(|source| AuthorityError::Certificate { file: file.to_owned(), source })
}

fn generate(kind: KeyKind) -> Result<KeyPair, AuthorityError> {
    Ok(match kind {
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        // Made here in PKCS#8 version 1: OpenSSL 3.0 does not read version 2, which rcgen would write.
        KeyKind::Ed25519 => {
            let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
                .map_err(|_| AuthorityError::Making("the system's random number generator failed".to_owned()))?;
            KeyPair::try_from(key.as_ref())?
        }
        KeyKind::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072)?,
    })
}

fn params(subject: &Subject, now: u64, end: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // With an empty subject, subjectAltName is critical (RFC 5280, 4.1.2.6).
    if let Some(common_name) = &subject.common_name {
        params.distinguished_name.push(DnType::CommonName, common_name.as_str());
    }
    params.subject_alt_names.clone_from(&subject.alt_names);
    params.serial_number = Some(serial()?);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(BACKDATE));
    params.not_after = epoch + Duration::from_secs(end);
    Ok(params)
}

/// 128 random bits: unguessable, positive, and unique (RFC 5280, 4.1.2.2).
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Making("the system's random number generator failed".to_owned()))?;
    // The top bit is the sign; setting the next one gives every serial number the same length.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
