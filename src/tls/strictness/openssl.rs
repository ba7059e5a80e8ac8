//! OpenSSL's verification of a chain: `openssl verify -x509_strict -auth_level 2 -purpose ..`, and the same with
//! partial chains, which is Python's default since 3.13.
//!
//! OpenSSL need not be installed: this is a model of its `x509_vfy.c`, and `tests/library/verdicts.rs` compares it with real
//! versions over hundreds of chains. Security level 2, the default for connections since OpenSSL 3.2 and in Debian long
//! before, requires RSA keys of 2048 bits and hashes better than SHA-1.

use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
};
use x509_parser::prelude::{GeneralName, KeyUsage, NSCertType};

use super::constraints;
use super::link::Link;
use super::signature::{Signature, signature};
use crate::tls::authority::Role;
use crate::tls::certificate::date;

/// The longest chain that OpenSSL builds.
const DEPTH: usize = 100;
/// Signatures over MD2, MD5 and SHA-1.
const WEAK: [&str; 5] =
    ["1.2.840.113549.1.1.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.3.14.3.2.29"];
/// Extended key usages that OpenSSL accepts for serverAuth: server gated cryptography, by Microsoft and by Netscape.
const GATED: [&str; 2] = ["1.3.6.1.4.1.311.10.3.3", "2.16.840.1.113730.4.1"];

/// The input of [`verify`].
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The certificate in question and those sent with it.
    pub(super) chain: &'a [Link<'a>],
    /// Trusted certificates; `None` if the issuer of the last one of the chain is assumed to be trusted.
    pub(super) trusted: Option<&'a [Link<'a>]>,
    pub(super) role: Role,
    /// Whether the first of the chain is a CA, which is judged by what it issues.
    pub(super) issues: bool,
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
    /// Whether a trusted certificate ends a chain even if another one issued it (`X509_V_FLAG_PARTIAL_CHAIN`).
    pub(super) partial: bool,
}

/// The chain that OpenSSL builds.
struct Path<'a> {
    links: Vec<&'a Link<'a>>,
    /// How many of them the peer sent.
    untrusted: usize,
    /// Whether an assumed CA is above them.
    assumed: bool,
    /// Why it ends without a trusted certificate.
    broken: Option<String>,
}

/// The objections.
#[derive(Default)]
pub(super) struct Found {
    pub(super) reasons: Vec<String>,
    /// Checks that could not be modelled.
    pub(super) doubts: Vec<String>,
}

/// Why OpenSSL would reject the chain.
pub(super) fn verify(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let path = build(case);
    let below = usize::from(case.issues);
    // The length as OpenSSL counts it, with a certificate issued by a CA in question at its beginning and an assumed CA
    // at its end.
    let length = path.links.len() + below + usize::from(path.assumed);
    let mut between = 0;
    for (at, link) in path.links.iter().enumerate() {
        let place = Place { depth: at + below, length, name: title(at, link), role: case.role };
        place.extensions(link, &mut found);
        place.strict(link, &mut found);
        place.purpose(link, &mut found);
        if place.depth > 1
            && link.basic().and_then(|basic| basic.path_len_constraint).is_some_and(|most| between > most)
        {
            place.object(&mut found, "allows fewer CAs between itself and the peer's certificate (pathLenConstraint)");
        }
        if place.depth > 0 && !link.is_self_issued() {
            between += 1;
        }
        place.strength(link, &mut found);
        place.times(link, case.now, &mut found);
    }
    signatures(&path, &mut found);
    names(&path, case, &mut found);
    found.reasons.extend(path.broken);
    found
}

/// How messages refer to a certificate of a path: the one in question is "it".
fn title(at: usize, link: &Link<'_>) -> String {
    if at == 0 { "it".to_owned() } else { format!("its issuer {}", link.facts.subject) }
}

