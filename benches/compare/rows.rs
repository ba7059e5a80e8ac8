//! The table of rows.

use super::peers::Peer::{
    self, Haproxy, HaproxyEcho, HaproxyWrap, InMemory, Latchkey, LatchkeyPlain, LatchkeyWrap, LatchkeyWrapEcho,
    LoadClient, Nginx, Python, Redis, RedisBenchmark, RedisPlain, StunnelWrap, Tokio,
};

/// A row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// Latchkey first.
    pub(crate) peers: &'static [Peer],
    pub(crate) take: Take,
    /// The goals: for our figure divided by a peer's, or for our figure itself.
    pub(crate) goals: &'static [(Option<Peer>, Goal)],
    pub(crate) rounds: u32,
}

/// A bound.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// What is measured; words are arguments of `latchkey load`.
pub(crate) enum Take {
    /// The server's CPU time per request, in microseconds.
    CpuPerRequest(&'static [&'static str]),
    /// The server's CPU time per 10^9 bytes, both directions added, in seconds.
    CpuPerGigabyte(&'static [&'static str]),
    /// Requests per second of the server's CPU time.
    PerCpuSecond(&'static [&'static str]),
    /// The client's CPU time per request, half GET and half SET of 32 bytes over 50 connections, in microseconds.
    ClientCpu { pipeline: &'static str, requests: u32 },
    /// The server's resident memory per idle connection, in KiB.
    IdleKib(&'static [&'static str]),
    /// The p99 latency of connected clients while 300 others handshake, in milliseconds.
    StormP99,
    /// Connections made by those others meanwhile.
    StormConnections,
    /// Requests per second, counted by wrk.
    WrkRate,
    /// Bytes of resident memory per key, with this many keys of a load.
    BytesPerKey(u64),
    /// The maximum wait of one client while another loads this many keys, in milliseconds.
    StallWhileLoading(u64),
}

const NONE: &[(Option<Peer>, Goal)] = &[];

