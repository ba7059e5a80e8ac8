//! Every flag of trust has an effect that a real peer can see.

use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{Server, certs, fail, latchkey, python, run, succeed};
use latchkey::internals::tls::ServerTrust;
use latchkey::internals::tls::authority::{Authority, KeyKind, Role, Subject};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{ClientConfig, ClientConnection, NamedGroup};

/// A folder with a CA, two servers' certificates and two clients'.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost --san IP:127.0.0.1");
    certs(dir.path(), "server other.example");
    certs(dir.path(), "client alice --san URI:spiffe://example/alice");
    certs(dir.path(), "client bob --key-type ed25519");
    dir
}

fn flags(flags: &str) -> Vec<&str> {
    let named = "--echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem";
    named.split_whitespace().chain(flags.split_whitespace()).collect()
}

/// Starts an echo server with a certificate of the folder's CA and these flags.
fn start(dir: tempfile::TempDir, more: &str) -> Server {
    // The program is told relative names, which stand in its folder.
    Server::start_in(dir, &flags(more))
}

/// Starts nothing: the server must refuse, with exit code 2 and a sentence that it returns.
fn refuse(dir: &Path, more: &str) -> String {
    fail(latchkey().arg("serve").args(flags(more)).current_dir(dir), 2)
}

/// What a Python client with strict verification sees.
fn probe(server: &Server, more: &str) -> String {
    let port = server.port("echo").to_string();
    let mut command: Command = python("probe.py");
    succeed(command.arg(port).args(more.split_whitespace()).current_dir(server.dir.path()))
}

#[test]
fn the_oldest_version_can_be_raised() {
    let server = start(folder(), "");
    assert_eq!(probe(&server, "--max 1.2"), "TLSv1.2 localhost full");
    let server = start(folder(), "--tls-min 1.3");
    assert_eq!(probe(&server, ""), "TLSv1.3 localhost full");
    assert!(probe(&server, "--max 1.2").starts_with("refused"));
    server.logged("reason=\"handshake\"");
}

#[test]
fn the_post_quantum_group_can_be_required_and_switched_off() {
    for (flag, seen) in [
        ("", "X25519MLKEM768 (post-quantum; classical also accepted)"),
        ("--pq require", "X25519MLKEM768 (post-quantum, required)"),
        ("--pq off", "X25519 (classical"),
    ] {
        let server = start(folder(), flag);
        let text = certs(server.dir.path(), &format!("check {} --ca certs/ca.pem", server.address("echo")));
        assert!(text.contains(seen), "{flag}: {text}");
    }
}

/// The group that a client agrees on with the server which knows `groups`, in this order.
fn agreed_group(server: &Server, groups: &[&'static dyn SupportedKxGroup]) -> NamedGroup {
    let provider = CryptoProvider { kx_groups: groups.to_vec(), ..aws_lc_rs::default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(ServerTrust::insecure(&provider))
        .with_no_client_auth();
    let mut client =
        ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a client");
    let mut socket = TcpStream::connect(server.address("echo")).expect("connected");
    while client.is_handshaking() {
        client.complete_io(&mut socket).expect("a handshake");
    }
    client.negotiated_key_exchange_group().expect("a group").name()
}

#[test]
fn two_peers_that_know_the_post_quantum_group_never_agree_on_a_classical_one() {
    let server = start(folder(), "");
    for groups in [
        [kx_group::X25519, kx_group::X25519MLKEM768],
        [kx_group::X25519MLKEM768, kx_group::X25519],
        [kx_group::SECP256R1, kx_group::X25519MLKEM768],
    ] {
        assert_eq!(agreed_group(&server, &groups), NamedGroup::X25519MLKEM768, "{groups:?}");
    }
    assert_eq!(agreed_group(&server, &[kx_group::X25519]), NamedGroup::X25519);
}

#[test]
fn curl_calls_with_a_certificate_and_not_without() {
    let server = start(folder(), "--xmlrpc 127.0.0.1:0 --client-ca certs/ca.pem");
    let url = format!("https://localhost:{}/RPC2", server.port("xmlrpc"));
    let call = "<methodCall><methodName>system.listMethods</methodName><params/></methodCall>";
    let curl = |identity: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--cacert", "certs/ca.pem", "--data", call, &url]).args(identity);
        run(command.arg("--header").arg("Content-Type: text/xml").current_dir(server.dir.path()))
    };
    let with = curl(&["--cert", "certs/alice.pem", "--key", "certs/alice-key.pem"]);
    assert!(String::from_utf8_lossy(&with.stdout).contains("<string>keys</string>"), "{with:?}");
    let without = curl(&[]);
    assert!(!without.status.success() && without.stdout.is_empty(), "{without:?}");
    server.logged("reason=\"certificate\"");
}

#[test]
fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let server = start(folder(), "--cert certs/other.example.pem --key certs/other.example-key.pem");
    assert_eq!(probe(&server, "--name other.example"), "TLSv1.3 other.example full");
    assert_eq!(probe(&server, "--name localhost"), "TLSv1.3 localhost full");
}

