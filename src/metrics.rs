//! What the server counts: plain numbers, owned by the server and passed down by reference. There are no globals.

use std::sync::{Arc, Mutex, PoisonError};

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

/// Copies of the counters of all loops, for the loop that shows their sum.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// This loop's index.
    own: usize,
    /// Empty if there is only one loop.
    loops: Arc<[Mutex<Metrics>]>,
}

impl Published {
    /// For as many loops.
    #[must_use]
    pub(crate) fn new(loops: usize) -> Self {
        let count = if loops > 1 { loops } else { 0 };
        Self { own: 0, loops: (0..count).map(|_| Mutex::default()).collect() }
    }

    /// The same, for the loop `own`.
    #[must_use]
    pub(crate) fn of_loop(&self, own: usize) -> Self {
        Self { own, loops: Arc::clone(&self.loops) }
    }

    /// Replaces the copy of this loop's counters.
    pub(crate) fn publish(&self, metrics: &Metrics) {
        if let Some(own) = self.loops.get(self.own) {
            own.lock().unwrap_or_else(PoisonError::into_inner).clone_from(metrics);
        }
    }

    /// The sum over all loops, where this one has `own`.
    pub(crate) fn total(&self, own: &Metrics) -> Metrics {
        let mut total = own.clone();
        for (_, other) in self.loops.iter().enumerate().filter(|(index, _)| *index != self.own) {
            total.add(&other.lock().unwrap_or_else(PoisonError::into_inner));
        }
        total
    }
}

impl Metrics {
    /// Adds the counts of another loop.
    fn add(&mut self, other: &Self) {
        let Self {
            accepted,
            refused,
            displaced,
            dialed,
            unreachable,
            accept_pauses,
            handshakes_full,
            handshakes_resumed,
            handshakes_retried,
            handshakes_classical,
            requests,
            malformed_calls,
            denials,
            reloads,
            reload_failures,
            bytes_received,
            bytes_sent,
            disconnects,
        } = self;
        let pairs = [
            (accepted, other.accepted),
            (refused, other.refused),
            (displaced, other.displaced),
            (dialed, other.dialed),
            (unreachable, other.unreachable),
            (accept_pauses, other.accept_pauses),
            (handshakes_full, other.handshakes_full),
            (handshakes_resumed, other.handshakes_resumed),
            (handshakes_retried, other.handshakes_retried),
            (handshakes_classical, other.handshakes_classical),
            (requests, other.requests),
            (malformed_calls, other.malformed_calls),
            (denials, other.denials),
            (reloads, other.reloads),
            (reload_failures, other.reload_failures),
            (bytes_received, other.bytes_received),
            (bytes_sent, other.bytes_sent),
        ];
        for (count, more) in pairs.into_iter().chain(disconnects.iter_mut().zip(other.disconnects)) {
            *count += more;
        }
    }

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
