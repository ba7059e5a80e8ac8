//! Every limit of the server, in one place, each with a reason for its default.
//!
//! A limit that an operator may have to change has a flag, and each limit that ends a connection has its own reason in
//! the counters. Limits without a flag concern fairness between peers within a turn, or the final reply to a refused
//! peer: no other setting of them is better anywhere.

use std::time::Duration;

/// Limits on the resources that one peer, and all peers together, may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections over all listeners (`--max-connections`).
    pub connections: usize,
    /// Open connections to `--admin` listeners (`--admin-connections`). They do not count towards `connections`, so
    /// operators can connect to a server that is full. An operator gets a place when its handshake is done; as many
    /// handshakes may be under way besides. When all places are taken, a further operator takes a place of the clients;
    /// when those are taken too, it replaces the operator that has been silent for longest.
    pub admin_connections: usize,
    /// Connections beyond `connections` whose handshake is still done so that the client can read the refusal; for each
    /// address, as many beyond `connections_per_address`.
    pub refusals: usize,
    /// Open connections from one address (`--max-connections-per-address`); for IPv6, from one /64. Behind a balancer
    /// that sends PROXY headers, the address in the header counts.
    pub connections_per_address: Option<usize>,
    /// Handshakes under way with one address (`--max-handshakes-per-address`).
    pub handshakes_per_address: Option<usize>,
    /// Memory that all clients together may use, in bytes (`--max-client-memory`): buffers, requests, replies,
    /// transactions, and the fixed cost of a connection. Beyond it the clients that use most are closed and new ones
    /// are refused.
    pub client_memory: usize,
    /// One handshake message, by its declared length, in bytes (`--max-handshake`). The records that carry it may have
    /// a sixteenth more.
    pub handshake_bytes: usize,
    /// Certificates in the chain that a peer sends, its own included (`--max-chain`). A longer chain is not verified at
    /// all.
    pub chain_certificates: usize,
    /// From accept to a finished handshake (`--handshake-timeout`).
    pub handshake_timeout: Duration,
    /// From dialing a server to its answer (`--connect-timeout`).
    pub connect_timeout: Duration,
    /// From the first byte of a request's head to its last, in protocols that have heads (`--header-timeout`).
    pub header_timeout: Duration,
    /// From the first byte of a request to its last (`--request-timeout`).
    pub request_timeout: Duration,
    /// How long a peer may acknowledge none of the bytes waiting for it, or too few for `write_rate`
    /// (`--write-timeout`). Acknowledgements count, not room in the socket's buffer.
    pub write_timeout: Duration,
    /// Bytes a second that a peer must take, on average over `write_timeout`, while more wait for it
    /// (`--min-write-rate`).
    pub write_rate: usize,
    /// How long nothing may move in one direction of a connection after the other has ended (`--half-close-timeout`).
    pub half_close_timeout: Duration,
    /// A socket that is silent for this long sends TCP keepalive probes (`--tcp-keepalive`).
    pub keepalive: Option<Duration>,
    /// How long to wait for the peer's end of stream after our close_notify.
    pub linger_timeout: Duration,
    /// After SIGTERM, how long open connections may take to finish (`--drain-timeout`).
    pub drain_timeout: Duration,
    /// One request, head and body, in bytes (`--max-request`).
    pub request_bytes: usize,
    /// One XML-RPC call, head and body, in bytes, and the values in its reply, as XML (`--max-call`). The loop reads
    /// and writes them within one turn.
    pub call_bytes: usize,
    /// Encoded replies waiting for one peer, in bytes, beyond which its requests are not decoded (`--max-output`).
    pub output_bytes: usize,
    /// Encoded replies waiting for one peer, in bytes, beyond which it is closed (`--max-output-hard`): one reply may
    /// be larger than `output_bytes`, and many deferred ones may be completed at once.
    pub output_hard_bytes: usize,
    /// Replies owed to one peer, beyond which its requests are not decoded.
    pub replies: usize,
    /// Peers worked on, closed or freed in one turn, so that many of them do not make one long turn.
    pub peers_per_turn: usize,
    /// Requests served for one peer in one turn, so that a pipelining peer cannot starve the others.
    pub requests_per_turn: usize,
    /// Bytes written to one peer in one turn, for the same reason.
    pub transmit_bytes_per_turn: usize,
    /// Connections accepted in one turn from one listener.
    pub accepts_per_turn: usize,
    /// Time spent on handshakes in one turn, before established peers are looked at again (`--handshake-slice`).
    pub handshake_slice: Duration,
}

