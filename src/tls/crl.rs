//! One certificate revocation list, parsed strictly (RFC 5280, section 5).
//!
//! Unlike the profile of RFC 5280, and like OpenSSL, version 1 lists are accepted, and version 2 lists without
//! extensions: `openssl ca -gencrl` writes the former unless it is configured to number its lists. A list with anything
//! besides serial numbers that is not understood is rejected as a whole.

use std::cmp::Ordering;

use x509_parser::prelude::{ASN1Time, FromDer};

use super::certificate::{Certificate, shown_name};
use super::der::{self, Element, Reader};
use super::distribution_points::full_names;
use super::names::Comparable;
use super::serials::Serials;

const REASON: &[u8] = &[0x55, 0x1d, 21];
const INSTRUCTION: &[u8] = &[0x55, 0x1d, 23];
const INVALIDITY: &[u8] = &[0x55, 0x1d, 24];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
const ISSUER_ALT_NAME: &[u8] = &[0x55, 0x1d, 18];
const NUMBER: &[u8] = &[0x55, 0x1d, 20];
const DELTA: &[u8] = &[0x55, 0x1d, 27];
const ISSUING_POINT: &[u8] = &[0x55, 0x1d, 28];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];
const FRESHEST: &[u8] = &[0x55, 0x1d, 46];

/// RSA (PKCS #1) and ECDSA over SHA-1.
const SHA1: [&[u8]; 2] = [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]];

/// A parsed list. Parsing does not verify its signature.
#[derive(Debug)]
pub(crate) struct List {
    /// Who issued it, as text for messages.
    pub(crate) issuer: String,
    /// The same name, in comparable form.
    pub(super) name: Comparable,
    /// Serial numbers without leading zeros.
    pub(super) revoked: Serials,
    /// In seconds since the Unix epoch.
    pub(crate) next_update: u64,
    this_update: u64,
    pub(crate) scope: Scope,
    /// Its number, big-endian, without leading zeros, if it has one (RFC 5280, 5.2.3).
    pub(super) number: Option<Vec<u8>>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// Whether it is signed over SHA-1.
    pub(crate) is_sha1: bool,
}

/// One revoked certificate on a list (RFC 5280, 5.1.2.6 and 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its serial number, big-endian, as encoded.
    pub(crate) serial: &'a [u8],
    /// When it was revoked, in seconds since the Unix epoch; 0 for before.
    pub(crate) at: u64,
    /// The reason code, if there is one.
    pub(super) reason: Option<u8>,
    /// The invalidity date, if there is one, in seconds since the Unix epoch; 0 for before.
    pub(super) invalid_since: Option<u64>,
}

/// The certificates of its CA that a list covers (RFC 5280, 5.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    end_entities: bool,
    authorities: bool,
    /// The certificate must have one of these distribution points (GeneralNames in DER); empty for any.
    points: Vec<Vec<u8>>,
}

impl Scope {
    const EVERYTHING: Self = Self { end_entities: true, authorities: true, points: Vec::new() };

    /// Whether, under a list of this scope, a certificate that is not listed counts as not revoked.
    pub(crate) fn covers(&self, certificate: &Certificate) -> bool {
        let of_its_kind = if certificate.ca == Some(true) { self.authorities } else { self.end_entities };
        of_its_kind
            && (self.points.is_empty() || self.points.iter().any(|point| certificate.crl_points.contains(point)))
    }

    /// Whether some certificates are not covered.
    pub(crate) fn is_partial(&self) -> bool {
        *self != Self::EVERYTHING
    }
}

