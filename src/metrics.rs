//! What the server counts. Plain numbers owned by the server and passed down by reference: no globals.

/// Why a connection ended: the complete list. The same names label the log line and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnect {
    /// The peer finished and said so (close_notify, or FIN on a plain socket).
    PeerClosed,
    /// The service asked for it after its last reply (`Connection: close`, `QUIT`).
    Finished,
    /// FIN without close_notify between requests; harmless where requests carry their length.
    Truncated,
    /// FIN in the middle of a request or of the handshake.
    CutOff,
    /// Bytes that are not the listener's protocol.
    Malformed,
    /// A request or header larger than its limit.
    TooLarge,
    /// The peer's bytes are not TLS: plain HTTP or RESP sent to a TLS port, most often.
    NotTls,
    /// The TLS handshake failed for another reason.
    Handshake,
    /// The peer's certificate was missing or not accepted.
    Certificate,
    /// The peer's chain has more certificates than are looked at, or too many paths through it.
    Chain,
    /// The peer sent a fatal TLS alert.
    Alert,
    /// The keys of the connection have encrypted as much as they may, and TLS 1.2 has no way to renew them.
    KeyLimit,
    /// A TLS record failed after the handshake.
    Tls,
    /// The handshake did not finish in time.
    HandshakeTimeout,
    /// A request did not finish arriving in time.
    RequestTimeout,
    /// The head of a request did not finish arriving in time.
    HeaderTimeout,
    /// Nothing was asked for the idle time.
    Idle,
    /// The peer did not take its replies in time.
    Stalled,
    /// More replies were waiting for the peer than any one may be owed.
    OutputLimit,
    /// Over the limit on all connections.
    Refused,
    /// Its address has too many connections, or too many handshakes under way.
    AddressLimit,
    /// The peer's identity has no rule that lets it in.
    Denied,
    /// The peer's certificate was revoked or lost its rule while it was connected.
    Revoked,
    /// Closed, or not let in, to keep the limit on the memory of all clients.
    Memory,
    /// Closed by an administrator's command.
    Killed,
    /// The server is stopping.
    Shutdown,
    /// The socket was reset.
    Reset,
    /// Another socket error.
    Io,
    /// The server that this connection is linked to could not be reached, or was lost.
    Upstream,
    /// The service dropped a deferred reply, or wrote nothing for one that it took back, so no later reply could be sent in
    /// order.
    Abandoned,
}

impl Disconnect {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 30] = [
        Self::PeerClosed,
        Self::Finished,
        Self::Truncated,
        Self::CutOff,
        Self::Malformed,
        Self::TooLarge,
        Self::NotTls,
        Self::Handshake,
        Self::Certificate,
        Self::Chain,
        Self::Alert,
        Self::KeyLimit,
        Self::Tls,
        Self::HandshakeTimeout,
        Self::RequestTimeout,
        Self::HeaderTimeout,
        Self::Idle,
        Self::Stalled,
        Self::OutputLimit,
        Self::Refused,
        Self::AddressLimit,
        Self::Denied,
        Self::Revoked,
        Self::Memory,
        Self::Killed,
        Self::Shutdown,
        Self::Reset,
        Self::Io,
        Self::Upstream,
        Self::Abandoned,
    ];

    /// The reason as it stands in the log and in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Finished => "finished",
            Self::Truncated => "truncated",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NotTls => "not_tls",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::Alert => "alert",
            Self::KeyLimit => "key_limit",
            Self::Tls => "tls",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::OutputLimit => "output_limit",
            Self::Refused => "refused",
            Self::AddressLimit => "address_limit",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
            Self::Memory => "memory",
            Self::Killed => "killed",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
            Self::Io => "io",
            Self::Upstream => "upstream",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Counters since start. `u64` never wraps in practice.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections taken from a listener.
    pub accepted: u64,
    /// Connections turned away at a limit: on all, on those of an address, on what clients hold together.
    pub refused: u64,
    /// Of those, how many were on their way to an operator's place and gave way to another.
    pub displaced: u64,
    /// Connections begun to other servers.
    pub dialed: u64,
    /// Of those, how many came to nothing.
    pub unreachable: u64,
    /// Accepting was paused because the process had no descriptor left.
    pub accept_pauses: u64,
    /// Handshakes finished in full.
    pub handshakes_full: u64,
    /// Handshakes finished by resumption.
    pub handshakes_resumed: u64,
    /// Full handshakes that took a HelloRetryRequest.
    pub handshakes_retried: u64,
    /// Handshakes that agreed on a key exchange with no post-quantum part.
    pub handshakes_classical: u64,
    /// Requests served.
    pub requests: u64,
    /// XML-RPC calls whose document was not understood. The client is sent a fault, and stays connected.
    pub malformed_calls: u64,
    /// Requests refused by the authorization rules.
    pub denials: u64,
    /// Times that new policies were adopted.
    pub reloads: u64,
    /// Times that new policies were no good, so that the old ones stayed.
    pub reload_failures: u64,
    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    disconnects: [u64; Disconnect::ALL.len()],
}

impl Metrics {
    /// Counts one connection's end.
    #[expect(clippy::indexing_slicing, reason = "a reason is its own index, which a test below checks")]
    pub fn disconnected(&mut self, reason: Disconnect) {
        self.disconnects[reason as usize] += 1;
    }

    /// Connections from clients that have not ended.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.disconnects.iter().sum())
    }

    /// How many connections ended for `reason`.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a reason is its own index, which a test below checks")]
    pub fn disconnects(&self, reason: Disconnect) -> u64 {
        self.disconnects[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut metrics = Metrics::default();
        for (index, reason) in Disconnect::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
            metrics.disconnected(reason);
            assert_eq!(metrics.disconnects(reason), 1);
        }
        let names: std::collections::HashSet<_> = Disconnect::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Disconnect::ALL.len());
    }
}
