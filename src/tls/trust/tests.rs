use rustls::crypto::aws_lc_rs;
use rustls::{HandshakeKind, ProtocolVersion};

use super::*;
use crate::testing::{Clock, DAY, NOW, TestPki, client_config, handshake, leaf, source};
use crate::tls::authority::{Authority, Issued, KeyKind};
use crate::tls::identity::AnchorKind;
use crate::tls::policy::{PolicyOptions, ServerPolicy};

fn policy(options: PolicyOptions) -> ServerPolicy {
    ServerPolicy::new(options).expect("a policy")
}

fn refusal(result: Result<crate::testing::Handshaken, rustls::Error>) -> Refusal {
    Refusal::of(&result.expect_err("it must be refused")).expect("because of a certificate")
}

#[test]
fn a_client_of_a_listed_ca_is_identified_by_name_and_anchor() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let done = handshake(&pki.client_config(Some(&pki.client), &clock), &policy(pki.mutual(&clock))).expect("in");
    let witness = done.witness.expect("certificates are asked for");
    let identity = witness.identify(done.server.peer_certificates()).expect("readable").expect("shown");
    assert_eq!(identity.common_name.as_deref(), Some("alice"));
    let anchor = identity.anchor.expect("verified");
    assert_eq!((anchor.kind, anchor.common_name.as_deref()), (AnchorKind::Issuer, Some("test CA")));
    assert_eq!(anchor.fingerprint, pki.authority.certificate().fingerprint());
}

#[test]
fn every_refusal_of_a_client_has_its_own_reason() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let required = policy(pki.mutual(&clock));
    let stranger = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let try_with = |issued: Option<&Issued>| refusal(handshake(&pki.client_config(issued, &clock), &required));

    assert_eq!(try_with(None), Refusal::NoCertificate);
    assert!(matches!(try_with(Some(&TestPki::client_of(&stranger, "mallory"))), Refusal::UnknownIssuer { .. }));
    assert_eq!(try_with(Some(&pki.server)), Refusal::Purpose);
    assert!(matches!(try_with(Some(&stranger.files())), Refusal::UnknownIssuer { .. }));

    let trusting = pki.client_config(Some(&pki.client), &clock);
    let late = policy(PolicyOptions { clock: Clock::at(NOW + 398 * DAY), ..pki.mutual(&clock) });
    assert!(matches!(refusal(handshake(&trusting, &late)), Refusal::Expired { not_after: Some(_) }));
    let early = policy(PolicyOptions { clock: Clock::at(NOW - 2 * DAY), ..pki.mutual(&clock) });
    assert!(matches!(refusal(handshake(&trusting, &early)), Refusal::NotYetValid { .. }));
}

#[test]
fn optional_accepts_no_certificate_but_not_a_bad_one() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let client_auth = Some(crate::tls::ClientAuth::Optional);
    let optional = policy(PolicyOptions { client_auth, ..pki.mutual(&clock) });
    let done = handshake(&pki.client_config(None, &clock), &optional).expect("in");
    assert_eq!(done.witness.expect("asked").identify(done.server.peer_certificates()), Ok(None));
    let stranger = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let bad = TestPki::client_of(&stranger, "mallory");
    assert!(handshake(&pki.client_config(Some(&bad), &clock), &optional).is_err());
}

/// Like `openssl req -x509`: self-signed, CA, common name only.
fn self_signed(name: &str) -> Issued {
    Authority::create(KeyKind::EcdsaP256, name, NOW).expect("a CA").files()
}

#[test]
fn a_listed_self_signed_certificate_is_accepted_as_itself_and_may_issue() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let authority = Authority::create(KeyKind::EcdsaP256, "bob", NOW).expect("a CA");
    let listed = source("bob.pem", &authority.files().certificate);
    let accepting = policy(PolicyOptions { client_ca: vec![listed], ..pki.options(&clock) });
    for identity in [authority.files(), TestPki::client_of(&authority, "bob's friend")] {
        handshake(&pki.client_config(Some(&identity), &clock), &accepting).expect("in");
    }
    // Another certificate with the same name is another certificate.
    assert!(handshake(&pki.client_config(Some(&self_signed("bob")), &clock), &accepting).is_err());
    // Being recognised does not exempt it from its dates.
    let late = policy(PolicyOptions {
        client_ca: vec![source("bob.pem", &authority.files().certificate)],
        clock: Clock::at(NOW + 3651 * DAY),
        ..pki.options(&clock)
    });
    let late = handshake(&pki.client_config(Some(&authority.files()), &clock), &late);
    assert!(matches!(refusal(late), Refusal::Expired { .. }));
}