/// `build_chain`, trusted certificates first, without alternative chains.
fn build<'a>(case: &Case<'a>) -> Path<'a> {
    let mut path = Path { links: Vec::new(), untrusted: 0, assumed: false, broken: None };
    let Some((first, others)) = case.chain.split_first() else { return path };
    path.links.push(first);
    path.untrusted = 1;
    let roots: Vec<&Link<'_>> = match case.trusted {
        Some(trusted) => trusted.iter().collect(),
        None => case.chain.iter().filter(|link| link.is_self_signed()).collect(),
    };
    // If the CA in question is trusted itself, the chain of what it issues ends at it.
    if case.issues && roots.iter().any(|root| root.der == first.der) {
        path.untrusted = 0;
        if case.partial || first.is_self_signed() {
            return path;
        }
    }
    let mut current = first;
    while path.links.len() <= DEPTH {
        if let Some(issuer) = best(current, roots.iter().copied(), case.now) {
            let is_end = current.is_self_signed();
            if is_end && issuer.der == current.der {
                path.untrusted = path.links.len() - 1;
                return path;
            }
            if !is_end {
                path.links.push(issuer);
                current = issuer;
                if case.partial || issuer.is_self_signed() {
                    return path;
                }
                continue;
            }
        }
        let is_trusted = path.untrusted < path.links.len();
        let unused = others.iter().filter(|other| path.links.iter().all(|used| used.der != other.der));
        let next = if is_trusted || current.is_self_signed() { None } else { best(current, unused, case.now) };
        let Some(next) = next else { break };
        path.links.push(next);
        path.untrusted += 1;
        current = next;
    }
    close(&mut path, current, case, &roots);
    path
}

/// Ends a path at which no trusted certificate was found.
fn close(path: &mut Path<'_>, last: &Link<'_>, case: &Case<'_>, roots: &[&Link<'_>]) {
    if case.trusted.is_none() && !last.is_self_signed() {
        path.assumed = case.chain.last().is_some_and(|end| end.der == last.der);
        path.broken = (!path.assumed).then(|| {
            format!("no certificate of {}, which issued {}, was sent with it", last.facts.issuer, last.facts.subject)
        });
        return;
    }
    let is_listed = path.links.first().is_some_and(|first| roots.iter().any(|root| root.der == first.der));
    if case.partial && path.untrusted == path.links.len() && is_listed {
        // OpenSSL still checks the rest of the path.
        path.untrusted = 0;
        return;
    }
    let is_trusted = path.untrusted < path.links.len();
    let mut seen = case.chain.iter().chain(roots.iter().copied());
    let unreadable = seen.find(|link| link.subject == last.issuer && link.unreadable_extension().is_some());
    if let Some(issuer) = unreadable {
        path.broken = Some(format!("{} has an extension that cannot be read", issuer.facts.subject));
        return;
    }
    path.broken = Some(match (is_trusted, last.is_self_signed()) {
        (true, _) => format!(
            "the trusted certificate of {} was issued by another CA, which must be trusted too",
            last.facts.subject
        ),
        (false, true) if path.links.len() == 1 => "it is self-signed and not among the trusted ones".to_owned(),
        (false, true) => format!("{}, at the end of its chain, is not among the trusted ones", last.facts.subject),
        (false, false) => format!("{} is not among the trusted ones, or has another key", last.facts.issuer),
    });
}

/// `get0_best_issuer_sk`: the first candidate that matches and is valid now, else the one with the latest end.
fn best<'a>(of: &Link<'_>, candidates: impl Iterator<Item = &'a Link<'a>>, now: u64) -> Option<&'a Link<'a>> {
    let fitting: Vec<_> = candidates.filter(|candidate| of.is_likely_issued_by(candidate)).collect();
    let current = fitting.iter().find(|candidate| candidate.facts.is_current(now));
    current.copied().or_else(|| {
        let latest = fitting.iter().map(|candidate| candidate.facts.not_after).max()?;
        fitting.iter().find(|candidate| candidate.facts.not_after == latest).copied()
    })
}

/// One certificate and its position: depth 0 is the peer's certificate.
struct Place {
    depth: usize,
    length: usize,
    name: String,
    role: Role,
}

impl Place {
    fn object(&self, found: &mut Found, what: &str) {
        found.reasons.push(format!("{} {what}", self.name));
    }

