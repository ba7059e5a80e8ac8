//! Certificates, the configurations made of them, and handshakes in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, ServerConnection, SideData, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::tls::authority::{Authority, Issued, KeyKind, Role, Subject};
use crate::tls::{Choice, Handshake, PemSource, PolicyOptions, ServerPolicy, ServerTrust, Session, Witness};

/// The time at which test certificates are made.
pub const NOW: u64 = 1_800_000_000;
/// A day in seconds.
pub const DAY: u64 = 24 * 60 * 60;

/// A clock that tests set.
#[derive(Debug)]
pub struct Clock(Mutex<u64>);

impl Clock {
    /// A clock that shows `now`, in seconds after 1970, until it is set.
    pub fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    /// Sets the time.
    pub fn set(&self, now: u64) {
        *self.0.lock().expect("not poisoned") = now;
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(*self.0.lock().expect("not poisoned"))))
    }
}

/// A file with this name and content.
pub fn source(name: &str, text: &str) -> PemSource {
    PemSource { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// The files of a certificate and its key.
pub fn files_of(issued: &Issued) -> (PemSource, PemSource) {
    (source("cert.pem", &issued.certificate), source("key.pem", &issued.key))
}

/// A certificate in DER.
pub fn leaf(issued: &Issued) -> CertificateDer<'static> {
    source("cert.pem", &issued.certificate).certificates().expect("a certificate").swap_remove(0)
}

/// A CA with a server's and a client's certificate.
pub struct TestPki {
    /// The CA.
    pub authority: Authority,
    /// The certificate of `localhost`.
    pub server: Issued,
    /// The certificate of the client `alice`.
    pub client: Issued,
}

impl Default for TestPki {
    fn default() -> Self {
        Self::new()
    }
}

impl TestPki {
    /// Certificates with Ed25519 keys: its signatures have a fixed length.
    pub fn new() -> Self {
        Self::of(KeyKind::Ed25519)
    }

    /// Certificates with keys of this kind.
    pub fn of(keys: KeyKind) -> Self {
        let authority = Authority::create(keys, "test CA", NOW).expect("a CA");
        let host = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
        let server = authority.issue(Role::Server, &host, keys, NOW).expect("a leaf");
        let client = Self::client_of(&authority, "alice");
        Self { authority, server, client }
    }

    /// A client's certificate, with an Ed25519 key.
    pub fn client_of(authority: &Authority, name: &str) -> Issued {
        let subject = Subject::named(name, &[]).expect("a name");
        authority.issue(Role::Client, &subject, KeyKind::Ed25519, NOW).expect("a leaf")
    }

    /// The CA's certificate.
    pub fn ca(&self) -> PemSource {
        source("ca.pem", &self.authority.files().certificate)
    }

    /// A listener with the server's certificate that requests no client certificates.
    pub fn options(&self, clock: &Arc<Clock>) -> PolicyOptions {
        PolicyOptions { identities: vec![files_of(&self.server)], clock: clock.clone(), ..PolicyOptions::default() }
    }

    /// A listener that requires certificates of the CA.
    pub fn mutual(&self, clock: &Arc<Clock>) -> PolicyOptions {
        PolicyOptions { client_ca: vec![self.ca()], ..self.options(clock) }
    }

    /// A client that trusts the CA.
    pub fn client_config(&self, identity: Option<&Issued>, clock: &Arc<Clock>) -> Arc<ClientConfig> {
        let trust = ServerTrust::new(&[self.ca()], &aws_lc_rs::default_provider()).expect("a CA");
        client_config(trust, identity, clock, rustls::ALL_VERSIONS)
    }
}

/// A client with the default algorithms and this trust.
pub fn client_config(
    trust: Arc<ServerTrust>,
    identity: Option<&Issued>,
    clock: &Arc<Clock>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    Arc::new(client_config_with(aws_lc_rs::default_provider(), trust, identity, clock, versions))
}

/// A client with the algorithms of `provider`.
pub fn client_config_with(
    provider: CryptoProvider,
    trust: Arc<ServerTrust>,
    identity: Option<&Issued>,
    clock: &Arc<Clock>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_details(Arc::new(provider), clock.clone())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(trust);
    match identity {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let (chain, key) = files_of(issued);
            let chain = chain.certificates().expect("a certificate");
            builder.with_client_auth_cert(chain, key.private_key().expect("a key")).expect("a pair")
        }
    }
}