#[test]
fn naming_a_client_ca_means_that_certificates_are_required() {
    let server = start(folder(), "--client-ca certs/ca.pem");
    server.logged("client certificate required (1 CA), revocation not checked; pass --crl");
    assert!(probe(&server, "").starts_with("refused"));
    server.logged("reason=\"certificate\"");
    assert_eq!(probe(&server, "--identity alice"), "TLSv1.3 localhost full");
    assert!(probe(&server, "--identity localhost").starts_with("refused"), "a server's certificate is no client's");

    let server = start(folder(), "--client-ca certs/ca.pem --client-auth optional");
    assert_eq!(probe(&server, ""), "TLSv1.3 localhost full");
}

#[test]
fn development_keys_that_others_can_read_need_the_same_word() {
    let mut server = Server::start(&["--echo", "127.0.0.1:0"]);
    assert_eq!(server.stop(), Some(0));
    for name in ["ca-key.pem", "server-key.pem", "client-key.pem"] {
        let permit = |dir: &Path, mode| {
            std::fs::set_permissions(dir.join("certs").join(name), Permissions::from_mode(mode)).expect("changed");
        };
        permit(server.dir.path(), 0o644);
        let arguments = ["serve", "--echo", "127.0.0.1:0"];
        let error = fail(latchkey().args(arguments).current_dir(server.dir.path()), 2);
        assert!(
            error.contains("readable by everyone") && error.contains(&format!("chmod 600 certs/{name}")),
            "{error}"
        );
        let mut allowed = latchkey();
        allowed.args(arguments).arg("--allow-readable-key");
        let dir = std::mem::replace(&mut server.dir, tempfile::tempdir().expect("a folder"));
        let mut allowed = Server::spawn(allowed, dir, 1);
        assert_eq!(allowed.stop(), Some(0));
        server.dir = std::mem::replace(&mut allowed.dir, tempfile::tempdir().expect("a folder"));
        permit(server.dir.path(), 0o600);
    }
}

#[test]
fn a_pinned_client_is_let_in_and_nobody_else() {
    let server = start(folder(), "--client-pin certs/alice.pem");
    server.logged("client certificate required (1 pin)");
    assert_eq!(probe(&server, "--identity alice"), "TLSv1.3 localhost full");
    assert!(probe(&server, "--identity bob").starts_with("refused"));
}

#[test]
fn a_revoked_client_is_refused() {
    let dir = folder();
    certs(dir.path(), "revoke certs/alice.pem");
    let server = start(dir, "--client-ca certs/ca.pem --crl certs/crl.pem");
    server.logged("1 CRL until ");
    assert_eq!(probe(&server, "--identity alice"), "refused: SSLV3_ALERT_CERTIFICATE_REVOKED");
    server.logged("reason=\"certificate\"");
    assert_eq!(probe(&server, "--identity bob"), "TLSv1.3 localhost full");
}

#[test]
fn resuming_ends_with_the_time_for_reauthentication() {
    for version in ["1.2", "1.3"] {
        let probe_twice = |server: &Server, wait: &str| {
            probe(server, &format!("--identity alice --max {version} --again {wait}")).lines().last().map(str::to_owned)
        };
        let expected = |kind: &str| Some(format!("TLSv{version} localhost {kind}"));
        let server = start(folder(), "--client-ca certs/ca.pem");
        assert_eq!(probe_twice(&server, "0"), expected("resumed"));
        let server = start(folder(), "--client-ca certs/ca.pem --reauth-after 1s");
        assert_eq!(probe_twice(&server, "3"), expected("full"));
    }
}

#[test]
fn options_that_cannot_be_enforced_refuse_to_start() {
    let dir = folder();
    let other = folder();
    certs(other.path(), "revoke");
    std::fs::copy(other.path().join("certs/crl.pem"), dir.path().join("foreign.pem")).expect("copied");
    for (more, parts) in [
        ("--client-auth required", &["--client-auth required", "--client-ca"][..]),
        ("--client-ca certs/ca.pem --client-auth none", &["--client-auth none contradicts"]),
        ("--crl foreign.pem", &["--client-ca"]),
        ("--client-ca certs/ca.pem --crl foreign.pem", &["foreign.pem", "not signed with that CA's key"]),
        ("--client-ca certs/ca-key.pem", &["certs/ca-key.pem", "exchanged"]),
        ("--client-ca certs/alice.pem", &["certs/alice.pem", "--client-pin"]),
        ("--cert certs/other.example.pem", &["--key", "1 for 2"]),
        ("--cert certs/other.example.pem --key certs/alice-key.pem", &["certs/alice-key.pem", "does not belong"]),
    ] {
        let error = refuse(dir.path(), more);
        assert!(parts.iter().all(|part| error.contains(part)), "{more}: {error}");
    }
}