/// Nearly a second of requests for each core; slow servers need more.
const TIME: &str = "2s";

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "resp-1",
        what: "GET/SET 10:1, 32 B, 50 connections, pipeline 1, TLS 1.3: server CPU a request",
        unit: "us",
        peers: &[Latchkey, Redis],
        take: Take::CpuPerRequest(&["resp", "--duration", TIME]),
        goals: &[(Some(Redis), Goal::AtMost(0.62))],
        rounds: 5,
    },
    Row {
        name: "resp-16",
        what: "GET/SET 10:1, 32 B, 50 connections, pipeline 16, TLS 1.3: server CPU a request",
        unit: "us",
        peers: &[Latchkey, Redis],
        take: Take::CpuPerRequest(&["resp", "--pipeline", "16", "--duration", TIME]),
        goals: &[(Some(Redis), Goal::AtMost(0.50))],
        rounds: 5,
    },
    Row {
        name: "plain-1",
        what: "GET/SET 10:1, pipeline 1: TLS beside our own plain listener",
        unit: "us",
        peers: &[Latchkey, LatchkeyPlain],
        take: Take::CpuPerRequest(&["resp", "--duration", TIME]),
        goals: &[(Some(LatchkeyPlain), Goal::AtMost(1.15))],
        rounds: 5,
    },
    Row {
        name: "plain-16",
        what: "GET/SET 10:1, pipeline 16: TLS beside our own plain listener",
        unit: "us",
        peers: &[Latchkey, LatchkeyPlain],
        take: Take::CpuPerRequest(&["resp", "--pipeline", "16", "--duration", TIME]),
        goals: NONE,
        rounds: 5,
    },
    Row {
        name: "handshake-full",
        what: "full TLS 1.3 handshake, ECDSA P-256, X25519, accept and close included: server CPU",
        unit: "us",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio, InMemory],
        take: Take::CpuPerRequest(&["handshake", "--tls", "1.3", "--pq", "off", "--duration", TIME]),
        goals: &[(Some(Nginx), Goal::AtMost(0.45)), (Some(InMemory), Goal::AtMost(1.35))],
        rounds: 3,
    },
    Row {
        name: "handshake-128",
        what: "the same with TLS_AES_128_GCM_SHA256, the suite that every server must have (RFC 8446, 9.1)",
        unit: "us",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio],
        take: Take::CpuPerRequest(&[
            "handshake",
            "--tls",
            "1.3",
            "--pq",
            "off",
            "--suites",
            "TLS_AES_128_GCM_SHA256",
            "--duration",
            TIME,
        ]),
        goals: &[(Some(Nginx), Goal::AtMost(0.45))],
        rounds: 3,
    },
    Row {
        name: "handshake-pq",
        what: "full TLS 1.3 handshake, ECDSA P-256, X25519MLKEM768: server CPU",
        unit: "us",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio],
        take: Take::CpuPerRequest(&["handshake", "--tls", "1.3", "--pq", "require", "--duration", TIME]),
        goals: NONE,
        rounds: 3,
    },
    Row {
        name: "handshake-resumed-13",
        what: "resumed TLS 1.3 handshake, X25519: server CPU",
        unit: "us",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio],
        take: Take::CpuPerRequest(&[
            "handshake",
            "--tls",
            "1.3",
            "--pq",
            "off",
            "--resume",
            "tickets",
            "--duration",
            TIME,
        ]),
        goals: &[(Some(Nginx), Goal::AtMost(0.6)), (Some(Haproxy), Goal::AtMost(0.6))],
        rounds: 3,
    },
    Row {
        name: "handshake-resumed-12",
        what: "resumed TLS 1.2 handshake: server CPU",
        unit: "us",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio],
        take: Take::CpuPerRequest(&[
            "handshake",
            "--tls",
            "1.2",
            "--pq",
            "off",
            "--resume",
            "tickets",
            "--duration",
            TIME,
        ]),
        goals: &[(Some(Nginx), Goal::AtMost(0.6)), (Some(Haproxy), Goal::AtMost(0.6))],
        rounds: 3,
    },
    Row {
        name: "idle",
        what: "15,000 idle TLS 1.3 connections: resident memory of each",
        unit: "KiB",
        peers: &[Latchkey, Nginx, Haproxy, Redis, Tokio],
        take: Take::IdleKib(&["idle", "--connections", "15000", "--speak", "resp", "--duration", "3s"]),
        goals: &[(None, Goal::AtMost(4.2))],
        rounds: 1,
    },
    Row {
        name: "storm-p99",
        what: "p99 of 20 connected clients while 300 handshake as fast as they can",
        unit: "ms",
        peers: &[Latchkey, Redis],
        take: Take::StormP99,
        goals: &[(None, Goal::AtMost(2.0)), (Some(Redis), Goal::AtMost(0.2))],
        rounds: 3,
    },
    Row {
        name: "storm-connections",
        what: "connections that those 300 make meanwhile, in 5 s",
        unit: "",
        peers: &[Latchkey, Redis],
        take: Take::StormConnections,
        goals: &[(Some(Redis), Goal::AtLeast(1.5))],
        rounds: 3,
    },
    Row {
        name: "xmlrpc-python",
        what: "XML-RPC get and set 10:1, kept connections: server CPU a request",
        unit: "us",
        peers: &[Latchkey, Python],
        take: Take::CpuPerRequest(&["xmlrpc", "--keys", "100", "--connections", "10", "--duration", TIME]),
        goals: &[(Some(Python), Goal::AtMost(0.033))],
        rounds: 3,
    },
    Row {
        name: "xmlrpc-wrk",
        what: "XML-RPC get beside nginx's fixed answer, 50 connections of wrk: requests a second",
        unit: "/s",
        peers: &[Latchkey, Nginx],
        take: Take::WrkRate,
        goals: &[(Some(Nginx), Goal::AtLeast(0.85))],
        rounds: 3,
    },
    Row {
        name: "echo-bulk",
        what: "echo of 1 MB messages: server CPU for 1 GB",
        unit: "s",
        peers: &[Latchkey, LatchkeyPlain, Tokio],
        take: Take::CpuPerGigabyte(&["echo", "--value-size", "1000000", "--connections", "4", "--duration", TIME]),
        goals: &[(Some(LatchkeyPlain), Goal::AtMost(1.5))],
        rounds: 3,
    },
    // HAProxy has no echo service: it pays for a second, plain leg to the server behind it, and so does `wrap`.
    Row {
        name: "echo-bulk-wrap",
        what: "TLS before a plain echo server, messages of 1 MB: wrapper's CPU for 1 GB, both legs included",
        unit: "s",
        peers: &[LatchkeyWrapEcho, HaproxyEcho],
        take: Take::CpuPerGigabyte(&["echo", "--value-size", "1000000", "--connections", "4", "--duration", TIME]),
        goals: &[(Some(HaproxyEcho), Goal::AtMost(1.0))],
        rounds: 3,
    },
    Row {
        name: "keys-memory",
        what: "3,000,000 keys of a load with values of 32 B: resident memory of each (without TLS)",
        unit: "B",
        peers: &[LatchkeyPlain, RedisPlain],
        take: Take::BytesPerKey(3_000_000),
        goals: &[(None, Goal::AtMost(80.0))],
        rounds: 1,
    },
    Row {
        name: "keys-stall",
        what: "longest wait of one client while another loads 10,000,000 keys (benches/table.rs has the turn itself)",
        unit: "ms",
        peers: &[LatchkeyPlain, RedisPlain],
        take: Take::StallWhileLoading(10_000_000),
        goals: NONE,
        rounds: 1,
    },
    Row {
        name: "tokio-echo",
        what: "echo of 32 B messages, 50 connections: server CPU a message",
        unit: "us",
        peers: &[Latchkey, Tokio],
        take: Take::CpuPerRequest(&["echo", "--duration", TIME]),
        goals: &[(Some(Tokio), Goal::AtMost(1.0))],
        rounds: 5,
    },
    Row {
        name: "tokio-idle",
        what: "5,000 idle echo connections: resident memory of each",
        unit: "KiB",
        peers: &[Latchkey, Tokio],
        take: Take::IdleKib(&["idle", "--connections", "5000", "--duration", "3s"]),
        goals: &[(Some(Tokio), Goal::AtMost(1.0))],
        rounds: 1,
    },
    Row {
        name: "client-1",
        what: "redis-server over TLS, GET/SET 1:1, 32 B, 50 connections, pipeline 1: the client's CPU a request",
        unit: "us",
        peers: &[LoadClient, RedisBenchmark],
        take: Take::ClientCpu { pipeline: "1", requests: 200_000 },
        goals: &[(Some(RedisBenchmark), Goal::AtMost(0.77))],
        rounds: 3,
    },
    Row {
        name: "client-16",
        what: "redis-server over TLS, GET/SET 1:1, 32 B, 50 connections, pipeline 16: the client's CPU a request",
        unit: "us",
        peers: &[LoadClient, RedisBenchmark],
        take: Take::ClientCpu { pipeline: "16", requests: 2_000_000 },
        goals: &[(Some(RedisBenchmark), Goal::AtMost(0.77))],
        rounds: 3,
    },
    Row {
        name: "wrap-request",
        what: "TLS before a plain redis-server, GET/SET 10:1, 32 B, 50 connections: wrapper's CPU a request",
        unit: "us",
        peers: &[LatchkeyWrap, HaproxyWrap, StunnelWrap],
        take: Take::CpuPerRequest(&["resp", "--duration", TIME]),
        goals: &[(Some(HaproxyWrap), Goal::AtMost(0.75))],
        rounds: 5,
    },
    Row {
        name: "wrap-bulk",
        what: "the same, values of 1 MB: wrapper's CPU for 1 GB",
        unit: "s",
        peers: &[LatchkeyWrap, HaproxyWrap, StunnelWrap],
        take: Take::CpuPerGigabyte(&[
            "resp",
            "--value-size",
            "1000000",
            "--keys",
            "20",
            "--ratio",
            "1:1",
            "--connections",
            "4",
            "--duration",
            TIME,
        ]),
        goals: &[(Some(HaproxyWrap), Goal::AtMost(0.75))],
        rounds: 3,
    },
    Row {
        name: "wrap-handshake",
        what: "full TLS 1.3 handshakes for each second of the wrapper's CPU",
        unit: "/s",
        peers: &[LatchkeyWrap, HaproxyWrap, StunnelWrap],
        take: Take::PerCpuSecond(&["handshake", "--tls", "1.3", "--duration", TIME]),
        goals: &[(Some(HaproxyWrap), Goal::AtLeast(1.0))],
        rounds: 3,
    },
    Row {
        name: "wrap-idle",
        what: "1,500 idle connections through the wrapper: resident memory of each",
        unit: "KiB",
        peers: &[LatchkeyWrap, HaproxyWrap, StunnelWrap],
        take: Take::IdleKib(&["idle", "--connections", "1500", "--speak", "resp", "--duration", "3s"]),
        goals: &[(Some(HaproxyWrap), Goal::AtMost(0.5))],
        rounds: 1,
    },
];
