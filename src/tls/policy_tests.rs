use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion};

use super::*;
use crate::testing::{
    Clock, DAY, Handshaken, NOW, TestPki, client_config, client_config_with, files_of, handshake, source,
};
use crate::tls::ServerTrust;
use crate::tls::authority::{Authority, KeyKind, Role, Subject};

fn policy(options: PolicyOptions) -> ServerPolicy {
    ServerPolicy::new(options).expect("a policy")
}

fn error(options: PolicyOptions) -> PolicyError {
    ServerPolicy::new(options).expect_err("it must be refused")
}

#[test]
fn contradictory_and_unenforceable_options_are_refused() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let plain = pki.options(&clock);
    let mutual = pki.mutual(&clock);
    let auth =
        |client_auth, options: &PolicyOptions| PolicyOptions { client_auth: Some(client_auth), ..options.clone() };
    assert!(matches!(error(auth(ClientAuth::None, &mutual)), PolicyError::AuthContradiction));
    assert!(matches!(error(auth(ClientAuth::Required, &plain)), PolicyError::NobodyTrusted("required")));
    assert!(matches!(error(auth(ClientAuth::Optional, &plain)), PolicyError::NobodyTrusted("optional")));
    let identities = Vec::new();
    assert!(matches!(error(PolicyOptions { identities, ..plain.clone() }), PolicyError::NoCertificate));
    let identities = vec![(files_of(&pki.server).0, files_of(&pki.client).1)];
    assert!(matches!(error(PolicyOptions { identities, ..plain.clone() }), PolicyError::KeyMismatch { .. }));
    let list = pki.authority.revocation_list(&[], 30, NOW).expect("a list");
    let crl = vec![source("crl.pem", &list)];
    assert!(matches!(error(PolicyOptions { crl, ..plain }), PolicyError::CrlWithoutCa));
}

#[test]
fn naming_a_ca_means_that_certificates_are_required() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let mutual = policy(pki.mutual(&clock));
    assert!(handshake(&pki.client_config(None, &clock), &mutual).is_err());
    assert_eq!(
        mutual.describe(),
        "TLS 1.2+, post-quantum preferred, client certificate required (1 CA), revocation not checked; pass --crl"
    );
    let plain = policy(pki.options(&clock));
    assert_eq!(plain.describe(), "TLS 1.2+, post-quantum preferred, client certificate not requested");
}

/// A client that offers these groups in this order, with a share for the first.
fn offering(
    pki: &TestPki,
    clock: &Arc<Clock>,
    groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups.to_vec();
    let trust = ServerTrust::new(&[pki.ca()], &provider).expect("a CA");
    Arc::new(client_config_with(provider, trust, None, clock, rustls::ALL_VERSIONS))
}

fn group(done: &Handshaken) -> NamedGroup {
    done.client.negotiated_key_exchange_group().expect("a group").name()
}

#[test]
fn the_post_quantum_group_is_used_whatever_the_order_of_the_client() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let preferring = policy(pki.options(&clock));
    let last = offering(&pki, &clock, &[kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768]);
    let done = handshake(&last, &preferring).expect("in");
    assert_eq!(group(&done), NamedGroup::X25519MLKEM768);
    assert_eq!(done.server.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));

    let first = offering(&pki, &clock, &[kx_group::X25519MLKEM768, kx_group::X25519]);
    let done = handshake(&first, &preferring).expect("in");
    assert_eq!((group(&done), done.server.handshake_kind()), (NamedGroup::X25519MLKEM768, Some(HandshakeKind::Full)));

    let classical = offering(&pki, &clock, &[kx_group::X25519]);
    assert_eq!(group(&handshake(&classical, &preferring).expect("in")), NamedGroup::X25519);
}