    fn extensions(&self, link: &Link<'_>, found: &mut Found) {
        if let Some(extension) = link.unreadable_extension() {
            self.object(found, &format!("has an extension {} that is malformed, empty or repeated", extension.oid));
        }
        if let Some(extension) = link.unhandled_extension() {
            self.object(found, &format!("has a critical extension {} that is not understood", extension.oid));
        }
        let standing = standing(link);
        if self.depth > 0 && standing == Standing::No {
            let why =
                if link.says_ca() { "its keyUsage does not allow signing certificates" } else { "it is not a CA" };
            self.object(found, &format!("may not issue: {why}"));
        } else if standing == Standing::Version1 {
            self.object(found, "is a self-signed certificate of X.509 version 1, which cannot be marked as a CA");
        } else if standing == Standing::Unsaid {
            self.object(found, "may sign certificates by its keyUsage or nsCertType, but is not marked as a CA");
        }
        if self.length > 1 && link.has_explicit_curve() {
            self.object(found, "has a key on an elliptic curve with explicit parameters");
        }
    }

    /// The checks that `X509_V_FLAG_X509_STRICT` adds (`check_extensions`). They do not apply to a certificate that is
    /// trusted itself (RFC 6818, section 2).
    fn strict(&self, link: &Link<'_>, found: &mut Found) {
        if self.length < 2 {
            return;
        }
        let usage = link.key_usage();
        let basic = link.basic();
        if basic.is_some_and(|basic| basic.path_len_constraint.is_some()) {
            if !link.says_ca() {
                self.object(found, "has a pathLenConstraint and is not a CA");
            }
            if !link.may_sign_certificates() {
                self.object(found, "has a pathLenConstraint, and its keyUsage does not allow signing certificates");
            }
        }
        if link.says_ca() {
            if !link.is_critical(&OID_X509_EXT_BASIC_CONSTRAINTS) {
                self.object(found, "is a CA whose basicConstraints are not critical");
            }
            if usage.is_none() {
                self.object(found, "is a CA without keyUsage");
            }
            if link.subject_key().is_none() && link.facts.version == 3 {
                self.object(found, "is a CA without a subject key identifier");
            }
        } else if link.may_sign_certificates() {
            self.object(found, "is not a CA, but its keyUsage allows signing certificates");
        }
        self.strict_names(link, usage, found);
        if link.signature_algorithm() != link.signed_algorithm() {
            self.object(found, "names two signature algorithms");
        }
        let is_last = self.depth + 1 == self.length;
        let names_a_key = link.authority_key().is_some_and(|id| id.key_identifier.is_some());
        if link.facts.version == 3 && !is_last && !names_a_key {
            self.object(found, "has no authority key identifier");
        }
        if link.facts.version != 3 && !link.parsed.extensions().is_empty() {
            self.object(found, "has extensions, which only version 3 allows");
        }
        for (oid, what) in [
            (OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, "has a critical authority key identifier"),
            (OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, "has a critical subject key identifier"),
        ] {
            if link.is_critical(&oid) {
                self.object(found, what);
            }
        }
    }

    fn strict_names(&self, link: &Link<'_>, usage: Option<KeyUsage>, found: &mut Found) {
        let alt_names = link.alt_names();
        if link.issuer.is_empty() {
            self.object(found, "has an empty issuer");
        }
        if link.subject.is_empty() {
            let must_be_named = link.says_ca() || usage.is_some_and(|usage| usage.crl_sign()) || alt_names.is_none();
            if must_be_named || !link.is_critical(&OID_X509_EXT_SUBJECT_ALT_NAME) {
                self.object(found, "has an empty subject and no critical subjectAltName");
            }
        }
        if alt_names.is_some_and(<[_]>::is_empty) {
            self.object(found, "has an empty subjectAltName");
        }
    }

    /// `check_purpose_ssl_server` and `check_purpose_ssl_client`.
    fn purpose(&self, link: &Link<'_>, found: &mut Found) {
        let wanted = if self.role == Role::Server { "serverAuth" } else { "clientAuth" };
        let lacks = link.extended().is_some_and(|extended| match self.role {
            Role::Server => {
                let gated = extended.other.iter().any(|oid| GATED.contains(&oid.to_id_string().as_str()));
                !extended.server_auth && !gated
            }
            Role::Client => !extended.client_auth,
        });
        if lacks {
            self.object(found, &format!("has an extended key usage that does not include {wanted}"));
        }
        if self.depth > 0 {
            return;
        }
        let fits = |allowed: &NSCertType| match self.role {
            Role::Server => allowed.ssl_server(),
            Role::Client => allowed.ssl_client(),
        };
        if link.netscape().is_some_and(|allowed| !fits(allowed)) {
            self.object(found, "has an nsCertType for other uses");
        }
        let serves = |usage: KeyUsage| {
            usage.digital_signature()
                || usage.key_agreement()
                || (self.role == Role::Server && usage.key_encipherment())
        };
        if link.key_usage().is_some_and(|usage| !serves(usage)) {
            self.object(found, "has a keyUsage that does not allow signing handshakes");
        }
    }

