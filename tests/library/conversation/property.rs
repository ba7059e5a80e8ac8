//! What holds for a whole conversation, whatever the client says: the server takes it as bytes, in whatever pieces they
//! come. Run over drawn bytes by the tests and over searched ones by the fuzz targets. Panics where a promise is broken.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use latchkey::internals::access::Security;
use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::limits::Limits;
use latchkey::internals::net::sim::{NetFaults, SimSocket};
use latchkey::internals::server::{ListenerConfig, Occupancy, Status};
use latchkey::internals::services::resp::RespOptions;
use latchkey::internals::services::xmlrpc::XmlRpcOptions;
use latchkey::internals::services::{Builtin, BuiltinOptions, Protocol};
use latchkey::internals::store::{Eviction, StoreOptions};
use latchkey::internals::testing::{Endpoints, Site, classical, plain_listener};
use latchkey::internals::tls::authority::KeyKind;
use rustls::ClientConnection;

/// How the client's bytes reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A plain listener.
    Plain,
    /// Encrypted by a client that does all else right.
    Tls,
    /// As they are, where TLS is spoken.
    Raw,
}

const PROTOCOLS: [Protocol; 4] = [Protocol::Echo, Protocol::XmlRpc, Protocol::Resp, Protocol::Admin];

/// Turns for one thing that happened, at most: a loop that needs more spins.
const TURNS: usize = 20_000;

/// What the client heard, and why the server says that it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    heard: Vec<u8>,
    reasons: BTreeMap<&'static str, u64>,
}

/// Small bounds, so that short conversations reach them.
fn limits() -> Limits {
    Limits {
        request_bytes: 4_000,
        output_bytes: 2_000,
        output_hard_bytes: 100_000,
        replies: 8,
        requests_per_turn: 3,
        transmit_bytes_per_turn: 3_000,
        // What the client has not heard when the server goes must still be on its way.
        linger_timeout: Duration::from_secs(20),
        ..Limits::default()
    }
}

/// Certificates, made once. The client's key exchange is the cheapest: what is said inside is what matters here.
fn endpoints() -> &'static Endpoints {
    static ENDPOINTS: OnceLock<Endpoints> = OnceLock::new();
    let versions = &[&rustls::version::TLS13];
    ENDPOINTS.get_or_init(|| Endpoints::new(KeyKind::Ed25519, classical(), versions).without_resumption())
}

struct Conversation {
    site: Site<Builtin>,
    socket: Option<SimSocket>,
    tls: Option<ClientConnection>,
    heard: Vec<u8>,
    said: usize,
}

impl Conversation {
    fn set(protocol: Protocol, line: Line) -> Self {
        let mut faults = NetFaults::none();
        // Nothing takes time, so no time is told differently to one who speaks in pieces.
        faults.latency = Duration::ZERO;
        let options = BuiltinOptions {
            listeners: vec![protocol],
            store: StoreOptions {
                max_memory: Some(1 << 20),
                eviction: Eviction::NoEviction,
                hash_key: [7; 16],
                ..StoreOptions::default()
            },
            xmlrpc: XmlRpcOptions::default(),
            resp: RespOptions { keys_per_step: 2, ..RespOptions::default() },
        };
        let security =
            if line == Line::Plain { Security::Plain } else { Security::tls(Arc::clone(&endpoints().policy)) };
        let listener = ListenerConfig { security, idle_timeout: Some(Duration::from_mins(5)), ..plain_listener() };
        let mut site = Site::start(|now| Builtin::new(options, now), faults, limits(), vec![listener]);
        let socket = site.connect();
        let tls = (line == Line::Tls).then(|| {
            let name = "localhost".try_into().expect("a name");
            ClientConnection::new(Arc::clone(&endpoints().config), name).expect("a client")
        });
        let mut conversation = Self { site, socket: Some(socket), tls, heard: Vec::new(), said: 0 };
        conversation.run_until_idle();
        conversation
    }