/// The default algorithms with X25519 as the only group: the cheapest key exchange.
pub fn classical() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() }
}

/// A server's policy and the configuration of its clients.
#[derive(Clone)]
pub struct Endpoints {
    /// The server demands no client certificates.
    pub policy: Arc<ServerPolicy>,
    /// The clients trust the server's CA.
    pub config: Arc<ClientConfig>,
}

impl Endpoints {
    /// A server with keys of this kind, and clients with the algorithms of `provider` in these versions.
    pub fn new(keys: KeyKind, provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let (pki, clock) = (TestPki::of(keys), Clock::at(NOW));
        let policy = ServerPolicy::new(pki.options(&clock)).expect("a policy");
        let trust = ServerTrust::new(&[pki.ca()], &provider).expect("a CA");
        let config = client_config_with(provider, trust, None, &clock, versions);
        Self { policy: Arc::new(policy), config: Arc::new(config) }
    }

    /// The same with clients that never resume a session.
    #[must_use]
    pub fn without_resumption(mut self) -> Self {
        Arc::make_mut(&mut self.config).resumption = Resumption::disabled();
        self
    }

    /// Both ends of a new connection, as the loop drives them.
    pub fn sessions(&self) -> (Session, Session) {
        (Session::accept(Arc::clone(&self.policy)), self.client())
    }

    /// The client's end of a new connection.
    pub fn client(&self) -> Session {
        let name = "localhost".try_into().expect("a name");
        Session::client(Arc::clone(&self.config), name).expect("a usable configuration")
    }
}

/// Both ends of a new connection, as the loop drives them.
pub fn sessions() -> (Session, Session) {
    sessions_over(rustls::ALL_VERSIONS, aws_lc_rs::ALL_CIPHER_SUITES)
}

/// The same, in these versions and suites.
pub fn sessions_over(
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
) -> (Session, Session) {
    let provider = CryptoProvider { cipher_suites: suites.to_vec(), ..aws_lc_rs::default_provider() };
    Endpoints::new(KeyKind::Ed25519, provider, versions).sessions()
}

/// As [`sessions`], with certificates on both sides, and a client whose messages span several records.
pub fn sessions_in_small_records() -> (Session, Session) {
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    let policy = ServerPolicy::new(pki.mutual(&clock)).expect("a policy");
    let mut config = pki.client_config(Some(&pki.client), &clock);
    Arc::make_mut(&mut config).max_fragment_size = Some(64);
    Endpoints { policy: Arc::new(policy), config }.sessions()
}

/// Both ends of a finished handshake.
#[derive(Debug)]
pub struct Handshaken {
    /// The client's end.
    pub client: ClientConnection,
    /// The server's end.
    pub server: ServerConnection,
    /// What the server has verified, where it requests certificates.
    pub witness: Option<Witness>,
}

/// Performs a handshake with `localhost` under `policy`; the error is that of the side that failed first.
pub fn handshake(config: &Arc<ClientConfig>, policy: &ServerPolicy) -> Result<Handshaken, rustls::Error> {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(config.clone(), name).expect("a usable configuration");
    let hello = unsent(&mut client);
    let Choice::Start(Handshake { config, witness }) = policy.choose(&hello) else { panic!("a whole hello") };
    let mut server = ServerConnection::new(config).expect("a usable configuration");
    deliver(&hello, &mut server)?;
    converse(&mut client, &mut server)?;
    Ok(Handshaken { client, server, witness })
}

/// Carries what each end has to send to the other, until neither has anything. The error is that of the side that failed
/// first.
pub fn converse(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    while client.wants_write() || server.wants_write() {
        deliver(&unsent(client), server)?;
        deliver(&unsent(server), client)?;
    }
    Ok(())
}

fn unsent<D: SideData>(from: &mut ConnectionCommon<D>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("into memory");
    }
    bytes
}

fn deliver<D: SideData>(mut bytes: &[u8], to: &mut ConnectionCommon<D>) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).expect("from memory");
        to.process_new_packets()?;
    }
    Ok(())
}
