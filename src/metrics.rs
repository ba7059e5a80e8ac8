//! What the server counts. Plain numbers owned by the server and passed down by reference: no globals.

use crate::disconnect::Disconnect;

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
