//! Certificate revocation lists (RFC 5280, section 5).
//!
//! Every certificate of a path is looked up in the lists of its issuer, whether that is a listed CA or an intermediate
//! in a client's chain. A certificate on any list that its issuer has signed is revoked, whatever the list's scope. A
//! certificate counts as not revoked only if it is within the scope of a list that has not expired: a revoked
//! certificate could be missing from an expired list. A listed CA without a list is not checked, and the policy's
//! description reports that; an intermediate without one is rejected if the CA above it has a list.
//!
//! A list's signature is verified once for each key that could have made it, not for every client as webpki would do.

use std::sync::{Arc, Mutex, PoisonError};

use super::certificate::{Certificate, date};
use super::crl::{List, significant};
use super::names::Comparable;
use super::pem::PemSource;
use super::trust::{Refusal, TrustError};

/// How to treat lists that are expired when they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutdatedLists {
    /// Reject the policy: at start, an operator is there to read the error.
    #[default]
    Refused,
    /// Reject all clients of the list's CA: at a reload, everything else must still take effect.
    ShutOut,
}

/// The revocation lists of one policy.
#[derive(Debug, Default)]
pub(crate) struct RevocationLists {
    lists: Vec<Arc<Held>>,
    /// How many lists, at the end, are no longer in any file.
    kept: usize,
}

#[derive(Debug)]
struct Held {
    list: List,
    file: String,
    /// The keys of the listed certificates that have signed it (SubjectPublicKeyInfo in DER): two CAs may have the same
    /// name, but not the same key. Empty for a list of an intermediate that is not listed.
    signers: Vec<Vec<u8>>,
    /// For the latter, keys of intermediates that clients have sent, and whether they have signed it.
    tried: Mutex<Vec<(Vec<u8>, bool)>>,
}

/// The most keys of intermediates that are remembered. All of them are CAs that a listed one has issued.
const TRIED_KEYS: usize = 64;

/// The status of a certificate that no list revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Unknown: its issuer has no list.
    Unknown,
    /// Not revoked, until this time in seconds since the Unix epoch.
    Clear(u64),
}

impl RevocationLists {
    /// Parses the lists. Each must be signed by the one of `authorities` that has its issuer's name; if none has that
    /// name, it is taken as the list of an intermediate, provided that they may have intermediates.
    pub(crate) fn new(
        sources: &[PemSource],
        authorities: &[Certificate],
        now: u64,
        outdated: OutdatedLists,
    ) -> Result<Self, TrustError> {
        let mut found = Self::default();
        let authorities: Vec<Named<'_>> = authorities.iter().map(Named::new).collect();
        for source in sources {
            let refuse = |detail| TrustError::RevocationList { file: source.name.clone(), detail };
            for der in source.revocation_lists()? {
                let mut list = List::read(&der).map_err(refuse)?;
                let signers = signers(&list, &authorities).map_err(refuse)?;
                if !signers.is_empty() {
                    list.forget_signed();
                }
                let file = source.name.clone();
                found.lists.push(Arc::new(Held { list, file, signers, tried: Mutex::default() }));
            }
        }
        if let Some(held) = found.shutting_out(now).next().filter(|_| outdated == OutdatedLists::Refused) {
            let (issuer, since) = (&held.list.issuer, date(held.list.next_update));
            let detail = format!(
                "the revocation list of {issuer} expired on {since}; fetch or make a new one (`latchkey certs revoke`)"
            );
            return Err(TrustError::RevocationList { file: held.file.clone(), detail });
        }
        Ok(found)
    }

    /// Keeps those of the lists `in_force` that no list of the same issuer, key and scope replaces: the files contain
    /// an older one, or none. A list's signature does not show whether it is the newest, so anyone could bring an old
    /// one back, and a file of several may be half-written. Lists of CAs that are no longer among `authorities` are
    /// dropped.
    pub(crate) fn keep(&mut self, in_force: &Self, authorities: &[Certificate]) {
        let lists = in_force.lists.iter();
        let kept = lists.filter(|old| old.is_about(authorities) && !self.lists.iter().any(|new| new.follows(old)));
        let kept: Vec<Arc<Held>> = kept.cloned().collect();
        self.kept = kept.len();
        self.lists.extend(kept);
    }

