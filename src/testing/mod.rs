//! Test doubles: what a test builds instead of a CA, a client, a network or a loop of the real world. Unit tests,
//! integration tests and benches share them; no other build contains them.
//!
//! | double | stands for |
//! |---|---|
//! | [`TestPki`], [`Endpoints`], [`handshake`] | certificates, what both ends are configured with, a handshake in memory |
//! | [`TestClient`] | a TLS client: bytes of the wire in and out |
//! | [`Pair`] | a connection of the server and its client, with all bytes in memory |
//! | [`Site`] | a server on the simulated network, with its clock |
//! | [`TestPeer`] | the peer of a service's calls, without a connection |
//! | [`ProtocolBench`] | a protocol over a store, called as the loop would |
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on must fail"
)]

mod certificates;
mod client;
mod pair;
mod peer;
mod protocol;
mod site;

pub use certificates::{
    Clock, DAY, Endpoints, Handshaken, NOW, TestPki, classical, client_config, client_config_with, converse, files_of,
    handshake, leaf, sessions, sessions_in_small_records, sessions_over, source,
};
pub use client::TestClient;
pub use pair::{IDLE, Pair, Pipe};
pub use peer::TestPeer;
pub use protocol::ProtocolBench;
pub use site::{Site, deliver, drain, plain_listener};

use crate::timer::Now;

/// Some instant to count from, and this wall-clock time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "an instant can only be made from the real clock")]
pub fn now(unix_ms: u64) -> Now {
    Now { instant: std::time::Instant::now(), unix_ms }
}