#[test]
fn a_private_key_that_others_can_read_needs_a_word() {
    let dir = folder();
    let key = dir.path().join("certs/localhost-key.pem");
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("changed");
    let error = refuse(dir.path(), "");
    assert!(error.contains("readable by its group") && error.contains("chmod 600"), "{error}");
    let server = start(dir, "--allow-readable-key");
    assert_eq!(probe(&server, ""), "TLSv1.3 localhost full");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what has ended, the real clock tells")]
fn trust_that_has_ended_and_a_certificate_that_soon_does_are_said_at_start() {
    const DAY: u64 = 24 * 60 * 60;
    let dir = folder();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let authority = |name, made| Authority::create(KeyKind::default(), name, made).expect("a CA");
    let write = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("changed");
    };
    write("old-ca.pem", &authority("old CA", now - 20 * 365 * DAY).files().certificate);
    let host = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
    // A leaf is issued for 397 days.
    let made = now - 390 * DAY;
    let ending = authority("CA", made).issue(Role::Server, &host, KeyKind::default(), made).expect("issued");
    write("ending.pem", &ending.certificate);
    write("ending-key.pem", &ending.key);
    let line = "--echo 127.0.0.1:0 --cert ending.pem --key ending-key.pem --client-ca old-ca.pem";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    let said = server.logged("expires in");
    assert!(said.contains("localhost expires in 6 days") || said.contains("localhost expires in 7 days"), "{said}");
    let said = server.logged("a certificate in --client-ca or --client-pin is no longer valid");
    assert!(said.contains("old CA expired on"), "{said}");
}

#[test]
fn keys_are_not_served_to_everybody_on_the_network_unless_that_is_asked_for() {
    let dir = folder();
    std::fs::write(dir.path().join("rules.toml"), "[[rule]]\ncn = 'alice'\ngrant = ['read', 'metrics']\n")
        .expect("rules");
    for listener in ["--resp 0.0.0.0:0", "--xmlrpc 0.0.0.0:0", "--admin 0.0.0.0:0", "--resp [::]:0"] {
        for auth in ["", "--client-ca certs/ca.pem --client-auth optional"] {
            let flag = listener.split(' ').next().expect("a flag");
            let error = refuse(dir.path(), &format!("{listener} {auth}"));
            let parts = [flag, "--client-ca", "loopback", "--allow-anonymous"];
            assert!(parts.iter().all(|part| error.contains(part)), "{listener} {auth}: {error}");
        }
    }
    for more in [
        "--resp 0.0.0.0:0 --allow-anonymous",
        "--resp 0.0.0.0:0 --client-ca certs/ca.pem",
        "--resp 0.0.0.0:0 --client-pin certs/alice.pem",
        "--resp 0.0.0.0:0 --client-ca certs/ca.pem --client-auth optional --authorize rules.toml",
    ] {
        start(folder_like(dir.path()), more);
    }
    // With the development identity it is the same, and a server beyond this machine is warned about it.
    let lone = tempfile::tempdir().expect("a folder");
    let error = fail(latchkey().args(["serve", "--resp", "0.0.0.0:0"]).current_dir(lone.path()), 2);
    assert!(error.contains("--allow-anonymous"), "{error}");
    assert!(!lone.path().join("certs").exists(), "what cannot be done leaves nothing behind");
    let server = Server::start_in(lone, &["--echo", "0.0.0.0:0"]);
    server.logged("the development certificate is for localhost only");
}

/// A copy of a folder.
fn folder_like(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let to = copy.path().to_str().expect("a path");
    succeed(Command::new("cp").args(["-a", "."]).arg(to).current_dir(dir));
    copy
}

#[test]
fn faults_of_certificates_and_keys_are_said_in_words() {
    let dir = folder();
    // Exchanged, and readable by everyone as certificates are.
    let exchanged = "serve --echo 127.0.0.1:0 --cert certs/localhost-key.pem --key certs/localhost.pem";
    let error = fail(latchkey().args(exchanged.split(' ')).current_dir(dir.path()), 2);
    assert!(error.contains("exchanged") && !error.contains("chmod"), "{error}");
    let server = start(folder_like(dir.path()), "");
    let line =
        format!("connect {} --ca certs/ca.pem --cert certs/alice.pem --key certs/bob-key.pem", server.address("echo"));
    let error = fail(latchkey().args(line.split(' ')).current_dir(dir.path()), 2);
    assert!(error.contains("certs/bob-key.pem does not belong to the certificate in certs/alice.pem"), "{error}");
}

#[test]
fn a_server_certificate_without_names_is_warned_of_at_start() {
    let dir = folder();
    let openssl = "req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 9 -subj /CN=localhost";
    succeed(Command::new("openssl").args(openssl.split(' ')).current_dir(dir.path()));
    let line = ["--echo", "127.0.0.1:0", "--cert", "c.pem", "--key", "k.pem"];
    Server::start_in(dir, &line).logged("the certificate of CN=localhost has no DNS name or address in subjectAltName");
}