impl List {
    /// Parses a list in DER.
    ///
    /// # Errors
    ///
    /// A sentence: the list is malformed, or it cannot be enforced by comparing serial numbers.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::read_each(bytes, |_| ())
    }

    /// As [`read`](Self::read), with a call of `each` for every entry.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the calls of `each` must then be ignored.
    pub(crate) fn read_each(bytes: &[u8], mut each: impl FnMut(&Entry<'_>)) -> Result<Self, String> {
        let Some(parts) = Parts::read(bytes) else { return Err("not a readable revocation list".to_owned()) };
        let issuer = shown_name(parts.issuer);
        let refuse = |why: &str| format!("the revocation list of {issuer} {why}");
        let version = match parts.version {
            None => 1,
            Some([1]) => 2,
            Some(_) => return Err(refuse("has an unknown version; 1 and 2 are supported")),
        };
        if version == 1 && parts.extensions.is_some() {
            return Err(refuse("has version 1 and extensions, which only version 2 allows"));
        }
        let unreadable = || refuse("is damaged");
        let name = Comparable::from_der(parts.issuer).ok_or_else(unreadable)?;
        let Some(next_update) = parts.next_update else {
            return Err(refuse("has no next update (RFC 5280, 5.1.2.5), so it never expires"));
        };
        let next_update = seconds(&next_update).ok_or_else(unreadable)?;
        let mut revoked = Vec::new();
        for entry in parts.entries().ok_or_else(unreadable)? {
            let Some((entry, extensions)) = read_entry(&entry) else { return Err(unreadable()) };
            check_entry(&extensions).map_err(refuse)?;
            each(&entry);
            revoked.push(significant(entry.serial));
        }
        let extensions = parts.extensions().ok_or_else(unreadable)?;
        let number = extensions.iter().find(|extension| extension.id == NUMBER);
        let number = number.map(|number| read_number(number.value).ok_or_else(unreadable)).transpose()?;
        let scope = scope(&extensions).map_err(refuse)?;
        Ok(Self {
            name,
            revoked: revoked.into_iter().collect(),
            next_update,
            this_update: seconds(&parts.this_update).ok_or_else(unreadable)?,
            scope,
            number,
            signed: parts.signed.to_vec(),
            signature: parts.signature.to_vec(),
            is_sha1: SHA1.contains(&parts.algorithm),
            issuer,
        })
    }

    /// Whether a certificate's key made its signature.
    pub(crate) fn is_signed_by(&self, authority: &Certificate) -> bool {
        authority.has_signed(&self.signed, &self.signature)
    }

    /// Whether it is at least as new as another list of the same CA and scope: by their numbers if both have one, then
    /// by their time of issue.
    pub(super) fn is_as_new_as(&self, other: &Self) -> bool {
        let order = match (&self.number, &other.number) {
            (Some(ours), Some(others)) => (ours.len(), ours).cmp(&(others.len(), others)),
            _ => Ordering::Equal,
        };
        order.then(self.this_update.cmp(&other.this_update)).is_ge()
    }

    /// Frees what is needed only to verify the signature.
    pub(super) fn forget_signed(&mut self) {
        self.signed = Vec::new();
    }
}

/// A serial number without the leading zeros that encodings add or omit.
pub(crate) fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

fn seconds(time: &Element<'_>) -> Option<u64> {
    let (_, time) = ASN1Time::from_der(time.whole).ok()?;
    Some(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// The fields of a list.
struct Parts<'a> {
    version: Option<&'a [u8]>,
    issuer: &'a [u8],
    this_update: Element<'a>,
    next_update: Option<Element<'a>>,
    revoked: Option<&'a [u8]>,
    extensions: Option<&'a [u8]>,
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut list = der::sequence(bytes)?;
        let signed = list.expect(der::SEQUENCE)?;
        let algorithm = list.expect(der::SEQUENCE)?;
        let signature = list.expect(der::BIT_STRING)?.value.strip_prefix(&[0])?;
        let mut fields = Reader::new(signed.value);
        let version = fields.optional(&[der::INTEGER]).map(|version| version.value);
        let inner = fields.expect(der::SEQUENCE)?;
        let issuer = fields.expect(der::SEQUENCE)?.whole;
        let this_update = fields.optional(&[der::UTC_TIME, der::GENERALIZED_TIME])?;
        seconds(&this_update)?;
        let next_update = fields.optional(&[der::UTC_TIME, der::GENERALIZED_TIME]);
        let revoked = fields.optional(&[der::SEQUENCE]).map(|entries| entries.value);
        let extensions = fields.optional(&[der::tagged(0)]).map(|extensions| extensions.value);
        let is_whole = list.is_empty() && fields.is_empty() && inner.whole == algorithm.whole;
        let algorithm = Reader::new(algorithm.value).expect(der::OBJECT_IDENTIFIER)?.value;
        is_whole.then_some(Self {
            version,
            issuer,
            this_update,
            next_update,
            revoked,
            extensions,
            signed: signed.whole,
            algorithm,
            signature,
        })
    }

    fn entries(&self) -> Option<Vec<Element<'a>>> {
        Reader::new(self.revoked.unwrap_or_default()).all(der::SEQUENCE)
    }

    fn extensions(&self) -> Option<Vec<Extension<'a>>> {
        self.extensions.map_or_else(|| Some(Vec::new()), |bytes| read_extensions(der::sequence(bytes)?))
    }
}

struct Extension<'a> {
    id: &'a [u8],
    is_critical: bool,
    value: &'a [u8],
}

