//! One server connection and its TLS client, in memory: no sockets, no loop, no other process.
#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use latchkey::internals::connection::{Connection, Context, PeerId, PeerInfo, Phase, Service};
use latchkey::internals::limits::Limits;
use latchkey::internals::services::Echo;
use latchkey::internals::timer::Now;
use latchkey::internals::tls::authority::{Authority, KeyKind, Role, Subject};
use latchkey::internals::tls::{Outgoing, PemSource, PolicyOptions, ServerPolicy, ServerTrust, Session};
use rustix::time::{ClockId, clock_gettime};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;

/// What a loop lends to its connections, and the configuration of both sides.
pub(crate) struct World<S: Service> {
    pub(crate) context: Context<S>,
    server: Arc<ServerPolicy>,
    client: Arc<ClientConfig>,
}

/// A client and the server's connection to it.
pub(crate) struct Pair<S: Service> {
    pub(crate) connection: Box<Connection<S>>,
    client: Session,
    to_client: Pipe,
    to_server: Pipe,
}

impl World<Echo> {
    pub(crate) fn new() -> Self {
        Self::of(Echo)
    }
}

impl<S: Service> World<S> {
    #[expect(clippy::disallowed_methods, reason = "a bench needs some instant to count from")]
    pub(crate) fn of(service: S) -> Self {
        let now = Now { instant: Instant::now(), unix_ms: 0 };
        let (context, _) = Context::new(service, Limits::default(), Vec::new(), Arc::new(|| {}), now);
        let (server, client) = configurations();
        Self { context, server, client }
    }

    /// A connection after its handshake.
    pub(crate) fn open(&mut self) -> Pair<S> {
        self.handshake(|| Duration::ZERO).0
    }

    /// CPU time of the server's half of a handshake, from the accepted socket to the freed connection.
    pub(crate) fn handshake_cpu(&mut self) -> Duration {
        let (Pair { connection, .. }, spent) = self.handshake(cpu_time);
        let before = cpu_time();
        drop(connection);
        spent + cpu_time().saturating_sub(before)
    }

    /// A handshake, and the time of the server's half by `clock`. Under valgrind there is no usable clock.
    fn handshake(&mut self, clock: fn() -> Duration) -> (Pair<S>, Duration) {
        let name = ServerName::try_from("localhost").expect("name");
        let mut client = Session::client(Arc::clone(&self.client), name).expect("client");
        let (mut to_client, mut to_server) = (Pipe::default(), Pipe::default());
        let before = clock();
        let session = Session::accept(Arc::clone(&self.server));
        let id = PeerId { key: 0, generation: 0 };
        let address = ([127, 0, 0, 1], 1).into();
        let info = PeerInfo::new(id, 0, address, address);
        let mut connection = Box::new(Connection::new(session, info, None, None, &mut self.context));
        let mut spent = clock().saturating_sub(before);
        while client.is_handshaking() || connection.phase() == Phase::Handshaking {
            hear(&mut client, &mut to_client, &mut to_server);
            let before = clock();
            connection.note_event(true, true, false);
            connection.receive(&mut to_server, &mut self.context);
            connection.transmit(&mut to_client, &mut self.context);
            spent += clock().saturating_sub(before);
        }
        hear(&mut client, &mut to_client, &mut to_server);
        (Pair { connection, client, to_client, to_server }, spent)
    }

    /// The server's half of one exchange: reads what the client has sent, serves it and replies.
    pub(crate) fn serve(&mut self, pair: &mut Pair<S>) {
        pair.connection.note_event(true, false, false);
        pair.connection.receive(&mut pair.to_server, &mut self.context);
        pair.connection.transmit(&mut pair.to_client, &mut self.context);
    }
}

impl<S: Service> Pair<S> {
    /// The client sends `plaintext`.
    pub(crate) fn ask(&mut self, plaintext: &[u8]) {
        let mut output = Outgoing::default();
        self.client.send(plaintext, &mut [], &mut output).expect("encrypted");
        self.to_server.0.extend_from_slice(output.filled());
    }

    /// The replies that the client has received since its last request.
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let mut output = Outgoing::default();
        let received =
            self.client.receive(&mut self.to_client.0, &mut output, &mut |bytes| answer.extend_from_slice(bytes));
        self.to_client.0.drain(..received.consumed);
        answer
    }
}

fn hear(client: &mut Session, to_client: &mut Pipe, to_server: &mut Pipe) {
    let mut flight = Outgoing::default();
    let mut consumed = 0;
    loop {
        let received = client.receive(to_client.0.get_mut(consumed..).unwrap_or_default(), &mut flight, &mut |_| {});
        assert!(received.error.is_none(), "{:?}", received.error);
        consumed += received.consumed;
        if !received.opened {
            break;
        }
    }
    to_client.0.drain(..consumed);
    to_server.0.extend_from_slice(flight.filled());
}

/// Bytes in one direction.
#[derive(Default)]
pub(crate) struct Pipe(Vec<u8>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.0.as_slice().read(buffer)?;
        self.0.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server with an ECDSA P-256 certificate, and a client that verifies it and offers X25519.
pub(crate) fn configurations() -> (Arc<ServerPolicy>, Arc<ClientConfig>) {
    let now = unix_seconds();
    let authority = Authority::create(KeyKind::default(), "bench CA", now).expect("a CA");
    let subject = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
    let leaf = authority.issue(Role::Server, &subject, KeyKind::default(), now).expect("a leaf");
    let source = |name: &str, text: &str| PemSource { name: name.into(), bytes: text.as_bytes().to_vec() };
    let identities = vec![(source("server.pem", &leaf.certificate), source("server-key.pem", &leaf.key))];
    let policy = ServerPolicy::new(PolicyOptions { identities, ..PolicyOptions::default() }).expect("a policy");
    let ca = source("ca.pem", &authority.files().certificate);
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let trust = ServerTrust::new(&[ca], &provider).expect("trust");
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    (Arc::new(policy), Arc::new(client))
}

#[expect(clippy::disallowed_methods, reason = "certificates are valid from now on")]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// CPU time of this thread.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
