//! What benches measure with, and the server's half of a handshake in memory.
#![allow(dead_code, reason = "each bench uses its part")]

use std::time::Duration;

use latchkey::internals::connection::Phase;
use latchkey::internals::testing::{Endpoints, Pair, TestClient, classical};
use latchkey::internals::tls::authority::KeyKind;
use rustix::time::{ClockId, clock_gettime};

/// A server with an ECDSA P-256 certificate, and clients that verify it, offer X25519 and never resume.
pub(crate) fn endpoints() -> Endpoints {
    Endpoints::new(KeyKind::default(), classical(), rustls::ALL_VERSIONS).without_resumption()
}

/// CPU time of the server's half of a handshake, from the accepted socket to the freed connection. `pair` has the loop's
/// state, and the connection freed is the one of the handshake before.
pub(crate) fn handshake_cpu(pair: &mut Pair, endpoints: &Endpoints) -> Duration {
    let (session, client) = endpoints.sessions();
    pair.client = TestClient::new(client);
    let mut spent = cpu_of(|| pair.accept(session));
    while pair.client.is_handshaking() || pair.connection.phase() == Phase::Handshaking {
        pair.client_turn();
        spent += cpu_of(|| pair.turn());
    }
    pair.client_turn();
    spent
}

/// CPU time that `work` takes.
fn cpu_of(work: impl FnOnce()) -> Duration {
    let before = cpu_time();
    work();
    cpu_time().saturating_sub(before)
}

/// CPU time of this thread.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
