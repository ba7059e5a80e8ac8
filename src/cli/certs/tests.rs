use std::net::TcpListener;
use std::path::Path;

use clap::Parser;
use rustls::{ServerConnection, StreamOwned};

use super::*;
use crate::tls::{PolicyOptions, PostQuantum, ServerPolicy, TlsMin};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CertsArgs,
}

#[expect(clippy::disallowed_methods, reason = "certificates are checked against the real clock by the doctor's peers")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Runs `latchkey certs LINE`, with `{}` replaced by the folder.
fn certs_at(now: u64, dir: &Path, line: &str) -> Result<(Outcome, String), CertsError> {
    let line = line.replace("{}", &dir.display().to_string());
    let cli = Cli::try_parse_from(std::iter::once("certs").chain(line.split_whitespace())).expect("it parses");
    let mut out = Vec::new();
    let outcome = dispatch(&cli.args.command, now, &mut out)?;
    Ok((outcome, String::from_utf8(out).expect("text")))
}

fn certs(dir: &Path, line: &str) -> Result<(Outcome, String), CertsError> {
    certs_at(now(), dir, line)
}

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init --dir {}").expect("a CA");
    certs(dir.path(), "server --dir {} localhost --san IP:127.0.0.1").expect("a server");
    certs(dir.path(), "client --dir {} alice --san URI:spiffe://example/alice").expect("a client");
    dir
}

#[test]
fn nothing_is_overwritten_without_force() {
    let dir = made();
    for line in ["init --dir {}", "server --dir {} localhost", "client --dir {} alice"] {
        let before = std::fs::read(dir.path().join("localhost.pem")).expect("there");
        let error = certs(dir.path(), line).expect_err("it must be refused");
        assert!(error.to_string().contains("--force"), "{error}");
        assert!(matches!(Failure::from(error), Failure::Usage(_)));
        assert_eq!(before, std::fs::read(dir.path().join("localhost.pem")).expect("there"));
    }
    certs(dir.path(), "server --dir {} localhost --force").expect("replaced");
}