    /// The issuers of lists that are no longer in any file.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().rev().take(self.kept).map(|held| held.list.issuer.as_str())
    }

    /// Decides on a certificate that `issuer` has issued.
    ///
    /// A list with the issuer's name that the issuer has not signed, or may not sign, does not apply; but the
    /// certificate is not accepted as if there were no list, because the operator has loaded that list to have it
    /// checked. Only if a listed CA has signed the list, it is known to belong to another CA of the same name.
    pub(crate) fn check(&self, certificate: &Certificate, issuer: &Certificate, now: u64) -> Result<Standing, Refusal> {
        let Some(name) = Comparable::from_der(&issuer.subject_der) else { return Ok(Standing::Unknown) };
        let named = self.lists.iter().map(Arc::as_ref).filter(|held| held.list.name == name);
        let standing = decide(named.clone().filter(|held| held.is_by(issuer)), certificate, now)?;
        if standing == Standing::Unknown && named.into_iter().any(|held| held.signers.is_empty()) {
            return Err(Refusal::RevocationUnknown { issuer: issuer.subject.clone() });
        }
        Ok(standing)
    }

    /// Decides on a listed certificate by lists whose issuer is known only by its name. The operator who listed the
    /// certificate has loaded these lists too, so a revocation counts.
    pub(crate) fn check_by_name(&self, certificate: &Certificate, now: u64) -> Result<Standing, Refusal> {
        let Some(name) = Comparable::from_der(&certificate.issuer_der) else { return Ok(Standing::Unknown) };
        let of_unknown = |held: &&Held| held.signers.is_empty() && held.list.name == name;
        decide(self.lists.iter().map(Arc::as_ref).filter(of_unknown), certificate, now)
    }

    /// The number of lists.
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// The issuer of each list, and its next update in seconds since the Unix epoch.
    pub(crate) fn updates(&self) -> impl Iterator<Item = (&str, u64)> {
        self.lists.iter().map(|held| (held.list.issuer.as_str(), held.list.next_update))
    }

    /// The earliest next update, in seconds since the Unix epoch.
    pub(crate) fn earliest_update(&self) -> Option<u64> {
        self.lists.iter().map(|held| held.list.next_update).min()
    }

    /// The CAs whose lists have all expired at `now`.
    pub(crate) fn outdated(&self, now: u64) -> impl Iterator<Item = &str> {
        self.shutting_out(now).map(|held| held.list.issuer.as_str())
    }

    /// The issuers of lists that apply only to chains with the issuer's certificate in them.
    pub(crate) fn of_intermediates(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(|held| held.signers.is_empty()).map(|held| held.list.issuer.as_str())
    }

    /// The issuers of lists that do not cover all their certificates.
    pub(crate) fn partial(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(|held| held.list.scope.is_partial()).map(|held| held.list.issuer.as_str())
    }

    /// Whether the CA has a list.
    pub(crate) fn covers(&self, authority: &Certificate) -> bool {
        self.lists.iter().any(|held| held.signers.iter().any(|key| key == authority.public_key.as_ref()))
    }

    /// The expired lists that no other list of the same issuer and scope replaces.
    fn shutting_out(&self, now: u64) -> impl Iterator<Item = &Held> {
        let stands_in = move |held: &Held, other: &Held| other.list.next_update >= now && other.is_alike(held);
        let lists = self.lists.iter().map(Arc::as_ref);
        lists.filter(move |held| held.list.next_update < now && !self.lists.iter().any(|other| stands_in(held, other)))
    }
}

impl Held {
    /// Whether both have the same issuer, key and scope.
    fn is_alike(&self, other: &Self) -> bool {
        (&self.list.name, &self.list.scope, &self.signers) == (&other.list.name, &other.list.scope, &other.signers)
    }

    /// Whether it replaces another.
    fn follows(&self, other: &Self) -> bool {
        self.is_alike(other) && self.list.is_as_new_as(&other.list)
    }

