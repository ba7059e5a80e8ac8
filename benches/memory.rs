//! What an idle TLS session costs: resident memory per session, C allocations included.
//!
//! `cargo bench --bench memory [-- SESSIONS]` opens that many sessions in memory (20,000 unless told), drops the client
//! of each, and divides the growth of the resident set.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use latchkey::connection::{Addresses, Connection, Effects, Mailbox, PeerId, PeerInfo, Phase, Scratch, Turn};
use latchkey::limits::Limits;
use latchkey::metrics::Metrics;
use latchkey::services::Echo;
use latchkey::timer::Now;
use latchkey::tls::authority::{Authority, KeyKind, Role, Subject};
use latchkey::tls::{Outgoing, PolicyOptions, ServerPolicy, ServerTrust, Session, Source};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;

fn main() {
    let sessions = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(20_000_u32);
    let (server, client) = configurations();
    let mut world = World::new();
    // The first sessions fill caches that all share.
    let mut open: Vec<_> = (0..200).map(|_| world.open(&server, &client)).collect();
    let before = resident_bytes();
    open.extend((0..sessions).map(|_| world.open(&server, &client)));
    let growth = resident_bytes().saturating_sub(before);
    let owned: usize = open.iter().map(|connection| connection.memory()).sum();
    println!("idle TLS 1.3 sessions          {sessions}");
    println!("resident bytes per session     {}", growth / sessions as usize);
    println!("  of these, our own structure  {}", size_of::<Connection<Echo>>());
    println!("  and buffers it still holds   {}", owned / open.len());
}

/// What a loop would lend its connections.
struct World {
    echo: Echo,
    scratch: Scratch,
    metrics: Metrics,
    limits: Limits,
    mailbox: Mailbox,
    effects: Effects,
    addresses: Addresses,
    now: Now,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a bench needs some instant to count from")]
    fn new() -> Self {
        let (mailbox, _) = Mailbox::new(Arc::new(|| {}));
        Self {
            echo: Echo,
            scratch: Scratch::default(),
            metrics: Metrics::default(),
            limits: Limits::default(),
            mailbox,
            effects: Effects::default(),
            addresses: Addresses::default(),
            now: Now { instant: Instant::now(), unix_ms: 0 },
        }
    }

    fn open(&mut self, server: &Arc<ServerPolicy>, client: &Arc<ClientConfig>) -> Box<Connection<Echo>> {
        let name = ServerName::try_from("localhost").expect("name");
        let mut client = Session::client(Arc::clone(client), name).expect("client");
        let server = Session::accept(Arc::clone(server));
        let id = PeerId { key: 0, generation: 0 };
        let address = ([127, 0, 0, 1], 1).into();
        let info = PeerInfo::new(id, 0, address, address);
        let mut turn = Turn {
            service: &mut self.echo,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            limits: &self.limits,
            mailbox: &self.mailbox,
            effects: &mut self.effects,
            addresses: &mut self.addresses,
            security: &[],
            now: self.now,
        };
        let mut connection = Box::new(Connection::new(server, info, None, None, &mut turn));
        let (mut to_client, mut to_server) = (Pipe(Vec::new()), Pipe(Vec::new()));
        while client.is_handshaking() || connection.phase() == Phase::Handshaking {
            let mut flight = Outgoing::default();
            let _ = client.receive(&mut to_client.0, &mut flight, &mut |_| {});
            to_client.0.clear();
            to_server.0.extend_from_slice(flight.filled());
            connection.notice(true, true, false);
            connection.receive(&mut to_server, &mut turn);
            connection.transmit(&mut to_client, &mut turn);
        }
        connection
    }
}

struct Pipe(Vec<u8>);

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

fn configurations() -> (Arc<ServerPolicy>, Arc<ClientConfig>) {
    let now = unix_seconds();
    let authority = Authority::create(KeyKind::default(), "bench CA", now).expect("a CA");
    let subject = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
    let leaf = authority.issue(Role::Server, &subject, KeyKind::default(), now).expect("a leaf");
    let source = |name: &str, text: &str| Source { name: name.into(), bytes: text.as_bytes().to_vec() };
    let identities = vec![(source("server.pem", &leaf.certificate), source("server-key.pem", &leaf.key))];
    let policy = ServerPolicy::new(PolicyOptions { identities, ..PolicyOptions::default() }).expect("a policy");
    let ca = source("ca.pem", &authority.files().certificate);
    let trust = ServerTrust::new(&[ca], &aws_lc_rs::default_provider()).expect("trust");
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    (Arc::new(policy), Arc::new(client))
}

#[expect(clippy::disallowed_methods, reason = "certificates begin now")]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The resident set of this process, from `/proc/self/statm`, in bytes.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split_whitespace().nth(1).expect("resident").parse().expect("pages");
    pages * PAGE_BYTES
}
