//! Every bound the server keeps, in one place, each with a reason for its default.
//!
//! What an operator may have to decide has a flag, and whatever ends a connection has a name of its own among the counters.
//! What has no flag is about fairness between peers within a turn, or about the last words to one: no setting of these would
//! be better anywhere.

use std::time::Duration;

/// Bounds on what one peer, and all peers together, may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections over all listeners (`--max-connections`).
    pub connections: usize,
    /// Open connections to listeners for operators that are no client's (`--admin-connections`), so that who watches a full
    /// server sees that it is full. A place is granted behind the handshake. As many handshakes may be under way besides.
    /// Who comes when the places are taken takes a client's, and when those are taken too, that of the operator from which
    /// nothing was heard for longest.
    pub admin_connections: usize,
    /// Connections past `connections` that are still handshaken so that the refusal can be read. As many past
    /// `connections_per_address`, for each address.
    pub refusals: usize,
    /// Open connections from one address (`--max-connections-per-address`); for IPv6, from one /64. Where a balancer
    /// announces its clients, theirs is the address that counts.
    pub connections_per_address: Option<usize>,
    /// Handshakes under way with one address (`--max-handshakes-per-address`).
    pub handshakes_per_address: Option<usize>,
    /// What all clients together may hold, in bytes (`--max-client-memory`): buffers, requests, replies, transactions,
    /// and what a connection costs by being there. Past it, whoever holds most is closed; newcomers are turned away.
    pub client_memory: usize,
    /// One message of a handshake, by the length that it declares, in bytes (`--max-handshake`); what carries it may have a
    /// sixteenth more.
    pub handshake_bytes: usize,
    /// Certificates in the chain that a peer shows, its own included (`--max-chain`). More are not verified at all.
    pub chain_certificates: usize,
    /// From accept to a finished handshake (`--handshake-timeout`).
    pub handshake_timeout: Duration,
    /// From dialing a server to its answer (`--connect-timeout`).
    pub connect_timeout: Duration,
    /// From the first byte of a request's head to its last, where the protocol has heads (`--header-timeout`).
    pub header_timeout: Duration,
    /// From the first byte of a request to its last (`--request-timeout`).
    pub request_timeout: Duration,
    /// A peer that takes none of the bytes waiting for it, or too few for `write_rate` (`--write-timeout`). To take is to
    /// acknowledge, not to have a socket with room.
    pub write_timeout: Duration,
    /// Bytes a second that a peer must take, on average over `write_timeout`, while more wait for it
    /// (`--min-write-rate`).
    pub write_rate: usize,
    /// One direction of a connection is over and nothing moves in the other (`--half-close-timeout`).
    pub half_close_timeout: Duration,
    /// A socket that is silent for so long is asked by TCP whether its other end is still there (`--tcp-keepalive`).
    pub keepalive: Option<Duration>,
    /// After our close_notify, how long the peer's end of stream is awaited.
    pub linger_timeout: Duration,
    /// After SIGTERM, how long open connections may take to finish (`--drain-timeout`).
    pub drain_timeout: Duration,
    /// One request, head and body, in bytes (`--max-request`).
    pub request_bytes: usize,
    /// One call of XML-RPC, head and body, in bytes, and the values in its reply, as XML (`--max-call`). The loop reads and
    /// writes them within one turn.
    pub call_bytes: usize,
    /// Encoded replies waiting for one peer, in bytes, before its requests are no longer decoded (`--max-output`).
    pub output_bytes: usize,
    /// Encoded replies waiting for one peer, in bytes, before it is closed (`--max-output-hard`): one reply may be larger
    /// than `output_bytes`, and deferred ones may all be completed at once.
    pub output_hard_bytes: usize,
    /// Replies one peer may be owed before its requests are no longer decoded.
    pub replies: usize,
    /// Peers worked on, ended or freed in one turn, so that a crowd of them does not make one long turn.
    pub peers_per_turn: usize,
    /// Requests served for one peer in one turn, so that a pipelining peer cannot starve its neighbours.
    pub requests_per_turn: usize,
    /// Bytes written to one peer in one turn, for the same reason.
    pub transmit_bytes_per_turn: usize,
    /// New sockets taken in one turn from one listener.
    pub accepts_per_turn: usize,
    /// Time spent on handshakes in one turn, before established peers are looked at again (`--handshake-slice`).
    pub handshake_slice: Duration,
}

impl Limits {
    /// The longest message of a handshake that rustls takes, in bytes.
    pub const LONGEST_HANDSHAKE: usize = (64 << 10) - 1;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The usual hard limit on descriptors; lowered at start to what the process really has.
            connections: 1_000_000,
            // Two collectors of counters, the probes of an orchestrator and a person, each twice for want of a good-bye.
            admin_connections: 16,
            // Enough that whoever looks hears why, too few to be a crowd of their own.
            refusals: 64,
            // Off: behind one address may be a household or a country, and only the operator knows which.
            connections_per_address: None,
            // Off, for the same reason.
            handshakes_per_address: None,
            // Room for eight of the largest requests at once; the program asks the machine instead.
            client_memory: 1 << 30,
            // As much as rustls takes. A client's certificate with all its issuers has some 5 KiB, some 20 with post-quantum
            // signatures.
            handshake_bytes: Self::LONGEST_HANDSHAKE,
            // The end entity's, the six between it and the root that webpki would use at most, and the root.
            chain_certificates: 8,
            // Ten seconds cover a satellite link and three lost SYNs, and no more.
            handshake_timeout: Duration::from_secs(10),
            // Two lost SYNs, then the client had better hear about it.
            connect_timeout: Duration::from_secs(5),
            // A head is a packet or two.
            header_timeout: Duration::from_secs(10),
            // The largest request at 18 Mbit/s.
            request_timeout: Duration::from_secs(30),
            // A tunnel, an elevator, a laptop's lid; not a night.
            write_timeout: Duration::from_mins(1),
            // Slower than any modem since 1990; the usual buffer is held for a quarter of an hour at most.
            write_rate: 1 << 10,
            // A client may end its request with FIN and the answer may take long to work out, but not for ever.
            half_close_timeout: Duration::from_mins(5),
            // As in Redis. A question costs two packets, and the place of a lost client is free in six minutes.
            keepalive: Some(Duration::from_mins(5)),
            // A round trip and a lost packet: what comes later would be thrown away anyhow.
            linger_timeout: Duration::from_secs(2),
            // Kubernetes gives thirty seconds, systemd ninety: most of them is left for closing the store.
            drain_timeout: Duration::from_secs(10),
            // Twice the largest value a key/value client should send in one piece.
            request_bytes: 64 << 20,
            // A value of 16 MiB with its markup; some two milliseconds a megabyte to read, three to write.
            call_bytes: 17 << 20,
            // What a fast line carries while the loop looks at everybody else.
            output_bytes: 1 << 20,
            // Four of the largest requests: as XML, a value may take that much more room than it was sent in.
            output_hard_bytes: 256 << 20,
            // More than any client pipelines for speed; each costs a slot of 32 bytes.
            replies: 1024,
            // As many as one poll tells of.
            peers_per_turn: 1024,
            // Well under a millisecond of small commands.
            requests_per_turn: 128,
            // As much of encryption.
            transmit_bytes_per_turn: 256 << 10,
            // As much of system calls.
            accepts_per_turn: 32,
            // A handshake or two: what an established peer waits for at most.
            handshake_slice: Duration::from_millis(1),
        }
    }
}
