//! One X.509 certificate, parsed once into the fields that trust decisions and messages need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::distribution_points::distribution_points;
use super::names::{common_name, printable, shown};

/// The fields of a certificate (RFC 5280). Parsing verifies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The whole certificate.
    pub der: CertificateDer<'static>,
    /// X.509 version: 1 or 3. Version 1 has no extensions at all.
    pub version: u32,
    /// The subject, as text for messages.
    pub subject: String,
    /// The issuer, as text for messages.
    pub issuer: String,
    /// The issuer's name in DER, for the list of acceptable CAs sent to clients.
    pub issuer_der: Vec<u8>,
    /// The subject's name in DER.
    pub subject_der: Vec<u8>,
    /// The subject's first common name.
    pub common_name: Option<String>,
    /// Whether a subjectAltName extension is present.
    pub has_alt_names: bool,
    /// Alternative names of type dNSName.
    pub dns: Vec<String>,
    /// Alternative names of type iPAddress.
    pub addresses: Vec<IpAddr>,
    /// Alternative names of type uniformResourceIdentifier.
    pub uris: Vec<String>,
    /// Alternative names of type rfc822Name.
    pub emails: Vec<String>,
    /// First second of validity, in seconds since the Unix epoch; 0 when before it.
    pub not_before: u64,
    /// Last second of validity, in seconds since the Unix epoch; 0 when before it.
    pub not_after: u64,
    /// basicConstraints's cA; `None` without that extension.
    pub ca: Option<bool>,
    /// The number of CAs allowed below it on a path (pathLenConstraint); `None` for any number.
    pub path_length: Option<u32>,
    /// Whether its key may sign certificates (keyUsage, RFC 5280, 4.2.1.3); true without that extension.
    pub may_sign_certificates: bool,
    /// Whether its key may sign revocation lists; true without keyUsage.
    pub may_sign_lists: bool,
    /// Where its CA publishes revocation lists (RFC 5280, 4.2.1.13): GeneralNames in DER.
    pub(crate) crl_points: Vec<Vec<u8>>,
    /// The subject's public key.
    pub public_key: SubjectPublicKeyInfoDer<'static>,
    /// The serial number, big-endian, as encoded.
    pub serial: Vec<u8>,
}

/// The bytes are not a certificate that can be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a readable X.509 certificate: {0}")]
pub struct MalformedCertificate(pub(crate) String);

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    ///
    /// The bytes are not exactly one DER certificate, or an extension occurs twice (RFC 5280, 4.2): two parsers could
    /// then see two different names.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| MalformedCertificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(MalformedCertificate(format!("{} bytes follow it", rest.len())));
        }
        let extension = |error: x509_parser::error::X509Error| MalformedCertificate(error.to_string());
        let basic = parsed.basic_constraints().map_err(extension)?;
        let usage = parsed.key_usage().map_err(extension)?;
        let points = parsed.get_extension_unique(&OID_X509_EXT_CRL_DISTRIBUTION_POINTS).map_err(extension)?;
        let mut certificate = Self {
            der: CertificateDer::from(der.to_vec()),
            version: parsed.version().0 + 1,
            subject: shown(parsed.subject()),
            issuer: shown(parsed.issuer()),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            subject_der: parsed.subject().as_raw().to_vec(),
            common_name: common_name(parsed.subject()),
            has_alt_names: false,
            dns: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            not_before: seconds(parsed.validity().not_before.timestamp()),
            not_after: seconds(parsed.validity().not_after.timestamp()),
            ca: basic.as_ref().map(|basic| basic.value.ca),
            path_length: basic.and_then(|basic| basic.value.path_len_constraint),
            may_sign_certificates: usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign()),
            may_sign_lists: usage.is_none_or(|usage| usage.value.crl_sign()),
            crl_points: points.map(|points| distribution_points(points.value)).unwrap_or_default(),
            public_key: SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()),
            serial: parsed.raw_serial().to_vec(),
        };
        if let Some(names) = parsed.subject_alternative_name().map_err(extension)? {
            certificate.has_alt_names = true;
            for name in &names.value.general_names {
                certificate.add_alt_name(name)?;
            }
        }
        Ok(certificate)
    }

    fn add_alt_name(&mut self, name: &GeneralName<'_>) -> Result<(), MalformedCertificate> {
        match name {
            GeneralName::DNSName(name) => self.dns.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => {
                let address = address(octets)
                    .ok_or_else(|| MalformedCertificate(format!("an IP address name of {} bytes", octets.len())))?;
                self.addresses.push(address);
            }
            // Names of other types are not used.
            _ => {}
        }
        Ok(())
    }

    /// Whether it was issued under its own name, like every root and every `openssl req -x509` certificate.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer_der == self.subject_der
    }

    /// Whether its key may be used for authentication in a handshake: keyUsage has digitalSignature or keyAgreement,
    /// which OpenSSL requires of clients (RFC 8446, 4.4.2.2). True without that extension.
    #[must_use]
    pub fn may_authenticate(&self) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.der) else { return false };
        let usage = parsed.key_usage().map(|usage| usage.map(|usage| *usage.value));
        usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.digital_signature() || usage.key_agreement()))
    }

    /// Whether `now`, in seconds since the Unix epoch, is within its validity.
    #[must_use]
    pub fn is_current(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The names of a server with this certificate, for messages: alternative names, else the common name.
    #[must_use]
    pub fn server_names(&self) -> Vec<String> {
        if self.has_alt_names {
            let addresses = self.addresses.iter().map(ToString::to_string);
            self.dns.iter().map(|name| printable(name)).chain(addresses).collect()
        } else {
            self.common_name.iter().map(|name| printable(name)).collect()
        }
    }

    /// Whether this certificate's key made `signature` over `message`, with any algorithm for that kind of key.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = webpki::RawPublicKeyEntity::try_from(&self.public_key) else { return false };
        webpki::ALL_VERIFICATION_ALGS
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
    }

    /// Whether this certificate was issued under `issuer`'s name and with its key.
    #[must_use]
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        if self.issuer_der != issuer.subject_der {
            return false;
        }
        let Ok((_, parsed)) = X509Certificate::from_der(&self.der) else { return false };
        issuer.has_signed(parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
    }

    /// SHA-256 of the whole certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.der)
    }
}

/// SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` prints it.
#[must_use]
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Characters of a name shown in a message: certificates may contain names of any length.
const SHOWN: usize = 200;

/// A name from a peer for a log line: [`printable`], and cut if it is long.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => printable(text.get(..end).unwrap_or_default()) + "...",
        None => printable(text),
    }
}

/// A distinguished name in DER, such as a server's acceptable CAs, as text for messages.
#[must_use]
pub fn shown_name(der: &[u8]) -> String {
    X509Name::from_der(der).map_or_else(|_| "(unreadable name)".to_owned(), |(_, name)| shown(&name))
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(|four| Ipv4Addr::from(four).into())
        .or_else(|_| <[u8; 16]>::try_from(octets).map(|sixteen| Ipv6Addr::from(sixteen).into()))
        .ok()
}

/// The UTC date of a time in seconds since the Unix epoch, as `2026-12-01`.
#[must_use]
pub fn date(seconds: u64) -> String {
    // Howard Hinnant's civil_from_days, for days on or after 1970-01-01: years begin in March, so that the leap day is
    // the last of its year.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        // Checked against `date -u -d @N +%F`.
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_767_225_599, "2025-12-31"),
            (1_767_225_600, "2026-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