#[test]
fn a_missing_ca_is_reported_with_the_command_that_makes_one() {
    let dir = tempfile::tempdir().expect("a folder");
    for dir in [dir.path().to_owned(), dir.path().join("elsewhere")] {
        let error = certs(&dir, "client --dir {} alice").expect_err("it must be refused").to_string();
        assert!(error.contains("latchkey certs init"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("it lists").count(), 0, "nothing is left behind");
}

#[test]
fn issued_certificates_pass_the_check() {
    let dir = made();
    for line in [
        "check {}/ca.pem --key {}/ca-key.pem",
        "check {}/localhost.pem --key {}/localhost-key.pem --ca {}/ca.pem",
        "check {}/alice.pem --key {}/alice-key.pem --ca {}/ca.pem",
    ] {
        let (outcome, text) = certs(dir.path(), line).expect("it runs");
        assert_eq!(outcome, Outcome::Fine, "{text}");
        assert_eq!(text.matches("accepts it").count(), 3, "{text}");
    }
}

#[test]
fn every_fault_is_reported_with_its_fix() {
    use std::os::unix::fs::PermissionsExt;
    let dir = made();
    let fault = |line: &str, parts: &[&str]| {
        let (outcome, text) = certs(dir.path(), line).expect("it runs");
        assert_eq!(outcome, Outcome::Faulty, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    fault("check {}/alice.pem --key {}/localhost-key.pem", &["does not belong", "fix: "]);
    let (_, text) = certs(dir.path(), "check {}/alice.pem --key {}/localhost-key.pem").expect("it runs");
    assert!(text.find("does not belong") < text.find("accepts it"), "the fault comes first: {text}");
    let key = dir.path().join("alice-key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("changed");
    fault("check {}/alice.pem --key {}/alice-key.pem", &["readable by everyone", "fix: chmod 600 "]);

    let (outcome, text) = certs_at(now() + 398 * 86_400, dir.path(), "check {}/localhost.pem").expect("it runs");
    assert_eq!(outcome, Outcome::Faulty);
    assert_eq!(text.matches("REJECTS it: it expired on").count(), 3, "{text}");
    let fix = format!("fix: latchkey certs server --dir {} localhost --san IP:127.0.0.1 --force", dir.path().display());
    assert!(text.contains(&fix), "{text}");
    let (outcome, text) = certs_at(now() + 380 * 86_400, dir.path(), "check {}/localhost.pem").expect("it runs");
    assert!(outcome == Outcome::Fine && text.contains("it expires soon"), "{text}");

    let other = made();
    let line = format!("check {{}}/alice.pem --ca {}/ca.pem", other.path().display());
    // The certificate is good: issuing another from its CA, or from the wrong one, would not help.
    let right = format!("with --ca {}/ca.pem", dir.path().display());
    fault(&line, &["REJECTS it: a signature does not verify", &right]);
    let (_, text) = certs(dir.path(), &line).expect("it runs");
    assert!(!text.contains("--force") && text.matches("REJECTS it").count() == 3, "{text}");
    let absent = certs(dir.path(), "check {}/absent.pem").expect_err("it is not there");
    assert!(matches!(Failure::from(absent), Failure::Usage(_)));
}

#[test]
fn a_revocation_list_grows_and_can_be_renewed() {
    let dir = made();
    certs(dir.path(), "client --dir {} bob").expect("a client");
    assert!(certs(dir.path(), "revoke --dir {}").expect("an empty list").1.contains("0 revoked"));
    assert!(certs(dir.path(), "revoke --dir {} {}/alice.pem").expect("a list").1.contains("1 revoked"));
    assert!(certs(dir.path(), "revoke --dir {} {}/alice.pem {}/bob.pem").expect("a list").1.contains("2 revoked"));
    let (outcome, text) = certs(dir.path(), "check {}/alice.pem --ca {}/ca.pem --crl {}/crl.pem").expect("it runs");
    assert!(outcome == Outcome::Faulty && text.contains("it was revoked on "), "{text}");
    let (outcome, text) = certs(dir.path(), "check {}/localhost.pem --ca {}/ca.pem --crl {}/crl.pem").expect("it runs");
    assert!(outcome == Outcome::Fine && !text.contains("revoked"), "{text}");
    let (_, text) = certs(dir.path(), "check {}/alice.pem --ca {}/ca.pem").expect("it runs");
    assert!(text.contains("revocation not checked; pass --crl") && text.contains("crl.pem"), "{text}");
    assert!(certs(dir.path(), "check localhost:1 --ca {}/ca.pem --crl {}/crl.pem").is_err());
    // Renewing an expired list keeps its entries.
    let (_, text) = certs_at(now() + 40 * 86_400, dir.path(), "revoke --dir {} --days 7").expect("renewed");
    assert!(text.contains("2 revoked") && text.contains("in 7 days"), "{text}");

    let other = made();
    let line = format!("revoke --dir {{}} {}/alice.pem", other.path().display());
    let error = certs(dir.path(), &line).expect_err("it must be refused").to_string();
    assert!(error.contains("was not issued by the CA"), "{error}");

    let (_, text) = certs(dir.path(), "show {}/crl.pem {}/alice.pem {}/alice-key.pem").expect("shown");
    let serial = text.lines().find_map(|line| line.trim().strip_prefix("serial")).expect("a serial").trim();
    assert!(text.contains(&format!("revoked      {serial}")), "{text}");
    assert!(text.contains("URI:spiffe://example/alice") && text.contains("its owner only"), "{text}");
}

#[test]
fn a_revocation_list_applies_to_its_own_ca_only() {
    let (dir, other) = (made(), made());
    let theirs = other.path().display();
    // Two CAs with the same name, in one file; and a certificate of the second with a serial number that the first
    // revoked.
    let both =
        [dir.path(), other.path()].map(|dir| std::fs::read_to_string(dir.join("ca.pem")).expect("there")).concat();
    std::fs::write(dir.path().join("both.pem"), both).expect("written");
    certs(dir.path(), "revoke --dir {} {}/alice.pem").expect("a list");
    certs(other.path(), "revoke --dir {} {}/localhost.pem").expect("a list");
    let lists =
        [dir.path(), other.path()].map(|dir| std::fs::read_to_string(dir.join("crl.pem")).expect("there")).concat();
    std::fs::write(dir.path().join("lists.pem"), lists).expect("written");
    let twin = same_serial(other.path(), &dir.path().join("alice.pem"));
    std::fs::write(dir.path().join("twin.pem"), twin).expect("written");

    let check = |file: &str, list: &str| {
        certs(dir.path(), &format!("check {file} --ca {{}}/both.pem --crl {{}}/{list}.pem")).expect("it runs")
    };
    let (outcome, text) = check("{}/alice.pem", "lists");
    assert!(outcome == Outcome::Faulty && text.matches("it was revoked on ").count() == 3, "{text}");
    assert!(text.contains("fix: none: its CA has revoked it") && !text.contains("certs client"), "{text}");
    let (outcome, text) = check("{}/twin.pem", "lists");
    assert!(outcome == Outcome::Fine && !text.contains("revoked"), "{text}");
    let (_, text) = check(&format!("{theirs}/localhost.pem"), "lists");
    assert!(text.contains("it was revoked on "), "the second CA of --ca counts as the first does: {text}");
    let (outcome, text) = check(&format!("{theirs}/localhost.pem"), "crl");
    assert!(outcome == Outcome::Fine && text.contains("no list in --crl is that of "), "{text}");
    // An expired list proves nothing.
    let later = now() + 40 * 86_400;
    let line = "check {}/localhost.pem --ca {}/both.pem --crl {}/lists.pem";
    let (outcome, text) = certs_at(later, dir.path(), line).expect("it runs");
    assert!(outcome == Outcome::Faulty && text.contains("expired on "), "{text}");
}

#[test]
fn a_list_with_another_scope_covers_no_certificate_and_is_not_renewed() {
    let dir = made();
    for scope in [None, Some(rcgen::CrlScope::UserCertsOnly), Some(rcgen::CrlScope::CaCertsOnly)] {
        std::fs::write(dir.path().join("crl.pem"), list_of_a_part(dir.path(), scope)).expect("written");
        let line = "check {}/localhost.pem --ca {}/ca.pem --crl {}/crl.pem";
        let (outcome, text) = certs(dir.path(), line).expect("it runs");
        assert!(outcome == Outcome::Faulty && text.contains("covers certificates like it"), "{text}");
        let error =
            certs(dir.path(), "revoke --dir {} {}/alice.pem").expect_err("it would say more than before").to_string();
        assert!(error.contains("a part of the CA's certificates only"), "{error}");
    }
}

/// A list of the CA in `dir` for one distribution point, within `scope`.
fn list_of_a_part(dir: &Path, scope: Option<rcgen::CrlScope>) -> String {
    let read = |name: &str| crate::cli::files::read(&dir.join(name)).expect("there");
    let ca = read("ca.pem").certificates().expect("one").swap_remove(0);
    let key = rcgen::KeyPair::try_from(&read("ca-key.pem").private_key().expect("one")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca, key).expect("a CA");
    let distribution_point = rcgen::CrlDistributionPoint { uris: vec!["http://example/crl".to_owned()] };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let params = rcgen::CertificateRevocationListParams {
        this_update: epoch + std::time::Duration::from_secs(now() - 60),
        next_update: epoch + std::time::Duration::from_secs(now() + 86_400),
        crl_number: rcgen::SerialNumber::from_slice(&[1]),
        issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint { distribution_point, scope }),
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).expect("signed").pem().expect("a list")
}

/// A client certificate of the CA in `dir` with the serial number of the one in `file`.
fn same_serial(dir: &Path, file: &Path) -> String {
    let read = |path: &Path| crate::cli::files::read(path).expect("there");
    let serial = read(file).certificates().expect("one").swap_remove(0);
    let serial = crate::tls::Certificate::from_der(&serial).expect("readable").serial;
    let ca = read(&dir.join("ca.pem")).certificates().expect("one").swap_remove(0);
    let key = rcgen::KeyPair::try_from(&read(&dir.join("ca-key.pem")).private_key().expect("one")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca, key).expect("a CA");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "twin");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.signed_by(&rcgen::KeyPair::generate().expect("a key"), &issuer).expect("signed").pem()
}

#[test]
fn invalid_subject_alternative_names_are_refused() {
    let dir = made();
    let issue = |name: &str, alt_name: &str| {
        let issue = Issue {
            dir: dir.path().to_owned(),
            name: name.to_owned(),
            alt_names: vec![alt_name.to_owned()],
            key_type: KeyType::Ecdsa,
            force: true,
        };
        issue::server(&issue, now(), &mut Vec::new()).map(|()| dir.path().join(format!("{name}.pem")))
    };
    for bad in [
        "EMAIL:@",
        "EMAIL:a@",
        "EMAIL:@b",
        "EMAIL:a b@c",
        "EMAIL:a@b c",
        "EMAIL:a@b\nc",
        "EMAIL:a@b.",
        "URI:x:",
        "URI::x",
        "URI:a:b\nc",
        "URI:a:b c",
        "URI:1:b",
        "URI:a:\u{e4}",
        "DNS:",
        "DNS:.",
        "DNS:a..b",
        "DNS:a b",
        "DNS:a..",
    ] {
        assert!(matches!(issue("a.example", bad), Err(CertsError::Authority(AuthorityError::Name { .. }))), "{bad:?}");
    }
    assert!(issue(&format!("{}.example", "a.".repeat(110)), "IP:::1").is_err(), "a file name too long");

    // A final dot marks a complete name, and is not part of a certificate's name.
    certs(dir.path(), "server --dir {} complete.example. --san DNS:other.example.").expect("issued");
    let (_, text) = certs(dir.path(), "show {}/complete.example.pem").expect("shown");
    assert!(text.contains("DNS:complete.example, DNS:other.example\n"), "{text}");
    assert!(text.contains("certificate of CN=complete.example\n"), "{text}");

    // A common name has at most 64 characters, a host name up to 253.
    let long = format!("{}.example", "a".repeat(60));
    let path = issue(&long, &format!("DNS:{long}")).expect("issued");
    let line = format!("check {} --ca {{}}/ca.pem", path.display());
    let (outcome, text) = certs(dir.path(), &line).expect("it runs");
    assert!(outcome == Outcome::Fine && text.matches("accepts it").count() == 3, "{text}");
    let (_, text) = certs(dir.path(), &format!("show {}", path.display())).expect("shown");
    assert!(text.contains(&format!("names        DNS:{long}\n")), "{text}");
    let line = format!("client --dir {{}} {long}");
    assert!(certs(dir.path(), &line).expect_err("no host").to_string().contains("at most 64"));
}

#[test]
fn a_leaf_that_expires_early_with_its_ca_is_reported() {
    let dir = made();
    let (_, text) = certs(dir.path(), "client --dir {} early").expect("issued");
    assert!(!text.contains("it expires on"), "{text}");
    let late = now() + 3650 * 86_400 - 3 * 86_400 / 2;
    let (_, text) = certs_at(late, dir.path(), "client --dir {} late").expect("issued");
    assert!(text.contains("it expires on ") && text.contains(", in 1 day, because the CA does"), "{text}");
}

#[test]
fn the_fix_names_the_certificate_at_fault() {
    let dir = made();
    let at = dir.path().display();
    // Not in its CA's folder: the command writes another file, which the text names.
    std::fs::create_dir(dir.path().join("copied")).expect("a folder");
    std::fs::copy(dir.path().join("alice.pem"), dir.path().join("copied/a.pem")).expect("copied");
    let late = now() + 398 * 86_400;
    let (_, text) = certs_at(late, dir.path(), "check {}/copied/a.pem --ca {}/ca.pem").expect("it runs");
    let command = format!(
        "fix: latchkey certs client --dir {at} alice --san URI:spiffe://example/alice --force, which writes {at}/alice.pem"
    );
    assert!(text.contains(&command), "{text}");
    let (_, text) = certs_at(late, dir.path(), "check {}/copied/a.pem").expect("it runs");
    let command =
        format!("fix: latchkey certs init --dir {at}/copied && latchkey certs client --dir {at}/copied alice ");
    assert!(text.contains(&command) && !text.contains("--force"), "{text}");
    // An expired CA: webpki ignores the dates of trust anchors, the other verifiers do not.
    let (outcome, text) = certs_at(now() + 3651 * 86_400, dir.path(), "check {}/ca.pem").expect("it runs");
    assert!(outcome == Outcome::Faulty && text.matches("REJECTS it: it expired on").count() == 2, "{text}");
    assert!(text.contains(&format!("fix: latchkey certs init --dir {at} --force, and then issue all")), "{text}");
}

/// Serves TLS on a free port, one connection at a time, until the test ends.
fn serve(options: PolicyOptions) -> String {
    let policy = ServerPolicy::new(options).expect("a policy");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let run = move || {
        for socket in listener.incoming().flatten() {
            let mut first = [0; 4096];
            let length = socket.peek(&mut first).unwrap_or(0);
            let crate::tls::Choice::Start(start) = policy.choose(&first[..length]) else { continue };
            let connection = ServerConnection::new(start.config).expect("a connection");
            let mut stream = StreamOwned::new(connection, socket);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the other end of a real socket")]
    std::thread::spawn(run);
    address
}

fn identity(dir: &Path) -> PolicyOptions {
    let read = |name: &str| crate::cli::files::read(&dir.join(name)).expect("there");
    PolicyOptions { identities: vec![(read("localhost.pem"), read("localhost-key.pem"))], ..PolicyOptions::default() }
}

#[test]
fn check_reports_what_a_live_server_supports() {
    let dir = made();
    let address = serve(identity(dir.path()));
    let (outcome, text) = certs(dir.path(), &format!("check {address} --ca {{}}/ca.pem")).expect("it answers");
    assert_eq!(outcome, Outcome::Fine, "{text}");
    for part in [
        "TLS 1.3; TLS 1.2 also accepted",
        "X25519MLKEM768 (post-quantum; classical also accepted)",
        "issued by CN=latchkey CA",
        "localhost, 127.0.0.1",
        "verified with --ca",
        "need no certificate",
        "resumption    works",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, text) = certs(dir.path(), &format!("check {address}")).expect("it answers");
    assert!(text.contains("a client needs --ca FILE with the certificate of CN=latchkey CA"), "{text}");
}

#[test]
fn check_reports_a_listener_that_requires_client_certificates() {
    let dir = made();
    let client_ca = vec![crate::cli::files::read(&dir.path().join("ca.pem")).expect("there")];
    let strict =
        PolicyOptions { client_ca, post_quantum: PostQuantum::Require, tls_min: TlsMin::Tls13, ..identity(dir.path()) };
    let address = serve(strict);
    let (_, text) = certs(dir.path(), &format!("check {address} --ca {{}}/ca.pem")).expect("it answers");
    for part in ["TLS 1.3 only", "post-quantum, required", "must send a certificate", "CN=latchkey CA)", "not tried"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn check_of_a_server_without_tls_names_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let run = move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the other end of a real socket")]
    std::thread::spawn(run);
    let error = certs(Path::new("."), &format!("check {address}")).expect_err("no TLS");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(matches!(Failure::from(error), Failure::Other(_)));
}