    /// Lets everybody act until nobody would: nothing takes time.
    fn run_until_idle(&mut self) {
        for _ in 0..TURNS {
            self.site.network.advance_to(self.site.network.now());
            match self.site.server.turn() {
                Ok(Status::Running) => {}
                Ok(Status::Stopped) => panic!("nobody has asked it to stop"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let limits = limits();
            // Vectors grow by doubling; one reply may be larger than what is usually kept waiting.
            let allowed = 4 * (limits.request_bytes + limits.output_bytes) + 2 * limits.output_hard_bytes + (1 << 17);
            let held = self.site.server.largest_connection();
            assert!(held <= allowed, "{held} bytes are held for one client, {allowed} are allowed");
            self.site.network.advance_to(self.site.network.now());
            if !self.hear() && !self.site.net.is_awake() {
                return;
            }
        }
        panic!("the loop spins: {:?}", self.site.server.occupancy());
    }

    /// Reads what has come; whether anything had.
    fn hear(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut bytes = Vec::new();
        // The end, or its loss, comes again at the next read.
        let _ = socket.read_to_end(&mut bytes);
        match &mut self.tls {
            None => self.heard.extend_from_slice(&bytes),
            Some(tls) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    if tls.read_tls(&mut rest).is_err() {
                        break;
                    }
                    let state = tls.process_new_packets().expect("what the server says is TLS");
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut plain).expect("it is there");
                    self.heard.extend_from_slice(&plain);
                }
            }
        }
        self.flush(&[]);
        !bytes.is_empty()
    }

    /// Sends what TLS owes the server, in pieces that end at `cuts`.
    fn flush(&mut self, cuts: &[usize]) {
        let mut bytes = Vec::new();
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_tls(&mut bytes).expect("into memory");
        }
        self.send(&bytes, cuts);
    }

    fn send(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for end in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
            while let Some(piece) = bytes.get(from..end.max(from)).filter(|piece| !piece.is_empty()) {
                let Some(socket) = &mut self.socket else { return };
                match socket.write(piece) {
                    Ok(count) => from += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.said < TURNS => self.said += 1,
                    // The server has gone, or will take no more.
                    Err(_) => return,
                }
                if from < bytes.len() {
                    self.run_until_idle();
                }
            }
        }
    }

    fn say(&mut self, bytes: &[u8], cuts: &[usize]) {
        match &mut self.tls {
            None => self.send(bytes, &[]),
            Some(tls) => {
                tls.writer().write_all(bytes).expect("into memory");
                self.flush(cuts);
            }
        }
        self.run_until_idle();
    }

    /// The client sends its end of stream, or waits until the server has had enough.
    fn end(mut self, fin: bool) -> Outcome {
        if fin {
            if let Some(tls) = &mut self.tls {
                tls.send_close_notify();
            }
            self.flush(&[]);
            if let Some(socket) = &self.socket {
                let _ = socket.shutdown_write();
            }
            self.run_until_idle();
        }
        for _ in 0..1_000 {
            if self.site.server.occupancy() == Occupancy::default() {
                let count = |reason: Disconnect| (reason.name(), self.site.server.metrics().disconnects(reason));
                let reasons = Disconnect::ALL.map(count).into_iter().filter(|(_, count)| *count > 0).collect();
                return Outcome { heard: self.heard, reasons };
            }
            // In steps, for keys that expire may want a tick ten times a second.
            if let Some(next) = self.site.net.wakes_at() {
                self.site.network.advance_to(next.max(self.site.network.now() + Duration::from_secs(5)));
            }
            self.run_until_idle();
        }
        panic!("left behind: {:?}", self.site.server.occupancy());
    }
}

fn converse(protocol: Protocol, line: Line, pieces: &[&[u8]], cuts: &[usize], fin: bool) -> Outcome {
    let mut conversation = Conversation::set(protocol, line);
    for piece in pieces {
        conversation.say(piece, cuts);
    }
    conversation.end(fin)
}

/// A conversation, of which the first byte says what about and how: the same bytes in pieces that end at `cuts` are
/// answered as they are in one, end for the same reason, cost no more than is allowed, and leave nothing behind.
pub(crate) fn conversation(line: Line, input: &[u8], cuts: &[usize]) {
    let Some((&how, said)) = input.split_first() else { return };
    let protocol = *PROTOCOLS.get(usize::from(how & 3)).expect("one of four");
    let fin = how & 4 != 0;
    let whole = converse(protocol, line, &[said], &[], fin);
    let mut pieces = Vec::new();
    let mut from = 0;
    for end in cuts.iter().copied().chain([said.len()]) {
        let end = end.clamp(from, said.len());
        pieces.push(said.get(from..end).unwrap_or_default());
        from = end;
    }
    let other = converse(protocol, line, &pieces, cuts, fin);
    assert_eq!(other.reasons, whole.reasons, "{protocol:?} {line:?} {}", said.escape_ascii());
    let (told, expected) = (comparable(protocol, line, &other.heard), comparable(protocol, line, &whole.heard));
    assert_eq!(
        told.escape_ascii().to_string(),
        expected.escape_ascii().to_string(),
        "{protocol:?} {line:?} {}",
        said.escape_ascii()
    );
}

/// Takes out what may differ: a client that has sent the body already gets no 100 Continue, a handshake is random, counters
/// count turns, and a client without TLS is answered at its first bytes, in the protocol that those few look like.
fn comparable(protocol: Protocol, line: Line, heard: &[u8]) -> Vec<u8> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const HANDSHAKE: &[u8] = &[22, 3];
    if line == Line::Raw && heard.starts_with(HANDSHAKE) {
        return heard.len().to_string().into_bytes();
    }
    if line == Line::Raw && (heard.starts_with(b"HTTP/1.1 400 ") || heard.starts_with(b"-ERR this port speaks TLS")) {
        return b"use TLS".to_vec();
    }
    if !matches!(protocol, Protocol::XmlRpc | Protocol::Admin) {
        return heard.to_vec();
    }
    let mut rest = heard;
    let mut kept = Vec::new();
    while let Some((&first, behind)) = rest.split_first() {
        rest = if let Some(behind) = rest.strip_prefix(CONTINUE) {
            behind
        } else {
            kept.push(first);
            behind
        };
    }
    if protocol == Protocol::Admin {
        kept.retain(|byte| !byte.is_ascii_digit());
    }
    kept
}
