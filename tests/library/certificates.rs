//! Certificates against the verifiers of others: OpenSSL in strict mode, Python's `ssl`, and the reverse, certificates
//! that OpenSSL made against ours.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use latchkey::internals::cli::development::development_identities;
use latchkey::internals::testing::handshake;
use latchkey::internals::tls::authority::{Authority, KeyKind, Role, Subject};
use latchkey::internals::tls::{PemSource, PolicyOptions, Refusal, ServerPolicy, ServerTrust, Verifier};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn run(dir: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    output.unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"))
}

fn succeed(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let output = run(dir, program, arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {}: {text}", arguments.join(" "));
    text
}

fn source(dir: &Path, name: &str) -> PemSource {
    PemSource { name: name.to_owned(), bytes: std::fs::read(dir.join(name)).expect("the file is there") }
}

/// A CA, a server's and a client's certificate of this kind of key.
fn make(dir: &Path, key: KeyKind) -> Authority {
    let authority = Authority::create(key, "test CA", now()).expect("a CA");
    let names = ["IP:127.0.0.1", "URI:spiffe://example/server", "EMAIL:root@example.org"].map(str::to_owned);
    let server = Subject::named("localhost", &names).and_then(Subject::reachable).expect("good names");
    let client = Subject::named("alice", &[]).expect("a good name");
    let server = authority.issue(Role::Server, &server, key, now()).expect("a leaf");
    let client = authority.issue(Role::Client, &client, key, now()).expect("a leaf");
    for (name, issued) in [("ca", authority.files()), ("server", server), ("client", client)] {
        std::fs::write(dir.join(format!("{name}.pem")), issued.certificate).expect("it writes");
        std::fs::write(dir.join(format!("{name}-key.pem")), issued.key).expect("it writes");
    }
    authority
}

/// A mutual handshake in memory between two Python contexts, both with `VERIFY_X509_STRICT` set.
const PYTHON: &str = r#"
import ssl
def context(purpose, name):
    context = ssl.create_default_context(purpose, cafile="ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(name + ".pem", name + "-key.pem")
    return context
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [context(ssl.Purpose.SERVER_AUTH, "client").wrap_bio(a, b, server_hostname="localhost"),
        context(ssl.Purpose.CLIENT_AUTH, "server").wrap_bio(b, a, server_side=True)]
for _ in range(10):
    for end in ends:
        try: end.do_handshake()
        except ssl.SSLWantReadError: pass
ends[0].write(b"hello")
assert ends[1].read() == b"hello"
print(ends[1].getpeercert()["subject"])
"#;

#[test]
fn issued_certificates_pass_openssl_and_python_in_strict_mode() {
    for key in [KeyKind::EcdsaP256, KeyKind::Ed25519, KeyKind::Rsa3072] {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let authority = make(dir, key);
        let verify = ["verify", "-x509_strict", "-CAfile", "ca.pem"];
        succeed(
            dir,
            "openssl",
            &[&verify[..], &["-purpose", "sslserver", "-verify_hostname", "localhost", "server.pem"]].concat(),
        );
        succeed(dir, "openssl", &[&verify[..], &["-verify_ip", "127.0.0.1", "server.pem"]].concat());
        succeed(dir, "openssl", &[&verify[..], &["-purpose", "sslclient", "client.pem"]].concat());
        succeed(dir, "openssl", &["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.pem", "ca.pem"]);
        assert!(
            !run(dir, "openssl", &[&verify[..], &["-purpose", "sslserver", "client.pem"]].concat()).status.success()
        );
        assert!(succeed(dir, "python3", &["-c", PYTHON]).contains("alice"), "{key:?}");

        let serial =
            latchkey::internals::tls::Certificate::from_der(&source(dir, "client.pem").certificates().expect("one")[0])
                .expect("readable")
                .serial;
        let list = authority.revocation_list(&[(serial, now())], 30, now()).expect("a list");
        std::fs::write(dir.join("crl.pem"), list).expect("it writes");
        let with_list = [&verify[..], &["-crl_check", "-CRLfile", "crl.pem"]].concat();
        succeed(dir, "openssl", &[&with_list[..], &["server.pem"]].concat());
        let revoked = run(dir, "openssl", &[&with_list[..], &["client.pem"]].concat());
        assert!(String::from_utf8_lossy(&revoked.stderr).contains("certificate revoked"), "{key:?}");
    }
}

#[test]
fn a_host_name_longer_than_a_common_name_is_issued_and_verified() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let authority = make(dir, KeyKind::EcdsaP256);
    let host = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
    let server = Subject::server(&format!("{host}."), &[]).expect("a good name");
    let server = authority.issue(Role::Server, &server, KeyKind::EcdsaP256, now()).expect("a leaf");
    std::fs::write(dir.join("long.pem"), server.certificate).expect("it writes");
    let verify = ["verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", "sslserver", "-verify_hostname"];
    succeed(dir, "openssl", &[&verify[..], &[&host, "long.pem"]].concat());
    assert!(!run(dir, "openssl", &[&verify[..], &["a.example", "long.pem"]].concat()).status.success());
    let text = succeed(dir, "openssl", &["x509", "-noout", "-text", "-in", "long.pem"]);
    assert!(text.contains("X509v3 Subject Alternative Name: critical") && text.contains("Subject: \n"), "{text}");
}

#[test]
fn the_development_identities_pass_too() {
    let dir = tempfile::tempdir().expect("a folder");
    development_identities(dir.path(), now()).expect("made");
    for (check, name) in [("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1")] {
        let arguments = ["verify", "-x509_strict", "-CAfile", "ca.pem", check, name, "server.pem"];
        succeed(dir.path(), "openssl", &arguments);
    }
    assert!(succeed(dir.path(), "python3", &["-c", PYTHON]).contains("client"));
}

/// As the recipe makes them, with the answers given on the command line. `extra` changes what a newer or older
/// configuration would.
fn recipe(dir: &Path, name: &str, common_name: &str, extra: &[&str]) {
    let (key, certificate) = (format!("{name}_key.pem"), format!("{name}_cert.pem"));
    let subject = format!("/CN={common_name}");
    let fixed =
        ["req", "-new", "-x509", "-days", "365", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &certificate];
    succeed(dir, "openssl", &[&fixed[..], extra].concat());
}

/// The same with an `openssl.cnf` that names no extensions: a version 1 certificate.
fn recipe_version_1(dir: &Path, name: &str, common_name: &str) {
    std::fs::write(dir.join("bare.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n").expect("it writes");
    recipe(dir, name, common_name, &["-config", "bare.cnf"]);
    let text = succeed(dir, "openssl", &["x509", "-noout", "-text", "-in", &format!("{name}_cert.pem")]);
    assert!(text.contains("Version: 1"), "{text}");
}

fn recipe_pair(dir: &Path, name: &str) -> (PemSource, PemSource) {
    (source(dir, &format!("{name}_cert.pem")), source(dir, &format!("{name}_key.pem")))
}

fn client(
    ca: PemSource,
    identity: &(PemSource, PemSource),
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let provider = aws_lc_rs::default_provider();
    let trust = ServerTrust::new(&[ca], &provider).expect("a certificate");
    let (chain, key) = (identity.0.certificates().expect("one"), identity.1.private_key().expect("one"));
    let signing = provider.key_provider.load_private_key(key).expect("a key");
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    // `with_client_auth_cert` compares the keys through webpki, which does not read version 1.
    let pair = rustls::sign::CertifiedKey::new(chain, signing);
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    Arc::new(config)
}

#[test]
fn the_recipes_certificates_work_on_both_sides() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    recipe(dir, "server", "localhost", &[]);
    recipe(dir, "client", "bob", &[]);
    recipe(dir, "ec", "bob", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    recipe_version_1(dir, "old_server", "localhost");
    recipe_version_1(dir, "old_client", "bob");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (server_name, client_name) in [("server", "client"), ("server", "ec"), ("old_server", "old_client")] {
            let (server, bob) = (recipe_pair(dir, server_name), recipe_pair(dir, client_name));
            for pinned in [false, true] {
                let listed = vec![bob.0.clone()];
                let (client_ca, client_pin) = if pinned { (Vec::new(), listed) } else { (listed, Vec::new()) };
                let options = PolicyOptions {
                    identities: vec![server.clone()],
                    client_ca,
                    client_pin,
                    ..PolicyOptions::default()
                };
                let policy = ServerPolicy::new(options).expect("a policy");
                let config = client(server.0.clone(), &bob, version);
                let accepted = handshake(&config, &policy)
                    .unwrap_or_else(|error| panic!("{server_name} {client_name} {version:?} {pinned}: {error}"));
                let shown = accepted.server.peer_certificates();
                let identity = accepted.witness.expect("asked").identify(shown).expect("readable");
                assert_eq!(identity.expect("shown").common_name.as_deref(), Some("bob"));
            }
        }
    }
}

#[test]
fn a_version_1_certificate_without_its_key_is_worth_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    recipe(dir, "server", "localhost", &[]);
    recipe_version_1(dir, "bob", "bob");
    recipe_version_1(dir, "mallory", "mallory");
    let (server, bob) = (recipe_pair(dir, "server"), recipe_pair(dir, "bob"));
    let identities = vec![server.clone()];
    let options = PolicyOptions { identities, client_ca: vec![bob.0.clone()], ..PolicyOptions::default() };
    let policy = ServerPolicy::new(options).expect("a policy");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stolen = (bob.0.clone(), recipe_pair(dir, "mallory").1);
        let error = handshake(&client(server.0.clone(), &stolen, version), &policy).expect_err("it must be refused");
        assert_eq!(Refusal::of(&error), Some(Refusal::Signature), "{version:?}");
    }
}