#[test]
fn a_tls12_client_that_offers_the_post_quantum_group_is_served() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let preferring = policy(pki.options(&clock));
    // A ClientHello like that of a TLS 1.2 client with a post-quantum group in its list: rustls's own client leaves the
    // group out of a TLS 1.2 hello, so the test uses the configuration directly.
    let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
    let config = client_config(trust, None, &clock, &[&rustls::version::TLS12]);
    let only_quantum = ServerPolicy { general: preferring.quantum.expect("preferred"), quantum: None, ..preferring };
    let done = handshake(&config, &only_quantum).expect("in");
    assert_eq!(done.server.protocol_version(), Some(ProtocolVersion::TLSv1_2));
}

#[test]
fn post_quantum_require_and_off_are_enforced() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let with = |post_quantum| policy(PolicyOptions { post_quantum, ..pki.options(&clock) });
    let classical = offering(&pki, &clock, &[kx_group::X25519]);
    let both = offering(&pki, &clock, &[kx_group::X25519MLKEM768, kx_group::X25519]);

    let required = with(PostQuantum::Require);
    assert!(handshake(&classical, &required).is_err());
    assert_eq!(group(&handshake(&both, &required).expect("in")), NamedGroup::X25519MLKEM768);
    assert!(required.describe().starts_with("TLS 1.3, post-quantum required"));

    let off = with(PostQuantum::Off);
    assert_eq!(group(&handshake(&both, &off).expect("in")), NamedGroup::X25519);
}

#[test]
fn the_oldest_version_is_enforced() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
    let old = client_config(trust, None, &clock, &[&rustls::version::TLS12]);
    assert!(handshake(&old, &policy(pki.options(&clock))).is_ok());
    let modern = policy(PolicyOptions { tls_min: TlsMin::Tls13, ..pki.options(&clock) });
    assert!(handshake(&old, &modern).is_err());
}

#[test]
fn the_certificate_is_chosen_by_server_name_and_signature_scheme() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let issue = |name: &str, key| {
        let subject = Subject::named(name, &[]).and_then(Subject::reachable).expect("a name");
        pki.authority.issue(Role::Server, &subject, key, NOW).expect("a leaf")
    };
    let (other, wanted) = (issue("other.example", KeyKind::Ed25519), issue("localhost", KeyKind::EcdsaP256));
    let options = PolicyOptions { identities: vec![files_of(&other), files_of(&wanted)], ..pki.options(&clock) };
    let done = handshake(&pki.client_config(None, &clock), &policy(options)).expect("in");
    assert_eq!(done.client.peer_certificates(), Some(&[crate::testing::leaf(&wanted)][..]));
}

#[test]
fn a_hello_in_pieces_is_completed_and_other_bytes_are_answered() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let preferring = policy(pki.options(&clock));
    let name = "localhost".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(pki.client_config(None, &clock), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("into memory");
    for cut in 0..hello.len() {
        assert!(matches!(preferring.choose(&hello[..cut]), Choice::NeedMore), "{cut}");
    }
    assert!(matches!(preferring.choose(&hello), Choice::Start(_)));
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"*1\r\n$4\r\nPING\r\n", &[0; 64]] {
        assert!(matches!(preferring.choose(other), Choice::Start(_)));
    }
}

#[test]
fn a_revoked_client_is_refused_even_with_an_old_ticket() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let config = pki.client_config(Some(&pki.client), &clock);
    let before = policy(pki.mutual(&clock));
    let done = handshake(&config, &before).expect("in");
    let chain = done.server.peer_certificates().expect("it was shown");
    assert!(matches!(before.still_trusted(chain), Ok(Some(_))));

    let serial = Certificate::from_der(&crate::testing::leaf(&pki.client)).expect("readable").serial;
    let list = pki.authority.revocation_list(&[(serial, NOW)], 30, NOW).expect("a list");
    let after = policy(PolicyOptions { crl: vec![source("crl.pem", &list)], ..pki.mutual(&clock) });
    assert_eq!(after.still_trusted(chain), Err(Refusal::Revoked));
    let error = handshake(&config, &after).expect_err("it must be refused");
    assert_eq!(Refusal::of(&error), Some(Refusal::Revoked));
    // Another client of the same CA is not affected.
    let bob = TestPki::client_of(&pki.authority, "bob");
    let bob = pki.client_config(Some(&bob), &clock);
    handshake(&bob, &after).expect("in");
    assert!(after.describe().ends_with("(1 CA), 1 CRL until 2027-02-14"), "{after}");

    assert_eq!(after.outdated_lists(NOW).count(), 0);

    // When the list expires, all clients of its CA are rejected, even with a ticket.
    clock.set(NOW + 31 * DAY);
    let error = handshake(&bob, &after).expect_err("it must be refused");
    assert!(matches!(Refusal::of(&error), Some(Refusal::RevocationListExpired { .. })));
    assert_eq!(after.outdated_lists(NOW + 31 * DAY).collect::<Vec<_>>(), ["CN=test CA"]);
}

