//! Revocation beside OpenSSL: generated hierarchies with every kind of list at every CA, judged by both.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::run;
use base64::Engine;
use latchkey::internals::testing::{Clock, NOW};
use latchkey::internals::tls::authority::{Authority as Development, KeyKind};
use latchkey::internals::tls::{OutdatedLists, PemSource, PolicyOptions, ServerPolicy};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;

/// Moments around [`NOW`], as GeneralizedTime.
const BEFORE: &str = "20261201000000Z";
const LATELY: &str = "20270101000000Z";
const LATER: &str = "20270301000000Z";

/// The lists of one CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    Absent,
    Clean,
    Revoking,
    Expired,
    ExpiredRevoking,
    ExpiredAndClean,
    CleanAndRevoking,
    OtherKey,
    /// The CA's keyUsage has no cRLSign.
    NotAllowed,
    Version1,
    Version1Revoking,
    NoExtensions,
    NoExtensionsRevoking,
    /// The issuer's name is a PrintableString, where the certificate has a UTF8String.
    OtherString,
    OtherStringRevoking,
    /// Of two lists, one for end entities and one for CAs.
    UsersOnly,
    AuthoritiesOnly,
    UsersAndAuthorities,
    Shard,
    OtherShard,
    OtherShardRevoking,
    BothShards,
    Delta,
    CleanAndDelta,
    Indirect,
    SomeReasons,
    CriticalUnknown,
    NoNextUpdate,
}

use Lists as L;

const EVERY: [Lists; 28] = [
    L::Absent,
    L::Clean,
    L::Revoking,
    L::Expired,
    L::ExpiredRevoking,
    L::ExpiredAndClean,
    L::CleanAndRevoking,
    L::OtherKey,
    L::NotAllowed,
    L::Version1,
    L::Version1Revoking,
    L::NoExtensions,
    L::NoExtensionsRevoking,
    L::OtherString,
    L::OtherStringRevoking,
    L::UsersOnly,
    L::AuthoritiesOnly,
    L::UsersAndAuthorities,
    L::Shard,
    L::OtherShard,
    L::OtherShardRevoking,
    L::BothShards,
    L::Delta,
    L::CleanAndDelta,
    L::Indirect,
    L::SomeReasons,
    L::CriticalUnknown,
    L::NoNextUpdate,
];

/// What a list of each kind says.
#[derive(Clone, Copy)]
struct Shape<'a> {
    version: Option<u8>,
    next_update: Option<&'a str>,
    revokes: bool,
    other_key: bool,
    printable: bool,
    extensions: &'a [Vec<u8>],
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let inner = parts.concat();
    let length = inner.len();
    let mut element = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        Ok(short) => element.extend([0x81, short]),
        Err(_) => element.extend([0x82, u8::try_from(length >> 8).expect("short"), length.to_le_bytes()[0]]),
    }
    element.extend(inner);
    element
}

/// An extension of the arc 2.5.29.
fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(0x30, &[&[6, 3, 0x55, 0x1d, number], critical, &tlv(4, &[value])])
}

fn issuing_point(field: &[u8]) -> Vec<u8> {
    extension(28, true, &tlv(0x30, &[field]))
}

fn shard(url: &str) -> Vec<u8> {
    issuing_point(&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[url.as_bytes()])])]))
}

/// A CA with what it needs to issue.
struct Authority {
    name: String,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    other: KeyPair,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("a key")
}

fn params(name: &str, serial: u8, issuer: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&[0x51, serial]));
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![format!("http://{issuer}/0")] }];
    params
}

