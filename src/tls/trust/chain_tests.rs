use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::*;
use crate::limits::Limits;
use crate::testing::{Clock, NOW, TestPki, client_config, handshake, source};
use crate::tls::ServerPolicy;
use crate::tls::trust::{ClientTrust, ServerTrust};

/// A certificate and its key.
struct Made {
    der: CertificateDer<'static>,
    parameters: CertificateParams,
    key: KeyPair,
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A CA of this name; self-signed if `issuer` is `None`.
fn authority(name: &str, issuer: Option<&Made>) -> Made {
    let (mut parameters, key) = (parameters(name), key());
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made = match issuer {
        None => parameters.self_signed(&key),
        Some(issuer) => parameters.signed_by(&key, &Issuer::from_params(&issuer.parameters, &issuer.key)),
    };
    Made { der: made.expect("a certificate").der().clone(), parameters, key }
}

/// A certificate for either side, under `issuer`.
fn end_entity(issuer: &Made) -> Made {
    let (mut parameters, key) = (parameters("leaf"), key());
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    parameters.subject_alt_names = vec![SanType::DnsName("localhost".try_into().expect("a name"))];
    let made = parameters.signed_by(&key, &Issuer::from_params(&issuer.parameters, &issuer.key));
    Made { der: made.expect("a certificate").der().clone(), parameters, key }
}

/// A root, `count` CAs below it, each issued by the one before, and a leaf issued by the last.
fn hierarchy(count: usize) -> (Made, Vec<Made>, Made) {
    let root = authority("root", None);
    let mut between: Vec<Made> = Vec::new();
    for depth in 0..count {
        let made = authority(&format!("CA {depth}"), Some(between.last().unwrap_or(&root)));
        between.push(made);
    }
    let leaf = end_entity(between.last().unwrap_or(&root));
    (root, between, leaf)
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The results of both sides for a chain below `root`: of a server for a client's, of a client for a server's.
fn verdicts(root: &Made, chain: &[CertificateDer<'static>], limit: usize) -> [Result<(), Refusal>; 2] {
    let (ca, provider) = (source("ca.pem", &pem(&root.der)), aws_lc_rs::default_provider());
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    let clients = ClientTrust::new(std::slice::from_ref(&ca), &[], &[], &provider, NOW).expect("a CA");
    let servers = ServerTrust::with_max_chain(&[ca], &provider, limit).expect("a CA");
    let name = ServerName::try_from("localhost").expect("a name");
    let (leaf, rest) = chain.split_first().expect("a leaf");
    [clients.with_max_chain(limit).admit(chain, now).map(|_| ()), servers.check(leaf, rest, &name, now)]
}

fn default_limit() -> usize {
    Limits::default().chain_certificates
}

/// `count` certificates with one name, which is also their issuer's name, each with its own key; and a leaf issued
/// under that name.
fn tangle(count: usize, name: &str) -> Vec<CertificateDer<'static>> {
    let forger = authority(name, None);
    let alike = (0..count).map(|_| authority(name, Some(&forger)).der);
    std::iter::once(end_entity(&forger).der).chain(alike).collect()
}

#[test]
fn a_chain_may_be_as_long_as_the_limit_and_no_longer() {
    let (root, between, leaf) = hierarchy(3);
    let chain: Vec<_> = std::iter::once(&leaf).chain(between.iter().rev()).map(|made| made.der.clone()).collect();
    assert_eq!(verdicts(&root, &chain, 4), [Ok(()), Ok(())]);
    let refused = Err(Refusal::LongChain { count: 4, limit: 3 });
    assert_eq!(verdicts(&root, &chain, 3), [refused.clone(), refused]);
}

/// RFC 8446, 4.4.2: certificates that are in no path, and any order, are to be tolerated.
#[test]
fn extra_certificates_and_any_order_are_accepted() {
    let (root, between, leaf) = hierarchy(3);
    let extra = authority("nobody's", None);
    let [first, second, third] = [&between[0], &between[1], &between[2]].map(|made| made.der.clone());
    let chain = [leaf.der.clone(), root.der.clone(), first, extra.der, third, second.clone(), second];
    assert_eq!(verdicts(&root, &chain, default_limit()), [Ok(()), Ok(())]);
}

/// RFC 8446, 4.4.2.2; OpenSSL: "unsuitable certificate purpose".
#[test]
fn a_client_whose_key_may_not_sign_is_refused() {
    use rcgen::KeyUsagePurpose::{DataEncipherment, DigitalSignature, KeyAgreement, KeyCertSign, KeyEncipherment};
    let root = authority("root", None);
    let trusted = [source("root.pem", &pem(&root.der))];
    let provider = aws_lc_rs::default_provider();
    let trust = ClientTrust::new(&trusted, &[], &[], &provider, NOW).expect("a CA");
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    let usages = [
        (vec![], true),
        (vec![DigitalSignature, KeyEncipherment], true),
        (vec![KeyAgreement], true),
        (vec![KeyEncipherment, DataEncipherment], false),
        (vec![KeyCertSign], false),
    ];
    for (usages, expected) in usages {
        let Made { mut parameters, key, .. } = end_entity(&root);
        parameters.key_usages = usages.clone();
        let made = parameters.signed_by(&key, &Issuer::from_params(&root.parameters, &root.key)).expect("made");
        assert_eq!(trust.admit(&[made.der().clone()], at).is_ok(), expected, "{usages:?}");
    }
}

#[test]
fn the_longest_path_that_can_be_built_is_accepted_with_its_root() {
    let (root, between, leaf) = hierarchy(DEPTH);
    let mut chain: Vec<_> = std::iter::once(&leaf).chain(between.iter().rev()).map(|made| made.der.clone()).collect();
    chain.push(root.der.clone());
    assert_eq!(chain.len(), default_limit());
    assert_eq!(verdicts(&root, &chain, default_limit()), [Ok(()), Ok(())]);
}

/// A CA that was renewed twice under its name, and a second root that has cross-signed the first.
#[test]
fn a_renewed_and_cross_signed_hierarchy_is_accepted() {
    let (root, between, leaf) = hierarchy(1);
    let other = authority("other root", None);
    let cross = root.parameters.signed_by(&root.key, &Issuer::from_params(&other.parameters, &other.key));
    let renewed = [authority("CA 0", Some(&root)), authority("CA 0", Some(&other))];
    let [earlier, later] = renewed.map(|made| made.der);
    let chain = [leaf.der, earlier, later, between[0].der.clone(), cross.expect("signed").der().clone()];
    for trusted in [&root, &other] {
        assert_eq!(verdicts(trusted, &chain, default_limit()), [Ok(()), Ok(())]);
    }
}

/// webpki would take 8,659 steps for seven, and verify a hundred signatures if they have the name of a trusted CA.
#[test]
fn a_chain_with_many_possible_paths_is_refused_without_a_search() {
    let root = authority("root", None);
    for name in ["root", "unknown"] {
        for count in [4, 7] {
            let verdicts = verdicts(&root, &tangle(count, name), default_limit());
            assert_eq!(verdicts, [Err(Refusal::TangledChain), Err(Refusal::TangledChain)], "{count} named {name}");
        }
    }
    let few = verdicts(&root, &tangle(2, "unknown"), default_limit());
    assert!(few.iter().all(|verdict| matches!(verdict, Err(Refusal::UnknownIssuer { .. }))), "{few:?}");
}

/// The limit on the chain does not bound the search.
#[test]
fn a_larger_chain_limit_does_not_lengthen_the_search() {
    let (root, between, leaf) = hierarchy(2);
    let chain: Vec<_> = std::iter::once(&leaf).chain(between.iter().rev()).map(|made| made.der.clone()).collect();
    let extra = authority("nobody's", None).der;
    let padded = |count| chain.iter().cloned().chain(std::iter::repeat_n(extra.clone(), count)).collect::<Vec<_>>();
    assert_eq!(verdicts(&root, &padded(60), 64), [Ok(()), Ok(())]);
    let verdicts = verdicts(&root, &tangle(60, "unknown"), 64);
    assert_eq!(verdicts, [Err(Refusal::TangledChain), Err(Refusal::TangledChain)]);
}

/// Its session, sent back in a ticket, could be too long for a hello.
#[test]
fn a_client_with_a_large_chain_is_accepted_again_without_a_ticket() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let root = authority("root", None);
    for (bytes, expected) in [(1_000, rustls::HandshakeKind::Resumed), (30_000, rustls::HandshakeKind::Full)] {
        let mut large = end_entity(&root);
        let extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; bytes]);
        large.parameters.custom_extensions = vec![extension];
        let issuer = Issuer::from_params(&root.parameters, &root.key);
        let der = large.parameters.signed_by(&large.key, &issuer).expect("a certificate").der().clone();
        let ca = source("ca.pem", &pem(&root.der));
        let policy = ServerPolicy::new(crate::tls::PolicyOptions { client_ca: vec![ca], ..pki.options(&clock) });
        let policy = policy.expect("a policy");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
            let mut config = (*client_config(trust, None, &clock, &[version])).clone();
            let key = PrivateKeyDer::Pkcs8(large.key.serialize_der().into());
            let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
            let shown = CertifiedKey::new(vec![der.clone()], key);
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown));
            let config = Arc::new(config);
            let kinds = [(); 2].map(|()| handshake(&config, &policy).expect("in").server.handshake_kind());
            assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(expected)], "{version:?}, {bytes} bytes");
        }
    }
}

