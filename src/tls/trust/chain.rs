//! A limit on the cost of verifying a peer's chain, checked before any signature is verified.
//!
//! A chain comes from a peer that is not authenticated yet. webpki searches it for a path in every order, up to 200,000
//! steps: certificates that share a name and differ in their keys, 18 KB of them, occupy a thread for seconds. RFC
//! 8446, 4.4.2 requires tolerance of extra certificates and of any order, so a fixed order cannot be required; but the
//! number of steps of that search follows from the names alone, and is counted here first.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::EndEntityCert;

use super::Refusal;

/// The most steps of one search. Each partial path is one step, and one more if a trust anchor has the name of its
/// issuer, because a signature is verified then. The longest path that webpki builds, with its root sent along, takes
/// ten; bridges between a few roots take some more.
const STEPS: usize = 16;

/// Bytes of certificates that one search may parse: in each step webpki parses all of them again. A chain of 8 KB may
/// take every step, one of 64 KB four.
const READ_BYTES: usize = 256 << 10;

/// The most intermediates in a path of webpki.
const DEPTH: usize = 6;

/// Rejects a chain of more than `limit` certificates, the end entity included.
pub(super) fn check_length(count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit { Err(Refusal::LongChain { count, limit }) } else { Ok(()) }
}

/// The certificates in which webpki may search for a path from `end_entity` to one of `roots`: `intermediates` without
/// duplicates.
///
/// # Errors
///
/// [`Refusal::TangledChain`] if the search could be long.
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
    // A certificate that webpki cannot parse is in no path; it stays in the chain so that webpki reports it.
    let nodes = distinct.iter().filter_map(|der| EndEntityCert::try_from(der).ok()).map(|parsed| Node::of(&parsed));
    let mut search = Search { nodes: nodes.collect(), roots, left: STEPS.min(READ_BYTES / bytes) };
    let is_short = search.extend(&Node::of(end_entity), &mut Vec::with_capacity(DEPTH));
    if is_short { Ok(distinct) } else { Err(Refusal::TangledChain) }
}

/// The fields of a certificate that decide which others may follow it in a path.
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

/// The search that webpki would make if every signature were valid.
struct Search<'r> {
    nodes: Vec<Node>,
    roots: &'r [TrustAnchor<'r>],
    left: usize,
}

impl Search<'_> {
    /// Counts the steps for the path `end`, `path`, and for all that extend it. False if that takes more steps than are
    /// left.
    ///
    /// The recursion is at most `DEPTH` deep.
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

    /// Whether `next` has the name `issuer`, and does not close a loop (RFC 4158, 5.2).
    fn follows(&self, next: usize, issuer: &[u8], end: &Node, path: &[usize]) -> bool {
        let Some(node) = self.nodes.get(next) else { return false };
        let before = path.iter().filter_map(|index| self.nodes.get(*index));
        node.subject == issuer && !before.chain([end]).any(|known| known.is_the_same_issuer_as(node))
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