/// The elements of an Extensions (RFC 5280, 4.1).
fn read_extensions<'a>(list: Reader<'a>) -> Option<Vec<Extension<'a>>> {
    let read = |element: Element<'a>| {
        let mut fields = Reader::new(element.value);
        let id = fields.expect(der::OBJECT_IDENTIFIER)?.value;
        let is_critical = fields.optional(&[der::BOOLEAN]).is_some_and(|critical| critical.value != [0]);
        let value = fields.expect(der::OCTET_STRING)?.value;
        fields.is_empty().then_some(Extension { id, is_critical, value })
    };
    list.all(der::SEQUENCE)?.into_iter().map(read).collect()
}

/// An entry, and all its extensions.
fn read_entry<'a>(entry: &Element<'a>) -> Option<(Entry<'a>, Vec<Extension<'a>>)> {
    let mut fields = Reader::new(entry.value);
    let serial = fields.expect(der::INTEGER)?.value;
    let at = seconds(&fields.optional(&[der::UTC_TIME, der::GENERALIZED_TIME])?)?;
    let extensions = fields.optional(&[der::SEQUENCE]);
    let extensions = extensions.map_or_else(|| Some(Vec::new()), |list| read_extensions(Reader::new(list.value)))?;
    let only = |id: &[u8], tag: u8| {
        let found = extensions.iter().find(|extension| extension.id == id)?;
        let mut value = Reader::new(found.value);
        Some(value.expect(tag).filter(|_| value.is_empty()))
    };
    let reason = match only(REASON, der::ENUMERATED) {
        None => None,
        Some(reason) => Some(<[u8; 1]>::try_from(reason?.value).ok()?[0]),
    };
    let invalid_since = match only(INVALIDITY, der::GENERALIZED_TIME) {
        None => None,
        Some(date) => Some(seconds(&date?)?),
    };
    fields.is_empty().then_some((Entry { serial, at, reason, invalid_since }, extensions))
}

fn read_number(extension: &[u8]) -> Option<Vec<u8>> {
    let mut value = Reader::new(extension);
    let number = value.expect(der::INTEGER)?.value;
    // An INTEGER that is not negative.
    let is_number = value.is_empty() && number.first().is_some_and(|first| *first < 0x80);
    is_number.then(|| significant(number).to_vec())
}

fn check_entry(extensions: &[Extension<'_>]) -> Result<(), &'static str> {
    for extension in extensions {
        match extension.id {
            CERTIFICATE_ISSUER => {
                return Err("is indirect: it lists certificates of other CAs, which is not supported");
            }
            REASON | INSTRUCTION | INVALIDITY => {}
            _ if extension.is_critical => return Err("has an entry with a critical extension that is not understood"),
            _ => {}
        }
    }
    Ok(())
}

fn scope(extensions: &[Extension<'_>]) -> Result<Scope, &'static str> {
    let mut scope = None;
    for extension in extensions {
        match extension.id {
            DELTA => return Err("is a delta list: pass the complete one"),
            ISSUING_POINT if scope.is_some() => return Err("has two issuing distribution points"),
            ISSUING_POINT => scope = Some(issuing_point(extension.value)?),
            NUMBER | AUTHORITY_KEY | ISSUER_ALT_NAME | FRESHEST => {}
            _ if extension.is_critical => return Err("has a critical extension that is not understood"),
            _ => {}
        }
    }
    Ok(scope.unwrap_or(Scope::EVERYTHING))
}

/// Reads an IssuingDistributionPoint (RFC 5280, 5.2.5).
fn issuing_point(bytes: &[u8]) -> Result<Scope, &'static str> {
    const DAMAGED: &str = "has a malformed issuing distribution point";
    let mut fields = der::sequence(bytes).ok_or(DAMAGED)?;
    let mut scope = Scope::EVERYTHING;
    while !fields.is_empty() {
        let field = fields.element().ok_or(DAMAGED)?;
        let is_set = field.value != [0];
        if field.tag == der::tagged(0) {
            scope.points = full_names(field.value)
                .ok_or("names its distribution point relative to its issuer, which is not supported")?;
        } else if field.tag == der::primitive(1) {
            scope.authorities &= !is_set;
        } else if field.tag == der::primitive(2) {
            scope.end_entities &= !is_set;
        } else if field.tag == der::primitive(3) {
            return Err(
                "covers only some reasons of revocation, so it cannot show that a certificate is not revoked: pass the complete one",
            );
        } else if field.tag == der::primitive(4) && is_set {
            return Err("is indirect: it lists certificates of other CAs, which is not supported");
        } else if field.tag == der::primitive(5) && is_set {
            return Err("covers attribute certificates only");
        } else if field.tag != der::primitive(4) && field.tag != der::primitive(5) {
            return Err(DAMAGED);
        }
    }
    Ok(scope)
}
