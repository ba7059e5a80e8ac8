//! What one verification of a peer's chain may cost, decided before any signature is looked at.
//!
//! A chain comes from a peer that has proved nothing yet. webpki searches it for a path in every order, up to 200,000
//! steps: certificates that share a name and differ in their keys, 18 KB of them, hold a thread for seconds. RFC 8446,
//! 4.4.2 asks for tolerance of extra certificates and of any order, so the order cannot be insisted on; but the number of
//! steps of that search follows from the names alone, and is counted here first.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::EndEntityCert;

use super::Refusal;

/// Steps of one search: a partial path looked at is one, and one more where a trust anchor has the name of the issuer, for
/// a signature is verified then. The longest path that webpki builds, with its root sent along, takes ten; bridges between
/// a handful of roots take some more.
const STEPS: usize = 16;

/// Bytes of certificates that one search may read: at each step webpki reads all of them again. A chain of 8 KB may take
/// every step, one of 64 KB four.
const READ_BYTES: usize = 256 << 10;

/// The most intermediates in a path of webpki.
const DEPTH: usize = 6;

/// Refuses a chain of more than `limit` certificates, the end entity included.
pub(super) fn check_length(count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit { Err(Refusal::LongChain { count, limit }) } else { Ok(()) }
}

/// The certificates among which webpki may search for a path from `end_entity` to one of `roots`: `intermediates` without
/// repetitions.
///
/// # Errors
///
/// [`Refusal::TangledChain`] where the search could be long.
pub(super) fn candidates<'c>(
    end_entity: &EndEntityCert<'_>,
    intermediates: &'c [CertificateDer<'_>],
    roots: &[TrustAnchor<'_>],
) -> Result<Vec<CertificateDer<'c>>, Refusal> {
    let mut distinct: Vec<CertificateDer<'c>> = Vec::with_capacity(intermediates.len());
    for intermediate in intermediates {
        if !distinct.iter().any(|known| known == intermediate) {
            distinct.push(CertificateDer::from(intermediate.as_ref()));
        }
    }
    let bytes = distinct.iter().map(|certificate| certificate.len()).sum::<usize>().max(1);
    // What webpki cannot read is a step of no path; it stays for webpki to complain about.
    let nodes = distinct.iter().filter_map(|der| EndEntityCert::try_from(der).ok()).map(|parsed| Node::of(&parsed));
    let mut search = Search { nodes: nodes.collect(), roots, left: STEPS.min(READ_BYTES / bytes) };
    let is_short = search.extend(&Node::of(end_entity), &mut Vec::with_capacity(DEPTH));
    if is_short { Ok(distinct) } else { Err(Refusal::TangledChain) }
}

/// What of a certificate decides which others may follow it in a path.
#[derive(PartialEq, Eq)]
struct Node {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    public_key: Vec<u8>,
}

impl Node {
    fn of(parsed: &EndEntityCert<'_>) -> Self {
        Self {
            subject: parsed.subject().to_vec(),
            issuer: parsed.issuer().to_vec(),
            public_key: parsed.subject_public_key_info().to_vec(),
        }
    }

    fn is_the_same_issuer_as(&self, other: &Self) -> bool {
        self.subject == other.subject && self.public_key == other.public_key
    }
}

/// The search that webpki would make if every signature were good.
struct Search<'r> {
    nodes: Vec<Node>,
    roots: &'r [TrustAnchor<'r>],
    left: usize,
}

impl Search<'_> {
    /// Looks at the path `end`, `path`, and at all that begin like it. False when that takes more steps than are left.
    ///
    /// It calls itself no deeper than `DEPTH`.
    fn extend(&mut self, end: &Node, path: &mut Vec<usize>) -> bool {
        let issuer = match path.last().and_then(|last| self.nodes.get(*last)) {
            Some(head) => head.issuer.clone(),
            None => end.issuer.clone(),
        };
        let is_anchored = self.roots.iter().any(|root| root.subject.as_ref() == issuer);
        let Some(left) = self.left.checked_sub(1 + usize::from(is_anchored)) else { return false };
        self.left = left;
        if path.len() == DEPTH {
            return true;
        }
        for next in 0..self.nodes.len() {
            if self.follows(next, &issuer, end, path) {
                path.push(next);
                if !self.extend(end, path) {
                    return false;
                }
                path.pop();
            }
        }
        true
    }

    /// Whether `next` is the certificate of `issuer`, and does not close a circle (RFC 4158, 5.2).
    fn follows(&self, next: usize, issuer: &[u8], end: &Node, path: &[usize]) -> bool {
        let Some(node) = self.nodes.get(next) else { return false };
        let before = path.iter().filter_map(|index| self.nodes.get(*index));
        node.subject == issuer && !before.chain([end]).any(|known| known.is_the_same_issuer_as(node))
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