#[test]
fn a_revocation_list_belongs_to_the_key_of_its_ca_not_to_the_name() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let namesake = Authority::create(KeyKind::Ed25519, "test CA", NOW).expect("a CA");
    let list = pki.authority.revocation_list(&[], 1, NOW).expect("a list");
    let both = policy(PolicyOptions {
        client_ca: vec![pki.ca(), source("namesake.pem", &namesake.files().certificate)],
        crl: vec![source("crl.pem", &list)],
        ..pki.options(&clock)
    });
    assert!(both.describe().ends_with("revocation not checked for 1 CA: CN=test CA; pass --crl"), "{both}");
    clock.set(NOW + 2 * DAY);
    let covered = handshake(&pki.client_config(Some(&pki.client), &clock), &both).expect_err("it must be refused");
    assert!(matches!(Refusal::of(&covered), Some(Refusal::RevocationListExpired { .. })));
    let uncovered = TestPki::client_of(&namesake, "alice");
    handshake(&pki.client_config(Some(&uncovered), &clock), &both).expect("in");
}

#[test]
fn unusable_revocation_lists_are_refused() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let with = |list: &str| {
        let crl = vec![source("crl.pem", list)];
        error(PolicyOptions { crl, ..pki.mutual(&clock) }).to_string()
    };
    let stale = pki.authority.revocation_list(&[], 1, NOW - 2 * DAY).expect("a list");
    assert!(with(&stale).contains("expired on"), "{}", with(&stale));
    let other = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let foreign = other.revocation_list(&[], 30, NOW).expect("a list");
    assert!(with(&foreign).contains("not in --client-ca"), "{}", with(&foreign));
    let namesake = Authority::create(KeyKind::Ed25519, "test CA", NOW).expect("a CA");
    let forged = namesake.revocation_list(&[], 30, NOW).expect("a list");
    assert!(with(&forged).contains("not signed with"), "{}", with(&forged));
}

#[test]
fn a_ca_without_a_list_is_named_in_the_description() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let other = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let list = pki.authority.revocation_list(&[], 30, NOW).expect("a list");
    let both = policy(PolicyOptions {
        client_ca: vec![pki.ca(), source("other.pem", &other.files().certificate)],
        crl: vec![source("crl.pem", &list)],
        ..pki.options(&clock)
    });
    assert!(
        both.describe()
            .ends_with("(2 CAs), 1 CRL until 2027-02-14, revocation not checked for 1 CA: CN=other CA; pass --crl"),
        "{both}"
    );
}

/// A CA below `above`, or a root, whose key may be used for `usages`.
fn authority(
    name: &str,
    above: Option<&rcgen::Issuer<'static, rcgen::KeyPair>>,
    usages: &[rcgen::KeyUsagePurpose],
) -> (crate::tls::PemSource, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[7]));
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = above.map_or_else(|| params.self_signed(&key), |above| params.signed_by(&key, above)).expect("made");
    (source(&format!("{name}.pem"), &made.pem()), rcgen::Issuer::new(params, key))
}