/// Whether `examine` says that OpenSSL in strict mode accepts the certificate, and what it says.
fn predicted(dir: &Path, name: &str) -> (bool, String) {
    let der = source(dir, name).certificates().expect("a certificate").swap_remove(0);
    let (purpose, objections) = latchkey::internals::tls::examine(&der, now()).expect("readable");
    let strict = objections.iter().filter(|objection| objection.by.contains(&Verifier::OpensslStrict));
    let reasons: Vec<&str> = strict.map(|objection| objection.why.as_str()).collect();
    (reasons.is_empty(), format!("{purpose}: {reasons:?}"))
}

/// A leaf without a fault of its own.
fn issue_from(dir: &Path, ca: &str, key: &str) -> String {
    let extensions = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\nbasicConstraints=CA:FALSE\n";
    std::fs::write(dir.join("good"), extensions).expect("it writes");
    let fixed = ["x509", "-req", "-in", "r.pem", "-CAcreateserial", "-extfile", "good", "-out", "issued.pem"];
    succeed(dir, "openssl", &[&fixed[..], &["-CA", ca, "-CAkey", key]].concat());
    "issued.pem".to_owned()
}

#[test]
fn verdicts_on_openssl_in_strict_mode_agree_with_openssl() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    make(dir, KeyKind::EcdsaP256);
    recipe(dir, "plain", "localhost", &[]);
    recipe_version_1(dir, "old", "localhost");
    let add = |name: &str, extensions: &[&str]| {
        let extra: Vec<&str> = extensions.iter().flat_map(|extension| ["-addext", extension]).collect();
        std::fs::write(dir.join("bare.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n").expect("it writes");
        let elliptic = ["-config", "bare.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        recipe(dir, name, "localhost", &[&elliptic[..], &extra[..]].concat());
    };
    add("usage", &["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "subjectKeyIdentifier=hash"]);
    add("uncritical", &["basicConstraints=CA:TRUE", "keyUsage=keyCertSign", "subjectKeyIdentifier=hash"]);
    add("unidentified", &["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign", "subjectKeyIdentifier=none"]);
    add("leaf", &["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost"]);
    add("signing_leaf", &["basicConstraints=critical,CA:FALSE", "keyUsage=keyCertSign"]);
    add("unsaid", &["keyUsage=keyCertSign", "subjectAltName=DNS:localhost"]);
    add("server_only", &["basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth", "subjectAltName=DNS:localhost"]);
    // What issues leaves with `openssl x509 -req` and no configuration: no authority key identifier.
    succeed(dir, "openssl", &["req", "-new", "-nodes", "-subj", "/CN=a.example", "-keyout", "q.pem", "-out", "r.pem"]);
    let sign =
        ["x509", "-req", "-in", "r.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "9"];
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:a.example\nauthorityKeyIdentifier=none\n").expect("it writes");
    succeed(dir, "openssl", &[&sign[..], &["-extfile", "ext", "-out", "quick_cert.pem"]].concat());

    let mut seen = [false; 2];
    let own = ["server.pem", "client.pem", "ca.pem"].map(|name| (name.to_owned(), name.replace(".pem", "-key.pem")));
    let others = [
        "plain",
        "old",
        "usage",
        "uncritical",
        "unidentified",
        "leaf",
        "signing_leaf",
        "unsaid",
        "server_only",
        "quick",
    ];
    let others = others.map(|name| (format!("{name}_cert.pem"), format!("{name}_key.pem")));
    for (name, key) in own.into_iter().chain(others) {
        let (accepted, reasons) = predicted(dir, &name);
        // What is wrong with a CA shows in what it issues; everything else is shown itself, and trusted as itself.
        let shown = if reasons.starts_with("a CA") { issue_from(dir, &name, &key) } else { name.clone() };
        let all = [source(dir, &name).bytes, source(dir, "ca.pem").bytes].concat();
        std::fs::write(dir.join("all.pem"), all).expect("it writes");
        // As a connection would, OpenSSL is told what it is for: what a CA issues may be anybody's.
        let purpose = if reasons.starts_with("a client") { "sslclient" } else { "sslserver" };
        let command = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "all.pem", &shown];
        let verified = run(dir, "openssl", &command);
        let said = String::from_utf8_lossy(&verified.stderr);
        assert_eq!(verified.status.success(), accepted, "{name}: we say {reasons}; OpenSSL says {said}");
        seen[usize::from(accepted)] = true;
    }
    assert_eq!(seen, [true, true], "both answers must occur");
}

#[test]
fn verdicts_on_webpki_agree_with_webpki() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    make(dir, KeyKind::EcdsaP256);
    recipe(dir, "plain", "localhost", &[]);
    let mut roots = rustls::RootCertStore::empty();
    for name in ["ca.pem", "plain_cert.pem"] {
        roots.add(source(dir, name).certificates().expect("one").swap_remove(0)).expect("a root");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let webpki = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let webpki: Arc<dyn rustls::client::danger::ServerCertVerifier> = webpki.build().expect("a verifier");
    for (name, expected) in [("server.pem", true), ("plain_cert.pem", false)] {
        let der = source(dir, name).certificates().expect("one").swap_remove(0);
        let host = "localhost".try_into().expect("a name");
        let at = rustls::pki_types::UnixTime::now();
        assert_eq!(webpki.verify_server_cert(&der, &[], &host, &[], at).is_ok(), expected, "{name}");
        let (_, objections) = latchkey::internals::tls::examine(&der, now()).expect("readable");
        let by_webpki = objections.iter().any(|objection| objection.by.contains(&Verifier::Webpki));
        assert_eq!(by_webpki, !expected, "{name}: {objections:?}");
    }
}

#[test]
fn a_ca_does_not_revoke_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_latchkey");
    succeed(dir.path(), program, &["certs", "init"]);
    let refused = run(dir.path(), program, &["certs", "revoke", "certs/ca.pem"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("certs/ca.pem is the CA itself") && said.contains("--client-ca"), "{said}");
    assert!(!dir.path().join("certs/crl.pem").exists());
}
