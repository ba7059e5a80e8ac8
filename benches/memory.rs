//! What an idle TLS session costs: resident memory per session, C allocations included.
//!
//! `cargo bench --bench memory [-- SESSIONS]` opens that many sessions in memory (20,000 unless told), drops the client
//! of each, and divides the growth of the resident set.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use latchkey::connection::{Connection, Mailbox, PeerId, PeerInfo, Phase, Scratch, Turn};
use latchkey::limits::Limits;
use latchkey::metrics::Metrics;
use latchkey::services::Echo;
use latchkey::timer::Now;
use latchkey::tls::{Outgoing, Session};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

fn main() {
    let sessions = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(20_000_u32);
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
            now: Now { instant: Instant::now(), unix_ms: 0 },
        }
    }

    fn open(&mut self, server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Box<Connection<Echo>> {
        let name = ServerName::try_from("localhost").expect("name");
        let mut client = Session::client(Arc::clone(client), name).expect("client");
        let server = Session::server(Arc::clone(server)).expect("server");
        let id = PeerId { key: 0, generation: 0 };
        let info = PeerInfo { id, listener: 0, address: ([127, 0, 0, 1], 1).into(), identity: None };
        let mut turn = Turn {
            service: &mut self.echo,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            limits: &self.limits,
            mailbox: &self.mailbox,
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

fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("certificate");
    let certificate: CertificateDer<'static> = made.cert.into();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("root");
    let mut server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).expect("server");
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// The resident set of this process, from `/proc/self/statm`, in bytes.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split_whitespace().nth(1).expect("resident").parse().expect("pages");
    pages * PAGE_BYTES
}
