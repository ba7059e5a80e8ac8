//! Chains that would take seconds to search are refused unsearched, by the real programs on either side.

use std::net::TcpListener;
use std::sync::Arc;

use crate::common::{Server, certs, fail, latchkey};
use latchkey::internals::tls::ServerTrust;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

/// So many forged CAs of 180 bytes each hold webpki for seconds.
const FORGED: usize = 101;

/// A leaf and `FORGED` CAs above it that share a name and differ in their keys.
fn forged() -> Arc<CertifiedKey> {
    let parameters = |name| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    };
    let (mut of_ca, leaf_key) = (parameters("forged"), KeyPair::generate().expect("a key"));
    of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&of_ca, KeyPair::generate().expect("a key"));
    let leaf = parameters("leaf").signed_by(&leaf_key, &issuer).expect("a certificate");
    let mut chain = vec![leaf.der().clone()];
    for _ in 0..FORGED {
        let key = KeyPair::generate().expect("a key");
        chain.push(of_ca.signed_by(&key, &issuer).expect("a certificate").der().clone());
    }
    let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
    Arc::new(CertifiedKey::new(chain, key))
}

/// Connects to an address with the forged chain; how the handshake ends.
fn show_to(address: &str) -> String {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(ServerTrust::insecure(&provider))
        .with_no_client_auth();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&forged())));
    let name = "localhost".try_into().expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(client, crate::common::tls::dial(address));
    std::io::copy(&mut stream, &mut std::io::sink()).expect_err("it is refused").to_string()
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[expect(clippy::disallowed_methods, reason = "a peer lives beside the program under test")]
/// A server that shows the forged chain to `count` clients; its port.
fn false_server(count: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(forged())));
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().take(count) {
            let server = ServerConnection::new(config.clone()).expect("a server");
            let _ = std::io::copy(&mut StreamOwned::new(server, socket.expect("a client")), &mut std::io::sink());
        }
    });
    port
}

#[test]
fn a_forged_chain_of_a_client_is_refused_unsearched() {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    let named = "--echo 127.0.0.1:0 --admin 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem \
                 --client-ca certs/ca.pem --max-handshake 64k";
    let server = Server::start_in(dir, &named.split_whitespace().collect::<Vec<_>>());
    let error = show_to(&server.address("echo"));
    assert!(error.contains("CertificateUnknown"), "{error}");
    let line = server.logged("reason=\"chain\"");
    assert!(line.contains("the chain has 102 certificates, more than the 8 allowed (--max-chain)"), "{line}");
}

#[test]
fn a_forged_chain_of_a_server_is_refused_unsearched() {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    let port = false_server(3);
    let target = format!("localhost:{port}");
    for arguments in [
        &["call", &format!("https://{target}/"), "--ca", "certs/ca.pem", "ping"][..],
        &["connect", &target, "--ca", "certs/ca.pem"],
    ] {
        let error = fail(latchkey().args(arguments).current_dir(dir.path()), 1);
        assert!(error.contains("the chain has 102 certificates"), "{arguments:?}: {error}");
    }

    let mut command = latchkey();
    command.args(["wrap", "--originate", "--listen", "plain://127.0.0.1:0", "--ca", "certs/ca.pem", "--to", &target]);
    let wrap = Server::spawn(command, dir, 1);
    let _client = crate::common::tls::dial(&wrap.address("wrap"));
    let line = wrap.logged("reason=\"chain\"");
    assert!(line.contains("the chain has 102 certificates"), "{line}");
}

#[test]
fn the_limit_on_a_chain_can_be_set_where_a_chain_is_verified() {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    let named = "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem";
    for (more, part) in [
        ("--max-chain 4", "client certificates are not requested"),
        ("--client-ca certs/ca.pem --max-chain 0", "from 1 to 64"),
        ("--client-ca certs/ca.pem --max-chain 65", "from 1 to 64"),
    ] {
        let error = fail(latchkey().args(format!("{named} {more}").split_whitespace()).current_dir(dir.path()), 2);
        assert!(error.contains("--max-chain") && error.contains(part), "{more}: {error}");
    }
    let line = format!("{named} --client-ca certs/ca.pem --max-chain 1");
    let server = Server::start_in(dir, &line.split_whitespace().skip(1).collect::<Vec<_>>());
    show_to(&server.address("echo"));
    server.logged("more than the 1 allowed");
}