#[test]
fn a_pin_is_accepted_as_itself_and_never_issues() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let authority = Authority::create(KeyKind::EcdsaP256, "bob", NOW).expect("a CA");
    let pinned = vec![source("bob.pem", &authority.files().certificate)];
    let only_pin = policy(PolicyOptions { client_pin: pinned, ..pki.options(&clock) });
    let done = handshake(&pki.client_config(Some(&authority.files()), &clock), &only_pin).expect("in");
    let identity = done.witness.expect("asked").identify(done.server.peer_certificates()).expect("readable");
    assert_eq!(identity.and_then(|identity| identity.anchor).expect("verified").kind, AnchorKind::Pin);
    let minted = TestPki::client_of(&authority, "admin");
    assert!(matches!(
        refusal(handshake(&pki.client_config(Some(&minted), &clock), &only_pin)),
        Refusal::UnknownIssuer { .. }
    ));
    assert_eq!(only_pin.describe(), "TLS 1.2+, post-quantum preferred, client certificate required (1 pin)");
}

#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let pinned = self_signed("bob");
    let accepting =
        policy(PolicyOptions { client_pin: vec![source("bob.pem", &pinned.certificate)], ..pki.options(&clock) });
    // Mallory presents bob's certificate and signs with another key of the same kind.
    let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = (*client_config(trust.clone(), None, &clock, &[version])).clone();
        let key = source("m.pem", &self_signed("mallory").key).private_key().expect("a key");
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
        let stolen = rustls::sign::CertifiedKey::new(vec![leaf(&pinned)], key);
        config.client_auth_cert_resolver = std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
        let result = handshake(&std::sync::Arc::new(config), &accepting);
        assert_eq!(refusal(result), Refusal::Signature, "{version:?}");
    }
}

/// `issued` as `openssl x509 -trustout` writes it, followed by these trust settings (`X509_CERT_AUX` in DER).
fn trusted(issued: &Issued, settings: &[u8]) -> crate::tls::PemSource {
    use base64::Engine;
    let bytes = [&leaf(issued)[..], settings].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    source("t.pem", &format!("-----BEGIN TRUSTED CERTIFICATE-----\n{text}\n-----END TRUSTED CERTIFICATE-----\n"))
}

#[test]
fn trust_settings_of_openssl_are_honoured_or_refused() {
    const CLIENT: [u8; 10] = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    const SERVER: [u8; 10] = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let allow = |purpose: [u8; 10]| [&[0x30, 12, 0x30, 10][..], &purpose].concat();
    let reject = |purpose: [u8; 10]| [&[0x30, 12, 0xa0, 10][..], &purpose].concat();
    let any = vec![0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0];
    for (settings, clients, servers) in [
        (vec![], true, true),
        (vec![0x30, 0], true, true),
        (any, true, true),
        (allow(CLIENT), true, false),
        (allow(SERVER), false, true),
        (reject(CLIENT), false, true),
        (reject(SERVER), true, false),
        (vec![0x30, 1], false, false),
    ] {
        let listed = trusted(&pki.authority.files(), &settings);
        let options = PolicyOptions { client_ca: vec![listed.clone()], ..pki.options(&clock) };
        let judged = ServerPolicy::new(options).map_err(|error| error.to_string());
        assert_eq!(judged.is_ok(), clients, "{settings:?}: {judged:?}");
        let trust = ServerTrust::new(&[listed], &aws_lc_rs::default_provider()).map_err(|error| error.to_string());
        assert_eq!(trust.is_ok(), servers, "{settings:?}: {trust:?}");
        if let Err(error) = judged {
            assert!(error.contains("t.pem: line 1: ") && error.contains("clientAuth"), "{error}");
        }
    }
}

#[test]
fn a_leaf_listed_as_a_ca_is_refused() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let options =
        PolicyOptions { client_ca: vec![source("client.pem", &pki.client.certificate)], ..pki.options(&clock) };
    let error = ServerPolicy::new(options).expect_err("it must be refused").to_string();
    assert!(error.contains("client.pem") && error.contains("--client-pin"), "{error}");
}

#[test]
fn a_listed_server_certificate_without_alt_names_is_checked_by_its_common_name() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    for (name, expected) in [("localhost", true), ("LOCALHOST", true), ("elsewhere", false)] {
        let itself = self_signed(name);
        let serving =
            policy(PolicyOptions { identities: vec![crate::testing::files_of(&itself)], ..pki.options(&clock) });
        let listed = source("server.pem", &itself.certificate);
        let trust = ServerTrust::new(&[listed], &aws_lc_rs::default_provider()).expect("a certificate");
        let config = client_config(trust.clone(), None, &clock, rustls::ALL_VERSIONS);
        assert_eq!(handshake(&config, &serving).is_ok(), expected, "{name}");
        if !expected {
            let presented = vec!["elsewhere".to_owned()];
            assert_eq!(trust.refusal(), Some(Refusal::NameMismatch { expected: "localhost".to_owned(), presented }));
        }
    }
}

