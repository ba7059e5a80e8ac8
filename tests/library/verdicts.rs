//! What `certs check` says of rustls, OpenSSL and Python, held against these themselves, over many chains with faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use latchkey::internals::testing::converse;
use latchkey::internals::tls::authority::Role;
use latchkey::internals::tls::{Answer, Judgement, PemSource, Purpose, Question, Verifier, judge};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;

/// Pairs of faults drawn at random, beside each fault alone; `VERDICTS=5000` for more.
const DRAWN: &str = "150";

/// A chain, and what others made of it: nothing where they accept it, else their words.
#[derive(Deserialize)]
struct Case {
    name: String,
    what: String,
    faults: Vec<String>,
    target: String,
    role: String,
    host: String,
    root_is_plain: bool,
    openssl: String,
    python: String,
}

impl Case {
    fn purpose(&self) -> Purpose {
        match self.target.as_str() {
            "server" => Purpose::EndEntity(Role::Server),
            "client" => Purpose::EndEntity(Role::Client),
            _ => Purpose::Authority,
        }
    }
}

/// A case with its files.
struct Files {
    chain: Vec<CertificateDer<'static>>,
    /// What a peer shows: the chain, or for a CA what it issued.
    shown: Vec<CertificateDer<'static>>,
    trusted: Vec<CertificateDer<'static>>,
    key: PemSource,
}

fn read(dir: &Path, name: &str) -> PemSource {
    PemSource { name: name.to_owned(), bytes: std::fs::read(dir.join(name)).expect("the file is there") }
}

impl Files {
    fn of(dir: &Path, case: &Case) -> Self {
        let certificates =
            |suffix: &str| read(dir, &format!("{}{suffix}.pem", case.name)).certificates().expect("certificates");
        let shown = if case.target == "ca" { "-shown" } else { "" };
        Self {
            chain: certificates(""),
            shown: certificates(shown),
            trusted: certificates("-ca"),
            key: read(dir, &format!("{}-key.pem", case.name)),
        }
    }
}

/// Why rustls with its own verifiers refuses the peer in a handshake.
fn ask_rustls(case: &Case, files: &Files, honest: &Arc<CertifiedKey>) -> Result<(), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    for root in &files.trusted {
        roots.add(root.clone()).map_err(|error| told(&error))?;
    }
    let key = files.key.private_key().map_err(|error| told(&error))?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| told(&error))?;
    let peer = Arc::new(CertifiedKey::new(files.shown.clone(), key));
    let versions = rustls::ALL_VERSIONS;
    let client = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).expect("both");
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).expect("both");
    let (client, server, host) = if case.role == "client" {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let mut store = RootCertStore::empty();
        store.add(honest.cert.last().expect("a root").clone()).expect("a root");
        let mut client = client.with_root_certificates(store).with_no_client_auth();
        client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(peer));
        let server = server.with_client_cert_verifier(verifier.map_err(|error| told(&error))?);
        (client, server.with_cert_resolver(Arc::new(SingleCertAndKey::from(honest.clone()))), "localhost")
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let client = client.with_webpki_verifier(verifier.map_err(|error| told(&error))?).with_no_client_auth();
        let server = server.with_no_client_auth();
        (client, server.with_cert_resolver(Arc::new(SingleCertAndKey::from(peer))), case.host.as_str())
    };
    let host = ServerName::try_from(host.to_owned()).map_err(|error| told(&error))?;
    let mut client = ClientConnection::new(Arc::new(client), host).map_err(|error| told(&error))?;
    let mut server = ServerConnection::new(Arc::new(server)).map_err(|error| told(&error))?;
    converse(&mut client, &mut server).map_err(|error| told(&error))?;
    if client.is_handshaking() || server.is_handshaking() { Err("it did not end".to_owned()) } else { Ok(()) }
}

/// Compares; returns what we answered, and says what is wrong with it.
fn compare(
    case: &Case,
    verifier: Verifier,
    judgement: &Judgement,
    truth: &Result<(), String>,
    wrong: &mut Vec<String>,
) -> Answer {
    let answer = judgement.answer(verifier);
    let is_right = match answer {
        Answer::Accepts => truth.is_ok(),
        Answer::Rejects => truth.is_err(),
        // Allowed for signatures of these kinds alone.
        Answer::Unknown => ["brainpool", "p224", "SHA-224", "secp256k1"].iter().any(|kind| case.what.contains(kind)),
    };
    if !is_right {
        let reasons = [&judgement.objections, &judgement.doubts].into_iter().flatten();
        let reasons: Vec<_> = reasons.filter(|found| found.by.contains(&verifier)).map(|found| &found.why).collect();
        wrong.push(format!("{} {}\n  {verifier}: {answer:?} {reasons:?}\n  in truth: {truth:?}", case.name, case.what));
    }
    answer
}

#[test]
fn every_verdict_is_that_of_the_verifier_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let count = std::env::var("VERDICTS").unwrap_or_else(|_| DRAWN.to_owned());
    let seed = std::env::var("VERDICTS_SEED").unwrap_or_else(|_| "1".to_owned());
    // Debian's Python: the package cryptography is its.
    let made = Command::new("/usr/bin/python3")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/library/verdicts/chains.py"), dir.to_str().expect("text")])
        .args([&count, &seed])
        .output()
        .expect("Python is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cases: Vec<Case> = serde_json::from_slice(&read(dir, "index.json").bytes).expect("an index");
    let honest = Files {
        trusted: read(dir, "9999-ca.pem").certificates().expect("a root"),
        shown: read(dir, "9999.pem").certificates().expect("a chain"),
        chain: Vec::new(),
        key: read(dir, "9999-key.pem"),
    };
    let key = honest.key.private_key().expect("a key");
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
    let honest = Arc::new(CertifiedKey::new([honest.shown, honest.trusted].concat(), key));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();

    let mut wrong = Vec::new();
    let mut answers = BTreeMap::new();
    let mut unreadable = 0;
    let mut asked = 0;
    for case in &cases {
        let files = Files::of(dir, case);
        let words = |said: &String| if said.is_empty() { Ok(()) } else { Err(said.clone()) };
        let truths = [ask_rustls(case, &files, &honest), words(&case.openssl), words(&case.python)];
        let assumed = case.root_is_plain.then_some(None);
        for trusted in [Some(Some(files.trusted.as_slice())), assumed].into_iter().flatten() {
            let question = Question { chain: &files.chain, trusted, purpose: Some(case.purpose()), now };
            match judge(&question) {
                Ok(judgement) => {
                    for (verifier, truth) in Verifier::ALL.into_iter().zip(&truths) {
                        let answer = compare(case, verifier, &judgement, truth, &mut wrong);
                        *answers.entry(format!("{verifier} {answer:?}")).or_insert(0) += 1;
                    }
                }
                // The command says so, and that is no verdict.
                Err(_) => unreadable += 1,
            }
            asked += 1;
        }
    }
    println!("{asked} chains, {unreadable} cannot be read: {answers:?}");
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.iter().filter(|case| case.faults.len() == 1).count() > 500, "the list of faults is lost");
    assert!(unreadable * 20 < asked, "{unreadable} of {asked} cannot be read");
    for verifier in Verifier::ALL {
        for answer in [Answer::Accepts, Answer::Rejects] {
            assert!(answers.get(&format!("{verifier} {answer:?}")).is_some_and(|count| *count > 100), "{answers:?}");
        }
    }
    let doubts: i32 = answers.iter().filter(|(key, _)| key.ends_with("Unknown")).map(|(_, count)| count).sum();
    assert!(doubts * 20 < asked, "{answers:?}");
}