    /// Whether it may apply to a certificate below `authorities`.
    fn is_about(&self, authorities: &[Certificate]) -> bool {
        let has_signed = |each: &Certificate| self.signers.iter().any(|key| key == each.public_key.as_ref());
        self.signers.is_empty() || authorities.iter().any(has_signed)
    }

    /// Whether `issuer`, a certificate with the list's issuer name, has signed it and may do so (RFC 5280, 6.3.3 (f)).
    fn is_by(&self, issuer: &Certificate) -> bool {
        let key = issuer.public_key.as_ref();
        if !issuer.may_sign_lists || !self.signers.is_empty() {
            return issuer.may_sign_lists && self.signers.iter().any(|signer| signer == key);
        }
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, has_signed)) = tried.iter().find(|(known, _)| known == key) {
            return *has_signed;
        }
        let has_signed = self.list.is_signed_by(issuer);
        if tried.len() >= TRIED_KEYS {
            tried.clear();
        }
        tried.push((key.to_vec(), has_signed));
        has_signed
    }
}

/// The status of a certificate by the lists of its issuer.
fn decide<'a>(
    lists: impl Iterator<Item = &'a Held> + Clone,
    certificate: &Certificate,
    now: u64,
) -> Result<Standing, Refusal> {
    if lists.clone().any(|held| held.list.revoked.contains(significant(&certificate.serial))) {
        return Err(Refusal::Revoked);
    }
    if lists.clone().next().is_none() {
        return Ok(Standing::Unknown);
    }
    match lists.filter(|held| held.list.scope.covers(certificate)).map(|held| held.list.next_update).max() {
        None => Err(Refusal::RevocationUnknown { issuer: certificate.issuer.clone() }),
        Some(until) if until < now => Err(Refusal::RevocationListExpired { next_update: Some(until) }),
        Some(until) => Ok(Standing::Clear(until)),
    }
}

/// A listed certificate with its names in comparable form: there may be as many lists as certificates, and parsing the
/// names for each list would take quadratic time.
struct Named<'a> {
    certificate: &'a Certificate,
    subject: Option<Comparable>,
    issuer: Option<Comparable>,
}

impl<'a> Named<'a> {
    fn new(certificate: &'a Certificate) -> Self {
        let [subject, issuer] =
            [&certificate.subject_der, &certificate.issuer_der].map(|der| Comparable::from_der(der));
        Self { certificate, subject, issuer }
    }
}

/// The keys of the listed certificates that have signed a list and may do so.
fn signers(list: &List, listed: &[Named<'_>]) -> Result<Vec<Vec<u8>>, String> {
    let issuer = &list.issuer;
    if list.is_sha1 {
        return Err(format!("the revocation list of {issuer} is signed with SHA-1, which can be forged"));
    }
    let named = listed.iter().filter(|each| each.subject.as_ref() == Some(&list.name));
    let named: Vec<&Certificate> = named.map(|each| each.certificate).collect();
    if named.is_empty() {
        let has_issued_a_listed_one = listed.iter().any(|each| each.issuer.as_ref() == Some(&list.name));
        let has_room_below =
            |each: &Certificate| each.ca.unwrap_or(each.is_self_issued()) && each.path_length != Some(0);
        if has_issued_a_listed_one || listed.iter().any(|each| has_room_below(each.certificate)) {
            return Ok(Vec::new());
        }
        return Err(format!(
            "the revocation list was issued by {issuer}, which is not in --client-ca, so it would apply to no certificate: the CAs there cannot have intermediates"
        ));
    }
    let signed: Vec<&Certificate> = named.into_iter().filter(|authority| list.is_signed_by(authority)).collect();
    if signed.is_empty() {
        return Err(format!("the revocation list of {issuer} is not signed with that CA's key"));
    }
    let may: Vec<Vec<u8>> =
        signed.into_iter().filter(|each| each.may_sign_lists).map(|each| each.public_key.to_vec()).collect();
    if may.is_empty() {
        return Err(format!(
            "the revocation list of {issuer} is signed with a key that may not sign lists: that CA's keyUsage has no cRLSign (RFC 5280, 6.3.3)"
        ));
    }
    Ok(may)
}
