//! What the server counts: plain numbers, owned by the server and passed down by reference. There are no globals.

use crate::disconnect::Disconnect;

/// Counters since start. `u64` never wraps in practice.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections accepted from listeners.
    pub accepted: u64,
    /// Connections refused at a limit: on all connections, on those of one address, on client memory.
    pub refused: u64,
    /// Of those, connections waiting for an operator's place that were replaced by a newer one.
    pub displaced: u64,
    /// Connections begun to backends.
    pub dialed: u64,
    /// Of those, connections that failed.
    pub unreachable: u64,
    /// Times that accepting was paused because the process had no descriptor left.
    pub accept_pauses: u64,
    /// Handshakes finished in full.
    pub handshakes_full: u64,
    /// Handshakes finished by resumption.
    pub handshakes_resumed: u64,
    /// Full handshakes that needed a HelloRetryRequest.
    pub handshakes_retried: u64,
    /// Handshakes whose key exchange has no post-quantum part.
    pub handshakes_classical: u64,
    /// Requests served.
    pub requests: u64,
    /// XML-RPC calls whose document could not be parsed. The client gets a fault, and stays connected.
    pub malformed_calls: u64,
    /// Requests refused by the authorization rules.
    pub denials: u64,
    /// Reloads that installed new policies.
    pub reloads: u64,
    /// Reloads that failed, so that the old policies stayed.
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

    /// Open connections from clients.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.disconnects.iter().sum())
    }

    /// Connections that ended for `reason`.
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