fn list(issuer: &rcgen::Issuer<'static, rcgen::KeyPair>, revoked: &[u8]) -> Result<String, rcgen::Error> {
    let at = |days| rcgen::date_time_ymd(2027, 1, 15) + Duration::from_secs(days * DAY);
    let revoked = rcgen::RevokedCertParams {
        serial_number: rcgen::SerialNumber::from_slice(revoked),
        revocation_time: at(0),
        reason_code: None,
        invalidity_date: None,
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update: at(0),
        next_update: at(30),
        crl_number: rcgen::SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(issuer)?.pem()
}

#[test]
fn a_pinned_certificate_that_its_ca_has_revoked_is_refused() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let serial = Certificate::from_der(&crate::testing::leaf(&pki.client)).expect("readable").serial;
    let chain = [crate::testing::leaf(&pki.client)];
    let other = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let other = source("other.pem", &other.files().certificate);
    for (revoked, expected) in [(vec![], true), (vec![(serial, NOW)], false)] {
        let list = pki.authority.revocation_list(&revoked, 30, NOW).expect("a list");
        // Whether or not its CA is listed.
        for client_ca in [vec![pki.ca()], vec![other.clone()]] {
            let pinned = policy(PolicyOptions {
                client_ca,
                client_pin: vec![source("alice.pem", &pki.client.certificate)],
                crl: vec![source("crl.pem", &list)],
                ..pki.options(&clock)
            });
            assert_eq!(pinned.still_trusted(&chain).is_ok(), expected, "{revoked:?}");
        }
    }
}

#[test]
fn a_revocation_list_is_replaced_by_a_newer_one_only() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let serial = Certificate::from_der(&crate::testing::leaf(&pki.client)).expect("readable").serial;
    let other = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let cas = vec![pki.ca(), source("other.pem", &other.files().certificate)];
    let after = |in_force: Option<&Arc<ServerPolicy>>, client_ca: &[crate::tls::PemSource], lists: &[&str]| {
        Arc::new(policy(PolicyOptions {
            client_ca: client_ca.to_vec(),
            crl: lists.iter().map(|list| source("crl.pem", list)).collect(),
            in_force: in_force.cloned(),
            ..pki.options(&clock)
        }))
    };
    let kept = |policy: &ServerPolicy| policy.kept_lists().map(str::to_owned).collect::<Vec<_>>();
    let list = |revoked: &[_], at| pki.authority.revocation_list(revoked, 30, at).expect("a list");
    let (old, revoking, newer) = (list(&[], NOW - 2), list(&[(serial, NOW)], NOW - 1), list(&[], NOW));
    let others = other.revocation_list(&[], 30, NOW).expect("a list");
    let chain = [crate::testing::leaf(&pki.client)];

    let first = after(None, &cas, &[&revoking, &others]);
    assert!(first.still_trusted(&chain).is_err() && kept(&first).is_empty());
    let replayed = after(Some(&first), &cas, &[&old, &others]);
    assert_eq!(replayed.still_trusted(&chain), Err(crate::tls::Refusal::Revoked));
    assert_eq!(kept(&replayed), ["CN=test CA"]);
    let missing = after(Some(&replayed), &cas, &[&others]);
    assert_eq!(missing.still_trusted(&chain), Err(crate::tls::Refusal::Revoked));
    let again = after(Some(&missing), &cas, &[&revoking]);
    assert_eq!(
        (again.still_trusted(&chain), kept(&again)),
        (Err(crate::tls::Refusal::Revoked), vec!["CN=other CA".into()])
    );
    assert_eq!(again.list_updates().count(), 2, "nothing is kept twice");
    let renewed = after(Some(&again), &cas, &[&newer, &others]);
    assert!(renewed.still_trusted(&chain).is_ok() && kept(&renewed).is_empty(), "its CA has taken it back");
    let without = after(Some(&first), &cas[1..], &[&others]);
    assert!(kept(&without).is_empty(), "that CA is not trusted any more");
}

