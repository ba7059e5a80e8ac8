//! Certificates and configurations for unit tests.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Session;

/// A server for `localhost` and a client that trusts it.
pub(crate) fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("certificate");
    let certificate: CertificateDer<'static> = made.cert.into();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("root");
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server.expect("server configuration")), Arc::new(client))
}

/// Both ends of a new connection.
pub(crate) fn sessions() -> (Session, Session) {
    let (server, client) = configs();
    let name = ServerName::try_from("localhost").expect("name");
    (Session::server(server).expect("server"), Session::client(client, name).expect("client"))
}