impl Limits {
    /// The longest handshake message that rustls accepts, in bytes.
    pub const LONGEST_HANDSHAKE: usize = (64 << 10) - 1;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The usual hard limit on descriptors; lowered at start to what the process really has.
            connections: 1_000_000,
            // Two metrics collectors, the probes of an orchestrator and a person, each twice because old connections
            // may not have been closed.
            admin_connections: 16,
            // Enough that a client can see why it is refused, too few to matter as load.
            refusals: 64,
            // Off: an address may stand for one household or a whole country, and only the operator knows which.
            connections_per_address: None,
            // Off, for the same reason.
            handshakes_per_address: None,
            // Room for eight of the largest requests at once. The program replaces it by a share of the machine's
            // memory.
            client_memory: 1 << 30,
            // The most that rustls accepts. A client's certificate with all its issuers has some 5 KiB, some 20 with
            // post-quantum signatures.
            handshake_bytes: Self::LONGEST_HANDSHAKE,
            // The end entity's, the six between it and the root that webpki would use at most, and the root.
            chain_certificates: 8,
            // Ten seconds cover a satellite link and three lost SYNs.
            handshake_timeout: Duration::from_secs(10),
            // Two lost SYNs; after that the client should get an error.
            connect_timeout: Duration::from_secs(5),
            // A head fits a packet or two.
            header_timeout: Duration::from_secs(10),
            // The largest request at 18 Mbit/s.
            request_timeout: Duration::from_secs(30),
            // Long enough for a tunnel, an elevator or a closed laptop lid, not for a night.
            write_timeout: Duration::from_mins(1),
            // Slower than any modem since 1990; a full default buffer is held for a quarter of an hour at most.
            write_rate: 1 << 10,
            // A client may end its request with FIN, and the reply may take long to compute, but not without end.
            half_close_timeout: Duration::from_mins(5),
            // As in Redis. A probe costs two packets, and the place of a lost client is free in six minutes.
            keepalive: Some(Duration::from_mins(5)),
            // A round trip and one lost packet; later bytes would be discarded anyway.
            linger_timeout: Duration::from_secs(2),
            // Kubernetes gives thirty seconds, systemd ninety: most of it is left for closing the store.
            drain_timeout: Duration::from_secs(10),
            // Twice the largest value a key/value client should send in one piece.
            request_bytes: 64 << 20,
            // A value of 16 MiB with its markup; some two milliseconds a megabyte to read, three to write.
            call_bytes: 17 << 20,
            // What a fast line carries while the loop serves the other peers.
            output_bytes: 1 << 20,
            // Four of the largest requests: as XML, a value may take that much more room than it was sent in.
            output_hard_bytes: 256 << 20,
            // More than any client pipelines for speed; each costs a slot of 32 bytes.
            replies: 1024,
            // As many as one poll reports.
            peers_per_turn: 1024,
            // Well under a millisecond of small commands.
            requests_per_turn: 128,
            // Well under a millisecond of encryption.
            transmit_bytes_per_turn: 256 << 10,
            // Well under a millisecond of system calls.
            accepts_per_turn: 32,
            // A handshake or two: the most that an established peer waits for.
            handshake_slice: Duration::from_millis(1),
        }
    }
}