impl Authority {
    fn new(name: &str, serial: u8, above: Option<&Self>, lists: Lists) -> Self {
        let mut params = params(name, serial, above.map_or(name, |above| &above.name));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if lists != L::NotAllowed {
            params.key_usages.push(KeyUsagePurpose::CrlSign);
        }
        let key = key();
        let made = match above {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, &above.issuer),
        };
        let pem = made.expect("a certificate").pem();
        Self { name: name.to_owned(), pem, issuer: Issuer::new(params, key), other: self::key() }
    }

    fn list(&self, shape: Shape<'_>, serial: u8) -> String {
        let algorithm = tlv(0x30, &[&[6, 3, 0x2b, 0x65, 0x70]]);
        let string = if shape.printable { 0x13 } else { 0x0c };
        let attribute = tlv(0x30, &[&[6, 3, 0x55, 4, 3], &tlv(string, &[self.name.as_bytes()])]);
        let name = tlv(0x30, &[&tlv(0x31, &[&attribute])]);
        let time = |text: &str| tlv(0x18, &[text.as_bytes()]);
        let version = shape.version.map_or_else(Vec::new, |version| tlv(2, &[&[version]]));
        let next = shape.next_update.map_or_else(Vec::new, time);
        let entry = tlv(0x30, &[&tlv(0x30, &[&tlv(2, &[&[0x51, serial]]), &time(BEFORE)])]);
        let revoked = if shape.revokes { entry } else { Vec::new() };
        let extensions = shape.extensions.concat();
        let extensions = if extensions.is_empty() { extensions } else { tlv(0xa0, &[&tlv(0x30, &[&extensions])]) };
        let signed = tlv(0x30, &[&version, &algorithm, &name, &time(BEFORE), &next, &revoked, &extensions]);
        let key = if shape.other_key { &self.other } else { self.issuer.key() };
        let signature = key.sign(&signed).expect("signed");
        let list = tlv(0x30, &[&signed, &algorithm, &tlv(3, &[&[0], &signature])]);
        let text = base64::engine::general_purpose::STANDARD.encode(list);
        let mut pem = "-----BEGIN X509 CRL-----\n".to_owned();
        for line in text.as_bytes().chunks(64) {
            writeln!(pem, "{}", String::from_utf8_lossy(line)).expect("into memory");
        }
        pem + "-----END X509 CRL-----\n"
    }

    /// Its lists, of which some revoke what has this serial number.
    fn lists(&self, lists: Lists, serial: u8) -> String {
        let number = [extension(20, false, &[2, 1, 9])];
        let clean = Shape {
            version: Some(1),
            next_update: Some(LATER),
            revokes: false,
            other_key: false,
            printable: false,
            extensions: &number,
        };
        let revoking = Shape { revokes: true, ..clean };
        let expired = Shape { next_update: Some(LATELY), ..clean };
        let version1 = Shape { version: None, extensions: &[], ..clean };
        let bare = Shape { extensions: &[], ..clean };
        let other_string = Shape { printable: true, ..clean };
        let with = |extension: Vec<u8>| [number[0].clone(), extension];
        let users = with(issuing_point(&[0x81, 1, 0xff]));
        let authorities = with(issuing_point(&[0x82, 1, 0xff]));
        let ours = with(shard(&format!("http://{}/0", self.name)));
        let others = with(shard(&format!("http://{}/1", self.name)));
        let delta = with(extension(27, true, &[2, 1, 1]));
        let indirect = with(issuing_point(&[0x84, 1, 0xff]));
        let some_reasons = with(issuing_point(&[0x83, 2, 1, 0x40]));
        let unknown = with(extension(99, true, &[5, 0]));
        let of = |extensions| Shape { extensions, ..clean };
        let shapes = match lists {
            L::Absent => vec![],
            L::Clean | L::NotAllowed => vec![clean],
            L::Revoking => vec![revoking],
            L::Expired => vec![expired],
            L::ExpiredRevoking => vec![Shape { revokes: true, ..expired }],
            L::ExpiredAndClean => vec![expired, clean],
            L::CleanAndRevoking => vec![clean, revoking],
            L::OtherKey => vec![Shape { other_key: true, ..clean }],
            L::Version1 => vec![version1],
            L::Version1Revoking => vec![Shape { revokes: true, ..version1 }],
            L::NoExtensions => vec![bare],
            L::NoExtensionsRevoking => vec![Shape { revokes: true, ..bare }],
            L::OtherString => vec![other_string],
            L::OtherStringRevoking => vec![Shape { revokes: true, ..other_string }],
            L::UsersOnly => vec![of(&users)],
            L::AuthoritiesOnly => vec![of(&authorities)],
            L::UsersAndAuthorities => vec![of(&users), of(&authorities)],
            L::Shard => vec![of(&ours)],
            L::OtherShard => vec![of(&others)],
            L::OtherShardRevoking => vec![Shape { revokes: true, ..of(&others) }],
            L::BothShards => vec![of(&ours), of(&others)],
            L::Delta => vec![of(&delta)],
            L::CleanAndDelta => vec![clean, of(&delta)],
            L::Indirect => vec![of(&indirect)],
            L::SomeReasons => vec![of(&some_reasons)],
            L::CriticalUnknown => vec![of(&unknown)],
            L::NoNextUpdate => vec![Shape { next_update: None, ..clean }],
        };
        shapes.into_iter().map(|shape| self.list(shape, serial)).collect()
    }
}

