//! Name constraints (RFC 5280, 4.2.1.10) as OpenSSL applies them (`v3_ncons.c`).

use x509_parser::prelude::{GeneralName, NameConstraints, X509Name};

use super::link::Link;
use crate::tls::names::{Comparable, compared_text};

/// emailAddress in a subject, to which the constraints of mail addresses apply.
const EMAIL_ADDRESS: &str = "1.2.840.113549.1.9.1";

/// A name in a certificate, by its type in constraints.
enum Name<'a> {
    Directory(Comparable),
    Dns(String),
    Email(String),
    Uri(&'a str),
    Address(&'a [u8]),
    /// Of a type without constraints in OpenSSL.
    Other,
}

/// The relation of a name to one subtree.
enum Fit {
    OtherType,
    Within,
    Outside,
    /// OpenSSL rejects the certificate because it cannot decide.
    Unknown,
}

/// The first name of `link` that `constraints` do not allow. `is_leaf`: it is the peer's own certificate, whose common
/// names count as host names if it has none in subjectAltName.
pub(super) fn violation(link: &Link<'_>, constraints: &NameConstraints<'_>, is_leaf: bool) -> Option<String> {
    let mut names = Vec::new();
    if !link.subject.is_empty() {
        names.push(Name::Directory(link.subject.clone()));
        let emails = link.parsed.subject().iter_attributes();
        let emails = emails.filter(|attribute| attribute.attr_type().to_id_string() == EMAIL_ADDRESS);
        names.extend(
            emails
                .filter_map(|email| compared_text(email.attr_value().tag().0, email.attr_value().data))
                .map(Name::Email),
        );
    }
    let alt_names = link.alt_names().unwrap_or_default();
    names.extend(alt_names.iter().map(name));
    if is_leaf && !alt_names.iter().any(|name| matches!(name, GeneralName::DNSName(_))) {
        names.extend(host_like(link.parsed.subject()).map(Name::Dns));
    }
    names.iter().find(|name| !is_allowed(name, constraints)).map(shown)
}

fn name<'a>(name: &'a GeneralName<'a>) -> Name<'a> {
    match name {
        GeneralName::DirectoryName(name) => Name::Directory(Comparable::of(name)),
        GeneralName::DNSName(name) => Name::Dns((*name).to_owned()),
        GeneralName::RFC822Name(name) => Name::Email((*name).to_owned()),
        GeneralName::URI(uri) => Name::Uri(uri),
        GeneralName::IPAddress(octets) => Name::Address(octets),
        _ => Name::Other,
    }
}

/// Common names of two or more labels (`cn2dnsid`).
fn host_like<'a>(subject: &'a X509Name<'_>) -> impl Iterator<Item = String> + 'a {
    let names =
        subject.iter_common_name().filter_map(|name| compared_text(name.attr_value().tag().0, name.attr_value().data));
    names.filter(|name| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        name.chars().all(plain) && name.trim_matches('.').contains('.') && !name.contains("..")
    })
}

fn shown(name: &Name<'_>) -> String {
    match name {
        Name::Directory(_) => "its subject".to_owned(),
        Name::Dns(name) | Name::Email(name) => name.clone(),
        Name::Uri(uri) => (*uri).to_owned(),
        Name::Address(octets) => crate::tls::certificate::hex(octets),
        Name::Other => "a name of another type".to_owned(),
    }
}

fn is_allowed(name: &Name<'_>, constraints: &NameConstraints<'_>) -> bool {
    let fits = |trees: &Option<Vec<_>>| -> Vec<Fit> {
        let trees: &[x509_parser::prelude::GeneralSubtree<'_>] = trees.as_deref().unwrap_or_default();
        trees.iter().map(|tree| fit(name, &tree.base)).collect()
    };
    let permitted = fits(&constraints.permitted_subtrees);
    let excluded = fits(&constraints.excluded_subtrees);
    let unknown = permitted.iter().chain(&excluded).any(|fit| matches!(fit, Fit::Unknown));
    let is_named = permitted.iter().any(|fit| !matches!(fit, Fit::OtherType));
    let is_within = permitted.iter().any(|fit| matches!(fit, Fit::Within));
    !unknown && (!is_named || is_within) && !excluded.iter().any(|fit| matches!(fit, Fit::Within))
}

fn fit(name: &Name<'_>, base: &GeneralName<'_>) -> Fit {
    let is_within = match (name, base) {
        (Name::Directory(name), GeneralName::DirectoryName(base)) => name.starts_with(&Comparable::of(base)),
        (Name::Dns(name), GeneralName::DNSName(base)) => is_below(name, base),
        (Name::Email(name), GeneralName::RFC822Name(base)) => match name.rsplit_once('@') {
            Some((local, host)) => is_mailbox(local, host, base),
            None => return Fit::Unknown,
        },
        (Name::Uri(uri), GeneralName::URI(base)) => match host(uri) {
            Some(host) => is_host(host, base),
            None => return Fit::Unknown,
        },
        (Name::Address(address), GeneralName::IPAddress(base)) => {
            if !matches!(address.len(), 4 | 16) {
                return Fit::Unknown;
            }
            base.len() == 2 * address.len() && is_in_network(address, base)
        }
        _ => return Fit::OtherType,
    };
    if is_within { Fit::Within } else { Fit::Outside }
}

/// `nc_dns`: the base itself or any name below it.
fn is_below(name: &str, base: &str) -> bool {
    let (name, base) = (name.to_ascii_lowercase(), base.to_ascii_lowercase());
    let Some(before) = name.strip_suffix(&base) else { return false };
    base.is_empty() || before.is_empty() || base.starts_with('.') || before.ends_with('.')
}

/// `nc_email`: one mailbox, all of a host, or with a leading dot all of the hosts below it.
fn is_mailbox(local: &str, host: &str, base: &str) -> bool {
    match base.rsplit_once('@') {
        Some((base_local, base_host)) => {
            (base_local.is_empty() || base_local == local) && base_host.eq_ignore_ascii_case(host)
        }
        None => is_host(host, base),
    }
}

/// One host, or with a leading dot those below it.
fn is_host(host: &str, base: &str) -> bool {
    if base.starts_with('.') {
        return host.len() > base.len() && host.to_ascii_lowercase().ends_with(&base.to_ascii_lowercase());
    }
    host.eq_ignore_ascii_case(base)
}

/// The host of a URI with an authority.
fn host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let host = rest.split([':', '/']).next()?;
    (!host.is_empty()).then_some(host)
}

fn is_in_network(address: &[u8], base: &[u8]) -> bool {
    let (network, mask) = base.split_at(address.len());
    address.iter().zip(network).zip(mask).all(|((octet, network), mask)| octet & mask == network & mask)
}