    /// `check_auth_level` at security level 2.
    fn strength(&self, link: &Link<'_>, found: &mut Found) {
        if let Some(bits) = link.rsa_bits().filter(|bits| *bits < 2048) {
            self.object(found, &format!("has an RSA key of {bits} bits; 2048 is the least"));
        }
        let signature = link.parsed.signature_algorithm.algorithm.to_id_string();
        // The signature of a trusted certificate is not checked.
        if self.depth + 1 < self.length && WEAK.contains(&signature.as_str()) {
            let hash = if signature == "1.2.840.113549.1.1.4" { "MD5" } else { "SHA-1" };
            self.object(found, &format!("is signed with {hash}, which can be forged"));
        }
    }

    fn times(&self, link: &Link<'_>, now: u64, found: &mut Found) {
        if !link.times_are_plain {
            self.object(found, "has a time in a format that RFC 5280, 4.1.2.5 does not allow");
        }
        if now >= link.facts.not_after {
            self.object(found, &format!("expired on {}", date(link.facts.not_after)));
        }
        if now < link.facts.not_before {
            self.object(found, &format!("is not valid before {}", date(link.facts.not_before)));
        }
    }
}

/// The result of `X509_check_ca`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    No,
    Yes,
    /// Version 1, self-signed.
    Version1,
    /// A CA by an extension other than basicConstraints.
    Unsaid,
}

fn standing(link: &Link<'_>) -> Standing {
    if link.key_usage().is_some_and(|usage| !usage.key_cert_sign()) {
        return Standing::No;
    }
    match link.facts.ca {
        Some(true) => Standing::Yes,
        None if link.facts.version == 1 && link.is_self_signed() => Standing::Version1,
        None if link.key_usage().is_some() => Standing::Unsaid,
        None if link
            .netscape()
            .is_some_and(|usage| usage.ssl_ca() || usage.smime_ca() || usage.object_signing_ca()) =>
        {
            Standing::Unsaid
        }
        _ => Standing::No,
    }
}

/// `internal_verify`: the signature of a trusted certificate is not verified.
fn signatures(path: &Path<'_>, found: &mut Found) {
    for (link, issuer) in path.links.iter().zip(path.links.iter().skip(1)) {
        match signature(link, issuer) {
            Signature::Good => {}
            Signature::Bad => found.reasons.push(format!(
                "a signature does not verify: {} was not signed with the key of {}",
                link.facts.subject, issuer.facts.subject
            )),
            Signature::Unknown => found
                .doubts
                .push(format!("the signature on {} is of a kind that latchkey cannot verify", link.facts.subject)),
        }
    }
}

fn names(path: &Path<'_>, case: &Case<'_>, found: &mut Found) {
    for (at, link) in path.links.iter().enumerate() {
        if at != 0 && link.is_self_issued() {
            continue;
        }
        for issuer in path.links.iter().skip(at + 1) {
            let Some(constraints) = issuer.name_constraints() else { continue };
            let is_leaf = at == 0 && !case.issues;
            if let Some(name) = constraints::violation(link, constraints, is_leaf) {
                let name = crate::tls::printable(&name);
                found.reasons.push(format!("the name constraints of {} do not allow {name}", issuer.facts.subject));
            }
        }
    }
}

/// What Python checks in a handshake besides the chain: a key that TLS 1.3 can sign with, and the server's name.
pub(super) fn handshake(link: &Link<'_>, role: Role) -> Vec<String> {
    let mut reasons = Vec::new();
    if !link.signs_handshakes() {
        reasons.push("it has a key of a kind that cannot sign handshakes".to_owned());
    }
    let is_named = match link.alt_names() {
        Some(names) if names.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))) => {
            true
        }
        _ => link.facts.common_name.is_some(),
    };
    if role == Role::Server && !is_named {
        reasons.push("it has no host name that a client could connect to".to_owned());
    }
    reasons
}
