//! Why verifiers reject a certificate or its chain.
//!
//! Three kinds cover most clients: webpki (rustls), OpenSSL with `-x509_strict`, and Python, whose
//! `ssl.create_default_context` sets the same strict flag since 3.13 and accepts partial chains. webpki itself is run;
//! the others are modelled here, by the rules of RFC 5280, sections 4 and 6, that they enforce, and
//! `tests/library/verdicts.rs` compares the results with the verifiers themselves.

mod constraints;
mod link;
mod openssl;
mod rustls;
mod signature;

use std::fmt;

use rustls_pki_types::CertificateDer;

use self::link::Link;
use super::authority::Role;
use super::certificate::MalformedCertificate;

/// A kind of verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// rustls, and everything else based on webpki.
    Webpki,
    /// OpenSSL with `-x509_strict` (`X509_V_FLAG_X509_STRICT`).
    OpensslStrict,
    /// Python 3.13 and later with its default context.
    Python,
}

impl Verifier {
    /// All kinds.
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

/// Why some verifiers reject a certificate, or why it is unknown whether they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// These verifiers. Never empty.
    pub by: Vec<Verifier>,
    /// The reason: a sentence about "it".
    pub why: String,
}

/// The verifiers' results for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The purpose it was verified for.
    pub purpose: Purpose,
    /// Reasons for rejection. A verifier that none of them names accepts the certificate, unless there is a doubt.
    pub objections: Vec<Objection>,
    /// Checks that could not be modelled.
    pub doubts: Vec<Objection>,
}

/// Whether a verifier accepts a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It accepts the certificate.
    Accepts,
    /// It rejects the certificate.
    Rejects,
    /// Latchkey cannot determine it.
    Unknown,
}

impl Judgement {
    /// The result of this verifier.
    #[must_use]
    pub fn answer(&self, verifier: Verifier) -> Answer {
        let names = |found: &[Objection]| found.iter().any(|objection| objection.by.contains(&verifier));
        match (names(&self.objections), names(&self.doubts)) {
            (true, _) => Answer::Rejects,
            (false, true) => Answer::Unknown,
            (false, false) => Answer::Accepts,
        }
    }
}

/// Adds a verifier to an equal objection, or a new objection.
fn add(found: &mut Vec<Objection>, by: Verifier, why: String) {
    match found.iter_mut().find(|objection| objection.why == why) {
        Some(known) if known.by.contains(&by) => {}
        Some(known) => known.by.push(by),
        None => found.push(Objection { by: vec![by], why }),
    }
}

/// The apparent purpose of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To issue others.
    Authority,
    /// To be presented by one side of a connection.
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

/// A CA with keyUsage is a CA. `openssl req -x509` leaves keyUsage out, and its certificates are presented by servers
/// and clients far more often than they sign. Without an extended key usage, names decide.
fn purpose_of(link: &Link<'_>) -> Purpose {
    if link.says_ca() && link.may_sign_certificates() {
        return Purpose::Authority;
    }
    let looks_like_host =
        |name: &str| name == "localhost" || (name.contains('.') && !name.contains(char::is_whitespace));
    Purpose::EndEntity(match link.extended() {
        Some(usage) if usage.server_auth => Role::Server,
        Some(usage) if usage.client_auth => Role::Client,
        _ if link.facts.server_names().iter().any(|name| looks_like_host(name)) => Role::Server,
        _ => Role::Client,
    })
}

/// The apparent purpose of a certificate, and the objections to it for that purpose, at `now` (seconds since the Unix
/// epoch), provided that its issuer is trusted.
///
/// # Errors
///
/// It cannot be parsed.
pub fn examine(der: &[u8], now: u64) -> Result<(Purpose, Vec<Objection>), MalformedCertificate> {
    let chain = [CertificateDer::from(der)];
    let judgement = judge(&Question { chain: &chain, trusted: None, purpose: None, now })?;
    Ok((judgement.purpose, judgement.objections))
}

/// The input of [`judge`].
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The certificate in question, and those sent with it, which may be between it and a trusted one.
    pub chain: &'a [CertificateDer<'a>],
    /// Trusted certificates. `None`: the issuer of the last certificate of the chain is assumed to be trusted; a
    /// self-signed one is then itself trusted.
    pub trusted: Option<&'a [CertificateDer<'a>]>,
    /// The purpose to verify it for; `None` for its apparent one.
    pub purpose: Option<Purpose>,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// The verifiers' results for a certificate.
///
/// A CA is judged by the certificates that it could issue to a server, or to a client if it can issue only to these.
///
/// # Errors
///
/// One of the certificates cannot be parsed.
pub fn judge(question: &Question<'_>) -> Result<Judgement, MalformedCertificate> {
    let chain = question.chain.iter().map(|der| Link::read(der)).collect::<Result<Vec<_>, _>>()?;
    let trusted = question.trusted.map(|ders| ders.iter().map(|der| Link::read(der)).collect::<Result<Vec<_>, _>>());
    let trusted = trusted.transpose()?;
    let trusted = trusted.as_deref();
    let first = chain.first().ok_or_else(|| MalformedCertificate("there is no certificate".to_owned()))?;
    let purpose = question.purpose.unwrap_or_else(|| purpose_of(first));
    let mut judgement = Judgement { purpose, objections: Vec::new(), doubts: Vec::new() };
    let clients_only = first.extended().is_some_and(|usage| usage.client_auth && !usage.server_auth);
    let role = match purpose {
        Purpose::EndEntity(role) => role,
        Purpose::Authority if clients_only => Role::Client,
        Purpose::Authority => Role::Server,
    };
    for why in rustls::verify(&chain, trusted, purpose, role, question.now) {
        add(&mut judgement.objections, Verifier::Webpki, why);
    }
    for (verifier, partial) in [(Verifier::OpensslStrict, false), (Verifier::Python, true)] {
        let issues = purpose == Purpose::Authority;
        let case = openssl::Case { chain: &chain, trusted, role, issues, now: question.now, partial };
        let mut found = openssl::verify(&case);
        if verifier == Verifier::Python && !issues {
            found.reasons.extend(openssl::handshake(first, role));
        }
        found.reasons.into_iter().for_each(|why| add(&mut judgement.objections, verifier, why));
        found.doubts.into_iter().for_each(|why| add(&mut judgement.doubts, verifier, why));
    }
    Ok(judgement)
}