/// A root, perhaps an intermediate, and a client's certificate, with lists.
struct Hierarchy {
    root: String,
    between: String,
    leaf: String,
    lists: String,
}

impl Hierarchy {
    fn new(root: Lists, between: Option<Lists>) -> Self {
        let top = Authority::new("root", 1, None, root);
        let below = between.map(|lists| (Authority::new("between", 2, Some(&top), lists), lists));
        let issuer = below.as_ref().map_or(&top, |(below, _)| below);
        let mut params = params("alice", 3, &issuer.name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key(), &issuer.issuer).expect("a certificate").pem();
        let mut lists = top.lists(root, if below.is_some() { 2 } else { 3 });
        if let Some((below, its)) = &below {
            lists += &below.lists(*its, 3);
        }
        let between = below.map_or_else(String::new, |(below, _)| below.pem);
        Self { root: top.pem, between, leaf, lists }
    }

    /// What latchkey says with these CAs in --client-ca: a refusal in words, or whether some CA is announced as unchecked.
    fn judge(&self, listed: &str) -> Result<bool, String> {
        let source = |text: &str| PemSource { name: "it.pem".to_owned(), bytes: text.as_bytes().to_vec() };
        let identity = Development::create(KeyKind::default(), "server", NOW).expect("a server");
        let files = identity.files();
        let crl = if self.lists.is_empty() { Vec::new() } else { vec![source(&self.lists)] };
        let policy = ServerPolicy::new(PolicyOptions {
            identities: vec![(source(&files.certificate), source(&files.key))],
            client_ca: vec![source(listed)],
            crl,
            outdated_lists: OutdatedLists::ShutOut,
            clock: Clock::at(NOW),
            ..PolicyOptions::default()
        });
        let policy = policy.map_err(|error| format!("at start: {error}"))?;
        let chain = source(&format!("{}{}", self.leaf, self.between)).certificates().expect("a chain");
        let chain: Vec<CertificateDer<'_>> = chain;
        policy.still_trusted(&chain).map_err(|refusal| refusal.to_string())?;
        Ok(policy.unchecked_issuers().next().is_some())
    }

    /// What OpenSSL says.
    fn openssl(&self, dir: &Path) -> Result<(), String> {
        for (name, text) in
            [("root", &self.root), ("between", &self.between), ("leaf", &self.leaf), ("lists", &self.lists)]
        {
            fs::write(dir.join(name), text).expect("written");
        }
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "sslclient", "-attime", &NOW.to_string()]);
        command.args(["-CAfile", "root", "-no-CApath", "-no-CAstore"]);
        if self.between.is_empty() {
            // The root itself is not looked up: it is trusted because it is listed.
            command.arg("-crl_check");
        } else {
            command.args(["-crl_check_all", "-untrusted", "between"]);
        }
        if !self.lists.is_empty() {
            command.args(["-CRLfile", "lists"]);
        }
        let output = run(command.arg("leaf").current_dir(dir));
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    }
}

/// What latchkey refuses though OpenSSL takes it: OpenSSL takes a delta list for a complete one, and of several lists obeys
/// the one that fits best.
fn is_stricter(lists: Lists) -> bool {
    matches!(lists, L::Delta | L::CleanAndDelta | L::NoNextUpdate | L::CleanAndRevoking | L::OtherShardRevoking)
}

#[test]
fn revocation_is_judged_as_openssl_judges_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let one_below = EVERY.iter().flat_map(|root| EVERY.iter().map(move |between| (*root, Some(*between))));
    let mut wrong = String::new();
    let (mut taken, mut refused) = (0, 0);
    for (root, between) in EVERY.iter().map(|root| (*root, None)).chain(one_below) {
        let hierarchy = Hierarchy::new(root, between);
        let (ours, theirs) = (hierarchy.judge(&hierarchy.root), hierarchy.openssl(dir.path()));
        let agree = match (&ours, &theirs) {
            (Ok(_), Ok(())) | (Err(_), Err(_)) => true,
            // A CA without any list is not checked, which is said; OpenSSL refuses whatever it issued.
            (Ok(unchecked), Err(error)) => {
                *unchecked && root == L::Absent && error.contains("unable to get certificate CRL")
            }
            (Err(_), Ok(())) => is_stricter(root) || between.is_some_and(is_stricter),
        };
        if !agree {
            writeln!(wrong, "{root:?} {between:?}: latchkey {ours:?}, OpenSSL {theirs:?}").expect("into memory");
        }
        *if ours.is_ok() { &mut taken } else { &mut refused } += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(taken > 50 && refused > 50, "{taken} let in, {refused} refused");
}
