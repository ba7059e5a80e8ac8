//! Which handshake to work on next.

use crate::connection::PeerId;

/// So few stale names are not worth a search.
const SLACK: usize = 1024;

/// Handshakes that have bytes to work on.
///
/// A handshake costs a hundred times what a request costs, so under a storm of them the order decides who is served at
/// all. Second flights go first: their key exchange is already paid for, and finishing one frees its place. Then new
/// ClientHellos, the newest first: its client is the likeliest to be still waiting, whereas serving the oldest first
/// makes everybody wait until everybody has given up.
#[derive(Debug, Default)]
pub(super) struct HandshakeQueue {
    second_flights: Vec<PeerId>,
    hellos: Vec<PeerId>,
}

impl HandshakeQueue {
    pub(super) fn push(&mut self, id: PeerId, half_shaken: bool) {
        if half_shaken {
            self.second_flights.push(id);
        } else {
            self.hellos.push(id);
        }
    }

    pub(super) fn pop(&mut self) -> Option<PeerId> {
        self.second_flights.pop().or_else(|| self.hellos.pop())
    }

    /// Forgets names that are not `live`, when most cannot be. Under a storm that never ends, the oldest hellos are
    /// never reached: their connections give up or time out, but their names would stay for ever.
    pub(super) fn prune(&mut self, peers: usize, live: impl Fn(PeerId) -> bool) {
        if self.len() > 2 * peers + SLACK {
            self.second_flights.retain(|id| live(*id));
            self.hellos.retain(|id| live(*id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.second_flights.len() + self.hellos.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.second_flights.is_empty() && self.hellos.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_flights_go_first_then_the_newest_hello() {
        let mut handshake_queue = HandshakeQueue::default();
        let id = |key| PeerId { key, generation: 0 };
        handshake_queue.push(id(1), false);
        handshake_queue.push(id(2), false);
        handshake_queue.push(id(3), true);
        let order: Vec<_> = std::iter::from_fn(|| handshake_queue.pop()).map(|id| id.key).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(handshake_queue.is_empty());
    }

    #[test]
    fn hellos_that_are_never_reached_are_forgotten_with_their_connections() {
        let mut handshake_queue = HandshakeQueue::default();
        for key in 0..100_000 {
            handshake_queue.push(PeerId { key, generation: 0 }, false);
            handshake_queue.prune(10, |id| id.key + 10 > key);
            assert!(handshake_queue.len() <= 20 + SLACK);
        }
        let newest: Vec<_> = std::iter::from_fn(|| handshake_queue.pop()).map(|id| id.key).take(10).collect();
        assert_eq!(newest, (99_990..100_000).rev().collect::<Vec<_>>());
    }
}