/// Presents one chain to every peer, with the key of its leaf.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[test]
fn a_failed_handshake_has_its_reason_on_either_side() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let forger = authority("forger", None);
    let mallory = end_entity(&forger);
    let mut chain = vec![mallory.der.clone()];
    chain.extend((0..100).map(|_| forger.der.clone()));
    let key = PrivateKeyDer::Pkcs8(mallory.key.serialize_der().into());
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
    let shown = Arc::new(CertifiedKey::new(chain, key));
    let expected = Refusal::LongChain { count: 101, limit: default_limit() };

    let policy = ServerPolicy::new(pki.mutual(&clock)).expect("a policy");
    let mut config = (*pki.client_config(None, &clock)).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&shown)));
    let error = handshake(&Arc::new(config), &policy).expect_err("refused");
    assert_eq!(Refusal::of(&error), Some(expected.clone()));

    let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
    let config = client_config(trust.clone(), None, &clock, rustls::ALL_VERSIONS);
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(shown)));
    server.time_provider = clock;
    let (mut client, mut server) = (
        rustls::ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a client"),
        rustls::ServerConnection::new(Arc::new(server)).expect("a server"),
    );
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    server.read_tls(&mut bytes.as_slice()).expect("from memory");
    server.process_new_packets().expect("a hello");
    bytes.clear();
    while server.wants_write() {
        server.write_tls(&mut bytes).expect("into memory");
    }
    let mut rest = bytes.as_slice();
    let mut outcome = Ok(());
    while !rest.is_empty() && outcome.is_ok() {
        client.read_tls(&mut rest).expect("from memory");
        outcome = client.process_new_packets().map(|_| ());
    }
    assert_eq!(Refusal::of(&outcome.expect_err("refused")), Some(expected.clone()));
    assert_eq!(trust.refusal(), Some(expected));
}
