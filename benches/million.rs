//! Many idle TLS sessions in one process, on the simulated net: memory of each, and their effect on a turn.
//!
//! `cargo bench --bench million [-- SESSIONS]` opens that many sessions (default 1,000,000, which takes minutes), drops
//! the client's half of each after its handshake, and divides the growth of resident memory. Then a hundred remaining
//! clients send requests at once, while the rest is idle: reported is the CPU time of the server's turn, compared with
//! that at a thousand sessions. The figures include no kernel and no other process, but both ends of the simulated
//! sockets.

#[path = "world/mod.rs"]
mod world;

use std::io::Write;
use std::time::Duration;

use latchkey::internals::limits::Limits;
use latchkey::internals::net::sim::{NetFaults, SimSocket};
use latchkey::internals::server::{ListenerConfig, Security};
use latchkey::internals::services::Echo;
use latchkey::internals::testing::{Endpoints, Site, TestClient, drain, plain_listener};
use world::cpu_time;

const SESSIONS: usize = 1_000_000;
/// The number of sessions compared with.
const FEW: usize = 1_000;
const ACTIVE: usize = 100;
/// Rounds in which all active clients send a request; the median is reported.
const ROUNDS: usize = 1_001;

fn main() {
    let sessions = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(SESSIONS);
    let mut crowd = Crowd::new(sessions + ACTIVE);
    // The first sessions fill shared caches.
    let mut active: Vec<Client> = (0..ACTIVE).map(|_| crowd.connect()).collect();
    let mut silent = Vec::with_capacity(sessions);
    let before = resident_bytes();
    while silent.len() < FEW.min(sessions) {
        silent.push(crowd.connect().socket);
    }
    let few = crowd.turn_us(&mut active);
    while silent.len() < sessions {
        silent.push(crowd.connect().socket);
        if silent.len().is_multiple_of(100_000) {
            eprintln!("{} sessions, {} MiB resident", silent.len(), resident_bytes() >> 20);
        }
    }
    let growth = resident_bytes().saturating_sub(before);
    let many = crowd.turn_us(&mut active);
    assert_eq!(crowd.site.server.connections(), sessions + ACTIVE, "a session was lost");
    println!("idle TLS 1.3 sessions               {sessions}");
    println!("resident bytes for each             {}", growth / sessions.max(1));
    println!("resident GiB of the process         {:.2}", gib(resident_bytes()));
    println!("turn with {ACTIVE} active, {FEW} idle     {few:.1} us");
    println!("turn with {ACTIVE} active, all idle      {many:.1} us");
    println!("the second to the first             {:.3}", many / few);
}

/// A server, and the configuration of its clients.
struct Crowd {
    site: Site,
    endpoints: Endpoints,
}

struct Client {
    socket: SimSocket,
    tls: TestClient,
}

impl Crowd {
    fn new(connections: usize) -> Self {
        let endpoints = world::endpoints();
        let listener = ListenerConfig { security: Security::tls(endpoints.policy.clone()), ..plain_listener() };
        // A million sessions exceed the default limit.
        let limits = Limits { connections, client_memory: usize::MAX, ..Limits::default() };
        Self { site: Site::start(|_| Echo, NetFaults::none(), limits, vec![listener]), endpoints }
    }

    fn connect(&mut self) -> Client {
        let mut client = Client { socket: self.site.connect(), tls: TestClient::new(self.endpoints.client()) };
        self.run_until_idle();
        for _ in 0..10 {
            if !client.tls.is_handshaking() {
                break;
            }
            client.receive();
            self.run_until_idle();
        }
        assert!(!client.tls.is_handshaking(), "turned away");
        // The tickets of its handshake.
        client.receive();
        client
    }

    /// Runs the server and the network until nothing moves; returns the server's CPU time.
    fn run_until_idle(&mut self) -> Duration {
        let mut spent = Duration::ZERO;
        loop {
            let before = cpu_time();
            while self.site.server.turn().is_ok() {}
            spent += cpu_time().saturating_sub(before);
            match self.site.network.next_happening() {
                Some(next) => self.site.network.advance_to(next),
                None => return spent,
            }
        }
    }

    /// CPU time of the server's turns that answer all `active` clients, whose requests arrive at the same moment.
    fn turn_us(&mut self, active: &mut [Client]) -> f64 {
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| self.round(active)).collect();
        times.sort_by(f64::total_cmp);
        times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
    }

    fn round(&mut self, active: &mut [Client]) -> f64 {
        const MESSAGE: [u8; 32] = [7; 32];
        for client in active.iter_mut() {
            let bytes = client.tls.send(&MESSAGE);
            client.socket.write_all(&bytes).expect("there is room");
        }
        let spent = self.run_until_idle();
        for client in active {
            client.receive();
            assert_eq!(std::mem::take(&mut client.tls.received), MESSAGE);
        }
        spent.as_secs_f64() * 1e6
    }
}

impl Client {
    /// Reads what has arrived, and answers the handshake.
    fn receive(&mut self) {
        let (mut bytes, _) = drain(&mut self.socket);
        let flight = self.tls.receive(&mut bytes);
        assert!(self.tls.error.is_none(), "{:?}", self.tls.error);
        self.socket.write_all(&flight).expect("there is room");
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with two decimals")]
fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Resident memory of this process, from `/proc/self/statm`, in bytes.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split_whitespace().nth(1).expect("resident").parse().expect("pages");
    pages * PAGE_BYTES
}
