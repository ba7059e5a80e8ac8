//! Certificates and handshakes in memory, for tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::tls::authority::{Authority, Issued, KeyKind, Role, Subject};
use crate::tls::{Choice, Handshake, PemSource, PolicyOptions, ServerPolicy, ServerTrust, Session, Witness};

/// The time at which test certificates are made.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// A clock that tests set.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<u64>);

impl Clock {
    pub(crate) fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    pub(crate) fn set(&self, now: u64) {
        *self.0.lock().expect("not poisoned") = now;
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(*self.0.lock().expect("not poisoned"))))
    }
}

pub(crate) fn source(name: &str, text: &str) -> PemSource {
    PemSource { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

pub(crate) fn files_of(issued: &Issued) -> (PemSource, PemSource) {
    (source("cert.pem", &issued.certificate), source("key.pem", &issued.key))
}

pub(crate) fn leaf(issued: &Issued) -> CertificateDer<'static> {
    source("cert.pem", &issued.certificate).certificates().expect("a certificate").swap_remove(0)
}

/// A CA with a server's and a client's certificate.
pub(crate) struct TestPki {
    pub(crate) authority: Authority,
    pub(crate) server: Issued,
    pub(crate) client: Issued,
}

impl TestPki {
    pub(crate) fn new() -> Self {
        let authority = Authority::create(KeyKind::Ed25519, "test CA", NOW).expect("a CA");
        let host = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
        let server = authority.issue(Role::Server, &host, KeyKind::Ed25519, NOW).expect("a leaf");
        let client = Self::client_of(&authority, "alice");
        Self { authority, server, client }
    }

    pub(crate) fn client_of(authority: &Authority, name: &str) -> Issued {
        let subject = Subject::named(name, &[]).expect("a name");
        authority.issue(Role::Client, &subject, KeyKind::Ed25519, NOW).expect("a leaf")
    }

    pub(crate) fn ca(&self) -> PemSource {
        source("ca.pem", &self.authority.files().certificate)
    }

    /// A listener with the server's certificate that requests no client certificates.
    pub(crate) fn options(&self, clock: &Arc<Clock>) -> PolicyOptions {
        PolicyOptions { identities: vec![files_of(&self.server)], clock: clock.clone(), ..PolicyOptions::default() }
    }

    /// A listener that requires certificates of the CA.
    pub(crate) fn mutual(&self, clock: &Arc<Clock>) -> PolicyOptions {
        PolicyOptions { client_ca: vec![self.ca()], ..self.options(clock) }
    }

    /// A client that trusts the CA.
    pub(crate) fn client_config(&self, identity: Option<&Issued>, clock: &Arc<Clock>) -> Arc<ClientConfig> {
        let trust = ServerTrust::new(&[self.ca()], &aws_lc_rs::default_provider()).expect("a CA");
        client_config(trust, identity, clock, rustls::ALL_VERSIONS)
    }
}

pub(crate) fn client_config(
    trust: Arc<ServerTrust>,
    identity: Option<&Issued>,
    clock: &Arc<Clock>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(provider, clock.clone())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(trust);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let (chain, key) = files_of(issued);
            let chain = chain.certificates().expect("a certificate");
            builder.with_client_auth_cert(chain, key.private_key().expect("a key")).expect("a pair")
        }
    })
}

/// Both ends of a new connection, as the loop drives them.
pub(crate) fn sessions() -> (Session, Session) {
    sessions_over(rustls::ALL_VERSIONS, aws_lc_rs::ALL_CIPHER_SUITES)
}

/// The same, in these versions and suites.
pub(crate) fn sessions_over(
    versions: &[&'static rustls::SupportedProtocolVersion],
    suites: &[rustls::SupportedCipherSuite],
) -> (Session, Session) {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let policy = ServerPolicy::new(pki.options(&clock)).expect("a policy");
    let name = "localhost".try_into().expect("a name");
    let provider = rustls::crypto::CryptoProvider { cipher_suites: suites.to_vec(), ..aws_lc_rs::default_provider() };
    let config = ClientConfig::builder_with_details(Arc::new(provider.clone()), clock.clone())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(ServerTrust::new(&[pki.ca()], &provider).expect("a CA"))
        .with_no_client_auth();
    let client = Session::client(Arc::new(config), name).expect("a usable configuration");
    (Session::accept(Arc::new(policy)), client)
}

/// As [`sessions`], with certificates on both sides, and a client whose messages span several records.
pub(crate) fn sessions_in_small_records() -> (Session, Session) {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let policy = ServerPolicy::new(pki.mutual(&clock)).expect("a policy");
    let mut config = ClientConfig::clone(&pki.client_config(Some(&pki.client), &clock));
    config.max_fragment_size = Some(64);
    let client = Session::client(Arc::new(config), "localhost".try_into().expect("a name"));
    (Session::accept(Arc::new(policy)), client.expect("a usable configuration"))
}

/// Both ends of a finished handshake.
#[derive(Debug)]
pub(crate) struct Handshaken {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    pub(crate) witness: Option<Witness>,
}

/// Performs a handshake with `localhost` under `policy`; the error is that of the side that failed first.
pub(crate) fn handshake(config: &Arc<ClientConfig>, policy: &ServerPolicy) -> Result<Handshaken, rustls::Error> {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(config.clone(), name).expect("a usable configuration");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    let Choice::Start(Handshake { config, witness }) = policy.choose(&bytes) else { panic!("a whole hello") };
    let mut server = ServerConnection::new(config).expect("a usable configuration");
    while !bytes.is_empty() {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("from memory");
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("into memory");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("from memory");
            client.process_new_packets()?;
        }
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("into memory");
        }
    }
    Ok(Handshaken { client, server, witness })
}