#[test]
fn clients_of_a_listed_intermediate_that_its_root_revoked_are_refused() {
    use rcgen::KeyUsagePurpose::{CrlSign, KeyCertSign};
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let (root, root_issuer) = authority("root", None, &[KeyCertSign, CrlSign]);
    let (between, issuer) = authority("between", Some(&root_issuer), &[KeyCertSign, CrlSign]);
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let leaf = params.signed_by(&rcgen::KeyPair::generate().expect("a key"), &issuer).expect("made");
    let chain = [leaf.der().clone()];
    for (revoked, expected) in [(8, true), (7, false)] {
        let lists = list(&root_issuer, &[revoked]).expect("a list") + &list(&issuer, &[99]).expect("a list");
        let both = policy(PolicyOptions {
            client_ca: vec![root.clone(), between.clone()],
            crl: vec![source("crl.pem", &lists)],
            ..pki.options(&clock)
        });
        let verdict = both.still_trusted(&chain);
        assert_eq!(verdict.is_ok(), expected, "{verdict:?}");
        if let Err(refusal) = verdict {
            assert_eq!(refusal, Refusal::IssuerRevoked { subject: "CN=between".to_owned() });
        }
    }
}

#[test]
fn a_list_of_a_ca_without_crl_sign_is_refused() {
    use rcgen::KeyUsagePurpose::{CrlSign, KeyCertSign};
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    for (usages, expected) in [(&[KeyCertSign, CrlSign][..], true), (&[KeyCertSign], false), (&[], true)] {
        let (ca, issuer) = authority("root", None, usages);
        // rcgen itself refuses to let such a CA sign a list.
        let lenient = authority_with_key(&issuer);
        let list = list(&lenient, &[9]).expect("a list");
        let options = PolicyOptions { client_ca: vec![ca], crl: vec![source("crl.pem", &list)], ..pki.options(&clock) };
        let made = ServerPolicy::new(options).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(made.is_ok(), expected, "{usages:?}: {made:?}");
        assert!(made.is_ok() || made.is_err_and(|error| error.contains("cRLSign")));
    }
}

/// The same issuer with every usage.
fn authority_with_key(issuer: &rcgen::Issuer<'static, rcgen::KeyPair>) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "root");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let key = rcgen::KeyPair::try_from(issuer.key().serialize_der()).expect("the same key");
    rcgen::Issuer::new(params, key)
}

#[test]
fn expired_lists_may_reject_the_clients_of_their_ca_instead() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let stale = pki.authority.revocation_list(&[], 1, NOW - 2 * DAY).expect("a list");
    let chain = [crate::testing::leaf(&pki.client)];
    let with = |lists: &str| {
        let crl = vec![source("crl.pem", lists)];
        policy(PolicyOptions { crl, outdated_lists: OutdatedLists::ShutOut, ..pki.mutual(&clock) })
    };
    let shut_out = with(&stale);
    assert!(matches!(shut_out.still_trusted(&chain), Err(Refusal::RevocationListExpired { .. })));
    assert_eq!(shut_out.outdated_lists(NOW).collect::<Vec<_>>(), ["CN=test CA"]);
    let fresh = pki.authority.revocation_list(&[], 30, NOW).expect("a list");
    let both = with(&(stale + &fresh));
    assert!(both.still_trusted(&chain).is_ok(), "a newer one stands in for it");
    assert_eq!(both.outdated_lists(NOW).count(), 0);
}

#[test]
fn listeners_share_revocation_lists_but_no_sessions() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let list = pki.authority.revocation_list(&[], 30, NOW).expect("a list");
    let first = policy(PolicyOptions { crl: vec![source("crl.pem", &list)], ..pki.mutual(&clock) });
    let second = first.sibling(vec![b"http/1.1".to_vec()]).expect("a policy");
    let trusts = [&first, &second].map(|policy| policy.client_trust().expect("certificates are required"));
    assert!(std::ptr::eq(trusts[0], trusts[1]), "the lists are held once");
    assert_eq!(first.describe(), second.describe());
    let config = pki.client_config(Some(&pki.client), &clock);
    let kind = |policy: &ServerPolicy| handshake(&config, policy).expect("in").server.handshake_kind();
    let kinds = [kind(&first), kind(&second), kind(&second)];
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Full, HandshakeKind::Resumed].map(Some));
}
