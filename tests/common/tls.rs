//! A TLS client that is not this project's own: the buffered connection of rustls over a blocking socket.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{PATIENCE, Server};

/// A connection to a server, encrypted.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A configuration that believes in the server's development CA.
pub fn config(server: &Server) -> Arc<ClientConfig> {
    let ca = CertificateDer::from_pem_file(server.certificate("ca.pem")).expect("the CA");
    let mut roots = RootCertStore::empty();
    roots.add(ca).expect("a CA certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A socket to `address` on which nothing can hang for ever.
pub fn dial(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("timeout");
    socket.set_nodelay(true).expect("no delay");
    socket
}

/// The handshake with a server of this folder, not begun until the first read or write.
pub fn wrap(config: &Arc<ClientConfig>, socket: TcpStream) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a client"), socket)
}

/// Connects to `protocol` over TLS.
pub fn connect(server: &Server, protocol: &str) -> Tls {
    wrap(&config(server), dial(&server.address_at(protocol, "tls")))
}