#[test]
fn every_refusal_of_a_server_names_a_cure() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let serving = policy(pki.options(&clock));
    let stranger = Authority::create(KeyKind::Ed25519, "other CA", NOW).expect("a CA");
    let other = source("other.pem", &stranger.files().certificate);
    let provider = aws_lc_rs::default_provider();

    let trust = ServerTrust::new(&[other], &provider).expect("a CA");
    assert!(handshake(&client_config(trust.clone(), None, &clock, rustls::ALL_VERSIONS), &serving).is_err());
    let refusal = trust.refusal().expect("refused");
    assert_eq!(refusal, Refusal::UnknownIssuer { issuer: "CN=test CA".to_owned() });
    assert!(refusal.cure().contains("--ca"));

    let unlisted = policy(PolicyOptions {
        identities: vec![crate::testing::files_of(&self_signed("localhost"))],
        ..pki.options(&clock)
    });
    assert!(handshake(&client_config(trust.clone(), None, &clock, rustls::ALL_VERSIONS), &unlisted).is_err());
    assert_eq!(trust.refusal(), Some(Refusal::SelfSigned { subject: "CN=localhost".to_owned() }));

    let late = Clock::at(NOW + 398 * DAY);
    assert!(matches!(
        handshake(&pki.client_config(None, &late), &serving).map_err(|error| Refusal::of(&error)),
        Err(Some(Refusal::Expired { .. }))
    ));

    let anyone = ServerTrust::insecure(&provider);
    handshake(&client_config(anyone, None, &late, rustls::ALL_VERSIONS), &unlisted).expect("every server is accepted");
}

#[test]
fn a_resumed_client_keeps_its_identity_and_its_first_deadline() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (pki, clock) = (TestPki::new(), Clock::at(NOW));
        let serving = policy(pki.mutual(&clock));
        let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
        let config = client_config(trust, Some(&pki.client), &clock, &[version]);
        let mut kinds = Vec::new();
        for hours in [0, 5, 10, 13, 14] {
            clock.set(NOW + hours * 3600);
            let done = handshake(&config, &serving).expect("in");
            let identity = done.witness.expect("asked").identify(done.server.peer_certificates()).expect("readable");
            assert!(identity.and_then(|identity| identity.anchor).is_some(), "{version:?} after {hours} h");
            kinds.push(done.server.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        // Resumed at 5 and at 10 with a ticket issued at 5, which is still valid until 12; so the handshake at 13 is a
        // full one.
        assert_eq!(kinds, [false, true, true, false, true], "{version:?}");
    }
}

#[test]
fn a_ticket_ends_with_the_certificate_and_with_the_policy() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let serving = policy(pki.mutual(&clock));
    let config = pki.client_config(Some(&pki.client), &clock);
    clock.set(NOW + 397 * DAY - 60);
    handshake(&config, &serving).expect("in, for another minute");
    clock.set(NOW + 397 * DAY + 60);
    assert!(matches!(refusal(handshake(&config, &serving)), Refusal::Expired { .. }));

    clock.set(NOW);
    handshake(&config, &serving).expect("in");
    let resumed =
        |policy| handshake(&config, policy).expect("in").server.handshake_kind() == Some(HandshakeKind::Resumed);
    assert!(resumed(&serving));
    assert!(!resumed(&policy(pki.mutual(&clock))), "another policy has other ticket keys");
}

#[test]
fn tls12_session_ids_do_not_resume() {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let serving = policy(pki.mutual(&clock));
    let trust = ServerTrust::new(&[pki.ca()], &aws_lc_rs::default_provider()).expect("a CA");
    let config = client_config(trust, Some(&pki.client), &clock, &[&rustls::version::TLS12]);
    let mut config = (*config).clone();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8)
        .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    let config = std::sync::Arc::new(config);
    for _ in 0..2 {
        let done = handshake(&config, &serving).expect("in");
        assert_eq!(done.server.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        assert_eq!(done.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn an_ip_address_in_a_dns_name_is_reported() {
    let certificate = |san: rcgen::SanType| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![san];
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("made").pem()
    };
    let name = "127.0.0.1";
    let now = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    for (san, expected) in [
        (rcgen::SanType::IpAddress(name.parse().expect("an address")), true),
        (rcgen::SanType::DnsName(name.try_into().expect("ASCII")), false),
    ] {
        let listed = source("s.pem", &certificate(san));
        let der = listed.certificates().expect("one").swap_remove(0);
        let trust = ServerTrust::new(&[listed], &aws_lc_rs::default_provider()).expect("listed");
        let verdict = trust.check(&der, &[], &name.try_into().expect("a name"), now);
        assert_eq!(verdict.is_ok(), expected, "{verdict:?}");
        if let Err(refusal) = verdict {
            let text = refusal.to_string();
            assert!(text.contains("only for 127.0.0.1 as a DNS name"), "{text}");
            assert!(refusal.cure().contains("--san IP:"), "{}", refusal.cure());
        }
    }
}
